import json
import subprocess
import sys
from pathlib import Path

from linkage_matching import prepare
from linkage_matching.compiling import NOTICE


def run(*arguments: str, cache: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        env={"NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_command_says_that_it_compiles_once_and_later_comparisons_load_what_it_compiled(tmp_path: Path) -> None:
    first, second = (run("-m", "linkage_matching", cache=tmp_path) for _ in range(2))
    assert (first.stdout, first.stderr) == ("", f"{NOTICE}\n")
    assert (second.stdout, second.stderr) == ("", "")
    program = """
import json, logging, sys
from fractions import Fraction
import numpy
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
from linkage_matching import best_pairs, candidate_pairs, kernel, prepare
rows = numpy.full((3, 4), 5, numpy.uint64)
assert len(candidate_pairs(rows, threshold=Fraction(1))) == 3
assert len(best_pairs(rows, rows, threshold=Fraction(1), budget=1, best_per_row=1)[0]) == 5
hits = sum(kernel.scan.stats.cache_hits.values())
print(json.dumps([hits, len(kernel.scan.signatures), len(kernel.best_per_row.signatures), prepare()]))
"""
    later = run("-c", program, cache=tmp_path)
    assert json.loads(later.stdout) == [1, 1, 1, False]
    assert later.stderr == ""


def test_first_comparison_without_compiled_code_tells_the_log(tmp_path: Path) -> None:
    program = """
import logging, sys
from fractions import Fraction
import numpy
from linkage_matching import candidate_pairs
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
rows = numpy.full((3, 4), 5, numpy.uint64)
for _ in range(2):
    candidate_pairs(rows, threshold=Fraction(1))
"""
    assert run("-c", program, cache=tmp_path).stderr == f"linkage_matching INFO {NOTICE}\n"


def test_prepare_of_a_prepared_process_says_nothing() -> None:
    prepare()
    said: list[str] = []
    assert prepare(said.append) is False
    assert said == []


def test_import_of_the_package_leaves_heavy_modules_unloaded() -> None:
    heavy = ("numba", "llvmlite", "scipy", "pyarrow", "anonlink", "distributed", "obstore", "cryptography")
    program = f"import linkage_matching, sys; print([module for module in {heavy} if module in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
