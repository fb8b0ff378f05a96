"""What a bundle says when it is whole, and that whatever is done to it is found."""

import io
import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage_ledger import bundle_writer, merkle
from linkage_ledger.bundle import BundleLeaf, BundleReport, verify_bundle
from linkage_ledger.bundle_report import spoken_time
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint
from linkage_ledger.cosignatures import CosigningKey, WitnessKey, cosign
from linkage_ledger.errors import BundleError
from linkage_ledger.handover import sign_handover
from linkage_ledger.notes import SigningKey, split_note
from support.bundles import (
    DOCUMENTS,
    FIRST,
    LAST,
    MADE_AT,
    QUESTION,
    SIZE,
    STRANGER,
    a_log,
    append_raw,
    bundle_of_header,
    by_digest,
    fine_headers,
    forged_history,
    forgeries,
    leaves_of,
    make_bundle,
    members_of,
    odd_headers,
    with_manifest,
    with_members,
)
from support.ledger_logs import KEY, make_header, make_log

LOG = a_log()
GOOD = make_bundle(LOG)
FORGERIES = forgeries(LOG)


def check(
    bundle: bytes, *, against: str | None = None, keys: tuple[SigningKey, ...] = (KEY,), **more: Any
) -> BundleReport:
    return verify_bundle(io.BytesIO(bundle), verifier_keys=[key.verifier for key in keys], against=against, **more)


def kept(size: int, log: Any = LOG) -> str:
    note: str = log.checkpoint_rows[size].note
    return note


def test_whole_bundle_says_so_in_plain_words() -> None:
    report = check(GOOD, against=kept(9))
    assert report.status == "whole"
    assert report.lines == (
        "Whole: everything in this bundle is as it was recorded.",
        "14 events; none missing between 5 and 18.",
        "The checkpoint is of 24 events: 5 before these and 5 after them are not in the bundle.",
        "The first event shown is of 1 March 2026, 12:00:05 UTC, the last of 1 March 2026, 12:00:18 UTC.",
        "Nothing changed since the checkpoint you kept, of 9 events.",
        f"Signed by {KEY.verifier.format()}, a key that you gave.",
        (
            "Shown as hashes only: 3. They are there, unread; that they belong to others is the word of whoever made "
            "the bundle."
        ),
        "Events with their details: 4.",
        "Documents that its events name (agreements, policy texts), each as they say: 2.",
        f'What was asked for: "{QUESTION}". Made on 3 March 2026, 09:00:00 UTC. Nobody signed these words.',
    )


def test_bundle_is_written_the_same_each_time() -> None:
    assert make_bundle(LOG) == GOOD
    assert list(members_of(GOOD)) == [
        "README.txt",
        "verify.html",
        "bundle.json",
        "checkpoint.txt",
        "keys.txt",
        *(f"documents/{digest}" for digest in sorted(DOCUMENTS)),
        "events/000001.txt",
    ]


def test_bundle_is_written_to_what_cannot_seek() -> None:
    class Socket(io.RawIOBase):
        def __init__(self) -> None:
            self.sent = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.sent += data
            return len(data)

    socket = Socket()
    left, right = merkle.range_proof(LOG.tree, FIRST, LAST + 1, SIZE)
    bundle_writer.write_bundle(
        socket,  # type: ignore[arg-type]  # only write is used
        leaves=iter(leaves_of(LOG, FIRST, LAST, hide_every=4)),
        first=FIRST,
        last=LAST,
        size=SIZE,
        left=left,
        right=right,
        checkpoint=kept(SIZE),
        verifier_keys=[KEY.verifier.format()],
        documents=DOCUMENTS,
        question=QUESTION,
        made_at=MADE_AT,
    )
    assert bytes(socket.sent) == GOOD


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_bundle_is_found(name: str) -> None:
    try:
        report = check(FORGERIES[name])
    except BundleError:
        return
    assert report.status == "broken"


