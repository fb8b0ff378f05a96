"""Use cases of organisations and clients."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access import seen
from linkage_service.access.bearer import Holder
from linkage_service.access.callers import ClientCaller, OrganisationFacts
from linkage_service.access.decide import Resource
from linkage_service.access.entities import Entity, Reference, organisation_reference
from linkage_service.access.guard import Operation
from linkage_service.access.seen import Note
from linkage_service.access.tokens import UNKNOWN_KEY, AccessToken, PublicKey, public_key, token_digest
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import body_of, entry
from linkage_service.audit.unit import UnitOfWork
from linkage_service.database import Database
from linkage_service.errors import Conflict, FieldError, Invalid, NotFound, Unauthenticated
from linkage_service.ids import new_id
from linkage_service.organisations import schemas, tables
from linkage_service.wire import from_base64url

_REGISTRATION_CONTEXT = b"linkage/registration/v1\0"
_UNIT_ROLES = frozenset({"administrator", "officer", "operator"})
_DATA_ROLES = frozenset({"analyst", "recipient"})
# Two are enough to rotate without a gap; more is a client that is several machines.
_KEYS_MOST = 5


def load_client(database: Database, token: AccessToken, proof: Note | None) -> tuple[Holder | None, bool]:
    """The client of a token and its organisation as the policy sees them now; and whether the proof is a new one."""
    found, is_new = tables.client_on_key(database, token.client, token.key, note=proof)
    if found is None:
        return None, is_new
    caller = ClientCaller(
        id=token.client,
        facts=_facts(
            found.organisation, found.kind, found.organisation_status, found.assurance, found.assurance_expires
        ),
        roles=frozenset(found.roles),
        key_thumbprint=token.key,
        key_registered=found.registered_at,
        revoked="revoked" in (found.status, found.key_status),
        suspended=found.status == "suspended",
    )
    ended = [moment for moment in (found.tokens_from, found.organisation_tokens_from) if moment is not None]
    return Holder(caller, tokens_from=max(ended, default=None)), is_new


def facts_of(row: tables.Organisation) -> OrganisationFacts:
    """What the policy knows of an organisation."""
    return _facts(row.id, row.kind, row.status, row.assurance, row.assurance_expires)


def _facts(
    organisation: str, kind: str, status: str, assurance: str, assurance_expires: datetime | None
) -> OrganisationFacts:
    return OrganisationFacts(
        id=organisation,
        kind=kind,
        suspended=status == "suspended",
        assurance=assurance,
        assurance_expires=assurance_expires,
    )


def resource_of(row: tables.Organisation) -> Resource:
    """An organisation as something that is acted on."""
    return Resource(kind="organisation", entity=facts_of(row).entity())


def client_resource(session: Session, row: tables.Client) -> Resource:
    """A client as something that is acted on."""
    organisation = existing(session, row.organisation)
    good = [key.registered_at for key in tables.keys_of(session, [row.id])[row.id] if key.status == "active"]
    entity = Entity(
        Reference("Client", row.id),
        {
            "organisation": organisation_reference(row.organisation),
            "roles": frozenset(row.roles),
            "revoked": row.status == "revoked",
            "suspended": row.status == "suspended",
            "key_registered": max(good, default=row.created_at),
        },
    )
    return Resource(
        kind="client",
        entity=entity,
        related=(facts_of(organisation).entity(),),
        visible_to=frozenset({row.organisation}),
    )


def existing_client(session: Session, organisation_id: str, client_id: str) -> tables.Client:
    """One client of an organisation.

    Raises:
        NotFound: there is none with this id.
    """
    client = tables.client(session, client_id)
    if client is None or client.organisation != organisation_id:
        raise NotFound("There is no such client in this organisation.")
    return client


def render_client(session: Session, row: tables.Client) -> schemas.Client:
    """A client for the wire."""
    return schemas.Client.of(row, tables.keys_of(session, [row.id])[row.id])


def existing(session: Session, organisation_id: str) -> tables.Organisation:
    """One organisation.

    Raises:
        NotFound: there is none with this id.
    """
    row = tables.organisation(session, organisation_id)
    if row is None:
        raise NotFound("There is no such organisation.")
    return row


def create(operation: Operation, *, name: str) -> tables.Organisation:
    """Creates an organisation that has not registered its keys yet."""
    row = _new_organisation(operation.session, name=name, kind="partner", status="invited", now=operation.now)
    operation.record(EventType.ORGANISATION_CREATED, resource=events.Resource("organisation", row.id))
    return row


def invite(operation: Operation, *, row: tables.Organisation, days: int) -> schemas.Invitation:
    """Makes an invitation; an earlier one of the same organisation is withdrawn."""
    if row.status != "invited":
        raise Conflict("This organisation has registered already. Its signatory can add clients.")
    token = secrets.token_urlsafe(32)
    expires_at = operation.now + timedelta(days=days)
    tables.delete_invitations(operation.session, row.id)
    operation.session.add(
        tables.Invitation(token_digest=token_digest(token), organisation=row.id, expires_at=expires_at)
    )
    operation.record(EventType.ORGANISATION_INVITED, resource=events.Resource("organisation", row.id))
    return schemas.Invitation(token=token, organisation=row.id, expires_at=expires_at)


def add_client(operation: Operation, *, row: tables.Organisation, draft: schemas.ClientDraft) -> tables.Client:
    """Registers a further client of the caller's organisation."""
    operation.require(resource_of(row), roles=frozenset(draft.roles))
    check_roles(row, draft.roles)
    key = public_key(draft.jwk, pointer="/jwk")
    client = _new_client(operation.session, row, name=draft.name, key=key, roles=draft.roles, now=operation.now)
    operation.record(
        EventType.CLIENT_ADDED,
        resource=events.Resource("client", client.id),
        detail={"roles": client.roles, "key_thumbprint": key.thumbprint},
    )
    return client


