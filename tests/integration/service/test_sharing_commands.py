"""The commands by which providers share a secret, at the real service in this process: what is typed and said."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import click
import keyring.core
import pytest

from linkage_client import cli as command
from linkage_client.cli.exit_codes import ExitCode
from linkage_client.client import LinkageClient
from linkage_client.config import Profile
from linkage_client.exchange.storage import exchange_keys_of
from linkage_client.keystore import TRUSTED_BACKENDS, Secrets
from support.command import Outcome
from support.keystores import MemoryKeyring
from support.providers import Machine, machines_of, meet
from support.service_app import SCHEMA, Linked, ServiceApp, service_app

Say = Callable[..., Outcome]
PASSPHRASE = "quince harbour ninety two"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceApp]:
    with service_app(tmp_path_factory.mktemp("service")) as made:
        yield made


@pytest.fixture
def memory_keyring(monkeypatch: pytest.MonkeyPatch) -> MemoryKeyring:
    """In the place of the operating system's keystore."""
    made = MemoryKeyring()
    monkeypatch.setattr(keyring.core, "_keyring_backend", made)
    monkeypatch.setitem(cast("dict[str, str]", TRUSTED_BACKENDS), MemoryKeyring.__module__, "test keystore")
    return made


@pytest.fixture
def linked(service: ServiceApp, request: pytest.FixtureRequest) -> Linked:
    return service.project(providers=getattr(request, "param", 2))


@pytest.fixture
def machines(service: ServiceApp, linked: Linked, tmp_path: Path) -> list[Machine]:
    return machines_of(linked, service, tmp_path)


