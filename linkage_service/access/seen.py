"""What counts once: proofs of possession (RFC 9449), and refusals that are in the ledger already.

In the database, so that it holds for every process of the service. A note is one row without a wait for the disk: after
a power cut the proofs of before are too old anyway.
"""

import hashlib
from datetime import datetime

from sqlalchemy import bindparam, delete, text
from sqlmodel import Field, Session, SQLModel, col

from linkage_service.database import Database, UtcDateTime


class SeenOnce(SQLModel, table=True):
    """One thing that was seen, by its digest only."""

    __tablename__ = "seen_once"

    digest: str = Field(primary_key=True)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)


# Spelled out: every request with a proof waits for it, and an object of SQLModel takes three times as long to write.
_NOTE = {
    dialect: text(f"INSERT INTO seen_once (digest, expires_at) {row} ON CONFLICT DO NOTHING").bindparams(
        bindparam("expires_at", type_=UtcDateTime)
    )
    for dialect, row in {
        "sqlite": "VALUES (:digest, :expires_at)",
        "postgresql": "SELECT :digest, :expires_at FROM set_config('synchronous_commit', 'off', true)",
    }.items()
}


def is_first(database: Database, *parts: str, expires_at: datetime) -> bool:
    """Notes a thing; gives whether it was not noted before.

    Args:
        database: where it is noted.
        parts: what names it, the kind of thing first.
        expires_at: from when on it may be forgotten.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return database.jot(_NOTE, {"digest": digest, "expires_at": expires_at}) == 1


def forget(session: Session, *, before: datetime) -> None:
    """Forgets what has expired."""
    session.execute(delete(SeenOnce).where(col(SeenOnce.expires_at) < before))
