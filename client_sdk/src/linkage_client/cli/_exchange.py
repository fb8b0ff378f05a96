"""What commands that share secrets have in common: the ceremony of the profile in force, and its passphrase."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from linkage_client.cli._passphrases import read_passphrase
from linkage_client.cli._session import Session, quieten_retries

if TYPE_CHECKING:
    from linkage_client.exchange.ceremony import Ceremony

passphrase_option: Callable[[Any], Any] = click.option(
    "--passphrase-file",
    metavar="FILE",
    help="Private file with the passphrase of sealed exchange keys; - for standard input. Default: you are asked.",
)


@contextmanager
def ceremony(session: Session, passphrase_file: str | None) -> "Iterator[Ceremony]":
    """The ceremony of the profile in force, connected."""
    from linkage_client.exchange.ceremony import Ceremony  # noqa: PLC0415 - keeps `--help` quick

    quieten_retries()
    profile = session.profile()
    with session.client() as client:
        # Of all that a command does with sealed keys, people are asked once.
        yield Ceremony(client, profile, passphrase=cache(lambda: read_passphrase(passphrase_file)))
