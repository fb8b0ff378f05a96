"""The operator's command line: first run, serve, work, look after the database, check the log.

Data goes to standard output, words for people to standard error. Exit codes: 0 done, 1 the check failed or the service
refused, 2 wrong usage. Modules that take long to load are loaded by the command that needs them, so that `--help` is
quick.
"""

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from linkage_service.people.schemas import PersonDraft, PersonInvitation
    from linkage_service.people.service import UnitRole
    from linkage_service.retention.service import Due
    from linkage_service.runtime import Runtime
    from linkage_service.settings import Settings

_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of database, blobs and keys. [env LINKAGE_DATA_DIR]",
)
_development = click.option(
    "--development",
    is_flag=True,
    help="Start although it is not safe to be reached by others.  [env LINKAGE_DEVELOPMENT]",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="linkage-service")
def main() -> None:
    """Run and look after a linkage service."""


@main.command()
@_data_dir
@click.option("--organisation", required=True, help="Name of the organisation that runs the linkage unit.")
@click.option("--administrator-email", metavar="ADDRESS", help="Login name of the first administrator, a person.")
@click.option("--administrator-name", default="Administrator", show_default=True, help="Their name.")
@click.option(
    "--administrator-jwk",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with an administrator client's public key as JWK.",
)
@click.option(
    "--officer-jwk",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with an information governance officer client's public key as JWK.",
)
@_as_json
def init(
    *,
    data_dir: Path | None,
    organisation: str,
    administrator_email: str | None,
    administrator_name: str,
    administrator_jwk: Path | None,
    officer_jwk: Path | None,
    as_json: bool,
) -> None:
    """Create database, keys, the linkage unit and its first administrator.

    There is no default password. The administrator is a person, who enrols with the one-time link that is printed, or a
    client, whose private key is the way in, or both.
    """
    from linkage_service import service_keys  # noqa: PLC0415
    from linkage_service.access.tokens import public_key  # noqa: PLC0415
    from linkage_service.audit.unit import unit_of_work  # noqa: PLC0415
    from linkage_service.database import Database  # noqa: PLC0415
    from linkage_service.migrate import upgrade  # noqa: PLC0415
    from linkage_service.organisations.service import found_unit  # noqa: PLC0415
    from linkage_service.people.service import invite_of_unit  # noqa: PLC0415
    from linkage_service.runtime import build  # noqa: PLC0415

    if administrator_email is None and administrator_jwk is None:
        raise click.UsageError("Nobody could come in. Give --administrator-email, --administrator-jwk, or both.")
    settings = _settings(data_dir)
    person = _person(administrator_name, administrator_email) if administrator_email else None
    link = None
    with _errors():
        clients = [
            (name, public_key(_read_jwk(file), pointer=""), name)
            for name, file in (("administrator", administrator_jwk), ("officer", officer_jwk))
            if file is not None
        ]
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        service_keys.create(settings.resolved_keys_dir, log_origin=settings.log_origin)
        database = Database(settings.resolved_database_url)
        upgrade(database.engine)
        database.close()
        runtime = build(settings)
        with unit_of_work(database=runtime.database, log=runtime.log, now=runtime.clock()) as unit:
            unit_row, made = found_unit(unit, name=organisation, clients=clients)
            if person is not None:
                link = invite_of_unit(
                    unit,
                    role="administrator",
                    name=person.name,
                    email=person.email,
                    hours=settings.person_invitation_hours,
                )
        runtime.log.checkpoint(runtime.database)
        runtime.close()
    document = {
        "organisation": unit_row.id,
        "clients": {client.name: client.id for client in made},
        "log_verifier_key": runtime.log.verifier.format(),
        "data_dir": str(settings.data_dir),
        **(_link_document(settings, link, "administrator") if link else {}),
    }
    if as_json:
        click.echo(json.dumps(document))
        return
    click.echo(f"The linkage unit is {unit_row.id}.")
    for client in made:
        click.echo(f"Its {client.name} is the client {client.id}.")
    click.echo(f"Publish this key, with which anyone can check the access log:\n{document['log_verifier_key']}")
    if link is not None:
        _say_link(document, "administrator")
    click.echo(f"Next: linkage-service serve --data-dir {settings.data_dir}", err=True)


