"""Use cases of releases and link tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.decide import Resource
from linkage_service.access.entities import Entity, Reference, organisation_reference
from linkage_service.access.guard import Operation
from linkage_service.audit.catalogue import EventType
from linkage_service.errors import Conflict, NotFound
from linkage_service.ids import new_id
from linkage_service.link_tables import schemas, tables
from linkage_service.link_tables.link_ids import link_ids
from linkage_service.organisations import service as organisations
from linkage_service.projects.service import Governed, governed
from linkage_service.rights import withdrawals
from linkage_service.rights.membership import WITHDRAWN
from linkage_service.runs import tables as runs
from linkage_service.runs.results import read_groups
from linkage_service.service_keys import ServiceKeys
from linkage_service.storage import BlobStore

_COLUMNS = ["row", "link_id"]


@dataclass(frozen=True, slots=True)
class LinkTable:
    """A provider's rows for one recipient, not yet rendered.

    Attributes:
        rows: how many rows it has.
        withdrawn: how many rows of the upload it leaves out because they were withdrawn.
        links: row number and link id, by row.
    """

    rows: int
    withdrawn: int
    links: Iterator[tuple[int, str]]


def existing(session: Session, release_id: str) -> tuple[tables.Release, Governed]:
    """A release with its project.

    Raises:
        NotFound: there is none.
    """
    row = tables.release(session, release_id)
    if row is None:
        raise NotFound("There is no such release, or it is not yours to see.")
    return row, governed(session, row.project)


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


def release(operation: Operation, *, run: runs.Run, project: Governed, draft: schemas.ReleaseDraft) -> tables.Release:
    """Lets the link tables of a run go to the caller's organisation.

    Raises:
        Conflict: the run has no result.
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
        key_epoch=project.row.key_epoch,
        # Whatever is made from a run goes with it.
        delete_by=run.delete_by,
        created_at=operation.now,
    )
    operation.session.add(row)
    operation.record(EventType.RELEASE_GRANTED, resource=events.Resource("release", row.id), purpose=draft.purpose)
    return row


def retrieve(
    operation: Operation, *, row: tables.Release, project: Governed, blobs: BlobStore, keys: ServiceKeys
) -> LinkTable:
    """The link table of the caller's own rows; the disclosure is recorded before anything of it leaves.

    Raises:
        NotFound: the caller has no rows in the run.
        Conflict: the result is gone.
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
    recipient_key = keys.recipient_key(agreement=project.agreement.row.id, recipient=row.recipient, epoch=row.key_epoch)
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
    return LinkTable(rows=rows, withdrawn=int(np.count_nonzero(groups == WITHDRAWN)), links=links)


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
