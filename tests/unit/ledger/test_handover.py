"""Whose word counts for which sizes, and every hand-over that must not be accepted."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from linkage_ledger.checkpoints import Checkpoint, KeySpan, sign_checkpoint, verify_checkpoint
from linkage_ledger.errors import CheckpointError, HandoverError, NoteError
from linkage_ledger.handover import (
    Handover,
    continues,
    current_key,
    open_handover,
    require_current,
    resolve_keys,
    sign_handover,
)
from linkage_ledger.memory import MemoryLog
from linkage_ledger.notes import SigningKey, sign_note, signature_line, split_note
from linkage_ledger.receipts import verify_receipt
from linkage_ledger.verify import verify_log
from support.ledger_logs import make_header

ORIGIN = "log.test"
OLD, NEW, NEWEST, STRANGER = (SigningKey.generate(ORIGIN) for _ in range(4))


class _Handed:
    """A log whose key was handed over after four events, and again after nine."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.kept: dict[int, str] = {}
        self._grow(4, OLD)
        self.first = self._hand(OLD, NEW)
        self._grow(9, NEW)
        self.second = self._hand(NEW, NEWEST)
        self._grow(12, NEWEST)
        self.chain = [self.first, self.second]

    def _grow(self, size: int, key: SigningKey) -> None:
        while self.log.head().size < size:
            self.log.append(make_header(self.log.head().size))
        self.kept[size] = self.log.checkpoint(key)

    def _hand(self, old: SigningKey, new: SigningKey) -> str:
        head = self.log.head()
        return sign_handover(size=head.size, root=head.root, old=old, new=new)


HANDED = _Handed()


def _signed(size: int, key: SigningKey) -> str:
    return sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), key)


@pytest.mark.parametrize("trusted", [OLD, NEW, NEWEST])
def test_one_trusted_key_of_the_chain_is_enough_and_each_counts_for_its_sizes(trusted: SigningKey) -> None:
    keys = resolve_keys([trusted.verifier], HANDED.chain)
    assert keys == (
        KeySpan(OLD.verifier, 0, 4),
        KeySpan(NEW.verifier, 5, 9),
        KeySpan(NEWEST.verifier, 10, None),
    )
    for size, signer in ((1, OLD), (4, OLD), (5, NEW), (9, NEW), (10, NEWEST), (99, NEWEST)):
        assert verify_checkpoint(_signed(size, signer), keys).size == size
        for other in {OLD, NEW, NEWEST, STRANGER} - {signer}:
            with pytest.raises(NoteError):
                verify_checkpoint(_signed(size, other), keys)


def test_two_keys_of_one_log_lie_in_one_chain() -> None:
    assert resolve_keys([OLD.verifier, NEW.verifier], HANDED.chain) == resolve_keys([NEW.verifier], HANDED.chain)
    assert resolve_keys([OLD.verifier, OLD.verifier], []) == (OLD.verifier, OLD.verifier)
    evil = sign_handover(size=2, root=bytes(32), old=OLD, new=STRANGER)
    for chain in ([], [evil]):
        with pytest.raises(HandoverError, match="two keys of one log"):
            resolve_keys([OLD.verifier, NEW.verifier], chain)


def test_key_of_another_log_counts_as_before() -> None:
    other = SigningKey.generate("other.test")
    keys = resolve_keys([OLD.verifier, other.verifier], HANDED.chain)
    elsewhere = sign_checkpoint(Checkpoint(other.name, 50, bytes(32)), other)
    assert verify_checkpoint(elsewhere, keys).size == 50
    assert resolve_keys([OLD.verifier], []) == (OLD.verifier,)
    assert current_key(HANDED.chain) == NEWEST.verifier
    assert current_key([]) is None


def test_log_with_handed_over_keys_is_whole_by_any_of_them() -> None:
    for trusted in (OLD, NEWEST):
        report = verify_log(HANDED.log, [trusted.verifier], handovers=HANDED.chain)
        assert (report.findings, report.signed_size) == ((), 12)
        for kept in HANDED.kept.values():
            assert verify_log(HANDED.log, [trusted.verifier], handovers=HANDED.chain, expected_checkpoint=kept).verified
    assert not verify_log(HANDED.log, [OLD.verifier]).verified
    assert not verify_log(HANDED.log, [STRANGER.verifier], handovers=HANDED.chain).verified


def test_checkpoint_by_the_old_key_after_the_hand_over_is_found() -> None:
    handed = _Handed()
    handed.log.append(make_header(12))
    handed.log.checkpoint(OLD)
    report = verify_log(handed.log, [OLD.verifier], handovers=handed.chain)
    assert [finding.where for finding in report.findings] == ["checkpoints"]


def test_hand_over_of_another_history_or_a_longer_log_is_found() -> None:
    forged = sign_handover(size=4, root=bytes(32), old=OLD, new=NEW)
    beyond = sign_handover(size=40, root=bytes(32), old=NEWEST, new=STRANGER)
    for chain in ([forged, HANDED.second], [*HANDED.chain, beyond]):
        report = verify_log(HANDED.log, [OLD.verifier], handovers=chain)
        assert "key hand-overs" in {finding.where for finding in report.findings}


