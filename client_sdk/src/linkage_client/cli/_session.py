"""What every command shares: the options `--config` and `--json`, profile, client, and how results are shown."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from linkage_client.config import Profile, load_profile, profile_path
from linkage_client.errors import ConfigurationError, DataError, FileFormatError, OutputExistsError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from linkage_client.client import LinkageClient

Parameters = ParamSpec("Parameters")
# Large enough for an agreement or a schema, too small to load an extract by mistake.
MAXIMUM_DOCUMENT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a command."""

    config: Path | None
    as_json: bool

    @property
    def profile_path(self) -> Path:
        """Where the profile file is, or would be."""
        return profile_path(option=self.config, environment=os.environ)

    def profile(self) -> Profile:
        """The profile file's content."""
        return load_profile(self.profile_path)

    def client(self) -> "LinkageClient":
        """A client for the service of the profile file."""
        from linkage_client.client import LinkageClient  # noqa: PLC0415 - keeps `--help` of each command quick

        quieten_retries()
        return LinkageClient.from_profile(self.profile())

    def show(self, result: "BaseModel | Mapping[str, Any]", lines: Iterable[str] | None = None) -> None:
        """One result on stdout: as JSON, or as lines for people (by default "name: value")."""
        document = as_document(result)
        if self.as_json:
            click.echo(json.dumps(document, indent=2))
            return
        for line in lines if lines is not None else _named_values(document):
            click.echo(printable(line))

    def show_list(
        self,
        items: Iterable["BaseModel"],
        *,
        columns: Sequence[str],
        worded: Callable[[Any], Mapping[str, str]] | None = None,
    ) -> None:
        """A list on stdout: `{"items": [...]}`, or one line an item with the named columns, separated by tabs.

        `worded` gives the columns of an item that have words of their own for people.
        """
        if self.as_json:
            click.echo(json.dumps({"items": [as_document(item) for item in items]}, indent=2))
            return
        self.say("\t".join(columns))
        for item in items:
            document = {**as_document(item), **(worded(item) if worded else {})}
            click.echo("\t".join(printable(cell(document.get(column))) for column in columns))

    def say(self, text: str) -> None:
        """A remark for people, on stderr."""
        click.echo(printable(text), err=True)


def common_options(
    command: Callable[Concatenate[Session, Parameters], None],
) -> Callable[..., None]:
    """Add `--config` and `--json` to a command and hand it a Session."""

    @click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Profile file to use.")
    @click.option("--json", "as_json", is_flag=True, help="Write one JSON document to stdout.")
    @functools.wraps(command)
    def with_session(config: Path | None, *args: Any, as_json: bool, **kwargs: Any) -> None:
        command(Session(config=config, as_json=as_json), *args, **kwargs)

    return with_session


def as_document(result: "BaseModel | Mapping[str, Any]") -> dict[str, Any]:
    """A result as plain JSON."""
    if isinstance(result, Mapping):
        return dict(result)
    return result.model_dump(mode="json")


def printable(text: str) -> str:
    """Text without control characters but tabs, so that a name from elsewhere cannot rewrite what a terminal shows."""
    return "".join(character if character.isprintable() or character == "\t" else " " for character in text)


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object from a file, such as an agreement or a linkage schema.

    Raises:
        DataError: it cannot be read.
        FileFormatError: it is not a JSON object.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAXIMUM_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if len(raw) > MAXIMUM_DOCUMENT_BYTES:
        raise FileFormatError(f"{path} is too large for a JSON document. Name the right file.")
    try:
        document = json.loads(raw)
    except ValueError:
        raise FileFormatError(f"{path} is not JSON. Name the right file, or mend it.") from None
    if not isinstance(document, dict):
        raise FileFormatError(f"{path} holds JSON, but not an object. Name the right file.")
    return document


def write_document(path: Path, document: Mapping[str, Any], *, force: bool) -> None:
    """Write a JSON object to a file.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
    """
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            json.dump(document, file, indent=2, ensure_ascii=False)
            file.write("\n")
    except FileExistsError:
        raise OutputExistsError(f"{path} exists. Choose another name, or use --force.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.") from None


def read_token(path: str, *, prompt: str) -> str:
    """A secret text from a file, from standard input for "-", or from a prompt if that is a terminal.

    Raises:
        ConfigurationError: absent or empty.
    """
    if path == "-" and sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, err=True)).strip()
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"The file {path} cannot be read as text. Name the right file.") from None
    if not text.strip():
        raise ConfigurationError("The invitation is empty. Copy it whole, without quotation marks.")
    return text.strip()


def read_secret_file(path: str) -> bytes:
    """The linkage secret from a file, or from standard input for "-".

    Raises:
        SecretError: it cannot be read, a file is open to other accounts, or it is too short.
    """
    from linkage_client.encoding.key_check import read_secret, usable_secret  # noqa: PLC0415 - keeps `--help` quick

    return usable_secret(sys.stdin.buffer.read()) if path == "-" else read_secret(path)


def parse_delimiter(text: str | None) -> str | None:
    r"""One character; `\t` and `tab` stand for the tab, which is hard to type in a shell. None: find it out."""
    if text is None:
        return None
    delimiter = "\t" if text in {"\\t", "tab"} else text
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise click.UsageError("--delimiter needs one character, or tab.")
    return delimiter


def parse_mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    """`THEIRS=OURS` options as a dictionary."""
    mapping = {}
    for pair in pairs:
        theirs, sign, ours = pair.partition("=")
        if not sign or not theirs or not ours or theirs in mapping:
            raise click.UsageError("--map needs COLUMN-OF-THE-FILE=NAME-IN-THE-SCHEMA, each column once.")
        mapping[theirs] = ours
    return mapping


@contextmanager
def progress_bar(description: str, *, unit: str = "") -> Iterator[Callable[[int, int | None], None]]:
    """A function to call with (done, total); it draws a bar if stderr is a terminal, and is silent otherwise."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - as above

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn(unit))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def quieten_retries() -> None:
    """Retries are the transport's business: stamina would otherwise announce each through logging, or on stdout."""
    import stamina.instrumentation  # noqa: PLC0415 - only commands that use the service need it

    stamina.instrumentation.set_on_retry_hooks(())


def _named_values(document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        if value is not None:
            yield f"{name}: {cell(value)}"


def cell(value: Any) -> str:
    """A value of an answer on one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(cell(item) for item in value) or "-"
    if isinstance(value, dict):
        return " ".join(f"{name}={cell(item)}" for name, item in value.items())
    return str(value)
