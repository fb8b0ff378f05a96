"""Disclosure control of the overlap summary: small counts are left out, and others from which they could be computed.

Every party knows how many records each provider uploaded, and a provider's counts add up to that. So one suppressed
count of a provider is no secret while its others are shown: it takes a second one (secondary suppression; Hundepool et
al., Statistical Disclosure Control, 2012, on tables with marginal totals).
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

Positions = tuple[int, ...]
ROUNDED_TO = 5
_DETERMINED = 1 - 1e-6


def every_combination(providers: int) -> list[Positions]:
    """All combinations of providers, single ones first: an absent one would say that its count is zero."""
    return [positions for size in range(1, providers + 1) for positions in combinations(range(providers), size)]


def shown_counts(counts: Mapping[Positions, int], *, providers: int, least: int) -> dict[Positions, int | None]:
    """Each combination's count as it may leave: None if left out, else rounded to the nearest 5.

    Args:
        counts: groups that exactly these providers share; for one provider its records without a match.
        providers: how many there are.
        least: counts below this are left out. With 1 nothing is.
    """
    exact = {positions: counts.get(positions, 0) for positions in every_combination(providers)}
    left_out = {positions for positions, count in exact.items() if count < least} if least > 1 else set()
    while exposed := _determined(left_out, providers):
        candidates = [positions for positions in exact if positions not in left_out and set(positions) & exposed]
        if not candidates:
            left_out = set(exact)
            break
        left_out.add(min(candidates, key=lambda positions: (exact[positions], len(positions), positions)))
    return {positions: None if positions in left_out else _rounded(count) for positions, count in exact.items()}


def _determined(left_out: set[Positions], providers: int) -> set[int]:
    """Providers of a left-out count that the known totals and the shown counts determine.

    Each provider's total is one linear equation in the left-out counts. A count is determined when its unit vector lies
    in the row space of the equations, which is where the projection onto it has a one on the diagonal.
    """
    unknowns = sorted(left_out)
    if not unknowns:
        return set()
    equations = np.array([[provider in positions for positions in unknowns] for provider in range(providers)], float)
    projection = np.linalg.pinv(equations) @ equations
    return {
        provider
        for place, positions in enumerate(unknowns)
        if projection[place, place] > _DETERMINED
        for provider in positions
    }


def _rounded(count: int) -> int:
    return ROUNDED_TO * ((count + ROUNDED_TO // 2) // ROUNDED_TO)
