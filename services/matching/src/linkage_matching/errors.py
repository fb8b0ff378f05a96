"""What the matching engine refuses, as one tree, so that a caller can catch all of it or one thing.

MatchingError
├── InvalidEncodings   the arrays are not encodings this engine can compare
├── InvalidThreshold   the threshold is not a similarity
├── SpillFailed        pairs could not be written to disk
├── TooManyPairs       the threshold would give more candidate pairs than allowed
├── MatchingCancelled  the caller asked to stop
├── ExtraMissing       a package of an optional extra is not installed
├── BlobError          blobs that units read or write
│   ├── BlobAbsent         a blob is not in the store
│   ├── BlobDamaged        a blob does not open: changed, moved, or another key
│   └── BlobsUnavailable   the store cannot be reached or refuses
│       └── BlobsFull          the store has no space left
└── ClusterFailed      a cluster could not do the units; what is stored of them stays
"""

from fractions import Fraction


class MatchingError(Exception):
    """Anything the matching engine refuses."""


class InvalidEncodings(MatchingError):
    """The arrays are not encodings this engine can compare."""


class InvalidThreshold(MatchingError):
    """The threshold is not a similarity between 0 and 1."""


class TooManyPairs(MatchingError):
    """The threshold would give more candidate pairs than allowed.

    Attributes:
        estimate: how many pairs the threshold would give.
        limit: how many were allowed.
        suggested_threshold: a higher threshold that should fit, or None when none up to 1 would.
    """

    def __init__(self, *, estimate: int, limit: int, suggested_threshold: Fraction | None) -> None:
        self.estimate = estimate
        self.limit = limit
        self.suggested_threshold = suggested_threshold
        advice = (
            f"Raise the threshold to {float(suggested_threshold):.2f} or more."
            if suggested_threshold is not None
            else "No higher threshold would help: too many encodings are identical. Check how they were made."
        )
        super().__init__(
            f"The threshold would give about {estimate:,} candidate pairs, more than the limit of {limit:,}. {advice}"
        )


class SpillFailed(MatchingError):
    """Pairs could not be written to disk, mostly because it is full; what was half-written has been removed."""

    def __init__(self, *, reason: str | None) -> None:
        super().__init__(
            f"The pairs could not be written to disk ({reason or 'input or output error'}). Nothing was kept. "
            "Use a directory that can be written with more room (32 bytes a pair), or raise the threshold."
        )


class MatchingCancelled(MatchingError):
    """The caller asked to stop; nothing was kept."""

    def __init__(self) -> None:
        super().__init__("Matching was cancelled before it finished. No result was kept; start it again if needed.")


class ExtraMissing(MatchingError):
    """A package of an optional extra is not installed."""


class BlobError(MatchingError):
    """Blobs that units read or write failed."""


class BlobAbsent(BlobError):
    """A blob is not in the store."""


class BlobDamaged(BlobError):
    """A blob does not open: it was changed, cut short, moved, or sealed under another key."""


class BlobsUnavailable(BlobError):
    """The blob store cannot be reached or refuses."""


class BlobsFull(BlobsUnavailable):
    """The blob store has no space left."""


class ClusterFailed(MatchingError):
    """A cluster could not do the units. Finished ones are stored; a second run does the missing ones."""
