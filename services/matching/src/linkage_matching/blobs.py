"""Encrypted blobs by URL: what the linkage unit stores and what its workers read. The one module that knows obstore.

A sealed blob is a version byte (1), a nonce of 12 bytes at random, and AES-256-GCM ciphertext with its tag of 16 bytes.
The blob's path is authenticated with it, so a blob that was put in another's place does not open.
"""

import re
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias
from urllib.parse import urlsplit
from urllib.request import url2pathname

from linkage_matching.errors import BlobAbsent, BlobDamaged, BlobsFull, BlobsUnavailable, MatchingError
from linkage_matching.extras import cluster_extra

# Import this module late: a plain installation of the engine has none of these.
with cluster_extra():
    import obstore
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore, ObjectStore, from_url

if TYPE_CHECKING:
    from obstore.store import RetryConfig

KEY_BYTES = 32
BLOB_BYTES_MAX = 2**31 - 2**16  # one call of AES-GCM in OpenSSL takes less than 2 GiB

_VERSION = b"\x01"
_NONCE_BYTES = 12  # 96 bits at random: safe for 2^32 blobs a key (NIST SP 800-38D section 8.3)
_TAG_BYTES = 16
_CONTEXT = b"linkage/blob/v1\0"
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
# obstore has no error class for a full disk; its message carries the system's number: ENOSPC, EDQUOT
_FULL = re.compile(r"\(os error (?:28|122)\)|kind: (?:StorageFull|QuotaExceeded)")

# obstore would try for three minutes, and whoever waits for the answer would not. How long one try may take is its own
# setting (30 seconds; AWS_TIMEOUT and the like): options given here would take the place of the environment's.
_RETRIES: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}

_Plaintext = bytes | bytearray | memoryview
Store: TypeAlias = ObjectStore
"""An object store of obstore's."""


def seal(path: str, plaintext: _Plaintext, *, key: bytes) -> bytes:
    """Encrypt a blob for its path, under a key of 32 bytes.

    Raises:
        ValueError: the path or the key is not as blobs have them, or the blob is too large.
    """
    if len(plaintext) > BLOB_BYTES_MAX:
        message = f"A blob holds at most {BLOB_BYTES_MAX} bytes; split it."
        raise ValueError(message)
    return encrypt(plaintext, key=key, context=_context(path), header=_VERSION)


def open_sealed(path: str, sealed: bytes | memoryview, *, key: bytes) -> bytes:
    """Decrypt a blob that was sealed for this path.

    Raises:
        BlobDamaged: changed, cut short, moved from another path, or sealed under another key.
    """
    view = memoryview(sealed)
    if view[:1] != _VERSION:
        raise BlobDamaged(_DAMAGED)
    return decrypt(view[1:], key=key, context=_context(path))


