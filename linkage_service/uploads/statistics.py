"""What can be said of encodings without what they encode. One reading of their bits, and none of them is kept.

Fill and column rates tell kinds of encodings apart (`profiles.py`). Rows that are equal, and rows within a few bits of
one another, tell a register of people from variants of one person, as somebody makes who probes.

Equal rows are found by a universal hash with random coefficients (Dietzfelbinger 1996), near ones by bit sampling
(Indyk and Motwani 1998): rows that agree in forty bits drawn at random are nearly always near, whatever else the
encodings are. Both cost time in proportion to the rows. Memory is bounded: of more than `SAMPLED_ROWS` rows a random
share is looked at for equal and near ones; all count for fill and columns. Hardened encodings move near rows too far
apart for that, so every pair of a sample of fixed size is compared as well.
"""

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLED_ROWS: Final = 1_000_000
NEAR: Final = 0.12
"""Rows are near if they differ in less than this share of the bits in which unrelated rows of this fill differ."""
SAMPLE_ROWS: Final = 2048
"""Rows of which every pair is compared, for near ones of profiles that move near rows far apart."""
NEAR_IN_SAMPLE: Final = 0.65
"""As `NEAR`, for these: a letter moves a hardened encoding 0.55 of the way to an unrelated one, another town more."""
COUNTED_UP_TO: Final = 1000
_TABLES, _SAMPLED_BITS = 3, 40
_CANDIDATES, _CENTRES_OF_BUCKET = 8, 2
_LEAST_BUCKET = 4
_BATCH_BYTES = 1 << 19
_HALF_BATCH = 255
_CLUSTER_ROWS = 512
_BITS_OF_BYTE = 8
_ONES = np.uint64(0x0101010101010101)

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the bits of an upload say.

    Attributes:
        rows: how many.
        fill: mean share of set bits, 0..1.
        popcount_spread: standard deviation of the share of set bits of a row.
        column_spread: standard deviation, over columns, of the share of rows that have the bit.
        empty: share of rows without any set bit.
        full: share of rows with every bit set.
        repeated: share of rows that are equal to another.
        repeats: rows that are equal to the most frequent one, itself among them; an estimate where rows were sampled.
        burst: different rows near to one row, itself among them, of the densest place that was found.
        cluster: rows of a sample of 2,048 that are somewhat like one of them, at most.
    """

    rows: int
    fill: float
    popcount_spread: float
    column_spread: float
    empty: float
    full: float
    repeated: float
    repeats: int
    burst: int
    cluster: int


def measure(
    read: Callable[[], Iterable[bytes]], *, rows: int, bits: int, each: Callable[[Words], None] | None = None
) -> Statistics:
    """Measures an upload.

    Args:
        read: gives its bytes from the start, in pieces of any length. Called once for nearly every register, and up to
            three times where some rows seem to lie dense.
        rows: how many it has.
        bits: of an encoding; a multiple of 64.
        each: shown the rows of the first reading too, some thousand at a time.
    """
    measuring = _Measuring(rows=rows, bits=bits)
    for batch in word_batches(read(), bits=bits):
        measuring.add(batch)
        if each is not None:
            each(batch)
    burst = 1
    if numbers := measuring.dense_rows():
        centres = _rows_at(word_batches(read(), bits=bits), numbers)
        burst = _most_near(word_batches(read(), bits=bits), centres, within=measuring.near_bits(NEAR))
    return measuring.result(burst=burst)


def word_batches(pieces: Iterable[bytes], *, bits: int) -> Iterator[Words]:
    """Rows as words, some thousand at a time; a piece may end inside a row."""
    row_bytes = bits // 8
    step = max(_BATCH_BYTES // row_bytes, 1)
    rest = b""
    for piece in pieces:
        whole = rest + piece if rest else piece
        usable = len(whole) - len(whole) % row_bytes
        rest = whole[usable:]
        rows = np.frombuffer(whole[:usable], np.uint64).reshape(-1, bits // 64)
        for start in range(0, len(rows), step):
            yield rows[start : start + step]


class _Measuring:
    """What has been seen of an upload so far."""

    def __init__(self, *, rows: int, bits: int) -> None:
        self._bits = bits
        generator = np.random.Generator(np.random.PCG64DXSM(secrets.randbits(128)))
        self._generator = generator
        self._share = min(1.0, SAMPLED_ROWS / rows)
        self._coefficients = generator.integers(0, 2**64, (2, bits // 32), np.uint64, endpoint=False)
        self._places = [np.sort(generator.choice(bits, _SAMPLED_BITS, replace=False)) for _ in range(_TABLES)]
        self._columns = np.zeros(bits, np.int64)
        self._seen = self._set = self._squares = self._empty = self._full = 0
        self._sample_share = min(1.0, SAMPLE_ROWS / rows)
        self._sample: list[Words] = []
        self._numbers: list[Integers] = []
        self._digests: list[Words] = []
        self._keys: list[list[Words]] = [[] for _ in range(_TABLES)]

    def add(self, batch: Words) -> None:
        """Takes the next rows."""
        counts = np.bitwise_count(batch).sum(axis=1, dtype=np.int64)
        kept = np.arange(len(batch))
        if self._share < 1:
            kept = np.flatnonzero(self._generator.random(len(batch)) < self._share)
        self._numbers.append(self._seen + kept)
        self._seen += len(batch)
        self._set += int(counts.sum())
        self._squares += int((counts * counts).sum())
        self._empty += int(np.count_nonzero(counts == 0))
        self._full += int(np.count_nonzero(counts == self._bits))
        self._columns += column_counts(batch)
        looked_at = batch[kept]
        self._sample.append(batch[self._generator.random(len(batch)) < self._sample_share])
        self._digests.append(_digests(looked_at, self._coefficients))
        for table, places in zip(self._keys, self._places, strict=True):
            table.append(_sampled(looked_at, places))

    def dense_rows(self) -> list[int]:
        """Numbers of rows that agree with several different ones in all sampled bits of a table, densest first."""
        digests, numbers = _joined(self._digests), np.concatenate([*self._numbers, np.empty(0, np.int64)])
        found: list[tuple[int, int]] = []
        for table in self._keys:
            keys = _joined(table)
            order = np.argsort(keys, kind="stable")
            starts, sizes = _stretches(keys[order])
            dense = np.flatnonzero(sizes >= _LEAST_BUCKET)
            for bucket in dense[np.argsort(-sizes[dense], kind="stable")][:_CANDIDATES]:
                members = order[starts[bucket] : starts[bucket] + sizes[bucket]]
                _, firsts = np.unique(digests[members], return_index=True)
                if len(firsts) >= _LEAST_BUCKET:
                    found += [(len(firsts), int(numbers[members[first]])) for first in firsts[:_CENTRES_OF_BUCKET]]
        found.sort(reverse=True)
        return sorted({row for _, row in found[: _CANDIDATES * _CENTRES_OF_BUCKET]})

    def near_bits(self, share: float) -> int:
        """In how many bits rows may differ to be near."""
        fill = self._set / (self._bits * max(self._seen, 1))
        return round(share * 2 * fill * (1 - fill) * self._bits)

    def result(self, *, burst: int) -> Statistics:
        """What was measured, with what a further reading has found."""
        rows, bits = max(self._seen, 1), self._bits
        mean = self._set / rows
        digests = np.sort(_joined(self._digests))
        _, sizes = _stretches(digests)
        largest = int(sizes.max(initial=1))
        return Statistics(
            rows=self._seen,
            fill=mean / bits,
            popcount_spread=max(self._squares / rows - mean * mean, 0.0) ** 0.5 / bits,
            column_spread=float((self._columns / rows).std()),
            empty=self._empty / rows,
            full=self._full / rows,
            repeated=int(sizes[sizes > 1].sum()) / max(len(digests), 1),
            repeats=max(1, round(largest / self._share)),
            burst=burst,
            cluster=_largest_cluster(
                np.concatenate(self._sample)[: 2 * SAMPLE_ROWS], within=self.near_bits(NEAR_IN_SAMPLE), bits=bits
            ),
        )


def _rows_at(batches: Iterator[Words], numbers: Sequence[int]) -> list[Words]:
    """The rows of these numbers, ascending."""
    found, start, wanted = [], 0, deque(numbers)
    for batch in batches:
        while wanted and wanted[0] < start + len(batch):
            found.append(batch[wanted.popleft() - start].copy())
        start += len(batch)
    return found


def _most_near(batches: Iterator[Words], centres: Sequence[Words], *, within: int) -> int:
    """How many different rows lie near one of some rows, at most, itself among them; `COUNTED_UP_TO` or a few more."""
    near: list[set[bytes]] = [set() for _ in centres]
    for batch in batches:
        for centre, found in zip(centres, near, strict=True):
            if len(found) < COUNTED_UP_TO:
                close = np.bitwise_count(batch ^ centre).sum(axis=1) <= within
                found.update(row.tobytes() for row in batch[close][:COUNTED_UP_TO])
    return max(map(len, near), default=1)


def _largest_cluster(rows: Words, *, within: int, bits: int) -> int:
    """How many different rows lie within so many bits of one row, at most."""
    different = np.unique(rows, axis=0)
    signs = np.unpackbits(different.view(np.uint8), axis=1).astype(np.float32) * 2 - 1
    largest = 1
    for start in range(0, len(signs), _CLUSTER_ROWS):
        distances = (bits - signs[start : start + _CLUSTER_ROWS] @ signs.T) / 2
        largest = max(largest, int((distances <= within).sum(axis=1).max(initial=1)))
    return largest


def column_counts(batch: Words) -> NDArray[np.int64]:
    """In how many rows each bit is set: eight columns of a byte at a time, added up in bytes till they run over.

    Columns come bit by bit of each byte, which is enough for how far they spread.
    """
    words = batch.shape[1]
    counts = np.zeros((_BITS_OF_BYTE, words * 8), np.int64)
    for start in range(0, len(batch), _HALF_BATCH):
        some = batch[start : start + _HALF_BATCH]
        for bit in range(_BITS_OF_BYTE):
            added = ((some >> np.uint64(bit)) & _ONES).sum(axis=0, dtype=np.uint64)
            counts[bit] += added.view(np.uint8)
    return counts.ravel()


def _digests(batch: Words, coefficients: Words) -> Words:
    """64 bits of each row by two multiply-shift hashes, whose coefficients nobody could have known."""
    halves = np.ascontiguousarray(batch).view(np.uint32).astype(np.uint64)
    high, low = ((halves * row).sum(axis=1, dtype=np.uint64) >> np.uint64(32) for row in coefficients)
    digests: Words = (high << np.uint64(32)) | low
    return digests


def _stretches(ordered: Words) -> tuple[Integers, Integers]:
    """Where equal values start in an ordered list, and how many of each there are."""
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(ordered) else np.empty(0, np.int64)
    return starts, np.diff(np.append(starts, len(ordered)))


def _sampled(batch: Words, places: NDArray[np.int64]) -> Words:
    """The bits at some places of each row, as one number."""
    key = np.zeros(len(batch), np.uint64)
    for number, place in enumerate(places.tolist()):
        key |= ((batch[:, place // 64] >> np.uint64(place % 64)) & np.uint64(1)) << np.uint64(number)
    return key


def _joined(pieces: list[Words]) -> Words:
    return np.concatenate(pieces) if pieces else np.empty(0, np.uint64)
