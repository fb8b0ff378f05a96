"""What a bundle is made of: the names of its members, its manifest, and the lines that events are written in.

::

    README.txt                what this is, for whoever unpacks it
    verify.html               a copy of the page that checks it in a browser
    bundle.json               the manifest, canonical JSON (RFC 8785)
    checkpoint.txt            the signed checkpoint that everything is checked against: keep it
    keys.txt                  the log's verifier keys, one a line
    kept-checkpoint.txt       the older checkpoint that the officer kept, if one was named
    handovers/0001.txt ...    signed hand-overs from each key of the log to the next
    documents/DIGEST ...      agreements and policy texts, named by their SHA-256
    events/000001.txt ...     the events, in parts of about a megabyte

An event is one line, or two when it has a body. Every field has one spelling; the last runs to the end of the line::

    SEQ event LEAF-HASH HEADER
    SEQ body SALT BODY
    SEQ disposed
    SEQ withheld
    SEQ other LEAF-HASH

``event`` carries the exact bytes of the leaf; ``body``, ``disposed`` or ``withheld`` (there is a body, which is not for
the bundle's reader) follow the event that they belong to; ``other``
is an event that the bundle's reader is not to see: its hash shows that it is there, and nothing else.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from linkage_ledger.errors import BundleError, EventError
from linkage_ledger.events import SALT_BYTES, canonical
from linkage_ledger.merkle import HASH_BYTES

FORMAT = "linkage-ledger/bundle@v1"

README = "README.txt"
PAGE = "verify.html"
MANIFEST = "bundle.json"
CHECKPOINT = "checkpoint.txt"
KEYS = "keys.txt"
KEPT = "kept-checkpoint.txt"

MAX_PART_BYTES = 16 * 2**20
"""A part holds whole events, so this is also what one event with its body may take at most."""
MAX_SMALL_BYTES = 2**20
"""README, manifest, notes and keys."""
MAX_DOCUMENT_BYTES = 16 * 2**20
MAX_DOCUMENTS = 10_000
MAX_HANDOVERS = 1_000
MAX_HANDOVER_BYTES = 2**16
MAX_TEXT = 1_000
# Two for each bit of the largest number that JSON holds exactly.
_MAX_HASHES = 106
_MAX_INTEGER = 2**53 - 1

_LINE = re.compile(
    rb"(0|[1-9][0-9]{0,15}) "
    rb"(?:event ([0-9a-f]{64}) (.+)|other ([0-9a-f]{64})|body ([0-9a-f]{64}) (.+)|(disposed|withheld))"
)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class BundleLeaf:
    """One leaf of the log, as a bundle shows it."""

    seq: int
    leaf_hash: bytes
    """As it is stored: a header that was changed no longer fits it, and the check can say which."""
    header: bytes | None = None
    """None for an event that the reader is not to see."""
    salt: bytes | None = None
    body: bytes | None = None
    """Canonical JSON; with its salt, or not at all."""
    disposed: bool = False
    """The event had a body, which was disposed of at the end of its retention."""
    withheld: bool = False
    """The event has a body, which the reader is not to see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the bundle says of itself. Nothing here is signed; all that matters is checked against the checkpoint."""

    question: str
    """What was asked for, in words."""
    made_at: str
    first: int
    last: int
    size: int
    left: tuple[bytes, ...]
    right: tuple[bytes, ...]
    kept_proof: tuple[bytes, ...] | None
    """Consistency proof from the kept checkpoint, if there is one."""
    handovers: int
    documents: tuple[str, ...]
    """Digests, in order."""

    def __post_init__(self) -> None:
        text: object = self.question  # what was parsed need not be what its annotation says
        if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT or any(c < " " or c == "\x7f" for c in text):
            raise BundleError(f"A bundle's question is one line of at most {MAX_TEXT} characters.")
        made_at: object = self.made_at
        if not isinstance(made_at, str) or not _TIME.fullmatch(made_at):
            raise BundleError("A bundle's date is not spelled as events.format_time spells it.")
        for number in (self.first, self.last, self.size, self.handovers):
            if type(number) is not int or not 0 <= number <= _MAX_INTEGER:
                raise BundleError("A number of the manifest is not a whole number from 0 to 2^53 - 1.")
        if not self.first <= self.last < self.size:
            raise BundleError("A bundle holds one event at least, and none beyond its checkpoint.")
        if self.handovers > MAX_HANDOVERS or len(self.documents) > MAX_DOCUMENTS:
            raise BundleError("The bundle names more hand-overs or documents than any log has.")
        for hashes in (self.left, self.right, self.kept_proof or ()):
            if len(hashes) > _MAX_HASHES or any(len(one) != HASH_BYTES for one in hashes):
                raise BundleError("A proof of the bundle is longer than any log needs, or no proof.")
        in_order = tuple(sorted(set(self.documents)))
        if in_order != self.documents or not all(_HEX.fullmatch(digest) for digest in self.documents):
            raise BundleError("Documents go by their SHA-256 in hex, each once and in order.")

    def text(self) -> bytes:
        """The member ``bundle.json``."""
        members: dict[str, object] = {
            "format": FORMAT,
            "question": self.question,
            "made_at": self.made_at,
            "first": self.first,
            "last": self.last,
            "size": self.size,
            "left": [node.hex() for node in self.left],
            "right": [node.hex() for node in self.right],
            "handovers": self.handovers,
            "documents": list(self.documents),
        }
        if self.kept_proof is not None:
            members["kept_proof"] = [node.hex() for node in self.kept_proof]
        try:
            return canonical(members)
        except EventError:
            raise BundleError("A text of the manifest is not valid Unicode.") from None

    @classmethod
    def parse(cls, encoded: bytes) -> Self:
        """Read what ``text`` writes, and nothing else."""
        try:
            given: Any = json.loads(encoded.decode("utf-8"))
            _require_format(given.pop("format"))
            left, right = _hashes(given.pop("left")), _hashes(given.pop("right"))
            kept = _hashes(given.pop("kept_proof")) if "kept_proof" in given else None
            documents = tuple(given.pop("documents"))
            manifest = cls(**given, left=left, right=right, kept_proof=kept, documents=documents)
        except BundleError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise BundleError("The bundle's manifest cannot be read. It was damaged.") from None
        if manifest.text() != encoded:
            raise BundleError("The bundle's manifest is not in canonical form. It was rewritten.")
        return manifest


def handover_name(number: int) -> str:
    """Name of the hand-over with this number, from 1."""
    return f"handovers/{number:04}.txt"


def document_name(digest: str) -> str:
    """Name of a document."""
    return f"documents/{digest}"


def part_name(number: int) -> str:
    """Name of the part of events with this number, from 1."""
    return f"events/{number:06}.txt"


def leaf_lines(leaf: BundleLeaf) -> bytes:
    """The line of an event, or its two lines. Raises BundleError where its parts do not go together."""
    if len(leaf.leaf_hash) != HASH_BYTES:
        raise BundleError(f"Event {leaf.seq} comes with a hash that is none. Verify the log.")
    seq = b"%d" % leaf.seq
    recorded = leaf.leaf_hash.hex().encode()
    absent = "disposed of" if leaf.disposed else "withheld" if leaf.withheld else None
    holds_body = leaf.salt is not None or leaf.body is not None
    if leaf.header is None:
        if holds_body or absent is not None:
            raise BundleError(f"Event {leaf.seq} has no header here, so nothing of its body may be here either.")
        return b"%b other %b\n" % (seq, recorded)
    lines = b"%b event %b %b\n" % (seq, recorded, _one_line(leaf.header, leaf.seq))
    if absent is not None:
        if holds_body:
            raise BundleError(f"The body of event {leaf.seq} is marked as {absent}, yet is there. Verify the log.")
        return b"%b%b %b\n" % (lines, seq, absent.split(" ")[0].encode())
    lines += _body_line(leaf, seq)
    if len(lines) > MAX_PART_BYTES:
        raise BundleError(f"Event {leaf.seq} is larger than a bundle can hold. Verify the log.")
    return lines


def _body_line(leaf: BundleLeaf, seq: bytes) -> bytes:
    if leaf.body is None:
        if leaf.salt is not None:
            raise BundleError(f"The salt of event {leaf.seq} comes without its body. Verify the log.")
        return b""
    if leaf.salt is None or len(leaf.salt) != SALT_BYTES:
        raise BundleError(f"The body of event {leaf.seq} comes without its salt. Verify the log.")
    return b"%b body %b %b\n" % (seq, leaf.salt.hex().encode(), _one_line(leaf.body, leaf.seq))


def parse_part(part: bytes) -> Iterator[BundleLeaf]:
    """Give the leaves of a part in order. Raises BundleError at a line that is none."""
    if not part.endswith(b"\n"):
        raise BundleError("A part of the events does not end with a line. It was cut: get the bundle again.")
    pending: BundleLeaf | None = None
    for line in part[:-1].split(b"\n"):
        fields = _LINE.fullmatch(line)
        if fields is None:
            raise _unreadable()
        number, shown, header, other, salt, body, absent = fields.groups()
        seq, recorded = int(number), shown or other
        if recorded is not None:
            if pending is not None:
                yield pending
            pending = BundleLeaf(seq, _from_hex(recorded), header)
            continue
        if pending is None or pending.seq != seq or pending.header is None:
            raise _unreadable()
        if salt is None:
            disposed = absent == b"disposed"
            yield BundleLeaf(seq, pending.leaf_hash, pending.header, disposed=disposed, withheld=not disposed)
        else:
            yield BundleLeaf(seq, pending.leaf_hash, pending.header, _from_hex(salt), body)
        pending = None
    if pending is not None:
        yield pending


def _from_hex(encoded: bytes) -> bytes:
    return bytes.fromhex(encoded.decode("ascii"))


def _one_line(text: bytes, seq: int) -> bytes:
    # Canonical JSON holds no raw newline, so this is damage, and would let one event pass for two.
    if not text or b"\n" in text:
        raise BundleError(f"Event {seq} is not stored as this product stores it. Verify the log.")
    return text


def _require_format(stated: object) -> None:
    if stated != FORMAT:
        raise BundleError("The bundle is of a version that is not known here. Use a newer release to read it.")


def _hashes(values: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(value) for value in values)


def _unreadable() -> BundleError:
    return BundleError("A line of the events cannot be read. It was damaged: get the bundle again.")
