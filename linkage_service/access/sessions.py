"""A person's session: a random token in a cookie, of which the database keeps the digest."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeAlias

from fastapi import Request
from sqlmodel import Session

from linkage_service.access.callers import PersonCaller
from linkage_service.access.tokens import token_digest
from linkage_service.clock import Clock
from linkage_service.database import Database
from linkage_service.errors import Unauthenticated

# The prefix makes browsers refuse the cookie unless it is secure, for the whole host, and from the host itself.
COOKIE = "__Host-linkage-session"

LoadPerson: TypeAlias = Callable[[Session, str, datetime], PersonCaller | None]


class _Door(Protocol):
    @property
    def database(self) -> Database: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def load_person(self) -> LoadPerson: ...


def token_of(request: Request) -> str | None:
    """The session token that a request carries."""
    return request.cookies.get(COOKIE)


def caller_of(door: _Door, request: Request) -> PersonCaller:
    """The person behind the session of a request, as they stand now.

    Raises:
        Unauthenticated: no session, or one that has ended.
    """
    with door.database.reading() as session:
        caller = door.load_person(session, token_digest(token_of(request) or ""), door.clock())
    if caller is None:
        raise Unauthenticated("The session has ended. Sign in again.", code="session_ended")
    return caller
