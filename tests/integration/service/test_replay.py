"""Every decision that was recorded can be made again, from its own facts and by its own policy text."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner

from linkage_ledger import events
from linkage_service.access.decide import EVALUATION, Policy, PolicyText, Verdict
from linkage_service.access.policy_texts import recall, remember
from linkage_service.access.replay import Replayed, replay
from linkage_service.cli import main
from linkage_service.errors import Conflict, NotFound
from support.databases import only_on_sqlite
from support.ledger_logs import make_header
from support.service_app import Linked, ServiceApp, ok, problem

_STOP = '@id("G0-stop") @element("none") @reason("No.") @remedy("None.") forbid (principal, action, resource);'


def _played(service: ServiceApp, linked: Linked) -> None:
    """A round with every kind of answer in it."""
    run = service.run(linked)
    release = service.release(linked, run)
    assert linked.providers[0].get(f"/v1/releases/{release['id']}/link-table").status_code == 200
    problem(linked.recipients[0].get(f"/v1/releases/{release['id']}/link-table"), 403)
    problem(service.open_project(linked.providers[0], linked.agreement, purpose="marketing"), 403)
    problem(service.officer.get(f"/v1/runs/{run['id']}/summary"), 403)


def test_every_recorded_decision_is_made_again_with_the_same_answer(service: ServiceApp, linked: Linked) -> None:
    _played(service, linked)
    decided = [seq for seq, event in enumerate(service.events()) if "decision" in event]
    effects = set()
    with service.runtime.database.reading() as session:
        for seq in decided:
            found = replay(session, seq=seq, current=service.runtime.door.policy)
            assert found.agrees, seq
            assert not found.verdict.failed
            effects.add(found.recorded.effect)
    assert effects == {"allow", "deny"}
    assert len(decided) > 15


@pytest.mark.parametrize("policies", [(), (EVALUATION,)])
def test_decision_that_could_not_be_evaluated_agrees_however_it_was_recorded(policies: tuple[str, ...]) -> None:
    recorded = events.Decision("deny", policies, "a", "b")
    failed = Verdict(allowed=False, policies=(EVALUATION,))
    found = Replayed(header=make_header(0), recorded=recorded, verdict=failed, request={}, policy_is_current=True)
    assert found.agrees
    assert not replace(found, recorded=replace(recorded, policies=("G1-purpose",))).agrees


def test_decision_of_an_earlier_policy_text_is_made_again_by_that_text(service: ServiceApp, linked: Linked) -> None:
    _played(service, linked)
    text = service.runtime.door.policy.text
    later = Policy(PolicyText(f"{text.policies}\n{_STOP}", text.schema))
    remember(service.runtime.database, later.text, now=service.clock())
    refused = next(seq for seq, event in enumerate(service.events()) if event["type"] == "release.granted")
    with service.runtime.database.reading() as session:
        found = replay(session, seq=refused, current=later)
        assert recall(session, later.digest) == later.text
    assert (found.agrees, found.verdict.allowed, found.policy_is_current) == (True, True, False)


def test_replay_of_what_is_no_decision_says_so(service: ServiceApp) -> None:
    with service.runtime.database.reading() as session:
        with pytest.raises(Conflict, match="no decision"):
            replay(session, seq=0, current=service.runtime.door.policy)
        with pytest.raises(NotFound):
            replay(session, seq=10_000, current=service.runtime.door.policy)


@only_on_sqlite
def test_replay_of_facts_that_were_disposed_of_says_so(service: ServiceApp, linked: Linked) -> None:
    assert linked.project
    seq = next(seq for seq, event in enumerate(service.events()) if event["type"] == "project.opened")
    with service.runtime.database.writing() as session:
        session.connection().exec_driver_sql(
            "UPDATE audit_body SET disposed = 1, salt = NULL, body = NULL WHERE seq = ?", (seq,)
        )
    with (
        service.runtime.database.reading() as session,
        pytest.raises(Conflict, match="disposed of at the end of their retention"),
    ):
        replay(session, seq=seq, current=service.runtime.door.policy)
    assert service.verified()


def test_policy_text_that_was_changed_in_the_database_is_not_recalled(service: ServiceApp) -> None:
    digest = service.runtime.door.policy.digest
    with service.runtime.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE known_policy SET policies = 'permit(principal,action,resource);'")
        assert recall(session, digest) is None


@only_on_sqlite
def test_replay_command_names_element_and_answer(service: ServiceApp, linked: Linked) -> None:
    _played(service, linked)
    seq = next(seq for seq, event in enumerate(service.events()) if event["type"] == "project.refused")
    folder = str(service.settings.data_dir)
    shown = CliRunner().invoke(main, ["audit", "replay", "--data-dir", folder, str(seq)])
    assert shown.exit_code == 0, shown.output
    assert "G1-purpose (1 Purpose of the sharing)" in shown.output
    assert "The answer is the one recorded." in shown.output
    document = json.loads(
        CliRunner().invoke(main, ["audit", "replay", "--data-dir", folder, str(seq), "--json"]).output
    )
    assert document["agrees"] is True
    assert document["recorded"] == {"allowed": False, "policies": ["G1-purpose"]}
    missing = CliRunner().invoke(main, ["audit", "replay", "--data-dir", folder, "99999"])
    assert (missing.exit_code, "no event" in missing.output) == (1, True)


def _seq(service: ServiceApp, event_type: str) -> int:
    return next(seq for seq, event in enumerate(service.events()) if event["type"] == event_type)


def test_officer_has_a_decision_made_again_and_that_is_an_event(service: ServiceApp, linked: Linked) -> None:
    _played(service, linked)
    seq = _seq(service, "project.refused")
    with service.expecting_event("audit.replayed") as found:
        made = ok(service.officer.get(f"/v1/audit/events/{seq}/replay"), 200)
    assert found[0]["resource"] == {"id": str(seq), "type": "audit"}
    assert made["agrees"]
    assert made["policy_is_current"]
    assert made["recorded"] == made["replayed"] == {"allowed": False, "policies": ["G1-purpose"]}
    granted = ok(service.officer.get(f"/v1/audit/events/{_seq(service, 'release.granted')}/replay"), 200)
    assert granted["replayed"]["allowed"]


def test_replay_is_for_officers_who_may_see_the_facts(service: ServiceApp, linked: Linked) -> None:
    one, other = linked.providers
    problem(service.open_project(one, linked.agreement, purpose="marketing"), 403)
    path = f"/v1/audit/events/{_seq(service, 'project.refused')}/replay"
    problem(service.administrator.get(path), 403)
    problem(one.get(path), 403)
    ok(service.add_client(one, "officer").get(path), 200)
    # It sees the event under its agreement, but not what was judged of another organisation.
    problem(service.add_client(other, "officer").get(path), 404)
    problem(service.add_client(service.join(), "officer").get(path), 404)


@only_on_sqlite
@pytest.mark.parametrize(
    ("code", "statement"),
    [
        ("facts_disposed", "UPDATE audit_body SET disposed = 1, salt = NULL, body = NULL WHERE seq = ?"),
        ("facts_changed", "UPDATE audit_body SET body = x'7b7d' WHERE seq = ?"),
        ("policy_unknown", "UPDATE known_policy SET digest = 'f' WHERE ? > 0"),
        ("no_decision", ""),
    ],
)
def test_replay_that_cannot_be_says_why(service: ServiceApp, linked: Linked, code: str, statement: str) -> None:
    assert linked.project
    seq = _seq(service, "project.opened") if statement else 0
    if code == "policy_unknown":
        service.runtime.door.policy.digest = "of another text"
    if statement:
        with closing(sqlite3.connect(service.database_file)) as database:
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                database.execute(f"DROP TRIGGER {name}")
            database.execute(statement, (seq,))
            database.commit()
    problem(service.officer.get(f"/v1/audit/events/{seq}/replay"), 409, code)
