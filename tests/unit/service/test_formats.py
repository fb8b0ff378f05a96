"""Link tables as bytes, and which kind of them a caller likes best."""

import io
import json
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkage_service.link_tables.formats import (
    ARROW,
    CSV,
    JSON_LINES,
    MEDIA_TYPES,
    PARQUET,
    Batch,
    Table,
    negotiated,
    written,
)
from linkage_service.link_tables.link_ids import link_ids

ABOUT = {"linkage.release": "rel_1", "linkage.mode": "matched"}
COLUMNS = ("row", "link_id", "match_probability", "group_size")


def table(columns: tuple[str, ...] = COLUMNS) -> Table:
    def batches() -> Iterator[Batch]:
        yield Batch([0, 2], ["aa", "bb"], [0.5, None], [2, None])
        yield Batch([3], ["cc"], [0.75], [3])

    return Table(columns, batches(), ABOUT)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON_LINES),
        ("*/*", JSON_LINES),
        ("text/*", CSV),
        ("application/*", JSON_LINES),
        (f"{CSV}, {PARQUET}", CSV),
        (f"{CSV};q=0.5, {PARQUET}", PARQUET),
        (f"{CSV};q=0.5, {PARQUET};q=0.50", CSV),
        (f"{JSON_LINES};q=0, */*;q=0.1", CSV),
        (f"*/*;q=0.1, {ARROW};q=0.2", ARROW),
        ("application/*;q=0.3, text/csv;q=0.9;header=present", CSV),
        (f"{PARQUET.upper()}", PARQUET),
        ("image/png, text/csv;q=1.000", CSV),
        ("image/png", None),
        ("*/*;q=0", None),
        ("text/csv;q=2", None),
        ("text/csv;q=0.12345", None),
        ("text/csv;q=", None),
    ],
)
def test_negotiated_is_what_rfc_9110_says(accept: str, expected: str | None) -> None:
    assert negotiated(accept) == expected


def test_json_lines_has_an_object_for_each_row() -> None:
    lines = [json.loads(line) for line in b"".join(written(table(), JSON_LINES)).splitlines()]
    assert lines[1] == {"row": 2, "link_id": "bb", "match_probability": None, "group_size": None}
    assert [line["row"] for line in lines] == [0, 2, 3]


def test_csv_is_rfc_4180() -> None:
    raw = b"".join(written(table(), CSV))
    assert raw == b"row,link_id,match_probability,group_size\r\n0,aa,0.5,2\r\n2,bb,,\r\n3,cc,0.75,3\r\n"


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_columnar_formats_have_types_and_say_what_they_belong_to(media_type: str) -> None:
    raw = b"".join(written(table(), media_type))
    found = pq.read_table(io.BytesIO(raw)) if media_type == PARQUET else pa.ipc.open_stream(raw).read_all()
    assert found.to_pydict() == {
        "row": [0, 2, 3],
        "link_id": ["aa", "bb", "cc"],
        "match_probability": [0.5, None, 0.75],
        "group_size": [2, None, 3],
    }
    assert {
        name.decode(): value.decode() for name, value in (found.schema.metadata or {}).items()
    }.items() >= ABOUT.items()


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_same_table_is_the_same_bytes(media_type: str) -> None:
    assert b"".join(written(table(), media_type)) == b"".join(written(table(), media_type))


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_table_without_further_columns_has_none(media_type: str) -> None:
    raw = b"".join(written(table(("row", "link_id")), media_type))
    assert b"group_size" not in raw


def test_csv_of_a_link_table_has_no_cell_that_begins_a_formula() -> None:
    groups = np.arange(-1, 2_000).tolist()
    linked = list(link_ids(groups, run_key=bytes(32), recipient_key=bytes(range(32)), upload="upl_1", blind=True))
    rows, ids = [row for row, _ in linked], [link_id for _, link_id in linked]
    shares = [None if row % 3 else row / 2_000 * 1e-9 for row in rows]

    def batches() -> Iterator[Batch]:
        yield Batch(rows, ids, shares, [2] * len(rows))

    lines = b"".join(written(Table(COLUMNS, batches(), ABOUT), CSV)).decode().split("\r\n")
    cells = [cell for line in lines[1:-1] for cell in line.split(",")]
    assert len(cells) == 4 * len(rows)
    assert [cell for cell in cells if not re.fullmatch(r"[a-z2-7]{26}|[0-9]+|[0-9.]+(e-[0-9]+)?|", cell)] == []