@pytest.mark.parametrize(
    ("name", "where", "seq", "words"),
    [
        ("header changed", "events", 7, "was changed after it was recorded"),
        ("body changed", "events", 6, "body or its salt was changed"),
        ("event removed", "events", 7, "is missing"),
        ("last event removed", "events", 18, "should go on to 18"),
        ("first event removed", "events", 5, "is missing"),
        ("checkpoint by a stranger", "checkpoint", None, "not genuine by the keys you gave"),
        ("document changed", "documents", None, "not the one that its digest names"),
    ],
)
def test_finding_says_where(name: str, where: str, seq: int | None, words: str) -> None:
    found = check(FORGERIES[name]).findings[0]
    assert (found.where, found.seq) == (where, seq)
    assert words in found.what


def _is_found(bundle: bytes) -> bool:
    try:
        return check(bundle, against=kept(9)).status == "broken"
    except BundleError:
        return True


def test_any_single_byte_that_changes_is_found() -> None:
    """Every byte, but of README.txt and verify.html, which one checksum each covers, every hundredth."""
    log = a_log(10)
    bundle = make_bundle(log, 5, 8, documents=dict([next(iter(DOCUMENTS.items()))]))
    start = bundle.index(members_of(bundle)["bundle.json"])
    places = [*range(0, start, 100), *range(start - 50, len(bundle))]
    missed = []
    for at in places:
        changed = bytearray(bundle)
        changed[at] ^= 1 << random.Random(at).randrange(8)
        if not _is_found(bytes(changed)):
            missed.append(at)
    assert missed == []


@settings(max_examples=150)
@given(st.integers(0, len(GOOD)), st.integers(0, 40), st.binary(max_size=40))
def test_bundle_with_bytes_replaced_is_found_or_the_same(at: int, length: int, piece: bytes) -> None:
    changed = GOOD[:at] + piece + GOOD[at + length :]
    assert changed == GOOD or _is_found(changed)


@settings(max_examples=100)
@given(st.binary(max_size=400), st.sampled_from(["bundle__json", "checkpoint__txt", "keys__txt", "events"]))
def test_member_of_any_bytes_is_answered_in_words(content: bytes, name: str) -> None:
    assert _is_found(with_members(GOOD, **{name: content}))


@pytest.mark.parametrize("name", odd_headers())
def test_header_that_no_product_writes_is_found_though_it_is_signed(name: str) -> None:
    report = check(bundle_of_header(odd_headers()[name]))
    assert [(found.where, found.seq) for found in report.findings] == [("events", 2)]


@pytest.mark.parametrize("name", fine_headers())
def test_unusual_header_is_whole(name: str) -> None:
    assert check(bundle_of_header(fine_headers()[name])).status == "whole"


def test_without_a_key_the_answer_is_that_nobody_vouches() -> None:
    forged = forged_history(STRANGER, log=LOG)
    report = check(forged, keys=())
    assert (report.status, report.own_key_only) == ("unclear", True)
    assert report.headline.startswith("Whole by its own word only")
    assert any("Whoever made the bundle could have made this key" in line for line in report.lines)
    assert check(forged).status == "broken"
    assert check(FORGERIES["header changed"], keys=()).status == "broken"


def test_words_that_nobody_signed_are_said_to_be_so() -> None:
    report = check(with_manifest(GOOD, question="everything there is"))
    assert report.status == "whole"
    assert report.lines[-1].startswith('What was asked for: "everything there is".')
    assert report.lines[-1].endswith("Nobody signed these words.")


# Against what the officer kept.


def test_kept_checkpoint_within_the_range_needs_no_proof() -> None:
    for size in [*range(FIRST, LAST + 2), SIZE]:
        against = check(GOOD, against=kept(size)).against
        assert against is not None
        assert against.continued is True, size
    dated = check(GOOD, against=kept(8)).against
    assert dated is not None
    assert dated.last_event_at == "2026-03-01T12:00:07.000000Z"


def test_kept_checkpoint_outside_the_range_needs_the_proof_that_a_bundle_can_carry() -> None:
    report = check(GOOD, against=kept(3))
    assert report.status == "unclear"
    assert any("Ask for a bundle that was made against this checkpoint" in line for line in report.lines)
    proof = merkle.consistency_proof(LOG.tree, 3, SIZE)
    carrying = make_bundle(LOG, consistency=(kept(3), proof))
    assert check(carrying, against=kept(3)).status == "whole"
    assert check(carrying).kept is not None
    assert any("Only one that you kept yourself" in line for line in check(carrying).lines)
    wrong = make_bundle(LOG, consistency=(kept(3), [proof[0], b"\xee" * 32, *proof[2:]]))
    assert check(wrong, against=kept(3)).status == "broken"


