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
    """An estimate, and bounds that hold the true value nine times in ten where fields are full, less often if weak."""

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
        least: pairs of a lower score have probability 0.
    """

    usable: bool
    matches: Interval
    edges: NDArray[np.float64]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    knots: NDArray[np.float64]
    levels: NDArray[np.float64]
    findings: tuple[Finding, ...]
    least: float = -math.inf

    def probability(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Match probabilities of pairs with these scores: float64 in 0..1, 1 excluded, never falling with the score."""
        if not self.usable:
            return np.zeros(len(scores))
        found: NDArray[np.float64] = np.interp(scores, self.knots, self.levels)
        found[np.asarray(scores, np.float64) < self.least] = 0.0
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

    Of the pairs inside a data set those count at a score whose rows are both still without a partner when greedy
    solving gets there: what is left over of both data sets is what false pairs are made of.

    Not usable, and said: fewer than 30 pairs (`TOO_SMALL`); a list whose top is no better than the null
    (`NO_SEPARATION`), as of data sets without common people, or of fields that cannot tell people apart. A data set
    whose pairs inside look like matches (`DUPLICATES_IN_SOURCE`) is left out of the null, or where both do, those
    pairs are. Where one data set has far more such pairs at the scores that matter (`UNEQUAL_POPULATIONS`), it is
    believed.

    Arguments:
        taken: the one-to-one list across both data sets.
        null_a: pairs inside the first data set.
        null_b: pairs inside the second.
    """
    if len(taken) < _LEAST_PAIRS or not len(null_a.scores) + len(null_b.scores):
        return _unusable(_too_small(len(taken)))
    evidence = _Evidence.of(taken, null_a, null_b)
    counts, findings = evidence.counts(), []
    if evidence.duplicated:
        findings.append(_duplicates(evidence.duplicated))
    elif (larger := evidence.larger(counts)) is not None:
        counts = evidence.counts(larger)
        findings.append(_unequal(larger))
    listed = evidence.listed
    if _separation(counts) < _LEAST_SEPARATION:
        return _unusable(*findings, _no_separation())
    levels = _levels(counts, *_share(counts))
    matches = _matches(listed, counts, levels, most=min(evidence.sizes))
    if matches.estimate < _FEW_MATCHES:
        findings.append(_few_matches())
    return Calibration(
        usable=True,
        matches=matches,
        edges=listed.edges,
        observed=counts.observed,
        expected=counts.observed * (1 - levels),
        knots=listed.knots,
        levels=levels,
        findings=tuple(findings),
        least=_least(float(listed.edges[0]), (null_a, null_b)),
    )


def _least(lowest: float, nulls: Sequence[Null]) -> float:
    """Below which score no pair that the list passed over is believed.

    Where everybody has a match the list holds matches only, and ends high above all non-matches. A pair that it passed
    over in between is another row of the same person; one among the non-matches is none.
    """
    highest = max(float(null.scores.max(initial=-np.inf)) for null in nulls)
    return (lowest + min(lowest, highest)) / 2


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
    `TargetPrecision`: the longest prefix whose mean probability reaches the target, without pairs that are more likely
    wrong than right: where nearly all is certain, they would be ballast that the target allows (and raised recall by
    no more than 0.005 on generated people). Pairs of equal probability are taken together or not at all.

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
            likely = prefixes.probability >= _EVEN
            reached = np.flatnonzero(likely & (prefixes.precision >= target))
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
    """The sum, bounds too: what is not known of the null and of hidden matches errs one way in every comparison."""
    return Interval(
        estimate=sum(part.estimate for part in parts),
        low=sum(part.low for part in parts),
        high=sum(part.high for part in parts),
    )


# --- counting --------------------------------------------------------------------------------------------------------

_PAIRS_A_BIN = 25
_FEWEST_BINS = 12
_MOST_BINS = 300
_WIDTHS = 100
_FIRST_BIN = 10
_TAIL_PAIRS = 20
_LEAST_WEIGHT = 0.1
_PAIRS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class _List:
    """The one-to-one list by ascending score, and its bins: bin k is places `starts[k]` to before `starts[k + 1]`."""

    scores: NDArray[np.float32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, taken: OneToOne) -> "_List":
        """Bins of about equal counts, smaller at the top, and none wider than a hundredth of all scores.

        Narrow bins cost nothing, because neighbours that do not rise are pooled. Wide ones would hide where, between
        non-matches and matches, the null ends.
        """
        scores = np.sort(taken.scores)
        count = len(scores)
        wanted = int(np.clip(count / _PAIRS_A_BIN, _FEWEST_BINS, _MOST_BINS))
        doubling = _FIRST_BIN * 2 ** np.arange(max(0, int(np.log2(count / wanted / _FIRST_BIN)) + 1))
        places = np.concatenate([np.linspace(0, count, wanted + 1)[:-1].round().astype(np.int64), count - doubling])
        edges = np.concatenate([scores[places], np.linspace(scores[0], scores[-1], _WIDTHS, endpoint=False)])
        starts = np.unique(np.searchsorted(scores, edges.astype(np.float32)))
        return cls(scores, starts[starts < count])

    @property
    def observed(self) -> NDArray[np.float64]:
        """How many pairs each bin has."""
        return np.diff(self.starts, append=len(self.scores)).astype(np.float64)

    @property
    def edges(self) -> NDArray[np.float64]:
        """The least score of each bin, and the highest of all."""
        return np.append(self.scores[self.starts], self.scores[-1]).astype(np.float64)

    @property
    def knots(self) -> NDArray[np.float64]:
        """The middle score of each bin."""
        ends = np.append(self.starts[1:], len(self.scores))
        middles: NDArray[np.float32] = self.scores[(self.starts + ends - 1) // 2]
        return middles.astype(np.float64)

    def by_bin(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums by bin of values for each place of the list."""
        sums: NDArray[np.float64] = np.add.reduceat(values, self.starts)
        return sums


