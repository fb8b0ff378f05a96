"""Commands of `linkage project` by which providers come to share one secret, and begin anew when they have to."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from linkage_client.cli._exchange import ceremony, passphrase_option
from linkage_client.cli._session import Session, common_options, printable, quieten_retries

if TYPE_CHECKING:
    from linkage_client.exchange.standing import ProviderStanding, Standing
    from linkage_client.models import KeyExchange, Project

BECAUSE = ("suspected-leak", "planned")
_GROUPS_A_LINE = 3
_HEAD = ("Provider", "Keys published", "Code compared", "Has the secret", "Uploaded")


@click.command("status")
@click.argument("project_id")
@passphrase_option
@common_options
def status(session: Session, *, project_id: str, passphrase_file: str | None) -> None:
    """Show how far the providers of a project are, what you do next, and who is awaited."""
    with ceremony(session, passphrase_file) as own:
        standing = own.look(project_id)
    session.show(standing.document(), _status_lines(standing))


@click.command("confirm-code")
@click.argument("project_id")
@click.option(
    "--code", "said", metavar="DIGITS", help="The digits as another provider reads them; spaces are optional."
)
@click.option(
    "--on-call",
    "on_call",
    multiple=True,
    metavar="ORG",
    help="A provider with new keys that was on the call and read out this code itself; name or id. Repeatable.",
)
@passphrase_option
@common_options
def confirm_code(
    session: Session, *, project_id: str, said: str | None, on_call: tuple[str, ...], passphrase_file: str | None
) -> None:
    """Compare the project's safety code with the other providers, on a call.

    The code is made from the keys of all providers. If every provider sees the same thirty digits, nobody has put other
    keys in between, and the secret can be shared. Somebody has to hear it: digits that come by e-mail, by chat or from
    this screen prove nothing.

    Type the thirty digits as ANOTHER provider reads them out. If you compared before and a provider's keys are new
    since, that provider has to be on the call and read the code out, however well you know why they are new.
    """
    listening = said is None and not on_call

    with ceremony(session, passphrase_file) as own:
        compared = own.confirm_code(
            project_id,
            said=_ask_for_code if said is None else said,
            on_call=_ask_who_was_there if listening else on_call,
        )
        standing = own.look(project_id)
    session.say("The digits are the same: these are the providers' own keys. This machine remembers them.")
    _say_next(session, standing)
    session.show(
        {"project": project_id, "epoch": compared.epoch, "keyset_sha256": compared.digest, "compared": True}, []
    )


@click.command("share-secret")
@click.argument("project_id")
@click.option(
    "--for",
    "recipients",
    multiple=True,
    metavar="ORG",
    help="Once the secret was shared: the provider that asked you for it on a call; name or id. Repeatable.",
)
@passphrase_option
@common_options
def share_secret(
    session: Session, *, project_id: str, recipients: tuple[str, ...], passphrase_file: str | None
) -> None:
    """Draw the project's secret and seal it for the other providers; or seal it again for who has lost it.

    One provider does this, whichever, after the code was compared. Nobody sees or types the secret: it is drawn here,
    kept here, and sent in envelopes that only the other providers can open. The service cannot.

    Once it was shared, name with --for whom you seal it for again. The service says who waits; whether that is so, only
    people know.
    """
    with ceremony(session, passphrase_file) as own:
        shared = own.share(project_id, recipients=recipients)
        standing = own.look(project_id)
    if shared.sealed_for:
        drawn = "A new secret was drawn and is kept here. " if shared.drawn else ""
        names = [standing.name_of(one) for one in shared.sealed_for]
        session.say(f"{drawn}Sealed for {_and(names)}. Each of them types what `status` says there.")
    else:
        session.say("Nobody waits for the secret: every provider has it, or an envelope that it has not opened yet.")
    _say_next(session, standing)
    session.show(
        {
            "project": project_id,
            "epoch": shared.epoch,
            "drawn": shared.drawn,
            "sealed_for": list(shared.sealed_for),
        },
        [],
    )


@click.command("accept-secret")
@click.argument("project_id")
@passphrase_option
@common_options
def accept_secret(session: Session, *, project_id: str, passphrase_file: str | None) -> None:
    """Open the envelope that another provider sealed for you, and keep the secret for this project.

    A secret that is kept here already, because it was handed over in another way, is shown to be the right one.
    """
    with ceremony(session, passphrase_file) as own:
        accepted = own.accept(project_id)
        standing = own.look(project_id)
    if accepted.sent_by:
        names = [standing.name_of(one) for one in accepted.sent_by]
        session.say(f"You hold the secret that {_and(names)} sealed for you. It is kept here.")
    else:
        session.say("You hold the secret of this project already, and the service has noted that you do.")
    if accepted.false_from:
        names = [standing.name_of(one) for one in accepted.false_from]
        session.say(
            f"What came in the name of {_and(names)} is not that secret, or was changed on its way. It was not kept. "
            "Ask there, and tell the linkage unit and your officer."
        )
    _say_next(session, standing)
    session.show(
        {
            "project": project_id,
            "epoch": accepted.epoch,
            "sent_by": list(accepted.sent_by),
            "kept_before": not accepted.sent_by,
            "false_from": list(accepted.false_from),
        },
        [],
    )


@click.command("new-epoch")
@click.argument("project_id")
@click.option("--because", required=True, type=click.Choice(BECAUSE), help="Why the present secret is given up.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def new_epoch(session: Session, *, project_id: str, because: str, yes: bool) -> None:
    """Give up the present secret of a project: everybody shares a new one and encodes again.

    Do this at once if the secret may have leaked: a machine was stolen, or somebody mailed a file. Encodings made with
    the present secret become unusable at that moment, for every provider, and are deleted.
    """
    if not yes:
        click.confirm(
            "The encodings of EVERY provider of this project become unusable at once and are deleted. All share a new "
            "secret and encode again. Open a new key epoch?",
            abort=True,
            err=True,
        )
    with ceremony(session, None) as own:
        found, opened = own.new_epoch(project_id, reason="planned" if because == "planned" else "suspected_leak")
    if opened:
        session.say(f"Key epoch {found.epoch} is open. Tell the other providers: all encode again.")
    else:
        session.say(f"Key epoch {found.epoch} was opened by your earlier attempt, whose answer did not arrive.")
    if because == "suspected-leak":
        session.say("If keys were on the machine that is lost, its organisation types `linkage keys rotate` as well.")
    session.say(f"What comes next: `linkage project status {project_id}`.")
    session.show(_epoch(found, opened=opened), [])


@click.command("join")
@click.argument("project_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def join(session: Session, *, project_id: str, yes: bool) -> None:
    """Take part in a project that was opened without you, as a provider of its agreement.

    It opens a new key epoch: all providers share a new secret and encode again.
    """
    from linkage_client.agreed import named_project  # noqa: PLC0415 - keeps `--help` quick

    quieten_retries()
    with session.client() as client:
        me = session.profile().organisation_id
        found = named_project(client, project_id=project_id)
        if me in found.providers:
            session.say("Your organisation is a provider of this project already.")
        else:
            if not yes:
                click.confirm(
                    "Every provider of this project will have to encode again, under a new secret. Join it?",
                    abort=True,
                    err=True,
                )
            found = client.projects.join(project_id=project_id)
            _remember(session, found)
            session.say(f"You take part. Key epoch {found.key_epoch} is open: all share a new secret and encode again.")
    session.say(f"What comes next: `linkage project status {project_id}`.")
    session.show(_project(found), [])


@click.command("leave")
@click.argument("project_id")
@click.option("--organisation", "organisation_id", metavar="ORG", help="Officers of the linkage unit: who leaves.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def leave(session: Session, *, project_id: str, organisation_id: str | None, yes: bool) -> None:
    """Take your organisation out of a project; it stays a party of the agreement.

    Its encodings are deleted. It opens a new key epoch: those who stay share a new secret and encode again.
    """
    from linkage_client.agreed import named_project  # noqa: PLC0415 - keeps `--help` quick

    quieten_retries()
    with session.client() as client:
        leaving = organisation_id or session.profile().organisation_id
        found = named_project(client, project_id=project_id)
        if leaving not in found.providers:
            session.say("That organisation is no provider of this project.")
        else:
            if not yes:
                click.confirm(
                    f"{'That organisation' if organisation_id else 'Your organisation'} gives no data to this project "
                    "any more, and every provider that stays has to encode again, under a new secret. Leave it?",
                    abort=True,
                    err=True,
                )
            found = client.projects.leave(project_id=project_id, organisation_id=leaving)
            _remember(session, found)
            session.say(
                f"Done. Key epoch {found.key_epoch} is open: those who stay share a new secret and encode again."
            )
    session.show(_project(found), [])


COMMANDS = (status, confirm_code, share_secret, accept_secret, new_epoch, join, leave)


def _ask_for_code(standing: "Standing") -> str:
    """Show the names and the code, and have the digits typed that another provider reads out."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            "Without a terminal there is nobody to ask. Give the digits as another provider reads them out: --code."
        )
    others, count = _and([one.name for one in standing.others]), len(standing.providers)
    _echo(f"{standing.project_name}, key epoch {standing.epoch}, under agreement {standing.agreement}")
    _echo(f"(secret sealed by {standing.suite.value}). {count} providers, nobody else:")
    _echo()
    for one in standing.providers:
        _echo(f"    {one.name}{' (you)' if one.own else ''}   {one.organisation}")
    _echo()
    _echo("Is one of them a stranger to you, or one too many? Stop, and ask the others: whoever is in this list gets")
    _echo("the secret.")
    _echo()
    if standing.changed:
        _echo(f"New since the last comparison: the keys of {_and(standing.changed)}. Ask why on the call.")
        _echo()
    _echo(f"Get on a call with {others}, with people whose voices you know. First name the providers to each other.")
    _echo("Then one reads out all thirty digits from its own screen and the others type what they hear; and a second")
    _echo("provider reads all thirty from its own screen, for the first to type. These are yours:")
    _echo()
    for line in _code_lines(standing.code or ""):
        click.echo(click.style(line, bold=True), err=True)
        _echo()
    _echo("Now type the digits as ANOTHER provider reads them out. Do not copy them from this screen: then nothing is")
    _echo("compared, and whoever stands between you can read everything.")
    return str(click.prompt("Digits that you hear", err=True))


