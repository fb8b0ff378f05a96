"""An application in this process, behind httpx: requests of threads, answered in one event loop that all share.

A loop of its own for every request, and threads that begin and end with it, would take longer than most requests.
"""

import atexit
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI


class AppTransport(httpx.BaseTransport):
    """Hands requests to an ASGI application; what it raises is raised where the request was made."""

    def __init__(self, app: Any, *, client: tuple[str, int] = ("testclient", 50_000)) -> None:
        self._inner = httpx.ASGITransport(app, client=client)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends one request and waits for the whole answer."""
        return _portal().call(self._exchange, request)

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        sent = httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=_Body(request.read()),
            extensions=request.extensions,
        )
        answer = await self._inner.handle_async_request(sent)
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        body = b"".join([chunk async for chunk in answer.stream])
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(body))


def running(app: FastAPI) -> AbstractContextManager[object]:
    """The application from its start to its end: with whatever it does besides answering."""
    return _portal().wrap_async_context_manager(app.router.lifespan_context(app))


class _Body(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


@cache
def _portal() -> BlockingPortal:
    running = start_blocking_portal()
    atexit.register(running.__exit__, None, None, None)
    return running.__enter__()
