"""Projects: the entry to runs and to what came of them."""

from typing import Final

from starlette.responses import Response

from linkage_console.gathering import names_of
from linkage_console.routing import Page
from linkage_console.visits import Visit
from linkage_console.work import Reading, Work, sees_work

_NEWEST: Final = 20
_MOST: Final = 200


async def show_all(visit: Visit) -> Response:
    """Every project that the person sees, the newest first."""
    agreement, words = visit.query("agreement"), visit.query("words")
    found = await Reading(visit).projects(agreement=agreement)
    fitting = [project for project in found if words.casefold() in project["name"].casefold()]
    return visit.page(
        "projects.html",
        projects=fitting[:_MOST],
        count=len(fitting),
        sees_work=sees_work(visit),
        names=await names_of(visit),
        agreements=sorted({one["reference"] for one in await visit.call.items("/v1/agreements")}),
        asked={"agreement": agreement, "words": words},
    )


async def show_one(visit: Visit) -> Response:
    """One project with all that is in it."""
    work = await Reading(visit).one(visit.param("project"))
    certificates = await visit.call.items(f"/v1/projects/{work.project['id']}/certificates")
    return visit.page(
        "project.html",
        work=work,
        project=work.project,
        waits_for=[one for one in work.project["providers"] if one not in _ready(work)],
        runs=work.runs[::-1][:_NEWEST],
        releases=work.releases[::-1][:_NEWEST],
        certificates=certificates[::-1][:_NEWEST],
        names=await names_of(visit),
    )


async def show_disclosures(visit: Visit) -> Response:
    """Every retrieval of a link table of a project. Reading the list is itself recorded."""
    reading = Reading(visit)
    project = (await visit.call.get(f"/v1/projects/{visit.param('project')}")).document
    disclosures = await visit.call.items(f"/v1/projects/{project['id']}/disclosures")
    return visit.page(
        "disclosures.html",
        project=project,
        terms=await reading.terms(project),
        disclosures=disclosures[::-1],
        names=await names_of(visit),
    )


def _ready(work: Work) -> set[str]:
    """Providers whose upload can be matched."""
    return {upload["organisation"] for upload in work.uploads if upload["state"] == "complete" and upload["usable"]}


PAGES: Final = (
    Page("GET", "/projects", show_all),
    Page("GET", "/projects/{project}", show_one),
    Page("GET", "/projects/{project}/disclosures", show_disclosures),
)
