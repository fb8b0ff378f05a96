"""Candidate pairs without comparing all pairs, for data sets too large for that: only rows that share sampled bits.

Hamming-LSH (Indyk and Motwani 1998, on sampled bits): in each of several tables, rows with the same values at a few
drawn bits form a block, and only pairs within a block are compared, exactly as without blocking. A pair whose
encodings differ little shares a block in some table almost surely. What is lost is lost silently, so it is off unless
asked for, and the loss is bounded beforehand. It discloses nothing beyond the encodings.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from linkage_matching.comparison import processors
from linkage_matching.encodings import WORD_BITS, Encodings, check_encodings, popcounts
from linkage_matching.errors import InvalidEncodings, MatchingCancelled, MatchingError
from linkage_matching.measure import Measure
from linkage_matching.results import Cancelled, Pairs, Progress
from linkage_matching.threshold import check_threshold, kernel_fraction

DEFAULT_BUDGET = 100_000_000
DEFAULT_BEST_PER_ROW = 32
LARGEST_BLOCK = 1 << 24
"""How many pairs of one block are compared: a third of a second's work. Larger blocks are split, or cut short."""

_MOST_TABLES = 64
_MOST_BITS = 48
# A block that is too large is split by this many further bits.
_FURTHER_BITS = 16
_NEARLY_CONSTANT = 0.1
_SAMPLE_ROWS = 20_000
_SEED = 1
_PAIRS_AT_ONCE = 1 << 24
_DRAWS = 4_000


@dataclass(frozen=True, slots=True)
class Blocking:
    """How to block, and what it promises.

    Of 120,000 matches between two invented files of 400,000 people, 20 tables of 16 bits kept 96.7 % with 0.58 % of the
    comparisons, 40 of 20 bits 96.6 % with 0.16 %. Either took 11 s of one processor, where all pairs take some 180 s: a
    comparison in a block costs more than one of the plain kernel, and rows are sorted for each table. The gain grows
    with the number of rows. Above some hundred thousand rows take 20 bits and more, or blocks grow too large
    (`LARGEST_BLOCK`).

    Attributes:
        tables: how many times rows are put into blocks, 1 to 64.
        bits: how many bits rows of one block share, 1 to 48. Two more make each block about a third as large.
        distance: above 0 and below 1, the part of bits in which the encodings of a match may differ for the promise
            to hold. Encodings of which a share f of bits is set and whose Dice similarity is d differ in 2f(1 - d).
    """

    tables: int = 40
    bits: int = 20
    distance: float = 0.1

    def __post_init__(self) -> None:
        if not (1 <= self.tables <= _MOST_TABLES and 1 <= self.bits <= _MOST_BITS and 0 < self.distance < 1):
            raise MatchingError(
                f"Blocking takes 1 to {_MOST_TABLES} tables of 1 to {_MOST_BITS} bits, and a distance between 0 and 1."
            )

    @property
    def kept_at_least(self) -> float:
        """The share of matches at `distance` that share a block: 1 - (1 - (1 - h)^b)^T, at a smaller one more do.

        It holds where the bits that differ are spread evenly over the encoding. Those of one changed field are, for
        hashed encodings; bits that hardly any row has or lacks are never drawn, and may make the distance on the
        others larger.
        """
        return float(1 - (1 - (1 - self.distance) ** self.bits) ** self.tables)


@dataclass(frozen=True, slots=True)
class Tables:
    """The bits drawn.

    Attributes:
        positions: int64[tables, bits + 16], bit numbers; bit p is bit p % 64 of word p // 64. The last 16 of a table
            only split blocks that are too large.
        usable: how many bits there were to draw from.
        blocking: what was asked for.
    """

    positions: NDArray[np.int64]
    usable: int
    blocking: Blocking

    def kept(self, distance: float) -> float:
        """The share of pairs that share a block, by trial, if a random part `distance` of the usable bits differs.

        It is computed on the bits drawn, so that tables that have bits in common are seen for what they are.
        """
        rng = np.random.default_rng(_SEED)
        different = round(distance * self.usable)
        keyed = self.positions[:, : self.blocking.bits]
        known, numbers = np.unique(keyed, return_inverse=True)
        numbers = numbers.reshape(keyed.shape)
        kept = 0
        for _ in range(_DRAWS):
            differs = np.zeros(self.usable, np.bool_)
            differs[rng.choice(self.usable, different, replace=False)] = True
            kept += bool((~differs[: len(known)][numbers].any(axis=1)).any())
        return kept / _DRAWS


