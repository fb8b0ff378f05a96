"""Keys of clients, what counts once, and from when on tokens are good."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_CLIENT = sa.table(
    "client",
    sa.column("id", sa.String()),
    sa.column("jwk", sa.JSON()),
    sa.column("key_thumbprint", sa.String()),
    sa.column("created_at", _TIME),
)
_KEY = sa.table(
    "client_key",
    sa.column("thumbprint", sa.String()),
    sa.column("client", sa.String()),
    sa.column("jwk", sa.JSON()),
    sa.column("status", sa.String()),
    sa.column("registered_at", _TIME),
    sa.column("revoked_at", _TIME),
)


def upgrade() -> None:
    op.create_table(
        "seen_once",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_seen_once")),
    )
    with op.batch_alter_table("seen_once", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_seen_once_expires_at"), ["expires_at"], unique=False)
    with op.batch_alter_table("organisation", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tokens_from", _TIME, nullable=True))
    # Read before the table is made again without its keys, written after: SQLite drops the old one on the way, which
    # it would not do while rows refer to it.
    keys = op.get_bind().execute(sa.select(_CLIENT)).mappings().all()
    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_client_key_thumbprint"), type_="unique")
        batch_op.drop_column("key_thumbprint")
        batch_op.drop_column("jwk")
        batch_op.add_column(sa.Column("tokens_from", _TIME, nullable=True))
    op.create_table(
        "client_key",
        sa.Column("thumbprint", sa.String(), nullable=False),
        sa.Column("client", sa.String(), nullable=False),
        sa.Column("jwk", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("registered_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["client"], ["client.id"], name=op.f("fk_client_key_client")),
        sa.PrimaryKeyConstraint("thumbprint", name=op.f("pk_client_key")),
    )
    with op.batch_alter_table("client_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_client_key_client"), ["client"], unique=False)
    if keys:
        op.bulk_insert(
            _KEY,
            [
                {
                    "thumbprint": row["key_thumbprint"],
                    "client": row["id"],
                    "jwk": row["jwk"],
                    "status": "active",
                    "registered_at": row["created_at"],
                    "revoked_at": None,
                }
                for row in keys
            ],
        )


def downgrade() -> None:
    # A client has one key again: the newest that is good.
    query = sa.select(_KEY).where(_KEY.c.status == "active").order_by(_KEY.c.registered_at)
    keys = {row["client"]: row for row in op.get_bind().execute(query).mappings()}
    with op.batch_alter_table("client_key", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_client_key_client"))
    op.drop_table("client_key")
    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.drop_column("tokens_from")
        batch_op.add_column(sa.Column("jwk", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("key_thumbprint", sa.String(), nullable=True))
    for client, row in keys.items():
        op.execute(
            sa.update(_CLIENT).where(_CLIENT.c.id == client).values(jwk=row["jwk"], key_thumbprint=row["thumbprint"])
        )
    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.alter_column("key_thumbprint", existing_type=sa.String(), nullable=False)
        batch_op.create_unique_constraint(batch_op.f("uq_client_key_thumbprint"), ["key_thumbprint"])
    # Without making the table again: clients refer to it.
    with op.batch_alter_table("organisation", schema=None, recreate="never") as batch_op:
        batch_op.drop_column("tokens_from")
    with op.batch_alter_table("seen_once", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_seen_once_expires_at"))
    op.drop_table("seen_once")
