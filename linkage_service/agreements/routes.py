"""HTTP of agreements."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Response

from linkage_service.access.actions import Action
from linkage_service.access.decide import SERVICE
from linkage_service.access.entities import Reference, organisation_reference
from linkage_service.access.guard import PUBLIC, Created, Gate, Operation, guard
from linkage_service.agreements import schemas, service, tables
from linkage_service.agreements.document import AgreementDocument, json_schema_text
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.wire import AgreementPath, Page, PageQuery, Route

router = APIRouter(route_class=Route, prefix="/v1", tags=["agreements"], responses=OF_EVERY_ROUTE)
SCHEMA_MEDIA_TYPE = "application/schema+json"
VersionPath = Annotated[int, Path(ge=1, le=10_000, description="Version of the agreement, from 1.")]
IfMatch = Annotated[
    str | None,
    Header(
        max_length=400,
        description="ETag of what is changed, as it was read: of the agreement, or of the version where one is named.",
    ),
]
_CHANGE = (401, 403, 404, 409, 412, 413, 415, 422, 428)
_TAGGED: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"ETag": {"description": "Names exactly this state.", "schema": {"type": "string"}}}}
}


@router.get(
    "/agreement-schema", operation_id="get_agreement_schema", summary="JSON Schema of agreement documents",
    dependencies=[PUBLIC], response_class=Response,
    responses={200: {"content": {SCHEMA_MEDIA_TYPE: {"schema": {"type": "object"}}}, "description": "JSON Schema."}},
)  # fmt: skip
def get_agreement_schema() -> Response:
    """The form of an agreement document (JSON Schema 2020-12), with every field in plain words. Needs no log-in."""
    return Response(json_schema_text(), media_type=SCHEMA_MEDIA_TYPE, headers={"Cache-Control": "public, max-age=3600"})


@router.post(
    "/agreements", operation_id="draft_agreement", summary="Draft an agreement", status_code=201,
    response_model=schemas.Agreement, responses=responses(401, 403, 409, 413, 415, 422),
)  # fmt: skip
def draft_agreement(draft: schemas.AgreementDraft, gate: Annotated[Gate, guard(Action.DRAFT_AGREEMENT)]) -> Response:
    """Keeps a document as a draft. Its digest is taken of the document exactly as it was sent."""

    def use_case(operation: Operation) -> Created:
        operation.require(SERVICE, parties=_parties(draft.document))
        agreement = service.draft(operation, document=draft.document, sent=draft.sent)
        return _created(operation, agreement)

    return gate.change(use_case, status=201, body=draft)


@router.get(
    "/agreements", operation_id="list_agreements", summary="List agreements", responses=responses(401, 403, 422)
)
def list_agreements(page: PageQuery, gate: Annotated[Gate, guard(Action.BROWSE)]) -> Page[schemas.Agreement]:
    """Agreements of which a version names the caller's organisation; the linkage unit sees all."""

    def query(operation: Operation) -> Page[schemas.Agreement]:
        operation.require(SERVICE)
        caller = operation.caller
        mine = None if caller.organisation_kind == "linkage_unit" else caller.organisation
        rows = tables.agreements_page(operation.session, organisation=mine, after=page.after, limit=page.limit + 1)

        def render(row: tables.Agreement) -> schemas.Agreement:
            return _render(operation, service.seen_by(operation.session, row.id, caller=caller))

        return page.page(rows, render, lambda row: row.id)

    return gate.read(query)


@router.get(
    "/agreements/{agreement_id}", operation_id="get_agreement", summary="One agreement",
    responses={**responses(401, 403, 404, 422), **_TAGGED},
)  # fmt: skip
def get_agreement(
    agreement_id: AgreementPath, gate: Annotated[Gate, guard(Action.READ_AGREEMENT)], response: Response
) -> schemas.Agreement:
    """The agreement as it stands, with who has signed and its versions; one that is named in another only sees that."""

    def query(operation: Operation) -> schemas.Agreement:
        agreement = service.seen_by(operation.session, agreement_id, caller=operation.caller)
        operation.require(agreement.resource())
        return _render(operation, agreement)

    found = gate.read(query)
    response.headers["ETag"] = service.entity_tag(found)
    return found


@router.post(
    "/agreements/{agreement_id}/versions", operation_id="amend_agreement", summary="Draft an amendment",
    status_code=201, response_model=schemas.Agreement, responses=responses(*_CHANGE),
)  # fmt: skip
def amend_agreement(
    agreement_id: AgreementPath,
    draft: schemas.AgreementDraft,
    gate: Annotated[Gate, guard(Action.AMEND_AGREEMENT)],
    if_match: IfMatch = None,
) -> Response:
    """Keeps a document as the next version's draft. The present version stays in force until every party has signed."""

    def use_case(operation: Operation) -> Created:
        agreement = service.to_change(operation.session, agreement_id)
        operation.require(agreement.resource(), parties=_parties(draft.document))
        service.check_unchanged(_render(operation, agreement), if_match=if_match)
        made = service.amend(operation, agreement=agreement, document=draft.document, sent=draft.sent)
        return _created(operation, made)

    return gate.change(use_case, status=201, body=draft)


