"""Processes: the web server with its embedded worker, and the worker alone. Both end cleanly on a signal."""

import gc
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from linkage_service.engine import executor_of
from linkage_service.errors import NotReady
from linkage_service.figures import figures_of
from linkage_service.kept import ALIVE, READY, SILENT_S, Kept
from linkage_service.logs import configure
from linkage_service.migrate import must_serve
from linkage_service.pages import show_pages
from linkage_service.protection import protocol_of
from linkage_service.runtime import Runtime, build
from linkage_service.safety import must_be_safe
from linkage_service.settings import Settings
from linkage_service.tracing import tracing_of
from linkage_service.worker import Worker

_log = structlog.get_logger(__name__)
_HEADER_BYTES_MAX = 32 * 1024
# uvicorn's main loop turns ten times a second.
_TURNS_PER_SIGN_OF_LIFE = 10
_SIGN_OF_LIFE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Serving:
    """How to serve.

    Attributes:
        host: address to listen on.
        port: 0 for a free one.
        ready_file: where to write `{"url", "pid"}` once connections are accepted.
        embedded_worker: whether a worker process runs beside.
        exit_with_parent: whether to stop when standard input ends.
    """

    host: str
    port: int
    ready_file: Path | None
    embedded_worker: bool
    exit_with_parent: bool


def serve_until_stopped(settings: Settings, serving: Serving) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        NotReady: it is not safe as it is set up, it cannot serve on the database's schema, or the address is taken.
        EngineNotReady: the executor that its worker is to use is not installed.
    """
    configure(level=settings.log_level)
    must_be_safe(settings, host=serving.host)
    with listen(serving.host, serving.port) as listener:
        url = address_of(listener, serving.host)
        _serve(settings, serving, listener, on_ready=lambda: announce(url, serving.ready_file))


def serve_beside(settings: Settings, *, host: str, port: int) -> None:
    """Serves beside other processes at one address, until SIGTERM or SIGINT or the end of standard input.

    Args:
        settings: of the service.
        host: address to listen on.
        port: the one that all of them have; kept for them by the process that started them.

    Raises:
        NotReady: it is not safe as it is set up, it cannot serve on the database's schema, or the address is taken.
    """
    configure(level=settings.log_level)
    must_be_safe(settings, host=host)
    serving = Serving(host=host, port=port, ready_file=None, embedded_worker=False, exit_with_parent=True)
    with listen(host, port, beside=True) as listener:
        _serve(
            settings,
            serving,
            listener,
            on_ready=lambda: _tell_keeper(READY),
            on_turn=lambda: _tell_keeper(ALIVE),
        )


def _tell_keeper(word: str) -> None:
    # A keeper that is stopped reads nothing. What it does not read is not worth waiting for, least of all here, where
    # everybody else would wait too.
    os.set_blocking(sys.stdout.fileno(), False)
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{word}\n".encode())


def configuration(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How the web server stands before the application."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # Anybody can send X-Forwarded-For: it counts from the proxies that the operator names and nobody else.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        http=protocol_of(settings.slow_header_s),
        h11_max_incomplete_event_size=_HEADER_BYTES_MAX,
        timeout_graceful_shutdown=10,
    )


def prepare(runtime: Runtime, serving: Serving) -> None:
    """Does what is due before a process serves.

    Raises:
        NotReady: it cannot serve on the database's schema.
        EngineNotReady: the executor that its worker is to use is not installed.
    """
    must_serve(runtime.database.engine)
    if serving.embedded_worker:
        # Here, where somebody sees it: the worker's own process would die of it again and again.
        executor_of(runtime.settings)
    runtime.remember_policy()


def embedded_worker(settings: Settings, *, silent_s: float = SILENT_S) -> Kept:
    """The worker process beside the server; a run that it has in hand at its end is left for the next one.

    Args:
        settings: of the service.
        silent_s: a worker that gave no sign of life for so long is ended by force, and another started.
    """
    return Kept(
        settings,
        ["worker", "--exit-with-parent", "--no-metrics", "--signs-of-life"],
        died="worker_died",
        on_ready=lambda pid: _log.info("worker_ready", pid=pid),
        silent_s=silent_s,
    )


def _serve(
    settings: Settings,
    serving: Serving,
    listener: socket.socket,
    *,
    on_ready: Callable[[], None],
    on_turn: Callable[[], None] = lambda: None,
) -> None:
    # Here, since a worker alone has no routes, and building them takes a fifth of its start.
    from linkage_service.app import create_app  # noqa: PLC0415

    url = address_of(listener, serving.host)
    tracing = tracing_of(settings.traces_endpoint, share=settings.traces_share, process="api")
    runtime = build(settings, issuer=lambda: settings.issuer or url, tracing=tracing)
    try:
        prepare(runtime, serving)
        worker = embedded_worker(settings) if serving.embedded_worker else None
        app = create_app(runtime)
        if settings.console:
            show_pages(app, runtime)
        server = _Server(configuration(app, settings), on_ready=on_ready, on_turn=on_turn)
        if serving.exit_with_parent:
            when_input_ends(server.ask_to_stop)
        # uvicorn raises the signal that ended it again at its end: for nobody, or nothing that follows would be done.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.ask_to_stop())
        with metrics_shown(runtime):
            try:
                if worker:
                    worker.start()
                _leave_alone_what_is_there()
                server.run(sockets=[listener])
            finally:
                if worker:
                    worker.stop()
    finally:
        runtime.close()


@contextmanager
def metrics_shown(runtime: Runtime) -> Iterator[None]:
    """Shows the figures of this process and of the service for the block, where the settings say so.

    Raises:
        NotReady: the address cannot be used.
    """
    if runtime.settings.metrics_listen is None:
        yield
        return
    host, _, port = runtime.settings.metrics_listen.rpartition(":")
    runtime.metrics.show(lambda: figures_of(runtime))
    with runtime.metrics.shown_at(host.strip("[]"), int(port)) as bound:
        _log.info("metrics_shown", port=bound)
        yield


def work_until_stopped(runtime: Runtime, *, exit_with_parent: bool, metrics: bool, signs_of_life: bool) -> None:
    """Carries out runs until SIGTERM, SIGINT or, if wished, the end of standard input.

    Args:
        runtime: of the service whose runs.
        exit_with_parent: whether the end of standard input ends it.
        metrics: whether to show figures where the settings say so: not beside a process that does.
        signs_of_life: whether to tell whoever started it, on standard output, that it is at work.

    Raises:
        NotReady: it is not safe as it is set up, it cannot serve on the database's schema, or that is half restored.
    """
    settings = runtime.settings
    configure(level=settings.log_level)
    must_be_safe(settings, host=None)
    must_serve(runtime.database.engine)
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    if exit_with_parent:
        when_input_ends(stop.set)
    if signs_of_life:
        _tell_keeper(READY)
        threading.Thread(target=_give_signs_of_life, args=(stop,), name="signs-of-life", daemon=True).start()
    runtime.remember_policy()
    tracing = tracing_of(settings.traces_endpoint, share=settings.traces_share, process="worker")
    try:
        with metrics_shown(runtime) if metrics else nullcontext():
            Worker(replace(runtime, tracing=tracing)).run_until(stop)
        # Who serves may have signed its last checkpoint by now, without what was done here after it.
        runtime.checkpointer.sign()
    finally:
        tracing.close()


def _give_signs_of_life(stop: threading.Event) -> None:
    """Tells every second, from a thread of its own: how long a comparison takes says nothing about its health."""
    while not stop.wait(_SIGN_OF_LIFE_EVERY_S):
        _tell_keeper(ALIVE)


def _leave_alone_what_is_there() -> None:
    """Has the collector of cycles look at what was made since only: what is there when serving begins stays.

    To walk all of it holds up every request for as long as dozens of them take.
    """
    gc.collect()
    gc.freeze()


class _Server(uvicorn.Server):
    """uvicorn's server, telling when it accepts connections, and about every second that its event loop turns."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None], on_turn: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready, self._on_turn = on_ready, on_turn

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then tells."""
        await super().startup(sockets=sockets)
        if self.started:
            self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Tells that the loop turns: by its turns, since uvicorn's own notice goes by a clock that may be set back."""
        if counter % _TURNS_PER_SIGN_OF_LIFE == 0:
            self._on_turn()
        return await super().on_tick(counter)

    def ask_to_stop(self) -> None:
        """Stops after the requests in hand."""
        self.should_exit = True


