"""The service in this process, with organisations that hold real keys, for tests of everything behind HTTP."""

import base64
import hashlib
import json
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import rfc8785
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from linkage_service import service_keys
from linkage_service.access.sessions import COOKIE
from linkage_service.access.tokens import public_key
from linkage_service.app import create_app
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.meanings import MEANINGS
from linkage_service.audit.unit import unit_of_work
from linkage_service.audit.verify import verify
from linkage_service.database import Database
from linkage_service.migrate import can_serve, upgrade
from linkage_service.organisations.service import found_unit
from linkage_service.people import totp
from linkage_service.retention.sweep import Swept
from linkage_service.runtime import Runtime, build
from linkage_service.settings import Settings
from linkage_service.uploads.tables import Upload
from linkage_service.worker import Worker, sweeper_of, watch_of
from support.app_transport import AppTransport
from support.databases import migrated_file
from support.linkage_schemas import linkage_schema

ISSUER = "https://linkage.test"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
BITS = 256
PART_BYTES = 1024
SCHEMA = linkage_schema(l=BITS)
FIELDS = ("given_name", "surname")
TOKEN_PATH = "/v1/oauth/token"
# Hashes that take no time, and refusals that come at once.
QUICK: dict[str, Any] = {
    "password_memory_kib": 8, "password_passes": 1, "password_lanes": 1, "sign_in_answer_s": 0,
    # One process of the tests is all callers at once.
    "rate_per_caller": 0, "rate_per_address": 0, "rate_public": 0,
}  # fmt: skip
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
Json = dict[str, Any]


