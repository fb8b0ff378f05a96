"""C2SP tlog-proofs: one file that proves, with no network, that an event is in the log that a checkpoint speaks for.

The format is https://c2sp.org/tlog-proof (v1), usually kept with the ending ``.tlog-proof``.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from linkage_ledger.checkpoints import Checkpoint, LogKey, parse_decimal, verify_checkpoint
from linkage_ledger.errors import NoteError, ReceiptError
from linkage_ledger.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from linkage_ledger.notes import from_base64

_FIRST_LINE = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
_INDEX = "index "
# 2^63 leaves are more than a log will hold, and 63 hashes are the longest path in it.
_MAX_PATH = 63


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an event is, the path from it to the root, and the signed checkpoint with that root."""

    index: int
    proof: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None
    """Opaque to the format and covered by no signature: never trust it."""

    def text(self) -> str:
        """The receipt as it is kept in a file."""
        lines = [_FIRST_LINE]
        if self.extra is not None:
            lines.append(_EXTRA + base64.b64encode(self.extra).decode("ascii"))
        lines.append(f"{_INDEX}{self.index}")
        lines.extend(base64.b64encode(node).decode("ascii") for node in self.proof)
        return "\n".join(lines) + "\n\n" + self.checkpoint

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a receipt. This says nothing about its truth: see verify_receipt."""
        head, blank, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines.pop(0) != _FIRST_LINE:
            raise ReceiptError("This is not a receipt: it does not begin as one, or was cut. Fetch it again.")
        try:
            extra = from_base64(lines.pop(0).removeprefix(_EXTRA)) if lines and lines[0].startswith(_EXTRA) else None
            index = _parse_index(lines)
            proof = tuple(_parse_hash(line) for line in lines)
        except (NoteError, ValueError):
            raise ReceiptError("A line of the receipt cannot be read. It was damaged: fetch it again.") from None
        if len(proof) > _MAX_PATH:
            raise ReceiptError("The receipt's proof is longer than any log needs. It was not made by this product.")
        return cls(index=index, proof=proof, checkpoint=checkpoint, extra=extra)


def verify_receipt(receipt: Receipt, header: bytes, *, verifier_keys: Sequence[LogKey]) -> Checkpoint:
    """Give the checkpoint under which exactly these header bytes are in the log.

    Raises:
        NoteError: no key you trust signed the receipt's checkpoint.
        ProofError: the checkpoint is genuine, but this header is not in that log at that place.
    """
    checkpoint = verify_checkpoint(receipt.checkpoint, verifier_keys)
    verify_inclusion(
        leaf_hash(header), index=receipt.index, size=checkpoint.size, proof=receipt.proof, root=checkpoint.root
    )
    return checkpoint


def _parse_index(lines: list[str]) -> int:
    if not lines or not lines[0].startswith(_INDEX):
        raise ReceiptError("The receipt does not say where its event is. It was damaged: fetch it again.")
    return parse_decimal(lines.pop(0).removeprefix(_INDEX))


def _parse_hash(line: str) -> bytes:
    node = from_base64(line)
    if len(node) != HASH_BYTES:
        raise ReceiptError("A hash of the receipt is not 32 bytes long. It was damaged: fetch it again.")
    return node
