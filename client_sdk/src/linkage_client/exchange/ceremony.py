"""The steps by which providers come to hold one secret: publish, look, compare, share, accept; and begin anew.

The service passes cards and envelopes on and keeps the record. It is not believed: who takes part and how envelopes are
sealed comes from the agreement whose signatures are checked here, cards and envelopes are checked here, and nothing is
sealed or opened before a person has compared the code of exactly these cards on this machine.

Every step may be cut off at any point and done again: what is kept here is kept before the service hears of it, and
what the service knows already is not done twice.
"""

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from linkage_client.agreed import AgreedProject, agreed_project
from linkage_client.agreements.signatures import providers_of
from linkage_client.encoding.key_check import check_value
from linkage_client.errors import (
    KeyExchangeError,
    NotFoundError,
    SecretError,
    ServiceError,
    StateConflictError,
    UnexpectedAnswerError,
)
from linkage_client.exchange.cards import KeyCard
from linkage_client.exchange.comparisons import Comparisons
from linkage_client.exchange.envelopes import draw_secret, unwrap, wrap
from linkage_client.exchange.keyset import Keyset
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.standing import OwnKeys, ProviderStanding, Standing, listed
from linkage_client.exchange.storage import activate, exchange_keys_of, forget_old, keep_new, unfinished
from linkage_client.exchange.suites import Suite
from linkage_client.keystore import Secrets

if TYPE_CHECKING:
    from linkage_client.client import LinkageClient
    from linkage_client.config import Profile
    from linkage_client.models import KeyExchange, KeyExchangeProvider, PublishedKeyCard
    from linkage_client.resources.keys import EpochReason

CODE_DIGITS: Final = 30
_BETWEEN_DIGITS: Final = re.compile(r"[\s.,-]+")
_TELL: Final = "Nobody should share anything now. Tell the linkage unit and your officer."


@dataclass(frozen=True, slots=True)
class Shared:
    """What sharing came to."""

    epoch: int
    drawn: bool
    """Whether the secret was drawn now; otherwise it was kept here already."""
    sealed_for: tuple[str, ...]
    """Names of the providers that an envelope was sent to."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What accepting came to."""

    epoch: int
    sent_by: tuple[str, ...]
    """Names of the providers whose envelopes held it; empty where the secret was kept here already."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A standing, and what is needed to act on it."""

    standing: Standing
    exchange: "KeyExchange"
    keys: ExchangeKeys | None

    def usable(self) -> tuple[ExchangeKeys, Keyset]:
        """The own keys and all cards.

        Raises:
            KeyExchangeError: there are no keys here, the service shows other ones, or a card is missing.
        """
        standing = self.standing
        if standing.own is None:
            raise KeyExchangeError(
                "Your organisation is not a provider of this project, so there is no secret for it to share.",
                code="not_a_provider",
            )
        if self.keys is None or standing.own_keys != "published":
            code = "own_card_replaced" if standing.own_keys == "other_card" else "no_exchange_keys"
            raise KeyExchangeError(standing.next_steps[0], code=code)
        if standing.keyset is None:
            missing = [one.name for one in standing.providers if not one.published]
            raise KeyExchangeError(
                f"{listed(missing)} {'have' if len(missing) > 1 else 'has'} not published keys for this project's "
                f"agreement ({standing.suite.value}) yet. Ask {'them' if len(missing) > 1 else 'its people'} to type "
                "`linkage keys init`. Then there is a code to compare.",
                code="cards_missing",
            )
        return self.keys, standing.keyset

    def compared(self) -> tuple[ExchangeKeys, Keyset]:
        """As `usable`, once the code was compared on this machine.

        Raises:
            KeyExchangeError: it was not, or a card has changed since.
        """
        keys, keyset = self.usable()
        standing = self.standing
        if standing.compared_here or len(standing.providers) == 1:
            return keys, keyset
        again = f"type `linkage project confirm-code {standing.project_id}`"
        if standing.changed:
            raise KeyExchangeError(
                f"The key cards of {listed(standing.changed)} are not those that were compared on this machine. "
                "Nothing was sealed or opened. They may have new keys, or somebody may have put other keys in between. "
                f"Get on a call with every provider, ask {listed(standing.changed)} about it, and {again}.",
                code="cards_changed",
            )
        raise KeyExchangeError(
            "The safety code of this project has not been compared on this machine, so nobody knows whose keys these "
            f"are. Nothing was sealed or opened. Get on a call with every provider, and {again}.",
            code="not_compared",
        )


