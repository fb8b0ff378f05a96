"""C2SP signed notes: plain text that a person can read, with Ed25519 signatures that a machine can check.

The format is https://c2sp.org/signed-note (v1.0.0). Only signature type 0x01, Ed25519 over the text, is spoken here.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from linkage_ledger.errors import NoteError

_ED25519 = b"\x01"
_KEY_BYTES = 32
_KEY_ID_BYTES = 4
_SIGNATURE_BYTES = 64
_SIGNATURE_PREFIX = "\N{EM DASH} "
_PRIVATE_PREFIX = "PRIVATE+KEY+"
# The specification asks for a limit, and for at least 16 signatures below it.
_MAX_SIGNATURES = 100
_MAX_NOTE_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key under its name, of a kind that its type byte says: a log's or a witness's."""

    _kind: ClassVar[bytes]
    _called: ClassVar[str]

    name: str
    public_bytes: bytes

    def __post_init__(self) -> None:
        require_key_name(self.name)
        if len(self.public_bytes) != _KEY_BYTES:
            raise NoteError("An Ed25519 public key is 32 bytes long; this is not one. Use the key as it was published.")

    @property
    def key_id(self) -> bytes:
        """The four bytes that tell keys of one name apart. Not a fingerprint: it is short enough to forge.

        The same key has another as a log's than as a witness's.
        """
        return hashlib.sha256(self.name.encode() + b"\n" + self._kind + self.public_bytes).digest()[:_KEY_ID_BYTES]

    def format(self) -> str:
        """The key as one line, ``name+id+base64``."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(self._kind + self.public_bytes)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the line that ``format`` writes."""
        name, key_id, material = split_key(text, kind=cls._kind)
        key = cls(name=name, public_bytes=material)
        if key.key_id.hex() != key_id:
            raise NoteError(f"The {cls._called}'s id does not fit its name and bytes: it was mistyped. Copy it again.")
        return key


@dataclass(frozen=True, slots=True)
class VerifierKey(PublicKey):
    """A log's public key, under its name: what an officer keeps to check the log with."""

    _kind = _ED25519
    _called = "verifier key"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A log's private key, under its name. Its holder can speak for the log: keep it away from the database."""

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        require_key_name(self.name)

    @classmethod
    def generate(cls, name: str) -> Self:
        """Make a new key."""
        return cls(name=name, private_key=Ed25519PrivateKey.generate())

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(name=self.name, public_bytes=self.private_key.public_key().public_bytes_raw())

    def format(self) -> str:
        """The key as one line, as Go's note package writes it. A secret."""
        key_id = self.verifier.key_id.hex()
        return f"{_PRIVATE_PREFIX}{self.name}+{key_id}+{to_base64(_ED25519 + self.private_key.private_bytes_raw())}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the line that ``format`` writes."""
        if not text.startswith(_PRIVATE_PREFIX):
            raise NoteError("This is not a signing key. A signing key begins with PRIVATE+KEY+.")
        name, key_id, material = split_key(text.removeprefix(_PRIVATE_PREFIX))
        key = cls(name=name, private_key=Ed25519PrivateKey.from_private_bytes(material))
        if key.verifier.key_id.hex() != key_id:
            raise NoteError("The signing key's id does not fit its name and bytes: it was damaged. Restore it.")
        return key


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note at least one known key has signed."""

    text: str
    signers: tuple[VerifierKey, ...]
    unknown_signatures: int
    """Signatures that none of the given keys can check. The specification says to ignore them."""


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One line below a note's text: who is said to have signed, and the bytes to check. True of nothing by itself."""

    name: str
    key_id: bytes
    signature: bytes

    def format(self) -> str:
        """The line as it stands in a note, with its newline."""
        return f"{_SIGNATURE_PREFIX}{self.name} {to_base64(self.key_id + self.signature)}\n"


def sign_note(text: str, key: SigningKey) -> str:
    """Put a signature under a text, which must end in a newline and hold no other control characters."""
    _require_note_text(text)
    return f"{text}\n{signature_line(text, key)}"


def signature_line(text: str, key: SigningKey) -> str:
    """The line that a key puts under a text, for notes that more than one key signs."""
    _require_note_text(text)
    return SignatureLine(key.name, key.verifier.key_id, key.private_key.sign(text.encode())).format()


def open_note(note: str, verifier_keys: Sequence[VerifierKey]) -> str:
    """Give the text of a note that one of the keys signed; raise NoteError otherwise."""
    return open_signed(note, verifier_keys).text


def open_signed(note: str, verifier_keys: Sequence[VerifierKey]) -> OpenedNote:
    """Open a note and say who signed it.

    As the specification asks: signatures by unknown keys are ignored, one wrong signature by a known key condemns the
    note, and a note that no known key signed is refused.
    """
    text, lines = split_note(note)
    signers: list[VerifierKey] = []
    unknown = 0
    for line in lines:
        key = _find_key(line, verifier_keys)
        if key is None:
            unknown += 1
            continue
        _require_signature(key, line.signature, text)
        signers.append(key)
    if not signers:
        raise NoteError("None of the keys you trust signed this note. Check that you hold the right log's key.")
    return OpenedNote(text=text, signers=tuple(signers), unknown_signatures=unknown)


