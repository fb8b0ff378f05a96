"""Raises alarms: each once for its occasion, with its event in the transaction that noticed it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.decide import EVALUATION
from linkage_service.audit import alarm_tables as tables
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Entry, body_of, entry
from linkage_service.ids import new_id

AlarmKind = Literal[
    "denial_spike", "first_key_use", "export_out_of_hours", "review_overdue", "retention_overdue",
    "cosignature_missing", "policy_error", "repeated_key_epochs",
]  # fmt: skip
ACTION = "watch"
MEANINGS: Mapping[AlarmKind, str] = {
    "denial_spike": "Somebody is refused far more often than before.",
    "first_key_use": "A key was used for the first time.",
    "export_out_of_hours": "The log was exported outside the agreed hours.",
    "review_overdue": "The review of an agreement is overdue.",
    "retention_overdue": "Something is past its date of deletion and is still there.",
    "cosignature_missing": "The newest checkpoint lacks signatures of witnesses.",
    "policy_error": "The access policy could not be evaluated, so a request was refused.",
    "repeated_key_epochs": "An organisation has changed the key epoch of a project again within a day.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What an alarm is raised about.

    Attributes:
        kind: which alarm.
        occasion: what makes it this one and no other: the same occasion raises no second alarm.
        organisation: whom it concerns.
        actor: the client or person it concerns.
        agreement: the agreement version it concerns, as the ledger names it.
        project: the project it concerns.
        subject: id of what it is about.
        detail: the figures and ids that it rests on.
    """

    kind: AlarmKind
    occasion: str
    organisation: str | None = None
    actor: str | None = None
    agreement: events.AgreementRef | None = None
    project: str | None = None
    subject: str | None = None
    detail: Mapping[str, str | int] = field(default_factory=dict)


def raise_alarms(session: Session, notices: Sequence[Notice], *, now: datetime, request_id: str) -> list[Entry]:
    """Writes the alarms that were not raised before.

    Returns:
        The events, for the caller to append at the end of its transaction.
    """
    entries = []
    for notice in {(notice.kind, notice.occasion): notice for notice in notices}.values():
        if tables.is_raised(session, notice.kind, notice.occasion):
            continue
        alarm = tables.AuditAlarm(
            id=new_id("alm", now),
            kind=notice.kind,
            occasion=notice.occasion,
            organisation=notice.organisation,
            actor=notice.actor,
            agreement=notice.agreement.ref if notice.agreement else None,
            project=notice.project,
            subject=notice.subject,
            detail=dict(notice.detail),
            raised_at=now,
            acknowledged_at=None,
            acknowledged_by=None,
        )
        session.add(alarm)
        session.flush()
        entries.append(
            entry(
                now=now,
                event_type=EventType.ALARM_RAISED,
                actor=events.Actor("system", "worker"),
                resource=events.Resource("alarm", alarm.id),
                agreement=notice.agreement,
                project=notice.project,
                action=ACTION,
                outcome=events.Outcome("success", notice.kind),
                body=body_of(
                    detail={
                        "kind": notice.kind,
                        **{
                            name: value
                            for name in ("organisation", "actor", "subject")
                            if (value := getattr(notice, name)) is not None
                        },
                        **notice.detail,
                    }
                ),
                request_id=request_id,
                source="service",
            )
        )
    return entries


def policy_errors(session: Session, entries: Sequence[Entry]) -> list[Entry]:
    """Alarms for what is about to be appended: a decision that the policy could not evaluate, at once."""
    found = [item.header for item in entries if item.header.decision and EVALUATION in item.header.decision.policies]
    raised: list[Entry] = []
    for header in found:
        # Once for each action and hour: a fault of the policy meets every request, and must not fill the log.
        occasion = f"{header.action}/{header.time[:13]}"
        notice = Notice(
            kind="policy_error",
            occasion=occasion,
            organisation=header.actor.org,
            actor=header.actor.id,
            agreement=header.agreement,
            project=header.project,
            subject=header.resource.id,
            detail={"action": header.action, "event": header.id},
        )
        now = datetime.fromisoformat(header.time)
        raised += raise_alarms(session, [notice], now=now, request_id=header.request_id)
    return raised
