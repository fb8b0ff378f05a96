"""What a run is to aim at when it decides which pairs are links."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, assert_never

from linkage_matching.errors import MatchingError
from linkage_matching.threshold import check_threshold


@dataclass(frozen=True, slots=True)
class BestF1:
    """The cut with the best expected F1: as many matches found as false links can be afforded."""


@dataclass(frozen=True, slots=True)
class TargetPrecision:
    """The most links of which at least the share `value` are expected to be right.

    Attributes:
        value: above 0 and below 1.
    """

    value: float

    def __post_init__(self) -> None:
        if not 0 < self.value < 1:
            raise MatchingError(
                f"A precision of {self.value} cannot be aimed at. Use a share above 0 and below 1, such as 0.95."
            )


@dataclass(frozen=True, slots=True)
class FixedThreshold:
    """Every pair of at least this similarity may be linked, whatever its probability.

    Attributes:
        value: a similarity in 0..1, as a fraction, so that a pair exactly on it is decided by arithmetic.
    """

    value: Fraction

    def __post_init__(self) -> None:
        check_threshold(self.value)


Aim: TypeAlias = BestF1 | TargetPrecision | FixedThreshold


def aim_document(aim: Aim) -> dict[str, Any]:
    """The aim as JSON: `kind` is `best_f1`, `target_precision` or `threshold`; `value` a number or None."""
    match aim:
        case BestF1():
            return {"kind": "best_f1", "value": None}
        case TargetPrecision(value):
            return {"kind": "target_precision", "value": value}
        case FixedThreshold(threshold):
            return {"kind": "threshold", "value": float(threshold)}
    assert_never(aim)
