"""The compiled inner loops. Import this module late: it loads numba, which costs most of a second.

The second operand of the comparison lies in memory in blocks of 8 records, word by word, so that each of the 8 lanes
of a vector belongs to another record and nothing is ever summed across lanes. 4 rows of the first operand times 8
records of the second make one tile, held in registers. LLVM lowers the 8 x 64-bit vectors to AVX-512, AVX2, NEON or
whatever the machine has, and `llvm.ctpop` to its best population count.

The loop over words has a length known only when it runs, so one compiled function serves every filter length,
threshold and early exit, and one entry in numba's cache on disk serves every later process.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import int64, njit, types, uint64
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

TILE_ROWS = 4
LANES = 8
# Out of reach of any sum of common bits, and small enough that two of them do not overflow.
NEVER = 1 << 61

_WORD = ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, LANES)
_LANE_BITS = ir.IntType(LANES)

Words = NDArray[np.uint64]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Compile on first call, without the interpreter lock; keep the machine code on disk where that is possible."""
    options: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
    try:
        compiled = njit(function, cache=True, **options)
    except RuntimeError:
        # Neither the package's folder nor the user's cache folder can be written: compile once per process.
        compiled = njit(function, cache=False, **options)
    return cast("_Function", compiled)


def _splat(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


class _Tile:
    """Builds the instructions of one tile of 4 rows x 8 records."""

    def __init__(self, builder: ir.IRBuilder, *, rows: ir.Value, block: ir.Value, words: ir.Value) -> None:
        self._builder = builder
        self._rows = rows
        self._block = block
        self._words = words
        popcount = ir.FunctionType(_VECTOR, [_VECTOR])
        self._popcount = cgutils.get_or_insert_function(builder.module, popcount, f"llvm.ctpop.v{LANES}i64")  # type: ignore[no-untyped-call] # numba
        zero = ir.Constant(_VECTOR, [0] * LANES)
        # memory here, registers after LLVM's promotion pass
        self._sums = [cgutils.alloca_once_value(builder, zero) for _ in range(TILE_ROWS)]  # type: ignore[no-untyped-call] # numba
        for slot in self._sums:
            builder.store(zero, slot)

    def load_vector(self, base: ir.Value, offset: ir.Value) -> ir.Value:
        pointer = self._builder.bitcast(self._builder.gep(base, [offset]), _VECTOR.as_pointer())
        return self._builder.load(pointer, align=8)

    def load_scalars(self, base: ir.Value, first: ir.Value) -> list[ir.Value]:
        builder = self._builder
        return [
            _splat(builder, builder.load(builder.gep(base, [builder.add(first, ir.Constant(_WORD, row))])))
            for row in range(TILE_ROWS)
        ]

    def sums(self) -> list[ir.Value]:
        return [self._builder.load(slot) for slot in self._sums]

    def accumulate(self, start: ir.Value, stop: ir.Value) -> None:
        """Add the common bits of the words from `start` to `stop`."""
        builder = self._builder
        # one word a turn: taking two gained nothing, and an early exit after an odd number of words gains a fifth
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(_WORD, 1), intp=_WORD) as (word, _):
            lanes = self.load_vector(self._block, builder.mul(word, ir.Constant(_WORD, LANES)))
            for row, slot in enumerate(self._sums):
                at = builder.add(builder.mul(self._words, ir.Constant(_WORD, row)), word)
                common = builder.and_(lanes, _splat(builder, builder.load(builder.gep(self._rows, [at]))))
                builder.store(builder.add(builder.load(slot), builder.call(self._popcount, [common])), slot)

    def store_sums(self, base: ir.Value) -> None:
        for row, value in enumerate(self.sums()):
            place = self._builder.gep(base, [ir.Constant(_WORD, row * LANES)])
            self._builder.store(value, self._builder.bitcast(place, _VECTOR.as_pointer()), align=8)

    def reaches(self, sums: list[ir.Value], scale: ir.Value, limits: list[ir.Value]) -> list[ir.Value]:
        """Which lanes have `scale * sum >= limit`, a vector of one bit a lane for each row."""
        builder = self._builder
        # both factors are below 2**32 and LLVM is told so: one multiplication instruction instead of three
        low = ir.Constant(_VECTOR, [0xFFFFFFFF] * LANES)
        factor = builder.and_(_splat(builder, scale), low)
        return [
            builder.icmp_signed(">=", builder.mul(builder.and_(value, low), factor), limit)
            for value, limit in zip(sums, limits, strict=True)
        ]

    def packed(self, lanes: list[ir.Value]) -> ir.Value:
        """The lanes of all rows as the bits of one word, bit `row * 8 + lane`."""
        builder = self._builder
        result = ir.Constant(_WORD, 0)
        for row, mask in enumerate(lanes):
            word = builder.zext(builder.bitcast(mask, _LANE_BITS), _WORD)
            result = builder.or_(result, builder.shl(word, ir.Constant(_WORD, row * LANES)))
        return result


