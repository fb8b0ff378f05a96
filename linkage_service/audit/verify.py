"""Checks every byte of the log in the database: what `linkage-service audit verify` runs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from sqlmodel import Session

from linkage_ledger.cosignatures import WitnessKey, cosignatures_of
from linkage_ledger.errors import LedgerError
from linkage_ledger.handover import open_handover
from linkage_ledger.notes import VerifierKey
from linkage_ledger.verify import BodyRow, CheckpointRow, EventRow, Finding, HeadRow, NodeRow, Report, verify_log
from linkage_service.audit import tables, trust_tables
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
        handed = trust_tables.all_handovers(session)
        report = verify_log(
            _Tables(session),
            verifier_keys,
            handovers=[row.note for row in handed],
            expected_checkpoint=expected_checkpoint,
            progress=progress,
        )
        found = [*_handover_findings(handed), *_cosignature_findings(session)]
    if found:
        report = replace(report, verified=False, findings=(*report.findings, *found))
    if report.size and not report.signed_size and report.verified:
        # A service signs its first checkpoint when it is made, so a log without any was rewritten or lost its tail.
        unsigned = Finding("checkpoints", None, "No signed checkpoint is left, so nothing vouches for these events.")
        return replace(report, verified=False, findings=(unsigned,))
    return report


def _handover_findings(rows: Sequence[trust_tables.AuditHandover]) -> Iterator[Finding]:
    for row in rows:
        try:
            size = open_handover(row.note).size
        except LedgerError:
            continue  # verify_log said so
        if size != row.size:
            yield Finding("key hand-overs", None, f"A hand-over is kept at {row.size} events that speaks of {size}.")


def _cosignature_findings(session: Session) -> Iterator[Finding]:
    """A cosignature has to fit the checkpoint of its size, by the key that is kept with it.

    Whether that key is the witness's is for whoever holds the witness's key from the witness.
    """
    for row, checkpoint in trust_tables.all_cosignatures(session):
        try:
            key = WitnessKey.parse(row.witness)
            genuine = checkpoint is not None and [
                cosignature.line for cosignature in cosignatures_of(checkpoint.note + row.line, [key])
            ] == [row.line]
        except LedgerError:
            genuine = False
        if not genuine:
            yield Finding("cosignatures", None, f"A cosignature kept for {row.size} events fits no checkpoint there.")


class _Tables:
    """The tables as the verifier reads them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def events(self) -> Iterable[EventRow]:
        """Events by sequence number."""
        for row in tables.all_events(self._session):
            yield EventRow(row[0], row[1], row[2], dict(zip(tables.COPIES, row[3:], strict=True)))

    def nodes(self) -> Iterable[NodeRow]:
        """Tree hashes by level, then index."""
        for level, index, node in tables.all_nodes(self._session):
            yield NodeRow(level, index, node)

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