def revoke_client(operation: Operation, *, row: tables.Organisation, client_id: str) -> None:
    """Revokes a client; its tokens stop working with the next request."""
    client = tables.client(operation.session, client_id)
    known = client is not None and client.organisation == row.id
    # Outsiders are refused here, as they would be if there were one.
    operation.require(resource_of(row), roles=frozenset(client.roles if client is not None and known else ()))
    client = existing_client(operation.session, row.id, client_id)
    if client.id == operation.caller.id:
        raise Conflict("A client cannot revoke itself: use another one, so that the organisation is not locked out.")
    client.status = "revoked"
    operation.session.add(client)
    operation.record(EventType.CLIENT_REVOKED, resource=events.Resource("client", client.id))


def add_key(operation: Operation, *, client: tables.Client, draft: schemas.KeyDraft) -> tables.ClientKey:
    """Registers a further key of a client, which works beside the others until these are revoked."""
    if client.status == "revoked":
        raise Conflict("This client was revoked. A signatory of its organisation registers a new one.")
    tables.lock_client(operation.session, client)
    good = [key for key in tables.keys_of(operation.session, [client.id])[client.id] if key.status == "active"]
    if len(good) >= _KEYS_MOST:
        raise Conflict(f"A client has at most {_KEYS_MOST} keys at a time. Revoke one that is no longer used.")
    key = _new_key(operation.session, client, public_key(draft.jwk, pointer="/jwk"), now=operation.now)
    operation.record(
        EventType.CLIENT_KEY_ADDED,
        resource=events.Resource("client", client.id),
        detail={"key_thumbprint": key.thumbprint},
    )
    return key


def revoke_key(operation: Operation, *, client: tables.Client, thumbprint: str) -> None:
    """Revokes a key; the tokens that were issued for it stop working with the next request."""
    # Two requests at once must not leave a client without a key.
    tables.lock_client(operation.session, client)
    keys = {key.thumbprint: key for key in tables.keys_of(operation.session, [client.id])[client.id]}
    key = keys.get(thumbprint)
    if key is None:
        raise NotFound("There is no such key of this client.")
    if key.status == "revoked":
        raise Conflict("This key was revoked already.")
    if sum(other.status == "active" for other in keys.values()) == 1:
        raise Conflict("This is the client's last key. Register another first, or revoke the client.")
    key.status = "revoked"
    key.revoked_at = operation.now
    operation.session.add(key)
    operation.record(
        EventType.CLIENT_KEY_REVOKED,
        resource=events.Resource("client", client.id),
        detail={"key_thumbprint": key.thumbprint},
    )


def record_assurance(
    operation: Operation, *, row: tables.Organisation, record: schemas.AssuranceRecord
) -> tables.Organisation:
    """Records what an organisation has shown of its security; decisions go by it from the next one on."""
    if (record.expires_at is None) != (record.status == "none"):
        raise _wrong("/expires_at", "no_expiry", "Say until when the assurance holds; with the status none, say null.")
    row.assurance = record.status
    row.assurance_expires = record.expires_at
    operation.session.add(row)
    operation.record(
        EventType.ORGANISATION_ASSURANCE_RECORDED,
        resource=events.Resource("organisation", row.id),
        detail=record.model_dump(mode="json"),
    )
    return row


