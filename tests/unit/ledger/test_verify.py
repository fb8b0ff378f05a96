from dataclasses import replace

import pytest

from linkage_ledger import events, merkle
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint
from linkage_ledger.memory import MemoryLog
from linkage_ledger.notes import SigningKey, sign_note
from linkage_ledger.verify import (
    BodyRow,
    CheckpointRow,
    EventRow,
    HeadRow,
    LogSource,
    NodeRow,
    Report,
    verify_log,
)
from support.ledger_logs import KEY, ORIGIN, make_header, make_log


def check(log: LogSource, kept: str | None = None) -> Report:
    return verify_log(log, [KEY.verifier], expected_checkpoint=kept)


def said(report: Report) -> list[tuple[str, int | None]]:
    assert not report.verified
    return [(finding.where, finding.seq) for finding in report.findings]


@pytest.fixture
def log() -> MemoryLog:
    return make_log(20, checkpoint_every=6, body_every=3)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 64, 100, 1000])
@pytest.mark.parametrize("checkpoint_every", [0, 1, 7])
def test_good_log_has_no_finding(size: int, checkpoint_every: int) -> None:
    log = make_log(size, checkpoint_every=checkpoint_every, body_every=4)
    report = check(log)
    assert report.findings == ()
    assert report.verified
    assert (report.size, report.root) == (size, log.head().root)
    assert report.signed_size == (size if checkpoint_every else 0)


def test_log_before_its_first_event_needs_no_head() -> None:
    class NoHead(MemoryLog):
        def head(self) -> HeadRow:
            return None  # type: ignore[return-value]  # a MemoryLog always has a head; a database may not yet

    assert check(NoHead()).verified
    log = NoHead()
    log.append(make_header())
    assert said(check(log)) == [("head", None)]


def test_good_log_continues_the_kept_checkpoint(log: MemoryLog) -> None:
    kept = log.checkpoint_rows[6].note
    log.append(make_header(99))
    report = check(log, kept)
    assert report.verified
    assert (report.size, report.signed_size) == (21, 20)


def test_progress_is_told_up_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    verify_log(make_log(1500), [], progress=lambda done, total: told.append((done, total)))
    assert told == [(1000, 1500), (1500, 1500)]


def test_disposed_body_has_no_finding(log: MemoryLog) -> None:
    log.dispose_of_body(3)
    assert check(log).verified


def test_body_missing_without_a_mark_is_found(log: MemoryLog) -> None:
    del log.body_rows[3]
    log.body_rows[6] = BodyRow(seq=6, salt=None, body=None)
    assert said(check(log)) == [("bodies", 3), ("bodies", 6)]


def test_body_still_held_under_the_mark_is_found(log: MemoryLog) -> None:
    log.body_rows[3] = replace(log.body_rows[3], disposed=True)
    log.body_rows[6] = replace(log.body_rows[6], disposed=True, body=None)
    assert said(check(log)) == [("bodies", 3), ("bodies", 6)]


def test_body_half_gone_is_found(log: MemoryLog) -> None:
    log.body_rows[3] = replace(log.body_rows[3], body=None)
    log.body_rows[6] = replace(log.body_rows[6], salt=None)
    assert said(check(log)) == [("bodies", 3), ("bodies", 6)]


def test_body_nobody_announced_is_found(log: MemoryLog) -> None:
    log.body_rows[4] = BodyRow(seq=4, salt=events.new_salt(), body=b"{}")
    log.body_rows[77] = BodyRow(seq=77, salt=None, body=None, disposed=True)
    assert said(check(log)) == [("bodies", 4), ("bodies", 77)]


def test_header_changed_is_blamed_on_that_event_alone(log: MemoryLog) -> None:
    row = log.event_rows[5]
    log.event_rows[5] = replace(row, header=row.header.replace(b"refused", b"success"))
    report = check(log)
    assert said(report) == [("events", 5)]
    assert "header was changed" in report.findings[0].what
    assert report.root == log.head().root


def test_header_and_its_hash_changed_are_found_by_tree_and_checkpoints(log: MemoryLog) -> None:
    row = log.event_rows[5]
    header = row.header.replace(b"refused", b"success")
    copies = dict(row.copies) | {"outcome": "success"}
    log.event_rows[5] = EventRow(seq=5, header=header, leaf_hash=merkle.leaf_hash(header), copies=copies)
    found = said(check(log))
    assert ("hash tree", 5) in found
    assert found.count(("checkpoints", None)) == 4
    assert ("head", None) in found


def test_log_rewritten_and_signed_again_is_found_with_the_kept_checkpoint(log: MemoryLog) -> None:
    kept = log.checkpoint_rows[12].note
    rewritten = make_log(20, checkpoint_every=6, body_every=3)
    assert check(rewritten).verified
    assert said(check(rewritten, kept)) == [("kept checkpoint", None)]


