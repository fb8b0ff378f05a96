"""From candidate pairs to groups: which rows of different data sets are one entity. The one module that knows anonlink.

Both solvers are greedy, best pair first. Two data sets need no more than one pass that takes a pair while both its
rows are free, which gives what anonlink's `greedy_solve` gives and is compiled here; three and more go through
anonlink's `probabilistic_greedy_solve`.
"""

import warnings
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linkage_matching.errors import MatchingError
from linkage_matching.pairs import CandidatePairs

# Two groups become one when at least this part of the pairs between them are candidates; the best of those tried.
MERGE_THRESHOLD = 0.5

_TWO = 2


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows of several data sets decided to be one entity, at most one row of each data set in a group.

    Groups are numbered in the order of their first members, by data set and then by row.

    Attributes:
        membership: for each data set an int64 array, the group of each row or -1.
        count: how many groups there are.
        similarity: float64, for each group the lowest similarity of a pair in it.
        pairs: how many candidate pairs the decision rests on.
    """

    membership: list[NDArray[np.int64]]
    count: int
    similarity: NDArray[np.float64]
    pairs: int


@dataclass(frozen=True, slots=True)
class _AllPairs:
    """Candidate pairs of all pairs of data sets, best first."""

    similarity: NDArray[np.float64]
    set_a: NDArray[np.int64]
    set_b: NDArray[np.int64]
    row_a: NDArray[np.int64]
    row_b: NDArray[np.int64]


def solve(candidates: Mapping[tuple[int, int], CandidatePairs], *, sizes: Sequence[int]) -> Groups:
    """Decide groups from the candidate pairs of every pair of data sets.

    Equal similarities are taken in the order of data sets and rows, so that equal input gives equal groups.

    Arguments:
        candidates: for data sets (i, j), i < j, their candidate pairs in order; a missing pair has none.
        sizes: how many rows each data set has.

    Raises:
        MatchingError: fewer than two data sets, or candidate pairs of a data set that is not there.
    """
    if len(sizes) < _TWO:
        raise MatchingError(f"Linking needs at least two data sets; {len(sizes)} were given.")
    if any(not 0 <= first < second < len(sizes) for first, second in candidates):
        raise MatchingError("Candidate pairs must name two of the data sets, the one with the lower number first.")
    ordered = _in_order(candidates)
    members = _two(ordered, sizes) if len(sizes) == _TWO else _many(ordered, sizes)
    membership, count = _numbered(members)
    return Groups(
        membership=membership,
        count=count,
        similarity=_lowest_candidate(ordered, membership, count),
        pairs=len(ordered.similarity),
    )


def _in_order(candidates: Mapping[tuple[int, int], CandidatePairs]) -> _AllPairs:
    keys = sorted(candidates)
    found = [candidates[key] for key in keys]
    if len(found) == 1:
        ((set_a, set_b),) = keys
        (pairs,) = found
        # one column of equal numbers costs no memory
        first, second = (np.broadcast_to(np.int64(number), len(pairs)) for number in (set_a, set_b))
        return _AllPairs(pairs.similarity, first, second, pairs.row_a, pairs.row_b)
    lengths = [len(pairs) for pairs in found]
    similarity = _joined([pairs.similarity for pairs in found], np.float64)
    # stable: within equal similarities the order of data sets, and within those that of rows, stays
    order = np.argsort(-similarity, kind="stable")
    return _AllPairs(
        similarity[order],
        np.repeat(np.array([key[0] for key in keys], np.int64), lengths)[order],
        np.repeat(np.array([key[1] for key in keys], np.int64), lengths)[order],
        _joined([pairs.row_a for pairs in found], np.int64)[order],
        _joined([pairs.row_b for pairs in found], np.int64)[order],
    )


def _joined(parts: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _two(pairs: _AllPairs, sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    """For each row the number of any group, or -1."""
    from linkage_matching import kernel  # noqa: PLC0415 - numba is loaded when it is needed, not by import

    partners = [np.full(size, -1, np.int64) for size in sizes]
    kernel.one_to_one(pairs.row_a, pairs.row_b, *partners)
    # the row of the first data set names the group
    return [np.where(partners[0] >= 0, np.arange(sizes[0]), -1), partners[1]]


def _many(pairs: _AllPairs, sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    with warnings.catch_warnings():
        # anonlink 0.15.3 asks pkg_resources for its version, which warns that it is deprecated
        warnings.simplefilter("ignore")
        from anonlink.solving import probabilistic_greedy_solve  # noqa: PLC0415 - importing it takes half a second

    groups = probabilistic_greedy_solve(
        (
            _as_array("d", pairs.similarity),
            (_as_array("I", pairs.set_a), _as_array("I", pairs.set_b)),
            (_as_array("I", pairs.row_a), _as_array("I", pairs.row_b)),
        ),
        merge_threshold=MERGE_THRESHOLD,
        deduplicated=True,
    )
    members = [np.full(size, -1, np.int64) for size in sizes]
    for number, group in enumerate(groups):
        for data_set, row in group:
            members[data_set][row] = number
    return members


def _numbered(members: list[NDArray[np.int64]]) -> tuple[list[NDArray[np.int64]], int]:
    """The same groups, numbered in the order of their first members."""
    used, first, group = np.unique(np.concatenate(members), return_index=True, return_inverse=True)
    in_group = used >= 0
    number = np.full(len(used), -1, np.int64)
    number[in_group] = np.argsort(np.argsort(first[in_group]))
    ends = np.cumsum([len(part) for part in members])[:-1]
    return np.split(number[group], ends), int(in_group.sum())


def _lowest_candidate(pairs: _AllPairs, membership: list[NDArray[np.int64]], count: int) -> NDArray[np.float64]:
    offsets = np.cumsum([0, *(len(part) for part in membership)])
    group_of = np.concatenate(membership)
    group_a = group_of[offsets[pairs.set_a] + pairs.row_a]
    inside = (group_a >= 0) & (group_a == group_of[offsets[pairs.set_b] + pairs.row_b])
    lowest = np.full(count, np.inf)
    np.minimum.at(lowest, group_a[inside], pairs.similarity[inside])
    return lowest


def _as_array(typecode: str, values: NDArray[Any]) -> "array[Any]":
    result: array[Any] = array(typecode)
    result.frombytes(np.ascontiguousarray(values, np.dtype(typecode)).view(np.uint8).data)
    return result
