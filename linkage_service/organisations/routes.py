"""HTTP of identity: tokens, organisations, registration, clients and their keys, assurance, sanctions."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from linkage_ledger import events
from linkage_service.access import bearer
from linkage_service.access.actions import Action
from linkage_service.access.decide import SERVICE
from linkage_service.access.guard import PUBLIC, Created, Door, Gate, Operation, guard
from linkage_service.access.seen import Note, is_first
from linkage_service.access.source import source_of
from linkage_service.access.tokens import (
    PROOF_ALGORITHMS,
    UNSIGNED,
    check_assertion,
    claimed_client,
    claimed_key,
    public_key,
)
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Entry, entry
from linkage_service.audit.unit import unit_of_work
from linkage_service.errors import Unauthenticated
from linkage_service.ids import new_id
from linkage_service.organisations import sanctions, schemas, service, tables
from linkage_service.people import tables as person_tables
from linkage_service.people.schemas import Person
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.settings import Settings
from linkage_service.wire import OrganisationPath, Page, PageQuery, Route

router = APIRouter(route_class=Route, tags=["identity"], responses=OF_EVERY_ROUTE)
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Longer than an assertion can be used by mistake, short enough to be forgotten.
_REFUSALS_REMEMBERED = timedelta(days=1)
ClientPath = Annotated[str, Path(description="Id of the client.", pattern=r"^cli_[0-9a-z]{26}$")]
ThumbprintPath = Annotated[str, Path(description="RFC 7638 thumbprint of the key.", pattern=r"^[A-Za-z0-9_-]{43}$")]


class TokenRequest(BaseModel):
    """RFC 6749 section 4.4 with a client assertion (RFC 7523 section 2.2)."""

    model_config = ConfigDict(extra="forbid")

    grant_type: Annotated[str, Field(pattern="^client_credentials$")]
    client_assertion_type: Annotated[str, Field(pattern=f"^{_ASSERTION_TYPE}$")]
    client_assertion: Annotated[str, Field(min_length=16, max_length=8192)]


@router.get(
    "/.well-known/oauth-authorization-server", operation_id="get_metadata", summary="Where and how to get tokens",
    dependencies=[PUBLIC],
)  # fmt: skip
def get_metadata(request: Request) -> schemas.Metadata:
    """RFC 8414 metadata. `issuer` is the audience that client assertions must name."""
    issuer = request.app.state.service.door.issuer()
    return schemas.Metadata(
        issuer=issuer,
        token_endpoint=f"{issuer}/v1/oauth/token",
        jwks_uri=f"{issuer}/v1/oauth/jwks",
        grant_types_supported=["client_credentials"],
        token_endpoint_auth_methods_supported=["private_key_jwt"],
        token_endpoint_auth_signing_alg_values_supported=["Ed25519", "EdDSA", "ES256"],
        response_types_supported=[],
        dpop_signing_alg_values_supported=list(PROOF_ALGORITHMS),
    )


@router.get("/v1/oauth/jwks", operation_id="get_jwks", summary="Keys that sign access tokens", dependencies=[PUBLIC])
def get_jwks(request: Request) -> schemas.JwkSet:
    """The public keys of access tokens (RFC 7517)."""
    door: Door = request.app.state.service.door
    return schemas.JwkSet.model_validate(door.tokens.jwks)


@router.post(
    "/v1/oauth/token", operation_id="issue_token", summary="Get an access token", dependencies=[PUBLIC],
    response_model=schemas.Token, responses=responses(401, 413, 422),
)  # fmt: skip
def issue_token(request: Request, form: Annotated[TokenRequest, Form()], response: Response) -> schemas.Token:
    """Exchanges a signed client assertion for an access token. An assertion works once.

    The header `DPoP` carries a proof of possession (RFC 9449); the token is bound to the key that signed it.
    """
    state = request.app.state.service
    door: Door = state.door
    settings: Settings = state.settings
    response.headers["Cache-Control"] = "no-store"
    now = door.clock()
    with door.database.reading() as session:
        client = tables.client(session, claimed_client(form.client_assertion) or "")
        if client is None:
            # Nobody registered is behind this, and anyone could send it: it is no leaf of a log that only grows.
            raise Unauthenticated(
                "The assertion does not come from a client that is registered here.", code="unknown_client"
            )
        key = service.key_for(session, client, claimed_key(form.client_assertion))

    def event(event_type: EventType, outcome: events.Outcome) -> Entry:
        return entry(
            now=now,
            event_type=event_type,
            actor=events.Actor("client", client.id, client.organisation),
            authn=events.Authn("private_key_jwt", key_thumbprint=key.thumbprint),
            resource=events.Resource("client", client.id),
            action="issueToken",
            outcome=outcome,
            request_id=request.state.request_id,
            source=source_of(request),
        )

    try:
        checked = check_assertion(
            form.client_assertion,
            key=public_key(key.jwk, pointer=""),
            audience=door.issuer(),
            now=now,
            longest_s=settings.assertion_s,
        )
        proof = bearer.proof_of(door, request, token=None)
        if proof is None and door.require_dpop:
            raise bearer.proof_missing()
        if proof is not None:
            bearer.use_proof(door, proof)
        with unit_of_work(database=door.database, log=door.log, now=now) as unit:
            service.check_active(unit.session, client, key)
            service.use_assertion(unit, client=client, token_id=checked.token_id, expires_at=checked.expires_at)
            unit.record(event(EventType.TOKEN_ISSUED, events.Outcome("success", "ok")))
    except Unauthenticated as error:
        # Without a valid signature anyone may have sent it: it is no act of the client that it names. With one it is an
        # act, once: an assertion that somebody found in a log can be sent for ever.
        signed = form.client_assertion.rpartition(".")[0]
        refusal = Note.of("assertion refused", signed, error.instance_code, expires_at=now + _REFUSALS_REMEMBERED)
        if error.instance_code not in UNSIGNED and is_first(door.database, refusal):
            with unit_of_work(database=door.database, log=door.log, now=now) as unit:
                unit.record(event(EventType.TOKEN_REFUSED, events.Outcome("refused", error.instance_code)))
        raise
    response.headers.update(unit.acknowledged.headers)
    token = door.tokens.issue(
        issuer=door.issuer(),
        client=client.id,
        key=key.thumbprint,
        holder=proof.key if proof else None,
        token_id=new_id("tok", now),
        now=now,
    )
    return schemas.Token(access_token=token, token_type="DPoP" if proof else "Bearer", expires_in=door.tokens.life_s)


@router.get("/v1/me", operation_id="get_me", summary="Who am I?", responses=responses(401, 403, 422))
def get_me(gate: Annotated[Gate, guard(Action.BROWSE)]) -> schemas.Me:
    """The client or the person who calls, and their organisation."""

    def query(operation: Operation) -> schemas.Me:
        operation.require(SERVICE)
        client = tables.client(operation.session, operation.caller.id)
        person = person_tables.person(operation.session, operation.caller.id)
        return schemas.Me(
            client=service.render_client(operation.session, client) if client else None,
            person=Person.of(person) if person else None,
            organisation=schemas.Organisation.of(service.existing(operation.session, operation.caller.organisation)),
        )

    return gate.read(query)


@router.post(
    "/v1/organisations", operation_id="create_organisation", summary="Create an organisation", status_code=201,
    response_model=schemas.Organisation, responses=responses(401, 403, 409, 413, 415, 422),
)  # fmt: skip
def create_organisation(
    draft: schemas.OrganisationDraft, gate: Annotated[Gate, guard(Action.CREATE_ORGANISATION)]
) -> Response:
    """Creates an organisation; it becomes active when it registers its keys with an invitation."""

    def use_case(operation: Operation) -> Created:
        operation.require(SERVICE)
        row = service.create(operation, name=draft.name)
        return Created(schemas.Organisation.of(row), f"/v1/organisations/{row.id}")

    return gate.change(use_case, status=201, body=draft)


@router.get(
    "/v1/organisations",
    operation_id="list_organisations",
    summary="List organisations",
    responses=responses(401, 403, 422),
)
def list_organisations(page: PageQuery, gate: Annotated[Gate, guard(Action.BROWSE)]) -> Page[schemas.Organisation]:
    """Every organisation, by id: parties need names and keys of one another."""

    def query(operation: Operation) -> Page[schemas.Organisation]:
        operation.require(SERVICE)
        rows = tables.organisations_page(operation.session, after=page.after, limit=page.limit + 1)
        return page.page(rows, schemas.Organisation.of, lambda row: row.id)

    return gate.read(query)


@router.get(
    "/v1/organisations/{organisation_id}", operation_id="get_organisation", summary="One organisation",
    responses=responses(401, 403, 404, 422),
)  # fmt: skip
def get_organisation(
    organisation_id: OrganisationPath, gate: Annotated[Gate, guard(Action.READ_ORGANISATION)]
) -> schemas.Organisation:
    """One organisation."""

    def query(operation: Operation) -> schemas.Organisation:
        row = service.existing(operation.session, organisation_id)
        operation.require(service.resource_of(row))
        return schemas.Organisation.of(row)

    return gate.read(query)


@router.post(
    "/v1/organisations/{organisation_id}/invitations", operation_id="invite_organisation", status_code=201,
    summary="Invite an organisation to register its keys", response_model=schemas.Invitation,
    responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def invite_organisation(
    organisation_id: OrganisationPath, request: Request, gate: Annotated[Gate, guard(Action.INVITE_ORGANISATION)]
) -> Response:
    """Gives a single-use token, shown this once; an earlier invitation of the organisation is withdrawn.

    An Idempotency-Key has no effect here: a token is never kept, so a repeated request gives a new one.
    """
    days = request.app.state.service.settings.invitation_days

    def use_case(operation: Operation) -> Created:
        row = service.existing(operation.session, organisation_id)
        operation.require(service.resource_of(row))
        return Created(service.invite(operation, row=row, days=days), f"/v1/organisations/{row.id}")

    gate.idempotency_key = None
    return gate.change(use_case, status=201)


@router.post(
    "/v1/registrations", operation_id="register", summary="Register an invited organisation", status_code=201,
    dependencies=[PUBLIC], response_model=schemas.Registration, responses=responses(404, 409, 413, 415, 422),
)  # fmt: skip
def register(draft: schemas.RegistrationDraft, request: Request, response: Response) -> schemas.Registration:
    """Registers the organisation's signing key and its first client. The invitation authorises, and is used up."""
    door: Door = request.app.state.service.door
    with unit_of_work(database=door.database, log=door.log, now=door.clock()) as unit:
        row, client = service.register(
            unit,
            draft=draft,
            request_id=request.state.request_id,
            source=source_of(request),
        )
        registered = service.render_client(unit.session, client)
    response.headers.update(unit.acknowledged.headers)
    return schemas.Registration(organisation=schemas.Organisation.of(row), client=registered)


