"""Every command of `linkage`, with marked people and secrets: nothing of them in what it prints, nor in a stray file.

A whole linkage is played by commands alone, against a real service. What may hold marks is a short list of files;
every other file below the folder, the temporary one included, is searched, and so is what each command said. Then the
commands that read data are given damaged files.
"""

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from linkage_client.cli import cli, run
from linkage_client.cli.exit_codes import ExitCode
from linkage_client.demo import flow
from linkage_client.demo.agreement import PURPOSE
from linkage_client.demo.inputs import read_directory
from linkage_client.keys import write_private_file
from linkage_client.reference import leaf_commands
from linkage_client.testing import RunningService, registered
from support.canaries import files_below, search, spellings

ROWS = 450
COLUMNS = ("record_id", "given_name", "surname", "date_of_birth", "address", "postcode", "needs")
NAMES = ("northgate", "hospital")
HOLDERS = frozenset(
    {
        "northgate.csv",
        "hospital.csv",
        "rows.parquet",
        "links.csv",
        "damaged.csv",
        "linkage-secret",
        "passphrase",
        "passphrase.txt",
        "working-key.txt",
        "invitation.txt",
        "link.txt",
        "second-link.txt",
    }
)
"""Files that hold marks because that is what they are for; keys and kept secrets besides."""
# Played elsewhere, as a process of its own: it starts a service and leaves signals as it finds them.
APART = frozenset({"demo"})


@dataclass
class Stage:
    """Where the play is: folders, ids as they become known, marks, and what every command said."""

    folder: Path
    members: dict[str, flow.Member]
    canaries: dict[str, bytes]
    ids: dict[str, str] = field(default_factory=dict)
    played: set[str] = field(default_factory=set)
    leaks: list[str] = field(default_factory=list)

    @property
    def north(self) -> Path:
        return self.members["northgate"].folder

    def profile(self, who: str) -> str:
        return str(self.members[who].profile)


def person(row: int, *, known_to: str) -> dict[str, str]:
    return {
        "record_id": f"qxrecord{known_to}{row:03d}",
        "given_name": f"Qxgiven{known_to}{row:03d}",
        "surname": f"Qxfamily{known_to}{row:03d}",
        "date_of_birth": f"{1920 + row % 80}-0{row % 9 + 1}-{10 + row % 18}",
        "address": f"{row + 101} Qxstreet{known_to}{row:03d}",
        "postcode": f"ZE{row % 9 + 1} {row % 9}QX",
        "needs": "ABC"[row % 3],
    }


def write_extracts(folder: Path) -> list[dict[str, str]]:
    folder.mkdir()
    people = []
    for name in NAMES:
        rows = [person(row, known_to="both" if row % 2 else name) for row in range(ROWS)]
        people += rows
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return people


def marks_of(people: list[dict[str, str]], members: list[flow.Member]) -> dict[str, bytes]:
    marks = {f"stem {stem}": stem.encode() for stem in ("qxgiven", "qxfamily", "qxstreet", "qxrecord")}
    # A few dates and postcodes are enough: each mark is looked for in every spelling and every file.
    for row, someone in enumerate(people[:3]):
        marks |= {f"{column} of person {row}": someone[column].encode() for column in ("date_of_birth", "postcode")}
    for member in members:
        marks |= exchange_keys_in(member.folder)
        for key in member.folder.glob("*.jwk"):
            marks[f"private key {member.name}/{key.name}"] = json.loads(key.read_text("utf-8"))["d"].encode()
    return marks


