"""The promise that matters most: identifiers, record ids, secrets and private keys never reach the service.

People, record ids and the secret are marked; a whole linkage runs over a relay that keeps every byte; then everything
that the service received, stored, logged or sent is searched for the marks, in every spelling a program may give them.
"""

import base64
import csv
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from linkage_client.demo import flow
from linkage_client.demo.inputs import Inputs, read_directory
from linkage_client.testing.rounds import registered
from linkage_client.testing.service import RunningService
from linkage_service.audit.exporting import FormatName
from linkage_service.cli import main
from support.canaries import contents, files_below, search, spellings
from support.recording_proxy import RecordingProxy

PROVIDERS = ("northgate", "hospital")
# So many people's values are searched for in the ledger, beside the stems that the values of all have.
SEARCHED = 6
ROWS = 40
COLUMNS = ("record_id", "given_name", "surname", "date_of_birth", "address", "postcode")


class ProxiedService(RunningService):
    """A service that its partners reach through the relay."""

    proxy: RecordingProxy

    @property
    def url(self) -> str:
        return self.proxy.url


@contextmanager
def proxied(folder: Path) -> Iterator[ProxiedService]:
    with RecordingProxy(folder) as proxy, ProxiedService(folder, settings={"LINKAGE_LOG_LEVEL": "DEBUG"}) as service:
        service.proxy = proxy
        proxy.forward_to(service.local.url)
        yield service


def marked_person(provider: str, row: int) -> dict[str, str]:
    """A person whose every value is a mark; the first half are known to both providers."""
    known_to = "both" if row < ROWS // 2 else provider
    # People known to one provider only are born in another year at each, so that they are not matched.
    year = 1910 + row + (40 * PROVIDERS.index(provider) if known_to == provider else 0)
    return {
        "record_id": f"qxrecord{provider}{row:03d}",
        "given_name": f"Qxgiven{known_to}{row:03d}",
        "surname": f"Qxfamily{known_to}{row:03d}",
        "date_of_birth": f"{year}-0{row % 9 + 1}-1{(row + year) % 9}",
        "address": f"{row + 101} Qxstreet{known_to}{row:03d}",
        "postcode": f"ZQ{row % 9 + 1} {row % 9}QX",
    }


