"""Where a profile's exchange keys are kept, and how new ones take the place of old ones without a moment of neither.

New keys are kept first (`keep_new`), then their card is published, then the profile names them (`activate`), and last
the old ones go (`forget_old`). A note beside the profile says which keys are changing; it holds no key. Whatever stops
the program in between, the same steps in the same order, begun again, end with one set of keys, the one whose card was
published. The first keys of a profile are kept in the same steps; there are no old ones then.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from linkage_client.config import Profile, save_profile
from linkage_client.errors import ConfigurationError, KeyExchangeError, KeyFileError
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.sealed import is_sealed, seal, unseal
from linkage_client.files import write_whole
from linkage_client.keys import read_private_file, write_private_file
from linkage_client.keystore import (
    EXCHANGE_KEYS_FILE,
    EXCHANGE_PENDING_FILE,
    delete_exchange_keys,
    keystore_of,
    read_exchange_keys,
    store_exchange_keys,
)

SEALED_FILE: Final = "exchange-keys.sealed"
_SHOWN: Final = 8
_IF_LOST: Final = (
    "If they are lost, bring them back from a copy (`linkage keys import FILE --replace`), or make new ones and "
    "publish their card: `linkage keys rotate --lost`."
)

Ask = Callable[[], str]
"""Gives the passphrase of a sealed file; called only where there is one."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where exchange keys are: in a file, or in the operating system's keystore under their thumbprint."""

    file: Path | None = None
    thumbprint: str | None = None


def place_of(profile: Profile) -> Place | None:
    """Where the profile's exchange keys are; None if it has none."""
    if profile.exchange_keys_file is not None:
        return Place(file=profile.exchange_keys_file)
    return None if profile.exchange_keys is None else Place(thumbprint=profile.exchange_keys)


def exchange_keys_of(profile: Profile, *, passphrase: Ask | None = None) -> ExchangeKeys | None:
    """The profile's exchange keys; None if it has none.

    Args:
        profile: whose.
        passphrase: asks for the passphrase of a sealed file.

    Raises:
        KeyFileError: the file is absent, readable by others or damaged.
        KeystoreError: the keystore cannot be used, or they are no longer in it.
        ConfigurationError: the profile names a keystore's entry, and no keystore.
        KeyExchangeError: `passphrase_needed`, `sealed_wrong_passphrase` and others of sealed files.
    """
    place = place_of(profile)
    return None if place is None else _read(profile, place, passphrase)


def is_behind_passphrase(profile: Profile) -> bool:
    """Whether opening the profile's exchange keys takes a passphrase.

    Raises:
        KeyFileError: the file cannot be read.
    """
    file = profile.exchange_keys_file
    return file is not None and is_sealed(read_private_file(file))


def unfinished(profile: Profile) -> bool:
    """Whether a change of keys was begun and not ended; going through its steps again ends it."""
    return _Note.of(profile).read() is not None


def keep_new(
    profile: Profile, *, keys: ExchangeKeys | None = None, passphrase: str | None = None, reopen: Ask | None = None
) -> ExchangeKeys:
    """Keep new keys beside the present ones. The profile does not name them yet.

    Of a change that was begun and not ended, the keys of that change are given back, and nothing is made.

    Args:
        profile: whose.
        keys: some that were made elsewhere; new ones are made without.
        passphrase: seals them in a file, whatever the profile keeps its other keys in.
        reopen: asks for the passphrase of sealed keys of a change that was not ended; default: `passphrase`.

    Raises:
        ConfigurationError: another change was begun and not ended, or a file cannot be written.
        KeyFileError, KeystoreError, KeyExchangeError: keys cannot be kept or read.
    """
    note = _Note.of(profile)
    change = note.read()
    if change is not None:
        begun = _begun(profile, change, reopen or (None if passphrase is None else lambda: passphrase))
        if begun is not None:
            if keys is not None and keys.thumbprint != begun.thumbprint:
                raise ConfigurationError(
                    "A change of exchange keys was begun and not ended. End it with `linkage keys rotate`, and then "
                    "take these keys."
                )
            return begun
    new = keys or ExchangeKeys.generate()
    place = _new_place(profile, new, sealed=passphrase is not None)
    # The note first: a keystore cannot be searched, and a file that no note names could be anybody's.
    note.write(new=place, old=place_of(profile))
    _write(profile, place, new, passphrase)
    return new


