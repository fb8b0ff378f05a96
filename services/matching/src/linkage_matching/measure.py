"""The similarities of two encodings that the engine knows, both exact in whole numbers.

With `a` and `b` bits set in two encodings of `l` bits, `c` of them in common, both similarities reach a threshold
exactly when `c` reaches a number that is linear in `a + b`. So one kernel serves both.
"""

from enum import StrEnum
from fractions import Fraction
from typing import assert_never

import numpy as np
from numpy.typing import NDArray


class Measure(StrEnum):
    """How alike two encodings are.

    Attributes:
        DICE: 2c / (a + b).
        SIMPLE_MATCHING: 1 - (a + b - 2c) / l, the part of all bits that agree (one less the Hamming distance / l).
    """

    DICE = "dice"
    SIMPLE_MATCHING = "simple_matching"

    def similarity(self, common: NDArray[np.uint64], bit_sums: NDArray[np.uint64], *, bits: int) -> NDArray[np.float64]:
        """Similarities of pairs from their common bits and the sums of their popcounts (none of which is 0)."""
        match self:
            case Measure.DICE:
                return np.asarray(2 * common / bit_sums, np.float64)
            case Measure.SIMPLE_MATCHING:
                return np.asarray((np.uint64(bits) + 2 * common - bit_sums) / bits, np.float64)
        assert_never(self)

    def thousandths(self, common: NDArray[np.uint64], bit_sums: NDArray[np.uint64], *, bits: int) -> NDArray[np.int64]:
        """The same, as whole thousandths, rounded down in integers."""
        match self:
            case Measure.DICE:
                whole = 2000 * common // bit_sums
            case Measure.SIMPLE_MATCHING:
                whole = 1000 * (np.uint64(bits) + 2 * common - bit_sums) // np.uint64(bits)
            case _:
                assert_never(self)
        return whole.astype(np.int64)

    def common_needed(self, bit_sums: NDArray[np.float64], *, threshold: Fraction, bits: int) -> NDArray[np.float64]:
        """About how many common bits reach the threshold, as a number with a fraction."""
        match self:
            case Measure.DICE:
                return float(threshold) / 2 * bit_sums
            case Measure.SIMPLE_MATCHING:
                return (bit_sums - bits * (1 - float(threshold))) / 2
        assert_never(self)

    def reaches(
        self, common: NDArray[np.uint64], bit_sums: NDArray[np.uint64], *, threshold: Fraction, bits: int
    ) -> NDArray[np.bool_]:
        """Which pairs reach the threshold, decided in integers.

        Arguments:
            common: common bits of the pairs.
            bit_sums: sums of their popcounts.
            threshold: in 0..1, with a denominator below 2**31 (see `threshold.kernel_fraction`).
            bits: length of the encodings.
        """
        numerator, denominator = np.uint64(threshold.numerator), np.uint64(threshold.denominator)
        match self:
            case Measure.DICE:
                return np.asarray(2 * common * denominator >= bit_sums * numerator)
            case Measure.SIMPLE_MATCHING:
                agreeing = np.uint64(bits) + 2 * common - bit_sums
                return np.asarray(agreeing * denominator >= np.uint64(bits) * numerator)
        assert_never(self)
