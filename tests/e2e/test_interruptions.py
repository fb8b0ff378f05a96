"""Killing the service or its worker at any moment, and starting it again, loses nothing."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from linkage_client.demo import flow
from linkage_client.encoding.package import ENCODINGS_FILE
from linkage_client.errors import ServiceConnectionError
from linkage_client.models import Manifest, Run, Upload
from linkage_client.testing.rounds import Round, open_round
from linkage_client.testing.service import RunningService

# A dead worker's run is taken over when its lease ends; the default is for machines that may be away for longer.
SETTINGS = {"LINKAGE_LEASE_S": "3"}
PART_BYTES = 4096


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("interrupted"), settings=SETTINGS) as made:
        yield made


@pytest.fixture
def service(running: RunningService) -> Iterator[RunningService]:
    """One service for all of these tests: its ledger has to hold through every interruption that went before."""
    yield running
    if not running.local.running:
        running.restart()


def encoded(round_: Round, place: int) -> tuple[Manifest, Path]:
    provider = round_.providers[place]
    manifest = flow.encode(provider, project_id=round_.project.id, extract=round_.extract(place))
    return Manifest.model_validate(manifest), provider.folder / flow.ENCODED_FOLDER / ENCODINGS_FILE


def send_parts(round_: Round, upload: Upload, encodings: Path, numbers: range) -> None:
    content = encodings.read_bytes()
    for number in numbers:
        start = (number - 1) * upload.part_size_bytes
        part = content[start : start + upload.part_size_bytes]
        round_.providers[0].client.uploads.put_part(upload_id=upload.id, number=number, content=part)


def log_lines(service: RunningService) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log_text().splitlines() if line.startswith("{")]


def worker_pids(service: RunningService) -> list[int]:
    return [line["pid"] for line in log_lines(service) if line.get("event") == "worker_started"]


def assert_ledger_is_whole(service: RunningService, round_: Round) -> None:
    checkpoint, kept = flow.keep_checkpoint(service.unit, round_.recipient)
    report = service.verify_ledger(against=kept)

    assert report["verified"], report["findings"]
    assert report["size"] >= checkpoint.size


def test_upload_killed_service_continues_with_the_missing_parts(service: RunningService) -> None:
    with open_round(service, rows=400) as round_:
        manifest, encodings = encoded(round_, 0)
        uploads = round_.providers[0].client.uploads
        declared = uploads.declare(project_id=round_.project.id, manifest=manifest, part_size_bytes=PART_BYTES)
        half = declared.parts_expected // 2
        send_parts(round_, declared, encodings, range(1, half + 1))

        service.kill()
        service.restart()

        assert uploads.get(upload_id=declared.id).parts_received == list(range(1, half + 1))
        seen: list[int] = []
        finished = uploads.send(
            project_id=round_.project.id,
            manifest=manifest,
            encodings=encodings,
            progress=lambda sent, _total: seen.append(sent),
        )
        assert finished.id == declared.id
        assert finished.state == "complete"
        assert seen[0] == half * PART_BYTES
        assert_ledger_is_whole(service, round_)


def test_upload_service_killed_again_and_again_while_it_is_sent_still_completes(service: RunningService) -> None:
    with open_round(service, rows=2000) as round_:
        manifest, encodings = encoded(round_, 0)
        uploads = round_.providers[0].client.uploads
        marks = [manifest.size_bytes * share // 4 for share in (1, 2, 3)]
        reached = [threading.Event() for _ in marks]

        def progress(sent: int, _total: int) -> None:
            for mark, event in zip(marks, reached, strict=True):
                if sent >= mark:
                    event.set()

        finished: list[Upload] = []

        def send() -> None:
            # On a busy machine the restart may outlast the client's own retries: then a person runs the command again.
            for _ in range(20):
                with suppress(ServiceConnectionError):
                    finished.append(
                        uploads.send(
                            project_id=round_.project.id,
                            manifest=manifest,
                            encodings=encodings,
                            part_size_bytes=PART_BYTES,
                            progress=progress,
                        )
                    )
                    return

        sender = threading.Thread(target=send)
        sender.start()
        for event in reached:
            assert event.wait(60)
            service.kill()
            service.restart()
        sender.join(120)

        assert [upload.state for upload in finished] == ["complete"]
        assert finished[0].manifest.sha256 == manifest.sha256
        assert_ledger_is_whole(service, round_)


def run_until(round_: Round, phases: set[str]) -> Run:
    """Starts a run and returns as soon as a worker has it."""
    client = round_.recipient.client
    run = client.runs.start(project_id=round_.project.id)
    while run.state not in phases:
        run = client.runs.get(run_id=run.id)
    return run


def test_run_worker_killed_is_finished_by_the_next_worker(service: RunningService) -> None:
    with open_round(service, rows=3000) as round_:
        round_.upload_all()
        run = run_until(round_, {"running", "succeeded"})
        os.kill(worker_pids(service)[-1], signal.SIGKILL)

        finished = round_.recipient.client.runs.wait(run_id=run.id, timeout_s=90)

        assert finished.state == "succeeded"
        # One only where the run ended in the moment before its worker was killed.
        assert finished.attempt in {1, 2}
        assert_ledger_is_whole(service, round_)


def interrupted_between_units(service: RunningService, round_: Round) -> Run:
    """A run whose worker is killed with kill -9 as soon as the first unit of its comparison is stored, once it ends.

    A request takes longer than a comparison on a busy machine: that a unit is stored is seen in the data folder.
    """
    client = round_.recipient.client
    with ThreadPoolExecutor(max_workers=1) as pool:
        for _ in range(5):
            run = client.runs.start(project_id=round_.project.id)
            ended = pool.submit(client.runs.wait, run_id=run.id, timeout_s=180)
            units = service.data_dir / "blobs" / "runs" / run.id / "units"
            while not stored_units(units) and not ended.done():
                wait([ended], timeout=0.005)
            os.kill(worker_pids(service)[-1], signal.SIGKILL)
            finished = ended.result()
            if finished.attempt > 1:
                return finished
    raise AssertionError("every run ended in the moment before its worker was killed")


def stored_units(folder: Path) -> list[str]:
    """The names of the units' results; one that is being written has a name with # in it, and the folder may go."""
    with suppress(FileNotFoundError):
        return [unit.name for unit in folder.iterdir() if "#" not in unit.name]
    return []


