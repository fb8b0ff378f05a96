"""Appends to the ledger inside the business transaction, signs checkpoints, and answers with proofs.

Fail closed: an append that fails fails the transaction that it belongs to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from linkage_ledger import events, merkle
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint, verify_checkpoint
from linkage_ledger.errors import NoteError
from linkage_ledger.handover import current_key
from linkage_ledger.notes import SigningKey, VerifierKey, sign_note
from linkage_ledger.receipts import Receipt
from linkage_service.audit import appending, tables, trust_tables
from linkage_service.database import Database
from linkage_service.errors import Conflict, NotFound, Unavailable


class KeyRetired(Unavailable):
    """The log's key on this machine is not the one that speaks for the log."""

    code = "log_key_retired"
    title = "The log's key was handed over"

    def __init__(self) -> None:
        super().__init__(
            "The ledger cannot be signed on this machine: its log.key is not the key that the ledger was handed over "
            "to, or not the one that signed its latest checkpoint. What happens is still recorded. Copy log.key from "
            "the keys folder of the machine where `linkage-service audit rotate-key` ran, or restore the newest keys "
            "folder."
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One event to append.

    Attributes:
        header: the leaf.
        body: canonical JSON tied in by the header's `body_hash`, or None.
        salt: the salt of that hash, or None.
    """

    header: events.Header
    body: bytes | None = None
    salt: bytes | None = None


Notice = Callable[[Session, Sequence[Entry]], Sequence[Entry]]


class Log:
    """This service's log: its signing key (which lives outside the database) and its tables.

    It signs with no other key than the one that the latest hand-over in the database names, or without a hand-over the
    one that signed the latest checkpoint. So a process with a retired key, or one that was swapped, signs nothing.
    """

    def __init__(
        self,
        *,
        key: SigningKey,
        keys: Callable[[], Sequence[SigningKey]] = tuple,
        notice: Notice | None = None,
    ) -> None:
        """Keep a log.

        Args:
            key: the log's, as it was when this process began.
            keys: reads the keys that are there now, for when the log was handed over meanwhile.
            notice: is told of every append, in its transaction, and gives what is to be appended with it.
        """
        self._key = key
        self._keys = keys
        self._notice = notice

    @property
    def verifier(self) -> VerifierKey:
        """The public key with which this process signs. See `verifier_in` for the one that speaks for the log."""
        return self._key.verifier

    def verifier_in(self, session: Session) -> VerifierKey:
        """The public key with which anyone checks this log's newest checkpoints."""
        return current_key(trust_tables.handovers(session)) or self._key.verifier

    def signer(self, session: Session) -> SigningKey:
        """The key that speaks for the log.

        Raises:
            KeyRetired: it is not on this machine.
        """
        named = current_key(trust_tables.handovers(session))
        if named is None:
            latest = tables.latest_checkpoint(session)
            if latest is not None and not _signed(latest.note, self._key.verifier):
                raise KeyRetired
            return self._key
        if named != self._key.verifier:
            found = next((key for key in self._keys() if key.verifier == named), None)
            if found is None:
                raise KeyRetired
            self._key = found
        return self._key

    def sign_text(self, session: Session, text: str) -> str:
        """A C2SP signed note by this log's key.

        Args:
            session: a transaction.
            text: one or more lines that cannot be read as a checkpoint: the first is not the log's name.

        Raises:
            KeyRetired: the key that speaks for the log is not on this machine.
        """
        if text.partition("\n")[0] == self._key.name:
            raise ValueError("a text that begins like a checkpoint is not signed as anything else")
        return sign_note(text, self.signer(session))

    def append(self, session: Session, entries: Sequence[Entry]) -> list[int]:
        """Appends events as the last statements of a transaction and returns their sequence numbers."""
        further = self._notice(session, entries) if self._notice else ()
        return self._append(session, [*entries, *further])[: len(entries)]

    def _append(self, session: Session, entries: Sequence[Entry]) -> list[int]:
        headers = [events.encode(entry.header) for entry in entries]
        # A transaction that only appends waits for its turn here, with what does not depend on its place done.
        head = appending.head(session)
        nodes, size = head.peaks, head.size
        leaves: list[appending.Row] = []
        subtrees: list[appending.Row] = []
        bodies: list[appending.Row] = []
        for entry, header in zip(entries, headers, strict=True):
            leaf = merkle.leaf_hash(header)
            for level, index, node in merkle.append(nodes, size, leaf):
                nodes.put(level, index, node)
                subtrees.append({"level": level, "index": index, "hash": node})
            leaves.append({"seq": size, "header": header, "leaf_hash": leaf, **events.indexed(entry.header)})
            if entry.body is not None and entry.salt is not None:
                bodies.append({"seq": size, "salt": entry.salt, "body": entry.body, "disposed": False})
            size += 1
        root = merkle.root(nodes, size)
        appending.write(session, events=leaves, nodes=subtrees, bodies=bodies, size=size, root=root)
        return list(range(head.size, size))

    def sign(self, session: Session) -> tables.AuditCheckpoint:
        """The signed checkpoint of the log as it is now; signs one if the log has grown since the last.

        Raises:
            KeyRetired: the key that speaks for the log is not on this machine.
        """
        head = appending.head(session)
        latest = tables.latest_checkpoint(session)
        if latest is not None and latest.size == head.size:
            return latest
        key = self.signer(session)
        note = sign_checkpoint(Checkpoint(origin=key.name, size=head.size, root=head.root), key)
        checkpoint = tables.AuditCheckpoint(size=head.size, root=head.root, note=note)
        session.add(checkpoint)
        return checkpoint

    def checkpoint(self, database: Database) -> str:
        """The note of `sign`, writing only when there is something to sign."""
        with database.reading() as session:
            latest = tables.latest_checkpoint(session)
            if latest is not None and latest.size == tables.size_of(session):
                return latest.note
        with database.writing() as session:
            return self.sign(session).note

    def receipt(self, session: Session, *, seq: int) -> str:
        """A receipt for one event under the latest checkpoint.

        Raises:
            NotFound: there is no such event.
            Conflict: the event is younger than the latest checkpoint.
        """
        extent, signed, note = tables.extent_and_latest_note(session)
        if not 0 <= seq < extent:
            raise NotFound("There is no event with this sequence number.")
        if signed is None or note is None or signed <= seq:
            raise Conflict("This event is not under a signed checkpoint yet. Ask for /v1/audit/checkpoint, then again.")
        proof = tables.SessionNodes(session).at_once(lambda nodes: merkle.inclusion_proof(nodes, seq, signed))
        return Receipt(index=seq, proof=tuple(proof), checkpoint=note).text()

    def inclusion(self, session: Session, *, seq: int, size: int) -> list[bytes]:
        """The path from one event to the root of the log of `size` leaves.

        Raises:
            NotFound: the log was never that long, or has no such event below that size.
        """
        if not 0 <= seq < size <= tables.size_of(session):
            raise NotFound(
                "The log has no such event at that size: seq must be below size, and size no greater than it."
            )
        return tables.SessionNodes(session).at_once(lambda nodes: merkle.inclusion_proof(nodes, seq, size))

    def consistency(self, session: Session, *, first: int, second: int) -> list[bytes]:
        """The proof that the log of `first` leaves is the beginning of the log of `second`.

        Raises:
            NotFound: the log was never that long.
        """
        if not 0 <= first <= second <= tables.size_of(session):
            raise NotFound(
                "The log has no such pair of sizes: first must not be above second, nor second above the log's size."
            )
        return tables.SessionNodes(session).at_once(lambda nodes: merkle.consistency_proof(nodes, first, second))


def _signed(note: str, key: VerifierKey) -> bool:
    try:
        verify_checkpoint(note, [key])
    except NoteError:
        return False
    return True


def entry(  # noqa: D417 - the rest are members of the header, see linkage_ledger.events
    *,
    now: datetime,
    event_type: str,
    actor: events.Actor,
    resource: events.Resource,
    action: str,
    outcome: events.Outcome,
    request_id: str,
    source: str,
    body: bytes | None = None,
    **optional: object,
) -> Entry:
    """Makes the entry of one event, with its id and time.

    Args:
        now: when it happened.
        body: personal or bulky detail in canonical form (see `body_of`), tied in by a salted hash.
    """
    salt = None
    if body is not None:
        salt = events.new_salt()
        optional["body_hash"] = events.body_bytes_hash(salt, body).hex()
    header = events.Header(
        id=events.new_id(now),
        time=events.format_time(now),
        type=event_type,
        actor=actor,
        resource=resource,
        action=action,
        outcome=outcome,
        request_id=request_id,
        source=source,
        **optional,  # type: ignore[arg-type]  # members of Header, checked by its own validation
    )
    return Entry(header=header, body=body, salt=salt)


def body_of(
    *, decision: bytes | None = None, detail: Mapping[str, object] | None = None, person: str | None = None
) -> bytes | None:
    """The body of an event in canonical form; None where there is nothing to say.

    Args:
        decision: the facts that were judged, in canonical form already.
        detail: what else an officer needs to know, such as a stated reason.
        person: the name of the person who acted, as it was then.
    """
    members = {
        "decision": decision,
        "detail": None if detail is None else events.canonical(dict(detail)),
        "person": None if person is None else events.canonical({"name": person}),
    }
    # In the order of their names, as RFC 8785 has it. Facts are not parsed for it: they are most of the bytes.
    present = [b'"' + name.encode() + b'":' + value for name, value in members.items() if value is not None]
    return b"{" + b",".join(present) + b"}" if present else None
