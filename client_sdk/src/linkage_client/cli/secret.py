"""Commands about the linkage secret: draw one, and compare it with the partners' without showing it."""

import secrets
from pathlib import Path

import click

from linkage_client.cli._session import Session, common_options, read_secret_file
from linkage_client.keys import write_private_file

SECRET_BYTES = 32


@click.group()
def secret() -> None:
    """Draw a linkage secret, or compare it with the partners'."""


@secret.command("new")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def new(session: Session, *, file: Path) -> None:
    """Draw a secret into a new FILE that only this account can read: 64 hexadecimal digits.

    One provider does this and hands the file to the others over a channel that the linkage unit cannot see.
    """
    # As text, so that copying it through a terminal or a form does not change a byte.
    write_private_file(file, (secrets.token_hex(SECRET_BYTES) + "\n").encode())
    session.show({"file": str(file)})


@secret.command("check")
@click.argument("file")
@click.option("--project", "project_id", required=True, help="Id of the project.")
@click.option("--epoch", type=int, help="Key epoch; default: the project's present one, asked of the service.")
@common_options
def check(session: Session, *, file: str, project_id: str, epoch: int | None) -> None:
    """Show the check value of the secret in FILE (- for standard input) for a project.

    Providers with the same secret see the same 32 digits; the digits say nothing else about it.
    """
    from linkage_client.encoding.key_check import check_value  # noqa: PLC0415 - keeps `--help` quick

    value = read_secret_file(file)
    if epoch is None:
        with session.client() as client:
            epoch = client.projects.get(project_id=project_id).key_epoch
    checked = check_value(value, project_id=project_id, epoch=epoch)
    session.show({"project": project_id, "epoch": epoch, "check_value": checked})
