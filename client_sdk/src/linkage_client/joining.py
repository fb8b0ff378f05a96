"""Link ids back to records: a link table with record ids, and the extract that goes to a recipient.

What leaves for a recipient must hold link ids and payload and nothing that identifies, so everything is checked before
the first line is written, identifier columns are found by the linkage schema and not by memory, and the output appears
under its name only when it is whole.
"""

import csv
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from linkage_client.encoding.csv_reading import BytesRead
from linkage_client.encoding.reading import Table, open_table
from linkage_client.encoding.recognise import SAMPLE, identifying, tidy
from linkage_client.encoding.rows_file import encodings_digest, kept_name
from linkage_client.errors import ColumnError, DataError, FileFormatError, JoinError
from linkage_client.files import atomic_output
from linkage_client.provenance import Provenance, check_note, note_path, read_note, write_note

if TYPE_CHECKING:
    Array: TypeAlias = pa.Array[Any]
else:
    Array = pa.Array

LINK_ID = "link_id"
ROW = "row"
RECORD_ID = "record_id"
ENCODINGS_DIGEST = "encodings_sha256"
PAYLOAD_COLUMNS = {"match_probability": pa.float64(), "group_size": pa.int64()}
"""What matched link tables may tell besides; passed on to the recipient."""
BATCH_ROWS = 65_536
_EXTRACT = "The extract"


