"""What needs the person: signatures, reviews, alarms, and what stands still."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from starlette.responses import Response

from linkage_console import cases, wording
from linkage_console.calling import Json, Refusal
from linkage_console.gathering import names_of, unsigned
from linkage_console.keeping import kept
from linkage_console.pages.rights import log_of_withdrawals
from linkage_console.routing import Page
from linkage_console.visits import Visit
from linkage_console.wording import day
from linkage_console.work import Reading, Work

_SOON: Final = timedelta(days=30)
_MOST_OVERDUE: Final = 10


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do, with the page on which it is done.

    Attributes:
        urgent: whether something stands still until it is done.
    """

    text: str
    path: str
    about: str
    urgent: bool


async def show(visit: Visit) -> Response:
    """What needs the person."""
    agreements = await visit.call.items("/v1/agreements")
    names = await names_of(visit)
    now = visit.console.now()
    mine = visit.me["organisation"]["id"] if visit.me else ""
    tasks = [task for found in agreements for task in tasks_of(found, names=names, mine=mine, now=now)]
    works: list[Work] = []
    following = None
    if "officer" in visit.roles:
        works, following = await Reading(visit).some_work()
        tasks += overdue(works, now=now)
        if works:
            tasks += cases_of(works, await log_of_withdrawals(visit), names=names, now=now)
    alarms, more = await _alarms(visit)
    return visit.page(
        "overview.html",
        tasks=sorted(tasks, key=lambda task: not task.urgent),
        alarms=alarms,
        more_alarms=more,
        looked_at=len(works) if following else None,
        reads_alarms=alarms is not None,
        in_force=sum(found["state"] == "active" for found in agreements),
        agreements=len(agreements),
        organisations=len(names),
        done=visit.query("done"),
    )


def tasks_of(agreement: Json, *, names: dict[str, str], mine: str, now: datetime) -> list[Task]:
    """What an agreement asks for."""
    about, path = f"{agreement['reference']} {agreement['title']}", f"/agreements/{agreement['id']}"
    found = []
    waiting = unsigned(agreement)
    if mine in waiting:
        found.append(Task("Your organisation has not signed this agreement.", path, about, urgent=True))
    elif waiting:
        others = ", ".join(names.get(party, party) for party in waiting)
        found.append(Task(f"Waits for the signature of {others}.", path, about, urgent=False))
    if agreement["state"] == "suspended":
        found.append(Task("Is suspended: nothing is processed under it.", path, about, urgent=True))
    if agreement["state"] in {"active", "suspended"}:
        due = datetime.fromisoformat(agreement["review_by"])
        if due <= now:
            words = f"The review was due on {day(agreement['review_by'])}: until it passes, nothing new is processed."
            found.append(Task(words, path, about, urgent=True))
        elif due <= now + _SOON:
            found.append(Task(f"The review is due by {day(agreement['review_by'])}.", path, about, urgent=False))
    return found


def overdue(works: list[Work], *, now: datetime) -> list[Task]:
    """What should have been deleted by now."""
    found = [one for work in works for one in kept(work, now=now) if one.overdue(now)]
    tasks = [
        Task(
            f"Overdue for deletion since {wording.date_words(one.due)}, project {one.project}. "
            + ("A hold keeps it." if one.held else "Nothing keeps it."),
            "/retention",
            wording.kind(one.kind),
            urgent=True,
        )
        for one in found[:_MOST_OVERDUE]
    ]
    if len(found) > _MOST_OVERDUE:
        words = f"{len(found) - _MOST_OVERDUE:,} more are overdue for deletion."
        tasks.append(Task(words, "/retention", "Retention", urgent=True))
    return tasks


def cases_of(works: list[Work], log: cases.Log, *, names: dict[str, str], now: datetime) -> list[Task]:
    """Rights cases that are overdue or nearly so."""
    found = [
        (case.clock, f"Hold on a {case.hold['kind']}, project {case.project['name']}", case.path)
        for case in cases.standing(works, now=now)
        if case.clock is not None
    ]
    by_id = {work.project["id"]: work for work in works}
    for case in cases.withdrawn(by_id, log, now=now):
        if case.waits_for:
            others = ", ".join(names.get(one, one) for one in case.waits_for)
            found.append((case.clock, f"Rows withdrawn, {others} has yet to read what to delete", "/rights"))
    return [
        Task(
            f"Overdue: the last day was {wording.date_words(clock.due)}, {wording.days(-clock.left)} ago."
            if clock.overdue
            else f"{wording.days(clock.left)} left, to {wording.date_words(clock.due)}.",
            path,
            about,
            urgent=clock.overdue,
        )
        for clock, about, path in found
        if clock.soon
    ]


async def show_alarms(visit: Visit) -> Response:
    """All alarms, those that were looked into as well."""
    page = (await visit.call.get("/v1/audit/alarms", cursor=visit.query("cursor"), limit=50)).document
    return visit.page(
        "alarms.html", alarms=page["items"], cursor=page["next_cursor"], names=await names_of(visit), refusal=None
    )


async def show_alarm(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """One alarm, and the form that says what came of it."""
    wanted = visit.param("alarm")
    found = await visit.call.items("/v1/audit/alarms")
    alarm = next((item for item in found if item["id"] == wanted), None)
    if alarm is None:
        raise Refusal(404, {"title": "Not found", "detail": "There is no such alarm, or it is not for you to see."})
    return visit.page(
        "alarm.html",
        status=200 if refusal is None else refusal.status,
        alarm=alarm,
        names=await names_of(visit),
        confirms_with=await visit.confirms_with(),
        reason=visit.form["reason"],
        refusal=refusal,
    )


async def acknowledge(visit: Visit) -> Response:
    """Says that an alarm was looked into."""
    try:
        await visit.step_up()
        alarm = visit.param("alarm")
        await visit.call.change(f"/v1/audit/alarms/{alarm}:acknowledge", {"reason": visit.form["reason"]})
    except Refusal as refusal:
        if refusal.ended:
            raise
        return await show_alarm(visit, refusal=refusal)
    return visit.go("/?done=alarm")


async def _alarms(visit: Visit) -> tuple[list[Any] | None, bool]:
    """The newest open alarms and whether there are more; None for somebody who is not given them."""
    if "officer" not in visit.roles:
        # Asking would be refused, and the refusal would stand in the log as if somebody had tried something.
        return None, False
    page = (await visit.call.get("/v1/audit/alarms", state="open", limit=10)).document
    return page["items"], page["next_cursor"] is not None


PAGES: Final = (
    Page("GET", "/", show),
    Page("GET", "/alarms", show_alarms),
    Page("GET", "/alarms/{alarm}", show_alarm),
    Page("POST", "/alarms/{alarm}", acknowledge),
)
