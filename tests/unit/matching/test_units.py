import json
import math
import random
import re
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage_matching import MatchingCancelled, MatchingError
from linkage_matching.blocking import Blocking
from linkage_matching.datasets import ArrayDataset
from linkage_matching.encodings import Encodings, popcounts
from linkage_matching.executors import LocalExecutor
from linkage_matching.measure import Measure
from linkage_matching.pairs import best_pairs
from linkage_matching.unit_store import MemoryUnitStore
from linkage_matching.units import TILE_PAIRS, RowSample, Unit, UnitResult, plan_units, run_unit
from support.units import EVERYTHING, as_list, common_bits, gathered, plan, random_encodings

THRESHOLD = Fraction(2, 5)
A, B = random_encodings(90, seed=1), random_encodings(70, seed=2)
SETS = (ArrayDataset(A), ArrayDataset(B))


def _results(units: list[Unit], *, threads: int = 1) -> list[UnitResult]:
    return [run_unit(unit, SETS, threads=threads) for unit in units]


def _other(second: int | None) -> Encodings | None:
    return None if second is None else B


def _brute_force(rows: list[int], a: Encodings) -> list[tuple[int, int, int]]:
    """Pairs inside a data set with one of some rows, in order."""
    common = common_bits(a, a)
    counts = popcounts(a)
    wanted = set(rows)
    found = [
        (Fraction(2 * int(common[i, j]), int(counts[i] + counts[j])), i, j)
        for i in range(len(a))
        for j in range(i + 1, len(a))
        if i in wanted or j in wanted
    ]
    found = sorted((pair for pair in found if pair[0] >= THRESHOLD), key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [(i, j, int(common[i, j])) for _, i, j in found]


@given(tile_pairs=st.integers(150, 8000), second=st.sampled_from([1, None]), budget=st.sampled_from([EVERYTHING, 40]))
@settings(max_examples=20, deadline=None)
def test_units_of_any_tile_size_together_give_what_one_gives(tile_pairs: int, second: int | None, budget: int) -> None:
    def planned(tile_pairs: int) -> list[Unit]:
        return plan_units(
            SETS, first=0, second=second, threshold=THRESHOLD, budget=budget, best_per_row=2, tile_pairs=tile_pairs
        )

    whole, bounded = gathered(_results(planned(TILE_PAIRS)), A, _other(second), budget=budget, best_per_row=2)
    tiled = gathered(_results(planned(tile_pairs)), A, _other(second), budget=budget, best_per_row=2)
    assert (as_list(tiled[0]), tiled[1]) == (as_list(whole), bounded)
    assert bounded is (budget == 40)


@pytest.mark.parametrize("second", [1, None])
def test_units_together_give_what_the_kernel_gives(second: int | None) -> None:
    expected, _ = best_pairs(A, _other(second), threshold=THRESHOLD, budget=EVERYTHING, best_per_row=5)
    units = plan(SETS, 0, second, tile_pairs=999, threshold=THRESHOLD)
    found, bounded = gathered(_results(units), A, _other(second))
    assert len(units) > 4
    assert as_list(found) == as_list(expected)
    assert len(found) > 50
    assert not bounded


def test_units_bounded_within_keep_pairs_among_the_best_of_either_row_on_either_side() -> None:
    units = plan_units(SETS, first=0, threshold=THRESHOLD, budget=10, best_per_row=2, tile_pairs=999)
    found, bounded = gathered(_results(units), A, None, budget=10, best_per_row=2)
    seen = [0] * len(A)
    expected = []
    for i, j, common in _brute_force(list(range(len(A))), A):
        if min(seen[i], seen[j]) < 2:
            expected.append((i, j, common))
        seen[i] += 1
        seen[j] += 1
    assert bounded
    assert as_list(found) == expected


def test_gathering_does_not_depend_on_the_order_of_results() -> None:
    units = plan_units(SETS, first=0, second=1, threshold=THRESHOLD, budget=60, best_per_row=1, tile_pairs=200)
    results = _results(units)
    expected = as_list(gathered(results, A, B, budget=60, best_per_row=1)[0])
    for seed in range(5):
        random.Random(seed).shuffle(results)
        assert as_list(gathered(results, A, B, budget=60, best_per_row=1)[0]) == expected


def test_gathering_without_results_is_empty() -> None:
    found, bounded = gathered([], A, B)
    assert (len(found), bounded) == (0, False)
    assert [column.dtype.name for column in (found.row_a, found.row_b, found.common)] == ["int32", "int32", "uint16"]


@given(count=st.integers(1, 120), tile_pairs=st.integers(150, 8000), seed=st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_units_of_a_sample_give_each_pair_with_a_sampled_row_once(count: int, tile_pairs: int, seed: int) -> None:
    sample = RowSample(count, seed=seed)
    units = plan_units(
        SETS, first=0, sample=sample, threshold=THRESHOLD, budget=EVERYTHING, best_per_row=5, tile_pairs=tile_pairs
    )
    results = _results(units)
    found, _ = gathered(results, A, None)
    assert as_list(found) == _brute_force(sample.rows(len(A)).tolist(), A)
    rest = max(0, len(A) - count)
    assert sum(result.compared for result in results) == math.comb(len(A), 2) - math.comb(rest, 2)
    assert [result.compared for result in results] == [unit.pairs for unit in units]


def test_units_of_a_sample_bounded_do_not_depend_on_tiles() -> None:
    found = [
        gathered(
            _results(
                plan_units(
                    SETS,
                    first=0,
                    sample=RowSample(30),
                    threshold=THRESHOLD,
                    budget=50,
                    best_per_row=2,
                    tile_pairs=tile_pairs,
                )
            ),
            A,
            None,
            budget=50,
            best_per_row=2,
        )
        for tile_pairs in (TILE_PAIRS, 1000, 100)
    ]
    assert all(bounded for _, bounded in found)
    assert as_list(found[0][0]) == as_list(found[1][0]) == as_list(found[2][0])


@pytest.mark.parametrize(("second", "sample"), [(1, None), (None, None), (None, RowSample(20))])
def test_units_that_left_pairs_out_say_so_however_few_they_kept(second: int | None, sample: RowSample | None) -> None:
    copies = ArrayDataset(np.repeat(A[:1], 40, axis=0))
    units = plan_units(
        [copies, copies], first=0, second=second, sample=sample, threshold=THRESHOLD, budget=180, best_per_row=2
    )
    results = [run_unit(unit, [copies, copies]) for unit in units]
    rows = copies.read(0, 40)
    found, bounded = gathered(results, rows, None if second is None else rows, budget=180, best_per_row=2)
    assert len(found) < 180
    assert bounded


def test_result_of_one_unit_of_a_sample_is_in_order() -> None:
    sample = RowSample(30)
    (unit,) = plan_units(SETS, first=0, sample=sample, threshold=THRESHOLD, budget=EVERYTHING, best_per_row=5)
    assert as_list(run_unit(unit, SETS).pairs) == _brute_force(sample.rows(len(A)).tolist(), A)


def test_sample_draws_ascending_rows_that_are_the_same_everywhere() -> None:
    drawn = RowSample(5, seed=7).rows(1000)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    # written down: another release of NumPy, or another machine, has to draw these
    assert drawn.tolist() == [6, 37, 114, 614, 865]
    assert RowSample(5, seed=8).rows(1000).tolist() != drawn.tolist()


def test_sample_of_more_rows_than_there_are_is_all_of_them() -> None:
    assert RowSample(10).rows(4).tolist() == [0, 1, 2, 3]
    (unit,) = plan_units(SETS, first=0, sample=RowSample(90), threshold=THRESHOLD, budget=1, best_per_row=1)
    assert unit.sample is None


@given(rows_a=st.integers(0, 400), rows_b=st.integers(0, 400), tile_pairs=st.integers(1, 5000), within=st.booleans())
def test_tiles_cover_every_pair_once_and_none_is_too_large(
    rows_a: int,
    rows_b: int,
    tile_pairs: int,
    within: bool,  # noqa: FBT001 - by hypothesis
) -> None:
    sets = [ArrayDataset(np.zeros((rows, 4), np.uint64)) for rows in (rows_a, rows_b)]
    units = plan(sets, 0, None if within else 1, tile_pairs=tile_pairs, threshold=THRESHOLD)
    covered = np.zeros((rows_a, rows_a if within else rows_b), np.int8)
    for unit in units:
        tile = covered[slice(*unit.rows_first), slice(*unit.rows_second)]
        wanted = np.triu(np.ones(tile.shape, np.int8), 1) if within and unit.rows_first == unit.rows_second else 1
        tile += wanted
        assert unit.pairs == (wanted.sum() if isinstance(wanted, np.ndarray) else tile.size) > 0
        assert unit.pairs <= tile_pairs
    expected = np.triu(np.ones_like(covered), 1) if within else np.ones_like(covered)
    assert np.array_equal(covered, expected)


def test_plan_of_the_usual_size_is_one_unit() -> None:
    large = ArrayDataset(np.broadcast_to(np.uint64(1), (100_000, 4)))
    for second in (1, None):
        assert len(plan([large, large], 0, second, tile_pairs=TILE_PAIRS, threshold=THRESHOLD)) == 1


def test_plan_is_the_same_every_time_and_names_are_unique_and_safe() -> None:
    units = [unit for second in (1, None) for unit in plan(SETS, 0, second, tile_pairs=500, threshold=THRESHOLD)]
    again = [unit for second in (1, None) for unit in plan(SETS, 0, second, tile_pairs=500, threshold=THRESHOLD)]
    assert units == again
    assert len({unit.name for unit in units}) == len(units)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]{0,100}", unit.name) for unit in units)


def test_units_with_blocking_find_pairs_that_share_a_block_and_compare_fewer() -> None:
    copies = random_encodings(3000, seed=3)
    sets = [ArrayDataset(copies), ArrayDataset(copies)]
    blocking = Blocking(tables=4, bits=12)

    def results(second: int | None, tile_pairs: int) -> list[UnitResult]:
        units = plan_units(
            sets,
            first=0,
            second=second,
            threshold=Fraction(9, 10),
            budget=EVERYTHING,
            best_per_row=5,
            blocking=blocking,
            tile_pairs=tile_pairs,
        )
        return [run_unit(unit, sets) for unit in units]

    for tile_pairs in (10**7, 10**6):
        across = results(1, tile_pairs)
        found, _ = gathered(across, copies, copies)
        assert found.row_a.tolist() == found.row_b.tolist() == list(range(3000))
        assert 0 < sum(result.compared for result in across) < 3000**2 // 100
        assert sum(len(result.pairs) for result in results(None, tile_pairs)) == 0


def test_plan_with_blocking_cuts_larger_tiles() -> None:
    large = ArrayDataset(np.broadcast_to(np.uint64(1), (1_000_000, 4)))
    units = plan_units(
        [large, large], first=0, second=1, threshold=THRESHOLD, budget=1, best_per_row=1, blocking=Blocking()
    )
    assert len(units) == 1


@pytest.mark.parametrize("blocking", [None, Blocking(tables=3, bits=8, distance=0.2)])
@pytest.mark.parametrize("sample", [None, RowSample(7, seed=3)])
def test_unit_as_json_and_back_is_the_same(sample: RowSample | None, blocking: Blocking | None) -> None:
    for unit in plan_units(
        SETS,
        first=0,
        sample=sample,
        blocking=blocking,
        threshold=Fraction(553, 1000),
        budget=5,
        best_per_row=2,
        tile_pairs=300,
    ):
        assert Unit.from_document(json.loads(json.dumps(unit.document()))) == unit


def _fingerprints(unit: Unit) -> set[str]:
    other = A.copy()
    other[0, 0] ^= np.uint64(1)
    documents = [
        unit.document() | change
        for change in (
            {},
            {"threshold": "1/2"},
            {"budget": 6},
            {"best_per_row": 3},
            {"measure": Measure.SIMPLE_MATCHING.value},
            {"rows_second": [0, 69]},
            {"sample": {"count": 3, "seed": 0}},
            {"blocking": {"tables": 3, "bits": 8, "distance": 0.1}},
        )
    ]
    changed = {Unit.from_document(document).fingerprint(SETS) for document in documents}
    return changed | {unit.fingerprint([ArrayDataset(other), SETS[1]]), unit.fingerprint([SETS[0], SETS[0]])}


def test_fingerprint_follows_everything_that_determines_the_result() -> None:
    (unit,) = plan_units(SETS, first=0, second=1, threshold=THRESHOLD, budget=5, best_per_row=2)
    assert unit.fingerprint([ArrayDataset(A.copy()), SETS[1]]) == unit.fingerprint(SETS)
    assert len(_fingerprints(unit)) == 10


@pytest.mark.parametrize(("first", "second"), [(2, None), (0, 2), (-1, None), (0, 0)])
def test_plan_for_data_sets_that_are_not_there_is_refused(first: int, second: int | None) -> None:
    with pytest.raises(MatchingError):
        plan(SETS, first, second, tile_pairs=500, threshold=THRESHOLD)


def test_plan_for_a_sample_across_two_data_sets_is_refused() -> None:
    with pytest.raises(MatchingError, match="within"):
        plan_units(SETS, first=0, second=1, sample=RowSample(5), threshold=THRESHOLD, budget=1, best_per_row=1)


def test_unit_counts_its_progress_up_to_its_pairs() -> None:
    (unit,) = plan_units(SETS, first=0, sample=RowSample(30), threshold=THRESHOLD, budget=EVERYTHING, best_per_row=5)
    seen: list[tuple[int, int]] = []
    run_unit(unit, SETS, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (unit.pairs, unit.pairs)
    assert {total for _, total in seen} == {unit.pairs}


def test_unit_that_is_cancelled_stops() -> None:
    (unit,) = plan(SETS, 0, 1, tile_pairs=TILE_PAIRS, threshold=THRESHOLD)
    with pytest.raises(MatchingCancelled):
        run_unit(unit, SETS, cancelled=lambda: True)


class _CountingStore(MemoryUnitStore):
    def __init__(self) -> None:
        super().__init__()
        self.saved: list[str] = []

    def save(self, name: str, result: UnitResult, *, fingerprint: str) -> None:
        self.saved.append(name)
        super().save(name, result, fingerprint=fingerprint)


def test_local_executor_does_only_units_that_the_store_lacks() -> None:
    store = _CountingStore()
    units = plan(SETS, 0, 1, tile_pairs=500, threshold=THRESHOLD)
    list(LocalExecutor(1).run(units[:5], SETS, store=store))
    results = [result for _, result in LocalExecutor(1).run(units, SETS, store=store)]
    assert store.saved == [unit.name for unit in units]
    assert as_list(gathered(results, A, B)[0]) == as_list(gathered(_results(units), A, B)[0])


def test_local_executor_with_results_of_other_data_does_all_units() -> None:
    store = _CountingStore()
    units = plan(SETS, 0, 1, tile_pairs=500, threshold=THRESHOLD)
    list(LocalExecutor(1).run(units, [SETS[0], SETS[0]], store=store))
    list(LocalExecutor(1).run(units, SETS, store=store))
    assert store.saved == [unit.name for unit in units] * 2


def test_local_executor_cancelled_keeps_what_is_finished() -> None:
    store = _CountingStore()
    stop = threading.Event()
    units = plan(SETS, 0, 1, tile_pairs=500, threshold=THRESHOLD)
    running = LocalExecutor(1).run(units, SETS, store=store, cancelled=stop.is_set)
    next(running)
    stop.set()
    with pytest.raises(MatchingCancelled):
        next(running)
    assert store.saved == [units[0].name]
