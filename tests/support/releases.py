"""Releases that come after this one: copies of the service with migrations that are not in it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import linkage_service
from linkage_service.migrate import newest_revision

ADDED_COLUMN = 'op.add_column("upload", sa.Column("colour", sa.String(), nullable=True))'
_PACKAGE = Path(linkage_service.__file__).parent
_MIGRATION = '''"""What a later release changes."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{after}"
branch_labels = None
depends_on = None
serves_from = "{serves_from}"


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    {downgrade}
'''


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration of a later release: one statement each way. It serves from its own revision unless told otherwise."""

    revision: str
    upgrade: str = "pass"
    downgrade: str = "pass"
    serves_from: str | None = None


ADDS = Migration("9001", ADDED_COLUMN, 'op.drop_column("upload", "colour")', serves_from=newest_revision())
"""A column that this release does not know, and can do without."""
BREAKS = Migration("9002", 'op.drop_column("upload", "colour")', ADDED_COLUMN)
"""No release but its own goes on."""


def write(folder: Path, *migrations: Migration) -> None:
    """Puts migrations into a folder of versions, one after the other, the first after this release's newest."""
    after = newest_revision()
    for one in migrations:
        text = _MIGRATION.format(
            revision=one.revision,
            after=after,
            serves_from=one.serves_from or one.revision,
            upgrade=one.upgrade,
            downgrade=one.downgrade,
        )
        (folder / f"{one.revision}_later.py").write_text(text, "utf-8")
        after = one.revision


def migrations_of(folder: Path, *migrations: Migration) -> Path:
    """A copy of this release's tree of migrations with more at its end, for Alembic's `script_location`."""
    shutil.copytree(_PACKAGE / "migrations", folder, ignore=shutil.ignore_patterns("__pycache__"))
    write(folder / "versions", *migrations)
    return folder


def release(folder: Path, version: str, *migrations: Migration) -> Path:
    """A copy of the service that says it is of a version, to be put on PYTHONPATH: it is found before the installed.

    Where the migrations add the column, its uploads have it.
    """
    # With what Python compiled, which holds as long as the times of the sources do.
    shutil.copytree(_PACKAGE, folder / _PACKAGE.name)
    write(folder / _PACKAGE.name / "migrations" / "versions", *migrations)
    metadata = folder / f"linkage_service-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.4\nName: linkage-service\nVersion: {version}\n", "utf-8")
    if migrations[-1] is ADDS:
        uploads = folder / _PACKAGE.name / "uploads" / "tables.py"
        text, key = uploads.read_text("utf-8"), '    __tablename__ = "upload"\n'
        assert text.count(key) == 1
        uploads.write_text(text.replace(key, f'{key}\n    colour: str | None = "blue"\n'), "utf-8")
    return folder
