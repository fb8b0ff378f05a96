"""Alarms, what their watch has seen, and every query on them. Triggers let an alarm be acknowledged once, no more."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import JSON as JSON_TYPE
from sqlalchemy import Column, UniqueConstraint, and_, func, or_, update
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import BigInt, UtcDateTime


class AuditAlarm(SQLModel, table=True):
    """Something that an officer should look at. Its events are `alarm.raised` and `alarm.acknowledged`.

    `occasion` says what it was raised about; there is one alarm of a kind for an occasion. `subject` is the id of what
    it is about, `detail` the figures and words that it rests on.
    """

    __tablename__ = "audit_alarm"
    __table_args__ = (UniqueConstraint("kind", "occasion", name="uq_audit_alarm_kind_occasion"),)

    id: str = Field(primary_key=True)
    kind: str
    occasion: str
    organisation: str | None = Field(index=True)
    actor: str | None
    agreement: str | None = Field(index=True)
    project: str | None
    subject: str | None
    detail: dict[str, Any] = Field(sa_column=Column(JSON_TYPE, nullable=False))
    raised_at: datetime = Field(sa_type=UtcDateTime)
    acknowledged_at: datetime | None = Field(sa_type=UtcDateTime)
    acknowledged_by: str | None


class AuditKnownKey(SQLModel, table=True):
    """A key that was used before."""

    __tablename__ = "audit_known_key"

    thumbprint: str = Field(primary_key=True)


class AuditWatch(SQLModel, table=True):
    """The one row that says how far the log was watched."""

    __tablename__ = "audit_watch"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    size: int = Field(sa_type=BigInt)


def is_raised(session: Session, kind: str, occasion: str) -> bool:
    """Whether there is an alarm of this kind for this occasion."""
    query = select(AuditAlarm.id).where(AuditAlarm.kind == kind, AuditAlarm.occasion == occasion)
    return session.exec(query).first() is not None


def alarm(session: Session, alarm_id: str) -> AuditAlarm | None:
    """One alarm."""
    return session.get(AuditAlarm, alarm_id)


def alarms_page(
    session: Session,
    *,
    organisation: str | None,
    references: Sequence[str],
    kind: str | None,
    acknowledged: bool | None,
    before: str,
    limit: int,
) -> Sequence[AuditAlarm]:
    """Alarms, newest first.

    Args:
        session: a transaction.
        organisation: None for everything, else what concerns this organisation, or one of `references`.
        references: references of the agreements that the organisation is a party of.
        kind: only of this kind.
        acknowledged: only those that are, or only those that are not.
        before: ids below this one; empty for all.
        limit: at most so many.
    """
    query = select(AuditAlarm)
    if organisation is not None:
        own = and_(col(AuditAlarm.organisation) == organisation, col(AuditAlarm.agreement).is_(None))
        query = query.where(or_(own, col(AuditAlarm.agreement).in_(list(references))))
    if kind is not None:
        query = query.where(AuditAlarm.kind == kind)
    if acknowledged is not None:
        done = col(AuditAlarm.acknowledged_at)
        query = query.where(done.is_not(None) if acknowledged else done.is_(None))
    if before:
        query = query.where(AuditAlarm.id < before)
    return session.exec(query.order_by(col(AuditAlarm.id).desc()).limit(limit)).all()


def open_by_kind(session: Session) -> dict[str, int]:
    """How many alarms nobody has acknowledged, by kind."""
    query = select(AuditAlarm.kind, func.count()).where(col(AuditAlarm.acknowledged_at).is_(None))
    return dict(session.exec(query.group_by(col(AuditAlarm.kind))).all())


def known_keys(session: Session, thumbprints: Sequence[str]) -> set[str]:
    """Those of the keys that were used before."""
    return set(session.exec(select(AuditKnownKey.thumbprint).where(col(AuditKnownKey.thumbprint).in_(thumbprints))))


def watched(session: Session) -> int:
    """How many events of the log were watched."""
    return session.exec(select(AuditWatch.size).where(AuditWatch.id == 1)).one()


def move_watch(session: Session, *, before: int, size: int) -> bool:
    """Notes how far the log was watched, unless somebody else went on meanwhile."""
    moved = session.execute(
        update(AuditWatch)
        .where(col(AuditWatch.id) == 1, col(AuditWatch.size) == before)
        .values(size=size)
        .returning(col(AuditWatch.id))
        .execution_options(synchronize_session=False)
    )
    return moved.scalar() is not None
