from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import average, fcluster

from linkage_matching.calibration import FindingCode
from linkage_matching.deduplication import ABSENT_LOG_ODDS, calibrate_within, cluster, log_odds

Edge = tuple[int, int, float]


def clustered(edges: list[Edge], *, rows: int, cut: float = 0.0, apart: list[int] | None = None) -> list[int]:
    row_a, row_b, evidence = zip(*edges, strict=True) if edges else ((), (), ())
    first = cluster(
        np.array(row_a, np.int32),
        np.array(row_b, np.int32),
        np.array(evidence, np.float64),
        rows=rows,
        cut=cut,
        apart=None if apart is None else np.array(apart),
    )
    return [int(row) for row in first]


def plain_average_linkage(edges: list[Edge], *, rows: int, apart: list[int]) -> list[int]:
    """One merge after another, every average computed anew from all pairs."""
    known = {frozenset(edge[:2]): max(edge[2], ABSENT_LOG_ODDS) for edge in edges}
    groups = [[row] for row in range(rows)]

    def mean(first: list[int], second: list[int]) -> float:
        total = sum(known.get(frozenset((i, j)), ABSENT_LOG_ODDS) for i in first for j in second)
        return total / (len(first) * len(second))

    def may_join(first: list[int], second: list[int]) -> bool:
        held = [apart[row] for row in first + second if apart[row] >= 0]
        return len(held) == len(set(held))

    while True:
        joinable = [pair for pair in combinations(groups, 2) if may_join(*pair) and mean(*pair) >= 0]
        if not joinable:
            break
        first, second = max(joinable, key=lambda pair: mean(*pair))
        groups = [group for group in groups if group is not first and group is not second]
        groups.append(first + second)
    return [min(group) for row in range(rows) for group in groups if row in group]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_cluster_of_dense_pairs_equals_scipys_average_linkage(data: st.DataObject) -> None:
    rows = data.draw(st.integers(2, 12))
    seed = data.draw(st.integers(0, 100_000))
    row_a, row_b = np.triu_indices(rows, 1)
    evidence = np.random.default_rng(seed).normal(0, 3, len(row_a))
    first = cluster(row_a, row_b, evidence, rows=rows, absent=-1000.0)
    # distances are positive numbers, and scipy cuts where they exceed a limit
    labels = fcluster(average(1000.0 - evidence), 1000.0, "distance")
    assert first.tolist() == [int(np.flatnonzero(labels == label)[0]) for label in labels]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_cluster_of_sparse_pairs_equals_plain_average_linkage_with_rows_kept_apart(data: st.DataObject) -> None:
    rows = data.draw(st.integers(2, 9))
    pairs = data.draw(st.lists(st.sampled_from(list(combinations(range(rows), 2))), unique=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 100_000)))
    edges = [(i, j, float(rng.normal(2, 4))) for i, j in pairs]
    apart = rng.integers(-1, 2, rows).tolist()
    expected = plain_average_linkage(edges, rows=rows, apart=apart)
    assert clustered(edges, rows=rows, apart=apart) == expected


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_cluster_does_not_depend_on_the_order_of_pairs_or_of_rows_in_them(data: st.DataObject) -> None:
    edges = [
        (i, j, float(data.draw(st.integers(-4, 6))))
        for i, j in data.draw(st.lists(st.sampled_from(list(combinations(range(12), 2))), unique=True))
    ]
    turned = [(j, i, evidence) if data.draw(st.booleans()) else (i, j, evidence) for i, j, evidence in edges]
    assert clustered(data.draw(st.permutations(turned)), rows=12) == clustered(edges, rows=12)


def test_cluster_of_a_chain_is_cut_and_not_closed() -> None:
    assert clustered([(0, 1, 5.0), (1, 2, 4.0), (2, 3, 4.5)], rows=4) == [0, 0, 2, 2]


def test_cluster_bridges_an_absent_pair_if_the_others_are_strong_enough() -> None:
    edges = [(0, 1, 6.0), (0, 2, 6.0), (1, 2, -6.0), (0, 3, 6.0), (1, 3, 6.0), (2, 3, 6.0)]
    assert clustered(edges, rows=4) == [0, 0, 0, 0]


def test_cluster_joins_only_at_or_above_the_cut() -> None:
    assert clustered([(0, 1, 2.0), (2, 3, 1.9)], rows=5, cut=2.0) == [0, 0, 2, 3, 4]


def test_cluster_keeps_rows_apart_even_through_a_third() -> None:
    assert clustered([(0, 2, 6.0), (1, 2, 5.0)], rows=3, apart=[70, 70, -1]) == [0, 1, 0]


def test_cluster_without_pairs_leaves_every_row_alone() -> None:
    assert clustered([], rows=3) == [0, 1, 2]
    assert clustered([], rows=0) == []


