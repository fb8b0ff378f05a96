from pathlib import Path

import pytest

from linkage_client.config import Profile, load_profile, profile_path, save_profile
from linkage_client.errors import ConfigurationError, OutputExistsError


def _profile(path: Path, **members: object) -> Profile:
    content = {
        "service_url": "https://linkage.example",
        "organisation_id": "org_1",
        "client_id": "cli_1",
        "client_key_file": path.parent / "client-key.jwk",
    }
    return Profile(path=path, **{**content, **members})  # type: ignore[arg-type]  # members of several types


def test_profile_path_prefers_the_option(tmp_path: Path) -> None:
    assert profile_path(option=tmp_path / "a", environment={"LINKAGE_CONFIG": "b"}) == tmp_path / "a"


def test_profile_path_then_the_environment() -> None:
    assert profile_path(option=None, environment={"LINKAGE_CONFIG": "b"}) == Path("b")


def test_profile_path_then_the_platform() -> None:
    assert profile_path(option=None, environment={}).parts[-2:] == ("linkage", "profile.toml")


def test_profile_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new" / "profile.toml"
    saved = _profile(
        path,
        client_key_file=path.parent / 'a "quoted" é.jwk',
        signing_key_file=tmp_path / "elsewhere.jwk",
        allow_plain_http=True,
    )
    save_profile(saved)
    assert load_profile(path) == saved
    assert 'client_key_file = "a ' in path.read_text(encoding="utf-8")


def test_profile_is_not_replaced_unless_said(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    save_profile(_profile(path))
    with pytest.raises(OutputExistsError):
        save_profile(_profile(path, client_id="cli_2"))
    save_profile(_profile(path, client_id="cli_2"), replace=True)
    assert load_profile(path).client_id == "cli_2"
    assert [entry.name for entry in tmp_path.iterdir()] == ["profile.toml"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("client_id = 3", "wrong type"),
        ("unknown = 1", "do not exist"),
        ("allow_plain_http = 'yes'", "wrong type"),
        ("[", "not TOML"),
    ],
)
def test_profile_with_a_mistake_is_refused(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "profile.toml"
    lines = ['service_url = "https://a"', 'organisation_id = "o"', 'client_key_file = "k"']
    lines += [] if change.startswith("client_id") else ['client_id = "c"']
    path.write_text("\n".join([*lines, change]))
    with pytest.raises(ConfigurationError, match=message):
        load_profile(path)


def test_profile_that_lacks_members_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    path.write_text('service_url = "https://a"')
    with pytest.raises(ConfigurationError, match="organisation_id, client_id, client_key_file"):
        load_profile(path)


def test_absent_profile_tells_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="linkage register"):
        load_profile(tmp_path / "absent.toml")
