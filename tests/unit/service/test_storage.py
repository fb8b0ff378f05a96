import secrets
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.exceptions import GenericError
from obstore.store import MemoryStore

from linkage_matching.blobs import KEY_BYTES
from linkage_service.errors import LinkageError
from linkage_service.storage import (
    BlobMissing,
    BlobStore,
    BlobTampered,
    StorageError,
    StorageFull,
    StorageUnavailable,
    WrappedKey,
)


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    url = "memory://" if request.param == "memory" else (tmp_path / "blob store").as_uri()
    return BlobStore.from_url(url, key_encryption_keys=[secrets.token_bytes(KEY_BYTES)])


def _on_disk(tmp_path: Path) -> tuple[BlobStore, Path]:
    root = tmp_path / "blobs"
    return BlobStore.from_url(root.as_uri(), key_encryption_keys=[secrets.token_bytes(KEY_BYTES)]), root


def test_blob_put_then_got_is_the_same(blobs: BlobStore) -> None:
    data_key = blobs.new_data_key()
    blobs.put("uploads/upl_1/part-1", b"\x00\xffbits", data_key=data_key)
    assert blobs.get("uploads/upl_1/part-1", data_key=data_key) == b"\x00\xffbits"


def test_blob_put_twice_is_replaced(blobs: BlobStore) -> None:
    data_key = blobs.new_data_key()
    blobs.put("a/b", b"first", data_key=data_key)
    blobs.put("a/b", b"second", data_key=data_key)
    assert blobs.get("a/b", data_key=data_key) == b"second"


@given(plaintext=st.binary(max_size=300))
def test_blob_of_any_bytes_round_trips(plaintext: bytes) -> None:
    blobs = BlobStore(MemoryStore(), key_encryption_keys=[bytes(KEY_BYTES)])
    data_key = blobs.new_data_key()
    blobs.put("k", plaintext, data_key=data_key)
    assert blobs.get("k", data_key=blobs.unwrap(data_key.wrapped)) == plaintext


def test_blob_of_16_mib_round_trips(blobs: BlobStore) -> None:
    plaintext = secrets.token_bytes(16 * 2**20)
    data_key = blobs.new_data_key()
    blobs.put("big", memoryview(plaintext), data_key=data_key)
    assert blobs.get("big", data_key=data_key) == plaintext


def test_blob_on_disk_shows_no_plaintext_and_never_the_same_bytes_twice(tmp_path: Path) -> None:
    blobs, root = _on_disk(tmp_path)
    data_key = blobs.new_data_key()
    blobs.put("one", b"plain words " * 50, data_key=data_key)
    first = (root / "one").read_bytes()
    blobs.put("one", b"plain words " * 50, data_key=data_key)
    assert b"plain" not in first
    assert (root / "one").read_bytes() != first


def test_store_on_disk_is_open_to_its_owner_only(tmp_path: Path) -> None:
    _, root = _on_disk(tmp_path)
    assert root.stat().st_mode & 0o077 == 0


def test_blob_with_any_byte_changed_is_refused(tmp_path: Path) -> None:
    blobs, root = _on_disk(tmp_path)
    data_key = blobs.new_data_key()
    blobs.put("one", b"bits", data_key=data_key)
    sealed = (root / "one").read_bytes()
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        (root / "one").write_bytes(changed)
        with pytest.raises(BlobTampered):
            blobs.get("one", data_key=data_key)


@pytest.mark.parametrize("length", [0, 1, 12, 28, 32])
def test_blob_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    blobs, root = _on_disk(tmp_path)
    data_key = blobs.new_data_key()
    blobs.put("one", b"bits", data_key=data_key)
    (root / "one").write_bytes((root / "one").read_bytes()[:length])
    with pytest.raises(BlobTampered):
        blobs.get("one", data_key=data_key)


def test_blobs_swapped_under_one_data_key_are_refused(tmp_path: Path) -> None:
    blobs, root = _on_disk(tmp_path)
    data_key = blobs.new_data_key()
    blobs.put("one", b"first", data_key=data_key)
    blobs.put("two", b"other", data_key=data_key)
    one, two = (root / "one").read_bytes(), (root / "two").read_bytes()
    (root / "one").write_bytes(two)
    (root / "two").write_bytes(one)
    for key in ("one", "two"):
        with pytest.raises(BlobTampered):
            blobs.get(key, data_key=data_key)


def test_blob_of_another_data_key_is_refused(blobs: BlobStore) -> None:
    blobs.put("one", b"bits", data_key=blobs.new_data_key())
    with pytest.raises(BlobTampered):
        blobs.get("one", data_key=blobs.new_data_key())


def test_data_key_under_another_key_encryption_key_is_refused() -> None:
    wrapped = BlobStore(MemoryStore(), key_encryption_keys=[b"a" * KEY_BYTES]).new_data_key().wrapped
    with pytest.raises(BlobTampered):
        BlobStore(MemoryStore(), key_encryption_keys=[b"b" * KEY_BYTES]).unwrap(wrapped)


def test_data_key_after_rotation_still_opens() -> None:
    old, new = b"a" * KEY_BYTES, b"b" * KEY_BYTES
    before = BlobStore(MemoryStore(), key_encryption_keys=[old]).new_data_key()
    rotated = BlobStore(MemoryStore(), key_encryption_keys=[new, old])
    assert rotated.unwrap(before.wrapped) == before
    after = rotated.new_data_key()
    assert BlobStore(MemoryStore(), key_encryption_keys=[new]).unwrap(after.wrapped) == after


def test_wrapped_key_with_any_byte_changed_is_refused(blobs: BlobStore) -> None:
    wrapped = blobs.new_data_key().wrapped
    for position in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[position] ^= 1
        with pytest.raises(BlobTampered):
            blobs.unwrap(bytes(changed))


