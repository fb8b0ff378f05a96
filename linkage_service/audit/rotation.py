"""Hands the log from its key to a new one, so that being killed at any step loses neither key nor log.

1. The new key is written beside the old one, on the disk.
2. One transaction: a checkpoint by the old key, the hand-over that both keys sign, and the event of it.
3. The new key takes the place of the old one.

Until 2 is committed, the old key speaks for the log. From then on the new one does, wherever it lies: every process
goes by the database, and finds the new key in either place (`Log.signer`). A rotation that was interrupted before 3 is
finished by the next, which does nothing else.
"""

from dataclasses import dataclass
from pathlib import Path

from linkage_ledger import events
from linkage_ledger.handover import current_key, open_handover, sign_handover
from linkage_ledger.notes import SigningKey, VerifierKey
from linkage_service import service_keys
from linkage_service.audit import trust_tables
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import KeyRetired, Log, body_of, entry
from linkage_service.audit.unit import unit_of_work
from linkage_service.clock import Clock
from linkage_service.database import Database
from linkage_service.errors import Conflict


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did.

    Attributes:
        handover: the note that both keys signed.
        finished_only: whether it only finished an earlier one.
    """

    handover: str
    finished_only: bool


def rotate(*, database: Database, log: Log, folder: Path, clock: Clock) -> Rotated:
    """Hands the log to a new key.

    Args:
        database: the service's.
        log: of this process, which signs with the new key afterwards.
        folder: of keys.
        clock: the time.

    Raises:
        Conflict: another rotation is under way, or the log is empty.
        KeyRetired: the key that speaks for the log is not in the folder.
    """
    with service_keys.rotating(folder):
        if (unfinished := _finish(database, folder)) is not None:
            return Rotated(handover=unfinished, finished_only=True)
        with database.reading() as session:
            retired = {key.key_id for note in trust_tables.handovers(session) for key in _ends(note)}
            if log.signer(session).verifier not in [key.verifier for key in service_keys.log_keys(folder)]:
                raise KeyRetired
        new = _new_key(log.verifier.name, retired | {log.verifier.key_id})
        service_keys.keep_next_log_key(folder, new)
        note = _hand_over(database, log, new, clock)
        service_keys.promote_next_log_key(folder)
    log.checkpoint(database)
    return Rotated(handover=note, finished_only=False)


def _finish(database: Database, folder: Path) -> str | None:
    """Finishes step 3 of a rotation that was killed after step 2; gives its hand-over, None where there was none."""
    with database.reading() as session:
        notes = trust_tables.handovers(session)
    waiting = service_keys.next_log_key(folder)
    if waiting is None or waiting.verifier != current_key(notes):
        return None
    service_keys.promote_next_log_key(folder)
    return notes[-1]


def _hand_over(database: Database, log: Log, new: SigningKey, clock: Clock) -> str:
    now = clock()
    with unit_of_work(database=database, log=log, now=now) as unit:
        old = log.signer(unit.session)
        checkpoint = log.sign(unit.session)
        if checkpoint.size == 0:
            raise Conflict("The ledger is empty. Its key can be handed over once there is an event.")
        note = sign_handover(size=checkpoint.size, root=checkpoint.root, old=old, new=new)
        unit.session.add(trust_tables.AuditHandover(size=checkpoint.size, note=note))
        keys = {"old": old.verifier.format(), "new": new.verifier.format()}
        unit.record(
            entry(
                now=now,
                event_type=EventType.AUDIT_KEY_ROTATED,
                actor=events.Actor("system", "linkage-service"),
                resource=events.Resource("audit", new.verifier.key_id.hex()),
                action="rotateLogKey",
                outcome=events.Outcome("success", "ok"),
                request_id="rotate-log-key",
                source="command line",
                body=body_of(detail={"size": checkpoint.size, **keys}),
            )
        )
    return note


def _ends(note: str) -> tuple[VerifierKey, VerifierKey]:
    handover = open_handover(note)
    return handover.old, handover.new


def _new_key(name: str, retired: set[bytes]) -> SigningKey:
    while (key := SigningKey.generate(name)).verifier.key_id in retired:
        continue  # four bytes collide once in four thousand million
    return key
