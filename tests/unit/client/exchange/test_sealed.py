"""A sealed file opens with its passphrase, as what it is, unchanged, and before much work is done for a trap."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from hypothesis import assume, given
from hypothesis import strategies as st

from linkage_client.errors import KeyExchangeError
from linkage_client.exchange import sealed
from linkage_client.exchange.sealed import is_sealed, seal, unseal
from support import exchange_oracle as oracle
from support.exchange_documents import spoilt

PASSPHRASE = "five words picked by chance"
CONTENT = b"what is sealed"


@pytest.fixture
def work() -> Iterator[list[int]]:
    with _cheap_work() as asked:
        yield asked


@contextmanager
def _cheap_work() -> Iterator[list[int]]:
    """Keys of passphrases at next to no cost, in which the cost that was asked for still counts; the costs, in turn."""
    asked: list[int] = []

    class Cheap:
        def __init__(self, *, salt: bytes, length: int, n: int, r: int, p: int) -> None:
            asked.append(n)
            self.parameters = repr((salt, length, n, r, p)).encode()

        def derive_into(self, typed: bytearray, key: bytearray) -> None:
            Scrypt(salt=self.parameters, length=len(key), n=2, r=8, p=1).derive_into(typed, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "Scrypt", Cheap)
        yield asked


def _code(data: bytes, how: str = "", *, passphrase: str = PASSPHRASE) -> str:
    try:
        unseal(data, kind="secret", passphrase=passphrase)
    except KeyExchangeError as error:
        return error.code
    pytest.fail(f"a sealed file was opened: {how}")


def _file(**changes: Any) -> bytes:
    return json.dumps({**json.loads(seal(CONTENT, kind="secret", passphrase=PASSPHRASE)), **changes}).encode()


def test_sealed_file_gives_its_content_back() -> None:
    data = seal(CONTENT, kind="secret", passphrase=PASSPHRASE)
    assert unseal(data, kind="secret", passphrase=PASSPHRASE) == CONTENT
    assert json.loads(data)["kdf"] | {"salt": ""} == {"name": "scrypt", "n": 131072, "r": 8, "p": 1, "salt": ""}


def test_known_sealed_files_are_opened(known: Any) -> None:
    for answer in known["sealed"]:
        opened = unseal(answer["file"].encode(), kind=answer["kind"], passphrase=answer["passphrase"])
        assert opened.hex() == answer["content"]


def test_oracle_opens_what_was_sealed() -> None:
    members = json.loads(seal(CONTENT, kind="exchange-keys", passphrase=PASSPHRASE))
    again = oracle.sealed(
        CONTENT,
        kind="exchange-keys",
        passphrase=PASSPHRASE,
        salt=oracle.unb64(members["kdf"]["salt"]),
        nonce=oracle.unb64(members["nonce"]),
    )
    assert json.loads(again) == members


@given(st.binary(max_size=2000), st.text(min_size=12, max_size=40), st.sampled_from(["secret", "exchange-keys"]))
def test_whatever_is_sealed_comes_back(content: bytes, passphrase: str, kind: Any) -> None:
    assume(len(sealed.normalised(passphrase)) >= 12)
    with _cheap_work() as work:
        data = seal(content, kind=kind, passphrase=passphrase)
        assert unseal(data, kind=kind, passphrase=passphrase) == content
    assert work == [131072, 131072]


@pytest.mark.usefixtures("work")
def test_salt_and_nonce_are_new_each_time() -> None:
    files = [json.loads(seal(CONTENT, kind="secret", passphrase=PASSPHRASE)) for _ in range(4)]
    for drawn in ({file["kdf"]["salt"] for file in files}, {file["nonce"] for file in files}):
        assert len(drawn) == 4


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("passphrase", ["", PASSPHRASE[:-1], PASSPHRASE + " ", PASSPHRASE.upper(), "\ud800" * 12])
def test_wrong_passphrase_opens_nothing(passphrase: str) -> None:
    assert _code(_file(), passphrase=passphrase) == "sealed_wrong_passphrase"


@pytest.mark.usefixtures("work")
def test_passphrase_is_the_same_however_the_keyboard_composes_its_letters() -> None:
    data = seal(CONTENT, kind="secret", passphrase="b\u00e4ume und h\u00e4user")
    assert unseal(data, kind="secret", passphrase="ba\u0308ume und ha\u0308user") == CONTENT


@pytest.mark.usefixtures("work")
def test_short_passphrase_seals_nothing() -> None:
    seal(CONTENT, kind="secret", passphrase="x" * 12)
    # Twelve code points, and eleven letters.
    for passphrase in ("", "x" * 11, "a\u0308" + "x" * 10):
        with pytest.raises(KeyExchangeError) as caught:
            seal(CONTENT, kind="secret", passphrase=passphrase)
        assert caught.value.code == "passphrase_too_short"


def test_content_that_is_too_long_is_an_error_of_the_program() -> None:
    with pytest.raises(ValueError, match="too long"):
        seal(bytes(65_537), kind="secret", passphrase=PASSPHRASE)


def test_file_of_another_kind_is_refused_before_work_is_done(work: list[int]) -> None:
    keys = seal(CONTENT, kind="exchange-keys", passphrase=PASSPHRASE)
    secret = seal(CONTENT, kind="secret", passphrase=PASSPHRASE)
    work.clear()
    with pytest.raises(KeyExchangeError, match="linkage keys import") as caught:
        unseal(keys, kind="secret", passphrase=PASSPHRASE)
    assert caught.value.code == "sealed_other_kind"
    with pytest.raises(KeyExchangeError, match="linkage secret import") as caught:
        unseal(secret, kind="exchange-keys", passphrase=PASSPHRASE)
    assert caught.value.code == "sealed_other_kind"
    assert work == []


@pytest.mark.usefixtures("work")
def test_kind_cannot_be_rewritten() -> None:
    keys = json.loads(seal(CONTENT, kind="exchange-keys", passphrase=PASSPHRASE))
    assert _code(json.dumps({**keys, "kind": "secret"}).encode()) == "sealed_wrong_passphrase"


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 2**21},
        {"n": 2**40},
        {"n": 2**53 - 1},
        {"n": 2**16},
        {"n": 2**17 + 1},
        {"n": 1},
        {"r": 16},
        {"r": 1},
        {"r": 2**30},
        {"p": 2},
        {"p": 2**30},
        {"r": 1, "p": 8},
    ],
    ids=str,
)
def test_absurd_parameters_are_refused_before_work_is_done(work: list[int], changes: dict[str, int]) -> None:
    members = json.loads(_file())
    work.clear()
    assert _code(_file_with(members, kdf={**members["kdf"], **changes})) == "sealed_parameters"
    assert work == []


@pytest.mark.parametrize("cost", [2**18, 2**20])
def test_more_work_than_usual_is_done_where_the_file_asks_for_it(work: list[int], cost: int) -> None:
    members = json.loads(_file())
    work.clear()
    assert _code(_file_with(members, kdf={**members["kdf"], "n": cost})) == "sealed_wrong_passphrase"
    assert work == [cost]


def test_machine_without_memory_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _file()

    def derive_into(*_: object) -> None:
        raise MemoryError

    class Hungry:
        def __init__(self, **_: object) -> None:
            self.derive_into = derive_into

    monkeypatch.setattr(sealed, "Scrypt", Hungry)
    with pytest.raises(KeyExchangeError, match="takes 128 MiB") as caught:
        unseal(data, kind="secret", passphrase=PASSPHRASE)
    assert caught.value.code == "sealed_memory"


@pytest.mark.usefixtures("work")
def test_file_with_any_member_changed_is_refused() -> None:
    members = json.loads(seal(CONTENT, kind="secret", passphrase=PASSPHRASE))
    for how, document in spoilt(members):
        try:
            data = json.dumps(document).encode()
        except TypeError:
            continue
        assert _code(data, how).startswith("sealed_"), how


@pytest.mark.usefixtures("work")
def test_file_with_any_byte_flipped_is_refused() -> None:
    data = seal(CONTENT, kind="secret", passphrase=PASSPHRASE)
    blank = {at for at, byte in enumerate(data) if byte in b" \n"}
    for at in range(len(data)):
        for bit in range(8):
            changed = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            # One blank for another between members is no change to what the file says.
            if at in blank and changed[at] in b" \n\r\t":
                continue
            assert _code(changed, f"byte {at}").startswith("sealed_")


@pytest.mark.usefixtures("work")
def test_every_byte_of_salt_nonce_and_ciphertext_counts() -> None:
    members = json.loads(seal(CONTENT, kind="secret", passphrase=PASSPHRASE))
    for name, text in (("nonce", members["nonce"]), ("ciphertext", members["ciphertext"])):
        for changed in _each_byte_changed(text):
            assert _code(_file_with(members, **{name: changed})) == "sealed_wrong_passphrase"
    for changed in _each_byte_changed(members["kdf"]["salt"]):
        assert _code(_file_with(members, kdf={**members["kdf"], "salt": changed})) == "sealed_wrong_passphrase"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"format":"linkage-sealed"}',
        b"[" * 100_000,
        b"9" * 100_000,
        b'{"format":"linkage-sealed","v":1,"kind":"secret","kdf":{},"nonce":"","ciphertext":"","v":1}',
        b" " * 131_073,
    ],
    ids=["empty", "no text", "null", "list", "no members", "few", "deep", "number", "member twice", "long"],
)
def test_bytes_that_are_no_sealed_file_are_refused(work: list[int], data: bytes) -> None:
    assert _code(data) == "sealed_damaged"
    assert work == []


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode(errors="surrogatepass")))
def test_parser_of_sealed_files_refuses_any_bytes(data: bytes) -> None:
    assert _code(data) == "sealed_damaged"
    assert not is_sealed(data)


def test_sealed_file_is_known_by_its_format(work: list[int]) -> None:
    assert is_sealed(seal(CONTENT, kind="exchange-keys", passphrase=PASSPHRASE))
    assert not is_sealed(oracle.Party("org_north").kept())
    assert work == [131072]


def test_key_and_passphrase_are_wiped_after_use(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytearray] = []

    class Watched:
        def __init__(self, **_: object) -> None:
            pass

        def derive_into(self, typed: bytearray, key: bytearray) -> None:
            key[:] = bytes(range(32))
            seen.extend((typed, key))

    monkeypatch.setattr(sealed, "Scrypt", Watched)
    seal(CONTENT, kind="secret", passphrase=PASSPHRASE)
    assert [len(buffer) for buffer in seen] == [len(PASSPHRASE), 32]
    assert not any(any(buffer) for buffer in seen)


def test_header_is_authenticated_as_its_canonical_form() -> None:
    """What another program has to do to read such a file, spelt out."""
    members = json.loads(seal(CONTENT, kind="secret", passphrase=PASSPHRASE))
    key = Scrypt(salt=oracle.unb64(members["kdf"]["salt"]), length=32, n=131072, r=8, p=1).derive(PASSPHRASE.encode())
    header = {name: value for name, value in members.items() if name != "ciphertext"}
    nonce, ciphertext = oracle.unb64(members["nonce"]), oracle.unb64(members["ciphertext"])
    assert ChaCha20Poly1305(key).decrypt(nonce, ciphertext, oracle.canonical(header)) == CONTENT


def _file_with(members: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**members, **changes}).encode()


def _each_byte_changed(text: str) -> Iterator[str]:
    raw = oracle.unb64(text)
    for at in range(len(raw)):
        yield oracle.b64(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :])
