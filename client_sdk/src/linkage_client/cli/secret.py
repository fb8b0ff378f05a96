"""Commands about the linkage secret: draw, keep, hand over, compare and derive from one, without showing it."""

import hmac
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from linkage_client.cli._passphrases import choose_passphrase, read_passphrase
from linkage_client.cli._session import Session, common_options, read_secret_file
from linkage_client.errors import KeyExchangeError, ServiceConnectionError

SECRET_BYTES = 32
_DRAWN_HEX = re.compile(rb"[0-9a-fA-F]{32,}")
EPOCH_HELP = "Key epoch; default: the project's present one, asked of the service."


@click.group()
def secret() -> None:
    """Draw, keep, hand over or compare a linkage secret."""


MAXIMUM_EPOCH = 10_000
"""More than any project opens; a secret kept for a later one would make every true epoch look like an older one."""
_offline_option: Callable[[Any], Any] = click.option(
    "--offline", is_flag=True, help="Do not ask the service whether this is the project's present key epoch."
)
_passphrase_option: Callable[[Any], Any] = click.option(
    "--passphrase-file",
    metavar="FILE",
    help="Private file with the passphrase of the sealed file; - for standard input. Default: you are asked.",
)


@secret.command("new")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def new(session: Session, *, file: Path) -> None:
    """Draw a secret into a new FILE that only this account can read: 64 hexadecimal digits.

    One provider does this, keeps it with `linkage secret add`, and hands it to the others over a channel that the
    linkage unit cannot see: best as a sealed file (`linkage secret export`, `linkage secret import`).
    """
    from linkage_client.keys import write_private_file  # noqa: PLC0415 - keeps `--help` quick

    # As text, so that copying it through a terminal or a form does not change a byte.
    write_private_file(file, (secrets.token_hex(SECRET_BYTES) + "\n").encode())
    session.show({"file": str(file)})


@secret.command("add")
@click.argument("file")
@click.option("--project", "project_id", required=True, help="Id of the project that it is for.")
@click.option("--epoch", type=click.IntRange(min=1), help=EPOCH_HELP)
@_offline_option
@common_options
def add(session: Session, *, file: str, project_id: str, epoch: int | None, offline: bool) -> None:
    """Keep the secret in FILE (- for standard input) for a project, so that --secret-file is not needed again.

    The service is asked which key epoch is the present one; no secret is kept for another, unless you say --offline.

    It goes where the profile keeps its keys: into the keystore of the operating system, or into a file of its own.
    FILE stays: delete it when everybody has the secret.
    """
    from linkage_client.encoding.key_check import check_value  # noqa: PLC0415 - keeps `--help` quick

    value = read_secret_file(file)
    chosen = _present_epoch(session, project_id, epoch, offline=offline)
    held = session.secrets().add(project_id, chosen, value)
    _warn_if_guessable(session, value)
    session.say("Compare the check value with the partners', and delete the file when everybody has the secret.")
    checked = check_value(value, project_id=project_id, epoch=chosen)
    session.show(
        {
            "project": project_id,
            "epoch": chosen,
            "kept_in": _words_for(held.place),
            "origin": held.origin,
            "check_value": checked,
        }
    )


@secret.command("list")
@common_options
def list_(session: Session) -> None:
    """List the projects whose secrets are kept, and how each came here; the secrets are not shown.

    Origin: drawn on this machine, opened from a provider's envelope, or imported from a file that somebody handed over.
    """
    kept = session.secrets()
    items = [
        {"project": one.project_id, "epoch": one.epoch, "kept_in": _words_for(one.place), "origin": one.origin}
        for one in kept.held()
    ]
    session.show({"items": items}, ["\t".join(map(str, item.values())) for item in items])
    if not items:
        session.say("No linkage secret is kept for this profile.")
    for one in kept.damaged():
        session.say(
            f"The file of the secret of project {one.project_id}, epoch {one.epoch}, is empty, torn or unreadable, and "
            f"counts as none: `linkage secret delete --project {one.project_id} --epoch {one.epoch}`."
        )


