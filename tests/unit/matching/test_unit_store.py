import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage_matching.blobs import KEY_BYTES, SealedBlobs
from linkage_matching.errors import BlobsUnavailable
from linkage_matching.pairs import Pairs
from linkage_matching.unit_store import BlobUnitStore, MemoryUnitStore, UnitStore, decode_result, encode_result
from linkage_matching.units import UnitResult
from support.units import as_list

FINGERPRINT = "5" * 64


def _result(count: int = 3, *, bounded: bool = False) -> UnitResult:
    rng = np.random.default_rng(count)
    pairs = Pairs(
        rng.integers(0, 2**31 - 1, count, dtype=np.int32),
        rng.integers(0, 2**31 - 1, count, dtype=np.int32),
        rng.integers(0, 4096, count, dtype=np.uint16),
    )
    return UnitResult(pairs, compared=10**12 + count, bounded=bounded)


def _blob_store() -> BlobUnitStore:
    return BlobUnitStore(SealedBlobs("memory://", bytes(KEY_BYTES)), "runs/run_1/units")


@pytest.fixture(params=[MemoryUnitStore, _blob_store], ids=["memory", "blobs"])
def store(request: pytest.FixtureRequest) -> UnitStore:
    made: Callable[[], UnitStore] = request.param
    return made()


@given(count=st.integers(0, 50), bounded=st.booleans())
def test_result_encoded_then_decoded_is_the_same(count: int, bounded: bool) -> None:  # noqa: FBT001 - by hypothesis
    result = _result(count, bounded=bounded)
    again = decode_result(encode_result(result, fingerprint=FINGERPRINT), fingerprint=FINGERPRINT)
    assert again is not None
    assert as_list(again.pairs) == as_list(result.pairs)
    assert (again.compared, again.bounded) == (result.compared, result.bounded)
    columns = (again.pairs.row_a, again.pairs.row_b, again.pairs.common)
    assert [column.dtype.name for column in columns] == ["int32", "int32", "uint16"]
    assert all(column.flags.writeable for column in columns)


def test_result_with_any_byte_changed_counts_as_absent() -> None:
    sealed = encode_result(_result(), fingerprint=FINGERPRINT)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        assert decode_result(bytes(changed), fingerprint=FINGERPRINT) is None


def test_result_cut_short_anywhere_counts_as_absent() -> None:
    sealed = encode_result(_result(), fingerprint=FINGERPRINT)
    assert all(decode_result(sealed[:length], fingerprint=FINGERPRINT) is None for length in range(len(sealed)))


def test_result_of_another_fingerprint_counts_as_absent() -> None:
    sealed = encode_result(_result(), fingerprint=FINGERPRINT)
    assert decode_result(sealed, fingerprint="6" * 64) is None


def _stream_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"not arrow",
        _stream_of(pa.table({"row_a": [1]})),
        _stream_of(pa.table({"row_a": [1]}).replace_schema_metadata({"fingerprint": FINGERPRINT})),
    ],
    ids=["nothing", "text", "other columns", "other columns, our fingerprint"],
)
def test_result_that_is_whole_but_no_result_counts_as_absent(stream: bytes) -> None:
    sealed = b"linkage/unit/v1\n" + hashlib.sha256(stream).digest() + stream
    assert decode_result(sealed, fingerprint=FINGERPRINT) is None


def test_store_gives_back_what_it_keeps(store: UnitStore) -> None:
    store.save("within-0", _result(5), fingerprint=FINGERPRINT)
    found = store.load("within-0", fingerprint=FINGERPRINT)
    assert found is not None
    assert as_list(found.pairs) == as_list(_result(5).pairs)


def test_store_without_the_unit_or_with_another_of_its_name_has_nothing(store: UnitStore) -> None:
    store.save("within-0", _result(), fingerprint=FINGERPRINT)
    assert store.load("within-1", fingerprint=FINGERPRINT) is None
    assert store.load("within-0", fingerprint="6" * 64) is None


def test_store_keeps_the_last_result_of_a_name(store: UnitStore) -> None:
    store.save("within-0", _result(1), fingerprint=FINGERPRINT)
    store.save("within-0", _result(2), fingerprint=FINGERPRINT)
    found = store.load("within-0", fingerprint=FINGERPRINT)
    assert found is not None
    assert len(found.pairs) == 2


def test_blob_store_with_a_damaged_moved_or_foreign_blob_has_nothing(tmp_path: Path) -> None:
    key = secrets.token_bytes(KEY_BYTES)
    store = BlobUnitStore(SealedBlobs(tmp_path.as_uri(), key), "runs/run_1/units")
    for name in ("a", "b", "c", "d"):
        store.save(name, _result(), fingerprint=FINGERPRINT)
    units = tmp_path / "runs" / "run_1" / "units"
    (units / "a").write_bytes((units / "a").read_bytes()[:-1])
    (units / "b").write_bytes((units / "c").read_bytes())
    (units / "d").write_bytes(b"")
    found = {name: store.load(name, fingerprint=FINGERPRINT) is not None for name in ("a", "b", "c", "d")}
    assert found == {"a": False, "b": False, "c": True, "d": False}


def test_blob_store_of_another_key_has_nothing(tmp_path: Path) -> None:
    for key in (secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)):
        store = BlobUnitStore(SealedBlobs(tmp_path.as_uri(), key), "runs/run_1/units")
        assert store.load("a", fingerprint=FINGERPRINT) is None
        store.save("a", _result(), fingerprint=FINGERPRINT)


def test_blob_store_that_cannot_be_reached_is_an_error_and_not_an_absent_result(tmp_path: Path) -> None:
    blocked = tmp_path / "runs"
    store = BlobUnitStore(SealedBlobs(tmp_path.as_uri(), bytes(KEY_BYTES)), "runs/run_1/units")
    blocked.write_bytes(b"a file where a folder should be")
    with pytest.raises(BlobsUnavailable):
        store.save("a", _result(), fingerprint=FINGERPRINT)


def test_blob_store_cleared_leaves_other_runs() -> None:
    blobs = SealedBlobs("memory://", bytes(KEY_BYTES))
    for run in ("run_1", "run_2"):
        BlobUnitStore(blobs, f"runs/{run}/units").save("a", _result(), fingerprint=FINGERPRINT)
    assert BlobUnitStore(blobs, "runs/run_1/units").clear() == 1
    assert blobs.list("runs") == ["runs/run_2/units/a"]


def test_blob_store_shows_no_result_in_the_clear(tmp_path: Path) -> None:
    store = BlobUnitStore(SealedBlobs(tmp_path.as_uri(), bytes(KEY_BYTES)), "units")
    store.save("a", _result(), fingerprint=FINGERPRINT)
    stored = (tmp_path / "units" / "a").read_bytes()
    assert b"linkage/unit" not in stored
    assert FINGERPRINT.encode() not in stored
