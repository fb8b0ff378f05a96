"""A process that is kept is replaced when it hangs, and only then; the process here is a small one that can be told."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from structlog.testing import capture_logs

from linkage_service.kept import ALIVE, Kept
from linkage_service.settings import Settings
from support.topology import wait_for

SILENT_S = 2.4
LONGER = int(2 * SILENT_S / 0.02)  # bytes, of a process that speaks
PATIENCE_S = 60
# Says that it is ready, then that it lives; each time it adds a byte to the file that it is given.
SPEAKS = """
import sys, time
print("ready", flush=True)
while True:
    print("alive", flush=True)
    with open(sys.argv[1], "ab") as heard:
        heard.write(b".")
    time.sleep(0.02)
"""
# Takes longer than it might once it was ready: until the file that it is given is there.
STARTS_SLOWLY = """
import os, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
print("ready", flush=True)
while True:
    print("alive", flush=True)
    time.sleep(0.02)
"""
# Of the service, to a keeper that reads nothing.
SPEAKS_TO_NOBODY = """
from linkage_service.kept import ALIVE
from linkage_service.server import _tell_keeper
for _ in range(20_000):
    _tell_keeper(ALIVE)
"""
# The keeper as a process of its own, so that it can be stopped.
KEEPER = """
import sys
from pathlib import Path
from linkage_service.kept import Kept
from linkage_service.settings import Settings
kept = Kept(
    Settings(data_dir=Path(sys.argv[1])), [], died="died", on_ready=lambda pid: print(pid, flush=True),
    silent_s=float(sys.argv[2])
)
kept._command = [sys.executable, "-c", *sys.argv[3:]]
kept.start()
sys.stdin.read()
kept.stop()
"""


@contextmanager
def _kept(
    folder: Path, *command: str, on_death: Callable[[], None] = lambda: None
) -> Iterator["tuple[Kept, SimpleQueue[int]]"]:
    """A process that is kept, and the ids that said that they were ready."""
    ready: SimpleQueue[int] = SimpleQueue()
    kept = Kept(Settings(data_dir=folder), [], died="died", on_ready=ready.put, on_death=on_death, silent_s=SILENT_S)
    kept._command = [sys.executable, "-c", *command]
    kept.start()
    try:
        yield kept, ready
    finally:
        kept.stop()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _wait_for_more(file: Path, *, bytes_: int) -> None:
    wanted = _size(file) + bytes_
    wait_for(lambda: _size(file) >= wanted, what="the process had gone on")


def test_process_that_hangs_is_ended_by_force_and_replaced(tmp_path: Path) -> None:
    deaths: SimpleQueue[str] = SimpleQueue()
    with (
        capture_logs() as logged,
        _kept(tmp_path, SPEAKS, str(tmp_path / "heard"), on_death=lambda: deaths.put("")) as (
            _,
            ready,
        ),
    ):
        first = ready.get(timeout=PATIENCE_S)
        os.kill(first, signal.SIGSTOP)
        second = ready.get(timeout=PATIENCE_S)
    assert second != first
    assert not deaths.empty()
    assert not Path(f"/proc/{first}").exists()
    said = [(line["event"], line.get("pid"), line.get("code")) for line in logged]
    assert said[:2] == [("process_silent", first, None), ("died", None, -signal.SIGKILL)]


def test_process_that_speaks_is_left_alone_however_long(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    with _kept(tmp_path, SPEAKS, str(heard)) as (_, ready):
        pid = ready.get(timeout=PATIENCE_S)
        # Twice as long as it may be silent.
        _wait_for_more(heard, bytes_=LONGER)
        assert ready.empty()
        assert Path(f"/proc/{pid}").exists()


def test_process_that_takes_long_to_start_is_waited_for(tmp_path: Path) -> None:
    heard, may_begin = tmp_path / "heard", tmp_path / "begin"
    # Beside it one that says how much time has gone by.
    with _kept(tmp_path, STARTS_SLOWLY, str(may_begin)) as (_, ready), _kept(tmp_path, SPEAKS, str(heard)):
        _wait_for_more(heard, bytes_=LONGER)
        assert ready.empty()
        may_begin.touch()
        assert ready.get(timeout=PATIENCE_S)
        assert ready.empty()


def test_keeper_that_was_stopped_ends_no_healthy_process(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    command = [sys.executable, "-c", KEEPER, str(tmp_path), str(SILENT_S), SPEAKS, str(heard)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline()
        keeper.send_signal(signal.SIGSTOP)
        _wait_for_more(heard, bytes_=LONGER)
        keeper.send_signal(signal.SIGCONT)
        _wait_for_more(heard, bytes_=LONGER)
        # The end of its input ends it.
        rest, said = keeper.communicate(timeout=PATIENCE_S)
    assert (rest, keeper.returncode) == (b"", 0)
    assert b"process_silent" not in said


def test_process_whose_keeper_reads_nothing_goes_on() -> None:
    with subprocess.Popen([sys.executable, "-c", SPEAKS_TO_NOBODY], stdout=subprocess.PIPE) as speaking:
        assert speaking.wait(PATIENCE_S) == 0
        assert speaking.stdout is not None
        assert set(speaking.stdout.read().splitlines()) == {ALIVE.encode()}
