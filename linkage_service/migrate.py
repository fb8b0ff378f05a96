"""Brings the database to the schema of this release, and says whether this release can serve on what is there."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError

import linkage_service.access.idempotency
import linkage_service.access.policy_texts
import linkage_service.access.seen
import linkage_service.agreements.tables
import linkage_service.audit.alarm_tables
import linkage_service.audit.tables
import linkage_service.keys.tables
import linkage_service.link_tables.tables
import linkage_service.organisations.tables
import linkage_service.people.tables
import linkage_service.projects.tables
import linkage_service.retention.tables
import linkage_service.rights.tables
import linkage_service.runs.presence
import linkage_service.runs.tables
import linkage_service.uploads.tables  # noqa: F401 - each import registers its tables
from linkage_service.errors import Conflict, NotReady
from linkage_service.migrations import serving

_MIGRATIONS = str(Path(__file__).parent / "migrations")
_RESTORING = "restoring"
LOCK_WAIT_MS = 3_000
"""How long a migration waits for a table that is read: everybody else who wants it waits as long."""


def config_for(engine: Engine) -> Config:
    """Alembic's configuration for an engine, without a file."""
    config = Config()
    config.set_main_option("script_location", _MIGRATIONS)
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine) -> None:
    """Runs every migration that is missing; none is where a newer release made the schema and this one may serve on it.

    Raises:
        Conflict: a restoration into this database did not finish, it is of a newer release and no longer for this, or
            somebody reads a table that is to be changed, and does not end.
    """
    if not pending(engine):
        return
    try:
        command.upgrade(config_for(engine), "head")
    except OperationalError as error:
        if "due to lock timeout" not in str(error):
            raise
        raise Conflict(
            "A table that is to be changed is in use for longer than requests may be kept waiting, by a backup for "
            "instance. Nothing was changed. Run it again, when no backup is being made."
        ) from error


def upgrade_to_restore(engine: Engine) -> None:
    """Makes the tables in an empty database, which is not current until `restored` says so, whatever kills it."""
    config = config_for(engine)
    config.attributes["last"] = lambda connection: _stamp(connection, _RESTORING)
    command.upgrade(config, "head")


def restored(engine: Engine) -> None:
    """Makes a database current that was restored and checked."""
    with engine.begin() as connection:
        _stamp(connection, newest_revision())


def drop_everything(engine: Engine) -> None:
    """Drops every table of a database, and what their triggers called: a restoration into it failed."""
    with engine.begin() as connection:
        functions: list[str] = []
        if connection.dialect.name == "postgresql":
            functions = list(
                connection.exec_driver_sql(
                    "SELECT DISTINCT t.tgfoid::regprocedure::text FROM pg_trigger t "
                    "JOIN pg_class c ON c.oid = t.tgrelid "
                    "WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace"
                ).scalars()
            )
        for name, _ in reversed(inspect(connection).get_sorted_table_and_fkc_names()):
            if name is not None:
                connection.exec_driver_sql(f'DROP TABLE "{name}"')
        for function in functions:
            connection.exec_driver_sql(f"DROP FUNCTION {function}")


def pending(engine: Engine) -> list[tuple[str, str]]:
    """What `upgrade` would do: revision and first line of each migration that is missing, oldest first.

    Raises:
        Conflict: the database is half restored, or of a newer release and no longer for this one.
    """
    current = current_revision(engine)
    _must_not_be_half_restored(current)
    if is_newer(current):
        if not can_serve(engine):
            raise Conflict(f"The database is at {current}. {_NOT_FOR_THIS_RELEASE}")
        return []
    missing = _scripts().iterate_revisions("head", current or "base")
    return [(script.revision, (script.doc or "").partition("\n")[0]) for script in reversed(list(missing))]


def current_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None for an empty one."""
    with engine.connect() as connection:
        return revision_in(connection)


def revision_in(connection: Connection) -> str | None:
    """The revision that a transaction sees; None in an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


@cache
def newest_revision() -> str:
    """The newest revision that this release knows; every question whether the service is ready asks for it."""
    newest = _scripts().get_current_head()
    if newest is None:
        raise RuntimeError("This release has no migrations.")
    return newest


def is_newer(revision: str | None) -> bool:
    """Whether it is the revision of a release that came after this one, which therefore does not know it."""
    return revision not in {None, _RESTORING, *(script.revision for script in _scripts().walk_revisions())}


def can_serve(engine: Engine) -> bool:
    """Whether this release can serve on the schema: its own, or one of a newer release that leaves room for it."""
    with engine.connect() as connection:
        current = revision_in(connection)
        return current not in {None, _RESTORING} and serving.may_serve(connection, newest_revision())


def must_serve(engine: Engine) -> None:
    """Refuses a schema that this release cannot serve on.

    Raises:
        NotReady: says what to do.
    """
    if can_serve(engine):
        return
    if is_newer(current_revision(engine)):
        raise NotReady(_NOT_FOR_THIS_RELEASE)
    raise NotReady("The database is not at this release's schema. Run `linkage-service db upgrade`, then start again.")


_NOT_FOR_THIS_RELEASE = (
    "This release does not know the database's schema: it was upgraded by a newer one, and earlier ones cannot serve "
    "on it any more. Install that release, or restore a backup of before."
)


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", _MIGRATIONS)
    return ScriptDirectory.from_config(config)


def _stamp(connection: Connection, revision: str | None) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def _must_not_be_half_restored(current: str | None) -> None:
    if current == _RESTORING:
        raise Conflict(
            "A restoration into this database did not finish, so what is in it was not checked. Empty the database, "
            "the blob store and the keys folder, and restore again."
        )
