"""A provider's exchange keys: one to sign with, and one for each suite to open envelopes with.

They are not the client's key, which the service knows a machine by, nor the organisation's signing key, which speaks
for it in agreements: an analyst's machine that may open envelopes need not be able to do either.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NoReturn, Self

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from linkage_client._base64url import to_base64url
from linkage_client.errors import KeyExchangeError, KeyFileError
from linkage_client.exchange._documents import (
    VERSION,
    Malformed,
    exact_members,
    from_base64url,
    json_object,
    one_of,
    version,
)
from linkage_client.exchange.cards import KeyCard, card_body, signed_message
from linkage_client.exchange.suites import DecryptionKey, Suite

FORMAT: Final = "linkage-exchange-keys"
MAXIMUM_BYTES: Final = 4096
_THUMBPRINT_CONTEXT: Final = b"linkage/exchange-keys/v1\0"
_SEED_BYTES: Final = 32


class ExchangeKeys:
    """The private halves of a provider's key card. They leave only through `to_bytes`, to be kept."""

    __slots__ = ("_decryption", "_hpke_keys", "_signing", "_signing_key")

    def __init__(self, *, signing: Ed25519PrivateKey, decryption: Mapping[Suite, DecryptionKey]) -> None:
        self._signing = signing
        self._signing_key = signing.public_key().public_bytes_raw()
        self._decryption = dict(decryption)
        self._hpke_keys = {suite: key.public_key for suite, key in self._decryption.items()}

    def __repr__(self) -> str:
        return f"ExchangeKeys(thumbprint={self.thumbprint!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Exchange keys are neither pickled nor copied.")

    @classmethod
    def generate(cls) -> Self:
        """New keys from the operating system's randomness, for every suite that this installation can do."""
        decryption = {Suite.X25519: DecryptionKey.generate(Suite.X25519)}
        # Without ML-KEM the card has one suite, and the provider takes part where agreements ask for no other.
        with suppress(KeyExchangeError):
            decryption[Suite.MLKEM768_X25519] = DecryptionKey.generate(Suite.MLKEM768_X25519)
        return cls(signing=Ed25519PrivateKey.generate(), decryption=decryption)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The keys that `to_bytes` gave.

        Raises:
            KeyFileError: they are damaged, or something else.
            KeyExchangeError: `suite_unsupported`; this installation lacks ML-KEM.
        """
        try:
            members = exact_members(
                json_object(raw, maximum_bytes=MAXIMUM_BYTES), ("format", "v", "signing_key", "hpke_keys")
            )
            one_of(members["format"], (FORMAT,))
            version(members["v"])
            kept = exact_members(members["hpke_keys"], (Suite.X25519.value,), optional=[suite.value for suite in Suite])
            seed = from_base64url(members["signing_key"], sizes=(_SEED_BYTES,))
            raws = {
                suite: from_base64url(kept[suite.value], sizes=(suite.private_key_bytes,))
                for suite in Suite
                if suite.value in kept
            }
        except Malformed:
            raise KeyFileError(
                "These exchange keys are damaged, or are something else. Bring them back from a copy, or make new ones "
                "and publish their card."
            ) from None
        return cls(
            signing=Ed25519PrivateKey.from_private_bytes(seed),
            decryption={suite: DecryptionKey.from_bytes(suite, kept_key) for suite, kept_key in raws.items()},
        )

    def to_bytes(self) -> bytes:
        """All private keys as one line of JSON in ASCII, about 400 characters, to be kept where others cannot read."""
        return json.dumps(
            {
                "format": FORMAT,
                "v": VERSION,
                "signing_key": to_base64url(self._signing.private_bytes_raw()),
                "hpke_keys": {suite.value: to_base64url(key.to_bytes()) for suite, key in self._decryption.items()},
            },
            separators=(",", ":"),
        ).encode()

    @property
    def thumbprint(self) -> str:
        """SHA-256 over all public halves, base64url: which keys these are, whoever's card they are on."""
        body = card_body("", self._signing_key, self._hpke_keys)
        public = {name: body[name] for name in ("signing_key", "hpke_keys")}
        return to_base64url(hashlib.sha256(_THUMBPRINT_CONTEXT + rfc8785.dumps(public)).digest())

    @property
    def suites(self) -> frozenset[Suite]:
        """Which envelopes these keys can open."""
        return frozenset(self._decryption)

    def card(self, organisation_id: str) -> KeyCard:
        """The card of these keys for an organisation, the same one each time.

        Raises:
            KeyExchangeError: `bad_card`; there can be no such organisation.
        """
        body = card_body(organisation_id, self._signing_key, self._hpke_keys)
        return KeyCard(
            organisation=organisation_id,
            signing_key=self._signing_key,
            hpke_keys=self._hpke_keys,
            signature=self._signing.sign(signed_message(body)),
        )

    def are_on(self, card: KeyCard) -> bool:
        """Whether a card shows the public halves of these keys and no others."""
        return card.signing_key == self._signing_key and dict(card.hpke_keys) == self._hpke_keys

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes. The message has to begin with what it is for."""
        return self._signing.sign(message)

    def decrypt(self, suite: Suite, ciphertext: bytes, *, info: bytes) -> bytes:
        """Open what was encrypted to the card of these keys.

        Raises:
            ValueError: it was not, or is damaged.
        """
        key = self._decryption.get(suite)
        if key is None:
            raise ValueError("no key of this suite")
        return key.decrypt(ciphertext, info=info)
