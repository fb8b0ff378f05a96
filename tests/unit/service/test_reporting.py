"""What a run's report tells, seen by someone who subtracts every count from every other."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage_matching import FindingCode
from linkage_service.runs import reporting, schemas
from linkage_service.runs.reporting import Terms
from linkage_service.runs.suppression import Positions, shown_counts, told_pairs

BEST = schemas.Aim(kind="best_f1", value=None)
EDGES = [round(step / 10, 1) for step in range(11)]
NOTHING: dict[str, Any] = {"edges": [], "pairs": [], "expected_non_matches": []}


def terms(exact: Mapping[Positions, int], *, rows: Sequence[int], least: int = 10, summary: bool = True) -> Terms:
    shown = shown_counts(exact, providers=len(rows), least=least)
    return Terms(
        organisations=[f"org_{place}" for place in range(len(rows))],
        rows=rows,
        shown=shown,
        told=told_pairs(exact, shown, providers=len(rows), least=least),
        least=least,
        summary_listed=summary,
    )


def comparison(*positions: int, links: int, **changes: Any) -> dict[str, Any]:
    return {
        "positions": list(positions),
        "floor": 0.553,
        "density_ranks": [2, 5],
        "histogram": NOTHING,
        "curve": [],
        "cut": {"score": 0.31234567, "probability": 0.41234567},
        "links": links,
        "matches": {"estimate": links, "low": links, "high": links},
        **changes,
    }


def document(*comparisons: dict[str, Any], **changes: Any) -> dict[str, Any]:
    links = sum(item["links"] for item in comparisons)
    return {
        "aim": {"kind": "best_f1", "value": None},
        "similarity": "dice",
        "calibrated": True,
        "findings": [],
        "comparisons": list(comparisons),
        "result": {
            "groups": links,
            "links": links,
            "precision": 0.98765,
            "recall": 0.91234,
            "f1": 0.94851,
            "matches": {"estimate": links, "low": links - 1, "high": links + 3},
        },
        "group_probabilities": None,
        "patterns": [],
        "blocking": None,
        "work": {"pairs_compared": 123_456_789, "units": 3},
        **changes,
    }


def report(engine: dict[str, Any], known: Terms) -> schemas.RunReport:
    return reporting.run_report(engine, known, run="run_1", aim=BEST)


def finding(code: str, *positions: int) -> dict[str, Any]:
    return {"code": code, "positions": list(positions), "message": "Exactly 7 were found."}


OPEN = {(0,): 100, (1,): 200, (0, 1): 300}
KNOWN = terms(OPEN, rows=[400, 500])


def test_run_report_of_a_large_overlap_rounds_counts_and_shares() -> None:
    told = report(document(comparison(0, 1, links=303)), terms(OPEN | {(0, 1): 303}, rows=[403, 503]))
    assert (told.result.groups, told.result.links, told.comparisons[0].links) == (305, 305, 305)
    assert (told.result.precision, told.result.recall, told.result.f1) == (0.988, 0.912, 0.949)
    assert told.result.matches == schemas.Interval(estimate=305, low=300, high=305)
    assert told.comparisons[0].cut == schemas.Cut(score=0.3123, probability=0.412)
    assert (told.calibrated, told.pairs_compared) == (True, 123_456_789)


@pytest.mark.parametrize("code", ["no_separation", "few_matches"])
@pytest.mark.parametrize("shared", [0, 1, 9])
def test_run_report_of_a_small_overlap_is_the_same_for_all(shared: int, code: str) -> None:
    known = terms({(0,): 400 - shared, (1,): 500 - shared, (0, 1): shared}, rows=[400, 500])
    reference = terms({(0,): 400, (1,): 500}, rows=[400, 500])
    told = report(document(comparison(0, 1, links=shared), findings=[finding(code, 0, 1)]), known)
    assert told == report(document(comparison(0, 1, links=0, cut=None, matches=None), calibrated=False), reference)
    assert [item.code for item in told.findings] == ["counts_suppressed"]
    assert told.comparisons[0].floor is None


def test_run_report_where_nearly_all_match_is_left_out_as_well() -> None:
    """Records without a match are what is few; records less links would tell them."""
    known = terms({(0,): 3, (1,): 103, (0, 1): 397}, rows=[400, 500])
    told = report(document(comparison(0, 1, links=397)), known)
    assert told.comparisons[0].links is None
    assert set(told.result.model_dump().values()) == {None}


def test_run_report_of_three_providers_tells_the_comparisons_that_give_nothing_away() -> None:
    exact = dict.fromkeys([(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)], 100) | {(0, 1): 3}
    links = {(0, 1): 103, (0, 2): 200, (1, 2): 200}
    told = report(
        document(*(comparison(*pair, links=count) for pair, count in links.items())),
        terms(exact, rows=[303, 303, 400]),
    )
    assert [item.links for item in told.comparisons] == [None, 200, 200]
    assert [item.organisations for item in told.findings] == [["org_0", "org_1"]]
    assert (told.result.links, told.result.groups, told.calibrated) == (None, None, None)


def test_run_report_tells_links_that_hide_a_small_count_among_others() -> None:
    """Every small combination of three lies in sums that are large, so that the pairs' links can all be told."""
    small = {(0, 1): 9, (0, 2): 9, (1, 2): 9, (0, 1, 2): 8, (0,): 5, (1,): 5, (2,): 5}
    exact = small | {(0, 3): 100, (1, 3): 100, (2, 3): 100, (3,): 100, (0, 1, 3): 9, (0, 2, 3): 9, (1, 2, 3): 9}
    told = report(
        document(*(comparison(*pair, links=40) for pair in combinations(range(4), 2))),
        terms(exact, rows=[140, 140, 140, 500]),
    )
    shared = {tuple(pattern.organisations): pattern.groups for pattern in told.patterns}
    assert shared["org_0", "org_1"] is None
    assert [item.links for item in told.comparisons if "org_3" not in item.organisations] == [40, 40, 40]
    assert told.result.groups is None


