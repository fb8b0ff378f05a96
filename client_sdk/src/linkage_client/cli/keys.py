"""Commands about keys: those that an organisation shares secrets with, and the one that this machine logs in with."""

import click

from linkage_client.cli._session import Session, common_options, quieten_retries


@click.group()
def keys() -> None:
    """Keys to share linkage secrets with, and the key of this machine."""


@keys.command("rotate-client")
@common_options
def rotate_client(session: Session) -> None:
    """Give this machine a new key to log in with, and revoke the old one.

    The new key is kept where the old one was, before the service hears of it; if anything breaks, say it again and it
    goes on. Every other profile that uses the old key has to be removed first.
    """
    from linkage_client.cli.config import other_profiles  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.rotation import rotate_client_key  # noqa: PLC0415 - as above

    quieten_retries()
    profile = session.profile()
    rotated = rotate_client_key(profile, others=other_profiles(profile))
    file = rotated.profile.client_key_file
    if file is not None:
        session.say(f"The key lies in {file}. Keep a copy of it where nobody else can read it.")
    session.show(
        {"revoked": rotated.old, "key_thumbprint": rotated.new, "client_key_file": str(file) if file else None}
    )
