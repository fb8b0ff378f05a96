"""Base64url as JOSE, key cards and envelopes write it: without padding."""

import base64


def to_base64url(raw: bytes) -> str:
    """Base64url without padding (RFC 4648, section 5; RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
