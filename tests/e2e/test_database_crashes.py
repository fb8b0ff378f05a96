"""PostgreSQL that crashes under a whole round, again and again: nothing is lost, nothing is done twice."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from linkage_client.demo import flow
from linkage_client.testing import Round, RunningService, open_round
from support.postgresql import QUICK, NoPostgresql, Server, answers, own_server

ROWS, _RECOVERS_IN_S = 400, 60
# What happens once in a round, however often a request for it is sent.
ONCE = ("run.requested", "run.succeeded", "release.granted")


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of this test's own: its crash would be one for every other test."""
    try:
        with own_server(QUICK) as own:  # a process that dies takes nothing from the kernel
            yield own
    except NoPostgresql as reason:
        pytest.fail(str(reason))


def crash(server: Server) -> None:
    """Kills a backend as the kernel would. The server ends every connection, recovers from its log, and is back."""
    with suppress(psycopg.OperationalError), server.connect() as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        os.kill(int(str(row[0])), signal.SIGKILL)
        connection.execute("SELECT 1")
    deadline = time.monotonic() + _RECOVERS_IN_S
    while not answers(server.folder):
        assert time.monotonic() < deadline, "the server did not recover"


@contextmanager
def crashing(server: Server, *, peace_s: float) -> Iterator[Counter[str]]:
    """Crashes the server, lets it serve for a while, and crashes it again; gives how often it did."""
    ended, crashes = threading.Event(), Counter[str]()

    def act() -> None:
        while True:
            crash(server)
            crashes["crashes"] += 1
            if ended.wait(peace_s):
                return

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield crashes
    finally:
        ended.set()
        thread.join()


def events_of(round_: Round) -> Counter[str]:
    officer = round_.service.unit.officer.client
    return Counter(event.header["type"] for event in officer.audit.events(project_id=round_.project.id))


def test_round_on_a_database_that_crashes_ends_as_any_other(tmp_path: Path, server: Server) -> None:
    with server.connect() as connection:
        connection.execute("CREATE DATABASE linkage")
    settings = {"LINKAGE_DATABASE_URL": server.url("linkage"), "LINKAGE_LEASE_S": "3"}
    with RunningService(tmp_path, settings=settings) as service, open_round(service, rows=ROWS) as round_:
        with crashing(server, peace_s=3) as crashes:
            round_.upload_all()
            run = round_.match()
            released = round_.release(run)
            rows = [flow.retrieve(provider, release_id=released.id) for provider in round_.providers]
        assert crashes["crashes"] >= 1
        assert rows == [ROWS, ROWS]
        happened = events_of(round_)
        assert {name: happened[name] for name in ONCE} == dict.fromkeys(ONCE, 1)
        assert happened["upload.completed"] == len(round_.providers)
        _, kept = flow.keep_checkpoint(service.unit, round_.recipient)
        report = service.verify_ledger(against=kept)
        assert report["verified"], report["findings"]
