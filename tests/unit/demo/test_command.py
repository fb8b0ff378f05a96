import importlib.util
import json
import signal
from pathlib import Path

import pytest

from linkage_client import cli
from linkage_client.demo.command import _show, _stopped_by_signals, proposal_lines
from linkage_client.demo.people import generate
from linkage_client.demo.play import Outcome
from linkage_client.demo.quality import Quality
from linkage_client.encoding.propose import propose_schema
from linkage_client.models import RunReport


def test_proposal_lines_date_of_birth_is_one_line() -> None:
    proposal = propose_schema(generate(rows=400, seed=1).files[0].columns)

    lines = {name: (filled, insertions, reason) for name, filled, insertions, reason in proposal_lines(proposal)}

    assert list(lines).count("date_of_birth") == 1
    assert "date_of_birth.year" not in lines
    assert "given_name+surname" in lines
    assert sum(int(insertions) for _, insertions, _ in lines.values() if insertions.isdigit()) == 400


@pytest.mark.parametrize(
    "arguments",
    [
        ("--providers", "1"),
        ("--providers", "11"),
        ("--rows", "0"),
        ("--overlap", "1.5"),
        ("--data", ".", "--rows", "5"),
        ("--encoding", "cp1252"),
    ],
)
def test_demo_senseless_options_are_wrong_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["demo", *arguments]) == 2
    assert capsys.readouterr().out == ""


def test_demo_bad_folder_is_one_problem_and_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.run(["demo", "--data", str(tmp_path / "absent"), "--json"])

    captured = capsys.readouterr()
    assert code == 4
    assert json.loads(captured.out)["exit_code"] == 4
    assert "Name the folder" in captured.err


def test_demo_without_a_service_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    assert cli.run(["demo"]) == 3
    assert "pip install linkage-service" in capsys.readouterr().err


def outcome(**result: float | None) -> Outcome:
    finding = {"code": "few_matches", "organisations": ["org_a"], "message": "Few."}
    report = RunReport.model_validate({"run": "run_1", "findings": [finding], "result": result})
    return Outcome(
        project_id="prj_1",
        parties=("A", "B"),
        rows={"A": 3, "B": 4},
        quality=Quality(precision=0.9, recall=0.8, f1=0.85),
        groups=12,
        report=report,
        seconds={},
        ledger_size=9,
        ledger_verified=True,
        ledger_findings=(),
    )


def test_show_says_the_estimates_beside_the_truth(capsys: pytest.CaptureFixture[str]) -> None:
    _show(outcome(precision=0.912, recall=None), {"total": 1.0}, as_json=False)

    precision, recall = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("Prec", "Rec"))]
    assert "0.9000" in precision
    assert precision.endswith("(estimated without the truth: 0.912)")
    assert recall.endswith("(no estimate is shown)")


def test_show_as_json_has_estimates_and_findings(capsys: pytest.CaptureFixture[str]) -> None:
    _show(outcome(precision=0.912, recall=0.8), {"total": 1.0}, as_json=True)

    document = json.loads(capsys.readouterr().out)
    assert document["estimated"] == {"precision": 0.912, "recall": 0.8, "matches": None}
    assert [finding["code"] for finding in document["findings"]] == ["few_matches"]
    assert (document["precision"], document["groups"], document["ledger"]) == (0.9, 12, {"size": 9, "verified": True})


def test_stopped_by_signals_terminate_is_an_interrupt_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), _stopped_by_signals():
        signal.raise_signal(signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) is before
