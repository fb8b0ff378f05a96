"""Brings the database to the schema of this release, and says whether it is there."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

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


def config_for(engine: Engine) -> Config:
    """Alembic's configuration for an engine, without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine) -> None:
    """Runs every migration that is missing."""
    command.upgrade(config_for(engine), "head")


def pending(engine: Engine) -> list[tuple[str, str]]:
    """What `upgrade` would do: revision and first line of each migration that is missing, oldest first.

    Raises:
        Conflict: the database is of a release that this one does not know.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    scripts, current = ScriptDirectory.from_config(config), current_revision(engine)
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
