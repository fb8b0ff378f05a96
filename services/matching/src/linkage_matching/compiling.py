"""Says so before the kernel is compiled: the first comparison on a machine waits some seconds for it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

NOTICE = "Compiling the comparison kernel for this processor; this happens once and takes some seconds."

_ROWS = 40
_WORDS = 4


def prepare(notice: Callable[[str], None] | None = None) -> bool:
    """Make sure that all of the engine is compiled, so that no later run waits for it.

    The machine code is kept on disk: beside the package, or in the user's cache folder, or in `NUMBA_CACHE_DIR`. Where
    none of them can be written, every process compiles it again.

    Arguments:
        notice: called with a sentence to show if, and before, something has to be compiled.

    Returns:
        Whether something had to be compiled.
    """
    from linkage_matching.linking import link  # noqa: PLC0415 - linking compares, and comparing prepares
    from linkage_matching.measure import Measure  # noqa: PLC0415 - as above

    rows = np.random.PCG64(0).random_raw((_ROWS, _WORDS))
    with _telling(notice) as told:
        # solving, scoring and deduplication are compiled for what they are called with, and this calls all of them
        for measure in Measure:
            link([rows, rows, rows], measure=measure)
        link([rows, rows], may_hold_duplicates=[True, False])
    return bool(told)


def prepare_comparison() -> None:
    """Make sure that the comparison kernel is compiled, and tell the log if it has to be."""
    from linkage_matching import kernel, matrix_kernel  # noqa: PLC0415 - numba is loaded when needed, not by import

    with _telling(logging.getLogger("linkage_matching").info):
        kernel.compile_all()
        if matrix_kernel.available():
            matrix_kernel.compile_all()


def has_matrix_unit() -> bool:
    """Whether this processor has a matrix unit that compares faster (Intel AMX)."""
    from linkage_matching import matrix_kernel  # noqa: PLC0415 - numba is loaded when it is needed, not by import

    return matrix_kernel.available()


@contextmanager
def _telling(notice: Callable[[str], None] | None) -> Iterator[list[str]]:
    """Calls `notice` once if something is compiled meanwhile, and notes that in the list."""
    from numba.core import event  # noqa: PLC0415 - numba is loaded when it is needed, not by import

    told: list[str] = []

    def say(_event: Any) -> None:
        if notice is not None and not told:
            notice(NOTICE)
        told.append(NOTICE)

    class Listener(event.Listener):
        on_start = staticmethod(say)

        def on_end(self, _event: Any) -> None:
            pass

    # numba sends this event once it has not found the function in its cache on disk
    with event.install_listener("numba:compile", Listener()):
        yield told
