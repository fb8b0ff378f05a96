"""`linkage run`: what it asks for, and how it tells what was found."""

import errno
from pathlib import Path
from typing import Any

import pytest

from linkage_client.cli.exit_codes import ExitCode
from support.command import Linkage
from support.fake_service import FakeService, Reply, organisation, problem, project, run
from support.reports import report

REFUSAL = problem(
    403,
    "policy_refused",
    elements=[{"element": "3", "policy": "G3-output", "reason": "The agreement does not list a summary."}],
)


@pytest.fixture
def succeeded(service: FakeService) -> FakeService:
    """A run of two organisations, one of which the service can name, and its report."""
    finding = {"code": "few_matches", "organisations": ["org_own", "org_other"], "message": "Few. " * 30}
    service.on("GET", "/v1/runs/run_1", run("succeeded", findings=[finding]))
    service.on("GET", "/v1/runs/run_1/report", report(findings=[finding]))
    service.on("GET", "/v1/organisations", {"items": [organisation()], "next_cursor": None})
    service.on("GET", "/v1/projects/prj_1", project())
    return service


def bodies(service: FakeService) -> list[Any]:
    return [asked.json() for asked in service.asked if asked.path == "/v1/projects/prj_1/runs"]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("words", "body"),
    [
        ((), {}),
        (("--target-precision", "0.99"), {"target_precision": 0.99}),
        (("--threshold", "0.8"), {"threshold": 0.8}),
        (("--threshold", "1"), {"threshold": 1.0}),
        (("--blocking", "--target-precision", "0.5"), {"blocking": True, "target_precision": 0.5}),
    ],
)
def test_run_start_asks_for_what_was_said(
    service: FakeService, linkage: Linkage, words: tuple[str, ...], body: dict[str, Any]
) -> None:
    service.on("POST", "/v1/projects/prj_1/runs", Reply(202, run("queued")))
    assert linkage("run", "start", "prj_1", "--no-wait", *words).code == 0
    assert bodies(service) == [body]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target-precision", "0.9", "--threshold", "0.8"), "exclude each other"),
        (("--target-precision", "99"), "Write 0.99 for 99 %."),
        (("--target-precision", "99.5%"), "Write 0.995 for 99.5 %."),
        (("--target-precision", "1"), "0.5 or more and less than 1"),
        (("--target-precision", "0.3"), "0.5 or more and less than 1"),
        (("--target-precision", "nan"), "not a share"),
        (("--target-precision", "high"), "not a share"),
        (("--threshold", "80"), "Write 0.8 for 80 %."),
        (("--threshold", "0.05"), "0.1 or more and 1 at most"),
        (("--threshold", "1.01"), "0.1 or more and 1 at most"),
    ],
)
def test_run_start_with_a_senseless_aim_says_what_to_write(
    service: FakeService, linkage: Linkage, words: tuple[str, ...], said: str
) -> None:
    outcome = linkage("run", "start", "prj_1", *words)
    assert outcome.code == ExitCode.USAGE
    assert said in " ".join(outcome.err.split())
    assert service.asked == []


@pytest.mark.usefixtures("registered")
def test_run_wait_says_the_findings_of_the_run_and_reads_no_report(succeeded: FakeService, linkage: Linkage) -> None:
    done = linkage("run", "wait", "run_1")
    assert done.code == 0
    assert "Few matches: wide margins" in done.out
    assert not any(asked.path.endswith("/report") for asked in succeeded.asked)


def test_run_start_help_says_which_option_is_for_whom(linkage: Linkage) -> None:
    text = " ".join(linkage("run", "start", "--help").out.split())
    assert "By default it reaches the precision that the agreement names" in text
    assert "What most want" in text
    assert "For experts" in text


@pytest.mark.usefixtures("registered")
def test_run_that_was_waited_for_says_how_to_read_it(succeeded: FakeService, linkage: Linkage) -> None:
    outcome = linkage("run", "wait", "run_1")
    assert "linkage run show run_1" in outcome.err
    assert "of Own, 3 records" in outcome.out
    assert "/v1/runs/run_1/report" not in succeeded.paths("GET")


@pytest.mark.usefixtures("registered", "succeeded")
def test_run_show_tells_what_was_found(linkage: Linkage) -> None:
    outcome = linkage("run", "show", "run_1")
    assert outcome.code == 0
    assert "aim: the best balance of right links and found matches" in outcome.out
    assert "Few matches: wide margins" in outcome.out
    assert outcome.out.count("Few matches: wide margins") == 1
    assert "2,510 links; about 99.4 % of them right" in outcome.out
    assert "Own and org_other" in outcome.out
    assert "linked above, not linked below" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100
    assert "\x1b" not in outcome.out


@pytest.mark.usefixtures("registered", "succeeded")
def test_run_show_with_json_is_one_document(linkage: Linkage) -> None:
    document = linkage("run", "show", "run_1", "--json").json()
    assert (document["id"], document["state"]) == ("run_1", "succeeded")
    assert document["report"]["result"]["links"] == 2510
    assert "report_refused" not in document


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("reply", [REFUSAL, problem(404), problem(409, "no_result")])
def test_run_show_without_leave_to_read_the_report_shows_the_run(
    succeeded: FakeService, linkage: Linkage, reply: Reply
) -> None:
    succeeded.on("GET", "/v1/runs/run_1/report", reply)
    outcome = linkage("run", "show", "run_1")
    assert outcome.code == 0
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("report:")]
    assert "not readable by you" in line
    assert "state: succeeded" in outcome.out