def test_log_cut_short_and_tidied_is_found_with_the_kept_checkpoint(log: MemoryLog) -> None:
    kept = log.checkpoint_rows[20].note
    short = MemoryLog()
    for row in log.event_rows[:18]:
        short.append(events.parse(row.header))
        if row.seq in log.body_rows:
            short.body_rows[row.seq] = log.body_rows[row.seq]
    assert check(short).verified
    report = check(short, kept)
    assert said(report) == [("kept checkpoint", None)]
    assert "20 events, but 18" in report.findings[0].what


def test_kept_checkpoint_that_is_not_genuine_is_found(log: MemoryLog) -> None:
    stranger = SigningKey.generate(ORIGIN)
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=20, root=log.head().root), stranger)
    assert said(check(log, note)) == [("kept checkpoint", None)]


def test_event_removed_is_found_by_its_trace(log: MemoryLog) -> None:
    del log.event_rows[4]
    assert said(check(log)) == [("events", 4)]
    del log.event_rows[-1]
    assert said(check(log)) == [("events", 4), ("events", 19)]


def test_event_removed_with_its_trace_is_found(log: MemoryLog) -> None:
    del log.event_rows[4:6]
    del log.node_rows[0, 4]
    del log.node_rows[0, 5]
    report = check(log)
    assert said(report)[0] == ("events", 4)
    assert (report.size, report.root) == (4, merkle.root(log.tree, 4))
    assert report.signed_size == 0


def test_single_event_removed_with_its_trace_is_found(log: MemoryLog) -> None:
    del log.event_rows[3]
    del log.node_rows[0, 3]
    report = check(log)
    assert said(report)[0] == ("events", 3)
    assert ("bodies", 3) in said(report)
    assert "The event is missing, without a trace" in report.findings[0].what


def test_events_removed_at_the_end_are_found_by_head_and_checkpoint(log: MemoryLog) -> None:
    del log.event_rows[18:]
    for place in [(0, 18), (0, 19), (1, 9), (2, 4)]:
        del log.node_rows[place]
    log.body_rows.pop(18)
    assert said(check(log)) == [("head", None), ("checkpoints", None)]


def test_events_swapped_are_found(log: MemoryLog) -> None:
    fourth, fifth = log.event_rows[4:6]
    log.event_rows[4:6] = [replace(fifth, seq=4), replace(fourth, seq=5)]
    assert not check(log).verified


def test_event_added_in_secret_is_found(log: MemoryLog) -> None:
    log.event_rows.append(replace(log.event_rows[5], seq=20))
    assert ("head", None) in said(check(log))


def test_event_repeated_is_found(log: MemoryLog) -> None:
    log.event_rows.insert(5, log.event_rows[5])
    assert said(check(log)) == [("events", None)]


def test_event_with_an_absurd_number_is_found_in_time(log: MemoryLog) -> None:
    for seq in (-1, 2**40, 2**63, 2**70):
        log.event_rows[19] = replace(log.event_rows[19], seq=seq)
        log.event_rows.sort(key=lambda row: row.seq)
        assert not check(log).verified
        log.event_rows = list(make_log(20, checkpoint_every=6, body_every=3).event_rows)


def test_copy_missing_extra_or_different_is_found(log: MemoryLog) -> None:
    row = log.event_rows[2]
    for copies in (
        {name: value for name, value in row.copies.items() if name != "purpose"},
        dict(row.copies) | {"subject": "P. Example"},
        dict(row.copies) | {"actor_org": None},
        dict(row.copies) | {"actor_org": "org_b"},
    ):
        log.event_rows[2] = replace(row, copies=copies)
        report = check(log)
        assert said(report) == [("events", 2)]
        assert "Example" not in report.findings[0].what


def test_header_that_is_genuine_but_unknown_is_found() -> None:
    log = MemoryLog()
    header = b'{"v":9}'
    leaf = merkle.leaf_hash(header)
    log.event_rows.append(EventRow(seq=0, header=header, leaf_hash=leaf, copies={}))
    log.node_rows[0, 0] = NodeRow(level=0, index=0, hash=leaf)
    log.head_row = HeadRow(size=1, root=leaf)
    assert said(check(log)) == [("events", 0)]


