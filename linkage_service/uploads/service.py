"""Use cases of uploads: declare, receive parts, complete, delete."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import structlog
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.callers import Caller
from linkage_service.access.decide import Resource, in_billionths
from linkage_service.access.entities import Attribute, Entity, Reference, organisation_reference
from linkage_service.access.guard import Operation
from linkage_service.agreements.service import TIERS
from linkage_service.audit.catalogue import EventType
from linkage_service.errors import Conflict, FieldError, Invalid, Limited, NotFound, TooLarge
from linkage_service.ids import new_id
from linkage_service.keys import check_values
from linkage_service.keys.epochs import ClosedEpoch, closed_because
from linkage_service.projects import tables as projects
from linkage_service.projects.service import Governed, beneath, governed, hashed_fields
from linkage_service.runs import results
from linkage_service.runs import tables as runs
from linkage_service.storage import BlobStore, StorageError
from linkage_service.uploads import probing, schemas, tables
from linkage_service.uploads.judging import Found, judge
from linkage_service.uploads.profiles import tier_of
from linkage_service.uploads.sketches import Sketch
from linkage_service.uploads.statistics import Statistics, measure

_log = structlog.get_logger(__name__)
_CONTENT_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?:,|$)")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an upload may be, and all of an organisation's that are not deleted, bytes."""

    part_bytes: int
    upload_bytes: int
    open_uploads: int
    organisation_bytes: int


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """A part whose bytes are in memory and were hashed."""

    number: int
    size_bytes: int
    sha256: str
    declared_sha256: str


def existing(session: Session, upload_id: str) -> tuple[tables.Upload, Governed]:
    """An upload with its project.

    Raises:
        NotFound: there is none.
    """
    return beneath(session, tables.Upload, upload_id)


def resource_of(row: tables.Upload, project: Governed) -> Resource:
    """An upload as something that is acted on: only its provider may know of its parts and manifest."""
    entity = Entity(
        Reference("Upload", row.id),
        {
            "agreement": Reference("Agreement", project.row.agreement),
            "project": Reference("Project", row.project),
            "organisation": organisation_reference(row.organisation),
            "delete_by": _date_agreed(row, project),
        },
        parents=(Reference("Project", row.project),),
    )
    return project.beneath(kind="upload", entity=entity)


def _date_agreed(row: tables.Upload, project: Governed) -> datetime:
    """The date by which the agreement has an upload deleted.

    That of a closed key epoch is due at once. It takes nothing more either, and `check_receiving` says why.
    """
    if row.key_epoch == project.row.key_epoch:
        return row.delete_by
    return row.created_at + timedelta(days=project.agreement.document.retention.encodings_days)


def require_processing(operation: Operation, project: Governed, manifest: schemas.Manifest) -> None:
    """Lets the policy decide whether these encodings may come in: term, provider, fields, completeness and leakage."""
    schema = json.loads(project.row.linkage_schema)
    declared = frozenset(hashed_fields(schema))
    minimum = project.agreement.document.quality.min_completeness
    incomplete = frozenset(field for field, least in minimum.items() if manifest.completeness.get(field, 0.0) < least)
    declared_by_provider: dict[str, Attribute | None] = {
        "profile": manifest.encoding_profile,
        "reidentified": None if manifest.leakage is None else in_billionths(manifest.leakage.reidentified_300),
        "opt_outs_applied": manifest.opt_outs_applied_at,
    }
    operation.require(
        project.resource(),
        fields=declared,
        incomplete_fields=incomplete,
        tier=TIERS.index(tier_of(manifest.encoding_profile)),
        **{name: value for name, value in declared_by_provider.items() if value is not None},
    )


