"""Rights cases and their clocks, from holds and from what the access log says of withdrawals and access requests.

The service keeps no case of its own: what a person asked for, and when, is known to the body that they asked.
"""

import calendar
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from linkage_console.calling import Json
from linkage_console.work import Work

SOON_DAYS: Final = 7
# The others are themselves what the person asked for: there is nothing left to answer.
_ANSWERED_GROUNDS: Final = frozenset({"unlawful", "legal_claims"})
_A_MONTH: Final = (
    "Article 12(3) of the UK GDPR: an answer within one calendar month. It is counted from {what}, because the service "
    "does not know when the person asked."
)


@dataclass(frozen=True, slots=True)
class Clock:
    """How long a case has run and has left, in whole days of UTC.

    Attributes:
        source: where the limit comes from, and what it is counted from.
    """

    began: date
    due: date
    today: date
    source: str

    @property
    def run(self) -> int:
        """Days that have run."""
        return (self.today - self.began).days

    @property
    def left(self) -> int:
        """Days that remain; below zero when it is overdue."""
        return (self.due - self.today).days

    @property
    def overdue(self) -> bool:
        """Whether the last day is over."""
        return self.left < 0

    @property
    def soon(self) -> bool:
        """Whether few days remain, or none."""
        return self.left <= SOON_DAYS


@dataclass(frozen=True, slots=True)
class Standing:
    """A hold in force, as a case.

    Attributes:
        clock: None where the hold is itself the answer, and stands until the person no longer needs it.
    """

    hold: Json
    project: Json
    path: str
    clock: Clock | None


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A withdrawal, as a case: open until each recipient of what left before has read which link ids to delete.

    Attributes:
        waits_for: ids of the recipients that have not.
        told: ids of those that have.
    """

    seq: int
    at: str
    by: str
    project: Json
    waits_for: tuple[str, ...]
    told: tuple[str, ...]
    clock: Clock


@dataclass(frozen=True, slots=True)
class Traced:
    """An access request that a provider works on. Whether it was answered, the service is not told."""

    seq: int
    at: str
    by: str
    project: Json
    clock: Clock


@dataclass(frozen=True, slots=True)
class Log:
    """What the log says of withdrawals: of who took rows back, who had retrieved what, and who read what to delete."""

    withdrawals: Sequence[Json]
    retrievals: Sequence[Json]
    told: Sequence[Json]


def a_month_after(day: date) -> date:
    """The corresponding day of the next month, or its last day where there is none."""
    year, month = (day.year, day.month + 1) if day.month < 12 else (day.year + 1, 1)  # noqa: PLR2004 - December
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def standing(works: Iterable[Work], *, now: datetime) -> list[Standing]:
    """Every hold in force, those that are due first."""
    found = []
    for work in works:
        for hold in work.holds:
            began = _day(hold["placed_at"])
            source = _A_MONTH.format(what="the day of the hold")
            limited = hold["ground"] not in _ANSWERED_GROUNDS
            clock = Clock(began, a_month_after(began), _today(now), source) if limited else None
            found.append(Standing(hold, work.project, work.path_of(hold["kind"], hold["object"]), clock))
    return sorted(found, key=lambda case: (case.clock is None, case.clock.due if case.clock else _day_of(case)))


def withdrawn(works: Mapping[str, Work], log: Log, *, now: datetime) -> list[Withdrawn]:
    """Withdrawals that the log knows, the oldest first. Those of projects that are not among `works` are left out."""
    found = []
    for event in reversed(log.withdrawals):
        work = works.get(event.get("project") or "")
        if work is None:
            continue
        waits_for, told = _recipients(event, work, log)
        began = _day(event["time"])
        found.append(
            Withdrawn(
                seq=event["seq"],
                at=event["time"],
                by=event["actor"]["org"],
                project=work.project,
                waits_for=waits_for,
                told=told,
                clock=Clock(
                    began, a_month_after(began), _today(now), _A_MONTH.format(what="the day of the withdrawal")
                ),
            )
        )
    return found


def traced(works: Mapping[str, Work], traces: Iterable[Json], *, now: datetime) -> list[Traced]:
    """Access requests that providers have worked on, in the order of their events."""
    found = []
    for event in traces:
        work = works.get(event.get("project") or "")
        if work is None:
            continue
        days, began = work.terms.access_request_days, _day(event["time"])
        by_agreement, by_law = began + timedelta(days=days), a_month_after(began)
        source = (
            f"Element 7 of {work.terms.reference}: an answer within {days} days."
            if by_agreement <= by_law
            else "Article 12(3) of the UK GDPR: an answer within one calendar month, whatever the agreement says."
        )
        clock = Clock(
            began, min(by_agreement, by_law), _today(now), f"{source} It is counted from the day of the trace."
        )
        found.append(Traced(event["seq"], event["time"], event["actor"]["org"], work.project, clock))
    return found


def _recipients(event: Json, work: Work, log: Log) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Recipients for whom the provider had retrieved a table of the upload before: who has yet to read, and who has."""
    upload, provider, at = event["resource"]["id"], event["actor"]["org"], _moment(event["time"])
    of_upload = {run["id"] for run in work.runs if upload in {item["id"] for item in run["uploads"]}}
    waits_for: set[str] = set()
    told: set[str] = set()
    for release in work.releases:
        if release["run"] not in of_upload or release["state"] == "deleted":
            continue
        left_before = any(
            other["resource"]["id"] == release["id"]
            and other["actor"]["org"] == provider
            and _moment(other["time"]) < at
            for other in log.retrievals
        )
        if left_before:
            read = any(other["resource"]["id"] == release["id"] and _moment(other["time"]) > at for other in log.told)
            (told if read else waits_for).add(release["recipient"])
    return tuple(sorted(waits_for)), tuple(sorted(told - waits_for))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _day(text: str) -> date:
    return _moment(text).astimezone(UTC).date()


def _day_of(case: Standing) -> date:
    return _day(case.hold["placed_at"])


def _today(now: datetime) -> date:
    return now.astimezone(UTC).date()
