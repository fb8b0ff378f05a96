"""One unit of work: a transaction and the ledger events that say what it did, committed together or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from linkage_ledger import events
from linkage_ledger.merkle import leaf_hash
from linkage_service.audit.log import Entry, Log
from linkage_service.database import Database


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a caller is told of the event that their request became: a promise that can be checked.

    Attributes:
        seq: number of the event.
        leaf: its leaf hash, which has to be in the log at this place for ever.
    """

    seq: int
    leaf: bytes

    def __str__(self) -> str:
        return str(self.seq)

    @property
    def headers(self) -> dict[str, str]:
        """As an answer says it."""
        return {"Linkage-Event": str(self.seq), "Linkage-Event-Leaf": self.leaf.hex()}


class UnitOfWork:
    """The transaction of one use case.

    Attributes:
        session: where it reads and writes.
        now: the one time of everything it does.
        sequence: the ledger sequence numbers of its events, once committed.
    """

    def __init__(self, session: Session, now: datetime) -> None:
        self.session = session
        self.now = now
        self.sequence: list[int] = []
        self._entries: list[Entry] = []

    def record(self, entry: Entry) -> None:
        """Notes an event, to be appended as the last statement of the transaction."""
        self._entries.append(entry)

    def finish(self, log: Log) -> None:
        """Appends the events.

        Raises:
            RuntimeError: nothing was recorded; a change that leaves no event must not be committed.
        """
        if not self._entries:
            raise RuntimeError("a unit of work without a ledger event cannot be committed")
        self.session.flush()
        self.sequence = log.append(self.session, self._entries)

    @property
    def acknowledged(self) -> Acknowledged:
        """The last of its events, once committed."""
        return Acknowledged(self.sequence[-1], leaf_hash(events.encode(self._entries[-1].header)))


@contextmanager
def unit_of_work(*, database: Database, log: Log, now: datetime) -> Iterator[UnitOfWork]:
    """Opens a transaction, appends its events at the end, and commits."""
    with database.writing() as session:
        unit = UnitOfWork(session, now)
        yield unit
        unit.finish(log)