@dataclass(frozen=True, slots=True)
class _Inside:
    """What one data set says of non-matches.

    Attributes:
        found: int64[n], by place in the list: pairs inside that score there, and whose rows are both still without a
            partner when greedy solving gets there.
        examined: float64[n], how many pairs inside were compared of which that is true, whatever they score.
        highest: float32, ascending, the highest scores of such pairs.
    """

    found: NDArray[np.int64]
    examined: NDArray[np.float64]
    highest: NDArray[np.float32]


def _inside(null: Null, rows: NDArray[np.integer], taken: OneToOne, listed: _List) -> _Inside:
    count = len(taken)
    taken_at = np.full(null.rows, -np.inf, np.float32)
    taken_at[rows] = taken.scores
    found = np.zeros(count + 1, np.int64)
    highest = np.empty(0, np.float32)
    for start in range(0, len(null.scores), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        scores = null.scores[part]
        scores = scores[(taken_at[null.row_1[part]] <= scores) & (taken_at[null.row_2[part]] <= scores)]
        found += np.bincount(np.searchsorted(listed.scores, scores, side="right"), minlength=count + 1)
        highest = np.sort(np.concatenate([highest, scores]))[-_TAIL_PAIRS:]
    # at place p of the ascending list the pairs above it are gone
    gone = np.arange(count, dtype=np.float64)[::-1]
    left = null.rows - gone
    if null.sampled is None:
        return _Inside(found[1:], left * (left - 1) / 2, highest)
    drawn = np.zeros(null.rows, np.bool_)
    drawn[null.sampled] = True
    left_drawn = len(null.sampled) - np.concatenate([[0], np.cumsum(drawn[rows])])[:count][::-1]
    return _Inside(found[1:], left_drawn * (left - left_drawn) + left_drawn * (left_drawn - 1) / 2, highest)


@dataclass(frozen=True, slots=True)
class _Counts:
    """By bin: pairs of the list, how many non-matches the null expects among them, and on how many pairs that rests."""

    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    examined: NDArray[np.float64]

    @classmethod
    def of(cls, listed: _List, insides: Sequence[_Inside], sizes: tuple[int, int]) -> "_Counts":
        gone = np.arange(len(listed.scores), dtype=np.float64)[::-1]
        across = (sizes[0] - gone) * (sizes[1] - gone)
        found = np.sum([inside.found for inside in insides], axis=0).astype(np.float64)
        weight = across / np.maximum(np.sum([inside.examined for inside in insides], axis=0), 1.0)
        highest = np.sort(np.concatenate([inside.highest for inside in insides]))[-_TAIL_PAIRS:]
        return cls(
            observed=listed.observed,
            expected=listed.by_bin(found * weight)
            + listed.by_bin(weight) / listed.observed * _tail(highest, listed.edges),
            examined=listed.by_bin(found),
        )

    @property
    def weight(self) -> float:
        """How many pairs of the list one pair of the null stands for, on average; never nothing."""
        return max(float(self.expected.sum() / max(self.examined.sum(), 1.0)), _LEAST_WEIGHT)


def _tail(highest: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """One more pair, spread over the bins above the highest of the null as the null thins out towards it.

    The best of as many non-matches across would be above it as often as not, and not far. Without this a single pair
    just above the null would be counted among the certain ones.
    """
    if not len(highest):
        return np.zeros(len(edges) - 1)
    top = float(highest[-1])
    scale = max(top - float(highest.mean(dtype=np.float64)), 1e-6)
    above = np.exp(-np.maximum(edges - top, 0.0) / scale)
    above[-1] = 0.0
    return above[:-1] - above[1:]


# --- which pairs inside count as non-matches --------------------------------------------------------------------------

_TOP_PART = 0.01
_TOP_PAIRS = 20
_UPPER, _UPMOST = 0.5, 0.7
_LEAST_DUPLICATES = 10
_LEAST_DUPLICATE_PART = 0.002
_AS_MATCHES = 0.9
_UNEQUAL = 3.0
_UNEQUAL_PAIRS = 50
_UNEQUAL_ERRORS = 2.0


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The list and what each data set says of non-matches.

    Attributes:
        listed: the one-to-one list.
        insides: of each data set.
        sizes: how many rows each has.
        duplicated: the data sets that seem to hold people twice.
        trusted: the data sets whose pairs inside are taken for non-matches.
    """

    listed: _List
    insides: tuple[_Inside, _Inside]
    sizes: tuple[int, int]
    duplicated: tuple[int, ...]
    trusted: tuple[int, ...]

    @classmethod
    def of(cls, taken: OneToOne, null_a: Null, null_b: Null) -> "_Evidence":
        nulls, rows = (null_a, null_b), (taken.row_a, taken.row_b)
        sizes = (null_a.rows, null_b.rows)
        listed = _List.of(taken)
        insides = tuple(_inside(null, side, taken, listed) for null, side in zip(nulls, rows, strict=True))
        alone = max(_separation(_Counts.of(listed, [inside], sizes)) for inside in insides)
        together = _separation(_Counts.of(listed, insides, sizes))
        if max(alone, together) < _LEAST_SEPARATION:
            return cls(listed, (insides[0], insides[1]), sizes, (), (0, 1))
        duplicated = _duplicated(listed, nulls)
        if len(duplicated) == len(nulls) and together >= _LEAST_SEPARATION:
            least = _UPPER * _top(listed)
            insides = tuple(
                _inside(_below(null, least), side, taken, listed) for null, side in zip(nulls, rows, strict=True)
            )
        if len(duplicated) == len(nulls):
            return cls(listed, (insides[0], insides[1]), sizes, duplicated, (0, 1))
        trusted = tuple(side for side in (0, 1) if side not in duplicated)
        return cls(listed, (insides[0], insides[1]), sizes, duplicated, trusted)

    def counts(self, *sides: int) -> _Counts:
        """The list against these data sets, or those that are trusted."""
        return _Counts.of(self.listed, [self.insides[side] for side in sides or self.trusted], self.sizes)

    def larger(self, counts: _Counts) -> int | None:
        """The data set with far more pairs inside than the other, per pair compared, at the scores that matter."""
        _, lowest = _share(counts)
        place = self.listed.starts[lowest]
        found = [float(inside.found[place:].sum()) for inside in self.insides]
        rates = [float(self.counts(side).expected[lowest:].sum()) for side in (0, 1)]
        more = int(rates[1] > rates[0])
        # a small data set has few pairs inside, and the fewer, the less they say of its rate
        weight = rates[more] / max(found[more], 1.0) * self._examined(more, place) / self._examined(1 - more, place)
        most = rates[1 - more] + weight * (_UNEQUAL_ERRORS * math.sqrt(found[1 - more]) + _UNEQUAL_ERRORS**2 / 2)
        enough = found[more] >= _UNEQUAL_PAIRS and rates[more] > _UNEQUAL * most
        return more if enough else None

    def _examined(self, side: int, place: int) -> float:
        """How many pairs inside a data set were compared, as a mean over the places of the list from one on."""
        return max(float(self.insides[side].examined[place:].mean()), 1.0)


def _below(null: Null, score: float) -> Null:
    kept = null.scores < score
    return Null(null.row_1[kept], null.row_2[kept], null.scores[kept], null.rows, null.sampled)


def _top(listed: _List) -> float:
    """What the best pairs score: as a rule, matches without a mistake."""
    best = max(_TOP_PAIRS, int(_TOP_PART * len(listed.scores)))
    return float(listed.scores[-best:].mean())


def _duplicated(listed: _List, nulls: Sequence[Null]) -> tuple[int, ...]:
    """The data sets whose best pairs inside are distributed as the best of the list are, which are matches.

    Non-matches thin out quickly towards the top of the scores; copies of one person do not.
    """
    top = _top(listed)
    if top <= 0:
        return ()
    shape = float((listed.scores >= _UPMOST * top).sum() / max((listed.scores >= _UPPER * top).sum(), 1))
    found = []
    for side, null in enumerate(nulls):
        upper, upmost = (int((null.scores >= part * top).sum()) for part in (_UPPER, _UPMOST))
        part = 1.0 if null.sampled is None else 1 - (1 - len(null.sampled) / null.rows) ** 2
        enough = upmost >= max(_LEAST_DUPLICATES, _LEAST_DUPLICATE_PART * part * null.rows)
        if enough and upmost >= _AS_MATCHES * shape * upper:
            found.append(side)
    return tuple(found)


# --- the excess over the null ----------------------------------------------------------------------------------------

_WINDOW_PAIRS = 200
_WINDOW_PART = 0.04
_REVERSAL = 1.25
_REVERSAL_ERRORS = 3.0
# The window with the lowest share is lowest by chance, too.
_CAUTION = 1.25
_LEAST_EXCESS = 1.5
_LEAST_SEPARATION = 4.0
_WIDER = 1.5
_EVEN = 0.5
_STEPS_TO_TOP = 6
_SLOWEST = 0.6
_REPLICATES = 100
_SEED = 0


def _levels(counts: _Counts, share: float, lowest: int) -> NDArray[np.float64]:
    """The match probability of each bin, never falling; 0 below bin `lowest`.

    From the share of the expected non-matches that are there (see `_share`) follows how many there are in each bin;
    the ratio of the list to the null is made to rise by pooling neighbours (Ayer et al. 1955). Half a pair is
    added to the null of each pool, so that none is certain.
    """
    pools: list[tuple[float, float, int]] = []
    for observed, expected in zip(counts.observed[lowest:][::-1], counts.expected[lowest:][::-1], strict=True):
        pool = (float(observed), float(expected), 1)
        while pools and pools[-1][0] * pool[1] <= pool[0] * pools[-1][1]:
            above = pools.pop()
            pool = (above[0] + pool[0], above[1] + pool[1], above[2] + pool[2])
        pools.append(pool)
    half = 0.5 * counts.weight
    descending = [
        max(0.0, 1 - share * (expected + half) / (observed + 0.5))
        for observed, expected, length in pools
        for _ in range(length)
    ]
    return np.maximum.accumulate(np.concatenate([np.zeros(lowest), descending[::-1]]))


def _share(counts: _Counts) -> tuple[float, int]:
    """Which share of the expected non-matches is there, and the lowest bin from which on it holds.

    The null may expect too many: relatives often are in one file together and not in two, and one row cannot be in
    two pairs of the list. How many are there shows below the matches, where the list holds nothing else. So the list
    is scanned downwards, in windows, for the lowest ratio of list to null, until the ratio clearly rises again: what
    comes further down is no matter of matches. Where the ratio does not fall below 1, the null is believed as it is.
    """
    observed, expected, examined = (
        np.concatenate([[0.0], np.cumsum(column[::-1])])
        for column in (counts.observed, counts.expected, counts.examined)
    )
    bins = len(counts.observed)
    wanted = max(_WINDOW_PAIRS, _WINDOW_PART * observed[-1])
    first = 0
    best: tuple[float, int, float] | None = None
    for end in range(1, bins + 1):
        while observed[end] - observed[first + 1] >= wanted:
            first += 1
        pairs = observed[end] - observed[first]
        if pairs < wanted:
            continue
        ratio = pairs / max(expected[end] - expected[first], 1e-9)
        error = 1 / pairs + 1 / max(examined[end] - examined[first], 1.0)
        if best is None or ratio < best[0]:
            best = (ratio, end, error)
        elif (
            first >= best[1]
            and ratio > _REVERSAL * best[0]
            and best[0] < 1
            and math.log(ratio / best[0]) > _REVERSAL_ERRORS * math.sqrt(error + best[2])
        ):
            break
    if best is None or best[0] >= 1:
        return 1.0, 0
    return min(1.0, _CAUTION * best[0]), bins - best[1]


def _separation(counts: _Counts) -> float:
    """By how many standard errors the top of the list exceeds the null where it exceeds it most clearly."""
    observed, expected = np.cumsum(counts.observed[::-1]), np.cumsum(counts.expected[::-1])
    errors = (observed - expected) / np.sqrt(observed + expected * max(counts.weight, 1.0) + 1)
    return float(errors[observed >= _LEAST_EXCESS * expected].max(initial=0.0))


def _matches(listed: _List, counts: _Counts, levels: NDArray[np.float64], *, most: int) -> Interval:
    """How many matches there are: those that stand out from the null, with bounds.

    Three things widen the bounds: chance in the list and in the null, both drawn again while true matches are what
    they are (parametric bootstrap with a fixed seed); what is not known of the share of the null; and, upwards only,
    matches that score too low to stand out.
    """
    share, lowest = _share(counts)
    estimate = float((levels * counts.observed).sum())
    bounds = [
        float((_levels(counts, share * factor, lowest) * counts.observed).sum()) for factor in (_WIDER, 1 / _CAUTION)
    ]
    rng = np.random.default_rng(_SEED)
    matched = counts.observed * levels
    weight = counts.expected / np.maximum(counts.examined, 1.0)
    drawn = []
    for _ in range(_REPLICATES):
        examined = rng.poisson(counts.examined).astype(np.float64)
        again = _Counts(matched + rng.poisson(counts.observed - matched), weight * examined, examined)
        drawn.append(float((_levels(again, *_share(again)) * again.observed).sum()))
    low, high = np.quantile(drawn, [0.05, 0.95])
    return Interval(
        estimate=estimate,
        low=min(estimate, float(low), *bounds),
        high=min(float(most), max(estimate, float(high), *bounds) + _hidden(listed, levels, matched)),
    )


def _hidden(listed: _List, levels: NDArray[np.float64], matched: NDArray[np.float64]) -> float:
    """How many matches may score too low to stand out, if they thin out downwards as they do just above.

    Above the place where the probability passes one half, matches are counted in two steps, each a sixth of the way to
    the top. Below, every further step is taken to hold as much less as the lower one does.
    """
    certain = np.flatnonzero(levels >= _EVEN)
    if not len(certain):
        return 0.0
    knots = listed.knots
    cut = knots[certain[0]]
    step = (_top(listed) - cut) / _STEPS_TO_TOP
    near, next_one = (
        float(matched[(knots >= cut + start * step) & (knots < cut + (start + 1) * step)].sum()) for start in (0, 1)
    )
    ratio = min(near / next_one, _SLOWEST) if next_one else _SLOWEST
    return max(0.0, _WIDER * near * ratio / (1 - ratio) - float(matched[: certain[0]].sum()))


# --- what is said ----------------------------------------------------------------------------------------------------


def _unusable(*findings: Finding) -> Calibration:
    empty = np.empty(0)
    return Calibration(
        usable=False,
        matches=Interval(0.0, 0.0, 0.0),
        edges=empty,
        observed=empty,
        expected=empty,
        knots=empty,
        levels=empty,
        findings=findings,
    )


def _too_small(pairs: int) -> Finding:
    return Finding(
        FindingCode.TOO_SMALL,
        f"Only {pairs} pairs of records are alike enough to be compared with chance. That is too little to say how "
        "likely a match is. Link with a fixed threshold, and check the links by hand.",
    )


def _no_separation() -> Finding:
    return Finding(
        FindingCode.NO_SEPARATION,
        "The best pairs of records are no more alike than different people inside one file are. Either hardly anybody "
        "is in both files, or the fields cannot tell people apart, or the files were encoded in different ways, or "
        "they hold many people more than once. No pair can be called a match, so none is linked. Check that both "
        "files were encoded with the same secret and schema, that the schema has enough fields, and that duplicates "
        "were removed.",
    )


def _few_matches() -> Finding:
    return Finding(
        FindingCode.FEW_MATCHES,
        f"About {_FEW_MATCHES} matches or fewer were found. The probabilities rest on few cases and are rough: see "
        "the interval of the number of matches, and check a sample of the links.",
    )


def _duplicates(sides: tuple[int, ...]) -> Finding:
    return Finding(
        FindingCode.DUPLICATES_IN_SOURCE,
        "This file seems to hold the same people more than once: some of its records are as alike as matches between "
        "the files are. (Or the fields cannot tell different people apart.) Such pairs were not taken as examples of "
        "different people. A person is linked once at most, so copies stay unlinked. Remove duplicates before "
        "encoding, or say in the agreement that the file may hold them.",
        sides,
    )


def _unequal(side: int) -> Finding:
    return Finding(
        FindingCode.UNEQUAL_POPULATIONS,
        "Different people in this file are far more alike than in the other, so the files seem to be about different "
        "populations. How often pairs agree by chance was taken from this file, which is the careful choice; the "
        "probabilities may be too low.",
        (side,),
    )
