"""A key card is taken only if it is exactly one that an honest provider can have made."""

import base64
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from linkage_client.errors import KeyExchangeError
from linkage_client.exchange.cards import _SMALL_ORDER_Y, CARD_CONTEXT, KeyCard
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.suites import Suite
from support.exchange_documents import keys_of, spoilt
from support.exchange_oracle import Party, b64, self_signed, unb64

PRIME = 2**255 - 19
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
NORTH, SOUTH = Party("org_north"), Party("org_south")
CARD = NORTH.card()


def _refused(document: Any, how: str = "") -> None:
    try:
        KeyCard.parse(document)
    except KeyExchangeError as error:
        refusal = error
    else:
        pytest.fail(f"a card was taken: {how}")
    assert refusal.code == "bad_card"
    assert refusal.message.startswith("A key card is damaged, or is not signed by the key on it.")
    assert refusal.__cause__ is None
    assert refusal.__suppress_context__


def _signed(**changes: Any) -> dict[str, Any]:
    """A card with changes, signed again by the key that was on it."""
    return self_signed({**NORTH.body(), **changes}, NORTH.signing)


def test_card_is_the_known_one(known: Any) -> None:
    for answer in known["cards"]:
        card = KeyCard.parse(answer["document"])
        assert card.document == answer["document"]
        assert card.digest == answer["digest"]
        assert card.organisation == answer["organisation"]
        made = ExchangeKeys.from_bytes(answer["kept"].encode()).card(answer["organisation"])
        assert made == card


def test_card_without_the_hybrid_suite_is_taken() -> None:
    card = KeyCard.parse(_signed(hpke_keys={"x25519": CARD["hpke_keys"]["x25519"]}))
    assert set(card.hpke_keys) == {Suite.X25519}


def test_card_survives_being_written_and_read() -> None:
    card = ExchangeKeys.generate().card("org_north")
    assert KeyCard.parse(card.document) == card
    assert KeyCard.parse(card.document).digest == card.digest


def test_card_of_the_same_keys_is_the_same_each_time() -> None:
    keys = ExchangeKeys.generate()
    assert keys.card("org_north") == keys.card("org_north")


def test_card_cannot_be_changed_after_it_was_checked() -> None:
    card = KeyCard.parse(CARD)
    with pytest.raises(TypeError):
        cast("dict[Suite, bytes]", card.hpke_keys)[Suite.X25519] = bytes(32)


def test_card_with_any_member_changed_is_refused() -> None:
    for how, document in spoilt(CARD):
        _refused(document, how)


def _spoilt_and_signed() -> Iterator[tuple[str, dict[str, Any]]]:
    for how, document in spoilt(NORTH.body()):
        try:
            yield how, self_signed(document, NORTH.signing)
        except (UnicodeEncodeError, TypeError):
            continue


def _is_a_card_of_another_organisation(document: dict[str, Any]) -> bool:
    """The id is free: signing again makes another card, and a good one."""
    name = document.get("organisation")
    return {**document, "organisation": "org_north"}.keys() == CARD.keys() and (
        {**document, "organisation": "org_north", "signature": CARD["signature"]} == CARD
        and isinstance(name, str)
        and re.fullmatch("[A-Za-z0-9_-]{1,64}", name) is not None
    )


def test_card_of_another_shape_is_refused_though_its_signature_verifies() -> None:
    tried = 0
    for how, document in _spoilt_and_signed():
        # The hybrid key is optional.
        if not _is_a_card_of_another_organisation(document) and how != "hpke_keys: without mlkem768-x25519":
            _refused(document, how)
            tried += 1
    assert tried > 80


@pytest.mark.parametrize("document", [None, [], "x", 1, b"y", {}, [CARD]], ids=lambda one: repr(one)[:9])
def test_card_that_is_no_object_is_refused(document: Any) -> None:
    _refused(document)


@pytest.mark.parametrize("member", ["organisation", "signing_key", "hpke_keys", "signature"])
def test_card_with_a_member_of_another_card_is_refused(member: str) -> None:
    _refused({**CARD, member: SOUTH.card()[member]})


def test_card_with_each_bit_of_its_keys_or_signature_flipped_is_refused() -> None:
    for member in ("signing_key", "signature"):
        raw = unb64(CARD[member])
        for bit in range(len(raw) * 8):
            _refused({**CARD, member: b64(_flipped(raw, bit))})
    for suite, text in CARD["hpke_keys"].items():
        raw = unb64(text)
        for byte in range(len(raw)):
            _refused({**CARD, "hpke_keys": {**CARD["hpke_keys"], suite: b64(_flipped(raw, byte * 8))}})


def test_card_signed_for_another_purpose_is_refused() -> None:
    body = NORTH.body()
    for context in (b"", b"linkage/envelope/v1\0", b"linkage/key-card/v1", b"linkage/key-card/v2\0"):
        _refused({**body, "signature": b64(NORTH.signing.sign(context + rfc8785.dumps(body)))})


def test_signature_with_its_number_made_larger_by_the_group_order_is_refused() -> None:
    """The same signature in a second spelling (RFC 8032, section 8.4)."""
    raw = unb64(CARD["signature"])
    scalar = int.from_bytes(raw[32:], "little") + GROUP_ORDER
    _refused({**CARD, "signature": b64(raw[:32] + scalar.to_bytes(32, "little"))})


def _encodings_of_small_order() -> list[bytes]:
    """Every 32 bytes that can be read as an Ed25519 point of small order, canonical or not."""
    ys = [y + extra for y in _SMALL_ORDER_Y for extra in (0, PRIME) if y + extra < 2**255]
    return [(y + sign * 2**255).to_bytes(32, "little") for y in ys for sign in (0, 1)]


