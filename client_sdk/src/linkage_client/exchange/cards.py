"""Key cards: what everybody may know of a provider's exchange keys, signed with one of them.

The signature shows that whoever made the card holds the signing key on it, and nothing of who that is: that is what
people compare the safety code for.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from linkage_client._base64url import to_base64url
from linkage_client.errors import KeyExchangeError
from linkage_client.exchange._documents import (
    VERSION,
    Malformed,
    exact_members,
    from_base64url,
    identifier,
    version,
)
from linkage_client.exchange.suites import Suite, check_public_key

CARD_CONTEXT: Final = b"linkage/key-card/v1\0"
SIGNATURE_BYTES: Final = 64
SIGNING_KEY_BYTES: Final = 32
_FIELD_PRIME: Final = 2**255 - 19
# The y-coordinates of the eight points of small order of edwards25519; the other two of order 8 have its negative.
_ORDER_EIGHT_Y: Final = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_ORDER_Y: Final = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_EIGHT_Y, _FIELD_PRIME - _ORDER_EIGHT_Y})


@dataclass(frozen=True, slots=True)
class KeyCard:
    """The public halves of a provider's exchange keys. A card that exists is well-formed and signed by itself.

    Raises:
        KeyExchangeError: `bad_card`; the members cannot be a card, a key is one that no honest party has, or the
            signature does not verify.
    """

    organisation: str
    signing_key: bytes
    """Ed25519, 32 bytes: signs this card and envelopes."""
    hpke_keys: Mapping[Suite, bytes]
    """Public keys that envelopes are encrypted to; `Suite.X25519` is always there."""
    signature: bytes

    def __post_init__(self) -> None:
        try:
            keys = {Suite(name): key for name, key in self.hpke_keys.items()}
            object.__setattr__(self, "hpke_keys", MappingProxyType(keys))
            self._check()
        except (ValueError, InvalidSignature):
            raise _bad_card() from None

    @classmethod
    def parse(cls, document: Mapping[str, object]) -> Self:
        """The card in a document that anybody may have written.

        Raises:
            KeyExchangeError: `bad_card`.
        """
        try:
            members = exact_members(document, ("v", "organisation", "signing_key", "hpke_keys", "signature"))
            version(members["v"])
            keys = exact_members(members["hpke_keys"], (Suite.X25519.value,), optional=[suite.value for suite in Suite])
            return cls(
                organisation=identifier(members["organisation"]),
                signing_key=from_base64url(members["signing_key"], sizes=(SIGNING_KEY_BYTES,)),
                hpke_keys={
                    suite: from_base64url(keys[suite.value], sizes=(suite.public_key_bytes,))
                    for suite in Suite
                    if suite.value in keys
                },
                signature=from_base64url(members["signature"], sizes=(SIGNATURE_BYTES,)),
            )
        except Malformed:
            raise _bad_card() from None

    @property
    def body(self) -> dict[str, Any]:
        """What the signature covers."""
        return card_body(self.organisation, self.signing_key, self.hpke_keys)

    @property
    def document(self) -> dict[str, Any]:
        """The whole card, as it is published."""
        return {**self.body, "signature": to_base64url(self.signature)}

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical body, in hex: which card this is."""
        return hashlib.sha256(rfc8785.dumps(self.body)).hexdigest()

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether the holder of this card's signing key has signed the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.signing_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def _check(self) -> None:
        identifier(self.organisation)
        _check_signing_key(self.signing_key)
        if Suite.X25519 not in self.hpke_keys:
            raise Malformed
        Ed25519PublicKey.from_public_bytes(self.signing_key).verify(self.signature, signed_message(self.body))
        for suite, key in self.hpke_keys.items():
            check_public_key(suite, key)


def card_body(organisation: str, signing_key: bytes, hpke_keys: Mapping[Suite, bytes]) -> dict[str, Any]:
    """The body of a card with these keys."""
    return {
        "v": VERSION,
        "organisation": organisation,
        "signing_key": to_base64url(signing_key),
        "hpke_keys": {suite.value: to_base64url(key) for suite, key in hpke_keys.items()},
    }


def signed_message(body: Mapping[str, Any]) -> bytes:
    """What the signature of a card is made over."""
    return CARD_CONTEXT + rfc8785.dumps(dict(body))


def _check_signing_key(key: bytes) -> None:
    """Refuse Ed25519 keys of small order, under which anybody can make signatures, and those not written canonically.

    RFC 8032 leaves the first to the caller, and the library verifies under such keys; the second would give one key
    several spellings, and so one provider several cards.
    """
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if len(key) != SIGNING_KEY_BYTES or y >= _FIELD_PRIME or y in _SMALL_ORDER_Y:
        raise Malformed


def _bad_card() -> KeyExchangeError:
    return KeyExchangeError(
        "A key card is damaged, or is not signed by the key on it. Nothing was done with it. Ask the provider whose "
        "card it is to publish it again; if that does not help, tell the linkage unit.",
        code="bad_card",
    )
