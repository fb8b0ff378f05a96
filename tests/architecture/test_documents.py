"""Documents that cannot drift: commands, links, languages."""

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
DEMO_COMMAND = "python3 -m pip install uv && uv run linkage demo"
TEST_COMMAND = "python3 -m pip install uv && uv run pytest"
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {".venv", "node_modules", ".git"} & set(path.parts) and not any(p.endswith("_cache") for p in path.parts)
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_DRAWN = {"svg", "title", "desc", "defs", "marker", "rect", "path", "g", "text", "circle"}
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _anchors(document: Path) -> set[str]:
    """The anchors that code hosts give to headings."""
    prose = _FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+\s+(.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _is_dead(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    if not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in _anchors(target)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_of_the_document_resolve(document: Path) -> None:
    prose = _FENCE.sub("", document.read_text(encoding="utf-8"))
    links = [link for link in _LINK.findall(prose) if not re.match(r"[a-z]+:", link)]
    assert [link for link in links if _is_dead(document, link)] == []


@pytest.mark.parametrize("command", [DEMO_COMMAND, TEST_COMMAND])
def test_readme_gives_the_command_on_a_line_of_its_own(command: str) -> None:
    assert command in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("script", [".ci/run", "requirements/export.sh"])
def test_script_is_executable_and_parses(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize("drawing", sorted((ROOT / "docs").glob("*.svg")), ids=lambda path: path.name)
def test_drawing_says_in_words_what_it_shows_and_loads_nothing(drawing: Path) -> None:
    root = ET.parse(drawing).getroot()  # noqa: S314 - our own file
    named = {element.get("id"): (element.text or "") for element in root}
    assert root.get("role") == "img"
    assert [len(named[name]) > 20 for name in (root.get("aria-labelledby") or "").split()] == [True, True]
    assert {element.tag.partition("}")[2] for element in root.iter()} <= _DRAWN
    assert "href" not in drawing.read_text(encoding="utf-8")


def test_dpia_points_at_controls_and_tests_that_exist() -> None:
    text = (ROOT / "docs" / "dpia.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests|linkage_service)/[\w./]+)`", text))
    assert len(named) > 8
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_decisions_are_numbered_without_gaps_and_short() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    assert [path.name for path in decisions if len(path.read_text(encoding="utf-8").splitlines()) > 40] == []


def test_changelog_has_an_unreleased_section() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
