"""Projects and their providers, with every query on them."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.agreements.tables import AgreementParty
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
