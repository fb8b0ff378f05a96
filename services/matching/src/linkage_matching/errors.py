"""What the matching engine refuses, as one tree, so that a caller can catch all of it or one thing.

MatchingError
├── InvalidEncodings   the arrays are not encodings this engine can compare
├── InvalidThreshold   the threshold is not a similarity
├── TooManyPairs       the threshold would give more candidate pairs than allowed
└── MatchingCancelled  the caller asked to stop
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


class MatchingCancelled(MatchingError):
    """The caller asked to stop; nothing was kept."""

    def __init__(self) -> None:
        super().__init__("Matching was cancelled before it finished. No result was kept; start it again if needed.")
