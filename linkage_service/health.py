"""Whether the service lives, is ready, and which version it is."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Request, Response
from sqlmodel import select

from linkage_service.access.guard import PUBLIC
from linkage_service.audit import tables
from linkage_service.migrate import is_current
from linkage_service.problems import responses
from linkage_service.runtime import Runtime
from linkage_service.wire import Output

router = APIRouter(tags=["health"], dependencies=[PUBLIC])
PartState = Literal["ok", "unwell"]


class Alive(Output):
    """The process answers."""

    status: Literal["ok"]


class Ready(Output):
    """Whether requests can be served, and which part is unwell if not."""

    status: PartState
    parts: dict[str, PartState]


class Version(Output):
    """What is running."""

    name: str
    version: str


@router.get("/healthz", operation_id="get_health", summary="Is the process alive?")
def get_health() -> Alive:
    """Answers as long as the process does."""
    return Alive(status="ok")


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="Can it serve?",
    responses=responses(500) | {503: {"model": Ready, "description": "A part is unwell."}},
)
def get_readiness(request: Request, response: Response) -> Ready:
    """Looks at database, its migrations and the blob store."""
    runtime: Runtime = request.app.state.service
    parts: dict[str, PartState] = {
        "database": _works(lambda: _read_head(runtime)),
        "migrations": _works(lambda: _must(is_current(runtime.database.engine))),
        "blobs": _works(lambda: runtime.blobs.exists("health/probe")),
    }
    well: PartState = "ok" if set(parts.values()) == {"ok"} else "unwell"
    response.status_code = 200 if well == "ok" else 503
    return Ready(status=well, parts=parts)


@router.get("/version", operation_id="get_version", summary="Which version is this?")
def get_version() -> Version:
    """The distribution and its version."""
    return Version(name="linkage-service", version=version("linkage-service"))


def _read_head(runtime: Runtime) -> None:
    with runtime.database.reading() as session:
        session.exec(select(tables.AuditHead.size)).one()


def _must(holds: object) -> None:
    if not holds:
        raise ValueError("not so")


def _works(check: Callable[[], object]) -> PartState:
    try:
        check()
    except Exception:  # noqa: BLE001 - whatever it is, the part is unwell
        return "unwell"
    return "ok"