@secret.command("delete")
@click.option("--project", "project_id", required=True, help="Id of the project.")
@click.option("--epoch", type=click.IntRange(min=1), required=True, help="Key epoch.")
@common_options
def delete(session: Session, *, project_id: str, epoch: int) -> None:
    """Forget the secret of a project and epoch. The partners have it still."""
    session.secrets().delete(project_id, epoch)
    session.show({"project": project_id, "epoch": epoch, "deleted": True})


@secret.command("check")
@click.argument("file", required=False)
@click.option("--project", "project_id", required=True, help="Id of the project.")
@click.option("--epoch", type=click.IntRange(min=1), help=EPOCH_HELP)
@common_options
def check(session: Session, *, file: str | None, project_id: str, epoch: int | None) -> None:
    """Show the check value of the secret in FILE (- for standard input), or of the one that is kept, for a project.

    Providers with the same secret see the same 32 digits; the digits say nothing else about it.
    """
    from linkage_client.encoding.key_check import check_value  # noqa: PLC0415 - keeps `--help` quick

    # Before the service is asked: a file that cannot be read is no reason to ask.
    named = read_secret_file(file) if file is not None else None
    chosen = _epoch(session, project_id, epoch)
    value = session.linkage_secret(project_id, chosen, None) if named is None else named
    checked = check_value(value, project_id=project_id, epoch=chosen)
    session.show({"project": project_id, "epoch": chosen, "check_value": checked})


@secret.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--project", "project_id", required=True, help="Id of the project.")
@click.option("--epoch", type=click.IntRange(min=1), help="Key epoch; default: the latest whose secret is kept here.")
@_passphrase_option
@common_options
def export(session: Session, *, file: Path, project_id: str, epoch: int | None, passphrase_file: str | None) -> None:
    """Write the secret that is kept for a project to a new FILE, sealed with a passphrase of 12 characters or more.

    For partners who hand it over themselves, without the service, and for a copy in a safe. Nothing is asked of the
    service. Tell the passphrase by another way than the file, and in no message that goes with it.
    """
    from linkage_client.exchange.secret_files import ProjectSecret  # noqa: PLC0415 - keeps `--help` quick

    kept = session.secrets()
    chosen = epoch or max((one.epoch for one in kept.held() if one.project_id == project_id), default=1)
    value = kept.read(project_id, chosen)
    sealed = ProjectSecret(project_id=project_id, epoch=chosen, secret=value)
    sealed.save(file, passphrase=choose_passphrase(passphrase_file))
    session.say("Tell the passphrase by another way than the file. The partner runs `linkage secret import`.")
    session.show({"file": str(file), "project": project_id, "epoch": chosen})


@secret.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--project", "project_id", required=True, help="Id of the project that it has to be for.")
@_passphrase_option
@_offline_option
@common_options
def import_(session: Session, *, file: Path, project_id: str, passphrase_file: str | None, offline: bool) -> None:
    """Keep the secret that a partner sealed into FILE with `linkage secret export`.

    The file says for which project and key epoch it is, and is believed in neither: the project is the one you name,
    and the epoch has to be the present one, which the service is asked unless you say --offline. Another secret that is
    kept for them is not replaced. Compare the check value with the partners' afterwards.
    """
    from linkage_client.encoding.key_check import check_value  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.exchange.secret_files import ProjectSecret  # noqa: PLC0415 - as above

    kept = session.secrets()
    found = ProjectSecret.load(file, passphrase=read_passphrase(passphrase_file))
    if project_id != found.project_id:
        raise KeyExchangeError(
            f"The sealed file holds the secret of another project, {found.project_id}. Nothing was kept. Ask your "
            "partner for the file of this project, or name that project.",
            code="sealed_other_project",
        )
    _present_epoch(session, project_id, found.epoch, offline=offline)
    held = kept.find(found.project_id, found.epoch)
    if held is None or not hmac.compare_digest(kept.read(found.project_id, found.epoch), found.secret):
        held = kept.add(found.project_id, found.epoch, found.secret)
    _warn_if_guessable(session, found.secret)
    session.say("Compare the check value with the partners', and delete the sealed file when everybody has the secret.")
    session.show(
        {
            "project": found.project_id,
            "epoch": found.epoch,
            "kept_in": _words_for(held.place),
            "origin": held.origin,
            "check_value": check_value(found.secret, project_id=found.project_id, epoch=found.epoch),
        }
    )


