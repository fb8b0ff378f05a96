import csv
import datetime as dt
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage_client import joining
from linkage_client.encoding import reading
from linkage_client.errors import (
    ColumnError,
    DataError,
    FileFormatError,
    IncompleteDownloadError,
    JoinError,
    OutputExistsError,
)
from linkage_client.joining import Columns, ExtractFormat, identifier_columns, join_extract, write_links
from linkage_client.provenance import Provenance, in_metadata, read_note, write_note

EXTRACT = 'record_id,given_name,score\nr1,Ann,007\nr2,Bob,1.50\nr3,"Cy, ""C""",=1+1\n'
COLUMNS = Columns(identifiers=frozenset({"given_name"}))
ENCODED = "a1" * 32
REENCODED = "b2" * 32


def _write_rows(
    path: Path, record_ids: list[str], *, rows: list[int] | None = None, digest: str | None = ENCODED
) -> None:
    numbers = pa.array(range(len(record_ids)) if rows is None else rows, pa.int64())
    metadata = {} if digest is None else {"linkage.encodings_sha256": digest}
    pq.write_table(pa.table({"row": numbers, "record_id": record_ids}).replace_schema_metadata(metadata), path)


def _write_numbered(path: Path, links: dict[int, str], *, digest: str = ENCODED) -> None:
    lines = "".join(f"{row},{link_id},{digest}\n" for row, link_id in links.items())
    path.write_text(f"row,link_id,encodings_sha256\n{lines}")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    _write_rows(path, ["r3", "r1", "r2"])
    return path


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    path = tmp_path / "extract.csv"
    path.write_text(EXTRACT, encoding="utf-8")
    return path


@pytest.fixture
def links(tmp_path: Path) -> Path:
    path = tmp_path / "links.csv"
    _write_numbered(path, {0: "L3", 1: "L1", 2: "L2"})
    return path


def _join(tmp_path: Path, extract: Path, links: Path, rows: Path | None, **options: Any) -> list[list[str]]:
    out = tmp_path / "out.csv"
    join_extract(**{"extract": extract, "links": links, "rows": rows, "out": out, "columns": COLUMNS, **options})
    return list(csv.reader(io.StringIO(out.read_text(encoding="utf-8"))))


def test_join_adds_link_ids_and_takes_identifiers_out(tmp_path: Path, extract: Path, links: Path, rows: Path) -> None:
    assert _join(tmp_path, extract, links, rows) == [
        ["link_id", "score"],
        ["L1", "007"],
        ["L2", "1.50"],
        ["L3", "=1+1"],
    ]


def test_join_reports_what_it_did(tmp_path: Path, extract: Path, links: Path, rows: Path) -> None:
    report = join_extract(extract=extract, links=links, rows=rows, out=tmp_path / "o.csv", columns=COLUMNS)
    assert report == joining.JoinReport(
        rows_written=3,
        rows_dropped=0,
        columns_dropped=("record_id", "given_name"),
        columns_kept=("score",),
        links_unused=0,
        read_as="CSV, utf-8 (checked as it is read), delimiter: comma",
    )


def test_join_can_keep_record_ids(tmp_path: Path, extract: Path, links: Path, rows: Path) -> None:
    assert _join(tmp_path, extract, links, rows, keep_record_id=True)[1] == ["L1", "r1", "007"]


def test_join_takes_links_that_have_record_ids(tmp_path: Path, extract: Path) -> None:
    named = tmp_path / "named.csv"
    named.write_text("record_id,link_id\nr2,L2\nr1,L1\nr3,L3\n")
    assert [line[0] for line in _join(tmp_path, extract, named, None)] == ["link_id", "L1", "L2", "L3"]


def test_join_of_several_lines_of_one_record_gives_each_its_link_id(tmp_path: Path, links: Path, rows: Path) -> None:
    extract = tmp_path / "episodes.csv"
    extract.write_text("record_id,episode\nr1,a\nr1,b\nr2,c\nr3,d\n")
    assert [line[0] for line in _join(tmp_path, extract, links, rows)[1:]] == ["L1", "L1", "L2", "L3"]


