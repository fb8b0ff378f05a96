"""Derives from the linkage secret what a project encodes with, so that encodings of two projects are never alike.

Providers may share one secret for several projects, by mistake or by habit. What the encoder is given is therefore
never the secret but a key that is bound to project, key epoch, linkage schema and encoding profile, by HKDF-SHA256
(RFC 5869) with the project's id as its salt. The key is text, 64 hexadecimal digits, because clkhash's command takes
text as its secret: a partner who encodes with clkhash itself is given the same key (`linkage secret derive`).
"""

from enum import StrEnum
from typing import Final

import rfc8785
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from linkage_client.errors import SecretError

DERIVATION: Final = "linkage/derive/v1"
"""Names the rule in manifests. Another rule gets another name, and no run mixes two."""
_KEY_BYTES: Final = 32


class Use(StrEnum):
    """What a working key is for; no two uses have related keys."""

    ENCODING = "encoding"


def working_key(
    secret: bytes,
    *,
    project_id: str,
    epoch: int,
    linkage_schema_sha256: str,
    encoding_profile: str | None,
    use: Use = Use.ENCODING,
) -> bytes:
    """The key of a project in place of its secret: 64 lowercase hexadecimal digits, as ASCII.

    Args:
        secret: the linkage secret that all providers of the project share.
        project_id: at the service.
        epoch: of the secret in this project, from 1.
        linkage_schema_sha256: the schema's digest, in hex.
        encoding_profile: its name exactly as the agreement and the manifest have it; None where they have none.
        use: what for.

    Raises:
        SecretError: the secret is empty.
    """
    if not secret:
        raise SecretError("the linkage secret is empty: use the one that all providers of the project share")
    bound_to: dict[str, int | str | None] = {
        "epoch": epoch,
        "linkage_schema": linkage_schema_sha256,
        "encoding_profile": encoding_profile,
    }
    derived = HKDF(
        algorithm=hashes.SHA256(),
        length=_KEY_BYTES,
        salt=project_id.encode(),
        info=DERIVATION.encode() + b"\0" + use.encode() + b"\0" + rfc8785.dumps(bound_to),
    ).derive(secret)
    return derived.hex().encode()
