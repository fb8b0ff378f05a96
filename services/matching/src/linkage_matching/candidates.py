"""Finds the pairs that are worth judging: how deep to look, cut into units, done by an executor, put together.

Which pairs are found follows from the data sets alone, never from who did the units or in which order.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from linkage_matching.blocking import Blocking
from linkage_matching.calibration import LARGEST_WHOLE_NULL, LEAST_NULL_ROWS, null_rows
from linkage_matching.datasets import Dataset
from linkage_matching.encodings import Encodings, popcounts
from linkage_matching.errors import InvalidEncodings
from linkage_matching.executors import Executor
from linkage_matching.measure import Measure
from linkage_matching.results import Cancelled, Pairs, Progress
from linkage_matching.sampling import choose_floor
from linkage_matching.scoring import CANDIDATES_PER_ROW, CANDIDATES_PER_ROW_FAR, CROWDED, FAR, NEAR, Ranks
from linkage_matching.unit_store import UnitStore
from linkage_matching.units import Gathering, RowSample, Unit, plan_units

Key = tuple[int, int]
"""Two data sets by number, the lower first; twice the same for the pairs inside one."""

# The floor is picked from so many rows at most; more would be read for no better a floor.
_FLOOR_ROWS = 1 << 18
_ROWS_AT_ONCE = 1 << 16
# A floor is an estimate, and people live in clusters: several times the pairs expected is no surprise, more is a file
# full of copies.
_BUDGET_FACTOR = 4
_LEAST_BUDGET = 1_000_000
# How many times as many pairs of the null as pairs across are enough.
_NULL_TIMES = 6
# Beyond the budget each row keeps what the ranks and its likely matches need.
_BEST_PER_ROW = 32
_BEST_PER_ROW_FAR = 64


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a data set before it is compared.

    Attributes:
        counts: uint64[rows], popcounts.
        sample: some of the rows, all where there are few.
    """

    counts: NDArray[np.uint64]
    sample: Encodings


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of a run.

    Attributes:
        key: which data sets.
        floor: the least similarity of its pairs.
        ranks: which ranks tell the local density.
        budget: how many pairs it may give before only the best of each row are kept.
        best_per_row: how many of each row then.
        sample: for the pairs inside a data set, the rows compared with all; None for all.
        blocking: compare only pairs that share a block.
    """

    key: Key
    floor: Fraction
    ranks: Ranks
    budget: int
    best_per_row: int
    sample: RowSample | None = None
    blocking: Blocking | None = None

    @property
    def within(self) -> bool:
        """Whether it compares a data set with itself."""
        return self.key[0] == self.key[1]

    def units(self, datasets: Sequence[Dataset], *, measure: Measure) -> list[Unit]:
        """Its units of work."""
        first, second = self.key
        return plan_units(
            datasets,
            first=first,
            second=None if self.within else second,
            threshold=self.floor,
            budget=self.budget,
            best_per_row=self.best_per_row,
            measure=measure,
            sample=self.sample,
            blocking=self.blocking,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The pairs of one comparison.

    Attributes:
        comparison: which one.
        pairs: its pairs.
        bounded: there were more than its budget.
    """

    comparison: Comparison
    pairs: Pairs
    bounded: bool


@dataclass(frozen=True, slots=True)
class Candidates:
    """The pairs of a run.

    Attributes:
        surveys: by data set.
        found: by key.
        compared: how many pairs of rows were compared.
        units: in how many units of work.
    """

    surveys: list[Survey]
    found: dict[Key, Found]
    compared: int
    units: int


@dataclass(frozen=True, slots=True)
class Scope:
    """How a run compares.

    Attributes:
        measure: which similarity.
        holds: for each data set whether it may hold several rows of one person.
        at_most: no floor lies above this similarity, if it is given.
        blocking: compare only pairs that share a block; None for all pairs.
        executor: who does the units.
        store: where results of units are kept.
        progress: called with the pairs of rows compared and to compare, over all comparisons.
        cancelled: asked between units of work.
        threads: how many threads look for the floors.
    """

    measure: Measure
    holds: tuple[bool, ...]
    at_most: Fraction | None
    blocking: Blocking | None
    executor: Executor
    store: UnitStore | None
    progress: Progress | None
    cancelled: Cancelled | None
    threads: int | None


def find_candidates(datasets: Sequence[Dataset], *, scope: Scope) -> Candidates:
    """The pairs of every two data sets down to their floors, and those inside each, on which the null rests.

    Raises:
        InvalidEncodings: the data sets have encodings of different lengths.
        MatchingError: see `Executor.run`.
    """
    if len({dataset.bits for dataset in datasets}) > 1:
        lengths = " and ".join(str(bits) for bits in sorted({dataset.bits for dataset in datasets}))
        raise InvalidEncodings(
            f"Encodings of {lengths} bits cannot be compared. Encode all data sets with one linkage schema."
        )
    surveys = [_survey(dataset) for dataset in datasets]
    comparisons = {comparison.key: comparison for comparison in _comparisons(datasets, surveys, scope)}
    units = [unit for comparison in comparisons.values() for unit in comparison.units(datasets, measure=scope.measure)]
    gathering = {key: _gathering(comparison, surveys, datasets, scope) for key, comparison in comparisons.items()}
    for unit, result in scope.executor.run(
        units, datasets, store=scope.store, progress=scope.progress, cancelled=scope.cancelled
    ):
        gathering[unit.first, unit.first if unit.second is None else unit.second].add(result)
    return Candidates(
        surveys=surveys,
        found={key: Found(comparisons[key], *gathered.finish()) for key, gathered in gathering.items()},
        compared=sum(gathered.compared for gathered in gathering.values()),
        units=len(units),
    )


