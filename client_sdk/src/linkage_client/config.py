"""Where configuration comes from: profile files say who we are, `linkage.toml` says what we need not type each time.

A **profile file** (TOML) is one client at one service, and the only place that says where to log in and with which key:

    service_url = "https://linkage.example.org"
    organisation_id = "org_…"
    client_id = "cli_…"
    client_key_file = "client-key.jwk"      # relative to this file
    signing_key_file = "signing-key.jwk"    # optional: only a signatory's machine needs it
    exchange_keys_file = "exchange-keys.json"   # optional: only where linkage secrets are shared or accepted
    log_key = "log.example.org+…"           # optional: the ledger's verifier key, as its operator published it

or, with keys in the keystore of the operating system, their thumbprints instead of files:

    keystore = "os"
    client_key = "…"
    signing_key = "…"
    exchange_keys = "…"

It lies in the user's folder for configuration: `profile.toml` is the profile `default`, `profiles/NAME/profile.toml`
the one of that name. Which is used: `--config FILE` or `--profile NAME`, else LINKAGE_CONFIG, else LINKAGE_PROFILE,
else the `profile` of a `linkage.toml`, else `default`.

A **linkage.toml** lies beside the data, in the working folder or above it, or in the user's folder:

    profile = "northgate"
    project = "prj_…"
    id_column = "case_number"
    encoding = "cp1252"
    delimiter = ";"
    map = { Forename = "given_name" }

It may have come with somebody else's data, so it chooses among profiles that exist and never says where to log in or
with what: such members are refused, and so is a file of another account. No file here holds a secret.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

from linkage_client.errors import ConfigurationError, OutputExistsError
from linkage_client.files import write_whole

CONFIG_VARIABLE: Final = "LINKAGE_CONFIG"
PROFILE_VARIABLE: Final = "LINKAGE_PROFILE"
FILE_NAME: Final = "profile.toml"
DEFAULTS_FILE_NAME: Final = "linkage.toml"
DEFAULT_PROFILE: Final = "default"
REQUIRED: Final = ("service_url", "organisation_id", "client_id")
OPTIONAL_TEXTS: Final = (
    "client_key_file", "signing_key_file", "exchange_keys_file", "client_key", "signing_key", "exchange_keys",
    "ca_file", "keystore", "log_key",
)  # fmt: skip
_KEYS: Final = ("client_key", "signing_key", "exchange_keys")
KEYSTORES: Final = ("os", "file")
# A member of linkage.toml and the option it stands in for; tables become THEIRS=OURS pairs.
DEFAULT_TEXTS: Final[Mapping[str, str]] = {
    "project": "--project",
    "id_column": "--id-column",
    "encoding": "--encoding",
    "delimiter": "--delimiter",
    "normalisation": "--normalisation",
}
DEFAULT_TABLES: Final[Mapping[str, str]] = {
    "map": "--map",
    "date_order": "--date-order",
    "normalise": "--normalise",
}
# Whoever could set these could have us log in elsewhere, or be somebody else.
_OF_PROFILES_ONLY: Final = frozenset({*REQUIRED, *OPTIONAL_TEXTS, "allow_plain_http"})
_PROFILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MAXIMUM_FILE_BYTES: Final = 1_048_576

KeystoreName = Literal["os", "file"]


@dataclass(frozen=True, slots=True)
class Profile:
    """The content of a profile file, paths made absolute. Each key is named by a file or by its thumbprint."""

    path: Path
    service_url: str
    organisation_id: str
    client_id: str
    client_key_file: Path | None = None
    signing_key_file: Path | None = None
    client_key: str | None = None
    """Thumbprint of the client key in the keystore of the operating system."""
    signing_key: str | None = None
    exchange_keys_file: Path | None = None
    """What opens envelopes; sealed with a passphrase, or not."""
    exchange_keys: str | None = None
    """Thumbprint of the exchange keys in the keystore of the operating system."""
    keystore: KeystoreName = "file"
    """Where keys and linkage secrets of this profile are put."""
    ca_file: Path | None = None
    allow_plain_http: bool = False
    log_key: str | None = None
    """Verifier key of the service's ledger; without it the first one that is shown is believed."""

    @property
    def folder(self) -> Path:
        """Where the profile's own files lie: keys and linkage secrets that are kept as files."""
        return self.path.absolute().parent


