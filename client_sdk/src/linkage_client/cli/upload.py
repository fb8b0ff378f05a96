"""The command that sends encodings to the service."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from linkage_client.cli._session import Advance, Session, common_options, progress_bar, read_document
from linkage_client.errors import DataError, PackageError, UnexpectedAnswerError

if TYPE_CHECKING:
    from linkage_client.client import LinkageClient
    from linkage_client.models import Project, Upload

ENCODINGS_FILE = "encodings.bin"
MANIFEST_FILE = "manifest.json"
ROWS_FILE = "rows.parquet"


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--project", "project_id", required=True, help="Id of the project.")
@click.option(
    "--secret-file",
    metavar="FILE",
    help="The linkage secret, if encoding was done without the project; default: the one that is kept.",
)
@click.option(
    "--completeness",
    "shares",
    multiple=True,
    metavar="FIELD=SHARE",
    help="Of clkhash encodings: share of records with a value, 0 to 1, for each hashed field.",
)
@click.option(
    "--opt-outs-applied",
    metavar="DATE",
    help="Of clkhash encodings: day on which people who have objected were last taken out of the extract.",
)
@click.option("--clkhash-version", default="unknown", help="Of clkhash encodings: what made them.")
@common_options
def upload(
    session: Session,
    *,
    source: Path,
    project_id: str,
    secret_file: str | None,
    shares: tuple[str, ...],
    opt_outs_applied: str | None,
    clkhash_version: str,
) -> None:
    """Send SOURCE, a directory that `linkage encode` made or a JSON file of clkhash, to a project.

    Only encodings and the manifest are sent. An upload that was interrupted goes on with what is missing: run the same
    command again. What it needs for that is in a journal in your state folder, without secrets and without data.
    """
    if not source.exists():
        raise DataError(f"{source}: no such file or folder. Name the folder that `linkage encode` made.")
    with session.client() as client:
        project = client.projects.get(project_id=project_id)
        if source.is_dir():
            manifest = _with_opt_outs(session, client, project, read_document(source / MANIFEST_FILE), opt_outs_applied)
            described = _with_check_value(session, manifest, project, secret_file, rows=source / ROWS_FILE)
            sent = _send(session, client, project, manifest=described, encodings=source / ENCODINGS_FILE)
        else:
            with _imported(project, source, shares=shares, clkhash_version=clkhash_version) as (imported, encodings):
                manifest = _with_opt_outs(session, client, project, imported, opt_outs_applied)
                described = _with_check_value(session, manifest, project, secret_file)
                sent = _send(session, client, project, manifest=described, encodings=encodings)
    session.say(f"{sent.manifest.count:,} encodings are at the service.")
    for finding in sent.findings:
        session.say(f"The service asks you to look at this upload ({finding.code}): {finding.message}")
    session.show(sent, [f"upload: {sent.id}", f"state: {sent.state}", f"sha256: {sent.manifest.sha256}"])


def _with_opt_outs(
    session: Session, client: "LinkageClient", project: "Project", manifest: Mapping[str, Any], given: str | None
) -> dict[str, Any]:
    """The manifest with the day on which opt-outs were applied, checked against the agreement before anything is sent.

    Raises:
        PackageError: it is too long ago, or nobody said it, or the encodings say another day.
    """
    import datetime as dt  # noqa: PLC0415 - keeps `--help` quick

    from linkage_client import opt_outs  # noqa: PLC0415 - as above
    from linkage_client.agreed import reapply_days  # noqa: PLC0415 - as above

    today = dt.datetime.now(dt.UTC).date()
    declared = opt_outs.day_of(manifest)
    day = declared if given is None else opt_outs.parse_day(given, today=today)
    if declared not in {None, day}:
        raise PackageError(
            "These encodings say that opt-outs were applied on another day than you say now. Nothing was sent. What "
            "was encoded cannot change: leave --opt-outs-applied out, or encode again."
        )
    opt_outs.check_day(day, reapply_days=reapply_days(client, project_id=project.id), today=today)
    if day is None:
        return dict(manifest)
    session.say(f"Declared: people who have objected were last taken out of the extract on {day}.")
    return {**manifest, opt_outs.MEMBER: opt_outs.written(day)}


def _send(
    session: Session, client: "LinkageClient", project: "Project", *, manifest: Mapping[str, Any], encodings: Path
) -> "Upload":
    from linkage_client.journal import default_folder  # noqa: PLC0415 - keeps `--help` quick

    with _Bars(say=session.say) as bars:
        return client.uploads.send(
            project_id=project.id,
            manifest=manifest,
            encodings=encodings,
            journals=default_folder(),
            checking=lambda done, total: bars.advance("Checking", done, total),
            progress=lambda done, total: bars.advance("Uploading", done, total),
            say=bars.say,
        )


class _Bars(ExitStack):
    """One progress bar after the other, each once there is something to show, and remarks between them."""

    def __init__(self, *, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say
        self._shown = ""
        self._bar: Advance = lambda _done, _total: None

    def advance(self, description: str, done: int, total: int) -> None:
        """Show how far the step of this name is."""
        if description != self._shown:
            self.close()
            self._shown, self._bar = description, self.enter_context(progress_bar(description, unit="bytes"))
        self._bar(done, total)

    def say(self, text: str) -> None:
        """Say something where no bar, when it is drawn again, would overwrite it."""
        self.close()
        self._shown = ""
        self._say(text)


@contextmanager
def _imported(
    project: "Project",
    source: Path,
    *,
    shares: tuple[str, ...],
    clkhash_version: str,
) -> Iterator[tuple[dict[str, Any], Path]]:
    """Manifest and file of encodings from a JSON file of clkhash, for as long as they are sent."""
    from linkage_client.encoding.package import import_clkhash_json  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.encoding.schema import LinkageSchema  # noqa: PLC0415 - as above

    if project.linkage_schema is None:
        raise UnexpectedAnswerError("The service left out the linkage schema of this project.")
    schema = LinkageSchema.parse(project.linkage_schema)
    completeness = _completeness(shares, fields=schema.hashed_fields)
    package = import_clkhash_json(source, schema=schema, epoch=project.key_epoch, encoder_version=clkhash_version)
    with tempfile.TemporaryDirectory(prefix="linkage-upload-") as folder:
        encodings = Path(folder) / ENCODINGS_FILE
        encodings.write_bytes(package.encodings.tobytes())
        yield {**package.manifest, "completeness": completeness}, encodings


def _completeness(shares: tuple[str, ...], *, fields: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for share in shares:
        name, _, number = share.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise click.UsageError("--completeness needs FIELD=SHARE, such as given_name=0.98.") from None
    if set(found) != set(fields) or not all(0 <= value <= 1 for value in found.values()):
        raise click.UsageError(
            "A JSON file of clkhash does not say how complete its fields were. Say it with --completeness FIELD=SHARE "
            f"(0 to 1) for each of: {', '.join(fields)}.",
        )
    return found


def _with_check_value(
    session: Session,
    manifest: Mapping[str, Any],
    project: "Project",
    secret_file: str | None,
    *,
    rows: Path | None = None,
) -> dict[str, Any]:
    """The manifest with the check value of the secret, which encoding leaves open when it knows no project.

    Raises:
        PackageError: the encodings were made with another secret.
    """
    from linkage_client.encoding.key_check import check_value  # noqa: PLC0415 - keeps `--help` quick

    key = manifest.get("key")
    known = key.get("check_value") if isinstance(key, Mapping) else None
    if secret_file is None and known is not None:
        return dict(manifest)
    secret = session.linkage_secret(project.id, project.key_epoch, secret_file)
    if known is None and not _proven(rows, secret, encodings_sha256=str(manifest.get("sha256"))):
        # Nobody could notice another secret later: the matcher would find nothing, and no reason.
        session.say(
            "These encodings do not say which secret they were made with. They are sent as made with "
            f"{'the one in the file' if secret_file else 'the one kept for this project'}: if they were not, nothing "
            "will match. `linkage encode --project` notes the secret."
        )
    value = check_value(secret, project_id=project.id, epoch=project.key_epoch)
    if known not in {None, value}:
        raise PackageError("The encodings were made with another secret, or for another project. Encode again.")
    return {**manifest, "key": {"epoch": project.key_epoch, "check_value": value}}


def _proven(rows: Path | None, secret: bytes, *, encodings_sha256: str) -> bool:
    """Whether the rows file beside the encodings says that they were made with the secret; False where it cannot."""
    import pyarrow as pa  # noqa: PLC0415 - keeps `--help` quick
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    from linkage_client.encoding.rows_file import made_with  # noqa: PLC0415 - as above

    if rows is None:
        return False
    try:
        made = made_with(pq.read_schema(rows), secret, encodings_sha256=encodings_sha256)
    except (OSError, pa.ArrowException):
        return False
    if made is False:
        raise PackageError(
            "The encodings were made with another secret than this one, so nothing would match. Nothing was sent. Name "
            "the right secret with --secret-file, or encode again."
        )
    return made is True
