"""What some rows say about all of them: how many pairs a threshold gives, and which threshold gives so many pairs."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from linkage_matching.comparison import Comparison
from linkage_matching.encodings import Encodings
from linkage_matching.measure import Measure

# Small enough to look at without the kernel's early exit, in a few hundredths of a second.
_FIRST_PAIRS = 1 << 20
_FIRST_ROWS = 512
# As many pairs as are compared in some tenths of a second. The error comes from the rows: those with common names
# have many times the candidates of others.
_SECOND_PAIRS = 400_000_000
_SECOND_ROWS = 3072
# An estimate that rests on fewer pairs is made again from more rows.
_ENOUGH = 1000
_SEED = 0
_STEPS = 1000
_LOWEST_FLOOR = 50


@dataclass(frozen=True, slots=True)
class Floor:
    """Down to which similarity pairs are worth having.

    Attributes:
        threshold: a whole number of thousandths.
        expected_pairs: about how many pairs reach it.
    """

    threshold: Fraction
    expected_pairs: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many pairs reach each similarity of a threshold and above.

    Attributes:
        reaching: for k from 0 to 1000, how many of the pairs looked at have a similarity of at least k thousandths,
            and of at least the threshold.
        part: which part of all pairs was looked at.
        enough: whether it rests on enough pairs, or on all.
    """

    reaching: NDArray[np.int64]
    part: float
    enough: bool

    def pairs(self, thousandths: int) -> int:
        """About how many of all pairs reach the similarity."""
        return math.ceil(int(self.reaching[thousandths]) / self.part) if self.part else 0


def choose_floor(
    a: Encodings,
    b: Encodings | None = None,
    *,
    per_record: float = 20,
    measure: Measure = Measure.DICE,
    threads: int | None = None,
) -> Floor:
    """The threshold at which the records of the larger data set have about `per_record` candidates on average.

    Without `b`, the records of `a` within it. Data sets of up to some ten thousand rows are looked at in full, larger
    ones by a sample, the same at every call; in tests the number of pairs was within 15 % of the one wanted. Where
    nothing is so rare (tiny data sets), it is 0.05, which leaves out only pairs that no one would look at.

    Raises:
        InvalidEncodings: the input cannot be compared.
    """
    larger = len(a) if b is None else max(len(a), len(b))
    total = _pairs_of(a, b)
    wanted = per_record * larger / (2 if b is None else 1)
    if wanted >= total:
        threshold = Fraction(_LOWEST_FLOOR, _STEPS)
        return Floor(threshold, estimate_pairs(a, b, threshold=threshold, measure=measure).pairs(_LOWEST_FLOOR))
    rows = _sampled(a, b, pairs=_FIRST_PAIRS, rows=_FIRST_ROWS)
    estimate = _counted(rows, total, threshold=Fraction(_LOWEST_FLOOR, _STEPS), measure=measure, threads=threads)
    if estimate.part < 1:
        # A sample of a million pairs says where about one in a thousand lies; pairs rarer than that are then counted
        # in a larger one, from a threshold that leaves few enough of them to hold.
        first, rows = estimate, _sampled(a, b, pairs=_SECOND_PAIRS, rows=_SECOND_ROWS)
        several = 4
        while True:
            lowest = _nearest(first, max(several * wanted, _ENOUGH / first.part))
            estimate = _counted(rows, total, threshold=Fraction(lowest, _STEPS), measure=measure, threads=threads)
            if lowest == _LOWEST_FLOOR or estimate.pairs(lowest) > wanted:
                break
            several *= 4
    chosen = _nearest(estimate, wanted)
    return Floor(Fraction(chosen, _STEPS), estimate.pairs(chosen))


