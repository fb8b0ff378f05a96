"""Many writers, threads of several processes, append to one log: its numbers have no gap and its tree is whole."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from linkage_ledger import events
from linkage_service.audit import tables
from linkage_service.audit.log import Entry, Log, entry
from linkage_service.audit.unit import unit_of_work
from linkage_service.audit.verify import verify
from linkage_service.clock import utc_now
from linkage_service.database import Database
from support.databases import on_each_database
from support.ledger_logs import KEY
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


if __name__ == "__main__":
    print(*append_in_threads(*sys.argv[1:]))  # noqa: T201 - read by the test
