"""A service with every kind of organisation, role and thing in it, brought into every state of an agreement."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from linkage_service.access.actions import Action
from linkage_service.access.decision_table import Caller as TableCaller
from linkage_service.access.decision_table import callers as table_callers
from linkage_service.access.guard import Guard
from linkage_service.access.sessions import COOKIE
from linkage_service.agreements.document import digest_of
from linkage_service.app import routes_of
from support.key_exchange import CHECK_VALUE, ExchangeKeys
from support.service_app import SCHEMA, Caller, Json, Key, Organisation, Person, ServiceApp, data_sets, manifest, ok

STANDING_ROLES = {
    "provider": ["provider"],
    "other provider": ["provider"],
    "recipient": ["recipient"],
    "other recipient": ["recipient"],
    "processor": ["processor"],
}
ROWS = data_sets(12, 12, shared=6)


class CallsService(Protocol):
    """A machine or a person that sends requests."""

    def request(self, method: str, path: str, **options: Any) -> httpx.Response: ...


@dataclass(frozen=True)
class Operation:
    """One guarded operation of the API."""

    id: str
    method: str
    path: str
    action: Action


def operations(service: ServiceApp) -> Iterator[Operation]:
    """Every operation that the policy decides on, with the action that its route declares."""
    for route in routes_of(service.app):
        guards = [inner.call for inner in _dependencies(route.dependant) if isinstance(inner.call, Guard)]
        for guard in guards:
            for method in route.methods or ():
                yield Operation(route.operation_id or route.name, method, route.path, guard.action)


def _dependencies(dependant: Any) -> Iterator[Any]:
    for inner in dependant.dependencies:
        yield inner
        yield from _dependencies(inner)


class _InSession:
    """A person whose session is put back for every request, also after one that has ended it."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._cookie = {COOKIE: person.token}

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Sends one request."""
        self._person.http.cookies.clear()
        headers = {**options.pop("headers", {}), "Cookie": "; ".join(f"{k}={v}" for k, v in self._cookie.items())}
        return self._person.request(method, path, headers=headers, **options)


@dataclass
class World:
    """The service, who calls it, and what there is to act on."""

    service: ServiceApp
    organisations: dict[str, Organisation]
    agreement: Json
    document: Json
    ids: dict[str, str]
    _callers: dict[str, CallsService] = field(default_factory=dict)

    def caller(self, wanted: TableCaller) -> CallsService:
        """The caller of a row of the table."""
        return self._callers[wanted.name]

    def meet_everybody(self) -> None:
        """Registers and signs in everybody while nothing stands in the way."""
        # People first: each sign-in takes half a minute of the clock, and an access token lives for five.
        for wanted in sorted(table_callers(), key=lambda wanted: not wanted.person):
            caller = self._person(wanted) if wanted.person else self._machine(wanted)
            ok(caller.request("GET", "/v1/me"), 200)
            self._callers[wanted.name] = caller

    def renew_tokens(self) -> None:
        """Gives every machine a token of now."""
        for caller in (*self._callers.values(), *self.organisations.values()):
            if isinstance(caller, Caller):
                caller.forget_token()
                assert caller.token

    def path(self, operation: Operation) -> str:
        """The address of an operation with the ids of this world."""
        return operation.path.format(**self.ids)

    def options(self, operation: Operation) -> Json:
        """Body, headers and query of an operation."""
        make = OPTIONS.get(operation.id)
        return {} if make is None else make(self)

    def _machine(self, wanted: TableCaller) -> CallsService:
        if wanted.standing != "linkage unit":
            return self.organisations[wanted.standing].add_client(wanted.role)
        service = self.service
        known = {"administrator": service.administrator, "officer": service.officer}
        return known.get(wanted.role) or service.add_client(service.administrator, wanted.role)

    def _person(self, wanted: TableCaller) -> CallsService:
        unit = wanted.standing == "linkage unit"
        by_unit = self.service.officer if wanted.role == "officer" else self.service.administrator
        inviting = by_unit if unit else self.organisations[wanted.standing]
        return _InSession(self.service.person(inviting, wanted.role, stepped_up=True))


def _agreed(world: World, *, reference: str | None = None) -> Json:
    named = {**world.document, "reference": reference or world.document["reference"]}
    return {"document": named}


_REASON = {"json": {"reason": "A test of who may."}}
_HOLD = {"json": {"ground": "accuracy", "reason": "A test of who may."}}
_UNREAD = {"If-Match": '"unread"'}
OPTIONS: Mapping[str, Callable[[World], Json]] = {
    "create_organisation": lambda _: {"json": {"name": "A new organisation"}},
    "add_client": lambda _: {"json": {"name": "another machine", "jwk": Key().jwk, "roles": ["analyst"]}},
    "add_client_key": lambda _: {"json": {"jwk": Key().jwk}},
    "record_assurance": lambda _: {
        "json": {"status": "standards_met", "expires_at": "2027-01-01T00:00:00Z", "evidence": "The return of 2026."}
    },
    **dict.fromkeys(
        (
            "warn_organisation", "suspend_organisation", "reinstate_organisation", "warn_client", "suspend_client",
            "reinstate_client",
        ),
        lambda _: _REASON,
    ),
    "invite_person": lambda _: {
        "json": {"name": "Somebody", "email": "somebody@body.test", "roles": ["signatory"]}
    },
    "change_roles": lambda _: {"json": {"roles": ["signatory"]}},
    "step_up": lambda _: {"json": {"code": "000000"}},
    "change_password": lambda _: {
        "json": {"password": "not the one that it is", "new_password": "another long phrase to know"}
    },
    "draft_agreement": lambda world: {"json": _agreed(world, reference="ANOTHER")},
    "amend_agreement": lambda world: {"json": _agreed(world), "headers": _UNREAD},
    "replace_agreement_draft": lambda world: {"json": _agreed(world), "headers": _UNREAD},
    "withdraw_agreement_version": lambda _: {"headers": _UNREAD},
    "propose_agreement": lambda _: {"headers": _UNREAD},
    "sign_agreement": lambda world: {"json": {"digest": world.agreement["digest"], "signature": "AAAA"}},
    **dict.fromkeys(
        ("suspend_agreement", "reinstate_agreement", "terminate_agreement"),
        lambda _: {**_REASON, "headers": _UNREAD},
    ),
    "review_agreement": lambda _: {
        "json": {"passed": True, "review_by": "2026-12-01T00:00:00Z", "findings": "It helps."}, "headers": _UNREAD,
    },
    "open_project": lambda world: {
        "json": {
            "agreement": world.agreement["id"], "name": "Another", "purpose": "planning", "linkage_schema": SCHEMA,
        }
    },
    "publish_key_card": lambda world: {"json": ExchangeKeys(world.ids["organisation_id"]).card()},
    "note_key_comparison": lambda _: {"json": {"epoch": 1, "keyset_sha256": "5f" * 32}},
    "post_key_envelopes": lambda _: {
        "json": {"epoch": 1, "keyset_sha256": "5f" * 32, "check_value": CHECK_VALUE, "envelopes": []}
    },
    "confirm_key": lambda _: {"json": {"epoch": 1, "check_value": CHECK_VALUE}},
    "open_key_epoch": lambda _: {"json": {"reason": "planned", "expected_epoch": 1}},
    "join_project": lambda _: {"json": {}},
    "declare_upload": lambda _: {"json": {"manifest": manifest(ROWS[0])}},
    "put_part": lambda _: {"content": b"x", "headers": {"Content-Type": "application/octet-stream"}},
    "withdraw_rows": lambda _: {"json": {"rows": [0], "reason": "objection"}},
    "trace_row": lambda _: {"json": {"row": 0}},
    **dict.fromkeys(
        ("restrict_run", "restrict_release"),
        lambda _: _HOLD,
    ),
    **dict.fromkeys(
        ("lift_run_restriction", "lift_release_restriction"),
        lambda _: _REASON,
    ),
    "start_run": lambda _: {"json": {}},
    "request_release": lambda _: {"json": {"purpose": "planning"}},
    "export_events": lambda _: {"json": {"format": "csv"}},
    "acknowledge_alarm": lambda _: _REASON,
    "get_consistency": lambda _: {"params": {"first": 0, "second": 1}},
}  # fmt: skip


@dataclass
class Snapshot:
    """Database and blobs as they were at one moment."""

    service: ServiceApp
    database: sqlite3.Connection
    blobs: Path

    @classmethod
    def of(cls, service: ServiceApp, keep: Path) -> "Snapshot":
        """Takes one."""
        memory = sqlite3.connect(":memory:", check_same_thread=False)
        with sqlite3.connect(service.database_file) as live:
            live.backup(memory)
        live.close()
        shutil.rmtree(keep, ignore_errors=True)
        shutil.copytree(service.settings.data_dir / "blobs", keep)
        return cls(service, memory, keep)

    def restore(self) -> None:
        """Brings it back."""
        with sqlite3.connect(self.service.database_file) as live:
            self.database.backup(live)
        live.close()
        blobs = self.service.settings.data_dir / "blobs"
        if _files_in(blobs) != _files_in(self.blobs):
            shutil.rmtree(blobs)
            shutil.copytree(self.blobs, blobs)


def _files_in(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}


def world(service: ServiceApp) -> World:
    """A finished round with everything in it, under an active agreement."""
    organisations = {standing: service.join() for standing in (*STANDING_ROLES, "outsider")}
    parties = {organisations[standing]: roles for standing, roles in STANDING_ROLES.items()}
    agreement = service.activate(
        parties, retention={"encodings_days": 3650, "link_tables_days": 3650},
        sanctions={"ladder": ["warn", "suspend_client", "suspend_organisation", "suspend_agreement", "terminate"]},
    )  # fmt: skip
    provider, other, recipient = (organisations[name] for name in ("provider", "other provider", "recipient"))
    project = ok(service.open_project(provider, agreement), 201)["id"]
    upload, _ = (giver.upload(project, rows) for giver, rows in zip((provider, other), ROWS, strict=True))
    run = ok(provider.post(f"/v1/projects/{project}/runs", {}), 202)["id"]
    assert service.work()
    release = ok(recipient.post(f"/v1/runs/{run}/releases", {"purpose": "planning"}), 201)["id"]
    replaced = ok(other.declare(project, ROWS[1]), 201)["id"]
    ok(other.delete(f"/v1/uploads/{replaced}"), 204)
    (certificate,) = service.sweep().certificates
    machine = provider.add_client("analyst")
    ids = {
        "organisation_id": provider.organisation,
        "client_id": machine.client,
        "thumbprint": machine.key.thumbprint,
        "person_id": service.invite_person(provider, "signatory")["person"]["id"],
        "session_id": "ses_" + "0" * 26,
        "agreement_id": agreement["id"],
        "version": "1",
        "project_id": project,
        "upload_id": upload,
        "number": "1",
        "run_id": run,
        "certificate_id": certificate,
        "release_id": release,
        "seq": "0",
        "alarm_id": service.alarms()[0]["id"],
    }
    document = ok(provider.get(f"/v1/agreements/{agreement['id']}/versions/1"), 200)["document"]
    return World(service=service, organisations=organisations, agreement=agreement, document=document, ids=ids)


def forge(service: ServiceApp, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """Brings about a state that no sequence of calls reaches with a finished run in it."""
    with sqlite3.connect(service.database_file) as live:
        for (name,) in live.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            if name.startswith("agreement"):
                live.execute(f'DROP TRIGGER "{name}"')
        for statement, values in statements:
            live.execute(statement, values)
    live.close()


def with_dates(world: World, **dates: str) -> None:
    """Makes the agreement one of other dates, under the same signatures."""
    text, digest = digest_of({**world.document, "review": {**world.document["review"], **dates}})
    values = (text, digest, world.agreement["id"])
    forge(world.service, ("UPDATE agreement_version SET document = ?, digest = ? WHERE agreement = ?", values))
