"""Commands about the ledger: its events, receipts and signed state."""

import json
from itertools import islice
from typing import Any

import click

from linkage_client.cli._session import Session, as_document, cell, common_options, printable

COLUMNS = ("time", "type", "actor", "resource", "outcome")


@click.command()
@click.option("--project", "project_id", help="Only events of this project.")
@click.option("--after", type=int, help="Only events with a greater number.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many.")
@common_options
def events(session: Session, *, project_id: str | None, after: int | None, limit: int | None) -> None:
    """List events of the ledger, as far as you may see them. Reading the ledger is itself an event."""
    with session.client() as client:
        found = islice(client.audit.events(after=after, project_id=project_id), limit)
        if session.as_json:
            click.echo(json.dumps({"items": [as_document(event) for event in found]}, indent=2))
            return
        session.say("\t".join(("seq", *COLUMNS)))
        for event in found:
            values = (_brief(event.header.get(name)) for name in COLUMNS)
            click.echo("\t".join((str(event.seq), *map(printable, values))))


def _brief(value: Any) -> str:
    """A part of a header on one line: an actor or resource by its id."""
    return str(value["id"]) if isinstance(value, dict) and value.get("id") else cell(value)


@click.command()
@click.option("--receipt", "seq", type=int, metavar="SEQ", help="Instead: the receipt of this event.")
@common_options
def checkpoint(session: Session, *, seq: int | None) -> None:
    """Show the ledger's signed state (a C2SP signed note); keep it to prove later what the log was."""
    with session.client() as client:
        text = client.audit.checkpoint() if seq is None else client.audit.receipt(seq=seq)
        key = client.audit.verifier_key()
    session.show({"note": text, "verifier_key": key.key}, text.splitlines())