@pytest.mark.parametrize("length", [0, 1, 9, 20, 68])
def test_wrapped_key_cut_short_is_refused(blobs: BlobStore, length: int) -> None:
    with pytest.raises(BlobTampered):
        blobs.unwrap(blobs.new_data_key().wrapped[:length])


def test_data_keys_are_never_the_same(blobs: BlobStore) -> None:
    assert blobs.new_data_key().plain != blobs.new_data_key().plain


def test_blob_missing_is_an_error_of_its_own(blobs: BlobStore) -> None:
    with pytest.raises(BlobMissing) as caught:
        blobs.get("uploads/nowhere", data_key=blobs.new_data_key())
    assert "nowhere" not in caught.value.detail


def test_exists_tells_present_from_missing(blobs: BlobStore) -> None:
    blobs.put("here", b"", data_key=blobs.new_data_key())
    assert (blobs.exists("here"), blobs.exists("there")) == (True, False)


def test_get_many_keeps_the_order_asked(blobs: BlobStore) -> None:
    data_key = blobs.new_data_key()
    for number in range(3):
        blobs.put(f"p/{number}", bytes([number]), data_key=data_key)
    assert list(blobs.get_many(["p/2", "p/0", "p/1"], data_key=data_key)) == [b"\x02", b"\x00", b"\x01"]


def test_list_takes_whole_segments_and_sorts(blobs: BlobStore) -> None:
    data_key = blobs.new_data_key()
    for key in ("uploads/upl_1/b", "uploads/upl_1/a", "uploads/upl_10/a"):
        blobs.put(key, b"", data_key=data_key)
    assert blobs.list("uploads/upl_1") == ["uploads/upl_1/a", "uploads/upl_1/b"]


def test_delete_twice_is_no_error(blobs: BlobStore) -> None:
    blobs.put("one", b"", data_key=blobs.new_data_key())
    blobs.delete("one")
    blobs.delete("one")
    assert not blobs.exists("one")


def test_delete_prefix_leaves_the_neighbour(blobs: BlobStore) -> None:
    data_key = blobs.new_data_key()
    for key in ("u/1/a", "u/1/b", "u/10/a"):
        blobs.put(key, b"", data_key=data_key)
    assert blobs.delete_prefix("u/1") == 2
    assert blobs.delete_prefix("u/1") == 0
    assert blobs.list("u") == ["u/10/a"]


def test_delete_prefix_on_disk_leaves_no_folder(tmp_path: Path) -> None:
    blobs, root = _on_disk(tmp_path)
    blobs.put("uploads/upl_1/a", b"", data_key=blobs.new_data_key())
    blobs.delete_prefix("uploads/upl_1")
    assert root.is_dir()
    assert list(root.rglob("*")) == []


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a#1", "a b", "ä", "a\n"])
def test_key_outside_the_alphabet_is_refused(blobs: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="segments"):
        blobs.put(key, b"", data_key=blobs.new_data_key())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (GenericError("Unable to copy data to file: No space left on device (os error 28)"), StorageFull),
        (GenericError("Unable to copy data to file: Disk quota exceeded (os error 122)"), StorageFull),
        (GenericError("error sending request for bucket s3.internal"), StorageUnavailable),
        (PermissionError(13, "denied", "/srv/blobs"), StorageUnavailable),
    ],
)
def test_put_on_a_failing_store_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[StorageError]
) -> None:
    def failing_put(*_: object) -> None:
        raise error

    blobs = BlobStore(MemoryStore(), key_encryption_keys=[bytes(KEY_BYTES)])
    monkeypatch.setattr(obstore, "put", failing_put)
    with pytest.raises(expected) as caught:
        blobs.put("one", b"", data_key=blobs.new_data_key())
    assert type(caught.value) is expected
    assert caught.value.status == 503
    assert "s3.internal" not in caught.value.detail
    assert "srv" not in caught.value.detail


@pytest.mark.parametrize("url", ["bogus://somewhere", "not a url", "s3://"])
def test_store_of_an_address_not_understood_is_refused(url: str) -> None:
    with pytest.raises(StorageUnavailable) as caught:
        BlobStore.from_url(url, key_encryption_keys=[bytes(KEY_BYTES)])
    assert url not in caught.value.detail


def test_store_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailable):
        BlobStore.from_url((tmp_path / "file").as_uri(), key_encryption_keys=[bytes(KEY_BYTES)])


@pytest.mark.parametrize("keys", [[], [b"short"], [bytes(KEY_BYTES), b"short"]])
def test_store_without_proper_key_encryption_keys_is_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="key-encryption key"):
        BlobStore(MemoryStore(), key_encryption_keys=keys)


def _everything_shown(blobs: BlobStore, data_key: WrappedKey) -> Iterator[str]:
    yield repr(data_key)
    yield str(data_key)
    yield repr(blobs)
    yield repr([data_key])


def test_repr_leaks_no_key() -> None:
    key_encryption_key = secrets.token_bytes(KEY_BYTES)
    blobs = BlobStore(MemoryStore(), key_encryption_keys=[key_encryption_key])
    data_key = blobs.new_data_key()
    for shown in _everything_shown(blobs, data_key):
        for secret in (data_key.plain, key_encryption_key):
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown


def test_storage_errors_are_linkage_errors_with_codes_of_their_own() -> None:
    errors = [StorageError, BlobMissing, BlobTampered, StorageUnavailable, StorageFull]
    assert all(issubclass(error, LinkageError) for error in errors)
    assert len({error.code for error in errors}) == len(errors)
