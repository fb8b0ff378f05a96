"""A witness over HTTP: ``POST /add-checkpoint`` of https://c2sp.org/tlog-witness, for a proxy with TLS to stand before.

There is nobody to authenticate: a log's signature is what counts. So every request is small, has a time limit, and
holds one of a limited number of connections.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from linkage_ledger.witness import MAX_REQUEST_BYTES, Answer, Witness

REQUEST_S: Final = 20.0
MAX_CONNECTIONS: Final = 64
_ROUTES: Final[dict[str, Callable[[Witness, bytes], Answer]]] = {
    "/add-checkpoint": Witness.add_checkpoint,
    "/add-handover": Witness.add_handover,
}


class WitnessServer(ThreadingHTTPServer):
    """Answers for one witness until `shutdown`. Waits for the requests in hand when it is closed."""

    daemon_threads = False
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address: tuple[str, int], witness: Witness, *, request_s: float = REQUEST_S) -> None:
        """Listen, without answering yet.

        Args:
            address: host and port; port 0 picks a free one.
            witness: who judges.
            request_s: a connection that has not sent a whole request for so long is closed, seconds.
        """
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.witness = witness
        self._request_s = request_s
        self._deadlines: dict[socket.socket, float] = {}
        self._turn = threading.Lock()
        super().__init__(address, _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}"

    def begin(self, connection: socket.socket) -> None:
        """A connection waits for a request, or for the rest of one, from now on."""
        with self._turn:
            self._deadlines[connection] = time.monotonic() + self._request_s

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - the standard library's signature
        """Turn away who comes when all connections are taken."""
        with self._turn:
            return len(self._deadlines) < MAX_CONNECTIONS

    def service_actions(self) -> None:
        """Close what takes too long; called by `serve_forever` between its polls."""
        now = time.monotonic()
        with self._turn:
            late = [connection for connection, deadline in self._deadlines.items() if deadline < now]
        _cut(late)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that ends."""
        with self._turn:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, end connections that wait for a request, and wait for those that are answered."""
        with self._turn:
            waiting = list(self._deadlines)
        _cut(waiting, how=socket.SHUT_RD)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about connections that break."""


@contextmanager
def serving(server: WitnessServer) -> Iterator[WitnessServer]:
    """Answer in a thread of its own while the block runs."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="witness")
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _cut(connections: list[socket.socket], *, how: int = socket.SHUT_RDWR) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(how)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "linkage-ledger-witness"
    sys_version = ""
    server: WitnessServer

    def handle_one_request(self) -> None:
        """One request in the time it is given."""
        self.server.begin(self.connection)
        super().handle_one_request()

    def do_POST(self) -> None:
        """Judge what is posted."""
        judge = _ROUTES.get(self.path)
        if judge is None:
            self._answer(Answer(404, "This witness answers POST /add-checkpoint.\n"), close=True)
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            self._answer(Answer(411, "Say how long the request is, with Content-Length.\n"), close=True)
            return
        if len(length) > len(str(MAX_REQUEST_BYTES)) or int(length) > MAX_REQUEST_BYTES:
            self._answer(Answer(413, "The request is longer than any that is needed.\n"), close=True)
            return
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True
            return
        try:
            answer = judge(self.server.witness, body)
        except OSError:
            # The memory could not be written. What was not remembered must not be cosigned.
            answer = Answer(503, "The witness cannot write its memory. Its operator has to see to the disk.\n")
        self._answer(answer)

    def _answer(self, answer: Answer, *, close: bool = False) -> None:
        body = answer.text.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        if close:
            # The body was not read: what follows on this connection would be taken for a request.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Nothing: who asks is of no interest, and what counts is in the state."""
