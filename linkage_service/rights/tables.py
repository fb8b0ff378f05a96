"""Withdrawals, what they took out of which upload, and holds; with every query on them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, update
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import UtcDateTime
from linkage_service.link_tables.tables import Release
from linkage_service.runs.tables import Run, RunUpload

# Article 18(1)(b) and (c) of the UK GDPR: the person has asked that the data be kept rather than erased.
KEEPING_GROUNDS = ("unlawful", "legal_claims")


class Withdrawal(SQLModel, table=True):
    """Rows of an upload that its provider has taken back.

    From the moment it is made, no run begins or ends on those rows and no result of them leaves. It is applied once
    their encodings are gone and every kept result was made again without them.
    """

    __tablename__ = "withdrawal"

    id: str = Field(primary_key=True)
    upload: str = Field(foreign_key="upload.id", index=True)
    reason: str
    count: int
    created_at: datetime = Field(sa_type=UtcDateTime)
    erased_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)
    applied_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True, index=True)


class WithdrawnRow(SQLModel, table=True):
    """One of its rows, by the row's number in the upload as it was sent."""

    __tablename__ = "withdrawn_row"

    upload: str = Field(primary_key=True, foreign_key="upload.id")
    row: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    withdrawal: str = Field(foreign_key="withdrawal.id", index=True)


class StoredContent(SQLModel, table=True):
    """What is stored of an upload after rows were withdrawn, whose digest is no longer that of the manifest."""

    __tablename__ = "stored_content"

    upload: str = Field(primary_key=True, foreign_key="upload.id")
    sha256: str


class Hold(SQLModel, table=True):
    """A restriction of processing that an officer has put on a run or a release."""

    __tablename__ = "hold"

    id: str = Field(primary_key=True)
    project: str = Field(foreign_key="project.id", index=True)
    kind: str
    object: str = Field(index=True)
    ground: str
    placed_at: datetime = Field(sa_type=UtcDateTime)
    lifted_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)


def withdrawals_page(session: Session, *, upload_id: str, after: str, limit: int) -> Sequence[Withdrawal]:
    """Withdrawals from an upload by id, oldest first."""
    query = select(Withdrawal).where(Withdrawal.upload == upload_id, Withdrawal.id > after)
    return session.exec(query.order_by(col(Withdrawal.id)).limit(limit)).all()


def pending(session: Session) -> Sequence[Withdrawal]:
    """Withdrawals that are not applied yet, oldest first."""
    query = select(Withdrawal).where(col(Withdrawal.applied_at).is_(None))
    return session.exec(query.order_by(col(Withdrawal.id))).all()


def pending_in_run(session: Session, run_id: str) -> bool:
    """Whether rows of a run were withdrawn that its result, or what it reads, still holds."""
    query = select(Withdrawal.id).where(
        RunUpload.run == run_id, RunUpload.upload == Withdrawal.upload, col(Withdrawal.applied_at).is_(None)
    )
    return session.exec(query.limit(1)).first() is not None


def withdrawn_rows(session: Session, upload_id: str) -> Sequence[int]:
    """Every row that was withdrawn from an upload, in order."""
    query = select(WithdrawnRow.row).where(WithdrawnRow.upload == upload_id)
    return session.exec(query.order_by(col(WithdrawnRow.row))).all()


def withdrawal_of(session: Session, upload_id: str, row: int) -> Withdrawal | None:
    """The withdrawal that took a row."""
    taken = session.get(WithdrawnRow, (upload_id, row))
    return None if taken is None else session.get(Withdrawal, taken.withdrawal)


def erased_rows(session: Session, upload_id: str) -> Sequence[int]:
    """Those of them whose encodings are no longer stored, in order."""
    query = select(WithdrawnRow.row).where(
        WithdrawnRow.upload == upload_id,
        WithdrawnRow.withdrawal == Withdrawal.id,
        col(Withdrawal.erased_at).is_not(None),
    )
    return session.exec(query.order_by(col(WithdrawnRow.row))).all()


def rows_of(session: Session, withdrawal_ids: Sequence[str]) -> Sequence[int]:
    """The rows of withdrawals from one upload, in order."""
    query = select(WithdrawnRow.row).where(col(WithdrawnRow.withdrawal).in_(withdrawal_ids))
    return session.exec(query.order_by(col(WithdrawnRow.row))).all()


def note(session: Session, withdrawal_ids: Sequence[str], *, column: str, at: datetime) -> None:
    """Notes how far withdrawals have come: `erased_at` or `applied_at`."""
    session.execute(
        update(Withdrawal)
        .where(col(Withdrawal.id).in_(withdrawal_ids))
        .values({column: at})
        .execution_options(synchronize_session=False)
    )


def stored_content(session: Session, upload_id: str) -> StoredContent | None:
    """What is stored of an upload from which rows were withdrawn."""
    return session.get(StoredContent, upload_id)


def runs_of_upload(session: Session, upload_id: str) -> Sequence[Run]:
    """Every run that took an upload, by id."""
    query = select(Run).where(RunUpload.run == Run.id, RunUpload.upload == upload_id)
    return session.exec(query.order_by(col(Run.id))).all()


def forget_rows(session: Session, upload_id: str) -> int:
    """Forgets which rows were withdrawn from an upload of which nothing is left; gives how many."""
    gone = session.execute(
        delete(WithdrawnRow).where(col(WithdrawnRow.upload) == upload_id).returning(col(WithdrawnRow.row))
    )
    return len(gone.all())


def uploads_with_rows(session: Session) -> Sequence[str]:
    """Uploads of which withdrawn rows are remembered."""
    return session.exec(select(WithdrawnRow.upload).distinct()).all()


def standing_hold(session: Session, kind: str, object_id: str) -> Hold | None:
    """The hold on a run or release that is in force."""
    query = select(Hold).where(Hold.kind == kind, Hold.object == object_id, col(Hold.lifted_at).is_(None))
    return session.exec(query.limit(1)).first()


def standing_holds(session: Session) -> Sequence[Hold]:
    """Every hold in force."""
    return session.exec(select(Hold).where(col(Hold.lifted_at).is_(None)).order_by(col(Hold.id))).all()


def is_kept(session: Session, run_id: str) -> bool:
    """Whether a hold on one of the `KEEPING_GROUNDS` stands on a run or on a release of it."""
    objects = [run_id, *session.exec(select(Release.id).where(Release.run == run_id)).all()]
    query = select(Hold.id).where(
        col(Hold.object).in_(objects), col(Hold.ground).in_(KEEPING_GROUNDS), col(Hold.lifted_at).is_(None)
    )
    return session.exec(query.limit(1)).first() is not None


def holds_page(session: Session, *, project_id: str, after: str, limit: int) -> Sequence[Hold]:
    """Holds in force on runs and releases of a project by id, oldest first."""
    query = select(Hold).where(Hold.project == project_id, col(Hold.lifted_at).is_(None), Hold.id > after)
    return session.exec(query.order_by(col(Hold.id)).limit(limit)).all()
