"""However a search of the log is carried out, it finds exactly the events that fit: held against plain Python."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from linkage_ledger import events
from linkage_service.audit import search
from linkage_service.audit.log import Entry, Log
from linkage_service.audit.search import Filters, Question, Scope
from linkage_service.database import Database
from support.databases import on_each_database
from support.ledger_logs import KEY, make_header

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENTS = 240
Row = dict[str, str | None]
VALUES: dict[str, list[Any]] = {
    "organisation": ["org_0", "org_1"],
    "actor": ["cli_0", "cli_3"],
    "action": ["upload", "retrieve"],
    "type": ["upload.completed", "project.refused"],
    "agreement": ["ISP-0", "ISP-1", "ISP-9"],
    "project": ["prj_0"],
    "resource_type": ["upload"],
    "resource": ["upl_1", "upl_70"],
    "purpose": ["planning", "research"],
    "outcome": ["success", "refused"],
    "element": [2, 5, 9],
    "request": ["req_7"],
    # In the midst of where the clock was set back, and where it was not.
    "since": [START + timedelta(seconds=98), START + timedelta(seconds=20)],
    "until": [START + timedelta(seconds=97), START + timedelta(seconds=210)],
}
SCOPES = (Scope(), Scope("org_1", ("ISP-0", "ISP-2")), Scope("org_0"))


def _log() -> Iterator[events.Header]:
    """A log in which some values are shared by most events, some by few, and the clock was set back once."""
    drawn = random.Random(7)
    for number in range(EVENTS):
        seconds = number if number < 100 or number > 120 else number - 8
        refused = drawn.random() < 0.3
        agreement = drawn.choice(["ISP-0", "ISP-0", "ISP-1", "ISP-2", None])
        decision = events.Decision(
            "deny" if refused else "allow",
            drawn.choice([("G5-tier",), ("G2-network", "G5-leakage"), ()]) if refused else ("P-upload",),
            "1" * 64,
            "2" * 64,
        )
        yield replace(
            make_header(number),
            time=events.format_time(START + timedelta(seconds=seconds)),
            type="project.refused" if refused else drawn.choice(["upload.completed", "run.started"]),
            actor=events.Actor("client", f"cli_{number % 5}", drawn.choice(["org_0", "org_0", "org_1"])),
            agreement=events.AgreementRef(agreement, drawn.choice([1, 1, 2]), "0" * 64) if agreement else None,
            project=drawn.choice(["prj_0", "prj_1", None]),
            resource=events.Resource(drawn.choice(["upload", "run"]), f"upl_{number % 90}"),
            action="retrieve" if refused else "upload",
            purpose=drawn.choice(["planning", "research", None]),
            decision=decision,
            outcome=events.Outcome("refused" if refused else "success", "x"),
            request_id=f"req_{number // 3}",
        )


def _fits(row: Row, asked: Filters) -> bool:
    compared = all(
        row[column] == value
        for name, column in search.COLUMN_OF.items()
        if (value := getattr(asked, name)) is not None
    )  # fmt: skip
    return (
        compared
        and (asked.version is None or row["agreement_version"] == str(asked.version))
        and (asked.element is None or str(asked.element) in (row["elements"] or ""))
        and (asked.since is None or str(row["time"]) >= events.format_time(asked.since))
        and (asked.until is None or str(row["time"]) < events.format_time(asked.until))
    )


def _sees(row: Row, scope: Scope) -> bool:
    if scope.organisation is None or row["agreement"] in scope.references:
        return True
    return row["agreement"] is None and row["actor_org"] == scope.organisation


def _asked() -> list[Filters]:
    """Every condition alone, many of two, and some of four."""
    drawn = random.Random(11)
    singles = [{name: value} for name, values in VALUES.items() for value in values]
    pairs = [
        {one: drawn.choice(VALUES[one]), other: drawn.choice(VALUES[other])}
        for one, other in drawn.sample(list(combinations(VALUES, 2)), 40)
    ]
    more = [{name: drawn.choice(VALUES[name]) for name in drawn.sample(sorted(VALUES), 4)} for _ in range(15)]
    versions = [{"agreement": "ISP-0", "version": number, "outcome": "success"} for number in (1, 2, 3)]
    return [Filters(**one) for one in [{}, *singles, *pairs, *more, *versions]]


@on_each_database
@pytest.mark.parametrize("few", [0, 60, 10_000])
def test_search_finds_exactly_what_fits_however_it_is_carried_out(
    database_url: str, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(search, "_FEW", few)
    headers = list(_log())
    rows = [events.indexed(header) for header in headers]
    database = Database(database_url)
    try:
        with database.writing() as session:
            Log(key=KEY).append(session, [Entry(header=header) for header in headers])
        with database.reading() as session:
            for asked in _asked():
                for scope in SCOPES:
                    question = Question(filters=asked, first=3, end=EVENTS - 2)
                    expected = [
                        seq for seq, row in enumerate(rows)
                        if 3 <= seq < EVENTS - 2 and _fits(row, asked) and _sees(row, scope)
                    ]  # fmt: skip
                    oldest = search.page(session, question, scope, limit=9, newest_first=False)
                    newest = search.page(session, question, scope, limit=9, newest_first=True)
                    assert [row.seq for row in oldest] == expected[:9], (asked, scope)
                    assert [row.seq for row in newest] == expected[::-1][:9], (asked, scope)
                    assert search.count(session, question, scope) == len(expected), (asked, scope)
                    if expected:
                        exact = replace(question, first=expected[0], end=expected[-1] + 1, located=True)
                        assert search.count(session, search.timeless(session, exact), scope) == len(expected)
                    versions = search.versions(session, question, scope)
                    assert {number for _, number in versions} == {
                        int(str(rows[seq]["agreement_version"])) for seq in expected if rows[seq]["agreement"]
                    }
    finally:
        database.close()
