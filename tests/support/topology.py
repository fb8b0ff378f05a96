"""The topology of deploy/ as processes of this machine: nginx with TLS, several API processes, and workers, on one
PostgreSQL and one bucket.
"""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from linkage_client.demo import flow
from linkage_client.demo.service import LocalService
from linkage_client.errors import LinkageClientError
from linkage_client.testing.service import RunningService
from support.certificates import served
from support.databases import empty_database
from support.deploying import DEPLOY, require_program
from support.postgresql import Server

_PATIENCE_S = 120.0


@dataclass(slots=True)
class Process:
    """One process of the service, with a log of its own."""

    name: str
    running: "subprocess.Popen[bytes]"
    log: Path
    port: int = 0

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it wrote about an event."""
        lines = self.log.read_text("utf-8", errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line.get("event") == event]

    def end(self) -> int:
        """Ask it to stop, as an orchestrator does; returns its exit code."""
        self.running.terminate()
        return self.running.wait(_PATIENCE_S)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.running.send_signal(signal.SIGKILL)
        self.running.wait(_PATIENCE_S)


class Topology(LocalService):
    """Several API processes behind nginx, and workers beside them, where a `LocalService` has one process.

    Started by `RunningService` in its place. `url` is that of the proxy. The settings name database and bucket.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str], apis: int, workers: int) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._proxy_port = _free_port()
        self._certificate = served(folder / "tls")
        self.ca_file = self._certificate.ca_file
        issuer = f"https://127.0.0.1:{self._proxy_port}"
        super().__init__(
            data_dir=folder / "service",
            log_path=folder / "service.log",
            settings={
                "LINKAGE_KEYS_DIR": str(folder / "keys"),
                "LINKAGE_ISSUER": issuer,
                "LINKAGE_TRUSTED_PROXIES": '["127.0.0.1"]',
                **settings,
            },
        )
        self._url = issuer
        self._wanted = {"api": apis, "worker": workers}
        self.apis: list[Process] = []
        self.workers: list[Process] = []
        self._proxy: subprocess.Popen[bytes] | None = None

    def start(self, *, port: int = 0, outlives_caller: bool = False) -> None:
        """Start everything, and return when the proxy and each API process accept connections."""
        assert not port
        assert not outlives_caller
        try:
            self.apis = [self._spawn_api(f"api-{number}", port=0) for number in range(self._wanted["api"])]
            self.workers = [self._spawn(f"worker-{number}", "worker") for number in range(self._wanted["worker"])]
            for api in self.apis:
                self._wait_for_api(api)
            self._proxy = self._start_proxy()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything in order."""
        for process in [*self.apis, *self.workers]:
            if process.running.poll() is None:
                process.end()
        self.apis, self.workers = [], []
        if self._proxy is not None:
            self._proxy.terminate()
            self._proxy.wait(_PATIENCE_S)
            self._proxy = None

    def restart_api(self, place: int, *, package: Path | None = None) -> int:
        """Replace one API process as a rolling upgrade does; returns the exit code of the old one.

        A package is the folder of another release than the installed one.
        """
        code = self.apis[place].end()
        self.begin_api(place, package=package)
        self._wait_for_api(self.apis[place])
        return code

    def begin_api(self, place: int, *, package: Path | None = None) -> Process:
        """Start an API process in the place of one that has ended, and do not wait for it."""
        old = self.apis[place]
        self.apis[place] = self._spawn_api(old.name, port=old.port, package=package)
        return self.apis[place]

    def add_api(self, *, package: Path | None = None) -> Process:
        """Start one more API process beside the others, and have the proxy know it."""
        assert self._proxy is not None
        self.apis.append(self._spawn_api(f"api-{len(self.apis)}", port=0, package=package))
        self._wait_for_api(self.apis[-1])
        self._configure_proxy()
        self._proxy.send_signal(signal.SIGHUP)
        return self.apis[-1]

    def start_worker(self, *, package: Path | None = None) -> None:
        """Start one more worker."""
        self.workers.append(self._spawn(f"worker-{len(self.workers)}", "worker", package=package))

    def command(self, *arguments: str, package: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command of the service, of the installed release or another."""
        environment = self._environment_of(package)
        return subprocess.run(self._line(arguments), env=environment, capture_output=True, text=True, check=False)

    def _spawn_api(self, name: str, *, port: int, package: Path | None = None) -> Process:
        ready = self._ready_file(name)
        ready.unlink(missing_ok=True)
        options = ("--no-workers", "--host", "127.0.0.1", "--port", str(port), "--ready-file", str(ready))
        return self._spawn(name, "serve", *options, package=package)

    def _wait_for_api(self, api: Process) -> None:
        ready = self._ready_file(api.name)
        wait_for(ready.exists, what=f"{api.name} was ready", process=api)
        api.port = urlsplit(json.loads(ready.read_text("utf-8"))["url"]).port or 0

    def _ready_file(self, name: str) -> Path:
        return self._folder / f"{name}.ready.json"

    def _spawn(self, name: str, *arguments: str, package: Path | None = None) -> Process:
        log = self._folder / f"{name}.log"
        environment = self._environment_of(package)
        with log.open("ab") as output:
            running = subprocess.Popen(
                self._line(arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )
        return Process(name=name, running=running, log=log)

    def _line(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-P", "-m", "linkage_service", *arguments, "--data-dir", str(self.data_dir)]

    def _environment_of(self, package: Path | None) -> dict[str, str]:
        return self._environment() | ({} if package is None else {"PYTHONPATH": str(package)})

    def _start_proxy(self) -> "subprocess.Popen[bytes]":
        program = require_program("nginx", package="nginx-light")
        configuration = self._configure_proxy()
        with (self._folder / "proxy" / "error.log").open("wb") as log:
            proxy = subprocess.Popen([program, "-c", configuration, "-g", "daemon off;"], stdout=log, stderr=log)
        wait_for(lambda: _accepts(self._proxy_port), what="the proxy was ready")
        return proxy

    def _configure_proxy(self) -> Path:
        text = (DEPLOY / "proxy" / "nginx.conf").read_text("utf-8")
        upstream = "\n".join(f"server 127.0.0.1:{api.port} max_fails=1 fail_timeout=1s;" for api in self.apis)
        (self._folder / "proxy").mkdir(exist_ok=True)
        for said, here in (
            # First: the folder of the test may lie there too.
            ("/tmp/", f"{self._folder}/proxy/"),  # noqa: S108 - the container's own
            ("server api:8080 max_fails=1 fail_timeout=1s;", upstream),
            ("listen 8443 ", f"listen 127.0.0.1:{self._proxy_port} "),
            ("/etc/nginx/tls/server.pem", f"{self._folder}/tls/server.pem"),
            ("/etc/nginx/tls/server-key.pem", f"{self._folder}/tls/server.pem"),
            ("/etc/nginx/options", f"{self._folder}/proxy/options"),
            ("access_log /dev/stdout", f"access_log {self._folder}/proxy/access.log"),
        ):
            assert said in text, said
            text = text.replace(said, here)
        configuration = self._folder / "proxy" / "nginx.conf"
        configuration.write_text(text, "utf-8")
        return configuration


class RunningTopology(RunningService):
    """A `RunningService` whose service is a topology."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str], apis: int = 2, workers: int = 2) -> None:
        super().__init__(folder, settings=settings)
        self.topology = Topology(folder, settings=settings, apis=apis, workers=workers)
        self.local = self.topology


@contextmanager
def running_topology(
    folder: Path,
    server: Server,
    environment: pytest.MonkeyPatch,
    *,
    workers: int,
    apis: int = 2,
    settings: Mapping[str, str] | None = None,
) -> Iterator[tuple[RunningTopology, str]]:
    """API processes and workers on a database of their own, whose address comes with them."""
    with empty_database(server) as url:
        given = {
            "LINKAGE_DATABASE_URL": url,
            "LINKAGE_API_PROCESSES": "2",
            # A test asks more often than a party does.
            **{f"LINKAGE_RATE_{kind}": "0" for kind in ("PER_CALLER", "PER_ADDRESS", "PUBLIC")},
            **(settings or {}),
        }
        topology = RunningTopology(folder, settings=given, apis=apis, workers=workers)
        # The clients here trust the proxy's authority as if the operating system did.
        environment.setenv("SSL_CERT_FILE", str(topology.topology.ca_file))
        with topology:
            yield topology, url


def assert_ledger_is_whole(service: RunningTopology) -> None:
    """Fail unless the ledger verifies against a checkpoint that the officer fetches."""
    _, kept = flow.keep_checkpoint(service.unit, service.unit.officer)
    report = service.verify_ledger(against=kept)
    assert report["verified"], report["findings"]


class Load:
    """Clients that ask for changes until they are stopped, and remember what was answered."""

    def __init__(self, service: RunningTopology, *, pause_s: float) -> None:
        self._pause_s = pause_s
        self._client = service.unit.administrator.client
        self._lock = threading.Lock()
        self._progress = threading.Condition(self._lock)
        self.stopped = threading.Event()
        self.acknowledged: list[str] = []
        self.failed: list[str] = []

    def run(self, name: str) -> None:
        number = 0
        while not self.stopped.wait(self._pause_s):
            number += 1
            try:
                made = self._client.organisations.create(name=f"{name} {number}")
            except LinkageClientError as error:
                self.failed.append(error.code)
                continue
            with self._lock:
                self.acknowledged.append(made.id)
                self._progress.notify_all()

    def wait_for_more(self, count: int) -> None:
        """Return once so many more changes were answered."""
        with self._lock:
            wanted = len(self.acknowledged) + count
            assert self._progress.wait_for(lambda: len(self.acknowledged) >= wanted, timeout=60), self.failed


@contextmanager
def under_load(service: RunningTopology, *, clients: int, pause_s: float = 0) -> Iterator[Load]:
    """So many clients ask for changes during the block, through the proxy, with a pause after each answer."""
    load = Load(service, pause_s=pause_s)
    threads = [threading.Thread(target=load.run, args=(f"Organisation {number}",)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stopped.set()
        for thread in threads:
            thread.join(60)


def wait_for(condition: Callable[[], object], *, what: str, process: Process | None = None) -> None:
    """Return once the condition holds; fail when it does not within two minutes, or the process has ended."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if process is not None:
            assert process.running.poll() is None, process.log.read_text("utf-8")
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
