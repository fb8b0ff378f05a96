"""Envelopes: the secret, encrypted to one provider and signed by the one who sends it.

HPKE in base mode does not say who encrypted, so the sender signs. Both the encryption and the signature cover the
header, so an envelope counts for one project, epoch, pair of providers and keyset, and for nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_bytes
from typing import Any, Final

import rfc8785

from linkage_client._base64url import to_base64url
from linkage_client.errors import KeyExchangeError
from linkage_client.exchange._documents import (
    VERSION,
    Malformed,
    exact_members,
    from_base64url,
    identifier,
    integer,
    sha256_hex,
    version,
)
from linkage_client.exchange.cards import SIGNATURE_BYTES
from linkage_client.exchange.keyset import Keyset
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.suites import Suite, encrypt

SECRET_CONTEXT: Final = b"linkage/secret/v1\0"
ENVELOPE_CONTEXT: Final = b"linkage/envelope/v1\0"
NEW_SECRET_BYTES: Final = 32
MINIMUM_SECRET_BYTES: Final = 16
# What fits into one entry of every keystore.
MAXIMUM_SECRET_BYTES: Final = 900
_HEADER: Final = ("v", "project", "epoch", "from", "to", "keyset", "suite", "at")
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_NAMES: Final = {suite.value: suite for suite in Suite}


def draw_secret() -> bytes:
    """A new linkage secret, 32 random bytes.

    None that ends like a line of text: kept in a file, it would come back without its end.
    """
    while True:
        secret = token_bytes(NEW_SECRET_BYTES)
        if usable(secret):
            return secret


def usable(secret: bytes) -> bool:
    """Whether a secret can be sent: 16 to 900 bytes, and no line end at its end, which is dropped from files."""
    return MINIMUM_SECRET_BYTES <= len(secret) <= MAXIMUM_SECRET_BYTES and not secret.endswith(b"\n")


def wrap(
    *, keys: ExchangeKeys, keyset: Keyset, sender: str, recipient: str, secret: bytes, at: datetime
) -> dict[str, Any]:
    """Encrypt a secret to one provider. The people must have compared the safety code of the keyset before.

    Args:
        keys: the sender's.
        keyset: whose cards were compared.
        sender: id of the own organisation.
        recipient: id of the organisation that the envelope is for.
        secret: 16 to 900 bytes, without a line end at its end.
        at: when, with a time zone; written in UTC to the second.

    Raises:
        KeyExchangeError: `other_keys`, the keys are not those of the sender's card; `not_in_keyset`; `bad_secret`;
            `suite_unsupported`.
        ValueError: sender and recipient are one, or the time has no time zone.
    """
    if sender == recipient or at.tzinfo is None:
        raise ValueError("an envelope goes from one organisation to another, at a time with a time zone")
    _check_own(keys, keyset, sender)
    card = keyset.card_of(recipient)
    if not usable(secret):
        raise KeyExchangeError(
            f"The linkage secret has fewer than {MINIMUM_SECRET_BYTES} or more than {MAXIMUM_SECRET_BYTES} bytes, or "
            "ends with a line end. Open a new key epoch and let a new secret be drawn.",
            code="bad_secret",
        )
    header = {
        "v": VERSION,
        "project": keyset.project_id,
        "epoch": keyset.epoch,
        "from": sender,
        "to": recipient,
        "keyset": keyset.digest,
        "suite": keyset.suite.value,
        "at": at.astimezone(UTC).strftime(_TIME),
    }
    ciphertext = encrypt(keyset.suite, secret, public_key=card.hpke_keys[keyset.suite], info=_info(header))
    signed = {**header, "ciphertext": to_base64url(ciphertext)}
    return {**signed, "signature": to_base64url(keys.sign(_signed_message(signed)))}


def unwrap(*, keys: ExchangeKeys, keyset: Keyset, sender: str, recipient: str, envelope: Mapping[str, object]) -> bytes:
    """The secret in an envelope, if it is the one that is expected, from the provider that is expected.

    What is checked, in this order: the shape; project, epoch, recipient, sender and keyset; the signature, by the
    sender's card in the keyset that was compared; the suite; and then it is decrypted.

    Args:
        keys: the recipient's.
        keyset: whose cards were compared.
        sender: id of the organisation that it has to come from.
        recipient: id of the own organisation.
        envelope: what the service handed out.

    Raises:
        KeyExchangeError: `envelope_damaged`, `envelope_other_project`, `_other_epoch`, `_other_recipient`,
            `_other_sender`, `_other_keyset`, `_forged`, `_other_suite`; `other_keys`; `not_in_keyset`.
    """
    _check_own(keys, keyset, recipient)
    card = keyset.card_of(sender)
    try:
        parsed = _parse(envelope)
    except Malformed:
        raise _refusal("envelope_damaged") from None
    expected = {
        "project": keyset.project_id,
        "epoch": keyset.epoch,
        "to": recipient,
        "from": sender,
        "keyset": keyset.digest,
    }
    for member, value in expected.items():
        if parsed.header[member] != value:
            raise _refusal(_OTHER[member])
    # Nobody sends to themselves, so an own envelope that comes back is none of another provider.
    if sender == recipient:
        raise _refusal("envelope_other_sender")
    if not card.verify(parsed.signature, _signed_message(parsed.signed)):
        raise _refusal("envelope_forged")
    if parsed.suite is not keyset.suite:
        raise _refusal("envelope_other_suite")
    try:
        secret = keys.decrypt(keyset.suite, parsed.ciphertext, info=_info(parsed.header))
    except ValueError:
        raise _refusal("envelope_damaged") from None
    if not usable(secret):
        raise _refusal("envelope_damaged")
    return secret


@dataclass(frozen=True, slots=True)
class _Envelope:
    header: Mapping[str, Any]
    suite: Suite
    ciphertext: bytes
    signature: bytes
    signed: Mapping[str, Any]


def _parse(envelope: Mapping[str, object]) -> _Envelope:
    members = exact_members(envelope, (*_HEADER, "ciphertext", "signature"))
    version(members["v"])
    for name in ("project", "from", "to"):
        identifier(members[name])
    integer(members["epoch"], at_least=1)
    sha256_hex(members["keyset"])
    _check_time(members["at"])
    suite = _NAMES.get(members["suite"]) if isinstance(members["suite"], str) else None
    if suite is None:
        raise Malformed
    sizes = range(suite.overhead_bytes + MINIMUM_SECRET_BYTES, suite.overhead_bytes + MAXIMUM_SECRET_BYTES + 1)
    return _Envelope(
        header={name: members[name] for name in _HEADER},
        suite=suite,
        ciphertext=from_base64url(members["ciphertext"], sizes=sizes),
        signature=from_base64url(members["signature"], sizes=(SIGNATURE_BYTES,)),
        signed={name: members[name] for name in (*_HEADER, "ciphertext")},
    )


def _check_time(value: object) -> None:
    try:
        # Written again, because reading is lenient about digits.
        same = isinstance(value, str) and datetime.strptime(value, _TIME).replace(tzinfo=UTC).strftime(_TIME) == value
    except ValueError:
        same = False
    if not same:
        raise Malformed


def _info(header: Mapping[str, Any]) -> bytes:
    return SECRET_CONTEXT + rfc8785.dumps(dict(header))


def _signed_message(signed: Mapping[str, Any]) -> bytes:
    return ENVELOPE_CONTEXT + rfc8785.dumps(dict(signed))


def _check_own(keys: ExchangeKeys, keyset: Keyset, organisation_id: str) -> None:
    if not keys.are_on(keyset.card_of(organisation_id)):
        raise KeyExchangeError(
            "The card that the service shows for your own organisation is not the card of the exchange keys that are "
            "kept here. Use the machine that has them, or publish the card of these keys; if nobody of your "
            "organisation published another card, tell the other providers and the linkage unit.",
            code="other_keys",
        )


_OTHER: Final = {
    "project": "envelope_other_project",
    "epoch": "envelope_other_epoch",
    "to": "envelope_other_recipient",
    "from": "envelope_other_sender",
    "keyset": "envelope_other_keyset",
}
_ASK: Final = "It was not opened. Ask the sender to share the secret again"
_REASONS: Final[Mapping[str, str]] = {
    "envelope_damaged": f"An envelope is damaged. {_ASK}.",
    "envelope_other_project": f"An envelope belongs to another project. {_ASK}, and tell the linkage unit.",
    "envelope_other_epoch": f"An envelope belongs to another key epoch of the project. {_ASK} in the present one.",
    "envelope_other_recipient": f"An envelope is for another organisation. {_ASK}, and tell the linkage unit.",
    "envelope_other_sender": f"An envelope is not from the provider that it should be from. {_ASK}, and tell the "
    "linkage unit.",
    "envelope_other_keyset": "An envelope was made for other key cards than the present ones: a provider's card has "
    f"changed since. {_ASK} when everybody has compared the new code.",
    "envelope_forged": "An envelope is not signed by the provider that it names as its sender: it was forged or "
    "changed on the way. It was not opened. Tell the other providers and the linkage unit.",
    "envelope_other_suite": f"An envelope is encrypted in another way than the agreement asks for. {_ASK} with a "
    "present version of the client.",
}


def _refusal(code: str) -> KeyExchangeError:
    return KeyExchangeError(_REASONS[code], code=code)
