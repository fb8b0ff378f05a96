"""Commands about agreements: write, check, draft, propose, read, sign, verify, amend, review, suspend, end."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from linkage_client.cli._session import (
    Session,
    common_options,
    common_options_without_defaults,
    printable,
    read_document,
    write_document,
    write_text,
)
from linkage_client.errors import AgreementMismatchError, ConfigurationError, KeystoreError, LinkageClientError

if TYPE_CHECKING:
    from linkage_client.agreements.showing import Shown
    from linkage_client.agreements.signatures import SignedDocument
    from linkage_client.client import LinkageClient
    from linkage_client.models import Agreement, AgreementVersion, Organisation

_FORMATS: Final = ("json", "page", "text", "dea-csv", "article30-csv", "bundle")
_reason = click.option("--reason", required=True, help="Why, in words; it goes into the access log.")


@click.group()
def agreement() -> None:
    """Write, check, sign, amend, review and end agreements."""


# --- documents in files -----------------------------------------------------------------------------------------------


@agreement.command("new")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--schema", "schema_file", type=click.Path(path_type=Path), help="Linkage schema: digest and fields.")
@click.option("--answers", type=click.Path(path_type=Path), help="JSON with the document's fields, instead of asking.")
@click.option("--offline", is_flag=True, help="Do not look up organisations at the service.")
@click.option("--force", is_flag=True, help="Replace the file.")
@common_options_without_defaults
def new(
    session: Session, *, out: Path, schema_file: Path | None, answers: Path | None, offline: bool, force: bool
) -> None:
    """Ask for everything an agreement says, in plain words, and write the document to OUT.

    Type :back to go back a question and :quit to stop: answers are kept beside OUT, and the same command goes on there.
    """
    from linkage_client.agreements.questions import answers_of, document_of  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.agreements.validation import check as check_document  # noqa: PLC0415 - as above
    from linkage_client.cli._interview import Interview, Left  # noqa: PLC0415 - as above
    from linkage_client.files import check_output  # noqa: PLC0415 - as above

    check_output(out, overwrite=force)
    given = _from_schema(schema_file)
    today = datetime.now(UTC).date()
    if answers is not None:
        document = document_of({**answers_of(_with_schema(read_document(answers), given), today=today)})
        check_document(document)
        write_document(out, document, force=force)
    else:
        if not sys.stdin.isatty():
            raise click.UsageError("Without a terminal, give the fields with --answers FILE.json.")
        partial = out.with_name(f"{out.name}.partial")
        organisations = [] if offline else _organisations(session)
        interview = Interview(partial=partial, given=given, organisations=organisations, today=today)
        session.say("Type :back to go back a question and :quit to stop; answers are kept until you go on.")
        if interview.resumed:
            session.say(f"Going on after {interview.resumed} answers in {partial}.")
        try:
            document = interview.document()
        except Left:
            session.say(f"Stopped. The answers are in {partial}; the same command goes on with them.")
            return
        write_document(out, document, force=force)
        interview.forget()
    session.say(f"{out} is ready. Read it with `linkage agreement check {out}`, then import it.")
    session.show({"out": str(out)}, [])


@agreement.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def check(session: Session, *, file: Path) -> None:
    """Check a document in FILE offline, and show it in plain words with the digest that would be signed."""
    from linkage_client.agreements.text import text  # noqa: PLC0415 - keeps `--help` quick

    from_file = _shown(_of_file(read_document(file)))
    session.show(
        {"reference": from_file.said.reference, "digest": from_file.digest, "parties": list(from_file.said.parties)},
        text(from_file, columns=_columns()).splitlines(),
    )


@agreement.command("verify")
@click.argument("file_or_id")
@click.option("--version", type=int, help="Of an agreement at the service. Default: the one in force.")
@click.option(
    "--thumbprint",
    "thumbprints",
    multiple=True,
    metavar="ORGANISATION=THUMBPRINT",
    help="What an organisation told you of its signing key by another way; may be repeated.",
)
@common_options
def verify(session: Session, *, file_or_id: str, version: int | None, thumbprints: tuple[str, ...]) -> None:
    """Check every party's signature over a bundle in a file, or over an agreement at the service.

    The keys are those that the parties registered at the service. With --thumbprint they are compared with what an
    organisation says itself, which no service can forge.
    """
    from linkage_client.agreements.signatures import check_signatures, from_bundle  # noqa: PLC0415 - quick `--help`

    expected = _pairs(thumbprints)
    if Path(file_or_id).exists():
        signed = from_bundle(read_document(Path(file_or_id)))
    else:
        with session.client() as client:
            signed = _signed(client, file_or_id, version)
    found = check_signatures(signed, expected=expected)
    unknown = expected.keys() - {item.organisation for item in found}
    if unknown:
        raise click.UsageError(f"No party of this agreement: {', '.join(sorted(unknown))}.")
    session.show(
        {
            "digest": signed.stated_digest,
            "verified": all(item.state == "valid" for item in found),
            "signatures": [
                {"organisation": item.organisation, "state": item.state, "thumbprint": item.thumbprint}
                for item in found
            ],
        },
        [
            f"digest: {signed.stated_digest}",
            *(f"{item.organisation}: {item.in_words}, key {item.thumbprint or 'not known'}" for item in found),
        ],
    )
    if any(item.state != "valid" for item in found):
        raise AgreementMismatchError("Not every party's signature over this text verifies.")


# --- at the service ---------------------------------------------------------------------------------------------------


@agreement.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def import_(session: Session, *, file: Path) -> None:
    """Check a JSON document in FILE and make it a draft at the service."""
    from linkage_client.agreements.validation import check as check_document  # noqa: PLC0415 - keeps `--help` quick

    content = read_document(file)
    check_document(content)
    with session.client() as client:
        session.show(client.agreements.create(document=content))


@agreement.command("create")
@click.argument("document", type=click.Path(path_type=Path))
@common_options
def create(session: Session, *, document: Path) -> None:
    """Make a draft from a JSON DOCUMENT as it is; the service checks it."""
    content = read_document(document)
    with session.client() as client:
        session.show(client.agreements.create(document=content))


@agreement.command("amend")
@click.argument("agreement_id")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def amend(session: Session, *, agreement_id: str, file: Path) -> None:
    """Draft the next version from FILE, or replace its draft; the present one is in force until all have signed."""
    from linkage_client.agreements.validation import check as check_document  # noqa: PLC0415 - keeps `--help` quick

    content = read_document(file)
    check_document(content)
    with session.client() as client:
        found = client.agreements.get(agreement_id=agreement_id)
        draft = next((item.version for item in found.versions if item.state == "draft"), None)
        if draft is None:
            session.show(client.agreements.amend(agreement_id=agreement_id, document=content))
        else:
            replaced = client.agreements.replace_draft(agreement_id=agreement_id, version=draft, document=content)
            session.show(replaced)


@agreement.command("withdraw")
@click.argument("agreement_id")
@click.option("--version", type=int, help="Default: the one that is not in force yet.")
@common_options
def withdraw(session: Session, *, agreement_id: str, version: int | None) -> None:
    """Take back a draft, or a proposed amendment that not all parties have signed."""
    with session.client() as client:
        chosen = _version(client, agreement_id, version)
        client.agreements.withdraw(agreement_id=agreement_id, version=chosen)
    session.show({"withdrawn": agreement_id, "version": chosen})


@agreement.command("propose")
@click.argument("agreement_id")
@click.option("--version", type=int, help="Default: the one that is not in force yet.")
@common_options
def propose(session: Session, *, agreement_id: str, version: int | None) -> None:
    """Make a version immutable and put it to the parties for signature."""
    with session.client() as client:
        chosen = _version(client, agreement_id, version)
        session.show(client.agreements.propose(agreement_id=agreement_id, version=chosen))


@agreement.command("show")
@click.argument("agreement_id")
@click.option("--version", type=int, help="Default: the one in force.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the text to this JSON file.")
@click.option("--force", is_flag=True, help="Replace the file.")
@common_options
def show(session: Session, *, agreement_id: str, version: int | None, out: Path | None, force: bool) -> None:
    """Show a version: state, versions, reviews, parties, signatures, digest. With --json or --out also its text."""
    with session.client() as client:
        chosen = version if version is not None else client.agreements.get(agreement_id=agreement_id).version
        shown = client.agreements.version(agreement_id=agreement_id, version=chosen)
    if out is not None:
        write_document(out, shown.document, force=force)
    session.show(shown, _lines(shown))


@agreement.command("export")
@click.argument("agreement_id")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="json", show_default=True, help="What to write.")
@click.option("--version", type=int, help="Default: the one in force.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--force", is_flag=True, help="Replace the file.")
@common_options
def export(session: Session, *, agreement_id: str, form: str, version: int | None, out: Path, force: bool) -> None:
    """Write an agreement as JSON, as a page or text in plain words, as a register's CSV row, or as a bundle to verify.

    dea-csv is a row of the Digital Economy Act register, article30-csv one of the record of processing. Everything is
    made here from the text whose digest was checked.
    """
    from linkage_client.agreements import page, registers, signatures, text  # noqa: PLC0415 - keeps `--help` quick

    with session.client() as client:
        signed = _signed(client, agreement_id, version)
    signatures.checked_digest(signed)
    if form == "json":
        write_document(out, signed.document, force=force)
    elif form == "bundle":
        write_document(out, signatures.to_bundle(signed), force=force)
    elif form == "page":
        write_text(out, page.page(_shown(signed)), force=force)
    elif form == "text":
        write_text(out, text.text(_shown(signed)), force=force)
    else:
        written = registers.dea_csv(signed) if form == "dea-csv" else registers.article30_csv(signed)
        write_text(out, written, force=force)
    session.show({"out": str(out), "format": form, "digest": signed.stated_digest})


@agreement.command("list")
@common_options
def list_(session: Session) -> None:
    """List the agreements that you may see."""
    with session.client() as client:
        session.show_list(
            client.agreements.list(),
            columns=("id", "reference", "state", "version", "review_by", "versions"),
            worded=_in_list,
        )


@agreement.command("sign")
@click.argument("agreement_id")
@click.option("--version", type=int, help="Default: the one that waits for signatures.")
@click.option("--digest", help="Digest of the text that you have read; required without a terminal.")
@click.option("--signing-key", type=click.Path(path_type=Path), help="Default: the one of the profile.")
@common_options
def sign(
    session: Session,
    *,
    agreement_id: str,
    version: int | None,
    digest: str | None,
    signing_key: Path | None,
) -> None:
    """Sign a proposed version for your organisation; with the last party's signature it is in force.

    The whole text is shown in plain words before you are asked. Nothing is signed that is not a whole agreement or that
    cannot be shown in full. Without a terminal, --digest says which text you have read (`linkage agreement check`).
    """
    key = session.signing_key(signing_key)
    with session.client() as client:
        chosen = _version(client, agreement_id, version)
        shown = _shown(_signed(client, agreement_id, chosen))
        expected = digest or _asked(shown)
        signed = client.agreements.sign(
            agreement_id=agreement_id,
            version=chosen,
            signing_key=key,
            expected_digest=expected,
        )
    session.show(signed)


@agreement.command("suspend")
@click.argument("agreement_id")
@_reason
@common_options
def suspend(session: Session, *, agreement_id: str, reason: str) -> None:
    """Stop everything under an agreement until it is reinstated."""
    with session.client() as client:
        session.show(client.agreements.suspend(agreement_id=agreement_id, reason=reason))


@agreement.command("reinstate")
@click.argument("agreement_id")
@_reason
@common_options
def reinstate(session: Session, *, agreement_id: str, reason: str) -> None:
    """End a suspension (an officer of the linkage unit)."""
    with session.client() as client:
        session.show(client.agreements.reinstate(agreement_id=agreement_id, reason=reason))


@agreement.command("review")
@click.argument("agreement_id")
@click.option("--passed/--failed", default=None, help="Whether the sharing goes on.")
@click.option(
    "--next", "review_by", required=True, type=click.DateTime(["%Y-%m-%d"]), help="Day by which to review again."
)
@click.option("--findings", required=True, help="What was found, in words; it goes into the access log.")
@common_options
def review(session: Session, *, agreement_id: str, passed: bool | None, review_by: datetime, findings: str) -> None:
    """Record a review (an officer of the linkage unit). After one that failed there is no new processing."""
    if passed is None:
        raise click.UsageError("Say --passed or --failed.")
    with session.client() as client:
        session.show(
            client.agreements.review(
                agreement_id=agreement_id, passed=passed, review_by=review_by.replace(tzinfo=UTC), findings=findings
            )
        )


@agreement.command("terminate")
@click.argument("agreement_id")
@_reason
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def terminate(session: Session, *, agreement_id: str, reason: str, yes: bool) -> None:
    """End an agreement with all its versions and projects, for good."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("Ending an agreement cannot be undone. Without a terminal, say --yes.")
        click.confirm("This ends every version and every project, and cannot be undone. Go on?", abort=True, err=True)
    with session.client() as client:
        session.show(client.agreements.terminate(agreement_id=agreement_id, reason=reason))


