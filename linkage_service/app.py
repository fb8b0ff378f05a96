"""The HTTP application: rooms put together, nothing decided here."""

import secrets
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.exc import InvalidRequestError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from linkage_service import problems
from linkage_service.access.guard import PUBLIC
from linkage_service.agreements import routes as agreements
from linkage_service.audit import alarm_routes as audit_alarms
from linkage_service.audit import export_routes as audit_exports
from linkage_service.audit import routes as audit
from linkage_service.audit import trust_routes as audit_trust
from linkage_service.errors import LinkageError, TooLarge, Unavailable
from linkage_service.health import router as health
from linkage_service.keys import routes as keys
from linkage_service.link_tables import routes as link_tables
from linkage_service.organisations import routes as organisations
from linkage_service.people import routes as people
from linkage_service.projects import routes as projects
from linkage_service.protection import Protection
from linkage_service.retention import routes as retention
from linkage_service.rights import routes as rights
from linkage_service.runs import routes as runs
from linkage_service.runtime import Runtime
from linkage_service.tracing import Span, valid_traceparent
from linkage_service.uploads import routes as uploads

_log = structlog.get_logger(__name__)
_DISK_FULL = "53100"  # PostgreSQL's disk_full
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_ONLY_HTTPS = {"Strict-Transport-Security": "max-age=31536000"}
_TAGS = [
    {"name": "identity", "description": "Tokens, organisations, registration, machine clients."},
    {"name": "people", "description": "People of organisations: enrolment, sign-in, sessions."},
    {"name": "agreements", "description": "Information sharing protocols: documents, signatures, state."},
    {"name": "projects", "description": "Linkage rounds under an agreement."},
    {
        "name": "keys",
        "description": "Key cards, and the exchange of a project's secret, which the service does not learn.",
    },
    {"name": "uploads", "description": "Encodings and their manifests."},
    {"name": "runs", "description": "Executions of the matcher."},
    {"name": "results", "description": "Releases, link tables, disclosures."},
    {"name": "retention", "description": "Closing projects; certificates of what was deleted."},
    {"name": "rights", "description": "Withdrawals of rows, holds, access requests."},
    {"name": "ledger", "description": "The access log, its checkpoints and proofs."},
    {"name": "health", "description": "Whether the service is well."},
]
DESCRIPTION = (
    "Privacy-preserving record linkage. Providers send encodings made on their own machines; this service matches "
    "them and gives pseudonymous link tables, as far as the agreement between the parties allows. It never receives a "
    "name, a date of birth, an address or a record id. Errors are RFC 9457 problem documents. Every POST that creates "
    "something takes an Idempotency-Key."
)


def create_app(runtime: Runtime) -> FastAPI:
    """Makes the application from a runtime."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        runtime.checkpointer.start()
        yield
        runtime.checkpointer.stop()

    app = _Service(
        title="Linkage service",
        version=version("linkage-service"),
        description=DESCRIPTION,
        openapi_tags=_TAGS,
        lifespan=lifespan,
        # A redirect would be made of the caller's own Host header.
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        separate_input_output_schemas=False,
    )
    app.state.service = runtime
    problems.install(app)
    for room in (
        organisations, people, agreements, projects, keys, uploads, runs, link_tables, retention, rights, audit,
        audit_trust, audit_exports, audit_alarms,
    ):  # fmt: skip
        _serve(app, room.router)
    _serve(app, health)

    app.add_api_route(
        "/openapi.json", _openapi_document, name="openapi_document", include_in_schema=False, dependencies=[PUBLIC]
    )
    # The limit is inside: what it raises while a body is read must reach the problem handlers as it is.
    app.add_middleware(_BodyLimit, limit=runtime.settings.body_bytes_max)
    app.add_middleware(
        Protection,
        settings=runtime.settings,
        issuer=runtime.door.issuer,
        throttle=runtime.door.throttle,
        metrics=runtime.metrics,
    )
    app.add_middleware(_Context, runtime=runtime)
    return app


class _Service(FastAPI):
    """The framework's application, whose description has the problems that every route may answer with."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = super().openapi()
            self.openapi_schema["components"]["schemas"] |= problems.schemas()
        return self.openapi_schema


