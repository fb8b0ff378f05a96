import base64
import hashlib
import hmac
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkage_client.encoding import extract as extract_module
from linkage_client.encoding.derive import normalisation_digest
from linkage_client.encoding.encoder import Encoder
from linkage_client.encoding.key_check import check_value, read_secret
from linkage_client.encoding.normalise import normalisation
from linkage_client.encoding.package import (
    encode_file,
    export_clkhash_json,
    import_clkhash_json,
    kept_rows_files,
    read_encodings,
    write_package,
)
from linkage_client.encoding.rows_file import made_with
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.errors import (
    ColumnError,
    DataError,
    FileFormatError,
    OutputExistsError,
    PackageError,
    SecretError,
    ValueFormatError,
    WorkerError,
)
from support.linkage_schemas import linkage_schema, string_feature

SECRET = b"secret of the package tests"
SCHEMA = LinkageSchema.parse(linkage_schema(string_feature("given_name"), string_feature("town")))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    lines = [
        "record_id,given_name,town",
        *(f"person-{i},Given {i % 7},{'' if i % 4 == 0 else f'Sur {i}'}" for i in range(40)),
    ]
    path = tmp_path / "records.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def left_behind(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir() if item.name != "records.csv")


def test_encode_file_rows_map_back_to_their_records(source: Path, tmp_path: Path) -> None:
    encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET)
    package = read_encodings(tmp_path / "out")
    assert package.record_ids is not None
    numbers = [int(record_id.removeprefix("person-")) for record_id in package.record_ids]
    assert sorted(numbers) == list(range(40))
    assert numbers != list(range(40))
    columns = [[f"given {i % 7}" for i in numbers], ["" if i % 4 == 0 else f"sur {i}" for i in numbers]]
    assert np.array_equal(Encoder(SCHEMA, SECRET).encode_columns(columns), package.encodings)


def test_encode_file_order_differs_each_time(source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        encode_file(source, tmp_path / name, schema=SCHEMA, secret=SECRET)
    assert read_encodings(tmp_path / "one").record_ids != read_encodings(tmp_path / "two").record_ids


def test_encode_file_manifest_tells_what_the_contract_names(source: Path, tmp_path: Path) -> None:
    manifest = encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET, project_id="prj_1", epoch=2).manifest
    raw = (tmp_path / "out" / "encodings.bin").read_bytes()
    assert manifest == json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert manifest.pop("encoder")["name"] == "linkage-client"
    assert manifest == {
        "version": 1,
        "linkage_schema_sha256": SCHEMA.digest,
        "encoding_profile": None,
        "normalisation": "british-v1",
        "normalisation_sha256": normalisation_digest(SCHEMA, normalisation("british-v1")),
        "count": 40,
        "bits": 1024,
        "size_bytes": 40 * 128,
        "sha256": hashlib.sha256(raw).hexdigest(),
        "key": {
            "epoch": 2,
            "check_value": check_value(SECRET, project_id="prj_1", epoch=2),
            "derivation": "linkage/derive/v1",
        },
        "completeness": {"given_name": 1.0, "town": 0.75},
        "validity": {"given_name": 1.0, "town": 1.0},
    }


def test_encode_file_without_project_has_no_check_value_and_no_derivation(source: Path, tmp_path: Path) -> None:
    manifest = encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET).manifest
    assert manifest["key"] == {"epoch": 1, "check_value": None, "derivation": None}


def test_encode_file_record_ids_are_for_the_owner_only(source: Path, tmp_path: Path) -> None:
    encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET)
    assert sorted(item.name for item in (tmp_path / "out").iterdir()) == [
        "encodings.bin",
        "manifest.json",
        "rows.parquet",
    ]
    assert stat.S_IMODE((tmp_path / "out" / "rows.parquet").stat().st_mode) == 0o600
    table = pq.read_table(tmp_path / "out" / "rows.parquet")
    assert [(field.name, field.type) for field in table.schema] == [("row", pa.int64()), ("record_id", pa.string())]


