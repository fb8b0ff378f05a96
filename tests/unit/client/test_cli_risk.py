import json
import shutil
from pathlib import Path

import pytest

from linkage_client.checks import leakage
from linkage_client.cli import risk
from linkage_client.cli.exit_codes import ExitCode
from linkage_client.demo.people import generate
from linkage_client.encoding.profiles import schema_for
from support.command import Linkage
from support.fake_service import FakeService, agreed
from support.leakage import CLK, SAUL, people, schema_of

ROWS = 420
FEW = ("--sample", str(leakage.FEWEST_ROWS))


@pytest.fixture(autouse=True)
def _one_imitation_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leakage, "IMITATIONS", 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extract and its schema, for all tests to copy."""
    folder = tmp_path_factory.mktemp("risk")
    generate(("council", "hospital"), ROWS, overlap=0.0, seed=1).write(folder)
    (folder / "schema.json").write_text(json.dumps(schema_of(people(ROWS)).document))
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made / "council.csv", tmp_path))


@pytest.fixture
def schema(made: Path) -> Path:
    return made / "schema.json"


def test_risk_says_the_sentence_first(linkage: Linkage, data: Path, schema: Path) -> None:
    outcome = linkage("risk", data, "--schema", schema, *FEW)
    assert outcome.code == ExitCode.DONE
    sentence = "Someone who holds this register and 300 known people would re-identify about 100 %"
    assert " ".join(outcome.out.split()).startswith(sentence)


def test_risk_fits_a_terminal_of_80_columns(linkage: Linkage, data: Path, schema: Path) -> None:
    outcome = linkage("risk", data, "--schema", schema, *FEW, "--encoding-profile", "clk-fold-1024-v1")
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_risk_shows_no_value_and_no_record_id(linkage: Linkage, data: Path, schema: Path, tmp_path: Path) -> None:
    page = tmp_path / "risk.html"
    outcome = linkage("risk", data, "--schema", schema, *FEW, "--html", page)
    written = outcome.out + outcome.err + page.read_text(encoding="utf-8")
    rows = [line.split(",") for line in data.read_text(encoding="utf-8").splitlines()[1:]]
    held = {value for row in rows for value in row if len(value) > 4}
    assert not [value for value in held if value in written]


def test_risk_as_json_is_one_document(linkage: Linkage, data: Path, schema: Path) -> None:
    document = linkage("risk", data, "--schema", schema, *FEW, "--json").json()
    (report,) = document["reports"]
    assert report["encoding_profile"] == CLK
    assert report["sample"] == leakage.FEWEST_ROWS
    assert report["manifest"]["reidentified_300"] == report["reidentified"][1]["share"]
    assert document["exceeds_maximum"] is False


def test_risk_above_the_maximum_has_an_exit_code_of_its_own(linkage: Linkage, data: Path, schema: Path) -> None:
    outcome = linkage("risk", data, "--schema", schema, *FEW, "--maximum", "0.05", "--json")
    assert (outcome.code, outcome.json()["exceeds_maximum"]) == (ExitCode.RISK, True)


def test_risk_within_the_maximum_is_done(linkage: Linkage, data: Path, schema: Path) -> None:
    outcome = linkage("risk", data, "--schema", schema, *FEW, "--maximum", "1")
    assert outcome.code == ExitCode.DONE
    assert "Within the maximum of 100 %" in outcome.err


@pytest.mark.usefixtures("registered")
def test_risk_of_a_project_takes_the_maximum_of_the_agreement(
    linkage: Linkage, data: Path, schema: Path, service: FakeService
) -> None:
    agreed(service, json.loads(schema.read_text()), security={"encoding_profile": CLK, "maximum_reidentification": 0.1})
    outcome = linkage("risk", data, "--project", "prj_1", *FEW)
    assert outcome.code == ExitCode.RISK
    assert "More than the maximum of 10 %" in outcome.err


def test_risk_compares_profiles_side_by_side(linkage: Linkage, data: Path, schema: Path) -> None:
    outcome = linkage("risk", data, "--schema", schema, *FEW, "--compare", "--json")
    reports = {report["encoding_profile"]: report for report in outcome.json()["reports"]}
    assert list(reports) == [CLK, "clk-fold-1024-v1", SAUL]
    shares = {name: report["manifest"]["reidentified_300"] for name, report in reports.items()}
    assert shares[CLK] > 0.9 > shares[SAUL]


def test_risk_says_which_profiles_the_schema_does_not_fit(linkage: Linkage, data: Path, tmp_path: Path) -> None:
    narrow = tmp_path / "narrow.json"
    columns = {name: values for name, values in people(ROWS).items() if name in {"given_name", "surname", "postcode"}}
    narrow.write_text(json.dumps(schema_of(columns).document))
    outcome = linkage("risk", data, "--schema", narrow, *FEW, "--compare")
    assert outcome.code == ExitCode.DONE
    assert f"Not measured: {SAUL}." in outcome.err


def test_risk_of_a_schema_meant_for_saul_says_how_to_measure_it(linkage: Linkage, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "saul.json"
    path.write_text(json.dumps(schema_for(schema_of(people(ROWS)), SAUL).document))
    assert f"--encoding-profile {SAUL}" in linkage("risk", data, "--schema", path, *FEW).err


def test_risk_of_columns_of_other_names_needs_map(linkage: Linkage, data: Path, schema: Path) -> None:
    data.write_text(data.read_text(encoding="utf-8").replace("surname", "family", 1), encoding="utf-8")
    assert linkage("risk", data, "--schema", schema, *FEW).code == ExitCode.DATA
    assert linkage("risk", data, "--schema", schema, *FEW, "--map", "family=surname").code == ExitCode.DONE


def test_risk_of_few_records_is_refused(linkage: Linkage, data: Path, schema: Path) -> None:
    lines = data.read_text(encoding="utf-8").splitlines(keepends=True)
    data.write_text("".join(lines[:100]), encoding="utf-8")
    outcome = linkage("risk", data, "--schema", schema, "--json")
    assert (outcome.code, outcome.json()["code"]) == (ExitCode.DATA, "too_few_records")


def test_risk_without_schema_or_project_is_a_wrong_command(linkage: Linkage, data: Path) -> None:
    assert linkage("risk", data).code == ExitCode.USAGE


def test_risk_does_not_replace_a_page_unasked(linkage: Linkage, data: Path, schema: Path, tmp_path: Path) -> None:
    page = tmp_path / "risk.html"
    page.write_text("mine")
    assert linkage("risk", data, "--schema", schema, *FEW, "--html", page).code == ExitCode.DATA
    assert page.read_text() == "mine"
    assert linkage("risk", data, "--schema", schema, *FEW, "--html", page, "--force").code == ExitCode.DONE


def test_limits_of_the_option_are_those_of_the_check() -> None:
    assert (risk.SAMPLE_ROWS, risk.FEWEST_ROWS) == (leakage.SAMPLE_ROWS, leakage.FEWEST_ROWS)
