"""HTTP as the rest of the client needs it: the only importer of httpx.

Retries, log-in, time limits, request ids and the translation of problems (RFC 9457) into the tree of errors live here,
so that no caller writes a retry loop or loses a request id. Nothing here logs: a request may carry a secret.
"""

import contextlib
import datetime as dt
import email.utils
import ipaddress
import json
import platform
import re
import secrets
import ssl
import sys
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import stamina

from linkage_client._authentication import ASSERTION_TYPE, Clock, Credentials, TokenCache, make_assertion
from linkage_client.errors import (
    ConfigurationError,
    IncompleteDownloadError,
    InvalidRequestError,
    NotAuthenticatedError,
    NotFoundError,
    PolicyRefusalError,
    ServiceConnectionError,
    ServiceError,
    StateConflictError,
    TryAgainLaterError,
    UnexpectedAnswerError,
)

METADATA_PATH = "/.well-known/oauth-authorization-server"
# 500 is not here: it is a defect, and asking again does not mend it.
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
INVALID_STATUSES = frozenset({400, 405, 406, 413, 415, 422})
CONFLICT_STATUSES = frozenset({409, 410, 412, 428})
# A longer Retry-After is handed to the caller instead of being slept through.
LONGEST_WAIT_S = 60.0
# What a problem or a line of a link table may take in memory; a service would have to misbehave to reach it.
LONGEST_LINE_BYTES = 65_536
LONGEST_MESSAGE = 2_000

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait and how often to try. Times in seconds."""

    connect_s: float = 10.0
    read_s: float = 60.0
    """Silence tolerated while an answer is awaited; longer than the longest long poll."""
    attempts: int = 6
    retry_for_s: float = 120.0
    """All attempts of one request together."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def request_id(self) -> str | None:
        """The id under which the service logged the request."""
        return self.headers.get("x-request-id")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            UnexpectedAnswerError: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise UnexpectedAnswerError(
                "The answer is not JSON, so it is not from a linkage service. Check the service's address and proxies.",
                status=self.status,
                request_id=self.request_id,
            ) from None