def declare(
    operation: Operation, *, project: Governed, draft: schemas.UploadDraft, blobs: BlobStore, limits: Limits
) -> tables.Upload:
    """Accepts a manifest and opens an upload for its parts; an unfinished one of the same provider is deleted.

    Raises:
        Invalid: the manifest does not fit project or agreement.
        TooLarge: more than this service takes.
        Conflict: the other providers hold another secret, encoded under another profile, or normalised differently.
    """
    manifest = draft.manifest
    _check_manifest(operation.session, project, manifest)
    if manifest.size_bytes > limits.upload_bytes or draft.part_size_bytes > limits.part_bytes:
        raise TooLarge(
            f"The upload may have {limits.upload_bytes} bytes in parts of {limits.part_bytes} at most. "
            "Choose smaller parts, or ask the operator."
        )
    mine, others = _live_by_ownership(operation, project)
    epoch = check_values.present(operation.session, project.row.id, project.row.key_epoch)
    stated = manifest.key.check_value
    # One that is only declared binds nobody: what is complete first says which secret it is.
    complete = [other.check_value for other in others if other.state == "complete"]
    if any(not hmac.compare_digest(value, stated) for value in complete) or check_values.is_of_another_secret(
        operation.session, epoch, stated, by=operation.caller.organisation
    ):
        raise Conflict(
            "These encodings were made with another secret than those of the other providers, so nothing would match. "
            "Compare the secret's check value with the other providers, and encode again with the shared secret.",
            code="other_secret",
        )
    agreed = project.agreement.document.security.encoding_profile
    profiles = {tables.encoding_profile_of(other) for other in others} if agreed is None else {agreed}
    if profiles - {manifest.encoding_profile}:
        raise Conflict(
            "These encodings name another encoding profile than the agreement, or than the other providers where it "
            "names none. The key of encodings follows from the profile's name, so nothing would match. Encode again "
            "with the agreed name.",
            code="other_profile",
        )
    if any(_differs(_normalisation_of(other), manifest.normalisation_sha256) for other in others):
        raise Conflict(
            "These values were normalised differently from those of the other providers, so that equal people would "
            "not match. Agree with the other providers on one normalisation, and encode again with it.",
            code="other_normalisation",
        )
    for unfinished in mine:
        if unfinished.state == "receiving":
            _discard(operation, unfinished)
    _check_room(operation, manifest.size_bytes, limits)
    row = tables.Upload(
        id=new_id("upl", operation.now),
        project=project.row.id,
        organisation=operation.caller.organisation,
        state="receiving",
        manifest=manifest.model_dump_json(),
        count=manifest.count,
        bits=manifest.bits,
        size_bytes=manifest.size_bytes,
        sha256=manifest.sha256,
        check_value=manifest.key.check_value,
        key_epoch=project.row.key_epoch,
        part_size_bytes=draft.part_size_bytes,
        parts_expected=-(-manifest.size_bytes // draft.part_size_bytes),
        data_key=blobs.new_data_key().wrapped,
        created_at=operation.now,
        completed_at=None,
        delete_by=operation.now + timedelta(days=project.agreement.document.retention.encodings_days),
    )
    operation.session.add(row)
    probing.make_key(operation.session, blobs, project=project.row.id)
    operation.record(
        EventType.UPLOAD_DECLARED,
        resource=events.Resource("upload", row.id),
        counts={"records": row.count, "bytes": row.size_bytes},
    )
    return row


def _check_room(operation: Operation, size_bytes: int, limits: Limits) -> None:
    operation.session.flush()
    counted = tables.live_by_state(operation.session, organisation=operation.caller.organisation)
    unfinished, _ = counted.get("receiving", (0, 0))
    if unfinished >= limits.open_uploads:
        raise Limited(
            f"Your organisation has {unfinished} uploads that are not complete, the most this service takes. "
            "Complete or delete one, then declare this one again.",
            retry_after_s=60,
            code="too_many_uploads",
        )
    if sum(size for _, size in counted.values()) + size_bytes > limits.organisation_bytes:
        raise TooLarge(
            f"All uploads of your organisation together may have {limits.organisation_bytes} bytes. Delete what is "
            "not needed any more, or ask the operator.",
            code="upload_quota",
        )


def declared_digest(header: str | None) -> str:
    """The SHA-256 in a Content-Digest header (RFC 9530), hex.

    Raises:
        Invalid: there is none.
    """
    found = _CONTENT_DIGEST.search(header or "")
    if found is None:
        wrong = FieldError("/header/content-digest", "missing", "Send Content-Digest: sha-256=:<base64>: of the part.")
        raise Invalid("The part has no SHA-256 digest, so it could not be checked on arrival.", errors=[wrong])
    return base64.b64decode(found.group(1)).hex()


def expected_size(row: tables.Upload, number: int) -> int:
    """How many bytes a part must have.

    Raises:
        NotFound: the upload has no such part.
    """
    if not 1 <= number <= row.parts_expected:
        raise NotFound(f"This upload has parts 1 to {row.parts_expected}.")
    before = (number - 1) * row.part_size_bytes
    return min(row.part_size_bytes, row.size_bytes - before)


def _is_of_present_epoch(session: Session, row: tables.Upload) -> bool:
    """Whether an upload was made with the project's present secret."""
    project = projects.project(session, row.project)
    return project is not None and project.key_epoch == row.key_epoch


def check_receiving(session: Session, row: tables.Upload) -> None:
    """Refuses parts for an upload that takes none.

    Raises:
        ClosedEpoch: its secret was given up.
        Conflict: it is complete or deleted.
    """
    if not _is_of_present_epoch(session, row):
        raise ClosedEpoch(closed_because(session, project=row.project, epoch=row.key_epoch))
    if row.state != "receiving":
        raise Conflict("This upload takes no more parts: it is complete or was deleted. Declare a new one.")


def check_part(session: Session, row: tables.Upload, part: ReceivedPart) -> None:
    """Compares what came with what was declared.

    Raises:
        Invalid: a part that was cut, or changed on its way.
    """
    check_receiving(session, row)
    size = expected_size(row, part.number)
    if part.size_bytes != size:
        wrong = FieldError("/body", "wrong_size", f"This part must have {size} bytes.")
        raise Invalid(
            "The part has another size than declared: it was cut or is another part. Send it again.", errors=[wrong]
        )
    if not hmac.compare_digest(part.sha256, part.declared_sha256):
        wrong = FieldError("/header/content-digest", "digest_differs", "The bytes that came have another SHA-256.")
        raise Invalid("The part was changed on its way. Send it again.", errors=[wrong])


def blob_key(upload_id: str, number: int, sha256: str) -> str:
    """Where a part is kept. The digest is in the name, so a part that comes late cannot replace one that counts."""
    return f"uploads/{upload_id}/part-{number:06d}-{sha256}"


def blob_keys(session: Session, upload_id: str) -> list[str]:
    """Where the parts that count are kept, in order."""
    return [blob_key(upload_id, part.number, part.sha256) for part in tables.parts(session, upload_id)]


def record_part(operation: Operation, *, row: tables.Upload, part: ReceivedPart) -> None:
    """Notes a part whose blob is stored."""
    session = operation.session
    check_part(session, row, part)
    known = tables.part(session, row.id, part.number) or tables.UploadPart(
        upload=row.id, number=part.number, size_bytes=part.size_bytes, sha256=part.sha256
    )
    known.sha256 = part.sha256
    session.add(known)
    operation.record(
        EventType.UPLOAD_PART_RECEIVED,
        resource=events.Resource("upload", row.id),
        counts={"part": part.number, "bytes": part.size_bytes},
    )


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the stored bytes of an upload say.

    Attributes:
        parts: the parts that were read, by number, with their digests.
        sha256: of the whole, hex.
        statistics: of its bits.
        sketch: to compare it with other uploads; None where the project has no key for that.
    """

    parts: tuple[tuple[int, str], ...]
    sha256: str
    statistics: Statistics
    sketch: Sketch | None


def inspect(session: Session, blobs: BlobStore, row: tables.Upload) -> Inspected | None:
    """Reads an upload as it is stored; None while parts are missing or once it is deleted."""
    parts = tables.parts(session, row.id)
    if row.data_key is None or [part.number for part in parts] != list(range(1, row.parts_expected + 1)):
        return None
    key = blobs.unwrap(row.data_key)
    places = [blob_key(row.id, part.number, part.sha256) for part in parts]
    whole, readings = hashlib.sha256(), count()

    def read() -> Iterator[bytes]:
        first = next(readings) == 0
        for part in blobs.get_many(places, data_key=key):
            if first:
                whole.update(part)
            yield part

    probe_key = tables.probe_key(session, row.project)
    sketch = None if probe_key is None else Sketch(key=blobs.unwrap(probe_key.data_key).plain)
    statistics = measure(read, rows=row.count, bits=row.bits, each=sketch.add if sketch else None)
    return Inspected(parts=_named(parts), sha256=whole.hexdigest(), statistics=statistics, sketch=sketch)


def _named(parts: Sequence[tables.UploadPart]) -> tuple[tuple[int, str], ...]:
    return tuple((part.number, part.sha256) for part in parts)


class NotAccepted(Invalid):
    """What was uploaded cannot be what it claims to be."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """What was deleted, and whose blobs can therefore be removed.

    Attributes:
        upload: id of the upload.
        runs: ids of the unfinished runs of it, which have lost their keys with it.
    """

    upload: str
    runs: list[str]


def complete(operation: Operation, *, row: tables.Upload, inspected: Inspected | None) -> list[Discarded]:
    """Makes an upload the provider's one upload of the project; the one before is deleted.

    Args:
        operation: the use case in progress.
        row: the upload.
        inspected: what `inspect` gave just before.

    Returns:
        What was deleted.

    Raises:
        Conflict: parts are missing or were sent again meanwhile, or the upload is not being received, or it looks like
            probing, or its epoch is known by another secret by now.
        Invalid: the whole is not what the manifest says.
        NotAccepted: its bits are not what the manifest says.
    """
    session = operation.session
    check_receiving(session, row)
    received = tables.parts(session, row.id)
    if inspected is None or len(received) != row.parts_expected:
        raise Conflict(
            f"{row.parts_expected - len(received)} of {row.parts_expected} parts are missing. "
            "Send them, then complete again."
        )
    if inspected.parts != _named(received):
        # What was judged is no longer what is stored.
        raise Conflict("Parts changed while they were checked. Complete again.", code="parts_changed")
    if not hmac.compare_digest(inspected.sha256, row.sha256):
        wrong = FieldError("/manifest/sha256", "digest_differs", "The parts together have another SHA-256.")
        raise Invalid(
            "The upload as a whole is not what its manifest says. Delete it and upload again from one encodings file.",
            errors=[wrong],
        )
    questions = _judged(row, inspected.statistics) + probing.compare(operation, row=row, sketch=inspected.sketch)
    project = governed(session, row.project)
    replaced = [other for other in _live_by_ownership(operation, project)[0] if other.id != row.id]
    discarded = [_discard(operation, other) for other in replaced]
    check_values.settle_upload(
        session,
        project=row.project,
        number=row.key_epoch,
        check_value=row.check_value,
        by=row.organisation,
        now=operation.now,
    )
    row.state, row.completed_at = "complete", operation.now
    session.add(row)
    operation.record(
        EventType.UPLOAD_COMPLETED,
        resource=events.Resource("upload", row.id),
        counts={"records": row.count, "bytes": row.size_bytes},
    )
    _question(operation, row, questions)
    return discarded


def _judged(row: tables.Upload, statistics: Statistics) -> list[Found]:
    profile = tables.encoding_profile_of(row)
    verdict = judge(statistics, profile=profile, bits=row.bits)
    if verdict.refusal is not None:
        code, message = verdict.refusal.code, verdict.refusal.message
        wrong = FieldError("/manifest/encoding_profile", code, message)
        raise NotAccepted(f"{message} The encodings were deleted.", code=code, errors=[wrong])
    return list(verdict.findings)


def _question(operation: Operation, row: tables.Upload, questions: Sequence[Found]) -> None:
    if not questions:
        return
    for found in questions:
        operation.session.add(
            tables.UploadFinding(upload=row.id, code=found.code, message=found.message, at=operation.now)
        )
    # Other parties read the header. It says what kind of question there is, and nothing of how many rows it is about.
    operation.record(
        EventType.UPLOAD_QUESTIONED,
        resource=events.Resource("upload", row.id),
        counts={found.code: 1 for found in questions},
        detail={"findings": [{"code": found.code, "message": found.message} for found in questions]},
    )


def delete(operation: Operation, *, row: tables.Upload) -> Discarded:
    """Deletes an upload: its data key at once, which makes every copy of its blobs noise; then the blobs.

    What unfinished runs have stored of its comparisons goes the same way.

    Raises:
        Conflict: it is deleted already.
    """
    if row.state == "deleted":
        raise Conflict("This upload is deleted already.")
    return _discard(operation, row)


def render(session: Session, row: tables.Upload) -> schemas.Upload:
    """An upload for its provider."""
    return schemas.Upload(
        id=row.id,
        project=row.project,
        organisation=row.organisation,
        state=row.state,
        manifest=schemas.KeptManifest.model_validate_json(row.manifest),
        size_bytes=row.size_bytes,
        part_size_bytes=row.part_size_bytes,
        parts_expected=row.parts_expected,
        parts_received=[part.number for part in tables.parts(session, row.id)],
        created_at=row.created_at,
        completed_at=row.completed_at,
        delete_by=row.delete_by,
        findings=_rendered_findings(session, row),
        **_usability(session, row),
    )


def _usability(session: Session, row: tables.Upload) -> dict[str, Any]:
    because = None
    if not _is_of_present_epoch(session, row):
        because = closed_because(session, project=row.project, epoch=row.key_epoch)
    elif row.state == "deleted":
        because = "Its encodings were deleted. Declare a new upload."
    return {"key_epoch": row.key_epoch, "usable": because is None, "unusable_because": because}


def _rendered_findings(session: Session, row: tables.Upload) -> list[schemas.UploadFinding]:
    return [schemas.UploadFinding(code=found.code, message=found.message) for found in tables.findings(session, row.id)]


def render_summary(session: Session, row: tables.Upload, *, caller: Caller) -> schemas.UploadSummary:
    """An upload for any party; its digest only for its own provider, who finds an interrupted upload by it.

    Findings are for its provider and for the linkage unit's officers.
    """
    organisation = caller.organisation
    sees = row.organisation == organisation or caller.oversees
    return schemas.UploadSummary(
        id=row.id,
        project=row.project,
        organisation=row.organisation,
        state=row.state,
        count=row.count,
        sha256=row.sha256 if row.organisation == organisation else None,
        created_at=row.created_at,
        completed_at=row.completed_at,
        delete_by=row.delete_by,
        findings=_rendered_findings(session, row) if sees else None,
        **_usability(session, row),
    )


def _check_manifest(session: Session, project: Governed, manifest: schemas.Manifest) -> None:
    row = project.row
    checks = (
        (
            manifest.linkage_schema_sha256 == row.linkage_schema_sha256,
            "/manifest/linkage_schema_sha256",
            "other_schema",
            "The encodings were made with another linkage schema. Fetch the project's schema and encode again.",
        ),
        (
            manifest.bits == row.bits,
            "/manifest/bits",
            "wrong_length",
            f"The project's encodings have {row.bits} bits. Encode again with the project's schema.",
        ),
        (
            manifest.key.epoch == row.key_epoch,
            "/manifest/key/epoch",
            "other_epoch",
            _other_epoch(session, project, manifest.key.epoch),
        ),
        (
            set(hashed_fields(json.loads(row.linkage_schema))) == set(manifest.completeness),
            "/manifest/completeness",
            "other_fields",
            "Declare the completeness of exactly the hashed fields of the linkage schema.",
        ),
        (
            set(manifest.validity or ()) <= set(manifest.completeness),
            "/manifest/validity",
            "other_fields",
            "Declare the validity of hashed fields of the linkage schema only.",
        ),
    )
    errors = [FieldError(pointer, code, detail) for holds, pointer, code, detail in checks if not holds]
    if errors:
        raise Invalid(f"The upload does not fit the project. {errors[0].detail}", errors=errors)


def _other_epoch(session: Session, project: Governed, epoch: int) -> str:
    present = f"The project's secret is in epoch {project.row.key_epoch}."
    if epoch < project.row.key_epoch:
        return f"{present} {closed_because(session, project=project.row.id, epoch=epoch)}"
    return f"{present} Encode again with the present secret."


def _normalisation_of(row: tables.Upload) -> str | None:
    digest = json.loads(row.manifest).get("normalisation_sha256")
    return digest if isinstance(digest, str) else None


def _differs(one: str | None, other: str | None) -> bool:
    # Encodings that another tool made say nothing of their normalisation; that is their provider's to judge.
    return one is not None and other is not None and one != other


def _live_by_ownership(operation: Operation, project: Governed) -> tuple[list[tables.Upload], list[tables.Upload]]:
    mine: list[tables.Upload] = []
    others: list[tables.Upload] = []
    for live in tables.live_uploads(operation.session, project.row.id):
        if live.organisation == operation.caller.organisation:
            mine.append(live)
        elif live.key_epoch == project.row.key_epoch:
            others.append(live)
    return mine, others


def destroy_keys(session: Session, row: tables.Upload) -> Discarded:
    """Deletes an upload's data key, and those of its unfinished runs; the caller records the event."""
    row.state, row.data_key = "deleted", None
    session.add(row)
    unfinished = runs.unfinished_with(session, row.id)
    for run in unfinished:
        run.data_key = None
        session.add(run)
    return Discarded(upload=row.id, runs=[run.id for run in unfinished])


def remove_blobs(blobs: BlobStore, gone: Discarded) -> None:
    """Removes what is stored of an upload whose key is destroyed, and of its unfinished runs."""
    try:
        if gone.upload:
            blobs.delete_prefix(f"uploads/{gone.upload}")
    except StorageError as error:
        # The key that opened them is gone for good, and so the deletion is done: what is left is noise.
        _log.warning("blobs_left", upload=gone.upload, code=error.instance_code)
    for run in gone.runs:
        results.remove(blobs, run_id=run)


def _discard(operation: Operation, row: tables.Upload) -> Discarded:
    discarded = destroy_keys(operation.session, row)
    operation.record(
        EventType.UPLOAD_DELETED, resource=events.Resource("upload", row.id), counts={"records": row.count}
    )
    return discarded
