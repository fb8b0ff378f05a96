"""HTTP of the access log. It is above the other rooms only in that agreements say who may see an event."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse

from linkage_ledger import events
from linkage_service.access.actions import Action
from linkage_service.access.decide import LEDGER
from linkage_service.access.guard import Door, Gate, Operation, guard
from linkage_service.access.replay import replay
from linkage_service.audit import schemas, search, tables
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Log
from linkage_service.audit.scope import scope_of, sees_body
from linkage_service.audit.search_schemas import EventQuery
from linkage_service.errors import NotFound
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.wire import Route

router = APIRouter(route_class=Route, prefix="/v1/audit", tags=["ledger"], responses=OF_EVERY_ROUTE)
LedgerGate = Annotated[Gate, guard(Action.READ_LEDGER)]
SeqPath = Annotated[int, Path(ge=0, le=2**53, description="Sequence number of the event.")]
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text."}
}


def _render(row: tables.AuditEvent) -> schemas.Event:
    return schemas.Event(seq=row.seq, leaf_hash=row.leaf_hash.hex(), header=json.loads(row.header))


@router.get(
    "/events",
    operation_id="list_events",
    summary="Read the access log",
    response_model=schemas.EventPage,
    responses=responses(401, 403, 422),
)
def list_events(gate: LedgerGate, asked: Annotated[EventQuery, Query()]) -> Response:
    """Events that fit every filter, in order, as far as the caller may see them. Reading the log is itself an event."""
    filters = asked.filters()
    said: dict[str, object] = {}

    def query(operation: Operation) -> schemas.EventPage:
        operation.require(LEDGER)
        session, scope = operation.session, scope_of(operation.session, operation.caller)
        said.update(search.stated(session, filters, scope))
        end = tables.size_of(session) if asked.before is None else asked.before
        newest_first = asked.order == "newest"
        rows = search.page(
            session,
            search.Question(filters=filters, first=asked.after + 1, end=end),
            scope,
            limit=asked.limit + 1,
            newest_first=newest_first,
        )
        shown = rows[: asked.limit]
        following = shown[-1].seq if len(rows) > asked.limit else None
        return schemas.EventPage(
            items=[_render(row) for row in shown],
            next_after=None if newest_first else following,
            next_before=following if newest_first else None,
        )

    def record(operation: Operation) -> None:
        operation.require(LEDGER)
        operation.record(
            EventType.AUDIT_VIEWED, resource=events.Resource("audit", asked.project), detail={"filter": said}
        )

    return gate.note(query, record)


@router.get(
    "/events/{seq}",
    operation_id="get_event",
    summary="One event",
    response_model=schemas.EventDetail,
    responses=responses(401, 403, 404, 422),
)
def get_event(seq: SeqPath, gate: LedgerGate) -> Response:
    """One event with its body, for whoever may see them. Reading the log is itself an event."""

    def use_case(operation: Operation) -> schemas.EventDetail:
        operation.require(LEDGER)
        row = _visible(operation, seq)
        operation.record(EventType.AUDIT_VIEWED, resource=events.Resource("audit", str(seq)))
        stored = tables.body_at(operation.session, seq)
        state: schemas.BodyState = "none" if stored is None else "disposed" if stored.disposed else "held"
        if stored is not None and not sees_body(operation.caller, row):
            state = "not_shown"
        body = json.loads(stored.body) if stored is not None and stored.body and state == "held" else None
        return schemas.EventDetail(**_render(row).model_dump(), body=body, body_state=state)

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


@router.get(
    "/events/{seq}/replay", operation_id="replay_decision", summary="Make a recorded decision again",
    response_model=schemas.Replay, responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def replay_decision(seq: SeqPath, request: Request, gate: Annotated[Gate, guard(Action.REPLAY_DECISION)]) -> Response:
    """Judges the facts of an event again, by the policy text that judged them. For officers who may see its body.

    That it was done is itself an event. 409 says in `code` why it cannot be: `no_decision`, `facts_disposed` at the end
    of their retention, `facts_changed`, `policy_unknown`.
    """
    door: Door = request.app.state.service.door
    found: list[schemas.Replay] = []

    def query(operation: Operation) -> schemas.Replay:
        operation.require(LEDGER)
        if not sees_body(operation.caller, _visible(operation, seq)):
            raise NotFound(NotFound.HIDDEN)
        made = replay(operation.session, seq=seq, current=door.policy)
        recorded, verdict = made.recorded, made.verdict
        found.append(
            schemas.Replay(
                seq=seq,
                recorded=schemas.Answered(allowed=recorded.effect == "allow", policies=list(recorded.policies)),
                replayed=schemas.Answered(allowed=verdict.allowed, policies=list(verdict.policies)),
                agrees=made.agrees,
                policy_digest=recorded.policy_digest,
                policy_is_current=made.policy_is_current,
            )
        )
        return found[0]

    def record(operation: Operation) -> None:
        operation.require(LEDGER)
        detail = {"agrees": found[0].agrees}
        operation.record(EventType.AUDIT_REPLAYED, resource=events.Resource("audit", str(seq)), detail=detail)

    return gate.note(query, record)


def _visible(operation: Operation, seq: int) -> tables.AuditEvent:
    row = tables.event_at(operation.session, seq)
    if row is None or not scope_of(operation.session, operation.caller).shows(row):
        raise NotFound(NotFound.HIDDEN)
    return row
