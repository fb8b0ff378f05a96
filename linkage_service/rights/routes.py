"""HTTP of withdrawals, holds and access requests."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from linkage_service.access.actions import Action
from linkage_service.access.guard import Created, Gate, Operation, guard
from linkage_service.link_tables import service as link_tables
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.projects.service import governed
from linkage_service.rights import schemas, service, tables
from linkage_service.runs import service as runs
from linkage_service.uploads import service as uploads
from linkage_service.wire import Page, PageQuery, ProjectPath, ReleasePath, Route, RunPath, UploadPath

router = APIRouter(route_class=Route, prefix="/v1", tags=["rights"], responses=OF_EVERY_ROUTE)


@router.post(
    "/uploads/{upload_id}/withdrawals", operation_id="withdraw_rows", summary="Take rows back", status_code=201,
    response_model=schemas.Withdrawal, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def withdraw_rows(
    upload_id: UploadPath, draft: schemas.WithdrawalDraft, gate: Annotated[Gate, guard(Action.WITHDRAW_ROWS)]
) -> Response:
    """Takes rows of the caller's own upload out of everything that is made from it, for good.

    Encodings are erased and results made again by the worker, within moments; until then no result that holds the rows
    is given out. Unfinished runs of the upload fail. Works whatever the state of the agreement.
    """

    def use_case(operation: Operation) -> Created:
        row, project = uploads.existing(operation.session, upload_id)
        operation.require(uploads.resource_of(row, project))
        made = service.withdraw(operation, upload=row, draft=draft)
        return Created(service.render(made), f"/v1/uploads/{upload_id}/withdrawals")

    return gate.change(use_case, status=201, body=draft)


@router.get(
    "/uploads/{upload_id}/withdrawals", operation_id="list_withdrawals", summary="Withdrawals from an upload",
    responses=responses(401, 403, 404, 422),
)  # fmt: skip
def list_withdrawals(
    upload_id: UploadPath, page: PageQuery, gate: Annotated[Gate, guard(Action.READ_UPLOAD)]
) -> Page[schemas.Withdrawal]:
    """How many rows were withdrawn when and why, and whether that is applied. Which rows, the provider knows."""

    def query(operation: Operation) -> Page[schemas.Withdrawal]:
        row, project = uploads.existing(operation.session, upload_id)
        operation.require(uploads.resource_of(row, project))
        rows = tables.withdrawals_page(operation.session, upload_id=upload_id, after=page.after, limit=page.limit + 1)
        return page.page(rows, service.render, lambda row: row.id)

    return gate.read(query)


@router.post(
    "/uploads/{upload_id}:trace", operation_id="trace_row", summary="Who received anything made from a row",
    response_model=schemas.Trace, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def trace_row(
    upload_id: UploadPath,
    draft: schemas.TraceDraft,
    request: Request,
    gate: Annotated[Gate, guard(Action.TRACE_ROW)],
) -> Response:
    """Answers an access request: for which recipients the caller retrieved a link table that held the row, and when.

    The request is recorded without the row. Which other provider the row matched is not told.
    """
    blobs = request.app.state.service.blobs

    def use_case(operation: Operation) -> schemas.Trace:
        row, project = uploads.existing(operation.session, upload_id)
        operation.require(uploads.resource_of(row, project))
        return service.trace(operation, upload=row, draft=draft, blobs=blobs)

    return gate.change(use_case, body=draft)


@router.get(
    "/releases/{release_id}/withdrawals", operation_id="get_withdrawn_links", summary="Link ids to delete",
    response_model=schemas.WithdrawnLinks, responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def get_withdrawn_links(
    release_id: ReleasePath, request: Request, gate: Annotated[Gate, guard(Action.READ_WITHDRAWALS)]
) -> Response:
    """For the recipient: link ids of rows that were withdrawn after their provider had retrieved them. Recorded.

    Delete what came from the named provider under such an id. What other providers sent under the same id stays.
    """
    state = request.app.state.service

    def use_case(operation: Operation) -> schemas.WithdrawnLinks:
        row, project = link_tables.existing(operation.session, release_id)
        operation.require(link_tables.resource_of(row, project, operation))
        return service.withdrawn_links(operation, release=row, project=project, blobs=state.blobs)

    return gate.change(use_case)


@router.get(
    "/projects/{project_id}/holds", operation_id="list_holds", summary="Holds in force",
    responses=responses(401, 403, 404, 422),
)  # fmt: skip
def list_holds(
    project_id: ProjectPath, page: PageQuery, gate: Annotated[Gate, guard(Action.READ_CERTIFICATES)]
) -> Page[schemas.Hold]:
    """Which runs and releases of a project are restricted, on which ground, and which of them are past their date."""

    def query(operation: Operation) -> Page[schemas.Hold]:
        session = operation.session
        operation.require(governed(session, project_id).resource())
        rows = tables.holds_page(session, project_id=project_id, after=page.after, limit=page.limit + 1)
        return page.page(rows, lambda row: service.render_hold(session, row, now=operation.now), lambda row: row.id)

    return gate.read(query)


@router.post(
    "/runs/{run_id}:restrict", operation_id="restrict_run", summary="Put a hold on a run", status_code=201,
    response_model=schemas.Hold, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def restrict_run(
    run_id: RunPath, draft: schemas.HoldDraft, gate: Annotated[Gate, guard(Action.RESTRICT_RUN)]
) -> Response:
    """Nothing of the run, nor of any of its releases, leaves while the hold lasts."""

    def use_case(operation: Operation) -> Created:
        row, project = runs.existing(operation.session, run_id)
        operation.require(runs.resource_of(row, project))
        hold = service.restrict(operation, held=row, kind="run", draft=draft)
        rendered = service.render_hold(operation.session, hold, now=operation.now)
        return Created(rendered, f"/v1/projects/{row.project}/holds")

    return gate.change(use_case, status=201, body=draft)


@router.post(
    "/runs/{run_id}:lift-restriction", operation_id="lift_run_restriction", summary="Lift the hold on a run",
    status_code=204, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def lift_run_restriction(
    run_id: RunPath, draft: schemas.LiftDraft, gate: Annotated[Gate, guard(Action.RESTRICT_RUN)]
) -> Response:
    """Ends the hold. What was kept past its date because of it is deleted by the next sweep."""

    def use_case(operation: Operation) -> None:
        row, project = runs.existing(operation.session, run_id)
        operation.require(runs.resource_of(row, project))
        service.lift(operation, held=row, kind="run", draft=draft)

    return gate.change(use_case, status=204, body=draft)


@router.post(
    "/releases/{release_id}:restrict", operation_id="restrict_release", summary="Put a hold on a release",
    status_code=201, response_model=schemas.Hold, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def restrict_release(
    release_id: ReleasePath, draft: schemas.HoldDraft, gate: Annotated[Gate, guard(Action.RESTRICT_RELEASE)]
) -> Response:
    """No link table of the release is retrieved while the hold lasts."""

    def use_case(operation: Operation) -> Created:
        row, project = link_tables.existing(operation.session, release_id)
        operation.require(link_tables.resource_of(row, project, operation))
        hold = service.restrict(operation, held=row, kind="release", draft=draft)
        rendered = service.render_hold(operation.session, hold, now=operation.now)
        return Created(rendered, f"/v1/projects/{row.project}/holds")

    return gate.change(use_case, status=201, body=draft)


@router.post(
    "/releases/{release_id}:lift-restriction", operation_id="lift_release_restriction",
    summary="Lift the hold on a release", status_code=204, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def lift_release_restriction(
    release_id: ReleasePath, draft: schemas.LiftDraft, gate: Annotated[Gate, guard(Action.RESTRICT_RELEASE)]
) -> Response:
    """Ends the hold. What was kept past its date because of it is deleted by the next sweep."""

    def use_case(operation: Operation) -> None:
        row, project = link_tables.existing(operation.session, release_id)
        operation.require(link_tables.resource_of(row, project, operation))
        service.lift(operation, held=row, kind="release", draft=draft)

    return gate.change(use_case, status=204, body=draft)
