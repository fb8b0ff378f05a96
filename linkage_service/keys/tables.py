"""Key cards, key epochs, envelopes and how far each provider is, with every query on them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Index, delete, func, or_, text, update
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import UtcDateTime

_COUNTS = text("superseded_at IS NULL")


class KeyCard(SQLModel, table=True):
    """A card that an organisation published: public keys, signed by itself. The one without an end counts."""

    __tablename__ = "key_card"
    __table_args__ = (
        # Two requests at the same moment must not leave two cards that count.
        Index("ix_key_card_counts", "organisation", unique=True, sqlite_where=_COUNTS, postgresql_where=_COUNTS),
    )

    organisation: str = Field(primary_key=True, foreign_key="organisation.id")
    digest: str = Field(primary_key=True)
    document: str
    published_at: datetime = Field(sa_type=UtcDateTime)
    superseded_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)


class KeyEpoch(SQLModel, table=True):
    """A generation of a project's secret.

    `reason` says why it was opened, and so why the one before it was closed. `check_value` is a keyed digest by which
    equal secrets are known; it is never given out. `check_value_set_by` said first what it is.
    """

    __tablename__ = "key_epoch"

    project: str = Field(primary_key=True, foreign_key="project.id")
    epoch: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    reason: str
    opened_by: str | None = Field(foreign_key="organisation.id")
    opened_at: datetime = Field(sa_type=UtcDateTime)
    initiator: str | None = Field(default=None, foreign_key="organisation.id")
    check_value: str | None = None
    check_value_set_by: str | None = Field(default=None, foreign_key="organisation.id")


class KeyEnvelope(SQLModel, table=True):
    """The secret of an epoch, encrypted by one provider to another. It counts under the keyset it was made for.

    One that was deleted has an empty document until the next sweep, which clears the database's files of it.
    """

    __tablename__ = "key_envelope"

    project: str = Field(primary_key=True, foreign_key="project.id")
    epoch: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    sender: str = Field(primary_key=True, foreign_key="organisation.id")
    recipient: str = Field(primary_key=True, foreign_key="organisation.id")
    keyset: str
    document: str
    posted_at: datetime = Field(sa_type=UtcDateTime)
    retrieved_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)


class KeyStanding(SQLModel, table=True):
    """How far a provider is with the secret of an epoch: which keyset its people compared, and that it holds it."""

    __tablename__ = "key_standing"

    project: str = Field(primary_key=True, foreign_key="project.id")
    epoch: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    organisation: str = Field(primary_key=True, foreign_key="organisation.id")
    compared_keyset: str | None = None
    compared_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)
    confirmed_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)


def card(session: Session, organisation: str) -> KeyCard | None:
    """The card of an organisation that counts."""
    query = select(KeyCard).where(KeyCard.organisation == organisation, col(KeyCard.superseded_at).is_(None))
    return session.exec(query).first()


def earlier_card(session: Session, organisation: str, digest: str) -> KeyCard | None:
    """A card that an organisation published at some time."""
    return session.get(KeyCard, (organisation, digest))


def cards(session: Session, organisations: Sequence[str]) -> dict[str, KeyCard]:
    """The cards that count, by organisation."""
    query = select(KeyCard).where(col(KeyCard.organisation).in_(organisations), col(KeyCard.superseded_at).is_(None))
    return {row.organisation: row for row in session.exec(query)}


def cards_of_others(session: Session, organisation: str) -> Sequence[KeyCard]:
    """The cards of every other organisation, those that were superseded included."""
    return session.exec(select(KeyCard).where(KeyCard.organisation != organisation)).all()


def changed_cards(session: Session, organisations: Sequence[str]) -> set[str]:
    """Those of the organisations that have had another card before."""
    query = select(KeyCard.organisation).where(col(KeyCard.organisation).in_(organisations))
    return set(session.exec(query.group_by(col(KeyCard.organisation)).having(func.count() > 1)))


def epoch(session: Session, project: str, number: int) -> KeyEpoch | None:
    """One epoch of a project."""
    return session.get(KeyEpoch, (project, number))


def standing(session: Session, project: str, number: int, organisation: str) -> KeyStanding | None:
    """How far a provider is in an epoch; None where it has done nothing yet."""
    return session.get(KeyStanding, (project, number, organisation))


def standings(session: Session, project: str, number: int) -> dict[str, KeyStanding]:
    """How far each provider is in an epoch, by organisation."""
    query = select(KeyStanding).where(KeyStanding.project == project, KeyStanding.epoch == number)
    return {row.organisation: row for row in session.exec(query)}


def envelope(session: Session, project: str, number: int, *, sender: str, recipient: str) -> KeyEnvelope | None:
    """The envelope from one provider to another in an epoch."""
    return session.get(KeyEnvelope, (project, number, sender, recipient))


def envelopes(
    session: Session, project: str, number: int, *, keyset: str, recipient: str | None = None
) -> Sequence[KeyEnvelope]:
    """Envelopes of an epoch under a keyset, oldest first; those to one provider only, if one is named."""
    query = select(KeyEnvelope).where(
        KeyEnvelope.project == project,
        KeyEnvelope.epoch == number,
        KeyEnvelope.keyset == keyset,
        KeyEnvelope.document != "",
    )
    if recipient is not None:
        query = query.where(KeyEnvelope.recipient == recipient)
    return session.exec(query.order_by(col(KeyEnvelope.posted_at), col(KeyEnvelope.sender))).all()


def projects_with_envelopes(session: Session) -> set[str]:
    """Projects of which envelopes are kept."""
    return set(session.exec(select(KeyEnvelope.project).distinct()))


def empty_envelopes(session: Session, project: str, *, recipient: str | None = None) -> None:
    """Deletes what the envelopes of a project hold, or those to one provider; a sweep removes what is left of them."""
    statement = update(KeyEnvelope).where(col(KeyEnvelope.project) == project)
    if recipient is not None:
        statement = statement.where(col(KeyEnvelope.recipient) == recipient)
    session.execute(statement.values(document=""))


def are_emptied(session: Session) -> bool:
    """Whether anything is left of envelopes that were deleted."""
    return session.exec(select(KeyEnvelope.project).where(KeyEnvelope.document == "").limit(1)).first() is not None


def remove_emptied(session: Session) -> int:
    """Removes what is left of envelopes that were deleted; how many there were."""
    gone = delete(KeyEnvelope).where(col(KeyEnvelope.document) == "").returning(col(KeyEnvelope.recipient))
    return len(session.execute(gone).all())


def projects_with_exchange(session: Session) -> set[str]:
    """Projects of which it is kept by what their secrets are known, or who held them."""
    standing = select(KeyStanding.project)
    known = select(KeyEpoch.project).where(
        or_(col(KeyEpoch.check_value).is_not(None), col(KeyEpoch.project).in_(standing))
    )
    return set(session.exec(known.distinct()))


def forget_exchange(session: Session, project: str) -> None:
    """Deletes by what the secrets of a project were known, and who held them."""
    session.execute(
        update(KeyEpoch).where(col(KeyEpoch.project) == project).values(check_value=None, check_value_set_by=None)
    )
    session.execute(delete(KeyStanding).where(col(KeyStanding.project) == project))


def organisations_with_earlier_cards(session: Session) -> set[str]:
    """Organisations of which cards are kept that were superseded."""
    return set(session.exec(select(KeyCard.organisation).where(col(KeyCard.superseded_at).is_not(None)).distinct()))


def forget_earlier_cards(session: Session, organisations: Sequence[str]) -> None:
    """Deletes cards of organisations that were superseded."""
    session.execute(
        delete(KeyCard).where(col(KeyCard.organisation).in_(organisations), col(KeyCard.superseded_at).is_not(None))
    )
