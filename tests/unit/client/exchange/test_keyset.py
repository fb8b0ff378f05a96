"""The safety code is one for those who have the same cards, and another as soon as anything differs."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage_client.errors import KeyExchangeError
from linkage_client.exchange.cards import KeyCard
from linkage_client.exchange.keyset import Keyset
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.suites import Suite
from support.exchange_documents import PROJECT, keys_of
from support.exchange_oracle import Party, self_signed

NAMES = ("org_north", "org_south", "org_west")


def _keyset(cards: Mapping[str, KeyCard], **changes: Any) -> Keyset:
    members = {"project_id": PROJECT, "epoch": 3, "suite": Suite.X25519, "cards": list(cards.values())}
    return Keyset(**{**members, **changes})


def _code(**arguments: Any) -> str:
    with pytest.raises(KeyExchangeError) as caught:
        Keyset(**arguments)
    return caught.value.code


def test_keyset_and_code_are_the_known_ones(known: Any, cards: dict[str, KeyCard]) -> None:
    for answer in known["keysets"]:
        keyset = _keyset(cards, project_id=answer["project"], epoch=answer["epoch"], suite=Suite(answer["suite"]))
        assert keyset.digest == answer["digest"]
        assert keyset.safety_code() == answer["safety_code"]


def test_code_is_six_groups_of_five_digits(cards: dict[str, KeyCard]) -> None:
    groups = _keyset(cards).safety_code().split(" ")
    assert [len(group) for group in groups] == [5] * 6
    assert all(group.isascii() and group.isdigit() for group in groups)


def test_order_of_cards_makes_no_difference(cards: dict[str, KeyCard]) -> None:
    backwards = dict(reversed(cards.items()))
    assert _keyset(backwards) == _keyset(cards)
    assert _keyset(backwards).safety_code() == _keyset(cards).safety_code()
    assert _keyset(backwards).organisations == NAMES


@pytest.mark.parametrize(
    "changes",
    [{"project_id": "prj_2"}, {"epoch": 4}, {"suite": Suite.MLKEM768_X25519}],
    ids=["project", "epoch", "suite"],
)
def test_other_project_epoch_or_suite_has_another_code(cards: dict[str, KeyCard], changes: dict[str, Any]) -> None:
    assert _keyset(cards, **changes).digest != _keyset(cards).digest
    assert _keyset(cards, **changes).safety_code() != _keyset(cards).safety_code()


@pytest.mark.parametrize("organisation", NAMES)
def test_other_card_of_any_provider_has_another_code(cards: dict[str, KeyCard], organisation: str) -> None:
    """What a service does that puts itself between: everybody else's screen shows another code."""
    changed = {**cards, organisation: ExchangeKeys.generate().card(organisation)}
    assert _keyset(changed).safety_code() != _keyset(cards).safety_code()


@pytest.mark.parametrize("member", ["signing_key", "x25519", "mlkem768-x25519"])
def test_change_of_any_single_key_of_a_card_has_another_code(cards: dict[str, KeyCard], member: str) -> None:
    body, other = Party("org_north").body(), Party("org_else").body()
    if member == "signing_key":
        changed = self_signed({**body, "signing_key": other["signing_key"]}, Party("org_else").signing)
    else:
        keys = {**body["hpke_keys"], member: other["hpke_keys"][member]}
        changed = self_signed({**body, "hpke_keys": keys}, Party("org_north").signing)
    assert _keyset({**cards, "org_north": KeyCard.parse(changed)}).safety_code() != _keyset(cards).safety_code()


def test_cards_that_two_providers_have_swapped_have_another_code(cards: dict[str, KeyCard]) -> None:
    swapped = {
        **cards,
        "org_north": keys_of(Party("org_south")).card("org_north"),
        "org_south": keys_of(Party("org_north")).card("org_south"),
    }
    assert _keyset(swapped).safety_code() != _keyset(cards).safety_code()


def test_provider_who_joins_or_leaves_changes_the_code(cards: dict[str, KeyCard]) -> None:
    fewer = {name: cards[name] for name in NAMES[:2]}
    more = {**cards, "org_east": ExchangeKeys.generate().card("org_east")}
    assert len({_keyset(some).safety_code() for some in (fewer, cards, more)}) == 3


@settings(max_examples=30)
@given(
    st.permutations(NAMES),
    st.integers(1, 2**53 - 1),
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    st.sampled_from(Suite),
)
def test_digest_depends_on_what_is_in_the_keyset_and_on_nothing_else(
    cards: dict[str, KeyCard], order: list[str], epoch: int, project: str, suite: Suite
) -> None:
    keyset = Keyset(project_id=project, epoch=epoch, suite=suite, cards=[cards[name] for name in order])
    same = Keyset(project_id=project, epoch=epoch, suite=suite, cards=list(cards.values()))
    other = Keyset(project_id=project + "x" if len(project) < 64 else "y", epoch=epoch, suite=suite, cards=same.cards)
    assert keyset.digest == same.digest != other.digest


def test_keyset_that_cannot_be_one_is_refused(cards: dict[str, KeyCard]) -> None:
    arguments = {"project_id": PROJECT, "epoch": 1, "suite": Suite.X25519, "cards": list(cards.values())}
    north = keys_of(Party("org_north"))
    wrong: tuple[dict[str, Any], ...] = (
        {"cards": []},
        {"cards": [cards["org_north"], cards["org_north"]]},
        {"cards": [cards["org_north"], ExchangeKeys.generate().card("org_north")]},
        # Another's keys under an own name.
        {"cards": [cards["org_north"], north.card("org_thief")]},
        {"epoch": 0},
        {"epoch": -1},
        {"epoch": True},
        {"epoch": 1.0},
        {"epoch": "1"},
        {"epoch": 2**53},
        {"project_id": ""},
        {"project_id": "prj 1"},
        {"project_id": "prj_é"},
        {"project_id": "p" * 65},
        {"project_id": None},
        {"suite": "rsa"},
        {"suite": None},
    )
    for changes in wrong:
        assert _code(**{**arguments, **changes}) == "bad_keyset", changes


def test_encryption_key_of_another_provider_on_an_own_card_is_refused(cards: dict[str, KeyCard]) -> None:
    thief = Party("org_thief")
    keys = {**thief.body()["hpke_keys"], "x25519": Party("org_north").body()["hpke_keys"]["x25519"]}
    card = KeyCard.parse(self_signed({**thief.body(), "hpke_keys": keys}, thief.signing))
    with pytest.raises(KeyExchangeError) as caught:
        _keyset({**cards, "org_thief": card})
    assert caught.value.code == "bad_keyset"


def test_card_that_lacks_the_suite_of_the_agreement_is_named_as_such(cards: dict[str, KeyCard]) -> None:
    south = Party("org_south")
    body = {**south.body(), "hpke_keys": {"x25519": south.body()["hpke_keys"]["x25519"]}}
    without = {**cards, "org_south": KeyCard.parse(self_signed(body, south.signing))}
    _keyset(without)
    with pytest.raises(KeyExchangeError, match="1 of the 3 key cards") as caught:
        _keyset(without, suite=Suite.MLKEM768_X25519)
    assert caught.value.code == "card_without_suite"


def test_card_of_an_organisation_that_has_none_is_refused(cards: dict[str, KeyCard]) -> None:
    assert _keyset(cards).card_of("org_west") == cards["org_west"]
    with pytest.raises(KeyExchangeError) as caught:
        _keyset(cards).card_of("org_else")
    assert caught.value.code == "not_in_keyset"
    assert "org_else" not in caught.value.message
