"""Pairs of rows, as comparisons give them, and what may watch a comparison."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the pairs of rows compared so far and the pairs to compare in all."""
Cancelled: TypeAlias = Callable[[], bool]
"""Asked between units of work; True stops the comparison."""


@dataclass(frozen=True, slots=True)
class CandidatePairs:
    """Pairs of rows in order of similarity (highest first), then row_a, then row_b.

    Attributes:
        row_a, row_b: int64 row numbers.
        similarity: float64, in 0..1.
    """

    row_a: NDArray[np.int64]
    row_b: NDArray[np.int64]
    similarity: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.similarity)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows in ten bytes each, in order of similarity (highest first), then row_a, then row_b.

    Attributes:
        row_a, row_b: int32 row numbers.
        common: uint16, how many bits are set in both rows.
    """

    row_a: NDArray[np.int32]
    row_b: NDArray[np.int32]
    common: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.common)
