"""Which of the two comparison kernels is used, and units of work so small that a few rows make many of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from linkage_matching import comparison, matrix_kernel

_NONE = pytest.mark.skipif(not matrix_kernel.available(), reason="this processor has no matrix unit")
MATRIX = [False, pytest.param(True, marks=_NONE)]
"""Whether the matrix unit compares."""


@contextmanager
def comparing(*, matrix: bool) -> Iterator[None]:
    """Every comparison made meanwhile is done by this kernel."""
    with patch.object(comparison, "matrix_pays", lambda *_, **__: matrix):
        yield


def small_units(monkeypatch: pytest.MonkeyPatch, *, tiles: int = 2) -> None:
    """Units of a few tiles a side of rows of 256 bits, and room for the keys of hardly more than one."""
    vectors = comparison.Geometry(rows=12, block_bytes=512, keys=50)
    matrix = comparison.Geometry(rows=32 * tiles, block_bytes=32 * 32 * tiles, keys=32 * 32 + 1)
    monkeypatch.setattr(comparison, "VECTORS", vectors)
    monkeypatch.setattr(comparison, "MATRIX", matrix)