class Ceremony:
    """What one provider does, at one service, with the exchange keys of one profile."""

    def __init__(
        self,
        client: "LinkageClient",
        profile: "Profile",
        *,
        passphrase: Callable[[], str] | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            client: connected as the profile says.
            profile: whose keys, secrets and comparisons are used.
            passphrase: asked for the passphrase where the exchange keys are sealed, once, and only when they are used.
            now: the time, in UTC.
        """
        self._client = client
        self._profile = profile
        self._me = profile.organisation_id
        self._passphrase = passphrase
        self._keys: ExchangeKeys | None = None
        self._now = now or (lambda: datetime.now(UTC))
        self._secrets = Secrets(profile)
        self._comparisons = Comparisons(profile)

    def own_keys(self) -> ExchangeKeys | None:
        """The exchange keys of the profile; None if it has none."""
        if self._keys is None:
            self._keys = exchange_keys_of(self._profile, passphrase=self._passphrase)
        return self._keys

    def ask_passphrase(self) -> str:
        """The passphrase of the sealed exchange keys.

        Raises:
            KeyExchangeError: there is nobody to ask.
        """
        if self._passphrase is None:
            raise KeyExchangeError("A passphrase is needed, and there is nobody to ask.", code="passphrase_needed")
        return self._passphrase()

    def publish(self, keys: ExchangeKeys | None = None) -> "PublishedKeyCard":
        """Publish the card of the keys, by default of those in use. The same card again changes nothing.

        Raises:
            KeyExchangeError: no keys are kept here.
            UnexpectedAnswerError: the service holds something else after it.
            ServiceError: the service refuses.
        """
        keys = keys or self.own_keys()
        if keys is None:
            raise KeyExchangeError("There are no exchange keys here yet: `linkage keys init`.", code="no_exchange_keys")
        self._keys = keys
        card = keys.card(self._me)
        published = self._client.keys.publish_card(organisation_id=self._me, document=card.document)
        if published.digest != card.digest:
            raise UnexpectedAnswerError(
                "The service answers with another key card than the one that was sent. Tell the linkage unit.",
                request_id=published.request_id,
            )
        return published

    def renew(
        self, *, keys: ExchangeKeys | None = None, passphrase: str | None = None, others: Sequence["Profile"] = ()
    ) -> "PublishedKeyCard":
        """Make exchange keys, publish their card, use them from now on, and forget those that there were.

        A change that was cut off goes on with the keys that were made for it.

        Args:
            keys: some that were made elsewhere; new ones are made without.
            passphrase: seals them.
            others: further profiles of this account, whose keys stay.

        Raises:
            ConfigurationError, KeyFileError, KeyExchangeError: keys cannot be kept or read.
            ServiceError: the service refuses. The old keys are still in use.
        """
        new = keep_new(self._profile, keys=keys, passphrase=passphrase, reopen=self._passphrase)
        published = self.publish(new)
        self._profile = activate(self._profile)
        forget_old(self._profile, others=others)
        self.confirm_again()
        return published

    def begun_keys(self) -> ExchangeKeys | None:
        """The keys of a change that was cut off; None if there is none."""
        return keep_new(self._profile, reopen=self._passphrase) if unfinished(self._profile) else None

    def confirm_again(self) -> list[str]:
        """Show the service that secrets which are kept here are held still, so that nobody seals them for new keys.

        Returns:
            Ids of the projects whose present secret was confirmed.
        """
        done = []
        for held in self._secrets.held():
            with suppress(SecretError, ServiceError):
                found = self._client.keys.exchange(project_id=held.project_id)
                own = next((one for one in found.providers if one.organisation == self._me), None)
                if found.epoch != held.epoch or own is None or own.confirmed_at is None:
                    continue
                secret = self._secrets.read(held.project_id, held.epoch)
                value = check_value(secret, project_id=held.project_id, epoch=held.epoch)
                self._client.keys.confirm(project_id=held.project_id, epoch=held.epoch, check_value=value)
                done.append(held.project_id)
        return done

    def published_card(self) -> "PublishedKeyCard | None":
        """The card of the own organisation that the service holds; None if it holds none."""
        try:
            return self._client.keys.card(organisation_id=self._me)
        except NotFoundError:
            return None

    def look(self, project_id: str) -> Standing:
        """Where everybody is in a project.

        Raises:
            KeyExchangeError: a card is forged, or the service contradicts the signed agreement.
            AgreementMismatchError, UnexpectedAnswerError: the project is not what its parties signed.
            ServiceError: the service refuses.
        """
        return self._see(project_id).standing

    def confirm_code(self, project_id: str, *, said: str | Callable[[Standing], str]) -> Keyset:
        """Record that a person has compared the safety code: here first, then at the service.

        Args:
            project_id: of which project.
            said: the thirty digits as another provider reads them, or what asks for them, given what is to be shown.

        Raises:
            KeyExchangeError: the digits are others; nothing is recorded.
        """
        seen = self._see(project_id)
        _, keyset = seen.usable()
        if len(seen.standing.providers) == 1:
            raise KeyExchangeError(
                "Your organisation is the only provider of this project: there is nobody to compare a code with.",
                code="nobody_to_compare_with",
            )
        _check_code(said if isinstance(said, str) else said(seen.standing), keyset)
        self._comparisons.add(keyset, at=self._now())
        try:
            self._client.keys.note_comparison(project_id=project_id, epoch=keyset.epoch, keyset_sha256=keyset.digest)
        except StateConflictError as error:
            raise _moved_on(error) from None
        return keyset

    def share(self, project_id: str) -> Shared:
        """Seal the secret for the other providers that wait for it; draw it first where nobody has.

        The secret is kept here before anything is sent, so that a step that was cut off goes on with the same one.

        Raises:
            KeyExchangeError: the code was not compared here, or another provider has drawn a secret.
        """
        seen = self._see(project_id)
        keys, keyset = seen.compared()
        standing, epoch = seen.standing, keyset.epoch
        drawn = False
        if not standing.held:
            if standing.shared:
                raise _accept_instead(standing)
            self._secrets.add(project_id, epoch, draw_secret(), origin="drawn")
            drawn = True
        elif not standing.shared:
            self._check_origin(project_id, epoch)
        secret = self._secrets.read(project_id, epoch)
        confirmed = check_value(secret, project_id=project_id, epoch=epoch)
        own_holds = standing.own is not None and standing.own.holds
        if standing.shared and not own_holds and not self._confirm(project_id, epoch, confirmed):
            raise _accept_instead(standing)
        recipients = standing.to_seal_for if standing.shared else standing.others
        if not recipients:
            if not standing.shared:
                self._confirm(project_id, epoch, confirmed)
            return Shared(epoch=epoch, drawn=drawn, sealed_for=())
        at = self._now()
        envelopes = [
            wrap(keys=keys, keyset=keyset, sender=self._me, recipient=one.organisation, secret=secret, at=at)
            for one in recipients
        ]
        try:
            self._client.keys.post_envelopes(
                project_id=project_id,
                epoch=epoch,
                keyset_sha256=keyset.digest,
                check_value=confirmed,
                envelopes=envelopes,
            )
        except StateConflictError as error:
            if error.code not in {"already_shared", "not_confirmed", "other_secret"}:
                raise _moved_on(error) from None
            if drawn:
                # Nobody else has it, and nothing was encoded with it.
                self._secrets.delete(project_id, epoch)
            raise _accept_instead(self.look(project_id)) from None
        return Shared(epoch=epoch, drawn=drawn, sealed_for=tuple(one.name for one in recipients))

    def accept(self, project_id: str) -> Accepted:
        """Open the envelopes for this provider, keep the secret, and show the service that it is the right one.

        Raises:
            KeyExchangeError: the code was not compared here, there is no envelope, one is not what its sender signed,
                two hold different secrets, or it is not the secret that the others hold.
        """
        seen = self._see(project_id)
        standing = seen.standing
        epoch = standing.epoch
        if standing.held and standing.own is not None:
            # Kept by a step that was cut off, or handed over without the service.
            kept = self._secrets.read(project_id, epoch)
            if self._confirm(project_id, epoch, check_value(kept, project_id=project_id, epoch=epoch)):
                return Accepted(epoch=epoch, sent_by=())
            if standing.own.holds:
                raise KeyExchangeError(
                    "The service has noted that the secret kept here is the one that the others hold, and says the "
                    f"opposite now. Nothing was changed. {_TELL}",
                    code="other_secret",
                )
        secret, senders = self._opened(seen)
        if standing.held:
            # The service has just said that nobody else holds what is kept here.
            self._secrets.delete(project_id, epoch)
        self._secrets.add(project_id, epoch, secret, origin="opened")
        if not self._confirm(project_id, epoch, check_value(secret, project_id=project_id, epoch=epoch)):
            self._secrets.delete(project_id, epoch)
            raise KeyExchangeError(
                f"What {listed(senders)} sealed for you is not the secret that {standing.initiator_name} drew. It was "
                f"not kept. {_TELL}",
                code="other_secret",
            )
        return Accepted(epoch=epoch, sent_by=tuple(senders))

    def new_epoch(self, project_id: str, *, reason: "EpochReason") -> tuple["KeyExchange", bool]:
        """Close the present key epoch. It protects, so it works whatever is wrong with cards or the agreement.

        Where the present epoch was opened for this reason and nothing has happened in it, it is left as it is: then
        the answer to an earlier attempt was lost.

        Returns:
            The exchange as it is now, and whether an epoch was opened now.

        Raises:
            ServiceError: the service refuses.
        """
        found = self._client.keys.exchange(project_id=project_id)
        untouched = not found.check_value_known and not any(one.uploaded for one in found.providers)
        if found.reason == reason and untouched:
            return found, False
        opened = self._client.keys.open_epoch(project_id=project_id, reason=reason, expected_epoch=found.epoch)
        return opened, True

    def _confirm(self, project_id: str, epoch: int, confirmed: str) -> bool:
        """Whether the service finds that this is the secret of the epoch; the first one is."""
        try:
            self._client.keys.confirm(project_id=project_id, epoch=epoch, check_value=confirmed)
        except StateConflictError as error:
            if error.code == "other_secret":
                return False
            raise _moved_on(error) from None
        return True

    def _opened(self, seen: _Seen) -> tuple[bytes, list[str]]:
        """The one secret of all envelopes that are sealed under the present cards, and who sent them."""
        keys, keyset = seen.compared()
        standing = seen.standing
        found: dict[str, bytes] = {}
        for posted in self._client.keys.envelopes(project_id=standing.project_id):
            sender = posted.envelope.get("from")
            if not isinstance(sender, str) or posted.envelope.get("keyset") != keyset.digest:
                # Sealed before a card changed: whoever sent it will seal it again.
                continue
            if sender not in {one.organisation for one in standing.others}:
                raise KeyExchangeError(
                    "The service hands out an envelope of an organisation that is no other provider of this project. "
                    f"It was not opened. {_TELL}",
                    code="envelope_other_sender",
                )
            found[sender] = unwrap(
                keys=keys, keyset=keyset, sender=sender, recipient=self._me, envelope=posted.envelope
            )
        senders = [standing.name_of(sender) for sender in found]
        if not found:
            raise _nothing_to_accept(standing)
        first, *others = found.values()
        if any(not hmac.compare_digest(first, other) for other in others):
            raise KeyExchangeError(
                f"{listed(senders)} sealed different secrets for you. Neither was kept. Get on a call, find out who "
                f"drew which, and begin anew: `linkage project new-epoch {standing.project_id} --because planned`.",
                code="secrets_differ",
            )
        return first, senders

    def _see(self, project_id: str) -> _Seen:
        agreed = agreed_project(self._client, project_id=project_id)
        found = self._client.keys.exchange(project_id=project_id)
        suite = _agreed_suite(agreed)
        _check_against_agreement(found, agreed, suite=suite)
        self._check_epoch(found)
        cards = {one.organisation: _card_of(one) for one in found.providers}
        keys = self.own_keys() if self._me in cards else None
        own_keys = self._own_state(keys, cards.get(self._me))
        keyset = self._keyset(found, cards, suite=suite) if own_keys == "published" else None
        compared = keyset is not None and self._comparisons.confirmed(keyset)
        names = {one.organisation: one.name for one in found.providers}
        changed = [] if keyset is None or compared else self._comparisons.changes(keyset)
        providers = providers_of(agreed.document)
        standing = Standing(
            project_id=project_id,
            project_name=agreed.project.name,
            epoch=found.epoch,
            reason=found.reason,
            opened_at=found.opened_at,
            suite=suite,
            providers=tuple(
                self._provider(one, cards[one.organisation], suite=suite, compared_here=compared)
                for one in found.providers
            ),
            initiator=found.initiator,
            shared=found.check_value_known,
            own_keys=own_keys,
            may_join=self._me in providers and self._me not in cards,
            keyset=keyset,
            compared_here=compared,
            changed=tuple(names.get(one, one) for one in changed),
            held=self._secrets.find(project_id, found.epoch) is not None,
        )
        return _Seen(standing=standing, exchange=found, keys=keys)

    def _own_state(self, keys: ExchangeKeys | None, shown: KeyCard | None) -> OwnKeys:
        if keys is None:
            return "none"
        if shown is None:
            return "unpublished"
        return "published" if shown.digest == keys.card(self._me).digest else "other_card"

    def _provider(
        self, one: "KeyExchangeProvider", card: KeyCard | None, *, suite: Suite, compared_here: bool
    ) -> ProviderStanding:
        own = one.organisation == self._me
        newer = one.confirmed_at is not None and one.published_at is not None and one.published_at > one.confirmed_at
        # Fetched, and cut off before the secret was shown to be kept.
        fetched = one.envelope_retrieved_at is not None and (one.confirmed_at is None or newer)
        return ProviderStanding(
            organisation=one.organisation,
            name=one.name,
            own=own,
            published=card is not None and suite in card.hpke_keys,
            compared=compared_here if own else one.code_compared_at is not None,
            holds=one.confirmed_at is not None,
            keys_are_newer=newer,
            envelope_waits=one.envelope_waiting or fetched,
            uploaded=one.uploaded,
        )

    def _keyset(self, found: "KeyExchange", cards: Mapping[str, KeyCard | None], *, suite: Suite) -> Keyset | None:
        present = [card for card in cards.values() if card is not None and suite in card.hpke_keys]
        if len(present) < len(cards):
            return None
        keyset = Keyset(project_id=found.project, epoch=found.epoch, suite=suite, cards=tuple(present))
        if found.keyset_sha256 not in {None, keyset.digest}:
            raise KeyExchangeError(
                "The service counts other key cards to this project than those that it shows. Nothing was done. Check "
                "that client and service are of matching versions; if they are, tell the linkage unit.",
                code="other_keyset",
            )
        return keyset

    def _check_origin(self, project_id: str, epoch: int) -> None:
        """Whoever planted a file's secret for an epoch to come would otherwise have everybody take it."""
        held = self._secrets.find(project_id, epoch)
        if held is not None and held.origin == "imported":
            raise KeyExchangeError(
                f"A secret from a file is kept here for key epoch {epoch}, and nobody has shared one in it yet. "
                "Nothing was sealed: whoever made that file would know the secret of all. If it is not what the "
                f"providers agreed on, type `linkage secret delete --project {project_id} --epoch {epoch}`, and share "
                "again: a new one is drawn. If it is, confirm it first: "
                f"`linkage project accept-secret {project_id}`.",
                code="kept_secret_imported",
            )

    def _check_epoch(self, found: "KeyExchange") -> None:
        """A service that goes back to an older epoch would have people use a secret that they gave up."""
        held = [one.epoch for one in self._secrets.held() if one.project_id == found.project]
        known = max([*held, self._comparisons.newest_epoch(found.project) or 0])
        if found.epoch < known:
            raise KeyExchangeError(
                f"The service says that key epoch {found.epoch} is the present one of this project, and this machine "
                f"has taken part in epoch {known}. Epochs never go back. {_TELL}",
                code="epoch_went_back",
            )


def agreed_suite(document: Mapping[str, Any]) -> Suite:
    """How the secret is sealed, as the signed agreement says; by X25519 where it says nothing.

    Raises:
        KeyExchangeError: this version does not know what it says.
    """
    security = document.get("security")
    named = security.get("secret_exchange") if isinstance(security, Mapping) else None
    if named is None:
        return Suite.X25519
    try:
        return Suite(named)
    except ValueError:
        raise KeyExchangeError(
            "The agreement asks for a way of sealing the secret that this version does not know. Install the version "
            "of linkage-client that the parties agreed on.",
            code="suite_unsupported",
        ) from None


def _agreed_suite(agreed: AgreedProject) -> Suite:
    return agreed_suite(agreed.document)


def _check_against_agreement(found: "KeyExchange", agreed: AgreedProject, *, suite: Suite) -> None:
    listed_ids = [one.organisation for one in found.providers]
    if found.project != agreed.project.id or len(set(listed_ids)) < len(listed_ids) or not listed_ids:
        raise UnexpectedAnswerError(
            "The service answers with the key exchange of another project, or with a provider twice. Tell the linkage "
            "unit.",
            request_id=found.request_id,
        )
    agreed_providers = providers_of(agreed.document)
    if strangers := [one.name for one in found.providers if one.organisation not in agreed_providers]:
        raise KeyExchangeError(
            f"The service lists {listed(strangers)} as a provider of this project, and the agreement that was signed "
            f"does not. {_TELL}",
            code="not_agreed",
        )
    if found.suite != suite:
        raise KeyExchangeError(
            f"The agreement that was signed says that the secret is sealed by {suite.value}, and the service says "
            f"otherwise. {_TELL}",
            code="other_suite",
        )


def _card_of(one: "KeyExchangeProvider") -> KeyCard | None:
    if one.card is None:
        return None
    try:
        card = KeyCard.parse(one.card)
    except KeyExchangeError as error:
        raise KeyExchangeError(
            f"The key card that the service shows for {one.name} is not one: {error.message} {_TELL}", code=error.code
        ) from None
    if card.organisation != one.organisation:
        raise KeyExchangeError(
            f"The service shows the key card of another organisation for {one.name}. {_TELL}", code="bad_card"
        )
    return card


def _check_code(said: str, keyset: Keyset) -> None:
    digits = _BETWEEN_DIGITS.sub("", said)
    if len(digits) != CODE_DIGITS or not (digits.isascii() and digits.isdigit()):
        raise KeyExchangeError(
            f"The code has {CODE_DIGITS} digits, and this is something else. Nothing was recorded. Have it read out "
            "again, whole.",
            code="code_not_whole",
        )
    code = _BETWEEN_DIGITS.sub("", keyset.safety_code())
    if not hmac.compare_digest(digits, code):
        raise KeyExchangeError(
            "THE CODES DIFFER. The service, or somebody between it and one of you, shows you and the other provider "
            "different keys: what you share could be read by whoever put them there. Nothing was recorded here. "
            f"{_TELL} (Only if you may have misheard a digit: have it read out once more, and type it again.)",
            code="codes_differ",
        )


def _accept_instead(standing: Standing) -> KeyExchangeError:
    drew = f"{standing.initiator_name} has" if standing.initiator else "The other providers have"
    return KeyExchangeError(
        f"{drew} shared a secret for key epoch {standing.epoch} already; there is one for all. Take it: "
        f"`linkage project accept-secret {standing.project_id}`.",
        code="already_shared",
    )


def _nothing_to_accept(standing: Standing) -> KeyExchangeError:
    if not standing.shared:
        who = (
            "Nobody has shared a secret for this project yet. One provider does it, whichever: `linkage project "
            f"share-secret {standing.project_id}`."
        )
    else:
        holders = [one.name for one in standing.others if one.holds] or ["the provider that holds the secret"]
        who = (
            f"No envelope is sealed to your present keys. Ask {' or '.join(holders)} to compare the code with you "
            f"and to type `linkage project share-secret {standing.project_id}`."
        )
    return KeyExchangeError(who, code="nothing_to_accept")


def _moved_on(error: StateConflictError) -> Exception:
    """What a conflict means to somebody whose step was overtaken; other refusals speak for themselves."""
    if error.code == "other_keyset":
        return KeyExchangeError(
            "A provider's key card changed a moment ago, so there is another code now. Nothing was sealed under the "
            "old one. Compare the new code: `linkage project confirm-code`.",
            code="other_keyset",
            request_id=error.request_id,
        )
    return error
