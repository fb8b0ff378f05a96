"""A full disk, in the middle of everything: what is refused says why, nothing is half done, and work goes on."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from linkage_client import Limits, LinkageClient
from linkage_client.config import load_profile
from linkage_client.demo import flow
from linkage_client.demo.agreement import PURPOSE
from linkage_client.encoding.package import ENCODINGS_FILE
from linkage_client.errors import TryAgainLaterError
from linkage_client.keystore import client_key_of
from linkage_client.models import Manifest, Run
from linkage_client.testing.rounds import Round, open_round
from linkage_client.testing.service import RunningService
from support.databases import empty_database
from support.postgresql import Server
from support.small_disk import SmallDisk, small_disk
from support.topology import wait_for

# What is put off is tried again when its lease ends; the default is for machines that may be away for longer.
SETTINGS = {"LINKAGE_LEASE_S": "3"}
ROWS, PART_BYTES, A_LITTLE_BYTES, MANY = 400, 4096, 65_536, 2000
ONCE = ("release.granted", "upload.completed")


@contextmanager
def impatient(member: flow.Member) -> Iterator[LinkageClient]:
    """A client of the member that is told of the first refusal, and has logged in."""
    profile = load_profile(member.profile)
    with LinkageClient(
        service_url=profile.service_url,
        client_id=profile.client_id,
        client_key=client_key_of(profile),
        limits=Limits(attempts=1),
        ledgers_folder=None,
    ) as client:
        client.me()
        yield client


def refused(act: Callable[[], object]) -> TryAgainLaterError:
    with pytest.raises(TryAgainLaterError) as found:
        act()
    assert found.value.status == 503
    assert found.value.request_id
    return found.value


def exhaust(client: LinkageClient, service: RunningService) -> tuple[set[str], TryAgainLaterError]:
    """Appends to the ledger until the files of the database have no room that they kept; which were answered."""
    made: set[str] = set()
    for _ in range(MANY):
        try:
            made.add(client.organisations.create(name=service.unused_name("Partner")).id)
        except TryAgainLaterError as refusal:
            return made, refusal
    raise AssertionError("the disk is never full")


def parts_of(service: RunningService) -> dict[str, str]:
    """How the parts are; what can be read is answered all the time."""
    answer = httpx.get(f"{service.url}/readyz", timeout=60)
    assert answer.status_code == 200
    parts: dict[str, str] = answer.json()["parts"]
    assert "unwell" not in parts.values()
    return parts


def on(database: str, *, blobs: Path) -> dict[str, str]:
    return {**SETTINGS, "LINKAGE_DATABASE_URL": database, "LINKAGE_BLOB_URL": blobs.as_uri()}


def lines_of(service: RunningService, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in service.log_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def report_of(round_: Round, run: Run) -> dict[str, Any]:
    found = round_.recipient.client.runs.report(run_id=run.id).model_dump()
    return {name: value for name, value in found.items() if name != "run"}


def assert_whole(service: RunningService, round_: Round) -> None:
    """Nothing happened twice, nothing is unexplained, and the ledger verifies."""
    events = service.unit.officer.client.audit.events(project_id=round_.project.id)
    happened = Counter(event.header["type"] for event in events)
    assert {name: happened[name] for name in ONCE} == {"release.granted": 1, "upload.completed": 2}
    assert not {line["status"] for line in lines_of(service, "request")} & {500, None}
    assert "Traceback" not in service.log_text()
    _, kept = flow.keep_checkpoint(service.unit, round_.recipient)
    report = service.verify_ledger(against=kept)
    assert report["verified"], report["findings"]


def test_full_blob_disk_puts_uploads_and_runs_off_until_there_is_room(tmp_path: Path, postgresql: Server) -> None:
    with (
        empty_database(postgresql) as url,
        small_disk(tmp_path / "disk", megabytes=8) as disk,
        RunningService(tmp_path, settings=on(url, blobs=disk.folder)) as service,
        open_round(service, rows=ROWS) as round_,
        impatient(round_.providers[0]) as provider,
    ):
        upload_half_way(round_, provider, disk, database_too=False)
        round_.upload(1)
        undisturbed = round_.match()

        runs = round_.recipient.client.runs
        disk.fill()
        run = runs.start(project_id=round_.project.id)
        wait_for(lambda: put_off(service, run) >= 1, what="the run was put off")
        # Room for what it writes first, and not for all of it.
        disk.give(2 * PART_BYTES)
        before = put_off(service, run)
        wait_for(lambda: put_off(service, run) > before, what="the run was put off in the middle")
        disk.free()
        finished = runs.wait(run_id=run.id, timeout_s=90)
        assert (finished.state, finished.attempt > 2) == ("succeeded", True)
        assert report_of(round_, finished) == report_of(round_, undisturbed)
        # A name with # in it is that of a blob that is being written.
        assert list(disk.folder.rglob("*#*")) == []

        disk.fill()
        granted = round_.release(finished)
        assert [flow.retrieve(member, release_id=granted.id) for member in round_.providers] == [ROWS, ROWS]
        assert_whole(service, round_)


def upload_half_way(round_: Round, provider: LinkageClient, disk: SmallDisk, *, database_too: bool) -> None:
    """An upload that meets a full disk half way.

    Where the database is on it, it may be the proof of any request that finds no room first.
    """
    member = round_.providers[0]
    manifest = Manifest.model_validate(flow.encode(member, project_id=round_.project.id, extract=round_.extract(0)))
    encodings = member.folder / flow.ENCODED_FOLDER / ENCODINGS_FILE
    content = encodings.read_bytes()
    declared = provider.uploads.declare(project_id=round_.project.id, manifest=manifest, part_size_bytes=PART_BYTES)
    half = declared.parts_expected // 2

    def put(number: int) -> None:
        part = content[(number - 1) * PART_BYTES : number * PART_BYTES]
        provider.uploads.put_part(upload_id=declared.id, number=number, content=part)

    for number in range(1, half + 1):
        put(number)
    disk.fill()
    refusal = refused(lambda: put(half + 1))
    assert refusal.code == "storage_full"
    of_blobs = "Nothing was written. Free space or enlarge the store" in refusal.message
    assert of_blobs or (database_too and "disk is full. Nothing was changed" in refusal.message)
    assert parts_of(round_.service)["disk"] == "degraded"

    def stored() -> list[int]:
        return provider.uploads.get(upload_id=declared.id).parts_received

    assert database_too or stored() == list(range(1, half + 1))

    disk.free()
    assert stored() == list(range(1, half + 1))
    sent: list[int] = []
    finished = provider.uploads.send(
        project_id=round_.project.id,
        manifest=manifest,
        encodings=encodings,
        progress=lambda so_far, _: sent.append(so_far),
    )
    assert (finished.id, finished.state) == (declared.id, "complete")
    assert sent[0] == half * PART_BYTES


def put_off(service: RunningService, run: Run) -> int:
    found = [line["code"] for line in lines_of(service, "run_postponed") if line["run"] == run.id]
    assert set(found) <= {"storage_full"}
    return len(found)


def test_full_disk_of_everything_refuses_what_the_ledger_cannot_hold_and_loses_nothing(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "service", megabytes=32) as disk,
        RunningService(tmp_path, settings=SETTINGS) as service,
        open_round(service, rows=ROWS) as round_,
        impatient(service.unit.administrator) as administrator,
        impatient(round_.recipient) as recipient,
        impatient(round_.providers[0]) as provider,
    ):
        before = {found.id for found in administrator.organisations.list()}
        upload_half_way(round_, provider, disk, database_too=True)
        disk.fill()
        made, refusal = exhaust(administrator, service)
        assert "disk is full. Nothing was changed. The operator makes room" in refusal.message
        assert parts_of(service)["disk"] == "degraded"
        # The client tries again by itself, and needs no more than room.
        waiting = threading.Thread(target=round_.upload, args=(1,))
        seen = len(put_off_requests(service))
        waiting.start()
        wait_for(lambda: len(put_off_requests(service)) > seen, what="the upload was refused")
        disk.free()
        waiting.join(60)
        assert {found.id for found in administrator.organisations.list()} == before | made

        undisturbed = round_.match()
        disk.fill()
        exhaust(administrator, service)
        run = in_the_middle(service, recipient, project=round_.project.id, disk=disk)
        disk.free()
        finished = recipient.runs.wait(run_id=run.id, timeout_s=90)
        assert finished.state == "succeeded"
        assert report_of(round_, finished) == report_of(round_, undisturbed)

        disk.fill()
        exhaust(administrator, service)
        refused(lambda: recipient.releases.create(run_id=finished.id, purpose=PURPOSE, mode="blind"))
        disk.free()
        granted = round_.release(finished)
        disk.fill()
        exhaust(administrator, service)
        # Nobody is given what no event tells of.
        refused(lambda: list(provider.releases.link_table(release_id=granted.id)))
        disk.free()
        assert [flow.retrieve(member, release_id=granted.id) for member in round_.providers] == [ROWS, ROWS]
        assert_whole(service, round_)


def in_the_middle(service: RunningService, client: LinkageClient, *, project: str, disk: SmallDisk) -> Run:
    """A run that was taken down while there was a little room, and whose worker has found that there is no more."""
    seen = len(stuck(service))
    while True:
        try:
            run = client.runs.start(project_id=project)
        except TryAgainLaterError:
            disk.give(A_LITTLE_BYTES)
        else:
            break
    wait_for(lambda: len(stuck(service)) > seen, what="the worker met the full disk")
    return run


def put_off_requests(service: RunningService) -> list[dict[str, Any]]:
    return [line for line in lines_of(service, "request") if line["status"] == 503]


def stuck(service: RunningService) -> list[dict[str, Any]]:
    return lines_of(service, "run_postponed") + lines_of(service, "database_unwell")
