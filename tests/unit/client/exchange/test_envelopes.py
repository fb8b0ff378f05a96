"""An envelope opens for one project, epoch, pair of providers and keyset, from who signed it, and in no other case."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage_client.errors import KeyExchangeError
from linkage_client.exchange.cards import KeyCard
from linkage_client.exchange.envelopes import draw_secret, unwrap, usable, wrap
from linkage_client.exchange.keyset import Keyset
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.suites import Suite, encrypt
from support.exchange_documents import PROJECT, keys_of, spoilt
from support.exchange_oracle import Party, b64, canonical, open_envelope, sign_envelope, unb64

NORTH, SOUTH, WEST = Party("org_north"), Party("org_south"), Party("org_west")
PARTIES = (NORTH, SOUTH, WEST)
KEYS = {party.organisation: keys_of(party) for party in PARTIES}
CARDS = [KEYS[party.organisation].card(party.organisation) for party in PARTIES]
SECRET = bytes(range(1, 33))
AT = datetime(2026, 11, 28, 12, 34, 56, tzinfo=UTC)


def _keyset(suite: Suite = Suite.X25519, **changes: Any) -> Keyset:
    return Keyset(**{"project_id": PROJECT, "epoch": 3, "suite": suite, "cards": CARDS, **changes})


def _wrapped(keyset: Keyset, *, secret: bytes = SECRET, sender: Party = NORTH, to: Party = SOUTH) -> dict[str, Any]:
    return wrap(
        keys=KEYS[sender.organisation],
        keyset=keyset,
        sender=sender.organisation,
        recipient=to.organisation,
        secret=secret,
        at=AT,
    )


def _opened(envelope: Any, keyset: Keyset, *, sender: Party = NORTH, to: Party = SOUTH) -> bytes:
    return unwrap(
        keys=KEYS[to.organisation],
        keyset=keyset,
        sender=sender.organisation,
        recipient=to.organisation,
        envelope=envelope,
    )


def _code(envelope: Any, keyset: Keyset, how: str = "", **parties: Party) -> str:
    try:
        secret = _opened(envelope, keyset, **parties)
    except KeyExchangeError as error:
        return error.code
    pytest.fail(f"an envelope was opened: {how} {len(secret)}")


def _signed_again(envelope: dict[str, Any], signer: Party = NORTH, **changes: Any) -> dict[str, Any]:
    unsigned = {name: value for name, value in {**envelope, **changes}.items() if name != "signature"}
    return sign_envelope(unsigned, signer.signing)


def test_envelope_gives_the_secret_back(keyset: Keyset) -> None:
    envelope = _wrapped(keyset)
    assert _opened(envelope, keyset) == SECRET
    assert open_envelope(envelope, SOUTH) == SECRET
    assert envelope == _signed_again(envelope)
    assert {name: envelope[name] for name in ("v", "project", "epoch", "from", "to", "keyset", "suite", "at")} == {
        "v": 1,
        "project": PROJECT,
        "epoch": 3,
        "from": "org_north",
        "to": "org_south",
        "keyset": keyset.digest,
        "suite": keyset.suite.value,
        "at": "2026-11-28T12:34:56Z",
    }


def test_known_envelopes_are_opened(known: Any) -> None:
    for answer in known["envelopes"]:
        envelope = answer["envelope"]
        keyset = Keyset(
            project_id=envelope["project"], epoch=envelope["epoch"], suite=Suite(envelope["suite"]), cards=CARDS
        )
        assert _opened(envelope, keyset).hex() == answer["secret"]


def test_time_is_written_in_utc_to_the_second() -> None:
    at = datetime(2026, 1, 1, 0, 30, 1, 999_999, tzinfo=timezone(timedelta(hours=1)))
    envelope = wrap(
        keys=KEYS["org_north"], keyset=_keyset(), sender="org_north", recipient="org_south", secret=SECRET, at=at
    )
    assert envelope["at"] == "2025-12-31T23:30:01Z"


def test_envelope_with_any_member_changed_is_refused(keyset: Keyset) -> None:
    envelope = _wrapped(keyset)
    specific = {"project": "project", "epoch": "epoch", "from": "sender", "to": "recipient", "keyset": "keyset"}
    for how, document in spoilt(envelope):
        member = how.split(" ")[0]
        allowed = {"envelope_damaged", "envelope_forged", f"envelope_other_{specific.get(member)}"}
        assert _code(document, keyset, how) in allowed, how


def test_envelope_with_any_member_changed_and_signed_again_is_refused(keyset: Keyset) -> None:
    """A sender who means ill gets no further than one who forges: what was encrypted names the header as well."""
    envelope = _wrapped(keyset)
    for how, document in spoilt({name: value for name, value in envelope.items() if name != "signature"}):
        try:
            signed = sign_envelope(document, NORTH.signing)
        except (TypeError, UnicodeEncodeError):
            continue
        assert _code(signed, keyset, how) != "envelope_forged", how


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"project": "prj_2"}, "envelope_other_project"),
        ({"epoch": 2}, "envelope_other_epoch"),
        ({"epoch": 4}, "envelope_other_epoch"),
        ({"to": "org_west"}, "envelope_other_recipient"),
        ({"from": "org_west"}, "envelope_other_sender"),
        ({"keyset": "0" * 64}, "envelope_other_keyset"),
        ({"at": "2026-11-28T12:34:57Z"}, "envelope_forged"),
        ({"v": 2}, "envelope_damaged"),
        ({"suite": "rsa"}, "envelope_damaged"),
        ({"at": "2026-11-28 12:34:56"}, "envelope_damaged"),
        ({"at": "2026-11-28T12:34:56+00:00"}, "envelope_damaged"),
        ({"at": "2026-11-31T12:34:56Z"}, "envelope_damaged"),
        ({"at": "2026-11-8T12:34:56Z"}, "envelope_damaged"),
        ({"at": "٢026-11-28T12:34:56Z"}, "envelope_damaged"),
        ({"epoch": 3.0}, "envelope_damaged"),
        ({"epoch": True}, "envelope_damaged"),
        ({"keyset": "A" * 64}, "envelope_damaged"),
        ({"signature": b64(bytes(64))}, "envelope_forged"),
    ],
    ids=str,
)
def test_each_kind_of_wrong_envelope_has_its_own_code(changes: dict[str, Any], code: str) -> None:
    keyset = _keyset()
    assert _code({**_wrapped(keyset), **changes}, keyset) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"project": "prj_2"}, "envelope_other_project"),
        ({"epoch": 2}, "envelope_other_epoch"),
        ({"to": "org_west"}, "envelope_other_recipient"),
        ({"from": "org_west"}, "envelope_other_sender"),
        ({"keyset": "0" * 64}, "envelope_other_keyset"),
        ({"at": "2026-11-28T12:34:57Z"}, "envelope_damaged"),
    ],
    ids=str,
)
def test_each_kind_of_wrong_envelope_signed_by_its_sender_has_its_own_code(changes: dict[str, Any], code: str) -> None:
    keyset = _keyset()
    assert _code(_signed_again(_wrapped(keyset), **changes), keyset) == code


def test_messages_of_refusals_name_nothing_that_is_in_the_envelope() -> None:
    keyset = _keyset()
    envelope = _wrapped(keyset)
    for how, document in spoilt(envelope):
        with pytest.raises(KeyExchangeError) as caught:
            _opened(document, keyset)
        for member in ("project", "from", "to", "keyset", "ciphertext", "signature"):
            assert str(envelope[member]) not in caught.value.message, how
        assert SECRET.hex() not in repr(caught.value)


def test_envelope_with_any_byte_of_ciphertext_or_signature_changed_is_forged(keyset: Keyset) -> None:
    envelope = _wrapped(keyset)
    for member in ("ciphertext", "signature"):
        raw = unb64(envelope[member])
        for at in range(len(raw)):
            changed = raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
            assert _code({**envelope, member: b64(changed)}, keyset) == "envelope_forged"


def test_envelope_with_any_byte_of_ciphertext_changed_by_its_sender_is_damaged(keyset: Keyset) -> None:
    """Each byte of the encapsulated key counts too; of X25519's, the last bit takes no part in the multiplication."""
    envelope = _wrapped(keyset)
    raw = unb64(envelope["ciphertext"])
    last_of_x25519 = keyset.suite.overhead_bytes - 16 - 1
    for at, bit in [*((at, at % 8) for at in range(len(raw))), (last_of_x25519, 7)]:
        changed = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
        assert _code(_signed_again(envelope, ciphertext=b64(changed)), keyset) == "envelope_damaged"


