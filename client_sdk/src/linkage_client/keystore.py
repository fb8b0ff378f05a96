"""Where keys and linkage secrets are kept: the operating system's keystore, or files that only their owner can read.

The keystore is reached through `keyring`, and only if it is one that an operating system has (Credential Manager,
Keychain, Secret Service, KWallet): a backend that forgets, or that writes plain files, would be worse than a file of
mode 0600, because nobody would see it. Where there is none, as on most servers, files are used as they always were.

An entry is named by what it holds: a key by its thumbprint, a linkage secret by client, project and epoch. Keystores
cannot be listed, so a file without content beside the profile marks each secret that is held there.

Access tokens are never kept: they last minutes, a new one costs one request, and one that is not stored cannot be
stolen from where it is stored.
"""

import base64
import binascii
import hmac
import json
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar

from linkage_client.config import KeystoreName, Profile, save_profile
from linkage_client.errors import ConfigurationError, KeyFileError, KeystoreError, OutputExistsError, SecretError
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.sealed import is_sealed
from linkage_client.files import remove_partial, replacing, write_whole
from linkage_client.keys import SigningKey, read_private_file, write_private_file

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

TRUSTED_BACKENDS: Final[Mapping[str, str]] = {
    "keyring.backends.Windows": "Windows Credential Manager",
    "keyring.backends.macOS": "macOS Keychain",
    "keyring.backends.SecretService": "Secret Service",
    "keyring.backends.libsecret": "Secret Service",
    "keyring.backends.kwallet": "KWallet",
}
# Windows stores up to 2,560 bytes of UTF-16 in one entry; base64 takes four characters for three bytes.
MAXIMUM_SECRET_BYTES: Final = 900
CLIENT_KEY: Final = "client_key"
SIGNING_KEY: Final = "signing_key"
KEY_FILE_NAMES: Final[Mapping[str, str]] = {CLIENT_KEY: "client-key.jwk", SIGNING_KEY: "signing-key.jwk"}
EXCHANGE_KEYS_FILE: Final = "exchange-keys.json"
EXCHANGE_PENDING_FILE: Final = "exchange-keys-pending.json"
PENDING_FILE: Final = "registration-pending.json"
SECRETS_FOLDER: Final = "secrets"
_KEY_ENTRY: Final = "linkage key"
_EXCHANGE_ENTRY: Final = "linkage exchange keys"
_SECRET_ENTRY: Final = "linkage secret"  # noqa: S105 - the first words of an entry's name
Result = TypeVar("Result")
_PROBE_ENTRY: Final = "linkage probe"
_USER: Final = "linkage"
Origin = Literal["drawn", "opened", "imported"]
"""`drawn` on this machine, `opened` from a provider's envelope, or `imported` from a file that somebody handed over."""
_ORIGINS: Final[Mapping[str, Origin]] = {"drawn": "drawn", "opened": "opened"}
_PROJECT_ID: Final = re.compile(r"[A-Za-z0-9_-]+")
_HELD: Final = re.compile(rf"(?P<project>{_PROJECT_ID.pattern})\.(?P<epoch>[0-9]+)\.(?P<place>secret|keystore)")


class Keystore(Protocol):
    """A place that keeps texts under names, and keeps them from other accounts."""

    @property
    def name(self) -> str:
        """What people call it."""

    def read(self, entry: str) -> str | None:
        """The text of an entry; None if there is none."""

    def write(self, entry: str, text: str) -> None:
        """Make or replace an entry."""

    def delete(self, entry: str) -> None:
        """Remove an entry, if there is one."""