@router.get(
    "/agreements/{agreement_id}/versions/{version}", operation_id="get_agreement_version",
    summary="One version with its document", responses={**responses(401, 403, 404, 422), **_TAGGED},
)  # fmt: skip
def get_agreement_version(
    agreement_id: AgreementPath,
    version: VersionPath,
    gate: Annotated[Gate, guard(Action.READ_AGREEMENT)],
    response: Response,
) -> schemas.AgreementVersion:
    """The document exactly as it is signed, and the signatures."""

    def query(operation: Operation) -> schemas.AgreementVersion:
        agreement = service.in_force(operation.session, agreement_id, version=version)
        operation.require(agreement.resource())
        return _render_version(operation, agreement)

    found = gate.read(query)
    response.headers["ETag"] = service.entity_tag(found)
    return found


@router.put(
    "/agreements/{agreement_id}/versions/{version}", operation_id="replace_agreement_draft",
    summary="Replace a draft", response_model=schemas.Agreement, responses=responses(*_CHANGE),
)  # fmt: skip
def replace_agreement_draft(
    agreement_id: AgreementPath,
    version: VersionPath,
    draft: schemas.AgreementDraft,
    gate: Annotated[Gate, guard(Action.AMEND_AGREEMENT)],
    if_match: IfMatch = None,
) -> Response:
    """Puts another document in the place of a draft, which nobody has been asked to sign yet."""

    def use_case(operation: Operation) -> schemas.Agreement:
        agreement = service.to_change(operation.session, agreement_id, version=version)
        operation.require(agreement.resource(), parties=_parties(draft.document))
        service.check_unchanged(_render_version(operation, agreement), if_match=if_match)
        made = service.replace_draft(operation, agreement=agreement, document=draft.document, sent=draft.sent)
        return _render(operation, made)

    return gate.change(use_case, body=draft)


@router.delete(
    "/agreements/{agreement_id}/versions/{version}", operation_id="withdraw_agreement_version",
    summary="Withdraw a version that is not in force", status_code=204,
    responses=responses(401, 403, 404, 409, 412, 422, 428),
)  # fmt: skip
def withdraw_agreement_version(
    agreement_id: AgreementPath,
    version: VersionPath,
    gate: Annotated[Gate, guard(Action.AMEND_AGREEMENT)],
    if_match: IfMatch = None,
) -> Response:
    """Deletes a draft, a first version's together with its agreement. A proposed amendment is kept as withdrawn."""

    def use_case(operation: Operation) -> None:
        agreement = service.to_change(operation.session, agreement_id, version=version)
        operation.require(agreement.resource(), parties=_parties(agreement.document))
        service.check_unchanged(_render_version(operation, agreement), if_match=if_match)
        service.withdraw(operation, agreement=agreement)

    return gate.change(use_case, status=204)


@router.post(
    "/agreements/{agreement_id}/versions/{version}:propose", operation_id="propose_agreement",
    summary="Put a draft before its parties", response_model=schemas.Agreement,
    responses=responses(401, 403, 404, 409, 412, 422, 428),
)  # fmt: skip
def propose_agreement(
    agreement_id: AgreementPath,
    version: VersionPath,
    gate: Annotated[Gate, guard(Action.PROPOSE_AGREEMENT)],
    if_match: IfMatch = None,
) -> Response:
    """From now on the version does not change, and every party can sign it."""

    def use_case(operation: Operation) -> schemas.Agreement:
        agreement = service.to_change(operation.session, agreement_id, version=version)
        operation.require(agreement.resource())
        service.check_unchanged(_render_version(operation, agreement), if_match=if_match)
        return _render(operation, service.propose(operation, agreement=agreement))

    return gate.change(use_case)


