"""Commands about projects."""

from pathlib import Path

import click

from linkage_client.cli import sharing
from linkage_client.cli._session import Session, common_options, read_document, write_document
from linkage_client.errors import UnexpectedAnswerError


@click.group()
def project() -> None:
    """Open and show linkage rounds, and share their secrets."""


for _command in sharing.COMMANDS:
    project.add_command(_command)


@project.command("open")
@click.option("--agreement", "agreement_id", required=True, help="Id of the active agreement.")
@click.option("--name", required=True, help="A name for the round.")
@click.option("--purpose", required=True, help="One of the agreement's purpose codes.")
@click.option(
    "--schema", "schema_file", required=True, type=click.Path(path_type=Path), help="The linkage schema it names."
)
@click.option(
    "--feasibility", is_flag=True, help="Only the suppressed summary: how far registers overlap, before linking them."
)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="ORG",
    help="Id of a provider of the agreement that takes part; may be repeated. Default: all of them.",
)
@common_options
def open_(
    session: Session,
    *,
    agreement_id: str,
    name: str,
    purpose: str,
    schema_file: Path,
    feasibility: bool,
    providers: tuple[str, ...],
) -> None:
    """Open a project under an agreement."""
    linkage_schema = read_document(schema_file)
    with session.client() as client:
        opened = client.projects.create(
            agreement_id=agreement_id,
            name=name,
            purpose=purpose,
            linkage_schema=linkage_schema,
            kind="feasibility" if feasibility else "linkage",
            providers=providers or None,
        )
    session.show(opened)


@project.command("show")
@click.argument("project_id")
@click.option("--schema-out", type=click.Path(path_type=Path), help="Write the linkage schema to this file.")
@click.option("--force", is_flag=True, help="Replace the file.")
@common_options
def show(session: Session, *, project_id: str, schema_out: Path | None, force: bool) -> None:
    """Show a project: parties, purpose, key epoch, digest of the linkage schema."""
    with session.client() as client:
        shown = client.projects.get(project_id=project_id)
    if schema_out is not None:
        if shown.linkage_schema is None:
            raise UnexpectedAnswerError("The service left out the linkage schema of this project.")
        write_document(schema_out, shown.linkage_schema, force=force)
    names = (
        "id",
        "name",
        "kind",
        "state",
        "purpose",
        "providers",
        "recipients",
        "bits",
        "key_epoch",
        "linkage_schema_sha256",
    )
    document = shown.model_dump(mode="json")
    lines = [f"{name}: {_shown(document[name])}" for name in names]
    session.show(shown, [*lines, f"agreement: {shown.agreement.reference} version {shown.agreement.version}"])


@project.command("list")
@common_options
def list_(session: Session) -> None:
    """List the projects that you may see."""
    with session.client() as client:
        session.show_list(client.projects.list(), columns=("id", "name", "kind", "state", "purpose"))


@project.command("disclosures")
@click.argument("project_id")
@common_options
def disclosures(session: Session, *, project_id: str) -> None:
    """List who retrieved which link tables of a project. Who read summaries and reports is in `linkage audit list`."""
    with session.client() as client:
        found = client.projects.disclosures(project_id=project_id)
        session.show_list(found, columns=("id", "kind", "release", "recipient", "provider", "rows", "at"))


@project.command("close")
@click.argument("project_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def close(session: Session, *, project_id: str, yes: bool) -> None:
    """Close a project: unfinished runs end, all providers' encodings are deleted now, results stay until their date."""
    if not yes:
        click.confirm("Every provider's encodings of this project are deleted at once. Close it?", abort=True, err=True)
    with session.client() as client:
        closed = client.retention.close_project(project_id=project_id)
    session.show({"id": closed.id, "name": closed.name, "state": closed.state})


def _shown(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