def test_envelopes_that_swap_their_parts_are_refused(keyset: Keyset) -> None:
    one, other = _wrapped(keyset), _wrapped(keyset, secret=bytes(32), to=WEST)
    for member in ("ciphertext", "signature"):
        assert _code({**one, member: other[member]}, keyset) == "envelope_forged"
    assert _code(_signed_again(one, ciphertext=other["ciphertext"]), keyset) == "envelope_damaged"


def test_envelope_of_the_past_is_not_taken_for_the_present(keyset: Keyset) -> None:
    past = Keyset(project_id=PROJECT, epoch=2, suite=keyset.suite, cards=CARDS)
    assert _code(_wrapped(past), keyset) == "envelope_other_epoch"
    renewed = [*CARDS[:2], ExchangeKeys.generate().card("org_west")]
    later = Keyset(project_id=PROJECT, epoch=3, suite=keyset.suite, cards=renewed)
    assert _code(_wrapped(keyset), later) == "envelope_other_keyset"


def test_envelope_for_another_provider_does_not_open(keyset: Keyset) -> None:
    envelope = _wrapped(keyset)
    assert _code(envelope, keyset, to=WEST) == "envelope_other_recipient"
    # Even where it was written out for the reader and signed by the sender.
    assert _code(_signed_again(envelope, to="org_west"), keyset, to=WEST) == "envelope_damaged"


