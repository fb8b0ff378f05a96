"""What every executor must do: the same results, whoever dies on the way."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import dask
import pytest
from distributed import Client

from linkage_matching import MatchingCancelled, MatchingError
from linkage_matching.dask_executor import DaskExecutor
from linkage_matching.datasets import ArrayDataset, BlobDataset, Dataset
from linkage_matching.errors import BlobAbsent, BlobDamaged, ClusterFailed, InvalidThreshold
from linkage_matching.executors import Executor, LocalExecutor
from linkage_matching.unit_store import MemoryUnitStore
from linkage_matching.units import RowSample, Unit, UnitResult, plan_units
from support.dask_cluster import DaskCluster, make_certificates, wait_until
from support.units import EVERYTHING, Place, as_list, half_filled, plan, random_encodings

THRESHOLD = Fraction(2, 5)
# Encodings of the greatest length keep a worker busy for a moment with few of them.
SLOW_BITS = 4096
SLOW_THRESHOLD = Fraction(53, 100)

Found = dict[str, tuple[list[tuple[int, int, int]], int, bool]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with DaskCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.start_workers(1)
        cluster.start_workers(1, threads=2)
        yield cluster


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """For tests that leave nothing of it."""
    with DaskCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(params=["local, one thread", "local, two threads", "dask"])
def executor(request: pytest.FixtureRequest) -> Executor:
    match request.param:
        case "local, one thread":
            return LocalExecutor(1)
        case "local, two threads":
            return LocalExecutor(2)
        case _:
            cluster: DaskCluster = request.getfixturevalue("cluster")
            return DaskExecutor(cluster.address)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "blobs")


def _two(place: Place) -> list[BlobDataset]:
    """Two data sets, in parts that cut rows in two."""
    return [
        place.dataset(random_encodings(400, seed=1), name="upl_1", part_bytes=5_001),
        place.dataset(random_encodings(300, seed=2), name="upl_2", part_bytes=4_999),
    ]


def _slow(place: Place) -> tuple[list[BlobDataset], list[Unit]]:
    """28 units of about a tenth of a second each."""
    datasets = [place.dataset(half_filled(24_500, bits=SLOW_BITS), name="upl_1")]
    return datasets, plan(datasets, 0, tile_pairs=3_500**2, threshold=SLOW_THRESHOLD)


@contextmanager
def _in_background(
    executor: Executor, datasets: Sequence[Dataset], units: Sequence[Unit], place: Place
) -> Iterator[Found]:
    """Does the units on a thread while the test interferes; what they gave is there afterwards."""
    done: Found = {}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: _found(list(executor.run(units, datasets, store=place.store()))))
        yield done
        done.update(running.result())


@pytest.fixture(scope="module")
def slow_results(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What the slow units give."""
    datasets, units = _slow(Place(tmp_path_factory.mktemp("slow")))
    return _found(list(LocalExecutor(2).run(units, datasets)))


def _found(done: Sequence[tuple[Unit, UnitResult]]) -> Found:
    return {unit.name: (as_list(result.pairs), result.compared, result.bounded) for unit, result in done}


def _of_every_kind(datasets: Sequence[Dataset]) -> list[Unit]:
    sampled = plan_units(
        datasets,
        first=0,
        sample=RowSample(50),
        threshold=THRESHOLD,
        budget=EVERYTHING,
        best_per_row=5,
        tile_pairs=9_000,
    )
    bounded = plan_units(
        datasets, first=0, second=1, threshold=THRESHOLD, budget=100, best_per_row=2, tile_pairs=50_000
    )
    across = plan(datasets, 0, 1, tile_pairs=20_000, threshold=THRESHOLD)
    return [*across, *plan(datasets, 1, tile_pairs=20_000, threshold=THRESHOLD), *sampled, *bounded]


