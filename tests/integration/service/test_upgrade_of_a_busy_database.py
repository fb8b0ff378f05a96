"""An upgrade beside processes that read and write: it keeps nobody waiting for long, and is made once."""

import subprocess
import sys
from collections.abc import Iterator
from os import environ

import pytest
from alembic import command
from sqlalchemy import Connection

from linkage_service import migrate
from linkage_service.database import Database
from linkage_service.errors import Conflict
from linkage_service.migrate import can_serve, config_for, current_revision, newest_revision, upgrade
from support.databases import empty_database
from support.postgresql import Server
from support.topology import wait_for

BEFORE = "0012"


@pytest.fixture
def database(postgresql: Server) -> Iterator[Database]:
    """A database of before, whose upgrade is due."""
    with empty_database(postgresql) as url:
        made = Database(url)
        command.upgrade(config_for(made.engine), BEFORE)
        yield made
        made.close()


def test_upgrade_that_would_keep_requests_waiting_for_a_reader_is_not_made(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_WAIT_MS", 50)
    with database.engine.connect() as reader:
        reader.exec_driver_sql("LOCK TABLE alembic_version IN SHARE MODE")
        with pytest.raises(Conflict, match="Nothing was changed"):
            upgrade(database.engine)
    assert current_revision(database.engine) == BEFORE
    upgrade(database.engine)
    assert can_serve(database.engine)


def test_upgrade_that_comes_during_another_finds_nothing_left_to_do(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    own = {name: value for name, value in environ.items() if not name.startswith("LINKAGE_")}
    command_line = [sys.executable, "-P", "-m", "linkage_service", "db", "upgrade"]
    started: list[subprocess.Popen[bytes]] = []

    def start_another(connection: Connection) -> None:
        environment = {**own, "LINKAGE_DATABASE_URL": url}
        started.append(subprocess.Popen(command_line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        wait_for(lambda: connection.exec_driver_sql(waiting).scalar(), what="the other waited for its turn")

    config = config_for(database.engine)
    config.attributes["last"] = start_another
    command.upgrade(config, "head")
    (other,) = started
    out, err = other.communicate(timeout=60)
    assert (other.returncode, out.decode().strip()) == (0, newest_revision()), err
    assert can_serve(database.engine)
