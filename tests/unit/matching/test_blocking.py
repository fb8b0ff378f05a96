from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage_matching import InvalidEncodings, MatchingCancelled, MatchingError, Measure, blocking, candidate_pairs
from linkage_matching.blocking import Blocked, Blocking, blocked_pairs, draw_tables
from linkage_matching.encodings import Encodings
from support.dice import encodings, noisy_copies, random_rows

Triple = tuple[int, int, int]


def two_data_sets(*, bits: int = 256, flips: int = 12) -> tuple[Encodings, Encodings]:
    a = random_rows(120, bits=bits, seed=70)
    b = noisy_copies(a[:80], bits=bits, seed=71, flips=flips) + random_rows(50, bits=bits, seed=72)
    return encodings(a, bits=bits), encodings(b, bits=bits)


def triples(found: Blocked) -> list[Triple]:
    pairs = found.pairs
    return list(zip(pairs.row_a.tolist(), pairs.row_b.tolist(), pairs.common.tolist(), strict=True))


def blocked_by_reference(a: Encodings, b: Encodings | None, asked: Blocking, threshold: Fraction) -> list[Triple]:
    """All pairs that reach the threshold and agree in all bits of some table."""
    tables = draw_tables(a, b, blocking=asked)
    positions = tables.positions[:, : asked.bits]
    other = a if b is None else b
    keys_a, keys_b = (
        np.unpackbits(part.view(np.uint8), axis=1, bitorder="little")[:, positions].tolist() for part in (a, other)
    )
    found = candidate_pairs(a, b, threshold=threshold)
    return [
        (i, j, int(np.bitwise_count(a[i] & other[j]).sum()))
        for i, j in zip(found.row_a.tolist(), found.row_b.tolist(), strict=True)
        if any(first == second for first, second in zip(keys_a[i], keys_b[j], strict=True))
    ]


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(("tables", "bits"), [(1, 1), (3, 4), (20, 8), (64, 16)])
def test_blocked_pairs_are_all_pairs_above_the_threshold_that_share_a_block(
    tables: int, bits: int, *, within: bool
) -> None:
    a, b = two_data_sets()
    other = None if within else b
    whole = np.concatenate([a, b]) if within else a
    asked = Blocking(tables, bits, 0.1)
    found = blocked_pairs(whole, other, threshold=Fraction(3, 10), blocking=asked, threads=2)
    assert triples(found) == blocked_by_reference(whole, other, asked, Fraction(3, 10))
    assert not found.bounded


@pytest.mark.parametrize("measure", list(Measure))
def test_blocked_pairs_of_every_measure_decide_and_order_as_without_blocking(measure: Measure) -> None:
    a, b = two_data_sets()
    threshold = Fraction(3, 5)
    found = blocked_pairs(a, b, threshold=threshold, blocking=Blocking(64, 2, 0.1), measure=measure)
    expected = candidate_pairs(a, b, threshold=threshold, measure=measure)
    assert len(expected) > 60
    assert found.pairs.row_a.tolist() == expected.row_a.tolist()
    assert found.pairs.row_b.tolist() == expected.row_b.tolist()


@given(seed=st.integers(0, 10_000), flips=st.integers(0, 30), largest=st.sampled_from([1, 7, 50, 1 << 24]))
@settings(max_examples=25, deadline=None)
def test_blocked_pairs_are_candidate_pairs_each_once_in_their_order(seed: int, flips: int, largest: int) -> None:
    rows = random_rows(25, bits=256, seed=seed)
    whole = encodings(rows + noisy_copies(rows, bits=256, seed=seed, flips=flips), bits=256)
    found = blocked_pairs(
        whole, threshold=Fraction(1, 3), blocking=Blocking(5, 3, 0.1), largest_block=largest, threads=1
    )
    every = candidate_pairs(whole, threshold=Fraction(1, 3))
    place = {pair: number for number, pair in enumerate(zip(every.row_a.tolist(), every.row_b.tolist(), strict=True))}
    places = [place[i, j] for i, j, _ in triples(found)]
    assert places == sorted(set(places))


def test_blocked_pairs_do_not_depend_on_threads_or_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = two_data_sets()
    asked = Blocking(8, 4, 0.1)
    once = blocked_pairs(a, b, threshold=Fraction(3, 10), blocking=asked, threads=1)
    monkeypatch.setattr(blocking, "_PAIRS_AT_ONCE", 40)
    again = blocked_pairs(a, b, threshold=Fraction(3, 10), blocking=asked, threads=3)
    assert triples(once) == triples(again)
    assert once.compared == again.compared


def test_blocked_pairs_of_a_giant_block_are_cut_short_and_say_so() -> None:
    varied, _ = two_data_sets()
    copies = np.repeat(varied[:1], 400, axis=0)
    whole = np.concatenate([varied, copies])
    found = blocked_pairs(whole, threshold=Fraction(9, 10), blocking=Blocking(3, 8, 0.1), largest_block=2_000)
    assert found.bounded
    # 401 equal rows have 80,200 pairs; each of three tables compares at most 2,000 of them
    assert 1_000 < len(found.pairs) <= 6_000
    assert found.compared < 10_000


