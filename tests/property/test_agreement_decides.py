"""No sequence of calls reaches a result without an agreement that allows it.

A machine plays every party at random: drafts, signatures, amendments, reviews, sanctions, holds, the passing of time,
and between them the work of linkage. A model that knows only what was said, and nothing of the policy, says after every
result that left the service whether it should have.
"""

import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from support.service_app import START, Json, Organisation, ServiceApp, agreement_document, data_sets, ok

PURPOSES = ("planning", "research")
OUTPUTS = ("link_table_blind", "link_table_matched", "summary")
ROWS = data_sets(12, 12, shared=6)
ANY = st.integers(0, 2**16)


class Version:
    """What a version of the agreement says, as its parties were told, and who has signed it."""

    def __init__(self, document: Json) -> None:
        self.purposes = {purpose["code"] for purpose in document["purpose"]["purposes"]}
        self.roles = {party["organisation"]: party["roles"] for party in document["recipients"]["parties"]}
        self.outputs = set(document["data"]["outputs"])
        self.starts, self.ends, self.review_by = (
            datetime.fromisoformat(document["review"][name]) for name in ("starts", "ends", "review_by")
        )
        self.signed: set[str] = set()


class AgreementMachine(RuleBasedStateMachine):
    """Parties of one agreement, and everything that they can do."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.service = ServiceApp(self.folder, lease_s=3600)
        self.providers = [self.service.join(), self.service.join()]
        self.recipients = [self.service.join(), self.service.join()]
        self.everybody: list[Organisation] = [*self.providers, *self.recipients]
        self.agreement = ""
        self.versions: list[Version] = []
        self.document: Json = {}
        self.state = "none"
        self.in_force: set[int] = set()
        self.review: tuple[bool, datetime, int] | None = None
        self.suspended: set[str] = set()
        self.restricted: set[str] = set()
        self.projects: list[tuple[str, int]] = []
        self.runs: list[tuple[str, str, int]] = []
        self.releases: list[Json] = []
        self.left = 0

    def teardown(self) -> None:
        assert self.service.verified()
        self.service.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- the agreement ----

    def _document(self, *, outputs: set[str], purposes: set[str], second_recipient: bool, days: int) -> Json:
        roles = {provider.organisation: ["provider"] for provider in self.providers}
        roles[self.recipients[0].organisation] = ["recipient"]
        roles[self.recipients[1].organisation] = ["recipient"] if second_recipient else ["processor"]
        ends = self.service.clock.now + timedelta(days=days)
        dates = {
            "starts": START - timedelta(days=30),
            "ends": ends,
            "review_by": ends - timedelta(days=days // 3),
        }
        document = agreement_document(
            roles,
            data={"outputs": sorted(outputs)},
            retention={"encodings_days": 3650, "link_tables_days": 3650, "max_retrievals": 100},
            review={name: moment.isoformat().replace("+00:00", "Z") for name, moment in dates.items()},
        )
        document["purpose"]["purposes"] = [
            {"code": code, "text": "Do it.", "benefits": "It helps."} for code in sorted(purposes)
        ]
        return document

    @initialize(
        outputs=st.sets(st.sampled_from(OUTPUTS), min_size=1).filter(lambda outputs: outputs != {"summary"}),
        purposes=st.sets(st.sampled_from(PURPOSES), min_size=1), second_recipient=st.booleans(),
        days=st.integers(30, 200), signed_by=st.sampled_from([0, 2, 4, 4, 4]),
    )  # fmt: skip
    def first_version(self, *, signed_by: int, **terms: Any) -> None:
        self.document = self._document(**terms)
        made = ok(self.providers[0].post("/v1/agreements", {"document": self.document}), 201)
        self.agreement, self.state = made["id"], "draft"
        self.versions.append(Version(self.document))
        # Often all sign at once, so that there is something to do.
        if signed_by:
            self.propose(by=0)
            for party in range(signed_by):
                self.sign(by=party)

    @property
    def _address(self) -> str:
        return f"/v1/agreements/{self.agreement}"

    @rule(by=ANY)
    def propose(self, *, by: int) -> None:
        caller = self.everybody[by % 4]
        path = f"{self._address}/versions/{len(self.versions)}:propose"
        answer = self._ask(caller, lambda caller: caller.change(path))
        if answer is not None and answer.is_success and self.state == "draft":
            self.state = "proposed"

    @rule(by=ANY)
    def sign(self, *, by: int) -> None:
        caller, number = self.everybody[by % 4], len(self.versions)
        shown = self._ask(caller, lambda caller: caller.get(f"{self._address}/versions/{number}"))
        if shown is None or not shown.is_success or not caller.sign_agreement(shown.json()).is_success:
            return
        version = self.versions[-1]
        version.signed.add(caller.organisation)
        if version.signed == set(version.roles):
            self.in_force.add(number)
            if self.state == "proposed":
                self.state = "active"

    @precondition(lambda self: len(self.versions) < 3)
    @rule(
        outputs=st.sets(st.sampled_from(OUTPUTS), min_size=1).filter(lambda outputs: outputs != {"summary"}),
        purposes=st.sets(st.sampled_from(PURPOSES), min_size=1), second_recipient=st.booleans(),
        days=st.integers(30, 200),
    )  # fmt: skip
    def amend(self, **terms: Any) -> None:
        document = {**self._document(**terms), "reference": self.document["reference"]}
        answer = self._ask(
            self.providers[0],
            lambda caller: caller.change(f"{self._address}/versions", {"document": document}, of=self._address),
        )
        if answer is not None and answer.is_success:
            self.versions.append(Version(document))

    @rule(verb=st.sampled_from(["suspend", "reinstate", "terminate"]), chance=st.integers(0, 3))
    def oversee(self, *, verb: str, chance: int) -> None:
        if verb == "terminate" and chance:
            return
        body = {"reason": "As it happened."}
        if self.service.officer.change(f"{self._address}:{verb}", body, of=self._address).is_success:
            self.state = {"suspend": "suspended", "reinstate": "active", "terminate": "terminated"}[verb]

    @rule(passed=st.booleans(), days=st.integers(1, 90))
    def record_review(self, *, passed: bool, days: int) -> None:
        due = self.service.clock.now + timedelta(days=days)
        body = {"passed": passed, "review_by": due.isoformat().replace("+00:00", "Z"), "findings": "Looked at."}
        if self.service.officer.change(f"{self._address}:review", body, of=self._address).is_success:
            self.review = (passed, due, max(self.in_force, default=1))

    @rule(who=ANY)
    def sanction(self, *, who: int) -> None:
        organisation = self.everybody[who % 4].organisation
        verb = "reinstate" if organisation in self.suspended else "suspend"
        path = f"/v1/organisations/{organisation}"
        ok(self.service.officer.change(f"{path}:{verb}", {"reason": "As it happened."}, of=path), 200)
        self.suspended ^= {organisation}
        # What was issued before a suspension stays dead.
        self.everybody[who % 4].forget_token()

    @rule(days=st.integers(1, 60))
    def time_passes(self, *, days: int) -> None:
        self.service.clock.move(days=days)

    # ---- the work ----

    @rule(by=ANY, purpose=st.sampled_from(PURPOSES))
    def open_project(self, *, by: int, purpose: str) -> None:
        answer = self._ask(self.everybody[by % 4], lambda caller: self.service.open_project(
            caller, {"id": self.agreement}, purpose=purpose
        ))  # fmt: skip
        if answer is not None and answer.is_success:
            number = answer.json()["agreement"]["version"]
            assert self._holds(number, purpose=purpose), "a project was opened under no agreement"
            assert number == max(self.in_force), "a project was opened under a version that is not the present one"
            self.projects.append((answer.json()["id"], number))

    @precondition(lambda self: self.projects)
    @rule(which=ANY)
    def upload_and_run(self, *, which: int) -> None:
        project, number = self.projects[which % len(self.projects)]
        for provider, rows in zip(self.providers, ROWS, strict=True):
            declared = self._ask(provider, lambda caller, rows=rows: caller.declare(project, rows))
            if declared is None or not declared.is_success:
                return
            assert self._holds(number), "encodings came in under no agreement"
            upload = declared.json()["id"]
            ok(provider.put_part(upload, 1, rows), 204)
            ok(provider.post(f"/v1/uploads/{upload}:complete"), 200)
        asked = self._ask(self.providers[0], lambda caller: caller.post(f"/v1/projects/{project}/runs", {}))
        if asked is not None and asked.is_success:
            assert self.service.work()
            self.runs.append((asked.json()["id"], project, number))

    @precondition(lambda self: self.runs)
    @rule(which=ANY, by=ANY, purpose=st.sampled_from(PURPOSES), mode=st.sampled_from(["blind", "matched"]))
    def ask_for_release(self, *, which: int, by: int, purpose: str, mode: str) -> None:
        run, _, number = self.runs[which % len(self.runs)]
        recipient = self.everybody[by % 4]
        body = {"purpose": purpose, "mode": mode}
        answer = self._ask(recipient, lambda caller: caller.post(f"/v1/runs/{run}/releases", body))
        if answer is not None and answer.is_success:
            self._may_leave(number, run=run, to=recipient.organisation, purpose=purpose, output=f"link_table_{mode}")
            self.releases.append(answer.json())

    @precondition(lambda self: self.releases)
    @rule(which=ANY, by=ANY)
    def fetch(self, *, which: int, by: int) -> None:
        release = self.releases[which % len(self.releases)]
        answer = self._ask(
            self.everybody[by % 4], lambda caller: caller.get(f"/v1/releases/{release['id']}/link-table")
        )
        if answer is not None and answer.is_success:
            number = next(number for run, _, number in self.runs if run == release["run"])
            assert "provider" in self.versions[number - 1].roles[self.everybody[by % 4].organisation]
            assert release["id"] not in self.restricted, "a table left in spite of a hold"
            self._may_leave(
                number, run=release["run"], to=release["recipient"], purpose=release["purpose"],
                output=f"link_table_{release['mode']}",
            )  # fmt: skip
            self.left += 1

    @precondition(lambda self: self.runs)
    @rule(which=ANY, by=ANY, what=st.sampled_from(["summary", "report"]))
    def read(self, *, which: int, by: int, what: str) -> None:
        run, _, number = self.runs[which % len(self.runs)]
        answer = self._ask(self.everybody[by % 4], lambda caller: caller.get(f"/v1/runs/{run}/{what}"))
        if answer is not None and answer.is_success:
            self._may_leave(number, run=run, output="summary")

    @precondition(lambda self: self.runs)
    @rule(which=ANY)
    def hold_run(self, *, which: int) -> None:
        run = self.runs[which % len(self.runs)][0]
        verb, body = self._hold_or_lift(run)
        if self.service.officer.post(f"/v1/runs/{run}:{verb}", body).is_success:
            self.restricted ^= {run}

    @precondition(lambda self: self.releases)
    @rule(which=ANY)
    def hold_release(self, *, which: int) -> None:
        release = self.releases[which % len(self.releases)]["id"]
        verb, body = self._hold_or_lift(release)
        if self.service.officer.post(f"/v1/releases/{release}:{verb}", body).is_success:
            self.restricted ^= {release}

    def _hold_or_lift(self, held: str) -> tuple[str, Json]:
        lift = held in self.restricted
        return "lift-restriction" if lift else "restrict", {"reason": "A case."} | (
            {} if lift else {"ground": "accuracy"}
        )

    # ---- what must hold ----

    def _ask(self, caller: Organisation, act: Any) -> httpx.Response | None:
        """Asks as somebody; who is suspended gets no token, and so nothing."""
        if caller.organisation in self.suspended:
            return None
        answer: httpx.Response = act(caller)
        return answer

    def _holds(self, number: int, *, purpose: str | None = None) -> bool:
        """Whether a version is in force now, by what was said and done."""
        version, now = self.versions[number - 1], self.service.clock.now
        passed, due, reviewed = self.review or (True, version.review_by, 0)
        if passed and reviewed < number:
            # A review that passed was of what was agreed then; one that failed stands until another passes.
            due = version.review_by
        return (
            self.state == "active" and number in self.in_force and version.signed == set(version.roles)
            and version.starts <= now < version.ends and passed and now < due
            and (purpose is None or purpose in version.purposes)
        )  # fmt: skip

    def _may_leave(
        self, number: int, *, run: str, output: str, to: str | None = None, purpose: str | None = None
    ) -> None:
        version = self.versions[number - 1]
        assert self._holds(number, purpose=purpose), "a result left under no agreement that is in force"
        assert output in version.outputs, "a result left that the agreement does not list"
        assert run not in self.restricted, "a result left in spite of a hold"
        if to is not None:
            assert "recipient" in version.roles.get(to, ()), "a result left for somebody who is no recipient"
            assert to not in self.suspended, "a result left for somebody who is suspended"

    @invariant()
    def state_shown_is_the_state_told(self) -> None:
        if not self.agreement:
            return
        shown = ok(self.service.officer.get(self._address), 200)["state"]
        assert shown == self.state or (shown == "expired" and self.state == "active")


@pytest.mark.timeout(900)
def test_no_sequence_of_calls_reaches_a_result_without_an_agreement() -> None:
    run_state_machine_as_test(
        AgreementMachine,
        settings=settings(
            max_examples=12, stateful_step_count=25, deadline=None, phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], database=None,
        ),
    )  # fmt: skip


def _straight(machine: AgreementMachine) -> Iterator[int]:
    machine.first_version(
        outputs={"link_table_blind"}, purposes={"planning"}, second_recipient=False, days=100, signed_by=4
    )
    machine.open_project(by=0, purpose="planning")
    machine.upload_and_run(which=0)
    machine.ask_for_release(which=0, by=2, purpose="planning", mode="blind")
    machine.fetch(which=0, by=0)
    yield machine.left
    machine.sanction(who=2)
    machine.fetch(which=0, by=0)
    yield machine.left


def test_machine_reaches_a_link_table_when_all_is_as_agreed_and_not_for_a_suspended_recipient() -> None:
    machine = AgreementMachine()
    assert list(_straight(machine)) == [1, 1]
    machine.teardown()
