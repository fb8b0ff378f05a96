"""Use cases of people: invite, enrol, roles, disable, end sessions."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.callers import PersonCaller
from linkage_service.access.decide import Resource
from linkage_service.access.guard import Operation
from linkage_service.access.sessions import Found
from linkage_service.access.tokens import token_digest
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import body_of, entry
from linkage_service.audit.unit import UnitOfWork, unit_of_work
from linkage_service.errors import Conflict, FieldError, Invalid, NotFound
from linkage_service.ids import new_id
from linkage_service.organisations import service as organisations
from linkage_service.organisations import tables as organisation_tables
from linkage_service.people import schemas, tables, totp
from linkage_service.people.passwords import check_strength
from linkage_service.people.reception import Reception, Visit

UnitRole = Literal["administrator", "officer"]
_UNIT_ROLES = frozenset({"administrator", "officer", "operator"})
_DATA_ROLES = frozenset({"analyst", "recipient"})
_MANAGERS = frozenset({"administrator", "signatory"})
_TOUCH_EVERY = timedelta(seconds=60)
_ENROLMENT_LIFE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long sessions and step-ups hold, seconds."""

    idle_s: int
    step_up_s: int


def load_person(session: Session, digest: str, now: datetime, *, limits: SessionLimits) -> Found | None:
    """The person of a session and their organisation, as the policy sees them now."""
    row = tables.person_session(session, digest)
    if row is None or row.expires_at <= now or row.last_seen_at + timedelta(seconds=limits.idle_s) <= now:
        return None
    person = tables.person(session, row.person)
    organisation = organisation_tables.organisation(session, person.organisation) if person else None
    if person is None or organisation is None:
        return None
    caller = PersonCaller(
        id=person.id,
        facts=organisations.facts_of(organisation),
        roles=frozenset(person.roles),
        name=person.name,
        session=digest,
        method=row.method,
        disabled=person.status != "active",
        second_factor=row.second_factor,
        stepped_up=is_stepped_up(row, now, step_up_s=limits.step_up_s),
    )
    return Found(caller, touch_due=now - row.last_seen_at >= _TOUCH_EVERY)


def touch_session(session: Session, digest: str, now: datetime) -> None:
    """Writes down that a session was used."""
    row = tables.person_session(session, digest)
    if row is not None:
        row.last_seen_at = now
        session.add(row)


def is_stepped_up(row: tables.PersonSession, now: datetime, *, step_up_s: int) -> bool:
    """Whether the second factor was given again in a session a short while ago."""
    return row.stepped_up_at is not None and now < row.stepped_up_at + timedelta(seconds=step_up_s)


def own_account(operation: Operation) -> tuple[tables.Person, PersonCaller]:
    """The account of the person who calls, after the policy has let them.

    Raises:
        Conflict: a client calls, which has no account.
    """
    caller = operation.caller
    person = (tables.locked_person if operation.changes else tables.person)(operation.session, caller.id)
    if person is None or not isinstance(caller, PersonCaller):
        raise Conflict("This is about a person in a session, and a client has none.", code="not_a_person")
    operation.require(Resource(kind="person", entity=caller.entities()[0]))
    return person, caller


def invite(
    operation: Operation, *, organisation_id: str, draft: schemas.PersonDraft, hours: int
) -> schemas.PersonInvitation:
    """Makes an account and the one-time link to enrol.

    An administrator of the linkage unit invites the first signatory of a partner, who then invites the others.
    """
    row = organisations.existing(operation.session, organisation_id)
    operation.require(organisations.resource_of(row), roles=frozenset(draft.roles))
    others = [person for person in tables.people(operation.session, row.id) if person.status != "disabled"]
    if operation.caller.organisation != row.id and (
        any("signatory" in person.roles for person in others) or _has_signing_machine(operation.session, row.id)
    ):
        raise Conflict("This organisation has a signatory, who invites its people.", code="has_a_signatory")
    check_duties(row, draft.roles)
    person = new_person(
        operation.session, row, name=draft.name, email=draft.email, roles=draft.roles, now=operation.now
    )
    operation.record(
        EventType.PERSON_INVITED,
        resource=events.Resource("person", person.id),
        detail={"name": person.name, "roles": list(person.roles)},
    )
    return new_invitation(operation.session, person, now=operation.now, hours=hours)


