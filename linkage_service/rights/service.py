"""Use cases of rights: withdraw rows, tell recipients, hold and lift, trace a row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.guard import Operation
from linkage_service.audit.catalogue import EventType
from linkage_service.errors import Conflict, FieldError, Invalid
from linkage_service.ids import new_id
from linkage_service.link_tables import recipient_keys
from linkage_service.link_tables.link_ids import link_ids
from linkage_service.link_tables.tables import Disclosure, Release, disclosures_of_release, releases_of_run
from linkage_service.projects.service import Governed, governed
from linkage_service.rights import membership, schemas, tables, withdrawals
from linkage_service.runs import results
from linkage_service.runs import service as runs
from linkage_service.runs.tables import Run, RunUpload, run, unfinished_with, upload_of, uploads_of
from linkage_service.storage import BlobStore, WrappedKey
from linkage_service.uploads import probing
from linkage_service.uploads.tables import Upload

_EVENTS = {
    ("run", True): EventType.RUN_RESTRICTED,
    ("run", False): EventType.RUN_RESTRICTION_LIFTED,
    ("release", True): EventType.RELEASE_RESTRICTED,
    ("release", False): EventType.RELEASE_RESTRICTION_LIFTED,
}


@dataclass(frozen=True, slots=True)
class _Result:
    """A run's result, opened."""

    row: Run
    key: WrappedKey
    changes: NDArray[np.int64]


def withdraw(operation: Operation, *, upload: Upload, draft: schemas.WithdrawalDraft) -> tables.Withdrawal:
    """Takes rows back. From now on no run begins or ends on them, and no result that holds them is given out.

    Unfinished runs of the upload fail; kept results are made again by the worker.

    Raises:
        Conflict: the upload is still being received, nothing is left of it, or all of the rows were withdrawn before.
        Invalid: the upload has no such row.
    """
    session = operation.session
    if upload.state == "receiving":
        raise Conflict(
            "This upload is not complete, so nothing was made from it. Delete it, and encode without these rows."
        )
    made = tables.runs_of_upload(session, upload.id)
    # A feasibility project's run keeps counts only: its key is gone, and with it every row.
    if upload.state == "deleted" and all(item.state != "succeeded" or item.data_key is None for item in made):
        raise Conflict("Nothing is left of this upload: its encodings and every result of it were deleted.")
    beyond = [place for place, number in enumerate(draft.rows) if number >= upload.count]
    if beyond:
        errors = [FieldError(f"/rows/{place}", "no_such_row", "The upload has no such row.") for place in beyond[:20]]
        raise Invalid("A row number is beyond the upload's last. Use the rows file of this upload.", errors=errors)
    rows = sorted(set(draft.rows) - set(tables.withdrawn_rows(session, upload.id)))
    if not rows:
        raise Conflict("These rows were withdrawn before.", code="withdrawn_already")
    row = tables.Withdrawal(
        id=new_id("wdr", operation.now),
        upload=upload.id,
        reason=draft.reason,
        count=len(rows),
        created_at=operation.now,
    )
    session.add(row)
    session.flush()
    session.add_all(tables.WithdrawnRow(upload=upload.id, row=number, withdrawal=row.id) for number in rows)
    operation.record(
        EventType.WITHDRAWAL_MADE,
        resource=events.Resource("upload", upload.id),
        counts=runs.told(governed(session, upload.project), rows=len(rows)) or None,
        detail={"reason": draft.reason, "withdrawal": row.id},
    )
    probing.forget_upload(session, upload=upload.id)
    for unfinished in unfinished_with(session, upload.id):
        runs.withdraw_from(operation, row=unfinished)
    return row


