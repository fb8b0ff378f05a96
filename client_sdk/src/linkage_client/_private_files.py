"""One rule for files that hold a key or a secret: on POSIX, only their owner may read them."""

import os
import stat
from typing import Final

_OTHERS: Final = 0o077


def mode_for_others(descriptor: int) -> str | None:
    """The mode of an open file, as chmod writes it, where other accounts have any access; None where they have none.

    Only files have such a mode: a pipe or a terminal is as private as what is at its other end.
    """
    mode = os.fstat(descriptor).st_mode
    if os.name != "posix" or not stat.S_ISREG(mode) or not mode & _OTHERS:
        return None
    return f"{stat.S_IMODE(mode):04o}"
