"""Claims queued runs and carries them out. Safe to kill at any moment, safe to run twice, safe to run many."""

import hashlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Self

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from linkage_matching import Dataset, Encodings, MatchingCancelled, MatchingError, from_bytes, prepare
from linkage_matching.datasets import BlobDataset
from linkage_matching.errors import ClusterFailed
from linkage_matching.unit_store import BlobUnitStore
from linkage_service import engine
from linkage_service.audit.alarms import Notice
from linkage_service.audit.log import Entry
from linkage_service.audit.quorum import lack_of_quorum
from linkage_service.audit.watch import Watch
from linkage_service.errors import LinkageError
from linkage_service.metrics import RunOutcome
from linkage_service.migrate import can_serve
from linkage_service.projects.service import governed
from linkage_service.retention.sweep import Sweeper
from linkage_service.rights import tables as rights
from linkage_service.rights.applying import Applier
from linkage_service.rights.membership import spread
from linkage_service.runs import presence, reporting, results, service, tables
from linkage_service.runs.aims import Aim
from linkage_service.runtime import Runtime
from linkage_service.settings import Settings, hours_of
from linkage_service.storage import KeyNotHere, StorageUnavailable, WrappedKey
from linkage_service.uploads import tables as uploads
from linkage_service.uploads.service import blob_keys

_log = structlog.get_logger(__name__)
_ATTEMPTS_MAX = 5
_HOUSEKEEPER_STOPS_IN_S = 10
_WITHDRAWALS_LOOKED_FOR_S = 0.2
_SCHEMA_ASKED_EVERY_S = 2.0


class RunFailed(LinkageError):
    """A run that would fail again."""

    code = "run_failed"


@dataclass(frozen=True, slots=True)
class _Source:
    """An upload to be matched, and where its bytes are."""

    keys: list[str]
    part_bytes: list[int]
    bits: int
    size_bytes: int
    sha256: str
    data_key: WrappedKey
    may_hold_duplicates: bool
    count: int
    withdrawn: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Taken:
    """All that the database says of a run that is to be carried out."""

    sources: list[_Source]
    aim: Aim
    similarity: engine.Similarity
    blocking: bool
    data_key: WrappedKey
    feasibility: bool


class _Lease:
    """Keeps a claim alive from a thread of its own, and notices when it is lost."""

    def __init__(self, runtime: Runtime, claim: service.Claim) -> None:
        self._runtime = runtime
        self._claim = claim
        self._progress = tables.Progress("load")
        self._done = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{claim.run}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def report(self, phase: str, done: int = 0, total: int | None = None) -> None:
        """Notes progress; it is written with the next renewal."""
        self._progress = tables.Progress(phase, done, total)

    def _keep(self) -> None:
        settings = self._runtime.settings
        renewed = time.monotonic()
        while not self._done.wait(min(settings.lease_s / 4, 1.0)):
            try:
                with self._runtime.database.writing() as session:
                    still_ours = tables.renew(
                        session,
                        run_id=self._claim.run,
                        worker=self._claim.worker,
                        attempt=self._claim.attempt,
                        lease_expires_at=self._runtime.clock() + timedelta(seconds=settings.lease_s),
                        progress=self._progress,
                    )
            except Exception as error:  # noqa: BLE001 - a database that is away for a moment must not end the run
                _log.warning("lease_not_renewed", run=self._claim.run, error_type=type(error).__name__)
                still_ours = time.monotonic() - renewed < settings.lease_s
            else:
                renewed = time.monotonic()
            if not still_ours:
                self.lost.set()
                return


class _Schema:
    """Whether this release can serve on the database's schema, asked every few seconds: a migration may end that."""

    def __init__(self, runtime: Runtime) -> None:
        self._engine = runtime.database.engine
        self._fits = True
        self._asks_at = time.monotonic()

    def fits(self) -> bool:
        """What the database said last. Where it does not, nothing more is written, and an operator is to be told."""
        now = time.monotonic()
        if now >= self._asks_at:
            before, self._fits = self._fits, can_serve(self._engine)
            self._asks_at = now + _SCHEMA_ASKED_EVERY_S
            if before and not self._fits:
                _log.error("schema_not_for_this_release")
        return self._fits


