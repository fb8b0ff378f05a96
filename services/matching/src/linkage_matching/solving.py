"""From scored pairs to groups: which rows are one entity. The one module that knows anonlink.

Where no data set holds duplicates, solving is greedy, best pair first. Two data sets need no more than one pass that
takes a pair while both its rows are free, which gives what anonlink's `greedy_solve` gives and is compiled here; three
and more go through anonlink's `probabilistic_greedy_solve`. Where a data set may hold several rows of one entity,
groups come from average linkage (`deduplication`).
"""

import warnings
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from linkage_matching.deduplication import ABSENT_LOG_ODDS, cluster, log_odds
from linkage_matching.errors import MatchingError
from linkage_matching.pairs import CandidatePairs

# Two groups become one when at least this part of the pairs between them are candidates; the best of those tried.
MERGE_THRESHOLD = 0.5

Method: TypeAlias = Literal["greedy", "mutual_best"]
"""How two data sets without duplicates are solved: best pair first, or only pairs that are best for both their rows."""

_TWO = 2
_CERTAIN = 1.0
_EVEN = 0.5
# Without probabilities the score decides in which order groups are merged, but not whether.
_SCORE_WEIGHT = 1e-3


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Pairs of rows of two data sets, or of one with row_a < row_b, in any order, each pair once.

    Attributes:
        row_a, row_b: int32 row numbers.
        score: float64, higher is more alike; what the greedy solvers go by.
        probability: float64 match probabilities in 0..1, or None where there are none.
    """

    row_a: NDArray[np.int32]
    row_b: NDArray[np.int32]
    score: NDArray[np.float64]
    probability: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows decided to be one entity, at most one row of each data set in a group unless it may hold duplicates.

    Groups are numbered in the order of their first members, by data set and then by row.

    Attributes:
        membership: for each data set an int64 array, the group of each row or -1.
        count: how many groups there are.
        similarity: float64, for each group the lowest similarity of a pair in it; from `solve` only.
        pairs: how many candidate pairs the decision rests on.
        lowest, mean: float64, for each group the lowest and the mean match probability of all its pairs of rows; nan
            without probabilities. A pair that is no candidate counts as `deduplication.ABSENT_LOG_ODDS`.
    """

    membership: list[NDArray[np.int64]]
    count: int
    similarity: NDArray[np.float64]
    pairs: int
    lowest: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    mean: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, slots=True)
class _AllPairs:
    """Candidate pairs of all pairs of data sets, best first."""

    similarity: NDArray[np.float64]
    set_a: NDArray[np.int64]
    set_b: NDArray[np.int64]
    row_a: NDArray[np.int64]
    row_b: NDArray[np.int64]


