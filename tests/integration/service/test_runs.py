"""What a run is asked for, and what it says of itself."""

from typing import Any

import pytest

from support.databases import on_each_database
from support.service_app import Json, Linked, ServiceApp, change_manifest, data_sets, ok, problem

pytestmark = on_each_database

ROWS = data_sets(60, 50, shared=30)


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    return service.uploaded(*ROWS)


def _asked(linked: Linked, **draft: Any) -> Json:
    made: Json = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", draft), 202)
    return made


def _without_derivation(manifest: Json) -> None:
    del manifest["key"]["derivation"]


def test_run_on_encodings_with_and_without_working_keys_is_refused(service: ServiceApp, linked: Linked) -> None:
    change_manifest(service, linked.uploads[0], _without_derivation)
    document = problem(linked.providers[1].post(f"/v1/projects/{linked.project}/runs", {}), 409, "other_derivation")
    assert "1 of 2 uploads" in document["detail"]


def test_run_on_encodings_of_before_working_keys_goes_on(service: ServiceApp, linked: Linked) -> None:
    for upload in linked.uploads:
        change_manifest(service, upload, _without_derivation)
    assert service.run(linked)["state"] == "succeeded"
    shown = ok(linked.providers[0].get(f"/v1/uploads/{linked.uploads[0]}"), 200)
    assert shown["manifest"]["key"]["derivation"] is None


def test_run_that_names_no_aim_aims_at_the_best_f1(linked: Linked) -> None:
    run = _asked(linked)
    assert (run["aim"], run["threshold"]) == ({"kind": "best_f1", "value": None}, None)
    assert (run["blocking"], run["findings"]) == (False, [])


def test_run_that_names_no_aim_takes_the_agreements(service: ServiceApp) -> None:
    linked = service.uploaded(*ROWS, quality={"target_precision": 0.95})
    assert _asked(linked)["aim"] == {"kind": "target_precision", "value": 0.95}


def test_run_with_a_threshold_shows_it(linked: Linked) -> None:
    run = _asked(linked, threshold=0.8, blocking=True)
    assert (run["aim"], run["threshold"], run["blocking"]) == ({"kind": "threshold", "value": 0.8}, 0.8, True)


def test_run_with_two_aims_is_refused_as_invalid(linked: Linked) -> None:
    both = {"target_precision": 0.9, "threshold": 0.8}
    answer = linked.providers[0].post(f"/v1/projects/{linked.project}/runs", both)
    document = problem(answer, 422, "invalid")
    assert "not both" in document["errors"][0]["detail"]


def test_report_before_the_run_has_succeeded_is_a_conflict(linked: Linked) -> None:
    run = _asked(linked)
    problem(linked.providers[0].get(f"/v1/runs/{run['id']}/report"), 409, "no_result")


def test_report_read_is_recorded(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked)
    assert linked.recipients[0].token
    with service.expecting_event("report.retrieved") as events:
        report = ok(linked.recipients[0].get(f"/v1/runs/{run['id']}/report"), 200)
    assert events[0]["resource"] == {"type": "run", "id": run["id"]}
    assert report["run"] == run["id"]


def test_report_tells_the_same_counts_as_the_summary(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked, threshold=0.9)
    reader = linked.recipients[0]
    report = ok(reader.get(f"/v1/runs/{run['id']}/report"), 200)
    summary = ok(reader.get(f"/v1/runs/{run['id']}/summary"), 200)
    assert report["patterns"] == summary["patterns"]
    assert report["result"]["groups"] == 30
    assert {name: report[name] for name in ("rounded_to", "suppressed_below")} == {
        name: summary[name] for name in ("rounded_to", "suppressed_below")
    }


@pytest.mark.parametrize("shared", [0, 1, 9])
def test_report_and_run_of_a_small_overlap_are_the_same_however_small(service: ServiceApp, shared: int) -> None:
    linked = service.uploaded(*data_sets(60, 50, shared=shared))
    run = service.run(linked, threshold=0.9)
    report = ok(linked.recipients[0].get(f"/v1/runs/{run['id']}/report"), 200)
    (comparison,) = report["comparisons"]
    assert [comparison[name] for name in ("links", "matches", "cut", "curve")] == [None, None, None, []]
    assert comparison["histogram"] == {"edges": [], "pairs": [], "expected_non_matches": []}
    assert set(report["result"].values()) == {None}
    assert (report["calibrated"], report["group_probabilities"]) == (None, None)
    assert [pattern["groups"] for pattern in report["patterns"]] == [None, None, None]
    assert [finding["code"] for finding in run["findings"]] == ["counts_suppressed"]
    assert comparison["floor"] is None


def test_findings_of_a_run_under_an_agreement_without_summary_tell_nothing_of_matches(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(60, 50, shared=3), data={"outputs": ["link_table_blind"]})
    codes = {finding["code"] for finding in service.run(linked)["findings"]}
    assert codes & {"counts_suppressed", "few_matches", "no_separation"} == set()


def test_whole_run_is_in_a_list_as_by_itself(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked)
    assert ok(linked.providers[0].get(f"/v1/projects/{linked.project}/runs"), 200)["items"] == [run]


def test_report_of_a_run_with_blocking_says_what_it_may_have_lost(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked, threshold=0.9, blocking=True)
    report = ok(linked.recipients[0].get(f"/v1/runs/{run['id']}/report"), 200)
    assert 0.5 < report["blocking"]["kept_at_least"] < 1
    assert "blocking" in {finding["code"] for finding in run["findings"]}
    assert report["result"]["groups"] == 30
    assert report["pairs_compared"] == run["metrics"]["pairs_compared"] == run["progress"]["total"]
