"""Which key cards people have compared: without this memory, a card that the service changes later would go unnoticed.

One file a project and key epoch, in the profile's folder. What cannot be read counts as not compared: then the code is
asked for once more, which is the safe way to be wrong.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import rfc8785

from linkage_client.config import Profile
from linkage_client.errors import ConfigurationError
from linkage_client.exchange._documents import (
    VERSION,
    Malformed,
    exact_members,
    identifier,
    integer,
    json_object,
    sha256_hex,
    version,
)
from linkage_client.exchange.keyset import Keyset
from linkage_client.files import write_whole

FOLDER: Final = "exchange"
# A hybrid card is two kilobytes, and a project has a few dozen providers at most.
_MAXIMUM_BYTES: Final = 4_194_304
_MEMBERS: Final = ("v", "project", "epoch", "keyset", "at", "cards")
_FILE: Final = re.compile(r"(?P<project>[A-Za-z0-9_-]+)\.(?P<epoch>[0-9]{1,16})\.json")


@dataclass(frozen=True, slots=True)
class Differences:
    """How cards differ from those that were compared last, as ids of organisations, each sorted."""

    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparisons:
    """What was compared in one profile."""

    profile: Profile

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.profile.folder / FOLDER

    def confirmed(self, keyset: Keyset) -> bool:
        """Whether the safety code of exactly these cards was compared, for this project, epoch and suite."""
        kept = self._read(keyset.project_id, keyset.epoch)
        return kept is not None and kept.keyset == keyset.digest

    def compared_at(self, keyset: Keyset) -> datetime | None:
        """When the code of exactly these cards was compared; None if it was not."""
        kept = self._read(keyset.project_id, keyset.epoch)
        return kept.at if kept is not None and kept.keyset == keyset.digest else None

    def differences(self, keyset: Keyset) -> Differences:
        """How these cards differ from those that were compared last: in this epoch or else in the latest before it.

        Nothing differs where nothing was ever compared: ask `confirmed` for that.
        """
        kept = self._latest(keyset)
        if kept is None:
            return Differences()
        now = {card.organisation: card.digest for card in keyset.cards}
        return Differences(
            changed=tuple(sorted(name for name in now if name in kept.cards and kept.cards[name] != now[name])),
            added=tuple(sorted(set(now) - set(kept.cards))),
            gone=tuple(sorted(set(kept.cards) - set(now))),
        )

    def changes(self, keyset: Keyset) -> list[str]:
        """Ids of the organisations whose cards differ, were added or are gone since the last comparison, sorted."""
        found = self.differences(keyset)
        return sorted({*found.changed, *found.added, *found.gone})

    def add(self, keyset: Keyset, at: datetime) -> None:
        """Keep that people have compared the code of these cards.

        Raises:
            ConfigurationError: it cannot be written.
        """
        content = {
            "v": VERSION,
            "project": keyset.project_id,
            "epoch": keyset.epoch,
            "keyset": keyset.digest,
            "at": at.astimezone(UTC).isoformat(),
            "cards": [card.body for card in keyset.cards],
        }
        path = self._path(keyset.project_id, keyset.epoch)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None

    def _path(self, project_id: str, epoch: int) -> Path:
        return self.folder / f"{project_id}.{epoch}.json"

    def _latest(self, keyset: Keyset) -> "_Kept | None":
        matches = [match for path in self.folder.glob("*.json") if (match := _FILE.fullmatch(path.name))]
        epochs = {int(match["epoch"]) for match in matches if match["project"] == keyset.project_id}
        for epoch in sorted(epochs, reverse=True):
            if epoch <= keyset.epoch and (kept := self._read(keyset.project_id, epoch)) is not None:
                return kept
        return None

    def _read(self, project_id: str, epoch: int) -> "_Kept | None":
        try:
            with self._path(project_id, epoch).open("rb") as file:
                kept = _parse(file.read(_MAXIMUM_BYTES + 1))
        except (OSError, Malformed):
            return None
        # Two projects whose ids differ in capitals have one file on some systems.
        return kept if (kept.project_id, kept.epoch) == (project_id, epoch) else None


@dataclass(frozen=True, slots=True)
class _Kept:
    project_id: str
    epoch: int
    keyset: str
    at: datetime
    cards: dict[str, str]
    """Digests by organisation."""


def _parse(raw: bytes) -> _Kept:
    members = exact_members(json_object(raw, maximum_bytes=_MAXIMUM_BYTES), _MEMBERS)
    version(members["v"])
    cards = members["cards"]
    if not isinstance(cards, list) or not isinstance(members["at"], str):
        raise Malformed
    try:
        at = datetime.fromisoformat(members["at"])
        if at.tzinfo is None:
            raise Malformed
        return _Kept(
            project_id=identifier(members["project"]),
            epoch=integer(members["epoch"], at_least=1),
            keyset=sha256_hex(members["keyset"]),
            at=at,
            cards=dict(_named_digest(card) for card in cards),
        )
    except ValueError:
        raise Malformed from None


def _named_digest(body: Any) -> tuple[str, str]:
    members = exact_members(body, ("v", "organisation", "signing_key", "hpke_keys"))
    # Its keys were checked when it was a card; here they only have to be the same.
    return identifier(members["organisation"]), hashlib.sha256(rfc8785.dumps(dict(body))).hexdigest()
