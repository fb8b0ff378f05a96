"""The comparison of `kernel.scan` on the matrix unit of Intel processors (AMX). Import it late, as `kernel`.

The bits that two encodings have in common are the scalar product of their bits, so comparing many with many is the
product of two matrices of zeros and ones. The unit multiplies bytes: 16 rows by 64 bits with 64 bits by 16 columns in
one instruction, about twice what counting the bits of vectors reaches. Bits are spread to bytes
for one unit of work at a time, which stays in the second-level cache.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18, "Programming with Intel
Advanced Matrix Extensions".
"""

import ctypes
import platform
import sys
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import int64, types, uint8, uint32, uint64
from numba.core import cgutils, config
from numba.extending import intrinsic
from numpy.typing import NDArray

from linkage_matching.kernel import Words, _compiled

SIDE = 32
"""Rows and columns of one tile: two by two of the unit's registers of sums."""

# What is compiled here is kept by numba until this file changes, so nothing of another file may be compiled into it.
_LANES = 8
_HALF = 16
_REGISTER_BYTES = 1024
_WORD_BITS = 64
# No sum of two of them overflows, and no encoding has as many bits.
_OUT_OF_REACH = 1 << 29
CONFIGURATION = np.zeros(64, np.uint8)
CONFIGURATION[0] = 1
CONFIGURATION[16:32:2] = 64
CONFIGURATION[48:56] = 16
"""The shapes of the eight registers, 16 rows of 64 bytes, in the processor's own format (palette 1)."""

_ARCH_REQUEST_STATE, _TILE_DATA, _SYSCALL = 0x1023, 18, 158

_BYTE = ir.IntType(8)
_INT = ir.IntType(32)
_LONG = ir.IntType(64)
_POINTER = _BYTE.as_pointer()
_SUMS = ir.VectorType(_INT, _HALF)


def _told_otherwise() -> bool:
    # numba can be told to compile for another processor than this one
    return any(getattr(config, name, None) for name in ("CPU_NAME", "CPU_FEATURES")) or not config.ENABLE_AVX  # type: ignore[attr-defined] # numba


@cache
def available() -> bool:
    """Whether this processor has the unit and the system lets this process use it."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or _told_otherwise():
        return False
    features = llvm.get_host_cpu_features()
    if not (features.get("amx-tile") and features.get("amx-int8") and features.get("avx512f")):
        return False
    # Linux keeps the registers of the unit only for processes that ask.
    return bool(ctypes.CDLL(None).syscall(_SYSCALL, _ARCH_REQUEST_STATE, _TILE_DATA) == 0)


def _call(builder: ir.IRBuilder, name: str, *arguments: ir.Value) -> None:
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}")  # type: ignore[no-untyped-call] # numba
    builder.call(function, arguments)


def _data(context: Any, builder: ir.IRBuilder, kind: Any, value: Any) -> ir.Value:
    return builder.bitcast(context.make_array(kind)(context, builder, value).data, _POINTER)


@intrinsic
def _configure_intrinsic(_typing: Any, configuration: Any) -> Any:
    """Gives the registers their shapes, for the calling thread."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        _call(builder, "ldtilecfg", _data(context, builder, signature.args[0], values[0]))
        return context.get_dummy_value()

    return types.void(configuration), codegen


