"""A linkage service in memory, as far as the client's own tests need one: log-in, scripted answers, uploads in parts.

It speaks the same protocol through an httpx transport (fast, no sockets) and through a loopback server (for tests of
the command, which makes its own connections).
"""

import base64
import hashlib
import json
import secrets
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from linkage_client.keys import SigningKey, document_digest, sign_agreement
from linkage_ledger.memory import MemoryLog
from linkage_ledger.notes import SigningKey as LogKey
from support.ledger_logs import make_header
from support.linkage_schemas import linkage_schema

ISSUER = "https://issuer.example"
CREATED = "2026-01-01T00:00:00Z"
OWN = "org_own"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: bytes | None = None

    @property
    def body(self) -> bytes:
        if self.text is not None:
            return self.text
        return b"" if self.content is None else json.dumps(self.content).encode()


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def problem(status: int, code: str = "some_code", **members: Any) -> Reply:
    content = {"type": "about:blank", "title": "Refused", "status": status, "detail": "It says no.", "code": code}
    return Reply(status, {**content, "request_id": "req_body", **members}, {"X-Request-Id": "req_1"})


Handler = Callable[[Asked], Reply]


class FakeService:
    def __init__(self) -> None:
        self.signing_key = SigningKey.generate()
        """What the own organisation signs with."""
        self.asked: list[Asked] = []
        self.failures: deque[Reply | Exception] = deque()
        self.tokens_issued = 0
        self.token_life_s = 300
        self.dead_tokens: set[str] = set()
        self.assertions: list[dict[str, Any]] = []
        self.proofs: set[str] = set()
        self.public = {"/v1/oauth/token", "/.well-known/oauth-authorization-server", "/v1/registrations", "/version"}
        self.routes: dict[tuple[str, str], Handler] = {
            ("GET", "/v1/me"): lambda _: Reply(content=me()),
            ("GET", "/.well-known/oauth-authorization-server"): lambda _: Reply(content={"issuer": ISSUER}),
            ("POST", "/v1/oauth/token"): self._token,
            ("GET", "/version"): lambda _: Reply(content={"name": "linkage-service", "version": "0.1.0"}),
        }
        self._lock = threading.Lock()
        self.ledger = FakeLedger()

    def on(self, method: str, path: str, reply: Reply | Handler | Any) -> None:
        if callable(reply):
            self.routes[method, path] = reply
        else:
            fixed = reply if isinstance(reply, Reply) else Reply(content=reply)
            self.routes[method, path] = lambda _: fixed

    def paths(self, method: str) -> list[str]:
        return [asked.path for asked in self.asked if asked.method == method]

    def answer(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            if self.failures:
                failure = self.failures.popleft()
                if isinstance(failure, Exception):
                    raise failure
                return failure
        if asked.path not in self.public and not self._is_let_in(asked):
            return problem(401, "invalid_token")
        handler = self.routes.get((asked.method, asked.path))
        return handler(asked) if handler else problem(404, "not_found")

    def answer_on_loopback(self, asked: Asked) -> Reply:
        """As `answer`, for clients that look at the ledger before anything else; these looks are not in `asked`."""
        look = self.ledger.answer(asked)
        return look if look is not None and self._is_let_in(asked) else self.answer(asked)

    def _is_let_in(self, asked: Asked) -> bool:
        """Whether a live token comes with a proof of its own for this request."""
        token = asked.headers.get("authorization", "").removeprefix("DPoP ")
        proof = asked.headers.get("dpop", "")
        if token not in self._live_tokens() or not proof or proof in self.proofs:
            return False
        self.proofs.add(proof)
        claims = claims_of(proof)
        ath = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode().rstrip("=")
        return (claims["htm"], claims["htu"], claims["ath"]) == (asked.method, ISSUER + asked.path, ath)

    def _live_tokens(self) -> set[str]:
        return {f"token-{number}" for number in range(1, self.tokens_issued + 1)} - self.dead_tokens

    def _token(self, asked: Asked) -> Reply:
        form = parse_qs(asked.body.decode())
        self.assertions.append(claims_of(form["client_assertion"][0]))
        if claims_of(asked.headers["dpop"])["htu"] != ISSUER + asked.path:
            return problem(401, "proof_other_request")
        self.tokens_issued += 1
        token = f"token-{self.tokens_issued}"
        return Reply(content={"access_token": token, "token_type": "DPoP", "expires_in": self.token_life_s})

    def transport(self) -> httpx.MockTransport:
        def handle(request: httpx.Request) -> httpx.Response:
            headers = {name.lower(): value for name, value in request.headers.items()}
            query = {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}
            asked = Asked(request.method, request.url.path, query, headers, request.read())
            reply = self.answer(asked)
            return httpx.Response(reply.status, headers=dict(reply.headers), content=reply.body)

        return httpx.MockTransport(handle)

    @contextmanager
    def on_loopback(self, *, tls: ssl.SSLContext | None = None) -> Iterator[str]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_class(self))
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler_class(service: FakeService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = service.answer_on_loopback(Asked(self.command, url.path, query, headers, self.rfile.read(length)))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - the standard library's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
            pass

    return Handler


class FakeLedger:
    """A real log behind what every client looks at first: once for each token, before anything else is answered."""

    def __init__(self) -> None:
        self.key = LogKey.generate(f"log.test/{secrets.token_hex(8)}")
        self.log = MemoryLog()
        self.log.append(make_header())
        self._seen: set[tuple[str, str]] = set()

    def answer(self, asked: Asked) -> Reply | None:
        """The answer to a client's look at the ledger; None for every other request."""
        part = asked.path.removeprefix("/v1/audit/")
        look = (asked.headers.get("authorization", ""), part)
        if asked.method != "GET" or part == asked.path or look in self._seen:
            return None
        if part in {"verifier-key", "checkpoint"}:
            self._seen.add(look)
        size = self.log.head().size
        match part:
            case "verifier-key":
                key = self.key.verifier
                return Reply(content={"origin": key.name, "key": key.format(), "handovers": []})
            case "checkpoint":
                return Reply(text=self.log.checkpoint(self.key).encode())
            case "consistency" if int(asked.query["second"]) == size:
                return Reply(content={"proof": [], "first": size, "second": size})
            case _:
                return None


class FakeUploads:
    """The uploads of one project, by the rules of the API."""

    def __init__(self, service: FakeService, *, project_id: str = "prj_1", schema_digest: str = "ab" * 32) -> None:
        self.service = service
        self.project_id = project_id
        self.uploads: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        rights = {"opt_out_type": "none", "reapply_days": 30}
        agreed(service, linkage_schema(), project_id=project_id, stated_schema=schema_digest, rights=rights)
        service.on("GET", f"/v1/projects/{project_id}/uploads", self._list)
        service.on("POST", f"/v1/projects/{project_id}/uploads", self._declare)

    def _list(self, _: Asked) -> Reply:
        items = [
            {
                "id": upload["id"],
                "project": self.project_id,
                "organisation": upload["organisation"],
                "state": upload["state"],
                "count": upload["manifest"]["count"],
                "created_at": CREATED,
                "completed_at": None,
            }
            for upload in self.uploads.values()
        ]
        return Reply(content={"items": items, "next_cursor": None})

    def _declare(self, asked: Asked) -> Reply:
        body = asked.json()
        size, part_size = body["manifest"]["size_bytes"], body["part_size_bytes"]
        number = len(self.uploads) + 1
        return Reply(201, self.add(f"upl_{number}", manifest=body["manifest"], size_bytes=size, part_size=part_size))

    def add(self, upload_id: str, *, manifest: Any, size_bytes: int, part_size: int) -> dict[str, Any]:
        expected = -(-size_bytes // part_size)
        self.uploads[upload_id] = {
            "id": upload_id,
            "project": self.project_id,
            "organisation": OWN,
            "state": "receiving",
            "manifest": manifest,
            "size_bytes": size_bytes,
            "part_size_bytes": part_size,
            "parts_expected": expected,
            "created_at": CREATED,
            "completed_at": None,
        }
        self.parts[upload_id] = {}
        self.service.on("GET", f"/v1/uploads/{upload_id}", lambda _: Reply(content=self.shown(upload_id)))
        self.service.on("POST", f"/v1/uploads/{upload_id}:complete", lambda _: self._complete(upload_id))
        for number in range(1, expected + 1):
            path = f"/v1/uploads/{upload_id}/parts/{number}"
            self.service.on("PUT", path, partial(self._put, upload_id, number))
        return self.shown(upload_id)

    def shown(self, upload_id: str) -> dict[str, Any]:
        return {**self.uploads[upload_id], "parts_received": sorted(self.parts[upload_id])}

    def _put(self, upload_id: str, number: int, asked: Asked) -> Reply:
        digest = base64.b64encode(hashlib.sha256(asked.body).digest()).decode()
        if asked.headers.get("content-digest") != f"sha-256=:{digest}:":
            return problem(422, "digest_mismatch")
        self.parts[upload_id][number] = asked.body
        return Reply(204)

    def _complete(self, upload_id: str) -> Reply:
        whole = b"".join(content for _, content in sorted(self.parts[upload_id].items()))
        if hashlib.sha256(whole).hexdigest() != self.uploads[upload_id]["manifest"]["sha256"]:
            return problem(409, "upload_incomplete")
        self.uploads[upload_id]["state"] = "complete"
        return Reply(content=self.shown(upload_id))


def organisation() -> dict[str, Any]:
    members = {"id": OWN, "name": "Own", "kind": "partner", "status": "active", "signing_key": None}
    return {**members, "created_at": CREATED}


def key(thumbprint: str = "tp", *, status: str = "active") -> dict[str, Any]:
    return {"thumbprint": thumbprint, "status": status, "registered_at": CREATED, "revoked_at": None}


def client() -> dict[str, Any]:
    members = {"id": "cli_1", "organisation": OWN, "name": "laptop", "roles": ["analyst"]}
    return {**members, "keys": [key()], "status": "active", "created_at": CREATED}


def me() -> dict[str, Any]:
    return {"client": client(), "organisation": organisation()}


def project(project_id: str = "prj_1", *, schema_digest: str = "ab" * 32) -> dict[str, Any]:
    return {
        "id": project_id,
        "name": "round",
        "agreement": {"id": "agr_1", "reference": "ISP-1", "version": 1, "digest": "cd" * 32},
        "purpose": "planning",
        "state": "open",
        "linkage_schema_sha256": schema_digest,
        "bits": 1024,
        "providers": [OWN, "org_other"],
        "recipients": ["org_other"],
        "key_epoch": 1,
        "created_at": CREATED,
        "linkage_schema": {"version": 3, "features": [{"identifier": "given_name"}]},
    }


def agreed(
    service: FakeService,
    schema: dict[str, Any],
    *,
    signed: bool = True,
    agreed_schema: str | None = None,
    project_id: str = "prj_1",
    stated_schema: str | None = None,
    **elements: Any,
) -> None:
    """A project with this linkage schema, under an agreement that its one party has signed with its key."""
    digest = document_digest(schema)
    key = service.signing_key
    document = {
        "recipients": {"parties": [{"organisation": OWN, "roles": ["provider"]}]},
        "data": {"linkage_schema_sha256": agreed_schema or digest},
        **elements,
    }
    agreement = {"id": "agr_1", "reference": "ISP-1", "version": 1, "digest": document_digest(document)}
    signature = sign_agreement(digest=document_digest(document), signing_key=key)
    signing = {"organisation": OWN, "key_thumbprint": key.thumbprint, "signature": signature, "signed_at": CREATED}
    service.on(
        "GET",
        f"/v1/projects/{project_id}",
        {
            **project(project_id, schema_digest=stated_schema or digest),
            "linkage_schema": schema,
            "agreement": agreement,
        },
    )
    service.on("GET", f"/v1/organisations/{OWN}", {**organisation(), "signing_key": key.public_jwk})
    service.on(
        "GET",
        "/v1/agreements/agr_1/versions/1",
        {
            **agreement,
            "state": "active",
            "parties": [],
            "created_at": CREATED,
            "document": document,
            "signatures": [signing] if signed else [],
        },
    )


def run(state: str = "running", **members: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": "run_1",
        "project": "prj_1",
        "state": state,
        "aim": {"kind": "best_f1", "value": None},
        "threshold": None,
        "blocking": False,
        "findings": [],
        "attempt": 1,
        "created_at": CREATED,
    }
    uploads = [
        {"id": "upl_1", "organisation": OWN, "count": 3},
        {"id": "upl_2", "organisation": "org_other", "count": 9},
    ]
    return {**content, "uploads": uploads, "progress": {"phase": "comparing", "done": 1, "total": 2}, **members}


def release(mode: str = "blind") -> dict[str, Any]:
    return {
        "id": "rel_1",
        "run": "run_1",
        "project": "prj_1",
        "recipient": "org_other",
        "purpose": "planning",
        "mode": mode,
        "columns": ["row", "link_id"],
        "state": "released",
        "delete_by": CREATED,
        "created_at": CREATED,
    }


def manifest_of(content: bytes, *, bits: int = 1024, schema_digest: str = "ab" * 32) -> dict[str, Any]:
    return {
        "version": 1,
        "linkage_schema_sha256": schema_digest,
        "encoding_profile": None,
        "encoder": {"name": "linkage-client", "version": "0"},
        "count": len(content) * 8 // bits,
        "bits": bits,
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "key": {"epoch": 1, "check_value": "00" * 16, "derivation": "linkage/derive/v1"},
        "completeness": {"given_name": 1.0},
    }
