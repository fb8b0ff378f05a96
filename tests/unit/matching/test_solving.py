import warnings
from array import array
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linkage_matching import Groups, MatchingError, ScoredPairs, solve_groups
from linkage_matching.deduplication import ABSENT_LOG_ODDS
from linkage_matching.solving import best_first, mutual_best, one_to_one

with warnings.catch_warnings():
    # anonlink 0.15.3 asks pkg_resources for its version, which warns that it is deprecated
    warnings.simplefilter("ignore")
    from anonlink.solving import greedy_solve, probabilistic_greedy_solve

Key = tuple[int, int]
Members = frozenset[tuple[int, int]]
Listed = list[tuple[int, int, float]]

NO_CANDIDATE = 1 / (1 + np.exp(-ABSENT_LOG_ODDS))


def scored(listed: Listed, *, probable: bool = False) -> ScoredPairs:
    row_a, row_b, score = zip(*listed, strict=True) if listed else ((), (), ())
    values = np.array(score, np.float64)
    return ScoredPairs(np.array(row_a, np.int32), np.array(row_b, np.int32), values, values if probable else None)


def random_pairs(seed: int, *, rows_a: int, rows_b: int, count: int, levels: int = 20) -> ScoredPairs:
    """Distinct pairs with few levels of scores, so that most of them tie, in no order."""
    rng = np.random.default_rng(seed)
    places = rng.choice(rows_a * rows_b, min(count, rows_a * rows_b), replace=False)
    row_a, row_b = np.divmod(places, rows_b)
    score = rng.integers(1, levels + 1, len(places)) / levels
    return ScoredPairs(row_a.astype(np.int32), row_b.astype(np.int32), score)


def members(groups: Groups) -> list[Members]:
    """The rows of each group, in the order of group numbers."""
    found: list[set[tuple[int, int]]] = [set() for _ in range(groups.count)]
    for data_set, membership in enumerate(groups.membership):
        for row, group in enumerate(membership.tolist()):
            if group >= 0:
                found[group].add((data_set, row))
    return [frozenset(group) for group in found]


def in_anonlinks_shape(pairs: Mapping[Key, ScoredPairs]) -> tuple[object, ...]:
    """By score, and where scores are equal in the order that solving promises."""
    rows = sorted(
        (-score, x, y, i + j, min(i, j), i, j)
        for (x, y), part in pairs.items()
        for score, i, j in zip(part.score.tolist(), part.row_a.tolist(), part.row_b.tolist(), strict=True)
    )
    score, x, y, _, _, i, j = list(zip(*rows, strict=True)) or [()] * 7
    return array("d", [-value for value in score]), (array("I", x), array("I", y)), (array("I", i), array("I", j))


@pytest.mark.parametrize("count", [0, 1, 50, 400, 1500])
@pytest.mark.parametrize("seed", range(5))
def test_solve_groups_of_two_data_sets_equals_anonlinks_greedy_solve(seed: int, count: int) -> None:
    pairs = {(0, 1): random_pairs(seed, rows_a=50, rows_b=40, count=count)}
    groups = solve_groups(pairs, sizes=[50, 40])
    expected = greedy_solve(in_anonlinks_shape(pairs))
    assert set(members(groups)) == {frozenset(group) for group in expected}
    assert groups.pairs == count


@given(
    seed=st.integers(0, 1_000_000),
    sizes=st.lists(st.integers(0, 9), min_size=3, max_size=6),
    count=st.integers(0, 60),
    levels=st.sampled_from([1, 3, 1000]),
)
@settings(max_examples=150, deadline=None)
def test_solve_groups_of_three_and_more_data_sets_equals_anonlinks_probabilistic_solve(
    seed: int, sizes: list[int], count: int, levels: int
) -> None:
    pairs = {
        (x, y): random_pairs(seed + x + 10 * y, rows_a=sizes[x], rows_b=sizes[y], count=count, levels=levels)
        for x, y in combinations(range(len(sizes)), 2)
    }
    groups = solve_groups(pairs, sizes=sizes)
    expected = probabilistic_greedy_solve(in_anonlinks_shape(pairs), merge_threshold=0.5)
    assert set(members(groups)) == {frozenset(group) for group in expected}