@main.command("invite-administrator")
@_data_dir
@click.option("--email", required=True, metavar="ADDRESS", help="Login name of the person.")
@click.option("--name", default="Administrator", show_default=True, help="Their name, if they are new.")
@_as_json
def invite_administrator_command(*, data_dir: Path | None, email: str, name: str, as_json: bool) -> None:
    """Print a one-time link for an administrator of the linkage unit, new or locked out.

    For when nobody can sign in who could invite. What the person signed in with before stops working; it is an event of
    the access log, as everything is.
    """
    _invite_of_unit("administrator", data_dir=data_dir, email=email, name=name, as_json=as_json)


@main.command("invite-officer")
@_data_dir
@click.option("--email", required=True, metavar="ADDRESS", help="Login name of the person.")
@click.option("--name", default="Officer", show_default=True, help="Their name, if they are new.")
@_as_json
def invite_officer_command(*, data_dir: Path | None, email: str, name: str, as_json: bool) -> None:
    """Print a one-time link for an officer of the linkage unit: the first one, or one who is locked out.

    Administrators cannot invite officers, who oversee them; an officer can. What the person signed in with before stops
    working; it is an event of the access log, as everything is.
    """
    _invite_of_unit("officer", data_dir=data_dir, email=email, name=name, as_json=as_json)


@main.command()
@_data_dir
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 picks a free one."
)
@click.option(
    "--ready-file", type=click.Path(path_type=Path, dir_okay=False), help="Write url and pid here once ready."
)
@click.option("--workers/--no-workers", default=True, show_default=True, help="Run the embedded worker process.")
@click.option(
    "--processes",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Processes that serve the address; more than one needs PostgreSQL.",
)
@click.option(
    "--exit-with-parent", is_flag=True, help="Stop when standard input ends, so as not to outlive the parent."
)
@_development
def serve(
    *,
    data_dir: Path | None,
    host: str,
    port: int,
    ready_file: Path | None,
    workers: bool,
    processes: int,
    exit_with_parent: bool,
    development: bool,
) -> None:
    """Serve the HTTP API, with one embedded worker.

    A service that others can reach starts only if it is safe to be reached: the message says what is missing.
    """
    from linkage_service.server import Serving, serve_until_stopped  # noqa: PLC0415
    from linkage_service.supervising import serve_in_processes  # noqa: PLC0415

    settings = _settings(data_dir, development="true" if development else None)
    serving = Serving(
        host=host, port=port, ready_file=ready_file, embedded_worker=workers, exit_with_parent=exit_with_parent
    )
    with _errors():
        if processes == 1:
            serve_until_stopped(settings, serving)
        else:
            serve_in_processes(settings, serving, processes=processes)


@main.command("serve-beside", hidden=True)
@_data_dir
@click.option("--host", required=True, help="Address to listen on.")
@click.option("--port", required=True, type=int, help="Port, the same for all of them.")
@click.option("--api-processes", required=True, help="Processes that share the requests.")
@click.option("--metrics-listen", help="Address for metrics.")
@_development
def serve_beside_command(
    *,
    data_dir: Path | None,
    host: str,
    port: int,
    api_processes: str,
    metrics_listen: str | None,
    development: bool,
) -> None:
    """Be one of the processes of `serve --processes`, which starts them."""
    from linkage_service.server import serve_beside  # noqa: PLC0415

    settings = _settings(
        data_dir,
        development="true" if development else None,
        api_processes=api_processes,
        metrics_listen=metrics_listen,
    )
    with _errors():
        serve_beside(settings, host=host, port=port)


