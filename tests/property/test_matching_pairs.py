"""The kernel agrees with plain Python on every pair, whatever the filters, the threshold and the order of data sets."""

from fractions import Fraction

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage_matching import candidate_pairs
from linkage_matching.pairs import CandidatePairs
from support.dice import Pair, dice, encodings, reference_pairs

WIDTHS = (256, 320, 512, 1024, 2048, 4096)


def as_list(pairs: CandidatePairs) -> list[Pair]:
    return list(zip(pairs.row_a.tolist(), pairs.row_b.tolist(), pairs.similarity.tolist(), strict=True))


@st.composite
def filters(draw: st.DrawFn, bits: int) -> list[int]:
    """Few distinct patterns, so that pairs are often equal, empty, full or exactly on a threshold."""
    full = (1 << bits) - 1
    sparse = st.lists(st.integers(0, bits - 1), max_size=12).map(lambda places: sum(1 << p for p in set(places)))
    runs = st.tuples(st.integers(0, bits), st.integers(0, bits)).map(lambda r: ((1 << r[0]) - 1) << r[1] & full)
    dense = st.integers(0, 2**32 - 1).map(
        lambda seed: int.from_bytes(np.random.default_rng(seed).bytes(bits // 8), "little")
    )
    return draw(st.lists(st.one_of(sparse, runs, dense, st.sampled_from([0, full])), max_size=21))


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[int, list[int], list[int], Fraction]:
    bits = draw(st.sampled_from(WIDTHS))
    a, b = draw(filters(bits)), draw(filters(bits))
    occurring = sorted({s for first in a for second in b if (s := dice(first, second)) is not None})
    threshold = st.fractions(0, 1, max_denominator=2000)
    tiny = Fraction(1, 10**30)
    if occurring:
        exact = st.sampled_from(occurring)
        just_above = exact.map(lambda similarity: min(similarity + tiny, Fraction(1)))
        threshold = st.one_of(exact, just_above, threshold)
    return bits, a, b, draw(threshold)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(comparisons())
def test_candidate_pairs_for_any_filters_equal_the_reference_both_ways_round(
    comparison: tuple[int, list[int], list[int], Fraction],
) -> None:
    bits, a, b, threshold = comparison
    array_a, array_b = encodings(a, bits=bits), encodings(b, bits=bits)
    forwards = as_list(candidate_pairs(array_a, array_b, threshold=threshold, threads=1))
    backwards = as_list(candidate_pairs(array_b, array_a, threshold=threshold, threads=1))
    assert forwards == reference_pairs(a, b, threshold)
    assert backwards == reference_pairs(b, a, threshold)
    assert sorted(forwards) == sorted((i, j, similarity) for j, i, similarity in backwards)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(comparisons())
def test_candidate_pairs_within_one_data_set_equal_the_upper_triangle(
    comparison: tuple[int, list[int], list[int], Fraction],
) -> None:
    bits, a, b, threshold = comparison
    rows = a + b
    found = candidate_pairs(encodings(rows, bits=bits), threshold=threshold, threads=1)
    assert as_list(found) == reference_pairs(rows, None, threshold)
