"""A new key for this machine in place of the old one, so that whatever breaks on the way, a usable key is kept here.

The new key is kept before the service hears of it, the profile names it only when the service has it, and the old one
is revoked and removed last. A file beside the profile says how far it got; it holds thumbprints and no keys. A rotation
that was interrupted goes on with the same new key when it is asked for again.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from linkage_client.client import LinkageClient
from linkage_client.config import Profile, save_profile
from linkage_client.errors import ConfigurationError, KeystoreError, LinkageClientError
from linkage_client.files import write_whole
from linkage_client.keys import SigningKey
from linkage_client.keystore import client_key_of, delete_key, keystore_of, read_key, store_key

PENDING_FILE: Final = "rotation-pending.json"
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation came to."""

    old: str
    """Thumbprint of the key that was revoked."""
    new: str
    profile: Profile
    """The profile as it is now."""


def rotate_client_key(
    profile: Profile,
    *,
    others: Sequence[Profile] = (),
    connect: Callable[[Profile], LinkageClient] = LinkageClient.from_profile,
) -> Rotated:
    """Register a new key for the machine of a profile, use it from now on, and revoke the old one.

    Args:
        profile: whose client key is rotated.
        others: further profiles of this account; none of them may use the same key, because it stops working.
        connect: makes the client of a profile.

    Raises:
        ConfigurationError: another profile uses the key, or a file cannot be written.
        KeyFileError, KeystoreError: a key cannot be read or kept.
        ServiceError: the service refuses. The old key goes on working.
    """
    _check_alone(profile, others)
    current = client_key_of(profile)
    pending = _Pending(profile.folder / PENDING_FILE)
    known = pending.read()
    if known is not None and known.new == current.thumbprint:
        # All but the end was done.
        renewed, old = profile, known.old
    else:
        old = current.thumbprint
        kept = _kept_by(profile, known.new) if known is not None and known.old == old else None
        new, renewed = kept or _keep_new(profile, pending, old=old)
        with connect(profile) as client:
            client.organisations.add_client_key(
                organisation_id=profile.organisation_id, client_id=profile.client_id, public_jwk=new.public_jwk
            )
        save_profile(renewed, replace=True)
    with connect(renewed) as client:
        _revoke(client, profile, old)
    _forget(renewed, old)
    pending.forget()
    return Rotated(old=old, new=client_key_of(renewed).thumbprint, profile=renewed)


def _check_alone(profile: Profile, others: Sequence[Profile]) -> None:
    for other in others:
        same_file = profile.client_key_file is not None and other.client_key_file == profile.client_key_file
        same_entry = profile.client_key is not None and other.client_key == profile.client_key
        if same_file or same_entry:
            raise ConfigurationError(
                f"The profile file {other.path} uses the same client key, which would stop working. Give each profile "
                "a machine of its own, or remove the one that is not needed."
            )


def _kept_by(profile: Profile, thumbprint: str) -> tuple[SigningKey, Profile] | None:
    """The new key of a rotation that broke, with the profile that will name it; None if it was not kept yet."""
    file = _file_of(profile, thumbprint)
    if file is not None:
        return (SigningKey.load(file), replace(profile, client_key_file=file)) if file.exists() else None
    keystore = keystore_of(profile.keystore)
    with suppress(KeystoreError):
        return (read_key(keystore, thumbprint), replace(profile, client_key=thumbprint)) if keystore else None
    return None


def _keep_new(profile: Profile, pending: "_Pending", *, old: str) -> tuple[SigningKey, Profile]:
    """Makes a new key and keeps it where the old one is. The note comes first: a keystore cannot be searched."""
    new = SigningKey.generate()
    pending.write(old=old, new=new.thumbprint)
    file = _file_of(profile, new.thumbprint)
    if file is not None:
        new.save(file)
        return new, replace(profile, client_key_file=file)
    keystore = keystore_of(profile.keystore)
    if keystore is None:
        raise AssertionError  # pragma: no cover - a key without a file was read from a keystore
    return new, replace(profile, client_key=store_key(keystore, new))


def _revoke(client: LinkageClient, profile: Profile, old: str) -> None:
    place = {"organisation_id": profile.organisation_id, "client_id": profile.client_id}
    # Asked first: of an earlier attempt the answer may have been lost.
    if any(key.thumbprint == old and key.status == "active" for key in client.organisations.client_keys(**place)):
        client.organisations.revoke_client_key(**place, key_thumbprint=old)


def _forget(profile: Profile, old: str) -> None:
    """Remove the old private key: it opens nothing any more."""
    if profile.client_key_file is None:
        keystore = keystore_of(profile.keystore)
        if keystore is not None:
            delete_key(keystore, old)
        return
    folder = profile.client_key_file.parent
    for file in (*folder.glob("*.jwk"), *folder.glob("*.pem")):
        if file not in (profile.client_key_file, profile.signing_key_file) and _is_key(file, old):
            file.unlink(missing_ok=True)


def _is_key(file: Path, thumbprint: str) -> bool:
    with suppress(LinkageClientError):
        return SigningKey.load(file).thumbprint == thumbprint
    return False


def _file_of(profile: Profile, thumbprint: str) -> Path | None:
    """Where a new key lies: beside the old one, under another name; None: in the keystore."""
    old = profile.client_key_file
    return None if old is None else old.with_name(f"client-key-{thumbprint[:_SHOWN]}.jwk")


@dataclass(frozen=True, slots=True)
class _Step:
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class _Pending:
    """How far a rotation got."""

    path: Path

    def read(self) -> _Step | None:
        """The keys of a rotation that was not finished."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return _Step(old=str(content["old"]), new=str(content["new"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, *, old: str, new: str) -> None:
        """Says which keys are being exchanged.

        Raises:
            ConfigurationError: it cannot be written.
        """
        try:
            write_whole(self.path, json.dumps({"old": old, "new": new}) + "\n")
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror}.") from None

    def forget(self) -> None:
        """The rotation is complete."""
        self.path.unlink(missing_ok=True)
