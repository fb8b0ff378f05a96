"""`serve --processes`: several processes answer at one address, are replaced when they die, and end together."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner

from linkage_service.cli import main
from linkage_service.errors import NotReady
from linkage_service.server import listen
from support.databases import migrated_database
from support.postgresql import Server
from support.topology import Process, wait_for

COMMAND = [sys.executable, "-P", "-m", "linkage_service"]
PROCESSES = 2
_IN_PROGRESS = "linkage_http_requests_in_progress 1.0"
_ANSWERED = 'linkage_http_request_duration_seconds_count{method="GET",route="/version",status_class="2xx"}'


@dataclass(slots=True)
class Serving:
    """A service of several processes, by the one that looks after them."""

    process: Process
    url: str

    def ready(self) -> list[int]:
        """Process ids of those that came to serve, in this order."""
        return [line["pid"] for line in self.process.lines("api_process_ready")]

    def figures(self) -> list[str]:
        """What each process that shows figures shows."""
        shown = []
        for line in self.process.lines("metrics_shown"):
            # One that was killed shows nothing any more.
            try:
                shown.append(httpx.get(f"http://127.0.0.1:{line['port']}/metrics").text)
            except httpx.TransportError:
                continue
        return shown

    def status(self) -> int:
        """Of an answer on a connection of its own."""
        return httpx.get(f"{self.url}/version").status_code

    def all_answer(self) -> bool:
        """Whether each of the processes that live has answered, of which there are as many as should be; asks once."""
        assert self.status() == 200
        shown = self.figures()
        return len(shown) == PROCESSES and all(_ANSWERED in text for text in shown)

    def all_ended(self) -> bool:
        """Whether no process is left, children of children included: each holds the lock that the first was given."""
        with self.process.log.open("rb") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, postgresql: Server) -> Iterator[Serving]:
    """A service for tests that leave it serving; in each the youngest processes are those that live."""
    with _serving(tmp_path_factory.mktemp("shared"), postgresql, "--no-workers") as started:
        yield started


@pytest.fixture
def serving(tmp_path: Path, postgresql: Server) -> Iterator[Serving]:
    """A service with its worker, for a test that ends it."""
    with _serving(tmp_path, postgresql) as started:
        yield started


@contextmanager
def _serving(folder: Path, server: Server, *options: str) -> Iterator[Serving]:
    with migrated_database(server) as url, _started(folder, url, options) as process:
        ready = folder / "ready.json"
        wait_for(ready.exists, what="the service was ready", process=process)
        said = json.loads(ready.read_text("utf-8"))
        assert said["pid"] == process.running.pid
        yield Serving(process, said["url"])


def _initialised(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a service that was set up in a folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LINKAGE_")} | {
        "LINKAGE_DATA_DIR": str(folder / "service"),
        **settings,
    }
    made = CliRunner().invoke(
        main, ["init", "--organisation", "Unit", "--administrator-email", "sam@unit.example"], env=environment
    )
    assert made.exit_code == 0, made.output
    return environment


@contextmanager
def _started(folder: Path, database_url: str, wanted: Sequence[str]) -> Iterator[Process]:
    environment = _initialised(folder, LINKAGE_DATABASE_URL=database_url, LINKAGE_METRICS_LISTEN="127.0.0.1:0")
    options = ["--port", "0", "--processes", str(PROCESSES), "--ready-file", str(folder / "ready.json")]
    with (folder / "service.log").open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        running = subprocess.Popen(
            [*COMMAND, "serve", *options, *wanted], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
    process = Process(name="serve", running=running, log=folder / "service.log")
    try:
        yield process
    finally:
        if running.poll() is None:
            process.end()


def _half_a_request(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)
    connection.sendall(
        b"POST /v1/registrations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b'Content-Length: 30\r\n\r\n{"invitation": '
    )
    return connection


def test_processes_all_answer_at_one_address_and_are_told_no_secret(shared: Serving) -> None:
    wait_for(shared.all_answer, what="each process had answered")
    pids = shared.ready()[-PROCESSES:]
    assert len(set(pids)) == PROCESSES
    assert shared.process.running.pid not in pids
    assert f"The linkage service is ready at {shared.url}" in shared.process.log.read_text("utf-8")
    for pid in pids:
        words = Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")
        # Not a folder of the working directory that has the name of the service.
        assert words[1] == "-P"
        assert words[words.index("--api-processes") + 1] == str(PROCESSES)
        assert not [word for word in words if "postgresql" in word]


def test_address_of_several_processes_lets_no_other_service_in(shared: Serving) -> None:
    with pytest.raises(NotReady, match="another program has it"):
        listen("127.0.0.1", urlsplit(shared.url).port or 0)


def test_process_that_is_killed_is_replaced_while_the_others_answer(shared: Serving) -> None:
    before, deaths = shared.ready(), len(shared.process.lines("api_process_died"))
    os.kill(before[-PROCESSES], signal.SIGKILL)
    wait_for(lambda: len(shared.process.lines("api_process_died")) > deaths, what="its death was seen")

    def replaced() -> bool:
        assert shared.status() == 200
        return len(shared.ready()) > len(before)

    wait_for(replaced, what="another took its place")
    assert shared.ready()[-1] not in before
    wait_for(shared.all_answer, what="each process had answered")
    # Said once: whoever waits for it has been told.
    assert shared.process.log.read_text("utf-8").count("The linkage service is ready") == 1


def test_stop_lets_the_request_in_hand_finish_and_ends_every_process(serving: Serving) -> None:
    with closing(_half_a_request(serving.url)) as connection:
        wait_for(lambda: any(_IN_PROGRESS in text for text in serving.figures()), what="the request was being answered")
        serving.process.running.terminate()
        wait_for(lambda: _refused(serving.url), what="nobody was let in any more")
        connection.sendall(b'"not there"}   ')
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"application/problem+json" in answer
    assert serving.process.running.wait(60) == 0
    assert serving.all_ended()
    assert not serving.process.lines("api_process_died")
    assert "Fatal Python error" not in serving.process.log.read_text("utf-8")


def test_processes_whose_keeper_is_killed_end_by_themselves(serving: Serving) -> None:
    assert not serving.all_ended()
    serving.process.kill()
    wait_for(serving.all_ended, what="every process had ended")


def test_process_says_again_and_again_that_it_lives_once_it_is_ready(tmp_path: Path) -> None:
    environment = _initialised(tmp_path)
    options = ["--host", "127.0.0.1", "--port", "0", "--api-processes", "1"]
    with subprocess.Popen(
        [*COMMAND, "serve-beside", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == [b"ready\n", b"alive\n", b"alive\n"]
        # The end of its input ends it.
        process.communicate(timeout=60)
    assert process.returncode == 0


def _refused(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False
