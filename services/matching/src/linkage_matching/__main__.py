"""Compiles the comparison kernel ahead of its first use, as when an image is built: `python -m linkage_matching`."""

import sys

from linkage_matching import prepare

if __name__ == "__main__":
    prepare(lambda notice: print(notice, file=sys.stderr))  # noqa: T201 - a command speaks to people