@dataclass(frozen=True, slots=True)
class Setting:
    """One value in force, and where it comes from in words: an option, a variable, `file:line`, or the default."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is in force for one command, before its own options."""

    profile_name: str | None
    """None where a profile file was named by its path."""
    profile_path: Path
    profile_origin: str
    chosen_beside_data: bool = False
    """Whether a `linkage.toml` in the working folder, or above it, chose the profile."""
    defaults: Mapping[str, Setting] = field(default_factory=dict)
    """Members of `linkage.toml` by name, as options take them: texts, and lists of `THEIRS=OURS`."""
    defaults_files: tuple[Path, ...] = ()
    """The `linkage.toml` files that were read, the most important first."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where configuration is looked for."""

    working_folder: Path
    user_folder: Path
    home: Path
    environment: Mapping[str, str]

    @classmethod
    def of_this_process(cls) -> "Places":
        """The folders and the environment of this process."""
        return cls(working_folder=Path.cwd(), user_folder=user_folder(), home=Path.home(), environment=dict(os.environ))


def user_folder() -> Path:
    """The platform's folder for this user's configuration of linkage."""
    import platformdirs  # noqa: PLC0415 - keeps `--help` quick

    return platformdirs.user_config_path("linkage", appauthor=False)


def profile_file(name: str, *, folder: Path) -> Path:
    """Where the profile of this name lies below the user's folder, or would lie.

    Raises:
        ConfigurationError: no profile can have this name.
    """
    if not _PROFILE_NAME.fullmatch(name):
        raise ConfigurationError(
            "The name of a profile has letters, digits, - and _ only (up to 64). To name a file, use --config."
        )
    return folder / FILE_NAME if name == DEFAULT_PROFILE else folder / "profiles" / name / FILE_NAME


def profile_names(folder: Path) -> list[str]:
    """Names of the profiles in the user's folder; the default one first."""
    found = [DEFAULT_PROFILE] if (folder / FILE_NAME).exists() else []
    return found + sorted(
        path.parent.name for path in folder.glob(f"profiles/*/{FILE_NAME}") if _PROFILE_NAME.fullmatch(path.parent.name)
    )


def discover(*, config: Path | None, profile: str | None, places: Places) -> Configuration:
    """Find the profile file and the defaults that are in force; the profile file itself need not exist.

    Args:
        config: what `--config` says.
        profile: what `--profile` says.
        places: where to look.

    Raises:
        ConfigurationError: a `linkage.toml` cannot be used, or no profile can have the name that was given.
    """
    files = tuple(_defaults_files(places))
    defaults: dict[str, Setting] = {}
    for path in files:
        # The first file that has a member decides, so that the folder of a project goes before the user's.
        defaults = {**read_defaults(path), **defaults}
    chosen = defaults.pop("profile", Setting(DEFAULT_PROFILE, "default"))
    name, path, origin = _chosen_profile(config=config, profile=profile, places=places, chosen=chosen)
    beside_data = [f"{file}:" for file in files if file.parent != places.user_folder]
    return Configuration(
        profile_name=name,
        profile_path=path,
        profile_origin=origin,
        chosen_beside_data=origin.startswith(tuple(beside_data)),
        defaults=defaults,
        defaults_files=files,
    )


def _chosen_profile(
    *, config: Path | None, profile: str | None, places: Places, chosen: Setting
) -> tuple[str | None, Path, str]:
    folder, environment = places.user_folder, places.environment
    if config is not None:
        return None, config, "option --config"
    if profile is not None:
        return profile, profile_file(profile, folder=folder), "option --profile"
    if named := environment.get(CONFIG_VARIABLE):
        return None, Path(named), f"environment variable {CONFIG_VARIABLE}"
    if named := environment.get(PROFILE_VARIABLE):
        return named, profile_file(named, folder=folder), f"environment variable {PROFILE_VARIABLE}"
    return chosen.value, profile_file(chosen.value, folder=folder), chosen.origin


def _defaults_files(places: Places) -> Iterator[Path]:
    for folder in _folders_upwards(places):
        path = folder / DEFAULTS_FILE_NAME
        if path.is_file() and folder != places.user_folder:
            yield path
            break
    path = places.user_folder / DEFAULTS_FILE_NAME
    if path.is_file():
        yield path


