"""Watches the log and the calendar for what an officer should look at, and raises alarms.

The worker does this once a minute. A reading transaction finds what the log holds since the last time. A short writing
one raises alarms and notes how far the watch came, unless somebody else went on meanwhile: whatever it is killed at,
each occasion has one alarm. Figures are of the events' own times, so a worker that was away finds what it would have
found in time.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import TypeVar

import structlog
from sqlalchemy import func
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select

from linkage_ledger import events
from linkage_service.agreements import service as agreements
from linkage_service.agreements import tables as agreement_tables
from linkage_service.agreements.document import Hours
from linkage_service.audit import alarm_tables, tables
from linkage_service.audit.alarms import Notice, raise_alarms
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Log
from linkage_service.audit.tables import AuditEvent
from linkage_service.clock import Clock
from linkage_service.database import Database
from linkage_service.ids import new_id
from linkage_service.projects.service import governed
from linkage_service.retention import service as retention
from linkage_service.retention import tables as claims
from linkage_service.settings import WorkingHours

Answer = TypeVar("Answer")
_log = structlog.get_logger(__name__)
WATCH = "alarms"
_LEASE = timedelta(minutes=5)
# At most so many events, and so alarms, in one writing transaction. Fewer would read the week's refusals more often.
_AT_ONCE = 2_000
# A spike: so many refusals within an hour, and so many times the average hour of the week before it.
SPIKE_LEAST = 10
SPIKE_TIMES = 5
SPIKE_WINDOW = timedelta(hours=1)
SPIKE_PAST = timedelta(days=7)
# Each ends encodings and runs of everybody in the project: one is an answer to something, two are a pattern.
EPOCHS_WINDOW = timedelta(hours=24)
# The sweep deletes within minutes of a date. What is there an hour later is held, or the sweep is not working.
RETENTION_GRACE = timedelta(hours=1)
Further = Callable[[Session, datetime], Iterable[Notice]]


@dataclass(frozen=True, slots=True)
class _Seen:
    """An event as the watch reads it."""

    seq: int
    at: datetime
    header: events.Header


@dataclass(frozen=True, slots=True)
class _Step:
    """What the watch finds between two places of the log."""

    before: int
    after: int
    notices: Sequence[Notice]


class Refusals:
    """The refusals of one subject within an hour, and within the week before it, as time goes on."""

    def __init__(self) -> None:
        self._times: list[datetime] = []
        self._hour = self._week = 0

    def add(self, at: datetime) -> tuple[int, int]:
        """Counts a refusal that is no earlier than those before; gives those of its hour, and of the week before."""
        self._times.append(at)
        hour_began = at - SPIKE_WINDOW
        week_began = hour_began - SPIKE_PAST
        while self._times[self._hour] <= hour_began:
            self._hour += 1
        while self._times[self._week] < week_began:
            self._week += 1
        return len(self._times) - self._hour, self._hour - self._week


class Watch:
    """Watches, one worker of a service at a time."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        clock: Clock,
        every_s: float,
        office_hours: WorkingHours,
        further: Sequence[Further] = (),
    ) -> None:
        """Watch a service.

        Args:
            database: its database.
            log: its log.
            clock: gives the time.
            every_s: how long after a round the next is due, seconds.
            office_hours: when exports are expected, for organisations and agreements that say nothing else.
            further: other things to look at; each gives what it found.
        """
        self._database = database
        self._ledger = log
        self._clock = clock
        self._every = timedelta(seconds=every_s)
        self._office_hours = office_hours
        self._further = further
        self._holder = secrets.token_hex(8)

    def watch_if_due(self) -> int | None:
        """Looks if nobody did for a while; gives how many alarms were raised, None if it was not due."""
        now = self._clock()
        with self._database.reading() as session:
            claim = claims.housekeeping(session, WATCH)
        if claim is None or not claims.is_due(claim.done_at, every=self._every, now=now):
            return None
        with self._database.writing() as session:
            if not claims.take(session, WATCH, holder=self._holder, now=now, lease=_LEASE, not_since=now - self._every):
                return None
        try:
            return self.watch()
        finally:
            with self._database.writing() as session:
                claims.let_go(session, WATCH, holder=self._holder, now=self._clock(), thorough=False)

    def watch(self) -> int:
        """Looks now: at the log to its end, then at the calendar. Gives how many alarms were raised.

        Something odd in one source holds up no other; it is an error in the service's own log.
        """
        raised = 0
        sources: list[Callable[[], int]] = [self._watch_log]
        sources += [partial(self._watch_calendar, look) for look in (_reviews, _overdue, *self._further)]
        for source in sources:
            try:
                raised += source()
            except Exception as error:  # noqa: BLE001 - one odd row must not end the watch of everything else
                _failed(error)
        if raised:
            _log.warning("alarms_raised", count=raised)
        return raised

    def _watch_log(self) -> int:
        raised = 0
        while (step := self._next_step()) is not None:
            raised += self._raise(step.notices, step)
        return raised

    def _watch_calendar(self, look: Further) -> int:
        with self._database.reading() as session:
            found = [item for item in look(session, self._clock()) if not _is_raised(session, item)]
        return self._raise(found) if found else 0

    def _raise(self, notices: Sequence[Notice], step: _Step | None = None) -> int:
        now = self._clock()
        with self._database.writing() as session:
            if step is not None:
                if not alarm_tables.move_watch(session, before=step.before, size=step.after):
                    return 0  # somebody else raised them
                # Only whoever moves the watch adds keys, so these are not there yet.
                fresh = [notice.occasion for notice in notices if notice.kind == "first_key_use"]
                session.add_all(alarm_tables.AuditKnownKey(thumbprint=thumbprint) for thumbprint in fresh)
            entries = raise_alarms(session, notices, now=now, request_id=new_id("wch", now))
            session.flush()
            if entries:
                self._ledger.append(session, entries)
        return len(entries)

    def _next_step(self) -> _Step | None:
        with self._database.reading() as session:
            before = alarm_tables.watched(session)
            if tables.size_of(session) <= before:
                return None
            query = select(AuditEvent).where(AuditEvent.seq >= before).order_by(col(AuditEvent.seq)).limit(_AT_ONCE)
            rows = session.exec(query).all()
            if not rows:
                # The end of the log is gone. That is for `audit verify` to tell; looking again finds no more.
                _log.error("log_shorter_than_head")
                return None
            seen = [item for row in rows if (item := _unless_odd(partial(_seen, row), None)) is not None]
            looks = (_first_uses, self._exports, _spikes, _repeated_epochs)
            nothing: list[Notice] = []
            found = [_unless_odd(partial(look, session, seen), nothing) for look in looks]
            return _Step(before, rows[-1].seq + 1, list(chain.from_iterable(found)))

    def _exports(self, session: Session, seen: Sequence[_Seen]) -> list[Notice]:
        exports = [item for item in seen if item.header.type == EventType.AUDIT_EXPORTED]
        found = [_unless_odd(partial(self._export, session, item), None) for item in exports]
        return [notice for notice in found if notice is not None]

    def _export(self, session: Session, item: _Seen) -> Notice | None:
        actor = item.header.actor
        # The operator, on the command line, is of no organisation: nobody agreed on hours for it.
        agreed = _agreed_hours(session, item.header, actor.org) if actor.org else []
        hours: Sequence[Hours | WorkingHours] = agreed or [self._office_hours]
        if all(one.include(item.at) for one in hours):
            return None
        return Notice(
            kind="export_out_of_hours",
            occasion=str(item.seq),
            organisation=actor.org,
            actor=actor.id,
            subject=str(item.seq),
            detail={"time": events.format_time(item.at)},
        )


