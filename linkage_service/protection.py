"""What is refused before the application looks at it: foreign hosts, packed bodies, floods, bodies that dawdle."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from linkage_service import problems
from linkage_service.access.source import source_of
from linkage_service.errors import LinkageError, Misdirected, TooSlow, WrongMediaType
from linkage_service.metrics import Metrics
from linkage_service.settings import Settings, host_of, is_here
from linkage_service.throttle import Throttle, counted_for_page

ANY = "*"
# Whoever looks whether the process lives calls it by the address that it happens to have.
_ANY_HOST = frozenset({"/healthz", "/readyz"})
# A body may take the patience of the settings and one second for each of these.
_SLOWEST_BYTES_PER_S = 4096
# What lies at the socket is read in the next turn of the loop and handed on after that. A process that stalled may find
# the whole body there when its time is long over.
_TURNS_TO_ARRIVE = 4


class Protection:
    """Stands before the application. Nothing that it refuses reaches the ledger: nobody is known yet."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        issuer: Callable[[], str],
        throttle: Throttle,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._settings = settings
        self._issuer = issuer
        self._throttle = throttle
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except LinkageError as error:
            await problems.render(error, Request(scope))(scope, receive, send)
            return
        patient = _Patient(
            receive, self._settings.slow_body_s, self._metrics, slowest_bytes_per_s=self._slowest_bytes_per_s(scope)
        )
        await self._app(scope, patient, send)

    def _slowest_bytes_per_s(self, scope: Scope) -> int:
        # A part holds one of few places while it comes.
        is_part = scope["method"] == "PUT" and "/parts/" in scope["path"]
        return self._settings.slow_part_bytes_per_s if is_part else _SLOWEST_BYTES_PER_S

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if scope["path"] not in _ANY_HOST and not self._is_ours(headers.get("host", "")):
            self._metrics.limited("host")
            raise Misdirected(
                "This service is not known by the host that the request names. Use its published address; its "
                "operator can name further ones in LINKAGE_HOSTS."
            )
        if headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
            self._metrics.limited("encoding")
            raise WrongMediaType(
                "The body is compressed, and this service unpacks nothing. Send it as it is, without Content-Encoding.",
                code="content_encoded",
            )
        if counted_for_page(scope) is None:
            self._throttle.address(source_of(Request(scope)))

    def _is_ours(self, host: str) -> bool:
        settings = self._settings
        if settings.development or ANY in settings.hosts:
            return True
        named = host_of(f"//{host}")
        return is_here(f"//{host}") or named in {host_of(self._issuer()), *(name.lower() for name in settings.hosts)}


class _Patient:
    """Gives a body on as it comes, as long as it comes. Only time in which it is waited for counts."""

    def __init__(
        self,
        receive: Receive,
        patience_s: float,
        metrics: Metrics,
        *,
        slowest_bytes_per_s: int = _SLOWEST_BYTES_PER_S,
    ) -> None:
        self._receive = receive
        self._slowest_bytes_per_s = slowest_bytes_per_s
        self._patience_s = patience_s
        self._metrics = metrics
        self._waited_s = 0.0
        self._bytes = 0
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            # Now it waits for the caller to go away, which may take as long as the answer.
            return await self._receive()
        allowed_s = self._patience_s + self._bytes / self._slowest_bytes_per_s - self._waited_s
        began = time.monotonic()
        try:
            message = await self._within(min(self._patience_s, allowed_s))
        finally:
            self._waited_s += time.monotonic() - began
        self._bytes += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        return message

    async def _within(self, seconds: float) -> Message:
        # A part of an upload comes in hundreds of pieces: a task for each would cost more than its bytes.
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                return await self._receive()
        waiting = asyncio.ensure_future(self._receive())
        try:
            for _ in range(_TURNS_TO_ARRIVE):
                await asyncio.sleep(0)
                if waiting.done():
                    return waiting.result()
        finally:
            waiting.cancel()
        self._metrics.limited("slow")
        slow = TooSlow("The body came too slowly, or stopped coming. Nothing was done. Send the request again.")
        # Whatever else is raised while a body is read, the framework answers as if the body were malformed.
        raise HTTPException(slow.status) from slow


def protocol_of(header_s: float) -> type[H11Protocol]:
    """The HTTP protocol of the server, which hangs up on whoever has not sent a whole head of a request in time.

    Args:
        header_s: from the connection, or from the last answer on it; seconds.
    """

    class Hurried(H11Protocol):
        """uvicorn's protocol waits for a head for ever."""

        _head_due: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._hurry()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._relax_while_answering()

        def on_response_complete(self) -> None:
            self._hurry()
            super().on_response_complete()
            # Where the next request lay here already, it has begun by now.
            self._relax_while_answering()

        def connection_lost(self, exc: Exception | None) -> None:
            self._relax()
            super().connection_lost(exc)

        def _relax_while_answering(self) -> None:
            cycle: RequestResponseCycle | None = self.cycle
            if cycle is not None and not cycle.response_complete:
                self._relax()

        def _hurry(self) -> None:
            self._relax()
            self._head_due = self.loop.call_later(header_s, self.transport.close)

        def _relax(self) -> None:
            if self._head_due is not None:
                self._head_due.cancel()
                self._head_due = None

    return Hurried