def exchange_keys_in(folder: Path) -> dict[str, bytes]:
    """The private halves of the exchange keys that are kept in a folder."""
    marks = {}
    for file in folder.glob("exchange-keys*.json"):
        kept = json.loads(file.read_text("utf-8"))
        for name, value in {"signing_key": kept["signing_key"], **kept["hpke_keys"]}.items():
            marks[f"exchange key {name} of {folder.name} in {file.name}"] = value.encode()
    return marks


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with everything that a command may write to: home, configuration, state, temporary files."""
    folder = tmp_path_factory.mktemp("commands")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR"):
            (folder / name.lower()).mkdir()
            patch.setenv(name, str(folder / name.lower()))
        patch.setenv("LINKAGE_DEBUG", "1")
        patch.setattr(tempfile, "tempdir", None)
        yield folder


@pytest.fixture(scope="module")
def stage(places: Path) -> Iterator[Stage]:
    people = write_extracts(places / "data")
    inputs = read_directory(places / "data")
    with RunningService(places / "unit") as service, registered(service, *NAMES) as members:
        *providers, recipient = members
        agreement = flow.agree(members, schema=inputs.schema, completeness=inputs.completeness)
        project = flow.open_project(recipient, agreement=agreement, schema=inputs.schema, name="Canaries")
        flow.share_secret(providers, project_id=project.id)
        manifest = flow.encode(providers[1], project_id=project.id, extract=places / "data" / "hospital.csv")
        flow.upload(providers[1], project_id=project.id, manifest=manifest)
        everybody = {"northgate": members[0], "hospital": members[1], "recipient": recipient}
        everybody |= {"administrator": service.unit.administrator, "officer": service.unit.officer}
        stage = Stage(places, everybody, marks_of(people, members))
        # A copy under a name of its own, as for a hand-over without the service.
        secret = flow.secret_file(members[0], project_id=project.id).read_bytes()
        write_private_file(stage.north / "linkage-secret", secret)
        stage.canaries["the linkage secret"] = secret
        stage.ids |= {"project": project.id, "agreement": agreement.id, "service": service.url}
        (stage.north / "schema.json").write_text(json.dumps(inputs.schema.document), encoding="utf-8")
        yield stage
    # Nothing of this may be left where other tests look.
    assert not os.environ.get("LINKAGE_CONFIG")


Say = Callable[..., str]


@pytest.fixture
def say(stage: Stage, capfd: pytest.CaptureFixture[str]) -> Say:
    """Run a command line, whose code may be any but that of a defect where None is given; search what it printed."""

    def play(*words: object, who: str = "northgate", code: int | None = ExitCode.DONE) -> str:
        arguments = [str(word) for word in words]
        command = next(path for path, _ in leaf_commands() if arguments[: len(path) - 1] == list(path[1:]))
        stage.played.add(" ".join(command[1:]))
        if who:
            arguments += ["--config", stage.profile(who)]
        given = "\0".join(arguments).encode()
        capfd.readouterr()
        ended = run(arguments)
        printed = capfd.readouterr()
        assert ended == code or (code is None and ended in set(ExitCode) - {ExitCode.DEFECT}), f"{command}: {printed}"
        for where, said in (
            ("argv", given),
            ("stdout", printed.out.encode()),
            ("stderr", printed.err.encode()),
        ):
            found = [name for name, mark in stage.canaries.items() if any(form in said for form in spellings(mark))]
            stage.leaks += [f"{name} in {where} of {' '.join(command)}" for name in found]
        return printed.out

    return play


def id_of(printed: str) -> str:
    return str(json.loads(printed)["id"])


def test_commands_of_a_whole_linkage_print_and_leave_no_mark(stage: Stage, say: Say) -> None:
    north, project = stage.north, stage.ids["project"]
    extract, secret = stage.folder / "data" / "northgate.csv", north / "linkage-secret"
    _set_up(stage, say)
    _govern(stage, say)
    for_project = ("--project", project)
    say("doctor", *for_project)
    say("schema", "propose", extract, "--out", north / "proposed.json")
    say("schema", "show", north / "schema.json")
    say("schema", "check", north / "schema.json")
    say("check", extract, *for_project, "--html", north / "quality.html")
    say("risk", extract, *for_project, "--html", north / "risk.html")
    say("secret", "new", north / "another-secret", who="")
    say("secret", "check", secret, *for_project)
    _share(stage, say)
    say("secret", "delete", *for_project, "--epoch", "1")
    say("secret", "add", secret, *for_project)
    say("secret", "list")
    _hand_over(stage, say, for_project)
    say("encode", extract, *for_project, "--opt-outs-applied", "today", "--out", north / "encoded")
    say("upload", north / "encoded", *for_project)
    run_id = id_of(say("run", "start", project, "--threshold", "0.7", "--json"))
    say("run", "wait", run_id)
    say("run", "show", run_id, "--html", north / "report.html")
    say("run", "list", project)
    say("run", "cancel", run_id, code=ExitCode.CONFLICT)
    release = id_of(say("release", run_id, "--purpose", PURPOSE, "--json", who="recipient"))
    say("results", release, "--rows", north / "encoded" / "rows.parquet", "--out", north / "links.csv")
    joined = north / "for-recipient.csv"
    say("join", extract, "--links", north / "links.csv", *for_project, "--out", joined)
    other = stage.members["hospital"].folder
    say(
        "results",
        release,
        "--rows",
        other / "encoded" / "rows.parquet",
        "--out",
        other / "links.csv",
        who="hospital",
    )
    hospital = stage.folder / "data" / "hospital.csv"
    say("join", hospital, "--links", other / "links.csv", *for_project, "--out", other / "joined.csv", who="hospital")
    say("merge", f"north={joined}", f"hospital={other / 'joined.csv'}", "--out", north / "merged.csv", who="recipient")
    _end(stage, say, run_id, release)

    every_command = {" ".join(path[1:]) for path, _ in leaf_commands()}
    assert stage.played | APART == every_command
    assert stage.leaks == []
    assert search(_strangers(stage), stage.canaries) == []
    # The control: marks are found where they belong.
    assert search([extract, secret], stage.canaries) != []


def _hand_over(stage: Stage, say: Say, for_project: tuple[str, ...]) -> None:
    """The secret leaves as a sealed file, which holds no mark, and comes back; a key is derived from it."""
    folder = stage.north
    passphrase = folder / "passphrase.txt"
    passphrase.write_text("qxpassphrase of several words\n", encoding="utf-8")
    passphrase.chmod(0o600)
    stage.canaries["the passphrase"] = passphrase.read_bytes().strip()
    by_passphrase = ("--passphrase-file", passphrase)
    say("secret", "export", folder / "sealed.json", *for_project, *by_passphrase)
    say("secret", "delete", *for_project, "--epoch", "1")
    say("secret", "import", folder / "sealed.json", *for_project, *by_passphrase)
    say("secret", "derive", folder / "working-key.txt", *for_project)
    stage.canaries["the working key"] = (folder / "working-key.txt").read_bytes().strip()


def _manage_people(stage: Stage, say: Say, organisation: str) -> None:
    links = [stage.folder / "third" / name for name in ("link.txt", "second-link.txt")]
    draft = ("--name", "Alex Morgan", "--email", "alex@third.test", "--role", "analyst")
    invited = json.loads(
        say("organisation", "invite-person", organisation, *draft, "--out", links[0], "--json", who="third")
    )
    stage.canaries["the first link"] = links[0].read_bytes().strip()
    account = (organisation, invited["person"])
    say("organisation", "reinvite-person", *account, "--out", links[1], who="third")
    stage.canaries["the second link"] = links[1].read_bytes().strip()
    say("organisation", "people", organisation, who="third")
    say("organisation", "disable-person", *account, who="third")
    say("organisation", "enable-person", *account, who="third")


def _set_up(stage: Stage, say: Say) -> None:
    """Registration, keys, configuration and the shell, as a third organisation's analyst would go about them."""
    folder = stage.folder / "third"
    folder.mkdir()
    made = id_of(say("organisation", "create", "--name", "Third", "--json", who="administrator"))
    invitation = folder / "invitation.txt"
    say("organisation", "invite", made, "--out", invitation, who="administrator")
    stage.canaries["the invitation"] = invitation.read_bytes().strip()
    registering = ("--service", stage.ids["service"], "--invitation-file", invitation, "--name", "Third")
    third = folder / "profile.toml"
    say("register", *registering, "--role", "analyst", "--role", "signatory", "--config", third, who="")
    for key in folder.glob("*.jwk"):
        stage.canaries[f"private key third/{key.name}"] = json.loads(key.read_text("utf-8"))["d"].encode()
    stage.members["third"] = flow.Member(
        name="third",
        role="provider",
        organisation_id=made,
        folder=folder,
        profile=third,
        client=stage.members["northgate"].client,
    )
    say("whoami", who="third")
    say("key-file", "new", folder / "machine.jwk", "--public-out", folder / "machine.public", who="")
    stage.canaries["private key of a machine"] = json.loads((folder / "machine.jwk").read_text("utf-8"))["d"].encode()
    say("key-file", "show", folder / "machine.jwk", who="")
    say("keys", "rotate-client", who="third")
    for key in folder.glob("*.jwk"):
        stage.canaries[f"private key third/{key.name}"] = json.loads(key.read_text("utf-8"))["d"].encode()
    admitting = ("--name", "second machine", "--public-key", folder / "machine.public", "--role", "analyst")
    client = id_of(say("organisation", "add-client", made, *admitting, "--json", who="third"))
    say("organisation", "clients", made, who="third")
    _manage_people(stage, say, made)
    identity = ("--service", stage.ids["service"], "--organisation", made, "--client", client)
    keyed = ("--client-key", folder / "machine.jwk")
    say("config", "new", *identity, *keyed, "--config", folder / "machine.toml", who="")
    say("organisation", "revoke-client", made, client, who="third")
    say("organisation", "list", who="third")
    assured = ("--status", "standards_met", "--expires", "2099-01-01T00:00:00Z", "--evidence", "Seen.")
    say("organisation", "assurance", made, *assured, who="officer")
    for step in ("warn", "suspend", "reinstate"):
        say("organisation", step, made, "--reason", "An exercise.", who="officer")
    for shown in (("show", "--origin"), ("path",), ("list",)):
        say("config", *shown, who="third")
    say("config", "keystore", "file", who="third")
    say("config", "use", "nobody", who="", code=ExitCode.CONFIGURATION)
    say("completion", "bash", who="")
    say("exit-codes", who="")