class Transport:
    """Requests to one service, safe to use from several threads."""

    def __init__(
        self,
        service_url: str,
        *,
        credentials: Credentials | None = None,
        limits: Limits | None = None,
        clock: Clock | None = None,
        ca_file: Path | None = None,
        allow_plain_http: bool = False,
        http_transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._clock = clock or Clock()
        self._credentials = credentials
        url = check_service_url(service_url, allow_plain_http=allow_plain_http)
        self._http = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(self._limits.read_s, connect=self._limits.connect_s),
            headers={"User-Agent": user_agent(), "Accept": "application/json"},
            verify=_tls_context(ca_file),
            transport=http_transport,
            # A proxy cannot reach this machine's own loopback.
            trust_env=not is_loopback(url.host),
        )
        self._tokens = TokenCache(fetch=self._fetch_token, clock=self._clock)
        self._known_issuer: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def clock(self) -> Clock:
        """The clock that the transport and everything above it go by."""
        return self._clock

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        json_body: Any = None,
        content: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        public: bool = False,
    ) -> Answer:
        """Send one request and read the whole answer, retrying what is safe and worth retrying.

        Every POST carries one Idempotency-Key over all its attempts, so a retry never acts twice.

        Raises:
            ServiceConnectionError: no answer after all attempts.
            ServiceError: a problem.
        """
        request = self._request_maker(
            method, path, json_body=json_body, content=content, params=params, headers=headers
        )
        return self._retrying(lambda: self._authenticated(request, public=public, read=self._exchange))

    @contextmanager
    def stream_lines(self, path: str, *, accept: str) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """The headers and the lines of an answer as they arrive.

        Opening is retried; a break in the middle is not, because each retrieval of a link table is a disclosure that
        is recorded and counted.

        Raises:
            IncompleteDownloadError: from the lines: the answer stopped in the middle.
        """
        request = self._request_maker("GET", path, headers={"Accept": accept})
        response = self._retrying(lambda: self._authenticated(request, public=False, read=self._open))
        try:
            yield response.headers, _lines(response)
        finally:
            response.close()

    def _request_maker(self, method: str, path: str, **parts: Any) -> Callable[[Mapping[str, str]], httpx.Request]:
        own = dict(parts.get("headers") or {})
        if method == "POST":
            own.setdefault("Idempotency-Key", str(uuid.uuid4()))

        def make(extra: Mapping[str, str]) -> httpx.Request:
            return self._http.build_request(
                method,
                path,
                json=parts.get("json_body"),
                content=parts.get("content"),
                params=parts.get("params"),
                headers={**own, **extra},
            )

        return make

    def _retrying(self, attempt_once: Callable[[], Result]) -> Result:
        limits = self._limits
        for attempt in stamina.retry_context(
            on=retry_delay,
            attempts=limits.attempts,
            timeout=limits.retry_for_s,
            wait_initial=0.25,
            wait_max=15.0,
            wait_jitter=0.5,
        ):
            with attempt:
                return attempt_once()
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def _authenticated(
        self,
        make_request: Callable[[Mapping[str, str]], httpx.Request],
        *,
        public: bool,
        read: Callable[[httpx.Request], Result],
    ) -> Result:
        if public:
            return read(make_request({}))
        if self._credentials is None:
            raise ConfigurationError(
                "This needs a registered client. Run `linkage register`, or give client_id and key."
            )
        token = self._tokens.token()
        try:
            return read(make_request({"Authorization": f"Bearer {token}"}))
        except NotAuthenticatedError:
            # Expired early, or the service restarted with another key: one new log-in decides.
            renewed = self._tokens.token(rejected=token)
            return read(make_request({"Authorization": f"Bearer {renewed}"}))

    def _fetch_token(self) -> dict[str, Any]:
        if self._credentials is None:  # pragma: no cover - _authenticated has refused
            raise AssertionError
        # A new assertion for every attempt: the service takes each one once, also when its answer was lost.
        assertion = make_assertion(credentials=self._credentials, issuer=self._issuer(), now=self._clock.now())
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        # Always to the configured service, never to an address that an answer names: an assertion is a credential.
        answer = self._exchange(self._http.build_request("POST", "/v1/oauth/token", data=form)).json()
        return answer if isinstance(answer, dict) else {}

    def _issuer(self) -> str:
        if self._known_issuer is None:
            metadata = self._exchange(self._http.build_request("GET", METADATA_PATH)).json()
            issuer = metadata.get("issuer") if isinstance(metadata, dict) else None
            if not isinstance(issuer, str):
                raise UnexpectedAnswerError("The service does not name its issuer. Check the service's address.")
            self._known_issuer = issuer
        return self._known_issuer

    def _exchange(self, request: httpx.Request) -> Answer:
        with _connection_errors_translated():
            response = self._http.send(request)
        answer = Answer(status=response.status_code, headers=response.headers, body=response.content)
        raise_for_problem(answer)
        return answer

    def _open(self, request: httpx.Request) -> httpx.Response:
        with _connection_errors_translated():
            response = self._http.send(request, stream=True)
            if response.is_success:
                return response
            with contextlib.closing(response):
                response.read()
        raise_for_problem(Answer(status=response.status_code, headers=response.headers, body=response.content))
        raise AssertionError  # pragma: no cover - every status but success has raised


def path_of(*segments: str | int) -> str:
    """A path below /v1.

    Raises:
        ConfigurationError: a segment is not an id, so it could reach another resource than the one meant.
    """
    for segment in segments:
        if not re.fullmatch(r"[A-Za-z0-9_-]+(:[a-z]+)?", str(segment)):
            raise ConfigurationError("An id is empty or holds characters that no id has. Copy it whole.")
    return "/v1/" + "/".join(str(segment) for segment in segments)