def test_blocked_pairs_of_a_block_too_large_are_split_by_further_bits() -> None:
    a, b = two_data_sets(flips=0)
    found = blocked_pairs(a, b, threshold=Fraction(1), blocking=Blocking(2, 1, 0.1), largest_block=500)
    assert found.bounded
    assert [(i, j) for i, j, _ in triples(found)] == [(row, row) for row in range(80)]


def test_blocked_pairs_beyond_the_budget_keep_the_best_of_either_row() -> None:
    a, b = two_data_sets(flips=6)
    asked = Blocking(40, 2, 0.1)
    every = blocked_pairs(a, b, threshold=Fraction(1, 5), blocking=asked)
    best = blocked_pairs(a, b, threshold=Fraction(1, 5), blocking=asked, budget=300, best_per_row=2)
    seen_a, seen_b = dict.fromkeys(range(len(a)), 0), dict.fromkeys(range(len(b)), 0)
    expected = []
    for i, j, common in triples(every):
        if seen_a[i] < 2 or seen_b[j] < 2:
            expected.append((i, j, common))
        seen_a[i] += 1
        seen_b[j] += 1
    assert best.bounded
    assert triples(best) == expected


def test_blocked_pairs_of_empty_filters_and_empty_data_sets_are_none() -> None:
    a, b = two_data_sets()
    empty_rows = np.concatenate([a, np.zeros((5, 4), np.uint64)])
    found = blocked_pairs(empty_rows, b, threshold=Fraction(0), blocking=Blocking(2, 1, 0.1))
    assert found.pairs.row_a.max() < len(a)
    assert len(blocked_pairs(a, b[:0], threshold=Fraction(0), blocking=Blocking(2, 1, 0.1)).pairs) == 0


def test_blocked_pairs_progress_ends_at_all_pairs_and_cancelling_stops() -> None:
    a, b = two_data_sets()
    steps: list[tuple[int, int]] = []
    blocked_pairs(a, b, threshold=Fraction(1), blocking=Blocking(3, 8, 0.1), progress=lambda *step: steps.append(step))
    assert steps == [(len(a) * len(b) * part // 3, len(a) * len(b)) for part in (1, 2, 3)]
    with pytest.raises(MatchingCancelled):
        blocked_pairs(a, b, threshold=Fraction(1), blocking=Blocking(), cancelled=lambda: True)


def test_draw_tables_avoids_bits_that_hardly_vary_and_shares_few_between_tables() -> None:
    rng = np.random.default_rng(73)
    bits = rng.random((500, 256)) < 0.4
    bits[:, :40] = rng.random((500, 40)) < 0.03
    bits[:, 40:60] = True
    packed = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
    tables = draw_tables(packed, None, blocking=Blocking(12, 16, 0.1))
    assert tables.usable == 196
    assert tables.positions.min() >= 60
    assert all(len(set(row)) == 32 for row in tables.positions.tolist())
    # 12 tables of 16 bits use 192 of the 196 bits once each
    assert len(np.unique(tables.positions[:, :16])) == 192


def test_draw_tables_of_encodings_without_varying_bits_is_refused() -> None:
    with pytest.raises(InvalidEncodings, match="Compare without blocking"):
        draw_tables(np.zeros((9, 4), np.uint64), None, blocking=Blocking())


@pytest.mark.parametrize(
    ("tables", "bits", "distance"), [(0, 16, 0.1), (65, 16, 0.1), (20, 0, 0.1), (20, 49, 0.1), (20, 16, 0.0)]
)
def test_blocking_out_of_range_is_refused(tables: int, bits: int, distance: float) -> None:
    with pytest.raises(MatchingError, match="1 to 64 tables"):
        Blocking(tables, bits, distance)


def test_blocking_keeps_at_least_the_share_it_promises_of_pairs_at_its_distance() -> None:
    rng = np.random.default_rng(74)
    bits = rng.random((2000, 1024)) < 0.4
    copies = bits.copy()
    for row in copies:
        row[rng.choice(1024, 102, replace=False)] ^= True
    a, b = (np.packbits(part, axis=1, bitorder="little").view(np.uint64) for part in (bits, copies))
    asked = Blocking(20, 16, 102 / 1024)
    found = blocked_pairs(a, b, threshold=Fraction(3, 5), blocking=asked)
    kept = len(set(range(2000)) & {i for i, j, _ in triples(found) if i == j}) / 2000
    tables = draw_tables(a, b, blocking=asked)
    assert asked.kept_at_least == pytest.approx(0.984, abs=0.001)
    # four standard errors of 2,000 pairs
    assert kept == pytest.approx(tables.kept(asked.distance), abs=0.012)
    assert kept > asked.kept_at_least - 0.012
