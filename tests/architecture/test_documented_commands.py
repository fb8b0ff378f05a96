"""Commands, options and settings that the documents name exist, and every setting is documented."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from linkage_client.cli import cli as client_command
from linkage_ledger.cli import parser as ledger_parser
from linkage_service.cli import main as service_command
from linkage_service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "services" / "ledger" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
]
PROGRAMS: dict[str, click.Command] = {"linkage": client_command, "linkage-service": service_command}
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LEDGER = "linkage-ledger"
_INLINE = re.compile(r"`((?:uv run )?linkage(?:-service|-ledger)? [a-z][^`]*)`")
# Read by the command `linkage`, not by the service.
_CLIENT_VARIABLES = {"LINKAGE_CONFIG", "LINKAGE_DEBUG", "LINKAGE_PROFILE"}


def _command_lines() -> Iterator[tuple[str, str]]:
    """Every use of one of our programs, with the document it is in."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        fenced = "\n".join(_FENCED.findall(text)).replace("\\\n", " ").replace("&&", "\n")
        # A container's entry point is the program: what follows the image's name are its arguments.
        fenced = re.sub(r"^docker run .* (?=linkage-service)", "", fenced, flags=re.MULTILINE)
        fenced = re.sub(r"^docker compose run --rm (?=init )", "linkage-service ", fenced, flags=re.MULTILINE)
        for line in [*fenced.splitlines(), *_INLINE.findall(_FENCED.sub("", text))]:
            bare = line.strip().removeprefix("uv run ")
            if bare.split(" ")[0] in {*PROGRAMS, _LEDGER} and " " in bare:
                yield document.relative_to(ROOT).as_posix(), bare


def _problem(line: str) -> str | None:
    """What is wrong with a command line, if anything: arguments are not checked, commands and options are."""
    program, *words = shlex.split(re.split(r"[>|]", line)[0], comments=True)
    if program == _LEDGER:
        return _ledger_problem(words)
    command = PROGRAMS[program]
    context = click.Context(command, info_name=program, **command.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            default = getattr(command, "_default", None)
            found = command.get_command(context, default) if default else None
            if found is None:
                return f"no command {words[0]}"
            words.insert(0, default or "")
        command, words = found, words[1:]
    options = {
        name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)
    }
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in options]
    return f"no option {unknown[0]}" if unknown else None


def _ledger_problem(words: list[str]) -> str | None:
    """The same for the command that is not made with click."""
    command = ledger_parser()
    while words and (groups := [one for one in command._actions if isinstance(one, argparse._SubParsersAction)]):
        found = groups[0].choices.get(words[0])
        if found is None:
            return f"no command {words[0]}"
        command, words = found, words[1:]
    options = {name for action in command._actions for name in action.option_strings}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in options]
    return f"no option {unknown[0]}" if unknown else None


@pytest.mark.parametrize(("document", "line"), sorted(set(_command_lines())))
def test_command_in_a_document_exists(document: str, line: str) -> None:
    assert _problem(line) is None, document


def test_settings_of_the_service_and_of_its_guide_are_the_same() -> None:
    text = (ROOT / "docs" / "operator.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(LINKAGE_[A-Z0-9_]+)`", text, re.MULTILINE))
    assert documented == {f"LINKAGE_{name.upper()}" for name in Settings.model_fields}


def test_variables_that_documents_name_exist() -> None:
    named = {name for path in DOCUMENTS for name in re.findall(r"LINKAGE_[A-Z0-9_]+", path.read_text(encoding="utf-8"))}
    assert named <= {f"LINKAGE_{name.upper()}" for name in Settings.model_fields} | _CLIENT_VARIABLES
