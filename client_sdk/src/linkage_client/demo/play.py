"""The demo from the first registration to the check of the ledger: in order, told as it happens, and timed."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from linkage_client.demo import flow
from linkage_client.demo.inputs import RECIPIENT, Inputs, Source, naming, slug
from linkage_client.demo.quality import (
    UNKNOWN,
    Quality,
    count_groups,
    encoded_records,
    measure,
    read_link_ids,
    spread,
)
from linkage_client.demo.service import LocalService
from linkage_client.reporting.words import Names, Said, expected_in_words, findings_in_words

if TYPE_CHECKING:
    from linkage_client.errors import PolicyRefusalError
    from linkage_client.models import Project, Release, Run, RunReport, Summary

MERGED_FILE: Final = "merged.csv"
STAGES: Final = ("encode", "upload", "match", "release")


class Teller(Protocol):
    """Says what happens while it happens."""

    def step(self, what: str, text: str) -> None:
        """One thing that was done: `what` is one word."""

    def progress(self, description: str) -> Any:
        """A context manager that gives a function of (done, total)."""


@dataclass(slots=True)
class Stopwatch:
    """Seconds by stage; stages may be entered several times."""

    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens in the block towards a stage."""
        started = self.clock()
        try:
            yield
        finally:
            self.seconds[name] += self.clock() - started


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    project_id: str
    parties: tuple[str, ...]
    rows: dict[str, int]
    quality: Quality
    groups: int
    report: "RunReport"
    """What the service says of the run without knowing the truth."""
    seconds: dict[str, float]
    ledger_size: int
    ledger_verified: bool
    ledger_findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A project that waits for the encodings of its first provider."""

    project_id: str
    code: str
    """The safety code, as the other providers read it out."""
    yours: Path
    """Folder of the first provider."""
    recipient: Path
    """Folder of the recipient."""


@dataclass(frozen=True, slots=True)
class Play:
    """One performance: inputs, the service that is running, and the folders of the parties."""

    inputs: Inputs
    service: LocalService
    unit: flow.Unit
    folder: Path
    teller: Teller
    encoding: str | None = None
    """Of the extracts; found out if None."""
    watch: Stopwatch = field(default_factory=Stopwatch)

    def run(self) -> Outcome:
        """Play all of it."""
        with ExitStack() as stack:
            providers, recipient = self._register(stack)
            project = self._agree(providers, recipient)
            self._share(providers, project)
            self._encode(list(zip(providers, self.inputs.sources, strict=True)), project)
            run = self._match(providers, project)
            report = self._read(providers, recipient, run)
            deliveries = self._release(providers, recipient, run)
            links = read_link_ids(deliveries)
            quality = self._quality(providers, links)
            groups = count_groups(links)
            size, verified, findings = self._verify(recipient)
        return Outcome(
            project_id=project.id,
            parties=tuple(party.name for party in (*providers, recipient)),
            rows={source.name: source.rows for source in self.inputs.sources},
            quality=quality,
            groups=groups,
            report=report,
            seconds=self.watch.seconds,
            ledger_size=size,
            ledger_verified=verified,
            ledger_findings=findings,
        )

    def prepare(self) -> Prepared:
        """Play all up to the uploads, and those of every provider but the first, whose part is left to practise.

        The secret is sealed for the first one, who has keys and has neither compared the code nor accepted it.
        """
        with ExitStack() as stack:
            providers, recipient = self._register(stack)
            project = self._agree(providers, recipient)
            code = self._share(providers, project, left_to_others=1)
            self._encode(list(zip(providers, self.inputs.sources, strict=True))[1:], project)
        return Prepared(project_id=project.id, code=code, yours=providers[0].folder, recipient=recipient.folder)

    def _register(self, stack: ExitStack) -> tuple[list[flow.Member], flow.Member]:
        names = [(source.name, flow.PROVIDER) for source in self.inputs.sources] + [(RECIPIENT, flow.RECIPIENT)]
        members = []
        for number, (name, role) in enumerate(names, start=1):
            member = flow.register(
                self.unit,
                name=name,
                role=role,
                folder=self.folder / f"{number}-{slug(name)}",
                service_url=self.service.url,
            )
            stack.callback(member.close)
            members.append(member)
            self.teller.step("Register", f"{name} as {role}")
        return members[:-1], members[-1]

    def _agree(self, providers: list[flow.Member], recipient: flow.Member) -> "Project":
        parties = [*providers, recipient]
        agreement = flow.agree(
            parties,
            schema=self.inputs.schema,
            completeness=self.inputs.completeness,
            encoding_profile=self.inputs.encoding_profile,
        )
        signed = sum(party.signed for party in agreement.parties)
        self.teller.step(
            "Agree", f"{agreement.reference} signed by {signed} of {len(parties)} parties: {agreement.state}"
        )
        project = flow.open_project(
            recipient, agreement=agreement, schema=self.inputs.schema, name="Joined-up services"
        )
        self.teller.step("Project", f"{project.name}, under {agreement.reference} version {project.agreement.version}")
        return project

    def _share(self, providers: list[flow.Member], project: "Project", *, left_to_others: int = 0) -> str:
        """All make keys; then all but the first so many compare the code, and share and accept the secret."""
        for provider in providers:
            flow.make_exchange_keys(provider)
            self.teller.step("Keys", f"{provider.name} publishes a key card; the private keys stay with it")
        here = providers[left_to_others:]
        code = flow.compare_code(here, project_id=project.id)
        self.teller.step("Code", f"{code}: every provider sees these digits, and reads them out on a call")
        flow.hand_over(here, project_id=project.id)
        first, *others = here
        sealed_for = " and ".join(one.name for one in providers if one is not first)
        self.teller.step("Secret", f"drawn by {first.name}, and sealed for {sealed_for}")
        for provider in others:
            self.teller.step("Secret", f"{provider.name} opens its envelope, which the linkage unit cannot")
        return code

    def _encode(self, providers: list[tuple[flow.Member, Source]], project: "Project") -> None:
        for provider, source in providers:
            with self.watch.stage("encode"), naming(source.path):
                manifest = flow.encode(
                    provider,
                    project_id=project.id,
                    extract=source.path,
                    encoding=self.encoding,
                    renamed=source.renamed,
                    methods=self.inputs.methods,
                )
            self.teller.step(
                "Encode", f"{provider.name}: {manifest['count']:,} records, {manifest['bits']:,} bits each"
            )
            with self.watch.stage("upload"):
                sent = flow.upload(provider, project_id=project.id, manifest=manifest)
            self.teller.step(
                "Upload", f"{provider.name}: {_size(sent.size_bytes)} of encodings; no names, no record ids"
            )

    def _match(self, providers: list[flow.Member], project: "Project") -> "Run":
        with self.watch.stage("match"), self.teller.progress("Matching") as advance:

            def show(run: "Run") -> None:
                if run.progress is not None:
                    advance(run.progress.done, run.progress.total)

            run = flow.match(providers[0], project_id=project.id, progress=show)
        compared = run.metrics.pairs_compared if run.metrics else None
        work = "every pair of records" if compared is None else f"{compared:,} pairs of records"
        self.teller.step("Match", f"{providers[0].name} started a run, which compared {work}")
        return run

    def _read(self, providers: list[flow.Member], recipient: flow.Member, run: "Run") -> "RunReport":
        self.teller.step("Summary", _overlap(recipient.name, recipient.client.runs.summary(run_id=run.id)))
        report = recipient.client.runs.report(run_id=run.id)
        self.teller.step("Report", f"{recipient.name} reads what the service estimates: {expected_in_words(report)}")
        names = Names({party.organisation_id: party.name for party in (*providers, recipient)})
        for said in findings_in_words(report.findings):
            self.teller.step("Finding", _found(said, names))
        refusal = flow.ask_for_more(recipient, run_id=run.id)
        if refusal is not None:
            self.teller.step("Refuse", _refused(recipient.name, refusal))
        return report

    def _release(self, providers: list[flow.Member], recipient: flow.Member, run: "Run") -> list[Path]:
        deliveries = []
        with self.watch.stage("release"):
            released = flow.release(recipient, run_id=run.id)
            self.teller.step("Release", _released(recipient.name, released))
            for provider, source in zip(providers, self.inputs.sources, strict=True):
                rows = flow.retrieve(provider, release_id=released.id)
                self.teller.step("Retrieve", f"{provider.name}: the link ids of its own {rows:,} records")
                joined = flow.join(
                    provider,
                    extract=source.path,
                    schema=self.inputs.schema,
                    encoding=self.encoding,
                    renamed=source.renamed,
                )
                deliveries.append(flow.deliver(provider, recipient))
                self.teller.step(
                    "Join", f"{provider.name}: link ids in, identifiers and record ids out; {_left(joined)}"
                )
            names = [provider.folder.name.partition("-")[2] for provider in providers]
            flow.merge(dict(zip(names, deliveries, strict=True)), out=recipient.folder / MERGED_FILE)
        self.teller.step("Merge", f"{recipient.name} put {len(deliveries)} deliveries together by link id")
        return deliveries

    def _quality(self, providers: list[flow.Member], links: list[Any]) -> Quality:
        sources = self.inputs.sources
        known = [source.entities for source in sources if source.entities is not None]
        if len(known) < len(sources):
            return UNKNOWN
        encoded = [
            encoded_records(source.path, encoded=provider.folder / flow.ENCODED_FOLDER, encoding=self.encoding)
            for provider, source in zip(providers, sources, strict=True)
        ]
        return measure(spread(links, encoded), known)

    def _verify(self, recipient: flow.Member) -> tuple[int, bool, tuple[str, ...]]:
        checkpoint, kept = flow.keep_checkpoint(self.unit, recipient)
        report = self.service.verify_ledger(against=kept)
        size, verified = int(report["size"]), report["verified"] is True and int(report["size"]) >= checkpoint.size
        findings = tuple(str(finding.get("what", "")) for finding in report.get("findings", []))
        verdict = "whole, and as signed" if verified else "NOT WHOLE"
        self.teller.step("Verify", f"the ledger: {size} entries, {verdict}")
        return size, verified, findings


def _left(joined: flow.Joined) -> str:
    held_back = (
        f"held back, as it looks like an identifier: {', '.join(joined.held_back)}; " if joined.held_back else ""
    )
    return held_back + (f"left besides: {', '.join(joined.columns)}" if joined.columns else "nothing else is left")


def _overlap(name: str, summary: "Summary") -> str:
    shared = sum(pattern.groups or 0 for pattern in summary.patterns if len(pattern.organisations) > 1)
    least = summary.suppressed_below
    return f"{name} reads that providers share about {shared:,} entities; rounded, and never said below {least}"


def _found(said: Said, names: Names) -> str:
    about = said.about_in_words(names)
    return f"{said.title}{f' ({about})' if about else ''}. {said.message}"


def _refused(name: str, refusal: "PolicyRefusalError") -> str:
    elements = "; ".join(f"element {element.element}" for element in refusal.elements)
    return f"{name} asked which records are matched: refused, {elements or refusal.message}"


def _released(name: str, released: "Release") -> str:
    until = f", to be deleted by {released.delete_by.day} {released.delete_by:%B %Y}" if released.delete_by else ""
    return f"to {name}, {released.mode}, for {released.purpose}{until}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"  # noqa: PLR2004 - units
