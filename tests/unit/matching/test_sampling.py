from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from linkage_matching import Measure, best_pairs, choose_floor, sampling
from linkage_matching.sampling import estimate_pairs
from support.dice import encodings, noisy_copies, random_rows, reference_pairs, simple_matching

NOBODY = np.zeros((0, 4), np.uint64)


def crowded(rows: int, *, seed: int) -> NDArray[np.uint64]:
    """Filters of 256 bits in families of very different sizes, as people with common and rare names are."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, (400, 4), np.uint64) & rng.integers(0, 2**64, (400, 4), np.uint64)
    family = np.minimum(rng.zipf(1.5, rows) - 1, 399)
    noise = np.full((rows, 4), ~np.uint64(0))
    for _ in range(3):
        noise &= rng.integers(0, 2**64, (rows, 4), np.uint64)
    filters: NDArray[np.uint64] = centres[family] ^ noise
    return filters


def pairs_at(a: NDArray[np.uint64], b: NDArray[np.uint64] | None, threshold: Fraction, measure: Measure) -> int:
    found, bounded = best_pairs(
        a, b, threshold=threshold, measure=measure, budget=10_000_000, best_per_row=1, threads=1
    )
    assert not bounded
    return len(found)


@pytest.mark.parametrize("measure", Measure)
@pytest.mark.parametrize(("rows_a", "rows_b"), [(300, 300), (2500, 400), (400, 2500), (3000, None)])
def test_choose_floor_gives_the_candidates_wanted(rows_a: int, rows_b: int | None, measure: Measure) -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 2**64, (rows_a, 16), np.uint64)
    b = None if rows_b is None else rng.integers(0, 2**64, (rows_b, 16), np.uint64)
    floor = choose_floor(a, b, per_record=20, measure=measure, threads=1)
    wanted = 20 * (rows_a / 2 if rows_b is None else max(rows_a, rows_b))
    found = pairs_at(a, b, floor.threshold, measure)
    assert found == pytest.approx(wanted, rel=0.15)
    assert floor.expected_pairs == found
    assert 1000 % floor.threshold.denominator == 0


@pytest.mark.parametrize("within", [False, True])
def test_choose_floor_by_a_sample_is_near_the_candidates_wanted(
    within: bool,  # noqa: FBT001 - parametrised
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a hundredth of the pairs, as of two data sets of two hundred thousand rows
    monkeypatch.setattr(sampling, "_FIRST_PAIRS", 1 << 14)
    monkeypatch.setattr(sampling, "_SECOND_PAIRS", 1 << 20)
    monkeypatch.setattr(sampling, "_SECOND_ROWS", 512)
    a, b = np.random.default_rng(2).integers(0, 2**64, (2, 10_000, 4), np.uint64)
    floor = choose_floor(a, None if within else b, per_record=5, threads=1)
    found = pairs_at(a, None if within else b, floor.threshold, Measure.DICE)
    assert found == pytest.approx(5 * 10_000 / (2 if within else 1), rel=0.15)
    assert floor.expected_pairs == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize("rows_b", [0, 1, 5, None])
@pytest.mark.parametrize("rows_a", [0, 1, 5])
def test_choose_floor_of_tiny_data_sets_leaves_almost_everything_in(rows_a: int, rows_b: int | None) -> None:
    rows = random_rows(10, bits=256, seed=3)
    a = encodings(rows[:rows_a], bits=256)
    b = None if rows_b is None else encodings(rows[5 : 5 + rows_b], bits=256)
    floor = choose_floor(a, b)
    assert floor.threshold == Fraction(1, 20)
    assert floor.expected_pairs == (rows_a * (rows_a - 1) // 2 if rows_b is None else rows_a * rows_b)


def test_choose_floor_of_identical_rows_is_the_highest() -> None:
    rows = encodings([7] * 200, bits=256)
    assert choose_floor(rows, rows) == sampling.Floor(Fraction(1), 40_000)


def test_choose_floor_of_empty_filters_expects_nothing() -> None:
    rows = np.zeros((100, 4), np.uint64)
    assert choose_floor(rows, rows).expected_pairs == 0


@pytest.mark.parametrize("measure", Measure)
def test_estimate_pairs_of_small_data_sets_counts_them(measure: Measure) -> None:
    a = random_rows(40, bits=256, seed=4)
    b = noisy_copies(a, bits=256, seed=5, flips=30)
    threshold = Fraction(61, 200)
    similarity = simple_matching(256) if measure is Measure.SIMPLE_MATCHING else None
    estimate = estimate_pairs(encodings(a, bits=256), encodings(b, bits=256), threshold=threshold, measure=measure)
    assert estimate.enough
    for thousandths in (306, 400, 500, 750, 1000):
        least = Fraction(thousandths, 1000)
        expected = reference_pairs(a, b, least, *([similarity] if similarity else []))
        assert estimate.pairs(thousandths) == len(expected)


def test_estimate_pairs_of_rare_pairs_looks_at_more_rows() -> None:
    a, b = crowded(6000, seed=6), crowded(6000, seed=6)[::-1]
    threshold = Fraction(85, 100)
    estimate = estimate_pairs(a, b, threshold=threshold, threads=1)
    assert estimate.pairs(0) == pytest.approx(pairs_at(a, b, threshold, Measure.DICE), rel=0.3)


def test_estimate_pairs_of_data_sets_turned_round_is_the_same() -> None:
    a, b = crowded(4_000, seed=1), crowded(5_000, seed=2)
    first, second = (estimate_pairs(*sets, threshold=Fraction(1, 2), threads=1) for sets in ((a, b), (b, a)))
    assert first.part < 1
    assert first.reaching.tolist() == second.reaching.tolist()
