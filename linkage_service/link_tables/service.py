"""Use cases of releases and link tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.decide import Resource
from linkage_service.access.entities import Entity, Reference, organisation_reference
from linkage_service.access.guard import Operation
from linkage_service.audit.catalogue import EventType
from linkage_service.errors import Conflict, NotFound
from linkage_service.ids import new_id
from linkage_service.link_tables import recipient_keys, schemas, tables
from linkage_service.link_tables.formats import Batch, Table
from linkage_service.link_tables.link_ids import link_ids
from linkage_service.organisations import service as organisations
from linkage_service.projects.service import Governed, beneath
from linkage_service.rights import withdrawals
from linkage_service.rights.membership import WITHDRAWN
from linkage_service.runs import tables as runs
from linkage_service.runs.results import read_groups, read_probabilities
from linkage_service.storage import BlobStore, WrappedKey

_COLUMNS = ["row", "link_id"]
_BATCH = 16_384
_PROBABILITY_DECIMALS = 2


@dataclass(frozen=True, slots=True)
class LinkTable:
    """A provider's rows for one recipient, not yet rendered.

    Attributes:
        rows: how many rows it has.
        withdrawn: how many rows of the upload it leaves out because they were withdrawn.
        table: its rows, in the order of the upload.
    """

    rows: int
    withdrawn: int
    table: Table


def existing(session: Session, release_id: str) -> tuple[tables.Release, Governed]:
    """A release with its project.

    Raises:
        NotFound: there is none.
    """
    return beneath(session, tables.Release, release_id)


def resource_of(row: tables.Release, project: Governed, operation: Operation) -> Resource:
    """A release as something that is acted on, with the caller's own count of retrievals."""
    retrieved = tables.retrievals(operation.session, release_id=row.id, provider=operation.caller.organisation)
    entity = Entity(
        Reference("Release", row.id),
        {
            "agreement": Reference("Agreement", project.row.agreement),
            "project": Reference("Project", row.project),
            "recipient": organisation_reference(row.recipient),
            "output": f"link_table_{row.mode}",
            "columns": frozenset(row.columns),
            "purpose": row.purpose,
            "delete_by": row.delete_by,
            "retrievals": retrieved,
            "restricted": row.restricted or _run_is_restricted(operation.session, row.run),
        },
        parents=(Reference("Run", row.run),),
    )
    recipient = organisations.facts_of(organisations.existing(operation.session, row.recipient)).entity()
    return project.beneath(kind="release", entity=entity, related=(recipient,))


def _run_is_restricted(session: Session, run_id: str) -> bool:
    run = runs.run(session, run_id)
    return run is None or run.restricted


def release(
    operation: Operation, *, run: runs.Run, project: Governed, draft: schemas.ReleaseDraft, blobs: BlobStore
) -> tables.Release:
    """Lets the link tables of a run go to the caller's organisation.

    Of a run in a key epoch that is closed as well, and whatever closed it: link ids do not depend on the secret.

    Raises:
        Conflict: the run has no result, or the key of the caller's link ids is gone.
    """
    if run.state != "succeeded" or run.delete_by is None:
        raise Conflict("This run has no result to release.", code="no_result")
    row = tables.Release(
        id=new_id("rel", operation.now),
        run=run.id,
        project=project.row.id,
        recipient=operation.caller.organisation,
        purpose=draft.purpose,
        mode=draft.mode,
        columns=list(draft.columns),
        # Of what it is made from: the project may be in another by now.
        key_epoch=run.key_epoch,
        # Whatever is made from a run goes with it.
        delete_by=run.delete_by,
        created_at=operation.now,
    )
    operation.session.add(row)
    _recipient_key(operation, row, project, blobs)
    operation.record(EventType.RELEASE_GRANTED, resource=events.Resource("release", row.id), purpose=draft.purpose)
    return row


def retrieve(operation: Operation, *, row: tables.Release, project: Governed, blobs: BlobStore) -> LinkTable:
    """The link table of the caller's own rows; the disclosure is recorded before anything of it leaves.

    Raises:
        NotFound: the caller has no rows in the run.
        Conflict: the result or the key of the link ids is gone.
    """
    session, provider = operation.session, operation.caller.organisation
    upload = runs.upload_of(session, row.run, provider)
    run = runs.run(session, row.run)
    if upload is None:
        raise NotFound("Your organisation has no rows in this run.")
    if run is None or run.data_key is None:
        raise Conflict("The result of this run was deleted.", code="no_result")
    withdrawals.require_applied(session, run.id)
    run_key = blobs.unwrap(run.data_key)
    groups = read_groups(blobs, run_id=run.id, attempt=run.attempt, position=upload.position, data_key=run_key)
    recipient_key = _recipient_key(operation, row, project, blobs)
    blind = row.mode == "blind"
    rows = int(np.count_nonzero(groups != WITHDRAWN if blind else groups >= 0))
    # How many rows matched is itself a fact about the overlap, so only a blind table's size is noted.
    disclosed = rows if blind else None
    session.add(
        tables.Disclosure(
            id=new_id("dis", operation.now),
            project=row.project,
            release=row.id,
            provider=provider,
            rows=disclosed,
            at=operation.now,
        )
    )
    operation.record(
        EventType.LINK_TABLE_RETRIEVED,
        resource=events.Resource("release", row.id),
        purpose=row.purpose,
        counts=None if disclosed is None else {"rows": disclosed},
    )
    links = link_ids(
        groups.tolist(), run_key=run_key.plain, recipient_key=recipient_key, upload=upload.upload, blind=blind
    )
    extra = _extra_columns(session, row, groups, run=run, data_key=run_key, blobs=blobs, project=project)
    agreement = project.agreement.reference
    about = {
        "linkage.release": row.id,
        "linkage.run": row.run,
        "linkage.mode": row.mode,
        "linkage.agreement": agreement.reference,
        "linkage.agreement_digest": agreement.digest,
    }
    made = Table(columns=[*_COLUMNS, *extra], batches=_batches(links, extra), about=about)
    return LinkTable(rows=rows, withdrawn=int(np.count_nonzero(groups == WITHDRAWN)), table=made)