def test_run_worker_killed_between_units_goes_on_with_the_missing_ones(service: RunningService) -> None:
    with open_round(service, rows=3000) as round_:
        round_.upload_all()
        client = round_.recipient.client
        finished = interrupted_between_units(service, round_)
        undisturbed = client.runs.wait(run_id=client.runs.start(project_id=round_.project.id).id, timeout_s=90)

        assert finished.state == undisturbed.state == "succeeded"
        (resumed,) = (
            line for line in log_lines(service) if line.get("event") == "run_resumed" and line["run"] == finished.id
        )
        assert resumed["size"] >= 1
        assert report_of(round_, finished) == report_of(round_, undisturbed)
        assert not (service.data_dir / "blobs" / "runs" / finished.id / "units").exists()
        assert_ledger_is_whole(service, round_)


def report_of(round_: Round, run: Run) -> dict[str, Any]:
    found = round_.recipient.client.runs.report(run_id=run.id).model_dump()
    return {name: value for name, value in found.items() if name != "run"}


def test_run_service_killed_is_finished_after_the_restart(service: RunningService) -> None:
    with open_round(service, rows=3000) as round_:
        round_.upload_all()
        run = run_until(round_, {"running", "succeeded"})
        url = service.url
        service.kill()
        service.restart()

        assert service.url == url
        assert "linkage service is ready" in service.log_text()
        finished = round_.recipient.client.runs.wait(run_id=run.id, timeout_s=90)
        granted = flow.release(round_.recipient, run_id=finished.id)

        assert finished.state == "succeeded"
        assert [flow.retrieve(provider, release_id=granted.id) for provider in round_.providers] == [3000, 3000]
        assert_ledger_is_whole(service, round_)


def test_service_asked_to_stop_leaves_a_signed_checkpoint_over_every_event(service: RunningService) -> None:
    with open_round(service, rows=100) as round_:
        _, kept = flow.keep_checkpoint(service.unit, round_.recipient)
        round_.upload(0)
    service.stop()

    report = service.verify_ledger(against=kept)

    assert report["verified"]
    assert report["signed_size"] == report["size"]
