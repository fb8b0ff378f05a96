"""The sweep: deletes what is past its date, removes what has lost its key, and issues certificates.

Safe to kill at any moment: what lost its key in a transaction is noise, and the next sweep removes and certifies it.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from linkage_service.access import idempotency
from linkage_service.audit.log import Log
from linkage_service.clock import Clock
from linkage_service.database import Database
from linkage_service.ids import new_id
from linkage_service.keys import tables as keys
from linkage_service.projects.service import governed
from linkage_service.retention import service, tables
from linkage_service.rights import tables as rights
from linkage_service.runs import results
from linkage_service.storage import BlobStore, StorageError
from linkage_service.uploads.service import remove_blobs
from linkage_service.uploads.tables import Upload

_log = structlog.get_logger(__name__)
_LEASE = timedelta(minutes=10)
# Looking through all blobs and all bodies takes longer, and nothing is waiting for it.
_THOROUGH_EVERY = timedelta(hours=1)
_IDS_IN_QUERY = 500


@dataclass(slots=True)
class Swept:
    """What a sweep did.

    Attributes:
        deleted: what was past its date, by kind.
        overdue: what is past its date and kept by a hold.
        sketches: of how many uploads and projects the sketches were destroyed.
        envelopes: how many envelopes were removed, those that were emptied since the last sweep included.
        exchanges: of how many projects and organisations what was left of the exchange of secrets was deleted.
        bodies: how many ledger events lost their body.
        certificates: ids of the certificates that were issued.
        blobs: how many blobs without a key were removed.
        unknown: ids under which blobs lie whose owners the database does not know; they are left.
        traceless: whether the database's own files were cleared of what was deleted.
    """

    deleted: dict[str, int] = field(default_factory=dict)
    overdue: list[service.Due] = field(default_factory=list)
    sketches: int = 0
    envelopes: int = 0
    exchanges: int = 0
    bodies: int = 0
    certificates: list[str] = field(default_factory=list)
    blobs: int = 0
    unknown: list[str] = field(default_factory=list)
    traceless: bool = True

    @property
    def did_something(self) -> bool:
        """Whether it changed anything."""
        counts = (self.sketches, self.envelopes, self.exchanges, self.bodies, self.blobs)
        return bool(self.deleted or self.certificates or any(counts))


class Sweeper:
    """Sweeps, one at a time among all workers of a service."""

    def __init__(
        self, *, database: Database, log: Log, blobs: BlobStore, clock: Clock, every_s: float, ungoverned_days: int
    ) -> None:
        """Work on a service.

        Args:
            database: its database.
            log: its log.
            blobs: its blobs.
            clock: gives the time.
            every_s: how long after a sweep the next is due, seconds.
            ungoverned_days: how long bodies of events under no agreement are kept.
        """
        self._database = database
        self._ledger = log
        self._blobs = blobs
        self._clock = clock
        self._every = timedelta(seconds=every_s)
        self._ungoverned_days = ungoverned_days
        self._holder = secrets.token_hex(8)
        # What the last rewriting of the database's files was for; none was done yet.
        self._clear: set[tuple[str, str]] = set()
        self._traceless = True

    def sweep_if_due(self) -> Swept | None:
        """Sweeps if nobody did for a while; None if it was not due, or another worker is at it."""
        now = self._clock()
        with self._database.reading() as session:
            claim = tables.housekeeping(session, tables.SWEEP)
        if claim is None or not tables.is_due(claim.done_at, every=self._every, now=now):
            return None
        thorough = tables.is_due(claim.thorough_at, every=_THOROUGH_EVERY, now=now)
        return self._claimed(thorough=thorough, not_since=now - self._every)

    def sweep(self) -> Swept | None:
        """Sweeps now and thoroughly; None if another worker is at it."""
        return self._claimed(thorough=True, not_since=None)

    def _claimed(self, *, thorough: bool, not_since: datetime | None) -> Swept | None:
        if not self._take(not_since=not_since):
            return None
        try:
            return self._sweep(thorough=thorough)
        finally:
            with self._database.writing() as session:
                tables.let_go(session, tables.SWEEP, holder=self._holder, now=self._clock(), thorough=thorough)

    def _take(self, *, not_since: datetime | None = None) -> bool:
        with self._database.writing() as session:
            return tables.take(
                session, tables.SWEEP, holder=self._holder, now=self._clock(), lease=_LEASE, not_since=not_since
            )

    def _sweep(self, *, thorough: bool) -> Swept:
        swept = Swept()
        request_id = new_id("swp", self._clock())
        self._note_ends(request_id)
        self._delete_due(swept, request_id)
        self._delete_keys(swept, request_id)
        if thorough:
            self._dispose_of_bodies(swept, request_id)
            self._remove_orphans(swept)
            self._remove_earlier_attempts(swept)
            self._forget()
        with self._database.reading() as session:
            items = service.unsettled(session, now=self._clock())
        swept.traceless = self._clear_files(swept, {(item.kind, item.id) for item in items if item.prefix is not None})
        if swept.traceless:
            # Otherwise the next sweep certifies them, once the database's own files are clear of them.
            self._settle(items, swept, request_id)
        if swept.did_something:
            _log.info(
                "swept", deleted=sum(swept.deleted.values()), bodies=swept.bodies, certificates=len(swept.certificates)
            )
        if swept.unknown:
            _log.warning("blobs_of_unknown_owners", count=len(swept.unknown))
        return swept

    def _clear_files(self, swept: Swept, keys_gone: set[tuple[str, str]]) -> bool:
        """Rewrites the database's files if anything was deleted from them since they were; whether they are clear."""
        deleted = any(kind != "release" for kind in swept.deleted)  # a release stays, with the date of its end
        if (
            deleted
            or swept.bodies
            or swept.sketches
            or swept.envelopes
            or swept.exchanges
            or not self._traceless
            or not keys_gone <= self._clear
        ):
            self._traceless = self._database.leave_no_trace()
            if not self._traceless:
                _log.warning("database_not_rewritten")
        if self._traceless:
            self._clear = keys_gone
        return self._traceless

    def _note_ends(self, request_id: str) -> None:
        now = self._clock()
        with self._database.reading() as session:
            found = service.ended_agreements(session, now=now)
        for agreement_id, reference in found:
            with self._database.writing() as session:
                event = service.note_end(session, agreement_id, reference, now=now, request_id=request_id)
                session.flush()
                self._ledger.append(session, [event])

    def _delete_due(self, swept: Swept, request_id: str) -> None:
        now = self._clock()
        with self._database.reading() as session:
            found = service.due(session, now=now)
        swept.overdue = [item for item in found if item.held is not None]
        for item in found:
            if item.held is not None or not self._take():
                continue
            with self._database.writing() as session:
                done = service.delete(session, item, now=self._clock(), request_id=request_id)
                if done is None:
                    continue
                event, gone = done
                session.flush()
                self._ledger.append(session, [event])
            if gone.upload or gone.runs:
                remove_blobs(self._blobs, gone)
            swept.deleted[item.kind] = swept.deleted.get(item.kind, 0) + 1

    def _delete_keys(self, swept: Swept, request_id: str) -> None:
        """Deletes the keys of link ids of agreements that are over, what their uploads were compared by, exchanges."""
        now = self._clock()
        with self._database.reading() as session:
            found = service.due_keys(session, now=now)
        for key in found:
            with self._database.writing() as session:
                event = service.delete_key(session, key, now=now, request_id=request_id)
                if event is not None:
                    session.flush()
                    self._ledger.append(session, [event])
                    swept.deleted["link_id_key"] = swept.deleted.get("link_id_key", 0) + 1
        with self._database.reading() as session:
            sketches = service.due_sketches(session, now=now)
        if sketches.projects or sketches.uploads:
            with self._database.writing() as session:
                service.forget_sketches(session, sketches)
            swept.sketches = len(sketches.projects) + len(sketches.uploads)
        with self._database.reading() as session:
            envelopes = service.due_envelopes(session, now=now)
            exchanges = service.due_exchanges(session, now=now)
            emptied = keys.are_emptied(session)
        if envelopes or emptied:
            with self._database.writing() as session:
                for project in envelopes:
                    keys.empty_envelopes(session, project)
                swept.envelopes = keys.remove_emptied(session)
        if exchanges.projects or exchanges.organisations:
            with self._database.writing() as session:
                service.forget_exchanges(session, exchanges)
            swept.exchanges = len(exchanges.projects) + len(exchanges.organisations)

    def _dispose_of_bodies(self, swept: Swept, request_id: str) -> None:
        now = self._clock()
        with self._database.reading() as session:
            sequence = service.due_bodies(session, now=now, ungoverned_days=self._ungoverned_days)
        if sequence:
            with self._database.writing() as session:
                event = service.dispose_of_bodies(session, sequence, now=now, request_id=request_id)
                self._ledger.append(session, [event])
            swept.bodies = len(sequence)

    def _remove_orphans(self, swept: Swept) -> None:
        """Removes blobs whose owner has lost its key.

        Blobs of owners that the database does not know are left: it may be the database that is the wrong one.
        """
        try:
            for root, keyless, known in (
                ("uploads", tables.keyless_uploads, tables.known_uploads),
                ("runs", tables.keyless_runs, tables.known_runs),
            ):
                owners = sorted({key.split("/")[1] for key in self._blobs.list(root)})
                for start in range(0, len(owners), _IDS_IN_QUERY):
                    some = owners[start : start + _IDS_IN_QUERY]
                    with self._database.reading() as session:
                        without, there = keyless(session, some), set(known(session, some))
                    swept.unknown += [owner for owner in some if owner not in there]
                    swept.blobs += sum(self._blobs.delete_prefix(f"{root}/{owner}") for owner in without)
        except StorageError as error:
            _log.warning("orphans_not_removed", code=error.instance_code)

    def _remove_earlier_attempts(self, swept: Swept) -> None:
        """Removes what results were made from again, and a hold kept, once none keeps it any more."""
        with self._database.reading() as session:
            found = [
                (run.id, run.attempt)
                for run in tables.kept_runs(session)
                if run.attempt > 1 and not rights.is_kept(session, run.id)
            ]
        try:
            for run_id, attempt in found:
                swept.blobs += results.remove_earlier_attempts(self._blobs, run_id=run_id, attempt=attempt)
        except StorageError as error:
            _log.warning("attempts_not_removed", code=error.instance_code)

    def _forget(self) -> None:
        """Lets go of kept answers, and of which rows were withdrawn from uploads of which nothing is left."""
        now = self._clock()
        with self._database.writing() as session:
            idempotency.forget(session, now=now)
            for upload_id in rights.uploads_with_rows(session):
                upload = session.get(Upload, upload_id)
                states = {run.state for run in rights.runs_of_upload(session, upload_id)}
                if upload is not None and upload.state == "deleted" and not states & {"queued", "running", "succeeded"}:
                    rights.forget_rows(session, upload_id)

    def _settle(self, items: Sequence[service.Item], swept: Swept, request_id: str) -> None:
        gone = [item for item in items if self._removed(item)]
        for listed in service.certificates(gone):
            self._certify(listed, swept, request_id)

    def _removed(self, item: service.Item) -> bool:
        if item.prefix is None:
            return True
        try:
            self._blobs.delete_prefix(item.prefix)
        except StorageError as error:
            _log.warning("blobs_left", kind=item.kind, id=item.id, code=error.instance_code)
            return False
        return True

    def _certify(self, items: Sequence[service.Item], swept: Swept, request_id: str) -> None:
        if not self._take():
            return
        now = self._clock()
        with self._database.writing() as session:
            project = governed(session, items[0].project)
            if not project.agreement.document.retention.disposal_certificate:
                service.settle(session, items, certificate_id=None, now=now)
                return
            certificate_id = service.new_certificate_id(now)
            origin = self._ledger.verifier.name
            text = service.certificate_text(
                items, certificate_id=certificate_id, project=project, origin=origin, now=now
            )
            certificate = tables.Certificate(
                id=certificate_id,
                project=project.row.id,
                items=len(items),
                note=self._ledger.sign_text(session, text),
                created_at=now,
            )
            session.add(certificate)
            session.flush()
            service.settle(session, items, certificate_id=certificate_id, now=now)
            session.flush()
            self._ledger.append(session, [service.issued(certificate, project, now=now, request_id=request_id)])
        swept.certificates.append(certificate_id)