def test_run_report_of_duplicates_in_one_upload_tells_enough_of_them() -> None:
    known = terms(OPEN, rows=[430, 500])
    told = report(document(comparison(0, 1, links=340), comparison(0, 0, links=30), comparison(1, 1, links=4)), known)
    assert [(item.organisations, item.links) for item in told.comparisons] == [
        (["org_0", "org_1"], 340), (["org_0"], 30), (["org_1"], None)
    ]  # fmt: skip


@pytest.mark.parametrize("duplicates", [0, 4])
def test_run_report_tells_its_result_where_an_upload_holds_few_duplicates(duplicates: int) -> None:
    known = terms(OPEN, rows=[400 + duplicates, 500])
    told = report(document(comparison(0, 1, links=300), comparison(0, 0, links=duplicates)), known)
    assert [item.links for item in told.comparisons] == [300, None]
    assert (told.result.precision, told.result.links, told.calibrated) == (0.988, 300 + (duplicates and 5), True)


def test_findings_have_the_services_words_and_no_count() -> None:
    told = reporting.findings(document(comparison(0, 1, links=300), findings=[finding("few_matches", 0, 1)]), KNOWN)
    assert [(item.code, item.organisations) for item in told] == [("few_matches", ["org_0", "org_1"])]
    assert not any(character.isdigit() for character in told[0].message)


@pytest.mark.parametrize("code", list(FindingCode))
def test_finding_of_every_code_of_the_engine_has_a_meaning(code: FindingCode) -> None:
    (told,) = reporting.findings(document(comparison(0, 1, links=300), findings=[finding(code.value, 0)]), KNOWN)
    assert (told.code, told.organisations) == (code.value, ["org_0"])
    assert told.message


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("no_separation", "best_f1", "None of these pairs were linked"),
        ("no_separation", "target_precision", "None of these pairs were linked"),
        ("no_separation", "threshold", "the similarity that the run asked for"),
        ("too_small", "best_f1", "from a fixed similarity on instead"),
        ("too_small", "target_precision", "None of these pairs were linked"),
        ("too_small", "threshold", "the similarity that the run asked for"),
    ],
)
@pytest.mark.parametrize("positions", [(0, 1), (0,)])
def test_findings_without_probabilities_say_what_became_of_the_pairs_by_the_aim(
    code: str, kind: str, words: str, positions: Positions
) -> None:
    engine = document(
        comparison(0, 1, links=300), findings=[finding(code, *positions)], aim={"kind": kind, "value": None}
    )
    (told,) = reporting.findings(engine, KNOWN)
    assert words in told.message


