"""Every pair of rows whose similarity reaches a threshold: all of them, or the best of each row where they are many."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from linkage_matching.comparison import BestOfRows, Comparison, sorted_keys
from linkage_matching.encodings import Encodings
from linkage_matching.errors import TooManyPairs
from linkage_matching.measure import Measure
from linkage_matching.results import Cancelled, CandidatePairs, Pairs, Progress
from linkage_matching.sampling import estimate_pairs

__all__ = [
    "Cancelled",
    "CandidatePairs",
    "Measure",
    "Pairs",
    "Progress",
    "best_pairs",
    "candidate_pairs",
]

DEFAULT_LIMIT = 100_000_000


def candidate_pairs(
    a: Encodings,
    b: Encodings | None = None,
    *,
    threshold: Fraction,
    measure: Measure = Measure.DICE,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    threads: int | None = None,
    limit: int = DEFAULT_LIMIT,
) -> CandidatePairs:
    """Every pair whose similarity is at least `threshold`, decided in integers.

    Without `b`, every pair of rows of `a` with row_a < row_b. An encoding without any bit matches nothing.

    Arguments:
        a: `(n, bits / 64)` of uint64, memory-mapped if you like.
        b: the other data set, of the same width.
        threshold: in 0..1. Write 0.8 as `Fraction(4, 5)` or `Fraction("0.8")`.
        measure: which similarity.
        progress: called in the calling thread as units of work end, some milliseconds apart.
        cancelled: asked as often; True ends the comparison.
        threads: how many threads compare; by default one for each processor this process may use.
        limit: the most pairs that may be found; 24 bytes each. For more, see `spill_candidate_pairs`.

    Raises:
        InvalidEncodings, InvalidThreshold: the input cannot be compared.
        TooManyPairs: more than `limit` pairs, by estimate before the work starts or by count during it.
        MatchingCancelled: `cancelled` answered True.
    """
    comparison = Comparison.of(a, b, threshold=threshold, measure=measure)
    bound = Limit(comparison, limit)
    bound.check_estimate(threads=threads)
    collector = _Everything(comparison, bound)
    comparison.run(collector, progress=progress, cancelled=cancelled, threads=threads)
    return comparison.decode(collector.finish())


def best_pairs(
    a: Encodings,
    b: Encodings | None = None,
    *,
    threshold: Fraction,
    budget: int,
    best_per_row: int,
    measure: Measure = Measure.DICE,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    threads: int | None = None,
) -> tuple[Pairs, bool]:
    """Every pair that reaches the threshold, or the best of each row where these are more than `budget`.

    Arguments:
        a: `(n, bits / 64)` of uint64, memory-mapped if you like.
        b: the other data set, of the same width; without it, pairs of `a` with row_a < row_b.
        threshold: in 0..1.
        budget: how many pairs there may be before only the best of each row are kept.
        best_per_row: then a pair is kept if it is among this many best of either of its rows.
        measure: which similarity.
        progress: as in `candidate_pairs`.
        cancelled: as in `candidate_pairs`.
        threads: as in `candidate_pairs`.

    Returns:
        The pairs, and whether the budget was exceeded. Both depend on the input alone, not on threads or timing.

    Raises:
        InvalidEncodings, InvalidThreshold: the input cannot be compared.
        MatchingCancelled: `cancelled` answered True.
    """
    comparison = Comparison.of(a, b, threshold=threshold, measure=measure)
    collector = BestOfRows(comparison, budget=budget, best=best_per_row)
    comparison.run(collector, progress=progress, cancelled=cancelled, threads=threads)
    return comparison.compact(collector.finish()), collector.bounded


class Limit:
    """Refuses more pairs than allowed, before the work by a sample, and during it by count."""

    def __init__(self, comparison: Comparison, limit: int) -> None:
        self._comparison = comparison
        self._limit = limit

    def check_estimate(self, *, threads: int | None) -> None:
        """Raise TooManyPairs if a sample says that more pairs pass."""
        if self._comparison.total <= self._limit:
            return
        comparison = self._comparison
        estimate = estimate_pairs(
            comparison.a,
            None if comparison.within else comparison.b,
            threshold=comparison.layout.threshold,
            measure=comparison.layout.measure,
            threads=threads,
        ).pairs(0)
        if estimate > self._limit:
            raise self._refusal(estimate)

    def check_count(self, count: int) -> None:
        """Raise TooManyPairs if so many pairs, found so far, are more."""
        if count > self._limit:
            raise self._refusal(count)

    def _refusal(self, count: int) -> TooManyPairs:
        comparison = self._comparison
        threshold = comparison.layout.threshold
        estimate = estimate_pairs(
            comparison.a,
            None if comparison.within else comparison.b,
            threshold=threshold,
            measure=comparison.layout.measure,
        )
        # about half the limit, because an estimate is one
        fitting = (
            Fraction(hundredths, 100)
            for hundredths in range(int(threshold * 100) + 1, 101)
            if estimate.pairs(hundredths * 10) <= self._limit // 2
        )
        return TooManyPairs(
            estimate=max(count, estimate.pairs(0)), limit=self._limit, suggested_threshold=next(fitting, None)
        )


class _Everything:
    """Keeps every pair, up to a limit."""

    def __init__(self, comparison: Comparison, limit: Limit) -> None:
        self.floor_a = np.zeros(comparison.ranking.rows_a, np.uint64)
        self.floor_b = np.zeros(comparison.ranking.rows_b, np.uint64)
        self._limit = limit
        self._chunks: list[NDArray[np.uint64]] = []
        self._count = 0

    def add(self, keys: NDArray[np.uint64]) -> None:
        self._count += len(keys)
        self._limit.check_count(self._count)
        self._chunks.append(keys)

    def finish(self) -> NDArray[np.uint64]:
        return sorted_keys(self._chunks)
