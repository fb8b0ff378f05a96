import os
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage_client.client import LinkageClient
from linkage_client.errors import (
    InvalidRequestError,
    PackageError,
    ServiceError,
    StateConflictError,
    StillWaitingError,
    StoppedError,
)
from linkage_client.journal import FileState
from linkage_client.resources._sending import parts_of
from support.fake_service import Asked, FakeService, FakeUploads, Reply, manifest_of, problem

CONTENT = bytes(range(256)) * 5  # ten rows of 1024 bits
PART = 512


@pytest.fixture
def encodings(tmp_path: Path) -> Path:
    path = tmp_path / "encodings.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def uploads(service: FakeService) -> FakeUploads:
    return FakeUploads(service)


def test_send_delivers_every_part_and_completes(client: LinkageClient, uploads: FakeUploads, encodings: Path) -> None:
    seen: list[tuple[int, int]] = []
    upload = client.uploads.send(
        project_id="prj_1",
        manifest=manifest_of(CONTENT),
        encodings=encodings,
        part_size_bytes=PART,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert upload.state == "complete"
    assert {number: len(content) for number, content in uploads.parts[upload.id].items()} == {1: 512, 2: 512, 3: 256}
    assert seen[0] == (0, 1280)
    assert seen[-1] == (1280, 1280)
    assert seen == sorted(seen)


def test_send_after_an_interruption_sends_only_missing_parts(
    client: LinkageClient, service: FakeService, uploads: FakeUploads, encodings: Path
) -> None:
    uploads.add("upl_7", manifest=manifest_of(CONTENT), size_bytes=len(CONTENT), part_size=256)
    uploads.parts["upl_7"] = {1: CONTENT[:256], 4: CONTENT[768:1024]}
    upload = client.uploads.send(project_id="prj_1", manifest=manifest_of(CONTENT), encodings=encodings)
    assert upload.id == "upl_7"
    assert sorted(service.paths("PUT")) == [f"/v1/uploads/upl_7/parts/{number}" for number in (2, 3, 5)]


def test_send_of_what_is_complete_sends_nothing(
    client: LinkageClient, service: FakeService, uploads: FakeUploads, encodings: Path
) -> None:
    first = client.uploads.send(project_id="prj_1", manifest=manifest_of(CONTENT), encodings=encodings)
    sent = len(service.paths("PUT"))
    second = client.uploads.send(project_id="prj_1", manifest=manifest_of(CONTENT), encodings=encodings)
    assert second.id == first.id
    assert len(service.paths("PUT")) == sent
    assert len(uploads.uploads) == 1


@pytest.mark.parametrize(
    "other", [{"organisation": "org_other"}, {"state": "deleted"}, {"manifest": manifest_of(b"x" * 128)}]
)
def test_send_beside_another_upload_begins_a_new_one(
    client: LinkageClient, uploads: FakeUploads, encodings: Path, other: dict[str, object]
) -> None:
    uploads.add("upl_7", manifest=manifest_of(CONTENT), size_bytes=len(CONTENT), part_size=256)
    uploads.uploads["upl_7"].update(other)
    upload = client.uploads.send(project_id="prj_1", manifest=manifest_of(CONTENT), encodings=encodings)
    assert upload.id != "upl_7"


def test_send_under_another_secret_does_not_continue_the_old_upload(
    client: LinkageClient, uploads: FakeUploads, encodings: Path
) -> None:
    uploads.add("upl_7", manifest=manifest_of(CONTENT), size_bytes=len(CONTENT), part_size=256)
    manifest = manifest_of(CONTENT)
    manifest["key"]["check_value"] = "11" * 16
    assert client.uploads.send(project_id="prj_1", manifest=manifest, encodings=encodings).id != "upl_7"


def test_send_over_a_connection_that_drops_repeats_the_part(
    client: LinkageClient, service: FakeService, uploads: FakeUploads
) -> None:
    client.me()
    upload = client.uploads.declare(project_id="prj_1", manifest=manifest_of(CONTENT))
    service.failures.append(httpx.ReadError("dropped"))
    client.uploads.put_part(upload_id=upload.id, number=1, content=CONTENT)
    assert uploads.parts[upload.id] == {1: CONTENT}


def test_send_with_a_refused_part_raises_its_problem(
    client: LinkageClient, service: FakeService, uploads: FakeUploads, encodings: Path
) -> None:
    uploads.add("upl_7", manifest=manifest_of(CONTENT), size_bytes=len(CONTENT), part_size=256)
    service.on("PUT", "/v1/uploads/upl_7/parts/2", problem(413, "too_large"))
    with pytest.raises(InvalidRequestError):
        client.uploads.send(project_id="prj_1", manifest=manifest_of(CONTENT), encodings=encodings, parallel_parts=1)
    assert "/v1/uploads/upl_7/parts/5" not in service.paths("PUT")
    assert "/v1/uploads/upl_7:complete" not in service.paths("POST")


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "00" * 32},
        {"size_bytes": 1},
        {"linkage_schema_sha256": "00" * 32},
        {"bits": 512},
        {"key": {"epoch": 2, "check_value": "00" * 16, "derivation": "linkage/derive/v1"}},
        {"key": {"epoch": 1, "check_value": "00" * 16}},
        {"key": {"epoch": 1, "check_value": None, "derivation": None}},
        {"key": None},
        {"count": "many"},
        {"encoder": None},
    ],
)
def test_send_of_what_does_not_fit_sends_nothing(
    client: LinkageClient, service: FakeService, uploads: FakeUploads, encodings: Path, change: dict[str, object]
) -> None:
    with pytest.raises(PackageError):
        client.uploads.send(project_id="prj_1", manifest={**manifest_of(CONTENT), **change}, encodings=encodings)
    assert service.paths("PUT") == []
    assert uploads.uploads == {}


