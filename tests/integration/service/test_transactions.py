"""What every transaction begins with, and who waits for whom."""

import threading
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from linkage_service.audit.tables import newest_time
from linkage_service.database import Database
from linkage_service.places import AT_A_TIME
from linkage_service.uploads import service as uploads
from support.databases import on_each_database
from support.service_app import ServiceApp, data_sets, in_threads, ok


@on_each_database
def test_transaction_sees_the_newest_event_of_its_beginning(service: ServiceApp) -> None:
    database = service.runtime.database
    service.join()
    with database.reading() as session:
        first = newest_time(session)
        service.clock.move(seconds=5)
        service.join()
        assert newest_time(session) == first
    with database.reading() as session:
        second = newest_time(session)
    with database.writing() as session:
        assert newest_time(session) == second
    assert first is not None
    assert second is not None
    assert second > first


@on_each_database
def test_transaction_on_a_database_that_reads_nothing_first_asks(database_url: str) -> None:
    database = Database(database_url)
    with database.reading() as session:
        assert newest_time(session) is None
    database.close()


# SQLite has one writer at a time, and the note of a proof is written too.
@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_requests_that_read_go_on_while_others_wait_for_their_turn_to_write(
    service: ServiceApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked, database = service.project(), service.runtime.database
    by, before = linked.recipients[0], service.size()
    leave, waiting = database._before_turn, threading.Semaphore(0)

    def leaves() -> None:
        leave()
        waiting.release()

    def ask(number: int) -> None:
        if number < AT_A_TIME:
            ok(service.open_project(by, linked.agreement), 201)
            return
        assert all(waiting.acquire(timeout=20) for _ in range(AT_A_TIME))
        ok(by.get(f"/v1/projects/{linked.project}"), 200)
        turn.__exit__(None, None, None)

    turn = database.writing()
    turn.__enter__().connection()
    monkeypatch.setattr(database, "_before_turn", leaves)
    assert in_threads(AT_A_TIME + 1, ask) == [None] * (AT_A_TIME + 1)
    assert service.size() == before + AT_A_TIME


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_requests_go_on_while_an_upload_is_inspected(service: ServiceApp, monkeypatch: pytest.MonkeyPatch) -> None:
    linked, places, inspect = service.project(), service.runtime.door.places, uploads.inspect
    (rows,), answers = data_sets(12, shared=0), list[str]()

    def inspect_while_another_asks(*given: Any) -> Any:
        answers.extend(
            in_threads(1, lambda _: ok(linked.recipients[0].get(f"/v1/projects/{linked.project}"), 200)["id"])
        )
        return inspect(*given)

    monkeypatch.setattr(uploads, "inspect", inspect_while_another_asks)
    with ExitStack() as others:
        # As of as many requests as leave one place.
        for _ in range(AT_A_TIME - 1):
            places._free.acquire()
            others.callback(places._free.release)
        linked.providers[0].upload(linked.project, rows)
    assert answers == [linked.project]


def test_server_that_cannot_be_reached_is_an_error_of_the_database() -> None:
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(OperationalError):
        database.look_straight("SELECT 1", {})
