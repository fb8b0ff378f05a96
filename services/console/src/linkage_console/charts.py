"""Charts as SVG, made here so that they need no script. A table beside each holds the same numbers.

Colours come from the style sheet by class; the pieces of a bar also stand in one order and are named in the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import segno
from markupsafe import Markup

from linkage_console.drawing import NARROW, WIDE, element, for_both, line, svg, text
from linkage_console.keeping import KINDS, Kind, Span

OUTCOMES: Final = ("success", "refused", "failed")
_HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 10, 20, 34
_ROW: Final = 30
_LANE: Final = 76
_LANE_BAR: Final = 34
_LANES: Final[Mapping[Kind, str]] = {
    "upload": "Uploads",
    "run": "Results of runs",
    "release": "Releases",
}
_LABEL: Final = 300
_MOST_BARS: Final = 48
_STEPS: Final = tuple(
    timedelta(**step)
    for step in (
        {"minutes": 1}, {"minutes": 5}, {"minutes": 15}, {"hours": 1}, {"hours": 6}, {"days": 1}, {"days": 7},
        {"days": 28}, {"days": 91}, {"days": 364},
    )
)  # fmt: skip
_EPOCH: Final = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday, so that steps of weeks begin on one


@dataclass(frozen=True, slots=True)
class Bar:
    """A span of time with the number of events of each outcome in it."""

    begins: datetime
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Timeline:
    """Bars of one width, without a gap."""

    step: timedelta
    bars: tuple[Bar, ...]

    @property
    def step_words(self) -> str:
        """How wide a bar is."""
        minutes = int(self.step.total_seconds() // 60)
        for size, name in ((1440, "day"), (60, "hour"), (1, "minute")):
            if minutes % size == 0:
                count = minutes // size
                return name if count == 1 else f"{count} {name}s"
        raise AssertionError

    def label(self, bar: Bar) -> str:
        """When a bar begins, as exactly as its width asks for."""
        return f"{bar.begins.day} {bar.begins:%b %Y}" + ("" if self.step.days else f", {bar.begins:%H:%M}")


def timeline(events: Iterable[tuple[str, str]]) -> Timeline | None:
    """Events (time, outcome) as bars of the smallest width of which few enough are needed; None for no events."""
    found = [(datetime.fromisoformat(time).astimezone(UTC), outcome) for time, outcome in events]
    if not found:
        return None
    first, last = min(found)[0], max(found)[0]
    step = next((step for step in _STEPS if (last - first) / step < _MOST_BARS - 1), _STEPS[-1])
    start = (first - _EPOCH) // step
    bars: list[dict[str, int]] = [dict.fromkeys(OUTCOMES, 0) for _ in range((last - _EPOCH) // step - start + 1)]
    for time, outcome in found:
        bars[(time - _EPOCH) // step - start][outcome] += 1
    return Timeline(step, tuple(Bar(_EPOCH + (start + place) * step, counts) for place, counts in enumerate(bars)))


def qr_code(text: str) -> Markup:
    """A text as a QR code, for a camera."""
    drawn = segno.make(text, micro=False).svg_inline(
        scale=4, dark="#000", light="#fff", svgclass="app-qr", lineclass=None
    )
    return Markup(drawn)  # noqa: S704 - squares only: the text is not in it


def timeline_chart(line: Timeline) -> Markup:
    """Activity over time, each bar by outcome."""
    most = max(bar.total for bar in line.bars)
    room, tall = WIDE - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    width = room / len(line.bars)
    floor = _TOP + tall
    parts = []
    for mark in sorted({0, (most + 1) // 2, most}):
        y = floor - tall * mark / most
        parts.append(element("line", {"class": "line", "x1": _LEFT, "x2": WIDE - _RIGHT, "y1": y, "y2": y}))
        parts.append(text(_LEFT - 6, y + 4, f"{mark:,}", anchor="end"))
    for place, bar in enumerate(line.bars):
        top: float = floor
        for outcome in OUTCOMES:
            high = tall * bar.counts[outcome] / most
            if high:
                top -= high
                box = {"class": outcome, "x": _LEFT + place * width + 1, "y": top, "width": max(width - 2, 1)}
                parts.append(element("rect", {**box, "height": high}))
    parts.append(element("line", {"class": "axis", "x1": _LEFT, "x2": WIDE - _RIGHT, "y1": floor, "y2": floor}))
    parts.append(text(_LEFT, _HEIGHT - 12, line.label(line.bars[0])))
    if len(line.bars) > 1:
        parts.append(text(WIDE - _RIGHT, _HEIGHT - 12, line.label(line.bars[-1]), anchor="end"))
    return svg(_HEIGHT, "Events over time, by outcome. The table below has the numbers.", parts)


def refusals_chart(refused: Sequence[tuple[str, int]]) -> Markup:
    """How many requests each element refused."""
    most = max((count for _, count in refused), default=0) or 1
    room = WIDE - _LABEL - 60
    parts = []
    for place, (title, count) in enumerate(refused):
        y = _TOP + place * _ROW
        parts.append(text(_LABEL - 8, y + 15, title, anchor="end"))
        box = {"class": "refused", "x": _LABEL, "y": y, "width": room * count / most, "height": 20}
        parts.append(element("rect", box))
        parts.append(text(_LABEL + room * count / most + 6, y + 15, f"{count:,}"))
    height = _TOP + _ROW * len(refused)
    axis = {"class": "axis", "x1": _LABEL, "x2": _LABEL, "y1": _TOP - 5, "y2": height}
    parts.append(element("line", axis))
    return svg(height + 5, "Refusals by element of the agreement. The table below has the numbers.", parts)


def deletions_chart(spans: Sequence[Span]) -> Markup:
    """What is deleted when: a lane for each kind of thing, what is overdue first, then from today on."""
    most = max((max(span.counts.values()) for span in spans), default=0) or 1

    def draw(width: int) -> tuple[float, list[str]]:
        column = width / len(spans)
        parts: list[str] = []
        for lane, kind in enumerate(KINDS):
            floor = lane * _LANE + _LANE - 8
            parts.append(text(column + 6, floor - _LANE_BAR - 22, _LANES[kind]))
            parts.append(line("axis", start=(0, floor), end=(width, floor)))
            for place, span in enumerate(spans):
                count = span.counts[kind]
                if not count:
                    continue
                high, x = max(_LANE_BAR * count / most, 3), place * column
                piece = "overdue" if span.begins is None else "pairs"
                box = {"class": piece, "x": x + 3, "y": floor - high, "width": column - 6, "height": high}
                parts.append(element("rect", box))
                parts.append(text(x + column / 2, floor - high - 4, f"{count:,}", anchor="middle"))
        bottom = len(KINDS) * _LANE
        parts.append(line("cut", start=(column, 0), end=(column, bottom - 8)))
        parts.append(text(0, bottom + 8, "overdue"))
        every = 3 if width == NARROW else 2
        for place, span in enumerate(spans):
            if span.begins is not None and (place - 1) % every == 0:
                said = "today" if place == 1 else f"{span.begins.day} {span.begins:%b %y}"
                parts.append(text(place * column + 4, bottom + (24 if width == NARROW else 8), said))
        return bottom + 30, parts

    return for_both("What is deleted when. The table below has the numbers.", draw)