class Worker:
    """One worker: looks for a run, carries it out, looks again."""

    def __init__(self, runtime: Runtime) -> None:
        """Work on the runs of a service.

        Raises:
            EngineNotReady: the executor of the settings is not installed.
        """
        self._runtime = runtime
        self._executor = runtime.tracing.executor(engine.executor_of(runtime.settings))
        self._applier = Applier(database=runtime.database, log=runtime.log, blobs=runtime.blobs, clock=runtime.clock)
        self._sweeper = sweeper_of(runtime)
        self._watch = watch_of(runtime)
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._version = version("linkage-service")
        self._schema = _Schema(runtime)
        self._noted_at: datetime | None = None
        self._waits_for_clock = False

    def run_until(self, stop: threading.Event) -> None:
        """Works until told to stop; a run in hand is left to the next worker, which finds it by its lease."""
        _log.info("worker_started", worker=self.name, pid=os.getpid())
        self._sweep()
        # Beside the runs, of which one may take hours.
        housekeeper = threading.Thread(target=self._keep_house_until, args=(stop,), name="housekeeping", daemon=True)
        housekeeper.start()
        while not stop.is_set():
            try:
                found = self._schema.fits() and self.run_once(stop)
            except SQLAlchemyError as error:
                # The database was away or busy. A run in hand is found again by its lease.
                _log.warning("database_unwell", error_type=type(error).__name__)
                found = False
            if not found:
                stop.wait(self._runtime.settings.poll_s)
        housekeeper.join(timeout=_HOUSEKEEPER_STOPS_IN_S)
        self._leave()
        _log.info("worker_stopped", worker=self.name)

    def keep_house(self) -> None:
        """Notes that it lives, applies withdrawals that wait, sweeps and looks for alarms if it is time."""
        for step in (
            self._note_presence_if_due,
            self._applier.apply_pending,
            self._sweeper.sweep_if_due,
            self._watch.watch_if_due,
        ):
            try:
                step()
            except (SQLAlchemyError, LinkageError) as error:
                # Everything that was begun is found again by the next round; the other step goes on.
                _log.warning("housekeeping_postponed", error_type=type(error).__name__)

    def _note_presence_if_due(self) -> None:
        now = self._runtime.clock()
        if self._noted_at is not None and self._noted_at <= now < self._noted_at + presence.EVERY:
            return
        with self._runtime.database.noting() as session:
            presence.note(session, name=self.name, version=self._version, now=now)
        self._noted_at = now

    def _leave(self) -> None:
        try:
            with self._runtime.database.noting() as session:
                presence.leave(session, name=self.name, now=self._runtime.clock())
        except SQLAlchemyError as error:
            _log.warning("presence_not_ended", error_type=type(error).__name__)

    def _keep_house_until(self, stop: threading.Event) -> None:
        while not stop.wait(self._runtime.settings.poll_s):
            try:
                if self._schema.fits():
                    self.keep_house()
            except Exception as error:  # noqa: BLE001 - retention must not end with this thread; the next round tries again
                _log.error("housekeeping_failed", error_type=type(error).__name__)

    def _sweep(self) -> None:
        """Removes units of runs that ended, which a worker killed at the very end of a run leaves behind."""
        blobs = self._runtime.blobs
        try:
            for run_id in results.runs_with_units(blobs):
                with self._runtime.database.reading() as session:
                    row = tables.run(session, run_id)
                if row is not None and row.state in service.FINISHED:
                    results.remove_units(blobs, run_id=run_id)
        except (SQLAlchemyError, LinkageError) as error:
            _log.warning("units_not_swept", error_type=type(error).__name__)

    def run_once(self, stop: threading.Event | None = None) -> bool:
        """Carries out one waiting run; False when there is none."""
        claim = self._claim()
        if claim is None:
            return False
        _log.info("run_claimed", run=claim.run, attempt=claim.attempt, worker=self.name)
        with self._runtime.tracing.span(
            "run", parent=claim.traceparent, run=claim.run, attempt=claim.attempt, worker=self.name
        ) as span:
            outcome = self._outcome_of(claim, stop or threading.Event())
            span.note(state=outcome)
        self._runtime.metrics.run_ended(outcome)
        return True

    def _outcome_of(self, claim: service.Claim, stop: threading.Event) -> RunOutcome:
        try:
            with _Lease(self._runtime, claim) as lease:
                result = self._carry_out(claim, lease, stop)
                if not self._schema.fits():
                    # A worker of the new release goes on with what was kept, once the lease has run out.
                    return "left"
                with self._runtime.tracing.span("finish"):
                    return self._finish_when_clock_allows(claim, result, lease, stop)
        except MatchingCancelled:
            self._let_go(claim)
            return "left"
        except (MatchingError, LinkageError) as error:
            return self._fail(claim, error)

    def _let_go(self, claim: service.Claim) -> None:
        """Ends the lease of a run that was left unfinished, so that the next worker need not wait for it to run out."""
        now = self._runtime.clock()
        with self._runtime.database.writing() as session:
            still_ours = tables.renew(
                session,
                run_id=claim.run,
                worker=claim.worker,
                attempt=claim.attempt,
                lease_expires_at=now,
                progress=tables.Progress("load"),
            )
        if not still_ours:
            self._clean_up(claim)
        _log.info("run_left", run=claim.run, attempt=claim.attempt)

    def _claim(self) -> service.Claim | None:
        try:
            claim = self._claimed()
        except service.ClockBehindLog:
            # The transaction is undone, so the run waits as it did, and this was no attempt.
            self._note_clock(behind=True)
            return None
        self._note_clock(behind=False)
        return claim

    def _note_clock(self, *, behind: bool) -> None:
        if behind and not self._waits_for_clock:
            # Once, and not at each look.
            _log.warning("clock_behind_log", worker=self.name)
        self._waits_for_clock = behind

    def _claimed(self) -> service.Claim | None:
        runtime = self._runtime
        now = runtime.clock()
        with runtime.database.reading() as session:
            if not tables.is_work_waiting(session, now=now):
                return None
        data_key = runtime.blobs.new_data_key().wrapped
        with runtime.database.writing() as session:
            lease_expires_at = now + timedelta(seconds=runtime.settings.lease_s)
            run_id = tables.claim(session, worker=self.name, now=now, lease_expires_at=lease_expires_at)
            if run_id is None:
                return None
            event = service.started(session, run_id=run_id, data_key=data_key, policy=runtime.door.policy, now=now)
            session.flush()
            runtime.log.append(session, [event])
            row = tables.run(session, run_id)
            attempt = row.attempt if row else 0
            traceparent = row.traceparent if row else None
            refused = row is None or row.state != "running"
        if refused:
            _log.warning("run_refused", run=run_id, attempt=attempt)
            results.remove(runtime.blobs, run_id=run_id)
            runtime.metrics.run_ended("refused")
            return None
        claim = service.Claim(run=run_id, attempt=attempt, worker=self.name, traceparent=traceparent)
        if attempt > _ATTEMPTS_MAX:
            outcome = self._fail(
                claim,
                RunFailed(
                    "The run was interrupted too often. Ask the operator why its workers stop.", code="interrupted"
                ),
            )
            runtime.metrics.run_ended(outcome)
            return None
        return claim

    def _carry_out(self, claim: service.Claim, lease: _Lease, stop: threading.Event) -> service.Result:
        began = time.monotonic()
        span = self._runtime.tracing.span

        def cancelled() -> bool:
            return lease.lost.is_set() or stop.is_set()

        self._wait_for_withdrawals(claim, lease, stop)
        taken = self._take(claim)
        with span("load"):
            datasets = [self._dataset(source, cancelled=cancelled) for source in taken.sources]
        work = engine.Work(
            datasets=datasets,
            may_hold_duplicates=[source.may_hold_duplicates for source in taken.sources],
            aim=taken.aim,
            similarity=taken.similarity,
            blocking=taken.blocking,
            fallback_threshold=self._runtime.settings.fallback_threshold,
            store=BlobUnitStore(self._runtime.blobs.sealed(taken.data_key), results.units_prefix(claim.run)),
        )
        if finished := len(self._runtime.blobs.list(results.units_prefix(claim.run))):
            _log.info("run_resumed", run=claim.run, attempt=claim.attempt, size=finished)
        prepare(lambda _: lease.report("compile"))
        with span("match"):
            matched = engine.match(
                work,
                executor=self._executor,
                progress=_told_coarsely(lease) if taken.blocking else partial(lease.report, "match"),
                cancelled=cancelled,
            )
        lease.report("store")
        with span("store"):
            self._store(claim, taken, matched)
        return service.Result(
            patterns=service.overlap(matched.membership, groups=matched.groups),
            seconds=round(time.monotonic() - began, 3),
            report=matched.report,
        )

    def _store(self, claim: service.Claim, taken: _Taken, matched: engine.Matched) -> None:
        kept = [] if taken.feasibility else service.told_apart(matched.membership, groups=matched.groups)
        for position, (groups, source) in enumerate(zip(kept, taken.sources, strict=False)):
            results.write_groups(
                self._runtime.blobs,
                spread(groups, withdrawn=source.withdrawn, count=source.count),
                run_id=claim.run,
                attempt=claim.attempt,
                position=position,
                data_key=taken.data_key,
            )
        results.write_probabilities(
            self._runtime.blobs,
            None if taken.feasibility else matched.probabilities,
            run_id=claim.run,
            attempt=claim.attempt,
            data_key=taken.data_key,
        )

    def _wait_for_withdrawals(self, claim: service.Claim, lease: _Lease, stop: threading.Event) -> None:
        """A run begins on encodings from which every row that was withdrawn is gone."""
        while True:
            with self._runtime.database.reading() as session:
                if not rights.pending_in_run(session, claim.run):
                    return
                own = {item.upload for item in tables.uploads_of(session, claim.run)}
            self._applier.apply_pending(uploads_of_run=own)
            if lease.lost.is_set() or stop.wait(_WITHDRAWALS_LOOKED_FOR_S):
                raise MatchingCancelled

    def _take(self, claim: service.Claim) -> _Taken:
        blobs = self._runtime.blobs
        with self._runtime.database.reading() as session:
            run = tables.run(session, claim.run)
            items = tables.uploads_of(session, claim.run)
            rows = [uploads.upload(session, item.upload) for item in items]
            if run is None or run.data_key is None or any(row is None or row.state != "complete" for row in rows):
                raise RunFailed(
                    "An upload of this run was deleted or replaced before it was matched. Start a new run.",
                    code="upload_gone",
                )
            document = governed(session, run.project).agreement.document
            withdrawn = [np.array(rights.erased_rows(session, item.upload), np.int64) for item in items]
            if any(len(gone) == item.count for gone, item in zip(withdrawn, items, strict=True)):
                raise RunFailed(
                    "Every row of an upload of this run was withdrawn, so there is nothing to match.",
                    code="nothing_left",
                )
            profiles = {uploads.encoding_profile_of(row) for row in rows if row is not None}
            return _Taken(
                sources=[
                    _Source(
                        keys=blob_keys(session, row.id),
                        part_bytes=[part.size_bytes for part in uploads.parts(session, row.id)],
                        bits=row.bits,
                        size_bytes=row.size_bytes - len(gone) * row.bits // 8,
                        sha256=_stored_sha256(session, row),
                        data_key=blobs.unwrap(row.data_key or b""),
                        may_hold_duplicates=document.may_hold_duplicates(row.organisation),
                        count=row.count,
                        withdrawn=gone,
                    )
                    for row, gone in zip(rows, withdrawn, strict=True)
                    if row is not None
                ],
                aim=service.aim_of(run),
                similarity=_one_similarity(profiles),
                blocking=run.blocking,
                data_key=blobs.unwrap(run.data_key),
                feasibility=service.is_feasibility(session, run),
            )

    def _dataset(self, source: _Source, *, cancelled: Callable[[], bool]) -> Encodings | Dataset:
        """An upload as the executor reads it, after every byte of it was compared with the digest of what is stored."""
        if self._runtime.settings.executor == "local":
            whole = np.empty(source.size_bytes, dtype=np.uint8)
            self._verify(source, into=whole, cancelled=cancelled)
            return from_bytes(whole.data, bits=source.bits)
        self._verify(source, into=None, cancelled=cancelled)
        sealed = self._runtime.blobs.sealed(source.data_key)
        return BlobDataset(sealed, paths=source.keys, part_bytes=source.part_bytes, bits=source.bits)

    def _verify(self, source: _Source, *, into: NDArray[np.uint8] | None, cancelled: Callable[[], bool]) -> None:
        digest, filled = hashlib.sha256(), 0
        for part in self._runtime.blobs.get_many(source.keys, data_key=source.data_key):
            if cancelled():
                raise MatchingCancelled
            digest.update(part)
            if into is not None and filled + len(part) <= len(into):
                into[filled : filled + len(part)] = np.frombuffer(part, dtype=np.uint8)
            filled += len(part)
        if filled != source.size_bytes or digest.hexdigest() != source.sha256:
            raise RunFailed(
                "What is stored of an upload is not what its manifest says. Its provider should upload again, and "
                "then start a new run.",
                code="upload_changed",
            )

    def _clean_up(self, claim: service.Claim) -> None:
        """Removes what is stored of a run that is over and that nobody needs."""
        with self._runtime.database.reading() as session:
            row = tables.run(session, claim.run)
            state = row.state if row else "failed"
        if state == "succeeded":
            results.remove_units(self._runtime.blobs, run_id=claim.run)
        elif state in service.FINISHED:
            results.remove(self._runtime.blobs, run_id=claim.run)

    def _finish_when_clock_allows(
        self, claim: service.Claim, result: service.Result, lease: _Lease, stop: threading.Event
    ) -> RunOutcome:
        """Keeps the run in hand while the clock is behind the log: no other could be carried out meanwhile either."""
        while True:
            try:
                outcome = self._finish(claim, result)
            except service.ClockBehindLog:
                lease.report("clock")
                self._note_clock(behind=True)
            else:
                self._note_clock(behind=False)
                return outcome
            if lease.lost.is_set() or stop.wait(self._runtime.settings.poll_s):
                raise MatchingCancelled

    def _finish(self, claim: service.Claim, result: service.Result) -> RunOutcome:
        runtime = self._runtime
        now = runtime.clock()
        with runtime.database.writing() as session:
            event = service.succeeded(session, claim=claim, result=result, policy=runtime.door.policy, now=now)
            self._append(session, event)
            ended = service.end_feasibility(session, claim=claim, now=now)
            for deleted in ended:
                self._append(session, deleted)
        if ended:
            service.remove_encodings(runtime.database, runtime.blobs, run_id=claim.run)
        self._clean_up(claim)
        _log.info("run_succeeded" if event else "run_lost", run=claim.run, attempt=claim.attempt)
        return "succeeded" if event else "lost"

    def _fail(self, claim: service.Claim, error: LinkageError | MatchingError) -> RunOutcome:
        code = error.instance_code if isinstance(error, LinkageError) else "matching_failed"
        if isinstance(error, StorageUnavailable | ClusterFailed | KeyNotHere) and claim.attempt < _ATTEMPTS_MAX:
            # The lease runs out and the run is tried again: store or cluster may be back by then, or a key that was
            # rotated on another machine have come to this one.
            _log.warning("run_postponed", run=claim.run, attempt=claim.attempt, code=code)
            return "postponed"
        detail = error.detail if isinstance(error, LinkageError) else str(error)
        runtime = self._runtime
        with runtime.database.writing() as session:
            event = service.failed(session, claim=claim, code=code, detail=detail, now=runtime.clock())
            self._append(session, event)
        self._clean_up(claim)
        _log.warning("run_failed", run=claim.run, attempt=claim.attempt, code=code)
        return "failed"

    def _append(self, session: Session, event: Entry | None) -> None:
        if event is not None:
            session.flush()
            self._runtime.log.append(session, [event])