@given(size=st.integers(0, 5000), part_size=st.integers(1, 700))
def test_parts_cover_the_file_once_and_all_but_the_last_are_full(size: int, part_size: int) -> None:
    parts = list(parts_of(size_bytes=size, part_size_bytes=part_size))
    assert sum(part.size_bytes for part in parts) == size
    assert [part.offset for part in parts] == [index * part_size for index in range(len(parts))]
    assert all(part.size_bytes == part_size for part in parts[:-1])
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))


LISTED = "/v1/projects/prj_1/uploads"


class Sender:
    """Sends in parts of 256 bytes, one after the other, with a journal; notes what it is told."""

    def __init__(self, client: LinkageClient, encodings: Path, journals: Path) -> None:
        self.client = client
        self.encodings = encodings
        self.journals = journals
        self.checked: list[int] = []
        self.said: list[str] = []

    def send(self, **options: Any) -> str:
        self.checked.clear()
        chosen = {
            "manifest": manifest_of(CONTENT),
            "part_size_bytes": 256,
            "parallel_parts": 1,
            "checking": lambda done, _total: self.checked.append(done),
            "say": self.said.append,
            **options,
        }
        return self.client.uploads.send(
            project_id="prj_1", encodings=self.encodings, journals=self.journals, **chosen
        ).state

    def interrupted_after(self, parts: int) -> None:
        """Send until so many parts are at the service."""

        def stop(done: int, _total: int) -> None:
            if done >= parts * 256:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.send(progress=stop)


@pytest.fixture
def sender(client: LinkageClient, encodings: Path, tmp_path: Path) -> Sender:
    return Sender(client, encodings, tmp_path / "journals")


def _sent(service: FakeService) -> Counter[int]:
    return Counter(int(path.rsplit("/", 1)[1]) for path in service.paths("PUT"))


def test_send_that_is_interrupted_goes_on_without_reading_listing_or_sending_twice(
    service: FakeService, uploads: FakeUploads, sender: Sender
) -> None:
    sender.interrupted_after(2)
    assert sender.checked[-1] == len(CONTENT)
    listed = service.paths("GET").count(LISTED)
    assert sender.send() == "complete"
    assert sender.checked == []
    assert service.paths("GET").count(LISTED) == listed
    assert _sent(service) == dict.fromkeys(range(1, 6), 1)
    assert len(uploads.uploads) == 1
    assert sender.said == ["Going on: 2 of 5 parts are there already."]
    assert list(sender.journals.glob("*.jsonl")) == []


def test_send_of_a_file_that_looks_otherwise_reads_it_again_and_goes_on(
    service: FakeService, uploads: FakeUploads, sender: Sender
) -> None:
    sender.interrupted_after(2)
    os.utime(sender.encodings, ns=(1, 1))
    assert sender.send() == "complete"
    assert sender.checked[-1] == len(CONTENT)
    assert _sent(service) == dict.fromkeys(range(1, 6), 1)
    assert len(uploads.uploads) == 1


def test_send_with_a_damaged_journal_asks_the_service(
    service: FakeService, uploads: FakeUploads, sender: Sender
) -> None:
    sender.interrupted_after(3)
    (path,) = sender.journals.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:100])
    assert sender.send() == "complete"
    assert _sent(service) == dict.fromkeys(range(1, 6), 1)
    assert len(uploads.uploads) == 1