def test_envelope_that_another_provider_signed_is_forged(keyset: Keyset) -> None:
    envelope = _wrapped(keyset)
    assert _code(_signed_again(envelope, WEST), keyset) == "envelope_forged"
    assert _code(envelope, keyset, sender=WEST) == "envelope_other_sender"


def test_envelope_that_the_service_made_with_keys_of_its_own_is_forged(keyset: Keyset) -> None:
    """HPKE in base mode lets anybody encrypt to a card; the signature of the compared card is what is missing."""
    header = {name: value for name, value in _wrapped(keyset).items() if name not in {"ciphertext", "signature"}}
    key = CARDS[1].hpke_keys[keyset.suite]
    ciphertext = encrypt(keyset.suite, bytes(32), public_key=key, info=b"linkage/secret/v1\0" + canonical(header))
    forged = sign_envelope({**header, "ciphertext": b64(ciphertext)}, Party("org_service").signing)
    assert _code(forged, keyset) == "envelope_forged"


def test_own_envelope_that_comes_back_is_refused(keyset: Keyset) -> None:
    envelope = _wrapped(keyset)
    assert _code(envelope, keyset, sender=NORTH, to=NORTH) == "envelope_other_recipient"
    assert _code(_signed_again(envelope, to="org_north"), keyset, sender=NORTH, to=NORTH) == "envelope_other_sender"


def test_fields_are_looked_at_before_the_signature_and_the_signature_before_the_suite() -> None:
    keyset = _keyset(Suite.MLKEM768_X25519)
    envelope = _wrapped(keyset)
    unsigned = {**envelope, "signature": b64(bytes(64))}
    assert _code({**unsigned, "project": "prj_2", "epoch": 9}, keyset) == "envelope_other_project"
    assert _code({**unsigned, "keyset": "0" * 64}, keyset) == "envelope_other_keyset"
    # 900 bytes are the longest secret, so this much can be a ciphertext of the other suite.
    shorter = {**envelope, "suite": "x25519", "ciphertext": b64(unb64(envelope["ciphertext"])[:100])}
    assert _code(shorter, keyset) == "envelope_forged"
    assert _code(_signed_again(shorter), keyset) == "envelope_other_suite"


def test_sender_cannot_choose_a_weaker_suite_than_the_agreement() -> None:
    hybrid = _keyset(Suite.MLKEM768_X25519)
    header = {
        name: value for name, value in _wrapped(hybrid).items() if name not in {"ciphertext", "signature", "suite"}
    } | {"suite": "x25519"}
    info = b"linkage/secret/v1\0" + canonical(header)
    ciphertext = encrypt(Suite.X25519, SECRET, public_key=CARDS[1].hpke_keys[Suite.X25519], info=info)
    weaker = sign_envelope({**header, "ciphertext": b64(ciphertext)}, NORTH.signing)
    assert open_envelope(weaker, SOUTH) == SECRET
    assert _code(weaker, hybrid) == "envelope_other_suite"
    assert _code(_wrapped(_keyset()), hybrid) == "envelope_other_keyset"


