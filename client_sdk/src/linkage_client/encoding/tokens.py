"""Splits all distinct values of a column into tokens at once, so that Python runs per token, not per occurrence.

Values are laid end to end in one array of code points with the padding between them. A window slid over this array
then yields exactly the n-grams of all values, one after the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import numpy as np
from numpy.typing import NDArray

from linkage_client.encoding.schema import (
    BitsPerFeature,
    BitsPerToken,
    Comparison,
    ExactComparison,
    NgramComparison,
    NumericComparison,
    Strategy,
)

LOOKUP_LIMIT: Final = 1 << 22
"""Up to this many possible numbers, a table of them is quicker than sorting."""
SMALL_ALPHABET: Final = 128
"""ASCII needs no renaming to keep the number of possible n-grams small."""
PRODUCT_LIMIT: Final = 1 << 40
"""Products of numbers of tokens stay far below 2^63."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of many values.

    A piece is a distinct pair of token and number of insertions: two values that insert one token equally often share
    the piece. Pieces are ordered by token.
    """

    texts: list[str]
    """Distinct tokens."""
    piece_token: NDArray[np.int64]
    """For each piece, the place of its token in `texts`."""
    piece_bits: NDArray[np.int64]
    """For each piece, how many bits it sets (positions may coincide)."""
    occurrences: NDArray[np.int64]
    """Pieces of the first value in order, then of the second, and so on."""
    counts: NDArray[np.int64]
    """How many tokens each value has."""


def tokenise(values: list[str], *, comparison: Comparison, strategy: Strategy) -> Tokens:
    """Tokens of formatted values. An empty value has none."""
    if isinstance(comparison, NgramComparison):
        split = _ngrams(values, comparison)
    elif isinstance(comparison, ExactComparison):
        split = _whole(values)
    elif isinstance(comparison, NumericComparison):
        split = _listed(values, comparison.tokens)
    else:
        assert_never(comparison)
    return _with_bits(split, strategy)


@dataclass(frozen=True, slots=True)
class _Split:
    texts: list[str]
    occurrences: NDArray[np.int64]
    counts: NDArray[np.int64]


def _whole(values: list[str]) -> _Split:
    texts = [value for value in values if value]
    counts = np.fromiter(map(bool, values), np.int64, len(values))
    return _Split(texts=texts, occurrences=np.arange(len(texts)), counts=counts)


def _listed(values: list[str], split: Callable[[str], Sequence[str]]) -> _Split:
    places: dict[str, int] = {}
    occurrences: list[int] = []
    counts = np.zeros(len(values), np.int64)
    for row, value in enumerate(values):
        tokens = split(value)
        counts[row] = len(tokens)
        occurrences.extend(places.setdefault(token, len(places)) for token in tokens)
    return _Split(texts=list(places), occurrences=np.array(occurrences, np.int64), counts=counts)


def _ngrams(values: list[str], comparison: NgramComparison) -> _Split:
    n = comparison.n
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    # One stretch of padding between two values ends the one and begins the other; empty values leave none.
    padding = " " * (n - 1)
    joined = padding + padding.join(filter(None, values)) + padding
    counts = np.where(lengths > 0, lengths + n - 1, 0)
    windows = int(counts.sum())
    if windows == 0:
        return _Split(texts=[], occurrences=np.empty(0, np.int64), counts=counts)
    points = np.frombuffer(joined.encode("utf-32-le"), np.dtype("<u4")).astype(np.int64)
    symbols, alphabet = points, int(points.max()) + 1
    if alphabet > SMALL_ALPHABET:
        symbols, alphabet = _dense(points, limit=alphabet)
    grams, possible = symbols[:windows], alphabet
    for offset in range(1, n):
        grams, possible = _paired(grams, possible, symbols[offset : offset + windows], alphabet)
    positions = _positions(counts) if comparison.positional else None
    if positions is not None:
        grams, possible = _paired(grams, possible, positions, int(counts.max()))
    grams, distinct = _dense(grams, limit=possible)
    starts = _one_place_of_each(grams, distinct).tolist()
    if positions is not None:
        texts = [f"{positions[start] + 1} {joined[start : start + n]}" for start in starts]
    else:
        texts = [joined[start : start + n] for start in starts]
    return _Split(texts=texts, occurrences=grams, counts=counts)


def _with_bits(split: _Split, strategy: Strategy) -> Tokens:
    if isinstance(strategy, BitsPerToken) or split.counts.max(initial=0) <= 1:
        distinct = len(split.texts)
        return Tokens(
            texts=split.texts,
            piece_token=np.arange(distinct),
            piece_bits=np.full(distinct, strategy.bits, np.int64),
            occurrences=split.occurrences,
            counts=split.counts,
        )
    return _with_shared_bits(split, strategy)


def _with_shared_bits(split: _Split, strategy: BitsPerFeature) -> Tokens:
    """The bits of a feature are dealt out evenly, and the first tokens get those that are left over."""
    each, left_over = np.divmod(strategy.bits, np.maximum(split.counts, 1))
    bits = np.repeat(each, split.counts)
    bits += _positions(split.counts) < np.repeat(left_over, split.counts)
    levels, level_count = bits, strategy.bits + 1
    if len(split.texts) * level_count > LOOKUP_LIMIT:
        levels, level_count = _dense(bits, limit=level_count)
    pieces, possible = _paired(split.occurrences, len(split.texts), levels, level_count)
    pieces, distinct = _dense(pieces, limit=possible)
    examples = _one_place_of_each(pieces, distinct)
    return Tokens(
        texts=split.texts,
        piece_token=split.occurrences[examples],
        piece_bits=bits[examples],
        occurrences=pieces,
        counts=split.counts,
    )


def _positions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2 … anew for each value."""
    ends = np.cumsum(counts)
    return np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)


def _dense(numbers: NDArray[np.int64], *, limit: int) -> tuple[NDArray[np.int64], int]:
    """The same numbers renamed 0, 1, 2 … in their order, and how many differ. All are below `limit`."""
    if limit > LOOKUP_LIMIT:
        different, renamed = np.unique(numbers, return_inverse=True)
        return renamed, len(different)
    present = np.zeros(limit, np.bool_)
    present[numbers] = True
    names = np.cumsum(present) - 1
    return names[numbers], int(present.sum())


def _paired(
    first: NDArray[np.int64], first_limit: int, second: NDArray[np.int64], second_limit: int
) -> tuple[NDArray[np.int64], int]:
    """One number for each pair, and the limit of these numbers."""
    if first_limit * second_limit > PRODUCT_LIMIT:
        first, first_limit = _dense(first, limit=first_limit)
    return first * second_limit + second, first_limit * second_limit


def _one_place_of_each(numbers: NDArray[np.int64], distinct: int) -> NDArray[np.int64]:
    places = np.empty(distinct, np.int64)
    places[numbers] = np.arange(len(numbers))
    return places
