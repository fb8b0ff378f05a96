"""Blobs, encrypted before they leave the process, so that a copy of the bucket or the disk holds nothing to attack.

Every upload has a data key of its own. Only its wrapped form is kept, in the database: once that is deleted, every copy
of the blobs, backups included, is noise (crypto-shredding). The key-encryption key never touches the store.

    StorageError              500
    ├── BlobMissing           500  a blob that the database knows of is not in the store
    ├── BlobTampered          500  a blob or a wrapped key does not open: changed, moved, or another key
    │   └── KeyNotHere        500  wrapped under a key-encryption key that did not reach this machine, or is gone
    └── StorageUnavailable    503  the store cannot be reached or refuses
        └── StorageFull       503  no space left
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from linkage_matching.blobs import KEY_BYTES, Blobs, SealedBlobs, Store, decrypt, encrypt
from linkage_matching.errors import BlobAbsent, BlobDamaged, BlobsFull, BlobsUnavailable
from linkage_service.errors import LinkageError

_VERSION = b"\x01"
_KEY_ID_BYTES = 8
_WRAP_CONTEXT = b"linkage/data-key/v1\0"
_SEAL_CONTEXT = b"linkage/sealed/v1\0"
_KEY_ID_CONTEXT = b"linkage/key-encryption-key-id/v1"


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


class KeyNotHere(BlobTampered):
    """Wrapped under a key-encryption key that this machine does not hold: one was rotated elsewhere, or destroyed."""


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

    __slots__ = ("_blobs", "_noticed", "_ring")

    def __init__(
        self,
        store: Blobs | Store,
        *,
        key_encryption_keys: Sequence[bytes] | Callable[[], Sequence[bytes]],
        noticed: "Callable[[StorageError], None] | None" = None,
    ) -> None:
        """Wrap with the first of the 32-byte keys; unwrap with whichever wrapped, so that keys can be rotated.

        Where the keys are given by a function it is asked again before something is wrapped, and for a key that is not
        known yet: another process may have rotated them. `noticed` is told of every failure of the store before it is
        raised.
        """
        self._blobs = store if isinstance(store, Blobs) else Blobs(store)
        self._ring = _Ring(key_encryption_keys if callable(key_encryption_keys) else lambda: key_encryption_keys)
        self._noticed = noticed

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        key_encryption_keys: Sequence[bytes] | Callable[[], Sequence[bytes]],
        noticed: "Callable[[StorageError], None] | None" = None,
    ) -> "BlobStore":
        """Open `file:///…` (made if absent, for its owner only), `s3://`, `gs://`, `az://`, or `memory://` in tests.

        Raises:
            StorageUnavailable: the address is not understood or the directory cannot be used.
        """
        with as_storage_errors():
            blobs = Blobs.from_url(url)
        return cls(blobs, key_encryption_keys=key_encryption_keys, noticed=noticed)

    def new_data_key(self) -> WrappedKey:
        """Draw a data key, for one upload or one run."""
        plain = secrets.token_bytes(KEY_BYTES)
        return WrappedKey(plain=plain, wrapped=self._wrap(plain))

    def rewrap(self, wrapped: bytes) -> bytes:
        """The same data key under the newest key-encryption key.

        Raises:
            BlobTampered: wrapped under a key-encryption key that is not configured, or changed.
        """
        return self._wrap(self.unwrap(wrapped).plain)

    def is_newest(self, wrapped_or_sealed: bytes) -> bool:
        """Whether something is wrapped or sealed under the newest key-encryption key."""
        return wrapped_or_sealed[1 : 1 + _KEY_ID_BYTES] == self._ring.newest()[0]

    def _wrap(self, plain: bytes) -> bytes:
        key_id, newest = self._ring.newest()
        header = _VERSION + key_id
        return encrypt(plain, key=newest, context=_WRAP_CONTEXT + header, header=header)

    def unwrap(self, wrapped: bytes) -> WrappedKey:
        """Open what `new_data_key` returned as `wrapped`.

        Raises:
            KeyNotHere: wrapped under a key-encryption key that is not configured.
            BlobTampered: changed.
        """
        header, rest = wrapped[: 1 + _KEY_ID_BYTES], wrapped[1 + _KEY_ID_BYTES :]
        key_encryption_key = self._ring.find(header[1:])
        if header[:1] != _VERSION or key_encryption_key is None:
            raise KeyNotHere(
                "A data key was wrapped under a key-encryption key that this service does not hold. What it protects "
                "cannot be read. Configure the key that was in use when the upload was made."
            )
        with as_storage_errors():
            plain = decrypt(rest, key=key_encryption_key, context=_WRAP_CONTEXT + header)
        return WrappedKey(plain=plain, wrapped=wrapped)

    def seal(self, plaintext: bytes, *, context: bytes) -> bytes:
        """Encrypt a few bytes that are kept outside the store; `context` says what they are and whose."""
        key_id, newest = self._ring.newest()
        header = _VERSION + key_id
        return encrypt(plaintext, key=newest, context=_SEAL_CONTEXT + header + context, header=header)

    def unseal(self, sealed: bytes, *, context: bytes) -> bytes:
        """Open what `seal` gave for the same context.

        Raises:
            BlobTampered: sealed under a key-encryption key that is not configured, for another context, or changed.
        """
        header, rest = sealed[: 1 + _KEY_ID_BYTES], sealed[1 + _KEY_ID_BYTES :]
        key_encryption_key = self._ring.find(header[1:])
        if header[:1] != _VERSION or key_encryption_key is None:
            raise BlobTampered(_TAMPERED)
        with as_storage_errors():
            return decrypt(rest, key=key_encryption_key, context=_SEAL_CONTEXT + header + context)

    def put(self, key: str, plaintext: bytes | bytearray | memoryview, *, data_key: WrappedKey) -> None:
        """Encrypt and write; a blob of the same key is replaced.

        Raises:
            StorageFull: no space left; nothing was written.
            StorageUnavailable: the store cannot be reached or refuses.
        """
        with self._failures():
            self.sealed(data_key).put(key, plaintext)

    def get(self, key: str, *, data_key: WrappedKey) -> bytes:
        """Read and decrypt.

        Raises:
            BlobMissing: no blob of that key.
            BlobTampered: changed, moved from another key, or encrypted under another data key.
            StorageUnavailable: the store cannot be reached or refuses.
        """
        with self._failures():
            return self.sealed(data_key).get(key)

    def get_many(self, keys: Iterable[str], *, data_key: WrappedKey) -> Iterator[bytes]:
        """Read and decrypt one after the other, in the order asked; holds one blob at a time."""
        for key in keys:
            yield self.get(key, data_key=data_key)

    def sealed_bytes(self, key: str) -> memoryview:
        """A blob as it lies in the store, for a backup.

        Raises:
            BlobMissing: no blob of that key.
            StorageUnavailable: the store cannot be reached or refuses.
        """
        with self._failures():
            return self._blobs.get(key)

    def put_sealed_bytes(self, key: str, sealed: bytes) -> None:
        """Put a blob back as `sealed_bytes` gave it.

        Raises:
            StorageUnavailable: the store cannot be reached or refuses, or is full.
        """
        with self._failures():
            self._blobs.put(key, sealed)

    def exists(self, key: str) -> bool:
        """Whether a blob of that key is there."""
        with self._failures():
            return self._blobs.exists(key)

    def list(self, prefix: str) -> list[str]:
        """Keys below `prefix/`, sorted. Whole segments count: `uploads/upl_1` does not list `uploads/upl_10/…`."""
        with self._failures():
            return self._blobs.list(prefix)

    def delete(self, key: str) -> None:
        """Delete; a blob that is gone already is no error, so that an interrupted deletion can be run again."""
        with self._failures():
            self._blobs.delete(key)

    def delete_prefix(self, prefix: str) -> int:
        """Delete every blob below `prefix/`; how many there were."""
        with self._failures():
            return self._blobs.delete_prefix(prefix)

    def sealed(self, data_key: WrappedKey) -> SealedBlobs:
        """What the matching engine and its workers are given: this store, and the data key to open and seal with.

        It raises the engine's BlobError where this class raises StorageError.
        """
        return SealedBlobs(self._blobs, data_key.plain)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            with as_storage_errors():
                yield
        except StorageError as error:
            if self._noticed is not None:
                self._noticed(error)
            raise


class _Ring:
    """The key-encryption keys by name, newest first."""

    __slots__ = ("_keys", "_read")

    def __init__(self, read: Callable[[], Sequence[bytes]]) -> None:
        self._read = read
        self._keys = self._reread()

    def newest(self) -> tuple[bytes, bytes]:
        """The key that wraps, with its name."""
        self._keys = self._reread()
        return next(iter(self._keys.items()))

    def find(self, key_id: bytes) -> bytes | None:
        """The key of a name."""
        if key_id not in self._keys:
            self._keys = self._reread()
        return self._keys.get(key_id)

    def _reread(self) -> dict[bytes, bytes]:
        keys = self._read()
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            message = f"The blob store needs at least one key-encryption key, each of {KEY_BYTES} bytes."
            raise ValueError(message)
        return {_key_id(key): key for key in keys}


_TAMPERED = (
    "A blob or a data key does not open: it was changed, moved, or encrypted under another key. It is not used. "
    "Treat this as a security incident, or restore the store and the database from the same backup."
)


def _key_id(key_encryption_key: bytes) -> bytes:
    """Name a key by what it is, so that nobody has to keep names and keys together."""
    return hmac.digest(key_encryption_key, _KEY_ID_CONTEXT, hashlib.sha256)[:_KEY_ID_BYTES]


@contextmanager
def as_storage_errors() -> Iterator[None]:
    """Turn what the engine says of blobs into our tree."""
    try:
        yield
    except BlobAbsent as error:
        raise BlobMissing(
            "A blob that the database knows of is not in the store. What it held is lost to the service. Restore the "
            "store from a backup, or have the provider upload again."
        ) from error
    except BlobDamaged as error:
        raise BlobTampered(_TAMPERED) from error
    except BlobsFull as error:
        raise StorageFull(
            "The blob store has no space left. Nothing was written. Free space or enlarge the store, then send "
            "the same request again."
        ) from error
    except BlobsUnavailable as error:
        raise StorageUnavailable(
            "The blob store cannot be reached or refuses. Nothing was changed. Send the same request again later; the "
            "operator should check the store's address, its credentials and its free space."
        ) from error
