"""What a machine remembers of a project's key epochs, and what becomes of it when it cannot be read."""

from pathlib import Path

import pytest

from linkage_client.config import Profile
from linkage_client.errors import ConfigurationError, KeyExchangeError
from linkage_client.exchange.marks import Marks, Opening, Sharing
from linkage_client.keystore import Secrets

PROJECT = "prj_1"
SHARING = Sharing(epoch=2, state="begun", keyset="ab" * 32)


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return Profile(
        path=tmp_path / "profile.toml",
        service_url="https://linkage.example.org",
        organisation_id="org_a",
        client_id="cli_a",
    )


@pytest.fixture
def marks(profile: Profile) -> Marks:
    return Marks(profile)


def test_mark_of_an_epoch_never_goes_down(marks: Marks) -> None:
    for epoch in (1, 3, 2):
        marks.saw(PROJECT, epoch)
    assert marks.newest_epoch(PROJECT) == 3
    assert marks.newest_epoch("prj_2") == 0


def test_older_epoch_than_the_mark_is_refused_with_the_way_out(marks: Marks) -> None:
    marks.require_present(PROJECT, 3)
    marks.require_present(PROJECT, 3)
    with pytest.raises(KeyExchangeError, match="until the epoch is above 3") as raised:
        marks.require_present(PROJECT, 2)
    assert raised.value.code == "epoch_went_back"


def test_epoch_of_a_secret_that_is_held_counts(marks: Marks, profile: Profile) -> None:
    Secrets(profile).add(PROJECT, 4, b"a secret of sixteen bytes or more")
    with pytest.raises(KeyExchangeError):
        marks.require_present(PROJECT, 3)


def test_what_is_noted_is_read_beside_the_mark(marks: Marks) -> None:
    marks.saw(PROJECT, 2)
    marks.note_sharing(PROJECT, SHARING)
    marks.note_opening(PROJECT, Opening(expected_epoch=2, reason="planned"))
    assert marks.sharing(PROJECT, 2) == SHARING
    assert marks.sharing(PROJECT, 3) is None
    assert marks.opening(PROJECT) == Opening(expected_epoch=2, reason="planned")
    marks.note_opening(PROJECT, None)
    assert marks.opening(PROJECT) is None
    assert marks.newest_epoch(PROJECT) == 2


@pytest.mark.parametrize("content", ["", "[]", '{"v": 1}', '{"v": 2, "project": "prj_1"}'])
def test_file_that_cannot_be_read_counts_as_nothing_known(marks: Marks, profile: Profile, content: str) -> None:
    marks.saw(PROJECT, 2)
    (file,) = (profile.folder / "exchange").iterdir()
    file.write_text(content, encoding="utf-8")
    assert marks.newest_epoch(PROJECT) == 0


def test_file_is_readable_by_its_account_only(marks: Marks, profile: Profile) -> None:
    marks.saw(PROJECT, 2)
    (file,) = (profile.folder / "exchange").iterdir()
    assert file.stat().st_mode & 0o077 == 0


def test_id_that_no_project_has_names_no_file(marks: Marks) -> None:
    with pytest.raises(ConfigurationError, match="no id has"):
        marks.saw("../elsewhere", 2)


def test_secret_is_replaced_in_place(profile: Profile) -> None:
    secrets = Secrets(profile)
    secrets.add(PROJECT, 1, b"the secret that was kept before")
    secrets.replace(PROJECT, 1, b"the secret that the others hold", origin="opened")
    assert secrets.read(PROJECT, 1) == b"the secret that the others hold"
    assert [held.origin for held in secrets.held()] == ["opened"]
    assert {path.stat().st_mode & 0o077 for path in secrets.folder.glob("*.secret")} == {0}
