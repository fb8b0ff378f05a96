"""The RFC 6962 tree: the one structure in which no leaf can change, move or vanish without changing the root.

A log keeps the hash of every *complete* subtree, addressed by (level, index): the subtree covers the leaves
``index << level`` up to, not including, ``(index + 1) << level``. Complete subtrees never change again, so the store is
append-only, and any root and any proof, of the present or of any earlier size, is a few reads away.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol, Self

from linkage_ledger.errors import MissingNodeError, ProofError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class NodeReader(Protocol):
    """Where finished subtrees are read from."""

    def get(self, level: int, index: int, /) -> bytes:
        """Give the 32-byte hash of a complete subtree; raise MissingNodeError (a LookupError) if it is not held."""
        ...


class NodeStore(NodeReader, Protocol):
    """Where finished subtrees are kept."""

    def put(self, level: int, index: int, node: bytes, /) -> None:
        """Keep the hash of a complete subtree, for good."""
        ...


class MemoryNodes:
    """A node store in a dict: for tests, and for clients that rebuild a tree from an export."""

    __slots__ = ("_nodes",)

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], bytes] = {}

    def get(self, level: int, index: int, /) -> bytes:
        """Give the hash of a complete subtree."""
        try:
            return self._nodes[level, index]
        except KeyError:
            raise MissingNodeError(
                f"The subtree at level {level}, index {index} is not in the store: the log is damaged or shorter than "
                "was said. Verify the log."
            ) from None

    def put(self, level: int, index: int, node: bytes, /) -> None:
        """Keep the hash of a complete subtree."""
        self._nodes[level, index] = node

    def __len__(self) -> int:
        return len(self._nodes)


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf's bytes (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (RFC 6962 section 2.1); the prefix keeps it apart from any leaf's."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def append(nodes: NodeReader, size: int, leaf: bytes) -> list[tuple[int, int, bytes]]:
    """The subtrees that are complete once a leaf is added to a log of ``size`` leaves.

    Writes nothing: the caller stores what is returned, as (level, index, hash) from the leaf upwards, in the
    transaction that also moves the head. ``leaf`` is the 32-byte leaf hash.
    """
    _require_hash(leaf)
    _require_size(size)
    finished = [(0, size, leaf)]
    level, index, node = 0, size, leaf
    while index & 1:
        node = node_hash(nodes.get(level, index - 1), node)
        level, index = level + 1, index >> 1
        finished.append((level, index, node))
    return finished


def peaks(size: int) -> list[tuple[int, int]]:
    """Level and index of the largest complete subtrees of a log of ``size`` leaves, from the left.

    With these alone the next leaves can be appended, and the root be told.
    """
    _require_size(size)
    levels = range(size.bit_length() - 1, -1, -1)
    return [(level, (size >> level) - 1) for level in levels if size >> level & 1]


def root(nodes: NodeReader, size: int) -> bytes:
    """Root of the first ``size`` leaves."""
    _require_size(size)
    return _range_root(nodes, 0, size) if size else EMPTY_ROOT


def inclusion_proof(nodes: NodeReader, index: int, size: int) -> list[bytes]:
    """Hashes that lead from leaf ``index`` to the root at ``size``, nearest first (RFC 6962 section 2.1.1)."""
    if not 0 <= index < size:
        raise ProofError(
            f"A log of {size} leaves has no leaf {index}, so there is no proof of it. Ask for an index below the size."
        )
    start, end = 0, size
    upwards: list[bytes] = []
    while end - start > 1:
        middle = start + _left_size(end - start)
        if index < middle:
            upwards.append(_range_root(nodes, middle, end))
            end = middle
        else:
            upwards.append(_range_root(nodes, start, middle))
            start = middle
    upwards.reverse()
    return upwards


def consistency_proof(nodes: NodeReader, old: int, new: int) -> list[bytes]:
    """Hashes that show the log of ``old`` leaves to be the beginning of the log of ``new`` (RFC 6962 section 2.1.2)."""
    if not 0 <= old <= new:
        raise ProofError(
            f"A log of {new} leaves cannot continue one of {old}: logs only grow. Ask with the smaller size first."
        )
    if old in {0, new}:
        return []
    start, end = 0, new
    upwards: list[bytes] = []
    while end != old:
        middle = start + _left_size(end - start)
        if old <= middle:
            upwards.append(_range_root(nodes, middle, end))
            end = middle
        else:
            upwards.append(_range_root(nodes, start, middle))
            start = middle
    # A verifier already holds the old root when the old tree is one complete subtree.
    if start:
        upwards.append(_range_root(nodes, start, end))
    upwards.reverse()
    return upwards


def range_proof(nodes: NodeReader, first: int, end: int, size: int) -> tuple[list[bytes], list[bytes]]:
    """Hashes that tie the leaves from ``first`` up to, not including, ``end`` to the root at ``size``: left, right.

    Either side is covered by the fewest complete subtrees there are, in the order of their leaves: at most one for each
    bit of the size on the left, two on the right. What they are follows from the three numbers (see ``verify_range``).
    """
    _require_range(first, end, size)
    left = [nodes.get(level, index) for level, index in _subtrees_between(0, first)]
    right = [nodes.get(level, index) for level, index in _subtrees_between(end, size)]
    return left, right


def verify_range(
    leaves: Iterable[bytes], *, first: int, size: int, left: Sequence[bytes], right: Sequence[bytes], root: bytes
) -> None:
    """Raise ProofError unless ``leaves`` (leaf hashes in order) are those from ``first`` on in the log with this root.

    Nothing can be missing among them: a leaf left out moves all that follow, and leads to another root. The size has
    to come from a signed checkpoint, as the root does: what lies right of the range is hashes, and nobody counts here
    how many leaves are below them.
    """
    _require_proof_hashes(root)
    frontier = Frontier.resumed(first, left)
    for leaf in leaves:
        _require_hash(leaf)
        frontier.add(leaf)
    _require_range(first, frontier.size, size)
    frontier.complete(right, size=size)
    if frontier.root() != root:
        raise ProofError("These leaves lead to another root: one was changed, removed or inserted.")


def verify_inclusion(leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise ProofError unless ``leaf`` (a leaf hash) is at ``index`` in the log with this size and root.

    RFC 9162 section 2.1.3.2.
    """
    _require_proof_hashes(leaf, root, *proof)
    if not 0 <= index < size:
        raise ProofError("The proof names a place outside the log. The receipt and the checkpoint do not go together.")
    place, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("The proof is longer than a log of this size needs. It was made for another log or size.")
        if place & 1 or place == last:
            computed = node_hash(sibling, computed)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofError("The proof is shorter than a log of this size needs. It was cut, or made for another size.")
    if computed != root:
        raise ProofError("The proof leads to another root: this exact leaf is not at this place in this log.")