def best_first(
    row_a: NDArray[np.integer], row_b: NDArray[np.integer], score: NDArray[np.floating]
) -> NDArray[np.int64]:
    """The order in which greedy solving takes pairs: descending score, then the sum of the rows, the lower row, row_a.

    Turning the two data sets round changes the order only of pairs (i, j) and (j, i) with equal scores.

    Returns:
        int64, the places of the pairs, best first.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    tied = np.zeros(len(order), np.bool_)
    tied[1:] = ranked[1:] == ranked[:-1]
    tied[:-1] |= tied[1:]
    places = np.flatnonzero(tied)
    among = order[places]
    first, second = row_a[among].astype(np.int64), row_b[among].astype(np.int64)
    order[places] = among[np.lexsort((first, np.minimum(first, second), first + second, -score[among]))]
    return order


def one_to_one(
    row_a: NDArray[np.integer], row_b: NDArray[np.integer], *, rows_a: int, rows_b: int
) -> NDArray[np.bool_]:
    """Which pairs greedy solving takes: in the order given, each whose rows are both still free.

    Arguments:
        row_a: rows in the first data set, best pair first, see `best_first`.
        row_b: rows in the second.
        rows_a: how many rows the first data set has.
        rows_b: how many the second.
    """
    from linkage_matching import grouping  # noqa: PLC0415 - numba is loaded when it is needed, not by import

    taken = np.zeros(len(row_a), np.bool_)
    grouping.take_free(
        np.ascontiguousarray(row_a, np.int32),
        np.ascontiguousarray(row_b, np.int32),
        np.zeros(rows_a, np.bool_),
        np.zeros(rows_b, np.bool_),
        taken,
    )
    return taken


def mutual_best(
    row_a: NDArray[np.integer],
    row_b: NDArray[np.integer],
    score: NDArray[np.floating],
    *,
    rows_a: int,
    rows_b: int,
) -> NDArray[np.bool_]:
    """Which pairs have a higher score than every other pair of either of their rows. A row with two best has none.

    Arguments:
        row_a: rows in the first data set, in any order.
        row_b: rows in the second.
        score: higher is better.
        rows_a: how many rows the first data set has.
        rows_b: how many the second.
    """
    return _sole_best(row_a, score, rows=rows_a) & _sole_best(row_b, score, rows=rows_b)


def _sole_best(row: NDArray[np.integer], score: NDArray[np.floating], *, rows: int) -> NDArray[np.bool_]:
    best = np.full(rows, -np.inf, score.dtype)
    np.maximum.at(best, row, score)
    is_best: NDArray[np.bool_] = score == best[row]
    alone: NDArray[np.bool_] = np.bincount(row[is_best], minlength=rows)[row] == 1
    return is_best & alone


def solve_groups(
    scored: Mapping[tuple[int, int], ScoredPairs],
    *,
    sizes: Sequence[int],
    may_hold_duplicates: Sequence[bool] | None = None,
    method: Method = "greedy",
    cut: float | None = None,
) -> Groups:
    """Decide groups from the scored pairs of every two data sets.

    - Two data sets without duplicates: one to one, greedily by descending score, or mutual best.
    - More without duplicates: anonlink's `probabilistic_greedy_solve` by descending score, at most one row of each
      data set in a group; two groups become one when at least half of the pairs between them may link. It takes some
      4 s and 200 MB for a million pairs that may link.
    - As soon as one data set may hold duplicates: average linkage on the log-odds of the probabilities, with the pairs
      inside such data sets; rows of a data set without duplicates still never share a group. Without probabilities,
      two groups become one when at least half of the pairs between them are given.

    Equal scores are taken in the order of data sets and rows (see `best_first`), so that equal input
    gives equal groups.

    Arguments:
        scored: for data sets (x, y), x < y, their pairs; for x that may hold duplicates, at (x, x) its own. A missing
            key has no pairs.
        sizes: how many rows each data set has.
        may_hold_duplicates: for each data set; by default none does.
        method: "mutual_best" lets only pairs that are best for both their rows link; not where there are duplicates.
        cut: the least probability of a pair that links, and the least average of a merge by average linkage (by
            default 0.5). Pairs below it still count for the probabilities of the groups, and against merges.

    Raises:
        MatchingError: no data set, pairs of a data set that is not there or holds no duplicates, mutual best with
            duplicates, a cut without probabilities, or probabilities for some data sets only.
    """
    holds = tuple(may_hold_duplicates) if may_hold_duplicates is not None else (False,) * len(sizes)
    _check(scored, sizes=sizes, holds=holds, method=method, cut=cut)
    pairs = _Scored.of(scored, sizes)
    if any(holds):
        members = _average(pairs, sizes, holds=holds, cut=cut)
    else:
        linking = {key: _linking(part, sizes=sizes, key=key, method=method, cut=cut) for key, part in scored.items()}
        members = _two_scored(linking, sizes) if len(sizes) <= _TWO else _many(_in_order(linking), sizes)
    membership, count = _numbered(members)
    lowest, mean = _group_probabilities(pairs, membership, count)
    return Groups(
        membership=membership,
        count=count,
        similarity=np.full(count, np.nan),
        pairs=len(pairs.first),
        lowest=lowest,
        mean=mean,
    )


@dataclass(frozen=True, slots=True)
class _Scored:
    """Pairs of all data sets, rows numbered through."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    score: NDArray[np.float64]
    probability: NDArray[np.float64] | None

    @classmethod
    def of(cls, scored: Mapping[tuple[int, int], ScoredPairs], sizes: Sequence[int]) -> "_Scored":
        offsets = np.cumsum([0, *sizes])
        parts = [(offsets[x], offsets[y], scored[x, y]) for x, y in sorted(scored)]
        probabilities = [part.probability for _, _, part in parts if part.probability is not None]
        return cls(
            _joined([part.row_a + offset for offset, _, part in parts], np.int64),
            _joined([part.row_b + offset for _, offset, part in parts], np.int64),
            _joined([part.score for _, _, part in parts], np.float64),
            _joined(probabilities, np.float64) if probabilities else None,
        )


