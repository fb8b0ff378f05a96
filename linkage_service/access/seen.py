"""What counts once: proofs of possession (RFC 9449), and refusals that are in the ledger already.

In the database, so that it holds for every process of the service. A note is one row without a wait for the disk: after
a power cut the proofs of before are too old anyway.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, text
from sqlmodel import Field, Session, SQLModel, col

from linkage_service.database import Database, UtcDateTime


class SeenOnce(SQLModel, table=True):
    """One thing that was seen, by its digest only."""

    __tablename__ = "seen_once"

    digest: str = Field(primary_key=True)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)


@dataclass(frozen=True, slots=True)
class Note:
    """A thing that counts once.

    Attributes:
        digest: of what names it.
        expires_at: from when on it may be forgotten.
    """

    digest: str
    expires_at: datetime

    @classmethod
    def of(cls, *parts: str, expires_at: datetime) -> "Note":
        """The note of a thing that is named by these parts, the kind of thing first."""
        return cls(hashlib.sha256("\0".join(parts).encode()).hexdigest(), expires_at)

    @property
    def values(self) -> dict[str, Any]:
        """Of the statements' parameters."""
        return {"digest": self.digest, "expires_at": self.expires_at}


# Spelled out: every request with a proof waits for it, and an object of SQLModel takes three times as long to write.
NOTE = {
    dialect: text(f"INSERT INTO seen_once (digest, expires_at) {row} ON CONFLICT DO NOTHING").bindparams(
        bindparam("expires_at", type_=UtcDateTime)
    )
    for dialect, row in {
        "sqlite": "VALUES (:digest, :expires_at)",
        "postgresql": "SELECT :digest, :expires_at FROM set_config('synchronous_commit', 'off', true)",
    }.items()
}


def is_first(database: Database, note: Note) -> bool:
    """Notes a thing; gives whether it was not noted before."""
    return database.jot(NOTE, note.values) == 1


def forget(session: Session, *, before: datetime) -> None:
    """Forgets what has expired."""
    session.execute(delete(SeenOnce).where(col(SeenOnce.expires_at) < before))
