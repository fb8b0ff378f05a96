"""PostgreSQL refuses changes of the log, and one that a superuser forces past its triggers is found."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy.engine import make_url

from linkage_service.audit import tables
from linkage_service.audit.verify import verify
from support.databases import migrated_database
from support.postgresql import Server
from support.service_app import ServiceApp, service_app

_CHANGE = "the access log cannot be changed"
COLUMNS = {
    "audit_event": ("seq", "header", "leaf_hash", *tables.COPIES),
    "audit_node": ("level", "index", "hash"),
    "audit_head": ("id", "size", "root"),
    "audit_checkpoint": ("size", "root", "note"),
    "audit_body": ("seq", "salt", "body", "disposed"),
}
CELLS = [(table, column) for table, columns in COLUMNS.items() for column in columns]


@pytest.fixture(scope="module")
def written(postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceApp]:
    """A short log with bodies and a checkpoint, by a service that is not asked for anything any more."""
    with (
        migrated_database(postgresql) as url,
        service_app(tmp_path_factory.mktemp("written"), database_url=url) as service,
    ):
        service.project()
        assert service.verified()
        yield service


@pytest.fixture
def superuser(postgresql: Server, written: ServiceApp) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    database = make_url(written.settings.resolved_database_url).database
    with postgresql.connect(database or "") as connection:
        yield connection


def _flipped(column_type: str) -> str:
    """SQL for a value with one byte changed."""
    return {
        "bytea": "set_byte({0}, length({0}) - 1, get_byte({0}, length({0}) - 1) # 1)",
        "bigint": "{0} # 4096",
        "integer": "{0} # 4096",
        "boolean": "NOT {0}",
        "character varying": "coalesce(left({0}, -1) || chr(ascii(right({0}, 1)) # 1), 'something')",
    }[column_type]


@pytest.mark.parametrize(("table", "column"), CELLS)
def test_cell_changed_past_the_triggers_is_found(
    written: ServiceApp,
    superuser: "psycopg.Connection[tuple[object, ...]]",
    table: str,
    column: str,
) -> None:
    kind = superuser.execute(
        "SELECT data_type FROM information_schema.columns WHERE table_name = %s AND column_name = %s", (table, column)
    ).fetchone()
    assert kind
    key = {"audit_node": 'level = 0 AND "index" = 2'}.get(table, f"{COLUMNS[table][0]} > 0")
    one = f"ctid = (SELECT min(ctid) FROM {table} WHERE {key})"  # noqa: S608 - names from above
    names = ", ".join(f'"{name}"' for name in COLUMNS[table])
    superuser.execute("SET session_replication_role = replica")
    kept = superuser.execute(f"SELECT {names} FROM {table}".encode()).fetchall()  # noqa: S608 - names from above
    changed = _flipped(str(kind[0])).format(f'"{column}"')
    superuser.execute(f'UPDATE {table} SET "{column}" = {changed} WHERE {one}'.encode())  # noqa: S608 - names from above
    try:
        report = verify(written.runtime.database, [written.runtime.log.verifier])
    finally:
        superuser.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - names from above
        with superuser.cursor() as cursor:
            places = ", ".join("%s" for _ in kept[0])
            cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})".encode(), kept)  # noqa: S608
    assert not report.verified
    assert report.findings


@pytest.mark.parametrize("table", COLUMNS)
@pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0} CASCADE"])
def test_triggers_refuse_change(
    superuser: "psycopg.Connection[tuple[object, ...]]", table: str, statement: str
) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match=_CHANGE):
        superuser.execute(statement.format(table, COLUMNS[table][-1]).encode())
