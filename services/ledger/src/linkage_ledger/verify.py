"""The check an officer runs: is every stored byte of this log the one that was recorded?

The log is read once as a stream, so its length does not matter: memory holds the frontier of the tree, one row of each
table and a capped list of findings. Whatever is stored twice is compared, whatever follows from something else is
computed again, and whatever was signed is checked against the keys that the officer brought.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeGuard, TypeVar

from linkage_ledger import events
from linkage_ledger.checkpoints import Checkpoint, LogKey, open_checkpoint, verify_checkpoint
from linkage_ledger.errors import EventError, HandoverError, NoteError
from linkage_ledger.handover import Handover, open_chain, resolve_keys
from linkage_ledger.merkle import HASH_BYTES, Frontier, leaf_hash, node_hash
from linkage_ledger.scanning import scan

Where = Literal[
    "events", "hash tree", "head", "checkpoints", "bodies", "kept checkpoint", "key hand-overs", "cosignatures"
]

# An officer acts on the first findings; a thousandth says nothing new and a log can have millions.
MAX_FINDINGS = 100
# A correction is kept for every stored tree hash that is wrong, so that its parent is not blamed for it as well.
_MAX_CORRECTIONS = 10_000
_PROGRESS_EVERY = 1_000


# Rows of which there are millions are not frozen: that takes three times as long to make.
@dataclass(slots=True)
class EventRow:
    """One stored event; ``seq`` is its leaf index, so the first is 0. ``copies`` is what events.indexed gives."""

    seq: int
    header: bytes
    leaf_hash: bytes
    copies: Mapping[str, str | None]


@dataclass(slots=True)
class NodeRow:
    """One stored hash of a complete subtree."""

    level: int
    index: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class HeadRow:
    """The stored head."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """One stored checkpoint: its signed note, and size and root as columns."""

    size: int
    root: bytes
    note: str


@dataclass(slots=True)
class BodyRow:
    """One stored body. At the end of its retention the row stays, marked, and salt and body become None."""

    seq: int
    salt: bytes | None
    body: bytes | None
    disposed: bool = False


class LogSource(Protocol):
    """A stored log, read from one snapshot. Each method begins again from the start when it is called."""

    def events(self) -> Iterable[EventRow]:
        """Give the events by seq."""
        ...

    def nodes(self) -> Iterable[NodeRow]:
        """Give the tree hashes by level, then index. Two of these are read side by side."""
        ...

    def head(self) -> HeadRow | None:
        """Give the head; None only before the first event."""
        ...

    def checkpoints(self) -> Iterable[CheckpointRow]:
        """Give the checkpoints by size."""
        ...

    def bodies(self) -> Iterable[BodyRow]:
        """Give the bodies by seq."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was recorded, in words for an officer. Never quotes what is stored."""

    where: Where
    seq: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the check found."""

    size: int
    """Events from the first up to the end, or up to the first gap."""
    root: bytes
    """Root computed from those events."""
    signed_size: int
    """How many of them a genuine, matching checkpoint vouches for: the part that who holds the store cannot rewrite."""
    verified: bool
    """True when there is no finding."""
    findings: tuple[Finding, ...]
    findings_left_out: int
    """How many more there were than are listed."""


def verify_log(
    source: LogSource,
    verifier_keys: Sequence[LogKey],
    *,
    handovers: Sequence[str] = (),
    expected_checkpoint: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    max_findings: int = MAX_FINDINGS,
) -> Report:
    """Check every byte of a stored log.

    Args:
        source: the stored log.
        verifier_keys: the log's public keys, from somewhere other than the log's operator.
        handovers: the notes of all hand-overs of the log's key, oldest first. With them one key of the chain is
            enough, and each counts only for the sizes that it spoke for.
        expected_checkpoint: the signed note that the officer kept earlier. Without it, a log that was cut short, or
            rewritten and signed again by whoever holds the signing key, looks whole.
        progress: called with (events checked, events expected).
        max_findings: how many findings to list; the rest are counted.
    """
    return _Verification(
        source=source,
        verifier_keys=verifier_keys,
        handovers=handovers,
        expected_checkpoint=expected_checkpoint,
        progress=progress,
        findings=_Findings(max_findings),
    ).run()


class _Findings:
    """A list that stops growing but not counting."""

    def __init__(self, limit: int) -> None:
        self.kept: list[Finding] = []
        self.left_out = 0
        self._limit = limit

    def add(self, where: Where, what: str, *, seq: int | None = None) -> None:
        if len(self.kept) < self._limit:
            self.kept.append(Finding(where=where, seq=seq, what=what))
        else:
            self.left_out += 1

    @property
    def none(self) -> bool:
        return not self.kept and not self.left_out


_Row = TypeVar("_Row")
_Place = tuple[int, int]
_AFTER_ALL: _Place = (1 << 128, 0)


class _Cursor(Generic[_Row]):
    """One table, read in order and one row ahead. Rows out of place are reported and passed over."""

    def __init__(
        self, rows: Iterable[_Row], *, place: Callable[[_Row], tuple[object, object]], misplaced: Callable[[], None]
    ) -> None:
        self._rows: Iterator[_Row] = iter(rows)
        self._place_of = place
        self._misplaced = misplaced
        self._row: _Row | None = None
        self.place: _Place = (-1, -1)
        self._advance()

    def take(self, place: _Place) -> _Row | None:
        """Give the row at this place and step on; None if the table has none there."""
        if self.place != place:
            return None
        row = self._row
        self._advance()
        return row

    def skip(self) -> None:
        """Step over a row that should not be there."""
        self._advance()

    def _advance(self) -> None:
        # Written out: a long log steps over five rows for each of its events.
        reached = self.place
        for row in self._rows:
            place = self._place_of(row)
            first, second = place
            if type(first) is int and type(second) is int and first >= 0 <= second and reached < place < _AFTER_ALL:
                self._row, self.place = row, (first, second)
                return
            self._misplaced()
        self._row, self.place = None, _AFTER_ALL


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 64


def _is_hash(value: object) -> TypeGuard[bytes]:
    return type(value) is bytes and len(value) == HASH_BYTES


class _Verification:
    """One run over one log."""

    def __init__(
        self,
        *,
        source: LogSource,
        verifier_keys: Sequence[LogKey],
        handovers: Sequence[str],
        expected_checkpoint: str | None,
        progress: Callable[[int, int], None] | None,
        findings: _Findings,
    ) -> None:
        self._source = source
        self._progress = progress
        self._findings = findings
        self._handovers: dict[int, Handover] = {}
        self._keys = self._follow(verifier_keys, handovers)
        self._frontier = Frontier()
        # A running digest of the inner nodes of each level, from level 1 upwards, as the leaves make them.
        self._inner: list[hashlib._Hash] = []
        self._tree_is_whole = True
        self._signed_size = 0
        self._corrections: dict[_Place, bytes] = {}
        self._kept = self._open_kept(expected_checkpoint)
        self._head = self._open_head()
        said = (self._head, self._kept)
        self._stated = {*self._handovers, *(one.size for one in said if one is not None and _is_count(one.size))}
        self._events = self._by_number(source.events(), where="events", place=lambda row: (row.seq, 0))
        self._bodies = self._by_number(source.bodies(), where="bodies", place=lambda row: (row.seq, 0))
        self._checkpoints = self._by_number(source.checkpoints(), where="checkpoints", place=lambda row: (row.size, 0))
        self._nodes = _Cursor(
            source.nodes(), place=lambda row: (row.level, row.index), misplaced=self._report_misplaced_node
        )

    def run(self) -> Report:
        self._check_leaves()
        size = self._frontier.size
        self._check_ends(size)
        if self._tree_is_whole:
            self._check_inner_nodes(size)
        else:
            self._findings.add("hash tree", "The upper tree was not checked, because entries below it are missing.")
        return Report(
            size=size,
            root=self._frontier.root(),
            signed_size=self._signed_size,
            verified=self._findings.none,
            findings=tuple(self._findings.kept),
            findings_left_out=self._findings.left_out,
        )

    # One pass over events, the lowest row of the tree, bodies and checkpoints, side by side.

    def _check_leaves(self) -> None:
        position = 0
        self._check_roots(position)
        while (nearest := self._nearest_entry(position)) is not None:
            if nearest > position:
                self._report_gap(position, nearest)
                position = nearest
            self._check_position(position)
            position += 1
            self._check_roots(position)
            if not position % _PROGRESS_EVERY:
                self._report_progress(position)
        self._report_progress(position, last=True)

    def _nearest_entry(self, position: int) -> int | None:
        """The next place where an event is, or should be; None at the end of the log."""
        event = self._events.place[0]
        node = self._nodes.place[1] if self._nodes.place[0] == 0 else None
        if event != _AFTER_ALL[0]:
            return event if node is None else min(event, node)
        # Events ended. A tree hash right here is the trace of an event, if the head says that one was recorded.
        if node == position and self._head is not None and _is_count(self._head.size) and position < self._head.size:
            return position
        return None

    def _report_gap(self, first: int, following: int) -> None:
        alone = following == first + 1
        missing = "The event is missing" if alone else f"The events from here to {following - 1} are missing"
        self._findings.add(
            "events",
            f"{missing}, without a trace in the hash tree. What follows cannot be tied to any checkpoint.",
            seq=first,
        )
        self._tree_is_whole = False

    def _check_position(self, position: int) -> None:
        event = self._events.take((position, 0))
        node_row = self._nodes.take((0, position))
        leaf = _agreed_leaf(event, node_row)
        genuine = event
        if leaf is None:
            leaf, genuine = self._disputed_leaf(event, node_row, position)
        self._check_contents(genuine, position)
        if leaf is None:
            self._tree_is_whole = False
        elif self._tree_is_whole:
            for level, node_above in enumerate(self._frontier.add(leaf)):
                if level == len(self._inner):
                    self._inner.append(hashlib.sha256())
                self._inner[level].update(node_above)

    def _disputed_leaf(
        self, event: EventRow | None, node_row: NodeRow | None, position: int
    ) -> tuple[bytes | None, EventRow | None]:
        """Decide which leaf was recorded, and give the event if its header still is that leaf."""
        node = node_row.hash if node_row is not None and _is_hash(node_row.hash) else None
        header_is_genuine = False
        if event is None:
            self._findings.add("events", "The event is missing. Its hash is still in the hash tree.", seq=position)
            leaf = node
        else:
            leaf, header_is_genuine = self._judge_leaf(event, node, position)
        self._check_node(node, leaf, (0, position))
        return leaf, event if header_is_genuine else None

    def _judge_leaf(self, event: EventRow, node: bytes | None, position: int) -> tuple[bytes | None, bool]:
        """Decide which leaf was recorded, and whether the header still is that leaf.

        A leaf hash is held three times: it follows from the header, and is stored with the event and in the tree. When
        they differ, two outvote one, so that one changed byte is reported as one change and not as a ruined tree.
        """
        recorded = event.leaf_hash if _is_hash(event.leaf_hash) else None
        computed = leaf_hash(event.header) if _is_bytes(event.header) else None
        if computed is not None and recorded == computed:
            return computed, True
        if computed is None or (recorded is not None and recorded == node):
            self._findings.add("events", "The event's header was changed after it was recorded.", seq=position)
            return recorded or node, False
        self._findings.add(
            "events", "The hash stored with the event does not fit its header: one of them was changed.", seq=position
        )
        return computed, True

    def _check_contents(self, event: EventRow | None, position: int) -> None:
        body = self._take_body(position)
        if event is None:
            return
        try:
            leaf = scan(event.header)
        except EventError:
            self._findings.add("events", "The event's header is not one that this product writes.", seq=position)
            return
        if event.copies != leaf.copies:
            self._report_copies(leaf.copies, event.copies, position)
        self._check_body(leaf.body_hash, body, position)

    def _report_copies(
        self, expected: Mapping[str, str | None], copies: Mapping[str, str | None], position: int
    ) -> None:
        for name, value in expected.items():
            if name not in copies:
                self._findings.add("events", f"The searchable copy of '{name}' is missing.", seq=position)
            elif copies[name] != value:
                self._findings.add("events", f"The searchable copy of '{name}' differs from the header.", seq=position)
        if any(name not in expected for name in copies):
            self._findings.add("events", "There is a searchable copy of something no header holds.", seq=position)

    def _take_body(self, position: int) -> BodyRow | None:
        if self._bodies.place[0] > position:
            return None
        while self._bodies.place < (position, 0):
            self._findings.add("bodies", "There is a body without an event.", seq=self._bodies.place[0])
            self._bodies.skip()
        return self._bodies.take((position, 0))

    def _check_body(self, expected: str | None, row: BodyRow | None, position: int) -> None:
        if expected is None and row is None:
            return
        problem = _body_problem(expected, row)
        if problem is not None:
            self._findings.add("bodies", problem, seq=position)

    # Roots: every size at which something was said about the log.

    def _check_roots(self, size: int) -> None:
        if size not in self._stated and self._checkpoints.place[0] != size:
            return  # nothing was said about nearly all sizes
        head = self._head if self._head is not None and self._head.size == size else None
        kept = self._kept if self._kept is not None and self._kept.size == size else None
        signed = self._checkpoints.place == (size, 0)
        handed = self._handovers.pop(size, None)
        if not self._tree_is_whole or not (head or kept or signed or handed):
            return
        root = self._frontier.root()
        if handed and handed.root != root:
            self._findings.add(
                "key hand-overs", f"The first {size} events are not those under which the log's key was handed over."
            )
        if head and head.root != root:
            self._findings.add("head", "The stored head's root is not the root of the events.")
        if kept and kept.root != root:
            self._findings.add(
                "kept checkpoint",
                f"The first {size} events are not those your checkpoint vouches for: history was rewritten.",
            )
        if signed:
            self._check_checkpoint(size, root)

    def _check_checkpoint(self, size: int, root: bytes | None) -> None:
        row = self._checkpoints.take((size, 0))
        checkpoint = None if row is None else self._open_checkpoint(row)
        if checkpoint is None or root is None:
            return
        if checkpoint.root != root:
            self._findings.add(
                "checkpoints",
                f"The checkpoint at {size} events does not fit them: one of them was changed, removed or inserted.",
            )
        else:
            self._signed_size = max(self._signed_size, size)

    def _open_checkpoint(self, row: CheckpointRow) -> Checkpoint | None:
        try:
            checkpoint, opened = open_checkpoint(_text(row.note), self._keys)
        except NoteError:
            self._findings.add(
                "checkpoints", f"The checkpoint at {row.size} events is not genuine by any of the keys you gave."
            )
            return None
        if opened.unknown_signatures:
            self._findings.add(
                "checkpoints",
                f"The checkpoint at {row.size} events carries another signature, by none of the keys you gave.",
            )
        if (checkpoint.size, checkpoint.root) != (row.size, row.root):
            self._findings.add(
                "checkpoints", f"The columns of the checkpoint at {row.size} events differ from its signed note."
            )
            return None
        return checkpoint

    def _follow(self, trusted: Sequence[LogKey], handovers: Sequence[str]) -> tuple[LogKey, ...]:
        try:
            keys = resolve_keys(trusted, handovers)
            self._handovers = {handover.size: handover for handover in open_chain(handovers)}
        except HandoverError as error:
            self._findings.add("key hand-overs", str(error))
            return tuple(trusted)
        return keys

    def _open_kept(self, note: str | None) -> Checkpoint | None:
        if note is None:
            return None
        try:
            return verify_checkpoint(note, self._keys)
        except NoteError:
            self._findings.add("kept checkpoint", "The checkpoint you kept is not genuine by any of the keys you gave.")
            return None

    def _open_head(self) -> HeadRow | None:
        head = self._source.head()
        if head is not None and not (_is_count(head.size) and _is_hash(head.root)):
            self._findings.add("head", "The stored head is not a size and a root.")
        return head

    # What is left when the events are through.

    def _check_ends(self, size: int) -> None:
        if self._tree_is_whole:
            self._check_length(size)
            for handed in self._handovers:
                self._findings.add(
                    "key hand-overs",
                    f"The key was handed over at {handed} events, but {size} are there: the log was cut.",
                )
        while self._checkpoints.place != _AFTER_ALL:
            signed = self._checkpoints.place[0]
            if self._tree_is_whole:
                self._findings.add(
                    "checkpoints", f"A checkpoint speaks of {signed} events, but {size} are there: the log was cut."
                )
            self._check_checkpoint(signed, None)
        while self._bodies.place != _AFTER_ALL:
            self._findings.add("bodies", "There is a body without an event.", seq=self._bodies.place[0])
            self._bodies.skip()

    def _check_length(self, size: int) -> None:
        if self._head is None:
            if size:
                self._findings.add("head", "The head is missing.")
        elif self._head.size != size:
            self._findings.add("head", f"The stored head does not speak of the {size} events that are there.")
        if self._kept is not None and self._kept.size > size:
            self._findings.add(
                "kept checkpoint",
                f"Your checkpoint vouches for {self._kept.size} events, but {size} are there: the log was cut.",
            )

    # The upper tree. It follows from the leaves, so one digest a level says whether all of it is as it should be.

    def _check_inner_nodes(self, size: int) -> None:
        if not self._inner_nodes_are_as_computed(size):
            self._find_wrong_inner_nodes(size)

    def _inner_nodes_are_as_computed(self, size: int) -> bool:
        as_computed = True
        for level, computed in enumerate(self._inner, start=1):
            stored = hashlib.sha256()
            for index in range(size >> level):
                row = self._nodes.take((level, index))
                if row is None:
                    break
                stored.update(row.hash if _is_hash(row.hash) else b"")
            as_computed = as_computed and stored.digest() == computed.digest()
        while self._nodes.place != _AFTER_ALL:
            as_computed = False
            self._nodes.skip()
        return as_computed

    def _find_wrong_inner_nodes(self, size: int) -> None:
        """Read the tree twice more, side by side, because each level follows from the one below."""
        self._nodes, below = self._nodes_again(), self._nodes_again()
        while self._nodes.place < (0, size):
            self._nodes.skip()
        for level in range(1, size.bit_length()):
            for index in range(size >> level):
                left = self._read_below(below, (level - 1, 2 * index))
                right = self._read_below(below, (level - 1, 2 * index + 1))
                if left is None or right is None:
                    return
                self._skip_extra_nodes((level, index))
                row = self._nodes.take((level, index))
                node = row.hash if row is not None and _is_hash(row.hash) else None
                self._check_node(node, node_hash(left, right), (level, index))
        self._skip_extra_nodes(_AFTER_ALL)

    def _nodes_again(self) -> _Cursor[NodeRow]:
        """The tree from its beginning. What is misplaced was reported at the first reading."""
        return _Cursor(self._source.nodes(), place=lambda row: (row.level, row.index), misplaced=lambda: None)

    def _read_below(self, below: _Cursor[NodeRow], place: _Place) -> bytes | None:
        while below.place < place:
            below.skip()
        row = below.take(place)
        corrected = self._corrections.get(place)
        if corrected is not None:
            return corrected
        if row is None or not _is_hash(row.hash):
            self._findings.add("hash tree", "Too much of the hash tree is wrong to check the rest of it.")
            return None
        return row.hash

    def _skip_extra_nodes(self, place: _Place) -> None:
        while self._nodes.place < place:
            self._findings.add("hash tree", "The hash tree holds a hash that no event accounts for.")
            self._nodes.skip()

    def _check_node(self, node: bytes | None, expected: bytes | None, place: _Place) -> None:
        if node == expected:
            return
        level, index = place
        what = "is missing" if node is None else "was changed"
        self._findings.add("hash tree", f"The stored hash at level {level} {what}.", seq=index << level)
        if expected is not None and len(self._corrections) < _MAX_CORRECTIONS:
            self._corrections[place] = expected

    # Helpers.

    def _by_number(
        self, rows: Iterable[_Row], *, where: Where, place: Callable[[_Row], tuple[object, object]]
    ) -> _Cursor[_Row]:
        def report() -> None:
            self._findings.add(where, "A row has no place in the order: its number repeats another or is no number.")

        return _Cursor(rows, place=place, misplaced=report)

    def _report_misplaced_node(self) -> None:
        self._findings.add("hash tree", "A hash has no place in the tree: it repeats another's or is none.")

    def _report_progress(self, done: int, *, last: bool = False) -> None:
        if self._progress is None:
            return
        stated = self._head.size if self._head is not None and _is_count(self._head.size) else done
        self._progress(done, done if last else max(done, stated))


def _agreed_leaf(event: EventRow | None, node: NodeRow | None) -> bytes | None:
    """The leaf hash on which header, event and tree agree, as they do nearly always; None where they do not."""
    if event is None or node is None or type(event.header) is not bytes:
        return None
    computed = leaf_hash(event.header)
    return computed if computed == event.leaf_hash == node.hash else None


def _is_bytes(value: object) -> TypeGuard[bytes]:
    return type(value) is bytes


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise NoteError("The note is stored as something other than text. It was damaged.")
    return value


def _body_problem(expected: str | None, row: BodyRow | None) -> str | None:
    if expected is None:
        return None if row is None else "The event has a body that its header does not know of."
    if row is None or (row.salt is None and row.body is None and not row.disposed):
        return "The event's body is missing, and nothing says that it was disposed of."
    if row.disposed:
        held = row.salt is not None or row.body is not None
        return "The event's body is marked as disposed of, yet is still held." if held else None
    if not _is_bytes(row.body) or not _is_hash(row.salt):
        return "The event's body or its salt is damaged."
    changed = events.body_bytes_hash(row.salt, row.body).hex() != expected
    return "The event's body or its salt was changed after it was recorded." if changed else None