def withdrawn_links(
    operation: Operation, *, release: Release, project: Governed, blobs: BlobStore
) -> schemas.WithdrawnLinks:
    """Link ids, in the recipient's own domain, of rows that were withdrawn after a table that held them was fetched.

    Raises:
        Conflict: the result was deleted, or is being made again.
    """
    session = operation.session
    result = _result(session, blobs, release)
    recipient_key = recipient_keys.get_or_make(
        session,
        blobs,
        agreement=project.agreement.row.id,
        recipient=release.recipient,
        epoch=release.key_epoch,
        now=operation.now,
    )
    disclosures = disclosures_of_release(session, release.id)
    items = []
    for item in uploads_of(session, release.run):
        fetched = [disclosure for disclosure in disclosures if disclosure.provider == item.organisation]
        times = _withdrawn_after(result, item, release=release, fetched=fetched)
        if not times:
            continue
        # Sparse on purpose: every other row counts as gone, and so gets no id.
        groups = [membership.WITHDRAWN] * (1 + max(times))
        for number, (group, _) in times.items():
            groups[number] = group
        found = link_ids(groups, run_key=result.key.plain, recipient_key=recipient_key, upload=item.upload, blind=True)
        items += [
            schemas.WithdrawnLink(
                link_id=link_id, provider=item.organisation, withdrawn_at=membership.moment(times[number][1])
            )
            for number, link_id in found
        ]
    operation.record(
        EventType.WITHDRAWAL_RETRIEVED,
        resource=events.Resource("release", release.id),
        purpose=release.purpose,
        counts=(runs.told(project, links=len(items)) or None) if release.mode == "blind" else None,
    )
    # In the order of their ids: the order of rows is the provider's own.
    return schemas.WithdrawnLinks(release=release.id, items=sorted(items, key=lambda item: item.link_id))


def _withdrawn_after(
    result: _Result, item: RunUpload, *, release: Release, fetched: Sequence[Disclosure]
) -> dict[int, tuple[int, int]]:
    """Withdrawn rows of one upload that a fetched table held: the group there, and when they were withdrawn."""
    changes = result.changes
    withdrawn = changes[(changes[:, 0] == item.position) & (changes[:, 4] == membership.KIND_WITHDRAWN)]
    found = {}
    for _, number, _, at, _ in withdrawn.tolist():
        for disclosure in fetched:
            if membership.microseconds(disclosure.at) >= at:
                continue
            group = membership.group_at(
                changes, position=item.position, row=number, now=membership.WITHDRAWN, at=disclosure.at
            )
            if _held(group, release):
                found[number] = (group, at)
                break
    return found


def _held(group: int, release: Release) -> bool:
    """Whether a table of the release listed a row that had this group."""
    return group >= 0 or (release.mode == "blind" and group != membership.WITHDRAWN)


def _result(session: Session, blobs: BlobStore, release: Release) -> _Result:
    row = run(session, release.run)
    if row is None or row.data_key is None or row.state != "succeeded" or release.deleted_at is not None:
        raise Conflict("The result of this run was deleted, and with it every link id of it.", code="no_result")
    withdrawals.require_applied(session, row.id)
    key = blobs.unwrap(row.data_key)
    changes = results.read_changes(blobs, columns=membership.COLUMNS, run_id=row.id, attempt=row.attempt, data_key=key)
    return _Result(row=row, key=key, changes=changes)


def restrict(operation: Operation, *, held: Run | Release, kind: str, draft: schemas.HoldDraft) -> tables.Hold:
    """Puts a hold on a run or a release: nothing of it leaves while it lasts.

    Raises:
        Conflict: there is one already, or nothing is left to hold.
    """
    session = operation.session
    gone = held.state == "deleted" if isinstance(held, Run) else held.deleted_at is not None
    if gone:
        raise Conflict("This was deleted, so there is nothing to put on hold.")
    if tables.standing_hold(session, kind, held.id) is not None:
        raise Conflict("There is a hold on this already. Lift it first to state another ground.")
    hold = tables.Hold(
        id=new_id("hld", operation.now),
        project=held.project,
        kind=kind,
        object=held.id,
        ground=draft.ground,
        placed_at=operation.now,
    )
    held.restricted = True
    session.add_all((hold, held))
    operation.record(
        _EVENTS[kind, True],
        resource=events.Resource(kind, held.id),
        detail={"ground": draft.ground, "reason": draft.reason},
    )
    return hold


