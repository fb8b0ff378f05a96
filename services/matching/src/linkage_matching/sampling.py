"""What a few rows say about all of them: how many pairs a threshold gives, and where a comparison may end early."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from linkage_matching.encodings import Encodings
from linkage_matching.measure import Measure

_ROWS_A = 256
_ROWS_B = 2048
_SEED = 0
# One check costs about as much as this many words of the comparison (measured).
_CHECK_WORDS = 1.5
_TILE_ROWS = 4
_LANES = 8


_LOWEST_FLOOR = 50


@dataclass(frozen=True, slots=True)
class Floor:
    """Down to which similarity pairs are worth having.

    Attributes:
        threshold: a whole number of thousandths.
        expected_pairs: about how many pairs reach it.
    """

    threshold: Fraction
    expected_pairs: int


def choose_floor(
    a: Encodings, b: Encodings | None = None, *, per_record: float = 20, measure: Measure = Measure.DICE
) -> Floor:
    """The threshold at which a record of the larger data set has about `per_record` candidates on average."""
    del measure
    other = a if b is None else b
    total = len(a) * (len(a) - 1) // 2 if b is None else len(a) * len(b)
    wanted = per_record * max(len(a), len(other)) / (2 if b is None else 1)
    sample = Sample.of(a, b)
    low, high = _LOWEST_FLOOR, 1000
    while low < high:
        middle = (low + high) // 2
        if sample.estimate(Fraction(middle, 1000), total=total) <= wanted:
            high = middle
        else:
            low = middle + 1
    threshold = Fraction(low, 1000)
    return Floor(threshold, sample.estimate(threshold, total=total))


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of two data sets, or rows of one and other rows of the same."""

    a: Encodings
    b: Encodings

    @classmethod
    def of(cls, a: Encodings, b: Encodings | None) -> "Sample":
        """Up to 256 and 2048 rows, the same at every call.

        They are drawn, not taken at even distances: two data sets that hold the same people in the same order would
        give a sample full of matches.
        """
        rng = np.random.default_rng(_SEED)
        if b is None:
            rows = _drawn(rng, len(a), _ROWS_A + _ROWS_B)
            first = min(_ROWS_A, len(rows) // 2)
            return cls(a=a[rows[:first]], b=a[rows[first:]])
        return cls(a=a[_drawn(rng, len(a), _ROWS_A)], b=b[_drawn(rng, len(b), _ROWS_B)])

    def estimate(self, threshold: Fraction, *, total: int) -> int:
        """About how many of `total` pairs reach the threshold."""
        similarity = self._similarity()
        if not similarity.size:
            return 0
        return math.ceil(total * float((similarity >= float(threshold)).mean()))

    def threshold_for(self, limit: int, *, total: int, above: Fraction) -> Fraction | None:
        """The least hundredth above a threshold at which about half the limit of pairs is left, if there is one."""
        for hundredths in range(int(above * 100) + 1, 101):
            candidate = Fraction(hundredths, 100)
            if self.estimate(candidate, total=total) <= limit // 2:
                return candidate
        return None

    def best_cut(self, threshold: Fraction, *, words: int, step: int) -> int:
        """After how many words to ask whether a tile can still hold a pair; `words` if asking does not pay."""
        rows_a = len(self.a) // _TILE_ROWS * _TILE_ROWS
        rows_b = len(self.b) // _LANES * _LANES
        if not rows_a or not rows_b:
            return words
        a, b = self.a[: min(rows_a, 64)], self.b[: min(rows_b, 256)]
        needed = float(threshold) / 2 * (_counts(a)[:, None] + _counts(b)[None, :])
        common = np.zeros(needed.shape)
        best, cheapest = words, float(words)
        for cut in range(1, a.shape[1]):
            word_a, word_b = a[:, cut - 1], b[:, cut - 1]
            common += np.bitwise_count(word_a[:, None] & word_b[None, :])
            if cut % step:
                continue
            possible = common + np.minimum(_counts(a[:, cut:])[:, None], _counts(b[:, cut:])[None, :]) >= needed
            tiles = possible.reshape(len(a) // _TILE_ROWS, _TILE_ROWS, len(b) // _LANES, _LANES).any(axis=(1, 3))
            cost = cut + _CHECK_WORDS + float(tiles.mean()) * (words - cut)
            if cost < cheapest:
                best, cheapest = cut, cost
        return best

    def _similarity(self) -> NDArray[np.float64]:
        common = np.zeros((len(self.a), len(self.b)))
        for word in range(self.a.shape[1]):
            common += np.bitwise_count(self.a[:, word, None] & self.b[None, :, word])
        bit_sums = _counts(self.a)[:, None] + _counts(self.b)[None, :]
        # a pair with an empty encoding matches nothing
        return np.where(common > 0, 2 * common / np.maximum(bit_sums, 1), -1.0)


def _counts(encodings: Encodings) -> NDArray[np.float64]:
    counts: NDArray[np.float64] = np.bitwise_count(encodings).sum(axis=1, dtype=np.float64)
    return counts


def _drawn(rng: np.random.Generator, count: int, wanted: int) -> NDArray[np.int64]:
    return rng.choice(count, min(count, wanted), replace=False)
