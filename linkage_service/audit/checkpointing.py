"""Signs a checkpoint from time to time when the log grew, on demand and at the end, and has witnesses cosign it."""

import threading
import time
from typing import Final

import structlog

from linkage_service.audit.collecting import Collector
from linkage_service.audit.log import KeyRetired, Log
from linkage_service.database import Database

_log = structlog.get_logger(__name__)
# The process ends: what witnesses say later is collected after the next start.
_LAST_WORDS_S: Final = 5.0


class Checkpointer:
    """A thread that signs and collects. What it waits for, nobody else waits for."""

    def __init__(self, *, database: Database, log: Log, collector: Collector, every_s: float) -> None:
        self._database = database
        self._ledger = log
        self._collector = collector
        self._every_s = every_s
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins; after `stop`, once more."""
        self._stopping.clear()
        self._wake.clear()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends with a last checkpoint, and asks the witnesses once more."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self.sign()
        self._collect(until=time.monotonic() + _LAST_WORDS_S)

    def sign(self) -> None:
        """Signs now, if the log grew; why it could not goes into the service's own log."""
        try:
            self._ledger.checkpoint(self._database)
        except KeyRetired as error:
            _log.error("checkpoint_not_signed", code=error.code)
        except Exception as error:  # noqa: BLE001 - the next one tries again; the events themselves are safe
            _log.error("checkpoint_failed", error_type=type(error).__name__)

    def collect_soon(self) -> None:
        """Has the witnesses asked about a checkpoint that was just signed on demand, without waiting for them."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            due = time.monotonic() + self._every_s
            self._collect(until=due, stop=self._stopping)
            if self._wake.wait(max(0.0, due - time.monotonic())):
                self._wake.clear()
            elif not self._stopping.is_set():
                self.sign()

    def _collect(self, *, until: float, stop: threading.Event | None = None) -> None:
        try:
            self._collector.collect(until=until, stop=stop)
        except Exception as error:  # noqa: BLE001 - the next round asks again
            _log.error("witnesses_not_asked", error_type=type(error).__name__)
