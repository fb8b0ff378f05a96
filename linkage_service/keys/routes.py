"""HTTP of key cards, of the exchange of a project's secret, and of who takes part in a project."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from linkage_service.access.actions import Action
from linkage_service.access.entities import organisation_reference
from linkage_service.access.guard import Created, Gate, Operation, guard
from linkage_service.keys import schemas, service
from linkage_service.organisations.service import existing, resource_of
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.projects import schemas as project_schemas
from linkage_service.projects.service import Governed, governed, render_detail
from linkage_service.runs import results
from linkage_service.wire import OrganisationPath, ProjectPath, Route

router = APIRouter(route_class=Route, prefix="/v1", tags=["keys"], responses=OF_EVERY_ROUTE)


@router.put(
    "/organisations/{organisation_id}/key-card", operation_id="publish_key_card", summary="Publish a key card",
    response_model=schemas.KeyCard, responses=responses(401, 403, 404, 413, 415, 422),
)  # fmt: skip
def publish_key_card(
    organisation_id: OrganisationPath,
    card: schemas.KeyCardDocument,
    gate: Annotated[Gate, guard(Action.PUBLISH_KEY_CARD)],
) -> Response | schemas.KeyCard:
    """Makes this the card of the caller's organisation, by which other providers encrypt to it.

    Another card in its place changes the safety code of every project of the organisation: it is compared again, and
    envelopes under the old cards count no more. The same card again changes nothing.
    """

    def look(operation: Operation) -> schemas.KeyCard | None:
        operation.require(resource_of(existing(operation.session, organisation_id)))
        same = card.organisation == organisation_id and service.is_published(operation.session, card)
        return service.published(operation.session, organisation_id) if same else None

    def use_case(operation: Operation) -> schemas.KeyCard:
        operation.require(resource_of(existing(operation.session, organisation_id)))
        return service.publish(operation, organisation=organisation_id, card=card)

    return gate.read(look) or gate.change(use_case, body=card)


@router.get(
    "/organisations/{organisation_id}/key-card", operation_id="get_key_card", summary="The key card of an organisation",
    responses=responses(401, 403, 404, 422),
)  # fmt: skip
def get_key_card(
    organisation_id: OrganisationPath, gate: Annotated[Gate, guard(Action.READ_ORGANISATION)]
) -> schemas.KeyCard:
    """The card that counts now. It is its organisation's own only if the safety code says so on every screen."""

    def query(operation: Operation) -> schemas.KeyCard:
        operation.require(resource_of(existing(operation.session, organisation_id)))
        return service.published(operation.session, organisation_id)

    return gate.read(query)


@router.get(
    "/projects/{project_id}/key-exchange", operation_id="get_key_exchange",
    summary="How far the exchange of the secret is", responses=responses(401, 403, 404, 422),
)  # fmt: skip
def get_key_exchange(project_id: ProjectPath, gate: Annotated[Gate, guard(Action.READ_PROJECT)]) -> schemas.KeyExchange:
    """The cards of all providers, and who has compared the code, was sent the secret, holds it, and has uploaded."""

    def query(operation: Operation) -> schemas.KeyExchange:
        project = governed(operation.session, project_id)
        operation.require(project.resource())
        return service.render(operation.session, project)

    return gate.read(query)


