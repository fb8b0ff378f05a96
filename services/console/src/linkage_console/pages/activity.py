"""The access log: what happened, one event, and exports of what was looked for."""

from collections import Counter
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from linkage_console import charts, wording
from linkage_console.calling import Json, Refusal
from linkage_console.filters import Filters
from linkage_console.gathering import MOST_EVENTS, names_of
from linkage_console.routing import Page
from linkage_console.visits import Visit

_PAGE: Final = 25
_UNFIT: Final = 422
_CONFLICT: Final = 409
_DIGITS: Final = 15
_FORMATS: Final = {
    "csv": "A table (CSV), for a spreadsheet",
    "jsonl": "JSON Lines: the exact headers, for another tool",
    "bundle": "A bundle (zip) with proofs, that anybody can check offline",
}
# What the API says of a file that it gives.
_FILE_HEADERS: Final = ("content-type", "content-disposition", "linkage-event")


async def show(visit: Visit) -> Response:
    """Events that fit the filters, the newest first, with the filter panel."""
    filters = Filters.read(visit.request.query_params)
    after, before = (_number(visit.query(name)) for name in ("after", "before"))
    refusal, items, older, newer = None, [], None, None
    try:
        asked = {**filters.asked(), "limit": _PAGE}
        if after is not None:
            page = (await visit.call.get("/v1/audit/events", **asked, after=after, order="oldest")).document
            items = page["items"][::-1]
            older = items[-1]["seq"] if items else after + 1
            newer = page["next_after"]
        else:
            page = (await visit.call.get("/v1/audit/events", **asked, before=before, order="newest")).document
            items, older = page["items"], page["next_before"]
            newer = items[0]["seq"] if items and before is not None else None
    except Refusal as refused:
        if refused.status != _UNFIT:
            raise
        refusal = refused
    return visit.page(
        "activity.html",
        status=200 if refusal is None else refusal.status,
        events=items,
        filters=filters,
        older=None if older is None else filters.address(before=older),
        newer=None if newer is None else filters.address(after=newer),
        exports=filters.address(),
        names=await names_of(visit),
        agreements=sorted({found["reference"] for found in await visit.call.items("/v1/agreements")}),
        actions=wording.actions(),
        types=wording.event_types(),
        refusal=refusal,
    )


async def show_charts(visit: Visit) -> Response:
    """The same events as pictures: over time by outcome, and refusals by element."""
    filters = Filters.read(visit.request.query_params)
    asked = {**filters.asked(), "order": "newest", "limit": MOST_EVENTS}
    page = (await visit.call.get("/v1/audit/events", **asked)).document
    headers = [item["header"] for item in page["items"]]
    line = charts.timeline((header["time"], header["outcome"]["status"]) for header in headers)
    refused = Counter(
        number
        for header in headers
        for number in {reason["element"] for reason in wording.deciding(header) if reason["element"]}
    )
    rows = [(wording.element_title(number), refused[number]) for number in range(1, 10)]
    return visit.page(
        "charts.html",
        filters=filters,
        count=len(headers),
        whole=page["next_before"] is None,
        line=line,
        over_time=line and charts.timeline_chart(line),
        refused=rows,
        refusals=charts.refusals_chart(rows) if refused else None,
        list_address=filters.address(),
    )


async def show_event(visit: Visit) -> Response:
    """One event: who, when, what, and which element decided why."""
    event = (await visit.call.get(f"/v1/audit/events/{visit.request.path_params['seq']}")).document
    body = event["body"] or {}
    return visit.page(
        "event.html",
        event=event,
        header=event["header"],
        person=body.get("person"),
        detail=_lines(body.get("detail") or {}),
        names=await names_of(visit),
    )


async def show_replay(visit: Visit) -> Response:
    """The decision of an event, made again by the service from the facts that were judged."""
    seq = visit.request.path_params["seq"]
    made, refusal = None, None
    try:
        made = (await visit.call.get(f"/v1/audit/events/{seq}/replay")).document
    except Refusal as refused:
        # Facts that are gone are an answer too.
        if refused.status != _CONFLICT:
            raise
        refusal = refused
    status = 200 if refusal is None else refusal.status
    return visit.page("replay.html", status=status, seq=seq, made=made, refusal=refusal)


async def receipt(visit: Visit) -> Response:
    """The receipt of an event, as a file."""
    seq = visit.request.path_params["seq"]
    # A receipt rests on a checkpoint, and the newest may be older than the event.
    await visit.call.get("/v1/audit/checkpoint")
    answer = await visit.call.get(f"/v1/audit/events/{seq}/receipt")
    headers = {"Content-Disposition": f'attachment; filename="event-{seq}.tlog-proof"'}
    return visit.answer(Response(answer.content, media_type="text/plain; charset=utf-8", headers=headers))


async def show_export(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """The form of an export of what was looked for."""
    given = visit.request.query_params if visit.request.method == "GET" else visit.form.fields
    filters = Filters.read(given)
    return visit.page(
        "export.html",
        status=200 if refusal is None else refusal.status,
        filters=filters,
        formats=_FORMATS,
        form=visit.form,
        names=await names_of(visit),
        confirms_with=await visit.confirms_with(),
        list_address=filters.address(),
        refusal=refusal,
    )


async def export(visit: Visit) -> Response:
    """Gives the file while the API makes it. The export is an event, recorded before its first byte leaves."""
    form = visit.form
    try:
        wanted: dict[str, Any] = {**Filters.read(form.fields).asked(), "format": form["format"]}
        kept = form.files.get("against", b"")
        if kept and form["format"] == "bundle":
            wanted["against"] = kept.decode("utf-8").replace("\r\n", "\n")
        await visit.step_up()
        headers, blocks = await visit.call.stream("/v1/audit/exports", wanted)
    except UnicodeDecodeError:
        return await show_export(visit, refusal=Refusal(422, {"detail": "The file that you kept is no checkpoint."}))
    except Refusal as refusal:
        if refusal.ended:
            raise
        return await show_export(visit, refusal=refusal)
    shown = {name: headers[name] for name in _FILE_HEADERS if name in headers}
    return visit.answer(StreamingResponse(blocks, headers=shown))


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None


def _lines(detail: Json) -> list[tuple[str, str]]:
    """Details of an event's body, for people."""
    return [(name.replace("_", " "), _text(value)) for name, value in sorted(detail.items())]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name.replace('_', ' ')}: {_text(item)}" for name, item in value.items()) or "nothing"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


PAGES: Final = (
    Page("GET", "/activity", show),
    Page("GET", "/activity/charts", show_charts),
    Page("GET", "/activity/export", show_export),
    Page("POST", "/activity/export", export),
    Page("GET", "/activity/{seq:int}", show_event),
    Page("GET", "/activity/{seq:int}/replay", show_replay),
    Page("GET", "/activity/{seq:int}/receipt", receipt),
)