# --- what they share --------------------------------------------------------------------------------------------------


def _version(client: "LinkageClient", agreement_id: str, version: int | None) -> int:
    """The version to work on: the one that was named, else the one that is not in force yet, else the present one."""
    if version is not None:
        return version
    found = client.agreements.get(agreement_id=agreement_id)
    return found.open_version or found.version


def _signed(client: "LinkageClient", agreement_id: str, version: int | None) -> "SignedDocument":
    from linkage_client.agreed import signed_version  # noqa: PLC0415 - keeps `--help` quick

    chosen = version if version is not None else client.agreements.get(agreement_id=agreement_id).version
    return signed_version(client, agreement_id=agreement_id, version=chosen)


def _of_file(document: Mapping[str, Any]) -> "SignedDocument":
    from linkage_client.agreements.signatures import SignedDocument  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.agreements.validation import check as check_document  # noqa: PLC0415 - as above
    from linkage_client.keys import document_digest  # noqa: PLC0415 - as above

    check_document(document)
    return SignedDocument(document=document, stated_digest=document_digest(document), signatures={}, keys={})


def _shown(signed: "SignedDocument") -> "Shown":
    from linkage_client.agreements.showing import shown  # noqa: PLC0415 - keeps `--help` quick

    made_by = f"linkage-client {version_of('linkage-client')}"
    return shown(signed, made_by=made_by, made_at=datetime.now(UTC))


