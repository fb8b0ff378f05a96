"""Passphrases: from a private file, from standard input, or from a person; never from the command line."""

import sys
from pathlib import Path
from typing import Final

import click

from linkage_client._private_files import read_with_mode
from linkage_client.errors import ConfigurationError

# Longer than anything that a person types or a password manager makes.
_MAXIMUM_BYTES: Final = 4096


def read_passphrase(file: str | None, *, prompt: str = "Passphrase", option: str = "--passphrase-file") -> str:
    """The passphrase of something that is sealed already: from a private file, standard input for "-", or a person.

    Args:
        file: where it is; a person is asked without.
        prompt: what a person is asked for.
        option: by which the file is named, for the error where there is nobody to ask.

    Raises:
        ConfigurationError: it cannot be read, or there is nobody to ask.
    """
    return _from_file(file) if file is not None else _ask(prompt, confirm=False, option=option)


def choose_passphrase(file: str | None) -> str:
    """A passphrase for something that is going to be sealed; a person types it twice.

    Raises:
        ConfigurationError: it cannot be read, or there is nobody to ask.
    """
    return _from_file(file) if file is not None else _ask("Passphrase, 12 characters or more", confirm=True)


def _from_file(file: str) -> str:
    try:
        text = (sys.stdin.buffer.read(_MAXIMUM_BYTES + 1) if file == "-" else _private_bytes(Path(file))).decode()
    except UnicodeDecodeError:
        raise ConfigurationError("The passphrase is not text in UTF-8. Name the right file.") from None
    if len(text) > _MAXIMUM_BYTES:
        raise ConfigurationError(f"The passphrase is longer than {_MAXIMUM_BYTES} bytes. Name the right file.")
    return text.rstrip("\r\n")


def _private_bytes(file: Path) -> bytes:
    try:
        raw, mode = read_with_mode(file, maximum_bytes=_MAXIMUM_BYTES)
    except OSError as error:
        raise ConfigurationError(f"The passphrase file {file} cannot be read: {error.strerror}.") from None
    if mode is not None:
        raise ConfigurationError(
            f"The passphrase file {file} can be read by other accounts (mode {mode}). Run `chmod 600` on it, and "
            "choose another passphrase if they should not have it."
        )
    return raw


def _ask(prompt: str, *, confirm: bool, option: str = "--passphrase-file") -> str:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"A passphrase is needed, and there is no terminal to ask on. Use {option}.")
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))