def estimate_pairs(
    a: Encodings,
    b: Encodings | None,
    *,
    threshold: Fraction,
    measure: Measure = Measure.DICE,
    threads: int | None = None,
) -> Estimate:
    """About how many pairs reach the threshold, from a million pairs of rows, or from more where that says too little.

    Raises:
        InvalidEncodings, InvalidThreshold: the input cannot be compared.
    """
    total = _pairs_of(a, b)
    estimate = _counted(
        _sampled(a, b, pairs=_FIRST_PAIRS, rows=_FIRST_ROWS),
        total,
        threshold=threshold,
        measure=measure,
        threads=threads,
    )
    if estimate.enough:
        return estimate
    # a fiftieth of the work that follows, if it does
    rows = _sampled(a, b, pairs=min(max(total // 50, _FIRST_PAIRS), _SECOND_PAIRS), rows=_SECOND_ROWS)
    return _counted(rows, total, threshold=threshold, measure=measure, threads=threads)


def _pairs_of(a: Encodings, b: Encodings | None) -> int:
    return len(a) * (len(a) - 1) // 2 if b is None else len(a) * len(b)


def _counted(
    rows: tuple[Encodings, Encodings | None],
    total: int,
    *,
    threshold: Fraction,
    measure: Measure,
    threads: int | None,
) -> Estimate:
    comparison = Comparison.of(*rows, threshold=threshold, measure=measure)
    counter = _Counter(comparison)
    comparison.run(counter, threads=threads)
    reaching = np.cumsum(counter.counts[::-1])[::-1]
    part = comparison.total / total if total else 1.0
    return Estimate(reaching=reaching, part=part, enough=part == 1 or int(reaching[0]) >= _ENOUGH)


class _Counter:
    """Counts pairs by thousandths of similarity."""

    def __init__(self, comparison: Comparison) -> None:
        self.floor_a = np.zeros(comparison.ranking.rows_a, np.uint64)
        self.floor_b = np.zeros(comparison.ranking.rows_b, np.uint64)
        self.counts = np.zeros(_STEPS + 1, np.int64)
        self._comparison = comparison

    def add(self, keys: NDArray[np.uint64]) -> None:
        layout = self._comparison.layout
        found = self._comparison.decoded(keys)
        thousandths = layout.measure.thousandths(found.common, found.bit_sums, bits=layout.bits)
        self.counts += np.bincount(thousandths, minlength=_STEPS + 1)


def _nearest(estimate: Estimate, wanted: float) -> int:
    """The thousandths, of those counted, at which the number of pairs is nearest to the one wanted."""
    counted = np.maximum(estimate.reaching / estimate.part, 0.5)
    distance = np.abs(np.log(counted / max(wanted, 0.5)))
    # below the threshold that was counted from the numbers stay the same: its own is the last of them
    best = np.flatnonzero(distance == distance.min())[-1]
    return max(int(best), _LOWEST_FLOOR)


def _sampled(a: Encodings, b: Encodings | None, *, pairs: int, rows: int) -> tuple[Encodings, Encodings | None]:
    """Some rows of two data sets, or some of one and others of the same; all where there are no more pairs.

    They are drawn, not taken at even distances: two data sets that hold the same people in the same order would give
    a sample full of matches.
    """
    if _pairs_of(a, b) <= pairs:
        return a, b
    rng = np.random.default_rng(_SEED)
    if b is None:
        few, many = _shares(len(a) // 2, len(a) - len(a) // 2, pairs=pairs, rows=rows)
        drawn = _drawn(rng, len(a), few + many)
        rng.shuffle(drawn)
        return a[np.sort(drawn[:few])], a[np.sort(drawn[few:])]
    if len(a) <= len(b):
        few, many = _shares(len(a), len(b), pairs=pairs, rows=rows)
        return a[_drawn(rng, len(a), few)], b[_drawn(rng, len(b), many)]
    few, many = _shares(len(b), len(a), pairs=pairs, rows=rows)
    # the smaller one first here, too, so that turning two of different sizes round gives the same rows
    drawn = _drawn(rng, len(b), few)
    return a[_drawn(rng, len(a), many)], b[drawn]


def _shares(smaller: int, larger: int, *, pairs: int, rows: int) -> tuple[int, int]:
    few = max(min(smaller, rows), 1)
    return few, min(larger, pairs // few)


def _drawn(rng: np.random.Generator, count: int, wanted: int) -> NDArray[np.int64]:
    """In their order, so that what is memory-mapped is read from front to back."""
    return np.sort(rng.choice(count, wanted, replace=False, shuffle=False))