@pytest.mark.parametrize(
    "secret", [b"", b"x" * 15, b"x" * 901, b"x" * 31 + b"\n"], ids=["empty", "short", "long", "line end"]
)
def test_secret_that_could_not_be_kept_is_neither_sent_nor_taken(secret: bytes) -> None:
    keyset = _keyset()
    with pytest.raises(KeyExchangeError) as caught:
        _wrapped(keyset, secret=secret)
    assert caught.value.code == "bad_secret"
    header = {name: value for name, value in _wrapped(keyset).items() if name not in {"ciphertext", "signature"}}
    info = b"linkage/secret/v1\0" + canonical(header)
    ciphertext = encrypt(Suite.X25519, secret, public_key=CARDS[1].hpke_keys[Suite.X25519], info=info)
    assert _code(sign_envelope({**header, "ciphertext": b64(ciphertext)}, NORTH.signing), keyset) == "envelope_damaged"


def test_secret_that_is_drawn_is_random_and_can_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(draw_secret()) == 32
    assert draw_secret() != draw_secret()
    drawn = iter([bytes(31) + b"\n", b"\1" * 32])
    monkeypatch.setattr("linkage_client.exchange.envelopes.token_bytes", lambda _: next(drawn))
    assert draw_secret() == b"\1" * 32


def test_keys_that_are_not_those_of_the_own_card_neither_send_nor_open(keyset: Keyset) -> None:
    envelope = _wrapped(keyset)
    others = ExchangeKeys.generate()
    uses: list[Callable[[], object]] = [
        lambda: wrap(keys=others, keyset=keyset, sender="org_north", recipient="org_south", secret=SECRET, at=AT),
        lambda: unwrap(keys=others, keyset=keyset, sender="org_north", recipient="org_south", envelope=envelope),
    ]
    for use in uses:
        with pytest.raises(KeyExchangeError) as caught:
            use()
        assert caught.value.code == "other_keys"


def test_organisation_outside_the_keyset_neither_sends_nor_receives() -> None:
    keyset = _keyset()
    for parties in ({"sender": "org_else", "recipient": "org_south"}, {"sender": "org_north", "recipient": "org_else"}):
        with pytest.raises(KeyExchangeError) as caught:
            wrap(keys=KEYS["org_north"], keyset=keyset, secret=SECRET, at=AT, **parties)
        assert caught.value.code == "not_in_keyset"
    with pytest.raises(KeyExchangeError) as caught:
        unwrap(
            keys=KEYS["org_south"],
            keyset=keyset,
            sender="org_else",
            recipient="org_south",
            envelope=_wrapped(keyset),
        )
    assert caught.value.code == "not_in_keyset"


def test_envelope_to_oneself_or_at_a_time_of_nowhere_is_an_error_of_the_program() -> None:
    with pytest.raises(ValueError, match="from one organisation to another"):
        _wrapped(_keyset(), to=NORTH)
    with pytest.raises(ValueError, match="time zone"):
        wrap(
            keys=KEYS["org_north"],
            keyset=_keyset(),
            sender="org_north",
            recipient="org_south",
            secret=SECRET,
            at=AT.replace(tzinfo=None),
        )


@settings(max_examples=40)
@given(
    st.binary(min_size=16, max_size=900).filter(usable),
    st.permutations(PARTIES),
    st.integers(1, 2**53 - 1),
    st.sampled_from(Suite),
)
def test_every_secret_comes_back_between_every_two_providers(
    secret: bytes, order: list[Party], epoch: int, suite: Suite
) -> None:
    keyset = _keyset(suite, epoch=epoch)
    sender, to, third = order
    envelope = _wrapped(keyset, secret=secret, sender=sender, to=to)
    assert _opened(envelope, keyset, sender=sender, to=to) == secret
    assert _code(envelope, keyset, sender=sender, to=third) == "envelope_other_recipient"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ENVELOPE = _wrapped(_keyset())


@given(
    st.fixed_dictionaries({name: st.just(value) | json_values for name, value in ENVELOPE.items()})
    | st.dictionaries(st.sampled_from([*ENVELOPE, "x"]), json_values)
    | json_values
)
def test_parser_of_envelopes_opens_nothing_but_an_envelope(document: Any) -> None:
    if canonical_or_none(document) == canonical(ENVELOPE):
        assert _opened(document, _keyset()) == SECRET
    else:
        assert _code(document, _keyset()).startswith("envelope_")


def canonical_or_none(document: Any) -> bytes | None:
    try:
        return canonical(document)
    except (UnicodeEncodeError, ValueError):
        return None


def test_card_that_was_not_compared_verifies_no_signature() -> None:
    card = KeyCard.parse(NORTH.card())
    assert not card.verify(bytes(64), b"x")
    assert not card.verify(b"", b"x")
    assert card.verify(NORTH.signing.sign(b"x"), b"x")
