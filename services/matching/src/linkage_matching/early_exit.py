"""Where a comparison may end early: after how many words most tiles cannot hold a pair any more."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from linkage_matching.encodings import WORD_BITS, Encodings
from linkage_matching.measure import Measure

# One check costs about as much as this many words of the comparison (measured).
_CHECK_WORDS = 1.5
_TILE_ROWS = 4
_LANES = 8
_SAMPLE_A = 64
_SAMPLE_B = 256
_SEED = 0


def best_cut(a: Encodings, b: Encodings, *, threshold: Fraction, measure: Measure, words: int, step: int) -> int:
    """After how many words to ask whether a tile can still hold a pair; `words` if asking does not pay.

    It is a matter of speed alone: every cut gives the same pairs.
    """
    rng = np.random.default_rng(_SEED)
    a, b = (_drawn(rng, rows, wanted) for rows, wanted in ((a, _SAMPLE_A), (b, _SAMPLE_B)))
    a, b = a[: len(a) // _TILE_ROWS * _TILE_ROWS], b[: len(b) // _LANES * _LANES]
    if not len(a) or not len(b):
        return words
    needed = measure.common_needed(
        _counts(a)[:, None] + _counts(b)[None, :], threshold=threshold, bits=a.shape[1] * WORD_BITS
    )
    common = np.zeros(needed.shape)
    best, cheapest = words, float(words)
    for cut in range(1, a.shape[1]):
        common += np.bitwise_count(a[:, cut - 1, None] & b[None, :, cut - 1])
        if cut % step:
            continue
        possible = common + np.minimum(_counts(a[:, cut:])[:, None], _counts(b[:, cut:])[None, :]) >= needed
        tiles = possible.reshape(len(a) // _TILE_ROWS, _TILE_ROWS, len(b) // _LANES, _LANES).any(axis=(1, 3))
        cost = cut + _CHECK_WORDS + float(tiles.mean()) * (words - cut)
        if cost < cheapest:
            best, cheapest = cut, cost
    return best


def _counts(encodings: Encodings) -> NDArray[np.float64]:
    counts: NDArray[np.float64] = np.bitwise_count(encodings).sum(axis=1, dtype=np.float64)
    return counts


def _drawn(rng: np.random.Generator, rows: Encodings, wanted: int) -> Encodings:
    # drawn, not taken at even distances: data sets with the same people in the same order would pair up
    drawn: Encodings = rows[rng.choice(len(rows), min(len(rows), wanted), replace=False, shuffle=False)]
    return drawn