@intrinsic
def _release_intrinsic(_typing: Any) -> Any:
    """Gives the registers back, so that the system need not keep them."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, _values: Any) -> ir.Value:
        _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _product_intrinsic(_typing: Any, a: Any, b: Any, first: Any, words: Any, sums: Any) -> Any:
    """The common bits of 32 rows and the 32 columns that begin at byte `first` of `b`, to `sums`.

    Registers 0 to 3 sum, 4 and 5 hold rows, 6 and 7 columns.
    """
    signature = types.void(a, b, first, words, sums)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        rows, columns, results = (_data(context, builder, signature.args[place], values[place]) for place in (0, 1, 4))
        columns = builder.gep(columns, [values[2]])
        stride = ir.Constant(_LONG, _WORD_BITS)

        def register(number: int) -> ir.Value:
            return ir.Constant(_BYTE, number)

        for number in range(4):
            _call(builder, "tilezero", register(number))
        with cgutils.for_range_slice(builder, ir.Constant(_LONG, 0), values[3], ir.Constant(_LONG, 1), intp=_LONG) as (
            word,
            _,
        ):
            at = builder.mul(word, ir.Constant(_LONG, 2 * _REGISTER_BYTES))
            # "t1": columns pass by, rows are to stay in the first-level cache; without it a quarter is lost
            for base, load, numbers in ((rows, "tileloadd64", (4, 5)), (columns, "tileloaddt164", (6, 7))):
                for half, number in enumerate(numbers):
                    place = builder.gep(base, [builder.add(at, ir.Constant(_LONG, half * _REGISTER_BYTES))])
                    _call(builder, load, register(number), place, stride)
            for number in range(4):
                _call(builder, "tdpbuud", register(number), register(4 + number // 2), register(6 + number % 2))
        for number in range(4):
            place = builder.gep(results, [ir.Constant(_LONG, number * _REGISTER_BYTES)])
            _call(builder, "tilestored64", register(number), place, stride)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _near_intrinsic(_typing: Any, sums: Any, least_a: Any, row: Any, least_b: Any, column: Any) -> Any:
    """Which of the 32 rows have a pair whose sum reaches the least of its row and its column together, a bit each."""
    signature = types.uint64(sums, least_a, row, least_b, column)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        bases = {place: _data(context, builder, signature.args[place], values[place]) for place in (0, 1, 3)}

        def vector(base: ir.Value, offset: ir.Value) -> ir.Value:
            return builder.load(builder.bitcast(builder.gep(base, [offset]), _SUMS.as_pointer()), align=4)

        four = ir.Constant(_LONG, 4)
        columns = [
            vector(bases[3], builder.mul(builder.add(values[4], ir.Constant(_LONG, half * _HALF)), four))
            for half in range(2)
        ]
        found = cgutils.alloca_once_value(builder, ir.Constant(_LONG, 0))  # type: ignore[no-untyped-call] # numba
        builder.store(ir.Constant(_LONG, 0), found)
        for upper in range(2):
            with cgutils.for_range_slice(
                builder, ir.Constant(_LONG, 0), ir.Constant(_LONG, _HALF), ir.Constant(_LONG, 1), intp=_LONG
            ) as (place, _):
                number = builder.add(place, ir.Constant(_LONG, upper * _HALF))
                at = builder.gep(bases[1], [builder.mul(builder.add(values[2], number), four)])
                least = builder.load(builder.bitcast(at, _INT.as_pointer()))
                one = builder.insert_element(ir.Constant(_SUMS, ir.Undefined), least, ir.Constant(_INT, 0))
                splat = builder.shuffle_vector(
                    one, ir.Constant(_SUMS, ir.Undefined), ir.Constant(ir.VectorType(_INT, _HALF), [0] * _HALF)
                )
                hits = []
                for half in range(2):
                    offset = builder.add(
                        builder.mul(place, ir.Constant(_LONG, _WORD_BITS)),
                        ir.Constant(_LONG, (2 * upper + half) * _REGISTER_BYTES),
                    )
                    reaches = builder.icmp_signed(">=", vector(bases[0], offset), builder.add(splat, columns[half]))
                    hits.append(builder.bitcast(reaches, ir.IntType(_HALF)))
                some = builder.icmp_unsigned("!=", builder.or_(*hits), ir.Constant(ir.IntType(_HALF), 0))
                bit = builder.shl(builder.zext(some, _LONG), number)
                builder.store(builder.or_(builder.load(found), bit), found)
        return builder.load(found)

    return signature, codegen


@intrinsic
def _spread_intrinsic(_typing: Any, word: Any, target: Any, first: Any) -> Any:
    """The 64 bits of a word to 64 bytes of `target`, from byte `first`."""
    signature = types.void(word, target, first)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        bits = builder.bitcast(values[0], ir.VectorType(ir.IntType(1), _WORD_BITS))
        spread = builder.zext(bits, ir.VectorType(_BYTE, _WORD_BITS))
        place = builder.gep(_data(context, builder, signature.args[1], values[1]), [values[2]])
        builder.store(spread, builder.bitcast(place, spread.type.as_pointer()), align=1)
        return context.get_dummy_value()

    return signature, codegen


# numba passes the first argument itself, which its types do not say
_configure: Any = _configure_intrinsic
_release: Any = _release_intrinsic
_product: Any = _product_intrinsic
_near: Any = _near_intrinsic
_spread: Any = _spread_intrinsic


@_compiled
def _aligned(count: int) -> NDArray[np.uint8]:
    """Bytes that begin with a line of the cache."""
    bytes_ = np.empty(count + 64, np.uint8)
    offset = -int64(bytes_.ctypes.data) & 63
    return bytes_[offset : offset + count]


@_compiled
def _least(limits: Words, first: int, count: int, scale: int) -> NDArray[np.int32]:
    """What each row adds to the common bits that its pairs need, rounded down."""
    least = np.empty(count, np.int32)
    for place in range(count):
        least[place] = min(int64(limits[first + place]) // scale, _OUT_OF_REACH)
    return least


@_compiled
def _spread_rows(a: Words, first: int, words: int, target: NDArray[np.uint8]) -> None:
    """32 rows as the first matrix: for each word 16 lines of 64 bits, twice."""
    for place in range(SIDE):
        for word in range(words):
            at = (word * 2 + place // _HALF) * _REGISTER_BYTES + place % _HALF * _WORD_BITS
            _spread(a[(first + place) * words + word], target, int64(at))


@_compiled
def _columns(b: Words, first_block: int, groups: int, words: int) -> NDArray[np.uint8]:
    """Blocks of 8 records, word by word, as the second matrix: for each word 16 lines of 4 bits of 16 records."""
    target = _aligned(groups * words * 2 * _REGISTER_BYTES)
    lines = target.view(np.uint32)
    for group in range(groups):
        for word in range(words):
            for part in range(SIDE // _LANES):
                source = ((first_block + group * (SIDE // _LANES) + part) * words + word) * _LANES
                line = ((group * words + word) * 2 + part // 2) * (_REGISTER_BYTES // 4) + part % 2 * _LANES
                for four in range(_HALF):
                    for lane in range(_LANES):
                        # bit i of the four to byte i: the product has four copies, 7 bits apart
                        nibble = uint32((b[source + lane] >> uint64(4 * four)) & uint64(15))
                        lines[line + four * _HALF + lane] = (nibble * uint32(0x00204081)) & uint32(0x01010101)
    return target


@_compiled
def _write_keys(  # noqa: PLR0917 - numba passes arguments by position
    keys: Words,
    found: int,
    near: int,
    sums: NDArray[np.int32],
    corner: tuple[int, int],
    counts_a: Words,
    counts_b: Words,
    limit_a: Words,
    limit_b: Words,
    floor_a: Words,
    floor_b: Words,
    setting: NDArray[np.int64],
    unit: NDArray[np.int64],
) -> int:
    """Write the keys of those pairs of a tile that pass, in the rows that are near; how many there are now."""
    scale, triangle = setting[2], setting[8]
    top, square, bits = uint64(setting[3]), uint64(setting[4]), uint64(setting[5])
    rows_a, rows_b = uint64(setting[6]), uint64(setting[7])
    for place in range(SIDE):
        if not near & (uint64(1) << uint64(place)):
            continue
        for column in range(SIDE):
            register = place // _HALF * 2 + column // _HALF
            common = int64(sums[register * _HALF * _HALF + place % _HALF * _HALF + column % _HALF])
            row, lane = corner[0] + place, corner[1] + column
            if scale * common < int64(limit_a[row]) + int64(limit_b[lane]):
                continue
            i, j = unit[6] + row, unit[7] + lane
            if triangle and j <= i:
                continue
            bit_sum = counts_a[i] + counts_b[j]
            shared = uint64(common)
            rank = shared * square // bit_sum if square else bits + uint64(2) * shared - bit_sum
            if rank < floor_a[i] and rank < floor_b[j]:
                continue
            keys[found] = ((top - rank) * rows_a + uint64(i)) * rows_b + uint64(j)
            found += 1
    return found


@_compiled
def scan(  # noqa: PLR0917 - numba passes arguments by position
    a: Words,
    b: Words,
    counts_a: Words,
    counts_b: Words,
    limit_a: Words,
    limit_b: Words,
    configuration: NDArray[np.uint8],
    floor_a: Words,
    floor_b: Words,
    setting: NDArray[np.int64],
    unit: NDArray[np.int64],
    keys: Words,
) -> int:
    """What `kernel.scan` does, with the same result but for the order; rows and columns come in whole tiles."""
    words, scale, triangle = setting[0], setting[2], setting[8]
    first_row, end_row, first_block, end_block = unit[0], unit[1], unit[2], unit[3]
    row, resume = unit[4], unit[5]
    offset_a, offset_b = unit[6], unit[7]
    room = keys.shape[0] - SIDE * SIDE
    group_blocks = SIDE // _LANES
    groups = (end_block - first_block + group_blocks - 1) // group_blocks
    columns = _columns(b, first_block, groups, words)
    tile_rows = (end_row - first_row + SIDE - 1) // SIDE * SIDE
    least_a = _least(limit_a, first_row, tile_rows, scale)
    least_b = _least(limit_b, first_block * _LANES, groups * SIDE, scale)
    rows = _aligned(words * 2 * _REGISTER_BYTES)
    sums = _aligned(4 * _REGISTER_BYTES).view(np.int32)
    _configure(configuration)
    found = 0
    while row < end_row:
        group = resume
        resume = 0
        if triangle:
            # a pair (i, j) of one data set is compared once, with i < j
            group = max(group, ((row + offset_a + 1 - offset_b) // _LANES - first_block) // group_blocks)
        if group < groups:
            _spread_rows(a, row, words, rows)
        while group < groups:
            if found > room:
                unit[4] = row
                unit[5] = group
                _release()
                return found
            _product(rows, columns, int64(group * words * 2 * _REGISTER_BYTES), int64(words), sums)
            near = _near(sums, least_a, int64(row - first_row), least_b, int64(group * SIDE))
            if near:
                corner = (row, (first_block * _LANES) + group * SIDE)
                found = _write_keys(
                    keys,
                    found,
                    near,
                    sums,
                    corner,
                    counts_a,
                    counts_b,
                    limit_a,
                    limit_b,
                    floor_a,
                    floor_b,
                    setting,
                    unit,
                )
            group += 1
        row += SIDE
    unit[4] = row
    _release()
    return found


def compile_all() -> None:
    """Compile everything here, or load it from numba's cache on disk."""
    words, numbers = uint64[::1], int64[::1]
    scan.compile((words,) * 6 + (uint8[::1], words, words, numbers, numbers, words))  # type: ignore[attr-defined] # numba
