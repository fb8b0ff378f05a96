"""Migrations make exactly the tables that the code uses, and can be taken back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect
from sqlmodel import SQLModel

from linkage_service.database import Database
from linkage_service.migrate import config_for, current_revision, is_current, newest_revision, upgrade


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    database = Database(f"sqlite:///{tmp_path / 'linkage.db'}")
    yield database.engine
    database.close()


def test_migrated_database_is_what_the_models_say(engine: Engine) -> None:
    assert current_revision(engine) is None
    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    assert is_current(engine)
    assert current_revision(engine) == newest_revision()


def test_migrations_taken_back_leave_nothing_and_can_be_made_again(engine: Engine) -> None:
    upgrade(engine)
    command.downgrade(config_for(engine), "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    assert not is_current(engine)
    upgrade(engine)
    assert is_current(engine)


def test_upgrade_of_a_current_database_changes_nothing(engine: Engine) -> None:
    upgrade(engine)
    upgrade(engine)
    assert is_current(engine)
