"""Commands of those who look after organisations: invitations, clients, people, assurance, sanctions."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from linkage_client.cli._session import Session, common_options, read_document
from linkage_client.cli.identity import ROLES

if TYPE_CHECKING:
    from linkage_client.models import PersonInvitation

ASSURANCE = ("none", "approaching_standards", "standards_met", "standards_exceeded")
PERSON_ROLES = (*ROLES, "administrator")


@click.group()
def organisation() -> None:
    """Organisations, invitations, clients, people, assurance and sanctions."""


@organisation.command("create")
@click.option("--name", required=True, help="Name of the legal body.")
@common_options
def create(session: Session, *, name: str) -> None:
    """Record a new organisation (administrator)."""
    with session.client() as client:
        session.show(client.organisations.create(name=name))


@organisation.command("list")
@common_options
def list_(session: Session) -> None:
    """List the organisations that you may see."""
    with session.client() as client:
        session.show_list(client.organisations.list(), columns=("id", "name", "kind", "status"))


@organisation.command("invite")
@click.argument("organisation_id")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New file for the invitation.")
@common_options
def invite(session: Session, *, organisation_id: str, out: Path) -> None:
    """Make a single-use invitation (administrator) and write it to a file that only you can read."""
    from linkage_client.keys import write_private_file  # noqa: PLC0415 - keeps `--help` quick

    with session.client() as client:
        invitation = client.organisations.invite(organisation_id=organisation_id)
    write_private_file(out, (invitation.token + "\n").encode())
    session.say("Hand the file to the organisation over a channel that you trust; whoever has it can register.")
    session.show({"file": str(out), "expires_at": invitation.expires_at.isoformat()})


@organisation.command("clients")
@click.argument("organisation_id")
@common_options
def clients(session: Session, *, organisation_id: str) -> None:
    """List the machines of an organisation."""
    with session.client() as client:
        found = client.organisations.clients(organisation_id=organisation_id)
        session.show_list(
            found,
            columns=("id", "name", "roles", "status", "keys"),
            worded=lambda one: {"keys": ", ".join(key.thumbprint for key in one.keys if key.status == "active")},
        )


@organisation.command("add-client")
@click.argument("organisation_id")
@click.option("--name", required=True, help="A name for the machine.")
@click.option("--public-key", required=True, type=click.Path(path_type=Path), help="Its public JWK.")
@click.option("--role", "roles", required=True, multiple=True, type=click.Choice(ROLES), help="May be repeated.")
@common_options
def add_client(session: Session, *, organisation_id: str, name: str, public_key: Path, roles: tuple[str, ...]) -> None:
    """Admit another machine of your organisation (signatory)."""
    jwk = read_document(public_key)
    if "d" in jwk:
        raise click.UsageError(
            f"{public_key} holds a private key. Hand on only the public half (linkage key-file show)."
        )
    with session.client() as client:
        added = client.organisations.add_client(organisation_id=organisation_id, name=name, public_jwk=jwk, roles=roles)
    session.show(added)


@organisation.command("revoke-client")
@click.argument("organisation_id")
@click.argument("client_id")
@common_options
def revoke_client(session: Session, *, organisation_id: str, client_id: str) -> None:
    """Shut a machine out."""
    with session.client() as client:
        client.organisations.revoke_client(organisation_id=organisation_id, client_id=client_id)
    session.show({"client": client_id, "status": "revoked"})


@organisation.command("assurance")
@click.argument("organisation_id")
@click.option("--status", required=True, type=click.Choice(ASSURANCE), help="What was seen.")
@click.option("--expires", metavar="TIME", help="Until when it holds, such as 2027-06-30T23:59:59Z.")
@click.option("--evidence", required=True, help="What was seen and where, in a sentence; it stands in the ledger.")
@common_options
def assurance(session: Session, *, organisation_id: str, status: str, expires: str | None, evidence: str) -> None:
    """Record the security assurance of an organisation (administrator or officer of the linkage unit)."""
    with session.client() as client:
        recorded = client.organisations.record_assurance(
            organisation_id=organisation_id, status=status, expires_at=_moment(expires), evidence=evidence
        )
    session.show(recorded)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.UsageError("--expires is a time with its zone, such as 2027-06-30T23:59:59Z.")
    return moment


def _sanction_options(command: Callable[..., None]) -> Callable[..., None]:
    """What the three sanctions have in common."""
    for option in (
        click.argument("organisation_id"),
        click.option("--agreement", "agreement_id", metavar="ID", help="The agreement whose ladder provides for it."),
        click.option("--reason", required=True, help="Why; it stands in the ledger. Name no data subject."),
        click.option("--client", "client_id", metavar="ID", help="This machine only, not the whole organisation."),
    ):
        command = option(command)
    return command


@organisation.command("warn")
@_sanction_options
@common_options
def warn(session: Session, /, **sanction: Any) -> None:
    """Put a warning into the ledger (officer of the linkage unit)."""
    _impose(session, "warn", **sanction)


@organisation.command("suspend")
@_sanction_options
@common_options
def suspend(session: Session, /, **sanction: Any) -> None:
    """Stop an organisation, or one machine of it, at once (officer of the linkage unit)."""
    _impose(session, "suspend", **sanction)


@organisation.command("reinstate")
@_sanction_options
@common_options
def reinstate(session: Session, /, **sanction: Any) -> None:
    """Lift a suspension (officer of the linkage unit)."""
    _impose(session, "reinstate", **sanction)


def _impose(
    session: Session, step: str, *, organisation_id: str, client_id: str | None, reason: str, agreement_id: str | None
) -> None:
    with session.client() as client:
        given: dict[str, Any] = {"organisation_id": organisation_id, "reason": reason, "agreement_id": agreement_id}
        if client_id is not None:
            session.show(getattr(client.organisations, f"{step}_client")(client_id=client_id, **given))
        else:
            session.show(getattr(client.organisations, step)(**given))


@organisation.command("invite-person")
@click.argument("organisation_id")
@click.option("--name", required=True, help="The person's name.")
@click.option("--email", required=True, help="Their e-mail address, with which they sign in.")
@click.option("--role", "roles", required=True, multiple=True, type=click.Choice(PERSON_ROLES), help="May be repeated.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New file for the one-time link.")
@common_options
def invite_person(
    session: Session, *, organisation_id: str, name: str, email: str, roles: tuple[str, ...], out: Path
) -> None:
    """Invite a person to the console (signatory, administrator) and write their one-time link to a private file."""
    with session.client() as client:
        invitation = client.organisations.invite_person(
            organisation_id=organisation_id, name=name, email=email, roles=roles
        )
    _hand_over(session, invitation, out)


@organisation.command("reinvite-person")
@click.argument("organisation_id")
@click.argument("person_id")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New file for the one-time link.")
@common_options
def reinvite_person(session: Session, *, organisation_id: str, person_id: str, out: Path) -> None:
    """Give a person a new link: for a lost one, a lost second factor, or a forgotten password."""
    with session.client() as client:
        invitation = client.organisations.invite_person_again(organisation_id=organisation_id, person_id=person_id)
    _hand_over(session, invitation, out)


@organisation.command("people")
@click.argument("organisation_id")
@common_options
def people(session: Session, *, organisation_id: str) -> None:
    """List the people of your organisation."""
    with session.client() as client:
        found = client.organisations.people(organisation_id=organisation_id)
        session.show_list(found, columns=("id", "name", "email", "roles", "status"))


@organisation.command("disable-person")
@click.argument("organisation_id")
@click.argument("person_id")
@common_options
def disable_person(session: Session, *, organisation_id: str, person_id: str) -> None:
    """Shut a person out."""
    with session.client() as client:
        session.show(client.organisations.disable_person(organisation_id=organisation_id, person_id=person_id))


@organisation.command("enable-person")
@click.argument("organisation_id")
@click.argument("person_id")
@common_options
def enable_person(session: Session, *, organisation_id: str, person_id: str) -> None:
    """Let a person in again."""
    with session.client() as client:
        session.show(client.organisations.enable_person(organisation_id=organisation_id, person_id=person_id))


def _hand_over(session: Session, invitation: "PersonInvitation", out: Path) -> None:
    from linkage_client.keys import write_private_file  # noqa: PLC0415 - keeps `--help` quick

    write_private_file(out, (invitation.path + "\n").encode())
    session.say("Hand the link to the person over a channel that you trust; whoever has it can enrol as them.")
    person = {"person": invitation.person.id, "status": invitation.person.status}
    session.show({**person, "file": str(out), "expires_at": invitation.expires_at.isoformat()})
