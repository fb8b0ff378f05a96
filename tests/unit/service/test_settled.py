"""A verdict is kept exactly as long as the clock cannot change it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linkage_service.access import decision_table
from linkage_service.access.actions import Action
from linkage_service.access.decide import Circumstance, Decision, Policy, PolicyText
from linkage_service.access.decision_table import Caller
from linkage_service.access.entities import text_of
from linkage_service.access.settled import Settled, goes_by_days, next_change

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY, TICK = timedelta(days=1), timedelta(milliseconds=1)
PROVIDER = Caller("provider", "analyst", person=False)
ACTOR = decision_table._actor(PROVIDER, sanctioned=False)
# Of no round hour, so that days are counted from a time of the day that nothing else has.
APPLIED = datetime(2026, 5, 20, 9, 17, 3, 250_000, tzinfo=UTC)
RESOURCE, CONTEXT = decision_table._about(Action.UPLOAD_ENCODINGS, ACTOR, "active")
POLICY = Policy()


def _decide(policy: Policy, now: datetime, *, newest: datetime | None = None) -> Decision:
    return policy.decide(
        action=Action.UPLOAD_ENCODINGS,
        caller=ACTOR,
        resource=RESOURCE,
        at=Circumstance(now=now, newest=newest, source="192.0.2.1"),
        context={**CONTEXT, "opt_outs_applied": APPLIED},
    )


def _turns() -> list[datetime]:
    """Every date that this decision reads, and the days at which what is counted from it is too much."""
    facts = json.loads(_decide(POLICY, NOW).facts)
    found: list[datetime] = [APPLIED + 90 * DAY]

    def look(value: object) -> None:
        if isinstance(value, dict):
            if value.get("fn") == "datetime":
                found.append(datetime.fromisoformat(value["arg"]))
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(facts["entities"])
    return found


TURNS = _turns()
MOMENTS = st.builds(
    lambda turn, days, off: turn + days * DAY + off,
    st.sampled_from(TURNS),
    st.integers(-1, 1),
    st.sampled_from([timedelta(), TICK, -TICK, timedelta(microseconds=400), timedelta(microseconds=-400)])
    | st.timedeltas(-DAY, DAY),
)


@given(st.lists(MOMENTS, min_size=1, max_size=6))
@example([APPLIED + 90 * DAY - TICK, APPLIED + 90 * DAY])
@example([APPLIED - TICK, APPLIED, APPLIED + TICK])
def test_kept_verdict_is_what_the_whole_policy_says_of_every_moment(moments: list[datetime]) -> None:
    for moment in moments:
        decision = _decide(POLICY, moment)
        again = POLICY.replay(decision.facts)
        assert (again.allowed, again.policies) == (decision.allowed, decision.policies)


def test_moments_around_which_the_answer_changes_are_among_those_tried() -> None:
    changed = [turn for turn in TURNS if _decide(POLICY, turn - TICK).policies != _decide(POLICY, turn).policies]
    assert len(changed) >= 4


def test_same_question_on_the_same_day_asks_the_engine_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, asked = Policy(), 0
    evaluate = policy._evaluate

    def counted(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return evaluate(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(policy, "_evaluate", counted)
    # Of these facts, one date is at noon.
    answers = [_decide(policy, NOW + minutes * timedelta(minutes=1)) for minutes in range(1, 6)]
    assert asked == 1
    assert len({answer.entities_digest for answer in answers}) == 5
    _decide(policy, NOW + DAY + timedelta(minutes=1))
    assert asked == 2


def test_clock_that_falls_behind_the_log_is_not_judged_as_before() -> None:
    assert _decide(POLICY, NOW, newest=NOW).allowed
    assert "G8-clock" in _decide(POLICY, NOW, newest=NOW + timedelta(seconds=61)).policies
    assert _decide(POLICY, NOW, newest=NOW).allowed


def test_verdict_stands_from_its_moment_to_the_next_date_and_not_before() -> None:
    settled, facts = Settled[str](), text_of(NOW + timedelta(hours=2))
    settled.keep("judged", "allow", since=NOW, facts=facts)
    end = NOW + timedelta(hours=2)
    moments = (NOW - TICK, NOW, end - timedelta(microseconds=1), end)
    assert [settled.find("judged", moment) for moment in moments] == [None, "allow", "allow", None]
    assert settled.find("another", NOW) is None


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=3))
def test_next_change_is_later_and_within_a_day(dates: list[datetime]) -> None:
    until = next_change("[" + ",".join(text_of(date) for date in dates) + "]", NOW)
    assert NOW < until <= NOW + DAY


@pytest.mark.parametrize(
    "code",
    [
        "context.clock.now.toTime() < x",
        "context.clock.now.durationSince(x).toHours() > 3",
        'context.clock.now < x.offset(duration("1h"))',
        'context.clock.now < datetime("2030-01-01")',
        'context.clock.now.durationSince(x) < duration ("36h")',
        "x < context.clock.earliest",
        "context.clock == x",
        'context["clock"].now < x',
        "context.clock.now.durationSince(principal.a) > principal.b.durationSince(principal.c)",
        "context.clock.now.durationSince(principal.a) < resource.longest",
        'resource.name == "http://" && context.clock.now.toTime() < x',
        "context.clock.now < principal.a.offset(x)",
        "context.clock.now.toDate() == principal.a",
    ],
)
def test_text_that_reads_the_clock_more_finely_is_asked_every_time(code: str) -> None:
    assert goes_by_days('@reason("The clock.") when { context.clock.now < resource.x }; // toTime() of no account')
    assert not goes_by_days(f"when {{ {code} }};")
    text = POLICY.text
    rule = '@id("G0-night") forbid (principal, action, resource) when { context.clock.now.toTime().toHours() < 6 };'
    finer = Policy(PolicyText(f"{text.policies}\n{rule}", text.schema))
    assert "G0-night" in _decide(finer, datetime(2026, 6, 1, 5, 59, tzinfo=UTC)).policies
    assert "G0-night" not in _decide(finer, datetime(2026, 6, 1, 6, tzinfo=UTC)).policies