def _asked(shown: "Shown") -> str:
    """The digest that a person at a terminal agrees to, after the whole text has gone past."""
    from linkage_client.agreements.text import text  # noqa: PLC0415 - keeps `--help` quick

    if not sys.stdin.isatty():
        raise click.UsageError("Without a terminal, say with --digest which text you have read and want to sign.")
    whole = "\n".join(printable(line) for line in text(shown, columns=_columns()).splitlines())
    if sys.stdout.isatty():
        click.echo_via_pager(whole)
    else:
        click.echo(whole, err=True)
    click.confirm(f"Sign the text with digest {shown.digest} for your organisation?", abort=True, err=True)
    return shown.digest


def _columns() -> int:
    import shutil  # noqa: PLC0415 - keeps `--help` quick

    return shutil.get_terminal_size().columns


def _organisations(session: Session) -> "list[Organisation]":
    """The organisations of the service, where there is a profile for it; an interview works without them."""
    try:
        with session.client() as client:
            return list(client.organisations.list())
    except KeystoreError:
        raise
    except ConfigurationError:
        return []
    except LinkageClientError as error:
        session.say(f"Organisations are not listed: {error.message} Give their ids.")
        return []


def _from_schema(schema_file: Path | None) -> dict[str, Any]:
    if schema_file is None:
        return {}
    from linkage_client.encoding.schema import LinkageSchema  # noqa: PLC0415 - keeps `--help` quick

    schema = LinkageSchema.from_file(schema_file)
    return {"/data/linkage_schema_sha256": schema.digest, "/data/identifier_fields": list(schema.hashed_fields)}


