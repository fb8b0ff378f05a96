"""HTTP of uploads."""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from linkage_service.access.actions import Action
from linkage_service.access.guard import Created, Gate, Operation, guard
from linkage_service.errors import FieldError, Invalid, LinkageError, TooLarge, WrongMediaType
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.projects.service import governed
from linkage_service.settings import Settings
from linkage_service.storage import BlobStore, WrappedKey
from linkage_service.uploads import schemas, service, tables
from linkage_service.uploads.probing import ProbingSuspected
from linkage_service.wire import Page, PageQuery, ProjectPath, Route, UploadPath

router = APIRouter(route_class=Route, prefix="/v1", tags=["uploads"], responses=OF_EVERY_ROUTE)
PartPath = Annotated[int, Path(ge=1, le=1_000_000, description="Number of the part, from 1.")]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is known about a part before its body is read."""

    size_bytes: int
    data_key: WrappedKey


@dataclass(frozen=True, slots=True)
class _Part:
    """A part with its bytes."""

    received: service.ReceivedPart
    body: bytearray


def _blobs(request: Request) -> BlobStore:
    blobs: BlobStore = request.app.state.service.blobs
    return blobs


def _limits(request: Request) -> service.Limits:
    settings: Settings = request.app.state.service.settings
    return service.Limits(
        part_bytes=settings.part_bytes_max,
        upload_bytes=settings.upload_bytes_max,
        open_uploads=settings.uploads_open_max,
        organisation_bytes=settings.upload_quota_bytes,
    )


@router.post(
    "/projects/{project_id}/uploads", operation_id="declare_upload", summary="Declare an upload", status_code=201,
    response_model=schemas.Upload, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def declare_upload(
    project_id: ProjectPath,
    draft: schemas.UploadDraft,
    request: Request,
    gate: Annotated[Gate, guard(Action.UPLOAD_ENCODINGS)],
) -> Response:
    """Checks the manifest against project and agreement, and opens an upload for its parts."""

    def use_case(operation: Operation) -> Created:
        project = governed(operation.session, project_id)
        service.require_processing(operation, project, draft.manifest)
        row = service.declare(operation, project=project, draft=draft, blobs=_blobs(request), limits=_limits(request))
        return Created(service.render(operation.session, row), f"/v1/uploads/{row.id}")

    return gate.change(use_case, status=201, body=draft)


@router.get(
    "/projects/{project_id}/uploads", operation_id="list_uploads", summary="Uploads of a project",
    responses=responses(401, 403, 404, 422),
)  # fmt: skip
def list_uploads(
    project_id: ProjectPath, page: PageQuery, gate: Annotated[Gate, guard(Action.READ_PROJECT)]
) -> Page[schemas.UploadSummary]:
    """Who has uploaded how many records. Manifests are for their own provider only."""

    def query(operation: Operation) -> Page[schemas.UploadSummary]:
        project = governed(operation.session, project_id)
        operation.require(project.resource())
        rows = tables.uploads_page(operation.session, project_id=project_id, after=page.after, limit=page.limit + 1)
        session, caller = operation.session, operation.caller
        return page.page(rows, lambda row: service.render_summary(session, row, caller=caller), lambda row: row.id)

    return gate.read(query)


@router.get(
    "/uploads/{upload_id}", operation_id="get_upload", summary="One upload", responses=responses(401, 403, 404, 422)
)
def get_upload(upload_id: UploadPath, gate: Annotated[Gate, guard(Action.READ_UPLOAD)]) -> schemas.Upload:
    """The upload with the numbers of the parts that have arrived, so that an interrupted upload can go on."""

    def query(operation: Operation) -> schemas.Upload:
        row, project = service.existing(operation.session, upload_id)
        operation.require(service.resource_of(row, project))
        return service.render(operation.session, row)

    return gate.read(query)


@router.put(
    "/uploads/{upload_id}/parts/{number}", operation_id="put_part", summary="Send a part", status_code=204,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)  # fmt: skip
async def put_part(
    upload_id: UploadPath,
    number: PartPath,
    request: Request,
    gate: Annotated[Gate, guard(Action.CONTINUE_UPLOAD)],
    *,
    content_digest: Annotated[str | None, Header(description="RFC 9530: `sha-256=:<base64>:` of the part.")] = None,
    content_type: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Stores one part after comparing its digest. Sending a part again replaces it, so a lost answer costs nothing."""
    blobs = _blobs(request)
    tracked: list[Operation] = []

    def plan(operation: Operation) -> _Plan:
        tracked.append(operation)
        row = _require_own(operation, upload_id)
        service.check_receiving(operation.session, row)
        size = service.expected_size(row, number)
        return _Plan(size_bytes=size, data_key=blobs.unwrap(row.data_key or b""))

    planned = await run_in_threadpool(gate.read, plan)
    # Not before: whoever may send no part takes no place from those who may.
    with gate.door.throttle.part_of(gate.caller.organisation):
        try:
            part = await _receive(request, number, planned, content_type=content_type, content_digest=content_digest)
        except LinkageError as error:
            await run_in_threadpool(gate.record_refusal, error, tracked[0])
            raise

        def use_case(operation: Operation) -> None:
            service.record_part(operation, row=_require_own(operation, upload_id), part=part.received)

        if part.received.size_bytes == planned.size_bytes and part.received.sha256 == part.received.declared_sha256:
            key = service.blob_key(upload_id, number, part.received.sha256)
            await run_in_threadpool(blobs.put, key, part.body, data_key=planned.data_key)
        response: Response = await run_in_threadpool(gate.change, use_case, status=204)
    return response


