"""Commands about the ledger: events, exports, alarms, receipts and its signed state."""

import functools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from linkage_client.cli._session import Session, as_document, common_options, keep_text
from linkage_client.cli.watching import witness

if TYPE_CHECKING:
    from linkage_client.models import LedgerEvent

COLUMNS = ("seq", "time", "event", "who", "organisation", "about", "outcome")
ALARM_COLUMNS = ("id", "raised_at", "kind", "organisation", "about", "state")
_SHOWN = 50
_OUTCOMES = ("success", "refused", "failed")
_ALARM_KINDS = (
    "denial_spike", "first_key_use", "export_out_of_hours", "review_overdue", "retention_overdue",
    "cosignature_missing", "policy_error", "repeated_key_epochs",
)  # fmt: skip
_FORMS = ("csv", "jsonl", "ocsf", "fhir", "bundle")
_DAY = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]


@click.group()
def audit() -> None:
    """What happened: the ledger, as far as you may see it."""


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which events, handed on as the arguments of the SDK."""
    names = (
        "organisation", "actor", "action", "type", "agreement", "version", "project_id", "resource_type", "resource",
        "purpose", "outcome", "element", "request", "since", "until",
    )  # fmt: skip

    @functools.wraps(command)
    def wrapped(session: Session, *arguments: Any, **options: Any) -> None:
        filters = {name: options.pop(name) for name in names}
        for name in ("since", "until"):
            if filters[name] is not None and filters[name].tzinfo is None:
                # A day begins at midnight UTC, as the ledger writes times.
                filters[name] = filters[name].replace(tzinfo=UTC)
        command(session, {name: value for name, value in filters.items() if value is not None}, *arguments, **options)

    for option in reversed(
        (
            click.option("--organisation", metavar="ID", help="Whose client or person acted."),
            click.option("--actor", metavar="ID", help="The client or person that acted."),
            click.option("--action", metavar="NAME", help="What was asked for, such as retrieveLinkTable."),
            click.option("--type", metavar="TYPE", help="Type of the event, such as link_table.retrieved."),
            click.option("--agreement", metavar="REFERENCE", help="The agreement that it happened under."),
            click.option("--version", type=click.IntRange(min=1), help="Version of that agreement."),
            click.option("--project", "project_id", metavar="ID", help="The project that it belongs to."),
            click.option("--resource-type", metavar="KIND", help="Kind of thing that was acted on, such as upload."),
            click.option("--resource", metavar="ID", help="What was acted on."),
            click.option("--purpose", metavar="CODE", help="The purpose that was stated."),
            click.option("--outcome", type=click.Choice(_OUTCOMES), help="How it ended."),
            click.option("--element", type=click.IntRange(1, 9), help="Element of the agreement that refused."),
            click.option("--request", metavar="ID", help="The request that caused it."),
            click.option("--from", "since", type=click.DateTime(_DAY), help="Not before this day or time, UTC."),
            click.option("--to", "until", type=click.DateTime(_DAY), help="Before this day or time, UTC."),
        )
    ):
        wrapped = option(wrapped)
    return wrapped


@audit.command("list")
@common_options
@_filters
@click.option("--oldest-first", is_flag=True, help="The oldest first.  [default: the newest]")
@click.option("--after", type=int, help="Only events with a greater number.")
@click.option("--before", type=int, help="Only events with a smaller number.")
@click.option("--limit", type=click.IntRange(min=1), default=_SHOWN, show_default=True, help="At most this many.")
def list_(
    session: Session,
    filters: dict[str, Any],
    *,
    oldest_first: bool,
    after: int | None,
    before: int | None,
    limit: int,
) -> None:
    """List events. Reading the ledger is itself an event."""
    with session.client() as client:
        found = client.audit.events(after=after, before=before, newest_first=not oldest_first, limit=limit, **filters)
        items = list(islice(found, limit))
    session.show_list(items, columns=COLUMNS, worded=_in_brief)
    if len(items) == limit:
        go_on = f"--after {items[-1].seq} --oldest-first" if oldest_first else f"--before {items[-1].seq}"
        session.say(f"There may be more: {go_on}")


def _in_brief(event: "LedgerEvent") -> dict[str, str]:
    """An event in the columns of a line."""
    header = event.header
    actor, about, outcome = header.get("actor") or {}, header.get("resource") or {}, header.get("outcome") or {}
    how = str(outcome.get("status", "-"))
    if how != "success":
        policies = (header.get("decision") or {}).get("policies") or []
        how += f": {', '.join(map(str, policies)) or outcome.get('code', '-')}"
    return {
        "time": str(header.get("time", "-"))[:19].replace("T", " "),
        "event": str(header.get("type", "-")),
        "who": str(actor.get("id") or actor.get("kind") or "-"),
        "organisation": str(actor.get("org") or "-"),
        "about": str(about.get("id") or about.get("type") or "-"),
        "outcome": how,
    }


@audit.command("show")
@click.argument("seq", type=click.IntRange(min=0))
@common_options
def show(session: Session, *, seq: int) -> None:
    """Show one event, with names and facts where you may see them. Recorded."""
    with session.client() as client:
        event = client.audit.event(seq=seq)
    session.show(event, _lines(as_document(event)))


@audit.command("replay")
@click.argument("seq", type=click.IntRange(min=0))
@common_options
def replay(session: Session, *, seq: int) -> None:
    """Have the decision of event SEQ made again, from the facts and by the policy of then. For officers. Recorded.

    Where the answer is not the one recorded, the log or the service is not what it was: exit code 1.
    """
    with session.client() as client:
        made = client.audit.replay(seq=seq)
    answers = ((made.recorded, "Recorded"), (made.replayed, "Made again"))
    lines = [
        f"{name}: {'allowed' if answer.allowed else 'refused'} by {', '.join(answer.policies) or 'no policy'}"
        for answer, name in answers
    ]
    lines.append("By the policy text of " + ("this release." if made.policy_is_current else "that time."))
    lines.append("The answer is the one recorded." if made.agrees else "THE ANSWER IS NOT THE ONE RECORDED.")
    session.show(made, lines)
    if not made.agrees:
        raise click.exceptions.Exit(1)


_BODY_WORDS = {
    "none": "This event has no further detail.",
    "disposed": "Its further detail was deleted at the end of its retention.",
    "not_shown": "Its further detail is for officers, of the linkage unit or of the organisation that acted.",
}


def _lines(event: dict[str, Any]) -> list[str]:
    header = event["header"]
    brief = (
        "time",
        "type",
        "actor",
        "authn",
        "action",
        "resource",
        "agreement",
        "project",
        "purpose",
        "outcome",
        "counts",
    )
    lines = [f"event {event['seq']}, leaf {event['leaf_hash']}"]
    lines += [f"{name}: {_on_a_line(header[name])}" for name in brief if name in header]
    if decision := header.get("decision"):
        policies = ", ".join(decision.get("policies") or []) or "no policy"
        lines.append(f"decision: {decision.get('effect')} by {policies}")
    lines.append(f"request: {header.get('request_id')} from {header.get('source')}")
    body = event.get("body")
    if body is None:
        lines.append(_BODY_WORDS.get(str(event.get("body_state")), "Its further detail is not shown."))
        return lines
    for name, value in body.items():
        lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    return lines


def _on_a_line(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {item}" for name, item in value.items())


@audit.command("export")
@common_options
@_filters
@click.option(
    "--format", "form", required=True, type=click.Choice(_FORMS), help="How; bundle: with proofs, to check offline."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--force", is_flag=True, help="Replace the file.")
@click.option("--first", type=click.IntRange(min=0), help="Not below this number.")
@click.option("--last", type=click.IntRange(min=0), help="Not above this number.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="A bundle only: a checkpoint that you kept, to prove that the log only grew.",
)
def export(
    session: Session,
    filters: dict[str, Any],
    *,
    form: Any,
    out: Path,
    force: bool,
    first: int | None,
    last: int | None,
    against: Path | None,
) -> None:
    """Write events to a file, for a spreadsheet, another tool, or to check offline. Recorded.

    A bundle holds the log without a gap, what others did as hashes only; `linkage-ledger verify` checks it, and so does
    the page verify.html inside it.
    """
    from linkage_client.errors import DataError  # noqa: PLC0415 - keeps `--help` quick

    kept = None
    if against is not None:
        try:
            kept = against.read_bytes().decode("utf-8")
        except OSError:
            raise DataError(f"{against} cannot be read. Name a checkpoint that you kept.") from None
        except UnicodeDecodeError:
            raise DataError(
                f"{against} is not UTF-8, as checkpoints are: a console may have written it in its own encoding. "
                "Name another that you kept, and keep the next with `linkage audit checkpoint --out`."
            ) from None
    with session.client() as client:
        made = client.audit.export(out=out, form=form, first=first, last=last, against=kept, overwrite=force, **filters)
    session.say(f"Written to {out}. The export is event {made.ledger_event}.")
    session.show({"file": made.file, "size_bytes": made.size_bytes, "ledger_event": made.ledger_event})


@audit.command("alarms")
@click.option("--kind", type=click.Choice(_ALARM_KINDS), help="Only of this kind.")
@click.option("--all", "everything", is_flag=True, help="Also those that were acknowledged.")
@common_options
def alarms(session: Session, *, kind: str | None, everything: bool) -> None:
    """List alarms that are open, the newest first. What each means is in the officer's guide."""
    with session.client() as client:
        found = client.audit.alarms(kind=kind, state="all" if everything else "open")
        session.show_list(
            found,
            columns=ALARM_COLUMNS,
            worded=lambda alarm: {
                "raised_at": _minute(alarm.raised_at),
                "about": alarm.agreement or alarm.subject or "-",
                "state": "open" if alarm.acknowledged_at is None else f"acknowledged {_minute(alarm.acknowledged_at)}",
            },
        )


