"""What the service checks of key cards and envelopes before it keeps them."""

from typing import Any

import pytest
from pydantic import ValidationError

from linkage_service.errors import Invalid
from linkage_service.keys.checking import check_card, check_envelope, decoded, digest_of, keyset_digest
from linkage_service.keys.schemas import KeyCardDocument, KeyEnvelope
from support import key_exchange
from support.key_exchange import ExchangeKeys
from support.service_app import b64

ONE, OTHER = "org_" + "0" * 26, "org_" + "1" * 26
PROJECT, KEYSET = "prj_" + "0" * 26, "5f" * 32
# Of order 1, 2, 4 and 8 on the curve or its twist: RFC 7748 section 6.1.
LOW_ORDER = (
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ec" + "ff" * 30 + "7f",
)


@pytest.fixture
def keys() -> ExchangeKeys:
    return ExchangeKeys(ONE)


def _card(document: Any) -> KeyCardDocument:
    return KeyCardDocument.model_validate(document)


def _refusal(document: Any) -> tuple[str, str]:
    with pytest.raises(Invalid) as caught:
        check_card(_card(document), organisation=ONE)
    (error,) = caught.value.errors
    return error.pointer, error.code


def test_card_that_is_as_it_was_signed_is_taken(keys: ExchangeKeys) -> None:
    for document in (keys.card(), keys.card(hpke_keys=keys.both)):
        card = _card(document)
        check_card(card, organisation=ONE)
        assert card.model_dump(mode="json") == document
        assert digest_of(card) == key_exchange.digest_of(document)


@pytest.mark.parametrize("member", ["organisation", "signing_key", "hpke_keys", "signature"])
def test_card_with_a_member_of_another_is_refused(keys: ExchangeKeys, member: str) -> None:
    document = {**keys.card(), member: ExchangeKeys(OTHER).card()[member]}
    expected = ("/organisation", "other_organisation") if member == "organisation" else ("/signature", "bad_signature")
    assert _refusal(document) == expected


def test_card_without_the_required_suite_is_refused(keys: ExchangeKeys) -> None:
    only = {"mlkem768-x25519": keys.both["mlkem768-x25519"]}
    assert _refusal(keys.card(hpke_keys=only)) == ("/hpke_keys", "missing")


def test_card_with_a_key_of_another_suites_length_is_refused(keys: ExchangeKeys) -> None:
    mixed = {"x25519": keys.both["mlkem768-x25519"]}
    assert _refusal(keys.card(hpke_keys=mixed)) == ("/hpke_keys/x25519", "wrong_length")
    mixed = {"x25519": keys.both["x25519"], "mlkem768-x25519": keys.both["x25519"]}
    assert _refusal(keys.card(hpke_keys=mixed)) == ("/hpke_keys/mlkem768-x25519", "wrong_length")


# Of small order on edwards25519 (0, 1, -1, both of order 8), and 2, written as 2 + the field's prime.
SMALL_ORDER = (
    "00" * 32,
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "ef" + "ff" * 30 + "7f",
)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_card_with_a_signing_key_that_no_honest_party_has_is_refused(keys: ExchangeKeys, point: str) -> None:
    assert _refusal(keys.card(signing_key=b64(bytes.fromhex(point)))) == ("/signing_key", "unusable")


def test_card_with_a_key_in_a_second_spelling_is_refused(keys: ExchangeKeys) -> None:
    nine = ((2**255 - 19) + 9).to_bytes(32, "little")
    assert _refusal(keys.card(hpke_keys={"x25519": b64(nine)})) == ("/hpke_keys/x25519", "unusable")
    high = bytearray(keys.hpke.public_key().public_bytes_raw())
    high[31] |= 0x80
    assert _refusal(keys.card(hpke_keys={"x25519": b64(bytes(high))})) == ("/hpke_keys/x25519", "unusable")


def test_card_with_a_post_quantum_key_beyond_the_modulus_is_refused(keys: ExchangeKeys) -> None:
    beyond = {
        **keys.both,
        "mlkem768-x25519": b64(b"\xff" * 1152 + bytes(32) + keys.hpke.public_key().public_bytes_raw()),
    }
    assert _refusal(keys.card(hpke_keys=beyond)) == ("/hpke_keys/mlkem768-x25519", "unusable")


def test_card_with_one_key_for_two_uses_is_refused() -> None:
    keys = key_exchange.keys_that_serve_twice(ONE)
    twice = {"x25519": b64(keys.signing.public_key().public_bytes_raw())}
    assert _refusal(keys.card(hpke_keys=twice)) == ("/hpke_keys/x25519", "repeated_key")


@pytest.mark.parametrize("point", LOW_ORDER)
def test_card_with_a_key_that_agrees_on_nothing_is_refused(keys: ExchangeKeys, point: str) -> None:
    raw = bytes.fromhex(point)
    assert _refusal(keys.card(hpke_keys={"x25519": b64(raw)})) == ("/hpke_keys/x25519", "unusable")
    both = {"x25519": keys.both["x25519"], "mlkem768-x25519": b64(bytes(1184) + raw)}
    assert _refusal(keys.card(hpke_keys=both)) == ("/hpke_keys/mlkem768-x25519", "unusable")


def test_base64_has_one_spelling() -> None:
    assert decoded(b64(b"\0" * 32), pointer="/x") == b"\0" * 32
    for text in ("A" * 42 + "B", "A" * 41, "A+/A"):
        with pytest.raises(Invalid) as caught:
            decoded(text, pointer="/x")
        assert caught.value.errors[0].code == "malformed"