@router.post(
    "/v1/organisations/{organisation_id}/clients", operation_id="add_client", summary="Register a further client",
    status_code=201, response_model=schemas.Client, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def add_client(
    organisation_id: OrganisationPath, draft: schemas.ClientDraft, gate: Annotated[Gate, guard(Action.MANAGE_CLIENTS)]
) -> Response:
    """Registers a further client of the caller's own organisation, for another machine."""

    def use_case(operation: Operation) -> Created:
        row = service.existing(operation.session, organisation_id)
        client = service.add_client(operation, row=row, draft=draft)
        return Created(service.render_client(operation.session, client), f"/v1/organisations/{row.id}/clients")

    return gate.change(use_case, status=201, body=draft)


@router.get(
    "/v1/organisations/{organisation_id}/clients", operation_id="list_clients", summary="Clients of an organisation",
    responses=responses(401, 403, 404, 422),
)  # fmt: skip
def list_clients(
    organisation_id: OrganisationPath, page: PageQuery, gate: Annotated[Gate, guard(Action.READ_CLIENTS)]
) -> Page[schemas.Client]:
    """Clients of the caller's own organisation, revoked ones included."""

    def query(operation: Operation) -> Page[schemas.Client]:
        row = service.existing(operation.session, organisation_id)
        operation.require(service.resource_of(row))
        rows = tables.clients_page(operation.session, organisation_id=row.id, after=page.after, limit=page.limit + 1)
        keys = tables.keys_of(operation.session, [client.id for client in rows])
        return page.page(rows, lambda client: schemas.Client.of(client, keys[client.id]), lambda client: client.id)

    return gate.read(query)


@router.delete(
    "/v1/organisations/{organisation_id}/clients/{client_id}", operation_id="revoke_client", status_code=204,
    summary="Revoke a client", responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def revoke_client(
    organisation_id: OrganisationPath, client_id: ClientPath, gate: Annotated[Gate, guard(Action.MANAGE_CLIENTS)]
) -> Response:
    """Revokes a client at once: its tokens are refused from the next request on."""

    def use_case(operation: Operation) -> None:
        row = service.existing(operation.session, organisation_id)
        service.revoke_client(operation, row=row, client_id=client_id)

    return gate.change(use_case, status=204)


@router.get(
    "/v1/organisations/{organisation_id}/clients/{client_id}/keys", operation_id="list_client_keys",
    summary="Keys of a client", responses=responses(401, 403, 404, 422),
)  # fmt: skip
def list_client_keys(
    organisation_id: OrganisationPath, client_id: ClientPath, gate: Annotated[Gate, guard(Action.READ_CLIENTS)]
) -> Page[schemas.ClientKey]:
    """Keys of the caller, or of a client of its organisation, oldest first, revoked ones included; on one page."""

    def query(operation: Operation) -> Page[schemas.ClientKey]:
        client = service.existing_client(operation.session, organisation_id, client_id)
        operation.require(service.client_resource(operation.session, client))
        keys = tables.keys_of(operation.session, [client.id])[client.id]
        return Page(items=[schemas.ClientKey.of(key) for key in keys], next_cursor=None)

    return gate.read(query)


@router.post(
    "/v1/organisations/{organisation_id}/clients/{client_id}/keys", operation_id="add_client_key", status_code=201,
    summary="Register a further key of a client", response_model=schemas.ClientKey,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def add_client_key(
    organisation_id: OrganisationPath,
    client_id: ClientPath,
    draft: schemas.KeyDraft,
    gate: Annotated[Gate, guard(Action.ROTATE_KEY)],
) -> Response:
    """Registers a new key beside the old one. To rotate: add, use the new key, then revoke the old one."""

    def use_case(operation: Operation) -> Created:
        client = service.existing_client(operation.session, organisation_id, client_id)
        operation.require(service.client_resource(operation.session, client))
        key = service.add_key(operation, client=client, draft=draft)
        return Created(schemas.ClientKey.of(key), f"/v1/organisations/{organisation_id}/clients/{client.id}/keys")

    return gate.change(use_case, status=201, body=draft)


@router.delete(
    "/v1/organisations/{organisation_id}/clients/{client_id}/keys/{thumbprint}", operation_id="revoke_client_key",
    status_code=204, summary="Revoke a key of a client", responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def revoke_client_key(
    organisation_id: OrganisationPath,
    client_id: ClientPath,
    thumbprint: ThumbprintPath,
    gate: Annotated[Gate, guard(Action.ROTATE_KEY)],
) -> Response:
    """Revokes a key at once: tokens issued for it are refused from the next request on. The last one stays."""

    def use_case(operation: Operation) -> None:
        client = service.existing_client(operation.session, organisation_id, client_id)
        operation.require(service.client_resource(operation.session, client))
        service.revoke_key(operation, client=client, thumbprint=thumbprint)

    return gate.change(use_case, status=204)


@router.put(
    "/v1/organisations/{organisation_id}/assurance", operation_id="record_assurance",
    summary="Record the security assurance of an organisation", response_model=schemas.Organisation,
    responses=responses(401, 403, 404, 413, 415, 422),
)  # fmt: skip
def record_assurance(
    organisation_id: OrganisationPath,
    record: schemas.AssuranceRecord,
    gate: Annotated[Gate, guard(Action.RECORD_ASSURANCE)],
) -> Response:
    """Records what was seen and until when it holds. Agreements that ask for more refuse from the next request on."""

    def use_case(operation: Operation) -> schemas.Organisation:
        row = service.existing(operation.session, organisation_id)
        operation.require(service.resource_of(row))
        return schemas.Organisation.of(service.record_assurance(operation, row=row, record=record))

    return gate.change(use_case)


@router.post(
    "/v1/organisations/{organisation_id}:warn", operation_id="warn_organisation",
    summary="Warn an organisation", response_model=schemas.Organisation,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def warn_organisation(
    organisation_id: OrganisationPath,
    draft: schemas.Sanction,
    gate: Annotated[Gate, guard(Action.SANCTION_ORGANISATION)],
) -> Response:
    """Puts a warning with its reason into the ledger. Nothing is stopped."""
    return _sanctioned_organisation(gate, organisation_id, step="warn", draft=draft)


@router.post(
    "/v1/organisations/{organisation_id}/clients/{client_id}:warn", operation_id="warn_client",
    summary="Warn a client", response_model=schemas.Client,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def warn_client(
    organisation_id: OrganisationPath,
    client_id: ClientPath,
    draft: schemas.Sanction,
    gate: Annotated[Gate, guard(Action.SANCTION_CLIENT)],
) -> Response:
    """Puts a warning with its reason into the ledger. Nothing is stopped."""
    return _sanctioned_client(gate, organisation_id, client_id, step="warn", draft=draft)


@router.post(
    "/v1/organisations/{organisation_id}:suspend", operation_id="suspend_organisation",
    summary="Suspend an organisation", response_model=schemas.Organisation,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def suspend_organisation(
    organisation_id: OrganisationPath,
    draft: schemas.Sanction,
    gate: Annotated[Gate, guard(Action.SANCTION_ORGANISATION)],
) -> Response:
    """Stops everything that the organisation's clients and people do, at once. Its tokens end for good."""
    return _sanctioned_organisation(gate, organisation_id, step="suspend", draft=draft)


@router.post(
    "/v1/organisations/{organisation_id}/clients/{client_id}:suspend", operation_id="suspend_client",
    summary="Suspend a client", response_model=schemas.Client,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def suspend_client(
    organisation_id: OrganisationPath,
    client_id: ClientPath,
    draft: schemas.Sanction,
    gate: Annotated[Gate, guard(Action.SANCTION_CLIENT)],
) -> Response:
    """Stops the client at once. Its tokens end for good."""
    return _sanctioned_client(gate, organisation_id, client_id, step="suspend", draft=draft)


@router.post(
    "/v1/organisations/{organisation_id}:reinstate", operation_id="reinstate_organisation",
    summary="Reinstate an organisation", response_model=schemas.Organisation,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def reinstate_organisation(
    organisation_id: OrganisationPath,
    draft: schemas.Sanction,
    gate: Annotated[Gate, guard(Action.SANCTION_ORGANISATION)],
) -> Response:
    """Lifts a suspension. New tokens are needed."""
    return _sanctioned_organisation(gate, organisation_id, step="reinstate", draft=draft)


@router.post(
    "/v1/organisations/{organisation_id}/clients/{client_id}:reinstate", operation_id="reinstate_client",
    summary="Reinstate a client", response_model=schemas.Client,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def reinstate_client(
    organisation_id: OrganisationPath,
    client_id: ClientPath,
    draft: schemas.Sanction,
    gate: Annotated[Gate, guard(Action.SANCTION_CLIENT)],
) -> Response:
    """Lifts a suspension. New tokens are needed."""
    return _sanctioned_client(gate, organisation_id, client_id, step="reinstate", draft=draft)


def _sanctioned_organisation(
    gate: Gate, organisation_id: str, *, step: sanctions.Step, draft: schemas.Sanction
) -> Response:
    def use_case(operation: Operation) -> schemas.Organisation:
        row = sanctions.on_organisation(operation, organisation_id=organisation_id, step=step, draft=draft)
        return schemas.Organisation.of(row)

    return gate.change(use_case, body=draft)


def _sanctioned_client(
    gate: Gate, organisation_id: str, client_id: str, *, step: sanctions.Step, draft: schemas.Sanction
) -> Response:
    def use_case(operation: Operation) -> schemas.Client:
        row = sanctions.on_client(
            operation, organisation_id=organisation_id, client_id=client_id, step=step, draft=draft
        )
        return service.render_client(operation.session, row)

    return gate.change(use_case, body=draft)
