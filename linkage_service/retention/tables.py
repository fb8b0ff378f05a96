"""Claims on housekeeping, what was disposed of, certificates, and the queries that find what is due."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import or_, update
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.agreements.tables import Agreement, AgreementVersion
from linkage_service.audit.tables import AuditBody, AuditEvent
from linkage_service.database import BigInt, UtcDateTime
from linkage_service.link_tables.tables import Release
from linkage_service.runs.tables import Run
from linkage_service.uploads.tables import LIVE, Upload

SWEEP, WITHDRAWALS = "sweep", "withdrawals"
# A claim is for ten minutes at most, and the clock of another machine may be ahead by a little.
_LONGEST_LEASE = timedelta(minutes=15)


class HousekeepingClaim(SQLModel, table=True):
    """One kind of housekeeping, which one worker does at a time. The migration makes the rows."""

    __tablename__ = "housekeeping_claim"

    name: str = Field(primary_key=True)
    holder: str | None
    until: datetime | None = Field(sa_type=UtcDateTime, nullable=True)
    done_at: datetime | None = Field(sa_type=UtcDateTime, nullable=True)
    thorough_at: datetime | None = Field(sa_type=UtcDateTime, nullable=True)


class Certificate(SQLModel, table=True):
    """A signed certificate of disposal: a C2SP signed note whose text is one line of canonical JSON."""

    __tablename__ = "certificate"

    id: str = Field(primary_key=True)
    project: str = Field(foreign_key="project.id", index=True)
    items: int
    note: str
    created_at: datetime = Field(sa_type=UtcDateTime)


class Disposal(SQLModel, table=True):
    """Something deleted whose blobs are gone too. A certificate names it where the agreement asks for one."""

    __tablename__ = "disposal"

    kind: str = Field(primary_key=True)
    object: str = Field(primary_key=True)
    certificate: str | None = Field(foreign_key="certificate.id", index=True)
    seq: int = Field(sa_type=BigInt)
    settled_at: datetime = Field(sa_type=UtcDateTime)


class AgreementEnd(SQLModel, table=True):
    """The end of an agreement version that was noted in the ledger, so that it is noted once."""

    __tablename__ = "agreement_end"

    agreement: str = Field(primary_key=True, foreign_key="agreement.id")
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    noted_at: datetime = Field(sa_type=UtcDateTime)


def housekeeping(session: Session, name: str) -> HousekeepingClaim | None:
    """A kind of housekeeping as it stands."""
    return session.get(HousekeepingClaim, name)


def is_due(done_at: datetime | None, *, every: timedelta, now: datetime) -> bool:
    """Whether what is done every so often is due; last done at a time to come, it was by a clock that was ahead."""
    return done_at is None or not now - every < done_at <= now


def take(
    session: Session, name: str, *, holder: str, now: datetime, lease: timedelta, not_since: datetime | None = None
) -> bool:
    """Claims a kind of housekeeping, in one statement that two workers cannot both win; or keeps a claim that is held.

    Args:
        session: a transaction.
        name: which kind.
        holder: who claims.
        now: the time.
        lease: for how long.
        not_since: only if it was last done before this.
    """
    columns = HousekeepingClaim
    free = or_(
        col(columns.until).is_(None),
        col(columns.until) < now,
        col(columns.until) > now + _LONGEST_LEASE,
        col(columns.holder) == holder,
    )
    statement = update(columns).where(col(columns.name) == name, free)
    if not_since is not None:
        done_at = col(columns.done_at)
        statement = statement.where(or_(done_at.is_(None), done_at <= not_since, done_at > now))
    taken = session.execute(
        statement.values(holder=holder, until=now + lease)
        .returning(col(columns.name))
        .execution_options(synchronize_session=False)
    )
    return taken.scalar() is not None


def let_go(session: Session, name: str, *, holder: str, now: datetime, thorough: bool) -> None:
    """Ends a claim whose work is done."""
    values = {"holder": None, "until": None, "done_at": now} | ({"thorough_at": now} if thorough else {})
    session.execute(
        update(HousekeepingClaim)
        .where(col(HousekeepingClaim.name) == name, col(HousekeepingClaim.holder) == holder)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def kept_uploads(session: Session) -> Sequence[Upload]:
    """Uploads that are not deleted."""
    return session.exec(select(Upload).where(col(Upload.state).in_(LIVE)).order_by(col(Upload.id))).all()


def kept_runs(session: Session) -> Sequence[Run]:
    """Runs whose results are kept."""
    return session.exec(select(Run).where(Run.state == "succeeded").order_by(col(Run.id))).all()


def kept_releases(session: Session) -> Sequence[Release]:
    """Releases that are not deleted."""
    return session.exec(select(Release).where(col(Release.deleted_at).is_(None)).order_by(col(Release.id))).all()


def releases_of_run(session: Session, run_id: str) -> Sequence[str]:
    """Ids of the releases of a run."""
    return session.exec(select(Release.id).where(Release.run == run_id)).all()


def unsettled_uploads(session: Session) -> Sequence[Upload]:
    """Deleted uploads whose disposal is not settled."""
    settled = select(Disposal.object).where(Disposal.kind == "upload")
    query = select(Upload).where(Upload.state == "deleted", col(Upload.id).not_in(settled))
    return session.exec(query.order_by(col(Upload.id))).all()


def unsettled_runs(session: Session) -> Sequence[Run]:
    """Deleted runs whose disposal is not settled."""
    settled = select(Disposal.object).where(Disposal.kind == "run")
    query = select(Run).where(Run.state == "deleted", col(Run.id).not_in(settled))
    return session.exec(query.order_by(col(Run.id))).all()


def unsettled_releases(session: Session) -> Sequence[Release]:
    """Deleted releases whose disposal is not settled."""
    settled = select(Disposal.object).where(Disposal.kind == "release")
    query = select(Release).where(col(Release.deleted_at).is_not(None), col(Release.id).not_in(settled))
    return session.exec(query.order_by(col(Release.id))).all()


def keyless_uploads(session: Session, ids: Sequence[str]) -> Sequence[str]:
    """Those of the uploads that have lost their data key."""
    query = select(Upload.id).where(col(Upload.id).in_(ids), col(Upload.data_key).is_(None))
    return session.exec(query).all()


def keyless_runs(session: Session, ids: Sequence[str]) -> Sequence[str]:
    """Those of the runs that have no data key: they ended without a result, or were deleted."""
    return session.exec(select(Run.id).where(col(Run.id).in_(ids), col(Run.data_key).is_(None))).all()


def known_uploads(session: Session, ids: Sequence[str]) -> Sequence[str]:
    """Those of the ids that are uploads."""
    return session.exec(select(Upload.id).where(col(Upload.id).in_(ids))).all()


def known_runs(session: Session, ids: Sequence[str]) -> Sequence[str]:
    """Those of the ids that are runs."""
    return session.exec(select(Run.id).where(col(Run.id).in_(ids))).all()


def agreement_versions(session: Session) -> Sequence[tuple[Agreement, AgreementVersion]]:
    """Every version of every agreement."""
    return session.exec(
        select(Agreement, AgreementVersion)
        .where(AgreementVersion.agreement == Agreement.id)
        .order_by(col(Agreement.id), col(AgreementVersion.version))
    ).all()


def end_noted(session: Session, agreement: str, version: int) -> bool:
    """Whether the ledger knows that a version has ended."""
    return session.get(AgreementEnd, (agreement, version)) is not None


def held_bodies(
    session: Session, *, agreement: str | None, before: str, after: int, limit: int
) -> Sequence[AuditEvent]:
    """Events older than a time whose bodies are still held, in order.

    Args:
        session: a transaction.
        agreement: reference of the agreement that they happened under; None for those under none.
        before: the time, as headers write it.
        after: sequence numbers above this one.
        limit: at most so many.
    """
    under = col(AuditEvent.agreement).is_(None) if agreement is None else col(AuditEvent.agreement) == agreement
    query = select(AuditEvent).where(
        AuditBody.seq == AuditEvent.seq, col(AuditBody.disposed).is_(False), under, AuditEvent.time < before
    )
    return session.exec(query.where(AuditEvent.seq > after).order_by(col(AuditEvent.seq)).limit(limit)).all()


def dispose_of_bodies(session: Session, sequence: Sequence[int]) -> None:
    """Takes salt and body from events; the rows stay and say that they were disposed of."""
    session.execute(
        update(AuditBody)
        .where(col(AuditBody.seq).in_(sequence))
        .values(disposed=True, salt=None, body=None)
        .execution_options(synchronize_session=False)
    )


def certificate(session: Session, certificate_id: str) -> Certificate | None:
    """One certificate."""
    return session.get(Certificate, certificate_id)


def certificates_page(session: Session, *, project_id: str, after: str, limit: int) -> Sequence[Certificate]:
    """Certificates of a project by id, oldest first."""
    query = select(Certificate).where(Certificate.project == project_id, Certificate.id > after)
    return session.exec(query.order_by(col(Certificate.id)).limit(limit)).all()
