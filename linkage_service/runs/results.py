"""What is stored of a run: the groups it made, and, while it is carried out, the finished units of its comparison.

All of it opens with the run's data key only, which a run that ends without a result loses.
"""

import numpy as np
import structlog
from numpy.typing import NDArray

from linkage_service.storage import BlobStore, StorageError, WrappedKey

_WIRE = np.dtype("<i8")
_PROBABILITY_WIRE = np.dtype("<f8")
_log = structlog.get_logger(__name__)


def write_groups(
    blobs: BlobStore, groups: NDArray[np.int64], *, run_id: str, attempt: int, position: int, data_key: WrappedKey
) -> None:
    """Stores the group of each row of one upload, below 0 for a row without a match (see `service.told_apart`)."""
    blobs.put(_key(run_id, attempt, position), groups.astype(_WIRE).tobytes(), data_key=data_key)


def read_groups(
    blobs: BlobStore, *, run_id: str, attempt: int, position: int, data_key: WrappedKey
) -> NDArray[np.int64]:
    """The group of each row of one upload."""
    raw = blobs.get(_key(run_id, attempt, position), data_key=data_key)
    return np.frombuffer(raw, dtype=_WIRE).astype(np.int64)


def write_probabilities(
    blobs: BlobStore, probabilities: NDArray[np.float64] | None, *, run_id: str, attempt: int, data_key: WrappedKey
) -> None:
    """Stores the match probability of the weakest pair of each group; nothing of a run without probabilities."""
    if probabilities is not None:
        raw = probabilities.astype(_PROBABILITY_WIRE).tobytes()
        blobs.put(_probabilities_key(run_id, attempt), raw, data_key=data_key)


def read_probabilities(
    blobs: BlobStore, *, run_id: str, attempt: int, data_key: WrappedKey
) -> NDArray[np.float64] | None:
    """The match probability of the weakest pair of each group; None where the run has none."""
    key = _probabilities_key(run_id, attempt)
    if not blobs.exists(key):
        return None
    return np.frombuffer(blobs.get(key, data_key=data_key), dtype=_PROBABILITY_WIRE).astype(np.float64)


def write_changes(
    blobs: BlobStore, changes: NDArray[np.int64], *, run_id: str, attempt: int, data_key: WrappedKey
) -> None:
    """Stores what withdrawals changed in the groups of a run (see `rights.membership`)."""
    blobs.put(_changes_key(run_id, attempt), changes.astype(_WIRE).tobytes(), data_key=data_key)


def read_changes(
    blobs: BlobStore, *, columns: int, run_id: str, attempt: int, data_key: WrappedKey
) -> NDArray[np.int64]:
    """What withdrawals changed, `(n, columns)`; nothing for a run that is as it was made."""
    key = _changes_key(run_id, attempt)
    raw = blobs.get(key, data_key=data_key) if blobs.exists(key) else b""
    return np.frombuffer(raw, dtype=_WIRE).astype(np.int64).reshape(-1, columns)


def attempts(blobs: BlobStore, *, run_id: str) -> list[int]:
    """The attempts of a run of which something is stored, in order."""
    return sorted({attempt for key in blobs.list(f"runs/{run_id}") if (attempt := _attempt_of(key)) is not None})


def remove_earlier_attempts(blobs: BlobStore, *, run_id: str, attempt: int) -> int:
    """Removes the groups of the attempts before this one, and finished units; how many blobs there were.

    A later attempt may be another worker's, and is left.
    """
    found = [key for key in blobs.list(f"runs/{run_id}") if (made := _attempt_of(key)) is None or made < attempt]
    for key in found:
        blobs.delete(key)
    return len(found)


def _attempt_of(key: str) -> int | None:
    """The attempt that a blob of a run is of; None for a unit."""
    folder = key.split("/")[2]
    return int(folder.removeprefix("attempt-")) if folder.startswith("attempt-") else None


def units_prefix(run_id: str) -> str:
    """Where the finished units of a run are kept, for an attempt that goes on after an interruption."""
    return f"runs/{run_id}/units"


def runs_with_units(blobs: BlobStore) -> list[str]:
    """Ids of the runs of which units are stored, in order."""
    paths = (key.split("/") for key in blobs.list("runs"))
    return sorted({path[1] for path in paths if path[2:3] == ["units"]})


def remove_units(blobs: BlobStore, *, run_id: str) -> None:
    """Removes the units of a run that has its result."""
    _remove(blobs, units_prefix(run_id), run_id=run_id)


def remove(blobs: BlobStore, *, run_id: str) -> None:
    """Removes all that is stored of a run that has no result, and has lost its key."""
    _remove(blobs, f"runs/{run_id}", run_id=run_id)


def remove_upload(blobs: BlobStore, *, upload_id: str) -> None:
    """Removes the encodings of an upload that has lost its key."""
    _remove(blobs, f"uploads/{upload_id}", run_id=upload_id)


def _remove(blobs: BlobStore, prefix: str, *, run_id: str) -> None:
    try:
        blobs.delete_prefix(prefix)
    except StorageError as error:
        # What is left opens with the run's key only.
        _log.warning("blobs_left", run=run_id, code=error.instance_code)


def _changes_key(run_id: str, attempt: int) -> str:
    return f"runs/{run_id}/attempt-{attempt}/changes"


def _key(run_id: str, attempt: int, position: int) -> str:
    return f"runs/{run_id}/attempt-{attempt}/groups-{position}"


def _probabilities_key(run_id: str, attempt: int) -> str:
    return f"runs/{run_id}/attempt-{attempt}/probabilities"
