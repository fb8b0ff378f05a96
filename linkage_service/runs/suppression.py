"""Disclosure control of what a run tells: small counts are left out, and others from which they could be computed.

**Summary.** Every party knows how many records each provider uploaded, and a provider's counts add up to that. So one
suppressed count of a provider is no secret while its others are shown: it takes a second one (secondary suppression;
Hundepool et al., Statistical Disclosure Control, 2012, on tables with marginal totals).

**Report.** How many links a comparison has is the sum of the summary's counts of all combinations with both providers:
one more equation. It is told only if it determines no count that is left out, and leaves no small sum of them behind
(`told_pairs`). Otherwise everything that was computed from the comparison's pairs is left out with it: estimates,
curve, cut, histogram, and findings that tell none from few. Where it is told, every count of the report (bins of the
histogram, links of the curve, groups by probability, the links made) is a stretch of one list of pairs by score, so any
two places at which published counts end give a third count by subtraction. Bins are therefore merged, and points of the
curve dropped, until no two such places lie closer together than the minimum (`Marks`).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np

Positions = tuple[int, ...]
ROUNDED_TO = 5
_DETERMINED = 1 - 1e-6
# Equations that depend on each other leave eigenvalues of about 1e-15 of the largest in place of zero.
_NO_DIRECTION = 1e-10


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
    return {positions: None if positions in left_out else rounded(count) for positions, count in exact.items()}


def told_pairs(
    counts: Mapping[Positions, int], shown: Mapping[Positions, int | None], *, providers: int, least: int
) -> set[Positions]:
    """Pairs of providers whose count of links may be told beside the summary, all of them together.

    Args:
        counts: as for `shown_counts`.
        shown: what it gave.
        providers: how many there are.
        least: the minimum.
    """
    exact = {positions: counts.get(positions, 0) for positions in shown}
    left_out = {positions for positions, count in shown.items() if count is None}
    told: set[Positions] = set()
    for x, y in combinations(range(providers), 2):
        both = {positions for positions in exact if {x, y} <= set(positions)}
        enough = least <= 1 or sum(exact[positions] for positions in both) >= least
        # What the links, and either provider's records without such a link, say of the counts that are left out.
        remainders = [left_out & both, *({c for c in left_out - both if one in c} for one in (x, y))]
        small = any(sum(exact[positions] for positions in rest) < least for rest in remainders if rest)
        if enough and not small and not _determined(left_out, providers, pairs=told | {(x, y)}):
            told.add((x, y))
    return told


class Marks:
    """Places in a list, counted from its top, at which published counts end.

    Any two of them give the count of what lies between by subtraction, so none may lie closer to another than the
    minimum; on the same place it tells nothing new.
    """

    def __init__(self, *, least: int, places: Sequence[int] = ()) -> None:
        """Starts with the top of the list and places that are known anyway."""
        self._least = least
        self._places = {0, *places}

    def is_enough(self, count: int) -> bool:
        """Whether a count may be told."""
        return count >= self._least or self._least <= 1

    def admit(self, *places: int) -> bool:
        """Adds places if all of them may be published together; otherwise none."""
        together = self._places.union(places)
        fits = all(one == other or self.is_enough(abs(one - other)) for one in places for other in together)
        if fits:
            self._places = together
        return fits


def rounded(count: float) -> int:
    """A count to the nearest 5."""
    return int(ROUNDED_TO * ((count + ROUNDED_TO / 2) // ROUNDED_TO))


def _determined(left_out: set[Positions], providers: int, *, pairs: Iterable[Positions] = ()) -> frozenset[int]:
    """Providers of a left-out count that the known totals, the shown counts and the links of pairs determine.

    Each of them is one linear equation in the left-out counts. A count is determined when its unit vector lies
    in the row space of the equations, which is where the projection onto it has a one on the diagonal.
    """
    return _determined_by(tuple(sorted(left_out)), providers, tuple(sorted(pairs)))


@lru_cache(64)  # whoever waits for a run asks for the same again and again
def _determined_by(unknowns: tuple[Positions, ...], providers: int, pairs: tuple[Positions, ...]) -> frozenset[int]:
    if not unknowns:
        return frozenset()
    holders = np.array([[provider in positions for provider in range(providers)] for positions in unknowns])
    summed = [*((provider,) for provider in range(providers)), *pairs]
    equations = np.array([holders[:, held].all(axis=1) for held in summed], float)
    # The diagonal of the projection, by way of the few equations in place of the many unknowns.
    inverse = np.linalg.pinv(equations @ equations.T, rcond=_NO_DIRECTION, hermitian=True)
    within = (equations * (inverse @ equations)).sum(axis=0)
    return frozenset(
        provider for place, positions in enumerate(unknowns) if within[place] > _DETERMINED for provider in positions
    )
