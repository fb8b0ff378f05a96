"""Applies withdrawals: takes the encodings out of what is stored, and makes every kept result again without the rows.

The encodings are cut out, not written over: a row that is not there cannot be compared, sampled or counted. Every step
can be repeated: a withdrawal counts as applied only at the end, and until then no run of the upload begins and no
result of it leaves. One worker does this at a time, and one thread of it; whoever finds its claim lost stops at once.
"""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlmodel import Session

from linkage_service.audit.log import Log
from linkage_service.clock import Clock
from linkage_service.database import Database
from linkage_service.errors import LinkageError
from linkage_service.retention import tables as claims
from linkage_service.rights import membership, tables
from linkage_service.runs import results
from linkage_service.runs import service as runs
from linkage_service.runs.tables import Run, uploads_of
from linkage_service.storage import BlobStore, WrappedKey
from linkage_service.uploads import tables as uploads
from linkage_service.uploads.service import blob_key, blob_keys

_log = structlog.get_logger(__name__)
_LEASE = timedelta(minutes=10)


class _ClaimLostError(Exception):
    """Another worker applies withdrawals now; this attempt ends, and is repeated later."""


class NotAsAccepted(LinkageError):
    """What is stored of an upload is not what was accepted: nobody may take what is left for its encodings."""

    code = "upload_changed"


@dataclass(frozen=True, slots=True)
class _Part:
    """A part before and after rows were cut out of it."""

    number: int
    sha256: str
    size_bytes: int
    new_sha256: str
    new_size_bytes: int


