"""A person's session: a random token in a cookie, of which the database keeps the digest.

A browser sends the cookie by itself, so a request that changes something must also come from a page of this service.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

from fastapi import Request, Response
from sqlmodel import Session

from linkage_service.access.callers import PersonCaller
from linkage_service.access.tokens import token_digest
from linkage_service.clock import Clock
from linkage_service.database import Database
from linkage_service.errors import ForeignOrigin, Unauthenticated

# The prefix makes browsers refuse the cookie unless it is secure, for the whole host, and from the host itself.
COOKIE = "__Host-linkage-session"
# Over plain http, which is for this machine only, some browsers take neither the prefix nor `Secure`
# (httpwg/http-extensions issue 2605).
LOOPBACK_COOKIE = "linkage-session"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Found:
    """A session that is in force.

    Attributes:
        caller: whose it is, as they stand now.
        touch_due: whether its time of last use is old enough to be written anew.
    """

    caller: PersonCaller
    touch_due: bool


LoadPerson: TypeAlias = Callable[[Session, str, datetime], Found | None]
TouchSession: TypeAlias = Callable[[Session, str, datetime], None]


class _Door(Protocol):
    @property
    def database(self) -> Database: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def load_person(self) -> LoadPerson: ...
    @property
    def touch_session(self) -> TouchSession: ...
    @property
    def issuer(self) -> Callable[[], str]: ...


def is_loopback(issuer: str) -> bool:
    """Whether an issuer is plain http on this machine."""
    address = urlsplit(issuer)
    try:
        here = ip_address(address.hostname or "").is_loopback
    except ValueError:
        here = address.hostname == "localhost"
    return address.scheme == "http" and here


def cookie_name(issuer: str) -> str:
    """The name of the session's cookie at a service with this issuer."""
    return LOOPBACK_COOKIE if is_loopback(issuer) else COOKIE


def token_of(request: Request, issuer: str) -> str | None:
    """The session token that a request carries."""
    return request.cookies.get(cookie_name(issuer))


def set_cookie(response: Response, token: str, *, issuer: str, life_s: int) -> None:
    """Gives the browser a session's token."""
    response.set_cookie(
        cookie_name(issuer),
        token,
        max_age=life_s,
        path="/",
        secure=not is_loopback(issuer),
        httponly=True,
        samesite="strict",
    )
    response.headers["Cache-Control"] = "no-store"


def clear_cookie(response: Response, *, issuer: str) -> None:
    """Takes the token away again."""
    set_cookie(response, "", issuer=issuer, life_s=0)


def check_origin(request: Request, *, issuer: str, required: bool) -> None:
    """Refuses a request that a page of another site sent.

    `Sec-Fetch-Site` decides where the browser sends it. `Origin` must then be ours or `null`, which browsers send for
    forms of pages with `Referrer-Policy: no-referrer`. Without `Sec-Fetch-Site`, `Origin` must be ours.

    Args:
        request: the request.
        issuer: this service's address; its origin is ours.
        required: whether a request with neither header, which no browser of today sends, is refused as well.

    Raises:
        ForeignOrigin: it does not come from a page of this service.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    address = urlsplit(issuer)
    ours = f"{address.scheme}://{address.netloc}"
    if site is not None:
        good = site == "same-origin" and origin in {None, "null", ours}
    else:
        good = origin == ours or (origin is None and not required)
    if not good:
        raise ForeignOrigin(
            "The request does not come from a page of this service, so it is not carried out. Nothing was changed. "
            "Open the service at its own address, and try again from there."
        )


def caller_of(door: _Door, request: Request) -> PersonCaller:
    """The person behind the session of a request, as they stand now.

    What another site's page made a browser send is no act of the person, so it is no event of the ledger either.

    Raises:
        Unauthenticated: no session, or one that has ended.
        ForeignOrigin: it would change something, and does not come from a page of this service.
    """
    issuer = door.issuer()
    digest, now = token_digest(token_of(request, issuer) or ""), door.clock()
    if request.method not in _SAFE_METHODS:
        check_origin(request, issuer=issuer, required=True)
    with door.database.reading() as session:
        found = door.load_person(session, digest, now)
    if found is None:
        raise Unauthenticated("The session has ended. Sign in again.", code="session_ended")
    if found.touch_due:
        with door.database.writing() as session:
            door.touch_session(session, digest, now)
    return found.caller
