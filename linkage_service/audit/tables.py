"""The log's tables and every query on them. Triggers (see the migrations) refuse any change to what was written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any, TypeVar, cast

from sqlalchemy import Column, Index, LargeBinary, Table, text, tuple_
from sqlalchemy import select as sa_select
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_ledger.errors import MissingNodeError
from linkage_ledger.merkle import HASH_BYTES, NodeReader
from linkage_service.database import BigInt, first_row, straight_to_driver

Answer = TypeVar("Answer")
_PAGE = 1_000  # about what fits into a processor's cache with its headers

# What is searched by, each with the sequence number, so that a page is read from an index in order.
SEARCHED = (
    "actor_org", "actor_id", "agreement", "project", "type", "action", "purpose", "resource_type", "resource_id",
    "outcome", "request_id", "time",
)  # fmt: skip
_REFUSED, _OWN = text("elements IS NOT NULL"), text("agreement IS NULL")
_INDEXES = (
    # Of agreements it holds the version too: one may have most of the log, and none of it under some version.
    *(
        Index(f"ix_audit_event_{name}_seq", name, "seq", *(["agreement_version"] if name == "agreement" else []))
        for name in SEARCHED
    ),
    # Which elements refused: few events have any, and the index alone answers.
    Index("ix_audit_event_seq_elements", "seq", "elements", sqlite_where=_REFUSED, postgresql_where=_REFUSED),
    # What an organisation did under no agreement.
    Index("ix_audit_event_own", "actor_org", "seq", sqlite_where=_OWN, postgresql_where=_OWN),
)


class AuditEvent(SQLModel, table=True):
    """One leaf: the canonical header bytes, their hash, and copies of header fields to search by."""

    __tablename__ = "audit_event"
    __table_args__ = _INDEXES

    seq: int = Field(primary_key=True, sa_type=BigInt, sa_column_kwargs={"autoincrement": False})
    header: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    leaf_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    id: str
    time: str
    type: str
    actor_kind: str
    actor_id: str | None
    actor_org: str | None
    agreement: str | None
    agreement_version: str | None
    project: str | None
    resource_type: str | None
    resource_id: str | None
    action: str | None
    purpose: str | None
    effect: str | None
    elements: str | None
    outcome: str | None
    request_id: str | None


class AuditNode(SQLModel, table=True):
    """The hash of one complete subtree."""

    __tablename__ = "audit_node"

    level: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    index: int = Field(primary_key=True, sa_type=BigInt, sa_column_kwargs={"autoincrement": False})
    hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))


class AuditHead(SQLModel, table=True):
    """The one row that says how long the log is; its lock orders appends."""

    __tablename__ = "audit_head"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    size: int = Field(sa_type=BigInt)
    root: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))


class AuditCheckpoint(SQLModel, table=True):
    """A signed checkpoint."""

    __tablename__ = "audit_checkpoint"

    size: int = Field(primary_key=True, sa_type=BigInt, sa_column_kwargs={"autoincrement": False})
    root: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    note: str


class AuditBody(SQLModel, table=True):
    """Detail of an event, tied in by a salted hash in its header.

    At the end of its retention the row stays, marked as disposed of, and salt and body become null.
    """

    __tablename__ = "audit_body"

    seq: int = Field(
        primary_key=True, sa_type=BigInt, foreign_key="audit_event.seq", sa_column_kwargs={"autoincrement": False}
    )
    salt: bytes | None = Field(sa_column=Column(LargeBinary(32), nullable=True))
    body: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))
    disposed: bool = False


def _table(model: type[SQLModel]) -> Table:
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    return table


_EVENT, _NODE, _HEAD = _table(AuditEvent), _table(AuditNode), _table(AuditHead)
_CHECKPOINT, _BODY = _table(AuditCheckpoint), _table(AuditBody)
_LEAF_COLUMNS = ("seq", "header", "leaf_hash")
COPIES = tuple(column.name for column in _EVENT.columns if column.name not in _LEAF_COLUMNS)
"""The columns of an event that are copies of members of its header."""


NEWEST_TIME = "SELECT time FROM audit_event ORDER BY seq DESC LIMIT 1"
_ONE_NODE = 'SELECT hash FROM audit_node WHERE level = ? AND "index" = ?'
_EXTENT_AND_LATEST = (
    "SELECT head.size, latest.size, latest.note FROM audit_head AS head "
    "LEFT JOIN (SELECT size, note FROM audit_checkpoint ORDER BY size DESC LIMIT 1) AS latest ON 1 = 1 "
    "WHERE head.id = 1"
)


class SessionNodes:
    """The node table as `linkage_ledger` reads it, remembering what this transaction already read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[tuple[int, int], bytes] = {}

    def get(self, level: int, index: int, /) -> bytes:
        """The hash of a complete subtree."""
        if (level, index) not in self._known:
            self._fetch([(level, index)])
        found = self._known.get((level, index))
        if found is None:
            raise MissingNodeError(f"The subtree at level {level}, index {index} is not in the log's tables.")
        return found

    def at_once(self, work: Callable[[NodeReader], Answer]) -> Answer:
        """What `work` makes of nodes, with one query for all of them instead of one for each.

        Args:
            work: asks for the same nodes whatever their hashes are, as roots and proofs do.
        """
        asked = _Asked()
        work(asked)
        self._fetch(asked.places)
        return work(self)

    def _fetch(self, places: Sequence[tuple[int, int]]) -> None:
        """Reads nodes; one that is missing is missed when it is asked for."""
        wanted = [place for place in places if place not in self._known]
        if not wanted:
            return
        connection = self._session.connection()
        if connection.dialect.name == "sqlite":
            # The driver looks one up in a tenth of the time that SQLAlchemy takes to hand a query down, and SQLite
            # answers a list of pairs after IN by reading the whole table.
            with straight_to_driver(connection) as driver:
                for place in wanted:
                    for (found,) in driver.execute(_ONE_NODE, place):
                        self._known[place] = found
            return
        pairs = ", ".join(f"({int(level)}, {int(index)})" for level, index in wanted)
        query = (
            f"WITH wanted (level, place) AS (VALUES {pairs}) "  # noqa: S608 - whole numbers
            'SELECT node.level, node."index", node.hash FROM wanted CROSS JOIN audit_node AS node '
            'WHERE node.level = wanted.level AND node."index" = wanted.place'
        )
        for level, index, node in connection.exec_driver_sql(query):
            self._known[level, index] = node


