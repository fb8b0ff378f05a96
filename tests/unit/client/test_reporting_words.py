import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage_client.models import Aim, Finding, MatchEstimate, ReportComparison
from linkage_client.reporting import words
from linkage_client.reporting.words import Names
from support.reports import parsed, report

NAMES = Names({"org_own": "Northgate Council", "org_other": "St Aidan's Hospital"})


def test_headline_says_what_was_found_and_how_much_is_right() -> None:
    found = words.headline(parsed(report()), NAMES)

    assert found == "2,510 links between Northgate Council and St Aidan's Hospital; about 99.4 % of them are right."


def test_headline_of_many_organisations_counts_them() -> None:
    found = words.headline(parsed(report(["a", "b", "c", "d", "e"])), Names())

    assert found == "11,295 links between five organisations; about 99.4 % of them are right."


def test_headline_without_links_promises_nothing() -> None:
    assert (
        words.headline(parsed(report(cut=None)), NAMES) == "No links between Northgate Council and St Aidan's Hospital."
    )


def test_headline_of_suppressed_counts_does_not_guess() -> None:
    found = words.headline(parsed(report(matches=4, strangers=5)), Names())

    assert found == "The number of links between org_own and org_other is not shown."


def test_headline_of_an_empty_report_is_a_sentence() -> None:
    assert words.headline(parsed({"run": "run_1"}), Names()) == "The number of links of this run is not shown."


def test_result_says_links_precision_recall_and_matches() -> None:
    first, *more = words.result_in_words(parsed(report()))

    assert first == "2,510 links; about 99.4 % of them right; about 99.9 % of all matches found (estimated)."
    assert more == ["Matches in all: about 2,500, probably between 2,420 and 2,580."]


def test_result_of_three_organisations_names_the_groups() -> None:
    assert any("groups" in sentence for sentence in words.result_in_words(parsed(report(["a", "b", "c"]))))


def test_result_that_is_not_calibrated_says_that_it_is_not_known() -> None:
    result = {"groups": 40, "links": 40, "precision": None, "recall": None, "f1": None, "matches": None}

    (sentence,) = words.result_in_words(parsed(report(result=result)))

    assert sentence == "40 links. How many of them are right could not be estimated."


def test_result_that_is_suppressed_says_why_nothing_follows() -> None:
    (sentence,) = words.result_in_words(parsed({"run": "run_1"}))

    assert "small counts could be worked out" in sentence


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "not known"),
        (0.0, "less than 0.1 %"),
        (0.0004, "less than 0.1 %"),
        (0.5, "50.0 %"),
        (0.998, "99.8 %"),
        (0.9996, "more than 99.9 %"),
        (1.0, "more than 99.9 %"),
    ],
)
def test_share_is_never_all_or_nothing(share: float | None, text: str) -> None:
    assert words.share(share) == text


@given(st.floats(0, 1))
def test_share_of_any_estimate_never_claims_certainty(value: float) -> None:
    assert words.share(value) not in {"0.0 %", "100.0 %"}


@pytest.mark.parametrize(
    ("precision", "text"),
    [
        (0.998, "about 1 in 500"),
        (0.9945, "about 1 in 180"),
        (0.97, "about 1 in 33"),
        (0.5, "about 1 in 2"),
        (0.2, "about 80.0 %"),
        (1.0, "fewer than 1 in 2,000"),
    ],
)
def test_one_in_says_how_rare_the_rest_is(precision: float, text: str) -> None:
    assert words.one_in(precision) == text


@pytest.mark.parametrize(
    ("aim", "threshold", "text"),
    [
        (Aim(kind="best_f1"), None, "the best balance of right links and found matches"),
        (Aim(kind="target_precision", value=0.995), None, "at least 99.5 % of the links right"),
        (Aim(kind="threshold", value=0.8), 0.8, "a fixed threshold: links from a Dice similarity of 0.8 up"),
        (None, 0.7, "a fixed threshold: links from a Dice similarity of 0.7 up"),
        (None, None, "the best balance of right links and found matches"),
        (Aim(kind="least_cost", value=0.5), None, "least cost 0.5"),
    ],
)
def test_aim_in_words(aim: Aim | None, threshold: float | None, text: str) -> None:
    assert words.aim_in_words(aim, threshold=threshold) == text


