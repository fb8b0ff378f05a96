"""Ed25519 keys as files that only their owner can read, and the two statements an organisation signs with them.

A *client key* identifies one machine at the token endpoint. A *signing key* speaks for the organisation: it signs the
registration and agreements. Both are the same kind of key, kept in separate files so that a signatory's key need not
lie on an analyst's machine. Files are JWK (RFC 7517, RFC 8037); PKCS#8 PEM files made by other tools are read too.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import rfc8785
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from linkage_client._base64url import to_base64url
from linkage_client._private_files import read_with_mode
from linkage_client.errors import KeyFileError, OutputExistsError
from linkage_client.files import create_whole, remove_partial

REGISTRATION_CONTEXT = b"linkage/registration/v1\0"
AGREEMENT_CONTEXT = b"linkage/agreement/v1\0"
# A key file is a few hundred bytes; anything larger is another file named by mistake.
MAXIMUM_KEY_FILE_BYTES = 16_384


class SigningKey:
    """One Ed25519 private key. It signs and shows its public half.

    The private half leaves only through `save`, to a file, and `private_jwk`, to a keystore.
    """

    __slots__ = ("_private",)

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    def __repr__(self) -> str:
        return f"SigningKey(thumbprint={self.thumbprint!r})"

    @classmethod
    def generate(cls) -> Self:
        """A new key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> Self:
        """The key of a private JWK (RFC 8037).

        Raises:
            KeyFileError: it is not an Ed25519 private key, or its two halves do not belong together.
        """
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519" or not isinstance(jwk.get("d"), str):
            raise KeyFileError("This JWK is not an Ed25519 private key. Make one with `linkage register`.")
        try:
            key = cls(Ed25519PrivateKey.from_private_bytes(_from_base64url(jwk["d"])))
        except (ValueError, binascii.Error):
            raise KeyFileError("The private half of this JWK is damaged. Restore the file from a copy.") from None
        if "x" in jwk and jwk["x"] != key.public_jwk["x"]:
            raise KeyFileError("The two halves of this JWK do not belong together. Restore the file from a copy.")
        return key

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a JWK or an unencrypted PKCS#8 PEM file.

        Raises:
            KeyFileError: absent, readable by other accounts, or not an Ed25519 private key.
        """
        raw = read_private_file(path)
        try:
            if raw.lstrip().startswith(b"-----BEGIN"):
                return cls._from_pem(raw)
            jwk = json.loads(raw)
            return cls.from_jwk(jwk if isinstance(jwk, dict) else {})
        except KeyFileError as error:
            raise KeyFileError(f"Key file {path}: {error.message}") from None
        except (ValueError, RecursionError):
            raise KeyFileError(f"Key file {path} is neither a JWK nor a PEM file. Name the right file.") from None

    @classmethod
    def _from_pem(cls, raw: bytes) -> Self:
        try:
            private = load_pem_private_key(raw, password=None)
        except TypeError:
            raise KeyFileError("It is protected by a passphrase; store it unencrypted with mode 0600.") from None
        except (ValueError, UnsupportedAlgorithm):
            raise KeyFileError("This PEM file cannot be read as a private key. Name the right file.") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyFileError("This key is not Ed25519; the service accepts only Ed25519 from this client.")
        return cls(private)

    @property
    def public_jwk(self) -> dict[str, str]:
        """The public half, with exactly the members that the thumbprint covers."""
        return {"crv": "Ed25519", "kty": "OKP", "x": to_base64url(self._private.public_key().public_bytes_raw())}

    @property
    def thumbprint(self) -> str:
        """SHA-256 thumbprint of the public half (RFC 7638), base64url."""
        return thumbprint(self.public_jwk)

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes."""
        return self._private.sign(message)

    def save(self, path: Path) -> None:
        """Write the private JWK, or PKCS#8 where the name ends in .pem, to a new file that only this account can read.

        Raises:
            OutputExistsError: the file exists; a key is never overwritten.
            KeyFileError: the file cannot be written.
        """
        if path.suffix == ".pem":
            content = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        else:
            content = (json.dumps(self.private_jwk(), indent=1) + "\n").encode()
        write_private_file(path, content)

    def private_jwk(self) -> dict[str, str]:
        """Both halves (RFC 8037), for a keystore. Whoever holds them is this key."""
        return {**self.public_jwk, "d": to_base64url(self._private.private_bytes_raw())}


def thumbprint(jwk: Mapping[str, str]) -> str:
    """SHA-256 thumbprint of an OKP public key (RFC 7638, RFC 8037 appendix A.3), base64url."""
    required = {name: jwk[name] for name in ("crv", "kty", "x")}
    return to_base64url(hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest())


def document_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical form (RFC 8785) of a JSON document, in hex: how agreements and schemas are named."""
    return hashlib.sha256(rfc8785.dumps(dict(document))).hexdigest()


def client_description(*, name: str, client_key: SigningKey, roles: Sequence[str]) -> dict[str, Any]:
    """The `client` member of a registration. Outer spaces go first: the service takes them off before it verifies."""
    return {"name": name.strip(), "jwk": client_key.public_jwk, "roles": list(roles)}


def sign_registration(*, invitation: str, signing_key: SigningKey, client: Mapping[str, Any]) -> str:
    """The organisation's signature over its registration, base64url without padding."""
    statement = rfc8785.dumps(
        {"invitation": invitation, "signing_key": signing_key.public_jwk, "client": dict(client)},
    )
    return to_base64url(signing_key.sign(REGISTRATION_CONTEXT + statement))


def sign_agreement(*, digest: str, signing_key: SigningKey) -> str:
    """The organisation's signature over an agreement's digest (64 hex digits), base64url without padding."""
    raw = bytes.fromhex(digest)
    if len(raw) != hashlib.sha256().digest_size:
        raise ValueError("digest must be 64 hex digits")
    return to_base64url(signing_key.sign(AGREEMENT_CONTEXT + raw))


def write_private_file(path: Path, content: bytes) -> None:
    """Make a file with mode 0600 that is on the disk, whole, before it has its name: no cut leaves half of a key.

    Raises:
        OutputExistsError: the file exists.
        KeyFileError: it cannot be written.
    """
    try:
        create_whole(path, content)
        remove_partial(path)
    except FileExistsError:
        raise OutputExistsError(f"{path} exists and is not replaced. Move it away or choose another name.") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}.") from None


def read_private_file(path: Path) -> bytes:
    """The content of a file that holds keys, up to 16 KiB.

    Raises:
        KeyFileError: it cannot be read, other accounts can read it, or it is too large.
    """
    try:
        raw, mode = read_with_mode(path, maximum_bytes=MAXIMUM_KEY_FILE_BYTES)
    except OSError as error:
        raise KeyFileError(f"Key file {path} cannot be read: {error.strerror}.") from None
    if mode is not None:
        raise KeyFileError(
            f"Key file {path} can be read by other accounts (mode {mode}), so the key may be known to them. "
            "Make a new key if they should not have it, or run `chmod 600` on the file.",
        )
    if len(raw) > MAXIMUM_KEY_FILE_BYTES:
        raise KeyFileError(f"{path} is too large for a key file. Name the right file.")
    return raw


def _from_base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
