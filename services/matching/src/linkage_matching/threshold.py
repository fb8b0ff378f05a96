"""Thresholds as fractions, so that a pair exactly on the threshold is decided by arithmetic and not by rounding."""

import math
from fractions import Fraction
from typing import assert_never

from linkage_matching.errors import InvalidThreshold
from linkage_matching.measure import Measure

# 2 * denominator must fit the 32-bit multiplication of the kernel.
LARGEST_DENOMINATOR = 2**31 - 1


def check_threshold(threshold: Fraction) -> None:
    """Raise InvalidThreshold unless the threshold lies in 0..1."""
    if not 0 <= threshold <= 1:
        raise InvalidThreshold(f"The threshold {float(threshold)} is no similarity. Use a number from 0 to 1.")


def fraction_of(threshold: float, *, bits: int) -> Fraction:
    """The fraction that decides as the float comparison `similarity >= threshold` would.

    0.8 is stored as a number slightly above 4/5. A pair at exactly 4/5 has the similarity 0.8 and must pass, so the
    nearest similarity two filters of this length can have stands in for the float where both are the same float.

    Raises:
        InvalidThreshold: not a number in 0..1.
    """
    if not 0 <= threshold <= 1:
        raise InvalidThreshold(f"The threshold {threshold} is no similarity. Use a number from 0 to 1.")
    exact = Fraction(threshold)
    near = exact.limit_denominator(2 * bits)
    return near if float(near) == threshold else exact


def kernel_fraction(threshold: Fraction, *, bits: int, measure: Measure) -> Fraction:
    """A fraction with a small denominator that passes exactly the same pairs.

    Similarities of filters of `bits` bits are fractions with denominators up to `2 * bits` (Dice) or of `bits` (simple
    matching), so any threshold may be replaced by the least such number that is not below it.
    """
    match measure:
        case Measure.DICE:
            return threshold if threshold.denominator <= LARGEST_DENOMINATOR else _least_dice(threshold, bits=bits)
        case Measure.SIMPLE_MATCHING:
            return Fraction(math.ceil(threshold * bits), bits)
    assert_never(measure)


def _least_dice(threshold: Fraction, *, bits: int) -> Fraction:
    # ceil(threshold * s / 2) common bits are the fewest that pass for a sum s of bits
    return min(
        Fraction(2 * -(-threshold.numerator * total // (2 * threshold.denominator)), total)
        for total in range(1, 2 * bits + 1)
    )
