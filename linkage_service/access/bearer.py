"""A machine's access token: whose it is, and whether it is used by whom it was issued to."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from fastapi import Request
from fastapi.security import HTTPAuthorizationCredentials

from linkage_ledger import events
from linkage_service.access.callers import ClientCaller
from linkage_service.access.seen import Note, is_first
from linkage_service.access.source import source_of
from linkage_service.access.tokens import AccessToken, Proof, TokenAuthority, check_proof
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Log, entry
from linkage_service.audit.unit import unit_of_work
from linkage_service.clock import Clock
from linkage_service.database import Database
from linkage_service.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Holder:
    """The client that a token was issued to, as it stands now.

    Attributes:
        caller: the client.
        tokens_from: tokens from before are dead, because the client or its organisation was suspended since.
    """

    caller: ClientCaller
    tokens_from: datetime | None


LoadClient: TypeAlias = Callable[[Database, AccessToken, Note | None], tuple[Holder | None, bool]]


class ProofDoor(Protocol):
    """What is needed to check proofs of possession."""

    @property
    def database(self) -> Database:
        """Where used proofs are noted."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def issuer(self) -> Callable[[], str]:
        """Gives the issuer string, below which proofs name the addresses of requests."""


class _Door(ProofDoor, Protocol):
    @property
    def tokens(self) -> TokenAuthority: ...
    @property
    def log(self) -> Log: ...
    @property
    def load_client(self) -> LoadClient: ...
    @property
    def require_dpop(self) -> bool: ...


def caller_of(door: _Door, request: Request, credentials: HTTPAuthorizationCredentials | None) -> ClientCaller:
    """The client behind the access token of a request, as it stands now.

    A refusal of a token that is good in itself is written down, once for each token and reason: whoever found one could
    otherwise make the log grow.

    Raises:
        Unauthenticated: no token, one that is not good here, or one that is not used by its holder.
    """
    if credentials is None:
        raise Unauthenticated(
            "This needs an access token. Get one from POST /v1/oauth/token, and send it as Authorization: DPoP, with a "
            "proof in the header DPoP."
        )
    now = door.clock()
    token = door.tokens.check(credentials.credentials, issuer=door.issuer(), now=now)
    proof, wrong = None, None
    try:
        proof = _proof_of_holder(door, request, credentials.scheme, token)
    except Unauthenticated as error:
        # Who is to be told so, and whether anybody is, is found out with the holder.
        wrong = error
    holder, is_new = door.load_client(door.database, token, None if proof is None else _note_of(proof))
    if holder is None:
        raise Unauthenticated("The access token's client is not registered here.", code="invalid_token")
    try:
        if wrong is not None:
            raise wrong
        _check_use(token, holder, is_new=is_new)
    except Unauthenticated as error:
        _record(door, request, token, holder.caller, code=error.instance_code, now=now)
        raise
    return holder.caller


def _proof_of_holder(door: _Door, request: Request, scheme: str, token: AccessToken) -> Proof | None:
    """The proof that a token's holder sends it; None for a token that is not bound to a key."""
    if token.holder is None:
        if door.require_dpop or scheme.lower() != "bearer":
            raise Unauthenticated(
                "The access token is not bound to a key, and this service takes only those that are. Get another with "
                "a proof in the header DPoP.",
                code="token_not_bound",
            )
        return None
    if scheme.lower() != "dpop":
        raise Unauthenticated(
            "The access token is bound to a key. Send it as Authorization: DPoP, with a proof in the header DPoP.",
            code="proof_missing",
        )
    proof = proof_of(door, request, token=token.text)
    if proof is None:
        raise proof_missing()
    if proof.key != token.holder:
        raise Unauthenticated(
            "The proof is signed by another key than the one that the access token is bound to.",
            code="proof_other_key",
        )
    return proof


def _check_use(token: AccessToken, holder: Holder, *, is_new: bool) -> None:
    if not is_new:
        raise _replayed()
    caller = holder.caller
    # Whoever is suspended now is told so by the policy, in the words of the agreement's elements.
    suspended = caller.suspended or caller.facts.suspended
    if holder.tokens_from is not None and token.issued_at < holder.tokens_from and not suspended:
        raise Unauthenticated(
            "The access token is from before a suspension, which ended it. Get a new one.", code="token_withdrawn"
        )


def proof_missing() -> Unauthenticated:
    """What is said where a proof should be."""
    return Unauthenticated(
        "This needs a proof of possession (RFC 9449) in the header DPoP, signed for this one request.",
        code="proof_missing",
    )


def proof_of(door: ProofDoor, request: Request, *, token: str | None) -> Proof | None:
    """The proof that a request carries; None if it carries none.

    The address in it is compared with the issuer and the path: behind a reverse proxy the service sees neither the
    scheme nor the host that the caller used, and the Host header is whatever somebody says.

    Raises:
        Unauthenticated: it is not good, or there are several.
    """
    proofs = request.headers.getlist("dpop")
    if not proofs:
        return None
    if len(proofs) > 1:
        raise Unauthenticated("A request carries one proof, in one header DPoP.", code="proof_malformed")
    url = door.issuer().rstrip("/") + request.scope["path"]
    return check_proof(proofs[0], method=request.method, url=url, now=door.clock(), token=token)


def use_proof(door: ProofDoor, proof: Proof) -> None:
    """Notes a proof, so that it works once.

    Raises:
        Unauthenticated: it was used before.
    """
    if not is_first(door.database, _note_of(proof)):
        raise _replayed()


def _note_of(proof: Proof) -> Note:
    return Note.of("proof", proof.key, proof.token_id, expires_at=proof.expires_at)


def _replayed() -> Unauthenticated:
    return Unauthenticated(
        "This proof was used before. Each request needs a new one with a new jti.", code="proof_replayed"
    )


def _record(
    door: _Door, request: Request, token: AccessToken, caller: ClientCaller, *, code: str, now: datetime
) -> None:
    if not is_first(door.database, Note.of("token refused", token.token_id, code, expires_at=token.expires_at)):
        return
    with unit_of_work(database=door.database, log=door.log, now=now) as unit:
        unit.record(
            entry(
                now=now,
                event_type=EventType.TOKEN_REFUSED,
                actor=caller.actor,
                authn=caller.authn,
                resource=events.Resource("client", caller.id),
                action="useToken",
                outcome=events.Outcome("refused", code),
                request_id=request.state.request_id,
                source=source_of(request),
            )
        )
