"""Where a comparison may end early: after how many words most tiles cannot hold a pair any more."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from linkage_matching.encodings import WORD_BITS, Encodings
from linkage_matching.measure import Measure

# What a check costs, and a check that goes otherwise than the processor foresaw, in words of the comparison (measured).
_CHECK_WORDS = 2.0
_MISTAKEN_WORDS = 4.0
_TILE_ROWS = 4
_LANES = 8
_SAMPLE_A = 128
_SAMPLE_B = 512
_SEED = 0


@dataclass(frozen=True, slots=True)
class EarlyExit:
    """Where a comparison may end early. It is a matter of speed alone: every cut gives the same pairs.

    Attributes:
        cut: after how many words to ask whether a tile can still hold a pair; after all if asking does not pay.
        cost: what a tile then costs on average, in words.
    """

    cut: int
    cost: float


def best_exit(a: Encodings, b: Encodings, *, threshold: Fraction, measure: Measure) -> EarlyExit:
    """The cut at which some rows of both data sets are compared at the least cost."""
    rng = np.random.default_rng(_SEED)
    a, b = (_drawn(rng, rows, wanted) for rows, wanted in ((a, _SAMPLE_A), (b, _SAMPLE_B)))
    a, b = a[: len(a) // _TILE_ROWS * _TILE_ROWS], b[: len(b) // _LANES * _LANES]
    words: int = a.shape[1]
    if not len(a) or not len(b):
        return EarlyExit(words, float(words))
    needed = measure.common_needed(
        _counts(a)[:, None] + _counts(b)[None, :], threshold=threshold, bits=words * WORD_BITS
    )
    common = np.zeros(needed.shape)
    best, cheapest = words, float(words)
    for cut in range(1, words):
        common += np.bitwise_count(a[:, cut - 1, None] & b[None, :, cut - 1])
        possible = common + np.minimum(_counts(a[:, cut:])[:, None], _counts(b[:, cut:])[None, :]) >= needed
        tiles = possible.reshape(len(a) // _TILE_ROWS, _TILE_ROWS, len(b) // _LANES, _LANES).any(axis=(1, 3))
        left = float(tiles.mean())
        cost = cut + _CHECK_WORDS + _MISTAKEN_WORDS * min(left, 1 - left) + left * (words - cut)
        if cost < cheapest:
            best, cheapest = cut, cost
    return EarlyExit(best, cheapest)


def _counts(encodings: Encodings) -> NDArray[np.float64]:
    counts: NDArray[np.float64] = np.bitwise_count(encodings).sum(axis=1, dtype=np.float64)
    return counts


def _drawn(rng: np.random.Generator, rows: Encodings, wanted: int) -> Encodings:
    # drawn, not taken at even distances: data sets with the same people in the same order would pair up
    drawn: Encodings = rows[rng.choice(len(rows), min(len(rows), wanted), replace=False, shuffle=False)]
    return drawn
