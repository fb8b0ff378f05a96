"""Encodings as arrays: what the engine accepts, and how to get there from bytes and from other people's types."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from linkage_matching.errors import InvalidEncodings

Encodings: TypeAlias = NDArray[np.uint64]
"""One row an encoding, `bits / 64` words of 64 bits each. Dice does not depend on the order of bits within a row."""

WORD_BITS = 64
SMALLEST_BITS = 256
LARGEST_BITS = 4096


def check_bits(bits: int) -> None:
    """Raise InvalidEncodings unless `bits` is a multiple of 64 from 256 to 4096."""
    if bits % WORD_BITS or not SMALLEST_BITS <= bits <= LARGEST_BITS:
        raise InvalidEncodings(
            f"Encodings of {bits} bits cannot be compared. "
            f"Use a length that is a multiple of {WORD_BITS} from {SMALLEST_BITS} to {LARGEST_BITS}."
        )


def check_encodings(encodings: Encodings) -> None:
    """Raise InvalidEncodings unless the array is `(n, bits / 64)` of uint64."""
    if encodings.ndim != 2 or encodings.dtype != np.uint64:  # noqa: PLR2004 - rows and words
        raise InvalidEncodings(
            f"Encodings must be a two-dimensional array of uint64, one row an encoding; "
            f"this one has {encodings.ndim} dimensions of {encodings.dtype}. Use from_bytes()."
        )
    check_bits(encodings.shape[1] * WORD_BITS)


def from_bytes(raw: bytes | bytearray | memoryview, *, bits: int) -> Encodings:
    """Encodings stored row after row, `bits / 8` bytes each, as an `(n, bits / 64)` array on the same memory.

    Raises:
        InvalidEncodings: the length does not suit, or the bytes are not a whole number of rows.
    """
    check_bits(bits)
    view = memoryview(raw).cast("B")
    if view.nbytes % (bits // 8):
        raise InvalidEncodings(
            f"{view.nbytes} bytes are not a whole number of encodings of {bits} bits. "
            "The data was cut short, or was made with another length."
        )
    return np.frombuffer(view, dtype=np.uint64).reshape(-1, bits // WORD_BITS)


def from_records(records: Sequence[Any] | Encodings) -> Encodings:
    """Encodings from a sequence of bit arrays or bytes-like records of one length, or from an array as it is.

    Records shorter than the engine's words are filled up with zero bits, which changes no Dice similarity.

    Raises:
        InvalidEncodings: the records have different lengths, or are too long.
    """
    if isinstance(records, np.ndarray):
        check_encodings(records)
        return records
    rows = list(_as_bytes(records))
    if not rows:
        return np.zeros((0, SMALLEST_BITS // WORD_BITS), np.uint64)
    size_bytes = len(rows[0])
    if any(len(row) != size_bytes for row in rows):
        raise InvalidEncodings("The encodings of one data set have different lengths. Encode them with one schema.")
    bits = max(SMALLEST_BITS, -(-size_bytes * 8 // WORD_BITS) * WORD_BITS)
    check_bits(bits)
    padded = np.zeros((len(rows), bits // 8), np.uint8)
    padded[:, :size_bytes] = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), size_bytes)
    return padded.view(np.uint64)


def _as_bytes(records: Iterable[Any]) -> Iterable[bytes]:
    for record in records:
        # bitarray has tobytes(); what has not is bytes-like, as anonlink allows
        yield record.tobytes() if hasattr(record, "tobytes") else bytes(record)


def popcounts(encodings: Encodings) -> NDArray[np.uint64]:
    """How many bits are set in each row."""
    counts: NDArray[np.uint64] = np.bitwise_count(encodings).sum(axis=1, dtype=np.uint64)
    return counts