def write_extracts(folder: Path) -> list[dict[str, str]]:
    folder.mkdir()
    people = []
    for provider in PROVIDERS:
        rows = [marked_person(provider, row) for row in range(ROWS)]
        people += rows
        with (folder / f"{provider}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return people


def link_everything(service: RunningService, inputs: Inputs) -> dict[str, bytes]:
    """Plays the whole linkage and gives the secrets that were in use."""
    with registered(service, *(source.name for source in inputs.sources)) as members:
        *providers, recipient = members
        agreement = flow.agree(members, schema=inputs.schema, completeness=inputs.completeness)
        project = flow.open_project(recipient, agreement=agreement, schema=inputs.schema, name="Canaries")
        flow.share_secret(providers, project_id=project.id)
        for provider, source in zip(providers, inputs.sources, strict=True):
            manifest = flow.encode(provider, project_id=project.id, extract=source.path, methods=inputs.methods)
            flow.upload(provider, project_id=project.id, manifest=manifest)
        # A few dozen people whose every name begins alike stand out from nobody: they are linked from a similarity on.
        started = recipient.client.runs.start(project_id=project.id, threshold=0.7)
        run = recipient.client.runs.wait(run_id=started.id)
        shared = [pattern.groups for pattern in recipient.client.runs.summary(run_id=run.id).patterns]
        assert max(count or 0 for count in shared) >= ROWS // 2 - 5
        recipient.client.runs.report(run_id=run.id)
        flow.ask_for_more(recipient, run_id=run.id)
        granted = flow.release(recipient, run_id=run.id)
        for provider in providers:
            assert flow.retrieve(provider, release_id=granted.id) == ROWS
        for member in members:
            list(member.client.audit.events())
        secret = flow.secret_file(providers[0], project_id=project.id)
        return secrets_of([member.folder for member in members], secret)


def secrets_of(folders: list[Path], secret_file: Path) -> dict[str, bytes]:
    secret = secret_file.read_bytes()
    found = {"the linkage secret": secret}
    for folder in folders:
        for file in folder.glob("exchange-keys*.json"):
            kept = json.loads(file.read_text("utf-8"))
            for name, value in {"signing_key": kept["signing_key"], **kept["hpke_keys"]}.items():
                found[f"exchange key {folder.name}/{name}"] = value.encode()
        for key in folder.glob("*.jwk"):
            jwk = json.loads(key.read_text("utf-8"))
            if "d" in jwk:
                found[f"private key {folder.name}/{key.name}"] = jwk["d"].encode()
    return found


def canaries_of(people: list[dict[str, str]], secrets: dict[str, bytes]) -> dict[str, bytes]:
    marks = dict(secrets)
    for place, person in enumerate(people):
        marks |= {f"{column} of person {place}": value.encode() for column, value in person.items()}
    for person in people[:3]:
        # As the encoder sees it. A few only: eight digits stand somewhere in enough hexadecimal by chance.
        marks[f"digits of {person['record_id']}"] = person["date_of_birth"].replace("-", "").encode()
    # The stem alone, so that a piece of a value is found as well.
    return {**marks, **{f"stem {stem}": stem.encode() for stem in ("qxgiven", "qxfamily", "qxstreet", "qxrecord")}}


@dataclass(frozen=True)
class Linked:
    """A linkage that was played, and what is left of it."""

    folder: Path
    service: ProxiedService
    canaries: dict[str, bytes]
    hits_while_running: list[str]

    @property
    def stored(self) -> list[Path]:
        return files_below(self.service.data_dir)

    @property
    def of_providers(self) -> list[Path]:
        return files_below(self.folder / "data", self.folder / "parties")


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Linked:
    folder = tmp_path_factory.mktemp("canaries")
    people = write_extracts(folder / "data")
    inputs = read_directory(folder / "data")
    with proxied(folder) as service:
        canaries = canaries_of(people, link_everything(service, inputs))
        # The database's write-ahead log is searched too: after an orderly end it would be gone.
        hits = search(files_below(service.data_dir), canaries)
    return Linked(folder=folder, service=service, canaries=canaries, hits_while_running=hits)


def test_service_receives_stores_logs_and_sends_no_identifier_and_no_secret(linked: Linked) -> None:
    proxy = linked.service.proxy
    everything = [*linked.stored, linked.service.local.log_path, proxy.upstream, proxy.downstream]

    assert linked.hits_while_running == []
    assert search(everything, linked.canaries) == []


def test_search_finds_what_is_there(linked: Linked) -> None:
    """The control: the same search finds the marks where they belong, and the relay did see what was sent."""
    found = {hit.rsplit(" in ", 1)[0] for hit in search(linked.of_providers, linked.canaries)}
    encodings = next(path for path in linked.of_providers if path.name == "encodings.bin").read_bytes()

    assert {name for name in linked.canaries if not name.startswith("digits")} == found - {
        name for name in found if name.startswith("digits")
    }
    assert encodings in linked.service.proxy.upstream.read_bytes()
    assert b'"link_id"' in linked.service.proxy.downstream.read_bytes()
    assert b'"request"' in linked.service.local.log_path.read_bytes()


def test_stored_encodings_cannot_be_read_from_the_data_directory(linked: Linked) -> None:
    rows = []
    for path in linked.of_providers:
        if path.name == "encodings.bin":
            content = path.read_bytes()
            rows += [content[start : start + 128] for start in range(0, len(content), 128)]
    stored = b"".join(content for _, content in contents(linked.stored))

    assert len(rows) == 2 * ROWS
    assert not [row for row in rows if row in stored]


def _of_data_subjects(linked: Linked) -> dict[str, bytes]:
    """The marks, and what stands for a person without naming one: link ids and encodings.

    Hundreds of marks in every spelling would take minutes to look for in everything that the log is exported as.
    """
    found = {name: value for name, value in linked.canaries.items() if _place(name) < SEARCHED}
    for path in linked.of_providers:
        if path.name == flow.LINKS_FILE:
            with path.open(encoding="utf-8") as file:
                rows = list(csv.DictReader(file))[:5]
            found |= {f"link id {row['link_id'][:4]}": row["link_id"].encode() for row in rows}
        elif path.name == "encodings.bin":
            content = path.read_bytes()
            # A few bytes of a filter are as telling as all of it; the middle is least likely to be all zeros.
            found |= {f"encoding {start}": content[start + 56 : start + 72] for start in range(0, 5 * 128, 128)}
    return found


def _place(name: str) -> int:
    """Which person a mark is of; -1 for what is of none alone."""
    place = name.rpartition(" of person ")[2]
    return int(place) if place.isdecimal() else -1


def _ledger_files(linked: Linked, folder: Path) -> list[Path]:
    """Every header and every body of the ledger as a file of lines, and how they are exported."""
    with closing(sqlite3.connect(linked.service.data_dir / "linkage.db")) as database:
        headers = [row[0] for row in database.execute("SELECT header FROM audit_event")]
        bodies = [row[0] for row in database.execute("SELECT body FROM audit_body WHERE body IS NOT NULL")]
    assert len(headers) > 30
    assert len(bodies) > 10
    files = {"headers": b"\n".join(headers), "bodies": b"\n".join(bodies)}
    files |= {"checkpoints and the rest": (linked.service.data_dir / "linkage.db").read_bytes()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [*(folder / name for name in files), *_exports(linked, folder)]


def _exports(linked: Linked, folder: Path) -> list[Path]:
    """The whole log in every format that it leaves the service in; the members of a bundle are stored as they are."""
    files = [folder / f"export.{name}" for name in get_args(FormatName)]
    for file in files:
        wanted = ["--format", file.suffix.removeprefix("."), "--out", str(file)]
        asked = ["audit", "export", "--data-dir", str(linked.service.data_dir), *wanted]
        outcome = CliRunner().invoke(main, asked)
        assert outcome.exit_code == 0, outcome.output
        assert file.stat().st_size > 10_000
    return files


def test_ledger_holds_nothing_about_a_data_subject(linked: Linked, tmp_path: Path) -> None:
    assert search(_ledger_files(linked, tmp_path), _of_data_subjects(linked)) == []


def test_search_of_the_ledger_finds_what_is_planted(linked: Linked, tmp_path: Path) -> None:
    """The control: one mark of each kind, spelled in its own way, in a header like the others."""
    wanted = _of_data_subjects(linked)
    names = ["surname of person 0", "record_id of person 5", "the linkage secret", "encoding 128"]
    names.append(next(name for name in wanted if name.startswith("link id")))
    spelled = [wanted[names[0]], wanted[names[1]].hex().encode(), base64.b64encode(wanted[names[2]]),
               base64.b64encode(b"x" + wanted[names[3]]), wanted[names[4]]]  # fmt: skip
    headers = _ledger_files(linked, tmp_path)[0]
    headers.write_bytes(headers.read_bytes() + b"".join(b'{"type":"x","id":"' + text + b'"}' for text in spelled))

    hits = search([headers], wanted)

    assert {f"{name} in headers" for name in names} <= set(hits)


@pytest.mark.parametrize("before", [b"", b"x", b"xy"])
def test_spellings_cover_base64_at_every_offset(before: bytes) -> None:
    encoded = base64.b64encode(before + b"qxcanaryvalue" + b"tail")

    assert any(form in encoded for form in spellings(b"qxcanaryvalue"))
