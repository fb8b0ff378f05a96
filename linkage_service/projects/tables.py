"""Projects and their providers, with every query on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Select, bindparam, func
from sqlalchemy import select as sa_select
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.agreements import tables as agreement_tables
from linkage_service.agreements.tables import Agreement, AgreementParty
from linkage_service.database import UtcDateTime


class Project(SQLModel, table=True):
    """One linkage round under one agreement version. `key_epoch` is the generation of its secret now."""

    __tablename__ = "project"

    id: str = Field(primary_key=True)
    name: str
    agreement: str = Field(foreign_key="agreement.id", index=True)
    agreement_version: int
    kind: str
    purpose: str
    state: str
    linkage_schema: str
    linkage_schema_sha256: str
    bits: int
    key_epoch: int
    created_at: datetime = Field(sa_type=UtcDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)


class ProjectProvider(SQLModel, table=True):
    """A provider of the agreement version that takes part in a project, from a key epoch of it on."""

    __tablename__ = "project_provider"

    project: str = Field(primary_key=True, foreign_key="project.id")
    organisation: str = Field(primary_key=True, foreign_key="organisation.id")
    joined_epoch: int


_BETWEEN = ","  # ids have none
_PROVIDERS = (
    sa_select(func.aggregate_strings(col(ProjectProvider.organisation), _BETWEEN))
    .where(col(ProjectProvider.project) == Project.id)
    .correlate(Project)
    .scalar_subquery()
)
_FOUND = (Project, _PROVIDERS, *agreement_tables.FOUND)
Row = TypeVar("Row", bound=SQLModel)


@dataclass(frozen=True, slots=True)
class Found:
    """A project, the organisations that upload in it now, and the agreement version that it is under."""

    row: Project
    providers: frozenset[str]
    agreement: agreement_tables.Found


def _under_agreement(query: Select[Any]) -> Select[Any]:
    query = query.join(Agreement, col(Agreement.id) == Project.agreement)
    return agreement_tables.at(query, col(Project.agreement_version))


def _found_in(row: Project, providers: str | None, *agreement: Any) -> Found:
    taking_part = frozenset(providers.split(_BETWEEN)) if providers else frozenset()
    return Found(row, taking_part, agreement_tables.found_in(*agreement))


# Made once: nearly every request asks.
_GOVERNED = _under_agreement(sa_select(*_FOUND).select_from(Project)).where(col(Project.id) == bindparam("id"))


def governed(session: Session, project_id: str) -> Found | None:
    """One project under its agreement version."""
    found = session.execute(_GOVERNED, {"id": project_id}).first()
    return None if found is None else _found_in(*found)


@cache
def _beneath(model: type[Row]) -> Select[Any]:
    part: Any = model
    query = sa_select(model, *_FOUND).select_from(model).join(Project, col(Project.id) == part.project)
    return _under_agreement(query).where(part.id == bindparam("id"))


def beneath(session: Session, model: type[Row], row_id: str) -> tuple[Row, Found] | None:
    """Something that belongs to a project (an upload, a run, a release) with that project, by one query.

    Args:
        session: a transaction.
        model: its table, which has the columns `id` and `project`.
        row_id: its id.
    """
    found = session.execute(_beneath(model), {"id": row_id}).first()
    return None if found is None else (found[0], _found_in(*found[1:]))


def project(session: Session, project_id: str) -> Project | None:
    """One project."""
    return session.get(Project, project_id)


def providers(session: Session, project_id: str) -> set[str]:
    """Ids of the organisations that upload in a project now."""
    return set(session.exec(select(ProjectProvider.organisation).where(ProjectProvider.project == project_id)))


def provider(session: Session, project_id: str, organisation: str) -> ProjectProvider | None:
    """An organisation's part in a project, if it has one."""
    return session.get(ProjectProvider, (project_id, organisation))


def all_projects(session: Session) -> Sequence[Project]:
    """Every project, closed ones included."""
    return session.exec(select(Project).order_by(col(Project.id))).all()


def projects_of_agreement(session: Session, agreement_id: str) -> Sequence[Project]:
    """Every project under an agreement, in any of its versions."""
    return session.exec(select(Project).where(Project.agreement == agreement_id).order_by(col(Project.id))).all()


def projects_page(session: Session, *, organisation: str | None, after: str, limit: int) -> Sequence[Project]:
    """Projects by id, oldest first.

    Args:
        session: a transaction.
        organisation: only those under an agreement version that names this party; None for all.
        after: ids above this one.
        limit: at most so many.
    """
    query = select(Project).where(Project.id > after)
    if organisation is not None:
        query = query.where(
            AgreementParty.agreement == Project.agreement,
            AgreementParty.version == Project.agreement_version,
            AgreementParty.organisation == organisation,
        )
    return session.exec(query.order_by(col(Project.id)).limit(limit)).all()