def activate(profile: Profile) -> Profile:
    """Have the profile name the new keys, when their card is published; returns it as it is now.

    Raises:
        ConfigurationError: no change was begun, its keys were not kept, or the profile cannot be written.
        KeystoreError: the keystore cannot be used.
    """
    change = _Note.of(profile).read()
    if change is None:
        raise ConfigurationError("No change of exchange keys was begun. Begin one with `linkage keys rotate`.")
    if place_of(profile) == change.new:
        return profile
    # Else the profile would name nothing, and the old keys would be removed next.
    if not _exists(change.new):
        raise ConfigurationError(
            "The new exchange keys were not kept before the program stopped. Begin again with `linkage keys rotate`."
        )
    renewed = replace(profile, exchange_keys=change.new.thumbprint, exchange_keys_file=change.new.file)
    save_profile(renewed, replace=True)
    return renewed


def forget_old(profile: Profile, *, others: Sequence[Profile] = ()) -> None:
    """Remove the old keys, when the profile names the new ones. Nothing is done where no change was begun.

    Args:
        profile: as `activate` gave it.
        others: further profiles of this account; what one of them uses stays.

    Raises:
        ConfigurationError: the profile does not name the new keys yet.
        KeystoreError: the keystore cannot be used.
    """
    note = _Note.of(profile)
    change = note.read()
    if change is None:
        return
    if place_of(profile) != change.new:
        raise ConfigurationError(
            "The new exchange keys are not in use yet, so the old ones were not removed. Run `linkage keys rotate`."
        )
    if change.old is not None and change.old != change.new and change.old not in map(place_of, others):
        _remove(profile, change.old)
    note.forget()


def abandon(profile: Profile) -> None:
    """Give up a change that was begun, whose new keys cannot be opened any more; the profile names what it named.

    Raises:
        KeystoreError: the keystore cannot be used.
    """
    note = _Note.of(profile)
    change = note.read()
    if change is None:
        return
    if change.new not in {place_of(profile), change.old}:
        _remove(profile, change.new)
    note.forget()


def _exists(place: Place) -> bool:
    if place.file is not None:
        return place.file.exists()
    keystore = keystore_of("os")
    return keystore is not None and read_exchange_keys(keystore, place.thumbprint or "") is not None


def _begun(profile: Profile, change: "_Change", passphrase: Ask | None) -> ExchangeKeys | None:
    """The new keys of a change; None where the program was stopped before they were kept, so that nobody has them."""
    if change.new.file is not None:
        return _read(profile, change.new, passphrase) if change.new.file.exists() else None
    keystore = keystore_of("os")
    if keystore is None or change.new.thumbprint is None:
        raise AssertionError  # pragma: no cover - "os" gives a keystore or raises
    return read_exchange_keys(keystore, change.new.thumbprint)


def _read(profile: Profile, place: Place, passphrase: Ask | None) -> ExchangeKeys:
    if place.file is not None:
        return _read_file(place.file, passphrase)
    if profile.keystore != "os" or place.thumbprint is None:
        raise ConfigurationError(
            f"The profile file {profile.path} names exchange keys by their thumbprint and lacks "
            'keystore = "os". Add the line.'
        )
    keystore = keystore_of("os")
    keys = None if keystore is None else read_exchange_keys(keystore, place.thumbprint)
    if keys is None:
        raise KeyFileError(
            f"The exchange keys {place.thumbprint} are no longer in the keystore of this account. {_IF_LOST}"
        )
    return keys


