"""Cosignatures against a published one, and everything that must not pass for one."""

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint, verify_checkpoint
from linkage_ledger.cosignatures import (
    CosigningKey,
    WitnessKey,
    WitnessPolicy,
    answered_cosignatures,
    check_policy,
    cosign,
    cosignatures_of,
    with_cosignatures,
)
from linkage_ledger.errors import LedgerError, NoteError, PolicyError
from linkage_ledger.notes import SigningKey, split_note

# A checkpoint of a public certificate log with the cosignature of a public witness, as published in August 2026.
PUBLISHED = """\
coachandhorses2026h1.staging.certificate.transparency.goog
185550722
YXAM0VmnrfvLaBCOOYSJhCaE5F10oGBOo+hkbDa1kng=

— coachandhorses2026h1.staging.certificate.transparency.goog \
MpXgsHy8ZwxXnO+WjtVrPxAzL49Rs1gWTkNVNeEa//5peAzaocRCB3qt3EaibjzY5GILLtGgBP7dBhgcSHy+JQh0OAc=
— witness.navigli.sunlight.geomys.org \
o+AP4gAAAABqb7DzNrGFRJnQ9vrJ8xpnwZytnr/ZYczDIsvwvouiSjwOjn7a72ccxBk+lKnZ7dKqkYKER1s/KxLTaVwQD7lJZTC/CQ==
"""
PUBLISHED_KEY = "witness.navigli.sunlight.geomys.org+a3e00fe2+BNy/co4C1Hn1p+INwJrfUlgz7W55dSZReusH/GhUhJ/G"
LOG = SigningKey.generate("log.test")
NOTE = sign_checkpoint(Checkpoint("log.test", 7, bytes(range(32))), LOG)
TEXT = split_note(NOTE)[0]
KEYS = [CosigningKey.generate(f"witness.test/{name}") for name in ("a", "b", "c")]
WITNESSES = tuple(key.verifier for key in KEYS)


def test_published_cosignature_is_genuine_and_dated() -> None:
    key = WitnessKey.parse(PUBLISHED_KEY)
    assert key.format() == PUBLISHED_KEY
    (cosignature,) = cosignatures_of(PUBLISHED, [key])
    assert (cosignature.witness, cosignature.time) == (key, 1785704691)
    assert PUBLISHED.endswith(cosignature.line)


def test_keys_of_witnesses_are_written_and_read_and_never_taken_for_a_logs() -> None:
    key = KEYS[0]
    assert CosigningKey.parse(key.format()).verifier == WitnessKey.parse(key.verifier.format()) == key.verifier
    assert "PRIVATE" not in repr(key)
    as_log = SigningKey(key.name, key.private_key)
    assert as_log.verifier.key_id != key.verifier.key_id
    for parse, other in ((WitnessKey.parse, as_log.verifier.format()), (CosigningKey.parse, as_log.format())):
        with pytest.raises(NoteError, match="kind that is needed"):
            parse(other)


def test_policy_says_who_signed_when_and_who_is_missing() -> None:
    policy = WitnessPolicy(WITNESSES, quorum=2)
    note = with_cosignatures(NOTE, [cosign(TEXT, KEYS[2], time=20), cosign(TEXT, KEYS[0], time=10)])
    assert verify_checkpoint(note, [LOG.verifier]).size == 7
    answer = check_policy(note, policy)
    assert [(item.witness, item.time) for item in answer.signed] == [(WITNESSES[0], 10), (WITNESSES[2], 20)]
    assert (answer.missing, answer.satisfied, answer.checkpoint.size) == ((WITNESSES[1],), True, 7)
    assert "witness.test/a, witness.test/c; without witness.test/b" in answer.words()
    assert not check_policy(note, policy, not_after=15).satisfied
    assert not check_policy(NOTE, policy).satisfied
    assert check_policy(NOTE, WitnessPolicy()).satisfied


def test_witness_that_signed_twice_counts_once_with_its_newest_time() -> None:
    note = with_cosignatures(NOTE, [cosign(TEXT, KEYS[0], time=time) for time in (5, 9, 7)])
    answer = check_policy(note, WitnessPolicy(WITNESSES, quorum=2))
    assert [item.time for item in answer.signed] == [9]
    assert not answer.satisfied