def test_executor_gives_what_the_units_give_in_this_process(executor: Executor, place: Place) -> None:
    datasets = _two(place)
    units = _of_every_kind(datasets)
    in_memory = [ArrayDataset(dataset.read(0, dataset.rows)) for dataset in datasets]
    expected = _found(list(LocalExecutor(1).run(units, in_memory)))
    assert _found(list(executor.run(units, datasets, store=place.store()))) == expected
    assert len(expected) == len(units) > 10
    assert any(bounded for _, _, bounded in expected.values())


def test_executor_does_only_units_that_the_store_lacks(executor: Executor, place: Place) -> None:
    datasets = _two(place)
    units = plan(datasets, 0, 1, tile_pairs=20_000, threshold=THRESHOLD)
    list(LocalExecutor(1).run(units[:4], datasets, store=place.store()))
    before = place.kept()
    done = _found(list(executor.run(units, datasets, store=place.store())))
    assert sorted(before) == sorted(unit.name for unit in units[:4])
    assert {name: place.kept()[name] for name in before} == before
    assert sorted(done) == sorted(place.kept()) == sorted(unit.name for unit in units)


def test_executor_with_damaged_results_in_the_store_does_them_again(executor: Executor, place: Place) -> None:
    datasets = _two(place)
    units = plan(datasets, 0, 1, tile_pairs=20_000, threshold=THRESHOLD)
    expected = _found(list(LocalExecutor(1).run(units, datasets, store=place.store())))
    for name in list(expected)[:2]:
        stored = place.folder / "runs" / "run_1" / "units" / name
        stored.write_bytes(stored.read_bytes()[:-1])
    assert _found(list(executor.run(units, datasets, store=place.store()))) == expected


def test_executor_without_units_is_done(executor: Executor, place: Place) -> None:
    assert list(executor.run([], _two(place), store=place.store())) == []


def test_executor_counts_progress_in_pairs_up_to_all(executor: Executor, place: Place) -> None:
    datasets = _two(place)
    units = _of_every_kind(datasets)
    list(LocalExecutor(1).run(units[:2], datasets, store=place.store()))
    seen: list[tuple[int, int]] = []
    list(executor.run(units, datasets, store=place.store(), progress=lambda *numbers: seen.append(numbers)))
    total = sum(unit.pairs for unit in units)
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)
    assert {of for _, of in seen} == {total}


def test_executor_refuses_what_a_unit_refuses(executor: Executor, place: Place) -> None:
    datasets = _two(place)
    units = plan(datasets, 0, 1, tile_pairs=20_000, threshold=Fraction(3, 2))
    with pytest.raises(InvalidThreshold, match="no similarity"):
        list(executor.run(units, datasets, store=place.store()))


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (Path.unlink, BlobAbsent),
        (lambda part: part.write_bytes(part.read_bytes()[:-1]), BlobDamaged),
    ],
    ids=["absent", "damaged"],
)
def test_executor_refuses_encodings_that_are_not_as_stored(
    executor: Executor, place: Place, spoil: Callable[[Path], object], error: type[MatchingError]
) -> None:
    datasets = _two(place)
    spoil(place.folder / "uploads" / "upl_2" / "part-000001")
    units = plan(datasets, 0, 1, tile_pairs=20_000, threshold=THRESHOLD)
    with pytest.raises(error):
        list(executor.run(units, datasets, store=place.store()))


def test_executor_cancelled_between_units_stops_and_keeps_what_is_finished(executor: Executor, place: Place) -> None:
    datasets, units = _slow(place)
    stop = threading.Event()
    running = executor.run(units, datasets, store=place.store(), cancelled=stop.is_set)
    finished, _ = next(running)
    stop.set()
    with pytest.raises(MatchingCancelled):
        list(running)
    assert finished.name in place.kept()
    assert len(place.kept()) < len(units)


@pytest.fixture
def is_busy(cluster: DaskCluster) -> Iterator[Callable[[], bool]]:
    """Tells whether a unit is being done on any worker."""

    def locked() -> bool:
        from linkage_matching import dask_worker

        return dask_worker._ONE_UNIT_OF_THIS_PROCESS.locked()

    with Client(cluster.address, set_as_default=False) as client:  # type: ignore[no-untyped-call]  # distributed
        yield lambda: any(client.run(locked).values())