def test_join_with_a_record_without_link_id_writes_nothing(tmp_path: Path, extract: Path, rows: Path) -> None:
    fewer = tmp_path / "fewer.csv"
    _write_numbered(fewer, {0: "L3", 1: "L1"})
    with pytest.raises(JoinError, match=r"1 of 3 .* record 2") as caught:
        _join(tmp_path, extract, fewer, rows)
    assert "r2" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_join_can_leave_records_without_link_id_out(tmp_path: Path, extract: Path, rows: Path) -> None:
    fewer = tmp_path / "fewer.csv"
    _write_numbered(fewer, {0: "L3", 1: "L1"})
    assert [line[0] for line in _join(tmp_path, extract, fewer, rows, drop_unlinked=True)] == ["link_id", "L1", "L3"]


def test_join_of_a_link_table_of_another_upload_is_refused(tmp_path: Path, extract: Path, rows: Path) -> None:
    other = tmp_path / "other.csv"
    _write_numbered(other, {0: "L3", 1: "L1", 2: "L2", 3: "L4"})
    with pytest.raises(JoinError, match="different uploads"):
        _join(tmp_path, extract, other, rows)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (f"row,link_id,encodings_sha256\n0,L3,{ENCODED}\n0,L1,{ENCODED}\n", JoinError),
        (f"row,link_id,encodings_sha256\n0,L3,{ENCODED}\n1,L1,{REENCODED}\n", JoinError),
        ("row,link_id\n0,L3\n1,L1\n", JoinError),
        ("record_id,link_id\nr1,L3\nr1,L1\n", JoinError),
        (f"row,link_id,encodings_sha256\n0,L3,{ENCODED}\n1,,{ENCODED}\n", JoinError),
        ("row,other\n0,L3\n", FileFormatError),
        ("row,link_id\nx,L3\n", FileFormatError),
        ("", FileFormatError),
    ],
)
def test_join_of_a_damaged_link_table_is_refused(
    tmp_path: Path, extract: Path, rows: Path, content: str, kind: type[Exception]
) -> None:
    damaged = tmp_path / "damaged.csv"
    damaged.write_text(content)
    with pytest.raises(kind):
        _join(tmp_path, extract, damaged, rows)


def test_join_of_row_numbers_without_a_rows_file_says_what_is_needed(
    tmp_path: Path, extract: Path, links: Path
) -> None:
    with pytest.raises(JoinError, match=r"rows\.parquet"):
        _join(tmp_path, extract, links, None)


TELLING = "record_id,given_name,next_of_kin_surname,contact,score\n" + "".join(
    f"r{row},Ann,Kin,person{row}@example.org,{row}\n" for row in (1, 2, 3)
)


def test_join_with_a_column_that_looks_like_an_identifier_writes_nothing(
    tmp_path: Path, extract: Path, links: Path, rows: Path
) -> None:
    extract.write_text(TELLING)
    with pytest.raises(JoinError, match=r"'next_of_kin_surname'.*'contact'.*--keep-column") as caught:
        _join(tmp_path, extract, links, rows)
    assert "example.org" not in str(caught.value)
    assert "score" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_join_keeps_or_drops_a_telling_column_that_is_named(
    tmp_path: Path, extract: Path, links: Path, rows: Path
) -> None:
    extract.write_text(TELLING)
    columns = Columns(
        identifiers=frozenset({"given_name"}), also_dropped=("next_of_kin_surname",), also_kept=("contact",)
    )
    assert _join(tmp_path, extract, links, rows, columns=columns)[0] == ["link_id", "contact", "score"]


