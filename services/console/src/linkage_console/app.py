"""The console's application: routes, headers, and what is answered when something is not as it should be."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from linkage_console.calling import Api
from linkage_console.forms import ForeignForm
from linkage_console.pages import ROUTES
from linkage_console.templating import Pages
from linkage_console.visits import Console, endpoint

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_WORDS: Final = {
    HTTPStatus.NOT_FOUND: ("Page not found", "There is no page at this address. Check it, or begin at the overview."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("Too large", "What was sent is larger than this service takes."),
}


def pages(*, api: ASGIApp, address: Callable[[], str], now: Callable[[], datetime], path: str) -> ASGIApp:
    """The pages before an API of this process: what `linkage-service serve` shows.

    Args:
        api: the API.
        address: gives the address of the service.
        now: its clock.
        path: where the pages are shown.
    """
    # The request stays in this process; which host it names is the browser's word.
    return create_app(Api.in_process(api, base_url="https://linkage.internal"), address=address, now=now, path=path)


def create_app(api: Api, *, address: Callable[[], str], now: Callable[[], datetime], path: str) -> ASGIApp:
    """The pages before any API."""
    console = Console(api=api, pages=Pages(at=path), address=address, at=path, now=now)
    routes = [
        Route(route.path, endpoint(console, route.handler, public=route.public), methods=[route.method])
        for route in ROUTES
    ]

    async def plain(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.FORBIDDEN
        title, words = _WORDS.get(HTTPStatus(status), (HTTPStatus(status).phrase, "Begin again at the overview."))
        if isinstance(error, ForeignForm):
            title = "Not sent by a page of this service"
            words = (
                "What you sent did not come from a page of this service, so nothing was done. Open the service at its "
                "own address, and try again from there."
            )
        shown = {"title": title, "words": words, "me": None, "here": request.url.path}
        return HTMLResponse(console.pages.render("plain.html", shown), status_code=status)

    return Starlette(
        routes=[*routes, Mount("/static", StaticFiles(packages=[("linkage_console", "static")]), name="static")],
        middleware=[Middleware(_Headers)],
        exception_handlers={ForeignForm: plain, HTTPException: plain},
    )


class _Headers:
    """Gives every answer the headers that keep others out of the pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if message["status"] == HTTPStatus.OK and scope["path"].rpartition("/static/")[1]:
                    # Checked anew each time by its tag: a new release is seen at once.
                    headers["Cache-Control"] = "no-cache"
            await send(message)

        await self._app(scope, receive, stamped)
