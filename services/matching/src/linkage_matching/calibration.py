"""Match probabilities without labels: how many pairs of a one-to-one list would be there if nobody matched.

Pairs of rows inside one data set are nearly all different people, siblings and namesakes included, so they show how
high non-matches score. Where the one-to-one list across two data sets has more pairs at a score than that explains,
the rest are matches. No shape of either distribution is assumed, but two things are: that matches become the larger
part of the list as the score rises, and that pairs of relatives are no more frequent across than inside data sets.

What the null must hold: all pairs of rows inside each data set down to the floor of the comparison across (or lower),
or, where that is many, all pairs of at least one of the rows that `null_rows` says to draw.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from linkage_matching.aims import Aim, BestF1, FixedThreshold, TargetPrecision

LARGEST_WHOLE_NULL = 20_000
"""Up to this many rows a data set is compared with itself as a whole: some tenths of a second."""
LEAST_NULL_ROWS = 2_000
"""Of larger ones at least this many rows are drawn."""

_NULL_SHARE = 0.2
_LEAST_PAIRS = 30
_FEW_MATCHES = 100


class FindingCode(StrEnum):
    """What may have to be said of the figures of a run."""

    NO_SEPARATION = "no_separation"
    FEW_MATCHES = "few_matches"
    TOO_SMALL = "too_small"
    UNEQUAL_POPULATIONS = "unequal_populations"
    DUPLICATES_IN_SOURCE = "duplicates_in_source"
    BOUNDED_CANDIDATES = "bounded_candidates"
    BLOCKING = "blocking"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader of the figures must know.

    Attributes:
        code: what it is, for programs.
        message: what it is, what it means and what to do, in plain words.
        sides: which of the two data sets compared it is about: 0 the first, 1 the second.
    """

    code: FindingCode
    message: str
    sides: tuple[int, ...] = (0, 1)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and bounds that should hold the true value nine times in ten."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Null:
    """Scored pairs of rows inside one data set.

    Attributes:
        row_1, row_2: int32[m]; each pair once.
        scores: float32[m], from `score_null`.
        rows: how many rows the data set has.
        sampled: int64, numbers of the rows that were compared with all rows; None if all were.
    """

    row_1: NDArray[np.int32]
    row_2: NDArray[np.int32]
    scores: NDArray[np.float32]
    rows: int
    sampled: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class OneToOne:
    """The pairs that greedy one-to-one solving takes by descending score, without any cut.

    Attributes:
        row_a, row_b: integer row numbers, each at most once.
        scores: float32[n], in the order of solving (highest first).
    """

    row_a: NDArray[np.integer]
    row_b: NDArray[np.integer]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a score means for two data sets.

    Attributes:
        usable: whether there are probabilities. If not, `findings` says why, and `probability` is 0 everywhere.
        matches: how many matches the one-to-one list holds.
        edges: float64[k + 1] scores, ascending; the bins of the histogram, empty if the list is.
        observed: float64[k], pairs of the one-to-one list in each bin.
        expected: float64[k], how many of them are expected to be non-matches.
        knots: float64, ascending scores at which `levels` are the probabilities; between them it is interpolated.
        levels: float64, ascending, in 0..1.
        findings: what must be said.
    """

    usable: bool
    matches: Interval
    edges: NDArray[np.float64]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    knots: NDArray[np.float64]
    levels: NDArray[np.float64]
    findings: tuple[Finding, ...]

    def probability(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Match probabilities of pairs with these scores: float64 in 0..1, 1 excluded, never falling with the score."""
        if not self.usable:
            return np.zeros(len(scores))
        found: NDArray[np.float64] = np.interp(scores, self.knots, self.levels)
        return found


def null_rows(rows: int, *, cross_pairs: int) -> int | None:
    """How many rows of a data set to compare with all of its rows for its null; None for all.

    Arguments:
        rows: how many rows it has.
        cross_pairs: how many pairs of rows the (largest) comparison of this data set with another has. The null takes
            about a fifth as many.
    """
    if rows <= LARGEST_WHOLE_NULL:
        return None
    wanted = max(LEAST_NULL_ROWS, math.ceil(_NULL_SHARE * cross_pairs / rows))
    return wanted if wanted < rows // 2 else None