def _folders_upwards(places: Places) -> Iterator[Path]:
    here = places.working_folder
    if os.name == "posix" or here.is_relative_to(places.home):
        yield here
        for above in here.parents:
            # Whose a file is can be asked on POSIX only; elsewhere files above the own home could be anybody's.
            if os.name != "posix" and not above.is_relative_to(places.home):
                return
            yield above
        return
    yield here


def read_defaults(path: Path) -> dict[str, Setting]:
    """The members of a `linkage.toml`, as options take them.

    Raises:
        ConfigurationError: it belongs to another account, is not TOML, or holds what does not belong there.
    """
    text, content = _read_toml(path, what="The file", check_owner=True)
    if forbidden := sorted(_OF_PROFILES_ONLY & set(content)):
        raise ConfigurationError(
            f"{path} holds {', '.join(forbidden)}. Where this client logs in and with which key is said by a profile "
            "file only: a file that lies beside data may have come with the data, and could send your credentials "
            "elsewhere. Take it out; `linkage register` and `linkage config new` write profile files."
        )
    known = {"profile", *DEFAULT_TEXTS, *DEFAULT_TABLES}
    if unknown := sorted(set(content) - known):
        raise ConfigurationError(
            f"{path} has members that do not exist: {', '.join(unknown)}. It can hold {', '.join(sorted(known))}."
        )
    lines = _lines_of_members(text)
    return {
        name: Setting(_default_value(name, value, path), f"{path}:{lines.get(name, 1)}")
        for name, value in content.items()
    }


def _default_value(name: str, value: Any, path: Path) -> str | list[str]:
    if name not in DEFAULT_TABLES and isinstance(value, str) and value:
        return value
    if name in DEFAULT_TABLES and isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return [f"{theirs}={ours}" for theirs, ours in value.items()]
    kind = "a table of texts" if name in DEFAULT_TABLES else "a text"
    raise ConfigurationError(f"{path}: {name} has to be {kind}.")


def load_profile(path: Path) -> Profile:
    """Read a profile file.

    Raises:
        ConfigurationError: absent, not TOML, or members are absent, unknown or of the wrong type.
    """
    _, content = _read_toml(path, what="The profile file")
    _check_members(content, path)
    folder = path.absolute().parent

    def place(name: str) -> Path | None:
        return folder / content[name] if name in content else None

    return Profile(
        path=path,
        service_url=content["service_url"],
        organisation_id=content["organisation_id"],
        client_id=content["client_id"],
        client_key_file=place("client_key_file"),
        signing_key_file=place("signing_key_file"),
        client_key=content.get("client_key"),
        signing_key=content.get("signing_key"),
        exchange_keys_file=place("exchange_keys_file"),
        exchange_keys=content.get("exchange_keys"),
        keystore=cast("KeystoreName", content.get("keystore", "file")),
        ca_file=place("ca_file"),
        allow_plain_http=content.get("allow_plain_http", False),
        log_key=content.get("log_key"),
    )


def save_profile(profile: Profile, *, replace: bool = False) -> None:
    """Write a profile file, paths relative to it where they lie beside it.

    Raises:
        OutputExistsError: the file exists and `replace` is not set.
        ConfigurationError: it cannot be written.
    """
    if profile.path.exists() and not replace:
        raise OutputExistsError(f"{profile.path} exists. Name another profile with --profile, or use --force.")
    folder = profile.folder
    members = {
        "service_url": profile.service_url,
        "organisation_id": profile.organisation_id,
        "client_id": profile.client_id,
        "keystore": profile.keystore if profile.keystore != "file" else None,
        "client_key": profile.client_key,
        "client_key_file": _relative(profile.client_key_file, folder),
        "signing_key": profile.signing_key,
        "signing_key_file": _relative(profile.signing_key_file, folder),
        "exchange_keys": profile.exchange_keys,
        "exchange_keys_file": _relative(profile.exchange_keys_file, folder),
        "ca_file": _relative(profile.ca_file, folder),
        "log_key": profile.log_key,
    }
    text = "".join(f"{name} = {_toml(value)}\n" for name, value in members.items() if value is not None)
    if profile.allow_plain_http:
        text += "allow_plain_http = true\n"
    _write_text(profile.path, text)


