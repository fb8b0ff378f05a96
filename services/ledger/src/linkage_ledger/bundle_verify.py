"""Checks a bundle offline: is this run of events complete, and every byte of it what the log's checkpoint vouches for?

The bundle is read once, a part at a time; nothing in it is believed before it was checked, and nothing is unpacked to
disk. ``verify.html`` does the same in a browser, in the same order, and both are tested on the same damaged bundles.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO

from linkage_ledger import bundle_format as form
from linkage_ledger import events
from linkage_ledger.bundle_format import BundleLeaf, Manifest
from linkage_ledger.bundle_page import verify_page
from linkage_ledger.bundle_report import MAX_FINDINGS, Backwards, BundleFinding, BundleReport, CosignedBy, Kept
from linkage_ledger.bundle_zip import Member, read_member, read_members
from linkage_ledger.checkpoints import Checkpoint, KeySpan, LogKey, open_checkpoint
from linkage_ledger.cosignatures import WitnessKey, cosignatures_of
from linkage_ledger.errors import BundleError, EventError, HandoverError, NoteError, ProofError
from linkage_ledger.handover import Handover, open_chain, require_current, resolve_keys
from linkage_ledger.merkle import EMPTY_ROOT, Frontier, leaf_hash, verify_consistency
from linkage_ledger.notes import VerifierKey, split_note
from linkage_ledger.scanning import Scanned, scan

_MAX_REFERENCES = 10_000


def verify_bundle(
    file: BinaryIO,
    *,
    verifier_keys: Sequence[LogKey],
    against: str | None = None,
    witnesses: Sequence[WitnessKey] = (),
) -> BundleReport:
    """Check a bundle and say what was found.

    Args:
        file: the bundle, seekable.
        verifier_keys: the log's keys that the officer trusts. With none, the bundle is checked with the keys that it
            brings itself, which says only that it is in agreement with itself; the report says so.
        against: the signed note of an older checkpoint that the officer kept.
        witnesses: keys of witnesses whose cosignatures are to be checked.

    Raises:
        BundleError: the file is no bundle, or damaged beyond reading; or ``against`` is no signed checkpoint.
    """
    return _Check(file, verifier_keys, against, witnesses).run()


class _Archive:
    """The members that a bundle must have, in their order, and none besides."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._members = read_members(file)
        self._next = 0
        self.changed: list[str] = []

    def take(self, name: str, *, at_most: int = form.MAX_SMALL_BYTES) -> bytes:
        if self._next == len(self._members) or self._members[self._next].name != name:
            raise BundleError("The bundle does not hold exactly what a bundle holds. It was altered or packed again.")
        member = self._members[self._next]
        if member.size > at_most:
            raise BundleError("A member of the bundle is larger than it can be. It was altered.")
        self._next += 1
        return self._read(member)

    def parts(self) -> Iterator[bytes]:
        number = 1
        while self._next < len(self._members) or number == 1:
            yield self.take(form.part_name(number), at_most=form.MAX_PART_BYTES)
            number += 1

    def _read(self, member: Member) -> bytes:
        content, intact = read_member(self._file, member)
        if not intact:
            self.changed.append(member.name)
        return content


