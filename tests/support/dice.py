"""A plain reference for thresholded similarities: Python integers, one pair at a time."""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int, float]
Similarity = Callable[[int, int], Fraction | None]


def encodings(rows: Sequence[int], *, bits: int) -> NDArray[np.uint64]:
    """Filters given as Python integers, as the array the engine takes."""
    raw = b"".join(row.to_bytes(bits // 8, "little") for row in rows)
    return np.frombuffer(raw, np.uint64).reshape(len(rows), bits // 64)


def dice(a: int, b: int) -> Fraction | None:
    """The exact similarity, or None where an empty filter takes part."""
    if not a or not b:
        return None
    return Fraction(2 * (a & b).bit_count(), a.bit_count() + b.bit_count())


def simple_matching(bits: int) -> Similarity:
    """The exact similarity of two filters of so many bits, or None where an empty filter takes part."""

    def similarity(a: int, b: int) -> Fraction | None:
        if not a or not b:
            return None
        return 1 - Fraction((a ^ b).bit_count(), bits)

    return similarity


def reference_pairs(
    a: Sequence[int], b: Sequence[int] | None, threshold: Fraction, similarity_of: Similarity = dice
) -> list[Pair]:
    """All pairs that reach the threshold, in the engine's order."""
    found = [
        (similarity, i, j)
        for i, first in enumerate(a)
        for j, second in enumerate(a if b is None else b)
        if (b is not None or i < j)
        and (similarity := similarity_of(first, second)) is not None
        and similarity >= threshold
    ]
    found.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [(i, j, float(similarity)) for similarity, i, j in found]


def random_rows(count: int, *, bits: int, seed: int, fill: float = 0.31) -> list[int]:
    """Filters with about the given part of their bits set."""
    packed = np.packbits(np.random.default_rng(seed).random((count, bits)) < fill, axis=1)
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def noisy_copies(rows: Sequence[int], *, bits: int, seed: int, flips: int) -> list[int]:
    """The same filters with some bits changed, as a second data set with known truth."""
    rng = np.random.default_rng(seed)
    return [row ^ sum(1 << int(bit) for bit in rng.choice(bits, flips, replace=False)) for row in rows]
