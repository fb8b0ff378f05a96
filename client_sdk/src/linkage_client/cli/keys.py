"""Commands about keys: those that an organisation shares secrets with, and the one that this machine logs in with."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from linkage_client.cli._exchange import ceremony, passphrase_option
from linkage_client.cli._passphrases import choose_passphrase, read_passphrase
from linkage_client.cli._session import Session, common_options, quieten_retries
from linkage_client.errors import (
    ConfigurationError,
    KeyExchangeError,
    KeyFileError,
    KeystoreError,
    ServiceConnectionError,
)

if TYPE_CHECKING:
    from linkage_client.config import Profile
    from linkage_client.exchange.private_keys import ExchangeKeys
    from linkage_client.models import PublishedKeyCard

_NEW_CODE = (
    "In every project that you give data to, there is another code now: the providers compare it on a call before "
    "anything is shared again."
)


_new_passphrase_option: Callable[[Any], Any] = click.option(
    "--passphrase-file",
    metavar="FILE",
    help="Private file with the passphrase of FILE; - for standard input. Default: you are asked.",
)
_present_passphrase_option: Callable[[Any], Any] = click.option(
    "--present-passphrase-file",
    metavar="FILE",
    help="Private file with the passphrase of sealed keys that are kept here; - for standard input.",
)


@click.group()
def keys() -> None:
    """Keys to share linkage secrets with, and the key of this machine."""


@keys.command("init")
@click.option("--sealed", is_flag=True, help="Seal the keys with a passphrase, which every use then asks for.")
@passphrase_option
@click.option("--yes", is_flag=True, help="Do not ask before another card of your organisation is replaced.")
@common_options
def init(session: Session, *, sealed: bool, passphrase_file: str | None, yes: bool) -> None:
    """Make your organisation's exchange keys, and publish their public halves at the service.

    Once for all projects, on one machine of the organisation: the one that encodes. The private keys stay here, in the
    keystore of the operating system or in a file that only you can read. Keys that exist are used and never replaced,
    so this can be repeated.
    """
    from linkage_client.cli.config import other_profiles  # noqa: PLC0415 - keeps `--help` quick

    profile = session.profile()
    with ceremony(session, passphrase_file) as own:
        kept, begun = own.own_keys(), own.begun_keys()
        shown, known = own.published_card(), begun or kept
        mine = shown is not None and known is not None and shown.digest == known.card(profile.organisation_id).digest
        if shown is not None and not mine:
            _ask_to_replace(shown, yes=yes)
        if kept is not None and begun is None:
            published = own.publish()
        else:
            passphrase = choose_passphrase(passphrase_file) if sealed and begun is None else None
            published = own.renew(passphrase=passphrase, others=other_profiles(profile))
        described = _described(own.own_keys(), published)
    session.say(
        "Your key card is published. The private keys stay on this machine: keep a copy (`linkage keys export`)."
    )
    if shown is not None and not mine:
        session.say(_NEW_CODE)
    session.say("What comes next in a project: `linkage project status PROJECT`.")
    session.show(described)


@keys.command("show")
@passphrase_option
@common_options
def show(session: Session, *, passphrase_file: str | None) -> None:
    """Show which exchange keys are kept here, and whether the service shows the card of these."""
    profile = session.profile()
    with ceremony(session, passphrase_file) as own:
        kept, shown = own.own_keys(), own.published_card()
    digest = None if kept is None else kept.card(profile.organisation_id).digest
    if kept is None:
        session.say(
            "No exchange keys are kept here. `linkage keys init` makes them, `linkage keys import` brings a copy."
        )
    elif shown is None:
        session.say("Their card is not published yet: `linkage keys init` does that.")
    elif shown.digest != digest:
        session.say(
            "THE SERVICE SHOWS ANOTHER CARD of your organisation. If a colleague made keys on another machine, use one "
            "set (`linkage keys export`, `linkage keys import`). If nobody did, tell the linkage unit and your officer."
        )
    session.show(
        {
            "organisation": profile.organisation_id,
            "thumbprint": None if kept is None else kept.thumbprint,
            "suites": [] if kept is None else sorted(kept.suites),
            "card_sha256": digest,
            "published_card_sha256": None if shown is None else shown.digest,
            "published_at": None if shown is None else shown.published_at.isoformat(),
        }
    )


@keys.command("rotate")
@passphrase_option
@click.option("--lost", is_flag=True, help="The old keys are gone, or cannot be opened: they are not read.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def rotate(session: Session, *, passphrase_file: str | None, lost: bool, yes: bool) -> None:
    """Make new exchange keys, publish their card, and forget the old ones.

    Secrets that are kept here stay, and nobody encodes again. Envelopes that wait for the old keys cannot be opened any
    more. If keys may have been stolen, begin a new key epoch in each project as well.

    With --lost the old keys are never opened: their file is gone, the keystore was reset, or nobody knows the
    passphrase. What is left of them is removed. Keys that were sealed are sealed again, with a new passphrase.
    """
    from linkage_client.cli.config import other_profiles  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.exchange.storage import is_behind_passphrase  # noqa: PLC0415 - as above

    profile = session.profile()
    if lost:
        _rotate_lost(session, passphrase_file, yes=yes)
        return
    if not yes:
        click.confirm(f"{_NEW_CODE} Make new keys?", abort=True, err=True)
    with ceremony(session, passphrase_file) as own:
        old = own.own_keys()
        if old is None:
            raise ConfigurationError(
                "No exchange keys are kept here, so there is nothing to rotate: `linkage keys init`."
            )
        passphrase = own.ask_passphrase() if is_behind_passphrase(profile) else None
        published = own.renew(passphrase=passphrase, others=other_profiles(profile))
        described = _described(own.own_keys(), published)
    session.say(f"New keys are published, the old ones are gone. {_NEW_CODE}")
    session.show({"replaced": old.thumbprint, **described})


@keys.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@_new_passphrase_option
@_present_passphrase_option
@common_options
def export(session: Session, *, file: Path, passphrase_file: str | None, present_passphrase_file: str | None) -> None:
    """Write the exchange keys to a new FILE, sealed with a passphrase: a copy for a safe, or for another machine.

    Of keys that are sealed here too, a passphrase file that is named is that of both, unless you name another for them.

    Keep the passphrase apart from it. Whoever has both can open every envelope that is sealed for your organisation.
    """
    from linkage_client.exchange.sealed import seal  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.keys import write_private_file  # noqa: PLC0415 - as above

    once = cache(lambda: read_passphrase(passphrase_file))
    # Where one passphrase is named for both, standard input can be read only once.
    both = passphrase_file is not None and present_passphrase_file in {None, passphrase_file}
    kept = _kept(session.profile(), once if both else _ask_present(present_passphrase_file))
    passphrase = once() if both else choose_passphrase(passphrase_file)
    write_private_file(file, seal(kept.to_bytes(), kind="exchange-keys", passphrase=passphrase))
    session.say("Keep the passphrase apart from the file.")
    session.show({"file": str(file), "thumbprint": kept.thumbprint})


@keys.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--sealed", is_flag=True, help="Keep them sealed here too, with the same passphrase.")
@click.option("--replace", is_flag=True, help="Forget other exchange keys that are kept here; they are not opened.")
@click.option("--yes", is_flag=True, help="Do not ask, even if those may be the ones whose card is published.")
@_new_passphrase_option
@_present_passphrase_option
@common_options
def import_(
    session: Session,
    *,
    file: Path,
    sealed: bool,
    replace: bool,
    yes: bool,
    passphrase_file: str | None,
    present_passphrase_file: str | None,
) -> None:
    """Keep the exchange keys that `linkage keys export` wrote to FILE, on another machine or after a loss."""
    from linkage_client.cli.config import other_profiles  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.exchange.private_keys import ExchangeKeys  # noqa: PLC0415 - as above
    from linkage_client.exchange.sealed import unseal  # noqa: PLC0415 - as above
    from linkage_client.exchange.storage import (  # noqa: PLC0415 - as above
        activate,
        exchange_keys_of,
        forget_old,
        keep_new,
    )

    profile = session.profile()
    ask = cache(lambda: read_passphrase(passphrase_file))
    brought = ExchangeKeys.from_bytes(unseal(_sealed_bytes(file), kind="exchange-keys", passphrase=ask()))
    if replace:
        _ask_before_forgetting(session, brought, yes=yes)
    named_once = passphrase_file is not None and passphrase_file == present_passphrase_file
    of_present = ask if named_once else _ask_present(present_passphrase_file)
    present = None if replace else exchange_keys_of(profile, passphrase=of_present)
    if present is not None and present.thumbprint != brought.thumbprint:
        raise ConfigurationError(
            "Other exchange keys are kept here already, and nothing was changed. If they are to go, use --replace."
        )
    if present is None:
        keep_new(profile, keys=brought, passphrase=ask() if sealed else None, reopen=ask)
        forget_old(activate(profile), others=other_profiles(profile))
    session.say("The keys are kept here. `linkage keys show` says whether the service shows their card.")
    session.show({"thumbprint": brought.thumbprint})


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


def _ask_to_replace(shown: "PublishedKeyCard", *, yes: bool) -> None:
    if yes:
        return
    click.confirm(
        f"Your organisation has published a key card on {shown.published_at:%d %B %Y}, of keys that are not kept on "
        "this machine. If a colleague's machine has them, stop here, and bring them over with `linkage keys export` "
        "and `linkage keys import`. If they are lost, go on: the other providers compare a new code with you, and one "
        "of them seals the secret for you again. If none of you published a card, stop, and tell the linkage unit. "
        "Go on?",
        abort=True,
        err=True,
    )


def _ask_present(file: str | None) -> Callable[[], str]:
    return cache(
        lambda: read_passphrase(
            file, prompt="Passphrase of the keys that are kept here", option="--present-passphrase-file"
        )
    )


def _ask_before_forgetting(session: Session, brought: "ExchangeKeys", *, yes: bool) -> None:
    """Whoever forgets the keys whose card is published cannot open what others seal for them.

    The keys that are kept here are not opened for it: they may be lost. The keys that come say enough.
    """
    from linkage_client.exchange.storage import place_of  # noqa: PLC0415 - keeps `--help` quick

    profile = session.profile()
    if yes or place_of(profile) is None:
        return
    try:
        with ceremony(session, None) as own:
            shown = own.published_card()
    except ServiceConnectionError:
        session.say("The service cannot be reached, so nobody knows whether the keys kept here are the published ones.")
    else:
        if shown is None or shown.digest == brought.card(profile.organisation_id).digest:
            return
        session.say(
            f"The card that your organisation published on {shown.published_at:%d %B %Y} is not of the keys in this "
            "file, so it may be of those that are kept here. What is sealed for that card cannot be opened without "
            "them. If they are in no other place, keep a copy first: `linkage keys export`."
        )
    click.confirm("Forget the keys that are kept here?", abort=True, err=True)


def _rotate_lost(session: Session, passphrase_file: str | None, *, yes: bool) -> None:
    """New keys in the place of some that cannot be had; a change that was cut off goes on where that is possible."""
    from linkage_client.cli.config import other_profiles  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.exchange.storage import SEALED_FILE, abandon, place_of  # noqa: PLC0415 - as above

    profile = session.profile()
    place = place_of(profile)
    if place is None:
        raise ConfigurationError("No exchange keys are kept here, so none are lost: `linkage keys init`.")
    if not yes:
        click.confirm(
            f"{_NEW_CODE} What is left of the old keys here is removed. If a copy exists, stop, and use `linkage keys "
            "import FILE --replace`. Make new keys?",
            abort=True,
            err=True,
        )
    with ceremony(session, passphrase_file) as own:
        try:
            begun = own.begun_keys()
        except (KeyFileError, KeystoreError, KeyExchangeError):
            abandon(profile)
            begun = None
        passphrase = None
        if begun is None and place.file is not None and place.file.suffix == Path(SEALED_FILE).suffix:
            passphrase = choose_passphrase(None) if passphrase_file is None else own.ask_passphrase()
        published = own.renew(keys=begun, passphrase=passphrase, others=other_profiles(profile))
        described = _described(own.own_keys(), published)
    session.say(
        f"New keys are published, and what was left of the old ones is gone. {_NEW_CODE} Where you held the secret "
        "only in envelopes that were never opened, another provider seals it for you again."
    )
    session.show({"replaced": None, **described})


def _kept(profile: "Profile", passphrase: Callable[[], str]) -> "ExchangeKeys":
    from linkage_client.exchange.storage import exchange_keys_of  # noqa: PLC0415 - keeps `--help` quick

    kept = exchange_keys_of(profile, passphrase=passphrase)
    if kept is None:
        raise ConfigurationError("No exchange keys are kept here: `linkage keys init` makes them.")
    return kept


def _sealed_bytes(file: Path) -> bytes:
    from linkage_client.exchange.sealed import MAXIMUM_FILE_BYTES  # noqa: PLC0415 - keeps `--help` quick

    try:
        with file.open("rb") as opened:
            return opened.read(MAXIMUM_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}. Name the sealed file.") from None


def _described(kept: "ExchangeKeys | None", published: "PublishedKeyCard") -> dict[str, Any]:
    return {
        "organisation": published.organisation,
        "thumbprint": None if kept is None else kept.thumbprint,
        "suites": [] if kept is None else sorted(kept.suites),
        "card_sha256": published.digest,
        "published_at": published.published_at.isoformat(),
    }
