"""Commands about who we are: register, whoami, key files."""

from pathlib import Path

import click

from linkage_client.cli._session import Session, common_options, quieten_retries, read_token, write_document
from linkage_client.config import Profile, save_profile
from linkage_client.errors import OutputExistsError

ROLES = ("analyst", "signatory", "recipient", "officer", "operator")


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
@click.option("--key-files", is_flag=True, help="Keep keys in files even if there is a keystore.")
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
    key_files: bool,
    ca_file: Path | None,
    allow_plain_http: bool,
    force: bool,
) -> None:
    """Redeem an invitation: make keys, register at the service, write a profile file.

    Keys are put into the keystore of the operating system; where there is none, or with --key-files, they lie in files
    beside the profile file. A key that exists is used and never replaced, so an interrupted registration can be
    repeated.
    """
    from linkage_client.cli._registration_keys import registration_keys  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.client import LinkageClient  # noqa: PLC0415 - as above
    from linkage_client.keystore import find_working_keystore  # noqa: PLC0415 - as above

    path = session.profile_path
    if path.exists() and not force:
        raise OutputExistsError(
            f"{path} exists: this machine is registered. To register it at another service too, name another profile "
            "with --profile."
        )
    invitation = read_token(invitation_file, prompt="Invitation")
    keystore = None if key_files else find_working_keystore().keystore
    quieten_retries()
    with (
        LinkageClient(service_url=service_url, ca_file=ca_file, allow_plain_http=allow_plain_http) as client,
        registration_keys(path, client_file=client_key, signing_file=signing_key, keystore=keystore) as keys,
    ):
        registration = client.organisations.register(
            invitation=invitation,
            signing_key=keys.signing.key,
            client_key=keys.client.key,
            client_name=client_name,
            roles=roles,
        )
        written = Profile(
            path=path,
            service_url=service_url,
            organisation_id=registration.organisation.id,
            client_id=registration.client.id,
            keystore="file" if keystore is None else "os",
            client_key=keys.client.thumbprint_in_keystore,
            client_key_file=keys.client.file,
            signing_key=keys.signing.thumbprint_in_keystore,
            signing_key_file=keys.signing.file,
            ca_file=ca_file.absolute() if ca_file else None,
            allow_plain_http=allow_plain_http,
        )
        save_profile(written, replace=force)
    session.say(f"Registered {registration.organisation.name}. Profile file: {path}.")
    if written.keystore == "file":
        session.say("The keys lie in files beside it. Keep a copy of them where nobody else can read it.")
    else:
        session.say("The keys are in the keystore of this account. `linkage config keystore file` makes files of them.")
    session.show(
        {
            "organisation": registration.organisation.id,
            "client": registration.client.id,
            "roles": registration.client.roles,
            "key_thumbprint": keys.client.key.thumbprint,
            "profile": str(path),
            "keystore": written.keystore,
            "client_key_file": str(written.client_key_file) if written.client_key_file else None,
            "signing_key_file": str(written.signing_key_file) if written.signing_key_file else None,
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


@click.group("key-file")
def key_file() -> None:
    """Make and show key files."""


@key_file.command("new")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--public-out", type=click.Path(path_type=Path), help="Also write the public half, to hand on.")
@common_options
def key_file_new(session: Session, *, file: Path, public_out: Path | None) -> None:
    """Make an Ed25519 key in a new FILE that only this account can read (JWK, or PKCS#8 if its name ends in .pem)."""
    from linkage_client.keys import SigningKey  # noqa: PLC0415 - keeps `--help` quick

    made = SigningKey.generate()
    if public_out is not None:
        write_document(public_out, made.public_jwk, force=False)
    made.save(file)
    session.show({"thumbprint": made.thumbprint, "public_jwk": made.public_jwk, "file": str(file)})


@key_file.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def key_file_show(session: Session, *, file: Path) -> None:
    """Show the public half of a key file."""
    from linkage_client.keys import SigningKey  # noqa: PLC0415 - keeps `--help` quick

    loaded = SigningKey.load(file)
    session.show({"thumbprint": loaded.thumbprint, "public_jwk": loaded.public_jwk})
