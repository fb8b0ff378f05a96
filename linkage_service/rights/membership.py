"""What becomes of groups when rows are withdrawn. Pure functions of arrays.

A stored group (see `runs.service.told_apart`) is 0 and up for a row that another data set shares it with, -1 for a row
by itself, below that for rows that are one person's in one data set. Two more kinds come of withdrawals:

- `WITHDRAWN`: the row is gone. No table lists it.
- from `FORMER` down: the row shared the group `FORMER - value`, and nobody is left to share it with. It counts as
  unmatched, and keeps its link id in blind tables: another one would tell its provider that the row had matched.

Changes are rows of `(position, row, group before, microseconds since 1970, kind)`, in the order in which they happened.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

WITHDRAWN = int(np.iinfo(np.int64).min)
FORMER = -(2**61)
COLUMNS = 5
KIND_WITHDRAWN, KIND_LEFT_ALONE = 0, 1

Groups = NDArray[np.int64]


def without(
    membership: Sequence[Groups], *, position: int, rows: Groups, at: datetime
) -> tuple[list[Groups], NDArray[np.int64]]:
    """The groups without rows of one data set, and what changed.

    Args:
        membership: for each data set the group of each row.
        position: which data set the rows are of.
        rows: the rows; those that are gone already change nothing.
        at: when.

    Returns:
        The new groups, and the changes, `(n, 5)`.
    """
    after = [groups.copy() for groups in membership]
    gone = rows[membership[position][rows] != WITHDRAWN]
    before = membership[position][gone]
    after[position][gone] = WITHDRAWN
    changes = [_changes(position, gone, before, at=at, kind=KIND_WITHDRAWN)]
    touched = np.unique(before[before >= 0])
    holders = np.zeros(len(touched), np.int64)
    for groups in after:
        holders += np.isin(touched, groups)
    alone = touched[holders == 1]
    for place, groups in enumerate(after):
        left = np.flatnonzero((groups >= 0) & np.isin(groups, alone))
        changes.append(_changes(place, left, groups[left], at=at, kind=KIND_LEFT_ALONE))
        groups[left] = FORMER - groups[left]
    return after, np.concatenate(changes)


def spread(groups: Groups, *, withdrawn: Groups, count: int) -> Groups:
    """The groups of the rows that were matched, put to the row numbers of the upload as it was sent.

    Args:
        groups: of each row that is left, in order.
        withdrawn: rows that were not matched, in order.
        count: how many rows the upload had.
    """
    whole = np.full(count, WITHDRAWN, np.int64)
    left = np.ones(count, np.bool_)
    left[withdrawn] = False
    whole[left] = groups
    return whole


def group_at(changes: NDArray[np.int64], *, position: int, row: int, now: int, at: datetime) -> int:
    """The group that a row had at some time.

    Args:
        changes: of the run.
        position: which data set the row is of.
        row: the row.
        now: its group as it is stored.
        at: the time.
    """
    later = changes[(changes[:, 0] == position) & (changes[:, 1] == row) & (changes[:, 3] > microseconds(at))]
    return int(later[0, 2]) if len(later) else now


def microseconds(at: datetime) -> int:
    """A time as changes write it."""
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(value: int) -> datetime:
    """The time that changes write so."""
    return datetime.fromtimestamp(value // 1_000_000, tz=UTC).replace(microsecond=value % 1_000_000)


def _changes(position: int, rows: Groups, before: Groups, *, at: datetime, kind: int) -> NDArray[np.int64]:
    made = np.empty((len(rows), COLUMNS), np.int64)
    made[:, 0], made[:, 1], made[:, 2], made[:, 3], made[:, 4] = position, rows, before, microseconds(at), kind
    return made