@dataclass(frozen=True, slots=True)
class ExtractFormat:
    """How a text extract is written; Parquet needs none of it."""

    text_encoding: str | None = None
    """Found out if None, as `open_table` does."""
    delimiter: str | None = None
    """Found out if None."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What becomes of the columns of an extract."""

    identifiers: Collection[str]
    """Names of the identifiers in the linkage schema, as `identifier_columns` gives them."""
    record_id: str = RECORD_ID
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Extract's name to schema's name, as it was given when the extract was encoded."""
    also_dropped: Collection[str] = ()
    also_kept: Collection[str] = ()
    """Columns that stay although they look like identifiers, because the recipient is meant to have them."""


@dataclass(frozen=True, slots=True)
class JoinReport:
    """What a join did, in numbers and names of columns."""

    rows_written: int
    rows_dropped: int
    columns_dropped: tuple[str, ...]
    columns_kept: tuple[str, ...]
    """What the recipient gets besides the link id."""
    links_unused: int
    """Linked records that the extract does not hold."""
    read_as: str
    """How the extract was read: "CSV, utf-8 (checked as it is read), delimiter: comma"."""
    note: Path | None = None
    """File beside a CSV output that says which release its link ids are from; Parquet holds that itself."""


def identifier_columns(schema: Mapping[str, Any]) -> frozenset[str]:
    """The columns that a linkage schema (clkhash v3) makes encodings of, and those that derived features come from.

    A feature `date_of_birth.year` is derived from `date_of_birth`, and `given_name+surname` from both names.
    """
    features = schema.get("features")
    names = [feature.get("identifier") for feature in features or [] if isinstance(feature, Mapping)]
    found = {name for name in names if isinstance(name, str)}
    if not found:
        raise JoinError("The linkage schema names no columns, so identifiers cannot be told from payload.")
    for name in tuple(found):
        found |= {part.partition(".")[0] for part in name.split("+")}
    return frozenset(found - {""})


def write_links(
    links: Iterable[tuple[Any, ...]],
    *,
    out: Path,
    encodings_sha256: str,
    rows: Path | None = None,
    columns: Sequence[str] = (),
    provenance: Provenance | None = None,
    overwrite: bool = False,
) -> int:
    """Write a link table as CSV, with record ids instead of row numbers if `rows` (rows.parquet) is given.

    `encodings_sha256` is the digest in the manifest of the upload that the table is about
    (`client.releases.own_upload`). The rows file has to be of these encodings; that is found out before the first link
    is taken from the iterable, so that no retrieval is spent. A table by row number carries the digest in each line,
    for `join_extract` to compare: lines stay true when the file is sorted, cut or put together with another. Where the
    `provenance` is given, a note beside the file keeps it, and `join_extract` passes it on to the recipient.

    Each of `links` is a row number, a link id, and a value (None: not told) for each of `columns`.

    Returns the number of lines. The file appears only when the iterable has ended without an error.

    Raises:
        JoinError: the rows file is not the one of these encodings, or lacks rows that the table has.
    """
    record_ids = _record_ids(rows, encodings_sha256=encodings_sha256) if rows is not None else None
    check_note(out, provenance)
    count = 0
    with atomic_output(out, overwrite=overwrite) as temporary, _new_text(temporary) as file:
        writer = csv.writer(file, lineterminator="\n")
        head = (ROW, LINK_ID, ENCODINGS_DIGEST) if record_ids is None else (RECORD_ID, LINK_ID)
        writer.writerow((*head, *columns))
        remaining = iter(links)
        while batch := list(islice(remaining, BATCH_ROWS)):
            if record_ids is None:
                writer.writerows((row, link_id, encodings_sha256, *rest) for row, link_id, *rest in batch)
            else:
                taken = _taken(record_ids, [link[0] for link in batch])
                writer.writerows((taken_id, *link[1:]) for taken_id, link in zip(taken, batch, strict=True))
            count += len(batch)
    write_note(out, provenance)
    return count


def join_extract(
    *,
    extract: Path,
    links: Path,
    rows: Path | None,
    out: Path,
    columns: Columns,
    keep_record_id: bool = False,
    drop_unlinked: bool = False,
    extract_format: ExtractFormat | None = None,
    overwrite: bool = False,
    progress: BytesRead | None = None,
) -> JoinReport:
    """Write `extract` with a first column `link_id` and without identifiers and record ids.

    Reads the extract twice, first only its record ids, and keeps in memory those, the link table and one batch of rows.
    Values are passed through as they are written: no number, date or code is interpreted.
    `links` is what `write_links` wrote; `rows` is needed if it has row numbers. Where `drop_unlinked` is not set, a
    record without a link id stops the join: nothing must go missing unnoticed. A column that looks like an identifier,
    by its name or its values, stops it too, unless `columns` names it among those that go or stay: nothing must leave
    unnoticed either. `progress` is told how much is done, and how much there is, in bytes (CSV) or rows (Parquet) read.

    Raises:
        JoinError: extract, rows and links do not belong together, or a column looks like an identifier.
        ColumnError: the record id column is absent, or the extract has a column link_id.
        OutputExistsError: `out` exists and `overwrite` is not set.
    """
    source = _open_extract(extract, extract_format)
    kept = _kept_columns(source.columns, columns, keep_record_id=keep_record_id)
    judged = [name for name in kept if name != columns.record_id and name not in columns.also_kept]
    with naming(_EXTRACT):
        telling = telling_of(source, judged)
    if telling:
        raise JoinError(_tells_too_much(telling))
    provenance = read_note(links)
    check_note(out, provenance)
    linked = _linked_records(links, rows)
    doubled = sorted(name for name in kept if _plain(name) in linked.payload)
    if doubled:
        raise ColumnError(
            f"The extract has columns that the link table has as well: {', '.join(map(repr, doubled))}. Rename them, "
            "or leave them out with --drop. Nothing was written."
        )
    with naming(_EXTRACT):
        record_ids = _record_ids_of(source, columns.record_id, progress=_half(progress, 0))
    positions = pc.index_in(record_ids, value_set=linked.record_ids)
    del record_ids
    unlinked = positions.null_count
    if unlinked and not drop_unlinked:
        first = int(np.flatnonzero(positions.is_null().to_numpy(zero_copy_only=False))[0]) + 1
        raise JoinError(
            f"Records of the extract without a link id: {unlinked:,} of {len(positions):,} (the first is record "
            f"{first:,}). If `linkage encode` withheld so many, or the release has only matched records, say "
            "--drop-unlinked. Otherwise the extract is not the one that was encoded. Nothing was written.",
        )
    job = _Job(table=source, kept=kept, positions=positions, linked=linked, progress=_half(progress, 1))
    with atomic_output(out, overwrite=overwrite) as temporary:
        if source.kind == "csv":
            _write_csv(job, temporary)
        else:
            _write_parquet(job, temporary, provenance=provenance)
    noted = provenance if source.kind == "csv" else None
    write_note(out, noted)
    used = len(pc.unique(positions.drop_null()))
    return JoinReport(
        rows_written=len(positions) - unlinked,
        rows_dropped=unlinked,
        columns_dropped=tuple(name for name in source.columns if name not in kept),
        columns_kept=(*linked.payload, *kept),
        links_unused=len(linked.record_ids) - used,
        read_as=source.describe(),
        note=note_path(out) if noted else None,
    )


def telling_columns(
    *, extract: Path, columns: Columns, extract_format: ExtractFormat | None = None
) -> Mapping[str, str]:
    """The columns for which `join_extract` would refuse, each with the reason why it looks like an identifier.

    Raises:
        ColumnError: a column that is named is absent, or cannot stay.
    """
    source = _open_extract(extract, extract_format)
    kept = _kept_columns(source.columns, columns, keep_record_id=False)
    with naming(_EXTRACT):
        return telling_of(source, [name for name in kept if name not in columns.also_kept])


def _open_extract(path: Path, extract_format: ExtractFormat | None) -> Table:
    form = extract_format or ExtractFormat()
    with naming(_EXTRACT):
        return open_table(path, encoding=form.text_encoding, delimiter=form.delimiter)


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Put before what is wrong with a file which of several files it is."""
    try:
        yield
    except DataError as error:
        error.message = f"{what}: {error.message}"
        raise


