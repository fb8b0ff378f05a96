"""Several rows of one person in one data set: how likely a pair inside it is a match, and which rows make a group.

Groups come from average linkage on log-odds: two groups become one while the mean log-odds of all pairs of rows
between them says that they are one. A chain of likely pairs whose ends do not match is therefore cut, which transitive
closure never does.

Probabilities of pairs inside a data set cannot come from a second data set (`calibration`). Here they come from the
one thing seen without labels: scores of non-matches fall off steeply, scores of duplicates form a rise beyond. Around
the valley between them both flanks are continued smoothly, and the probability is the part of the matches' flank.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linkage_matching.calibration import Calibration, Finding, FindingCode, Interval

# The log-odds of two rows that are no candidate pair: a probability of 0.25 %.
ABSENT_LOG_ODDS = -6.0

_WORD_BITS = 64

_BINS = 100
_LEAST_PAIRS = 200
_FEW_MATCHES = 100
# Nats by which falling, rising and falling again must explain the counts better than falling alone. Files of 5,000 to
# 15,000 people without duplicates came to 8 and 21, which relatives do; 141 duplicates in 15,000 rows came to 34.
_LEAST_GAIN = 25.0
# How far the duplicates must rise above the valley. Relatives in a file of 60,000 people without duplicates rose to
# 2.9 times the valley, half way up the scores; duplicates to 2.9 times (dirty ones) and more, near the top.
_CLEAR_RISE = 3.5
# Within the duplicates (copies that are equal, and others) valleys are far less deep than before them.
_AS_DEEP = 10.0
_LEAST_RISE = 2.0
_NEAR_TOP = 2 / 3
# The non-matches' flank is continued from where it is 30 times as high as the valley: from nearer it is too short to
# show its curve, from farther it is of another shape. The interval of matches comes from 15 to 60.
_DEPTH = 30.0
_DEPTHS = (15.0, 60.0)
_LEAST_FLANK = 6
_RESAMPLES = 40
_TAIL = 0.05


def log_odds(
    probability: NDArray[np.float64], *, least: float = ABSENT_LOG_ODDS, most: float = -ABSENT_LOG_ODDS
) -> NDArray[np.float64]:
    """Natural logarithm of p / (1 - p), within `least` and `most`, so that no single pair decides over a group.

    Arguments:
        probability: each in 0..1.
        least: log-odds below 0.
        most: log-odds above 0.
    """
    with np.errstate(divide="ignore"):
        odds: NDArray[np.float64] = np.log(probability) - np.log1p(-probability)
    return np.clip(odds, least, most)


def cluster(
    row_a: NDArray[np.integer],
    row_b: NDArray[np.integer],
    evidence: NDArray[np.float64],
    *,
    rows: int,
    cut: float = 0.0,
    absent: float = ABSENT_LOG_ODDS,
    apart: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Average linkage of rows: the two groups with the highest mean log-odds are merged while it is at least `cut`.

    The result depends on the set of pairs alone, not on their order; equal means are taken by the first rows of the
    groups. For `m` pairs that may link, directly or through others, it takes `O(m log m)` time and memory in
    proportion to `m`.

    Arguments:
        row_a: first rows of the pairs, each pair once, either way round.
        row_b: second rows of the pairs, each another than the first.
        evidence: the log-odds of each pair, see `log_odds`. Pairs below `cut` speak against a merge, so give them too.
        rows: how many rows there are.
        cut: the least mean log-odds of a merge, above `absent`.
        absent: the log-odds of pairs that are not given; those given count at least that.
        apart: int64[rows]; rows of the same number, 0 or higher, never share a group. -1 for no such number.

    Returns:
        int64[rows], for each row the first row of its group, itself if it is alone.

    Source: the unweighted pair-group method (Sokal and Michener 1958), on a sparse graph.
    """
    if not absent < cut:
        raise ValueError("The cut must lie above the log-odds of absent pairs, or everything would be one group.")
    result = np.arange(rows, dtype=np.int64)
    inside, nodes = _components(row_a, row_b, evidence >= cut, rows=rows)
    if not len(nodes):
        return result
    from linkage_matching import grouping  # noqa: PLC0415 - numba is loaded when it is needed, not by import

    place = np.full(rows, -1, np.int64)
    place[nodes] = np.arange(len(nodes))
    first = grouping.average_linkage(
        place[row_a[inside]],
        place[row_b[inside]],
        np.maximum(evidence[inside] - absent, 0.0),
        one_bit_each(np.full(len(nodes), -1) if apart is None else apart[nodes]),
        cut - absent,
    )
    result[nodes] = nodes[first]
    return result


