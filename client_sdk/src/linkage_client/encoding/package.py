"""Writes and reads directories of encodings: what leaves the provider, and the one file that must not.

    encodings.bin   one encoding after the other, bits / 8 bytes each, no header
    manifest.json   counts, digests and rates that the linkage unit may know
    rows.parquet    row -> record id; stays with the provider, readable by its owner only

Rows are shuffled by a permutation drawn anew each time, so that the order of a file (of admission, of the alphabet)
says nothing. A directory appears complete or not at all. Where it replaces another, the other's file of rows stays in
it as rows.<start of the digest of its encodings>.parquet: results of those encodings may still be to come.
"""

import base64
import binascii
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from linkage_client.encoding.derive import ResolvedColumn, check_profile, prepare_columns, resolve_columns, sources_of
from linkage_client.encoding.encoder import BLOCK_ROWS, Encoder, Progress, distinct
from linkage_client.encoding.key_check import check_value
from linkage_client.encoding.normalise import DEFAULT_NORMALISATION, NormalisationProfile, normalisation
from linkage_client.encoding.reading import Table, check_record_ids, open_table, renamed_columns
from linkage_client.encoding.rows_file import DIGEST_KEY, encodings_digest, kept_name
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.encoding.workers import in_order
from linkage_client.errors import ColumnError, DataError, FileFormatError, OutputExistsError, PackageError

ENCODINGS_FILE: Final = "encodings.bin"
MANIFEST_FILE: Final = "manifest.json"
ROWS_FILE: Final = "rows.parquet"
MANIFEST_VERSION: Final = 1
_FILES: Final = frozenset({ENCODINGS_FILE, MANIFEST_FILE, ROWS_FILE})
_KEPT_ROWS: Final = "rows.*.parquet"
_OWNER_ONLY: Final = stat.S_IRUSR | stat.S_IWUSR
_COMPLETENESS_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class EncodingPackage:
    """Encodings with what is known about them."""

    manifest: Mapping[str, Any]
    encodings: NDArray[np.uint8]
    """Shape (count, bits // 8). Backed by the file where it was read from one."""
    record_ids: tuple[str, ...] | None
    """Record id of each row, or None where rows.parquet is not there."""

    @property
    def bits(self) -> int:
        """Length of an encoding."""
        return int(self.manifest["bits"])

    @property
    def count(self) -> int:
        """Number of encodings."""
        return int(self.manifest["count"])


def encode_file(
    source: str | Path,
    destination: str | Path,
    *,
    schema: LinkageSchema,
    secret: bytes,
    id_column: str = "record_id",
    normalise: str = DEFAULT_NORMALISATION,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    renamed: Mapping[str, str] | None = None,
    project_id: str | None = None,
    epoch: int = 1,
    encoding_profile: str | None = None,
    workers: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Encode a CSV or Parquet file into a new directory, and return the manifest.

    The file is read twice: once for the ids, so that duplicates are found before the long work, and once for the rest.

    Args:
        source: CSV or Parquet.
        destination: directory to make. Its parent has to exist.
        schema: which columns, and how.
        secret: the linkage secret that all providers of the project share.
        id_column: names each record; goes into rows.parquet only.
        normalise: name of the normalisation, "none" to take values as they are.
        encoding: of a CSV file.
        delimiter: of a CSV file, found out if None.
        renamed: columns of the file to the names that the schema has for them, see `reading.renamed_columns`.
        project_id: whose check value goes into the manifest; without one there is none.
        epoch: of the secret.
        encoding_profile: name under which the parties know the parameters of the schema.
        workers: processes, see `Encoder.encode_columns`.
        force: replace a directory of encodings that is there already; its file of rows is kept, see `kept_rows_files`.
        progress: told rows done and rows in all.

    Raises:
        LinkageClientError: one of its kinds; the destination is then as it was.
    """
    destination = Path(destination)
    _check_destination(destination, force=force)
    profile = normalisation(normalise)
    table = renamed_columns(open_table(source, encoding=encoding, delimiter=delimiter), renamed or {})
    resolved = resolve_columns(schema, table.columns)
    check_profile(resolved, profile)
    record_ids = _read_ids(table, id_column=id_column)
    job = _Job(encoder=Encoder(schema, secret), resolved=resolved, profile=profile.name)
    with _new_directory(destination, force=force) as directory:
        present = _write_in_order(
            job, table, directory / "in-order", count=len(record_ids), workers=workers, progress=progress
        )
        order = _permutation(len(record_ids))
        sha256 = _write_shuffled(directory, order, row_bytes=schema.bits // 8)
        _write_rows(directory / ROWS_FILE, record_ids.take(order), encodings_sha256=sha256)
        manifest = {
            "version": MANIFEST_VERSION,
            "linkage_schema_sha256": schema.digest,
            "encoding_profile": encoding_profile,
            "encoder": {"name": "linkage-client", "version": version("linkage-client")},
            "normalisation": profile.name,
            "count": len(order),
            "bits": schema.bits,
            "size_bytes": len(order) * schema.bits // 8,
            "sha256": sha256,
            "key": {
                "epoch": epoch,
                "check_value": check_value(secret, project_id=project_id, epoch=epoch) if project_id else None,
            },
            "completeness": {
                name: round(present[name] / len(order), _COMPLETENESS_DIGITS) for name in schema.hashed_fields
            },
        }
        _write_manifest(directory, manifest)
    return manifest


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker needs besides the rows."""

    encoder: Encoder
    resolved: tuple[ResolvedColumn, ...]
    profile: str

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(source for column in self.resolved for source in sources_of(column)))