def test_receipt_counts_under_the_key_of_its_checkpoint() -> None:
    keys = resolve_keys([NEWEST.verifier], HANDED.chain)
    header = HANDED.log.event_rows[2].header
    for kept in HANDED.kept.values():
        assert verify_receipt(HANDED.log.receipt(2, kept), header, verifier_keys=keys).size >= 4
    forged = sign_checkpoint(Checkpoint(ORIGIN, 12, HANDED.log.head().root), OLD)
    misused = replace(HANDED.log.receipt(2, HANDED.kept[12]), checkpoint=forged)
    with pytest.raises(CheckpointError, match="handed over"):
        verify_receipt(misused, header, verifier_keys=keys)


def test_chain_that_is_shown_has_to_begin_with_the_one_that_was_known() -> None:
    other = sign_handover(size=4, root=HANDED.log.head().root, old=OLD, new=STRANGER)
    assert continues([], HANDED.chain)
    assert continues([HANDED.first], HANDED.chain)
    assert not continues(HANDED.chain, [HANDED.first])
    assert not continues([HANDED.first], [other])


def test_present_checkpoint_reaches_the_last_hand_over_and_has_its_root() -> None:
    second = open_handover(HANDED.second)
    for checkpoint in (Checkpoint(ORIGIN, 9, second.root), Checkpoint(ORIGIN, 10, bytes(32))):
        require_current(HANDED.chain, checkpoint)
    require_current([], Checkpoint(ORIGIN, 1, bytes(32)))
    with pytest.raises(HandoverError, match="older than the last hand-over"):
        require_current(HANDED.chain, Checkpoint(ORIGIN, 8, bytes(32)))
    with pytest.raises(HandoverError, match="alarm"):
        require_current(HANDED.chain, Checkpoint(ORIGIN, 9, bytes(32)))


TEXT = split_note(HANDED.first)[0]


def _both(text: str) -> str:
    return f"{text}\n{signature_line(text, OLD)}{signature_line(text, NEW)}"


REFUSED: dict[str, Callable[[], str]] = {
    "signed by the old key only": lambda: sign_note(TEXT, OLD),
    "signed by the new key only": lambda: sign_note(TEXT, NEW),
    "signed twice by the old key": lambda: f"{TEXT}\n{signature_line(TEXT, OLD) * 2}",
    "signed by a stranger for the new key": lambda: (
        f"{TEXT}\n{signature_line(TEXT, OLD)}{signature_line(TEXT, STRANGER)}"
    ),
    "another size": lambda: HANDED.first.replace("\n4\n", "\n5\n"),
    "another root": lambda: _both(TEXT).replace("=\n", "A=\n", 1),
    "size zero": lambda: _both(TEXT.replace("\n4\n", "\n0\n")),
    "size with a leading zero": lambda: _both(TEXT.replace("\n4\n", "\n04\n")),
    "another first line": lambda: _both(TEXT.replace("/v1", "/v2")),
    "one line more": lambda: _both(TEXT + "more\n"),
    "one line less": lambda: _both(TEXT.replace("\n4\n", "\n")),
    "another log": lambda: _both(TEXT.replace(f"\n{ORIGIN}\n", "\nother.test\n")),
    "to the same key": lambda: _both(TEXT.replace(NEW.verifier.format(), OLD.verifier.format())),
    "a checkpoint": lambda: _signed(4, OLD),
    "nothing": lambda: "",
}


@pytest.mark.parametrize("refused", REFUSED)
def test_hand_over_that_is_not_one_is_refused(refused: str) -> None:
    with pytest.raises(HandoverError):
        open_handover(REFUSED[refused]())


def test_both_ends_are_read_as_they_were_signed() -> None:
    handover = open_handover(HANDED.first)
    assert handover == Handover(ORIGIN, 4, handover.root, OLD.verifier, NEW.verifier)
    assert Handover.parse(handover.text()) == handover


@pytest.mark.parametrize(
    "chain",
    [
        [HANDED.second, HANDED.first],
        [HANDED.first, HANDED.first],
        [HANDED.first, sign_handover(size=4, root=bytes(32), old=NEW, new=NEWEST)],
        [HANDED.first, sign_handover(size=9, root=bytes(32), old=OLD, new=NEWEST)],
        [HANDED.first, sign_handover(size=9, root=bytes(32), old=NEW, new=OLD)],
    ],
)
def test_chain_out_of_sequence_is_refused(chain: list[str]) -> None:
    with pytest.raises(HandoverError):
        resolve_keys([OLD.verifier], chain)


def test_chain_without_a_trusted_key_is_an_alarm() -> None:
    with pytest.raises(HandoverError, match="alarm"):
        resolve_keys([STRANGER.verifier], HANDED.chain)
