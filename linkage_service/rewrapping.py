"""Rotation of the key-encryption key: a new one wraps, everything is wrapped anew, then the former one is destroyed.

Data keys stay as they are, so no blob is read or written. Safe to kill and to run again: a former key opens what it
wrapped until `retire` has looked and found nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Table, select
from sqlmodel import Session, SQLModel

from linkage_service import service_keys
from linkage_service.errors import Conflict
from linkage_service.link_tables.tables import RecipientKey
from linkage_service.migrate import current_revision, is_newer
from linkage_service.people.reception import second_factor_context
from linkage_service.people.tables import Person
from linkage_service.runs.tables import Run
from linkage_service.runtime import Runtime
from linkage_service.storage import BlobStore
from linkage_service.uploads.tables import ProbeKey, Upload

_ROWS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """A column of wrapped keys, and how one is wrapped anew."""

    name: str
    model: type[SQLModel]
    column: str
    anew: Callable[[BlobStore, Any, bytes], bytes]


def _data_key(blobs: BlobStore, _: Any, wrapped: bytes) -> bytes:
    return blobs.rewrap(wrapped)


def _second_factor(blobs: BlobStore, row: Any, sealed: bytes) -> bytes:
    context = second_factor_context(row.id)
    return blobs.seal(blobs.unseal(sealed, context=context), context=context)


_KINDS = (
    _Wrapped("uploads", Upload, "data_key", _data_key),
    _Wrapped("runs", Run, "data_key", _data_key),
    _Wrapped("probe_keys", ProbeKey, "data_key", _data_key),
    _Wrapped("recipient_keys", RecipientKey, "data_key", _data_key),
    _Wrapped("second_factors", Person, "totp_sealed", _second_factor),
)


def rotate(runtime: Runtime) -> dict[str, int]:
    """Makes a new key, unless the settings give it, and wraps everything anew; gives how many of each kind.

    Raises:
        Conflict: another process is rotating a key.
        BlobTampered: something was wrapped under a key that is not there any more.
    """
    folder = runtime.settings.resolved_keys_dir
    with service_keys.rotating(folder):
        if runtime.settings.key_encryption_key is None:
            service_keys.renew_storage_key(folder)
        rewrapped = {kind.name: _wrap_anew(runtime, kind) for kind in _KINDS}
    # The old wrapping is worthless without the old key, and that may be in a backup.
    runtime.database.leave_no_trace()
    return rewrapped


def retire(runtime: Runtime) -> None:
    """Destroys the former keys.

    Raises:
        Conflict: something is wrapped under one still, or may be where this release does not look, or another process
            is rotating.
    """
    folder = runtime.settings.resolved_keys_dir
    if is_newer(current_revision(runtime.database.engine)):
        raise Conflict(
            "The database was upgraded by a newer release, which may keep wrapped keys where this one does not look. "
            "Retire the former keys with that release."
        )
    with service_keys.rotating(folder):
        with runtime.database.reading() as session:
            left = sum(len(_stale(session, runtime.blobs, kind, limit=None)) for kind in _KINDS)
        if left:
            raise Conflict(
                f"{left} keys are wrapped under a former key-encryption key still: a process wraps with an old copy of "
                "the keys folder, or a rotation was interrupted. Copy the folder to every machine, then run "
                "`linkage-service keys rotate` again."
            )
        service_keys.forget_former_storage_keys(folder)


def must_open(blobs: BlobStore, rows_of: Callable[[Table], Iterator[dict[str, Any]]]) -> None:
    """Opens everything that is wrapped or sealed, wherever its rows are.

    Args:
        blobs: has the keys.
        rows_of: gives the rows of a table, by the names of its columns.

    Raises:
        BlobTampered: something does not open with the keys at hand.
    """
    for kind in _KINDS:
        for row in rows_of(_table(kind)):
            if row[kind.column] is not None:
                kind.anew(blobs, SimpleNamespace(**row), row[kind.column])


def _wrap_anew(runtime: Runtime, kind: _Wrapped) -> int:
    table, count = _table(kind), 0
    while True:
        # A few at a time: writers take turns, and requests must not wait for all of them.
        with runtime.database.writing() as session:
            stale = _stale(session, runtime.blobs, kind, limit=_ROWS_AT_ONCE)
            for row in stale:
                same = [column == getattr(row, column.name) for column in table.primary_key.columns]
                wrapped = kind.anew(runtime.blobs, row, getattr(row, kind.column))
                session.execute(table.update().where(*same).values({kind.column: wrapped}))
        count += len(stale)
        if not stale:
            return count


def _stale(session: Session, blobs: BlobStore, kind: _Wrapped, *, limit: int | None) -> Sequence[Any]:
    """Rows whose key is not wrapped under the newest key."""
    table = _table(kind)
    column = table.c[kind.column]
    keys = session.execute(select(*table.primary_key.columns, column).where(column.is_not(None)))
    found = []
    for row in keys:
        if not blobs.is_newest(getattr(row, kind.column)):
            found.append(row)
            if len(found) == limit:
                break
    return found


def _table(kind: _Wrapped) -> Table:
    table: Table = kind.model.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    return table
