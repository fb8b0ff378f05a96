"""Who may not do what: the answer, the elements it names, and the refusal in the ledger."""

from collections.abc import Callable
from typing import Any

import pytest

from support.service_app import Caller, Linked, ServiceApp, data_sets, jws, manifest, ok, parts_of, problem

ROWS = data_sets(12, 12, shared=6)


def _refused(service: ServiceApp, response: Any, event_type: str, *policies: str) -> None:
    document = problem(response, 403, "refused")
    assert {element["policy"] for element in document["elements"]} == set(policies)
    assert all(element["element"] and element["reason"] for element in document["elements"])
    event = service.events()[-1]
    assert event["type"] == event_type
    assert event["outcome"] == {"status": "refused", "code": "refused"}
    assert event["decision"]["effect"] == "deny"
    assert set(policies) - {"no-grant"} <= set(event["decision"]["policies"])
    assert service.verified()


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    return service.uploaded(*ROWS)


def test_outsider_is_told_that_nothing_is_there(service: ServiceApp, linked: Linked) -> None:
    outsider = service.join()
    run = service.run(linked)
    release = service.release(linked, run)
    project, agreement = f"/v1/projects/{linked.project}", f"/v1/agreements/{linked.agreement['id']}"
    for method, path, body in (
        ("GET", project, None), ("GET", f"{project}/uploads", None), ("GET", f"{project}/runs", None),
        ("GET", f"{project}/releases", None), ("GET", f"{project}/disclosures", None), ("GET", agreement, None),
        ("GET", f"{agreement}/versions/1", None), ("POST", f"{agreement}/versions/1:propose", None),
        ("POST", f"{project}/runs", {}), ("POST", f"{project}/uploads", {"manifest": manifest(ROWS[0])}),
        ("GET", f"/v1/runs/{run['id']}", None), ("POST", f"/v1/runs/{run['id']}:cancel", None),
        ("GET", f"/v1/runs/{run['id']}/summary", None), ("GET", f"/v1/runs/{run['id']}/report", None),
        ("DELETE", f"/v1/uploads/{linked.uploads[0]}", None),
        ("POST", f"/v1/runs/{run['id']}/releases", {"purpose": "planning"}),
        ("GET", f"/v1/releases/{release['id']}", None), ("GET", f"/v1/releases/{release['id']}/link-table", None),
        ("GET", f"/v1/uploads/{linked.uploads[0]}", None), ("POST", f"/v1/uploads/{linked.uploads[0]}:complete", None),
    ):  # fmt: skip
        answer = outsider.request(method, path, json=body)
        document = problem(answer, 404, "not_found")
        assert "agreement" not in document
        assert "elements" not in document
        assert service.events()[-1]["type"].endswith(".refused"), path
    problem(service.open_project(outsider, linked.agreement), 404, "not_found")
    assert service.verified()


def test_outsider_sees_no_other_partys_things_in_lists(service: ServiceApp, linked: Linked) -> None:
    outsider = service.join()
    assert linked.project
    for path in ("/v1/agreements", "/v1/projects"):
        assert ok(outsider.get(path), 200) == {"items": [], "next_cursor": None}


def test_signatory_without_a_data_role_cannot_start_a_run(service: ServiceApp, linked: Linked) -> None:
    signatory = linked.providers[0].add_client("signatory")
    _refused(service, signatory.post(f"/v1/projects/{linked.project}/runs", {}), "run.refused", "no-grant")


def test_provider_cannot_ask_for_a_release(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked)
    answer = linked.providers[0].post(f"/v1/runs/{run['id']}/releases", {"purpose": "planning"})
    _refused(service, answer, "release.refused", "G2-recipient")


def test_recipient_cannot_retrieve_a_providers_table_nor_upload(service: ServiceApp, linked: Linked) -> None:
    recipient = linked.recipients[0]
    release = service.release(linked, service.run(linked))
    _refused(service, recipient.get(f"/v1/releases/{release['id']}/link-table"), "link_table.refused", "G2-provider")
    _refused(service, recipient.declare(linked.project, ROWS[0]), "upload.refused", "G2-provider")


@pytest.mark.parametrize("role", ["administrator", "officer"])
def test_linkage_units_own_clients_read_no_results(service: ServiceApp, linked: Linked, role: str) -> None:
    caller: Caller = getattr(service, role)
    run = service.run(linked)
    release = service.release(linked, run)
    for path in (
        f"/v1/releases/{release['id']}/link-table",
        f"/v1/runs/{run['id']}/summary",
        f"/v1/runs/{run['id']}/report",
    ):
        problem(caller.get(path), 403, "refused")
    problem(caller.get(f"/v1/uploads/{linked.uploads[0]}"), 403, "refused")


def test_partner_cannot_administer(service: ServiceApp) -> None:
    partner = service.join()
    _refused(service, partner.post("/v1/organisations", {"name": "Mine"}), "organisation.refused", "no-grant")


