"""Asks the questions of an agreement at a terminal: checked at once, back and forth, taken up again another day."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from linkage_client.cli._session import fitted, printable
from linkage_client.errors import DataError, FileFormatError
from linkage_client.files import write_whole

if TYPE_CHECKING:
    from linkage_client.agreements.questions import Question
    from linkage_client.models import Organisation

BACK: Final = ":back"
QUIT: Final = ":quit"
_LEFT_OUT: Final = "-"
_DAY_LENGTH: Final = 10
_YES: Final = frozenset({"y", "yes", "true"})
_NO: Final = frozenset({"n", "no", "false"})


class _AnswerError(Exception):
    """What was typed cannot be read as an answer; the message says why."""


class Left(Exception):
    """No error: the person wants to go on another day, and what was answered is kept."""


class Interview:
    """One interview. Answers are written to the partial file after each of them."""

    def __init__(
        self, *, partial: Path, given: Mapping[str, Any], organisations: Sequence["Organisation"], today: date
    ) -> None:
        self._partial = partial
        self._organisations = organisations
        self._today = today
        # What an option gave is not asked again, and is not kept: the option is given again.
        self._given = dict(given)
        self._answers: dict[str, Any] = _kept(partial)
        self._element = ""

    @property
    def resumed(self) -> int:
        """How many answers were kept from before."""
        return len(self._answers)

    def document(self) -> dict[str, Any]:
        """Asks until there is a document that can be an agreement.

        Raises:
            Left: the person wants to go on another day.
        """
        from linkage_client.agreements.questions import document_of, next_question  # noqa: PLC0415 - quick `--help`
        from linkage_client.agreements.validation import findings  # noqa: PLC0415 - as above

        while True:
            while (question := next_question(self._all(), today=self._today)) is not None:
                self._ask(question)
            found = findings(document_of(self._all()))
            if not found:
                return document_of(self._all())
            for item in found:
                _say(f"{item.pointer}: {item.message}")
            _say("Some answers do not go together. Change the last ones.")
            self._go_back()

    def _all(self) -> dict[str, Any]:
        return {**self._answers, **self._given}

    def _ask(self, question: "Question") -> None:
        from linkage_client.agreements.questions import wrong_with  # noqa: PLC0415 - keeps `--help` quick

        self._introduce(question)
        while True:
            typed = _typed(question)
            if typed == QUIT:
                raise Left
            if typed == BACK:
                self._go_back()
                return
            try:
                answer = _read(question, typed, self._organisations)
            except _AnswerError as error:
                _say(str(error))
                continue
            found = wrong_with(question, answer, self._all())
            if not found:
                break
            for item in found:
                _say(item.message[:1].upper() + item.message[1:])
        self._answers[question.pointer] = answer
        self._keep()

    def _introduce(self, question: "Question") -> None:
        if question.element_title != self._element:
            self._element = question.element_title
            _say("")
            _say(click.style(self._element, bold=True) if sys.stderr.isatty() else self._element)
        _say("")
        _say(f"{question.title}. {question.help}")
        if question.example:
            _say(f"  Example: {question.example}")
        if question.choices:
            several = question.kind == "choices"
            _say(f"  {'One or more of' if several else 'One of'}: {', '.join(question.choices)}")
        if question.kind in {"organisation", "organisations"}:
            for number, organisation in enumerate(self._organisations, start=1):
                _say(f"  {number} {organisation.name}")
        if question.optional:
            _say(f"  Type {_LEFT_OUT} to leave it out.")

    def _go_back(self) -> None:
        if self._answers:
            self._answers.popitem()
            self._keep()
        else:
            _say("This is the first question.")

    def _keep(self) -> None:
        try:
            write_whole(self._partial, json.dumps({"answers": self._answers}, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise DataError(f"{self._partial} cannot be written: {error.strerror}.") from None

    def forget(self) -> None:
        """Deletes the partial file: the document is written."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._partial)  # noqa: PTH108 - as the standard library says it


def _kept(partial: Path) -> dict[str, Any]:
    try:
        content = json.loads(partial.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise FileFormatError(f"{partial} cannot be read. Delete it to begin again.") from None
    answers = content.get("answers") if isinstance(content, dict) else None
    if not isinstance(answers, dict):
        raise FileFormatError(f"{partial} does not hold answers. Delete it to begin again.")
    return answers


def _typed(question: "Question") -> str:
    default = _shown(question.default)
    return str(
        click.prompt(
            ">",
            prompt_suffix=" ",
            default=default if default is not None else "",
            show_default=default is not None,
            err=True,
        )
    ).strip()


def _shown(default: Any) -> str | None:
    if default is None:
        return None
    if isinstance(default, bool):
        return "yes" if default else "no"
    return ", ".join(map(str, default)) if isinstance(default, list) else str(default)


def _read(question: "Question", typed: str, organisations: Sequence["Organisation"]) -> Any:
    if question.optional and typed in {"", _LEFT_OUT}:
        return None
    if not typed and question.kind not in {"list", "choices", "organisations"}:
        raise _AnswerError("An answer is needed here.")
    readers: dict[str, Callable[[], Any]] = {
        "text": lambda: typed,
        "flag": lambda: _flag(typed),
        "whole": lambda: _whole(typed),
        "share": lambda: _share(typed),
        "choice": lambda: _choice(typed, question.choices),
        "choices": lambda: [_choice(item, question.choices) for item in _split(typed)],
        "moment": lambda: f"{typed}T00:00:00Z" if len(typed) == _DAY_LENGTH else typed,
        "organisation": lambda: _organisation(typed, organisations),
        "organisations": lambda: [_organisation(item, organisations) for item in _split(typed)],
        "list": lambda: _split(typed),
    }
    return readers[question.kind]()


def _split(typed: str) -> list[str]:
    return [item.strip() for item in typed.split(",") if item.strip() not in {"", _LEFT_OUT}]


def _flag(typed: str) -> bool:
    if typed.lower() not in _YES | _NO:
        raise _AnswerError("Answer yes or no.")
    return typed.lower() in _YES


def _whole(typed: str) -> int:
    try:
        return int(typed)
    except ValueError:
        raise _AnswerError("This must be a whole number.") from None


def _share(typed: str) -> float:
    number = typed.removesuffix("%").strip()
    try:
        return float(number) / 100 if typed.endswith("%") else float(number)
    except ValueError:
        raise _AnswerError("This must be a share such as 0.98 or 98 %.") from None


def _choice(typed: str, choices: Sequence[str]) -> str:
    fitting = [choice for choice in choices if choice == typed] or [c for c in choices if c.startswith(typed)]
    if len(fitting) != 1:
        raise _AnswerError(f"Choose of: {', '.join(choices)}.")
    return fitting[0]


def _organisation(typed: str, organisations: Sequence["Organisation"]) -> str:
    if typed.isdecimal() and 0 < int(typed) <= len(organisations):
        return organisations[int(typed) - 1].id
    named = [item.id for item in organisations if item.name.casefold() == typed.casefold()]
    if len(named) == 1:
        return named[0]
    if named:
        raise _AnswerError("Several organisations have this name. Give the id, or its number in the list.")
    return typed


def _say(text: str) -> None:
    click.echo(fitted(printable(text)) if "\x1b" not in text else text, err=True)
