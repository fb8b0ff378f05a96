"""What the state of the whole service comes to in figures: read from the database, so the same from every process."""

import contextlib
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import structlog
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool
from sqlmodel import Session

from linkage_service.audit import alarm_tables, tables, trust_tables
from linkage_service.audit.quorum import lack_of_quorum
from linkage_service.metrics import Figure
from linkage_service.retention import tables as retention
from linkage_service.retention.service import due
from linkage_service.runs import presence
from linkage_service.runs import tables as runs
from linkage_service.runtime import Runtime
from linkage_service.settings import Settings
from linkage_service.uploads import tables as uploads

_log = structlog.get_logger(__name__)
_RUN_STATES = ("queued", "running", "succeeded", "failed", "cancelled", "deleted")


def figures_of(runtime: Runtime) -> Iterator[Figure]:
    """Every figure of the service's state as it is now; those of the database are left out where it cannot be read."""
    yield from _of_process(runtime)
    try:
        with runtime.database.reading() as session:
            read = list(_of_database(session, runtime, runtime.clock()))
    except SQLAlchemyError as error:
        _log.warning("figures_not_read", error_type=type(error).__name__)
        read = []
    yield Figure("linkage_state_read", "Whether the database could be read for the figures.", {"": bool(read)})
    yield from read


def free_bytes(settings: Settings) -> dict[str, int]:
    """Room left on the disks of this machine that the service writes to, by what lies there."""
    found = {}
    for what, folder in _folders(settings):
        with contextlib.suppress(OSError):
            found[what] = shutil.disk_usage(folder).free
    return found


def _folders(settings: Settings) -> Iterator[tuple[str, Path]]:
    yield "data", settings.data_dir
    database = make_url(settings.resolved_database_url)
    file = Path(database.database or "")
    if database.get_backend_name() == "sqlite" and file.is_absolute():
        yield "database", file.parent
    blobs = urlsplit(settings.resolved_blob_url)
    if blobs.scheme == "file":
        yield "blobs", Path(url2pathname(blobs.path))


def unsigned_since(session: Session) -> datetime | None:
    """Time of the oldest event that no signed checkpoint covers; None where all are covered."""
    extent, signed, _ = tables.extent_and_latest_note(session)
    if (signed or 0) >= extent:
        return None
    first = trust_tables.time_of(session, signed or 0)
    return None if first is None else datetime.fromisoformat(first)


def _of_process(runtime: Runtime) -> Iterator[Figure]:
    pool = runtime.database.engine.pool
    if isinstance(pool, QueuePool):
        yield Figure(
            "linkage_database_pool_connections",
            "Connections to the database that this process holds, by state.",
            {"in_use": pool.checkedout(), "idle": pool.checkedin()},
            label="state",
        )
        yield Figure(
            "linkage_database_pool_limit",
            "The most connections to the database that this process opens.",
            {"": runtime.database.connections_max},
        )
    if free := free_bytes(runtime.settings):
        yield Figure("linkage_disk_free_bytes", "Room left on the disk.", free, label="what")


def _of_database(session: Session, runtime: Runtime, now: datetime) -> Iterator[Figure]:
    yield from _of_runs(session, now)
    yield from _of_ledger(session, runtime, now)
    counted = uploads.live_by_state(session)
    yield Figure(
        "linkage_uploads",
        "Uploads that are not deleted, by state.",
        {state: counted.get(state, (0, 0))[0] for state in uploads.LIVE},
        label="state",
    )
    yield Figure(
        "linkage_upload_bytes",
        "Declared size of uploads that are not deleted, by state.",
        {state: counted.get(state, (0, 0))[1] for state in uploads.LIVE},
        label="state",
    )
    found = due(session, now=now)
    held = sum(item.held is not None for item in found)
    yield Figure(
        "linkage_retention_overdue",
        "Things past their date that are not deleted: because of a hold, or late.",
        {"hold": held, "late": len(found) - held},
        label="why",
    )
    claim = retention.housekeeping(session, retention.SWEEP)
    if claim is not None and claim.done_at is not None:
        yield Figure(
            "linkage_retention_sweep_age_seconds",
            "How long ago the last sweep ended.",
            {"": (now - claim.done_at).total_seconds()},
        )
    yield Figure(
        "linkage_alarms",
        "Alarms that nobody has acknowledged, by kind.",
        alarm_tables.open_by_kind(session),
        label="kind",
    )


def _of_runs(session: Session, now: datetime) -> Iterator[Figure]:
    counted = runs.count_by_state(session)
    yield Figure(
        "linkage_runs", "Runs, by state.", {state: counted.get(state, 0) for state in _RUN_STATES}, label="state"
    )
    oldest = runs.oldest_queued(session)
    yield Figure(
        "linkage_queue_oldest_age_seconds",
        "How long the run at the head of the queue has been waiting; 0 where none waits.",
        {"": 0 if oldest is None else (now - oldest).total_seconds()},
    )
    yield Figure(
        "linkage_runs_lease_expired",
        "Runs whose worker has fallen silent and that no other has taken.",
        {"": runs.count_expired(session, now=now)},
    )
    yield Figure("linkage_workers", "Workers that were seen of late.", {"": presence.count(session, now=now)})
    seen = presence.newest(session)
    if seen is not None:
        yield Figure(
            "linkage_worker_seen_age_seconds",
            "How long ago any worker was seen.",
            {"": (now - seen).total_seconds()},
        )


def _of_ledger(session: Session, runtime: Runtime, now: datetime) -> Iterator[Figure]:
    extent, signed, _ = tables.extent_and_latest_note(session)
    yield Figure("linkage_ledger_size", "Events in the ledger.", {"": extent})
    yield Figure(
        "linkage_ledger_checkpoint_size", "Events that the newest signed checkpoint covers.", {"": signed or 0}
    )
    since = unsigned_since(session)
    yield Figure(
        "linkage_ledger_unsigned_age_seconds",
        "How long the oldest event has been waiting for a signed checkpoint; 0 where none waits.",
        {"": 0 if since is None else (now - since).total_seconds()},
    )
    policy = runtime.settings.witness_policy
    if policy.quorum:
        lack = lack_of_quorum(session, policy, now=now)
        yield Figure(
            "linkage_ledger_unwitnessed_age_seconds",
            "How long the oldest event has been waiting for enough witnesses; 0 where none waits.",
            {"": 0 if lack is None else (now - lack.since).total_seconds()},
        )
