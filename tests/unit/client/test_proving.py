"""What the console holds a ledger to: kept checkpoints and receipts, judged without asking anybody."""

import base64
import json

import pytest

from linkage_client.errors import DataError
from linkage_client.proving import LogKeys, continues, receipt_number
from linkage_ledger import merkle
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint
from linkage_ledger.handover import sign_handover
from linkage_ledger.memory import MemoryLog
from linkage_ledger.notes import SigningKey
from support.ledger_logs import KEY, make_header, make_log

KEYS = LogKeys(KEY.verifier.format(), [])


def _note(log: MemoryLog) -> str:
    return log.checkpoint(KEY)


def _proof(log: MemoryLog, old: int, new: int) -> list[str]:
    return [base64.b64encode(node).decode() for node in merkle.consistency_proof(log.tree, old, new)]


def test_log_that_grew_continues_its_older_state_and_no_other() -> None:
    log = make_log(5)
    old = KEYS.kept(_note(log))
    for number in range(5, 12):
        log.append(make_header(number))
    new = KEYS.present(_note(log))
    proof = _proof(log, 5, 12)
    assert continues(old, new, proof)
    assert continues(old, old, [])
    assert not continues(new, old, proof)
    assert not continues(old, new, proof[:-1])
    assert not continues(old, new, [*proof[:-1], "no base64"])
    forked = KEYS.kept(sign_checkpoint(Checkpoint(origin=old.origin, size=5, root=bytes(32)), KEY))
    assert not continues(forked, new, proof)
    assert not continues(forked, old, [])


def test_checkpoint_with_line_ends_of_a_mail_is_still_one() -> None:
    note = _note(make_log(3))
    assert KEYS.kept(note.replace("\n", "\r\n")) == KEYS.kept(note)


@pytest.mark.parametrize("text", ["", "hello", "a\n1\nb\n"])
def test_text_that_is_no_checkpoint_or_receipt_is_an_error_in_words(text: str) -> None:
    with pytest.raises(DataError, match="no checkpoint of this ledger"):
        KEYS.kept(text)
    with pytest.raises(DataError, match="not a receipt"):
        receipt_number(text)


def test_checkpoint_of_a_stranger_is_an_error() -> None:
    stranger = SigningKey.generate(KEY.name)
    with pytest.raises(DataError, match="no checkpoint of this ledger"):
        KEYS.kept(make_log(3).checkpoint(stranger))


def test_receipt_proves_its_event_and_no_other() -> None:
    log = make_log(6)
    rows = list(log.events())
    receipt = log.receipt(2, _note(log)).text()
    assert receipt_number(receipt) == 2
    assert KEYS.receipt(receipt, json.loads(rows[2].header)).size == 6
    with pytest.raises(DataError, match="does not prove this event"):
        KEYS.receipt(receipt, json.loads(rows[3].header))


def test_checkpoint_of_before_a_hand_over_counts_and_the_old_key_does_not_speak_now() -> None:
    log = make_log(4)
    old = KEYS.kept(_note(log))
    successor = SigningKey.generate(KEY.name)
    handover = sign_handover(size=4, root=old.root, old=KEY, new=successor)
    keys = LogKeys(successor.verifier.format(), [handover])
    assert keys.kept(_note(log)) == old
    log.append(make_header(4))
    with pytest.raises(DataError, match="cannot be relied on"):
        keys.present(log.checkpoint(KEY))
    assert keys.present(log.checkpoint(successor)).size == 5


def test_key_that_its_hand_overs_do_not_lead_to_is_an_error() -> None:
    one, other = (SigningKey.generate(KEY.name) for _ in range(2))
    handover = sign_handover(size=4, root=bytes(32), old=KEY, new=one)
    with pytest.raises(DataError, match="key cannot be used"):
        LogKeys(other.verifier.format(), [handover])
    with pytest.raises(DataError, match="key cannot be used"):
        LogKeys("nonsense", [])
