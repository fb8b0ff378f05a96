"""Boundaries between the trust zones that no linter knows of."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "linkage_service"
CLIENT = ROOT / "client_sdk" / "src" / "linkage_client"
SOURCES = (
    SERVICE,
    CLIENT,
    ROOT / "services" / "matching" / "src" / "linkage_matching",
    ROOT / "services" / "ledger" / "src" / "linkage_ledger",
    ROOT / "services" / "console" / "src" / "linkage_console",
)
CONSOLE = ROOT / "services" / "console" / "src" / "linkage_console"
PROJECTS = sorted(path for path in ROOT.glob("**/pyproject.toml") if ".venv" not in path.parts)
_NOT_OURS = {".git", ".venv", "uv.lock", "__pycache__", "dist", "build", "node_modules"}
# Folders of people and of build machines.
_MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:work|root|farm|home|Users)/\w")


@cache
def _imports(module: Path) -> frozenset[str]:
    """Read once in a process: twenty tests ask the same of every module."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _modules_importing(package: str, *, below: tuple[Path, ...]) -> set[str]:
    return {
        module.relative_to(ROOT).as_posix()
        for folder in below
        for module in folder.rglob("*.py")
        if any(name.split(".")[0] == package for name in _imports(module))
    }


def _reads_environment(module: Path) -> bool:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    attributes = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    names = {"os.environ", "os.environb", "os.getenv", "os.getenvb"}
    return bool(names & (attributes | _imports(module)))


def _our_text_files() -> Iterator[tuple[Path, str]]:
    for path in ROOT.rglob("*"):
        relative = path.relative_to(ROOT)
        if _NOT_OURS & set(relative.parts) or any(part.endswith("_cache") for part in relative.parts):
            continue
        if path.is_file() and not relative.parts[0].startswith((".hypothesis", ".coverage")):
            try:
                yield relative, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


@pytest.mark.parametrize(
    "folder",
    [
        "services",
        "services/matching",
        "services/matching/src",
        "services/ledger",
        "services/console",
        "client_sdk",
        "client_sdk/src",
    ],
)
def test_folder_of_distributions_is_not_a_package(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_environment_is_read_by_settings_only() -> None:
    readers = {module.relative_to(SERVICE).as_posix() for module in SERVICE.rglob("*.py") if _reads_environment(module)}
    assert readers - {"settings.py"} == set()


@pytest.mark.parametrize(
    ("package", "below", "module"),
    [
        ("httpx", (CLIENT,), "client_sdk/src/linkage_client/_transport.py"),
        ("jinja2", SOURCES, "services/console/src/linkage_console/templating.py"),
        ("prometheus_client", SOURCES, "linkage_service/metrics.py"),
        ("opentelemetry", SOURCES, "linkage_service/tracing.py"),
        ("argon2", SOURCES, "linkage_service/people/passwords.py"),
        ("obstore", SOURCES, "services/matching/src/linkage_matching/blobs.py"),
        ("cedarpy", SOURCES, "linkage_service/access/decide.py"),
    ],
)
def test_package_is_imported_by_its_module_only(package: str, below: tuple[Path, ...], module: str) -> None:
    assert _modules_importing(package, below=below) == {module}


def test_httpx_is_imported_by_the_two_modules_of_the_service_that_ask_others_only() -> None:
    found = _modules_importing("httpx", below=(SERVICE,))
    assert found == {"linkage_service/people/oidc.py", "linkage_service/audit/collecting.py"}


def test_httpx_is_imported_by_the_two_modules_of_the_console_that_call_the_api_only() -> None:
    folder = "services/console/src/linkage_console"
    assert _modules_importing("httpx", below=(CONSOLE,)) == {f"{folder}/calling.py", f"{folder}/in_process.py"}


def test_anonlink_is_the_oracle_of_the_tests_and_imported_by_no_module() -> None:
    assert _modules_importing("anonlink", below=SOURCES) == set()


def test_dask_is_imported_by_two_modules_of_the_engine_only() -> None:
    engine = "services/matching/src/linkage_matching"
    found = _modules_importing("distributed", below=SOURCES) | _modules_importing("dask", below=SOURCES)
    assert found == {f"{engine}/dask_executor.py", f"{engine}/dask_worker.py"}


@pytest.mark.parametrize("package", ["pickle", "pandas", "jose", "passlib", "celery", "arq", "pymerkle"])
def test_banned_package_is_imported_nowhere(package: str) -> None:
    assert _modules_importing(package, below=SOURCES) == set()


def test_tree_mentions_no_path_of_a_machine() -> None:
    found = [
        f"{path.as_posix()}: {match.group()}"
        for path, text in _our_text_files()
        if (match := _MACHINE_PATH.search(text)) is not None
    ]
    assert found == []


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_dependency_comes_with_its_reason(project: Path) -> None:
    text = project.read_text(encoding="utf-8")
    table = tomllib.loads(text)
    metadata = table["project"]
    groups = [
        metadata.get("dependencies", []),
        *metadata.get("optional-dependencies", {}).values(),
        *table.get("dependency-groups", {}).values(),
    ]
    unreasoned = [
        requirement
        for group in groups
        for requirement in group
        if re.search(rf'"{re.escape(requirement)}"\]?,?\s+# \w', text) is None
    ]
    assert unreasoned == []