@intrinsic
def _tile_intrinsic(  # noqa: PLR0917 - numba passes arguments by position
    _typing: Any,
    a: Any,
    b: Any,
    limit_a: Any,
    limit_b: Any,
    rest_a: Any,
    rest_b: Any,
    sums: Any,
    row: Any,
    block: Any,
    words: Any,
    cut: Any,
    scale: Any,
) -> Any:
    """Compare 4 rows from `row` with the 8 records of `block`; answer which pairs pass, as bit `row * 8 + lane`.

    After `cut` words the tile ends unless some pair can still pass: no pair can have more common bits to come than
    the smaller of its two remaining popcounts. The common bits of all 32 pairs are written to `sums` when it does not.
    """
    signature = types.uint64(a, b, limit_a, limit_b, rest_a, rest_b, sums, row, block, words, cut, scale)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        a, b, limit_a, limit_b, rest_a, rest_b, sums = (
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args[:7], values[:7], strict=True)
        )
        row, block, words, cut, scale = values[7:]
        first_lane = builder.mul(block, ir.Constant(_WORD, LANES))
        tile = _Tile(
            builder,
            rows=builder.gep(a, [builder.mul(row, words)]),
            block=builder.gep(b, [builder.mul(first_lane, words)]),
            words=words,
        )
        passed = cgutils.alloca_once_value(builder, ir.Constant(_WORD, 0))  # type: ignore[no-untyped-call] # numba
        builder.store(ir.Constant(_WORD, 0), passed)

        lanes_limit = tile.load_vector(limit_b, first_lane)
        limits = [builder.add(lanes_limit, scalar) for scalar in tile.load_scalars(limit_a, row)]
        lanes_rest = tile.load_vector(rest_b, first_lane)
        rests = [
            builder.select(builder.icmp_unsigned("<", scalar, lanes_rest), scalar, lanes_rest)
            for scalar in tile.load_scalars(rest_a, row)
        ]

        tile.accumulate(ir.Constant(_WORD, 0), cut)
        best = [builder.add(value, rest) for value, rest in zip(tile.sums(), rests, strict=True)]
        possible = tile.packed(tile.reaches(best, scale, limits))
        with builder.if_then(builder.icmp_unsigned("!=", possible, ir.Constant(_WORD, 0))):
            tile.accumulate(cut, words)
            mask = tile.packed(tile.reaches(tile.sums(), scale, limits))
            builder.store(mask, passed)
            with builder.if_then(builder.icmp_unsigned("!=", mask, ir.Constant(_WORD, 0)), likely=False):
                tile.store_sums(sums)
        return builder.load(passed)

    return signature, codegen


