"""Every route, as every role of every organisation, in every state of an agreement, over HTTP.

What came of each request is compared with the committed table: no cell may allow more than the agreement.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from linkage_service.access.actions import Action
from linkage_service.access.decide import Decision
from linkage_service.access.decision_table import Caller as TableCaller
from linkage_service.access.decision_table import callers
from support.matrix import Operation, Snapshot, World, forge, operations, with_dates, world
from support.service_app import ServiceApp, ok, service_app

TABLE: dict[str, dict[str, list[str]]] = json.loads(
    (Path(__file__).parents[3] / "docs" / "reference" / "decision-table.json").read_text("utf-8")
)
# Whatever state an agreement is in, these are decided without it: once is enough.
UNGOVERNED = {
    "browse", "createOrganisation", "inviteOrganisation", "readOrganisation", "recordAssurance", "sanctionOrganisation",
    "readClients", "manageClients", "rotateKey", "sanctionClient", "managePeople", "readPeople", "manageSelf",
    "changePassword", "draftAgreement", "readLedger", "publishKeyCard",
    "exportLedger", "replayDecision", "readAlarms", "acknowledgeAlarm",
}  # fmt: skip


class Decisions:
    """What the policy decided in a request, seen where it decides."""

    def __init__(self, service: ServiceApp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, Decision]] = []
        policy = service.runtime.door.policy
        decide = policy.decide

        def watched(**asked: Any) -> Decision:
            decision = decide(**asked)
            self.made.append((asked["action"].value, decision))
            return decision

        monkeypatch.setattr(policy, "decide", watched)

    def of(self, operation: Operation) -> list[bool]:
        """The answers to what the route declares, and forgets them."""
        found = [decision.allowed for action, decision in self.made if action == operation.action.value]
        self.made.clear()
        return found


@dataclass(frozen=True)
class Begun:
    """A world and everybody in it, as they are when a state is about to be brought about."""

    world: World
    snapshot: Snapshot
    now: datetime

    def again(self) -> World:
        """Brings it back."""
        self.snapshot.restore()
        self.world.service.clock.now = self.now
        self.world.renew_tokens()
        return self.world


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """Made once: registering and signing in everybody takes longer than asking them about half a state.

    Its people need not sign in again while everybody is asked.
    """
    folder = tmp_path_factory.mktemp("steady")
    with service_app(folder / "service", session_idle_s=43_200, session_s=86_400, step_up_s=3_600) as service:
        made = world(service)
        made.meet_everybody()
        yield Begun(made, Snapshot.of(service, folder / "kept"), service.clock.now)


def _nothing(_: World) -> None:
    """The world is in this state already."""


def _unfinished(world: World, state: str, *, unsigned: str | None = None) -> None:
    agreement = world.agreement["id"]
    whose = () if unsigned is None else (unsigned,)
    forge(
        world.service,
        ("UPDATE agreement SET state = ? WHERE id = ?", (state, agreement)),
        ("UPDATE agreement_version SET state = ? WHERE agreement = ?", (state, agreement)),
        (
            "DELETE FROM agreement_signature WHERE agreement = ?"
            if unsigned is None
            else "DELETE FROM agreement_signature WHERE agreement = ? AND organisation = ?",
            (agreement, *whose),
        ),
    )


def _draft(world: World) -> None:
    _unfinished(world, "draft")


def _proposed(world: World) -> None:
    _unfinished(world, "proposed", unsigned=world.organisations["processor"].organisation)


def _superseded(world: World) -> None:
    service, agreement = world.service, world.agreement["id"]
    parties = [caller for standing, caller in world.organisations.items() if standing != "outsider"]
    document = {"document": {**world.document, "title": "As amended"}}
    amended = ok(
        parties[0].change(f"/v1/agreements/{agreement}/versions", document, of=f"/v1/agreements/{agreement}"), 201
    )
    ok(parties[0].change(f"/v1/agreements/{agreement}/versions/2:propose"), 200)
    for party in parties:
        signed = ok(party.sign_agreement({**amended, "version": 2}), 201)
    assert (signed["state"], signed["version"]) == ("active", 2)
    assert service.verified()


def _by_officer(verb: str, **body: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        path = f"/v1/agreements/{world.agreement['id']}"
        ok(world.service.officer.change(f"{path}:{verb}", body, of=path), 200)

    return change


def _dates(**dates: str) -> Callable[[World], None]:
    return lambda world: with_dates(world, **dates)


def _hold(world: World) -> None:
    body = {"ground": "accuracy", "reason": "A case is open."}
    ok(world.service.officer.post(f"/v1/runs/{world.ids['run_id']}:restrict", body), 201)


STATES: Mapping[str, Callable[[World], None]] = {
    "draft": _draft,
    "proposed": _proposed,
    "active": _nothing,
    "superseded": _superseded,
    "suspended": _by_officer("suspend", reason="A breach."),
    "review due": _dates(review_by="2026-02-01T00:00:00Z"),
    "review failed": _by_officer(
        "review", passed=False, review_by="2026-12-01T00:00:00Z", findings="It did not help anybody."
    ),
    "not begun": _dates(starts="2026-06-01T00:00:00Z"),
    "expired": _dates(review_by="2026-02-01T00:00:00Z", ends="2026-02-01T00:00:00Z"),
    "terminated": _by_officer("terminate", reason="It is over."),
    "hold": _hold,
}


def _asked(world: World, state: str) -> Iterator[Operation]:
    for operation in operations(world.service):
        if state in ("active", "sanction") or operation.action.value not in UNGOVERNED:
            yield operation


def _judged_as(operation: Operation, state: str) -> str:
    """Nobody names the version to open a project under: the one that took a superseded one's place governs."""
    return "active" if (state, operation.action) == ("superseded", Action.OPEN_PROJECT) else state


