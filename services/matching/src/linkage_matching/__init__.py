"""Exact thresholded Dice matching of Bloom-filter encodings, and multi-party solving.

Importing the package is cheap; numba and anonlink are loaded by the first call that needs them.
"""

from fractions import Fraction

from linkage_matching.compiling import prepare
from linkage_matching.encodings import Encodings, from_bytes
from linkage_matching.errors import (
    InvalidEncodings,
    InvalidThreshold,
    MatchingCancelled,
    MatchingError,
    SpillFailed,
    TooManyPairs,
)
from linkage_matching.linking import link
from linkage_matching.measure import Measure
from linkage_matching.pairs import Cancelled, CandidatePairs, Pairs, Progress, best_pairs, candidate_pairs
from linkage_matching.sampling import Floor, choose_floor
from linkage_matching.similarity import similarity_function
from linkage_matching.solving import Groups, solve
from linkage_matching.spill import SpilledPairs, spill_candidate_pairs

__all__ = [
    "Cancelled",
    "CandidatePairs",
    "Encodings",
    "Floor",
    "Fraction",
    "Groups",
    "InvalidEncodings",
    "InvalidThreshold",
    "MatchingCancelled",
    "MatchingError",
    "Measure",
    "Pairs",
    "Progress",
    "SpillFailed",
    "SpilledPairs",
    "TooManyPairs",
    "best_pairs",
    "candidate_pairs",
    "choose_floor",
    "from_bytes",
    "link",
    "prepare",
    "similarity_function",
    "solve",
    "spill_candidate_pairs",
]
