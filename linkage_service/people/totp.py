"""Time-based one-time passwords (RFC 6238): SHA-1, 30 seconds, 6 digits, as every authenticator app has them."""

import base64
import hmac
import secrets
import struct
from datetime import datetime
from urllib.parse import quote, urlencode

PERIOD_S = 30
DIGITS = 6
_SECRET_BYTES = 20  # RFC 4226 section 4, R6
_STEPS_ASIDE = 1  # RFC 6238 section 5.2: at most one step for delay and clocks


def new_secret() -> bytes:
    """A shared secret of 160 bits."""
    return secrets.token_bytes(_SECRET_BYTES)


def code_at(secret: bytes, step: int, *, digits: int = DIGITS) -> str:
    """The code of a time step (RFC 4226 section 5.3)."""
    mac = hmac.digest(secret, struct.pack(">Q", step), "sha1")
    offset = mac[-1] & 0x0F
    value = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(value % 10**digits).zfill(digits)


def matching_step(secret: bytes, code: str, *, now: datetime, after: int | None) -> int | None:
    """The time step whose code this is; None if it is none of about now, or not newer than the step `after`."""
    present = int(now.timestamp()) // PERIOD_S
    found = None
    # All of them are compared, so that the time taken does not say which.
    for step in range(present - _STEPS_ASIDE, present + _STEPS_ASIDE + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), code.encode()):
            found = step
    return found if found is not None and (after is None or found > after) else None


def base32(secret: bytes) -> str:
    """The secret as people type it."""
    return base64.b32encode(secret).decode().rstrip("=")


def provisioning_uri(secret: bytes, *, account: str, issuer: str) -> str:
    """The otpauth:// address that an authenticator app reads from a QR code."""
    query = {"secret": base32(secret), "issuer": issuer, "algorithm": "SHA1", "digits": DIGITS, "period": PERIOD_S}
    return f"otpauth://totp/{quote(issuer, safe='')}:{quote(account, safe='')}?{urlencode(query, quote_via=quote)}"
