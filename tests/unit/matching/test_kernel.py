from collections.abc import Callable
from typing import Any

import pytest

from linkage_matching import early_exit, kernel, layout


def test_kernel_geometry_equals_what_the_layout_assumes() -> None:
    assumed = (layout.TILE_ROWS, layout.LANES, layout.NEVER)
    assert assumed == (kernel.TILE_ROWS, kernel.LANES, kernel.NEVER)
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
