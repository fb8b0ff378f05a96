"""The command that prepares an extract for a recipient."""

from pathlib import Path
from typing import Any

import click

from linkage_client.cli._extract_options import csv_options
from linkage_client.cli._session import (
    Session,
    common_options,
    parse_delimiter,
    parse_mapping,
    progress_bar,
    read_document,
)
from linkage_client.cli._showing_values import show_values_option, showing_values


@click.command()
@click.argument("extract", type=click.Path(path_type=Path))
@click.option("--links", required=True, type=click.Path(path_type=Path), help="What `linkage results` wrote.")
@click.option("--rows", type=click.Path(path_type=Path), help="rows.parquet; needed if the links have row numbers.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File for the recipient.")
@click.option("--schema", "schema_file", type=click.Path(path_type=Path), help="Linkage schema: names identifiers.")
@click.option("--project", "project_id", help="Instead of --schema: take it from this project.")
@click.option("--id-column", default="record_id", show_default=True, help="Column with your record ids.")
@click.option(
    "--map", "mapping", multiple=True, metavar="THEIRS=OURS", help="A column that holds an identifier of the schema."
)
@click.option("--drop", "dropped", multiple=True, metavar="COLUMN", help="Drop this column too; may be repeated.")
@click.option(
    "--keep-column",
    "kept",
    multiple=True,
    metavar="COLUMN",
    help="Keep this column although it looks like an identifier; may be repeated.",
)
@click.option("--keep-id", is_flag=True, help="Keep your record ids in the output.")
@click.option("--drop-unlinked", is_flag=True, help="Leave out records without a link id (matched releases).")
@csv_options
@show_values_option
@click.option("--force", is_flag=True, help="Replace the output.")
@common_options
def join(
    session: Session,
    *,
    extract: Path,
    links: Path,
    rows: Path | None,
    out: Path,
    schema_file: Path | None,
    project_id: str | None,
    id_column: str,
    mapping: tuple[str, ...],
    dropped: tuple[str, ...],
    kept: tuple[str, ...],
    keep_id: bool,
    drop_unlinked: bool,
    encoding: str | None,
    delimiter: str | None,
    show_values: bool,
    force: bool,
) -> None:
    """Put link ids into EXTRACT (CSV or Parquet), take identifiers and record ids out of it.

    Nothing is written if a record has no link id, unless --drop-unlinked says that this is meant. Nothing is written
    either if a column that would stay looks like an identifier, unless --drop or --keep-column names it.
    """
    from linkage_client.joining import (  # noqa: PLC0415 - pyarrow is slow to import
        LINK_ID,
        Columns,
        ExtractFormat,
        identifier_columns,
        join_extract,
    )

    delimiter = parse_delimiter(delimiter)
    identifiers = identifier_columns(_schema(session, schema_file, project_id))
    with (
        showing_values(session, extract, asked=show_values, encoding=encoding, delimiter=delimiter),
        progress_bar("Joining") as advance,
    ):
        report = join_extract(
            extract=extract,
            links=links,
            rows=rows,
            out=out,
            columns=Columns(
                identifiers=identifiers,
                record_id=id_column,
                renamed=parse_mapping(mapping),
                also_dropped=dropped,
                also_kept=kept,
            ),
            keep_record_id=keep_id,
            drop_unlinked=drop_unlinked,
            extract_format=ExtractFormat(text_encoding=encoding, delimiter=delimiter),
            overwrite=force,
            progress=advance,
        )
    session.say(f"The extract was read as {report.read_as}.")
    session.say(f"{report.rows_written:,} records in {out}.")
    session.say(f"Taken out: {', '.join(report.columns_dropped) or 'no column'}.")
    session.say(f"STAYS, and goes to the recipient: {', '.join((LINK_ID, *report.columns_kept))}.")
    if kept:
        session.say(f"Stays although it may say who somebody is, as you asked: {', '.join(kept)}.")
    if report.note is not None:
        session.say(f"{report.note.name}, beside it, says which release the link ids are from: send both.")
    if report.rows_dropped:
        session.say(f"Left out, because they have no link id: {_records(report.rows_dropped)}.")
    if report.links_unused:
        session.say(f"Linked, but not in the extract: {_records(report.links_unused)}.")
    session.show(
        {
            "out": str(out),
            "note": str(report.note) if report.note else None,
            "read_as": report.read_as,
            "rows": report.rows_written,
            "rows_dropped": report.rows_dropped,
            "columns_dropped": list(report.columns_dropped),
            "columns_kept": list(report.columns_kept),
            "links_unused": report.links_unused,
        },
        [],
    )


def _records(number: int) -> str:
    return "1 record" if number == 1 else f"{number:,} records"


def _schema(session: Session, schema_file: Path | None, project_id: str | None) -> dict[str, Any]:
    if (schema_file is None) == (project_id is None):
        raise click.UsageError("Say with --schema FILE or --project ID which columns are identifiers.")
    if schema_file is not None:
        return read_document(schema_file)
    from linkage_client.agreed import agreed_project  # noqa: PLC0415 - keeps `--help` quick

    with session.client() as client:
        return agreed_project(client, project_id=str(project_id)).schema.document
