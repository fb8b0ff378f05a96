"""Encodes an extract in two readings: what has to be known of the whole file is found before the long work begins.

The first reading takes the record ids, so that duplicates are found early, and learns from the dates whether day or
month comes first. The second encodes, block by block. Rows are then shuffled by a permutation drawn anew each time, so
that the order of a file (of admission, of the alphabet) says nothing.
"""

import datetime as dt
import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linkage_client import opt_outs
from linkage_client.encoding.columns import distinct
from linkage_client.encoding.dates import DateEvidence, DateOrder, DateVerdict, judge_dates
from linkage_client.encoding.derive import (
    PlainColumn,
    ResolvedColumn,
    check_profile,
    methods_of,
    normalisation_digest,
    prepare,
    resolve_columns,
    sources_of,
    validity,
)
from linkage_client.encoding.encoder import BLOCK_ROWS, Progress
from linkage_client.encoding.key_check import check_value
from linkage_client.encoding.normalise.fitting import order_of_format
from linkage_client.encoding.normalise.outcome import Outcome
from linkage_client.encoding.normalise.profile import DATE, NormalisationProfile
from linkage_client.encoding.package_files import (
    ENCODINGS_FILE,
    ROWS_FILE,
    WITHHELD_FILE,
    check_destination,
    new_directory,
    new_file,
    write_manifest,
    write_rows,
    write_withheld,
    writing,
)
from linkage_client.encoding.profiles import RecordEncoder, encoder_for, own_profile, token_counts
from linkage_client.encoding.reading import Table, check_record_ids
from linkage_client.encoding.rows_file import secret_proof
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.encoding.sufficiency import Sufficiency
from linkage_client.encoding.workers import in_order
from linkage_client.encoding.working_keys import DERIVATION, working_key
from linkage_client.errors import AmbiguousDates, AmbiguousDatesError, ColumnError, DataError, FileFormatError
from linkage_client.files import flush

MANIFEST_VERSION: Final = 1
_SHARE_DIGITS: Final = 4

ChooseOrder = Callable[[AmbiguousDates], DateOrder | None]
"""Asks somebody which order a column has; None: nobody says."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of an extract."""

    manifest: dict[str, Any]
    """As written to manifest.json."""
    withheld: int
    """Records that were not encoded, because they say too little to tell anybody apart. Nobody else is told."""
    hints: Mapping[str, Mapping[str, int]]
    """By column: rows by what may have happened to their values."""
    placeholders: Mapping[str, int]
    """By hashed field: rows whose value only says that nothing is known."""
    thin: int
    """Records that have fewer tokens than the encoding profile wants, so that it protects them less."""


