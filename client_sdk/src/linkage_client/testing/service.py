"""A real service for a test: a process of its own on a free port, that can be stopped, killed and started again."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from linkage_client.demo.flow import Unit, start_unit
from linkage_client.demo.service import LocalService, check_installed
from linkage_client.errors import LocalServiceError


class RunningService:
    """Made and started on entry, stopped on exit, whatever happened in between.

        with RunningService(folder) as service:
            ...
            service.kill()      # as a power cut would
            service.restart()   # same data, same address

    The process also ends when the one that started it does, however that is.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None, processes: int = 1) -> None:
        """Start nothing yet.

        Args:
            folder: for its data, its log and the keys of the linkage unit; is made, and left when the service ends.
            settings: `LINKAGE_*` variables for the service. Those of the caller's environment are not handed on.
            processes: how many answer requests; more than one needs a PostgreSQL in the settings.
        """
        self.folder = folder
        self.data_dir = folder / "service"
        self.local = LocalService(
            data_dir=self.data_dir, log_path=folder / "service.log", settings=settings, processes=processes
        )
        self._unit: Unit | None = None
        self._names: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Start.

        Raises:
            ConfigurationError: no linkage service is installed beside this client.
            LocalServiceError: it did not start.
        """
        check_installed()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._unit = start_unit(self.local, self.folder / "parties")
        except BaseException:
            self.local.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._unit is not None:
            self._unit.close()
        self.local.stop()

    @property
    def unit(self) -> Unit:
        """The linkage unit's administrator and officer, connected, and the verifier key of its ledger."""
        if self._unit is None:
            raise LocalServiceError("The service has not been started.")
        return self._unit

    @property
    def url(self) -> str:
        """Address of the service, on the loopback interface."""
        return self.local.url

    @property
    def port(self) -> int:
        """Port of that address."""
        return urlsplit(self.url).port or 80

    @property
    def pid(self) -> int:
        """Process id of the running service."""
        return self.local.pid

    def unused_name(self, name: str) -> str:
        """The name, or the name with a number if it was asked for before: a service takes each name once."""
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name} {self._names[name]}"

    def stop(self) -> None:
        """End in order."""
        self.local.stop()

    def kill(self) -> None:
        """End as by `kill -9`, the worker included."""
        self.local.kill()

    def restart(self) -> None:
        """Start on the same data and at the same address; stops first where it is running."""
        port = self.port
        self.local.stop()
        self.local.start(port=port)

    def log_text(self) -> str:
        """All that its processes wrote."""
        return self.local.log_text()

    def verify_ledger(self, *, against: Path) -> dict[str, Any]:
        """What `linkage-service audit verify --json` answers, given a checkpoint that was kept apart."""
        return self.local.verify_ledger(against=against)