def _share(stage: Stage, say: Say) -> None:
    """What providers do to share a secret, and with the keys for it."""
    project, folder = stage.ids["project"], stage.north
    code = flow.ceremony_of(stage.members["hospital"]).look(project).code
    say("project", "status", project)
    say("project", "confirm-code", project, "--code", "1" * 30, code=ExitCode.KEY_EXCHANGE)
    say("project", "confirm-code", project, "--code", code)
    say("project", "share-secret", project)
    say("project", "accept-secret", project)
    passphrase = folder / "passphrase"
    write_private_file(passphrase, b"qxphrase harbour ninety two")
    stage.canaries["the passphrase"] = b"qxphrase harbour"
    sealed = (folder / "keys.sealed", "--passphrase-file", passphrase)
    say("keys", "init")
    say("keys", "show")
    say("keys", "export", *sealed)
    say("keys", "import", *sealed)


def _begin_anew(stage: Stage, say: Say) -> None:
    """New keys, a new secret, a provider that leaves and comes back."""
    project = stage.ids["project"]
    say("keys", "rotate", "--yes", who="hospital")
    stage.canaries |= exchange_keys_in(stage.members["hospital"].folder)
    say("project", "new-epoch", project, "--because", "planned", "--yes")
    say("project", "leave", project, "--yes", who="hospital")
    say("project", "join", project, "--yes", who="hospital")


