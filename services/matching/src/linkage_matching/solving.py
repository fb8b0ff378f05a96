"""From scored pairs to groups: which rows are one entity.

Where no data set holds duplicates, solving is greedy, best pair first. Two data sets need no more than one pass that
takes a pair while both its rows are free; three and more go by the rule of anonlink's `probabilistic_greedy_solve`,
compiled here and held to anonlink's by the tests. Where a data set may hold several rows of one entity, groups come
from average linkage (`deduplication`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from linkage_matching.deduplication import ABSENT_LOG_ODDS, cluster, log_odds, one_bit_each
from linkage_matching.errors import MatchingError

# Two groups become one when at least this part of the pairs between them may link; the best of those tried.
MERGE_THRESHOLD = 0.5

Method: TypeAlias = Literal["greedy", "mutual_best"]
"""How two data sets without duplicates are solved: best pair first, or only pairs that are best for both their rows."""

_TWO = 2
_CERTAIN = 1.0
_EVEN = 0.5
_ROUNDING = 1e-9
_HALF_WORD = 1 << 32
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
        pairs: how many scored pairs the decision rests on.
        lowest, mean: float64, for each group the lowest and the mean match probability of all its pairs of rows; nan
            without probabilities. A pair that is no candidate counts as `deduplication.ABSENT_LOG_ODDS`.
    """

    membership: list[NDArray[np.int64]]
    count: int
    pairs: int
    lowest: NDArray[np.float64]
    mean: NDArray[np.float64]


def best_first(
    row_a: NDArray[np.integer], row_b: NDArray[np.integer], score: NDArray[np.floating]
) -> NDArray[np.int64]:
    """The order in which greedy solving takes pairs: descending score, then the sum of the rows, the lower row, row_a.

    Turning the two data sets round changes the order only of pairs (i, j) and (j, i) with equal scores.

    Returns:
        int64, the places of the pairs, best first.
    """
    if not len(score):
        return np.empty(0, np.int64)
    rows = np.add(row_a, row_b, dtype=np.uint64, casting="unsafe")
    narrow = score.astype(np.float32)
    if rows.max() < _HALF_WORD and np.array_equal(narrow, score):
        # one whole number that sorts as score and sum do: a tenth of the time of sorting by several columns
        # (and in place: some ten million pairs make this the most memory of a run)
        keys = _descending(narrow).astype(np.uint64)
        keys <<= np.uint64(32)
        keys |= rows
        del rows, narrow
        order = np.argsort(keys)
        keys = keys[order]
        equal = keys[1:] == keys[:-1]
        del keys
    else:
        order = np.lexsort((rows, -score))
        equal = (score[order][1:] == score[order][:-1]) & (rows[order][1:] == rows[order][:-1])
    tied = np.zeros(len(order), np.bool_)
    tied[1:] = equal
    tied[:-1] |= equal
    places = np.flatnonzero(tied)
    among = order[places]
    first, second = row_a[among].astype(np.int64), row_b[among].astype(np.int64)
    order[places] = among[np.lexsort((first, np.minimum(first, second), first + second, -score[among]))]
    return order


