"""What every command shares: options, configuration, client, and how results, remarks and progress are shown."""

import functools
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec

import click

from linkage_client.config import (
    DEFAULT_TABLES,
    DEFAULT_TEXTS,
    Configuration,
    Places,
    Profile,
    Setting,
    discover,
    load_profile,
    profile_names,
    user_folder,
)
from linkage_client.errors import ConfigurationError, DataError, FileFormatError, OutputExistsError
from linkage_client.files import atomic_output

if TYPE_CHECKING:
    from pydantic import BaseModel

    from linkage_client.client import LinkageClient
    from linkage_client.keys import SigningKey
    from linkage_client.keystore import Secrets

Parameters = ParamSpec("Parameters")
Unit = Literal["", "rows", "bytes", "pairs"]
# Large enough for an agreement or a schema, too small to load an extract by mistake.
MAXIMUM_DOCUMENT_BYTES = 4 * 1024 * 1024
# Without a terminal, a step that takes long says every so often that it is alive.
REMARK_EVERY_S = 30.0
_NARROWEST = 40
_HELD_TOGETHER = "\N{NO-BREAK SPACE}%"
_QUIET = "linkage.quiet"
_DEFAULTS = "linkage.defaults"
_PROJECT_ARGUMENT = "project_id"
# Parameters that name a linkage schema instead of a project.
_SCHEMA_FILES = ("schema_file", "file")


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a command."""

    config: Path | None
    as_json: bool
    profile_name: str | None = None
    quiet: bool = False

    def configuration(self) -> Configuration:
        """What is in force, and where it comes from."""
        return discover(config=self.config, profile=self.profile_name, places=Places.of_this_process())

    @property
    def profile_path(self) -> Path:
        """Where the profile file is, or would be."""
        return self.configuration().profile_path

    def profile(self) -> Profile:
        """The profile file's content."""
        return load_profile(self.profile_path)

    def client(self) -> "LinkageClient":
        """A client for the service of the profile file."""
        from linkage_client.client import LinkageClient  # noqa: PLC0415 - keeps `--help` of each command quick

        quieten_retries()
        found = self.configuration()
        if found.chosen_beside_data:
            self.say(f"--profile {found.profile_name}   (from {found.profile_origin})")
        return LinkageClient.from_profile(load_profile(found.profile_path))

    def secrets(self) -> "Secrets":
        """The linkage secrets that this profile keeps."""
        from linkage_client.keystore import Secrets  # noqa: PLC0415 - keeps `--help` of each command quick

        return Secrets(self.profile())

    def linkage_secret(self, project_id: str | None, epoch: int, secret_file: str | None) -> bytes:
        """The linkage secret: from the file that was named ("-": standard input), else the one kept for the project.

        Raises:
            click.UsageError: neither a file nor a project was named.
            SecretError: it cannot be read, or none is kept for this project and epoch.
            KeystoreError: the keystore cannot be used.
        """
        if secret_file is not None:
            return read_secret_file(secret_file)
        if project_id is None:
            raise click.UsageError("Name the file of the linkage secret with --secret-file, or a project.")
        return self.secrets().read(project_id, epoch)

    def signing_key(self, file: Path | None = None) -> "SigningKey":
        """The organisation's key: from a file that was named, else the one of the profile.

        Raises:
            ConfigurationError: the profile names none.
        """
        from linkage_client.keys import SigningKey  # noqa: PLC0415 - keeps `--help` of each command quick
        from linkage_client.keystore import signing_key_of  # noqa: PLC0415 - as above

        if file is not None:
            return SigningKey.load(file)
        if (key := signing_key_of(self.profile())) is None:
            raise ConfigurationError("The profile file names no signing key. Name it with --signing-key.")
        return key

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
        """A list on stdout: `{"items": [...]}`, or one line an item with the named columns.

        They are separated by tabs, for programs; on a terminal they stand below each other.
        `worded` gives the columns of an item that have words of their own for people.
        """
        if self.as_json:
            click.echo(json.dumps({"items": [as_document(item) for item in items]}, indent=2))
            return
        cells = (
            [
                printable(cell({**as_document(item), **(worded(item) if worded else {})}.get(column)))
                for column in columns
            ]
            for item in items
        )
        head, *lines = _aligned([list(columns), *cells]) if sys.stdout.isatty() else map("\t".join, [columns, *cells])
        if not self.quiet:
            click.echo(head, err=True)
        for line in lines:
            click.echo(line)

    def say(self, text: str) -> None:
        """A remark for people, on stderr, unless they asked for quiet."""
        if not self.quiet:
            click.echo(fitted(printable(text)), err=True)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def fitted(text: str) -> str:
    """Words for stderr, broken between words where a terminal would break them anywhere; elsewhere as they are."""
    if not sys.stderr.isatty():
        return text
    columns = max(_NARROWEST, shutil.get_terminal_size().columns)
    return "\n".join(broken for line in text.split("\n") for broken in _broken(line, columns))


