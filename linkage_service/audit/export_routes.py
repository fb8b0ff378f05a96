"""HTTP of exports of the access log. Each is recorded before its first byte leaves."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from linkage_ledger import events
from linkage_service.access.actions import Action
from linkage_service.access.decide import LEDGER
from linkage_service.access.guard import Gate, Operation, guard
from linkage_service.audit import exporting
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Log
from linkage_service.audit.scope import scope_of, sees_body
from linkage_service.audit.search_schemas import ExportDraft
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.wire import Route

router = APIRouter(route_class=Route, prefix="/v1/audit", tags=["ledger"], responses=OF_EVERY_ROUTE)
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events, or a zip of them.",
        "content": {
            "text/csv": _TEXT,
            "application/x-ndjson": _TEXT,
            "application/fhir+ndjson": _TEXT,
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post(
    "/exports", operation_id="export_events", summary="Export the access log",
    response_class=StreamingResponse, responses={**_FILE, **responses(401, 403, 404, 413, 415, 422)},
)  # fmt: skip
def export_events(draft: ExportDraft, gate: Annotated[Gate, guard(Action.EXPORT_LEDGER)]) -> StreamingResponse:
    """Every event that fits, as far as the caller may see it, oldest first. Exporting the log is itself an event.

    An Idempotency-Key changes nothing here: each request is an export of its own, and is recorded as one.
    """
    door, log = gate.door, gate.door.log
    wish = exporting.Wish(
        format=draft.format, filters=draft.filters(), first=draft.first, last=draft.last, against=draft.against
    )

    def decide(operation: Operation) -> None:
        operation.require(LEDGER)

    gate.read(decide)
    checkpoint = log.checkpoint(door.database) if draft.format == "bundle" else ""

    def prepare(operation: Operation) -> exporting.Plan:
        operation.require(LEDGER)
        session = operation.session
        gate.give_up_place()
        return exporting.plan(session, log, wish, scope_of(session, operation.caller), checkpoint=checkpoint)

    made = gate.read(prepare)

    def use_case(operation: Operation) -> None:
        operation.require(LEDGER)
        operation.record(
            EventType.AUDIT_EXPORTED,
            resource=events.Resource("audit", draft.project),
            counts={"events": made.count},
            detail=made.detail,
        )

    _, acknowledged = gate.perform(use_case)
    return StreamingResponse(
        _content(gate, log, made),
        media_type=made.media_type,
        headers={
            **acknowledged.headers,
            "Content-Disposition": f'attachment; filename="{made.file_name}"',
        },
    )


def _content(gate: Gate, log: Log, made: exporting.Plan) -> Any:
    database = gate.door.database
    if made.wish.format != "bundle":
        return exporting.lines(database, made, origin=log.verifier.name)
    file = exporting.bundle(
        database, log, made, sees_body=lambda row: sees_body(gate.caller, row), now=gate.door.clock()
    )
    return exporting.chunks(file)