def test_join_judges_values_however_far_down_they_begin(
    tmp_path: Path, extract: Path, links: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK_ROWS", 1)
    extract.write_text("record_id,contact\nr1,\nr2,\nr3,a@example.org\n")
    with pytest.raises(JoinError, match="email"):
        _join(tmp_path, extract, links, rows)


DATES = pa.array([dt.date(1930, 1, 1), dt.date(1960, 2, 2), dt.date(2001, 3, 3)])


@pytest.mark.parametrize(
    "values",
    [
        pa.array([9434765919.0, None, 9434765870.0]),
        DATES,
        DATES.cast(pa.timestamp("us")),
        DATES.cast(pa.timestamp("us", tz="UTC")),
    ],
)
def test_telling_columns_of_parquet_are_found_whatever_their_type(tmp_path: Path, values: Any) -> None:
    extract = tmp_path / "extract.parquet"
    pq.write_table(pa.table({"record_id": ["r1", "r2", "r3"], "column7": values}), extract)
    assert list(joining.telling_columns(extract=extract, columns=COLUMNS)) == ["column7"]


@pytest.mark.parametrize("values", [[1.5, None, 2.0], [[1], [2], []], [{"a": 1}, None, {"a": 2}]])
def test_join_of_parquet_passes_values_of_any_type(
    tmp_path: Path, links: Path, rows: Path, values: list[object]
) -> None:
    extract, out = tmp_path / "extract.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.table({"record_id": ["r1", "r2", "r3"], "column7": values}), extract)
    join_extract(extract=extract, links=links, rows=rows, out=out, columns=COLUMNS)
    assert pq.read_table(out).to_pydict() == {"link_id": ["L1", "L2", "L3"], "column7": values}


@pytest.mark.parametrize("name", ["Given Name", "GIVEN_NAME", " given-name "])
def test_join_recognises_identifiers_however_they_are_written(
    tmp_path: Path, links: Path, rows: Path, name: str
) -> None:
    extract = tmp_path / "extract.csv"
    extract.write_text(f"record_id,{name},score\nr1,Ann,1\nr2,Bob,2\nr3,Cy,3\n")
    assert _join(tmp_path, extract, links, rows)[0] == ["link_id", "score"]


def test_join_drops_renamed_and_named_columns(tmp_path: Path, links: Path, rows: Path) -> None:
    extract = tmp_path / "extract.csv"
    extract.write_text("nr,forename,note,score\nr1,Ann,x,1\nr2,Bob,y,2\nr3,Cy,z,3\n")
    columns = Columns(
        identifiers=frozenset({"given_name"}),
        record_id="nr",
        renamed={"forename": "given_name"},
        also_dropped=("note",),
    )
    assert _join(tmp_path, extract, links, rows, columns=columns)[0] == ["link_id", "score"]


@pytest.mark.parametrize(
    "columns",
    [
        Columns(identifiers=(), record_id="nr"),
        Columns(identifiers=(), also_dropped=("absent",)),
        Columns(identifiers=(), renamed={"absent": "given_name"}),
        Columns(identifiers=(), also_kept=("absent",)),
        Columns(identifiers=("given_name",), also_kept=("given_name",)),
        Columns(identifiers=(), also_kept=("record_id",)),
        Columns(identifiers=(), also_dropped=("score",), also_kept=("score",)),
    ],
)
def test_join_naming_columns_that_are_not_there_is_refused(
    tmp_path: Path, extract: Path, links: Path, rows: Path, columns: Columns
) -> None:
    with pytest.raises(ColumnError):
        _join(tmp_path, extract, links, rows, columns=columns)


@pytest.mark.parametrize("header", ["record_id,link_id", "record_id,Link ID", "record_id,a,a", "record_id,,a"])
def test_join_of_an_extract_with_an_impossible_header_is_refused(
    tmp_path: Path, links: Path, rows: Path, header: str
) -> None:
    extract = tmp_path / "extract.csv"
    extract.write_text(header + "\n")
    with pytest.raises(ColumnError):
        _join(tmp_path, extract, links, rows)


@pytest.mark.parametrize("line", [b"r1,secret,value,more", b"r1,sec\xe9ret", b'r1,"secret'])
def test_join_of_a_malformed_extract_is_refused_without_its_values(
    tmp_path: Path, links: Path, rows: Path, line: bytes
) -> None:
    extract = tmp_path / "extract.csv"
    extract.write_bytes(b"record_id,score\n" + line + b"\n")
    with pytest.raises(FileFormatError) as caught:
        _join(tmp_path, extract, links, rows)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_join_keeps_delimiter_and_reads_the_named_encoding(tmp_path: Path, links: Path, rows: Path) -> None:
    extract = tmp_path / "extract.csv"
    extract.write_bytes("record_id;town\nr1;Orléans\nr2;a\nr3;b\n".encode("latin-1"))
    out = tmp_path / "out.csv"
    form = ExtractFormat(text_encoding="latin-1", delimiter=";")
    join_extract(extract=extract, links=links, rows=rows, out=out, columns=COLUMNS, extract_format=form)
    assert out.read_text(encoding="utf-8").splitlines()[:2] == ["link_id;town", "L1;Orléans"]


@pytest.mark.parametrize("names", [["score", "given_name"], ["given_name"]])
def test_join_of_parquet_keeps_types_and_no_metadata(tmp_path: Path, links: Path, rows: Path, names: list[str]) -> None:
    extract, out = tmp_path / "extract.parquet", tmp_path / "out.parquet"
    columns = {"given_name": ["Ann", "Bob", "Cy"], "score": [7, 8, 9]}
    table = pa.table({"record_id": ["r1", "r2", "r3"], **{name: columns[name] for name in names}})
    pq.write_table(table.replace_schema_metadata({"note": "Ann"}), extract)
    join_extract(extract=extract, links=links, rows=rows, out=out, columns=COLUMNS)
    expected = {"link_id": ["L1", "L2", "L3"], **({"score": [7, 8, 9]} if "score" in names else {})}
    assert pq.read_table(out).to_pydict() == expected
    assert b"Ann" not in out.read_bytes()


def test_join_does_not_replace_an_output_unless_said(tmp_path: Path, extract: Path, links: Path, rows: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("before")
    with pytest.raises(OutputExistsError):
        _join(tmp_path, extract, links, rows)
    assert out.read_text() == "before"
    assert _join(tmp_path, extract, links, rows, overwrite=True)[0] == ["link_id", "score"]


def test_join_works_across_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "BATCH_ROWS", 7)
    monkeypatch.setattr(reading, "BLOCK_ROWS", 7)
    rows, extract, links = tmp_path / "rows.parquet", tmp_path / "extract.csv", tmp_path / "links.csv"
    _write_rows(rows, [str(100 - row) for row in range(50)])
    write_links(((row, f"L{row}") for row in range(50)), out=links, encodings_sha256=ENCODED)
    extract.write_text("record_id,own\n" + "".join(f"{100 - row},{row}\n" for row in range(50)))
    assert _join(tmp_path, extract, links, rows)[1:] == [[f"L{row}", str(row)] for row in range(50)]


def test_write_links_with_rows_writes_record_ids(tmp_path: Path, rows: Path) -> None:
    out = tmp_path / "links.csv"
    assert write_links(iter([(0, "L3"), (2, "L2")]), out=out, encodings_sha256=ENCODED, rows=rows) == 2
    assert out.read_text() == "record_id,link_id\nr3,L3\nr2,L2\n"


def test_write_links_of_a_download_that_breaks_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[int, str]]:
        yield 0, "L0"
        raise IncompleteDownloadError("broken")

    with pytest.raises(IncompleteDownloadError):
        write_links(broken(), out=tmp_path / "links.csv", encodings_sha256=ENCODED)
    assert list(tmp_path.iterdir()) == []


