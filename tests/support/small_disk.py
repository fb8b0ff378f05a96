"""A disk of some megabytes that a test fills and empties: how a service meets a full one cannot be acted otherwise."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_WRITTEN_BYTES = (2**16, 2**12)
# Unmounts when its standard input is closed, as it is however the test's process ends.
_KEEPER = """
import subprocess, sys
sys.stdin.read()
subprocess.run(["umount", "--lazy", sys.argv[1]], check=True)
"""


class SmallDisk:
    """A file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room."""
        with self._filler.open("ab", buffering=0) as file:
            for size in _WRITTEN_BYTES:
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def give(self, size_bytes: int) -> None:
        """Make so much room, in whole pages."""
        os.truncate(self._filler, max(0, self._filler.stat().st_size - size_bytes))

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """Mounts one at a folder, which is made, for the block; the test is skipped who may not mount, and fails in CI."""
    folder.mkdir(mode=0o700)
    options = f"size={megabytes}m,mode=700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "linkage-test", folder], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        reason = f"This process may not mount a small disk: {done.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with subprocess.Popen(
        [sys.executable, "-c", _KEEPER, folder], stdin=subprocess.PIPE, start_new_session=True
    ) as keeper:
        assert keeper.stdin
        try:
            yield SmallDisk(folder)
        finally:
            keeper.stdin.close()
            assert keeper.wait(60) == 0
