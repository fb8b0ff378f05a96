"""Runs that fall due while the service's clock is behind its log: put off, and carried out when it has caught up."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from linkage_service import engine
from linkage_service.organisations.tables import Organisation
from linkage_service.runs.results import units_prefix
from linkage_service.worker import Worker
from support.databases import on_each_database
from support.service_app import Json, Linked, ServiceApp, ok
from support.topology import wait_for

REASON = {"reason": "Probing."}


@pytest.fixture
def matched(service: ServiceApp, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """While a run is matched the clock steps back by a day; what was matched."""
    found: list[str] = []
    inner = engine.match

    def match(work: engine.Work, **options: Any) -> engine.Matched:
        done = inner(work, **options)
        found.append("matched")
        service.clock.move(days=-1)
        return done

    monkeypatch.setattr(engine, "match", match)
    return found


class Waits(threading.Event):
    """Asks no worker to stop, and does something each time that a worker waits."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        super().__init__()
        self._steps = list(steps)

    def wait(self, timeout: float | None = None) -> bool:
        """Does the next thing."""
        assert timeout
        self._steps.pop(0)()
        return self.is_set()


def _row(service: ServiceApp, run: str, *columns: str) -> Sequence[Any]:
    query = f"SELECT {', '.join(columns)} FROM run WHERE id = '{run}'"  # noqa: S608 - names and an id of the test
    with service.runtime.database.reading() as session:
        return list(session.connection().exec_driver_sql(query).one())


def _types(service: ServiceApp) -> list[str]:
    return [event["type"] for event in service.events() if event["type"].startswith("run.")]


def _suspend(service: ServiceApp, organisation: str) -> None:
    # Not by a request: that would be refused itself, and the log would go on from the earlier time.
    with service.runtime.database.writing() as session:
        row = session.get(Organisation, organisation)
        assert row is not None
        row.status = "suspended"
        session.add(row)


def _refusal(service: ServiceApp) -> Json:
    found: Json = next(event for event in reversed(service.events()) if event["type"] == "run.refused")["decision"]
    return found


@pytest.mark.usefixtures("linked")
def test_result_due_while_the_clock_is_behind_is_kept_until_it_has_caught_up(
    service: ServiceApp, run: str, matched: list[str]
) -> None:
    before = len(service.events())

    def look() -> None:
        wait_for(lambda: _row(service, run, "phase") == ["clock"], what="the run said why it waits")
        assert _row(service, run, "state", "attempt", "error_code") == ["running", 1, None]
        assert len(service.events()) == before + 1

    assert Worker(service.runtime).run_once(Waits(look, lambda: None, lambda: service.clock.move(days=1)))
    assert _row(service, run, "state", "attempt", "phase") == ["succeeded", 1, "done"]
    assert matched == ["matched"]
    assert _types(service) == ["run.requested", "run.started", "run.succeeded"]
    assert service.verified()


def test_refusal_of_more_than_the_clock_fails_the_run_at_once(
    service: ServiceApp, linked: Linked, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = engine.match

    def match(work: engine.Work, **options: Any) -> engine.Matched:
        done = inner(work, **options)
        ok(service.officer.post(f"/v1/organisations/{linked.providers[0].organisation}:suspend", REASON), 200)
        service.clock.move(days=-1)
        return done

    monkeypatch.setattr(engine, "match", match)
    assert Worker(service.runtime).run_once(Waits())
    assert _row(service, run, "state", "error_code") == ["failed", "refused"]
    assert {"G8-clock", "G9-sanction-run"} <= set(_refusal(service)["policies"])


@pytest.mark.usefixtures("matched")
def test_reason_that_comes_up_while_a_result_waits_fails_the_run_at_once(
    service: ServiceApp, linked: Linked, run: str
) -> None:
    waits = Waits(lambda: _suspend(service, linked.providers[0].organisation))
    assert Worker(service.runtime).run_once(waits)
    assert _row(service, run, "state", "error_code") == ["failed", "refused"]


@pytest.mark.usefixtures("matched", "linked")
def test_agreement_that_ends_before_the_clock_has_caught_up_refuses_the_result_then(
    service: ServiceApp, run: str
) -> None:
    def end() -> None:
        assert _row(service, run, "state") == ["running"]
        service.clock.move(days=366)

    assert Worker(service.runtime).run_once(Waits(end))
    assert _row(service, run, "state", "error_code") == ["failed", "refused"]
    assert "G8-clock" not in _refusal(service)["policies"]


@on_each_database
@pytest.mark.usefixtures("linked")
def test_worker_stopped_while_a_result_waits_leaves_the_run_to_the_next(
    service: ServiceApp, run: str, matched: list[str]
) -> None:
    def stop() -> None:
        waits.set()

    waits = Waits(stop)
    assert Worker(service.runtime).run_once(waits)
    assert service.runtime.metrics.value("linkage_worker_runs_total", outcome="left") == 1
    units = service.runtime.blobs.list(units_prefix(run))
    assert units
    # However often the next one looks, none of it is an attempt.
    next_one = Worker(service.runtime)
    assert [next_one.run_once() for _ in range(6)] == [False] * 6
    assert _row(service, run, "state", "attempt") == ["running", 1]
    assert service.runtime.blobs.list(units_prefix(run)) == units
    service.clock.move(days=1)
    assert next_one.run_once(Waits(lambda: service.clock.move(days=1)))
    assert _row(service, run, "state", "attempt") == ["succeeded", 2]
    assert len(matched) == 2


@on_each_database
@pytest.mark.usefixtures("linked")
def test_queued_run_is_not_begun_before_the_clock_has_caught_up(service: ServiceApp, run: str) -> None:
    service.clock.move(days=-1)
    before = service.events()
    worker = Worker(service.runtime)
    assert [worker.run_once() for _ in range(6)] == [False] * 6
    assert _row(service, run, "state", "attempt", "data_key") == ["queued", 0, None]
    assert service.events() == before
    service.clock.move(days=1)
    assert worker.run_once()
    assert _row(service, run, "state", "attempt") == ["succeeded", 1]


def test_queued_run_refused_for_more_than_the_clock_fails_at_once(
    service: ServiceApp, linked: Linked, run: str
) -> None:
    ok(service.officer.post(f"/v1/organisations/{linked.providers[0].organisation}:suspend", REASON), 200)
    service.clock.move(days=-1)
    assert not Worker(service.runtime).run_once()
    assert _row(service, run, "state", "error_code") == ["failed", "refused"]
