from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from linkage_console import charts

_TIMES = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is the last argument
_EVENTS = st.lists(st.tuples(_TIMES.map(lambda time: time.isoformat()), st.sampled_from(charts.OUTCOMES)), min_size=1)


@given(_EVENTS)
def test_timeline_counts_every_event_once_in_its_bar(events: list[tuple[str, str]]) -> None:
    line = charts.timeline(events)
    assert line is not None
    assert sum(bar.total for bar in line.bars) == len(events)
    for time, outcome in events:
        holding = [bar for bar in line.bars if bar.begins <= datetime.fromisoformat(time) < bar.begins + line.step]
        assert len(holding) == 1
        assert holding[0].counts[outcome] > 0
    begins = [bar.begins for bar in line.bars]
    assert begins == [begins[0] + place * line.step for place in range(len(begins))]


@given(_EVENTS)
def test_timeline_chart_is_svg_with_a_box_for_each_piece_of_a_bar(events: list[tuple[str, str]]) -> None:
    line = charts.timeline(events)
    assert line is not None
    drawn = ET.fromstring(charts.timeline_chart(line))  # noqa: S314 - our own
    boxes = [box for box in drawn.iter() if box.tag.endswith("rect")]
    assert len(boxes) == sum(count > 0 for bar in line.bars for count in bar.counts.values())
    assert all(float(box.attrib["y"]) >= 0 and float(box.attrib["height"]) > 0 for box in boxes)


def test_timeline_of_a_year_has_few_bars_and_names_their_width() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    line = charts.timeline([((begin + timedelta(days=day)).isoformat(), "success") for day in range(300)])
    assert line is not None
    assert len(line.bars) <= 48
    assert line.step_words == "7 days"
    assert line.bars[0].begins.weekday() == 0


def test_timeline_of_nothing_is_none() -> None:
    assert charts.timeline([]) is None


def test_qr_code_is_drawn_without_style_and_without_the_text() -> None:
    drawn = charts.qr_code("otpauth://totp/Linkage:<b>?secret=ABC")
    assert drawn.startswith("<svg")
    assert "ABC" not in drawn
    assert "style" not in drawn


def test_refusals_chart_escapes_titles_and_is_proportional() -> None:
    drawn = charts.refusals_chart([("<b>&", 2), ("other", 4), ("none", 0)])
    assert "<b>" not in drawn
    widths = [float(box.attrib["width"]) for box in ET.fromstring(drawn).iter() if box.tag.endswith("rect")]  # noqa: S314
    assert widths[0] * 2 == widths[1]
    assert widths[2] == 0
