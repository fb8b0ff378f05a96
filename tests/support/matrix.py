"""A service with every kind of organisation, role and thing in it, brought into every state of an agreement."""

import json
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
from linkage_service.app import routes_of
from support.service_app import Json, Key, Organisation, ServiceApp, agreement_document, data_sets, manifest, ok

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


@dataclass
class World:
    """The service, who calls it, and what there is to act on."""

    service: ServiceApp
    organisations: dict[str, Organisation]
    agreement: Json
    ids: dict[str, str]
    _callers: dict[str, CallsService] = field(default_factory=dict)

    def caller(self, wanted: TableCaller) -> CallsService:
        """The caller of a row of the table, registered or signed in when it is first asked for."""
        if wanted.name not in self._callers:
            self._callers[wanted.name] = self._person(wanted) if wanted.person else self._machine(wanted)
        return self._callers[wanted.name]

    def _machine(self, wanted: TableCaller) -> CallsService:
        service = self.service
        if wanted.standing == "linkage unit":
            if wanted.role in ("administrator", "officer"):
                made: CallsService = getattr(service, wanted.role)
                return made
            return service.add_client(service.administrator, wanted.role)
        return self.organisations[wanted.standing].add_client(wanted.role)

    def _person(self, wanted: TableCaller) -> CallsService:
        unit = wanted.standing == "linkage unit"
        inviting = self.service.administrator if unit else self.organisations[wanted.standing]
        person: CallsService = self.service.person(inviting, wanted.role)
        return person

    def meet_everybody(self) -> None:
        """Registers and signs in everybody, so that nobody has to later, when that may be refused."""
        for wanted in table_callers():
            caller = self.caller(wanted)
            ok(caller.request("GET", "/v1/me"), 200)

    def path(self, operation: Operation) -> str:
        """The address of an operation with the ids of this world."""
        return operation.path.format(**self.ids)

    def body(self, operation: Operation) -> Json:
        """What to send, if the operation takes a body."""
        make = BODIES.get(operation.id)
        return {} if make is None else make(self)


def _another_document(world: World) -> Json:
    roles = {world.organisations[standing].organisation: roles for standing, roles in STANDING_ROLES.items()}
    return {"document": agreement_document(roles)}


def _same_reference(world: World) -> Json:
    document = _another_document(world)
    document["document"]["reference"] = world.agreement["reference"]
    return document


def _signature(world: World) -> Json:
    return {"digest": world.agreement["digest"], "signature": "AAAA"}


def _client(_: World) -> Json:
    return {"name": "another machine", "jwk": Key().jwk, "roles": ["analyst"]}


BODIES: Mapping[str, Callable[[World], Json]] = {
    "create_organisation": lambda _: {"json": {"name": "A new organisation"}},
    "add_client": lambda world: {"json": _client(world)},
    "draft_agreement": lambda world: {"json": _another_document(world)},
    "sign_agreement": lambda world: {"json": _signature(world)},
    "open_project": lambda world: {
        "json": {
            "agreement": world.agreement["id"], "name": "Another", "purpose": "planning",
            "linkage_schema": world.service.schema,
        }
    },
    "declare_upload": lambda _: {"json": {"manifest": manifest(ROWS[0])}},
    "put_part": lambda _: {"content": b"x", "headers": {"Content-Type": "application/octet-stream"}},
    "start_run": lambda _: {"json": {}},
    "request_release": lambda _: {"json": {"purpose": "planning"}},
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
        shutil.rmtree(blobs)
        shutil.copytree(self.blobs, blobs)


def world(service: ServiceApp, **document: Any) -> World:
    """A finished round with everything in it, under an active agreement."""
    organisations = {standing: service.join() for standing in (*STANDING_ROLES, "outsider")}
    parties = {organisations[standing]: roles for standing, roles in STANDING_ROLES.items()}
    agreement = service.activate(parties, retention={"encodings_days": 3650, "link_tables_days": 3650}, **document)
    provider, other, recipient = (organisations[name] for name in ("provider", "other provider", "recipient"))
    project = ok(service.open_project(provider, agreement), 201)["id"]
    upload, _ = (giver.upload(project, rows) for giver, rows in zip((provider, other), ROWS, strict=True))
    run = ok(provider.post(f"/v1/projects/{project}/runs", {}), 202)["id"]
    assert service.work()
    release = ok(recipient.post(f"/v1/runs/{run}/releases", {"purpose": "planning"}), 201)["id"]
    ids = {
        "organisation_id": provider.organisation,
        "client_id": provider.add_client("analyst").client,
        "agreement_id": agreement["id"],
        "version": "1",
        "project_id": project,
        "upload_id": upload,
        "number": "1",
        "run_id": run,
        "release_id": release,
        "seq": "0",
    }
    return World(service=service, organisations=organisations, agreement=agreement, ids=ids)


def forge(service: ServiceApp, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """Brings about a state that no sequence of calls reaches with a finished run in it."""
    with sqlite3.connect(service.database_file) as live:
        for (name,) in live.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            if name.startswith("agreement"):
                live.execute(f'DROP TRIGGER "{name}"')
        for statement, values in statements:
            live.execute(statement, values)
    live.close()


def with_review(document: str, **changes: str) -> str:
    """A document with other dates."""
    parsed: Json = json.loads(document)
    parsed["review"] |= changes
    return json.dumps(parsed)