def test_send_after_the_upload_was_deleted_begins_a_new_one(uploads: FakeUploads, sender: Sender) -> None:
    sender.interrupted_after(3)
    uploads.uploads["upl_1"]["state"] = "deleted"
    assert sender.send() == "complete"
    assert uploads.uploads["upl_2"]["state"] == "complete"


def test_send_believes_the_service_about_what_it_has(
    service: FakeService, uploads: FakeUploads, sender: Sender
) -> None:
    sender.interrupted_after(3)
    del uploads.parts["upl_1"][2]
    assert sender.send() == "complete"
    assert _sent(service) == {1: 1, 2: 2, 3: 1, 4: 1, 5: 1}


def test_send_whose_completion_was_not_heard_of_sends_nothing(
    service: FakeService, uploads: FakeUploads, sender: Sender
) -> None:
    sender.interrupted_after(4)
    uploads.parts["upl_1"][5] = CONTENT[1024:]
    uploads.uploads["upl_1"]["state"] = "complete"
    assert sender.send() == "complete"
    assert _sent(service) == dict.fromkeys(range(1, 5), 1)
    assert list(sender.journals.glob("*.jsonl")) == []


def test_send_that_another_machine_completes_meanwhile_is_complete(
    service: FakeService, uploads: FakeUploads, sender: Sender
) -> None:
    sender.interrupted_after(2)

    def too_late(_: Asked) -> Reply:
        uploads.uploads["upl_1"]["state"] = "complete"
        return problem(409, "conflict")

    service.on("PUT", "/v1/uploads/upl_1/parts/3", too_late)
    assert sender.send() == "complete"
    assert list(sender.journals.glob("*.jsonl")) == []


def test_send_in_conflict_with_something_else_says_so(
    service: FakeService, uploads: FakeUploads, sender: Sender
) -> None:
    sender.interrupted_after(2)
    service.on("POST", "/v1/uploads/upl_1:complete", problem(409, "project_closed"))
    with pytest.raises(StateConflictError) as caught:
        sender.send()
    assert caught.value.code == "project_closed"
    assert uploads.uploads["upl_1"]["state"] == "receiving"
    assert len(list(sender.journals.glob("*.jsonl"))) == 1


def test_send_of_other_encodings_leaves_the_journal_of_the_first_behind(uploads: FakeUploads, sender: Sender) -> None:
    sender.interrupted_after(2)
    other = CONTENT[::-1]
    sender.encodings.write_bytes(other)
    assert sender.send(manifest=manifest_of(other)) == "complete"
    assert b"".join(uploads.parts["upl_2"].values()) == other
    assert list(sender.journals.glob("*.jsonl")) == []


def _replace(path: Path, content: bytes, *, keeping: FileState | None = None) -> None:
    path.write_bytes(content)
    if keeping is not None:
        os.utime(path, ns=(keeping.modified_ns, keeping.modified_ns))


@pytest.mark.parametrize("after", [1, 4])
def test_send_of_a_file_that_is_replaced_meanwhile_is_not_completed(
    service: FakeService, uploads: FakeUploads, sender: Sender, after: int
) -> None:
    def replace(done: int, _total: int) -> None:
        if done == after * 256:
            _replace(sender.encodings, b"\1" * 1024 + CONTENT[1024:])

    with pytest.raises(PackageError, match="replaced or changed"):
        sender.send(progress=replace)
    assert uploads.uploads["upl_1"]["state"] == "receiving"
    assert "/v1/uploads/upl_1:complete" not in service.paths("POST")


@pytest.mark.usefixtures("uploads")
def test_send_of_a_file_that_was_replaced_and_looks_the_same_is_refused_at_its_first_part(
    service: FakeService, sender: Sender
) -> None:
    sender.interrupted_after(2)
    _replace(sender.encodings, b"\1" * len(CONTENT), keeping=FileState.of(sender.encodings))
    with pytest.raises(PackageError, match="replaced or changed"):
        sender.send()
    assert _sent(service) == {1: 1, 2: 1}


def test_send_to_a_project_that_does_not_fit_reads_no_file(
    client: LinkageClient, uploads: FakeUploads, tmp_path: Path
) -> None:
    manifest = {**manifest_of(CONTENT), "linkage_schema_sha256": "00" * 32}
    with pytest.raises(PackageError, match="linkage schema"):
        client.uploads.send(project_id="prj_1", manifest=manifest, encodings=tmp_path / "absent")
    assert uploads.uploads == {}


