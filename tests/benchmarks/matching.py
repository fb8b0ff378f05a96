"""How fast the matching engine is, beside anonlink in one process on the same filters.

Run: python tests/benchmarks/matching.py [--rows 100000] [--compare-rows 20000] [--fill 0.31] [--threshold 0.8]
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from linkage_matching import candidate_pairs, link

BITS = 1024
FIRST_CALL = """
import time, fractions, numpy
start = time.perf_counter()
from linkage_matching import candidate_pairs
rows = numpy.full((8, 16), 5, numpy.uint64)
candidate_pairs(rows, threshold=fractions.Fraction(1))
print(f"{time.perf_counter() - start:.2f}")
"""


def filters(count: int, *, fill: float, seed: int) -> NDArray[np.uint64]:
    rng = np.random.default_rng(seed)
    # by parts: a hundred thousand rows of random floats would dwarf what is measured
    parts = [
        np.packbits(rng.random((min(5000, count - start), BITS), np.float32) < fill, axis=1).view(np.uint64)
        for start in range(0, count, 5000)
    ]
    return np.concatenate(parts)


def noisy(rows: NDArray[np.uint64], *, seed: int) -> NDArray[np.uint64]:
    """The same filters with about one bit in 32 changed."""
    rng = np.random.default_rng(seed)
    flips = np.full(rows.shape, ~np.uint64(0))
    for _ in range(5):
        flips &= rng.integers(0, 2**64, rows.shape, np.uint64)
    return rows ^ flips


def best_seconds(action: Callable[[], object], *, repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def first_calls() -> None:
    with tempfile.TemporaryDirectory() as cache:
        for process in ("first process (compiles)", "second process (from the cache)"):
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
            done = subprocess.run(
                [sys.executable, "-c", FIRST_CALL], env=environment, capture_output=True, text=True, check=True
            )
            print(f"import and first call, {process}: {done.stdout.strip()} s")


def beside_anonlink(*, rows: int, fill: float, threshold: Fraction) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anonlink asks pkg_resources
        from anonlink.similarities import dice_coefficient_accelerated
    from bitarray import bitarray

    a = filters(rows, fill=fill, seed=1)
    b = noisy(a[::-1], seed=2)
    as_bits = [[bitarray(buffer=row.tobytes()) for row in data_set] for data_set in (a, b)]
    theirs = best_seconds(lambda: dice_coefficient_accelerated(as_bits, float(threshold)), repeats=2)
    print(f"anonlink: {rows**2 / theirs / 1e6:.0f} M pairs/s ({rows:,} x {rows:,}, threshold {float(threshold)})")
    for threads in (1, 2):
        ours = best_seconds(lambda n=threads: candidate_pairs(a, b, threshold=threshold, threads=n))  # type: ignore[misc] # mypy cannot infer a default
        print(f"ours, {threads} threads: {rows**2 / ours / 1e6:.0f} M pairs/s, {theirs / ours:.1f} times anonlink")


def large(*, rows: int, fill: float) -> None:
    a = filters(rows, fill=fill, seed=3)
    b = noisy(a[::-1], seed=4)
    for threshold in (Fraction(6, 10), Fraction(7, 10), Fraction(8, 10)):
        start, cpu = time.perf_counter(), time.process_time()
        groups = link([a, b], threshold=threshold)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"link {rows:,} x {rows:,} at {float(threshold)}: {seconds:.2f} s ({cpu_seconds:.2f} s of processor), "
            f"{groups.count:,} groups from {groups.pairs:,} pairs, peak {peak_mib} MiB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--compare-rows", type=int, default=20_000)
    parser.add_argument("--fill", type=float, default=0.31)
    parser.add_argument("--threshold", type=Fraction, default=Fraction(4, 5))
    options = parser.parse_args()
    first_calls()
    large(rows=options.rows, fill=options.fill)
    beside_anonlink(rows=options.compare_rows, fill=options.fill, threshold=options.threshold)


if __name__ == "__main__":
    main()
