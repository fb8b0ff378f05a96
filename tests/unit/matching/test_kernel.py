import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linkage_matching import early_exit, kernel, layout


def test_kernel_geometry_equals_what_the_layout_assumes() -> None:
    assumed = (layout.TILE_ROWS, layout.LANES, layout.UNROLL, layout.NEVER)
    assert assumed == (kernel.TILE_ROWS, kernel.LANES, kernel.UNROLL, kernel.NEVER)
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


def test_kernel_in_a_second_process_comes_from_the_cache(tmp_path: Path) -> None:
    program = """
import numpy, fractions
from linkage_matching import candidate_pairs, kernel
rows = numpy.full((3, 4), 5, numpy.uint64)
assert len(candidate_pairs(rows, threshold=fractions.Fraction(1))) == 3
print(sum(kernel.scan.stats.cache_hits.values()), sum(kernel.scan.stats.cache_misses.values()))
"""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [run.stdout.split() for run in runs] == [["0", "1"], ["1", "0"]]


def test_import_of_the_package_leaves_numba_and_anonlink_unloaded() -> None:
    program = "import linkage_matching, sys; print([m for m in ('numba', 'llvmlite', 'anonlink') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
