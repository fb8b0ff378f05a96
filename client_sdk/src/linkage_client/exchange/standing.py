"""Where a project's providers are in sharing the secret, as this machine sees it, and what its people do next.

Nothing here asks anybody: it turns what was found into sentences for somebody who has not read the documents.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, assert_never

from linkage_client.errors import KeyExchangeError
from linkage_client.exchange.keyset import Keyset
from linkage_client.exchange.suites import Suite

OwnKeys = Literal["none", "unpublished", "other_card", "published"]
REASONS: Final = {
    "opened": "the project was opened",
    "provider_joined": "a provider joined",
    "provider_left": "a provider left",
    "suspected_leak": "the secret may have leaked",
    "planned": "a new secret was planned",
}


@dataclass(frozen=True, slots=True)
class ProviderStanding:
    """How far one provider is, in the present key epoch."""

    organisation: str
    name: str
    own: bool
    published: bool
    """Whether it has a key card with keys of the agreed suite."""
    compared: bool
    """Whether its people compared the safety code of the present cards. Of others, the service says so."""
    holds: bool
    """Whether it has shown that it holds the secret."""
    keys_are_newer: bool
    """Whether its card is newer than that: its keys were changed, or lost with the secret."""
    envelope_waits: bool
    """Whether an envelope that is sealed to its present keys is there for it."""
    uploaded: bool

    @property
    def needs_envelope(self) -> bool:
        """Whether somebody has to seal the secret to it."""
        return self.published and (not self.holds or self.keys_are_newer) and not self.envelope_waits

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "organisation": self.organisation,
            "name": self.name,
            "own": self.own,
            "keys_published": self.published,
            "code_compared": self.compared,
            "has_secret": self.holds,
            "keys_newer_than_secret": self.keys_are_newer,
            "envelope_waiting": self.envelope_waits,
            "uploaded": self.uploaded,
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """Where everybody is, and what comes next."""

    project_id: str
    project_name: str
    epoch: int
    reason: str
    """Why the epoch was opened."""
    opened_at: datetime
    suite: Suite
    providers: tuple[ProviderStanding, ...]
    initiator: str | None
    """Id of the provider that drew the secret of this epoch."""
    shared: bool
    """Whether a secret of this epoch is known to exist."""
    own_keys: OwnKeys
    may_join: bool
    """Whether the own organisation is a provider of the agreement that does not take part."""
    keyset: Keyset | None
    """All cards; None while one is missing or not to be relied on."""
    compared_here: bool
    """Whether the code of exactly these cards was compared on this machine."""
    changed: tuple[str, ...]
    """Names of the providers whose cards differ from those that were compared here."""
    held: bool
    """Whether the secret of this epoch is kept here."""
    begun: bool = False
    """Whether it was drawn here, and perhaps not sent."""
    to_hear: tuple[str, ...] = ()
    """Ids of the other providers that have to read out the code themselves: another card of them was compared."""
    agreement: str = ""
    """Reference and version of the signed agreement."""

    @property
    def code(self) -> str | None:
        """The safety code, which takes a tenth of a second to make; None while there is no keyset."""
        return None if self.keyset is None else self.keyset.safety_code()

    @property
    def own(self) -> ProviderStanding | None:
        """The own organisation; None if it gives no data to this project."""
        return next((one for one in self.providers if one.own), None)

    @property
    def others(self) -> list[ProviderStanding]:
        """The other providers."""
        return [one for one in self.providers if not one.own]

    @property
    def initiator_name(self) -> str:
        """What the provider that drew the secret is called."""
        return self.name_of(self.initiator) if self.initiator else "another provider"

    @property
    def own_id(self) -> str:
        """Id of the own organisation, as others name it; a placeholder if it gives no data to this project."""
        return next((one.organisation for one in self.providers if one.own), "ORG")

    def find(self, name_or_id: str) -> ProviderStanding:
        """The provider that somebody names.

        Raises:
            KeyExchangeError: `no_such_provider`.
        """
        given = name_or_id.strip()
        found = next((one for one in self.providers if given in {one.organisation, one.name}), None)
        if found is None:
            known = listed([f"{one.name} ({one.organisation})" for one in self.providers])
            raise KeyExchangeError(
                f"No provider of this project is called that. Nothing was done. Its providers are {known}.",
                code="no_such_provider",
            )
        return found

    def name_of(self, organisation: str) -> str:
        """What a provider is called."""
        return next((one.name for one in self.providers if one.organisation == organisation), organisation)

    @property
    def holders(self) -> list[ProviderStanding]:
        """The other providers that hold the secret."""
        return [one for one in self.others if one.holds]

    @property
    def to_seal_for(self) -> list[ProviderStanding]:
        """The other providers that wait for somebody to seal the secret to them, as the service says."""
        return [one for one in self.others if one.needs_envelope]

    @property
    def next_steps(self) -> list[str]:
        """What people at this machine do next, the first thing first; empty if there is nothing."""
        return _next_steps(self)

    @property
    def awaited(self) -> list[str]:
        """What others have to do, a sentence for each."""
        return list(_awaited(self))

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "project": self.project_id,
            "name": self.project_name,
            "epoch": self.epoch,
            "reason": self.reason,
            "opened_at": self.opened_at.isoformat(),
            "suite": self.suite.value,
            "keyset_sha256": None if self.keyset is None else self.keyset.digest,
            "own_keys": self.own_keys,
            "code_compared_here": self.compared_here,
            "cards_changed": list(self.changed),
            "secret_kept_here": self.held,
            "secret_drawn_by": self.initiator,
            "providers": [one.document() for one in self.providers],
            "next_steps": self.next_steps,
            "awaited": self.awaited,
        }


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _next_steps(standing: Standing) -> list[str]:
    project, own = standing.project_id, standing.own
    if own is None:
        join = (
            f"`linkage project join {project}`, if your organisation is to take part: it is a provider of the "
            "agreement and not of this project. Everybody then shares a new secret."
        )
        return [join] if standing.may_join else []
    if standing.own_keys != "published":
        return [_about_own_keys(standing.own_keys)]
    steps = _steps_with_secret(standing, own) if standing.held else _steps_without_secret(standing, own)
    if standing.held and own.holds and not own.uploaded:
        steps.append(
            f"Encode and send your data: `linkage encode EXTRACT --project {project} --out encoded`, then "
            f"`linkage upload encoded --project {project}`."
        )
    return steps


def _about_own_keys(own_keys: OwnKeys) -> str:
    match own_keys:
        case "none":
            return (
                "`linkage keys init` makes the keys of your organisation and publishes their public halves. If a "
                "colleague's machine has such keys already, bring them here instead: `linkage keys export` there, "
                "`linkage keys import` here."
            )
        case "unpublished":
            return "`linkage keys init` publishes the public halves of your keys. They are made already."
        case "other_card":
            return (
                "The service shows a key card of your organisation that is not of the keys on this machine. If a "
                "colleague made keys on another machine, agree on one set: `linkage keys export` there, `linkage keys "
                "import` here; or `linkage keys init` publishes yours. If nobody did, share nothing, and tell the "
                "linkage unit and your officer."
            )
        case "published":
            return "Your keys are published."
        case _:
            assert_never(own_keys)


def _steps_without_secret(standing: Standing, own: ProviderStanding) -> list[str]:
    project = standing.project_id
    if standing.keyset is None:
        return []
    if not standing.compared_here and standing.others:
        return [_compare(standing)]
    if not standing.shared:
        who = "One provider does this, whichever: say on the call who it is." if standing.others else ""
        return [
            f"`linkage project share-secret {project}` draws the secret and seals it for the others. {who}".rstrip()
        ]
    return _steps_where_shared(standing, own)


def _steps_where_shared(standing: Standing, own: ProviderStanding) -> list[str]:
    project = standing.project_id
    if own.envelope_waits:
        return [f"`linkage project accept-secret {project}` opens the envelope that waits for you."]
    if standing.holders:
        return [_secret_is_gone(standing)] if own.holds else []
    anew = f"`linkage project new-epoch {project} --because planned` begins anew."
    return [f"Nobody holds the secret of key epoch {standing.epoch} any more. {anew}"]


def _secret_is_gone(standing: Standing) -> str:
    holders = " or ".join(one.name for one in standing.holders)
    return (
        "Your organisation has shown that it holds the secret, and it is not on this machine. Ask "
        f"{holders} on a call to type {_share_for(standing, standing.own_id)}; then `linkage project accept-secret "
        f"{standing.project_id}` takes it."
    )


def _share_for(standing: Standing, *organisations: str) -> str:
    named = "".join(f" --for {one}" for one in organisations)
    return f"`linkage project share-secret {standing.project_id}{named}`"


def _steps_with_secret(standing: Standing, own: ProviderStanding) -> list[str]:
    project = standing.project_id
    if not own.holds:
        if standing.begun and not standing.shared:
            if not standing.compared_here and standing.others and standing.keyset is not None:
                return [_compare(standing)]
            return [f"{_share_for(standing)} completes what was begun: the secret is kept here already."]
        confirms = f"`linkage project accept-secret {project}` confirms the secret that is kept here"
        return [f"{confirms}: the service then notes that your organisation holds it."]
    waiting = listed([one.name for one in standing.to_seal_for])
    if not waiting or standing.keyset is None:
        return []
    sealing = (
        f"{_share_for(standing, *(one.organisation for one in standing.to_seal_for))} seals the secret for {waiting}, "
        "if people there have asked you for it on a call, and unless another provider does."
    )
    return [sealing if standing.compared_here else f"{_compare(standing)} Then: {sealing}"]


def _compare(standing: Standing) -> str:
    because = (
        f"The key cards of {listed(standing.changed)} are not those that were compared here before. "
        if standing.changed
        else ""
    )
    return (
        f"{because}Get on a call with {listed([one.name for one in standing.others])}, and type "
        f"`linkage project confirm-code {standing.project_id}`: everybody has to see the same digits."
    )


def _awaited(standing: Standing) -> Iterator[str]:
    for one in standing.others:
        what = _awaited_of(one, shared=standing.shared)
        if what is not None:
            yield f"{one.name} {what}"
    own = standing.own
    waits = own is not None and standing.compared_here and standing.shared and not standing.held
    if waits and own is not None and not own.envelope_waits and standing.holders:
        holders = " or ".join(one.name for one in standing.holders)
        yield (
            f"{holders} is to seal the secret for you: ask one of them to compare the code with you, and to type "
            f"{_share_for(standing, own.organisation)}."
        )


def _awaited_of(one: ProviderStanding, *, shared: bool) -> str | None:
    """What one provider is awaited for, the first thing; None if nothing."""
    has = one.holds and not one.keys_are_newer
    found = (
        (not one.published, "has not published its keys yet (it types `linkage keys init`)."),
        (has and one.uploaded, None),
        (has, "has the secret, and has not sent its data yet."),
        (one.envelope_waits, "has not opened its envelope yet (it types `linkage project accept-secret`)."),
        (shared and one.holds, "has new keys, and waits for the secret if it has lost it."),
        (shared, "waits for somebody to seal the secret for it."),
        (not one.compared, "has not compared the code yet (it types `linkage project confirm-code`)."),
    )
    return next((what for applies, what in found if applies), "has compared the code, and is ready.")
