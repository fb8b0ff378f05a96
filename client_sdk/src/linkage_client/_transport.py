"""HTTP as the rest of the client needs it: the only importer of httpx.

What is said and what answers mean is in `_protocol`; here it is sent and waited for, with threads in mind. No caller
writes a retry loop or loses a request id. Nothing here logs: a request may carry a secret.
"""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from linkage_client._authentication import AccessToken, Clock, Credentials
from linkage_client._protocol import (
    Answer,
    Call,
    Conversation,
    Limits,
    LineSplitter,
    LogIn,
    attempts,
    is_loopback,
    make_call,
    raise_for_problem,
)
from linkage_client.errors import (
    ConfigurationError,
    IncompleteDownloadError,
    NotAuthenticatedError,
    ServiceConnectionError,
)
from linkage_client.watching import Watch

Result = TypeVar("Result")


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
        ledgers_folder: Path | None = None,
        log_key: str | None = None,
    ) -> None:
        """Open no connection yet.

        Args:
            service_url: https, or http to this machine only.
            credentials: who calls; None for what is public.
            limits: time limits and attempts.
            clock: where time comes from.
            ca_file: trust only these certificates instead of the operating system's.
            allow_plain_http: for closed test networks.
            http_transport: used instead of the network.
            ledgers_folder: where what was seen of ledgers is kept; None to watch none.
            log_key: verifier key that the service's ledger must have, or have had.
        """
        self._limits = limits or Limits()
        self._clock = clock or Clock()
        self._url = check_service_url(service_url, allow_plain_http=allow_plain_http)
        self._http = httpx.Client(
            base_url=self._url,
            timeout=httpx.Timeout(self._limits.read_s, connect=self._limits.connect_s),
            # The system's certificates take some 20 ms to load, and whoever brings a transport has no use for them.
            verify=tls_context(ca_file) if http_transport is None else True,
            transport=http_transport,
            # A proxy cannot reach this machine's own loopback.
            trust_env=not is_loopback(self._url.host),
        )
        self._log_in = LogIn(credentials, clock=self._clock)
        # At most one thread logs in at a time; the others then use its token.
        self._log_in_lock = threading.Lock()
        self._watch = (
            Watch(
                ledgers_folder,
                service_url=str(self._url),
                is_here=is_loopback(self._url.host),
                log_key=log_key,
                now=self._clock.now,
            )
            if ledgers_folder is not None and credentials is not None
            else None
        )
        # The first thread of a session looks at the ledger; the others wait for what it finds.
        self._watch_lock = threading.Lock()
        self._watched = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def clock(self) -> Clock:
        """The clock that the transport and everything above it go by."""
        return self._clock

    @property
    def service_url(self) -> str:
        """The address of the service."""
        return str(self._url)

    @property
    def client_id(self) -> str | None:
        """The id of the registered client, None for one that can only do what is public."""
        return self._log_in.client_id

    @property
    def log_origin(self) -> str | None:
        """Name of the service's ledger, once it was looked at; None where it is not watched."""
        return None if self._watch is None else self._watch.origin

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
        stopped: Callable[[], bool] | None = None,
    ) -> Answer:
        """Send one request and read the whole answer, retrying what is safe and worth retrying.

        Every POST carries one Idempotency-Key over all its attempts, so a retry never acts twice. `stopped` is asked
        before another attempt whether the answer is still wanted.

        Raises:
            ServiceConnectionError: no answer after all attempts.
            ServiceError: a problem.
        """
        call = make_call(
            method, path, json_body=json_body, content=content, params=params, headers=headers, public=public
        )
        return self._retrying(lambda: self._authenticated(call, read=self._exchange), stopped=stopped)

    @contextmanager
    def stream_lines(self, path: str, *, accept: str) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """The headers and the lines of an answer as they arrive.

        Opening is retried; a break in the middle is not, because each retrieval of a link table is a disclosure that
        is recorded and counted.

        Raises:
            IncompleteDownloadError: from the lines: the answer stopped in the middle.
        """
        with self._streamed(path, accept=accept) as response:
            yield response.headers, _lines(response)

    @contextmanager
    def stream_blocks(
        self, path: str, *, accept: str, json_body: Any = None
    ) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """The headers and the bytes of an answer as they arrive. Retried and broken off as `stream_lines` is.

        With a `json_body` it is a POST, else a GET.
        """
        with self._streamed(path, accept=accept, json_body=json_body) as response:
            yield response.headers, _blocks(response)

    @contextmanager
    def _streamed(self, path: str, *, accept: str, json_body: Any = None) -> Iterator[httpx.Response]:
        method = "GET" if json_body is None else "POST"
        call = make_call(method, path, headers={"Accept": accept}, json_body=json_body)
        response = self._retrying(lambda: self._authenticated(call, read=self._open))
        try:
            yield response
        finally:
            response.close()

    def _retrying(self, attempt_once: Callable[[], Result], *, stopped: Callable[[], bool] | None = None) -> Result:
        for attempt in attempts(self._limits, stopped=stopped):
            with attempt:
                return attempt_once()
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def _authenticated(self, call: Call, *, read: Callable[[Call], Result]) -> Result:
        if call.public:
            return read(call)
        self._watch_once()
        return self._with_token(call, read=read)

    def _watch_once(self) -> None:
        if self._watch is None:
            return
        with self._watch_lock:
            if not self._watched:
                self._watch.check(self._ask)
                self._watched = True
        self._watch.settle()

    def _ask(self, path: str, params: Mapping[str, Any]) -> Answer:
        return self._with_token(make_call("GET", path, params=params), read=self._exchange)

    def _with_token(self, call: Call, *, read: Callable[[Call], Result]) -> Result:
        token = self._token()
        try:
            return read(call.with_token(token))
        except NotAuthenticatedError:
            # Expired early, or the service restarted with another key: one new log-in decides.
            return read(call.with_token(self._token(rejected=token)))

    def _token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        with self._log_in_lock:
            return self._converse(self._log_in.token(rejected=rejected))

    def _converse(self, conversation: Conversation[Result]) -> Result:
        try:
            call = next(conversation)
            while True:
                call = conversation.send(self._exchange(call))
        except StopIteration as done:
            result: Result = done.value
            return result

    def _exchange(self, call: Call) -> Answer:
        with connection_errors_translated():
            response = self._http.send(self._request(call))
        return self._answer(response)

    def _open(self, call: Call) -> httpx.Response:
        with connection_errors_translated():
            response = self._http.send(self._request(call), stream=True)
            if response.is_success:
                self._note(response)
                return response
            with contextlib.closing(response):
                response.read()
        self._answer(response)
        raise AssertionError  # pragma: no cover - every status but success has raised

    def _request(self, call: Call) -> httpx.Request:
        return self._http.build_request(
            call.method, call.path, headers=dict(call.headers), params=dict(call.params), content=call.content
        )

    def _answer(self, response: httpx.Response) -> Answer:
        answer = Answer(response.status_code, response.headers, response.content, received_at=self._clock.now())
        raise_for_problem(answer)
        self._note(response)
        return answer

    def _note(self, response: httpx.Response) -> None:
        if self._watch is not None:
            self._watch.note(response.headers)


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


@contextmanager
def connection_errors_translated() -> Iterator[None]:
    """Turns what httpx raises, in threads or in asyncio, into the errors of this client.

    Raises:
        ServiceConnectionError: no answer came.
    """
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
            "The service could not be reached, or the connection broke. Check its address, the network and proxies; "
            "`linkage doctor` looks at each.",
        ) from None


def _is_certificate_failure(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _lines(response: httpx.Response) -> Iterator[bytes]:
    lines = LineSplitter(request_id=response.headers.get("x-request-id"))
    for block in _blocks(response):
        yield from lines.feed(block)
    lines.finish()


def _blocks(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes()
    except httpx.HTTPError:
        raise IncompleteDownloadError(
            "The connection broke in the middle of the answer. Nothing of it may be used; ask for it again.",
            request_id=response.headers.get("x-request-id"),
        ) from None


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """The operating system's certificates, or only those in `ca_file`."""
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError:
        raise ConfigurationError(f"The certificates in {ca_file} cannot be read. Name a PEM file.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
