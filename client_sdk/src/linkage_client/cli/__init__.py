"""The command `linkage`.

Data goes to stdout, words for people to stderr. With `--json`, stdout holds exactly one JSON document, whatever
happens: the result, or a problem (`type`, `title`, `status`, `detail`, `code`, `request_id`, `exit_code`, and what the
service added, such as `elements`). Exit codes are in `exit_codes`. Secrets are read from files, standard input or a
prompt, never from the command line, where every account of the machine could see them.

Commands are imported when they run, so that `linkage --help` needs little more than click.
"""

import json
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from linkage_client._process import Terminated, prepare_process
from linkage_client.cli._lazy import LazyGroup
from linkage_client.cli.exit_codes import ExitCode, exit_code_of
from linkage_client.errors import LinkageClientError, ServiceError

DEBUG_VARIABLE = "LINKAGE_DEBUG"
ABOUT_BLANK = "about:blank"
SECRET_OPTION = re.compile(
    r"--?([a-z]+-)?(secret|password|passphrase|token|pin|invitation|(private|secret|working)-key)"
)

COMMANDS = {
    "register": ("linkage_client.cli.identity:register", "Redeem an invitation: make keys, write a profile file."),
    "whoami": ("linkage_client.cli.identity:whoami", "Show who this client is to the service."),
    "key-file": ("linkage_client.cli.identity:key_file", "Make and show key files."),
    "keys": ("linkage_client.cli.keys:keys", "Keys to share linkage secrets with, and the key of this machine."),
    "config": ("linkage_client.cli.config:config", "Profiles, defaults, and where keys are kept."),
    "organisation": ("linkage_client.cli.organisations:organisation", "Organisations, invitations and clients."),
    "agreement": ("linkage_client.cli.agreements:agreement", "Write, check, sign, amend, review and end agreements."),
    "project": ("linkage_client.cli.projects:project", "Open and show linkage rounds, and share their secrets."),
    "secret": ("linkage_client.cli.secret:secret", "Draw, keep, hand over or compare a linkage secret."),
    "schema": ("linkage_client.cli.schema:schema", "Propose, explain or check a linkage schema."),
    "check": ("linkage_client.cli.check:check", "Say how good an extract is, and what to mend first."),
    "risk": ("linkage_client.cli.risk:risk", "Say what encodings of an extract would give away."),
    "encode": ("linkage_client.cli.encode:encode", "Turn an extract into encodings, on this machine."),
    "upload": ("linkage_client.cli.upload:upload", "Send encodings; goes on where it was interrupted."),
    "run": ("linkage_client.cli.runs:run", "Start the matcher and follow it."),
    "release": ("linkage_client.cli.releases:release", "Ask for the release of a run's link tables."),
    "results": ("linkage_client.cli.releases:results", "Fetch your link table, or a run's summary."),
    "join": ("linkage_client.cli.join:join", "Put link ids into an extract, identifiers out of it."),
    "merge": ("linkage_client.cli.merge:merge", "Put the payloads of several providers together by link id."),
    "withdraw": ("linkage_client.cli.rights:withdraw", "Take rows of your upload out of all that is made from it."),
    "withdrawals": ("linkage_client.cli.rights:withdrawals", "List link ids to delete (recipient)."),
    "trace": ("linkage_client.cli.rights:trace", "Say who received anything made from a row."),
    "hold": ("linkage_client.cli.rights:hold", "Restrict the processing of runs and releases."),
    "certificate": ("linkage_client.cli.certificates:certificate", "Certificates of what was deleted."),
    "audit": ("linkage_client.cli.audit:audit", "What happened: events, exports, alarms, checkpoints."),
    "doctor": ("linkage_client.cli.doctor:doctor", "Find out what would stop you, and what to do about it."),
    "exit-codes": ("linkage_client.cli.shell:exit_codes", "List what exit codes mean."),
    "completion": ("linkage_client.cli.shell:completion", "Have your shell complete commands and options."),
    "demo": ("linkage_client.demo.command:demo", "Play a whole linkage with invented people."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="linkage-client", prog_name="linkage")
def cli() -> None:
    """Find out which records belong together, without showing them to anyone.

    Identifiers and the linkage secret stay on this machine; only encodings are sent.

    If something does not work, start with `linkage doctor`. Scripts go by exit codes: `linkage exit-codes`.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command: run it and leave with its exit code."""
    prepare_process()
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code; the one place where errors become words."""
    as_json = "--json" in arguments
    try:
        outcome = cli.main(args=arguments, prog_name="linkage", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error = _without_secrets(error)
        error.show()
        return _finish(as_json, _document("usage", error.format_message(), error.exit_code))
    except (click.Abort, KeyboardInterrupt) as error:
        told_to_end = isinstance(error, Terminated) or isinstance(error.__cause__, Terminated)
        code, text = ("terminated", "Told to end.") if told_to_end else ("interrupted", "Interrupted.")
        click.echo(text, err=True)
        return _finish(as_json, _document(code, text, ExitCode.TERMINATED if told_to_end else ExitCode.INTERRUPTED))
    except BrokenPipeError:
        # The reader of our output has gone, as `linkage audit list | head` does on purpose.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    except LinkageClientError as error:
        from linkage_client.cli._session import fitted  # noqa: PLC0415 - keeps `--help` quick

        click.echo(fitted(f"Error: {error}"), err=True)
        return _finish(as_json, _problem(error))
    except Exception as error:  # noqa: BLE001 - the edge of the process: nothing unexpected may print values
        return _finish(as_json, _defect(error))
    return outcome if isinstance(outcome, int) else ExitCode.DONE


def _without_secrets(error: click.ClickException) -> click.ClickException:
    """Answer somebody who typed a secret with what it means, instead of with a list of similar options."""
    if not isinstance(error, click.NoSuchOption) or not SECRET_OPTION.fullmatch(error.option_name):
        return error
    return click.UsageError(
        f"There is no option {error.option_name}: no secret is taken from the command line, where every account of "
        "this machine can read it and the shell writes it down. Name a file, or - for standard input. If you have "
        "typed a real secret just now, draw another one.",
        ctx=error.ctx,
    )


def _finish(as_json: bool, document: dict[str, Any]) -> int:  # noqa: FBT001 - says which form, nothing else
    if as_json:
        click.echo(json.dumps(document, indent=2))
    return int(document["exit_code"])


def _document(code: str, detail: str, exit_code: int) -> dict[str, Any]:
    return {
        "type": ABOUT_BLANK,
        "title": code.replace("_", " "),
        "detail": detail,
        "code": code,
        "exit_code": exit_code,
    }


def _problem(error: LinkageClientError) -> dict[str, Any]:
    document = _document(error.code, error.message, exit_code_of(error))
    if isinstance(error, ServiceError):
        document |= {**error.problem, "code": error.code, "status": error.status}
    if request_id := getattr(error, "request_id", None):
        document["request_id"] = request_id
    return document


def _defect(error: Exception) -> dict[str, Any]:
    """Say that this program failed without its message, which could quote a value from the data."""
    kind = type(error).__name__
    detail = (
        f"This is a defect in linkage ({kind}), not in your data. Set {DEBUG_VARIABLE}=1 to see where, and report it."
    )
    click.echo(f"Error: {detail}", err=True)
    if os.environ.get(DEBUG_VARIABLE) == "1":
        for frame in traceback.extract_tb(error.__traceback__):
            click.echo(f"  {frame.filename}:{frame.lineno} in {frame.name}", err=True)
        click.echo(kind, err=True)
    return _document("defect", detail, ExitCode.DEFECT)
