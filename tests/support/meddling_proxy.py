"""A TCP relay on the loopback address that resets connections at chosen bytes and sends requests twice."""

import contextlib
import itertools
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from enum import Enum, auto
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_PATIENCE_S = 60
_RESET = struct.pack("ii", 1, 0)  # what is left unsent is thrown away, and the other side is told so


class Meddling(Enum):
    """What is done to one request."""

    NONE = auto()
    CUT_IN_HEAD = auto()
    CUT_BEFORE_LAST_BYTE = auto()
    ANSWER_LOST = auto()
    CUT_IN_ANSWER = auto()
    SENT_AGAIN = auto()
    OVERTAKEN = auto()  # by a copy of itself, whose answer nobody sees


_TURNS = [turn for meddling in list(Meddling)[1:] for turn in (meddling, Meddling.NONE)]


class MeddlingProxy:
    """Takes one request of each connection, and does something else to each in turn.

    Attributes:
        url: where clients connect to.
        done: how often it did what.
        copies: how the service answered copies, by status.
    """

    def __init__(self, target: str, *, never_twice: str) -> None:
        """Relay to a service; requests to one path are never sent twice."""
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._never_twice = never_twice.encode()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._turns: Iterator[Meddling] = itertools.cycle(_TURNS)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.done: Counter[Meddling] = Counter()
        self.copies: Counter[int] = Counter()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._begin(threading.Thread(target=self._accept))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE_S)
        self._listener.close()

    def _begin(self, thread: threading.Thread) -> None:
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.settimeout(_PATIENCE_S)
                self._begin(threading.Thread(target=self._serve, args=(client,)))

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            request = _request_of(client)
            if not request:
                return
            meddling = self._next(request)
            if meddling in {Meddling.CUT_IN_HEAD, Meddling.CUT_BEFORE_LAST_BYTE}:
                with self._connected() as service:
                    service.sendall(request[:40] if meddling is Meddling.CUT_IN_HEAD else request[:-1])
                    _reset(service)
                _reset(client)
                return
            if meddling is Meddling.OVERTAKEN:
                self._ask_once_more(request)
            answer = self._ask(request)
            if meddling is Meddling.ANSWER_LOST:
                _reset(client)
                return
            client.sendall(answer[: len(answer) // 2] if meddling is Meddling.CUT_IN_ANSWER else answer)
            if meddling is Meddling.CUT_IN_ANSWER:
                _reset(client)
            elif meddling is Meddling.SENT_AGAIN:
                self._ask_once_more(request)

    def _next(self, request: bytes) -> Meddling:
        with self._lock:
            meddling = next(self._turns)
            if self._never_twice in request.split(b"\r\n", 1)[0]:
                meddling = Meddling.NONE if meddling in {Meddling.SENT_AGAIN, Meddling.OVERTAKEN} else meddling
            self.done[meddling] += 1
            return meddling

    def _ask_once_more(self, request: bytes) -> None:
        status = int(self._ask(request).split(b" ", 2)[1])
        with self._lock:
            self.copies[status] += 1

    def _ask(self, request: bytes) -> bytes:
        with self._connected() as service:
            service.sendall(request)
            return b"".join(iter(lambda: service.recv(65_536), b""))

    def _connected(self) -> socket.socket:
        return socket.create_connection(self._target, timeout=_PATIENCE_S)


def _request_of(client: socket.socket) -> bytes:
    """A whole request, changed so that the service ends the connection after it; empty if none came."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (more := client.recv(65_536)):
            return b""
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    sizes = [int(field.split(b":")[1]) for field in fields if field.lower().startswith(b"content-length:")]
    while len(body) < sum(sizes):
        body += client.recv(65_536)
    kept = [field for field in fields if not field.lower().startswith(b"connection:")]
    return b"\r\n".join([first, b"Connection: close", *kept]) + b"\r\n\r\n" + body


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()