def test_names_that_two_organisations_share_are_told_apart_by_id() -> None:
    names = Names({"org_1": "Council", "org_2": "Council", "org_3": "Hospital"})

    assert (
        names.together(["org_1", "org_2", "org_3", "org_4"]) == "Council (org_1), Council (org_2), Hospital and org_4"
    )


def test_names_cannot_rewrite_the_screen() -> None:
    assert Names({"org_1": "Evil\x1b[2J\u202ename\n"}).of("org_1") == "Evil [2J name"


def test_findings_that_say_the_same_are_said_once() -> None:
    one = Finding(code="few_matches", organisations=["org_own", "org_other"], message="Few.")
    other = Finding(code="few_matches", organisations=["org_own", "org_3"], message="Few.")

    (said,) = words.findings_in_words([one, other], [one])

    assert said.title == "Few matches: wide margins"
    assert said.about_in_words(NAMES) == "Northgate Council and St Aidan's Hospital; Northgate Council and org_3"


def test_findings_about_many_pairs_name_the_organisations_once() -> None:
    pairs = [("a", "b"), ("a", "c"), ("b", "c"), ("a", "d")]
    findings = [Finding(code="counts_suppressed", organisations=list(pair), message="Small.") for pair in pairs]

    (said,) = words.findings_in_words(findings)

    assert said.about_in_words(Names()) == "4 combinations of a, b, c and d"


def test_finding_of_an_unknown_code_is_read_as_words() -> None:
    assert words.finding_title(Finding(code="moon_phase", message="x")) == "Moon phase"


def test_finding_title_of_one_file_without_duplicates_does_not_speak_of_matches() -> None:
    within = Finding(code="no_separation", organisations=["org_own"], message="x")
    assert words.finding_title(within) == "No duplicates stand out"
    across = Finding(code="no_separation", organisations=["org_own", "org_other"], message="x")
    assert words.finding_title(across) == "Matches cannot be told from chance"


@pytest.mark.parametrize(
    ("matches", "text"),
    [
        (None, "not known"),
        (MatchEstimate(estimate=2490, low=2450, high=2530), "about 2,490, probably between 2,450 and 2,530"),
        (MatchEstimate(estimate=30, low=30, high=30), "about 30"),
        (MatchEstimate(estimate=30), "about 30"),
    ],
)
def test_interval_without_width_is_no_interval(matches: MatchEstimate | None, text: str) -> None:
    assert words.interval(matches) == text


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"cut": {"score": 0.12, "probability": 0.41}}, "cut at score 0.12; the weakest links made are matches with"),
        ({"cut": {"score": 0.12}}, "cut at score 0.12"),
        ({"links": 0}, "no links were made"),
        ({"links": 25}, "linked from a fixed similarity up, not from a score"),
        ({}, "the counts are too small to show"),
    ],
)
def test_cut_in_words_says_why_there_is_none(members: dict[str, object], text: str) -> None:
    comparison = ReportComparison.model_validate({"organisations": ["a", "b"], **members})

    assert words.cut_in_words(comparison).startswith(text)


def test_comparison_with_itself_is_within() -> None:
    assert words.pair_of(ReportComparison(organisations=["org_own", "org_own"]), NAMES) == "within Northgate Council"


def test_suppression_is_said_only_where_there_is_any() -> None:
    assert words.suppression_in_words(parsed({"run": "r"})) == "Counts are exact."
    said = words.suppression_in_words(parsed(report()))
    assert "nearest 5" in said
    assert "below 10" in said