def test_encode_file_rows_name_the_encodings_that_they_belong_to(source: Path, tmp_path: Path) -> None:
    manifest = encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET).manifest
    metadata = pq.read_schema(tmp_path / "out" / "rows.parquet").metadata
    assert metadata[b"linkage.encodings_sha256"] == manifest["sha256"].encode()


@pytest.mark.parametrize("project_id", [None, "prj_1"])
def test_encode_file_rows_tell_the_secret_of_their_encodings_from_others(
    source: Path, tmp_path: Path, project_id: str | None
) -> None:
    encoded = encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET, project_id=project_id)
    digest = encoded.manifest["sha256"]
    rows = pq.read_schema(tmp_path / "out" / "rows.parquet")
    assert made_with(rows, SECRET, encodings_sha256=digest) is True
    assert made_with(rows, SECRET + b"!", encodings_sha256=digest) is False
    assert made_with(rows, SECRET, encodings_sha256="0" * 64) is None
    assert made_with(rows.remove_metadata(), SECRET, encodings_sha256=digest) is None


def test_read_encodings_with_the_rows_of_other_encodings_is_refused(source: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        encode_file(source, tmp_path / name, schema=SCHEMA, secret=SECRET)
    (tmp_path / "other" / "rows.parquet").replace(tmp_path / "one" / "rows.parquet")
    with pytest.raises(PackageError, match="not written together"):
        read_encodings(tmp_path / "one")


def test_encode_file_without_normalisation_keeps_clkhash_bits(source: Path, tmp_path: Path) -> None:
    manifest = encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET, normalise="none").manifest
    package = read_encodings(tmp_path / "out")
    assert manifest["normalisation"] == "none"
    assert package.record_ids is not None
    numbers = [int(record_id.removeprefix("person-")) for record_id in package.record_ids]
    columns = [[f"Given {i % 7}" for i in numbers], ["" if i % 4 == 0 else f"Sur {i}" for i in numbers]]
    assert np.array_equal(Encoder(SCHEMA, SECRET).encode_columns(columns), package.encodings)


def test_encode_file_workers_and_small_blocks_lose_no_row(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkage_client.encoding.reading.BLOCK_ROWS", 7)
    monkeypatch.setattr(extract_module, "BLOCK_ROWS", 11)
    seen: list[tuple[int, int | None]] = []
    out = tmp_path / "out"
    encode_file(source, out, schema=SCHEMA, secret=SECRET, workers=2, progress=lambda *at: seen.append(at))
    assert seen[-1] == (40, 40)
    assert len(seen) == 6
    package = read_encodings(out)
    assert package.record_ids is not None
    first = {record_id: row.tobytes() for record_id, row in zip(package.record_ids, package.encodings, strict=True)}
    alone = Encoder(SCHEMA, SECRET).encode_columns([["given 3"], ["sur 17"]])
    assert first["person-17"] == alone[0].tobytes()


def test_encode_file_bad_value_leaves_nothing_and_names_the_row(source: Path, tmp_path: Path) -> None:
    short = {**string_feature("town"), "format": {"type": "string", "maxLength": 5}}
    with pytest.raises(ValueFormatError, match="row 12, column 'town'") as caught:
        encode_file(source, tmp_path / "out", schema=LinkageSchema.parse(linkage_schema(short)), secret=SECRET)
    assert "sur" not in str(caught.value)
    assert left_behind(tmp_path) == []


def test_encode_file_interrupted_leaves_nothing(source: Path, tmp_path: Path) -> None:
    def interrupt(_done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET, progress=interrupt)
    assert left_behind(tmp_path) == []


def test_encode_file_existing_output_is_kept_without_force(source: Path, tmp_path: Path) -> None:
    first = encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET).manifest
    with pytest.raises(OutputExistsError, match="--force"):
        encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET)
    assert read_encodings(tmp_path / "out").manifest == first


