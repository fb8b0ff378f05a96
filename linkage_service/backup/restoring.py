"""Puts a backup where nothing is: keys, blobs, database, and then what should be deleted by now is deleted again.

A restored ledger is an older one. Clients and witnesses that saw more notice it, as they should; and a service that
goes on beside the one it was made of forks the ledger. Nothing here can prevent either, so the operator is told.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import select

from linkage_service import rewrapping, service_keys
from linkage_service.backup import archive, rows, sealing
from linkage_service.backup.archive import BackupRefused
from linkage_service.clock import Clock, utc_now
from linkage_service.database import Database
from linkage_service.ids import new_id
from linkage_service.migrate import drop_everything, newest_revision, restored, upgrade_to_restore
from linkage_service.retention.service import Due, Kind, delete
from linkage_service.retention.sweep import Swept
from linkage_service.runs.tables import Run
from linkage_service.runtime import Runtime, build, key_encryption_keys
from linkage_service.settings import Settings
from linkage_service.storage import BlobStore, BlobTampered
from linkage_service.uploads.service import remove_blobs
from linkage_service.uploads.tables import Upload
from linkage_service.worker import sweeper_of

_DELETIONS: dict[str, Kind] = {"upload.deleted": "upload", "run.deleted": "run"}


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back, and what of it was deleted again.

    Attributes:
        manifest: of the backup.
        deleted_again: how many uploads and runs that the export names.
        held: ids of those that were left, because a hold keeps them that stood when the backup was made.
        unfinished: ids of runs that were left, because they had not ended when the backup was made and go on.
        swept: what was past its date; None if the lease of a sweep from then has not run out, so nothing was deleted.
    """

    manifest: archive.Manifest
    deleted_again: int
    held: Sequence[str]
    unfinished: Sequence[str]
    swept: Swept | None

    @property
    def deleted_everything(self) -> bool:
        """Whether nothing is left that should be deleted by now."""
        return not self.held and not self.unfinished and self.swept is not None


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

    Whatever fails, the target is emptied again. Killed, it leaves a database that no service starts on.

    Args:
        settings: of the service to be; its database, blobs and keys have to be empty.
        folder: of the backup.
        passphrase: opens its keys; None where they were left out and lie in the keys folder.
        digest: of the manifest.
        clock: gives the time, by which things are past their date.
        deletions: an export of the ledger as JSON lines, from after the backup: what it says was deleted is deleted.

    Raises:
        BackupRefused: the backup is not whole, of another release or of other keys, or the target is not empty.
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
    with closing(Database(settings.resolved_database_url)) as database, ExitStack() as undoing:
        _must_be_empty(database)
        if files:
            undoing.callback(_remove_keys, settings, files)
            service_keys.put_back(settings.resolved_keys_dir, files)
        _must_be_its_keys(settings, folder, manifest)
        for root in archive.ROOTS:
            undoing.callback(blobs.delete_prefix, root)
        for item in archive.listed_blobs(folder):
            blobs.put_sealed_bytes(item.path, (folder / archive.BLOBS / item.path).read_bytes())
        undoing.callback(_empty, database)
        # Not current until the end: a service that starts on half a ledger would sign another one with the same key.
        upgrade_to_restore(database.engine)
        archive.load(database, folder, manifest)
        archive.must_verify(database, manifest)
        with closing(build(settings, clock=clock)) as runtime:
            again = _delete_again(runtime, gone)
            swept = sweeper_of(runtime).sweep()
            runtime.log.checkpoint(runtime.database)
        restored(database.engine)
        undoing.pop_all()
    return Restored(manifest, again.deleted, again.held, again.unfinished, swept)


def _remove_keys(settings: Settings, names: Iterable[str]) -> None:
    for name in names:
        (settings.resolved_keys_dir / name).unlink(missing_ok=True)


def _empty(database: Database) -> None:
    drop_everything(database.engine)
    database.leave_no_trace()


def _opened_keys(
    settings: Settings, folder: Path, manifest: archive.Manifest, passphrase: str | None
) -> dict[str, bytes]:
    """The key files to put back; none where they lie in their place already."""
    keys = settings.resolved_keys_dir
    there = keys.is_dir() and any(keys.iterdir())
    if manifest.keys == "left_out":
        if not there:
            raise BackupRefused(
                "The keys were left out of this backup. Put the copy of the keys folder of its time in its place first."
            )
        service_keys.load(keys)
        return {}
    if passphrase is None:
        raise BackupRefused("The keys in this backup are sealed. Give --passphrase-file.")
    if there:
        raise BackupRefused("The keys folder is not empty. Name another, or move what lies there away.")
    return sealing.unseal((folder / archive.KEYS).read_bytes(), passphrase)


def _must_be_its_keys(settings: Settings, folder: Path, manifest: archive.Manifest) -> None:
    """Refuses keys that would leave a service which opens nothing, or cannot go on with its ledger."""
    keys = settings.resolved_keys_dir
    if manifest.ledger.verifier_key not in [key.verifier.format() for key in service_keys.log_keys(keys)]:
        raise BackupRefused(
            f"log.key is not the key that spoke for the ledger when this backup was made. {_KEYS_OF_THE_BACKUP}"
        )
    blobs = BlobStore.from_url(settings.resolved_blob_url, key_encryption_keys=partial(key_encryption_keys, settings))
    try:
        rewrapping.must_open(blobs, lambda table: rows.read(table, folder / archive.TABLES / f"{table.name}.jsonl"))
    except BlobTampered as error:
        raise BackupRefused(
            "The key-encryption keys at hand do not open everything in this backup: they are of before it, or were "
            f"rotated after it, and the former ones destroyed. {_KEYS_OF_THE_BACKUP}"
        ) from error


_KEYS_OF_THE_BACKUP = (
    "Use the copy of the keys folder that was in use then: the last one that was made before the backup, after "
    "whichever key was rotated last before it."
)


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


@dataclass(slots=True)
class _Again:
    deleted: int = 0
    held: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


def _delete_again(runtime: Runtime, gone: Iterable[tuple[Kind, str]]) -> _Again:
    request_id, again = new_id("swp", runtime.clock()), _Again()
    for kind, name in gone:
        now = runtime.clock()
        with runtime.database.writing() as session:
            table = Upload if kind == "upload" else Run
            found = session.exec(select(table.project, table.state).where(table.id == name)).first()
            if found is None:
                continue
            project, state = found
            due = Due(kind, name, project, now, "deleted_since_backup", held=None)
            done = delete(session, due, now=now, request_id=request_id)
            if done is None:
                if kind == "run" and state in ("queued", "running"):
                    again.unfinished.append(name)
                elif state == "succeeded" or (kind == "upload" and state != "deleted"):
                    again.held.append(name)
                continue
            session.flush()
            runtime.log.append(session, [done[0]])
        remove_blobs(runtime.blobs, done[1])
        again.deleted += 1
    return again
