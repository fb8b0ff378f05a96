"""Blobs in an S3 bucket, over HTTP: a whole linkage, its deletion, a backup; and a store that fails loses nothing."""

import secrets
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from linkage_matching import blobs as engine_blobs
from linkage_service.backup.archive import create, listed_blobs, verify
from linkage_service.backup.restoring import restore
from linkage_service.settings import Settings
from support.s3_server import S3Server, s3_server
from support.service_app import PART_BYTES, ServiceApp, data_sets, ok, problem, service_app


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(engine_blobs, "_RETRIES", {"max_retries": 1, "retry_timeout": timedelta(seconds=30)})
    server.requests.clear()
    yield server.make_bucket(f"linkage-{secrets.token_hex(6)}")
    server.fault = None


@pytest.fixture
def service(tmp_path: Path, bucket: str) -> Iterator[ServiceApp]:
    with service_app(tmp_path, blob_url=bucket) as made:
        yield made


def test_linkage_with_a_bucket_goes_from_upload_to_link_table_and_is_deleted(
    service: ServiceApp, server: S3Server
) -> None:
    rows, more = data_sets(80, 80, shared=12)
    linked = service.uploaded(rows, more)
    run = service.run(linked)
    release = service.release(linked, run)
    assert linked.providers[0].get(f"/v1/releases/{release['id']}/link-table").status_code == 200
    assert len(service.runtime.blobs.list("uploads")) == 2 * -(-len(rows) // PART_BYTES)
    assert service.runtime.blobs.list(f"runs/{run['id']}")
    assert not (service.settings.data_dir / "blobs").exists()
    assert any(method == "PUT" for method, _ in server.requests)
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    assert service.runtime.blobs.list(f"uploads/{linked.uploads[0]}") == []
    service.clock.move(days=91)
    service.sweep()
    assert [*service.runtime.blobs.list("uploads"), *service.runtime.blobs.list("runs")] == []
    assert service.verified()


def test_part_that_the_store_does_not_take_is_a_503_and_can_be_sent_again(
    service: ServiceApp, server: S3Server
) -> None:
    linked = service.project()
    provider = linked.providers[0]
    (rows,) = data_sets(12, shared=0)
    upload = ok(provider.declare(linked.project, rows), 201)["id"]
    server.fault = lambda method, _: 500 if method == "PUT" else None
    answer = provider.put_part(upload, 1, rows)
    problem(answer, 503, "storage_unavailable")
    assert answer.headers["retry-after"]
    assert ok(provider.get(f"/v1/uploads/{upload}"), 200)["parts_received"] == []
    assert service.runtime.metrics.value("linkage_blob_store_errors_total", kind="unavailable") == 1
    server.fault = None
    ok(provider.put_part(upload, 1, rows), 204)
    ok(provider.post(f"/v1/uploads/{upload}:complete"), 200)


def test_store_that_refuses_the_credentials_is_unwell_and_loses_nothing(service: ServiceApp, server: S3Server) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    run = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)["id"]
    server.fault = lambda *_: 403
    assert service.http.get("/readyz").json()["parts"]["blobs"] == "unwell"
    assert service.work()
    assert ok(linked.providers[0].get(f"/v1/runs/{run}"), 200)["state"] == "running"
    assert service.runtime.metrics.value("linkage_worker_runs_total", outcome="postponed") == 1
    server.fault = None
    service.clock.move(seconds=service.settings.lease_s + 1)
    assert service.work()
    assert ok(linked.providers[0].get(f"/v1/runs/{run}"), 200)["state"] == "succeeded"
    assert service.verified()


def test_store_that_fails_once_is_asked_again(service: ServiceApp, server: S3Server) -> None:
    failures = iter([503])
    server.fault = lambda method, _: next(failures, None) if method == "PUT" else None
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    server.fault = None
    assert service.run(linked)["state"] == "succeeded"


def test_store_that_does_not_answer_is_a_503_in_time(
    bucket: str, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_TIMEOUT", "1 second")
    monkeypatch.setattr(engine_blobs, "_RETRIES", {"max_retries": 0, "retry_timeout": timedelta(seconds=30)})
    let_go = threading.Event()

    def stalled(method: str, _: str) -> None:
        if method == "PUT":
            let_go.wait(60)

    with service_app(tmp_path, blob_url=bucket) as service:
        linked = service.project()
        provider = linked.providers[0]
        (rows,) = data_sets(12, shared=0)
        upload = ok(provider.declare(linked.project, rows), 201)["id"]
        server.fault = stalled
        try:
            problem(provider.put_part(upload, 1, rows), 503, "storage_unavailable")
        finally:
            let_go.set()
            server.fault = None
        assert ok(provider.get(f"/v1/uploads/{upload}"), 200)["parts_received"] == []


def test_deletion_while_the_store_is_away_destroys_the_key_and_the_blobs_later(
    service: ServiceApp, server: S3Server
) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    server.fault = lambda *_: 403
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    server.fault = None
    assert service.runtime.blobs.list(f"uploads/{linked.uploads[0]}")
    with service.runtime.database.reading() as session:
        query = "SELECT data_key FROM upload WHERE state = 'deleted'"
        assert session.connection().exec_driver_sql(query).scalars().all() == [None]
    service.sweep()
    assert service.runtime.blobs.list(f"uploads/{linked.uploads[0]}") == []


def test_backup_of_a_bucket_is_restored_into_another(service: ServiceApp, server: S3Server, tmp_path: Path) -> None:
    service.uploaded(*data_sets(12, 12, shared=6))
    create(service.runtime, tmp_path / "backup", passphrase=None)
    verify(tmp_path / "backup")
    given = service.settings.model_dump() | {
        "data_dir": tmp_path / "new",
        "keys_dir": service.settings.resolved_keys_dir,
        "blob_url": server.make_bucket(f"linkage-{secrets.token_hex(6)}"),
    }
    (tmp_path / "new").mkdir()
    restore(Settings(**given), tmp_path / "backup", passphrase=None, clock=service.clock)
    copied = {item.path for item in listed_blobs(tmp_path / "backup")}
    assert copied == set(service.runtime.blobs.list("uploads"))
