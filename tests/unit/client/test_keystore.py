import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Literal

import keyring.backends.fail
import keyring.backends.null
import keyring.core
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.chainer import ChainerBackend

from linkage_client.config import Profile, load_profile, save_profile
from linkage_client.errors import ConfigurationError, KeystoreError, OutputExistsError, SecretError
from linkage_client.keys import SigningKey, write_private_file
from linkage_client.keystore import (
    OperatingSystemKeystore,
    Secrets,
    client_key_of,
    find_keystore,
    find_working_keystore,
    move_keys,
    read_key,
    signing_key_of,
    store_key,
)
from support.keystores import ForgetfulKeyring, LockedKeyring, MemoryKeyring, WaitingKeyring

SECRET = b"0123456789abcdef-linkage-secret"


def _profile(folder: Path, **members: object) -> Profile:
    content = {"service_url": "https://a", "organisation_id": "org_1", "client_id": "cli_1"}
    return Profile(path=folder / "profile.toml", **{**content, **members})  # type: ignore[arg-type]  # of several types


def _with_files(folder: Path) -> Profile:
    profile = _profile(folder, client_key_file=folder / "client-key.jwk", signing_key_file=folder / "signing-key.jwk")
    for file in (profile.client_key_file, profile.signing_key_file):
        assert file is not None
        SigningKey.generate().save(file)
    save_profile(profile)
    return profile


def _made(kind: type[KeyringBackend]) -> KeyringBackend:
    return kind()


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (keyring.backends.fail.Keyring, "offers none"),
        (keyring.backends.null.Keyring, "offers none"),
        (MemoryKeyring, "MemoryKeyring, which is not the operating system's"),
    ],
    ids=["fails", "keeps nothing", "unknown"],
)
def test_keyring_backend_that_is_not_the_operating_systems_is_not_used(
    backend: type[KeyringBackend], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", _made(backend))
    found = find_keystore()
    assert found.keystore is None
    assert reason in found.reason


def test_empty_chain_of_keyrings_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChainerBackend, "backends", [])
    monkeypatch.setattr(keyring.core, "_keyring_backend", _made(ChainerBackend))
    found = find_keystore()
    assert found.keystore is None
    assert "offers none" in found.reason


def test_trusted_backend_in_a_chain_is_used(memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChainerBackend, "backends", [_made(keyring.backends.null.Keyring), memory_keyring])
    monkeypatch.setattr(keyring.core, "_keyring_backend", _made(ChainerBackend))
    assert find_keystore().keystore == OperatingSystemKeystore(memory_keyring)


def test_entries_of_windows_do_not_roam(memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryKeyring, "persist", "enterprise", raising=False)
    assert find_keystore().keystore == OperatingSystemKeystore(memory_keyring)
    assert getattr(memory_keyring, "persist") == "local machine"  # noqa: B009 - only Windows' backend has it


def test_keyring_that_cannot_start_is_no_keystore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "no.such.Backend")
    assert "cannot be started" in find_keystore().reason


def test_working_keystore_leaves_no_trace_of_the_probe(memory_keyring: MemoryKeyring) -> None:
    assert find_working_keystore().keystore is not None
    assert memory_keyring.entries == {}


