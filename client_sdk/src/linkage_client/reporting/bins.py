"""Score histograms as they are drawn: counts in bins of unequal widths cannot be compared by height, densities can.

A matcher cuts its bins where the pairs are, so a bin may be ten times as wide as its neighbour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from linkage_client.models import ScoreHistogram

_EQUAL: Final = 0.02
"""Widths that differ by less than this share count as equal."""
_TOUCHING: Final = 1e-12
"""Bins that overlap by less only touch: their edges were computed in two ways."""
_NICE_WIDTHS: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs with a score of `low` or more and less than `high`; None where suppressed."""

    low: float
    high: float
    pairs: float | None
    expected: float | None

    @property
    def width(self) -> float:
        """In units of the score."""
        return self.high - self.low


def bins_of(histogram: ScoreHistogram) -> list[Bin]:
    """The bins of a histogram, ascending; an inconsistent histogram has none, for it cannot be drawn."""
    edges, pairs, expected = histogram.edges, histogram.pairs, histogram.expected_non_matches
    if len(edges) != len(pairs) + 1:
        return []
    if len(expected) != len(pairs):
        expected = [None] * len(pairs)
    return [
        Bin(low=low, high=high, pairs=observed, expected=null)
        for low, high, observed, null in zip(edges[:-1], edges[1:], pairs, expected, strict=True)
        if high > low
    ]


def equally_wide(bins: Sequence[Bin]) -> bool:
    """Whether heights may show counts."""
    widths = [one.width for one in bins]
    return not widths or max(widths) - min(widths) <= _EQUAL * max(widths)


def rebinned(bins: Sequence[Bin], *, most: int, boundary: float | None) -> list[Bin]:
    """Bins of one round width, at most about `most` of them, one of whose edges is `boundary`.

    Counts are spread evenly over the bin that they come from. A new bin is None where all that it would hold is
    suppressed.
    """
    if not bins or most < 1:
        return []
    low, high = bins[0].low, bins[-1].high
    width = _round_width((high - low) / most)
    start = _start(low, width=width, boundary=boundary)
    number = max(1, math.ceil((high - start) / width - 1e-9))
    edges = [start + width * place for place in range(number + 1)]
    return [_gathered(bins, low=one, high=other) for one, other in pairwise(edges)]


def _start(low: float, *, width: float, boundary: float | None) -> float:
    anchor = 0.0 if boundary is None else boundary
    return anchor + math.floor((low - anchor) / width + 1e-9) * width


def _round_width(least: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(least))
    return next(nice * magnitude for nice in _NICE_WIDTHS if nice * magnitude >= least * (1 - 1e-9))


def _gathered(bins: Sequence[Bin], *, low: float, high: float) -> Bin:
    shares = [
        (one, overlap / one.width) for one in bins if (overlap := min(high, one.high) - max(low, one.low)) > _TOUCHING
    ]
    pairs = [one.pairs * part for one, part in shares if one.pairs is not None]
    expected = [one.expected * part for one, part in shares if one.expected is not None]
    hidden = bool(shares) and not pairs
    return Bin(
        low=low, high=high, pairs=None if hidden else sum(pairs), expected=None if not expected else sum(expected)
    )
