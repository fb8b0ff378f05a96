"""The topology of deploy/, as processes: a linkage through all of them, and restarts that lose nothing."""

import json
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from linkage_client.models import Run
from linkage_client.testing.rounds import Round, open_round
from linkage_service.database import Database
from linkage_service.runs.results import units_prefix
from support.dask_cluster import DaskCluster, make_certificates
from support.postgresql import Server
from support.s3_server import S3Server, s3_server
from support.topology import assert_ledger_is_whole, running_topology, under_load, wait_for

# Each starts some ten processes; on a machine with other work that takes minutes.
pytestmark = pytest.mark.timeout(600)

ROWS = 300
CLIENTS = 3


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def in_bucket(store: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The setting of an empty bucket. Its credentials are in the environment, for the cluster's workers too."""
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    return {"LINKAGE_BLOB_URL": store.make_bucket(f"linkage-{secrets.token_hex(6)}")}


def _groups(round_: Round, run: Run) -> set[frozenset[tuple[int, int]]]:
    """Which rows of which provider became one, by the link tables of a release."""
    granted = round_.release(run)
    found: dict[str, set[tuple[int, int]]] = {}
    for place, provider in enumerate(round_.providers):
        for link in provider.client.releases.link_table(release_id=granted.id):
            found.setdefault(link.link_id, set()).add((place, link.row))
    return {frozenset(rows) for rows in found.values()}


def test_linkage_through_every_process_gives_the_same_groups_though_a_worker_is_killed(
    tmp_path: Path, postgresql: Server, store: S3Server, in_bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cluster").mkdir()
    certificates = make_certificates(tmp_path / "cluster")
    with DaskCluster(tmp_path / "cluster", certificates=certificates) as cluster:
        settings = {
            "LINKAGE_EXECUTOR": "dask",
            "LINKAGE_SCHEDULER": cluster.address,
            "LINKAGE_SCHEDULER_CA": str(certificates.authority),
            "LINKAGE_SCHEDULER_CERTIFICATE": str(certificates.certificate),
            "LINKAGE_SCHEDULER_KEY": str(certificates.key),
            "LINKAGE_LEASE_S": "3",
            **in_bucket,
        }
        with (
            running_topology(tmp_path / "unit", postgresql, monkeypatch, workers=2, settings=settings) as (service, _),
            open_round(service, rows=ROWS) as round_,
        ):
            round_.upload_all()
            client = round_.recipient.client
            topology = service.topology
            run = client.runs.start(project_id=round_.project.id)
            # The cluster has no worker yet, so the run is in the middle of things for as long as it takes to kill.
            wait_for(lambda: any(one.lines("run_claimed") for one in topology.workers), what="a worker took the run")
            next(one for one in topology.workers if one.lines("run_claimed")).kill()
            cluster.start_workers(2)
            finished = client.runs.wait(run_id=run.id, timeout_s=120)
            undisturbed = client.runs.wait(run_id=client.runs.start(project_id=round_.project.id).id, timeout_s=120)

            assert (finished.state, finished.attempt) == ("succeeded", 2)
            assert (undisturbed.state, undisturbed.attempt) == ("succeeded", 1)
            groups = _groups(round_, finished)
            assert groups == _groups(round_, undisturbed)
            assert any(len(group) == 2 for group in groups)
            # The proxy gave requests to each process in turn.
            answered = [len(api.lines("request")) for api in topology.apis]
            assert min(answered) > max(answered) // 4 > 0
            # Parts came through the API, units from the cluster's workers, and nothing went to a disk beside.
            stored = [path for method, path in store.requests if method == "PUT"]
            assert [path for path in stored if "/uploads/" in path]
            assert [path for path in stored if f"/{units_prefix(finished.id)}/" in path]
            assert not (topology.data_dir / "blobs").exists()
            assert_ledger_is_whole(service)


def test_rolling_restart_under_load_loses_and_doubles_nothing_that_was_answered(
    tmp_path: Path, postgresql: Server, in_bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_topology(tmp_path / "unit", postgresql, monkeypatch, workers=0, settings=in_bucket) as (service, url):
        with under_load(service, clients=CLIENTS) as load:
            codes = []
            for place in range(2):
                load.wait_for_more(10)
                codes.append(service.topology.restart_api(place))
            load.wait_for_more(10)

        assert codes == [0, 0]
        assert load.failed == []
        assert_ledger_is_whole(service)
        database = Database(url)
        with database.reading() as session:
            connection = session.connection()
            rows = connection.execute(text("SELECT id FROM organisation WHERE kind = 'partner'")).scalars().all()
            recorded = connection.execute(
                text("SELECT resource_id FROM audit_event WHERE type = 'organisation.created' AND outcome = 'success'")
            ).scalars().all()  # fmt: skip
        database.close()
        assert sorted(load.acknowledged) == sorted(rows) == sorted(recorded)


def test_process_asked_to_stop_answers_the_request_in_hand_and_takes_no_other(
    tmp_path: Path, postgresql: Server, in_bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_topology(tmp_path / "unit", postgresql, monkeypatch, workers=0, settings=in_bucket) as (service, _):
        api = service.topology.apis[0]
        body = b"grant_type=client_credentials"
        head = (
            f"POST /v1/oauth/token HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", api.port), timeout=30) as connection:
            connection.sendall(head.encode() + body[:5])
            # An answer to a later request says that the process has seen the first one, too.
            assert _answer(api.port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            api.running.terminate()
            wait_for(lambda: not _is_open(api.port), what="no further connection was taken")
            connection.sendall(body[5:])
            answer = _read(connection)

        # It lacks an assertion, and is told so.
        assert answer.startswith(b"HTTP/1.1 422 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])
        assert api.running.wait(60) == 0
        # Whoever comes through the proxy notices nothing.
        assert service.unit.officer.client.me().organisation.id


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _answer(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        return _read(connection)


def _read(connection: socket.socket) -> bytes:
    found = b""
    while received := connection.recv(65536):
        found += received
    return found
