"""The log's tables and every query on them. Triggers (see the migrations) refuse any change to what was written."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Column, Index, LargeBinary, text
from sqlalchemy import select as sa_select
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_ledger.errors import MissingNodeError
from linkage_service.database import BigInt

_PAGE = 2_000

# What is searched by, each with the sequence number, so that a page is read from an index in order.
SEARCHED = (
    "actor_org", "actor_id", "agreement", "project", "type", "action", "purpose", "resource_type", "resource_id",
    "outcome", "request_id", "time",
)  # fmt: skip
_REFUSED, _OWN = text("elements IS NOT NULL"), text("agreement IS NULL")
_INDEXES = (
    *(Index(f"ix_audit_event_{name}_seq", name, "seq") for name in SEARCHED),
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


class SessionNodes:
    """The node table as `linkage_ledger` reads it, remembering what this transaction already read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[tuple[int, int], bytes] = {}

    def get(self, level: int, index: int, /) -> bytes:
        """The hash of a complete subtree."""
        if (level, index) not in self._known:
            table = AuditNode.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
            found = self._session.execute(
                sa_select(table.c.hash).where(table.c.level == level, table.c.index == index)
            ).scalar()
            if found is None:
                raise MissingNodeError(f"The subtree at level {level}, index {index} is not in the log's tables.")
            self._known[level, index] = found
        return self._known[level, index]

    def put(self, level: int, index: int, node: bytes, /) -> None:
        """Remembers a node that this transaction writes."""
        self._known[level, index] = node


def locked_head(session: Session) -> AuditHead:
    """The head, locked until the transaction ends."""
    return session.exec(select(AuditHead).where(AuditHead.id == 1).with_for_update()).one()


def head(session: Session) -> AuditHead:
    """The head as this transaction sees it."""
    return session.exec(select(AuditHead).where(AuditHead.id == 1)).one()


def latest_checkpoint(session: Session) -> AuditCheckpoint | None:
    """The checkpoint of the longest log that was signed."""
    return session.exec(select(AuditCheckpoint).order_by(col(AuditCheckpoint.size).desc()).limit(1)).first()


def newest_time(session: Session) -> datetime | None:
    """When the newest event of the log happened; None for an empty log."""
    found = session.exec(select(AuditEvent.time).order_by(col(AuditEvent.seq).desc()).limit(1)).first()
    return None if found is None else datetime.fromisoformat(found)


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


def all_events(session: Session) -> Iterator[AuditEvent]:
    """Every event in order, a page at a time."""
    yield from session.exec(select(AuditEvent).order_by(col(AuditEvent.seq)).execution_options(yield_per=_PAGE))


def all_nodes(session: Session) -> Iterator[AuditNode]:
    """Every node by level, then index."""
    yield from session.exec(
        select(AuditNode).order_by(col(AuditNode.level), col(AuditNode.index)).execution_options(yield_per=_PAGE)
    )


def all_heads(session: Session) -> Sequence[AuditHead]:
    """Every row of the head table: there must be one."""
    return session.exec(select(AuditHead)).all()


def all_checkpoints(session: Session) -> Iterator[AuditCheckpoint]:
    """Every checkpoint by size."""
    yield from session.exec(
        select(AuditCheckpoint).order_by(col(AuditCheckpoint.size)).execution_options(yield_per=_PAGE)
    )


def all_bodies(session: Session) -> Iterator[AuditBody]:
    """Every body that is still held, in order."""
    yield from session.exec(select(AuditBody).order_by(col(AuditBody.seq)).execution_options(yield_per=_PAGE))
