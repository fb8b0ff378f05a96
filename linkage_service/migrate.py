"""Brings the database to the schema of this release, and says whether it is there."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

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
from linkage_service.errors import Conflict

_RESTORING = "restoring"


def config_for(engine: Engine) -> Config:
    """Alembic's configuration for an engine, without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine) -> None:
    """Runs every migration that is missing.

    Raises:
        Conflict: a restoration into this database did not finish.
    """
    _must_not_be_half_restored(current_revision(engine))
    command.upgrade(config_for(engine), "head")


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
        Conflict: the database is of a release that this one does not know, or half restored.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    scripts, current = ScriptDirectory.from_config(config), current_revision(engine)
    _must_not_be_half_restored(current)
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise Conflict(
            f"The database is at {current}, which this release does not know: it was upgraded by a newer one. Install "
            "that release, or restore a backup of before."
        )
    missing = scripts.iterate_revisions("head", current or "base")
    return [(script.revision, (script.doc or "").partition("\n")[0]) for script in reversed(list(missing))]


def current_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


@cache
def newest_revision() -> str | None:
    """The revision that this release needs; every question whether the service is ready asks for it."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return ScriptDirectory.from_config(config).get_current_head()


def is_current(engine: Engine) -> bool:
    """Whether the database has the schema of this release."""
    return current_revision(engine) == newest_revision()


def _stamp(connection: Connection, revision: str | None) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def _must_not_be_half_restored(current: str | None) -> None:
    if current == _RESTORING:
        raise Conflict(
            "A restoration into this database did not finish, so what is in it was not checked. Empty the database, "
            "the blob store and the keys folder, and restore again."
        )
