"""What the policy reads: assurance, states of versions, reviews, kinds of projects, dates of deletion, holds."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "known_policy",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("policies", sa.String(), nullable=False),
        sa.Column("schema_text", sa.String(), nullable=False),
        sa.Column("first_used_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_known_policy")),
    )
    op.create_table(
        "agreement_review",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("agreement", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("review_by", _TIME, nullable=False),
        sa.Column("findings", sa.String(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["agreement"], ["agreement.id"], name=op.f("fk_agreement_review_agreement")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agreement_review")),
    )
    with op.batch_alter_table("agreement_review", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_agreement_review_agreement"), ["agreement"], unique=False)
    with op.batch_alter_table("organisation", schema=None) as batch_op:
        batch_op.add_column(sa.Column("assurance", sa.String(), nullable=False, server_default="none"))
        batch_op.add_column(sa.Column("assurance_expires", _TIME, nullable=True))
    with op.batch_alter_table("agreement_version", schema=None) as batch_op:
        batch_op.add_column(sa.Column("state", sa.String(), nullable=False, server_default="draft"))
    # Before this, an agreement had one version, whose state it was.
    op.execute(
        "UPDATE agreement_version SET state = (SELECT CASE WHEN agreement.state IN ('draft', 'proposed') "
        "THEN agreement.state ELSE 'active' END FROM agreement WHERE agreement.id = agreement_version.agreement)"
    )
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.String(), nullable=False, server_default="linkage"))
        batch_op.add_column(sa.Column("closed_at", _TIME, nullable=True))
    with op.batch_alter_table("upload", schema=None) as batch_op:
        batch_op.add_column(sa.Column("delete_by", _TIME, nullable=False, server_default="2026-01-01 00:00:00.000000"))
        batch_op.create_index(batch_op.f("ix_upload_delete_by"), ["delete_by"], unique=False)
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.add_column(sa.Column("restricted", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("delete_by", _TIME, nullable=True))
        batch_op.create_index(batch_op.f("ix_run_delete_by"), ["delete_by"], unique=False)
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.add_column(sa.Column("columns", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("restricted", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.drop_column("restricted")
        batch_op.drop_column("columns")
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_run_delete_by"))
        batch_op.drop_column("delete_by")
        batch_op.drop_column("restricted")
    with op.batch_alter_table("upload", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_upload_delete_by"))
        batch_op.drop_column("delete_by")
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.drop_column("closed_at")
        batch_op.drop_column("kind")
    with op.batch_alter_table("agreement_version", schema=None) as batch_op:
        batch_op.drop_column("state")
    with op.batch_alter_table("organisation", schema=None) as batch_op:
        batch_op.drop_column("assurance_expires")
        batch_op.drop_column("assurance")
    with op.batch_alter_table("agreement_review", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_agreement_review_agreement"))
    op.drop_table("agreement_review")
    op.drop_table("known_policy")