def test_dask_executor_cancelled_within_a_unit_frees_the_worker(
    cluster: DaskCluster, is_busy: Callable[[], bool], place: Place
) -> None:
    # one unit of minutes
    data = place.dataset(half_filled(120_000, bits=SLOW_BITS), name="upl_1", part_bytes=1 << 24)
    units = plan([data, data], 0, 1, tile_pairs=10**11, threshold=SLOW_THRESHOLD)
    with pytest.raises(MatchingCancelled):
        list(DaskExecutor(cluster.address).run(units, [data, data], store=place.store(), cancelled=is_busy))
    wait_until(lambda: not is_busy(), what="the worker stopped")
    assert place.kept() == {}


def test_dask_executor_left_by_its_caller_frees_the_worker(
    cluster: DaskCluster, is_busy: Callable[[], bool], place: Place
) -> None:
    datasets, units = _slow(place)
    running = DaskExecutor(cluster.address).run(units, datasets, store=place.store())
    next(running)
    running.close()  # type: ignore[attr-defined]  # a generator, which the protocol does not promise
    wait_until(lambda: not is_busy(), what="the workers stopped")
    assert len(place.kept()) < len(units)


def test_dask_executor_goes_on_when_a_worker_is_killed(cluster: DaskCluster, slow_results: Found, place: Place) -> None:
    datasets, units = _slow(place)
    cluster.start_workers(1)
    with _in_background(DaskExecutor(cluster.address), datasets, units, place) as done:
        wait_until(lambda: len(place.kept()) > 2, what="some units were finished")
        cluster.kill_worker()
        before = place.kept()
    assert len(before) < len(units)
    assert done == slow_results
    assert {name: place.kept()[name] for name in before} == before


def test_dask_executor_goes_on_with_another_scheduler_at_the_same_address(
    own_cluster: DaskCluster, slow_results: Found, place: Place
) -> None:
    own_cluster.start_workers(1)
    datasets, units = _slow(place)
    with _in_background(DaskExecutor(own_cluster.address), datasets, units, place) as done:
        wait_until(lambda: len(place.kept()) > 2, what="some units were finished")
        own_cluster.kill_scheduler()
        before = place.kept()
        own_cluster.restart_scheduler()
        own_cluster.start_workers(1)
    assert len(before) < len(units)
    assert done == slow_results
    assert {name: place.kept()[name] for name in before} == before


def test_dask_executor_whose_scheduler_stays_away_says_so_and_keeps_what_is_finished(
    own_cluster: DaskCluster, place: Place
) -> None:
    own_cluster.start_workers(1)
    own_cluster.wait_for_workers(1)
    datasets, units = _slow(place)
    running = DaskExecutor(own_cluster.address, patience_s=0.5).run(units, datasets, store=place.store())
    finished, _ = next(running)
    own_cluster.kill_scheduler()
    with pytest.raises(ClusterFailed, match=r"could not be reached for 0\.5 seconds"):
        list(running)
    assert finished.name in place.kept()


def test_dask_executor_without_workers_says_so(own_cluster: DaskCluster, place: Place) -> None:
    datasets = _two(place)
    units = plan(datasets, 0, 1, tile_pairs=20_000, threshold=THRESHOLD)
    with pytest.raises(ClusterFailed, match=r"no workers for 0\.5 seconds"):
        list(DaskExecutor(own_cluster.address, patience_s=0.5).run(units, datasets, store=place.store()))


_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {support!r})
from linkage_matching.dask_executor import DaskExecutor
from linkage_matching.executors import LocalExecutor
from support.units import taken_over

datasets, units, store = taken_over(Path({job!r}))
executor = DaskExecutor({scheduler!r}) if {scheduler!r} else LocalExecutor(1)
for _ in executor.run(units, datasets, store=store):
    pass
