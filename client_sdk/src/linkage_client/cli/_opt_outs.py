"""Finds out when opt-outs were applied to what is encoded, and says so of what is uploaded."""

import sys
from typing import TYPE_CHECKING, Any

import click

from linkage_client.errors import ConfigurationError

if TYPE_CHECKING:
    import datetime as dt

    from linkage_client.cli._session import Session


def opt_outs_day(session: "Session", given: str | None, *, reapply_days: int | None) -> "dt.date | None":
    """The day that was given; where the agreement needs one and none was, whoever sits at a terminal is asked.

    Raises:
        ConfigurationError: it is no day, lies in the future, or is too long ago for the agreement.
        click.UsageError: the agreement needs one, and nobody says it.
    """
    import datetime as dt  # noqa: PLC0415 - keeps `--help` quick

    from linkage_client.opt_outs import OPTION, TODAY, parse_day  # noqa: PLC0415 - as above

    today = dt.datetime.now(dt.UTC).date()
    if given is None and reapply_days is not None:
        if session.as_json or session.quiet or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise click.UsageError(
                "The agreement wants to know when people who have objected (opt-outs) were last taken out of the "
                f"extract. Take them out, and say when with {OPTION} DATE, or {OPTION} {TODAY}."
            )
        given = _ask()
    if given is None:
        return None
    day = parse_day(given, today=today)
    if reapply_days is not None and (today - day).days >= reapply_days:
        raise ConfigurationError(
            f"People who have objected were last taken out of the extract on {day}, and the agreement allows less than "
            f"{reapply_days} days. Nothing was encoded. Take them out as the lists stand today, and encode again."
        )
    return day


def _ask() -> str:
    answer: Any = click.prompt(
        "When were people who have objected (opt-outs) last taken out of this file? A day such as 2026-03-01, or today",
        err=True,
    )
    return str(answer)
