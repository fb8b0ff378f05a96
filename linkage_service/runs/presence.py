"""Which workers are there: each notes every few seconds that it lives, so that others can see when none does."""

from datetime import datetime, timedelta

from sqlalchemy import delete, func
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import UtcDateTime

EVERY = timedelta(seconds=10)
_OF_LATE = timedelta(seconds=45)
_FORGOTTEN_AFTER = timedelta(hours=1)


class WorkerPresence(SQLModel, table=True):
    """A worker process, by the name under which it holds runs."""

    __tablename__ = "worker_presence"

    name: str = Field(primary_key=True)
    version: str
    started_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)


def note(session: Session, *, name: str, version: str, now: datetime) -> None:
    """Notes that a worker lives."""
    row = session.get(WorkerPresence, name)
    if row is None:
        row = WorkerPresence(name=name, version=version, started_at=now, seen_at=now)
    row.seen_at = now
    session.add(row)


def leave(session: Session, *, name: str, now: datetime) -> None:
    """Forgets a worker that stops, and those that fell silent long ago."""
    long_ago = col(WorkerPresence.seen_at) < now - _FORGOTTEN_AFTER
    session.execute(delete(WorkerPresence).where((col(WorkerPresence.name) == name) | long_ago))


def count(session: Session, *, now: datetime) -> int:
    """How many workers were seen of late."""
    return session.exec(
        select(func.count()).select_from(WorkerPresence).where(col(WorkerPresence.seen_at) >= now - _OF_LATE)
    ).one()


def newest(session: Session) -> datetime | None:
    """When any worker was seen last; None where none ever was."""
    query = select(WorkerPresence.seen_at).order_by(col(WorkerPresence.seen_at).desc()).limit(1)
    return session.exec(query).first()
