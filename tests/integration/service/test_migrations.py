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


def test_keys_of_clients_survive_the_way_to_several_keys_and_back(engine: Engine) -> None:
    command.upgrade(config_for(engine), "0002")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO organisation (id, name, kind, status, created_at) "
            "VALUES ('org_1', 'Council', 'partner', 'active', '2026-01-01 00:00:00.000000')"
        )
        connection.exec_driver_sql(
            "INSERT INTO client (id, organisation, name, roles, jwk, key_thumbprint, status, created_at) VALUES "
            """('cli_1', 'org_1', 'laptop', '[]', '{"x": "y"}', 'thumb', 'active', '2026-01-02 00:00:00.000000')"""
        )
    command.upgrade(config_for(engine), "0004")
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT thumbprint, client, jwk, status, registered_at FROM client_key"
        ).all()
    assert [tuple(row) for row in found] == [("thumb", "cli_1", '{"x": "y"}', "active", "2026-01-02 00:00:00.000000")]
    command.downgrade(config_for(engine), "0002")
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT id, jwk, key_thumbprint FROM client").all()
    assert [tuple(row) for row in found] == [("cli_1", '{"x": "y"}', "thumb")]
