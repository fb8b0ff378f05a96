"""Releases and disclosures, with every query on them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import JSON, Column, func
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import UtcDateTime


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
