"""Commands about who we are: register, whoami, key files, the profile file."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from linkage_client.cli._session import Session, common_options, quieten_retries, read_token, write_document
from linkage_client.config import Profile, load_profile, save_profile
from linkage_client.errors import ConfigurationError, OutputExistsError, ServiceError
from linkage_client.keys import SigningKey

ROLES = ("analyst", "signatory", "recipient", "officer")
CLIENT_KEY_NAME = "client-key.jwk"
SIGNING_KEY_NAME = "signing-key.jwk"


@dataclass(frozen=True, slots=True)
class Keys:
    """The two keys of a registration and where they lie."""

    client: SigningKey
    client_file: Path
    signing: SigningKey
    signing_file: Path


@click.command()
@click.option("--service", "service_url", required=True, metavar="URL", help="Address of the linkage service.")
@click.option(
    "--invitation-file",
    required=True,
    metavar="FILE",
    help="File with the invitation; - for standard input or a prompt.",
)
@click.option("--name", "client_name", required=True, help="A name for this machine.")
@click.option("--role", "roles", required=True, multiple=True, type=click.Choice(ROLES), help="May be repeated.")
@click.option("--client-key", type=click.Path(path_type=Path), help="Key file for this machine; made if absent.")
@click.option("--signing-key", type=click.Path(path_type=Path), help="Key file of the organisation; made if absent.")
@click.option("--ca-file", type=click.Path(path_type=Path, exists=True), help="Trust only these certificates.")
@click.option("--allow-plain-http", is_flag=True, help="For closed test networks only.")
@click.option("--force", is_flag=True, help="Replace an existing profile file (never a key).")
@common_options
def register(
    session: Session,
    *,
    service_url: str,
    invitation_file: str,
    client_name: str,
    roles: tuple[str, ...],
    client_key: Path | None,
    signing_key: Path | None,
    ca_file: Path | None,
    allow_plain_http: bool,
    force: bool,
) -> None:
    """Redeem an invitation: make keys, register at the service, write a profile file.

    Keys lie beside the profile file. A key file that exists is used and never replaced, so an interrupted
    registration can be repeated.
    """
    from linkage_client.client import LinkageClient  # noqa: PLC0415 - keeps `--help` quick

    path = session.profile_path
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists: this machine is registered. Name another profile with --config.")
    invitation = read_token(invitation_file, prompt="Invitation")
    folder = path.absolute().parent
    quieten_retries()
    with (
        LinkageClient(service_url=service_url, ca_file=ca_file, allow_plain_http=allow_plain_http) as client,
        _keys(client_key or folder / CLIENT_KEY_NAME, signing_key or folder / SIGNING_KEY_NAME) as keys,
    ):
        registration = client.organisations.register(
            invitation=invitation,
            signing_key=keys.signing,
            client_key=keys.client,
            client_name=client_name,
            roles=roles,
        )
    profile = Profile(
        path=path,
        service_url=service_url,
        organisation_id=registration.organisation.id,
        client_id=registration.client.id,
        client_key_file=keys.client_file,
        signing_key_file=keys.signing_file,
        ca_file=ca_file.absolute() if ca_file else None,
        allow_plain_http=allow_plain_http,
    )
    save_profile(profile, replace=force)
    session.say(f"Registered {registration.organisation.name}. Profile file: {path}. Keep a copy of the key files.")
    session.show(
        {
            "organisation": registration.organisation.id,
            "client": registration.client.id,
            "roles": registration.client.roles,
            "key_thumbprint": registration.client.key_thumbprint,
            "profile": str(path),
            "client_key_file": str(keys.client_file),
            "signing_key_file": str(keys.signing_file),
        }
    )


@click.command()
@common_options
def whoami(session: Session) -> None:
    """Show who this client is to the service."""
    with session.client() as client:
        me = client.me()
    session.show(
        me,
        [
            f"organisation: {me.organisation.name} ({me.organisation.id}, {me.organisation.status})",
            f"client: {me.client.name} ({me.client.id}, {me.client.status})",
            f"roles: {', '.join(me.client.roles)}",
        ],
    )


@click.group()
def key() -> None:
    """Make and show key files."""


@key.command("new")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--public-out", type=click.Path(path_type=Path), help="Also write the public half, to hand on.")
@common_options
def key_new(session: Session, *, file: Path, public_out: Path | None) -> None:
    """Make an Ed25519 key in a new FILE that only this account can read (JWK, or PKCS#8 if its name ends in .pem)."""
    made = SigningKey.generate()
    if public_out is not None:
        write_document(public_out, made.public_jwk, force=False)
    made.save(file)
    session.show({"thumbprint": made.thumbprint, "public_jwk": made.public_jwk, "file": str(file)})


@key.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def key_show(session: Session, *, file: Path) -> None:
    """Show the public half of a key file."""
    loaded = SigningKey.load(file)
    session.show({"thumbprint": loaded.thumbprint, "public_jwk": loaded.public_jwk})


@click.group()
def profile() -> None:
    """Write and show the profile file."""


@profile.command("new")
@click.option("--service", "service_url", required=True, metavar="URL", help="Address of the linkage service.")
@click.option("--organisation", "organisation_id", required=True, help="Id of the organisation.")
@click.option("--client", "client_id", required=True, help="Id under which this machine was admitted.")
@click.option("--client-key", required=True, type=click.Path(path_type=Path), help="Key file of this machine.")
@click.option("--signing-key", type=click.Path(path_type=Path), help="Key file of the organisation (signatories).")
@click.option("--ca-file", type=click.Path(path_type=Path, exists=True), help="Trust only these certificates.")
@click.option("--allow-plain-http", is_flag=True, help="For closed test networks only.")
@click.option("--force", is_flag=True, help="Replace an existing profile file.")
@common_options
def profile_new(
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
    """Write a profile file for a machine that was admitted without an invitation."""
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
    _show_profile(session, written)


@profile.command("show")
@common_options
def profile_show(session: Session) -> None:
    """Show which profile file is used and what it says."""
    _show_profile(session, load_profile(session.profile_path))


def _show_profile(session: Session, shown: Profile) -> None:
    session.show(
        {
            "path": str(shown.path),
            "service_url": shown.service_url,
            "organisation": shown.organisation_id,
            "client": shown.client_id,
            "client_key_file": str(shown.client_key_file),
            "signing_key_file": str(shown.signing_key_file) if shown.signing_key_file else None,
        }
    )


@contextlib.contextmanager
def _keys(client_file: Path, signing_file: Path) -> Iterator[Keys]:
    """Existing or new key files, on disk before the service hears of them; new ones go again if it refuses."""
    made: list[Path] = []
    try:
        client_key = _existing_or_new(client_file, made)
        signing_key = _existing_or_new(signing_file, made)
        if client_key.thumbprint == signing_key.thumbprint:
            raise ConfigurationError("Client key and signing key are the same key. Use two, in two files.")
        yield Keys(client=client_key, client_file=client_file, signing=signing_key, signing_file=signing_file)
    except ServiceError:
        # A plain refusal: the keys are known to nobody. After a broken connection they may be, and stay.
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _existing_or_new(path: Path, made: list[Path]) -> SigningKey:
    if path.exists():
        return SigningKey.load(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The folder {path.parent} cannot be made: {error.strerror}.") from None
    new = SigningKey.generate()
    new.save(path)
    made.append(path)
    return new
