"""Roles on PostgreSQL as the operator's guide makes them: who runs the service cannot take the ledger's guards away."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from support.databases import migrated_database
from support.postgresql import Server
from support.service_app import ServiceApp, data_sets, service_app

_GUIDE = Path(__file__).parents[3] / "docs" / "operator.md"


def _blocks() -> tuple[str, str]:
    """What the guide has the superuser do, and what the owner."""
    section = _GUIDE.read_text("utf-8").split("\n## PostgreSQL\n")[1].split("\n## ")[0]
    roles, grants = re.findall(r"```sql\n(.*?)```", section, flags=re.DOTALL)
    return roles, grants


@pytest.fixture
def service(postgresql: Server, tmp_path: Path) -> Iterator[ServiceApp]:
    roles, grants = _blocks()
    with postgresql.connect() as superuser:
        for statement in filter(str.strip, roles.split(";")):
            role = re.search(r"CREATE ROLE (\w+)", statement)
            # Roles are the whole server's, which other tests may share.
            if role and not superuser.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role[1],)).fetchone():
                superuser.execute(statement.encode())
    with migrated_database(postgresql) as url:
        name = make_url(url).database or ""
        with postgresql.connect(name) as owner:
            owner.execute(grants.encode())
        with service_app(tmp_path, database_url=postgresql.url(name, user="linkage_service")) as made:
            yield made


def test_role_that_runs_the_service_can_do_its_work(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    service.release(linked, service.run(linked))
    service.clock.move(days=200)
    service.sweep()
    assert service.verified()


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER audit_event_append_only ON audit_event",
        "ALTER TABLE audit_event DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "TRUNCATE audit_event CASCADE",
        "DELETE FROM audit_event",
        "UPDATE audit_node SET hash = hash",
        "UPDATE audit_checkpoint SET note = note",
        "DROP TABLE audit_body",
        "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    ],
)
def test_role_that_runs_the_service_cannot_touch_what_guards_the_ledger(service: ServiceApp, statement: str) -> None:
    with (
        service.runtime.database.engine.connect() as connection,
        pytest.raises(Exception, match=r"permission denied|must be owner"),
    ):
        connection.exec_driver_sql(statement)