def _ask_who_was_there(one: "ProviderStanding") -> bool:
    """Whether a provider with new keys read out the code itself; asked of a person, who says no by saying nothing."""
    name = printable(one.name)
    return click.confirm(f"Was {name} on the call, and did {name} read out this same code?", default=False, err=True)


def _remember(session: Session, found: "Project") -> None:
    from linkage_client.exchange.marks import Marks  # noqa: PLC0415 - keeps `--help` quick

    Marks(session.profile()).saw(found.id, found.key_epoch)


def _code_lines(code: str) -> Iterator[str]:
    groups = code.split(" ")
    for at in range(0, len(groups), _GROUPS_A_LINE):
        yield "        " + "      ".join(" ".join(group) for group in groups[at : at + _GROUPS_A_LINE])


def _status_lines(standing: "Standing") -> Iterator[str]:
    from linkage_client.exchange.standing import REASONS  # noqa: PLC0415 - keeps `--help` quick

    reason = REASONS.get(standing.reason, standing.reason)
    yield f"{standing.project_name}, key epoch {standing.epoch} (since {standing.opened_at:%d %B %Y}: {reason})"
    yield ""
    rows = [_HEAD, *(_row(one) for one in standing.providers)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()
    yield ""
    yield from _prefixed("Your next step:", standing.next_steps or [_nothing_to_do(standing)])
    yield from _prefixed("Awaited:", standing.awaited or ["nobody."])


def _prefixed(label: str, sentences: list[str]) -> Iterator[str]:
    first, *more = sentences
    yield f"{label} {first}"
    for sentence in more:
        yield f"{' ' * len(label)} {sentence}"


def _nothing_to_do(standing: "Standing") -> str:
    if standing.own is None:
        return "none; your organisation gives no data to this project."
    if standing.awaited:
        return "none for now; others have something to do first."
    return f"all have the secret and have sent their data. `linkage run start {standing.project_id}` links them."


def _row(one: "ProviderStanding") -> tuple[str, ...]:
    if one.holds:
        has = "yes, with keys that it had before" if one.keys_are_newer else "yes"
    else:
        has = "envelope waits" if one.envelope_waits else "no"
    return (
        printable(f"{one.name}{' (you)' if one.own else ''}"),
        _yes(one.published),
        _yes(one.compared),
        has,
        _yes(one.uploaded),
    )


def _yes(value: bool) -> str:  # noqa: FBT001 - a word for it
    return "yes" if value else "no"


def _say_next(session: Session, standing: "Standing") -> None:
    for step in standing.next_steps[:1]:
        session.say(f"Your next step: {step}")
    for sentence in standing.awaited:
        session.say(f"Awaited: {sentence}")


def _epoch(found: "KeyExchange", *, opened: bool) -> dict[str, Any]:
    return {"project": found.project, "epoch": found.epoch, "reason": found.reason, "opened": opened}


def _project(found: "Project") -> dict[str, Any]:
    return {"project": found.id, "providers": found.providers, "key_epoch": found.key_epoch}


def _and(names: "tuple[str, ...] | list[str]") -> str:
    from linkage_client.exchange.standing import listed  # noqa: PLC0415 - keeps `--help` quick

    return listed(names)


def _echo(text: str = "") -> None:
    """What has to be seen even by who asked for quiet."""
    click.echo(printable(text), err=True)
