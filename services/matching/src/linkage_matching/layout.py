"""Parts of data sets as they lie in memory for the kernel.

The first operand lies row by row, the second in blocks of 8 records word by word. Data sets are laid out part by part,
so that what is memory-mapped is never copied as a whole.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from linkage_matching.encodings import WORD_BITS, Encodings, popcounts
from linkage_matching.measure import Measure

# The kernels' geometry, repeated here because importing a kernel loads numba; a test holds them equal.
LANES = 8
SIDE = 32
NEVER = 1 << 61

# 16 MiB of encodings: 131,072 rows of 1,024 bits.
_PART_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `first` to `end` of a data set, laid out.

    Attributes:
        words: their encodings, flat; filled up with empty rows to a whole number of tiles of either kernel.
        limit: uint64 (signed numbers), what each row adds to the limit of its pairs.
        rest: uint64, how many bits of each row come after the early exit.
    """

    first: int
    end: int
    words: NDArray[np.uint64]
    limit: NDArray[np.uint64]
    rest: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the parts of one comparison are laid out."""

    bits: int
    threshold: Fraction
    measure: Measure
    cut: int

    @property
    def words(self) -> int:
        """How many words of 64 bits an encoding takes up."""
        return self.bits // WORD_BITS

    def parts(self, rows: int) -> list[range]:
        """The rows of each part of a data set."""
        step = _padded(max(_PART_BYTES * 8 // self.bits, LANES), LANES)
        return [range(first, min(first + step, rows)) for first in range(0, rows, step)]

    def in_rows(self, encodings: Encodings, counts: NDArray[np.uint64], rows: range) -> Part:
        """Rows of the first operand, one after the other."""
        laid = np.zeros((_padded(len(rows), SIDE), self.words), np.uint64)
        laid[: len(rows)] = encodings[rows.start : rows.stop]
        limit = self._limits(counts[rows.start : rows.stop], len(laid))
        if self.measure is Measure.SIMPLE_MATCHING:
            # the part that does not depend on popcounts goes with the first operand
            limit -= self.threshold.denominator * self.bits - self.threshold.numerator * self.bits
        return Part(rows.start, rows.stop, laid.reshape(-1), limit.view(np.uint64), popcounts(laid[:, self.cut :]))

    def in_blocks(self, encodings: Encodings, counts: NDArray[np.uint64], rows: range) -> Part:
        """Rows of the second operand, in blocks of 8."""
        part = encodings[rows.start : rows.stop]
        count = len(part)
        blocks = np.zeros((_padded(count, SIDE) // LANES, self.words, LANES), np.uint64)
        whole = count - count % LANES
        last = whole // LANES
        blocks[:last] = part[:whole].reshape(-1, LANES, self.words).transpose(0, 2, 1)
        if count > whole:
            blocks[last, :, : count - whole] = part[whole:].T
        limit = self._limits(counts[rows.start : rows.stop], len(blocks) * LANES)
        rest = np.bitwise_count(blocks[:, self.cut :]).sum(axis=1, dtype=np.uint64).ravel()
        return Part(rows.start, rows.stop, blocks.reshape(-1), limit.view(np.uint64), rest)

    def _limits(self, counts: NDArray[np.uint64], padded: int) -> NDArray[np.int64]:
        """A pair passes if `2 * denominator * common` reaches the sum of its limits; empty encodings never do."""
        fraction = self.threshold
        factor = fraction.numerator if self.measure is Measure.DICE else fraction.denominator
        limits = np.full(padded, NEVER, np.int64)
        limits[: len(counts)] = np.where(counts > 0, counts.astype(np.int64) * factor, NEVER)
        return limits


def _padded(count: int, step: int) -> int:
    return -(-count // step) * step
