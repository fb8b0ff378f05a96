"""Blobs, encrypted before they leave the process, so that a copy of the bucket or the disk holds nothing to attack.

Every upload has a data key of its own. Only its wrapped form is kept, in the database: once that is deleted, every copy
of the blobs, backups included, is noise (crypto-shredding). The key-encryption key never touches the store.

    StorageError              500
    ├── BlobMissing           500  a blob that the database knows of is not in the store
    ├── BlobTampered          500  a blob or a wrapped key does not open: changed, moved, or another key
    └── StorageUnavailable    503  the store cannot be reached or refuses
        └── StorageFull       503  no space left
"""

import hashlib
import hmac
import re
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from linkage_service.errors import LinkageError

KEY_BYTES = 32
BLOB_BYTES_MAX = 2**31 - 2**16  # one call of AES-GCM in OpenSSL takes less than 2 GiB

_VERSION = b"\x01"
_NONCE_BYTES = 12  # 96 bits at random: safe for 2^32 blobs a data key (NIST SP 800-38D section 8.3)
_TAG_BYTES = 16
_KEY_ID_BYTES = 8
_BLOB_CONTEXT = b"linkage/blob/v1\0"
_WRAP_CONTEXT = b"linkage/data-key/v1\0"
_KEY_ID_CONTEXT = b"linkage/key-encryption-key-id/v1"
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
# obstore has no error class for a full disk; its message carries the system's number: ENOSPC, EDQUOT
_FULL = re.compile(r"\(os error (?:28|122)\)|kind: (?:StorageFull|QuotaExceeded)")


class StorageError(LinkageError):
    """The blob store failed."""

    code = "storage_error"
    status = 500
    title = "The blob store failed"


class BlobMissing(StorageError):
    """A blob that should be there is not."""

    code = "blob_missing"


class BlobTampered(StorageError):
    """A blob or a wrapped key does not open."""

    code = "blob_tampered"


class StorageUnavailable(StorageError):
    """The store cannot be reached or refuses."""

    code = "storage_unavailable"
    status = 503
    title = "The blob store is not available"


