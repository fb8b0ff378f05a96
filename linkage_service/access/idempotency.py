"""Answers kept for a while under the caller's Idempotency-Key, in the same transaction as the change they report."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi import Response
from pydantic import BaseModel
from sqlalchemy import Column, LargeBinary, delete
from sqlmodel import Field, Session, SQLModel, col

from linkage_service.database import UtcDateTime
from linkage_service.errors import Invalid

_KEPT = timedelta(days=1)


class IdempotencyRecord(SQLModel, table=True):
    """One answer."""

    __tablename__ = "idempotency_record"

    client: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    status: int
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    location: str | None
    created_at: datetime = Field(sa_type=UtcDateTime, index=True)


@dataclass(frozen=True, slots=True)
class Key:
    """A key, whose it is, and the digest of the request it belongs to."""

    client: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer to give again."""

    status: int
    body: bytes
    headers: dict[str, str]


def fingerprint(route: str, body: BaseModel | None) -> str:
    """The digest of a request that a key is bound to.

    Raises:
        Invalid: the body is nested too deep to be written down.
    """
    try:
        content = json.dumps([route, body.model_dump(mode="json") if body else None], sort_keys=True)
    except (ValueError, RecursionError) as error:
        raise Invalid("The body is nested too deep. Send it in a flatter form.", code="too_deep") from error
    return hashlib.sha256(content.encode()).hexdigest()


def find(session: Session, key: Key) -> Kept | None:
    """The answer kept under this key.

    Raises:
        Invalid: the key was used for another request.
    """
    record = session.get(IdempotencyRecord, (key.client, key.key))
    if record is None:
        return None
    if record.fingerprint != key.fingerprint:
        raise Invalid(
            "This Idempotency-Key was used for another request. Use a new key for a new request.",
            code="idempotency_key_reused",
        )
    headers = {"Location": record.location} if record.location else {}
    return Kept(status=record.status, body=record.body, headers=headers)


def forget(session: Session, *, now: datetime) -> None:
    """Lets go of answers that are older than a day."""
    session.execute(delete(IdempotencyRecord).where(col(IdempotencyRecord.created_at) < now - _KEPT))


def keep(session: Session, key: Key, response: Response, *, now: datetime) -> None:
    """Keeps an answer, and lets go of those that are older than a day."""
    forget(session, now=now)
    session.add(
        IdempotencyRecord(
            client=key.client,
            key=key.key,
            fingerprint=key.fingerprint,
            status=response.status_code,
            body=bytes(response.body),
            location=response.headers.get("Location"),
            created_at=now,
        )
    )
