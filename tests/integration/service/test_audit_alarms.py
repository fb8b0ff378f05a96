"""Alarms: each raised once for its occasion, with its event, and acknowledged by officers."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session
from structlog.testing import capture_logs

from linkage_service.access.decide import EVALUATION
from linkage_service.audit import watch
from linkage_service.audit.alarm_tables import watched
from linkage_service.audit.alarms import Notice, raise_alarms
from linkage_service.audit.exporting import Wish, write
from linkage_service.audit.search import Filters
from linkage_service.audit.tables import size_of
from linkage_service.audit.watch import SPIKE_LEAST
from linkage_service.database import Database
from linkage_service.settings import hours_of
from linkage_service.worker import watch_of
from support.databases import on_each_database, only_on_sqlite
from support.service_app import START, Json, ServiceApp, data_sets, in_threads, ok, problem, service_app

pytestmark = on_each_database

ALARMS = "/v1/audit/alarms"


def _of(service: ServiceApp, kind: str) -> list[Json]:
    return service.alarms(kind=kind)


def test_first_use_of_a_key_raises_one_alarm_with_its_event(service: ServiceApp) -> None:
    client = service.join()
    assert client.token
    service.alarms()  # the officer's own key, too
    thumbprint = client.key.thumbprint
    found = [alarm for alarm in _of(service, "first_key_use") if alarm["detail"]["key_thumbprint"] == thumbprint]
    assert [(alarm["organisation"], alarm["actor"]) for alarm in found] == [(client.organisation, client.client)]
    event = service.events()[found[0]["seq"]]
    assert (event["type"], event["resource"], event["outcome"]["code"]) == (
        "alarm.raised", {"type": "alarm", "id": found[0]["id"]}, "first_key_use",
    )  # fmt: skip
    client.forget_token()
    assert client.token
    assert service.watch() == 0
    assert service.verified()


def test_spike_of_refusals_is_seen_against_the_own_past(service: ServiceApp) -> None:
    mine, other = service.join(), service.join()

    def refused(whose: Any, times: int) -> None:
        for _ in range(times):
            problem(whose.post("/v1/organisations", {"name": "Another"}), 403)

    # A caller who is refused as often every hour of the day before is no news.
    for _ in range(24):
        refused(other, SPIKE_LEAST)
        service.clock.move(hours=1)
    refused(mine, SPIKE_LEAST - 1)
    service.clock.move(hours=2)
    service.watch()
    before = {alarm["id"] for alarm in _of(service, "denial_spike")}
    refused(mine, SPIKE_LEAST)
    refused(other, SPIKE_LEAST)
    found = [alarm for alarm in _of(service, "denial_spike") if alarm["id"] not in before]
    # Once for the organisation and once for its client.
    assert Counter(alarm["organisation"] for alarm in found) == {mine.organisation: 2}
    assert {alarm["actor"] for alarm in found} == {None, mine.client}
    assert found[0]["detail"]["refusals"] == SPIKE_LEAST
    assert found[0]["detail"]["refusals_of_the_week_before"] == SPIKE_LEAST - 1
    refused(mine, SPIKE_LEAST)
    assert service.watch() == 0


def test_spike_is_noticed_once_a_day_and_nothing_is_looked_for_under_the_writers_lock(
    service: ServiceApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = service.join()
    assert mine.token
    service.watch()
    for _ in range(SPIKE_LEAST + 5):
        problem(mine.post("/v1/organisations", {"name": "Another"}), 403)
    noticed: list[str] = []
    within: list[str] = []
    genuine_writing, genuine_spikes = Database.writing, watch._spikes

    @contextmanager
    def writing(database: Database) -> Iterator[Session]:
        with genuine_writing(database) as session:
            within.append("writing")
            yield session
            within.pop()

    def spikes(*arguments: Any) -> list[Notice]:
        assert not within
        return list(genuine_spikes(*arguments))

    def raising(session: Session, notices: Sequence[Notice], **options: Any) -> Any:
        noticed.extend(notice.occasion for notice in notices if notice.kind == "denial_spike")
        return raise_alarms(session, notices, **options)

    monkeypatch.setattr(Database, "writing", writing)
    monkeypatch.setattr(watch, "_spikes", spikes)
    monkeypatch.setattr(watch, "raise_alarms", raising)
    assert service.watch() == 2
    day = service.clock().date().isoformat()
    assert sorted(noticed) == sorted([f"{mine.organisation}/{day}", f"{mine.client}/{day}"])


def test_second_change_of_an_epoch_by_one_organisation_within_a_day_raises_one_alarm(service: ServiceApp) -> None:
    linked = service.project()
    first, second = linked.providers

    def change(by: Any, expected: int) -> None:
        body = {"reason": "planned", "expected_epoch": expected}
        ok(by.post(f"/v1/projects/{linked.project}/key-epochs", body), 201)

    change(first, 1)
    change(second, 2)
    service.clock.move(hours=25)
    change(first, 3)
    assert _of(service, "repeated_key_epochs") == []
    service.clock.move(hours=1)
    change(first, 4)
    change(first, 5)
    (alarm,) = _of(service, "repeated_key_epochs")
    assert (alarm["organisation"], alarm["project"]) == (first.organisation, linked.project)
    assert alarm["detail"]["epochs_within_a_day"] == 2
    assert service.verified()


def test_export_outside_the_hours_raises_an_alarm(service: ServiceApp) -> None:
    service.clock.now = START + timedelta(days=1)  # a Monday at noon
    ok_within = service.officer.post("/v1/audit/exports", {"format": "csv"})
    assert ok_within.status_code == 200
    assert _of(service, "export_out_of_hours") == []
    service.clock.now = START + timedelta(days=1, hours=10)
    late = service.officer.post("/v1/audit/exports", {"format": "csv"})
    (alarm,) = _of(service, "export_out_of_hours")
    assert alarm["subject"] == late.headers["linkage-event"]
    assert alarm["organisation"] == service.officer.organisation


def test_review_and_retention_that_are_overdue_raise_alarms(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    run = service.run(linked)
    body = {"ground": "legal_claims", "reason": "Case 12."}
    ok(service.officer.post(f"/v1/runs/{run['id']}:restrict", body), 201)
    assert _of(service, "review_overdue") == _of(service, "retention_overdue") == []
    service.clock.move(days=280)
    service.sweep()
    service.clock.move(hours=2)
    reviews, retention = _of(service, "review_overdue"), _of(service, "retention_overdue")
    assert [alarm["agreement"] for alarm in reviews] == [linked.agreement["reference"]]
    assert [(alarm["subject"], alarm["detail"]["held"]) for alarm in retention] == [(run["id"], "legal_claims")]
    assert service.watch() == 0


@only_on_sqlite
def test_odd_row_holds_up_neither_the_log_nor_other_sources(service: ServiceApp) -> None:
    assert service.join().token
    with service.runtime.database.writing() as session:
        session.connection().exec_driver_sql("DROP TRIGGER audit_event_no_update")
        session.connection().exec_driver_sql(
            "UPDATE audit_event SET header = ? WHERE seq = (SELECT size FROM audit_watch)", (b"Jane Doe",)
        )

    def odd(*_: Any) -> list[Notice]:
        raise ValueError("Jane Doe")

    def well(*_: Any) -> list[Notice]:
        return [Notice(kind="cosignature_missing", occasion="1")]

    watching = watch_of(service.runtime)
    watching._further = [odd, well]
    with capture_logs() as logged:
        assert watching.watch() > 1
    failed = [entry["error_type"] for entry in logged if entry["event"] == "watch_failed"]
    assert failed == ["EventError", "ValueError"]
    assert "Jane Doe" not in str(logged)
    assert watching.watch() == 0
    with service.runtime.database.reading() as session:
        kinds = set(session.connection().exec_driver_sql("SELECT kind FROM audit_alarm").scalars())
        assert watched(session) == size_of(session)
    assert {"first_key_use", "cosignature_missing"} <= kinds


def test_watch_ends_where_the_end_of_the_log_is_gone(service: ServiceApp) -> None:
    service.watch()
    with service.runtime.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE audit_head SET size = size + 5")
    with capture_logs() as logged:
        assert service.watch() == 0
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("log_shorter_than_head", "error")]


def test_policy_that_cannot_be_evaluated_raises_an_alarm_in_the_same_transaction(
    service: ServiceApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service.join()
    assert client.token
    monkeypatch.setattr(service.runtime.door.policy._slices, "entities_of", lambda _: None)
    before = service.size()
    for _ in range(2):
        answer = problem(client.get("/v1/organisations"), 403)
        assert [item["policy"] for item in answer["elements"]] == [EVALUATION]
    assert [event["type"] for event in service.events()[before:]] == [
        "service.refused", "alarm.raised", "service.refused",
    ]  # fmt: skip
    monkeypatch.undo()
    (alarm,) = _of(service, "policy_error")
    assert alarm["detail"]["action"] == "browse"
    assert service.verified()


def test_watches_at_the_same_time_raise_each_alarm_once(service: ServiceApp) -> None:
    for _ in range(3):
        assert service.join().token
    raised = sum(in_threads(4, lambda _: service.watch()))
    found = [event for event in service.events() if event["type"] == "alarm.raised"]
    assert raised == len(found) == len(service.alarms())


def test_alarm_is_acknowledged_once_by_an_officer_with_a_reason(service: ServiceApp) -> None:
    member = service.join()
    assert member.token
    alarm = service.alarms()[0]
    path = f"{ALARMS}/{alarm['id']}:acknowledge"
    assert service.alarms(state="acknowledged") == []
    assert problem(service.administrator.post(path, {"reason": "Expected."}), 403)["code"] == "refused"
    problem(service.officer.post(path, {}), 422)
    headers = {"Idempotency-Key": "once"}
    done = ok(service.officer.post(path, {"reason": "Expected."}, headers=headers), 200)
    assert (done["acknowledged_by"], done["id"]) == (service.officer.client, alarm["id"])
    again = service.officer.post(path, {"reason": "Expected."}, headers=headers)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    problem(service.officer.post(path, {"reason": "Again."}), 409, "already_acknowledged")
    event = next(event for event in reversed(service.events()) if event["type"] == "alarm.acknowledged")
    assert event["resource"]["id"] == alarm["id"]
    assert [item["id"] for item in service.alarms(state="acknowledged")] == [alarm["id"]]
    assert alarm["id"] not in {item["id"] for item in service.alarms(state="open")}
    with service.runtime.database.writing() as session, pytest.raises(DatabaseError, match="only be acknowledged"):
        session.connection().exec_driver_sql("UPDATE audit_alarm SET acknowledged_by = NULL")
    with service.runtime.database.writing() as session, pytest.raises(DatabaseError, match="only be acknowledged"):
        session.connection().exec_driver_sql("DELETE FROM audit_alarm")


def test_alarms_are_paged_and_a_partner_sees_its_own(service: ServiceApp) -> None:
    mine, other = service.join(), service.join()
    officer = mine.add_client("officer")
    assert mine.token
    assert other.token
    every = service.alarms()
    pages: list[str] = []
    cursor: Json = {}
    while True:
        page = ok(service.officer.get(ALARMS, params={"limit": 2, **cursor}), 200)
        pages += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert pages == [alarm["id"] for alarm in every]
    seen = ok(officer.get(ALARMS), 200)["items"]
    assert seen
    assert {alarm["organisation"] for alarm in seen} == {mine.organisation}
    problem(mine.get(ALARMS), 403)
    problem(service.officer.get(ALARMS, params={"kind": "Jane Doe"}), 422)


def test_alarms_name_no_words_of_anybody(tmp_path: Path) -> None:
    with service_app(tmp_path, audit_export_hours="mon-mon 00:00-00:01 UTC") as service:
        assert service.join().token
        assert service.officer.post("/v1/audit/exports", {"format": "csv"}).status_code == 200
        kinds = Counter(alarm["kind"] for alarm in service.alarms())
        assert kinds["export_out_of_hours"] == 1
        assert "Council" not in json.dumps(service.alarms())


def test_export_by_the_operator_out_of_hours_is_shown_to_officers_of_the_linkage_unit_only(tmp_path: Path) -> None:
    with service_app(tmp_path / "service", audit_export_hours="mon-mon 00:00-00:01 UTC") as service:
        partner = service.join().add_client("officer")
        runtime = service.runtime
        wish = Wish(format="csv", filters=Filters())
        _, seq = write(runtime.database, runtime.log, wish, tmp_path / "log.csv", now=service.clock())
        (alarm,) = _of(service, "export_out_of_hours")
        assert (alarm["organisation"], alarm["subject"]) == (None, str(seq))
        assert ok(partner.get(ALARMS, params={"kind": "export_out_of_hours"}), 200)["items"] == []


@pytest.mark.parametrize(
    "text", ["", "always", "mon-fri 07:00-19:00 Mars/Base", "fri-mon 07:00-19:00 UTC", "mon 9-8 UTC"]
)
def test_hours_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"hours|first"):
        hours_of(text)


def test_reading_alarms_is_itself_an_event(service: ServiceApp) -> None:
    service.alarms()
    with service.expecting_event("audit.viewed") as found:
        ok(service.officer.get("/v1/audit/alarms"), 200)
    assert found[0]["resource"] == {"type": "alarm"}
