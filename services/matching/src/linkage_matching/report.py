"""What a run says of itself: how well matches stand out from chance, where the cut lies, and what to expect of it.

Everything but the counts is an estimate, made without labels. Counts are exact: whoever publishes a report rounds and
suppresses them first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linkage_matching.aims import Aim, aim_document
from linkage_matching.blocking import Blocking
from linkage_matching.calibration import CurvePoint, Finding, Interval
from linkage_matching.measure import Measure
from linkage_matching.scoring import Ranks
from linkage_matching.solving import Groups

Positions = tuple[int, ...]
"""Numbers of data sets, ascending."""

_PROBABILITY_BINS = 10


@dataclass(frozen=True, slots=True)
class PlacedFinding:
    """A finding and the data sets it is about."""

    finding: Finding
    positions: Positions

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "code": self.finding.code.value,
            "positions": list(self.positions),
            "message": self.finding.message,
        }


@dataclass(frozen=True, slots=True)
class Histogram:
    """Pairs by score.

    Attributes:
        edges: float64[k + 1] scores, ascending, of bins of equal width; empty without probabilities.
        observed: int64[k], one-to-one pairs in each bin; within one data set all its candidate pairs.
        expected: float64[k], how many of them are expected to be non-matches.
    """

    edges: NDArray[np.float64]
    observed: NDArray[np.int64]
    expected: NDArray[np.float64]

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "edges": [round(float(edge), 4) for edge in self.edges],
            "pairs": [int(count) for count in self.observed],
            "expected_non_matches": [round(float(count), 2) for count in self.expected],
        }


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """What came of comparing two data sets, or one with itself.

    Attributes:
        positions: which.
        floor: the least similarity of a candidate pair.
        ranks: whose similarities gave the local density.
        histogram: pairs by score, beside what non-matches explain.
        curve: what is expected of other cuts, highest probability first; empty without probabilities.
        cut: the least score and the least probability of a link, None without links or probabilities.
        links: how many pairs of rows are linked.
        matches: how many matches there are, None without probabilities; across two data sets each row has one at most,
            so that links of duplicates may be more.
    """

    positions: Positions
    floor: float
    ranks: Ranks
    histogram: Histogram
    curve: Sequence[CurvePoint]
    cut: tuple[float, float] | None
    links: int
    matches: Interval | None

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "positions": list(self.positions),
            "floor": self.floor,
            "density_ranks": [self.ranks.first, self.ranks.last],
            "histogram": self.histogram.document(),
            "curve": [
                {
                    "score": round(point.score, 4),
                    "probability": round(point.probability, 4),
                    "links": point.links,
                    "precision": round(point.precision, 4),
                    "recall": round(point.recall, 4),
                    "f1": round(point.f1, 4),
                }
                for point in self.curve
            ],
            "cut": None if self.cut is None else {"score": round(self.cut[0], 4), "probability": round(self.cut[1], 4)},
            "links": self.links,
            "matches": None if self.matches is None else interval_document(self.matches),
        }


@dataclass(frozen=True, slots=True)
class Expectation:
    """What to expect of the links of a run, all shares in 0..1.

    Attributes:
        precision: the share of links that are right.
        recall: the share of matches that are links; None with blocking, which loses matches unseen.
        f1: the harmonic mean of both.
        matches: how many matches there are.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    matches: Interval


