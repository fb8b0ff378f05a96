"""Identifiers with a type prefix: `prj_` and a UUIDv7 in base 32, so that ids sort by time and a wrong kind is seen at a glance."""

import secrets
import uuid
from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_LENGTH = 26


def uuid7(now: datetime) -> uuid.UUID:
    """A UUID of version 7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, then random bits."""
    milliseconds = int(now.timestamp() * 1000)
    value = milliseconds << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


def new_id(prefix: str, now: datetime) -> str:
    """A new id such as `run_01jd…`: the prefix, an underscore and 26 characters."""
    value = uuid7(now).int
    digits = [_ALPHABET[value >> (5 * place) & 31] for place in reversed(range(_LENGTH))]
    return f"{prefix}_{''.join(digits)}"


def id_pattern(prefix: str) -> str:
    """The regular expression of ids with this prefix, for wire models and OpenAPI."""
    return f"^{prefix}_[{_ALPHABET}]{{{_LENGTH}}}$"