def test_write_links_for_other_rows_is_refused(tmp_path: Path, rows: Path) -> None:
    with pytest.raises(JoinError):
        write_links(iter([(3, "L")]), out=tmp_path / "links.csv", encodings_sha256=ENCODED, rows=rows)


def test_write_links_without_rows_says_in_each_line_which_encodings_it_is_about(tmp_path: Path) -> None:
    write_links(iter([(0, "L0"), (1, "L1")]), out=tmp_path / "links.csv", encodings_sha256=ENCODED)
    lines = (tmp_path / "links.csv").read_text().splitlines()
    assert lines == ["row,link_id,encodings_sha256", f"0,L0,{ENCODED}", f"1,L1,{ENCODED}"]


@pytest.mark.parametrize("digest", [REENCODED, None])
def test_write_links_with_the_rows_of_other_encodings_takes_no_link(tmp_path: Path, digest: str | None) -> None:
    links = iter([(0, "L0")])
    rows = tmp_path / "rows.parquet"
    _write_rows(rows, ["r3", "r1", "r2"], digest=digest)
    with pytest.raises(JoinError, match=r"wrong people.*rows\.a1a1a1a1a1a1\.parquet"):
        write_links(links, out=tmp_path / "links.csv", encodings_sha256=ENCODED, rows=rows)
    assert list(links) == [(0, "L0")]
    assert not (tmp_path / "links.csv").exists()


@pytest.mark.parametrize("digest", [REENCODED, None])
def test_join_with_the_rows_of_other_encodings_is_refused(
    tmp_path: Path, extract: Path, links: Path, digest: str | None
) -> None:
    rows = tmp_path / "rows.parquet"
    _write_rows(rows, ["r1", "r2", "r3"], digest=digest)
    with pytest.raises(JoinError, match="wrong people"):
        _join(tmp_path, extract, links, rows)
    assert not (tmp_path / "out.csv").exists()


PROVENANCE = Provenance(run="run_1", recipient="org_r", release="rel_1")


