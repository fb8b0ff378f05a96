"""Where the groups of a run are kept: one encrypted array of int64 for each upload."""

import numpy as np
from numpy.typing import NDArray

from linkage_service.storage import BlobStore, WrappedKey

_WIRE = np.dtype("<i8")


def write_groups(
    blobs: BlobStore, groups: NDArray[np.int64], *, run_id: str, attempt: int, position: int, data_key: WrappedKey
) -> None:
    """Stores the group of each row of one upload, -1 for a row without a match."""
    blobs.put(_key(run_id, attempt, position), groups.astype(_WIRE).tobytes(), data_key=data_key)


def read_groups(
    blobs: BlobStore, *, run_id: str, attempt: int, position: int, data_key: WrappedKey
) -> NDArray[np.int64]:
    """The group of each row of one upload."""
    raw = blobs.get(_key(run_id, attempt, position), data_key=data_key)
    return np.frombuffer(raw, dtype=_WIRE).astype(np.int64)


def _key(run_id: str, attempt: int, position: int) -> str:
    return f"runs/{run_id}/attempt-{attempt}/groups-{position}"
