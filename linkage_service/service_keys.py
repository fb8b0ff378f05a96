"""The service's own keys: made once, kept outside the database, readable by its owner alone."""

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from joserfc.jwk import OKPKey

from linkage_ledger.notes import SigningKey
from linkage_service.errors import Conflict, LinkageError

_LOG, _TOKEN, _STORAGE = "log.key", "token.jwk", "storage.key"
_FORMER_STORAGE = "storage.key.former"
_NEXT_LOG, _LOCK = "log.key.next", "rotation.lock"
_KEY_BYTES = 32


class KeysMissing(LinkageError):
    """The service's keys are not where they should be."""

    code = "keys_missing"


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """Every secret of the service.

    Attributes:
        log: signs checkpoints.
        token: signs access tokens.
        storage: wraps the data keys of blobs and the keys of recipients' link ids.
    """

    log: SigningKey = field(repr=False)
    token: OKPKey = field(repr=False)
    storage: bytes = field(repr=False)


def create(folder: Path, *, log_origin: str | None) -> ServiceKeys:
    """Makes every key that is not there yet.

    Args:
        folder: made if needed, for its owner only.
        log_origin: the log's name; by default a random one, for a log whose name changes is another log.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    origin = log_origin or f"linkage.local/{secrets.token_hex(8)}"
    _write_once(folder / _LOG, SigningKey.generate(origin).format)
    _write_once(folder / _TOKEN, lambda: json.dumps(OKPKey.generate_key("Ed25519").as_dict(private=True)))
    _write_once(folder / _STORAGE, lambda: secrets.token_hex(_KEY_BYTES))
    return load(folder)


def load(folder: Path) -> ServiceKeys:
    """Reads the keys.

    Raises:
        KeysMissing: one is not there or cannot be read.
    """
    try:
        return ServiceKeys(
            log=SigningKey.parse((folder / _LOG).read_text("utf-8").strip()),
            token=OKPKey.import_key(json.loads((folder / _TOKEN).read_text("utf-8"))),
            storage=bytes.fromhex((folder / _STORAGE).read_text("utf-8").strip()),
        )
    except (OSError, ValueError) as error:
        raise KeysMissing(
            "The service's keys cannot be read. Run `linkage-service init` for a new service, or restore the keys "
            "folder from its backup: without these keys, stored encodings cannot be opened and the log cannot be "
            "continued."
        ) from error


def storage_keys(folder: Path) -> list[bytes]:
    """The key-encryption keys, the present one first.

    Raises:
        KeysMissing: the present one cannot be read.
    """
    try:
        present = bytes.fromhex((folder / _STORAGE).read_text("utf-8").strip())
    except (OSError, ValueError) as error:
        raise KeysMissing(
            "The key-encryption key cannot be read. Restore the keys folder from its backup: without it, stored "
            "encodings cannot be opened."
        ) from error
    # Read second: a present key that was replaced meanwhile is among them by then.
    return list(dict.fromkeys([present, *_former_storage_keys(folder)]))


def renew_storage_key(folder: Path) -> None:
    """Puts a new key-encryption key in the place of the present one, which is kept as a former one."""
    # Written first, so that a process killed in between has lost nothing.
    _write(folder / _FORMER_STORAGE, "".join(f"{key.hex()}\n" for key in storage_keys(folder)))
    _write(folder / _STORAGE, secrets.token_hex(_KEY_BYTES))


def forget_former_storage_keys(folder: Path) -> None:
    """Destroys the former key-encryption keys."""
    (folder / _FORMER_STORAGE).unlink(missing_ok=True)
    _to_disk(folder)


def _former_storage_keys(folder: Path) -> list[bytes]:
    try:
        return [bytes.fromhex(line) for line in (folder / _FORMER_STORAGE).read_text("utf-8").split()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise KeysMissing("The former key-encryption keys cannot be read. Restore the keys folder.") from error


def put_back(folder: Path, files: Mapping[str, bytes]) -> ServiceKeys:
    """Writes key files of a backup into an empty folder, for its owner only, and reads them.

    Raises:
        KeysMissing: these are not the keys of a service.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    for name, content in files.items():
        _write(folder / Path(name).name, content.decode("utf-8"))
    return load(folder)


def log_keys(folder: Path) -> list[SigningKey]:
    """The log's key, and a new one for which a rotation is under way or was interrupted: whichever can be read."""
    # The next one first: renamed after that it is known already, and renamed before it is found as the log's key.
    return [key for name in (_NEXT_LOG, _LOG) if (key := _log_key(folder / name)) is not None]


def next_log_key(folder: Path) -> SigningKey | None:
    """The new key alone, if one lies there."""
    return _log_key(folder / _NEXT_LOG)


def _log_key(path: Path) -> SigningKey | None:
    with suppress(OSError, ValueError):
        return SigningKey.parse(path.read_text("utf-8").strip())
    return None


@contextmanager
def rotating(folder: Path) -> Iterator[None]:
    """Keeps other rotations of this folder's keys out.

    Raises:
        Conflict: another one is under way.
    """
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict("Another process is rotating a key. Wait for it to end.") from None
        yield
    finally:
        os.close(descriptor)


def keep_next_log_key(folder: Path, key: SigningKey) -> None:
    """Writes the key to come to the disk, before anything says that it will speak for the log."""
    _write(folder / _NEXT_LOG, key.format())


def promote_next_log_key(folder: Path) -> None:
    """Puts the key to come in the place of the log's key, which is gone then."""
    (folder / _NEXT_LOG).replace(folder / _LOG)
    _to_disk(folder)


def _write_once(path: Path, make: Callable[[], str]) -> None:
    if path.exists():
        return
    _write(path, make())


def _write(path: Path, content: str) -> None:
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _to_disk(path.parent)


def _to_disk(folder: Path) -> None:
    """Has the names in a folder on the disk: a rename is in the folder, not in the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
