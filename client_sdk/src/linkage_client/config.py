"""The profile file: which service, who we are there, and where our keys lie. TOML, one file for one client.

    service_url = "https://linkage.example.org"
    organisation_id = "org_…"
    client_id = "cli_…"
    client_key_file = "client-key.jwk"      # relative to this file
    signing_key_file = "signing-key.jwk"    # optional: only a signatory's machine needs it

Found by `--config FILE`, else the environment variable LINKAGE_CONFIG, else `profile.toml` in the platform's folder
for configuration. The file holds no secret; the key files do.
"""

import contextlib
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from linkage_client.errors import ConfigurationError, OutputExistsError

ENVIRONMENT_VARIABLE = "LINKAGE_CONFIG"
FILE_NAME = "profile.toml"
REQUIRED = ("service_url", "organisation_id", "client_id", "client_key_file")
OPTIONAL_TEXTS = ("signing_key_file", "ca_file")


@dataclass(frozen=True, slots=True)
class Profile:
    """The content of a profile file, paths made absolute."""

    path: Path
    service_url: str
    organisation_id: str
    client_id: str
    client_key_file: Path
    signing_key_file: Path | None = None
    ca_file: Path | None = None
    allow_plain_http: bool = False


def profile_path(*, option: Path | None, environment: Mapping[str, str]) -> Path:
    """Where the profile file is, or would be."""
    if option is not None:
        return option
    if named := environment.get(ENVIRONMENT_VARIABLE):
        return Path(named)
    return platformdirs.user_config_path("linkage", appauthor=False) / FILE_NAME


def load_profile(path: Path) -> Profile:
    """Read a profile file.

    Raises:
        ConfigurationError: absent, not TOML, or members are absent, unknown or of the wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no profile file {path}. Run `linkage register`, or name another file with --config or the "
            f"environment variable {ENVIRONMENT_VARIABLE}.",
        ) from None
    except OSError as error:
        raise ConfigurationError(f"The profile file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigurationError(f"The profile file {path} is not TOML. Mend it, or register again.") from None
    _check_members(content, path)
    folder = path.absolute().parent
    return Profile(
        path=path,
        service_url=content["service_url"],
        organisation_id=content["organisation_id"],
        client_id=content["client_id"],
        client_key_file=folder / content["client_key_file"],
        signing_key_file=folder / content["signing_key_file"] if "signing_key_file" in content else None,
        ca_file=folder / content["ca_file"] if "ca_file" in content else None,
        allow_plain_http=content.get("allow_plain_http", False),
    )


def save_profile(profile: Profile, *, replace: bool = False) -> None:
    """Write a profile file, paths relative to it where they lie beside it.

    Raises:
        OutputExistsError: the file exists and `replace` is not set.
        ConfigurationError: it cannot be written.
    """
    if profile.path.exists() and not replace:
        raise OutputExistsError(f"{profile.path} exists. Name another profile with --config, or use --force.")
    folder = profile.path.absolute().parent
    members = {
        "service_url": profile.service_url,
        "organisation_id": profile.organisation_id,
        "client_id": profile.client_id,
        "client_key_file": _relative(profile.client_key_file, folder),
    }
    if profile.signing_key_file is not None:
        members["signing_key_file"] = _relative(profile.signing_key_file, folder)
    if profile.ca_file is not None:
        members["ca_file"] = _relative(profile.ca_file, folder)
    text = "".join(f"{name} = {_toml(value)}\n" for name, value in members.items())
    if profile.allow_plain_http:
        text += "allow_plain_http = true\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_whole(profile.path, text)
    except OSError as error:
        raise ConfigurationError(f"The profile file {profile.path} cannot be written: {error.strerror}.") from None


def _check_members(content: Mapping[str, Any], path: Path) -> None:
    absent = [name for name in REQUIRED if name not in content]
    if absent:
        raise ConfigurationError(f"The profile file {path} lacks: {', '.join(absent)}. Register again, or add it.")
    known = {*REQUIRED, *OPTIONAL_TEXTS, "allow_plain_http"}
    # An unknown member is a misspelt one; passing over `allow_plain_htpp = false` would be worse than stopping.
    unknown = sorted(set(content) - known)
    if unknown:
        raise ConfigurationError(f"The profile file {path} has members that do not exist: {', '.join(unknown)}.")
    wrong = [name for name in (*REQUIRED, *OPTIONAL_TEXTS) if not isinstance(content.get(name, ""), str)]
    if wrong or not isinstance(content.get("allow_plain_http", False), bool):
        names = ", ".join(wrong) or "allow_plain_http"
        raise ConfigurationError(f"The profile file {path} has values of the wrong type at: {names}.")


def _relative(path: Path, folder: Path) -> str:
    absolute = path.absolute()
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def _toml(value: str) -> str:
    if any(not character.isprintable() for character in value):
        raise ConfigurationError("A value for the profile file holds control characters. Choose other names.")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _write_whole(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=".profile-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