def _recipient_key(operation: Operation, row: tables.Release, project: Governed, blobs: BlobStore) -> bytes:
    return recipient_keys.get_or_make(
        operation.session,
        blobs,
        agreement=project.agreement.row.id,
        recipient=row.recipient,
        epoch=row.key_epoch,
        now=operation.now,
    )


def _extra_columns(
    session: Session,
    row: tables.Release,
    groups: NDArray[np.int64],
    *,
    run: runs.Run,
    data_key: WrappedKey,
    blobs: BlobStore,
    project: Governed,
) -> dict[str, NDArray[np.float64]]:
    """By name, the value of each row of the upload in each further column; nan where there is none."""
    extra: dict[str, NDArray[np.float64]] = {}
    for name in row.columns if row.mode == "matched" else ():
        if name == "match_probability":
            found = read_probabilities(blobs, run_id=run.id, attempt=run.attempt, data_key=data_key)
            values = np.full(len(groups), np.nan)
            if found is not None:
                values[groups >= 0] = found[groups[groups >= 0]].round(_PROBABILITY_DECIMALS)
            extra[name] = values
        elif name == "group_size":
            every = [
                read_groups(blobs, run_id=run.id, attempt=run.attempt, position=item.position, data_key=data_key)
                for item in runs.uploads_of(session, run.id)
            ]
            extra[name] = told_sizes(groups, every, least=project.agreement.document.data.min_group_count)
    return extra


def told_sizes(groups: NDArray[np.int64], every: Sequence[NDArray[np.int64]], *, least: int) -> NDArray[np.float64]:
    """How many rows the group of each row has, at least.

    A table of exact sizes would count the groups of every size, the small ones that the summary leaves out among them.
    So sizes that fewer rows have than the agreement's minimum are told as the next smaller size that is told, from the
    largest down (top coding; Hundepool et al., Statistical Disclosure Control, 2012), and left out if there is none.

    Args:
        groups: of one upload, the group of each row, below 0 for a row without a match.
        every: the same of every upload of the run.
        least: the agreement's minimum.

    Returns:
        float64 of the rows of the upload, nan for a row without a match and where nothing is told.
    """
    matched = np.concatenate([rows[rows >= 0] for rows in every])
    sizes = np.bincount(matched, minlength=1)
    of_row = np.where(groups >= 0, sizes[np.maximum(groups, 0)], 0)
    told = np.full(len(groups), np.nan)
    waiting = np.zeros(len(groups), np.bool_)
    for size in np.unique(of_row[of_row > 0])[::-1]:
        waiting |= of_row == size
        if np.count_nonzero(waiting) >= least:
            told[waiting], waiting[:] = size, False
    return told


def _batches(links: Iterator[tuple[int, str]], extra: dict[str, NDArray[np.float64]]) -> Iterator[Batch]:
    while some := list(islice(links, _BATCH)):
        rows = [row for row, _ in some]
        values = {
            name: [None if np.isnan(value) else float(value) for value in column[rows]]
            for name, column in extra.items()
        }
        sizes = [None if size is None else int(size) for size in values.get("group_size", ())]
        yield Batch(
            row=rows,
            link_id=[link_id for _, link_id in some],
            match_probability=values.get("match_probability", ()),
            group_size=sizes,
        )


def render(row: tables.Release, *, now: datetime) -> schemas.Release:
    """A release for the wire."""
    return schemas.Release(
        id=row.id,
        run=row.run,
        project=row.project,
        recipient=row.recipient,
        purpose=row.purpose,
        mode=row.mode,
        columns=[*_COLUMNS, *row.columns],
        state="deleted" if row.deleted_at else "released" if now < row.delete_by else "expired",
        delete_by=row.delete_by,
        created_at=row.created_at,
    )


def render_disclosure(row: tuple[tables.Disclosure, tables.Release]) -> schemas.Disclosure:
    """A disclosure for the wire."""
    disclosure, released = row
    return schemas.Disclosure(
        id=disclosure.id,
        release=released.id,
        recipient=released.recipient,
        provider=disclosure.provider,
        rows=disclosure.rows,
        at=disclosure.at,
    )
