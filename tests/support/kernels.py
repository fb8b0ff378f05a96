"""Which of the two comparison kernels is used, and units of work so small that a few rows make many of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from linkage_matching import comparison, matrix_kernel

MATRIX = [False, True] if matrix_kernel.available() else [False]
"""Whether the matrix unit compares; without one there is one kernel to test."""


@contextmanager
def comparing(*, matrix: bool) -> Iterator[None]:
    """Every comparison made meanwhile is done by this kernel."""
    with patch.object(comparison, "matrix_pays", lambda *_, **__: matrix):
        yield


def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of a few tiles, and room for few keys, for either kernel."""
    monkeypatch.setattr(comparison, "VECTORS", comparison.Geometry(rows=12, block_bytes=512, keys=50))
    monkeypatch.setattr(comparison, "MATRIX", comparison.Geometry(rows=32, block_bytes=1024, keys=32 * 32 + 1))
