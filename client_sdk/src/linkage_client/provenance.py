"""Says of a file of link ids which release they are from, so that link ids of two runs are never put together.

Link ids of different runs, or for different recipients, have nothing in common: files that hold them look alike, and
joining them would find nobody. A Parquet file carries the note in its metadata, a CSV file in a small file beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from linkage_client.errors import FileFormatError, OutputExistsError

_METADATA_PREFIX: Final = "linkage."
_LARGEST_NOTE_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where link ids are from: ids of the service."""

    run: str
    recipient: str
    release: str

    @property
    def domain(self) -> tuple[str, str]:
        """Link ids can be compared where this is the same."""
        return self.run, self.recipient

    def metadata(self) -> dict[bytes | str, bytes | str]:
        """As metadata of a Parquet schema."""
        return {_METADATA_PREFIX + name: value for name, value in asdict(self).items()}


def note_path(path: Path) -> Path:
    """The file beside a CSV file that says where its link ids are from: `links.csv.json`."""
    return path.with_name(path.name + ".json")


def check_note(path: Path, provenance: Provenance | None) -> None:
    """Find out early whether the note can be written.

    Raises:
        OutputExistsError: another file has its name.
    """
    if provenance is not None and note_path(path).exists() and not _is_note(path):
        raise OutputExistsError(
            f"{note_path(path)} exists and is no note on where link ids are from, which is to have this name. Move it "
            "away, or choose another name for the output."
        )


def write_note(path: Path, provenance: Provenance | None) -> None:
    """Write the note beside a CSV file; without one to write, take away that of the file it replaces."""
    check_note(path, provenance)
    if provenance is not None:
        note_path(path).write_text(json.dumps(asdict(provenance), indent=2) + "\n", encoding="utf-8")
    elif _is_note(path):
        note_path(path).unlink()


def _is_note(path: Path) -> bool:
    try:
        return read_note(path) is not None
    except FileFormatError:
        return False


def read_note(path: Path) -> Provenance | None:
    """The note beside a CSV file, or None if there is none.

    Raises:
        FileFormatError: what is there is no such note.
    """
    try:
        with note_path(path).open("rb") as file:
            content = json.loads(file.read(_LARGEST_NOTE_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, Mapping):
        raise _no_note(path)
    found = _provenance(content)
    if found is None:
        raise _no_note(path)
    return found


def in_metadata(metadata: Mapping[bytes, bytes] | None) -> Provenance | None:
    """The note in the metadata of a Parquet schema, or None if there is none."""
    texts = {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in (metadata or {}).items()
    }
    return _provenance({name: texts.get(_METADATA_PREFIX + name) for name in Provenance.__slots__})


def _provenance(content: Mapping[str, Any]) -> Provenance | None:
    values = {name: content.get(name) for name in Provenance.__slots__}
    if not all(isinstance(value, str) and value for value in values.values()):
        return None
    return Provenance(**{name: str(value) for name, value in values.items()})


def _no_note(path: Path) -> FileFormatError:
    return FileFormatError(
        f"{note_path(path).name}, beside {path.name}, should say which release the link ids are from, and cannot be "
        "read as that: get it again together with the file, or move it away if it is something else"
    )
