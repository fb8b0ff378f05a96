"""The report of a run as it may leave: the engine's exact document goes in, what the agreement lets be told comes out.

The engine's document never leaves as it is. Which counts are left out follows from the summary (see `suppression`), so
that the two together tell no more than the summary alone lets be told about small groups.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from linkage_service.runs import schemas
from linkage_service.runs.suppression import ROUNDED_TO, Marks, Positions, rounded

Document = Mapping[str, Any]
_SHARE_DECIMALS = 3
_SCORE_DECIMALS = 4
_COARSE_DIGITS = 2
_COARSEST_UNIT = 10_000
# They follow from how many records matched, and so are told where counts are.
_ABOUT_MATCHES = ("no_separation", "few_matches")
# With blocking, pairs that match are most of those compared, so that too few of them says that few match.
_ABOUT_MATCHES_IF_BLOCKED = (*_ABOUT_MATCHES, "too_small")
# The engine's own words may hold exact counts.
_MEANINGS: Mapping[str, str] = {
    "no_separation": (
        "Pairs between these organisations score no higher than pairs of different people do, so no probability can be "
        "given. {unjudged} Either next to nobody is known to both, or the encodings do not fit each other: "
        "check that all used one secret, one linkage schema, and columns that hold what the schema says."
    ),
    "few_matches": (
        "Few records match between these organisations, so probabilities and estimates are rough: the true figures may "
        "lie far from them. Check a sample of links before you rely on them."
    ),
    "too_small": (
        "These uploads hold too few records to estimate how high chance pairs score, so no pair has a probability. "
        "{too_few} Use larger extracts, or judge links by a sample."
    ),
    "unequal_populations": (
        "Inside one of these uploads chance pairs score much higher than inside the other: the populations differ, or "
        "their fields are filled differently. The more cautious of the two was used. Expect fewer links, and compare "
        "how complete the fields are."
    ),
    "duplicates_in_source": (
        "An upload of these organisations holds records that look like one person's, though the agreement says it "
        "holds none. Each of them can be linked once only. Remove duplicates before encoding, or let the agreement "
        "say that the provider may hold them."
    ),
    "bounded_candidates": (
        "There were more candidate pairs than are kept, so only the best of each record were. Some matches of crowded "
        "records may be missing. A linkage schema with more identifying fields makes this rarer."
    ),
    "blocking": (
        "Only pairs that share some sampled bits were compared, as the run asked. Some matches were never looked at; "
        "the report says how many are expected to be kept."
    ),
    "counts_suppressed": (
        "The figures of these organisations are left out, for a count below the agreement's minimum could be worked "
        "out from them. Few or none of their records match, or nearly all do, or, where there are more than two "
        "providers, one combination of them shares only a few. If you expected otherwise, check that all used one "
        "secret, one linkage schema, and columns that hold what the schema says."
    ),
}
# The same codes where an upload that may hold duplicates is compared with itself.
_MEANINGS_WITHIN: Mapping[str, str] = {
    "no_separation": (
        "No pair of records inside this upload stands out from pairs of different people, so no probability can be "
        "given. {unjudged} Most likely it holds next to nobody twice. If you know that it does, check that its columns "
        "hold what the linkage schema says, and that they tell people apart."
    ),
    "few_matches": (
        "Few records inside this upload look like one person's, so the probabilities of such pairs are rough. Check a "
        "sample of them before you rely on them."
    ),
    "too_small": (
        "This upload holds too few records to tell one person's from different people's, so no pair inside it has a "
        "probability. {too_few} Remove duplicates before encoding, or judge links by a sample."
    ),
}
_NOT_LINKED = "None of these pairs were linked."
_BY_SIMILARITY = "Links rest on the similarity that the run asked for alone, and many of them may be wrong."
# What became of pairs without probabilities, by the aim of the run.
_OUTCOMES: Mapping[str, Mapping[str, str]] = {
    "best_f1": {
        "unjudged": _NOT_LINKED,
        "too_few": "Pairs were linked from a fixed similarity on instead.",
    },
    "target_precision": {"unjudged": _NOT_LINKED, "too_few": _NOT_LINKED},
    "threshold": {"unjudged": _BY_SIMILARITY, "too_few": _BY_SIMILARITY},
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What may be told of a run.

    Attributes:
        organisations: providers by the position of their upload.
        rows: how many records each upload has.
        shown: the summary's counts, None where left out.
        told: pairs of providers whose links may be told, see `told_pairs`.
        least: the agreement's minimum; counts below are left out.
        summary_listed: whether the agreement lists a summary among its outputs.
    """

    organisations: Sequence[str]
    rows: Sequence[int]
    shown: Mapping[Positions, int | None]
    told: AbstractSet[Positions]
    least: int
    summary_listed: bool

    def tells(self, positions: Sequence[int]) -> bool:
        """Whether the counts of what these uploads share may be told.

        How many of an upload's records are another's duplicates says no more than its size, which is taken as known.
        """
        return len(set(positions)) == 1 or tuple(positions) in self.told

    @property
    def tells_groups(self) -> bool:
        """Whether every count of groups may be told, and so their sum."""
        return all(count is not None for positions, count in self.shown.items() if len(positions) > 1)

    def named(self, positions: Sequence[int]) -> list[str]:
        """The organisations at these positions; one that is compared with itself once."""
        return [self.organisations[position] for position in dict.fromkeys(positions)]

    def count(self, exact: float | None) -> int | None:
        """A count as it may be told."""
        return None if exact is None or (exact < self.least and self.least > 1) else rounded(exact)

    def marks(self, *places: int) -> Marks:
        """A list's places at which counts may end, these among them."""
        return Marks(least=self.least, places=places)


