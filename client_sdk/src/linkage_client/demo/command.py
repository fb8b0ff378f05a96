"""The command `linkage demo`: a whole linkage on this machine, with a real service and invented people or yours."""

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from linkage_client.cli._session import printable, progress_bar, quieten_retries
from linkage_client.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from linkage_client.demo.flow import Unit
    from linkage_client.demo.inputs import Inputs
    from linkage_client.demo.play import Outcome, Play
    from linkage_client.demo.service import LocalService
    from linkage_client.encoding.propose import Proposal

FEWEST, MOST = 2, 10
PROPOSED_FILE = "schema.proposed.json"
_WORD = 10


class StderrTeller:
    """Steps as lines on stderr: what was done, then who did it to what."""

    def step(self, what: str, text: str) -> None:
        """One line."""
        click.echo(printable(f"{what:<{_WORD}} {text}"), err=True)

    def progress(self, description: str) -> Any:
        """A bar, on a terminal."""
        return progress_bar(description)


@click.command()
@click.option("--rows", type=click.IntRange(min=2), default=5_000, show_default=True, help="People at each provider.")
@click.option("--providers", type=click.IntRange(FEWEST, MOST), default=2, show_default=True, help="How many.")
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share of each provider's people that another provider knows too.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed, other people.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Link your own files instead: one CSV file for each provider, named after it, with a column record_id; "
    "schema.json (linkage schema) and truth.csv (provider, record_id, entity) where you have them.",
)
@click.option(
    "--encoding-profile",
    metavar="NAME",
    help="Encoder parameters to agree on; default: clk-1024-v1, or what a schema.json says.",
)
@click.option("--encoding", help="Text encoding of the files in DIR; default: found out of each.")
@click.option("--keep", is_flag=True, help="Leave the service running and the files in place, and say how to look.")
@click.option(
    "--practice",
    is_flag=True,
    help="Leave the first provider's part to you, with an extract as Excel exports one; the others have uploaded.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document to stdout.")
@click.pass_context
def demo(
    context: click.Context,
    *,
    rows: int,
    providers: int,
    overlap: float,
    seed: int,
    data: Path | None,
    encoding_profile: str | None,
    encoding: str | None,
    keep: bool,
    practice: bool,
    as_json: bool,
) -> None:
    """Play a whole linkage on this machine, with invented people or your own files.

    Starts a real service on the loopback address and plays every organisation over HTTP: register, sign the agreement,
    share a secret, encode, upload, run, release, retrieve, join. Then says how many of the true matches were found,
    and checks the ledger. Everything is removed at the end, unless --keep is given.
    """
    from linkage_client.demo.inputs import invent, read_directory  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.demo.service import check_installed  # noqa: PLC0415 - as above
    from linkage_client.encoding.profiles import DEFAULT_PROFILE  # noqa: PLC0415 - as above

    started = time.perf_counter()
    _check_options(context, data, practice=practice)
    check_installed()
    quieten_retries()
    with _stopped_by_signals():
        if data is not None:
            inputs = read_directory(data, encoding=encoding, encoding_profile=encoding_profile)
            _introduce_files(inputs, data)
        with _workspace(keep=keep or practice) as workspace:
            if data is None:
                inputs = invent(
                    providers=providers,
                    rows=rows,
                    overlap=overlap,
                    seed=seed,
                    directory=workspace.folder / "data",
                    encoding_profile=encoding_profile or DEFAULT_PROFILE,
                )
                _introduce_people(inputs, rows=rows, overlap=overlap, seed=seed)
            play = _start(inputs, workspace, encoding=encoding)
            if practice:
                _leave_the_rest(play, workspace, seed=seed, as_json=as_json)
                return
            outcome = play.run()
            seconds = {**outcome.seconds, "total": time.perf_counter() - started}
            _show(outcome, seconds, as_json=as_json)
            if keep:
                _say_how_to_look(workspace, run_id=outcome.report.run, project_id=outcome.project_id)
    if not outcome.ledger_verified:
        context.exit(ExitCode.FAILURE)


class _Workspace:
    """The folder of one demo and what runs in it."""

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self.folder = folder
        self.keep = keep
        self.service: LocalService | None = None
        self.unit: Unit | None = None


@contextlib.contextmanager
def _workspace(*, keep: bool) -> Iterator[_Workspace]:
    workspace = _Workspace(Path(tempfile.mkdtemp(prefix="linkage-demo-")), keep=keep)
    try:
        yield workspace
    except BaseException:
        if keep and workspace.service is not None and workspace.service.running:
            _say_how_to_look(workspace)
        else:
            _remove(workspace)
        raise
    else:
        if not keep:
            _remove(workspace)
    finally:
        if workspace.unit is not None:
            workspace.unit.close()
        if keep and workspace.service is not None:
            workspace.service.leave()


def _remove(workspace: _Workspace) -> None:
    if workspace.service is not None:
        workspace.service.stop()
    shutil.rmtree(workspace.folder, ignore_errors=True)


