"""HTTP of the access log. It is above the other rooms only in that agreements say who may see an event."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.actions import Action
from linkage_service.access.callers import Caller
from linkage_service.access.decide import LEDGER
from linkage_service.access.guard import Gate, Operation, guard
from linkage_service.agreements.tables import references_of_party
from linkage_service.audit import schemas, tables
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Log
from linkage_service.errors import NotFound
from linkage_service.problems import responses
from linkage_service.wire import ProjectId

router = APIRouter(prefix="/v1/audit", tags=["ledger"])
LedgerGate = Annotated[Gate, guard(Action.READ_LEDGER)]
SeqPath = Annotated[int, Path(ge=0, le=2**53, description="Sequence number of the event.")]
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text."}
}


def _scope(session: Session, caller: Caller) -> tuple[str | None, list[str]]:
    """Whose events a caller may see: an officer of the linkage unit all, others their own and their agreements'."""
    if caller.organisation_kind == "linkage_unit" and "officer" in caller.roles:
        return None, []
    return caller.organisation, list(references_of_party(session, caller.organisation))


def _render(row: tables.AuditEvent) -> schemas.Event:
    return schemas.Event(seq=row.seq, leaf_hash=row.leaf_hash.hex(), header=json.loads(row.header))


@router.get(
    "/events",
    operation_id="list_events",
    summary="Read the access log",
    response_model=schemas.EventPage,
    responses=responses(401, 403, 422),
)
def list_events(
    gate: LedgerGate,
    after: Annotated[int, Query(ge=-1, le=2**53, description="Sequence numbers above this one.")] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    project: Annotated[ProjectId | None, Query(description="Only this project's events.")] = None,
) -> Response:
    """Events in order. Reading the log is itself an event."""

    def use_case(operation: Operation) -> schemas.EventPage:
        operation.require(LEDGER)
        organisation, references = _scope(operation.session, operation.caller)
        rows = tables.events_after(
            operation.session,
            after=after,
            limit=limit + 1,
            organisation=organisation,
            references=references,
            project=project,
        )
        operation.record(EventType.AUDIT_VIEWED, resource=events.Resource("audit", project))
        shown = rows[:limit]
        return schemas.EventPage(
            items=[_render(row) for row in shown], next_after=shown[-1].seq if len(rows) > limit else None
        )

    return gate.change(use_case)


@router.get(
    "/events/{seq}",
    operation_id="get_event",
    summary="One event",
    response_model=schemas.Event,
    responses=responses(401, 403, 404, 422),
)
def get_event(seq: SeqPath, gate: LedgerGate) -> Response:
    """One event, for whoever may see it. Reading the log is itself an event."""

    def use_case(operation: Operation) -> schemas.Event:
        operation.require(LEDGER)
        row = _visible(operation, seq)
        operation.record(EventType.AUDIT_VIEWED, resource=events.Resource("audit", str(seq)))
        return _render(row)

    return gate.change(use_case)


@router.get(
    "/events/{seq}/receipt", operation_id="get_receipt", summary="Receipt of an event",
    response_class=PlainTextResponse, responses={**_TEXT, **responses(401, 403, 404, 409, 422)},
)  # fmt: skip
def get_receipt(seq: SeqPath, request: Request, gate: LedgerGate) -> PlainTextResponse:
    """A C2SP tlog-proof: leaf index, inclusion proof and signed checkpoint, to keep and check offline."""
    log: Log = request.app.state.service.door.log

    def use_case(operation: Operation) -> str:
        operation.require(LEDGER)
        _visible(operation, seq)
        receipt = log.receipt(operation.session, seq=seq)
        operation.record(EventType.AUDIT_VIEWED, resource=events.Resource("audit", str(seq)))
        return receipt

    receipt, recorded = gate.perform(use_case)
    return PlainTextResponse(receipt, headers=recorded.headers)


def _visible(operation: Operation, seq: int) -> tables.AuditEvent:
    organisation, references = _scope(operation.session, operation.caller)
    row = tables.event_at(operation.session, seq)
    if row is None or not (
        organisation is None or row.agreement in references or (row.agreement is None and row.actor_org == organisation)
    ):
        raise NotFound(NotFound.HIDDEN)
    return row
