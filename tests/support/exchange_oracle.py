"""The formats of the key exchange, written a second time from their description, without a line of the client.

HPKE is written out from RFC 9180 here, and the hybrid's combiner from draft-connolly-cfrg-xwing-kem, so that neither
the client's use of the library nor the library itself is taken at its word.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEM_IDS = {"x25519": 0x0020, "mlkem768-x25519": 0x647A}
ENCAPSULATED_BYTES = {"x25519": 32, "mlkem768-x25519": 1120}


def canonical(value: object) -> bytes:
    """Of ASCII texts and integers, RFC 8785 is this."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


@dataclass(frozen=True)
class Party:
    """A provider with private keys made from a label."""

    organisation: str

    def seed(self, use: str, size: int = 32) -> bytes:
        return hashlib.shake_256(f"{self.organisation} {use}".encode()).digest(size)

    @property
    def signing(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed("signing"))

    def x25519(self, suite: str) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.seed(f"x25519 of {suite}"))

    @property
    def mlkem768(self) -> MLKEM768PrivateKey:
        return MLKEM768PrivateKey.from_seed_bytes(self.seed("mlkem768", 64))

    def kept(self) -> bytes:
        x25519, hybrid = (self.x25519(suite).private_bytes_raw() for suite in KEM_IDS)
        return canonical(
            {
                "format": "linkage-exchange-keys",
                "v": 1,
                "signing_key": b64(self.signing.private_bytes_raw()),
                "hpke_keys": {"x25519": b64(x25519), "mlkem768-x25519": b64(self.seed("mlkem768", 64) + hybrid)},
            }
        )

    def body(self) -> dict[str, Any]:
        x25519, hybrid = (self.x25519(suite).public_key().public_bytes_raw() for suite in KEM_IDS)
        return {
            "v": 1,
            "organisation": self.organisation,
            "signing_key": b64(self.signing.public_key().public_bytes_raw()),
            "hpke_keys": {
                "x25519": b64(x25519),
                "mlkem768-x25519": b64(self.mlkem768.public_key().public_bytes_raw() + hybrid),
            },
        }

    def card(self) -> dict[str, Any]:
        return self_signed(self.body(), self.signing)


