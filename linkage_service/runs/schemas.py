"""Wire models of runs."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from linkage_service.problems import Problem
from linkage_service.wire import Input, Output, Timestamp

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled", "deleted"]
AimKind = Literal["best_f1", "target_precision", "threshold"]
FindingCode = Literal[
    "no_separation",
    "few_matches",
    "too_small",
    "unequal_populations",
    "duplicates_in_source",
    "bounded_candidates",
    "blocking",
    "counts_suppressed",
]
Count = Annotated[int | None, Field(description="Rounded; null where left out.")]
Share = Annotated[float | None, Field(description="In 0..1, to three decimals; null where left out or not estimated.")]


class RunDraft(Input):
    """What the run is to aim at, and how to compare.

    With neither target precision nor threshold the run aims at the agreement's target precision, or, where the
    agreement names none, at the best expected F1.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{}, {"target_precision": 0.99}, {"threshold": 0.8, "blocking": True}]}
    )

    target_precision: Annotated[
        float | None,
        Field(
            ge=0.5,
            lt=1,
            strict=True,
            description="Least expected precision of the links; not less than the agreement's.",
        ),
    ] = None
    threshold: Annotated[
        float | None,
        Field(
            ge=0.1,
            le=1,
            strict=True,
            description=(
                "Least similarity of a linked pair, in place of an aim. No threshold suits all data; refused where the "
                "agreement names a target precision."
            ),
        ),
    ] = None
    blocking: Annotated[
        bool,
        Field(
            strict=True,
            description="Compare only pairs that share some sampled bits: for very large uploads, at the loss of some "
            "matches.",
        ),
    ] = False

    @model_validator(mode="after")
    def _one_aim(self) -> Self:
        if self.target_precision is not None and self.threshold is not None:
            raise ValueError("give target_precision or threshold, not both")
        return self


class Aim(Output):
    """Where the run cuts: the best expected F1, the longest list of links of a precision, or a fixed similarity."""

    kind: AimKind
    value: Annotated[float | None, Field(description="The precision or the threshold; null for the best F1.")]


class Finding(Output):
    """Something about the uploads or the result that its readers must know."""

    code: FindingCode
    organisations: Annotated[list[str], Field(description="Whose uploads it is about; empty for the run as a whole.")]
    message: Annotated[str, Field(description="What it means and what to do.")]


class RunUpload(Output):
    """An upload in a run."""

    id: str
    organisation: str
    count: int


class Progress(Output):
    """How far a run is: pairs of records compared, of those to compare."""

    phase: Literal["queued", "load", "compile", "match", "store", "clock", "done"]
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
    aim: Aim
    threshold: Annotated[float | None, Field(description="The fixed threshold; null where the run aims at another.")]
    blocking: bool
    findings: Annotated[list[Finding], Field(description="Empty until the run has succeeded.")]
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
    precision: Annotated[Share, Field(description="Expected of the links, without labels; null where left out.")]
    recall: Annotated[Share, Field(description="Expected of the links, without labels; null where left out.")]
    rounded_to: int
    suppressed_below: int


class Interval(Output):
    """An estimated number of matches and the interval that holds the true one nine times in ten."""

    estimate: int
    low: int
    high: int


class Histogram(Output):
    """Pairs of a one-to-one list by score. Bins are merged until each holds enough pairs to be told."""

    edges: Annotated[list[float], Field(description="One more than there are bins; empty where counts are left out.")]
    pairs: list[Count]
    expected_non_matches: Annotated[
        list[Count], Field(description="How many pairs of each bin are expected to be chance.")
    ]


class CurvePoint(Output):
    """What would be linked with the cut at this score."""

    score: float
    probability: Share
    links: Count
    precision: Share
    recall: Share
    f1: Share


class Cut(Output):
    """Where the run cut: links are pairs from this score on."""

    score: float
    probability: Share


class Comparison(Output):
    """Two uploads compared. Where their counts are left out, nothing that was computed from them is here."""

    organisations: list[str]
    floor: Annotated[
        float | None,
        Field(description="Least similarity of the pairs that were scored; null where counts are left out."),
    ]
    density_ranks: Annotated[
        list[int], Field(description="First and last rank of the candidates that a score is compared with.")
    ]
    histogram: Histogram
    curve: list[CurvePoint]
    cut: Cut | None
    links: Count
    matches: Interval | None


class ReportResult(Output):
    """What the run made, and how good it is expected to be."""

    groups: Count
    links: Count
    precision: Share
    recall: Share
    f1: Share
    matches: Interval | None


class GroupProbabilities(Output):
    """Groups by the lowest and by the mean match probability of their pairs."""

    edges: list[float]
    lowest: list[Count]
    mean: list[Count]


class BlockingReport(Output):
    """Which pairs were compared at all: those that agree in all sampled bits of at least one table."""

    tables: int
    bits: int
    distance: Annotated[float, Field(description="Share of bits in which a match may differ, as assumed.")]
    kept_at_least: Annotated[float, Field(description="Expected share of such matches that were compared.")]


class RunReport(Output):
    """How well matches stood out from chance, where the run cut and why, and what to expect of its links.

    All figures are estimates made without labels. Counts are rounded, and left out where the summary leaves out a count
    that they would give away.
    """

    run: str
    aim: Aim
    similarity: Literal["dice", "simple_matching"]
    calibrated: Annotated[
        bool | None,
        Field(description="Whether the links have match probabilities; null where counts are left out."),
    ]
    findings: list[Finding]
    comparisons: list[Comparison]
    result: ReportResult
    group_probabilities: GroupProbabilities | None
    patterns: list[Pattern]
    blocking: BlockingReport | None
    pairs_compared: int
    rounded_to: int
    suppressed_below: int
