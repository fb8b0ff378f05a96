"""Agreements, their versions and signatures, with every query on them."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import UtcDateTime


class Agreement(SQLModel, table=True):
    """One information sharing protocol."""

    __tablename__ = "agreement"

    id: str = Field(primary_key=True)
    reference: str = Field(unique=True)
    state: str
    version: int
    created_at: datetime = Field(sa_type=UtcDateTime)


class AgreementVersion(SQLModel, table=True):
    """One version: the canonical document that is signed, unchangeable once proposed."""

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


def agreement(session: Session, agreement_id: str) -> Agreement | None:
    """One agreement."""
    return session.get(Agreement, agreement_id)


def agreement_with_reference(session: Session, reference: str) -> Agreement | None:
    """One agreement by its reference."""
    return session.exec(select(Agreement).where(Agreement.reference == reference)).first()


def version(session: Session, agreement_id: str, number: int) -> AgreementVersion | None:
    """One version of an agreement."""
    return session.get(AgreementVersion, (agreement_id, number))


def latest_review(session: Session, agreement_id: str) -> AgreementReview | None:
    """The last review of an agreement, if there was one."""
    query = select(AgreementReview).where(AgreementReview.agreement == agreement_id)
    return session.exec(query.order_by(col(AgreementReview.id).desc()).limit(1)).first()


def signatures(session: Session, agreement_id: str, number: int) -> Sequence[AgreementSignature]:
    """The signatures of one version, by organisation."""
    query = select(AgreementSignature).where(
        AgreementSignature.agreement == agreement_id, AgreementSignature.version == number
    )
    return session.exec(query.order_by(col(AgreementSignature.organisation))).all()


def agreements_page(
    session: Session, *, organisation: str | None, after: str, limit: int
) -> Sequence[tuple[Agreement, AgreementVersion]]:
    """Agreements with their current versions, by id.

    Args:
        session: a transaction.
        organisation: only those that name this party; None for all.
        after: ids above this one.
        limit: at most so many.
    """
    query = (
        select(Agreement, AgreementVersion)
        .where(AgreementVersion.agreement == Agreement.id, AgreementVersion.version == Agreement.version)
        .where(Agreement.id > after)
    )
    if organisation is not None:
        query = query.where(
            AgreementParty.agreement == Agreement.id,
            AgreementParty.version == Agreement.version,
            AgreementParty.organisation == organisation,
        )
    return session.exec(query.order_by(col(Agreement.id)).limit(limit)).all()


def references_of_party(session: Session, organisation: str) -> Sequence[str]:
    """References of the agreements that name an organisation in any version."""
    query = select(Agreement.reference).where(
        AgreementParty.agreement == Agreement.id, AgreementParty.organisation == organisation
    )
    return session.exec(query.distinct()).all()
