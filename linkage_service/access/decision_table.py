"""Who may do what in which state of an agreement: ``python -m linkage_service.access.decision_table``.

Every cell is a decision of the real policy on facts in which all else is as the agreement wants it. The table is
committed, so that nobody changes the policy without seeing, and having reviewed, whose rights that changes.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from linkage_service.access.actions import Action
from linkage_service.access.callers import ClientCaller, OrganisationFacts, PersonCaller, WorkerActor
from linkage_service.access.decide import (
    LEDGER,
    SERVICE,
    AgreementReference,
    Circumstance,
    Governing,
    Policy,
    Resource,
)
from linkage_service.access.entities import Attribute, Entity, Reference, organisation_reference

_NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
_DAY = timedelta(days=1)
_SCHEMA = "5f" * 32

# Whose organisation calls, and what it is under the agreement. The first of each pair is what the resource is about.
STANDINGS: Mapping[str, str] = {
    "linkage unit": "the organisation that runs the service",
    "provider": "the provider of the upload, or the organisation itself",
    "other provider": "another provider in the agreement",
    "recipient": "the recipient of the release",
    "other recipient": "another recipient in the agreement",
    "processor": "a processor in the agreement",
    "outsider": "an organisation that the agreement does not name",
}
_UNIT_ROLES = ("administrator", "officer", "operator", "signatory")
_PARTNER_ROLES = ("analyst", "signatory", "recipient", "officer")
STATES: Mapping[str, str] = {
    "draft": "not yet proposed",
    "proposed": "proposed, one party has not signed",
    "active": "signed by all, in date, review not due",
    "superseded": "an amendment is active; this version governs older projects",
    "suspended": "suspended",
    "review due": "the review is overdue",
    "review failed": "the last review found against going on",
    "not begun": "before its start",
    "expired": "past its end",
    "terminated": "terminated",
    "hold": "active, with a restriction on run and release",
    "sanction": "active, with the caller's organisation suspended",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller of the table: a machine or a person with one role in an organisation of one standing."""

    standing: str
    role: str
    person: bool

    @property
    def name(self) -> str:
        """As the table calls it."""
        return f"{self.standing}: {self.role}, {'person' if self.person else 'machine'}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One decision."""

    action: str
    caller: str
    state: str
    allowed: bool
    policies: tuple[str, ...]


class _Anywhere:
    """Circumstances without limits."""

    def allow_network(self, source: str) -> bool:  # noqa: ARG002 - interface
        """Every address."""
        return True

    def allow_moment(self, moment: datetime) -> bool:  # noqa: ARG002 - interface
        """Every moment."""
        return True


def callers() -> list[Caller]:
    """Every caller of the table."""
    return [
        Caller(standing, role, person)
        for standing in STANDINGS
        for role in (_UNIT_ROLES if standing == "linkage unit" else _PARTNER_ROLES)
        for person in (False, True)
    ]


def cells(policy: Policy) -> Iterator[Cell]:
    """Every cell: what the policy decides."""
    for action in Action:
        for caller in callers():
            for state in STATES:
                yield _cell(policy, action, caller, state)


def allowed(decided: Sequence[Cell]) -> dict[str, dict[str, list[str]]]:
    """By action and caller, the states in which the caller may act. Who is not there never may."""
    table: dict[str, dict[str, list[str]]] = {action.value: {} for action in Action}
    for cell in decided:
        if cell.allowed:
            table[cell.action].setdefault(cell.caller, []).append(cell.state)
    return table


def committed_form(decided: Sequence[Cell]) -> str:
    """`allowed` as JSON, a line for each action and caller."""
    actions = []
    for action, rows in allowed(decided).items():
        lines = [f"  {json.dumps(caller)}: {json.dumps(states)}" for caller, states in rows.items()]
        actions.append(f" {json.dumps(action)}: {{\n" + ",\n".join(lines) + ("\n }" if lines else " }"))
    return "{\n" + ",\n".join(actions) + "\n}\n"


