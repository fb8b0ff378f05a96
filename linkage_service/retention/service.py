"""What is past its date, and how each thing is deleted: its key first, in one transaction with the ledger event.

Dates bind whatever state the agreement is in. What a hold keeps on one of the grounds of `KEEPING_GROUNDS` is not
deleted while the hold lasts; it is listed as overdue instead.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import rfc8785
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.actions import Action
from linkage_service.access.decide import AgreementReference
from linkage_service.access.guard import Operation
from linkage_service.agreements.document import AgreementDocument
from linkage_service.audit import tables as audit_tables
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Entry, body_of, entry
from linkage_service.errors import Conflict, NotFound
from linkage_service.ids import new_id
from linkage_service.keys import tables as keys
from linkage_service.link_tables import recipient_keys
from linkage_service.link_tables import tables as link_tables
from linkage_service.link_tables.tables import Release
from linkage_service.projects.service import Governed, governed
from linkage_service.projects.tables import all_projects, projects_of_agreement, providers
from linkage_service.retention import schemas, tables
from linkage_service.rights import tables as rights
from linkage_service.runs import service as runs
from linkage_service.runs.tables import Run, unfinished_of_project, uploads_of
from linkage_service.uploads import probing
from linkage_service.uploads import service as uploads
from linkage_service.uploads.tables import Upload, all_sketches, live_uploads, probe_key, sketches_past

ACTION = "retention"
# By the action of the event; whatever else a caller did was a request.
_DELETED_BY = {ACTION: "retention", Action.CARRY_OUT_RUN.value: "run"}
# A certificate is a note of a limited length, and is read by people.
_ITEMS_MAX = 200
_BODIES_AT_ONCE = 10_000
_BODIES_IN_STATEMENT = 500

Kind = Literal["upload", "run", "release"]
Reason = Literal["date", "agreement_ended", "agreement_terminated", "epoch_closed", "deleted_since_backup"]


@dataclass(frozen=True, slots=True)
class Due:
    """Something past its date.

    Attributes:
        kind: what it is.
        id: its id.
        project: the project it belongs to.
        due_at: when it should have been deleted.
        reason: which date that is.
        held: the ground of the hold that keeps it; None where it is to be deleted.
    """

    kind: Kind
    id: str
    project: str
    due_at: datetime
    reason: Reason
    held: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """Something that was deleted and is to be settled.

    Attributes:
        kind: what it is.
        id: its id.
        project: the project it belongs to.
        prefix: where its blobs were; None for what has none.
        seq: the ledger event of its deletion.
        document: what a certificate says of it.
    """

    kind: Kind
    id: str
    project: str
    prefix: str | None
    seq: int
    document: dict[str, Any]


class Terms:
    """Agreements of projects, each read once."""

    def __init__(self, session: Session, *, now: datetime) -> None:
        self._session = session
        self._now = now
        self._known: dict[str, Governed] = {}

    def of(self, project_id: str) -> Governed:
        """A project under its agreement."""
        if project_id not in self._known:
            self._known[project_id] = governed(self._session, project_id)
        return self._known[project_id]

    def first_past(self, project_id: str, delete_by: datetime) -> tuple[datetime, Reason] | None:
        """The first date by which something of a project was to be deleted; None while it may stay."""
        agreement = self.of(project_id).agreement
        ends = agreement.document.review.ends
        dates: list[tuple[datetime, Reason]] = [(delete_by, "date"), (ends, "agreement_ended")]
        if agreement.row.state == "terminated":
            event = audit_tables.event_about(self._session, EventType.AGREEMENT_TERMINATED, agreement.row.id)
            dates.append((datetime.fromisoformat(event.time) if event else self._now, "agreement_terminated"))
        return min((date for date in dates if date[0] <= self._now), default=None)


def due(session: Session, *, now: datetime) -> list[Due]:
    """Everything past its date, what a hold keeps included: uploads, then runs, then releases."""
    terms = Terms(session, now=now)
    kept = _kept_by_holds(session)
    found: list[Due] = []

    def judge(kind: Kind, row: Upload | Run | Release, delete_by: datetime, *, dated: Reason = "date") -> None:
        past = terms.first_past(row.project, delete_by)
        if past is not None:
            at, which = past
            reason = dated if which == "date" else which
            found.append(Due(kind, row.id, row.project, at, reason, held=kept.get((kind, row.id))))

    for upload in tables.kept_uploads(session):
        closed = upload.key_epoch < terms.of(upload.project).row.key_epoch
        judge("upload", upload, upload.delete_by, dated="epoch_closed" if closed else "date")
    for run in tables.kept_runs(session):
        judge("run", run, delete_by_of(run, terms))
    for release in tables.kept_releases(session):
        judge("release", release, release.delete_by)
    return found


def _kept_by_holds(session: Session) -> dict[tuple[str, str], str]:
    """Runs and releases that holds keep, with the ground: a table is kept with its run, and a run with its tables."""
    kept = {}
    for hold in rights.standing_holds(session):
        if hold.ground not in rights.KEEPING_GROUNDS:
            continue
        kept[hold.kind, hold.object] = hold.ground
        if hold.kind == "release":
            release = session.get(Release, hold.object)
            kept |= {} if release is None else {("run", release.run): hold.ground}
        else:
            kept |= {
                ("release", release_id): hold.ground for release_id in tables.releases_of_run(session, hold.object)
            }
    return kept


def delete_by_of(run: Run, terms: Terms) -> datetime:
    """Until when a run's result may be kept; runs of releases before the date was noted have it from their end."""
    days = terms.of(run.project).agreement.document.retention.link_tables_days
    return run.delete_by or (run.finished_at or run.created_at) + timedelta(days=days)


