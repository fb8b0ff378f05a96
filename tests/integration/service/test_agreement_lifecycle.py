"""An agreement from its draft to its end: amendments, suspension, reviews, and who may know of which version."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from linkage_service.agreements.document import json_schema
from support.databases import on_each_database, only_on_sqlite
from support.service_app import Json, Organisation, ServiceApp, agreement_document, data_sets, ok, problem

pytestmark = on_each_database

REASON = {"reason": "A breach was reported."}


class Signed:
    """An agreement in force, with what a test changes of it."""

    def __init__(self, service: ServiceApp, **changes: Any) -> None:
        self.service = service
        self.provider, self.other, self.recipient = (service.join() for _ in range(3))
        self.parties: dict[Organisation, Sequence[str]] = {
            self.provider: ["provider"],
            self.other: ["provider"],
            self.recipient: ["recipient"],
        }
        self.agreement = service.activate(self.parties, sanctions={"ladder": ["suspend_agreement"]}, **changes)
        self.path = f"/v1/agreements/{self.agreement['id']}"

    def document(self, **changes: Any) -> Json:
        document: Json = ok(self.provider.get(f"{self.path}/versions/1"), 200)["document"]
        for name, value in changes.items():
            document[name] = {**document[name], **value} if isinstance(value, dict) else value
        return document

    def amend(self, **changes: Any) -> Any:
        body = {"document": self.document(**changes)}
        return self.provider.change(f"{self.path}/versions", body, of=self.path)

    def amended(self, *signing: Organisation, **changes: Any) -> Json:
        """An amendment that these have signed; all without one being named."""
        made: Json = ok(self.amend(**{"title": "Amended", **changes}), 201)
        ok(self.provider.change(f"{self.path}/versions/{made['version']}:propose"), 200)
        for party in signing or tuple(self.parties):
            made = ok(party.sign_agreement(made), 201)
        return made

    def now(self, by: Any = None) -> Json:
        found: Json = ok((by or self.provider).get(self.path), 200)
        return found


@pytest.fixture
def signed(service: ServiceApp) -> Signed:
    return Signed(service)


def test_amendment_leaves_the_present_version_in_force_until_all_have_signed(signed: Signed) -> None:
    signed.amended(signed.provider, signed.other)
    now = signed.now()
    assert (now["state"], now["version"], now["version_state"]) == ("active", 1, "active")
    assert [(item["version"], item["state"]) for item in now["versions"]] == [(1, "active"), (2, "proposed")]
    opened = ok(signed.service.open_project(signed.provider, signed.agreement), 201)
    assert opened["agreement"]["version"] == 1


def test_amendment_signed_by_all_supersedes_and_earlier_projects_go_on(signed: Signed) -> None:
    before = ok(signed.service.open_project(signed.provider, signed.agreement), 201)
    with_last = signed.amended()
    assert (with_last["state"], with_last["version"], with_last["version_state"]) == ("active", 2, "active")
    assert [item["state"] for item in with_last["versions"]] == ["superseded", "active"]
    after = ok(signed.service.open_project(signed.provider, signed.agreement), 201)
    assert (before["agreement"]["version"], after["agreement"]["version"]) == (1, 2)
    (rows,) = data_sets(20, shared=20)
    signed.provider.upload(before["id"], rows)
    assert signed.service.verified()


def test_amendment_with_another_reference_is_refused(signed: Signed) -> None:
    problem(signed.amend(reference="ANOTHER"), 422)


def test_second_amendment_while_one_is_open_is_refused(signed: Signed) -> None:
    ok(signed.amend(title="Once"), 201)
    problem(signed.amend(title="Twice"), 409, "conflict")


def test_draft_that_is_replaced_has_another_digest(signed: Signed) -> None:
    first = ok(signed.amend(title="Once"), 201)
    body = {"document": signed.document(title="Twice")}
    second = ok(signed.provider.change(f"{signed.path}/versions/2", body, method="PUT"), 200)
    assert second["title"] == "Twice"
    assert second["digest"] != first["digest"]


def test_proposed_version_is_not_replaced(signed: Signed) -> None:
    signed.amended(signed.provider)
    body = {"document": signed.document(title="Late")}
    problem(signed.provider.change(f"{signed.path}/versions/2", body, method="PUT"), 409, "conflict")


def test_withdrawn_draft_is_gone_and_makes_room_for_another(signed: Signed) -> None:
    ok(signed.amend(title="Once"), 201)
    ok(signed.provider.change(f"{signed.path}/versions/2", method="DELETE"), 204)
    assert [item["version"] for item in signed.now()["versions"]] == [1]
    assert signed.service.events()[-1]["type"] == "agreement.withdrawn"
    ok(signed.amend(title="Twice"), 201)


def test_withdrawn_proposal_stays_and_cannot_be_signed(signed: Signed) -> None:
    made = signed.amended(signed.provider)
    ok(signed.provider.change(f"{signed.path}/versions/2", method="DELETE"), 204)
    assert [item["state"] for item in signed.now()["versions"]] == ["active", "withdrawn"]
    problem(signed.other.sign_agreement(made), 409, "conflict")
    assert ok(signed.amend(title="Third"), 201)["version"] == 3


def test_party_of_a_withdrawn_amendment_alone_finds_no_event_of_the_agreement(signed: Signed) -> None:
    newcomer, document = signed.service.join(), signed.document()
    named = {**document["recipients"]["parties"][0], "organisation": newcomer.organisation, "roles": ["recipient"]}
    ok(signed.amend(title="With another", recipients={"parties": [*document["recipients"]["parties"], named]}), 201)
    ok(signed.provider.change(f"{signed.path}/versions/2:propose"), 200)
    ok(signed.provider.change(f"{signed.path}/versions/2", method="DELETE"), 204)
    assert signed.amended(title="Without it")["state"] == "active"
    asked = {"agreement": document["reference"], "limit": 1000}
    assert ok(signed.provider.get("/v1/audit/events", params=asked), 200)["items"]
    assert ok(newcomer.get("/v1/audit/events", params=asked), 200)["items"] == []


def test_version_in_force_cannot_be_withdrawn(signed: Signed) -> None:
    problem(signed.provider.change(f"{signed.path}/versions/1", method="DELETE"), 409, "conflict")


def test_party_of_an_amendment_only_sees_nothing_of_the_version_in_force(signed: Signed) -> None:
    new = signed.service.join()
    document = signed.document()
    party = {**document["recipients"]["parties"][2], "organisation": new.organisation}
    parties = [*document["recipients"]["parties"], party]
    signed.amended(signed.provider, recipients={"parties": parties})
    seen = ok(new.get(signed.path), 200)
    assert (seen["version"], [item["version"] for item in seen["versions"]]) == (2, [2])
    problem(new.get(f"{signed.path}/versions/1"), 404, "not_found")
    ok(new.get(f"{signed.path}/versions/2"), 200)
    problem(new.change(f"{signed.path}:suspend", REASON), 404, "not_found")
    page = ok(new.get("/v1/audit/events"), 200)["items"]
    assert not [item for item in page if item["header"]["type"] == "agreement.activated"]


def test_party_that_an_amendment_drops_sees_the_older_version_only(signed: Signed) -> None:
    third = signed.service.join()
    document = signed.document()
    parties = document["recipients"]["parties"]
    new_parties = [parties[0], parties[1], {**parties[2], "organisation": third.organisation}]
    made = ok(signed.amend(recipients={"parties": new_parties}), 201)
    ok(signed.provider.change(f"{signed.path}/versions/2:propose"), 200)
    for party in (signed.provider, signed.other, third):
        ok(party.sign_agreement(made), 201)
    seen = signed.now(signed.recipient)
    assert (seen["version"], seen["version_state"]) == (1, "superseded")
    problem(signed.recipient.get(f"{signed.path}/versions/2"), 404, "not_found")


def test_suspended_agreement_stops_work_until_it_is_reinstated(signed: Signed) -> None:
    officer, service = signed.service.officer, signed.service
    assert ok(officer.change(f"{signed.path}:suspend", REASON), 200)["state"] == "suspended"
    refused = problem(service.open_project(signed.provider, signed.agreement), 403)
    assert [element["policy"] for element in refused["elements"]] == ["G8-term"]
    problem(officer.change(f"{signed.path}:suspend", REASON), 409, "conflict")
    assert ok(officer.change(f"{signed.path}:reinstate", REASON), 200)["state"] == "active"
    ok(service.open_project(signed.provider, signed.agreement), 201)
    problem(officer.change(f"{signed.path}:reinstate", REASON), 409, "conflict")


def test_signatory_of_a_party_may_suspend_but_not_reinstate(signed: Signed) -> None:
    ok(signed.recipient.change(f"{signed.path}:suspend", REASON), 200)
    problem(signed.recipient.change(f"{signed.path}:reinstate", REASON), 403, "refused")


def test_reason_is_in_the_body_of_the_event_and_not_in_its_header(signed: Signed) -> None:
    ok(signed.service.officer.change(f"{signed.path}:suspend", {"reason": "QX-REASON"}), 200)
    header = signed.service.events()[-1]
    assert "QX-REASON" not in json.dumps(header)
    with signed.service.runtime.database.reading() as session:
        query = "SELECT body FROM audit_body ORDER BY seq DESC LIMIT 1"
        body = session.connection().exec_driver_sql(query).scalar()
    assert body is not None
    assert b"QX-REASON" in bytes(body)


def test_amendment_of_a_suspended_agreement_leaves_it_suspended(signed: Signed) -> None:
    ok(signed.service.officer.change(f"{signed.path}:suspend", REASON), 200)
    made = signed.amended()
    assert (made["state"], made["version"]) == ("suspended", 2)


def test_terminated_agreement_is_final(signed: Signed) -> None:
    ok(signed.amend(title="Open"), 201)
    assert ok(signed.provider.change(f"{signed.path}:terminate", REASON), 200)["state"] == "terminated"
    for refused in (
        signed.service.officer.change(f"{signed.path}:reinstate", REASON),
        signed.provider.change(f"{signed.path}:terminate", REASON),
        signed.provider.change(f"{signed.path}/versions/2:propose"),
        signed.amend(title="More"),
    ):
        problem(refused, 409, "conflict")
    problem(signed.service.open_project(signed.provider, signed.agreement), 403)


def test_agreement_past_its_end_is_expired_and_final(signed: Signed) -> None:
    made = signed.amended(signed.provider, review={"ends": "2028-01-01T00:00:00Z"})
    signed.service.clock.move(days=366)
    assert signed.now()["state"] == "expired"
    problem(signed.other.sign_agreement(made), 409, "conflict")
    problem(signed.service.officer.change(f"{signed.path}:suspend", REASON), 409, "conflict")


def test_review_that_passes_moves_the_date_and_one_that_fails_stops_work(signed: Signed) -> None:
    officer = signed.service.officer
    later = {"passed": True, "review_by": "2026-12-31T00:00:00Z", "findings": "Worth it."}
    found = ok(officer.change(f"{signed.path}:review", later), 200)
    assert found["review_by"] == "2026-12-31T00:00:00.000000Z"
    assert found["review"]["findings"] == "Worth it."
    ok(officer.change(f"{signed.path}:review", {**later, "passed": False}), 200)
    refused = problem(signed.service.open_project(signed.provider, signed.agreement), 403)
    assert [element["policy"] for element in refused["elements"]] == ["G8-review"]


@pytest.mark.parametrize("review_by", ["2026-02-01T00:00:00Z", "2027-06-01T00:00:00Z"])
def test_review_with_a_next_one_outside_the_term_is_refused(signed: Signed, review_by: str) -> None:
    body = {"passed": True, "review_by": review_by, "findings": "Worth it."}
    problem(signed.service.officer.change(f"{signed.path}:review", body), 422)


def test_failed_review_outlives_an_amendment_and_ends_with_a_review_that_passes(signed: Signed) -> None:
    body = {"passed": False, "review_by": "2026-12-01T00:00:00Z", "findings": "Not worth it."}
    ok(signed.service.officer.change(f"{signed.path}:review", body), 200)
    assert signed.amended()["review"]["passed"] is False
    problem(signed.service.open_project(signed.provider, signed.agreement), 403, "refused")
    ok(signed.service.officer.change(f"{signed.path}:review", {**body, "passed": True}), 200)
    ok(signed.service.open_project(signed.provider, signed.agreement), 201)


def test_passed_review_does_not_count_for_a_later_version(signed: Signed) -> None:
    body = {"passed": True, "review_by": "2026-12-01T00:00:00Z", "findings": "Fine."}
    ok(signed.service.officer.change(f"{signed.path}:review", body), 200)
    assert signed.amended()["review"] is None


@pytest.mark.parametrize("verb", ["suspend", "terminate"])
def test_party_that_an_amendment_left_out_can_stop_what_goes_on_under_its_version(
    service: ServiceApp, verb: str
) -> None:
    first, dropped, recipient, shell = (service.join() for _ in range(4))
    before = {first: ["provider"], dropped: ["provider"], recipient: ["recipient"]}
    agreement = service.activate(before, sanctions={"ladder": ["warn", "suspend_agreement", "terminate"]})
    path = f"/v1/agreements/{agreement['id']}"
    document = ok(first.get(f"{path}/versions/1"), 200)["document"]
    roles = {first: ["provider", "recipient"], shell: ["provider"]}
    parties = [
        {**document["recipients"]["parties"][0], "organisation": party.organisation, "roles": given}
        for party, given in roles.items()
    ]
    changed = {
        **document,
        "recipients": {"parties": parties},
        "sanctions": {**document["sanctions"], "ladder": ["warn"]},
    }
    amended = ok(first.change(f"{path}/versions", {"document": changed}, of=path), 201)
    ok(first.change(f"{path}/versions/2:propose"), 200)
    for party in roles:
        ok(party.sign_agreement(amended), 201)
    # The officer's sanctions are those of every version that is still worked under.
    stopping = service.officer if verb == "suspend" else dropped
    ok(stopping.change(f"{path}:{verb}", REASON), 200)
    problem(service.open_project(first, agreement), 403, "refused")


def test_reference_of_a_withdrawn_draft_is_not_given_to_others(service: ServiceApp) -> None:
    first, second = service.join(), service.join()
    drafted = service.draft({first: ["provider", "recipient"], second: ["provider"]})
    path = f"/v1/agreements/{drafted['id']}/versions/1"
    ok(first.change(path, method="DELETE"), 204)
    stranger, other = service.join(), service.join()
    parties = {stranger.organisation: ["provider", "recipient"], other.organisation: ["provider"]}
    document = {**agreement_document(parties), "reference": drafted["reference"]}
    problem(stranger.post("/v1/agreements", {"document": document}), 409, "conflict")


def test_party_cannot_review(signed: Signed) -> None:
    body = {"passed": True, "review_by": "2026-12-01T00:00:00Z", "findings": "Fine."}
    problem(signed.provider.change(f"{signed.path}:review", body), 403, "refused")


def test_change_without_if_match_is_refused(signed: Signed) -> None:
    problem(signed.provider.post(f"{signed.path}:suspend", REASON), 428, "precondition_required")


@pytest.mark.parametrize("tag", ['"0123"', "*"])
def test_change_of_what_was_changed_meanwhile_is_refused(signed: Signed, tag: str) -> None:
    answer = signed.provider.post(f"{signed.path}:suspend", REASON, headers={"If-Match": tag})
    problem(answer, 412, "precondition_failed")
    assert signed.now()["state"] == "active"


def test_etag_of_an_agreement_changes_with_it_and_only_then(signed: Signed) -> None:
    first, again = (signed.provider.get(signed.path).headers["etag"] for _ in range(2))
    ok(signed.amend(title="Open"), 201)
    assert first == again != signed.provider.get(signed.path).headers["etag"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE agreement_version SET document = '{}'",
        "UPDATE agreement_version SET digest = 'ab'",
        "UPDATE agreement_version SET state = 'draft'",
        "DELETE FROM agreement_version",
    ],
)
def test_database_refuses_to_change_a_proposed_version(signed: Signed, statement: str) -> None:
    with (
        pytest.raises(DBAPIError, match="cannot be changed"),
        signed.service.runtime.database.writing() as session,
    ):
        session.connection().exec_driver_sql(statement)


@only_on_sqlite
def test_database_refuses_to_replace_a_proposed_version(signed: Signed) -> None:
    replacing = "INSERT OR REPLACE INTO agreement_version SELECT agreement, version, 'ab', '{}', created_at, 'draft' "
    with (
        pytest.raises(DBAPIError, match="cannot be changed"),
        signed.service.runtime.database.writing() as session,
    ):
        session.connection().exec_driver_sql(f"{replacing} FROM agreement_version")


def test_schema_is_served_to_anybody(service: ServiceApp) -> None:
    answer = service.http.get("/v1/agreement-schema")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.json() == json_schema()