def calibrate(taken: OneToOne, *, null_a: Null, null_b: Null) -> Calibration:
    """The match probability at each score, from the excess of the one-to-one list over the null.

    Arguments:
        taken: the one-to-one list across both data sets.
        null_a: pairs inside the first data set.
        null_b: pairs inside the second.
    """
    if len(taken) < _LEAST_PAIRS or not len(null_a.scores) + len(null_b.scores):
        return _nothing(taken, _too_small(len(taken)))
    counts = _count(taken, (null_a, null_b))
    return _calibration(counts)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What is expected of a cut at a probability: links are all pairs of the one-to-one lists at or above it."""

    score: float
    probability: float
    links: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a run cuts.

    Attributes:
        probability: the least match probability of a link; 1, which no pair has, where nothing may be linked.
        links: how many pairs of all one-to-one lists reach it.
        precision, recall, f1: what is expected there; None without links.
        matches: how many matches there are in all lists together.
    """

    probability: float
    links: int
    precision: float | None
    recall: float | None
    f1: float | None
    matches: Interval


def choose_cut(calibrated: Sequence[tuple[Calibration, NDArray[np.floating]]], aim: Aim) -> Cut:
    """One probability for all pairs of data sets, by the aim of the run.

    `BestF1`: the prefix of all pairs by descending probability with the highest expected F1, `2 Σp / (length + M)`.
    `TargetPrecision`: the longest prefix whose mean probability reaches the target. Pairs of equal probability are
    taken together or not at all.

    Arguments:
        calibrated: for every two data sets the calibration and the scores of the one-to-one list. Those that are not
            usable have no links.
        aim: `FixedThreshold` cuts by similarity, not by probability, and is the caller's business: for it every pair
            stays, and the figures are what to expect if all are links.
    """
    usable = [(calibration, scores) for calibration, scores in calibrated if calibration.usable]
    matches = _total([calibration.matches for calibration, _ in usable])
    values = np.concatenate([np.empty(0), *(calibration.probability(scores) for calibration, scores in usable)])
    prefixes = _Prefixes.of(values, matches.estimate)
    match aim:
        case BestF1():
            place = int(prefixes.f1.argmax()) if len(prefixes.f1) and prefixes.f1.max() > 0 else None
        case TargetPrecision(target):
            reached = np.flatnonzero(prefixes.precision >= target)
            place = int(reached[-1]) if len(reached) else None
        case FixedThreshold():
            place = len(prefixes.f1) - 1 if len(prefixes.f1) else None
    if place is None:
        return Cut(1.0, 0, None, None, None, matches)
    return Cut(
        probability=float(prefixes.probability[place]),
        links=int(prefixes.links[place]),
        precision=float(prefixes.precision[place]),
        recall=float(prefixes.recall[place]),
        f1=float(prefixes.f1[place]),
        matches=matches,
    )


def curve(calibration: Calibration, scores: NDArray[np.floating], *, points: int = 60) -> list[CurvePoint]:
    """What is expected of cuts at about so many places of a one-to-one list, highest probability first."""
    if not calibration.usable or not len(scores):
        return []
    ordered = -np.sort(-scores)
    values = calibration.probability(ordered)
    prefixes = _Prefixes.of(values, calibration.matches.estimate)
    kept = np.unique(np.linspace(0, len(prefixes.links) - 1, points).round().astype(np.int64))
    return [
        CurvePoint(
            score=float(ordered[prefixes.links[place] - 1]),
            probability=float(prefixes.probability[place]),
            links=int(prefixes.links[place]),
            precision=float(prefixes.precision[place]),
            recall=float(prefixes.recall[place]),
            f1=float(prefixes.f1[place]),
        )
        for place in kept.tolist()
    ]


