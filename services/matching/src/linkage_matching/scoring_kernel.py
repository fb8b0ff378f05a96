"""The compiled loops of scoring. Import this module late: it loads numba, which costs most of a second.

One pass over the pairs for the evidence, one for the neighbourhoods, one for the scores; nothing is sorted, and beyond
four bytes a pair only the best few values of each row are held.
"""

from typing import Any

import numpy as np
from numba import float32, float64, int32, uint16
from numpy.typing import NDArray

from linkage_matching.kernel import _compiled

Rows = NDArray[np.int32]
Common = NDArray[np.uint16]
Floats = NDArray[np.float64]
Scores = NDArray[np.float32]


@_compiled
def correlations(  # noqa: PLR0917 - numba passes arguments by position
    row_a: Rows, row_b: Rows, common: Common, counts_a: Floats, counts_b: Floats, bits: float, result: Scores
) -> None:
    """Pearson correlations of the bits of both filters; 0 where one has all bits set, or none."""
    for pair in range(row_a.shape[0]):
        a = counts_a[row_a[pair]]
        b = counts_b[row_b[pair]]
        variance = (a * (1.0 - a / bits)) * (b * (1.0 - b / bits))
        result[pair] = (common[pair] - a * b / bits) / np.sqrt(variance) if variance > 0.0 else 0.0


@_compiled
def agreements(  # noqa: PLR0917 - numba passes arguments by position
    row_a: Rows, row_b: Rows, common: Common, counts_a: Floats, counts_b: Floats, bits: float, result: Scores
) -> None:
    """The share of bits that agree."""
    for pair in range(row_a.shape[0]):
        differing = counts_a[row_a[pair]] + counts_b[row_b[pair]] - 2.0 * common[pair]
        result[pair] = 1.0 - differing / bits


@_compiled
def keep_best(rows: Rows, values: Scores, best: Scores) -> None:
    """Put each value into its row of `best`, which is sorted (highest first), where it is above the last."""
    last = best.shape[1] - 1
    for pair in range(rows.shape[0]):
        value = values[pair]
        row = rows[pair]
        if value <= best[row, last]:
            continue
        place = last
        while place > 0 and best[row, place - 1] < value:
            best[row, place] = best[row, place - 1]
            place -= 1
        best[row, place] = value


@_compiled
def subtract_means(row_a: Rows, row_b: Rows, density_a: Scores, density_b: Scores, values: Scores) -> None:
    """Take from each value, in place, the mean of both rows' densities."""
    for pair in range(row_a.shape[0]):
        values[pair] -= (density_a[row_a[pair]] + density_b[row_b[pair]]) / np.float32(2.0)


def compile_all() -> None:
    """Compile every function here for the arguments it is called with, or load it from numba's cache on disk."""
    rows, common, floats, scores = int32[::1], uint16[::1], float64[::1], float32[::1]
    evidence = (rows, rows, common, floats, floats, float64, scores)
    signatures: list[tuple[Any, tuple[Any, ...]]] = [
        (correlations, evidence),
        (agreements, evidence),
        (keep_best, (rows, scores, float32[:, ::1])),
        (subtract_means, (rows, rows, scores, scores, scores)),
    ]
    for function, arguments in signatures:
        function.compile(arguments)
