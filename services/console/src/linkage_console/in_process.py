"""The API in this process, behind httpx: its answers stream, and it sees the address that the browser comes from.

`httpx.ASGITransport` collects an answer before it hands it on; an export of the log may be larger than the memory.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import httpx
from starlette.types import ASGIApp, Message

# Under this name the application finds who was counted for the page that a request is made for. No header becomes part
# of a scope, so nobody else can say so.
_PAGE: Final = "linkage.page"
# The application waits while the browser has not taken so many blocks.
_BLOCKS_AHEAD: Final = 4


class InProcess(httpx.AsyncBaseTransport):
    """Hands requests to an ASGI application in the same event loop.

    The extension `client` of a request, host and port, is what the application sees as the caller's address. The
    extension `page` is a set, the same for all requests of one page, in which it keeps whom it has counted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Begins a request; the answer's body is read while it is made."""
        exchange = _Exchange(self._app, _scope_of(request), await request.aread())
        return await exchange.begin()


class _Exchange:
    def __init__(self, app: ASGIApp, scope: Mapping[str, Any], body: bytes) -> None:
        self._body: bytes | None = body
        self._began: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._blocks: asyncio.Queue[bytes | None] = asyncio.Queue(_BLOCKS_AHEAD)
        self._task = asyncio.create_task(self._run(app, dict(scope)))

    async def begin(self) -> httpx.Response:
        """The answer as soon as its status is known."""
        try:
            start = await self._began
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        return httpx.Response(
            start["status"], headers=list(start.get("headers", [])), stream=_Blocks(self._blocks, self._task)
        )

    async def _run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        # Where the reader hangs up this is cancelled, and nobody takes the last block any more: nothing is put then.
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            if not self._began.done():
                self._began.set_exception(error)
                return
            # Part of the answer has left: whoever reads the rest is told by the end of this task.
            await self._blocks.put(None)
            raise
        if not self._began.done():
            self._began.set_exception(RuntimeError("the application ended without an answer"))
        await self._blocks.put(None)

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # Nobody hangs up: a browser that does has this whole exchange cancelled.
        await asyncio.Event().wait()
        raise AssertionError

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._began.set_result(message)
        elif message.get("body"):
            await self._blocks.put(message["body"])


class _Blocks(httpx.AsyncByteStream):
    def __init__(self, blocks: asyncio.Queue[bytes | None], task: asyncio.Task[None]) -> None:
        self._blocks = blocks
        self._task = task

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (block := await self._blocks.get()) is not None:
            yield block
        await self._task

    async def aclose(self) -> None:
        self._task.cancel()


def _scope_of(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": request.extensions.get("client"),
        "root_path": "",
        _PAGE: request.extensions.get("page"),
    }
