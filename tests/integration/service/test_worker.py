"""Workers: a run is carried out once, whoever stops in between."""

import hashlib
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from linkage_matching import MatchingCancelled
from linkage_service import worker as module
from linkage_service.runs import service as runs
from linkage_service.runs import tables
from linkage_service.uploads import tables as uploads
from linkage_service.uploads.service import blob_key, blob_keys
from linkage_service.worker import Worker
from support.service_app import Linked, ServiceApp, data_sets, in_threads, ok


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    return service.uploaded(*data_sets(12, 12, shared=6))


@pytest.fixture
def run(linked: Linked) -> str:
    made: str = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)["id"]
    return made


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
        result = runs.Result(groups=0, patterns={}, seconds=0.0, data_key=b"")
        assert runs.succeeded(session, claim=claim, result=result, now=service.clock()) is None
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
            lease_expires_at=service.clock() + timedelta(seconds=30), progress=("match", 1),
        )  # fmt: skip
    assert not still_ours
    assert _run(service, linked, run)["state"] == "cancelled"
    assert not service.work()


def test_run_that_was_stopped_is_taken_up_again_at_once(
    service: ServiceApp, linked: Linked, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise MatchingCancelled

    monkeypatch.setattr(module, "link", stopped)
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
        query = "SELECT data_key FROM upload WHERE id = ?"
        wrapped = session.connection().exec_driver_sql(query, (upload,)).scalar_one()
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
            lease_expires_at=service.clock() + timedelta(seconds=30), progress=("match", 70),
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
    result = runs.Result(groups=1, patterns={(0, 1): 1}, seconds=0.1, data_key=b"k")
    with service.runtime.database.writing() as session:
        event = runs.succeeded(session, claim=claim, result=result, now=service.clock())
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
