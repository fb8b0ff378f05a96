"""Whose events a caller may see, and whose bodies. It is above other rooms only in that agreements have a say in it."""

from sqlmodel import Session

from linkage_service.access.callers import Caller
from linkage_service.agreements.tables import references_of_party
from linkage_service.audit.search import Scope
from linkage_service.audit.tables import AuditEvent


def is_overseer(caller: Caller) -> bool:
    """Whether a caller is an officer of the linkage unit."""
    return caller.organisation_kind == "linkage_unit" and "officer" in caller.roles


def scope_of(session: Session, caller: Caller) -> Scope:
    """Whose events a caller may see: an officer of the linkage unit all, others their own and their agreements'."""
    if is_overseer(caller):
        return Scope()
    return Scope(caller.organisation, tuple(sorted(references_of_party(session, caller.organisation))))


def sees_body(caller: Caller, row: AuditEvent) -> bool:
    """Whether a caller may see the body of an event that it may see: names of staff, and the facts that were judged.

    They are for officers: of the linkage unit, and of the organisation that acted. What is asked about another
    provider's upload, and who works for it, is nobody else's business.
    """
    return is_overseer(caller) or ("officer" in caller.roles and row.actor_org == caller.organisation)
