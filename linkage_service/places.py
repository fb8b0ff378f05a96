"""How many requests of a process are worked at, at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

# One interpreter runs one thread at a time; some of the others wait for the database meanwhile. With more of them each
# request waits for all the others again after each answer of the database, and most of all the one that has the
# writers' turn, for which every process waits.
AT_A_TIME = 4


class Places:
    """Places for threads that work at a request; whoever waits for the writers' turn, or has it, needs none.

    So however long the turn is waited for, requests that only read go on. On SQLite every request of a machine waits to
    write, since the note of its proof is written: there places hold nobody up.
    """

    def __init__(self, count: int = AT_A_TIME) -> None:
        self._free = threading.Semaphore(count)
        self._mine = threading.local()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Has a place for the block, or for as much of it as there is before `leave`."""
        self._free.acquire()
        self._mine.taken = True
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        """Gives up the place of this thread, if it has one."""
        if getattr(self._mine, "taken", False):
            self._mine.taken = False
            self._free.release()
