"""Workers: a run is carried out once, whoever stops in between."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text

from linkage_matching import MatchingCancelled, MatchingError
from linkage_service import engine, migrate, worker
from linkage_service.runs import service as runs
from linkage_service.runs import tables
from linkage_service.runs.results import units_prefix
from linkage_service.uploads import tables as uploads
from linkage_service.uploads.service import blob_key, blob_keys
from linkage_service.worker import Worker, _Lease
from support.databases import on_each_database
from support.service_app import Linked, ServiceApp, change_manifest, data_sets, in_threads, ok
from support.topology import wait_for


def _run(service: ServiceApp, linked: Linked, run: str) -> dict[str, Any]:
    assert service.app is not None
    found: dict[str, Any] = ok(linked.providers[0].get(f"/v1/runs/{run}"), 200)
    return found


def _claimed(service: ServiceApp) -> runs.Claim:
    """A claim of a worker that then falls silent."""
    claim = Worker(service.runtime)._claim()
    assert claim is not None
    return claim


def test_queued_run_claimed_by_many_workers_is_carried_out_once(service: ServiceApp, linked: Linked, run: str) -> None:
    results = in_threads(4, lambda _: service.work())
    assert sorted(results) == [False, False, False, True]
    assert _run(service, linked, run)["attempt"] == 1
    types = [event["type"] for event in service.events()]
    assert types.count("run.started") == types.count("run.succeeded") == 1
    assert service.verified()


def test_run_of_a_silent_worker_is_left_alone_until_its_lease_ends(
    service: ServiceApp, linked: Linked, run: str
) -> None:
    _claimed(service)
    assert not service.work()
    service.clock.move(seconds=service.settings.lease_s + 1)
    assert service.work()
    done = _run(service, linked, run)
    assert (done["state"], done["attempt"]) == ("succeeded", 2)


def test_result_of_a_worker_that_lost_its_run_does_not_count(service: ServiceApp, linked: Linked, run: str) -> None:
    claim = _claimed(service)
    service.clock.move(seconds=service.settings.lease_s + 1)
    assert service.work()
    before = service.size()
    with service.runtime.database.writing() as session:
        result = runs.Result(patterns={}, seconds=0.0, report={})
        assert (
            runs.succeeded(session, claim=claim, result=result, policy=service.runtime.door.policy, now=service.clock())
            is None
        )
        assert runs.failed(session, claim=claim, code="x", detail="x", now=service.clock()) is None
    assert service.size() == before
    assert _run(service, linked, run)["state"] == "succeeded"


def test_cancelled_run_is_not_finished_by_the_worker_that_holds_it(
    service: ServiceApp, linked: Linked, run: str
) -> None:
    claim = _claimed(service)
    ok(linked.recipients[0].post(f"/v1/runs/{run}:cancel"), 200)
    with service.runtime.database.writing() as session:
        still_ours = tables.renew(
            session, run_id=run, worker=claim.worker, attempt=claim.attempt,
            lease_expires_at=service.clock() + timedelta(seconds=30), progress=tables.Progress("match", 1),
        )  # fmt: skip
    assert not still_ours
    assert _run(service, linked, run)["state"] == "cancelled"
    assert not service.work()


def test_run_that_was_stopped_is_taken_up_again_at_once(
    service: ServiceApp, linked: Linked, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise MatchingCancelled

    monkeypatch.setattr(engine, "match", stopped)
    assert service.work()
    monkeypatch.undo()
    assert service.work()
    assert _run(service, linked, run)["state"] == "succeeded"


def test_run_interrupted_too_often_fails_with_a_problem(service: ServiceApp, linked: Linked, run: str) -> None:
    for _ in range(5):
        _claimed(service)
        service.clock.move(seconds=service.settings.lease_s + 1)
    service.work()
    failed = _run(service, linked, run)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "interrupted")
    assert service.events()[-1]["type"] != "run.succeeded"
    assert "run.failed" in [event["type"] for event in service.events()]
    assert not service.work()


def test_run_whose_upload_was_deleted_fails_with_a_problem(service: ServiceApp, linked: Linked, run: str) -> None:
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    assert service.work()
    failed = _run(service, linked, run)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "upload_gone")


def test_run_whose_upload_is_not_what_its_manifest_says_fails(service: ServiceApp, linked: Linked, run: str) -> None:
    upload = linked.uploads[0]
    with service.runtime.database.reading() as session:
        query = text("SELECT data_key FROM upload WHERE id = :id")
        wrapped = session.connection().execute(query, {"id": upload}).scalar_one()
    blobs = service.runtime.blobs
    with service.runtime.database.reading() as session:
        (key,) = blob_keys(session, upload)
    blobs.put(key, bytes(12 * 32), data_key=blobs.unwrap(wrapped))
    assert service.work()
    assert _run(service, linked, run)["error"]["code"] == "upload_changed"


def test_run_whose_blob_is_missing_fails_with_a_problem(service: ServiceApp, linked: Linked, run: str) -> None:
    service.runtime.blobs.delete_prefix(f"uploads/{linked.uploads[0]}")
    assert service.work()
    failed = _run(service, linked, run)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "blob_missing")
    assert service.verified()


def test_progress_of_a_run_is_seen_by_its_parties(service: ServiceApp, linked: Linked, run: str) -> None:
    claim = _claimed(service)
    with service.runtime.database.writing() as session:
        assert tables.renew(
            session, run_id=run, worker=claim.worker, attempt=claim.attempt,
            lease_expires_at=service.clock() + timedelta(seconds=30), progress=tables.Progress("match", 70, 144),
        )  # fmt: skip
    assert _run(service, linked, run)["progress"] == {"phase": "match", "done": 70, "total": 144}


def test_overlap_counts_each_combination_of_uploads() -> None:
    membership = [np.array([0, 1, -1]), np.array([0, -1]), np.array([1, 0, -1, -1])]
    assert runs.overlap(membership, groups=2) == {(0, 1, 2): 1, (0, 2): 1, (0,): 1, (1,): 1, (2,): 2}


def test_run_whose_upload_is_deleted_while_it_is_matched_gives_no_result(
    service: ServiceApp, linked: Linked, run: str
) -> None:
    claim = _claimed(service)
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    result = runs.Result(patterns={(0, 1): 1}, seconds=0.1, report={})
    with service.runtime.database.writing() as session:
        event = runs.succeeded(
            session, claim=claim, result=result, policy=service.runtime.door.policy, now=service.clock()
        )
        assert event is not None
        service.runtime.log.append(session, [event])
    failed = _run(service, linked, run)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "upload_gone")


def test_part_that_comes_after_completion_does_not_touch_what_was_checked(
    service: ServiceApp, linked: Linked, run: str
) -> None:
    """The bytes of a late part are stored before its refusal, under a name of their own."""
    upload = linked.uploads[0]
    with service.runtime.database.reading() as session:
        wrapped = uploads.upload(session, upload)
        assert wrapped is not None
        assert wrapped.data_key is not None
        blobs = service.runtime.blobs
        late = bytes(wrapped.size_bytes)
        key = blob_key(upload, 1, hashlib.sha256(late).hexdigest())
        blobs.put(key, late, data_key=blobs.unwrap(wrapped.data_key))
    assert service.work()
    assert _run(service, linked, run)["state"] == "succeeded"


def test_overlap_counts_a_person_with_several_rows_once() -> None:
    membership = [np.array([0, 0, 1, 1, -1]), np.array([0, -1])]
    assert runs.overlap(membership, groups=2) == {(0, 1): 1, (0,): 2, (1,): 1}


def _stored(service: ServiceApp, run: str) -> list[str]:
    return service.runtime.blobs.list(f"runs/{run}")


def _data_key(service: ServiceApp, run: str) -> bytes | None:
    with service.runtime.database.reading() as session:
        row = tables.run(session, run)
        assert row is not None
        return row.data_key


def _leave_unit(service: ServiceApp, run: str) -> None:
    """What a worker that fell silent left of its comparison."""
    blobs = service.runtime.blobs
    blobs.put(f"{units_prefix(run)}/across-0-1", b"unit", data_key=blobs.unwrap(_data_key(service, run) or b""))


def test_data_key_of_the_first_attempt_is_kept_for_the_next(service: ServiceApp, linked: Linked, run: str) -> None:
    assert linked.project
    _claimed(service)
    first = _data_key(service, run)
    assert first is not None
    service.clock.move(seconds=service.settings.lease_s + 1)
    _claimed(service)
    assert _data_key(service, run) == first


def test_units_are_removed_when_the_run_has_succeeded(service: ServiceApp, linked: Linked, run: str) -> None:
    _claimed(service)
    _leave_unit(service, run)
    service.clock.move(seconds=service.settings.lease_s + 1)
    assert service.work()
    assert _run(service, linked, run)["state"] == "succeeded"
    assert _stored(service, run) == [f"runs/{run}/attempt-2/groups-0", f"runs/{run}/attempt-2/groups-1"]
    assert _data_key(service, run) is not None


def test_cancelled_run_loses_its_units_and_their_key(service: ServiceApp, linked: Linked, run: str) -> None:
    _claimed(service)
    _leave_unit(service, run)
    ok(linked.recipients[0].post(f"/v1/runs/{run}:cancel"), 200)
    assert (_stored(service, run), _data_key(service, run)) == ([], None)


def test_unit_stored_after_the_run_was_cancelled_is_removed_by_its_worker(
    service: ServiceApp, linked: Linked, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled_meanwhile(*_: object, **__: object) -> None:
        key = _data_key(service, run)
        ok(linked.recipients[0].post(f"/v1/runs/{run}:cancel"), 200)
        blobs = service.runtime.blobs
        blobs.put(f"{units_prefix(run)}/across-0-1", b"late", data_key=blobs.unwrap(key or b""))
        raise MatchingCancelled

    monkeypatch.setattr(engine, "match", cancelled_meanwhile)
    assert service.work()
    assert (_run(service, linked, run)["state"], _stored(service, run)) == ("cancelled", [])


def test_failed_run_loses_its_units_and_their_key(
    service: ServiceApp, linked: Linked, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise MatchingError("The engine will not.")

    _claimed(service)
    _leave_unit(service, run)
    service.clock.move(seconds=service.settings.lease_s + 1)
    monkeypatch.setattr(engine, "match", refused)
    assert service.work()
    assert _run(service, linked, run)["error"]["code"] == "matching_failed"
    assert (_stored(service, run), _data_key(service, run)) == ([], None)


def test_stopped_run_keeps_its_units_and_their_key(
    service: ServiceApp, linked: Linked, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        _leave_unit(service, run)
        raise MatchingCancelled

    assert linked.project
    monkeypatch.setattr(engine, "match", stopped)
    assert service.work()
    assert (len(_stored(service, run)), _data_key(service, run) is None) == (1, False)


def test_upload_deleted_takes_the_units_of_unfinished_runs_along(service: ServiceApp, linked: Linked, run: str) -> None:
    _claimed(service)
    _leave_unit(service, run)
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    assert (_stored(service, run), _data_key(service, run)) == ([], None)


def test_upload_replaced_takes_the_units_of_unfinished_runs_along(
    service: ServiceApp, linked: Linked, run: str
) -> None:
    _claimed(service)
    _leave_unit(service, run)
    linked.providers[0].upload(linked.project, data_sets(12, shared=0, seed=9)[0])
    assert (_stored(service, run), _data_key(service, run)) == ([], None)


def test_upload_deleted_leaves_the_result_of_a_finished_run(service: ServiceApp, linked: Linked, run: str) -> None:
    assert service.work()
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    assert (len(_stored(service, run)), _data_key(service, run) is None) == (2, False)


def _work_given(service: ServiceApp, monkeypatch: pytest.MonkeyPatch) -> engine.Work:
    """What the worker asks of the engine."""
    asked: list[engine.Work] = []

    def noted(work: engine.Work, **_: object) -> None:
        asked.append(work)
        raise MatchingCancelled

    monkeypatch.setattr(engine, "match", noted)
    assert service.work()
    return asked[0]


def test_worker_asks_for_what_run_and_settings_say(
    service: ServiceApp, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {"threshold": 0.8, "blocking": True}), 202)
    work = _work_given(service, monkeypatch)
    assert (work.aim.kind, work.aim.value, work.blocking) == ("threshold", 0.8, True)
    assert (work.similarity, work.fallback_threshold) == ("dice", service.settings.fallback_threshold)
    assert list(work.may_hold_duplicates) == [False, False]


def test_worker_tells_the_engine_whose_uploads_may_hold_duplicates(
    service: ServiceApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = service.project(may_hold_duplicates=True, data={"outputs": ["link_table_matched"]})
    for provider, rows in zip(linked.providers, data_sets(12, 12, shared=6), strict=True):
        provider.upload(linked.project, rows)
    ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)
    assert list(_work_given(service, monkeypatch).may_hold_duplicates) == [True, True]


@pytest.mark.parametrize(
    ("profile", "similarity"), [("saul-1024-v1", "simple_matching"), ("clk-1024-v1", "dice"), (None, "dice")]
)
def test_worker_compares_as_the_encoding_profile_asks(
    service: ServiceApp, monkeypatch: pytest.MonkeyPatch, profile: str | None, similarity: str
) -> None:
    linked = service.project()
    for provider, rows in zip(linked.providers, data_sets(12, 12, shared=6), strict=True):
        provider.upload(linked.project, rows, encoding_profile=profile)
    ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)
    assert _work_given(service, monkeypatch).similarity == similarity


def test_run_of_uploads_with_profiles_that_cannot_be_compared_fails(service: ServiceApp) -> None:
    linked = service.project()
    for provider, rows in zip(linked.providers, data_sets(12, 12, shared=6), strict=True):
        upload = provider.upload(linked.project, rows, encoding_profile="clk-1024-v1")
    # As an older version took it.
    change_manifest(service, upload, lambda manifest: manifest.update(encoding_profile="saul-1024-v1"))
    assert service.run(linked)["error"]["code"] == "profiles_differ"


def test_result_key_is_made_for_each_run(service: ServiceApp, linked: Linked, run: str) -> None:
    assert service.work()
    other = service.run(linked)["id"]
    assert _data_key(service, run) != _data_key(service, other)


@pytest.mark.parametrize(("blocking", "told"), [(False, (123_456, 234_567)), (True, (130_000, 240_000))])
def test_progress_of_a_run_with_blocking_is_told_roughly(
    service: ServiceApp, linked: Linked, monkeypatch: pytest.MonkeyPatch, *, blocking: bool, told: tuple[int, int]
) -> None:
    """How many pairs are compared then depends on how many match."""
    reported: list[tuple[str, int, int | None]] = []

    def one_look(_work: engine.Work, *, progress: Any, **_: object) -> None:
        progress(123_456, 234_567)
        raise MatchingCancelled

    monkeypatch.setattr(engine, "match", one_look)
    monkeypatch.setattr(_Lease, "report", lambda _, phase, done=0, total=None: reported.append((phase, done, total)))
    ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {"blocking": blocking}), 202)
    assert service.work()
    # Whichever test comes first in a process waits for the engine to be compiled, and is told so.
    assert [(done, total) for phase, done, total in reported if phase == "match"] == [told]


def _let_serve(service: ServiceApp, revision: str) -> None:
    """As a migration does that leaves room for the releases from a revision on alone."""
    with service.runtime.database.writing() as session:
        session.connection().exec_driver_sql("DELETE FROM serving_revision")
        session.connection().exec_driver_sql(f"INSERT INTO serving_revision VALUES ('{revision}')")  # noqa: S608


@contextmanager
def _working(service: ServiceApp) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=Worker(service.runtime).run_until, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@on_each_database
def test_worker_takes_no_run_while_the_schema_is_not_for_its_release(
    service: ServiceApp, linked: Linked, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_SCHEMA_ASKED_EVERY_S", 0.0)
    _let_serve(service, "9999")
    before = service.size()
    asked: list[bool] = []
    may = migrate.can_serve

    def watched(engine: Engine) -> bool:
        asked.append(may(engine))
        return asked[-1]

    monkeypatch.setattr(worker, "can_serve", watched)
    with _working(service):
        wait_for(lambda: len(asked) > 4, what="the worker has looked for a run again")
        assert not any(asked)
        assert _run(service, linked, run)["state"] == "queued"
        assert service.size() == before
        _let_serve(service, migrate.newest_revision())
        wait_for(lambda: _run(service, linked, run)["state"] == "succeeded", what="the run is carried out")


def test_run_in_hand_when_the_schema_changes_is_left_to_a_worker_of_the_new_release(
    service: ServiceApp, linked: Linked, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = engine.match

    def match(work: engine.Work, **options: Any) -> engine.Matched:
        done = inner(work, **options)
        _let_serve(service, "9999")
        return done

    monkeypatch.setattr(engine, "match", match)
    assert service.work()
    types = [event["type"] for event in service.events()]
    assert (types.count("run.started"), types.count("run.succeeded")) == (1, 0)
    monkeypatch.undo()
    _let_serve(service, migrate.newest_revision())
    service.clock.move(seconds=service.settings.lease_s + 1)
    assert service.work()
    done = _run(service, linked, run)
    assert (done["state"], done["attempt"]) == ("succeeded", 2)