def findings(document: Document, terms: Terms) -> list[schemas.Finding]:
    """What readers of a run must know. What follows from how many records matched is told only where counts are."""
    about_matches = _ABOUT_MATCHES_IF_BLOCKED if document["blocking"] else _ABOUT_MATCHES
    kept: list[tuple[str, Sequence[int]]] = []
    for found in document["findings"]:
        code, positions = str(found["code"]), found["positions"]
        if code in about_matches and not (terms.summary_listed and terms.tells(positions)):
            continue
        kept.append((code, positions))
    if terms.summary_listed:
        # Said of every comparison alike, so that none at all looks like a few.
        kept += [
            ("counts_suppressed", comparison["positions"])
            for comparison in document["comparisons"]
            if not terms.tells(comparison["positions"])
        ]
    return [
        schemas.Finding(
            code=code,
            organisations=terms.named(positions),
            message=_meaning(code, positions).format_map(_OUTCOMES[document["aim"]["kind"]]),
        )
        for code, positions in kept
    ]


def _meaning(code: str, positions: Sequence[int]) -> str:
    within = _MEANINGS_WITHIN.get(code) if len(set(positions)) == 1 else None
    return within or _MEANINGS[code]


def expected(document: Document, terms: Terms) -> tuple[float | None, float | None]:
    """The precision and recall that the links are expected to have, where the report would tell them."""
    across = [item for item in document["comparisons"] if len(set(item["positions"])) > 1]
    if not all(_tells_links(item, terms) for item in across):
        return None, None
    result = document["result"]
    return _share(result["precision"]), _share(result["recall"])


def _tells_links(document: Document, terms: Terms) -> bool:
    return terms.tells(document["positions"]) and terms.count(document["links"]) is not None


def comparison(document: Document, terms: Terms) -> tuple[schemas.Comparison, Marks | None]:
    """One comparison as it may leave, and the places at which its counts end; None where they are left out."""
    positions = document["positions"]
    told = _tells_links(document, terms)
    marks = terms.marks(document["links"], min(terms.rows[position] for position in positions)) if told else None
    found = schemas.Comparison(
        organisations=terms.named(positions),
        # It is picked by how alike pairs are, matching ones among them.
        floor=_score(document["floor"]) if told else None,
        density_ranks=list(document["density_ranks"]),
        histogram=_histogram(document["histogram"], terms, marks),
        curve=_curve(document["curve"], terms, marks) if marks else [],
        cut=_cut(document["cut"]) if told else None,
        links=terms.count(document["links"]) if told else None,
        matches=_interval(document["matches"], terms) if told else None,
    )
    return found, marks


def run_report(document: Document, terms: Terms, *, run: str, aim: schemas.Aim) -> schemas.RunReport:
    """The whole report as it may leave.

    Args:
        document: the engine's, exact.
        terms: what may be told.
        run: id of the run.
        aim: what the run was asked to aim at.
    """
    compared = [comparison(item, terms) for item in document["comparisons"]]
    # Duplicates inside an upload leave nothing out: how many there are follows from its size and the summary anyway.
    told = all(marks is not None for item, marks in compared if len(set(item.organisations)) > 1)
    groups_told = told and terms.tells_groups
    result = document["result"]
    # Two uploads: groups and pairs are one list, and its places are shared.
    marks = compared[0][1] if len(compared) == 1 else terms.marks(result["groups"])
    return schemas.RunReport(
        run=run,
        aim=aim,
        similarity=document["similarity"],
        calibrated=document["calibrated"] if told else None,
        findings=findings(document, terms),
        comparisons=[item for item, _ in compared],
        result=schemas.ReportResult(
            groups=terms.count(result["groups"]) if groups_told else None,
            links=terms.count(result["links"]) if told else None,
            precision=_share(result["precision"]) if told else None,
            recall=_share(result["recall"]) if told else None,
            f1=_share(result["f1"]) if told else None,
            matches=_interval(result["matches"], terms) if told else None,
        ),
        group_probabilities=_group_probabilities(document["group_probabilities"], marks)
        if groups_told and marks and document["group_probabilities"]
        else None,
        patterns=patterns(terms),
        blocking=schemas.BlockingReport(**document["blocking"]) if document["blocking"] else None,
        pairs_compared=pairs_compared(document),
        rounded_to=ROUNDED_TO,
        suppressed_below=terms.least,
    )


