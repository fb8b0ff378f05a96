"""What is said to a service and what its answers mean, without sending anything.

Requests as values, log-in as a conversation, which failures are worth another try, the translation of problems
(RFC 9457) into the tree of errors, lines of a stream: all that two transports of different kinds have in common. The
one in `_transport` sends with threads in mind; one for asyncio needs its own sending and waiting, and nothing of this
twice. Nothing here does input or output, holds a lock, or knows an HTTP library.
"""

import datetime as dt
import email.utils
import ipaddress
import json
import platform
import re
import secrets
import sys
import unicodedata
import urllib.parse
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, TypeAlias, TypeVar

import stamina

from linkage_client._authentication import (
    ASSERTION_TYPE,
    AccessToken,
    Clock,
    Credentials,
    TokenCache,
    make_assertion,
    make_proof,
)
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
from linkage_client.keys import SigningKey

METADATA_PATH = "/.well-known/oauth-authorization-server"
TOKEN_PATH = "/v1/oauth/token"  # noqa: S105 - an address
REQUEST_ID_HEADER = "x-request-id"
EVENT_HEADER = "linkage-event"
# No log is as long; Python raises at numbers of thousands of digits.
_EVENT_DIGITS = 16
# 500 is not here: it is a defect, and asking again does not mend it.
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
INVALID_STATUSES = frozenset({400, 405, 406, 413, 415, 422})
CONFLICT_STATUSES = frozenset({409, 410, 412, 428})
# A longer Retry-After is handed to the caller instead of being slept through.
LONGEST_WAIT_S = 60.0
# What a problem or a line of a link table may take in memory; a service would have to misbehave to reach it.
LONGEST_LINE_BYTES = 65_536
LONGEST_MESSAGE = 2_000
_IN_PATH = "/path/"

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
class Call:
    """One request, ready to be sent by any HTTP library to the address of the service."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    public: bool = False
    """Needs no log-in."""

    def with_token(self, token: AccessToken) -> "Call":
        """The same request from a client that has logged in. It can be sent once: its proof is used up then."""
        return replace(self, headers={**self.headers, **token.headers(self.method, self.path)})


def event_number(headers: Mapping[str, str]) -> int | None:
    """The number of the event in the ledger that the headers of an answer name, if they name one."""
    number = headers.get(EVENT_HEADER, "")
    return int(number) if number.isascii() and number.isdigit() and len(number) <= _EVENT_DIGITS else None


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer. Names of `headers` are looked up in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    received_at: float = 0.0
    """Seconds since 1970, by the client's clock."""

    @property
    def request_id(self) -> str | None:
        """The id under which the service logged the request."""
        return self.headers.get(REQUEST_ID_HEADER)

    @property
    def ledger_event(self) -> int | None:
        """The number of the event in the ledger that the request became, if it became one."""
        return event_number(self.headers)

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            UnexpectedAnswerError: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise UnexpectedAnswerError(
                "The answer is not JSON, so it is not from a linkage service. Check the service's address and proxies.",
                status=self.status,
                request_id=self.request_id,
            ) from None


Conversation: TypeAlias = Generator[Call, Answer, Result]
"""Yields what to send, is sent the answer, returns what came of it. Answers that are problems are never sent in."""


