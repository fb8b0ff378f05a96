"""Each trust zone gets a wheel with its own code and nothing else."""

import email
import re
import subprocess
import zipfile
from collections.abc import Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.uv import require_uv

ROOT = Path(__file__).parents[2]
SOURCES = {
    "linkage_service": ROOT / "linkage_service",
    "linkage_matching": ROOT / "services" / "matching" / "src" / "linkage_matching",
    "linkage_ledger": ROOT / "services" / "ledger" / "src" / "linkage_ledger",
    "linkage_client": ROOT / "client_sdk" / "src" / "linkage_client",
    "linkage_console": ROOT / "services" / "console" / "src" / "linkage_console",
}


@dataclass(frozen=True, slots=True)
class Wheel:
    files: frozenset[str]
    requires: frozenset[str]
    entry_points: str


def _read(path: Path) -> Wheel:
    with zipfile.ZipFile(path) as archive:
        files = frozenset(name for name in archive.namelist() if not name.endswith("/"))
        info = next(name for name in files if name.endswith(".dist-info/METADATA")).removesuffix("METADATA")
        metadata = email.message_from_bytes(archive.read(info + "METADATA"))
        scripts = info + "entry_points.txt"
        entry_points = archive.read(scripts).decode() if scripts in files else ""
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = frozenset(re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in required)
    return Wheel(files=files, requires=names, entry_points=entry_points)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Wheel]:
    uv = require_uv()
    target = tmp_path_factory.mktemp("wheels")
    command = [uv, "build", "--quiet", "--wheel", "--all-packages", "--out-dir", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=240)
    return {path.name.split("-")[0]: _read(path) for path in target.glob("*.whl")}


def test_workspace_builds_exactly_these_wheels(wheels: Mapping[str, Wheel]) -> None:
    assert wheels.keys() == SOURCES.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_wheel_has_one_top_level_name(wheels: Mapping[str, Wheel], name: str) -> None:
    top_level = {file.split("/")[0] for file in wheels[name].files}
    assert {entry for entry in top_level if not entry.endswith(".dist-info")} == {name}


@pytest.mark.parametrize("name", SOURCES)
def test_wheel_holds_every_source_file_and_the_licence(wheels: Mapping[str, Wheel], name: str) -> None:
    source = SOURCES[name]
    expected = {
        f"{name}/{path.relative_to(source).as_posix()}"
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= wheels[name].files
    assert f"{name}/py.typed" in wheels[name].files
    assert any(file.endswith("/licenses/LICENSE") for file in wheels[name].files)


def test_client_wheel_requires_no_server_package(wheels: Mapping[str, Wheel]) -> None:
    server = {"linkage-service", "linkage-matching", "fastapi", "sqlmodel", "sqlalchemy", "alembic", "uvicorn"}
    assert wheels["linkage_client"].requires & server == set()


@pytest.mark.parametrize("name", ["linkage_service", "linkage_matching", "linkage_ledger"])
def test_wheel_of_the_linkage_unit_requires_no_encoder(wheels: Mapping[str, Wheel], name: str) -> None:
    assert wheels[name].requires & {"linkage-client", "clkhash"} == set()


def test_console_wheel_requires_the_client_and_no_database(wheels: Mapping[str, Wheel]) -> None:
    requires = wheels["linkage_console"].requires
    assert "linkage-client" in requires
    assert requires & {"linkage-service", "linkage-matching", "sqlmodel", "sqlalchemy", "alembic", "psycopg"} == set()


def test_console_wheel_holds_pages_and_the_notice_of_what_it_keeps(wheels: Mapping[str, Wheel]) -> None:
    files = wheels["linkage_console"].files
    for name in ("templates/base.html", "words.json", "static/govuk-frontend.min.css", "static/govuk-frontend.min.js"):
        assert f"linkage_console/{name}" in files
    assert any(file.endswith("/govuk-frontend-LICENSE.txt") and ".dist-info/licenses/" in file for file in files)


def test_console_is_found_by_the_service_by_its_entry_point(wheels: Mapping[str, Wheel]) -> None:
    assert _entries(wheels["linkage_console"], "linkage_service.pages") == ["console"]


def test_service_wheel_holds_migrations_and_policies(wheels: Mapping[str, Wheel]) -> None:
    files = wheels["linkage_service"].files
    assert "linkage_service/migrations/env.py" in files
    assert any(re.fullmatch(r"linkage_service/migrations/versions/\w+\.py", file) for file in files)
    assert any(file.endswith(".cedar") for file in files)


def test_commands_come_with_their_own_wheel(wheels: Mapping[str, Wheel]) -> None:
    commands = {name: _entries(wheel, "console_scripts") for name, wheel in wheels.items()}
    assert commands["linkage_service"] == ["linkage-service"]
    assert commands["linkage_client"] == ["linkage"]
    assert commands["linkage_ledger"] == ["linkage-ledger"]


def test_client_brings_its_fixtures_to_pytest(wheels: Mapping[str, Wheel]) -> None:
    assert _entries(wheels["linkage_client"], "pytest11") == ["linkage"]


def _entries(wheel: Wheel, group: str) -> list[str]:
    points = ConfigParser()
    points.read_string(wheel.entry_points)
    return points.options(group) if points.has_section(group) else []