def telling_of(table: Table, judged: Sequence[str]) -> dict[str, str]:
    """Those of the columns that look like identifiers, each with the reason why."""
    samples = _sample(table, judged)
    reasons = {name: identifying(name, tidy(samples[name])) for name in judged}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _sample(table: Table, names: Sequence[str]) -> dict[str, list[str]]:
    """The first values of each column that say something, however far down they begin."""
    found: dict[str, list[str]] = {name: [] for name in names}
    sought = list(names)
    for batch in table.batches_as_written(names) if names else ():
        for name in sought:
            values = map(_as_written, batch.column(name).to_pylist())
            found[name] += islice((value for value in values if value.strip()), SAMPLE - len(found[name]))
        sought = [name for name in sought if len(found[name]) < SAMPLE]
        if not sought:
            break
    return found


def _tells_too_much(telling: Mapping[str, str]) -> str:
    listed = "; ".join(f"{name!r}: {reason}" for name, reason in telling.items())
    return (
        f"These columns would stay in the file for the recipient and look like identifiers. {listed}. Leave a column "
        "out with --drop COLUMN, or say --keep-column COLUMN where the agreement means the recipient to have it. "
        "Nothing was written."
    )


@dataclass(frozen=True, slots=True)
class _Linked:
    record_ids: Array
    link_ids: Array
    payload: Mapping[str, Array]
    """What the link table tells besides, as written in it."""


def _linked_records(links: Path, rows: Path | None) -> _Linked:
    """Record ids with their link ids, each record once."""
    table = _read_links(links)
    link_ids = table.column(LINK_ID).combine_chunks()
    if pc.any(pc.equal(link_ids, pa.scalar(""))).as_py():
        raise JoinError("The link table has a row without a link id, so it is damaged. Fetch it again.")
    # Millions of link ids are hundreds of megabytes: not to be held twice.
    payload = {name: table.column(name).combine_chunks() for name in table.column_names if name in PAYLOAD_COLUMNS}
    table = table.drop_columns([LINK_ID])
    if RECORD_ID in table.column_names:
        record_ids = table.column(RECORD_ID).combine_chunks()
    elif rows is None:
        raise JoinError("The link table has row numbers: name the rows file (rows.parquet) that encoding wrote.")
    else:
        numbers = table.column(ROW).to_numpy()
        every_record = _record_ids(rows, encodings_sha256=_digest_of(table))
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(every_record)):
            raise JoinError(_OTHER_ROWS)
        if np.bincount(numbers, minlength=1).max() > 1:
            raise JoinError("The link table has a row twice. Fetch it again.")
        record_ids = every_record.take(pa.array(numbers, pa.int64()))
    del table
    # What reading left behind goes back first; counting distinct values would take twice the memory of finding them.
    pa.default_memory_pool().release_unused()
    first = pc.index_in(record_ids, value_set=record_ids).to_numpy()
    if not np.array_equal(first, np.arange(len(record_ids))):
        raise JoinError("A record id stands for several rows, so its link id is not known. Encode with unique ids.")
    return _Linked(record_ids=record_ids, link_ids=link_ids, payload=payload)


def _digest_of(table: pa.Table) -> str:
    """Which encodings the row numbers of a link table belong to."""
    digests = pc.unique(table.column(ENCODINGS_DIGEST)).to_pylist()
    if len(digests) != 1:
        raise JoinError(
            "The link table has no lines, or has lines of different encodings, so its rows cannot be told. "
            "Fetch it again with `linkage results`."
        )
    return str(digests[0])


_OTHER_ROWS = (
    "The link table has rows that the rows file does not: they are of different uploads. Use the rows file that was "
    "written with the encodings of this upload."
)


