"""Claims on housekeeping, disposals with their certificates, withdrawals, holds."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    claims = op.create_table(
        "housekeeping_claim",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("until", _TIME, nullable=True),
        sa.Column("done_at", _TIME, nullable=True),
        sa.Column("thorough_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_housekeeping_claim")),
    )
    op.bulk_insert(claims, [{"name": "sweep"}, {"name": "withdrawals"}])
    op.create_table(
        "certificate",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["project"], ["project.id"], name=op.f("fk_certificate_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate")),
    )
    _index("certificate", "project")
    op.create_table(
        "disposal",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("certificate", sa.String(), nullable=True),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("settled_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["certificate"], ["certificate.id"], name=op.f("fk_disposal_certificate")),
        sa.PrimaryKeyConstraint("kind", "object", name=op.f("pk_disposal")),
    )
    _index("disposal", "certificate")
    op.create_table(
        "agreement_end",
        sa.Column("agreement", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("noted_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["agreement"], ["agreement.id"], name=op.f("fk_agreement_end_agreement")),
        sa.PrimaryKeyConstraint("agreement", "version", name=op.f("pk_agreement_end")),
    )
    op.create_table(
        "withdrawal",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("upload", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("erased_at", _TIME, nullable=True),
        sa.Column("applied_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["upload"], ["upload.id"], name=op.f("fk_withdrawal_upload")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_withdrawal")),
    )
    _index("withdrawal", "upload")
    _index("withdrawal", "applied_at")
    op.create_table(
        "withdrawn_row",
        sa.Column("upload", sa.String(), nullable=False),
        sa.Column("row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("withdrawal", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["upload"], ["upload.id"], name=op.f("fk_withdrawn_row_upload")),
        sa.ForeignKeyConstraint(["withdrawal"], ["withdrawal.id"], name=op.f("fk_withdrawn_row_withdrawal")),
        sa.PrimaryKeyConstraint("upload", "row", name=op.f("pk_withdrawn_row")),
    )
    _index("withdrawn_row", "withdrawal")
    op.create_table(
        "stored_content",
        sa.Column("upload", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["upload"], ["upload.id"], name=op.f("fk_stored_content_upload")),
        sa.PrimaryKeyConstraint("upload", name=op.f("pk_stored_content")),
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("ground", sa.String(), nullable=False),
        sa.Column("placed_at", _TIME, nullable=False),
        sa.Column("lifted_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["project"], ["project.id"], name=op.f("fk_hold_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hold")),
    )
    _index("hold", "project")
    _index("hold", "object")
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.add_column(sa.Column("deleted_at", _TIME, nullable=True))


def _index(table: str, column: str) -> None:
    op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.drop_column("deleted_at")
    # Indexes go with their tables.
    for table in (
        "hold",
        "stored_content",
        "withdrawn_row",
        "withdrawal",
        "agreement_end",
        "disposal",
        "certificate",
        "housekeeping_claim",
    ):
        op.drop_table(table)