@pytest.mark.parametrize("code", ["no_separation", "few_matches", "too_small"])
def test_findings_of_one_upload_speak_of_that_upload(code: str) -> None:
    engine = document(comparison(0, 1, links=300), findings=[finding(code, 0), finding(code, 0, 1)])
    within, across = reporting.findings(engine, KNOWN)
    assert "this upload" in within.message.lower()
    assert "this upload" not in across.message.lower()


@pytest.mark.parametrize("blocking", [None, {"tables": 20, "bits": 16, "distance": 0.1, "kept_at_least": 0.97}])
def test_findings_of_too_few_pairs_are_told_of_left_out_counts_only_where_all_were_compared(
    blocking: dict[str, Any] | None,
) -> None:
    """Blocked pairs mostly match: fewer than thirty of them would tell a small overlap from a whole one."""
    known = terms({(0,): 397, (1,): 497, (0, 1): 3}, rows=[400, 500])
    engine = document(comparison(0, 1, links=3), findings=[finding("too_small", 0, 1)], blocking=blocking)
    codes = [item.code for item in reporting.findings(engine, known)]
    assert codes == (["counts_suppressed"] if blocking else ["too_small", "counts_suppressed"])


@pytest.mark.parametrize("shared", [3, 300])
def test_findings_without_a_summary_in_the_agreement_say_nothing_of_what_matched(shared: int) -> None:
    found = [finding(code, 0, 1) for code in ("no_separation", "few_matches", "unequal_populations")]
    known = terms(OPEN | {(0, 1): shared}, rows=[400, 500], summary=False)
    told = reporting.findings(document(comparison(0, 1, links=shared), findings=found), known)
    assert [item.code for item in told] == ["unequal_populations"]


@pytest.mark.parametrize(
    ("exact", "blocking", "shown"),
    [
        (123_456_789, None, 123_456_789),
        (123_456_789, {"tables": 20, "bits": 16, "distance": 0.1, "kept_at_least": 0.97}, 130_000_000),
        (2_995, {"tables": 20, "bits": 16, "distance": 0.1, "kept_at_least": 0.97}, 10_000),
        (3_195, {"tables": 20, "bits": 16, "distance": 0.1, "kept_at_least": 0.97}, 10_000),
        (0, {"tables": 20, "bits": 16, "distance": 0.1, "kept_at_least": 0.97}, 0),
    ],
)
def test_pairs_compared_with_blocking_are_told_roughly(exact: int, blocking: dict[str, Any], shown: int) -> None:
    engine = document(comparison(0, 1, links=300), blocking=blocking, work={"pairs_compared": exact})
    assert reporting.pairs_compared(engine) == shown


def test_histogram_merges_bins_from_the_top_until_each_may_be_told() -> None:
    histogram = {
        "edges": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
        "pairs": [60, 7, 20, 4, 8],
        "expected_non_matches": [58.2, 6.1, 10.4, 0.9, 0.2],
    }
    engine = document(comparison(0, 1, links=32, histogram=histogram))
    (told,) = report(engine, terms({(0,): 368, (1,): 468, (0, 1): 32}, rows=[400, 500])).comparisons
    assert told.histogram.edges == [0.0, 0.4, 0.6, 1.0]
    assert told.histogram.pairs == [65, 20, 10]
    assert told.histogram.expected_non_matches == [65, 10, None]


