"""Whoever can write to the database cannot change the log unseen."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from linkage_service.audit.verify import verify
from support.service_app import ServiceApp, data_sets, service_app

_COPIES = (
    "id", "time", "type", "actor_kind", "actor_id", "actor_org", "agreement", "project", "resource_type", "resource_id",
    "action", "purpose", "effect", "outcome", "request_id",
)  # fmt: skip
CELLS = [
    *(("audit_event", column) for column in ("seq", "header", "leaf_hash", *_COPIES)),
    *(("audit_node", column) for column in ("level", "index", "hash")),
    *(("audit_head", column) for column in ("id", "size", "root")),
    *(("audit_checkpoint", column) for column in ("size", "root", "note")),
]
_ROW = {"audit_event": "rowid = (SELECT max(rowid) - 2 FROM audit_event WHERE purpose IS NOT NULL) + 2"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceApp]:
    with service_app(tmp_path_factory.mktemp("written")) as service:
        linked = service.uploaded(*data_sets(12, 12, shared=6))
        release = service.release(linked, service.run(linked))
        assert linked.providers[0].get(f"/v1/releases/{release['id']}/link-table").status_code == 200
        assert service.verified()
        yield service


@pytest.fixture
def copy(written: ServiceApp, tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, ServiceApp]]:
    """A service on a copy of the log, and a connection to it from outside."""
    with service_app(tmp_path) as service:
        with (
            closing(sqlite3.connect(written.database_file)) as source,
            closing(sqlite3.connect(service.database_file)) as target,
        ):
            source.backup(target)
        with closing(sqlite3.connect(service.database_file)) as connection:
            yield connection, service


def _drop_triggers(connection: sqlite3.Connection) -> None:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    assert names
    for (name,) in names:
        connection.execute(f"DROP TRIGGER {name}")


def _flipped(value: object) -> object:
    match value:
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 1])
        case int():
            return value + 1_000
        case str():
            return value[:-1] + chr(ord(value[-1]) ^ 1)
        case _:
            return "something"


@pytest.mark.parametrize(("table", "column"), CELLS)
def test_one_changed_cell_is_found(
    written: ServiceApp, copy: tuple[sqlite3.Connection, ServiceApp], table: str, column: str
) -> None:
    connection, service = copy
    keys = [written.runtime.log.verifier]
    assert verify(service.runtime.database, keys).verified
    _drop_triggers(connection)
    where = _ROW.get(table, "1 = 1")
    rowid, value = connection.execute(
        f'SELECT rowid, "{column}" FROM {table} WHERE {where} ORDER BY rowid DESC LIMIT 1'  # noqa: S608 - names from above
    ).fetchone()
    connection.execute(
        f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?',  # noqa: S608 - names from above
        (_flipped(value), rowid),
    )
    connection.commit()
    report = verify(service.runtime.database, keys)
    assert not report.verified
    assert report.findings


@pytest.mark.parametrize("table", ["audit_event", "audit_node", "audit_head", "audit_checkpoint"])
def test_row_taken_away_is_found(written: ServiceApp, copy: tuple[sqlite3.Connection, ServiceApp], table: str) -> None:
    connection, service = copy
    _drop_triggers(connection)
    kept = written.runtime.log.checkpoint(written.runtime.database)
    connection.execute(f"DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table})")  # noqa: S608 - from above
    connection.commit()
    keys = [written.runtime.log.verifier]
    assert not verify(service.runtime.database, keys, expected_checkpoint=kept).verified or table == "audit_checkpoint"


def test_log_without_any_checkpoint_is_not_called_whole(
    written: ServiceApp, copy: tuple[sqlite3.Connection, ServiceApp]
) -> None:
    connection, service = copy
    _drop_triggers(connection)
    connection.execute("DELETE FROM audit_checkpoint")
    connection.commit()
    report = verify(service.runtime.database, [written.runtime.log.verifier])
    assert (report.verified, report.signed_size) == (False, 0)
    assert [finding.where for finding in report.findings] == ["checkpoints"]


def test_log_signed_by_another_key_is_found(written: ServiceApp, copy: tuple[sqlite3.Connection, ServiceApp]) -> None:
    _, service = copy
    assert not verify(service.runtime.database, [service.runtime.log.verifier]).verified
    assert verify(service.runtime.database, [written.runtime.log.verifier]).verified


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET type = 'x'", "DELETE FROM audit_event", "UPDATE audit_node SET hash = x'00'",
        "DELETE FROM audit_node", "UPDATE audit_checkpoint SET note = ''", "DELETE FROM audit_checkpoint",
        "DELETE FROM audit_head", "UPDATE audit_head SET size = size - 1", "UPDATE audit_head SET root = x'00'",
        "INSERT OR REPLACE INTO audit_event SELECT * FROM audit_event",
        "INSERT OR REPLACE INTO audit_node SELECT * FROM audit_node",
        "INSERT OR REPLACE INTO audit_head SELECT * FROM audit_head",
        "INSERT OR REPLACE INTO audit_checkpoint SELECT * FROM audit_checkpoint",
    ],
)  # fmt: skip
def test_triggers_refuse_change(copy: tuple[sqlite3.Connection, ServiceApp], statement: str) -> None:
    connection, service = copy
    before = service.events()
    with pytest.raises(sqlite3.DatabaseError):
        connection.execute(statement)
    connection.rollback()
    assert service.events() == before