class StorageFull(StorageUnavailable):
    """The store has no space left."""

    code = "storage_full"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key.

    Attributes:
        plain: 32 bytes for AES-256-GCM. Stays in memory; never stored, never shown.
        wrapped: the same under the key-encryption key; this is what the database keeps.
    """

    plain: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)


class BlobStore:
    """A directory or a bucket whose contents only this service can read.

    Keys look like paths (`uploads/upl_…/part-0001`): segments of ASCII letters, digits, `.`, `_` and `-`. Safe to share
    between threads. A put replaces the whole blob or nothing.
    """

    __slots__ = ("_key_encryption_keys", "_newest_key_id", "_store")

    def __init__(self, store: ObjectStore, *, key_encryption_keys: Sequence[bytes]) -> None:
        """Wrap with the first of the 32-byte keys; unwrap with whichever wrapped, so that keys can be rotated."""
        if not key_encryption_keys or any(len(key) != KEY_BYTES for key in key_encryption_keys):
            message = f"The blob store needs at least one key-encryption key, each of {KEY_BYTES} bytes."
            raise ValueError(message)
        self._store = store
        self._key_encryption_keys = {_key_id(key): AESGCM(key) for key in key_encryption_keys}
        self._newest_key_id = _key_id(key_encryption_keys[0])

    @classmethod
    def from_url(cls, url: str, *, key_encryption_keys: Sequence[bytes]) -> "BlobStore":
        """Open `file:///…` (made if absent, for its owner only), `s3://`, `gs://`, `az://`, or `memory://` in tests.

        Raises:
            StorageUnavailable: the address is not understood or the directory cannot be used.
        """
        with _as_storage_errors():
            store = _open(url)
        return cls(store, key_encryption_keys=key_encryption_keys)

    def new_data_key(self) -> WrappedKey:
        """Draw a data key, for one upload or one run."""
        plain = secrets.token_bytes(KEY_BYTES)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        header = _VERSION + self._newest_key_id
        sealed = self._key_encryption_keys[self._newest_key_id].encrypt(nonce, plain, _WRAP_CONTEXT + header)
        return WrappedKey(plain=plain, wrapped=header + nonce + sealed)

    def unwrap(self, wrapped: bytes) -> WrappedKey:
        """Open what `new_data_key` returned as `wrapped`.

        Raises:
            BlobTampered: wrapped under a key-encryption key that is not configured, or changed.
        """
        header, rest = wrapped[: 1 + _KEY_ID_BYTES], wrapped[1 + _KEY_ID_BYTES :]
        key_encryption_key = self._key_encryption_keys.get(header[1:])
        if header[:1] != _VERSION or key_encryption_key is None:
            raise BlobTampered(
                "A data key was wrapped under a key-encryption key that this service does not hold. What it protects "
                "cannot be read. Configure the key that was in use when the upload was made."
            )
        plain = _open_sealed(key_encryption_key, rest, context=_WRAP_CONTEXT + header)
        return WrappedKey(plain=plain, wrapped=wrapped)

    def put(self, key: str, plaintext: bytes | bytearray | memoryview, *, data_key: WrappedKey) -> None:
        """Encrypt and write; a blob of the same key is replaced.

        Raises:
            StorageFull: no space left; nothing was written.
            StorageUnavailable: the store cannot be reached or refuses.
        """
        path = _checked(key)
        if len(plaintext) > BLOB_BYTES_MAX:
            message = f"A blob holds at most {BLOB_BYTES_MAX} bytes; split it."
            raise ValueError(message)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(data_key.plain).encrypt(nonce, plaintext, _blob_context(path))
        with _as_storage_errors():
            obstore.put(self._store, path, _VERSION + nonce + sealed)

    def get(self, key: str, *, data_key: WrappedKey) -> bytes:
        """Read and decrypt.

        Raises:
            BlobMissing: no blob of that key.
            BlobTampered: changed, moved from another key, or encrypted under another data key.
            StorageUnavailable: the store cannot be reached or refuses.
        """
        path = _checked(key)
        with _as_storage_errors():
            sealed = memoryview(obstore.get(self._store, path).bytes())
        if sealed[:1] != _VERSION:
            raise BlobTampered(_TAMPERED)
        return _open_sealed(AESGCM(data_key.plain), sealed[1:], context=_blob_context(path))

    def get_many(self, keys: Iterable[str], *, data_key: WrappedKey) -> Iterator[bytes]:
        """Read and decrypt one after the other, in the order asked; holds one blob at a time."""
        for key in keys:
            yield self.get(key, data_key=data_key)

    def exists(self, key: str) -> bool:
        """Whether a blob of that key is there."""
        path = _checked(key)
        try:
            with _as_storage_errors():
                obstore.head(self._store, path)
        except BlobMissing:
            return False
        return True

    def list(self, prefix: str) -> list[str]:
        """Keys below `prefix/`, sorted. Whole segments count: `uploads/upl_1` does not list `uploads/upl_10/…`."""
        path = _checked(prefix)
        with _as_storage_errors():
            return sorted(blob["path"] for chunk in obstore.list(self._store, prefix=path) for blob in chunk)

    def delete(self, key: str) -> None:
        """Delete; a blob that is gone already is no error, so that an interrupted deletion can be run again."""
        path = _checked(key)
        try:
            with _as_storage_errors():
                obstore.delete(self._store, path)
        except BlobMissing:
            return

    def delete_prefix(self, prefix: str) -> int:
        """Delete every blob below `prefix/`; how many there were."""
        keys = self.list(prefix)
        for key in keys:
            self.delete(key)
        return len(keys)


_TAMPERED = (
    "A blob or a data key does not open: it was changed, moved, or encrypted under another key. It is not used. "
    "Treat this as a security incident, or restore the store and the database from the same backup."
)


def _open(url: str) -> ObjectStore:
    parts = urlsplit(url)
    if parts.scheme != "file":
        return from_url(url)
    directory = Path(url2pathname(parts.path))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Directories are named after uploads: a deleted upload leaves none behind.
    return LocalStore(directory, automatic_cleanup=True)


def _open_sealed(cipher: AESGCM, sealed: bytes | memoryview, *, context: bytes) -> bytes:
    if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
        raise BlobTampered(_TAMPERED)
    try:
        return cipher.decrypt(bytes(sealed[:_NONCE_BYTES]), sealed[_NONCE_BYTES:], context)
    except InvalidTag:
        raise BlobTampered(_TAMPERED) from None


def _key_id(key_encryption_key: bytes) -> bytes:
    """Name a key by what it is, so that nobody has to keep names and keys together."""
    return hmac.digest(key_encryption_key, _KEY_ID_CONTEXT, hashlib.sha256)[:_KEY_ID_BYTES]


def _blob_context(path: str) -> bytes:
    encoded = path.encode("ascii")
    return _BLOB_CONTEXT + struct.pack(">I", len(encoded)) + encoded


def _checked(key: str) -> str:
    if not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise ValueError("A blob's key is made of segments of letters, digits, '.', '_' and '-', joined by '/'.")
    return key


@contextmanager
def _as_storage_errors() -> Iterator[None]:
    """Turn what the store raises into our tree; the store's own words name paths and buckets and stay in the cause."""
    try:
        yield
    except FileNotFoundError as error:
        raise BlobMissing(
            "A blob that the database knows of is not in the store. What it held is lost to the service. Restore the "
            "store from a backup, or have the provider upload again."
        ) from error
    except (BaseError, OSError, ValueError) as error:
        if _FULL.search(f"{error} {error!r}"):
            raise StorageFull(
                "The blob store has no space left. Nothing was written. Free space or enlarge the store, then send "
                "the same request again."
            ) from error
        raise StorageUnavailable(
            "The blob store cannot be reached or refuses. Nothing was changed. Send the same request again later; the "
            "operator should check the store's address, its credentials and its free space."
        ) from error