@pytest.mark.parametrize("kind", [ForgetfulKeyring, LockedKeyring])
@pytest.mark.usefixtures("memory_keyring")
def test_keystore_that_does_not_work_is_not_used(kind: type[MemoryKeyring], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", kind())
    assert find_keystore().keystore is not None
    assert find_working_keystore().keystore is None


def test_key_comes_back_from_the_keystore_as_it_was(memory_keyring: MemoryKeyring) -> None:
    keystore, key = OperatingSystemKeystore(memory_keyring), SigningKey.generate()
    assert read_key(keystore, store_key(keystore, key)).private_jwk() == key.private_jwk()


def test_key_that_is_not_in_the_keystore_is_refused(memory_keyring: MemoryKeyring) -> None:
    with pytest.raises(KeystoreError, match="is not in"):
        read_key(OperatingSystemKeystore(memory_keyring), "absent")


def test_another_key_under_the_name_of_one_is_refused(memory_keyring: MemoryKeyring) -> None:
    keystore = OperatingSystemKeystore(memory_keyring)
    thumbprints = [store_key(keystore, SigningKey.generate()) for _ in range(2)]
    (first, second) = memory_keyring.entries
    memory_keyring.entries[first] = memory_keyring.entries[second]
    with pytest.raises(KeystoreError, match="another key"):
        read_key(keystore, thumbprints[0])


def test_locked_keystore_says_so_without_what_it_was_given() -> None:
    key = SigningKey.generate()
    with pytest.raises(KeystoreError, match="locked") as caught:
        store_key(OperatingSystemKeystore(LockedKeyring()), key)
    assert key.private_jwk()["d"] not in caught.value.message
    assert caught.value.__cause__ is None


def test_locked_keystore_that_waits_for_a_window_nobody_sees_is_given_up() -> None:
    unlocked = threading.Event()
    keystore = OperatingSystemKeystore(WaitingKeyring(unlocked), patience_s=0.05)
    with pytest.raises(KeystoreError, match="no answer within"):
        keystore.read("entry")
    unlocked.set()


def test_profile_whose_keystore_is_gone_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="Log in to the desktop"):
        client_key_of(_profile(tmp_path, keystore="os", client_key="tp"))


def test_keys_in_files_stay_there_where_no_keystore_is(tmp_path: Path) -> None:
    profile = _with_files(tmp_path)
    moved = move_keys(profile, "file", others=[])
    assert (moved.profile, moved.keys, moved.secrets) == (profile, 0, 0)
    assert client_key_of(profile).public_jwk


def test_keys_move_into_the_keystore_and_back(memory_keyring: MemoryKeyring, tmp_path: Path) -> None:
    profile = _with_files(tmp_path)
    client_key, signing_key = client_key_of(profile), signing_key_of(profile)
    Secrets(profile).add("prj_1", 1, SECRET)

    moved = move_keys(profile, "os", others=[])
    assert (moved.keys, moved.secrets) == (2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["profile.toml", "secrets"]
    assert (tmp_path / "secrets" / "prj_1.1.keystore").read_bytes() == b""
    stored = load_profile(profile.path)
    assert client_key_of(stored).public_jwk == client_key.public_jwk
    assert Secrets(stored).read("prj_1", 1) == SECRET

    move_keys(stored, "file", others=[])
    assert memory_keyring.entries == {}
    back = load_profile(profile.path)
    assert back == profile
    assert client_key_of(back).public_jwk == client_key.public_jwk
    assert signing_key is not None
    assert signing_key_of(back) is not None
    assert Secrets(back).read("prj_1", 1) == SECRET


@pytest.mark.usefixtures("memory_keyring")
def test_key_file_that_lies_elsewhere_or_is_used_by_another_profile_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "stick").mkdir()
    profile = _with_files(tmp_path / "a")
    assert profile.signing_key_file is not None
    stick = tmp_path / "stick" / "signing-key.jwk"
    profile.signing_key_file.rename(stick)
    profile = replace(profile, signing_key_file=stick)
    other = replace(profile, path=tmp_path / "b" / "profile.toml")
    moved = move_keys(profile, "os", others=[other])
    assert set(moved.files_left) == {stick, profile.client_key_file}
    assert stick.exists()
    assert client_key_of(other).public_jwk == client_key_of(moved.profile).public_jwk
    assert moved.profile.signing_key_file == stick


def test_key_in_the_keystore_that_another_profile_uses_stays(memory_keyring: MemoryKeyring, tmp_path: Path) -> None:
    moved = move_keys(_with_files(tmp_path), "os", others=[]).profile
    move_keys(moved, "file", others=[replace(moved, path=tmp_path / "b" / "profile.toml", signing_key=None)])
    assert len(memory_keyring.entries) == 1


@pytest.mark.usefixtures("memory_keyring")
def test_moving_out_of_the_keystore_replaces_no_file(tmp_path: Path) -> None:
    moved = move_keys(_with_files(tmp_path), "os", others=[]).profile
    (tmp_path / "client-key.jwk").write_text("kept")
    with pytest.raises(OutputExistsError):
        move_keys(moved, "file", others=[])
    assert load_profile(moved.path) == moved
    client_key_of(moved)