def test_empty_log_is_continued_by_any() -> None:
    empty = sign_checkpoint(Checkpoint(KEY.name, 0, merkle.EMPTY_ROOT), KEY)
    assert check(GOOD, against=empty).status == "whole"


@pytest.mark.parametrize("size", [FIRST, 9, LAST + 1, SIZE])
def test_kept_checkpoint_of_another_history_is_an_alarm(size: int) -> None:
    forged = forged_history(KEY, log=LOG)
    assert check(forged).status == "whole"
    report = check(forged, against=kept(size))
    rewritten = size > FIRST + 1
    assert report.status == ("broken" if rewritten else "whole")
    if rewritten:
        assert "history was rewritten" in report.findings[0].what


def test_kept_checkpoint_that_is_longer_than_the_bundles_log_is_an_alarm() -> None:
    longer = a_log(SIZE + 3)
    report = check(GOOD, against=kept(SIZE + 3, longer))
    assert report.status == "broken"
    assert "the log was cut" in report.findings[0].what


def test_kept_checkpoint_by_another_key_is_an_alarm() -> None:
    other = sign_checkpoint(Checkpoint(KEY.name, 9, b"\x01" * 32), STRANGER)
    assert check(GOOD, against=other).status == "broken"
    assert check(GOOD, against=other, keys=()).status == "broken"


def test_kept_checkpoint_that_is_none_is_said_to_be_so() -> None:
    with pytest.raises(BundleError, match="you kept"):
        check(GOOD, against="something else")


# Who else signed, and when the key changed.


def test_witnesses_are_named_and_checked_where_their_key_is_given() -> None:
    witness = CosigningKey.generate("witness.example")
    text, _ = split_note(kept(SIZE))
    cosigned = kept(SIZE) + cosign(text, witness, time=1_772_449_200)
    bundle = make_bundle(LOG, checkpoint=cosigned)
    assert "Also signed by witness.example, not checked: give its key to check it." in check(bundle).lines
    report = check(bundle, witnesses=[witness.verifier])
    assert "Cosigned by the witness witness.example on 2 March 2026, 11:00:00 UTC." in report.lines
    false = WitnessKey(witness.name, CosigningKey.generate("x").verifier.public_bytes)
    assert check(bundle, witnesses=[false]).cosigned_by[0].at is None
    damaged = kept(SIZE) + cosign(text.replace("24", "23"), witness, time=1_772_449_200)
    assert check(make_bundle(LOG, checkpoint=damaged), witnesses=[witness.verifier]).status == "broken"


def test_key_that_was_handed_over_is_followed() -> None:
    new = SigningKey.generate(KEY.name)
    handover = sign_handover(size=10, root=check_root(10), old=KEY, new=new)
    note = sign_checkpoint(Checkpoint(KEY.name, SIZE, LOG.head_row.root), new)
    bundle = make_bundle(LOG, checkpoint=note, verifier_keys=[new.verifier.format()], handovers=[handover])
    for trusted in (KEY, new):
        report = check(bundle, keys=(trusted,), against=kept(9))
        assert report.status == "whole"
        assert "Hand-overs of the log's key, each signed by both keys: 1." in report.lines
        whose = (
            "a key that you gave."
            if trusted is new
            else ("tied to a key that you gave by hand-overs of the log's key, the last at 10 events.")
        )
        assert f"Signed by {new.verifier.format()}, {whose}" in report.lines
        assert report.not_compared == ()
    later = make_bundle(LOG, 11, LAST, checkpoint=note, handovers=[handover])
    assert any("Not compared with what both keys signed at 10 events" in line for line in check(later).lines)
    assert check(bundle, keys=(STRANGER,)).status == "broken"
    by_the_old_key = make_bundle(LOG, handovers=[handover])
    assert check(by_the_old_key).status == "broken"
    elsewhere = sign_handover(size=10, root=b"\x01" * 32, old=KEY, new=new)
    assert check(make_bundle(LOG, checkpoint=note, handovers=[elsewhere])).status == "broken"
    damaged = make_bundle(LOG, checkpoint=note, handovers=[handover.replace("\n10\n", "\n11\n")])
    assert check(damaged).findings[0].where == "key hand-overs"


