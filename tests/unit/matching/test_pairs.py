from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from linkage_matching import (
    InvalidEncodings,
    InvalidThreshold,
    MatchingCancelled,
    Measure,
    TooManyPairs,
    best_pairs,
    candidate_pairs,
    from_bytes,
    layout,
)
from linkage_matching.comparison import BestOfRows, Comparison, Ranking
from linkage_matching.pairs import Limit
from linkage_matching.results import CandidatePairs
from support.dice import Pair, dice, encodings, noisy_copies, random_rows, reference_pairs, simple_matching
from support.kernels import MATRIX, comparing, small_units

EDGE_SIZES = (0, 1, 3, 4, 5, 7, 8, 9, 31, 33)


@pytest.fixture(params=MATRIX, autouse=True)
def _kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    with comparing(matrix=request.param):
        yield


def as_list(found: CandidatePairs) -> list[Pair]:
    return list(zip(found.row_a.tolist(), found.row_b.tolist(), found.similarity.tolist(), strict=True))


@pytest.mark.parametrize("size_b", EDGE_SIZES)
@pytest.mark.parametrize("size_a", EDGE_SIZES)
def test_candidate_pairs_of_edge_sizes_equal_the_reference(size_a: int, size_b: int) -> None:
    rows = random_rows(40, bits=256, seed=1)
    a, b = rows[:size_a], rows[40 - size_b :]
    threshold = Fraction(2, 5)
    found = candidate_pairs(encodings(a, bits=256), encodings(b, bits=256), threshold=threshold, threads=1)
    assert as_list(found) == reference_pairs(a, b, threshold)
    assert found.row_a.dtype == found.row_b.dtype == np.int64
    assert found.similarity.dtype == np.float64


@pytest.mark.parametrize("size", EDGE_SIZES)
def test_candidate_pairs_within_edge_sizes_equal_the_reference(size: int) -> None:
    rows = random_rows(size, bits=256, seed=2)
    found = candidate_pairs(encodings(rows, bits=256), threshold=Fraction(3, 10), threads=1)
    assert as_list(found) == reference_pairs(rows, None, Fraction(3, 10))


