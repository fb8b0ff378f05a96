"""Candidate pairs on disk: as many as there are, in bounded memory, in the one order.

Keys of pairs are sorted in memory some millions at a time and written as runs; the runs are merged into one Arrow IPC
file, which this package and any other Arrow reader can go through.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from linkage_matching.comparison import Comparison, sorted_keys
from linkage_matching.encodings import Encodings
from linkage_matching.errors import SpillFailed
from linkage_matching.measure import Measure
from linkage_matching.pairs import Limit
from linkage_matching.results import Cancelled, CandidatePairs, Progress

if TYPE_CHECKING:
    import pyarrow as pa

# 24 GB on disk.
DEFAULT_SPILL_LIMIT = 1_000_000_000
_KEY_BYTES = 8
# A run of 16 MiB, twice that while it is sorted.
_RUN_KEYS = 1 << 21
# All runs share this many keys in memory while they are merged.
_MERGED_KEYS = 1 << 21
_FEWEST_MERGED = 1 << 12
_BATCH_ROWS = 1 << 18


class SpilledPairs:
    """Candidate pairs in an Arrow IPC file; closing removes it.

    The file has the columns row_a and row_b (int64) and similarity (float64) and is in the order of `CandidatePairs`.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self._count = count

    def __len__(self) -> int:
        return self._count

    def batches(self, *, rows: int = 1 << 20) -> Iterator[CandidatePairs]:
        """All pairs in order, `rows` at a time (fewer in the last batch); only so many are in memory."""
        import pyarrow as pa  # noqa: PLC0415 - loaded when pairs are spilled, not by import

        # read, not mapped: a mapped file counts as memory of this process as it is gone through
        with pa.OSFile(str(self.path), mode="r") as source, pa.ipc.open_file(source) as reader:
            waiting: list[pa.RecordBatch] = []
            count = 0
            for number in range(reader.num_record_batches):
                waiting.append(reader.get_batch(number))
                count += waiting[-1].num_rows
                while count >= rows:
                    table = pa.Table.from_batches(waiting)
                    yield _pairs(table.slice(0, rows))
                    waiting, count = table.slice(rows).to_batches(), count - rows
            if count:
                yield _pairs(pa.Table.from_batches(waiting))

    def close(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def spill_candidate_pairs(
    a: Encodings,
    b: Encodings | None = None,
    *,
    threshold: Fraction,
    directory: Path,
    measure: Measure = Measure.DICE,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    threads: int | None = None,
    limit: int = DEFAULT_SPILL_LIMIT,
) -> SpilledPairs:
    """Every pair whose similarity is at least `threshold`, written to a file in `directory`.

    What `candidate_pairs` gives, in bounded memory however many pairs there are: data sets that are memory-mapped stay
    so, and pairs take up 24 bytes each on disk, 32 while they are put in order.

    Arguments:
        a: as in `candidate_pairs`.
        b: as in `candidate_pairs`.
        threshold: as in `candidate_pairs`.
        directory: where the file is made, under a name of its own; created if it is not there.
        measure: as in `candidate_pairs`.
        progress: as in `candidate_pairs`.
        cancelled: as in `candidate_pairs`.
        threads: as in `candidate_pairs`.
        limit: the most pairs that may be found.

    Returns:
        The pairs. Close them, or use them in a `with` statement, to remove the file.

    Raises:
        InvalidEncodings, InvalidThreshold, TooManyPairs, MatchingCancelled: as in `candidate_pairs`.
        SpillFailed: the disk is full or cannot be written. Nothing half-written is left behind, whatever is raised.
    """
    comparison = Comparison.of(a, b, threshold=threshold, measure=measure)
    bound = Limit(comparison, limit)
    bound.check_estimate(threads=threads)
    with _scratch(directory) as scratch:
        runs = _Runs(comparison, bound, scratch)
        comparison.run(runs, progress=progress, cancelled=cancelled, threads=threads)
        written = scratch / "pairs.arrow"
        count = _write_pairs(written, comparison, runs.merged())
        with _failing_clearly():
            path = directory / f"{scratch.name.lstrip('.')}.arrow"
            written.replace(path)
    return SpilledPairs(path, count)


class _Runs:
    """Collects keys and writes them to disk, sorted, some millions at a time."""

    def __init__(self, comparison: Comparison, limit: Limit, directory: Path) -> None:
        self.floor_a = np.zeros(comparison.ranking.rows_a, np.uint64)
        self.floor_b = np.zeros(comparison.ranking.rows_b, np.uint64)
        self._limit = limit
        self._directory = directory
        self._chunks: list[NDArray[np.uint64]] = []
        self._waiting = 0
        self._count = 0
        self._paths: list[Path] = []

    def add(self, keys: NDArray[np.uint64]) -> None:
        self._count += len(keys)
        self._limit.check_count(self._count)
        self._chunks.append(keys)
        self._waiting += len(keys)
        if self._waiting >= _RUN_KEYS:
            self._write_run()

    def merged(self) -> Iterator[NDArray[np.uint64]]:
        """All keys in order, in arrays of any length."""
        if not self._paths:
            yield sorted_keys(self._chunks)
            return
        if self._chunks:
            self._write_run()
        room = max(_MERGED_KEYS // len(self._paths), _FEWEST_MERGED)
        yield from merge([_read_run(path, room) for path in self._paths])

    def _write_run(self) -> None:
        path = self._directory / f"run-{len(self._paths)}"
        self._paths.append(path)
        keys = sorted_keys(self._chunks)
        self._waiting = 0
        with _failing_clearly(), path.open("wb") as file:
            file.write(keys.data)


def merge(runs: list[Iterator[NDArray[np.uint64]]]) -> Iterator[NDArray[np.uint64]]:
    """The distinct numbers of several sorted runs, each given as sorted arrays, in one order.

    Up to the least of the last numbers in memory every run is complete: so much of each is sorted and passed on, which
    uses up at least one array, whose run gives the next.
    """
    heads = [(run, head) for run in runs if (head := next(run, None)) is not None]
    while heads:
        complete = min(head[-1] for _, head in heads)
        parts, left = [], []
        for run, head in heads:
            end = int(np.searchsorted(head, complete, side="right"))
            parts.append(head[:end])
            rest = head[end:] if end < len(head) else next(run, None)
            if rest is not None:
                left.append((run, rest))
        heads = left
        keys = np.concatenate(parts)
        keys.sort()
        yield keys


def _read_run(path: Path, keys: int) -> Iterator[NDArray[np.uint64]]:
    with path.open("rb") as file:
        while raw := file.read(keys * _KEY_BYTES):
            yield np.frombuffer(raw, np.uint64)


def _write_pairs(path: Path, comparison: Comparison, merged: Iterator[NDArray[np.uint64]]) -> int:
    import pyarrow as pa  # noqa: PLC0415 - loaded when pairs are spilled, not by import

    kinds: dict[str, pa.DataType] = {"row_a": pa.int64(), "row_b": pa.int64(), "similarity": pa.float64()}
    schema = pa.schema(kinds)
    count = 0
    with _failing_clearly(), path.open("wb") as file:
        with pa.ipc.new_file(file, schema) as writer:
            for keys in merged:
                for start in range(0, len(keys), _BATCH_ROWS):
                    pairs = comparison.decode(keys[start : start + _BATCH_ROWS])
                    columns = [pa.array(column) for column in (pairs.row_a, pairs.row_b, pairs.similarity)]
                    writer.write_batch(pa.record_batch(columns, schema=schema))
                count += len(keys)
        _make_durable(file)
    return count


def _make_durable(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _pairs(table: "pa.Table") -> CandidatePairs:
    row_a, row_b, similarity = (table.column(name).to_numpy() for name in ("row_a", "row_b", "similarity"))
    return CandidatePairs(row_a=row_a, row_b=row_b, similarity=similarity)


@contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    """A folder for what is half-written, which goes in any case."""
    with _failing_clearly():
        directory.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".pairs-", dir=directory))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _failing_clearly() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpillFailed(reason=error.strerror) from error
