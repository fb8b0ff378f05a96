"""Sanctions on organisations and clients (element 9): warn, suspend, reinstate, each at once and with its reason.

A suspension works through the policy, which reads the state with every decision, and through the token endpoint. Tokens
of before stay dead after it is lifted: whoever had them may be why it was imposed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from linkage_ledger import events
from linkage_service.access.decide import Resource
from linkage_service.access.guard import Operation
from linkage_service.agreements.service import in_force
from linkage_service.audit.catalogue import EventType
from linkage_service.errors import Conflict, FieldError, Invalid
from linkage_service.organisations import schemas, service, tables

Step = Literal["warn", "suspend", "reinstate"]


@dataclass(frozen=True, slots=True)
class _Words:
    """What a step is called where: on the ladder of an agreement and in the ledger."""

    sanction: str
    event: EventType


_OF_ORGANISATIONS: Final[Mapping[Step, _Words]] = {
    "warn": _Words("warn", EventType.ORGANISATION_WARNED),
    "suspend": _Words("suspend_organisation", EventType.ORGANISATION_SUSPENDED),
    "reinstate": _Words("reinstate", EventType.ORGANISATION_REINSTATED),
}
_OF_CLIENTS: Final[Mapping[Step, _Words]] = {
    "warn": _Words("warn", EventType.CLIENT_WARNED),
    "suspend": _Words("suspend_client", EventType.CLIENT_SUSPENDED),
    "reinstate": _Words("reinstate", EventType.CLIENT_REINSTATED),
}


def on_organisation(
    operation: Operation, *, organisation_id: str, step: Step, draft: schemas.Sanction
) -> tables.Organisation:
    """Warns, suspends or reinstates an organisation.

    Raises:
        NotFound: there is no such organisation.
        Conflict: it is the linkage unit, or not in a state that allows this.
        Invalid: the agreement named is not one of its agreements.
        Refused: the policy says no.
    """
    words = _OF_ORGANISATIONS[step]
    row = service.existing(operation.session, organisation_id)
    under = _decide(operation, service.resource_of(row), words.sanction, draft)
    _check_party(draft, row.id, under)
    if row.kind == "linkage_unit" and step != "warn":
        raise Conflict("The linkage unit runs this service and is not suspended through it.")
    _move(operation, row, step)
    operation.record(
        words.event,
        resource=events.Resource("organisation", row.id),
        under=under,
        detail={"reason": draft.reason, "sanction": words.sanction},
    )
    return row


def on_client(
    operation: Operation, *, organisation_id: str, client_id: str, step: Step, draft: schemas.Sanction
) -> tables.Client:
    """Warns, suspends or reinstates one client of any organisation.

    Raises:
        NotFound: there is no such client.
        Conflict: it is the caller itself, or not in a state that allows this.
        Invalid: the agreement named is not one of its organisation's agreements.
        Refused: the policy says no.
    """
    words = _OF_CLIENTS[step]
    row = service.existing_client(operation.session, organisation_id, client_id)
    under = _decide(operation, service.client_resource(operation.session, row), words.sanction, draft)
    _check_party(draft, row.organisation, under)
    if row.id == operation.caller.id:
        raise Conflict("A client does not sanction itself. Another officer does.")
    _move(operation, row, step)
    operation.record(
        words.event,
        resource=events.Resource("client", row.id),
        under=under,
        detail={"reason": draft.reason, "sanction": words.sanction},
    )
    return row


def _decide(operation: Operation, resource: Resource, sanction: str, draft: schemas.Sanction) -> Resource:
    """Lets the policy decide; gives the agreement that was named, or the thing itself."""
    if draft.agreement is None:
        operation.require(resource, sanction=sanction)
        return resource
    agreement = in_force(operation.session, draft.agreement)
    operation.require(resource, sanction=sanction, ladder=frozenset(agreement.document.sanctions.ladder))
    if agreement.version.state not in {"active", "superseded"}:
        raise Conflict("The agreement that was named is not signed by all, so it has no ladder of sanctions yet.")
    return agreement.resource()


def _check_party(draft: schemas.Sanction, organisation_id: str, under: Resource) -> None:
    if draft.agreement is None or organisation_id in (under.visible_to or ()):
        return
    wrong = FieldError("/agreement", "not_a_party", "The organisation is not a party to this agreement.")
    raise Invalid("The agreement that was named does not bind this organisation.", errors=[wrong])


def _move(operation: Operation, row: tables.Organisation | tables.Client, step: Step) -> None:
    if step == "warn":
        return
    wanted, given = ("active", "suspended") if step == "suspend" else ("suspended", "active")
    if row.status != wanted:
        raise Conflict(f"This is possible only while the state is {wanted}, and it is {row.status}.")
    row.status = given
    if step == "suspend":
        row.tokens_from = operation.now
    operation.session.add(row)
