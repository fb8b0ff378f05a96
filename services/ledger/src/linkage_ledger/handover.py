"""The hand-over of a log's key: the old and the new key together sign where the one's word ends and the other's begins.

A hand-over is a C2SP signed note with two signatures, by both keys, over six lines:

    linkage-ledger/key-handover/v1
    <origin: the log's name>
    <size: how many events the old key speaks for>
    <root at that size, base64>
    <the old verifier key>
    <the new verifier key>

The old key counts for checkpoints up to this size, the new one for those above it. Hand-overs form a chain: each
begins with the key that the one before ended with, at a greater size. Who trusts one key of the chain can follow it
both ways, because both keys signed each step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from linkage_ledger.checkpoints import Checkpoint, KeySpan, LogKey, parse_decimal
from linkage_ledger.errors import HandoverError, NoteError
from linkage_ledger.merkle import HASH_BYTES
from linkage_ledger.notes import (
    SigningKey,
    VerifierKey,
    from_base64,
    open_signed,
    signature_line,
    split_note,
    to_base64,
)

_FIRST_LINE = "linkage-ledger/key-handover/v1"
_LINES = 6


@dataclass(frozen=True, slots=True)
class Handover:
    """What both keys say: up to ``size`` events, with this root, the old key spoke; from then on the new one does."""

    origin: str
    size: int
    root: bytes
    old: VerifierKey
    new: VerifierKey

    def __post_init__(self) -> None:
        if self.size < 1 or len(self.root) != HASH_BYTES:
            raise HandoverError("A hand-over needs a log with at least one event and its 32-byte root.")
        if not self.old.name == self.new.name == self.origin:
            raise HandoverError("Both keys of a hand-over bear the log's name. These are keys of something else.")
        if self.old == self.new or self.old.key_id == self.new.key_id:
            raise HandoverError("A hand-over goes from one key to another, with another id. Make another new key.")

    def text(self) -> str:
        """The six lines that are signed."""
        size, root = str(self.size), to_base64(self.root)
        return f"{_FIRST_LINE}\n{self.origin}\n{size}\n{root}\n{self.old.format()}\n{self.new.format()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the six lines, and nothing but them. This says nothing about their truth: see open_handover."""
        lines = text.split("\n")
        if len(lines) != _LINES + 1 or lines[-1] or lines[0] != _FIRST_LINE:
            raise HandoverError("This is not a key hand-over: it does not begin as one, or was cut. Fetch it again.")
        _, origin, size, root, old, new, _ = lines
        try:
            return cls(
                origin=origin,
                size=parse_decimal(size),
                root=from_base64(root),
                old=VerifierKey.parse(old),
                new=VerifierKey.parse(new),
            )
        except HandoverError:
            raise
        except (NoteError, ValueError):
            raise HandoverError("A line of the key hand-over cannot be read. It was damaged: fetch it again.") from None


def sign_handover(*, size: int, root: bytes, old: SigningKey, new: SigningKey) -> str:
    """Make the note that hands a log of ``size`` events with this root from the old key to the new one."""
    handover = Handover(origin=old.name, size=size, root=root, old=old.verifier, new=new.verifier)
    text = handover.text()
    return f"{text}\n{signature_line(text, old)}{signature_line(text, new)}"


def open_handover(note: str) -> Handover:
    """Give the hand-over in a note that both of its keys signed.

    It binds the two keys to each other; whether either is the log's is for `resolve_keys` to say.

    Raises:
        HandoverError: it is none, or not signed by both.
    """
    try:
        handover = Handover.parse(split_note(note)[0])
        opened = open_signed(note, [handover.old, handover.new])
    except HandoverError:
        raise
    except NoteError:
        raise HandoverError(
            "The key hand-over's signatures do not fit. It was altered: trust neither it nor the new key."
        ) from None
    if set(opened.signers) != {handover.old, handover.new}:
        raise HandoverError("A key hand-over needs the signatures of both keys; this one lacks one. Do not accept it.")
    return handover


def with_both_signatures_only(note: str) -> str:
    """A genuine hand-over's note without what others may have put under it: anybody can add a signature line."""
    handover = open_handover(note)
    text, lines = split_note(note)
    first: dict[bytes, str] = {}
    for line in lines:
        if line.name == handover.origin:
            first.setdefault(line.key_id, line.format())
    return f"{text}\n{first[handover.old.key_id]}{first[handover.new.key_id]}"


