import json
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from linkage_matching import (
    Aim,
    BestF1,
    Blocking,
    FindingCode,
    FixedThreshold,
    Groups,
    InvalidEncodings,
    InvalidThreshold,
    Linkage,
    MatchingCancelled,
    MatchingError,
    Measure,
    TargetPrecision,
    candidates,
    deduplicate,
    link,
)
from linkage_matching.report import patterns_of
from support.dice import dice, encodings, noisy_copies, random_rows

BITS = 512
Sets = list[NDArray[np.uint64]]


def people_in_sets(parties: int, *, flips: int = 40, shared: int = 300, alone: int = 100) -> Sets:
    """Sets that share their first rows and have as many rows of their own as asked for."""
    people = random_rows(shared, bits=BITS, seed=1)
    return [
        encodings(
            [
                *noisy_copies(people, bits=BITS, seed=10 + party, flips=flips),
                *random_rows(alone, bits=BITS, seed=party),
            ],
            bits=BITS,
        )
        for party in range(2, 2 + parties)
    ]


def unrelated(rows: int, *, seed: int) -> NDArray[np.uint64]:
    return encodings(random_rows(rows, bits=BITS, seed=seed), bits=BITS)


def codes(linkage: Linkage) -> set[FindingCode]:
    return {placed.finding.code for placed in linkage.report.findings}


def same(first: Linkage, second: Linkage) -> bool:
    return (
        all(
            np.array_equal(one, other)
            for one, other in zip(first.groups.membership, second.groups.membership, strict=True)
        )
        and np.array_equal(first.groups.lowest, second.groups.lowest, equal_nan=True)
        and first.report.document() == second.report.document()
    )


@pytest.mark.parametrize("parties", [2, 3, 4])
@pytest.mark.parametrize("aim", [BestF1(), TargetPrecision(0.95), FixedThreshold(Fraction(7, 10))])
def test_link_of_noisy_copies_finds_exactly_them(parties: int, aim: Aim) -> None:
    linkage = link(people_in_sets(parties), aim=aim)

    assert linkage.groups.count == 300
    for membership in linkage.groups.membership:
        assert membership.tolist() == [*range(300), *[-1] * 100]
    assert linkage.report.patterns == {tuple(range(parties)): 300}
    assert linkage.report.links == 300 * parties * (parties - 1) // 2


def test_link_of_noisy_copies_is_sure_of_them_and_says_so() -> None:
    linkage = link(people_in_sets(2))

    assert linkage.report.calibrated
    assert linkage.report.findings == []
    assert linkage.groups.lowest.min() > 0.9
    assert linkage.groups.lowest.tolist() == linkage.groups.mean.tolist()
    expected = linkage.report.expected
    assert expected is not None
    assert expected.precision is not None
    assert expected.precision == pytest.approx(float(linkage.groups.mean.mean()))
    assert expected.matches.estimate == pytest.approx(300, rel=0.05)
    assert expected.matches.low <= expected.matches.estimate <= expected.matches.high


def test_link_report_document_is_json_and_adds_up() -> None:
    linkage = link(people_in_sets(3, shared=150))

    document = json.loads(json.dumps(linkage.report.document(), allow_nan=False))
    assert [comparison["positions"] for comparison in document["comparisons"]] == [[0, 1], [0, 2], [1, 2]]
    assert sum(comparison["links"] for comparison in document["comparisons"]) == document["result"]["links"] == 450
    for comparison in document["comparisons"]:
        histogram = comparison["histogram"]
        assert len(histogram["edges"]) == len(histogram["pairs"]) + 1 == len(histogram["expected_non_matches"]) + 1
        links = [point["links"] for point in comparison["curve"]]
        assert links == sorted(links)
        assert sum(histogram["pairs"]) == links[-1]
    assert document["aim"] == {"kind": "best_f1", "value": None}
    assert document["work"]["pairs_compared"] == 3 * 250**2 + 3 * 250 * 249 // 2
    assert sum(document["group_probabilities"]["lowest"]) == document["result"]["groups"]


@pytest.mark.parametrize("parties", [2, 3])
def test_link_does_not_depend_on_threads(parties: int) -> None:
    sets = people_in_sets(parties, flips=120)
    assert same(link(sets, threads=1), link(sets, threads=2))


