import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage_service.runs.suppression import every_combination, shown_counts, told_pairs

A, B, AB = (0,), (1,), (0, 1)


def test_shown_counts_large_ones_are_rounded_to_five() -> None:
    assert shown_counts({A: 31, B: 28, AB: 12}, providers=2, least=10) == {A: 30, B: 30, AB: 10}


@pytest.mark.parametrize("shared", [0, 3, 9])
def test_shown_counts_small_overlap_takes_the_counts_beside_it_along(shared: int) -> None:
    # With one's own total known, the records without a match would give the overlap away.
    assert shown_counts({A: 300, B: 200, AB: shared}, providers=2, least=10) == {A: None, B: None, AB: None}


def test_shown_counts_absent_combination_looks_like_a_small_one() -> None:
    assert shown_counts({A: 300, B: 200}, providers=2, least=10) == shown_counts(
        {A: 300, B: 200, AB: 5}, providers=2, least=10
    )


def test_shown_counts_third_provider_keeps_what_gives_nothing_away() -> None:
    counts = dict.fromkeys(every_combination(3), 100) | {(0, 1): 2}
    shown = shown_counts(counts, providers=3, least=10)
    assert shown[0, 1] is None
    assert shown[(2,)] == 100
    assert shown[0, 1, 2] == 100


def test_shown_counts_with_least_one_nothing_is_left_out() -> None:
    assert shown_counts({A: 4, AB: 1}, providers=2, least=1) == {A: 5, B: 0, AB: 0}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 14), min_size=7, max_size=7), st.integers(2, 12))
def test_shown_counts_leave_more_than_one_answer_for_every_count_left_out(values: list[int], least: int) -> None:
    """Brute force: given totals and the exact shown counts, each left-out count can have had at least two values."""
    combinations = every_combination(3)
    exact = dict(zip(combinations, values, strict=True))
    shown = shown_counts(exact, providers=3, least=least)
    unknown = [positions for positions in combinations if shown[positions] is None]
    assert all(exact[positions] >= least for positions in combinations if positions not in unknown)
    if not unknown:
        return
    # Every way to shift small amounts between the unknown counts, of which those that keep each provider's total count.
    moves = np.stack(np.meshgrid(*[np.arange(-2, 3)] * len(unknown)), axis=-1).reshape(-1, len(unknown))
    holds = np.array([[provider in positions for provider in range(3)] for positions in unknown], int)
    possible = moves[(moves @ holds == 0).all(axis=1)]
    assert (possible != 0).any(axis=0).all()


def test_told_pairs_of_two_providers_follow_the_summary() -> None:
    for shared, told in ((9, set()), (40, {AB})):
        counts = {A: 300, B: 200, AB: shared}
        shown = shown_counts(counts, providers=2, least=10)
        assert told_pairs(counts, shown, providers=2, least=10) == told


def test_told_pairs_without_a_minimum_are_all() -> None:
    counts = {A: 3, AB: 0}
    assert told_pairs(counts, shown_counts(counts, providers=2, least=1), providers=2, least=1) == {AB}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 14), min_size=7, max_size=7), st.integers(2, 12))
def test_told_pairs_leave_more_than_one_answer_for_every_count_left_out(values: list[int], least: int) -> None:
    """Brute force, as above: the exact links of the pairs that are told are known as well."""
    combinations = every_combination(3)
    exact = dict(zip(combinations, values, strict=True))
    shown = shown_counts(exact, providers=3, least=least)
    told = told_pairs(exact, shown, providers=3, least=least)
    assert all(sum(exact[c] for c in combinations if set(pair) <= set(c)) >= least for pair in told)
    unknown = [positions for positions in combinations if shown[positions] is None]
    if not unknown:
        return
    moves = np.stack(np.meshgrid(*[np.arange(-2, 3)] * len(unknown)), axis=-1).reshape(-1, len(unknown))
    known = [*((provider,) for provider in range(3)), *told]
    holds = np.array([[set(one) <= set(positions) for one in known] for positions in unknown], int)
    possible = moves[(moves @ holds == 0).all(axis=1)]
    assert (possible != 0).any(axis=0).all()
