"""Who is calling: client assertions (RFC 7523) in, short access tokens (RFC 9068) out. Nobody holds a shared secret.

An access token is bound to a key of its holder (DPoP, RFC 9449): each request comes with a proof, signed by that key,
of which request it is. Whoever reads a token on its way can do nothing with it.
"""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from joserfc import jwk, jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from linkage_service.errors import FieldError, Invalid, LinkageError, Unauthenticated
from linkage_service.ids import id_pattern

BAD_SIGNATURE = "bad_signature"
UNKNOWN_KEY = "unknown_key"
# Those whose signature was not checked, or did not verify: anyone may have sent what is refused with them.
UNSIGNED = frozenset({BAD_SIGNATURE, UNKNOWN_KEY})
PROOF_ALGORITHMS = ("Ed25519", "EdDSA", "ES256")
# As much as `linkage doctor` tolerates: machines in closed networks are often some seconds off.
_CLOCK_SKEW_S = 60
# A proof is signed before the request is sent: a proxy that takes in a part of 16 MiB over a slow line hands it on
# minutes later. Since each works once, a longer life only costs room.
_PROOF_LIFE_S = 300
_PROOF_MOST = 8192
_BAD_PROOF = "proof_malformed"
# A machine sends the same token, and signs its proofs with the same key, in all its requests.
_KEPT = 4096
# What the library raises at tokens that are not well made; TypeError where `crit` is no list of texts.
_UNREADABLE = (JoseError, ValueError, TypeError, RecursionError)
_ALGORITHMS = {("OKP", "Ed25519"): "Ed25519", ("EC", "P-256"): "ES256"}
_CLIENT_ID = re.compile(id_pattern("cli"))
# RFC 9864 renamed EdDSA with this curve to Ed25519; most libraries still send the old name.
_ACCEPTED = {"Ed25519": ["Ed25519", "EdDSA"], "ES256": ["ES256"]}
_PUBLIC_MEMBERS = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y")}


