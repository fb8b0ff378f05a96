"""The same comparison under anonlink's similarity-function signature, so that its callers can use this kernel."""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linkage_matching.encodings import WORD_BITS, Encodings, from_records
from linkage_matching.errors import InvalidEncodings
from linkage_matching.pairs import DEFAULT_LIMIT, candidate_pairs
from linkage_matching.threshold import fraction_of

_DATA_SETS = 2


def similarity_function(
    datasets: Sequence[Sequence[Any] | Encodings], threshold: float, k: int | None = None
) -> tuple["array[float]", tuple["array[int]", "array[int]"]]:
    """Dice coefficients of at least `threshold`, in the shape of anonlink 0.15's `dice_coefficient`.

    It differs from anonlink in two points, both on purpose: a pair exactly on the threshold always passes, and an
    encoding without any bit matches nothing, whatever the threshold.

    Arguments:
        datasets: two sequences of bitarrays or bytes-like records of one length, or two arrays of encodings.
        threshold: the least similarity wanted, in 0..1.
        k: at most this many pairs for each row of the first data set, the best; None for all.

    Returns:
        `(similarities, (rows_a, rows_b))` as `array('d')` and twice `array('I')`, by similarity (highest first), then
        row of the first, then row of the second data set.

    Raises:
        MatchingError: see `candidate_pairs`.
    """
    if len(datasets) != _DATA_SETS:
        raise InvalidEncodings(f"A similarity function compares two data sets; {len(datasets)} were given.")
    empty = array("d"), (array("I"), array("I"))
    if any(len(dataset) == 0 for dataset in datasets):
        return empty
    first, second = (from_records(dataset) for dataset in datasets)
    fraction = fraction_of(threshold, bits=first.shape[1] * WORD_BITS)
    found = candidate_pairs(first, second, threshold=fraction, limit=DEFAULT_LIMIT)
    keep = slice(None) if k is None else _positions_in_row(found.row_a) < k
    return (
        _as_array("d", found.similarity[keep]),
        (_as_array("I", found.row_a[keep]), _as_array("I", found.row_b[keep])),
    )


def _positions_in_row(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each pair, how many pairs of the same row come before it."""
    order = np.argsort(rows, kind="stable")
    by_row = rows[order]
    starts = np.flatnonzero(np.diff(by_row, prepend=-1))
    positions = np.empty(len(rows), np.int64)
    positions[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return positions


def _as_array(typecode: str, values: NDArray[Any]) -> "array[Any]":
    result: array[Any] = array(typecode)
    result.frombytes(values.astype(np.dtype(typecode)).tobytes())
    return result