def make_call(
    method: str,
    path: str,
    *,
    json_body: Any = None,
    content: bytes | None = None,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    public: bool = False,
) -> Call:
    """A request. Every POST gets one Idempotency-Key for all its attempts, so that a retry never acts twice."""
    own = {"User-Agent": user_agent(), "Accept": "application/json", **(headers or {})}
    if method == "POST":
        own.setdefault("Idempotency-Key", str(uuid.uuid4()))
    if json_body is not None:
        own["Content-Type"] = "application/json"
        content = json.dumps(json_body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return Call(method, path, headers=own, params=dict(params or {}), content=content, public=public)


class LogIn:
    """Who the client is, and the access token that it has got by saying so. One conversation at a time."""

    def __init__(self, credentials: Credentials | None, *, clock: Clock) -> None:
        self._credentials = credentials
        self._clock = clock
        self._tokens = TokenCache(clock=clock)
        self._issuer: str | None = None
        self._proof_key = SigningKey.generate()

    @property
    def client_id(self) -> str | None:
        """The id of the registered client, None for one that can only do what is public."""
        return self._credentials.client_id if self._credentials else None

    def token(self, *, rejected: AccessToken | None = None) -> Conversation[AccessToken]:
        """A token that is good for a while; `rejected` is one that the service no longer takes."""
        if self._credentials is None:
            raise ConfigurationError(
                "This needs a registered client. Run `linkage register`, or give client_id and key."
            )
        kept = self._tokens.current(rejected=rejected)
        if kept is not None:
            return kept
        if self._issuer is None:
            self._issuer = _issuer_of((yield make_call("GET", METADATA_PATH, public=True)))
        asked_at = self._clock.monotonic()
        # A new assertion for every attempt: the service takes each one once, also when its answer was lost.
        assertion = make_assertion(credentials=self._credentials, issuer=self._issuer, now=self._clock.now())
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        url = self._issuer.rstrip("/") + TOKEN_PATH
        proof = make_proof(key=self._proof_key, method="POST", url=url, now=self._clock.now())
        # Always to the configured service, never to an address that an answer names: an assertion is a credential.
        answer = yield make_call(
            "POST",
            TOKEN_PATH,
            content=urllib.parse.urlencode(form).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded", "DPoP": proof},
            public=True,
        )
        return self._tokens.keep(
            answer.json(), key=self._proof_key, issuer=self._issuer, asked_at=asked_at, request_id=answer.request_id
        )


def _issuer_of(answer: Answer) -> str:
    metadata = answer.json()
    issuer = metadata.get("issuer") if isinstance(metadata, dict) else None
    if not isinstance(issuer, str):
        raise UnexpectedAnswerError(
            "The service does not name its issuer. Check the service's address.", request_id=answer.request_id
        )
    return issuer


def attempts(limits: Limits, *, stopped: Callable[[], bool] | None = None) -> Any:
    """What to loop over with `for` or `async for`, with the attempt as a context manager inside (`stamina`).

    Goes on after errors that are worth another try, waits as `retry_delay` says, raises the last one in the end.
    `stopped` is asked after a failure whether the caller still wants the result.
    """

    def worth_another(error: Exception) -> bool | float:
        return False if stopped is not None and stopped() else retry_delay(error)

    return stamina.retry_context(
        on=worth_another,
        attempts=limits.attempts,
        timeout=limits.retry_for_s,
        wait_initial=0.25,
        wait_max=15.0,
        wait_jitter=0.5,
    )


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
        retry_after_s=_retry_after_s(answer),
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
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _message(problem: Mapping[str, Any], *, status: int) -> str:
    detail = _text(problem.get("detail")) or _text(problem.get("title"))
    sentences = [detail or f"The service answered {status} without saying why."]
    sentences += [_wrong_part(item) for item in _mappings(problem, "errors")]
    sentences += [_refused_element(item, detail) for item in _mappings(problem, "elements")]
    return "\n".join(sentences)[:LONGEST_MESSAGE]


def _wrong_part(item: Mapping[str, Any]) -> str:
    pointer = _text(item.get("pointer")) or "/"
    if pointer.startswith(_IN_PATH):
        return f"{pointer.removeprefix(_IN_PATH)}: this is no id of that kind. Copy it whole, as a list shows it."
    return f"{pointer}: {_text(item.get('detail'))}"


def _refused_element(item: Mapping[str, Any], detail: str) -> str:
    """The element of the agreement, with its reason where that has not been said already."""
    reason = _text(item.get("reason"))
    return f"[{_text(item.get('element'))}]" + (f" {reason}" if reason not in detail else "")


def _mappings(problem: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    listed = problem.get(name)
    return [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []


def _text(value: Any) -> str:
    """A string from an answer without control characters, which could rewrite what a terminal shows."""
    if not isinstance(value, str):
        return ""
    return "".join(" " if unicodedata.category(character).startswith("C") else character for character in value)


def _retry_after_s(answer: Answer) -> float | None:
    """Seconds to wait according to Retry-After (RFC 9110 section 10.2.3): a number, or a date.

    A date is compared with the answer's own, where it has one: the clock of this machine may be minutes off.
    """
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until = _moment(value)
    if until is None:
        return None
    answered = _moment(answer.headers.get("date", ""))
    return max(0.0, until - (answer.received_at if answered is None else answered))


def _moment(value: str) -> float | None:
    """An HTTP date as seconds since 1970, None for anything else."""
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


@dataclass(slots=True)
class LineSplitter:
    """Puts the lines of a streamed answer together from the blocks that they arrive in."""

    request_id: str | None
    _rest: bytes = b""

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The lines that this block completes.

        Raises:
            UnexpectedAnswerError: a line is so long that it cannot be one of a link table.
        """
        *complete, self._rest = (self._rest + block).split(b"\n")
        yield from complete
        if len(self._rest) > LONGEST_LINE_BYTES:
            raise UnexpectedAnswerError(
                "A line of the answer is far too long, so it is not a link table. Check the service's address.",
                request_id=self.request_id,
            )

    def finish(self) -> None:
        """Say that nothing more comes.

        Raises:
            IncompleteDownloadError: in the middle of a line.
        """
        if self._rest:
            raise IncompleteDownloadError(
                "The answer ends in the middle of a line. Nothing of it may be used; ask for it again.",
                request_id=self.request_id,
            )


def path_of(*segments: str | int) -> str:
    """A path below /v1.

    Raises:
        ConfigurationError: a segment is not an id, so it could reach another resource than the one meant.
    """
    for segment in segments:
        if not re.fullmatch(r"[A-Za-z0-9_-]+(:[a-z]+(-[a-z]+)*)?", str(segment)):
            raise ConfigurationError("An id is empty or holds characters that no id has. Copy it whole.")
    return "/v1/" + "/".join(str(segment) for segment in segments)


def user_agent() -> str:
    """Name and version of this client and of what it runs on; nothing about the machine's owner."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return f"linkage-client/{version('linkage-client')} python/{python} {platform.system().lower()}"


def is_loopback(host: str) -> bool:
    """Whether a host name can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
