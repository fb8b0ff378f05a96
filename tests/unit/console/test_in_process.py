"""The transport to the API in this process: answers stream, addresses get through, failures are raised."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from linkage_console.in_process import InProcess


def _run(app: Any, work: Callable[[httpx.Response], Coroutine[Any, Any, Any]], **extensions: Any) -> Any:
    async def exchange() -> Any:
        request = httpx.Request("POST", "https://api.test/v1/x?a=1", content=b"body", extensions=extensions)
        return await work(await InProcess(app).handle_async_request(request))

    return asyncio.run(exchange())


async def _send(send: Send, *blocks: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
    for block in blocks:
        await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def test_request_arrives_with_path_query_body_and_address() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = await receive()
        seen.extend([scope["method"], scope["path"], scope["query_string"], scope["client"], message["body"]])
        await _send(send)

    _run(app, httpx.Response.aread, client=("192.0.2.1", 7))
    assert seen == ["POST", "/v1/x", b"a=1", ("192.0.2.1", 7), b"body"]


def test_answer_is_made_while_it_is_read() -> None:
    made: list[int] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(1000):
            made.append(number)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def begin(answer: httpx.Response) -> int:
        blocks = answer.aiter_raw()
        await anext(blocks)
        await asyncio.sleep(0)
        count = len(made)
        await answer.aclose()
        return count

    assert _run(app, begin) < 20


def test_application_is_stopped_when_the_reader_hangs_up() -> None:
    ended: list[str] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        finally:
            ended.append("stopped")

    async def hang_up(answer: httpx.Response) -> int:
        await anext(answer.aiter_raw())
        await answer.aclose()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert _run(app, hang_up) == 1
    assert ended == ["stopped"]


def test_application_that_answers_nothing_is_an_error() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        pass

    with pytest.raises(RuntimeError, match="without an answer"):
        _run(app, httpx.Response.aread)


def test_failure_before_the_answer_is_raised_where_it_is_awaited() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        _run(app, httpx.Response.aread)


def test_failure_within_the_answer_is_raised_to_the_reader() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError

    with pytest.raises(LookupError):
        _run(app, httpx.Response.aread)