@dataclass(frozen=True, slots=True)
class Blocked:
    """What a blocked comparison gives.

    Attributes:
        pairs: candidate pairs, each once, in the order of every comparison.
        compared: how many comparisons were made, those repeated in another table included.
        bounded: whether blocks were cut short, or pairs beyond the budget left out.
    """

    pairs: Pairs
    compared: int
    bounded: bool


def draw_tables(a: Encodings, b: Encodings | None, *, blocking: Blocking) -> Tables:
    """Draw bits for each table from those that vary, by a sample of both data sets. Equal input gives equal bits.

    Tables have as few bits in common as the encodings allow, and a table has none twice.

    Raises:
        InvalidEncodings: fewer bits vary than a table needs.
    """
    filled = _filled(a) if b is None else (_filled(a) + _filled(b)) / 2
    usable = np.flatnonzero((filled >= _NEARLY_CONSTANT) & (filled <= 1 - _NEARLY_CONSTANT))
    wanted = blocking.bits + _FURTHER_BITS
    if len(usable) < wanted:
        raise InvalidEncodings(
            f"Only {len(usable)} bits of these encodings vary enough to tell records apart, and blocking needs "
            f"{wanted}. Compare without blocking, or use a linkage schema that sets more bits."
        )
    rng = np.random.default_rng(_SEED)
    rows = []
    left = rng.permutation(usable)
    for _ in range(blocking.tables):
        if len(left) < blocking.bits:
            left = np.concatenate([left, rng.permutation(np.setdiff1d(usable, left))])
        keyed, left = left[: blocking.bits], left[blocking.bits :]
        further = rng.choice(np.setdiff1d(usable, keyed), _FURTHER_BITS, replace=False)
        rows.append(np.concatenate([keyed, further]))
    return Tables(np.stack(rows).astype(np.int64), len(usable), blocking)


