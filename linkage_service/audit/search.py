"""Finds events by what their headers say, in order of their numbers, as far as the asker may see them.

Every query is bounded: it reads an index in the order of sequence numbers and stops at a page. What an asker may see is
read as separate streams that are merged, one for each agreement and one for what it did under none: a condition with
"or" would have the database collect and sort them all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from linkage_ledger import events
from linkage_service.audit.tables import AuditEvent, size_of

# Which of several conditions the index is read by: the rarest, as far as this many entries tell.
_COUNTED = 100_000
_IN_STATEMENT = 2_000
_VERSION, _ELEMENTS = "agreement_version", "elements"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose events an asker may see.

    Attributes:
        organisation: None for everybody's; else what happened under `references`, and what this organisation did under
            no agreement. What it was refused under an agreement that it is no party of stays hidden from it: it was
            told that there is no such thing.
        references: references of the agreements that the organisation is a party of.
    """

    organisation: str | None = None
    references: tuple[str, ...] = ()

    def shows(self, row: AuditEvent) -> bool:
        """Whether an event lies within it."""
        if self.organisation is None or row.agreement in self.references:
            return True
        return row.agreement is None and row.actor_org == self.organisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is looked for; None is anything.

    Attributes:
        organisation: id of the organisation that acted.
        actor: id of who acted.
        action: what was asked for, as the policy names it.
        type: of the event.
        agreement: reference of the agreement that it happened under.
        version: version of that agreement.
        project: id of the project.
        resource_type: what was acted on.
        resource: id of what was acted on.
        purpose: the purpose that was stated.
        outcome: how it ended.
        element: the element of the agreement, 1 to 9, that refused.
        request: id of the request.
        since: not before.
        until: before.
    """

    organisation: str | None = None
    actor: str | None = None
    action: str | None = None
    type: str | None = None
    agreement: str | None = None
    version: int | None = None
    project: str | None = None
    resource_type: str | None = None
    resource: str | None = None
    purpose: str | None = None
    outcome: str | None = None
    element: int | None = None
    request: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_COLUMN_OF = {
    "organisation": "actor_org", "actor": "actor_id", "action": "action", "type": "type", "agreement": "agreement",
    "project": "project", "resource_type": "resource_type", "resource": "resource_id", "purpose": "purpose",
    "outcome": "outcome", "request": "request_id",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Filters, and between which sequence numbers.

    Attributes:
        filters: what is looked for.
        first: the first number.
        end: the number after the last.
        located: whether it was looked up already between which numbers the filters' times lie.
    """

    filters: Filters = field(default_factory=Filters)
    first: int = 0
    end: int
    located: bool = False


def page(session: Session, question: Question, scope: Scope, *, limit: int, newest_first: bool) -> Sequence[AuditEvent]:
    """At most `limit` events in order."""
    return _rows(session, _numbers(session, question, scope, limit=limit, newest_first=newest_first), newest_first)


def count(session: Session, question: Question, scope: Scope) -> int:
    """How many events there are."""
    counts = [
        sa_select(func.count()).select_from(query.subquery()) for query in _Search(session, question).queries(scope)
    ]
    return sum(int(session.execute(query).scalar_one()) for query in counts)


def extent(session: Session, question: Question, scope: Scope) -> tuple[int, int] | None:
    """The first and the last sequence number among the events; None where there is none."""
    first, last = (
        _numbers(session, question, scope, limit=1, newest_first=newest_first) for newest_first in (False, True)
    )
    return (first[0], last[0]) if first and last else None


def versions(session: Session, question: Question, scope: Scope) -> set[tuple[str, int]]:
    """The versions of agreements, by reference, under which the events happened."""
    found: set[tuple[str, int]] = set()
    for numbers in _Search(session, question).queries(scope):
        query = sa_select(col(AuditEvent.agreement), col(AuditEvent.agreement_version)).where(
            col(AuditEvent.seq).in_(numbers), col(AuditEvent.agreement_version).is_not(None)
        )
        found |= {(reference, int(number)) for reference, number in session.execute(query.distinct())}
    return found


def stated(session: Session, filters: Filters, scope: Scope) -> dict[str, object]:
    """What was asked for, for the body of the event that says so.

    References and purposes are words that parties made up; one that no event has which the asker may see is noted as
    unknown, so that nobody writes into the log what they look for, or reads in it what others have.
    """
    given = {item.name: getattr(filters, item.name) for item in fields(filters)}
    for only in (Filters(agreement=filters.agreement), Filters(purpose=filters.purpose)):
        if only != Filters() and not page(
            session, Question(filters=only, end=size_of(session)), scope, limit=1, newest_first=True
        ):
            given["purpose" if only.agreement is None else "agreement"] = "unknown"
    return {
        name: events.format_time(value) if isinstance(value, datetime) else value
        for name, value in given.items()
        if value is not None
    }


def _numbers(session: Session, question: Question, scope: Scope, *, limit: int, newest_first: bool) -> list[int]:
    number = col(AuditEvent.seq)
    order = number.desc() if newest_first else number
    found = [
        session.execute(query.order_by(order).limit(limit)).scalars()
        for query in _Search(session, question).queries(scope)
    ]
    return list(islice(merge(*found, reverse=newest_first), limit))


