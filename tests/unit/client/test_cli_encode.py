import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from linkage_client.cli.exit_codes import ExitCode
from support.command import Linkage, Outcome
from support.linkage_schemas import linkage_schema, string_feature

FIELDS = ("given_name", "surname", "date_of_birth.year", "date_of_birth.month_day", "postcode")


class Extract:
    """A file to encode, and the command line for it."""

    def __init__(self, folder: Path, linkage: Linkage) -> None:
        self.folder = folder
        self.linkage = linkage
        self.data = folder / "extract.csv"
        (folder / "schema.json").write_text(json.dumps(linkage_schema(*map(string_feature, FIELDS))))
        assert linkage("secret", "new", folder / "secret.txt").code == 0
        self.write(["25/12/1980", "03/04/1980"])

    def write(self, dates: Sequence[str], *, postcode: str = "SW1A 1AA") -> None:
        rows = [f"r{place},Ann{place},Archer,{date},{postcode}" for place, date in enumerate(dates)]
        header = "record_id,given_name,surname,date_of_birth,postcode"
        self.data.write_text("\n".join([header, *rows]) + "\n", "utf-8")

    @property
    def words(self) -> list[str]:
        names = {"--schema": "schema.json", "--secret-file": "secret.txt", "--out": "encoded"}
        return [str(self.data), *(word for option, name in names.items() for word in (option, str(self.folder / name)))]

    def encode(self, *options: str) -> Outcome:
        return self.linkage("encode", *self.words, *options)


@pytest.fixture
def extract(tmp_path: Path, linkage: Linkage) -> Extract:
    return Extract(tmp_path, linkage)


def test_encode_says_how_full_and_valid_fields_are(extract: Extract) -> None:
    extract.write(["25/12/1980", "28950", "", "01/01/1900"])
    outcome = extract.encode()
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("  date_of_birth")]
    assert line.split() == ["date_of_birth", "25.0%", "50.0%", "1"]
    assert "Dates in date_of_birth are read day first, as its values show." in outcome.err
    assert "date_of_birth, 1 row: a serial number of Excel" in outcome.err
    assert "Archer" not in outcome.out + outcome.err


def test_encode_json_tells_what_the_manifest_must_not(extract: Extract) -> None:
    extract.data.write_text(extract.data.read_text() + "r9,,,,SW1A 1AA\n")
    document = extract.encode("--json", "--skip-risk").json()
    assert document["withheld"] == 1
    assert document["date_orders"] == {"date_of_birth": "day-first"}
    assert document["leakage"] is None
    assert "withheld" not in document["manifest"]
    assert (extract.folder / "encoded" / "withheld.parquet").exists()


def test_encode_ambiguous_dates_are_refused_until_somebody_says_their_order(extract: Extract) -> None:
    extract.write(["03/04/1980", "04/05/1981"])
    refused = extract.encode("--json")
    assert refused.code == ExitCode.DATA
    assert refused.json()["code"] == "ambiguous_dates"
    assert "--date-order date_of_birth=day-first" in refused.json()["detail"]
    assert not (extract.folder / "encoded").exists()
    said = extract.encode("--date-order", "date_of_birth=month-first")
    assert said.code == 0
    assert "read month first, as you said" in said.err


def test_encode_choice_of_a_method_changes_the_digest(extract: Extract) -> None:
    first = extract.encode("--json").json()["manifest"]
    second = extract.encode("--json", "--force", "--normalise", "postcode=text").json()["manifest"]
    assert first["normalisation"] == second["normalisation"] == "british-v1"
    assert first["normalisation_sha256"] != second["normalisation_sha256"]


def test_encode_column_that_is_mostly_invalid_is_pointed_at(extract: Extract) -> None:
    extract.write(["25/12/1980"] * 3, postcode="2600")
    outcome = extract.encode()
    assert outcome.code == 0
    assert "Most values of postcode are not valid" in outcome.err
    assert "--normalise postcode=text" in outcome.err


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--normalise", "postcode"], ExitCode.USAGE),
        (["--normalise", "postcode=text", "--normalise", "postcode=name"], ExitCode.USAGE),
        (["--date-order", "date_of_birth=backwards"], ExitCode.USAGE),
        (["--normalisation", "british-v9"], ExitCode.USAGE),
        (["--normalise", "postcode=soundex"], ExitCode.CONFIGURATION),
        (["--normalise", "town=text"], ExitCode.CONFIGURATION),
        (["--normalisation", "none", "--normalise", "postcode=text"], ExitCode.CONFIGURATION),
    ],
)
def test_encode_choices_that_make_no_sense_are_refused(extract: Extract, options: list[str], code: ExitCode) -> None:
    assert extract.encode(*options).code == code
    assert not (extract.folder / "encoded").exists()


def test_encode_measures_leakage_and_puts_it_into_the_manifest(extract: Extract) -> None:
    extract.write([f"{1 + place % 28:02}/{1 + place % 12:02}/{1940 + place % 70}" for place in range(420)])
    outcome = extract.encode("--json")
    document = outcome.json()
    assert document["leakage"].startswith("Someone who holds this register and 300 known people")
    assert document["leakage"] in outcome.err
    assert document["manifest"]["leakage"]["sample"] == 420


def test_encode_of_few_records_goes_on_without_leakage(extract: Extract) -> None:
    outcome = extract.encode()
    assert outcome.code == 0
    assert "was not measured" in outcome.err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_encode_at_a_terminal_asks_for_the_order_of_dates(extract: Extract) -> None:
    extract.write(["03/04/1980"])
    command = [sys.executable, "-m", "linkage_client", "encode", *extract.words]
    ours, theirs = os.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True) as process:
        os.close(theirs)
        os.write(ours, b"d\n")
        said = b""
        while chunk := _read(ours):
            said += chunk
    os.close(ours)
    assert process.returncode == 0
    assert b"Which comes first" in said
    assert (extract.folder / "encoded").exists()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        # Linux: whoever was at the other end has gone.
        return b""


def test_encode_with_a_schema_for_saul_and_no_profile_says_that_these_are_plain_bloom_filters(extract: Extract) -> None:
    document = linkage_schema(*map(string_feature, (*FIELDS, "town")), l=2048)
    (extract.folder / "schema.json").write_text(json.dumps(document))
    extract.data.write_text(
        "record_id,given_name,surname,date_of_birth,postcode,town\nr1,Ann,Archer,1980-12-25,,York\n"
    )

    plain = extract.encode()
    saul = extract.encode("--force", "--encoding-profile", "saul-k3-2048-v1")

    assert "encode again with --encoding-profile saul-k3-2048-v1" in plain.err
    assert saul.code == 0
    assert "plain Bloom filters" not in saul.err


def test_encode_declares_the_day_of_opt_outs(extract: Extract) -> None:
    outcome = extract.encode("--opt-outs-applied", "2026-03-01")
    assert outcome.code == 0, outcome.err
    assert "last taken out of the extract on 2026-03-01" in outcome.err
    manifest = json.loads((extract.folder / "encoded" / "manifest.json").read_text())
    assert manifest["opt_outs_applied_at"] == "2026-03-01T00:00:00Z"


@pytest.mark.parametrize("day", ["2999-01-01", "yesterday", "01/03/2026"])
def test_encode_of_opt_outs_on_no_day_is_refused(extract: Extract, day: str) -> None:
    outcome = extract.encode("--opt-outs-applied", day)
    assert outcome.code == ExitCode.CONFIGURATION
    assert "--opt-outs-applied" in outcome.err