class _Check:
    def __init__(
        self, file: BinaryIO, keys: Sequence[LogKey], against: str | None, witnesses: Sequence[WitnessKey]
    ) -> None:
        self._witnesses = witnesses
        self._findings: list[BundleFinding] = []
        self._left_out = 0
        self._shown = self._hidden = self._bodies = self._disposed = self._withheld = 0
        self._first_time: str | None = None
        self._last_time: str | None = None
        self._backwards: Backwards | None = None
        self._newest = ""
        self._references: dict[str, str] = {}
        self._changed_headers: list[int] = []
        self._roots: dict[int, bytes] = {}
        self._time_at: dict[int, str] = {}

        self._archive = _Archive(file)
        self._archive.take(form.README)
        self._other_page = self._archive.take(form.PAGE) != verify_page()
        self._manifest = Manifest.parse(self._archive.take(form.MANIFEST))
        self._note = _text(self._archive.take(form.CHECKPOINT))
        own_keys = _parse_keys(_text(self._archive.take(form.KEYS)))
        self._kept_note = _text(self._archive.take(form.KEPT)) if self._manifest.kept_proof is not None else None
        notes = [
            _text(self._archive.take(form.handover_name(n + 1), at_most=form.MAX_HANDOVER_BYTES))
            for n in range(self._manifest.handovers)
        ]
        self._own_key_only = not keys
        self._given = {(key.key if isinstance(key, KeySpan) else key).format() for key in keys}
        self._keys, self._handovers = self._follow(keys or own_keys, notes)
        self._handover_notes = notes if self._handovers else []
        self._stated = _stated(self._note)
        self._against = None if against is None else _stated_against(against)
        self._against_note = against

    def run(self) -> BundleReport:
        signed_by, cosigned_by = self._check_signatures()
        self._check_that_it_is_current()
        documents = self._check_documents()
        self._check_events()
        against = None if self._against_note is None else self._compare(self._against_note, "kept checkpoint")
        kept = None if self._kept_note is None else self._compare(self._kept_note, "older checkpoint in the bundle")
        self._check_handover_roots()
        for name in self._archive.changed:
            self._add("bundle", f"{name} is not as it was written: it was damaged or changed.")
        return BundleReport(
            origin=self._stated.origin,
            question=self._manifest.question,
            made_at=self._manifest.made_at,
            first=self._manifest.first,
            last=self._manifest.last,
            size=self._stated.size,
            shown=self._shown,
            hidden=self._hidden,
            bodies=self._bodies,
            disposed=self._disposed,
            withheld=self._withheld,
            first_time=self._first_time,
            last_time=self._last_time,
            signed_by=signed_by,
            given=tuple(line for line in signed_by if line in self._given),
            own_key_only=self._own_key_only,
            cosigned_by=cosigned_by,
            handovers=len(self._handovers),
            last_handover=self._handovers[-1].size if self._handovers else None,
            not_compared=tuple(one.size for one in self._handovers if one.size not in self._roots),
            against=against,
            kept=kept,
            documents=len(documents & self._references.keys()),
            unnamed_documents=len(documents - self._references.keys()),
            missing_documents=tuple(
                sorted(words for digest, words in self._references.items() if digest not in documents)
            ),
            backwards=self._backwards,
            other_page=self._other_page,
            findings=tuple(self._findings),
            findings_left_out=self._left_out,
        )

    # Who vouches.

    def _follow(self, keys: Sequence[LogKey], notes: Sequence[str]) -> tuple[tuple[LogKey, ...], tuple[Handover, ...]]:
        try:
            return resolve_keys(keys, notes), open_chain(notes)
        except HandoverError as error:
            self._add("key hand-overs", str(error))
            return tuple(keys), ()

    def _check_signatures(self) -> tuple[tuple[str, ...], tuple[CosignedBy, ...]]:
        try:
            _, opened = open_checkpoint(self._note, self._keys)
        except NoteError as error:
            whose = "the keys that it brings itself" if self._own_key_only else "the keys you gave"
            self._add("checkpoint", f"The bundle's checkpoint is not genuine by {whose}. {error}")
            return (), ()
        signed_by = tuple(signer.format() for signer in opened.signers if signer.name == self._stated.origin)
        return signed_by, self._check_cosignatures({signer.key_id for signer in opened.signers})

    def _check_that_it_is_current(self) -> None:
        try:
            require_current(self._handover_notes, self._stated)
        except HandoverError as error:
            self._add("checkpoint", str(error))

    def _check_cosignatures(self, of_the_log: set[bytes]) -> tuple[CosignedBy, ...]:
        try:
            genuine = cosignatures_of(self._note, self._witnesses)
        except NoteError:
            self._add("checkpoint", "A signature by a witness whose key you gave does not fit the checkpoint.")
            genuine = ()
        checked = [CosignedBy(one.witness.name, _day_and_time(one.time)) for one in genuine]
        known = of_the_log | {key.key_id for key in self._witnesses}
        unchecked = [CosignedBy(line.name, None) for line in split_note(self._note)[1] if line.key_id not in known]
        return (*checked, *unchecked)

    # What is there.

    def _check_documents(self) -> set[str]:
        for digest in self._manifest.documents:
            content = self._archive.take(form.document_name(digest), at_most=form.MAX_DOCUMENT_BYTES)
            if hashlib.sha256(content).hexdigest() != digest:
                self._add("documents", f"The document {digest[:16]}… is not the one that its digest names.")
        return set(self._manifest.documents)

    def _check_events(self) -> None:
        manifest = self._manifest
        wanted = {self._against.size} if self._against is not None else set()
        if self._kept_note is not None:
            wanted.add(_stated(self._kept_note).size)
        wanted.update(handover.size for handover in self._handovers)
        try:
            frontier = Frontier.resumed(manifest.first, manifest.left)
        except ProofError as error:
            self._add("proof", str(error))
            frontier = Frontier()
        in_order = True
        expected = manifest.first
        for leaf in self._leaves():
            if expected in wanted:
                self._roots[expected] = frontier.root()
            if in_order and leaf.seq != expected:
                self._add("events", _out_of_order(expected, leaf.seq), seq=expected)
                in_order = False
            self._check_leaf(leaf)
            frontier.add(leaf.leaf_hash)
            expected = leaf.seq + 1
        if in_order and expected != manifest.last + 1:
            self._add("events", f"The events end here, and should go on to {manifest.last:,}.", seq=expected)
            in_order = False
        if expected in wanted:
            self._roots[expected] = frontier.root()
        if not in_order:
            self._roots.clear()
            self._report_changed_headers(recorded=False)
            return
        self._check_root(frontier)

    def _leaves(self) -> Iterator[BundleLeaf]:
        for part in self._archive.parts():
            yield from form.parse_part(part)

    def _check_root(self, frontier: Frontier) -> None:
        if self._stated.size != self._manifest.size:
            self._add("checkpoint", "The checkpoint is not of the size that the bundle speaks of.")
        holds = False
        try:
            frontier.complete(self._manifest.right, size=self._manifest.size)
            holds = (frontier.size, frontier.root()) == (self._stated.size, self._stated.root)
        except ProofError as error:
            self._add("proof", str(error))
        if not holds:
            self._add(
                "events",
                "These events do not lead to the checkpoint's root: one was changed, removed, inserted or moved.",
            )
            self._roots.clear()
        elif self._stated.size not in self._roots:
            self._roots[self._stated.size] = self._stated.root
        self._report_changed_headers(recorded=holds)

    def _report_changed_headers(self, *, recorded: bool) -> None:
        for seq in self._changed_headers:
            if recorded:
                self._add("events", "The event was changed after it was recorded: the log has another hash.", seq=seq)
            else:
                self._add("events", "The event and its hash do not fit each other: one of them was changed.", seq=seq)

    def _check_leaf(self, leaf: BundleLeaf) -> None:
        if leaf.header is None:
            self._hidden += 1
            return
        self._shown += 1
        if leaf_hash(leaf.header) != leaf.leaf_hash:
            if len(self._changed_headers) < MAX_FINDINGS:
                self._changed_headers.append(leaf.seq)
            else:
                self._left_out += 1
            return
        try:
            scanned = scan(leaf.header)
        except EventError:
            self._add("events", "The event's header is not one that this product writes.", seq=leaf.seq)
            return
        self._check_body(leaf, scanned.body_hash)
        self._check_time(leaf.seq, scanned.copies["time"] or "")
        self._note_references(scanned)

    def _check_body(self, leaf: BundleLeaf, expected: str | None) -> None:
        if leaf.disposed:
            self._disposed += 1
            if expected is None:
                self._add("events", "A body is said to be disposed of that the event never had.", seq=leaf.seq)
        elif leaf.withheld:
            self._withheld += 1
            if expected is None:
                self._add("events", "A body is said to be withheld that the event never had.", seq=leaf.seq)
        elif leaf.body is not None and leaf.salt is not None:
            self._bodies += 1
            if expected is None:
                self._add("events", "The event has a body that its header does not know of.", seq=leaf.seq)
            elif events.body_bytes_hash(leaf.salt, leaf.body).hex() != expected:
                self._add("events", "The event's body or its salt was changed after it was recorded.", seq=leaf.seq)
        elif expected is not None:
            self._add("events", "The event's body is missing, and nothing says that it was disposed of.", seq=leaf.seq)

    def _check_time(self, seq: int, time: str) -> None:
        self._first_time = self._first_time or time
        self._last_time = time
        if self._against is not None and seq + 1 == self._against.size:
            self._time_at[seq + 1] = time
        if time >= self._newest:
            self._newest = time
            return
        by = (datetime.fromisoformat(self._newest) - datetime.fromisoformat(time)).total_seconds()
        before = self._backwards
        self._backwards = (
            Backwards(1, seq, by)
            if before is None
            else Backwards(before.count + 1, before.first_seq, max(before.most_seconds, by))
        )

    def _note_references(self, leaf: Scanned) -> None:
        if len(self._references) >= _MAX_REFERENCES:
            return
        agreement, policy = leaf.agreement_digest, leaf.policy_digest
        if agreement is not None and agreement not in self._references:
            named = leaf.copies
            self._references[agreement] = f"agreement {named['agreement']}, version {named['agreement_version']}"
        if policy is not None and policy not in self._references:
            self._references[policy] = f"the policy text {policy[:16]}…"

    # What was said before.

    def _compare(self, note: str, where: str) -> Kept:
        try:
            older, _ = open_checkpoint(note, self._keys)
        except NoteError as error:
            self._add(where, f"It is not genuine by the keys that this bundle is checked with. {error}")
            return Kept(_stated(note).size, continued=False, last_event_at=None)
        return Kept(older.size, self._continues(older, where), self._time_at.get(older.size))

    def _continues(self, older: Checkpoint, where: str) -> bool | None:
        if older.origin != self._stated.origin:
            self._add(where, "It is of another log.")
            return False
        if older.size > self._stated.size:
            self._add(
                where,
                f"It speaks of {older.size:,} events and the bundle's checkpoint of {self._stated.size:,}: the bundle "
                "is older, or the log was cut. Ask for a new one; if that is shorter too, raise the alarm.",
            )
            return False
        root = EMPTY_ROOT if older.size == 0 else self._roots.get(older.size)
        if root is not None:
            if root != older.root:
                self._add(where, "The events before it are not those that it vouches for: history was rewritten.")
            return root == older.root
        return self._continues_by_proof(older, where)

    def _continues_by_proof(self, older: Checkpoint, where: str) -> bool | None:
        if self._kept_note is None or self._manifest.kept_proof is None:
            return None
        in_bundle = _stated(self._kept_note)
        if in_bundle.size != older.size:
            return None
        try:
            verify_consistency(
                old_size=older.size,
                old_root=older.root,
                new_size=self._stated.size,
                new_root=self._stated.root,
                proof=self._manifest.kept_proof,
            )
        except ProofError as error:
            self._add(where, str(error))
            return False
        return True

    def _check_handover_roots(self) -> None:
        for handover in self._handovers:
            root = self._roots.get(handover.size)
            if root is not None and root != handover.root:
                self._add("key hand-overs", "The log's key was handed over under other events than these.")

    def _add(self, where: str, what: str, *, seq: int | None = None) -> None:
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(BundleFinding(where, seq, what))
        else:
            self._left_out += 1


