import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from linkage_client import keys
from linkage_client.cli.exit_codes import ExitCode
from linkage_client.encoding.key_check import check_value
from linkage_client.encoding.package import export_clkhash_json, read_encodings
from linkage_client.encoding.working_keys import DERIVATION
from support.command import Linkage
from support.fake_service import FakeService, FakeUploads, agreed

PEOPLE = [("Ann", "Archer", "F"), ("Bob", "Baker", "M"), ("Cyd", "Cooper", "F"), ("Dan", "Draper", "M")]


def _people(rows: int) -> str:
    lines = ["record_id,given_name,surname,sex"]
    for row in range(rows):
        given, family, sex = PEOPLE[row % 4]
        lines.append(
            f"r{row},{given}{'abcdefghij'[row % 10]}{'klmno'[row % 5]},{family}{'xyz'[row % 3]}{row % 7},{sex}"
        )
    return "\n".join(lines) + "\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_text(_people(300))
    return path


@pytest.fixture
def secret(tmp_path: Path, linkage: Linkage) -> Path:
    path = tmp_path / "secret.txt"
    assert linkage("secret", "new", path).code == 0
    return path


@pytest.fixture
def schema_file(tmp_path: Path, data: Path, linkage: Linkage) -> Path:
    path = tmp_path / "schema.json"
    assert linkage("schema", "propose", data, "--out", path).code == 0
    return path


@dataclass(frozen=True)
class Files:
    folder: Path
    data: Path
    secret: Path
    schema: Path


@pytest.fixture
def files(tmp_path: Path, data: Path, secret: Path, schema_file: Path) -> Files:
    return Files(folder=tmp_path, data=data, secret=secret, schema=schema_file)


@pytest.fixture
def uploads(service: FakeService, schema_file: Path) -> FakeUploads:
    schema = json.loads(schema_file.read_text())
    digest = keys.document_digest(schema)
    made = FakeUploads(service, schema_digest=digest)
    agreed(service, schema, security={"encoding_profile": "clk-1024-v1"})
    return made


def test_secret_new_is_long_random_and_private(linkage: Linkage, tmp_path: Path) -> None:
    for name in ("a", "b"):
        outcome = linkage("secret", "new", tmp_path / name)
        assert (tmp_path / name).read_text().strip() not in outcome.out + outcome.err
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()
    assert len((tmp_path / "a").read_text().strip()) == 64
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0
    assert linkage("secret", "new", tmp_path / "a").code == ExitCode.DATA


