"""Requests to a process that dies at a chosen statement of them, as by a power cut between the two."""

import base64
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlmodel import SQLModel

from linkage_service.audit.tables import size_of
from support.service_app import TOKEN_PATH, Caller, ServiceApp, jws

# Notes that are worthless after a power cut, made in transactions of their own (Database.noting).
_NOTES = {"seen_once"}
_PROGRAM = Path(__file__).with_name("crashing.py")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes = b""


def by(caller: Caller, method: str, path: str, body: Any = None, **headers: str) -> Callable[[], Asked]:
    """Makes the request of a caller, with a fresh proof each time."""
    content = b"" if body is None else json.dumps(body).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}

    def make() -> Asked:
        sent = {"content-type": "application/json", **caller.credentials(method, path), **given}
        return Asked(method, path, sent, content)

    return make


def for_a_token(caller: Caller) -> Callable[[], Asked]:
    """Makes the request for an access token, with one assertion: it counts once."""
    assertion = jws(caller.claims(), caller.key, alg=caller.key.alg, kid=caller.key.thumbprint)
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    form = {"grant_type": "client_credentials", "client_assertion_type": kind, "client_assertion": assertion}

    def make() -> Asked:
        headers = {"content-type": "application/x-www-form-urlencoded", "DPoP": caller.proof("POST", TOKEN_PATH)}
        return Asked("POST", TOKEN_PATH, headers, urlencode(form).encode())

    return make


@dataclass
class Crashing:
    """A second process of a service under test.

    Attributes:
        deaths: how often it died without an effect, by the name of what was asked.
        events: the types of the events that were left in the end.
    """

    service: ServiceApp
    _process: "subprocess.Popen[str]"
    deaths: dict[str, int] = field(default_factory=dict)
    events: dict[str, list[str]] = field(default_factory=dict)

    def kill(self, name: str, make: Callable[[], Asked]) -> None:
        """Asks again and again, and the process dies one statement later each time, until there is an effect."""
        make()  # fetches a token where there is none yet, which is an event of its own
        before = self._state()
        size = self._size()
        for point in itertools.count():
            status = self._ask(make(), die_at=point)
            after = self._state()
            left = [found["type"] for found in self.service.events()[size:]] if self._size() > size else []
            changed = {name for name, digest in after.items() if digest != before[name]}
            # A refusal changes nothing; everything else changes something, and then there is its event.
            assert bool(left) or not changed, (name, point, changed)
            assert bool(changed) or not left or left[0].endswith((".refused", ".retrieved")), (name, point, left)
            if left:
                self.deaths[name], self.events[name] = point, left
                return
            assert status is None, (name, point, status)

    def _ask(self, asked: Asked, *, die_at: int) -> int | None:
        """The status of the answer; None from a process that died."""
        line = {
            "now": self.service.clock.now.isoformat(),
            "method": asked.method,
            "path": asked.path,
            "headers": dict(asked.headers),
            "content": base64.b64encode(asked.content).decode(),
            "die_at": die_at,
        }
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(line), file=self._process.stdin, flush=True)
        while not (answer := self._process.stdout.readline()).strip().isdigit():
            if answer.strip() == "null":
                return None
            assert answer, "the process that forks has died"
        return int(answer)

    def _size(self) -> int:
        with self.service.runtime.database.reading() as session:
            return size_of(session)

    def _state(self) -> dict[str, int]:
        """A digest of every table but the log's."""
        digests = {}
        with self.service.runtime.database.engine.connect() as connection:
            for name in SQLModel.metadata.tables:
                if name not in _NOTES and not name.startswith("audit_"):
                    rows = connection.exec_driver_sql(f"SELECT * FROM {name}").all()  # noqa: S608 - names of tables
                    digests[name] = hash(frozenset(map(repr, rows)))
        return digests


@contextmanager
def crashing(service: ServiceApp) -> Iterator[Crashing]:
    settings = service.settings.model_dump_json(exclude_defaults=True)
    command = [sys.executable, str(_PROGRAM)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        print(settings, file=process.stdin, flush=True)
        yield Crashing(service, process)
        process.stdin.close()
