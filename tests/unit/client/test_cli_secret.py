"""The commands that hand a linkage secret over as a sealed file, and that derive a project's key from it."""

import io
import json
import os
import stat
from pathlib import Path

import httpx
import pytest

from linkage_client.cli.exit_codes import ExitCode
from linkage_client.config import load_profile
from linkage_client.encoding.encoder import Encoder
from linkage_client.encoding.key_check import check_value
from linkage_client.encoding.package import read_encodings
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.encoding.working_keys import working_key
from linkage_client.exchange import sealed
from linkage_client.exchange.secret_files import ProjectSecret
from linkage_client.keystore import Secrets
from support.command import Linkage
from support.fake_service import FakeService, Reply, agreed, project
from support.linkage_schemas import linkage_schema

SECRET = b"\x00\xff a secret of thirty-two bytes."
OTHER = b"another secret of thirty-two byt"
PASSPHRASE = "five words picked by chance"
SCHEMA = LinkageSchema.parse(linkage_schema())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "_COST", 2**10)


@pytest.fixture
def secrets(registered: Path) -> Secrets:
    return Secrets(load_profile(registered))


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase.txt"
    path.write_text(PASSPHRASE + "\n", "utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A secret for project prj_1, epoch 2, that a partner sealed."""
    path = tmp_path / "from-partner.json"
    ProjectSecret(project_id="prj_1", epoch=2, secret=SECRET).save(path, passphrase=PASSPHRASE)
    return path


def test_secret_that_was_exported_is_imported_by_the_partner_without_the_service(
    service: FakeService, linkage: Linkage, secrets: Secrets, passphrase_file: Path, tmp_path: Path
) -> None:
    secrets.add("prj_1", 1, OTHER)
    secrets.add("prj_1", 2, SECRET)
    out = tmp_path / "sealed.json"
    words = ("--passphrase-file", passphrase_file, "--json")
    exported = linkage("secret", "export", out, "--project", "prj_1", *words)
    assert exported.code == 0, exported.err
    assert exported.json() == {"file": str(out), "project": "prj_1", "epoch": 2}
    secrets.delete("prj_1", 2)
    imported = linkage("secret", "import", out, "--project", "prj_1", "--offline", *words)
    assert imported.code == 0, imported.err
    assert imported.json()["check_value"] == check_value(SECRET, project_id="prj_1", epoch=2)
    assert secrets.read("prj_1", 2) == SECRET
    assert secrets.read("prj_1", 1) == OTHER
    assert service.asked == []
    said = exported.out + exported.err + imported.out + imported.err
    assert PASSPHRASE not in said
    assert "thirty-two" not in said


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has these modes")
def test_export_writes_the_chosen_epoch_sealed_and_for_the_owner_only(
    linkage: Linkage, secrets: Secrets, passphrase_file: Path, tmp_path: Path
) -> None:
    secrets.add("prj_1", 1, OTHER)
    secrets.add("prj_1", 2, SECRET)
    out = tmp_path / "sealed.json"
    words = ("--project", "prj_1", "--epoch", "1", "--passphrase-file", passphrase_file)
    assert linkage("secret", "export", out, *words).code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    content = json.loads(sealed.unseal(out.read_bytes(), kind="secret", passphrase=PASSPHRASE))
    assert content == {"project": "prj_1", "epoch": 1, "secret": "YW5vdGhlciBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXQ="}
    assert linkage("secret", "export", out, *words).code == ExitCode.DATA


def test_export_of_a_secret_that_is_not_kept_or_under_a_short_passphrase_writes_nothing(
    linkage: Linkage, secrets: Secrets, passphrase_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sealed.json"
    words = ("secret", "export", out, "--project", "prj_1", "--passphrase-file", passphrase_file)
    assert linkage(*words).code == ExitCode.CONFIGURATION
    secrets.add("prj_1", 1, SECRET)
    passphrase_file.write_text("elevenchars", "utf-8")
    refused = linkage(*words)
    assert refused.code == ExitCode.KEY_EXCHANGE
    assert "12 characters" in refused.err
    assert not out.exists()


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has these modes")
def test_passphrase_that_others_can_read_is_refused(
    linkage: Linkage, secrets: Secrets, file: Path, passphrase_file: Path
) -> None:
    passphrase_file.chmod(0o644)
    words = ("--project", "prj_1", "--offline", "--passphrase-file", passphrase_file)
    assert linkage("secret", "import", file, *words).code == ExitCode.CONFIGURATION
    assert secrets.held() == []


def test_passphrase_is_read_from_standard_input_and_not_asked_where_nobody_sits(
    linkage: Linkage, secrets: Secrets, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    unattended = linkage("secret", "import", file, "--project", "prj_1", "--offline")
    assert unattended.code == ExitCode.CONFIGURATION
    assert "--passphrase-file" in unattended.err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PASSPHRASE.encode() + b"\r\n")))
    assert linkage("secret", "import", file, "--project", "prj_1", "--offline", "--passphrase-file", "-").code == 0
    assert secrets.read("prj_1", 2) == SECRET


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("command", ["export", "import"])
def test_passphrase_on_the_command_line_is_refused(linkage: Linkage, tmp_path: Path, command: str) -> None:
    outcome = linkage("secret", command, tmp_path / "f", "--project", "prj_1", "--passphrase", PASSPHRASE)
    assert outcome.code == ExitCode.USAGE
    assert "no secret is taken from the command line" in outcome.err
    assert PASSPHRASE not in outcome.out + outcome.err


