"""From common bits to evidence: how much more alike two rows are than chance and their neighbourhoods explain.

Dice finds candidates but is a poor judge of them: it favours rows with many bits set, and common names. The score of a
pair is the correlation of both filters (phi), less the mean local density around both rows (cross-domain similarity
local scaling, Conneau et al. 2018, on ranks). It needs nothing but what the matcher holds.
"""

from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from linkage_matching.errors import MatchingError
from linkage_matching.measure import Measure
from linkage_matching.pairs import Pairs

CANDIDATES_PER_ROW = 20
"""Candidates wanted per row on average. Fewer than 10 cost accuracy, more gained none."""
CANDIDATES_PER_ROW_FAR = 60
"""The same where the ranks are `FAR` or `CROWDED`."""

_ABSENT_QUANTILE = 0.01


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of a row's candidates, counted from 1 for the best, tell how crowded its neighbourhood is.

    Attributes:
        first, last: the first and the last rank that count.
    """

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last:
            raise MatchingError(f"Ranks {self.first} to {self.last} are none. Count from 1, the lower one first.")


NEAR = Ranks(2, 5)
"""For two sources without duplicates: rank 1 is the likely match, the next ones are not."""
FAR = Ranks(6, 12)
"""Where a source may hold several rows of one person, and for deduplication: near ranks are then matches."""
CROWDED = Ranks(10, 20)
"""For deduplication where a person may have ten rows."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of pairs, in the order of the pairs, and the local densities that went into them.

    Attributes:
        scores: float32[n], about -0.3 to 1; higher is more alike.
        density_a: float32[n_a], mean phi of each row's candidates at the ranks used, moved by one number for all rows
            so that both data sets have the same mean. In a pair across, one density comes from either data set; so
            moved, those of two rows of one data set are on the same footing.
        density_b: float32[n_b], the same; within one data set the same array as `density_a`.
    """

    scores: NDArray[np.float32]
    density_a: NDArray[np.float32]
    density_b: NDArray[np.float32]


def score_across(
    pairs: Pairs,
    *,
    counts_a: NDArray[np.uint64],
    counts_b: NDArray[np.uint64],
    bits: int,
    measure: Measure = Measure.DICE,
    ranks: Ranks = NEAR,
) -> Scored:
    """Scores of pairs of rows of two data sets. Swapping the data sets changes no score.

    Arguments:
        pairs: candidates down to a floor that gives about `CANDIDATES_PER_ROW` for each row.
        counts_a: popcounts of all rows of the first data set.
        counts_b: the same of the second.
        bits: length of the encodings.
        measure: DICE gives phi; SIMPLE_MATCHING the share of bits that agree in its place.
        ranks: `NEAR` where neither data set may hold duplicates, else `FAR`.
    """
    values = _evidence(pairs, counts_a, counts_b, bits=bits, measure=measure)
    absent = _absent(values)
    density_a = _density([pairs.row_a], values, rows=len(counts_a), ranks=ranks, absent=absent)
    density_b = _density([pairs.row_b], values, rows=len(counts_b), ranks=ranks, absent=absent)
    _subtract(pairs, density_a, density_b, values)
    if len(density_a) and len(density_b):
        apart = np.float32((density_b.mean(dtype=np.float64) - density_a.mean(dtype=np.float64)) / 2)
        return Scored(values, density_a + apart, density_b - apart)
    return Scored(values, density_a, density_b)


def score_within(
    pairs: Pairs,
    *,
    counts: NDArray[np.uint64],
    bits: int,
    measure: Measure = Measure.DICE,
    ranks: Ranks = FAR,
) -> Scored:
    """Scores of pairs of rows of one data set, for finding its duplicates.

    The arguments are those of `score_across`; every pair is given once, and counts for the density around both rows.
    All pairs down to the floor are needed, not a sample.
    """
    values = _evidence(pairs, counts, counts, bits=bits, measure=measure)
    density = _density([pairs.row_a, pairs.row_b], values, rows=len(counts), ranks=ranks, absent=_absent(values))
    _subtract(pairs, density, density, values)
    return Scored(values, density, density)


def score_null(
    pairs: Pairs,
    *,
    density: NDArray[np.float32],
    counts: NDArray[np.uint64],
    bits: int,
    measure: Measure = Measure.DICE,
) -> NDArray[np.float32]:
    """Scores of pairs of rows inside one data set as if they were pairs across two: evidence of non-matches.

    They are measured against the density that the rows have *in the other data set*. Relatives in a row's own file
    would otherwise raise its density, and hide how high relatives score. So no second comparison of sampled rows'
    partners is needed either.

    Arguments:
        pairs: pairs inside the data set, all of them or those of sampled rows, down to the floor of the comparison
            across or a lower one.
        density: `density_a` or `density_b` of this data set from `score_across`.
        counts: popcounts of all its rows.
        bits: length of the encodings.
        measure: as for `score_across`.
    """
    values = _evidence(pairs, counts, counts, bits=bits, measure=measure)
    _subtract(pairs, density, density, values)
    return values


def _evidence(
    pairs: Pairs, counts_a: NDArray[np.uint64], counts_b: NDArray[np.uint64], *, bits: int, measure: Measure
) -> NDArray[np.float32]:
    from linkage_matching import scoring_kernel  # noqa: PLC0415 - numba is loaded when it is needed, not by import

    match measure:
        case Measure.DICE:
            evidence = scoring_kernel.correlations
        case Measure.SIMPLE_MATCHING:
            evidence = scoring_kernel.agreements
        case _:
            assert_never(measure)
    values = np.empty(len(pairs.common), np.float32)
    evidence(
        pairs.row_a,
        pairs.row_b,
        pairs.common,
        counts_a.astype(np.float64),
        counts_b.astype(np.float64),
        float(bits),
        values,
    )
    return values


def _absent(values: NDArray[np.float32]) -> np.float32:
    """What a candidate that is not there counts: the floor lies between it and those that are."""
    if not len(values):
        return np.float32(0)
    place = int(_ABSENT_QUANTILE * (len(values) - 1))
    lowest: np.float32 = np.partition(values, place)[place]
    return lowest


def _density(
    sides: list[NDArray[np.int32]], values: NDArray[np.float32], *, rows: int, ranks: Ranks, absent: np.float32
) -> NDArray[np.float32]:
    from linkage_matching import scoring_kernel  # noqa: PLC0415 - as above

    best = np.full((rows, ranks.last), absent, np.float32)
    for side in sides:
        scoring_kernel.keep_best(side, values, best)
    density: NDArray[np.float32] = best[:, ranks.first - 1 :].mean(axis=1, dtype=np.float32)
    return density


def _subtract(
    pairs: Pairs, density_a: NDArray[np.float32], density_b: NDArray[np.float32], values: NDArray[np.float32]
) -> None:
    from linkage_matching import scoring_kernel  # noqa: PLC0415 - as above

    scoring_kernel.subtract_means(pairs.row_a, pairs.row_b, density_a, density_b, values)
