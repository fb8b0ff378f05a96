"""Migrations make exactly the tables that the code uses, and can be taken back."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DatabaseError
from sqlmodel import SQLModel

from linkage_ledger import events, merkle
from linkage_service.database import Database
from linkage_service.migrate import config_for, current_revision, is_current, newest_revision, upgrade
from support.databases import Kind, empty_database, on_each_database
from support.ledger_logs import make_header

pytestmark = on_each_database


@pytest.fixture
def engine(request: pytest.FixtureRequest, database_kind: Kind, tmp_path: Path) -> Iterator[Engine]:
    """An engine of a database without tables."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'linkage.db'}"
        if database_kind == "postgresql":
            url = stack.enter_context(empty_database(request.getfixturevalue("postgresql")))
        database = Database(url)
        stack.callback(database.close)
        yield database.engine


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
            "SELECT thumbprint, client, CAST(jwk AS TEXT), status, CAST(registered_at AS TEXT) FROM client_key"
        ).all()
    *kept, registered_at = found[0]
    assert (len(found), kept) == (1, ["thumb", "cli_1", '{"x": "y"}', "active"])
    assert registered_at.startswith("2026-01-02 00:00:00")
    command.downgrade(config_for(engine), "0002")
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT id, CAST(jwk AS TEXT), key_thumbprint FROM client").all()
    assert [tuple(row) for row in found] == [("cli_1", '{"x": "y"}', "thumb")]


def test_hand_overs_are_not_dropped_on_the_way_back(engine: Engine) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO audit_handover (size, note) VALUES (1, 'note')")
    with pytest.raises(RuntimeError, match="key was handed over"):
        command.downgrade(config_for(engine), "0008")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT note FROM audit_handover").scalar_one() == "note"


def test_copies_of_events_of_before_are_filled_from_their_headers(engine: Engine) -> None:
    command.upgrade(config_for(engine), "0007")
    header = make_header(0)
    decision = events.Decision(effect="deny", policies=("G5-tier", "G2-hours"), policy_digest="a", entities_digest="b")
    added = ("agreement_version", "elements")
    with engine.begin() as connection:
        for seq, written in enumerate((header, replace(header, decision=decision), make_header(0, full=False))):
            encoded = events.encode(written)
            row = {"seq": seq, "header": encoded, "leaf_hash": merkle.leaf_hash(encoded), **events.indexed(written)}
            row = {name: value for name, value in row.items() if name not in added}
            names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO audit_event ({names}) VALUES ({values})"), row)  # noqa: S608 - names of ours
    upgrade(engine)
    with engine.begin() as connection:
        found = connection.exec_driver_sql("SELECT agreement_version, elements FROM audit_event ORDER BY seq").all()
        keys = connection.exec_driver_sql("SELECT thumbprint FROM audit_known_key").scalars().all()
    assert [tuple(row) for row in found] == [("1", None), ("1", "25"), (None, None)]
    assert keys == ["thumb"]
    with engine.begin() as connection, pytest.raises(DatabaseError, match="cannot be changed"):
        connection.exec_driver_sql("UPDATE audit_event SET elements = NULL")