@main.command()
@_data_dir
@click.option(
    "--executor",
    type=click.Choice(["local", "dask"]),
    help="Compare in this process, or on a Dask cluster.  [env LINKAGE_EXECUTOR; default: local]",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="The cluster's scheduler, tls://host:port.  [env LINKAGE_SCHEDULER]"
)
@click.option(
    "--exit-with-parent", is_flag=True, help="Stop when standard input ends, so as not to outlive the parent."
)
@click.option("--no-metrics", is_flag=True, help="Show no metrics, as beside a process that shows them.")
@click.option("--signs-of-life", is_flag=True, hidden=True, help="Tell the process that keeps this one that it lives.")
@_development
def worker(
    *,
    data_dir: Path | None,
    executor: str | None,
    scheduler: str | None,
    exit_with_parent: bool,
    no_metrics: bool,
    signs_of_life: bool,
    development: bool,
) -> None:
    """Carry out runs until stopped."""
    from linkage_service.server import work_until_stopped  # noqa: PLC0415

    given = {"executor": executor, "scheduler": scheduler, "development": "true" if development else None}
    with _runtime(data_dir, **given) as runtime:
        work_until_stopped(
            runtime, exit_with_parent=exit_with_parent, metrics=not no_metrics, signs_of_life=signs_of_life
        )


@main.group()
def db() -> None:
    """Look after the database."""


@db.command("upgrade")
@_data_dir
def db_upgrade(*, data_dir: Path | None) -> None:
    """Run the migrations that are missing."""
    from linkage_service.database import Database  # noqa: PLC0415
    from linkage_service.migrate import current_revision, upgrade  # noqa: PLC0415

    with _errors():
        database = Database(_settings(data_dir).resolved_database_url)
        upgrade(database.engine)
        current = current_revision(database.engine)
        database.close()
    click.echo(current)
    _say_if_newer(current)


@db.command("current")
@_data_dir
def db_current(*, data_dir: Path | None) -> None:
    """Print the database's revision; exit 1 if this release cannot serve on it."""
    from linkage_service.database import Database  # noqa: PLC0415
    from linkage_service.migrate import current_revision, must_serve  # noqa: PLC0415

    with _errors():
        database = Database(_settings(data_dir).resolved_database_url)
        current = current_revision(database.engine)
        click.echo(current or "none")
        must_serve(database.engine)
        database.close()
    _say_if_newer(current)


@db.command("check")
@_data_dir
@_as_json
def db_check(*, data_dir: Path | None, as_json: bool) -> None:
    """Print what `db upgrade` would do, and change nothing; exit 1 if there is anything to do."""
    from linkage_service.database import Database  # noqa: PLC0415
    from linkage_service.migrate import current_revision, pending  # noqa: PLC0415

    with _errors():
        database = Database(_settings(data_dir).resolved_database_url)
        missing = pending(database.engine)
        current = current_revision(database.engine)
        database.close()
    if as_json:
        click.echo(json.dumps({"current": current, "pending": [{"revision": r, "what": w} for r, w in missing]}))
    else:
        for revision, what in missing:
            click.echo(f"{revision}\t{what}")
    _say_if_newer(current)
    if missing:
        _fail(f"{len(missing)} migrations are missing. Back up, then run `linkage-service db upgrade`.")


def _say_if_newer(current: str | None) -> None:
    from linkage_service.migrate import is_newer, newest_revision  # noqa: PLC0415

    if is_newer(current):
        click.echo(
            f"The database was upgraded by a newer release. This one, of {newest_revision()}, can serve on it until "
            "that has taken over.",
            err=True,
        )


@main.group()
def keys() -> None:
    """Rotate the key that wraps the keys of encodings and results; for the log's key see `audit rotate-key`."""


@keys.command("rotate")
@_data_dir
@_as_json
def keys_rotate(*, data_dir: Path | None, as_json: bool) -> None:
    """Put a new key-encryption key in place and wrap everything anew under it, while the service runs.

    With LINKAGE_KEY_ENCRYPTION_KEY, set the new key there and the old one in LINKAGE_FORMER_KEY_ENCRYPTION_KEYS first;
    then this wraps everything anew. Run again, it makes another key in the folder.
    """
    from linkage_service.rewrapping import rotate  # noqa: PLC0415

    with _runtime(data_dir) as runtime:
        rewrapped = rotate(runtime)
    if as_json:
        click.echo(json.dumps(rewrapped))
        return
    click.echo(f"Wrapped anew: {', '.join(f'{count} {name}' for name, count in rewrapped.items())}.")
    click.echo("Next: back up the keys folder, then linkage-service keys retire.", err=True)


