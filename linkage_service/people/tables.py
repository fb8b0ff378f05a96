"""People, their invitations and their sessions, with every query on them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import JSON, Column, LargeBinary, UniqueConstraint, delete
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import BigInt, UtcDateTime


class Person(SQLModel, table=True):
    """A person of an organisation.

    `totp_sealed` is the shared secret of the second factor, encrypted; `totp_last_step` the newest time step whose code
    was used, so that no code works twice; `failed_attempts` counts attempts since the last that succeeded.
    """

    __tablename__ = "person"
    __table_args__ = (UniqueConstraint("oidc_issuer", "oidc_subject", name="uq_person_oidc_issuer"),)

    id: str = Field(primary_key=True)
    organisation: str = Field(foreign_key="organisation.id", index=True)
    name: str
    email: str = Field(unique=True)
    roles: list[str] = Field(sa_column=Column(JSON, nullable=False))
    status: str
    password_hash: str | None = None
    totp_sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary, nullable=True))
    totp_last_step: int | None = Field(default=None, sa_column=Column(BigInt, nullable=True))
    failed_attempts: int = 0
    locked_until: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)
    oidc_issuer: str | None = None
    oidc_subject: str | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)


class PersonInvitation(SQLModel, table=True):
    """A single-use right to set a password and a second factor; only the digest of its token is kept."""

    __tablename__ = "person_invitation"

    token_digest: str = Field(primary_key=True)
    person: str = Field(foreign_key="person.id", index=True)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class PersonSession(SQLModel, table=True):
    """A session of a person, named by the digest of its token."""

    __tablename__ = "person_session"

    token_digest: str = Field(primary_key=True)
    person: str = Field(foreign_key="person.id", index=True)
    method: str
    second_factor: bool
    stepped_up_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)
    browser: str
    source: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)


def person(session: Session, person_id: str) -> Person | None:
    """One person."""
    return session.get(Person, person_id)


def locked_person(session: Session, person_id: str) -> Person | None:
    """One person, whom no other transaction can change until this one ends."""
    return session.get(Person, person_id, with_for_update=True, populate_existing=True)


def person_with_email(session: Session, email: str) -> Person | None:
    """The person with this login name, which is in lower case."""
    return session.exec(select(Person).where(Person.email == email)).first()


def person_with_subject(session: Session, *, issuer: str, subject: str) -> Person | None:
    """The person whom an identity provider knows by this subject."""
    query = select(Person).where(Person.oidc_issuer == issuer, Person.oidc_subject == subject)
    return session.exec(query).first()


def people(session: Session, organisation_id: str) -> Sequence[Person]:
    """Everybody of an organisation."""
    return session.exec(select(Person).where(Person.organisation == organisation_id)).all()


def people_page(session: Session, *, organisation_id: str, after: str, limit: int) -> Sequence[Person]:
    """People of one organisation by id, oldest first."""
    query = select(Person).where(Person.organisation == organisation_id, Person.id > after)
    return session.exec(query.order_by(col(Person.id)).limit(limit)).all()


def invitation(session: Session, token_digest: str) -> PersonInvitation | None:
    """The invitation with this token."""
    return session.get(PersonInvitation, token_digest)


def delete_invitations(session: Session, person_id: str) -> None:
    """Withdraws every invitation of a person."""
    session.execute(delete(PersonInvitation).where(col(PersonInvitation.person) == person_id))


def person_session(session: Session, token_digest: str) -> PersonSession | None:
    """The session with this token."""
    return session.get(PersonSession, token_digest)


def sessions_of(session: Session, person_id: str) -> Sequence[PersonSession]:
    """A person's sessions, newest first."""
    query = select(PersonSession).where(PersonSession.person == person_id)
    return session.exec(query.order_by(col(PersonSession.created_at).desc())).all()


def end_sessions(session: Session, person_id: str, *, but: str = "") -> int:
    """Ends a person's sessions, all or all but one; how many there were."""
    query = select(PersonSession).where(PersonSession.person == person_id, PersonSession.token_digest != but)
    ended = session.exec(query).all()
    for row in ended:
        session.delete(row)
    return len(ended)


def forget_sessions(session: Session, *, before: datetime) -> None:
    """Forgets sessions that have expired."""
    session.execute(delete(PersonSession).where(col(PersonSession.expires_at) < before))
