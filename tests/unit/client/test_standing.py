"""What people are told to do next, in every place that a project's providers can be in."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from linkage_client.errors import KeyExchangeError
from linkage_client.exchange.keyset import Keyset
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.standing import OwnKeys, ProviderStanding, Standing, listed
from linkage_client.exchange.suites import Suite

AT = datetime(2026, 3, 1, tzinfo=UTC)
NEW = ProviderStanding(
    organisation="org_a",
    name="Northgate",
    own=True,
    published=True,
    compared=False,
    holds=False,
    keys_are_newer=False,
    envelope_waits=False,
    uploaded=False,
)
OTHER = replace(NEW, organisation="org_b", name="Hospital", own=False)
KEYSET = Keyset(
    project_id="prj_1",
    epoch=1,
    suite=Suite.X25519,
    cards=[ExchangeKeys.generate().card(one.organisation) for one in (NEW, OTHER)],
)
START = Standing(
    project_id="prj_1",
    project_name="Spring round",
    epoch=1,
    reason="opened",
    opened_at=AT,
    suite=Suite.X25519,
    providers=(NEW, OTHER),
    initiator=None,
    shared=False,
    own_keys="published",
    may_join=False,
    keyset=KEYSET,
    compared_here=False,
    changed=(),
    held=False,
)
COMPARED = replace(START, compared_here=True)
HOLDING = replace(
    COMPARED,
    held=True,
    shared=True,
    initiator="org_a",
    providers=(replace(NEW, holds=True), replace(OTHER, holds=True)),
)


@pytest.mark.parametrize(
    ("standing", "begins"),
    [
        (replace(START, own_keys="none"), "`linkage keys init` makes"),
        (replace(START, own_keys="unpublished"), "`linkage keys init` publishes"),
        (replace(START, own_keys="other_card"), "The service shows a key card of your organisation"),
        (START, "Get on a call with Hospital, and type `linkage project confirm-code prj_1`"),
        (replace(START, changed=("Hospital",)), "The key cards of Hospital are not those"),
        (COMPARED, "`linkage project share-secret prj_1` draws"),
        (replace(COMPARED, held=True, begun=True), "`linkage project share-secret prj_1` completes"),
        (replace(START, held=True, begun=True), "Get on a call with Hospital"),
        (replace(COMPARED, held=True), "`linkage project accept-secret prj_1` confirms"),
        (
            replace(COMPARED, shared=True, providers=(replace(NEW, envelope_waits=True), OTHER)),
            "`linkage project accept-secret prj_1` opens",
        ),
        (replace(COMPARED, shared=True, held=True), "`linkage project accept-secret prj_1` confirms"),
        (replace(COMPARED, shared=True), "Nobody holds the secret of key epoch 1 any more."),
        (HOLDING, "Encode and send your data: `linkage encode"),
        (
            replace(HOLDING, providers=(replace(NEW, holds=True), OTHER)),
            "`linkage project share-secret prj_1 --for org_b` seals the secret for Hospital",
        ),
        (
            replace(HOLDING, compared_here=False, providers=(replace(NEW, holds=True), OTHER)),
            "Get on a call with Hospital",
        ),
        (
            replace(HOLDING, providers=(replace(NEW, holds=True), replace(OTHER, holds=True, keys_are_newer=True))),
            "`linkage project share-secret prj_1 --for org_b` seals the secret for Hospital",
        ),
        (replace(START, providers=(OTHER,), may_join=True), "`linkage project join prj_1`"),
    ],
)
def test_standing_names_the_next_command(standing: Standing, begins: str) -> None:
    assert standing.next_steps[0].startswith(begins)


@pytest.mark.parametrize(
    "standing",
    [
        replace(START, keyset=None),
        replace(START, providers=(OTHER,)),
        replace(COMPARED, shared=True, providers=(NEW, replace(OTHER, holds=True))),
        replace(HOLDING, providers=tuple(replace(one, uploaded=True) for one in HOLDING.providers)),
    ],
    ids=["a card is missing", "gives no data", "waits for an envelope", "has done all"],
)
def test_standing_with_nothing_to_do_names_nothing(standing: Standing) -> None:
    assert standing.next_steps == []


@pytest.mark.parametrize(
    ("other", "shared", "awaited"),
    [
        (replace(OTHER, published=False), False, "Hospital has not published its keys yet"),
        (OTHER, False, "Hospital has not compared the code yet"),
        (replace(OTHER, compared=True), False, "Hospital has compared the code, and is ready."),
        (replace(OTHER, envelope_waits=True), True, "Hospital has not opened its envelope yet"),
        (OTHER, True, "Hospital waits for somebody to seal the secret for it."),
        (replace(OTHER, holds=True), True, "Hospital has the secret, and has not sent its data yet."),
        (replace(OTHER, holds=True, keys_are_newer=True), True, "Hospital has new keys, and waits for the secret"),
    ],
)
def test_standing_says_what_the_other_is_awaited_for(other: ProviderStanding, awaited: str, *, shared: bool) -> None:
    standing = replace(HOLDING, shared=shared, providers=(replace(NEW, holds=True), other))
    assert [sentence[: len(awaited)] for sentence in standing.awaited] == [awaited]


def test_standing_says_who_can_seal_for_a_provider_that_waits() -> None:
    standing = replace(COMPARED, shared=True, providers=(NEW, replace(OTHER, holds=True, uploaded=True)))
    (sentence,) = standing.awaited
    assert sentence.startswith("Hospital is to seal the secret for you")
    assert "`linkage project share-secret prj_1 --for org_a`" in sentence


def test_standing_whose_secret_is_gone_here_says_how_it_comes_back() -> None:
    (step,) = replace(HOLDING, held=False).next_steps
    assert "`linkage project accept-secret prj_1` takes it" in step
    assert "Hospital on a call to type `linkage project share-secret prj_1 --for org_a`" in step


@pytest.mark.parametrize("given", ["Hospital", " org_b "])
def test_standing_finds_a_provider_by_name_or_id(given: str) -> None:
    assert START.find(given).organisation == "org_b"


def test_standing_names_its_providers_to_who_asks_for_another() -> None:
    with pytest.raises(KeyExchangeError, match=r"Hospital \(org_b\)"):
        START.find("Somebody")


def test_standing_where_all_is_done_awaits_nobody() -> None:
    done = replace(HOLDING, providers=tuple(replace(one, uploaded=True) for one in HOLDING.providers))
    assert done.awaited == []


@pytest.mark.parametrize("own_keys", ["none", "unpublished", "other_card"])
def test_standing_without_published_keys_says_that_first(own_keys: OwnKeys) -> None:
    assert "keys" in replace(HOLDING, own_keys=own_keys).next_steps[0]
    assert len(replace(HOLDING, own_keys=own_keys).next_steps) == 1


def test_standing_as_a_document_has_neither_code_nor_cards() -> None:
    document = START.document()
    assert START.code is not None
    assert START.code not in str(document)
    assert document["keyset_sha256"] == KEYSET.digest
    assert {one["organisation"] for one in document["providers"]} == {"org_a", "org_b"}


def test_names_are_listed_as_in_a_sentence() -> None:
    assert [listed(names) for names in (["A"], ["A", "B"], ["A", "B", "C"], [])] == ["A", "A and B", "A, B and C", ""]