def _judge(world: World, decisions: Decisions, snapshot: Snapshot, *, state: str, who: list[TableCaller]) -> list[str]:
    """Sends every request and returns what is not as the table says."""
    wrong = []
    for operation in _asked(world, state):
        for wanted in who:
            caller = world.caller(wanted)
            decisions.made.clear()
            answer = caller.request(operation.method, world.path(operation), **world.options(operation))
            answers = decisions.of(operation)
            may = _judged_as(operation, state) in TABLE[operation.action.value].get(wanted.name, [])
            got = f"{operation.id} as {wanted.name}: {answer.status_code}, decided {answers}, table says {may}"
            if not may and (any(answers) or answer.is_success):
                wrong.append(f"MORE THAN THE AGREEMENT: {got}")
            elif not may and answers and answer.status_code not in (403, 404):
                wrong.append(f"refused and not said so: {got}")
            elif may and False in answers:
                wrong.append(f"less than the table: {got}")
            elif answer.is_success and not answers:
                wrong.append(f"answered without a decision: {got}")
            elif answer.status_code >= 500:
                wrong.append(f"crashed: {got}")
            # Reading may change something too: what was read is counted.
            if answer.is_success and (operation.method != "GET" or operation.id == "get_link_table"):
                snapshot.restore()
    return wrong


@pytest.mark.timeout(900)
@pytest.mark.parametrize("state", list(STATES))
def test_no_route_allows_more_or_less_than_the_table_in_this_state(
    begun: Begun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    made = begun.again()
    steady = made.service
    STATES[state](made)
    decisions = Decisions(steady, monkeypatch)
    snapshot = Snapshot.of(steady, tmp_path / "kept")
    assert _judge(made, decisions, snapshot, state=state, who=callers()) == []


@pytest.mark.timeout(900)
def test_no_route_serves_anybody_of_a_suspended_organisation(
    begun: Begun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begun.again()
    steady = made.service
    ids = {**{name: caller.organisation for name, caller in made.organisations.items()},
           "linkage unit": steady.officer.organisation}  # fmt: skip
    decisions = Decisions(steady, monkeypatch)
    wrong = []
    for standing, organisation in ids.items():
        forge(steady, ("UPDATE organisation SET status = 'suspended' WHERE id = ?", (organisation,)))
        snapshot = Snapshot.of(steady, tmp_path / "kept")
        who = [wanted for wanted in callers() if wanted.standing == standing]
        wrong += _judge(made, decisions, snapshot, state="sanction", who=who)
        forge(steady, ("UPDATE organisation SET status = 'active' WHERE id = ?", (organisation,)))
    assert wrong == []


def test_matrix_knows_every_action_of_the_table(service: ServiceApp) -> None:
    declared = {operation.action.value for operation in operations(service)}
    assert declared == set(TABLE) - {"carryOutRun"}
