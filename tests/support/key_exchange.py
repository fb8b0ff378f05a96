"""Providers that share a secret through a service, by the formats alone: none of the client's code."""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from support.service_app import Json, Linked, Organisation, ServiceApp, b64, ok

CHECK_VALUE = "ab" * 16
SECRET = b"qx-secret-that-stays-with-providers"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


@dataclass
class ExchangeKeys:
    """The private halves of an organisation's card."""

    organisation: str
    signing: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    hpke: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    def body(self, **changes: Any) -> Json:
        """The card before it is signed; `changes` replaces members."""
        return {
            "v": 1,
            "organisation": self.organisation,
            "signing_key": b64(self.signing.public_key().public_bytes_raw()),
            "hpke_keys": {"x25519": b64(self.hpke.public_key().public_bytes_raw())},
            **changes,
        }

    @property
    def both(self) -> Json:
        """Keys for both suites; the ML-KEM half is one that nobody can open, with the seed of its matrix at its end."""
        raw = self.hpke.public_key().public_bytes_raw()
        return {"x25519": b64(raw), "mlkem768-x25519": b64(bytes(1152) + raw + raw)}

    def card(self, **changes: Any) -> Json:
        """The card, signed as it is with the changes."""
        body = self.body(**changes)
        return {**body, "signature": b64(self.signing.sign(b"linkage/key-card/v1\0" + rfc8785.dumps(body)))}

    def envelope(
        self, to: "ExchangeKeys", changes: Json | None = None, *, project: str, epoch: int, keyset: str
    ) -> Json:
        """The secret for another, signed as it is with the changes."""
        header: Json = {
            "v": 1, "project": project, "epoch": epoch, "from": self.organisation, "to": to.organisation,
            "keyset": keyset, "suite": "x25519", "at": "2026-03-01T12:00:00Z",
        }  # fmt: skip
        public = X25519PublicKey.from_public_bytes(to.hpke.public_key().public_bytes_raw())
        sealed = _SUITE.encrypt(SECRET, public, info=b"linkage/secret/v1\0" + rfc8785.dumps(header))
        signed = {**header, "ciphertext": b64(sealed), **(changes or {})}
        return {**signed, "signature": b64(self.signing.sign(b"linkage/envelope/v1\0" + rfc8785.dumps(signed)))}

    def opened(self, envelope: Json) -> bytes:
        """The secret in an envelope to this organisation."""
        header = {name: value for name, value in envelope.items() if name not in ("ciphertext", "signature")}
        raw = envelope["ciphertext"]
        sealed = b64_decoded(raw)
        return _SUITE.decrypt(sealed, self.hpke, info=b"linkage/secret/v1\0" + rfc8785.dumps(header))


def keys_that_serve_twice(organisation: str) -> ExchangeKeys:
    """Keys whose public signing key is a public key of X25519 as well: half of all have the sign bit set."""
    while True:
        keys = ExchangeKeys(organisation)
        if keys.signing.public_key().public_bytes_raw()[-1] < 0x80:
            return keys


def b64_decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def digest_of(card: Json) -> str:
    """The digest of a card, by the format."""
    body = {name: value for name, value in card.items() if name != "signature"}
    return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


def keyset_of(cards: list[Json], *, project: str, epoch: int = 1, suite: str = "x25519") -> str:
    """The digest of a keyset, by the format."""
    bodies = [{name: value for name, value in card.items() if name != "signature"} for card in cards]
    ordered = sorted(bodies, key=lambda body: body["organisation"])
    keyset: Json = {"v": 1, "project": project, "epoch": epoch, "suite": suite, "cards": ordered}
    return hashlib.sha256(b"linkage/keyset/v1\0" + rfc8785.dumps(keyset)).hexdigest()


@dataclass
class Exchange:
    """A project whose providers share a secret."""

    service: ServiceApp
    linked: Linked
    keys: list[ExchangeKeys] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = [ExchangeKeys(provider.organisation) for provider in self.providers]

    @property
    def project(self) -> str:
        return self.linked.project

    @property
    def providers(self) -> list[Organisation]:
        return self.linked.providers

    @property
    def path(self) -> str:
        return f"/v1/projects/{self.project}"

    def publish(self, *places: int) -> None:
        """Publishes the cards of all providers, or of some."""
        for place in places or range(len(self.providers)):
            provider, keys = self.providers[place], self.keys[place]
            ok(provider.request("PUT", card_path(provider), json=keys.card()), 200)

    def look(self, by: int = 0) -> Json:
        found: Json = ok(self.providers[by].get(f"{self.path}/key-exchange"), 200)
        return found

    def part_of(self, place: int) -> Json:
        """What the exchange says of one provider."""
        one = self.providers[place].organisation
        return next(item for item in self.look()["providers"] if item["organisation"] == one)

    def draft(self, sender: int, *recipients: int, check_value: str = CHECK_VALUE, **changes: Any) -> Json:
        """Envelopes from a provider to others, by default to all, under the present epoch and cards."""
        shown = self.look(sender)
        epoch, keyset = shown["epoch"], shown["keyset_sha256"]
        to = recipients or tuple(place for place in range(len(self.providers)) if place != sender)
        envelopes = [
            self.keys[sender].envelope(self.keys[place], project=self.project, epoch=epoch, keyset=keyset)
            for place in to
        ]
        made = {"epoch": epoch, "keyset_sha256": keyset, "check_value": check_value, "envelopes": envelopes}
        return {**made, **changes}

    def post(self, sender: int, *recipients: int, **changes: Any) -> Any:
        """Posts them."""
        return self.providers[sender].post(f"{self.path}/key-envelopes", self.draft(sender, *recipients, **changes))

    def received(self, by: int) -> list[Json]:
        items: list[Json] = ok(self.providers[by].get(f"{self.path}/key-envelopes"), 200)["items"]
        return items

    def confirm(self, by: int, *, check_value: str = CHECK_VALUE, epoch: int | None = None) -> Any:
        body = {"epoch": epoch or self.look(by)["epoch"], "check_value": check_value}
        return self.providers[by].post(f"{self.path}/key-confirmations", body)

    def compare(self, by: int, **changes: Any) -> Any:
        shown = self.look(by)
        body = {"epoch": shown["epoch"], "keyset_sha256": shown["keyset_sha256"], **changes}
        return self.providers[by].post(f"{self.path}/key-comparisons", body)

    def open_epoch(self, by: Any = None, *, reason: str = "suspected_leak", expected: int = 1) -> Any:
        caller = by or self.providers[0]
        return caller.post(f"{self.path}/key-epochs", {"reason": reason, "expected_epoch": expected})

    def share(self) -> None:
        """The whole exchange in the present epoch."""
        self.publish()
        for place in range(len(self.providers)):
            ok(self.compare(place), 200)
        ok(self.post(0), 201)
        for place in range(1, len(self.providers)):
            for item in self.received(place):
                assert self.keys[place].opened(item["envelope"]) == SECRET
            ok(self.confirm(place), 200)


def card_path(provider: Organisation) -> str:
    """Where the card of an organisation is."""
    return f"/v1/organisations/{provider.organisation}/key-card"
