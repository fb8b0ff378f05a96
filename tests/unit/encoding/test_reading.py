import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkage_client.encoding import reading
from linkage_client.encoding.reading import check_record_ids, open_table, renamed_columns
from linkage_client.errors import ColumnError, DataError, FileFormatError


def csv_file(folder: Path, content: bytes | str) -> Path:
    path = folder / "records.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, *columns: str, **options: Any) -> dict[str, list[str | None]]:
    table = open_table(path, **options)
    batches = list(table.batches(columns or table.columns))
    return {
        name: [value for batch in batches for value in batch.column(name).to_pylist()]
        for name in columns or table.columns
    }


def test_open_table_csv_values_stay_strings_and_empty_stays_empty(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'id,name,n\n007,"Smith, J",\n8,"two\nlines",NA\n')
    assert read(path) == {"id": ["007", "8"], "name": ["Smith, J", "two\nlines"], "n": ["", "NA"]}


def test_open_table_byte_order_mark_is_no_part_of_the_name(tmp_path: Path) -> None:
    assert read(csv_file(tmp_path, b"\xef\xbb\xbfid,b\n1,2\n")) == {"id": ["1"], "b": ["2"]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_open_table_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    assert read(csv_file(tmp_path, f"id{delimiter}b\n1{delimiter}2\n")) == {"id": ["1"], "b": ["2"]}


def test_open_table_delimiter_given_is_used(tmp_path: Path) -> None:
    assert read(csv_file(tmp_path, "id:b,c\n1:2\n"), delimiter=":") == {"id": ["1"], "b,c": ["2"]}


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_open_table_other_encoding_is_read_when_named(tmp_path: Path, encoding: str) -> None:
    assert read(csv_file(tmp_path, "id,näme\n1,José\n".encode(encoding)), encoding=encoding) == {
        "id": ["1"],
        "näme": ["José"],
    }


def test_open_table_wrong_encoding_names_the_line_and_what_to_try(tmp_path: Path) -> None:
    path = csv_file(tmp_path, b"id,name\n1,ann\n2,jos\xe9\n")
    with pytest.raises(FileFormatError) as caught:
        read(path)
    assert "line 3 of the file" in str(caught.value)
    assert "--encoding cp1252" in str(caught.value)
    assert "jos" not in str(caught.value)


def test_open_table_wrong_encoding_far_into_the_file_names_the_line(tmp_path: Path) -> None:
    path = csv_file(tmp_path, b"id,name\n" + b"1,ann\n" * 200_000 + b"2,jos\xe9\n")
    with pytest.raises(FileFormatError, match="line 200002 of the file"):
        read(path)


def test_open_table_utf_16_without_saying_so_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="--encoding utf-16"):
        open_table(csv_file(tmp_path, "id,b\n".encode("utf-16")))


def test_open_table_unknown_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no text encoding"):
        open_table(csv_file(tmp_path, "id\n"), encoding="utf-99")


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_open_table_empty_file_says_so(tmp_path: Path, content: str) -> None:
    with pytest.raises(FileFormatError, match="empty"):
        open_table(csv_file(tmp_path, content))


def test_open_table_absent_file_says_so_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError) as caught:
        open_table(tmp_path / "absent.csv")
    assert "absent.csv" not in str(caught.value)


@pytest.mark.parametrize("header", ["Jones,Jones", "Jones,,x"])
def test_open_table_bad_header_is_named_by_position_only(tmp_path: Path, header: str) -> None:
    with pytest.raises(ColumnError) as caught:
        open_table(csv_file(tmp_path, f"{header}\n1,2\n"))
    assert "Jones" not in str(caught.value)
    assert "2" in str(caught.value)


def test_open_table_ragged_rows_are_numbered_and_not_quoted(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "id,name\n1,ann\n2\n3,bob\n4,Smith, J\n")
    with pytest.raises(FileFormatError) as caught:
        read(path)
    assert "row 2, 4" in str(caught.value)
    assert "Smith" not in str(caught.value)


def test_open_table_ragged_row_in_a_later_block_is_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CSV_BLOCK_BYTES", 4096)
    path = csv_file(tmp_path, "id,name\n" + "1,ann\n" * 5000 + "2\n" + "1,ann\n" * 5000)
    with pytest.raises(FileFormatError, match="row 5001;"):
        read(path)


def test_open_table_parquet_types_become_text(tmp_path: Path) -> None:
    path = tmp_path / "records"
    table = pa.table(
        {
            "text": pa.array(["a", None]),
            "number": pa.array([7, None]),
            "gaps": pa.array([7.0, None]),
            "date": pa.array([dt.date(1979, 5, 5), None]),
            "stamp": pa.array([dt.datetime(1979, 5, 5), None], pa.timestamp("ns")),  # noqa: DTZ001  files have such
            "coded": pa.array(["x", None]).dictionary_encode(),
            "nothing": pa.nulls(2),
        }
    )
    pq.write_table(table, path)
    assert read(path) == {
        "text": ["a", ""],
        "number": ["7", ""],
        "gaps": ["7", ""],
        "date": ["1979-05-05", ""],
        "stamp": ["1979-05-05", ""],
        "coded": ["x", ""],
        "nothing": ["", ""],
    }


@pytest.mark.parametrize("column", [pa.array([1.5]), pa.array([[1]]), pa.array([dt.datetime(1979, 5, 5, 12)])])  # noqa: DTZ001
def test_open_table_parquet_type_without_one_spelling_is_refused(tmp_path: Path, column: Any) -> None:
    path = tmp_path / "records.parquet"
    pq.write_table(pa.table({"column": column}), path)
    with pytest.raises(ColumnError, match="column"):
        read(path)


def test_open_table_damaged_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError):
        open_table(csv_file(tmp_path, b"PAR1 and nothing more"))


def test_check_record_ids_repeated_ids_are_counted_and_numbered() -> None:
    with pytest.raises(DataError) as caught:
        check_record_ids(pa.chunked_array([["id-a", "id-b", "id-a"], ["id-c", "id-b", "id-a"]]))
    assert "3 records repeat" in str(caught.value)
    assert "row 3, 5, 6" in str(caught.value)
    assert "id-" not in str(caught.value).replace("--id-column", "")


def test_check_record_ids_empty_ids_are_counted_and_numbered() -> None:
    with pytest.raises(DataError, match=r"2 records have no id \(first: row 2, 4\)"):
        check_record_ids(pa.chunked_array([["a", "", "b", ""]]))


def test_renamed_columns_are_read_under_their_new_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("record_id,surname,last,Forename\n1,x,y,z\n")
    table = renamed_columns(open_table(tmp_path / "a.csv"), {"last": "surname", "Forename": "given_name"})
    assert table.columns == ("record_id", "surname", "given_name")
    (batch,) = table.batches(["given_name", "surname", "record_id"])
    assert batch.to_pydict() == {"given_name": ["z"], "surname": ["y"], "record_id": ["1"]}


def test_renamed_columns_may_swap_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["1"], "b": ["2"]}), tmp_path / "a.parquet")
    table = renamed_columns(open_table(tmp_path / "a.parquet"), {"a": "b", "b": "a"})
    (batch,) = table.batches(["a", "b"])
    assert batch.to_pydict() == {"a": ["2"], "b": ["1"]}


@pytest.mark.parametrize("renamed", [{"absent": "surname"}, {"a": "surname", "b": "surname"}])
def test_renamed_columns_absent_or_doubled_are_refused(tmp_path: Path, renamed: dict[str, str]) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ColumnError, match="--map"):
        renamed_columns(open_table(tmp_path / "a.csv"), renamed)
