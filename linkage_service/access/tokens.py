"""Who is calling: client assertions (RFC 7523) in, short access tokens (RFC 9068) out. Nobody holds a shared secret."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jwk, jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from linkage_service.errors import FieldError, Invalid, Unauthenticated
from linkage_service.ids import id_pattern

BAD_SIGNATURE = "bad_signature"
_CLOCK_SKEW_S = 30
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
    """

    members: dict[str, str]
    algorithm: str
    thumbprint: str


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
    public = {name: str(members.get(name, "")) for name in _PUBLIC_MEMBERS[kind]}
    try:
        key: Any = (jwk.OKPKey if kind == "OKP" else jwk.ECKey).import_key(dict(public))
        key.get_op_key("verify")
    except (JoseError, ValueError, TypeError) as error:
        raise _bad_key(
            pointer, "malformed_key", "The key's coordinates are not those of a valid public key."
        ) from error
    return PublicKey(members=public, algorithm=algorithm, thumbprint=str(key.thumbprint()))


def _bad_key(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid("The public key cannot be used.", errors=[FieldError(pointer, code, detail)])


@dataclass(frozen=True, slots=True)
class Assertion:
    """A client assertion whose signature and claims were checked; its `jti` was not yet compared with earlier ones."""

    client: str
    token_id: str
    expires_at: datetime


def claimed_client(assertion: str) -> str | None:
    """The client that an assertion claims to come from, unverified: only good for finding the key to verify it with."""
    try:
        claims = jwt_claims_unverified(assertion)
    except (ValueError, TypeError, RecursionError):
        return None
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) and _CLIENT_ID.fullmatch(issuer) else None


def jwt_claims_unverified(token: str) -> dict[str, Any]:
    """The claims of a compact JWS without any check.

    Raises:
        ValueError: not a compact JWS with a JSON object.
    """
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, payload, signature
        raise ValueError("not a compact JWS")
    payload = parts[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if not isinstance(claims, dict):
        raise ValueError("claims are not an object")  # noqa: TRY004 - the value sent is wrong, not a type of ours
    return claims


def check_assertion(assertion: str, *, key: PublicKey, audience: str, now: datetime, longest_s: int) -> Assertion:
    """Checks a client assertion against RFC 7523 section 3 and our stricter rules.

    `iss` and `sub` are the client, `aud` is the issuer string and nothing else, `exp` is at most `longest_s` ahead,
    `jti` is there.

    Raises:
        Unauthenticated: saying which rule was broken.
    """
    try:
        registry = _OldNameRegistry(algorithms=_ACCEPTED[key.algorithm])
        token = jwt.decode(assertion, _joserfc_key(key), registry=registry)
    except (JoseError, ValueError, RecursionError) as error:
        raise Unauthenticated(
            "The assertion's signature does not verify with the client's registered key.", code=BAD_SIGNATURE
        ) from error
    claims = token.claims
    issuer, subject, audiences = claims.get("iss"), claims.get("sub"), claims.get("aud")
    if not isinstance(issuer, str) or issuer != subject:
        raise Unauthenticated("The assertion's iss and sub must both be the client id.", code="bad_assertion")
    if audiences not in (audience, [audience]):
        raise Unauthenticated(
            "The assertion's aud must be the issuer string of /.well-known/oauth-authorization-server "
            "and nothing else.",
            code="bad_audience",
        )
    expires = _moment(claims.get("exp"), "exp")
    if expires + timedelta(seconds=_CLOCK_SKEW_S) <= now:
        raise Unauthenticated(
            "The assertion has expired. Make a new one, and check this machine's clock.", code="assertion_expired"
        )
    if expires > now + timedelta(seconds=longest_s + _CLOCK_SKEW_S):
        raise Unauthenticated(f"The assertion may live for {longest_s} seconds at most.", code="assertion_too_long")
    if "nbf" in claims and _moment(claims["nbf"], "nbf") > now + timedelta(seconds=_CLOCK_SKEW_S):
        raise Unauthenticated("The assertion is not valid yet. Check this machine's clock.", code="assertion_early")
    token_id = claims.get("jti")
    if not isinstance(token_id, str) or not 8 <= len(token_id) <= 256:  # noqa: PLR2004 - long enough to be random
        raise Unauthenticated("The assertion needs a random jti of 8 to 256 characters.", code="bad_assertion")
    if not (token_id.isascii() and token_id.isprintable()):
        raise Unauthenticated("The assertion's jti must be of printable ASCII characters.", code="bad_assertion")
    return Assertion(client=issuer, token_id=token_id, expires_at=expires)


def _moment(value: object, name: str) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated(f"The assertion's {name} must be a number of seconds since 1970.", code="bad_assertion")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise Unauthenticated(f"The assertion's {name} is not a possible time.", code="bad_assertion") from error


def _joserfc_key(key: PublicKey) -> Any:
    kind = jwk.OKPKey if key.algorithm == "Ed25519" else jwk.ECKey
    return kind.import_key(dict(key.members))


class TokenAuthority:
    """Issues and checks this service's access tokens (RFC 9068), signed with its own Ed25519 key."""

    def __init__(self, *, key: jwk.OKPKey, life_s: int) -> None:
        self._key = key
        self.life_s = life_s

    @property
    def jwks(self) -> dict[str, Any]:
        """The public key set, for resource servers."""
        public = {name: self._key.as_dict(private=False)[name] for name in ("crv", "kty", "x")}
        return {"keys": [{**public, "kid": str(self._key.thumbprint()), "use": "sig", "alg": "Ed25519"}]}

    def issue(self, *, issuer: str, client: str, token_id: str, now: datetime) -> str:
        """A token for one client, good for `life_s` seconds."""
        header = {"typ": "at+jwt", "alg": "Ed25519", "kid": str(self._key.thumbprint())}
        claims = {
            "iss": issuer,
            "aud": issuer,
            "sub": client,
            "client_id": client,
            "iat": int(now.timestamp()),
            "exp": int(now.timestamp()) + self.life_s,
            "jti": token_id,
        }
        return jwt.encode(header, claims, self._key, algorithms=["Ed25519"])

    def client_of(self, token: str, *, issuer: str, now: datetime) -> str:
        """The client that a token was issued to.

        Raises:
            Unauthenticated: not a token of this service, or expired.
        """
        try:
            decoded = jwt.decode(token, self._key, algorithms=["Ed25519"])
        except (JoseError, ValueError, RecursionError) as error:
            raise Unauthenticated("The access token is not one of this service.", code="invalid_token") from error
        claims = decoded.claims
        subject, expires = claims.get("sub"), claims.get("exp")
        if decoded.header.get("typ") != "at+jwt" or claims.get("iss") != issuer or claims.get("aud") != issuer:
            raise Unauthenticated("The access token was issued for something else.", code="invalid_token")
        if not isinstance(subject, str) or not isinstance(expires, int):
            raise Unauthenticated("The access token is not one of this service.", code="invalid_token")
        if expires <= now.timestamp():
            raise Unauthenticated(
                "The access token has expired. Get a new one from the token endpoint.", code="token_expired"
            )
        return subject


def token_digest(value: str) -> str:
    """What the database keeps of a bearer value: its SHA-256, hex."""
    return hashlib.sha256(value.encode()).hexdigest()
