"""Sketches of uploads: enough to tell that two differ in few rows, and nothing of a row once their key is gone.

A provider that uploads twice, with one person more the second time, learns from the two results whether the others
know that person (a differencing attack). To notice it, an upload is compared with those before it, whose encodings are
deleted by then. So what is kept is an invertible Bloom lookup table (Goodrich and Mitzenmacher 2011) of keyed digests
of the rows (BLAKE2b, RFC 7693, with a random key of the project): 12 kilobytes, whatever the upload's size. Two of them
are subtracted, and if few rows differ, the difference can be counted exactly; if many do, it cannot be read at all. A
table is a sum over all rows, and without the key nobody can ask it whether some encoding was among them. The key is
destroyed with `probing.forget`.

Several equal rows are counted as often as they occur, so that repeating a row hides nothing.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

_TABLES: Final = 3
_CELLS: Final = 128
_CELL_BITS: Final = 7
_WIRE: Final = np.dtype("<i8")
_SUMS: Final = 4
_DIGEST = np.dtype([("high", "<u4"), ("low", "<u4")])
_HALF = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Difference:
    """How two uploads differ, in rows."""

    added: int
    removed: int

    @property
    def changed(self) -> int:
        """Rows that were put in, taken out or put in the place of others."""
        return max(self.added, self.removed)


class Sketch:
    """The table of one upload: by cell, how many rows fell into it, sums of halves of their digests, and checks."""

    def __init__(self, *, key: bytes = b"", cells: NDArray[np.int64] | None = None) -> None:
        """An empty one, of rows to be digested with a key of 32 bytes."""
        self._key = key
        self.cells = np.zeros((_TABLES * _CELLS, _SUMS), np.int64) if cells is None else cells

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """What `to_bytes` gave, to compare with."""
        return cls(cells=np.frombuffer(raw, _WIRE).reshape(_TABLES * _CELLS, _SUMS).astype(np.int64))

    def to_bytes(self) -> bytes:
        """12,288 bytes."""
        return self.cells.astype(_WIRE).tobytes()

    def add(self, batch: NDArray[np.uint64]) -> None:
        """Counts further rows."""
        keyed = hashlib.blake2b(key=self._key, digest_size=_DIGEST.itemsize, person=b"linkage/sketch")
        digests = bytearray()
        for row in np.ascontiguousarray(batch).view(np.uint8):
            one = keyed.copy()
            one.update(row)
            digests += one.digest()
        found = np.frombuffer(digests, _DIGEST)
        high, low = found["high"].astype(np.int64), found["low"].astype(np.int64)
        parts = np.stack([np.ones(len(found), np.int64), high, low, _check(high, low)], axis=1)
        for table in range(_TABLES):
            np.add.at(self.cells, _places(low, table), parts)

    def difference(self, earlier: "Sketch") -> Difference | None:
        """How this upload differs from an earlier one; None where in too many rows to say (about 300)."""
        cells = self.cells - earlier.cells
        added = removed = 0
        waiting = list(range(len(cells)))
        while waiting:
            place = waiting.pop()
            low = _single(cells, place)
            if low is None:
                continue
            row = cells[place].copy()
            added, removed = added + max(int(row[0]), 0), removed + max(-int(row[0]), 0)
            touched = [int(_places(low, table)) for table in range(_TABLES)]
            cells[touched] -= row
            waiting += touched
        return None if cells.any() else Difference(added=added, removed=removed)


def _places(low: Any, table: int) -> Any:
    return table * _CELLS + ((low >> (table * _CELL_BITS)) & (_CELLS - 1))


def _check(high: Any, low: Any) -> Any:
    """32 bits that a sum of several rows does not have of the sum of their digests."""
    mixed = (high ^ (low >> 9)) * 0x5BD1E995 & _HALF
    return (mixed ^ (mixed >> 15) ^ low) * 0x27D4EB2F & _HALF


def _single(cells: NDArray[np.int64], place: int) -> int | None:
    """The lower half of the digest of the one row that a cell holds, however often; None where it holds no one row."""
    count, *sums = map(int, cells[place])
    if count == 0:
        return None
    (high, *rests), (low, *more), (check, *last) = (divmod(part, count) for part in sums)
    whole = not any(rests + more + last) and all(0 <= part <= _HALF for part in (high, low, check))
    return low if whole and _check(high, low) == check and _places(low, place // _CELLS) == place else None