@keys.command("retire")
@_data_dir
def keys_retire(*, data_dir: Path | None) -> None:
    """Destroy the former key-encryption keys; exit 1 while anything is wrapped under one."""
    from linkage_service.rewrapping import retire  # noqa: PLC0415

    with _runtime(data_dir) as runtime:
        retire(runtime)
    click.echo("The former keys are gone. What was wrapped under them, in old backups too, opens no more here.")


@main.group()
def audit() -> None:
    """Check the access log."""


@audit.command("verify")
@_data_dir
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A checkpoint kept elsewhere; without one, a log that the operator rewrote whole would pass.",
)
@_as_json
def audit_verify(*, data_dir: Path | None, against: Path | None, as_json: bool) -> None:
    """Check every byte of the log against its tree and signed checkpoints; exit 1 if anything was changed."""
    from linkage_service.audit.verify import verify  # noqa: PLC0415

    kept = against.read_text("utf-8") if against else None
    with _runtime(data_dir) as runtime:
        report = verify(runtime.database, [runtime.log.verifier], expected_checkpoint=kept)
    if as_json:
        findings = [{"where": item.where, "seq": item.seq, "what": item.what} for item in report.findings]
        document = {
            "size": report.size,
            "root": report.root.hex(),
            "signed_size": report.signed_size,
            "verified": report.verified,
            "findings": findings,
            "findings_left_out": report.findings_left_out,
        }
        click.echo(json.dumps(document))
    else:
        for item in report.findings:
            place = "" if item.seq is None else f" {item.seq}"
            click.echo(f"{item.where}{place}: {item.what}")
        if report.findings_left_out:
            click.echo(f"{report.findings_left_out} more findings are not listed.")
        later = report.size - report.signed_size
        click.echo(f"{report.size} events; {report.signed_size} under a checkpoint signed by this log's key.")
        if later:
            click.echo(f"The last {later} are not signed yet: only the next checkpoint protects them.")
        if kept is None:
            click.echo("Compared with no checkpoint kept elsewhere; use --against to check the operator too.")
        click.echo("Nothing was changed." if report.verified else "THE LOG IS NOT AS IT WAS RECORDED.")
    if not report.verified:
        sys.exit(1)


@audit.command("checkpoint")
@_data_dir
def audit_checkpoint(*, data_dir: Path | None) -> None:
    """Print the signed checkpoint of the log as it is now. Keep it away from this machine."""
    with _runtime(data_dir) as runtime:
        click.echo(runtime.log.checkpoint(runtime.database), nl=False)


@audit.command("export")
@_data_dir
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "ocsf", "fhir", "bundle"]),
    default="bundle",
    show_default=True,
    help="How; a bundle has proofs, and can be checked offline.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@click.option(
    "--agreement", metavar="REFERENCE", help="Only events under this agreement; in a bundle others as hashes."
)
@click.option("--from", "since", metavar="TIME", help="Not before this time, such as 2026-03-01T00:00:00Z.")
@click.option("--to", "until", metavar="TIME", help="Before this time.")
@click.option("--first", type=click.IntRange(min=0), help="Not below this number.")
@click.option("--last", type=click.IntRange(min=0), help="Not above this number.")
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A bundle only: a checkpoint kept elsewhere, to prove that the log only grew.",
)
@_as_json
def audit_export(
    *, data_dir: Path | None, form: str, out: Path, against: Path | None, as_json: bool, **asked: Any
) -> None:
    """Write events to a file, with everything that an officer needs to check them. Recorded in the log."""
    from pydantic import ValidationError  # noqa: PLC0415

    from linkage_service.audit.exporting import Wish, write  # noqa: PLC0415
    from linkage_service.audit.search_schemas import ExportDraft  # noqa: PLC0415

    kept = against.read_bytes().decode("utf-8", errors="replace") if against else None
    try:
        draft = ExportDraft.model_validate({"format": form, "against": kept, **asked})
    except ValidationError as error:
        wrong = "; ".join(str(item["msg"]) for item in error.errors())
        raise click.UsageError(f"This cannot be exported: {wrong}.") from None
    wish = Wish(format=draft.format, filters=draft.filters(), first=draft.first, last=draft.last, against=draft.against)
    if out.exists():
        _fail("The file is there already. Name another, or move it away.")
    with _runtime(data_dir) as runtime:
        made, seq = write(runtime.database, runtime.log, wish, out, now=runtime.clock())
    document = {
        "file": str(out), "events": made.count, "first": made.question.first, "last": made.question.end - 1,
        "event": seq,
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(document))
        return
    click.echo(f"{made.count} events between {document['first']} and {document['last']} are in {out}.")
    click.echo(f"The export is event {seq}. `linkage-ledger verify` checks a bundle.", err=True)