def invite_again(operation: Operation, *, organisation_id: str, person_id: str, hours: int) -> schemas.PersonInvitation:
    """A new link: for an invitation that was lost or has expired, or to set a new password and second factor.

    Whatever the person signed in with no longer works, and every session of theirs ends.
    """
    person = _managed(operation, organisation_id=organisation_id, person_id=person_id)
    if person.status == "disabled":
        raise Conflict("The account is disabled. Enable it first.")
    new = person.status == "invited"
    forget_credentials(operation.session, person)
    operation.record(
        EventType.PERSON_INVITED if new else EventType.PERSON_SECOND_FACTOR_RESET,
        resource=events.Resource("person", person.id),
        detail={"name": person.name, "roles": list(person.roles)},
    )
    return new_invitation(operation.session, person, now=operation.now, hours=hours)


def change_roles(
    operation: Operation, *, organisation_id: str, person_id: str, roles: Collection[str]
) -> tables.Person:
    """Gives a person other roles. Their sessions end: what a session may do does not grow while it is open."""
    person = _managed(operation, organisation_id=organisation_id, person_id=person_id, besides=roles)
    check_duties(organisations.existing(operation.session, organisation_id), roles)
    before, person.roles = list(person.roles), sorted(set(roles))
    operation.session.add(person)
    tables.end_sessions(operation.session, person.id)
    operation.record(
        EventType.PERSON_ROLES_CHANGED,
        resource=events.Resource("person", person.id),
        detail={"before": before, "after": person.roles},
    )
    return person


def disable(operation: Operation, *, organisation_id: str, person_id: str) -> tables.Person:
    """Shuts a person out from the next request on; an invitation of theirs no longer works."""
    person = _managed(operation, organisation_id=organisation_id, person_id=person_id)
    if person.status == "disabled":
        raise Conflict("The account is disabled already.")
    person.status = "disabled"
    operation.session.add(person)
    tables.end_sessions(operation.session, person.id)
    tables.delete_invitations(operation.session, person.id)
    operation.record(EventType.PERSON_DISABLED, resource=events.Resource("person", person.id))
    return person


def enable(operation: Operation, *, organisation_id: str, person_id: str) -> tables.Person:
    """Lets a person in again, with what they signed in with before; without that they need a new link."""
    person = _managed(operation, organisation_id=organisation_id, person_id=person_id)
    if person.status != "disabled":
        raise Conflict("The account is not disabled.")
    person.status = "active" if person.password_hash or person.oidc_subject else "invited"
    operation.session.add(person)
    operation.record(EventType.PERSON_ENABLED, resource=events.Resource("person", person.id))
    return person


def end_sessions(operation: Operation, *, organisation_id: str, person_id: str) -> None:
    """Ends every session of a person."""
    person = _managed(operation, organisation_id=organisation_id, person_id=person_id)
    ended = tables.end_sessions(operation.session, person.id)
    operation.record(
        EventType.PERSON_SESSIONS_REVOKED, resource=events.Resource("person", person.id), counts={"sessions": ended}
    )


def enrolment(reception: Reception, token: str, *, now: datetime) -> schemas.Enrolment:
    """What an invitation is for."""
    with reception.database.reading() as session:
        invitation, person = _invited(session, token_digest(token), now=now)
        return schemas.Enrolment(
            name=person.name,
            email=person.email,
            organisation=person.organisation,
            organisation_name=organisations.existing(session, person.organisation).name,
            roles=person.roles,
            oidc=reception.provider is not None,
            expires_at=invitation.expires_at,
        )


def begin_enrolment(reception: Reception, token: str, *, password: str, now: datetime) -> schemas.SecondFactor:
    """Checks a password and draws a second factor. Nothing is kept until a code confirms it."""
    with reception.database.reading() as session:
        invitation, person = _invited(session, token_digest(token), now=now)
        organisation = organisations.existing(session, person.organisation).name
    check_strength(password, about=(person.name, person.email, organisation))
    secret = totp.new_secret()
    until = min(now + _ENROLMENT_LIFE, invitation.expires_at)
    members = {
        "invitation": invitation.token_digest,
        "hash": reception.passwords.hash(password),
        "second": secret.hex(),
    }
    label = urlsplit(reception.issuer()).netloc
    return schemas.SecondFactor(
        secret=totp.base32(secret),
        otpauth_uri=totp.provisioning_uri(secret, account=person.email, issuer=label),
        enrolment=reception.note("enrolment", members, until=until),
        expires_at=until,
    )


