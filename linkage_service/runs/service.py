"""Use cases of runs: ask for one, cancel it, read it; and the steps of the worker that carries it out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.decide import Entity, Reference, Resource
from linkage_service.access.guard import Operation
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Entry, entry
from linkage_service.errors import Conflict, NotFound
from linkage_service.ids import new_id
from linkage_service.problems import Problem
from linkage_service.projects.service import Governed, governed
from linkage_service.runs import schemas, tables
from linkage_service.runs.suppression import ROUNDED_TO, shown_counts
from linkage_service.uploads import tables as uploads

FINISHED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that a worker holds.

    Attributes:
        run: its id.
        attempt: which attempt this is; a result counts only if the run is still in this attempt.
        worker: who holds it.
    """

    run: str
    attempt: int
    worker: str


@dataclass(frozen=True, slots=True)
class Result:
    """What the worker found.

    Attributes:
        groups: groups of two rows and more.
        patterns: how many groups each combination of upload positions shares; single positions are rows without a
            match.
        seconds: how long it took.
        data_key: the wrapped key that opens the stored groups.
    """

    groups: int
    patterns: dict[tuple[int, ...], int]
    seconds: float
    data_key: bytes


def existing(session: Session, run_id: str) -> tuple[tables.Run, Governed]:
    """A run with its project.

    Raises:
        NotFound: there is none.
    """
    row = tables.run(session, run_id)
    if row is None:
        raise NotFound("There is no such run, or it is not yours to see.")
    return row, governed(session, row.project)


def resource_of(row: tables.Run, project: Governed, now: datetime) -> Resource:
    """A run as something that is acted on."""
    entity = Entity(
        Reference("Run", row.id),
        {
            "agreement": Reference("Agreement", project.row.agreement),
            "project": Reference("Project", row.project),
        },
        parents=(Reference("Project", row.project),),
    )
    return project.beneath(kind="run", entity=entity, now=now)


def request(operation: Operation, *, project: Governed, threshold: float) -> tables.Run:
    """Queues a run on the complete uploads of every provider.

    Raises:
        Conflict: a provider has not uploaded yet.
    """
    session = operation.session
    ready = uploads.complete_uploads(session, project.row.id)
    awaited = len(set(project.providers) - {upload.organisation for upload in ready})
    if awaited:
        raise Conflict(
            f"{awaited} of {len(project.providers)} providers have not completed their upload yet; "
            "the project's list of uploads says who. Start the run when all are there.",
            code="uploads_awaited",
        )
    row = tables.Run(
        id=new_id("run", operation.now),
        project=project.row.id,
        state="queued",
        threshold=threshold,
        attempt=0,
        worker=None,
        lease_expires_at=None,
        phase="queued",
        done=0,
        total=sum(a.count * b.count for a, b in combinations(ready, 2)),
        error_code=None,
        error_detail=None,
        groups=None,
        seconds=None,
        patterns=None,
        data_key=None,
        created_at=operation.now,
        started_at=None,
        finished_at=None,
    )
    session.add(row)
    session.flush()
    session.add_all(
        tables.RunUpload(
            run=row.id, position=position, upload=upload.id, organisation=upload.organisation, count=upload.count
        )
        for position, upload in enumerate(ready)
    )
    operation.record(EventType.RUN_REQUESTED, resource=events.Resource("run", row.id), counts={"uploads": len(ready)})
    return row


def cancel(operation: Operation, *, row: tables.Run) -> tables.Run:
    """Cancels a run; a worker that holds it notices at its next look.

    Raises:
        Conflict: it has finished.
    """
    if row.state in FINISHED:
        raise Conflict("This run has finished, so there is nothing to cancel.")
    row.state, row.finished_at, row.worker, row.lease_expires_at = "cancelled", operation.now, None, None
    operation.session.add(row)
    operation.record(EventType.RUN_CANCELLED, resource=events.Resource("run", row.id))
    return row


def started(session: Session, *, run_id: str, now: datetime) -> Entry:
    """Notes that a worker has begun, and gives the event of it."""
    row, project = existing(session, run_id)
    row.started_at = row.started_at or now
    session.add(row)
    return _worker_event(EventType.RUN_STARTED, row, project, now=now, counts={"attempt": row.attempt})


