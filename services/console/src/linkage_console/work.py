"""What the pages of projects, runs, rights and retention read of a project, with what its agreement says of it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from linkage_console.calling import Json
from linkage_console.gathering import MOST_EVENTS
from linkage_console.visits import Visit

# A page of several makes half a dozen calls for each.
MOST_PROJECTS: Final = 20
_LONGEST_SKIP: Final = 6
# What an agreement means that does not say it.
_ACCESS_REQUEST_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Terms:
    """What the agreement version of a project says that pages count by.

    Attributes:
        reference: of the agreement.
        state: of the agreement.
        least: counts of people below it are not shown.
        encodings_days: how long encodings are kept.
        link_tables_days: how long results and link tables are kept.
        bodies_days: how long details of events are kept.
        access_request_days: within how many days an access request is answered.
        ends: when everything under it is deleted.
        tells_overlap: whether the summary is among its outputs.
    """

    reference: str
    state: str
    least: int
    encodings_days: int
    link_tables_days: int
    bodies_days: int
    access_request_days: int
    ends: datetime
    tells_overlap: bool

    def told(self, count: int | None) -> str:
        """A count of records in words: a small one is not told exactly, zero included."""
        if count is None:
            return "not told"
        return f"fewer than {self.least:,}" if count < self.least else f"{count:,}"

    def tells_pairs(self, run: Json) -> bool:
        """Whether numbers of pairs are told: they are products of the counts, so a small one could be divided out."""
        return all(upload["count"] >= self.least for upload in run["uploads"])


@dataclass(frozen=True, slots=True)
class Work:
    """A project with what is in it, as lists of the API.

    Attributes:
        holds: those in force.
    """

    project: Json
    terms: Terms
    uploads: Sequence[Json]
    runs: Sequence[Json]
    releases: Sequence[Json]
    holds: Sequence[Json]

    def run(self, run_id: str) -> Json | None:
        """A run of it."""
        return next((run for run in self.runs if run["id"] == run_id), None)

    def release(self, release_id: str) -> Json | None:
        """A release of it."""
        return next((release for release in self.releases if release["id"] == release_id), None)

    def hold_on(self, kind: str, object_id: str) -> Json | None:
        """The hold on a run or a release."""
        return next((hold for hold in self.holds if hold["kind"] == kind and hold["object"] == object_id), None)

    def path_of(self, kind: str, object_id: str) -> str:
        """The page of a run or a release of it."""
        return f"/projects/{self.project['id']}/{kind}s/{object_id}"


@dataclass(slots=True)
class Reading:
    """Reads projects for one page; an agreement version that several stand under is read once."""

    visit: Visit
    _terms: dict[tuple[str, int], Terms] = field(default_factory=dict)

    async def projects(self, *, agreement: str = "", project: str = "") -> list[Json]:
        """The projects that the person sees, the newest first."""
        return [
            found
            for found in await self.visit.call.items("/v1/projects")
            if agreement in {"", found["agreement"]["reference"]} and project in {"", found["id"]}
        ][::-1]

    async def some_work(
        self, *, agreement: str = "", project: str = "", skip: int = 0
    ) -> tuple[list[Work], int | None]:
        """Projects with what is in them, the newest first, and after how many there are more.

        Args:
            agreement: reference of theirs; empty for any.
            project: one of them by its id; empty for any.
            skip: how many of the newest to leave out.
        """
        if not sees_work(self.visit):
            return [], None
        found = await self.projects(agreement=agreement, project=project)
        end = skip + MOST_PROJECTS
        works = [await self.work(one) for one in found[skip:end]]
        return works, end if len(found) > end else None

    async def one(self, project_id: str) -> Work:
        """A project by its id."""
        return await self.work((await self.visit.call.get(f"/v1/projects/{project_id}")).document)

    async def work(self, project: Json) -> Work:
        """What is in a project."""
        path = f"/v1/projects/{project['id']}"
        terms = await self.terms(project)
        uploads, runs, releases, holds = await asyncio.gather(
            *(self.visit.call.items(f"{path}/{name}") for name in ("uploads", "runs", "releases", "holds"))
        )
        return Work(project, terms, uploads, runs, releases, holds)

    async def terms(self, project: Json) -> Terms:
        """What governs a project."""
        version = (project["agreement"]["id"], project["agreement"]["version"])
        if version not in self._terms:
            read = (await self.visit.call.get(f"/v1/agreements/{version[0]}/versions/{version[1]}")).document
            self._terms[version] = terms_of(read)
        return self._terms[version]


def sees_work(visit: Visit) -> bool:
    """Whether the person may read what is in the projects that they see; administrators of the linkage unit do not.

    Asking would be refused, and the refusal would stand in the log as if somebody had tried something.
    """
    return not visit.of_unit or visit.oversees


def terms_of(version: Mapping[str, Any]) -> Terms:
    """What a version of an agreement says."""
    document = version["document"]
    retention = document["retention"]
    return Terms(
        reference=version["reference"],
        state=version["state"],
        least=document["data"]["min_group_count"],
        encodings_days=retention["encodings_days"],
        link_tables_days=retention["link_tables_days"],
        bodies_days=retention["audit_bodies_days"],
        access_request_days=document["rights"].get("access_request_days", _ACCESS_REQUEST_DAYS),
        ends=datetime.fromisoformat(document["review"]["ends"]),
        tells_overlap="summary" in document["data"]["outputs"],
    )


def skip_of(visit: Visit) -> int:
    """How many projects the address asks to leave out."""
    asked = visit.query("skip")
    return int(asked) if asked.isdecimal() and len(asked) <= _LONGEST_SKIP else 0


async def newest_events(visit: Visit, **asked: str) -> list[Json]:
    """The newest events that succeeded, of what is asked for. Looking is an event in the log."""
    page = (
        await visit.call.get("/v1/audit/events", **asked, outcome="success", order="newest", limit=MOST_EVENTS)
    ).document
    return [{"seq": item["seq"], **item["header"]} for item in page["items"]]