@audit.command("rotate-key")
@_data_dir
@_as_json
def audit_rotate_key(*, data_dir: Path | None, as_json: bool) -> None:
    """Hand the log from its key to a new one. Both sign the hand-over; the old key counts no longer, and is gone.

    The service may run meanwhile. Where it runs on several machines, copy log.key from the keys folder of this one to
    the others: until then they record everything, and sign no checkpoint.
    """
    from linkage_service.audit.rotation import rotate  # noqa: PLC0415

    with _runtime(data_dir) as runtime:
        rotated = rotate(
            database=runtime.database,
            log=runtime.log,
            folder=runtime.settings.resolved_keys_dir,
            clock=runtime.clock,
        )
        with runtime.database.reading() as session:
            key = runtime.log.verifier_in(session).format()
    if as_json:
        document = {"key": key, "handover": rotated.handover, "finished_only": rotated.finished_only}
        click.echo(json.dumps(document))
        return
    if rotated.finished_only:
        click.echo("An earlier rotation was interrupted; it is finished now. Run it again for another key.", err=True)
    click.echo(f"Publish this key, and this hand-over from the old one, where you published the old one:\n{key}\n")
    click.echo(rotated.handover, nl=False)


@audit.command("replay")
@_data_dir
@_as_json
@click.argument("seq", type=click.IntRange(min=0))
def audit_replay(*, data_dir: Path | None, as_json: bool, seq: int) -> None:
    """Make the decision of event SEQ again, from the facts that were judged; exit 1 if the answer differs.

    The policy text is the one that decided then, also when a later release has another.
    """
    from linkage_service.access.replay import replay  # noqa: PLC0415

    with _runtime(data_dir) as runtime, runtime.database.reading() as session:
        found = replay(session, seq=seq, current=runtime.door.policy)
        annotations = runtime.door.policy.annotations
    verdict = found.verdict
    if as_json:
        document = {
            "seq": seq,
            "type": found.header.type,
            "recorded": {"allowed": found.recorded.effect == "allow", "policies": list(found.recorded.policies)},
            "replayed": {"allowed": verdict.allowed, "policies": list(verdict.policies), "failed": verdict.failed},
            "agrees": found.agrees,
            "policy_digest": found.recorded.policy_digest,
            "policy_is_current": found.policy_is_current,
            "request": found.request,
        }
        click.echo(json.dumps(document))
    else:
        answer = "allowed" if verdict.allowed else "refused"
        click.echo(f"Event {seq}, {found.header.type}, of {found.header.time}: {found.request['action']['id']}.")
        click.echo(f"The same facts are {answer} by {', '.join(verdict.policies) or 'no policy'}.")
        for policy in verdict.policies:
            if reason := annotations.get(policy, {}).get("reason"):
                click.echo(f"  {policy} ({annotations[policy]['element']}): {reason}")
        text = "the policy text of this release" if found.policy_is_current else "the policy text of that time"
        click.echo(f"Judged by {text}, {found.recorded.policy_digest[:16]}…")
        click.echo("The answer is the one recorded." if found.agrees else "THE ANSWER IS NOT THE ONE RECORDED.")
    if not found.agrees:
        sys.exit(1)


@main.group()
def retention() -> None:
    """Delete what is past its date. The worker does this by itself every minute."""


