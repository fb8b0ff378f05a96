"""Reads linkage secrets and makes their check values, so that a wrong secret is found before nothing matches."""

import hashlib
import hmac
from pathlib import Path
from typing import Final

from linkage_client._private_files import read_with_mode
from linkage_client.errors import SecretError

MINIMUM_SECRET_BYTES: Final = 16
MAXIMUM_SECRET_BYTES: Final = 65_536
"""Anything larger is another file that was named by mistake, such as the extract."""
CHECK_VALUE_HEX_DIGITS: Final = 32
_ADVICE: Final = (
    "Use a file of at least 16 random bytes that all providers of the project share, as `linkage secret new` makes them"
)


def read_secret(path: str | Path) -> bytes:
    """The secret in a file, without one newline at its end.

    Raises:
        SecretError: the file cannot be read, other accounts can read it, or it is empty or too short to keep anybody
            from guessing.
    """
    try:
        content, mode = read_with_mode(Path(path), maximum_bytes=MAXIMUM_SECRET_BYTES)
    except OSError as error:
        raise SecretError(f"the file of the linkage secret cannot be read ({error.strerror}). {_ADVICE}") from error
    if mode is not None:
        raise SecretError(
            f"the file of the linkage secret is open to other accounts (mode {mode}), so the secret may be known to "
            "them. Draw a new one with the other providers if they should not have it, or run `chmod 600` on the file"
        )
    return usable_secret(content)


def usable_secret(content: bytes) -> bytes:
    """The secret in what a file or a pipe holds, without one newline at its end.

    Raises:
        SecretError: it is empty, too short to keep anybody from guessing, or so long that it must be something else.
    """
    if len(content) > MAXIMUM_SECRET_BYTES:
        raise SecretError(f"the file is too large for a linkage secret, so that another one is meant. {_ADVICE}")
    secret = content
    for newline in (b"\r\n", b"\n"):
        if secret.endswith(newline):
            secret = secret.removesuffix(newline)
            break
    if not secret:
        raise SecretError(f"the file of the linkage secret is empty. {_ADVICE}")
    if len(secret) < MINIMUM_SECRET_BYTES:
        raise SecretError(f"the linkage secret is shorter than {MINIMUM_SECRET_BYTES} bytes. {_ADVICE}")
    return secret


def check_value(secret: bytes, *, project_id: str, epoch: int) -> str:
    """32 hex digits that are equal for equal secrets of one project and epoch, and say nothing else about them."""
    message = b"linkage/kcv/v1\0" + project_id.encode() + b"\0" + str(epoch).encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:CHECK_VALUE_HEX_DIGITS]
