"""Data sets and units for tests: small, random, with some rows alike."""

import pickle  # noqa: TID251 - Dask does it, between processes of the linkage unit
import secrets
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from linkage_matching.blobs import KEY_BYTES, SealedBlobs
from linkage_matching.datasets import BlobDataset, Dataset
from linkage_matching.encodings import Encodings, popcounts
from linkage_matching.measure import Measure
from linkage_matching.pairs import Pairs
from linkage_matching.unit_store import BlobUnitStore
from linkage_matching.units import Gathering, Unit, UnitResult, plan_units

EVERYTHING = 10**9
"""A budget that no test exceeds."""


def random_encodings(rows: int, *, bits: int = 256, seed: int = 0, fill: float = 0.31) -> Encodings:
    """Rows with about the given part of their bits set."""
    packed = np.packbits(np.random.default_rng(seed).random((rows, bits)) < fill, axis=1)
    return packed.view(np.uint64)


def half_filled(rows: int, *, bits: int, seed: int = 0) -> Encodings:
    """Rows with about half of their bits set; drawn fast, for many rows."""
    drawn: Encodings = np.random.default_rng(seed).integers(0, 2**64, (rows, bits // 64), dtype=np.uint64)
    return drawn


_Anything = TypeVar("_Anything")


def pickled(anything: object) -> bytes:
    """As Dask would send it to a worker."""
    return pickle.dumps(anything)


def sent(anything: _Anything) -> _Anything:
    """As it arrives at a worker."""
    again: _Anything = pickle.loads(pickle.dumps(anything))  # noqa: S301 - bytes made here
    return again


def taken_over(job: Path) -> tuple[list[Dataset], list[Unit], BlobUnitStore]:
    """What `Place.hand_over` wrote down."""
    handed: tuple[list[Dataset], list[Unit], BlobUnitStore] = pickle.loads(job.read_bytes())  # noqa: S301 - see sent
    return handed


def as_list(pairs: Pairs) -> list[tuple[int, int, int]]:
    return list(zip(pairs.row_a.tolist(), pairs.row_b.tolist(), pairs.common.tolist(), strict=True))


def gathered(
    results: Sequence[UnitResult], a: Encodings, b: Encodings | None, *, budget: int = EVERYTHING, best_per_row: int = 5
) -> tuple[Pairs, bool]:
    """What the units of one comparison found together."""
    gathering = Gathering(
        counts_a=popcounts(a),
        counts_b=None if b is None else popcounts(b),
        bits=a.shape[1] * 64,
        measure=Measure.DICE,
        budget=budget,
        best_per_row=best_per_row,
    )
    for result in results:
        gathering.add(result)
    return gathering.finish()


def plan(
    datasets: Sequence[Dataset], first: int, second: int | None = None, *, tile_pairs: int, threshold: Fraction
) -> list[Unit]:
    """Units that keep every pair that reaches the threshold."""
    return plan_units(
        datasets,
        first=first,
        second=second,
        threshold=threshold,
        budget=EVERYTHING,
        best_per_row=5,
        tile_pairs=tile_pairs,
    )


class Place:
    """A folder with encodings in sealed parts, and room for results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = folder.as_uri()
        self.keys = [secrets.token_bytes(KEY_BYTES)]

    def dataset(self, encodings: Encodings, *, name: str, part_bytes: int = 1 << 20) -> BlobDataset:
        """Store encodings in parts that need not hold whole rows."""
        raw = encodings.tobytes()
        pieces = [raw[start : start + part_bytes] for start in range(0, len(raw), part_bytes)]
        paths = [f"uploads/{name}/part-{number:06d}" for number in range(len(pieces))]
        self.keys.append(secrets.token_bytes(KEY_BYTES))
        sealed = SealedBlobs(self.url, self.keys[-1])
        for path, piece in zip(paths, pieces, strict=True):
            sealed.put(path, piece)
        bits = encodings.shape[1] * 64
        return BlobDataset(sealed, paths=paths, part_bytes=[len(piece) for piece in pieces], bits=bits)

    def store(self) -> BlobUnitStore:
        return BlobUnitStore(SealedBlobs(self.url, self.keys[0]), "runs/run_1/units")

    def hand_over(self, datasets: Sequence[Dataset], units: Sequence[Unit]) -> Path:
        """Write down what another process needs to do the units."""
        job = self.folder / "job"
        job.write_bytes(pickled((list(datasets), list(units), self.store())))
        return job

    def kept(self) -> dict[str, tuple[int, int]]:
        """Which results are stored, and what tells a file that was written again from one that was not."""
        units = self.folder / "runs" / "run_1" / "units"
        # a blob that is being written has a name with '#' until it is whole
        files = [path for path in units.glob("*") if "#" not in path.name]
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def common_bits(a: Encodings, b: Encodings) -> NDArray[np.uint64]:
    """Common bits of every row of one with every row of the other."""
    table: NDArray[np.uint64] = np.bitwise_count(a[:, None, :] & b[None, :, :]).sum(axis=2, dtype=np.uint64)
    return table