@retention.command("due")
@_data_dir
@_as_json
def retention_due(*, data_dir: Path | None, as_json: bool) -> None:
    """List what is past its date, and what a hold keeps, without deleting anything."""
    from linkage_service.retention.service import due  # noqa: PLC0415

    with _runtime(data_dir) as runtime, runtime.database.reading() as session:
        found = due(session, now=runtime.clock())
    if as_json:
        click.echo(json.dumps({"items": [_due_document(item) for item in found]}))
        return
    for item in found:
        what = f"overdue because of a hold ({item.held})" if item.held else "to be deleted"
        click.echo(f"{item.kind}\t{item.id}\t{item.due_at.isoformat()}\t{item.reason}\t{what}")
    click.echo(f"{len(found)} past their date.", err=True)


@retention.command("run")
@_data_dir
@_as_json
def retention_run(*, data_dir: Path | None, as_json: bool) -> None:
    """Delete what is past its date, now; exit 1 if another process is at it."""
    from linkage_service.worker import sweeper_of  # noqa: PLC0415

    with _runtime(data_dir) as runtime:
        swept = sweeper_of(runtime).sweep()
    if swept is None:
        _fail("Another process is sweeping. Try again when it is done; nothing was deleted by this command.")
    document = {
        "deleted": swept.deleted,
        "overdue_because_of_hold": [_due_document(item) for item in swept.overdue],
        "bodies_disposed": swept.bodies,
        "certificates": swept.certificates,
        "orphaned_blobs_removed": swept.blobs,
        "blobs_of_unknown_owners": swept.unknown,
        "database_files_cleared": swept.traceless,
    }
    if as_json:
        click.echo(json.dumps(document))
        return
    for name, value in document.items():
        shown = len(value) if isinstance(value, list) else value
        click.echo(f"{name.replace('_', ' ')}: {json.dumps(shown)}")


def _due_document(item: "Due") -> dict[str, Any]:
    return {
        "kind": item.kind,
        "id": item.id,
        "project": item.project,
        "due_at": item.due_at.isoformat(),
        "reason": item.reason,
        "held": item.held,
    }


@main.group()
def backup() -> None:
    """Back up database, blobs and keys at one consistent point, and put them back."""


_passphrase_file = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File whose first line is the passphrase of the service's keys in the backup.",
)
_backup_folder = click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
_digest = click.option("--digest", metavar="SHA256", help="Of the manifest, as `backup create` printed it.")


@backup.command("create")
@_data_dir
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder for the backup.")
@_passphrase_file
@click.option("--without-keys", is_flag=True, help="Leave the service's keys out, because they are kept elsewhere.")
@_as_json
def backup_create(
    *, data_dir: Path | None, out: Path, passphrase_file: Path | None, without_keys: bool, as_json: bool
) -> None:
    """Make a backup while the service runs. Keep the printed digest, and the passphrase, away from it."""
    from linkage_service.backup.archive import create  # noqa: PLC0415

    if (passphrase_file is None) is not without_keys:
        raise click.UsageError("Give --passphrase-file to seal the keys into the backup, or --without-keys.")
    with _runtime(data_dir) as runtime:
        made = create(runtime, out, passphrase=_passphrase(passphrase_file))
    manifest = made.manifest
    if as_json:
        click.echo(json.dumps({"folder": str(out), "digest": made.digest, **manifest.model_dump(mode="json")}))
        return
    click.echo(f"{sum(manifest.rows.values())} rows and {manifest.blobs} blobs, up to event {manifest.ledger.size}.")
    click.echo(f"Digest of the manifest: {made.digest}")
    if manifest.keys == "left_out":
        click.echo("The service's keys are not in it. Without them it opens nothing: back them up apart.", err=True)
    else:
        click.echo(
            "The keys are in it, sealed. Whoever has backup and passphrase has everything: keep them apart, or leave "
            "the keys out and keep those elsewhere.",
            err=True,
        )
    if manifest.key_encryption_key == "settings":
        click.echo("LINKAGE_KEY_ENCRYPTION_KEY is a setting and not in it: keep that, too.", err=True)


