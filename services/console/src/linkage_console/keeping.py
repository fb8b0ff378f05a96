"""What is kept of projects, until when, and why something is still there that should not be.

The dates are those of the service's own sweep: the earliest of a thing's own date and the end of its agreement.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from linkage_console.work import Work

Kind = Literal["upload", "run", "release"]
KINDS: Final[tuple[Kind, ...]] = ("upload", "run", "release")
# On these grounds the person asked that the data be kept, so they outlive their date.
KEEPING_GROUNDS: Final = frozenset({"unlawful", "legal_claims"})
_MOST_SPANS: Final = 9
_STEPS: Final = tuple(timedelta(days=days) for days in (1, 7, 28, 91, 364, 3640, 36_400))


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that is deleted at its date.

    Attributes:
        kind: an upload, a run's result, or the link tables of a release.
        path: of the page that shows it.
        project: name of its project.
        reference: of its agreement.
        organisation: id of the one that uploaded or receives; empty for a run.
        due: when it is deleted.
        ended: whether that is because the agreement ends.
        held: ground of the hold that keeps it past its date; None where nothing does.
    """

    kind: Kind
    path: str
    project: str
    reference: str
    organisation: str
    due: datetime
    ended: bool
    held: str | None

    def overdue(self, now: datetime) -> bool:
        """Whether it should be gone."""
        return self.due <= now

    def days(self, now: datetime) -> int:
        """Days between now and its date, whichever comes first."""
        return abs(self.due.astimezone(UTC).date() - now.astimezone(UTC).date()).days


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time with how many things of each kind are deleted in it; without a beginning, those overdue."""

    begins: datetime | None
    counts: dict[Kind, int]


def kept(work: Work, *, now: datetime) -> list[Kept]:
    """What is kept of a project, the earliest first."""
    terms, page = work.terms, f"/projects/{work.project['id']}"
    own_end = now if terms.state == "terminated" else terms.ends
    found: list[Kept] = []

    def add(kind: Kind, path: str, by: datetime, *, organisation: str = "", held: str | None = None) -> None:
        ended = own_end < by
        found.append(
            Kept(
                kind=kind,
                path=path,
                project=work.project["name"],
                reference=terms.reference,
                organisation=organisation,
                due=min(by, own_end),
                ended=ended,
                held=held,
            )
        )

    for upload in work.uploads:
        if upload["state"] != "deleted":
            add("upload", page, _moment(upload["delete_by"]), organisation=upload["organisation"])
    for run in work.runs:
        if run["state"] == "succeeded":
            by = _moment(run["finished_at"]) + timedelta(days=terms.link_tables_days)
            add("run", work.path_of("run", run["id"]), by, held=_keeps_run(work, run["id"]))
    for release in work.releases:
        if release["state"] != "deleted":
            add(
                "release",
                work.path_of("release", release["id"]),
                _moment(release["delete_by"]),
                organisation=release["recipient"],
                held=_ground(work, "run", release["run"]) or _ground(work, "release", release["id"]),
            )
    return sorted(found, key=lambda one: (one.due, KINDS.index(one.kind)))


def spans(found: Iterable[Kept], *, now: datetime) -> tuple[timedelta, list[Span]]:
    """How many things are deleted when: those overdue, then stretches of one width from today to the last date."""
    things = list(found)
    today = datetime.combine(now.astimezone(UTC).date(), datetime.min.time(), UTC)
    last = max((one.due for one in things), default=today)
    step = next((step for step in _STEPS if (last - today) / step < _MOST_SPANS), _STEPS[-1])
    many = max((last - today) // step, 0) + 1 if things else 0
    made = [Span(None, dict.fromkeys(KINDS, 0))]
    made += [Span(today + place * step, dict.fromkeys(KINDS, 0)) for place in range(many)]
    for one in things:
        place = 0 if one.overdue(now) else 1 + (one.due - today) // step
        made[place].counts[one.kind] += 1
    return step, made


def _ground(work: Work, kind: str, object_id: str) -> str | None:
    hold = work.hold_on(kind, object_id)
    return hold["ground"] if hold and hold["ground"] in KEEPING_GROUNDS else None


def _keeps_run(work: Work, run_id: str) -> str | None:
    """Ground of the hold that keeps a run: its own, or that of a release of it."""
    own: Sequence[str | None] = [
        _ground(work, "run", run_id),
        *(_ground(work, "release", release["id"]) for release in work.releases if release["run"] == run_id),
    ]
    return next((ground for ground in own if ground), None)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
