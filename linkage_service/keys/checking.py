"""What the service checks of cards and envelopes: form, keys, signatures. What an envelope holds it cannot see."""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from linkage_service.errors import FieldError, Invalid
from linkage_service.keys import schemas

REQUIRED: schemas.Suite = "x25519"
# Public key of each suite: X25519; ML-KEM-768 and X25519.
_KEY_BYTES: Mapping[schemas.Suite, int] = {"x25519": 32, "mlkem768-x25519": 1184 + 32}
# The encapsulated key and the tag, around a secret of 16 to 900 bytes.
_OVERHEAD_BYTES: Mapping[schemas.Suite, int] = {"x25519": 32 + 16, "mlkem768-x25519": 1088 + 32 + 16}
_SECRET_BYTES = range(16, 901)
_KEY_25519_BYTES = 32
_FIELD_PRIME = 2**255 - 19
# The y-coordinates of the eight points of small order of edwards25519; the other two of order 8 have its negative.
_ORDER_EIGHT_Y = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_ORDER_Y = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_EIGHT_Y, _FIELD_PRIME - _ORDER_EIGHT_Y})
_CARD_CONTEXT = b"linkage/key-card/v1\0"
_KEYSET_CONTEXT = b"linkage/keyset/v1\0"
_ENVELOPE_CONTEXT = b"linkage/envelope/v1\0"


def body_of(card: schemas.KeyCardDocument) -> dict[str, Any]:
    """A card without its signature: what is signed, and what digests are taken of."""
    return card.model_dump(mode="json", exclude={"signature"})


def digest_of(card: schemas.KeyCardDocument) -> str:
    """SHA-256 of a card's body, hex."""
    return hashlib.sha256(rfc8785.dumps(body_of(card))).hexdigest()


def keyset_digest(
    cards: Sequence[schemas.KeyCardDocument], *, project: str, epoch: int, suite: schemas.Suite
) -> str | None:
    """The digest of all cards of a project's providers; None if one of them cannot be encrypted to with the suite."""
    if any(suite not in card.hpke_keys for card in cards):
        return None
    bodies = [body_of(card) for card in sorted(cards, key=lambda card: card.organisation)]
    keyset: dict[str, Any] = {"v": 1, "project": project, "epoch": epoch, "suite": suite, "cards": bodies}
    return hashlib.sha256(_KEYSET_CONTEXT + rfc8785.dumps(keyset)).hexdigest()


def check_card(card: schemas.KeyCardDocument, *, organisation: str) -> None:
    """Refuses a card that clients would not use, or that is not its organisation's own.

    One card that clients refuse would hold up every project of its organisation.

    Raises:
        Invalid: naming the member.
    """
    if card.organisation != organisation:
        raise _wrong("/organisation", "other_organisation", "The card is of another organisation than the address.")
    if REQUIRED not in card.hpke_keys:
        raise _wrong("/hpke_keys", "missing", "The card has no key for x25519, which every card needs.")
    _check_signing_key(decoded(card.signing_key, bytes_long=_KEY_25519_BYTES, pointer="/signing_key"))
    for suite, key in card.hpke_keys.items():
        # A name that is not declared must not come back; this one is from the closed list.
        _check_hpke_key(suite, decoded(key, bytes_long=_KEY_BYTES[suite], pointer=f"/hpke_keys/{suite}"))
        if key == card.signing_key:
            raise _wrong(f"/hpke_keys/{suite}", "repeated_key", "One key is on the card twice. Make new exchange keys.")
    _check_signature(
        card.signing_key, card.signature, _CARD_CONTEXT + rfc8785.dumps(body_of(card)), pointer="/signature"
    )


def check_not_of(card: schemas.KeyCardDocument, others: Iterable[schemas.KeyCardDocument]) -> None:
    """Refuses a card with a key that stands on a card of another organisation, now or earlier.

    Who puts another's key on a card of their own would have envelopes for one read by the other, so clients refuse all
    cards of a project in which one does.

    Raises:
        Invalid: naming the member.
    """
    taken = {key for other in others for _, key in _keys_of(other)}
    for pointer, key in _keys_of(card):
        if key in taken:
            raise _wrong(
                pointer, "key_of_another", "This key is on a card of another organisation. Make new exchange keys."
            )


