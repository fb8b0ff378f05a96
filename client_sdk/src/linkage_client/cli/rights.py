"""Commands about rights of data subjects: withdraw rows, trace a row, holds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from linkage_client.cli._session import Session, common_options, printable
from linkage_client.errors import DataError, FileFormatError, LinkageClientError, UnexpectedAnswerError

if TYPE_CHECKING:
    from linkage_client.client import LinkageClient
    from linkage_client.models import Upload, Withdrawal

REASONS = ("objection", "opt_out", "erasure", "error")
GROUNDS = ("accuracy", "unlawful", "legal_claims", "objection")
_UPLOAD, _RUN = "upl_", "run_"
_DONE = "withdrawn_already"
_rows_file = click.option(
    "--rows-file",
    type=click.Path(path_type=Path),
    help="rows.parquet of these encodings: which row a record id is. Stays on this machine.",
)


@click.command()
@click.argument("upload", metavar="UPLOAD_OR_PROJECT")
@click.option("--rows", type=click.Path(path_type=Path, allow_dash=True), help="File with one row number a line.")
@click.option(
    "--record-ids",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File with one record id a line; with --rows-file. Record ids are not sent.",
)
@_rows_file
@click.option("--reason", type=click.Choice(REASONS), required=True, help="Why.")
@common_options
def withdraw(
    session: Session, *, upload: str, rows: Path | None, record_ids: Path | None, rows_file: Path | None, reason: str
) -> None:
    """Take rows of your upload out of all that is made from it, for good (provider).

    Name the upload, or a project for your complete upload in it. Encodings are erased, results are made again without
    the rows, and recipients see which link ids to delete. Row numbers are sent, never record ids.
    """
    from linkage_client.resources.rights import ROWS_A_REQUEST  # noqa: PLC0415 - keeps `--help` quick

    if (rows is None) == (record_ids is None) or (record_ids is None) != (rows_file is None):
        raise click.UsageError("Name row numbers with --rows, or record ids with --record-ids and --rows-file.")
    with session.client() as client:
        found = _own_upload(client, upload)
        numbers = _numbers(rows, record_ids, rows_file, upload=found)
        made: list[Withdrawal] = []
        for start in range(0, len(numbers), ROWS_A_REQUEST):
            some = numbers[start : start + ROWS_A_REQUEST]
            try:
                made.append(client.rights.withdraw(upload_id=found.id, rows=some, reason=reason))
            except LinkageClientError as error:
                if len(numbers) > ROWS_A_REQUEST and error.code == _DONE:
                    session.say(f"{len(some):,} of these rows were withdrawn before.")
                    continue
                if len(numbers) > ROWS_A_REQUEST:
                    session.say(
                        f"{sum(withdrawal.rows for withdrawal in made):,} rows were withdrawn before this failed. "
                        "Give the same command again for the others."
                    )
                raise
    taken = sum(withdrawal.rows for withdrawal in made)
    session.say(
        f"{taken:,} rows are withdrawn from {found.id}. `linkage upload` of the next round must leave them out."
    )
    session.show({"upload": found.id, "rows": taken, "withdrawals": [item.id for item in made]})


@click.command()
@click.argument("upload", metavar="UPLOAD_OR_PROJECT")
@click.option("--row", type=click.IntRange(min=0), help="The row number.")
@click.option(
    "--record-id-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File with the one record id; with --rows-file. It is not sent.",
)
@_rows_file
@common_options
def trace(
    session: Session, *, upload: str, row: int | None, record_id_file: Path | None, rows_file: Path | None
) -> None:
    """Say which recipients received anything made from a row of your upload (provider), for an access request.

    Recorded, without the row. Which other provider the row matched is not told.
    """
    if (row is None) == (record_id_file is None) or (record_id_file is None) != (rows_file is None):
        raise click.UsageError("Name the row with --row, or a record id with --record-id-file and --rows-file.")
    with session.client() as client:
        found = _own_upload(client, upload)
        numbers = [row] if row is not None else _numbers(None, record_id_file, rows_file, upload=found)
        if len(numbers) != 1:
            raise DataError("Name one record id: an access request is about one person.")
        traced = client.rights.trace(upload_id=found.id, row=numbers[0])
    lines = [f"withdrawn: {'yes' if traced.withdrawn else 'no'}"]
    lines += [
        f"{item.release}: {item.recipient} for {item.purpose} ({item.mode}{'' if item.certain else ', not certain'}), "
        f"retrieved {', '.join(at.isoformat() for at in item.retrieved)}"
        for item in traced.releases
    ]
    session.show(traced, lines if traced.releases else [*lines, "nothing made from this row was retrieved"])


def _own_upload(client: "LinkageClient", named: str) -> "Upload":
    if named.startswith(_UPLOAD):
        return client.uploads.get(upload_id=named)
    own = client.me().organisation.id
    for item in client.uploads.list(project_id=named):
        if item.organisation == own and item.state == "complete":
            return client.uploads.get(upload_id=item.id)
    raise UnexpectedAnswerError("Your organisation has no complete upload in this project. Name the upload by its id.")


def _numbers(rows: Path | None, record_ids: Path | None, rows_file: Path | None, *, upload: "Upload") -> list[int]:
    if rows is not None:
        lines = _lines(rows)
        if not all(line.isascii() and line.isdigit() for line in lines):
            raise FileFormatError("The file of row numbers has a line that is no number. Write one number a line.")
        return sorted({int(line) for line in lines})
    from linkage_client.joining import row_numbers  # noqa: PLC0415 - pyarrow is slow to import

    if record_ids is None or rows_file is None:
        raise click.UsageError("Record ids need the rows file of the upload: --rows-file rows.parquet.")
    return row_numbers(_lines(record_ids), rows=rows_file, encodings_sha256=upload.manifest.sha256)


def _lines(path: Path) -> list[str]:
    try:
        with click.open_file(str(path), encoding="utf-8-sig") as file:
            found = [line.strip() for line in file.read().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise DataError(f"{path} cannot be read as lines of UTF-8 text.") from None
    if not found:
        raise DataError(f"{path} has no line. Write one a line.")
    return found


@click.group()
def hold() -> None:
    """Restrict the processing of runs and releases (officer)."""


@hold.command("put")
@click.argument("run_or_release")
@click.option("--ground", type=click.Choice(GROUNDS), required=True, help="Article 18(1) (a) to (d), in this order.")
@click.option("--reason", required=True, help="For the ledger: a case number, no name.")
@common_options
def put(session: Session, *, run_or_release: str, ground: str, reason: str) -> None:
    """Let nothing of a run or a release leave until the hold is lifted.

    What is held as unlawful or for legal claims is not deleted at its date: in these cases the person asked that it be
    kept. `linkage hold list` says what is overdue because of it.
    """
    with session.client() as client:
        if run_or_release.startswith(_RUN):
            session.show(client.rights.restrict_run(run_id=run_or_release, ground=ground, reason=reason))
        else:
            session.show(client.rights.restrict_release(release_id=run_or_release, ground=ground, reason=reason))


@hold.command("lift")
@click.argument("run_or_release")
@click.option("--reason", required=True, help="For the ledger: a case number, no name.")
@common_options
def lift(session: Session, *, run_or_release: str, reason: str) -> None:
    """Lift the hold on a run or a release."""
    with session.client() as client:
        if run_or_release.startswith(_RUN):
            client.rights.lift_run(run_id=run_or_release, reason=reason)
        else:
            client.rights.lift_release(release_id=run_or_release, reason=reason)
    session.show({"lifted": run_or_release})


@hold.command("list")
@click.argument("project_id")
@common_options
def list_(session: Session, *, project_id: str) -> None:
    """List the holds in force in a project; overdue ones keep something past its date."""
    with session.client() as client:
        found = client.rights.holds(project_id=project_id)
        session.show_list(found, columns=("object", "ground", "placed_at", "delete_by", "overdue"))


@click.command()
@click.argument("release_id")
@click.option("--out", type=click.Path(path_type=Path), help="Write the link ids to this CSV file.")
@click.option("--force", is_flag=True, help="Replace the file.")
@common_options
def withdrawals(session: Session, *, release_id: str, out: Path | None, force: bool) -> None:
    """List the link ids of a release under which you have to delete something (recipient). Recorded.

    Delete what came from the named provider; what others sent under the same id stays.
    """
    from linkage_client.files import atomic_output  # noqa: PLC0415 - keeps `--help` quick

    with session.client() as client:
        found = client.rights.withdrawn_links(release_id=release_id)
    if out is not None:
        with atomic_output(out, overwrite=force) as partial:
            lines = [f"{item.link_id},{item.provider},{item.withdrawn_at.isoformat()}" for item in found.items]
            partial.write_text("\n".join(["link_id,provider,withdrawn_at", *lines]) + "\n", encoding="utf-8")
        session.say(f"{len(found.items):,} link ids in {out}.")
    if session.as_json:
        click.echo(json.dumps(found.model_dump(mode="json"), indent=2))
        return
    for item in found.items if out is None else []:
        click.echo(printable(f"{item.link_id}\t{item.provider}\t{item.withdrawn_at.isoformat()}"))