def choose_profile(name: str, *, folder: Path) -> Path:
    """Make a profile the one that is used where nothing else says which; returns the file that says so now.

    Raises:
        ConfigurationError: there is no such profile, or the file cannot be read or written.
    """
    if not profile_file(name, folder=folder).exists():
        names = ", ".join(profile_names(folder)) or "none yet"
        raise ConfigurationError(f"There is no profile {name}. There are: {names}.")
    path = folder / DEFAULTS_FILE_NAME
    kept: list[str] = []
    if path.is_file():
        # Refuses a file in which lines cannot be told from what they look like.
        read_defaults(path)
        kept = path.read_text(encoding="utf-8-sig").splitlines()
    number = _lines_of_members("\n".join(kept)).get("profile")
    if number is not None:
        kept.pop(number - 1)
    # At the top: below a table's header the line would belong to the table.
    _write_text(path, "\n".join([f"profile = {_toml(name)}", *kept]) + "\n")
    return path


def member_origins(path: Path) -> dict[str, str]:
    """`file:line` of every member of a profile file, for those who ask where a value comes from."""
    text, _ = _read_toml(path, what="The profile file")
    return {name: f"{path}:{number}" for name, number in _lines_of_members(text).items()}


def _read_toml(path: Path, *, what: str, check_owner: bool = False) -> tuple[str, dict[str, Any]]:
    import tomllib  # noqa: PLC0415 - keeps `--help` quick

    try:
        with path.open("rb") as file:
            owner = os.fstat(file.fileno()).st_uid
            raw = file.read(_MAXIMUM_FILE_BYTES)
        text = raw.decode("utf-8-sig")
        content = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no profile file {path}. Run `linkage register`, or name another profile with --profile or "
            f"--config, or by the environment variable {PROFILE_VARIABLE} or {CONFIG_VARIABLE}.",
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{what} {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigurationError(f"{what} {path} is not TOML. Mend it, or write it again.") from None
    if check_owner and _is_of_another_account(owner):
        raise ConfigurationError(
            f"{path} belongs to another account of this machine, which could change what you link and to whom it goes. "
            "Make a copy of your own in a folder of your own, and work from there."
        )
    return text, content


def _is_of_another_account(owner: int) -> bool:
    return os.name == "posix" and owner not in {0, os.geteuid()}


def _lines_of_members(text: str) -> dict[str, int]:
    """Line of each member at the top level. tomllib does not tell; one line a member is how these files are written."""
    found: dict[str, int] = {}
    in_table = False
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([A-Za-z_]+)", line)
        member = re.match(r"\s*\"?([A-Za-z_]+)\"?\s*[=.]", line)
        in_table = in_table or header is not None
        name = header or (None if in_table else member)
        if name is not None:
            found.setdefault(name.group(1), number)
    return found


def _check_members(content: Mapping[str, Any], path: Path) -> None:
    absent = [name for name in REQUIRED if name not in content]
    if "client_key" not in content and "client_key_file" not in content:
        absent.append("client_key_file")
    if absent:
        raise ConfigurationError(f"The profile file {path} lacks: {', '.join(absent)}. Register again, or add it.")
    known = {*REQUIRED, *OPTIONAL_TEXTS, "allow_plain_http"}
    # An unknown member is a misspelt one; passing over `allow_plain_htpp = false` would be worse than stopping.
    unknown = sorted(set(content) - known)
    if unknown:
        raise ConfigurationError(
            f"The profile file {path} has members that do not exist: {', '.join(unknown)}. "
            f"Defaults for options belong into {DEFAULTS_FILE_NAME}."
        )
    wrong = [name for name in (*REQUIRED, *OPTIONAL_TEXTS) if not isinstance(content.get(name, ""), str)]
    if wrong or not isinstance(content.get("allow_plain_http", False), bool):
        names = ", ".join(wrong) or "allow_plain_http"
        raise ConfigurationError(f"The profile file {path} has values of the wrong type at: {names}.")
    if content.get("keystore", "file") not in KEYSTORES:
        raise ConfigurationError(f'The profile file {path}: keystore has to be "os" or "file".')
    if both := [name for name in _KEYS if name in content and f"{name}_file" in content]:
        raise ConfigurationError(f"The profile file {path} names two places for a key: {both[0]} and {both[0]}_file.")


def _relative(path: Path | None, folder: Path) -> str | None:
    if path is None:
        return None
    absolute = path.absolute()
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def _toml(value: str) -> str:
    if any(not character.isprintable() for character in value):
        raise ConfigurationError("A value for the profile file holds control characters. Choose other names.")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _write_text(path: Path, text: str) -> None:
    try:
        path.absolute().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise ConfigurationError(f"The file {path} cannot be written: {error.strerror}.") from None
