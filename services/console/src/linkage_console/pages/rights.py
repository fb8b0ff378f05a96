"""Rights cases: holds, withdrawals and access requests, each with its clock."""

from typing import Final

from starlette.responses import Response

from linkage_console import cases
from linkage_console.gathering import MOST_EVENTS, names_of
from linkage_console.routing import Page
from linkage_console.visits import Visit
from linkage_console.work import Reading, newest_events, sees_work, skip_of

_LATEST: Final = 20


async def log_of_withdrawals(visit: Visit) -> cases.Log:
    """What the log says of withdrawals; where nothing was withdrawn, who retrieved what is not asked."""
    withdrawals = await newest_events(visit, type="withdrawal.made")
    return cases.Log(
        withdrawals=withdrawals,
        retrievals=await newest_events(visit, type="link_table.retrieved") if withdrawals else [],
        told=await newest_events(visit, type="withdrawal.retrieved") if withdrawals else [],
    )


async def show(visit: Visit) -> Response:
    """Open cases with their clocks, then what is closed."""
    works, following = await Reading(visit).some_work(skip=skip_of(visit))
    log, now = await log_of_withdrawals(visit), visit.console.now()
    traces = await newest_events(visit, type="upload.row_traced")
    by_id = {work.project["id"]: work for work in works}
    withdrawn = cases.withdrawn(by_id, log, now=now)
    return visit.page(
        "rights.html",
        standing=cases.standing(works, now=now),
        waiting=[case for case in withdrawn if case.waits_for],
        settled=[case for case in withdrawn if not case.waits_for][::-1][:_LATEST],
        traced=cases.traced(by_id, traces, now=now)[:_LATEST],
        following=following,
        sees_work=sees_work(visit),
        whole=len(log.withdrawals) < MOST_EVENTS and len(log.retrievals) < MOST_EVENTS,
        names=await names_of(visit),
    )


PAGES: Final = (Page("GET", "/rights", show),)
