"""Hand-overs of the log's key, and what witnesses put under its checkpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_SIZE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SAME_ROW = {
    "audit_handover": "kept.size = NEW.size",
    "audit_cosignature": "kept.size = NEW.size AND kept.witness = NEW.witness",
}


def upgrade() -> None:
    op.create_table(
        "audit_handover",
        sa.Column("size", _SIZE, autoincrement=False, nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_handover")),
    )
    op.create_table(
        "audit_cosignature",
        sa.Column("size", _SIZE, autoincrement=False, nullable=False),
        sa.Column("witness", sa.String(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["size"], ["audit_checkpoint.size"], name=op.f("fk_audit_cosignature_size")),
        sa.PrimaryKeyConstraint("size", "witness", name=op.f("pk_audit_cosignature")),
    )
    for table, same in _SAME_ROW.items():
        if op.get_bind().dialect.name == "sqlite":
            _protect_on_sqlite(table, same)
        else:
            _protect_on_postgresql(table)


def _protect_on_sqlite(table: str, same: str) -> None:
    refuse = "BEGIN SELECT RAISE(ABORT, 'the access log cannot be changed'); END"
    op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}")
    op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}")
    # REPLACE takes the old row away without firing a delete trigger.
    exists = f"WHEN EXISTS (SELECT 1 FROM {table} AS kept WHERE {same})"  # noqa: S608 - names from above
    op.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} {exists} {refuse}")


def _protect_on_postgresql(table: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
    )


def downgrade() -> None:
    if op.get_bind().execute(sa.text("SELECT 1 FROM audit_handover LIMIT 1")).first():
        raise RuntimeError(
            "The log's key was handed over, and the tables of before cannot hold that: without the hand-overs nobody "
            "could verify the log any more. Nothing was changed. Stay at this version, or restore a backup of before."
        )
    op.drop_table("audit_cosignature")
    op.drop_table("audit_handover")
