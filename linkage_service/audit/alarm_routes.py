"""HTTP of alarms."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from linkage_ledger import events
from linkage_service.access.actions import Action
from linkage_service.access.decide import LEDGER
from linkage_service.access.guard import Gate, Operation, guard
from linkage_service.audit import alarm_tables, tables
from linkage_service.audit.alarm_schemas import Acknowledgement, Alarm, AlarmId, AlarmPage, AlarmQuery
from linkage_service.audit.alarms import MEANINGS, AlarmKind
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.scope import scope_of
from linkage_service.errors import Conflict, NotFound
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.wire import Route

router = APIRouter(route_class=Route, prefix="/v1/audit", tags=["ledger"], responses=OF_EVERY_ROUTE)


@router.get(
    "/alarms", operation_id="list_alarms", summary="Alarms", response_model=AlarmPage,
    responses=responses(401, 403, 422),
)  # fmt: skip
def list_alarms(asked: Annotated[AlarmQuery, Query()], gate: Annotated[Gate, guard(Action.READ_ALARMS)]) -> Response:
    """Alarms, newest first: for the linkage unit's officers all, for others their own and their agreements'.

    Reading them is itself an event.
    """

    def query(operation: Operation) -> AlarmPage:
        operation.require(LEDGER)
        scope = scope_of(operation.session, operation.caller)
        rows = alarm_tables.alarms_page(
            operation.session,
            organisation=scope.organisation,
            references=scope.references,
            kind=asked.kind,
            acknowledged=None if asked.state == "all" else asked.state == "acknowledged",
            before=asked.cursor or "",
            limit=asked.limit + 1,
        )
        shown = rows[: asked.limit]
        return AlarmPage(
            items=[_render(operation, row) for row in shown],
            next_cursor=shown[-1].id if len(rows) > asked.limit else None,
        )

    def record(operation: Operation) -> None:
        operation.require(LEDGER)
        operation.record(EventType.AUDIT_VIEWED, resource=events.Resource("alarm"))

    return gate.note(query, record)


@router.post(
    "/alarms/{alarm_id}:acknowledge", operation_id="acknowledge_alarm", summary="Acknowledge an alarm",
    response_model=Alarm, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def acknowledge_alarm(
    alarm_id: Annotated[AlarmId, Path(description="Id of the alarm.")],
    draft: Acknowledgement,
    gate: Annotated[Gate, guard(Action.ACKNOWLEDGE_ALARM)],
) -> Response:
    """Says that an officer has looked into it, and what came of it. It stays in the list."""

    def use_case(operation: Operation) -> Alarm:
        operation.require(LEDGER)
        row = alarm_tables.alarm(operation.session, alarm_id)
        if row is None:
            raise NotFound(NotFound.HIDDEN)
        if row.acknowledged_at is not None:
            raise Conflict("This alarm was acknowledged before.", code="already_acknowledged")
        row.acknowledged_at, row.acknowledged_by = operation.now, operation.caller.id
        operation.session.add(row)
        operation.record(
            EventType.ALARM_ACKNOWLEDGED,
            resource=events.Resource("alarm", row.id),
            detail={"kind": row.kind, "reason": draft.reason},
        )
        return _render(operation, row)

    return gate.change(use_case, body=draft)


def _render(operation: Operation, row: alarm_tables.AuditAlarm) -> Alarm:
    raised = tables.event_about(operation.session, EventType.ALARM_RAISED, row.id)
    if raised is None:
        raise RuntimeError("an alarm without its event")
    kind: AlarmKind = row.kind  # type: ignore[assignment]  # only raise_alarms writes it
    return Alarm(
        id=row.id,
        kind=kind,
        meaning=MEANINGS[kind],
        raised_at=row.raised_at,
        seq=raised.seq,
        organisation=row.organisation,
        actor=row.actor,
        agreement=row.agreement,
        project=row.project,
        subject=row.subject,
        detail=row.detail,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
    )
