"""Finds events by what their headers say, in order of their numbers, as far as the asker may see them.

Every query is bounded: it reads indexes in the order of sequence numbers and stops at a page. Where few events fit one
of the conditions these are looked at; else the entries of all conditions are merged, and no event is read that does not
fit. What an asker may see is read as separate streams that are merged, one for each agreement and one for what it did
under none: a condition with "or" would have the database collect and sort them all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, func, intersect, literal_column, or_
from sqlalchemy import select as sa_select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from linkage_ledger import events
from linkage_service.audit.tables import AuditEvent, size_of

# So many events are looked at one by one, in a tenth of a second. To merge indexes costs an entry of each instead, of
# which a database reads ten in the time of one event.
_FEW = 20_000
_IN_STATEMENT = 2_000
_ELEMENTS, _OWN = "elements", "own"
_Query = Select[Any] | CompoundSelect[Any]


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
        version: version of that agreement, which has to be named.
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

    def __post_init__(self) -> None:
        if self.version is not None and self.agreement is None:
            raise ValueError("a version is of an agreement")


COLUMN_OF = {
    "organisation": "actor_org", "actor": "actor_id", "action": "action", "type": "type", "agreement": "agreement",
    "project": "project", "resource_type": "resource_type", "resource": "resource_id", "purpose": "purpose",
    "outcome": "outcome", "request": "request_id",
}  # fmt: skip
"""The column of an event that a filter compares, where it compares one."""


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


def timeless(session: Session, question: Question) -> Question:
    """The same question without its times, if every event between its numbers is of these: then none is looked at."""
    times = _times(question.filters)
    number = col(AuditEvent.seq)
    within = (*times, number >= question.first, number < question.end)
    if times and session.execute(sa_select(func.count()).where(*within)).scalar_one() < question.end - question.first:
        return question
    return replace(question, filters=replace(question.filters, since=None, until=None))


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
    # By its name in the answer, which every kind of query has.
    number: ColumnElement[int] = literal_column("seq")
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


@dataclass(frozen=True, slots=True)
class _Condition:
    """A condition that an index answers in the order of numbers.

    Attributes:
        name: the column that is compared; or that an element refused; or that an organisation acted under no agreement.
        value: with what.
        version: of an agreement, which its index holds too; None for any.
    """

    name: str
    value: str
    version: str | None = None

    def by_index(self, event: Any) -> list[ColumnElement[bool]]:
        """So that its index is read."""
        if self.name == _OWN:
            return [event.agreement.is_(None), event.actor_org == self.value]
        if self.name == _ELEMENTS:
            return [event.elements.is_not(None), event.elements.contains(self.value)]
        found: list[ColumnElement[bool]] = [getattr(event, self.name) == self.value]
        return found if self.version is None else [*found, event.agreement_version == self.version]

    def by_look(self, event: Any) -> list[ColumnElement[bool]]:
        """So that each event is looked at: as expressions, by which no index is read."""
        if self.name == _OWN:
            return [func.coalesce(event.agreement, "") == "", func.coalesce(event.actor_org, "") == self.value]
        if self.name == _ELEMENTS:
            return [func.coalesce(event.elements, "").contains(self.value)]
        found: list[ColumnElement[bool]] = [func.coalesce(getattr(event, self.name), "") == self.value]
        return found if self.version is None else [*found, func.coalesce(event.agreement_version, "") == self.version]

    def read(self, event: Any) -> list[ColumnElement[bool]]:
        """What is read of its index: of refusing elements all, and of an agreement every version."""
        if self.name == _ELEMENTS:
            return [event.elements.is_not(None)]
        return replace(self, version=None).by_index(event)


class _Search:
    """A question made into queries: what is the same for every stream is looked up once."""

    def __init__(self, session: Session, question: Question) -> None:
        self._session = session
        self._question = question
        asked = question.filters
        self._equal: dict[str, str | None] = {
            column: value for name, column in COLUMN_OF.items() if (value := getattr(asked, name)) is not None
        }
        self._first, self._end = question.first, question.end
        self._rest = self._in_time(_times(asked))
        self._version = None if asked.version is None else str(asked.version)
        self._sizes: dict[_Condition, int] = {}

    def queries(self, scope: Scope) -> list[_Query]:
        """Queries for the numbers of all events within a scope that fit; no event is in two of them."""
        if scope.organisation is not None and any(self._size(one) < _FEW for one in self._conditions({})):
            agreement, organisation = func.coalesce(AuditEvent.agreement, ""), func.coalesce(AuditEvent.actor_org, "")
            within = or_(agreement.in_(scope.references), and_(agreement == "", organisation == scope.organisation))
            return [self._matching({}, within)]
        return [self._matching(stream) for stream in _streams(self._question, scope)]

    def _matching(self, stream: Mapping[str, str | None], *further: ColumnElement[bool]) -> _Query:
        """The sequence numbers of a stream's events that fit the question."""
        conditions = self._conditions(stream)
        if len(conditions) > 1:
            conditions.sort(key=self._size)
            if self._size(conditions[0]) >= _FEW:
                return self._merged(conditions)
        event: Any = AuditEvent
        found = [*self._within(event), *self._rest, *further]
        for place, condition in enumerate(conditions):
            found += condition.by_look(event) if place else condition.by_index(event)
        return sa_select(event.seq).where(*found)

    def _merged(self, conditions: Sequence[_Condition]) -> _Query:
        """The numbers that are in the indexes of all conditions, which are walked side by side.

        SQLite does so for INTERSECT with an order, and PostgreSQL for joins; what one makes of the other is slow.
        """
        event: Any = AuditEvent
        if self._session.get_bind().dialect.name == "sqlite":
            numbers = intersect(
                *(sa_select(event.seq).where(*self._within(event), *one.by_index(event)) for one in conditions)
            )
            return sa_select(event.seq).where(event.seq.in_(numbers), *self._rest) if self._rest else numbers
        first, *others = [aliased(event) for _ in conditions]
        query = sa_select(first.seq)
        for other in [*others, *([event] if self._rest else [])]:
            query = query.join(other, other.seq == first.seq)
        for one, condition in zip((first, *others), conditions, strict=True):
            query = query.where(*self._within(one), *condition.by_index(one))
        return query.where(*self._rest)

    def _conditions(self, stream: Mapping[str, str | None]) -> list[_Condition]:
        equal = {**self._equal, **stream}
        if "agreement" in equal and equal["agreement"] is None:
            del equal["agreement"]
            equal[_OWN] = equal.pop("actor_org")
        found = [
            _Condition(name, value, self._version if name == "agreement" else None)
            for name, value in equal.items()
            if value is not None
        ]
        if self._question.filters.element is not None:
            found.append(_Condition(_ELEMENTS, str(self._question.filters.element)))
        return found

    def _in_time(self, times: list[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
        """Narrows the numbers down to those of the times asked for; gives what each event is still to be held against.

        The clock may have been set back, so numbers do not follow from times: the index says where they lie. Where all
        numbers in between are of these times, none has to be looked at.
        """
        if not times or self._question.located:
            return times
        number = col(AuditEvent.seq)
        low, high, count = self._session.execute(
            sa_select(func.min(number), func.max(number), func.count()).where(*times)
        ).one()
        self._first = max(self._first, 0 if low is None else low)
        self._end = min(self._end, 0 if high is None else high + 1)
        return [] if low is None or count == high - low + 1 else times

    def _within(self, event: Any) -> list[ColumnElement[bool]]:
        return [event.seq >= self._first, event.seq < self._end]

    def _size(self, condition: _Condition) -> int:
        """How many entries its index has, as far as they are counted."""
        if condition not in self._sizes:
            event: Any = AuditEvent
            entries = sa_select(event.seq).where(*condition.read(event), *self._within(event)).limit(_FEW)
            counted = self._session.execute(sa_select(func.count()).select_from(entries.subquery()))
            self._sizes[condition] = int(counted.scalar_one())
        return self._sizes[condition]


def _times(asked: Filters) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if asked.since is not None:
        found.append(col(AuditEvent.time) >= events.format_time(asked.since))
    if asked.until is not None:
        found.append(col(AuditEvent.time) < events.format_time(asked.until))
    return found