def test_import_twice_changes_nothing_and_another_secret_is_not_replaced(
    linkage: Linkage, secrets: Secrets, file: Path, passphrase_file: Path
) -> None:
    words = ("secret", "import", file, "--project", "prj_1", "--offline", "--passphrase-file", passphrase_file)
    assert [linkage(*words).code for _ in range(2)] == [0, 0]
    secrets.delete("prj_1", 2)
    secrets.add("prj_1", 2, OTHER)
    refused = linkage(*words)
    assert refused.code == ExitCode.DATA
    assert "kept already and not replaced" in refused.err
    assert secrets.read("prj_1", 2) == OTHER


def test_import_for_another_project_is_refused(
    linkage: Linkage, secrets: Secrets, file: Path, passphrase_file: Path
) -> None:
    refused = linkage("secret", "import", file, "--project", "prj_2", "--passphrase-file", passphrase_file, "--json")
    assert refused.code == ExitCode.KEY_EXCHANGE
    assert refused.json()["code"] == "sealed_other_project"
    assert secrets.held() == []


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"{}", "secret", "sealed_damaged"),
        (b'{"project":"prj_1","epoch":1,"secret":"c2hvcnQ="}', "secret", "sealed_damaged"),
        (b'{"project":"../x","epoch":1,"secret":"YW5vdGhlciBzZWNyZXQgb2YgdGhp"}', "secret", "sealed_damaged"),
        (b'{"project":"prj_1","epoch":0,"secret":"YW5vdGhlciBzZWNyZXQgb2YgdGhp"}', "secret", "sealed_damaged"),
        (b'{"project":"prj_1","epoch":1,"secret":"!!"}', "secret", "sealed_damaged"),
        (b'{"project":"prj_1","epoch":1,"secret":7}', "secret", "sealed_damaged"),
        (b"{}", "exchange-keys", "sealed_other_kind"),
    ],
)
def test_import_of_what_is_no_secret_is_refused(
    linkage: Linkage,
    secrets: Secrets,
    passphrase_file: Path,
    tmp_path: Path,
    *,
    content: bytes,
    kind: sealed.Kind,
    code: str,
) -> None:
    path = tmp_path / "sealed.json"
    path.write_bytes(sealed.seal(content, kind=kind, passphrase=PASSPHRASE))
    words = ("--project", "prj_1", "--offline", "--passphrase-file", passphrase_file, "--json")
    refused = linkage("secret", "import", path, *words)
    assert refused.json()["code"] == code
    assert secrets.held() == []