def _start(inputs: "Inputs", workspace: _Workspace, *, encoding: str | None) -> "Play":
    from linkage_client.demo.flow import start_unit  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.demo.play import Play  # noqa: PLC0415 - as above
    from linkage_client.demo.service import LocalService  # noqa: PLC0415 - as above

    teller = StderrTeller()
    service = LocalService(data_dir=workspace.folder / "service", log_path=workspace.folder / "service.log")
    workspace.service = service
    parties = workspace.folder / "parties"
    workspace.unit = start_unit(service, parties, outlives_caller=workspace.keep)
    teller.step("Start", f"the linkage unit's service, process {service.pid}, at {service.url}")
    return Play(inputs=inputs, service=service, unit=workspace.unit, folder=parties, teller=teller, encoding=encoding)


def _leave_the_rest(play: "Play", workspace: _Workspace, *, seed: int, as_json: bool) -> None:
    """Play the others, put an export beside the first provider's keys, and say where everything is."""
    from linkage_client.config import DEFAULTS_FILE_NAME  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.demo.practice import EXPORT_FILE, write_defaults, write_export  # noqa: PLC0415 - as above

    prepared = play.prepare()
    export = prepared.yours / EXPORT_FILE
    write_export(play.inputs.sources[0].path, export, seed=seed)
    write_defaults(prepared.yours / DEFAULTS_FILE_NAME, project_id=prepared.project_id)
    _say()
    _say(f"You are {play.inputs.sources[0].name}. Your folder, with {EXPORT_FILE} in it, is {prepared.yours}.")
    _say(f"On the phone, {play.inputs.sources[1].name} reads out the code that it sees: {prepared.code}")
    _say("The tutorial in docs/tutorial.md goes on from here.")
    _say_how_to_stop(workspace)
    if as_json:
        document = {
            "folder": str(workspace.folder),
            "service": play.service.url,
            "process": play.service.pid,
            "project": prepared.project_id,
            "code": prepared.code,
            "export": str(export),
        }
        click.echo(json.dumps(document, indent=2))


def _check_options(context: click.Context, data: Path | None, *, practice: bool) -> None:
    """Options that would be passed over in silence are mistakes."""
    if data is not None and practice:
        raise click.UsageError("--practice is with invented people, and --data names files. Leave one out.")
    given = {
        name
        for name in ("rows", "providers", "overlap", "seed", "encoding")
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }
    if data is not None and (unused := sorted(given - {"encoding"})):
        raise click.UsageError(f"--{unused[0]} is about invented people, and --data names files. Leave one out.")
    if data is None and "encoding" in given:
        raise click.UsageError("--encoding is about the files of --data. Name their folder, or leave it out.")


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and the end of the terminal stop the demo as Ctrl-C does, so that nothing is left behind."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


# --- what people see -------------------------------------------------------------------------------------------------


def _say(text: str = "") -> None:
    click.echo(printable(text), err=True)


def _introduce_people(inputs: "Inputs", *, rows: int, overlap: float, seed: int) -> None:
    _say(
        f"{len(inputs.sources)} providers with {rows:,} invented people each, {overlap:.0%} of them known to another "
        f"provider as well (seed {seed})."
    )
    _say()


def _introduce_files(inputs: "Inputs", directory: Path) -> None:
    _say(
        f"{len(inputs.sources)} providers in {directory}: "
        + ", ".join(f"{s.name} ({s.rows:,})" for s in inputs.sources)
    )
    if inputs.unlisted:
        _say(f"truth.csv does not list {inputs.unlisted:,} of the records; each counts as somebody whom no other has.")
    if inputs.methods:
        columns = ", ".join(inputs.methods)
        _say(f"Most values of {columns} are not as in Britain, so that they are taken as plain text.")
    if inputs.proposal is None:
        _say("The linkage schema is the one in schema.json.")
    else:
        _show_proposal(inputs.proposal, provider=inputs.sources[0].name)
        for source in inputs.sources:
            if source.renamed:
                pairs = ", ".join(f"{theirs} is {ours}" for theirs, ours in source.renamed.items())
                _say(f"Columns of {source.name} under other names: {pairs}.")
        renamed = [source.name for source in inputs.sources if source.renamed]
        _write_proposal(inputs.proposal, directory, renamed=renamed)
    _say()


def _show_proposal(proposal: "Proposal", *, provider: str) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - slow to import, and only needed here
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above

    _say(f"There is no schema.json, so a linkage schema is proposed from the file of {provider}:")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Column", overflow="fold")
    table.add_column("Filled", justify="right")
    table.add_column("Bits", justify="right")
    table.add_column("Why", overflow="fold")
    for name, filled, insertions, reason in proposal_lines(proposal):
        table.add_row(printable(name), filled, insertions, printable(reason))
    Console(stderr=True, highlight=False, markup=False).print(table)
    if proposal.households:
        _say("Most rows share their address with another row: addresses count half.")


