"""Organisations, clients with their keys, invitations and used assertions, with every query on them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import JSON, Column, bindparam, delete
from sqlalchemy import select as sa_select
from sqlmodel import Field, Session, SQLModel, col, select

from linkage_service.access.seen import NOTE, Note, is_first
from linkage_service.database import Database, UtcDateTime, in_words_of_server


class Organisation(SQLModel, table=True):
    """A legal body."""

    __tablename__ = "organisation"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    kind: str
    status: str
    signing_key: dict[str, str] | None = Field(sa_column=Column(JSON, nullable=True))
    signing_key_thumbprint: str | None
    assurance: str = "none"
    assurance_expires: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)
    tokens_from: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)
    created_at: datetime = Field(sa_type=UtcDateTime)


class Client(SQLModel, table=True):
    """A machine of an organisation, known by its public keys."""

    __tablename__ = "client"

    id: str = Field(primary_key=True)
    organisation: str = Field(foreign_key="organisation.id", index=True)
    name: str
    roles: list[str] = Field(sa_column=Column(JSON, nullable=False))
    status: str
    tokens_from: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)
    created_at: datetime = Field(sa_type=UtcDateTime)


class ClientKey(SQLModel, table=True):
    """A public key of a client. It stays when it is revoked, so that it is never registered again."""

    __tablename__ = "client_key"

    thumbprint: str = Field(primary_key=True)
    client: str = Field(foreign_key="client.id", index=True)
    jwk: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    status: str
    registered_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)


class Invitation(SQLModel, table=True):
    """A single-use right to register an organisation's keys; only the digest of its token is kept."""

    __tablename__ = "invitation"

    token_digest: str = Field(primary_key=True)
    organisation: str = Field(foreign_key="organisation.id", index=True)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class UsedAssertion(SQLModel, table=True):
    """A client assertion that was used, kept until it would expire anyway."""

    __tablename__ = "used_assertion"

    client: str = Field(primary_key=True)
    token_id_digest: str = Field(primary_key=True)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)


_CLIENT, _KEY, _ORGANISATION = (SQLModel.metadata.tables[name] for name in ("client", "client_key", "organisation"))


def organisation(session: Session, organisation_id: str) -> Organisation | None:
    """One organisation."""
    return session.get(Organisation, organisation_id)


def organisation_named(session: Session, name: str) -> Organisation | None:
    """One organisation by its exact name."""
    return session.exec(select(Organisation).where(Organisation.name == name)).first()


def linkage_unit(session: Session) -> Organisation | None:
    """The organisation that runs the service."""
    return session.exec(select(Organisation).where(Organisation.kind == "linkage_unit")).first()


def organisations(session: Session, ids: Sequence[str]) -> dict[str, Organisation]:
    """Organisations by id; those that do not exist are absent."""
    found = session.exec(select(Organisation).where(col(Organisation.id).in_(list(ids))))
    return {item.id: item for item in found}


def organisations_page(session: Session, *, after: str, limit: int) -> Sequence[Organisation]:
    """Organisations by id, oldest first."""
    query = select(Organisation).where(Organisation.id > after).order_by(col(Organisation.id)).limit(limit)
    return session.exec(query).all()


def client(session: Session, client_id: str) -> Client | None:
    """One client."""
    return session.get(Client, client_id)


@dataclass(frozen=True, slots=True)
class ClientOnKey:
    """What is to be known of a client that calls with one of its keys, and of its organisation."""

    organisation: str
    roles: list[str]
    status: str
    tokens_from: datetime | None
    key_status: str
    registered_at: datetime
    kind: str
    organisation_status: str
    assurance: str
    assurance_expires: datetime | None
    organisation_tokens_from: datetime | None


