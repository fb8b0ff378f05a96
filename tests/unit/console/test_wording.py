import json
from importlib.resources import files

import pytest

from linkage_console import wording
from linkage_service.pages import words


def test_words_of_the_console_are_those_of_the_service() -> None:
    kept = json.loads(files("linkage_console").joinpath("words.json").read_text("utf-8"))
    again = "uv run python -m linkage_service.pages > services/console/src/linkage_console/words.json"
    assert kept == words(), again


def _header(
    *, policies: list[str] | None = None, action: str = "openProject", status: str = "refused"
) -> dict[str, object]:
    decision = None if policies is None else {"effect": "deny", "policies": policies}
    return {
        "type": "project.refused",
        "action": action,
        "outcome": {"status": status, "code": "refused"},
        **({} if decision is None else {"decision": decision}),
    }


def test_refusal_is_explained_by_the_element_that_decided() -> None:
    said = wording.explain(_header(policies=["G1-purpose", "G8-review"]))
    assert said.startswith("Element 1: The stated purpose is not one of the purposes")
    assert said.endswith("And 1 more.")


def test_refusal_without_a_policy_says_what_part_is_needed() -> None:
    assert "an analyst or recipient of a party" in wording.explain(_header(policies=[]))


def test_refusal_by_a_policy_of_a_newer_service_names_it() -> None:
    assert wording.explain(_header(policies=["G6-of-tomorrow"])) == "Element 6: G6-of-tomorrow"


@pytest.mark.parametrize(
    ("status", "said"), [("refused", "Refused: refused."), ("failed", "The service failed: refused.")]
)
def test_refusal_without_a_decision_says_its_code(status: str, said: str) -> None:
    assert wording.explain(_header(status=status)) == said


def test_headline_of_a_refusal_is_what_was_asked_for() -> None:
    assert wording.headline(_header(policies=[])) == "Open project"
    assert wording.headline({**_header(), "type": "link_table.retrieved", "outcome": {"status": "success"}}) == (
        "Link table retrieved"
    )


def test_unknown_type_of_event_is_said_to_be_unknown() -> None:
    assert "does not know it" in wording.event_meaning("something.new")


def test_times_are_said_in_utc() -> None:
    assert wording.moment("2026-03-03T15:05:09.5+01:00") == "3 March 2026 at 14:05 UTC"
    assert wording.moment(None) == "never"
