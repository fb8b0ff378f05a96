"""The linkage secret of a project as a sealed file, for providers who hand it over themselves, without the service."""

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import rfc8785

from linkage_client.encoding.key_check import MINIMUM_SECRET_BYTES
from linkage_client.errors import DataError, KeyExchangeError, SecretError
from linkage_client.exchange._documents import Malformed, exact_members, identifier, integer, json_object
from linkage_client.exchange.sealed import MAXIMUM_CONTENT_BYTES, MAXIMUM_FILE_BYTES, seal, unseal
from linkage_client.keys import write_private_file

_MEMBERS: Final = ("project", "epoch", "secret")


@dataclass(frozen=True, slots=True)
class ProjectSecret:
    """A secret, and what it is for: a file that only held the secret could be kept for the wrong project."""

    project_id: str
    epoch: int
    secret: bytes = field(repr=False)

    def save(self, path: Path, *, passphrase: str) -> None:
        """Write a new sealed file that only this account can read.

        Raises:
            KeyExchangeError: the passphrase is too short.
            SecretError: the secret is too long.
            OutputExistsError: the file exists.
            KeyFileError: it cannot be written.
        """
        secret = base64.b64encode(self.secret).decode()
        content = rfc8785.dumps({"project": self.project_id, "epoch": self.epoch, "secret": secret})
        if len(content) > MAXIMUM_CONTENT_BYTES:
            raise SecretError("The linkage secret is too long for a sealed file. Hand it over in another way.")
        write_private_file(path, seal(content, kind="secret", passphrase=passphrase))

    @classmethod
    def load(cls, path: Path, *, passphrase: str) -> Self:
        """Open a sealed file.

        Raises:
            DataError: the file cannot be read.
            KeyExchangeError: it is no sealed secret, or the passphrase is wrong.
        """
        try:
            with path.open("rb") as file:
                data = file.read(MAXIMUM_FILE_BYTES + 1)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}. Name the sealed file.") from None
        content = unseal(data, kind="secret", passphrase=passphrase)
        try:
            members = exact_members(json_object(content, maximum_bytes=MAXIMUM_CONTENT_BYTES), _MEMBERS)
            return cls(
                project_id=identifier(members["project"]),
                epoch=integer(members["epoch"], at_least=1),
                secret=_secret(members["secret"]),
            )
        except Malformed:
            raise KeyExchangeError(
                "The sealed file holds no usable linkage secret of a project. Ask who sealed it to make it anew with "
                "`linkage secret export`.",
                code="sealed_damaged",
            ) from None


def _secret(value: object) -> bytes:
    if not isinstance(value, str):
        raise Malformed
    try:
        secret = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed from None
    if len(secret) < MINIMUM_SECRET_BYTES:
        raise Malformed
    return secret
