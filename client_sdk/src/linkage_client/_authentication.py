"""Log in as a machine: private_key_jwt (RFC 7523) for a short-lived token, kept until shortly before its end.

The token is bound to a key (DPoP, RFC 9449), so that whoever reads it on its way can do nothing with it. That key is
made anew by each connection and never leaves memory. The client key signs log-ins and nothing else: it is not used for
each request, and what is in each request does not tell machines of several services apart.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from linkage_client._base64url import to_base64url
from linkage_client.errors import UnexpectedAnswerError
from linkage_client.keys import SigningKey

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Long enough for a slow proxy and a clock some seconds off, short enough to be worthless if it is logged somewhere.
ASSERTION_LIFE_S = 60
# A token is renewed this long before its end, so that it does not run out on its way to the service.
RENEWAL_MARGIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who this machine is: the id that its registration gave it, and its key."""

    client_id: str
    client_key: SigningKey


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from, so that tests need not wait for it."""

    now: Callable[[], float] = time.time
    """Seconds since 1970."""
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def make_assertion(*, credentials: Credentials, issuer: str, now: float) -> str:
    """A signed statement "I am this client", for one use at one issuer.

    Composed here rather than with a JOSE library: producing one compact Ed25519 signature (RFC 7515, RFC 8037) is two
    lines, and no parsing of other people's tokens is involved.
    """
    header = {"alg": "EdDSA", "typ": "JWT", "kid": credentials.client_key.thumbprint}
    claims = {
        "iss": credentials.client_id,
        "sub": credentials.client_id,
        "aud": issuer,
        "iat": int(now),
        "exp": int(now) + ASSERTION_LIFE_S,
        "jti": secrets.token_urlsafe(18),
    }
    signed = f"{_segment(header)}.{_segment(claims)}"
    return f"{signed}.{to_base64url(credentials.client_key.sign(signed.encode()))}"


def make_proof(*, key: SigningKey, method: str, url: str, now: float, token: str | None = None) -> str:
    """A signed statement "this one request is mine" (RFC 9449 section 4.2), for one use.

    Args:
        key: the key that the token is, or is to be, bound to.
        method: the request's method.
        url: its address, without a query.
        now: seconds since 1970.
        token: the access token that it goes with; None where one is asked for.
    """
    header = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": key.public_jwk}
    claims: dict[str, Any] = {"htm": method, "htu": url, "iat": int(now), "jti": secrets.token_urlsafe(18)}
    if token is not None:
        claims["ath"] = to_base64url(hashlib.sha256(token.encode()).digest())
    signed = f"{_segment(header)}.{_segment(claims)}"
    return f"{signed}.{to_base64url(key.sign(signed.encode()))}"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token with what proves that it is ours: it is of no use to whoever has only the text."""

    text: str = field(repr=False)
    key: SigningKey
    issuer: str
    """Addresses in proofs begin with it: it is how the service knows itself, also behind a proxy."""
    clock: Clock

    def headers(self, method: str, path: str) -> dict[str, str]:
        """The headers of one request, to be sent once."""
        url = self.issuer.rstrip("/") + path
        proof = make_proof(key=self.key, method=method, url=url, now=self.clock.now(), token=self.text)
        return {"Authorization": f"DPoP {self.text}", "DPoP": proof}


@dataclass(slots=True)
class TokenCache:
    """One access token and the moment from which on another is wanted."""

    clock: Clock
    _token: AccessToken | None = field(default=None, repr=False)
    _renew_at: float = 0.0

    def current(self, *, rejected: AccessToken | None = None) -> AccessToken | None:
        """The token if it is good for a while; `rejected` is one that the service no longer takes."""
        if self._token is rejected or self.clock.monotonic() >= self._renew_at:
            self._token = None
        return self._token

    def keep(
        self, answer: Any, *, key: SigningKey, issuer: str, asked_at: float, request_id: str | None = None
    ) -> AccessToken:
        """The token in an answer of the token endpoint (RFC 6749 section 5.1) that was asked for at `asked_at`.

        Raises:
            UnexpectedAnswerError: there is none, or it is not bound to the key.
        """
        content = answer if isinstance(answer, dict) else {}
        token, life = content.get("access_token"), content.get("expires_in")
        if not isinstance(token, str) or not token or not isinstance(life, int | float):
            raise UnexpectedAnswerError(
                "The token endpoint answered without a token. Check the service's address.", request_id=request_id
            )
        if content.get("token_type") != "DPoP":
            raise UnexpectedAnswerError(
                "The token endpoint answered with a token that is not bound to a key, which anyone who reads it could "
                "use. Ask the linkage unit to update the service.",
                request_id=request_id,
            )
        self._renew_at = asked_at + max(life - RENEWAL_MARGIN_S, life / 2)
        self._token = AccessToken(text=token, key=key, issuer=issuer, clock=self.clock)
        return self._token


def _segment(content: dict[str, Any]) -> str:
    return to_base64url(json.dumps(content, separators=(",", ":")).encode())
