"""What a Dask worker does with a unit: read rows by URL, compare, store the result by URL, and answer in a few bytes.

A worker process needs this package and the blob store, and nothing else of the service.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from linkage_matching.datasets import BlobDataset
from linkage_matching.errors import MatchingCancelled, MatchingError
from linkage_matching.extras import cluster_extra
from linkage_matching.unit_store import BlobUnitStore
from linkage_matching.units import Unit, run_unit

with cluster_extra():
    from distributed import get_worker

# A worker with several threads is given as many units. Each unit uses all threads, so one after the other is fastest.
_ONE_UNIT_OF_THIS_PROCESS = threading.Lock()
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Job:
    """All that travels through the scheduler for one unit; a few kilobytes, and the keys of the blobs in it."""

    unit: Unit
    fingerprint: str
    datasets: dict[int, BlobDataset]
    store: BlobUnitStore


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back: nothing of the data.

    Attributes:
        refusal: why the unit cannot be done; None when its result is stored.
    """

    refusal: MatchingError | None


def work(job: Job) -> Answer:
    """Do the unit of a job unless its result is stored already, on a Dask worker, with all its threads."""
    worker = get_worker()
    unwanted = _unwanted()
    name = job.unit.name
    try:
        while not _ONE_UNIT_OF_THIS_PROCESS.acquire(timeout=_POLL_S):
            if unwanted():
                raise MatchingCancelled
        try:
            if job.store.load(name, fingerprint=job.fingerprint) is None:
                result = run_unit(job.unit, job.datasets, threads=worker.state.nthreads, cancelled=unwanted)
                job.store.save(name, result, fingerprint=job.fingerprint)
        finally:
            _ONE_UNIT_OF_THIS_PROCESS.release()
    except MatchingError as error:
        # Given back and not raised: Dask would write what it was called with to the worker's log.
        return Answer(error)
    return Answer(None)


def _unwanted() -> Callable[[], bool]:
    """Tells whether nobody waits for the present task any more: it was cancelled, or its client is gone."""
    worker = get_worker()
    key = worker.get_current_task()

    def unwanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state != "executing"

    return unwanted
