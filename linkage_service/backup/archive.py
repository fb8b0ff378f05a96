"""Makes a backup in a folder, and says whether one is whole.

    backup/
      manifest.json          what it is, where the ledger ended, and the SHA-256 of every file but the blobs
      tables/NAME.jsonl      rows of one table
      blobs.jsonl            path, size and SHA-256 of every blob
      blobs/…                blobs as they lie in the store: sealed under keys that the tables hold, wrapped
      keys.sealed            the service's keys under a passphrase, unless they were left out

Consistent without stopping anybody: blobs never change under their name, so first they are copied, then the database is
read in one snapshot, and then it is checked that every blob which the snapshot counts on was copied. One that came
meanwhile is copied; one that was deleted meanwhile means another snapshot.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlmodel import Session, select

from linkage_ledger.notes import VerifierKey
from linkage_service.audit import tables as audit
from linkage_service.audit.verify import verify as verify_ledger
from linkage_service.backup import rows, sealing
from linkage_service.database import Database
from linkage_service.errors import LinkageError
from linkage_service.migrate import current_revision, is_newer, newest_revision, revision_in, upgrade
from linkage_service.runs.tables import Run
from linkage_service.runtime import Runtime
from linkage_service.storage import BlobMissing, BlobStore
from linkage_service.uploads.service import blob_keys
from linkage_service.uploads.tables import LIVE, Upload

MANIFEST, BLOB_LIST, BLOBS, TABLES, KEYS = "manifest.json", "blobs.jsonl", "blobs", "tables", "keys.sealed"
ROOTS = ("uploads", "runs")
_SNAPSHOTS_MAX = 5


class BackupRefused(LinkageError):
    """A backup cannot be made, or is not whole, or cannot be put where it should go."""

    code = "backup_refused"
    status = 409
    title = "Not possible with this backup"


class Ledger(BaseModel):
    """Where the ledger ended, and by which key it is checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    root: str
    checkpoint: str
    verifier_key: str


