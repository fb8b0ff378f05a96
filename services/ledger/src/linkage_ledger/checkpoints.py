"""C2SP checkpoints: a log's signed word on how long it was and what it held, for others to keep and hold against it.

The format is https://c2sp.org/tlog-checkpoint. Extension lines are refused: no witness can audit them.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

from linkage_ledger.errors import CheckpointError, NoteError
from linkage_ledger.merkle import EMPTY_ROOT, HASH_BYTES
from linkage_ledger.notes import OpenedNote, SigningKey, VerifierKey, from_base64, open_signed, sign_note

_LINES = 3
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log at one moment."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or any(character < " " for character in self.origin):
            raise CheckpointError("A checkpoint's origin is one non-empty line: the name of the log.")
        if self.size < 0 or len(self.root) != HASH_BYTES:
            raise CheckpointError("A checkpoint needs a size of zero or more and a 32-byte root.")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CheckpointError("A checkpoint of an empty log must carry the root of the empty tree.")

    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the three lines, and nothing but them."""
        lines = text.split("\n")
        if len(lines) != _LINES + 1 or lines[-1]:
            raise CheckpointError("A checkpoint is three lines: origin, size, root. This text is something else.")
        origin, size, root, _ = lines
        try:
            return cls(origin=origin, size=parse_decimal(size), root=from_base64(root))
        except CheckpointError:
            raise
        except (NoteError, ValueError):
            raise CheckpointError("The size or the root of the checkpoint cannot be read. It was damaged.") from None


@dataclass(frozen=True, slots=True)
class KeySpan:
    """A key with the sizes that it speaks for, where the log's key was handed over (see `handover`)."""

    key: VerifierKey
    first: int
    last: int | None
    """The greatest size, None where the key is the present one."""

    def speaks_for(self, size: int) -> bool:
        """Whether a checkpoint of this size counts when this key signed it."""
        return self.first <= size and (self.last is None or size <= self.last)


LogKey: TypeAlias = VerifierKey | KeySpan
"""A bare key speaks for every size."""


def parse_decimal(text: str) -> int:
    """Read a number written the one way C2SP allows: ASCII digits, no sign, no leading zero."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError("Not a plain decimal number.")
    return int(text)


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """Make the signed note. The key must bear the log's name, so that readers know whose word it is."""
    if key.name != checkpoint.origin:
        raise CheckpointError("The key's name is not the log's origin. Sign with the key that belongs to this log.")
    return sign_note(checkpoint.text(), key)


def verify_checkpoint(note: str, verifier_keys: Sequence[LogKey]) -> Checkpoint:
    """Give the checkpoint in a note, if a key that bears the log's name and speaks for its size signed it.

    Raises:
        NoteError: otherwise.
    """
    return open_checkpoint(note, verifier_keys)[0]


def open_checkpoint(note: str, verifier_keys: Sequence[LogKey]) -> tuple[Checkpoint, OpenedNote]:
    """As `verify_checkpoint`, with who signed."""
    bare = [key.key if isinstance(key, KeySpan) else key for key in verifier_keys]
    opened = open_signed(note, bare)
    checkpoint = Checkpoint.parse(opened.text)
    signers = [signer for signer in opened.signers if signer.name == checkpoint.origin]
    if not signers:
        raise CheckpointError("The note speaks for a log whose key you do not hold. Check which log it came from.")
    spans = [key for key in verifier_keys if isinstance(key, KeySpan)]
    if all(_is_out_of_office(signer, checkpoint.size, spans) for signer in signers):
        raise CheckpointError(
            "The checkpoint is signed with a key that does not speak for a log of this size: the key was handed over. "
            "If it is new, somebody used the old key: treat this as an alarm."
        )
    return checkpoint, opened


def _is_out_of_office(signer: VerifierKey, size: int, spans: Sequence[KeySpan]) -> bool:
    own = [span for span in spans if span.key == signer]
    return bool(own) and not any(span.speaks_for(size) for span in own)
