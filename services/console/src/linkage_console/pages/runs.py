"""Runs and releases: how far a run is, what it found and who received it; and holds on either."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from linkage_console import plots, wording
from linkage_console.asking import Act
from linkage_console.calling import Json, Refusal
from linkage_console.gathering import names_of
from linkage_console.routing import Page
from linkage_console.visits import Visit
from linkage_console.work import MOST_PROJECTS, Reading, Work, newest_events, sees_work, skip_of

_STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled", "deleted")
_MOST_RUNS: Final = 200
ACTS: Final[Mapping[str, Act]] = {
    "restrict": Act(
        "Put a hold on it",
        "Put the hold",
        "Nothing of it leaves from the next request on, until an officer lifts the hold: no link table, no summary and "
        "no report.",
        frozenset(),
        "The hold is in force.",
        warns=True,
    ),
    "lift-restriction": Act(
        "Lift the hold",
        "Lift the hold",
        "What the agreement allows is allowed again with the next request. What was kept past its date because of the "
        "hold is deleted within minutes. Before a restriction ends, the person is told of it: Article 18(3).",
        frozenset(),
        "The hold is lifted.",
    ),
}


async def show_all(visit: Visit) -> Response:
    """Runs of every project that the person sees, the newest first."""
    asked = {name: visit.query(name) for name in ("agreement", "project", "state")}
    projects, skip = await Reading(visit).projects(), skip_of(visit)
    chosen = [
        one
        for one in projects
        if asked["project"] in {"", one["id"]} and asked["agreement"] in {"", one["agreement"]["reference"]}
    ]
    end = skip + MOST_PROJECTS
    found: list[tuple[Json, Json, Json | None]] = []
    for project in chosen[skip:end] if sees_work(visit) else []:
        path = f"/v1/projects/{project['id']}"
        held = {hold["object"]: hold for hold in await visit.call.items(f"{path}/holds")}
        found += [
            (project, run, held.get(run["id"]))
            for run in await visit.call.items(f"{path}/runs")
            if asked["state"] in {"", run["state"]}
        ]
    found.sort(key=lambda one: str(one[1]["created_at"]), reverse=True)
    return visit.page(
        "runs.html",
        found=found[:_MOST_RUNS],
        count=len(found),
        older=urlencode({**asked, "skip": end}) if len(chosen) > end else None,
        projects=projects,
        agreements=sorted({one["reference"] for one in await visit.call.items("/v1/agreements")}),
        states=_STATES,
        asked=asked,
        sees_work=sees_work(visit),
    )


async def show_run(visit: Visit) -> Response:
    """One run: how far it is, what it compared, who asked for it, and what came of it."""
    work, run = await _run(visit)
    releases = [release for release in work.releases if release["run"] == run["id"]]
    history = await newest_events(visit, resource=run["id"])
    retrieved = await newest_events(visit, type="link_table.retrieved", project=work.project["id"]) if releases else []
    progress = run["progress"]
    return visit.page(
        "run.html",
        work=work,
        project=work.project,
        run=run,
        hold=work.hold_on("run", run["id"]),
        asked_by=next((event for event in history if event["type"] == "run.requested"), None),
        readings=[event for event in history if event["type"] in {"report.retrieved", "summary.retrieved"}],
        history=[event for event in history if event["type"].startswith("run.")],
        releases=releases[::-1],
        retrievals=_by_release(retrieved),
        share_done=progress["done"] / progress["total"] if progress["total"] else None,
        sees_findings=_sees_findings(visit, work.project),
        names=await names_of(visit),
        offered=_offered(visit, work, kind="run", thing=run),
        done=_said(visit),
        event=visit.query("event") if visit.query("event").isdecimal() else "",
    )


async def show_findings(visit: Visit) -> Response:
    """What a run found. Reading it is a disclosure, which the API decides on and records."""
    work, run = await _run(visit)
    report: Json | None = None
    if work.project["kind"] == "feasibility":
        summary = (await visit.call.get(f"/v1/runs/{run['id']}/summary")).document
    else:
        # The report holds all that the summary holds: one disclosure, not two.
        summary = report = (await visit.call.get(f"/v1/runs/{run['id']}/report")).document
    names = await names_of(visit)
    patterns = [(_together(pattern, names), pattern["groups"]) for pattern in _ordered(summary["patterns"])]
    drawn = [(one, plots.histogram(one), plots.curve(one)) for one in report["comparisons"]] if report else []
    return visit.page(
        "findings.html",
        work=work,
        project=work.project,
        run=run,
        summary=summary,
        report=report,
        patterns=patterns,
        overlap=plots.overlap(patterns),
        drawn=drawn,
        names=names,
    )


async def show_release(visit: Visit) -> Response:
    """One release: for whom, for what, until when, and who retrieved what of it."""
    work = await Reading(visit).one(visit.param("project"))
    release = _there(work.release(visit.param("release")))
    history = await newest_events(visit, resource=release["id"])
    return visit.page(
        "release.html",
        work=work,
        project=work.project,
        release=release,
        hold=work.hold_on("release", release["id"]),
        run_hold=work.hold_on("run", release["run"]),
        granted=next((event for event in history if event["type"] == "release.granted"), None),
        retrieved=[event for event in history if event["type"] == "link_table.retrieved"],
        told=[event for event in history if event["type"] == "withdrawal.retrieved"],
        names=await names_of(visit),
        offered=_offered(visit, work, kind="release", thing=release),
        done=_said(visit),
        event=visit.query("event") if visit.query("event").isdecimal() else "",
    )


async def show_run_act(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """The form of a hold on a run, or of its end."""
    work, run = await _run(visit)
    return await _form(visit, work, kind="run", thing=run, refusal=refusal)


async def show_release_act(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """The form of a hold on a release, or of its end."""
    work = await Reading(visit).one(visit.param("project"))
    release = _there(work.release(visit.param("release")))
    return await _form(visit, work, kind="release", thing=release, refusal=refusal)


async def act_on_run(visit: Visit) -> Response:
    """Puts or lifts the hold on a run."""
    run = visit.param("run")
    shown = f"/projects/{visit.param('project')}/runs/{run}"
    return await _act(visit, f"/runs/{run}", shown=shown, again=show_run_act)


async def act_on_release(visit: Visit) -> Response:
    """Puts or lifts the hold on a release."""
    release = visit.param("release")
    shown = f"/projects/{visit.param('project')}/releases/{release}"
    return await _act(visit, f"/releases/{release}", shown=shown, again=show_release_act)


async def _act(visit: Visit, path: str, *, shown: str, again: Any) -> Response:
    name, form = visit.param("act"), visit.form
    if name not in ACTS:
        raise Refusal.no_page()

    def body() -> Json:
        reason = {"reason": form["reason"]}
        return {**reason, "ground": form["ground"]} if name == "restrict" else reason

    return await visit.carry_out(path, name, body, again=again, shown=shown)


async def _form(visit: Visit, work: Work, *, kind: str, thing: Json, refusal: Refusal | None) -> Response:
    name = visit.param("act")
    if name not in ACTS:
        raise Refusal.no_page()
    return visit.page(
        "hold.html",
        status=200 if refusal is None else refusal.status,
        work=work,
        kind=kind,
        thing=thing,
        name=name,
        act=ACTS[name],
        hold=work.hold_on(kind, thing["id"]),
        page=work.path_of(kind, thing["id"]),
        grounds=wording.GROUNDS,
        confirms_with=await visit.confirms_with(),
        given=visit.form,
        refusal=refusal,
    )


async def _run(visit: Visit) -> tuple[Work, Json]:
    # By the project's list: that is what officers of the linkage unit are given.
    work = await Reading(visit).one(visit.param("project"))
    return work, _there(work.run(visit.param("run")))


def _there(found: Json | None) -> Json:
    if found is None:
        raise Refusal.no_page()
    return found


def _said(visit: Visit) -> str:
    done = ACTS.get(visit.query("done"))
    return done.done if done else ""


def _offered(visit: Visit, work: Work, *, kind: str, thing: Json) -> tuple[str, Act] | None:
    """The act whose button is shown; the API decides whether it does anything."""
    if not visit.oversees or thing["state"] == "deleted":
        return None
    name = "restrict" if work.hold_on(kind, thing["id"]) is None else "lift-restriction"
    return name, ACTS[name]


def _sees_findings(visit: Visit, project: Json) -> bool:
    """Whether the person is among those whom the policy lets read what a run found: for what is offered."""
    mine = (visit.me or {})["organisation"]["id"]
    return (mine in project["providers"] and "analyst" in visit.roles) or (
        mine in project["recipients"] and "recipient" in visit.roles
    )


def _by_release(events: Sequence[Json]) -> Mapping[str, list[Json]]:
    found: dict[str, list[Json]] = defaultdict(list)
    for event in events:
        found[event["resource"]["id"]].append(event)
    return found


def _ordered(patterns: Sequence[Json]) -> list[Json]:
    """What several share first, and of them what most share; then what each has alone."""
    return sorted(patterns, key=lambda pattern: (len(pattern["organisations"]) == 1, -len(pattern["organisations"])))


def _together(pattern: Json, names: Mapping[str, str]) -> str:
    shown = [names.get(one, one) for one in pattern["organisations"]]
    return f"{shown[0]} alone" if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


PAGES: Final = (
    Page("GET", "/runs", show_all),
    Page("GET", "/projects/{project}/runs/{run}", show_run),
    Page("GET", "/projects/{project}/runs/{run}/findings", show_findings),
    Page("GET", "/projects/{project}/runs/{run}/{act}", show_run_act),
    Page("POST", "/projects/{project}/runs/{run}/{act}", act_on_run),
    Page("GET", "/projects/{project}/releases/{release}", show_release),
    Page("GET", "/projects/{project}/releases/{release}/{act}", show_release_act),
    Page("POST", "/projects/{project}/releases/{release}/{act}", act_on_release),
)