def patterns(terms: Terms) -> list[schemas.Pattern]:
    """The summary's counts for the wire."""
    return [
        schemas.Pattern(organisations=terms.named(positions), groups=count) for positions, count in terms.shown.items()
    ]


def pairs_compared(document: Document) -> int:
    """How many pairs of records were compared.

    Without blocking this follows from the uploads' sizes. With it, matching pairs are among those counted, some tens of
    times each, so that few of them could be noticed: two digits are told, and tens of thousands at the finest.
    """
    exact = int(document["work"]["pairs_compared"])
    return coarse(exact) if document["blocking"] else exact


def coarse(count: int) -> int:
    """A count to two digits or to tens of thousands, upwards: no comparison is said to have compared nothing."""
    unit: int = max(10 ** (len(str(count)) - _COARSE_DIGITS), _COARSEST_UNIT)
    return -(-count // unit) * unit


def _histogram(document: Document, terms: Terms, marks: Marks | None) -> schemas.Histogram:
    pairs = document["pairs"]
    if marks is None or not pairs:
        return schemas.Histogram(edges=[], pairs=[], expected_non_matches=[])
    bins = _merged(document["edges"], [pairs], marks)
    expected = [sum(document["expected_non_matches"][bin_.first : bin_.stop]) for bin_ in bins]
    return schemas.Histogram(
        edges=[*(_score(document["edges"][bin_.first]) for bin_ in bins), _score(document["edges"][-1])],
        pairs=[rounded(bin_.held[0]) if bin_.told else None for bin_ in bins],
        expected_non_matches=[
            terms.count(value) if bin_.told else None for bin_, value in zip(bins, expected, strict=True)
        ],
    )


def _group_probabilities(document: Document, marks: Marks) -> schemas.GroupProbabilities:
    bins = _merged(document["edges"], [document["lowest"], document["mean"]], marks)
    lowest, mean = ([rounded(bin_.held[column]) if bin_.told else None for bin_ in bins] for column in range(2))
    edges = [*(_score(document["edges"][bin_.first]) for bin_ in bins), _score(document["edges"][-1])]
    return schemas.GroupProbabilities(edges=edges, lowest=lowest, mean=mean)


@dataclass(frozen=True, slots=True)
class _Bin:
    """Bins `first` to before `stop` made one."""

    first: int
    stop: int
    held: tuple[int, ...]
    told: bool


def _merged(edges: Sequence[float], columns: Sequence[Sequence[int]], marks: Marks) -> list[_Bin]:
    """Bins merged from the top down until each column of each may be told; what is left at the bottom may not be."""
    bins: list[_Bin] = []
    held = [0] * len(columns)
    places = [0] * len(columns)
    stop = len(edges) - 1
    for first in reversed(range(len(edges) - 1)):
        for number, column in enumerate(columns):
            held[number] += column[first]
            places[number] += column[first]
        if all(marks.is_enough(count) for count in held) and marks.admit(*places):
            bins.append(_Bin(first, stop, tuple(held), told=True))
            held, stop = [0] * len(columns), first
    if stop and bins and not any(held):
        last = bins.pop()
        bins.append(_Bin(0, last.stop, last.held, told=True))
    elif stop:
        bins.append(_Bin(0, stop, tuple(held), told=False))
    return bins[::-1]


def _curve(points: Sequence[Document], terms: Terms, marks: Marks) -> list[schemas.CurvePoint]:
    """The points of a curve at which counts may end, from the highest score down."""
    return [
        schemas.CurvePoint(
            score=_score(point["score"]),
            probability=_share(point["probability"]),
            links=terms.count(point["links"]),
            precision=_share(point["precision"]),
            recall=_share(point["recall"]),
            f1=_share(point["f1"]),
        )
        for point in sorted(points, key=_from_the_top)
        if marks.is_enough(point["links"]) and marks.admit(point["links"])
    ]


def _from_the_top(point: Document) -> tuple[int, float]:
    return point["links"], -point["score"]


def _cut(document: Document | None) -> schemas.Cut | None:
    if document is None:
        return None
    return schemas.Cut(score=_score(document["score"]), probability=_share(document["probability"]))


def _interval(document: Document | None, terms: Terms) -> schemas.Interval | None:
    if document is None:
        return None
    estimate, low, high = (terms.count(document[name]) for name in ("estimate", "low", "high"))
    if estimate is None or low is None or high is None:
        return None
    return schemas.Interval(estimate=estimate, low=low, high=high)


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, _SHARE_DECIMALS)


def _score(value: float) -> float:
    return round(value, _SCORE_DECIMALS)