def test_signatory_cannot_add_clients_to_another_organisation(service: ServiceApp) -> None:
    partner, other = service.join(), service.join()
    body = {"name": "spy", "jwk": other.key.jwk, "roles": ["analyst"]}
    answer = partner.post(f"/v1/organisations/{other.organisation}/clients", body)
    _refused(service, answer, "client.refused", "no-grant")


def test_provider_cannot_touch_another_providers_upload(service: ServiceApp, linked: Linked) -> None:
    mine, theirs = linked.providers[0], linked.uploads[1]
    _refused(service, mine.get(f"/v1/uploads/{theirs}"), "upload.refused", "no-grant")
    _refused(service, mine.delete(f"/v1/uploads/{theirs}"), "upload.refused", "no-grant")
    _refused(service, mine.put_part(theirs, 1, b"x"), "upload.refused", "no-grant")
    _refused(service, mine.post(f"/v1/uploads/{theirs}:complete"), "upload.refused", "no-grant")


def test_requests_that_would_change_something_leave_a_leaf_whatever_stopped_them(
    service: ServiceApp, linked: Linked
) -> None:
    provider, upload = linked.providers[0], linked.uploads[0]
    missing = "upl_" + "0" * 26
    requests: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: provider.put_part(upload, 1, b"x"), "conflict"),
        (lambda: provider.put_part(missing, 1, b"x"), "not_found"),
        (lambda: provider.post(f"/v1/uploads/{upload}:complete"), "conflict"),
        (lambda: provider.post(f"/v1/uploads/{missing}:complete"), "not_found"),
        (lambda: provider.delete(f"/v1/uploads/{missing}"), "not_found"),
    )
    for request, code in requests:
        assert request().json()["code"] == code
        event = service.events()[-1]
        assert (event["type"], event["outcome"]["code"]) == ("upload.refused", code)
    assert service.verified()


@pytest.mark.parametrize("proposed", [False, True])
def test_agreement_not_signed_by_all_opens_no_project(service: ServiceApp, *, proposed: bool) -> None:
    organisation, other = service.join(), service.join()
    agreement = service.draft({organisation: ["provider", "recipient"], other: ["provider"]})
    if proposed:
        ok(organisation.change(f"/v1/agreements/{agreement['id']}/versions/1:propose"), 200)
        ok(organisation.sign_agreement(agreement), 201)
    _refused(
        service,
        service.open_project(organisation, agreement),
        "project.refused",
        "G8-term",
        "G8-signed",
        "G8-superseded",
    )


def test_agreement_past_its_end_stops_processing_and_disclosure(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked)
    release = service.release(linked, run)
    service.clock.move(days=366)
    provider, recipient = linked.providers[0], linked.recipients[0]
    term_and_review = ("G8-term", "G8-review")
    _refused(
        service,
        provider.post(f"/v1/projects/{linked.project}/runs", {}),
        "run.refused",
        *term_and_review,
        "G6-encodings",
    )
    _refused(service, provider.declare(linked.project, ROWS[0]), "upload.refused", *term_and_review)
    _refused(service, recipient.get(f"/v1/runs/{run['id']}/summary"), "summary.refused", *term_and_review)
    _refused(service, recipient.get(f"/v1/runs/{run['id']}/report"), "report.refused", *term_and_review)
    answer = recipient.post(f"/v1/runs/{run['id']}/releases", {"purpose": "planning"})
    _refused(service, answer, "release.refused", *term_and_review)
    answer = provider.get(f"/v1/releases/{release['id']}/link-table")
    _refused(service, answer, "link_table.refused", *term_and_review, "G6-retention")
    assert ok(provider.get(f"/v1/agreements/{linked.agreement['id']}"), 200)["state"] == "expired"


def test_review_overdue_stops_processing_and_disclosure_until_one_passes(service: ServiceApp) -> None:
    review = {"review_by": "2026-04-01T00:00:00Z"}
    linked = service.uploaded(*ROWS, review=review)
    release = service.release(linked, service.run(linked))
    service.clock.move(days=35)
    provider = linked.providers[0]
    _refused(
        service, provider.post(f"/v1/projects/{linked.project}/runs", {}), "run.refused", "G8-review", "G6-encodings"
    )
    _refused(service, service.open_project(provider, linked.agreement), "project.refused", "G8-review")
    answer = provider.get(f"/v1/releases/{release['id']}/link-table")
    _refused(service, answer, "link_table.refused", "G8-review")


def test_suspended_organisation_is_refused_at_once(service: ServiceApp, linked: Linked) -> None:
    provider = linked.providers[0]
    ok(service.officer.post(f"/v1/organisations/{provider.organisation}:suspend", {"reason": "Probing."}), 200)
    _refused(
        service,
        provider.post(f"/v1/projects/{linked.project}/runs", {}),
        "run.refused",
        "G9-sanction",
        "G9-sanction-run",
    )


