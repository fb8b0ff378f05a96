"""The policy: what it refuses whatever else is true, that errors refuse, and that nobody's rights change unseen."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from linkage_service.access import decision_table
from linkage_service.access.actions import Action
from linkage_service.access.callers import ClientCaller, WorkerActor
from linkage_service.access.decide import Circumstance, Decision, Policy, PolicyText, Resource
from linkage_service.access.decision_table import STATES, Caller, Cell, callers
from linkage_service.access.entities import Attribute, Entity, Reference
from linkage_service.audit.catalogue import EventType

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ELEMENTS = {
    "1 Purpose of the sharing", "2 Recipients and circumstances of access", "3 Exact data to be shared",
    "4 Data quality", "5 Data security", "6 Retention of shared data", "7 Individuals' rights",
    "8 Review and termination", "9 Sanctions for failure to comply",
}  # fmt: skip


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy()


def _decide(
    policy: Policy, action: Action, caller: Caller, state: str = "active", *, at: Circumstance | None = None,
    without: str | None = None, **changes: Any,
) -> Decision:  # fmt: skip
    """A decision of the table; `without` drops an attribute of the agreement, `changes` are of the context."""
    actor = decision_table._actor(caller, sanctioned=state == "sanction")
    resource, context = decision_table._about(action, actor, state)
    if without and resource.under:
        kept = {name: value for name, value in resource.under.entity.attributes.items() if name != without}
        entity = Entity(resource.under.entity.reference, kept)
        resource = replace(resource, under=replace(resource.under, entity=entity))
    at = at or Circumstance(now=NOW, newest=NOW, source="192.0.2.1")
    return policy.decide(action=action, caller=actor, resource=resource, at=at, context={**context, **changes})


PROVIDER = Caller("provider", "analyst", person=False)
RECIPIENT = Caller("recipient", "recipient", person=False)


@pytest.fixture(scope="module")
def decided(policy: Policy) -> list[Cell]:
    return list(decision_table.cells(policy))


def test_committed_tables_are_what_the_policy_decides(decided: list[Cell]) -> None:
    again = "python -m linkage_service.access.decision_table, read what changed, and commit it"
    assert (REFERENCE / "decision-table.json").read_text("utf-8") == decision_table.committed_form(decided), again
    assert (REFERENCE / "decision-table.md").read_text("utf-8") == decision_table.readable_form(decided), again


def test_every_guard_says_element_reason_and_remedy(policy: Policy) -> None:
    guards = {name: notes for name, notes in policy.annotations.items() if name.startswith("G")}
    assert {notes["element"] for notes in guards.values()} == ELEMENTS
    for name, notes in guards.items():
        assert notes["reason"].endswith("."), name
        assert notes["remedy"].endswith("."), name
        assert notes["element"].startswith(name[1]), name


def test_every_action_is_of_the_policy_and_has_a_refusal_in_the_catalogue(policy: Policy) -> None:
    for action in Action:
        assert f'action "{action.value}"' in policy.text.schema
        assert f"{action.noun}.refused" in set(EventType)


def test_no_duty_of_the_linkage_unit_reaches_results_or_encodings(decided: list[Cell]) -> None:
    data = (
        Action.UPLOAD_ENCODINGS, Action.CONTINUE_UPLOAD, Action.READ_UPLOAD, Action.READ_SUMMARY, Action.READ_REPORT,
        Action.REQUEST_RELEASE, Action.RETRIEVE_LINK_TABLE, Action.READ_WITHDRAWALS, Action.PUBLISH_KEY_CARD,
        Action.EXCHANGE_KEYS, Action.JOIN_PROJECT,
    )  # fmt: skip
    table = decision_table.allowed(decided)
    for action in data:
        assert not [caller for caller in table[action.value] if caller.startswith("linkage unit")]


def test_no_person_moves_encodings_link_tables_or_keys(decided: list[Cell]) -> None:
    table = decision_table.allowed(decided)
    for action in (
        Action.UPLOAD_ENCODINGS,
        Action.CONTINUE_UPLOAD,
        Action.RETRIEVE_LINK_TABLE,
        Action.READ_WITHDRAWALS,
        Action.PUBLISH_KEY_CARD,
        Action.EXCHANGE_KEYS,
    ):
        assert not [caller for caller in table[action.value] if caller.endswith("person")]


def test_no_state_but_signed_active_and_reviewed_lets_results_out(decided: list[Cell]) -> None:
    table = decision_table.allowed(decided)
    for action in (Action.REQUEST_RELEASE, Action.RETRIEVE_LINK_TABLE, Action.READ_SUMMARY, Action.READ_REPORT):
        assert {state for states in table[action.value].values() for state in states} == {"active", "superseded"}


def test_secret_is_given_up_and_a_project_left_in_every_state(decided: list[Cell]) -> None:
    table = decision_table.allowed(decided)
    for action in (Action.OPEN_KEY_EPOCH, Action.LEAVE_PROJECT):
        for caller in ("provider: analyst, machine", "linkage unit: officer, person"):
            assert set(table[action.value][caller]) == set(STATES) - {"sanction"}


def _attributes() -> Iterator[tuple[Action, str]]:
    optional = {"target_precision", "encoding_profile", "maximum_reidentification", "reapply_days"}
    under = decision_table._agreement("active")
    for action in (Action.REQUEST_RELEASE, Action.RETRIEVE_LINK_TABLE, Action.UPLOAD_ENCODINGS, Action.START_RUN):
        for name in under.entity.attributes:
            if name not in optional:
                yield action, name


@pytest.mark.parametrize(("action", "name"), list(_attributes()))
def test_agreement_that_lacks_an_attribute_refuses(policy: Policy, action: Action, name: str) -> None:
    caller = RECIPIENT if action is Action.REQUEST_RELEASE else PROVIDER
    assert _decide(policy, action, caller).allowed
    decision = _decide(policy, action, caller, without=name)
    assert not decision.allowed
    assert decision.refusals[-1].policy == "policy-error"


def test_context_that_lacks_an_attribute_or_has_another_or_one_of_another_type_refuses(policy: Policy) -> None:
    actor = decision_table._actor(RECIPIENT, sanctioned=False)
    resource, context = decision_table._about(Action.REQUEST_RELEASE, actor, "active")
    at = Circumstance(now=NOW, newest=NOW, source="192.0.2.1")
    wrong: list[dict[str, Any]] = [
        {name: value for name, value in context.items() if name != "purpose"},
        {**context, "surprise": True},
        {},
        {**context, "purpose": 1},
        {**context, "purpose": frozenset({"planning"})},
        {**context, "purpose": Reference("Organisation", "planning")},
        {**context, "columns": "person"},
        {**context, "columns": frozenset({1})},
    ]

    def decide(given: Mapping[str, Any]) -> Decision:
        return policy.decide(action=Action.REQUEST_RELEASE, caller=actor, resource=resource, at=at, context=given)

    for attributes in wrong:
        # What fitted before must not vouch for what does not.
        assert decide(context).allowed
        decision = decide(attributes)
        assert not decision.allowed
        assert decision.refusals[-1].policy == "policy-error"


def test_entity_that_the_policy_needs_and_is_not_given_refuses(policy: Policy) -> None:
    actor = decision_table._actor(PROVIDER, sanctioned=False)
    resource, context = decision_table._about(Action.RETRIEVE_LINK_TABLE, actor, "active")
    at = Circumstance(now=NOW, newest=NOW, source="192.0.2.1")
    bare = replace(resource, related=tuple(e for e in resource.related if e.reference.id != "recipient"))
    decision = policy.decide(action=Action.RETRIEVE_LINK_TABLE, caller=actor, resource=bare, at=at, context=context)
    assert not decision.allowed


@pytest.mark.parametrize("action", list(Action))
def test_clock_behind_the_log_refuses_everything(policy: Policy, action: Action) -> None:
    late = Circumstance(now=NOW, newest=NOW + timedelta(seconds=61), source="192.0.2.1")
    for caller in callers():
        assert not _decide(policy, action, caller, at=late).allowed
    within = Circumstance(now=NOW, newest=NOW + timedelta(seconds=60), source="192.0.2.1")
    assert "G8-clock" not in _decide(policy, action, PROVIDER, at=within).policies


def test_dates_decide_at_the_moment_and_not_a_millisecond_off(policy: Policy) -> None:
    ends = decision_table._agreement("active").entity.attributes["ends"]
    assert isinstance(ends, datetime)
    for offset, refused in ((-1, False), (0, True)):
        moment = ends + timedelta(milliseconds=offset)
        decision = _decide(
            policy, Action.OPEN_PROJECT, PROVIDER, at=Circumstance(now=moment, newest=None, source="192.0.2.1")
        )
        assert ("G8-term" in decision.policies) is refused


@pytest.mark.parametrize("level", ["none", "approaching_standards"])
def test_assurance_below_the_agreed_refuses(policy: Policy, level: str) -> None:
    actor = decision_table._actor(PROVIDER, sanctioned=False)
    resource, context = decision_table._about(Action.UPLOAD_ENCODINGS, actor, "active")
    lower = replace(actor, facts=replace(actor.facts, assurance=level))
    at = Circumstance(now=NOW, newest=NOW, source="192.0.2.1")
    decision = policy.decide(action=Action.UPLOAD_ENCODINGS, caller=lower, resource=resource, at=at, context=context)
    assert [refusal.policy for refusal in decision.refusals] == ["G5-assurance"]


@pytest.mark.parametrize("expires", [None, NOW, NOW - timedelta(days=1)])
def test_assurance_that_has_expired_refuses(policy: Policy, expires: datetime | None) -> None:
    actor = decision_table._actor(PROVIDER, sanctioned=False)
    resource, context = decision_table._about(Action.UPLOAD_ENCODINGS, actor, "active")
    lapsed = replace(actor, facts=replace(actor.facts, assurance_expires=expires))
    at = Circumstance(now=NOW, newest=NOW, source="192.0.2.1")
    decision = policy.decide(action=Action.UPLOAD_ENCODINGS, caller=lapsed, resource=resource, at=at, context=context)
    assert [refusal.policy for refusal in decision.refusals] == ["G5-assurance"]


def test_key_older_than_agreed_refuses(policy: Policy) -> None:
    actor = decision_table._actor(PROVIDER, sanctioned=False)
    assert isinstance(actor, ClientCaller)
    resource, context = decision_table._about(Action.UPLOAD_ENCODINGS, actor, "active")
    at = Circumstance(now=NOW, newest=NOW, source="192.0.2.1")
    for days, refused in ((364, False), (365, True)):
        old = replace(actor, key_registered=NOW - timedelta(days=days))
        decision = policy.decide(action=Action.UPLOAD_ENCODINGS, caller=old, resource=resource, at=at, context=context)
        assert (not decision.allowed) is refused


@pytest.mark.parametrize(
    ("changes", "guard"),
    [
        ({"fields": frozenset({"surname", "nhs_number"})}, "G3-data-in"),
        ({"incomplete_fields": frozenset({"surname"})}, "G4-quality"),
        ({"opt_outs_applied": NOW - timedelta(days=90)}, "G7-opt-outs"),
        ({"opt_outs_applied": NOW + timedelta(days=1)}, "G7-opt-outs"),
    ],
)
def test_upload_that_steps_outside_one_element_is_refused_by_it_alone(
    policy: Policy, changes: dict[str, Any], guard: str
) -> None:
    decision = _decide(policy, Action.UPLOAD_ENCODINGS, PROVIDER, **changes)
    assert [refusal.policy for refusal in decision.refusals] == [guard]


def test_worker_carries_out_runs_only_while_the_agreement_allows_it(policy: Policy) -> None:
    at = Circumstance(now=NOW, newest=NOW, source="worker")
    answers = {}
    for state in STATES:
        resource, context = decision_table._about(Action.CARRY_OUT_RUN, WorkerActor(), state)
        decision = policy.decide(
            action=Action.CARRY_OUT_RUN, caller=WorkerActor(), resource=resource, at=at, context=context
        )
        answers[state] = decision.allowed
    assert {state for state, allowed in answers.items() if allowed} == {"active", "superseded", "hold", "sanction"}


@given(
    action=st.sampled_from([action for action in Action if action is not Action.CARRY_OUT_RUN]),
    caller=st.sampled_from(callers()),
    state=st.sampled_from(sorted(STATES)),
)
def test_policies_sliced_by_action_and_principal_decide_as_the_whole_text_does(
    action: Action, caller: Caller, state: str
) -> None:
    decision = _decide(_SHARED, action, caller, state)
    whole = _SHARED.replay(decision.facts)
    assert (whole.allowed, whole.policies) == (decision.allowed, decision.policies)


@given(state=st.sampled_from(sorted(STATES)))
def test_policies_sliced_for_the_worker_decide_as_the_whole_text_does(state: str) -> None:
    resource, context = decision_table._about(Action.CARRY_OUT_RUN, WorkerActor(), state)
    at = Circumstance(now=NOW, newest=NOW, source="worker")
    decision = _SHARED.decide(
        action=Action.CARRY_OUT_RUN, caller=WorkerActor(), resource=resource, at=at, context=context
    )
    whole = _SHARED.replay(decision.facts)
    assert (whole.allowed, whole.policies) == (decision.allowed, decision.policies)


_SHARED = Policy()


def test_caller_whose_standing_changed_is_not_judged_as_before(policy: Policy) -> None:
    actor = decision_table._actor(RECIPIENT, sanctioned=False)
    assert isinstance(actor, ClientCaller)
    resource, context = decision_table._about(Action.REQUEST_RELEASE, actor, "active")
    at = Circumstance(now=NOW, newest=NOW, source="192.0.2.1")
    for now_is, guards in (
        (actor, []),
        (replace(actor, suspended=True), ["G9-sanction-client"]),
        (replace(actor, revoked=True), ["G5-credential"]),
        (replace(actor, facts=replace(actor.facts, suspended=True)), ["G9-sanction"]),
        (actor, []),
    ):
        decision = policy.decide(
            action=Action.REQUEST_RELEASE, caller=now_is, resource=resource, at=at, context=context
        )
        assert [refusal.policy for refusal in decision.refusals] == guards


@given(
    state=st.sampled_from(sorted(STATES)),
    action=st.sampled_from([action for action in Action if action is not Action.CARRY_OUT_RUN]),
    caller=st.sampled_from(callers()),
    purpose=st.text(),
)
def test_facts_are_canonical_json(state: str, action: Action, caller: Caller, purpose: str) -> None:
    facts = _decide(_SHARED, action, caller, state, purpose=purpose).facts
    assert rfc8785.dumps(json.loads(facts)) == facts


def test_facts_say_what_was_judged(policy: Policy) -> None:
    resource = Resource(
        kind="organisation",
        entity=Entity(
            Reference("Organisation", 'a "quoted" \\ \u00e9'),
            {"suspended": False, "kind": "partner", "assurance": 2, "assurance_expires": NOW},
        ),
    )
    at = Circumstance(now=NOW, newest=NOW + timedelta(seconds=1), source="192.0.2.1")
    context: dict[str, Attribute] = {
        "number": 1, "yes": True, "when": NOW.astimezone(timezone(timedelta(hours=1))),
        "who": Reference("Client", "b"), "texts": frozenset({"y", "x"}),
        "some": frozenset({Reference("Client", "d"), Reference("Client", "c")}), "none": frozenset[str](),
    }  # fmt: skip
    facts = json.loads(
        policy.decide(
            action=Action.READ_ORGANISATION, caller=WorkerActor(), resource=resource, at=at, context=context
        ).facts
    )

    def moment(text: str) -> dict[str, object]:
        return {"__extn": {"fn": "datetime", "arg": text}}

    def client(name: str) -> dict[str, str]:
        return {"type": "Linkage::Client", "id": name}

    acted_on = {"type": "Linkage::Organisation", "id": 'a "quoted" \\ \u00e9'}
    worker = {"type": "Linkage::System", "id": "worker"}
    assert facts == {
        "entities": [
            {
                "uid": acted_on,
                "parents": [],
                "attrs": {
                    "suspended": False,
                    "kind": "partner",
                    "assurance": 2,
                    "assurance_expires": moment("2026-06-01T12:00:00.000Z"),
                },
            },
            {"uid": worker, "parents": [], "attrs": {}},
        ],
        "request": {
            "principal": worker,
            "action": {"type": "Linkage::Action", "id": "readOrganisation"},
            "resource": acted_on,
            "context": {
                "clock": {"now": moment("2026-06-01T12:00:00.000Z"), "earliest": moment("2026-06-01T11:59:01.000Z")},
                "number": 1,
                "yes": True,
                "when": moment("2026-06-01T12:00:00.000Z"),
                "who": {"__entity": client("b")},
                "texts": ["x", "y"],
                "some": [{"__entity": client("c")}, {"__entity": client("d")}],
                "none": [],
            },
        },
    }


def test_policy_that_does_not_validate_stops_the_service(policy: Policy) -> None:
    broken = policy.text.policies.replace("context.under.agreement.purposes", "context.under.agreement.purpose")
    with pytest.raises(ValueError, match="does not validate"):
        Policy(PolicyText(broken, policy.text.schema))