def confirm_enrolment(
    reception: Reception, token: str, *, note: str, code: str, visit: Visit
) -> tuple[schemas.Person, int]:
    """Opens the account if the code is one of the second factor that was drawn; the invitation is used up."""
    digest = token_digest(token)
    with unit_of_work(database=reception.database, log=reception.log, now=visit.now) as unit:
        invitation, person = _invited(unit.session, digest, now=visit.now)
        members = reception.noted("enrolment", note)
        if members["invitation"] != invitation.token_digest:
            raise invalid_invitation()
        secret = bytes.fromhex(members["second"])
        step = totp.matching_step(secret, code, now=visit.now, after=None)
        if step is None:
            raise wrong_code()
        person.password_hash = members["hash"]
        reception.keep_second_factor(person, secret)
        person.totp_last_step = step
        activate(unit.session, person)
        unit.record(visit.event(EventType.PERSON_ENROLLED, person, action="enrol", method="invitation"))
    return schemas.Person.of(person), unit.sequence[-1]


def activate(session: Session, person: tables.Person) -> None:
    """Opens an account; its invitation is used up."""
    person.status = "active"
    person.failed_attempts, person.locked_until = 0, None
    session.add(person)
    tables.delete_invitations(session, person.id)


def invited(session: Session, digest: str, *, now: datetime) -> tables.Person:
    """The person of an invitation that is in force.

    Raises:
        NotFound: it was used, withdrawn, or has expired.
    """
    return _invited(session, digest, now=now)[1]


def invite_of_unit(unit: UnitOfWork, *, role: UnitRole, name: str, email: str, hours: int) -> schemas.PersonInvitation:
    """A one-time link for an administrator or officer of the linkage unit, made by whoever runs the machine.

    A person of the unit who has this e-mail address gets the role and starts anew; else one is made. Nobody is both, so
    the other role of the two is taken away.

    Raises:
        Conflict: the address is that of a person elsewhere.
    """
    session = unit.session
    row = organisation_tables.linkage_unit(session)
    if row is None:
        raise Conflict("This service has no linkage unit yet. Run `linkage-service init` first.")
    person = tables.person_with_email(session, email)
    before = list(person.roles) if person else []
    if person is None:
        person = new_person(session, row, name=name, email=email, roles=[role], now=unit.now)
    elif person.organisation != row.id:
        raise Conflict("A person of another organisation has this e-mail address.")
    else:
        person.roles = sorted({*person.roles, role} - ({"administrator", "officer"} - {role}))
        forget_credentials(session, person)
    unit.record(
        entry(
            now=unit.now,
            event_type=EventType.PERSON_INVITED,
            actor=events.Actor("system", "linkage-service", row.id),
            resource=events.Resource("person", person.id),
            action=f"invite{role.title()}",
            outcome=events.Outcome("success", "ok"),
            request_id=f"invite-{role}",
            source="command line",
            body=body_of(detail={"name": person.name, "before": before, "after": person.roles}),
        )
    )
    return new_invitation(session, person, now=unit.now, hours=hours)


def forget_credentials(session: Session, person: tables.Person) -> None:
    """Makes everything that a person signed in with useless, and ends their sessions."""
    person.status = "invited"
    person.password_hash = person.totp_sealed = person.totp_last_step = None
    person.oidc_issuer = person.oidc_subject = None
    session.add(person)
    tables.end_sessions(session, person.id)


