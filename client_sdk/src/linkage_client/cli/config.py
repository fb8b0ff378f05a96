"""Commands about configuration: which profile and which defaults are in force, and why."""

from pathlib import Path
from typing import Any, cast

import click

from linkage_client.cli._session import Session, cell, common_options, printable
from linkage_client.config import (
    DEFAULT_TABLES,
    DEFAULT_TEXTS,
    KEYSTORES,
    OPTIONAL_TEXTS,
    REQUIRED,
    Configuration,
    KeystoreName,
    Profile,
    Setting,
    choose_profile,
    load_profile,
    member_origins,
    profile_file,
    profile_names,
    save_profile,
    user_folder,
)
from linkage_client.errors import ConfigurationError


@click.group()
def config() -> None:
    """Profiles, defaults, and where keys are kept."""


@config.command("show")
@click.option("--origin", is_flag=True, help="Also say where each value comes from.")
@common_options
def show(session: Session, *, origin: bool) -> None:
    """Show what is in force: the profile, and the defaults."""
    configuration = session.configuration()
    settings = _settings(configuration)
    if not configuration.profile_path.exists():
        session.say(f"There is no profile file {configuration.profile_path} yet: `linkage register` writes one.")
    document = {name: {"value": setting.value, "origin": setting.origin} for name, setting in settings.items()}
    if session.as_json:
        session.show(document)
        return
    width = max(map(len, settings))
    for name, setting in settings.items():
        where = f"   ({setting.origin})" if origin else ""
        value = "not set" if setting.value is None else cell(setting.value)
        click.echo(printable(f"{name:<{width}}  {value}{where}"))


def _settings(configuration: Configuration) -> dict[str, Setting]:
    found: dict[str, Setting] = {
        "profile": Setting(configuration.profile_name, configuration.profile_origin),
        "profile_file": Setting(str(configuration.profile_path), configuration.profile_origin),
    }
    if configuration.profile_path.exists():
        found |= _settings_of_profile(load_profile(configuration.profile_path))
    for name in (*DEFAULT_TEXTS, *DEFAULT_TABLES):
        found[name] = configuration.defaults.get(name, Setting(None, "default"))
    return found


def _settings_of_profile(profile: Profile) -> dict[str, Setting]:
    origins = member_origins(profile.path)
    members: dict[str, Any] = {
        name: getattr(profile, name) for name in (*REQUIRED, *OPTIONAL_TEXTS, "allow_plain_http")
    }
    return {
        name: Setting(str(value) if isinstance(value, Path) else value, origins.get(name, "default"))
        for name, value in members.items()
    }


@config.command("path")
@common_options
def path(session: Session) -> None:
    """Show which files are read."""
    found = session.configuration()
    files = [str(file) for file in found.defaults_files]
    session.show(
        {"profile_file": str(found.profile_path), "defaults_files": files},
        [str(found.profile_path), *files],
    )


@config.command("list")
@common_options
def list_(session: Session) -> None:
    """List the profiles; * marks the one in use."""
    folder = user_folder()
    used = session.configuration().profile_name
    items = [_summary(name, folder, used=name == used) for name in profile_names(folder)]
    if session.as_json:
        session.show({"items": items})
        return
    for item in items:
        mark = "*" if item["in_use"] else " "
        click.echo(printable(f"{mark} {item['name']}\t{item['service_url']}\t{item['client_id']}"))
    if not items:
        session.say(f"There is no profile in {folder} yet: `linkage register` writes one.")


def _summary(name: str, folder: Path, *, used: bool) -> dict[str, Any]:
    try:
        profile = load_profile(profile_file(name, folder=folder))
    except ConfigurationError:
        return {"name": name, "in_use": used, "service_url": "cannot be read", "client_id": "-"}
    return {"name": name, "in_use": used, "service_url": profile.service_url, "client_id": profile.client_id}


@config.command("use")
@click.argument("name")
@common_options
def use(session: Session, *, name: str) -> None:
    """Use the profile NAME from now on.

    It is used wherever no option, no environment variable and no linkage.toml beside the data names another.
    """
    written = choose_profile(name, folder=user_folder())
    in_force = session.configuration()
    if in_force.profile_name != name:
        session.say(f"Here another profile is in force all the same: {in_force.profile_origin} says so.")
    session.show({"profile": name, "file": str(written)})


@config.command("new")
@click.option("--service", "service_url", required=True, metavar="URL", help="Address of the linkage service.")
@click.option("--organisation", "organisation_id", required=True, help="Id of the organisation.")
@click.option("--client", "client_id", required=True, help="Id under which this machine was admitted.")
@click.option("--client-key", required=True, type=click.Path(path_type=Path), help="Key file of this machine.")
@click.option("--signing-key", type=click.Path(path_type=Path), help="Key file of the organisation (signatories).")
@click.option("--ca-file", type=click.Path(path_type=Path, exists=True), help="Trust only these certificates.")
@click.option("--allow-plain-http", is_flag=True, help="For closed test networks only.")
@click.option("--force", is_flag=True, help="Replace an existing profile file.")
@common_options
def new(
    session: Session,
    *,
    service_url: str,
    organisation_id: str,
    client_id: str,
    client_key: Path,
    signing_key: Path | None,
    ca_file: Path | None,
    allow_plain_http: bool,
    force: bool,
) -> None:
    """Write a profile without registering.

    This is for a machine that a signatory of the organisation admitted (`linkage organisation add-client`).
    """
    from linkage_client.keys import SigningKey  # noqa: PLC0415 - keeps `--help` quick

    SigningKey.load(client_key)
    written = Profile(
        path=session.profile_path,
        service_url=service_url,
        organisation_id=organisation_id,
        client_id=client_id,
        client_key_file=client_key.absolute(),
        signing_key_file=signing_key.absolute() if signing_key else None,
        ca_file=ca_file.absolute() if ca_file else None,
        allow_plain_http=allow_plain_http,
    )
    save_profile(written, replace=force)
    session.show({"profile_file": str(written.path), "service_url": service_url, "client": client_id})


@config.command("keystore")
@click.argument("place", required=False, type=click.Choice(KEYSTORES))
@common_options
def keystore(session: Session, *, place: str | None) -> None:
    """Say where keys are kept, or move them.

    `os` is the keystore of the operating system, `file` a file that only you can read. Linkage secrets move with the
    keys. Moving takes them away from where they were; key files in another folder than the profile file stay there.
    """
    from linkage_client.keystore import Secrets, find_working_keystore, move_keys  # noqa: PLC0415 - keeps `--help` quick

    profile = session.profile()
    if place is None:
        available = find_working_keystore()
        session.show(
            {
                "keystore": profile.keystore,
                "operating_system": available.keystore.name if available.keystore else None,
                "reason": None if available.keystore else available.reason,
                "secrets": len(Secrets(profile).held()),
            }
        )
        return
    moved = move_keys(profile, cast("KeystoreName", place), others=other_profiles(profile))
    for file in moved.files_left:
        session.say(f"The key file {file} stays: it lies elsewhere, or another profile uses it.")
    if place == "file":
        session.say("The key files can be read by your account. Keep a copy where nobody else can read it.")
    else:
        session.say("Whoever resets this account's password may lose the keystore: have a second signatory.")
    session.show({"keystore": place, "keys": moved.keys, "secrets": moved.secrets})


def other_profiles(profile: Profile) -> list[Profile]:
    """The profiles of this account whose keys must not go."""
    found = []
    for name in profile_names(folder := user_folder()):
        file = profile_file(name, folder=folder)
        if file.absolute() != profile.path.absolute():
            found.append(load_profile(file))
    return found
