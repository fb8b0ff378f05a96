"""Use cases of runs: ask for one, cancel it, read it; and the steps of the worker that carries it out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.actions import Action
from linkage_service.access.callers import WorkerActor
from linkage_service.access.decide import Circumstance, Decision, Policy, Resource
from linkage_service.access.entities import Attribute, Entity, Reference, organisation_reference
from linkage_service.access.guard import Operation
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Entry, body_of, entry
from linkage_service.audit.tables import newest_time
from linkage_service.database import Database
from linkage_service.errors import Conflict
from linkage_service.ids import new_id
from linkage_service.organisations import tables as organisations
from linkage_service.problems import Problem
from linkage_service.projects.service import Governed, beneath, governed
from linkage_service.rights import withdrawals
from linkage_service.runs import reporting, results, schemas, tables
from linkage_service.runs.aims import Aim
from linkage_service.runs.suppression import ROUNDED_TO, shown_counts, told_pairs
from linkage_service.storage import BlobStore
from linkage_service.uploads import tables as uploads

_MILLION = 1_000_000
_FEWEST_PROVIDERS = 2
# Where there is nothing to delete. Dates of agreements end long before.
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
FINISHED = ("succeeded", "failed", "cancelled", "deleted")


class ClockBehindLog(Exception):
    """Nothing stands against a run but that the service's clock is behind its log: what is asked is asked again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that a worker holds.

    Attributes:
        run: its id.
        attempt: which attempt this is; a result counts only if the run is still in this attempt.
        worker: who holds it.
        traceparent: names the span of the request that asked for it; None where none is kept.
    """

    run: str
    attempt: int
    worker: str
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What the worker found.

    Attributes:
        patterns: how many groups each combination of upload positions shares, see `overlap`.
        seconds: how long it took.
        report: the engine's report, with exact counts.
    """

    patterns: dict[tuple[int, ...], int]
    seconds: float
    report: dict[str, Any]


def existing(session: Session, run_id: str) -> tuple[tables.Run, Governed]:
    """A run with its project.

    Raises:
        NotFound: there is none.
    """
    return beneath(session, tables.Run, run_id)


def resource_of(row: tables.Run, project: Governed) -> Resource:
    """A run as something that is acted on."""
    entity = Entity(
        Reference("Run", row.id),
        {
            "agreement": Reference("Agreement", project.row.agreement),
            "project": Reference("Project", row.project),
            "restricted": row.restricted,
        },
        parents=(Reference("Project", row.project),),
        key=("run", row.id, row.project, project.row.agreement, row.restricted),
    )
    return project.beneath(kind="run", entity=entity)


