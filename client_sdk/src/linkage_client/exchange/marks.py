"""What this machine knows of a project's key epochs whatever the service says: the newest one, and what was begun here.

Without it a service that turns back time could have encodings made with a secret that was given up, and one that denies
that a secret was shared could have it sealed once more, for whom it likes.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

from linkage_client.config import Profile
from linkage_client.errors import ConfigurationError, KeyExchangeError
from linkage_client.exchange._documents import (
    VERSION,
    Malformed,
    exact_members,
    identifier,
    integer,
    json_object,
    one_of,
    sha256_hex,
    version,
)
from linkage_client.exchange.comparisons import FOLDER, Comparisons
from linkage_client.files import write_whole
from linkage_client.keystore import Secrets

State = Literal["begun", "shared"]
_STATES: Final = ("begun", "shared")
_MAXIMUM_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Sharing:
    """How far the secret of one epoch is, as this machine did it."""

    epoch: int
    state: State
    """`begun`: drawn here, and perhaps sent. `shared`: sent, or shown to be the one of the epoch."""
    keyset: str
    """Digest of the cards that it was begun with."""


@dataclass(frozen=True, slots=True)
class Opening:
    """An attempt to open an epoch, of which no answer has come."""

    expected_epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Content:
    newest: int = 0
    sharing: Sharing | None = None
    opening: Opening | None = None

    @classmethod
    def parse(cls, raw: bytes, *, project_id: str) -> Self:
        members = exact_members(
            json_object(raw, maximum_bytes=_MAXIMUM_BYTES), ("v", "project", "newest_epoch", "sharing", "opening")
        )
        version(members["v"])
        # Two projects whose ids differ in capitals have one file on some systems.
        if identifier(members["project"]) != project_id:
            raise Malformed
        return cls(
            newest=integer(members["newest_epoch"], at_least=0),
            sharing=None if members["sharing"] is None else _sharing(members["sharing"]),
            opening=None if members["opening"] is None else _opening(members["opening"]),
        )


@dataclass(frozen=True, slots=True)
class Marks:
    """What one profile knows of its projects. What cannot be read counts as not known."""

    profile: Profile

    def newest_epoch(self, project_id: str) -> int:
        """The newest key epoch that was seen, compared or used here; 0 if none was."""
        held = [one.epoch for one in Secrets(self.profile).held() if one.project_id == project_id]
        compared = Comparisons(self.profile).newest_epoch(project_id) or 0
        return max([*held, compared, self._read(project_id).newest])

    def require_present(self, project_id: str, epoch: int) -> None:
        """Refuse an epoch that is older than one that is known here; remember it otherwise.

        Raises:
            KeyExchangeError: `epoch_went_back`.
        """
        known = self.newest_epoch(project_id)
        if epoch < known:
            raise KeyExchangeError(
                f"The service says that key epoch {epoch} is the present one of this project, and this machine has "
                f"seen epoch {known}. Epochs never go back, and nothing was done. Nobody should share or encode "
                "anything now: tell the linkage unit and your officer. If they confirm that the service's database was "
                f"restored from an older copy, type `linkage project new-epoch {project_id} --because suspected-leak` "
                f"until the epoch is above {known}; then everybody compares, shares and encodes again.",
                code="epoch_went_back",
            )
        # Where the profile's folder cannot be written, encoding must go on: the mark is one more hurdle, not the only.
        with suppress(ConfigurationError):
            self.saw(project_id, epoch)

    def saw(self, project_id: str, epoch: int) -> None:
        """Keep that an epoch was seen.

        Raises:
            ConfigurationError: it cannot be written.
        """
        kept = self._read(project_id)
        # There is none before the first, so that one need not be remembered.
        if epoch > max(kept.newest, 1):
            self._write(project_id, replace(kept, newest=epoch))

    def sharing(self, project_id: str, epoch: int) -> Sharing | None:
        """What was done here with the secret of an epoch; None if nothing is known."""
        kept = self._read(project_id).sharing
        return kept if kept is not None and kept.epoch == epoch else None

    def note_sharing(self, project_id: str, sharing: Sharing) -> None:
        """Keep what is done with the secret of an epoch.

        Raises:
            ConfigurationError: it cannot be written.
        """
        kept = self._read(project_id)
        if kept.sharing != sharing:
            self._write(project_id, replace(kept, sharing=sharing))

    def opening(self, project_id: str) -> Opening | None:
        """The attempt to open an epoch of which no answer has come; None if there is none."""
        return self._read(project_id).opening

    def note_opening(self, project_id: str, opening: Opening | None) -> None:
        """Keep that an epoch is about to be opened; None once the answer is there.

        Raises:
            ConfigurationError: it cannot be written.
        """
        kept = self._read(project_id)
        if kept.opening != opening:
            self._write(project_id, replace(kept, opening=opening))

    def _path(self, project_id: str) -> Path:
        try:
            name = identifier(project_id)
        except Malformed:
            raise ConfigurationError("The id of the project is empty or holds characters that no id has.") from None
        return self.profile.folder / FOLDER / f"{name}.known.json"

    def _read(self, project_id: str) -> _Content:
        try:
            with self._path(project_id).open("rb") as file:
                return _Content.parse(file.read(_MAXIMUM_BYTES + 1), project_id=project_id)
        except (OSError, Malformed):
            return _Content()

    def _write(self, project_id: str, content: _Content) -> None:
        path, sharing, opening = self._path(project_id), content.sharing, content.opening
        document: dict[str, Any] = {
            "v": VERSION,
            "project": project_id,
            "newest_epoch": content.newest,
            "sharing": sharing and {"epoch": sharing.epoch, "state": sharing.state, "keyset": sharing.keyset},
            "opening": opening and {"expected_epoch": opening.expected_epoch, "reason": opening.reason},
        }
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, json.dumps(document, indent=1) + "\n")
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None


def _sharing(value: Any) -> Sharing:
    members = exact_members(value, ("epoch", "state", "keyset"))
    state: State = "begun" if one_of(members["state"], _STATES) == "begun" else "shared"
    return Sharing(epoch=integer(members["epoch"], at_least=1), state=state, keyset=sha256_hex(members["keyset"]))


def _opening(value: Any) -> Opening:
    members = exact_members(value, ("expected_epoch", "reason"))
    if not isinstance(members["reason"], str):
        raise Malformed
    return Opening(expected_epoch=integer(members["expected_epoch"], at_least=1), reason=members["reason"])