def _descending(score: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Whole numbers that ascend as the scores descend: the bits of a float sort as itself, negative ones reversed."""
    bits = (score + np.float32(0)).view(np.uint32)  # -0 and 0 are one score
    sign = np.uint32(0x80000000)
    return np.where(bits & sign, bits, ~(bits | sign))


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
    - More without duplicates: the rule of anonlink's `probabilistic_greedy_solve` by descending score, at most one row
      of each data set in a group; two groups become one when at least half of the pairs between them may link.
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
            default 0.5). Pairs below it still count for the probabilities of the groups, and against merges. At 0
            every pair may link, and groups are merged as without probabilities.

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
        members = _greedy(
            {key: _linking(part, sizes=sizes, key=key, method=method, cut=cut) for key, part in scored.items()}, sizes
        )
    membership, count = _numbered(members)
    lowest, mean = _group_probabilities(pairs, membership, count)
    return Groups(
        membership=membership,
        count=count,
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
    check_method(method, holds)
    with_probability = {part.probability is not None for part in scored.values() if len(part)}
    if len(with_probability) > 1:
        raise MatchingError("Some scored pairs have probabilities and some have none. Calibrate all or none.")
    if cut is not None and False in with_probability:
        raise MatchingError("A cut is a probability, and the scored pairs have none. Leave out pairs below the cut.")


def check_method(method: Method, holds: Sequence[bool]) -> None:
    """Raise MatchingError unless data sets that may hold duplicates, or none, can be solved by the method."""
    if method not in get_args(Method):
        raise MatchingError(f"There is no way of solving called {method!r}. Use one of {', '.join(get_args(Method))}.")
    if method == "mutual_best" and any(holds):
        raise MatchingError(
            "Mutual best links one row to one row, and a data set may hold duplicates. Use the greedy method."
        )


def _linking(
    part: ScoredPairs, *, sizes: Sequence[int], key: tuple[int, int], method: Method, cut: float | None
) -> ScoredPairs:
    """The pairs that may link, best first."""
    if cut is not None and part.probability is not None:
        part = _chosen(part, part.probability >= cut)
    if method == "mutual_best":
        part = _chosen(
            part, mutual_best(part.row_a, part.row_b, part.score, rows_a=sizes[key[0]], rows_b=sizes[key[1]])
        )
    return _chosen(part, best_first(part.row_a, part.row_b, part.score))


def _chosen(part: ScoredPairs, places: NDArray[Any]) -> ScoredPairs:
    return ScoredPairs(part.row_a[places], part.row_b[places], part.score[places])


def _greedy(linking: Mapping[tuple[int, int], ScoredPairs], sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    """For each row the number of any group, or -1."""
    return _one_to_one(linking, sizes) if len(sizes) <= _TWO else _probabilistic_greedy(linking, sizes)


def _one_to_one(linking: Mapping[tuple[int, int], ScoredPairs], sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    members = [np.full(size, -1, np.int64) for size in sizes]
    for (x, y), pairs in linking.items():
        taken = one_to_one(pairs.row_a, pairs.row_b, rows_a=sizes[x], rows_b=sizes[y])
        # the row of the first data set names the group
        members[x][pairs.row_a[taken]] = pairs.row_a[taken]
        members[y][pairs.row_b[taken]] = pairs.row_a[taken]
    return members


def _probabilistic_greedy(
    linking: Mapping[tuple[int, int], ScoredPairs], sizes: Sequence[int]
) -> list[NDArray[np.int64]]:
    from linkage_matching import grouping  # noqa: PLC0415 - numba is loaded when it is needed, not by import

    pairs = _Scored.of(linking, sizes)
    # stable: within equal scores the order of data sets, and within those that of `best_first`, stays
    order = np.argsort(-pairs.score, kind="stable")
    held = one_bit_each(np.repeat(np.arange(len(sizes)), sizes))
    first = grouping.probabilistic_greedy(pairs.first[order], pairs.second[order], held, MERGE_THRESHOLD)
    return _members(first, sizes)


def _members(first: NDArray[np.int64], sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    """For each row the first row of its group as its number, -1 for those alone."""
    grouped = np.bincount(first, minlength=len(first))[first] > 1
    return np.split(np.where(grouped, first, -1), np.cumsum(sizes)[:-1])


def _average(
    pairs: _Scored, sizes: Sequence[int], *, holds: Sequence[bool], cut: float | None
) -> list[NDArray[np.int64]]:
    rows = sum(sizes)
    clean = [number if not duplicates else -1 for number, duplicates in enumerate(holds)]
    if pairs.probability is None or cut == 0:
        evidence, absent, least = _unsigned_evidence(pairs.score), -1.0, 0.0
    else:
        asked = float(log_odds(np.array([_EVEN if cut is None else cut]), most=math.inf)[0])
        # a cut above what one pair may count at most still parts the pairs below it from those above
        evidence = log_odds(pairs.probability, most=max(asked, -ABSENT_LOG_ODDS))
        # sums and means are rounded, and a pair exactly on the cut links
        absent, least = ABSENT_LOG_ODDS, asked - _ROUNDING
    first = cluster(
        pairs.first,
        pairs.second,
        evidence,
        rows=rows,
        # groups without a pair between them must stay apart, however low the cut
        cut=max(least, absent / 2),
        absent=absent,
        apart=np.repeat(np.array(clean, np.int64), sizes),
    )
    return _members(first, sizes)


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


def _joined(parts: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _numbered(members: list[NDArray[np.int64]]) -> tuple[list[NDArray[np.int64]], int]:
    """The same groups, numbered in the order of their first members."""
    used, first, group = np.unique(np.concatenate(members), return_index=True, return_inverse=True)
    in_group = used >= 0
    number = np.full(len(used), -1, np.int64)
    number[in_group] = np.argsort(np.argsort(first[in_group]))
    ends = np.cumsum([len(part) for part in members])[:-1]
    return np.split(number[group], ends), int(in_group.sum())
