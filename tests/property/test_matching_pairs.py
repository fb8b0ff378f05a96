"""The kernel agrees with plain Python on every pair, whatever the filters, the threshold and the order of data sets."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage_matching import Measure, best_pairs, candidate_pairs, spill_candidate_pairs
from linkage_matching.results import CandidatePairs, Pairs
from support.dice import Pair, Similarity, dice, encodings, reference_pairs, simple_matching
from support.kernels import MATRIX, comparing

WIDTHS = (256, 320, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Case:
    bits: int
    a: list[int]
    b: list[int]
    threshold: Fraction
    measure: Measure

    @property
    def similarity(self) -> Similarity:
        return dice if self.measure is Measure.DICE else simple_matching(self.bits)


def as_list(pairs: CandidatePairs) -> list[Pair]:
    return list(zip(pairs.row_a.tolist(), pairs.row_b.tolist(), pairs.similarity.tolist(), strict=True))


def rows_and_common(pairs: Pairs) -> list[tuple[int, int, int]]:
    return list(zip(pairs.row_a.tolist(), pairs.row_b.tolist(), pairs.common.tolist(), strict=True))


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
def cases(draw: st.DrawFn) -> Case:
    bits = draw(st.sampled_from(WIDTHS))
    a, b = draw(filters(bits)), draw(filters(bits))
    measure = draw(st.sampled_from(list(Measure)))
    similarity = Case(bits, a, b, Fraction(0), measure).similarity
    occurring = sorted({s for first in a for second in b if (s := similarity(first, second)) is not None})
    threshold = st.fractions(0, 1, max_denominator=2000)
    tiny = Fraction(1, 10**30)
    if occurring:
        exact = st.sampled_from(occurring)
        just_above = exact.map(lambda similarity: min(similarity + tiny, Fraction(1)))
        threshold = st.one_of(exact, just_above, threshold)
    return Case(bits, a, b, draw(threshold), measure)


def best_of_either(pairs: Iterable[Pair], best: int) -> list[Pair]:
    """The pairs, given in order, that are among the best of one of their rows."""
    seen_a: dict[int, int] = {}
    seen_b: dict[int, int] = {}
    kept = []
    for i, j, similarity in pairs:
        if seen_a.get(i, 0) < best or seen_b.get(j, 0) < best:
            kept.append((i, j, similarity))
        seen_a[i] = seen_a.get(i, 0) + 1
        seen_b[j] = seen_b.get(j, 0) + 1
    return kept


@pytest.mark.parametrize("matrix", MATRIX)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_candidate_pairs_for_any_filters_equal_the_reference_both_ways_round(
    matrix: bool,  # noqa: FBT001 - parametrised
    case: Case,
) -> None:
    a, b = encodings(case.a, bits=case.bits), encodings(case.b, bits=case.bits)
    with comparing(matrix=matrix):
        forwards = as_list(candidate_pairs(a, b, threshold=case.threshold, measure=case.measure, threads=1))
        backwards = as_list(candidate_pairs(b, a, threshold=case.threshold, measure=case.measure, threads=1))
    assert forwards == reference_pairs(case.a, case.b, case.threshold, case.similarity)
    assert backwards == reference_pairs(case.b, case.a, case.threshold, case.similarity)
    assert sorted(forwards) == sorted((i, j, similarity) for j, i, similarity in backwards)


@pytest.mark.parametrize("matrix", MATRIX)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_candidate_pairs_within_one_data_set_equal_the_upper_triangle(
    matrix: bool,  # noqa: FBT001 - parametrised
    case: Case,
) -> None:
    rows = case.a + case.b
    array = encodings(rows, bits=case.bits)
    with comparing(matrix=matrix):
        found = candidate_pairs(array, threshold=case.threshold, measure=case.measure, threads=1)
    assert as_list(found) == reference_pairs(rows, None, case.threshold, case.similarity)


@pytest.mark.parametrize("matrix", MATRIX)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.integers(0, 30), st.integers(1, 4), st.booleans())
def test_best_pairs_for_any_filters_equal_the_best_of_the_reference(
    matrix: bool,  # noqa: FBT001 - parametrised
    case: Case,
    budget: int,
    best: int,
    within: bool,  # noqa: FBT001 - drawn
) -> None:
    rows_a, rows_b = (case.a + case.b, None) if within else (case.a, case.b)
    a = encodings(rows_a, bits=case.bits)
    b = None if rows_b is None else encodings(rows_b, bits=case.bits)
    with comparing(matrix=matrix):
        pairs, bounded = best_pairs(
            a, b, threshold=case.threshold, measure=case.measure, budget=budget, best_per_row=best, threads=1
        )
    expected = reference_pairs(rows_a, rows_b, case.threshold, case.similarity)
    assert bounded == (len(expected) > budget)
    if bounded:
        expected = best_of_either(expected, best)
    other = rows_a if rows_b is None else rows_b
    assert rows_and_common(pairs) == [(i, j, (rows_a[i] & other[j]).bit_count()) for i, j, _ in expected]


@pytest.mark.parametrize("matrix", MATRIX)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.booleans())
def test_spilled_pairs_for_any_filters_equal_the_reference(
    matrix: bool,  # noqa: FBT001 - parametrised
    case: Case,
    within: bool,  # noqa: FBT001 - drawn
) -> None:
    rows_a, rows_b = (case.a + case.b, None) if within else (case.a, case.b)
    a = encodings(rows_a, bits=case.bits)
    b = None if rows_b is None else encodings(rows_b, bits=case.bits)
    with (
        comparing(matrix=matrix),
        TemporaryDirectory() as directory,
        spill_candidate_pairs(
            a, b, threshold=case.threshold, measure=case.measure, directory=Path(directory), threads=1
        ) as spilled,
    ):
        found = [pair for batch in spilled.batches(rows=7) for pair in as_list(batch)]
        assert len(spilled) == len(found)
    assert found == reference_pairs(rows_a, rows_b, case.threshold, case.similarity)
