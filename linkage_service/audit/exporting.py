"""Exports of the log: what was asked for, made in pieces, so that a long log needs no more memory than a short one."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from linkage_ledger import events, merkle
from linkage_ledger.bundle import BundleLeaf, write_bundle
from linkage_ledger.checkpoints import Checkpoint, KeySpan, verify_checkpoint
from linkage_ledger.errors import NoteError
from linkage_ledger.handover import resolve_keys
from linkage_ledger.notes import split_note
from linkage_service.access.policy_texts import KnownPolicy
from linkage_service.agreements import tables as agreement_tables
from linkage_service.audit import search, tables, trust_tables
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.formats import FORMATS
from linkage_service.audit.log import Log, body_of, entry
from linkage_service.audit.search import Filters, Question, Scope
from linkage_service.audit.tables import AuditBody, AuditEvent
from linkage_service.audit.unit import unit_of_work
from linkage_service.database import Database
from linkage_service.errors import FieldError, Invalid, NotFound
from linkage_service.ids import new_id

FormatName = Literal["csv", "jsonl", "ocsf", "fhir", "bundle"]
ACTION = "export"
BUNDLE_MEDIA_TYPE = "application/zip"
_PAGE = 5_000
_CHUNK_BYTES = 1 << 16
_IN_STATEMENT = 500
SeesBody = Callable[[AuditEvent], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants exported.

    Attributes:
        format: how.
        filters: which events; in a bundle, which of them are shown in full.
        first: not below this number; None for wherever the events begin.
        last: not above this number; None for wherever they end.
        against: a checkpoint that the asker kept, for a bundle.
    """

    format: FormatName
    filters: Filters
    first: int | None = None
    last: int | None = None
    against: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An export that was decided on: nothing that is appended later changes what is in it.

    Attributes:
        wish: what was asked for.
        question: which events, between which numbers.
        scope: whose events the asker may see.
        count: how many events there are.
        stated: the filters, as the log may hold them.
        size: for a bundle, how many events its checkpoint speaks of.
        checkpoint: for a bundle, the signed note.
        kept: how many events the checkpoint speaks of that the asker kept.
    """

    wish: Wish
    question: Question
    scope: Scope
    count: int
    stated: Mapping[str, object]
    size: int
    checkpoint: str = ""
    kept: int | None = None

    @property
    def media_type(self) -> str:
        """Of what is written."""
        return BUNDLE_MEDIA_TYPE if self.wish.format == "bundle" else FORMATS[self.wish.format].media_type

    @property
    def file_name(self) -> str:
        """A name for it."""
        suffix = "zip" if self.wish.format == "bundle" else FORMATS[self.wish.format].suffix
        return f"audit-{self.question.first}-{self.question.end - 1}.{suffix}"

    @property
    def detail(self) -> dict[str, object]:
        """For the body of the event that says that it was exported."""
        return {
            "format": self.wish.format,
            "filter": dict(self.stated),
            "first": self.question.first,
            "last": self.question.end - 1,
        }


def plan(session: Session, log: Log, wish: Wish, scope: Scope, *, checkpoint: str) -> Plan:
    """Decides what an export holds.

    Args:
        session: a transaction.
        log: its keys.
        wish: what is wanted.
        scope: whose events the asker may see.
        checkpoint: the signed note of the log as it is now; a bundle ends where it does.

    Raises:
        NotFound: no event fits.
        Invalid: the kept checkpoint is none of this log, or speaks of more events than there are.
    """
    bundle = wish.format == "bundle"
    size = Checkpoint.parse(split_note(checkpoint)[0]).size if bundle else tables.size_of(session)
    end = size if wish.last is None else min(size, wish.last + 1)
    question = Question(filters=wish.filters, first=wish.first or 0, end=end)
    found = search.extent(session, question, scope)
    if bundle:
        question = _whole(session, wish, question, found, size=size)
    elif found is not None:
        question = search.timeless(session, replace(question, first=found[0], end=found[1] + 1))
    if question.first >= question.end or found is None:
        raise NotFound("No event that you may see fits. Ask for a wider range or fewer conditions.")
    return Plan(
        wish=wish,
        question=replace(question, located=True),
        scope=scope,
        count=search.count(session, question, scope),
        stated=search.stated(session, wish.filters, scope),
        size=size,
        checkpoint=checkpoint if bundle else "",
        kept=None if wish.against is None else _kept_size(session, log, wish.against, size=size),
    )


def _whole(session: Session, wish: Wish, question: Question, found: tuple[int, int] | None, *, size: int) -> Question:
    """The range of a bundle: what was named by number or time, else from the first event that fits to the end."""
    filters = wish.filters
    timed = None
    if filters.since is not None or filters.until is not None:
        times = replace(question, filters=Filters(since=filters.since, until=filters.until))
        timed = search.extent(session, times, Scope())
    first, end = question.first, question.end
    if wish.first is None:
        first = timed[0] if timed else found[0] if found else size
    if wish.last is None and filters.until is not None and timed:
        end = timed[1] + 1
    return replace(question, first=first, end=end)


def lines(database: Database, made: Plan, *, origin: str) -> Iterator[bytes]:
    """An export that is no bundle, page by page: no transaction is open while a page is on its way."""
    wanted = FORMATS[made.wish.format]  # type: ignore[index]  # a bundle is written by `bundle`
    yield wanted.heading
    question = made.question
    while question.first < question.end:
        with database.reading() as session:
            rows = search.page(session, question, made.scope, limit=_PAGE, newest_first=False)
        yield b"".join(wanted.line(row, origin) for row in rows)
        if len(rows) < _PAGE:
            return
        question = replace(question, first=rows[-1].seq + 1)


def bundle(database: Database, log: Log, made: Plan, *, sees_body: SeesBody, now: datetime) -> IO[bytes]:
    """A bundle in a nameless file, so that it is whole before its first byte leaves; the caller closes it.

    Args:
        database: where the log is.
        log: its keys.
        made: what was decided.
        sees_body: whether the asker may see the body of an event that it may see.
        now: the time.
    """
    first, end = made.question.first, made.question.end
    with database.reading() as session:
        nodes = tables.SessionNodes(session)
        left, right = nodes.at_once(lambda reader: merkle.range_proof(reader, first, end, made.size))
        consistency = _consistency(nodes, made)
        documents = _documents(session, made)
        verifier, handovers = _trust_at(session, log, made.size)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller
    try:
        write_bundle(
            file,
            leaves=_leaves(database, made, sees_body),
            first=first,
            last=end - 1,
            size=made.size,
            left=left,
            right=right,
            checkpoint=made.checkpoint,
            verifier_keys=[verifier],
            handovers=handovers,
            consistency=consistency,
            documents=documents,
            question=_in_words(made),
            made_at=events.format_time(now),
        )
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def write(database: Database, log: Log, wish: Wish, out: Path, *, now: datetime) -> tuple[Plan, int]:
    """Writes an export for whoever runs the machine, who sees everything; gives what it holds and the event of it.

    The event is committed first. The file appears when it is whole.

    Args:
        database: where the log is.
        log: its keys.
        wish: what is wanted.
        out: the file, which must not be there.
        now: the time.

    Raises:
        NotFound: no event fits.
        Invalid: the kept checkpoint is none of this log.
        FileExistsError: the file is there.
    """
    checkpoint = log.checkpoint(database) if wish.format == "bundle" else ""
    with database.reading() as session:
        made = plan(session, log, wish, Scope(), checkpoint=checkpoint)
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    # Bodies hold names of staff: the file is for its owner alone.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with unit_of_work(database=database, log=log, now=now) as unit:
            unit.record(
                entry(
                    now=now,
                    event_type=EventType.AUDIT_EXPORTED,
                    actor=events.Actor("system", "linkage-service"),
                    resource=events.Resource("audit", wish.filters.project),
                    action=ACTION,
                    outcome=events.Outcome("success", "ok"),
                    counts={"events": made.count},
                    body=body_of(detail=made.detail),
                    request_id=new_id("exp", now),
                    source="command line",
                )
            )
        with os.fdopen(descriptor, "wb") as file:
            if wish.format == "bundle":
                file.writelines(chunks(bundle(database, log, made, sees_body=lambda _: True, now=now)))
            else:
                file.writelines(lines(database, made, origin=log.verifier.name))
        # Unlike a rename, a link does not take the place of a file that came in between.
        os.link(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return made, unit.sequence[-1]


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """A file piece by piece; closes it."""
    with file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece


def _kept_size(session: Session, log: Log, note: str, *, size: int) -> int:
    """How many events the checkpoint speaks of that an asker kept, by whichever of the log's keys spoke then.

    Raises:
        Invalid: it is none of this log, or speaks of more events than there are.
    """
    try:
        kept = verify_checkpoint(note, resolve_keys([log.verifier_in(session)], trust_tables.handovers(session)))
    except NoteError:
        kept = None
    if kept is None or kept.size > size:
        wrong = FieldError("/against", "not_of_this_log", "Send a checkpoint of this log, as it was given to you.")
        raise Invalid(
            "The checkpoint to compare with is none that this log's key has signed, or the log is shorter than it "
            "says. If it was given to you by this service, keep it safe and treat this as a security incident.",
            errors=[wrong],
        )
    return kept.size


def _consistency(nodes: tables.SessionNodes, made: Plan) -> tuple[str, list[bytes]] | None:
    kept = made.kept
    if made.wish.against is None or kept is None:
        return None
    return made.wish.against, nodes.at_once(lambda reader: merkle.consistency_proof(reader, kept, made.size))


def _trust_at(session: Session, log: Log, size: int) -> tuple[str, list[str]]:
    """The key that spoke when the log was of this size, and the hand-overs until then.

    The key may have been handed over since the checkpoint was signed; a checkpoint older than a hand-over beside it is
    not believed.
    """
    rows = trust_tables.all_handovers(session)
    until_then = [row.note for row in rows if row.size <= size]
    keys = resolve_keys([log.verifier_in(session)], [row.note for row in rows])
    spans = [key for key in keys if isinstance(key, KeySpan) and key.speaks_for(size)]
    return (spans[0].key if spans else log.verifier_in(session)).format(), until_then


def _leaves(database: Database, made: Plan, sees_body: SeesBody) -> Iterator[BundleLeaf]:
    start, end = made.question.first, made.question.end
    while start < end:
        until = min(start + _PAGE, end)
        page = replace(made.question, first=start, end=until)
        with database.reading() as session:
            shown = {row.seq: row for row in search.page(session, page, made.scope, limit=_PAGE, newest_first=False)}
            hashes = session.execute(
                sa_select(col(AuditEvent.seq), col(AuditEvent.leaf_hash))
                .where(col(AuditEvent.seq) >= start, col(AuditEvent.seq) < until)
                .order_by(col(AuditEvent.seq))
            ).all()
            bodies = _bodies(session, list(shown))
        for seq, leaf_hash in hashes:
            yield _leaf(seq, leaf_hash, shown.get(seq), bodies.get(seq), sees_body)
        start = until


def _leaf(
    seq: int, leaf_hash: bytes, row: AuditEvent | None, body: AuditBody | None, sees_body: SeesBody
) -> BundleLeaf:
    if row is None:
        return BundleLeaf(seq, leaf_hash)
    if body is None:
        return BundleLeaf(seq, leaf_hash, row.header)
    if body.disposed:
        return BundleLeaf(seq, leaf_hash, row.header, disposed=True)
    if not sees_body(row):
        return BundleLeaf(seq, leaf_hash, row.header, withheld=True)
    return BundleLeaf(seq, leaf_hash, row.header, body.salt, body.body)


def _bodies(session: Session, numbers: Sequence[int]) -> dict[int, AuditBody]:
    found: dict[int, AuditBody] = {}
    for start in range(0, len(numbers), _IN_STATEMENT):
        some = numbers[start : start + _IN_STATEMENT]
        found |= {row.seq: row for row in session.exec(select(AuditBody).where(col(AuditBody.seq).in_(some)))}
    return found


def _documents(session: Session, made: Plan) -> dict[str, bytes]:
    """The agreements that the events speak of, and every policy text that decided here, by digest."""
    found: dict[str, bytes] = {}
    for reference, number in search.versions(session, made.question, made.scope):
        row = agreement_tables.agreement_with_reference(session, reference)
        version = agreement_tables.version(session, row.id, number) if row else None
        if row is None or version is None:
            continue
        party = made.scope.organisation
        # A version is for its own parties, here as everywhere: not for those of the one before or after it.
        if party is None or number in agreement_tables.versions_naming(session, row.id, party):
            found[version.digest] = version.document.encode()
    for known in session.exec(select(KnownPolicy)):
        found[known.digest] = known.policies.encode() + b"\0" + known.schema_text.encode()
    return found


def _in_words(made: Plan) -> str:
    asked = made.wish.filters
    given: dict[str, Any] = {
        name.replace("_", " "): value for name, value in made.stated.items() if name not in ("since", "until")
    }
    words = [f"{name} {value}" for name, value in given.items()]
    if asked.since is not None:
        words.append(f"from {asked.since.date().isoformat()}")
    if asked.until is not None:
        words.append(f"to before {asked.until.date().isoformat()}")
    whose = "" if made.scope.organisation is None else f", as far as {made.scope.organisation} may see them"
    return f"{', '.join(words) or 'all events'}{whose}"