@pytest.fixture
def noted_links(tmp_path: Path) -> Path:
    """A link table of a release that is known."""
    path = tmp_path / "noted.csv"
    write_links(enumerate(["L3", "L1", "L2"]), out=path, encodings_sha256=ENCODED, provenance=PROVENANCE)
    return path


def test_join_passes_on_which_release_link_ids_are_from(
    tmp_path: Path, extract: Path, noted_links: Path, rows: Path
) -> None:
    report = join_extract(extract=extract, links=noted_links, rows=rows, out=tmp_path / "o.csv", columns=COLUMNS)
    assert report.note == tmp_path / "o.csv.json"
    assert read_note(tmp_path / "o.csv") == PROVENANCE


def test_join_of_parquet_has_the_release_in_its_metadata(tmp_path: Path, noted_links: Path, rows: Path) -> None:
    pq.write_table(pa.table({"record_id": ["r1", "r2", "r3"]}), tmp_path / "extract.parquet")
    out = tmp_path / "o.parquet"
    join_extract(extract=tmp_path / "extract.parquet", links=noted_links, rows=rows, out=out, columns=COLUMNS)
    assert in_metadata(pq.read_schema(out).metadata) == PROVENANCE
    assert not (tmp_path / "o.parquet.json").exists()


def test_join_takes_away_the_note_of_the_file_it_replaces(
    tmp_path: Path, extract: Path, links: Path, rows: Path
) -> None:
    write_note(tmp_path / "out.csv", PROVENANCE)
    _join(tmp_path, extract, links, rows)
    assert read_note(tmp_path / "out.csv") is None


def test_join_leaves_a_file_alone_that_is_no_note(tmp_path: Path, extract: Path, noted_links: Path, rows: Path) -> None:
    other = tmp_path / "out.csv.json"
    other.write_text('{"mine": 1}')
    with pytest.raises(OutputExistsError, match=r"out\.csv\.json"):
        _join(tmp_path, extract, noted_links, rows)
    assert other.read_text() == '{"mine": 1}'
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    "content", ["", "[]", "nonsense", '{"run": "x"}', '{"run": 1, "recipient": "", "release": "r"}']
)
def test_read_note_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv.json").write_text(content)
    with pytest.raises(FileFormatError, match=r"a\.csv\.json"):
        read_note(tmp_path / "a.csv")


def test_join_of_an_extract_in_another_encoding_finds_that_out(tmp_path: Path, links: Path, rows: Path) -> None:
    extract = tmp_path / "extract.csv"
    extract.write_bytes("record_id\ttown\r\nr1\tOrléans\r\nr2\ta\r\nr3\tb\r\n".encode("utf-16"))
    assert _join(tmp_path, extract, links, rows)[1:] == [["L1\tOrléans"], ["L2\ta"], ["L3\tb"]]


def test_join_of_an_extract_that_changes_between_its_passes_writes_nothing(
    tmp_path: Path, extract: Path, links: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved_meanwhile(*_: object) -> dict[str, str]:
        extract.write_text(EXTRACT.replace("r1", "r9"))
        return {}

    monkeypatch.setattr(joining, "telling_of", saved_meanwhile)
    with pytest.raises(DataError, match="changed while it was read"):
        _join(tmp_path, extract, links, rows)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("value", ["a\rb", "a\r\nb", "\r", "=1+1", "@SUM(A1)", " x ", "'", "\u2028"])
def test_join_alters_no_value_of_the_payload(tmp_path: Path, links: Path, rows: Path, value: str) -> None:
    extract = tmp_path / "extract.csv"
    with extract.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["record_id", "score"], ["r1", value], ["r2", "x"], ["r3", ""]])
    _join(tmp_path, extract, links, rows)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["link_id", "score"], ["L1", value], ["L2", "x"], ["L3", ""]]


def test_join_reads_record_ids_of_parquet_as_encoding_does(tmp_path: Path) -> None:
    pq.write_table(pa.table({"record_id": [7.0, 8.0], "score": [1, 2]}), tmp_path / "extract.parquet")
    (tmp_path / "links.csv").write_text("record_id,link_id\n7,L7\n8,L8\n")
    out = tmp_path / "o.parquet"
    join_extract(
        extract=tmp_path / "extract.parquet", links=tmp_path / "links.csv", rows=None, out=out, columns=COLUMNS
    )
    assert pq.read_table(out).to_pydict() == {"link_id": ["L7", "L8"], "score": [1, 2]}


