"""Exact thresholded Dice matching of Bloom-filter encodings, and multi-party solving.

Importing the package is cheap; numba is loaded by the first call that needs it.
"""

from fractions import Fraction

from linkage_matching.aims import Aim, BestF1, FixedThreshold, TargetPrecision
from linkage_matching.blocking import Blocking
from linkage_matching.calibration import Finding, FindingCode
from linkage_matching.compiling import prepare
from linkage_matching.datasets import ArrayDataset, Dataset
from linkage_matching.encodings import Encodings, from_bytes
from linkage_matching.errors import (
    InvalidEncodings,
    InvalidThreshold,
    MatchingCancelled,
    MatchingError,
    SpillFailed,
    TooManyPairs,
)
from linkage_matching.executors import Executor, LocalExecutor
from linkage_matching.linking import Linkage, deduplicate, link
from linkage_matching.measure import Measure
from linkage_matching.pairs import Cancelled, CandidatePairs, Pairs, Progress, best_pairs, candidate_pairs
from linkage_matching.report import Report
from linkage_matching.sampling import Floor, choose_floor
from linkage_matching.similarity import similarity_function
from linkage_matching.solving import Groups, ScoredPairs, solve_groups
from linkage_matching.spill import SpilledPairs, spill_candidate_pairs

__all__ = [
    "Aim",
    "ArrayDataset",
    "BestF1",
    "Blocking",
    "Cancelled",
    "CandidatePairs",
    "Dataset",
    "Encodings",
    "Executor",
    "Finding",
    "FindingCode",
    "FixedThreshold",
    "Floor",
    "Fraction",
    "Groups",
    "InvalidEncodings",
    "InvalidThreshold",
    "Linkage",
    "LocalExecutor",
    "MatchingCancelled",
    "MatchingError",
    "Measure",
    "Pairs",
    "Progress",
    "Report",
    "ScoredPairs",
    "SpillFailed",
    "SpilledPairs",
    "TargetPrecision",
    "TooManyPairs",
    "best_pairs",
    "candidate_pairs",
    "choose_floor",
    "deduplicate",
    "from_bytes",
    "link",
    "prepare",
    "similarity_function",
    "solve_groups",
    "spill_candidate_pairs",
]
