"""When objections and opt-outs were last taken out of an extract: a provider says it, agreements limit how long ago.

A day is meant, in UTC. In a manifest it is written as the first moment of that day.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from linkage_client.errors import ConfigurationError, PackageError

MEMBER: Final = "opt_outs_applied_at"
TODAY: Final = "today"
OPTION: Final = "--opt-outs-applied"


def parse_day(text: str, *, today: dt.date) -> dt.date:
    """A day as somebody writes it: `2026-03-01`, or `today`.

    Raises:
        ConfigurationError: it is no day, or lies in the future.
    """
    try:
        day = today if text.strip().lower() == TODAY else dt.date.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError(
            f"{OPTION} needs a day such as 2026-03-01, or the word today: when were people who have objected last "
            "taken out of the extract?"
        ) from None
    if day > today:
        raise ConfigurationError(
            f"{OPTION} names a day that is yet to come. Name the day on which people who have objected were last taken "
            "out of the extract."
        )
    return day


def written(day: dt.date) -> str:
    """A day as manifests have it (RFC 3339)."""
    return f"{day.isoformat()}T00:00:00Z"


def day_of(manifest: Mapping[str, Any]) -> dt.date | None:
    """The day that a manifest declares; None if it declares none."""
    declared = manifest.get(MEMBER)
    if isinstance(declared, dt.datetime):
        return declared.astimezone(dt.UTC).date()
    try:
        return dt.datetime.fromisoformat(declared).astimezone(dt.UTC).date() if isinstance(declared, str) else None
    except ValueError:
        return None


def check_day(day: dt.date | None, *, reapply_days: int | None, today: dt.date) -> None:
    """Refuses what the agreement does not allow, before anything is sent.

    Args:
        day: on which opt-outs were applied; None where nobody said.
        reapply_days: after so many days they must be applied again; None where the agreement asks for nothing.
        today: the day it is.

    Raises:
        PackageError: nothing was declared, or it is too long ago.
    """
    if reapply_days is None:
        return
    if day is None:
        raise PackageError(
            "The agreement wants to know when people who have objected were last taken out of the extract, and these "
            f"encodings do not say. Nothing was sent. Encode again with {OPTION} DATE."
        )
    if (today - day).days >= reapply_days:
        raise PackageError(
            f"People who have objected were last taken out of the extract on {day}, and the agreement allows less than "
            f"{reapply_days} days. Nothing was sent. Take them out as the lists stand today, and encode again with "
            f"{OPTION} {TODAY}."
        )