def _out_of_order(expected: int, found: int) -> str:
    if found == expected + 1:
        return "The event is missing."
    if found > expected:
        return f"The events from here to {found - 1:,} are missing."
    return f"Event {found:,} stands here, out of order."


def _text(encoded: bytes) -> str:
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError:
        raise BundleError("A text of the bundle is not UTF-8. It was damaged.") from None


def _parse_keys(text: str) -> list[VerifierKey]:
    lines = text.split("\n")
    try:
        keys = [VerifierKey.parse(line) for line in lines[:-1]]
    except NoteError:
        keys = []
    if not keys or lines[-1]:
        raise BundleError("The keys in the bundle cannot be read. They were damaged.")
    return keys


def _stated(note: str) -> Checkpoint:
    """What a note says, before anybody has checked who says it."""
    try:
        return Checkpoint.parse(split_note(note)[0])
    except NoteError:
        raise BundleError("A checkpoint in the bundle cannot be read. It was damaged.") from None


def _stated_against(note: str) -> Checkpoint:
    try:
        return _stated(note)
    except BundleError:
        raise BundleError("What you gave as the checkpoint you kept is no signed checkpoint. Give that file.") from None


def _day_and_time(seconds: int) -> str:
    try:
        return events.format_time(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):
        return "a time beyond any calendar"
