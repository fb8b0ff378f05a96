"""Passwords: what is asked of them (NIST SP 800-63B-4 section 3.1.1), and Argon2id hashes of them (RFC 9106)."""

import secrets
import unicodedata
from collections.abc import Iterable
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from linkage_service.errors import FieldError, Invalid

CHARACTERS_MIN = 12
BYTES_MAX = 1024
_DIFFERENT_MIN = 5
# Of the lists of leaked passwords, the forms that are long enough; a few repetitions are caught by counting characters.
_COMMON = frozenset(
    {
        "password1234", "password12345", "password123456", "passwordpassword", "password123!", "password2024",
        "password2025", "password2026", "123456789012", "1234567890123", "12345678901234", "qwertyuiop12",
        "qwertyuiop123", "qwertyuiopasdf", "1qaz2wsx3edc", "1q2w3e4r5t6y", "q1w2e3r4t5y6", "zaq12wsxcde3",
        "iloveyou1234", "letmein12345", "welcome12345", "welcome123456", "changeme1234", "administrator",
        "adminadmin123", "abcdefghijkl", "abcdefghijklm", "abc123456789", "correcthorsebatterystaple",
        "correct horse battery staple", "trustno11234", "sunshine1234", "football1234", "princess1234",
    }
)  # fmt: skip
# Each verification takes its memory; more at once than this wait, so that strangers cannot take all of it.
_AT_ONCE = 4


class Passwords:
    """Hashes and verifies, the same work whether there is an account or not."""

    def __init__(self, *, memory_kib: int, passes: int, lanes: int) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes)
        self._gate = BoundedSemaphore(_AT_ONCE)
        self._nobodys = self.hash(secrets.token_urlsafe())

    def hash(self, password: str) -> str:
        """The hash in PHC form, with its parameters and a salt of its own."""
        with self._gate:
            return self._hasher.hash(_normal(password))

    def is_right(self, password: str, *, kept: str | None) -> bool:
        """Whether a password is the one of a hash; without a hash it is not, after the same work."""
        with self._gate:
            try:
                self._hasher.verify(kept or self._nobodys, _normal(password))
            except (VerificationError, InvalidHashError):
                return False
        return bool(kept)

    def is_weak(self, kept: str) -> bool:
        """Whether a hash was made with other parameters than those in force."""
        return self._hasher.check_needs_rehash(kept)


def check_strength(password: str, *, about: Iterable[str], pointer: str = "/password") -> None:
    """Refuses passwords that are short, common, or about the person. No rules on kinds of characters.

    Args:
        password: as typed.
        about: name, e-mail address and the like, which it must not be.
        pointer: where it stands in the request.

    Raises:
        Invalid: saying what is wrong with it.
    """
    normal = _normal(password)
    folded = normal.casefold()
    own = {part for text in about for part in (text.casefold(), text.casefold().split("@")[0])}
    if len(normal) < CHARACTERS_MIN:
        raise _weak(pointer, "too_short", f"A password has {CHARACTERS_MIN} characters or more. Spaces are welcome.")
    if len(normal.encode()) > BYTES_MAX:
        raise _weak(pointer, "too_long", f"A password has {BYTES_MAX} bytes at most.")
    if folded in own or folded.replace(" ", "") in {part.replace(" ", "") for part in own}:
        raise _weak(pointer, "about_yourself", "A password is not your name or your e-mail address.")
    if folded in _COMMON or len(set(folded)) < _DIFFERENT_MIN:
        raise _weak(pointer, "too_common", "This password is one of those that are tried first. Choose another.")


def _weak(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid("The password cannot be used.", errors=[FieldError(pointer, code, detail)])


def _normal(password: str) -> str:
    # The same characters typed on two keyboards can be different code points.
    return unicodedata.normalize("NFKC", password)
