"""Which call of the engine a run's settings make."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from linkage_matching import BestF1, FixedThreshold, LocalExecutor, Measure, TargetPrecision
from linkage_matching.errors import BlobsUnavailable, ExtraMissing
from linkage_matching.unit_store import MemoryUnitStore
from linkage_service import engine
from linkage_service.runs.aims import Aim
from linkage_service.runs.schemas import BlockingReport
from linkage_service.settings import Settings
from linkage_service.storage import StorageUnavailable
from support.service_app import BITS

CERTIFICATES = {"scheduler_ca": "ca.pem", "scheduler_certificate": "service.pem", "scheduler_key": "service-key.pem"}


def work(aim: Aim, **changes: Any) -> engine.Work:
    return engine.Work(
        **{
            "datasets": [np.ones((3, BITS // 64), np.uint64), np.ones((3, BITS // 64), np.uint64)],
            "may_hold_duplicates": [False, True],
            "aim": aim,
            "similarity": "dice",
            "blocking": False,
            "fallback_threshold": 0.7,
            "store": MemoryUnitStore(),
            **changes,
        }
    )


class Refusing:
    """An executor whose blob store is away."""

    def run(self, *_: object, **__: object) -> Iterator[Any]:
        raise BlobsUnavailable("The bucket of the linkage unit is away.")


@pytest.mark.parametrize(
    ("aim", "asked"),
    [
        (Aim("best_f1", None), BestF1()),
        (Aim("target_precision", 0.95), TargetPrecision(0.95)),
        (Aim("threshold", 0.8), FixedThreshold(Fraction(4, 5))),
        (Aim("threshold", 1.0), FixedThreshold(Fraction(1))),
    ],
)
def test_match_asks_the_engine_for_what_the_run_says(aim: Aim, asked: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: dict[str, Any] = {}

    class Noted(Exception):
        pass

    def noted(datasets: Sequence[Any], **options: Any) -> None:
        asked_for.update(options, datasets=len(datasets))
        raise Noted

    monkeypatch.setattr(engine, "link", noted)
    with pytest.raises(Noted):
        engine.match(
            work(aim, similarity="simple_matching"),
            executor=LocalExecutor(),
            progress=lambda _done, _total: None,
            cancelled=lambda: False,
        )
    assert (asked_for["aim"], asked_for["fallback_threshold"]) == (asked, Fraction(7, 10))
    assert asked_for["blocking"] is None
    assert (asked_for["measure"], asked_for["may_hold_duplicates"]) == (Measure.SIMPLE_MATCHING, [False, True])


def test_match_with_blocking_reports_what_was_lost() -> None:
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 2**63, (300, BITS // 64), dtype=np.uint64)
    matched = engine.match(
        work(Aim("threshold", 0.9), datasets=[rows, rows], may_hold_duplicates=[False, False], blocking=True),
        executor=LocalExecutor(),
        progress=lambda _done, _total: None,
        cancelled=lambda: False,
    )
    assert BlockingReport(**matched.report["blocking"]).kept_at_least > 0.5
    assert "blocking" in {found["code"] for found in matched.report["findings"]}


def test_match_says_of_a_store_that_is_away_what_the_service_says_of_it() -> None:
    with pytest.raises(StorageUnavailable) as caught:
        engine.match(
            work(Aim("best_f1", None)),
            executor=Refusing(),
            progress=lambda _done, _total: None,
            cancelled=lambda: False,
        )
    assert "bucket" not in caught.value.detail


@pytest.mark.parametrize(
    ("profile", "similarity"),
    [(None, "dice"), ("clk-1024-v1", "dice"), ("saul-1024-v1", "simple_matching"), ("my-saul-", "dice")],
)
def test_similarity_follows_from_the_encoding_profile(profile: str | None, similarity: str) -> None:
    assert engine.similarity_of(profile) == similarity


def test_executor_is_local_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    assert isinstance(engine.executor_of(Settings(data_dir=tmp_path)), LocalExecutor)


def test_executor_of_a_cluster_is_made_without_connecting(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, executor="dask", scheduler="tcp://127.0.0.1:8786")
    assert type(engine.executor_of(settings)).__name__ == "DaskExecutor"


def test_executor_whose_package_is_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing:
        def __getattr__(self, name: str) -> object:
            raise ExtraMissing

    monkeypatch.setitem(__import__("sys").modules, "linkage_matching.dask_executor", Missing())
    settings = Settings(data_dir=tmp_path, executor="dask", scheduler="tcp://127.0.0.1:8786")
    with pytest.raises(engine.EngineNotReady, match=r"linkage-service\[dask\]"):
        engine.executor_of(settings)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786"])
def test_settings_take_a_scheduler_of_this_machine_without_certificates(tmp_path: Path, address: str) -> None:
    assert Settings(data_dir=tmp_path, executor="dask", scheduler=address).scheduler == address


@pytest.mark.parametrize(
    "wrong",
    [
        {"executor": "dask"},
        {"executor": "spark"},
        {"executor": "dask", "scheduler": "scheduler.internal:8786"},
        {"executor": "dask", "scheduler": "http://scheduler.internal:8786"},
        {"executor": "dask", "scheduler": "tls://user:secret@scheduler.internal:8786"},
        {"executor": "dask", "scheduler": "tls://scheduler.internal"},
        {"executor": "dask", "scheduler": "tls://scheduler.internal:8786"},
        {"executor": "dask", "scheduler": "tls://scheduler.internal:8786", "scheduler_ca": "ca.pem"},
        {"executor": "dask", "scheduler": "tcp://127.0.0.1:8786", **CERTIFICATES},
        {"executor": "dask", "scheduler": "tcp://127.0.0.1:8786", "blob_url": "memory:///"},
        {"executor": "dask", "scheduler": "tcp://scheduler.internal:8786"},
        {"executor": "dask", "scheduler": "tcp://10.0.0.5:8786"},
        {"executor": "dask", "scheduler": "tcp://0.0.0.0:8786"},
        {"executor": "dask", "scheduler": "tcp://127.0.0.1.example.org:8786"},
        {"fallback_threshold": 0.05},
    ],
)
def test_settings_of_an_executor_that_cannot_work_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(data_dir=tmp_path, **wrong)
