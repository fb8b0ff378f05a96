"""A blind table does not tell which rows matched: nothing in the ids, nor in their order, has to do with it."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from linkage_service.link_tables.link_ids import link_ids
from linkage_service.link_tables.service import told_sizes

ROWS = 20_000
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
SUSPICIOUS = 1e-4
"""Of the smallest of about thirty p values; the keys are fixed, so that the outcome is."""


def blind_table(groups: NDArray[np.int64]) -> list[str]:
    rng = np.random.default_rng(11)
    run_key, recipient_key = rng.bytes(32), rng.bytes(32)
    return [
        link_id
        for _, link_id in link_ids(
            groups.tolist(), run_key=run_key, recipient_key=recipient_key, upload="upl_1", blind=True
        )
    ]


def smallest_p(ids: list[str], matched: NDArray[np.bool_]) -> float:
    """The smallest p value of everything that could tell the matched ids from the others."""
    letters = np.array([[ALPHABET.index(letter) for letter in link_id] for link_id in ids])
    found = []
    for place in range(letters.shape[1]):
        counts = [np.bincount(letters[kind, place], minlength=len(ALPHABET)) for kind in (matched, ~matched)]
        table = np.array(counts)
        found.append(float(stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue))
    # In the order of their ids, matched rows must not run together (Wald and Wolfowitz 1940), nor come earlier.
    order = np.argsort(ids, kind="stable")
    labels = matched[order]
    ones, zeros = int(labels.sum()), int((~labels).sum())
    runs = 1 + int(np.count_nonzero(labels[1:] != labels[:-1]))
    mean = 2 * ones * zeros / len(labels) + 1
    variance = (mean - 1) * (mean - 2) / (len(labels) - 1)
    found.append(float(2 * stats.norm.sf(abs(runs - mean) / variance**0.5)))
    ranks = np.empty(len(ids), np.int64)
    ranks[order] = np.arange(len(ids))
    found.append(float(stats.mannwhitneyu(ranks[matched], ranks[~matched]).pvalue))
    # Nor must neighbouring rows have neighbouring ids.
    found.append(float(stats.spearmanr(np.arange(len(ids)), ranks).pvalue))
    return min(found)


def groups_of_half() -> NDArray[np.int64]:
    rng = np.random.default_rng(5)
    groups = np.full(ROWS, -1, np.int64)
    matched = rng.permutation(ROWS)[: ROWS // 2]
    groups[matched] = np.arange(ROWS // 2)
    alone = rng.permutation(np.flatnonzero(groups < 0))[: ROWS // 10]
    groups[alone] = -2 - np.arange(len(alone))
    return groups


def test_blind_table_matched_rows_cannot_be_told_from_others() -> None:
    groups = groups_of_half()
    assert smallest_p(blind_table(groups), groups >= 0) > SUSPICIOUS


def test_blind_table_with_a_planted_difference_is_found_out() -> None:
    """The control: three in a hundred ids of matched rows begin with the same letter."""
    groups = groups_of_half()
    ids = blind_table(groups)
    for row in np.flatnonzero(groups >= 0)[::33]:
        ids[row] = "a" + ids[row][1:]
    assert smallest_p(ids, groups >= 0) < SUSPICIOUS


def test_told_sizes_that_few_rows_have_are_told_as_smaller_ones() -> None:
    first = np.array([0, 1, 2, 3, 4, -1, -3])
    second = np.array([0, 1, 2, 3, 4, 4, 3])
    assert np.nan_to_num(told_sizes(first, [first, second], least=1), nan=0).tolist() == [2, 2, 2, 3, 3, 0, 0]
    assert np.nan_to_num(told_sizes(first, [first, second], least=3), nan=0).tolist() == [2, 2, 2, 2, 2, 0, 0]
    assert np.isnan(told_sizes(first, [first, second], least=6)).all()