def test_link_at_a_fixed_threshold_links_no_pair_below_it() -> None:
    first = random_rows(200, bits=BITS, seed=5)
    second = [noisy_copies([row], bits=BITS, seed=100 + place, flips=place)[0] for place, row in enumerate(first)]
    threshold = Fraction(7, 10)
    linkage = link([encodings(first, bits=BITS), encodings(second, bits=BITS)], aim=FixedThreshold(threshold))

    reaches = [(dice(a, b) or 0) >= threshold for a, b in zip(first, second, strict=True)]
    assert 0 < sum(reaches) < 200
    assert [group >= 0 for group in linkage.groups.membership[0].tolist()] == reaches


@pytest.mark.parametrize("measure", Measure)
@pytest.mark.parametrize("holds", [False, True])
def test_link_at_a_threshold_of_a_huge_denominator_decides_exactly(measure: Measure, holds: bool) -> None:  # noqa: FBT001 - a parameter of the test
    row, other = (encodings([bits], bits=BITS) for bits in ((1 << 200) - 1, (1 << 150) - 1))
    exact = Fraction(300, 350) if measure is Measure.DICE else Fraction(BITS - 50, BITS)
    for threshold, count in ((exact, 1), (exact - Fraction(1, 10**25), 1), (exact + Fraction(1, 10**25), 0)):
        aim = FixedThreshold(threshold)
        linkage = link([row, other], aim=aim, measure=measure, may_hold_duplicates=[holds, False])
        assert linkage.groups.count == count


def test_link_at_a_low_fixed_threshold_looks_as_deep_as_that() -> None:
    sets = [unrelated(200, seed=1), unrelated(200, seed=2)]
    low = Fraction(1, 10)
    assert link(sets).report.comparisons[0].floor > low
    linkage = link(sets, aim=FixedThreshold(low))
    assert linkage.report.comparisons[0].floor == float(low)
    assert linkage.groups.count == 200


def test_deduplicate_at_a_fixed_threshold_links_pairs_however_unlikely() -> None:
    people = random_rows(500, bits=BITS, seed=11)
    rows = [*people, *noisy_copies(people[:120], bits=BITS, seed=12, flips=30)]
    pair = random_rows(1, bits=BITS, seed=13)
    rows += [*pair, *noisy_copies(pair, bits=BITS, seed=14, flips=120)]
    likeness = dice(*rows[-2:]) or Fraction(0)
    linkage = deduplicate(encodings(rows, bits=BITS), aim=FixedThreshold(likeness))

    assert linkage.report.calibrated
    unlikely = linkage.groups.membership[0].tolist()[-2:]
    assert unlikely[0] == unlikely[1] >= 0
    assert linkage.groups.lowest[unlikely[0]] < 0.01


def test_link_by_simple_matching_finds_the_copies() -> None:
    linkage = link(people_in_sets(2), measure=Measure.SIMPLE_MATCHING)
    assert linkage.groups.membership[0].tolist() == [*range(300), *[-1] * 100]
    assert linkage.report.document()["similarity"] == "simple_matching"


@pytest.mark.parametrize("aim", [BestF1(), TargetPrecision(0.9)])
def test_link_of_unrelated_data_sets_links_nothing_and_says_why(aim: Aim) -> None:
    linkage = link([unrelated(400, seed=1), unrelated(400, seed=2)], aim=aim)

    assert linkage.groups.count == 0
    assert FindingCode.NO_SEPARATION in codes(linkage)
    assert not linkage.report.calibrated
    assert linkage.report.expected is None


def test_link_of_tiny_data_sets_falls_back_to_a_fixed_similarity_and_says_so() -> None:
    linkage = link(people_in_sets(2, shared=5, alone=2))

    assert linkage.groups.membership[0].tolist() == [*range(5), -1, -1]
    (placed,) = linkage.report.findings
    assert placed.finding.code is FindingCode.TOO_SMALL
    assert "at least 0.70 could link" in placed.finding.message
    assert not linkage.report.calibrated
    assert np.isnan(linkage.groups.lowest).all()


def test_link_of_tiny_data_sets_promises_no_precision() -> None:
    linkage = link(people_in_sets(2, shared=5, alone=2), aim=TargetPrecision(0.9))
    assert linkage.groups.count == 0
    (placed,) = linkage.report.findings
    assert placed.finding.code is FindingCode.TOO_SMALL
    assert "could link" not in placed.finding.message


def test_link_of_copies_of_one_row_stays_bounded_and_says_so() -> None:
    copies = np.repeat(unrelated(1, seed=3), 1100, axis=0)
    linkage = link([copies, copies], aim=FixedThreshold(Fraction(1)))
    assert linkage.groups.count >= 32
    assert FindingCode.BOUNDED_CANDIDATES in codes(linkage)