def test_log_of_a_retired_key_that_ends_before_its_hand_over_is_found() -> None:
    new = SigningKey.generate(KEY.name)
    beyond = sign_handover(size=SIZE + 6, root=b"\x01" * 32, old=KEY, new=new)
    report = check(make_bundle(LOG, handovers=[beyond]), keys=(new,))
    assert report.status == "broken"
    assert "older than the last hand-over" in report.findings[0].what
    at_the_end = sign_handover(size=SIZE, root=check_root(SIZE), old=KEY, new=new)
    assert check(make_bundle(LOG, handovers=[at_the_end]), keys=(new,)).status == "whole"
    forked = sign_handover(size=SIZE, root=b"\x01" * 32, old=KEY, new=new)
    assert "contradicts the hand-over" in check(make_bundle(LOG, handovers=[forked]), keys=(new,)).findings[0].what


def test_two_keys_of_one_log_need_the_hand_over_between_them() -> None:
    report = check(GOOD, keys=(KEY, SigningKey.generate(KEY.name)))
    assert report.status == "broken"
    assert "two keys of one log" in report.findings[0].what


def test_documents_that_no_event_names_are_vouched_for_by_nobody() -> None:
    report = check(make_bundle(LOG, documents={**DOCUMENTS, **by_digest(b"another")}))
    assert (report.documents, report.unnamed_documents) == (2, 1)
    assert "Documents that no event shown here names: 1. Nobody vouches for them." in report.lines


def test_bundle_of_hashes_only_shows_nothing() -> None:
    hashes = [replace(leaf, header=None, salt=None, body=None) for leaf in leaves_of(LOG, FIRST, LAST)]
    report = check(make_bundle(LOG, leaves=hashes))
    assert report.status == "unclear"
    assert report.headline.endswith("it shows no event, only hashes.")
    assert (report.documents, report.unnamed_documents) == (0, 2)


def test_bundle_of_the_whole_log_says_so() -> None:
    assert "These are all the events that the checkpoint speaks of." in check(make_bundle(LOG, 0, SIZE - 1)).lines


def check_root(size: int) -> bytes:
    return merkle.root(LOG.tree, size)


# What else is said.


def test_documents_that_are_missing_are_named() -> None:
    report = check(make_bundle(LOG, documents={}))
    assert report.status == "whole"
    assert report.missing_documents[0] == "agreement agr_1, version 1"
    assert report.missing_documents[1].startswith("the policy text ")


def test_times_that_run_backwards_are_reported() -> None:
    log = make_log(3)
    log.append(make_header(0))
    report = check(make_bundle(log, 0, 3, documents={}))
    assert report.status == "whole"
    assert any("Times run backwards at 1 event, first at 3, by 2.000 seconds" in line for line in report.lines)


def test_disposed_bodies_are_the_operators_word() -> None:
    log = a_log()
    log.dispose_of_body(6)
    report = check(make_bundle(log))
    assert (report.status, report.disposed) == ("whole", 1)
    assert any("That is the operator's word" in line for line in report.lines)


def test_withheld_bodies_are_counted_and_are_no_finding() -> None:
    log = a_log()
    leaves = [
        replace(leaf, salt=None, body=None, withheld=True) if leaf.body is not None else leaf
        for leaf in leaves_of(log, 0, log.head_row.size - 1)
    ]
    report = check(make_bundle(log, 0, len(leaves) - 1, leaves=leaves))
    assert (report.status, report.bodies) == ("whole", 0)
    assert report.withheld == sum(leaf.withheld for leaf in leaves) > 0
    assert any("not for the reader of this bundle" in line for line in report.lines)