class Manifest(BaseModel):
    """What a backup is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["linkage-backup/1"]
    made_at: datetime
    version: str
    revision: str
    ledger: Ledger
    rows: dict[str, int]
    blobs: int
    blob_bytes: int
    keys: Literal["sealed", "left_out"]
    key_encryption_key: Literal["keys", "settings"]
    files: dict[str, str]


class Blob(BaseModel):
    """A blob of a backup: where it lies in the store and below `blobs/`, and what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Segments that do not begin with a dot, so that none leads out.
    path: str = Field(pattern=r"^(uploads|runs)(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$")
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made: its manifest, and the SHA-256 of that, which stands for all of it."""

    manifest: Manifest
    digest: str


def create(runtime: Runtime, folder: Path, *, passphrase: str | None) -> Made:
    """Makes a backup in a new folder.

    Args:
        runtime: of the service.
        folder: is made; for its owner only.
        passphrase: seals the service's keys into it; None leaves them out.

    Raises:
        BackupRefused: the folder is there already, the database is of another release, or blobs are missing.
        StorageError: the blob store failed.
    """
    if folder.exists():
        raise BackupRefused("The folder is there already. Name a new one.")
    _must_be_of_this_release(current_revision(runtime.database.engine))
    if passphrase is not None:
        sealing.must_be_long(passphrase)
    runtime.log.checkpoint(runtime.database)
    folder.mkdir(mode=0o700, parents=True)
    (folder / TABLES).mkdir()
    files: dict[str, str] = {}
    snapshot = _consistent(runtime, folder)
    if passphrase is not None:
        files[KEYS] = _write(folder / KEYS, sealing.seal(snapshot.keys, passphrase))
    listed = list(_listed(folder, snapshot.paths))
    lines = b"".join(item.model_dump_json().encode() + b"\n" for item in listed)
    files[BLOB_LIST] = _write(folder / BLOB_LIST, lines)
    files |= {f"{TABLES}/{name}.jsonl": digest for name, (_, digest) in snapshot.tables.items()}
    manifest = Manifest(
        format="linkage-backup/1",
        made_at=runtime.clock(),
        version=version("linkage-service"),
        revision=newest_revision(),
        ledger=snapshot.ledger,
        rows={name: count for name, (count, _) in snapshot.tables.items()},
        blobs=len(listed),
        blob_bytes=sum(item.size for item in listed),
        keys="left_out" if passphrase is None else "sealed",
        key_encryption_key="keys" if runtime.settings.key_encryption_key is None else "settings",
        files=files,
    )
    # Last of all: a backup without a manifest was interrupted.
    digest = _write(folder / MANIFEST, manifest.model_dump_json(indent=2).encode())
    return Made(manifest, digest)


def verify(folder: Path, *, digest: str | None = None) -> Manifest:
    """Checks every byte of a backup, and that its ledger is whole, in a database of its own.

    Args:
        folder: of the backup.
        digest: of the manifest, as it was told when the backup was made.

    Raises:
        BackupRefused: says what is not as it was made.
    """
    manifest = checked(folder, digest=digest)
    if manifest.revision != newest_revision():
        # Its bytes are as they were made. What is in them, the release that made it can tell.
        return manifest
    with TemporaryDirectory() as temporary:
        database = Database(f"sqlite:///{Path(temporary) / 'linkage.db'}")
        try:
            upgrade(database.engine)
            load(database, folder, manifest)
            must_verify(database, manifest)
            with database.reading() as session:
                required, _ = _counted_on(session)
            absent = [path for path in required if not (folder / BLOBS / path).is_file()]
        finally:
            database.close()
    if absent:
        raise BackupRefused(f"{len(absent)} blobs that the database counts on are not in the backup.")
    return manifest


def checked(folder: Path, *, digest: str | None = None) -> Manifest:
    """The manifest, after every file was compared with it.

    Raises:
        BackupRefused: something is missing or changed.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
        manifest = Manifest.model_validate_json(raw)
    except (OSError, ValidationError) as error:
        raise BackupRefused("This is no backup, or one that was interrupted: it has no manifest of its own.") from error
    if digest is not None and hashlib.sha256(raw).hexdigest() != digest.lower():
        raise BackupRefused("The manifest is not the one of that digest: this is another backup, or it was changed.")
    names = (
        {f"{TABLES}/{table.name}.jsonl" for table in rows.tables()} if manifest.revision == newest_revision() else set()
    )
    if not names | {BLOB_LIST} <= manifest.files.keys() or (KEYS in manifest.files) != (manifest.keys == "sealed"):
        raise BackupRefused("The manifest does not name every file of a backup.")
    for name, known in manifest.files.items():
        if _sha256(folder, name) != known:
            raise BackupRefused(f"{name} is not as it was made: it was changed, or is missing.")
    for item in listed_blobs(folder):
        if _sha256(folder / BLOBS, item.path) != item.sha256:
            raise BackupRefused("A blob is not as it was copied: it was changed, or is missing.")
    return manifest


def load(database: Database, folder: Path, manifest: Manifest) -> None:
    """Puts every row back in one transaction, into a database that was just migrated."""
    with database.writing() as session:
        for table in rows.tables():
            count = rows.load(session, table, folder / TABLES / f"{table.name}.jsonl")
            if count != manifest.rows[table.name]:
                raise BackupRefused("A table has not as many rows as the manifest says.")


def must_verify(database: Database, manifest: Manifest) -> None:
    """Checks the ledger of a database against what the manifest says of it.

    Raises:
        BackupRefused: it is not what was backed up, or was damaged before.
    """
    key = VerifierKey.parse(manifest.ledger.verifier_key)
    report = verify_ledger(database, [key], expected_checkpoint=manifest.ledger.checkpoint)
    if not report.verified or report.size != manifest.ledger.size or report.root.hex() != manifest.ledger.root:
        raise BackupRefused(
            f"The ledger in this backup does not verify: {len(report.findings)} findings. Use another backup, and "
            "run `linkage-service audit verify` on the service that this one was made of."
        )


def listed_blobs(folder: Path) -> Iterator[Blob]:
    """Every blob of a backup.

    Raises:
        BackupRefused: a line names none, or one that lies elsewhere.
    """
    with (folder / BLOB_LIST).open("rb") as lines:
        for line in lines:
            try:
                yield Blob.model_validate_json(line, strict=True)
            except ValidationError as error:
                raise BackupRefused(f"{BLOB_LIST} has a line that names no blob of a backup.") from error


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What was read in one transaction: rows and digest by table, the ledger's end; blobs and keys that belong here."""

    tables: dict[str, tuple[int, str]]
    ledger: Ledger
    paths: frozenset[str]
    keys: Mapping[str, bytes] = field(repr=False)


