"""A real Dask cluster: scheduler and workers as processes of their own on the loopback interface."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

_PATIENCE_S = 60.0


def wait_until(condition: Callable[[], bool], *, what: str) -> None:
    """Return once the condition holds; fail when it does not within a minute."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


class DaskCluster:
    """Starts the commands that an operator starts; ends them all on exit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0
        self.port = 0
        self.scheduler = self._start_scheduler()
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start_workers(self, count: int, *, threads: int = 1) -> None:
        """Start workers without waiting for them: units wait by themselves."""
        for _ in range(count):
            self.workers.append(
                self._start(
                    "worker",
                    self.address,
                    "--host=127.0.0.1",
                    "--no-nanny",
                    "--dashboard-address=127.0.0.1:0",
                    f"--nthreads={threads}",
                    "--memory-limit=0",
                    f"--local-directory={self._folder}",
                )
            )

    def wait_for_workers(self, count: int) -> None:
        """Return once the scheduler has seen so many workers."""
        wait_until(lambda: self.logs().count("Register worker addr") >= count, what="the workers came")

    def kill_worker(self) -> None:
        """End the worker that was started last, without a word of farewell."""
        _kill(self.workers.pop())

    def kill_scheduler(self) -> None:
        """End the scheduler likewise; its workers give up by themselves."""
        _kill(self.scheduler)
        for worker in self.workers:
            worker.wait(_PATIENCE_S)
        self.workers.clear()

    def restart_scheduler(self) -> None:
        """Start another scheduler at the same address, which knows nothing of the one before."""
        self.scheduler = self._start_scheduler()

    def logs(self) -> str:
        """Everything that any of the processes wrote."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("*.log")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.workers, self.scheduler]:
            _kill(process)

    def _start_scheduler(self) -> subprocess.Popen[bytes]:
        described = self._folder / f"scheduler-{self._started}.json"
        process = self._start(
            "scheduler",
            "--host=127.0.0.1",
            f"--port={self.port}",
            "--dashboard-address=127.0.0.1:0",
            f"--scheduler-file={described}",
        )
        wait_until(lambda: _is_whole(described), what="the scheduler wrote its file")
        self.port = int(json.loads(described.read_text())["address"].rsplit(":", 1)[1])
        return process

    def _start(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        self._started += 1
        log = self._folder / f"{self._started}-{command}.log"
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", command, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=os.environ | {"DASK_TEMPORARY_DIRECTORY": str(self._folder)},
            )


def _is_whole(path: Path) -> bool:
    try:
        return "address" in json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(_PATIENCE_S)