def _read_links(path: Path) -> pa.Table:
    types = {ROW: pa.int64(), RECORD_ID: pa.string(), LINK_ID: pa.string()}
    # One value for all lines: as a dictionary it takes no memory worth speaking of.
    types[ENCODINGS_DIGEST] = pa.dictionary(pa.int32(), pa.string())
    types |= dict.fromkeys(PAYLOAD_COLUMNS, pa.string())
    try:
        table = pa_csv.read_csv(
            path,
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except (OSError, pa.ArrowInvalid):
        raise FileFormatError(
            f"{path} cannot be read as a link table. Name the file that `linkage results` wrote."
        ) from None
    names = set(table.column_names) - set(PAYLOAD_COLUMNS)
    if names == {ROW, LINK_ID}:
        raise JoinError(
            f"{path} has row numbers and does not say of which encodings, so link ids could go to the wrong people. "
            "Fetch the table with `linkage results --rows rows.parquet`, which puts the record ids in."
        )
    if names not in ({ROW, LINK_ID, ENCODINGS_DIGEST}, {RECORD_ID, LINK_ID}):
        raise FileFormatError(
            f"{path} is not a link table: it needs the columns record_id and link_id, or row, link_id and "
            f"{ENCODINGS_DIGEST}. Name the file that `linkage results` wrote."
        )
    return table


def row_numbers(record_ids: Sequence[str], *, rows: Path, encodings_sha256: str) -> list[int]:
    """The rows of records, in order. A record id stands for every row that has it.

    Args:
        record_ids: which records.
        rows: the rows file of the encodings.
        encodings_sha256: of the encodings that the row numbers are for.

    Raises:
        JoinError: the rows file belongs to other encodings, or has no such record.
        FileFormatError: it is no rows file.
    """
    known = _record_ids(rows, encodings_sha256=encodings_sha256)
    wanted = pa.array(sorted(set(record_ids)), pa.string())
    absent = int(np.count_nonzero(~pc.is_in(wanted, value_set=known).to_numpy(zero_copy_only=False)))
    if absent:
        raise JoinError(
            f"{absent:,} of {len(wanted):,} record ids are not among the encoded records. Nothing was sent. Leave out "
            "those that were not encoded; the file of withheld records names them."
        )
    return [int(row) for row in np.flatnonzero(pc.is_in(known, value_set=wanted).to_numpy(zero_copy_only=False))]


def _record_ids(path: Path, *, encodings_sha256: str) -> Array:
    """Record ids by row number from the rows file of these encodings."""
    try:
        table = pq.read_table(path, columns=[ROW, RECORD_ID])
    except (OSError, pa.ArrowInvalid, KeyError):
        raise FileFormatError(
            f"{path} cannot be read as a rows file. Name the rows.parquet of the encodings."
        ) from None
    found = encodings_digest(table.schema)
    if found != encodings_sha256:
        raise JoinError(_wrong_rows(path, found=found, encodings_sha256=encodings_sha256))
    numbers = table.column(ROW).to_numpy()
    if len(numbers) and (numbers.min() != 0 or (np.bincount(numbers) != 1).any()):
        raise FileFormatError(f"{path} is damaged: its rows are not 0, 1, 2, ... Encode again.")
    order = pa.array(np.argsort(numbers), pa.int64())
    return pc.cast(table.column(RECORD_ID), pa.string()).combine_chunks().take(order)


def _wrong_rows(path: Path, *, found: str | None, encodings_sha256: str) -> str:
    what = "does not say which encodings it belongs to" if found is None else "belongs to other encodings"
    return (
        f"{path} {what}; the link table is about the upload whose encodings have the SHA-256 {encodings_sha256}. "
        "Every encoding shuffles the rows anew, so link ids would go to the wrong people. Nothing was fetched or "
        "written. Name the rows file that was written together with the encodings of that upload; where "
        f"`linkage encode --force` replaced them, it is {kept_name(encodings_sha256)} in the same directory. If it is "
        "lost, these results cannot be used: upload encodings whose rows file you have, then run and release again."
    )


def _taken(record_ids: Array, numbers: list[int]) -> list[Any]:
    if max(numbers) >= len(record_ids):
        raise JoinError(_OTHER_ROWS)
    return record_ids.take(pa.array(numbers, pa.int64())).to_pylist()


def _kept_columns(names: Sequence[str], columns: Columns, *, keep_record_id: bool) -> list[str]:
    if columns.record_id not in names:
        raise ColumnError(f"The extract has no column {columns.record_id!r}. Name its record ids with --id-column.")
    if any(_plain(name) == LINK_ID for name in names):
        raise ColumnError("The extract has a column link_id already. Rename it, or use the extract as it was.")
    absent = sorted(set(columns.also_dropped) - set(names)) + sorted(set(columns.renamed) - set(names))
    if absent:
        raise ColumnError(f"The extract has no columns {', '.join(map(repr, absent))}. Check --drop and --map.")
    absent = sorted(set(columns.also_kept) - set(names))
    if absent:
        raise ColumnError(f"The extract has no columns {', '.join(map(repr, absent))}. Check --keep-column.")
    # "Given Name" and "given_name" are one identifier to whoever reads the extract.
    identifying = {_plain(name) for name in columns.identifiers}

    def stays(name: str) -> bool:
        if name == columns.record_id:
            return keep_record_id
        ours = columns.renamed.get(name, name)
        return name not in columns.also_dropped and not {_plain(name), _plain(ours)} & identifying

    kept = [name for name in names if stays(name)]
    refused = sorted(set(columns.also_kept) - set(kept))
    if refused:
        raise ColumnError(
            f"The columns {', '.join(map(repr, refused))} cannot be kept: they hold record ids or identifiers of the "
            "linkage schema, or are to be dropped as well. Take them out of --keep-column."
        )
    return kept


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.strip().casefold()).strip("_")


