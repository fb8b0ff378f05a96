"""The statements of an append, spelled out: it is the last thing in every transaction, and others wait for it.

Each is prepared text, so that nothing is built or compiled anew. On PostgreSQL what is written goes in one statement,
because each one more is a way to the server and back while the other writers wait. On SQLite statements go straight to
the driver's connection, which executes one in a tenth of the time that it takes to hand it down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Dialect, Table
from sqlalchemy.dialects import postgresql
from sqlmodel import Session, SQLModel

from linkage_ledger import merkle
from linkage_service.audit.tables import AuditBody, AuditEvent, AuditNode, driver_of

Row = dict[str, Any]
_LEVELS = ", ".join(f"({level})" for level in range(63))
# One query for the head and the largest complete subtrees of a log of its size (merkle.peaks).
_HEAD = (
    f"WITH levels (level) AS (VALUES {_LEVELS}) "  # noqa: S608 - whole numbers
    'SELECT head.size, head.root, node.level, node."index", node.hash FROM audit_head AS head '
    "LEFT JOIN levels ON (head.size >> levels.level) & 1 = 1 "
    'LEFT JOIN audit_node AS node ON node.level = levels.level AND node."index" = (head.size >> levels.level) - 1 '
    "WHERE head.id = 1"
)
_MOVE = "UPDATE audit_head SET size = {0}, root = {0} WHERE id = 1 AND size = {0}"


@dataclass(frozen=True, slots=True)
class Head:
    """The log as an append finds it.

    Attributes:
        size: number of leaves.
        root: of the tree.
        peaks: the largest complete subtrees, with which the tree goes on.
    """

    size: int
    root: bytes
    peaks: merkle.MemoryNodes


def locked_head(session: Session) -> Head:
    """The head, locked until the transaction ends."""
    connection = session.connection()
    rows: Sequence[Sequence[Any]]
    if connection.dialect.name == "sqlite":
        # Its writers have the whole database to themselves.
        rows = driver_of(connection).execute(_HEAD).fetchall()
    else:
        rows = connection.exec_driver_sql(f"{_HEAD} FOR UPDATE OF head").all()
    size, root = rows[0][:2]
    peaks = merkle.MemoryNodes()
    for _, _, level, index, node in rows:
        # A node that is missing is missed by who asks for it.
        if node is not None:
            peaks.put(level, index, node)
    return Head(size=size, root=root, peaks=peaks)


def write(session: Session, *, events: list[Row], nodes: list[Row], bodies: list[Row], size: int, root: bytes) -> None:
    """Writes leaves with what belongs to them, and moves the head to their end.

    Args:
        session: the transaction in which the head was locked.
        events: rows of `audit_event`, by column.
        nodes: rows of `audit_node`.
        bodies: rows of `audit_body`.
        size: of the log from now on.
        root: of the log from now on.

    Raises:
        RuntimeError: the head is not where it was when it was locked.
    """
    connection = session.connection()
    parts = ((AuditEvent, events), (AuditNode, nodes), (AuditBody, bodies))
    place = (size, root, size - len(events))
    if connection.dialect.name == "sqlite":
        driver = driver_of(connection)
        for model, rows in parts:
            statement, values_of = _insert(model)
            driver.executemany(statement, map(values_of, rows))
        moved = driver.execute(_MOVE.format("?"), place).rowcount
    else:
        arrays = ([row[column.name] for row in rows] for model, rows in parts for column in _table(model).columns)
        moved = connection.exec_driver_sql(_write_at_once(), (*arrays, *place)).rowcount
    if moved != 1:
        raise RuntimeError("the head of the log moved while it was locked")


def _table(model: type[SQLModel]) -> Table:
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    return table


@cache
def _insert(model: type[SQLModel]) -> tuple[str, Callable[[Row], tuple[Any, ...]]]:
    """SQLite's statement for one row, and what takes the values for it from a row."""
    table = _table(model)
    columns = tuple(column.name for column in table.columns)
    names, places = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
    return f"INSERT INTO {table.name} ({names}) VALUES ({places})", itemgetter(*columns)  # noqa: S608 - names of our own tables


@cache
def _write_at_once() -> str:
    """PostgreSQL's statement for everything, with an array for each column so that any number of rows fits."""
    dialect: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    inserts = []
    for model in (AuditEvent, AuditNode, AuditBody):
        table = _table(model)
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        arrays = ", ".join(f"%s::{column.type.compile(dialect=dialect)}[]" for column in table.columns)
        inserts.append(
            f"new_{table.name} AS (INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}))"  # noqa: S608 - names of our own tables
        )
    return f"WITH {', '.join(inserts)} {_MOVE.format('%s')}"
