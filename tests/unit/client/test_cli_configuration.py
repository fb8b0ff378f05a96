"""The commands of configuration, and how configuration reaches the other commands."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from linkage_client.cli.exit_codes import ExitCode
from linkage_client.config import load_profile, save_profile
from linkage_client.keys import document_digest
from linkage_client.keystore import client_key_of, signing_key_of
from support.command import Linkage, Outcome
from support.fake_service import FakeService, FakeUploads, Reply, agreed, client, organisation, problem, project
from support.keystores import MemoryKeyring
from support.linkage_schemas import linkage_schema

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user works."""
    made = tmp_path / "work"
    made.mkdir()
    monkeypatch.chdir(made)
    return made


def _register(linkage: Linkage, url: str, folder: Path, *more: str) -> Outcome:
    (folder / "invitation.txt").write_text("secret-invitation\n")
    words = ("register", "--service", url, "--invitation-file", folder / "invitation.txt", "--name", "laptop")
    return linkage(*words, "--role", "analyst", *more)


@pytest.fixture
def registrar(service: FakeService) -> FakeService:
    service.on("POST", "/v1/registrations", Reply(201, {"organisation": organisation(), "client": client()}))
    return service


@pytest.mark.usefixtures("registrar")
def test_register_puts_keys_into_the_keystore(
    url: str, config: Path, linkage: Linkage, tmp_path: Path, memory_keyring: MemoryKeyring
) -> None:
    outcome = _register(linkage, url, tmp_path)
    assert outcome.code == 0, outcome.err
    profile = load_profile(config)
    assert profile.keystore == "os"
    assert [path.name for path in config.parent.iterdir()] == ["profile.toml"]
    assert len(memory_keyring.entries) == 2
    assert linkage("whoami").code == 0
    written = config.read_text() + outcome.out + outcome.err
    assert not [jwk for jwk in memory_keyring.entries.values() if json.loads(jwk)["d"] in written]


@pytest.mark.usefixtures("registrar")
def test_register_with_key_files_leaves_the_keystore_alone(
    url: str, config: Path, linkage: Linkage, tmp_path: Path, memory_keyring: MemoryKeyring
) -> None:
    assert _register(linkage, url, tmp_path, "--key-files").code == 0
    assert memory_keyring.entries == {}
    assert load_profile(config).client_key_file == config.parent / "client-key.jwk"


def test_register_that_is_refused_leaves_no_keys_in_the_keystore(
    url: str, linkage: Linkage, tmp_path: Path, service: FakeService, memory_keyring: MemoryKeyring
) -> None:
    service.on("POST", "/v1/registrations", problem(404, "invitation_unknown"))
    assert _register(linkage, url, tmp_path).code == ExitCode.NOT_FOUND
    assert memory_keyring.entries == {}
    assert list((tmp_path / "configuration").iterdir()) == []


def test_register_whose_answer_is_lost_is_repeated_with_the_same_keys_of_the_keystore(
    url: str, linkage: Linkage, tmp_path: Path, service: FakeService, memory_keyring: MemoryKeyring
) -> None:
    service.on("POST", "/v1/registrations", Reply(text=b"proxy error"))
    assert _register(linkage, url, tmp_path).code == ExitCode.CONNECTION
    service.on("POST", "/v1/registrations", Reply(201, {"organisation": organisation(), "client": client()}))
    assert _register(linkage, url, tmp_path).code == 0
    first, second = [asked for asked in service.asked if asked.path == "/v1/registrations"]
    assert first.body == second.body
    assert len(memory_keyring.entries) == 2
    assert [path.name for path in (tmp_path / "configuration").iterdir()] == ["profile.toml"]


