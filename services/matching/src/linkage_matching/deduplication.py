"""From pairs with match probabilities to groups of any size, where a data set may hold several rows of one person.

Average linkage on log-odds: two groups become one while the mean log-odds of all pairs of rows between them says that
they are one. A chain of likely pairs whose ends do not match is therefore cut, which transitive closure never does.
"""

import numpy as np
from numpy.typing import NDArray

# The log-odds of two rows that are no candidate pair: a probability of 0.25 %.
ABSENT_LOG_ODDS = -6.0

_WORD_BITS = 64


def log_odds(probability: NDArray[np.float64], *, least: float = ABSENT_LOG_ODDS) -> NDArray[np.float64]:
    """Natural logarithm of p / (1 - p), within `least` and `-least`, so that no single pair decides over a group.

    Arguments:
        probability: each in 0..1.
        least: log-odds below 0.
    """
    with np.errstate(divide="ignore"):
        odds: NDArray[np.float64] = np.log(probability) - np.log1p(-probability)
    return np.clip(odds, least, -least)


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
        _held(None if apart is None else apart[nodes], len(nodes)),
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


def _held(apart: NDArray[np.int64] | None, nodes: int) -> NDArray[np.uint64]:
    """One bit for each number of rows that must stay apart."""
    if apart is None:
        return np.zeros((nodes, 1), np.uint64)
    held = np.zeros((nodes, 1 + int(apart.max(initial=0)) // _WORD_BITS), np.uint64)
    marked = np.flatnonzero(apart >= 0)
    word, bit = np.divmod(apart[marked], _WORD_BITS)
    held[marked, word] = np.uint64(1) << bit.astype(np.uint64)
    return held
