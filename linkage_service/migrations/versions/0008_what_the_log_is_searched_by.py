"""Copies and indexes to search the log by, alarms, and where their watch stands."""

import json
import re

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SINGLE = ("actor_org", "agreement", "project", "resource_id")
_SEARCHED = (
    "actor_org", "actor_id", "agreement", "project", "type", "action", "purpose", "resource_type", "resource_id",
    "outcome", "request_id", "time",
)  # fmt: skip
_GUARD = re.compile(r"G([1-9])-", re.ASCII)
_AT_ONCE = 5_000
# What may change in an alarm: who acknowledged it and when, once.
_STAYS = ("id", "kind", "occasion", "organisation", "actor", "agreement", "project", "subject", "detail", "raised_at")


def upgrade() -> None:
    for name in ("agreement_version", "elements"):
        op.add_column("audit_event", sa.Column(name, sa.String(), nullable=True))
    keys = op.create_table(
        "audit_known_key",
        sa.Column("thumbprint", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("thumbprint", name=op.f("pk_audit_known_key")),
    )
    thumbprints = _fill_copies()
    if thumbprints:
        op.bulk_insert(keys, [{"thumbprint": thumbprint} for thumbprint in sorted(thumbprints)])
    for name in _SINGLE:
        op.drop_index(f"ix_audit_event_{name}", table_name="audit_event")
    for name in _SEARCHED:
        op.create_index(f"ix_audit_event_{name}_seq", "audit_event", [name, "seq"], unique=False)
    for name, columns, where in (
        ("ix_audit_event_seq_elements", ["seq", "elements"], sa.text("elements IS NOT NULL")),
        ("ix_audit_event_own", ["actor_org", "seq"], sa.text("agreement IS NULL")),
    ):
        op.create_index(name, "audit_event", columns, unique=False, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "audit_alarm",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("occasion", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=True),
        sa.Column("agreement", sa.String(), nullable=True),
        sa.Column("project", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("raised_at", _TIME, nullable=False),
        sa.Column("acknowledged_at", _TIME, nullable=True),
        sa.Column("acknowledged_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_alarm")),
        sa.UniqueConstraint("kind", "occasion", name=op.f("uq_audit_alarm_kind_occasion")),
    )
    for name in ("organisation", "agreement"):
        op.create_index(op.f(f"ix_audit_alarm_{name}"), "audit_alarm", [name], unique=False)
    watch = op.create_table(
        "audit_watch",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_watch")),
    )
    # What is in the log already was not watched, and raises no alarm years later.
    size = op.get_bind().execute(sa.text("SELECT size FROM audit_head WHERE id = 1")).scalar() or 0
    op.bulk_insert(watch, [{"id": 1, "size": size}])
    op.execute("INSERT INTO housekeeping_claim (name) VALUES ('alarms')")
    _protect_alarms()


def _fill_copies() -> set[str]:
    """Fills the new copies from the headers; gives the thumbprints of the keys that were used."""
    connection = op.get_bind()
    thumbprints: set[str] = set()
    _let_copies_be_filled()
    after = -1
    while True:
        rows = connection.execute(
            sa.text("SELECT seq, header FROM audit_event WHERE seq > :after ORDER BY seq LIMIT :limit"),
            {"after": after, "limit": _AT_ONCE},
        ).all()
        if not rows:
            break
        filled = []
        for seq, header in rows:
            members = json.loads(bytes(header))
            if thumbprint := members.get("authn", {}).get("key_thumbprint"):
                thumbprints.add(thumbprint)
            version = members.get("agreement", {}).get("version")
            elements = _elements(members.get("decision"))
            if version is not None or elements is not None:
                filled.append({"seq": seq, "version": None if version is None else str(version), "elements": elements})
        if filled:
            connection.execute(
                sa.text("UPDATE audit_event SET agreement_version = :version, elements = :elements WHERE seq = :seq"),
                filled,
            )
        after = rows[-1][0]
    _refuse_changes_again()
    return thumbprints


def _elements(decision: dict[str, object] | None) -> str | None:
    # As linkage_ledger.events.deciding_elements was when this was written.
    if decision is None or decision["effect"] == "allow":
        return None
    policies = decision["policies"]
    if not isinstance(policies, list) or not policies:
        return "2"
    found = {match[1] for policy in policies if (match := _GUARD.match(policy))}
    return "".join(sorted(found)) or None


def _let_copies_be_filled() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_event_no_update")
    else:
        op.execute("ALTER TABLE audit_event DISABLE TRIGGER audit_event_append_only")


def _refuse_changes_again() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event "
            "BEGIN SELECT RAISE(ABORT, 'the access log cannot be changed'); END"
        )
    else:
        op.execute("ALTER TABLE audit_event ENABLE TRIGGER audit_event_append_only")


def _protect_alarms() -> None:
    if op.get_bind().dialect.name == "sqlite":
        changed = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in _STAYS)
        refuse = "BEGIN SELECT RAISE(ABORT, 'an alarm can only be acknowledged, once'); END"
        op.execute(f"CREATE TRIGGER audit_alarm_no_delete BEFORE DELETE ON audit_alarm {refuse}")
        op.execute(
            "CREATE TRIGGER audit_alarm_only_acknowledged BEFORE UPDATE ON audit_alarm "
            f"WHEN OLD.acknowledged_at IS NOT NULL OR NEW.acknowledged_at IS NULL OR {changed} {refuse}"
        )
        # REPLACE takes the old row away without firing a delete trigger.
        same = "kept.id = NEW.id OR (kept.kind = NEW.kind AND kept.occasion = NEW.occasion)"
        exists = f"WHEN EXISTS (SELECT 1 FROM audit_alarm AS kept WHERE {same})"  # noqa: S608 - names from above
        op.execute(f"CREATE TRIGGER audit_alarm_no_replace BEFORE INSERT ON audit_alarm {exists} {refuse}")
        return
    # JSON has no comparison of its own there.
    changed = " OR ".join(f"NEW.{name}::text IS DISTINCT FROM OLD.{name}::text" for name in _STAYS)
    op.execute(
        "CREATE FUNCTION audit_alarm_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'an alarm can only be acknowledged, once'; END $$"
    )
    run = "EXECUTE FUNCTION audit_alarm_refuse()"
    op.execute(f"CREATE TRIGGER audit_alarm_no_delete BEFORE DELETE ON audit_alarm FOR EACH ROW {run}")
    op.execute(f"CREATE TRIGGER audit_alarm_no_truncate BEFORE TRUNCATE ON audit_alarm FOR EACH STATEMENT {run}")
    op.execute(
        "CREATE TRIGGER audit_alarm_only_acknowledged BEFORE UPDATE ON audit_alarm FOR EACH ROW "
        f"WHEN (OLD.acknowledged_at IS NOT NULL OR NEW.acknowledged_at IS NULL OR {changed}) {run}"
    )


def downgrade() -> None:
    # Triggers and indexes go with their tables.
    op.drop_table("audit_watch")
    op.drop_table("audit_alarm")
    op.drop_table("audit_known_key")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION audit_alarm_refuse()")
    op.execute("DELETE FROM housekeeping_claim WHERE name = 'alarms'")
    for name in ("ix_audit_event_own", "ix_audit_event_seq_elements"):
        op.drop_index(name, table_name="audit_event")
    for name in _SEARCHED:
        op.drop_index(f"ix_audit_event_{name}_seq", table_name="audit_event")
    for name in _SINGLE:
        op.create_index(f"ix_audit_event_{name}", "audit_event", [name], unique=False)
    for name in ("elements", "agreement_version"):
        op.drop_column("audit_event", name)