@pytest.mark.parametrize("threshold", [Fraction(1, 2), Fraction(7, 10), Fraction(9, 10), Fraction(1)])
@pytest.mark.parametrize("bits", [256, 320, 512, 1024, 2048, 4096])
def test_candidate_pairs_with_an_early_exit_equal_the_reference(bits: int, threshold: Fraction) -> None:
    a = random_rows(70, bits=bits, seed=3)
    b = noisy_copies(a[:50], bits=bits, seed=4, flips=bits // 16) + a[50:] + random_rows(13, bits=bits, seed=5)
    found = candidate_pairs(encodings(a, bits=bits), encodings(b, bits=bits), threshold=threshold, threads=1)
    assert as_list(found) == reference_pairs(a, b, threshold)


def test_candidate_pairs_over_many_units_and_threads_equal_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    small_units(monkeypatch)
    a, b = random_rows(101, bits=256, seed=6), random_rows(83, bits=256, seed=7)
    array_a, array_b = encodings(a, bits=256), encodings(b, bits=256)
    threshold = Fraction(3, 10)
    across = candidate_pairs(array_a, array_b, threshold=threshold, threads=3)
    within = candidate_pairs(array_a, threshold=threshold, threads=3)
    assert as_list(across) == reference_pairs(a, b, threshold)
    assert as_list(within) == reference_pairs(a, None, threshold)


@pytest.mark.parametrize("measure", Measure)
@pytest.mark.parametrize("within", [False, True])
def test_candidate_pairs_over_several_parts_of_the_data_sets_equal_the_reference(
    within: bool,  # noqa: FBT001 - parametrised
    measure: Measure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layout, "_PART_BYTES", 24 * 32)
    small_units(monkeypatch)
    a, b = random_rows(101, bits=256, seed=6), random_rows(83, bits=256, seed=7)
    threshold = Fraction(3, 10) if measure is Measure.DICE else Fraction(11, 20)
    array_b = None if within else encodings(b, bits=256)
    steps: list[tuple[int, int]] = []
    found = candidate_pairs(
        encodings(a, bits=256),
        array_b,
        threshold=threshold,
        measure=measure,
        threads=2,
        progress=lambda *step: steps.append(step),
    )
    similarity = dice if measure is Measure.DICE else simple_matching(256)
    assert as_list(found) == reference_pairs(a, None if within else b, threshold, similarity)
    total = 101 * 100 // 2 if within else 101 * 83
    assert steps[-1] == (total, total)


@pytest.mark.parametrize("bits", [256, 1024, 4096])
def test_candidate_pairs_by_simple_matching_with_an_early_exit_equal_the_reference(bits: int) -> None:
    a = random_rows(70, bits=bits, seed=3)
    b = noisy_copies(a[:50], bits=bits, seed=4, flips=bits // 16) + a[50:] + random_rows(13, bits=bits, seed=5)
    for threshold in (Fraction(1, 2), Fraction(15, 16), Fraction(15, 16) + Fraction(1, 10**9), Fraction(1)):
        found = candidate_pairs(
            encodings(a, bits=bits), encodings(b, bits=bits), threshold=threshold, measure=Measure.SIMPLE_MATCHING
        )
        assert as_list(found) == reference_pairs(a, b, threshold, simple_matching(bits))


@pytest.mark.parametrize("measure", Measure)
def test_best_pairs_of_some_rows_against_all_equal_the_reference(measure: Measure) -> None:
    rows = random_rows(90, bits=256, seed=15)
    sampled = [3, 40, 41, 89]
    every = encodings(rows, bits=256)
    found, bounded = best_pairs(
        every[sampled], every, threshold=Fraction(2, 5), measure=measure, budget=10_000, best_per_row=1
    )
    similarity = dice if measure is Measure.DICE else simple_matching(256)
    expected = reference_pairs([rows[row] for row in sampled], rows, Fraction(2, 5), similarity)
    assert not bounded
    assert list(zip(found.row_a.tolist(), found.row_b.tolist(), strict=True)) == [(i, j) for i, j, _ in expected]
    # every row is found itself, first
    assert list(zip(found.row_a[:4].tolist(), found.row_b[:4].tolist(), strict=True)) == list(enumerate(sampled))
    assert [str(column.dtype) for column in (found.row_a, found.row_b, found.common)] == ["int32", "int32", "uint16"]


def test_best_pairs_of_the_blocks_of_a_triangle_together_equal_the_whole() -> None:
    rows = encodings(random_rows(70, bits=256, seed=16), bits=256)
    cuts = [0, 30, 57, 70]
    settings: dict[str, Any] = {"threshold": Fraction(3, 10), "budget": 10_000, "best_per_row": 1}
    blocks = []
    for i, (start, stop) in enumerate(pairwise(cuts)):
        inside, _ = best_pairs(rows[start:stop], **settings)
        blocks.append((inside, start, start))
        for other_start, other_stop in list(pairwise(cuts))[i + 1 :]:
            across, _ = best_pairs(rows[start:stop], rows[other_start:other_stop], **settings)
            blocks.append((across, start, other_start))
    together = {
        (int(i) + start_a, int(j) + start_b, int(common))
        for pairs, start_a, start_b in blocks
        for i, j, common in zip(pairs.row_a, pairs.row_b, pairs.common, strict=True)
    }
    whole, _ = best_pairs(rows, **settings)
    assert together == set(zip(whole.row_a.tolist(), whole.row_b.tolist(), whole.common.tolist(), strict=True))
    assert len(together) == sum(len(pairs) for pairs, _, _ in blocks)


def test_best_pairs_beyond_the_budget_do_not_depend_on_threads_or_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (encodings(random_rows(200, bits=256, seed=seed), bits=256) for seed in (17, 18))
    settings: dict[str, Any] = {"threshold": Fraction(1, 5), "budget": 500, "best_per_row": 3}
    expected, bounded = best_pairs(a, b, threads=1, **settings)
    monkeypatch.setattr(layout, "_PART_BYTES", 64 * 32)
    small_units(monkeypatch)
    found, _ = best_pairs(a, b, threads=4, **settings)
    assert bounded
    assert 500 < len(expected) <= 3 * 400
    for column in ("row_a", "row_b", "common"):
        assert getattr(found, column).tolist() == getattr(expected, column).tolist()


@pytest.mark.parametrize("threshold", [Fraction(0), Fraction(1, 10**40), Fraction(1, 2)])
def test_candidate_pairs_of_empty_filters_match_nothing(threshold: Fraction) -> None:
    empty, full = encodings([0] * 9, bits=256), encodings([2**256 - 1] * 3, bits=256)
    for measure in Measure:
        for a, b in ((empty, empty), (empty, full), (full, empty), (empty, None)):
            assert len(candidate_pairs(a, b, threshold=threshold, measure=measure)) == 0


def test_candidate_pairs_of_full_filters_at_the_largest_width_do_not_overflow() -> None:
    full = encodings([2**4096 - 1] * 9, bits=4096)
    found = candidate_pairs(full, full, threshold=Fraction(2**31 - 2, 2**31 - 1), threads=1)
    assert len(found) == 81
    assert set(found.similarity.tolist()) == {1.0}


def test_candidate_pairs_from_read_only_unaligned_memory_equal_the_reference() -> None:
    rows = random_rows(10, bits=512, seed=8)
    raw = b"x" + b"".join(row.to_bytes(64, "little") for row in rows)
    found = candidate_pairs(from_bytes(memoryview(raw)[1:], bits=512), threshold=Fraction(3, 10))
    assert as_list(found) == reference_pairs(rows, None, Fraction(3, 10))


def test_candidate_pairs_progress_ends_at_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    small_units(monkeypatch, tiles=1)
    rows = encodings(random_rows(50, bits=256, seed=9), bits=256)
    across: list[tuple[int, int]] = []
    within: list[tuple[int, int]] = []
    # one thread has fewer units ahead than there are, so that no step can be the only one
    candidate_pairs(rows, rows[:33], threshold=Fraction(1), progress=lambda *step: across.append(step), threads=1)
    candidate_pairs(rows, threshold=Fraction(1), progress=lambda *step: within.append(step), threads=1)
    assert across == sorted(across)
    assert across[-1] == (50 * 33, 50 * 33)
    assert len(across) > 1
    assert within[-1] == (50 * 49 // 2, 50 * 49 // 2)


def test_candidate_pairs_cancelled_half_way_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    small_units(monkeypatch, tiles=1)
    rows = encodings(random_rows(400, bits=256, seed=10), bits=256)
    steps: list[int] = []

    def note(done: int, _total: int) -> None:
        steps.append(done)

    with pytest.raises(MatchingCancelled, match="No result was kept"):
        candidate_pairs(rows, rows, threshold=Fraction(1), progress=note, cancelled=lambda: len(steps) >= 2, threads=1)
    assert len(steps) == 2


def test_candidate_pairs_above_the_limit_are_refused_before_the_work_with_a_threshold_that_fits() -> None:
    rows = encodings(random_rows(300, bits=256, seed=11), bits=256)
    steps: list[int] = []
    with pytest.raises(TooManyPairs, match=r"limit of 5,000\. Raise the threshold to 0\.\d\d") as refused:
        candidate_pairs(rows, rows, threshold=Fraction(1, 10), limit=5000, progress=lambda done, _: steps.append(done))
    assert not steps
    assert refused.value.estimate > 80_000
    assert refused.value.suggested_threshold is not None
    assert len(candidate_pairs(rows, rows, threshold=refused.value.suggested_threshold, limit=5000)) <= 5000


def test_candidate_pairs_above_the_limit_that_a_sample_misses_are_refused_by_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Limit, "check_estimate", lambda *_, **__: None)
    rows = encodings([1] * 100, bits=256)
    with pytest.raises(TooManyPairs) as refused:
        candidate_pairs(rows, rows, threshold=Fraction(1, 2), limit=4000)
    assert refused.value.estimate > 4000


def test_candidate_pairs_of_the_same_rows_in_the_same_order_are_not_overestimated() -> None:
    rows = encodings(random_rows(4000, bits=256, seed=12), bits=256)
    assert len(candidate_pairs(rows, rows, threshold=Fraction(9, 10), limit=8000)) == 4000
    assert len(candidate_pairs(rows, threshold=Fraction(9, 10), limit=1)) == 0


def test_candidate_pairs_of_identical_rows_above_the_limit_say_that_no_threshold_helps() -> None:
    rows = encodings([1] * 100, bits=256)
    with pytest.raises(TooManyPairs, match="No higher threshold would help") as refused:
        candidate_pairs(rows, rows, threshold=Fraction(1, 2), limit=50)
    assert refused.value.suggested_threshold is None


@pytest.mark.parametrize("threshold", [Fraction(-1, 2), Fraction(3, 2)])
def test_candidate_pairs_with_an_impossible_threshold_are_refused(threshold: Fraction) -> None:
    rows = encodings([1], bits=256)
    with pytest.raises(InvalidThreshold, match="from 0 to 1"):
        candidate_pairs(rows, threshold=threshold)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((2, 4), np.uint64), np.zeros((2, 8), np.uint64)),
        (np.zeros((2, 3), np.uint64), None),
        (np.zeros((2, 65), np.uint64), None),
        (np.zeros((2, 4), np.int64), None),
        (np.zeros(4, np.uint64), None),
    ],
)
def test_candidate_pairs_of_other_shapes_are_refused(a: np.ndarray, b: np.ndarray | None) -> None:
    with pytest.raises(InvalidEncodings):
        candidate_pairs(a, b, threshold=Fraction(1, 2))