def _failed(error: Exception) -> None:
    _log.error("watch_failed", error_type=type(error).__name__)


def _unless_odd(work: Callable[[], Answer], otherwise: Answer) -> Answer:
    """What `work` gives, or `otherwise` if it fails.

    Raises:
        DBAPIError: the database was away or busy. The watch stays where it was, and the next round looks again.
    """
    try:
        return work()
    except DBAPIError:
        raise
    except Exception as error:  # noqa: BLE001 - one odd row must not end the watch of everything else
        _failed(error)
        return otherwise


def _is_raised(session: Session, notice: Notice) -> bool:
    return alarm_tables.is_raised(session, notice.kind, notice.occasion)


def _seen(row: AuditEvent) -> _Seen:
    header = events.parse(row.header)
    return _Seen(row.seq, datetime.fromisoformat(header.time), header)


def _first_uses(session: Session, seen: Sequence[_Seen]) -> list[Notice]:
    used: dict[str, _Seen] = {}
    for item in seen:
        authn = item.header.authn
        if authn is not None and authn.key_thumbprint is not None:
            used.setdefault(authn.key_thumbprint, item)
    known = alarm_tables.known_keys(session, list(used))
    return [
        Notice(
            kind="first_key_use",
            occasion=thumbprint,
            organisation=item.header.actor.org,
            actor=item.header.actor.id,
            subject=str(item.seq),
            detail={"key_thumbprint": thumbprint, "type": item.header.type},
        )
        for thumbprint, item in used.items()
        if thumbprint not in known
    ]