def _broken(line: str, columns: int) -> list[str]:
    if len(line) <= columns:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    lines = wrap(
        line.replace(" %", _HELD_TOGETHER),
        columns,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return [broken.replace(_HELD_TOGETHER, " %") for broken in lines]


def common_options(
    command: Callable[Concatenate[Session, Parameters], None],
) -> Callable[..., None]:
    """Add `--config`, `--profile`, `--json` and `--quiet` to a command, and hand it a Session.

    Options that `linkage.toml` may set get their defaults from there.
    """
    return _with_session(command, callback=_take_defaults)


def common_options_without_defaults(
    command: Callable[Concatenate[Session, Parameters], None],
) -> Callable[..., None]:
    """The same for commands that look at configuration themselves, and must start even if it is broken."""
    return _with_session(command, callback=None)


def _with_session(
    command: Callable[Concatenate[Session, Parameters], None],
    *,
    callback: Callable[[click.Context, click.Parameter, Any], Any] | None,
) -> Callable[..., None]:
    # Eager: before the other options are looked at, so that these can get their defaults.
    @click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        is_eager=True,
        callback=callback,
        help="Profile file to use.",
    )
    @click.option(
        "--profile",
        "profile_name",
        metavar="NAME",
        shell_complete=_profiles_that_begin_so,
        help="Profile to use, of those of `linkage config list`.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Write one JSON document to stdout.")
    @click.option(
        "-q", "--quiet", is_flag=True, is_eager=True, callback=_keep_quiet, help="No remarks and no progress."
    )
    @functools.wraps(command)
    def with_session(
        config: Path | None, profile_name: str | None, *args: Any, as_json: bool, quiet: bool, **kwargs: Any
    ) -> None:
        if config is not None and profile_name is not None:
            raise click.UsageError("--config names a profile file and --profile a profile: give one of them.")
        session = Session(config=config, profile_name=profile_name, as_json=as_json, quiet=quiet)
        context = click.get_current_context()
        given_up = _given_up_defaults(context)
        _say_defaults(session, context, given_up)
        command(session, *args, **{**kwargs, **given_up})

    return with_session


def _profiles_that_begin_so(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in profile_names(user_folder()) if name.startswith(incomplete)]


def _keep_quiet(context: click.Context, _: click.Parameter, value: bool) -> bool:  # noqa: FBT001 - click's signature
    context.meta[_QUIET] = value
    return value


def _take_defaults(context: click.Context, _: click.Parameter, value: Any) -> Any:
    """Give this command the defaults of `linkage.toml`: options by their names on the command line, and the project."""
    flags = {flag: name for name, flag in {**DEFAULT_TEXTS, **DEFAULT_TABLES}.items()}
    flags[_PROJECT_ARGUMENT] = "project"
    taking = {
        parameter.name: flags[flag] for parameter in context.command.params for flag in parameter.opts if flag in flags
    }
    if taking and not context.resilient_parsing:
        found = discover(config=None, profile=None, places=Places.of_this_process()).defaults
        settings = {name: found[member] for name, member in taking.items() if name and member in found}
        context.default_map = {name: setting.value for name, setting in settings.items()}
        context.meta[_DEFAULTS] = settings
    return value


def from_defaults(name: str) -> bool:
    """Whether the present command's parameter of this name has its value from `linkage.toml`."""
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT_MAP


def _given_up_defaults(context: click.Context) -> dict[str, None]:
    """The project of `linkage.toml`, where the command line names a file with a linkage schema in place of one."""
    typed = click.core.ParameterSource.COMMANDLINE
    file_is_typed = any(context.get_parameter_source(name) is typed for name in _SCHEMA_FILES)
    return {
        str(parameter.name): None
        for parameter in context.command.params
        if DEFAULT_TEXTS["project"] in parameter.opts
        and not parameter.required
        and file_is_typed
        and from_defaults(str(parameter.name))
    }


