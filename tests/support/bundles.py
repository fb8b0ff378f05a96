"""Bundles to check and to damage."""

import hashlib
import io
from collections.abc import Mapping

from linkage_ledger import merkle
from linkage_ledger.bundle import BundleLeaf, write_bundle
from linkage_ledger.memory import MemoryLog
from support.ledger_logs import KEY

QUESTION = "agreement agr_1, March 2026"
MADE_AT = "2026-03-03T09:00:00.000000Z"


def leaves_of(log: MemoryLog, first: int, last: int, *, hide_every: int = 0) -> list[BundleLeaf]:
    """The leaves of a log as a bundle shows them; each that ``hide_every`` divides as its hash only."""
    leaves = []
    for row in log.event_rows[first : last + 1]:
        if hide_every and row.seq % hide_every == 0:
            leaves.append(BundleLeaf(row.seq, row.leaf_hash))
            continue
        body = log.body_rows.get(row.seq)
        if body is None:
            leaves.append(BundleLeaf(row.seq, row.leaf_hash, row.header))
        else:
            leaves.append(BundleLeaf(row.seq, row.leaf_hash, row.header, body.salt, body.body, body.disposed))
    return leaves


def make_bundle(
    log: MemoryLog,
    first: int,
    last: int,
    *,
    hide_every: int = 0,
    leaves: list[BundleLeaf] | None = None,
    documents: Mapping[str, bytes] = {},
    **changes: object,
) -> bytes:
    """A bundle of a log whose head is signed now."""
    size = log.head_row.size
    left, right = merkle.range_proof(log.tree, first, last + 1, size)
    arguments: dict[str, object] = {
        "leaves": leaves_of(log, first, last, hide_every=hide_every) if leaves is None else leaves,
        "first": first,
        "last": last,
        "size": size,
        "left": left,
        "right": right,
        "checkpoint": log.checkpoint(KEY),
        "verifier_keys": [KEY.verifier.format()],
        "documents": documents,
        "question": QUESTION,
        "made_at": MADE_AT,
        **changes,
    }
    out = io.BytesIO()
    write_bundle(out, **arguments)  # type: ignore[arg-type]  # each is one of its parameters
    return out.getvalue()


def by_digest(*documents: bytes) -> dict[str, bytes]:
    """Documents under their SHA-256."""
    return {hashlib.sha256(document).hexdigest(): document for document in documents}