def test_cell_of_the_wrong_kind_is_found(log: MemoryLog) -> None:
    log.event_rows[1] = replace(log.event_rows[1], header=None)  # type: ignore[arg-type]  # what a damaged store gives
    log.event_rows[2] = replace(log.event_rows[2], leaf_hash="text")  # type: ignore[arg-type]  # the same
    log.event_rows[4] = replace(log.event_rows[4], header="", leaf_hash=b"")  # type: ignore[arg-type]  # the same
    log.node_rows[0, 7] = NodeRow(level=0, index=7, hash=None)  # type: ignore[arg-type]  # the same
    log.node_rows[1, 7] = NodeRow(level=1, index=7, hash=b"short")
    log.body_rows[3] = replace(log.body_rows[3], body="{}")  # type: ignore[arg-type]  # the same
    log.checkpoint_rows[6] = replace(log.checkpoint_rows[6], note=b"")  # type: ignore[arg-type]  # the same
    log.head_row = HeadRow(size="20", root=b"")  # type: ignore[arg-type]  # the same
    found = said(check(log))
    for expected in [
        ("events", 1),
        ("events", 2),
        ("events", 4),
        ("hash tree", 7),
        ("hash tree", 14),
        ("bodies", 3),
        ("checkpoints", None),
        ("head", None),
    ]:
        assert expected in found


def test_everything_about_one_event_gone_is_found(log: MemoryLog) -> None:
    log.event_rows[4] = replace(log.event_rows[4], header=None, leaf_hash=b"")  # type: ignore[arg-type]  # damaged store
    log.node_rows[0, 4] = NodeRow(level=0, index=4, hash=b"")
    assert ("events", 4) in said(check(log))


@pytest.mark.parametrize("place", [(0, 0), (0, 19), (1, 9), (2, 1), (4, 0)])
def test_node_changed_or_missing_is_found_once(log: MemoryLog, place: tuple[int, int]) -> None:
    row = log.node_rows[place]
    log.node_rows[place] = replace(row, hash=bytes(32))
    assert said(check(log)) == [("hash tree", place[1] << place[0])]
    del log.node_rows[place]
    assert said(check(log)) == [("hash tree", place[1] << place[0])]


@pytest.mark.parametrize("place", [(0, 20), (1, 10), (2, 5), (4, 1), (5, 0), (63, 0), (0, 2**50)])
def test_node_that_no_event_accounts_for_is_found(log: MemoryLog, place: tuple[int, int]) -> None:
    log.node_rows[place] = NodeRow(level=place[0], index=place[1], hash=bytes(32))
    assert said(check(log)) == [("hash tree", None)]


def test_node_at_a_negative_place_is_found(log: MemoryLog) -> None:
    log.node_rows[-1, 0] = NodeRow(level=-1, index=0, hash=bytes(32))
    assert said(check(log)) == [("hash tree", None)]


@pytest.mark.parametrize("head", [HeadRow(size=19, root=bytes(32)), HeadRow(size=20, root=bytes(32))])
def test_head_changed_is_found(log: MemoryLog, head: HeadRow) -> None:
    log.head_row = head
    assert ("head", None) in said(check(log))


def test_checkpoint_of_another_history_is_found(log: MemoryLog) -> None:
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=7, root=bytes(32)), KEY)
    log.checkpoint_rows[7] = CheckpointRow(size=7, root=bytes(32), note=note)
    assert said(check(log)) == [("checkpoints", None)]


def test_checkpoint_columns_that_differ_from_the_note_are_found(log: MemoryLog) -> None:
    row = log.checkpoint_rows[6]
    log.checkpoint_rows[6] = replace(row, root=bytes(32))
    log.checkpoint_rows[5] = replace(row, size=5)
    assert said(check(log)) == [("checkpoints", None), ("checkpoints", None)]


def test_checkpoint_beyond_the_end_is_found(log: MemoryLog) -> None:
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=25, root=bytes(32)), KEY)
    log.checkpoint_rows[25] = CheckpointRow(size=25, root=bytes(32), note=note)
    assert said(check(log)) == [("checkpoints", None)]


def test_checkpoint_with_a_strangers_signature_is_found(log: MemoryLog) -> None:
    row = log.checkpoint_rows[6]
    witness = SigningKey.generate("witness.example")
    text = row.note.rpartition("\n\n")[0] + "\n"
    log.checkpoint_rows[6] = replace(row, note=row.note + sign_note(text, witness).rpartition("\n\n")[2])
    assert said(check(log)) == [("checkpoints", None)]
    assert verify_log(log, [KEY.verifier, witness.verifier]).verified


def test_checkpoints_without_the_right_key_are_found(log: MemoryLog) -> None:
    report = verify_log(log, [])
    assert said(report) == [("checkpoints", None)] * 4
    assert report.signed_size == 0


def test_findings_beyond_the_limit_are_counted(log: MemoryLog) -> None:
    for place, row in log.node_rows.items():
        log.node_rows[place] = replace(row, hash=bytes(32))
    report = verify_log(log, [KEY.verifier], max_findings=5)
    assert len(report.findings) == 5
    assert report.findings_left_out == len(log.node_rows) - 5
    assert not verify_log(log, [KEY.verifier], max_findings=0).verified


def test_tree_lost_altogether_is_found_without_remembering_it_all(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkage_ledger.verify._MAX_CORRECTIONS", 3)
    log.node_rows.clear()
    assert ("hash tree", None) in said(check(log))