@backup.command("verify")
@_backup_folder
@_digest
@_as_json
def backup_verify(*, folder: Path, digest: str | None, as_json: bool) -> None:
    """Check every byte of a backup and its ledger, without a service; exit 1 if it is not whole."""
    from linkage_service.backup.archive import verify  # noqa: PLC0415

    with _errors():
        manifest = verify(folder, digest=digest)
    if as_json:
        click.echo(json.dumps({"whole": True, **manifest.model_dump(mode="json")}))
        return
    click.echo(f"Whole: {manifest.blobs} blobs, {manifest.ledger.size} events, made {manifest.made_at.isoformat()}.")


@backup.command("restore")
@_data_dir
@_backup_folder
@_passphrase_file
@_digest
@click.option(
    "--deletions",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Export of the ledger as jsonl: uploads and runs that it says were deleted are deleted again.",
)
@_as_json
def backup_restore(
    *,
    data_dir: Path | None,
    folder: Path,
    passphrase_file: Path | None,
    digest: str | None,
    deletions: Path | None,
    as_json: bool,
) -> None:
    """Put a backup into an empty database, blob store and keys folder, check it, and delete what is past its date.

    Exit 1 if it was refused, or if something is left that should be deleted by now: the last lines say what.
    """
    from linkage_service.backup.restoring import restore  # noqa: PLC0415

    settings = _settings(data_dir)
    with _errors():
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        done = restore(settings, folder, passphrase=_passphrase(passphrase_file), digest=digest, deletions=deletions)
    document = {
        "events": done.manifest.ledger.size,
        "blobs": done.manifest.blobs,
        "deleted_again": done.deleted_again,
        "kept_by_holds": list(done.held),
        "unfinished": list(done.unfinished),
        "deleted_past_their_date": None if done.swept is None else done.swept.deleted,
    }
    if as_json:
        click.echo(json.dumps(document))
    else:
        click.echo(f"Restored: {done.manifest.ledger.size} events, {done.manifest.blobs} blobs. The ledger verifies.")
        past = "not looked for" if done.swept is None else sum(done.swept.deleted.values())
        click.echo(f"Deleted again: {done.deleted_again}; past their date: {past}.")
    click.echo(_AFTER_RESTORING.format(size=done.manifest.ledger.size), err=True)
    for text, names in ((_KEPT_BY_HOLDS, done.held), (_UNFINISHED, done.unfinished)):
        if names:
            click.echo(text.format(names=", ".join(names)), err=True)
    if done.swept is None:
        click.echo(_NOT_SWEPT, err=True)
    if not done.deleted_everything:
        sys.exit(1)


def _passphrase(file: Path | None) -> str | None:
    return None if file is None else file.read_text("utf-8").partition("\n")[0]


_AFTER_RESTORING = (
    "Before you serve:\n"
    "- Make sure that the service this backup was made of is stopped for good. Two that go on from one backup fork the "
    "ledger, and every client that meets both stops.\n"
    "- Whatever happened after event {size} is not in this ledger. Clients and witnesses that saw more raise an alarm. "
    "Tell the officer first: each user has to begin anew.\n"
    "- Withdrawals of rows, revoked keys and suspended organisations from after the backup are gone. Do them again."
)


_KEPT_BY_HOLDS = (
    "NOT DELETED AGAIN, because a hold that stood when the backup was made keeps it: {names}. Have an officer lift the "
    "hold, and the provider or requester delete it, before anybody else is let in."
)
_UNFINISHED = (
    "NOT DELETED AGAIN, because it had not ended when the backup was made and is carried out anew: {names}. Have it "
    "cancelled, or its result deleted."
)
_NOT_SWEPT = (
    "NOTHING PAST ITS DATE WAS DELETED, because a sweep was under way when the backup was made. Run `linkage-service "
    "retention run` in ten minutes, before anybody is let in."
)


@main.group()
def config() -> None:
    """Look at the settings."""


@config.command("show")
@_data_dir
def config_show(*, data_dir: Path | None) -> None:
    """Print every setting in force, secrets hidden."""
    settings = _settings(data_dir)
    shown = settings.model_dump(mode="json")
    shown |= {
        "database_url": settings.resolved_database_url,
        "blob_url": settings.resolved_blob_url,
        "keys_dir": str(settings.resolved_keys_dir),
    }
    click.echo(json.dumps(shown, indent=2))