def test_histogram_without_enough_at_the_bottom_leaves_the_last_bin_out() -> None:
    histogram = {"edges": [0.0, 0.5, 1.0], "pairs": [3, 40], "expected_non_matches": [3.0, 1.0]}
    engine = document(comparison(0, 1, links=40, histogram=histogram))
    (told,) = report(engine, terms({(0,): 360, (1,): 460, (0, 1): 40}, rows=[400, 500])).comparisons
    assert (told.histogram.edges, told.histogram.pairs) == ([0.0, 0.5, 1.0], [None, 40])
    assert told.histogram.expected_non_matches == [None, None]


def test_report_of_an_agreement_that_leaves_nothing_out_keeps_every_bin_and_point() -> None:
    engine = made([0.05, 0.31, 0.32, 0.95], links=2)
    (told,) = report(engine, terms({(0,): 2, (1,): 3, (0, 1): 2}, rows=[4, 5], least=1)).comparisons
    assert told.histogram.edges == EDGES
    assert len(told.curve) == len(engine["comparisons"][0]["curve"])


def made(scores: Sequence[float], *, links: int) -> dict[str, Any]:
    """The engine's document of a one-to-one list with these scores, of which the first so many are links.

    The probability of a point of the curve says at which place of the list it is.
    """
    ranked = sorted(scores, reverse=True)
    counts = np.histogram(ranked, EDGES)[0].tolist()
    curve = [
        {"score": score, "probability": place / 1000, "links": place, "precision": 0.9, "recall": 0.5, "f1": 0.6}
        for place, score in enumerate(ranked, start=1)
    ]
    probabilities = np.histogram(ranked[:links], EDGES)[0].tolist()
    histogram = {"edges": EDGES, "pairs": counts, "expected_non_matches": [count / 2 for count in counts]}
    return document(
        comparison(0, 1, links=links, histogram=histogram, curve=curve),
        group_probabilities={"edges": EDGES, "lowest": probabilities, "mean": probabilities},
    )


SCORES = st.lists(st.integers(0, 999).map(lambda score: score / 1000), min_size=0, max_size=200)


@settings(deadline=None)
@given(SCORES, st.integers(2, 30), st.integers(0, 200), st.integers(0, 60), st.integers(0, 60))
def test_report_gives_no_count_below_the_minimum_by_subtraction(
    scores: list[float], least: int, links: int, more_a: int, more_b: int
) -> None:
    """From exact counts in place of the rounded ones: any two places at which published counts end are apart."""
    links = min(links, len(scores))
    rows = [len(scores) + more_a, len(scores) + more_b]
    exact = {(0,): rows[0] - links, (1,): rows[1] - links, (0, 1): links}
    (told,) = report(made(scores, links=links), terms(exact, rows=rows, least=least)).comparisons
    if told.links is None:
        assert (told.curve, told.histogram.edges) == ([], [])
        return
    ranked = sorted(scores, reverse=True)
    edges = told.histogram.edges[:: -1 if told.histogram.edges else 1]
    ends = [edge for edge, count in zip(edges[1:], told.histogram.pairs[::-1], strict=True) if count is not None]
    places = {0, links, *(sum(score >= edge for score in ranked) for edge in ends)}
    places |= {round((point.probability or 0) * 1000) for point in told.curve}
    assert all(abs(one - other) >= least for one, other in combinations(places, 2))


@settings(deadline=None)
@given(SCORES, st.integers(2, 30))
def test_groups_by_probability_are_never_fewer_than_the_minimum(scores: list[float], least: int) -> None:
    rows = [len(scores) + 50] * 2
    exact = {(0,): 50, (1,): 50, (0, 1): len(scores)}
    told = report(made(scores, links=len(scores)), terms(exact, rows=rows, least=least)).group_probabilities
    if told is None:
        return
    ranked = np.array(sorted(scores))
    inside = np.histogram(ranked, told.edges)[0]
    assert all(count >= least for count, shown in zip(inside, told.lowest, strict=True) if shown is not None)
    assert told.lowest == told.mean
