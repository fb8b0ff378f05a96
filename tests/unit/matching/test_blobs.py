import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from linkage_matching import MatchingError
from linkage_matching.blobs import KEY_BYTES, Blobs, SealedBlobs, open_sealed, seal
from linkage_matching.errors import BlobAbsent, BlobDamaged, BlobsUnavailable
from support.units import pickled, sent

KEY = bytes(range(KEY_BYTES))


@given(plaintext=st.binary(max_size=200), path=st.sampled_from(["a", "uploads/upl_1/part-000001-ab"]))
def test_seal_then_opened_is_the_same(plaintext: bytes, path: str) -> None:
    assert open_sealed(path, seal(path, plaintext, key=KEY), key=KEY) == plaintext


def test_seal_is_a_version_a_nonce_and_aes_gcm_bound_to_the_path() -> None:
    sealed = seal("runs/run_1/a", b"bits", key=KEY)
    context = b"linkage/blob/v1\0" + len("runs/run_1/a").to_bytes(4, "big") + b"runs/run_1/a"
    assert sealed[:1] == b"\x01"
    assert AESGCM(KEY).decrypt(sealed[1:13], sealed[13:], context) == b"bits"


def test_seal_twice_gives_other_bytes() -> None:
    assert seal("a", b"bits", key=KEY) != seal("a", b"bits", key=KEY)


def test_open_sealed_with_any_byte_changed_is_refused() -> None:
    sealed = seal("a", b"bits", key=KEY)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(BlobDamaged):
            open_sealed("a", bytes(changed), key=KEY)


@pytest.mark.parametrize("length", [0, 1, 12, 28, 32])
def test_open_sealed_cut_short_is_refused(length: int) -> None:
    with pytest.raises(BlobDamaged):
        open_sealed("a", seal("a", b"bits", key=KEY)[:length], key=KEY)


def test_open_sealed_at_another_path_or_under_another_key_is_refused() -> None:
    sealed = seal("a", b"bits", key=KEY)
    with pytest.raises(BlobDamaged):
        open_sealed("b", sealed, key=KEY)
    with pytest.raises(BlobDamaged):
        open_sealed("a", sealed, key=secrets.token_bytes(KEY_BYTES))


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a#1", "a b", "a\n"])
def test_path_outside_the_alphabet_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="segments"):
        seal(path, b"", key=KEY)
    with pytest.raises(ValueError, match="segments"):
        Blobs.from_url("memory://").get(path)


def test_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SealedBlobs("memory://", b"short")
    with pytest.raises(ValueError, match="32 bytes"):
        seal("a", b"", key=b"short")


def test_sealed_blobs_of_one_folder_read_what_the_other_wrote(tmp_path: Path) -> None:
    SealedBlobs(tmp_path.as_uri(), KEY).put("runs/run_1/a", b"found")
    assert SealedBlobs(tmp_path.as_uri(), KEY).get("runs/run_1/a") == b"found"
    assert b"found" not in (tmp_path / "runs" / "run_1" / "a").read_bytes()


def test_sealed_blobs_pickled_read_the_same_store(tmp_path: Path) -> None:
    blobs = SealedBlobs(tmp_path.as_uri(), KEY)
    blobs.put("a", b"found")
    again = sent(blobs)
    assert again.get("a") == b"found"
    assert again.shared


def test_sealed_blobs_pickled_to_where_the_store_is_not_seen_say_so_and_make_none(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    again = sent(SealedBlobs(folder.as_uri(), KEY))
    folder.rmdir()
    with pytest.raises(BlobsUnavailable, match="address"):
        again.put("a", b"")
    assert not folder.exists()


def test_sealed_blobs_in_memory_are_not_given_to_other_processes() -> None:
    blobs = SealedBlobs("memory://", KEY)
    assert not blobs.shared
    with pytest.raises(MatchingError, match="memory of one process"):
        pickled(blobs)


def test_sealed_blobs_over_open_blobs_share_them() -> None:
    blobs = Blobs.from_url("memory://")
    SealedBlobs(blobs, KEY).put("a", b"found")
    assert SealedBlobs(blobs, KEY).get("a") == b"found"


def test_blobs_absent_are_an_error_of_their_own() -> None:
    with pytest.raises(BlobAbsent, match="not in the store"):
        SealedBlobs("memory://", KEY).get("runs/nowhere")


def test_blobs_are_listed_and_deleted_by_whole_segments() -> None:
    blobs = SealedBlobs("memory://", KEY)
    for path in ("runs/run_1/b", "runs/run_1/a", "runs/run_10/a"):
        blobs.put(path, b"")
    assert blobs.list("runs/run_1") == ["runs/run_1/a", "runs/run_1/b"]
    assert blobs.delete_prefix("runs/run_1") == 2
    assert (blobs.exists("runs/run_1/a"), blobs.exists("runs/run_10/a")) == (False, True)


def test_repr_of_sealed_blobs_shows_neither_key_nor_place(tmp_path: Path) -> None:
    shown = repr(SealedBlobs(tmp_path.as_uri(), KEY))
    assert shown == "SealedBlobs(Blobs(file))"


_WITHOUT = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import linkage_matching
try:
    import {module}
except linkage_matching.MatchingError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("blocked", "module"),
    [
        (("obstore",), "linkage_matching.blobs"),
        (("cryptography",), "linkage_matching.blobs"),
        (("distributed",), "linkage_matching.dask_executor"),
        (("distributed",), "linkage_matching.dask_worker"),
    ],
)
def test_module_without_the_extra_says_how_to_install_it(blocked: tuple[str, ...], module: str) -> None:
    program = _WITHOUT.format(blocked=blocked, module=module)
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert "pip install 'linkage-matching[cluster]'" in said


def test_engine_is_imported_without_the_packages_of_the_extra() -> None:
    program = (
        "import sys, linkage_matching; print(sorted({'obstore', 'cryptography', 'distributed'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[]"
