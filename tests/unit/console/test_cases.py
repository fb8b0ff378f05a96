from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage_console import cases
from linkage_console.work import Terms, Work

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TERMS = Terms(
    reference="ISP-1", state="active", least=10, encodings_days=30, link_tables_days=90, bodies_days=365,
    access_request_days=40, ends=datetime(2027, 1, 1, tzinfo=UTC), tells_overlap=True,
)  # fmt: skip
_RELEASE = {"id": "rel_1", "run": "run_1", "recipient": "org_r", "state": "released"}
_RUN = {"id": "run_1", "uploads": [{"id": "upl_1"}, {"id": "upl_2"}]}


def _work(**changes: Any) -> Work:
    given: dict[str, Any] = {"uploads": [], "runs": [_RUN], "releases": [_RELEASE], "holds": []}
    return Work(project={"id": "prj_1", "name": "Spring"}, terms=TERMS, **{**given, **changes})


def _event(seq: int, resource: str, *, org: str, at: datetime) -> dict[str, Any]:
    return {
        "seq": seq, "time": at.isoformat(), "project": "prj_1", "actor": {"org": org}, "resource": {"id": resource},
    }  # fmt: skip


def _log(**found: Any) -> cases.Log:
    return cases.Log(**{"withdrawals": [], "retrievals": [], "told": [], **found})


@pytest.mark.parametrize(
    ("begins", "due"),
    [
        (date(2026, 3, 3), date(2026, 4, 3)),
        (date(2026, 1, 31), date(2026, 2, 28)),
        (date(2028, 1, 30), date(2028, 2, 29)),
        (date(2026, 12, 31), date(2027, 1, 31)),
        (date(2026, 8, 31), date(2026, 9, 30)),
    ],
)
def test_calendar_month_ends_on_the_corresponding_day_or_the_last_one(begins: date, due: date) -> None:
    assert cases.a_month_after(begins) == due


@given(st.dates(min_value=date(2000, 1, 1), max_value=date(2100, 1, 1)))
def test_calendar_month_is_28_to_31_days_of_the_next_month(begins: date) -> None:
    due = cases.a_month_after(begins)
    assert 28 <= (due - begins).days <= 31
    assert due.month == begins.month % 12 + 1


def test_clock_is_overdue_from_the_day_after_the_last() -> None:
    began, due = date(2026, 3, 1), date(2026, 4, 1)
    clocks = [cases.Clock(began, due, due + timedelta(days=after), "") for after in (-8, -7, 0, 1)]
    assert [(clock.run, clock.left, clock.soon, clock.overdue) for clock in clocks] == [
        (23, 8, False, False), (24, 7, True, False), (31, 0, True, False), (32, -1, True, True),
    ]  # fmt: skip


def _waiting(log: cases.Log, work: Work | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    (case,) = cases.withdrawn({"prj_1": work or _work()}, log, now=NOW)
    return case.waits_for, case.told


def test_withdrawal_waits_for_recipients_of_what_its_provider_had_retrieved_before() -> None:
    at = NOW - timedelta(days=2)
    withdrawals = [_event(9, "upl_1", org="org_p", at=at)]
    before = _event(5, "rel_1", org="org_p", at=at - timedelta(hours=1))
    after = _event(12, "rel_1", org="org_p", at=at + timedelta(hours=1))
    of_other = _event(5, "rel_1", org="org_q", at=at - timedelta(hours=1))
    assert _waiting(_log(withdrawals=withdrawals, retrievals=[before])) == (("org_r",), ())
    assert _waiting(_log(withdrawals=withdrawals, retrievals=[after])) == ((), ())
    assert _waiting(_log(withdrawals=withdrawals, retrievals=[of_other])) == ((), ())
    gone = _work(releases=[{**_RELEASE, "state": "deleted"}])
    assert _waiting(_log(withdrawals=withdrawals, retrievals=[before]), gone) == ((), ())
    other_upload = _work(runs=[{"id": "run_1", "uploads": [{"id": "upl_2"}]}])
    assert _waiting(_log(withdrawals=withdrawals, retrievals=[before]), other_upload) == ((), ())


def test_withdrawal_is_settled_only_by_what_was_read_after_it() -> None:
    at = NOW - timedelta(days=2)
    withdrawals = [_event(9, "upl_1", org="org_p", at=at)]
    retrievals = [_event(5, "rel_1", org="org_p", at=at - timedelta(hours=1))]
    read_before = [_event(7, "rel_1", org="org_r", at=at - timedelta(minutes=1))]
    read_after = [_event(11, "rel_1", org="org_r", at=at + timedelta(minutes=1))]
    assert _waiting(_log(withdrawals=withdrawals, retrievals=retrievals, told=read_before)) == (("org_r",), ())
    assert _waiting(_log(withdrawals=withdrawals, retrievals=retrievals, told=read_after)) == ((), ("org_r",))


def test_recipient_of_two_releases_has_read_what_to_delete_when_it_read_both() -> None:
    at = NOW - timedelta(days=2)
    work = _work(releases=[_RELEASE, {**_RELEASE, "id": "rel_2"}])
    withdrawals = [_event(9, "upl_1", org="org_p", at=at)]
    retrievals = [_event(5, name, org="org_p", at=at - timedelta(hours=1)) for name in ("rel_1", "rel_2")]
    told = [_event(11, "rel_1", org="org_r", at=at + timedelta(minutes=1))]
    assert _waiting(_log(withdrawals=withdrawals, retrievals=retrievals, told=told), work) == (("org_r",), ())


def test_access_request_is_never_given_more_than_the_calendar_month() -> None:
    traces = [_event(9, "upl_1", org="org_p", at=datetime(2026, 3, 1, tzinfo=UTC))]
    (case,) = cases.traced({"prj_1": _work()}, traces, now=NOW)
    assert case.clock.due == date(2026, 4, 1)
    assert case.clock.source.startswith("Article 12(3)")


def test_events_of_projects_that_are_not_read_are_left_out() -> None:
    event = _event(9, "upl_1", org="org_p", at=NOW)
    assert cases.withdrawn({}, _log(withdrawals=[event]), now=NOW) == []
    assert cases.traced({}, [event], now=NOW) == []


def test_holds_that_are_due_first_come_first() -> None:
    holds = [
        {"kind": "run", "object": "run_1", "ground": ground, "placed_at": f"2026-03-0{day}T00:00:00Z"}
        for day, ground in ((1, "legal_claims"), (3, "accuracy"), (2, "objection"))
    ]
    found = cases.standing([_work(holds=holds)], now=NOW)
    assert [case.hold["ground"] for case in found] == ["objection", "accuracy", "legal_claims"]
    assert [case.clock is None for case in found] == [False, False, True]