def _components(
    row_a: NDArray[np.integer], row_b: NDArray[np.integer], links: NDArray[np.bool_], *, rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs inside connected components of linking pairs, and the rows of components of two rows and more.

    All else cannot come into a group, and would cost most of the memory.
    """
    from scipy.sparse import coo_array  # noqa: PLC0415 - only needed here, and import linkage_matching stays cheap
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 - as above

    graph = coo_array((np.ones(int(links.sum()), np.int8), (row_a[links], row_b[links])), shape=(rows, rows))
    _, component = connected_components(graph, directed=False)
    inside = np.flatnonzero(component[row_a] == component[row_b])
    sizes = np.bincount(component, minlength=1)
    return inside, np.flatnonzero(sizes[component] > 1)


def one_bit_each(apart: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Rows of equal numbers, 0 or higher, have a bit of their own set, in `(rows, words)`; those of -1 have none."""
    held = np.zeros((len(apart), 1 + int(apart.max(initial=0)) // _WORD_BITS), np.uint64)
    marked = np.flatnonzero(apart >= 0)
    word, bit = np.divmod(apart[marked], _WORD_BITS)
    held[marked, word] = np.uint64(1) << bit.astype(np.uint64)
    return held


def calibrate_within(scores: NDArray[np.floating], *, rows: int, pairs_examined: int) -> Calibration:
    """The match probability at each score of pairs inside one data set, from the shape of the scores alone.

    It is assumed that around the valley between non-matches and matches both densities are smooth (their logarithms
    at most of second degree, and concave), and that most pairs above it are matches. Relatives that score like
    duplicates (twins, say) cannot be told from them and count as matches. Where no rise beyond the non-matches is
    certain, there are no probabilities: either nobody is there twice, or it cannot be seen.

    Measured on 12 invented files of 1,600 to 65,000 rows with 1 to 90 % of duplicates, and FEBRL 1 to 3, by ranks
    `scoring.CROWDED`: pairwise F1 at p = 0.5 was 0.000 to 0.016 below the best cut (mean 0.004), the expected
    calibration error 0.002 to 0.046. Four of them have clusters of up to ten. By ranks `FAR` two of those four get no
    probabilities. Three files without duplicates, and one with very faulty ones (best F1 0.79), get none either.

    Arguments:
        scores: of all pairs down to a floor, from `scoring.score_within`, in any order.
        rows: how many rows the data set has.
        pairs_examined: how many pairs of rows were compared.

    Returns:
        The calibration. Its `matches` are pairs, of which a person with three rows has three; their interval holds
        the chance of the counts and how far to continue the flanks, not relatives that look like duplicates.
    """
    if len(scores) < _LEAST_PAIRS or pairs_examined < rows:
        return _unusable(_too_small(len(scores)), most=len(scores))
    tail = _Tail.of(np.asarray(scores, np.float64))
    valley = _find_valley(tail)
    if valley is None:
        return _unusable(_no_separation(), most=len(scores))
    levels = _levels(tail.observed, valley, depth=_DEPTH)
    estimate = float(levels @ tail.observed)
    drawn = np.quantile(list(_resampled(tail.observed, valley)), [_TAIL, 1 - _TAIL])
    findings = (_few_matches(),) if estimate < _FEW_MATCHES else ()
    return Calibration(
        usable=True,
        matches=Interval(estimate, min(float(drawn[0]), estimate), max(float(drawn[1]), estimate)),
        edges=np.append(tail.lowest, tail.edges),
        observed=np.append(tail.below, tail.observed),
        expected=np.append(tail.below, tail.observed * (1 - levels)),
        knots=np.append(tail.edges[0], tail.middles),
        levels=np.append(0.0, levels),
        findings=findings,
    )


@dataclass(frozen=True, slots=True)
class _Tail:
    """The upper half of the scores in bins of equal width; `below` is how many there are below them."""

    lowest: float
    below: int
    edges: NDArray[np.float64]
    observed: NDArray[np.float64]

    @classmethod
    def of(cls, scores: NDArray[np.float64]) -> "_Tail":
        lowest, middle, highest = (float(value) for value in np.quantile(scores, [0.0, 0.5, 1.0]))
        # scores that are all equal still need bins of some width
        edges = np.linspace(middle, highest + 1e-9, _BINS + 1)
        observed = np.histogram(scores, edges)[0].astype(np.float64)
        return cls(lowest, len(scores) - int(observed.sum()), edges, observed)

    @property
    def middles(self) -> NDArray[np.float64]:
        return (self.edges[:-1] + self.edges[1:]) / 2


@dataclass(frozen=True, slots=True)
class _Valley:
    """Bins: where the rise begins, and one after where it ends."""

    lowest: int
    top: int


# --- where non-matches end and matches begin -------------------------------------------------------------------------


def _find_valley(tail: _Tail) -> _Valley | None:
    """The last of the deep valleys, as relatives may make a rise of their own before that of the duplicates."""
    valleys = list(_valleys(tail.observed))
    deepest = max((rise for rise, _ in valleys), default=0.0)
    deep = [valley for rise, valley in valleys if rise >= max(_CLEAR_RISE, deepest / _AS_DEEP)]
    if deep:
        return deep[-1]
    near_top = [
        valley for rise, valley in valleys if rise >= _LEAST_RISE and valley.top >= _NEAR_TOP * len(tail.observed)
    ]
    return near_top[-1] if near_top else None


def _valleys(counts: NDArray[np.float64]) -> Iterator[tuple[float, _Valley]]:
    """The certain valleys from the left, and how many times as high as its floor the lower side of each is."""
    start = 0
    while len(counts) - start > _LEAST_FLANK:
        lowest, top, gain = _falling_and_rising(counts[start:])
        if gain < _LEAST_GAIN:
            return
        lowest, top = start + lowest, start + top
        floor = counts[max(lowest - 1, 0) : lowest + 2]
        level = (float(floor.sum()) + 1) / len(floor)
        before, after = counts[start:lowest].max(initial=level), _monotone(counts[lowest:top]).max(initial=1.0)
        yield min(float(before), float(after)) / level, _Valley(lowest, top)
        start = max(top - 1, start + 1)


def _falling_and_rising(counts: NDArray[np.float64]) -> tuple[int, int, float]:
    """Where counts that fall, rise and fall again most likely turn (Poisson), and the gain over falling alone."""
    values = counts.tolist()
    falling = _likelihoods(values)
    falling_after = np.array([_likelihoods(values[start:])[-1] for start in range(len(values) + 1)])
    best = (-math.inf, 0, 0)
    for lowest in range(1, len(values)):
        # rising counts are falling ones of the other sign, so the same pooling serves
        whole = falling[lowest] + _likelihoods(values[lowest:], rising=True) + falling_after[lowest:]
        top = int(whole.argmax())
        best = max(best, (float(whole[top]), lowest, lowest + top))
    gain, lowest, top = best
    return lowest, top, gain - float(falling[-1])


def _likelihoods(counts: Sequence[float], *, rising: bool = False) -> NDArray[np.float64]:
    """The Poisson log-likelihood, but for a constant, of the best monotone means of the first 0, 1, 2 ... counts."""
    return np.array([0.0, *(blocks[-1][2] for blocks in _pooled(counts, sign=-1.0 if rising else 1.0))])


def _monotone(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best rising means of all the counts."""
    blocks: list[tuple[float, int, float]] = []
    for found in _pooled(counts.tolist(), sign=-1.0):
        blocks = found
    return np.repeat([total / length for total, length, _ in blocks], [length for _, length, _ in blocks])


def _pooled(counts: Sequence[float], *, sign: float) -> Iterator[list[tuple[float, int, float]]]:
    """Pool adjacent violators (Ayer et al. 1955), after each count: blocks of total, length and likelihood so far."""
    blocks: list[tuple[float, int, float]] = []
    for count in counts:
        total, length = count, 1
        while blocks and sign * (blocks[-1][0] * length - total * blocks[-1][1]) <= 0:
            earlier = blocks.pop()
            total, length = total + earlier[0], length + earlier[1]
        before = blocks[-1][2] if blocks else 0.0
        blocks.append((total, length, before + (total * math.log(total / length) if total > 0 else 0.0)))
        yield blocks


# --- both flanks continued -------------------------------------------------------------------------------------------


def _levels(counts: NDArray[np.float64], valley: _Valley, *, depth: float) -> NDArray[np.float64]:
    """The match probability of each bin."""
    first = _flank_start(counts, valley, depth=depth)
    last = min(max(valley.top, valley.lowest + _LEAST_FLANK - 1), len(counts))
    place = np.arange(-valley.lowest, len(counts) - valley.lowest, dtype=np.float64) * (4.0 / (last - first))
    non_matches, matches = _flanks(counts[first:last], place[first:last])
    expected, found = _density(place, non_matches), _density(place, matches)
    # beyond the flanks what was counted is surer than either curve
    seen = np.maximum(counts, 0.5)
    levels = found / (expected + found)
    levels[last:] = 1 - np.minimum(expected[last:] / seen[last:], 1.0)
    levels[:first] = np.minimum(found[:first] / np.maximum(seen[:first], found[:first]), levels[first])
    most = 1 - 0.5 / (np.cumsum(counts[::-1])[::-1] + 1)
    return np.maximum.accumulate(np.minimum(levels, most))


def _flank_start(counts: NDArray[np.float64], valley: _Valley, *, depth: float) -> int:
    level = max(float(counts[max(valley.lowest - 1, 0) : valley.lowest + 2].mean()), 1.0)
    before = _monotone(counts[: valley.lowest][::-1])[::-1]
    high = np.flatnonzero(before > depth * level)
    start = int(high[-1]) if len(high) else 0
    return max(0, min(start, valley.lowest - _LEAST_FLANK))


def _flanks(counts: NDArray[np.float64], place: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two log-densities of second degree whose sum explains the counts, by expectation and maximisation."""
    terms = np.stack([np.ones_like(place), place, place**2 / 2], axis=1)
    share = 1 / (1 + np.exp(np.clip(3 * place, -30, 30)))
    start = math.log(max(float(counts.min()), 0.5))
    falling, rising = np.array([start, -2.0, 0.0]), np.array([start, 0.5, 0.0])
    for _ in range(60):
        falling = _regression(terms, share * counts, falling)
        falling[1] = min(falling[1], -0.1)
        rising = _regression(terms, (1 - share) * counts, rising)
        if rising[1] < 0:
            rising = np.array([math.log(max(float(((1 - share) * counts).mean()), 1e-3)), 0.0, 0.0])
        before = share
        expected = _density(place, falling)
        share = expected / (expected + _density(place, rising))
        if np.abs(share - before).max() < 1e-4:  # noqa: PLR2004 - far below what the counts can tell
            break
    return falling, rising


def _density(place: NDArray[np.float64], curve: NDArray[np.float64]) -> NDArray[np.float64]:
    log_density = curve[0] + curve[1] * place + curve[2] * place**2 / 2
    density: NDArray[np.float64] = np.exp(np.clip(log_density, -40, 30))
    return density


def _regression(
    terms: NDArray[np.float64], counts: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Poisson regression whose term of second degree is at most 0, by damped Newton steps."""
    found = _newton(terms, counts, start)
    if found[2] > 0:
        found = np.append(_newton(terms[:, :2], counts, start[:2]), 0.0)
    return found


def _newton(terms: NDArray[np.float64], counts: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    # a slight pull to 0 keeps curves finite where counts are 0
    pull = np.full(terms.shape[1], 1e-3)
    pull[0] = 1e-9

    def loss(curve: NDArray[np.float64]) -> float:
        log_mean = np.clip(terms @ curve, -40, 30)
        return float((np.exp(log_mean) - counts * log_mean).sum() + (pull * curve**2).sum() / 2)

    curve, now = start, loss(start)
    for _ in range(25):
        mean = np.exp(np.clip(terms @ curve, -40, 30))
        step = np.linalg.solve((terms.T * mean) @ terms + np.diag(pull), terms.T @ (mean - counts) + pull * curve)
        length = 1.0
        while length > 1e-4 and loss(curve - length * step) > now:  # noqa: PLR2004 - no step is better
            length /= 2
        curve, before = curve - length * step, now
        now = loss(curve)
        if before - now < 1e-7:  # noqa: PLR2004 - of a likelihood in nats
            break
    return curve


def _resampled(counts: NDArray[np.float64], valley: _Valley) -> Iterator[float]:
    """How many matches other counts, drawn around these, and flanks of other lengths would give."""
    rng = np.random.default_rng(1)
    for depth in np.geomspace(*_DEPTHS, _RESAMPLES):
        drawn = rng.poisson(counts).astype(np.float64)
        yield float(_levels(drawn, valley, depth=depth) @ drawn)


# --- what is said ----------------------------------------------------------------------------------------------------


def _unusable(finding: Finding, *, most: int) -> Calibration:
    empty = np.empty(0)
    return Calibration(
        usable=False,
        matches=Interval(0.0, 0.0, float(most)),
        edges=empty,
        observed=empty,
        expected=empty,
        knots=empty,
        levels=empty,
        findings=(finding,),
    )


def _too_small(pairs: int) -> Finding:
    return Finding(
        FindingCode.TOO_SMALL,
        f"Only {pairs} pairs inside the data set are alike enough to be judged. That is too little to say how likely "
        "two of its rows are the same person. Use a fixed threshold, and check the result by hand.",
        sides=(0,),
    )


def _no_separation() -> Finding:
    return Finding(
        FindingCode.NO_SEPARATION,
        "The scores inside the data set show no duplicates that stand apart from relatives and namesakes. Either "
        "nobody is there twice, or the identifiers are too few or too faulty to tell. No rows were put together. If "
        "the data set has duplicates, add identifiers to the linkage schema.",
        sides=(0,),
    )


def _few_matches() -> Finding:
    return Finding(
        FindingCode.FEW_MATCHES,
        f"Fewer than about {_FEW_MATCHES} pairs of duplicates were found. Their probabilities rest on few cases and "
        "are rough; twins and namesakes may be among them. See the interval, and check a sample.",
        sides=(0,),
    )
