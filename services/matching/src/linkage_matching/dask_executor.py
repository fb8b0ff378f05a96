"""Units on a Dask cluster: many machines, each of which may die, and a scheduler that may, without a unit being lost.

Encodings and results never pass through the scheduler. It is given the units, where the blobs are, and the keys to open
them; so it belongs to the linkage unit as the workers do, and its connections are to be TLS.
"""

import queue
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from linkage_matching.datasets import BlobDataset, Dataset
from linkage_matching.errors import ClusterFailed, MatchingCancelled, MatchingError
from linkage_matching.extras import cluster_extra
from linkage_matching.pairs import Cancelled, Progress
from linkage_matching.unit_store import BlobUnitStore, UnitStore
from linkage_matching.units import Unit, UnitResult

# Import this module late: a plain installation of the engine has no Dask, and it takes half a second.
with cluster_extra():
    from distributed import Client, Future, Security
    from distributed.scheduler import KilledWorker

    from linkage_matching.dask_worker import Answer, Job, work

PATIENCE_S = 300.0
_POLL_S = 0.2
_CONNECT_S = 5.0
_CLOSE_S = 10.0
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Certificates:
    """What both ends of a TLS connection inside the cluster prove themselves with.

    Attributes:
        authority: PEM file of the authority that signed everybody's certificate.
        certificate: PEM file of this process's certificate.
        key: PEM file of its private key.
    """

    authority: Path
    certificate: Path
    key: Path