"""


def _process_of(
    place: Place, datasets: list[BlobDataset], units: list[Unit], scheduler: str
) -> subprocess.Popen[bytes]:
    job = place.hand_over(datasets, units)
    program = _RUN.format(support=str(Path(__file__).parents[1]), job=str(job), scheduler=scheduler)
    return subprocess.Popen([sys.executable, "-c", program])


@pytest.mark.parametrize("kind", ["local", "dask"])
def test_run_whose_process_was_killed_does_only_missing_units_the_second_time(
    kind: str, slow_results: Found, place: Place, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue("cluster").address if kind == "dask" else ""
    datasets, units = _slow(place)
    with _process_of(place, datasets, units, address) as process:
        wait_until(lambda: len(place.kept()) > 2, what="some units were finished")
        process.kill()
    before = place.kept()
    executor: Executor = DaskExecutor(address) if kind == "dask" else LocalExecutor(2)
    again = _found(list(executor.run(units, datasets, store=place.store())))
    assert len(before) < len(units)
    assert {name: place.kept()[name] for name in before} == before
    assert again == slow_results


def test_dask_executor_refuses_what_workers_cannot_reach(place: Place) -> None:
    datasets = _two(place)
    units = plan(datasets, 0, 1, tile_pairs=20_000, threshold=THRESHOLD)
    nowhere = DaskExecutor("tcp://127.0.0.1:9", patience_s=0)
    in_memory = [ArrayDataset(dataset.read(0, dataset.rows)) for dataset in datasets]
    with pytest.raises(MatchingError, match="BlobDataset"):
        list(nowhere.run(units, in_memory, store=place.store()))
    for store in (None, MemoryUnitStore()):
        with pytest.raises(MatchingError, match="BlobUnitStore"):
            list(nowhere.run(units, datasets, store=store))


def test_dask_executor_needs_no_cluster_for_what_is_stored(place: Place) -> None:
    datasets = _two(place)
    units = plan(datasets, 0, 1, tile_pairs=20_000, threshold=THRESHOLD)
    expected = _found(list(LocalExecutor(1).run(units, datasets, store=place.store())))
    nowhere = DaskExecutor("tcp://127.0.0.1:9", patience_s=0)
    assert _found(list(nowhere.run(units, datasets, store=place.store()))) == expected


def test_dask_executor_with_certificates_does_units_over_tls(
    tmp_path_factory: pytest.TempPathFactory, place: Place
) -> None:
    folder = tmp_path_factory.mktemp("cluster")
    certificates = make_certificates(folder)
    datasets = _two(place)
    units = plan(datasets, 0, 1, tile_pairs=20_000, threshold=THRESHOLD)
    with DaskCluster(folder, certificates=certificates) as encrypted:
        encrypted.start_workers(1)
        executor = DaskExecutor(encrypted.address, certificates=certificates)
        assert len(list(executor.run(units[:3], datasets, store=place.store()))) == 3
        with dask.config.set(
            {
                "distributed.comm.tls.ca-file": str(certificates.authority),
                "distributed.comm.tls.client.cert": str(certificates.certificate),
                "distributed.comm.tls.client.key": str(certificates.key),
            }
        ):
            configured = DaskExecutor(encrypted.address)
            assert len(list(configured.run(units, datasets, store=place.store()))) == len(units)


def test_dask_executor_refuses_certificates_that_would_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(MatchingError, match="tls://host:port"):
        DaskExecutor("tcp://127.0.0.1:9", certificates=make_certificates(tmp_path))


def test_dask_executor_leaves_no_key_in_the_logs_of_the_cluster(cluster: DaskCluster, place: Place) -> None:
    datasets = _two(place)
    units = plan(datasets, 0, 1, tile_pairs=20_000, threshold=Fraction(3, 2))
    with pytest.raises(InvalidThreshold):
        list(DaskExecutor(cluster.address).run(units, datasets, store=place.store()))
    logs = cluster.logs()
    assert "Registered to" in logs
    for key in place.keys:
        assert key.hex() not in logs
        assert repr(key)[2:-1] not in logs


def test_worker_imports_nothing_of_the_service() -> None:
    program = (
        "import sys, linkage_matching.dask_worker;"
        "print(sorted({'linkage_service', 'fastapi', 'sqlmodel', 'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[]"
