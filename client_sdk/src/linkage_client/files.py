"""Writes files so that a name never stands for half of one, whatever happens while it is written."""

import contextlib
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from linkage_client.errors import DataError, OutputExistsError

PARTIAL: Final = ".partial"
_OWNER_ONLY: Final = 0o600


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, readable by this account only, that takes its name when the block succeeds.

    Raises:
        OSError: the file cannot be written.
    """
    import tempfile  # noqa: PLC0415 - keeps `--help` quick

    descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=PARTIAL)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            flush(file)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def flush(file: BinaryIO) -> None:
    """Send bytes to the disk: a rename may get there first, and a power cut would leave a name without content."""
    file.flush()
    os.fsync(file.fileno())


def new_private_file(path: Path) -> BinaryIO:
    """A new file that only its owner can read, open for writing.

    Raises:
        OSError: it exists, or cannot be made.
    """
    # O_EXCL: never follow a link that someone placed here, never replace a key; the mode holds from the first byte.
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb")


def create_whole(path: Path, content: bytes) -> None:
    """Make a new small file that only its owner can read, and that is on the disk, whole, before it has its name.

    Raises:
        FileExistsError: there is something of this name; it is left as it is.
        OSError: the file cannot be written.
    """
    import tempfile  # noqa: PLC0415 - keeps `--help` quick

    folder = path.absolute().parent
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.", suffix=PARTIAL)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            flush(file)
        _name_exclusively(temporary, path)
        _flush_folder(folder)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_partial(path: Path) -> None:
    """Remove what a program that was killed left of a file while it wrote it; it may hold what the file was to hold."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        with contextlib.suppress(OSError):
            left.unlink()


def _name_exclusively(temporary: Path, path: Path) -> None:
    try:
        # Unlike a rename, a link replaces nothing on any system.
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # A stick or a network drive without links. Killed in between, it leaves an empty file, never half of one.
        new_private_file(path).close()
        temporary.replace(path)


def _flush_folder(folder: Path) -> None:
    # Elsewhere a folder cannot be opened, and some network drives refuse: the file itself is on the disk already.
    if os.name == "posix":
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def write_whole(path: Path, text: str) -> None:
    """Write a small file in UTF-8 with one kind of line end on every system, readable by this account only.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def atomic_output(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """As `replacing`, for a file that somebody has asked for.

    Raises:
        OutputExistsError: `out` exists and `overwrite` is not set.
        DataError: the file cannot be written.
    """
    check_output(out, overwrite=overwrite)
    try:
        with replacing(out) as temporary:
            yield temporary
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}.") from None


def check_output(out: Path, *, overwrite: bool) -> None:
    """Find out early whether a file may be written.

    Raises:
        OutputExistsError: it exists and `overwrite` is not set.
    """
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out} exists. Choose another name, or use --force.")