def _keys_of(card: schemas.KeyCardDocument) -> Iterator[tuple[str, bytes]]:
    """Every public key of a card with where it stands, the two of the hybrid suite each for itself as well."""
    yield "/signing_key", decoded(card.signing_key, pointer="/signing_key")
    for suite, key in card.hpke_keys.items():
        pointer = f"/hpke_keys/{suite}"
        raw = decoded(key, pointer=pointer)
        yield pointer, raw[-_KEY_25519_BYTES:]
        if raw[:-_KEY_25519_BYTES]:
            yield pointer, raw[:-_KEY_25519_BYTES]


def check_envelope(
    envelope: schemas.KeyEnvelope,
    *,
    expected: Mapping[str, object],
    recipients: Sequence[str],
    card: schemas.KeyCardDocument,
    pointer: str,
) -> None:
    """Refuses an envelope that its recipient would refuse.

    Args:
        envelope: the envelope.
        expected: what its members must be: `project`, `epoch`, `from`, `keyset` and `suite`.
        recipients: to whom it may be.
        card: the sender's, as it counts now.
        pointer: where it stands in the request.

    Raises:
        Invalid: naming the member.
    """
    document = envelope.model_dump(mode="json")
    for member, value in expected.items():
        if document[member] != value:
            raise _wrong(
                f"{pointer}/{member}", "other", f"The envelope's {member} is not that of this request. Make it again."
            )
    if envelope.recipient not in recipients:
        raise _wrong(f"{pointer}/to", "not_a_provider", "An envelope goes to another provider of this project.")
    ciphertext = decoded(envelope.ciphertext, pointer=f"{pointer}/ciphertext")
    if len(ciphertext) - _OVERHEAD_BYTES[envelope.suite] not in _SECRET_BYTES:
        raise _wrong(
            f"{pointer}/ciphertext",
            "wrong_length",
            f"This cannot hold a secret of {_SECRET_BYTES.start} to {_SECRET_BYTES.stop - 1} bytes in this suite. Make "
            "it again.",
        )
    signed = {name: value for name, value in document.items() if name != "signature"}
    _check_signature(
        card.signing_key, envelope.signature, _ENVELOPE_CONTEXT + rfc8785.dumps(signed), pointer=f"{pointer}/signature"
    )


def decoded(text: str, *, pointer: str, bytes_long: int | None = None) -> bytes:
    """The bytes of base64url without padding, in its one canonical spelling.

    Raises:
        Invalid: it is not that, or of another length.
    """
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raw = b""
    # The last character may hold bits that mean nothing; two spellings of one key would be two cards.
    if base64.urlsafe_b64encode(raw).decode().rstrip("=") != text:
        raise _wrong(pointer, "malformed", "This must be base64url without padding, and with no bits left over.")
    if bytes_long is not None and len(raw) != bytes_long:
        raise _wrong(pointer, "wrong_length", f"This must have {bytes_long} bytes.")
    return raw


def _check_signing_key(raw: bytes) -> None:
    """Refuses Ed25519 keys of small order, under which anybody can sign, and those not written canonically; RFC 8032.

    The library verifies under such keys.
    """
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _FIELD_PRIME or y in _SMALL_ORDER_Y:
        raise _wrong("/signing_key", "unusable", "Anybody could sign with this key. Make new exchange keys.")


def _check_hpke_key(suite: schemas.Suite, raw: bytes) -> None:
    """Refuses keys that no honest party has.

    X25519 with which nothing can be agreed or in a second spelling (RFC 7748, sections 5 and 6.1); ML-KEM that fails
    the modulus check of FIPS 203, section 7.2, where this installation has ML-KEM.
    """
    x25519 = raw[-_KEY_25519_BYTES:]
    unusable = _wrong(
        f"/hpke_keys/{suite}", "unusable", "Nothing can be encrypted to this key. Make new exchange keys."
    )
    if int.from_bytes(x25519, "little") >= _FIELD_PRIME:
        raise unusable
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(x25519))
        if suite != REQUIRED:
            MLKEM768PublicKey.from_public_bytes(raw[:-_KEY_25519_BYTES])
    except UnsupportedAlgorithm:
        return
    except ValueError as error:
        raise unusable from error


def _check_signature(key: str, signature: str, message: bytes, *, pointer: str) -> None:
    raw, public = decoded(signature, pointer=pointer), decoded(key, pointer="/signing_key")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(raw, message)
    except (InvalidSignature, ValueError) as error:
        raise _wrong(
            pointer, "bad_signature", "The signature does not verify with the card's signing key. Make it again."
        ) from error


def _wrong(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(pointer, code, detail)])