def _filled(encodings: Encodings) -> NDArray[np.float64]:
    """In which part of the rows each bit is set, by a sample."""
    bits = encodings.shape[1] * WORD_BITS
    if not len(encodings):
        return np.full(bits, 0.5)
    step = -(-len(encodings) // _SAMPLE_ROWS)
    sample = np.ascontiguousarray(encodings[::step], "<u8").view(np.uint8)
    filled: NDArray[np.float64] = np.unpackbits(sample, axis=1, bitorder="little").mean(axis=0)
    return filled


def blocked_pairs(
    a: Encodings,
    b: Encodings | None = None,
    *,
    threshold: Fraction,
    blocking: Blocking,
    measure: Measure = Measure.DICE,
    budget: int = DEFAULT_BUDGET,
    best_per_row: int = DEFAULT_BEST_PER_ROW,
    largest_block: int = LARGEST_BLOCK,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    threads: int | None = None,
) -> Blocked:
    """Every pair that reaches the threshold and shares a block; without `b`, of rows of `a` with row_a < row_b.

    Memory is bounded by the encodings, twelve bytes a row and thread, and `budget`. The pairs depend on the input
    alone, not on threads or timing.

    Arguments:
        a: `(n, bits / 64)` of uint64.
        b: the other data set, of the same width.
        threshold: in 0..1, decided in integers.
        blocking: how many tables of how many bits.
        measure: which similarity.
        budget: how many pairs there may be before only the best of each row are kept.
        best_per_row: then a pair is kept if it is among this many best of either of its rows.
        largest_block: how many pairs of one block are compared. A larger one is split by 16 further bits; if that does
            not help, each of its rows is compared with as many of the others as fit, and pairs may be missed.
        progress: called after each table, with its share of all pairs of rows, and all pairs.
        cancelled: asked every some ten million pairs.
        threads: how many threads compare; by default one for each processor this process may use.

    Raises:
        InvalidEncodings, InvalidThreshold: the input cannot be compared, or not be blocked.
        MatchingCancelled: `cancelled` answered True.
    """
    run = _Run.of(a, b, threshold=threshold, blocking=blocking, measure=measure, largest_block=largest_block)
    collected = _Collected(run, budget=budget, best=best_per_row)
    workers = threads or processors()
    total = len(a) * (len(a) - 1) // 2 if b is None else len(a) * len(b)
    compared = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="blocking") as pool:
        for table in range(blocking.tables):
            for found, count in run.table(table, pool, workers=workers, cancelled=cancelled):
                collected.add(found)
                compared += count
            if progress is not None:
                progress(total * (table + 1) // blocking.tables, total)
    return Blocked(collected.finish(), compared, bounded=run.cut_short or collected.bounded)


class _Run:
    """One blocked comparison: the data sets as they are, and what each pair has to reach."""

    def __init__(
        self, a: Encodings, b: Encodings | None, *, limits: "_Limits", tables: Tables, largest_block: int
    ) -> None:
        self.a = _read_only(a)
        self.b = self.a if b is None else _read_only(b)
        self.limits = limits
        self.cut_short = False
        self._within = b is None
        self._tables = tables
        self._largest_block = largest_block
        self._torn = np.zeros(len(a), np.uint64)
        self._masks = _masks(tables, words=a.shape[1])

    @classmethod
    def of(
        cls,
        a: Encodings,
        b: Encodings | None,
        *,
        threshold: Fraction,
        blocking: Blocking,
        measure: Measure,
        largest_block: int,
    ) -> "_Run":
        for encodings in (a, b) if b is not None else (a,):
            check_encodings(encodings)
        if b is not None and a.shape[1] != b.shape[1]:
            raise InvalidEncodings(
                f"Encodings of {a.shape[1] * WORD_BITS} and {b.shape[1] * WORD_BITS} bits cannot be compared. "
                "Encode both data sets with one linkage schema."
            )
        check_threshold(threshold)
        limits = _Limits.of(a, b, threshold=threshold, measure=measure)
        return cls(a, b, limits=limits, tables=draw_tables(a, b, blocking=blocking), largest_block=largest_block)

    def table(
        self, table: int, pool: ThreadPoolExecutor, *, workers: int, cancelled: Cancelled | None
    ) -> Iterator[tuple[Pairs, int]]:
        """Pairs of one table, in no order, that no earlier table gave, and how many were compared for them."""
        compare, blocks, sizes = self._prepared(table)
        ends = np.searchsorted(np.cumsum(sizes), np.arange(_PAIRS_AT_ONCE, sizes.sum(), _PAIRS_AT_ONCE)) + 1
        parts = np.split(np.arange(len(blocks)), np.unique(ends))
        for first in range(0, len(parts), workers):
            if cancelled is not None and cancelled():
                raise MatchingCancelled
            together = parts[first : first + workers]
            for part, found in zip(together, pool.map(compare, [blocks[part] for part in together]), strict=True):
                yield found, int(sizes[part].sum())

    def _prepared(
        self, table: int
    ) -> tuple[Callable[[NDArray[np.int64]], Pairs], NDArray[np.int64], NDArray[np.int64]]:
        from linkage_matching import blocking_kernel  # noqa: PLC0415 - numba is loaded when it is needed, not by import

        positions = self._tables.positions[table]
        keys_a, order_a = _sorted_keys(self.a, positions)
        keys_b, order_b = (keys_a, order_a) if self._within else _sorted_keys(self.b, positions)
        blocks, sizes = self._blocks(keys_a, keys_b, order_a, table=table)
        setting = np.array([self.limits.scale, table, int(self._within)], np.int64)

        def compare(part: NDArray[np.int64]) -> Pairs:
            return Pairs(
                *blocking_kernel.compare_blocks(
                    self.a,
                    self.b,
                    self.limits.a,
                    self.limits.b,
                    order_a,
                    order_b,
                    self._torn,
                    part,
                    self._masks,
                    setting,
                )
            )

        return compare, blocks, sizes

    def _blocks(
        self, keys_a: NDArray[np.uint64], keys_b: NDArray[np.uint64], order_a: NDArray[np.int64], *, table: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Blocks as the kernel takes them, and how many pairs of each are compared."""
        from linkage_matching import blocking_kernel  # noqa: PLC0415 - as above

        shift = np.uint64(_FURTHER_BITS)
        runs = blocking_kernel.common_runs(keys_a >> shift, keys_b >> shift)
        large = self._pairs(runs) > self._largest_block
        parts = [runs[~large]]
        for first_a, end_a, first_b, end_b in runs[large].tolist():
            self.cut_short = True
            self._torn[order_a[first_a:end_a]] |= np.uint64(1 << table)
            finer = blocking_kernel.common_runs(keys_a[first_a:end_a], keys_b[first_b:end_b])
            parts.append(finer + np.array([first_a, first_a, first_b, first_b]))
        whole = np.concatenate(parts)
        rows, others = whole[:, 1] - whole[:, 0], whole[:, 3] - whole[:, 2]
        width = others - 1 if self._within else others
        width = np.minimum(width, np.maximum(self._largest_block // rows, 1))
        wanted = width > 0
        sizes = rows * width - (width * (width + 1) // 2 if self._within else 0)
        return np.column_stack([whole, width])[wanted], sizes[wanted]

    def _pairs(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        rows, others = runs[:, 1] - runs[:, 0], runs[:, 3] - runs[:, 2]
        pairs: NDArray[np.int64] = rows * (rows - 1) // 2 if self._within else rows * others
        return pairs


def _read_only(encodings: Encodings) -> Encodings:
    """The same rows as numba's one type of array: what is memory-mapped is read-only, and would be compiled anew."""
    view = np.ascontiguousarray(encodings).view()
    view.flags.writeable = False
    return view


def _sorted_keys(encodings: Encodings, positions: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    from linkage_matching import blocking_kernel  # noqa: PLC0415 - as above

    keys = blocking_kernel.block_keys(encodings, positions)
    order = np.argsort(keys, kind="stable")
    return keys[order], order


def _masks(tables: Tables, *, words: int) -> NDArray[np.uint64]:
    masks = np.zeros((len(tables.positions), words), np.uint64)
    for table, positions in enumerate(tables.positions[:, : tables.blocking.bits]):
        word, bit = np.divmod(positions, WORD_BITS)
        np.bitwise_or.at(masks[table], word, np.uint64(1) << bit.astype(np.uint64))
    return masks


@dataclass(frozen=True, slots=True)
class _Limits:
    """A pair reaches the threshold when `scale` times its common bits is at least the sum of what both rows add."""

    counts_a: NDArray[np.uint64]
    counts_b: NDArray[np.uint64]
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    scale: int
    measure: Measure
    bits: int

    @classmethod
    def of(cls, a: Encodings, b: Encodings | None, *, threshold: Fraction, measure: Measure) -> "_Limits":
        bits = a.shape[1] * WORD_BITS
        exact = kernel_fraction(threshold, bits=bits, measure=measure)
        counts_a = popcounts(a)
        counts_b = counts_a if b is None else popcounts(b)
        # what a pair has to reach is linear in its popcounts, see `Measure.reaches`
        if measure is Measure.DICE:
            factor, constant = exact.numerator, 0
        else:
            factor, constant = exact.denominator, bits * (exact.numerator - exact.denominator)
        never = np.int64(1 << 61)
        limit_a, limit_b = (
            np.where(counts > 0, factor * counts.astype(np.int64) + part, never)
            for counts, part in ((counts_a, constant), (counts_b, 0))
        )
        return cls(counts_a, counts_b, limit_a, limit_b, 2 * exact.denominator, measure, bits)

    def similarity(self, pairs: Pairs) -> NDArray[np.float64]:
        """Exact enough to order by: two different similarities differ by far more than a float's last digit."""
        bit_sums = self.counts_a[pairs.row_a] + self.counts_b[pairs.row_b]
        return self.measure.similarity(pairs.common.astype(np.uint64), bit_sums, bits=self.bits)


class _Collected:
    """Keeps every pair up to a budget; beyond it, those among the best of either of their rows.

    What is kept does not depend on the order in which pairs come: a pair outside the best of both its rows, among
    those seen so far, is outside them among all.
    """

    def __init__(self, run: _Run, *, budget: int, best: int) -> None:
        self.bounded = False
        self._run = run
        self._budget = budget
        self._best = best
        self._parts: list[Pairs] = []
        self._count = 0
        self._room = budget

    def add(self, pairs: Pairs) -> None:
        if not len(pairs):
            return
        self._parts.append(pairs)
        self._count += len(pairs)
        if self._count > self._room:
            kept = self._ordered()
            if len(kept) > self._budget or self.bounded:
                self.bounded = True
                kept = self._among_best(kept)
            self._parts, self._count = [kept], len(kept)
            # so that sorting does not become the work where the best alone exceed the budget
            self._room = max(self._budget, 2 * self._count)

    def finish(self) -> Pairs:
        pairs = self._ordered()
        if len(pairs) > self._budget or self.bounded:
            self.bounded = True
            pairs = self._among_best(pairs)
        return pairs

    def _ordered(self) -> Pairs:
        """By similarity, row_a and row_b, each pair once: pairs of blocks that were split may come twice."""
        pairs = Pairs.joined(self._parts)
        pairs = pairs.ordered(self._run.limits.similarity(pairs))
        again = (pairs.row_a[1:] == pairs.row_a[:-1]) & (pairs.row_b[1:] == pairs.row_b[:-1])
        return pairs.taken(~np.append(np.zeros(min(len(pairs), 1), np.bool_), again))

    def _among_best(self, pairs: Pairs) -> Pairs:
        from linkage_matching import blocking_kernel  # noqa: PLC0415 - as above

        rows = np.array([len(self._run.a), len(self._run.b)])
        return pairs.taken(blocking_kernel.among_best(pairs.row_a, pairs.row_b, self._best, rows))
