"""One request of a browser, from the cookie to the page: what every page of the console goes through."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from linkage_console.calling import Api, Call, Json, Refusal
from linkage_console.forms import Form, own_path, read_form
from linkage_console.templating import Pages

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Console:
    """What all pages stand on.

    Attributes:
        address: gives the address of the service, from whose pages forms come.
        at: the path below which the pages are.
        now: the service's clock.
    """

    api: Api
    pages: Pages
    address: Callable[[], str]
    at: str
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Visit:
    """A request with its calls of the API.

    Attributes:
        me: who is signed in, as the API says; None where nobody has to be.
        form: what was sent, from a page of the console.
    """

    console: Console
    request: Request
    call: Call
    me: Json | None
    form: Form

    @property
    def roles(self) -> frozenset[str]:
        """Roles of the person."""
        return frozenset(((self.me or {}).get("person") or {}).get("roles", ()))

    @property
    def of_unit(self) -> bool:
        """Whether the person belongs to the linkage unit."""
        return bool(self.me) and self.me["organisation"]["kind"] == "linkage_unit"  # type: ignore[index]  # just asked

    @property
    def oversees(self) -> bool:
        """Whether the person is an officer of the linkage unit. For what is offered; the API decides what is done."""
        return self.of_unit and "officer" in self.roles

    def belongs_to(self, organisation: Json) -> bool:
        """Whether an organisation, as the API describes it, is the person's own."""
        return bool(self.me) and self.me["organisation"]["id"] == organisation["id"]  # type: ignore[index]  # just asked

    def query(self, name: str) -> str:
        """A parameter of the address, without spaces around it."""
        return self.request.query_params.get(name, "").strip()

    def param(self, name: str) -> str:
        """A part of the path: an id, a token or a word, which can lead to no other address of the API.

        Raises:
            Refusal: it is something else.
        """
        value = str(self.request.path_params[name])
        if not _SEGMENT.fullmatch(value):
            raise Refusal.no_page()
        return value

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page as the answer."""
        here = self.request.url.path
        shown = {"me": self.me, "roles": self.roles, "oversees": self.oversees, "of_unit": self.of_unit, "here": here}
        return self.answer(HTMLResponse(self.console.pages.render(template, {**shown, **values}), status_code=status))

    def go(self, path: str) -> Response:
        """Goes on to another page of the console, with GET."""
        return self.answer(RedirectResponse(f"{self.console.at}{path}", status_code=HTTPStatus.SEE_OTHER))

    def answer(self, response: Response) -> Response:
        """The response with the cookies that the API has set."""
        for cookie in self.call.cookies:
            response.headers.append("set-cookie", cookie)
        return response

    async def confirms_with(self) -> Literal["", "code", "provider"]:
        """What the person has to confirm with before what has consequences; nothing, a short while after they did."""
        sessions = (await self.call.get("/v1/sessions")).document["items"]
        present = next((session for session in sessions if session["current"]), None)
        if present is not None and present["stepped_up"]:
            return ""
        return "provider" if present is not None and present["method"] == "oidc" else "code"

    async def step_up(self) -> None:
        """Gives the code of the form, if there is one.

        Raises:
            Refusal: it is not right.
        """
        if self.form["code"]:
            await self.call.change("/v1/sessions/current:step-up", {"code": self.form["code"]})

    async def carry_out(
        self,
        page: str,
        act: str,
        body: Callable[[], Json],
        *,
        again: "ShowsAgain",
        if_match: str | None = None,
        shown: str | None = None,
    ) -> Response:
        """Does what a form asks for, with its code, and goes on to the page that says so; its path is the API's too.

        Args:
            page: path of what it is done to.
            act: what is done.
            body: reads the form.
            again: shows the form again, with why it was refused.
            if_match: of what was read before.
            shown: path of the page, where it is not that of the API.
        """
        try:
            await self.step_up()
            answer = await self.call.change(f"/v1{page}:{act}", body(), if_match=if_match)
        except Refusal as refusal:
            if refusal.ended:
                raise
            return await again(self, refusal=refusal)
        said = f"&event={answer.event}" if answer.event is not None else ""
        return self.go(f"{shown or page}?done={act}{said}")


class ShowsAgain(Protocol):
    """The handler of a form, which can say why what it asked for was refused."""

    def __call__(self, visit: Visit, /, *, refusal: Refusal) -> Awaitable[Response]:
        """Shows the form."""


Handler: TypeAlias = Callable[[Visit], Awaitable[Response]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def endpoint(console: Console, handler: Handler, *, public: bool) -> Endpoint:
    """A handler of visits as an endpoint; nobody gets past it without a session, unless it is public."""

    async def answer(request: Request) -> Response:
        changes = request.method == "POST"
        form = await read_form(request, console.address) if changes else Form({}, {})
        call = console.api.call(request)
        visit = Visit(console, request, call, None, form)
        try:
            if not public:
                visit = Visit(console, request, call, (await call.get("/v1/me")).document, form)
            return await handler(visit)
        except Refusal as refusal:
            if refusal.status == HTTPStatus.UNAUTHORIZED and not public:
                return _to_sign_in(visit, ended=changes)
            return visit.page("refused.html", status=refusal.status, refusal=refusal)

    return answer


def _to_sign_in(visit: Visit, *, ended: bool) -> Response:
    asked: Mapping[str, str] = {"ended": "1"}
    if not ended:
        url = visit.request.url
        asked = {"next": own_path(f"{url.path}?{url.query}" if url.query else url.path, at=visit.console.at)}
    return visit.go(f"/sign-in?{urlencode(asked)}")