def _half(progress: BytesRead | None, number: int) -> BytesRead | None:
    """What the first or the second reading of the extract tells, as a half of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, 2 * total)


def _record_ids_of(table: Table, column: str, *, progress: BytesRead | None) -> Array:
    batches = [batch.column(column) for batch in table.batches([column], progress=progress)]
    return pa.chunked_array(batches, pa.string()).combine_chunks()


@dataclass(frozen=True, slots=True)
class _Job:
    """What is written: these columns of the rows that have a link id."""

    table: Table
    kept: Sequence[str]
    positions: Array
    """For each row the place of its link id; null where it has none."""
    linked: _Linked
    progress: BytesRead | None

    def batches(self) -> Iterator[tuple[list[Array], pa.RecordBatch]]:
        """The link ids of some rows, null where there is none, with what the link table tells besides; and the rows."""
        done = 0
        # A batch without columns would have no rows.
        columns = list(self.kept) or self.table.columns[:1]
        with naming(_EXTRACT):
            for batch in self.table.batches_as_written(columns, progress=self.progress):
                places = self.positions.slice(done, batch.num_rows)
                yield [column.take(places) for column in (self.linked.link_ids, *self.linked.payload.values())], batch
                done += batch.num_rows


def _write_csv(job: _Job, out: Path) -> None:
    with csv_output(out, delimiter=job.table.delimiter) as write:
        write([(LINK_ID, *job.linked.payload, *job.kept)])
        for linked, batch in job.batches():
            columns = [column.to_pylist() for column in (*linked, *(batch.column(name) for name in job.kept))]
            write(line for line in zip(*columns, strict=True) if line[0] is not None)


def _write_parquet(job: _Job, out: Path, *, provenance: Provenance | None) -> None:
    # Without the file's metadata: it can repeat names, types and statistics of columns that were dropped.
    payload = [pa.field(name, PAYLOAD_COLUMNS[name]) for name in job.linked.payload]
    fields = [pa.field(LINK_ID, pa.string()), *payload, *(type_of(job.table, name) for name in job.kept)]
    schema = pa.schema(fields, metadata=provenance.metadata() if provenance else None)
    with pq.ParquetWriter(out, schema) as writer:
        for (link_ids, *told), batch in job.batches():
            numbers = [_numbers(column, item.type) for column, item in zip(told, payload, strict=True)]
            joined = pa.record_batch([link_ids, *numbers, *(batch.column(name) for name in job.kept)], schema=schema)
            writer.write_batch(joined.filter(link_ids.is_valid()))


def _numbers(column: Array, kind: "pa.DataType") -> Array:
    """Numbers as a link table has them; nothing where it does not tell them."""
    return pa.array([text or None for text in column.to_pylist()], pa.string()).cast(kind)


def type_of(table: Table, name: str) -> "pa.Field[Any]":
    """A column of a Parquet table with its type; of a CSV table all are text."""
    if table.schema is None:
        return pa.field(name, pa.string())
    return table.schema.field(name).remove_metadata()


@contextmanager
def csv_output(out: Path, *, delimiter: str) -> Iterator[Callable[[Iterable[Sequence[Any]]], None]]:
    """A function that writes rows as CSV in UTF-8: no value is altered, and none that starts like a formula either."""
    with _new_text(out) as file:
        yield csv.writer(_LineFeeds(file), delimiter=delimiter, lineterminator="\r\n").writerows


class _LineFeeds:
    """Ends lines as other tools here do. The writer itself must not: it quotes only what its own line end consists of.

    A value with a carriage return would otherwise have no quotes around it, and be read as two records.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(line.removesuffix("\r\n") + "\n")


def _as_written(value: object) -> str:
    """A value of any type as a person would write it: a whole number without fraction, a date without midnight."""
    return "" if value is None else str(value).removesuffix(".0").partition(" 00:00:00")[0]


def _new_text(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="")