def self_signed(body: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    return {**body, "signature": b64(key.sign(b"linkage/key-card/v1\0" + canonical(body)))}


def card_digest(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(_without(card, "signature"))).hexdigest()


def keyset_digest(*, project: str, epoch: int, suite: str, cards: Sequence[Mapping[str, Any]]) -> str:
    bodies = sorted((_without(card, "signature") for card in cards), key=lambda body: str(body["organisation"]))
    statement = {"v": 1, "project": project, "epoch": epoch, "suite": suite, "cards": bodies}
    return hashlib.sha256(b"linkage/keyset/v1\0" + canonical(statement)).hexdigest()


def safety_code(digest: str) -> str:
    slow = hashlib.scrypt(
        bytes.fromhex(digest), salt=b"linkage/safety-code/v1", n=2**15, r=8, p=1, dklen=32, maxmem=2**26
    )
    digits = str(int(slow.hex(), 16) % 10**30).rjust(30, "0")
    return " ".join([digits[at : at + 5] for at in (0, 5, 10, 15, 20, 25)])


def sign_envelope(unsigned: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    return {**unsigned, "signature": b64(key.sign(b"linkage/envelope/v1\0" + canonical(unsigned)))}


def open_envelope(envelope: Mapping[str, Any], recipient: Party) -> bytes:
    suite = envelope["suite"]
    header = _without(envelope, "signature", "ciphertext")
    raw = unb64(envelope["ciphertext"])
    encapsulated, ciphertext = raw[: ENCAPSULATED_BYTES[suite]], raw[ENCAPSULATED_BYTES[suite] :]
    shared = decapsulate(suite, encapsulated, recipient)
    return hpke_open(suite, shared, info=b"linkage/secret/v1\0" + canonical(header), ciphertext=ciphertext)


def decapsulate(suite: str, encapsulated: bytes, recipient: Party) -> bytes:
    key = recipient.x25519(suite)
    if suite == "x25519":
        return dhkem_shared_secret(
            key.exchange(X25519PublicKey.from_public_bytes(encapsulated)),
            encapsulated=encapsulated,
            public=key.public_key().public_bytes_raw(),
        )
    mlkem, x25519 = encapsulated[:1088], encapsulated[1088:]
    parts = [
        recipient.mlkem768.decapsulate(mlkem),
        key.exchange(X25519PublicKey.from_public_bytes(x25519)),
        x25519,
        key.public_key().public_bytes_raw(),
        rb"\.//^" + b"\\",
    ]
    return hashlib.sha3_256(b"".join(parts)).digest()


def dhkem_shared_secret(dh: bytes, *, encapsulated: bytes, public: bytes) -> bytes:
    """RFC 9180, section 4.1, ExtractAndExpand."""
    suite_id = b"KEM" + KEM_IDS["x25519"].to_bytes(2, "big")
    prk = labeled_extract(b"", suite_id, b"eae_prk", dh)
    return labeled_expand(prk, suite_id, b"shared_secret", encapsulated + public, 32)


def hpke_key_and_nonce(suite: str, shared: bytes, *, info: bytes) -> tuple[bytes, bytes]:
    """RFC 9180, section 5.1, KeySchedule in base mode."""
    suite_id = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (KEM_IDS[suite], 0x0001, 0x0003))
    context = (
        b"\0" + labeled_extract(b"", suite_id, b"psk_id_hash", b"") + labeled_extract(b"", suite_id, b"info_hash", info)
    )
    secret = labeled_extract(shared, suite_id, b"secret", b"")
    return (
        labeled_expand(secret, suite_id, b"key", context, 32),
        labeled_expand(secret, suite_id, b"base_nonce", context, 12),
    )


def hpke_open(suite: str, shared: bytes, *, info: bytes, ciphertext: bytes, aad: bytes = b"") -> bytes:
    key, nonce = hpke_key_and_nonce(suite, shared, info=info)
    return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)


def hpke_seal_x25519(
    plaintext: bytes, *, public: bytes, ephemeral: X25519PrivateKey, info: bytes, aad: bytes = b""
) -> bytes:
    encapsulated = ephemeral.public_key().public_bytes_raw()
    dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    shared = dhkem_shared_secret(dh, encapsulated=encapsulated, public=public)
    key, nonce = hpke_key_and_nonce("x25519", shared, info=info)
    return encapsulated + ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)


def labeled_extract(salt: bytes, suite_id: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.new(salt or bytes(32), b"HPKE-v1" + suite_id + label + ikm, "sha256").digest()


def labeled_expand(prk: bytes, suite_id: bytes, label: bytes, info: bytes, size: int) -> bytes:
    labeled = size.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + info
    made, block, count = b"", b"", 0
    while len(made) < size:
        count += 1
        block = hmac.new(prk, block + labeled + bytes([count]), "sha256").digest()
        made += block
    return made[:size]


def sealed(content: bytes, *, kind: str, passphrase: str, salt: bytes, nonce: bytes, cost: int = 131072) -> bytes:
    header = {
        "format": "linkage-sealed",
        "v": 1,
        "kind": kind,
        "kdf": {"name": "scrypt", "n": cost, "r": 8, "p": 1, "salt": b64(salt)},
        "nonce": b64(nonce),
    }
    key = hashlib.scrypt(passphrase.encode(), salt=salt, n=cost, r=8, p=1, dklen=32, maxmem=2**31 - 1)
    ciphertext = ChaCha20Poly1305(key).encrypt(nonce, content, canonical(header))
    return canonical({**header, "ciphertext": b64(ciphertext)})


def _without(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}
