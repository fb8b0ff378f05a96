"""Writes and reads directories of encodings: what leaves the provider, and the files that must not.

A directory appears complete or not at all; `package_files` says what is in it. Where it replaces another, the other's
file of rows stays in it as rows.<start of the digest of its encodings>.parquet: results of those encodings may still be
to come.
"""

import base64
import binascii
import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from linkage_client.encoding.encoder import Progress
from linkage_client.encoding.extract import MANIFEST_VERSION, Encoded, plan_encoding
from linkage_client.encoding.normalise import DEFAULT_NORMALISATION, NormalisationProfile, normalisation
from linkage_client.encoding.package_files import (
    ENCODINGS_FILE,
    MANIFEST_FILE,
    ROWS_FILE,
    check_destination,
    kept_rows_files,
    new_directory,
    write_manifest,
    write_rows,
    writing,
)
from linkage_client.encoding.reading import open_table, renamed_columns
from linkage_client.encoding.rows_file import encodings_digest
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.errors import OutputExistsError, PackageError
from linkage_client.files import flush, replacing

__all__ = [
    "ENCODINGS_FILE",
    "MANIFEST_FILE",
    "MANIFEST_VERSION",
    "ROWS_FILE",
    "Encoded",
    "EncodingPackage",
    "encode_file",
    "export_clkhash_json",
    "import_clkhash_json",
    "kept_rows_files",
    "read_encodings",
    "write_package",
]


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
    normalise: NormalisationProfile | str = DEFAULT_NORMALISATION,
    encoding: str | None = None,
    delimiter: str | None = None,
    renamed: Mapping[str, str] | None = None,
    project_id: str | None = None,
    epoch: int = 1,
    encoding_profile: str | None = None,
    workers: int = 1,
    force: bool = False,
    leakage: Mapping[str, Any] | None = None,
    opt_outs_applied: dt.date | None = None,
    progress: Progress | None = None,
) -> Encoded:
    """Encode a CSV or Parquet file into a new directory.

    The file is read twice: once for the ids, so that duplicates are found before the long work, and once for the rest.

    Args:
        source: CSV or Parquet.
        destination: directory to make. Its parent has to exist.
        schema: which columns, and how.
        secret: the linkage secret that all providers of the project share.
        id_column: names each record; goes into rows.parquet only.
        normalise: the normalisation or its name, "none" to take values as they are.
        encoding: of a CSV file, found out if None.
        delimiter: of a CSV file, found out if None.
        renamed: columns of the file to the names that the schema has for them, see `reading.renamed_columns`.
        project_id: which the encodings are for. They are made with a key that is derived for it (`working_keys`), and
            the check value of the secret goes into the manifest. Without one the secret is used as it is, for practice:
            such encodings can be compared with those of any other project, and no service takes them.
        epoch: of the secret.
        encoding_profile: name under which the parties know the parameters of the schema; the same at every provider.
        workers: processes to spread blocks of rows over. More than one needs the caller's main module to be importable
            without side effects (`if __name__ == "__main__"`), because workers start it anew.
        force: replace a directory of encodings that is there already; its file of rows is kept, see `kept_rows_files`.
        leakage: what the encodings give away, as measured on a sample, for the manifest.
        opt_outs_applied: the day on which people who have objected were last taken out of the file, for the manifest.
        progress: told rows done and rows in all.

    Raises:
        LinkageClientError: one of its kinds; the destination is then as it was.
    """
    check_destination(Path(destination), force=force)
    profile = normalisation(normalise) if isinstance(normalise, str) else normalise
    table = renamed_columns(open_table(source, encoding=encoding, delimiter=delimiter), renamed or {})
    return plan_encoding(table, schema=schema, profile=profile, id_column=id_column).write(
        destination,
        secret=secret,
        project_id=project_id,
        epoch=epoch,
        encoding_profile=encoding_profile,
        workers=workers,
        force=force,
        leakage=leakage,
        opt_outs_applied=opt_outs_applied,
        progress=progress,
    )


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
    except (ValueError, RecursionError) as error:
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
    check_destination(destination, force=force)
    with new_directory(destination, force=force) as directory:
        with writing(), (directory / ENCODINGS_FILE).open("wb") as file:
            file.write(np.ascontiguousarray(package.encodings).data)
            flush(file)
        if package.record_ids is not None:
            record_ids = pa.chunked_array([pa.array(package.record_ids, pa.string())])
            write_rows(directory / ROWS_FILE, record_ids, encodings_sha256=package.manifest["sha256"])
        write_manifest(directory, package.manifest)


def import_clkhash_json(
    path: str | Path,
    *,
    schema: LinkageSchema | None = None,
    epoch: int = 1,
    encoder_version: str = "unknown",
    encoding_profile: str | None = None,
    derivation: str | None = None,
) -> EncodingPackage:
    """Read the file of encodings that clkhash writes, `{"clks": [base64, …]}`.

    Record ids are the positions in the file, as strings: clkhash keeps no others. Rows stay in their order.

    Args:
        path: the file.
        schema: which the encodings were made with, if known: the manifest names it, and its length is checked.
        epoch: of the secret.
        encoder_version: of clkhash.
        encoding_profile: name under which the parties know the parameters of the schema, as for `encode_file`.
        derivation: `working_keys.DERIVATION` where clkhash was given the working key of a project, as `linkage secret
            derive` writes it; None where it was given a secret as it is, for practice.

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
        "encoding_profile": encoding_profile,
        "encoder": {"name": "clkhash", "version": encoder_version},
        "normalisation": "none",
        "count": len(encodings),
        "bits": bits,
        "size_bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "key": {"epoch": epoch, "check_value": None, "derivation": derivation},
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
    with writing():
        _write_clkhash_json(package, path)


def _write_clkhash_json(package: EncodingPackage, path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b'{"clks": [')
        file.writelines(_joined(json.dumps(base64.b64encode(row.data).decode()) for row in package.encodings))
        file.write(b"]}")


def _joined(items: Iterable[str]) -> Iterator[bytes]:
    for place, item in enumerate(items):
        yield (f", {item}" if place else item).encode()
