"""HTTP of projects."""

from typing import Annotated

from fastapi import APIRouter, Response

from linkage_service.access.actions import Action
from linkage_service.access.decide import SERVICE
from linkage_service.access.guard import Created, Gate, Operation, guard
from linkage_service.agreements.service import in_force
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.projects import schemas, service, tables
from linkage_service.wire import Page, PageQuery, ProjectPath, Route

router = APIRouter(route_class=Route, prefix="/v1/projects", tags=["projects"], responses=OF_EVERY_ROUTE)


@router.post(
    "", operation_id="open_project", summary="Open a project", status_code=201, response_model=schemas.ProjectDetail,
    responses=responses(401, 403, 404, 413, 415, 422),
)  # fmt: skip
def open_project(draft: schemas.ProjectDraft, gate: Annotated[Gate, guard(Action.OPEN_PROJECT)]) -> Response:
    """Opens a linkage round under an active agreement, with the exact linkage schema that the parties signed."""

    def use_case(operation: Operation) -> Created:
        agreement = in_force(operation.session, draft.agreement)
        schema = service.canonical(draft.linkage_schema, pointer="/linkage_schema")
        operation.require(agreement.resource(), purpose=draft.purpose, kind=draft.kind, linkage_schema=schema.sha256)
        project = service.open_project(operation, agreement=agreement, draft=draft, schema=schema)
        return Created(service.render_detail(project), f"/v1/projects/{project.row.id}")

    return gate.change(use_case, status=201, body=draft)


@router.get("", operation_id="list_projects", summary="List projects", responses=responses(401, 403, 422))
def list_projects(page: PageQuery, gate: Annotated[Gate, guard(Action.BROWSE)]) -> Page[schemas.Project]:
    """Projects under agreements that name the caller's organisation; the linkage unit's officers see all."""

    def query(operation: Operation) -> Page[schemas.Project]:
        operation.require(SERVICE)
        mine = None if operation.caller.oversees else operation.caller.organisation
        rows = tables.projects_page(operation.session, organisation=mine, after=page.after, limit=page.limit + 1)
        return page.page(
            rows, lambda row: service.render(service.governed(operation.session, row.id)), lambda row: row.id
        )

    return gate.read(query)


@router.get("/{project_id}", operation_id="get_project", summary="One project", responses=responses(401, 403, 404, 422))
def get_project(project_id: ProjectPath, gate: Annotated[Gate, guard(Action.READ_PROJECT)]) -> schemas.ProjectDetail:
    """The project with its linkage schema, by which every provider encodes."""

    def query(operation: Operation) -> schemas.ProjectDetail:
        project = service.governed(operation.session, project_id)
        operation.require(project.resource())
        return service.render_detail(project)

    return gate.read(query)
