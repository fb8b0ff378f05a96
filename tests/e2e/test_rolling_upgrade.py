"""Old and new release on one PostgreSQL: an upgrade that nobody notices, and one that the old cannot live with.

The new release is a copy of the installed one with another version, one more migration and, where that adds a column, a
field for it. Clients speak to the proxy, and to each of the processes where it matters which of them answers.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from linkage_client import LinkageClient
from linkage_client.config import load_profile
from linkage_client.demo import flow
from linkage_client.encoding.package import ENCODINGS_FILE
from linkage_client.keystore import client_key_of
from linkage_client.testing.rounds import open_round
from linkage_service.database import Database
from support import releases
from support.postgresql import Server
from support.releases import ADDS, BREAKS
from support.topology import Process, Topology, assert_ledger_is_whole, running_topology, under_load, wait_for

pytestmark = pytest.mark.timeout(600)

ROWS, PART_BYTES = 60, 2_048
OLD, NEW = version("linkage-service"), "9.1.0"


def _url(api: Process) -> str:
    return f"http://127.0.0.1:{api.port}"


def _version(api: Process) -> str:
    return str(httpx.get(f"{_url(api)}/version").json()["version"])


def _readiness(api: Process) -> tuple[int, str]:
    answer = httpx.get(f"{_url(api)}/readyz")
    return answer.status_code, answer.json()["parts"]["migrations"]


@contextmanager
def _at(api: Process, member: flow.Member) -> Iterator[flow.Member]:
    """The same machine, connected to one process."""
    profile = load_profile(member.profile)
    with LinkageClient(
        service_url=_url(api), client_id=profile.client_id, client_key=client_key_of(profile), ledgers_folder=None
    ) as client:
        yield replace(member, client=client)


def _changes(api: Process) -> bool:
    """Whether it has answered a request for a change, which only comes through the proxy."""
    return any(line["method"] == "POST" for line in api.lines("request"))


def _upgrade(topology: Topology, package: Path, *, to: str) -> None:
    done = topology.command("db", "upgrade", package=package)
    assert (done.returncode, done.stdout) == (0, f"{to}\n"), done.stderr


def _worker_versions(url: str) -> set[str]:
    database = Database(url)
    with database.reading() as session:
        found = set(session.connection().execute(text("SELECT version FROM worker_presence")).scalars())
    database.close()
    return found


def test_old_and_new_release_serve_one_round_side_by_side(
    tmp_path: Path, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = releases.release(tmp_path / "newer", NEW, ADDS)
    with (
        running_topology(tmp_path / "unit", postgresql, monkeypatch, apis=1, workers=1) as (service, url),
        open_round(service, rows=ROWS) as round_,
        ExitStack() as stack,
    ):
        topology, project, (first, second) = service.topology, round_.project.id, round_.providers
        manifest = flow.encode(first, project_id=project, extract=round_.extract(0))
        content = (first.folder / flow.ENCODED_FOLDER / ENCODINGS_FILE).read_bytes()
        parts = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
        upload = first.client.uploads.declare(project_id=project, manifest=manifest, part_size_bytes=PART_BYTES).id
        first.client.uploads.put_part(upload_id=upload, number=1, content=parts[0])

        with under_load(service, clients=1, pause_s=0.1) as load:
            load.wait_for_more(1)
            _upgrade(topology, newer, to=ADDS.revision)
            load.wait_for_more(3)
            (old,) = topology.apis
            assert _readiness(old) == (200, "ok")
            topology.start_worker(package=newer)
            new = topology.add_api(package=newer)
            wait_for(lambda: _changes(new), what="the proxy gave requests to the new process, too")
            assert [(_version(api), *_readiness(api)) for api in (new, old)] == [(NEW, 200, "ok"), (OLD, 200, "ok")]
        assert load.failed == []

        # An upload that began at the old release is sent half to either.
        first_at = [stack.enter_context(_at(api, first)) for api in (new, old)]
        for number, part in enumerate(parts[1:], start=2):
            first_at[number % 2].client.uploads.put_part(upload_id=upload, number=number, content=part)
        assert first_at[0].client.uploads.complete(upload_id=upload).state == "complete"
        round_.upload(1)

        # A token of the old release is good at the new one, and each proof is good once, wherever it is shown.
        recipient_at = [stack.enter_context(_at(api, round_.recipient)) for api in (new, old)]
        token, path = recipient_at[1].client._transport._token(), f"/v1/projects/{project}"
        proof = token.headers("GET", path)
        assert httpx.get(_url(new) + path, headers=proof).status_code == 200
        assert httpx.get(_url(old) + path, headers=proof).status_code == 401
        assert httpx.get(_url(old) + path, headers=token.headers("GET", path)).status_code == 200

        # A run that is asked for at the old release, and again at the new one, is one run.
        wait_for(lambda: _worker_versions(url) == {OLD, NEW}, what="a worker of each release was there")
        path = f"{path}/runs"
        asked = [
            httpx.post(
                _url(api) + path, json={}, headers={**token.headers("POST", path), "Idempotency-Key": "one"}
            )
            for api in (old, new)
        ]  # fmt: skip
        assert [answer.status_code for answer in asked] == [202, 202], asked[1].text
        assert asked[0].json() == asked[1].json()
        assert asked[1].headers["idempotency-replayed"] == "true"
        finished = round_.recipient.client.runs.wait(run_id=asked[0].json()["id"], timeout_s=120)
        assert (finished.state, finished.attempt) == ("succeeded", 1)
        granted = flow.release(recipient_at[0], run_id=finished.id)
        for api, provider in ((new, first), (old, second)):
            with _at(api, provider) as member:
                assert len(list(member.client.releases.link_table(release_id=granted.id))) == ROWS

        # The old release ends in order. As long as no migration breaks it, it also comes back.
        assert topology.workers[0].end() == 0
        assert topology.restart_api(0) == 0
        assert (_version(topology.apis[0]), *_readiness(topology.apis[0])) == (OLD, 200, "ok")
        assert_ledger_is_whole(service)


def test_release_that_the_new_schema_leaves_no_room_for_is_not_ready_and_does_not_start(
    tmp_path: Path, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = releases.release(tmp_path / "newer", NEW, ADDS, BREAKS)
    with running_topology(tmp_path / "unit", postgresql, monkeypatch, apis=1, workers=0) as (service, _):
        topology = service.topology
        (old,) = topology.apis
        assert _readiness(old) == (200, "ok")
        _upgrade(topology, newer, to=BREAKS.revision)
        assert _readiness(old) == (503, "unwell")
        new = topology.add_api(package=newer)
        assert (_version(new), *_readiness(new)) == (NEW, 200, "ok")
        assert old.end() == 0
        refused = topology.begin_api(0)
        assert refused.running.wait(60) == 1
        assert "earlier ones cannot serve on it any more" in refused.log.read_text("utf-8")
