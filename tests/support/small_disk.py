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
subprocess.run([*sys.argv[1:-1], "umount", "--lazy", sys.argv[-1]], check=True)
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
    """Mounts one at a folder, which is made, for the block; where this is not allowed the test is skipped, in CI it
    fails.

    Whoever is not root needs a sudo that asks for no password, as machines of CI have it.
    """
    folder.mkdir(mode=0o700)
    as_root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    _mount(folder, as_root=as_root, options=f"size={megabytes}m,mode=700,uid={os.getuid()},gid={os.getgid()}")
    with subprocess.Popen(
        [sys.executable, "-c", _KEEPER, *as_root, folder], stdin=subprocess.PIPE, start_new_session=True
    ) as keeper:
        assert keeper.stdin
        try:
            yield SmallDisk(folder)
        finally:
            keeper.stdin.close()
            assert keeper.wait(60) == 0


def _mount(folder: Path, *, as_root: list[str], options: str) -> None:
    command = [*as_root, "mount", "-t", "tmpfs", "-o", options, "linkage-test", str(folder)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        reason = f"{error.filename} is not installed"
    else:
        if done.returncode == 0:
            return
        reason = done.stderr.strip()
    reason = f"No small disk can be mounted here, as root can: {reason}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
