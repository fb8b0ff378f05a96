"""A real service for a test: a process of its own on a free port, that can be stopped, killed and started again."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from linkage_client.demo.flow import Unit, start_unit
from linkage_client.demo.service import LocalService


class RunningService:
    """Made and started on entry, stopped on exit, whatever happened in between.

        with RunningService(tmp_path) as service:
            ...
            service.kill()      # as a power cut would
            service.restart()   # same data, same address

    `settings` are `LINKAGE_*` variables for the service. `log_text()` is all that its processes wrote.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.data_dir = folder / "service"
        self.local = LocalService(data_dir=self.data_dir, log_path=folder / "service.log", settings=settings)
        self._unit: Unit | None = None

    def __enter__(self) -> Self:
        try:
            self._unit = start_unit(self.local, self.folder / "parties")
        except BaseException:
            self.local.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._unit is not None:
            self._unit.close()
        self.local.stop()

    @property
    def unit(self) -> Unit:
        """The linkage unit's administrator and officer, connected."""
        assert self._unit is not None
        return self._unit

    @property
    def url(self) -> str:
        return self.local.url

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    @property
    def pid(self) -> int:
        return self.local.pid

    def stop(self) -> None:
        """End in order."""
        self.local.stop()

    def kill(self) -> None:
        """kill -9, the worker included."""
        self.local.kill()

    def restart(self) -> None:
        """Start on the same data and at the same address; stops first where it is running."""
        port = self.port
        self.local.stop()
        self.local.start(port=port)

    def log_text(self) -> str:
        return self.local.log_text()

    def verify_ledger(self, *, against: Path) -> dict[str, Any]:
        """What `linkage-service audit verify --json` answers, given a checkpoint that was kept apart."""
        return self.local.verify_ledger(against=against)
