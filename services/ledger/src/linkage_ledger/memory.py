"""A whole log in lists: the store to write tests against, and the shortest description of how a real one appends."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from linkage_ledger import events, merkle
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint
from linkage_ledger.notes import SigningKey
from linkage_ledger.receipts import Receipt
from linkage_ledger.verify import BodyRow, CheckpointRow, EventRow, HeadRow, NodeRow


class MemoryLog:
    """A LogSource that can also append. Not for several threads."""

    def __init__(self) -> None:
        self.tree = merkle.MemoryNodes()
        self.event_rows: list[EventRow] = []
        self.node_rows: dict[tuple[int, int], NodeRow] = {}
        self.head_row = HeadRow(size=0, root=merkle.EMPTY_ROOT)
        self.checkpoint_rows: dict[int, CheckpointRow] = {}
        self.body_rows: dict[int, BodyRow] = {}

    def append(self, header: events.Header, body: Mapping[str, object] | None = None) -> int:
        """Record an event, with its body if it has one, and give its seq."""
        seq = self.head_row.size
        if body is not None:
            salt, encoded = events.new_salt(), events.canonical(body)
            header = replace(header, body_hash=events.body_bytes_hash(salt, encoded).hex())
            self.body_rows[seq] = BodyRow(seq=seq, salt=salt, body=encoded)
        leaf_bytes = events.encode(header)
        leaf = merkle.leaf_hash(leaf_bytes)
        self.event_rows.append(EventRow(seq=seq, header=leaf_bytes, leaf_hash=leaf, copies=events.indexed(header)))
        for level, index, node in merkle.append(self.tree, seq, leaf):
            self.tree.put(level, index, node)
            self.node_rows[level, index] = NodeRow(level=level, index=index, hash=node)
        self.head_row = HeadRow(size=seq + 1, root=merkle.root(self.tree, seq + 1))
        return seq

    def dispose_of_body(self, seq: int) -> None:
        """Delete a body and its salt, and leave the mark."""
        self.body_rows[seq] = BodyRow(seq=seq, salt=None, body=None, disposed=True)

    def checkpoint(self, key: SigningKey) -> str:
        """Sign the head and give the note."""
        head = self.head_row
        note = sign_checkpoint(Checkpoint(origin=key.name, size=head.size, root=head.root), key)
        self.checkpoint_rows[head.size] = CheckpointRow(size=head.size, root=head.root, note=note)
        return note

    def receipt(self, seq: int, note: str) -> Receipt:
        """Give the receipt of an event under a checkpoint of this log."""
        size = Checkpoint.parse(note.rpartition("\n\n")[0] + "\n").size
        return Receipt(index=seq, proof=tuple(merkle.inclusion_proof(self.tree, seq, size)), checkpoint=note)

    def events(self) -> Iterable[EventRow]:
        """Give the events by seq."""
        return iter(self.event_rows)

    def nodes(self) -> Iterable[NodeRow]:
        """Give the tree hashes by level, then index."""
        return (self.node_rows[place] for place in sorted(self.node_rows))

    def head(self) -> HeadRow:
        """Give the head."""
        return self.head_row

    def checkpoints(self) -> Iterable[CheckpointRow]:
        """Give the checkpoints by size."""
        return (self.checkpoint_rows[size] for size in sorted(self.checkpoint_rows))

    def bodies(self) -> Iterable[BodyRow]:
        """Give the bodies by seq."""
        return (self.body_rows[seq] for seq in sorted(self.body_rows))
