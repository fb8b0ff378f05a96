"""Commands about certificates of disposal."""

from pathlib import Path
from typing import Any

import click

from linkage_client.cli._session import Session, common_options
from linkage_client.errors import DataError


@click.group()
def certificate() -> None:
    """Certificates of what the linkage unit deleted."""


@certificate.command("list")
@click.argument("project_id")
@common_options
def list_(session: Session, *, project_id: str) -> None:
    """List the certificates of a project."""
    with session.client() as client:
        session.show_list(client.retention.certificates(project_id=project_id), columns=("id", "items", "created_at"))


@certificate.command("show")
@click.argument("certificate_id")
@click.option("--out", type=click.Path(path_type=Path), help="Write the signed note to this file, to keep.")
@click.option("--force", is_flag=True, help="Replace the file.")
@common_options
def show(session: Session, *, certificate_id: str, out: Path | None, force: bool) -> None:
    """Show a certificate: what was deleted, when it was due, when and how it was deleted. Recorded."""
    from linkage_client.files import atomic_output  # noqa: PLC0415 - keeps `--help` quick

    with session.client() as client:
        found = client.retention.certificate(certificate_id=certificate_id)
    if out is not None:
        with atomic_output(out, overwrite=force) as partial:
            partial.write_text(found.note, encoding="utf-8")
        session.say(f"The signed certificate is in {out}. `linkage certificate verify` checks it.")
    session.show(found, _lines(found.document))


@certificate.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--verifier-key", required=True, help="The log's public key, as the linkage unit has published it.")
@common_options
def verify(session: Session, *, file: Path, verifier_key: str) -> None:
    """Check the signature of a certificate that was kept. Asks nobody."""
    from linkage_client.resources.retention import verified_certificate  # noqa: PLC0415 - as above

    try:
        # As bytes: a note's signature is over its line ends too.
        note = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        raise DataError(f"{file} cannot be read. Name the file that `linkage certificate show --out` wrote.") from None
    document = verified_certificate(note, verifier_key=verifier_key)
    session.say("The signature holds.")
    session.show(document, _lines(document))


def _lines(document: dict[str, Any]) -> list[str]:
    agreement = document.get("agreement") or {}
    lines = [
        f"certificate {document.get('id')} of {document.get('service')}, issued {document.get('issued_at')}",
        f"agreement: {agreement.get('reference')} version {agreement.get('version')}, digest {agreement.get('digest')}",
        f"project: {document.get('project')}",
    ]
    for item in document.get("items") or []:
        how = ", ".join(str(step).replace("_", " ") for step in item.get("how") or [])
        lines.append(
            f"{item.get('kind')} {item.get('id')}: due {item.get('due_at')}, deleted {item.get('deleted_at')} "
            f"by {item.get('deleted_by')} ({how}), ledger event {item.get('ledger_seq')}"
        )
    return lines
