"""Ties a file of rows to the encodings that it was written with.

Rows are shuffled anew each time a file is encoded. A link table by row number, read with the rows file of other
encodings of the same extract, would give every link id to the wrong person, and nothing in the result would look wrong.
So a rows file carries the SHA-256 of its encodings, and whoever puts record ids to rows compares it first.
"""

from typing import Final

import pyarrow as pa

DIGEST_KEY: Final = b"linkage.encodings_sha256"
_DIGITS_IN_NAME: Final = 12


def encodings_digest(schema: pa.Schema) -> str | None:
    """SHA-256, in hex, of the encodings that a rows file of this schema was written with; None where it says none."""
    digest = (schema.metadata or {}).get(DIGEST_KEY)
    return digest.decode("ascii", "replace") if digest else None


def kept_name(encodings_sha256: str) -> str:
    """The name of a rows file whose encodings were replaced."""
    return f"rows.{encodings_sha256[:_DIGITS_IN_NAME]}.parquet"