@dataclass(frozen=True, slots=True)
class Report:
    """What a run says of itself.

    Attributes:
        aim: what it was to achieve.
        measure: which similarity found the candidates.
        calibrated: whether every link has a probability.
        findings: what must be known before the result is used.
        comparisons: every two data sets, then those that were searched for duplicates.
        groups: how many groups there are.
        links: how many pairs of rows are in one group.
        expected: what to expect of the links; None without probabilities.
        probabilities: of groups, the lowest and the mean of their pairs; None without probabilities.
        patterns: how many groups have rows of exactly these data sets.
        blocking: how pairs were left out beforehand; None if all were compared.
        compared: how many pairs of rows were compared.
        units: in how many units of work.
    """

    aim: Aim
    measure: Measure
    calibrated: bool
    findings: Sequence[PlacedFinding]
    comparisons: Sequence[ComparisonReport]
    groups: int
    links: int
    expected: Expectation | None
    probabilities: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    patterns: dict[Positions, int]
    blocking: Blocking | None
    compared: int
    units: int

    def document(self) -> dict[str, Any]:
        """As JSON values; data sets are named by their positions."""
        expected = self.expected
        return {
            "aim": aim_document(self.aim),
            "similarity": self.measure.value,
            "calibrated": self.calibrated,
            "findings": [finding.document() for finding in self.findings],
            "comparisons": [comparison.document() for comparison in self.comparisons],
            "result": {
                "groups": self.groups,
                "links": self.links,
                "precision": None if expected is None else _share(expected.precision),
                "recall": None if expected is None else _share(expected.recall),
                "f1": None if expected is None else _share(expected.f1),
                "matches": None if expected is None else interval_document(expected.matches),
            },
            "group_probabilities": None if self.probabilities is None else _probability_document(*self.probabilities),
            "patterns": [
                {"positions": list(positions), "groups": count} for positions, count in sorted(self.patterns.items())
            ],
            "blocking": None if self.blocking is None else _blocking_document(self.blocking),
            "work": {"pairs_compared": self.compared, "units": self.units},
        }


def interval_document(interval: Interval) -> dict[str, int]:
    """As JSON values: whole numbers, for these are counts of people."""
    return {"estimate": round(interval.estimate), "low": round(interval.low), "high": round(interval.high)}


def patterns_of(groups: Groups) -> dict[Positions, int]:
    """How many groups have rows of exactly these data sets."""
    holds = np.zeros((groups.count, len(groups.membership)), np.bool_)
    for position, membership in enumerate(groups.membership):
        holds[membership[membership >= 0], position] = True
    packed, counts = np.unique(np.packbits(holds, axis=1), axis=0, return_counts=True)
    patterns = np.unpackbits(packed, axis=1, count=len(groups.membership))
    return {
        tuple(np.flatnonzero(pattern).tolist()): count for pattern, count in zip(patterns, counts.tolist(), strict=True)
    }


def links_of(groups: Groups) -> dict[tuple[int, int], int]:
    """How many pairs of rows are in one group, by their data sets, the lower number first."""
    members = list(_members(groups))
    return {
        (x, y): int((members[x] * (members[y] - 1)).sum()) // 2 if x == y else int((members[x] * members[y]).sum())
        for x, y in combinations_with_replacement(range(len(members)), 2)
    }


def pairs_of_groups(groups: Groups) -> NDArray[np.int64]:
    """How many pairs of rows each group has."""
    total = sum(_members(groups), start=np.zeros(groups.count, np.int64))
    pairs: NDArray[np.int64] = total * (total - 1) // 2
    return pairs


def _members(groups: Groups) -> Iterator[NDArray[np.int64]]:
    for membership in groups.membership:
        yield np.bincount(membership[membership >= 0], minlength=groups.count)


def _blocking_document(blocking: Blocking) -> dict[str, Any]:
    return {
        "tables": blocking.tables,
        "bits": blocking.bits,
        "distance": blocking.distance,
        "kept_at_least": round(blocking.kept_at_least, 4),
    }


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _probability_document(lowest: NDArray[np.float64], mean: NDArray[np.float64]) -> dict[str, Any]:
    edges = np.linspace(0, 1, _PROBABILITY_BINS + 1)
    return {
        "edges": [round(float(edge), 2) for edge in edges],
        "lowest": np.histogram(lowest, edges)[0].tolist(),
        "mean": np.histogram(mean, edges)[0].tolist(),
    }
