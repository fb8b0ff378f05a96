"""Has the processes of a service go by a clock that a test sets while they run.

A process that finds this file as its `sitecustomize` reads before each look at the clock how far it is off. What a
library would do that goes back to the system's own clock underneath (libfaketime) is no good here: under it
`time.sleep` of Python 3.11 fails.
"""

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

_FILE = "TEST_CLOCK_IS_OFF_BY"


class SteppedClock:
    """How far a service's clock is off, in seconds; right at first."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        shutil.copyfile(__file__, folder / "sitecustomize.py")
        self._file = folder / "seconds"
        self.settings = {"PYTHONPATH": str(folder), _FILE: str(self._file)}
        self.off_by_s = 0
        self.step(0)

    def now(self) -> float:
        """What it shows, in seconds since 1970."""
        return time.time() + self.off_by_s

    def time(self) -> datetime:
        """What it shows."""
        return datetime.fromtimestamp(self.now(), UTC)

    def step(self, off_by_s: int) -> None:
        """Set it."""
        self.off_by_s = off_by_s
        new = self._file.with_suffix(".new")
        new.write_text(str(off_by_s), "ascii")
        new.replace(self._file)  # whoever reads it reads the old number or the new one


def _take_over(file: Path) -> None:
    from linkage_service import clock

    right = clock.utc_now

    def shown() -> datetime:
        return right() + timedelta(seconds=int(file.read_text("ascii")))

    clock.utc_now = shown


if __name__ == "sitecustomize" and _FILE in os.environ:
    _take_over(Path(os.environ[_FILE]))