def test_import_with_a_wrong_passphrase_or_of_nothing_keeps_nothing(
    linkage: Linkage, secrets: Secrets, file: Path, passphrase_file: Path, tmp_path: Path
) -> None:
    passphrase_file.write_text("five other words by chance", "utf-8")
    refused = linkage("secret", "import", file, "--project", "prj_1", "--offline", "--passphrase-file", passphrase_file)
    assert refused.code == ExitCode.KEY_EXCHANGE
    absent = linkage(
        "secret", "import", tmp_path / "absent", "--project", "prj_1", "--offline", "--passphrase-file", passphrase_file
    )
    assert absent.code == ExitCode.DATA
    assert secrets.held() == []


@pytest.mark.parametrize("profile", [None, "clk-1024-v1"])
def test_derive_writes_the_key_that_encode_uses_and_never_shows_it(
    service: FakeService, linkage: Linkage, secrets: Secrets, tmp_path: Path, profile: str | None
) -> None:
    agreed(service, SCHEMA.document, security={"encoding_profile": profile} if profile else {})
    secrets.add("prj_1", 1, SECRET)
    out, data, encoded = tmp_path / "working-key.txt", tmp_path / "data.csv", tmp_path / "encoded"
    derived = linkage("secret", "derive", out, "--project", "prj_1", "--json")
    assert derived.code == 0, derived.err
    content = out.read_bytes()
    expected = working_key(
        SECRET, project_id="prj_1", epoch=1, linkage_schema_sha256=SCHEMA.digest, encoding_profile=profile
    )
    assert content == expected + b"\n"
    assert expected.decode() not in derived.out + derived.err
    assert out.stat().st_mode & 0o077 == 0 or os.name != "posix"
    data.write_text("record_id,given_name,surname\n1,ann,archer\n2,bob,baker\n")
    words = ("--project", "prj_1", "--skip-risk", "--opt-outs-applied", "today", "--out", encoded)
    assert linkage("encode", data, *words).code == 0
    package = read_encodings(encoded)
    columns = [["ann", "bob"], ["archer", "baker"]]
    ours = Encoder(SCHEMA, content.strip()).encode_columns(columns)
    assert {row.tobytes() for row in package.encodings} == {row.tobytes() for row in ours}
    assert linkage("secret", "derive", out, "--project", "prj_1").code == ExitCode.DATA
    assert out.read_bytes() == content


def test_derive_under_a_profile_that_clkhash_lacks_writes_nothing(
    service: FakeService, linkage: Linkage, secrets: Secrets, tmp_path: Path
) -> None:
    agreed(service, SCHEMA.document, security={"encoding_profile": "saul-k3-2048-v1"})
    secrets.add("prj_1", 1, SECRET)
    refused = linkage("secret", "derive", tmp_path / "key", "--project", "prj_1")
    assert refused.code == ExitCode.DATA
    assert "clkhash cannot" in refused.err
    assert not (tmp_path / "key").exists()


def _no_connection(_: object) -> Reply:
    raise httpx.ConnectError("down")


@pytest.mark.usefixtures("registered")
def test_import_without_a_project_is_refused(linkage: Linkage, file: Path, passphrase_file: Path) -> None:
    refused = linkage("secret", "import", file, "--offline", "--passphrase-file", passphrase_file)
    assert refused.code == ExitCode.USAGE
    assert "--project" in refused.err


