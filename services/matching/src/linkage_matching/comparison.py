"""Comparing all pairs of rows: exact, in bounded memory, with a result that depends on the input alone.

Data sets are laid out part by part, and each pair of parts is cut into units that fit the second-level cache and run
on threads. A unit answers with sort keys, one 64-bit number a pair, so that a hundred million pairs fit in memory and
one plain sort puts them in order.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from linkage_matching.compiling import has_matrix_unit, prepare_comparison
from linkage_matching.early_exit import EarlyExit, best_exit
from linkage_matching.encodings import WORD_BITS, Encodings, check_encodings, popcounts
from linkage_matching.errors import InvalidEncodings, MatchingCancelled
from linkage_matching.layout import LANES, SIDE, Layout, Part
from linkage_matching.measure import Measure
from linkage_matching.results import Cancelled, CandidatePairs, Pairs, Progress
from linkage_matching.threshold import check_threshold, kernel_fraction

# What the matrix unit takes for a tile, as part of what vectors take that never end early (measured: 0.42 to 0.55).
_MATRIX_SHARE = 0.45
_UNITS_AHEAD = 2
_DECODED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Geometry:
    """How large the units of a comparison are.

    Attributes:
        rows: of the first data set, in a unit; whole tiles of the kernel.
        block_bytes: of the second one.
        keys: room for so many pairs that were found, at least those of one tile.
    """

    rows: int
    block_bytes: int
    keys: int


# The blocks of a unit stay in the second-level cache, which has 512 KiB and more on the machines we know.
VECTORS = Geometry(rows=4096, block_bytes=256 * 1024, keys=1 << 15)
# Those with a matrix unit have 2 MiB, and a bit takes up a byte of it; more rows make up for spreading the bits.
MATRIX = Geometry(rows=16_384, block_bytes=128 * 1024, keys=1 << 15)


def matrix_pays(early: EarlyExit, *, words: int) -> bool:
    """Whether there is a matrix unit that takes less than vectors do, which end most tiles of high thresholds early."""
    return early.cost > _MATRIX_SHARE * words and has_matrix_unit()


@dataclass(frozen=True, slots=True)
class Ranking:
    """Turns similarities into whole numbers in the same order, and pairs into sort keys and back.

    Two different Dice similarities 2i/s of filters with s <= S bits differ by at least 2/S², so `i * S² // s` tells
    them apart, and with s known gives i back. For simple matching the number of agreeing bits is the rank.

    Attributes:
        square: S², where S is the largest sum of two popcounts; 0 for simple matching.
        bits: the length of the filters.
        rows_a, rows_b: how many rows there are.
    """

    square: int
    bits: int
    rows_a: int
    rows_b: int

    @classmethod
    def of(
        cls, counts_a: NDArray[np.uint64], counts_b: NDArray[np.uint64], *, bits: int, measure: Measure
    ) -> "Ranking":
        """The ranking for rows with these popcounts."""
        largest_sum = int(counts_a.max(initial=0)) + int(counts_b.max(initial=0))
        # at least 1, so that 0 says simple matching
        square = max(largest_sum**2, 1) if measure is Measure.DICE else 0
        return cls(square=square, bits=bits, rows_a=len(counts_a), rows_b=len(counts_b))

    @property
    def top(self) -> int:
        """The rank of similarity 1."""
        return self.square // 2 if self.square else self.bits

    def check(self, threshold: Fraction) -> None:
        """Raise InvalidEncodings unless every key fits 64 bits."""
        ranks = self.top + 1 - int(threshold * self.top)
        if (ranks + 1) * self.rows_a * self.rows_b >= 2**64:
            raise InvalidEncodings(
                f"Data sets of {self.rows_a:,} and {self.rows_b:,} rows are too large to compare in one piece. "
                "Split the larger one."
            )

    def split(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """Rank, row_a and row_b of each key."""
        rest, row_b = np.divmod(keys, np.uint64(max(self.rows_b, 1)))
        steps, row_a = np.divmod(rest, np.uint64(max(self.rows_a, 1)))
        return np.uint64(self.top) - steps, row_a.astype(np.int64), row_b.astype(np.int64)

    def common_bits(self, ranks: NDArray[np.uint64], bit_sums: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Common bits of pairs from their ranks and the sums of their popcounts."""
        if self.square:
            return (ranks * bit_sums + np.uint64(self.square - 1)) // np.uint64(self.square)
        return (ranks + bit_sums - np.uint64(self.bits)) // np.uint64(2)


