from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linkage_matching import scoring_kernel
from linkage_matching.encodings import popcounts
from linkage_matching.errors import MatchingError
from linkage_matching.measure import Measure
from linkage_matching.pairs import Pairs
from linkage_matching.scoring import FAR, NEAR, Ranks, score_across, score_null, score_within

BITS = 256


def filters(rows: int, *, seed: int, fill: float = 0.3) -> NDArray[np.uint64]:
    bits = np.random.default_rng(seed).random((rows, BITS)) < fill
    return np.packbits(bits, axis=1).view(np.uint64)


def bits_of(rows: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.unpackbits(rows.view(np.uint8), axis=1)


def pairs_of(a: NDArray[np.uint64], b: NDArray[np.uint64], row_a: list[int], row_b: list[int]) -> Pairs:
    common = popcounts(a[row_a] & b[row_b]).astype(np.uint16)
    return Pairs(np.array(row_a, np.int32), np.array(row_b, np.int32), common)


def every_pair(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> Pairs:
    row_a, row_b = np.divmod(np.arange(len(a) * len(b)), len(b))
    return pairs_of(a, b, row_a.tolist(), row_b.tolist())


def every_pair_inside(a: NDArray[np.uint64]) -> Pairs:
    row_a, row_b = np.triu_indices(len(a), 1)
    return pairs_of(a, a, row_a.tolist(), row_b.tolist())


def correlations(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.float64]:
    table: NDArray[np.float64] = np.corrcoef(bits_of(a), bits_of(b))[: len(a), len(a) :]
    return table


def correlations_inside(a: NDArray[np.uint64]) -> NDArray[np.float64]:
    table: NDArray[np.float64] = np.asarray(np.corrcoef(bits_of(a)), np.float64)
    return table


def density(values: NDArray[np.float64], ranks: Ranks) -> NDArray[np.float64]:
    ordered = -np.sort(-values, axis=1)
    mean: NDArray[np.float64] = ordered[:, ranks.first - 1 : ranks.last].mean(axis=1)
    return mean


# the first example compiles
@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(0.05, 0.95))
def test_score_null_against_no_density_is_the_correlation_of_the_bits(seed: int, fill: float) -> None:
    a = filters(6, seed=seed, fill=fill)
    pairs = every_pair_inside(a)

    scores = score_null(pairs, density=np.zeros(6, np.float32), counts=popcounts(a), bits=BITS)

    assert scores == pytest.approx(correlations_inside(a)[pairs.row_a, pairs.row_b], abs=1e-5)


@pytest.mark.parametrize("ranks", [NEAR, FAR, Ranks(1, 1)])
def test_score_across_of_all_pairs_agrees_with_numpy(ranks: Ranks) -> None:
    a, b = filters(40, seed=1), filters(30, seed=2)

    scored = score_across(every_pair(a, b), counts_a=popcounts(a), counts_b=popcounts(b), bits=BITS, ranks=ranks)

    phi = correlations(a, b)
    expected = phi - (density(phi, ranks)[:, None] + density(phi.T, ranks)[None, :]) / 2
    assert scored.scores.reshape(40, 30) == pytest.approx(expected, abs=1e-5)


def test_score_across_simple_matching_uses_the_share_of_bits_that_agree() -> None:
    a, b = filters(20, seed=3), filters(20, seed=4)

    scored = score_across(
        every_pair(a, b), counts_a=popcounts(a), counts_b=popcounts(b), bits=BITS, measure=Measure.SIMPLE_MATCHING
    )

    agree = (bits_of(a)[:, None, :] == bits_of(b)[None, :, :]).mean(axis=2)
    expected = agree - (density(agree, NEAR)[:, None] + density(agree.T, NEAR)[None, :]) / 2
    assert scored.scores.reshape(20, 20) == pytest.approx(expected, abs=1e-5)


def test_score_across_turned_round_gives_the_same_scores() -> None:
    a, b = filters(25, seed=5), filters(35, seed=6)
    pairs = every_pair(a, b)
    turned = Pairs(pairs.row_b, pairs.row_a, pairs.common)

    one = score_across(pairs, counts_a=popcounts(a), counts_b=popcounts(b), bits=BITS)
    other = score_across(turned, counts_a=popcounts(b), counts_b=popcounts(a), bits=BITS)

    assert np.array_equal(one.scores, other.scores)
    assert np.array_equal(one.density_a, other.density_b)


def test_score_across_order_of_pairs_changes_no_score() -> None:
    a, b = filters(25, seed=7), filters(25, seed=8)
    pairs = every_pair(a, b)
    order = np.random.default_rng(0).permutation(len(pairs))
    mixed = Pairs(pairs.row_a[order], pairs.row_b[order], pairs.common[order])

    one = score_across(pairs, counts_a=popcounts(a), counts_b=popcounts(b), bits=BITS)
    other = score_across(mixed, counts_a=popcounts(a), counts_b=popcounts(b), bits=BITS)

    assert np.array_equal(one.scores[order], other.scores)


def test_score_across_crowded_neighbourhood_lowers_a_score() -> None:
    a = filters(2, seed=9)
    b = np.concatenate([a, np.repeat(a[:1], 5, axis=0)])
    # pair 0 and pair 1 are identical filters; only row 0 has copies beside it, and both have something less alike
    pairs = pairs_of(a, b, [0, 1, *[0] * 5, 0, 1], [0, 1, *range(2, 7), 1, 0])

    scored = score_across(pairs, counts_a=popcounts(a), counts_b=popcounts(b), bits=BITS)

    assert scored.scores[0] < scored.scores[1]


def test_score_across_densities_have_one_mean() -> None:
    a, b = filters(10, seed=10), filters(60, seed=11)

    scored = score_across(every_pair(a, b), counts_a=popcounts(a), counts_b=popcounts(b), bits=BITS)

    assert scored.density_a.mean() == pytest.approx(scored.density_b.mean(), abs=1e-6)


def test_score_across_without_pairs_gives_no_scores() -> None:
    a = filters(3, seed=12)

    scored = score_across(pairs_of(a, a, [], []), counts_a=popcounts(a), counts_b=popcounts(a), bits=BITS)

    assert scored.scores.shape == (0,)
    assert scored.scores.dtype == np.float32


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_score_across_filters_without_variance_score_finite(fill: float) -> None:
    a = filters(4, seed=13, fill=fill)

    scored = score_across(every_pair(a, a), counts_a=popcounts(a), counts_b=popcounts(a), bits=BITS)

    assert np.isfinite(scored.scores).all()


def test_score_within_agrees_with_numpy_over_both_sides_of_each_pair() -> None:
    a = filters(40, seed=14)
    pairs = every_pair_inside(a)

    scored = score_within(pairs, counts=popcounts(a), bits=BITS, ranks=FAR)

    phi = correlations_inside(a)
    np.fill_diagonal(phi, -np.inf)
    around = density(phi, FAR)
    expected = phi[pairs.row_a, pairs.row_b] - (around[pairs.row_a] + around[pairs.row_b]) / 2
    assert scored.scores == pytest.approx(expected, abs=1e-5)


def test_score_null_subtracts_the_density_given() -> None:
    a = filters(10, seed=15)
    pairs = every_pair_inside(a)
    around = np.linspace(0, 0.5, 10).astype(np.float32)

    scores = score_null(pairs, density=around, counts=popcounts(a), bits=BITS)

    phi = correlations_inside(a)[pairs.row_a, pairs.row_b]
    assert scores == pytest.approx(phi - (around[pairs.row_a] + around[pairs.row_b]) / 2, abs=1e-5)


@pytest.mark.parametrize(("first", "last"), [(0, 3), (4, 3)])
def test_ranks_that_are_none_are_refused(first: int, last: int) -> None:
    with pytest.raises(MatchingError, match="Count from 1"):
        Ranks(first, last)


def test_compile_all_covers_what_scoring_calls() -> None:
    scoring_kernel.compile_all()
    functions: list[Any] = [
        scoring_kernel.correlations,
        scoring_kernel.agreements,
        scoring_kernel.keep_best,
        scoring_kernel.subtract_means,
    ]
    before = [len(function.signatures) for function in functions]
    a = filters(10, seed=16)

    for measure in Measure:
        score_across(every_pair(a, a), counts_a=popcounts(a), counts_b=popcounts(a), bits=BITS, measure=measure)

    assert [len(function.signatures) for function in functions] == before
