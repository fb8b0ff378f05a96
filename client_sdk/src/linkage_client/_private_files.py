"""One rule for files that hold a key or a secret: on POSIX, only their owner may read them."""

import os
import stat
from pathlib import Path
from typing import Final

_OTHERS: Final = 0o077


def read_with_mode(path: Path, *, maximum_bytes: int) -> tuple[bytes, str | None]:
    """The content of a file that should be private, and its mode where it is not, see `mode_for_others`.

    One byte more than `maximum_bytes` is read at most, so that a longer file can be told.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        mode = mode_for_others(file.fileno())
        return file.read(maximum_bytes + 1), mode


def mode_for_others(descriptor: int) -> str | None:
    """The mode of an open file, as chmod writes it, where other accounts have any access; None where they have none.

    Only files have such a mode: a pipe or a terminal is as private as what is at its other end.
    """
    mode = os.fstat(descriptor).st_mode
    if os.name != "posix" or not stat.S_ISREG(mode) or not mode & _OTHERS:
        return None
    return f"{stat.S_IMODE(mode):04o}"