def test_revoked_client_is_refused_at_once_and_gets_no_new_token(service: ServiceApp) -> None:
    organisation = service.join()
    client = organisation.add_client("analyst")
    assert client.token
    ok(organisation.delete(f"/v1/organisations/{organisation.organisation}/clients/{client.client}"), 204)
    _refused(service, client.get("/v1/me"), "service.refused", "G5-credential")
    client.forget_token()
    with service.expecting_event("token.refused"):
        problem(service.ask_for_token(jws(client.claims(), client.key)), 401, "revoked")


def test_client_cannot_revoke_itself(service: ServiceApp) -> None:
    organisation = service.join()
    path = f"/v1/organisations/{organisation.organisation}/clients/{organisation.client}"
    problem(organisation.delete(path), 409, "conflict")


def test_purpose_that_the_agreement_does_not_list_is_refused(service: ServiceApp, linked: Linked) -> None:
    answer = service.open_project(linked.providers[0], linked.agreement, purpose="marketing")
    _refused(service, answer, "project.refused", "G1-purpose")
    run = service.run(linked)
    answer = linked.recipients[0].post(f"/v1/runs/{run['id']}/releases", {"purpose": "marketing"})
    _refused(service, answer, "release.refused", "G1-purpose")


def test_output_that_the_agreement_does_not_list_is_refused(service: ServiceApp) -> None:
    linked = service.uploaded(*ROWS, data={"outputs": ["link_table_blind"]})
    run = service.run(linked)
    recipient = linked.recipients[0]
    answer = recipient.post(f"/v1/runs/{run['id']}/releases", {"purpose": "planning", "mode": "matched"})
    _refused(service, answer, "release.refused", "G3-data-out")
    _refused(service, recipient.get(f"/v1/runs/{run['id']}/summary"), "summary.refused", "G3-data-out-summary")
    _refused(service, recipient.get(f"/v1/runs/{run['id']}/report"), "report.refused", "G3-data-out-report")


def test_table_retrieved_as_often_as_allowed_is_refused_after(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked))
    path = f"/v1/releases/{release['id']}/link-table"
    for _ in range(3):
        assert linked.providers[0].get(path).status_code == 200
    _refused(service, linked.providers[0].get(path), "link_table.refused", "G6-retrievals")
    assert linked.providers[1].get(path).status_code == 200
    disclosures = ok(linked.recipients[0].get(f"/v1/projects/{linked.project}/disclosures"), 200)["items"]
    assert len(disclosures) == 4


def test_table_past_its_deletion_date_is_refused(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked))
    service.clock.move(days=91)
    answer = linked.providers[0].get(f"/v1/releases/{release['id']}/link-table")
    _refused(service, answer, "link_table.refused", "G6-retention")
    assert ok(linked.recipients[0].get(f"/v1/releases/{release['id']}"), 200)["state"] == "expired"


def test_upload_less_complete_than_agreed_is_refused(service: ServiceApp) -> None:
    linked = service.project()
    answer = linked.providers[0].declare(linked.project, ROWS[0], completeness={"given_name": 0.1, "surname": 1.0})
    _refused(service, answer, "upload.refused", "G4-quality")


def test_parts_of_an_upload_are_refused_once_the_agreement_has_ended(service: ServiceApp) -> None:
    linked = service.project()
    provider = linked.providers[0]
    upload = ok(provider.declare(linked.project, ROWS[0]), 201)["id"]
    service.clock.move(days=366)
    number, part = next(parts_of(ROWS[0]))
    answer = provider.put_part(upload, number, part)
    _refused(service, answer, "upload.refused", "G8-term", "G8-review", "G6-upload")


@pytest.mark.parametrize(
    ("agreed", "draft", "policies"),
    [
        (None, {}, ()),
        (None, {"threshold": 0.8}, ()),
        (None, {"target_precision": 0.5}, ()),
        (0.98, {}, ()),
        (0.98, {"target_precision": 0.98}, ()),
        (0.98, {"target_precision": 0.99}, ()),
        (0.98, {"target_precision": 0.97999}, ("G4-target-precision",)),
        (0.98, {"threshold": 0.99}, ("G4-aim",)),
    ],
)
def test_run_that_aims_lower_than_agreed_is_refused(
    service: ServiceApp, agreed: float | None, draft: dict[str, float], policies: tuple[str, ...]
) -> None:
    linked = service.uploaded(*ROWS, quality={"target_precision": agreed})
    answer = linked.providers[0].post(f"/v1/projects/{linked.project}/runs", draft)
    if not policies:
        ok(answer, 202)
        return
    _refused(service, answer, "run.refused", *policies)
    assert {element["element"] for element in answer.json()["elements"]} == {"4 Data quality"}


def test_report_may_be_read_by_whom_the_summary_may(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked)
    path = f"/v1/runs/{run['id']}/report"
    ok(linked.providers[1].get(path), 200)
    ok(linked.recipients[0].get(path), 200)
    signatory = linked.providers[0].add_client("signatory")
    _refused(service, signatory.get(path), "report.refused", "no-grant")
