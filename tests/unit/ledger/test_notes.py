import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from linkage_ledger import notes
from linkage_ledger.errors import NoteError

# The example of the reference implementation, golang.org/x/mod/sumdb/note.
VERIFIER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SIGNING_KEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
NOTE = f"{TEXT}\n{SIGNATURE}"


@pytest.fixture(scope="module")
def peter() -> notes.VerifierKey:
    return notes.VerifierKey.parse(VERIFIER_KEY)


@pytest.fixture(scope="module")
def other() -> notes.SigningKey:
    return notes.SigningKey(name="witness.example", private_key=Ed25519PrivateKey.from_private_bytes(bytes(32)))


def test_verifier_key_read_and_written_is_the_same_line(peter: notes.VerifierKey) -> None:
    assert (peter.name, peter.key_id.hex(), peter.format()) == ("PeterNeumann", "c74f20a3", VERIFIER_KEY)


def test_signing_key_read_and_written_is_the_same_line(peter: notes.VerifierKey) -> None:
    key = notes.SigningKey.parse(SIGNING_KEY)
    assert key.format() == SIGNING_KEY
    assert key.verifier == peter


def test_signing_key_generated_signs_what_its_verifier_opens() -> None:
    key = notes.SigningKey.generate("log.example")
    assert notes.open_note(notes.sign_note("text\n", key), [key.verifier]) == "text\n"


def test_signing_key_printed_shows_no_secret() -> None:
    assert "AYEKFALV" not in repr(notes.SigningKey.parse(SIGNING_KEY))
    assert "private" not in repr(notes.SigningKey.parse(SIGNING_KEY)).lower()


def test_open_note_of_the_reference_example_gives_its_text(peter: notes.VerifierKey) -> None:
    assert notes.open_note(NOTE, [peter]) == TEXT


def test_sign_note_of_the_reference_text_gives_the_reference_note() -> None:
    assert notes.sign_note(TEXT, notes.SigningKey.parse(SIGNING_KEY)) == NOTE


def test_open_note_with_any_character_changed_is_refused(peter: notes.VerifierKey) -> None:
    for position, character in enumerate(NOTE):
        damaged = NOTE[:position] + chr(ord(character) ^ 1) + NOTE[position + 1 :]
        with pytest.raises(NoteError):
            notes.open_note(damaged, [peter])


def test_open_note_cut_anywhere_is_refused(peter: notes.VerifierKey) -> None:
    for length in range(len(NOTE)):
        with pytest.raises(NoteError):
            notes.open_note(NOTE[:length], [peter])


@pytest.mark.parametrize(
    "damaged",
    [
        NOTE + "\n",
        NOTE + SIGNATURE.replace("ZJku", "ZJkv"),  # a good signature does not outweigh a bad one
        NOTE + "not a signature line\n",
        NOTE + "— PeterNeumann \n",
        NOTE + "— PeterNeumann x08gow==\n",
        NOTE + "— PeterNeumann x08gowA=\n",
        NOTE + "—  x08go/ZJ\n",
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\n", "\r\n"),
        "\n" + SIGNATURE,
        SIGNATURE,
        "",
        TEXT,
        TEXT + "\n",
        NOTE.replace("— ", "- "),
        NOTE.replace("— ", "—"),
        NOTE.replace("JnAM=", "JnAM"),
        NOTE.replace("JnAM=", "JnAN="),  # the same bytes with other spare bits
        NOTE.replace("x08go", "x08 o"),
        "\x00" + NOTE,
        "\ud800" + NOTE,
        "a" * 1_000_001 + NOTE,
        NOTE + SIGNATURE * 100,
    ],
)
def test_open_note_malformed_is_refused(damaged: str, peter: notes.VerifierKey) -> None:
    with pytest.raises(NoteError):
        notes.open_note(damaged, [peter])


def test_open_note_with_signatures_of_strangers_ignores_them(peter: notes.VerifierKey, other: notes.SigningKey) -> None:
    note = NOTE + notes.sign_note(TEXT, other).rpartition("\n\n")[2]
    opened = notes.open_signed(note, [peter])
    assert (opened.text, opened.signers, opened.unknown_signatures) == (TEXT, (peter,), 1)
    assert notes.open_signed(note, [other.verifier, peter]).signers == (peter, other.verifier)


def test_open_note_with_one_wrong_signature_of_a_known_key_is_refused(
    peter: notes.VerifierKey, other: notes.SigningKey
) -> None:
    note = NOTE + notes.sign_note("another text\n", other).rpartition("\n\n")[2]
    assert notes.open_note(note, [peter]) == TEXT
    with pytest.raises(NoteError):
        notes.open_note(note, [peter, other.verifier])


def test_open_note_of_a_key_with_the_same_name_only_is_refused(peter: notes.VerifierKey) -> None:
    impostor = notes.SigningKey.generate(peter.name)
    with pytest.raises(NoteError, match="None of the keys"):
        notes.open_note(notes.sign_note(TEXT, impostor), [peter])


def test_open_note_without_keys_is_refused() -> None:
    with pytest.raises(NoteError, match="None of the keys"):
        notes.open_note(NOTE, [])


def test_open_note_with_an_empty_line_in_the_text_splits_at_the_last(other: notes.SigningKey) -> None:
    text = "ed è subito sera\n\nline\n"
    assert notes.open_note(notes.sign_note(text, other), [other.verifier]) == text


@pytest.mark.parametrize("text", ["", "no newline", "tab\there\n", "\ud800\n"])
def test_sign_note_of_unfit_text_is_refused(text: str, other: notes.SigningKey) -> None:
    with pytest.raises(NoteError):
        notes.sign_note(text, other)


@pytest.mark.parametrize("name", ["", "with space", "with+plus", "with\u2003space", "line\nbreak", "nul\x00"])
def test_signing_key_with_an_unfit_name_is_refused(name: str) -> None:
    with pytest.raises(NoteError):
        notes.SigningKey.generate(name)


def test_verifier_key_with_any_part_cut_or_changed_is_refused() -> None:
    damaged = [VERIFIER_KEY[:length] for length in range(len(VERIFIER_KEY))]
    damaged += [
        VERIFIER_KEY[:place] + chr(ord(VERIFIER_KEY[place]) + 1) + VERIFIER_KEY[place + 1 :]
        for place in range(len(VERIFIER_KEY))
    ]
    damaged += [VERIFIER_KEY + "A", VERIFIER_KEY.upper(), VERIFIER_KEY.replace("c74f20a3", "C74F20A3")]
    for line in damaged:
        with pytest.raises(NoteError):
            notes.VerifierKey.parse(line)


def test_verifier_key_of_another_algorithm_is_refused() -> None:
    line = "PeterNeumann+c74f20a3+" + base64.b64encode(b"\x04" + bytes(32)).decode()
    with pytest.raises(NoteError, match="Ed25519"):
        notes.VerifierKey.parse(line)


def test_verifier_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(NoteError, match="32 bytes"):
        notes.VerifierKey(name="log.example", public_bytes=bytes(31))


@pytest.mark.parametrize(
    "line", [VERIFIER_KEY, SIGNING_KEY.replace("c74f20a3", "c74f20a4"), SIGNING_KEY[:-1], "PRIVATE+KEY+"]
)
def test_signing_key_malformed_is_refused(line: str) -> None:
    with pytest.raises(NoteError):
        notes.SigningKey.parse(line)