def listen(host: str, port: int, *, beside: bool = False) -> socket.socket:
    """A socket that is bound to an address.

    Args:
        host: the address.
        port: 0 for a free one.
        beside: whether other sockets may be bound to it that were opened like this one, by the same user. The kernel
            then gives each of those that listen its share of the connections.

    Raises:
        NotReady: the address is taken, or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named. With it, an answer in two writes waits for
    # the caller's acknowledgement of the first, which takes 40 ms on a connection that is kept open.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if beside:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise NotReady(
            f"Port {port} of {host} cannot be used: another program has it, or it is not allowed. "
            "Choose another with --port."
        ) from error
    return listener


def address_of(listener: socket.socket, host: str) -> str:
    """The address by which a socket that is bound to a host is reached from this machine."""
    port = int(listener.getsockname()[1])
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def announce(url: str, ready_file: Path | None) -> None:
    """Says that the service accepts connections: to who started it, and in a file, where one is wanted."""
    print(f"The linkage service is ready at {url}", flush=True)  # noqa: T201 - what the person who started it waits for
    if ready_file is not None:
        temporary = ready_file.with_name(f"{ready_file.name}.new")
        temporary.write_text(json.dumps({"url": url, "pid": os.getpid()}), "utf-8")
        temporary.replace(ready_file)


def when_input_ends(act: Callable[[], None]) -> None:
    """Acts when standard input ends, which is when whoever holds its other end does."""

    def wait() -> None:
        # Not by the buffer, whose lock this thread would hold when the process ends for another reason: that aborts it.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        act()

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