class Collector(Protocol):
    """Receives the keys of pairs that pass, and may raise floors below which a row needs no more pairs."""

    floor_a: NDArray[np.uint64]
    floor_b: NDArray[np.uint64]

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Take the keys of some pairs, in no order."""


@dataclass(frozen=True, slots=True)
class DecodedPairs:
    """Row numbers (int64), common bits and sums of popcounts (uint64) of pairs."""

    row_a: NDArray[np.int64]
    row_b: NDArray[np.int64]
    common: NDArray[np.uint64]
    bit_sums: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two data sets to compare, or one against itself, checked; the encodings stay where they are.

    `matrix` says which kernel compares; both find the same pairs.
    """

    a: Encodings
    b: Encodings
    counts_a: NDArray[np.uint64]
    counts_b: NDArray[np.uint64]
    layout: Layout
    ranking: Ranking
    within: bool
    matrix: bool

    @classmethod
    def of(
        cls, a: Encodings, b: Encodings | None, *, threshold: Fraction, measure: Measure = Measure.DICE
    ) -> "Comparison":
        """Check the input and count its bits.

        Raises:
            InvalidEncodings, InvalidThreshold: the input cannot be compared.
        """
        within = b is None
        other = a if b is None else b
        check_encodings(a)
        check_encodings(other)
        if a.shape[1] != other.shape[1]:
            raise InvalidEncodings(
                f"Encodings of {a.shape[1] * WORD_BITS} and {other.shape[1] * WORD_BITS} bits cannot be compared. "
                "Encode both data sets with one linkage schema."
            )
        check_threshold(threshold)
        bits = a.shape[1] * WORD_BITS
        exact = kernel_fraction(threshold, bits=bits, measure=measure)
        counts_a = popcounts(a)
        counts_b = counts_a if within else popcounts(other)
        ranking = Ranking.of(counts_a, counts_b, bits=bits, measure=measure)
        ranking.check(exact)
        early = best_exit(a, other, threshold=exact, measure=measure)
        return cls(
            a=a,
            b=other,
            counts_a=counts_a,
            counts_b=counts_b,
            layout=Layout(bits=bits, threshold=exact, measure=measure, cut=early.cut),
            ranking=ranking,
            within=within,
            matrix=matrix_pays(early, words=a.shape[1]),
        )

    @property
    def geometry(self) -> Geometry:
        """How large its units are."""
        return MATRIX if self.matrix else VECTORS

    @property
    def total(self) -> int:
        """How many pairs of rows there are to compare."""
        rows_a, rows_b = self.ranking.rows_a, self.ranking.rows_b
        return rows_a * (rows_a - 1) // 2 if self.within else rows_a * rows_b

    def run(
        self,
        collector: Collector,
        *,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        threads: int | None = None,
    ) -> None:
        """Compare everything, handing keys to the collector in the calling thread as units finish.

        Raises:
            MatchingCancelled: `cancelled` answered True.
        """
        if self.total == 0:
            return
        prepare_comparison()
        stop = threading.Event()
        workers = threads or processors()
        done = 0
        with ThreadPoolExecutor(workers, thread_name_prefix="matching") as pool:
            units = self._units(collector, stop)
            running: set[Future[_Found]] = set()
            try:
                while True:
                    if cancelled is not None and cancelled():
                        raise MatchingCancelled
                    ahead = workers * _UNITS_AHEAD - len(running)
                    running |= {pool.submit(unit.compare) for unit in islice(units, ahead)}
                    if not running:
                        return
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    for unit_done in finished:
                        found = unit_done.result()
                        for keys in found.keys:
                            collector.add(keys)
                        done += found.compared
                    if progress is not None:
                        progress(done, self.total)
            finally:
                stop.set()

    def decoded(self, keys: NDArray[np.uint64]) -> DecodedPairs:
        """What is behind keys, in their order."""
        ranks, row_a, row_b = self.ranking.split(keys)
        bit_sums = self.counts_a[row_a] + self.counts_b[row_b]
        return DecodedPairs(row_a, row_b, self.ranking.common_bits(ranks, bit_sums), bit_sums)

    def decode(self, keys: NDArray[np.uint64]) -> CandidatePairs:
        """The pairs behind sorted keys, with their similarities."""
        row_a, row_b = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
        similarity = np.empty(len(keys), np.float64)
        measure, bits = self.layout.measure, self.layout.bits
        for here in _slices(len(keys)):
            found = self.decoded(keys[here])
            row_a[here], row_b[here] = found.row_a, found.row_b
            similarity[here] = measure.similarity(found.common, found.bit_sums, bits=bits)
        return CandidatePairs(row_a=row_a, row_b=row_b, similarity=similarity)

    def compact(self, keys: NDArray[np.uint64]) -> Pairs:
        """The pairs behind sorted keys, in ten bytes each."""
        row_a, row_b = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
        common = np.empty(len(keys), np.uint16)
        for here in _slices(len(keys)):
            found = self.decoded(keys[here])
            row_a[here], row_b[here], common[here] = found.row_a, found.row_b, found.common
        return Pairs(row_a=row_a, row_b=row_b, common=common)

    def _units(self, collector: Collector, stop: threading.Event) -> Iterator["_Unit"]:
        for tile in self._tiles(collector, stop):
            yield from tile.units()

    def _tiles(self, collector: Collector, stop: threading.Event) -> Iterator["_Tile"]:
        layout = self.layout
        blocks: Part | None = None
        for rows_a in layout.parts(self.ranking.rows_a):
            rows = layout.in_rows(self.a, self.counts_a, rows_a)
            for rows_b in layout.parts(self.ranking.rows_b):
                if self.within and rows_b.stop <= rows_a.start:
                    continue
                if blocks is None or blocks.first != rows_b.start:
                    blocks = layout.in_blocks(self.b, self.counts_b, rows_b)
                yield _Tile(self, collector, stop, rows, blocks)


