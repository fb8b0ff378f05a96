"""A version of an agreement cannot be changed once it was proposed, whatever the code above the database does."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLE = "agreement_version"
_SAID = "a proposed version of an agreement cannot be changed"
_CHANGED = "(NEW.document <> OLD.document OR NEW.digest <> OLD.digest OR NEW.state = 'draft')"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_SAID}'); END"
        op.execute(
            f"CREATE TRIGGER {_TABLE}_fixed BEFORE UPDATE ON {_TABLE} WHEN OLD.state <> 'draft' AND {_CHANGED} {refuse}"
        )
        op.execute(f"CREATE TRIGGER {_TABLE}_kept BEFORE DELETE ON {_TABLE} WHEN OLD.state <> 'draft' {refuse}")
        # REPLACE takes the old row away without firing a delete trigger.
        op.execute(
            f"CREATE TRIGGER {_TABLE}_no_replace BEFORE INSERT ON {_TABLE} WHEN EXISTS (SELECT 1 FROM {_TABLE} AS kept "  # noqa: S608 - names from above
            f"WHERE kept.agreement = NEW.agreement AND kept.version = NEW.version AND kept.state <> 'draft') {refuse}"
        )
        return
    op.execute(
        f"CREATE FUNCTION {_TABLE}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_SAID}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {_TABLE}_fixed BEFORE UPDATE ON {_TABLE} FOR EACH ROW "
        f"WHEN (OLD.state <> 'draft' AND {_CHANGED}) EXECUTE FUNCTION {_TABLE}_refuse()"
    )
    op.execute(
        f"CREATE TRIGGER {_TABLE}_kept BEFORE DELETE ON {_TABLE} FOR EACH ROW "
        f"WHEN (OLD.state <> 'draft') EXECUTE FUNCTION {_TABLE}_refuse()"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in ("no_replace", "kept", "fixed"):
            op.execute(f"DROP TRIGGER {_TABLE}_{name}")
        return
    for name in ("kept", "fixed"):
        op.execute(f"DROP TRIGGER {_TABLE}_{name} ON {_TABLE}")
    op.execute(f"DROP FUNCTION {_TABLE}_refuse()")
