import json
import os
from pathlib import Path
from typing import Self

import pytest

from linkage_client.cli import upload as module
from linkage_client.cli.exit_codes import ExitCode
from linkage_client.journal import default_folder, open_journal
from support.command import Linkage
from support.fake_service import FakeService, FakeUploads, agreed, manifest_of
from support.linkage_schemas import linkage_schema

CONTENT = bytes(range(256)) * 5
pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "encodings"
    made.mkdir()
    (made / "encodings.bin").write_bytes(CONTENT)
    (made / "manifest.json").write_text(json.dumps(manifest_of(CONTENT)))
    return made


@pytest.fixture
def uploads(service: FakeService) -> FakeUploads:
    return FakeUploads(service)


def test_upload_says_what_is_at_the_service_and_leaves_nothing_behind(
    linkage: Linkage, uploads: FakeUploads, folder: Path
) -> None:
    outcome = linkage("upload", folder, "--project", "prj_1")
    assert outcome.code == 0, outcome.err
    assert "10 encodings are at the service" in outcome.err
    assert "upload: upl_1" in outcome.out
    assert uploads.uploads["upl_1"]["state"] == "complete"
    assert [path.suffix for path in default_folder().iterdir()] == [".lock"]
    assert {path.name for path in folder.iterdir()} == {"encodings.bin", "manifest.json"}


def test_upload_of_what_is_there_in_part_says_so(linkage: Linkage, uploads: FakeUploads, folder: Path) -> None:
    uploads.add("upl_7", manifest=manifest_of(CONTENT), size_bytes=len(CONTENT), part_size=256)
    uploads.parts["upl_7"] = {1: CONTENT[:256]}
    outcome = linkage("upload", folder, "--project", "prj_1")
    assert "Going on: 1 of 5 parts are there already." in outcome.err


def test_upload_while_another_process_sends_to_the_project_says_who(
    linkage: Linkage, uploads: FakeUploads, folder: Path, url: str
) -> None:
    with open_journal(default_folder(), service_url=url, client_id="cli_1", project_id="prj_1", now=0.0):
        outcome = linkage("upload", folder, "--project", "prj_1", "--json")
    assert outcome.code == ExitCode.CONFLICT
    assert outcome.json()["code"] == "upload_busy"
    assert f"Process {os.getpid()} on this machine" in outcome.err
    assert uploads.uploads == {}


def test_upload_whose_journal_cannot_be_written_says_so_and_goes_on(
    linkage: Linkage, uploads: FakeUploads, folder: Path
) -> None:
    default_folder().parent.mkdir(parents=True)
    default_folder().write_bytes(b"")
    outcome = linkage("upload", folder, "--project", "prj_1")
    assert outcome.code == 0, outcome.err
    assert "journal of this upload cannot be written" in outcome.err
    assert uploads.uploads["upl_1"]["state"] == "complete"


def test_bars_are_shown_one_after_the_other_and_remarks_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Bar:
        def __init__(self, description: str, *, unit: str) -> None:
            self.words = f"{description} {unit}"

        def __enter__(self) -> Self:
            seen.append(f"{self.words} begins")
            return self

        def __call__(self, done: int, total: int) -> None:
            seen.append(f"{done}/{total}")

        def __exit__(self, *_: object) -> None:
            seen.append(f"{self.words} ends")

    monkeypatch.setattr(module, "progress_bar", Bar)
    with module._Bars(say=seen.append) as bars:
        bars.advance("Checking", 1, 2)
        bars.advance("Checking", 2, 2)
        bars.advance("Uploading", 0, 2)
        bars.say("Full disk.")
        bars.advance("Uploading", 1, 2)
    assert seen == [
        "Checking bytes begins",
        "1/2",
        "2/2",
        "Checking bytes ends",
        "Uploading bytes begins",
        "0/2",
        "Uploading bytes ends",
        "Full disk.",
        "Uploading bytes begins",
        "1/2",
        "Uploading bytes ends",
    ]


def test_upload_of_encodings_by_an_older_version_is_refused_before_anything_is_asked(
    linkage: Linkage, uploads: FakeUploads, folder: Path
) -> None:
    older = {**manifest_of(CONTENT), "key": {"epoch": 1, "check_value": "00" * 16}}
    (folder / "manifest.json").write_text(json.dumps(older))
    outcome = linkage("upload", folder, "--project", "prj_1")
    assert outcome.code == ExitCode.DATA
    assert "older version" in outcome.err
    assert uploads.uploads == {}
    assert uploads.service.asked == []


def test_upload_with_opt_outs_too_long_ago_is_refused_before_anything_is_sent(
    linkage: Linkage, uploads: FakeUploads, folder: Path
) -> None:
    agreed(uploads.service, linkage_schema(), rights={"opt_out_type": "local_objection", "reapply_days": 30})
    old = {**manifest_of(CONTENT), "opt_outs_applied_at": "2020-01-01T00:00:00Z"}
    for manifest, words in ((old, "on 2020-01-01"), (manifest_of(CONTENT), "do not say")):
        (folder / "manifest.json").write_text(json.dumps(manifest))
        outcome = linkage("upload", folder, "--project", "prj_1")
        assert outcome.code != 0
        assert words in outcome.err
    assert uploads.uploads == {}


def test_upload_under_an_agreement_that_nobody_signed_sends_nothing(
    linkage: Linkage, uploads: FakeUploads, folder: Path
) -> None:
    agreed(uploads.service, linkage_schema(), signed=False, rights={"opt_out_type": "none", "reapply_days": 30})
    outcome = linkage("upload", folder, "--project", "prj_1")
    assert outcome.code != 0
    assert uploads.uploads == {}


def test_upload_says_when_opt_outs_were_applied_and_cannot_change_it(
    linkage: Linkage, uploads: FakeUploads, folder: Path
) -> None:
    declared = {**manifest_of(CONTENT), "opt_outs_applied_at": "2020-01-01T00:00:00Z"}
    (folder / "manifest.json").write_text(json.dumps(declared))
    refused = linkage("upload", folder, "--project", "prj_1", "--opt-outs-applied", "today")
    assert "another day than you say now" in refused.err
    outcome = linkage("upload", folder, "--project", "prj_1")
    assert outcome.code == 0, outcome.err
    assert "last taken out of the extract on 2020-01-01" in outcome.err
    assert uploads.uploads["upl_1"]["manifest"]["opt_outs_applied_at"] == "2020-01-01T00:00:00Z"
