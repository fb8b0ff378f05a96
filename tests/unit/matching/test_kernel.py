from collections.abc import Callable
from typing import Any

import pytest
from numba.core import config

from linkage_matching import comparison, early_exit, kernel, layout, matrix_kernel


def test_kernel_geometry_equals_what_the_layout_assumes() -> None:
    assert (layout.SIDE, layout.LANES, layout.NEVER) == (matrix_kernel.SIDE, kernel.LANES, kernel.NEVER)
    assert matrix_kernel._LANES == kernel.LANES
    assert layout.SIDE % kernel.TILE_ROWS == layout.SIDE % kernel.LANES == 0
    assert (early_exit._TILE_ROWS, early_exit._LANES) == (kernel.TILE_ROWS, kernel.LANES)


def test_compiled_function_without_a_writable_cache_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def njit(function: Callable[..., Any], *, cache: bool, **_options: object) -> Callable[..., Any]:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(kernel, "njit", njit)

    def double(number: int) -> int:
        return 2 * number

    assert kernel._compiled(double)(4) == 8
    assert asked == [True, False]


@pytest.mark.parametrize("name", ["CPU_NAME", "CPU_FEATURES"])
def test_matrix_unit_is_left_alone_where_numba_compiles_for_another_processor(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, name, "generic", raising=False)
    assert not matrix_kernel.available.__wrapped__()


def test_matrix_unit_is_used_where_few_tiles_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(comparison, "has_matrix_unit", lambda there=there: there)
        assert comparison.matrix_pays(early_exit.EarlyExit(cut=16, cost=16.0), words=16) == there
        assert not comparison.matrix_pays(early_exit.EarlyExit(cut=4, cost=6.5), words=16)
