"""Claims queued runs and carries them out. Safe to kill at any moment, safe to run twice, safe to run many."""

import hashlib
import os
import secrets
import socket
import threading
import time
from datetime import timedelta
from fractions import Fraction
from typing import Self

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from linkage_matching import MatchingCancelled, MatchingError, from_bytes, link
from linkage_service.audit.log import Entry
from linkage_service.errors import LinkageError
from linkage_service.runs import results, service, tables
from linkage_service.runtime import Runtime
from linkage_service.storage import StorageUnavailable
from linkage_service.uploads import tables as uploads
from linkage_service.uploads.service import blob_keys

_log = structlog.get_logger(__name__)
_ATTEMPTS_MAX = 5
# Thresholds come as JSON numbers; the engine decides in whole numbers, and four decimals are more than anyone states.
_DENOMINATOR_MAX = 10_000


class RunFailed(LinkageError):
    """A run that would fail again."""

    code = "run_failed"


class _Lease:
    """Keeps a claim alive from a thread of its own, and notices when it is lost."""

    def __init__(self, runtime: Runtime, claim: service.Claim) -> None:
        self._runtime = runtime
        self._claim = claim
        self._progress = ("load", 0)
        self._done = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{claim.run}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def report(self, phase: str, done: int = 0) -> None:
        """Notes progress; it is written with the next renewal."""
        self._progress = (phase, done)

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


class Worker:
    """One worker: looks for a run, carries it out, looks again."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"

    def run_until(self, stop: threading.Event) -> None:
        """Works until told to stop; a run in hand is left to the next worker, which finds it by its lease."""
        _log.info("worker_started", worker=self.name, pid=os.getpid())
        while not stop.is_set():
            try:
                found = self.run_once(stop)
            except SQLAlchemyError as error:
                # The database was away or busy. A run in hand is found again by its lease.
                _log.warning("database_unwell", error_type=type(error).__name__)
                found = False
            if not found:
                stop.wait(self._runtime.settings.poll_s)
        _log.info("worker_stopped", worker=self.name)

    def run_once(self, stop: threading.Event | None = None) -> bool:
        """Carries out one waiting run; False when there is none."""
        claim = self._claim()
        if claim is None:
            return False
        _log.info("run_claimed", run=claim.run, attempt=claim.attempt, worker=self.name)
        try:
            with _Lease(self._runtime, claim) as lease:
                result = self._carry_out(claim, lease, stop or threading.Event())
                self._finish(claim, result)
        except MatchingCancelled:
            self._let_go(claim)
        except (MatchingError, LinkageError) as error:
            self._fail(claim, error)
        return True

    def _let_go(self, claim: service.Claim) -> None:
        """Ends the lease of a run that was left unfinished, so that the next worker need not wait for it to run out."""
        now = self._runtime.clock()
        with self._runtime.database.writing() as session:
            tables.renew(
                session,
                run_id=claim.run,
                worker=claim.worker,
                attempt=claim.attempt,
                lease_expires_at=now,
                progress=("load", 0),
            )
        _log.info("run_left", run=claim.run, attempt=claim.attempt)

    def _claim(self) -> service.Claim | None:
        runtime = self._runtime
        now = runtime.clock()
        with runtime.database.reading() as session:
            if not tables.is_work_waiting(session, now=now):
                return None
        with runtime.database.writing() as session:
            lease_expires_at = now + timedelta(seconds=runtime.settings.lease_s)
            run_id = tables.claim(session, worker=self.name, now=now, lease_expires_at=lease_expires_at)
            if run_id is None:
                return None
            runtime.log.append(session, [service.started(session, run_id=run_id, now=now)])
            row = tables.run(session, run_id)
            attempt = row.attempt if row else 0
        claim = service.Claim(run=run_id, attempt=attempt, worker=self.name)
        if attempt > _ATTEMPTS_MAX:
            self._fail(
                claim,
                RunFailed(
                    "The run was interrupted too often. Ask the operator why its workers stop.", code="interrupted"
                ),
            )
            return None
        return claim

    def _carry_out(self, claim: service.Claim, lease: _Lease, stop: threading.Event) -> service.Result:
        began = time.monotonic()
        datasets, threshold = self._load(claim)
        groups = link(
            datasets,
            threshold=threshold,
            progress=lambda done, _: lease.report("match", done),
            cancelled=lambda: lease.lost.is_set() or stop.is_set(),
        )
        lease.report("store")
        blobs = self._runtime.blobs
        data_key = blobs.new_data_key()
        for position, membership in enumerate(groups.membership):
            results.write_groups(
                blobs, membership, run_id=claim.run, attempt=claim.attempt, position=position, data_key=data_key
            )
        return service.Result(
            groups=groups.count,
            patterns=service.overlap(groups.membership, groups=groups.count),
            seconds=round(time.monotonic() - began, 3),
            data_key=data_key.wrapped,
        )

    def _load(self, claim: service.Claim) -> tuple[list[NDArray[np.uint64]], Fraction]:
        blobs = self._runtime.blobs
        with self._runtime.database.reading() as session:
            run = tables.run(session, claim.run)
            rows = [uploads.upload(session, item.upload) for item in tables.uploads_of(session, claim.run)]
            if run is None or any(row is None or row.state != "complete" for row in rows):
                raise RunFailed(
                    "An upload of this run was deleted or replaced before it was matched. Start a new run.",
                    code="upload_gone",
                )
            threshold = Fraction(run.threshold).limit_denominator(_DENOMINATOR_MAX)
            sources = [
                (blob_keys(session, row.id), row.bits, row.size_bytes, row.sha256, row.data_key or b"")
                for row in rows
                if row is not None
            ]
        datasets = []
        for keys, bits, size_bytes, sha256, wrapped in sources:
            whole = np.empty(size_bytes, dtype=np.uint8)
            filled = 0
            for part in blobs.get_many(keys, data_key=blobs.unwrap(wrapped)):
                whole[filled : filled + len(part)] = np.frombuffer(part, dtype=np.uint8)
                filled += len(part)
            if filled != size_bytes or hashlib.sha256(whole.data).hexdigest() != sha256:
                raise RunFailed(
                    "What is stored of an upload is not what its manifest says. Its provider should upload again, and "
                    "then start a new run.",
                    code="upload_changed",
                )
            datasets.append(from_bytes(whole.data, bits=bits))
        return datasets, threshold

    def _finish(self, claim: service.Claim, result: service.Result) -> None:
        runtime = self._runtime
        now = runtime.clock()
        with runtime.database.writing() as session:
            event = service.succeeded(session, claim=claim, result=result, now=now)
            self._append(session, event)
        _log.info("run_succeeded" if event else "run_lost", run=claim.run, attempt=claim.attempt)

    def _fail(self, claim: service.Claim, error: LinkageError | MatchingError) -> None:
        if isinstance(error, StorageUnavailable) and claim.attempt < _ATTEMPTS_MAX:
            # The lease runs out and the run is tried again: the store may be back by then.
            _log.warning("run_postponed", run=claim.run, attempt=claim.attempt, code=error.instance_code)
            return
        code = error.instance_code if isinstance(error, LinkageError) else "matching_failed"
        detail = error.detail if isinstance(error, LinkageError) else str(error)
        runtime = self._runtime
        with runtime.database.writing() as session:
            event = service.failed(session, claim=claim, code=code, detail=detail, now=runtime.clock())
            self._append(session, event)
        _log.warning("run_failed", run=claim.run, attempt=claim.attempt, code=code)

    def _append(self, session: Session, event: Entry | None) -> None:
        if event is not None:
            session.flush()
            self._runtime.log.append(session, [event])