class Applier:
    """Applies withdrawals, one worker at a time."""

    def __init__(self, *, database: Database, log: Log, blobs: BlobStore, clock: Clock) -> None:
        self._database = database
        self._ledger = log
        self._blobs = blobs
        self._clock = clock
        self._holder = secrets.token_hex(8)
        self._busy = threading.Lock()

    def apply_pending(self, *, uploads_of_run: Collection[str] | None = None) -> int:
        """Applies withdrawals that are waiting; how many. Does nothing while another thread or worker is at it.

        An upload that fails is logged and waits for the next call; the others are gone through. One that is not stored
        as it was accepted waits until it is deleted: nothing that was made of it leaves before.

        Args:
            uploads_of_run: from these uploads only, of which one that fails is an error; None for all.

        Raises:
            LinkageError: an upload of the run failed, such as when its blobs cannot be read or written.
        """
        with self._database.reading() as session:
            waiting: dict[str, list[str]] = {}
            for row in tables.pending(session):
                if uploads_of_run is None or row.upload in uploads_of_run:
                    waiting.setdefault(row.upload, []).append(row.id)
        if not waiting or not self._busy.acquire(blocking=False):
            return 0
        try:
            return self._apply_all(waiting, strict=uploads_of_run is not None)
        finally:
            self._busy.release()

    def _apply_all(self, waiting: dict[str, list[str]], *, strict: bool) -> int:
        with self._database.writing() as session:
            if not self._is_ours(session):
                return 0
        applied = 0
        try:
            for upload_id, withdrawals in waiting.items():
                try:
                    self._apply(upload_id, withdrawals)
                except LinkageError as error:
                    if strict:
                        raise
                    _log.error("withdrawals_not_applied", upload=upload_id, code=error.instance_code)
                else:
                    applied += len(withdrawals)
        except _ClaimLostError:
            _log.warning("withdrawals_left", size=applied)
        finally:
            with self._database.writing() as session:
                claims.let_go(session, claims.WITHDRAWALS, holder=self._holder, now=self._clock(), thorough=False)
        return applied

    def _is_ours(self, session: Session) -> bool:
        """Takes or keeps the claim, in the caller's transaction."""
        return claims.take(session, claims.WITHDRAWALS, holder=self._holder, now=self._clock(), lease=_LEASE)

    def _require_claim(self, session: Session) -> None:
        if not self._is_ours(session):
            raise _ClaimLostError

    def _take(self) -> None:
        with self._database.writing() as session:
            self._require_claim(session)

    def _apply(self, upload_id: str, withdrawals: Sequence[str]) -> None:
        with self._database.reading() as session:
            still = [row.id for row in tables.pending(session) if row.id in withdrawals]
            kept = [run.id for run in tables.runs_of_upload(session, upload_id) if run.state == "succeeded"]
            rows = np.array(tables.rows_of(session, still), np.int64)
        if not still:
            return
        while not self._erase(upload_id, still):
            continue  # other parts were stored meanwhile; these are cut
        for run_id in kept:
            while not self._recompute(run_id, upload_id, rows):
                continue  # another result came between; this one is made from it
        with self._database.writing() as session:
            self._require_claim(session)
            tables.note(session, still, column="applied_at", at=self._clock())

    def _erase(self, upload_id: str, withdrawals: Sequence[str]) -> bool:
        """Cuts rows out of the stored parts: new parts first, then the database turns to them, then the old ones go.

        False if what is stored is no longer what was cut.
        """
        self._take()
        with self._database.reading() as session:
            upload = uploads.upload(session, upload_id)
            parts = uploads.parts(session, upload_id)
            content = tables.stored_content(session, upload_id)
            erased = np.array(tables.erased_rows(session, upload_id), np.int64)
            rows = np.setdiff1d(np.array(tables.rows_of(session, withdrawals), np.int64), erased)
        if upload is None or upload.data_key is None:
            self._note_erased(withdrawals)
            return True
        key = self._blobs.unwrap(upload.data_key)
        if len(rows):
            stored = rows - np.searchsorted(erased, rows)
            before = upload.sha256 if content is None else content.sha256
            cut, digest = self._cut(upload_id, parts, stored, before=before, row_bytes=upload.bits // 8, key=key)
            with self._database.writing() as session:
                self._require_claim(session)
                now = uploads.upload(session, upload_id)
                if now is not None and now.data_key is not None and not _are(uploads.parts(session, upload_id), cut):
                    return False
                if now is not None and now.data_key is not None:
                    _turn_to(uploads.parts(session, upload_id), cut)
                    for part in uploads.parts(session, upload_id):
                        if part.size_bytes == 0:
                            session.delete(part)
                    stays = tables.stored_content(session, upload_id) or tables.StoredContent(
                        upload=upload_id, sha256=digest
                    )
                    stays.sha256 = digest
                    session.add(stays)
                tables.note(session, withdrawals, column="erased_at", at=self._clock())
        self._take()  # what another worker has stored meanwhile is not to be removed
        with self._database.reading() as session:
            counting = set(blob_keys(session, upload_id))
        for path in self._blobs.list(f"uploads/{upload_id}"):
            if path not in counting:
                self._blobs.delete(path)
        return True

    def _note_erased(self, withdrawals: Sequence[str]) -> None:
        with self._database.writing() as session:
            tables.note(session, withdrawals, column="erased_at", at=self._clock())

    def _cut(
        self,
        upload_id: str,
        parts: Sequence[uploads.UploadPart],
        rows: NDArray[np.int64],
        *,
        before: str,
        row_bytes: int,
        key: WrappedKey,
    ) -> tuple[list[_Part], str]:
        """Stores each part without these of the stored rows; gives the parts, and the digest of the whole.

        Raises:
            NotAsAccepted: the whole was not the one with the digest `before`.
        """
        found, whole, start, cut = hashlib.sha256(), hashlib.sha256(), 0, []
        for part in parts:
            self._take()
            old = self._blobs.get(blob_key(upload_id, part.number, part.sha256), data_key=key)
            found.update(old)
            keep = np.ones(len(old), np.bool_)
            first, last = np.searchsorted(rows, [start // row_bytes, (start + len(old) - 1) // row_bytes + 1])
            for row in rows[first:last].tolist():
                keep[max(0, row * row_bytes - start) : (row + 1) * row_bytes - start] = False
            start += len(old)
            new = old if keep.all() else np.frombuffer(old, np.uint8)[keep].tobytes()
            whole.update(new)
            sha256 = hashlib.sha256(new).hexdigest()
            cut.append(_Part(part.number, part.sha256, part.size_bytes, sha256, len(new)))
            if sha256 != part.sha256 and new:
                self._blobs.put(blob_key(upload_id, part.number, sha256), new, data_key=key)
        if not hmac.compare_digest(found.hexdigest(), before):
            raise NotAsAccepted("What is stored of the upload is not what was accepted.")
        return cut, whole.hexdigest()

    def _recompute(self, run_id: str, upload_id: str, rows: NDArray[np.int64]) -> bool:
        """Makes a result again without rows of one upload; False if the result is another one by now."""
        self._take()
        with self._database.reading() as session:
            run = session.get(Run, run_id)
            items = uploads_of(session, run_id)
            keeps_evidence = tables.is_kept(session, run_id)
        if run is None or run.state != "succeeded" or run.data_key is None:
            return True
        key = self._blobs.unwrap(run.data_key)
        old = [
            results.read_groups(self._blobs, run_id=run_id, attempt=run.attempt, position=item.position, data_key=key)
            for item in items
        ]
        known = results.read_changes(
            self._blobs, columns=membership.COLUMNS, run_id=run_id, attempt=run.attempt, data_key=key
        )
        position = next(item.position for item in items if item.upload == upload_id)
        now = self._clock()
        groups, changes = membership.without(old, position=position, rows=rows, at=now)
        if len(changes):
            # A number that nobody has written under, so that what a writer left, or still writes, is not mixed in.
            attempt = 1 + max(run.attempt, *results.attempts(self._blobs, run_id=run_id), 0)
            self._store(run_id, attempt, groups, np.concatenate([known, changes]), key=key)
            # Of groups, which keep their numbers.
            results.write_probabilities(
                self._blobs,
                results.read_probabilities(self._blobs, run_id=run_id, attempt=run.attempt, data_key=key),
                run_id=run_id,
                attempt=attempt,
                data_key=key,
            )
            gone = int(np.count_nonzero(changes[:, 4] == membership.KIND_WITHDRAWN))
            with self._database.writing() as session:
                self._require_claim(session)
                event = runs.recomputed(
                    session, run_id=run_id, made_from=run.attempt, attempt=attempt, rows=gone, now=now
                )
                if event is None:
                    return False
                session.flush()
                self._ledger.append(session, [event])
        if not keeps_evidence:
            results.remove_earlier_attempts(
                self._blobs, run_id=run_id, attempt=attempt if len(changes) else run.attempt
            )
        return True

    def _store(
        self,
        run_id: str,
        attempt: int,
        membership_now: Sequence[NDArray[np.int64]],
        changes: NDArray[np.int64],
        *,
        key: WrappedKey,
    ) -> None:
        results.write_changes(self._blobs, changes, run_id=run_id, attempt=attempt, data_key=key)
        # Whoever lost the claim writes nothing more.
        for position, groups in enumerate(membership_now):
            self._take()
            results.write_groups(self._blobs, groups, run_id=run_id, attempt=attempt, position=position, data_key=key)


def _are(parts: Sequence[uploads.UploadPart], cut: Sequence[_Part]) -> bool:
    """Whether the stored parts are those that were cut."""
    return [(part.number, part.sha256) for part in parts] == [(part.number, part.sha256) for part in cut]


def _turn_to(parts: Sequence[uploads.UploadPart], cut: Sequence[_Part]) -> None:
    by_number = {part.number: part for part in cut}
    for part in parts:
        made = by_number[part.number]
        part.sha256, part.size_bytes = made.new_sha256, made.new_size_bytes
