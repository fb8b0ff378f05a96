"""Commands about runs. `linkage run PROJECT` is short for `linkage run start PROJECT`."""

import sys
from typing import TYPE_CHECKING

import click

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
@click.option("--threshold", type=click.FloatRange(0, 1, min_open=True), help="Default: the service's.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Stop waiting after this long.")
@common_options
def start(
    session: Session,
    *,
    project_id: str,
    threshold: float | None,
    timeout_s: float | None,
    no_wait: bool,
) -> None:
    """Start a run on the project's uploads and wait for its end."""
    with session.client() as client:
        begun = client.runs.start(project_id=project_id, threshold=threshold)
        session.say(f"Run {begun.id} is {begun.state}.")
        _show(session, begun if no_wait else _waited(client, begun.id, timeout_s))


@run.command("wait")
@click.argument("run_id")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Stop waiting after this long.")
@common_options
def wait(session: Session, *, run_id: str, timeout_s: float | None) -> None:
    """Wait for the end of a run."""
    with session.client() as client:
        _show(session, _waited(client, run_id, timeout_s))


@run.command("show")
@click.argument("run_id")
@common_options
def show(session: Session, *, run_id: str) -> None:
    """Show a run."""
    with session.client() as client:
        _show(session, client.runs.get(run_id=run_id))


@run.command("list")
@click.argument("project_id")
@common_options
def list_(session: Session, *, project_id: str) -> None:
    """List the runs of a project."""
    with session.client() as client:
        found = client.runs.list(project_id=project_id)
        session.show_list(found, columns=("id", "state", "threshold", "created_at", "finished_at"))


@run.command("cancel")
@click.argument("run_id")
@common_options
def cancel(session: Session, *, run_id: str) -> None:
    """Ask the matcher to stop."""
    with session.client() as client:
        _show(session, client.runs.cancel(run_id=run_id))


def _waited(client: "LinkageClient", run_id: str, timeout_s: float | None) -> "Run":
    with progress_bar("Matching") as advance:

        def seen(state: "Run") -> None:
            if state.progress is not None:
                advance(state.progress.done, state.progress.total)

        watched = seen if sys.stderr.isatty() else None
        return client.runs.wait(run_id=run_id, progress=watched, timeout_s=timeout_s)


def _show(session: Session, shown: "Run") -> None:
    lines = [f"run: {shown.id}", f"state: {shown.state}", f"threshold: {shown.threshold:g}"]
    lines += [f"upload: {upload.id} of {upload.organisation}, {upload.count:,} rows" for upload in shown.uploads]
    if shown.progress is not None and not shown.ended:
        lines.append(f"progress: {shown.progress.phase}, {shown.progress.done} of {shown.progress.total}")
    if shown.error is not None:
        lines.append(f"error: {shown.error.get('detail') or shown.error.get('title')}")
    if shown.metrics is not None and shown.metrics.pairs_compared is not None:
        lines.append(f"compared: {shown.metrics.pairs_compared:,} pairs of records")
    session.show(shown, lines)
