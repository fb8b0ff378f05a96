"""Migrations make exactly the tables that the code uses, and can be taken back."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DatabaseError
from sqlmodel import SQLModel

from linkage_ledger import events, merkle
from linkage_service.database import Database
from linkage_service.errors import Conflict, NotReady
from linkage_service.migrate import (
    can_serve,
    config_for,
    current_revision,
    must_serve,
    newest_revision,
    pending,
    restored,
    upgrade,
    upgrade_to_restore,
)
from support import releases
from support.databases import Kind, empty_database, on_each_database
from support.ledger_logs import make_header
from support.releases import ADDS, BREAKS

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
    assert can_serve(engine)
    assert current_revision(engine) == newest_revision()


def test_migrations_taken_back_leave_nothing_and_can_be_made_again(engine: Engine) -> None:
    upgrade(engine)
    command.downgrade(config_for(engine), "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    assert not can_serve(engine)
    upgrade(engine)
    assert can_serve(engine)


def test_upgrade_of_a_current_database_changes_nothing(engine: Engine) -> None:
    upgrade(engine)
    upgrade(engine)
    assert can_serve(engine)


def _move(engine: Engine, scripts: Path, *, to: str) -> None:
    """What `db upgrade` of a later release does, or its way back."""
    config = config_for(engine)
    config.set_main_option("script_location", str(scripts))
    current = current_revision(engine) or ""
    (command.upgrade if current < to else command.downgrade)(config, to)


def _serving(engine: Engine) -> list[object]:
    return [name for (name,) in _all(engine, "SELECT revision FROM serving_revision ORDER BY revision")]


def test_release_serves_on_the_schema_of_a_later_one_that_only_adds(engine: Engine, tmp_path: Path) -> None:
    upgrade(engine)
    assert (_serving(engine)[-1], can_serve(engine)) == (newest_revision(), True)
    _move(engine, releases.migrations_of(tmp_path / "later", ADDS), to=ADDS.revision)
    assert _serving(engine)[-2:] == [newest_revision(), ADDS.revision]
    assert (can_serve(engine), current_revision(engine)) == (True, ADDS.revision)
    # Installed again, a release leaves the schema of the later one as it is.
    assert pending(engine) == []
    upgrade(engine)
    assert current_revision(engine) == ADDS.revision


def test_release_serves_no_longer_once_a_later_one_breaks_it_and_again_after_the_way_back(
    engine: Engine, tmp_path: Path
) -> None:
    upgrade(engine)
    scripts = releases.migrations_of(tmp_path / "later", ADDS, BREAKS)
    _move(engine, scripts, to=BREAKS.revision)
    assert (_serving(engine), can_serve(engine)) == ([BREAKS.revision], False)
    with pytest.raises(NotReady, match="upgraded by a newer one"):
        must_serve(engine)
    for act in (pending, upgrade):
        with pytest.raises(Conflict, match="Install that release"):
            act(engine)
    _move(engine, scripts, to=ADDS.revision)
    assert (_serving(engine)[-1], can_serve(engine)) == (ADDS.revision, True)
    _move(engine, scripts, to=newest_revision())
    assert (_serving(engine)[-1], current_revision(engine)) == (newest_revision(),) * 2


def test_schema_of_before_this_release_is_refused(engine: Engine) -> None:
    assert not can_serve(engine)
    for revision in ("0012", "0013"):
        command.upgrade(config_for(engine), revision)
        assert can_serve(engine) == (revision == newest_revision())
    command.downgrade(config_for(engine), "0012")
    with pytest.raises(NotReady, match="db upgrade"):
        must_serve(engine)


def test_half_restored_schema_is_refused_though_it_names_the_release(engine: Engine) -> None:
    upgrade_to_restore(engine)
    assert newest_revision() in _serving(engine)
    assert not can_serve(engine)
    restored(engine)
    assert can_serve(engine)


def test_migration_that_does_not_say_who_may_serve_is_not_made(engine: Engine, tmp_path: Path) -> None:
    upgrade(engine)
    scripts = releases.migrations_of(tmp_path / "later", ADDS)
    (file,) = (scripts / "versions").glob(f"{ADDS.revision}_*")
    file.write_text(file.read_text("utf-8").replace("serves_from", "forgotten"), "utf-8")
    with pytest.raises(RuntimeError, match=f"{ADDS.revision} has to say"):
        _move(engine, scripts, to=ADDS.revision)
    assert can_serve(engine)
    assert "colour" not in {column["name"] for column in inspect(engine).get_columns("upload")}


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


def _before(engine: Engine, revision: str) -> str:
    found = ScriptDirectory.from_config(config_for(engine)).get_revision(revision)
    assert isinstance(found.down_revision, str)
    return found.down_revision


def _project_of_before(engine: Engine) -> None:
    """A project with an upload, under the first of two versions of its agreement, as releases before epochs made it."""
    command.upgrade(config_for(engine), _before(engine, "0010"))
    parties = [("org_1", ["provider"]), ("org_2", ["provider", "recipient"]), ("org_3", ["recipient"])]
    document = {"recipients": {"parties": [{"organisation": one, "roles": roles} for one, roles in parties]}}
    amended = {"recipients": {"parties": [{"organisation": "org_3", "roles": ["provider"]}]}}
    at = "2026-01-02 00:00:00.000000"
    rows: list[tuple[str, dict[str, Any]]] = [
        ("organisation", {"id": one, "name": one, "kind": "partner", "status": "active", "created_at": at})
        for one, _ in parties
    ]
    rows += [
        ("agreement", {"id": "agr_1", "reference": "ISP", "state": "active", "version": 2, "created_at": at}),
        *(
            (
                "agreement_version",
                {"agreement": "agr_1", "version": number, "digest": "d", "document": json.dumps(said), "state": state,
                 "created_at": at},
            )
            for number, said, state in ((1, document, "superseded"), (2, amended, "active"))
        ),
        *(
            (
                "project",
                {"id": project, "name": "Round", "agreement": "agr_1", "agreement_version": 1, "purpose": "p",
                 "state": "open", "linkage_schema": "{}", "linkage_schema_sha256": "s", "bits": 256, "key_epoch": 1,
                 "created_at": at},
            )
            for project in ("prj_1", "prj_2")
        ),
        (
            "upload",
            {"id": "upl_1", "project": "prj_1", "organisation": "org_1", "state": "complete", "manifest": "{}",
             "count": 1, "bits": 256, "size_bytes": 32, "sha256": "s", "check_value": "c", "part_size_bytes": 32,
             "parts_expected": 1, "created_at": at, "delete_by": at},
        ),
    ]  # fmt: skip
    opened = replace(
        make_header(0), type="project.opened", resource=events.Resource("project", "prj_1"),
        actor=events.Actor("client", "cli_1", "org_2"),
    )  # fmt: skip
    encoded = events.encode(opened)
    event: dict[str, Any] = {
        "seq": 0,
        "header": encoded,
        "leaf_hash": merkle.leaf_hash(encoded),
        **events.indexed(opened),
    }
    with engine.begin() as connection:
        for table, row in [*rows, ("audit_event", event)]:
            names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)  # noqa: S608 - names of ours


def _all(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def test_projects_of_before_get_their_agreements_providers_and_an_epoch(engine: Engine) -> None:
    _project_of_before(engine)
    upgrade(engine)
    members = "SELECT project, organisation, joined_epoch FROM project_provider ORDER BY project, organisation"
    assert _all(engine, members) == [
        (project, organisation, 1) for project in ("prj_1", "prj_2") for organisation in ("org_1", "org_2")
    ]
    epochs = "SELECT project, epoch, reason, opened_by, initiator, check_value FROM key_epoch ORDER BY project"
    # What the log does not tell any more is not made up.
    assert _all(engine, epochs) == [
        ("prj_1", 1, "opened", "org_2", None, "c"), ("prj_2", 1, "opened", None, None, None),
    ]  # fmt: skip
    assert _all(engine, "SELECT id, key_epoch FROM upload") == [("upl_1", 1)]


def test_way_back_from_epochs_keeps_projects_and_uploads(engine: Engine) -> None:
    _project_of_before(engine)
    upgrade(engine)
    command.downgrade(config_for(engine), _before(engine, "0010"))
    assert "key_epoch" not in {column["name"] for column in inspect(engine).get_columns("upload")}
    assert _all(engine, "SELECT id, key_epoch FROM project ORDER BY id") == [("prj_1", 1), ("prj_2", 1)]
    assert _all(engine, "SELECT id, state FROM upload") == [("upl_1", "complete")]
    upgrade(engine)
    assert len(_all(engine, "SELECT * FROM project_provider")) == 4


@pytest.mark.parametrize(
    "change",
    [
        (
            "INSERT INTO key_epoch (project, epoch, reason, opened_at) "
            "VALUES ('prj_1', 2, 'planned', '2026-01-03 00:00:00.000000')"
        ),
        "UPDATE key_epoch SET check_value = 'c', check_value_set_by = 'org_1' WHERE project = 'prj_1'",
        (
            "INSERT INTO key_envelope (project, epoch, sender, recipient, keyset, document, posted_at) "
            "VALUES ('prj_1', 1, 'org_1', 'org_2', 'k', '{}', '2026-01-03 00:00:00.000000')"
        ),
        "DELETE FROM project_provider WHERE project = 'prj_2' AND organisation = 'org_1'",
    ],
)
def test_way_back_is_refused_where_it_would_mix_secrets(engine: Engine, change: str) -> None:
    _project_of_before(engine)
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(change)
    kept = _all(engine, "SELECT project, organisation FROM project_provider")
    with pytest.raises(RuntimeError, match="restore a backup"):
        command.downgrade(config_for(engine), _before(engine, "0010"))
    assert _all(engine, "SELECT project, organisation FROM project_provider") == kept
    assert _all(engine, "SELECT key_epoch FROM upload") == [(1,)]
