"""Commands about results: ask for a release, fetch a link table or a summary."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from linkage_client.cli._session import Advance, Session, common_options, progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linkage_client.models import Summary
    from linkage_client.resources.releases import DetailedLink

# A terminal redraws about ten times a second; a call for each of ten million rows would take longer than the download.
REPORT_EVERY_ROWS = 10_000


@click.command()
@click.argument("run_id")
@click.option("--purpose", required=True, help="One of the agreement's purpose codes.")
@click.option(
    "--mode",
    type=click.Choice(("blind", "matched")),
    default="blind",
    show_default=True,
    help="blind: every row gets a link id; matched: only matched rows, if the agreement says so.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    type=click.Choice(("match_probability", "group_size")),
    help="What matched tables tell besides, if the agreement lists it.",
)
@common_options
def release(session: Session, *, run_id: str, purpose: str, mode: str, columns: tuple[str, ...]) -> None:
    """Ask for the release of a run's link tables to your organisation (recipient)."""
    with session.client() as client:
        session.show(client.releases.create(run_id=run_id, purpose=purpose, mode=mode, columns=columns))


@click.command()
@click.argument("release_id", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="CSV file for the link table.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("csv", "parquet", "arrow")),
    default="csv",
    show_default=True,
    help="csv: what `linkage join` reads. parquet, arrow: by row number, as the service writes it.",
)
@click.option("--rows", type=click.Path(path_type=Path), help="rows.parquet of the encodings: record ids for rows.")
@click.option("--summary", "run_id", metavar="RUN", help="Instead: the rounded counts of a run.")
@click.option("--list", "project_id", metavar="PROJECT", help="Instead: the releases of a project.")
@click.option("--force", is_flag=True, help="Replace the file.")
@common_options
def results(
    session: Session,
    *,
    release_id: str | None,
    out: Path | None,
    form: str,
    rows: Path | None,
    run_id: str | None,
    project_id: str | None,
    force: bool,
) -> None:
    """Fetch your link table of RELEASE_ID (provider), a run's summary, or the list of releases.

    Each retrieval is recorded, and those of a link table are counted. --rows has to be the file that
    was written together with the encodings of your upload: any other is refused, before the retrieval.
    """
    if [release_id, run_id, project_id].count(None) != 2:  # noqa: PLR2004 - exactly one of three is given
        raise click.UsageError("Name a release, or --summary RUN, or --list PROJECT.")
    if run_id is not None:
        _summary(session, run_id)
    elif project_id is not None:
        with session.client() as client:
            found = client.releases.list(project_id=project_id)
            session.show_list(found, columns=("id", "run", "recipient", "purpose", "mode", "delete_by"))
    elif release_id is not None:
        if out is None:
            raise click.UsageError("Name a file for the link table with --out.")
        if form == "csv":
            _link_table(session, release_id, out=out, rows=rows, force=force)
        elif rows is not None:
            raise click.UsageError("--rows goes with --format csv: other formats have row numbers.")
        else:
            _saved(session, release_id, out=out, form=form, force=force)


def _summary(session: Session, run_id: str) -> None:
    with session.client() as client:
        summary = client.runs.summary(run_id=run_id)
    session.show(summary, _summary_lines(summary))


def _summary_lines(summary: "Summary") -> list[str]:
    lines = [f"run: {summary.run}"]
    for pattern in summary.patterns:
        count = f"fewer than {summary.suppressed_below}" if pattern.groups is None else f"about {pattern.groups:,}"
        lines.append(f"{' + '.join(pattern.organisations)}: {count}")
    estimates = (("precision", summary.precision), ("recall", summary.recall))
    lines += [f"estimated {name}: {value:.1%}" for name, value in estimates if value is not None]
    return [*lines, f"counts are rounded to {summary.rounded_to}"]


def _link_table(session: Session, release_id: str, *, out: Path, rows: Path | None, force: bool) -> None:
    from linkage_client.files import check_output  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.joining import PAYLOAD_COLUMNS, write_links  # noqa: PLC0415 - pyarrow is slow to import
    from linkage_client.provenance import Provenance  # noqa: PLC0415 - as above

    # Before the retrieval, which counts; `write_links` checks the rows file before it as well.
    check_output(out, overwrite=force)
    with session.client() as client, progress_bar("Fetching link table", unit="rows") as advance:
        release = client.releases.get(release_id=release_id)
        provenance = Provenance(run=release.run, recipient=release.recipient, release=release.id)
        sha256 = client.releases.own_upload(release_id=release_id).manifest.sha256
        columns = tuple(name for name in release.columns if name in PAYLOAD_COLUMNS)
        links = _counted(client.releases.detailed_link_table(release_id=release_id), advance)
        count = write_links(
            (_told(link, columns) for link in links),
            out=out,
            encodings_sha256=sha256,
            rows=rows,
            columns=columns,
            provenance=provenance,
            overwrite=force,
        )
    session.say(f"{count:,} link ids in {out}.")
    session.show({"release": release_id, "out": str(out), "rows": count, "encodings_sha256": sha256}, [])


def _saved(session: Session, release_id: str, *, out: Path, form: str, force: bool) -> None:
    from linkage_client.files import check_output  # noqa: PLC0415 - keeps `--help` quick

    check_output(out, overwrite=force)
    with session.client() as client:
        sha256 = client.releases.own_upload(release_id=release_id).manifest.sha256
        count = client.releases.save_link_table(release_id=release_id, out=out, form=form, overwrite=force)
    session.say(f"{count:,} link ids in {out}, by row number of the encodings with the SHA-256 {sha256}.")
    session.show({"release": release_id, "out": str(out), "rows": count, "encodings_sha256": sha256}, [])


def _told(link: "DetailedLink", columns: tuple[str, ...]) -> tuple[Any, ...]:
    return (link.row, link.link_id, *(getattr(link, name) for name in columns))


def _counted(links: "Iterator[DetailedLink]", advance: Advance) -> "Iterator[DetailedLink]":
    for number, link in enumerate(links, start=1):
        if number % REPORT_EVERY_ROWS == 0:
            advance(number, None)
        yield link
