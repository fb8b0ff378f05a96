"""Reads CSV and Parquet files as columns of strings, block by block, and says of a bad file which row to mend and how.

Messages hold row numbers and column names, never values: Arrow's own messages quote the row, so they are not passed on.
Rows count from 1, without the header.
"""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from linkage_client.encoding.encoder import BLOCK_ROWS
from linkage_client.errors import ColumnError, FileFormatError

CSV_BLOCK_BYTES: Final = 8 << 20
"""A row has to be shorter than this."""
HEADER_BYTES: Final = 1 << 20
ROWS_SHOWN: Final = 5
DELIMITERS: Final = (",", ";", "\t", "|")
_PARQUET_MAGIC: Final = b"PAR1"
_WIDE_BYTE_ORDER_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WRONG_ENCODING: Final = (
    "Files saved by Excel on Windows are often cp1252: try --encoding cp1252, or iso-8859-15, or utf-16, "
    "or save the file as 'CSV UTF-8'"
)


@dataclass(frozen=True, slots=True)
class Table:
    """A file whose header has been read. Open it with `open_table`."""

    path: Path
    columns: tuple[str, ...]
    kind: Literal["csv", "parquet"]
    encoding: str = "utf-8"
    delimiter: str = ","
    originals: Mapping[str, str] = field(default_factory=dict)
    """Name of a column to its name in the file, where they differ."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """These columns as strings without nulls, at most BLOCK_ROWS rows at a time."""
        chosen = list(dict.fromkeys(columns))
        in_file = [self.originals.get(name, name) for name in chosen]
        read = _parquet_batches(self, in_file) if self.kind == "parquet" else _csv_batches(self, in_file)
        for part in read:
            batch = part if chosen == in_file else pa.RecordBatch.from_arrays(part.columns, names=chosen)
            for start in range(0, batch.num_rows, BLOCK_ROWS):
                yield batch.slice(start, BLOCK_ROWS)


def open_table(path: str | Path, *, encoding: str = "utf-8", delimiter: str | None = None) -> Table:
    """Read the header of a CSV or Parquet file (told apart by content, not by name).

    Args:
        path: the file.
        encoding: of a CSV file; a byte order mark of UTF-8 is skipped.
        delimiter: of a CSV file; by default the one of , ; tab | that is most frequent in the header.

    Raises:
        FileFormatError: the file is empty, or is not text in this encoding.
        ColumnError: columns have no name, or two have the same.
    """
    path = Path(path)
    try:
        codecs.lookup(encoding)
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
    except LookupError as error:
        raise FileFormatError("no text encoding has this name: use utf-8, cp1252 or utf-16, for example") from error
    except OSError as error:
        raise FileFormatError(
            f"the input cannot be read ({error.strerror}): check the path and its permissions"
        ) from error
    if not start:
        raise FileFormatError("the input is empty: it needs a header line and one line for each record")
    if start.startswith(_PARQUET_MAGIC):
        return Table(path=path, columns=_checked_names(_parquet_names(path)), kind="parquet")
    if delimiter is not None and len(delimiter.encode()) != 1:
        raise FileFormatError("the delimiter has to be one character, a comma or a tab for example")
    header = _first_line(start, encoding=encoding)
    delimiter = delimiter or max(DELIMITERS, key=header.count)
    names = next(csv.reader([header], delimiter=delimiter))
    return Table(path=path, columns=_checked_names(names), kind="csv", encoding=encoding, delimiter=delimiter)


def renamed_columns(table: Table, renamed: Mapping[str, str]) -> Table:
    """The table with other names for its columns (the file's name to the new one).

    A column that has one of the new names already, and no new one itself, gives way: it is not used.

    Raises:
        ColumnError: a column that is named is absent, or two would get one name.
    """
    absent = [name for name in renamed if name not in table.columns]
    if absent:
        raise ColumnError(f"the table has no columns {', '.join(map(repr, absent))}: check --map")
    taken = set(renamed.values())
    if len(taken) < len(renamed):
        raise ColumnError("two columns would get the same name: give each --map a name of its own")
    columns = tuple(renamed.get(name, name) for name in table.columns if name in renamed or name not in taken)
    return replace(table, columns=columns, originals={ours: theirs for theirs, ours in renamed.items()})


def _first_line(start: bytes, *, encoding: str) -> str:
    if start.startswith(_WIDE_BYTE_ORDER_MARKS) and not encoding.lower().startswith(("utf-16", "utf_16", "utf16")):
        raise FileFormatError("the file begins like UTF-16: try --encoding utf-16, or save it as 'CSV UTF-8'")
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        text = decoder.decode(start)
    except UnicodeDecodeError as error:
        raise _encoding_error(start, encoding=encoding, offset=error.start) from None
    lines = io.StringIO(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"), newline=None)
    for line in lines:
        if line.strip():
            return line.rstrip("\n")
    raise FileFormatError("the input holds only empty lines: it needs a header line and one line for each record")


def _encoding_error(read: bytes, *, encoding: str, offset: int) -> FileFormatError:
    line = read.count(b"\n", 0, offset) + 1
    return FileFormatError(f"line {line} of the file (the header is line 1) is not {encoding} text. {_WRONG_ENCODING}")


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    # Positions, not names: if the file has no header, these are the first person's data.
    empty = [place for place, name in enumerate(names, start=1) if not name.strip()]
    if empty:
        raise ColumnError(
            f"the header has no name for column {empty[0]}: check that the first line holds the column names"
        )
    places: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if name in places:
            raise ColumnError(
                f"columns {places[name]} and {place} have the same name, so that it is not clear which one is meant: "
                "rename one (or add a header line, if the first line is a record)"
            )
        places[name] = place
    return tuple(names)


def _csv_batches(table: Table, columns: list[str]) -> Iterator[pa.RecordBatch]:
    ragged: list[pa_csv.InvalidRow] = []

    def remember(row: pa_csv.InvalidRow) -> Literal["skip", "error"]:
        ragged.append(row)
        return "skip"

    names = [*columns]
    try:
        with table.path.open("rb") as file:
            reader = pa_csv.open_csv(
                cast("IO[Any]", file),
                read_options=pa_csv.ReadOptions(
                    use_threads=False, block_size=CSV_BLOCK_BYTES, encoding=_arrow_encoding(table.encoding)
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=table.delimiter, newlines_in_values=True, invalid_row_handler=remember
                ),
                convert_options=pa_csv.ConvertOptions(
                    include_columns=names,
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=False,
                    null_values=[],
                ),
            )
            for batch in reader:
                if ragged:
                    break
                yield batch
    except UnicodeDecodeError:
        raise _find_encoding_error(table) from None
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise _find_encoding_error(table) from None
        if not ragged:
            raise FileFormatError(
                "the input cannot be read as CSV: check the delimiter, and that every quote that opens is closed"
            ) from None
    if ragged:
        raise _ragged_error(ragged)


def _arrow_encoding(encoding: str) -> str:
    # Arrow reads UTF-8 itself, and quickly; other names make it go by way of Python's codecs.
    return "utf8" if codecs.lookup(encoding).name in {"utf-8", "utf-8-sig", "ascii"} else encoding


def _ragged_error(ragged: list[pa_csv.InvalidRow]) -> FileFormatError:
    numbers = [row.number - 1 for row in ragged if row.number is not None]
    where = ", ".join(map(str, numbers[:ROWS_SHOWN]))
    first = ragged[0]
    return FileFormatError(
        f"rows with the wrong number of fields (first: row {where}; the header has {first.expected_columns}, the "
        f"first of these {first.actual_columns}): a value that holds the delimiter needs quotes around it"
    )


def _find_encoding_error(table: Table) -> FileFormatError:
    decoder = codecs.getincrementaldecoder(table.encoding)()
    line = 1
    with table.path.open("rb") as file:
        for raw in file:
            try:
                decoder.decode(raw)
            except UnicodeDecodeError:
                return FileFormatError(
                    f"line {line} of the file (the header is line 1) is not {table.encoding} text. {_WRONG_ENCODING}"
                )
            line += 1
    return FileFormatError(f"the file is not {table.encoding} text. {_WRONG_ENCODING}")


def _parquet_names(path: Path) -> list[str]:
    try:
        return list(pq.ParquetFile(path).schema_arrow.names)
    except (pa.ArrowException, OSError):
        raise FileFormatError("the input begins like Parquet and cannot be read: write it again") from None


def _parquet_batches(table: Table, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        for batch in pq.ParquetFile(table.path).iter_batches(batch_size=BLOCK_ROWS, columns=columns):
            arrays = [_as_text(batch.column(name), name=name) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=columns)
    except (pa.ArrowException, OSError):
        raise FileFormatError("the Parquet file is damaged: write it again") from None


def _as_text(column: "pa.Array[Any]", *, name: str) -> "pa.Array[Any]":
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = cast("pa.DictionaryArray[Any, Any]", column).dictionary_decode()
        kind = column.type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string()).fill_null("")
    if pa.types.is_timestamp(kind):
        column = _as_date(column, name=name)
    elif pa.types.is_floating(kind):
        # Integers with gaps arrive as floats; "7.0" would not match "7".
        column = _as_integer(column, name=name)
    elif not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_date(kind)
    ):
        raise ColumnError(f"column {name!r} is of type {kind}, which cannot be read as text: convert it to strings")
    return column.cast(pa.string()).fill_null("")


def _as_date(column: "pa.Array[Any]", *, name: str) -> "pa.Array[Any]":
    moments = column.cast(pa.timestamp("us"), safe=False)
    dates = moments.cast(pa.date32())
    # Arrow drops the time of day without a word.
    if not dates.cast(moments.type).equals(moments):
        raise ColumnError(f"column {name!r} holds times as well as dates: convert it to dates")
    return dates


def _as_integer(column: "pa.Array[Any]", *, name: str) -> "pa.Array[Any]":
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        raise ColumnError(
            f"column {name!r} holds fractions, which are written in more than one way: convert it to strings"
        ) from None


def check_record_ids(record_ids: "pa.ChunkedArray[Any]") -> None:
    """Refuse ids that are empty or occur twice; the message has counts and rows, not ids.

    Raises:
        ColumnError: some id cannot name its record.
    """
    empty = np.flatnonzero(pc.equal(record_ids, pa.scalar("")).to_numpy(zero_copy_only=False))
    if len(empty):
        raise ColumnError(
            f"{len(empty)} records have no id (first: row {_listed_rows(empty)}): every record needs one, "
            "or results cannot be joined back"
        )
    # combine_chunks first: each chunk would otherwise have a dictionary of its own
    codes = record_ids.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first_rows = np.unique(codes, return_index=True)
    repeats = np.setdiff1d(np.arange(len(codes)), first_rows, assume_unique=True)
    if len(repeats):
        raise ColumnError(
            f"{len(repeats)} records repeat the id of an earlier one (first: row {_listed_rows(repeats)}): an id "
            "has to name one record. Remove duplicates, or choose another --id-column"
        )


def _listed_rows(places: np.ndarray[Any, np.dtype[np.int64]]) -> str:
    return ", ".join(str(place + 1) for place in places[:ROWS_SHOWN].tolist())
