from array import array

import numpy as np
import pytest
from anonlink.solving import greedy_solve, probabilistic_greedy_solve

from linkage_matching import CandidatePairs, Groups, MatchingError, solve

Members = frozenset[tuple[int, int]]


def random_candidates(seed: int, *, rows_a: int, rows_b: int, count: int, levels: int = 20) -> CandidatePairs:
    """Distinct pairs with few similarity levels, so that most of them tie."""
    rng = np.random.default_rng(seed)
    places = rng.choice(rows_a * rows_b, count, replace=False)
    row_a, row_b = np.divmod(places, rows_b)
    similarity = rng.integers(1, levels + 1, count) / levels
    order = np.lexsort((row_b, row_a, -similarity))
    return CandidatePairs(row_a[order], row_b[order], similarity[order])


def members(groups: Groups) -> list[Members]:
    """The rows of each group, in the order of group numbers."""
    found: list[set[tuple[int, int]]] = [set() for _ in range(groups.count)]
    for data_set, membership in enumerate(groups.membership):
        for row, group in enumerate(membership.tolist()):
            if group >= 0:
                found[group].add((data_set, row))
    return [frozenset(group) for group in found]


def in_anonlinks_shape(candidates: dict[tuple[int, int], CandidatePairs]) -> tuple[object, ...]:
    rows = sorted(
        (-similarity, first, second, row_a, row_b)
        for (first, second), pairs in candidates.items()
        for similarity, row_a, row_b in zip(
            pairs.similarity.tolist(), pairs.row_a.tolist(), pairs.row_b.tolist(), strict=True
        )
    )
    columns = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
    similarity = array("d", [-value for value in columns[0]])
    first, second, row_a, row_b = (array("I", column) for column in columns[1:])
    return similarity, (first, second), (row_a, row_b)


@pytest.mark.parametrize("count", [0, 1, 50, 400, 1500])
@pytest.mark.parametrize("seed", range(5))
def test_solve_of_two_data_sets_equals_anonlinks_greedy_solve(seed: int, count: int) -> None:
    candidates = {(0, 1): random_candidates(seed, rows_a=50, rows_b=40, count=count)}
    groups = solve(candidates, sizes=[50, 40])
    expected = greedy_solve(in_anonlinks_shape(candidates))
    assert set(members(groups)) == {frozenset(group) for group in expected}
    assert groups.pairs == count


@pytest.mark.parametrize("count", [0, 30, 200, 600])
@pytest.mark.parametrize("seed", range(5))
def test_solve_of_four_data_sets_equals_anonlinks_probabilistic_solve(seed: int, count: int) -> None:
    sizes = [30, 25, 20, 35]
    candidates = {
        (i, j): random_candidates(10 * seed + i + 4 * j, rows_a=sizes[i], rows_b=sizes[j], count=min(count, 500))
        for i in range(4)
        for j in range(i + 1, 4)
    }
    groups = solve(candidates, sizes=sizes)
    expected = probabilistic_greedy_solve(in_anonlinks_shape(candidates), merge_threshold=0.5)
    assert set(members(groups)) == {frozenset(group) for group in expected}


@pytest.mark.parametrize("parties", [2, 3])
def test_solve_numbers_groups_by_first_member_and_reports_their_lowest_candidate(parties: int) -> None:
    sizes = [30] * parties
    candidates = {
        (i, j): random_candidates(i + 4 * j, rows_a=30, rows_b=30, count=100)
        for i in range(parties)
        for j in range(i + 1, parties)
    }
    groups = solve(candidates, sizes=sizes)
    of_rows = members(groups)
    first_members = [min(group) for group in of_rows]
    assert first_members == sorted(first_members)
    for group, reported in zip(of_rows, groups.similarity.tolist(), strict=True):
        inside = [
            similarity
            for (first, second), pairs in candidates.items()
            for similarity, row_a, row_b in zip(pairs.similarity, pairs.row_a, pairs.row_b, strict=True)
            if {(first, int(row_a)), (second, int(row_b))} <= group
        ]
        assert reported == min(inside)


def test_solve_of_three_data_sets_puts_at_most_one_row_of_each_into_a_group() -> None:
    candidates = {
        key: random_candidates(number, rows_a=25, rows_b=25, count=300)
        for number, key in enumerate([(0, 1), (0, 2), (1, 2)])
    }
    for group in members(solve(candidates, sizes=[25] * 3)):
        data_sets = [data_set for data_set, _ in group]
        assert len(data_sets) == len(set(data_sets)) >= 2


def test_solve_takes_the_earlier_of_two_equal_pairs() -> None:
    pairs = CandidatePairs(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.9, 0.9, 0.9]))
    assert members(solve({(0, 1): pairs}, sizes=[2, 2])) == [frozenset({(0, 0), (1, 0)})]


@pytest.mark.parametrize("sizes", [[], [3]])
def test_solve_of_fewer_than_two_data_sets_is_refused(sizes: list[int]) -> None:
    with pytest.raises(MatchingError, match="at least two"):
        solve({}, sizes=sizes)


@pytest.mark.parametrize("key", [(1, 0), (0, 0), (0, 2), (-1, 1)])
def test_solve_of_candidates_of_unknown_data_sets_is_refused(key: tuple[int, int]) -> None:
    with pytest.raises(MatchingError, match="lower number first"):
        solve({key: random_candidates(0, rows_a=2, rows_b=2, count=1)}, sizes=[2, 2])