def test_body_that_is_said_to_be_withheld_and_never_was_is_found() -> None:
    log = a_log()
    leaves = leaves_of(log, 0, log.head_row.size - 1)
    bare = next(leaf.seq for leaf in leaves if leaf.body is None and not leaf.disposed)
    leaves[bare] = replace(leaves[bare], withheld=True)
    report = check(make_bundle(log, 0, len(leaves) - 1, leaves=leaves))
    assert [(finding.seq, finding.what) for finding in report.findings] == [
        (bare, "A body is said to be withheld that the event never had.")
    ]


def test_page_that_was_exchanged_is_reported() -> None:
    report = check(with_members(GOOD, verify__html=b"<p>All is well.</p>"))
    assert report.status == "whole"
    assert report.lines[-1].startswith("The verify.html in it is not the one of this release.")


def test_many_findings_are_counted_and_not_kept() -> None:
    log = make_log(250)
    leaves = [replace(leaf, leaf_hash=b"\xee" * 32) for leaf in leaves_of(log, 0, 249)]
    report = check(make_bundle(log, 0, 249, leaves=leaves))
    assert len(report.findings) == 100
    assert report.findings_left_out == 151


def test_events_are_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_writer, "_PART_BYTES", 2000)
    bundle = make_bundle(LOG)
    assert sum(name.startswith("events/") for name in members_of(bundle)) > 3
    assert check(bundle).status == "whole"


@pytest.mark.parametrize(
    "leaf",
    [
        BundleLeaf(5, b"short"),
        BundleLeaf(5, b"\x00" * 32, None, b"\x00" * 32, b"{}"),
        BundleLeaf(5, b"\x00" * 32, None, disposed=True),
        BundleLeaf(5, b"\x00" * 32, b"a\nb"),
        BundleLeaf(5, b"\x00" * 32, b""),
        BundleLeaf(5, b"\x00" * 32, b"{}", b"short", b"{}"),
        BundleLeaf(5, b"\x00" * 32, b"{}", None, b"{}"),
        BundleLeaf(5, b"\x00" * 32, b"{}", b"\x00" * 32, None),
        BundleLeaf(5, b"\x00" * 32, b"{}", b"\x00" * 32, b"{}", disposed=True),
        BundleLeaf(5, b"\x00" * 32, None, withheld=True),
        BundleLeaf(5, b"\x00" * 32, b"{}", b"\x00" * 32, b"{}", withheld=True),
        BundleLeaf(5, b"\x00" * 32, b"{}", b"\x00" * 32, b"x" * 2**24),
        BundleLeaf(6, b"\x00" * 32),
    ],
)
def test_leaf_that_no_log_holds_is_not_written(leaf: BundleLeaf) -> None:
    with pytest.raises(BundleError, match=r"[Ee]vent [56] "):
        make_bundle(LOG, 5, 5, leaves=[leaf])


@pytest.mark.parametrize(
    "change",
    [
        {"leaves": []},
        {"checkpoint": kept(SIZE - 1)},
        {"checkpoint": "nothing"},
        {"question": "two\nlines"},
        {"question": "\ud800"},
        {"made_at": "yesterday"},
        {"documents": {"../name": b""}},
        {"documents": {"0" * 64: b"x" * (2**24 + 1)}},
        {"left": [b"\x00" * 32] * 107},
        {"right": [b"short"]},
    ],
)
def test_arguments_that_do_not_go_together_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        make_bundle(LOG, **change)


def test_member_that_claims_a_great_size_is_not_read() -> None:
    members = members_of(GOOD)
    large = with_members(GOOD, README__txt=members["README.txt"] + b" " * 2**20)
    with pytest.raises(BundleError, match="larger than it can be"):
        check(large)


def test_report_is_json() -> None:
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(check(GOOD))))["shown"] == 11


def test_spoken_time_of_anything_else_is_as_it_is() -> None:
    assert spoken_time("2026-13-01T00:00:00Z") == "2026-13-01T00:00:00Z"
    assert spoken_time("2026-12-01T00:00:00Z") == "1 December 2026, 00:00:00 UTC"


def test_raw_header_of_a_signed_log_is_shown_as_it_is() -> None:
    log = a_log(3)
    append_raw(log, b"not a header")
    assert check(make_bundle(log, 0, 3)).findings[0].seq == 3
