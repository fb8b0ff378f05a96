"""Wire models of runs."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from linkage_service.problems import Problem
from linkage_service.wire import Input, Output, Timestamp

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class RunDraft(Input):
    """How to match."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"threshold": 0.8}]})

    threshold: Annotated[
        float | None,
        Field(
            ge=0.1,
            le=1,
            strict=True,
            description="Least Dice similarity of a candidate pair; null for the service's default.",
        ),
    ] = None


class RunUpload(Output):
    """An upload in a run."""

    id: str
    organisation: str
    count: int


class Progress(Output):
    """How far a run is: pairs of records compared, of those to compare."""

    phase: Literal["queued", "load", "match", "store", "done"]
    done: int
    total: int


class Metrics(Output):
    """How much work a run was. What it found is in the summary, rounded and suppressed as the agreement asks."""

    pairs_compared: int
    seconds: float


class Run(Output):
    """One execution of the matcher."""

    id: str
    project: str
    state: RunState
    threshold: float
    uploads: list[RunUpload]
    progress: Progress
    attempt: int
    error: Problem | None
    metrics: Metrics | None
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None


class Pattern(Output):
    """How many groups these organisations, and no others, share; one organisation alone: records without a match."""

    organisations: list[str]
    groups: Annotated[int | None, Field(description="Rounded; null where suppressed.")]


class Summary(Output):
    """Overlap between providers, rounded and suppressed as the agreement asks."""

    run: str
    patterns: list[Pattern]
    rounded_to: int
    suppressed_below: int
