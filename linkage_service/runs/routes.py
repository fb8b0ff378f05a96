"""HTTP of runs."""

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool

from linkage_service.access.actions import Action
from linkage_service.access.guard import Created, Gate, Operation, guard
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.projects.service import Governed, governed
from linkage_service.runs import results, schemas, service, tables
from linkage_service.runs.aims import Aim
from linkage_service.wire import Page, PageQuery, ProjectPath, Route, RunPath

router = APIRouter(route_class=Route, prefix="/v1", tags=["runs"], responses=OF_EVERY_ROUTE)
_LONGEST_WAIT_S = 60
_LOOK_EVERY_S = 0.25
_WAIT = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,4})(?:$|[,;\s])")


@router.post(
    "/projects/{project_id}/runs", operation_id="start_run", summary="Start a run", status_code=202,
    response_model=schemas.Run, responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def start_run(
    project_id: ProjectPath,
    draft: schemas.RunDraft,
    request: Request,
    gate: Annotated[Gate, guard(Action.START_RUN)],
) -> Response:
    """Queues a run on the complete uploads of every provider.

    The run is the operation: read it to see how far it is. It may not aim lower than the agreement's target precision.
    """

    def use_case(operation: Operation) -> Created:
        project = governed(operation.session, project_id)
        aim = Aim.of(draft, agreed=project.agreement.document.quality.target_precision)
        operation.require(project.resource(), **service.terms_of_request(operation, project, aim))
        row = service.request(
            operation,
            project=project,
            aim=aim,
            blocking=draft.blocking,
            traceparent=request.state.traceparent,
        )
        return Created(_render(operation, row, project, gate), f"/v1/runs/{row.id}")

    response = gate.change(use_case, status=202, body=draft)
    response.headers["Retry-After"] = "1"
    return response


@router.get(
    "/projects/{project_id}/runs",
    operation_id="list_runs",
    summary="Runs of a project",
    responses=responses(401, 403, 404, 422),
)
def list_runs(
    project_id: ProjectPath, page: PageQuery, gate: Annotated[Gate, guard(Action.READ_PROJECT)]
) -> Page[schemas.Run]:
    """Runs, oldest first."""

    def query(operation: Operation) -> Page[schemas.Run]:
        project = governed(operation.session, project_id)
        operation.require(project.resource())
        rows = tables.runs_page(operation.session, project_id=project_id, after=page.after, limit=page.limit + 1)
        return page.page(rows, lambda row: _render(operation, row, project, gate), lambda row: row.id)

    return gate.read(query)


@router.get("/runs/{run_id}", operation_id="get_run", summary="One run", responses=responses(401, 403, 404, 422))
async def get_run(
    run_id: RunPath,
    response: Response,
    gate: Annotated[Gate, guard(Action.READ_RUN)],
    prefer: Annotated[
        str | None, Header(description="RFC 7240: `wait=20` answers when the run ends, or after 20 seconds.")
    ] = None,
) -> schemas.Run:
    """How far the run is. With `Prefer: wait=20` the answer comes when it ends, or after so many seconds."""

    def query(operation: Operation) -> schemas.Run:
        row, project = service.existing(operation.session, run_id)
        operation.require(service.resource_of(row, project))
        return _render(operation, row, project, gate)

    found = _WAIT.search(prefer or "")
    looks = int(min(int(found.group(1)), _LONGEST_WAIT_S) / _LOOK_EVERY_S) if found else 0
    run = await run_in_threadpool(gate.read, query)
    while looks and run.state not in service.FINISHED:
        await asyncio.sleep(_LOOK_EVERY_S)
        run = await run_in_threadpool(gate.read, query)
        looks -= 1
    if run.state not in service.FINISHED:
        response.headers["Retry-After"] = "1"
    return run


@router.post(
    "/runs/{run_id}:cancel", operation_id="cancel_run", summary="Cancel a run", response_model=schemas.Run,
    responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def cancel_run(run_id: RunPath, request: Request, gate: Annotated[Gate, guard(Action.CANCEL_RUN)]) -> Response:
    """Cancels a run that has not ended; nothing of it is kept."""

    def use_case(operation: Operation) -> schemas.Run:
        row, project = service.existing(operation.session, run_id)
        operation.require(service.resource_of(row, project))
        cancelled = service.cancel(operation, row=row)
        return _render(operation, cancelled, project, gate)

    response = gate.change(use_case)
    results.remove(request.app.state.service.blobs, run_id=run_id)
    return response


@router.get(
    "/runs/{run_id}/summary", operation_id="get_summary", summary="Overlap of the providers",
    response_model=schemas.Summary, responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def get_summary(run_id: RunPath, gate: Annotated[Gate, guard(Action.READ_SUMMARY)]) -> Response:
    """How many groups each combination of providers shares, rounded, with small counts suppressed.

    Reading it is recorded.
    """

    def use_case(operation: Operation) -> schemas.Summary:
        row, project = service.existing(operation.session, run_id)
        operation.require(service.resource_of(row, project))
        return service.summarise(operation, row=row, project=project)

    return gate.change(use_case)


@router.get(
    "/runs/{run_id}/report", operation_id="get_report", summary="How good a run's links are expected to be",
    response_model=schemas.RunReport, responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def get_report(run_id: RunPath, gate: Annotated[Gate, guard(Action.READ_REPORT)]) -> Response:
    """How well matches stood out from chance, where the run cut, and the expected precision and recall of its links.

    Counts are rounded and left out as the summary's are. Reading it is recorded.
    """

    def use_case(operation: Operation) -> schemas.RunReport:
        row, project = service.existing(operation.session, run_id)
        operation.require(service.resource_of(row, project))
        return service.report(operation, row=row, project=project)

    return gate.change(use_case)


def _render(operation: Operation, row: tables.Run, project: Governed, gate: Gate) -> schemas.Run:
    return service.render(operation.session, row, project=project, request_id=gate.request_id)