@pytest.mark.parametrize("epoch", [10_001, 10**9, 2**53 - 1])
@pytest.mark.parametrize("offline", [["--offline"], []])
def test_secret_for_an_epoch_that_no_project_reaches_is_refused(
    linkage: Linkage, secrets: Secrets, passphrase_file: Path, tmp_path: Path, *, epoch: int, offline: list[str]
) -> None:
    path, plain = tmp_path / "planted.json", tmp_path / "plain"
    ProjectSecret(project_id="prj_1", epoch=epoch, secret=SECRET).save(path, passphrase=PASSPHRASE)
    words = ("--project", "prj_1", *offline, "--json")
    refused = linkage("secret", "import", path, "--passphrase-file", passphrase_file, *words)
    assert refused.json()["code"] == "epoch_too_high"
    linkage("secret", "new", plain)
    assert linkage("secret", "add", plain, "--epoch", epoch, *words).json()["code"] == "epoch_too_high"
    assert secrets.held() == []


def test_secret_for_another_epoch_than_the_present_one_is_refused_unless_offline(
    service: FakeService, linkage: Linkage, secrets: Secrets, file: Path, passphrase_file: Path
) -> None:
    service.on("GET", "/v1/projects/prj_1", project())
    plain = file.with_name("plain")
    linkage("secret", "new", plain)
    by_passphrase = ("--passphrase-file", passphrase_file)
    for words in (("import", file, *by_passphrase), ("add", plain, "--epoch", "2")):
        refused = linkage("secret", *words, "--project", "prj_1", "--json")
        assert refused.json()["code"] == "not_present_epoch"
        assert secrets.held() == []
        said = linkage("secret", *words, "--project", "prj_1", "--offline")
        assert said.code == 0, said.err
        assert "was not asked" in said.err
        secrets.delete("prj_1", 2)
    assert linkage("secret", "add", plain, "--project", "prj_1", "--epoch", "1").code == 0
    assert linkage("secret", "add", plain, "--project", "prj_1", "--offline").code == ExitCode.USAGE


def test_import_where_the_service_cannot_be_reached_names_the_way_without_it(
    service: FakeService, linkage: Linkage, secrets: Secrets, file: Path, passphrase_file: Path
) -> None:
    service.on("GET", "/v1/projects/prj_1", _no_connection)
    refused = linkage("secret", "import", file, "--project", "prj_1", "--passphrase-file", passphrase_file)
    assert refused.code == ExitCode.CONNECTION
    assert "--offline" in refused.err
    assert secrets.held() == []


def test_list_says_how_each_secret_came_here_and_names_a_torn_one(
    linkage: Linkage, secrets: Secrets, file: Path, passphrase_file: Path
) -> None:
    secrets.add("prj_1", 1, SECRET, origin="drawn")
    linkage("secret", "import", file, "--project", "prj_1", "--offline", "--passphrase-file", passphrase_file)
    secrets.add("prj_1", 3, SECRET, origin="opened")
    (secrets.folder / "prj_1.3.origin").unlink()
    (secrets.folder / "prj_1.4.secret").touch(mode=0o600)
    listed = linkage("secret", "list", "--json")
    origins = [(item["epoch"], item["origin"]) for item in listed.json()["items"]]
    assert origins == [(1, "drawn"), (2, "imported"), (3, "imported")]
    assert "linkage secret delete --project prj_1 --epoch 4" in listed.err


@pytest.mark.parametrize(
    ("value", "warned"),
    [(b"correct horse battery", True), (b"ab" * 32 + b"\n", False), (bytes(range(130, 162)), False)],
    ids=["words", "drawn digits", "drawn bytes"],
)
def test_secret_that_looks_like_text_is_kept_with_a_warning(
    linkage: Linkage, secrets: Secrets, tmp_path: Path, *, value: bytes, warned: bool
) -> None:
    path = tmp_path / "plain"
    path.write_bytes(value)
    path.chmod(0o600)
    added = linkage("secret", "add", path, "--project", "prj_1", "--epoch", "1", "--offline")
    assert added.code == 0, added.err
    assert ("linkage secret new" in added.err) == warned
    assert len(secrets.held()) == 1