def _consistent(runtime: Runtime, folder: Path) -> _Snapshot:
    copy = _copier(runtime.blobs, folder / BLOBS)
    for path in [path for root in ROOTS for path in runtime.blobs.list(root)]:
        copy(path)
    for _ in range(_SNAPSHOTS_MAX):
        keys = sealing.key_files(runtime.settings.resolved_keys_dir)
        with runtime.database.reading() as session:
            # Of the snapshot: an upgrade may have come since the backup began.
            _must_be_of_this_release(revision_in(session.connection()))
            found = {
                table.name: rows.write(session, table, folder / TABLES / f"{table.name}.jsonl")
                for table in rows.tables()
            }
            required, owners = _counted_on(session)
            ledger = _ledger(session, runtime)
        kept = [path for owner in owners if owner.startswith("runs/") for path in runtime.blobs.list(owner)]
        # Keys that were rotated meanwhile may open nothing of the snapshot, or the snapshot nothing with them.
        same = sealing.key_files(runtime.settings.resolved_keys_dir) == keys
        if same and all(copy(path) for path in [*required, *kept]):
            return _Snapshot(found, ledger, frozenset([*required, *kept]), keys)
    raise BackupRefused(
        "Blobs that the database counts on are not in the store, so no consistent backup can be made. If deletions or "
        "a rotation of keys were under way, try again; else some are lost: see `blob_missing` in the service's log."
    )


def _must_be_of_this_release(revision: str | None) -> None:
    """Refuses a schema on which this release may serve, but of which it would leave out what it does not know."""
    if is_newer(revision):
        raise BackupRefused(
            "The database was upgraded by a newer release, which has tables or columns that this one does not know. "
            "Make the backup with that release."
        )
    if revision != newest_revision():
        raise BackupRefused("The database is not at this release's schema. Run `linkage-service db upgrade` first.")


def _counted_on(session: Session) -> tuple[list[str], frozenset[str]]:
    """Paths of parts that the database counts on, and the folders of everything that has a key."""
    live = session.exec(select(Upload).where(Upload.data_key != None, Upload.state.in_(LIVE))).all()  # type: ignore[attr-defined]  # noqa: E711 - SQL
    runs = session.exec(select(Run.id).where(Run.data_key != None, Run.state == "succeeded")).all()  # noqa: E711 - SQL
    paths = [path for upload in live for path in blob_keys(session, upload.id)]
    return paths, frozenset([*(f"uploads/{upload.id}" for upload in live), *(f"runs/{run}" for run in runs)])


def _ledger(session: Session, runtime: Runtime) -> Ledger:
    head = audit.all_heads(session)[0]
    latest = audit.latest_checkpoint(session)
    if latest is None:
        raise BackupRefused("The ledger has no signed checkpoint yet. Start the service once, then back it up.")
    return Ledger(
        size=head.size,
        root=head.root.hex(),
        checkpoint=latest.note,
        verifier_key=runtime.log.verifier_in(session).format(),
    )


def _copier(blobs: BlobStore, target: Path) -> Callable[[str], bool]:
    """Copies a blob unless it is there; False where the store has none of that path."""

    def copy(path: str) -> bool:
        file = target / PurePosixPath(path)
        if file.exists():
            return True
        try:
            content = blobs.sealed_bytes(path)
        except BlobMissing:
            return False
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.new")
        temporary.write_bytes(content)
        temporary.replace(file)
        return True

    return copy


def _listed(folder: Path, belonging: frozenset[str]) -> Iterator[Blob]:
    """What was copied and belongs to the snapshot.

    The rest is removed. What has no key is noise, but a part from which a withdrawal cut rows after it was copied is
    not.
    """
    for root in ROOTS:
        for owner in sorted((folder / BLOBS / root).glob("*")):
            for file in sorted(path for path in owner.rglob("*") if path.is_file()):
                path = file.relative_to(folder / BLOBS).as_posix()
                if path not in belonging:
                    file.unlink()
                    continue
                with file.open("rb") as content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()
                yield Blob(path=path, size=file.stat().st_size, sha256=digest)
            if not any(path.is_file() for path in owner.rglob("*")):
                shutil.rmtree(owner)


def _write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    path.chmod(0o600)
    return hashlib.sha256(content).hexdigest()


def _sha256(folder: Path, name: str) -> str | None:
    """The digest of a file below a folder; None where there is none, or its name leads out of the folder."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        return None
    try:
        with (folder / parts).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
