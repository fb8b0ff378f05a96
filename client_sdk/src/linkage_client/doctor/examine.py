"""All checks in order. Each tells what it sees; one that fails takes with it only those that need it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from linkage_client._authentication import Clock
from linkage_client.config import Configuration, Places, Profile, discover, load_profile
from linkage_client.doctor import machine, network
from linkage_client.doctor.findings import Finding, Verdict, guarded
from linkage_client.doctor.service import Expected, Service
from linkage_client.keystore import find_working_keystore


@dataclass(slots=True)
class Examination:
    """One visit to the doctor."""

    places: Places
    config: Path | None = None
    profile_name: str | None = None
    project_id: str | None = None
    schema_file: Path | None = None
    encodings: Path | None = None
    temporary_folder: Path | None = None
    clock: Clock = field(default_factory=Clock)
    _configuration: Configuration | None = None
    _profile: Profile | None = None
    _failed: set[str] = field(default_factory=set)

    def findings(self) -> Iterator[Finding]:
        """What is found, as it is found."""
        yield from self._noting("configuration", self._look_at_configuration)
        profile = self._profile
        if profile is not None:
            yield from self._noting("keys", lambda: machine.key_findings(profile))
        yield from self._noting("keystore", lambda: machine.keystore_findings(find_working_keystore(), profile))
        service_version = None
        if profile is not None:
            service = Service(profile=profile, clock=self.clock)
            yield from self._ask_service(profile, service)
            service_version = service.version
        else:
            yield Finding("service", Verdict.SKIPPED, "Which service is not known without a profile.")
        folders = {"working folder": self.places.working_folder}
        if self.temporary_folder is not None:
            folders["folder for temporary files"] = self.temporary_folder
        yield from self._noting("disk", lambda: machine.disk_findings(folders))
        yield from self._noting("versions", lambda: machine.version_findings(service_version))
        yield from self._noting("crash files", machine.crash_file_findings)

    def _look_at_configuration(self) -> Iterator[Finding]:
        self._configuration = discover(config=self.config, profile=self.profile_name, places=self.places)
        self._profile = load_profile(self._configuration.profile_path)
        yield from machine.configuration_findings(self._configuration, self._profile)

    def _ask_service(self, profile: Profile, service: Service) -> Iterator[Finding]:
        yield from self._noting("service", lambda: network.network_findings(profile, now=self.clock.now()))
        if {"service", "certificate"} & self._failed:
            yield Finding("log-in", Verdict.SKIPPED, "The service cannot be reached.")
            return
        yield from self._noting("service", service.answer_findings)
        if {"service", "keys"} & self._failed:
            yield Finding("log-in", Verdict.SKIPPED, "Without the above, no log-in can succeed.")
            return
        yield from self._noting("log-in", service.log_in_findings)
        if "log-in" not in self._failed:
            yield from self._noting("ledger", service.ledger_findings)
            yield from self._noting("exchange keys", service.exchange_findings)
        project_id = self._project()
        if project_id is None:
            return
        if "log-in" in self._failed:
            yield Finding("project", Verdict.SKIPPED, "Without a log-in, no project can be looked at.")
            return
        expected = Expected(project_id=project_id, schema_file=self.schema_file, encodings=self.encodings)
        yield from self._noting("project", lambda: service.project_findings(expected))

    def _project(self) -> str | None:
        if self.project_id is not None or self._configuration is None:
            return self.project_id
        named = self._configuration.defaults.get("project")
        return None if named is None else str(named.value)

    def _noting(self, check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
        for finding in guarded(check, look):
            if finding.verdict is Verdict.FAILED:
                self._failed.add(finding.check)
            yield finding
