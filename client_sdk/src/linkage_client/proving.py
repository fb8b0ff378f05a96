"""Whether a ledger holds to what somebody kept of it: an older checkpoint, or a receipt. Asks nobody for anything.

For programs that fetch what is compared by themselves, such as the console; `watching` does it for the SDK.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785

from linkage_client.errors import DataError
from linkage_ledger.checkpoints import Checkpoint, LogKey, verify_checkpoint
from linkage_ledger.errors import LedgerError, ProofError
from linkage_ledger.handover import require_current, resolve_keys
from linkage_ledger.merkle import verify_consistency
from linkage_ledger.notes import VerifierKey
from linkage_ledger.receipts import Receipt, verify_receipt


@dataclass(frozen=True, slots=True)
class LogState:
    """A signed state of a log: its name, how many events it has, and the root over them."""

    origin: str
    size: int
    root: bytes

    @property
    def root_text(self) -> str:
        """The root as checkpoints write it, in base64."""
        return base64.b64encode(self.root).decode()


class LogKeys:
    """The keys that speak for a log: the present one, and those that handed over to it."""

    def __init__(self, key: str, handovers: Sequence[str]) -> None:
        """Take what the log shows.

        Raises:
            DataError: the key is none, or the hand-overs do not lead to it.
        """
        self._handovers = tuple(handovers)
        try:
            self._keys: tuple[LogKey, ...] = resolve_keys([VerifierKey.parse(key)], self._handovers)
        except LedgerError as error:
            raise DataError(f"The ledger's key cannot be used. {error}") from None

    def present(self, note: str) -> LogState:
        """The state that the log shows now.

        Raises:
            DataError: it is not signed by the key that speaks now.
        """
        try:
            checkpoint = verify_checkpoint(note, self._keys)
            require_current(self._handovers, checkpoint)
        except LedgerError as error:
            raise DataError(f"The ledger's present checkpoint cannot be relied on. {error}") from None
        return _state(checkpoint)

    def kept(self, note: str) -> LogState:
        """The state of a checkpoint that somebody kept.

        Raises:
            DataError: no key of this log signed it, or it is no checkpoint.
        """
        try:
            # A note has no CR: an editor or a mail put them there, and the signature is over the line ends too.
            return _state(verify_checkpoint(note.replace("\r\n", "\n"), self._keys))
        except LedgerError as error:
            raise DataError(f"This is no checkpoint of this ledger. {error}") from None

    def receipt(self, text: str, header: Mapping[str, Any]) -> LogState:
        """The state under which an event with exactly this header is in the log, by its receipt.

        Raises:
            DataError: it is no receipt of this event in this log.
        """
        try:
            receipt = Receipt.parse(text.replace("\r\n", "\n"))
            return _state(verify_receipt(receipt, rfc8785.dumps(dict(header)), verifier_keys=self._keys))
        except LedgerError as error:
            raise DataError(f"The receipt does not prove this event. {error}") from None


def receipt_number(text: str) -> int:
    """Number of the event that a receipt speaks of; nothing of it is checked.

    Raises:
        DataError: it is no receipt.
    """
    try:
        return Receipt.parse(text.replace("\r\n", "\n")).index
    except LedgerError as error:
        raise DataError(str(error)) from None


def continues(old: LogState, new: LogState, proof: Sequence[str]) -> bool:
    """Whether the log in the state `new` holds all of `old`, by a consistency proof (RFC 6962, nodes in base64)."""
    if old.origin != new.origin or old.size > new.size:
        return False
    if old.size == new.size:
        return old.root == new.root
    try:
        nodes = [base64.b64decode(node, validate=True) for node in proof]
        verify_consistency(old_size=old.size, old_root=old.root, new_size=new.size, new_root=new.root, proof=nodes)
    except (ProofError, binascii.Error):
        return False
    return True


def _state(checkpoint: Checkpoint) -> LogState:
    return LogState(origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root)