def test_solve_groups_of_seventy_data_sets_keeps_rows_of_each_apart() -> None:
    pairs = {key: scored([(0, 0, 0.9), (0, 1, 0.8)]) for key in combinations(range(70), 2)}
    groups = solve_groups(pairs, sizes=[2] * 70)
    assert max(len(group) for group in members(groups)) == 70
    for group in members(groups):
        assert len({data_set for data_set, _ in group}) == len(group)


@pytest.mark.parametrize("parties", [2, 4])
def test_solve_groups_numbers_groups_by_first_member(parties: int) -> None:
    pairs = {
        (x, y): random_pairs(x + 4 * y, rows_a=30, rows_b=30, count=100) for x, y in combinations(range(parties), 2)
    }
    first_members = [min(group) for group in members(solve_groups(pairs, sizes=[30] * parties))]
    assert first_members == sorted(first_members)


def test_solve_groups_does_not_depend_on_the_order_of_pairs() -> None:
    part = random_pairs(7, rows_a=30, rows_b=30, count=300, levels=3)
    order = np.random.default_rng(8).permutation(len(part))
    shuffled = ScoredPairs(part.row_a[order], part.row_b[order], part.score[order])
    once, again = (solve_groups({(0, 1): pairs}, sizes=[30, 30]) for pairs in (part, shuffled))
    assert members(once) == members(again)


def test_solve_groups_by_scores_leaves_pairs_below_the_cut_out_but_counts_them_in_probabilities() -> None:
    pairs = {
        (0, 1): scored([(0, 0, 0.9), (1, 1, 0.4)], probable=True),
        (0, 2): scored([(0, 0, 0.8)], probable=True),
        (1, 2): scored([(0, 0, 0.3)], probable=True),
    }
    groups = solve_groups(pairs, sizes=[2, 2, 2], cut=0.5)
    assert members(groups) == [{(0, 0), (1, 0), (2, 0)}]
    assert groups.lowest.tolist() == [0.3]
    assert groups.mean.tolist() == pytest.approx([2 / 3])


def test_solve_groups_counts_a_pair_that_is_no_candidate_as_one_that_hardly_matches() -> None:
    pairs = {(0, 1): scored([(0, 0, 0.9)], probable=True), (0, 2): scored([(0, 0, 0.8)], probable=True)}
    groups = solve_groups(pairs, sizes=[1, 1, 1])
    assert groups.lowest.tolist() == pytest.approx([NO_CANDIDATE])
    assert groups.mean.tolist() == pytest.approx([(0.9 + 0.8 + NO_CANDIDATE) / 3])


def test_solve_groups_without_probabilities_gives_none() -> None:
    groups = solve_groups({(0, 1): scored([(0, 0, 0.9)])}, sizes=[1, 1])
    assert np.isnan(groups.lowest).tolist() == np.isnan(groups.mean).tolist() == [True]


def test_solve_groups_by_mutual_best_takes_only_pairs_best_for_both() -> None:
    pairs = {(0, 1): scored([(0, 0, 0.9), (0, 1, 0.8), (1, 1, 0.7), (2, 2, 0.6), (2, 3, 0.6)])}
    greedy = solve_groups(pairs, sizes=[3, 4])
    careful = solve_groups(pairs, sizes=[3, 4], method="mutual_best")
    assert members(greedy) == [{(0, 0), (1, 0)}, {(0, 1), (1, 1)}, {(0, 2), (1, 2)}]
    assert members(careful) == [{(0, 0), (1, 0)}]