def test_secret_check_of_one_secret_is_the_same_everywhere(linkage: Linkage, secret: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_bytes(secret.read_bytes().rstrip() + b"\r\n")
    copy.chmod(0o600)
    words = ("--project", "prj_1", "--epoch", "1", "--json")
    values = [linkage("secret", "check", path, *words).json()["check_value"] for path in (secret, copy)]
    assert values[0] == values[1]
    assert len(values[0]) == 32


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has these modes")
def test_secret_file_that_others_can_read_is_refused_and_standard_input_is_not(
    linkage: Linkage, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--project", "prj_1", "--epoch", "1", "--json")
    expected = linkage("secret", "check", secret, *words).json()
    secret.chmod(0o644)
    outcome = linkage("secret", "check", secret, *words)
    assert outcome.code == ExitCode.CONFIGURATION
    assert "chmod 600" in outcome.err
    with secret.open(encoding="ascii") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert linkage("secret", "check", "-", *words).json() == expected


def test_upload_of_what_is_not_there_says_so(linkage: Linkage, tmp_path: Path) -> None:
    outcome = linkage("upload", tmp_path / "absent", "--project", "prj_1")
    assert outcome.code == ExitCode.DATA
    assert "no such file or folder" in outcome.err


def test_schema_propose_explains_and_writes_a_schema(linkage: Linkage, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    outcome = linkage("schema", "propose", data, "--out", out, "--json")
    assert outcome.json()["linkage_schema_sha256"] == keys.document_digest(json.loads(out.read_text()))
    assert "given_name" in outcome.err
    assert "Archer" not in outcome.out + outcome.err
    assert json.loads(linkage("schema", "propose", data).out) == json.loads(out.read_text())


def test_schema_propose_of_data_without_identifiers_is_refused(linkage: Linkage, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("record_id,blank\n1,\n2,\n")
    assert linkage("schema", "propose", tmp_path / "x.csv").code == ExitCode.DATA


@pytest.mark.usefixtures("registered")
def test_encode_and_upload_for_a_project(linkage: Linkage, files: Files, uploads: FakeUploads) -> None:
    out = files.folder / "encodings"
    words = ("--project", "prj_1", "--secret-file", files.secret, "--out", out, "--json")
    manifest = linkage("encode", files.data, *words).json()["manifest"]
    raw = files.secret.read_bytes().strip()
    assert manifest["key"] == {
        "epoch": 1,
        "check_value": check_value(raw, project_id="prj_1", epoch=1),
        "derivation": DERIVATION,
    }
    assert manifest["encoding_profile"] == "clk-1024-v1"
    outcome = linkage("upload", out, "--project", "prj_1", "--json")
    assert outcome.code == 0, outcome.err
    (upload,) = uploads.uploads.values()
    assert upload["state"] == "complete"
    assert upload["manifest"] == manifest
    assert b"".join(uploads.parts[upload["id"]].values()) == (out / "encodings.bin").read_bytes()
    sent = b"".join(asked.body for asked in uploads.service.asked)
    assert b"r17" not in sent
    assert raw not in sent


def test_encode_with_force_says_where_the_rows_of_the_replaced_encodings_are(linkage: Linkage, files: Files) -> None:
    out = files.folder / "encodings"
    words = ("--schema", files.schema, "--secret-file", files.secret, "--out", out, "--json")
    first = linkage("encode", files.data, *words).json()
    assert first["rows_kept"] == []
    second = linkage("encode", files.data, *words, "--force")
    kept = out / f"rows.{first['manifest']['sha256'][:12]}.parquet"
    assert second.json()["rows_kept"] == [str(kept)]
    assert str(kept) in second.err
    assert kept.exists()


def test_encode_with_mapped_columns_gives_the_same_encodings(linkage: Linkage, files: Files) -> None:
    theirs = files.folder / "theirs.csv"
    theirs.write_text(files.data.read_text().replace("given_name", "Forename", 1).replace("record_id", "nr", 1))
    words = ("--schema", files.schema, "--secret-file", files.secret)
    assert linkage("encode", files.data, *words, "--out", files.folder / "ours").code == 0
    assert linkage("encode", theirs, *words, "--id-column", "nr", "--out", files.folder / "e").code == ExitCode.DATA
    named = ("--id-column", "nr", "--map", "Forename=given_name")
    outcome = linkage("encode", theirs, *words, *named, "--out", files.folder / "e")
    assert outcome.code == 0, outcome.err
    ours, mapped = read_encodings(files.folder / "ours"), read_encodings(files.folder / "e")
    assert ours.record_ids is not None
    assert mapped.record_ids is not None
    assert dict(zip(ours.record_ids, map(bytes, ours.encodings), strict=True)) == dict(
        zip(mapped.record_ids, map(bytes, mapped.encodings), strict=True)
    )
    assert linkage("encode", theirs, *words, "--map", "Forename", "--out", files.folder / "f").code == ExitCode.USAGE


@pytest.mark.usefixtures("registered")
def test_upload_of_encodings_made_without_the_project_is_refused_before_anything_is_sent(
    linkage: Linkage, files: Files, uploads: FakeUploads
) -> None:
    out = files.folder / "encodings"
    encoded = linkage("encode", files.data, "--schema", files.schema, "--secret-file", files.secret, "--out", out)
    assert encoded.code == 0
    assert "no service takes them" in encoded.err
    refused = linkage("upload", out, "--project", "prj_1", "--secret-file", files.secret)
    assert refused.code == ExitCode.DATA
    assert "Encode again" in refused.err
    assert "--project" in refused.err
    assert uploads.uploads == {}


@pytest.mark.usefixtures("registered")
def test_upload_with_another_secret_than_encoded_with_is_refused(
    linkage: Linkage, files: Files, uploads: FakeUploads
) -> None:
    out, other = files.folder / "encodings", files.folder / "other.txt"
    linkage("encode", files.data, "--project", "prj_1", "--secret-file", files.secret, "--out", out)
    linkage("secret", "new", other)
    assert linkage("upload", out, "--project", "prj_1", "--secret-file", other).code == ExitCode.DATA
    assert uploads.uploads == {}


@pytest.mark.usefixtures("registered")
def test_upload_compares_the_secret_that_is_kept_with_the_encodings(
    linkage: Linkage, files: Files, uploads: FakeUploads
) -> None:
    out, other = files.folder / "encodings", files.folder / "other.txt"
    linkage("encode", files.data, "--project", "prj_1", "--secret-file", files.secret, "--out", out)
    linkage("secret", "new", other)
    assert linkage("secret", "add", other, "--project", "prj_1", "--epoch", "1").code == 0
    refused = linkage("upload", out, "--project", "prj_1")
    assert refused.code == ExitCode.DATA
    assert "another secret" in refused.err
    assert uploads.uploads == {}
    assert linkage("upload", out, "--project", "prj_1", "--secret-file", files.secret).code == 0


@pytest.mark.usefixtures("registered")
def test_upload_of_encodings_whose_rows_belie_the_manifest_is_refused(
    linkage: Linkage, files: Files, uploads: FakeUploads
) -> None:
    out, other = files.folder / "encodings", files.folder / "other.txt"
    linkage("encode", files.data, "--project", "prj_1", "--secret-file", files.secret, "--out", out)
    linkage("secret", "new", other)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["key"]["check_value"] = check_value(other.read_bytes().strip(), project_id="prj_1", epoch=1)
    (out / "manifest.json").write_text(json.dumps(manifest))
    refused = linkage("upload", out, "--project", "prj_1", "--secret-file", other)
    assert refused.code == ExitCode.DATA
    assert "another secret" in refused.err
    assert uploads.uploads == {}


@pytest.mark.usefixtures("registered")
def test_upload_of_clkhash_encodings_fills_the_manifest(linkage: Linkage, files: Files, uploads: FakeUploads) -> None:
    out, clks = files.folder / "encodings", files.folder / "clks.json"
    linkage("encode", files.data, "--project", "prj_1", "--secret-file", files.secret, "--out", out)
    export_clkhash_json(read_encodings(out), clks)
    words = ("upload", clks, "--project", "prj_1", "--secret-file", files.secret)
    refused = linkage(*words)
    assert refused.code == ExitCode.USAGE
    assert "working key" in refused.err
    refused = linkage(*words, "--with-working-key")
    assert refused.code == ExitCode.USAGE
    assert "given_name" in refused.err
    ours = json.loads((out / "manifest.json").read_text())
    shares = [word for name in ours["completeness"] for word in ("--completeness", f"{name}=0.9")]
    sent = linkage(*words, *shares, "--clkhash-version", "0.18.3", "--with-working-key")
    assert sent.code == 0, sent.err
    assert "do not say which secret" in sent.err
    (upload,) = uploads.uploads.values()
    assert upload["manifest"]["encoder"] == {"name": "clkhash", "version": "0.18.3"}
    for member in ("sha256", "key", "encoding_profile"):
        assert upload["manifest"][member] == ours[member]


@pytest.mark.usefixtures("registered")
def test_upload_of_clkhash_encodings_under_a_profile_that_clkhash_lacks_is_refused(
    linkage: Linkage, files: Files, uploads: FakeUploads
) -> None:
    agreed(uploads.service, json.loads(files.schema.read_text()), security={"encoding_profile": "saul-k3-2048-v1"})
    clks = files.folder / "clks.json"
    clks.write_text('{"clks": ["AA=="]}')
    words = ("upload", clks, "--project", "prj_1", "--secret-file", files.secret, "--with-working-key")
    refused = linkage(*words)
    assert refused.code == ExitCode.DATA
    assert "clkhash cannot make encodings of the profile" in refused.err
    assert uploads.uploads == {}


@pytest.mark.usefixtures("registered", "uploads")
def test_encode_with_another_schema_than_the_project_is_refused(linkage: Linkage, files: Files) -> None:
    schema = json.loads(files.schema.read_text())
    schema["features"][0]["hashing"]["strategy"]["bitsPerFeature"] += 1
    (files.folder / "other.json").write_text(json.dumps(schema))
    words = ("--schema", files.folder / "other.json", "--secret-file", files.secret, "--out", files.folder / "e")
    assert linkage("encode", files.data, "--project", "prj_1", *words).code == ExitCode.DATA
    assert not (files.folder / "e").exists()


@pytest.mark.usefixtures("registered")
def test_encode_with_a_schema_that_is_not_the_agreed_one_is_refused(
    linkage: Linkage, files: Files, service: FakeService, uploads: FakeUploads
) -> None:
    assert uploads.uploads == {}
    agreed(service, json.loads(files.schema.read_text()), agreed_schema="ab" * 32)
    words = ("--secret-file", files.secret, "--out", files.folder / "e")
    assert linkage("encode", files.data, "--project", "prj_1", *words).code == ExitCode.CONNECTION


@pytest.mark.parametrize(("content", "code"), [("short", ExitCode.CONFIGURATION), ("", ExitCode.CONFIGURATION)])
def test_encode_with_an_unusable_secret_is_refused(
    linkage: Linkage, files: Files, content: str, code: ExitCode
) -> None:
    (files.folder / "bad.txt").write_text(content)
    (files.folder / "bad.txt").chmod(0o600)
    words = ("--schema", files.schema, "--secret-file", files.folder / "bad.txt", "--out", files.folder / "e")
    assert linkage("encode", files.data, *words).code == code