def test_send_that_is_stopped_goes_on_later(service: FakeService, uploads: FakeUploads, sender: Sender) -> None:
    with pytest.raises(StoppedError):
        sender.send(stopped=lambda: len(service.paths("PUT")) == 2)
    assert sender.send() == "complete"
    assert _sent(service) == dict.fromkeys(range(1, 6), 1)
    assert len(uploads.uploads) == 1


def test_send_that_is_stopped_while_the_file_is_read_sends_nothing(uploads: FakeUploads, sender: Sender) -> None:
    with pytest.raises(StoppedError, match="before anything was sent"):
        sender.send(stopped=lambda: True)
    assert uploads.uploads == {}


def test_send_that_is_stopped_does_not_try_a_failing_part_again(
    client: LinkageClient, service: FakeService, uploads: FakeUploads
) -> None:
    upload = client.uploads.declare(project_id="prj_1", manifest=manifest_of(CONTENT))
    service.on("PUT", f"/v1/uploads/{upload.id}/parts/1", problem(503))
    with pytest.raises(ServiceError):
        client.uploads.put_part(upload_id=upload.id, number=1, content=CONTENT, stopped=lambda: True)
    assert _sent(service) == {1: 1}
    assert uploads.parts[upload.id] == {}


@pytest.mark.usefixtures("uploads")
def test_send_with_several_threads_reports_in_order_and_from_one_at_a_time(
    client: LinkageClient, encodings: Path
) -> None:
    inside = threading.Lock()
    seen: list[int] = []

    def progress(done: int, _total: int) -> None:
        assert inside.acquire(blocking=False)
        seen.append(done)
        inside.release()

    client.uploads.send(
        project_id="prj_1",
        manifest=manifest_of(CONTENT),
        encodings=encodings,
        part_size_bytes=64,
        parallel_parts=4,
        progress=progress,
    )
    assert seen == list(range(0, len(CONTENT) + 1, 64))


def test_send_declares_what_the_manifest_says_and_nothing_else(
    client: LinkageClient, uploads: FakeUploads, encodings: Path
) -> None:
    upload = client.uploads.send(project_id="prj_1", manifest=manifest_of(CONTENT), encodings=encodings)
    assert uploads.uploads[upload.id]["manifest"] == manifest_of(CONTENT)


def test_send_of_a_file_that_is_gone_says_so(sender: Sender, uploads: FakeUploads) -> None:
    sender.encodings.unlink()
    with pytest.raises(PackageError, match="cannot be read"):
        sender.send()
    assert uploads.uploads == {}


def _uploaded_by(uploads: FakeUploads, organisation: str, state: str = "complete") -> None:
    upload_id = f"upl_{organisation}"
    uploads.add(upload_id, manifest=manifest_of(CONTENT), size_bytes=len(CONTENT), part_size=256)
    uploads.uploads[upload_id].update(organisation=organisation, state=state)


def test_wait_for_providers_answers_their_uploads(client: LinkageClient, uploads: FakeUploads) -> None:
    _uploaded_by(uploads, "org_own")
    absent: list[list[str]] = []

    def progress(_complete: object, missing: Sequence[str]) -> None:
        absent.append([*missing])
        if len(absent) == 2:
            _uploaded_by(uploads, "org_other")

    found = client.uploads.wait(project_id="prj_1", progress=progress)
    assert [upload.organisation for upload in found] == ["org_own", "org_other"]
    assert absent == [["org_other"], ["org_other"], []]


@pytest.mark.parametrize("state", ["receiving", "deleted"])
def test_wait_for_providers_ends_with_the_timeout(
    client: LinkageClient, uploads: FakeUploads, hand_clock: Any, state: str
) -> None:
    _uploaded_by(uploads, "org_other", state)
    before = hand_clock.seconds
    with pytest.raises(StillWaitingError, match="2 of 2 providers"):
        client.uploads.wait(project_id="prj_1", timeout_s=70)
    assert hand_clock.seconds - before == pytest.approx(70)


@pytest.mark.usefixtures("uploads")
def test_wait_for_providers_can_be_stopped(client: LinkageClient, hand_clock: Any) -> None:
    before = hand_clock.seconds
    with pytest.raises(StoppedError):
        client.uploads.wait(project_id="prj_1", stopped=lambda: hand_clock.seconds - before > 10)
    assert hand_clock.seconds - before < 15
