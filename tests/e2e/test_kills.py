"""A service that is killed under load, again and again, has every change with its event and every event's change."""

import os
import random
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from linkage_client.demo import flow
from linkage_client.errors import LinkageClientError
from linkage_client.testing.service import RunningService
from linkage_service.database import Database
from support.databases import Kind, empty_database, on_each_database

# A longer loop is asked for by the environment; the suite has one kill in the middle of things for each database.
KILLS = int(os.environ.get("TEST_KILLS", "2"))
CLIENTS = 3


class Load:
    """Clients that ask for changes until they are stopped, and remember what was answered."""

    def __init__(self, service: RunningService, *, enough: int) -> None:
        self._service = service
        self._enough = enough
        self._done = 0
        self._lock = threading.Lock()
        self.reached, self.stopped = threading.Event(), threading.Event()
        self.acknowledged: set[str] = set()

    def run(self, name: str) -> None:
        number = 0
        while not self.stopped.is_set():
            number += 1
            try:
                made = self._service.unit.administrator.client.organisations.create(name=f"{name} {number}")
            except LinkageClientError:
                # Nobody knows whether this one happened; the ledger and the tables must agree all the same.
                continue
            with self._lock:
                self.acknowledged.add(made.id)
                self._done += 1
                if self._done >= self._enough:
                    self.reached.set()


@on_each_database
def test_service_killed_under_load_has_change_and_event_or_neither(
    request: pytest.FixtureRequest, database_kind: Kind, tmp_path: Path
) -> None:
    moments = random.Random(2026)
    settings: dict[str, str] = {}
    acknowledged: set[str] = set()
    with ExitStack() as stack:
        if database_kind == "postgresql":
            settings["LINKAGE_DATABASE_URL"] = stack.enter_context(
                empty_database(request.getfixturevalue("postgresql"))
            )
        service = stack.enter_context(RunningService(tmp_path, settings=settings))
        _, kept = flow.keep_checkpoint(service.unit, service.unit.officer)
        for kill in range(KILLS):
            load = Load(service, enough=moments.randrange(3, 12))
            threads = [
                threading.Thread(target=load.run, args=(f"Organisation {kill} {number}",)) for number in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            assert load.reached.wait(timeout=60)
            service.kill()
            load.stopped.set()
            # The clients try again meanwhile, with the idempotency key of what was not answered.
            service.restart()
            for thread in threads:
                thread.join(timeout=60)
            acknowledged |= load.acknowledged
        report = service.verify_ledger(against=kept)
        assert report["verified"], report["findings"]
        database = Database(settings.get("LINKAGE_DATABASE_URL") or f"sqlite:///{service.data_dir / 'linkage.db'}")
        stack.callback(database.close)
        with database.reading() as session:
            connection = session.connection()
            rows = connection.execute(text("SELECT id FROM organisation WHERE kind = 'partner'")).scalars().all()
            recorded = connection.execute(
                text("SELECT resource_id FROM audit_event WHERE type = 'organisation.created' AND outcome = 'success'")
            ).scalars().all()  # fmt: skip
    assert sorted(rows) == sorted(recorded)
    # Of what was answered nothing is lost.
    assert acknowledged <= set(rows)
    assert len(acknowledged) >= 3 * KILLS
