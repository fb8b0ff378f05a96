"""The compiled inner loops of blocking. Import this module late: it loads numba, which costs most of a second."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from linkage_matching.kernel import _compiled

# numba's types do not say that they can be called
int64: Any = types.int64
uint64: Any = types.uint64

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

_FIRST_ROOM = 1 << 12


@intrinsic
def _popcount_intrinsic(_typing: Any, word: Any) -> Any:
    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        return builder.ctpop(values[0])

    return types.uint64(word), codegen


# numba passes the first argument itself, which its types do not say
_popcount: Any = _popcount_intrinsic


@_compiled
def block_keys(encodings: Words, positions: Integers) -> Words:
    """The bits of each row at the positions, the first one highest."""
    keys = np.zeros(encodings.shape[0], np.uint64)
    for row in range(encodings.shape[0]):
        key = uint64(0)
        for place in range(positions.shape[0]):
            position = positions[place]
            word = encodings[row, position >> 6]
            key = (key << uint64(1)) | ((word >> uint64(position & 63)) & uint64(1))
        keys[row] = key
    return keys


@_compiled
def common_runs(keys_a: Words, keys_b: Words) -> Integers:
    """Runs of equal keys in both of two sorted arrays: first and end in the one, first and end in the other."""
    runs = np.empty((_FIRST_ROOM, 4), np.int64)
    found = 0
    i, j = 0, 0
    while i < keys_a.shape[0] and j < keys_b.shape[0]:
        if keys_a[i] < keys_b[j]:
            i += 1
            continue
        if keys_a[i] > keys_b[j]:
            j += 1
            continue
        key = keys_a[i]
        first_i, first_j = i, j
        while i < keys_a.shape[0] and keys_a[i] == key:
            i += 1
        while j < keys_b.shape[0] and keys_b[j] == key:
            j += 1
        if found == runs.shape[0]:
            larger = np.empty((2 * found, 4), np.int64)
            larger[:found] = runs
            runs = larger
        runs[found, 0] = first_i
        runs[found, 1] = i
        runs[found, 2] = first_j
        runs[found, 3] = j
        found += 1
    return runs[:found]


@_compiled
def _met_before(x: Words, y: Words, masks: Words, table: int, torn: int) -> bool:
    """Whether the rows share all bits of an earlier table, in which their block was compared as a whole."""
    for earlier in range(table):
        if (torn >> uint64(earlier)) & uint64(1):
            continue
        same = True
        for word in range(x.shape[0]):
            if ((x[word] ^ y[word]) & masks[earlier, word]) != uint64(0):
                same = False
                break
        if same:
            return True
    return False


@_compiled
def compare_blocks(  # noqa: PLR0917 - numba passes arguments by position
    a: Words,
    b: Words,
    limit_a: Integers,
    limit_b: Integers,
    order_a: Integers,
    order_b: Integers,
    torn: Words,
    blocks: Integers,
    masks: Words,
    setting: Integers,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint16]]:
    """All pairs of some blocks that pass and met in no earlier table: rows of both, and their common bits.

    A pair passes when `scale * common >= limit_a + limit_b`. `blocks` holds in its columns first and end in `order_a`,
    the same in `order_b`, and with how many rows of the other each row is compared. `setting` holds scale, the number
    of the table, and 1 for one data set against itself.
    """
    scale, table, within = setting[0], setting[1], setting[2]
    room = _FIRST_ROOM
    rows_a = np.empty(room, np.int32)
    rows_b = np.empty(room, np.int32)
    shared = np.empty(room, np.uint16)
    found = 0
    for block in range(blocks.shape[0]):
        first_a, end_a, first_b, end_b, width = blocks[block]
        for place in range(first_a, end_a):
            i = order_a[place]
            start = place + 1 - first_a if within else (place - first_a) * (end_b - first_b) // (end_a - first_a)
            for step in range(width):
                other = start + step
                if other >= end_b - first_b:
                    if within:
                        break
                    other -= end_b - first_b
                j = order_b[first_b + other]
                common = uint64(0)
                for word in range(a.shape[1]):
                    common += _popcount(a[i, word] & b[j, word])
                if scale * int64(common) < limit_a[i] + limit_b[j]:
                    continue
                if _met_before(a[i], b[j], masks, table, torn[i]):
                    continue
                if found == room:
                    room *= 2
                    rows_a = _grown(rows_a, room)
                    rows_b = _grown(rows_b, room)
                    shared = _grown(shared, room)
                # within one data set the order of a block is not that of the rows
                rows_a[found] = min(i, j) if within else i
                rows_b[found] = max(i, j) if within else j
                shared[found] = common
                found += 1
    return rows_a[:found], rows_b[:found], shared[:found]


@_compiled
def _grown(values: Any, room: int) -> Any:
    larger = np.empty(room, values.dtype)
    larger[: values.shape[0]] = values
    return larger


@_compiled
def among_best(row_a: NDArray[np.int32], row_b: NDArray[np.int32], best: int, rows: Integers) -> NDArray[np.bool_]:
    """Which of the pairs, best first, are among the `best` of either of their rows; `rows` is how many either has."""
    seen_a = np.zeros(rows[0], np.int64)
    seen_b = np.zeros(rows[1], np.int64)
    keep = np.zeros(row_a.shape[0], np.bool_)
    for pair in range(row_a.shape[0]):
        i = row_a[pair]
        j = row_b[pair]
        keep[pair] = seen_a[i] < best or seen_b[j] < best
        seen_a[i] += 1
        seen_b[j] += 1
    return keep
