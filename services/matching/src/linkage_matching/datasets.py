"""Where a work unit finds its rows: an array in memory, or encrypted parts in a blob store that it reads by URL."""

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from linkage_matching.encodings import WORD_BITS, Encodings, check_encodings
from linkage_matching.errors import InvalidEncodings


@runtime_checkable
class Dataset(Protocol):
    """The encodings of one source, read in ranges of rows.

    Attributes:
        rows: how many encodings there are.
        bits: the length of each.
    """

    @property
    def rows(self) -> int:
        """How many encodings there are."""

    @property
    def bits(self) -> int:
        """The length of each encoding."""

    @property
    def identity(self) -> str:
        """Names the content, hex: two data sets of one identity hold the same rows in the same order."""

    def read(self, start: int, stop: int) -> Encodings:
        """Rows from `start` to before `stop`, `(stop - start, bits / 64)` of uint64; not to be written to."""


class ArrayDataset:
    """Encodings in memory, or memory-mapped."""

    __slots__ = ("_encodings", "_identity")

    def __init__(self, encodings: Encodings) -> None:
        """Take `(n, bits / 64)` of uint64, which must not change as long as this is used.

        Raises:
            InvalidEncodings: the array is of another shape or type.
        """
        check_encodings(encodings)
        self._encodings = encodings
        self._identity: str | None = None

    @property
    def rows(self) -> int:
        """How many encodings there are."""
        return len(self._encodings)

    @property
    def bits(self) -> int:
        """The length of each encoding."""
        return int(self._encodings.shape[1]) * WORD_BITS

    @property
    def identity(self) -> str:
        """SHA-256 of length and content, hex; computed when first asked for."""
        if self._identity is None:
            digest = hashlib.sha256(f"array of {self.bits} bits\n".encode())
            for start in range(0, self.rows, _ROWS_AT_ONCE):
                digest.update(self._encodings[start : start + _ROWS_AT_ONCE].tobytes())
            self._identity = digest.hexdigest()
        return self._identity

    def read(self, start: int, stop: int) -> Encodings:
        """Rows from `start` to before `stop`, without a copy."""
        check_range(start, stop, rows=self.rows)
        return self._encodings[start:stop]


def as_datasets(sources: Sequence[Encodings | Dataset]) -> list[Dataset]:
    """Arrays become data sets; data sets stay what they are.

    Raises:
        InvalidEncodings: an array is of another shape or type.
    """
    return [source if isinstance(source, Dataset) else ArrayDataset(source) for source in sources]


def check_range(start: int, stop: int, *, rows: int) -> None:
    """Raise InvalidEncodings unless `0 <= start <= stop <= rows`."""
    if not 0 <= start <= stop <= rows:
        raise InvalidEncodings(
            f"Rows {start:,} to {stop:,} of a data set of {rows:,} rows were asked for. "
            "The work was planned for another data set; plan it again."
        )


_ROWS_AT_ONCE = 1 << 16
