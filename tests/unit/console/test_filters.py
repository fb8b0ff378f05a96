import pytest

from linkage_console.calling import Refusal
from linkage_console.filters import FIELDS, Filters
from linkage_service.audit.search_schemas import EventQuery


def test_filters_are_those_of_the_api() -> None:
    paging = {"after", "before", "order", "limit"}
    known = {field.alias or name for name, field in EventQuery.model_fields.items()}
    assert set(FIELDS) == known - paging


def test_address_of_filters_reads_as_the_same_filters() -> None:
    filters = Filters.read({"outcome": " refused ", "from": "2026-03-01", "unknown": "x", "purpose": ""})
    assert filters.address() == "outcome=refused&from=2026-03-01"
    assert filters.address(before=7) == "outcome=refused&from=2026-03-01&before=7"
    assert filters["purpose"] == ""


def test_days_become_the_times_at_which_they_begin_and_end() -> None:
    asked = Filters.read({"from": "2026-02-28", "to": "2026-02-28", "element": "3"}).asked()
    assert asked == {"from": "2026-02-28T00:00:00Z", "to": "2026-03-01T00:00:00Z", "element": 3}
    assert Filters.read({"to": "2026-02-28T10:00:00Z"}).asked() == {"to": "2026-02-28T10:00:00Z"}


@pytest.mark.parametrize("fields", [{"from": "soon"}, {"to": "9999-12-31"}, {"element": "two"}, {"version": "-1"}])
def test_filters_that_cannot_be_asked_are_refused_in_words(fields: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refusal:
        Filters.read(fields).asked()
    assert next(iter(fields)) in refusal.value.detail