@router.post(
    "/uploads/{upload_id}:complete", operation_id="complete_upload", summary="Complete an upload",
    response_model=schemas.Upload, responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def complete_upload(
    upload_id: UploadPath, request: Request, gate: Annotated[Gate, guard(Action.CONTINUE_UPLOAD)]
) -> Response:
    """Checks that every part is there, the whole is what the manifest says, and the bits are what it claims.

    Then the provider's earlier upload is deleted. An upload that is not what it claims is deleted itself.
    """
    blobs = _blobs(request)

    def look(operation: Operation) -> service.Inspected | None:
        row = _require_own(operation, upload_id)
        # Reading a large upload takes seconds: it must hold neither the write lock nor a place.
        gate.give_up_place()
        return service.inspect(operation.session, blobs, row) if row.state == "receiving" else None

    gone: list[service.Discarded] = []

    def use_case(operation: Operation) -> schemas.Upload:
        row = _require_own(operation, upload_id)
        gone.extend(service.complete(operation, row=row, inspected=inspected))
        return service.render(operation.session, row)

    inspected = gate.read(look)
    try:
        response = gate.change(use_case)
    except (service.NotAccepted, ProbingSuspected):
        # The refusal is in the ledger; what was refused is not kept.
        refused: list[service.Discarded] = []
        gate.perform(lambda operation: _discard_refused(operation, upload_id, refused))
        _remove_all(blobs, refused)
        raise
    _remove_all(blobs, gone)
    return response


@router.delete(
    "/uploads/{upload_id}", operation_id="delete_upload", summary="Delete an upload", status_code=204,
    responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def delete_upload(
    upload_id: UploadPath, request: Request, gate: Annotated[Gate, guard(Action.DELETE_UPLOAD)]
) -> Response:
    """Deletes the encodings: first the key that opens them, then the blobs."""
    deleted: list[service.Discarded] = []

    def use_case(operation: Operation) -> None:
        row, project = service.existing(operation.session, upload_id)
        operation.require(service.resource_of(row, project))
        deleted.append(service.delete(operation, row=row))

    response = gate.change(use_case, status=204)
    _remove_all(_blobs(request), deleted)
    return response


def _discard_refused(operation: Operation, upload_id: str, refused: list[service.Discarded]) -> None:
    row = _require_own(operation, upload_id)
    refused.append(service.delete(operation, row=row))


def _remove_all(blobs: BlobStore, deleted: list[service.Discarded]) -> None:
    for gone in deleted:
        service.remove_blobs(blobs, gone)


def _require_own(operation: Operation, upload_id: str) -> tables.Upload:
    row, project = service.existing(operation.session, upload_id)
    operation.require(service.resource_of(row, project))
    return row


async def _receive(
    request: Request, number: int, planned: _Plan, *, content_type: str | None, content_digest: str | None
) -> _Part:
    if (content_type or "").split(";")[0].strip() != "application/octet-stream":
        raise WrongMediaType("A part is sent as application/octet-stream.")
    declared = service.declared_digest(content_digest)
    body = await _read(request, at_most=planned.size_bytes)
    # In a thread of its own: meanwhile other parts go on coming.
    digest = (await run_in_threadpool(hashlib.sha256, body)).hexdigest()
    received = service.ReceivedPart(number=number, size_bytes=len(body), sha256=digest, declared_sha256=declared)
    return _Part(received=received, body=body)


async def _read(request: Request, *, at_most: int) -> bytearray:
    """Reads a body that may have so many bytes and no more.

    Raises:
        TooLarge: it has more.
        Invalid: the connection broke.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > at_most:
                raise TooLarge(f"This part must have {at_most} bytes, and more were sent.")
    except ClientDisconnect as error:
        cut = FieldError("/body", "cut", "The connection ended before the body.")
        raise Invalid("The part was cut on its way. Send it again.", errors=[cut]) from error
    return body