@pytest.fixture
def say(
    machines: list[Machine], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Say:
    """Types a command on one of the machines."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    # Nobody is there to answer.
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    known = {machine.profile_file: machine for machine in machines}
    monkeypatch.setattr(LinkageClient, "from_profile", lambda profile: _machine_of(profile, known).connect())

    def call(machine: Machine, *words: object, code: int = ExitCode.DONE) -> Outcome:
        known[machine.profile_file] = machine
        ended = command.run([*map(str, words), "--config", str(machine.profile_file)])
        captured = capsys.readouterr()
        assert ended == code, captured.err
        # The service is in this process, and writes its log to stdout.
        lines = [line for line in captured.out.splitlines(keepends=True) if "request_id=req_" not in line]
        return Outcome(ended, "".join(lines), captured.err)

    return call


def _machine_of(profile: Profile, known: dict[Path, Machine]) -> Machine:
    return known[profile.path]


@pytest.fixture
def private_passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def code_of(machine: Machine, project: str) -> str:
    code = machine.look(project).code
    assert code is not None
    return code


def test_commands_of_the_ceremony_as_they_are_typed(linked: Linked, machines: list[Machine], say: Say) -> None:
    project = linked.project
    a, b = machines
    made = say(a, "keys", "init", "--json").json()
    assert made["organisation"] == a.id
    assert say(a, "keys", "init", "--json").json() == made
    status = say(a, "project", "status", project)
    assert "Your next step: none for now; others have something to do first." in status.out
    assert "has not published its keys yet" in status.out
    said = say(a, "project", "confirm-code", project, "--code", "1" * 30, code=ExitCode.KEY_EXCHANGE)
    assert "has not published keys" in said.err

    say(b, "keys", "init")
    for machine, other in ((a, b), (b, a)):
        say(machine, "project", "confirm-code", project, "--code", code_of(other, project))
    shared = say(a, "project", "share-secret", project, "--json").json()
    assert (shared["drawn"], shared["sealed_for"]) == (True, [b.id])
    assert "`linkage project accept-secret" in say(b, "project", "status", project).out
    assert say(b, "project", "accept-secret", project, "--json").json()["sent_by"] != []
    again = say(b, "project", "accept-secret", project)
    assert "already" in again.err
    assert a.secret(project) == b.secret(project)
    document = say(a, "project", "status", project, "--json").json()
    assert [one["has_secret"] for one in document["providers"]] == [True, True]
    everything = f"{status}{said}{shared}{again}{document}"
    secret = a.secret(project)
    assert secret is not None
    assert secret.hex() not in everything


def test_status_is_a_table_with_the_next_step_below(linked: Linked, machines: list[Machine], say: Say) -> None:
    a, b = machines
    for machine in machines:
        say(machine, "keys", "init")
    lines = say(a, "project", "status", linked.project).out.splitlines()
    assert lines[0].startswith("Spring round, key epoch 1 (since ")
    assert lines[0].endswith(": the project was opened)")
    assert lines[2].split("  ")[0] == "Provider"
    (own,) = [line for line in lines if "(you)" in line]
    assert own.split()[-4:] == ["yes", "no", "no", "no"]
    assert any(line.startswith("Your next step: Get on a call with") for line in lines)
    assert any(line.startswith("Awaited: ") and b.look(linked.project).name_of(b.id) in line for line in lines)


def test_code_is_shown_and_asked_for_on_a_terminal(
    linked: Linked, machines: list[Machine], say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = linked.project
    a, b = machines
    for machine in machines:
        machine.init()
    code = code_of(a, project)
    typed: list[str] = ["1" * 30, code_of(b, project)]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(click, "prompt", lambda *_, **__: typed.pop(0))
    wrong = say(a, "project", "confirm-code", project, code=ExitCode.KEY_EXCHANGE)
    assert "THE CODES DIFFER" in wrong.err
    assert "Tell the linkage unit and your officer." in wrong.err
    assert not a.look(project).compared_here
    right = say(a, "project", "confirm-code", project)
    assert "".join(code.split()) in "".join(right.err.split())
    providers = a.look(project).providers
    assert all(one.name in right.err and one.organisation in right.err for one in providers)
    assert "2 providers, nobody else" in right.err
    assert all(part in right.err for part in ("x25519", a.look(project).agreement))
    assert a.look(project).compared_here


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_recovery_by_command_needs_everybody_with_new_keys_and_names_whom_it_seals_for(
    linked: Linked, machines: list[Machine], say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = linked.project
    a, b, c = machines
    meet(machines, project)
    a.share(project)
    for machine in (b, c):
        machine.accept(project)
    for machine in (b, c):
        machine.ceremony.renew()
        Secrets(machine.profile).delete(project, 1)
    confirm = ("project", "confirm-code", project, "--code", code_of(b, project))
    say(a, *confirm, code=ExitCode.KEY_EXCHANGE)
    name = a.look(project).name_of(c.id)
    said = say(a, *confirm, "--on-call", b.id, code=ExitCode.KEY_EXCHANGE)
    assert f"The keys of {name} are not those" in said.err

    asked: list[str] = []

    def answer(text: str, **_: object) -> bool:
        asked.append(text)
        return name not in text

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(click, "prompt", lambda *_, **__: code_of(b, project))
    monkeypatch.setattr(click, "confirm", answer)
    assert "nobody has said" in say(a, "project", "confirm-code", project, code=ExitCode.KEY_EXCHANGE).err
    assert f"Was {name} on the call, and did {name} read out this same code?" in asked
    say(a, *confirm, "--on-call", b.id, "--on-call", name)
    shared = say(a, "project", "share-secret", project, "--for", name, "--json").json()
    assert shared["sealed_for"] == [c.id]


def test_code_without_a_terminal_has_to_be_given(linked: Linked, machines: list[Machine], say: Say) -> None:
    for machine in machines:
        machine.init()
    assert "--code" in say(machines[0], "project", "confirm-code", linked.project, code=ExitCode.USAGE).err


def test_keys_on_another_machine_are_replaced_only_when_somebody_says_so(
    service: ServiceApp, linked: Linked, machines: list[Machine], say: Say, tmp_path: Path
) -> None:
    a = machines[0]
    say(a, "keys", "init")
    before = a.client.keys.card(organisation_id=a.id).digest
    new = Machine(service, a.organisation, tmp_path / "new-laptop")
    say(new, "keys", "init", code=ExitCode.INTERRUPTED)
    assert a.client.keys.card(organisation_id=a.id).digest == before
    assert exchange_keys_of(new.profile) is None
    said = say(new, "keys", "init", "--yes")
    assert "another code now" in said.err
    assert a.client.keys.card(organisation_id=a.id).digest != before
    assert "THE SERVICE SHOWS ANOTHER CARD" in say(a, "keys", "show").err
    assert "not of the keys on this machine" in say(a, "project", "status", linked.project).out


def test_keys_are_carried_to_another_machine_in_a_sealed_file(
    service: ServiceApp, machines: list[Machine], say: Say, tmp_path: Path, private_passphrase: Path
) -> None:
    a = machines[0]
    made = say(a, "keys", "init", "--json").json()
    sealed, with_passphrase = tmp_path / "keys.sealed", ("--passphrase-file", private_passphrase)
    say(a, "keys", "export", sealed, *with_passphrase)
    assert PASSPHRASE not in sealed.read_text("utf-8")
    new = Machine(service, a.organisation, tmp_path / "new-laptop")
    say(new, "keys", "import", sealed, *with_passphrase)
    shown = say(new, "keys", "show", "--json").json()
    assert shown["thumbprint"] == made["thumbprint"]
    assert shown["card_sha256"] == shown["published_card_sha256"] == made["card_sha256"]


def test_keys_that_are_there_are_not_replaced_by_an_import_unasked(
    machines: list[Machine], say: Say, tmp_path: Path, private_passphrase: Path
) -> None:
    a, b = machines
    sealed, with_passphrase = tmp_path / "keys.sealed", ("--passphrase-file", private_passphrase)
    for machine in machines:
        say(machine, "keys", "init")
    say(a, "keys", "export", sealed, *with_passphrase)
    kept = say(b, "keys", "show", "--json").json()["thumbprint"]
    say(b, "keys", "import", sealed, *with_passphrase, code=ExitCode.CONFIGURATION)
    assert say(b, "keys", "show", "--json").json()["thumbprint"] == kept
    say(b, "keys", "import", sealed, "--replace", *with_passphrase, code=ExitCode.INTERRUPTED)
    assert say(b, "keys", "show", "--json").json()["thumbprint"] == kept
    say(b, "keys", "import", sealed, "--replace", "--yes", *with_passphrase)
    assert say(b, "keys", "show", "--json").json()["thumbprint"] != kept


def test_sealed_keys_are_used_with_their_passphrase(
    linked: Linked, machines: list[Machine], say: Say, private_passphrase: Path
) -> None:
    project = linked.project
    a, b = machines
    with_passphrase = ("--passphrase-file", private_passphrase)
    say(a, "keys", "init", "--sealed", *with_passphrase)
    say(b, "keys", "init")
    code = ("--code", code_of(b, project))
    say(a, "project", "confirm-code", project, *code, *with_passphrase)
    say(b, "project", "confirm-code", project, *code)
    assert "--passphrase-file" in say(a, "project", "share-secret", project, code=ExitCode.CONFIGURATION).err
    say(a, "project", "share-secret", project, *with_passphrase)
    say(b, "project", "accept-secret", project)
    assert a.secret(project) == b.secret(project)


def test_keys_are_rotated_and_the_old_ones_forgotten(machines: list[Machine], say: Say) -> None:
    a = machines[0]
    made = say(a, "keys", "init", "--json").json()
    rotated = say(a, "keys", "rotate", "--yes", "--json").json()
    assert rotated["replaced"] == made["thumbprint"]
    assert rotated["thumbprint"] != made["thumbprint"]
    kept = [path for path in a.profile.folder.rglob("*") if path.is_file() and "exchange-keys" in path.name]
    assert len(kept) == 1
    shown = say(a, "keys", "show", "--json").json()
    assert shown["card_sha256"] == shown["published_card_sha256"] == rotated["card_sha256"]


def test_keys_that_are_not_there_cannot_be_rotated_or_exported(
    machines: list[Machine], say: Say, tmp_path: Path
) -> None:
    a = machines[0]
    assert "linkage keys init" in say(a, "keys", "rotate", "--yes", code=ExitCode.CONFIGURATION).err
    say(a, "keys", "export", tmp_path / "keys.sealed", code=ExitCode.CONFIGURATION)
    assert "linkage keys init" in say(a, "keys", "show").err


@pytest.mark.parametrize("lost", ["file", "keystore", "passphrase"])
def test_lost_keys_are_replaced_by_the_command_that_the_error_names(
    machines: list[Machine],
    say: Say,
    private_passphrase: Path,
    tmp_path: Path,
    memory_keyring: MemoryKeyring,
    *,
    lost: str,
) -> None:
    a = machines[0]
    words: list[object] = []
    if lost == "passphrase":
        words = ["--passphrase-file", tmp_path / "forgotten"]
        (tmp_path / "forgotten").write_text("what nobody will remember", encoding="utf-8")
        (tmp_path / "forgotten").chmod(0o600)
    if lost == "keystore":
        say(a, "config", "keystore", "os")
    made = say(a, "keys", "init", *(["--sealed"] if words else []), *words, "--json").json()
    if lost == "passphrase":
        words = ["--passphrase-file", private_passphrase]
    elif lost == "keystore":
        del memory_keyring.entries[next(entry for entry in memory_keyring.entries if made["thumbprint"] in str(entry))]
    else:
        (a.profile.folder / "exchange-keys.json").unlink()
    code = ExitCode.KEY_EXCHANGE if lost == "passphrase" else ExitCode.CONFIGURATION
    for command_words in (("init", "--yes"), ("rotate", "--yes"), ("show",)):
        assert "`linkage keys rotate --lost`" in say(a, "keys", *command_words, *words, code=code).err
    say(a, "keys", "rotate", "--lost", *words, code=ExitCode.INTERRUPTED)
    rotated = say(a, "keys", "rotate", "--lost", "--yes", *words, "--json").json()
    assert rotated["thumbprint"] != made["thumbprint"]
    shown = say(a, "keys", "show", *words, "--json").json()
    assert shown["card_sha256"] == shown["published_card_sha256"] == rotated["card_sha256"]
    files = [path for path in a.profile.folder.rglob("*") if path.is_file() and "exchange-keys" in path.name]
    assert len(files) == (lost != "keystore")


def test_lost_keys_of_a_profile_that_has_none_are_not_replaced(machines: list[Machine], say: Say) -> None:
    said = say(machines[0], "keys", "rotate", "--lost", "--yes", code=ExitCode.CONFIGURATION)
    assert "linkage keys init" in said.err


def test_sealed_keys_are_exported_and_imported_with_a_passphrase_for_each(
    machines: list[Machine], say: Say, tmp_path: Path, private_passphrase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, out = machines[0], tmp_path / "copy.sealed"
    say(a, "keys", "init", "--sealed", "--passphrase-file", private_passphrase)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PASSPHRASE.encode() + b"\n")))
    say(a, "keys", "export", tmp_path / "same.sealed", "--passphrase-file", "-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"another passphrase for the safe\n")))
    say(a, "keys", "export", out, "--passphrase-file", "-", "--present-passphrase-file", private_passphrase)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"another passphrase for the safe\n")))
    refused = say(a, "keys", "import", out, "--passphrase-file", "-", code=ExitCode.CONFIGURATION)
    assert "--present-passphrase-file" in refused.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"another passphrase for the safe\n")))
    say(a, "keys", "import", out, "--passphrase-file", "-", "--present-passphrase-file", private_passphrase)


def test_new_epoch_says_that_everybody_encodes_again(linked: Linked, machines: list[Machine], say: Say) -> None:
    a, b = machines
    because = ("--because", "suspected-leak")
    say(a, "project", "new-epoch", linked.project, *because, code=ExitCode.INTERRUPTED)
    assert b.client.keys.exchange(project_id=linked.project).epoch == 1
    said = say(a, "project", "new-epoch", linked.project, *because, "--yes")
    assert "all encode again" in said.err
    # Somebody who asks again means it: that nothing was shared yet is only what the service says.
    again = say(a, "project", "new-epoch", linked.project, *because, "--yes", "--json").json()
    assert (again["epoch"], again["opened"]) == (3, True)


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_providers_join_and_leave_by_command(linked: Linked, machines: list[Machine], say: Say, tmp_path: Path) -> None:
    a, b, late = machines
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    words = ("--agreement", linked.agreement["id"], "--name", "A", "--purpose", "planning")
    some = ("--provider", a.id, "--provider", b.id)
    opened = say(a, "project", "open", *words, "--schema", tmp_path / "schema.json", *some, "--json").json()
    assert sorted(opened["providers"]) == sorted([a.id, b.id])
    project = opened["id"]
    assert "`linkage project join" in say(late, "project", "status", project).out
    joined = say(late, "project", "join", project, "--yes", "--json").json()
    assert (sorted(joined["providers"]), joined["key_epoch"]) == (sorted([a.id, b.id, late.id]), 2)
    assert "already" in say(late, "project", "join", project).err
    left = say(late, "project", "leave", project, "--yes", "--json").json()
    assert (sorted(left["providers"]), left["key_epoch"]) == (sorted([a.id, b.id]), 3)
    assert "no provider" in say(late, "project", "leave", project).err
