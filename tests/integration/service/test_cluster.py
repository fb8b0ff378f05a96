"""Runs on a Dask cluster: the same result, read and stored by its workers from the blob store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from linkage_matching import LocalExecutor
from linkage_service.runs import tables
from linkage_service.runs.results import read_groups
from linkage_service.worker import Worker
from support.dask_cluster import DaskCluster
from support.service_app import Linked, ServiceApp, data_sets, ok, service_app


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with DaskCluster(folder) as started:
        started.start_workers(1)
        yield started


def _groups(service: ServiceApp, linked: Linked, run: str) -> list[list[int]]:
    with service.runtime.database.reading() as session:
        row = tables.run(session, run)
    assert row is not None
    assert row.data_key is not None
    blobs = service.runtime.blobs
    key = blobs.unwrap(row.data_key)
    return [
        read_groups(blobs, run_id=run, attempt=row.attempt, position=position, data_key=key).tolist()
        for position in range(len(linked.providers))
    ]


def test_run_on_a_cluster_gives_the_result_of_one_process_and_tells_its_logs_nothing(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    with service_app(tmp_path / "service", executor="dask", scheduler=cluster.address) as service:
        linked = service.uploaded(*data_sets(300, 280, shared=150))
        clustered = service.run(linked)
        path = f"/v1/projects/{linked.project}/runs"
        here = ok(linked.providers[0].post(path, {}), 202)
        worker = Worker(service.runtime)
        worker._executor = LocalExecutor()
        assert worker.run_once()

        assert clustered["state"] == "succeeded", clustered["error"]
        assert _groups(service, linked, clustered["id"]) == _groups(service, linked, here["id"])
        assert service.runtime.blobs.list(f"runs/{clustered['id']}/units") == []
        assert clustered["id"] not in cluster.logs()
        assert linked.uploads[0] not in cluster.logs()


def test_run_whose_upload_is_not_what_its_manifest_says_never_reaches_the_cluster(tmp_path: Path) -> None:
    nobody_listens = "tcp://127.0.0.1:9"
    with service_app(tmp_path, executor="dask", scheduler=nobody_listens) as service:
        linked = service.uploaded(*data_sets(12, 12, shared=6))
        with service.runtime.database.writing() as session:
            session.connection().exec_driver_sql("UPDATE upload SET sha256 = ?", ("00" * 32,))
        assert service.run(linked)["error"]["code"] == "upload_changed"