def test_library_takes_signatures_under_keys_of_small_order_that_anybody_can_make() -> None:
    """Why the card refuses such keys: were this to fail one day, the check would still do no harm."""
    identity = (1).to_bytes(32, "little")
    anybodys = identity + bytes(32)
    Ed25519PublicKey.from_public_bytes(identity).verify(anybodys, b"anything at all")


@pytest.mark.parametrize("key", _encodings_of_small_order(), ids=bytes.hex)
def test_card_with_a_signing_key_of_small_order_is_refused(key: bytes) -> None:
    body = {**NORTH.body(), "signing_key": b64(key)}
    # One of these nonces fits a message with a chance of at least one in eight, so some cards here do verify.
    for nonce in _encodings_of_small_order():
        for serial in range(4):
            document = {**body, "organisation": f"org_{serial}", "signature": b64(nonce + bytes(32))}
            _refused(document)


def test_list_of_small_orders_is_that_of_the_curve() -> None:
    """By the group law of RFC 8032, section 5.1.4, and the square root of section 5.1.3."""
    ys = {y for y in _SMALL_ORDER_Y if _multiple(_point(y), 8) == (0, 1)}
    assert ys == _SMALL_ORDER_Y
    # The eight points: two of them share no y with another, the others come in pairs of x.
    assert sum(1 if y in {1, PRIME - 1} else 2 for y in ys) == 8


@pytest.mark.parametrize("place", ["x25519", "mlkem768-x25519"])
@pytest.mark.parametrize(
    "u",
    [
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        PRIME - 1,
        PRIME,
        PRIME + 1,
    ],
)
@pytest.mark.parametrize("high_bit", [0, 2**255])
def test_card_with_an_encryption_key_of_low_order_is_refused(place: str, u: int, high_bit: int) -> None:
    """The points of RFC 7748, section 6.1, in every spelling: whatever is encrypted to one, everybody can read."""
    point = (u + high_bit).to_bytes(32, "little")
    _refused(_signed(hpke_keys=_with_x25519(place, point)))


@pytest.mark.parametrize("place", ["x25519", "mlkem768-x25519"])
def test_card_with_an_encryption_key_in_a_second_spelling_is_refused(place: str) -> None:
    raw = unb64(CARD["hpke_keys"][place])
    _refused(_signed(hpke_keys=_with_x25519(place, raw[-32:-1] + bytes([raw[-1] | 0x80]))))
    _refused(_signed(hpke_keys=_with_x25519(place, (PRIME + 9).to_bytes(32, "little"))))


def test_card_with_a_lattice_key_that_is_none_is_refused() -> None:
    """FIPS 203, section 7.2: coefficients are below 3329."""
    hybrid = unb64(CARD["hpke_keys"]["mlkem768-x25519"])
    _refused(_signed(hpke_keys={**CARD["hpke_keys"], "mlkem768-x25519": b64(b"\xff" * 3 + hybrid[3:])}))


def test_card_of_members_that_do_not_belong_together_cannot_be_made() -> None:
    card = KeyCard.parse(CARD)
    with pytest.raises(KeyExchangeError):
        KeyCard("org_other", card.signing_key, card.hpke_keys, card.signature)
    with pytest.raises(KeyExchangeError):
        KeyCard(card.organisation, card.signing_key, cast("Any", {"rsa": b"x"}), card.signature)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*CARD, "x"]), json_values) | json_values)
def test_parser_of_cards_refuses_whatever_it_is_given(document: Any) -> None:
    _refused(document)


@given(st.fixed_dictionaries({name: st.just(value) | json_values for name, value in CARD.items()}))
def test_parser_of_cards_refuses_any_mixture_with_a_card(document: dict[str, Any]) -> None:
    same = all(type(document[name]) is type(CARD[name]) and document[name] == CARD[name] for name in CARD)
    if same:
        assert KeyCard.parse(document).document == CARD
    else:
        _refused(document)


def test_card_is_not_fooled_by_padding_that_the_standard_library_passes_over() -> None:
    key = CARD["signing_key"]
    assert base64.urlsafe_b64decode(f"{key[:20]}*{key[20:]}=") == unb64(key)
    _refused({**CARD, "signing_key": f"{key[:20]}*{key[20:]}"})


def test_context_is_the_one_of_the_format() -> None:
    assert CARD_CONTEXT == b"linkage/key-card/v1\0"
    assert keys_of(NORTH).card("org_north").verify(unb64(CARD["signature"]), CARD_CONTEXT + rfc8785.dumps(NORTH.body()))


def _with_x25519(place: str, point: bytes) -> dict[str, str]:
    keys = dict(CARD["hpke_keys"])
    keys[place] = b64(unb64(keys[place])[:-32] + point)
    return keys


def _flipped(raw: bytes, bit: int) -> bytes:
    return (int.from_bytes(raw, "little") ^ 1 << bit).to_bytes(len(raw), "little")


def _point(y: int) -> tuple[int, int]:
    d = -121665 * pow(121666, -1, PRIME)
    square = (y * y - 1) * pow(d * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    assert (x * x - square) % PRIME == 0
    return x, y


def _multiple(point: tuple[int, int], times: int) -> tuple[int, int]:
    d = -121665 * pow(121666, -1, PRIME) % PRIME
    x, y = 0, 1
    for _ in range(times):
        other_x, other_y = point
        product = d * x * other_x * y * other_y
        x, y = (
            (x * other_y + other_x * y) * pow(1 + product, -1, PRIME) % PRIME,
            (y * other_y + x * other_x) * pow(1 - product, -1, PRIME) % PRIME,
        )
    return x, y