def delete(session: Session, item: Due, *, now: datetime, request_id: str) -> tuple[Entry, uploads.Discarded] | None:
    """Destroys the key of one thing and notes it; None if it was deleted, or put under a hold, meanwhile.

    Returns:
        The event, and whose blobs can be removed once the transaction is committed.
    """
    if (item.kind, item.id) in _kept_by_holds(session):
        return None
    project = governed(session, item.project)
    gone = uploads.Discarded(upload="", runs=[])
    match item.kind:
        case "upload":
            upload = session.get(Upload, item.id)
            if upload is None or upload.state == "deleted":
                return None
            gone = uploads.destroy_keys(session, upload)
            event_type, counts = EventType.UPLOAD_DELETED, {"records": upload.count}
        case "run":
            run = session.get(Run, item.id)
            if run is None or run.state != "succeeded":
                return None
            run.state, run.data_key, run.patterns, run.report = "deleted", None, None, None
            session.add(run)
            gone = uploads.Discarded(upload="", runs=[run.id])
            event_type, counts = EventType.RUN_DELETED, {"uploads": len(uploads_of(session, run.id))}
        case "release":
            release = session.get(Release, item.id)
            if release is None or release.deleted_at is not None:
                return None
            release.deleted_at = now
            session.add(release)
            event_type, counts = EventType.RELEASE_DELETED, {"releases": 1}
    event = system_event(
        event_type,
        now=now,
        resource=events.Resource(item.kind, item.id),
        agreement=project.agreement.reference,
        project=item.project,
        counts=counts,
        detail={"due": events.format_time(item.due_at), "reason": item.reason},
        request_id=request_id,
    )
    return event, gone


def ended_agreements(session: Session, *, now: datetime) -> list[tuple[str, AgreementReference]]:
    """Agreements whose present version is past its end, which the ledger does not know yet: ids and versions."""
    return [
        (agreement.id, AgreementReference(agreement.reference, version.version, version.digest))
        for agreement, version in tables.agreement_versions(session)
        if version.version == agreement.version
        and agreement.state in ("active", "suspended")
        and AgreementDocument.model_validate_json(version.document).review.ends <= now
        and not tables.end_noted(session, agreement.id, version.version)
    ]


def note_end(
    session: Session, agreement_id: str, reference: AgreementReference, *, now: datetime, request_id: str
) -> Entry:
    """Notes that an agreement has ended, and gives the event of it."""
    session.add(tables.AgreementEnd(agreement=agreement_id, version=reference.version, noted_at=now))
    return system_event(
        EventType.AGREEMENT_EXPIRED,
        now=now,
        resource=events.Resource("agreement", agreement_id),
        agreement=reference,
        request_id=request_id,
    )


@dataclass(frozen=True, slots=True)
class KeyDue:
    """A key of link ids that nothing may be made with any more."""

    agreement: str
    recipient: str
    epoch: int
    reference: AgreementReference