def test_encode_file_force_replaces_a_package(source: Path, tmp_path: Path) -> None:
    first = encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET).manifest
    second = encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET + b"!", force=True).manifest
    assert first["sha256"] != second["sha256"]
    assert read_encodings(tmp_path / "out").manifest == second
    assert left_behind(tmp_path) == ["out"]


def test_encode_file_force_keeps_the_rows_files_of_all_earlier_encodings(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written: dict[str, bytes] = {}
    for _ in range(3):
        digest = encode_file(source, out, schema=SCHEMA, secret=SECRET, force=True).manifest["sha256"]
        written[f"rows.{digest[:12]}.parquet"] = (out / "rows.parquet").read_bytes()
    *earlier, last = written
    assert [path.name for path in kept_rows_files(out)] == sorted(earlier)
    assert {path.name: path.read_bytes() for path in kept_rows_files(out)} == {n: written[n] for n in earlier}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept_rows_files(out))
    assert (out / "rows.parquet").read_bytes() == written[last]
    assert read_encodings(out).count == 40


def test_encode_file_force_keeps_a_rows_file_that_cannot_be_read(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encode_file(source, out, schema=SCHEMA, secret=SECRET)
    (out / "rows.parquet").write_text("damaged")
    encode_file(source, out, schema=SCHEMA, secret=SECRET, force=True)
    assert (out / "rows.unknown.parquet").read_text() == "damaged"
    (out / "rows.parquet").write_text("damaged too")
    with pytest.raises(OutputExistsError, match="other rows"):
        encode_file(source, out, schema=SCHEMA, secret=SECRET, force=True)
    assert (out / "rows.parquet").read_text() == "damaged too"
    assert left_behind(tmp_path) == ["out"]


def test_encode_file_force_spares_other_directories(source: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work", "utf-8")
    with pytest.raises(OutputExistsError, match="not a directory of encodings"):
        encode_file(source, tmp_path / "home", schema=SCHEMA, secret=SECRET, force=True)
    assert (tmp_path / "home" / "thesis.txt").exists()


def test_encode_file_without_id_column_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match="--id-column"):
        encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET, id_column="nhs_number")


def test_encode_file_header_only_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records.csv").write_text("record_id,given_name,town\n", "utf-8")
    with pytest.raises(FileFormatError, match="no records"):
        encode_file(tmp_path / "records.csv", tmp_path / "out", schema=SCHEMA, secret=SECRET)
    assert left_behind(tmp_path) == []


def test_encode_file_duplicate_ids_are_refused_before_encoding(source: Path, tmp_path: Path) -> None:
    source.write_text(source.read_text("utf-8") + "person-3,x,y\n", "utf-8")
    with pytest.raises(DataError, match="1 records repeat") as caught:
        encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET)
    assert "person" not in str(caught.value)


def test_read_encodings_changed_file_is_refused(source: Path, tmp_path: Path) -> None:
    encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET)
    path = tmp_path / "out" / "encodings.bin"
    raw = bytearray(path.read_bytes())
    raw[0] ^= 1
    path.write_bytes(raw)
    with pytest.raises(PackageError, match="has changed"):
        read_encodings(tmp_path / "out")
    path.write_bytes(raw[:-1])
    with pytest.raises(PackageError, match="not as long"):
        read_encodings(tmp_path / "out")


def test_read_encodings_incomplete_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="not a complete directory"):
        read_encodings(tmp_path)


def test_read_encodings_without_rows_has_no_record_ids(source: Path, tmp_path: Path) -> None:
    encode_file(source, tmp_path / "out", schema=SCHEMA, secret=SECRET)
    (tmp_path / "out" / "rows.parquet").unlink()
    assert read_encodings(tmp_path / "out").record_ids is None


def clks(folder: Path, document: Any) -> Path:
    path = folder / "clks.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


