"""A comparison cut into units of work that can be done anywhere, in any order, twice, and give the same result.

All that a unit does follows from the unit and the data sets it names. So a result that is stored under the unit's name
stands for the work, whoever did it.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from linkage_matching.blocking import Blocking, blocked_pairs
from linkage_matching.datasets import Dataset
from linkage_matching.encodings import WORD_BITS, Encodings, popcounts
from linkage_matching.errors import MatchingError
from linkage_matching.measure import Measure
from linkage_matching.pairs import Cancelled, Pairs, Progress, best_pairs

TILE_PAIRS = 10**10
"""About how many pairs of rows a unit compares: some seconds of one processor, little enough to lose."""
BLOCKED_TILE_PAIRS = 10**12
"""The same with blocking, which compares less than a hundredth of them, but sorts all rows of the tile."""

# Part of every fingerprint: raised when the same unit of the same data sets gives another result than before.
_RESULT_VERSION = 1
_NAME_DIGITS = 12
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class RowSample:
    """Rows drawn from a data set.

    Attributes:
        count: how many; all of them where there are fewer.
        seed: which draw.
    """

    count: int
    seed: int = 0

    def rows(self, total: int) -> NDArray[np.int64]:
        """The numbers of the rows drawn from `total`, ascending.

        The same on every machine and with every release of NumPy, which keeps the streams of its bit generators
        (NEP 19) but not what it makes of them.
        """
        if self.count >= total:
            return np.arange(total, dtype=np.int64)
        drawn = np.random.PCG64(self.seed).random_raw(total)
        return np.sort(np.argpartition(drawn, self.count)[: self.count]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of work: a tile of the table of all pairs of two data sets, or of one with itself.

    Attributes:
        first: the number of a data set.
        second: the number of the other; None within `first`.
        rows_first: rows of `first` (start, stop), or where there is a sample, places in its list of rows.
        rows_second: rows of `second`, or of `first` again where there is no second. Within a data set, a tile whose
            ranges are equal stands for its upper triangle; ranges that differ do not overlap.
        pairs: how many pairs of rows the tile has.
        threshold: the least similarity of a pair that is kept.
        measure: which similarity.
        budget: how many pairs may be kept before only the best of each row are.
        best_per_row: then a pair is kept if it is among this many best of either of its rows.
        sample: rows of `first` to compare with all of `first`; None for all rows.
        blocking: compare only pairs that share a block of the tile; None for all pairs.
    """

    first: int
    second: int | None
    rows_first: tuple[int, int]
    rows_second: tuple[int, int]
    pairs: int
    threshold: Fraction
    measure: Measure
    budget: int
    best_per_row: int
    sample: RowSample | None = None
    blocking: Blocking | None = None

    @property
    def name(self) -> str:
        """Tells units apart; letters, digits and `-`, and the same for the same unit always."""
        kind = "across" if self.second is not None else "within" if self.sample is None else "sample"
        digest = hashlib.sha256(_canonical(self.document())).hexdigest()[:_NAME_DIGITS]
        sets = [self.first] if self.second is None else [self.first, self.second]
        ranges = [*self.rows_first, *self.rows_second]
        return "-".join([kind, *map(str, sets), "rows", *map(str, ranges), digest])

    def document(self) -> dict[str, Any]:
        """The unit as JSON values."""
        return {
            "first": self.first,
            "second": self.second,
            "rows_first": list(self.rows_first),
            "rows_second": list(self.rows_second),
            "pairs": self.pairs,
            "threshold": str(self.threshold),
            "measure": self.measure.value,
            "budget": self.budget,
            "best_per_row": self.best_per_row,
            "sample": None if self.sample is None else asdict(self.sample),
            "blocking": None if self.blocking is None else asdict(self.blocking),
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The unit of a document that `document` made."""
        sample, blocking = document["sample"], document["blocking"]
        return cls(
            first=document["first"],
            second=document["second"],
            rows_first=(document["rows_first"][0], document["rows_first"][1]),
            rows_second=(document["rows_second"][0], document["rows_second"][1]),
            pairs=document["pairs"],
            threshold=Fraction(document["threshold"]),
            measure=Measure(document["measure"]),
            budget=document["budget"],
            best_per_row=document["best_per_row"],
            sample=None if sample is None else RowSample(**sample),
            blocking=None if blocking is None else Blocking(**blocking),
        )

    def fingerprint(self, datasets: Sequence[Dataset]) -> str:
        """SHA-256, hex, of all that determines the result: the unit, the data, the version of the engine's rules."""
        sets = [self.first] if self.second is None else [self.first, self.second]
        everything = {
            "version": _RESULT_VERSION,
            "unit": self.document(),
            "datasets": [datasets[number].identity for number in sets],
        }
        return hashlib.sha256(_canonical(everything)).hexdigest()


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What a unit found.

    Attributes:
        pairs: with the row numbers of the data sets, in order of similarity (highest first), then row_a, then row_b.
            Within a data set row_a < row_b.
        compared: how many pairs of rows were compared.
        bounded: more pairs reached the threshold than the unit's budget, and only the best of each row are here.
    """

    pairs: Pairs
    compared: int
    bounded: bool


def plan_units(
    datasets: Sequence[Dataset],
    *,
    first: int,
    second: int | None = None,
    threshold: Fraction,
    budget: int,
    best_per_row: int,
    measure: Measure = Measure.DICE,
    sample: RowSample | None = None,
    blocking: Blocking | None = None,
    tile_pairs: int | None = None,
) -> list[Unit]:
    """The units that compare two data sets, or one with itself.

    The plan depends on the arguments alone. Together the units give what one comparison would; `Gathering` puts their
    results together.

    Arguments:
        datasets: all data sets of the run.
        first: the number of one.
        second: the number of the other, or None to compare `first` with itself.
        threshold: the least similarity of a pair that is kept, in 0..1.
        budget: how many pairs may be kept of the whole comparison before only the best of each row are.
        best_per_row: then a pair is kept if it is among this many best of either of its rows.
        measure: which similarity.
        sample: compare only these rows of `first` with all of `first`. Every pair with at least one of them is
            compared once.
        blocking: compare only pairs that share a block. Blocks are made in each tile, so that, unlike all else, the
            tile size has a part in which of the pairs are found that may be lost.
        tile_pairs: about how many pairs a unit compares; by default `TILE_PAIRS`, or `BLOCKED_TILE_PAIRS`.

    Raises:
        MatchingError: there is no such data set, or a sample was asked for across two.
    """
    if first not in range(len(datasets)) or (second is not None and second not in range(len(datasets))):
        raise MatchingError(f"Units name data sets by their numbers, and there are {len(datasets)}, numbered from 0.")
    if second == first:
        raise MatchingError("A data set is compared with itself by leaving out the second.")
    if sample is not None and second is not None:
        raise MatchingError("Sampled rows are compared within one data set; leave out the second.")
    if tile_pairs is None:
        tile_pairs = TILE_PAIRS if blocking is None else BLOCKED_TILE_PAIRS
    rows = datasets[first].rows
    if sample is not None and sample.count >= rows:
        sample = None
    if second is not None:
        tiles = _rectangle(rows, datasets[second].rows, tile_pairs)
    elif sample is not None:
        tiles = _sampled(sample.rows(rows), rows, tile_pairs)
    else:
        tiles = _triangle(rows, tile_pairs)
    return [
        Unit(
            first=first,
            second=second,
            rows_first=rows_first,
            rows_second=rows_second,
            pairs=pairs,
            threshold=threshold,
            measure=measure,
            budget=budget,
            best_per_row=best_per_row,
            sample=sample,
            blocking=blocking,
        )
        for rows_first, rows_second, pairs in tiles
        if pairs
    ]


def run_unit(
    unit: Unit,
    datasets: Sequence[Dataset] | Mapping[int, Dataset],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> UnitResult:
    """Do the work of one unit.

    Arguments:
        unit: what to do.
        datasets: the data sets of the run by their numbers, or those of the unit; only its rows are read.
        threads: how many threads compare; the result does not depend on it.
        progress: called with the pairs compared so far and the unit's pairs, some milliseconds apart.
        cancelled: asked as often.

    Raises:
        MatchingError: the data cannot be read or compared.
        MatchingCancelled: `cancelled` answered True.
    """
    parts = list(_parts(unit, datasets))
    found = []
    done = 0
    for part in parts:
        found.append(_compare(unit, part, threads=threads, progress=_onward(progress, done, unit), cancelled=cancelled))
        done += part.pairs
    if unit.sample is not None:
        return _joined(unit, parts, found)
    (part,), (result,) = parts, found
    return replace(result, pairs=_placed(result.pairs, part))


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows to compare, and which rows of the data sets they are."""

    a: Encodings
    b: Encodings | None
    numbers_a: NDArray[np.int64] | int
    numbers_b: NDArray[np.int64] | int

    @property
    def pairs(self) -> int:
        return math.comb(len(self.a), 2) if self.b is None else len(self.a) * len(self.b)


_Tile = tuple[tuple[int, int], tuple[int, int], int]


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _cut(rows: int, size: int) -> list[tuple[int, int]]:
    """Ranges of about equal lengths, none longer than `size`."""
    count = max(1, -(-rows // max(1, size)))
    edges = [rows * place // count for place in range(count + 1)]
    return list(itertools.pairwise(edges))


def _rectangle(rows_a: int, rows_b: int, tile_pairs: int) -> Iterator[_Tile]:
    """Tiles as square as the data sets allow: a square reads the fewest rows for its pairs."""
    side = max(1, math.isqrt(tile_pairs))
    size_a = side if rows_b >= side else tile_pairs // max(1, rows_b)
    for range_a in _cut(rows_a, size_a):
        length = range_a[1] - range_a[0]
        for range_b in _cut(rows_b, tile_pairs // max(1, length)):
            yield range_a, range_b, length * (range_b[1] - range_b[0])


def _triangle(rows: int, tile_pairs: int) -> Iterator[_Tile]:
    if math.comb(rows, 2) <= tile_pairs:
        yield (0, rows), (0, rows), math.comb(rows, 2)
        return
    ranges = _cut(rows, max(1, math.isqrt(tile_pairs)))
    for place, upper in enumerate(ranges):
        length = upper[1] - upper[0]
        yield upper, upper, math.comb(length, 2)
        for right in ranges[place + 1 :]:
            yield upper, right, length * (right[1] - right[0])


def _sampled(drawn: NDArray[np.int64], rows: int, tile_pairs: int) -> Iterator[_Tile]:
    """The drawn rows against ranges of all rows; pairs of two drawn rows belong to the first range."""
    for start, stop in _cut(rows, tile_pairs // max(1, len(drawn))):
        others = (stop - start) - int(np.searchsorted(drawn, stop) - np.searchsorted(drawn, start))
        among_themselves = math.comb(len(drawn), 2) if start == 0 else 0
        yield (0, len(drawn)), (start, stop), len(drawn) * others + among_themselves


def _parts(unit: Unit, datasets: Sequence[Dataset] | Mapping[int, Dataset]) -> Iterator[_Part]:
    first = datasets[unit.first]
    if unit.sample is not None:
        yield from _sample_parts(unit, unit.sample, first)
        return
    a = first.read(*unit.rows_first)
    if unit.second is None and unit.rows_first == unit.rows_second:
        yield _Part(a, None, unit.rows_first[0], unit.rows_first[0])
        return
    second = first if unit.second is None else datasets[unit.second]
    yield _Part(a, second.read(*unit.rows_second), unit.rows_first[0], unit.rows_second[0])


def _sample_parts(unit: Unit, sample: RowSample, dataset: Dataset) -> Iterator[_Part]:
    drawn = sample.rows(dataset.rows)[slice(*unit.rows_first)]
    a = _gathered(dataset, drawn)
    start, stop = unit.rows_second
    if start == 0:
        yield _Part(a, None, drawn, drawn)
    others = np.setdiff1d(np.arange(start, stop, dtype=np.int64), drawn, assume_unique=True)
    yield _Part(a, dataset.read(start, stop)[others - start], drawn, others)


def _gathered(dataset: Dataset, rows: NDArray[np.int64]) -> Encodings:
    """Some rows, read in ranges so that never all of a large data set is in memory."""
    pieces = [dataset.read(0, 0)]
    for start in range(0, dataset.rows, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, dataset.rows)
        wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]
        if len(wanted):
            pieces.append(dataset.read(start, stop)[wanted - start])
    return np.concatenate(pieces)


def _compare(
    unit: Unit, part: _Part, *, threads: int | None, progress: Progress | None, cancelled: Cancelled | None
) -> UnitResult:
    """The pairs of a part, by their places in it."""
    if unit.blocking is not None:
        blocked = blocked_pairs(
            part.a,
            part.b,
            threshold=unit.threshold,
            blocking=unit.blocking,
            measure=unit.measure,
            budget=unit.budget,
            best_per_row=unit.best_per_row,
            threads=threads,
            progress=progress,
            cancelled=cancelled,
        )
        return UnitResult(blocked.pairs, blocked.compared, blocked.bounded)
    pairs, bounded = best_pairs(
        part.a,
        part.b,
        threshold=unit.threshold,
        measure=unit.measure,
        budget=unit.budget,
        best_per_row=unit.best_per_row,
        threads=threads,
        progress=progress,
        cancelled=cancelled,
    )
    return UnitResult(pairs, part.pairs, bounded)


def _onward(progress: Progress | None, done: int, unit: Unit) -> Progress | None:
    if progress is None:
        return None
    return lambda here, _: progress(done + here, unit.pairs)


def _placed(pairs: Pairs, part: _Part) -> Pairs:
    """The pairs with the row numbers of the data sets, the lower one first within a data set."""
    return Pairs(_numbers(part.numbers_a, pairs.row_a), _numbers(part.numbers_b, pairs.row_b), pairs.common)


def _numbers(numbers: NDArray[np.int64] | int, places: NDArray[np.int32]) -> NDArray[np.int32]:
    if isinstance(numbers, int):
        return places + np.int32(numbers)
    return numbers[places].astype(np.int32)


def _joined(unit: Unit, parts: Sequence[_Part], found: Sequence[UnitResult]) -> UnitResult:
    """What the parts of a sample's tile found, as one result."""
    placed = []
    similarity = []
    for part, result in zip(parts, found, strict=True):
        pairs = result.pairs
        counts_a = popcounts(part.a)
        counts_b = counts_a if part.b is None else popcounts(part.b)
        bits = part.a.shape[1] * WORD_BITS
        similarity.append(_similarity(pairs, counts_a, counts_b, bits=bits, measure=unit.measure))
        numbers = _placed(pairs, part)
        lower, upper = np.minimum(numbers.row_a, numbers.row_b), np.maximum(numbers.row_a, numbers.row_b)
        placed.append(Pairs(lower, upper, pairs.common))
    together = Pairs.joined(placed).ordered(np.concatenate(similarity))
    bounded = any(result.bounded for result in found) or len(together) > unit.budget
    if bounded:
        together = together.taken(_among_best(together, offset=0, best=unit.best_per_row))
    return UnitResult(together, sum(result.compared for result in found), bounded)


class Gathering:
    """Puts the results of a comparison's units together: what one unit for all of it would give.

    The order in which results come does not matter. Where there are more pairs than the budget, those are kept that
    are among the best of either of their rows; a pair that is not among them in its tile is not among them in all.
    """

    def __init__(
        self,
        *,
        counts_a: NDArray[Any],
        counts_b: NDArray[Any] | None,
        bits: int,
        measure: Measure,
        budget: int,
        best_per_row: int,
    ) -> None:
        """Gather one comparison.

        Arguments:
            counts_a: how many bits are set in each row of the first data set.
            counts_b: the same of the second, or None within one.
            bits: the length of the encodings.
            measure: which similarity gives the order.
            budget: as the units were planned.
            best_per_row: as the units were planned.
        """
        self._counts_a = counts_a
        self._counts_b = counts_a if counts_b is None else counts_b
        self._offset = 0 if counts_b is None else len(counts_a)
        self._bits = bits
        self._measure = measure
        self._budget = budget
        self._best = best_per_row
        self._room = budget
        self._chunks: list[Pairs] = []
        self._count = 0
        self._bounded = False
        self.compared = 0

    def add(self, result: UnitResult) -> None:
        """Take the result of one unit; of each unit once."""
        self._chunks.append(result.pairs)
        self._count += len(result.pairs)
        self._bounded |= result.bounded
        self.compared += result.compared
        if self._count > self._room:
            self._bounded = True
            self._keep_best()
            # at least half of what is sorted is new, so that the sorting stays in proportion to the pairs found
            self._room = max(self._budget, 2 * self._count)

    def finish(self) -> tuple[Pairs, bool]:
        """The pairs of the whole comparison, in order, and whether there were more than the budget. Ask once."""
        if self._bounded:
            self._keep_best()
            return self._chunks[0], True
        return self._sorted(), False

    def _keep_best(self) -> None:
        pairs = self._sorted()
        pairs = pairs.taken(_among_best(pairs, offset=self._offset, best=self._best))
        self._chunks = [pairs]
        self._count = len(pairs)

    def _sorted(self) -> Pairs:
        pairs, in_order = Pairs.joined(self._chunks), len(self._chunks) <= 1
        # not held beside what is sorted: this is the most memory of a large run
        self._chunks = []
        if in_order:
            return pairs
        return pairs.ordered(_similarity(pairs, self._counts_a, self._counts_b, bits=self._bits, measure=self._measure))


def _similarity(
    pairs: Pairs, counts_a: NDArray[Any], counts_b: NDArray[Any], *, bits: int, measure: Measure
) -> NDArray[np.float64]:
    """Similarities that order pairs as exact fractions would.

    Different similarities differ by far more than the rounding of a division, and equal ones are rounded equally:
    2c/s and 2d/t are one fraction, and division is correctly rounded.
    """
    bit_sums = counts_a[pairs.row_a].astype(np.uint64) + counts_b[pairs.row_b].astype(np.uint64)
    return measure.similarity(pairs.common.astype(np.uint64), bit_sums, bits=bits)


def _among_best(pairs: Pairs, *, offset: int, best: int) -> NDArray[np.bool_]:
    """Which of some pairs in order are among the best of either row; rows of the second data set start at `offset`."""
    rows = np.stack([pairs.row_a.astype(np.int64), pairs.row_b.astype(np.int64) + offset], axis=1).ravel()
    order = np.argsort(rows, kind="stable")
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return np.logical_or(places[::2] < best, places[1::2] < best)
