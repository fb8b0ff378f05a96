"""Processes of this service beside this one: started again when they die or hang, ended with it, however it ends."""

import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import structlog

from linkage_service.settings import Settings

READY = "ready"
"""The line by which a process says to the one that keeps it that it is at work."""
ALIVE = "alive"
"""The line by which it says about every second from then on that it still is."""
SILENT_S = 60.0
"""For how long it may say nothing once it was ready."""

_log = structlog.get_logger(__name__)
_STOPS_IN_S = 20
# A process that dies at once must not be started in a tight loop.
_PAUSE_S = 1.0
_WAITS = 12
_READ_BYTES = 4096


class Kept:
    """A process beside this one: started again when it dies, ended with this one.

    It reads the pipe that is its standard input; should this process be killed, the pipe closes and the other ends
    too.
    """

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str],
        *,
        died: str,
        on_ready: Callable[[int], None],
        on_death: Callable[[], None] = lambda: None,
        silent_s: float = SILENT_S,
    ) -> None:
        """Start nothing yet.

        Args:
            settings: what it must have of them is handed on; the rest it reads as this process did.
            command: of `linkage-service`, which ends when standard input does, and its options.
            died: the event of the log when it has died.
            on_ready: called with its process id when it says `READY` on standard output, each time it was started,
                from a thread of its own.
            on_death: called when it has ended without having been asked to, from the same thread.
            silent_s: for how long it may say nothing once it was ready. Then it is ended by force, and started again.
        """
        own = ["--development"] if settings.development else []
        self._command = [
            # -P: a folder of that name in the working directory is not the service, and not this release of it.
            *(sys.executable, "-P", "-m", "linkage_service", *command, *own),
            *("--data-dir", str(settings.data_dir)),
        ]
        self._died = died
        self._on_ready, self._on_death = on_ready, on_death
        self._silent_s = silent_s
        # Held while it is started, so that none is started that nobody asks to stop.
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None

    def start(self) -> None:
        """Starts it, and whoever looks after it."""
        process = self._spawn()
        self._keeper = threading.Thread(target=self._keep, args=(process,), name="keeper", daemon=True)
        self._keeper.start()

    def ask_to_stop(self) -> None:
        """Asks it to end; it is not started any more."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.terminate()

    def stop(self) -> None:
        """Ends it: by asking, and by force where that does not help."""
        self.ask_to_stop()
        if self._keeper is None:
            return
        self._keeper.join(timeout=_STOPS_IN_S)
        if self._keeper.is_alive() and self._process is not None:
            self._process.kill()
            self._keeper.join()

    def _keep(self, process: "subprocess.Popen[bytes] | None") -> None:
        while process is not None:
            self._listen_to(process)
            code = process.wait()
            if process.stdin is not None:
                process.stdin.close()
            if self._stopping.is_set():
                return
            _log.warning(self._died, code=code)
            self._on_death()
            if self._stopping.wait(_PAUSE_S):
                return
            process = self._spawn()

    def _listen_to(self, process: "subprocess.Popen[bytes]") -> None:
        """Hears what it says, to the end: it would wait for somebody to read it otherwise."""
        if process.stdout is None:
            return
        rest, ready, missed = b"", False, 0
        with process.stdout as pipe, selectors.DefaultSelector() as readable:
            readable.register(pipe, selectors.EVENT_READ)
            while not ready or missed < _WAITS:
                # In short waits, so that silence counts only while this process is awake itself: after it was stopped,
                # or the machine slept, one has passed in vain at most, and what was said meanwhile is there to read.
                if not readable.select(self._silent_s / _WAITS):
                    missed += 1
                    continue
                said = os.read(pipe.fileno(), _READ_BYTES)
                if not said:
                    return
                missed = 0
                *lines, rest = (rest + said).split(b"\n")
                if READY.encode() in lines:
                    ready = True
                    self._on_ready(process.pid)
            _log.warning("process_silent", pid=process.pid, silent_s=self._silent_s)
            process.kill()

    def _spawn(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            return self._process
