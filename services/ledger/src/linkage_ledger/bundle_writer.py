"""Writes a bundle: a run of the log without a gap, with everything an officer needs to check it offline."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import BinaryIO

from linkage_ledger import bundle_format as form
from linkage_ledger.bundle_format import BundleLeaf, Manifest
from linkage_ledger.bundle_page import verify_page
from linkage_ledger.bundle_zip import ZipWriter
from linkage_ledger.checkpoints import Checkpoint
from linkage_ledger.errors import BundleError, NoteError
from linkage_ledger.notes import split_note

_PART_BYTES = 2**20
"""Small enough to hold in memory on both sides, large enough that a long log has few."""


def write_bundle(
    out: BinaryIO,
    *,
    leaves: Iterable[BundleLeaf],
    first: int,
    last: int,
    size: int,
    left: Sequence[bytes],
    right: Sequence[bytes],
    checkpoint: str,
    verifier_keys: Sequence[str],
    handovers: Sequence[str] = (),
    consistency: tuple[str, Sequence[bytes]] | None = None,
    documents: Mapping[str, bytes] = {},
    question: str,
    made_at: str,
) -> None:
    """Write a bundle as a stream: ``out`` need not be seekable, and memory holds one part of the events.

    The same arguments give the same bytes. Nothing is checked against the checkpoint here, so that a log that was
    tampered with still goes to its officer as it is.

    Args:
        out: where to write; is not closed.
        leaves: every leaf from ``first`` to ``last``, in order.
        first: seq of the first leaf.
        last: seq of the last leaf, which belongs to the bundle.
        size: how many events the checkpoint speaks of.
        left: with ``right``, what ``merkle.range_proof(nodes, first, last + 1, size)`` gives.
        right: see ``left``.
        checkpoint: the signed note.
        verifier_keys: keys of the log, one line each, as ``VerifierKey.format`` writes them.
        handovers: signed hand-overs from key to key, oldest first.
        consistency: an older checkpoint's note that the officer kept, and the proof from it to ``checkpoint``.
        documents: agreements and policy texts that headers refer to, by SHA-256 in hex.
        question: what was asked for, in words, on one line.
        made_at: when, as ``events.format_time`` writes it.

    Raises:
        BundleError: the arguments do not go together, or the bundle would be too large. What was written is useless.
    """
    _require_checkpoint(checkpoint, size)
    manifest = Manifest(
        question=question,
        made_at=made_at,
        first=first,
        last=last,
        size=size,
        left=tuple(left),
        right=tuple(right),
        kept_proof=None if consistency is None else tuple(consistency[1]),
        handovers=len(handovers),
        documents=tuple(sorted(documents)),
    )
    archive = ZipWriter(out)
    archive.add(form.README, _readme())
    archive.add(form.PAGE, verify_page())
    archive.add(form.MANIFEST, manifest.text())
    archive.add(form.CHECKPOINT, checkpoint.encode())
    archive.add(form.KEYS, "".join(f"{key}\n" for key in verifier_keys).encode())
    if consistency is not None:
        archive.add(form.KEPT, consistency[0].encode())
    for number, note in enumerate(handovers, start=1):
        archive.add(form.handover_name(number), note.encode())
    for digest in manifest.documents:
        if len(documents[digest]) > form.MAX_DOCUMENT_BYTES:
            raise BundleError("A document is larger than a bundle can hold. Leave it out.")
        archive.add(form.document_name(digest), documents[digest])
    _write_events(archive, leaves, first=first, last=last)
    archive.close()


def _require_checkpoint(note: str, size: int) -> None:
    try:
        stated = Checkpoint.parse(split_note(note)[0]).size
    except NoteError:
        raise BundleError("The checkpoint is no signed checkpoint. Verify the log.") from None
    if stated != size:
        raise BundleError("The checkpoint is not of the size that the proofs were made for. Pass the one that is.")


def _write_events(archive: ZipWriter, leaves: Iterable[BundleLeaf], *, first: int, last: int) -> None:
    expected, part, number = first, bytearray(), 1
    for leaf in leaves:
        if leaf.seq != expected:
            raise BundleError(f"Event {expected} is missing among those to be written. Verify the log.")
        lines = form.leaf_lines(leaf)
        if part and len(part) + len(lines) > _PART_BYTES:
            archive.add(form.part_name(number), bytes(part))
            number += 1
            part.clear()
        part += lines
        expected += 1
    if expected != last + 1:
        raise BundleError(f"The events to be written end before event {expected}. Verify the log.")
    archive.add(form.part_name(number), bytes(part))


def _readme() -> bytes:
    return resources.files("linkage_ledger").joinpath("page", "readme.txt").read_bytes()
