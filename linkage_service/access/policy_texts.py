"""Every policy text that ever decided here, by digest, so that an old decision can be made again after an upgrade."""

from datetime import datetime

from sqlmodel import Field, Session, SQLModel

from linkage_service.access.decide import PolicyText
from linkage_service.database import Database, UtcDateTime


class KnownPolicy(SQLModel, table=True):
    """One policy text with its schema."""

    __tablename__ = "known_policy"

    digest: str = Field(primary_key=True)
    policies: str
    schema_text: str
    first_used_at: datetime = Field(sa_type=UtcDateTime)


def remember(database: Database, text: PolicyText, *, now: datetime) -> None:
    """Keeps a text that is about to decide, unless it is kept already."""
    with database.reading() as session:
        if session.get(KnownPolicy, text.digest) is not None:
            return
    with database.writing() as session:
        if session.get(KnownPolicy, text.digest) is None:
            session.add(
                KnownPolicy(digest=text.digest, policies=text.policies, schema_text=text.schema, first_used_at=now)
            )


def recall(session: Session, digest: str) -> PolicyText | None:
    """The text of a digest; None for one that never decided here, or that was changed since."""
    found = session.get(KnownPolicy, digest)
    text = PolicyText(found.policies, found.schema_text) if found else None
    return text if text and text.digest == digest else None