def _spikes(session: Session, seen: Sequence[_Seen]) -> list[Notice]:
    """At least `SPIKE_LEAST` refusals within an hour, and `SPIKE_TIMES` those of the average hour of the week before.

    An organisation and each of its clients and people count for themselves. There is one alarm for each a day.
    """
    fresh = {item.seq for item in seen if item.header.outcome.status == "refused"}
    if not fresh:
        return []
    began = min(item.at for item in seen if item.seq in fresh) - SPIKE_PAST - SPIKE_WINDOW
    query = select(AuditEvent.seq, AuditEvent.time, AuditEvent.actor_org, AuditEvent.actor_id).where(
        AuditEvent.outcome == "refused",
        AuditEvent.time >= events.format_time(began),
        AuditEvent.seq <= seen[-1].seq,
    )
    subjects: dict[tuple[str, str], Refusals] = defaultdict(Refusals)
    found: dict[str, Notice] = {}
    for seq, time, organisation, actor in session.exec(query.order_by(col(AuditEvent.time), col(AuditEvent.seq))):
        at = datetime.fromisoformat(time)
        for whose, subject in (("organisation", organisation), ("actor", actor)):
            if subject is None:
                continue
            now, past = subjects[whose, subject].add(at)
            if seq not in fresh or now < SPIKE_LEAST or now * (SPIKE_PAST // SPIKE_WINDOW) <= SPIKE_TIMES * past:
                continue
            occasion = f"{subject}/{at.date().isoformat()}"
            if occasion in found:
                continue
            found[occasion] = Notice(
                kind="denial_spike",
                occasion=occasion,
                organisation=organisation,
                actor=actor if whose == "actor" else None,
                subject=subject,
                detail={
                    "refusals": now,
                    "refusals_of_the_week_before": past,
                    "until": events.format_time(at),
                },
            )
    return list(found.values())


def _repeated_epochs(session: Session, seen: Sequence[_Seen]) -> list[Notice]:
    """An organisation that changed the key epoch of a project after it had within a day; one alarm for each a day."""
    found: dict[str, Notice] = {}
    for item in seen:
        header = item.header
        if header.type != EventType.KEY_EPOCH_OPENED or header.actor.org is None or header.project is None:
            continue
        query = select(func.count()).where(
            AuditEvent.type == EventType.KEY_EPOCH_OPENED.value,
            AuditEvent.project == header.project,
            AuditEvent.actor_org == header.actor.org,
            AuditEvent.time > events.format_time(item.at - EPOCHS_WINDOW),
            AuditEvent.seq <= item.seq,
        )
        opened = session.exec(query).one()
        occasion = f"{header.project}/{header.actor.org}/{item.at.date().isoformat()}"
        if opened > 1 and occasion not in found:
            found[occasion] = Notice(
                kind="repeated_key_epochs",
                occasion=occasion,
                organisation=header.actor.org,
                actor=header.actor.id,
                agreement=header.agreement,
                project=header.project,
                subject=header.project,
                detail={"epochs_within_a_day": opened, "until": events.format_time(item.at)},
            )
    return list(found.values())


def _agreed_hours(session: Session, header: events.Header, organisation: str) -> list[Hours]:
    """The hours that agreements in force set for an organisation: that which its event names, else all of them."""
    named = header.agreement
    references = [named.ref] if named else agreement_tables.references_of_party(session, organisation)
    found = []
    for reference in references:
        row = agreement_tables.agreement_with_reference(session, reference)
        if row is None or row.state != "active":
            continue
        document = agreements.in_force(session, row.id).document
        hours = document.circumstances(organisation).hours
        if hours is not None:
            found.append(hours)
    return found


def _reviews(session: Session, now: datetime) -> Iterator[Notice]:
    for row, version in claims.agreement_versions(session):
        if version.version != row.version or row.state != "active":
            continue
        agreement = agreements.in_force(session, row.id)
        if agreement.review_by <= now < agreement.ends:
            yield Notice(
                kind="review_overdue",
                occasion=f"{row.id}/{events.format_time(agreement.review_by)}",
                agreement=_named(agreement),
                subject=row.id,
                detail={"review_by": events.format_time(agreement.review_by)},
            )


def _overdue(session: Session, now: datetime) -> Iterator[Notice]:
    for item in retention.due(session, now=now):
        if item.due_at > now - RETENTION_GRACE:
            continue
        yield Notice(
            kind="retention_overdue",
            occasion=f"{item.id}/{events.format_time(item.due_at)}",
            agreement=_named(governed(session, item.project).agreement),
            project=item.project,
            subject=item.id,
            detail={
                "kind_of_thing": item.kind,
                "due": events.format_time(item.due_at),
                "held": item.held or "no",
            },
        )


def _named(agreement: agreements.InForce) -> events.AgreementRef:
    named = agreement.reference
    return events.AgreementRef(named.reference, named.version, named.digest)
