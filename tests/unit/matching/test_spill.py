import errno
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pytest

from linkage_matching import (
    MatchingCancelled,
    Measure,
    SpillFailed,
    TooManyPairs,
    candidate_pairs,
    layout,
    spill,
    spill_candidate_pairs,
)
from linkage_matching.results import CandidatePairs
from linkage_matching.spill import merge
from support.dice import encodings, random_rows

ROWS = encodings(random_rows(150, bits=256, seed=50), bits=256)
OTHERS = encodings(random_rows(130, bits=256, seed=51), bits=256)
THRESHOLD = Fraction(3, 10)


def joined(batches: list[CandidatePairs]) -> CandidatePairs:
    return CandidatePairs(
        np.concatenate([batch.row_a for batch in batches]),
        np.concatenate([batch.row_b for batch in batches]),
        np.concatenate([batch.similarity for batch in batches]),
    )


def assert_same(found: CandidatePairs, expected: CandidatePairs) -> None:
    assert found.row_a.tolist() == expected.row_a.tolist()
    assert found.row_b.tolist() == expected.row_b.tolist()
    assert found.similarity.tolist() == expected.similarity.tolist()


@pytest.mark.parametrize("measure", Measure)
@pytest.mark.parametrize("within", [False, True])
def test_spilled_pairs_of_many_runs_and_parts_equal_those_in_memory(
    within: bool,  # noqa: FBT001 - parametrised
    measure: Measure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spill, "_RUN_KEYS", 300)
    monkeypatch.setattr(spill, "_MERGED_KEYS", 500)
    monkeypatch.setattr(spill, "_FEWEST_MERGED", 5)
    monkeypatch.setattr(spill, "_BATCH_ROWS", 90)
    b = None if within else OTHERS
    threshold = THRESHOLD if measure is Measure.DICE else Fraction(55, 100)
    expected = candidate_pairs(ROWS, b, threshold=threshold, measure=measure)
    # parts of 40 rows
    monkeypatch.setattr(layout, "_PART_BYTES", 40 * 32)
    with spill_candidate_pairs(
        ROWS, b, threshold=threshold, measure=measure, directory=tmp_path / "new", threads=2
    ) as spilled:
        batches = list(spilled.batches(rows=1000))
        assert len(spilled) == len(expected) > 3000
    assert [len(batch) for batch in batches[:-1]] == [1000] * (len(batches) - 1)
    assert_same(joined(batches), expected)


def test_spilled_pairs_lie_in_one_arrow_file_that_closing_removes(tmp_path: Path) -> None:
    spilled = spill_candidate_pairs(ROWS, OTHERS, threshold=THRESHOLD, directory=tmp_path)
    assert list(tmp_path.iterdir()) == [spilled.path]
    with pa.OSFile(str(spilled.path), mode="r") as file:
        table = pa.ipc.open_file(file).read_all()
    expected = candidate_pairs(ROWS, OTHERS, threshold=THRESHOLD)
    assert table.column_names == ["row_a", "row_b", "similarity"]
    assert table["similarity"].to_pylist() == expected.similarity.tolist()
    spilled.close()
    spilled.close()
    assert list(tmp_path.iterdir()) == []


def test_spilled_pairs_of_nothing_give_no_batches(tmp_path: Path) -> None:
    nobody = np.zeros((0, 4), np.uint64)
    with spill_candidate_pairs(nobody, ROWS, threshold=THRESHOLD, directory=tmp_path) as spilled:
        assert len(spilled) == 0
        assert list(spilled.batches()) == []


def test_spilled_pairs_of_memory_mapped_files_equal_those_in_memory(tmp_path: Path) -> None:
    (tmp_path / "rows.bin").write_bytes(ROWS.tobytes())
    mapped = np.memmap(tmp_path / "rows.bin", np.uint64, "r").reshape(-1, 4)
    with spill_candidate_pairs(mapped, threshold=THRESHOLD, directory=tmp_path / "pairs") as spilled:
        assert_same(joined(list(spilled.batches())), candidate_pairs(ROWS, threshold=THRESHOLD))


class FullDisk:
    """A file on a disk that has room for some bytes more."""

    def __init__(self, file: IO[bytes], room: int) -> None:
        self._file = file
        self._room = room

    def write(self, raw: bytes) -> int:
        self._room -= memoryview(raw).nbytes
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.mark.parametrize("room", [0, 3000, 20_000])
def test_spill_onto_a_full_disk_says_so_and_leaves_nothing(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_RUN_KEYS", 300)
    plain = Path.open

    def open_full(path: Path, mode: str = "r", **options: Any) -> Any:
        file = plain(path, mode, **options)
        return FullDisk(file, room) if mode == "wb" else file

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(SpillFailed, match=r"No space left on device.*more room .*or raise the threshold"):
        spill_candidate_pairs(ROWS, OTHERS, threshold=THRESHOLD, directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_spill_beyond_the_file_size_that_the_system_allows_leaves_nothing(tmp_path: Path) -> None:
    program = f"""
import resource, sys
from fractions import Fraction
from pathlib import Path
import numpy
from linkage_matching import SpillFailed, prepare, spill_candidate_pairs
prepare()
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
rows = numpy.full((100, 4), 5, numpy.uint64)
try:
    spill_candidate_pairs(rows, threshold=Fraction(1), directory=Path({str(tmp_path)!r}))
except SpillFailed as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "could not be written to disk (File too large)" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_spill_into_a_place_that_is_no_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpillFailed, match="could not be written"):
        spill_candidate_pairs(ROWS, threshold=THRESHOLD, directory=tmp_path / "file")


def test_spill_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MatchingCancelled):
        spill_candidate_pairs(ROWS, threshold=THRESHOLD, directory=tmp_path, cancelled=lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_spill_of_more_pairs_than_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TooManyPairs):
        spill_candidate_pairs(ROWS, threshold=THRESHOLD, directory=tmp_path, limit=100)
    assert list(tmp_path.iterdir()) == []


def test_spill_whose_caller_fails_passes_the_failure_on_and_leaves_nothing(tmp_path: Path) -> None:
    def progress(_done: int, _total: int) -> None:
        raise ConnectionError("no one listens")

    with pytest.raises(ConnectionError):
        spill_candidate_pairs(ROWS, threshold=THRESHOLD, directory=tmp_path, progress=progress)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(20))
def test_merge_of_sorted_runs_gives_everything_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(rng.integers(1, 500)).astype(np.uint64)
    runs = np.split(numbers, np.sort(rng.integers(0, len(numbers) + 1, rng.integers(0, 9))))
    sizes = rng.integers(1, 50, len(runs))
    in_parts = [
        iter([np.sort(run)[start : start + size] for start in range(0, len(run), size)])
        for run, size in zip(runs, sizes.tolist(), strict=True)
    ]
    merged = list(merge(in_parts))
    assert np.concatenate(merged).tolist() == sorted(numbers.tolist())
