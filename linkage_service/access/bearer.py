"""A machine's access token: whose it is, and whether it is used by whom it was issued to."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from fastapi import Request
from fastapi.security import HTTPAuthorizationCredentials
from sqlmodel import Session

from linkage_service.access.callers import ClientCaller
from linkage_service.access.tokens import TokenAuthority
from linkage_service.clock import Clock
from linkage_service.database import Database
from linkage_service.errors import Unauthenticated

LoadClient: TypeAlias = Callable[[Session, str], ClientCaller | None]


class _Door(Protocol):
    @property
    def database(self) -> Database: ...
    @property
    def tokens(self) -> TokenAuthority: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def load_client(self) -> LoadClient: ...
    @property
    def issuer(self) -> Callable[[], str]: ...


def caller_of(door: _Door, request: Request, credentials: HTTPAuthorizationCredentials | None) -> ClientCaller:  # noqa: ARG001 - the request is what a proof of possession is about
    """The client behind the access token of a request, as it stands now.

    Raises:
        Unauthenticated: no token, or not one that is good here.
    """
    if credentials is None:
        raise Unauthenticated(
            "This needs an access token. Get one from POST /v1/oauth/token and send it as a bearer token."
        )
    client = door.tokens.client_of(credentials.credentials, issuer=door.issuer(), now=door.clock())
    with door.database.reading() as session:
        caller = door.load_client(session, client)
    if caller is None:
        raise Unauthenticated("The access token's client is not registered here.", code="invalid_token")
    return caller
