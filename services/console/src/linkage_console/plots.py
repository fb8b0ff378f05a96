"""Plots of what a run found, as the API tells it: what was left out there is left out here, and said to be.

Colours come from the style sheet by class. Bars, full lines, broken lines and words tell the same without them.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from markupsafe import Markup

from linkage_console.drawing import NARROW, element, for_both, line, path, text

Json = Mapping[str, Any]
_SHARES: Final = {0.0: "0%", 0.5: "50%", 1.0: "100%"}
_TALL: Final = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 26, 44
_ROW, _BAR = 44, 16
_MARKS_WIDE, _MARKS_NARROW = 6, 3


def histogram(comparison: Json) -> Markup | None:
    """Pairs by score as bars, those expected by chance as a broken line, and the cut; None where nothing is told."""
    found = comparison["histogram"]
    edges: list[float] = found["edges"]
    bins = list(zip(edges[:-1], edges[1:], found["pairs"], found["expected_non_matches"], strict=True))
    heights = [count / (high - low) for low, high, *counts in bins for count in counts if count is not None]
    if not heights:
        return None
    most = max(heights) or 1

    def draw(width: int) -> tuple[float, list[str]]:
        at, up = _across(width, edges[0], edges[-1]), _upwards(most)
        # No numbers at the side: heights are pairs by width, and small ones could be taken for counts of people.
        parts = _ground(width, up, marks={}, edges=(edges[0], edges[-1]), what="more pairs ↑")
        chance: list[tuple[float, float]] = []
        for low, high, pairs, by_chance in bins:
            wide = high - low
            if pairs is not None:
                y = up(pairs / wide)
                box = {"class": "pairs", "x": at(low), "y": y, "width": at(high) - at(low), "height": up(0) - y}
                parts.append(element("rect", box))
            if by_chance is not None:
                chance += [(at(low), up(by_chance / wide)), (at(high), up(by_chance / wide))]
        if chance:
            parts.append(path("chance", chance))
        return _TALL, parts + _cut(comparison, at, up, most=most, width=width, words_at=up(most) + 12)

    return for_both("Pairs by score, with those expected by chance and the cut. The table below has the numbers.", draw)


def curve(comparison: Json) -> Markup | None:
    """Expected precision (full line) and recall (broken line) by where one cuts; None where neither is told."""
    points = sorted(comparison["curve"], key=lambda point: float(point["score"]))
    lines = {
        name: [(point["score"], point[name]) for point in points if point[name] is not None]
        for name in ("precision", "recall")
    }
    if not points or not any(lines.values()):
        return None
    first, last = points[0]["score"], points[-1]["score"]

    def draw(width: int) -> tuple[float, list[str]]:
        at, up = _across(width, first, last), _upwards(1)
        parts = _ground(width, up, marks=_SHARES, edges=(first, last), what="share of links, or of matches")
        for name, told in lines.items():
            if told:
                parts.append(path(name, [(at(score), up(share)) for score, share in told]))
        if lines["precision"]:
            score, share = lines["precision"][-1]
            parts.append(text(at(score), up(share) + 16, "precision", anchor="end"))
        if lines["recall"]:
            middle = (first + last) / 2
            parts.append(text(at(middle) + 8, up(_between(lines["recall"], middle)) - 4, "recall"))
        return _TALL, parts + _cut(comparison, at, up, most=1, width=width, words_at=up(0) - 8)

    return for_both("Expected precision and recall by where one cuts. The table below has the numbers.", draw)


def overlap(rows: Sequence[tuple[str, int | None]]) -> Markup:
    """How many groups each combination of organisations shares; what is left out has words in place of a bar."""
    most = max((count for _, count in rows if count is not None), default=0) or 1

    def draw(width: int) -> tuple[float, list[str]]:
        room = width - 80
        parts: list[str] = []
        for place, (title, count) in enumerate(rows):
            y = place * _ROW + 16
            letters = width // 7
            parts.append(text(0, y, title if len(title) <= letters else f"{title[: letters - 1]}…"))
            if count is None:
                parts.append(text(0, y + 18, "not told"))
                continue
            wide = room * count / most
            parts.append(element("rect", {"class": "pairs", "x": 0, "y": y + 6, "width": wide, "height": _BAR}))
            parts.append(text(wide + 6, y + 19, f"{count:,}"))
        return len(rows) * _ROW + 4, parts

    return for_both("Overlap of the providers. The table below has the numbers.", draw)


def _between(points: Sequence[tuple[float, float]], at: float) -> float:
    """Height of a line through points, by score, at some score."""
    for (before, low), (after, high) in pairwise(points):
        if before <= at <= after and after > before:
            return low + (high - low) * (at - before) / (after - before)
    return points[-1][1]


def _across(width: int, first: float, last: float) -> Callable[[float], float]:
    room, span = width - _LEFT - _RIGHT, (last - first) or 1
    return lambda value: _LEFT + room * (value - first) / span


def _upwards(most: float) -> Callable[[float], float]:
    return lambda value: _TALL - _BOTTOM - (_TALL - _BOTTOM - _TOP) * value / most


def _ground(
    width: int,
    up: Callable[[float], float],
    *,
    marks: Mapping[float, str],
    edges: tuple[float, float],
    what: str,
) -> list[str]:
    """Axes with their marks and what they are of."""
    at = _across(width, *edges)
    parts = [text(0, 12, what)]
    for value, words in marks.items():
        parts.append(line("line", start=(_LEFT, up(value)), end=(width - _RIGHT, up(value))))
        parts.append(text(_LEFT - 6, up(value) + 4, words, anchor="end"))
    parts.append(line("axis", start=(_LEFT, up(0)), end=(width - _RIGHT, up(0))))
    steps = _MARKS_NARROW if width == NARROW else _MARKS_WIDE
    for place in range(steps + 1):
        score = edges[0] + (edges[1] - edges[0]) * place / steps
        anchor = "start" if place == 0 else "end" if place == steps else "middle"
        parts.append(text(at(score), up(0) + 16, f"{score:.2f}", anchor=anchor))
    parts.append(text((_LEFT + width - _RIGHT) / 2, _TALL - 8, "score", anchor="middle"))
    return parts


def _cut(
    comparison: Json,
    at: Callable[[float], float],
    up: Callable[[float], float],
    *,
    most: float,
    width: int,
    words_at: float,
) -> list[str]:
    cut = comparison["cut"]
    if cut is None:
        return []
    x = at(cut["score"])
    if not _LEFT <= x <= width - _RIGHT:
        return []
    left = x > width / 2
    said = f"cut at {cut['score']:.2f}"
    words = text(x - 5 if left else x + 5, words_at, said, anchor="end" if left else "start")
    return [line("cut", start=(x, up(0)), end=(x, up(most))), words]
