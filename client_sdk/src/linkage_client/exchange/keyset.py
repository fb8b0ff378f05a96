"""The cards of all providers of a project in one key epoch, and the code that people compare to know they are real."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import rfc8785
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from linkage_client.errors import KeyExchangeError
from linkage_client.exchange._documents import VERSION, Malformed, identifier, integer, one_of
from linkage_client.exchange.cards import KeyCard
from linkage_client.exchange.suites import Suite

KEYSET_CONTEXT: Final = b"linkage/keyset/v1\0"
SAFETY_CODE_SALT: Final = b"linkage/safety-code/v1"
SAFETY_CODE_DIGITS: Final = 30
_GROUP: Final = 5
# A service that shows different cards to different providers needs two keysets with one code, about 2^50 trials. That
# is in reach for a plain hash; this costs 32 MiB and a tenth of a second a trial.
_COST: Final = 2**15
_BLOCK_SIZE: Final = 8
_CODE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Keyset:
    """The cards of a project's providers in one key epoch, by organisation.

    Raises:
        KeyExchangeError: `bad_keyset`; an organisation or a key is there twice, or there can be no such project,
            epoch or suite. `card_without_suite`; a provider has no key for the suite.
    """

    project_id: str
    epoch: int
    suite: Suite
    cards: Sequence[KeyCard]
    """Given in any order, kept by organisation."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cards", tuple(sorted(self.cards, key=lambda card: card.organisation)))
        try:
            object.__setattr__(self, "suite", Suite(one_of(self.suite, tuple(Suite))))
            identifier(self.project_id)
            integer(self.epoch, at_least=1)
            self._check_distinct()
        except Malformed:
            raise KeyExchangeError(
                "The key cards that the service shows for this project cannot belong together: an organisation or a "
                "key is there twice, there are none, or the project, epoch or suite cannot be one. Nothing was done. "
                "Tell the linkage unit and the other providers.",
                code="bad_keyset",
            ) from None
        self._check_suite()

    @property
    def organisations(self) -> tuple[str, ...]:
        """Ids of the organisations whose cards these are, sorted."""
        return tuple(card.organisation for card in self.cards)

    @property
    def digest(self) -> str:
        """SHA-256 in hex: what confirmations and envelopes name these cards by."""
        statement: dict[str, Any] = {
            "v": VERSION,
            "project": self.project_id,
            "epoch": self.epoch,
            "suite": self.suite.value,
            "cards": [card.body for card in self.cards],
        }
        return hashlib.sha256(KEYSET_CONTEXT + rfc8785.dumps(statement)).hexdigest()

    def safety_code(self) -> str:
        """30 digits in groups of five, the same for all who have the same cards.

        Takes 32 MiB and about 0.15 s, the first time that a process asks for it.
        """
        return _safety_code(self.digest)

    def card_of(self, organisation_id: str) -> KeyCard:
        """The card of an organisation.

        Raises:
            KeyExchangeError: `not_in_keyset`; it has none here.
        """
        for card in self.cards:
            if card.organisation == organisation_id:
                return card
        raise KeyExchangeError(
            "An organisation that is not among the providers of this project has no part in sharing its secret. Look "
            "at the project's providers again.",
            code="not_in_keyset",
        )

    def _check_distinct(self) -> None:
        keys = [key for card in self.cards for key in (card.signing_key, *card.hpke_keys.values())]
        # Who puts another's key on a card of their own would have envelopes for one read by the other.
        if not self.cards or len(set(self.organisations)) != len(self.cards) or len(set(keys)) != len(keys):
            raise Malformed

    def _check_suite(self) -> None:
        lacking = sum(self.suite not in card.hpke_keys for card in self.cards)
        if lacking:
            raise KeyExchangeError(
                f"{lacking} of the {len(self.cards)} key cards have no key for {self.suite}, which the agreement asks "
                "for. Those providers have to make new exchange keys with a present version of this client.",
                code="card_without_suite",
            )


@lru_cache(maxsize=64)
def _safety_code(digest: str) -> str:
    """Kept, since a ceremony looks at it at each of its steps. Whoever has the cards can reckon it: it is no secret."""
    slow = Scrypt(salt=SAFETY_CODE_SALT, length=_CODE_BYTES, n=_COST, r=_BLOCK_SIZE, p=1)
    number = int.from_bytes(slow.derive(bytes.fromhex(digest)), "big") % 10**SAFETY_CODE_DIGITS
    digits = f"{number:0{SAFETY_CODE_DIGITS}d}"
    return " ".join(digits[at : at + _GROUP] for at in range(0, SAFETY_CODE_DIGITS, _GROUP))