def _say_defaults(session: Session, context: click.Context, given_up: Mapping[str, None]) -> None:
    """One line for each file that options were taken from."""
    settings: Mapping[str, Setting] = context.meta.get(_DEFAULTS, {})
    taken: dict[str, list[str]] = {}
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in given_up or not from_defaults(name):
            continue
        flag = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else name.upper()
        file, _, _line = settings[name].origin.rpartition(":")
        taken.setdefault(file, []).append(f"{flag} {_in_short(settings[name].value)}")
    for file, options in taken.items():
        session.say(f"From {_near(file)}: {', '.join(options)}")


def _near(file: str) -> str:
    """The bare name of a file in the working folder: its whole path would say nothing new with every command."""
    path = Path(file)
    return path.name if path.parent == Path.cwd() else file


def _in_short(value: Any) -> str:
    return f"({len(value)} columns)" if isinstance(value, list) else str(value)


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
    except (ValueError, RecursionError):
        raise FileFormatError(f"{path} is not JSON. Name the right file, or mend it.") from None
    if not isinstance(document, dict):
        raise FileFormatError(f"{path} holds JSON, but not an object. Name the right file.")
    return document


def write_document(path: Path, document: Mapping[str, Any], *, force: bool) -> None:
    """Write a JSON object to a file.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
    """
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n", force=force)


def write_text(path: Path, text: str, *, force: bool) -> None:
    """Write a text that somebody has asked for, whole or not at all.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        DataError: it cannot be written.
    """
    with atomic_output(path, overwrite=force) as temporary:
        # One kind of line end on every system: some of these are compared by digest.
        temporary.write_text(text, encoding="utf-8", newline="\n")


def keep_text(path: Path, text: str) -> None:
    """Write a proof that is kept for years, byte for byte; one that is there already is never replaced by another.

    Raises:
        OutputExistsError: the file holds something else.
        DataError: it cannot be read or written.
    """
    try:
        kept = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if kept is not None and kept != text.encode():
        raise OutputExistsError(f"{path} exists and holds something else. Choose another name.")
    if kept is None:
        write_text(path, text, force=False)


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


Advance = Callable[[int, int | None], None]


@contextmanager
def progress_bar(description: str, *, unit: Unit = "", now: Callable[[], float] = time.monotonic) -> Iterator[Advance]:
    """A function to call with (done, total), as often as one likes; total may be None as long as it is not known.

    On a terminal it draws a bar with what is done, the rate, the time that passed and the time left. Without one it is
    silent, but says every half minute of a long step how far it is. `--quiet` silences both.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get(_QUIET):
        yield lambda _done, _total: None
        return
    if not sys.stderr.isatty():
        yield _Remarks(description, unit=unit, now=now)
        return
    from linkage_client.cli._progress import bar  # noqa: PLC0415 - only a terminal needs it

    with bar(description, unit=unit) as advance:
        yield advance


class _Remarks:
    """Lines on stderr about a long step, for logs."""

    def __init__(self, description: str, *, unit: Unit, now: Callable[[], float]) -> None:
        self._description = description
        self._unit = unit
        self._now = now
        self._started = self._said = now()

    def __call__(self, done: int, total: int | None) -> None:
        moment = self._now()
        if moment - self._said < REMARK_EVERY_S:
            return
        self._said = moment
        passed = moment - self._started
        text = f"{self._description}: {share(done, total, self._unit)}"
        if total:
            text += f" ({done / total:.0%})"
        text += f", {duration(passed)}"
        if total and 0 < done < total:
            text += f", about {duration(passed * (total - done) / done)} left"
        click.echo(text, err=True)


def amount(number: float, unit: Unit) -> str:
    """A number of rows, bytes or pairs, as people write it."""
    if unit != "bytes":
        return f"{number:,.0f} {unit}".rstrip()
    for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {name}"
    return f"{number:.0f} bytes"


def share(done: float, total: float | None, unit: Unit) -> str:
    """How much is done, of how much if that is known: "5 of 10 rows"."""
    if total is None:
        return amount(done, unit)
    return f"{amount(done, unit if unit == 'bytes' else '')} of {amount(total, unit)}"


def rate(speed: float, unit: Unit) -> str:
    """An amount in each second, to three digits: more would flicker."""
    digits = 3 - len(f"{speed:.0f}")
    return f"{amount(round(speed, min(digits, 0)), unit)}/s"


def duration(seconds: float) -> str:
    """A time span as people write it: "40 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004 - minutes of an hour
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


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