@pytest.mark.parametrize("place", ["file", "os"])
@pytest.mark.usefixtures("memory_keyring")
def test_secret_is_kept_by_project_and_epoch_until_it_is_deleted(tmp_path: Path, place: str) -> None:
    secrets = Secrets(_profile(tmp_path, keystore=place))
    secrets.add("prj_1", 1, SECRET)
    secrets.add("prj_1", 2, SECRET + b"2")
    assert secrets.read("prj_1", 1) == SECRET
    assert secrets.read("prj_1", 2) == SECRET + b"2"
    assert [(one.project_id, one.epoch) for one in secrets.held()] == [("prj_1", 1), ("prj_1", 2)]
    with pytest.raises(OutputExistsError):
        secrets.add("prj_1", 1, b"another secret of some length")
    secrets.delete("prj_1", 1)
    with pytest.raises(SecretError, match="secret add"):
        secrets.read("prj_1", 1)
    with pytest.raises(SecretError):
        secrets.delete("prj_1", 1)


@pytest.mark.parametrize("project_id", ["../escape", "a/b", "", "a.b"])
def test_secret_of_a_project_that_would_be_a_path_is_refused(tmp_path: Path, project_id: str) -> None:
    with pytest.raises(ConfigurationError, match="no id has"):
        Secrets(_profile(tmp_path)).add(project_id, 1, SECRET)
    assert list(tmp_path.iterdir()) == []


def test_secrets_of_two_clients_do_not_mix(memory_keyring: MemoryKeyring, tmp_path: Path) -> None:
    first, second = (Secrets(_profile(tmp_path / name, keystore="os", client_id=name)) for name in ("cli_1", "cli_2"))
    first.add("prj_1", 1, SECRET)
    second.add("prj_1", 1, SECRET[::-1])
    assert first.read("prj_1", 1) == SECRET
    assert len(memory_keyring.entries) == 2


def test_secret_that_left_the_keystore_by_another_way_is_missed(memory_keyring: MemoryKeyring, tmp_path: Path) -> None:
    secrets = Secrets(_profile(tmp_path, keystore="os"))
    secrets.add("prj_1", 1, SECRET)
    memory_keyring.entries.clear()
    with pytest.raises(SecretError, match="no longer in the keystore"):
        secrets.read("prj_1", 1)


@pytest.mark.usefixtures("memory_keyring")
def test_secret_too_long_for_some_keystores_is_refused(tmp_path: Path) -> None:
    secrets = Secrets(_profile(tmp_path, keystore="os"))
    with pytest.raises(SecretError, match="Keep it as a file"):
        secrets.add("prj_1", 1, b"x" * 901)
    assert secrets.held() == []


_KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from typing import Literal
from linkage_client.config import Profile
from linkage_client.keys import SigningKey, write_private_file
from linkage_client.keystore import Secrets

