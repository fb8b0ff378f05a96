"""Every pair of rows whose Dice similarity reaches a threshold: exact, in bounded memory, in one fixed order.

Work is cut into units that fit the second-level cache and run on threads. A unit answers with sort keys, one 64-bit
number a pair, so that a hundred million pairs fit in memory and one plain sort puts them in order.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from linkage_matching.encodings import WORD_BITS, Encodings, check_encodings, popcounts
from linkage_matching.errors import InvalidEncodings, MatchingCancelled, MatchingError, TooManyPairs
from linkage_matching.measure import Measure
from linkage_matching.sampling import Sample
from linkage_matching.threshold import check_threshold, kernel_fraction

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the pairs of rows compared so far and the pairs to compare in all."""
Cancelled: TypeAlias = Callable[[], bool]
"""Asked between units of work; True stops the comparison."""

DEFAULT_LIMIT = 100_000_000

# The blocks of a unit stay in the second-level cache, which has 512 KiB and more on the machines we know.
_UNIT_BLOCK_BYTES = 256 * 1024
_UNIT_ROWS = 4096
_KEYS_AT_ONCE = 1 << 15
_UNITS_AHEAD = 2


@dataclass(frozen=True, slots=True)
class CandidatePairs:
    """Pairs of rows in order of similarity (highest first), then row_a, then row_b.

    Attributes:
        row_a, row_b: int64 row numbers.
        similarity: float64 Dice similarities.
    """

    row_a: NDArray[np.int64]
    row_b: NDArray[np.int64]
    similarity: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.similarity)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows in ten bytes each, in order of similarity (highest first), then row_a, then row_b.

    Attributes:
        row_a, row_b: int32 row numbers.
        common: uint16, how many bits are set in both rows.
    """

    row_a: NDArray[np.int32]
    row_b: NDArray[np.int32]
    common: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.common)


def best_pairs(
    a: Encodings,
    b: Encodings | None = None,
    *,
    threshold: Fraction,
    budget: int,
    best_per_row: int,
    measure: Measure = Measure.DICE,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    threads: int | None = None,
) -> tuple[Pairs, bool]:
    """Every pair that reaches the threshold, or the best of each row where these are more than `budget`.

    Arguments:
        a: as in `candidate_pairs`.
        b: as in `candidate_pairs`.
        threshold: as in `candidate_pairs`.
        measure: which similarity.
        progress: as in `candidate_pairs`.
        cancelled: as in `candidate_pairs`.
        threads: as in `candidate_pairs`.
        budget: how many pairs there may be before only the best of each row are kept.
        best_per_row: then a pair is kept if it is among this many best of either of its rows.

    Returns:
        The pairs, and whether the budget was exceeded. Both depend on the input alone, not on threads or timing.

    Raises:
        InvalidEncodings, InvalidThreshold: the input cannot be compared.
        MatchingCancelled: `cancelled` answered True.
    """
    if measure is not Measure.DICE:
        raise MatchingError("Only Dice is compared so far.")
    comparison = Comparison.of(a, b, threshold=threshold)
    collector = BestOfRows(comparison, budget=budget, best=best_per_row)
    comparison.run(collector, progress=progress, cancelled=cancelled, threads=threads)
    return comparison.compact(collector.finish()), collector.bounded


def candidate_pairs(
    a: Encodings,
    b: Encodings | None = None,
    *,
    threshold: Fraction,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    threads: int | None = None,
    limit: int = DEFAULT_LIMIT,
) -> CandidatePairs:
    """Every pair whose Dice similarity is at least `threshold`, decided in integers.

    Without `b`, every pair of rows of `a` with row_a < row_b. An encoding without any bit matches nothing.

    Arguments:
        a: `(n, bits / 64)` of uint64, memory-mapped if you like.
        b: the other data set, of the same width.
        threshold: in 0..1. Write 0.8 as `Fraction(4, 5)` or `Fraction("0.8")`.
        progress: called in the calling thread as units of work end, some milliseconds apart.
        cancelled: asked as often; True ends the comparison.
        threads: how many threads compare; by default one for each processor this process may use.
        limit: the most pairs that may be found.

    Raises:
        InvalidEncodings, InvalidThreshold: the input cannot be compared.
        TooManyPairs: more than `limit` pairs, by estimate before the work starts or by count during it.
        MatchingCancelled: `cancelled` answered True.
    """
    comparison = Comparison.of(a, b, threshold=threshold)
    comparison.refuse_too_many(limit)
    collector = _Everything(comparison, limit)
    comparison.run(collector, progress=progress, cancelled=cancelled, threads=threads)
    return comparison.decode(collector.finish())


@dataclass(frozen=True, slots=True)
class Ranking:
    """Turns similarities into whole numbers in the same order, and pairs into sort keys and back.

    Two different similarities 2i/s of filters with s <= S bits differ by at least 2/S², so `i * S² // s` tells them
    apart, and with s known gives i back.

    Attributes:
        square: S², where S is the largest sum of two popcounts.
        rows_a, rows_b: how many rows there are.
    """

    square: int
    rows_a: int
    rows_b: int

    def check(self, threshold: Fraction) -> None:
        """Raise InvalidEncodings unless every key fits 64 bits."""
        ranks = self.square // 2 + 1 - int(threshold * self.square / 2)
        if (ranks + 1) * self.rows_a * self.rows_b >= 2**64:
            raise InvalidEncodings(
                f"Data sets of {self.rows_a:,} and {self.rows_b:,} rows are too large to compare in one piece. "
                "Split the larger one."
            )

    def split(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """Rank, row_a and row_b of each key."""
        rest, row_b = np.divmod(keys, np.uint64(max(self.rows_b, 1)))
        steps, row_a = np.divmod(rest, np.uint64(max(self.rows_a, 1)))
        return np.uint64(self.square // 2) - steps, row_a.astype(np.int64), row_b.astype(np.int64)

    def common_bits(self, ranks: NDArray[np.uint64], bit_sums: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Common bits of pairs from their ranks and the sums of their popcounts."""
        square = np.uint64(max(self.square, 1))
        return (ranks * bit_sums + square - np.uint64(1)) // square