@secret.command("derive")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--project", "project_id", required=True, help="Id of the project.")
@click.option(
    "--secret-file",
    metavar="FILE",
    help="The linkage secret; - for standard input. Default: the one kept for the project.",
)
@common_options
def derive(session: Session, *, file: Path, project_id: str, secret_file: str | None) -> None:
    """Write the working key of a project to a new FILE that only this account can read: 64 hexadecimal digits.

    For a partner who encodes with clkhash itself: clkhash is given these digits as its secret, without the newline, and
    gives the bits that `linkage encode` gives. Send its file with `linkage upload --with-working-key`. Whoever uses
    `linkage encode` needs no such file.

    Treat it as the secret, and delete it afterwards. It is for this project, key epoch, linkage schema and encoding
    profile only, and it does not show the secret.
    """
    from linkage_client.agreed import agreed_terms  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.encoding.profiles import require_clkhash  # noqa: PLC0415 - as above
    from linkage_client.encoding.working_keys import working_key  # noqa: PLC0415 - as above
    from linkage_client.keys import write_private_file  # noqa: PLC0415 - as above

    with session.client() as client:
        terms = agreed_terms(client, project_id=project_id)
    require_clkhash(terms.encoding_profile)
    key = working_key(
        session.linkage_secret(project_id, terms.epoch, secret_file),
        project_id=project_id,
        epoch=terms.epoch,
        linkage_schema_sha256=terms.schema.digest,
        encoding_profile=terms.encoding_profile,
    )
    write_private_file(file, key + b"\n")
    session.say("Give clkhash the digits in the file as its secret, and delete the file afterwards.")
    session.show(
        {
            "file": str(file),
            "project": project_id,
            "epoch": terms.epoch,
            "encoding_profile": terms.encoding_profile,
            "linkage_schema_sha256": terms.schema.digest,
        }
    )


def _epoch(session: Session, project_id: str, epoch: int | None) -> int:
    if epoch is not None:
        return epoch
    with session.client() as client:
        return client.projects.get(project_id=project_id).key_epoch


def _present_epoch(session: Session, project_id: str, epoch: int | None, *, offline: bool) -> int:
    """The epoch to keep a secret for: a secret for one to come could be planted, and be shared when it comes.

    Raises:
        click.UsageError: offline, and no epoch was named.
        KeyExchangeError: `epoch_too_high`, `not_present_epoch`.
    """
    if epoch is not None and epoch > MAXIMUM_EPOCH:
        raise KeyExchangeError(
            f"This secret is said to be for key epoch {epoch}, and no project has had {MAXIMUM_EPOCH:,} of them. "
            "Nothing was kept. Ask whoever handed it over, and tell your officer if nobody can explain it.",
            code="epoch_too_high",
        )
    if offline:
        if epoch is None:
            raise click.UsageError("With --offline, name the key epoch: --epoch.")
        session.say(f"The service was not asked whether {epoch} is the project's present key epoch.")
        return epoch
    try:
        present = _epoch(session, project_id, None)
    except ServiceConnectionError:
        session.say("To keep the secret without asking which key epoch is the present one, say --offline.")
        raise
    if epoch not in {None, present}:
        raise KeyExchangeError(
            f"This secret is for key epoch {epoch}, and the project's present one is {present}. Nothing was kept. Take "
            "the secret of the present epoch. For an older one, which encodes nothing any more, say --offline.",
            code="not_present_epoch",
        )
    return present


def _warn_if_guessable(session: Session, value: bytes) -> None:
    """Nobody can see whether a secret was drawn at random; a short text or words in plain sight suggest not."""
    if _DRAWN_HEX.fullmatch(value) or (len(value) >= SECRET_BYTES and not value.isascii()):
        return
    session.say(
        "WARNING: this secret does not look like one that was drawn at random. The service and the partners see its "
        "check value, and whoever has that can try out words and short texts, on a machine of his own, until one fits. "
        "If it was not drawn at random, draw one with `linkage secret new` and hand that over."
    )


def _words_for(place: str) -> str:
    return "a file" if place == "secret" else "keystore"
