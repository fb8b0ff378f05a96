"""HTTP of certificates, and of closing a project."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from linkage_ledger import events
from linkage_service.access.actions import Action
from linkage_service.access.guard import Gate, Operation, guard
from linkage_service.audit.catalogue import EventType
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.projects import schemas as project_schemas
from linkage_service.projects.service import governed, render_detail
from linkage_service.retention import schemas, service, tables
from linkage_service.uploads.service import Discarded, remove_blobs
from linkage_service.wire import CertificatePath, Page, PageQuery, ProjectPath, Route

router = APIRouter(route_class=Route, prefix="/v1", tags=["retention"], responses=OF_EVERY_ROUTE)


@router.post(
    "/projects/{project_id}:close", operation_id="close_project", summary="Close a project",
    response_model=project_schemas.ProjectDetail, responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def close_project(
    project_id: ProjectPath, request: Request, gate: Annotated[Gate, guard(Action.CLOSE_PROJECT)]
) -> Response:
    """Cancels unfinished runs and deletes every provider's encodings at once; results stay until their date."""
    gone: list[Discarded] = []

    def use_case(operation: Operation) -> project_schemas.ProjectDetail:
        project = governed(operation.session, project_id)
        operation.require(project.resource())
        gone.extend(service.close(operation, project=project))
        return render_detail(project)

    response = gate.change(use_case)
    for discarded in gone:
        remove_blobs(request.app.state.service.blobs, discarded)
    return response


@router.get(
    "/projects/{project_id}/certificates", operation_id="list_certificates", summary="Certificates of a project",
    responses=responses(401, 403, 404, 422),
)  # fmt: skip
def list_certificates(
    project_id: ProjectPath, page: PageQuery, gate: Annotated[Gate, guard(Action.READ_CERTIFICATES)]
) -> Page[schemas.CertificateSummary]:
    """Certificates of what was deleted of a project, oldest first."""

    def query(operation: Operation) -> Page[schemas.CertificateSummary]:
        operation.require(governed(operation.session, project_id).resource())
        rows = tables.certificates_page(
            operation.session, project_id=project_id, after=page.after, limit=page.limit + 1
        )
        return page.page(rows, service.render_summary, lambda row: row.id)

    return gate.read(query)


@router.get(
    "/certificates/{certificate_id}", operation_id="get_certificate", summary="One certificate",
    response_model=schemas.Certificate, responses=responses(401, 403, 404, 422),
)  # fmt: skip
def get_certificate(
    certificate_id: CertificatePath, gate: Annotated[Gate, guard(Action.READ_CERTIFICATES)]
) -> Response:
    """The document and its signature. Reading it is recorded."""

    def use_case(operation: Operation) -> schemas.Certificate:
        row, project = service.existing(operation.session, certificate_id)
        operation.require(project.resource())
        operation.record(EventType.CERTIFICATE_RETRIEVED, resource=events.Resource("certificate", row.id))
        return service.render(row)

    return gate.change(use_case)