def request(
    operation: Operation, *, project: Governed, aim: Aim, blocking: bool, traceparent: str | None = None
) -> tables.Run:
    """Queues a run on the complete uploads of every provider.

    Raises:
        Conflict: a provider has not uploaded yet, all but one have left, or encodings of before working keys meet such
            as are made today.
    """
    session = operation.session
    if len(project.providers) < min(_FEWEST_PROVIDERS, len(project.agreement.document.organisations("provider"))):
        raise Conflict(
            "Only one provider takes part in this project, so there is nothing to link. Another provider of the "
            "agreement joins it, or a new project is opened.",
            code="too_few_providers",
        )
    ready = uploads.complete_uploads(session, project.row.id, epoch=project.row.key_epoch)
    awaited = len(set(project.providers) - {upload.organisation for upload in ready})
    if awaited:
        raise Conflict(
            f"{awaited} of {len(project.providers)} providers have not completed their upload yet; "
            "the project's list of uploads says who. Start the run when all are there.",
            code="uploads_awaited",
        )
    older = sum(uploads.derivation_of(upload) is None for upload in ready)
    if 0 < older < len(ready):
        raise Conflict(
            f"{older} of {len(ready)} uploads were encoded by an older version, with another kind of key than the "
            "rest, so nothing would match. Their providers encode again with a current linkage command, and upload; "
            "then start the run.",
            code="other_derivation",
        )
    row = tables.Run(
        id=new_id("run", operation.now),
        project=project.row.id,
        key_epoch=project.row.key_epoch,
        state="queued",
        aim=aim.kind,
        aim_value=aim.value,
        blocking=blocking,
        attempt=0,
        worker=None,
        lease_expires_at=None,
        phase="queued",
        traceparent=traceparent,
        done=0,
        total=sum(a.count * b.count for a, b in combinations(ready, 2)),  # the engine knows better once it has begun
        error_code=None,
        error_detail=None,
        seconds=None,
        patterns=None,
        report=None,
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
    operation.record(
        EventType.RUN_REQUESTED,
        resource=events.Resource("run", row.id),
        counts={"uploads": len(ready), "blocking": int(row.blocking), **_aim_counts(row)},
    )
    return row


def _aim_counts(row: tables.Run) -> dict[str, int]:
    """What a run aims at, in whole millionths: the ledger holds no fractions. The best F1 has no number."""
    return {} if row.aim_value is None else {f"{row.aim}_millionths": round(row.aim_value * _MILLION)}


def cancel(operation: Operation, *, row: tables.Run) -> tables.Run:
    """Cancels a run; a worker that holds it notices at its next look. What was stored of it is noise from now on.

    Raises:
        Conflict: it has finished.
    """
    if row.state in FINISHED:
        raise Conflict("This run has finished, so there is nothing to cancel.")
    row.state, row.finished_at, row.worker, row.lease_expires_at = "cancelled", operation.now, None, None
    row.data_key = None
    operation.session.add(row)
    operation.record(EventType.RUN_CANCELLED, resource=events.Resource("run", row.id))
    return row


def terms_of(session: Session, project: Governed, aim: Aim) -> dict[str, Attribute]:
    """What the policy judges of a run on the project's complete uploads: its aim, and the oldest of them."""
    ready = uploads.complete_uploads(session, project.row.id, epoch=project.row.key_epoch)
    applied = [uploads.opt_outs_applied_at(upload) for upload in ready]
    stated = [moment for moment in applied if moment is not None]
    terms: dict[str, Attribute] = {
        **aim.context(),
        "encodings_delete_by": min((upload.delete_by for upload in ready), default=_NEVER),
        "suspended_providers": _suspended(session, project.providers),
    }
    if stated and len(stated) == len(applied):
        terms["opt_outs_applied"] = min(stated)
    return terms


def terms_of_request(operation: Operation, project: Governed, aim: Aim) -> dict[str, Attribute]:
    """The same for a run that is asked for: where nothing is uploaded nothing is old, and `request` says what lacks."""
    terms = terms_of(operation.session, project, aim)
    if terms["encodings_delete_by"] == _NEVER:
        terms["opt_outs_applied"] = operation.now
    return terms


def _suspended(session: Session, organisation_ids: Sequence[str]) -> frozenset[Reference]:
    found = organisations.organisations(session, organisation_ids)
    return frozenset(organisation_reference(one) for one, row in found.items() if row.status == "suspended")


def _may_go_on(session: Session, row: tables.Run, project: Governed, *, policy: Policy, now: datetime) -> Decision:
    """Whether the agreement still allows a run, whoever asked for it and whenever.

    Raises:
        ClockBehindLog: it is refused, and for no reason that would hold by the right time.
    """
    newest = newest_time(session)

    def decided(at: Circumstance) -> Decision:
        return policy.decide(
            action=Action.CARRY_OUT_RUN,
            caller=WorkerActor(),
            resource=project.resource(),
            at=at,
            context=terms_of(session, project, aim_of(row)),
        )

    at = Circumstance(now=now, newest=newest, source="worker")
    decision = decided(at)
    _, behind = at.clock()
    if decision.allowed or not behind or newest is None:
        return decision
    # Either may be wrong, the clock or the log. An agreement that has not begun by the one, or has ended by the
    # other, is no reason to end the run: what refuses by both is.
    by_the_log = decided(Circumstance(now=newest, newest=newest, source="worker"))
    if not _refusing(decision) & _refusing(by_the_log):
        raise ClockBehindLog
    return decision


def _refusing(decision: Decision) -> set[str]:
    return {refusal.policy for refusal in decision.refusals}


def started(session: Session, *, run_id: str, data_key: bytes, policy: Policy, now: datetime) -> Entry:
    """Notes that a worker has begun, or that the agreement does not allow the run any more; gives the event of it.

    Args:
        session: the transaction of the claim.
        run_id: the run.
        data_key: a new wrapped key, which the run keeps unless an earlier attempt left one with its finished units.
        policy: decides.
        now: the time.

    Raises:
        ClockBehindLog: it can be begun when the clock has caught up.
    """
    row, project = existing(session, run_id)
    decision = _may_go_on(session, row, project, policy=policy, now=now)
    if not decision.allowed:
        return _refused(session, row, project, decision=decision, now=now)
    row.started_at = row.started_at or now
    row.data_key = row.data_key or data_key
    session.add(row)
    counts = {"attempt": row.attempt}
    return _worker_event(EventType.RUN_STARTED, row, project, now=now, counts=counts, decision=decision)


def withdraw_from(operation: Operation, *, row: tables.Run) -> None:
    """Ends an unfinished run of which rows were withdrawn; a worker that holds it notices at its next look."""
    _end(
        operation.session,
        row,
        code="rows_withdrawn",
        detail="Rows of an upload were withdrawn while this run was waiting or matched. Start a new run.",
        now=operation.now,
    )
    operation.record(EventType.RUN_FAILED, resource=events.Resource("run", row.id), detail={"code": "rows_withdrawn"})


def close_epoch(operation: Operation, *, row: tables.Run, because: str) -> None:
    """Ends an unfinished run whose encodings' secret was given up; a worker that holds it notices at its next look."""
    detail = f"{because} When every provider has uploaded again, start a new run."
    _end(operation.session, row, code="closed_epoch", detail=detail, now=operation.now)
    operation.record(EventType.RUN_FAILED, resource=events.Resource("run", row.id), detail={"code": "closed_epoch"})


def recomputed(
    session: Session, *, run_id: str, made_from: int, attempt: int, rows: int, now: datetime
) -> Entry | None:
    """Keeps a result that was made again without rows that were withdrawn, as a further attempt.

    What was counted stays: the aggregate was lawful when it was made, and one that followed every withdrawal would
    tell, by how it differs, whether the row that was withdrawn had matched.

    Args:
        session: a transaction.
        run_id: the run.
        made_from: attempt of the result that it was made from; None is given if that is no longer the run's.
        attempt: that it is kept as.
        rows: how many rows were taken out.
        now: the time.
    """
    row, project = existing(session, run_id)
    if row.state != "succeeded" or row.attempt != made_from:
        return None
    row.attempt = attempt
    session.add(row)
    counts = {"attempt": attempt, **told(project, rows=rows)}
    return _worker_event(EventType.RUN_RECOMPUTED, row, project, now=now, counts=counts)


def told(project: Governed, **counts: int) -> dict[str, int]:
    """Those of the counts of people that the header of an event may tell: from the agreement's minimum up."""
    least = project.agreement.document.data.min_group_count
    return {name: count for name, count in counts.items() if count >= least}


def _for_database(patterns: dict[tuple[int, ...], int]) -> list[dict[str, Any]]:
    return [{"positions": list(positions), "groups": count} for positions, count in sorted(patterns.items())]


def succeeded(session: Session, *, claim: Claim, result: Result, policy: Policy, now: datetime) -> Entry | None:
    """Keeps a result, if the run is still the claim's, no upload was withdrawn and the agreement still allows it.

    Raises:
        ClockBehindLog: it can be kept when the clock has caught up.
    """
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
    decision = _may_go_on(session, row, project, policy=policy, now=now)
    if not decision.allowed:
        return _refused(session, row, project, decision=decision, now=now)
    row.state, row.phase, row.finished_at = "succeeded", "done", now
    row.delete_by = now + timedelta(days=project.agreement.document.retention.link_tables_days)
    row.done = row.total = reporting.pairs_compared(result.report)
    row.seconds, row.report = result.seconds, result.report
    row.patterns = _for_database(result.patterns)
    row.worker = row.lease_expires_at = None
    session.add(row)
    counts = {"attempt": row.attempt}
    return _worker_event(EventType.RUN_SUCCEEDED, row, project, now=now, counts=counts, decision=decision)


def is_feasibility(session: Session, row: tables.Run) -> bool:
    """Whether a run gives the suppressed summary and nothing else, so that no groups are kept."""
    return governed(session, row.project).row.kind == "feasibility"


def end_feasibility(session: Session, *, claim: Claim, now: datetime) -> list[Entry]:
    """Deletes the encodings of a feasibility project once its run has succeeded; the events of that.

    Their data keys go, and the run's, whose report and counts by combination stay in the database for the summary.
    """
    row, project = existing(session, claim.run)
    if row.state != "succeeded" or row.attempt != claim.attempt or project.row.kind != "feasibility":
        return []
    row.data_key = None
    session.add(row)
    deleted = []
    for item in tables.uploads_of(session, row.id):
        upload = uploads.upload(session, item.upload)
        if upload is None or upload.data_key is None:
            continue
        upload.state, upload.data_key = "deleted", None
        session.add(upload)
        for other in tables.unfinished_with(session, upload.id):
            other.data_key = None
            session.add(other)
        deleted.append(
            _worker_event(
                EventType.UPLOAD_DELETED,
                row,
                project,
                now=now,
                counts={"records": upload.count},
                resource=events.Resource("upload", upload.id),
            )
        )
    return deleted


def remove_encodings(database: Database, blobs: BlobStore, *, run_id: str) -> None:
    """Removes the blobs of a run's uploads, whose keys are gone."""
    with database.reading() as session:
        gone = [item.upload for item in tables.uploads_of(session, run_id)]
    for upload in gone:
        results.remove_upload(blobs, upload_id=upload)


def failed(session: Session, *, claim: Claim, code: str, detail: str, now: datetime) -> Entry | None:
    """Ends a run that cannot succeed, if it is still the claim's; None otherwise."""
    row, project = existing(session, claim.run)
    if not _holds(row, claim):
        return None
    _end(session, row, code=code, detail=detail, now=now)
    return _worker_event(
        EventType.RUN_FAILED,
        row,
        project,
        now=now,
        counts={"attempt": row.attempt},
        outcome=events.Outcome("failed", code),
    )


def _refused(session: Session, row: tables.Run, project: Governed, *, decision: Decision, now: datetime) -> Entry:
    detail = " ".join(f"{refusal.reason} {refusal.remedy}" for refusal in decision.refusals)
    _end(session, row, code="refused", detail=detail, now=now)
    return _worker_event(
        EventType.RUN_REFUSED,
        row,
        project,
        now=now,
        counts={"attempt": row.attempt},
        decision=decision,
        outcome=events.Outcome("refused", "refused"),
    )


def _end(session: Session, row: tables.Run, *, code: str, detail: str, now: datetime) -> None:
    row.state, row.error_code, row.error_detail, row.finished_at = "failed", code, detail, now
    row.data_key = None
    row.worker = row.lease_expires_at = None
    session.add(row)


def overlap(membership: Sequence[NDArray[np.int64]], *, groups: int) -> dict[tuple[int, ...], int]:
    """How many groups each combination of data sets shares; one data set alone: what no other has.

    Where a data set may hold several rows of one person, that person counts once: a group that lies in one data set
    counts like a row without a match.

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
        positions = tuple(position for position in range(len(membership)) if int(mask) >> position & 1)
        patterns[positions] = patterns.get(positions, 0) + int(count)
    return patterns


def told_apart(membership: Sequence[NDArray[np.int64]], *, groups: int) -> list[NDArray[np.int64]]:
    """The same groups, those that lie in one data set told from those that several share.

    Args:
        membership: for each data set the group of each row, -1 for a row without one.
        groups: how many groups there are.

    Returns:
        For each data set: 0 and up, the group of a row that another data set shares; -1, a row by itself; below, the
        same number for rows that are one person's and in no other data set.
    """
    holders = np.zeros(groups, dtype=np.int64)
    for rows in membership:
        holders[np.unique(rows[rows >= 0])] += 1
    # The last one is for -1, which stays what it is.
    alone = np.append(holders < 2, False)  # noqa: PLR2004 - sharing takes two
    return [np.where(alone[rows], -2 - rows, rows) for rows in membership]


def aim_of(row: tables.Run) -> Aim:
    """What a run aims at."""
    return Aim(row.aim, row.aim_value)  # type: ignore[arg-type]  # only this module writes it


def render(session: Session, row: tables.Run, *, project: Governed, request_id: str) -> schemas.Run:
    """A run for the wire."""
    session.flush()
    aim = aim_of(row)
    report = row.report if row.state == "succeeded" else None
    taken = tables.uploads_of(session, row.id)
    return schemas.Run(
        id=row.id,
        project=row.project,
        state=row.state,
        aim=aim.for_wire(),
        threshold=aim.value if aim.kind == "threshold" else None,
        blocking=row.blocking,
        findings=reporting.findings(report, _terms(row, project, taken)) if report else [],
        uploads=[schemas.RunUpload(id=item.upload, organisation=item.organisation, count=item.count) for item in taken],
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
        metrics=schemas.Metrics(pairs_compared=reporting.pairs_compared(report), seconds=row.seconds)
        if report and row.seconds is not None
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
    withdrawals.require_applied(operation.session, row.id)
    terms = _terms(row, project, tables.uploads_of(operation.session, row.id))
    precision, recall = reporting.expected(row.report, terms) if row.report else (None, None)
    operation.record(EventType.SUMMARY_RETRIEVED, resource=events.Resource("run", row.id))
    return schemas.Summary(
        run=row.id,
        patterns=reporting.patterns(terms),
        precision=precision,
        recall=recall,
        rounded_to=ROUNDED_TO,
        suppressed_below=terms.least,
    )


def report(operation: Operation, *, row: tables.Run, project: Governed) -> schemas.RunReport:
    """The run's report, disclosed: recorded, rounded and suppressed so that it tells no more than the summary may.

    Raises:
        Conflict: the run has no result.
    """
    if row.state != "succeeded" or row.report is None:
        raise Conflict("This run has no result to report on.", code="no_result")
    withdrawals.require_applied(operation.session, row.id)
    terms = _terms(row, project, tables.uploads_of(operation.session, row.id))
    operation.record(EventType.REPORT_RETRIEVED, resource=events.Resource("run", row.id))
    return reporting.run_report(row.report, terms, run=row.id, aim=aim_of(row).for_wire())


def _terms(row: tables.Run, project: Governed, taken: Sequence[tables.RunUpload]) -> reporting.Terms:
    data = project.agreement.document.data
    exact = {tuple(pattern["positions"]): int(pattern["groups"]) for pattern in row.patterns or ()}
    providers, least = len(taken), data.min_group_count
    shown = shown_counts(exact, providers=providers, least=least)
    return reporting.Terms(
        organisations=[item.organisation for item in taken],
        rows=[item.count for item in taken],
        shown=shown,
        told=told_pairs(exact, shown, providers=providers, least=least),
        least=least,
        summary_listed="summary" in data.outputs,
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
    decision: Decision | None = None,
    outcome: events.Outcome | None = None,
    resource: events.Resource | None = None,
) -> Entry:
    agreement = project.agreement.reference
    return entry(
        now=now,
        event_type=event_type,
        actor=events.Actor("system", "worker"),
        resource=resource or events.Resource("run", row.id),
        agreement=events.AgreementRef(agreement.reference, agreement.version, agreement.digest),
        project=row.project,
        action=Action.CARRY_OUT_RUN.value,
        decision=decision and decision.for_ledger,
        body=body_of(decision=decision.facts) if decision else None,
        outcome=outcome or events.Outcome("success", "ok"),
        counts=counts,
        request_id=f"{row.id}.{row.attempt}",
        source="worker",
    )
