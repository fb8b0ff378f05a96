"""The service's keys in one file, sealed with a passphrase, for those who must have them in a backup."""

import base64
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from linkage_matching.blobs import KEY_BYTES, decrypt, encrypt
from linkage_matching.errors import BlobDamaged
from linkage_service.errors import LinkageError

PASSPHRASE_MIN = 16
_CONTEXT = b"linkage/backup-keys/v1\0"
_SALT_BYTES = 16
# RFC 7914 with 128 MiB: a guess takes about half a second.
_N, _R, _P = 2**17, 8, 1


class PassphraseWrong(LinkageError):
    """The keys in a backup do not open."""

    code = "passphrase_wrong"
    status = 422
    title = "The passphrase is not right"


def key_files(folder: Path) -> dict[str, bytes]:
    """Every key file of a keys folder by its name; one that a rotation renames meanwhile may be missing."""
    found = {}
    for path in sorted(folder.glob("*.[kj]*")):
        with suppress(FileNotFoundError):
            found[path.name] = path.read_bytes()
    return found


def must_be_long(passphrase: str) -> None:
    """Refuses a passphrase under which keys are not safe.

    Raises:
        PassphraseWrong: it is too short to keep anything.
    """
    if len(passphrase) < PASSPHRASE_MIN:
        raise PassphraseWrong(f"A passphrase for keys has {PASSPHRASE_MIN} characters or more.")


def seal(files: Mapping[str, bytes], passphrase: str) -> bytes:
    """Key files by name, sealed.

    Raises:
        PassphraseWrong: it is too short to keep anything.
    """
    must_be_long(passphrase)
    plain = {name: base64.b64encode(content).decode() for name, content in files.items()}
    salt = secrets.token_bytes(_SALT_BYTES)
    return encrypt(json.dumps(plain).encode(), key=_key(passphrase, salt), context=_CONTEXT + salt, header=salt)


def unseal(sealed: bytes, passphrase: str) -> dict[str, bytes]:
    """The files by name.

    Raises:
        PassphraseWrong: it is not the one, or the file was changed.
    """
    salt = sealed[:_SALT_BYTES]
    try:
        opened = decrypt(sealed[_SALT_BYTES:], key=_key(passphrase, salt), context=_CONTEXT + salt)
    except BlobDamaged as error:
        raise PassphraseWrong(
            "The keys in this backup do not open: the passphrase is another one, or the file was changed."
        ) from error
    files: dict[str, str] = json.loads(opened)
    return {name: base64.b64decode(content) for name, content in files.items()}


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=_N, r=_R, p=_P).derive(passphrase.encode())