def test_solve_groups_of_one_data_set_finds_its_duplicates() -> None:
    pairs = {(0, 0): scored([(0, 3, 0.95), (0, 4, 0.9), (3, 4, 0.99), (1, 2, 0.6)], probable=True)}
    groups = solve_groups(pairs, sizes=[5], may_hold_duplicates=[True])
    assert groups.membership[0].tolist() == [0, 1, 1, 0, 0]
    assert groups.lowest.tolist() == [0.9, 0.6]
    assert groups.mean.tolist() == pytest.approx([(0.95 + 0.9 + 0.99) / 3, 0.6])


def test_solve_groups_with_duplicates_on_one_side_keeps_rows_of_the_other_apart() -> None:
    pairs = {
        (0, 0): scored([(0, 1, 0.99)], probable=True),
        (0, 1): scored([(0, 0, 0.95), (1, 0, 0.97), (0, 1, 0.9), (1, 1, 0.9)], probable=True),
    }
    groups = solve_groups(pairs, sizes=[2, 2], may_hold_duplicates=[True, False])
    assert members(groups) == [{(0, 0), (0, 1), (1, 0)}]


def test_solve_groups_with_duplicates_joins_where_the_mean_reaches_the_cut() -> None:
    pairs = {(0, 0): scored([(0, 1, 0.9), (2, 3, 0.7)], probable=True)}
    groups = solve_groups(pairs, sizes=[4], may_hold_duplicates=[True], cut=0.8)
    assert members(groups) == [{(0, 0), (0, 1)}]
    lenient = solve_groups(pairs, sizes=[4], may_hold_duplicates=[True], cut=0.0)
    assert members(lenient) == [{(0, 0), (0, 1)}, {(0, 2), (0, 3)}]


@pytest.mark.parametrize("cut", [0.999, 1.0])
def test_solve_groups_with_duplicates_keeps_pairs_below_a_very_high_cut_apart(cut: float) -> None:
    pairs = {(0, 0): scored([(0, 1, 0.998)], probable=True)}
    assert solve_groups(pairs, sizes=[2], may_hold_duplicates=[True], cut=cut).count == 0


def test_solve_groups_with_duplicates_and_no_cut_joins_pairs_however_unlikely() -> None:
    pairs = {(0, 0): scored([(0, 1, 0.0), (2, 3, 0.001), (4, 5, 0.9), (5, 6, 0.9)], probable=True)}
    groups = solve_groups(pairs, sizes=[7], may_hold_duplicates=[True], cut=0.0)
    assert members(groups) == [{(0, 0), (0, 1)}, {(0, 2), (0, 3)}, {(0, 4), (0, 5), (0, 6)}]


def test_solve_groups_with_duplicates_but_no_probabilities_joins_where_half_of_the_pairs_are_there() -> None:
    chain = {(0, 0): scored([(0, 1, 0.9), (1, 2, 0.8), (2, 3, 0.85)])}
    assert members(solve_groups(chain, sizes=[4], may_hold_duplicates=[True])) == [
        {(0, 0), (0, 1)},
        {(0, 2), (0, 3)},
    ]
    half = {(0, 0): scored([(0, 1, 0.9), (1, 2, 0.8)])}
    assert members(solve_groups(half, sizes=[3], may_hold_duplicates=[True])) == [{(0, 0), (0, 1), (0, 2)}]


@pytest.mark.parametrize("holds", [[False, False], [True, False]])
def test_solve_groups_of_no_pairs_gives_no_groups(holds: list[bool]) -> None:
    groups = solve_groups({}, sizes=[3, 0], may_hold_duplicates=holds)
    assert groups.count == groups.pairs == 0
    assert [part.tolist() for part in groups.membership] == [[-1] * 3, []]


