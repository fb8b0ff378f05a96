"""Several processes that serve one address of this machine, and the one that looks after them and serves nothing."""

import signal
import socket
from collections.abc import Callable
from enum import Enum, auto
from queue import SimpleQueue

import structlog

from linkage_service.errors import NotReady
from linkage_service.kept import Kept
from linkage_service.logs import configure
from linkage_service.runtime import build
from linkage_service.safety import is_sqlite, must_be_safe
from linkage_service.server import Serving, address_of, announce, embedded_worker, listen, prepare, when_input_ends
from linkage_service.settings import Settings

_log = structlog.get_logger(__name__)
_PORT_MAX = 65535


class _Happened(Enum):
    READY = auto()
    DEATH = auto()
    STOP = auto()


def serve_in_processes(settings: Settings, serving: Serving, *, processes: int) -> None:
    """Serves with several processes until SIGTERM or SIGINT.

    Each listens at the same address with a socket of its own, and is started again when it dies. This process keeps
    the address for them and serves nothing.

    Args:
        settings: of the service.
        serving: how to serve.
        processes: how many, from 2.

    Raises:
        NotReady: it is not safe as it is set up, the database is SQLite or has a schema that this release cannot serve
            on, an address is taken, or a process ended before all accepted connections.
        EngineNotReady: the executor that its worker is to use is not installed.
    """
    configure(level=settings.log_level)
    settings = _counting(settings, processes)
    if is_sqlite(settings):
        raise NotReady(
            f"With SQLite one process serves, and --processes asks for {processes}. Set LINKAGE_DATABASE_URL to a "
            "PostgreSQL, or leave --processes out."
        )
    must_be_safe(settings, host=serving.host)
    # Signals may come at any time, in the middle of anything: putting into this queue is all that they do.
    happened: SimpleQueue[_Happened] = SimpleQueue()
    with listen(serving.host, serving.port) as kept:
        # Only now, or it would have been let in beside another service that is at this port already.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        url, port = address_of(kept, serving.host), int(kept.getsockname()[1])
        children = [
            _child(settings, happened, host=serving.host, port=port, metrics=metrics_address(settings, number))
            for number in range(processes)
        ]
        _check(settings, serving, url)
        worker = embedded_worker(settings) if serving.embedded_worker else None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: happened.put(_Happened.STOP))
        if serving.exit_with_parent:
            when_input_ends(lambda: happened.put(_Happened.STOP))
        try:
            for each in [worker, *children] if worker else children:
                each.start()
            _wait_until_stopped(happened, processes, on_ready=lambda: announce(url, serving.ready_file))
        finally:
            for child in children:
                child.ask_to_stop()
            for each in [*children, worker] if worker else children:
                each.stop()


def metrics_address(settings: Settings, number: int) -> str | None:
    """Where one of several processes shows its figures: at the port of the settings and the next ones.

    Args:
        settings: of the service.
        number: of the process, from 0.

    Raises:
        NotReady: there is no such port.
    """
    if settings.metrics_listen is None:
        return None
    host, _, first = settings.metrics_listen.rpartition(":")
    # 0 stands for a free one, whichever process it is.
    port = int(first) and int(first) + number
    if port > _PORT_MAX:
        raise NotReady(
            "Each process shows metrics at a port of its own, from that of LINKAGE_METRICS_LISTEN upwards, and there "
            f"is none above {_PORT_MAX}. Choose a lower one."
        )
    return f"{host}:{port}"


def _counting(settings: Settings, processes: int) -> Settings:
    """The settings with the number of all processes of the service, on other machines too."""
    if "api_processes" not in settings.model_fields_set:
        return settings.model_copy(update={"api_processes": processes})
    if settings.api_processes < processes:
        raise NotReady(
            f"LINKAGE_API_PROCESSES is {settings.api_processes}, and --processes asks for {processes} on this machine "
            "alone. Set it to the number on all machines together, or leave it out where this is the only one."
        )
    return settings


def _check(settings: Settings, serving: Serving, url: str) -> None:
    """Looks at what would end each process at its start, here, where it is said once; leaves nothing open."""
    runtime = build(settings, issuer=lambda: settings.issuer or url)
    try:
        prepare(runtime, serving)
    finally:
        runtime.close()


def _child(
    settings: Settings,
    happened: "SimpleQueue[_Happened]",
    *,
    host: str,
    port: int,
    metrics: str | None,
) -> Kept:
    return Kept(
        settings,
        [
            *("serve-beside", "--host", host, "--port", str(port)),
            *("--api-processes", str(settings.api_processes)),
            *(("--metrics-listen", metrics) if metrics else ()),
        ],
        died="api_process_died",
        on_ready=lambda pid: _note_ready(pid, happened),
        on_death=lambda: happened.put(_Happened.DEATH),
    )


def _wait_until_stopped(happened: "SimpleQueue[_Happened]", processes: int, *, on_ready: Callable[[], None]) -> None:
    ready = 0
    while (what := happened.get()) is not _Happened.STOP:
        if what is _Happened.READY:
            ready += 1
            if ready == processes:
                on_ready()
        elif ready < processes:
            raise NotReady(
                "A process of the service ended before it accepted connections, so none serves. What it said stands "
                "above."
            )


def _note_ready(pid: int, happened: "SimpleQueue[_Happened]") -> None:
    _log.info("api_process_ready", pid=pid)
    happened.put(_Happened.READY)