def encrypt(plaintext: _Plaintext, *, key: bytes, context: bytes, header: bytes = b"") -> bytes:
    """The header, a nonce at random, and AES-256-GCM ciphertext.

    `context` is authenticated and has to be the same to decrypt; the header is not, unless it is part of the context.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return b"".join((header, nonce, AESGCM(_checked_key(key)).encrypt(nonce, plaintext, context)))


def decrypt(sealed: bytes | memoryview, *, key: bytes, context: bytes) -> bytes:
    """What `encrypt` sealed, given without its header.

    Raises:
        BlobDamaged: changed, cut short, of another context, or under another key.
    """
    if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
        raise BlobDamaged(_DAMAGED)
    try:
        return AESGCM(_checked_key(key)).decrypt(bytes(sealed[:_NONCE_BYTES]), sealed[_NONCE_BYTES:], context)
    except InvalidTag:
        raise BlobDamaged(_DAMAGED) from None


class Blobs:
    """Bytes by path in a directory or a bucket, as they are.

    Paths are segments of ASCII letters, digits, `.`, `_` and `-`, joined by `/`. Safe to share between threads. A put
    replaces the whole blob or nothing. Pickled as its URL; opened again where it is used.
    """

    __slots__ = ("_store", "_url")

    def __init__(self, store: Store | None, *, url: str | None = None) -> None:
        """Use an object store of obstore's, or with None open the URL at the first use."""
        self._store = store
        self._url = url

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Open `file:///…` (made if absent, for its owner only), `s3://`, `gs://`, `az://`, or `memory://` in tests.

        An object store takes its credentials from the environment, as its own tools do.

        Raises:
            BlobsUnavailable: the address is not understood or the directory cannot be used.
        """
        with _as_blob_errors():
            return cls(_open(url, make=True), url=url)

    @property
    def shared(self) -> bool:
        """Whether another process that is given this finds the same blobs."""
        return self._url is not None and urlsplit(self._url).scheme != "memory"

    def put(self, path: str, content: bytes) -> None:
        """Write; a blob of the same path is replaced.

        Raises:
            BlobsFull: no space left; nothing was written.
            BlobsUnavailable: the store cannot be reached or refuses.
        """
        checked_path(path)
        with _as_blob_errors():
            obstore.put(self._opened(), path, content)

    def get(self, path: str) -> memoryview:
        """Read.

        Raises:
            BlobAbsent: no blob of that path.
            BlobsUnavailable: the store cannot be reached or refuses.
        """
        checked_path(path)
        with _as_blob_errors():
            return memoryview(obstore.get(self._opened(), path).bytes())

    def exists(self, path: str) -> bool:
        """Whether a blob of that path is there."""
        checked_path(path)
        try:
            with _as_blob_errors():
                obstore.head(self._opened(), path)
        except BlobAbsent:
            return False
        return True

    def list(self, prefix: str) -> list[str]:
        """Paths below `prefix/`, sorted. Whole segments count: `runs/run_1` does not list `runs/run_10/…`."""
        checked_path(prefix)
        with _as_blob_errors():
            return sorted(blob["path"] for chunk in obstore.list(self._opened(), prefix=prefix) for blob in chunk)

    def delete(self, path: str) -> None:
        """Delete; a blob that is gone already is no error, so that an interrupted deletion can be run again."""
        checked_path(path)
        try:
            with _as_blob_errors():
                obstore.delete(self._opened(), path)
        except BlobAbsent:
            return

    def delete_prefix(self, prefix: str) -> int:
        """Delete every blob below `prefix/`; how many there were."""
        paths = self.list(prefix)
        for path in paths:
            self.delete(path)
        return len(paths)

    def _opened(self) -> Store:
        if self._store is None:
            # Not made here: a worker that does not see the store must say so, and not work in a new, empty one.
            self._store = _open(self._url or "", make=False)
        return self._store

    def __repr__(self) -> str:
        return f"{type(self).__name__}({urlsplit(self._url or '').scheme or 'in this process'})"

    def __reduce__(self) -> tuple[object, ...]:
        if not self.shared:
            raise MatchingError(
                "Blobs in the memory of one process cannot be given to another. Use a directory or an object store."
            )
        return _reopened, (self._url,)


class SealedBlobs:
    """Blobs that are sealed under one key: what one upload, or one run, is given to work with.

    Picklable where its store is shared. Whoever unpickles it can read what is sealed under the key.
    """

    __slots__ = ("_blobs", "_key")

    def __init__(self, url: str | Blobs, key: bytes) -> None:
        """Open the store of a URL (see `Blobs.from_url`), or use one that is open.

        Raises:
            ValueError: the key has not 32 bytes.
            BlobsUnavailable: the store cannot be used.
        """
        self._key = _checked_key(key)
        self._blobs = url if isinstance(url, Blobs) else Blobs.from_url(url)

    @property
    def shared(self) -> bool:
        """Whether another process that is given this finds the same blobs."""
        return self._blobs.shared

    def put(self, path: str, plaintext: _Plaintext) -> None:
        """Seal and write; see `Blobs.put`."""
        self._blobs.put(checked_path(path), seal(path, plaintext, key=self._key))

    def get(self, path: str) -> bytes:
        """Read and open; see `Blobs.get`.

        Raises:
            BlobDamaged: changed, moved from another path, or sealed under another key.
        """
        return open_sealed(path, self._blobs.get(path), key=self._key)

    def exists(self, path: str) -> bool:
        """Whether a blob of that path is there; whether it opens, only `get` tells."""
        return self._blobs.exists(path)

    def list(self, prefix: str) -> list[str]:
        """Paths below `prefix/`, sorted."""
        return self._blobs.list(prefix)

    def delete_prefix(self, prefix: str) -> int:
        """Delete every blob below `prefix/`; how many there were."""
        return self._blobs.delete_prefix(prefix)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._blobs!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._blobs, self._key)


def checked_path(path: str) -> str:
    """The path as it is.

    Raises:
        ValueError: it is not made of segments of the alphabet.
    """
    if not all(_SEGMENT.fullmatch(segment) for segment in path.split("/")):
        raise ValueError("A blob's path is made of segments of letters, digits, '.', '_' and '-', joined by '/'.")
    return path


_DAMAGED = (
    "A blob does not open: it was changed, cut short, moved, or sealed under another key. It is not used. "
    "Treat this as a security incident, or restore the store from a backup."
)


def _reopened(url: str) -> Blobs:
    return Blobs(None, url=url)


def _open(url: str, *, make: bool) -> Store:
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return from_url(url)
    if parts.scheme != "file":
        return from_url(url, retry_config=_RETRIES)
    directory = Path(url2pathname(parts.path))
    if make:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Directories are named after uploads and runs: a deleted one leaves none behind.
    return LocalStore(directory, automatic_cleanup=True)


def _checked_key(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        message = f"A key for blobs has {KEY_BYTES} bytes."
        raise ValueError(message)
    return key


def _context(path: str) -> bytes:
    encoded = checked_path(path).encode("ascii")
    return _CONTEXT + struct.pack(">I", len(encoded)) + encoded


@contextmanager
def _as_blob_errors() -> Iterator[None]:
    """Turn what the store raises into our tree; the store's own words name paths and buckets and stay in the cause."""
    try:
        yield
    except FileNotFoundError as error:
        raise BlobAbsent(
            "A blob is not in the store. It was deleted, or this process sees another store than the one that wrote "
            "it: workers on other machines need the same directory at the same place, or an object store."
        ) from error
    except (BaseError, OSError, ValueError) as error:
        if _FULL.search(f"{error} {error!r}"):
            raise BlobsFull(
                "The blob store has no space left. Nothing was written. Free space or enlarge it, then try again."
            ) from error
        raise BlobsUnavailable(
            "The blob store cannot be reached or refuses. Nothing was changed. Check its address, the credentials of "
            "this process and its free space, then try again."
        ) from error
