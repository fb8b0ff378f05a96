"""How the console calls the API: with the cookies and the origin of the browser's own request, so that the API decides.

Nothing is added that the browser did not send. What the API answers in cookies goes back to the browser.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Self

import httpx
from starlette.requests import Request
from starlette.types import ASGIApp

from linkage_console.in_process import InProcess

# What says who asks, from where, and from which site's page.
_PASSED_ON: Final = ("cookie", "origin", "sec-fetch-site", "user-agent")
# For an API elsewhere; nothing is waited for in this process.
_PATIENCE: Final = {"connect": 10.0, "read": 120.0, "write": 30.0, "pool": 10.0}
Json = dict[str, Any]


class Refusal(Exception):
    """The API said no, or failed: its problem document (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(status)
        self.status = status
        self.code = str(problem.get("code", "unknown"))
        self.title = str(problem.get("title", "The service did not answer as it should"))
        self.detail = str(problem.get("detail", "Try again. If it stays so, tell the operator of the service."))
        self.request_id = str(problem.get("request_id", ""))
        self.agreement: str | None = problem.get("agreement")
        self.elements: list[Mapping[str, str]] = list(problem.get("elements") or [])
        self.errors: list[Mapping[str, str]] = list(problem.get("errors") or [])

    @classmethod
    def no_page(cls) -> Self:
        """That there is nothing at an address of the console."""
        return cls(404, {"title": "Page not found", "detail": "There is no page at this address."})

    @property
    def ended(self) -> bool:
        """Whether the session has ended, so that only signing in helps."""
        return self.code in {"session_ended", "unauthenticated"}

    @property
    def asks_for_code(self) -> bool:
        """Whether nothing but the second factor was missing."""
        return bool(self.elements) and all(element.get("policy") == "G5-step-up" for element in self.elements)


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer of the API."""

    headers: Mapping[str, str]
    content: bytes
    document: Any

    @property
    def event(self) -> int | None:
        """Number of the event in the access log by which the change was recorded."""
        number = self.headers.get("linkage-event", "")
        return int(number) if number.isdecimal() else None


@dataclass(slots=True)
class Call:
    """Calls on behalf of one request of a browser."""

    _transport: httpx.AsyncBaseTransport
    _base_url: httpx.URL
    _headers: Mapping[str, str]
    _address: tuple[str, int] | None
    cookies: list[str] = field(default_factory=list)
    """`Set-Cookie` headers of the API, for the browser."""
    _counted: set[str] = field(default_factory=set)

    async def get(self, path: str, **params: Any) -> Answer:
        """Reads.

        Raises:
            Refusal: the API does not give it.
        """
        asked = {name: value for name, value in params.items() if value not in {None, ""}}
        return await self._send("GET", path, params=asked)

    async def change(
        self, path: str, body: Json | None = None, *, method: str = "POST", if_match: str | None = None
    ) -> Answer:
        """Changes something.

        Raises:
            Refusal: the API does not do it.
        """
        headers = {} if if_match is None else {"If-Match": if_match}
        return await self._send(method, path, json=body, headers=headers)

    async def stream(self, path: str, body: Json) -> tuple[Mapping[str, str], AsyncIterator[bytes]]:
        """Sends, and gives headers and blocks of a long answer, which has to be read to its end.

        Raises:
            Refusal: the API does not give it.
        """
        answer = await self._transport.handle_async_request(self._request("POST", path, json=body))
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            await answer.aread()
            raise _refusal(answer)

        async def blocks() -> AsyncIterator[bytes]:
            try:
                async for block in answer.aiter_bytes():
                    yield block
            finally:
                await answer.aclose()

        return answer.headers, blocks()

    async def items(self, path: str, *, most: int = 5000, **params: Any) -> list[Json]:
        """A whole list of the API, up to so many items."""
        params = {"limit": 500, **params}
        found: list[Json] = []
        cursor = None
        while len(found) < most:
            page = (await self.get(path, cursor=cursor, **params)).document
            found += page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
        return found[:most]

    def _request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> httpx.Request:
        extensions = {"client": self._address, "page": self._counted, "timeout": _PATIENCE}
        url = self._base_url.copy_with(path=path)
        return httpx.Request(
            method, url, headers={**self._headers, **(headers or {})}, extensions=extensions, **content
        )

    async def _send(self, method: str, path: str, **content: Any) -> Answer:
        answer = await self._transport.handle_async_request(self._request(method, path, **content))
        try:
            await answer.aread()
        finally:
            await answer.aclose()
        self.cookies += answer.headers.get_list("set-cookie")
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise _refusal(answer)
        is_json = answer.headers.get("content-type", "").split(";")[0].endswith("json")
        return Answer(
            answer.headers, answer.content, json.loads(answer.content) if is_json and answer.content else None
        )


class Api:
    """The API that the console is a client of.

    Requests go to the transport as they are made here. A client of httpx would keep the cookies of one browser's answer
    and send them with the next browser's request.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, *, base_url: str) -> None:
        self._transport = transport
        self._base_url = httpx.URL(base_url)

    @classmethod
    def in_process(cls, app: ASGIApp, *, base_url: str) -> "Api":
        """The API as an application of this process."""
        return cls(InProcess(app), base_url=base_url)

    def call(self, request: Request) -> Call:
        """Calls on behalf of a browser's request."""
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        address = (request.client.host, request.client.port) if request.client else None
        return Call(self._transport, self._base_url, headers, address)


def _refusal(answer: httpx.Response) -> Refusal:
    try:
        problem = json.loads(answer.content)
    except ValueError:
        problem = {}
    return Refusal(answer.status_code, problem if isinstance(problem, dict) else {})
