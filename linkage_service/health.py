"""Whether the service lives, is ready, and which version it is."""

from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Request, Response
from sqlmodel import select

from linkage_service.access.decide import CLOCK_TOLERANCE
from linkage_service.access.guard import PUBLIC
from linkage_service.audit import tables
from linkage_service.figures import free_bytes, unsigned_since
from linkage_service.migrate import can_serve
from linkage_service.problems import responses
from linkage_service.runs import presence
from linkage_service.runtime import Runtime
from linkage_service.wire import Output, Route

router = APIRouter(route_class=Route, tags=["health"], dependencies=[PUBLIC], responses=responses(429))
PartState = Literal["ok", "degraded", "unwell"]
_DISK_LOW_BYTES = 2**30
_UNSIGNED_TOO_LONG = timedelta(minutes=10)


class Alive(Output):
    """The process answers."""

    status: Literal["ok"]


class Ready(Output):
    """Whether requests can be served, and which part is unwell if not.

    `degraded`: requests are answered, and something that is not needed for that wants the operator's attention.
    """

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
    """Looks at what requests need: the database, its migrations, the blob store, the ledger's key.

    And at what they do not need, for which no request is turned away: workers, signed checkpoints, room on the disk, a
    clock that is not behind the ledger.
    """
    runtime: Runtime = request.app.state.service
    needed: dict[str, PartState] = {
        "database": _works(lambda: _read_head(runtime)),
        "migrations": _works(lambda: _must(can_serve(runtime.database.engine))),
        "blobs": _works(lambda: runtime.blobs.exists("health/probe")),
        "ledger_key": _works(lambda: _find_signer(runtime)),
    }
    others: dict[str, PartState] = {
        "workers": _works(lambda: _must_have_worker(runtime), otherwise="degraded"),
        "checkpoints": _works(lambda: _must_be_signed(runtime), otherwise="degraded"),
        "disk": _works(lambda: _must_have_room(runtime), otherwise="degraded"),
        # Not unwell: the refusal of one decision, an event of now, can be all that is in the way.
        "clock": _works(lambda: _must_not_be_behind_log(runtime), otherwise="degraded"),
    }
    parts = needed | others
    worst: PartState = max(parts.values(), key=("ok", "degraded", "unwell").index)
    response.status_code = 503 if worst == "unwell" else 200
    return Ready(status=worst, parts=parts)


@router.get("/version", operation_id="get_version", summary="Which version is this?")
def get_version() -> Version:
    """The distribution and its version."""
    return Version(name="linkage-service", version=version("linkage-service"))


def _read_head(runtime: Runtime) -> None:
    with runtime.database.reading() as session:
        session.exec(select(tables.AuditHead.size)).one()


def _find_signer(runtime: Runtime) -> None:
    with runtime.database.reading() as session:
        runtime.log.signer(session)


def _must_have_worker(runtime: Runtime) -> None:
    with runtime.database.reading() as session:
        _must(presence.count(session, now=runtime.clock()))


def _must_be_signed(runtime: Runtime) -> None:
    with runtime.database.reading() as session:
        since = unsigned_since(session)
    patience = max(_UNSIGNED_TOO_LONG, timedelta(seconds=3 * runtime.settings.checkpoint_s))
    _must(since is None or runtime.clock() - since < patience)


def _must_have_room(runtime: Runtime) -> None:
    _must(all(free >= _DISK_LOW_BYTES for free in free_bytes(runtime.settings).values()))


def _must_not_be_behind_log(runtime: Runtime) -> None:
    with runtime.database.reading() as session:
        newest = tables.newest_time(session)
    _must(newest is None or runtime.clock() >= newest - CLOCK_TOLERANCE)


def _must(holds: object) -> None:
    if not holds:
        raise ValueError("not so")


def _works(check: Callable[[], object], *, otherwise: PartState = "unwell") -> PartState:
    try:
        check()
    except Exception:  # noqa: BLE001 - whatever it is, the part is unwell
        return otherwise
    return "ok"