def _read_file(file: Path, passphrase: Ask | None) -> ExchangeKeys:
    if not file.exists():
        raise KeyFileError(f"The exchange keys are no longer in {file}. {_IF_LOST}")
    raw = read_private_file(file)
    if is_sealed(raw):
        if passphrase is None:
            raise KeyExchangeError(
                f"The exchange keys in {file} are sealed with a passphrase, and there is nobody here to ask for it. "
                "Give it with --passphrase-file.",
                code="passphrase_needed",
            )
        given = passphrase()
        try:
            raw = unseal(raw, kind="exchange-keys", passphrase=given)
        except KeyExchangeError as error:
            raise KeyExchangeError(f"{error.message} {_IF_LOST}", code=error.code) from None
    try:
        return ExchangeKeys.from_bytes(raw)
    except KeyFileError as error:
        raise KeyFileError(f"Key file {file}: {error.message} {_IF_LOST}") from None


def _new_place(profile: Profile, keys: ExchangeKeys, *, sealed: bool) -> Place:
    if profile.keystore == "os" and not sealed:
        return Place(thumbprint=keys.thumbprint)
    usual = profile.folder / (SEALED_FILE if sealed else EXCHANGE_KEYS_FILE)
    if not usual.exists():
        return Place(file=usual)
    return Place(file=usual.with_stem(f"{usual.stem}-{keys.thumbprint[:_SHOWN]}"))


def _write(profile: Profile, place: Place, keys: ExchangeKeys, passphrase: str | None) -> None:
    if place.file is None:
        keystore = keystore_of(profile.keystore)
        if keystore is None:
            raise AssertionError  # pragma: no cover - such a place is chosen for the keystore only
        store_exchange_keys(keystore, keys)
        return
    content = (
        keys.to_bytes() if passphrase is None else seal(keys.to_bytes(), kind="exchange-keys", passphrase=passphrase)
    )
    # Whole or not at all, and on the disk before anybody is told of the keys.
    write_private_file(place.file, content)


def _remove(profile: Profile, place: Place) -> None:
    if place.thumbprint is not None:
        keystore = keystore_of("os")
        if keystore is not None:
            delete_exchange_keys(keystore, place.thumbprint)
    # A file in another folder is not this profile's to remove: a stick, or a folder that several share.
    elif place.file is not None and place.file.parent == profile.folder:
        place.file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Change:
    new: Place
    old: Place | None


@dataclass(frozen=True, slots=True)
class _Note:
    """Which exchange keys are changing."""

    path: Path

    @classmethod
    def of(cls, profile: Profile) -> "_Note":
        return cls(profile.folder / EXCHANGE_PENDING_FILE)

    def read(self) -> _Change | None:
        """The change that was begun.

        Raises:
            ConfigurationError: the note cannot be read; going on without it could leave keys behind.
        """
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            old = content["old"]
            return _Change(new=self._place(content["new"]), old=None if old is None else self._place(old))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigurationError(
                f"{self.path}, which says how far a change of exchange keys got, cannot be read. If no change was "
                "under way, remove it."
            ) from None

    def write(self, *, new: Place, old: Place | None) -> None:
        """Say which keys are changing.

        Raises:
            ConfigurationError: it cannot be written.
        """
        content = {"new": self._as_json(new), "old": None if old is None else self._as_json(old)}
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self.path, json.dumps(content) + "\n")
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror}.") from None

    def forget(self) -> None:
        """The change has ended."""
        self.path.unlink(missing_ok=True)

    def _place(self, content: Mapping[str, str]) -> Place:
        if "file" in content:
            return Place(file=self.path.parent / content["file"])
        return Place(thumbprint=str(content["thumbprint"]))

    def _as_json(self, place: Place) -> dict[str, str]:
        if place.file is None:
            return {"thumbprint": place.thumbprint or ""}
        return {"file": place.file.name if place.file.parent == self.path.parent else str(place.file)}
