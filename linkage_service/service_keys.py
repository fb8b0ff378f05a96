"""The service's own keys: made once, kept outside the database, readable by its owner alone."""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from joserfc.jwk import OKPKey

from linkage_ledger.notes import SigningKey
from linkage_service.errors import LinkageError

_LOG, _TOKEN, _STORAGE = "log.key", "token.jwk", "storage.key"
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


def _write_once(path: Path, make: Callable[[], str]) -> None:
    if path.exists():
        return
    content = make()
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