def test_link_with_duplicates_declared_puts_all_rows_of_a_person_into_one_group() -> None:
    people = random_rows(400, bits=BITS, seed=7)
    first = [
        *noisy_copies(people, bits=BITS, seed=8, flips=30),
        *noisy_copies(people[:60], bits=BITS, seed=9, flips=30),
    ]
    second = noisy_copies(people[:300], bits=BITS, seed=10, flips=30)
    linkage = link([encodings(first, bits=BITS), encodings(second, bits=BITS)], may_hold_duplicates=[True, False])

    group_of_first, group_of_second = (membership.tolist() for membership in linkage.groups.membership)
    assert group_of_first[400:] == group_of_first[:60] == group_of_second[:60]
    assert len(set(group_of_second)) == 300
    assert linkage.report.links == 60 * 3 + 240
    assert FindingCode.DUPLICATES_IN_SOURCE not in codes(linkage)
    # more than one-to-one lists hold: a person with two rows in the first data set is linked twice across
    expected = linkage.report.expected
    assert expected is not None
    assert expected.precision is not None
    assert expected.matches.low <= expected.matches.estimate <= expected.matches.high
    assert expected.matches.estimate >= expected.precision * linkage.report.links - 1e-6


def test_link_of_a_small_and_a_large_data_set_says_nothing_of_copies() -> None:
    people = random_rows(2500, bits=BITS, seed=21)
    linkage = link(
        [encodings(noisy_copies(people[:60], bits=BITS, seed=22, flips=30), bits=BITS), encodings(people, bits=BITS)]
    )

    assert linkage.groups.membership[0].tolist() == list(range(60))
    assert FindingCode.BOUNDED_CANDIDATES not in codes(linkage)
    assert linkage.report.compared < 60 * 59 / 2 + 60 * 2500 * 7.5


def test_link_of_a_small_and_a_large_data_set_without_common_people_links_nothing() -> None:
    linkage = link([unrelated(60, seed=1), unrelated(2500, seed=2)])
    assert FindingCode.NO_SEPARATION in codes(linkage)


def test_link_counts_the_matches_by_some_rows_of_the_null_as_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = people_in_sets(2, flips=130, shared=600, alone=600)
    (whole,) = link(sets).report.comparisons
    monkeypatch.setattr(candidates, "null_rows", lambda *_, **__: 150)
    (sampled,) = link(sets).report.comparisons
    assert whole.matches is not None
    assert sampled.matches is not None
    assert sampled.matches.estimate == pytest.approx(whole.matches.estimate, rel=0.05)


def test_link_looks_as_deep_for_duplicates_as_across() -> None:
    linkage = link([unrelated(1500, seed=1), unrelated(100, seed=2)], may_hold_duplicates=[True, False])
    across, inside = linkage.report.comparisons
    assert inside.floor <= across.floor


def test_link_picks_floors_from_a_sample_of_large_data_sets_as_from_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = people_in_sets(2, shared=1500)
    whole = link(sets).report.comparisons[0].floor
    monkeypatch.setattr(candidates, "_FLOOR_ROWS", 400)
    assert link(sets).report.comparisons[0].floor == pytest.approx(whole, abs=0.01)


def test_link_of_three_data_sets_counts_pairs_below_the_cut_for_what_they_are() -> None:
    linkage = link(people_in_sets(3, flips=140), aim=TargetPrecision(0.95))
    cut = linkage.report.comparisons[0].cut
    assert cut is not None
    assert ((linkage.groups.lowest > 0.01) & (linkage.groups.lowest < cut[1])).any()


def test_patterns_of_groups_of_seventy_data_sets_names_those_that_share_each() -> None:
    shared, alone = np.array([0, 1]), np.array([-1, 1])
    nothing = np.empty(0)
    groups = Groups([shared, *[alone] * 68, shared], count=2, pairs=0, lowest=nothing, mean=nothing)
    assert patterns_of(groups) == {(0, 69): 1, tuple(range(70)): 1}


def test_deduplicate_finds_the_rows_of_each_person() -> None:
    people = random_rows(500, bits=BITS, seed=11)
    rows = [*people, *noisy_copies(people[:120], bits=BITS, seed=12, flips=30)]
    linkage = deduplicate(encodings(rows, bits=BITS))

    membership = linkage.groups.membership[0].tolist()
    assert membership[500:] == membership[:120] == list(range(120))
    assert membership[120:500] == [-1] * 380
    assert [comparison.positions for comparison in linkage.report.comparisons] == [(0,)]