def register(
    unit: UnitOfWork, *, draft: schemas.RegistrationDraft, request_id: str, source: str
) -> tuple[tables.Organisation, tables.Client]:
    """Registers an invited organisation's signing key and first client; the invitation is used up.

    Raises:
        NotFound: the invitation is unknown, used or expired.
        Invalid: a key or the signature is wrong.
    """
    session = unit.session
    invitation = tables.invitation(session, token_digest(draft.invitation))
    if invitation is None or invitation.expires_at <= unit.now:
        raise NotFound(
            "This invitation is not valid: it was used, withdrawn, or has expired. Ask the linkage unit for a new one."
        )
    row = existing(session, invitation.organisation)
    signing_key = public_key(draft.signing_key, pointer="/signing_key", ed25519_only=True)
    client_key = public_key(draft.client.jwk, pointer="/client/jwk")
    if signing_key.thumbprint == client_key.thumbprint:
        raise _wrong(
            "/client/jwk", "same_key", "The client needs a key of its own: the signing key signs agreements only."
        )
    check_roles(row, draft.client.roles)
    _check_registration_signature(draft, signing_key)
    row.signing_key = signing_key.members
    row.signing_key_thumbprint = signing_key.thumbprint
    row.status = "active"
    session.add(row)
    client = _new_client(session, row, name=draft.client.name, key=client_key, roles=draft.client.roles, now=unit.now)
    tables.delete_invitations(session, row.id)
    unit.record(
        entry(
            now=unit.now,
            event_type=EventType.ORGANISATION_REGISTERED,
            actor=events.Actor("client", client.id, row.id),
            authn=events.Authn("invitation", key_thumbprint=signing_key.thumbprint),
            resource=events.Resource("organisation", row.id),
            action="register",
            outcome=events.Outcome("success", "ok"),
            request_id=request_id,
            source=source,
            body=body_of(detail={"roles": client.roles, "key_thumbprint": client_key.thumbprint}),
        )
    )
    return row, client


def found_unit(
    unit: UnitOfWork, *, name: str, clients: Sequence[tuple[str, PublicKey, str]]
) -> tuple[tables.Organisation, list[tables.Client]]:
    """Creates the linkage unit with its first clients, when a service is initialised.

    Args:
        unit: the transaction.
        name: the linkage unit's name.
        clients: name, public key and role of each.
    """
    if tables.linkage_unit(unit.session) is not None:
        raise Conflict("This service was initialised already. Start it with `linkage-service serve`.")
    row = _new_organisation(unit.session, name=name, kind="linkage_unit", status="active", now=unit.now)
    made = [
        _new_client(unit.session, row, name=client, key=key, roles=[role], now=unit.now)
        for client, key, role in clients
    ]
    unit.record(
        entry(
            now=unit.now,
            event_type=EventType.SERVICE_INITIALISED,
            actor=events.Actor("system", "linkage-service", row.id),
            resource=events.Resource("organisation", row.id),
            action="initialise",
            outcome=events.Outcome("success", "ok"),
            counts={"clients": len(made)},
            request_id="init",
            source="command line",
        )
    )
    return row, made


def key_for(session: Session, client: tables.Client, kid: str | None) -> tables.ClientKey:
    """The key that an assertion says it is signed with; one without `kid` is unambiguous only with a single good key.

    Raises:
        Unauthenticated: the client has no such key.
    """
    keys = tables.keys_of(session, [client.id])[client.id]
    if kid is not None:
        named = [key for key in keys if key.thumbprint == kid]
    else:
        named = [key for key in keys if key.status == "active"]
    if len(named) != 1:
        raise Unauthenticated(
            "The assertion's kid names no key of this client. It is the RFC 7638 thumbprint of the key, and may be "
            "left out only while the client has a single key.",
            code=UNKNOWN_KEY,
        )
    return named[0]


def check_active(session: Session, client: tables.Client, key: tables.ClientKey) -> None:
    """Refuses a client that gets no tokens now.

    Raises:
        Unauthenticated: it, or its key, was revoked, or it or its organisation is suspended.
    """
    if "revoked" in (client.status, key.status):
        raise Unauthenticated("This client, or this key of it, was revoked.", code="revoked")
    if "suspended" in (client.status, existing(session, client.organisation).status):
        raise Unauthenticated(
            "This client, or its organisation, is suspended. An officer of the linkage unit lifts the suspension.",
            code="suspended",
        )


