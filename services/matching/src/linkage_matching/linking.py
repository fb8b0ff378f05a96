"""Linking: data sets of encodings in, groups and an honest account of them out. What a run of the service calls.

Candidates are found by similarity, judged by score, their scores turned into match probabilities by what pairs inside
the data sets say of non-matches; one cut by the aim of the run decides which pairs may link, and solving which do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from linkage_matching.aims import Aim, BestF1, FixedThreshold, TargetPrecision
from linkage_matching.blocking import Blocking
from linkage_matching.calibration import (
    Calibration,
    Cut,
    Finding,
    FindingCode,
    Interval,
    Null,
    OneToOne,
    calibrate,
    choose_cut,
    curve,
)
from linkage_matching.candidates import Candidates, Found, Key, Scope, Survey, find_candidates
from linkage_matching.datasets import Dataset, as_datasets
from linkage_matching.deduplication import calibrate_within
from linkage_matching.encodings import Encodings
from linkage_matching.errors import MatchingError
from linkage_matching.executors import Executor, LocalExecutor
from linkage_matching.measure import Measure
from linkage_matching.report import (
    ComparisonReport,
    Expectation,
    Histogram,
    PlacedFinding,
    Report,
    links_of,
    pairs_of_groups,
    patterns_of,
)
from linkage_matching.results import Cancelled, Pairs, Progress
from linkage_matching.scoring import FAR, score_across, score_null, score_within
from linkage_matching.solving import (
    Groups,
    Method,
    ScoredPairs,
    best_first,
    check_method,
    one_to_one,
    solve_groups,
)
from linkage_matching.threshold import check_threshold, kernel_fraction
from linkage_matching.unit_store import UnitStore

FALLBACK_THRESHOLD = Fraction(7, 10)
"""The similarity that decides where there is too little data to say how likely a match is."""

_TWO = 2
# A pair less likely than this counts as one that was never a candidate (`deduplication.ABSENT_LOG_ODDS`).
_LEAST_PROBABILITY = 0.0025
_LIKELY = 0.5
_LESS_ROOM = 0.7
_BINS = 40


@dataclass(frozen=True, slots=True)
class Linkage:
    """The result of a run.

    Attributes:
        groups: rows decided to be one entity.
        report: how far to trust them.
    """

    groups: Groups
    report: Report


def link(
    datasets: Sequence[Encodings | Dataset],
    *,
    aim: Aim = BestF1(),  # noqa: B008 - frozen and without a field
    measure: Measure = Measure.DICE,
    may_hold_duplicates: Sequence[bool] | None = None,
    fallback_threshold: Fraction = FALLBACK_THRESHOLD,
    method: Method = "greedy",
    blocking: Blocking | None = None,
    executor: Executor | None = None,
    store: UnitStore | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    threads: int | None = None,
) -> Linkage:
    """Compare every two data sets, judge the pairs without labels, and decide which rows are one entity.

    Memory is in proportion to the rows and to the number of comparisons, never to the pairs of rows. The result depends
    on the data sets and the aim alone, not on executor, threads or timing.

    Arguments:
        datasets: two or more, arrays `(n, bits / 64)` of uint64 or `Dataset`s, of one length.
        aim: what the run is to achieve.
        measure: which similarity finds the candidates; SIMPLE_MATCHING for encodings whose true matches agree in
            little more than half of their bits.
        may_hold_duplicates: for each data set whether one person may have several rows; by default none may. Groups
            then hold several rows of such a data set, of the others never.
        fallback_threshold: where two data sets are too small for probabilities and the aim is `BestF1`, pairs of at
            least this similarity may link, and the report says so.
        method: how two data sets without duplicates are solved.
        blocking: compare only rows that share sampled bits, for data sets above some ten million rows. What is lost
            is lost silently; the report names the bound. None compares all.
        executor: who does the work; by default this process.
        store: where finished units of work are kept, so that an interrupted run goes on.
        progress: called with the pairs of rows compared so far and to compare, those inside data sets included.
        cancelled: asked while rows are compared; True ends the run with MatchingCancelled. What follows, scoring and
            solving, is not interrupted.
        threads: how many threads compare in this process; by default one for each processor it may use.

    Raises:
        MatchingError: fewer than two data sets, data sets that cannot be compared, or a method that does not suit
            them. The number of pairs is no reason.
        InvalidThreshold: the fallback threshold is no similarity.
        MatchingCancelled: `cancelled` answered True.
    """
    if len(datasets) < _TWO:
        raise MatchingError(f"Linking needs at least two data sets; {len(datasets)} were given.")
    holds = (False,) * len(datasets) if may_hold_duplicates is None else tuple(may_hold_duplicates)
    if len(holds) != len(datasets):
        raise MatchingError(
            f"For {len(datasets)} data sets it must be said whether each may hold duplicates, and was for {len(holds)}."
        )
    check_threshold(fallback_threshold)
    check_method(method, holds)
    scope = Scope(
        measure=measure,
        holds=holds,
        at_most=aim.value if isinstance(aim, FixedThreshold) else None,
        blocking=blocking,
        executor=executor or LocalExecutor(threads),
        store=store,
        progress=progress,
        cancelled=cancelled,
        threads=threads,
    )
    return _Run(as_datasets(datasets), scope, aim=aim, fallback=fallback_threshold, method=method).result()


def deduplicate(
    dataset: Encodings | Dataset,
    *,
    aim: Aim = BestF1(),  # noqa: B008 - frozen and without a field
    measure: Measure = Measure.DICE,
    fallback_threshold: Fraction = FALLBACK_THRESHOLD,
    blocking: Blocking | None = None,
    executor: Executor | None = None,
    store: UnitStore | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    threads: int | None = None,
) -> Linkage:
    """Decide which rows of one data set are one entity. The arguments are those of `link`.

    Raises:
        MatchingError: the data set cannot be compared.
        MatchingCancelled: `cancelled` answered True.
    """
    check_threshold(fallback_threshold)
    scope = Scope(
        measure=measure,
        holds=(True,),
        at_most=aim.value if isinstance(aim, FixedThreshold) else None,
        blocking=blocking,
        executor=executor or LocalExecutor(threads),
        store=store,
        progress=progress,
        cancelled=cancelled,
        threads=threads,
    )
    return _Run(as_datasets([dataset]), scope, aim=aim, fallback=fallback_threshold, method="greedy").result()


@dataclass(frozen=True, slots=True)
class _Judged:
    """One comparison with scores and what they mean.

    Attributes:
        found: its pairs.
        scores: float32, in the order of the pairs.
        listed: the scores of the list that was calibrated: one-to-one across, all pairs within.
        calibration: what scores mean.
        fallen_back: its links are decided by the fallback threshold.
    """

    found: Found
    scores: NDArray[np.float32]
    listed: NDArray[np.float32]
    calibration: Calibration
    fallen_back: bool

    @property
    def key(self) -> Key:
        return self.found.comparison.key


class _Run:
    """The steps of one run, in order."""

    def __init__(
        self, datasets: Sequence[Dataset], scope: Scope, *, aim: Aim, fallback: Fraction, method: Method
    ) -> None:
        self._datasets = datasets
        self._scope = scope
        self._aim = aim
        self._fallback = fallback
        self._method = method
        self._bits = datasets[0].bits

    def result(self) -> Linkage:
        candidates = find_candidates(self._datasets, scope=self._scope)
        judged = list(self._judge(candidates))
        calibrated = all(item.calibration.usable or not self._may_link(item) for item in judged)
        cut = choose_cut([(item.calibration, item.listed) for item in judged], self._aim)
        groups = self._solved(judged, candidates.surveys, cut, calibrated=calibrated)
        if calibrated and isinstance(self._aim, TargetPrecision):
            # Groups of more than two rows also hold pairs that no list held, and these count against the promise.
            while (precision := _expectation(groups, cut).precision) is not None and precision < self._aim.value:
                cut = _raised(cut, judged)
                groups = self._solved(judged, candidates.surveys, cut, calibrated=calibrated)
        return Linkage(groups, self._report(candidates, judged, groups, cut, calibrated=calibrated))

    def _solved(self, judged: Sequence[_Judged], surveys: Sequence[Survey], cut: Cut, *, calibrated: bool) -> Groups:
        return solve_groups(
            {item.key: self._linking(item, surveys, cut=cut, probabilities=calibrated) for item in judged},
            sizes=[dataset.rows for dataset in self._datasets],
            may_hold_duplicates=self._scope.holds,
            method=self._method,
            cut=self._least(cut) if calibrated else None,
        )

    # --- judging ---

    def _judge(self, candidates: Candidates) -> Iterator[_Judged]:
        inside: dict[int, tuple[NDArray[np.float32], Calibration]] = {}
        for number, holds in enumerate(self._scope.holds):
            if holds:
                inside[number] = self._duplicates(candidates, number)
        for x, y in combinations(range(len(self._datasets)), _TWO):
            yield self._judge_across(candidates, (x, y), inside)
        for number, (scores, calibration) in inside.items():
            found = candidates.found[number, number]
            yield _Judged(found, scores, scores, calibration, self._falls_back(calibration))

    def _duplicates(self, candidates: Candidates, number: int) -> tuple[NDArray[np.float32], Calibration]:
        """Scores and probabilities inside a data set; either ranks fail on some files that the others do not."""
        found = candidates.found[number, number]
        rows = self._datasets[number].rows
        judged = []
        for ranks in (found.comparison.ranks, FAR):
            scores = score_within(
                found.pairs,
                counts=candidates.surveys[number].counts,
                bits=self._bits,
                measure=self._scope.measure,
                ranks=ranks,
            ).scores
            calibration = calibrate_within(scores, rows=rows, pairs_examined=rows * (rows - 1) // 2)
            if calibration.usable:
                return scores, calibration
            judged.append((scores, calibration))
        return judged[0]

    def _judge_across(
        self, candidates: Candidates, key: Key, inside: dict[int, tuple[NDArray[np.float32], Calibration]]
    ) -> _Judged:
        x, y = key
        found = candidates.found[key]
        surveys = candidates.surveys
        scored = score_across(
            found.pairs,
            counts_a=surveys[x].counts,
            counts_b=surveys[y].counts,
            bits=self._bits,
            measure=self._scope.measure,
            ranks=found.comparison.ranks,
        )
        taken = _one_to_one(found.pairs, scored.scores, rows_a=self._datasets[x].rows, rows_b=self._datasets[y].rows)
        calibration = calibrate(
            taken,
            null_a=self._null(candidates, x, scored.density_a, inside),
            null_b=self._null(candidates, y, scored.density_b, inside),
        )
        return _Judged(found, scored.scores, taken.scores, calibration, self._falls_back(calibration))

    def _null(
        self,
        candidates: Candidates,
        number: int,
        density: NDArray[np.float32],
        inside: dict[int, tuple[NDArray[np.float32], Calibration]],
    ) -> Null:
        found = candidates.found[number, number]
        pairs = found.pairs
        if number in inside:
            # pairs that are likely the same person are no evidence of non-matches
            scores, calibration = inside[number]
            apart = calibration.probability(scores) < _LIKELY
            pairs = pairs.taken(apart)
        rows = self._datasets[number].rows
        sample = found.comparison.sample
        return Null(
            row_1=pairs.row_a,
            row_2=pairs.row_b,
            scores=score_null(
                pairs,
                density=density,
                counts=candidates.surveys[number].counts,
                bits=self._bits,
                measure=self._scope.measure,
            ),
            rows=rows,
            sampled=None if sample is None else sample.rows(rows),
        )

    def _falls_back(self, calibration: Calibration) -> bool:
        too_small = any(finding.code is FindingCode.TOO_SMALL for finding in calibration.findings)
        return too_small and isinstance(self._aim, BestF1)

    # --- linking ---

    def _least(self, cut: Cut) -> float:
        """The least probability of a link: none where a similarity decides."""
        return 0.0 if isinstance(self._aim, FixedThreshold) else cut.probability

    def _may_link(self, item: _Judged) -> bool:
        judged = item.fallen_back or item.calibration.usable or isinstance(self._aim, FixedThreshold)
        return judged and len(item.found.pairs) > 0

    def _linking(self, item: _Judged, surveys: Sequence[Survey], *, cut: Cut, probabilities: bool) -> ScoredPairs:
        """The pairs that solving is to see: those that may link, and less likely ones where they count against."""
        pairs, scores = item.found.pairs, item.scores
        if not self._may_link(item):
            kept = np.zeros(len(pairs), np.bool_)
        elif isinstance(self._aim, FixedThreshold):
            kept = self._reaches(item, surveys, self._aim.value)
        elif item.fallen_back:
            kept = self._reaches(item, surveys, self._fallback)
        else:
            greedy = len(self._datasets) == _TWO and not any(self._scope.holds)
            kept = item.calibration.probability(scores) >= (
                cut.probability if greedy or not probabilities else min(cut.probability, _LEAST_PROBABILITY)
            )
        chosen = np.flatnonzero(kept)
        return ScoredPairs(
            row_a=pairs.row_a[chosen],
            row_b=pairs.row_b[chosen],
            score=scores[chosen].astype(np.float64),
            probability=item.calibration.probability(scores[chosen]) if probabilities else None,
        )

    def _reaches(self, item: _Judged, surveys: Sequence[Survey], threshold: Fraction) -> NDArray[np.bool_]:
        x, y = item.key
        pairs = item.found.pairs
        bit_sums = surveys[x].counts[pairs.row_a] + surveys[y].counts[pairs.row_b]
        measure = self._scope.measure
        exact = kernel_fraction(threshold, bits=self._bits, measure=measure)
        return measure.reaches(pairs.common.astype(np.uint64), bit_sums, threshold=exact, bits=self._bits)

    # --- reporting ---

    def _report(
        self, candidates: Candidates, judged: Sequence[_Judged], groups: Groups, cut: Cut, *, calibrated: bool
    ) -> Report:
        links = links_of(groups)
        with_probabilities = calibrated and any(item.calibration.usable for item in judged)
        return Report(
            aim=self._aim,
            measure=self._scope.measure,
            calibrated=with_probabilities,
            findings=list(self._findings(candidates, judged)),
            comparisons=[self._comparison_report(item, links[item.key], cut) for item in judged],
            groups=groups.count,
            links=sum(links.values()),
            expected=self._expected(groups, cut) if with_probabilities else None,
            probabilities=(groups.lowest, groups.mean) if with_probabilities and groups.count else None,
            patterns=patterns_of(groups),
            blocking=self._scope.blocking,
            compared=candidates.compared,
            units=candidates.units,
        )

    def _findings(self, candidates: Candidates, judged: Sequence[_Judged]) -> Iterator[PlacedFinding]:
        """Every finding once: what is said of one data set may come from each comparison of it."""
        blocking = self._scope.blocking
        if blocking is not None:
            yield PlacedFinding(_blocked(blocking), tuple(range(len(candidates.surveys))))
        seen = set()
        for item in judged:
            for finding in item.calibration.findings:
                positions = tuple(sorted({item.key[side] for side in finding.sides}))
                if (finding.code, positions) not in seen:
                    seen.add((finding.code, positions))
                    yield PlacedFinding(self._with_fallback(finding, item), positions)
        for key, found in sorted(candidates.found.items()):
            if found.bounded:
                yield PlacedFinding(_BOUNDED, tuple(sorted(set(key))))

    def _with_fallback(self, finding: Finding, item: _Judged) -> Finding:
        if not item.fallen_back or finding.code is not FindingCode.TOO_SMALL:
            return finding
        decided = f"In this run pairs of a similarity of at least {float(self._fallback):.2f} could link."
        return replace(finding, message=f"{finding.message} {decided}")

    def _expected(self, groups: Groups, cut: Cut) -> Expectation:
        expected = _expectation(groups, cut)
        if self._scope.blocking is None:
            return expected
        # of matches that were never compared nothing is known, so no share of all of them can be given
        return replace(expected, recall=None, f1=None)

    def _comparison_report(self, item: _Judged, links: int, cut: Cut) -> ComparisonReport:
        calibration = item.calibration
        comparison = item.found.comparison
        above = item.listed[calibration.probability(item.listed) >= cut.probability]
        has_cut = calibration.usable and len(above) and not isinstance(self._aim, FixedThreshold)
        return ComparisonReport(
            positions=tuple(sorted(set(item.key))),
            floor=float(comparison.floor),
            ranks=comparison.ranks,
            histogram=_histogram(calibration, item.listed),
            curve=curve(calibration, item.listed),
            cut=(float(above.min()), cut.probability) if has_cut else None,
            links=links,
            matches=calibration.matches if calibration.usable else None,
        )


def _histogram(calibration: Calibration, listed: NDArray[np.float32]) -> Histogram:
    """The calibrated list in bins of equal width, for the eye; calibration itself has bins of about equal counts."""
    if not calibration.usable:
        return Histogram(np.empty(0), np.empty(0, np.int64), np.empty(0))
    edges = np.linspace(calibration.edges[0], calibration.edges[-1], _BINS + 1)
    scores = np.clip(listed.astype(np.float64), edges[0], edges[-1])
    weights = 1 - calibration.probability(listed)
    return Histogram(edges, np.histogram(scores, edges)[0], np.histogram(scores, edges, weights=weights)[0])


def _one_to_one(pairs: Pairs, scores: NDArray[np.float32], *, rows_a: int, rows_b: int) -> OneToOne:
    order = best_first(pairs.row_a, pairs.row_b, scores)
    row_a, row_b = pairs.row_a[order], pairs.row_b[order]
    taken = one_to_one(row_a, row_b, rows_a=rows_a, rows_b=rows_b)
    return OneToOne(row_a[taken], row_b[taken], scores[order[taken]])


def _raised(cut: Cut, judged: Sequence[_Judged]) -> Cut:
    """A cut with about a third less room for wrong links; nothing links where no pair is as likely as that."""
    wanted = 1 - (1 - cut.probability) * _LESS_ROOM
    higher = [
        float(values.min())
        for item in judged
        if len(values := (found := item.calibration.probability(item.listed))[found >= wanted])
    ]
    return replace(cut, probability=min(higher, default=1.0))


def _expectation(groups: Groups, cut: Cut) -> Expectation:
    pairs = pairs_of_groups(groups)
    links = int(pairs.sum())
    if not links:
        return Expectation(None, None, None, cut.matches)
    right = float((groups.mean * pairs).sum())
    # links beyond the one-to-one lists, of duplicates, are matches that the lists do not count
    more = max(right - cut.matches.estimate, 0.0)
    matches = Interval(cut.matches.estimate + more, cut.matches.low + more, cut.matches.high + more)
    if not matches.estimate:
        return Expectation(0.0, None, None, matches)
    return Expectation(
        precision=right / links,
        recall=right / matches.estimate,
        f1=2 * right / (links + matches.estimate),
        matches=matches,
    )


def _blocked(blocking: Blocking) -> Finding:
    return Finding(
        FindingCode.BLOCKING,
        f"Only records that share sampled bits were compared. Of the matches whose encodings differ in at most "
        f"{blocking.distance:.0%} of their bits at least {blocking.kept_at_least:.1%} were found; the estimated number "
        "of matches knows nothing of those that were lost. Run without blocking where time allows.",
    )


_BOUNDED = Finding(
    FindingCode.BOUNDED_CANDIDATES,
    "Far more pairs than usual are alike, so only the best candidates of each record were kept. Many encodings are "
    "copies of each other or nearly empty, or the files were encoded in different ways: check how they were made.",
)