def verify_consistency(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise ProofError unless the log at ``new_size`` begins with the log at ``old_size``.

    RFC 9162 section 2.1.4.2, which leaves the empty old log and equal sizes to the caller: both need an empty proof.
    """
    _require_proof_hashes(old_root, new_root, *proof)
    if not 0 <= old_size <= new_size:
        raise ProofError("The log is shorter than it was. A log only grows: treat this as an alarm.")
    if old_size == new_size:
        if proof:
            raise ProofError("Equal sizes need no proof, yet one was given. It was made for other sizes.")
        if old_root != new_root:
            raise ProofError("Two roots were shown for one size: the log was forked. Keep both and raise an alarm.")
        return
    if old_size == 0:
        if proof or old_root != EMPTY_ROOT:
            raise ProofError("Only the empty root, with an empty proof, stands for a log without leaves.")
        return
    computed_old, computed_new = _climb(old_size, new_size, _with_old_root(old_size, old_root, proof))
    if computed_old != old_root:
        raise ProofError("The proof does not contain the old root: it is not about the log you knew.")
    if computed_new != new_root:
        raise ProofError("The old log is not the beginning of the new one: leaves were changed, removed or inserted.")


class Frontier:
    """A log read as a stream: the roots of its largest complete subtrees, enough for the root at every size."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self._peaks: list[bytes] = []
        self.size = 0

    @classmethod
    def resumed(cls, size: int, peaks: Sequence[bytes]) -> Self:
        """A log read from ``size`` on, given the left side of a range proof. ProofError where that cannot be one."""
        _require_size(size)
        _require_proof_hashes(*peaks)
        if len(peaks) != size.bit_count():
            raise ProofError("The proof's left side does not go with where the range begins. It was cut or damaged.")
        frontier = cls()
        frontier._peaks = list(peaks)
        frontier.size = size
        return frontier

    def add(self, leaf: bytes) -> list[bytes]:
        """Take in the next leaf hash, and give the inner nodes that it completes, from level 1 upwards."""
        node, index = leaf, self.size
        completed = []
        while index & 1:
            node = node_hash(self._peaks.pop(), node)
            completed.append(node)
            index >>= 1
        self._peaks.append(node)
        self.size += 1
        return completed

    def complete(self, right: Sequence[bytes], *, size: int) -> None:
        """Take in the right side of a range proof, up to ``size``. ProofError where that cannot be one."""
        _require_proof_hashes(*right)
        places = _subtrees_between(self.size, size)
        if self.size > size or len(right) != len(places):
            raise ProofError("The proof's right side does not go with where the range ends. It was cut or damaged.")
        for (level, place), subtree in zip(places, right, strict=True):
            node, index = subtree, place
            while index & 1:
                node = node_hash(self._peaks.pop(), node)
                index >>= 1
            self._peaks.append(node)
            self.size += 1 << level

    def root(self) -> bytes:
        """Root of the leaves so far."""
        return _fold(self._peaks)


def _with_old_root(old_size: int, old_root: bytes, proof: Sequence[bytes]) -> list[bytes]:
    if not proof:
        raise ProofError("The proof is empty, and these sizes need one. It was cut.")
    is_one_complete_subtree = old_size & (old_size - 1) == 0
    return [old_root, *proof] if is_one_complete_subtree else list(proof)


def _climb(old_size: int, new_size: int, path: list[bytes]) -> tuple[bytes, bytes]:
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    computed_old = computed_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("The proof is longer than these sizes need. It was made for other sizes.")
        if place & 1 or place == last:
            computed_old = node_hash(sibling, computed_old)
            computed_new = node_hash(sibling, computed_new)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            computed_new = node_hash(computed_new, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofError("The proof is shorter than these sizes need. It was cut, or made for other sizes.")
    return computed_old, computed_new


def _left_size(count: int) -> int:
    """The largest power of two below ``count``: where RFC 6962 splits."""
    return 1 << ((count - 1).bit_length() - 1)


def _subtrees_between(start: int, end: int) -> list[tuple[int, int]]:
    """The fewest complete subtrees that cover the leaves start..end, as (level, index) from left to right."""
    places = []
    while start < end:
        fitting = (end - start).bit_length() - 1
        aligned = (start & -start).bit_length() - 1 if start else fitting
        level = min(fitting, aligned)
        places.append((level, start >> level))
        start += 1 << level
    return places


def _range_root(nodes: NodeReader, start: int, end: int) -> bytes:
    """Root of the leaves start..end, a range that RFC 6962's splitting produces, so that its peaks are stored nodes."""
    peaks = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(nodes.get(level, start >> level))
        start += 1 << level
    return _fold(peaks)


def _fold(peaks: Sequence[bytes]) -> bytes:
    computed: bytes | None = None
    for peak in reversed(peaks):
        computed = peak if computed is None else node_hash(peak, computed)
    return EMPTY_ROOT if computed is None else computed


def _require_hash(value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise ProofError("A leaf enters the tree as its 32-byte hash. Hash the leaf's bytes with leaf_hash first.")


def _require_size(size: int) -> None:
    if size < 0:
        raise ProofError("A log has no negative size. Pass the number of leaves.")


def _require_range(first: int, end: int, size: int) -> None:
    if not 0 <= first < end <= size:
        raise ProofError(
            f"A log of {size} leaves has no range from {first} up to {end}. Ask for at least one leaf, and for none "
            "beyond the size."
        )


def _require_proof_hashes(*hashes: bytes) -> None:
    if any(len(value) != HASH_BYTES for value in hashes):
        raise ProofError("The proof holds a hash that is not 32 bytes long. It was damaged or made by something else.")