def use_assertion(unit: UnitOfWork, *, client: tables.Client, token_id: str, expires_at: datetime) -> None:
    """Remembers an assertion, so that it works once.

    Raises:
        Unauthenticated: it was used before.
    """
    digest = token_digest(token_id)
    if tables.assertion_was_used(unit.session, client_id=client.id, token_id_digest=digest):
        raise Unauthenticated(
            "This assertion was used before. Each request for a token needs a new one with a new jti.",
            code="assertion_replayed",
        )
    tables.forget_assertions(unit.session, before=unit.now - timedelta(hours=1))
    seen.forget(unit.session, before=unit.now)
    unit.session.add(tables.UsedAssertion(client=client.id, token_id_digest=digest, expires_at=expires_at))


def verify_signature(key: dict[str, str], *, signature: str, message: bytes, pointer: str) -> None:
    """Checks an organisation's Ed25519 signature.

    Raises:
        Invalid: it does not verify.
    """
    raw = from_base64url(signature, pointer=pointer)
    try:
        public = Ed25519PublicKey.from_public_bytes(from_base64url(key["x"], pointer=pointer))
        public.verify(raw, message)
    except (InvalidSignature, ValueError) as error:
        raise _wrong(
            pointer, "bad_signature", "The signature does not verify with the organisation's registered signing key."
        ) from error


def _check_registration_signature(draft: schemas.RegistrationDraft, key: PublicKey) -> None:
    signed: dict[str, Any] = {
        "invitation": draft.invitation,
        "signing_key": draft.signing_key,
        "client": draft.client.model_dump(mode="json"),
    }
    try:
        message = _REGISTRATION_CONTEXT + rfc8785.dumps(signed)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise _wrong(
            "/signing_key", "not_canonical", "The keys hold values that have no canonical JSON form."
        ) from error
    verify_signature(key.members, signature=draft.signature, message=message, pointer="/signature")


def check_roles(row: tables.Organisation, roles: Sequence[str]) -> None:
    """Separation of duties.

    Raises:
        Invalid: nobody of this organisation may have these roles together.
    """
    # Whoever administers, runs or oversees the service reads no link table.
    if _UNIT_ROLES & set(roles) and _DATA_ROLES & set(roles):
        raise _wrong(
            "/roles",
            "duties_not_separate",
            "An administrator, officer or operator cannot also be an analyst or a recipient.",
        )
    if {"administrator", "officer"} <= set(roles):
        raise _wrong("/roles", "duties_not_separate", "An administrator cannot also be the officer who oversees it.")
    if row.kind != "linkage_unit" and "operator" in roles:
        raise _wrong("/roles", "not_here", "Only the linkage unit has operators.")
    if row.kind == "linkage_unit" and _DATA_ROLES & set(roles):
        raise _wrong(
            "/roles", "duties_not_separate", "A client of the linkage unit cannot be an analyst's or a recipient's."
        )


def _new_organisation(session: Session, *, name: str, kind: str, status: str, now: datetime) -> tables.Organisation:
    if tables.organisation_named(session, name) is not None:
        raise Conflict("An organisation of this name exists already.")
    row = tables.Organisation(
        id=new_id("org", now),
        name=name,
        kind=kind,
        status=status,
        signing_key=None,
        signing_key_thumbprint=None,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row


def _new_client(
    session: Session, row: tables.Organisation, *, name: str, key: PublicKey, roles: Sequence[str], now: datetime
) -> tables.Client:
    client = tables.Client(
        id=new_id("cli", now),
        organisation=row.id,
        name=name,
        roles=sorted(set(roles)),
        status="active",
        created_at=now,
    )
    session.add(client)
    session.flush()
    _new_key(session, client, key, now=now)
    return client


def _new_key(session: Session, client: tables.Client, key: PublicKey, *, now: datetime) -> tables.ClientKey:
    if tables.client_key(session, key.thumbprint) is not None:
        raise Conflict("This key is registered already, or was. Make a new one: each key is of one client, once.")
    if tables.signing_key_is_used(session, key.thumbprint):
        raise _wrong("/jwk", "same_key", "A client needs a key of its own: signing keys sign agreements only.")
    row = tables.ClientKey(
        thumbprint=key.thumbprint, client=client.id, jwk=key.members, status="active", registered_at=now
    )
    session.add(row)
    session.flush()
    return row


def _wrong(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(pointer, code, detail)])
