"""The catalogue of events is closed, explained, and what the code writes."""

import ast
from collections.abc import Iterator
from pathlib import Path

from linkage_service.access.actions import Action
from linkage_service.audit.alarms import MEANINGS as ALARMS
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.meanings import MEANINGS, reference, variant
from linkage_service.audit.search_schemas import OTHER_ACTIONS

ROOT = Path(__file__).parents[3]
SOURCES = [
    file for file in (ROOT / "linkage_service").rglob("*.py") if file.name not in {"catalogue.py", "meanings.py"}
]


def _named() -> Iterator[EventType]:
    """Types that code names, other than to compare with."""
    for file in SOURCES:
        if "formats" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "EventType":
                yield EventType[node.attr]


def test_reference_is_the_one_that_is_kept() -> None:
    kept = (ROOT / "docs" / "reference" / "events.md").read_text("utf-8")
    assert kept == reference(), "uv run python -m linkage_service.audit.meanings > docs/reference/events.md"


def test_every_type_is_explained_in_the_order_of_the_catalogue() -> None:
    assert list(MEANINGS) == list(EventType)
    assert all(meaning.when.endswith(".") and meaning.resource for meaning in MEANINGS.values())


def test_every_type_is_written_somewhere() -> None:
    # A refusal of an action is named by the action's noun, see Gate.record_refusal.
    by_noun = {EventType(f"{action.noun}.refused") for action in Action}
    assert set(_named()) | by_noun == set(EventType)


def test_every_action_has_an_event_for_success_and_one_for_refusal() -> None:
    for action in Action:
        variants = {variant(kind) for kind in EventType if kind.value.partition(".")[0] == action.noun}
        assert variants == {"success", "refusal"}, action


def test_actions_that_are_none_of_the_policy_are_known_to_the_search() -> None:
    stated = set()
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "action" and isinstance(node.value, ast.Constant):
                stated.add(node.value.value)
    assert stated <= set(OTHER_ACTIONS) | {action.value for action in Action}


def test_officers_guide_says_of_every_alarm_what_to_do() -> None:
    guide = (ROOT / "docs" / "officer.md").read_text("utf-8")
    assert [kind for kind in ALARMS if f"`{kind}`" not in guide] == []
