"""Pages for people stand before the API where their distribution is installed: found by name, never imported.

The console is a client of the HTTP API and stands on the client's package, which this service must not know. So it
registers itself as an entry point of the group `linkage_service.pages`; its name is the path below which it is shown.
`python -m linkage_service.pages` prints the words of this release that pages explain the access log with.
"""

import json
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Protocol

import structlog
from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from linkage_service.access.actions import Action
from linkage_service.access.decide import Policy
from linkage_service.audit.alarms import MEANINGS as ALARMS
from linkage_service.audit.meanings import MEANINGS
from linkage_service.audit.search_schemas import OTHER_ACTIONS
from linkage_service.clock import Clock
from linkage_service.runtime import Runtime

GROUP = "linkage_service.pages"
_CONSOLE = "console"
_log = structlog.get_logger(__name__)


class MakesPages(Protocol):
    """What an entry point of the group is: makes an application of pages that calls the API."""

    def __call__(self, *, api: ASGIApp, address: Callable[[], str], now: Clock, path: str) -> ASGIApp:
        """Makes the pages.

        Args:
            api: the API, as an application of this process.
            address: gives the address of this service, whose origin forms come from.
            now: the clock.
            path: where the pages are shown.
        """
        ...


def show_pages(app: FastAPI, runtime: Runtime) -> list[str]:
    """Puts every installed kind of pages before the API; gives their paths."""
    found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    for point in found:
        make: MakesPages = point.load()
        path = f"/{point.name}"
        app.mount(path, make(api=app, address=runtime.door.issuer, now=runtime.clock, path=path), name=point.name)
    if any(point.name == _CONSOLE for point in found):
        app.router.routes.extend(
            [
                Route("/", _to_console),
                Route(f"/{_CONSOLE}", _to_console),
                Route(runtime.settings.oidc_redirect_path, _from_provider),
                # The address that invitations of people name.
                Route("/enrol/{token:str}", _to_enrolment),
            ]
        )
    for point in found:
        _log.info("pages_shown", kind=point.name)
    return [f"/{point.name}" for point in found]


def words() -> dict[str, Any]:
    """What events, policies, alarms and actions of this release mean."""
    notes = Policy().annotations
    return {
        "actions": {action.value: action.needs for action in Action} | dict.fromkeys(OTHER_ACTIONS, ""),
        "alarms": dict(ALARMS),
        "events": {event_type.value: meaning.when for event_type, meaning in MEANINGS.items()},
        "policies": {
            policy: {name: note[name] for name in ("element", "reason", "remedy")}
            for policy, note in sorted(notes.items())
            if "reason" in note
        },
    }


def _to_console(_: Request) -> RedirectResponse:
    return RedirectResponse(f"/{_CONSOLE}/", status_code=303)


def _from_provider(request: Request) -> RedirectResponse:
    return RedirectResponse(f"/{_CONSOLE}/sign-in/provider?{request.url.query}", status_code=303)


def _to_enrolment(request: Request) -> RedirectResponse:
    return RedirectResponse(f"/{_CONSOLE}/enrol/{request.path_params['token']}", status_code=303)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(words(), indent=2, sort_keys=True) + "\n")
