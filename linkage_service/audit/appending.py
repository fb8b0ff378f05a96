"""The statements of an append, spelled out: it is the last thing in every transaction, and others wait for it.

Each is prepared text, so that nothing is built or compiled anew, and goes straight to the driver, because SQLAlchemy
takes several times as long to hand one down. On PostgreSQL what is written goes in one statement, because each one more
is a way to the server and back.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Table
from sqlmodel import Session, SQLModel

from linkage_ledger import merkle
from linkage_service.audit.tables import AuditBody, AuditEvent, AuditNode
from linkage_service.database import straight_to_driver

Row = dict[str, Any]
_LEVELS = ", ".join(f"({level})" for level in range(63))
# One query for the head and the largest complete subtrees of a log of its size (merkle.peaks). Each node is looked for
# by itself: of a join, a server that has no statistics of the table yet makes a walk through a whole level of the tree.
HEAD = (
    f"WITH levels (level) AS (VALUES {_LEVELS}) "  # noqa: S608 - whole numbers
    "SELECT head.size, head.root, levels.level, (SELECT node.hash FROM audit_node AS node "
    'WHERE node.level = levels.level AND node."index" = (head.size >> levels.level) - 1) '
    "FROM audit_head AS head LEFT JOIN levels ON (head.size >> levels.level) & 1 = 1 WHERE head.id = 1"
)
_MOVE = "UPDATE audit_head SET size = {0}, root = {0} WHERE id = 1 AND size = {0}"
_WRITTEN: tuple[type[SQLModel], ...] = (AuditEvent, AuditNode, AuditBody)
# Above so many events the tables are written one after another. PostgreSQL counts the places of a statement in 16 bits.
_AT_ONCE = 16


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


def head(session: Session) -> Head:
    """The head, which nobody else moves until this transaction ends: writers take turns."""
    with straight_to_driver(session.connection()) as driver:
        rows: list[tuple[Any, ...]] = driver.execute(HEAD).fetchall()
    size, root = rows[0][:2]
    peaks = merkle.MemoryNodes()
    for _, _, level, node in rows:
        # A node that is missing is missed by who asks for it.
        if node is not None:
            peaks.put(level, (size >> level) - 1, node)
    return Head(size=size, root=root, peaks=peaks)


def write(session: Session, *, events: list[Row], nodes: list[Row], bodies: list[Row], size: int, root: bytes) -> None:
    """Writes leaves with what belongs to them, and moves the head to their end.

    Args:
        session: the writing transaction that saw the head.
        events: rows of `audit_event`, by column.
        nodes: rows of `audit_node`.
        bodies: rows of `audit_body`.
        size: of the log from now on.
        root: of the log from now on.

    Raises:
        RuntimeError: the head is not where this transaction saw it, so something writes that takes no turns.
    """
    connection = session.connection()
    written = [
        list(map(itemgetter(*_columns(model)), rows))
        for model, rows in zip(_WRITTEN, (events, nodes, bodies), strict=True)
    ]
    place: tuple[Any, ...] = (size, root, size - len(events))
    server = connection.dialect.name != "sqlite"
    with straight_to_driver(connection) as driver:
        if server and len(events) <= _AT_ONCE:
            statement = _everything(tuple(map(len, written)))
            values = (value for rows in written for row in rows for value in row)
            moved = driver.execute(statement, _wide((*values, *place))).rowcount
        else:
            for model, rows in zip(_WRITTEN, written, strict=True):
                driver.cursor().executemany(_insert(model, 1, "%s" if server else "?"), rows)
            moved = driver.execute(_MOVE.format("%s" if server else "?"), place).rowcount
    if moved != 1:
        raise RuntimeError("the head of the log moved out of turn")


def _wide(values: tuple[Any, ...]) -> list[Any]:
    """Whole numbers as the widest type: PostgreSQL's driver sends the narrowest, and prepares a statement for each."""
    from psycopg.types.numeric import Int8  # noqa: PLC0415 - installed where PostgreSQL is used

    return [Int8(value) if type(value) is int else value for value in values]


def _table(model: type[SQLModel]) -> Table:
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    return table


@cache
def _columns(model: type[SQLModel]) -> tuple[str, ...]:
    return tuple(column.name for column in _table(model).columns)


@lru_cache(maxsize=256)
def _insert(model: type[SQLModel], count: int, place: str) -> str:
    """The statement for so many rows, with their columns in the table's order."""
    columns = _columns(model)
    names, row = ", ".join(f'"{name}"' for name in columns), f"({', '.join([place] * len(columns))})"
    return f"INSERT INTO {_table(model).name} ({names}) VALUES {', '.join([row] * count)}"  # noqa: S608 - names of our own tables


@lru_cache(maxsize=256)
def _everything(counts: tuple[int, ...]) -> str:
    """PostgreSQL's statement for so many rows of each table, and the head.

    It has a place for each value. Arrays would do for any number of rows, but the driver takes four times as long to
    write them down.
    """
    inserts = ", ".join(
        f"new_{_table(model).name} AS ({_insert(model, count, '%s')})"
        for model, count in zip(_WRITTEN, counts, strict=True)
        if count
    )
    return f"WITH {inserts} {_MOVE.format('%s')}"
