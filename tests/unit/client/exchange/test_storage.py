"""Exchange keys are never overwritten, and a change of them that breaks anywhere ends with one set that is in use."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from linkage_client.config import Profile, load_profile, save_profile
from linkage_client.errors import (
    ConfigurationError,
    KeyExchangeError,
    KeyFileError,
    KeystoreError,
    LinkageClientError,
    OutputExistsError,
)
from linkage_client.exchange import storage
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.sealed import is_sealed
from linkage_client.exchange.storage import (
    activate,
    exchange_keys_of,
    forget_old,
    is_behind_passphrase,
    keep_new,
    place_of,
    unfinished,
)
from linkage_client.keys import SigningKey
from linkage_client.keystore import EXCHANGE_PENDING_FILE, move_keys
from support.keystores import MemoryKeyring

PASSPHRASE = "five words picked by chance"


class Broken(LinkageClientError):
    """What stands for a power cut."""


@pytest.fixture(autouse=True)
def _cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the cost of a passphrase there are tests of its own."""
    monkeypatch.setattr("linkage_client.exchange.sealed._COST", 2)


def _profile(folder: Path, **members: Any) -> Profile:
    folder.mkdir(exist_ok=True)
    client_key = folder / "client-key.jwk"
    SigningKey.generate().save(client_key)
    profile = Profile(
        path=folder / "profile.toml",
        service_url="https://a",
        organisation_id="org_1",
        client_id="cli_1",
        **{"client_key_file": client_key, **members},
    )
    save_profile(profile)
    return load_profile(profile.path)


def _passphrase() -> str:
    return PASSPHRASE


def _not_asked() -> str:
    pytest.fail("a passphrase was asked for")


@dataclass
class Machine:
    """A machine that makes or changes its exchange keys, and a service that is told of the card."""

    path: Path
    passphrase: str | None = None
    published: list[str] = field(default_factory=list)

    def change(self) -> None:
        profile = load_profile(self.path)
        keys = keep_new(profile, passphrase=self.passphrase)
        self.published.append(keys.thumbprint)
        forget_old(activate(profile))

    def in_use(self) -> str | None:
        """Thumbprint of what the profile, as it lies on the disk, names; it can be read."""
        keys = exchange_keys_of(load_profile(self.path), passphrase=_passphrase if self.passphrase else _not_asked)
        return None if keys is None else keys.thumbprint