@pytest.mark.parametrize("numbers", [[0, 1, 3], [0, 0, 1], [1, 2, 3]])
def test_damaged_rows_file_is_refused(tmp_path: Path, extract: Path, links: Path, numbers: list[int]) -> None:
    rows = tmp_path / "rows.parquet"
    _write_rows(rows, ["r1", "r2", "r3"], rows=numbers)
    with pytest.raises(FileFormatError, match="damaged"):
        _join(tmp_path, extract, links, rows)


def test_identifier_columns_include_what_derived_features_come_from() -> None:
    names = ["date_of_birth.year", "given_name+surname", "postcode"]
    found = identifier_columns({"features": [{"identifier": name} for name in names]})
    assert found >= {"date_of_birth", "given_name", "surname", "postcode"}


@pytest.mark.parametrize("schema", [{}, {"features": []}, {"features": [{}]}])
def test_identifier_columns_of_a_schema_without_columns_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(JoinError):
        identifier_columns(schema)


@given(
    values=st.lists(
        # A NUL, and a quote after a backslash, are refused: see the tests of reading.
        st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00\\")),
        min_size=1,
        max_size=20,
    )
)
def test_join_passes_every_payload_value_through_unchanged(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("join")
    with (folder / "extract.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["record_id", "payload"], *([str(row), value] for row, value in enumerate(values))])
    links = folder / "links.csv"
    links.write_text("record_id,link_id\n" + "".join(f"{row},L{row}\n" for row in range(len(values))))
    out = folder / "out.csv"
    kept = Columns(identifiers=(), also_kept=("payload",))
    join_extract(extract=folder / "extract.csv", links=links, rows=None, out=out, columns=kept)
    with out.open(encoding="utf-8", newline="") as file:
        assert [line[1] for line in csv.reader(file)][1:] == values


def test_join_passes_on_what_the_link_table_tells_besides(tmp_path: Path) -> None:
    links = tmp_path / "matched.csv"
    links.write_text("record_id,link_id,match_probability,group_size\na,L1,0.97,2\nb,L2,,\n")
    extract = tmp_path / "some.csv"
    extract.write_text("record_id,given_name,score\na,Ann,1\nb,Ben,2\n")
    report = join_extract(
        extract=extract, links=links, rows=None, out=tmp_path / "out.csv", columns=Columns(identifiers={"given_name"})
    )
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines == ["link_id,match_probability,group_size,score", "L1,0.97,2,1", "L2,,,2"]
    assert report.columns_kept == ("match_probability", "group_size", "score")


def test_join_of_parquet_has_numbers_for_what_the_link_table_tells(tmp_path: Path) -> None:
    links = tmp_path / "matched.csv"
    links.write_text("record_id,link_id,match_probability,group_size\na,L1,0.97,2\nb,L2,,\n")
    pq.write_table(pa.table({"record_id": ["a", "b"], "score": [1, 2]}), tmp_path / "some.parquet")
    join_extract(
        extract=tmp_path / "some.parquet",
        links=links,
        rows=None,
        out=tmp_path / "out.parquet",
        columns=Columns(identifiers={"given_name"}),
    )
    found = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert found["match_probability"] == [0.97, None]
    assert found["group_size"] == [2, None]


def test_join_of_an_extract_with_a_column_of_the_link_table_is_refused(tmp_path: Path) -> None:
    links = tmp_path / "matched.csv"
    links.write_text("record_id,link_id,group_size\na,L1,2\n")
    extract = tmp_path / "some.csv"
    extract.write_text("record_id,Group size\na,9\n")
    with pytest.raises(ColumnError):
        join_extract(
            extract=extract, links=links, rows=None, out=tmp_path / "out.csv", columns=Columns(identifiers={"x"})
        )


def test_written_links_hold_what_they_tell_besides(tmp_path: Path) -> None:
    columns = ("match_probability", "group_size")
    links = [(0, "L0", 0.5, 2), (1, "L1", None, None)]
    write_links(links, out=tmp_path / "links.csv", encodings_sha256="ab", columns=columns)
    assert (tmp_path / "links.csv").read_text().splitlines() == [
        "row,link_id,encodings_sha256,match_probability,group_size",
        "0,L0,ab,0.5,2",
        "1,L1,ab,,",
    ]
