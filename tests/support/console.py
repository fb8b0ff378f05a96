"""The console before a service of the test's own: in this process, and over TLS for a real browser."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext

from linkage_service.pages import show_pages
from support.certificates import served
from support.service_app import ISSUER, Caller, Person, ServiceApp

OWN_FORM = {"Origin": ISSUER, "Sec-Fetch-Site": "same-origin"}


def with_console(service: ServiceApp) -> ServiceApp:
    """The service with its pages, as `linkage-service serve` has it."""
    assert "/console" in show_pages(service.app, service.runtime)
    return service


class Visitor:
    """A person with a browser that has no scripts: follows links and sends forms of the console."""

    def __init__(self, service: ServiceApp, person: Person | None = None) -> None:
        self.service = service
        self.person = person
        self.http = service.browser(follow_redirects=True)

    def get(self, path: str, **options: Any) -> httpx.Response:
        answer: httpx.Response = self.http.get(f"/console{path}", **options)
        return answer

    def post(self, path: str, fields: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        """Sends a form as a page of the console does."""
        headers = {**OWN_FORM, **options.pop("headers", {})}
        answer: httpx.Response = self.http.post(f"/console{path}", data=fields or {}, headers=headers, **options)
        return answer

    def sign_in(self, **changes: str) -> httpx.Response:
        assert self.person is not None
        fields = {"email": self.person.email, "password": self.person.password, "code": self.person.next_code()}
        return self.post("/sign-in", {**fields, **changes})


def visitor(service: ServiceApp, by: Caller | Person, *roles: str) -> Visitor:
    """Somebody of the inviter's organisation with these roles, who has enrolled and signs in with the console."""
    person = Person(service, organisation=by.organisation, invitation=service.invite_person(by, *roles))
    made = Visitor(service, person)
    assert made.sign_in().status_code == 200
    return made


def words_of(answer: httpx.Response) -> str:
    """What a page says, without its markup."""
    main = answer.text.partition('id="main-content">')[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


@contextmanager
def over_tls(app: FastAPI, folder: Path) -> Iterator[int]:
    """Serves an application on a port of this machine, as https."""
    certificate = served(folder / "tls")
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    config.load()
    config.ssl = certificate.context
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()


def context_of(browser: Browser, **options: Any) -> BrowserContext:
    """A browser of somebody's own that goes to the service by its address."""
    return browser.new_context(base_url=ISSUER, ignore_https_errors=True, **options)


def at_the_service(port: int) -> list[str]:
    """Arguments with which Chromium finds the service's address on this machine, and nothing else."""
    host = ISSUER.removeprefix("https://")
    return [f"--host-resolver-rules=MAP {host}:443 127.0.0.1:{port}, MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
