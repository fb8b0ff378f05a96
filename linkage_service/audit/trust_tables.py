"""Who speaks for the log, and who vouches for it: hand-overs of its key, and cosignatures of witnesses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_ledger.cosignatures import WitnessKey
from linkage_service.audit.tables import AuditCheckpoint, AuditEvent
from linkage_service.database import BigInt


class AuditHandover(SQLModel, table=True):
    """The hand-over of the log's key at one size, a note that both keys signed."""

    __tablename__ = "audit_handover"

    size: int = Field(primary_key=True, sa_type=BigInt, sa_column_kwargs={"autoincrement": False})
    note: str


class AuditCosignature(SQLModel, table=True):
    """A witness's signature line under the checkpoint of one size. `witness` is its whole verifier key."""

    __tablename__ = "audit_cosignature"

    size: int = Field(
        primary_key=True, sa_type=BigInt, foreign_key="audit_checkpoint.size", sa_column_kwargs={"autoincrement": False}
    )
    witness: str = Field(primary_key=True)
    line: str


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with what witnesses put under it."""

    size: int
    note: str
    lines: tuple[str, ...]

    @property
    def whole(self) -> str:
        """The note with the cosignatures below it."""
        return self.note + "".join(self.lines)


def handovers(session: Session) -> list[str]:
    """The notes of all hand-overs, oldest first."""
    return list(session.exec(select(AuditHandover.note).order_by(col(AuditHandover.size))))


def all_handovers(session: Session) -> Sequence[AuditHandover]:
    """Every hand-over by size."""
    return session.exec(select(AuditHandover).order_by(col(AuditHandover.size))).all()


def all_cosignatures(session: Session) -> Iterator[tuple[AuditCosignature, AuditCheckpoint | None]]:
    """Every cosignature with its checkpoint, None where that is gone."""
    checkpoint = select(AuditCosignature, AuditCheckpoint).join(
        AuditCheckpoint, col(AuditCheckpoint.size) == col(AuditCosignature.size), isouter=True
    )
    rows = checkpoint.order_by(col(AuditCosignature.size), col(AuditCosignature.witness))
    yield from session.exec(rows.execution_options(yield_per=2_000))


def has_cosignature(session: Session, *, size: int, key: WitnessKey) -> bool:
    """Whether a witness cosigned the checkpoint of this size."""
    return session.get(AuditCosignature, (size, key.format())) is not None


def latest_cosigned(session: Session, key: WitnessKey) -> AuditCosignature | None:
    """What a witness cosigned at the greatest size."""
    query = select(AuditCosignature).where(AuditCosignature.witness == key.format())
    return session.exec(query.order_by(col(AuditCosignature.size).desc()).limit(1)).first()


def with_cosignatures(session: Session, checkpoint: AuditCheckpoint) -> SignedCheckpoint:
    """A checkpoint with what witnesses put under it."""
    rows = session.exec(
        select(AuditCosignature.line)
        .where(AuditCosignature.size == checkpoint.size)
        .order_by(col(AuditCosignature.witness))
    )
    return SignedCheckpoint(size=checkpoint.size, note=checkpoint.note, lines=tuple(rows))


def latest_with_quorum(session: Session, keys: Sequence[WitnessKey], quorum: int) -> AuditCheckpoint | None:
    """The checkpoint of the longest log that enough of these witnesses cosigned."""
    cosigned = (
        select(AuditCosignature.size)
        .where(col(AuditCosignature.witness).in_([key.format() for key in keys]))
        .group_by(col(AuditCosignature.size))
        .having(func.count() >= quorum)
        .order_by(col(AuditCosignature.size).desc())
        .limit(1)
    )
    size = session.exec(cosigned).first()
    return None if size is None else session.get(AuditCheckpoint, size)


def time_of(session: Session, seq: int) -> str | None:
    """When the event of this number happened; None where there is none."""
    return session.exec(select(AuditEvent.time).where(AuditEvent.seq == seq)).first()