@dataclass(frozen=True, slots=True)
class _Found:
    keys: list[NDArray[np.uint64]]
    compared: int


@dataclass(frozen=True, slots=True)
class _Tile:
    """One part of either data set, laid out for the kernel."""

    comparison: Comparison
    collector: Collector
    stop: threading.Event
    rows: Part
    blocks: Part

    def units(self) -> Iterator["_Unit"]:
        count_a, count_b = self.rows.end - self.rows.first, self.blocks.end - self.blocks.first
        blocks = -(-count_b // LANES)
        geometry = self.comparison.geometry
        group = SIDE // LANES
        unit_blocks = group * max(1, geometry.block_bytes // (self.comparison.layout.words * SIDE * 8))
        for first_row in range(0, count_a, geometry.rows):
            end_row = min(first_row + geometry.rows, count_a)
            first_wanted = 0
            if self.comparison.within:
                # in the triangle nothing before the first row's own block is wanted
                first_wanted = max(0, (self.rows.first + first_row - self.blocks.first) // SIDE * group)
            for first_block in range(first_wanted, blocks, unit_blocks):
                yield _Unit(self, first_row, end_row, first_block, min(first_block + unit_blocks, blocks))

    def setting(self) -> NDArray[np.int64]:
        layout, ranking = self.comparison.layout, self.comparison.ranking
        return np.array(
            [
                layout.words,
                layout.cut,
                2 * layout.threshold.denominator,
                ranking.top,
                ranking.square,
                ranking.bits,
                ranking.rows_a,
                ranking.rows_b,
                int(self.comparison.within),
            ],
            np.int64,
        )


@dataclass(frozen=True, slots=True)
class _Unit:
    """Some rows against some blocks of a tile, numbered within it."""

    tile: _Tile
    first_row: int
    end_row: int
    first_block: int
    end_block: int

    def compare(self) -> _Found:
        # numba is loaded by the first comparison, not by import
        from linkage_matching import kernel, matrix_kernel  # noqa: PLC0415

        tile, comparison = self.tile, self.tile.comparison
        rows, blocks = tile.rows, tile.blocks
        setting = tile.setting()
        state = np.array(
            [
                self.first_row,
                self.end_row,
                self.first_block,
                self.end_block,
                self.first_row,
                0,
                rows.first,
                blocks.first,
            ],
            np.int64,
        )
        buffer = np.empty(comparison.geometry.keys, np.uint64)
        keys: list[NDArray[np.uint64]] = []
        operands = (
            rows.words,
            blocks.words,
            comparison.counts_a,
            comparison.counts_b,
            rows.limit,
            blocks.limit,
        )
        wanted = (tile.collector.floor_a, tile.collector.floor_b, setting, state, buffer)
        while state[4] < self.end_row and not tile.stop.is_set():
            if comparison.matrix:
                found = matrix_kernel.scan(*operands, matrix_kernel.CONFIGURATION, *wanted)
            else:
                found = kernel.scan(*operands, rows.rest, blocks.rest, *wanted)
            if found:
                keys.append(buffer[:found].copy())
        return _Found(keys, self._pairs())

    def _pairs(self) -> int:
        """How many pairs are compared here."""
        blocks = self.tile.blocks
        first = blocks.first + self.first_block * LANES
        end = min(blocks.first + self.end_block * LANES, blocks.end)
        if not self.tile.comparison.within:
            return (self.end_row - self.first_row) * (end - first)
        rows = np.arange(self.first_row, self.end_row) + self.tile.rows.first
        return int(np.maximum(end - np.maximum(rows + 1, first), 0).sum())


class BestOfRows:
    """Keeps every pair up to a budget; beyond it, those among the best of either of their rows.

    What is kept does not depend on the order in which units finish: a pair outside the best of both its rows, among
    the pairs seen so far, is outside them among all.
    """

    def __init__(self, comparison: Comparison, *, budget: int, best: int) -> None:
        self.floor_a = np.zeros(comparison.ranking.rows_a, np.uint64)
        self.floor_b = np.zeros(comparison.ranking.rows_b, np.uint64)
        self._ranking = comparison.ranking
        self._best = best
        self._budget = budget
        self._room = budget
        self._bounded = False
        self._chunks: list[NDArray[np.uint64]] = []
        self._count = 0

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Take the keys of some pairs, in no order."""
        self._chunks.append(keys)
        self._count += len(keys)
        if self._count > self._room:
            self._bounded = True
            self._keep_best()
            # at least half of what is sorted is new, so that the sorting stays in proportion to the pairs found
            self._room = max(self._budget, 2 * self._count)

    @property
    def bounded(self) -> bool:
        """Whether there were more pairs than the budget."""
        return self._bounded

    def finish(self) -> NDArray[np.uint64]:
        """All keys kept, in order."""
        if self._bounded:
            self._keep_best()
            return self._chunks[0]
        return sorted_keys(self._chunks)

    def _keep_best(self) -> None:
        from linkage_matching import kernel  # noqa: PLC0415 - numba is loaded by the first comparison, not by import

        keys = sorted_keys(self._chunks)
        ranks, row_a, row_b = self._ranking.split(keys)
        kept = keys[kernel.best_per_row(ranks, row_a, row_b, self._best, self.floor_a, self.floor_b)]
        self._chunks = [kept]
        self._count = len(kept)


def sorted_keys(chunks: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """One sorted array of all chunks; the list is emptied on the way, so that memory is not held twice."""
    keys = np.empty(sum(map(len, chunks)), np.uint64)
    end = len(keys)
    while chunks:
        chunk = chunks.pop()
        keys[end - len(chunk) : end] = chunk
        end -= len(chunk)
    keys.sort()
    return keys


def _slices(count: int) -> Iterator[slice]:
    for start in range(0, count, _DECODED_AT_ONCE):
        yield slice(start, start + _DECODED_AT_ONCE)


def processors() -> int:
    """How many processors this process may use: a container or a scheduler may leave it fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