def _govern(stage: Stage, say: Say) -> None:
    """Agreements, projects and the ledger."""
    folder, agreement = stage.north, stage.ids["agreement"]
    say("agreement", "list")
    say("agreement", "show", agreement, "--out", folder / "agreement.json")
    document = {**json.loads((folder / "agreement.json").read_text("utf-8")), "reference": "ISP-2026-002"}
    (folder / "agreement.json").write_text(json.dumps(document), encoding="utf-8")
    drafted = json.loads(say("agreement", "create", folder / "agreement.json", "--json"))
    say("agreement", "propose", drafted["id"])
    say("agreement", "sign", drafted["id"], "--digest", drafted["digest"])
    answers = {**document, "reference": "ISP-2026-003"}
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    say("agreement", "new", folder / "new.json", "--answers", folder / "answers.json", "--schema",
        folder / "schema.json")  # fmt: skip
    say("agreement", "check", folder / "new.json")
    imported = id_of(say("agreement", "import", folder / "new.json", "--json"))
    say("agreement", "withdraw", imported)
    for form in ("json", "page", "text", "dea-csv", "article30-csv", "bundle"):
        say("agreement", "export", agreement, "--format", form, "--out", folder / f"exported.{form}")
    say("agreement", "verify", folder / "exported.bundle")
    say("agreement", "verify", agreement)
    say("agreement", "verify", drafted["id"], code=ExitCode.DATA)
    (folder / "amended.json").write_text(json.dumps({**document, "title": "Amended"}), encoding="utf-8")
    say("agreement", "amend", drafted["id"], folder / "amended.json", code=ExitCode.CONFLICT)
    say("agreement", "terminate", drafted["id"], "--reason", "Not needed.", "--yes")
    say("agreement", "suspend", agreement, "--reason", "A breach was reported.")
    say("agreement", "reinstate", agreement, "--reason", "It was mended.", who="officer")
    next_one = json.loads((folder / "exported.json").read_text("utf-8"))["review"]["ends"][:10]
    say("agreement", "review", agreement, "--passed", "--next", next_one, "--findings", "Fine.", who="officer")
    say("project", "list")
    say("project", "show", stage.ids["project"])
    opening = ("--agreement", agreement, "--name", "Second", "--purpose", PURPOSE)
    say("project", "open", *opening, "--schema", folder / "schema.json", who="recipient")
    say("project", "disclosures", stage.ids["project"])
    say("audit", "list", who="officer")
    say("audit", "show", "3", who="officer")
    say("audit", "replay", "3", who="officer")
    say("audit", "checkpoint", who="officer")
    say("audit", "receipt", "0", who="officer")
    for form in ("csv", "jsonl", "ocsf", "fhir", "bundle"):
        say("audit", "export", "--format", form, "--out", folder / f"log.{form}", who="officer")
    say("audit", "alarms", "--all", who="officer")
    say("audit", "acknowledge", f"alm_{'0' * 26}", "--reason", "Expected.", who="officer", code=None)
    say("audit", "witness", who="officer", code=None)