folder, what, at = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
profile = Profile(path=folder / "profile.toml", service_url="https://a", organisation_id="org_1", client_id="cli_1")
key = SigningKey.generate()
setattr(os, at, lambda *_, **__: os._exit(9))
key.save(folder / "key.jwk") if what == "key" else Secrets(profile).add("prj_1", 1, b"x" * 32)
"""


@pytest.mark.parametrize("at", ["fsync", "link"])
@pytest.mark.parametrize("what", ["key", "secret"])
def test_program_killed_while_it_writes_leaves_nothing_of_that_name(tmp_path: Path, what: str, at: str) -> None:
    command = [sys.executable, "-c", _KILLED_WHILE_WRITING, str(tmp_path), what, at]
    assert subprocess.run(command, check=False).returncode == 9
    secrets = Secrets(_profile(tmp_path))
    assert not (tmp_path / "key.jwk").exists()
    assert (secrets.held(), secrets.damaged()) == ([], [])
    SigningKey.generate().save(tmp_path / "key.jwk")
    secrets.add("prj_1", 1, SECRET)
    assert secrets.read("prj_1", 1) == SECRET
    # Nor does what was cut off stay, with a secret in it that nobody sees.
    assert list(tmp_path.rglob(".*.partial")) == []


def test_private_file_on_a_drive_without_links_is_whole_and_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", refused)
    write_private_file(tmp_path / "a", b"one")
    with pytest.raises(OutputExistsError):
        write_private_file(tmp_path / "a", b"two")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"one")]


@pytest.mark.parametrize("left", [b"", b"torn"])
def test_empty_or_torn_secret_is_not_held_and_says_how_to_remove_it(tmp_path: Path, left: bytes) -> None:
    secrets = Secrets(_profile(tmp_path))
    secrets.folder.mkdir()
    (secrets.folder / "prj_1.1.secret").write_bytes(left)
    assert secrets.held() == []
    assert [one.epoch for one in secrets.damaged()] == [1]
    for act in (lambda: secrets.read("prj_1", 1), lambda: secrets.add("prj_1", 1, SECRET)):
        with pytest.raises(SecretError, match="linkage secret delete --project prj_1 --epoch 1"):
            act()
    secrets.delete("prj_1", 1)
    secrets.add("prj_1", 1, SECRET)
    assert secrets.read("prj_1", 1) == SECRET


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("to", ["os", "file"])
def test_move_that_was_cut_off_with_both_marks_is_ended_when_repeated(
    memory_keyring: MemoryKeyring, tmp_path: Path, to: Literal["os", "file"], *, torn: bool
) -> None:
    in_keystore, in_files = (Secrets(_profile(tmp_path, keystore=place)) for place in ("os", "file"))
    in_keystore.add("prj_1", 1, SECRET)
    file = tmp_path / "secrets" / "prj_1.1.secret"
    write_private_file(file, b"" if torn else SECRET)
    assert [(one.project_id, one.epoch) for one in in_keystore.held()] == [("prj_1", 1)]
    assert in_keystore.read("prj_1", 1) == SECRET
    (in_keystore if to == "os" else in_files).move(OperatingSystemKeystore(memory_keyring) if to == "os" else None)
    assert in_files.read("prj_1", 1) == SECRET
    assert [path.name for path in file.parent.iterdir()] == [f"prj_1.1.{'keystore' if to == 'os' else 'secret'}"]
    assert len(memory_keyring.entries) == (to == "os")


@pytest.mark.parametrize("to", ["os", "file"])
def test_move_where_file_and_keystore_hold_different_secrets_removes_neither(
    memory_keyring: MemoryKeyring, tmp_path: Path, to: Literal["os", "file"]
) -> None:
    secrets = Secrets(_profile(tmp_path, keystore="os"))
    secrets.add("prj_1", 1, SECRET)
    file = tmp_path / "secrets" / "prj_1.1.secret"
    write_private_file(file, SECRET[::-1])
    with pytest.raises(SecretError, match="Two different"):
        secrets.move(OperatingSystemKeystore(memory_keyring) if to == "os" else None)
    assert file.read_bytes() == SECRET[::-1]
    assert len(memory_keyring.entries) == 1
    secrets.delete("prj_1", 1)
    assert memory_keyring.entries == {}
    assert list(file.parent.iterdir()) == []


def test_move_out_of_the_keystore_cut_off_before_the_secrets_is_ended(
    memory_keyring: MemoryKeyring, tmp_path: Path
) -> None:
    profile = move_keys(_with_files(tmp_path), "os", others=[]).profile
    Secrets(profile).add("prj_1", 1, SECRET)
    moved = move_keys(profile, "file", others=[]).profile
    Secrets(moved).move(OperatingSystemKeystore(memory_keyring))
    assert move_keys(moved, "file", others=[]).secrets == 1
    assert memory_keyring.entries == {}
    assert Secrets(moved).read("prj_1", 1) == SECRET


@pytest.mark.parametrize("place", ["file", "os"])
@pytest.mark.usefixtures("memory_keyring")
def test_origin_of_a_secret_stays_with_it_and_goes_with_it(tmp_path: Path, place: str) -> None:
    secrets = Secrets(_profile(tmp_path, keystore=place))
    secrets.add("prj_1", 1, SECRET, origin="drawn")
    held = secrets.find("prj_1", 1)
    assert held is not None
    assert held.origin == "drawn"
    secrets.delete("prj_1", 1)
    assert list(secrets.folder.iterdir()) == []
    assert secrets.add("prj_1", 1, SECRET).origin == "imported"


@pytest.mark.parametrize("secret", [b"short", b"a secret of some length\n", b""])
def test_secret_that_would_not_come_back_as_it_was_is_refused(tmp_path: Path, secret: bytes) -> None:
    secrets = Secrets(_profile(tmp_path))
    with pytest.raises(SecretError):
        secrets.add("prj_1", 1, secret)
    assert secrets.held() == secrets.damaged() == []
