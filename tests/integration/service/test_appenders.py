"""Many writers, threads of several processes, append to one log: its numbers have no gap and its tree is whole."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytest
from sqlalchemy.exc import DBAPIError

from linkage_ledger import events
from linkage_service.audit import appending, tables
from linkage_service.audit.log import Entry, Log, entry
from linkage_service.audit.unit import unit_of_work
from linkage_service.audit.verify import verify
from linkage_service.clock import utc_now
from linkage_service.database import Database, straight_to_driver
from support.databases import migrated_database, on_each_database
from support.ledger_logs import KEY
from support.postgresql import Server
from support.service_app import in_threads

PROCESSES, THREADS, EACH = 2, 3, 8


def _entry(writer: str, number: int) -> Entry:
    return entry(
        now=utc_now(), event_type="audit.viewed", actor=events.Actor("system", writer), action="view",
        resource=events.Resource("audit"), outcome=events.Outcome("success", "ok"), request_id=f"{writer}-{number}",
        source="test", body=b'{"detail":1}' if number % 3 == 0 else None,
    )  # fmt: skip


def _append(database: Database, writer: str) -> list[int]:
    numbers = []
    for number in range(EACH):
        with unit_of_work(database=database, log=Log(key=KEY), now=utc_now()) as unit:
            unit.record(_entry(writer, number))
            if number % 2:
                unit.record(_entry(writer, number + EACH))
        numbers += unit.sequence
    return numbers


def append_in_threads(url: str, process: str) -> list[int]:
    """What a process of its own does."""
    database = Database(url)
    try:
        found = in_threads(THREADS, lambda thread: _append(database, f"{process}-{thread}"))
    finally:
        database.close()
    return [number for numbers in found for number in numbers]


@on_each_database
def test_threads_of_several_processes_leave_one_contiguous_log(database_url: str) -> None:
    command = [sys.executable, __file__, database_url]
    writers = [
        subprocess.Popen([*command, f"process-{number}"], stdout=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    said = [writer.communicate(timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES
    numbers = sorted(int(number) for text in said for number in text.split())
    assert numbers == list(range(PROCESSES * THREADS * (EACH + EACH // 2)))
    database, log = Database(database_url), Log(key=KEY)
    try:
        log.checkpoint(database)
        report = verify(database, [log.verifier])
        with database.reading() as session:
            assert tables.size_of(session) == len(numbers)
    finally:
        database.close()
    assert (report.findings, report.signed_size) == ((), len(numbers))


@on_each_database
def test_check_of_a_log_that_grows_meanwhile_has_no_finding(database_url: str) -> None:
    database, log = Database(database_url), Log(key=KEY)
    try:
        _append(database, "before")
        log.checkpoint(database)
        reached: list[int] = []

        def grow(_: int, expected: int) -> None:
            if not reached:
                reached.append(expected)
                _append(database, "meanwhile")

        report = verify(database, [log.verifier], progress=grow)
        with database.reading() as session:
            assert tables.size_of(session) == 2 * report.size
    finally:
        database.close()
    assert report.findings == ()
    assert reached == [report.size]


@on_each_database
@pytest.mark.parametrize("count", [1, 2, 16, 17, 200])
def test_append_of_many_events_at_once_leaves_a_whole_log(database_url: str, count: int) -> None:
    database, log = Database(database_url), Log(key=KEY)
    try:
        for _ in range(2):
            with database.writing() as session:
                log.append(session, [_entry("many", number) for number in range(count)])
        log.checkpoint(database)
        report = verify(database, [log.verifier])
    finally:
        database.close()
    assert (report.findings, report.signed_size) == ((), 2 * count)


def test_head_of_the_log_is_read_without_a_walk_through_its_tree(postgresql: Server) -> None:
    # A table of which the server has no statistics, as on the first day.
    with migrated_database(postgresql) as url:
        database = Database(url)
        try:
            with database.reading() as session:
                plan = session.connection().exec_driver_sql(f"EXPLAIN {appending.HEAD}").scalars().all()
        finally:
            database.close()
    (looked_up,) = (line for line in plan if "Index Cond" in line and "level" in line)
    assert "(index = " in looked_up


def test_statement_that_was_prepared_outlives_the_reading_transaction(postgresql: Server) -> None:
    kept = "SELECT count(*) FROM pg_prepared_statements WHERE position('FROM audit_head' IN statement) > 0"
    with migrated_database(postgresql) as url:
        database = Database(url)
        try:
            for _ in range(8):
                with database.reading() as session:
                    tables.size_of(session)
            with database.reading() as session:
                assert session.connection().exec_driver_sql(kept).scalar_one() == 1
        finally:
            database.close()


def test_connections_that_the_server_ended_while_idle_are_made_anew_unseen(postgresql: Server) -> None:
    with migrated_database(postgresql) as url:
        database = Database(url)
        with database.reading() as first, database.reading() as second:
            assert tables.size_of(first) == tables.size_of(second)
        with postgresql.connect() as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
                (database.engine.url.database,),
            ).fetchall()
        assert ended == [(True,), (True,)]
        log = Log(key=KEY)
        with database.writing() as session:
            log.append(session, [_entry("after", 0)])
        with database.reading() as session:
            assert tables.size_of(session) == 1
        database.close()


@on_each_database
def test_statement_that_fails_straight_in_the_driver_fails_as_others_do(database_url: str) -> None:
    database = Database(database_url)
    try:
        with (
            pytest.raises(DBAPIError),
            database.writing() as session,
            straight_to_driver(session.connection()) as driver,
        ):
            driver.execute("SELECT nothing FROM nowhere")
        with database.reading() as session:
            assert tables.size_of(session) == 0
    finally:
        database.close()


if __name__ == "__main__":
    print(*append_in_threads(*sys.argv[1:]))  # noqa: T201 - read by the test
