"""Reports of runs as a service sends them: two humps, the non-matches of a within-file null, and a cut between them."""

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import NormalDist
from typing import Any

from linkage_client.models import RunReport

_EDGES = [round(-0.2 + 0.025 * place, 3) for place in range(37)]
_STRANGERS = NormalDist(0.02, 0.06)
_MATCHES = NormalDist(0.45, 0.09)


def rounded(value: float, *, least: int) -> int | None:
    return None if value < least else 5 * round(value / 5)


def comparison(
    organisations: Sequence[str] = ("org_own", "org_other"),
    *,
    matches: float = 2_500,
    strangers: float = 2_300,
    least: int = 10,
    edges: Sequence[float] = _EDGES,
    cut: float | None = 0.17,
) -> dict[str, Any]:
    """One comparison; without a cut there are neither probabilities nor links."""

    def between(shape: NormalDist, size: float, low: float, high: float) -> float:
        return size * (shape.cdf(high) - shape.cdf(low))

    true = [between(_MATCHES, matches, low, high) for low, high in pairwise(edges)]
    null = [between(_STRANGERS, strangers, low, high) for low, high in pairwise(edges)]
    curve = [_point(score, matches=matches, strangers=strangers, least=least) for score in edges[1:-1]]
    chosen = None if cut is None else _point(cut, matches=matches, strangers=strangers, least=least)
    return {
        "organisations": list(organisations),
        "floor": 0.553,
        "density_ranks": [2, 5],
        "histogram": {
            "edges": list(edges),
            "pairs": [rounded(one + other, least=least) for one, other in zip(true, null, strict=True)],
            "expected_non_matches": [rounded(one, least=least) for one in null],
        },
        "curve": curve if cut is not None else [],
        "cut": None if chosen is None else {"score": cut, "probability": chosen["probability"]},
        "links": 0 if chosen is None else chosen["links"],
        "matches": None if cut is None else _interval(matches, least=least),
    }


def _point(score: float, *, matches: float, strangers: float, least: int) -> dict[str, Any]:
    right, wrong = matches * (1 - _MATCHES.cdf(score)), strangers * (1 - _STRANGERS.cdf(score))
    density = matches * _MATCHES.pdf(score)
    links = right + wrong
    return {
        "score": score,
        "probability": density / (density + strangers * _STRANGERS.pdf(score)),
        "links": rounded(links, least=least),
        "precision": right / links if links else None,
        "recall": right / matches if matches else None,
        "f1": 2 * right / (links + matches) if links + matches else None,
    }


def _interval(matches: float, *, least: int) -> dict[str, Any] | None:
    if matches < least:
        return None
    margin = 1.645 * math.sqrt(matches)
    bounds = {"estimate": matches, "low": matches - margin, "high": matches + margin}
    return {name: 5 * round(value / 5) for name, value in bounds.items()}


def report(
    organisations: Sequence[str] = ("org_own", "org_other"),
    *,
    matches: float = 2_500,
    strangers: float = 2_300,
    least: int = 10,
    cut: float | None = 0.17,
    **members: Any,
) -> dict[str, Any]:
    """The report of a run on these organisations; `matches` shrink from pair to pair."""
    pairs = list(combinations(organisations, 2))
    comparisons = [
        comparison(pair, matches=matches * 0.8**place, strangers=strangers, least=least, cut=cut)
        for place, pair in enumerate(pairs)
    ]
    points = [
        _point(cut or 0, matches=matches * 0.8**place, strangers=strangers, least=1) for place in range(len(pairs))
    ]
    links = sum(point["links"] or 0 for point in points) if cut is not None else 0
    known = cut is not None and links > 0
    return {
        "run": "run_1",
        "aim": {"kind": "best_f1", "value": None},
        "similarity": "dice",
        "calibrated": cut is not None,
        "findings": [],
        "comparisons": comparisons,
        "result": {
            "groups": links if links < least <= 1 or links == 0 else rounded(links, least=least),
            "links": links if links == 0 else rounded(links, least=least),
            "precision": points[0]["precision"] if known else None,
            "recall": points[0]["recall"] if known else None,
            "f1": points[0]["f1"] if known else None,
            "matches": _interval(sum(matches * 0.8**place for place in range(len(pairs))), least=least)
            if known
            else None,
        },
        "group_probabilities": {
            "edges": [round(0.1 * place, 1) for place in range(11)],
            "lowest": [None, None, None, None, 10, 10, 15, 20, 45, rounded(max(links - 100, 0), least=least)],
            "mean": [None, None, None, None, None, 10, 10, 20, 45, rounded(max(links - 85, 0), least=least)],
        }
        if known
        else None,
        "patterns": _patterns(organisations, links=links, least=least),
        "blocking": None,
        "pairs_compared": 74_995_000,
        "rounded_to": 5,
        "suppressed_below": least,
        **members,
    }


def _patterns(organisations: Sequence[str], *, links: float, least: int) -> list[dict[str, Any]]:
    return [
        {
            "organisations": list(held),
            "groups": rounded((5_000 - links if size == 1 else links / 2.2 ** (size - 2) / 3**place), least=least),
        }
        for size in range(1, len(organisations) + 1)
        for place, held in enumerate(combinations(organisations, size))
    ]


def parsed(document: dict[str, Any]) -> RunReport:
    return RunReport.model_validate(document)
