"""Passphrases come from private files, from standard input or from people, and from nowhere else."""

import io
import sys
from pathlib import Path

import click
import pytest

from linkage_client.cli._passphrases import choose_passphrase, read_passphrase
from linkage_client.errors import ConfigurationError

PASSPHRASE = "quince harbour ninety two"


class _Stdin(io.TextIOWrapper):
    """What is piped in."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))


def _file(folder: Path, content: bytes, *, mode: int = 0o600) -> str:
    path = folder / "passphrase"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_passphrase_in_a_file_counts_without_its_line_end(tmp_path: Path, end: str) -> None:
    assert read_passphrase(_file(tmp_path, f"{PASSPHRASE}{end}".encode())) == PASSPHRASE


def test_passphrase_from_standard_input_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(f"{PASSPHRASE}\n".encode()))
    assert choose_passphrase("-") == PASSPHRASE


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (PASSPHRASE.encode(), 0o644, "chmod 600"),
        (b"\xff\xfe", 0o600, "not text"),
        (b"a" * 5000, 0o600, "longer than"),
    ],
    ids=["readable by others", "no text", "another file"],
)
def test_passphrase_file_that_cannot_be_one_is_refused(tmp_path: Path, content: bytes, mode: int, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_passphrase(_file(tmp_path, content, mode=mode))


def test_passphrase_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        read_passphrase(str(tmp_path / "absent"))


def test_passphrase_without_anybody_to_ask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(b""))
    with pytest.raises(ConfigurationError, match="--passphrase-file"):
        read_passphrase(None)


def test_new_passphrase_is_typed_twice_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def prompt(_: str, **options: object) -> str:
        asked.update(options)
        return PASSPHRASE

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(click, "prompt", prompt)
    assert choose_passphrase(None) == PASSPHRASE
    assert asked["hide_input"] is True
    assert asked["confirmation_prompt"] is True
    assert read_passphrase(None) == PASSPHRASE
    assert asked["confirmation_prompt"] is False
