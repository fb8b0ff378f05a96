"""Organisations at a real service, up to a signed agreement and an open project, by the steps that the demo plays."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from linkage_client.demo import flow
from linkage_client.demo.inputs import RECIPIENT, Inputs, invent, slug
from linkage_client.models import Agreement, Project, Release, Run, Upload
from linkage_client.testing.service import RunningService


@dataclass(frozen=True, slots=True)
class Round:
    """A project that is ready for encodings, with invented people at each provider and a secret that they share."""

    service: RunningService
    inputs: Inputs
    """The extracts, the linkage schema, and which records are about the same person."""
    providers: list[flow.Member]
    recipient: flow.Member
    agreement: Agreement
    project: Project

    def extract(self, place: int) -> Path:
        """The extract of a provider, CSV with a column `record_id`; providers count from 0."""
        return self.inputs.sources[place].path

    def secret_file(self, place: int) -> Path:
        """The provider's copy of the linkage secret."""
        return flow.secret_file(self.providers[place], project_id=self.project.id)

    def upload(self, place: int) -> Upload:
        """Encode and upload one provider's extract."""
        provider = self.providers[place]
        manifest = flow.encode(provider, project_id=self.project.id, extract=self.extract(place))
        return flow.upload(provider, project_id=self.project.id, manifest=manifest)

    def upload_all(self) -> list[Upload]:
        """Encode and upload for every provider."""
        return [self.upload(place) for place in range(len(self.providers))]

    def match(self) -> Run:
        """Start a run on what was uploaded, and wait for it."""
        return flow.match(self.recipient, project_id=self.project.id)

    def release(self, run: Run) -> Release:
        """Release a run's link tables to the recipient, every record with a link id, matched or not."""
        return flow.release(self.recipient, run_id=run.id)


def register(service: RunningService, name: str, *, role: str = flow.PROVIDER) -> flow.Member:
    """Register an organisation and connect as its first client; its keys and profile lie below the service's folder.

    A name that was taken before gets a number. `role` is "provider" or "recipient".
    """
    unused = service.unused_name(name)
    folder = service.folder / "parties" / slug(unused)
    return flow.register(service.unit, name=unused, role=role, folder=folder, service_url=service.url)


@contextmanager
def registered(service: RunningService, *names: str, recipient: str = RECIPIENT) -> Iterator[list[flow.Member]]:
    """These providers and then the recipient, registered and connected."""
    with ExitStack() as stack:
        members = []
        for name, role in [*((name, flow.PROVIDER) for name in names), (recipient, flow.RECIPIENT)]:
            members.append(register(service, name, role=role))
            stack.callback(members[-1].close)
        yield members


@contextmanager
def open_round(
    service: RunningService,
    *,
    providers: int = 2,
    rows: int = 200,
    overlap: float = 0.5,
    seed: int = 1,
    feasibility: bool = False,
) -> Iterator[Round]:
    """Invented people at each provider, an agreement that all parties signed, a project, and a shared secret.

    Args:
        service: where.
        providers: how many, 2 to 10; one recipient comes with them.
        rows: records of each.
        overlap: share of each provider's people that the others hold too, 0 to 1.
        seed: the same seed invents the same people.
        feasibility: whether agreement and project allow the suppressed summary and nothing else.
    """
    data = service.folder / slug(service.unused_name("data"))
    inputs = invent(providers=providers, rows=rows, overlap=overlap, seed=seed, directory=data)
    with registered(service, *(source.name for source in inputs.sources)) as members:
        *held, recipient = members
        agreement = flow.agree(
            members,
            schema=inputs.schema,
            completeness=inputs.completeness,
            encoding_profile=inputs.encoding_profile,
            reference=slug(service.unused_name("isp")),
            feasibility=feasibility,
        )
        project = flow.open_project(
            recipient, agreement=agreement, schema=inputs.schema, name="Round", feasibility=feasibility
        )
        flow.share_secret(held, project_id=project.id)
        yield Round(
            service=service,
            inputs=inputs,
            providers=held,
            recipient=recipient,
            agreement=agreement,
            project=project,
        )
