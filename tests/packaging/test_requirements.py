"""The committed pins are what the pyproject files resolve to, with hashes and without hosts."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.uv import require_uv

ROOT = Path(__file__).parents[2]
FILES = ("service.txt", "matcher.txt", "client.txt", "dev.txt", "build.txt")


def _pins(text: str) -> Mapping[str, frozenset[str]]:
    """Every pin with its marker, and its hashes."""
    logical_lines = text.replace("\\\n", " ").splitlines()
    pins = [line for line in logical_lines if line.strip() and not line.lstrip().startswith("#")]
    return {line.split(" --hash=")[0].strip(): frozenset(re.findall(r"--hash=(\S+)", line)) for line in pins}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform == "win32":
        pytest.skip("requirements/export.sh needs bash")
    require_uv()
    target = tmp_path_factory.mktemp("requirements")
    subprocess.run([ROOT / "requirements" / "export.sh", target], check=True, timeout=240)
    return target


@pytest.mark.parametrize("name", FILES)
def test_pins_exported_again_are_the_committed_ones(exported: Path, name: str) -> None:
    fresh = _pins((exported / name).read_text(encoding="utf-8"))
    committed = _pins((ROOT / "requirements" / name).read_text(encoding="utf-8"))
    assert committed.keys() == fresh.keys(), "run requirements/export.sh and commit the result"
    # A mirror may hold fewer files of a release than the index of whoever exported, never other ones.
    differing = [pin for pin in fresh if not (fresh[pin] <= committed[pin] or committed[pin] <= fresh[pin])]
    assert differing == []


@pytest.mark.parametrize("name", FILES)
def test_every_pin_is_exact_and_hashed(name: str) -> None:
    pins = _pins((ROOT / "requirements" / name).read_text(encoding="utf-8"))
    assert pins
    assert [
        pin for pin, hashes in pins.items() if not hashes or not re.match(r"[a-z0-9._-]+(\[.*\])?==[^ ]+", pin)
    ] == []


@pytest.mark.parametrize("name", FILES)
def test_requirements_name_no_host(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert re.search(r"^\s*(-i|-f|--index|--extra-index|--find-links|--trusted-host)", text, re.MULTILINE) is None


@pytest.mark.parametrize(
    "package",
    ["fastapi", "starlette", "uvicorn", "sqlmodel", "sqlalchemy", "alembic", "cedarpy", "obstore", "numba", "anonlink"],
)
def test_client_needs_no_server_package_even_indirectly(package: str) -> None:
    names = {pin.split("==")[0] for pin in _pins((ROOT / "requirements" / "client.txt").read_text(encoding="utf-8"))}
    assert package not in names


def test_cluster_worker_needs_no_package_of_the_service() -> None:
    names = {pin.split("==")[0] for pin in _pins((ROOT / "requirements" / "matcher.txt").read_text(encoding="utf-8"))}
    assert {"distributed", "numba", "obstore"} <= names
    assert not names & {"fastapi", "starlette", "uvicorn", "sqlmodel", "sqlalchemy", "alembic", "cedarpy", "anonlink"}


def test_images_install_with_hashes_and_name_no_host() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    instructions = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for name in ("service.txt", "matcher.txt", "build.txt"):
        assert f"--require-hashes --only-binary :all: -r requirements/{name}" in instructions
    assert set(re.findall(r"https?://[^/'\"\s]+", instructions)) == {"http://127.0.0.1:8080"}
    assert re.search(r"(gcc|g\+\+|build-essential|--index-url|apt-get)", instructions) is None
    stages = instructions.split("FROM ")[1:]
    for stage in stages:
        assert ("ENTRYPOINT" in stage) == ("USER 10001:10001" in stage)
    assert sum("ENTRYPOINT" in stage for stage in stages) == 2