def _encode_batch(job: _Job, batch: pa.RecordBatch, first_row: int) -> tuple[NDArray[np.uint8], dict[str, int]]:
    profile: NormalisationProfile = normalisation(job.profile)
    read = {name: distinct(batch.column(name)) for name in job.sources}
    columns = prepare_columns(job.resolved, read, profile=profile)
    present = {}
    for feature in job.encoder.schema.hashed_features:
        column = columns[feature.identifier]
        missing = feature.hashing.missing.sentinel if feature.hashing and feature.hashing.missing else ""
        filled = np.array([bool(value.strip()) and value != missing for value in column.values], np.bool_)
        present[feature.identifier] = int(filled[column.codes].sum())
    return job.encoder.encode_columns(columns, first_row=first_row), present


def _write_in_order(
    job: _Job, table: Table, path: Path, *, count: int, workers: int, progress: Progress | None
) -> dict[str, int]:
    """Write encodings in the order of the file; returns how many values each feature has."""
    present = dict.fromkeys(job.encoder.schema.hashed_fields, 0)
    done = 0
    with path.open("wb") as file:
        for encodings, seen in in_order(_encode_batch, _tasks(job, table), workers=workers):
            file.write(encodings.data)
            done += len(encodings)
            for name, values in seen.items():
                present[name] += values
            if progress is not None:
                progress(done, count)
    if done != count:
        raise DataError("the input changed while it was read, so that nothing was written: start again")
    return present


def _tasks(job: _Job, table: Table) -> Iterator[tuple[object, ...]]:
    first_row = 1
    for batch in table.batches(job.sources):
        yield job, batch, first_row
        first_row += batch.num_rows


def _read_ids(table: Table, *, id_column: str) -> "pa.ChunkedArray[Any]":
    if id_column not in table.columns:
        raise ColumnError(
            f"the table has no column {id_column!r} for record ids, and results could not be joined back without: "
            "name the column with --id-column"
        )
    chunks = [batch.column(id_column) for batch in table.batches([id_column])]
    record_ids = pa.chunked_array(chunks, pa.string())
    if not len(record_ids):
        raise FileFormatError("the input has column names and no records: nothing can be encoded")
    check_record_ids(record_ids)
    return record_ids


def _permutation(count: int) -> NDArray[np.int64]:
    """Place in the input of each row of the output. PCG64 is no cipher, but nobody sees its output: only its result."""
    return np.random.default_rng(secrets.randbits(256)).permutation(count)


def _write_shuffled(directory: Path, order: NDArray[np.int64], *, row_bytes: int) -> str:
    in_order_path = directory / "in-order"
    encoded = np.memmap(in_order_path, np.uint8, mode="r", shape=(len(order), row_bytes))
    digest = hashlib.sha256()
    with (directory / ENCODINGS_FILE).open("wb") as file:
        for start in range(0, len(order), BLOCK_ROWS):
            block = encoded[order[start : start + BLOCK_ROWS]]
            digest.update(block.data)
            file.write(block.data)
        file.flush()
        _flush(file.fileno())
    # Windows keeps a mapped file from being deleted.
    del encoded, block
    in_order_path.unlink()
    return digest.hexdigest()


def _write_rows(path: Path, record_ids: "pa.ChunkedArray[Any]", *, encodings_sha256: str) -> None:
    table = pa.table({"row": pa.array(np.arange(len(record_ids), dtype=np.int64)), "record_id": record_ids})
    with _owner_only(path) as file:
        pq.write_table(table.replace_schema_metadata({DIGEST_KEY: encodings_sha256.encode()}), file)
        file.flush()
        _flush(file.fileno())


