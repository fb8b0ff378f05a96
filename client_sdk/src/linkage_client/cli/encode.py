"""The command that turns an extract into encodings, on this machine only."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from linkage_client.cli._extract_options import extract_options, worthwhile_workers
from linkage_client.cli._normalising import chosen_normalisation, order_asker
from linkage_client.cli._opt_outs import opt_outs_day
from linkage_client.cli._round import agreed_round
from linkage_client.cli._session import (
    Session,
    common_options,
    parse_delimiter,
    parse_mapping,
    progress_bar,
)
from linkage_client.cli._showing_values import show_values_option, showing_values
from linkage_client.errors import TooFewRecordsError

if TYPE_CHECKING:
    from linkage_client.checks.leakage import LeakageReport
    from linkage_client.encoding.extract import EncodingPlan

# Starting a worker takes about as long as encoding this much in one process.
WORKERS_WORTH_BYTES = 20_000_000


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--project", "project_id", help="Project that the encodings are for: its schema and key epoch are used.")
@click.option(
    "--schema", "schema_file", type=click.Path(path_type=Path), help="Linkage schema; default: the project's."
)
@click.option(
    "--secret-file",
    metavar="FILE",
    help="The linkage secret; - for standard input. Default: the one kept for the project.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory to make.")
@click.option("--id-column", default="record_id", show_default=True, help="Column with your record ids.")
@extract_options
@click.option(
    "--opt-outs-applied",
    metavar="DATE",
    help="Day on which people who have objected were last taken out of DATA, such as 2026-03-01, or today.",
)
@click.option("--encoding-profile", help="Name of the agreed encoder parameters; default: the agreement's.")
@click.option("--skip-risk", is_flag=True, help="Do not measure what the encodings would give away.")
@show_values_option
@click.option("--workers", type=click.IntRange(min=1), help="Processes; default: by the size of the file.")
@click.option("--force", is_flag=True, help="Replace a directory of encodings.")
@common_options
def encode(
    session: Session,
    *,
    data: Path,
    project_id: str | None,
    schema_file: Path | None,
    secret_file: str | None,
    out: Path,
    id_column: str,
    mapping: tuple[str, ...],
    normalisation: str,
    methods: tuple[str, ...],
    date_orders: tuple[str, ...],
    encoding: str | None,
    delimiter: str | None,
    opt_outs_applied: str | None,
    encoding_profile: str | None,
    skip_risk: bool,
    show_values: bool,
    workers: int | None,
    force: bool,
) -> None:
    """Turn DATA (CSV or Parquet) into encodings: OUT/encodings.bin, OUT/manifest.json and OUT/rows.parquet.

    Nothing is sent. Values are first written alike (--normalisation), and a sample is attacked to see what
    the encodings would give away. Records that would match everybody are withheld.

    rows.parquet says which row is which record: keep it, and never hand it on. It fits these encodings only. With
    --force the one of the encodings that are replaced stays in OUT, under the name rows.<digest>.parquet.
    """
    from linkage_client.cli._encoding_outcome import EncodingOutcome  # noqa: PLC0415 - keeps `--help` quick
    from linkage_client.encoding.extract import plan_encoding  # noqa: PLC0415 - as above
    from linkage_client.encoding.package_files import check_destination  # noqa: PLC0415 - as above
    from linkage_client.encoding.reading import open_table, renamed_columns  # noqa: PLC0415 - as above

    chosen = chosen_normalisation(normalisation, methods=methods, date_orders=date_orders)
    check_destination(out, force=force)
    agreed = agreed_round(session, project_id, schema_file)
    applied = opt_outs_day(session, opt_outs_applied, reapply_days=agreed.reapply_days)
    secret = session.linkage_secret(agreed.project_id, agreed.epoch, secret_file)
    profile_name = encoding_profile or agreed.encoding_profile
    delimiter, renamed = parse_delimiter(delimiter), parse_mapping(mapping)
    with showing_values(session, data, asked=show_values, encoding=encoding, delimiter=delimiter, renamed=renamed):
        table = renamed_columns(open_table(data, encoding=encoding, delimiter=delimiter), renamed)
        session.say(f"{data.name}: {table.describe()}")
        with progress_bar("Reading", unit="bytes" if table.kind == "csv" else "rows") as advance:
            plan = plan_encoding(
                table,
                schema=agreed.schema,
                profile=chosen,
                id_column=id_column,
                choose_order=order_asker(session),
                progress=advance,
            )
        leakage = None if skip_risk else _leakage(session, plan, encoding_profile=profile_name)
        with progress_bar("Encoding", unit="rows") as advance:
            encoded = plan.write(
                out,
                secret=secret,
                project_id=agreed.project_id,
                epoch=agreed.epoch,
                encoding_profile=profile_name,
                workers=workers or worthwhile_workers(data, worth_bytes=WORKERS_WORTH_BYTES),
                force=force,
                leakage=leakage.to_manifest() if leakage else None,
                opt_outs_applied=applied,
                progress=advance,
            )
    outcome = EncodingOutcome(
        directory=out,
        plan=plan,
        encoded=encoded,
        leakage=leakage,
        maximum_reidentification=agreed.maximum_reidentification,
    )
    for line in outcome.lines():
        session.say(line)
    session.show(outcome.document(), [])


def _leakage(session: Session, plan: "EncodingPlan", *, encoding_profile: str | None) -> "LeakageReport | None":
    from linkage_client.checks.leakage import measure_file  # noqa: PLC0415 - keeps `--help` quick

    try:
        with progress_bar("Measuring leakage", unit="rows") as advance:
            return measure_file(
                plan.table,
                schema=plan.schema,
                profile=plan.profile,
                encoding_profile=encoding_profile,
                progress=advance,
            )
    except TooFewRecordsError as error:
        session.say(f"What the encodings give away was not measured: {error}.")
        return None
