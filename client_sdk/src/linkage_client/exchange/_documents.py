"""Reads JSON that somebody else wrote, strictly: exact members, exact types, one spelling for each value.

A second spelling of the same bytes is refused, because digests and signatures cover the spelling.
"""

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from linkage_client._base64url import to_base64url

VERSION: Final = 1
# The largest integer that every JSON implementation, and so the canonical form (RFC 8785), agrees about.
MAXIMUM_INTEGER: Final = 2**53 - 1
# ASCII only, so that there is one way to sort and to write an id. The service's are a prefix and 26 characters.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")


class Malformed(ValueError):
    """A document does not have the shape that it must have. It says nothing of the content."""


def from_base64url(value: object, *, sizes: Collection[int]) -> bytes:
    """The bytes of a base64url text without padding, in its one canonical spelling.

    Raises:
        Malformed: it is no text, holds other characters, padding or stray bits, or has none of the `sizes` in bytes.
    """
    # The length first: a text of a gigabyte is not decoded to find out that it is too long.
    if not isinstance(value, str) or len(value) > -(-max(sizes) * 4 // 3):
        raise Malformed
    try:
        raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed from None
    if len(raw) not in sizes or to_base64url(raw) != value:
        raise Malformed
    return raw


def exact_members(
    document: object, required: Collection[str], *, optional: Collection[str] = ()
) -> Mapping[str, object]:
    """The document, if it is an object with the required members, perhaps the optional ones, and no other.

    Raises:
        Malformed: it is not.
    """
    if not isinstance(document, Mapping):
        raise Malformed
    names = set(document)
    if not set(required) <= names or not names <= {*required, *optional}:
        raise Malformed
    return document


def integer(value: object, *, at_least: int, at_most: int = MAXIMUM_INTEGER) -> int:
    """The value, if it is an integer in this range; truth values and 1.0 are none.

    Raises:
        Malformed: it is not.
    """
    if type(value) is not int or not at_least <= value <= at_most:
        raise Malformed
    return value


def version(value: object) -> int:
    """The version of a format, if it is the one that is known here.

    Raises:
        Malformed: it is another.
    """
    return integer(value, at_least=VERSION, at_most=VERSION)


def one_of(value: object, allowed: Sequence[str]) -> str:
    """The value, if it is one of a closed list of texts.

    Raises:
        Malformed: it is not.
    """
    if not isinstance(value, str) or value not in allowed:
        raise Malformed
    return value


def identifier(value: object) -> str:
    """The value, if it can be the id of an organisation or a project.

    Raises:
        Malformed: it cannot.
    """
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Malformed
    return value


def sha256_hex(value: object) -> str:
    """The value, if it is 64 lowercase hexadecimal digits.

    Raises:
        Malformed: it is not.
    """
    if not isinstance(value, str) or not _SHA256_HEX.fullmatch(value):
        raise Malformed
    return value


def json_object(raw: bytes, *, maximum_bytes: int) -> dict[str, Any]:
    """The object in JSON text: UTF-8, no member twice, no number that is none.

    Raises:
        Malformed: it is something else, or longer than `maximum_bytes`.
    """
    if len(raw) > maximum_bytes:
        raise Malformed
    try:
        content = json.loads(raw.decode(), object_pairs_hook=_members_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Malformed from None
    if not isinstance(content, dict):
        raise Malformed
    return content


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    # Of two members of one name, two readers may believe different ones.
    if len(members) != len(pairs):
        raise Malformed
    return members


def _no_number(_: str) -> Any:
    raise Malformed
