"""Where a work unit finds its rows: an array in memory, or encrypted parts in a blob store that it reads by URL."""

import hashlib
import json
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from linkage_matching.encodings import WORD_BITS, Encodings, check_bits, check_encodings
from linkage_matching.errors import BlobDamaged, InvalidEncodings

if TYPE_CHECKING:
    from linkage_matching.blobs import SealedBlobs

_ROWS_AT_ONCE = 1 << 16


@runtime_checkable
class Dataset(Protocol):
    """The encodings of one source, read in ranges of rows."""

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


class BlobDataset:
    """Encodings in sealed blobs, one after the other; a row may lie across two.

    Only parts that hold rows that are asked for are read. Picklable where the blobs are, and small then.
    """

    __slots__ = ("_bits", "_blobs", "_ends", "_last", "_part_bytes", "_paths")

    def __init__(self, blobs: "SealedBlobs", *, paths: Sequence[str], part_bytes: Sequence[int], bits: int) -> None:
        """Describe the parts; nothing is read yet.

        Arguments:
            blobs: the store, with the key that the parts are sealed under.
            paths: the parts in order. A path must name its content: one that is used again for other bytes would let
                results of the bytes before count for those after.
            part_bytes: how many bytes of encodings each part has.
            bits: the length of each encoding.

        Raises:
            InvalidEncodings: the length does not suit, or the parts are not a whole number of encodings.
        """
        check_bits(bits)
        if len(paths) != len(part_bytes) or min(part_bytes, default=1) < 1 or sum(part_bytes) % (bits // 8):
            raise InvalidEncodings(
                f"{len(paths)} parts of {sum(part_bytes):,} bytes in all are not a whole number of encodings of "
                f"{bits} bits. The data was cut short, or was made with another length."
            )
        self._blobs = blobs
        self._paths = tuple(paths)
        self._part_bytes = tuple(part_bytes)
        self._ends = tuple(accumulate(part_bytes))
        self._bits = bits
        self._last: tuple[int, bytes] | None = None

    @property
    def rows(self) -> int:
        """How many encodings there are."""
        return sum(self._part_bytes) // (self._bits // 8)

    @property
    def bits(self) -> int:
        """The length of each encoding."""
        return self._bits

    @property
    def shared(self) -> bool:
        """Whether another process that is given this can read it."""
        return self._blobs.shared

    @property
    def identity(self) -> str:
        """SHA-256 of length, paths and sizes, hex; nothing is read for it."""
        described = {"bits": self._bits, "paths": self._paths, "part_bytes": self._part_bytes}
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def read(self, start: int, stop: int) -> Encodings:
        """Rows from `start` to before `stop`.

        Raises:
            BlobError: a part is not there or does not open, or the store cannot be reached.
        """
        check_range(start, stop, rows=self.rows)
        row_bytes = self._bits // 8
        first, end = start * row_bytes, stop * row_bytes
        whole = np.empty(end - first, np.uint8)
        for part, part_end in enumerate(self._ends):
            part_start = part_end - self._part_bytes[part]
            low, high = max(first, part_start), min(end, part_end)
            if low < high:
                content = self._part(part)
                whole[low - first : high - first] = np.frombuffer(content, np.uint8)[
                    low - part_start : high - part_start
                ]
        return whole.view(np.uint64).reshape(-1, self._bits // WORD_BITS)

    def _part(self, part: int) -> bytes:
        """One part; the last one is remembered, because ranges that follow each other share it."""
        last = self._last
        if last is not None and last[0] == part:
            return last[1]
        content = self._blobs.get(self._paths[part])
        if len(content) != self._part_bytes[part]:
            raise BlobDamaged(
                "A part of a data set has another length than it was stored with. It is not used. "
                "Have its provider upload again."
            )
        self._last = part, content
        return content

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.rows:,} rows of {self._bits} bits)"

    def __reduce__(self) -> tuple[object, ...]:
        return _described, (self._blobs, self._paths, self._part_bytes, self._bits)


def _described(blobs: "SealedBlobs", paths: tuple[str, ...], part_bytes: tuple[int, ...], bits: int) -> BlobDataset:
    return BlobDataset(blobs, paths=paths, part_bytes=part_bytes, bits=bits)


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