@intrinsic
def _first_bit_intrinsic(_typing: Any, mask: Any) -> Any:
    """The place of the lowest bit of a number that is not 0."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(mask), codegen


# numba passes the first argument itself, which its types do not say
_tile: Any = _tile_intrinsic
_first_bit: Any = _first_bit_intrinsic


@_compiled
def scan(  # noqa: PLR0917 - numba passes arguments by position
    a: Words,
    b: Words,
    counts_a: Words,
    counts_b: Words,
    limit_a: Words,
    limit_b: Words,
    rest_a: Words,
    rest_b: Words,
    floor_a: Words,
    floor_b: Words,
    setting: NDArray[np.int64],
    unit: NDArray[np.int64],
    keys: Words,
) -> int:
    """Compare one unit of work, write the key of every pair that passes to `keys`, answer how many were written.

    It stops early when `keys` is full; the unit is finished when `unit[4] >= unit[1]`. Of the arguments, `a` lies row
    by row and `b` in blocks, both flat; they and the limits and rests are parts of the data sets, whose first rows
    are `unit[6]` and `unit[7]`; counts and floors are those of all rows. A pair whose rank lies below the floors of
    both its rows is not wanted.
    `setting` holds words, cut, scale, then of `comparison.Ranking` top and square (0 for simple matching) and bits,
    rows of a and of b, and 1 for the upper triangle only; `unit` first row, end row, first block, end block, and the
    row and block to go on with (updated).
    """
    words, cut, scale = setting[0], setting[1], setting[2]
    top, square, bits = uint64(setting[3]), uint64(setting[4]), uint64(setting[5])
    rows_a, rows_b, triangle = uint64(setting[6]), uint64(setting[7]), setting[8]
    end_row, first_block, end_block = unit[1], unit[2], unit[3]
    row, resume = unit[4], unit[5]
    offset_a, offset_b = unit[6], unit[7]
    room = keys.shape[0] - TILE_ROWS * LANES
    sums = np.empty(TILE_ROWS * LANES, np.uint64)
    found = 0
    while row < end_row:
        start = first_block
        if triangle:
            # a pair (i, j) of one data set is compared once, with i < j
            start = max(start, (row + offset_a + 1 - offset_b) // LANES)
        block = max(start, resume)
        resume = 0
        while block < end_block:
            if found > room:
                unit[4] = row
                unit[5] = block
                return found
            mask = _tile(a, b, limit_a, limit_b, rest_a, rest_b, sums, row, block, words, cut, scale)
            while mask != 0:
                place = int64(_first_bit(mask))
                mask &= mask - uint64(1)
                i = offset_a + row + place // LANES
                j = offset_b + block * LANES + place % LANES
                if triangle and j <= i:
                    continue
                bit_sum = counts_a[i] + counts_b[j]
                rank = sums[place] * square // bit_sum if square else bits + uint64(2) * sums[place] - bit_sum
                if rank < floor_a[i] and rank < floor_b[j]:
                    continue
                keys[found] = ((top - rank) * rows_a + uint64(i)) * rows_b + uint64(j)
                found += 1
            block += 1
        row += TILE_ROWS
    unit[4] = row
    return found


@_compiled
def best_per_row(  # noqa: PLR0917 - numba passes arguments by position
    ranks: Words,
    rows_a: NDArray[np.int64],
    rows_b: NDArray[np.int64],
    best: int,
    floor_a: Words,
    floor_b: Words,
) -> NDArray[np.bool_]:
    """Which of the pairs, best first, are among the `best` of either of their rows; raises the floors accordingly."""
    seen_a = np.zeros(floor_a.shape[0], np.int64)
    seen_b = np.zeros(floor_b.shape[0], np.int64)
    keep = np.zeros(ranks.shape[0], np.bool_)
    for pair in range(ranks.shape[0]):
        i = rows_a[pair]
        j = rows_b[pair]
        keep[pair] = seen_a[i] < best or seen_b[j] < best
        seen_a[i] += 1
        seen_b[j] += 1
        if seen_a[i] == best:
            floor_a[i] = ranks[pair]
        if seen_b[j] == best:
            floor_b[j] = ranks[pair]
    return keep


def compile_all() -> None:
    """Compile every function here for the arguments it is called with, or load it from numba's cache on disk."""
    words, numbers = uint64[::1], int64[::1]
    signatures: list[tuple[Any, tuple[Any, ...]]] = [
        (scan, (words,) * 10 + (numbers, numbers, words)),
        (best_per_row, (words, numbers, numbers, int64, words, words)),
    ]
    for function, arguments in signatures:
        function.compile(arguments)