def over_agreements(session: Session, *, now: datetime) -> dict[str, AgreementReference]:
    """Agreements of which nothing is in force any more: terminated, or every version that ever was is past its end."""
    by_agreement: dict[str, list[tuple[bool, AgreementReference]]] = {}
    for agreement, version in tables.agreement_versions(session):
        if version.state not in ("active", "superseded"):
            continue
        ends = AgreementDocument.model_validate_json(version.document).review.ends
        reference = AgreementReference(agreement.reference, version.version, version.digest)
        over = agreement.state == "terminated" or ends <= now
        by_agreement.setdefault(agreement.id, []).append((over, reference))
    return {
        agreement_id: versions[-1][1]
        for agreement_id, versions in by_agreement.items()
        if all(over for over, _ in versions)
    }


def due_keys(session: Session, *, now: datetime) -> list[KeyDue]:
    """Keys of link ids under agreements that are over, except where a hold still keeps a release."""
    over = over_agreements(session, now=now)
    return [
        KeyDue(key.agreement, key.recipient, key.epoch, over[key.agreement])
        for key in link_tables.recipient_keys(session)
        if key.agreement in over
        and not link_tables.has_kept_release(session, agreement=key.agreement, recipient=key.recipient, epoch=key.epoch)
    ]


def delete_key(session: Session, key: KeyDue, *, now: datetime, request_id: str) -> Entry | None:
    """Deletes a key of link ids, so that nobody can make or recompute these ids again; None if it is gone already."""
    if not recipient_keys.delete(session, agreement=key.agreement, recipient=key.recipient, epoch=key.epoch):
        return None
    return system_event(
        EventType.RELEASE_KEY_DELETED,
        now=now,
        resource=events.Resource("release", f"{key.agreement}/{key.recipient}/{key.epoch}"),
        agreement=key.reference,
        request_id=request_id,
    )


@dataclass(frozen=True, slots=True)
class SketchesDue:
    """What uploads were compared by and may not be any more.

    Attributes:
        projects: under agreements that are over, with a key or a sketch left.
        uploads: whose sketches are past the date of their encodings.
    """

    projects: Sequence[str]
    uploads: Sequence[str]


def due_sketches(session: Session, *, now: datetime) -> SketchesDue:
    """What uploads were compared by in projects under agreements that are over, and sketches past their date."""
    projects = [
        project.id
        for agreement_id in over_agreements(session, now=now)
        for project in projects_of_agreement(session, agreement_id)
        if probe_key(session, project.id) is not None or all_sketches(session, project.id)
    ]
    return SketchesDue(projects=projects, uploads=sketches_past(session, now))


def forget_sketches(session: Session, due: SketchesDue) -> None:
    """Destroys what uploads were compared by."""
    for upload_id in due.uploads:
        probing.forget_upload(session, upload=upload_id)
    for project_id in due.projects:
        probing.forget(session, project=project_id)


def due_envelopes(session: Session, *, now: datetime) -> list[str]:
    """Projects under agreements that are over, of which envelopes of their secret are kept."""
    kept = keys.projects_with_envelopes(session)
    over = over_agreements(session, now=now) if kept else {}
    return sorted(
        project.id for agreement in over for project in projects_of_agreement(session, agreement) if project.id in kept
    )


@dataclass(frozen=True, slots=True)
class ExchangesDue:
    """What is left of the exchange of secrets that protect nothing any more.

    Attributes:
        projects: closed, or under agreements that are over, without encodings: what their secrets were known by, and
            who held them.
        organisations: that take part in no other project: their earlier cards.
    """

    projects: Sequence[str]
    organisations: Sequence[str]


def due_exchanges(session: Session, *, now: datetime) -> ExchangesDue:
    """What is left of the exchange of secrets of projects that are over and of which all encodings are gone."""
    kept, earlier = keys.projects_with_exchange(session), keys.organisations_with_earlier_cards(session)
    if not kept and not earlier:
        return ExchangesDue([], [])
    over, encoded = over_agreements(session, now=now), {upload.project for upload in tables.kept_uploads(session)}
    gone: dict[str, bool] = {}
    took_part: dict[bool, set[str]] = {True: set(), False: set()}
    for project in all_projects(session):
        gone[project.id] = (project.state != "open" or project.agreement in over) and project.id not in encoded
        took_part[gone[project.id]] |= providers(session, project.id)
    return ExchangesDue(
        projects=sorted(project for project in kept if gone[project]),
        organisations=sorted(earlier & (took_part[True] - took_part[False])),
    )