@pytest.mark.parametrize(
    ("pairs", "sizes", "options", "message"),
    [
        ({}, [], {}, "at least one data set"),
        ({}, [1, 1], {"may_hold_duplicates": [True]}, "at least one data set"),
        ({(1, 0): scored([])}, [1, 1], {}, "lower number first"),
        ({(0, 2): scored([])}, [1, 1], {}, "lower number first"),
        ({(0, 0): scored([])}, [1, 1], {}, "said to hold no duplicates"),
        ({}, [1, 1], {"may_hold_duplicates": [True, False], "method": "mutual_best"}, "Mutual best"),
        ({}, [1, 1], {"method": "best_mutual"}, "no way of solving called 'best_mutual'"),
        ({(0, 1): scored([(0, 0, 0.9)])}, [1, 1], {"cut": 0.5}, "the scored pairs have none"),
        (
            {(0, 1): scored([(0, 0, 0.9)]), (0, 2): scored([(0, 0, 0.9)], probable=True)},
            [1, 1, 1],
            {},
            "Calibrate all or none",
        ),
    ],
)
def test_solve_groups_of_what_cannot_be_solved_is_refused(
    pairs: dict[Key, ScoredPairs], sizes: list[int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(MatchingError, match=message):
        solve_groups(pairs, sizes=sizes, **options)  # type: ignore[arg-type]  # wrong on purpose


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from([0.2, 0.5, 0.9])), unique=True))
@settings(max_examples=60, deadline=None)
def test_best_first_of_data_sets_turned_round_differs_only_in_mirrored_pairs(listed: Listed) -> None:
    pairs = scored(listed)
    order = best_first(pairs.row_a, pairs.row_b, pairs.score)
    turned = best_first(pairs.row_b, pairs.row_a, pairs.score)

    def as_seen(places: list[int]) -> list[tuple[float, frozenset[int]]]:
        return [(listed[place][2], frozenset(listed[place][:2])) for place in places]

    assert as_seen(order.tolist()) == as_seen(turned.tolist())
    assert sorted(order.tolist()) == list(range(len(listed)))
    assert (np.diff(pairs.score[order]) <= 0).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), unique=True))
@settings(max_examples=60, deadline=None)
def test_one_to_one_takes_each_pair_whose_rows_are_still_free(listed: list[tuple[int, int]]) -> None:
    taken = one_to_one(
        np.array([i for i, _ in listed], np.int64), np.array([j for _, j in listed], np.int32), rows_a=6, rows_b=6
    )
    used_a, used_b = set[int](), set[int]()
    for (i, j), is_taken in zip(listed, taken.tolist(), strict=True):
        assert is_taken == (i not in used_a and j not in used_b)
        if is_taken:
            used_a.add(i)
            used_b.add(j)


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from([0.2, 0.5, 0.9])), unique_by=lambda p: p[:2]
    )
)
@settings(max_examples=60, deadline=None)
def test_mutual_best_beats_every_other_pair_of_either_row(listed: Listed) -> None:
    pairs = scored(listed)
    found = mutual_best(pairs.row_a, pairs.row_b, pairs.score, rows_a=6, rows_b=6)
    for (i, j, score), is_best in zip(listed, found.tolist(), strict=True):
        rivals = [other for x, y, other in listed if (x == i) != (y == j)]
        assert is_best == all(other < score for other in rivals)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("divisor", [1, 3, 50_000])
def test_best_first_goes_by_score_then_sum_then_lower_row_then_first_row(dtype: type, divisor: int) -> None:
    rng = np.random.default_rng(divisor)
    row_a, row_b = np.divmod(rng.permutation(60 * 60)[:2500], 60)
    # negative ones, zeros of both signs and, for the larger divisors, values that float32 cannot hold
    score: NDArray[np.floating] = (rng.integers(-20, 21, len(row_a)) / divisor).astype(dtype)
    score[:3] = -0.0
    order = best_first(row_a.astype(np.int32), row_b.astype(np.int32), score)
    assert order.tolist() == np.lexsort((row_a, np.minimum(row_a, row_b), row_a + row_b, -score)).tolist()