def open_chain(handovers: Sequence[str]) -> tuple[Handover, ...]:
    """Give the hand-overs of one log in their order.

    Raises:
        HandoverError: one is not genuine, or they do not follow on each other.
    """
    chain = tuple(open_handover(note) for note in handovers)
    for earlier, later in pairwise(chain):
        if later.old != earlier.new or later.size <= earlier.size:
            raise HandoverError(
                "The key hand-overs do not follow on each other: one was left out, or belongs to another history. "
                "Ask for all of them, in their order."
            )
    keys = [chain[0].old, *(handover.new for handover in chain)] if chain else []
    if len({key.key_id for key in keys}) != len(keys):
        raise HandoverError(
            "The key hand-overs come back to an earlier key, which no longer counts. Do not accept them."
        )
    return chain


def resolve_keys(trusted: Sequence[LogKey], handovers: Sequence[str]) -> tuple[LogKey, ...]:
    """Say which key speaks for which sizes.

    Args:
        trusted: keys that came some other way than from the log's operator. One of the chain is enough.
        handovers: the notes of all hand-overs, oldest first.

    Returns:
        The keys of the chain, each with its sizes, then the trusted keys of other logs, as they were given.

    Raises:
        HandoverError: the chain is not genuine or whole, holds none of the trusted keys, or lacks one of two that bear
            the name of one log.
    """
    chain = open_chain(handovers)
    given = [key.key if isinstance(key, KeySpan) else key for key in trusted]
    keys = [chain[0].old, *(handover.new for handover in chain)] if chain else []
    _require_one_history(given, keys)
    if not chain:
        return tuple(trusted)
    bounds = [0, *(handover.size + 1 for handover in chain)]
    ends: list[int | None] = [*(handover.size for handover in chain), None]
    spans = [KeySpan(key, first, last) for key, first, last in zip(keys, bounds, ends, strict=True)]
    if not set(keys) & set(given):
        raise HandoverError(
            "The key hand-overs are about keys of which you trust none. Check that you hold this log's key; if you do, "
            "somebody put another in its place: treat this as an alarm."
        )
    return (*spans, *(key for key, bare in zip(trusted, given, strict=True) if bare not in keys))


def _require_one_history(given: Sequence[VerifierKey], chain: Sequence[VerifierKey]) -> None:
    """Two keys of one log speak for different sizes, and only the hand-over between them says for which."""
    for name in {key.name for key in given}:
        own = {key for key in given if key.name == name}
        if len(own) > 1 and not own <= set(chain):
            raise HandoverError(
                "You hold two keys of one log, and no hand-over here says which of them speaks. Use the key that "
                "speaks now, and none beside it: if it was handed over, the hand-over leads to the others."
            )


def continues(known: Sequence[str], shown: Sequence[str]) -> bool:
    """Whether the hand-overs that are shown begin with all that were known: a log's keys have one history."""
    return [open_handover(note) for note in shown[: len(known)]] == [open_handover(note) for note in known]


def current_key(handovers: Sequence[str]) -> VerifierKey | None:
    """The key that speaks now according to the hand-overs; None where there was none."""
    chain = open_chain(handovers)
    return chain[-1].new if chain else None


def require_current(handovers: Sequence[str], checkpoint: Checkpoint) -> None:
    """See that a checkpoint may be the log's present one, given all hand-overs that are known or come with it.

    Whoever still holds a retired key can sign a log that ends before its hand-over. So a present checkpoint reaches the
    last hand-over, and one of the same size has the root that both keys signed.

    Raises:
        HandoverError: it is older than the last hand-over, or contradicts it.
    """
    chain = open_chain(handovers)
    if not chain:
        return
    last = chain[-1]
    if checkpoint.size < last.size:
        raise HandoverError(
            f"The checkpoint is older than the last hand-over of the log's key: it is of {checkpoint.size:,} events, "
            f"the hand-over at {last.size:,}. The key that signed it no longer counts: ask for a newer one."
        )
    if checkpoint.size == last.size and checkpoint.root != last.root:
        raise HandoverError(
            f"The checkpoint contradicts the hand-over of the log's key at {last.size:,} events: both keys signed "
            "another root there. Somebody shows another history: treat this as an alarm."
        )