def proposal_lines(proposal: "Proposal") -> list[tuple[str, str, str, str]]:
    """The proposal by column: name, share filled, insertions, reason. Parts of a date are one line."""
    lines: dict[tuple[str, ...], list[Any]] = {}
    for proposed in proposal.fields:
        line = lines.setdefault(
            proposed.columns, ["+".join(proposed.columns), proposed.completeness, 0, proposed.reason]
        )
        line[2] += proposed.insertions
    used = [(str(name), f"{filled:.0%}", str(number), str(reason)) for name, filled, number, reason in lines.values()]
    return [*used, *((left.column, "", "not used", left.reason) for left in proposal.left_out)]


def _write_proposal(proposal: "Proposal", directory: Path, *, renamed: list[str]) -> None:
    condition = f", and give the columns of {' and '.join(renamed)} its names" if renamed else ""
    path = directory / PROPOSED_FILE
    try:
        path.write_text(json.dumps(proposal.schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        _say(f"The proposal could not be written to {path}: {error.strerror}.")
        return
    _say(f"The proposal is in {path}. To use it from now on, or to change it, rename it to schema.json{condition}.")


def _show(outcome: "Outcome", seconds: dict[str, float], *, as_json: bool) -> None:
    rounded = {name: round(value, 3) for name, value in seconds.items()}
    quality, estimated = outcome.quality, outcome.report.result
    if as_json:
        document = {
            "parties": list(outcome.parties),
            "rows": outcome.rows,
            "precision": quality.precision,
            "recall": quality.recall,
            "f1": quality.f1,
            "estimated": estimated.model_dump(mode="json", include={"precision", "recall", "matches"}),
            "findings": [finding.model_dump(mode="json") for finding in outcome.report.findings],
            "groups": outcome.groups,
            "seconds": rounded,
            "ledger": {"size": outcome.ledger_size, "verified": outcome.ledger_verified},
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _say()
        _show_result("Precision", _share(quality.precision), f"of the links are right {_guess(estimated.precision)}")
        _show_result("Recall", _share(quality.recall), f"of the true links were made {_guess(estimated.recall)}")
        _show_result("F1", _share(quality.f1), "")
        _show_result("Groups", f"{outcome.groups:,}", "entities with records at two providers or more")
        _show_result(
            "Seconds", f"{rounded['total']:.1f}", ", ".join(f"{n} {s:.1f}" for n, s in rounded.items() if n != "total")
        )
        _show_result("Ledger", f"{outcome.ledger_size}", "entries, " + _verdict(outcome))
    for finding in outcome.ledger_findings:
        _say(f"Ledger: {finding}")


def _show_result(name: str, value: str, meaning: str) -> None:
    click.echo(printable(f"{name:<{_WORD}} {value:>8}  {meaning}".rstrip()))


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _guess(value: float | None) -> str:
    return "(no estimate is shown)" if value is None else f"(estimated without the truth: {value:.3f})"


def _verdict(outcome: "Outcome") -> str:
    return "verified: nothing was changed" if outcome.ledger_verified else "NOT as they were recorded"


def _say_how_to_look(workspace: _Workspace, *, run_id: str | None = None, project_id: str | None = None) -> None:
    service = workspace.service
    if service is None:
        return
    profiles = sorted(path.relative_to(workspace.folder) for path in workspace.folder.glob("parties/*/profile.toml"))
    checkpoint = next(iter(sorted(workspace.folder.glob("parties/*/checkpoint.txt"))), None)
    against = f" --against {checkpoint.relative_to(workspace.folder)}" if checkpoint else ""
    _say()
    _say(f"The service keeps running at {service.url}. Everything that the parties hold is in {workspace.folder}.")
    _say("Look at it with:")
    _say()
    _say(f"  cd {workspace.folder}")
    _say(f'  export PATH="{Path(sys.executable).parent}:$PATH"')
    for profile in profiles:
        _say(f"  linkage whoami --config {profile}")
    if profiles and run_id is not None:
        _say(f"  linkage run show {run_id} --html report.html --config {profiles[0]}")
    if profiles and project_id is not None:
        _say(f"  linkage project status {project_id} --config {profiles[0]}")
        _say(f"  linkage keys show --config {profiles[0]}")
    if profiles:
        _say(f"  linkage agreement list --config {profiles[0]}")
        _say(f"  linkage project list --config {profiles[0]}")
        _say("  linkage audit list --config parties/officer/profile.toml")
    _say(f"  linkage-service audit verify --data-dir service{against}")
    _say_how_to_stop(workspace)


def _say_how_to_stop(workspace: _Workspace) -> None:
    if workspace.service is None:
        return
    _say()
    _say("Stop the service and remove everything with:")
    _say()
    _say(f"  kill {workspace.service.pid}")
    _say(f"  rm -r {workspace.folder}")
