"""Where results of finished units are kept, so that what was interrupted goes on with the units that are missing.

A stored result is Arrow IPC behind its SHA-256. It names all that determines it; whatever is damaged, cut short, of
another unit or of other data counts as not there, and the unit is done again.
"""

import hashlib
import hmac
from typing import TYPE_CHECKING, Protocol

from linkage_matching.errors import BlobAbsent, BlobDamaged
from linkage_matching.pairs import Pairs
from linkage_matching.units import UnitResult

if TYPE_CHECKING:
    import pyarrow as pa

    from linkage_matching.blobs import SealedBlobs

_MAGIC = b"linkage/unit/v1\n"
_DIGEST_BYTES = 32


class UnitStore(Protocol):
    """Keeps results of units by name."""

    def load(self, name: str, *, fingerprint: str) -> UnitResult | None:
        """The result of the unit, or None where there is none that was made of exactly this.

        Arguments:
            name: `Unit.name`.
            fingerprint: `Unit.fingerprint`.
        """

    def save(self, name: str, result: UnitResult, *, fingerprint: str) -> None:
        """Keep the result; one of the same name is replaced as a whole."""


class MemoryUnitStore:
    """Keeps results in this process."""

    def __init__(self) -> None:
        self._sealed: dict[str, bytes] = {}

    def load(self, name: str, *, fingerprint: str) -> UnitResult | None:
        """See UnitStore."""
        sealed = self._sealed.get(name)
        return None if sealed is None else decode_result(sealed, fingerprint=fingerprint)

    def save(self, name: str, result: UnitResult, *, fingerprint: str) -> None:
        """See UnitStore."""
        self._sealed[name] = encode_result(result, fingerprint=fingerprint)


class BlobUnitStore:
    """Keeps results in sealed blobs below a prefix. Picklable where the blobs are."""

    __slots__ = ("_blobs", "_prefix")

    def __init__(self, blobs: "SealedBlobs", prefix: str) -> None:
        """Keep results at `prefix/<name>`, sealed under the key of the blobs."""
        self._blobs = blobs
        self._prefix = prefix

    @property
    def shared(self) -> bool:
        """Whether another process that is given this can read and write it."""
        return self._blobs.shared

    def load(self, name: str, *, fingerprint: str) -> UnitResult | None:
        """See UnitStore.

        Raises:
            BlobsUnavailable: the store cannot be reached or refuses.
        """
        try:
            sealed = self._blobs.get(self._path(name))
        except (BlobAbsent, BlobDamaged):
            return None
        return decode_result(sealed, fingerprint=fingerprint)

    def save(self, name: str, result: UnitResult, *, fingerprint: str) -> None:
        """See UnitStore.

        Raises:
            BlobsUnavailable: the store cannot be reached or refuses, or is full.
        """
        self._blobs.put(self._path(name), encode_result(result, fingerprint=fingerprint))

    def clear(self) -> int:
        """Delete all results below the prefix; how many there were."""
        return self._blobs.delete_prefix(self._prefix)

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._prefix})"


def encode_result(result: UnitResult, *, fingerprint: str) -> bytes:
    """A result as bytes: a magic line, the SHA-256 of what follows, and an Arrow IPC stream.

    The stream has the columns row_a and row_b (int32) and common (uint16), and in its schema's metadata the
    fingerprint, compared, and bounded (0 or 1).
    """
    import pyarrow as pa  # noqa: PLC0415 - costs a tenth of a second, and not everybody stores results

    columns = {"row_a": result.pairs.row_a, "row_b": result.pairs.row_b, "common": result.pairs.common}
    metadata = {
        "fingerprint": fingerprint,
        "compared": str(result.compared),
        "bounded": str(int(result.bounded)),
    }
    table = pa.table(columns, schema=_schema().with_metadata(metadata))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = memoryview(sink.getvalue())
    return b"".join((_MAGIC, hashlib.sha256(stream).digest(), stream))


def decode_result(sealed: bytes | memoryview, *, fingerprint: str) -> UnitResult | None:
    """The result in the bytes, or None if they are not whole, not a result, or of another fingerprint."""
    import pyarrow as pa  # noqa: PLC0415 - see encode_result

    view = memoryview(sealed)
    stream = view[len(_MAGIC) + _DIGEST_BYTES :]
    digest = bytes(view[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES])
    if view[: len(_MAGIC)] != _MAGIC or not hmac.compare_digest(digest, hashlib.sha256(stream).digest()):
        return None
    try:
        with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
            table = reader.read_all()
    except pa.ArrowInvalid:
        return None
    metadata = table.schema.metadata or {}
    if not table.schema.equals(_schema()) or metadata.get(b"fingerprint") != fingerprint.encode():
        return None
    # copies, because compiled code takes arrays that are not to be written to for another type
    row_a, row_b, common = (table.column(name).to_numpy().copy() for name in table.column_names)
    return UnitResult(
        pairs=Pairs(row_a, row_b, common),
        compared=int(metadata[b"compared"]),
        bounded=metadata[b"bounded"] == b"1",
    )


def _schema() -> "pa.Schema":
    import pyarrow as pa  # noqa: PLC0415 - see encode_result

    return pa.schema(
        [
            pa.field("row_a", pa.int32(), nullable=False),
            pa.field("row_b", pa.int32(), nullable=False),
            pa.field("common", pa.uint16(), nullable=False),
        ]
    )
