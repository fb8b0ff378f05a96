"""Databases for tests: SQLite or PostgreSQL, each fresh and with every table, made by copying one that was migrated."""

import atexit
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import pytest

from linkage_service.database import Database
from linkage_service.migrate import upgrade
from support.postgresql import NoPostgresql, Server, shared_server

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")
_TEMPLATE = "linkage_template"

on_each_database = pytest.mark.on_each_database
"""Marks a test, or with `pytestmark` a module, whose outcome may depend on the database; others run on SQLite."""
only_on_sqlite = pytest.mark.only_on_sqlite
"""Marks a test that speaks SQLite's own SQL, looks into its file, or runs a command on a data folder."""


def kinds_of(metafunc: pytest.Metafunc) -> Sequence[Kind]:
    """The databases that a test is to run on, each in turn; none where it runs on the usual one alone.

    Raises:
        pytest.UsageError: it is marked itself and asks for no database.
    """
    asks = "database_kind" in metafunc.fixturenames
    if not asks and any(mark.name == on_each_database.name for mark in metafunc.definition.own_markers):
        raise pytest.UsageError(f"{metafunc.definition.nodeid} is marked `on_each_database` and asks for no database.")
    marked = metafunc.definition.get_closest_marker
    return KINDS if asks and marked(on_each_database.name) and not marked(only_on_sqlite.name) else ()


def postgresql_or_skip() -> Iterator[Server]:
    """The server of this run of the tests; where none can run the test is skipped, and in CI it fails."""
    try:
        yield from shared_server()
    except NoPostgresql as reason:
        message = f"PostgreSQL cannot run here: {reason}."
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(message)
        pytest.skip(message)


@contextmanager
def empty_database(server: Server, *, template: str = "template0") -> Iterator[str]:
    """A database that is dropped at the end, by its address."""
    name = f"test_{secrets.token_hex(8)}"
    with server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    try:
        yield server.url(name)
    finally:
        with server.connect() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def migrated_database(server: Server) -> Iterator[str]:
    """The like with every table of this release, in some 60 ms."""
    with server.starting():
        with server.connect() as connection:
            made = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,)).fetchone()
            if made is None:
                connection.execute(f"CREATE DATABASE {_TEMPLATE}_being_made".encode())
        if made is None:
            _migrate(server.url(f"{_TEMPLATE}_being_made"))
            with server.connect() as connection:
                connection.execute(f"ALTER DATABASE {_TEMPLATE}_being_made RENAME TO {_TEMPLATE}".encode())
    with empty_database(server, template=_TEMPLATE) as url:
        yield url


@contextmanager
def migrated(kind: Kind, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """A database of a kind with every table, by its address; a file of the folder, or on the server of this run."""
    if kind == "sqlite":
        yield migrated_file(folder / "linkage.db")
        return
    # Asked for here, so that tests on SQLite start no server.
    with migrated_database(request.getfixturevalue("postgresql")) as url:
        yield url


def migrated_file(file: Path) -> str:
    """An SQLite file with every table of this release, by its address."""
    shutil.copyfile(_sqlite_template(), file)
    return f"sqlite:///{file}"


@cache
def _sqlite_template() -> Path:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    file = Path(folder) / "linkage.db"
    _migrate(f"sqlite:///{file}")
    return file


def _migrate(url: str) -> None:
    database = Database(url)
    try:
        upgrade(database.engine)
    finally:
        database.close()