def test_ranking_beyond_64_bits_is_refused() -> None:
    with pytest.raises(InvalidEncodings, match="Split the larger one"):
        Ranking(square=8192**2, bits=4096, rows_a=10_000_000, rows_b=10_000_000).check(Fraction(1, 2))


@pytest.mark.parametrize("budget", [10, 200, 1000])
def test_best_of_rows_beyond_its_budget_keeps_the_best_of_either_row(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_units(monkeypatch)
    a, b = random_rows(60, bits=256, seed=13), random_rows(50, bits=256, seed=14)
    threshold = Fraction(1, 4)
    both = Comparison.of(encodings(a, bits=256), encodings(b, bits=256), threshold=threshold)
    collector = BestOfRows(both, budget=budget, best=3)
    both.run(collector, threads=2)
    expected, seen_a, seen_b = [], [0] * 60, [0] * 50
    for i, j, similarity in reference_pairs(a, b, threshold):
        if seen_a[i] < 3 or seen_b[j] < 3:
            expected.append((i, j, similarity))
        seen_a[i] += 1
        seen_b[j] += 1
    assert as_list(both.decode(collector.finish())) == expected


def test_from_bytes_of_whole_rows_shares_their_memory() -> None:
    raw = bytearray(range(64))
    array = from_bytes(raw, bits=256)
    assert array.shape == (2, 4)
    raw[0] = 0xFF
    assert int(array[0, 0]) & 0xFF == 0xFF
    assert from_bytes(b"", bits=1024).shape == (0, 16)


@pytest.mark.parametrize(("size_bytes", "bits"), [(33, 256), (64, 192), (64, 300), (520, 4160)])
def test_from_bytes_of_anything_else_is_refused(size_bytes: int, bits: int) -> None:
    with pytest.raises(InvalidEncodings):
        from_bytes(bytes(size_bytes), bits=bits)