@pytest.mark.parametrize("sizes", [[5, 7, 0, 9], [40, 30]])
def test_link_progress_runs_to_the_end_of_all_comparisons(sizes: Sequence[int]) -> None:
    sets = [unrelated(size, seed=size) for size in sizes]
    steps: list[tuple[int, int]] = []
    linkage = link(sets, progress=lambda *step: steps.append(step))
    assert steps[-1] == (linkage.report.compared, linkage.report.compared)
    assert steps == sorted(steps)


def test_link_cancelled_ends_without_a_result() -> None:
    with pytest.raises(MatchingCancelled):
        link([unrelated(9, seed=1), unrelated(9, seed=2)], cancelled=lambda: True)


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("aim", [BestF1(), TargetPrecision(0.9), FixedThreshold(Fraction(1, 2))])
def test_link_of_empty_data_sets_gives_no_groups(parties: int, aim: Aim) -> None:
    linkage = link([np.zeros((0, 16), np.uint64)] * parties, aim=aim)
    assert linkage.groups.count == 0
    assert [len(part) for part in linkage.groups.membership] == [0] * parties
    json.dumps(linkage.report.document(), allow_nan=False)


def test_link_of_encodings_without_bits_links_nothing() -> None:
    nothing = np.zeros((60, 16), np.uint64)
    assert link([nothing, nothing]).groups.count == 0


def test_link_of_one_data_set_is_refused() -> None:
    with pytest.raises(MatchingError, match="at least two"):
        link([unrelated(3, seed=1)])


def test_link_of_different_lengths_is_refused() -> None:
    with pytest.raises(InvalidEncodings, match="256 and 512 bits"):
        link([unrelated(3, seed=1), np.ones((3, 4), np.uint64)])


def test_link_told_of_duplicates_of_too_few_data_sets_is_refused() -> None:
    with pytest.raises(MatchingError, match="was for 1"):
        link([unrelated(3, seed=1), unrelated(3, seed=2)], may_hold_duplicates=[True])


@pytest.mark.parametrize("fallback", [Fraction(3, 2), Fraction(-1, 2)])
def test_link_falling_back_to_no_similarity_is_refused(fallback: Fraction) -> None:
    with pytest.raises(InvalidThreshold):
        link([unrelated(3, seed=1), unrelated(3, seed=2)], fallback_threshold=fallback)
    with pytest.raises(InvalidThreshold):
        deduplicate(unrelated(3, seed=1), fallback_threshold=fallback)


@pytest.mark.parametrize(("method", "message"), [("mutual_best", "may hold duplicates"), ("best", "called 'best'")])
def test_link_by_a_method_that_does_not_suit_is_refused_before_anything_is_compared(method: str, message: str) -> None:
    steps: list[tuple[int, int]] = []
    with pytest.raises(MatchingError, match=message):
        link(
            [unrelated(3, seed=1), unrelated(3, seed=2)],
            method=method,  # type: ignore[arg-type]  # wrong on purpose
            may_hold_duplicates=[True, False],
            progress=lambda *step: steps.append(step),
        )
    assert steps == []


def test_link_with_blocking_finds_the_copies_and_says_what_may_be_lost() -> None:
    linkage = link(people_in_sets(2, flips=20), blocking=Blocking())

    found = sum(group >= 0 for group in linkage.groups.membership[0].tolist()[:300])
    assert found >= 290
    assert FindingCode.BLOCKING in codes(linkage)
    assert linkage.report.document()["result"]["precision"] > 0.9
    assert linkage.report.document()["result"]["recall"] is None
    assert linkage.report.document()["blocking"]["kept_at_least"] == round(Blocking().kept_at_least, 4)
    # all pairs inside either data set are the null, and few across are compared
    assert linkage.report.compared < 400 * 399 + 400 * 400 / 2


def test_link_with_an_empty_data_set_judges_the_others_as_without_it() -> None:
    sets = people_in_sets(2, flips=120)
    alone, beside = link(sets), link([*sets, unrelated(0, seed=1)])

    assert beside.report.calibrated
    assert alone.groups.lowest.tolist() == beside.groups.lowest.tolist()
    for one, other in zip(alone.groups.membership, beside.groups.membership, strict=False):
        assert one.tolist() == other.tolist()


def test_link_of_four_data_sets_expects_at_least_the_precision_asked_for() -> None:
    # at the cut that the lists of pairs ask for, groups of four would keep 0.95
    expected = link(people_in_sets(4, flips=120), aim=TargetPrecision(0.97)).report.expected
    assert expected is not None
    assert expected.precision is not None
    assert expected.precision >= 0.97
