"""Says so before the kernel is compiled: the first comparison on a machine waits some seconds for it."""

import logging
from collections.abc import Callable
from typing import Any

NOTICE = "Compiling the comparison kernel for this processor; this happens once and takes some seconds."


def prepare(notice: Callable[[str], None] | None = None) -> bool:
    """Make sure that the kernel is compiled, so that no later comparison waits for it.

    The machine code is kept on disk: beside the package, or in the user's cache folder, or in `NUMBA_CACHE_DIR`. Where
    none of them can be written, every process compiles it again.

    Arguments:
        notice: called with a sentence to show if, and before, the kernel has to be compiled.

    Returns:
        Whether it had to be compiled.
    """
    from numba.core import event  # noqa: PLC0415 - numba is loaded when it is needed, not by import

    from linkage_matching import kernel  # noqa: PLC0415 - see above

    compiling = False

    def say(_event: Any) -> None:
        nonlocal compiling
        if notice is not None and not compiling:
            notice(NOTICE)
        compiling = True

    class Listener(event.Listener):
        on_start = staticmethod(say)

        def on_end(self, _event: Any) -> None:
            pass

    # numba sends this event once it has not found the function in its cache on disk
    with event.install_listener("numba:compile", Listener()):
        kernel.compile_all()
    return compiling


def prepare_comparison() -> None:
    """The same before a comparison, told to the log."""
    prepare(logging.getLogger("linkage_matching").info)