def test_cluster_of_a_large_component_takes_time_in_proportion_to_its_pairs() -> None:
    # a star and a chain of 100,000 rows: with a step for every two neighbours this would never end
    spokes, chain = np.arange(1, 100_000), np.arange(100_000, 200_000)
    row_a = np.concatenate([np.zeros(len(spokes), np.int64), chain[:-1]])
    row_b = np.concatenate([spokes, chain[1:]])
    first = cluster(row_a, row_b, np.full(len(row_a), 5.0), rows=200_000)
    assert first[:3].tolist() == [0, 0, 2]
    assert np.bincount(first[100_000:] - 100_000).max() == 2


def test_cluster_with_a_cut_that_absent_pairs_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="must lie above"):
        cluster(np.array([0]), np.array([1]), np.array([1.0]), rows=2, cut=-7.0)


def test_log_odds_are_bounded_both_ways() -> None:
    assert log_odds(np.array([0.0, 0.5, 0.9, 1.0])).tolist() == pytest.approx([-6.0, 0.0, np.log(9), 6.0])


def two_kinds(*, matches: int, seed: int, at: float = 0.6) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of 100,000 non-matches with relatives among them, and of some matches, and which are matches."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0, 0.05, 98_000), rng.normal(0.2, 0.05, 2_000), rng.normal(at, 0.09, matches)])
    return scores, np.arange(len(scores)) >= 100_000


@pytest.mark.parametrize("matches", [500, 5_000, 40_000])
def test_calibrate_within_tells_duplicates_from_others_with_honest_probabilities(matches: int) -> None:
    scores, truth = two_kinds(matches=matches, seed=1)
    calibration = calibrate_within(scores, rows=20_000, pairs_examined=20_000 * 19_999 // 2)
    probability = calibration.probability(scores)
    assert calibration.usable
    assert calibration.findings == ()
    assert calibration.matches.low <= calibration.matches.estimate <= calibration.matches.high
    assert calibration.matches.estimate == pytest.approx(matches, rel=0.05)
    assert ((probability >= 0.5) != truth).sum() < 0.02 * matches
    for low, high in ((0.02, 0.3), (0.3, 0.7), (0.7, 0.98)):
        inside = (probability >= low) & (probability < high)
        assert probability[inside].sum() == pytest.approx(truth[inside].sum(), abs=0.02 * matches)


def test_calibrate_within_counts_every_pair_in_its_histogram() -> None:
    scores, _ = two_kinds(matches=3_000, seed=2)
    calibration = calibrate_within(scores, rows=20_000, pairs_examined=20_000 * 19_999 // 2)
    assert calibration.observed.sum() == len(scores)
    assert len(calibration.edges) == len(calibration.observed) + 1
    assert (calibration.expected <= calibration.observed).all()
    assert (np.diff(calibration.levels) >= 0).all()
    assert calibration.levels[-1] < 1


def test_calibrate_within_finds_the_duplicates_behind_a_rise_of_relatives() -> None:
    rng = np.random.default_rng(3)
    relatives = rng.normal(0.25, 0.03, 30_000)
    scores = np.concatenate([rng.normal(0, 0.03, 400_000), relatives, rng.normal(0.65, 0.05, 4_000)])
    calibration = calibrate_within(scores, rows=30_000, pairs_examined=30_000 * 29_999 // 2)
    assert calibration.usable
    assert calibration.matches.estimate == pytest.approx(4_000, rel=0.05)


@pytest.mark.parametrize("relatives", [0, 2_000, 30_000])
def test_calibrate_within_without_duplicates_gives_no_probabilities(relatives: int) -> None:
    rng = np.random.default_rng(4)
    scores = np.concatenate([rng.gamma(2, 0.02, 400_000), rng.normal(0.17, 0.05, relatives)])
    calibration = calibrate_within(scores, rows=30_000, pairs_examined=30_000 * 29_999 // 2)
    assert not calibration.usable
    assert [finding.code for finding in calibration.findings] == [FindingCode.NO_SEPARATION]
    assert calibration.probability(scores).max() == 0


def test_calibrate_within_of_few_duplicates_says_so() -> None:
    scores, _ = two_kinds(matches=90, seed=5)
    calibration = calibrate_within(scores, rows=20_000, pairs_examined=20_000 * 19_999 // 2)
    assert calibration.usable
    assert [finding.code for finding in calibration.findings] == [FindingCode.FEW_MATCHES]


@pytest.mark.parametrize("count", [0, 1, 199])
def test_calibrate_within_of_too_few_pairs_gives_no_probabilities(count: int) -> None:
    calibration = calibrate_within(np.linspace(0, 1, count), rows=50, pairs_examined=1225)
    assert not calibration.usable
    assert [finding.code for finding in calibration.findings] == [FindingCode.TOO_SMALL]


def test_calibrate_within_of_equal_scores_gives_no_probabilities() -> None:
    calibration = calibrate_within(np.full(1_000, 0.3), rows=500, pairs_examined=124_750)
    assert [finding.code for finding in calibration.findings] == [FindingCode.NO_SEPARATION]
