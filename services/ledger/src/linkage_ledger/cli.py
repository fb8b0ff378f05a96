"""The command ``linkage-ledger``: what an officer checks a log with, on a machine that has nothing else of the service.

Each module of ``SUBCOMMANDS`` adds its own with ``add(subcommands)``. The answer goes to stdout, errors to stderr.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeAlias

from linkage_ledger.errors import LedgerError

if TYPE_CHECKING:
    # argparse has no public name for it
    Subcommands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

Run: TypeAlias = Callable[[argparse.Namespace], int]
"""What a subcommand sets as the default ``run``: gives the exit code."""

SUBCOMMANDS = ("linkage_ledger.cli_verify", "linkage_ledger.cli_witness")
"""Modules whose ``add(subcommands)`` adds one subcommand or more."""

EXIT_UNREADABLE = 2
"""Also argparse's own exit code for a wrong usage."""


def parser() -> argparse.ArgumentParser:
    """The command with all its subcommands."""
    whole = argparse.ArgumentParser(
        prog="linkage-ledger", description="Check an audit log offline, without trusting whoever runs it."
    )
    whole.add_argument("--version", action="version", version=f"linkage-ledger {version('linkage-ledger')}")
    subcommands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in SUBCOMMANDS:
        import_module(name).add(subcommands)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit code."""
    given = parser().parse_args(arguments)
    run: Run = given.run
    try:
        return run(given)
    except LedgerError as error:
        print(f"linkage-ledger: {error}", file=sys.stderr)  # noqa: T201  # a command speaks
        return EXIT_UNREADABLE
    except BrokenPipeError:  # whoever read the answer has seen enough
        sys.stderr.close()
        return EXIT_UNREADABLE
    except OSError as error:
        print(f"linkage-ledger: {error.filename}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return EXIT_UNREADABLE