class HandClock:
    """Time that a test moves; each look moves it by a millisecond, so that ids sort in the order they were made."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            self.now += timedelta(milliseconds=1)
            return self.now

    def move(self, **by: float) -> None:
        with self._lock:
            self.now += timedelta(**by)


@dataclass
class Key:
    """A key pair with the names JOSE has for it."""

    private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey = field(
        default_factory=ed25519.Ed25519PrivateKey.generate
    )

    @property
    def jwk(self) -> dict[str, str]:
        public = self.private.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            point = public.public_numbers()
            coordinates = {name: b64(value.to_bytes(32, "big")) for name, value in (("x", point.x), ("y", point.y))}
            return {"kty": "EC", "crv": "P-256", **coordinates}
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes(Encoding.Raw, PublicFormat.Raw))}

    @property
    def thumbprint(self) -> str:
        return public_key(dict(self.jwk), pointer="").thumbprint

    @property
    def alg(self) -> str:
        return "ES256" if isinstance(self.private, ec.EllipticCurvePrivateKey) else "EdDSA"

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self.private.sign(message)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def jws(claims: Mapping[str, Any], key: Key | None, *, alg: str = "EdDSA", **header: Any) -> str:
    """A compact JWS; without a key its signature is empty. `header` adds members, or replaces them."""
    head = {"alg": alg, "typ": "JWT", **header}
    signed = ".".join(b64(json.dumps(part).encode()) for part in (head, dict(claims)))
    return f"{signed}.{b64(key.sign(signed.encode())) if key else ''}"


class Caller:
    """A registered client that calls with a valid token."""

    def __init__(self, service: "ServiceApp", *, client: str, organisation: str, key: Key) -> None:
        self.service = service
        self.client = client
        self.organisation = organisation
        self.key = key
        self.proof_key = Key()
        self._token: tuple[str, datetime] | None = None

    def claims(self, **changes: Any) -> Json:
        now = int(self.service.clock.now.timestamp())
        claims = {"iss": self.client, "sub": self.client, "aud": ISSUER, "iat": now, "exp": now + 60}
        return {**claims, "jti": secrets.token_hex(16), **changes}

    @property
    def token(self) -> str:
        now = self.service.clock.now
        if self._token is None or self._token[1] <= now:
            assertion = jws(self.claims(), self.key, alg=self.key.alg, kid=self.key.thumbprint)
            answer = self.service.ask_for_token(assertion, proof=self.proof("POST", TOKEN_PATH))
            assert answer.status_code == 200, answer.text
            self._token = answer.json()["access_token"], now + timedelta(seconds=240)
        return self._token[0]

    def forget_token(self) -> None:
        self._token = None

    def proof_claims(self, method: str, path: str, *, token: str | None = None, **changes: Any) -> Json:
        claims = {
            "htm": method,
            "htu": ISSUER + path.partition("?")[0],
            "iat": int(self.service.clock.now.timestamp()),
            "jti": secrets.token_hex(16),
        }
        ath = {} if token is None else {"ath": b64(hashlib.sha256(token.encode()).digest())}
        return {**claims, **ath, **changes}

    def proof(self, method: str, path: str, *, token: str | None = None, key: Key | None = None, **changes: Any) -> str:
        """A proof of possession (RFC 9449); `changes` replaces claims."""
        signing = key or self.proof_key
        claims = self.proof_claims(method, path, token=token, **changes)
        return jws(claims, signing, alg=signing.alg, typ="dpop+jwt", jwk=signing.jwk)

    def credentials(self, method: str, path: str) -> dict[str, str]:
        """The headers of one request."""
        token = self.token
        return {"Authorization": f"DPoP {token}", "DPoP": self.proof(method, path, token=token)}

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.credentials(method, path), **options.pop("headers", {})}
        answer: httpx.Response = self.service.http.request(method, path, headers=headers, **options)
        return answer

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, json=json, **options)

    def delete(self, path: str) -> httpx.Response:
        return self.request("DELETE", path)

    def change(self, path: str, json: Any = None, *, method: str = "POST", of: str | None = None) -> httpx.Response:
        """A change of an agreement, or of a version of one, as it is now: reads its ETag first."""
        read = self.get(of or path.partition(":")[0])
        return self.request(method, path, json=json, headers={"If-Match": read.headers.get("etag", '"unread"')})


class Person:
    """A person who is signed in and calls as the console's pages do: with the session's cookie and our `Origin`."""

    password = "a long phrase of somebody"

    def __init__(self, service: "ServiceApp", *, organisation: str, invitation: Json) -> None:
        self.service = service
        self.organisation = organisation
        self.person: str = invitation["person"]["id"]
        self.email: str = invitation["person"]["email"]
        self.http = service.browser(headers={"Origin": ISSUER})
        self.secret = b""
        self.enrol(invitation["token"])

    def enrol(self, token: str) -> None:
        path = f"/v1/enrolments/{token}"
        begun = ok(self.http.post(f"{path}:begin", json={"password": self.password}), 200)
        self.secret = base64.b32decode(begun["secret"])
        ok(self.http.post(f"{path}:confirm", json={"enrolment": begun["enrolment"], "code": self.code()}), 200)

    def code(self) -> str:
        """The code of now."""
        return totp.code_at(self.secret, int(self.service.clock.now.timestamp()) // totp.PERIOD_S)

    def next_code(self) -> str:
        """A code that was not used yet: it moves the clock."""
        self.service.clock.move(seconds=totp.PERIOD_S)
        return self.code()

    def sign_in(self) -> Json:
        draft = {"email": self.email, "password": self.password, "code": self.next_code()}
        session: Json = ok(self.http.post("/v1/sessions", json=draft), 201)
        return session

    def step_up(self) -> Json:
        session: Json = ok(self.post("/v1/sessions/current:step-up", {"code": self.next_code()}), 200)
        return session

    @property
    def token(self) -> str:
        """The session's token, of which the service keeps the digest."""
        return str(self.http.cookies[COOKIE])

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer: httpx.Response = self.http.request(method, path, **options)
        return answer

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, json=json, **options)

    def put(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.request("PUT", path, json=json, **options)

    def delete(self, path: str) -> httpx.Response:
        return self.request("DELETE", path)


class Organisation(Caller):
    """A partner: its signing key and its first client, which has every role a partner's client may have."""

    def __init__(self, service: "ServiceApp", *, client: str, organisation: str, key: Key, signing_key: Key) -> None:
        super().__init__(service, client=client, organisation=organisation, key=key)
        self.signing_key = signing_key

    def add_client(self, *roles: str) -> Caller:
        """A further client with these roles only."""
        return self.service.add_client(self, *roles)

    def sign_agreement(self, agreement: Json) -> httpx.Response:
        message = b"linkage/agreement/v1\0" + bytes.fromhex(agreement["digest"])
        body = {"digest": agreement["digest"], "signature": b64(self.signing_key.sign(message))}
        return self.post(f"/v1/agreements/{agreement['id']}/versions/{agreement['version']}/signatures", body)

    def declare(self, project: str, rows: bytes, **changes: Any) -> httpx.Response:
        body = {"manifest": manifest(rows, **changes), "part_size_bytes": PART_BYTES}
        return self.post(f"/v1/projects/{project}/uploads", body)

    def put_part(self, upload: str, number: int, part: bytes, **headers: str | None) -> httpx.Response:
        given: dict[str, str | None] = {
            "Content-Digest": content_digest(part),
            "Content-Type": "application/octet-stream",
        }
        given |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        sent = {name: value for name, value in given.items() if value is not None}
        return self.request("PUT", f"/v1/uploads/{upload}/parts/{number}", content=part, headers=sent)

    def upload(self, project: str, rows: bytes, **changes: Any) -> str:
        """Declares, sends and completes an upload."""
        upload: str = ok(self.declare(project, rows, **changes), 201)["id"]
        for number, part in parts_of(rows):
            ok(self.put_part(upload, number, part), 204)
        ok(self.post(f"/v1/uploads/{upload}:complete"), 200)
        return upload


@dataclass
class Linked:
    """A project whose providers have uploaded."""

    agreement: Json
    project: str
    providers: list[Organisation]
    recipients: list[Organisation]
    uploads: list[str]


class ServiceApp:
    """A service of its own: database, keys and blobs in a folder, a clock that the test moves."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        chosen: dict[str, Any] = {"issuer": ISSUER, "log_origin": "log.linkage.test", **QUICK, **settings}
        self.settings = Settings(data_dir=folder, **chosen)
        self.clock = HandClock()
        service_keys.create(self.settings.resolved_keys_dir, log_origin=self.settings.log_origin)
        if not self.database_file.exists() and self.settings.database_url is None:
            migrated_file(self.database_file)
        self.runtime: Runtime = build(self.settings, clock=self.clock)
        without_waiting_for_the_disk(self.runtime.database)
        if not can_serve(self.runtime.database.engine):
            upgrade(self.runtime.database.engine)
        self.runtime.remember_policy()
        keys = {"administrator": Key(), "officer": Key()}
        clients = [(role, public_key(dict(key.jwk), pointer=""), role) for role, key in keys.items()]
        with unit_of_work(database=self.runtime.database, log=self.runtime.log, now=self.clock()) as unit:
            row, made = found_unit(unit, name="Linkage Unit", clients=clients)
        self.app: FastAPI = create_app(self.runtime)
        self.http = self.browser()
        self.administrator, self.officer = (
            Caller(self, client=client.id, organisation=row.id, key=keys[client.name]) for client in made
        )
        self._names = 0

    def browser(self, **options: Any) -> httpx.Client:
        """A client with cookies of its own."""
        return client_of(self.app, **options)

    @property
    def database_file(self) -> Path:
        return self.settings.data_dir / "linkage.db"

    def ask_for_token(self, assertion: str, *, proof: str | None = None, **changes: str) -> httpx.Response:
        """Asks with a proof by a key of its own where none is given; with an empty one, without."""
        if proof is None:
            key = Key()
            claims = {"htm": "POST", "htu": ISSUER + TOKEN_PATH, "iat": int(self.clock.now.timestamp())}
            proof = jws({**claims, "jti": secrets.token_hex(16)}, key, typ="dpop+jwt", jwk=key.jwk)
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
            **changes,
        }
        headers = {"DPoP": proof} if proof else {}
        answer: httpx.Response = self.http.post(TOKEN_PATH, data=form, headers=headers)
        return answer

    def invite(self, *, name: str | None = None) -> tuple[str, str]:
        """A new organisation's id and invitation."""
        self._names += 1
        named = {"name": name or f"Organisation {self._names}"}
        made = ok(self.administrator.post("/v1/organisations", named), 201)
        invitation = ok(self.administrator.post(f"/v1/organisations/{made['id']}/invitations"), 201)
        return made["id"], invitation["token"]

    def join(self, *roles: str, name: str | None = None) -> Organisation:
        """A new organisation with its keys registered; without roles its client has those of all kinds of partners."""
        organisation, invitation = self.invite(name=name)
        signing_key, key = Key(), Key()
        chosen = list(roles) or ["analyst", "signatory", "recipient"]
        body = registration(invitation, signing_key, {"name": "first machine", "jwk": key.jwk, "roles": chosen})
        made = ok(self.http.post("/v1/registrations", json=body), 201)
        return Organisation(
            self, client=made["client"]["id"], organisation=organisation, key=key, signing_key=signing_key
        )

    def add_client(self, by: Caller, *roles: str) -> Caller:
        """A further client of the caller's organisation with these roles only."""
        key = Key()
        draft = {"name": f"{'-'.join(roles)} machine", "jwk": key.jwk, "roles": list(roles)}
        made = ok(by.post(f"/v1/organisations/{by.organisation}/clients", draft), 201)
        return Caller(self, client=made["id"], organisation=by.organisation, key=key)

    def invite_person(self, by: "Caller | Person", *roles: str) -> Json:
        """A person of the inviter's organisation who has not enrolled yet."""
        self._names += 1
        draft = {"name": f"Person {self._names}", "email": f"person.{self._names}@body.test", "roles": list(roles)}
        made: Json = ok(by.post(f"/v1/organisations/{by.organisation}/people", draft), 201)
        return made

    def person(self, by: "Caller | Person", *roles: str, stepped_up: bool = False) -> Person:
        """A person of the inviter's organisation with these roles, who has enrolled and signed in.

        Args:
            by: a caller who may invite people: its administrator or signatory.
            roles: of the person.
            stepped_up: whether they have given the second factor again. It holds for five minutes of the clock.
        """
        person = Person(self, organisation=by.organisation, invitation=self.invite_person(by, *roles))
        person.sign_in()
        if stepped_up:
            person.step_up()
        return person

    def draft(self, parties: Mapping[Organisation, Sequence[str]], **changes: Any) -> Json:
        document = agreement_document({org.organisation: list(roles) for org, roles in parties.items()}, **changes)
        drafted: Json = ok(next(iter(parties)).post("/v1/agreements", {"document": document}), 201)
        return drafted

    def activate(self, parties: Mapping[Organisation, Sequence[str]], **changes: Any) -> Json:
        """An agreement that every party has signed."""
        agreement: Json = self.draft(parties, **changes)
        ok(next(iter(parties)).change(f"/v1/agreements/{agreement['id']}/versions/1:propose"), 200)
        for party in parties:
            agreement = ok(party.sign_agreement(agreement), 201)
        assert agreement["state"] == "active"
        return agreement

    def open_project(self, by: Caller, agreement: Json, **changes: Any) -> httpx.Response:
        body = {"agreement": agreement["id"], "name": "Spring round", "purpose": "planning", "linkage_schema": SCHEMA}
        return by.post("/v1/projects", {**body, **changes})

    def project(self, *, providers: int = 2, recipients: int = 1, **changes: Any) -> Linked:
        """An open project of new organisations, before anyone uploads."""
        giving = [self.join() for _ in range(providers)]
        receiving = [self.join() for _ in range(recipients)]
        parties: dict[Organisation, Sequence[str]] = dict.fromkeys(giving, ("provider",))
        agreement = self.activate(parties | dict.fromkeys(receiving, ("recipient",)), **changes)
        project = ok(self.open_project(giving[0], agreement), 201)["id"]
        return Linked(agreement=agreement, project=project, providers=giving, recipients=receiving, uploads=[])

    def uploaded(self, *data_sets: bytes, **changes: Any) -> Linked:
        """A project for which every provider has uploaded."""
        linked = self.project(providers=len(data_sets), **changes)
        linked.uploads = [
            provider.upload(linked.project, rows) for provider, rows in zip(linked.providers, data_sets, strict=True)
        ]
        return linked

    def work(self) -> bool:
        return Worker(self.runtime).run_once()

    def keep_house(self) -> None:
        """Applies withdrawals that wait, and sweeps if it is time."""
        Worker(self.runtime).keep_house()

    def watch(self) -> int:
        """Looks for alarms now; gives how many were raised."""
        return watch_of(self.runtime).watch()

    def alarms(self, **asked: Any) -> list[Json]:
        """Looks for alarms now; gives the list of them, newest first."""
        self.watch()
        found: list[Json] = ok(self.officer.get("/v1/audit/alarms", params=asked), 200)["items"]
        return found

    def sweep(self) -> Swept:
        """Sweeps now and thoroughly."""
        swept = sweeper_of(self.runtime).sweep()
        assert swept is not None
        return swept

    def run(self, linked: Linked, **draft: Any) -> Json:
        """A run that was carried out."""
        run = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", draft), 202)
        assert self.work()
        done: Json = ok(linked.providers[0].get(f"/v1/runs/{run['id']}"), 200)
        return done

    def release(self, linked: Linked, run: Json, *, to: Organisation | None = None, **draft: Any) -> Json:
        recipient = to or linked.recipients[0]
        made: Json = ok(recipient.post(f"/v1/runs/{run['id']}/releases", {"purpose": "planning", **draft}), 201)
        return made

    def events(self) -> list[Json]:
        """Every header in the ledger so far, read past the HTTP API, so that reading adds nothing."""
        with self.runtime.database.reading() as session:
            rows = session.connection().exec_driver_sql("SELECT header FROM audit_event ORDER BY seq").all()
        return [json.loads(row[0]) for row in rows]

    def size(self) -> int:
        return len(self.events())

    @contextmanager
    def expecting_event(self, event_type: str) -> Iterator[list[Json]]:
        """Checks that what happens inside adds exactly one event, of this type; gives it when the block has ended."""
        before = self.size()
        found: list[Json] = []
        yield found
        found.extend(self.events()[before:])
        assert [event["type"] for event in found] == [event_type]

    def verified(self) -> bool:
        self.runtime.log.checkpoint(self.runtime.database)
        report = verify(self.runtime.database, [self.runtime.log.verifier])
        assert report.findings == ()
        return report.verified

    def close(self) -> None:
        assert undocumented(self) == []
        self.http.close()
        self.runtime.close()


def client_of(app: FastAPI, **options: Any) -> httpx.Client:
    """A client of the application in this process, with cookies of its own."""
    return httpx.Client(transport=AppTransport(app), base_url=ISSUER, **options)


def undocumented(service: ServiceApp) -> list[str]:
    """What events of a service hold that the catalogue does not name."""
    try:
        with service.runtime.database.reading() as session:
            query = "SELECT e.header, b.body FROM audit_event e LEFT JOIN audit_body b ON b.seq = e.seq"
            rows = session.connection().exec_driver_sql(query).all()
    except SQLAlchemyError:
        # A test that has ruined the database has no log to look at.
        return []
    found = set()
    for encoded, body in rows:
        try:
            header = json.loads(encoded)
            meaning = MEANINGS[EventType(header["type"])]
        except (ValueError, KeyError):
            continue
        if header["resource"]["type"] not in meaning.resource:
            found.add(f"{header['type']}: resource {header['resource']['type']}")
        detail = json.loads(body).get("detail", {}) if body else {}
        for where, names, known in (
            ("counts", header.get("counts", {}), meaning.counts),
            ("detail", detail, meaning.detail),
        ):
            found |= {f"{header['type']}: {where} {name}" for name in names if name not in known and "*" not in known}
    return sorted(found)


def without_waiting_for_the_disk(database: Database) -> None:
    """Leaves SQLite's writes to the operating system: no test cuts the power, and a kill loses nothing by it."""
    for engine in {database.engine, database._hasty}:
        if engine.dialect.name == "sqlite":
            # After the listener of the product, which sets it.
            event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))


