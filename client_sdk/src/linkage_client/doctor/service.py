"""What the service says: whether it is one, what time it is there, who we are to it, and what a project expects."""

import email.utils
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from linkage_client._authentication import Clock
from linkage_client._protocol import Limits
from linkage_client._transport import Transport
from linkage_client.client import LinkageClient
from linkage_client.config import Profile
from linkage_client.doctor.exchange import exchange_findings
from linkage_client.doctor.findings import Finding, Verdict, guarded
from linkage_client.encoding.profiles import own_profile
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.errors import NotFoundError, SchemaError
from linkage_client.keystore import Secrets, client_key_of
from linkage_client.models import Project
from linkage_client.watching import default_folder, read_memory

# An assertion lives for a minute: with a clock that is off by more, none is ever valid.
MOST_SECONDS_OFF: Final = 60.0
MANY_SECONDS_OFF: Final = 20.0
MANIFEST_FILE: Final = "manifest.json"
_LIMITS: Final = Limits(connect_s=10.0, read_s=30.0, attempts=1)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the files here were made with, to be compared with a project."""

    project_id: str
    schema_file: Path | None = None
    encodings: Path | None = None


@dataclass(slots=True)
class Service:
    """The service of a profile, asked step by step."""

    profile: Profile
    clock: Clock
    version: str | None = None
    """What it says it is, as soon as it was asked."""

    def answer_findings(self) -> Iterator[Finding]:
        """Whether a linkage service answers, and what time it has."""
        profile = self.profile
        with Transport(
            profile.service_url,
            limits=_LIMITS,
            clock=self.clock,
            ca_file=profile.ca_file,
            allow_plain_http=profile.allow_plain_http,
        ) as transport:
            asked_at = self.clock.now()
            answer = transport.send("GET", "/version", public=True)
            middle = (asked_at + self.clock.now()) / 2
        told = answer.json()
        name = told.get("name") if isinstance(told, dict) else None
        if name != "linkage-service":
            yield Finding(
                "service",
                Verdict.FAILED,
                "Something else than a linkage service answers.",
                "Check the address of the service (`linkage config show`).",
            )
            return
        self.version = str(told.get("version"))
        yield Finding("service", Verdict.OK, f"A linkage service answers, version {self.version}.")
        yield _clock_finding(answer.headers.get("date"), middle)

    def log_in_findings(self) -> Iterator[Finding]:
        """Whether the service knows this client."""
        with self._client() as client:
            me = client.me()
        roles = ", ".join(me.client.roles)
        yield Finding("log-in", Verdict.OK, f"{me.organisation.name}, client {me.client.name}, roles: {roles}.")
        if me.organisation.id != self.profile.organisation_id:
            yield Finding(
                "log-in",
                Verdict.LOOK,
                "The profile file names another organisation than the service does.",
                f"Set organisation_id to {me.organisation.id} in {self.profile.path}, if that is who you are.",
            )

    def ledger_findings(self) -> Iterator[Finding]:
        """What is remembered of the service's ledger; the log-in has compared it with what the service shows now."""
        with self._client() as client:
            client.me()
            origin = client.log_origin or ""
        seen = read_memory(default_folder()).logs[origin]
        pinned = "" if self.profile.log_key else " Its key was believed when it was first shown."
        yield Finding(
            "ledger",
            Verdict.OK,
            f"The ledger {origin} continues what this client saw: {seen.state.size} events.{pinned}",
            ""
            if self.profile.log_key
            else "To pin the key, put log_key into the profile, as the operator published it.",
        )

    def exchange_findings(self) -> Iterator[Finding]:
        """Whether secrets can be shared from this machine."""
        with self._client() as client:
            yield from exchange_findings(client, self.profile)

    def project_findings(self, expected: Expected) -> Iterator[Finding]:
        """Whether what is here fits the project: agreement, linkage schema, profile, secret, encodings."""
        with self._client() as client:
            try:
                project = client.projects.get(project_id=expected.project_id)
            except NotFoundError:
                yield Finding(
                    "project",
                    Verdict.FAILED,
                    "There is no such project, or it is not yours to see.",
                    "`linkage project list` shows yours. Is --project, or project in linkage.toml, right?",
                )
                return
            agreement = client.agreements.version(agreement_id=project.agreement.id, version=project.agreement.version)
        state = Verdict.OK if agreement.state == "active" and project.state == "open" else Verdict.LOOK
        yield Finding(
            "project",
            state,
            f"{project.name} is {project.state}; agreement {agreement.reference}, version {agreement.version}, "
            f"is {agreement.state}.",
            "" if state is Verdict.OK else "The service will refuse uploads or runs: ask the parties to the agreement.",
        )
        yield from _profile_findings(agreement.document)
        yield from guarded("linkage schema", lambda: _schema_findings(project, expected.schema_file))
        yield from guarded("linkage secret", lambda: _secret_findings(Secrets(self.profile), project))
        if expected.encodings is not None:
            yield from _encodings_findings(project, expected.encodings)

    def _client(self) -> LinkageClient:
        return LinkageClient(
            service_url=self.profile.service_url,
            client_id=self.profile.client_id,
            client_key=client_key_of(self.profile),
            limits=_LIMITS,
            clock=self.clock,
            ca_file=self.profile.ca_file,
            allow_plain_http=self.profile.allow_plain_http,
            log_key=self.profile.log_key,
        )


