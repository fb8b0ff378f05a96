"""Link tables as bytes: JSON Lines, CSV (RFC 4180), Arrow stream and Parquet, chosen by content negotiation (RFC 9110).

The one module that knows pyarrow, which is imported when a table is first asked for in one of its formats. The same
table gives the same bytes at every retrieval: there are no times and no random names in it.

Link ids and numbers are all that is written, so that no cell of a CSV file can begin a formula.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

JSON_LINES: Final = "application/jsonl"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
PARQUET: Final = "application/vnd.apache.parquet"
MEDIA_TYPES: Final = (JSON_LINES, CSV, ARROW, PARQUET)
_Q_MOST = 1000


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a table, column by column; those that the table does not have are empty."""

    row: Sequence[int]
    link_id: Sequence[str]
    match_probability: Sequence[float | None] = ()
    group_size: Sequence[int | None] = ()

    def column(self, name: str) -> Sequence[Any]:
        """One column."""
        values: Sequence[Any] = getattr(self, name)
        return values


@dataclass(frozen=True, slots=True)
class Table:
    """A link table, not yet written.

    Attributes:
        columns: names, in order, `row` and `link_id` first.
        batches: its rows, in order; some thousand each.
        about: what the table belongs to, written into formats that have a place for it.
    """

    columns: Sequence[str]
    batches: Iterator[Batch]
    about: Mapping[str, str]


def negotiated(accept: str) -> str | None:
    """The media type that a caller likes best, by RFC 9110 section 12.5.1; None if it takes none of ours.

    Of equals ours comes first. A malformed weight makes its range count as not acceptable.
    """
    ranges = [_range(item) for item in accept.split(",") if item.strip()]
    if not ranges:
        return JSON_LINES
    best = max(MEDIA_TYPES, key=lambda media_type: _weight(media_type, ranges))
    return best if _weight(best, ranges) > 0 else None


def written(table: Table, media_type: str) -> Iterator[bytes]:
    """The table's bytes, piece by piece, in one of `MEDIA_TYPES`."""
    writers: Mapping[str, Callable[[Table], Iterator[bytes]]] = {
        JSON_LINES: _json_lines,
        CSV: _csv,
        ARROW: _arrow,
        PARQUET: _parquet,
    }
    return writers[media_type](table)


def _range(item: str) -> tuple[str, int]:
    """A media range with its weight in thousandths. Parameters other than the weight are not told apart."""
    name, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return name, _thousandths(value.strip())
    return name, _Q_MOST


def _thousandths(text: str) -> int:
    whole, _, rest = text.partition(".")
    if whole not in {"0", "1"} or len(rest) > 3 or (rest and not (rest.isascii() and rest.isdigit())):  # noqa: PLR2004 - RFC 9110
        return 0
    return min(int(whole) * _Q_MOST + int((rest + "000")[:3]), _Q_MOST)


def _weight(media_type: str, ranges: Sequence[tuple[str, int]]) -> int:
    """The weight of the most specific range that a media type falls into."""
    for name in (media_type, f"{media_type.split('/', maxsplit=1)[0]}/*", "*/*"):
        weights = [weight for asked, weight in ranges if asked == name]
        if weights:
            return max(weights)
    return 0


def _json_lines(table: Table) -> Iterator[bytes]:
    for batch in table.batches:
        columns = [batch.column(name) for name in table.columns]
        lines = (
            json.dumps(dict(zip(table.columns, row, strict=True)), separators=(",", ":"))
            for row in zip(*columns, strict=True)
        )
        yield "".join(f"{line}\n" for line in lines).encode()


def _csv(table: Table) -> Iterator[bytes]:
    yield (",".join(table.columns) + "\r\n").encode()
    for batch in table.batches:
        columns = [batch.column(name) for name in table.columns]
        rows = (",".join("" if value is None else str(value) for value in row) for row in zip(*columns, strict=True))
        yield "".join(f"{row}\r\n" for row in rows).encode()


def _arrow(table: Table) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415 - slow to load, and most services never need it

    def writer(sink: io.BytesIO, schema: "pa.Schema") -> Any:
        return pa.ipc.new_stream(sink, schema)

    return _columnar(table, writer)


def _parquet(table: Table) -> Iterator[bytes]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    def writer(sink: io.BytesIO, schema: "pa.Schema") -> Any:
        return pq.ParquetWriter(sink, schema, compression="zstd")

    return _columnar(table, writer)


def _columnar(table: Table, open_writer: Callable[[io.BytesIO, "pa.Schema"], Any]) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415 - as above

    types = {"row": pa.int64(), "link_id": pa.string(), "match_probability": pa.float64(), "group_size": pa.int64()}
    fields = [pa.field(name, types[name], nullable=name not in {"row", "link_id"}) for name in table.columns]
    schema = pa.schema(fields, metadata={name.encode(): value.encode() for name, value in table.about.items()})
    sink = _Drained()
    writer = open_writer(sink, schema)
    for batch in table.batches:
        arrays = [pa.array(batch.column(name), types[name]) for name in table.columns]
        writer.write_batch(pa.record_batch(arrays, schema=schema))
        yield sink.drain()
    writer.close()
    yield sink.drain()


class _Drained(io.BytesIO):
    """A file that is read away while it is written, and still knows how long it is."""

    def __init__(self) -> None:
        super().__init__()
        self._gone = 0

    def drain(self) -> bytes:
        """What was written since the last time."""
        content = self.getvalue()
        self._gone += len(content)
        self.seek(0)
        self.truncate()
        return content

    def tell(self) -> int:
        """How many bytes were written in all, for formats that note where their parts begin."""
        return self._gone + super().tell()
