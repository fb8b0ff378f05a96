"""Checks every byte of the log in the database: what `linkage-service audit verify` runs."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from sqlmodel import Session

from linkage_ledger.notes import VerifierKey
from linkage_ledger.verify import BodyRow, CheckpointRow, EventRow, Finding, HeadRow, NodeRow, Report, verify_log
from linkage_service.audit import tables
from linkage_service.database import Database


def verify(
    database: Database,
    verifier_keys: list[VerifierKey],
    *,
    expected_checkpoint: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Checks the whole log from one snapshot."""
    with database.reading() as session:
        report = verify_log(_Tables(session), verifier_keys, expected_checkpoint=expected_checkpoint, progress=progress)
    if report.size and not report.signed_size and report.verified:
        # A service signs its first checkpoint when it is made, so a log without any was rewritten or lost its tail.
        unsigned = Finding("checkpoints", None, "No signed checkpoint is left, so nothing vouches for these events.")
        return replace(report, verified=False, findings=(unsigned,))
    return report


class _Tables:
    """The tables as the verifier reads them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def events(self) -> Iterable[EventRow]:
        """Events by sequence number."""
        for seq, header, leaf_hash, *copies in tables.all_events(self._session):
            yield EventRow(
                seq=seq, header=header, leaf_hash=leaf_hash, copies=dict(zip(tables.COPIES, copies, strict=True))
            )

    def nodes(self) -> Iterable[NodeRow]:
        """Tree hashes by level, then index."""
        for level, index, node in tables.all_nodes(self._session):
            yield NodeRow(level=level, index=index, hash=node)

    def head(self) -> HeadRow | None:
        """The head; none, or more than one, is damage that reads as none."""
        rows = tables.all_heads(self._session)
        return HeadRow(size=rows[0].size, root=rows[0].root) if len(rows) == 1 and rows[0].id == 1 else None

    def checkpoints(self) -> Iterable[CheckpointRow]:
        """Checkpoints by size."""
        for size, root, note in tables.all_checkpoints(self._session):
            yield CheckpointRow(size=size, root=root, note=note)

    def bodies(self) -> Iterable[BodyRow]:
        """Bodies by sequence number."""
        for seq, salt, body, disposed in tables.all_bodies(self._session):
            yield BodyRow(seq=seq, salt=salt, body=body, disposed=disposed)