def succeeded(session: Session, *, claim: Claim, result: Result, now: datetime) -> Entry | None:
    """Keeps a result, if the run is still the claim's and no upload was withdrawn meanwhile."""
    row, project = existing(session, claim.run)
    if not _holds(row, claim):
        return None
    if any(state != "complete" for state in tables.upload_states(session, claim.run)):
        return failed(
            session,
            claim=claim,
            code="upload_gone",
            detail="An upload of this run was deleted or replaced while it was matched. Start a new run.",
            now=now,
        )
    row.state, row.phase, row.done, row.finished_at = "succeeded", "done", row.total, now
    row.groups, row.seconds, row.data_key = result.groups, result.seconds, result.data_key
    row.patterns = [
        {"positions": list(positions), "groups": count} for positions, count in sorted(result.patterns.items())
    ]
    row.worker = row.lease_expires_at = None
    session.add(row)
    return _worker_event(EventType.RUN_SUCCEEDED, row, project, now=now, counts={"attempt": row.attempt})


def failed(session: Session, *, claim: Claim, code: str, detail: str, now: datetime) -> Entry | None:
    """Ends a run that cannot succeed, if it is still the claim's; None otherwise."""
    row, project = existing(session, claim.run)
    if not _holds(row, claim):
        return None
    row.state, row.error_code, row.error_detail, row.finished_at = "failed", code, detail, now
    row.worker = row.lease_expires_at = None
    session.add(row)
    return _worker_event(
        EventType.RUN_FAILED,
        row,
        project,
        now=now,
        counts={"attempt": row.attempt},
        outcome=events.Outcome("failed", code),
    )


def overlap(membership: Sequence[NDArray[np.int64]], *, groups: int) -> dict[tuple[int, ...], int]:
    """How many groups each combination of data sets shares; one data set alone: its rows without a match.

    Args:
        membership: for each data set the group of each row, -1 for a row without a match.
        groups: how many groups there are.
    """
    holders = np.zeros(groups, dtype=np.int64)
    patterns: dict[tuple[int, ...], int] = {}
    for position, rows in enumerate(membership):
        matched = rows[rows >= 0]
        holders[matched] |= 1 << position
        patterns[(position,)] = len(rows) - len(matched)
    for mask, count in zip(*np.unique(holders, return_counts=True), strict=True):
        patterns[tuple(position for position in range(len(membership)) if int(mask) >> position & 1)] = int(count)
    return patterns


def render(session: Session, row: tables.Run, *, request_id: str) -> schemas.Run:
    """A run for the wire."""
    session.flush()
    return schemas.Run(
        id=row.id,
        project=row.project,
        state=row.state,
        threshold=row.threshold,
        uploads=[
            schemas.RunUpload(id=item.upload, organisation=item.organisation, count=item.count)
            for item in tables.uploads_of(session, row.id)
        ],
        progress=schemas.Progress(phase=row.phase, done=row.done, total=row.total),
        attempt=row.attempt,
        error=Problem(
            type=f"urn:linkage:problem:{row.error_code}",
            title="The run failed",
            status=500,
            detail=row.error_detail or "",
            code=row.error_code,
            request_id=request_id,
        )
        if row.error_code
        else None,
        metrics=schemas.Metrics(pairs_compared=row.total, seconds=row.seconds)
        if row.groups is not None and row.seconds is not None
        else None,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def summarise(operation: Operation, *, row: tables.Run, project: Governed) -> schemas.Summary:
    """The overlap of providers, disclosed: recorded, rounded to 5 and suppressed below the agreement's minimum.

    Raises:
        Conflict: the run has no result.
    """
    if row.state != "succeeded" or row.patterns is None:
        raise Conflict("This run has no result to summarise.", code="no_result")
    organisations = [item.organisation for item in tables.uploads_of(operation.session, row.id)]
    least = project.agreement.document.data.min_group_count
    counts = {tuple(pattern["positions"]): int(pattern["groups"]) for pattern in row.patterns}
    operation.record(EventType.SUMMARY_RETRIEVED, resource=events.Resource("run", row.id))
    return schemas.Summary(
        run=row.id,
        patterns=[
            schemas.Pattern(organisations=[organisations[position] for position in positions], groups=count)
            for positions, count in shown_counts(counts, providers=len(organisations), least=least).items()
        ],
        rounded_to=ROUNDED_TO,
        suppressed_below=least,
    )


def _holds(row: tables.Run, claim: Claim) -> bool:
    return row.state == "running" and row.worker == claim.worker and row.attempt == claim.attempt


def _worker_event(
    event_type: EventType,
    row: tables.Run,
    project: Governed,
    *,
    now: datetime,
    counts: dict[str, int],
    outcome: events.Outcome | None = None,
) -> Entry:
    agreement = project.agreement.reference
    return entry(
        now=now,
        event_type=event_type,
        actor=events.Actor("system", "worker"),
        resource=events.Resource("run", row.id),
        agreement=events.AgreementRef(agreement.reference, agreement.version, agreement.digest),
        project=row.project,
        action="carryOutRun",
        outcome=outcome or events.Outcome("success", "ok"),
        counts=counts,
        request_id=f"{row.id}.{row.attempt}",
        source="worker",
    )