def forget_exchanges(session: Session, due: ExchangesDue) -> None:
    """Deletes what is left of the exchange of secrets."""
    for project in due.projects:
        keys.forget_exchange(session, project)
    if due.organisations:
        keys.forget_earlier_cards(session, due.organisations)


def due_bodies(session: Session, *, now: datetime, ungoverned_days: int) -> list[int]:
    """Sequence numbers of events whose bodies are past their date, oldest first: at most so many at once.

    Args:
        session: a transaction.
        now: the time.
        ungoverned_days: how long bodies of events under no agreement are kept.
    """
    days: dict[str | None, dict[int, int]] = {None: {0: ungoverned_days}}
    for agreement, version in tables.agreement_versions(session):
        document = AgreementDocument.model_validate_json(version.document)
        days.setdefault(agreement.reference, {})[version.version] = document.retention.audit_bodies_days
    found: list[int] = []
    for reference, by_version in days.items():
        latest = {number: events.format_time(now - timedelta(days=kept)) for number, kept in by_version.items()}
        after = -1
        while len(found) < _BODIES_AT_ONCE:
            held = tables.held_bodies(
                session, agreement=reference, before=max(latest.values()), after=after, limit=_BODIES_IN_STATEMENT
            )
            if not held:
                break
            after = held[-1].seq
            found += [event.seq for event in held if event.time < latest.get(_version_of(event.header), "")]
    return sorted(found)[:_BODIES_AT_ONCE]


def dispose_of_bodies(session: Session, sequence: Sequence[int], *, now: datetime, request_id: str) -> Entry:
    """Takes the bodies from events, and gives the one event that says how many."""
    for start in range(0, len(sequence), _BODIES_IN_STATEMENT):
        tables.dispose_of_bodies(session, sequence[start : start + _BODIES_IN_STATEMENT])
    return system_event(
        EventType.AUDIT_BODIES_DISPOSED,
        now=now,
        resource=events.Resource("audit"),
        counts={"bodies": len(sequence)},
        request_id=request_id,
    )


def _version_of(header: bytes) -> int:
    agreement = json.loads(header).get("agreement")
    return int(agreement["version"]) if agreement else 0


def unsettled(session: Session, *, now: datetime) -> list[Item]:
    """What was deleted, by whomever, and has not been settled: in the order of the ledger."""
    terms = Terms(session, now=now)
    found = []
    for upload in tables.unsettled_uploads(session):
        manifest = hashlib.sha256(rfc8785.dumps(json.loads(upload.manifest))).hexdigest()
        found += _item(
            session,
            terms,
            "upload",
            upload,
            delete_by=upload.delete_by,
            says={
                "organisation": upload.organisation,
                "records": upload.count,
                "manifest_sha256": manifest,
                "how": ["data_key_destroyed", "blobs_removed"],
            },
        )
    for run in tables.unsettled_runs(session):
        found += _item(
            session,
            terms,
            "run",
            run,
            delete_by=delete_by_of(run, terms),
            says={
                "uploads": [item.upload for item in uploads_of(session, run.id)],
                "how": ["data_key_destroyed", "counts_removed", "blobs_removed"],
            },
        )
    for release in tables.unsettled_releases(session):
        found += _item(
            session,
            terms,
            "release",
            release,
            delete_by=release.delete_by,
            says={"run": release.run, "recipient": release.recipient, "how": ["retrieval_ended"]},
        )
    return sorted(found, key=lambda item: item.seq)


def _item(
    session: Session,
    terms: Terms,
    kind: Kind,
    row: Upload | Run | Release,
    *,
    delete_by: datetime,
    says: dict[str, Any],
) -> list[Item]:
    event = audit_tables.event_about(session, f"{kind}.deleted", row.id)
    if event is None:
        # The transaction that deletes records it as well, so there is none without.
        return []
    past = terms.first_past(row.project, delete_by)
    document = {
        "kind": kind,
        "id": row.id,
        **says,
        "due_at": events.format_time(past[0] if past else delete_by),
        "deleted_at": event.time,
        "deleted_by": _DELETED_BY.get(event.action or "", "request"),
        "ledger_seq": event.seq,
    }
    prefix = None if kind == "release" else f"{kind}s/{row.id}"
    return [Item(kind=kind, id=row.id, project=row.project, prefix=prefix, seq=event.seq, document=document)]


