"""Releases and disclosures, with every query on them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import JSON, Column, LargeBinary, func
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import UtcDateTime
from linkage_service.projects.tables import Project


class Release(SQLModel, table=True):
    """The decision that lets the link tables of a run go to one recipient."""

    __tablename__ = "release"

    id: str = Field(primary_key=True)
    run: str = Field(foreign_key="run.id", index=True)
    project: str = Field(foreign_key="project.id", index=True)
    recipient: str = Field(foreign_key="organisation.id")
    purpose: str
    mode: str
    columns: list[str] = Field(sa_column=Column(JSON, nullable=False))
    restricted: bool = False
    key_epoch: int
    delete_by: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)


class Disclosure(SQLModel, table=True):
    """One retrieval of a link table."""

    __tablename__ = "disclosure"

    id: str = Field(primary_key=True)
    project: str = Field(foreign_key="project.id", index=True)
    release: str = Field(foreign_key="release.id", index=True)
    provider: str = Field(foreign_key="organisation.id")
    rows: int | None
    at: datetime = Field(sa_type=UtcDateTime)


class RecipientKey(SQLModel, table=True):
    """The key of one recipient's link ids, wrapped; null once deleted, so that no other takes its place unnoticed."""

    __tablename__ = "recipient_key"

    agreement: str = Field(primary_key=True, foreign_key="agreement.id")
    recipient: str = Field(primary_key=True, foreign_key="organisation.id")
    epoch: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    data_key: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))
    created_at: datetime = Field(sa_type=UtcDateTime)


def recipient_keys(session: Session) -> Sequence[RecipientKey]:
    """Every key that was not deleted."""
    query = select(RecipientKey).where(col(RecipientKey.data_key).is_not(None))
    return session.exec(query.order_by(col(RecipientKey.agreement), col(RecipientKey.recipient))).all()


def has_kept_release(session: Session, *, agreement: str, recipient: str, epoch: int) -> bool:
    """Whether a release to this recipient in this epoch is still there."""
    query = (
        select(Release.id)
        .where(Release.project == Project.id, Project.agreement == agreement, Release.recipient == recipient)
        .where(Release.key_epoch == epoch, col(Release.deleted_at).is_(None))
    )
    return session.exec(query.limit(1)).first() is not None


def recipient_key(session: Session, *, agreement: str, recipient: str, epoch: int) -> RecipientKey | None:
    """The key of one recipient's link ids under an agreement, in one epoch."""
    return session.get(RecipientKey, (agreement, recipient, epoch))


def release(session: Session, release_id: str) -> Release | None:
    """One release."""
    return session.get(Release, release_id)


def releases_page(session: Session, *, project_id: str, after: str, limit: int) -> Sequence[Release]:
    """Releases of a project by id, oldest first."""
    query = select(Release).where(Release.project == project_id, Release.id > after)
    return session.exec(query.order_by(col(Release.id)).limit(limit)).all()


def retrievals(session: Session, *, release_id: str, provider: str) -> int:
    """How often a provider has retrieved its table of a release."""
    query = select(func.count()).where(col(Disclosure.release) == release_id, col(Disclosure.provider) == provider)
    return session.exec(query).one()


def releases_of_run(session: Session, run_id: str) -> Sequence[Release]:
    """Every release of a run, by id."""
    return session.exec(select(Release).where(Release.run == run_id).order_by(col(Release.id))).all()


def disclosures_of_release(session: Session, release_id: str) -> Sequence[Disclosure]:
    """Every retrieval of a release, oldest first."""
    return session.exec(select(Disclosure).where(Disclosure.release == release_id).order_by(col(Disclosure.id))).all()


def disclosures_page(
    session: Session, *, project_id: str, after: str, limit: int
) -> Sequence[tuple[Disclosure, Release]]:
    """Disclosures of a project with their releases, oldest first."""
    query = select(Disclosure, Release).where(
        Disclosure.release == Release.id, Disclosure.project == project_id, Disclosure.id > after
    )
    return session.exec(query.order_by(col(Disclosure.id)).limit(limit)).all()
