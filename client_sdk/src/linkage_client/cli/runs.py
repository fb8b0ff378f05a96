"""Commands about runs. `linkage run PROJECT` is short for `linkage run start PROJECT`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from linkage_client.cli import _reports as reports
from linkage_client.cli._lazy import DefaultGroup
from linkage_client.cli._session import Session, common_options, progress_bar

if TYPE_CHECKING:
    from linkage_client.client import LinkageClient
    from linkage_client.models import Run


@click.group(cls=DefaultGroup, default="start", id_prefix="prj_")
def run() -> None:
    """Start the matcher and follow it. `linkage run PROJECT` starts a run and waits for its end."""


@run.command("start")
@click.argument("project_id")
@click.option(
    "--target-precision",
    type=reports.Share(least=0.5, most=1, most_open=True),
    metavar="P",
    help="The share of links that shall be right, such as 0.99. What most want: the run finds as many matches as it "
    "can at that precision.",
)
@click.option(
    "--threshold",
    type=reports.Share(least=0.1, most=1),
    metavar="T",
    help="For experts: link from this Dice similarity up, such as 0.8. No value fits all data, and a value that fits "
    "small files makes many wrong links in large ones.",
)
@click.option(
    "--blocking",
    is_flag=True,
    help="For uploads of many millions: compare only pairs that a sample of their bits brings together. Loses some "
    "matches, and the report says how many at most.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Stop waiting after this long.")
@common_options
def start(
    session: Session,
    *,
    project_id: str,
    target_precision: float | None,
    threshold: float | None,
    blocking: bool,
    timeout_s: float | None,
    no_wait: bool,
) -> None:
    """Start a run on the project's uploads and wait for its end.

    The run itself finds out where to cut. By default it reaches the precision that the agreement names, or, where it
    names none, makes the links that balance wrong links and missed matches best. It needs no known matches for that:
    records inside one file show how alike different people are. --target-precision asks for another precision, never
    for less than the agreement's.
    """
    reports.only_one({"--target-precision": target_precision, "--threshold": threshold})
    with session.client() as client:
        begun = client.runs.start(
            project_id=project_id, target_precision=target_precision, threshold=threshold, blocking=blocking
        )
        session.say(f"Run {begun.id} is {begun.state}.")
        _show(session, client, begun if no_wait else _waited(client, begun.id, timeout_s))


@run.command("wait")
@click.argument("run_id")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Stop waiting after this long.")
@common_options
def wait(session: Session, *, run_id: str, timeout_s: float | None) -> None:
    """Wait for the end of a run."""
    with session.client() as client:
        _show(session, client, _waited(client, run_id, timeout_s))


@run.command("show")
@click.argument("run_id")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the report as a page to mail.")
@click.option("--force", is_flag=True, help="Replace the page.")
@common_options
def show(session: Session, *, run_id: str, html: Path | None, force: bool) -> None:
    """Show a run and what it found: links, how many of them are right, and how many matches were found.

    What was found may be read where the agreement lists a summary, and each reading is recorded. Counts are rounded,
    and small ones are not shown.
    """
    if html is not None:
        reports.check_page(html, force=force)
    with session.client() as client:
        found = reports.read(client, run_id)
        as_words = not session.as_json
        wanted = reports.organisations_in(found) if as_words or html is not None else set()
        names = reports.names_for(client, wanted)
        if as_words:
            reports.show(found, names)
        if html is not None:
            reports.write_page(client, found, names, html, force=force)
            session.say(f"The report is in {html}.")
        if session.as_json:
            session.show(found.document())


@run.command("list")
@click.argument("project_id")
@common_options
def list_(session: Session, *, project_id: str) -> None:
    """List the runs of a project."""
    with session.client() as client:
        found = client.runs.list(project_id=project_id)
        columns = ("id", "state", "aim", "created_at", "finished_at")
        session.show_list(found, columns=columns, worded=reports.worded)


@run.command("cancel")
@click.argument("run_id")
@common_options
def cancel(session: Session, *, run_id: str) -> None:
    """Ask the matcher to stop."""
    with session.client() as client:
        _show(session, client, client.runs.cancel(run_id=run_id))


def _waited(client: "LinkageClient", run_id: str, timeout_s: float | None) -> "Run":
    with progress_bar("Matching") as advance:

        def seen(state: "Run") -> None:
            if state.progress is not None:
                advance(state.progress.done, state.progress.total)

        watched = seen if sys.stderr.isatty() else None
        return client.runs.wait(run_id=run_id, progress=watched, timeout_s=timeout_s)


def _show(session: Session, client: "LinkageClient", shown: "Run") -> None:
    if session.as_json:
        session.show(shown)
        return
    read_run = reports.Read(shown)
    names = reports.names_for(client, reports.organisations_in(read_run))
    session.show(shown, reports.run_lines(shown, names))
    reports.show_findings(read_run, names)
    if shown.state == "succeeded":
        session.say(f"`linkage run show {shown.id}` says what was found; with --html FILE it makes a page of it.")
