"""HTTP of agreements."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from linkage_service.access.actions import Action
from linkage_service.access.decide import SERVICE
from linkage_service.access.entities import organisation_reference
from linkage_service.access.guard import Created, Gate, Operation, guard
from linkage_service.agreements import schemas, service, tables
from linkage_service.problems import responses
from linkage_service.wire import AgreementPath, Page, PageQuery

router = APIRouter(prefix="/v1/agreements", tags=["agreements"])
VersionPath = Annotated[int, Path(ge=1, le=10_000, description="Version of the agreement, from 1.")]


@router.post(
    "", operation_id="draft_agreement", summary="Draft an agreement", status_code=201, response_model=schemas.Agreement,
    responses=responses(401, 403, 409, 413, 415, 422),
)  # fmt: skip
def draft_agreement(draft: schemas.AgreementDraft, gate: Annotated[Gate, guard(Action.DRAFT_AGREEMENT)]) -> Response:
    """Keeps a document as a draft. Its digest is taken of the document exactly as it was sent."""

    def use_case(operation: Operation) -> Created:
        parties = frozenset(map(organisation_reference, draft.document.organisations()))
        operation.require(SERVICE, parties=parties)
        agreement = service.draft(operation, document=draft.document, sent=draft.sent)
        return Created(
            service.render(operation.session, agreement, now=operation.now), f"/v1/agreements/{agreement.row.id}"
        )

    return gate.change(use_case, status=201, body=draft)


@router.get("", operation_id="list_agreements", summary="List agreements", responses=responses(401, 403, 422))
def list_agreements(page: PageQuery, gate: Annotated[Gate, guard(Action.BROWSE)]) -> Page[schemas.Agreement]:
    """Agreements that name the caller's organisation; the linkage unit sees all."""

    def query(operation: Operation) -> Page[schemas.Agreement]:
        operation.require(SERVICE)
        caller = operation.caller
        mine = None if caller.organisation_kind == "linkage_unit" else caller.organisation
        rows = tables.agreements_page(operation.session, organisation=mine, after=page.after, limit=page.limit + 1)

        def render(row: tuple[tables.Agreement, tables.AgreementVersion]) -> schemas.Agreement:
            agreement = service.at_version(operation.session, row[0], row[1])
            return service.render(operation.session, agreement, now=operation.now)

        return page.page(rows, render, lambda row: row[0].id)

    return gate.read(query)


@router.get(
    "/{agreement_id}", operation_id="get_agreement", summary="One agreement", responses=responses(401, 403, 404, 422)
)
def get_agreement(
    agreement_id: AgreementPath, gate: Annotated[Gate, guard(Action.READ_AGREEMENT)]
) -> schemas.Agreement:
    """The agreement as it stands, with who has signed."""

    def query(operation: Operation) -> schemas.Agreement:
        agreement = service.in_force(operation.session, agreement_id)
        operation.require(agreement.resource())
        return service.render(operation.session, agreement, now=operation.now)

    return gate.read(query)


@router.get(
    "/{agreement_id}/versions/{version}", operation_id="get_agreement_version", summary="One version with its document",
    responses=responses(401, 403, 404, 422),
)  # fmt: skip
def get_agreement_version(
    agreement_id: AgreementPath, version: VersionPath, gate: Annotated[Gate, guard(Action.READ_AGREEMENT)]
) -> schemas.AgreementVersion:
    """The document exactly as it is signed, and the signatures."""

    def query(operation: Operation) -> schemas.AgreementVersion:
        agreement = service.in_force(operation.session, agreement_id, version=version)
        operation.require(agreement.resource())
        return service.render_version(operation.session, agreement, now=operation.now)

    return gate.read(query)


@router.post(
    "/{agreement_id}/versions/{version}:propose", operation_id="propose_agreement",
    summary="Put a draft before its parties", response_model=schemas.Agreement,
    responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def propose_agreement(
    agreement_id: AgreementPath, version: VersionPath, gate: Annotated[Gate, guard(Action.PROPOSE_AGREEMENT)]
) -> Response:
    """From now on the version does not change, and every party can sign it."""

    def use_case(operation: Operation) -> schemas.Agreement:
        agreement = service.in_force(operation.session, agreement_id, version=version)
        operation.require(agreement.resource())
        proposed = service.propose(operation, agreement=agreement)
        return service.render(operation.session, proposed, now=operation.now)

    return gate.change(use_case)


@router.post(
    "/{agreement_id}/versions/{version}/signatures", operation_id="sign_agreement", summary="Sign an agreement",
    status_code=201, response_model=schemas.Agreement, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def sign_agreement(
    agreement_id: AgreementPath,
    version: VersionPath,
    signature: schemas.SignatureDraft,
    gate: Annotated[Gate, guard(Action.SIGN_AGREEMENT)],
) -> Response:
    """Adds the signature of the caller's organisation. The last party's signature makes the agreement active."""

    def use_case(operation: Operation) -> Created:
        agreement = service.in_force(operation.session, agreement_id, version=version)
        operation.require(agreement.resource())
        signed = service.sign(operation, agreement=agreement, signature=signature)
        return Created(service.render(operation.session, signed, now=operation.now), f"/v1/agreements/{agreement_id}")

    return gate.change(use_case, status=201, body=signature)
