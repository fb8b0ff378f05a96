"""Keeps in the database which releases may serve on it, by the newest revision that each of them knows."""

from collections.abc import Collection

from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, delete, insert, inspect, select
from sqlmodel import Field, SQLModel, col


class ServingRevision(SQLModel, table=True):
    """A revision whose release may serve on the schema as it is."""

    __tablename__ = "serving_revision"

    revision: str = Field(primary_key=True)


def serving_at(scripts: ScriptDirectory, revision: str) -> list[str]:
    """The revisions whose releases may serve on the schema of one, newest first: by all that came after theirs.

    Raises:
        RuntimeError: a migration does not say it, or names neither itself nor one before it.
    """
    found: list[str] = []
    oldest: set[str] = set()
    line = list(scripts.iterate_revisions(revision, "base"))
    for place, script in enumerate(line):
        found.append(script.revision)
        oldest.add(_serves_from(script, {one.revision for one in line[place:]}))
        if script.revision in oldest:
            break
    return found


def keep(connection: Connection, scripts: ScriptDirectory, revision: str | None) -> None:
    """Notes what `serving_at` says, where there is a table for it; called in the transaction of the migrations."""
    if revision is None or not inspect(connection).has_table(ServingRevision.__tablename__):
        return
    connection.execute(delete(ServingRevision))
    connection.execute(insert(ServingRevision), [{"revision": one} for one in serving_at(scripts, revision)])


def may_serve(connection: Connection, revision: str) -> bool:
    """Whether the database says that the release of a revision may serve; a database of before 0013 names none."""
    if not inspect(connection).has_table(ServingRevision.__tablename__):
        return False
    query = select(ServingRevision).where(col(ServingRevision.revision) == revision)
    return connection.execute(query).first() is not None


def _serves_from(script: Script, before: Collection[str]) -> str:
    said: str | None = getattr(script.module, "serves_from", None)
    if said is None or said not in before:
        raise RuntimeError(
            f"Migration {script.revision} has to say with `serves_from` which releases may go on: the oldest revision "
            "of those, or its own for none."
        )
    return said
