"""The command linkage-ledger, as an officer types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from linkage_ledger import merkle
from linkage_ledger.bundle import verify_page
from linkage_ledger.cli import main
from linkage_ledger.handover import sign_handover
from linkage_ledger.notes import SigningKey
from support.bundles import SIZE, STRANGER, a_log, forgeries, make_bundle
from support.ledger_logs import KEY

LOG = a_log()
KEY_LINE = KEY.verifier.format()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundle.zip").write_bytes(make_bundle(LOG))
    (tmp_path / "forged.zip").write_bytes(forgeries(LOG)["header changed"])
    (tmp_path / "key.txt").write_text(KEY_LINE + "\n", encoding="utf-8")
    (tmp_path / "kept.txt").write_text(LOG.checkpoint_rows[9].note, encoding="utf-8")
    (tmp_path / "early.txt").write_text(LOG.checkpoint_rows[2].note, encoding="utf-8")
    (tmp_path / "receipt.tlog-proof").write_text(
        LOG.receipt(7, LOG.checkpoint_rows[SIZE].note).text(), encoding="utf-8"
    )
    (tmp_path / "header.json").write_bytes(LOG.event_rows[7].header)
    (tmp_path / "other.json").write_bytes(LOG.event_rows[8].header)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "large.txt").write_bytes(b"a" * (2**20 + 1))
    return tmp_path


def run(folder: Path, *words: str) -> int:
    """The exit code; words that are names of files in the folder become their paths."""
    return main([str(folder / word) if (folder / word).exists() else word for word in words])


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (
            ["--key", "key.txt", "--against", "kept.txt"],
            0,
            "Nothing changed since the checkpoint you kept, of 9 events.",
        ),
        (["--key", KEY_LINE], 0, "14 events; none missing between 5 and 18."),
        (["--key", STRANGER.verifier.format()], 1, "not genuine by the keys you gave"),
        ([], 3, "Whole by its own word only"),
        (["--key", "key.txt", "--against", "early.txt"], 3, "It could not be compared with the checkpoint you kept"),
    ],
)
def test_verify_answers_in_words_and_by_its_exit_code(
    folder: Path, words: list[str], code: int, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "verify", "bundle.zip", *words) == code
    assert answer in capsys.readouterr().out


def test_verify_of_a_forged_bundle_ends_with_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "verify", "forged.zip", "--key", "key.txt") == 1
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("Does not hold")
    assert second == "Event 7: The event was changed after it was recorded: the log has another hash."


def test_characters_that_a_terminal_obeys_are_not_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bundle.zip").write_bytes(make_bundle(LOG, question="all \x9b31m \u202e"))
    run(folder, "verify", "bundle.zip")
    run(folder, "verify", "bundle.zip", "--json")
    assert not {"\x9b", "\u202e"} & set(capsys.readouterr().out)


def test_verify_as_json_holds_status_and_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "verify", "forged.zip", "--key", "key.txt", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["status"], answer["findings"][0]["seq"]) == ("broken", 7)
    assert answer["lines"][0].startswith("Does not hold")


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "key.txt", "--key", "key.txt"],
        ["verify", "nowhere.zip"],
        ["verify", "bundle.zip", "--key", "no key"],
        ["verify", "bundle.zip", "--key", "empty.txt"],
        ["verify", "bundle.zip", "--key", "binary"],
        ["verify", "bundle.zip", "--against", "large.txt"],
        ["verify", "bundle.zip", "--against", "key.txt"],
        ["check-receipt", "key.txt", "header.json", "--key", "key.txt"],
    ],
)
def test_what_cannot_be_read_ends_with_2_and_one_line(
    folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, *words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("linkage-ledger: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["verify"], ["verify", "a", "b"], ["nothing"], ["check-receipt", "a", "b"]])
def test_wrong_usage_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: linkage-ledger" in capsys.readouterr().err


def test_receipt_is_checked_with_its_header(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "check-receipt", "receipt.tlog-proof", "header.json", "--key", "key.txt") == 0
    assert "exactly this header is event 7 of 24" in capsys.readouterr().out
    assert run(folder, "check-receipt", "receipt.tlog-proof", "other.json", "--key", "key.txt") == 1
    stranger = STRANGER.verifier.format()
    assert run(folder, "check-receipt", "receipt.tlog-proof", "header.json", "--key", stranger) == 1


def test_receipt_is_checked_across_a_handover(folder: Path) -> None:
    new = SigningKey.generate(KEY.name)
    note = sign_handover(size=SIZE, root=merkle.root(LOG.tree, SIZE), old=KEY, new=new)
    (folder / "handover.txt").write_text(note, encoding="utf-8")
    words = ["check-receipt", "receipt.tlog-proof", "header.json", "--key", new.verifier.format()]
    assert run(folder, *words) == 1
    assert run(folder, *words, "--handover", "handover.txt") == 0


def test_receipt_by_a_key_that_was_retired_since_is_not_fully_checked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = SigningKey.generate(KEY.name)
    words = ["check-receipt", "receipt.tlog-proof", "header.json", "--key", new.verifier.format()]
    for size, code, answer in (
        (SIZE + 6, 3, "Not fully checked. The checkpoint is older than the last hand-over"),
        (SIZE, 1, "Does not hold. The checkpoint contradicts the hand-over"),
    ):
        note = sign_handover(size=size, root=b"\x01" * 32, old=KEY, new=new)
        (folder / "handover.txt").write_text(note, encoding="utf-8")
        assert run(folder, *words, "--handover", "handover.txt") == code
        assert answer in capsys.readouterr().out


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_line_ends_that_an_editor_makes_do_no_harm(folder: Path, line_end: bytes) -> None:
    for name in ("kept.txt", "receipt.tlog-proof", "key.txt"):
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", line_end))
    header = folder / "header.json"
    header.write_bytes(header.read_bytes() + line_end)
    assert run(folder, "verify", "bundle.zip", "--key", "key.txt", "--against", "kept.txt") == 0
    assert run(folder, "check-receipt", "receipt.tlog-proof", "header.json", "--key", "key.txt") == 0
    header.write_bytes(header.read_bytes() + line_end)
    assert run(folder, "check-receipt", "receipt.tlog-proof", "header.json", "--key", "key.txt") == 1


def test_page_is_written_to_a_file(folder: Path) -> None:
    assert main(["verify-page", "--out", str(folder / "verify.html")]) == 0
    assert (folder / "verify.html").read_bytes() == verify_page()


def test_page_is_written_as_the_package_ships_it() -> None:
    command = [sys.executable, "-m", "linkage_ledger", "verify-page"]
    assert subprocess.run(command, check=True, capture_output=True, timeout=60).stdout == verify_page()
