"""Retention: what is deleted when, what is overdue, and the certificates of what was deleted."""

from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from linkage_console import charts
from linkage_console.gathering import names_of
from linkage_console.keeping import KINDS, kept, spans
from linkage_console.routing import Page
from linkage_console.visits import Visit
from linkage_console.work import Reading, sees_work, skip_of

_MOST: Final = 200
_LATEST: Final = 50


async def show(visit: Visit) -> Response:
    """What is overdue, what is deleted when, and what was deleted."""
    agreement, project = visit.query("agreement"), visit.query("project")
    works, following = await Reading(visit).some_work(agreement=agreement, project=project, skip=skip_of(visit))
    now = visit.console.now()
    things = sorted((one for work in works for one in kept(work, now=now)), key=lambda one: one.due)
    step, shown = spans(things, now=now)
    certificates = [
        (work.project, certificate)
        for work in works
        for certificate in await visit.call.items(f"/v1/projects/{work.project['id']}/certificates")
    ]
    certificates.sort(key=lambda one: str(one[1]["created_at"]), reverse=True)
    return visit.page(
        "retention.html",
        overdue=[one for one in things if one.overdue(now)],
        coming=[one for one in things if not one.overdue(now)][:_MOST],
        count=len(things),
        spans=shown,
        step=step.days,
        kinds=KINDS,
        chart=charts.deletions_chart(shown) if things else None,
        terms=sorted({work.terms.reference: work.terms for work in works}.items()),
        certificates=certificates[:_LATEST],
        now=now,
        older=following and urlencode({"agreement": agreement, "skip": following}),
        sees_work=sees_work(visit),
        agreements=sorted({one["reference"] for one in await visit.call.items("/v1/agreements")}),
        asked={"agreement": agreement, "project": project},
        names=await names_of(visit),
    )


async def show_certificate(visit: Visit) -> Response:
    """What one certificate says. Reading it is recorded."""
    certificate = (await visit.call.get(f"/v1/certificates/{visit.param('certificate')}")).document
    project = (await visit.call.get(f"/v1/projects/{certificate['project']}")).document
    return visit.page("certificate.html", certificate=certificate, project=project)


async def certificate_file(visit: Visit) -> Response:
    """The certificate as it was signed, as a file."""
    name = visit.param("certificate")
    note = (await visit.call.get(f"/v1/certificates/{name}")).document["note"]
    headers = {"Content-Disposition": f'attachment; filename="{name}.txt"'}
    return visit.answer(Response(note, media_type="text/plain; charset=utf-8", headers=headers))


PAGES: Final = (
    Page("GET", "/retention", show),
    Page("GET", "/certificates/{certificate}", show_certificate),
    Page("GET", "/certificates/{certificate}/file", certificate_file),
)
