"""Officers find events by what their headers say, page by page, and see no more than is theirs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DatabaseError

from linkage_ledger.events import deciding_elements, parse
from support.databases import on_each_database
from support.service_app import Json, Linked, ServiceApp, data_sets, ok, problem, service_app

EVENTS = "/v1/audit/events"


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceApp, Linked]]:
    """A finished round, with a refusal of each of several elements."""
    with service_app(tmp_path_factory.mktemp("flow")) as service:
        linked = service.uploaded(*data_sets(12, 12, shared=6))
        release = service.release(linked, service.run(linked))
        assert linked.providers[0].get(f"/v1/releases/{release['id']}/link-table").status_code == 200
        problem(service.open_project(linked.providers[0], linked.agreement, purpose="marketing"), 403)
        problem(linked.providers[0].get(f"/v1/releases/{release['id']}/withdrawals"), 403)
        assert service.verified()
        yield service, linked


def _found(service: ServiceApp, caller: Any = None, **params: Any) -> list[int]:
    page = ok((caller or service.officer).get(EVENTS, params={"limit": 1000, **params}), 200)
    return [item["seq"] for item in page["items"]]


def test_every_filter_finds_exactly_the_events_whose_headers_say_so(flow: tuple[ServiceApp, Linked]) -> None:
    service, linked = flow
    headers = service.events()
    mine, project = linked.providers[0], linked.project
    elements = [deciding_elements(parse(_exact(header)).decision) or "" for header in headers]
    upload = next(header["resource"]["id"] for header in headers if header["type"] == "upload.completed")
    request = headers[-1]["request_id"]
    cases: dict[tuple[str, str], Any] = {
        ("organisation", mine.organisation): lambda h: h["actor"].get("org") == mine.organisation,
        ("actor", mine.client): lambda h: h["actor"].get("id") == mine.client,
        ("actor", "worker"): lambda h: h["actor"].get("id") == "worker",
        ("action", "uploadEncodings"): lambda h: h["action"] == "uploadEncodings",
        ("type", "token.issued"): lambda h: h["type"] == "token.issued",
        ("agreement", linked.agreement["reference"]): lambda h: (
            h.get("agreement", {}).get("ref") == linked.agreement["reference"]
        ),
        ("project", project): lambda h: h.get("project") == project,
        ("resource_type", "upload"): lambda h: h["resource"]["type"] == "upload",
        ("resource", upload): lambda h: h["resource"].get("id") == upload,
        ("purpose", "planning"): lambda h: h.get("purpose") == "planning",
        ("outcome", "refused"): lambda h: h["outcome"]["status"] == "refused",
        ("request", request): lambda h: h["request_id"] == request,
        ("from", headers[9]["time"]): lambda h: h["time"] >= headers[9]["time"],
        ("to", headers[9]["time"]): lambda h: h["time"] < headers[9]["time"],
    }
    for (name, value), fits in cases.items():
        expected = [seq for seq, header in enumerate(headers) if fits(header)]
        assert expected, name
        found = [seq for seq in _found(service, **{name: value}) if seq < len(headers)]
        assert found == expected, name
    for element in "12":
        expected = [seq for seq, digits in enumerate(elements) if element in digits]
        assert expected
        assert _found(service, element=element) == expected
    both = [s for s, h in enumerate(headers) if h["type"] == "upload.completed" and h["actor"]["id"] == mine.client]
    assert _found(service, type="upload.completed", actor=mine.client) == both
    assert _found(service, agreement=linked.agreement["reference"], version=2) == []


def _exact(header: Json) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_pages_in_either_direction_hold_every_event_once_while_the_log_grows(
    flow: tuple[ServiceApp, Linked],
) -> None:
    service, _ = flow
    size = service.size()
    for order, bound, following in (("oldest", "after", "next_after"), ("newest", "before", "next_before")):
        seen: list[int] = []
        params: Json = {"order": order, "limit": 7, "before": size} if order == "newest" else {"limit": 7}
        while True:
            # Each page is itself an event.
            page = ok(service.officer.get(EVENTS, params=params), 200)
            seen += [item["seq"] for item in page["items"]]
            if page[following] is None or page[following] >= size:
                break
            params[bound] = page[following]
        asked = [seq for seq in seen if seq < size]
        assert asked == sorted(range(size), reverse=order == "newest")


@pytest.mark.parametrize(
    "params",
    [
        {"organisation": "Anytown Council"}, {"actor": "Jane Doe"}, {"action": "jane"}, {"type": "upload.lost"},
        {"agreement": "Jane Doe's"}, {"project": "prj_1"}, {"resource": "jane doe"}, {"resource_type": "Jane Doe"},
        {"purpose": "Jane Doe"}, {"outcome": "good"}, {"element": 10}, {"element": 0}, {"request": "jane"},
        {"from": "yesterday"}, {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, {"version": 1},
        {"name": "Jane Doe"}, {"after": -2}, {"order": "random"}, {"limit": 0},
    ],
)  # fmt: skip
def test_filter_that_is_no_id_or_term_is_refused_and_not_echoed(
    flow: tuple[ServiceApp, Linked], params: dict[str, Any]
) -> None:
    service, _ = flow
    assert "ane" not in json.dumps(problem(service.officer.get(EVENTS, params=params), 422))


def test_viewing_records_what_was_looked_for_and_no_word_that_the_log_does_not_know(
    flow: tuple[ServiceApp, Linked],
) -> None:
    service, linked = flow
    assert service.officer.token
    with service.expecting_event("audit.viewed"):
        _found(service, agreement=linked.agreement["reference"], purpose="jane-doe", outcome="refused", element=5)
    detail = ok(service.officer.get(f"{EVENTS}/{service.size() - 1}"), 200)["body"]["detail"]
    assert detail == {
        "filter": {
            "agreement": linked.agreement["reference"], "purpose": "unknown", "outcome": "refused", "element": 5,
        }
    }  # fmt: skip


def test_viewing_tells_nobody_which_words_others_have(flow: tuple[ServiceApp, Linked]) -> None:
    service, linked = flow
    outsider = service.join()
    assert outsider.token
    with service.expecting_event("audit.viewed"):
        assert _found(service, outsider, agreement=linked.agreement["reference"], purpose="planning") == []
    detail = ok(service.officer.get(f"{EVENTS}/{service.size() - 1}"), 200)["body"]["detail"]
    assert detail == {"filter": {"agreement": "unknown", "purpose": "unknown"}}


def test_partner_finds_its_own_and_its_agreements_events_only(flow: tuple[ServiceApp, Linked]) -> None:
    service, linked = flow
    other = service.project()
    mine, reference = linked.providers[0], linked.agreement["reference"]
    headers = service.events()
    expected = [
        seq for seq, header in enumerate(headers)
        if header.get("agreement", {}).get("ref") == reference
        or ("agreement" not in header and header["actor"].get("org") == mine.organisation)
    ]  # fmt: skip
    assert [seq for seq in _found(service, mine) if seq < len(headers)] == expected
    assert _found(service, mine, agreement=other.agreement["reference"]) == []
    assert _found(service, mine, project=other.project) == []
    assert _found(service, mine, order="newest", before=len(headers)) == expected[::-1]


def test_bodies_are_for_officers_of_the_unit_and_of_whoever_acted(flow: tuple[ServiceApp, Linked]) -> None:
    service, linked = flow
    mine, theirs = linked.providers
    officer = mine.add_client("officer")
    headers = service.events()
    own, other = (
        next(
            seq for seq, header in enumerate(headers)
            if header["type"] == "upload.completed" and header["actor"]["org"] == whose.organisation
        )
        for whose in (mine, theirs)
    )  # fmt: skip
    seen = ok(officer.get(f"{EVENTS}/{own}"), 200)
    assert seen["body_state"] == "held"
    assert seen["body"]["decision"]["request"]["principal"]["id"] == mine.client
    for caller, seq, state in (
        (officer, other, "not_shown"),
        (mine, own, "not_shown"),
        (service.officer, other, "held"),
    ):
        answer = ok(caller.get(f"{EVENTS}/{seq}"), 200)
        assert (answer["body_state"], answer["body"] is None) == (state, state != "held")
    bare = next(seq for seq, header in enumerate(headers) if "body_hash" not in header)
    assert ok(service.officer.get(f"{EVENTS}/{bare}"), 200)["body_state"] == "none"


def test_body_that_was_disposed_of_is_said_to_be(tmp_path: Path) -> None:
    with service_app(tmp_path, audit_bodies_days=1) as service:
        service.join()
        service.clock.move(days=2)
        service.sweep()
        seq = next(seq for seq, header in enumerate(service.events()) if "body_hash" in header)
        answer = ok(service.officer.get(f"{EVENTS}/{seq}"), 200)
        assert (answer["body_state"], answer["body"]) == ("disposed", None)


@on_each_database
def test_filters_alarms_and_exports_are_the_same_on_each_database(tmp_path: Path, database_url: str) -> None:
    with service_app(tmp_path, database_url=database_url) as service:
        mine, other = service.join(), service.join()
        officer = mine.add_client("officer")
        for caller in (mine, other):
            problem(caller.post("/v1/organisations", {"name": "Another"}), 403)
        alarms = service.alarms()
        headers = service.events()
        refused = [seq for seq, header in enumerate(headers) if header["outcome"]["status"] == "refused"]
        assert _found(service, outcome="refused", element=2) == refused
        assert _found(service, outcome="refused", order="newest") == refused[::-1]
        assert _found(service, outcome="refused", organisation=mine.organisation) == refused[:1]
        assert _found(service, outcome="refused", to=headers[refused[1]]["time"]) == refused[:1]
        assert _found(service, officer, outcome="refused") == refused[:1]
        exported = service.officer.post("/v1/audit/exports", {"format": "csv", "outcome": "refused"})
        assert exported.text.count("\r\n") == len(refused) + 1
        path = f"/v1/audit/alarms/{alarms[0]['id']}:acknowledge"
        ok(service.officer.post(path, {"reason": "Expected."}), 200)
        for statement in ("UPDATE audit_alarm SET acknowledged_by = NULL", "DELETE FROM audit_alarm"):
            with service.runtime.database.writing() as session, pytest.raises(DatabaseError, match="acknowledged"):
                session.connection().exec_driver_sql(statement)
        assert service.verified()
