"""Sign-in with an OpenID provider: authorisation code flow with PKCE, state and nonce, and every check of the ID token.

OpenID Connect Core 1.0 (sections 3.1.2, 3.1.3), RFC 7636 (PKCE), RFC 9207 (`iss` of the answer). The provider is asked
over TLS each time for its metadata and keys, so that nothing has to be kept or renewed: sign-ins are rare.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from linkage_service.errors import Unauthenticated, Unavailable

CLOCK_SKEW_S = 60
_OLDEST_S = 600
_TIMEOUT_S = 10
_ANSWER_BYTES_MAX = 256 * 1024
# Asymmetric ones only: no `none`, no HMAC with a secret that both hold. With each, the hash of at_hash.
_HASHES = {
    "RS256": "sha256", "PS256": "sha256", "ES256": "sha256",
    "RS384": "sha384", "PS384": "sha384", "ES384": "sha384",
    "RS512": "sha512", "PS512": "sha512", "ES512": "sha512",
}  # fmt: skip
# RFC 8176: more than one factor, a one-time password, a key in hardware.
_SECOND_FACTORS = frozenset({"mfa", "otp", "hwk"})


class ProviderRefused(Unauthenticated):
    """The provider's answer does not hold."""

    code = "oidc_refused"

    def __init__(self, detail: str, *, code: str) -> None:
        super().__init__(
            f"{detail} You are not signed in. Begin again, or ask your organisation's signatory.", code=code
        )


@dataclass(frozen=True, slots=True)
class Authorization:
    """A request to the provider.

    Attributes:
        url: where to send the browser.
        state: ties the answer to this browser.
        nonce: ties the ID token to this request.
        verifier: PKCE's; proves that whoever redeems the code began.
    """

    url: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the provider says it is.

    Attributes:
        issuer: the provider.
        subject: its id of them, which never changes.
        email: in lower case; None if it does not say.
        email_verified: whether it says that the address is theirs.
        second_factor: whether it says that more than one factor was used.
        authenticated_at: seconds since 1970 when they last proved it; None if it does not say.
    """

    issuer: str
    subject: str
    email: str | None
    email_verified: bool
    second_factor: bool
    authenticated_at: float | None


class Provider:
    """One OpenID provider, as this service is registered there.

    Args:
        issuer: its issuer identifier.
        client_id: ours there.
        client_secret: ours there.
        redirect_uri: gives where it sends people back.
        acr: values of `acr` that mean a second factor.
    """

    def __init__(
        self, *, issuer: str, client_id: str, client_secret: str, redirect_uri: Callable[[], str], acr: frozenset[str]
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._acr = acr

    def authorization(self, *, again: bool) -> Authorization:
        """A new request; `again` has the provider ask for the factors even where somebody is signed in there."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri(),
            "scope": "openid email",
            "state": state,
            "nonce": nonce,
            "code_challenge": _base64url(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        if again:
            query |= {"prompt": "login", "max_age": "0"}
        if self._acr:
            query["acr_values"] = " ".join(sorted(self._acr))
        with self._http() as http:
            endpoint = self._metadata(http)["authorization_endpoint"]
        return Authorization(f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", state, nonce, verifier)

    def identity(self, code: str, *, verifier: str, nonce: str, named_issuer: str | None, now: datetime) -> Identity:
        """Redeems a code and checks the ID token.

        Raises:
            ProviderRefused: the code is not good, or a check fails.
            Unavailable: the provider cannot be reached or does not answer as one.
        """
        if named_issuer is not None and named_issuer != self._issuer:
            raise ProviderRefused("The answer is of another provider.", code="wrong_issuer")
        with self._http() as http:
            metadata = self._metadata(http)
            form = {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._redirect_uri(),
                "code_verifier": verifier,
            }
            answer = _asked(
                http, "POST", metadata["token_endpoint"], data=form, auth=(self._client_id, self._client_secret)
            )
            if answer.is_client_error:
                raise ProviderRefused(
                    "The provider does not take the code: it was used, or is too old.", code="bad_code"
                )
            tokens = _document(answer)
            keys = _document(_asked(http, "GET", metadata["jwks_uri"]))
        return self._checked(tokens, keys, nonce=nonce, now=now.timestamp())

    def _checked(self, tokens: Mapping[str, Any], keys: Mapping[str, Any], *, nonce: str, now: float) -> Identity:
        try:
            key_set = KeySet.import_key_set({"keys": keys["keys"]})
            token = jwt.decode(str(tokens.get("id_token", "")), key_set, algorithms=sorted(_HASHES))
        except (JoseError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ProviderRefused("The ID token's signature does not verify.", code="bad_signature") from error
        claims = token.claims
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        several = len(audiences) > 1
        issued, expires = _number(claims.get("iat")), _number(claims.get("exp"))
        subject = claims.get("sub")
        access = str(tokens.get("access_token", ""))
        at_hash = claims.get("at_hash")
        for holds, code in (
            (claims.get("iss") == self._issuer, "wrong_issuer"),
            (self._client_id in audiences, "wrong_audience"),
            (claims.get("azp", None if several else self._client_id) == self._client_id, "wrong_audience"),
            (expires is not None and expires + CLOCK_SKEW_S > now, "expired"),
            (issued is not None and now - _OLDEST_S <= issued <= now + CLOCK_SKEW_S, "expired"),
            (hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()), "wrong_nonce"),
            (isinstance(subject, str) and 0 < len(subject) <= 255, "no_subject"),  # noqa: PLR2004 - OpenID Core, section 2
            (at_hash is None or at_hash == _half_hash(access, str(token.header["alg"])), "wrong_access_token"),
        ):
            if not holds:
                raise ProviderRefused("The ID token is not one for this sign-in.", code=code)
        methods, email = claims.get("amr"), claims.get("email")
        return Identity(
            issuer=self._issuer,
            subject=str(subject),
            email=email.lower() if isinstance(email, str) else None,
            email_verified=claims.get("email_verified") is True,
            second_factor=bool(isinstance(methods, list) and _SECOND_FACTORS & {str(method) for method in methods})
            or str(claims.get("acr")) in self._acr,
            authenticated_at=_number(claims.get("auth_time")),
        )

    def _metadata(self, http: httpx.Client) -> dict[str, str]:
        found = _document(_asked(http, "GET", f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"))
        wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        # Secrets go to these addresses: what is not as safe as the issuer's own is not used.
        scheme = self._issuer.split("://")[0] + "://"
        if found.get("issuer") != self._issuer or not all(str(found.get(name)).startswith(scheme) for name in wanted):
            raise ProviderRefused("The provider's metadata are another issuer's.", code="wrong_issuer")
        return {name: str(found[name]) for name in wanted}

    def _http(self) -> httpx.Client:
        return httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False)


def _asked(http: httpx.Client, method: str, url: str, **options: Any) -> httpx.Response:
    try:
        answer = http.request(method, url, headers={"Accept": "application/json"}, **options)
    except httpx.HTTPError as error:
        raise _unavailable() from error
    if answer.is_server_error or answer.is_redirect or len(answer.content) > _ANSWER_BYTES_MAX:
        raise _unavailable()
    return answer


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not answer.is_success or not isinstance(document, dict):
        raise _unavailable()
    return document


def _unavailable() -> Unavailable:
    return Unavailable(
        "The identity provider cannot be reached, or does not answer as one. You are not signed in. Try again later.",
        code="provider_unavailable",
    )


def _number(value: object) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def _half_hash(access_token: str, algorithm: str) -> str:
    digest = hashlib.new(_HASHES[algorithm], access_token.encode()).digest()
    return _base64url(digest[: len(digest) // 2])


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
