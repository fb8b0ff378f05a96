"""Uploads and their parts, with every query on them."""

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, LargeBinary, func
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.database import BigInt, UtcDateTime

LIVE = ("receiving", "complete")


class Upload(SQLModel, table=True):
    """One provider's encodings for one project. Without its data key (null once deleted) its blobs are noise.

    Only those of the project's present key epoch are matched; others were made with another secret.
    """

    __tablename__ = "upload"

    id: str = Field(primary_key=True)
    project: str = Field(foreign_key="project.id", index=True)
    organisation: str = Field(foreign_key="organisation.id", index=True)
    state: str
    manifest: str
    count: int
    bits: int
    size_bytes: int = Field(sa_type=BigInt)
    sha256: str
    check_value: str
    key_epoch: int
    part_size_bytes: int
    parts_expected: int
    data_key: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))
    created_at: datetime = Field(sa_type=UtcDateTime)
    completed_at: datetime | None = Field(sa_type=UtcDateTime, nullable=True)
    delete_by: datetime = Field(sa_type=UtcDateTime, index=True)


class UploadPart(SQLModel, table=True):
    """A part that was received and stored."""

    __tablename__ = "upload_part"

    upload: str = Field(primary_key=True, foreign_key="upload.id")
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    size_bytes: int
    sha256: str


class UploadFinding(SQLModel, table=True):
    """Something about an upload that its provider and an officer should look at."""

    __tablename__ = "upload_finding"

    upload: str = Field(primary_key=True, foreign_key="upload.id")
    code: str = Field(primary_key=True)
    message: str
    at: datetime = Field(sa_type=UtcDateTime)


class ProbeKey(SQLModel, table=True):
    """The key of the sketches of a project's uploads, wrapped. Without it nobody can ask a sketch anything."""

    __tablename__ = "probe_key"

    project: str = Field(primary_key=True, foreign_key="project.id")
    data_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class UploadSketch(SQLModel, table=True):
    """The sketch of an upload that was completed, see `sketches`; kept when its encodings are deleted."""

    __tablename__ = "upload_sketch"

    upload: str = Field(primary_key=True, foreign_key="upload.id")
    project: str = Field(foreign_key="project.id", index=True)
    organisation: str
    rows: int
    sketch: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    delete_by: datetime = Field(sa_type=UtcDateTime)


def opt_outs_applied_at(row: Upload) -> datetime | None:
    """When opt-outs were last applied to what was encoded, as its provider declared."""
    declared = json.loads(row.manifest).get("opt_outs_applied_at")
    return datetime.fromisoformat(declared) if isinstance(declared, str) else None


def encoding_profile_of(row: Upload) -> str | None:
    """The name of the encoding profile, as its provider declared; None where it named none."""
    declared = json.loads(row.manifest).get("encoding_profile")
    return declared if isinstance(declared, str) else None


def derivation_of(row: Upload) -> str | None:
    """How the key of the encodings was made from the secret; None: by an older version, with the secret itself."""
    declared = json.loads(row.manifest)["key"].get("derivation")
    return declared if isinstance(declared, str) else None


def upload(session: Session, upload_id: str) -> Upload | None:
    """One upload."""
    return session.get(Upload, upload_id)


def parts(session: Session, upload_id: str) -> Sequence[UploadPart]:
    """The parts received so far, by number."""
    query = select(UploadPart).where(UploadPart.upload == upload_id)
    return session.exec(query.order_by(col(UploadPart.number))).all()


def part(session: Session, upload_id: str, number: int) -> UploadPart | None:
    """One part, if it was received."""
    return session.get(UploadPart, (upload_id, number))


def live_uploads(session: Session, project_id: str) -> Sequence[Upload]:
    """Uploads of a project that are being received or complete, oldest first."""
    query = select(Upload).where(Upload.project == project_id, col(Upload.state).in_(LIVE))
    return session.exec(query.order_by(col(Upload.id))).all()


def live_by_state(session: Session, *, organisation: str | None = None) -> dict[str, tuple[int, int]]:
    """How many uploads are being received or complete, and their bytes as declared, by state; of all or of one."""
    size = func.coalesce(func.sum(Upload.size_bytes), 0)
    query = select(Upload.state, func.count(), size).where(col(Upload.state).in_(LIVE)).group_by(col(Upload.state))
    if organisation is not None:
        query = query.where(Upload.organisation == organisation)
    return {state: (number, int(size_bytes)) for state, number, size_bytes in session.exec(query)}


def complete_uploads(session: Session, project_id: str, *, epoch: int) -> Sequence[Upload]:
    """The one complete upload of each provider that has one in a key epoch, by provider."""
    query = select(Upload).where(Upload.project == project_id, Upload.state == "complete", Upload.key_epoch == epoch)
    return session.exec(query.order_by(col(Upload.organisation))).all()


def uploads_page(session: Session, *, project_id: str, after: str, limit: int) -> Sequence[Upload]:
    """Uploads of a project by id, deleted ones included."""
    query = select(Upload).where(Upload.project == project_id, Upload.id > after)
    return session.exec(query.order_by(col(Upload.id)).limit(limit)).all()


def findings(session: Session, upload_id: str) -> Sequence[UploadFinding]:
    """What was found of an upload, by code."""
    query = select(UploadFinding).where(UploadFinding.upload == upload_id)
    return session.exec(query.order_by(col(UploadFinding.code))).all()


def count_findings(session: Session, *, project_id: str, organisation: str, code: str) -> int:
    """How many uploads of a provider in a project have a finding."""
    query = select(func.count()).where(
        col(UploadFinding.upload) == Upload.id,
        col(UploadFinding.code) == code,
        col(Upload.project) == project_id,
        col(Upload.organisation) == organisation,
    )
    return session.exec(query).one()


def count_completed_since(session: Session, *, project_id: str, organisation: str, since: datetime) -> int:
    """How many uploads a provider has completed in a project since a time, those deleted meanwhile included."""
    query = select(func.count()).where(
        col(Upload.project) == project_id, col(Upload.organisation) == organisation, col(Upload.completed_at) >= since
    )
    return session.exec(query).one()


def probe_key(session: Session, project_id: str) -> ProbeKey | None:
    """The key of a project's sketches."""
    return session.get(ProbeKey, project_id)


def sketches(session: Session, *, project_id: str, organisation: str) -> Sequence[UploadSketch]:
    """The sketches of a provider's uploads in a project, oldest first."""
    query = select(UploadSketch).where(UploadSketch.project == project_id, UploadSketch.organisation == organisation)
    return session.exec(query.order_by(col(UploadSketch.upload))).all()


def sketches_past(session: Session, now: datetime) -> Sequence[str]:
    """Uploads whose sketches are past their date."""
    return session.exec(select(UploadSketch.upload).where(UploadSketch.delete_by <= now)).all()


def all_sketches(session: Session, project_id: str) -> Sequence[UploadSketch]:
    """Every sketch of a project."""
    return session.exec(select(UploadSketch).where(UploadSketch.project == project_id)).all()
