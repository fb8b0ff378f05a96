"""C2SP checkpoints: a log's signed word on how long it was and what it held, for others to keep and hold against it.

The format is https://c2sp.org/tlog-checkpoint. Extension lines are refused: no witness can audit them.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

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


def verify_checkpoint(note: str, verifier_keys: Sequence[VerifierKey]) -> Checkpoint:
    """Give the checkpoint in a note, if a key that bears the log's name signed it; raise NoteError otherwise."""
    return checkpoint_of(open_signed(note, verifier_keys))


def checkpoint_of(opened: OpenedNote) -> Checkpoint:
    """Give the checkpoint in a note that was opened, if one of its signers bears the log's name."""
    checkpoint = Checkpoint.parse(opened.text)
    if all(signer.name != checkpoint.origin for signer in opened.signers):
        raise CheckpointError("The note speaks for a log whose key you do not hold. Check which log it came from.")
    return checkpoint