@pytest.mark.usefixtures("registrar")
def test_register_of_a_named_profile_makes_one_that_can_be_used(
    url: str, linkage: Linkage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LINKAGE_CONFIG")
    assert _register(linkage, url, tmp_path, "--profile", "north").code == 0
    assert (tmp_path / "user" / "linkage" / "profiles" / "north" / "client-key.jwk").exists()
    assert linkage("whoami").code == ExitCode.CONFIGURATION
    assert linkage("whoami", "--profile", "north").code == 0
    assert linkage("config", "use", "north").code == 0
    assert linkage("whoami").code == 0
    assert linkage("config", "list").out.startswith(f"* north\t{url}")


@pytest.mark.usefixtures("registered")
def test_keys_move_to_the_keystore_and_are_used_from_there(
    registered: Path, linkage: Linkage, memory_keyring: MemoryKeyring
) -> None:
    before = load_profile(registered)
    thumbprints = {client_key_of(before).thumbprint}
    assert linkage("config", "keystore", "--json").json()["keystore"] == "file"
    outcome = linkage("config", "keystore", "os", "--json")
    assert outcome.json() == {"keystore": "os", "keys": 2, "secrets": 0}
    assert linkage("whoami").code == 0
    assert {client_key_of(load_profile(registered)).thumbprint} == thumbprints
    assert signing_key_of(load_profile(registered)) is not None
    assert linkage("config", "keystore", "file").code == 0
    assert load_profile(registered) == before
    assert memory_keyring.entries == {}


@pytest.mark.usefixtures("registered")
def test_keystore_that_is_not_there_cannot_be_moved_to(linkage: Linkage) -> None:
    outcome = linkage("config", "keystore", "os")
    assert outcome.code == ExitCode.CONFIGURATION
    assert linkage("config", "keystore", "--json").json()["operating_system"] is None


def test_config_new_writes_a_profile(linkage: Linkage, tmp_path: Path, config: Path) -> None:
    linkage("key-file", "new", tmp_path / "k.jwk")
    service = ("--service", "https://a.example", "--organisation", "org_1", "--client", "cli_9")
    assert linkage("config", "new", *service, "--client-key", tmp_path / "k.jwk").code == 0
    assert load_profile(config).client_id == "cli_9"
    assert linkage("config", "show", "--json").json()["client_id"]["value"] == "cli_9"


@pytest.mark.usefixtures("registered")
def test_config_show_says_where_each_value_comes_from(registered: Path, linkage: Linkage, folder: Path) -> None:
    (folder / "linkage.toml").write_text('project = "prj_1"\n\nmap = { Forename = "given_name" }\n')
    shown = linkage("config", "show", "--json").json()
    assert shown["profile_file"] == {"value": str(registered), "origin": "environment variable LINKAGE_CONFIG"}
    assert shown["client_id"] == {"value": "cli_1", "origin": f"{registered}:3"}
    assert shown["keystore"] == {"value": "file", "origin": "default"}
    assert shown["map"] == {"value": ["Forename=given_name"], "origin": f"{folder / 'linkage.toml'}:3"}
    lines = linkage("config", "show", "--origin").out.splitlines()
    assert f"project             prj_1   ({folder / 'linkage.toml'}:1)" in lines
    assert linkage("config", "path").out.splitlines() == [str(registered), str(folder / "linkage.toml")]


def test_config_show_without_a_profile_says_what_is_missing(linkage: Linkage) -> None:
    outcome = linkage("config", "show")
    assert outcome.code == 0
    assert "linkage register" in outcome.err


@pytest.mark.usefixtures("registered")
def test_option_that_linkage_toml_sets_need_not_be_given(service: FakeService, linkage: Linkage, folder: Path) -> None:
    (folder / "linkage.toml").write_text('project = "prj_1"\n')
    (folder / "secret.txt").write_text(SECRET)
    (folder / "secret.txt").chmod(0o600)
    service.on("GET", "/v1/projects/prj_1", project())
    outcome = linkage("secret", "check", "secret.txt", "--json")
    assert outcome.json()["project"] == "prj_1"
    assert "From linkage.toml: " in outcome.err
    assert "--project prj_1" in outcome.err
    given = linkage("secret", "check", "secret.txt", "--project", "prj_2", "--epoch", "1", "--json")
    assert given.json()["project"] == "prj_2"
    assert "linkage.toml" not in given.err


@pytest.mark.usefixtures("registered")
def test_project_that_is_an_argument_need_not_be_given_either(
    service: FakeService, linkage: Linkage, folder: Path
) -> None:
    (folder / "linkage.toml").write_text('project = "prj_1"\n')
    service.on("GET", "/v1/projects/prj_1", project())
    outcome = linkage("project", "show", "--json")
    assert outcome.json()["id"] == "prj_1"
    assert outcome.err == "From linkage.toml: PROJECT_ID prj_1\n"


@pytest.mark.usefixtures("registered")
def test_linkage_toml_of_another_folder_is_named_with_its_path(
    service: FakeService, linkage: Linkage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "linkage.toml").write_text('project = "prj_1"\n')
    (folder / "deeper").mkdir()
    monkeypatch.chdir(folder / "deeper")
    service.on("GET", "/v1/projects/prj_1", project())
    assert linkage("project", "show").err == f"From {folder / 'linkage.toml'}: PROJECT_ID prj_1\n"


def test_linkage_schema_that_is_named_goes_before_the_project_of_linkage_toml(
    service: FakeService, linkage: Linkage, folder: Path
) -> None:
    (folder / "linkage.toml").write_text('project = "prj_1"\n')
    (folder / "schema.json").write_text(json.dumps(linkage_schema()))
    outcome = linkage("schema", "show", "schema.json")
    assert outcome.code == 0, outcome.err
    assert service.asked == []
    assert "prj_1" not in outcome.err


def test_linkage_toml_that_redirects_stops_a_command_that_reads_it(linkage: Linkage, folder: Path) -> None:
    (folder / "linkage.toml").write_text('service_url = "https://evil.example"\n')
    outcome = linkage("secret", "check", "x", "--project", "prj_1")
    assert outcome.code == ExitCode.CONFIGURATION
    assert "evil" not in outcome.err


def test_profile_that_a_folder_of_data_chooses_is_named(
    registered: Path, linkage: Linkage, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LINKAGE_CONFIG")
    profile = load_profile(registered)
    own = tmp_path / "user" / "linkage"
    save_profile(replace(profile, path=own / "profiles" / "north" / "profile.toml"))
    (folder / "linkage.toml").write_text('profile = "north"\n')
    assert f"--profile north   (from {folder / 'linkage.toml'}:1)" in linkage("whoami").err
    (folder / "linkage.toml").rename(own / "linkage.toml")
    assert linkage("whoami").err == ""


def test_config_and_profile_exclude_each_other(linkage: Linkage) -> None:
    assert linkage("whoami", "--config", "a", "--profile", "b").code == ExitCode.USAGE


@pytest.mark.usefixtures("registered")
def test_quiet_leaves_the_result_only(service: FakeService, linkage: Linkage) -> None:
    service.on("GET", "/v1/organisations", {"items": [organisation()], "next_cursor": None})
    outcome = linkage("organisation", "list", "-q")
    assert outcome.out.startswith("org_own\t")
    assert outcome.err == ""


@pytest.mark.parametrize("place", ["file", "os"])
@pytest.mark.usefixtures("memory_keyring")
def test_secret_is_added_listed_checked_and_deleted_and_never_shown(
    service: FakeService, linkage: Linkage, registered: Path, tmp_path: Path, place: str
) -> None:
    service.on("GET", "/v1/projects/prj_1", project())
    linkage("config", "keystore", place)
    assert load_profile(registered).keystore == place
    file = tmp_path / "secret.txt"
    linkage("secret", "new", file)
    outcomes = [
        linkage("secret", "add", file, "--project", "prj_1", "--json"),
        linkage("secret", "check", "--project", "prj_1", "--json"),
        linkage("secret", "check", file, "--project", "prj_1", "--json"),
        linkage("secret", "list", "--json"),
    ]
    added, kept, named, listed = (outcome.json() for outcome in outcomes)
    assert added["check_value"] == kept["check_value"] == named["check_value"]
    assert [(item["project"], item["epoch"]) for item in listed["items"]] == [("prj_1", 1)]
    assert file.read_text().strip() not in "".join(outcome.out + outcome.err for outcome in outcomes)
    assert linkage("secret", "delete", "--project", "prj_1", "--epoch", "1").code == 0
    assert linkage("secret", "check", "--project", "prj_1").code == ExitCode.CONFIGURATION


@pytest.mark.usefixtures("registered")
def test_encoding_and_uploading_take_the_secret_that_is_kept(
    service: FakeService, linkage: Linkage, folder: Path
) -> None:
    schema = linkage_schema()
    FakeUploads(service, schema_digest=document_digest(schema))
    agreed(service, schema)
    (folder / "extract.csv").write_text("record_id,given_name,surname\n1,ann,ash\n2,bob,birch\n")
    linkage("secret", "new", "secret.txt")
    encode = ["encode", "extract.csv", "--project", "prj_1", "--skip-risk", "--normalisation", "none"]
    encode += ["--opt-outs-applied", "today", "--out", "encoded"]
    assert linkage(*encode).code == ExitCode.CONFIGURATION
    assert linkage("secret", "add", "secret.txt", "--project", "prj_1", "--epoch", "1").code == 0
    assert linkage(*encode).code == 0
    outcome = linkage("upload", "encoded", "--project", "prj_1", "--json")
    assert outcome.code == 0, outcome.err
    checked = linkage("secret", "check", "--project", "prj_1", "--epoch", "1", "--json").json()["check_value"]
    assert outcome.json()["manifest"]["key"]["check_value"] == checked


def test_signatory_signs_with_the_key_of_the_keystore(
    registered: Path, linkage: Linkage, memory_keyring: MemoryKeyring
) -> None:
    linkage("config", "keystore", "os")
    profile = load_profile(registered)
    memory_keyring.entries.clear()
    outcome = linkage("agreement", "sign", "agr_1", "--digest", "00" * 32)
    assert outcome.code == ExitCode.CONFIGURATION
    assert str(profile.signing_key) in outcome.err


def test_profile_of_today_goes_on_working(registered: Path, linkage: Linkage) -> None:
    assert "keystore" not in registered.read_text()
    save_profile(load_profile(registered), replace=True)
    assert linkage("whoami").code == 0