def _end(stage: Stage, say: Say, run_id: str, release: str) -> None:
    """Rights of data subjects, and the end of the project."""
    north, project = stage.north, stage.ids["project"]
    (north / "ids").mkdir()
    # These two hold record ids because that is what they are for.
    ids, one = north / "ids" / "rows.parquet", north / "ids" / "links.csv"
    ids.write_text("qxrecordboth001\nqxrecordboth003\n", encoding="utf-8")
    one.write_text("qxrecordboth001\n", encoding="utf-8")
    rows_file = ("--rows-file", north / "encoded" / "rows.parquet")
    say("trace", project, "--record-id-file", one, *rows_file)
    say("withdraw", project, "--record-ids", ids, *rows_file, "--reason", "objection")
    say(
        "withdraw", project, "--record-ids", north / "for-recipient.csv", *rows_file, "--reason", "objection", code=None
    )
    say("withdrawals", release, "--out", north / "withdrawn.csv", who="recipient", code=None)
    say("hold", "put", run_id, "--ground", "accuracy", "--reason", "Case 1.", who="officer")
    say("hold", "list", project, who="officer")
    say("hold", "lift", run_id, "--reason", "Closed.", who="officer")
    _begin_anew(stage, say)
    say("project", "close", project, "--yes")
    say("certificate", "list", project)
    say("certificate", "show", f"crt_{'0' * 26}", code=ExitCode.NOT_FOUND)
    say("certificate", "verify", ids, "--verifier-key", "none", code=ExitCode.DATA)


def _strangers(stage: Stage) -> list[Path]:
    """Every file that has no business to hold a mark."""
    return [
        path
        for path in files_below(stage.folder)
        if path.name not in HOLDERS and path.suffix != ".jwk" and not _is_kept_secret(path)
    ]


def _is_kept_secret(path: Path) -> bool:
    return "secrets" in path.parts or path.name.startswith("exchange-keys")


DAMAGED: dict[str, Callable[[list[str]], list[str]]] = {
    "a quote that is not closed": lambda rows: [*rows[:200], 'qxrecord9,"' + rows[200], *rows[201:]],
    "a field too many": lambda rows: [*rows[:200], rows[200] + ",qxgivenstray", *rows[201:]],
    "a zero byte": lambda rows: [*rows[:200], rows[200].replace("Qx", "Q\0x", 1), *rows[201:]],
    "an id twice": lambda rows: [*rows, rows[1]],
    "no header": lambda rows: rows[1:],
}


@pytest.mark.parametrize("damage", sorted(DAMAGED))
def test_commands_that_refuse_a_damaged_extract_quote_nothing_of_it(stage: Stage, say: Say, damage: str) -> None:
    lines = (stage.folder / "data" / "northgate.csv").read_text(encoding="utf-8").splitlines()
    damaged = stage.folder / "damaged.csv"
    damaged.write_text("\n".join(DAMAGED[damage](lines)) + "\n", encoding="utf-8")
    schema = ("--schema", stage.north / "schema.json")
    stage.leaks.clear()

    say("encode", damaged, *schema, "--secret-file", stage.north / "linkage-secret", "--out", stage.north / "never",
        code=ExitCode.DATA)  # fmt: skip
    for words in (("check", damaged, *schema), ("risk", damaged, *schema), ("schema", "propose", damaged)):
        say(*words, code=None)

    assert stage.leaks == []
    assert not (stage.north / "never").exists()
    assert search(_strangers(stage), stage.canaries) == []


def test_defect_while_data_are_read_prints_no_value(stage: Stage, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("Qxgivenboth001")

    monkeypatch.setattr("linkage_client.encoding.extract.plan_encoding", fail)
    secret = ("--secret-file", stage.north / "linkage-secret")
    stage.leaks.clear()
    say(
        "encode",
        stage.folder / "data" / "northgate.csv",
        "--schema",
        stage.north / "schema.json",
        *secret,
        "--out",
        stage.north / "defective",
        code=ExitCode.DEFECT,
    )
    assert stage.leaks == []


def test_commands_apart_exist() -> None:
    context = click.Context(cli)
    assert {*APART} <= set(cli.list_commands(context))