def _rows(session: Session, numbers: Sequence[int], newest_first: bool) -> Sequence[AuditEvent]:  # noqa: FBT001 - one caller
    rows: list[AuditEvent] = []
    for start in range(0, len(numbers), _IN_STATEMENT):
        chunk = numbers[start : start + _IN_STATEMENT]
        rows += session.exec(select(AuditEvent).where(col(AuditEvent.seq).in_(chunk)))
    return sorted(rows, key=lambda row: row.seq, reverse=newest_first)


def _streams(question: Question, scope: Scope) -> Iterator[dict[str, str | None]]:
    """What each stream has in common: events are in one of them at most."""
    asked = question.filters
    if scope.organisation is None:
        yield {}
        return
    for reference in scope.references:
        if asked.agreement in (None, reference):
            yield {"agreement": reference}
    if asked.agreement is None and asked.organisation in (None, scope.organisation):
        yield {"actor_org": scope.organisation, "agreement": None}


class _Search:
    """A question made into queries: what is the same for every stream is looked up once."""

    def __init__(self, session: Session, question: Question) -> None:
        self._session = session
        self._question = question
        asked = question.filters
        self._equal: dict[str, str | None] = {
            column: value for name, column in _COLUMN_OF.items() if (value := getattr(asked, name)) is not None
        }
        if asked.version is not None:
            self._equal[_VERSION] = str(asked.version)
        self._refused = (
            None
            if asked.element is None
            else and_(col(AuditEvent.elements).is_not(None), col(AuditEvent.elements).contains(str(asked.element)))
        )
        self._times = _times(asked)
        self._first, self._end = question.first, question.end
        if self._times and not question.located:
            # The clock may have been set back, so numbers do not follow from times: the index says where they lie.
            number = col(AuditEvent.seq)
            low, high = session.execute(sa_select(func.min(number), func.max(number)).where(*self._times)).one()
            self._first = max(self._first, 0 if low is None else low)
            self._end = min(self._end, 0 if high is None else high + 1)
        self._sizes: dict[tuple[str, str | None], int] = {}

    def matching(self, stream: Mapping[str, str | None], scope: Scope | None = None) -> Select[Any]:
        """The sequence numbers of a stream's events that fit the question, and lie within a scope if one is given."""
        equal = {**self._equal, **stream}
        leading = self._leading(equal)
        conditions = [*self._within(), *self._times]
        if self._refused is not None:
            conditions.append(self._refused)
        if scope is not None:
            agreement, organisation = func.coalesce(AuditEvent.agreement, ""), func.coalesce(AuditEvent.actor_org, "")
            conditions.append(
                or_(agreement.in_(scope.references), and_(agreement == "", organisation == scope.organisation))
            )
        for name, value in equal.items():
            column: Any = getattr(AuditEvent, name)
            if name in leading:
                conditions.append(column.is_(None) if value is None else column == value)
            else:
                # As an expression, so that no index is read by it.
                conditions.append(func.coalesce(column, "") == (value or ""))
        return sa_select(col(AuditEvent.seq)).where(*conditions)

    def queries(self, scope: Scope) -> list[Select[Any]]:
        """Queries for the numbers of all events within a scope that fit; no event is in two of them."""
        if scope.organisation is not None and self._is_rare():
            return [self.matching({}, scope)]
        return [self.matching(stream) for stream in _streams(self._question, scope)]

    def _is_rare(self) -> bool:
        """Whether so few events fit one of the conditions that it is cheaper to look at each of them."""
        sizes = [self._size(name, value) for name, value in self._equal.items() if name != _VERSION]
        if self._refused is not None:
            sizes.append(self._size(_ELEMENTS, None))
        return min(sizes, default=_COUNTED) < _COUNTED

    def _within(self) -> list[ColumnElement[bool]]:
        return [col(AuditEvent.seq) >= self._first, col(AuditEvent.seq) < self._end]

    def _leading(self, equal: Mapping[str, str | None]) -> set[str]:
        """The condition that fewest events fit, by whose index the others are looked up; none for refusing elements."""
        if equal.get("agreement", "") is None:
            return {"actor_org", "agreement"}
        candidates = [name for name in equal if name != _VERSION]
        if len(candidates) + (self._refused is not None) < 2:  # noqa: PLR2004 - nothing to choose from
            return set(candidates)
        sizes = {name: self._size(name, equal[name]) for name in candidates}
        rarest = min(candidates, key=lambda name: sizes[name])
        if self._refused is not None and self._size(_ELEMENTS, None) < sizes[rarest]:
            return set()
        return {rarest}

    def _size(self, name: str, value: str | None) -> int:
        """How many events fit one condition, as far as they are counted."""
        if (name, value) not in self._sizes:
            column: Any = getattr(AuditEvent, name)
            condition = column.is_not(None) if name == _ELEMENTS else column == value
            entries = sa_select(col(AuditEvent.seq)).where(condition, *self._within()).limit(_COUNTED)
            counted = self._session.execute(sa_select(func.count()).select_from(entries.subquery()))
            self._sizes[name, value] = int(counted.scalar_one())
        return self._sizes[name, value]


def _times(asked: Filters) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if asked.since is not None:
        found.append(col(AuditEvent.time) >= events.format_time(asked.since))
    if asked.until is not None:
        found.append(col(AuditEvent.time) < events.format_time(asked.until))
    return found
