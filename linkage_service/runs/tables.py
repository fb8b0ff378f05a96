"""Runs and the uploads they match, with every query on them, the workers' queue included."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, LargeBinary, and_, func, or_, update
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import BigInt, UtcDateTime
from linkage_service.uploads.tables import Upload


class Run(SQLModel, table=True):
    """One execution of the matcher. The row is also the queue: a worker holds it by a lease.

    `patterns` and `report` hold exact counts: neither leaves but rounded and suppressed. `data_key` is made by the
    first claim and opens whatever is stored of the run; a run that ends without a result loses it. `key_epoch` is that
    of its uploads, and stays when the project goes on to another. `traceparent` (W3C Trace Context) names the request
    that asked for it, where traces are kept.
    """

    __tablename__ = "run"

    id: str = Field(primary_key=True)
    project: str = Field(foreign_key="project.id", index=True)
    key_epoch: int
    state: str = Field(index=True)
    aim: str
    aim_value: float | None
    blocking: bool
    attempt: int
    worker: str | None
    lease_expires_at: datetime | None = Field(sa_type=UtcDateTime, nullable=True)
    phase: str
    done: int = Field(sa_type=BigInt)
    total: int = Field(sa_type=BigInt)
    error_code: str | None
    error_detail: str | None
    seconds: float | None
    patterns: list[dict[str, Any]] | None = Field(sa_column=Column(JSON, nullable=True))
    report: dict[str, Any] | None = Field(sa_column=Column(JSON, nullable=True))
    data_key: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))
    restricted: bool = False
    traceparent: str | None = None
    delete_by: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True, index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(sa_type=UtcDateTime, nullable=True)
    finished_at: datetime | None = Field(sa_type=UtcDateTime, nullable=True)


class RunUpload(SQLModel, table=True):
    """An upload in a run, in the order in which the matcher takes them."""

    __tablename__ = "run_upload"

    run: str = Field(primary_key=True, foreign_key="run.id")
    position: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    upload: str = Field(foreign_key="upload.id")
    organisation: str = Field(foreign_key="organisation.id")
    count: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a worker is.

    Attributes:
        phase: what it does.
        done: pairs of records compared.
        total: pairs to compare; None where nothing is known beyond what was noted before.
    """

    phase: str
    done: int = 0
    total: int | None = None


def run(session: Session, run_id: str) -> Run | None:
    """One run."""
    return session.get(Run, run_id)


def uploads_of(session: Session, run_id: str) -> Sequence[RunUpload]:
    """The uploads of a run in order."""
    return session.exec(select(RunUpload).where(RunUpload.run == run_id).order_by(col(RunUpload.position))).all()


def upload_states(session: Session, run_id: str) -> Sequence[str]:
    """The states of a run's uploads now."""
    query = select(Upload.state).where(RunUpload.run == run_id, RunUpload.upload == Upload.id)
    return session.exec(query).all()


def unfinished_with(session: Session, upload_id: str) -> Sequence[Run]:
    """Runs of an upload that are waiting or being carried out."""
    query = select(Run).where(RunUpload.run == Run.id, RunUpload.upload == upload_id)
    return session.exec(query.where(col(Run.state).in_(("queued", "running")))).all()


def unfinished_of_project(session: Session, project_id: str) -> Sequence[Run]:
    """Runs of a project that are waiting or being carried out."""
    query = select(Run).where(Run.project == project_id, col(Run.state).in_(("queued", "running")))
    return session.exec(query.order_by(col(Run.id))).all()


def upload_of(session: Session, run_id: str, organisation: str) -> RunUpload | None:
    """The upload that an organisation has in a run."""
    return session.exec(
        select(RunUpload).where(RunUpload.run == run_id, RunUpload.organisation == organisation)
    ).first()


def runs_page(session: Session, *, project_id: str, after: str, limit: int) -> Sequence[Run]:
    """Runs of a project by id, oldest first."""
    query = select(Run).where(Run.project == project_id, Run.id > after)
    return session.exec(query.order_by(col(Run.id)).limit(limit)).all()


def count_by_state(session: Session) -> dict[str, int]:
    """How many runs there are in each state that any is in."""
    rows = session.exec(select(Run.state, func.count()).group_by(col(Run.state))).all()
    return dict(rows)


def oldest_queued(session: Session) -> datetime | None:
    """When the run at the head of the queue was asked for; None where none waits."""
    query = select(Run.created_at).where(Run.state == "queued").order_by(col(Run.created_at)).limit(1)
    return session.exec(query).first()


def count_expired(session: Session, *, now: datetime) -> int:
    """How many runs are held by workers that have fallen silent."""
    query = select(func.count()).where(col(Run.state) == "running", col(Run.lease_expires_at) < now)
    return session.exec(query).one()


def _claimable(now: datetime) -> Any:
    return or_(col(Run.state) == "queued", and_(col(Run.state) == "running", col(Run.lease_expires_at) < now))


def is_work_waiting(session: Session, *, now: datetime) -> bool:
    """Whether a run is queued, or held by a worker that has fallen silent."""
    return session.exec(select(Run.id).where(_claimable(now)).limit(1)).first() is not None


def claim(session: Session, *, worker: str, now: datetime, lease_expires_at: datetime) -> str | None:
    """Gives the oldest waiting run to a worker, in one statement that two workers cannot both win."""
    oldest = (
        select(Run.id).where(_claimable(now)).order_by(col(Run.created_at)).limit(1).with_for_update(skip_locked=True)
    )
    statement = (
        update(Run)
        .where(col(Run.id) == oldest.scalar_subquery())
        .values(
            state="running",
            attempt=Run.attempt + 1,
            worker=worker,
            lease_expires_at=lease_expires_at,
            phase="load",
            done=0,
        )
        .returning(col(Run.id))
        .execution_options(synchronize_session=False)
    )
    return session.execute(statement).scalar()


def renew(
    session: Session,
    *,
    run_id: str,
    worker: str,
    attempt: int,
    lease_expires_at: datetime,
    progress: Progress,
) -> bool:
    """Extends a worker's lease and notes its progress; False when the run is no longer the worker's."""
    values: dict[str, Any] = {"phase": progress.phase, "done": progress.done}
    if progress.total is not None:
        values["total"] = progress.total
    statement = (
        update(Run)
        .where(
            col(Run.id) == run_id, col(Run.state) == "running", col(Run.worker) == worker, col(Run.attempt) == attempt
        )
        .values(lease_expires_at=lease_expires_at, **values)
        .returning(col(Run.id))
        .execution_options(synchronize_session=False)
    )
    return session.execute(statement).scalar() is not None