def sweeper_of(runtime: Runtime) -> Sweeper:
    """The sweeper of a service."""
    settings = runtime.settings
    return Sweeper(
        database=runtime.database,
        log=runtime.log,
        blobs=runtime.blobs,
        clock=runtime.clock,
        every_s=settings.retention_s,
        ungoverned_days=settings.audit_bodies_days,
    )


def watch_of(runtime: Runtime) -> Watch:
    """The watch over the log of a service."""
    settings = runtime.settings
    return Watch(
        database=runtime.database,
        log=runtime.log,
        clock=runtime.clock,
        every_s=settings.retention_s,
        office_hours=hours_of(settings.audit_export_hours),
        further=[partial(_missing_cosignatures, settings)],
    )


def _missing_cosignatures(settings: Settings, session: Session, now: datetime) -> list[Notice]:
    """The alarm that too few witnesses vouch for the log: one for as long as what they vouch for ends at one place."""
    lack = lack_of_quorum(session, settings.witness_policy, now=now, longer_than_s=settings.witness_alarm_s)
    if lack is None:
        return []
    detail: dict[str, str | int] = {
        "size": lack.size,
        "witnessed_size": lack.witnessed_size,
        "since": lack.since.isoformat(timespec="seconds"),
        "missing": ", ".join(lack.missing),
    }
    return [Notice(kind="cosignature_missing", occasion=str(lack.witnessed_size), detail=detail)]


def _stored_sha256(session: Session, row: uploads.Upload) -> str:
    """The digest of what is stored: the manifest's, unless rows were withdrawn."""
    content = rights.stored_content(session, row.id)
    return row.sha256 if content is None else content.sha256


def _told_coarsely(lease: _Lease) -> Callable[[int, int], None]:
    """With blocking, how many pairs are compared depends on how many match: see `reporting.pairs_compared`."""
    return lambda done, total: lease.report("match", reporting.coarse(done), reporting.coarse(total))


def _one_similarity(profiles: set[str | None]) -> engine.Similarity:
    """How to compare uploads of these encoding profiles.

    Raises:
        RunFailed: encodings of such different kinds that no similarity between them means anything.
    """
    found = {engine.similarity_of(profile) for profile in profiles}
    if len(found) > 1:
        raise RunFailed(
            "The uploads of this run were encoded with profiles that cannot be compared. Let every provider encode "
            "with the same profile and upload again, then start a new run.",
            code="profiles_differ",
        )
    return found.pop()