@dataclass(frozen=True, slots=True)
class _Prefixes:
    """Of a list of probabilities, all prefixes that part no equal ones."""

    probability: NDArray[np.float64]
    links: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64], matches: float) -> "_Prefixes":
        ordered = -np.sort(-values)
        ends = np.flatnonzero(np.append(np.diff(ordered) != 0, np.ones(min(len(ordered), 1), bool)))
        links = ends + 1
        right = np.cumsum(ordered)[ends]
        return cls(
            probability=ordered[ends],
            links=links,
            precision=right / links,
            recall=np.minimum(right / max(matches, 1e-9), 1.0),
            f1=2 * right / (links + matches),
        )


def _total(parts: Sequence[Interval]) -> Interval:
    """The sum; errors of different comparisons are taken to be independent."""
    estimate = sum(part.estimate for part in parts)
    below = math.sqrt(sum((part.estimate - part.low) ** 2 for part in parts))
    above = math.sqrt(sum((part.high - part.estimate) ** 2 for part in parts))
    return Interval(estimate, max(estimate - below, 0.0), estimate + above)


# --- counting --------------------------------------------------------------------------------------------------------

_PAIRS_A_BIN = 60
_FEWEST_BINS = 12
_MOST_BINS = 200
_PAIRS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Counts:
    """Pairs by score. `expected` is what `examined` pairs of the null stand for in the list."""

    edges: NDArray[np.float64]
    knots: NDArray[np.float64]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    examined: NDArray[np.float64]


