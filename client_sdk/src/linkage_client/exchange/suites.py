"""Which ways of encrypting the secret there are: a closed list, so that nobody can talk a client into a weaker one.

Both are HPKE in base mode (RFC 9180) with HKDF-SHA256 and ChaCha20-Poly1305; they differ in the key encapsulation.
`mlkem768-x25519` (ML-KEM-768 and X25519 together, the X-Wing combiner) stays secret as long as either of the two holds,
against a quantum computer as well. It follows drafts, draft-ietf-hpke-pq and draft-connolly-cfrg-xwing-kem: a later
draft may differ, and then envelopes of the two cannot be read by each other.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn, Self, assert_never

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from linkage_client.errors import KeyExchangeError

X25519_BYTES: Final = 32
MLKEM768_PUBLIC_BYTES: Final = 1184
MLKEM768_SEED_BYTES: Final = 64
_MLKEM768_CIPHERTEXT_BYTES: Final = 1088
_TAG_BYTES: Final = 16
_FIELD_PRIME: Final = 2**255 - 19


class Suite(StrEnum):
    """A way of encrypting the secret; the value is its name in agreements, cards and envelopes."""

    X25519 = "x25519"
    MLKEM768_X25519 = "mlkem768-x25519"

    @property
    def public_key_bytes(self) -> int:
        """Length of a public key; of the hybrid, ML-KEM's comes first."""
        return X25519_BYTES if self is Suite.X25519 else MLKEM768_PUBLIC_BYTES + X25519_BYTES

    @property
    def private_key_bytes(self) -> int:
        """Length of a private key as it is kept; of the hybrid, ML-KEM's 64-byte seed (FIPS 203) comes first."""
        return X25519_BYTES if self is Suite.X25519 else MLKEM768_SEED_BYTES + X25519_BYTES

    @property
    def overhead_bytes(self) -> int:
        """By how much a ciphertext, with the encapsulated key before it, is longer than what it hides."""
        return (X25519_BYTES if self is Suite.X25519 else _MLKEM768_CIPHERTEXT_BYTES + X25519_BYTES) + _TAG_BYTES


@dataclass(frozen=True, slots=True, repr=False)
class DecryptionKey:
    """The private key of one suite. The library holds it and wipes it when it goes; only `to_bytes` gives it out."""

    suite: Suite
    x25519: X25519PrivateKey
    mlkem768: MLKEM768PrivateKey | None = None
    """Of the hybrid only."""

    def __repr__(self) -> str:
        return f"DecryptionKey({self.suite.value!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A private key is neither pickled nor copied.")

    @classmethod
    def generate(cls, suite: Suite) -> Self:
        """A new key from the operating system's randomness.

        Raises:
            KeyExchangeError: `suite_unsupported`; this installation lacks ML-KEM.
        """
        x25519 = X25519PrivateKey.generate()
        if suite is Suite.X25519:
            return cls(suite, x25519)
        try:
            return cls(suite, x25519, MLKEM768PrivateKey.generate())
        except UnsupportedAlgorithm:
            raise _unsupported() from None

    @classmethod
    def from_bytes(cls, suite: Suite, raw: bytes) -> Self:
        """The key that `to_bytes` gave.

        Raises:
            KeyExchangeError: `suite_unsupported`.
            ValueError: it has another length.
        """
        if len(raw) != suite.private_key_bytes:
            raise ValueError("length")
        x25519 = X25519PrivateKey.from_private_bytes(raw[-X25519_BYTES:])
        if suite is Suite.X25519:
            return cls(suite, x25519)
        try:
            return cls(suite, x25519, MLKEM768PrivateKey.from_seed_bytes(raw[:-X25519_BYTES]))
        except UnsupportedAlgorithm:
            raise _unsupported() from None

    def to_bytes(self) -> bytes:
        """The private key, to be kept: of the hybrid ML-KEM's 64-byte seed (FIPS 203), then X25519's 32 bytes."""
        x25519 = self.x25519.private_bytes_raw()
        return x25519 if self.mlkem768 is None else self.mlkem768.private_bytes_raw() + x25519

    @property
    def public_key(self) -> bytes:
        """The public half; of the hybrid, ML-KEM's comes first."""
        x25519 = self.x25519.public_key().public_bytes_raw()
        return x25519 if self.mlkem768 is None else self.mlkem768.public_key().public_bytes_raw() + x25519

    def decrypt(self, ciphertext: bytes, *, info: bytes) -> bytes:
        """What `encrypt` has hidden.

        Raises:
            ValueError: the ciphertext, the key or the info is another; which of them, nobody can tell.
        """
        key = self.x25519 if self.mlkem768 is None else hpke.MLKEM768X25519PrivateKey(self.mlkem768, self.x25519)
        try:
            return _hpke(self.suite).decrypt(ciphertext, key, info=info)
        except InvalidTag:
            raise ValueError("it cannot be decrypted") from None


def check_public_key(suite: Suite, public_key: bytes) -> None:
    """Make sure that a public key is one that an honest party can have.

    Points of low order are refused: whatever is encrypted to one can be read by everybody. So are X25519 keys that are
    not written in the one canonical way (RFC 7748 would take several spellings for one key), and ML-KEM keys that fail
    the modulus check of FIPS 203, section 7.2, where this installation has ML-KEM.

    Raises:
        ValueError: it is not.
    """
    if len(public_key) != suite.public_key_bytes:
        raise ValueError("length")
    x25519 = public_key[-X25519_BYTES:]
    if int.from_bytes(x25519, "little") >= _FIELD_PRIME:
        raise ValueError("not canonical")
    # The library refuses an all-zero shared secret, which is what a point of low order gives with every private key.
    X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(x25519))
    if suite is Suite.MLKEM768_X25519:
        try:
            MLKEM768PublicKey.from_public_bytes(public_key[:MLKEM768_PUBLIC_BYTES])
        except UnsupportedAlgorithm:
            return


def encrypt(suite: Suite, plaintext: bytes, *, public_key: bytes, info: bytes) -> bytes:
    """Encrypt to a public key; the encapsulated key comes first.

    Args:
        suite: how.
        plaintext: what is hidden.
        public_key: one that `check_public_key` has found good.
        info: what decrypting has to name as well, byte for byte.

    Raises:
        KeyExchangeError: `suite_unsupported`.
    """
    x25519 = X25519PublicKey.from_public_bytes(public_key[-X25519_BYTES:])
    if suite is Suite.X25519:
        return _hpke(suite).encrypt(plaintext, x25519, info=info)
    try:
        mlkem768 = MLKEM768PublicKey.from_public_bytes(public_key[:MLKEM768_PUBLIC_BYTES])
        return _hpke(suite).encrypt(plaintext, hpke.MLKEM768X25519PublicKey(mlkem768, x25519), info=info)
    except UnsupportedAlgorithm:
        raise _unsupported() from None


def _hpke(suite: Suite) -> hpke.Suite:
    match suite:
        case Suite.X25519:
            kem = hpke.KEM.X25519
        case Suite.MLKEM768_X25519:
            kem = hpke.KEM.MLKEM768_X25519
        case _:  # pragma: no cover - the list is closed
            assert_never(suite)
    return hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


def _unsupported() -> KeyExchangeError:
    return KeyExchangeError(
        f"The agreement asks for {Suite.MLKEM768_X25519}, and this installation of the cryptography package has no "
        "ML-KEM. Install the package from its own wheels, or use another machine.",
        code="suite_unsupported",
    )
