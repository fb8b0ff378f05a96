"""The command that sends encodings to the service."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from linkage_client.cli._session import Advance, Session, common_options, progress_bar, read_document
from linkage_client.errors import DataError, PackageError

if TYPE_CHECKING:
    from linkage_client.agreed import AgreedTerms
    from linkage_client.client import LinkageClient
    from linkage_client.models import Project, Upload

ENCODINGS_FILE = "encodings.bin"
MANIFEST_FILE = "manifest.json"
ROWS_FILE = "rows.parquet"
_MADE_WITH_WHAT = (
    "A JSON file of clkhash does not say which key it was made with. clkhash has to be given the working key of the "
    "project, which `linkage secret derive` writes, and not the linkage secret itself: nothing would match. If it was, "
    "say so with --with-working-key."
)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--project", "project_id", required=True, help="Id of the project.")
@click.option(
    "--secret-file",
    metavar="FILE",
    help="The linkage secret, to compare with the encodings', and of clkhash encodings; default: the one that is kept.",
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
@click.option(
    "--with-working-key",
    is_flag=True,
    help="Of clkhash encodings: they were made with the working key that `linkage secret derive` wrote.",
)
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
    with_working_key: bool,
) -> None:
    """Send SOURCE, a directory that `linkage encode` made or a JSON file of clkhash, to a project.

    Only encodings and the manifest are sent. An upload that was interrupted goes on with what is missing: run the same
    command again. What it needs for that is in a journal in your state folder, without secrets and without data.
    """
    from linkage_client.agreed import agreed_terms, named_project  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.resources.uploads import require_working_key  # noqa: PLC0415 - as above

    if not source.exists():
        raise DataError(f"{source}: no such file or folder. Name the folder that `linkage encode` made.")
    made = read_document(source / MANIFEST_FILE) if source.is_dir() else None
    if made is not None:
        require_working_key(made)
    elif not with_working_key:
        raise click.UsageError(_MADE_WITH_WHAT)
    with session.client() as client:
        project = named_project(client, project_id=project_id)
        if made is not None:
            described = _with_opt_outs(session, client, project, made, opt_outs_applied)
            _compare_secret(session, made, project, secret_file, rows=source / ROWS_FILE)
            sent = _send(session, client, project, manifest=described, encodings=source / ENCODINGS_FILE)
        else:
            terms = agreed_terms(client, project_id=project.id)
            with _imported(terms, source, shares=shares, clkhash_version=clkhash_version) as (imported, encodings):
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
    terms: "AgreedTerms",
    source: Path,
    *,
    shares: tuple[str, ...],
    clkhash_version: str,
) -> Iterator[tuple[dict[str, Any], Path]]:
    """Manifest and file of encodings from a JSON file of clkhash, for as long as they are sent."""
    from linkage_client.encoding.package import import_clkhash_json  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.encoding.profiles import require_clkhash  # noqa: PLC0415 - as above
    from linkage_client.encoding.working_keys import DERIVATION  # noqa: PLC0415 - as above

    require_clkhash(terms.encoding_profile)
    completeness = _completeness(shares, fields=terms.schema.hashed_fields)
    package = import_clkhash_json(
        source,
        schema=terms.schema,
        epoch=terms.epoch,
        encoder_version=clkhash_version,
        encoding_profile=terms.encoding_profile,
        derivation=DERIVATION,
    )
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
    session: Session, manifest: Mapping[str, Any], project: "Project", secret_file: str | None
) -> dict[str, Any]:
    """The manifest of clkhash encodings with the check value of the secret that their working key was made from."""
    from linkage_client.encoding.key_check import check_value  # noqa: PLC0415 - keeps `--help` quick

    secret = session.linkage_secret(project.id, project.key_epoch, secret_file)
    # Nobody could notice another secret later: the matcher would find nothing, and no reason.
    session.say(
        "These encodings do not say which secret their working key was made from. They are sent as made from "
        f"{'the one in the file' if secret_file else 'the one kept for this project'}: if that is wrong, nothing will "
        "match."
    )
    value = check_value(secret, project_id=project.id, epoch=project.key_epoch)
    return {**manifest, "key": {**manifest["key"], "epoch": project.key_epoch, "check_value": value}}


def _compare_secret(
    session: Session, manifest: Mapping[str, Any], project: "Project", secret_file: str | None, *, rows: Path
) -> None:
    """Compare the secret of the encodings with the one in the file, or with the one that is kept, if one is.

    Raises:
        PackageError: the encodings were made with another secret, or for another project.
    """
    from linkage_client.encoding.key_check import check_value  # noqa: PLC0415 - keeps `--help` quick

    if secret_file is None and session.secrets().find(project.id, project.key_epoch) is None:
        return
    secret = session.linkage_secret(project.id, project.key_epoch, secret_file)
    value = check_value(secret, project_id=project.id, epoch=project.key_epoch)
    if manifest["key"].get("check_value") == value and not _belied(rows, secret, manifest=manifest):
        return
    if manifest["key"].get("epoch") == project.key_epoch:
        raise PackageError(
            "The encodings were made with another secret, or for another project, so nothing would match. Nothing was "
            "sent. Name the right secret with --secret-file, or encode again."
        )


def _belied(rows: Path, secret: bytes, *, manifest: Mapping[str, Any]) -> bool:
    """Whether the rows file says that the encodings were made with another secret; False where it cannot say."""
    import pyarrow as pa  # noqa: PLC0415 - keeps `--help` quick
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    from linkage_client.encoding.rows_file import made_with  # noqa: PLC0415 - as above

    try:
        return made_with(pq.read_schema(rows), secret, encodings_sha256=str(manifest.get("sha256"))) is False
    except (OSError, pa.ArrowException):
        return False
