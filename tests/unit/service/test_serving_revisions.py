"""Which releases may serve on a schema, by what its migrations say."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from linkage_service import migrations
from linkage_service.migrate import newest_revision
from linkage_service.migrations.serving import serving_at
from support import releases
from support.releases import Migration

FIRST, THIS = "0013", newest_revision()


def _scripts(folder: Path) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(folder))
    return ScriptDirectory.from_config(config)


def _after(folder: Path, *said: str | None) -> list[str]:
    """Who may serve, of this release and later ones, when each of these says in turn from which on they may."""
    made = [Migration(f"900{number}", serves_from=one) for number, one in enumerate(said, start=1)]
    scripts = _scripts(releases.migrations_of(folder / "later", *made))
    return [one for one in serving_at(scripts, made[-1].revision) if one >= THIS]


def test_every_migration_from_the_first_that_can_says_who_may_serve() -> None:
    scripts = _scripts(Path(migrations.__file__).parent)
    order = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    said = {script.revision: getattr(script.module, "serves_from", None) for script in scripts.walk_revisions()}
    assert [one for one in order if said[one] is None] == order[: order.index(FIRST)]
    for revision in order[order.index(FIRST) :]:
        assert said[revision] in order[order.index(FIRST) : order.index(revision) + 1], revision
        assert serving_at(scripts, revision)[0] == revision


@pytest.mark.parametrize(
    ("said", "serving"),
    [
        ([THIS], ["9001", THIS]),
        ([THIS, THIS], ["9002", "9001", THIS]),
        ([None], ["9001"]),
        # What broke earlier releases once has broken them for those that only add to it.
        ([None, THIS], ["9002", "9001"]),
        # In two releases: the first does without it, the second drops it.
        ([THIS, "9001"], ["9002", "9001"]),
        ([THIS, "9001", THIS], ["9003", "9002", "9001"]),
    ],
)
def test_releases_serve_that_every_migration_after_theirs_leaves(
    tmp_path: Path, said: list[str | None], serving: list[str]
) -> None:
    assert _after(tmp_path, *said) == serving


def test_migration_that_names_a_later_revision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="9001 has to say"):
        _after(tmp_path, "9002", THIS)
