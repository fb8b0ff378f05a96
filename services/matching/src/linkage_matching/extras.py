"""What is installed only where units are done on a cluster or read encrypted blobs."""

from collections.abc import Iterator
from contextlib import contextmanager

from linkage_matching.errors import ExtraMissing


@contextmanager
def cluster_extra() -> Iterator[None]:
    """Around late imports of the extra's packages.

    Raises:
        ExtraMissing: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            "This needs packages that a plain installation leaves out. Run: pip install 'linkage-matching[cluster]'"
        ) from error
