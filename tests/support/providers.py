"""Providers' machines at a service in this process: each with a folder, a profile and an SDK of its own."""

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from linkage_client._authentication import Clock, Credentials
from linkage_client._protocol import Limits
from linkage_client._transport import Transport
from linkage_client.client import LinkageClient
from linkage_client.config import Profile, load_profile, save_profile
from linkage_client.exchange.ceremony import Accepted, Ceremony, Shared
from linkage_client.exchange.keyset import Keyset
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.standing import Standing
from linkage_client.keys import SigningKey
from linkage_client.keystore import Secrets
from support.app_transport import AppTransport
from support.service_app import ISSUER, Linked, Organisation, ServiceApp

Tamper = Callable[[Any], Any]
Lie = Callable[[str, str, Any], None]


class Killed(BaseException):
    """What stands for `kill -9`: nothing that the client has written catches it."""


class Wire(httpx.BaseTransport):
    """The way to the service: it can be cut before or after a request, and answers can be changed on it."""

    def __init__(self, service: ServiceApp) -> None:
        self._inner = AppTransport(service.app)
        self.requests = 0
        """That change something, or fetch envelopes."""
        self.cut_before: int | None = None
        self.cut_after: int | None = None
        self.tamper: dict[str, Tamper] = {}
        """By the end of a path: what becomes of the JSON that is answered to a GET."""
        self.lies: list[Lie] = []
        """Told method and path, they change whatever JSON is answered, in place."""

    def mend(self) -> None:
        """Cut nothing, and count from the beginning."""
        self.requests, self.cut_before, self.cut_after = 0, None, None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Hands a request on."""
        # To be killed while one only looks changes nothing anywhere.
        counts = request.url.path.startswith("/v1/projects/") or request.url.path.endswith("/key-card")
        counts = counts and (request.method != "GET" or request.url.path.endswith("/key-envelopes"))
        self.requests += counts
        if counts and self.requests == self.cut_before:
            raise Killed
        answer = self._inner.handle_request(request)
        if counts and self.requests == self.cut_after:
            raise Killed
        for ending, change in self.tamper.items():
            if request.method == "GET" and request.url.path.endswith(ending):
                changed = change(json.loads(answer.read()))
                return httpx.Response(answer.status_code, json=changed)
        if self.lies and "json" in answer.headers.get("content-type", ""):
            document = json.loads(answer.read())
            for lie in self.lies:
                lie(request.method, request.url.path, document)
            headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
            return httpx.Response(answer.status_code, headers=headers, content=json.dumps(document).encode())
        return answer


class Machine:
    """One machine of a provider."""

    def __init__(self, service: ServiceApp, organisation: Organisation, folder: Path) -> None:
        self.service = service
        self.organisation = organisation
        self.id = organisation.organisation
        self.wire = Wire(service)
        folder.mkdir(parents=True, exist_ok=True)
        private = organisation.key.private
        assert isinstance(private, Ed25519PrivateKey)
        self.key = SigningKey(private)
        self.profile_file = folder / "profile.toml"
        if not self.profile_file.exists():
            self.key.save(folder / "client-key.jwk")
            save_profile(
                Profile(
                    path=self.profile_file,
                    service_url=ISSUER,
                    organisation_id=self.id,
                    client_id=organisation.client,
                    client_key_file=folder / "client-key.jwk",
                )
            )
        self.client = self.connect()

    def connect(self) -> LinkageClient:
        """A connection of its own."""
        transport = Transport(
            ISSUER,
            credentials=Credentials(client_id=self.organisation.client, client_key=self.key),
            limits=Limits(attempts=1),
            clock=Clock(now=partial(_seconds, self.service), monotonic=lambda: 0.0, sleep=lambda _: None),
            http_transport=self.wire,
        )
        return LinkageClient(service_url=ISSUER, transport=transport)

    @property
    def profile(self) -> Profile:
        """As it lies on the disk."""
        return load_profile(self.profile_file)

    @property
    def ceremony(self) -> Ceremony:
        """A new one each time, as each command is a process of its own."""
        return Ceremony(self.client, self.profile, now=self.service.clock)

    def init(self) -> None:
        """Keys, if there are none, and their card at the service."""
        ceremony = self.ceremony
        if ceremony.own_keys() is None:
            ceremony.renew()
        else:
            ceremony.publish()

    def rotate(self) -> None:
        """New keys."""
        self.ceremony.renew()

    def look(self, project: str) -> Standing:
        return self.ceremony.look(project)

    def share(self, project: str, *recipients: str) -> Shared:
        return self.ceremony.share(project, recipients=recipients)

    def accept(self, project: str) -> Accepted:
        return self.ceremony.accept(project)

    def code(self, project: str) -> str:
        """The safety code that is shown here."""
        code = self.look(project).code
        assert code is not None
        return code

    def keyset(self, project: str) -> Keyset:
        """The cards that are shown here."""
        keyset = self.look(project).keyset
        assert keyset is not None
        return keyset

    @property
    def keys(self) -> ExchangeKeys:
        """The exchange keys that are kept here."""
        keys = self.ceremony.own_keys()
        assert keys is not None
        return keys

    def secret(self, project: str, *, epoch: int = 1) -> bytes | None:
        """The secret that is kept here."""
        secrets = Secrets(self.profile)
        return secrets.read(project, epoch) if secrets.find(project, epoch) else None

    def repeated(self, act: Callable[[], Any]) -> int:
        """Does something, killed at every request that counts in turn, before and after it; at last it is done.

        Returns the number of kills.
        """
        kills = 0
        for after in (False, True):
            at = 1
            while True:
                self.wire.mend()
                self.wire.cut_before, self.wire.cut_after = (None, at) if after else (at, None)
                with suppress(Killed):
                    act()
                    break
                kills += 1
                at += 1
        self.wire.mend()
        act()
        return kills


def compare(machines: list[Machine], project: str) -> str:
    """All are on the call, and everybody hears the code of the one before; gives it."""
    codes = [machine.code(project) for machine in machines]
    for place, machine in enumerate(machines):
        machine.ceremony.confirm_code(project, said=codes[place - 1], on_call=lambda _: True)
    return codes[0]


def meet(machines: list[Machine], project: str) -> str:
    """All make keys, and compare the code; gives it."""
    for machine in machines:
        machine.init()
    return compare(machines, project)


def machines_of(linked: Linked, service: ServiceApp, folder: Path) -> list[Machine]:
    """A machine for each provider of a project."""
    return [
        Machine(service, provider, folder / f"machine-{number}") for number, provider in enumerate(linked.providers)
    ]


def _seconds(service: ServiceApp) -> float:
    return service.clock.now.timestamp()
