"""Rows by record id without sending one, and certificates that are checked without asking anybody."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rfc8785

from linkage_client.cli import run
from linkage_client.cli.exit_codes import ExitCode
from linkage_client.client import LinkageClient
from linkage_client.encoding.rows_file import DIGEST_KEY
from linkage_client.errors import ConfigurationError, FileFormatError, JoinError
from linkage_client.joining import row_numbers
from linkage_client.resources.retention import verified_certificate
from linkage_ledger.notes import SigningKey, sign_note
from support.command import Linkage
from support.fake_service import CREATED, Asked, FakeService, FakeUploads, Reply, manifest_of

DIGEST = "ab" * 32
KEY = SigningKey.generate("log.linkage.test")
DOCUMENT = {"type": "certificate_of_disposal", "id": "crt_1", "items": [{"kind": "upload", "id": "upl_1"}]}


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    table = pa.table({"row": pa.array([2, 0, 1], pa.int64()), "record_id": ["c", "a", "b"]})
    pq.write_table(table.replace_schema_metadata({DIGEST_KEY: DIGEST.encode()}), path)
    return path


def _note(document: object) -> str:
    return sign_note(rfc8785.dumps(document).decode() + "\n", KEY)  # type: ignore[arg-type]  # JSON


def test_record_ids_become_the_rows_of_their_encodings(rows_file: Path) -> None:
    assert row_numbers(["c", "a"], rows=rows_file, encodings_sha256=DIGEST) == [0, 2]


def test_record_id_that_was_not_encoded_is_refused_without_being_quoted(rows_file: Path) -> None:
    with pytest.raises(JoinError) as error:
        row_numbers(["a", "qx"], rows=rows_file, encodings_sha256=DIGEST)
    assert "qx" not in str(error.value)


def test_rows_file_of_other_encodings_is_refused(rows_file: Path) -> None:
    with pytest.raises(JoinError):
        row_numbers(["a"], rows=rows_file, encodings_sha256="cd" * 32)


@pytest.mark.parametrize("count", [0, 10_001])
def test_withdrawal_of_no_row_or_too_many_sends_nothing(client: LinkageClient, count: int) -> None:
    with pytest.raises(ConfigurationError):
        client.rights.withdraw(upload_id="upl_1", rows=list(range(count)), reason="objection")


def test_certificate_whose_signature_holds_says_what_it_says() -> None:
    assert verified_certificate(_note(DOCUMENT), verifier_key=KEY.verifier.format()) == DOCUMENT


def test_certificate_that_was_changed_does_not_hold() -> None:
    with pytest.raises(FileFormatError):
        verified_certificate(_note(DOCUMENT).replace("upl_1", "upl_2"), verifier_key=KEY.verifier.format())


def test_certificate_of_another_log_does_not_hold() -> None:
    other = SigningKey.generate("log.linkage.test").verifier.format()
    with pytest.raises(FileFormatError):
        verified_certificate(_note(DOCUMENT), verifier_key=other)


@pytest.mark.parametrize("document", [{"type": "something_else"}, ["a"], "text"])
def test_something_else_that_the_log_signed_is_no_certificate(document: object) -> None:
    with pytest.raises(FileFormatError):
        verified_certificate(_note(document), verifier_key=KEY.verifier.format())


def test_certificate_is_verified_by_command_without_a_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "certificate.txt"
    file.write_text(_note(DOCUMENT), encoding="utf-8")
    assert run(["certificate", "verify", str(file), "--verifier-key", KEY.verifier.format(), "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == DOCUMENT


ORGANISATION = f"org_{'0' * 26}"
WITHDRAWN = {"link_id": "a" * 26, "provider": ORGANISATION, "withdrawn_at": "2026-01-01T00:00:00Z"}


@pytest.fixture
def many_rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.txt"
    path.write_text("\n".join(map(str, range(20_001))), encoding="utf-8-sig")
    return path


def _withdrawing(service: FakeService, *, failing: int | None, code: str) -> list[list[int]]:
    """Takes chunks of rows, but for the one that begins with `failing`; gives what was taken."""
    taken: list[list[int]] = []

    def withdraw(asked: Asked) -> Reply:
        rows = asked.json()["rows"]
        if rows[0] == failing:
            return Reply(
                409, content={"type": "about:blank", "title": "No", "status": 409, "detail": "No.", "code": code}
            )
        taken.append(rows)
        made = {"id": "wdr_1", "upload": "upl_1", "rows": len(rows), "reason": "objection", "state": "pending"}
        return Reply(201, content={**made, "created_at": CREATED, "applied_at": None})

    FakeUploads(service).add("upl_1", manifest=manifest_of(bytes(384)), size_bytes=384, part_size=384)
    service.on("POST", "/v1/uploads/upl_1/withdrawals", withdraw)
    return taken


@pytest.mark.usefixtures("registered")
def test_withdrawal_of_many_rows_goes_on_after_those_that_were_withdrawn_before(
    service: FakeService, linkage: Linkage, many_rows: Path
) -> None:
    taken = _withdrawing(service, failing=0, code="withdrawn_already")
    outcome = linkage("withdraw", "upl_1", "--rows", many_rows, "--reason", "objection")
    assert outcome.code == 0, outcome.err
    assert [rows[0] for rows in taken] == [10_000, 20_000]
    assert "10,001 rows are withdrawn" in outcome.err


@pytest.mark.usefixtures("registered")
def test_withdrawal_of_many_rows_that_fails_says_how_many_were_withdrawn(
    service: FakeService, linkage: Linkage, many_rows: Path
) -> None:
    _withdrawing(service, failing=10_000, code="conflict")
    outcome = linkage("withdraw", "upl_1", "--rows", many_rows, "--reason", "objection")
    assert outcome.code == ExitCode.CONFLICT
    assert "10,000 rows were withdrawn before this failed" in outcome.err


@pytest.mark.parametrize("members", [{"link_id": "=cmd|'a'!A1"}, {"provider": "org\x1b[2J"}, {"link_id": "a" * 27}])
@pytest.mark.usefixtures("registered")
def test_withdrawn_ids_of_another_form_are_written_nowhere(
    service: FakeService, linkage: Linkage, tmp_path: Path, members: dict[str, str]
) -> None:
    service.on("GET", "/v1/releases/rel_1/withdrawals", {"release": "rel_1", "items": [{**WITHDRAWN, **members}]})
    outcome = linkage("withdrawals", "rel_1", "--out", tmp_path / "withdrawn.csv")
    assert outcome.code != 0
    assert not (tmp_path / "withdrawn.csv").exists()
    assert not any(value in outcome.out + outcome.err for value in members.values())


@pytest.mark.usefixtures("registered")
def test_withdrawn_ids_are_listed(service: FakeService, linkage: Linkage) -> None:
    service.on("GET", "/v1/releases/rel_1/withdrawals", {"release": "rel_1", "items": [WITHDRAWN]})
    assert linkage("withdrawals", "rel_1").out.split("\t")[:2] == ["a" * 26, ORGANISATION]
