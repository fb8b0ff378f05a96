"""The similarities of two encodings that the engine knows, both exact in whole numbers."""

from enum import StrEnum


class Measure(StrEnum):
    """How alike two encodings of `l` bits are, with `a` and `b` bits set, `c` of them in common.

    Attributes:
        DICE: 2c / (a + b).
        SIMPLE_MATCHING: 1 - (a + b - 2c) / l, the part of the bits that agree (1 - Hamming distance / l).
    """

    DICE = "dice"
    SIMPLE_MATCHING = "simple_matching"