class DaskExecutor:
    """Does units on the workers of a Dask cluster, one at a time on each worker process, with all its threads."""

    def __init__(
        self, scheduler: str, *, certificates: Certificates | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """Use the cluster of a scheduler.

        Arguments:
            scheduler: its address, `tls://host:port`, or `tcp://host:port` where nobody can listen.
            certificates: for `tls://`; by default those of Dask's own configuration (`DASK_DISTRIBUTED__COMM__TLS__…`).
            patience_s: how long to wait for a scheduler that is away, and for a first worker. Seconds.

        Raises:
            MatchingError: certificates for an address that would not use them.
        """
        if certificates is not None and not scheduler.startswith("tls://"):
            raise MatchingError(
                "Certificates were given for a scheduler whose address does not begin with tls://, so that nothing "
                "would be encrypted. Give the address as tls://host:port."
            )
        self._scheduler = scheduler
        self._security = _security(certificates)
        self._patience_s = patience_s

    def run(
        self,
        units: Sequence[Unit],
        datasets: Sequence[Dataset],
        *,
        store: UnitStore | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Iterator[tuple[Unit, UnitResult]]:
        """See Executor. Progress comes between units; cancellation reaches into those that are being done.

        Raises:
            MatchingError: the data sets or the store are not ones that workers can reach, or a unit cannot be done.
            ClusterFailed: the scheduler or its workers were away for too long, or kept dying.
        """
        run = _Run(units, datasets, store, progress=progress, cancelled=cancelled)
        while True:
            yield from run.stored()
            if not run.missing:
                return
            with self._connected(run) as client:
                yield from run.on(client, patience_s=self._patience_s)

    @contextmanager
    def _connected(self, run: "_Run") -> Iterator[Client]:
        client = self._connect(run)
        try:
            yield client
        finally:
            # also the end of all units of this client that are not done: the scheduler forgets them
            client.close(timeout=_CLOSE_S)  # type: ignore[no-untyped-call]  # distributed

    def _connect(self, run: "_Run") -> Client:
        deadline = time.monotonic() + self._patience_s
        while True:
            run.check_cancelled()
            try:
                return Client(  # type: ignore[no-untyped-call]  # distributed
                    self._scheduler, security=self._security, timeout=_CONNECT_S, set_as_default=False
                )
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise ClusterFailed(
                        f"The scheduler could not be reached for {self._patience_s:g} seconds. Units that are finished "
                        "are stored. Check the scheduler's address, its certificates and that it runs; start again."
                    ) from error


class _Run:
    """Units that are to be done, whichever connection they are done over."""

    def __init__(
        self,
        units: Sequence[Unit],
        datasets: Sequence[Dataset],
        store: UnitStore | None,
        *,
        progress: Progress | None,
        cancelled: Cancelled | None,
    ) -> None:
        self._store = _shared_store(store)
        self.missing = {unit.name: _job(unit, datasets, self._store) for unit in units}
        self._total = sum(unit.pairs for unit in units)
        self._done = 0
        self._progress = progress
        self._cancelled = cancelled
        self._tries: Counter[str] = Counter()
        self._fruitless = 0

    def check_cancelled(self) -> None:
        if self._cancelled is not None and self._cancelled():
            raise MatchingCancelled

    def stored(self) -> Iterator[tuple[Unit, UnitResult]]:
        """The missing units whose results are in the store."""
        for name in list(self.missing):
            self.check_cancelled()
            yield from self._finished(name)

    def on(self, client: Client, *, patience_s: float) -> Iterator[tuple[Unit, UnitResult]]:
        """Do the missing units over a connection, until all are done or the connection is lost."""
        work_in_hand = _WorkInHand(client)
        self._fruitless += 1
        if self._fruitless > _TRIES:
            raise ClusterFailed(
                f"The scheduler was lost {_TRIES} times without a unit being finished in between. Units that are "
                "finished are stored. Find out why it stops, then start again."
            )
        for job in self.missing.values():
            work_in_hand.begin(job)
        deadline = time.monotonic() + patience_s
        while self.missing:
            self.check_cancelled()
            name = work_in_hand.next_ended()
            if name is not None:
                yield from self._ended(name, work_in_hand)
                deadline = time.monotonic() + patience_s
            elif not work_in_hand.connected:
                return
            elif time.monotonic() >= deadline:
                if not work_in_hand.has_workers():
                    raise ClusterFailed(
                        f"The scheduler had no workers for {patience_s:g} seconds. Units that are finished are stored. "
                        "Start workers, then start again."
                    )
                deadline = time.monotonic() + patience_s

    def _ended(self, name: str, work_in_hand: "_WorkInHand") -> Iterator[tuple[Unit, UnitResult]]:
        """What became of a unit that is no longer being done: its result, a refusal, or another try."""
        yield from self._finished(name)
        answer = None if name not in self.missing else work_in_hand.answer(name)
        work_in_hand.forget(name)
        if answer is None:
            return
        if answer.refusal is not None and not isinstance(answer.refusal, MatchingCancelled):
            raise answer.refusal
        self._tries[name] += 1
        if self._tries[name] >= _TRIES:
            raise ClusterFailed(
                f"A unit was done {_TRIES} times without its result being in the store. The workers see another store, "
                "or something deletes or damages results. Give all of them the same store, then start again."
            )
        work_in_hand.begin(self.missing[name])

    def _finished(self, name: str) -> Iterator[tuple[Unit, UnitResult]]:
        job = self.missing[name]
        result = self._store.load(name, fingerprint=job.fingerprint)
        if result is None:
            return
        del self.missing[name]
        self._fruitless = 0
        self._done += job.unit.pairs
        if self._progress is not None:
            self._progress(self._done, self._total)
        yield job.unit, result


class _WorkInHand:
    """Units that were given to a cluster over one connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._futures: dict[str, Future[Answer]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def begin(self, job: Job) -> None:
        name = job.unit.name
        # A key of its own for each try: results of the same unit in another run, or before, are none of this.
        future = self._client.submit(work, job, key=f"{name}-{secrets.token_hex(8)}")
        self._futures[name] = future
        future.add_done_callback(lambda _: self._ended.put(name))  # type: ignore[no-untyped-call]  # distributed

    def forget(self, name: str) -> None:
        """Let Dask forget the answer too: it would do the unit again if the worker that has the answer died."""
        self._futures.pop(name, None)

    def next_ended(self) -> str | None:
        """The name of a unit that is no longer being done, or None when there is none for a moment."""
        try:
            return self._ended.get(timeout=_POLL_S)
        except queue.Empty:
            return None

    @property
    def connected(self) -> bool:
        """Whether this is still the connection that the units were given over."""
        return self._client.status == "running" and not any(
            future.status in {"cancelled", "lost"} for future in self._futures.values()
        )

    def has_workers(self) -> bool:
        scheduler = self._client.scheduler
        try:
            # Not Client.scheduler_info(), which says that there are no workers when it does not reach the scheduler.
            identity = self._client.sync(scheduler.identity, n_workers=1) if scheduler else {"workers": True}  # type: ignore[no-untyped-call]  # distributed
        except OSError:
            # whether the connection is lost is asked elsewhere
            return True
        return bool(identity["workers"])

    def answer(self, name: str) -> Answer | None:
        """What a worker said of a unit; None when the connection was lost.

        Raises:
            ClusterFailed: Dask gave the unit up.
        """
        future = self._futures[name]
        try:
            answer: Answer = future.result(timeout=_CONNECT_S)
        except (CancelledError, OSError):
            return None
        except KilledWorker as error:
            raise ClusterFailed(
                "One unit ended every worker that did it, mostly for want of memory. Units that are finished are "
                "stored. Give the workers more memory, or smaller units, then start again."
            ) from error
        except Exception as error:
            raise ClusterFailed(
                f"A worker could not do a unit ({type(error).__name__}). Units that are finished are stored. Workers "
                "and scheduler need the same linkage-matching[cluster] as this process; their logs say more."
            ) from error
        return answer


def _security(certificates: Certificates | None) -> Security | None:
    if certificates is None:
        return None
    return Security(  # type: ignore[no-untyped-call]  # distributed
        tls_ca_file=str(certificates.authority),
        tls_client_cert=str(certificates.certificate),
        tls_client_key=str(certificates.key),
        require_encryption=True,
    )


def _shared_store(store: UnitStore | None) -> BlobUnitStore:
    if not isinstance(store, BlobUnitStore) or not store.shared:
        raise MatchingError(
            "Units on a cluster leave their results in a store that all its workers reach, and none was given. "
            "Use a BlobUnitStore in a shared directory or an object store."
        )
    return store


def _job(unit: Unit, datasets: Sequence[Dataset], store: BlobUnitStore) -> Job:
    needed: dict[int, BlobDataset] = {}
    for number in {unit.first, unit.first if unit.second is None else unit.second}:
        dataset = datasets[number]
        if not isinstance(dataset, BlobDataset) or not dataset.shared:
            raise MatchingError(
                "Units on a cluster read encodings from blobs that all its workers reach, and these are in the memory "
                "of one process. Use a BlobDataset in a shared directory or an object store."
            )
        needed[number] = dataset
    return Job(unit=unit, fingerprint=unit.fingerprint(datasets), datasets=needed, store=store)