def _minute(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


@audit.command("acknowledge")
@click.argument("alarm_id")
@click.option("--reason", required=True, help="What was found and done. Stands in the ledger. Name no data subject.")
@common_options
def acknowledge(session: Session, *, alarm_id: str, reason: str) -> None:
    """Say that an alarm was looked into."""
    with session.client() as client:
        session.show(client.audit.acknowledge(alarm_id=alarm_id, reason=reason))


_to_keep = click.option(
    "--out", type=click.Path(path_type=Path), help="Write it to this file, which is never replaced by another."
)


@audit.command("checkpoint")
@_to_keep
@common_options
def checkpoint(session: Session, *, out: Path | None) -> None:
    """Show the ledger's signed state (a C2SP signed note); keep it to prove later what the log was.

    Keep it with --out: a console may write it to a file in another encoding, and then it is no checkpoint any more.
    """
    with session.client() as client:
        _show_note(session, client.audit.checkpoint(), client.audit.verifier_key().key, out)


@audit.command("receipt")
@click.argument("seq", type=click.IntRange(min=0))
@_to_keep
@common_options
def receipt(session: Session, *, seq: int, out: Path | None) -> None:
    """Show the receipt of an event: proof that it is in the log, to keep and check offline. Recorded."""
    with session.client() as client:
        _show_note(session, client.audit.receipt(seq=seq), client.audit.verifier_key().key, out)


def _show_note(session: Session, text: str, key: str, out: Path | None) -> None:
    document = {"note": text, "verifier_key": key}
    if out is None:
        session.show(document, text.splitlines())
        return
    keep_text(out, text)
    session.say(f"Written to {out}.")
    session.show({"file": str(out), **document}, [])


audit.add_command(witness)
