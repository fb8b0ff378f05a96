"""Which aim a run gets, and what the policy sees of it."""

import pytest
from pydantic import ValidationError

from linkage_service.runs.aims import Aim
from linkage_service.runs.schemas import RunDraft


@pytest.mark.parametrize(
    ("draft", "agreed", "aim"),
    [
        ({}, None, Aim("best_f1", None)),
        ({}, 0.95, Aim("target_precision", 0.95)),
        ({"target_precision": 0.99}, None, Aim("target_precision", 0.99)),
        ({"target_precision": 0.99}, 0.95, Aim("target_precision", 0.99)),
        ({"target_precision": 0.9}, 0.95, Aim("target_precision", 0.9)),
        ({"threshold": 0.8}, None, Aim("threshold", 0.8)),
        ({"threshold": 0.8}, 0.95, Aim("threshold", 0.8)),
    ],
)
def test_aim_of_a_draft_is_what_it_asks_for_else_what_is_agreed(
    draft: dict[str, float], agreed: float | None, aim: Aim
) -> None:
    assert Aim.of(RunDraft.model_validate(draft), agreed=agreed) == aim


def test_aim_shows_the_policy_a_precision_in_whole_numbers() -> None:
    assert Aim("target_precision", 0.985).context() == {"aim": "target_precision", "target_precision": 985_000_000}


@pytest.mark.parametrize("aim", [Aim("best_f1", None), Aim("threshold", 0.8)])
def test_aim_without_a_precision_shows_the_policy_none(aim: Aim) -> None:
    assert aim.context() == {"aim": aim.kind}


@pytest.mark.parametrize(
    "draft",
    [
        {"target_precision": 0.9, "threshold": 0.8},
        {"target_precision": 0.4},
        {"target_precision": 1.0},
        {"target_precision": True},
        {"threshold": 0.05},
        {"blocking": "yes"},
    ],
)
def test_draft_that_cannot_be_meant_is_refused(draft: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RunDraft.model_validate(draft)
