"""Processes: the web server with its embedded worker, and the worker alone. Both end cleanly on a signal."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from linkage_service.engine import executor_of
from linkage_service.errors import NotReady
from linkage_service.figures import figures_of
from linkage_service.logs import configure
from linkage_service.migrate import is_current
from linkage_service.pages import show_pages
from linkage_service.protection import protocol_of
from linkage_service.runtime import Runtime, build
from linkage_service.safety import must_be_safe
from linkage_service.settings import Settings
from linkage_service.tracing import tracing_of
from linkage_service.worker import Worker

_log = structlog.get_logger(__name__)
_HEADER_BYTES_MAX = 32 * 1024
_WORKER_STOPS_IN_S = 20


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
        NotReady: it is not safe as it is set up, the database is of another release, or the address is taken.
        EngineNotReady: the executor that its worker is to use is not installed.
    """
    configure(level=settings.log_level)
    must_be_safe(settings, host=serving.host)
    with _listen(serving.host, serving.port) as listener:
        _serve(settings, serving, listener)


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


def _must_be_current(runtime: Runtime) -> None:
    if not is_current(runtime.database.engine):
        raise NotReady(
            "The database is not at this release's schema. Run `linkage-service db upgrade`, then start again."
        )


def _serve(settings: Settings, serving: Serving, listener: socket.socket) -> None:
    # Here, since a worker alone has no routes, and building them takes a fifth of its start.
    from linkage_service.app import create_app  # noqa: PLC0415

    port = int(listener.getsockname()[1])
    url = f"http://{f'[{serving.host}]' if ':' in serving.host else serving.host}:{port}"
    tracing = tracing_of(settings.traces_endpoint, share=settings.traces_share, process="api")
    runtime = build(settings, issuer=lambda: settings.issuer or url, tracing=tracing)
    try:
        _must_be_current(runtime)
        if serving.embedded_worker:
            # Here, where somebody sees it: the worker's own process would die of it again and again.
            executor_of(settings)
        runtime.remember_policy()
        worker = _EmbeddedWorker(settings) if serving.embedded_worker else None
        app = create_app(runtime)
        if settings.console:
            show_pages(app, runtime)
        server = _Server(
            configuration(app, settings),
            on_ready=lambda: _announce(url, serving.ready_file),
        )
        if serving.exit_with_parent:
            _when_input_ends(server.ask_to_stop)
        # uvicorn raises the signal that ended it again at its end: for nobody, or nothing that follows would be done.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.ask_to_stop())
        with metrics_shown(runtime):
            try:
                if worker:
                    worker.start()
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


def work_until_stopped(runtime: Runtime, *, exit_with_parent: bool, metrics: bool) -> None:
    """Carries out runs until SIGTERM, SIGINT or, if wished, the end of standard input.

    Args:
        runtime: of the service whose runs.
        exit_with_parent: whether the end of standard input ends it.
        metrics: whether to show figures where the settings say so: not beside a process that does.

    Raises:
        NotReady: it is not safe as it is set up, or its database is of another release or half restored.
    """
    settings = runtime.settings
    configure(level=settings.log_level)
    must_be_safe(settings, host=None)
    _must_be_current(runtime)
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    if exit_with_parent:
        _when_input_ends(stop.set)
    runtime.remember_policy()
    tracing = tracing_of(settings.traces_endpoint, share=settings.traces_share, process="worker")
    try:
        with metrics_shown(runtime) if metrics else nullcontext():
            Worker(replace(runtime, tracing=tracing)).run_until(stop)
    finally:
        tracing.close()


class _Server(uvicorn.Server):
    """uvicorn's server, telling when it accepts connections."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then tells."""
        await super().startup(sockets=sockets)
        if self.started:
            self._on_ready()

    def ask_to_stop(self) -> None:
        """Stops after the requests in hand."""
        self.should_exit = True


class _EmbeddedWorker:
    """The worker process beside the server: started again when it dies, ended with the server.

    It reads the pipe that is its standard input; should this process be killed, the pipe closes and the worker ends
    too.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, name="embedded-worker", daemon=True)

    def start(self) -> None:
        """Starts the worker and whoever looks after it."""
        self._process = self._spawn()
        self._keeper.start()

    def stop(self) -> None:
        """Ends the worker; a run in hand is left for the next one."""
        self._stopping.set()
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout=_WORKER_STOPS_IN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._keeper.join(timeout=_WORKER_STOPS_IN_S)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            process = self._process
            code = process.wait() if process else 0
            if self._stopping.is_set():
                return
            _log.warning("worker_died", code=code)
            # A worker that dies at once must not be started in a tight loop.
            if self._stopping.wait(1.0):
                return
            self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "linkage_service", "worker", "--exit-with-parent", "--no-metrics"]
        if self._settings.development:
            command.append("--development")
        return subprocess.Popen([*command, "--data-dir", str(self._settings.data_dir)], stdin=subprocess.PIPE)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise NotReady(
            f"Port {port} of {host} cannot be used: another program has it, or it is not allowed. "
            "Choose another with --port."
        ) from error
    return listener


def _announce(url: str, ready_file: Path | None) -> None:
    print(f"The linkage service is ready at {url}", flush=True)  # noqa: T201 - what the person who started it waits for
    if ready_file is not None:
        temporary = ready_file.with_name(f"{ready_file.name}.new")
        temporary.write_text(json.dumps({"url": url, "pid": os.getpid()}), "utf-8")
        temporary.replace(ready_file)


def _when_input_ends(act: Callable[[], None]) -> None:
    def wait() -> None:
        # Not the buffered reader: a thread that waits in it is fatal to the interpreter when that ends.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        act()

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
