"""Spreads blocks of rows over processes, so that a large file uses every core and a dead worker ends the run."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import Final, TypeVar

from linkage_client.errors import WorkerError

Result = TypeVar("Result")
WAITING_PER_WORKER: Final = 2
"""Enough that no worker idles, few enough that memory does not depend on the number of blocks."""


def in_order(function: Callable[..., Result], tasks: Iterable[tuple[object, ...]], *, workers: int) -> Iterator[Result]:
    """Yield function(*task) for each task, in order. Tasks are read only as fast as they are worked off.

    With one worker all runs in this process. Otherwise the first error, or the end of the caller's interest, stops the
    others: tasks that have not begun are dropped.
    """
    if workers <= 1:
        for task in tasks:
            yield function(*task)
        return
    # Spawn, not fork: the same on all systems, and safe where the caller has threads.
    pool = ProcessPoolExecutor(
        max_workers=workers, mp_context=get_context("spawn"), initializer=_leave_interrupts_to_the_parent
    )
    try:
        yield from _in_order(pool, function, iter(tasks), waiting=workers * WAITING_PER_WORKER)
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process ended before its work was done, so that nothing was written. Most often memory ran out: "
            "try again with one worker. A script that uses workers needs an `if __name__ == '__main__'` guard"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor,
    function: Callable[..., Result],
    tasks: Iterator[tuple[object, ...]],
    *,
    waiting: int,
) -> Iterator[Result]:
    futures: deque[Future[Result]] = deque(pool.submit(function, *task) for task in islice(tasks, waiting))
    while futures:
        result = futures.popleft().result()
        futures.extend(pool.submit(function, *task) for task in islice(tasks, 1))
        yield result


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
