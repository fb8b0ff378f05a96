"""Who does the units: threads of this process, or, in another module, a Dask cluster. All give the same results."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from linkage_matching.datasets import Dataset
from linkage_matching.errors import MatchingCancelled
from linkage_matching.pairs import Cancelled, Progress
from linkage_matching.unit_store import UnitStore
from linkage_matching.units import Unit, UnitResult, run_unit


class Executor(Protocol):
    """Does units of work somewhere."""

    def run(
        self,
        units: Sequence[Unit],
        datasets: Sequence[Dataset],
        *,
        store: UnitStore | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Iterator[tuple[Unit, UnitResult]]:
        """Do the units; each comes with its result as it is finished, in no order that means anything.

        Arguments:
            units: what to do; each once.
            datasets: all data sets of the run, by the numbers that the units name.
            store: where results are kept. Units whose results are there already are not done again.
            progress: called in the calling thread with the pairs of rows done and the pairs to do in all.
            cancelled: asked between tiles, and during them as often as the executor can.

        Raises:
            MatchingError: a unit cannot be done. Results stored so far stay.
            MatchingCancelled: `cancelled` answered True. Results stored so far stay.
        """


class LocalExecutor:
    """Does one unit after the other, each with all threads."""

    def __init__(self, threads: int | None = None) -> None:
        """Use so many threads; by default one for each processor this process may use."""
        self._threads = threads

    def run(
        self,
        units: Sequence[Unit],
        datasets: Sequence[Dataset],
        *,
        store: UnitStore | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Iterator[tuple[Unit, UnitResult]]:
        """See Executor; cancellation and progress reach into units."""
        total = sum(unit.pairs for unit in units)
        done = 0
        for unit in units:
            if cancelled is not None and cancelled():
                raise MatchingCancelled
            result = self._do(unit, datasets, store=store, progress=_onward(progress, done, total), cancelled=cancelled)
            done += unit.pairs
            if progress is not None:
                progress(done, total)
            yield unit, result

    def _do(
        self,
        unit: Unit,
        datasets: Sequence[Dataset],
        *,
        store: UnitStore | None,
        progress: Progress | None,
        cancelled: Cancelled | None,
    ) -> UnitResult:
        if store is None:
            return run_unit(unit, datasets, threads=self._threads, progress=progress, cancelled=cancelled)
        fingerprint = unit.fingerprint(datasets)
        result = store.load(unit.name, fingerprint=fingerprint)
        if result is None:
            result = run_unit(unit, datasets, threads=self._threads, progress=progress, cancelled=cancelled)
            store.save(unit.name, result, fingerprint=fingerprint)
        return result


def _onward(progress: Progress | None, done: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda here, _: progress(done + here, total)
