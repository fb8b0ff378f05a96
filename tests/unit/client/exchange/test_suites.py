"""The library's HPKE is that of RFC 9180 and of the drafts, and refuses what it should."""

from typing import Any

import pytest
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from linkage_client.errors import KeyExchangeError
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.suites import DecryptionKey, Suite, check_public_key, encrypt
from support import exchange_oracle as oracle

SOUTH = oracle.Party("org_south")


def test_suite_of_the_library_is_that_of_the_standard(known: Any) -> None:
    vector = {name: bytes.fromhex(text) for name, text in known["rfc9180"].items() if name != "source"}
    private = X25519PrivateKey.from_private_bytes(vector["private"])
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    raw = vector["encapsulated"] + vector["ciphertext"]
    # The published vectors have additional data, which the public interface of the library does not take.
    opened = openssl.hpke._decrypt_with_aad(suite, raw, private, vector["info"], vector["aad"])
    assert opened == vector["plaintext"]


def test_oracle_is_that_of_the_standard(known: Any) -> None:
    vector = {name: bytes.fromhex(text) for name, text in known["rfc9180"].items() if name != "source"}
    made = oracle.hpke_seal_x25519(
        vector["plaintext"],
        public=X25519PrivateKey.from_private_bytes(vector["private"]).public_key().public_bytes_raw(),
        ephemeral=X25519PrivateKey.from_private_bytes(vector["ephemeral"]),
        info=vector["info"],
        aad=vector["aad"],
    )
    assert made == vector["encapsulated"] + vector["ciphertext"]


@pytest.mark.parametrize("suite", list(Suite))
def test_what_is_encrypted_is_opened_by_the_oracle(suite: Suite) -> None:
    raw = encrypt(suite, b"plaintext", public_key=oracle.unb64(SOUTH.body()["hpke_keys"][suite.value]), info=b"info")
    size = oracle.ENCAPSULATED_BYTES[suite.value]
    shared = oracle.decapsulate(suite.value, raw[:size], SOUTH)
    assert oracle.hpke_open(suite.value, shared, info=b"info", ciphertext=raw[size:]) == b"plaintext"
    with pytest.raises(InvalidTag):
        oracle.hpke_open(suite.value, shared, info=b"other", ciphertext=raw[size:])
    assert len(raw) == len(b"plaintext") + suite.overhead_bytes


@pytest.mark.parametrize("suite", list(Suite))
def test_same_plaintext_is_never_encrypted_to_the_same_bytes(suite: Suite) -> None:
    key = DecryptionKey.generate(suite)
    raws = {encrypt(suite, b"plaintext", public_key=key.public_key, info=b"") for _ in range(4)}
    assert len(raws) == 4
    assert {key.decrypt(raw, info=b"") for raw in raws} == {b"plaintext"}


@pytest.mark.parametrize("suite", list(Suite))
def test_encapsulated_key_of_low_order_opens_nothing(suite: Suite) -> None:
    key = DecryptionKey.generate(suite)
    raw = encrypt(suite, b"plaintext", public_key=key.public_key, info=b"")
    at = suite.overhead_bytes - 16 - 32
    for point in (0, 1, 2**255 - 20):
        spoilt = raw[:at] + point.to_bytes(32, "little") + raw[at + 32 :]
        with pytest.raises(ValueError, match="cannot be decrypted"):
            key.decrypt(spoilt, info=b"")


@pytest.mark.parametrize("suite", list(Suite))
def test_ciphertext_of_every_wrong_length_opens_nothing(suite: Suite) -> None:
    key = DecryptionKey.generate(suite)
    raw = encrypt(suite, b"0123456789abcdef", public_key=key.public_key, info=b"")
    for size in (*range(0, len(raw), 7), len(raw) - 1):
        with pytest.raises(ValueError, match="cannot be decrypted"):
            key.decrypt(raw[:size], info=b"")
    with pytest.raises(ValueError, match="cannot be decrypted"):
        key.decrypt(raw + b"\0", info=b"")


def test_library_refuses_to_encrypt_to_a_point_of_low_order() -> None:
    """The card refuses it before; this is the second line."""
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    with pytest.raises(ValueError, match="shared key"):
        suite.encrypt(b"x", X25519PublicKey.from_public_bytes(bytes(32)), info=b"")


@pytest.mark.parametrize("suite", list(Suite))
def test_public_key_of_another_length_is_refused(suite: Suite) -> None:
    key = DecryptionKey.generate(suite).public_key
    check_public_key(suite, key)
    for wrong in (b"", key[1:], key[:-1], key + b"\0"):
        with pytest.raises(ValueError, match="length"):
            check_public_key(suite, wrong)


@pytest.fixture
def without_mlkem(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation whose cryptography package was built against a library that has no ML-KEM."""

    def missing(*_: object) -> None:
        raise UnsupportedAlgorithm("no ML-KEM")

    for kind, name in (
        (MLKEM768PrivateKey, "generate"),
        (MLKEM768PrivateKey, "from_seed_bytes"),
        (MLKEM768PublicKey, "from_public_bytes"),
    ):
        monkeypatch.setattr(kind, name, missing)


@pytest.mark.usefixtures("without_mlkem")
def test_installation_without_lattices_has_cards_of_one_suite_and_takes_those_of_others(known: Any) -> None:
    keys = ExchangeKeys.generate()
    assert keys.suites == {Suite.X25519}
    assert set(keys.card("org_1").hpke_keys) == {Suite.X25519}
    hybrid = oracle.unb64(known["cards"][0]["document"]["hpke_keys"]["mlkem768-x25519"])
    check_public_key(Suite.MLKEM768_X25519, hybrid)
    for use in (
        lambda: DecryptionKey.generate(Suite.MLKEM768_X25519),
        lambda: DecryptionKey.from_bytes(Suite.MLKEM768_X25519, bytes(96)),
        lambda: encrypt(Suite.MLKEM768_X25519, b"x", public_key=hybrid, info=b""),
        lambda: ExchangeKeys.from_bytes(SOUTH.kept()),
    ):
        with pytest.raises(KeyExchangeError) as caught:
            use()
        assert caught.value.code == "suite_unsupported"
