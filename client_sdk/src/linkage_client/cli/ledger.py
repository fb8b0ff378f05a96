"""Commands about the ledger: its events, receipts and signed state."""

from itertools import islice
from typing import TYPE_CHECKING

import click

from linkage_client.cli._session import Session, as_document, common_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linkage_client.client import LinkageClient
    from linkage_client.models import LedgerEvent


@click.command()
@click.option("--project", "project_id", help="Only events of this project and what belongs to it.")
@click.option("--after", type=int, help="Only events with a greater number.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many.")
@common_options
def events(session: Session, *, project_id: str | None, after: int | None, limit: int | None) -> None:
    """List events of the ledger, as far as you may see them."""
    with session.client() as client:
        found = client.audit.events(after=after)
        if project_id is not None:
            found = _of_project(client, found, project_id)
        session.show_list(islice(found, limit), columns=("seq", "time", "type", "actor", "resource", "outcome"))


@click.command()
@click.option("--receipt", "seq", type=int, metavar="SEQ", help="Instead: the receipt of this event.")
@common_options
def checkpoint(session: Session, *, seq: int | None) -> None:
    """Show the ledger's signed state (a C2SP signed note); keep it to prove later what the log was."""
    with session.client() as client:
        text = client.audit.checkpoint() if seq is None else client.audit.receipt(seq=seq)
        key = client.audit.verifier_key()
    session.show({"note": text, "verifier_key": key}, text.splitlines())


def _of_project(client: "LinkageClient", found: "Iterator[LedgerEvent]", project_id: str) -> "Iterator[LedgerEvent]":
    """Events that name the project or one of its runs, uploads and releases; what is deleted has left the lists."""
    ids = {project_id}
    ids |= {upload.id for upload in client.uploads.list(project_id=project_id)}
    ids |= {run.id for run in client.runs.list(project_id=project_id)}
    ids |= {release.id for release in client.releases.list(project_id=project_id)}
    for event in found:
        document = as_document(event)
        resource = document.get("resource")
        resource_id = resource.get("id") if isinstance(resource, dict) else resource
        if document.get("project") in ids or resource_id in ids:
            yield event
