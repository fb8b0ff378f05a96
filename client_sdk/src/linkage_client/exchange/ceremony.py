"""The steps by which providers come to hold one secret: publish, look, compare, share, accept; and begin anew.

The service passes cards and envelopes on and keeps the record. It is not believed: who takes part and how envelopes are
sealed comes from the agreement whose signatures are checked here, cards and envelopes are checked here, and nothing is
sealed or opened before a person has compared the code of exactly these cards on this machine.

Every step may be cut off at any point and done again: what is kept here is kept before the service hears of it, and
what the service knows already is not done twice.
"""

import hmac
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
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
from linkage_client.exchange.marks import Marks, Opening, Sharing
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
# Of a secret that came without the service, no cards are known.
_NO_CARDS: Final = "0" * 64
_BETWEEN_DIGITS: Final = re.compile(r"[\s.,-]+")
_TELL: Final = "Nobody should share anything now. Tell the linkage unit and your officer."


@dataclass(frozen=True, slots=True)
class Shared:
    """What sharing came to."""

    epoch: int
    drawn: bool
    """Whether the secret was drawn now; otherwise it was kept here already."""
    sealed_for: tuple[str, ...]
    """Ids of the providers that an envelope was sent to."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What accepting came to."""

    epoch: int
    sent_by: tuple[str, ...]
    """Ids of the providers whose envelopes held it; empty where the secret was kept here already."""
    false_from: tuple[str, ...] = ()
    """Ids of those whose envelopes did not open, or held another secret."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """What the envelopes held."""

    keyset: str
    candidates: tuple[tuple[bytes, tuple[str, ...]], ...] = field(repr=False)
    """Each secret with the ids of those who sealed it."""
    failed: tuple[str, ...]
    """Ids of the senders of envelopes that are not what they should be."""


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
        self._marks = Marks(profile)

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
                if (
                    (found.project, found.epoch) != (held.project_id, held.epoch)
                    or own is None
                    or own.confirmed_at is None
                ):
                    continue
                secret = self._secrets.read(held.project_id, held.epoch)
                value = check_value(secret, project_id=held.project_id, epoch=held.epoch)
                self._client.keys.confirm(project_id=held.project_id, epoch=held.epoch, check_value=value)
                done.append(held.project_id)
        return done

    def published_card(self) -> "PublishedKeyCard | None":
        """The card of the own organisation that the service holds; None if it holds none.

        Raises:
            UnexpectedAnswerError: the service answers with the card of another organisation.
        """
        try:
            published = self._client.keys.card(organisation_id=self._me)
        except NotFoundError:
            return None
        if published.organisation != self._me:
            raise UnexpectedAnswerError(
                "The service answers with the key card of another organisation. Tell the linkage unit.",
                request_id=published.request_id,
            )
        return published

    def look(self, project_id: str) -> Standing:
        """Where everybody is in a project.

        Raises:
            KeyExchangeError: a card is forged, or the service contradicts the signed agreement.
            AgreementMismatchError, UnexpectedAnswerError: the project is not what its parties signed.
            ServiceError: the service refuses.
        """
        return self._see(project_id).standing

    def confirm_code(
        self,
        project_id: str,
        *,
        said: str | Callable[[Standing], str],
        on_call: Sequence[str] | Callable[[ProviderStanding], bool] = (),
    ) -> Keyset:
        """Record that a person has compared the safety code: here first, then at the service.

        Where the code was compared before in this epoch, every provider whose card is another since has to have read it
        out: a card that the service swaps must not slip through beside one that was really renewed.

        Args:
            project_id: of which project.
            said: the thirty digits as another provider reads them, or what asks for them, given what is to be shown.
            on_call: names or ids of the providers with new cards that were on the call and read out this code, or what
                asks for each of them.

        Raises:
            KeyExchangeError: the digits are others, or a provider with a new card was not on the call; nothing is
                recorded.
        """
        seen = self._see(project_id)
        standing = seen.standing
        _, keyset = seen.usable()
        if len(standing.providers) == 1:
            raise KeyExchangeError(
                "Your organisation is the only provider of this project: there is nobody to compare a code with.",
                code="nobody_to_compare_with",
            )
        there = None if callable(on_call) else {standing.find(one).organisation for one in on_call}
        _check_code(said if isinstance(said, str) else said(standing), keyset)
        to_hear = [one for one in standing.others if one.organisation in standing.to_hear]
        missing = [
            one.name
            for one in to_hear
            if not (on_call(one) if callable(on_call) else one.organisation in (there or ()))
        ]
        if missing:
            raise KeyExchangeError(
                f"The keys of {listed(missing)} are not those that were compared on this machine before, and nobody "
                f"has said that {listed(missing)} read it out on the call. Nothing was recorded. Call again "
                f"with {'all of them' if len(missing) > 1 else 'them'}; without a terminal, name each with --on-call. "
                "If they did not change their keys, share nothing, and tell the linkage unit and your officer.",
                code="not_on_call",
            )
        self._comparisons.add(keyset, at=self._now())
        try:
            self._client.keys.note_comparison(project_id=project_id, epoch=keyset.epoch, keyset_sha256=keyset.digest)
        except StateConflictError as error:
            raise _moved_on(error) from None
        return keyset

    def share(self, project_id: str, *, recipients: Sequence[str] = ()) -> Shared:
        """Draw the secret and seal it for all other providers; or, once it was shared, for those that are named.

        The secret is kept here before anything is sent, so that a step that was cut off goes on with the same one. Who
        gets it after the first time is for a person to say: that somebody waits is only what the service says.

        Args:
            project_id: of which project.
            recipients: names or ids of the providers that have asked for the secret by voice.

        Raises:
            KeyExchangeError: the code was not compared here, another provider has drawn a secret, or nobody says for
                whom to seal one that was shared before.
        """
        seen = self._see(project_id)
        keys, keyset = seen.compared()
        standing, epoch = seen.standing, keyset.epoch
        named = [standing.find(one) for one in recipients]
        if any(one.own for one in named):
            raise KeyExchangeError("Your own organisation needs no envelope. Name another one.", code="own_envelope")
        secret, drawn = self._own_secret(standing, keyset)
        confirmed = check_value(secret, project_id=project_id, epoch=epoch)
        own_holds = standing.own is not None and standing.own.holds
        if standing.shared and not own_holds and not self._confirm(standing, confirmed):
            raise _accept_instead(standing)
        # What was cut off before its answer came may be sent once more to the same cards.
        first = self._marks.sharing(project_id, epoch) == _begun(keyset) and not standing.shared
        chosen = (named or standing.others) if first else named
        if not chosen:
            if waiting := standing.to_seal_for:
                raise _say_for_whom(standing, waiting)
            if first:
                self._confirm(standing, confirmed)
        else:
            self._post(keys, keyset, chosen, secret=secret, drawn=drawn)
        self._note_shared(standing, keyset.digest)
        return Shared(epoch=epoch, drawn=drawn, sealed_for=tuple(one.organisation for one in chosen))

    def _own_secret(self, standing: Standing, keyset: Keyset) -> tuple[bytes, bool]:
        """The secret that is kept here, and whether it was drawn now because there was none."""
        project_id, epoch = standing.project_id, standing.epoch
        if standing.held:
            if not standing.shared:
                self._check_origin(project_id, epoch)
            return self._secrets.read(project_id, epoch), False
        noted = self._marks.sharing(project_id, epoch)
        if standing.shared or (noted is not None and noted.state == "shared"):
            raise _accept_instead(standing)
        # First, so that what is kept next is known to be no secret that others have already.
        self._marks.note_sharing(project_id, _begun(keyset))
        self._secrets.add(project_id, epoch, draw_secret(), origin="drawn")
        return self._secrets.read(project_id, epoch), True

    def _post(
        self,
        keys: ExchangeKeys,
        keyset: Keyset,
        recipients: Sequence[ProviderStanding],
        *,
        secret: bytes,
        drawn: bool,
    ) -> None:
        project_id, epoch, at = keyset.project_id, keyset.epoch, self._now()
        envelopes = [
            wrap(keys=keys, keyset=keyset, sender=self._me, recipient=one.organisation, secret=secret, at=at)
            for one in recipients
        ]
        try:
            self._client.keys.post_envelopes(
                project_id=project_id,
                epoch=epoch,
                keyset_sha256=keyset.digest,
                check_value=check_value(secret, project_id=project_id, epoch=epoch),
                envelopes=envelopes,
            )
        except StateConflictError as error:
            if error.code not in {"already_shared", "not_confirmed", "other_secret"}:
                raise _moved_on(error) from None
            if drawn:
                # Nobody else has it, and nothing was encoded with it.
                self._secrets.delete(project_id, epoch)
            now = self.look(project_id)
            if not now.shared:
                # It is not that somebody shared one: the service says what stands in the way.
                raise error from None
            raise _accept_instead(now) from None

    def accept(self, project_id: str) -> Accepted:
        """Open the envelopes for this provider, keep the secret, and show the service that it is the right one.

        A secret that is kept here already is only given up for one that the service has found to be the epoch's, and
        never where it was found to be that itself.

        Raises:
            KeyExchangeError: the code was not compared here, there is no envelope, none is what its sender signed, they
                hold different secrets and nobody knows which is right, or it is not the secret that the others hold.
        """
        seen = self._see(project_id)
        standing = seen.standing
        epoch = standing.epoch
        noted = self._marks.sharing(project_id, epoch)
        if standing.held and standing.own is not None:
            # Kept by a step that was cut off, or handed over without the service.
            kept = self._secrets.read(project_id, epoch)
            if self._confirm(standing, check_value(kept, project_id=project_id, epoch=epoch)):
                self._note_shared(standing, noted.keyset if noted else None)
                return Accepted(epoch=epoch, sent_by=())
            if noted is not None and noted.state == "shared":
                raise KeyExchangeError(
                    "The service has noted that the secret kept here is the one that the others hold, and says the "
                    f"opposite now. Nothing was changed. {_TELL}",
                    code="other_secret",
                )
        opened = self._opened(seen)
        for secret, senders in opened.candidates:
            if self._take(standing, secret):
                self._note_shared(standing, opened.keyset)
                others = {one for value, names in opened.candidates if value != secret for one in names}
                return Accepted(epoch=epoch, sent_by=senders, false_from=tuple(sorted(others | set(opened.failed))))
        senders = tuple(sender for _, names in opened.candidates for sender in names)
        raise KeyExchangeError(
            f"What {listed([standing.name_of(one) for one in senders])} sealed for you is not the secret that "
            f"{standing.initiator_name} drew. It was not kept. {_TELL}",
            code="other_secret",
        )

    def _take(self, standing: Standing, secret: bytes) -> bool:
        """Keep a secret if the service finds that it is the one of the epoch; what was kept before stays otherwise."""
        project_id, epoch = standing.project_id, standing.epoch
        confirmed = check_value(secret, project_id=project_id, epoch=epoch)
        if standing.held:
            # The old one is there until the new one is in its place. What opens an envelope opens it once more.
            if not self._confirm(standing, confirmed):
                return False
            self._secrets.replace(project_id, epoch, secret, origin="opened")
            return True
        self._secrets.add(project_id, epoch, secret, origin="opened")
        if self._confirm(standing, confirmed):
            return True
        self._secrets.delete(project_id, epoch)
        return False

    def _note_shared(self, standing: Standing, keyset: str | None) -> None:
        noted = Sharing(epoch=standing.epoch, state="shared", keyset=keyset or _NO_CARDS)
        self._marks.note_sharing(standing.project_id, noted)

    def new_epoch(self, project_id: str, *, reason: "EpochReason") -> tuple["KeyExchange", bool]:
        """Close the present key epoch. It protects, so it works whatever is wrong with cards or the agreement.

        An attempt from this machine whose answer was lost is not repeated where it has worked.

        Returns:
            The exchange as it is now, and whether an epoch was opened now.

        Raises:
            UnexpectedAnswerError: the service answers with another project.
            ServiceError: the service refuses.
        """
        found = self._client.keys.exchange(project_id=project_id)
        _check_project(found, project_id)
        begun = self._marks.opening(project_id)
        done = (
            begun == Opening(expected_epoch=found.epoch - 1, reason=reason)
            and found.reason == reason
            and not found.check_value_known
            and not any(one.uploaded for one in found.providers)
            and self._secrets.find(project_id, found.epoch) is None
        )
        if not done:
            self._marks.note_opening(project_id, Opening(expected_epoch=found.epoch, reason=reason))
            found = self._client.keys.open_epoch(project_id=project_id, reason=reason, expected_epoch=found.epoch)
            _check_project(found, project_id)
        self._marks.saw(project_id, found.epoch)
        self._marks.note_opening(project_id, None)
        return found, not done

    def saw(self, project_id: str, epoch: int) -> None:
        """Remember an epoch that another step has opened: joining, or leaving."""
        self._marks.saw(project_id, epoch)

    def _confirm(self, standing: Standing, confirmed: str) -> bool:
        """Whether the service finds that this is the secret of the epoch; the first one is.

        Raises:
            StateConflictError: no secret of the epoch is known, and the service says why this cannot be it.
        """
        try:
            self._client.keys.confirm(project_id=standing.project_id, epoch=standing.epoch, check_value=confirmed)
        except StateConflictError as error:
            if error.code == "other_secret" and standing.shared:
                return False
            raise _moved_on(error) from None
        return True

    def _opened(self, seen: _Seen) -> "_Opened":
        """The secrets in the envelopes that are sealed under the present cards, and who sent them.

        One envelope that is none does not keep a good one from being opened.
        """
        keys, keyset = seen.compared()
        standing = seen.standing
        found: dict[bytes, list[str]] = {}
        failed: dict[str, KeyExchangeError] = {}
        for posted in self._client.keys.envelopes(project_id=standing.project_id):
            sender = posted.envelope.get("from")
            if not isinstance(sender, str) or posted.envelope.get("keyset") != keyset.digest:
                # Sealed before a card changed: whoever sent it will seal it again.
                continue
            if sender not in {one.organisation for one in standing.others}:
                failed[sender] = KeyExchangeError(
                    "The service hands out an envelope of an organisation that is no other provider of this project. "
                    f"It was not opened. {_TELL}",
                    code="envelope_other_sender",
                )
                continue
            try:
                secret = unwrap(keys=keys, keyset=keyset, sender=sender, recipient=self._me, envelope=posted.envelope)
            except KeyExchangeError as error:
                failed[sender] = error
            else:
                found.setdefault(secret, []).append(sender)
        if not found:
            raise next(iter(failed.values()), _nothing_to_accept(standing))
        senders = [standing.name_of(sender) for names in found.values() for sender in names]
        if len(found) > 1 and not standing.shared:
            raise KeyExchangeError(
                f"{listed(senders)} sealed different secrets for you, and nobody knows which one is right. None was "
                "kept. Get on a call, find out who drew which, and begin anew: `linkage project new-epoch "
                f"{standing.project_id} --because planned`.",
                code="secrets_differ",
            )
        return _Opened(
            keyset=keyset.digest,
            candidates=tuple((secret, tuple(names)) for secret, names in found.items()),
            failed=tuple(failed),
        )

    def _see(self, project_id: str) -> _Seen:
        agreed = agreed_project(self._client, project_id=project_id, profile=self._profile)
        found = self._client.keys.exchange(project_id=project_id)
        suite = _agreed_suite(agreed.document)
        _require_different_names(found)
        _check_against_agreement(found, agreed, project_id=project_id, suite=suite)
        self._marks.require_present(project_id, found.epoch)
        cards = {one.organisation: _card_of(one) for one in found.providers}
        keys = self.own_keys() if self._me in cards else None
        own_keys = self._own_state(keys, cards.get(self._me))
        keyset = self._keyset(found, cards, suite=suite) if own_keys == "published" else None
        compared = keyset is not None and self._comparisons.confirmed(keyset)
        names = {one.organisation: one.name for one in found.providers}
        changed = [] if keyset is None or compared else self._comparisons.changes(keyset)
        held = self._secrets.find(project_id, found.epoch) is not None
        noted = self._marks.sharing(project_id, found.epoch)
        begun = noted is not None and noted.state == "begun"
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
            held=held,
            begun=begun,
            to_hear=() if keyset is None or compared else self._to_hear(keyset, holds=held and not begun),
            agreement=f"{agreed.project.agreement.reference}, version {agreed.project.agreement.version}",
        )
        return _Seen(standing=standing, exchange=found, keys=keys)

    def _to_hear(self, keyset: Keyset, *, holds: bool) -> tuple[str, ...]:
        """Ids of the other providers that a new comparison in this epoch has to hear, each by itself."""
        if self._comparisons.newest_epoch(keyset.project_id) == keyset.epoch:
            found = self._comparisons.differences(keyset)
            heard = {*found.changed, *found.added}
        else:
            # A first comparison is for all that are on the call. With a secret that others hold, no card is known.
            heard = {card.organisation for card in keyset.cards} if holds else set()
        return tuple(sorted(heard - {self._me}))

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


def _agreed_suite(document: Mapping[str, Any]) -> Suite:
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


def _check_against_agreement(found: "KeyExchange", agreed: AgreedProject, *, project_id: str, suite: Suite) -> None:
    listed_ids = [one.organisation for one in found.providers]
    _check_project(found, project_id)
    if len(set(listed_ids)) < len(listed_ids) or not listed_ids:
        raise UnexpectedAnswerError(
            "The service answers with a provider twice, or with none. Tell the linkage unit.",
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


def _check_project(found: "KeyExchange", project_id: str) -> None:
    if found.project != project_id:
        raise UnexpectedAnswerError(
            "The service answers with the key exchange of another project than the one that was asked for. Nothing was "
            "done with it. Tell the linkage unit.",
            request_id=found.request_id,
        )


def _require_different_names(found: "KeyExchange") -> None:
    """People on a call know providers by their names, so two of one name could be taken for one."""
    names = ["".join(unicodedata.normalize("NFKC", one.name).casefold().split()) for one in found.providers]
    alike = [one for one, name in zip(found.providers, names, strict=True) if names.count(name) > 1]
    if alike:
        shown = listed([f"{one.name} ({one.organisation})" for one in alike])
        raise KeyExchangeError(
            f"Providers of this project have names that people cannot tell apart: {shown}. Nothing was done. Ask on "
            "the call whether both take part, and the linkage unit to name them differently. If one of them is a "
            "stranger to all, tell your officer.",
            code="names_alike",
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


def _begun(keyset: Keyset) -> Sharing:
    return Sharing(epoch=keyset.epoch, state="begun", keyset=keyset.digest)


def _say_for_whom(standing: Standing, waiting: Sequence[ProviderStanding]) -> KeyExchangeError:
    names = listed([one.name for one in waiting])
    return KeyExchangeError(
        f"The secret of key epoch {standing.epoch} was shared before, and the service says that {names} waits for it. "
        "Nothing was sent: only people can know whether that is so. If somebody there has asked you for it on a call, "
        f"type `linkage project share-secret {standing.project_id} --for {waiting[0].organisation}`"
        f"{', with one --for for each.' if len(waiting) > 1 else '.'}",
        code="say_for_whom",
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
            f"and to type `linkage project share-secret {standing.project_id} --for {standing.own_id}`."
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
