"""Exchange keys leave only as bytes to be kept, and come back from nothing but such bytes."""

import copy
import json
import pickle  # noqa: TID251 - to show that it is refused
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage_client.errors import KeyFileError
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.suites import DecryptionKey, Suite
from support.exchange_documents import keys_of, spoilt
from support.exchange_oracle import Party, b64

NORTH = Party("org_north")
KEPT = json.loads(NORTH.kept())


def _refused(raw: bytes, how: str = "") -> None:
    try:
        ExchangeKeys.from_bytes(raw)
    except KeyFileError as error:
        refusal = error
    else:
        pytest.fail(f"keys were taken: {how}")
    assert refusal.message.startswith("These exchange keys are damaged")
    assert refusal.__suppress_context__


def test_keys_are_the_known_ones(known: Any) -> None:
    for answer in known["cards"]:
        keys = ExchangeKeys.from_bytes(answer["kept"].encode())
        assert keys.thumbprint == answer["thumbprint"]
        assert json.loads(keys.to_bytes()) == json.loads(answer["kept"])


def test_keys_survive_being_kept() -> None:
    keys = ExchangeKeys.generate()
    again = ExchangeKeys.from_bytes(keys.to_bytes())
    assert again.thumbprint == keys.thumbprint
    assert again.card("org_1") == keys.card("org_1")
    assert keys.suites == set(Suite)


def test_keys_fit_into_one_entry_of_every_keystore() -> None:
    assert len(ExchangeKeys.generate().to_bytes().decode("ascii")) <= 1200


def test_keys_are_drawn_anew_each_time_and_for_each_suite() -> None:
    one, other = ExchangeKeys.generate(), ExchangeKeys.generate()
    assert one.thumbprint != other.thumbprint
    kept = json.loads(one.to_bytes())
    assert not kept["hpke_keys"]["mlkem768-x25519"].endswith(kept["hpke_keys"]["x25519"])
    assert kept["signing_key"] != kept["hpke_keys"]["x25519"]


def test_keys_show_nothing_private() -> None:
    keys = keys_of(NORTH)
    shown = f"{keys!r} {keys} {[keys]} {DecryptionKey.generate(Suite.X25519)!r}"
    for private in (KEPT["signing_key"], *KEPT["hpke_keys"].values()):
        assert private not in shown
    assert not hasattr(keys, "__dict__")


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_keys_are_neither_pickled_nor_copied(how: Any) -> None:
    for key in (keys_of(NORTH), DecryptionKey.generate(Suite.MLKEM768_X25519)):
        with pytest.raises(TypeError, match=r"neither pickled nor copied|cannot pickle"):
            how(key)


def test_keys_with_any_member_changed_are_refused() -> None:
    private = {"signing_key", "hpke_keys: x25519", "hpke_keys: mlkem768-x25519"}
    for how, document in spoilt(KEPT):
        # Any 32 bytes are a key, so a text in the other case is another one; and the hybrid's is optional.
        other_key = any(how == f"{name} in the other case" for name in private)
        if other_key or how == "hpke_keys: without mlkem768-x25519":
            continue
        try:
            raw = json.dumps(document).encode()
        except TypeError:
            continue
        _refused(raw, how)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'{"v":1',
        b'{"v":1,' + NORTH.kept()[1:],
        b"[" * 4000,
        NORTH.kept() + b" " * 4096,
        NORTH.kept().decode().encode("utf-16"),
        b"\xef\xbb\xbf" + NORTH.kept(),
        NORTH.kept() + b"{}",
    ],
    ids=["empty", "no text", "list", "null", "cut", "member twice", "deep", "long", "utf-16", "mark", "two"],
)
def test_keys_in_other_bytes_are_refused(raw: bytes) -> None:
    _refused(raw)


@given(st.binary(max_size=200))
def test_parser_of_keys_refuses_any_bytes(raw: bytes) -> None:
    _refused(raw)


def test_keys_do_not_sign_or_open_for_a_suite_that_they_lack() -> None:
    only = {**KEPT, "hpke_keys": {"x25519": KEPT["hpke_keys"]["x25519"]}}
    keys = ExchangeKeys.from_bytes(json.dumps(only).encode())
    assert keys.suites == {Suite.X25519}
    assert set(keys.card("org_1").hpke_keys) == {Suite.X25519}
    with pytest.raises(ValueError, match="no key of this suite"):
        keys.decrypt(Suite.MLKEM768_X25519, bytes(1200), info=b"")


@pytest.mark.parametrize("suite", list(Suite))
def test_decryption_key_of_another_length_is_refused(suite: Suite) -> None:
    for size in (0, suite.private_key_bytes - 1, suite.private_key_bytes + 1):
        with pytest.raises(ValueError, match="length"):
            DecryptionKey.from_bytes(suite, bytes(size))


def test_private_keys_of_another_organisation_make_another_card() -> None:
    assert keys_of(NORTH).card("org_a").digest != keys_of(NORTH).card("org_b").digest
    assert keys_of(NORTH).card("org_a").signature != keys_of(NORTH).card("org_b").signature
    assert b64(keys_of(NORTH).card("org_a").signing_key) == NORTH.body()["signing_key"]
