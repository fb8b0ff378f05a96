"""What stands between a run and the matching engine: which call a run's settings make, and what comes back of it.

The worker knows of uploads, leases and ledgers; the engine of arrays, units and executors. This is the one module that
knows both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from linkage_matching import (
    Aim,
    BestF1,
    Dataset,
    Encodings,
    Executor,
    FixedThreshold,
    LocalExecutor,
    Measure,
    TargetPrecision,
    link,
)
from linkage_matching.blocking import Blocking
from linkage_matching.errors import ExtraMissing
from linkage_matching.unit_store import UnitStore
from linkage_service.errors import LinkageError
from linkage_service.runs import aims
from linkage_service.settings import Settings
from linkage_service.storage import as_storage_errors

# Thresholds come as JSON numbers; the engine decides in whole numbers, and four decimals are more than anyone states.
_DENOMINATOR_MAX = 10_000
# Encodings of these profiles are compared bit by bit: set and unset bits count alike.
_SIMPLE_MATCHING_PROFILES = "saul-"
Similarity = Literal["dice", "simple_matching"]


class EngineNotReady(LinkageError):
    """What the settings ask of the engine is not installed."""

    code = "engine_not_ready"


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is to match, and how.

    Attributes:
        datasets: the encodings, in the order of the run's uploads.
        may_hold_duplicates: for each of them, whether one person may have several rows.
        aim: where to cut.
        similarity: how encodings are compared, see `similarity_of`.
        blocking: whether to compare only pairs that share sampled bits.
        fallback_threshold: the least Dice similarity of links where there is too little to calibrate.
        store: where finished units are kept for an attempt that goes on after an interruption.
    """

    datasets: Sequence[Encodings | Dataset]
    may_hold_duplicates: Sequence[bool]
    aim: aims.Aim
    similarity: Similarity
    blocking: bool
    fallback_threshold: float
    store: UnitStore


@dataclass(frozen=True, slots=True)
class Matched:
    """What came of it.

    Attributes:
        membership: for each data set the group of each row, -1 for a row without one.
        groups: how many groups there are.
        report: the engine's report, with exact counts.
        probabilities: by group, the match probability of its weakest pair; None where the run has none.
    """

    membership: Sequence[NDArray[np.int64]] = field(repr=False)
    groups: int
    report: dict[str, Any] = field(repr=False)
    probabilities: NDArray[np.float64] | None = field(repr=False, default=None)


def executor_of(settings: Settings) -> Executor:
    """Who does the work, by the settings.

    Raises:
        EngineNotReady: it is not installed.
    """
    match settings.executor:
        case "local":
            return LocalExecutor()
        case "dask":
            return _cluster(settings)
        case other:
            assert_never(other)


def match(
    work: Work, *, executor: Executor, progress: Callable[[int, int], None], cancelled: Callable[[], bool]
) -> Matched:
    """Matches.

    Args:
        work: what, and how.
        executor: who does it.
        progress: called with the pairs of records compared so far and the pairs to compare in all.
        cancelled: asked often; True ends it with MatchingCancelled.

    Raises:
        StorageError: encodings or units cannot be read or stored.
        MatchingError: the engine cannot do this.
    """
    with as_storage_errors():
        linkage = link(
            work.datasets,
            aim=_aim(work.aim),
            measure=Measure(work.similarity),
            may_hold_duplicates=work.may_hold_duplicates,
            fallback_threshold=_fraction(work.fallback_threshold),
            blocking=Blocking() if work.blocking else None,
            executor=executor,
            store=work.store,
            progress=progress,
            cancelled=cancelled,
        )
    groups = linkage.groups
    return Matched(
        membership=groups.membership,
        groups=groups.count,
        report=linkage.report.document(),
        probabilities=groups.lowest if linkage.report.probabilities is not None else None,
    )


def similarity_of(profile: str | None) -> Similarity:
    """How encodings of a profile are compared."""
    return "simple_matching" if (profile or "").startswith(_SIMPLE_MATCHING_PROFILES) else "dice"


def _cluster(settings: Settings) -> Executor:
    try:
        from linkage_matching.dask_executor import Certificates, DaskExecutor  # noqa: PLC0415 - an extra, slow to load
    except ExtraMissing as error:
        raise EngineNotReady(
            "The settings ask for a Dask cluster, and its package is not installed here. Install "
            "linkage-service[dask], or set LINKAGE_EXECUTOR to local."
        ) from error
    authority, certificate, key = settings.scheduler_ca, settings.scheduler_certificate, settings.scheduler_key
    certificates = Certificates(authority, certificate, key) if authority and certificate and key else None
    return DaskExecutor(settings.scheduler or "", certificates=certificates)


def _aim(aim: aims.Aim) -> Aim:
    match aim.kind, aim.value:
        case "target_precision", float(precision):
            return TargetPrecision(precision)
        case "threshold", float(threshold):
            return FixedThreshold(_fraction(threshold))
        case _:
            return BestF1()


def _fraction(share: float) -> Fraction:
    return Fraction(share).limit_denominator(_DENOMINATOR_MAX)