def _check(
    scored: Mapping[tuple[int, int], ScoredPairs],
    *,
    sizes: Sequence[int],
    holds: Sequence[bool],
    method: Method,
    cut: float | None,
) -> None:
    if not sizes or len(sizes) != len(holds):
        raise MatchingError("Solving needs at least one data set, and for each whether it may hold duplicates.")
    if any(not 0 <= x <= y < len(sizes) for x, y in scored):
        raise MatchingError("Scored pairs must name data sets that are there, the one with the lower number first.")
    if any(x == y and not holds[x] for x, y in scored):
        raise MatchingError(
            "Pairs inside a data set were given, but the data set is said to hold no duplicates. "
            "Say that it may hold duplicates, or leave its own pairs out."
        )
    if method == "mutual_best" and any(holds):
        raise MatchingError(
            "Mutual best links one row to one row, and a data set may hold duplicates. Use the greedy method."
        )
    with_probability = {part.probability is not None for part in scored.values() if len(part)}
    if len(with_probability) > 1:
        raise MatchingError("Some scored pairs have probabilities and some have none. Calibrate all or none.")
    if cut is not None and False in with_probability:
        raise MatchingError("A cut is a probability, and the scored pairs have none. Leave out pairs below the cut.")


def _linking(
    part: ScoredPairs, *, sizes: Sequence[int], key: tuple[int, int], method: Method, cut: float | None
) -> CandidatePairs:
    """The pairs that may link, best first."""
    if cut is not None and part.probability is not None:
        enough = part.probability >= cut
        part = ScoredPairs(part.row_a[enough], part.row_b[enough], part.score[enough])
    if method == "mutual_best":
        best = mutual_best(part.row_a, part.row_b, part.score, rows_a=sizes[key[0]], rows_b=sizes[key[1]])
        part = ScoredPairs(part.row_a[best], part.row_b[best], part.score[best])
    order = best_first(part.row_a, part.row_b, part.score)
    return CandidatePairs(
        part.row_a[order].astype(np.int64), part.row_b[order].astype(np.int64), part.score[order].astype(np.float64)
    )


def _two_scored(linking: Mapping[tuple[int, int], CandidatePairs], sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    members = [np.full(size, -1, np.int64) for size in sizes]
    for (x, y), pairs in linking.items():
        taken = one_to_one(pairs.row_a, pairs.row_b, rows_a=sizes[x], rows_b=sizes[y])
        # the row of the first data set names the group
        members[x][pairs.row_a[taken]] = pairs.row_a[taken]
        members[y][pairs.row_b[taken]] = pairs.row_a[taken]
    return members


def _average(
    pairs: _Scored, sizes: Sequence[int], *, holds: Sequence[bool], cut: float | None
) -> list[NDArray[np.int64]]:
    rows = sum(sizes)
    clean = [number if not duplicates else -1 for number, duplicates in enumerate(holds)]
    if pairs.probability is None:
        evidence, absent, least = _unsigned_evidence(pairs.score), -1.0, 0.0
    else:
        evidence, absent = log_odds(pairs.probability), ABSENT_LOG_ODDS
        least = float(log_odds(np.array([_EVEN if cut is None else cut]))[0])
    first = cluster(
        pairs.first,
        pairs.second,
        evidence,
        rows=rows,
        cut=max(least, absent / 2),
        absent=absent,
        apart=np.repeat(np.array(clean, np.int64), sizes),
    )
    grouped = np.bincount(first, minlength=rows)[first] > 1
    return np.split(np.where(grouped, first, -1), np.cumsum(sizes)[:-1])


def _unsigned_evidence(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for every pair that is there, and a little more for better ones; the absent count -1, so that half decides."""
    if not len(score):
        return score
    spread = max(float(np.ptp(score)), np.finfo(np.float64).tiny)
    evidence: NDArray[np.float64] = _CERTAIN + _SCORE_WEIGHT * (score - score.min()) / spread
    return evidence


def _group_probabilities(
    pairs: _Scored, membership: list[NDArray[np.int64]], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if pairs.probability is None:
        return np.full(count, np.nan), np.full(count, np.nan)
    group = _joined(membership, np.int64)
    group_a = group[pairs.first]
    inside = (group_a >= 0) & (group_a == group[pairs.second])
    probability, of_group = pairs.probability[inside], group_a[inside]
    members = np.bincount(group[group >= 0], minlength=count)
    every = members * (members - 1) / 2
    absent = every - np.bincount(of_group, minlength=count)
    no_candidate = 1 / (1 + np.exp(-ABSENT_LOG_ODDS))
    lowest = np.where(absent > 0, no_candidate, np.inf)
    np.minimum.at(lowest, of_group, probability)
    total = np.bincount(of_group, weights=probability, minlength=count) + absent * no_candidate
    return lowest, total / every


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
