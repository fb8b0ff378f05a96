"""Pieces of SVG, escaped where they are put together: what every chart is made of.

A chart that is drawn twice, for a wide and for a narrow page, needs no script to be read on a telephone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from markupsafe import Markup

WIDE: Final = 720
NARROW: Final = 340


def element(name: str, attributes: Mapping[str, Any]) -> str:
    """An element without content."""
    written = "".join(
        f' {key}="{escape(f"{value:.1f}" if isinstance(value, float) else str(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}/>"


def line(kind: str, *, start: tuple[float, float], end: tuple[float, float]) -> str:
    """A straight line, of a class of the style sheet."""
    return element("line", {"class": kind, "x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]})


def path(kind: str, points: Sequence[tuple[float, float]]) -> str:
    """A line through points, of a class of the style sheet."""
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return element("polyline", {"class": kind, "points": drawn})


def text(x: float, y: float, words: str, *, anchor: str = "start") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(height: float, title: str, parts: Iterable[str], *, width: int = WIDE, kind: str = "app-chart") -> Markup:
    """A drawing with what it is of, for who does not see it."""
    # Everything inside was escaped where it was put together.
    return Markup(  # noqa: S704 - see above
        f'<svg class="{kind}" viewBox="0 0 {width} {height:g}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def for_both(title: str, draw: Callable[[int], tuple[float, list[str]]]) -> Markup:
    """A chart for a wide and one for a narrow page, of which the style sheet shows one.

    Args:
        title: what it is of.
        draw: gives height and pieces for a width.
    """
    shown = []
    for width, kind in ((WIDE, "app-plot app-plot-wide"), (NARROW, "app-plot app-plot-narrow")):
        height, parts = draw(width)
        shown.append(svg(height, title, parts, width=width, kind=kind))
    return Markup("").join(shown)