@pytest.fixture(params=["file", "keystore", "sealed"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    memory: MemoryKeyring = request.getfixturevalue("memory_keyring")
    assert memory.entries == {}
    profile = _profile(tmp_path / "profile", keystore="os" if request.param == "keystore" else "file")
    return Machine(profile.path, passphrase=PASSPHRASE if request.param == "sealed" else None)


def _kept(machine: Machine, memory: MemoryKeyring) -> list[str]:
    """What holds exchange keys on this machine."""
    files = [path.name for path in machine.path.parent.glob("exchange-keys*") if path.name != EXCHANGE_PENDING_FILE]
    return files + [service for service, _ in memory.entries if service.startswith("linkage exchange keys ")]


def test_profile_without_exchange_keys_has_none(tmp_path: Path) -> None:
    profile = _profile(tmp_path / "profile")
    assert exchange_keys_of(profile) is None
    assert place_of(profile) is None
    assert not is_behind_passphrase(profile)


def test_first_keys_are_kept_and_named(machine: Machine, memory_keyring: MemoryKeyring) -> None:
    machine.change()
    assert machine.in_use() == machine.published[0]
    assert len(_kept(machine, memory_keyring)) == 1
    assert not unfinished(load_profile(machine.path))


def test_changed_keys_leave_no_trace_of_the_old(machine: Machine, memory_keyring: MemoryKeyring) -> None:
    for changes in range(1, 4):
        machine.change()
        assert machine.in_use() == machine.published[-1]
        assert len(set(machine.published)) == changes
        assert len(_kept(machine, memory_keyring)) == 1


def test_old_keys_are_in_use_until_the_card_of_the_new_is_published(machine: Machine) -> None:
    machine.change()
    profile = load_profile(machine.path)
    new = keep_new(profile, passphrase=machine.passphrase)
    assert machine.in_use() == machine.published[0] != new.thumbprint
    assert unfinished(profile)
    renewed = activate(profile)
    assert machine.in_use() == new.thumbprint
    assert activate(renewed) == renewed == load_profile(machine.path)


BREAKABLE = ("write_whole", "save_profile", "store_exchange_keys", "_remove")


def _break_at(step: int, patch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Have the program stop before (even) or after (odd) one of the things that it does; says whether it did."""
    seen = [0, 0]

    def breaking(action: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            at = seen[0]
            seen[0] += 2
            if at == step:
                seen[1] = 1
                raise Broken("before")
            result = action(*arguments, **named)
            if at + 1 == step:
                seen[1] = 1
                raise Broken("after")
            return result

        return call

    for name in BREAKABLE:
        patch.setattr(storage, name, breaking(getattr(storage, name)))
    patch.setattr(storage._Note, "forget", breaking(storage._Note.forget))
    return lambda: bool(seen[1])


@pytest.mark.parametrize("earlier", [0, 1], ids=["first", "change"])
def test_change_that_breaks_anywhere_is_ended_by_the_same_steps(
    machine: Machine, memory_keyring: MemoryKeyring, earlier: int
) -> None:
    for step in range(20):
        for _ in range(earlier):
            machine.change()
        before = machine.in_use()
        machine.published.clear()
        with pytest.MonkeyPatch.context() as patch:
            broke = _break_at(step, patch)
            with suppress(Broken):
                machine.change()
            if not broke():
                assert step >= 8
                return
        assert machine.in_use() in {before, *machine.published}
        machine.change()
        # Whatever was published before it broke is what is published again.
        if earlier or len(set(machine.published)) == 1:
            assert machine.in_use() == machine.published[-1] != before
        assert len(_kept(machine, memory_keyring)) == 1
        assert not unfinished(load_profile(machine.path))
    pytest.fail("the change never came to its end")


def test_keys_that_were_published_are_the_ones_that_stay(machine: Machine) -> None:
    profile = load_profile(machine.path)
    published = keep_new(profile, passphrase=machine.passphrase)
    again = keep_new(load_profile(machine.path), passphrase=machine.passphrase)
    assert again.thumbprint == published.thumbprint
    after = keep_new(activate(profile), passphrase=machine.passphrase)
    assert after.thumbprint == published.thumbprint


def test_profile_is_not_made_to_name_keys_that_were_never_kept(machine: Machine) -> None:
    machine.change()
    before = machine.in_use()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "_write", _raise_broken)
        with pytest.raises(Broken):
            machine.change()
    profile = load_profile(machine.path)
    with pytest.raises(ConfigurationError, match="were not kept"):
        activate(profile)
    with pytest.raises(ConfigurationError, match="not in use yet"):
        forget_old(profile)
    assert machine.in_use() == before


def _raise_broken(*_: object) -> None:
    raise Broken("here")


def test_steps_out_of_order_do_nothing(machine: Machine) -> None:
    profile = load_profile(machine.path)
    with pytest.raises(ConfigurationError, match="No change of exchange keys was begun"):
        activate(profile)
    machine.change()
    forget_old(load_profile(machine.path))
    assert machine.in_use() == machine.published[0]


def test_keys_from_elsewhere_are_kept_as_they_are(machine: Machine) -> None:
    brought = ExchangeKeys.generate()
    profile = load_profile(machine.path)
    assert keep_new(profile, keys=brought, passphrase=machine.passphrase).thumbprint == brought.thumbprint
    with pytest.raises(ConfigurationError, match="begun and not ended"):
        keep_new(profile, keys=ExchangeKeys.generate(), passphrase=machine.passphrase)
    forget_old(activate(profile))
    assert machine.in_use() == brought.thumbprint


def test_file_that_lies_there_is_not_replaced(tmp_path: Path) -> None:
    profile = _profile(tmp_path / "profile")
    found = profile.folder / "exchange-keys.json"
    found.write_text("somebody's")
    keep_new(profile)
    assert found.read_text() == "somebody's"
    assert load_profile(activate(profile).path).exchange_keys_file != found
    with pytest.raises(OutputExistsError):
        storage._write(profile, storage.Place(file=found), ExchangeKeys.generate(), None)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_files_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    profile = _profile(tmp_path / "profile")
    keep_new(profile)
    for path in profile.folder.glob("exchange-keys*"):
        assert path.stat().st_mode & 0o077 == 0
    renewed = activate(profile)
    assert renewed.exchange_keys_file is not None
    renewed.exchange_keys_file.chmod(0o640)
    with pytest.raises(KeyFileError, match="can be read by other accounts"):
        exchange_keys_of(renewed)


def test_note_holds_no_key(machine: Machine) -> None:
    machine.change()
    keys = keep_new(load_profile(machine.path), passphrase=machine.passphrase)
    note = (machine.path.parent / EXCHANGE_PENDING_FILE).read_text()
    assert keys.to_bytes().decode()[60:100] not in note
    assert len(note) < 400


def test_damaged_note_stops_everything_that_could_lose_keys(machine: Machine) -> None:
    machine.change()
    (machine.path.parent / EXCHANGE_PENDING_FILE).write_text("[1")
    profile = load_profile(machine.path)
    for step in (keep_new, activate, forget_old, unfinished):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            step(profile)


def test_sealed_keys_are_asked_for_their_passphrase(tmp_path: Path) -> None:
    profile = _profile(tmp_path / "profile")
    keys = keep_new(profile, passphrase=PASSPHRASE)
    profile = activate(profile)
    assert profile.exchange_keys_file is not None
    assert profile.exchange_keys_file.name == "exchange-keys.sealed"
    assert is_sealed(profile.exchange_keys_file.read_bytes())
    assert is_behind_passphrase(profile)
    opened = exchange_keys_of(profile, passphrase=_passphrase)
    assert opened is not None
    assert opened.thumbprint == keys.thumbprint
    for ask, code in ((None, "passphrase_needed"), (lambda: "another passphrase", "sealed_wrong_passphrase")):
        with pytest.raises(KeyExchangeError) as caught:
            exchange_keys_of(profile, passphrase=ask)
        assert caught.value.code == code


def test_sealed_keys_of_a_change_that_broke_are_opened_with_what_is_asked_for(tmp_path: Path) -> None:
    profile = _profile(tmp_path / "profile")
    keys = keep_new(profile, passphrase=PASSPHRASE)
    assert keep_new(profile, reopen=_passphrase).thumbprint == keys.thumbprint
    with pytest.raises(KeyExchangeError) as caught:
        keep_new(profile)
    assert caught.value.code == "passphrase_needed"


def test_keys_that_another_profile_uses_stay(machine: Machine, memory_keyring: MemoryKeyring) -> None:
    machine.change()
    profile = load_profile(machine.path)
    other = replace(profile, path=profile.path.with_name("other.toml"))
    keep_new(profile, passphrase=machine.passphrase)
    forget_old(activate(profile), others=[other])
    assert len(_kept(machine, memory_keyring)) == 2
    kept = exchange_keys_of(other, passphrase=_passphrase)
    assert kept is not None
    assert kept.thumbprint == machine.published[0]


def test_file_in_another_folder_is_not_removed(tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    file = stick / "keys.json"
    file.write_bytes(ExchangeKeys.generate().to_bytes())
    file.chmod(0o600)
    profile = _profile(tmp_path / "profile", exchange_keys_file=file)
    keep_new(profile)
    forget_old(activate(profile))
    assert file.exists()


def test_profile_that_names_an_entry_and_no_keystore_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match='lacks keystore = "os"'):
        exchange_keys_of(_profile(tmp_path / "profile", exchange_keys="thumb"))


def test_profile_that_names_two_places_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="two places for a key: exchange_keys and exchange_keys_file"):
        _profile(tmp_path / "profile", exchange_keys="a", exchange_keys_file=tmp_path / "b")


def test_profile_keeps_where_its_exchange_keys_are(tmp_path: Path) -> None:
    profile = _profile(tmp_path / "profile", exchange_keys_file=tmp_path / "profile" / "exchange-keys.json")
    assert 'exchange_keys_file = "exchange-keys.json"\n' in profile.path.read_text()
    assert profile.exchange_keys_file == tmp_path / "profile" / "exchange-keys.json"


def test_entry_that_is_gone_or_is_another_is_refused(memory_keyring: MemoryKeyring, tmp_path: Path) -> None:
    profile = _profile(tmp_path / "profile", keystore="os")
    keep_new(profile)
    profile = activate(profile)
    forget_old(profile)
    (entry,) = [name for name in memory_keyring.entries if name[0].startswith("linkage exchange keys ")]
    for text, message in ((ExchangeKeys.generate().to_bytes().decode(), "other exchange keys"), ("{}", "damaged")):
        memory_keyring.entries[entry] = text
        with pytest.raises(KeystoreError, match=message) as caught:
            exchange_keys_of(profile)
        assert text[:20] not in caught.value.message or text == "{}"
    del memory_keyring.entries[entry]
    with pytest.raises(KeyFileError, match="no longer in the keystore"):
        exchange_keys_of(profile)
    with pytest.raises(KeystoreError, match="nothing was moved"):
        move_keys(profile, "file", others=[])
    assert load_profile(profile.path) == profile


def test_damaged_file_is_named_and_not_quoted(tmp_path: Path) -> None:
    profile = _profile(tmp_path / "profile")
    keep_new(profile)
    profile = activate(profile)
    assert profile.exchange_keys_file is not None
    text = profile.exchange_keys_file.read_text()
    profile.exchange_keys_file.write_text(text[:-5])
    with pytest.raises(KeyFileError, match="damaged") as caught:
        exchange_keys_of(profile)
    assert str(profile.exchange_keys_file) in caught.value.message
    assert text[60:90] not in caught.value.message


@pytest.mark.usefixtures("memory_keyring")
def test_exchange_keys_move_with_the_others(tmp_path: Path) -> None:
    machine = Machine(_profile(tmp_path / "profile").path)
    machine.change()
    first = machine.in_use()
    moved = move_keys(load_profile(machine.path), "os", others=[])
    assert (moved.keys, moved.profile.exchange_keys, moved.profile.exchange_keys_file) == (2, first, None)
    assert machine.in_use() == first
    assert not (machine.path.parent / "exchange-keys.json").exists()
    back = move_keys(load_profile(machine.path), "file", others=[])
    assert (back.keys, back.profile.exchange_keys) == (2, None)
    assert machine.in_use() == first
    machine.change()


def test_exchange_keys_that_another_profile_uses_do_not_go_when_they_move(
    memory_keyring: MemoryKeyring, tmp_path: Path
) -> None:
    machine = Machine(_profile(tmp_path / "profile").path)
    machine.change()
    profile = load_profile(machine.path)
    move_keys(profile, "os", others=[profile])
    assert (profile.folder / "exchange-keys.json").exists()
    (profile.folder / "exchange-keys.json").unlink()
    (profile.folder / "client-key.jwk").unlink()
    in_keystore = load_profile(machine.path)
    move_keys(in_keystore, "file", others=[in_keystore])
    assert any(service.startswith("linkage exchange keys ") for service, _ in memory_keyring.entries)


@pytest.mark.usefixtures("memory_keyring")
def test_sealed_keys_stay_where_they_are_when_the_others_move(tmp_path: Path) -> None:
    machine = Machine(_profile(tmp_path / "profile").path, passphrase=PASSPHRASE)
    machine.change()
    sealed = machine.path.parent / "exchange-keys.sealed"
    moved = move_keys(load_profile(machine.path), "os", others=[])
    assert moved.files_left == (sealed,)
    assert machine.in_use() == machine.published[0]
    move_keys(load_profile(machine.path), "file", others=[])
    assert machine.in_use() == machine.published[0]


@pytest.mark.usefixtures("memory_keyring")
@pytest.mark.parametrize("to", ["os", "file"])
def test_keys_do_not_move_while_they_change(tmp_path: Path, to: Any) -> None:
    machine = Machine(_profile(tmp_path / "profile", keystore="file" if to == "os" else "os").path)
    machine.change()
    keep_new(load_profile(machine.path))
    with pytest.raises(ConfigurationError, match="begun and not ended, so nothing was moved"):
        move_keys(load_profile(machine.path), to, others=[])
    machine.change()
    move_keys(load_profile(machine.path), to, others=[])
    assert machine.in_use() == machine.published[-1]


@pytest.mark.usefixtures("memory_keyring")
def test_move_to_files_that_broke_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(_profile(tmp_path / "profile", keystore="os").path)
    machine.change()
    with monkeypatch.context() as patch:
        patch.setattr("linkage_client.keystore.save_profile", lambda *_, **__: _raise_broken())
        with pytest.raises(Broken):
            move_keys(load_profile(machine.path), "file", others=[])
    assert machine.in_use() == machine.published[0]
    move_keys(load_profile(machine.path), "file", others=[])
    assert machine.in_use() == machine.published[0]
