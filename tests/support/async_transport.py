"""A transport for asyncio, as small as it gets: what the client's sans-I/O half leaves to be written."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import httpx

from linkage_client._authentication import AccessToken, Clock, Credentials
from linkage_client._protocol import (
    Answer,
    Call,
    Conversation,
    Limits,
    LineSplitter,
    LogIn,
    attempts,
    make_call,
    raise_for_problem,
)
from linkage_client._transport import check_service_url, connection_errors_translated
from linkage_client.errors import NotAuthenticatedError
from linkage_client.models import Answer as Model
from linkage_client.resources._base import Pages

Result = TypeVar("Result")
Item = TypeVar("Item", bound=Model)


class AsyncTransport:
    """Requests to one service from the tasks of one event loop."""

    def __init__(
        self, service_url: str, *, credentials: Credentials, clock: Clock, http_transport: httpx.AsyncBaseTransport
    ) -> None:
        self._clock = clock
        self._http = httpx.AsyncClient(base_url=check_service_url(service_url), transport=http_transport)
        self._log_in = LogIn(credentials, clock=clock)
        self._log_in_lock = asyncio.Lock()

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, method: str, path: str, **parts: Any) -> Answer:
        call = make_call(method, path, **parts)
        return await self._retrying(lambda: self._authenticated(call, read=self._exchange))

    async def lines(self, path: str, *, accept: str) -> AsyncIterator[bytes]:
        call = make_call("GET", path, headers={"Accept": accept})
        response = await self._retrying(lambda: self._authenticated(call, read=self._open))
        async with aclosing(response):
            lines = LineSplitter(request_id=response.headers.get("x-request-id"))
            async for block in response.aiter_bytes():
                for line in lines.feed(block):
                    yield line
            lines.finish()

    async def items(self, path: str, model: type[Item], *, limit: int | None = None) -> AsyncIterator[Item]:
        pages = Pages(model, limit=limit)
        while (params := pages.next_params()) is not None:
            for item in pages.items(await self.send("GET", path, params=params)):
                yield item

    async def _retrying(self, attempt_once: Callable[[], Awaitable[Result]]) -> Result:
        async for attempt in attempts(Limits(attempts=4)):
            with attempt:
                return await attempt_once()
        raise AssertionError

    async def _authenticated(self, call: Call, *, read: Callable[[Call], Awaitable[Result]]) -> Result:
        if call.public:
            return await read(call)
        token = await self._token()
        try:
            return await read(call.with_token(token))
        except NotAuthenticatedError:
            return await read(call.with_token(await self._token(rejected=token)))

    async def _token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        async with self._log_in_lock:
            return await self._converse(self._log_in.token(rejected=rejected))

    async def _converse(self, conversation: Conversation[Result]) -> Result:
        try:
            call = next(conversation)
            while True:
                call = conversation.send(await self._exchange(call))
        except StopIteration as done:
            result: Result = done.value
            return result

    async def _exchange(self, call: Call) -> Answer:
        with connection_errors_translated():
            response = await self._http.send(self._request(call))
        return self._answer(response)

    async def _open(self, call: Call) -> httpx.Response:
        with connection_errors_translated():
            response = await self._http.send(self._request(call), stream=True)
            if response.is_success:
                return response
            async with aclosing(response):
                await response.aread()
        self._answer(response)
        raise AssertionError

    def _request(self, call: Call) -> httpx.Request:
        return self._http.build_request(
            call.method, call.path, headers=dict(call.headers), params=dict(call.params), content=call.content
        )

    def _answer(self, response: httpx.Response) -> Answer:
        answer = Answer(response.status_code, response.headers, response.content, received_at=self._clock.now())
        raise_for_problem(answer)
        return answer