@pytest.mark.usefixtures("registered")
def test_run_show_says_which_part_of_the_agreement_refuses(succeeded: FakeService, linkage: Linkage) -> None:
    succeeded.on("GET", "/v1/runs/run_1/report", REFUSAL)
    assert "not readable by you. The agreement does not list a summary." in linkage("run", "show", "run_1").out
    document = linkage("run", "show", "run_1", "--json").json()
    assert document["report"] is None
    assert document["report_refused"]["code"] == "policy_refused"


@pytest.mark.usefixtures("registered")
def test_run_show_of_a_run_that_goes_on_asks_for_no_report(service: FakeService, linkage: Linkage) -> None:
    service.on("GET", "/v1/runs/run_1", run("running"))
    assert linkage("run", "show", "run_1").code == 0
    assert linkage("run", "show", "run_1", "--json").json()["report"] is None
    assert "/v1/runs/run_1/report" not in service.paths("GET")


@pytest.mark.usefixtures("registered")
def test_run_show_without_names_shows_ids(succeeded: FakeService, linkage: Linkage) -> None:
    succeeded.on("GET", "/v1/organisations", problem(403))
    outcome = linkage("run", "show", "run_1")
    assert outcome.code == 0
    assert "org_own and org_other" in outcome.out


@pytest.mark.usefixtures("registered")
def test_run_show_of_a_fixed_threshold_says_it(service: FakeService, linkage: Linkage) -> None:
    service.on("GET", "/v1/runs/run_1", run("running", threshold=0.8, aim={"kind": "threshold", "value": 0.8}))
    assert "aim: a fixed threshold: links from a Dice similarity of 0.8 up" in linkage("run", "show", "run_1").out


@pytest.mark.usefixtures("registered", "succeeded")
def test_run_show_html_writes_a_page_once(linkage: Linkage, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    outcome = linkage("run", "show", "run_1", "--html", out)
    assert outcome.code == 0
    assert str(out) in outcome.err
    first = out.read_text(encoding="utf-8")
    assert first.startswith("<!doctype html>")
    assert "Own" in first
    out.write_text("mine")
    assert linkage("run", "show", "run_1", "--html", out).code == ExitCode.DATA
    assert out.read_text() == "mine"
    assert linkage("run", "show", "run_1", "--html", out, "--force").code == 0
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.usefixtures("registered")
def test_run_show_html_onto_an_existing_file_reads_no_report(
    succeeded: FakeService, linkage: Linkage, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text("")
    assert linkage("run", "show", "run_1", "--html", tmp_path / "report.html").code == ExitCode.DATA
    assert succeeded.asked == []


@pytest.mark.usefixtures("registered")
def test_run_show_html_of_another_kind_of_file_is_wrong_usage(
    succeeded: FakeService, linkage: Linkage, tmp_path: Path
) -> None:
    outcome = linkage("run", "show", "run_1", "--html", tmp_path / "extract.csv", "--force")
    assert outcome.code == ExitCode.USAGE
    assert succeeded.asked == []


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("place", "said"), [("absent/report.html", "its folder is not there"), ("folder.html", "is a folder")]
)
def test_run_show_html_where_no_page_can_be_reads_no_report(
    succeeded: FakeService, linkage: Linkage, tmp_path: Path, place: str, said: str
) -> None:
    """Reading a report is recorded as a disclosure, so none is read in vain."""
    (tmp_path / "folder.html").mkdir()
    outcome = linkage("run", "show", "run_1", "--html", tmp_path / place, "--force")
    assert outcome.code == ExitCode.DATA
    assert said in outcome.err
    assert succeeded.asked == []


@pytest.mark.usefixtures("registered", "succeeded")
def test_run_show_html_that_fails_half_way_keeps_the_page_before(
    linkage: Linkage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.html"
    out.write_text("before")
    written = Path.write_text

    def half(self: Path, data: str, **options: Any) -> int:
        if out.name not in self.name:
            return written(self, data, **options)
        written(self, data[: len(data) // 2], **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    outcome = linkage("run", "show", "run_1", "--html", out, "--force")
    assert outcome.code == ExitCode.DATA
    assert "No space left" in outcome.err
    assert out.read_text() == "before"
    assert list(tmp_path.glob(".report*")) == []


@pytest.mark.usefixtures("registered", "succeeded")
def test_run_show_html_with_json_does_both(linkage: Linkage, tmp_path: Path) -> None:
    outcome = linkage("run", "show", "run_1", "--html", tmp_path / "report.html", "--json")
    assert outcome.json()["report"]["run"] == "run_1"
    assert (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("state", "reply", "code"),
    [
        ("succeeded", REFUSAL, ExitCode.REFUSED),
        ("failed", problem(409), ExitCode.RUN_ENDED),
        ("cancelled", problem(409), ExitCode.RUN_ENDED),
        ("running", problem(409), ExitCode.RUN_STILL_GOING),
    ],
)
def test_run_show_html_without_a_report_fails_and_writes_nothing(  # noqa: PLR0917 - one column of the table each
    service: FakeService, linkage: Linkage, tmp_path: Path, state: str, reply: Reply, code: ExitCode
) -> None:
    service.on("GET", "/v1/runs/run_1", run(state))
    service.on("GET", "/v1/runs/run_1/report", reply)
    out = tmp_path / "report.html"
    assert linkage("run", "show", "run_1", "--html", out).code == code
    assert not out.exists()


@pytest.mark.usefixtures("registered")
def test_run_list_says_each_aim_in_words(service: FakeService, linkage: Linkage) -> None:
    runs = [run("succeeded", aim={"kind": "target_precision", "value": 0.99}), run("queued")]
    service.on("GET", "/v1/projects/prj_1/runs", {"items": runs, "next_cursor": None})
    lines = linkage("run", "list", "prj_1").out.splitlines()
    assert lines[0].split("\t")[2] == "at least 99 % of the links right"
    assert linkage("run", "list", "prj_1", "--json").json()["items"][0]["aim"]["value"] == 0.99
