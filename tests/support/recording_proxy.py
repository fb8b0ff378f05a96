"""A TCP relay on the loopback address that keeps every byte of both directions, for a test to search what was sent."""

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class RecordingProxy:
    """Relays connections to a target; `upstream` and `downstream` are the files with what was sent each way."""

    def __init__(self, folder: Path) -> None:
        self.upstream = folder / "to-service.bin"
        self.downstream = folder / "from-service.bin"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target: tuple[str, int] | None = None
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            waiting = [self._listener, *self._open]
        for connection in waiting:
            # shutdown wakes the thread that waits on the socket; close alone does not.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def forward_to(self, url: str) -> None:
        """Names the service that connections are relayed to."""
        host, port = url.removeprefix("http://").rsplit(":", 1)
        self._target = (host, int(port))

    def _begin(self, target: object, *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]  # a bound method
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._begin(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        assert self._target is not None
        with client, socket.create_connection(self._target) as service:
            with self._lock:
                self._open |= {client, service}
            answers = self._begin(self._relay, service, client, self.downstream)
            self._relay(client, service, self.upstream)
            answers.join()
            with self._lock:
                self._open -= {client, service}

    def _relay(self, source: socket.socket, sink: socket.socket, file: Path) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65_536):
                with self._lock, file.open("ab") as record:
                    record.write(chunk)
                sink.sendall(chunk)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
