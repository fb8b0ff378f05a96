from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage_matching import InvalidEncodings
from linkage_matching.blobs import KEY_BYTES, SealedBlobs
from linkage_matching.datasets import ArrayDataset, BlobDataset, Dataset, as_datasets
from linkage_matching.errors import BlobAbsent, BlobDamaged
from support.units import Place, pickled, random_encodings, sent

KEY = bytes(KEY_BYTES)
ROWS = random_encodings(40, bits=256)


def _in_parts(part_bytes: list[int]) -> BlobDataset:
    blobs = SealedBlobs("memory://", KEY)
    raw = ROWS.tobytes()
    start = 0
    for number, size in enumerate(part_bytes):
        blobs.put(f"part-{number}", raw[start : start + size])
        start += size
    paths = [f"part-{number}" for number in range(len(part_bytes))]
    return BlobDataset(blobs, paths=paths, part_bytes=part_bytes, bits=256)


@given(
    cuts=st.sets(st.integers(1, ROWS.nbytes - 1), max_size=6),
    span=st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted),
)
def test_blob_dataset_in_any_parts_reads_any_rows(cuts: set[int], span: list[int]) -> None:
    edges = [0, *sorted(cuts), ROWS.nbytes]
    dataset = _in_parts(list(np.diff(edges).tolist()))
    start, stop = span
    read = dataset.read(start, stop)
    assert (dataset.rows, dataset.bits) == (40, 256)
    assert read.dtype == np.uint64
    assert np.array_equal(read, ROWS[start:stop])


def test_blob_dataset_reads_only_the_parts_it_needs() -> None:
    blobs = SealedBlobs("memory://", KEY)
    blobs.put("part-1", ROWS[20:].tobytes())
    half = ROWS.nbytes // 2
    dataset = BlobDataset(blobs, paths=["part-0", "part-1"], part_bytes=[half, half], bits=256)
    assert np.array_equal(dataset.read(20, 40), ROWS[20:])
    with pytest.raises(BlobAbsent):
        dataset.read(19, 21)


def test_blob_dataset_with_a_part_of_another_length_is_refused() -> None:
    blobs = SealedBlobs("memory://", KEY)
    blobs.put("part-0", ROWS[:39].tobytes())
    dataset = BlobDataset(blobs, paths=["part-0"], part_bytes=[ROWS.nbytes], bits=256)
    with pytest.raises(BlobDamaged, match="another length"):
        dataset.read(0, 1)


@pytest.mark.parametrize(
    ("paths", "part_bytes", "bits"),
    [(["a"], [33], 256), (["a"], [32, 32], 256), (["a", "b"], [64, 0], 256), (["a"], [-32], 256), (["a"], [64], 200)],
)
def test_blob_dataset_that_is_no_whole_number_of_rows_is_refused(
    paths: list[str], part_bytes: list[int], bits: int
) -> None:
    with pytest.raises(InvalidEncodings):
        BlobDataset(SealedBlobs("memory://", KEY), paths=paths, part_bytes=part_bytes, bits=bits)


def test_blob_dataset_without_parts_has_no_rows() -> None:
    dataset = BlobDataset(SealedBlobs("memory://", KEY), paths=[], part_bytes=[], bits=256)
    assert dataset.rows == 0
    assert dataset.read(0, 0).shape == (0, 4)


def test_blob_dataset_pickled_is_small_and_reads_the_same(tmp_path: Path) -> None:
    dataset = Place(tmp_path).dataset(random_encodings(5000), name="upl_1", part_bytes=50_000)
    dataset.read(0, 5000)
    again = sent(dataset)
    assert len(pickled(dataset)) < 1000
    assert again.identity == dataset.identity
    assert np.array_equal(again.read(100, 4000), dataset.read(100, 4000))


def test_identity_of_a_blob_dataset_follows_paths_sizes_and_length() -> None:
    blobs = SealedBlobs("memory://", KEY)
    described = [
        BlobDataset(blobs, paths=paths, part_bytes=sizes, bits=bits).identity
        for paths, sizes, bits in [
            (["a", "b"], [512, 512], 256),
            (["b", "a"], [512, 512], 256),
            (["a", "b"], [1000, 24], 256),
            (["a", "b"], [512, 512], 512),
        ]
    ]
    assert len(set(described)) == len(described)


def test_identity_of_an_array_follows_its_content() -> None:
    other = ROWS.copy()
    other[3, 1] ^= np.uint64(1)
    assert ArrayDataset(ROWS).identity == ArrayDataset(ROWS.copy()).identity
    assert len({ArrayDataset(array).identity for array in (ROWS, other, ROWS[:-1], ROWS.reshape(20, 8))}) == 4


@pytest.mark.parametrize("span", [(-1, 2), (3, 2), (0, 41)])
def test_read_outside_a_data_set_is_refused(span: tuple[int, int]) -> None:
    for dataset in (ArrayDataset(ROWS), _in_parts([ROWS.nbytes])):
        with pytest.raises(InvalidEncodings, match="plan it again"):
            dataset.read(*span)


def test_array_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidEncodings):
        ArrayDataset(ROWS.view(np.uint8))


def test_as_datasets_wraps_arrays_and_keeps_data_sets() -> None:
    dataset: Dataset = _in_parts([ROWS.nbytes])
    wrapped, kept = as_datasets([ROWS, dataset])
    assert isinstance(wrapped, ArrayDataset)
    assert kept is dataset