@pytest.mark.parametrize(
    ("witnesses", "quorum"),
    [
        (WITNESSES, 4),
        (WITNESSES, -1),
        ((), 1),
        ((WITNESSES[0], WITNESSES[0]), 1),
        ((WITNESSES[0], WitnessKey("witness.test/other", WITNESSES[0].public_bytes)), 1),
        ((WITNESSES[0], WitnessKey(WITNESSES[0].name, WITNESSES[1].public_bytes)), 1),
        (tuple(WitnessKey(f"w{number}", number.to_bytes(32, "big")) for number in range(65)), 1),
    ],
)
def test_policy_that_cannot_be_meant_is_refused(witnesses: tuple[WitnessKey, ...], quorum: int) -> None:
    with pytest.raises(PolicyError):
        WitnessPolicy(witnesses, quorum)


def test_policy_is_written_for_other_verifiers() -> None:
    text = WitnessPolicy(WITNESSES[:2], quorum=1).text(log_keys=[LOG.verifier.format()])
    assert text == (
        f"log {LOG.verifier.format()}\nwitness w1 {WITNESSES[0].format()}\nwitness w2 {WITNESSES[1].format()}\n"
        "group witnesses 1 w1 w2\nquorum witnesses\n"
    )
    assert WitnessPolicy().text() == "quorum none\n"


def _raw(line: str) -> bytes:
    return base64.b64decode(line.split(" ")[2])


def _line(name: str, raw: bytes) -> str:
    return f"— {name} {base64.b64encode(raw).decode()}\n"


LINE = cosign(TEXT, KEYS[0], time=1_000)
NAME = KEYS[0].name
WRONG: dict[str, Callable[[], str]] = {
    "another time": lambda: _line(NAME, _raw(LINE)[:4] + (1_001).to_bytes(8, "big") + _raw(LINE)[12:]),
    "another checkpoint": lambda: cosign(TEXT.replace("\n7\n", "\n8\n"), KEYS[0], time=1_000),
    "cut": lambda: _line(NAME, _raw(LINE)[:-1]),
    "padded": lambda: _line(NAME, _raw(LINE) + b"\0"),
    "no time": lambda: _line(NAME, _raw(LINE)[:4] + _raw(LINE)[12:]),
    "a time past 2^63": lambda: _line(NAME, _raw(LINE)[:4] + b"\xff" * 8 + _raw(LINE)[12:]),
    "the plain signature of a note": lambda: _line(
        NAME, _raw(LINE)[:4] + (1_000).to_bytes(8, "big") + KEYS[0].private_key.sign(TEXT.encode())
    ),
    "another's signature": lambda: _line(NAME, _raw(LINE)[:12] + _raw(cosign(TEXT, KEYS[1], time=1_000))[12:]),
    **{
        f"bit {bit} flipped": lambda bit=bit: _line(  # type: ignore[misc]  # a default holds the loop's value
            NAME, bytes(byte ^ (1 << bit % 8 if place == bit // 8 else 0) for place, byte in enumerate(_raw(LINE)))
        )
        for bit in (32, 95, 96, 300, 351, 352, 607)
    },
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_cosignature_of_a_known_witness_condemns_the_note(wrong: str) -> None:
    note = with_cosignatures(NOTE, [WRONG[wrong]()])
    with pytest.raises(NoteError):
        check_policy(note, WitnessPolicy(WITNESSES, quorum=1))
    with pytest.raises(NoteError):
        answered_cosignatures(NOTE, WRONG[wrong](), WITNESSES)


def test_cosignatures_by_strangers_are_ignored() -> None:
    stranger = CosigningKey(NAME, Ed25519PrivateKey.generate())
    answer = cosign(TEXT, stranger, time=1) + LINE
    (found,) = answered_cosignatures(NOTE, answer, WITNESSES)
    assert found.time == 1_000
    assert not check_policy(
        with_cosignatures(NOTE, [cosign(TEXT, stranger, time=1)]), WitnessPolicy(WITNESSES, 1)
    ).signed


@pytest.mark.parametrize("answer", ["", "\n", LINE[:-1], LINE + "more", "<html>\n", LINE + "\n", "7\n"])
def test_answer_that_is_not_lines_of_signatures_is_refused(answer: str) -> None:
    with pytest.raises(NoteError):
        answered_cosignatures(NOTE, answer, WITNESSES)


def test_only_checkpoints_are_cosigned() -> None:
    for text in ("certificate\nof disposal\n", TEXT + "extension\n", TEXT[:-1]):
        with pytest.raises(LedgerError):
            cosign(text, KEYS[0], time=1)
