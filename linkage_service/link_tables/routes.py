"""HTTP of releases, link tables and disclosures."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from linkage_ledger import events
from linkage_service.access.actions import Action
from linkage_service.access.guard import Created, Gate, Operation, guard
from linkage_service.audit.catalogue import EventType
from linkage_service.errors import NotAcceptable
from linkage_service.link_tables import formats, schemas, service, tables
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.projects.service import governed
from linkage_service.runs import service as runs
from linkage_service.storage import BlobStore
from linkage_service.wire import Page, PageQuery, ProjectPath, ReleasePath, Route, RunPath

router = APIRouter(route_class=Route, prefix="/v1", tags=["results"], responses=OF_EVERY_ROUTE)
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.post(
    "/runs/{run_id}/releases", operation_id="request_release", summary="Ask for a release", status_code=201,
    response_model=schemas.Release, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def request_release(
    run_id: RunPath,
    draft: schemas.ReleaseDraft,
    request: Request,
    gate: Annotated[Gate, guard(Action.REQUEST_RELEASE)],
) -> Response:
    """A recipient asks, stating the purpose; the policy decides at once and the answer is recorded either way.

    A result of a key epoch that is closed by now can be released as well, whatever closed it: link ids do not depend on
    the secret. They are those of the run's own epoch.
    """
    blobs: BlobStore = request.app.state.service.blobs

    def use_case(operation: Operation) -> Created:
        run, project = runs.existing(operation.session, run_id)
        resource = runs.resource_of(run, project)
        operation.require(
            resource, purpose=draft.purpose, output=f"link_table_{draft.mode}", columns=frozenset(draft.columns)
        )
        row = service.release(operation, run=run, project=project, draft=draft, blobs=blobs)
        return Created(service.render(row, now=operation.now), f"/v1/releases/{row.id}")

    return gate.change(use_case, status=201, body=draft)


@router.get(
    "/projects/{project_id}/releases",
    operation_id="list_releases",
    summary="Releases of a project",
    responses=responses(401, 403, 404, 422),
)
def list_releases(
    project_id: ProjectPath, page: PageQuery, gate: Annotated[Gate, guard(Action.READ_PROJECT)]
) -> Page[schemas.Release]:
    """Releases, oldest first: a provider finds here which link tables it is to fetch."""

    def query(operation: Operation) -> Page[schemas.Release]:
        operation.require(governed(operation.session, project_id).resource())
        rows = tables.releases_page(operation.session, project_id=project_id, after=page.after, limit=page.limit + 1)
        return page.page(rows, lambda row: service.render(row, now=operation.now), lambda row: row.id)

    return gate.read(query)


@router.get(
    "/releases/{release_id}", operation_id="get_release", summary="One release", responses=responses(401, 403, 404, 422)
)
def get_release(release_id: ReleasePath, gate: Annotated[Gate, guard(Action.READ_RELEASE)]) -> schemas.Release:
    """For whom, for what, how, and until when."""

    def query(operation: Operation) -> schemas.Release:
        row, project = service.existing(operation.session, release_id)
        operation.require(service.resource_of(row, project, operation))
        return service.render(row, now=operation.now)

    return gate.read(query)


@router.get(
    "/releases/{release_id}/link-table", operation_id="get_link_table", summary="Retrieve your rows' link ids",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Row numbers of your upload with link ids, by row.",
            "content": {
                formats.JSON_LINES: {
                    "schema": {"type": "string"},
                    "example": '{"row":0,"link_id":"mfrggzdfmztwq2lk"}\n',
                },
                formats.CSV: {"schema": {"type": "string"}, "example": "row,link_id\r\n0,mfrggzdfmztwq2lk\r\n"},
                formats.ARROW: _BINARY,
                formats.PARQUET: _BINARY,
            },
        },
        **responses(401, 403, 404, 406, 409, 422),
    },
)  # fmt: skip
def get_link_table(
    release_id: ReleasePath,
    request: Request,
    gate: Annotated[Gate, guard(Action.RETRIEVE_LINK_TABLE)],
    accept: Annotated[
        str, Header(description=f"One of {', '.join(formats.MEDIA_TYPES)}, by weight; the first by default.")
    ] = "*/*",
) -> StreamingResponse:
    """A provider's own rows only. The retrieval is in the ledger before the first byte leaves, and is counted.

    `Linkage-Rows` says how many rows follow, so that a table that was cut short is noticed, and
    `Linkage-Withdrawn-Rows` how many rows of the upload are left out because they were withdrawn.
    """
    state = request.app.state.service
    media_type = formats.negotiated(accept)
    if media_type is None:
        raise NotAcceptable(f"A link table is given as one of {', '.join(formats.MEDIA_TYPES)}.")

    def use_case(operation: Operation) -> service.LinkTable:
        row, project = service.existing(operation.session, release_id)
        operation.require(service.resource_of(row, project, operation))
        return service.retrieve(operation, row=row, project=project, blobs=state.blobs)

    table, acknowledged = gate.perform(use_case)
    headers = {
        "Linkage-Rows": str(table.rows),
        "Linkage-Withdrawn-Rows": str(table.withdrawn),
        **acknowledged.headers,
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    return StreamingResponse(formats.written(table.table, media_type), media_type=media_type, headers=headers)


@router.get(
    "/projects/{project_id}/disclosures", operation_id="list_disclosures",
    summary="What was retrieved, by whom, for whom", response_model=Page[schemas.Disclosure],
    responses=responses(401, 403, 404, 422),
)  # fmt: skip
def list_disclosures(
    project_id: ProjectPath, page: PageQuery, gate: Annotated[Gate, guard(Action.READ_DISCLOSURES)]
) -> Response:
    """Every retrieval of a link table of the project, oldest first. Reading the list is recorded."""

    def use_case(operation: Operation) -> Page[schemas.Disclosure]:
        operation.require(governed(operation.session, project_id).resource())
        rows = tables.disclosures_page(operation.session, project_id=project_id, after=page.after, limit=page.limit + 1)
        operation.record(EventType.PROJECT_DISCLOSURES_VIEWED, resource=events.Resource("project", project_id))
        return page.page(rows, service.render_disclosure, lambda row: row[0].id)

    return gate.change(use_case)
