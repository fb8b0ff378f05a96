import json
import re
from pathlib import Path

import pytest

from linkage_client.checks import guessing
from linkage_client.cli import check
from linkage_client.cli.exit_codes import ExitCode
from support.command import Linkage
from support.fake_service import FakeService, agreed
from support.quality import people, schema_document, write

WRONG_NHS, VALID_NHS = "9434765918", "9434765919"


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema_document()))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "people.csv", people(300, nhs_number=[VALID_NHS, ""], surname=["Canaryname", "Archer"]))


@pytest.fixture
def poor(tmp_path: Path) -> Path:
    rows = people(300, record_id=["same"], nhs_number=[WRONG_NHS], given_name=["Canaryname"])
    return write(tmp_path / "poor.csv", rows)


def test_check_of_a_good_file_ends_well(linkage: Linkage, data: Path, schema: Path) -> None:
    outcome = linkage("check", data, "--schema", schema)

    assert outcome.code == ExitCode.DONE
    assert outcome.out.startswith("Ready to encode: 300 records with 4 fields")


def test_check_of_a_file_that_would_be_refused_has_the_exit_code_of_data(
    linkage: Linkage, poor: Path, schema: Path
) -> None:
    outcome = linkage("check", poor, "--schema", schema, "--json")

    assert outcome.code == ExitCode.DATA
    assert outcome.json()["ready"] is False
    assert outcome.json()["problems"][0]["code"] == "ids_repeated"


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_check_shows_no_value_unless_asked(
    linkage: Linkage, poor: Path, schema: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    page = tmp_path / "page.html"

    outcome = linkage("check", poor, "--schema", schema, "--html", page, *options)

    written = outcome.out + outcome.err + page.read_text(encoding="utf-8")
    assert "anaryname" not in written
    assert WRONG_NHS not in written


def test_check_shows_values_if_asked_and_says_so(linkage: Linkage, poor: Path, schema: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    outcome = linkage("check", poor, "--schema", schema, "--html", page, "--show-values")

    assert "Canaryname -> canaryname" in outcome.out
    assert "canaryname" in page.read_text(encoding="utf-8")
    assert "It holds values of people" in outcome.err


def test_check_without_schema_guesses_and_says_so(linkage: Linkage, data: Path) -> None:
    outcome = linkage("check", data)

    assert outcome.code == ExitCode.DONE
    assert "fields are guessed" in outcome.err
    assert "date_of_birth" in outcome.out


def test_check_takes_columns_by_other_names(linkage: Linkage, tmp_path: Path, schema: Path) -> None:
    rows = [{("Forename" if name == "given_name" else name): text for name, text in row.items()} for row in people(50)]
    path = write(tmp_path / "people.csv", rows)

    outcome = linkage("check", path, "--schema", schema, "--map", "Forename=given_name", "--json")

    assert outcome.json()["missing_columns"] == []
    assert outcome.json()["fields"][0]["column"] == "Forename"


def test_check_of_ambiguous_dates_goes_on_when_told_their_order(linkage: Linkage, tmp_path: Path, schema: Path) -> None:
    path = write(tmp_path / "people.csv", people(50, date_of_birth=["03/04/1980"]))

    asked = linkage("check", path, "--schema", schema)
    told = linkage("check", path, "--schema", schema, "--date-order", "date_of_birth=month-first")

    assert asked.code == ExitCode.DATA
    assert "--date-order date_of_birth=day-first" in " ".join(asked.out.split())
    assert told.code == ExitCode.DONE


@pytest.mark.usefixtures("registered")
def test_check_takes_the_schema_of_a_project_and_what_it_asks_for(
    linkage: Linkage, service: FakeService, data: Path
) -> None:
    agreed(service, schema_document(), quality={"min_completeness": {"nhs_number": 0.9}})

    outcome = linkage("check", data, "--project", "prj_1", "--json")

    assert outcome.code == ExitCode.DATA
    assert outcome.json()["problems"][0]["code"] == "below_minimum"


def test_check_does_not_replace_a_page_unless_told(linkage: Linkage, data: Path, schema: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")

    refused = linkage("check", data, "--schema", schema, "--html", page)
    replaced = linkage("check", data, "--schema", schema, "--html", page, "--force")

    assert refused.code == ExitCode.DATA
    assert replaced.code == ExitCode.DONE
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_check_of_a_file_that_cannot_be_read_names_the_row_and_no_value(linkage: Linkage, tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text("record_id,given_name,surname\n1,Ann,Archer\n2,Canaryname,Baker,more\n")

    outcome = linkage("check", path, "--json")

    assert outcome.code == ExitCode.DATA
    assert "row 2" in outcome.json()["detail"]
    assert "anaryname" not in outcome.out + outcome.err


def test_check_fits_a_terminal_of_80_columns(linkage: Linkage, poor: Path, schema: Path) -> None:
    outcome = linkage("check", poor, "--schema", schema, "--show-values")

    assert max(map(len, outcome.out.splitlines())) <= 80
    assert not re.search("\x1b", outcome.out)


def test_check_says_its_default_sample_as_the_guess_has_it() -> None:
    assert check.SAMPLE_ROWS == guessing.SAMPLE_ROWS


@pytest.mark.parametrize("named", ["form", "value"])
def test_check_of_a_file_without_a_header_is_refused_without_its_values(
    linkage: Linkage, tmp_path: Path, named: str
) -> None:
    columns = ("given_name", "surname", "date_of_birth" if named == "form" else "sex")
    rows = people(50, given_name=["Canaryname", "Ann"], surname=["Canaryson", "Archer"], sex=["M", "F"])
    data, page = tmp_path / "people.csv", tmp_path / "page.html"
    data.write_text("".join(f"{','.join(row[name] for name in columns)}\n" for row in rows))

    outcome = linkage("check", data, "--html", page)

    assert outcome.code == ExitCode.DATA
    assert "The first line seems to hold a record" in outcome.err
    assert "Canary" not in outcome.out + outcome.err
    assert not page.exists()