@dataclass(frozen=True, slots=True)
class OperatingSystemKeystore:
    """The keystore of the operating system, for one keyring backend."""

    backend: "KeyringBackend"
    patience_s: float = 60.0
    """How long somebody may take to unlock it. Over ssh a locked one waits for a window that nobody sees."""

    @property
    def name(self) -> str:
        """What people call it."""
        return TRUSTED_BACKENDS.get(type(self.backend).__module__, type(self.backend).__name__)

    def read(self, entry: str) -> str | None:
        """The text of an entry; None if there is none."""
        return self._ask(lambda: self.backend.get_password(entry, _USER))

    def write(self, entry: str, text: str) -> None:
        """Make or replace an entry, and make sure that it is there."""
        self._ask(lambda: self.backend.set_password(entry, _USER, text))
        kept = self.read(entry)
        if kept is None or not hmac.compare_digest(kept.encode(), text.encode()):
            raise KeystoreError(f"{self.name} did not keep what was put into it. Use files: --key-files.")

    def delete(self, entry: str) -> None:
        """Remove an entry, if there is one."""
        if self.read(entry) is not None:
            self._ask(lambda: self.backend.delete_password(entry, _USER))

    def _ask(self, question: Callable[[], Result]) -> Result:
        answers: list[Result] = []
        failures: list[Exception] = []

        def ask() -> None:
            try:
                answers.append(question())
            except Exception as error:  # noqa: BLE001 - a backend raises what its D-Bus or Windows library raises
                failures.append(error)

        # A daemon: where it waits for ever, the process can still end.
        thread = threading.Thread(target=ask, name="keystore", daemon=True)
        thread.start()
        thread.join(self.patience_s)
        if answers:
            return answers[0]
        # Its kind only: some backends put the entry into the message.
        reason = type(failures[0]).__name__ if failures else f"no answer within {self.patience_s:.0f} s"
        raise KeystoreError(
            f"{self.name} cannot be used ({reason}). It may be locked, or there is nobody logged in to unlock it. "
            "Unlock it and repeat. To do without it, register with --key-files."
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The operating system's keystore, or why there is none to use."""

    keystore: OperatingSystemKeystore | None
    reason: str


def find_keystore() -> Found:
    """Ask keyring for the operating system's keystore. Nothing is read from it yet."""
    import keyring  # noqa: PLC0415 - most commands need no keystore, and it is slow to import
    from keyring.backends.chainer import ChainerBackend  # noqa: PLC0415 - as above

    try:
        backend = keyring.get_keyring()
        chosen = list(backend.backends) if isinstance(backend, ChainerBackend) else [backend]
    except Exception as error:  # noqa: BLE001 - a backend named in keyring's own configuration can fail in any way
        return Found(None, f"keyring cannot be started ({type(error).__name__})")
    for candidate in chosen:
        if type(candidate).__module__ in TRUSTED_BACKENDS:
            if hasattr(candidate, "persist"):
                # Windows would otherwise carry a roaming account's entries, and this machine's key, to other machines.
                candidate.persist = "local machine"
            return Found(OperatingSystemKeystore(candidate), TRUSTED_BACKENDS[type(candidate).__module__])
    kind = type(backend)
    if kind.__module__ in {"keyring.backends.fail", "keyring.backends.null"} or not chosen:
        return Found(None, "this machine offers none, or none is unlocked (servers mostly have none)")
    return Found(None, f"keyring is set to {kind.__module__}.{kind.__name__}, which is not the operating system's")


def find_working_keystore() -> Found:
    """The operating system's keystore, after it has kept something and given it back."""
    found = find_keystore()
    if found.keystore is None:
        return found
    try:
        found.keystore.write(_PROBE_ENTRY, "probe")
        found.keystore.delete(_PROBE_ENTRY)
    except KeystoreError as error:
        return Found(None, error.message)
    return found


def keystore_of(name: KeystoreName) -> Keystore | None:
    """The keystore that a profile names; None for files.

    Raises:
        KeystoreError: the profile names the operating system's, and it cannot be used.
    """
    if name == "file":
        return None
    found = find_keystore()
    if found.keystore is None:
        raise KeystoreError(
            f"This profile keeps keys in the keystore of the operating system, which cannot be used: {found.reason}. "
            "Log in to the desktop of this account, or name key files in a profile of another name."
        )
    return found.keystore


def store_key(keystore: Keystore, key: SigningKey) -> str:
    """Put a key into the keystore; returns the name to find it by, its thumbprint."""
    keystore.write(_key_entry(key.thumbprint), json.dumps(key.private_jwk()))
    return key.thumbprint


def read_key(keystore: Keystore, thumbprint: str) -> SigningKey:
    """The key with this thumbprint.

    Raises:
        KeystoreError: it is not there, or not what it was.
    """
    text = keystore.read(_key_entry(thumbprint))
    if text is None:
        raise KeystoreError(
            f"The key {thumbprint} is not in {keystore.name} of this account. Use the account that registered, bring "
            "the key back from a copy, or have the organisation's signatory admit this machine again."
        )
    key = SigningKey.from_jwk(_json_object(text))
    if key.thumbprint != thumbprint:
        raise KeystoreError(f"What {keystore.name} holds under {thumbprint} is another key. Register again.")
    return key


def delete_key(keystore: Keystore, thumbprint: str) -> None:
    """Remove a key; without a copy elsewhere it is gone."""
    keystore.delete(_key_entry(thumbprint))


def store_exchange_keys(keystore: Keystore, keys: ExchangeKeys) -> str:
    """Put exchange keys into the keystore; returns the name to find them by, their thumbprint."""
    keystore.write(_exchange_entry(keys.thumbprint), keys.to_bytes().decode())
    return keys.thumbprint


def read_exchange_keys(keystore: Keystore, thumbprint: str) -> ExchangeKeys | None:
    """The exchange keys with this thumbprint; None if they are not there.

    Raises:
        KeystoreError: what is there is damaged, or are other keys.
    """
    text = keystore.read(_exchange_entry(thumbprint))
    if text is None:
        return None
    try:
        keys = ExchangeKeys.from_bytes(text.encode(errors="replace"))
    except KeyFileError as error:
        raise KeystoreError(f"What {keystore.name} holds as exchange keys {thumbprint}: {error.message}") from None
    if keys.thumbprint != thumbprint:
        raise KeystoreError(
            f"What {keystore.name} holds under {thumbprint} are other exchange keys. Make new ones and publish their "
            "card: `linkage keys rotate --lost`."
        )
    return keys


def delete_exchange_keys(keystore: Keystore, thumbprint: str) -> None:
    """Remove exchange keys; without a copy elsewhere they are gone."""
    keystore.delete(_exchange_entry(thumbprint))


def client_key_of(profile: Profile) -> SigningKey:
    """The key of this machine.

    Raises:
        ConfigurationError, KeyFileError: it cannot be had.
    """
    key = _key_of(profile, thumbprint=profile.client_key, file=profile.client_key_file)
    if key is None:
        raise ConfigurationError(f"The profile file {profile.path} names no client key. Register again.")
    return key


def signing_key_of(profile: Profile) -> SigningKey | None:
    """The organisation's key, if the profile names one.

    Raises:
        ConfigurationError, KeyFileError: it cannot be had.
    """
    return _key_of(profile, thumbprint=profile.signing_key, file=profile.signing_key_file)


def _key_of(profile: Profile, *, thumbprint: str | None, file: Path | None) -> SigningKey | None:
    if file is not None:
        return SigningKey.load(file)
    if thumbprint is None:
        return None
    keystore = keystore_of(profile.keystore)
    if keystore is None:
        raise ConfigurationError(
            f'The profile file {profile.path} names a key by its thumbprint and lacks keystore = "os". Add the line.'
        )
    return read_key(keystore, thumbprint)


@dataclass(frozen=True, slots=True)
class HeldSecret:
    """Which linkage secret is kept, and where; never the secret."""

    project_id: str
    epoch: int
    place: str
    """`secret`: in a file of its own. `keystore`: in the keystore of the operating system."""
    origin: Origin = "imported"
    """How it came here. Of one that was kept before this was noted nothing is known: it counts as imported."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The linkage secrets of one profile, one for each project and key epoch."""

    profile: Profile

    @property
    def folder(self) -> Path:
        """Where secrets, or the marks of secrets that are in the keystore, lie."""
        return self.profile.folder / SECRETS_FOLDER

    def held(self) -> list[HeldSecret]:
        """Which secrets are kept, by project and epoch; a file that cannot hold one is none."""
        usable = {(one.project_id, one.epoch): one for one in self._marks() if self._is_usable(one)}
        return sorted(usable.values(), key=lambda one: (one.project_id, one.epoch))

    def damaged(self) -> list[HeldSecret]:
        """Files that a cut or a full disk left empty or torn, or that this account cannot read: nothing is held."""
        held = {(one.project_id, one.epoch) for one in self.held()}
        return [one for one in self._marks() if (one.project_id, one.epoch) not in held]

    def find(self, project_id: str, epoch: int) -> HeldSecret | None:
        """The entry for a project and epoch, if there is one."""
        return next((one for one in self.held() if (one.project_id, one.epoch) == (project_id, epoch)), None)

    def add(self, project_id: str, epoch: int, secret: bytes, *, origin: Origin = "imported") -> HeldSecret:
        """Keep a secret where the profile keeps its keys, and how it came here.

        Whether it was drawn at random cannot be seen here: whoever adds one has to know.

        Raises:
            OutputExistsError: one is kept already for this project and epoch; it is never replaced.
            SecretError: it is shorter than 16 bytes, longer than the place takes, or ends like a line of text, which
                would be lost; or a file without a usable secret lies in its place.
            ConfigurationError, KeyFileError: it cannot be kept, or there can be no such project.
        """
        # It becomes part of a file's name, and may come from a linkage.toml.
        if not _PROJECT_ID.fullmatch(project_id):
            raise ConfigurationError("The id of the project is empty or holds characters that no id has.")
        if self.find(project_id, epoch) is not None:
            raise OutputExistsError(
                f"A linkage secret for project {project_id}, epoch {epoch}, is kept already and not replaced. "
                "`linkage secret check` compares it with the partners'; `linkage secret delete` removes it."
            )
        self._refuse_damaged(project_id, epoch)
        from linkage_client.encoding.key_check import usable_secret  # noqa: PLC0415 - keeps `--help` quick

        if usable_secret(secret) != secret:
            raise SecretError("The linkage secret ends in a line end, which is no part of a secret. Take it off.")
        keystore = keystore_of(self.profile.keystore)
        held = HeldSecret(project_id, epoch, "secret" if keystore is None else "keystore", origin)
        # Before the secret, so that none is there whose note is not; an older note that stays is never trusted.
        self._note_origin(held)
        self._write(held, secret, keystore)
        return held

    def read(self, project_id: str, epoch: int) -> bytes:
        """The secret of a project and epoch.

        Raises:
            SecretError: none is kept, or it is damaged.
            KeystoreError: the keystore cannot be used.
        """
        held = self.find(project_id, epoch)
        if held is None:
            self._refuse_damaged(project_id, epoch)
            raise SecretError(
                f"No linkage secret is kept here for project {project_id}, epoch {epoch}. Add the one that all "
                f"providers share (`linkage secret add FILE --project {project_id}`), or name it with --secret-file."
            )
        return self._read(held)

    def _refuse_damaged(self, project_id: str, epoch: int) -> None:
        if any((one.project_id, one.epoch) == (project_id, epoch) for one in self.damaged()):
            raise SecretError(
                f"The file of the linkage secret of project {project_id}, epoch {epoch}, is empty, torn or not "
                "readable by this account: no secret is held. Remove it with `linkage secret delete --project "
                f"{project_id} --epoch {epoch}`, and repeat."
            )

    def _read(self, held: HeldSecret) -> bytes:
        from linkage_client.encoding.key_check import read_secret, usable_secret  # noqa: PLC0415 - keeps `--help` quick

        if held.place == "secret":
            return read_secret(self._path(held))
        keystore = keystore_of("os")
        text = keystore.read(self._entry(held)) if keystore is not None else None
        try:
            return usable_secret(base64.b64decode(text or "", validate=True))
        except (binascii.Error, SecretError):
            raise SecretError(
                f"The linkage secret of project {held.project_id}, epoch {held.epoch}, is no longer in the keystore. "
                "Remove its mark with `linkage secret delete`, and add the secret again."
            ) from None

    def delete(self, project_id: str, epoch: int) -> None:
        """Forget a secret.

        Raises:
            SecretError: none is kept.
        """
        marks = [one for one in self._marks() if (one.project_id, one.epoch) == (project_id, epoch)]
        if not marks:
            raise SecretError(f"No linkage secret is kept here for project {project_id}, epoch {epoch}.")
        # Files first: they can be removed where the keystore cannot be used.
        for one in sorted(marks, key=lambda one: one.place, reverse=True):
            self._remove(one)
        self._origin_path(project_id, epoch).unlink(missing_ok=True)

    def move(self, keystore: Keystore | None) -> int:
        """Move every secret into the keystore, or into files where that is None; returns how many.

        What is interrupted can be repeated.

        Raises:
            SecretError: a file of a secret and the keystore hold different ones.
        """
        wrong = "secret" if keystore is not None else "keystore"
        held = {(one.project_id, one.epoch) for one in self.held()}
        moved = [one for one in self._marks() if one.place == wrong and (one.project_id, one.epoch) in held]
        for one in moved:
            target = replace(one, place="secret" if keystore is None else "keystore")
            # The new copy first: whatever breaks in between, one of them is there.
            if self._path(target).exists():
                self._move_on(target, keystore)
            else:
                self._write(target, self._read(one), keystore)
            self._remove(one)
        return len(moved)

    def left_in_keystore(self) -> bool:
        """Whether a move out of the keystore was cut off, or has not begun."""
        return any(one.place == "keystore" for one in self._marks())

    def _move_on(self, target: HeldSecret, keystore: Keystore | None) -> None:
        """Go on where both marks are there: a move was cut off before the old copy went, or as its file was torn."""
        file = replace(target, place="secret")
        if not self._is_usable(file):
            self._path(file).unlink(missing_ok=True)
            if keystore is None:
                self._write(target, self._read(replace(target, place="keystore")), keystore)
            return
        in_keystore = keystore_of("os")
        text = None if in_keystore is None else in_keystore.read(self._entry(target))
        secret = self._read(file)
        if text is not None and not hmac.compare_digest(text.encode(), base64.b64encode(secret)):
            raise SecretError(
                f"Two different linkage secrets are kept here for project {target.project_id}, epoch {target.epoch}: "
                f"in {self._path(file)} and in the keystore. Nothing was moved. Find out which is the partners' "
                "(`linkage secret check` shows that of the file), and then remove both with `linkage secret delete` "
                "and add the right one."
            )
        if keystore is not None:
            self._put(target, secret, keystore)

    def _marks(self) -> list[HeldSecret]:
        """Every file and mark, a usable file after the mark in the keystore of the same secret."""
        found = [match for path in self.folder.glob("*") if (match := _HELD.fullmatch(path.name))]
        marks = [
            HeldSecret(match["project"], int(match["epoch"]), match["place"], self._origin_of(match)) for match in found
        ]
        return sorted(marks, key=lambda one: (one.project_id, one.epoch, one.place))

    def _origin_of(self, match: re.Match[str]) -> Origin:
        try:
            noted = self._origin_path(match["project"], int(match["epoch"])).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return "imported"
        return _ORIGINS.get(noted.strip(), "imported")

    def _note_origin(self, held: HeldSecret) -> None:
        _make_private_folder(self.folder)
        path = self._origin_path(held.project_id, held.epoch)
        try:
            if held.origin == "imported":
                path.unlink(missing_ok=True)
            else:
                write_whole(path, f"{held.origin}\n")
            remove_partial(path)
        except OSError as error:
            raise KeyFileError(f"{path} cannot be written: {error.strerror}.") from None

    def _is_usable(self, mark: HeldSecret) -> bool:
        """Whether a file can hold a secret. What is in the keystore is not asked here: it may be locked."""
        if mark.place == "keystore":
            return True
        from linkage_client.encoding.key_check import MINIMUM_SECRET_BYTES  # noqa: PLC0415 - keeps `--help` quick

        path = self._path(mark)
        try:
            return path.stat().st_size >= MINIMUM_SECRET_BYTES and os.access(path, os.R_OK)
        except OSError:
            return False

    def replace(self, project_id: str, epoch: int, secret: bytes, *, origin: Origin) -> None:
        """Keep another secret in place of the one that is kept: whatever breaks in between, one of them is there.

        Raises:
            SecretError: none is kept, or it is too long for a keystore.
            ConfigurationError: it cannot be kept.
        """
        held = self.find(project_id, epoch)
        if held is None:
            raise SecretError(f"No linkage secret is kept here for project {project_id}, epoch {epoch}.")
        if held.place == "keystore" and (keystore := keystore_of("os")) is not None:
            self._put(held, secret, keystore)
        else:
            try:
                with replacing(self._path(held)) as temporary:
                    temporary.write_bytes(secret)
            except OSError as error:
                raise ConfigurationError(f"{self._path(held)} cannot be written: {error.strerror}.") from None
        self._note_origin(replace(held, origin=origin))

    def _write(self, held: HeldSecret, secret: bytes, keystore: Keystore | None) -> None:
        _make_private_folder(self.folder)
        if keystore is not None:
            self._put(held, secret, keystore)
        write_private_file(self._path(held), secret if keystore is None else b"")

    def _put(self, held: HeldSecret, secret: bytes, keystore: Keystore) -> None:
        if len(secret) > MAXIMUM_SECRET_BYTES:
            raise SecretError(f"The linkage secret is longer than {MAXIMUM_SECRET_BYTES} bytes. Keep it as a file.")
        keystore.write(self._entry(held), base64.b64encode(secret).decode())

    def _remove(self, held: HeldSecret) -> None:
        if held.place == "keystore" and (keystore := keystore_of("os")) is not None:
            keystore.delete(self._entry(held))
        path = self._path(held)
        path.unlink(missing_ok=True)
        remove_partial(path)

    def _path(self, held: HeldSecret) -> Path:
        return self.folder / f"{held.project_id}.{held.epoch}.{held.place}"

    def _origin_path(self, project_id: str, epoch: int) -> Path:
        return self.folder / f"{project_id}.{epoch}.origin"

    def _entry(self, held: HeldSecret) -> str:
        return f"{_SECRET_ENTRY} {self.profile.client_id} {held.project_id} {held.epoch}"


@dataclass(frozen=True, slots=True)
class PendingRegistration:
    """Which keys in the keystore belong to a registration that has not succeeded yet; thumbprints, no keys.

    They are written before the service hears of the keys, so that a registration whose answer was lost can be repeated
    with the same keys.
    """

    path: Path

    @classmethod
    def beside(cls, profile_path: Path) -> "PendingRegistration":
        """The one of a profile file that does not exist yet."""
        return cls(profile_path.absolute().parent / PENDING_FILE)

    def read(self) -> dict[str, str]:
        """`client_key` and `signing_key`, as far as they were made."""
        try:
            content = _json_object(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return {}
        return {name: text for name, text in content.items() if isinstance(text, str)}

    def write(self, thumbprints: Mapping[str, str]) -> None:
        """Say which keys were made.

        Raises:
            ConfigurationError: it cannot be written.
        """
        try:
            self.path.write_text(json.dumps(dict(thumbprints)) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror}.") from None

    def forget(self) -> None:
        """The registration has succeeded, or was refused and its keys are gone."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a profile's keys and secrets."""

    profile: Profile
    keys: int
    secrets: int
    files_left: tuple[Path, ...]
    """Key files that stay: they lie elsewhere, or another profile names them."""


def move_keys(profile: Profile, to: KeystoreName, *, others: Sequence[Profile]) -> Moved:
    """Move a profile's keys and secrets into the keystore, or out of it into files beside the profile.

    The old copy goes when the profile names the new one, unless one of the `others` uses it too. Key files in other
    folders, such as a signatory's on a stick, stay where they are.

    Raises:
        KeystoreError: the keystore cannot be used.
        KeyFileError, OutputExistsError: a key file cannot be read or made.
    """
    if profile.keystore == to == "file" and not Secrets(profile).left_in_keystore():
        # A server without any keystore has nothing to move either.
        return Moved(profile=profile, keys=0, secrets=0, files_left=())
    if (profile.folder / EXCHANGE_PENDING_FILE).exists():
        raise ConfigurationError(
            "A change of exchange keys was begun and not ended, so nothing was moved. End it with `linkage keys "
            "rotate`, and then move the keys."
        )
    keystore = keystore_of("os")
    if keystore is None:
        raise AssertionError  # pragma: no cover - "os" gives a keystore or raises
    if to == "os":
        return _move_to_keystore(profile, keystore, others=others)
    return _move_to_files(profile, keystore, others=others)


def _move_to_keystore(profile: Profile, keystore: Keystore, *, others: Sequence[Profile]) -> Moved:
    changes: dict[str, Any] = {}
    files: list[Path] = []
    left: list[Path] = []
    in_use = {
        file for other in others for file in (other.client_key_file, other.signing_key_file, other.exchange_keys_file)
    }
    for kind, file in ((CLIENT_KEY, profile.client_key_file), (SIGNING_KEY, profile.signing_key_file)):
        if file is None:
            continue
        if file.parent != profile.folder:
            left.append(file)
            continue
        changes |= {kind: store_key(keystore, SigningKey.load(file)), f"{kind}_file": None}
        (left if file in in_use else files).append(file)
    exchange_file = profile.exchange_keys_file
    if exchange_file is not None:
        raw = read_private_file(exchange_file)
        # What a passphrase guards stays behind it.
        if exchange_file.parent != profile.folder or is_sealed(raw):
            left.append(exchange_file)
        else:
            thumbprint = store_exchange_keys(keystore, ExchangeKeys.from_bytes(raw))
            changes |= {"exchange_keys": thumbprint, "exchange_keys_file": None}
            (left if exchange_file in in_use else files).append(exchange_file)
    moved = replace(profile, keystore="os", **changes)
    save_profile(moved, replace=True)
    for file in files:
        file.unlink(missing_ok=True)
    secrets = Secrets(moved).move(keystore)
    return Moved(profile=moved, keys=len(changes) // 2, secrets=secrets, files_left=tuple(left))


def _move_to_files(profile: Profile, keystore: Keystore, *, others: Sequence[Profile]) -> Moved:
    changes: dict[str, Any] = {}
    entries = []
    if profile.exchange_keys is not None:
        file = _exchange_keys_to_file(profile, keystore, profile.exchange_keys)
        changes |= {"exchange_keys": None, "exchange_keys_file": file}
    in_use = {thumbprint for other in others for thumbprint in (other.client_key, other.signing_key)}
    for kind, thumbprint in ((CLIENT_KEY, profile.client_key), (SIGNING_KEY, profile.signing_key)):
        if thumbprint is None:
            continue
        file = profile.folder / KEY_FILE_NAMES[kind]
        read_key(keystore, thumbprint).save(file)
        changes |= {kind: None, f"{kind}_file": file}
        entries.append(thumbprint)
    moved = replace(profile, keystore="file", **changes)
    save_profile(moved, replace=True)
    for thumbprint in entries:
        if thumbprint not in in_use:
            delete_key(keystore, thumbprint)
    if profile.exchange_keys not in {None, *(other.exchange_keys for other in others)}:
        delete_exchange_keys(keystore, str(profile.exchange_keys))
    return Moved(profile=moved, keys=len(changes) // 2, secrets=Secrets(moved).move(None), files_left=())


def _exchange_keys_to_file(profile: Profile, keystore: Keystore, thumbprint: str) -> Path:
    keys = read_exchange_keys(keystore, thumbprint)
    if keys is None:
        raise KeystoreError(
            f"The exchange keys {thumbprint} are no longer in {keystore.name}, so nothing was moved. Bring them back "
            "from a copy (`linkage keys import FILE --replace`), or make new ones (`linkage keys rotate --lost`)."
        )
    file = profile.folder / EXCHANGE_KEYS_FILE
    # What was interrupted can be repeated.
    if not file.exists() or read_private_file(file) != keys.to_bytes():
        write_private_file(file, keys.to_bytes())
    return file


def _key_entry(thumbprint: str) -> str:
    return f"{_KEY_ENTRY} {thumbprint}"


def _exchange_entry(thumbprint: str) -> str:
    return f"{_EXCHANGE_ENTRY} {thumbprint}"


def _json_object(text: str) -> dict[str, object]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _make_private_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The folder {folder} cannot be made: {error.strerror}.") from None