def from_base64(text: str) -> bytes:
    """Decode standard base64, refusing every spelling but the one an encoder writes.

    Lenient decoders ignore spare bits and strange characters; then two texts stand for one value and a changed byte
    can go unseen.
    """
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise NoteError("A line that should be base64 is not. The text was damaged.") from None
    if to_base64(raw) != text:
        raise NoteError("A base64 line is not written the one way it can be. The text was altered.")
    return raw


def _find_key(line: SignatureLine, verifier_keys: Sequence[VerifierKey]) -> VerifierKey | None:
    matching = [key for key in verifier_keys if key.name == line.name and key.key_id == line.key_id]
    if len(set(matching)) > 1:
        raise NoteError("Two different trusted keys share one name and id. Remove the one you did not mean to trust.")
    return matching[0] if matching else None


def _require_signature(key: VerifierKey, signature: bytes, text: str) -> None:
    if len(signature) != _SIGNATURE_BYTES:
        raise NoteError("A signature by a trusted key has the wrong length. The note was damaged: reject it.")
    try:
        Ed25519PublicKey.from_public_bytes(key.public_bytes).verify(signature, text.encode())
    except InvalidSignature:
        raise NoteError(
            "A signature by a trusted key does not fit the text. The note was altered: reject it."
        ) from None


def split_note(note: str) -> tuple[str, list[SignatureLine]]:
    """Give the text of a note and its signature lines, checked for their form only."""
    _require_plain(note)
    body, blank, tail = note.rpartition("\n\n")
    if not blank or not body or not tail.endswith("\n"):
        raise NoteError(
            "This is not a signed note: a text, an empty line, then signatures. It was cut or never signed."
        )
    lines = tail.removesuffix("\n").split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise NoteError(f"The note has more than {_MAX_SIGNATURES} signatures. No log of ours writes that: reject it.")
    return body + "\n", [parse_signature_line(line) for line in lines]


def parse_signature_line(line: str) -> SignatureLine:
    """Read one signature line, without its newline."""
    if not line.startswith(_SIGNATURE_PREFIX):
        raise NoteError("A line below the note's text is not a signature line. The note was damaged.")
    name, _, encoded = line.removeprefix(_SIGNATURE_PREFIX).partition(" ")
    require_key_name(name)
    raw = from_base64(encoded)
    if len(raw) <= _KEY_ID_BYTES:
        raise NoteError("A signature line is too short to hold a signature. The note was damaged.")
    return SignatureLine(name=name, key_id=raw[:_KEY_ID_BYTES], signature=raw[_KEY_ID_BYTES:])


def split_key(text: str, *, kind: bytes = _ED25519) -> tuple[str, str, bytes]:
    """Give name, id (hex) and the 32 bytes of a key in one line; `kind` is its type byte."""
    # The material is base64, which may itself hold a plus, so only the first two separate.
    name, _, rest = text.partition("+")
    key_id, separator, encoded = rest.partition("+")
    if not separator:
        raise NoteError("This is not a key: name, id and bytes joined by plus signs. Copy the whole line.")
    material = from_base64(encoded)
    if material[:1] != kind or len(material) != 1 + _KEY_BYTES:
        raise NoteError(
            "This is not an Ed25519 key of the kind that is needed here: a log's begins with A after the second plus "
            "sign, a witness's with B. Ask its owner for that one."
        )
    return name, key_id, material[1:]


def require_key_name(name: str) -> None:
    """Raise NoteError unless this can be the name of a key."""
    if not name or "+" in name or any(_cannot_stand_in_a_name(character) for character in name):
        raise NoteError("A key's name must be non-empty, without spaces, plus signs or control characters.")


def _cannot_stand_in_a_name(character: str) -> bool:
    # Half a pair of UTF-16 is what a command line makes of bytes that are not UTF-8.
    return character.isspace() or character < " " or "\ud800" <= character <= "\udfff"


def _require_note_text(text: str) -> None:
    _require_plain(text)
    if not text.endswith("\n"):
        raise NoteError("A note's text must end in a newline. Add one before signing.")


def _require_plain(text: str) -> None:
    if len(text) > _MAX_NOTE_CHARACTERS:
        raise NoteError("The note is longer than any this log writes. Reject it.")
    if any(character < " " and character != "\n" for character in text):
        raise NoteError("A note may hold no control characters but newlines. It was damaged.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoteError("The note is not valid UTF-8. It was damaged.") from None


def to_base64(raw: bytes) -> str:
    """Standard base64 (RFC 4648 section 4), with padding."""
    return base64.b64encode(raw).decode("ascii")
