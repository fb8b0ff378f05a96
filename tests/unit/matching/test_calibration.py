"""Lists made by chance with a known truth, so that probabilities can be held against it."""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linkage_matching.aims import BestF1, FixedThreshold, TargetPrecision
from linkage_matching.calibration import (
    LARGEST_WHOLE_NULL,
    Calibration,
    FindingCode,
    Interval,
    Null,
    OneToOne,
    calibrate,
    choose_cut,
    curve,
    null_rows,
)
from linkage_matching.solving import best_first, one_to_one

ROWS = 2000
CANDIDATES_A_ROW = 10


@dataclass(frozen=True, slots=True)
class World:
    """Two data sets of which the first rows, equally numbered, are the same people."""

    taken: OneToOne
    null_a: Null
    null_b: Null
    matches: int

    @property
    def right(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = (self.taken.row_a == self.taken.row_b) & (self.taken.row_a < self.matches)
        return right

    def calibration(self) -> Calibration:
        return calibrate(self.taken, null_a=self.null_a, null_b=self.null_b)


def chance_scores(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return (rng.exponential(0.05, count) - 0.1).astype(np.float32)


def match_scores(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.normal(0.5, 0.12, count).astype(np.float32)


def relative_scores(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.normal(0.2, 0.04, count).astype(np.float32)


def null_of(rows: int, rng: np.random.Generator, *, relatives: int = 0, copies: int = 0) -> Null:
    """Pairs inside by chance, pairs of relatives somewhat more alike, and copies as alike as matches are."""
    chance = rows * CANDIDATES_A_ROW // 2
    row_1, row_2 = rng.integers(0, rows, (2, chance + relatives + copies)).astype(np.int32)
    scores = np.concatenate([chance_scores(chance, rng), relative_scores(relatives, rng), match_scores(copies, rng)])
    apart = row_1 != row_2
    return Null(row_1[apart], row_2[apart], scores[apart], rows)


def world(
    matches: int, *, rows: int = ROWS, seed: int = 0, relatives: int = 0, copies: tuple[int, int] = (0, 0)
) -> World:
    """Relatives mostly are in one file together; a tenth as many pairs of them lie across."""
    rng = np.random.default_rng(seed)
    chance = rows * CANDIDATES_A_ROW
    row_a, row_b = rng.integers(0, rows, (2, chance + relatives // 10))
    row_a, row_b = np.concatenate([np.arange(matches), row_a]), np.concatenate([np.arange(matches), row_b])
    scores = np.concatenate(
        [match_scores(matches, rng), chance_scores(chance, rng), relative_scores(relatives // 10, rng)]
    )
    order = best_first(row_a, row_b, scores)
    row_a, row_b, scores = row_a[order], row_b[order], scores[order]
    kept = one_to_one(row_a, row_b, rows_a=rows, rows_b=rows)
    taken = OneToOne(row_a[kept], row_b[kept], scores[kept])
    null_a, null_b = (null_of(rows, rng, relatives=relatives, copies=many) for many in copies)
    return World(taken, null_a, null_b, matches)


def codes(calibration: Calibration) -> list[FindingCode]:
    return [finding.code for finding in calibration.findings]


def calibration_error(world: World) -> float:
    probability = world.calibration().probability(world.taken.scores)
    bins = np.minimum((probability * 10).astype(int), 9)
    gaps = [abs(float((probability[bins == k] - world.right[bins == k]).sum())) for k in range(10)]
    return sum(gaps) / len(bins)


# --- probabilities ---


@pytest.mark.parametrize("matches", [200, 1000, 1900])
@pytest.mark.parametrize("relatives", [0, 400])
def test_calibrate_known_truth_gives_probabilities_that_hold(matches: int, relatives: int) -> None:
    made = world(matches, relatives=relatives)

    assert calibration_error(made) < 0.05


@pytest.mark.parametrize("matches", [200, 1000, 1900])
@pytest.mark.parametrize("relatives", [0, 400])
def test_calibrate_known_truth_counts_the_matches(matches: int, relatives: int) -> None:
    found = world(matches, relatives=relatives).calibration().matches

    assert found.estimate == pytest.approx(matches, rel=0.15)
    assert found.low <= found.estimate <= found.high


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(50, 500))
def test_calibration_probability_never_falls_and_is_never_certain(seed: int, matches: int) -> None:
    calibration = world(matches, rows=500, seed=seed).calibration()

    probability = calibration.probability(np.linspace(-1, 2, 500))

    assert (np.diff(probability) >= 0).all()
    assert probability.min() >= 0
    assert probability.max() < 1


def test_calibrate_data_sets_turned_round_gives_the_same() -> None:
    made = world(500)
    turned = OneToOne(made.taken.row_b, made.taken.row_a, made.taken.scores)

    one = made.calibration()
    other = calibrate(turned, null_a=made.null_b, null_b=made.null_a)

    assert np.allclose(one.levels, other.levels)
    assert one.matches.estimate == pytest.approx(other.matches.estimate)


def test_calibrate_twice_gives_exactly_the_same() -> None:
    made = world(500)

    one, other = made.calibration(), made.calibration()

    assert np.array_equal(one.levels, other.levels)
    assert one.matches == other.matches


def test_calibrate_sampled_null_gives_nearly_the_same_matches() -> None:
    made = world(1000)
    rng = np.random.default_rng(9)

    def sampled(null: Null) -> Null:
        drawn = np.sort(rng.choice(null.rows, 800, replace=False))
        kept = np.isin(null.row_1, drawn) | np.isin(null.row_2, drawn)
        return Null(null.row_1[kept], null.row_2[kept], null.scores[kept], null.rows, drawn)

    found = calibrate(made.taken, null_a=sampled(made.null_a), null_b=sampled(made.null_b))

    assert found.matches.estimate == pytest.approx(made.calibration().matches.estimate, rel=0.03)


def test_calibrate_null_of_one_data_set_alone_is_enough() -> None:
    made = world(1000)
    none, no_rows = np.empty(0, np.int32), np.empty(0, np.int64)
    empty = Null(none, none, np.empty(0, np.float32), made.null_b.rows, sampled=no_rows)

    found = calibrate(made.taken, null_a=made.null_a, null_b=empty)

    assert found.matches.estimate == pytest.approx(1000, rel=0.1)


def test_calibration_histogram_adds_up() -> None:
    made = world(700)
    calibration = made.calibration()

    assert calibration.observed.sum() == len(made.taken)
    assert len(calibration.edges) == len(calibration.observed) + 1
    assert calibration.expected.sum() == pytest.approx(len(made.taken) - calibration.matches.estimate)


# --- guards ---


@pytest.mark.parametrize("seed", range(5))
def test_calibrate_nobody_in_common_is_no_separation(seed: int) -> None:
    calibration = world(0, seed=seed).calibration()

    assert codes(calibration) == [FindingCode.NO_SEPARATION]
    assert not calibration.usable
    assert not calibration.probability(np.array([0.0, 5.0])).any()


def test_calibrate_nobody_in_common_but_relatives_inside_is_no_separation() -> None:
    assert codes(world(0, relatives=1500).calibration()) == [FindingCode.NO_SEPARATION]


def test_calibrate_one_score_for_all_is_no_separation() -> None:
    made = world(500)
    same = replace(made.taken, scores=np.zeros(len(made.taken), np.float32))
    null_a, null_b = (
        replace(null, scores=np.zeros(len(null.scores), np.float32)) for null in (made.null_a, made.null_b)
    )

    assert codes(calibrate(same, null_a=null_a, null_b=null_b)) == [FindingCode.NO_SEPARATION]


def test_calibrate_a_short_list_is_too_small() -> None:
    made = world(500)
    short = OneToOne(made.taken.row_a[:20], made.taken.row_b[:20], made.taken.scores[:20])

    calibration = calibrate(short, null_a=made.null_a, null_b=made.null_b)

    assert codes(calibration) == [FindingCode.TOO_SMALL]
    assert not calibration.usable


def test_calibrate_few_matches_says_so() -> None:
    calibration = world(60).calibration()

    assert calibration.usable
    assert FindingCode.FEW_MATCHES in codes(calibration)


@pytest.mark.parametrize(("copies", "sides"), [((200, 0), (0,)), ((0, 200), (1,)), ((200, 200), (0, 1))])
def test_calibrate_copies_inside_says_where_and_still_counts(copies: tuple[int, int], sides: tuple[int, ...]) -> None:
    calibration = world(1000, copies=copies).calibration()

    (finding,) = calibration.findings
    assert finding.code is FindingCode.DUPLICATES_IN_SOURCE
    assert finding.sides == sides
    assert calibration.matches.estimate == pytest.approx(1000, rel=0.1)


def test_calibrate_relatives_inside_are_no_copies() -> None:
    assert codes(world(1000, relatives=400).calibration()) == []


def test_calibrate_unequal_populations_believes_the_larger() -> None:
    made = world(500)
    crowded = null_of(ROWS, np.random.default_rng(3), relatives=40_000)

    calibration = calibrate(made.taken, null_a=made.null_a, null_b=crowded)

    assert [(finding.code, finding.sides) for finding in calibration.findings] == [
        (FindingCode.UNEQUAL_POPULATIONS, (1,))
    ]


def test_calibrate_populations_of_which_one_is_hardly_known_are_not_called_unequal() -> None:
    made = world(500)
    few = (made.null_a.row_1 < 5) | (made.null_a.row_2 < 5)
    hardly = Null(made.null_a.row_1[few], made.null_a.row_2[few], made.null_a.scores[few], ROWS, np.arange(5))
    with_relatives = null_of(ROWS, np.random.default_rng(3), relatives=1_000)

    assert codes(calibrate(made.taken, null_a=hardly, null_b=with_relatives)) == []


# --- cuts ---


def ideal(levels: list[float]) -> tuple[Calibration, NDArray[np.float64]]:
    """A calibration that gives the scores 0, 1, 2, ... these probabilities."""
    values = np.array(levels)
    scores = np.arange(len(values), dtype=np.float64)
    total = float(values.sum())
    calibration = Calibration(
        usable=True,
        matches=Interval(total, total - 1, total + 1),
        edges=np.append(scores, len(scores)),
        observed=np.ones(len(values)),
        expected=1 - values,
        knots=scores,
        levels=values,
        findings=(),
    )
    return calibration, scores


def test_choose_cut_best_f1_takes_the_prefix_with_the_best_expectation() -> None:
    cut = choose_cut([ideal([0.1, 0.1, 0.3, 0.8, 0.9, 0.9])], BestF1())

    assert cut.probability == pytest.approx(0.8)
    assert cut.links == 3
    assert cut.precision == pytest.approx(2.6 / 3)
    assert cut.recall == pytest.approx(2.6 / 3.1)
    assert cut.f1 == pytest.approx(2 * 2.6 / (3 + 3.1))


def test_choose_cut_target_precision_takes_the_longest_prefix_that_reaches_it() -> None:
    cut = choose_cut([ideal([0.55, 0.6, 0.8, 0.9, 0.95])], TargetPrecision(0.8))

    assert cut.links == 4
    assert cut.precision == pytest.approx(3.25 / 4)


def test_choose_cut_target_precision_links_nothing_more_likely_wrong_than_right() -> None:
    cut = choose_cut([ideal([0.4, *[0.99] * 50])], TargetPrecision(0.9))

    assert cut.links == 50


def test_choose_cut_unreachable_precision_links_nothing() -> None:
    cut = choose_cut([ideal([0.5, 0.8, 0.9])], TargetPrecision(0.95))

    assert cut.links == 0
    assert cut.probability == 1.0
    assert cut.precision is None


def test_choose_cut_equal_probabilities_stay_together() -> None:
    cut = choose_cut([ideal([0.6, 0.6, 0.6, 1 - 1e-9])], TargetPrecision(0.75))

    assert cut.links == 1


def test_choose_cut_is_one_for_all_pairs_of_data_sets() -> None:
    cut = choose_cut([ideal([0.2, 0.9, 0.9]), ideal([0.1, 0.7, 0.95])], BestF1())

    assert cut.links == 4
    assert cut.matches.estimate == pytest.approx(3.75)


def test_choose_cut_fixed_threshold_keeps_every_pair() -> None:
    assert choose_cut([ideal([0.2, 0.9])], FixedThreshold(Fraction(7, 10))).links == 2


def test_choose_cut_without_probabilities_links_nothing() -> None:
    unusable = world(0).calibration()

    cut = choose_cut([(unusable, np.arange(50.0))], BestF1())

    assert cut.links == 0
    assert cut.f1 is None


def test_curve_falls_in_probability_and_ends_at_the_whole_list() -> None:
    made = world(500)

    points = curve(made.calibration(), made.taken.scores, points=30)

    assert len(points) <= 30
    assert points[-1].links == len(made.taken)
    assert [point.links for point in points] == sorted(point.links for point in points)
    assert [point.probability for point in points] == sorted((point.probability for point in points), reverse=True)


# --- the plan of the null ---


def test_null_rows_small_data_sets_are_compared_as_a_whole() -> None:
    assert null_rows(LARGEST_WHOLE_NULL, cross_pairs=10**12) is None


@pytest.mark.parametrize(("rows", "cross_rows"), [(100_000, 100_000), (1_000_000, 1_000), (50_000, 10_000_000)])
def test_null_rows_large_data_sets_are_sampled_in_proportion(rows: int, cross_rows: int) -> None:
    sampled = null_rows(rows, cross_pairs=rows * cross_rows)

    assert sampled is None or 2_000 <= sampled < rows // 2
    if cross_rows == rows:
        assert sampled == rows // 5
