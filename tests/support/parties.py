"""Organisations at a real service, up to a signed agreement and an open project, by the steps that the demo plays."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from linkage_client.demo import flow
from linkage_client.demo.inputs import RECIPIENT, Inputs, invent, slug
from linkage_client.models import Agreement, Project
from support.service import RunningService


@dataclass(frozen=True)
class Round:
    """A project that is ready for encodings; `inputs.sources` are the providers' extracts, in order."""

    inputs: Inputs
    providers: list[flow.Member]
    recipient: flow.Member
    agreement: Agreement
    project: Project

    def extract(self, place: int) -> Path:
        return self.inputs.sources[place].path

    def upload(self, place: int) -> None:
        """Encode and upload one provider's extract."""
        provider = self.providers[place]
        manifest = flow.encode(provider, project_id=self.project.id, extract=self.extract(place))
        flow.upload(provider, project_id=self.project.id, manifest=manifest)

    def upload_all(self) -> None:
        for place in range(len(self.providers)):
            self.upload(place)


@contextmanager
def registered(service: RunningService, *names: str, recipient: str = RECIPIENT) -> Iterator[list[flow.Member]]:
    """These providers and then the recipient, registered and connected."""
    with ExitStack() as stack:
        members = []
        for name, role in [*((name, flow.PROVIDER) for name in names), (recipient, flow.RECIPIENT)]:
            folder = service.folder / "parties" / slug(name)
            member = flow.register(service.unit, name=name, role=role, folder=folder, service_url=service.url)
            stack.callback(member.close)
            members.append(member)
        yield members


@contextmanager
def open_round(
    service: RunningService, *, providers: int = 2, rows: int = 200, overlap: float = 0.5, seed: int = 1
) -> Iterator[Round]:
    """Invented people at each provider, an agreement that all parties signed, a project, and a shared secret."""
    inputs = invent(providers=providers, rows=rows, overlap=overlap, seed=seed, directory=service.folder / "data")
    with registered(service, *(source.name for source in inputs.sources)) as members:
        *held, recipient = members
        agreement = flow.agree(members, schema=inputs.schema, completeness=inputs.completeness)
        project = flow.open_project(recipient, agreement=agreement, schema=inputs.schema, name="Round")
        flow.share_secret(held)
        yield Round(inputs=inputs, providers=held, recipient=recipient, agreement=agreement, project=project)