class Collector(Protocol):
    """Receives the keys of pairs that pass, and may raise floors below which a row needs no more pairs."""

    floor_a: NDArray[np.uint64]
    floor_b: NDArray[np.uint64]

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Take the keys of some pairs, in no order."""

    def finish(self) -> NDArray[np.uint64]:
        """All keys wanted, in order."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two data sets laid out for the kernel, or one against itself."""

    a: NDArray[np.uint64]
    b: NDArray[np.uint64]
    counts_a: NDArray[np.uint64]
    counts_b: NDArray[np.uint64]
    threshold: Fraction
    ranking: Ranking
    words: int
    within: bool
    sample: Sample

    @classmethod
    def of(cls, a: Encodings, b: Encodings | None, *, threshold: Fraction) -> "Comparison":
        """Check and lay out; costs two copies of the encodings."""
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
        exact = kernel_fraction(threshold, bits=a.shape[1] * WORD_BITS)
        counts_a = popcounts(a)
        counts_b = counts_a if within else popcounts(other)
        largest_sum = int(counts_a.max(initial=0)) + int(counts_b.max(initial=0))
        ranking = Ranking(square=largest_sum**2, rows_a=len(a), rows_b=len(other))
        ranking.check(exact)
        words = _padded(a.shape[1], _UNROLL)
        return cls(
            a=_in_rows(a, words),
            b=_in_blocks(other, words),
            counts_a=counts_a,
            counts_b=counts_b,
            threshold=exact,
            ranking=ranking,
            words=words,
            within=within,
            sample=Sample.of(a, b),
        )

    @property
    def total(self) -> int:
        """How many pairs of rows there are to compare."""
        rows_a, rows_b = self.ranking.rows_a, self.ranking.rows_b
        return rows_a * (rows_a - 1) // 2 if self.within else rows_a * rows_b

    def refuse_too_many(self, limit: int) -> None:
        """Raise TooManyPairs if the sample says that more than `limit` pairs pass."""
        if self.total <= limit:
            return
        estimate = self.sample.estimate(self.threshold, total=self.total)
        if estimate > limit:
            raise self.too_many(estimate=estimate, limit=limit)

    def too_many(self, *, estimate: int, limit: int) -> TooManyPairs:
        """The refusal, with a threshold that would fit."""
        suggestion = self.sample.threshold_for(limit, total=self.total, above=self.threshold)
        return TooManyPairs(estimate=estimate, limit=limit, suggested_threshold=suggestion)

    def run(
        self, collector: Collector, *, progress: Progress | None, cancelled: Cancelled | None, threads: int | None
    ) -> None:
        """Compare everything, handing keys to the collector in the calling thread as units finish."""
        if self.total == 0:
            return
        work = _Work(self, collector)
        workers = threads or _processors()
        done = 0
        with ThreadPoolExecutor(workers, thread_name_prefix="matching") as pool:
            units = self._units()
            running: set[Future[_Found]] = set()
            try:
                while True:
                    if cancelled is not None and cancelled():
                        raise MatchingCancelled
                    ahead = workers * _UNITS_AHEAD - len(running)
                    running |= {pool.submit(work.compare, unit) for unit in islice(units, ahead)}
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
                work.stop.set()

    def decode(self, keys: NDArray[np.uint64]) -> CandidatePairs:
        """The pairs behind sorted keys."""
        ranks, row_a, row_b = self.ranking.split(keys)
        bit_sums = self.counts_a[row_a] + self.counts_b[row_b]
        common = self.ranking.common_bits(ranks, bit_sums)
        return CandidatePairs(row_a=row_a, row_b=row_b, similarity=2 * common / bit_sums)

    def compact(self, keys: NDArray[np.uint64]) -> Pairs:
        """The pairs behind sorted keys, in ten bytes each."""
        ranks, row_a, row_b = self.ranking.split(keys)
        common = self.ranking.common_bits(ranks, self.counts_a[row_a] + self.counts_b[row_b])
        return Pairs(row_a.astype(np.int32), row_b.astype(np.int32), common.astype(np.uint16))

    def _units(self) -> Iterator["_Unit"]:
        blocks = len(self.b) // (self.words * _LANES)
        unit_blocks = max(1, _UNIT_BLOCK_BYTES // (self.words * _LANES * 8))
        for first_row in range(0, self.ranking.rows_a, _UNIT_ROWS):
            end_row = min(first_row + _UNIT_ROWS, self.ranking.rows_a)
            # in the triangle nothing before the first row's own block is wanted
            first_wanted = first_row // _LANES if self.within else 0
            for first_block in range(first_wanted, blocks, unit_blocks):
                yield _Unit(first_row, end_row, first_block, min(first_block + unit_blocks, blocks))


@dataclass(frozen=True, slots=True)
class _Unit:
    first_row: int
    end_row: int
    first_block: int
    end_block: int

    def pairs(self, *, rows_b: int, within: bool) -> int:
        first, end = self.first_block * _LANES, min(self.end_block * _LANES, rows_b)
        if not within:
            return (self.end_row - self.first_row) * (end - first)
        rows = np.arange(self.first_row, self.end_row)
        return int(np.maximum(end - np.maximum(rows + 1, first), 0).sum())


@dataclass(frozen=True, slots=True)
class _Found:
    keys: list[NDArray[np.uint64]]
    compared: int


class _Work:
    """What every unit of one comparison shares."""

    def __init__(self, comparison: Comparison, collector: Collector) -> None:
        from linkage_matching import kernel  # noqa: PLC0415 - numba is loaded by the first comparison, not by import

        self.stop = threading.Event()
        self._scan = kernel.scan
        self._comparison = comparison
        ranking, fraction = comparison.ranking, comparison.threshold
        cut = comparison.sample.best_cut(fraction, words=comparison.words, step=kernel.UNROLL)
        self._setting = np.array(
            [
                comparison.words,
                cut,
                2 * fraction.denominator,
                ranking.square,
                ranking.rows_b,
                int(comparison.within),
                ranking.rows_a,
            ],
            np.int64,
        )
        blocks = comparison.b.reshape(-1, comparison.words, kernel.LANES)
        rows = comparison.a.reshape(-1, comparison.words)
        never, factor = kernel.NEVER, fraction.numerator
        self._columns = (
            _limits(comparison.counts_a, len(rows), factor=factor, never=never),
            _limits(comparison.counts_b, len(blocks) * kernel.LANES, factor=factor, never=never),
            popcounts(rows[:, cut:]),
            np.bitwise_count(blocks[:, cut:]).sum(axis=1, dtype=np.uint64).ravel(),
            collector.floor_a,
            collector.floor_b,
        )

    def compare(self, unit: _Unit) -> _Found:
        comparison = self._comparison
        state = np.array([unit.first_row, unit.end_row, unit.first_block, unit.end_block, unit.first_row, 0], np.int64)
        buffer = np.empty(_KEYS_AT_ONCE, np.uint64)
        keys: list[NDArray[np.uint64]] = []
        while state[4] < unit.end_row and not self.stop.is_set():
            found = self._scan(
                comparison.a,
                comparison.b,
                comparison.counts_a,
                comparison.counts_b,
                *self._columns,
                self._setting,
                state,
                buffer,
            )
            if found:
                keys.append(buffer[:found].copy())
        return _Found(keys, unit.pairs(rows_b=comparison.ranking.rows_b, within=comparison.within))


class _Everything:
    """Keeps every pair, up to a limit."""

    def __init__(self, comparison: Comparison, limit: int) -> None:
        self.floor_a = np.zeros(comparison.ranking.rows_a, np.uint64)
        self.floor_b = np.zeros(comparison.ranking.rows_b, np.uint64)
        self._comparison = comparison
        self._limit = limit
        self._chunks: list[NDArray[np.uint64]] = []
        self._count = 0

    def add(self, keys: NDArray[np.uint64]) -> None:
        self._count += len(keys)
        if self._count > self._limit:
            comparison = self._comparison
            estimate = comparison.sample.estimate(comparison.threshold, total=comparison.total)
            raise comparison.too_many(estimate=max(estimate, self._count), limit=self._limit)
        self._chunks.append(keys)

    def finish(self) -> NDArray[np.uint64]:
        return sorted_keys(self._chunks)


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
        from linkage_matching import kernel  # noqa: PLC0415 - see _Work

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


# The kernel's geometry, repeated here because importing the kernel loads numba; a test holds them equal.
_LANES = 8
_TILE_ROWS = 4
_UNROLL = 2


def _padded(count: int, step: int) -> int:
    return -(-count // step) * step


def _in_rows(encodings: Encodings, words: int) -> NDArray[np.uint64]:
    rows = np.zeros((_padded(len(encodings), _TILE_ROWS), words), np.uint64)
    rows[: len(encodings), : encodings.shape[1]] = encodings
    return rows.reshape(-1)


def _in_blocks(encodings: Encodings, words: int) -> NDArray[np.uint64]:
    count = len(encodings)
    blocks = np.zeros((_padded(count, _LANES) // _LANES, words, _LANES), np.uint64)
    whole = count - count % _LANES
    blocks[: whole // _LANES, : encodings.shape[1]] = (
        encodings[:whole].reshape(-1, _LANES, encodings.shape[1]).transpose(0, 2, 1)
    )
    if count > whole:
        blocks[-1, : encodings.shape[1], : count - whole] = encodings[whole:].T
    return blocks.reshape(-1)


def _limits(counts: NDArray[np.uint64], padded: int, *, factor: int, never: int) -> NDArray[np.uint64]:
    """What each row adds to the limit of its pairs; out of reach for empty encodings and for padding."""
    limits = np.full(padded, never, np.uint64)
    limits[: len(counts)] = np.where(counts > 0, counts * np.uint64(factor), np.uint64(never))
    return limits


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
