from array import array
from fractions import Fraction

import numpy as np
import pytest
from anonlink.candidate_generation import find_candidate_pairs
from anonlink.similarities import dice_coefficient_accelerated, dice_coefficient_python
from anonlink.solving import greedy_solve, pairs_from_groups
from bitarray import bitarray

from linkage_matching import InvalidEncodings, InvalidThreshold, Measure, similarity_function
from linkage_matching.threshold import fraction_of, kernel_fraction
from support.dice import encodings, noisy_copies, random_rows


def bitarrays(rows: list[int], *, bits: int) -> list[bitarray]:
    result = []
    for row in rows:
        filled = bitarray()
        filled.frombytes(row.to_bytes(bits // 8, "little"))
        result.append(filled)
    return result


def two_data_sets(bits: int) -> tuple[list[bitarray], list[bitarray]]:
    a = random_rows(70, bits=bits, seed=20)
    b = noisy_copies(a[:40], bits=bits, seed=21, flips=bits // 20) + random_rows(41, bits=bits, seed=22)
    return bitarrays(a, bits=bits), bitarrays(b, bits=bits)


# Odd in the last places, so that no pair lies exactly on it, where anonlink and arithmetic differ.
@pytest.mark.parametrize("threshold", [0.3333331, 0.7000001, 0.9000001])
@pytest.mark.parametrize("bits", [64, 128, 1000, 1024, 2048])
def test_similarity_function_off_the_threshold_equals_anonlink(bits: int, threshold: float) -> None:
    datasets = two_data_sets(bits)
    ours = similarity_function(datasets, threshold)
    assert ours == dice_coefficient_python(datasets, threshold)
    assert ours == dice_coefficient_accelerated(datasets, threshold)
    assert [part.typecode for part in (ours[0], *ours[1])] == ["d", "I", "I"]


@pytest.mark.parametrize("k", [0, 1, 3, 100])
def test_similarity_function_with_k_equals_anonlink(k: int) -> None:
    datasets = two_data_sets(512)
    assert similarity_function(datasets, 0.2500001, k=k) == dice_coefficient_python(datasets, 0.2500001, k=k)


def test_similarity_function_accepts_bytes_and_arrays_of_encodings() -> None:
    a, b = random_rows(20, bits=512, seed=23), random_rows(30, bits=512, seed=24)
    expected = similarity_function((bitarrays(a, bits=512), bitarrays(b, bits=512)), 0.3)
    as_bytes = [[row.to_bytes(64, "little") for row in rows] for rows in (a, b)]
    assert len(expected[0]) > 0
    assert similarity_function(as_bytes, 0.3) == expected
    assert similarity_function((encodings(a, bits=512), encodings(b, bits=512)), 0.3) == expected


def test_similarity_function_exactly_on_a_float_threshold_keeps_the_pair() -> None:
    # 2 * 4 / (5 + 5) is 0.8, and the float 0.8 is more than four fifths
    a, b = bitarrays([0b11111], bits=256), bitarrays([0b101111], bits=256)
    assert similarity_function((a, b), 0.8)[0] == array("d", [0.8])
    assert similarity_function((b, a), 0.8)[0] == array("d", [0.8])


def test_similarity_function_of_an_empty_data_set_is_empty() -> None:
    a, _ = two_data_sets(256)
    assert similarity_function((a, []), 0.5) == (array("d"), (array("I"), array("I")))
    assert similarity_function(([], a), 0.5) == (array("d"), (array("I"), array("I")))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_similarity_function_of_other_than_two_data_sets_is_refused(count: int) -> None:
    with pytest.raises(InvalidEncodings, match="two data sets"):
        similarity_function([[b"x"]] * count, 0.5)


def test_similarity_function_of_records_of_different_lengths_is_refused() -> None:
    with pytest.raises(InvalidEncodings, match="different lengths"):
        similarity_function(([bytes(32), bytes(64)], [bytes(32)]), 0.5)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_similarity_function_with_an_impossible_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(InvalidThreshold):
        similarity_function(two_data_sets(256), threshold)


@pytest.mark.parametrize("k", [None, 2])
def test_similarity_function_in_anonlinks_candidate_generation_gives_the_same_groups(k: int | None) -> None:
    datasets = [*two_data_sets(1024), two_data_sets(1024)[0][10:30]]
    ours = find_candidate_pairs(datasets, similarity_function, 0.6000001, k=k)
    theirs = find_candidate_pairs(datasets, dice_coefficient_accelerated, 0.6000001, k=k)
    assert ours == theirs
    assert len(ours[0]) > 60


def test_similarity_function_with_anonlinks_solver_finds_the_copies() -> None:
    candidates = find_candidate_pairs(two_data_sets(1024), similarity_function, 0.7)
    assert dict(pairs_from_groups(greedy_solve(candidates))) == {row: row for row in range(40)}


@pytest.mark.parametrize("threshold", [0.8, 5 / 7, 2 / 3, 0.1, 1.0, 0.0, float(np.nextafter(0.7, 1))])
def test_fraction_of_a_float_decides_as_the_float_would(threshold: float) -> None:
    fraction = fraction_of(threshold, bits=64)
    for total in range(1, 129):
        for common in range(total // 2 + 1):
            assert (Fraction(2 * common, total) >= fraction) == (2 * common / total >= threshold)


def test_kernel_fraction_of_a_huge_denominator_passes_the_same_pairs() -> None:
    for base in (Fraction(4, 5), Fraction(1, 3), Fraction(127, 128)):
        for threshold in (base - Fraction(1, 10**20), base + Fraction(1, 10**20)):
            small = kernel_fraction(threshold, bits=64, measure=Measure.DICE)
            assert small.denominator < 2**31
            for total in range(1, 129):
                for common in range(total // 2 + 1):
                    similarity = Fraction(2 * common, total)
                    assert (similarity >= small) == (similarity >= threshold)


def test_similarity_function_exactly_on_the_threshold_keeps_pairs_that_anonlink_drops_by_order() -> None:
    # three of five bits, 2 * 3 / (3 + 5): three quarters, which a float holds exactly
    three, five = bitarrays([0b111], bits=1024), bitarrays([0b11111], bits=1024)
    assert len(dice_coefficient_accelerated((three, five), 0.75)[0]) == 0
    assert len(dice_coefficient_accelerated((five, three), 0.75)[0]) == 1
    assert similarity_function((three, five), 0.75)[0] == array("d", [0.75])
    assert similarity_function((five, three), 0.75)[0] == array("d", [0.75])


@pytest.mark.parametrize("bits", [520, 1000])
def test_similarity_function_of_odd_byte_lengths_is_right_where_anonlinks_popcounts_are_not(bits: int) -> None:
    # from ten thousand records on anonlink counts bits eight bytes at a time, also where the bytes are no multiple
    many = bitarrays(random_rows(10_001, bits=bits, seed=25), bits=bits)
    datasets = (many[:2], many)
    expected = dice_coefficient_python(datasets, 0.5000001)
    assert similarity_function(datasets, 0.5000001) == expected
    assert dice_coefficient_accelerated(datasets, 0.5000001) != expected


@pytest.mark.parametrize("arrays", [False, True])
def test_similarity_function_gives_the_groups_of_anonlinks_own(arrays: bool) -> None:  # noqa: FBT001 - parametrised
    a = random_rows(60, bits=1024, seed=26)
    rows = [a, noisy_copies(a[10:], bits=1024, seed=27, flips=40)]
    datasets = [bitarrays(part, bits=1024) for part in rows]
    theirs = greedy_solve(find_candidate_pairs(datasets, dice_coefficient_accelerated, 0.6000001))
    given = [encodings(part, bits=1024) for part in rows] if arrays else datasets
    ours = greedy_solve(find_candidate_pairs(given, similarity_function, 0.6000001))
    assert sorted(map(sorted, ours)) == sorted(map(sorted, theirs))
    assert len(list(ours)) == 50