@main.command()
def openapi() -> None:
    """Print the OpenAPI document of this release."""
    from linkage_service.openapi import document  # noqa: PLC0415

    click.echo(document(), nl=False)


@main.command("agreement-schema")
def agreement_schema() -> None:
    """Print the JSON Schema of agreement documents."""
    from linkage_service.agreements.document import json_schema_text  # noqa: PLC0415

    click.echo(json_schema_text(), nl=False)


def _settings(data_dir: Path | None, **given: str | None) -> "Settings":
    from pydantic import ValidationError  # noqa: PLC0415

    from linkage_service.settings import Settings  # noqa: PLC0415

    chosen: dict[str, Any] = {
        name: value for name, value in {"data_dir": data_dir, **given}.items() if value is not None
    }
    try:
        return Settings(**chosen)
    except ValidationError as error:
        # The values are left out: one of the settings is a key.
        wrong = "; ".join(
            ": ".join([*(f"LINKAGE_{str(name).upper()}" for name in item["loc"][:1]), item["msg"]])
            for item in error.errors()
        )
        _fail(f"The settings are wrong. {wrong}")


def _person(name: str, email: str) -> "PersonDraft":
    from pydantic import ValidationError  # noqa: PLC0415

    from linkage_service.people.schemas import PersonDraft  # noqa: PLC0415

    try:
        return PersonDraft(name=name, email=email, roles=["administrator"])
    except ValidationError:
        raise click.UsageError(
            "The name is up to 200 characters; the e-mail address is like name@example.org."
        ) from None


def _invite_of_unit(role: "UnitRole", *, data_dir: Path | None, email: str, name: str, as_json: bool) -> None:
    from linkage_service.audit.unit import unit_of_work  # noqa: PLC0415
    from linkage_service.people.service import invite_of_unit  # noqa: PLC0415

    person = _person(name, email)
    with _runtime(data_dir) as runtime:
        with unit_of_work(database=runtime.database, log=runtime.log, now=runtime.clock()) as unit:
            link = invite_of_unit(
                unit, role=role, name=person.name, email=person.email, hours=runtime.settings.person_invitation_hours
            )
        document = _link_document(runtime.settings, link, role)
    if as_json:
        click.echo(json.dumps(document))
        return
    _say_link(document, role)


def _link_document(settings: "Settings", invitation: "PersonInvitation", role: "UnitRole") -> dict[str, Any]:
    return {
        role: invitation.person.id,
        "link": f"{(settings.issuer or '').rstrip('/')}{invitation.path}",
        "expires_at": invitation.expires_at.isoformat(timespec="seconds"),
    }


def _say_link(document: dict[str, Any], role: "UnitRole") -> None:
    click.echo(f"The {role} {document[role]} enrols with this link. It works once:\n{document['link']}")
    click.echo(f"It is shown this once, and is good until {document['expires_at']}.", err=True)
    if document["link"].startswith("/"):
        click.echo("Put the service's address in front of it; with LINKAGE_ISSUER set, it is there.", err=True)


def _read_jwk(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        _fail(f"{path.name} is not a JWK in JSON.")
    return document


@contextmanager
def _runtime(data_dir: Path | None, **given: str | None) -> "Iterator[Runtime]":
    from linkage_service.runtime import build  # noqa: PLC0415

    with _errors():
        runtime = build(_settings(data_dir, **given))
        try:
            yield runtime
        finally:
            runtime.close()


@contextmanager
def _errors() -> Iterator[None]:
    """Turns what went wrong into one sentence and exit code 1.

    What a command needs has been imported by now: from here on there may be something to collect.
    """
    gc.enable()
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    from linkage_service.errors import LinkageError  # noqa: PLC0415

    try:
        yield
    except LinkageError as error:
        _fail(" ".join([error.detail, *(item.detail for item in error.errors)]))
    except OperationalError:
        _fail(
            "The database cannot be used. Run `linkage-service init` for a new service, `linkage-service db upgrade` "
            "after an update, or see to the database server."
        )


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)