def test_keyset_digest_is_that_of_the_format_whatever_the_order() -> None:
    documents = [ExchangeKeys(one).card() for one in (ONE, OTHER)]
    wanted = key_exchange.keyset_of(documents, project=PROJECT, epoch=3)
    for order in (documents, documents[::-1]):
        assert keyset_digest([_card(one) for one in order], project=PROJECT, epoch=3, suite="x25519") == wanted


def test_keyset_digest_changes_with_project_epoch_suite_and_any_card() -> None:
    cards = [_card(keys.card(hpke_keys=keys.both)) for keys in (ExchangeKeys(ONE), ExchangeKeys(OTHER))]
    changed = [cards[0], _card(ExchangeKeys(OTHER).card(hpke_keys=ExchangeKeys(OTHER).both))]
    found = {
        keyset_digest(cards, project=PROJECT, epoch=1, suite="x25519"),
        keyset_digest(cards, project="prj_" + "1" * 26, epoch=1, suite="x25519"),
        keyset_digest(cards, project=PROJECT, epoch=2, suite="x25519"),
        keyset_digest(cards, project=PROJECT, epoch=1, suite="mlkem768-x25519"),
        keyset_digest(changed, project=PROJECT, epoch=1, suite="x25519"),
        keyset_digest(cards[:1], project=PROJECT, epoch=1, suite="x25519"),
    }
    assert len(found) == 6
    assert None not in found


def test_keyset_with_a_card_that_lacks_the_suite_has_no_digest() -> None:
    cards = [_card(ExchangeKeys(ONE).card(hpke_keys=ExchangeKeys(ONE).both)), _card(ExchangeKeys(OTHER).card())]
    assert keyset_digest(cards, project=PROJECT, epoch=1, suite="mlkem768-x25519") is None


def _check(keys: ExchangeKeys, document: Any, **changes: Any) -> None:
    expected = {"project": PROJECT, "epoch": 1, "from": ONE, "keyset": KEYSET, "suite": "x25519", **changes}
    check_envelope(
        KeyEnvelope.model_validate(document),
        expected=expected,
        recipients=[OTHER],
        card=_card(keys.card()),
        pointer="",
    )


def test_envelope_is_kept_letter_by_letter(keys: ExchangeKeys) -> None:
    document = keys.envelope(
        ExchangeKeys(OTHER), {"at": "2026-03-01T12:00:00Z"}, project=PROJECT, epoch=1, keyset=KEYSET
    )
    _check(keys, document)
    assert KeyEnvelope.model_validate_json(KeyEnvelope.model_validate(document).model_dump_json()).model_dump() == (
        document
    )


@pytest.mark.parametrize("member", ["v", "at", "ciphertext", "signature"])
def test_envelope_that_was_changed_after_it_was_signed_is_refused(keys: ExchangeKeys, member: str) -> None:
    to = ExchangeKeys(OTHER)
    document = keys.envelope(to, project=PROJECT, epoch=1, keyset=KEYSET)
    other = keys.envelope(to, {"at": "2026-03-01T13:00:00Z"}, project=PROJECT, epoch=1, keyset=KEYSET)
    changed = {**document, member: {**other, "v": 2}[member]}
    with pytest.raises(ValidationError if member == "v" else Invalid):
        _check(keys, changed)


@pytest.mark.parametrize(
    ("member", "value"),
    [("project", "prj_x"), ("epoch", 2), ("from", OTHER), ("keyset", "6f" * 32), ("suite", "mlkem768-x25519")],
)
def test_envelope_for_another_occasion_is_refused(keys: ExchangeKeys, member: str, value: object) -> None:
    document = keys.envelope(ExchangeKeys(OTHER), project=PROJECT, epoch=1, keyset=KEYSET)
    with pytest.raises(Invalid) as caught:
        _check(keys, document, **{member: value})
    assert caught.value.errors[0].pointer == f"/{member}"


@pytest.mark.parametrize("at", ["2026-03-01T12:00:00.5Z", "2026-03-01T12:00:00+00:00", "2026-02-30T12:00:00Z"])
def test_envelope_with_a_time_that_its_recipient_refuses_is_refused(keys: ExchangeKeys, at: str) -> None:
    document = keys.envelope(ExchangeKeys(OTHER), {"at": at}, project=PROJECT, epoch=1, keyset=KEYSET)
    with pytest.raises(ValidationError):
        KeyEnvelope.model_validate(document)


@pytest.mark.parametrize(("suite", "overhead"), [("x25519", 32 + 16), ("mlkem768-x25519", 1088 + 32 + 16)])
@pytest.mark.parametrize(("secret", "taken"), [(15, False), (16, True), (900, True), (901, False)])
def test_envelope_holds_a_secret_of_16_to_900_bytes(
    keys: ExchangeKeys, suite: str, overhead: int, secret: int, *, taken: bool
) -> None:
    changes = {"suite": suite, "ciphertext": b64(bytes(overhead + secret))}
    document = keys.envelope(ExchangeKeys(OTHER), changes, project=PROJECT, epoch=1, keyset=KEYSET)
    if taken:
        _check(keys, document, suite=suite)
        return
    with pytest.raises((Invalid, ValidationError)):
        _check(keys, document, suite=suite)
