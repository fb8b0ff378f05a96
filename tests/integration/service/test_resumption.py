"""A worker that dies leaves its finished units; the next one does the missing ones, and the result is the same."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from linkage_matching import LocalExecutor
from linkage_matching.datasets import Dataset
from linkage_matching.results import Cancelled, Progress
from linkage_matching.unit_store import UnitStore
from linkage_matching.units import Unit, UnitResult
from linkage_service.runs import tables
from linkage_service.runs.results import read_groups, units_prefix
from linkage_service.worker import Worker
from support.service_app import Json, Linked, ServiceApp, data_sets, ok

UNITS = {"across-0-1", "within-0", "within-1"}


class Killed(BaseException):
    """What kill -9 is to a process: nothing after it is done."""


class Watched:
    """Does units in this process, notes which it really did, and dies after so many."""

    def __init__(self, *, dies_after: int | None = None) -> None:
        self.did: list[str] = []
        self._left = dies_after
        self._inner = LocalExecutor(threads=1)

    def run(
        self,
        units: Sequence[Unit],
        datasets: Sequence[Dataset],
        *,
        store: UnitStore | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Iterator[tuple[Unit, UnitResult]]:
        assert store is not None
        watched = _Noting(store, self.did)
        for found in self._inner.run(units, datasets, store=watched, progress=progress, cancelled=cancelled):
            if self._left is not None:
                if self._left == 0:
                    raise Killed
                self._left -= 1
            yield found


class _Noting:
    def __init__(self, store: UnitStore, did: list[str]) -> None:
        self._store = store
        self._did = did

    def load(self, name: str, *, fingerprint: str) -> UnitResult | None:
        return self._store.load(name, fingerprint=fingerprint)

    def save(self, name: str, result: UnitResult, *, fingerprint: str) -> None:
        self._store.save(name, result, fingerprint=fingerprint)
        self._did.append(name.split("-rows-", maxsplit=1)[0])


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    return service.uploaded(*data_sets(300, 280, shared=150))


def _requested(linked: Linked) -> str:
    made: str = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)["id"]
    return made


def _worker(service: ServiceApp, executor: Watched) -> Worker:
    worker = Worker(service.runtime)
    worker._executor = executor
    return worker


def _result(service: ServiceApp, linked: Linked, run: str) -> tuple[list[list[int]], Json]:
    with service.runtime.database.reading() as session:
        row = tables.run(session, run)
    assert row is not None
    assert row.data_key is not None
    key = service.runtime.blobs.unwrap(row.data_key)
    groups = [
        read_groups(service.runtime.blobs, run_id=run, attempt=row.attempt, position=position, data_key=key).tolist()
        for position in range(len(linked.providers))
    ]
    report: Json = ok(linked.recipients[0].get(f"/v1/runs/{run}/report"), 200)
    return groups, {name: value for name, value in report.items() if name != "run"}


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_run_of_a_killed_worker_goes_on_with_the_missing_units(
    service: ServiceApp, linked: Linked, finished: int
) -> None:
    undisturbed = _requested(linked)
    whole = Watched()
    assert _worker(service, whole).run_once()
    run = _requested(linked)
    with pytest.raises(Killed):
        _worker(service, Watched(dies_after=finished)).run_once()
    stored = {name.rsplit("/", 1)[1] for name in service.runtime.blobs.list(units_prefix(run))}
    service.clock.move(seconds=service.settings.lease_s + 1)
    second = Watched()
    assert _worker(service, second).run_once()

    # The unit in hand when it died had been stored, and was not yet counted.
    assert len(stored) == finished + 1
    assert len(second.did) == len(UNITS) - len(stored)
    assert set(second.did) | {name.split("-rows-")[0] for name in stored} == UNITS == set(whole.did)
    assert _result(service, linked, run) == _result(service, linked, undisturbed)
    assert ok(linked.providers[0].get(f"/v1/runs/{run}"), 200)["attempt"] == 2


def test_units_of_one_run_are_not_taken_for_those_of_another(service: ServiceApp, linked: Linked) -> None:
    _requested(linked)
    with pytest.raises(Killed):
        _worker(service, Watched(dies_after=2)).run_once()
    service.clock.move(seconds=service.settings.lease_s + 1)
    assert service.work()
    _requested(linked)
    fresh = Watched()
    assert _worker(service, fresh).run_once()
    assert set(fresh.did) == UNITS


def test_unit_that_was_damaged_is_done_again(service: ServiceApp, linked: Linked) -> None:
    run = _requested(linked)
    with pytest.raises(Killed):
        _worker(service, Watched(dies_after=1)).run_once()
    stored = service.runtime.blobs.list(units_prefix(run))
    folder = service.settings.data_dir / "blobs"
    content = bytearray((folder / stored[0]).read_bytes())
    content[-1] ^= 1
    (folder / stored[0]).write_bytes(content)
    service.clock.move(seconds=service.settings.lease_s + 1)
    second = Watched()
    assert _worker(service, second).run_once()
    assert len(second.did) == len(UNITS) - len(stored) + 1
    assert ok(linked.providers[0].get(f"/v1/runs/{run}"), 200)["state"] == "succeeded"


def test_stored_unit_cannot_be_read_without_the_runs_key(service: ServiceApp, linked: Linked) -> None:
    run = _requested(linked)
    with pytest.raises(Killed):
        _worker(service, Watched(dies_after=1)).run_once()
    (first, *_) = service.runtime.blobs.list(units_prefix(run))
    raw = (service.settings.data_dir / "blobs" / first).read_bytes()
    assert b"ARROW" not in raw
    assert b"linkage/unit" not in raw


def test_worker_that_starts_removes_units_of_ended_runs_and_keeps_those_of_interrupted_ones(
    service: ServiceApp, linked: Linked
) -> None:
    ended = service.run(linked)["id"]
    interrupted = _requested(linked)
    with pytest.raises(Killed):
        _worker(service, Watched(dies_after=1)).run_once()
    kept = service.runtime.blobs.list(units_prefix(interrupted))
    # as if the worker of the first run had been killed after its result was in, before its units were removed
    service.runtime.blobs.put(f"{units_prefix(ended)}/left", b"unit", data_key=service.runtime.blobs.new_data_key())

    stopped = threading.Event()
    stopped.set()
    Worker(service.runtime).run_until(stopped)

    assert service.runtime.blobs.list(units_prefix(ended)) == []
    assert service.runtime.blobs.list(units_prefix(interrupted)) == kept != []
    assert service.release(linked, {"id": ended})["state"] == "released"
