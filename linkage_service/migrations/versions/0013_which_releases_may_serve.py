"""Which releases may serve on the schema, so that earlier ones go on while a newer one takes over."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
# Earlier releases serve on a schema that is exactly theirs.
serves_from = "0013"


def upgrade() -> None:
    op.create_table(
        "serving_revision",
        sa.Column("revision", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_serving_revision")),
    )


def downgrade() -> None:
    op.drop_table("serving_revision")