def _with_schema(answers: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    data = answers.get("data")
    taken = {pointer.rpartition("/")[2]: value for pointer, value in given.items()}
    return {**answers, "data": {**(data if isinstance(data, dict) else {}), **taken}}


def _pairs(thumbprints: tuple[str, ...]) -> dict[str, str]:
    pairs = dict(item.partition("=")[::2] for item in thumbprints)
    if not all(pairs.values()):
        raise click.UsageError("--thumbprint needs ORGANISATION=THUMBPRINT.")
    return pairs


def _in_list(item: "Agreement") -> dict[str, str]:
    day = "-" if item.review_by is None else item.review_by.date().isoformat()
    return {"review_by": day, "versions": ", ".join(f"{v.version} {v.state}" for v in item.versions) or "-"}


def _lines(shown: "AgreementVersion") -> list[str]:
    document = shown.document
    signed = {signature.organisation: signature for signature in shown.signatures}
    lines = [
        f"{shown.reference}: {document.get('title', '')}",
        f"id: {shown.id}, version {shown.version}, {shown.state}",
        f"digest: {shown.digest}",
    ]
    lines += [f"version {item.version}: {item.state}, {item.digest}" for item in shown.versions]
    if shown.review_by is not None:
        lines.append(f"to be reviewed by: {shown.review_by.isoformat()}")
    if shown.review is not None:
        outcome = "passed" if shown.review.passed else "failed"
        lines.append(f"reviewed {shown.review.created_at.isoformat()}: {outcome}. {shown.review.findings}")
    for party in shown.parties:
        by = signed.get(party.organisation)
        mark = f"signed {by.signed_at.isoformat()}" if by else ("signed" if party.signed else "not signed")
        lines.append(f"party: {party.organisation} ({', '.join(party.roles)}), {mark}")
    return lines
