"""What was found of uploads, sketches of them with their keys, and random keys of recipients' link ids."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "upload_finding",
        sa.Column("upload", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["upload"], ["upload.id"], name=op.f("fk_upload_finding_upload")),
        sa.PrimaryKeyConstraint("upload", "code", name=op.f("pk_upload_finding")),
    )
    op.create_table(
        "probe_key",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("data_key", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["project.id"], name=op.f("fk_probe_key_project")),
        sa.PrimaryKeyConstraint("project", name=op.f("pk_probe_key")),
    )
    op.create_table(
        "upload_sketch",
        sa.Column("upload", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=False),
        sa.Column("delete_by", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["project"], ["project.id"], name=op.f("fk_upload_sketch_project")),
        sa.ForeignKeyConstraint(["upload"], ["upload.id"], name=op.f("fk_upload_sketch_upload")),
        sa.PrimaryKeyConstraint("upload", name=op.f("pk_upload_sketch")),
    )
    with op.batch_alter_table("upload_sketch", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_upload_sketch_project"), ["project"], unique=False)
    op.create_table(
        "recipient_key",
        sa.Column("agreement", sa.String(), nullable=False),
        sa.Column("recipient", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("data_key", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["agreement"], ["agreement.id"], name=op.f("fk_recipient_key_agreement")),
        sa.ForeignKeyConstraint(["recipient"], ["organisation.id"], name=op.f("fk_recipient_key_recipient")),
        sa.PrimaryKeyConstraint("agreement", "recipient", "epoch", name=op.f("pk_recipient_key")),
    )


def downgrade() -> None:
    op.drop_table("recipient_key")
    with op.batch_alter_table("upload_sketch", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_upload_sketch_project"))
    op.drop_table("upload_sketch")
    op.drop_table("probe_key")
    op.drop_table("upload_finding")
