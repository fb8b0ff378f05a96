"""`linkage agreement new`: asked at a terminal, or answered from a file."""

import json
import os
import pty
import sys
from datetime import date
from pathlib import Path
from subprocess import Popen

import pytest

from linkage_client.agreements import questions
from linkage_client.agreements.questions import answers_of, document_of, next_question, wrong_with
from linkage_client.agreements.validation import findings
from linkage_client.cli.exit_codes import ExitCode
from linkage_client.errors import AgreementInvalidError
from linkage_service.agreements.document import AgreementDocument
from linkage_service.agreements.example import DOCUMENT
from support.command import Linkage
from support.linkage_schemas import linkage_schema, string_feature

TODAY = date(2026, 11, 28)
ONE, TWO = (party["organisation"] for party in DOCUMENT["recipients"]["parties"][:2])


class Terminal:
    """A person at a pseudo-terminal: waits for each prompt, types the next line."""

    def __init__(self, *words: object) -> None:
        self.ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "linkage_client", "agreement", "new", *map(str, words), "--offline"]
        self.process = Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.shown = ""

    def until_asked(self) -> str:
        """What was shown until the next prompt, or until the end."""
        new = ""
        while not new.endswith("> ") and not new.rstrip(" ").endswith("]"):
            try:
                part = os.read(self.ours, 4096).decode()
            except OSError:  # the other end is closed
                break
            if not part:
                break
            new += part
        self.shown += new
        return new

    def type(self, line: str) -> str:
        os.write(self.ours, f"{line}\n".encode())
        return self.until_asked()

    def end(self) -> int:
        while self.until_asked():
            pass
        os.close(self.ours)
        return self.process.wait(timeout=60)


def _pointer_answers() -> dict[str, str]:
    """What a person types, by the title of the question; the default is taken where nothing stands here."""
    return {
        "Reference": "ISP-2026-007",
        "Title": "Linkage to plan services",
        "Code of the purpose": "planning",
        "Purpose": "To plan services.",
        "Benefits": "Better services.",
        "Lawful basis": "6(1)(e)",
        "Legal power": "A statute.",
        "Duty of confidentiality": "Not engaged.",
        "Impact assessment": "DPIA-1",
        "Necessity and proportionality": "No less intrusive way.",
        "Data protection officer": "dpo@body.test",
        "Senior information risk owner": "siro@body.test",
        "People concerned": "Adults of the area.",
        "Onward sharing": "None.",
        "Contact point": "rights@body.test",
        "Privacy notice": "https://body.test/privacy",
        "How to object": "By letter.",
        "End": "2027-12-31",
        "Review": "2027-06-30",
        "Measures of effectiveness": "A yearly report.",
        "Termination": "Everything is deleted.",
        "Imposed by": "The board.",
    }


def _title(shown: str) -> str:
    titles = [*_pointer_answers(), "Organisation", "Roles", "Another party", "Kind of opt-out"]
    lines = [line.strip() for line in shown.splitlines()]
    found = [title for title in titles for line in lines if line.startswith((f"{title}. ", f"{title}?. "))]
    return found[-1] if found else ""


def _go_through(terminal: Terminal, shown: str) -> None:
    parties = iter((ONE, TWO))
    while terminal.process.poll() is None and shown:
        title = _title(shown)
        if title == "Organisation":
            answer = next(parties)
        elif title == "Roles":
            answer = "provider" if shown.count(TWO) == 0 and TWO not in terminal.shown else "provider, recipient"
        else:
            answer = {**_pointer_answers(), "Kind of opt-out": "none"}.get(title, "")
        shown = terminal.type(answer)


@pytest.fixture
def schema_file(tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(linkage_schema(string_feature("given_name"))))
    return path


def test_interview_at_a_terminal_checks_goes_back_stops_and_goes_on(tmp_path: Path, schema_file: Path) -> None:
    out = tmp_path / "isp.json"
    first = Terminal(out, "--schema", schema_file)
    first.until_asked()
    assert "This must be a short name" in first.type("not a reference!")
    first.type("ISP-WRONG")
    assert "Reference." in first.type(":back")
    first.type("ISP-2026-007")
    first.type(":quit")
    assert first.end() == 0
    partial = tmp_path / "isp.json.partial"
    assert partial.stat().st_mode & 0o077 == 0
    assert json.loads(partial.read_text("utf-8"))["answers"] == {"/reference": "ISP-2026-007"}
    assert not out.exists()

    second = Terminal(out, "--schema", schema_file)
    _go_through(second, second.until_asked())
    assert second.end() == 0, second.shown[-2000:]

    document = json.loads(out.read_text("utf-8"))
    assert findings(document) == ()
    AgreementDocument.model_validate(document)
    assert document["reference"] == "ISP-2026-007"
    assert document["data"]["identifier_fields"] == ["given_name"]
    assert not partial.exists()


def test_new_from_answers_fills_in_defaults_and_is_valid(linkage: Linkage, tmp_path: Path, schema_file: Path) -> None:
    given = {name: value for name, value in DOCUMENT.items() if name not in {"format", "retention"}}
    del given["data"]
    given["data"] = {**DOCUMENT["data"], "linkage_schema_sha256": None, "identifier_fields": None}
    given["quality"] = {"min_completeness": {"given_name": 0.5}}
    (tmp_path / "answers.json").write_text(json.dumps(given))
    out = tmp_path / "isp.json"
    made = linkage("agreement", "new", out, "--answers", tmp_path / "answers.json", "--schema", schema_file)
    assert made.code == 0, made.err
    document = json.loads(out.read_text("utf-8"))
    assert findings(document) == ()
    assert document["retention"]["encodings_days"] == 30
    assert document["data"]["identifier_fields"] == ["given_name"]


def test_new_without_a_terminal_and_without_answers_says_how(linkage: Linkage, tmp_path: Path) -> None:
    assert linkage("agreement", "new", tmp_path / "isp.json").code == ExitCode.USAGE


def test_answers_that_leave_something_out_name_it() -> None:
    without = {name: value for name, value in DOCUMENT.items() if name != "title"}
    with pytest.raises(AgreementInvalidError, match="/title is missing"):
        answers_of(without, today=TODAY)


def test_answers_that_say_something_that_is_not_asked_name_it() -> None:
    with pytest.raises(AgreementInvalidError, match="/small_print"):
        answers_of({**DOCUMENT, "small_print": "Everything is different."}, today=TODAY)


def test_answers_of_a_whole_document_make_it_again() -> None:
    made = document_of(answers_of(DOCUMENT, today=TODAY))
    assert findings(made) == ()
    assert made["recipients"]["parties"][2] == {
        **DOCUMENT["recipients"]["parties"][2],
        "contacts": {"dpo": "dpo@northshire.example", "siro": "siro@northshire.example"},
    }


def test_every_question_has_words_and_an_element() -> None:
    asked = list(questions.questions(answers_of(DOCUMENT, today=TODAY), today=TODAY))
    assert {question.element for question in asked} == {None, *range(1, 10)}
    assert all(question.title and question.help for question in asked)
    free = [q for q in asked if q.kind == "text" and not q.example and q.default is None and not q.optional]
    assert free == []


def test_answer_that_does_not_go_with_another_is_told_at_once() -> None:
    answers = {**answers_of(DOCUMENT, today=TODAY)}
    del answers["/data/special_category"]
    question = next_question(answers, today=TODAY)
    assert question is not None
    assert [item.message for item in wrong_with(question, True, answers)] == [
        "special category data need a condition of Article 9: say it in article9"
    ]