# Made once, of columns alone: every request asks.
_ON_KEY = (
    sa_select(
        _CLIENT.c.organisation, _CLIENT.c.roles, _CLIENT.c.status, _CLIENT.c.tokens_from,
        _KEY.c.status, _KEY.c.registered_at,
        _ORGANISATION.c.kind, _ORGANISATION.c.status, _ORGANISATION.c.assurance, _ORGANISATION.c.assurance_expires,
        _ORGANISATION.c.tokens_from,
    )
    .select_from(_CLIENT)
    .join(_KEY, _KEY.c.client == _CLIENT.c.id)
    .join(_ORGANISATION, _ORGANISATION.c.id == _CLIENT.c.organisation)
    .where(_CLIENT.c.id == bindparam("client"), _KEY.c.thumbprint == bindparam("key"))
)  # fmt: skip


# What a server does of a note and this in one. A way there and back for each would be a tenth of what a request costs.
_NOTED_ON_KEY = (
    f"WITH noted AS ({in_words_of_server(NOTE['postgresql'])} RETURNING 1) "  # noqa: S608 - statements of this release
    f"SELECT (SELECT count(*) FROM noted), found.* FROM (VALUES (1)) AS here LEFT JOIN "
    f"({in_words_of_server(_ON_KEY)}) AS found ON true"
)


def client_on_key(
    database: Database, client_id: str, thumbprint: str, *, note: Note | None = None
) -> tuple[ClientOnKey | None, bool]:
    """One client with one of its own keys, and its organisation; and whether what it shows is shown for the first time.

    Args:
        database: where it is registered.
        client_id: which.
        thumbprint: of the key.
        note: of what it shows, noted by this.
    """
    named = {"client": client_id, "key": thumbprint}
    if note is not None and database.is_server:
        both = database.look_straight(_NOTED_ON_KEY, named | note.values)
        first, *columns = both or (0, None)
        return None if columns[0] is None else ClientOnKey(*columns), first == 1
    is_new = note is None or is_first(database, note)
    found = database.look(_ON_KEY, named)
    return None if found is None else ClientOnKey(*cast("tuple[Any, ...]", found)), is_new


def lock_client(session: Session, row: Client) -> None:
    """Holds a client until the end of the transaction, so that its keys are counted by one request at a time."""
    session.refresh(row, with_for_update=True)


def client_key(session: Session, thumbprint: str) -> ClientKey | None:
    """One key of any client."""
    return session.get(ClientKey, thumbprint)


def keys_of(session: Session, client_ids: Sequence[str]) -> dict[str, list[ClientKey]]:
    """Keys of clients by client, revoked ones included, oldest first."""
    query = select(ClientKey).where(col(ClientKey.client).in_(list(client_ids)))
    found: dict[str, list[ClientKey]] = defaultdict(list)
    ordered = query.order_by(col(ClientKey.registered_at), col(ClientKey.thumbprint))
    for key in session.exec(ordered, execution_options={"populate_existing": True}):
        found[key.client].append(key)
    return found


def signing_key_is_used(session: Session, thumbprint: str) -> bool:
    """Whether an organisation signs with this key."""
    query = select(Organisation.id).where(Organisation.signing_key_thumbprint == thumbprint)
    return session.exec(query).first() is not None


def clients_page(session: Session, *, organisation_id: str, after: str, limit: int) -> Sequence[Client]:
    """Clients of one organisation by id, oldest first."""
    query = select(Client).where(Client.organisation == organisation_id, Client.id > after)
    return session.exec(query.order_by(col(Client.id)).limit(limit)).all()


def clients_of(session: Session, organisation_id: str) -> Sequence[Client]:
    """Every client of an organisation."""
    return session.exec(select(Client).where(Client.organisation == organisation_id)).all()


def invitation(session: Session, token_digest: str) -> Invitation | None:
    """The invitation with this token."""
    return session.get(Invitation, token_digest)


def delete_invitations(session: Session, organisation_id: str) -> None:
    """Withdraws every invitation of an organisation."""
    session.execute(delete(Invitation).where(col(Invitation.organisation) == organisation_id))


def assertion_was_used(session: Session, *, client_id: str, token_id_digest: str) -> bool:
    """Whether a client already used this assertion."""
    return session.get(UsedAssertion, (client_id, token_id_digest)) is not None


def forget_assertions(session: Session, *, before: datetime) -> None:
    """Forgets used assertions that have expired."""
    session.execute(delete(UsedAssertion).where(col(UsedAssertion.expires_at) < before))