def readable_form(decided: Sequence[Cell]) -> str:
    """The table as Markdown: for each action, who may do it, and what refuses in the states where they may not."""
    by_action: dict[str, dict[str, list[Cell]]] = {}
    for cell in decided:
        by_action.setdefault(cell.action, {}).setdefault(cell.caller, []).append(cell)
    lines = [*_INTRODUCTION, "", *(f"- **{name}**: {meaning}" for name, meaning in STATES.items()), ""]
    lines += ["Organisations are:", "", *(f"- **{name}**: {meaning}" for name, meaning in STANDINGS.items()), ""]
    for action, rows in by_action.items():
        some = {caller: row for caller, row in rows.items() if any(cell.allowed for cell in row)}
        lines += [f"## {action}", ""]
        if not some:
            lines += ["Nobody who calls: only the service's worker.", ""]
            continue
        lines += ["| who | may, when the agreement is | refused by |", "|---|---|---|"]
        lines += _merged(some)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _merged(rows: Mapping[str, list[Cell]]) -> list[str]:
    """One line for all callers who get the same answers."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for caller, row in rows.items():
        may = [cell.state for cell in row if cell.allowed]
        refusals: dict[str, list[str]] = {}
        for cell in row:
            if not cell.allowed:
                names = " ".join(f"`{policy}`" for policy in cell.policies) or "no grant"
                refusals.setdefault(names, []).append(cell.state)
        by = "; ".join(f"{', '.join(states)}: {policies}" for policies, states in refusals.items())
        whatever = len(may) == len(STATES) - 1 and "sanction" not in may
        grouped.setdefault(("in any state" if whatever else ", ".join(may), by), []).append(caller)
    return [f"| {_named(names)} | {may} | {by} |" for (may, by), names in grouped.items()]


def _named(names: list[str]) -> str:
    """Callers in few words: roles of one organisation together, and no kind where both kinds may."""
    if len(names) == len(callers()):
        return "anybody who is registered"
    kinds: dict[tuple[str, str], list[str]] = {}
    for name in names:
        standing, rest = name.split(": ")
        role, kind = rest.split(", ")
        kinds.setdefault((standing, role), []).append(kind)
    roles: dict[tuple[str, str], list[str]] = {}
    for (standing, role), found in kinds.items():
        only = "" if len(found) > 1 else f" ({found[0]}s only)"
        roles.setdefault((standing, only), []).append(role)
    organisations: dict[tuple[str, str], list[str]] = {}
    for (standing, only), found in roles.items():
        organisations.setdefault((", ".join(found), only), []).append(standing)
    return "<br>".join(
        f"{' or '.join(standings)}: {together}{only}" for (together, only), standings in organisations.items()
    )


_INTRODUCTION = (
    "# Who may do what",
    "",
    "Made by `python -m linkage_service.access.decision_table` from the policy, and compared with it by a test.",
    "Each line is what the policy decides when all else is as the agreement wants it: purpose, fields, outputs,",
    "completeness, profile, assurance, networks and hours, opt-outs, dates of deletion, retrievals. Whoever is not",
    "named under an action may not do it in any state. The policies are in `linkage_service/access/policy.cedar`,",
    "each with the element that it stands for, its reason, and what would change its answer.",
    "",
    "The states of the agreement, and of what it governs, are:",
)


def _cell(policy: Policy, action: Action, caller: Caller, state: str) -> Cell:
    actor = _actor(caller, sanctioned=state == "sanction")
    resource, context = _about(action, actor, state)
    at = Circumstance(now=_NOW, newest=_NOW, source="192.0.2.1")
    decision = policy.decide(action=action, caller=actor, resource=resource, at=at, context=context)
    guards = tuple(name for name in decision.policies if name.startswith("G"))
    return Cell(action.value, caller.name, state, decision.allowed, guards if not decision.allowed else ())


@cache
def _organisation(standing: str, *, sanctioned: bool = False) -> OrganisationFacts:
    return OrganisationFacts(
        id=standing.replace(" ", "-"),
        kind="linkage_unit" if standing == "linkage unit" else "partner",
        suspended=sanctioned,
        assurance="standards_met",
        assurance_expires=_NOW + 90 * _DAY,
    )


def _actor(caller: Caller, *, sanctioned: bool) -> ClientCaller | PersonCaller:
    facts, roles = _organisation(caller.standing, sanctioned=sanctioned), frozenset({caller.role})
    if caller.person:
        return PersonCaller(
            id="person", facts=facts, roles=roles, name="", session="", method="", disabled=False, second_factor=True,
            stepped_up=True,
        )  # fmt: skip
    return ClientCaller(id="client", facts=facts, roles=roles, key_thumbprint="", key_registered=_NOW - _DAY)


@cache
def _agreement(state: str) -> Governing:
    provider, other_provider, recipient, other_recipient, processor = (
        organisation_reference(standing.replace(" ", "-"))
        for standing in ("provider", "other provider", "recipient", "other recipient", "processor")
    )
    parties = frozenset({provider, other_provider, recipient, other_recipient, processor})
    unfinished = state in ("draft", "proposed")
    states = {"draft", "proposed", "suspended", "terminated"}
    attributes: dict[str, Attribute] = {
        "reference": "ISP",
        "version": 1,
        "state": state if state in states else "active",
        "version_state": state if unfinished or state == "superseded" else "active",
        "signed": frozenset() if state == "draft" else parties - {processor} if state == "proposed" else parties,
        "purposes": frozenset({"planning"}),
        "parties": parties,
        "providers": frozenset({provider, other_provider}),
        "recipients": frozenset({recipient, other_recipient}),
        "linkage_schema": _SCHEMA,
        "identifier_fields": frozenset({"surname"}),
        "outputs": frozenset({"link_table_blind", "summary"}),
        "columns": frozenset[str](),
        "minimum_tier": 0,
        "minimum_assurance": 2,
        "key_rotation_days": 365,
        "max_retrievals": 3,
        "reapply_days": 90,
        "starts": _NOW + _DAY if state == "not begun" else _NOW - 90 * _DAY,
        "ends": _NOW - _DAY if state == "expired" else _NOW + 180 * _DAY,
        "review_by": _NOW - _DAY if state == "review due" else _NOW + 90 * _DAY,
        "review_passed": state != "review failed",
        "ladder": frozenset({"warn", "suspend_client", "suspend_organisation", "suspend_agreement", "terminate"}),
    }
    entity = Entity(Reference("Agreement", "agreement"), attributes, key=("table", state))
    return Governing(AgreementReference("ISP", 1, ""), entity, lambda _: _Anywhere())


def _about(
    action: Action, actor: ClientCaller | PersonCaller | WorkerActor, state: str
) -> tuple[Resource, dict[str, Attribute]]:
    under = _agreement(state)
    hold = state == "hold"
    agreement, project = under.entity.reference, Reference("Project", "project")
    sanctioned = isinstance(actor, ClientCaller | PersonCaller) and actor.facts.suspended
    organisations = {
        standing: _organisation(standing, sanctioned=sanctioned and actor.organisation == standing.replace(" ", "-"))
        for standing in STANDINGS
    }
    provider, recipient = (organisations[name].entity() for name in ("provider", "recipient"))
    related = (
        Entity(
            project,
            {
                "agreement": agreement,
                "state": "open",
                "kind": "linkage",
                "purpose": "planning",
                "providers": under.entity.attributes["providers"],
            },
            parents=(agreement,),
        ),
        *(organisation.entity() for organisation in organisations.values()),
    )
    beneath: dict[str, Attribute] = {"agreement": agreement, "project": project}
    upload = {**beneath, "organisation": provider.reference, "delete_by": _NOW + _DAY}
    run = {**beneath, "restricted": hold}
    release: dict[str, Attribute] = {
        **run,
        "recipient": recipient.reference,
        "output": "link_table_blind",
        "columns": frozenset[str](),
        "purpose": "planning",
        "delete_by": _NOW + _DAY,
        "retrievals": 0,
    }
    own_client = Entity(
        Reference("Client", "another"),
        {
            "organisation": provider.reference,
            "roles": frozenset({"analyst"}),
            "revoked": False,
            "suspended": False,
            "key_registered": _NOW,
        },
    )
    kinds: dict[str, Entity] = {
        "Agreement": under.entity,
        "Project": related[0],
        "Upload": Entity(Reference("Upload", "upload"), upload, parents=(project,)),
        "Run": Entity(Reference("Run", "run"), run, parents=(project,)),
        "Release": Entity(Reference("Release", "release"), release, parents=(Reference("Run", "run"),)),
        "Organisation": provider,
        "Client": own_client,
        "Person": Entity(Reference("Person", "nobody"), {}),
    }
    kind = _KIND.get(action, "")
    if action in (Action.MANAGE_SELF, Action.CHANGE_PASSWORD) and isinstance(actor, PersonCaller):
        return Resource(kind="person", entity=actor.entities()[0]), {}
    if kind in ("Organisation", "Client", "Person"):
        outside = Resource(kind=kind.lower(), entity=kinds[kind], related=related[1:])
        return outside, _context(action, under)
    if kind:
        governed = Resource(kind=kind.lower(), entity=kinds[kind], related=related, under=under)
        return governed, _context(action, under)
    return (LEDGER if action in _OF_THE_LEDGER else SERVICE), _context(action, under)


_OF_THE_LEDGER = (
    Action.READ_LEDGER, Action.EXPORT_LEDGER, Action.REPLAY_DECISION, Action.READ_ALARMS, Action.ACKNOWLEDGE_ALARM,
)  # fmt: skip
_KIND: Mapping[Action, str] = {
    **dict.fromkeys(
        (
            Action.INVITE_ORGANISATION, Action.READ_ORGANISATION, Action.RECORD_ASSURANCE, Action.SANCTION_ORGANISATION,
            Action.READ_CLIENTS, Action.MANAGE_CLIENTS, Action.MANAGE_PEOPLE, Action.READ_PEOPLE,
            Action.PUBLISH_KEY_CARD,
        ),
        "Organisation",
    ),
    **dict.fromkeys((Action.ROTATE_KEY, Action.SANCTION_CLIENT), "Client"),
    **dict.fromkeys((Action.MANAGE_SELF, Action.CHANGE_PASSWORD), "Person"),
    **dict.fromkeys(
        (
            Action.READ_AGREEMENT, Action.AMEND_AGREEMENT, Action.PROPOSE_AGREEMENT, Action.SIGN_AGREEMENT,
            Action.SUSPEND_AGREEMENT, Action.REINSTATE_AGREEMENT, Action.REVIEW_AGREEMENT, Action.TERMINATE_AGREEMENT,
            Action.OPEN_PROJECT,
        ),
        "Agreement",
    ),
    **dict.fromkeys(
        (
            Action.READ_PROJECT, Action.CLOSE_PROJECT, Action.READ_CERTIFICATES, Action.UPLOAD_ENCODINGS,
            Action.START_RUN, Action.CARRY_OUT_RUN, Action.READ_DISCLOSURES, Action.EXCHANGE_KEYS,
            Action.OPEN_KEY_EPOCH, Action.JOIN_PROJECT, Action.LEAVE_PROJECT,
        ),
        "Project",
    ),
    **dict.fromkeys(
        (
            Action.CONTINUE_UPLOAD, Action.READ_UPLOAD, Action.DELETE_UPLOAD, Action.WITHDRAW_ROWS, Action.TRACE_ROW,
        ),
        "Upload",
    ),
    **dict.fromkeys(
        (
            Action.READ_RUN, Action.CANCEL_RUN, Action.RESTRICT_RUN, Action.READ_SUMMARY, Action.READ_REPORT,
            Action.REQUEST_RELEASE,
        ),
        "Run",
    ),
    **dict.fromkeys(
        (
            Action.READ_RELEASE, Action.RESTRICT_RELEASE, Action.READ_WITHDRAWALS, Action.RETRIEVE_LINK_TABLE,
        ),
        "Release",
    ),
}  # fmt: skip


def _context(action: Action, under: Governing) -> dict[str, Attribute]:
    run: dict[str, Attribute] = {
        "aim": "best_f1", "suspended_providers": frozenset[str](), "encodings_delete_by": _NOW + _DAY,
        "opt_outs_applied": _NOW - _DAY,
    }  # fmt: skip
    parties = under.entity.attributes["parties"]
    contexts: dict[Action, dict[str, Attribute]] = {
        Action.MANAGE_CLIENTS: {"roles": frozenset({"analyst"})},
        Action.MANAGE_PEOPLE: {"roles": frozenset({"signatory"})},
        Action.SANCTION_ORGANISATION: {"sanction": "suspend_organisation"},
        Action.SANCTION_CLIENT: {"sanction": "suspend_client"},
        Action.DRAFT_AGREEMENT: {"parties": parties},
        Action.AMEND_AGREEMENT: {"parties": parties},
        Action.OPEN_PROJECT: {"purpose": "planning", "kind": "linkage", "linkage_schema": _SCHEMA},
        Action.UPLOAD_ENCODINGS: {
            "fields": frozenset({"surname"}), "incomplete_fields": frozenset[str](), "tier": 0,
            "opt_outs_applied": _NOW - _DAY,
        },
        Action.LEAVE_PROJECT: {"leaving": organisation_reference("provider")},
        Action.START_RUN: run,
        Action.CARRY_OUT_RUN: run,
        Action.REQUEST_RELEASE: {
            "purpose": "planning", "output": "link_table_blind", "columns": frozenset[str](),
        },
    }  # fmt: skip
    return contexts.get(action, {})


def main(arguments: list[str]) -> None:
    """Prints the table: as JSON with `--json`, else as Markdown."""
    decided = list(cells(Policy()))
    sys.stdout.write(committed_form(decided) if arguments == ["--json"] else readable_form(decided))


if __name__ == "__main__":
    main(sys.argv[1:])
