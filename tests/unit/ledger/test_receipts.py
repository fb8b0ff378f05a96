from dataclasses import replace

import pytest

from linkage_ledger.errors import NoteError, ProofError, ReceiptError
from linkage_ledger.memory import MemoryLog
from linkage_ledger.notes import SigningKey
from linkage_ledger.receipts import Receipt, verify_receipt
from support.ledger_logs import KEY, make_log


@pytest.fixture(scope="module")
def log() -> MemoryLog:
    return make_log(11, checkpoint_every=4)


@pytest.fixture(scope="module")
def note(log: MemoryLog) -> str:
    return log.checkpoint_rows[11].note


def header(log: MemoryLog, seq: int) -> bytes:
    return log.event_rows[seq].header


def test_receipt_of_every_event_is_verified(log: MemoryLog, note: str) -> None:
    for seq in range(11):
        receipt = Receipt.parse(log.receipt(seq, note).text())
        assert verify_receipt(receipt, header(log, seq), verifier_keys=[KEY.verifier]).size == 11


def test_receipt_written_and_read_is_the_same(log: MemoryLog, note: str) -> None:
    for extra in (None, b"", b"context"):
        receipt = replace(log.receipt(3, note), extra=extra)
        assert Receipt.parse(receipt.text()) == receipt


def test_receipt_in_a_log_of_one_event_has_no_hashes() -> None:
    log = make_log(1)
    receipt = log.receipt(0, log.checkpoint(KEY))
    assert receipt.proof == ()
    assert receipt.text().startswith("c2sp.org/tlog-proof@v1\nindex 0\n\nledger.example/test\n1\n")
    verify_receipt(Receipt.parse(receipt.text()), header(log, 0), verifier_keys=[KEY.verifier])


def test_receipt_of_another_event_is_refused(log: MemoryLog, note: str) -> None:
    with pytest.raises(ProofError):
        verify_receipt(log.receipt(3, note), header(log, 4), verifier_keys=[KEY.verifier])


def test_receipt_with_another_place_is_refused(log: MemoryLog, note: str) -> None:
    with pytest.raises(ProofError):
        verify_receipt(replace(log.receipt(3, note), index=2), header(log, 3), verifier_keys=[KEY.verifier])


def test_receipt_with_an_older_checkpoint_is_refused(log: MemoryLog, note: str) -> None:
    receipt = replace(log.receipt(9, note), checkpoint=log.checkpoint_rows[8].note)
    with pytest.raises(ProofError):
        verify_receipt(receipt, header(log, 9), verifier_keys=[KEY.verifier])


def test_receipt_signed_by_a_stranger_is_refused(log: MemoryLog, note: str) -> None:
    with pytest.raises(NoteError):
        verify_receipt(log.receipt(3, note), header(log, 3), verifier_keys=[SigningKey.generate(KEY.name).verifier])


def test_receipt_with_any_character_changed_is_refused(log: MemoryLog, note: str) -> None:
    text = log.receipt(3, note).text()
    for place, character in enumerate(text):
        damaged = text[:place] + chr(ord(character) ^ 1) + text[place + 1 :]
        with pytest.raises((ReceiptError, NoteError, ProofError)):
            verify_receipt(Receipt.parse(damaged), header(log, 3), verifier_keys=[KEY.verifier])


HASH = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v1",
        "c2sp.org/tlog-proof@v1\n",
        "c2sp.org/tlog-proof@v1\n\nnote",
        "c2sp.org/tlog-proof@v2\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 00\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex -1\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex \N{ARABIC-INDIC DIGIT THREE}\n\nnote",
        f"c2sp.org/tlog-proof@v1\n{HASH}\nindex 0\n\nnote",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH[4:]}\n\nnote",
        f"c2sp.org/tlog-proof@v1\nindex 0\n {HASH}\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 0\nextra AAAA\n\nnote",
        "c2sp.org/tlog-proof@v1\nextra AAA\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\nextra AAAA\nextra AAAA\nindex 0\n\nnote",
        "c2sp.org/tlog-proof@v1\nindex 0\n" + f"{HASH}\n" * 64 + "\nnote",
    ],
)
def test_receipt_malformed_is_refused(text: str) -> None:
    with pytest.raises(ReceiptError):
        Receipt.parse(text)
