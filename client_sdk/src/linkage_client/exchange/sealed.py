"""Sealed files: a secret or exchange keys behind a passphrase, for a copy in a safe or a hand-over without the service.

Guessing is what such a file has to withstand, so each guess costs 128 MiB and half a second (scrypt, RFC 7914).
"""

import contextlib
import json
import unicodedata
from collections.abc import Iterator, Mapping
from secrets import token_bytes
from typing import Any, Final, Literal

import rfc8785
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from linkage_client._base64url import to_base64url
from linkage_client.errors import KeyExchangeError
from linkage_client.exchange._documents import (
    VERSION,
    Malformed,
    exact_members,
    from_base64url,
    integer,
    json_object,
    one_of,
    version,
)

FORMAT: Final = "linkage-sealed"
MINIMUM_PASSPHRASE_CHARACTERS: Final = 12
MAXIMUM_CONTENT_BYTES: Final = 65_536
MAXIMUM_FILE_BYTES: Final = 131_072
_COST: Final = 2**17
# A file says its own cost. More than this, 1 GiB, would stop the machine that opens it; less, nobody writes.
_MAXIMUM_COST: Final = 2**20
_BLOCK_SIZE: Final = 8
_PARALLELISM: Final = 1
_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KINDS: Final = ("secret", "exchange-keys")
_KDF: Final = "scrypt"

Kind = Literal["secret", "exchange-keys"]


def seal(content: bytes, *, kind: Kind, passphrase: str) -> bytes:
    """A sealed file with this content.

    Args:
        content: up to 64 KiB.
        kind: what it is; opening it asks for the same.
        passphrase: at least 12 characters; written in another Unicode form (NFC), it is the same.

    Raises:
        KeyExchangeError: `passphrase_too_short`.
        ValueError: the content is too long.
    """
    if len(normalised(passphrase)) < MINIMUM_PASSPHRASE_CHARACTERS:
        raise KeyExchangeError(
            f"The passphrase is shorter than {MINIMUM_PASSPHRASE_CHARACTERS} characters. Choose a longer one: five or "
            "six words picked by chance are good.",
            code="passphrase_too_short",
        )
    if len(content) > MAXIMUM_CONTENT_BYTES:
        raise ValueError("the content is too long for a sealed file")
    salt, nonce = token_bytes(_SALT_BYTES), token_bytes(_NONCE_BYTES)
    header: dict[str, Any] = {
        "format": FORMAT,
        "v": VERSION,
        "kind": kind,
        "kdf": {"name": _KDF, "n": _COST, "r": _BLOCK_SIZE, "p": _PARALLELISM, "salt": to_base64url(salt)},
        "nonce": to_base64url(nonce),
    }
    with _derived_key(passphrase, salt=salt, cost=_COST) as key:
        ciphertext = ChaCha20Poly1305(key).encrypt(nonce, content, rfc8785.dumps(header))
    return (json.dumps({**header, "ciphertext": to_base64url(ciphertext)}, indent=1) + "\n").encode()


def unseal(data: bytes, *, kind: Kind, passphrase: str) -> bytes:
    """The content of a sealed file.

    Raises:
        KeyExchangeError: `sealed_damaged`, it is none; `sealed_other_kind`; `sealed_parameters`, opening it would take
            too much memory or too little work; `sealed_wrong_passphrase`, the passphrase is wrong or the file damaged.
    """
    members, salt, nonce, ciphertext = _read(data, kind)
    header = {name: value for name, value in members.items() if name != "ciphertext"}
    cost = members["kdf"]["n"]
    with _derived_key(passphrase, salt=salt, cost=cost) as key:
        try:
            return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, rfc8785.dumps(header))
        except InvalidTag:
            raise KeyExchangeError(
                "The passphrase is wrong, or the sealed file was changed. Try again; if the passphrase is right, bring "
                "the file back from a copy.",
                code="sealed_wrong_passphrase",
            ) from None


def is_sealed(data: bytes) -> bool:
    """Whether this looks like a sealed file, of whatever kind."""
    try:
        return json_object(data, maximum_bytes=MAXIMUM_FILE_BYTES).get("format") == FORMAT
    except Malformed:
        return False


def normalised(passphrase: str) -> str:
    """The passphrase as it counts: composed characters (NFC), because keyboards of two systems differ in that."""
    return unicodedata.normalize("NFC", passphrase)


def _read(data: bytes, kind: Kind) -> tuple[Mapping[str, Any], bytes, bytes, bytes]:
    try:
        members = json_object(data, maximum_bytes=MAXIMUM_FILE_BYTES)
        exact_members(members, ("format", "v", "kind", "kdf", "nonce", "ciphertext"))
        version(members["v"])
        kdf = exact_members(members["kdf"], ("name", "n", "r", "p", "salt"))
        one_of(members["format"], (FORMAT,))
        one_of(members["kind"], _KINDS)
        one_of(kdf["name"], (_KDF,))
        for name in ("n", "r", "p"):
            integer(kdf[name], at_least=1)
        salt = from_base64url(kdf["salt"], sizes=(_SALT_BYTES,))
        nonce = from_base64url(members["nonce"], sizes=(_NONCE_BYTES,))
        ciphertext = from_base64url(
            members["ciphertext"], sizes=range(_TAG_BYTES, MAXIMUM_CONTENT_BYTES + _TAG_BYTES + 1)
        )
    except Malformed:
        raise KeyExchangeError(
            "This is not a sealed file, or it is damaged. Name the right file, or bring it back from a copy.",
            code="sealed_damaged",
        ) from None
    if members["kind"] != kind:
        raise KeyExchangeError(_OTHER_KIND[kind], code="sealed_other_kind")
    _check_cost(members["kdf"])
    return members, salt, nonce, ciphertext


def _check_cost(kdf: Mapping[str, int]) -> None:
    power_of_two = kdf["n"] & (kdf["n"] - 1) == 0
    if not (_COST <= kdf["n"] <= _MAXIMUM_COST and power_of_two) or kdf["r"] != _BLOCK_SIZE or kdf["p"] != _PARALLELISM:
        raise KeyExchangeError(
            "This sealed file asks for more memory or less work than any that this program makes, so it was not "
            "opened. It may be a trap: ask who gave it to you.",
            code="sealed_parameters",
        )


@contextlib.contextmanager
def _derived_key(passphrase: str, *, salt: bytes, cost: int) -> Iterator[bytearray]:
    """The key of a passphrase, wiped afterwards."""
    key = bytearray(_KEY_BYTES)
    typed = bytearray(normalised(passphrase).encode(errors="surrogatepass"))
    try:
        Scrypt(salt=salt, length=_KEY_BYTES, n=cost, r=_BLOCK_SIZE, p=_PARALLELISM).derive_into(typed, key)
        yield key
    except MemoryError:
        raise KeyExchangeError(
            f"A sealed file takes {cost * _BLOCK_SIZE * 128 // 2**20} MiB of memory, and this machine has not got them "
            "now. Close other programs and try again, or use another machine.",
            code="sealed_memory",
        ) from None
    finally:
        for buffer in (key, typed):
            buffer[:] = bytes(len(buffer))


_OTHER_KIND: Final[Mapping[Kind, str]] = {
    "secret": "This sealed file holds exchange keys, not a linkage secret. `linkage keys import` reads those.",
    "exchange-keys": "This sealed file holds a linkage secret, not exchange keys. `linkage secret import` reads those.",
}