def _owner_only(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb")


def kept_rows_files(directory: str | Path) -> list[Path]:
    """The rows files of encodings that the ones in this directory replaced, by name."""
    return sorted(Path(directory).glob(_KEPT_ROWS))


def _keep_rows(old: Path, new: Path) -> None:
    """Copy the rows files of a directory into the one that is about to replace it."""
    for path in kept_rows_files(old):
        _copy_rows(path, new / path.name)
    current = old / ROWS_FILE
    if current.exists():
        _copy_rows(current, new / kept_name(_digest_for_name(current)))


def _digest_for_name(path: Path) -> str:
    # A file that does not say what it belongs to cannot be used for results, but deleting it is not ours to decide.
    try:
        return encodings_digest(pq.read_schema(path)) or "unknown"
    except (pa.ArrowException, OSError):
        return "unknown"


def _copy_rows(path: Path, copy: Path) -> None:
    content = path.read_bytes()
    if copy.exists() and copy.read_bytes() == content:
        return
    try:
        with _owner_only(copy) as file:
            file.write(content)
            file.flush()
            _flush(file.fileno())
    except FileExistsError:
        raise OutputExistsError(
            f"{copy.name} in the output holds other rows under the name that this package's rows file would get, so "
            "that nothing is replaced: choose another name"
        ) from None


def _write_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    with (directory / MANIFEST_FILE).open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        _flush(file.fileno())


def _flush(descriptor: int) -> None:
    # A rename may reach the disk before the bytes do; a power cut would leave an empty package under its final name.
    os.fsync(descriptor)


def _check_destination(destination: Path, *, force: bool) -> None:
    if not destination.parent.is_dir():
        raise OutputExistsError("the output's parent directory does not exist: make it first", code="output_parent")
    if not os.path.lexists(destination):
        return
    if not force:
        raise OutputExistsError("the output exists already: choose another name, or replace it with --force")
    if not destination.is_dir() or destination.is_symlink() or not all(map(_is_ours, destination.iterdir())):
        raise OutputExistsError(
            "the output exists and is not a directory of encodings, so that it is not replaced: choose another name"
        )


def _is_ours(path: Path) -> bool:
    return path.name in _FILES or path.match(_KEPT_ROWS)


@contextmanager
def _new_directory(destination: Path, *, force: bool) -> Iterator[Path]:
    """A directory beside the destination that takes its name when all went well, and is removed when not."""
    work = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent))
    try:
        yield work
        # It may have appeared since.
        _check_destination(destination, force=force)
        if destination.exists():
            _keep_rows(destination, work)
            old = work.with_suffix(".old")
            destination.rename(old)
            work.rename(destination)
            shutil.rmtree(old)
        else:
            work.rename(destination)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def read_encodings(directory: str | Path) -> EncodingPackage:
    """Read a directory that `encode_file` or `write_package` has written, and check it against its manifest.

    Raises:
        PackageError: a file is absent, or not what the manifest says.
    """
    directory = Path(directory)
    try:
        manifest = json.loads((directory / MANIFEST_FILE).read_text("utf-8"))
        size_bytes = (directory / ENCODINGS_FILE).stat().st_size
    except OSError as error:
        raise PackageError("this is not a complete directory of encodings: encode the file again") from error
    except ValueError as error:
        raise PackageError("manifest.json is not JSON: encode the file again") from error
    count, bits = _shape(manifest)
    if size_bytes != count * bits // 8:
        raise PackageError("encodings.bin is not as long as the manifest says: encode the file again")
    path = directory / ENCODINGS_FILE
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != manifest.get("sha256"):
            raise PackageError("encodings.bin has changed since it was written: encode the file again")
    encodings = np.memmap(path, np.uint8, mode="r", shape=(count, bits // 8))
    return EncodingPackage(manifest=manifest, encodings=encodings, record_ids=_read_rows(directory, manifest=manifest))


def _shape(manifest: object) -> tuple[int, int]:
    if not isinstance(manifest, dict) or manifest.get("version") != MANIFEST_VERSION:
        raise PackageError("manifest.json is of a version that this client does not know: use a newer client")
    count, bits = manifest.get("count"), manifest.get("bits")
    if not isinstance(count, int) or not isinstance(bits, int) or count < 1 or bits < 1 or bits % 8:
        raise PackageError("manifest.json has no usable count and bits: encode the file again")
    return count, bits


def _read_rows(directory: Path, *, manifest: Mapping[str, Any]) -> tuple[str, ...] | None:
    path = directory / ROWS_FILE
    if not path.exists():
        return None
    try:
        table = pq.read_table(path, columns=["row", "record_id"])
    except (pa.ArrowException, OSError):
        raise PackageError("rows.parquet cannot be read: encode the file again") from None
    if encodings_digest(table.schema) != manifest["sha256"]:
        raise PackageError("rows.parquet was not written together with these encodings: encode the file again")
    if not np.array_equal(table.column("row").to_numpy(), np.arange(manifest["count"])):
        raise PackageError("rows.parquet does not have one record id for each encoding: encode the file again")
    return tuple(str(record_id) for record_id in table.column("record_id").to_pylist())


def write_package(package: EncodingPackage, destination: str | Path, *, force: bool = False) -> None:
    """Write a package as it is, its rows in their order."""
    destination = Path(destination)
    _check_destination(destination, force=force)
    with _new_directory(destination, force=force) as directory:
        with (directory / ENCODINGS_FILE).open("wb") as file:
            file.write(np.ascontiguousarray(package.encodings).data)
            file.flush()
            _flush(file.fileno())
        if package.record_ids is not None:
            record_ids = pa.chunked_array([pa.array(package.record_ids, pa.string())])
            _write_rows(directory / ROWS_FILE, record_ids, encodings_sha256=package.manifest["sha256"])
        _write_manifest(directory, package.manifest)


def import_clkhash_json(
    path: str | Path,
    *,
    schema: LinkageSchema | None = None,
    epoch: int = 1,
    encoder_version: str = "unknown",
) -> EncodingPackage:
    """Read the file of encodings that clkhash writes, `{"clks": [base64, …]}`.

    Record ids are the positions in the file, as strings: clkhash keeps no others. Rows stay in their order.

    Args:
        path: the file.
        schema: which the encodings were made with, if known: the manifest names it, and its length is checked.
        epoch: of the secret.
        encoder_version: of clkhash.

    Raises:
        PackageError: not such a file, or encodings of different lengths.
    """
    encodings = _decoded(_clks(path))
    bits = encodings.shape[1] * 8
    if schema is not None and schema.bits != bits:
        raise PackageError(
            f"the encodings have {bits} bits and the linkage schema says {schema.bits}: they were made with another"
        )
    raw = encodings.tobytes()
    manifest = {
        "version": MANIFEST_VERSION,
        "linkage_schema_sha256": schema.digest if schema else None,
        "encoding_profile": None,
        "encoder": {"name": "clkhash", "version": encoder_version},
        "normalisation": "none",
        "count": len(encodings),
        "bits": bits,
        "size_bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "key": {"epoch": epoch, "check_value": None},
        "completeness": {},
    }
    return EncodingPackage(
        manifest=manifest, encodings=encodings, record_ids=tuple(str(place) for place in range(len(encodings)))
    )


def _clks(path: str | Path) -> list[Any]:
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise PackageError(f"the file cannot be read ({error.strerror}): check the path and its permissions") from error
    except (ValueError, RecursionError):
        raise PackageError("this is not JSON: check that it is the output of `clkutil hash`") from None
    clks = document.get("clks") if isinstance(document, dict) else None
    if not isinstance(clks, list) or not clks:
        raise PackageError('the file holds no encodings: {"clks": ["base64", …]} is what `clkutil hash` writes')
    return clks


def _decoded(clks: Sequence[Any]) -> NDArray[np.uint8]:
    raw: list[bytes] = []
    for place, clk in enumerate(clks):
        try:
            raw.append(base64.b64decode(clk, validate=True))
        except (TypeError, ValueError, binascii.Error):
            raise PackageError(f"encoding {place} (counted from 0) is not base64: write the file again") from None
        if not raw[place] or len(raw[place]) != len(raw[0]):
            raise PackageError(
                f"encoding {place} (counted from 0) differs in length from the first: a file can only hold encodings "
                "of one schema"
            )
    return np.frombuffer(b"".join(raw), np.uint8).reshape(len(raw), -1)


def export_clkhash_json(package: EncodingPackage, path: str | Path, *, force: bool = False) -> None:
    """Write encodings as clkhash does, for tools that read its files. Rows stay in their order."""
    path = Path(path)
    if not force and os.path.lexists(path):
        raise OutputExistsError("the output exists already: choose another name, or replace it with --force")
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write('{"clks": [')
            file.writelines(_joined(json.dumps(base64.b64encode(row.data).decode()) for row in package.encodings))
            file.write("]}")
            file.flush()
            _flush(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _joined(items: Iterable[str]) -> Iterator[str]:
    for place, item in enumerate(items):
        yield f", {item}" if place else item
