from fractions import Fraction

import pytest

from linkage_matching.aims import Aim, BestF1, FixedThreshold, TargetPrecision, aim_document
from linkage_matching.errors import InvalidThreshold, MatchingError


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5])
def test_target_precision_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(MatchingError, match=r"above 0 and below 1"):
        TargetPrecision(value)


def test_fixed_threshold_that_is_no_similarity_is_refused() -> None:
    with pytest.raises(InvalidThreshold):
        FixedThreshold(Fraction(3, 2))


@pytest.mark.parametrize(
    ("aim", "kind", "value"),
    [
        (BestF1(), "best_f1", None),
        (TargetPrecision(0.95), "target_precision", 0.95),
        (FixedThreshold(Fraction(7, 10)), "threshold", 0.7),
    ],
)
def test_aim_document_names_kind_and_value(aim: Aim, kind: str, value: float | None) -> None:
    assert aim_document(aim) == {"kind": kind, "value": value}