@dataclass(frozen=True, slots=True)
class EncodingPlan:
    """An extract after its first reading. Make it with `plan_encoding`."""

    table: Table
    schema: LinkageSchema
    profile: NormalisationProfile
    """With the order of the dates of this file."""
    resolved: tuple[ResolvedColumn, ...]
    record_ids: "pa.ChunkedArray[Any]"
    dates: Mapping[str, DateEvidence]
    """By column: what its values say about the order of day and month."""

    @property
    def sources(self) -> list[str]:
        """The columns of the table that the schema uses."""
        return list(dict.fromkeys(source for column in self.resolved for source in sources_of(column)))

    def write(
        self,
        destination: str | Path,
        *,
        secret: bytes,
        project_id: str | None = None,
        epoch: int = 1,
        encoding_profile: str | None = None,
        workers: int = 1,
        force: bool = False,
        leakage: Mapping[str, Any] | None = None,
        opt_outs_applied: dt.date | None = None,
        progress: Progress | None = None,
    ) -> Encoded:
        """Encode the extract into a new directory. Arguments and errors as `package.encode_file`."""
        destination = Path(destination)
        check_destination(destination, force=force)
        key = secret
        if project_id is not None:
            key = working_key(
                secret,
                project_id=project_id,
                epoch=epoch,
                linkage_schema_sha256=self.schema.digest,
                encoding_profile=encoding_profile,
            )
        encoder = encoder_for(self.schema, key, profile=encoding_profile)
        job = _Job(
            encoder=encoder,
            resolved=self.resolved,
            profile=self.profile,
            sufficiency=Sufficiency.of(self.resolved, self.profile),
            sources=self.sources,
            fewest_tokens=found.fewest_tokens if (found := own_profile(encoding_profile)) else 0,
        )
        with _closing(encoder), new_directory(destination, force=force) as directory:
            kept = _write_in_order(
                job, self.table, directory / "in-order", count=len(self.record_ids), workers=workers, progress=progress
            )
            order = _permutation(kept.count)
            sha256 = _write_shuffled(directory, order, row_bytes=self.schema.bits // 8)
            enough = pa.array(kept.enough)
            record_ids = self.record_ids.filter(enough)
            write_rows(
                directory / ROWS_FILE,
                record_ids.take(order),
                encodings_sha256=sha256,
                secret_proof=secret_proof(secret, encodings_sha256=sha256),
            )
            withheld = len(self.record_ids) - kept.count
            if withheld:
                left_out = self.record_ids.filter(pa.array(~kept.enough))
                write_withheld(directory / WITHHELD_FILE, left_out, encodings_sha256=sha256)
            manifest = {
                "version": MANIFEST_VERSION,
                "linkage_schema_sha256": self.schema.digest,
                "encoding_profile": encoding_profile,
                "encoder": {"name": "linkage-client", "version": version("linkage-client")},
                "normalisation": self.profile.name,
                "normalisation_sha256": normalisation_digest(
                    self.schema, self.profile, table_columns=self.table.columns
                ),
                "count": kept.count,
                "bits": self.schema.bits,
                "size_bytes": kept.count * self.schema.bits // 8,
                "sha256": sha256,
                "key": {
                    "epoch": epoch,
                    # Of the secret, as the partners compare it: a working key has no check value of its own.
                    "check_value": None
                    if project_id is None
                    else check_value(secret, project_id=project_id, epoch=epoch),
                    "derivation": None if project_id is None else DERIVATION,
                },
                "completeness": {
                    name: round(kept.present[name] / kept.count, _SHARE_DIGITS) for name in self.schema.hashed_fields
                },
                "validity": {
                    name: round(validity(kept.outcomes[name]), _SHARE_DIGITS) for name in self.schema.hashed_fields
                },
                **({"leakage": dict(leakage)} if leakage is not None else {}),
                **({opt_outs.MEMBER: opt_outs.written(opt_outs_applied)} if opt_outs_applied is not None else {}),
            }
            write_manifest(directory, manifest)
        placeholders = {name: outcomes[Outcome.PLACEHOLDER] for name, outcomes in kept.outcomes.items()}
        return Encoded(
            manifest=manifest, withheld=withheld, hints=kept.hints, placeholders=placeholders, thin=kept.thin
        )


def _closing(encoder: RecordEncoder) -> AbstractContextManager[object]:
    """Encoders that hold keys overwrite them when they are closed."""
    return encoder if isinstance(encoder, AbstractContextManager) else nullcontext()


def plan_encoding(
    table: Table,
    *,
    schema: LinkageSchema,
    profile: NormalisationProfile,
    id_column: str = "record_id",
    choose_order: ChooseOrder | None = None,
    progress: Progress | None = None,
) -> EncodingPlan:
    """Read the ids and the dates of a table.

    Args:
        table: whose columns have the names of the schema.
        schema: which columns, and how.
        profile: how values are written alike.
        id_column: names each record.
        choose_order: asked for the order of a column that does not tell it itself.
        progress: told how much of the file is read and how much there is, in bytes (CSV) or rows (Parquet).

    Raises:
        AmbiguousDatesError: a column does not tell the order of its dates, and nobody else did.
        DataError: a column is absent, or ids are empty or occur twice.
        ConfigurationError: the profile does not go with the schema.
        SchemaError: likewise.
    """
    resolved = resolve_columns(schema, table.columns)
    check_profile(resolved, profile)
    if id_column not in table.columns:
        raise ColumnError(
            f"the table has no column {id_column!r} for record ids, and results could not be joined back without: "
            "name the column with --id-column"
        )
    dates = dict.fromkeys(_date_columns(resolved, profile), DateEvidence())
    record_ids = _first_reading(table, id_column, dates, today=profile.today, progress=progress)
    orders = _orders(dates, resolved=resolved, profile=profile, choose_order=choose_order)
    return EncodingPlan(
        table=table,
        schema=schema,
        profile=profile.with_date_orders(orders),
        resolved=resolved,
        record_ids=record_ids,
        dates=dates,
    )


def with_date_orders(
    table: Table,
    *,
    schema: LinkageSchema,
    profile: NormalisationProfile,
    choose_order: ChooseOrder | None = None,
) -> NormalisationProfile:
    """The profile with the orders of a table's dates, for who only looks at the table. Reads its dates, if it has any.

    Arguments and errors as `plan_encoding`.
    """
    resolved = resolve_columns(schema, table.columns)
    check_profile(resolved, profile)
    names = _date_columns(resolved, profile)
    dates = dict.fromkeys(names, DateEvidence())
    for batch in table.batches(names) if names else ():
        _add_evidence(dates, batch, today=profile.today)
    return profile.with_date_orders(_orders(dates, resolved=resolved, profile=profile, choose_order=choose_order))


def _date_columns(resolved: Sequence[ResolvedColumn], profile: NormalisationProfile) -> list[str]:
    methods = (method for column in resolved for method in methods_of(column, profile))
    return list(dict.fromkeys(source for source, method in methods if method.name == DATE))


def _first_reading(
    table: Table, id_column: str, dates: dict[str, DateEvidence], *, today: dt.date, progress: Progress | None
) -> "pa.ChunkedArray[Any]":
    """The record ids; adds to the evidence of the columns of dates."""
    chunks = []
    for batch in table.batches([id_column, *dates], progress=progress):
        chunks.append(batch.column(id_column))
        _add_evidence(dates, batch, today=today)
    record_ids = pa.chunked_array(chunks, pa.string())
    if not len(record_ids):
        raise FileFormatError("the input has column names and no records: nothing can be encoded")
    check_record_ids(record_ids)
    return record_ids


def _add_evidence(dates: dict[str, DateEvidence], batch: pa.RecordBatch, *, today: dt.date) -> None:
    for name in dates:
        found = distinct(batch.column(name))
        rows = np.bincount(found.codes, minlength=len(found.values)).tolist()
        dates[name] += judge_dates(zip(found.values, rows, strict=True), today=today)


def _orders(
    dates: Mapping[str, DateEvidence],
    *,
    resolved: Sequence[ResolvedColumn],
    profile: NormalisationProfile,
    choose_order: ChooseOrder | None,
) -> dict[str, DateOrder]:
    prescribed = {
        column.source: order
        for column in resolved
        if isinstance(column, PlainColumn)
        and column.feature.hashing
        and (order := order_of_format(column.feature.hashing))
    }
    orders: dict[str, DateOrder] = {}
    unclear: list[AmbiguousDates] = []
    for name, evidence in dates.items():
        order = profile.date_orders.get(name) or evidence.order
        if order is None and evidence.verdict is DateVerdict.AMBIGUOUS:
            order = prescribed.get(name)
        if order is None and evidence.verdict in {DateVerdict.AMBIGUOUS, DateVerdict.MIXED}:
            counts = AmbiguousDates(
                column=name, day_first=evidence.day_first, month_first=evidence.month_first, either=evidence.either
            )
            order = choose_order(counts) if choose_order is not None else None
            if order is None:
                unclear.append(counts)
        if order is not None:
            orders[name] = order
    if unclear:
        raise AmbiguousDatesError(_unclear_message(unclear), columns=tuple(unclear))
    return orders


def _unclear_message(unclear: Sequence[AmbiguousDates]) -> str:
    described = "; ".join(map(describe_dates, unclear))
    options = " ".join(f"--date-order {counts.column}={DateOrder.DAY_FIRST}" for counts in unclear)
    return (
        f"{described}. Nothing was encoded, because a wrong guess would match the wrong people. Find out how the file "
        f"was written, and say so: {options} (or {DateOrder.MONTH_FIRST})"
    )


def describe_dates(counts: AmbiguousDates) -> str:
    """What a column says about the order of its dates, in words."""
    either = f"{counts.either:,} rows are two different dates (03/04 is in March or in April)"
    if not counts.day_first:
        return f"column {counts.column!r} does not say whether day or month comes first: {either}, and no row decides"
    return (
        f"column {counts.column!r} is written in two orders: {counts.day_first:,} rows are a date only with the day "
        f"first, {counts.month_first:,} only with the month first, and {either}"
    )


# --- second reading --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker needs besides the rows."""

    encoder: RecordEncoder
    resolved: tuple[ResolvedColumn, ...]
    profile: NormalisationProfile
    sufficiency: Sufficiency
    sources: list[str]
    fewest_tokens: int


@dataclass(frozen=True, slots=True)
class _Block:
    """What a worker gives back."""

    encodings: NDArray[np.uint8]
    """Of the rows that are not withheld."""
    enough: NDArray[np.bool_]
    """Of all rows: whether they are encoded."""
    thin: int
    present: Mapping[str, int]
    outcomes: Mapping[str, Mapping[Outcome, int]]
    hints: Mapping[str, Mapping[str, int]]


@dataclass(slots=True)
class _Kept:
    """What is known of the rows that were encoded."""

    enough: NDArray[np.bool_]
    count: int
    thin: int
    present: Counter[str]
    outcomes: dict[str, Counter[Outcome]]
    hints: dict[str, Counter[str]]


def _encode_batch(job: _Job, batch: pa.RecordBatch, first_row: int) -> _Block:
    read = {name: distinct(batch.column(name)) for name in job.sources}
    prepared = prepare(job.resolved, read, profile=job.profile)
    enough = job.sufficiency.enough(prepared.words, rows=batch.num_rows)
    present = {}
    for feature in job.encoder.schema.hashed_features:
        column = prepared.columns[feature.identifier]
        missing = feature.hashing.missing.sentinel if feature.hashing and feature.hashing.missing else ""
        filled = np.array([bool(value.strip()) and value != missing for value in column.values], np.bool_)
        present[feature.identifier] = int((filled[column.codes] & enough).sum())
    encodings = job.encoder.encode_columns(prepared.columns, first_row=first_row)
    thin = 0
    if job.fewest_tokens:
        thin = int(((token_counts(job.encoder.schema, prepared.columns) < job.fewest_tokens) & enough).sum())
    return _Block(
        encodings=encodings if enough.all() else encodings[enough],
        enough=enough,
        thin=thin,
        present=present,
        outcomes=prepared.outcomes,
        hints=prepared.hints,
    )


def _write_in_order(
    job: _Job,
    table: Table,
    path: Path,
    *,
    count: int,
    workers: int,
    progress: Progress | None,
) -> _Kept:
    """Write the encodings of `count` rows in the order of the file."""
    fields = job.encoder.schema.hashed_fields
    kept = _Kept(
        enough=np.zeros(count, np.bool_),
        count=0,
        thin=0,
        present=Counter(),
        outcomes={name: Counter() for name in fields},
        hints={},
    )
    done = 0
    with new_file(path) as file:
        for block in in_order(_encode_batch, _tasks(job, table), workers=workers):
            rows = len(block.enough)
            if done + rows > count:
                raise _changed()
            with writing():
                file.write(np.ascontiguousarray(block.encodings).data)
            kept.enough[done : done + rows] = block.enough
            kept.count += len(block.encodings)
            kept.thin += block.thin
            kept.present.update(block.present)
            for name, outcomes in block.outcomes.items():
                kept.outcomes[name].update(outcomes)
            for name, hints in block.hints.items():
                kept.hints.setdefault(name, Counter()).update(hints)
            done += rows
            if progress is not None:
                progress(done, count)
    if done != count:
        raise _changed()
    if not kept.count:
        raise DataError(
            f"{job.sufficiency.explanation} That is so of every record, so that nothing is left to encode: check that "
            "the columns hold what their names say"
        )
    return kept


def _changed() -> DataError:
    return DataError("the input changed while it was read, so that nothing was written: start again")


def _tasks(job: _Job, table: Table) -> Iterator[tuple[object, ...]]:
    first_row = 1
    for batch in table.batches(job.sources):
        yield job, batch, first_row
        first_row += batch.num_rows


def _permutation(count: int) -> NDArray[np.int64]:
    """Place in the input of each row of the output. PCG64 is no cipher, but nobody sees its output: only its result."""
    return np.random.default_rng(secrets.randbits(256)).permutation(count)


def _write_shuffled(directory: Path, order: NDArray[np.int64], *, row_bytes: int) -> str:
    in_order_path = directory / "in-order"
    digest = hashlib.sha256()
    # Read row by row: a mapped file would count as memory of the process as a whole once its rows are taken at random.
    with (
        writing(),
        in_order_path.open("rb", buffering=0) as encoded,
        (directory / ENCODINGS_FILE).open("wb") as file,
    ):
        for start in range(0, len(order), BLOCK_ROWS):
            rows = order[start : start + BLOCK_ROWS].tolist()
            block = memoryview(bytearray(len(rows) * row_bytes))
            for place, row in enumerate(rows):
                encoded.seek(row * row_bytes)
                encoded.readinto(block[place * row_bytes : (place + 1) * row_bytes])
            digest.update(block)
            file.write(block)
        flush(file)
    in_order_path.unlink()
    return digest.hexdigest()
