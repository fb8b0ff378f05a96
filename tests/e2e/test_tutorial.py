"""The tutorial works as it is written: its commands run in order, against the service that the first one starts."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
START = "python3 -m pip install uv && uv run linkage demo --practice"
# Fewer people than the tutorial's: what is tested are the commands.
FEWER = ("--rows", "500", "--json")
IDS = {"RUN_ID": r"\brun_[a-z0-9]{26}\b", "RELEASE_ID": r"\brel_[a-z0-9]{26}\b"}


def command_lines() -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@dataclass
class Shell:
    """A shell as far as the tutorial needs one: a folder, variables, and ids filled in as they become known."""

    folder: Path
    environment: dict[str, str]
    known: dict[str, str] = field(default_factory=dict)

    def run(self, line: str) -> str:
        for name, value in self.known.items():
            line = line.replace(name, value)
        words = shlex.split(line.replace("$PWD", str(self.folder)))
        if words == [".", ".venv/bin/activate"]:
            # Has a shell find the command; the tests name the interpreter instead.
            return ""
        if words[0] == "cd":
            self.folder = (self.folder / words[1]).resolve()
            return ""
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.environment[name] = value
            return ""
        assert words[0] == "linkage", line
        done = subprocess.run(
            [sys.executable, "-m", "linkage_client", *words[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        for placeholder, pattern in IDS.items():
            if found := re.search(pattern, done.stdout):
                self.known.setdefault(placeholder, found[0])
        return done.stdout


@pytest.fixture
def practice(tmp_path: Path) -> Iterator[Shell]:
    """What the first command of the tutorial leaves, and its service stopped at the end."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        environment[name] = str(tmp_path / name.lower())
    shell = Shell(tmp_path, environment)
    started = json.loads(shell.run(f"linkage demo --practice {' '.join(FEWER)}"))
    try:
        shell.known |= {"FOLDER": started["folder"], "PROJECT_ID": started["project"], "CODE": started["code"]}
        yield shell
    finally:
        os.kill(started["process"], signal.SIGTERM)


def test_tutorial_leads_to_link_ids_for_people_whom_both_know(practice: Shell) -> None:
    first, *lines = command_lines()
    assert first == START
    for line in lines:
        practice.run(line)

    folder = Path(practice.known["FOLDER"]) / "parties"
    with (folder / "3-office-of-data-analytics" / "merged.csv").open(encoding="utf-8", newline="") as file:
        merged = list(csv.DictReader(file))
    # Half of 500 are known to both; a few are missed.
    assert 225 <= len(merged) <= 260
    assert [name for name in merged[0] if "Rent band" in name]
    assert not {"Forename", "Surname", "DOB", "Tenancy ref", "given_name", "record_id"} & set(merged[0])
    pages = [folder / "1-northgate-council" / name for name in ("quality.html", "risk.html")]
    assert all(page.read_text(encoding="utf-8").startswith("<!doctype html>") for page in pages)