def test_clkhash_json_goes_there_and_back(tmp_path: Path) -> None:
    rows = [bytes([place] * 128) for place in range(5)]
    encoded = [base64.b64encode(row).decode() for row in rows]
    package = import_clkhash_json(clks(tmp_path, {"clks": encoded}), schema=SCHEMA)
    assert package.record_ids == ("0", "1", "2", "3", "4")
    assert [row.tobytes() for row in package.encodings] == rows
    write_package(package, tmp_path / "out")
    again = read_encodings(tmp_path / "out")
    assert again.record_ids == package.record_ids
    assert (again.bits, again.count) == (1024, 5)
    export_clkhash_json(again, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text("ascii")) == {"clks": encoded}
    with pytest.raises(OutputExistsError):
        export_clkhash_json(again, tmp_path / "again.json")


@pytest.mark.parametrize(
    "document",
    [[], {}, {"clks": []}, {"clks": ["AA==", "AAA="]}, {"clks": ["AA==", 5]}, {"clks": ["?"]}, {"clks": [""]}],
)
def test_import_clkhash_json_unusable_file_is_refused(tmp_path: Path, document: Any) -> None:
    with pytest.raises(PackageError):
        import_clkhash_json(clks(tmp_path, document))


def test_import_clkhash_json_of_another_length_than_the_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="8 bits"):
        import_clkhash_json(clks(tmp_path, {"clks": ["AA=="]}), schema=SCHEMA)


def test_check_value_is_the_truncated_mac_of_project_and_epoch() -> None:
    expected = hmac.new(SECRET, b"linkage/kcv/v1\0prj_9\x003", hashlib.sha256).hexdigest()[:32]
    assert check_value(SECRET, project_id="prj_9", epoch=3) == expected


@pytest.mark.parametrize(("ending", "kept"), [(b"", b""), (b"\n", b""), (b"\r\n", b""), (b"\n\n", b"\n"), (b" ", b" ")])
def test_read_secret_one_newline_at_the_end_is_no_part_of_it(tmp_path: Path, ending: bytes, kept: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"0123456789abcdef" + ending)
    path.chmod(0o600)
    assert read_secret(path) == b"0123456789abcdef" + kept


@pytest.mark.parametrize("content", [b"", b"\n", b"too short\n"])
def test_read_secret_empty_or_short_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SecretError, match="at least 16") as caught:
        read_secret(path)
    assert "too short" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has these modes")
def test_read_secret_from_a_file_that_is_too_large_for_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "extract.csv"
    path.write_bytes(b"record_id,surname\n" * 4_000)
    path.chmod(0o600)
    with pytest.raises(SecretError, match="another one is meant"):
        read_secret(path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_read_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"0123456789abcdef")
    path.chmod(mode)
    with pytest.raises(SecretError, match=rf"mode {mode:04o}.*chmod 600"):
        read_secret(path)


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has these modes")
def test_read_secret_from_a_pipe_has_no_mode_to_judge(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o644)
    with subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'w').write('0123456789abcdef')"]):
        assert read_secret(pipe) == b"0123456789abcdef"


def test_in_order_worker_that_dies_ends_the_run() -> None:
    from linkage_client.encoding.workers import in_order

    with pytest.raises(WorkerError):
        list(in_order(os._exit, [(1,)] * 4, workers=2))


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_encode_file_killed_leaves_no_output(source: Path, tmp_path: Path) -> None:
    script = tmp_path / "kill.py"
    script.write_text(
        "import os, signal, sys\n"
        "from linkage_client.encoding.package import encode_file\n"
        "from linkage_client.encoding.schema import LinkageSchema\n"
        "schema = LinkageSchema.from_json(sys.argv[3])\n"
        "encode_file(sys.argv[1], sys.argv[2], schema=schema, secret=b'x' * 16,\n"
        "            progress=lambda *at: os.kill(os.getpid(), signal.SIGKILL))\n",
        "utf-8",
    )
    out = tmp_path / "out"
    command = [sys.executable, str(script), str(source), str(out), SCHEMA.canonical.decode()]
    assert subprocess.run(command, check=False).returncode == -9
    assert not out.exists()
