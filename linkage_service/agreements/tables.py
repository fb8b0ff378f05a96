"""Agreements, their versions and signatures, with every query on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, bindparam, delete, func, or_
from sqlalchemy import select as sa_select
from sqlalchemy.orm import Mapped
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import UtcDateTime


class Agreement(SQLModel, table=True):
    """One information sharing protocol. `version` is the one in force, or the first until it is."""

    __tablename__ = "agreement"

    id: str = Field(primary_key=True)
    reference: str = Field(unique=True)
    state: str
    version: int
    created_at: datetime = Field(sa_type=UtcDateTime)


class AgreementVersion(SQLModel, table=True):
    """One version: the canonical document that is signed, unchangeable once proposed.

    `state` is "draft", "proposed", "active", "superseded" by a later one, or "withdrawn" before all had signed it.
    """

    __tablename__ = "agreement_version"

    agreement: str = Field(primary_key=True, foreign_key="agreement.id")
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    digest: str
    document: str
    state: str
    created_at: datetime = Field(sa_type=UtcDateTime)


class AgreementParty(SQLModel, table=True):
    """An organisation named in a version, so that agreements can be listed by party."""

    __tablename__ = "agreement_party"

    agreement: str = Field(primary_key=True, foreign_key="agreement.id")
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    organisation: str = Field(primary_key=True, foreign_key="organisation.id", index=True)


class AgreementSignature(SQLModel, table=True):
    """One party's signature over a version's digest."""

    __tablename__ = "agreement_signature"

    agreement: str = Field(primary_key=True, foreign_key="agreement.id")
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    organisation: str = Field(primary_key=True, foreign_key="organisation.id")
    key_thumbprint: str
    signature: str
    signed_at: datetime = Field(sa_type=UtcDateTime)


class AgreementReview(SQLModel, table=True):
    """One review of an agreement, as an officer recorded it. The last one counts."""

    __tablename__ = "agreement_review"

    id: str = Field(primary_key=True)
    agreement: str = Field(foreign_key="agreement.id", index=True)
    version: int
    passed: bool
    review_by: datetime = Field(sa_type=UtcDateTime)
    findings: str
    created_at: datetime = Field(sa_type=UtcDateTime)


@dataclass(frozen=True, slots=True)
class Found:
    """An agreement at one of its versions, with what was said to it.

    Attributes:
        row: the agreement.
        version: the version.
        signed: ids of the organisations that signed the version.
        latest: the last review of the agreement, of whichever version; None if there was none.
    """

    row: Agreement
    version: AgreementVersion
    signed: frozenset[str]
    latest: AgreementReview | None


# One query for all of it, made once: nearly every request asks.
_BETWEEN = ","  # ids have none
_SIGNED = (
    sa_select(func.aggregate_strings(col(AgreementSignature.organisation), _BETWEEN))
    .where(
        col(AgreementSignature.agreement) == AgreementVersion.agreement,
        col(AgreementSignature.version) == AgreementVersion.version,
    )
    .correlate(AgreementVersion)
    .scalar_subquery()
)
_LATEST = (
    sa_select(func.max(col(AgreementReview.id)))
    .where(col(AgreementReview.agreement) == Agreement.id)
    .correlate(Agreement)
    .scalar_subquery()
)
FOUND = (Agreement, AgreementVersion, _SIGNED, AgreementReview)
"""What is selected of an agreement at a version, see `at`."""


def at(query: Select[Any], number: ColumnElement[int] | Mapped[int]) -> Select[Any]:
    """Joins a version of the agreement that a query selects, with what was said to it."""
    return query.join(
        AgreementVersion,
        (col(AgreementVersion.agreement) == Agreement.id) & (col(AgreementVersion.version) == number),
    ).outerjoin(AgreementReview, col(AgreementReview.id) == _LATEST)


def found_in(row: Agreement, version: AgreementVersion, signed: str | None, latest: AgreementReview | None) -> Found:
    """What was selected as `FOUND` says."""
    return Found(row, version, frozenset(signed.split(_BETWEEN)) if signed else frozenset(), latest)


_OF_AGREEMENT = sa_select(*FOUND).select_from(Agreement).where(col(Agreement.id) == bindparam("agreement"))
_AT_NUMBER = at(_OF_AGREEMENT, bindparam("number", type_=Integer))
_AT_PRESENT = at(_OF_AGREEMENT, col(Agreement.version))


def lock(session: Session, agreement_id: str) -> None:
    """Lets nobody else change an agreement until the transaction ends."""
    session.exec(select(Agreement.id).where(Agreement.id == agreement_id).with_for_update()).first()


def agreement_with_reference(session: Session, reference: str) -> Agreement | None:
    """One agreement by its reference."""
    return session.exec(select(Agreement).where(Agreement.reference == reference)).first()


def at_version(session: Session, agreement_id: str, number: int | None) -> Found | None:
    """An agreement at one of its versions, by default the present one."""
    query = _AT_PRESENT if number is None else _AT_NUMBER
    found = session.execute(query, {"agreement": agreement_id, "number": number}).first()
    return None if found is None else found_in(*found)


def version(session: Session, agreement_id: str, number: int) -> AgreementVersion | None:
    """One version of an agreement."""
    return session.get(AgreementVersion, (agreement_id, number))


def versions(session: Session, agreement_id: str) -> Sequence[AgreementVersion]:
    """Every version of an agreement, the first one first."""
    query = select(AgreementVersion).where(AgreementVersion.agreement == agreement_id)
    return session.exec(query.order_by(col(AgreementVersion.version))).all()


def versions_naming(session: Session, agreement_id: str, organisation: str) -> set[int]:
    """Numbers of the versions that name an organisation."""
    query = select(AgreementParty.version).where(
        AgreementParty.agreement == agreement_id, AgreementParty.organisation == organisation
    )
    return set(session.exec(query))


def forget_draft(session: Session, agreement_id: str, number: int) -> None:
    """Deletes a version; the database lets drafts only be deleted."""
    forget_parties(session, agreement_id, number)
    session.execute(
        delete(AgreementVersion).where(
            col(AgreementVersion.agreement) == agreement_id, col(AgreementVersion.version) == number
        )
    )


def forget_parties(session: Session, agreement_id: str, number: int) -> None:
    """Deletes the list of parties of a version."""
    session.execute(
        delete(AgreementParty).where(
            col(AgreementParty.agreement) == agreement_id, col(AgreementParty.version) == number
        )
    )


def forget_agreement(session: Session, agreement_id: str) -> None:
    """Deletes an agreement that has no version left."""
    session.execute(delete(Agreement).where(col(Agreement.id) == agreement_id))


def signatures(session: Session, agreement_id: str, number: int) -> Sequence[AgreementSignature]:
    """The signatures of one version, by organisation."""
    query = select(AgreementSignature).where(
        AgreementSignature.agreement == agreement_id, AgreementSignature.version == number
    )
    return session.exec(query.order_by(col(AgreementSignature.organisation))).all()


def agreements_page(session: Session, *, organisation: str | None, after: str, limit: int) -> Sequence[Agreement]:
    """Agreements by id.

    Args:
        session: a transaction.
        organisation: only those of which a version names this party; None for all.
        after: ids above this one.
        limit: at most so many.
    """
    query = select(Agreement).where(Agreement.id > after)
    if organisation is not None:
        named = select(AgreementParty.agreement).where(AgreementParty.organisation == organisation)
        query = query.where(col(Agreement.id).in_(named))
    return session.exec(query.order_by(col(Agreement.id)).limit(limit)).all()


def references_of_party(session: Session, organisation: str) -> Sequence[str]:
    """References of the agreements that name an organisation in a version that is or was the present one.

    Whoever is named only in an amendment that was not signed by all learns nothing of what happens under the agreement,
    also where a later one was.
    """
    query = select(Agreement.reference).where(
        AgreementParty.agreement == Agreement.id,
        AgreementParty.organisation == organisation,
        AgreementVersion.agreement == Agreement.id,
        AgreementVersion.version == AgreementParty.version,
        or_(
            col(AgreementVersion.version) == Agreement.version,
            col(AgreementVersion.state).in_(("active", "superseded")),
        ),
    )
    return session.exec(query.distinct()).all()
