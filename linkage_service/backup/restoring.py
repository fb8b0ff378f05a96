"""Puts a backup where nothing is: keys, blobs, database, and then what should be deleted by now is deleted again.

A restored ledger is an older one. Clients and witnesses that saw more notice it, as they should; and a service that
goes on beside the one it was made of forks the ledger. Nothing here can prevent either, so the operator is told.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import select

from linkage_service import service_keys
from linkage_service.backup import archive, sealing
from linkage_service.backup.archive import BackupRefused
from linkage_service.clock import Clock, utc_now
from linkage_service.database import Database
from linkage_service.ids import new_id
from linkage_service.migrate import newest_revision, upgrade
from linkage_service.retention.service import Due, Kind, delete
from linkage_service.retention.sweep import Swept
from linkage_service.runs.tables import Run
from linkage_service.runtime import Runtime, build
from linkage_service.settings import Settings
from linkage_service.storage import BlobStore
from linkage_service.uploads.service import remove_blobs
from linkage_service.uploads.tables import Upload
from linkage_service.worker import sweeper_of

_DELETIONS: dict[str, Kind] = {"upload.deleted": "upload", "run.deleted": "run"}


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back, what was deleted again because it had been, and what the sweep then deleted."""

    manifest: archive.Manifest
    deleted_again: int
    swept: Swept | None


def restore(
    settings: Settings,
    folder: Path,
    *,
    passphrase: str | None,
    digest: str | None = None,
    deletions: Path | None = None,
    clock: Clock = utc_now,
) -> Restored:
    """Puts a backup back, checks its ledger, and deletes what should not be there any more.

    Args:
        settings: of the service to be; its database, blobs and keys have to be empty.
        folder: of the backup.
        passphrase: opens its keys; None where they were left out and lie in the keys folder.
        digest: of the manifest.
        clock: gives the time, by which things are past their date.
        deletions: an export of the ledger as JSON lines, from after the backup: what it says was deleted is deleted.

    Raises:
        BackupRefused: the backup is not whole, of another release, or the target is not empty.
        PassphraseWrong: its keys do not open.
    """
    manifest = archive.checked(folder, digest=digest)
    if manifest.revision != newest_revision():
        raise BackupRefused(
            f"This backup was made by version {manifest.version}, whose database is at {manifest.revision}. Install "
            "that version, restore, and upgrade then."
        )
    gone = list(_deleted(deletions)) if deletions else []
    files = _opened_keys(settings, folder, manifest, passphrase)
    # Blobs stay sealed as they are: no key is needed to put them back.
    blobs = BlobStore.from_url(settings.resolved_blob_url, key_encryption_keys=[bytes(32)])
    if any(blobs.list(root) for root in archive.ROOTS):
        raise BackupRefused("The blob store is not empty. Name another folder or bucket, or empty it.")
    database = Database(settings.resolved_database_url)
    try:
        _must_be_empty(database)
        if files:
            service_keys.put_back(settings.resolved_keys_dir, files)
        for item in archive.listed_blobs(folder):
            blobs.put_sealed_bytes(item["path"], (folder / archive.BLOBS / item["path"]).read_bytes())
        # Last of all: a restoration that was interrupted leaves no service that could be started.
        upgrade(database.engine)
        archive.load(database, folder, manifest)
        archive.must_verify(database, manifest)
    finally:
        database.close()
    runtime = build(settings, clock=clock)
    try:
        deleted = _delete_again(runtime, gone)
        swept = sweeper_of(runtime).sweep()
        runtime.log.checkpoint(runtime.database)
    finally:
        runtime.close()
    return Restored(manifest, deleted, swept)


def _opened_keys(
    settings: Settings, folder: Path, manifest: archive.Manifest, passphrase: str | None
) -> dict[str, bytes]:
    """The key files to put back; none where they lie in their place already."""
    keys = settings.resolved_keys_dir
    there = keys.is_dir() and any(keys.iterdir())
    if manifest.keys == "left_out":
        if not there:
            raise BackupRefused(
                "The keys were left out of this backup. Put the newest copy of the keys folder in its place first."
            )
        service_keys.load(keys)
        return {}
    if passphrase is None:
        raise BackupRefused("The keys in this backup are sealed. Give --passphrase-file.")
    if there:
        raise BackupRefused("The keys folder is not empty. Name another, or move what lies there away.")
    return sealing.unseal((folder / archive.KEYS).read_bytes(), passphrase)


def _must_be_empty(database: Database) -> None:
    try:
        names = inspect(database.engine).get_table_names()
    except SQLAlchemyError as error:
        raise BackupRefused("The database cannot be used. See to its address and its server.") from error
    if names:
        raise BackupRefused("The database is not empty. Name a new one: nothing is ever put over what is there.")


def _deleted(export: Path) -> Iterator[tuple[Kind, str]]:
    """What an export of the ledger says was deleted.

    Raises:
        BackupRefused: it is no such export.
    """
    try:
        for line in export.read_text("utf-8").splitlines():
            event = json.loads(line)
            header = event.get("header", event)
            kind = _DELETIONS.get(header["type"])
            if kind is not None and header["resource"].get("id"):
                yield kind, header["resource"]["id"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BackupRefused(
            "The file of deletions is no export of the ledger. Make one with `linkage-service audit export --format "
            "jsonl`, or download one with `linkage audit export`."
        ) from error


def _delete_again(runtime: Runtime, gone: Iterable[tuple[Kind, str]]) -> int:
    request_id, count = new_id("swp", runtime.clock()), 0
    for kind, name in gone:
        now = runtime.clock()
        with runtime.database.writing() as session:
            table = Upload if kind == "upload" else Run
            project = session.exec(select(table.project).where(table.id == name)).first()
            if project is None:
                continue
            due = Due(kind, name, project, now, "deleted_since_backup", held=None)
            done = delete(session, due, now=now, request_id=request_id)
            if done is None:
                continue
            session.flush()
            runtime.log.append(session, [done[0]])
        remove_blobs(runtime.blobs, done[1])
        count += 1
    return count