def _count(taken: OneToOne, nulls: tuple[Null, Null]) -> _Counts:
    ascending = np.sort(taken.scores.astype(np.float64))
    wanted = int(np.clip(len(ascending) / _PAIRS_A_BIN, _FEWEST_BINS, _MOST_BINS))
    places = np.unique(np.linspace(0, len(ascending), wanted + 1).round().astype(np.int64))[:-1]
    lower = np.unique(ascending[places])
    observed = np.diff(np.append(np.searchsorted(ascending, lower), len(ascending))).astype(np.float64)
    middles = np.append(np.searchsorted(ascending, lower), len(ascending))
    knots = ascending[(middles[:-1] + middles[1:] - 1) // 2]
    free = _free_pairs(taken, nulls)
    examined, expected = np.zeros(len(lower)), np.zeros(len(lower))
    for null, rows in zip(nulls, (taken.row_a, taken.row_b), strict=True):
        taken_at = np.full(null.rows, -np.inf, np.float32)
        taken_at[rows] = taken.scores
        for start in range(0, len(null.scores), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            scores = null.scores[part]
            # greedy solving reaches this score with both rows still without a partner
            both = (taken_at[null.row_1[part]] <= scores) & (taken_at[null.row_2[part]] <= scores)
            scores = scores[both & (scores >= lower[0])]
            gone = len(ascending) - np.searchsorted(ascending, scores, side="right")
            bins = np.searchsorted(lower, scores, side="right") - 1
            examined += np.bincount(bins, minlength=len(lower))
            expected += np.bincount(bins, weights=free[gone], minlength=len(lower))
    return _Counts(np.append(lower, ascending[-1]), knots, observed, expected, examined)


def _free_pairs(taken: OneToOne, nulls: tuple[Null, Null]) -> NDArray[np.float64]:
    """How many pairs across one pair of the null stands for, by how many pairs of the list are taken already."""
    gone = np.arange(len(taken) + 1)
    across = np.ones(len(gone))
    inside = np.zeros(len(gone))
    for null, rows in zip(nulls, (taken.row_a, taken.row_b), strict=True):
        free = null.rows - gone
        across *= free
        if null.sampled is None:
            inside += free * (free - 1) / 2
            continue
        drawn = np.zeros(null.rows, bool)
        drawn[null.sampled] = True
        free_drawn = len(null.sampled) - np.concatenate([[0], np.cumsum(drawn[rows])])
        inside += free_drawn * (free - free_drawn) + free_drawn * (free_drawn - 1) / 2
    return across / np.maximum(inside, 1)


# --- the excess over the null ----------------------------------------------------------------------------------------


def _calibration(counts: _Counts) -> Calibration:
    levels, share = _levels(counts.observed, counts.expected)
    estimate = float((levels * counts.observed).sum())
    findings: list[Finding] = []
    if estimate < _FEW_MATCHES:
        findings.append(_few_matches())
    return Calibration(
        usable=True,
        matches=Interval(estimate, estimate, estimate),
        edges=counts.edges,
        observed=counts.observed,
        expected=np.minimum(share * counts.expected, counts.observed),
        knots=counts.knots,
        levels=levels,
        findings=tuple(findings),
    )


def _levels(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Match probability of each bin, and the share of the expected pairs that are there."""
    padded = expected + 0.25
    ratio, lowest = _valley(observed, padded)
    share = min(1.0, float(ratio[lowest]))
    levels = np.maximum(0.0, 1 - share / np.maximum(ratio, share))
    levels[:lowest] = levels[lowest]
    return np.maximum.accumulate(levels), share


def _valley(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """The likeliest ratio of observed to expected that falls and then rises, and the last place where it is lowest."""
    before = _falling(observed, expected)
    after = _falling(observed[::-1], expected[::-1])
    split = int((before.likelihood + after.likelihood[::-1]).argmax())
    ratio = np.concatenate([before.ratios(split), after.ratios(len(observed) - split)[::-1]])
    return ratio, int(np.flatnonzero(ratio == ratio.min())[-1])


@dataclass(frozen=True, slots=True)
class _Falling:
    """The likeliest falling ratios of counts to their expectations (Poisson), for all beginnings of the counts.

    Attributes:
        likelihood: float64[k + 1], of the first 0, 1, ... k counts, but for a constant.
    """

    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    likelihood: NDArray[np.float64]

    def ratios(self, count: int) -> NDArray[np.float64]:
        """The ratios of the first `count`."""
        blocks = _pooled(self.observed[:count].tolist(), self.expected[:count].tolist(), [0.0])
        return np.repeat([block[0] / block[1] for block in blocks], [int(block[2]) for block in blocks])


def _falling(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> _Falling:
    likelihood = [0.0]
    _pooled(observed.tolist(), expected.tolist(), likelihood)
    return _Falling(observed, expected, np.array(likelihood))


def _pooled(
    observed: Sequence[float], expected: Sequence[float], likelihood: list[float]
) -> list[tuple[float, float, int, float]]:
    """Pool adjacent violators (Ayer et al. 1955): blocks of observed, expected, length and likelihood up to there.

    The likelihood after each count is appended to the list.
    """
    blocks: list[tuple[float, float, int, float]] = []
    for count, mean in zip(observed, expected, strict=True):
        block_count, block_mean, length = count, mean, 1
        while blocks and blocks[-1][0] * block_mean <= block_count * blocks[-1][1]:
            earlier = blocks.pop()
            block_count, block_mean, length = block_count + earlier[0], block_mean + earlier[1], length + earlier[2]
        sofar = blocks[-1][3] if blocks else 0.0
        gain = block_count * math.log(block_count / block_mean) - block_count if block_count > 0 else 0.0
        blocks.append((block_count, block_mean, length, sofar + gain))
        likelihood.append(sofar + gain)
    return blocks


# --- what is said ----------------------------------------------------------------------------------------------------


def _nothing(taken: OneToOne, finding: Finding) -> Calibration:
    empty = np.empty(0)
    return Calibration(
        usable=False,
        matches=Interval(0.0, 0.0, float(len(taken))),
        edges=empty,
        observed=empty,
        expected=empty,
        knots=empty,
        levels=empty,
        findings=(finding,),
    )


def _too_small(pairs: int) -> Finding:
    return Finding(
        FindingCode.TOO_SMALL,
        f"Only {pairs} pairs of records are alike enough to be compared with chance. That is too little to say how "
        "likely a match is. Link with a fixed threshold, and check the links by hand.",
    )


def _few_matches() -> Finding:
    return Finding(
        FindingCode.FEW_MATCHES,
        f"Fewer than about {_FEW_MATCHES} matches were found. The probabilities rest on few cases and are rough; "
        "see the interval of the number of matches, and check a sample of the links.",
    )
