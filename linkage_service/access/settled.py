"""Verdicts that need not be asked for twice: on the same facts, until a date that is among them can tell otherwise.

A machine that polls is judged on exactly the same facts again and again; only the clock goes on. The policy compares
the clock with the dates of the facts, and counts whole days from them. So a verdict stands from the moment of the
decision to the next time of the day that one of these dates has, or midnight (UTC).
"""

import re
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Generic, TypeVar

_KEPT = 4096
_DAY = timedelta(days=1)
_MIDNIGHT = datetime(1970, 1, 1, tzinfo=UTC)
# The policy sees whole milliseconds. Days before a date are counted towards it, so they change just after the instant.
_TICK = timedelta(milliseconds=1)
_DATE = re.compile(r'"arg":"([^"]+)","fn":"datetime"')
# The only ways in which a text may read the clock: compared with one date, as a day, or by whole days from one date.
_DATE_OF = r"(?:context|principal|resource)(?:\.\w+)+"
_READ_BY_DAYS = re.compile(
    rf"context\.clock\.now\.durationSince\({_DATE_OF}\)\.toDays\(\)"
    rf"|{_DATE_OF}\.toDate\(\) (?:<|<=|>|>=) context\.clock\.now\.toDate\(\)"
    r"|context\.clock\.now < context\.clock\.earliest\b"
    rf"|context\.clock\.now (?:<|<=|>|>=) {_DATE_OF}(?![\w.(])"
)
# What else could tell two moments apart: shifted dates, and those of the text itself.
_FINER = re.compile(r"\b(?:toTime|toHours|toMinutes|toSeconds|toMilliseconds|offset|duration|datetime)\s*\(")
# What is said to people, and comments. Strings come first: `//` within one begins no comment.
_NO_CODE = re.compile(r'@\w+\("(?:[^"\\]|\\.)*"\)|("(?:[^"\\]|\\.)*")|//[^\n]*')

Verdict = TypeVar("Verdict")


def goes_by_days(policies: str) -> bool:
    """Whether a policy text reads the clock only in ways that the dates of the facts and midnight can change."""
    code = _NO_CODE.sub(lambda found: found[1] or "", policies)
    return _FINER.search(code) is None and re.search(r"\bclock\b", _READ_BY_DAYS.sub("", code)) is None


def next_change(facts: str, now: datetime) -> datetime:
    """The first moment after `now` at which the clock can change a verdict on these facts.

    Args:
        facts: JSON in which dates are as the engine takes them.
        now: with a time zone.
    """
    dates = {_MIDNIGHT, *(datetime.fromisoformat(found) for found in _DATE.findall(facts))}
    turns = (date + late for date in dates for late in (timedelta(), _TICK))
    return min(now + _DAY - (now - turn) % _DAY for turn in turns)


@dataclass(frozen=True, slots=True)
class _Standing(Generic[Verdict]):
    verdict: Verdict
    since: datetime
    until: datetime


class Settled(Generic[Verdict]):
    """What was decided lately, by everything that was judged but the clock."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Standing[Verdict]] = OrderedDict()
        self._lock = Lock()

    def find(self, judged: Hashable, now: datetime) -> Verdict | None:
        """The verdict that still stands, if there is one."""
        standing = self._kept.get(judged)
        return standing.verdict if standing is not None and standing.since <= now < standing.until else None

    def keep(self, judged: Hashable, verdict: Verdict, *, since: datetime, facts: str) -> None:
        """Keeps a verdict made at a moment, until the next date in the facts."""
        standing = _Standing(verdict, since, next_change(facts, since))
        with self._lock:
            self._kept[judged] = standing
            self._kept.move_to_end(judged)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