@router.post(
    "/agreements/{agreement_id}/versions/{version}/signatures", operation_id="sign_agreement",
    summary="Sign an agreement", status_code=201, response_model=schemas.Agreement,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def sign_agreement(
    agreement_id: AgreementPath,
    version: VersionPath,
    signature: schemas.SignatureDraft,
    gate: Annotated[Gate, guard(Action.SIGN_AGREEMENT)],
) -> Response:
    """Adds the signature of the caller's organisation. With the last party's signature the version is in force.

    The digest that is signed says which text is meant, so there is no If-Match.
    """

    def use_case(operation: Operation) -> Created:
        agreement = service.to_change(operation.session, agreement_id, version=version)
        operation.require(agreement.resource())
        return _created(operation, service.sign(operation, agreement=agreement, signature=signature))

    return gate.change(use_case, status=201, body=signature)


@router.post(
    "/agreements/{agreement_id}:suspend", operation_id="suspend_agreement", summary="Suspend an agreement",
    response_model=schemas.Agreement, responses=responses(*_CHANGE),
)  # fmt: skip
def suspend_agreement(
    agreement_id: AgreementPath,
    draft: schemas.ReasonDraft,
    gate: Annotated[Gate, guard(Action.SUSPEND_AGREEMENT)],
    if_match: IfMatch = None,
) -> Response:
    """Stops all processing and all results under every version, until it is reinstated."""

    def use_case(operation: Operation) -> schemas.Agreement:
        agreement = _unchanged_for_party(operation, agreement_id, if_match)
        return _render(operation, service.suspend(operation, agreement=agreement, reason=draft.reason))

    return gate.change(use_case, body=draft)


@router.post(
    "/agreements/{agreement_id}:reinstate", operation_id="reinstate_agreement",
    summary="Reinstate a suspended agreement", response_model=schemas.Agreement, responses=responses(*_CHANGE),
)  # fmt: skip
def reinstate_agreement(
    agreement_id: AgreementPath,
    draft: schemas.ReasonDraft,
    gate: Annotated[Gate, guard(Action.REINSTATE_AGREEMENT)],
    if_match: IfMatch = None,
) -> Response:
    """Ends a suspension."""

    def use_case(operation: Operation) -> schemas.Agreement:
        agreement = _unchanged(operation, agreement_id, if_match)
        return _render(operation, service.reinstate(operation, agreement=agreement, reason=draft.reason))

    return gate.change(use_case, body=draft)


@router.post(
    "/agreements/{agreement_id}:review", operation_id="review_agreement", summary="Record a review",
    response_model=schemas.Agreement, responses=responses(*_CHANGE),
)  # fmt: skip
def review_agreement(
    agreement_id: AgreementPath,
    draft: schemas.ReviewDraft,
    gate: Annotated[Gate, guard(Action.REVIEW_AGREEMENT)],
    if_match: IfMatch = None,
) -> Response:
    """Says whether the sharing goes on and when it is reviewed again. Until a review passes, no new processing."""

    def use_case(operation: Operation) -> schemas.Agreement:
        agreement = _unchanged(operation, agreement_id, if_match)
        return _render(operation, service.review(operation, agreement=agreement, found=draft))

    return gate.change(use_case, body=draft)


@router.post(
    "/agreements/{agreement_id}:terminate", operation_id="terminate_agreement", summary="End an agreement for good",
    response_model=schemas.Agreement, responses=responses(*_CHANGE),
)  # fmt: skip
def terminate_agreement(
    agreement_id: AgreementPath,
    draft: schemas.ReasonDraft,
    gate: Annotated[Gate, guard(Action.TERMINATE_AGREEMENT)],
    if_match: IfMatch = None,
) -> Response:
    """Ends every version and every project under it. It cannot be undone."""

    def use_case(operation: Operation) -> schemas.Agreement:
        agreement = _unchanged_for_party(operation, agreement_id, if_match)
        return _render(operation, service.terminate(operation, agreement=agreement, reason=draft.reason))

    return gate.change(use_case, body=draft)


def _unchanged(operation: Operation, agreement_id: str, if_match: str | None) -> service.InForce:
    """The agreement at its present version, decided on and as the caller has read it."""
    return _decided(operation, service.to_change(operation.session, agreement_id), if_match)


def _unchanged_for_party(operation: Operation, agreement_id: str, if_match: str | None) -> service.InForce:
    """The same, for what a party of an earlier version that is still worked under may do too."""
    agreement = service.signed_by_naming(operation.session, agreement_id, caller=operation.caller)
    return _decided(operation, agreement, if_match)


def _decided(operation: Operation, agreement: service.InForce, if_match: str | None) -> service.InForce:
    operation.require(agreement.resource())
    service.check_unchanged(_render(operation, agreement), if_match=if_match)
    return agreement


def _parties(document: AgreementDocument) -> frozenset[Reference]:
    return frozenset(map(organisation_reference, document.organisations()))


def _render(operation: Operation, agreement: service.InForce) -> schemas.Agreement:
    return service.render(operation.session, agreement, caller=operation.caller, now=operation.now)


def _render_version(operation: Operation, agreement: service.InForce) -> schemas.AgreementVersion:
    return service.render_version(operation.session, agreement, caller=operation.caller, now=operation.now)


def _created(operation: Operation, agreement: service.InForce) -> Created:
    return Created(_render(operation, agreement), f"/v1/agreements/{agreement.row.id}")