def lift(operation: Operation, *, held: Run | Release, kind: str, draft: schemas.LiftDraft) -> None:
    """Ends a hold.

    Raises:
        Conflict: there is none.
    """
    hold = tables.standing_hold(operation.session, kind, held.id)
    if hold is None:
        raise Conflict("There is no hold on this.")
    hold.lifted_at, held.restricted = operation.now, False
    operation.session.add_all((hold, held))
    operation.record(_EVENTS[kind, False], resource=events.Resource(kind, held.id), detail={"reason": draft.reason})


def trace(operation: Operation, *, upload: Upload, draft: schemas.TraceDraft, blobs: BlobStore) -> schemas.Trace:
    """Which recipients received anything made from a row. Which other provider it matched is not told.

    Raises:
        Invalid: the upload has no such row.
        Conflict: a result is being made again.
    """
    session, number = operation.session, draft.row
    if number >= upload.count:
        wrong = FieldError("/row", "no_such_row", "The upload has no such row.")
        raise Invalid("The row number is beyond the upload's last. Use the rows file of this upload.", errors=[wrong])
    releases = [
        traced
        for made in tables.runs_of_upload(session, upload.id)
        for traced in _traced(session, blobs, made, upload=upload, number=number)
    ]
    # Neither header nor body say which row: the ledger is kept much longer than anything made from it.
    operation.record(EventType.UPLOAD_ROW_TRACED, resource=events.Resource("upload", upload.id))
    withdrawn = number in set(tables.withdrawn_rows(session, upload.id))
    return schemas.Trace(upload=upload.id, withdrawn=withdrawn, releases=releases)


def _traced(
    session: Session, blobs: BlobStore, made: Run, *, upload: Upload, number: int
) -> Iterator[schemas.TracedRelease]:
    fetched = []
    for release in releases_of_run(session, made.id):
        own = disclosures_of_release(session, release.id)
        fetched.append((release, [item.at for item in own if item.provider == upload.organisation]))
    if not any(times for _, times in fetched):
        return
    item = upload_of(session, made.id, upload.organisation)
    withdrawal = tables.withdrawal_of(session, upload.id, number)
    key = blobs.unwrap(made.data_key) if made.state == "succeeded" and made.data_key is not None else None
    held_at = _held_at(session, blobs, made, item, number=number, key=key) if item is not None and key else None
    for release, times in fetched:
        if held_at is None:
            held = [at for at in times if withdrawal is None or at < withdrawal.created_at]
        else:
            held = [at for at in times if _held(held_at(at), release)]
        if held:
            yield schemas.TracedRelease(
                release=release.id,
                recipient=release.recipient,
                purpose=release.purpose,
                mode=release.mode,
                retrieved=held,
                certain=held_at is not None or release.mode == "blind",
            )


def _held_at(
    session: Session, blobs: BlobStore, made: Run, item: RunUpload, *, number: int, key: WrappedKey
) -> Callable[[datetime], int]:
    """Gives the group of a row at any time."""
    withdrawals.require_applied(session, made.id)
    changes = results.read_changes(
        blobs, columns=membership.COLUMNS, run_id=made.id, attempt=made.attempt, data_key=key
    )
    groups = results.read_groups(blobs, run_id=made.id, attempt=made.attempt, position=item.position, data_key=key)
    now = int(groups[number])
    return lambda at: membership.group_at(changes, position=item.position, row=number, now=now, at=at)


def render_hold(session: Session, row: tables.Hold, *, now: datetime) -> schemas.Hold:
    """A hold for the wire."""
    held = run(session, row.object) if row.kind == "run" else session.get(Release, row.object)
    delete_by = (held.delete_by if held is not None else None) or row.placed_at
    return schemas.Hold(
        id=row.id,
        project=row.project,
        kind=row.kind,
        object=row.object,
        ground=row.ground,
        placed_at=row.placed_at,
        delete_by=delete_by,
        overdue=delete_by <= now,
    )


def render(row: tables.Withdrawal) -> schemas.Withdrawal:
    """A withdrawal for the wire."""
    return schemas.Withdrawal(
        id=row.id,
        upload=row.upload,
        rows=row.count,
        reason=row.reason,
        state="pending" if row.applied_at is None else "applied",
        created_at=row.created_at,
        applied_at=row.applied_at,
    )