def _survey(dataset: Dataset) -> Survey:
    """Popcounts of all rows, and a sample of them; a small data set is its own sample."""
    drawn = RowSample(_FLOOR_ROWS).rows(dataset.rows)
    counts, pieces = [np.empty(0, np.uint64)], [dataset.read(0, 0)]
    for start in range(0, dataset.rows, _ROWS_AT_ONCE):
        rows = dataset.read(start, min(start + _ROWS_AT_ONCE, dataset.rows))
        counts.append(popcounts(rows))
        if len(drawn) < dataset.rows:
            wanted = drawn[np.searchsorted(drawn, start) : np.searchsorted(drawn, start + len(rows))]
            pieces.append(rows[wanted - start])
    sample = np.concatenate(pieces) if len(drawn) < dataset.rows else dataset.read(0, dataset.rows)
    return Survey(np.concatenate(counts), sample)


def _comparisons(datasets: Sequence[Dataset], surveys: Sequence[Survey], scope: Scope) -> Iterator[Comparison]:
    floors: dict[int, list[Fraction]] = {number: [] for number in range(len(datasets))}
    for x, y in combinations(range(len(datasets)), 2):
        ranks = FAR if scope.holds[x] or scope.holds[y] else NEAR
        across = _comparison((x, y), datasets, surveys, scope, ranks=ranks)
        if datasets[x].rows and datasets[y].rows:
            floors[x].append(across.floor)
            floors[y].append(across.floor)
        yield across
    for number, dataset in enumerate(datasets):
        yield _inside(number, dataset, datasets, surveys, scope, floors=floors[number])


def _inside(
    number: int,
    dataset: Dataset,
    datasets: Sequence[Dataset],
    surveys: Sequence[Survey],
    scope: Scope,
    *,
    floors: list[Fraction],
) -> Comparison:
    """The pairs inside a data set: all of them where duplicates are looked for, else what the null needs."""
    if scope.holds[number]:
        own = _comparison((number, number), datasets, surveys, scope, ranks=CROWDED)
        return replace(own, floor=min([own.floor, *floors]))
    others = [other.rows for place, other in enumerate(datasets) if place != number]
    if scope.blocking is None:
        drawn = null_rows(dataset.rows, cross_pairs=dataset.rows * max(others))
    else:
        # the null needs every pair of the rows it looks at, and a fifth of all pairs is what blocking is to spare
        drawn = LEAST_NULL_ROWS if dataset.rows > LARGEST_WHOLE_NULL else None
    # The floor of comparisons with far smaller data sets is low, and so many pairs inside reach it: as many times the
    # pairs across as there are rows drawn for each row of the small one.
    most = _NULL_TIMES * max(others)
    if 0 < most < (dataset.rows // 2 if drawn is None else drawn):
        drawn = most
    return Comparison(
        key=(number, number),
        # beside empty data sets nothing is to be judged
        floor=min(floors, default=Fraction(1)),
        ranks=NEAR,
        budget=_budget(dataset.rows * CANDIDATES_PER_ROW_FAR),
        best_per_row=_BEST_PER_ROW_FAR,
        sample=None if drawn is None else RowSample(drawn),
    )


def _comparison(
    key: Key, datasets: Sequence[Dataset], surveys: Sequence[Survey], scope: Scope, *, ranks: Ranks
) -> Comparison:
    x, y = key
    near = ranks == NEAR
    wanted = CANDIDATES_PER_ROW if near else CANDIDATES_PER_ROW_FAR
    first, second = surveys[x].sample, None if x == y else surveys[y].sample
    larger = max(datasets[x].rows, datasets[y].rows)
    # the same part of all pairs in the samples as in the whole
    smaller_whole = max(1, min(datasets[x].rows, datasets[y].rows))
    smaller_sample = min(len(surveys[x].sample), len(surveys[y].sample))
    floor = choose_floor(
        first,
        second,
        per_record=wanted * smaller_sample / smaller_whole,
        measure=scope.measure,
        threads=scope.threads,
    ).threshold
    return Comparison(
        key=key,
        floor=floor if scope.at_most is None else min(floor, scope.at_most),
        ranks=ranks,
        budget=_budget(wanted * larger),
        best_per_row=_BEST_PER_ROW if near else _BEST_PER_ROW_FAR,
        blocking=scope.blocking,
    )


def _budget(wanted: float) -> int:
    return max(_LEAST_BUDGET, math.ceil(_BUDGET_FACTOR * wanted))


def _gathering(
    comparison: Comparison, surveys: Sequence[Survey], datasets: Sequence[Dataset], scope: Scope
) -> Gathering:
    first, second = comparison.key
    return Gathering(
        counts_a=surveys[first].counts,
        counts_b=None if comparison.within else surveys[second].counts,
        bits=datasets[first].bits,
        measure=scope.measure,
        budget=comparison.budget,
        best_per_row=comparison.best_per_row,
    )
