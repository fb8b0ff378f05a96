"""The real service as a process on this machine, for the demo and for tests: make, start, stop, check its ledger.

The client never imports the service: it knows it as a command and by its address, as it knows any other.
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from linkage_client.errors import ConfigurationError, LocalServiceError

MODULE: Final = "linkage_service"
_SETTINGS: Final = "LINKAGE_"
_START_S: Final = 60.0
_STOP_S: Final = 15.0
_LOOK_AGAIN_S: Final = 0.05
_LOG_LINES_SHOWN: Final = 12


def is_installed() -> bool:
    """Whether there is a service to start in this Python environment."""
    return importlib.util.find_spec(MODULE) is not None


def check_installed() -> None:
    """Find out early whether there is a service to start.

    Raises:
        ConfigurationError: there is none in this Python environment.
    """
    if not is_installed():
        raise ConfigurationError(
            "This starts a linkage service of its own, and none is installed beside this client. Install it into "
            "the same environment with `pip install linkage-service`, or use a service that is running somewhere with "
            "`linkage register`.",
        )


class LocalService:
    """One data directory and the process that serves it. `log_path` collects what the process says."""

    def __init__(
        self, *, data_dir: Path, log_path: Path, settings: Mapping[str, str] | None = None, processes: int = 1
    ) -> None:
        """Start nothing yet.

        Args:
            data_dir: database, blobs and keys of the service; made by `initialise`.
            log_path: file for what the service writes; appended to.
            settings: `LINKAGE_*` variables for it. The caller's are not handed on: they may be a real service's.
            processes: how many answer requests; more than one needs a PostgreSQL in the settings.
        """
        self.data_dir = data_dir
        self.log_path = log_path
        self._settings = dict(settings or {})
        self._processes = processes
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """Address of the service that is running, or ran last."""
        if self._url is None:
            raise LocalServiceError("The service has not been started.")
        return self._url

    @property
    def pid(self) -> int:
        """Process id of the running service."""
        if self._process is None:
            raise LocalServiceError("The service is not running.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def initialise(
        self, *, organisation: str, administrator_jwk: Path, officer_jwk: Path | None = None
    ) -> dict[str, Any]:
        """Make the data directory with the linkage unit and its first clients; returns what the command answered."""
        officer = ("--officer-jwk", str(officer_jwk)) if officer_jwk else ()
        return self._command(
            "init",
            *("--data-dir", str(self.data_dir)),
            *("--organisation", organisation),
            *("--administrator-jwk", str(administrator_jwk)),
            *officer,
            "--json",
        )

    def start(self, *, port: int = 0, outlives_caller: bool = False) -> None:
        """Start serving on the loopback address and return when connections are accepted.

        Unless `outlives_caller`, the service ends with this process, however that ends: it watches a pipe.
        """
        ready = self.data_dir.parent / f"{self.data_dir.name}.ready.json"
        ready.unlink(missing_ok=True)
        arguments = [
            "serve",
            *("--data-dir", str(self.data_dir)),
            *("--host", "127.0.0.1"),
            *("--port", str(port)),
            *("--ready-file", str(ready)),
            *(("--processes", str(self._processes)) if self._processes > 1 else ()),
        ]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                _command_line([*arguments, *([] if outlives_caller else ["--exit-with-parent"])]),
                stdin=subprocess.DEVNULL if outlives_caller else subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment(),
                # Ctrl-C is for the caller, who then stops the service in order.
                start_new_session=True,
            )
        try:
            self._url = self._await(ready)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the process to end, wait for it, and end it by force if it does not."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End the process as a power cut would, and its worker with it."""
        process, self._process = self._process, None
        if process is None:
            return
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def leave(self) -> None:
        """Let the process go on when this object is forgotten. It has to have been started to outlive the caller."""
        process, self._process = self._process, None
        if process is not None:
            # Popen warns of a child that was not waited for; this one is meant to stay.
            process.returncode = 0

    def verify_ledger(self, *, against: Path) -> dict[str, Any]:
        """What `linkage-service audit verify` finds (`size`, `verified`, `findings`), given a checkpoint kept apart."""
        place = ("--data-dir", str(self.data_dir), "--against", str(against))
        return self._command("audit", "verify", *place, "--json", accepted=(0, 1))

    def log_text(self) -> str:
        """What the service has written so far."""
        try:
            return self.log_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _command(self, *arguments: str, accepted: Sequence[int] = (0,)) -> dict[str, Any]:
        done = subprocess.run(
            _command_line(arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env=self._environment(),
        )
        with self.log_path.open("ab") as log:
            log.write(done.stderr)
        words = " ".join(argument for argument in arguments[:2] if not argument.startswith("-"))
        if done.returncode not in accepted:
            raise LocalServiceError(
                f"`linkage-service {words}` ended with exit code {done.returncode}.{_last_lines(done.stderr.decode())}"
            )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise LocalServiceError(
                f"`linkage-service {words}` did not answer with a JSON document. "
                "Check that client and service are of matching versions."
            )
        return answer

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
        return {**inherited, **self._settings}

    def _await(self, ready: Path) -> str:
        process = self._process
        deadline = time.monotonic() + _START_S
        while process is not None and process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                return str(json.loads(ready.read_bytes())["url"])
            time.sleep(_LOOK_AGAIN_S)
        what = "ended" if process is not None and process.poll() is not None else "was not ready in time"
        raise LocalServiceError(f"The service {what} before it accepted connections.{_last_lines(self.log_text())}")


def _command_line(arguments: Sequence[str]) -> list[str]:
    # -P: a folder of that name in the working directory is not the service.
    return [sys.executable, "-P", "-m", MODULE, *arguments]


def _last_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()][-_LOG_LINES_SHOWN:]
    return " It said last:\n" + "\n".join(f"  {line}" for line in lines) if lines else " It said nothing."