@contextmanager
def service_app(folder: Path, **settings: Any) -> Iterator[ServiceApp]:
    service = ServiceApp(folder, **settings)
    try:
        yield service
    finally:
        service.close()
        shutil.rmtree(folder / "blobs", ignore_errors=True)


def ok(response: httpx.Response, status: int) -> Any:
    """The answer, if it has the status that the test needs to go on."""
    assert response.status_code == status, response.text
    return response.json() if response.content else None


def problem(response: httpx.Response, status: int, code: str | None = None) -> Json:
    """The problem document of a refused request, checked for its shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: Json = response.json()
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    assert {"type", "title", "detail"} <= document.keys()
    if code is not None:
        assert document["code"] == code
    return document


def registration(invitation: str, signing_key: Key, client: Json, *, signed_by: Key | None = None) -> Json:
    """What an invited organisation sends."""
    body: Json = {"invitation": invitation, "signing_key": signing_key.jwk, "client": client}
    signature = (signed_by or signing_key).sign(b"linkage/registration/v1\0" + rfc8785.dumps(body))
    return {**body, "signature": b64(signature)}


def agreement_document(
    parties: Mapping[str, Sequence[str]], *, may_hold_duplicates: bool = False, **changes: Any
) -> Json:
    """The nine elements; `changes` replaces members: `data={"outputs": […]}` changes outputs only."""
    contacts = {"dpo": "dpo@body.test", "caldicott": None, "siro": "siro@body.test"}
    document: Json = {
        "format": 1,
        "reference": f"ISP-{secrets.token_hex(6)}",
        "title": "Planning of services",
        "purpose": {
            "purposes": [{"code": "planning", "text": "Plan services.", "benefits": "Better services."}],
            "lawful_basis": {
                "article6": "6(1)(e)",
                "article9": None,
                "legal_power": "A statute.",
                "duty_of_confidentiality": "Not engaged.",
            },
            "dpia_ref": "DPIA-1",
            "necessity": "No less intrusive way.",
        },
        "recipients": {
            "parties": [
                {"organisation": organisation, "roles": list(roles), "contacts": contacts}
                | ({"may_hold_duplicates": True} if may_hold_duplicates and "provider" in roles else {})
                for organisation, roles in parties.items()
            ]
        },
        "data": {
            "linkage_schema_sha256": hashlib.sha256(rfc8785.dumps(SCHEMA)).hexdigest(),
            "identifier_fields": list(FIELDS),
            "outputs": ["link_table_blind", "link_table_matched", "summary"],
            "population": "Adults in the area.",
            "special_category": False,
            "min_group_count": 10,
            "onward_sharing": "none",
        },
        "quality": {"min_completeness": {"given_name": 0.5}, "target_precision": None},
        "security": {"encoding_profile": None, "key_rotation_days": 3650},
        "retention": {
            "encodings_days": 30,
            "link_tables_days": 90,
            "audit_bodies_days": 3650,
            "max_retrievals": 3,
        },
        "rights": {
            "contact": "rights@body.test",
            "privacy_notice_url": "https://body.test/privacy",
            "opt_out_type": "local_objection",
            "opt_out": "By letter.",
            "reapply_days": 3650,
        },
        "review": {
            "starts": "2026-01-01T00:00:00Z",
            "ends": "2027-01-01T00:00:00Z",
            "review_by": "2026-12-01T00:00:00Z",
            "measures": "Yearly report.",
            "termination": "Everything is deleted.",
        },
        "sanctions": {
            "ladder": ["warn", "terminate"],
            "imposed_by": "The board.",
            "lifted_by": "The board.",
            "breach_notice_hours": 24,
        },
    }
    for name, value in changes.items():
        document[name] = {**document.get(name, {}), **value} if isinstance(value, Mapping) else value
    return document


def manifest(rows: bytes, **changes: Any) -> Json:
    """The manifest of encodings; `changes` replaces members."""
    return {
        "version": 1,
        "linkage_schema_sha256": hashlib.sha256(rfc8785.dumps(SCHEMA)).hexdigest(),
        "encoding_profile": None,
        "encoder": {"name": "linkage-client", "version": "1"},
        "count": len(rows) * 8 // BITS,
        "bits": BITS,
        "size_bytes": len(rows),
        "sha256": hashlib.sha256(rows).hexdigest(),
        "key": {"epoch": 1, "check_value": "ab" * 16, "derivation": "linkage/derive/v1"},
        "completeness": dict.fromkeys(FIELDS, 0.9),
        "opt_outs_applied_at": "2026-02-28T00:00:00Z",
        **changes,
    }


def change_manifest(service: ServiceApp, upload_id: str, change: Callable[[Json], None]) -> None:
    """Change a manifest that the service holds: into one that an older version took, and this one would not."""
    with service.runtime.database.writing() as session:
        row = session.get(Upload, upload_id)
        assert row is not None
        document = json.loads(row.manifest)
        change(document)
        row.manifest = json.dumps(document)


def data_sets(*sizes: int, shared: int, seed: int = 1) -> list[bytes]:
    """Random encodings, of which the first `shared` rows of every data set are the same."""
    rng = np.random.default_rng(seed)
    common = rng.bytes(shared * BITS // 8)
    return [common + rng.bytes((size - shared) * BITS // 8) for size in sizes]


def noisy_data_sets(*sizes: int, shared: int, seed: int = 1) -> list[bytes]:
    """The same, with shared rows that differ in some bits, each in more of them than the one before."""
    rng = np.random.default_rng(seed)
    common = rng.random((shared, BITS)) < 0.5
    flips = np.linspace(0, 0.3, shared)[:, np.newaxis]
    made = []
    for size in sizes:
        rows = np.concatenate([common ^ (rng.random(common.shape) < flips), rng.random((size - shared, BITS)) < 0.5])
        made.append(np.packbits(rows, axis=1).tobytes())
    return made


def parts_of(rows: bytes) -> Iterator[tuple[int, bytes]]:
    for number, start in enumerate(range(0, len(rows), PART_BYTES), start=1):
        yield number, rows[start : start + PART_BYTES]


def content_digest(part: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(part).digest()).decode()}:"


def in_threads(count: int, act: Callable[[int], Any]) -> list[Any]:
    """What `act(0)`, `act(1)`, … gave, all let go at the same moment."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def one(number: int) -> None:
        barrier.wait(timeout=20)
        try:
            results[number] = act(number)
        except Exception as error:  # noqa: BLE001 - given to the test, which knows what it expects
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results