def _clock_finding(date: str | None, here: float) -> Finding:
    try:
        there = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", Verdict.SKIPPED, "The service does not say what time it is.")
    # The service's time is cut to whole seconds.
    off = here - there - 0.5
    if abs(off) <= MANY_SECONDS_OFF:
        return Finding("clock", Verdict.OK, f"It agrees with the service's, to {max(1, round(abs(off)))} s.")
    detail = f"It is {abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} the service's."
    if abs(off) > MOST_SECONDS_OFF:
        return Finding(
            "clock",
            Verdict.FAILED,
            f"{detail} Each log-in is signed for one minute, so it will be refused.",
            "Set this machine's clock, or have IT switch on time synchronisation.",
        )
    return Finding("clock", Verdict.LOOK, detail, "Have IT switch on time synchronisation, before it grows.")


def _profile_findings(document: dict[str, Any]) -> Iterator[Finding]:
    security = document.get("security")
    name = security.get("encoding_profile") if isinstance(security, dict) else None
    if not isinstance(name, str):
        return
    try:
        known = own_profile(name)
    except SchemaError:
        yield Finding(
            "encoding profile",
            Verdict.FAILED,
            f"The agreement asks for {name}, which this version does not have.",
            "Install the version of linkage-client that the parties agreed on.",
        )
        return
    what = "which this version has" if known else "a name of the parties' own for a plain linkage schema"
    yield Finding("encoding profile", Verdict.OK, f"The agreement asks for {name}, {what}.")


def _schema_findings(project: Project, schema_file: Path | None) -> Iterator[Finding]:
    digest = LinkageSchema.parse(project.linkage_schema).digest
    if digest != project.linkage_schema_sha256:
        yield Finding(
            "linkage schema",
            Verdict.FAILED,
            "The service hands out a linkage schema that is not the one of the agreement.",
            "Encode nothing. Tell the linkage unit and the other parties.",
        )
        return
    if schema_file is None:
        yield Finding("linkage schema", Verdict.OK, f"The project's is usable, digest {digest}.")
    elif LinkageSchema.from_file(schema_file).digest == digest:
        yield Finding("linkage schema", Verdict.OK, f"{schema_file} is the project's, digest {digest}.")
    else:
        yield Finding(
            "linkage schema",
            Verdict.FAILED,
            f"{schema_file} is not the linkage schema of the project (digest {digest}).",
            "Leave --schema out when you encode: the project's is used then.",
        )


def _secret_findings(secrets: Secrets, project: Project) -> Iterator[Finding]:
    where = f"this project, key epoch {project.key_epoch}"
    if secrets.find(project.id, project.key_epoch) is None:
        yield Finding(
            "linkage secret",
            Verdict.LOOK,
            f"None is kept here for {where}.",
            f"`linkage project status {project.id}` says how the providers get one, and what you do next. One that was "
            f"handed over in a file: `linkage secret add FILE --project {project.id}`.",
        )
        return
    secrets.read(project.id, project.key_epoch)
    yield Finding("linkage secret", Verdict.OK, f"One is kept here for {where}.")


def _encodings_findings(project: Project, folder: Path) -> Iterator[Finding]:
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        epoch, digest = manifest["key"]["epoch"], manifest["linkage_schema_sha256"]
        derivation = manifest["key"].get("derivation")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield Finding(
            "encodings",
            Verdict.FAILED,
            f"{folder} holds no manifest that can be read.",
            "Name the folder that `linkage encode` made.",
        )
        return
    wrong = [
        what
        for what, differs in (
            ("the linkage schema", digest != project.linkage_schema_sha256),
            ("the key epoch", epoch != project.key_epoch),
        )
        if differs
    ]
    if wrong:
        yield Finding(
            "encodings", Verdict.FAILED, f"In {folder}, {' and '.join(wrong)} is not the project's.", "Encode again."
        )
    elif derivation is None:
        yield Finding(
            "encodings",
            Verdict.FAILED,
            f"{folder} was encoded without a project, or by an older version: no service takes it.",
            "Encode again with --project.",
        )
    else:
        yield Finding("encodings", Verdict.OK, f"{folder} fits the project: {manifest.get('count', 0):,} records.")
