"""Repeated and simultaneous requests: one effect, one event, one unbroken sequence; and nothing half done."""

from typing import Any

import pytest
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.audit import log
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.unit import unit_of_work
from linkage_service.organisations import tables
from support.databases import on_each_database
from support.service_app import ServiceApp, data_sets, in_threads, ok, problem

pytestmark = on_each_database


def _names(service: ServiceApp) -> list[str]:
    return [item["name"] for item in ok(service.officer.get("/v1/organisations"), 200)["items"]]


def test_same_key_and_body_gives_the_same_answer_with_no_second_effect(service: ServiceApp) -> None:
    headers = {"Idempotency-Key": "one"}
    first = service.administrator.post("/v1/organisations", {"name": "Council"}, headers=headers)
    before = service.size()
    again = service.administrator.post("/v1/organisations", {"name": "Council"}, headers=headers)
    assert (again.status_code, again.json()) == (first.status_code, first.json()) == (201, again.json())
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert service.size() == before


def test_same_key_with_another_body_or_address_is_refused(service: ServiceApp) -> None:
    headers = {"Idempotency-Key": "one"}
    linked = service.project()
    provider = linked.providers[0]
    ok(provider.declare(linked.project, data_sets(4, shared=0)[0]), 201)
    ok(service.administrator.post("/v1/organisations", {"name": "Council"}, headers=headers), 201)
    answer = service.administrator.post("/v1/organisations", {"name": "Police"}, headers=headers)
    problem(answer, 422, "idempotency_key_reused")
    assert "Police" not in _names(service)


def test_same_key_of_another_client_is_another_key(service: ServiceApp) -> None:
    linked, other = service.project(), service.project()
    headers = {"Idempotency-Key": "one"}
    for each in (linked, other):
        body = {"name": "second machine", "jwk": service.join().key.jwk, "roles": ["analyst"]}
        owner = each.providers[0]
        problem(owner.post(f"/v1/organisations/{owner.organisation}/clients", body, headers=headers), 409, "conflict")


def test_key_of_a_refused_request_can_be_used_again(service: ServiceApp) -> None:
    headers = {"Idempotency-Key": "one"}
    problem(service.administrator.post("/v1/organisations", {"name": "Linkage Unit"}, headers=headers), 409)
    ok(service.administrator.post("/v1/organisations", {"name": "Council"}, headers=headers), 201)


def test_kept_answer_is_not_given_to_who_may_no_longer_ask(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(4, 4, shared=2))
    provider, path = linked.providers[0], f"/v1/projects/{linked.project}/runs"
    headers = {"Idempotency-Key": "one"}
    ok(provider.post(path, {}, headers=headers), 202)
    service.clock.move(days=366)
    problem(provider.post(path, {}, headers=headers), 403, "refused")


def test_kept_answer_is_forgotten_after_a_day(service: ServiceApp) -> None:
    headers = {"Idempotency-Key": "one"}
    ok(service.administrator.post("/v1/organisations", {"name": "Council"}, headers=headers), 201)
    service.clock.move(days=2)
    ok(service.administrator.post("/v1/organisations", {"name": "Police"}, headers={"Idempotency-Key": "two"}), 201)
    problem(service.administrator.post("/v1/organisations", {"name": "Council"}, headers=headers), 409, "conflict")


def test_simultaneous_duplicates_have_one_effect(service: ServiceApp) -> None:
    assert service.administrator.token
    before = service.size()

    def ask(_: int) -> Any:
        headers = {"Idempotency-Key": "one"}
        return service.administrator.post("/v1/organisations", {"name": "Council"}, headers=headers)

    answers = in_threads(8, ask)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert service.size() == before + 1
    assert _names(service).count("Council") == 1


def test_eight_threads_opening_projects_leave_a_contiguous_log(service: ServiceApp) -> None:
    linked = service.project()
    provider = linked.providers[0]
    assert provider.token
    before = service.size()
    answers = in_threads(8, lambda number: service.open_project(provider, linked.agreement, name=f"round {number}"))
    assert [answer.status_code for answer in answers] == [201] * 8
    sequence = sorted(int(answer.headers["linkage-event"]) for answer in answers)
    assert sequence == list(range(before, before + 8))
    assert service.verified()


def test_simultaneous_retrievals_stay_within_the_limit(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    release = service.release(linked, service.run(linked))
    provider = linked.providers[0]
    assert provider.token
    answers = in_threads(8, lambda _: provider.get(f"/v1/releases/{release['id']}/link-table"))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [403] * 5
    assert service.verified()


def test_unit_of_work_that_fails_leaves_neither_change_nor_event(service: ServiceApp) -> None:
    before = service.size()
    with pytest.raises(ZeroDivisionError):
        _half_do(service)
    assert service.size() == before
    assert "Half done" not in _names(service)


def test_unit_of_work_without_an_event_cannot_commit(service: ServiceApp) -> None:
    with pytest.raises(RuntimeError, match="without a ledger event"), _unit(service) as unit:
        _make(unit.session, service)
    assert "Half done" not in _names(service)


def test_append_that_fails_fails_the_request_and_its_change(
    service: ServiceApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.administrator.token

    def broken(*_: object, **__: object) -> list[int]:
        raise OSError("the log's disk is gone")

    monkeypatch.setattr(log.Log, "append", broken)
    answer = service.administrator.post("/v1/organisations", {"name": "Half done"})
    problem(answer, 500, "internal_error")
    assert "disk" not in answer.text
    monkeypatch.undo()
    assert "Half done" not in _names(service)
    assert service.verified()


def test_append_that_fails_lets_no_link_table_leave(service: ServiceApp, monkeypatch: pytest.MonkeyPatch) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    release = service.release(linked, service.run(linked))
    assert linked.providers[0].token

    def broken(*_: object, **__: object) -> list[int]:
        raise OSError

    monkeypatch.setattr(log.Log, "append", broken)
    answer = linked.providers[0].get(f"/v1/releases/{release['id']}/link-table")
    problem(answer, 500, "internal_error")
    assert "link_id" not in answer.text
    monkeypatch.undo()
    assert ok(linked.providers[0].get(f"/v1/projects/{linked.project}/disclosures"), 200)["items"] == []


def _unit(service: ServiceApp) -> Any:
    return unit_of_work(database=service.runtime.database, log=service.runtime.log, now=service.clock())


def _half_do(service: ServiceApp) -> None:
    with _unit(service) as unit:
        _make(unit.session, service)
        unit.record(_event(service))
        raise ZeroDivisionError


def _make(session: Session, service: ServiceApp) -> None:
    session.add(
        tables.Organisation(
            id="org_" + "1" * 26, name="Half done", kind="partner", status="invited", signing_key=None,
            signing_key_thumbprint=None, created_at=service.clock(),
        )
    )  # fmt: skip
    session.flush()


def _event(service: ServiceApp) -> log.Entry:
    return log.entry(
        now=service.clock(),
        event_type=EventType.ORGANISATION_CREATED,
        actor=events.Actor("system", "test"),
        resource=events.Resource("organisation", "x"),
        action="create",
        outcome=events.Outcome("success", "ok"),
        request_id="test",
        source="test",
    )
