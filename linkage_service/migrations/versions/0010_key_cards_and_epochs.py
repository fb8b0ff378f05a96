"""Key cards, key epochs with their envelopes, and the providers of each project."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
# What the upgrade itself makes of uploads has nobody's name, and comes back with it.
_IN_PROGRESS = (
    "SELECT 1 FROM key_epoch WHERE check_value_set_by IS NOT NULL "
    "OR EXISTS (SELECT 1 FROM key_envelope WHERE document <> '') LIMIT 1"
)


def upgrade() -> None:
    op.create_table(
        "project_provider",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("joined_epoch", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["project.id"], name=op.f("fk_project_provider_project")),
        sa.ForeignKeyConstraint(["organisation"], ["organisation.id"], name=op.f("fk_project_provider_organisation")),
        sa.PrimaryKeyConstraint("project", "organisation", name=op.f("pk_project_provider")),
    )
    op.create_table(
        "key_card",
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("published_at", _TIME, nullable=False),
        sa.Column("superseded_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["organisation"], ["organisation.id"], name=op.f("fk_key_card_organisation")),
        sa.PrimaryKeyConstraint("organisation", "digest", name=op.f("pk_key_card")),
    )
    counts = sa.text("superseded_at IS NULL")
    op.create_index(
        "ix_key_card_counts", "key_card", ["organisation"], unique=True, sqlite_where=counts, postgresql_where=counts
    )
    op.create_table(
        "key_epoch",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("opened_by", sa.String(), nullable=True),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("initiator", sa.String(), nullable=True),
        sa.Column("check_value", sa.String(), nullable=True),
        sa.Column("check_value_set_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["check_value_set_by"], ["organisation.id"], name=op.f("fk_key_epoch_check_value_set_by")
        ),
        sa.ForeignKeyConstraint(["project"], ["project.id"], name=op.f("fk_key_epoch_project")),
        sa.ForeignKeyConstraint(["opened_by"], ["organisation.id"], name=op.f("fk_key_epoch_opened_by")),
        sa.ForeignKeyConstraint(["initiator"], ["organisation.id"], name=op.f("fk_key_epoch_initiator")),
        sa.PrimaryKeyConstraint("project", "epoch", name=op.f("pk_key_epoch")),
    )
    op.create_table(
        "key_envelope",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("recipient", sa.String(), nullable=False),
        sa.Column("keyset", sa.String(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("posted_at", _TIME, nullable=False),
        sa.Column("retrieved_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["project"], ["project.id"], name=op.f("fk_key_envelope_project")),
        sa.ForeignKeyConstraint(["sender"], ["organisation.id"], name=op.f("fk_key_envelope_sender")),
        sa.ForeignKeyConstraint(["recipient"], ["organisation.id"], name=op.f("fk_key_envelope_recipient")),
        sa.PrimaryKeyConstraint("project", "epoch", "sender", "recipient", name=op.f("pk_key_envelope")),
    )
    op.create_table(
        "key_standing",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("compared_keyset", sa.String(), nullable=True),
        sa.Column("compared_at", _TIME, nullable=True),
        sa.Column("confirmed_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["project"], ["project.id"], name=op.f("fk_key_standing_project")),
        sa.ForeignKeyConstraint(["organisation"], ["organisation.id"], name=op.f("fk_key_standing_organisation")),
        sa.PrimaryKeyConstraint("project", "epoch", "organisation", name=op.f("pk_key_standing")),
    )
    with op.batch_alter_table("upload", schema=None) as batch_op:
        batch_op.add_column(sa.Column("key_epoch", sa.Integer(), nullable=False, server_default="1"))
    op.execute(
        "UPDATE upload SET key_epoch = (SELECT project.key_epoch FROM project WHERE project.id = upload.project)"
    )
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.add_column(sa.Column("key_epoch", sa.Integer(), nullable=False, server_default="1"))
    op.execute("UPDATE run SET key_epoch = (SELECT project.key_epoch FROM project WHERE project.id = run.project)")
    # The log says who opened a project; where it does not, nobody knows any more.
    op.execute(
        "INSERT INTO key_epoch (project, epoch, reason, opened_by, opened_at) "
        "SELECT project.id, project.key_epoch, 'opened', (SELECT MIN(organisation.id) FROM organisation, audit_event "
        "WHERE organisation.id = audit_event.actor_org AND audit_event.type = 'project.opened' "
        "AND audit_event.resource_id = project.id), project.created_at FROM project"
    )
    # Where all encodings of a project were made with one secret, that is the epoch's.
    op.execute(
        "UPDATE key_epoch SET check_value = (SELECT MIN(upload.check_value) FROM upload "
        "WHERE upload.project = key_epoch.project AND upload.state IN ('receiving', 'complete') "
        "HAVING MIN(upload.check_value) = MAX(upload.check_value))"
    )
    for project, epoch, organisation in _providers():
        _insert_provider(project, epoch, organisation)


def _providers() -> list[tuple[str, int, str]]:
    """Every project with its epoch and each provider that its agreement version names."""
    found = op.get_bind().execute(
        sa.text(
            "SELECT project.id, project.key_epoch, agreement_version.document FROM project, agreement_version "
            "WHERE agreement_version.agreement = project.agreement "
            "AND agreement_version.version = project.agreement_version"
        )
    )
    return [
        (project, epoch, party["organisation"])
        for project, epoch, document in found
        for party in json.loads(document)["recipients"]["parties"]
        if "provider" in party["roles"]
    ]


def _insert_provider(project: str, epoch: int, organisation: str) -> None:
    table = sa.table("project_provider", *map(sa.column, ("project", "organisation", "joined_epoch")))
    op.execute(table.insert().values(project=project, organisation=organisation, joined_epoch=epoch))


def downgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT project, organisation FROM project_provider"))
    members = {(project, organisation) for project, organisation in rows}
    everybody = {(project, organisation) for project, _, organisation in _providers()}
    if members != everybody or connection.execute(sa.text("SELECT 1 FROM key_epoch WHERE epoch > 1 LIMIT 1")).first():
        raise RuntimeError(
            "A project has opened a further key epoch, or not every provider of its agreement takes part in it, and "
            "the tables of before cannot hold that: encodings made with different secrets would be matched. Nothing "
            "was changed. Stay at this version, or restore a backup of before."
        )
    if connection.execute(sa.text(_IN_PROGRESS)).first():
        raise RuntimeError(
            "Providers are sharing the secret of a project, and the tables of before cannot hold that: envelopes that "
            "were not opened and what the secret is known by would be lost. Nothing was changed. Stay at this "
            "version, or restore a backup of before."
        )
    for table in ("upload", "run"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("key_epoch")
    for table in ("key_standing", "key_envelope", "key_epoch", "key_card", "project_provider"):
        op.drop_table(table)
