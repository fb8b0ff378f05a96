"""Linking: data sets of encodings in, groups out. What a run of the service calls."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from linkage_matching.encodings import Encodings, popcounts
from linkage_matching.errors import MatchingError
from linkage_matching.pairs import BestOfRows, Cancelled, CandidatePairs, Comparison, Progress
from linkage_matching.solving import Groups, solve

# Of eight million pairs the solver for three and more data sets takes about half a minute and 1.5 GB, as measured;
# the one for two, a second.
PAIR_BUDGET = 8_000_000
# A row that loses its 32 best candidates to better pairs has no match worth having: at the low threshold of 0.55,
# 0.5 % of rows were linked otherwise than with all pairs.
BEST_PER_ROW = 32

_TWO = 2


def link(
    datasets: Sequence[Encodings],
    *,
    threshold: Fraction,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    threads: int | None = None,
    pair_budget: int = PAIR_BUDGET,
    best_per_row: int = BEST_PER_ROW,
) -> Groups:
    """Compare every pair of data sets and decide which rows are one entity.

    Memory stays bounded at every threshold: all pairs of data sets share `pair_budget` equally, and where two data
    sets have more candidate pairs, only those among the `best_per_row` best of either row are kept. The result
    depends on the input alone, not on threads or timing.

    Arguments:
        datasets: two or more arrays of encodings, `(n, bits / 64)` of uint64, of one length.
        threshold: the least Dice similarity of a candidate pair, in 0..1.
        progress: called with the pairs of rows compared so far, over all data sets, and the pairs to compare in all.
        cancelled: asked between units of work; True ends the run with MatchingCancelled.
        threads: how many threads compare; by default one for each processor this process may use.
        pair_budget: how many candidate pairs there may be in all before only the best of each row are kept.
        best_per_row: how many pairs of each row are then kept.

    Returns:
        The groups; their similarity is the lowest of all pairs of rows in the group, candidates or not.

    Raises:
        MatchingError: see `candidate_pairs`. The number of pairs is no reason here.
    """
    if len(datasets) < _TWO:
        raise MatchingError(f"Linking needs at least two data sets; {len(datasets)} were given.")
    sizes = [len(dataset) for dataset in datasets]
    total = sum(first * second for first, second in combinations(sizes, _TWO))
    candidates: dict[tuple[int, int], CandidatePairs] = {}
    done = 0
    share = pair_budget // math.comb(len(datasets), _TWO)
    for first, second in combinations(range(len(datasets)), _TWO):
        comparison = Comparison.of(datasets[first], datasets[second], threshold=threshold)
        collector = BestOfRows(comparison, budget=share, best=best_per_row)
        comparison.run(
            collector, progress=_continued(progress, done=done, total=total), cancelled=cancelled, threads=threads
        )
        candidates[first, second] = comparison.decode(collector.finish())
        done += comparison.total
    groups = solve(candidates, sizes=sizes)
    if len(datasets) == _TWO:
        return groups
    return replace(groups, similarity=_lowest_similarity(datasets, groups))


def _continued(progress: Progress | None, *, done: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda here, _: progress(done + here, total)


def _lowest_similarity(datasets: Sequence[Encodings], groups: Groups) -> NDArray[np.float64]:
    """A group of three may hold a pair that is no candidate: what is reported is computed from the encodings."""
    lowest = np.full(groups.count, np.inf)
    row_of = [_rows_of_groups(membership, groups.count) for membership in groups.membership]
    for first, second in combinations(range(len(datasets)), _TWO):
        both = np.flatnonzero((row_of[first] >= 0) & (row_of[second] >= 0))
        a, b = datasets[first][row_of[first][both]], datasets[second][row_of[second][both]]
        lowest[both] = np.minimum(lowest[both], 2 * popcounts(a & b) / np.maximum(popcounts(a) + popcounts(b), 1))
    return lowest


def _rows_of_groups(membership: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    rows = np.full(count, -1, np.int64)
    grouped = np.flatnonzero(membership >= 0)
    rows[membership[grouped]] = grouped
    return rows