def user_agent() -> str:
    """Name and version of this client and of what it runs on; nothing about the machine's owner."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return f"linkage-client/{version('linkage-client')} python/{python} {platform.system().lower()}"


def check_service_url(text: str, *, allow_plain_http: bool = False) -> httpx.URL:
    """The address of a service, if it is safe to send credentials there.

    Raises:
        ConfigurationError: not an address, or plain http to another machine.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise ConfigurationError(
            "The service address is not a URL. It looks like https://linkage.example.org."
        ) from None
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo or url.query or url.fragment:
        raise ConfigurationError(
            "The service address must be an https URL with a host, without log-in, query or fragment, "
            "such as https://linkage.example.org.",
        )
    if url.scheme == "http" and not allow_plain_http and not is_loopback(url.host):
        raise ConfigurationError(
            "The service address is plain http to another machine, where anyone on the way could read and change what "
            "is sent. Use https; for a closed test network allow plain http explicitly.",
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether a host name can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def retry_delay(error: Exception) -> bool | float:
    """Whether to try again after an error, and the number of seconds to wait where the service has said so."""
    if isinstance(error, ServiceConnectionError):
        return error.code == ServiceConnectionError.code
    if not isinstance(error, ServiceError):
        return False
    wait_s = error.retry_after_s
    if error.status in RETRIED_STATUSES and wait_s is None:
        return True
    # A conflict with Retry-After is an idempotent request whose first attempt is still being worked on.
    if wait_s is None or wait_s > LONGEST_WAIT_S or error.status not in RETRIED_STATUSES | {409}:
        return False
    # Clients that were all told the same second do not come back in the same millisecond.
    return wait_s + (1 + secrets.randbelow(250)) / 1000


def raise_for_problem(answer: Answer) -> None:
    """Turn an answer that is not a success into the error of the tree that fits its status."""
    status = answer.status
    if 200 <= status < 300:  # noqa: PLR2004 - the range of successes, RFC 9110
        return
    if status < 400:  # noqa: PLR2004 - redirections and interim answers, RFC 9110
        raise UnexpectedAnswerError(
            f"The service answered with a redirection ({status}), which this client does not follow with credentials. "
            "Use the final address of the service.",
            status=status,
            request_id=answer.request_id,
        )
    problem = _problem_of(answer)
    request_id = answer.request_id or _text(problem.get("request_id")) or None
    raise _error_class(status)(
        _message(problem, status=status),
        status=status,
        code=_text(problem.get("code")) or f"http_{status}",
        request_id=request_id,
        problem=problem,
        retry_after_s=_retry_after_s(answer.headers.get("retry-after")),
    )


def _error_class(status: int) -> type[ServiceError]:
    if status in INVALID_STATUSES:
        return InvalidRequestError
    if status in CONFLICT_STATUSES:
        return StateConflictError
    exact: dict[int, type[ServiceError]] = {401: NotAuthenticatedError, 403: PolicyRefusalError, 404: NotFoundError}
    if status in exact:
        return exact[status]
    return TryAgainLaterError if status == 429 or status >= 500 else ServiceError  # noqa: PLR2004 - RFC 6585, RFC 9110


def _problem_of(answer: Answer) -> dict[str, Any]:
    try:
        problem = json.loads(answer.body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _message(problem: Mapping[str, Any], *, status: int) -> str:
    detail = _text(problem.get("detail")) or _text(problem.get("title"))
    sentences = [detail or f"The service answered {status} without saying why."]
    sentences += [
        f"{_text(item.get('pointer')) or '/'}: {_text(item.get('detail'))}" for item in _mappings(problem, "errors")
    ]
    sentences += [
        f"[{_text(item.get('element'))}] {_text(item.get('reason'))}" for item in _mappings(problem, "elements")
    ]
    return "\n".join(sentences)[:LONGEST_MESSAGE]


def _mappings(problem: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    listed = problem.get(name)
    return [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []


def _text(value: Any) -> str:
    """A string from an answer without control characters, which could rewrite what a terminal shows."""
    if not isinstance(value, str):
        return ""
    return "".join(" " if unicodedata.category(character).startswith("C") else character for character in value)


def _retry_after_s(value: str | None) -> float | None:
    """Seconds to wait according to Retry-After (RFC 9110 section 10.2.3): a number, or a date."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())


@contextmanager
def _connection_errors_translated() -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException:
        raise ServiceConnectionError(
            "The service did not answer in time. It may be busy or unreachable; try again, or check its address.",
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if _is_certificate_failure(error):
            raise ServiceConnectionError(
                "The service's certificate is not trusted, so nothing was sent. Check the address; if your "
                "organisation has its own authority, name its certificate with ca_file.",
                code="certificate_untrusted",
            ) from None
        raise ServiceConnectionError(
            "The service could not be reached, or the connection broke. Check its address, the network and proxies.",
        ) from None


def _is_certificate_failure(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _lines(response: httpx.Response) -> Iterator[bytes]:
    rest = b""
    try:
        for block in response.iter_bytes():
            *complete, rest = (rest + block).split(b"\n")
            yield from complete
            if len(rest) > LONGEST_LINE_BYTES:
                raise UnexpectedAnswerError(
                    "A line of the answer is far too long, so it is not a link table. Check the service's address.",
                    request_id=response.headers.get("x-request-id"),
                )
    except httpx.HTTPError:
        raise IncompleteDownloadError(
            "The connection broke in the middle of the answer. Nothing of it may be used; ask for it again.",
        ) from None
    if rest:
        raise IncompleteDownloadError(
            "The answer ends in the middle of a line. Nothing of it may be used; ask for it again.",
        )


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """The operating system's certificates, or only those in `ca_file`."""
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError:
        raise ConfigurationError(f"The certificates in {ca_file} cannot be read. Name a PEM file.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