@router.post(
    "/projects/{project_id}/key-comparisons", operation_id="note_key_comparison", summary="The code was compared",
    response_model=schemas.KeyExchange, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def note_key_comparison(
    project_id: ProjectPath, draft: schemas.ComparisonDraft, gate: Annotated[Gate, guard(Action.EXCHANGE_KEYS)]
) -> Response:
    """Notes for the others that this provider's people compared the safety code. Nobody should rely on it but they."""

    def use_case(operation: Operation) -> schemas.KeyExchange:
        project = _required(operation, project_id)
        service.note_comparison(operation, project=project, draft=draft)
        return service.render(operation.session, project)

    return gate.change(use_case, body=draft)


@router.post(
    "/projects/{project_id}/key-envelopes", operation_id="post_key_envelopes", summary="Send the secret, encrypted",
    status_code=201, response_model=schemas.KeyExchange, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def post_key_envelopes(
    project_id: ProjectPath, draft: schemas.EnvelopesDraft, gate: Annotated[Gate, guard(Action.EXCHANGE_KEYS)]
) -> Response:
    """Keeps envelopes for their recipients. The first of an epoch makes the caller the one whose secret it is.

    Later ones come from providers that have confirmed that they hold it, such as to one whose machine was lost. A newer
    envelope from the same sender to the same provider takes the place of the older.
    """

    def use_case(operation: Operation) -> Created:
        project = _required(operation, project_id)
        service.post_envelopes(operation, project=project, draft=draft)
        return _exchange(operation, project)

    return gate.change(use_case, status=201, body=draft)


@router.get(
    "/projects/{project_id}/key-envelopes", operation_id="get_key_envelopes", summary="Envelopes to me",
    response_model=schemas.ReceivedEnvelopes, responses=responses(401, 403, 404, 422),
)  # fmt: skip
def get_key_envelopes(
    project_id: ProjectPath, gate: Annotated[Gate, guard(Action.EXCHANGE_KEYS)]
) -> Response | schemas.ReceivedEnvelopes:
    """Envelopes to the caller's organisation, of the present epoch and under the present cards.

    That they were fetched is recorded before they leave; where there are none nothing is recorded.
    """

    def look(operation: Operation) -> bool:
        project = _required(operation, project_id)
        return service.has_envelopes(operation.session, project, recipient=operation.caller.organisation)

    def use_case(operation: Operation) -> schemas.ReceivedEnvelopes:
        return service.retrieve_envelopes(operation, project=_required(operation, project_id))

    return gate.change(use_case) if gate.read(look) else schemas.ReceivedEnvelopes(items=[])


@router.post(
    "/projects/{project_id}/key-confirmations", operation_id="confirm_key", summary="I hold the secret",
    response_model=schemas.KeyExchange, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def confirm_key(
    project_id: ProjectPath, draft: schemas.ConfirmationDraft, gate: Annotated[Gate, guard(Action.EXCHANGE_KEYS)]
) -> Response:
    """Compares the check value with the epoch's, so that every provider knows to hold the same secret.

    Where the secret was handed over without the service, the first confirmation says by what it is known; a provider
    that then sends another to the rest is believed instead, unless encodings are uploaded or others have confirmed.
    Envelopes to the caller are deleted with it.
    """

    def use_case(operation: Operation) -> schemas.KeyExchange:
        project = _required(operation, project_id)
        service.confirm(operation, project=project, draft=draft)
        return service.render(operation.session, project)

    return gate.change(use_case, body=draft)


@router.post(
    "/projects/{project_id}/key-epochs", operation_id="open_key_epoch", summary="Give the secret up for a new one",
    status_code=201, response_model=schemas.KeyExchange, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def open_key_epoch(
    project_id: ProjectPath,
    draft: schemas.KeyEpochDraft,
    request: Request,
    gate: Annotated[Gate, guard(Action.OPEN_KEY_EPOCH)],
) -> Response:
    """Closes the present key epoch. Encodings of it are matched no more at once, and deleted by the next sweep.

    Unfinished runs end; link tables stay until their date. Works whatever the state of the agreement.
    """
    ended: list[str] = []

    def use_case(operation: Operation) -> Created:
        project = _required(operation, project_id)
        ended.extend(service.open_epoch(operation, project=project, draft=draft))
        return _exchange(operation, project)

    response = gate.change(use_case, status=201, body=draft)
    _remove_runs(request, ended)
    return response


@router.post(
    "/projects/{project_id}/providers", operation_id="join_project", summary="Join a project", tags=["projects"],
    response_model=project_schemas.ProjectDetail, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def join_project(
    project_id: ProjectPath,
    draft: schemas.JoinDraft,
    request: Request,
    gate: Annotated[Gate, guard(Action.JOIN_PROJECT)],
) -> Response:
    """Takes the caller's organisation, a provider in the agreement, into the project.

    A new key epoch begins: everybody shares a new secret with it, encodes and uploads again.
    """
    ended: list[str] = []

    def use_case(operation: Operation) -> project_schemas.ProjectDetail:
        project, runs = service.join(operation, project=_required(operation, project_id))
        ended.extend(runs)
        return render_detail(project)

    response = gate.change(use_case, body=draft)
    _remove_runs(request, ended)
    return response


@router.delete(
    "/projects/{project_id}/providers/{organisation_id}", operation_id="leave_project", summary="Leave a project",
    tags=["projects"], response_model=project_schemas.ProjectDetail, responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def leave_project(
    project_id: ProjectPath,
    organisation_id: OrganisationPath,
    request: Request,
    gate: Annotated[Gate, guard(Action.LEAVE_PROJECT)],
) -> Response:
    """Takes a provider out of the project: itself, or by an officer of the linkage unit. It stays a party.

    A new key epoch begins, since it goes on knowing the old secret. Works whatever the state of the agreement.
    """
    ended: list[str] = []

    def use_case(operation: Operation) -> project_schemas.ProjectDetail:
        project = governed(operation.session, project_id)
        operation.require(project.resource(), leaving=organisation_reference(organisation_id))
        left, runs = service.leave(operation, project=project, leaving=organisation_id)
        ended.extend(runs)
        return render_detail(left)

    response = gate.change(use_case)
    _remove_runs(request, ended)
    return response


def _required(operation: Operation, project_id: str) -> Governed:
    project = governed(operation.session, project_id)
    operation.require(project.resource())
    return project


def _exchange(operation: Operation, project: Governed) -> Created:
    return Created(service.render(operation.session, project), f"/v1/projects/{project.row.id}/key-exchange")


def _remove_runs(request: Request, ended: list[str]) -> None:
    """Removes what is stored of runs that were ended, whose keys are gone."""
    for run in ended:
        results.remove(request.app.state.service.blobs, run_id=run)