def _serve(app: FastAPI, router: APIRouter) -> None:
    # Not `include_router`: that builds every route a second time, when the first request arrives, and that one waits.
    app.router.routes.extend(router.routes)


def _openapi_document(request: Request) -> dict[str, Any]:
    # Not a closure over the application: the framework remembers what it has called, and would keep all of it.
    document: dict[str, Any] = request.app.openapi()
    return document


def routes_of(app: FastAPI) -> list[APIRoute]:
    """Every route of the application, for tests that enumerate them."""
    return [route for route in app.routes if isinstance(route, APIRoute)]


class _Context:
    """Gives every request an id, every response its headers, and the log one line that says nothing about a person."""

    def __init__(self, app: ASGIApp, *, runtime: Runtime) -> None:
        self._app = app
        self._metrics = runtime.metrics
        self._tracing = runtime.tracing
        # Browsers heed it over https alone, so it tells them nothing about a service that is tried out.
        secure = (runtime.settings.issuer or "").startswith("https://")
        self._headers = _SECURITY_HEADERS | (_ONLY_HTTPS if secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        parent = valid_traceparent(Headers(scope=scope).get("traceparent"))
        with self._metrics.answering(), self._tracing.span("request", parent=parent) as span:
            await self._answer(scope, receive, send, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {}).update(request_id=request_id, traceparent=span.traceparent)
        began, status = time.monotonic(), None

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, stamped)
        except Exception as error:
            # No traceback: a failing statement's parameters would be in it.
            _log.error("request_crashed", error_type=type(error).__name__, request_id=request_id)
            if status is not None:
                # Part of the answer has left: only breaking the connection off tells the caller.
                raise
            await _unexpected(error, Request(scope))(scope, receive, stamped)
        finally:
            seconds, route = time.monotonic() - began, getattr(scope.get("route"), "path", "unknown")
            self._metrics.answered(method=scope["method"], route=route, status=status, seconds=seconds)
            span.call(route if route != "unknown" else "request")
            span.note(route=route, status=status, request_id=request_id)
        _log.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            duration_ms=round(seconds * 1000),
            request_id=request_id,
        )


def _unexpected(error: Exception, request: Request) -> Response:
    """Whatever was missed becomes a problem document: this is the edge of the process."""
    if any(words in str(error) for words in ("database is locked", "due to lock timeout")):
        return problems.render(Unavailable("The database is busy. Nothing was changed. Try again."), request)
    if "database or disk is full" in str(error) or _sqlstate(error) == _DISK_FULL:
        full = Unavailable(
            "The service's disk is full. Nothing was changed. The operator makes room; then try again.",
            code="storage_full",
        )
        return problems.render(full, request)
    if isinstance(error, PoolTimeoutError):
        busy = Unavailable("All connections to the database are in use. Nothing was changed. Try again.")
        return problems.render(busy, request)
    if _broke_off(error) and request.method == "GET":
        return problems.render(Unavailable("The database broke off or cannot be reached. Try again."), request)
    if _broke_off(error):
        # It may have broken off after it had committed and before it could say so.
        away = Unavailable(
            "The database broke off or cannot be reached, so it is not known whether this was done. Try again: a POST "
            "with the same Idempotency-Key is not done twice."
        )
        return problems.render(away, request)
    unexpected = LinkageError("The service failed unexpectedly. Nothing was changed. Tell the operator the request_id.")
    return problems.render(unexpected, request)


def _broke_off(error: Exception) -> bool:
    """Whether a server's database went away, or did not come back."""
    if isinstance(error, OperationalError):
        return not isinstance(error.orig, sqlite3.Error)
    return isinstance(error, InvalidRequestError) and "Reconnection attempts exhausted" in str(error)


def _sqlstate(error: Exception) -> str | None:
    """PostgreSQL's own code of an error, where it has one."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


class _BodyLimit:
    """Stops reading a body above the limit; parts of uploads have their own, exact one."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] == "PUT" and "/parts/" in scope["path"]):
            await self._app(scope, receive, send)
            return
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                large = TooLarge(f"The body is larger than {self._limit} bytes, the most this service takes here.")
                # Whatever else is raised while a body is read, the framework answers as if the body were malformed.
                raise HTTPException(large.status) from large
            return message

        await self._app(scope, limited, send)