def new_person(
    session: Session,
    row: organisation_tables.Organisation,
    *,
    name: str,
    email: str,
    roles: Collection[str],
    now: datetime,
) -> tables.Person:
    """Makes an account without credentials.

    Raises:
        Conflict: the e-mail address is taken.
    """
    if tables.person_with_email(session, email) is not None:
        raise Conflict("A person with this e-mail address has an account already.", code="email_taken")
    person = tables.Person(
        id=new_id("per", now),
        organisation=row.id,
        name=name,
        email=email,
        roles=sorted(set(roles)),
        status="invited",
        created_at=now,
    )
    session.add(person)
    session.flush()
    return person


def new_invitation(session: Session, person: tables.Person, *, now: datetime, hours: int) -> schemas.PersonInvitation:
    """Makes a one-time link; an earlier one of the same person is withdrawn."""
    token = secrets.token_urlsafe(32)
    expires_at = now + timedelta(hours=hours)
    tables.delete_invitations(session, person.id)
    session.add(tables.PersonInvitation(token_digest=token_digest(token), person=person.id, expires_at=expires_at))
    return schemas.PersonInvitation(
        person=schemas.Person.of(person), token=token, path=f"/enrol/{token}", expires_at=expires_at
    )


def check_duties(row: organisation_tables.Organisation, roles: Collection[str]) -> None:
    """Separation of duties: whoever runs or oversees the service sees no data, and nobody oversees themselves.

    Raises:
        Invalid: naming the roles that do not go together.
    """
    chosen = frozenset(roles)
    if row.kind == "linkage_unit" and chosen & _DATA_ROLES:
        raise _not_separate("A person of the linkage unit cannot be an analyst or a recipient.")
    if row.kind != "linkage_unit" and chosen & {"administrator", "operator"}:
        raise _not_separate("Administrators and operators are people of the linkage unit.")
    if chosen & _UNIT_ROLES and chosen & _DATA_ROLES:
        raise _not_separate("An administrator, officer or operator cannot be an analyst or a recipient as well.")
    if chosen >= {"administrator", "officer"}:
        raise _not_separate("An officer oversees what administrators do, so nobody is both.")


def wrong_code(pointer: str = "/code") -> Invalid:
    """A code that is none, or was used before."""
    detail = "This is not the code of now, or it was used before. Wait for the next one."
    return Invalid("The code is not right.", code="wrong_code", errors=[FieldError(pointer, "wrong_code", detail)])


def invalid_invitation() -> NotFound:
    """An invitation that does not work."""
    return NotFound(
        "This link is not valid: it was used, withdrawn, or has expired. Ask whoever invited you for a new one."
    )


def _invited(session: Session, digest: str, *, now: datetime) -> tuple[tables.PersonInvitation, tables.Person]:
    invitation = tables.invitation(session, digest)
    person = tables.person(session, invitation.person) if invitation else None
    if invitation is None or person is None or invitation.expires_at <= now or person.status != "invited":
        raise invalid_invitation()
    return invitation, person


def _managed(
    operation: Operation, *, organisation_id: str, person_id: str, besides: Collection[str] = ()
) -> tables.Person:
    row = organisations.existing(operation.session, organisation_id)
    person = tables.locked_person(operation.session, person_id)
    if person is None or person.organisation != row.id:
        # Outsiders are refused here, as they would be if there were one.
        operation.require(organisations.resource_of(row), roles=_UNIT_ROLES - {"officer"})
        raise NotFound("There is no such person in this organisation.")
    operation.require(organisations.resource_of(row), roles=frozenset({*person.roles, *besides}))
    if person.id == operation.caller.id:
        raise Conflict("This is your own account. Another signatory or administrator has to do it.", code="own_account")
    if operation.caller.organisation != row.id:
        managers = [
            other for other in tables.people(operation.session, row.id)
            if other.id != person.id and other.status == "active" and _MANAGERS & set(other.roles)
        ]  # fmt: skip
        if managers or _has_signing_machine(operation.session, row.id):
            raise Conflict(
                "This organisation has another signatory, who looks after its people.", code="has_a_signatory"
            )
    return person


def _has_signing_machine(session: Session, organisation_id: str) -> bool:
    """Whether a client in force is a signatory: it looks after the people of an organisation that has none."""
    clients = organisation_tables.clients_of(session, organisation_id)
    return any(client.status == "active" and "signatory" in client.roles for client in clients)


def _not_separate(detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError("/roles", "duties_not_separate", detail)])