class _OldNameRegistry(JWSRegistry):
    """Takes EdDSA for Ed25519, which is what it means with the keys accepted here; its own entry warns at every use."""

    def get_alg(self, name: str) -> Any:
        """The algorithm of this name, if it is allowed."""
        return super().get_alg("Ed25519" if name == "EdDSA" and "EdDSA" in (self.allowed or ()) else name)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that was checked to be one.

    Attributes:
        members: the JWK's public members and no others.
        algorithm: the one JWS algorithm it may be used with.
        thumbprint: RFC 7638 thumbprint, base64url.
        verifying: the same key as the library takes it.
    """

    members: dict[str, str]
    algorithm: str
    thumbprint: str
    verifying: Any = field(repr=False, compare=False)


def public_key(members: dict[str, Any], *, pointer: str, ed25519_only: bool = False) -> PublicKey:
    """Reads a public JWK.

    Args:
        members: the JWK as sent.
        pointer: where it stands in the request, for the error.
        ed25519_only: whether ES256 keys are refused.

    Raises:
        Invalid: a private, incomplete or unsupported key.
    """
    kind = str(members.get("kty"))
    algorithm = _ALGORITHMS.get((kind, str(members.get("crv"))))
    if "d" in members:
        raise _bad_key(
            pointer,
            "private_key",
            "The key has its private part. Treat it as leaked: make a new one and send the public part.",
        )
    if algorithm is None or (ed25519_only and algorithm != "Ed25519"):
        supported = "Ed25519" if ed25519_only else "Ed25519 or P-256"
        raise _bad_key(pointer, "unsupported_key", f"The key is not a public JWK of type {supported}.")
    public = tuple((name, str(members.get(name, ""))) for name in _PUBLIC_MEMBERS[kind])
    try:
        return _imported(kind, algorithm, public)
    except (JoseError, ValueError, TypeError) as error:
        raise _bad_key(
            pointer, "malformed_key", "The key's coordinates are not those of a valid public key."
        ) from error


@lru_cache(_KEPT)
def _imported(kind: str, algorithm: str, public: tuple[tuple[str, str], ...]) -> PublicKey:
    key: Any = (jwk.OKPKey if kind == "OKP" else jwk.ECKey).import_key(dict(public))
    key.get_op_key("verify")
    return PublicKey(members=dict(public), algorithm=algorithm, thumbprint=str(key.thumbprint()), verifying=key)


def _bad_key(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid("The public key cannot be used.", errors=[FieldError(pointer, code, detail)])


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token of this service whose signature and claims were checked.

    Attributes:
        client: whose it is.
        key: thumbprint of the client's key that it was issued for.
        holder: thumbprint of the key that a proof must be signed with (RFC 9449); None for one that is not bound.
        token_id: its `jti`.
        issued_at: when.
        expires_at: until when it is good.
        text: the token itself.
    """

    client: str
    key: str
    holder: str | None
    token_id: str
    issued_at: datetime
    expires_at: datetime
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof of possession whose signature and claims were checked; its `jti` was not yet compared with earlier ones.

    Attributes:
        key: thumbprint of the key that signed it.
        token_id: its `jti`.
        expires_at: from when on it is too old to be accepted.
    """

    key: str
    token_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Assertion:
    """A client assertion whose signature and claims were checked; its `jti` was not yet compared with earlier ones."""

    client: str
    token_id: str
    expires_at: datetime


def claimed_client(assertion: str) -> str | None:
    """The client that an assertion claims to come from, unverified: only good for finding the key to verify it with."""
    issuer = _unverified(assertion, part=1).get("iss")
    return issuer if isinstance(issuer, str) and _CLIENT_ID.fullmatch(issuer) else None


def claimed_key(assertion: str) -> str | None:
    """The thumbprint in an assertion's `kid`, unverified; None where it names no key.

    Raises:
        Unauthenticated: `kid` is no text.
    """
    kid = _unverified(assertion, part=0).get("kid")
    if kid is not None and not isinstance(kid, str):
        raise Unauthenticated("The assertion's kid must be the thumbprint of a key.", code=UNKNOWN_KEY)
    return kid


def _unverified(token: str, *, part: int) -> dict[str, Any]:
    """The header (part 0) or the claims (part 1) of a compact JWS without any check; empty for what is none."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, payload, signature
        return {}
    try:
        content = json.loads(base64.urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4)))
    except (ValueError, TypeError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def check_assertion(assertion: str, *, key: PublicKey, audience: str, now: datetime, longest_s: int) -> Assertion:
    """Checks a client assertion against RFC 7523 section 3 and our stricter rules.

    `iss` and `sub` are the client, `aud` is the issuer string and nothing else, also no list that holds it, `iat` is
    not in the future, `exp` is at most `longest_s` ahead, `jti` is there.

    Raises:
        Unauthenticated: saying which rule was broken.
    """
    try:
        registry = _OldNameRegistry(algorithms=_ACCEPTED[key.algorithm])
        token = jwt.decode(assertion, key.verifying, registry=registry)
    except _UNREADABLE as error:
        raise Unauthenticated(
            "The assertion is not one that the client's registered key signed, in a form that is taken here.",
            code=BAD_SIGNATURE,
        ) from error
    claims = token.claims
    issuer, subject, audiences = claims.get("iss"), claims.get("sub"), claims.get("aud")
    if not isinstance(issuer, str) or issuer != subject:
        raise Unauthenticated("The assertion's iss and sub must both be the client id.", code="bad_assertion")
    # A list, even of one, is how an assertion for another server is made to pass here.
    if not isinstance(audiences, str) or audiences != audience:
        raise Unauthenticated(
            "The assertion's aud must be the issuer string of /.well-known/oauth-authorization-server "
            "and nothing else.",
            code="bad_audience",
        )
    skew = timedelta(seconds=_CLOCK_SKEW_S)
    if _moment(claims.get("iat"), "assertion's iat") > now + skew:
        raise Unauthenticated(
            "The assertion was made in the future. Check this machine's clock.", code="assertion_early"
        )
    expires = _moment(claims.get("exp"), "assertion's exp")
    # Never reckoned with what was sent: its date may be the last one there is.
    if expires <= now - skew:
        raise Unauthenticated(
            "The assertion has expired. Make a new one, and check this machine's clock.", code="assertion_expired"
        )
    if expires > now + timedelta(seconds=longest_s + _CLOCK_SKEW_S):
        raise Unauthenticated(f"The assertion may live for {longest_s} seconds at most.", code="assertion_too_long")
    if "nbf" in claims and _moment(claims["nbf"], "assertion's nbf") > now + skew:
        raise Unauthenticated("The assertion is not valid yet. Check this machine's clock.", code="assertion_early")
    token_id = _random_id(claims.get("jti"))
    if token_id is None:
        raise Unauthenticated(
            "The assertion needs a random jti of 8 to 256 printable ASCII characters.", code="bad_assertion"
        )
    return Assertion(client=issuer, token_id=token_id, expires_at=expires)


def check_proof(proof: str, *, method: str, url: str, now: datetime, token: str | None = None) -> Proof:
    """Checks a proof of possession against RFC 9449 section 4.3, but for what was seen before.

    Args:
        proof: the value of the header `DPoP`.
        method: the request's method.
        url: the request's address, without a query.
        now: the time.
        token: the access token that comes with it.

    Raises:
        Unauthenticated: saying which rule was broken.
    """
    header = _unverified(proof[:_PROOF_MOST], part=0)
    members = header.get("jwk")
    if header.get("typ") != "dpop+jwt" or not isinstance(members, dict):
        raise _bad_proof("The DPoP header must be a JWT of the type dpop+jwt with its public key in the header, jwk.")
    try:
        key = public_key(members, pointer="")
        registry = _OldNameRegistry(algorithms=_ACCEPTED[key.algorithm])
        claims = jwt.decode(proof, key.verifying, registry=registry).claims
    except (LinkageError, *_UNREADABLE) as error:
        raise _bad_proof(
            "The proof is not signed by the public key in its header, or that key is not taken."
        ) from error
    if claims.get("htm") != method or not _same_address(claims.get("htu"), url):
        raise Unauthenticated(
            "The proof is of another request. Its htm is the method, and its htu the address: the issuer of "
            "/.well-known/oauth-authorization-server and the path, without a query.",
            code="proof_other_request",
        )
    made_at = _moment(claims.get("iat"), "proof's iat", code=_BAD_PROOF)
    if not -_CLOCK_SKEW_S <= (now - made_at).total_seconds() <= _PROOF_LIFE_S:
        raise Unauthenticated(
            f"The proof was made more than {_PROOF_LIFE_S} seconds ago, or in the future. Make one for each request, "
            "and check this machine's clock.",
            code="proof_untimely",
        )
    token_id = _random_id(claims.get("jti"))
    if token_id is None:
        raise _bad_proof("The proof needs a random jti of 8 to 256 printable ASCII characters.")
    if token is not None and not _is_digest_of(token, claims.get("ath")):
        raise Unauthenticated(
            "The proof is for another access token. Its ath is the SHA-256 of the token, base64url.",
            code="proof_other_token",
        )
    expires_at = made_at + timedelta(seconds=_PROOF_LIFE_S + 1)
    return Proof(key=key.thumbprint, token_id=token_id, expires_at=expires_at)


def _bad_proof(detail: str) -> Unauthenticated:
    return Unauthenticated(detail, code=_BAD_PROOF)


def _is_digest_of(token: str, claimed: object) -> bool:
    digest = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=")
    return isinstance(claimed, str) and claimed.isascii() and hmac.compare_digest(digest, claimed.encode())


def _same_address(claimed: object, url: str) -> bool:
    """Whether two addresses are the same but for query, fragment, and ways of writing (RFC 9449 section 4.3)."""
    if not isinstance(claimed, str):
        return False
    try:
        return _address(claimed) == _address(url)
    except ValueError:
        return False


def _address(url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(url)
    if parts.username is not None:
        raise ValueError("an address of a request names nobody")
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname, port, unquote(parts.path) or "/"


def _random_id(value: object) -> str | None:
    if not isinstance(value, str) or not 8 <= len(value) <= 256:  # noqa: PLR2004 - long enough to be random
        return None
    return value if value.isascii() and value.isprintable() else None


def _moment(value: object, name: str, *, code: str = "bad_assertion") -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated(f"The {name} must be a number of seconds since 1970.", code=code)
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise Unauthenticated(f"The {name} is not a possible time.", code=code) from error


class TokenAuthority:
    """Issues and checks this service's access tokens (RFC 9068), signed with its own Ed25519 key."""

    def __init__(self, *, key: jwk.OKPKey, life_s: int) -> None:
        self._key = key
        self.life_s = life_s
        self._opened = lru_cache(_KEPT)(self._open)

    @property
    def jwks(self) -> dict[str, Any]:
        """The public key set, for resource servers."""
        public = {name: self._key.as_dict(private=False)[name] for name in ("crv", "kty", "x")}
        return {"keys": [{**public, "kid": str(self._key.thumbprint()), "use": "sig", "alg": "Ed25519"}]}

    def issue(self, *, issuer: str, client: str, key: str, holder: str | None, token_id: str, now: datetime) -> str:
        """A token for one client, good for `life_s` seconds.

        Args:
            issuer: this service.
            client: whose it is.
            key: thumbprint of the client's key that it is issued for; it ends with that key.
            holder: thumbprint of the key that its proofs are signed with; None for a token that is not bound.
            token_id: its `jti`.
            now: the time. Its fraction is kept, so that a token can be told from one of the same second.
        """
        header = {"typ": "at+jwt", "alg": "Ed25519", "kid": str(self._key.thumbprint())}
        claims = {
            "iss": issuer,
            "aud": issuer,
            "sub": client,
            "client_id": client,
            "key": key,
            **({} if holder is None else {"cnf": {"jkt": holder}}),
            "iat": now.timestamp(),
            "exp": int(now.timestamp()) + self.life_s,
            "jti": token_id,
        }
        return jwt.encode(header, claims, self._key, algorithms=["Ed25519"])

    def _open(self, token: str) -> Any:
        return jwt.decode(token, self._key, algorithms=["Ed25519"])

    def check(self, token: str, *, issuer: str, now: datetime) -> AccessToken:
        """Reads an access token.

        Raises:
            Unauthenticated: not a token of this service, or expired.
        """
        try:
            decoded = self._opened(token)
        except _UNREADABLE as error:
            raise Unauthenticated("The access token is not one of this service.", code="invalid_token") from error
        claims = decoded.claims
        subject, key, token_id = claims.get("sub"), claims.get("key"), claims.get("jti")
        issued, expires, bound_to = claims.get("iat"), claims.get("exp"), claims.get("cnf")
        if decoded.header.get("typ") != "at+jwt" or claims.get("iss") != issuer or claims.get("aud") != issuer:
            raise Unauthenticated("The access token was issued for something else.", code="invalid_token")
        if (
            not (isinstance(subject, str) and isinstance(key, str) and isinstance(token_id, str))
            or not (isinstance(issued, int | float) and isinstance(expires, int))
            or not (bound_to is None or isinstance(bound_to, dict))
        ):
            raise Unauthenticated("The access token is not one of this service.", code="invalid_token")
        if expires <= now.timestamp():
            raise Unauthenticated(
                "The access token has expired. Get a new one from the token endpoint.", code="token_expired"
            )
        if issued > now.timestamp() + _CLOCK_SKEW_S:
            # It would live for longer than a token does, by as much as the clock was ahead.
            raise Unauthenticated(
                "The access token was issued while the service's clock was ahead. Get a new one from the token "
                "endpoint.",
                code="token_expired",
            )
        return AccessToken(
            client=subject,
            key=key,
            holder=None if bound_to is None else str(bound_to.get("jkt")),
            token_id=token_id,
            issued_at=datetime.fromtimestamp(issued, UTC),
            expires_at=datetime.fromtimestamp(expires, UTC),
            text=token,
        )


def token_digest(value: str) -> str:
    """What the database keeps of a bearer value: its SHA-256, hex."""
    return hashlib.sha256(value.encode()).hexdigest()
