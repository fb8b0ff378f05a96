"""Settings and databases for the whole suite."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.databases import Kind, kinds_of, migrated, only_on_sqlite, postgresql_or_skip
from support.postgresql import Server

# A test is right or wrong; how long one example took says how busy the machine was.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# Files with tests of half a minute and more. One that began last would keep one core waiting for the other.
_LONG = {
    "test_authorisation_matrix.py", "test_toolchain.py", "test_crashes.py", "test_command_canaries.py",
    "test_canaries.py", "test_typing.py", "test_wheels.py", "test_kills.py", "test_interruptions.py", "test_demo.py",
    "test_feasibility.py", "test_tutorial.py", "test_embedded_worker.py", "test_console_browser.py",
    "test_malicious_service.py", "test_full_disk.py", "test_clock_steps.py", "test_processes.py", "test_bad_network.py",
    "test_rolling_upgrade.py",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts long tests first, and leaves the others in the order that chance gave them."""
    items.sort(key=lambda item: item.path.name not in _LONG)


def pytest_collection_finish() -> None:
    """Has the collector of cycles leave alone what is there before the first test, and look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes two of a test that is to run on each database."""
    if kinds := kinds_of(metafunc):
        metafunc.parametrize("database_kind", kinds, indirect=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server; the test is skipped where none can run, and fails in CI."""
    yield from postgresql_or_skip()


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> Kind:
    """Which database a test runs on: what `TEST_DATABASE` says, unless the test's marks say it."""
    free = request.node.get_closest_marker(only_on_sqlite.name) is None
    usual: Kind = "postgresql" if free and os.environ.get("TEST_DATABASE") == "postgresql" else "sqlite"
    kind: Kind = getattr(request, "param", usual)
    return kind


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database_kind: Kind, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own with every table."""
    with migrated(database_kind, request, tmp_path) as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What clients remember of ledgers and uploads is the tests' own, not that of whoever runs them."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    del os.environ["XDG_STATE_HOME"]
    if before is not None:
        os.environ["XDG_STATE_HOME"] = before
