"""The watch counts refusals as they come."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from linkage_service.audit.watch import SPIKE_PAST, SPIKE_WINDOW, Refusals

_MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


@given(st.lists(st.integers(0, 24 * 12), max_size=60))
def test_refusals_are_those_of_the_hour_and_of_the_week_before(hours: list[int]) -> None:
    times = [_MONDAY + timedelta(hours=hour) for hour in sorted(hours)]
    counted = Refusals()
    for place, at in enumerate(times, start=1):
        began = at - SPIKE_WINDOW
        now = sum(one > began for one in times[:place])
        past = sum(began - SPIKE_PAST <= one <= began for one in times[:place])
        assert counted.add(at) == (now, past)


def test_refusals_of_a_flood_are_looked_at_a_few_times_each() -> None:
    looked = 0

    class Counted(datetime):
        def __le__(self, other: Any) -> bool:
            nonlocal looked
            looked += 1
            return super().__le__(other)

        def __lt__(self, other: Any) -> bool:
            nonlocal looked
            looked += 1
            return super().__lt__(other)

    counted, many = Refusals(), 2_000
    began = Counted(2026, 3, 2, tzinfo=UTC)
    for second in range(many):
        found = counted.add(began + timedelta(seconds=second))
    assert found == (many, 0)
    assert looked <= 4 * many