def certificates(items: Sequence[Item]) -> list[list[Item]]:
    """Items as certificates name them: those of one project together, not too many on one."""
    by_project: dict[str, list[Item]] = {}
    for item in items:
        by_project.setdefault(item.project, []).append(item)
    return [
        listed[start : start + _ITEMS_MAX]
        for listed in by_project.values()
        for start in range(0, len(listed), _ITEMS_MAX)
    ]


def certificate_text(
    items: Sequence[Item], *, certificate_id: str, project: Governed, origin: str, now: datetime
) -> str:
    """What is signed: one line of canonical JSON (RFC 8785), and the line's end."""
    agreement = project.agreement.reference
    document: dict[str, Any] = {
        "format": 1,
        "type": "certificate_of_disposal",
        "id": certificate_id,
        "service": origin,
        "issued_at": events.format_time(now),
        "project": project.row.id,
        "agreement": {
            "reference": agreement.reference,
            "version": agreement.version,
            "digest": agreement.digest,
        },
        "items": [item.document for item in items],
    }
    return rfc8785.dumps(document).decode() + "\n"


def settle(session: Session, items: Sequence[Item], *, certificate_id: str | None, now: datetime) -> None:
    """Notes that nothing is left of these items, and which certificate says so."""
    session.add_all(
        tables.Disposal(kind=item.kind, object=item.id, certificate=certificate_id, seq=item.seq, settled_at=now)
        for item in items
    )


def issued(certificate: tables.Certificate, project: Governed, *, now: datetime, request_id: str) -> Entry:
    """The event of a certificate."""
    return system_event(
        EventType.CERTIFICATE_ISSUED,
        now=now,
        resource=events.Resource("certificate", certificate.id),
        agreement=project.agreement.reference,
        project=project.row.id,
        counts={"items": certificate.items},
        request_id=request_id,
    )


def close(operation: Operation, *, project: Governed) -> list[uploads.Discarded]:
    """Closes a project: unfinished runs are cancelled, encodings deleted at once, results stay until their date.

    Returns:
        Whose blobs can be removed once the transaction is committed.

    Raises:
        Conflict: it is closed already.
    """
    session, row = operation.session, project.row
    if row.state != "open":
        raise Conflict("This project is closed already.")
    row.state, row.closed_at = "closed", operation.now
    session.add(row)
    cancelled = unfinished_of_project(session, row.id)
    for run in cancelled:
        runs.cancel(operation, row=run)
    session.flush()
    live = live_uploads(session, row.id)
    probing.forget(session, project=row.id)
    keys.empty_envelopes(session, row.id)
    gone = [uploads.delete(operation, row=upload) for upload in live]
    operation.record(
        EventType.PROJECT_CLOSED,
        resource=events.Resource("project", row.id),
        counts={"uploads": len(live), "runs": len(cancelled)},
    )
    return [*gone, uploads.Discarded(upload="", runs=[run.id for run in cancelled])]


def existing(session: Session, certificate_id: str) -> tuple[tables.Certificate, Governed]:
    """A certificate with its project.

    Raises:
        NotFound: there is none.
    """
    row = tables.certificate(session, certificate_id)
    if row is None:
        raise NotFound(NotFound.HIDDEN)
    return row, governed(session, row.project)


def render_summary(row: tables.Certificate) -> schemas.CertificateSummary:
    """A certificate in a list."""
    return schemas.CertificateSummary(id=row.id, project=row.project, items=row.items, created_at=row.created_at)


def render(row: tables.Certificate) -> schemas.Certificate:
    """A certificate with the document and its signature."""
    return schemas.Certificate(
        **render_summary(row).model_dump(), document=json.loads(row.note.partition("\n")[0]), note=row.note
    )


def new_certificate_id(now: datetime) -> str:
    """The id of a certificate that is about to be signed."""
    return new_id("crt", now)


def system_event(
    event_type: EventType,
    *,
    now: datetime,
    resource: events.Resource,
    request_id: str,
    agreement: AgreementReference | None = None,
    project: str | None = None,
    counts: dict[str, int] | None = None,
    detail: Mapping[str, object] | None = None,
) -> Entry:
    """An event of the service itself, which nobody asked for at that moment."""
    return entry(
        now=now,
        event_type=event_type,
        actor=events.Actor("system", "worker"),
        resource=resource,
        agreement=agreement and events.AgreementRef(agreement.reference, agreement.version, agreement.digest),
        project=project,
        action=ACTION,
        outcome=events.Outcome("success", "ok"),
        counts=counts,
        body=body_of(detail=detail),
        request_id=request_id,
        source="worker",
    )
