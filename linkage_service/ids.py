"""Identifiers with a type prefix and a UUIDv7 in base 32, so that ids sort by time and a wrong kind is seen at once."""

import uuid
from datetime import datetime

from linkage_ledger.events import new_id as new_uuid7

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_LENGTH = 26


def new_id(prefix: str, now: datetime) -> str:
    """A new id such as `run_01jd…`: the prefix, an underscore and 26 characters."""
    value = uuid.UUID(new_uuid7(now)).int
    digits = [_ALPHABET[value >> (5 * place) & 31] for place in reversed(range(_LENGTH))]
    return f"{prefix}_{''.join(digits)}"


def id_pattern(prefix: str) -> str:
    """The regular expression of ids with this prefix, for wire models and OpenAPI."""
    return f"^{prefix}_[{_ALPHABET}]{{{_LENGTH}}}$"