class _Asked:
    """Notes which nodes are asked for."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []

    def get(self, level: int, index: int, /) -> bytes:
        """A hash of nothing."""
        self.places.append((level, index))
        return bytes(HASH_BYTES)


def size_of(session: Session) -> int:
    """The size of the log as this transaction sees it."""
    size: int = session.connection().exec_driver_sql("SELECT size FROM audit_head WHERE id = 1").scalar_one()
    return size


def latest_checkpoint(session: Session) -> AuditCheckpoint | None:
    """The checkpoint of the longest log that was signed."""
    return session.exec(select(AuditCheckpoint).order_by(col(AuditCheckpoint.size).desc()).limit(1)).first()


def extent_and_latest_note(session: Session) -> tuple[int, int | None, str | None]:
    """The size of the log, and the size and the note of its latest checkpoint if there is one."""
    size, signed, note = session.connection().exec_driver_sql(_EXTENT_AND_LATEST).one()
    return size, signed, note


def newest_time(session: Session) -> datetime | None:
    """When the newest event of the log happened; None for an empty log."""
    found = first_row(session, NEWEST_TIME)
    return None if found is None else datetime.fromisoformat(found[0])


def knows_agreement(session: Session, reference: str) -> bool:
    """Whether anything ever happened under an agreement of this reference."""
    return session.exec(select(AuditEvent.seq).where(AuditEvent.agreement == reference).limit(1)).first() is not None


def body_at(session: Session, seq: int) -> AuditBody | None:
    """The body of an event, if it ever had one."""
    return session.get(AuditBody, seq)


def event_at(session: Session, seq: int) -> AuditEvent | None:
    """The event with this sequence number."""
    return session.get(AuditEvent, seq)


def event_about(session: Session, event_type: str, resource: str) -> AuditEvent | None:
    """The newest event of a type about a resource."""
    query = select(AuditEvent).where(AuditEvent.type == event_type, AuditEvent.resource_id == resource)
    return session.exec(query.order_by(col(AuditEvent.seq).desc()).limit(1)).first()


def all_events(session: Session) -> Iterator[Sequence[Any]]:
    """Every event in order: seq, header, leaf_hash, and then `COPIES`."""
    yield from _plain_pages(session, _EVENT, (*_LEAF_COLUMNS, *COPIES), key=("seq",))


def all_nodes(session: Session) -> Iterator[Sequence[Any]]:
    """Every node by level, then index: level, index, hash."""
    yield from _plain_pages(session, _NODE, ("level", "index", "hash"), key=("level", "index"))


def all_heads(session: Session) -> Sequence[AuditHead]:
    """Every row of the head table: there must be one."""
    return session.exec(select(AuditHead)).all()


def all_checkpoints(session: Session) -> Iterator[Sequence[Any]]:
    """Every checkpoint by size: size, root, note."""
    yield from _pages(session, [_CHECKPOINT.c.size, _CHECKPOINT.c.root, _CHECKPOINT.c.note], [_CHECKPOINT.c.size])


def all_bodies(session: Session) -> Iterator[Sequence[Any]]:
    """Every body in order, whether it is still held or only its mark: seq, salt, body, disposed."""
    yield from _pages(session, [_BODY.c.seq, _BODY.c.salt, _BODY.c.body, _BODY.c.disposed], [_BODY.c.seq])


def _pages(session: Session, columns: list[Column[Any]], key: list[Column[Any]]) -> Iterator[Sequence[Any]]:
    """Rows in the order of their primary key, a page at a time.

    Several tables are read side by side, and not always to their end: a cursor of the database would stay open.

    Args:
        session: a transaction that sees one snapshot.
        columns: what to read; the key's columns come first.
        key: the primary key.
    """
    connection = session.connection()
    first = sa_select(*columns).order_by(*key).limit(_PAGE)
    query = first
    while True:
        rows = connection.execute(query).all()
        yield from rows
        if len(rows) < _PAGE:
            return
        query = first.where(tuple_(*key) > tuple_(*rows[-1][: len(key)]))


def _plain_pages(session: Session, table: Table, columns: Sequence[str], *, key: Sequence[str]) -> Iterator[Any]:
    """As `_pages`, for tables of millions of rows: tuples straight from the driver, which SQLAlchemy would wrap each.

    Args:
        session: a transaction that sees one snapshot.
        table: what to read.
        columns: names; the key's come first.
        key: names of the primary key.
    """
    connection = session.connection()
    place = "?" if connection.dialect.name == "sqlite" else "%s"
    names, ordered = (", ".join(f'"{name}"' for name in some) for some in (columns, key))
    places = ", ".join([place] * len(key))
    select = f"SELECT {names} FROM {table.name}"  # noqa: S608 - names of our own table
    page = f"ORDER BY {ordered} LIMIT {_PAGE}"
    condition, after = "", cast("tuple[Any, ...]", ())
    while True:
        # A cursor for each page: who reads may stop anywhere, and the database be closed before this generator is.
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(f"{select} {condition} {page}", after)
            rows = cursor.fetchall()
        yield from rows
        if len(rows) < _PAGE:
            return
        condition, after = f"WHERE ({ordered}) > ({places})", rows[-1][: len(key)]
