"""What keeps the main branch clean runs with the tests, so that nobody can forget it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = {
    "import directions": ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
    "lint": ["-m", "ruff", "check", "."],
    "format": ["-m", "ruff", "format", "--check", "."],
    "types": ["-m", "mypy"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_tree_passes_the_toolchain(check: str) -> None:
    finished = subprocess.run(
        [sys.executable, *CHECKS[check]], cwd=ROOT, check=False, capture_output=True, text=True, timeout=280
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
