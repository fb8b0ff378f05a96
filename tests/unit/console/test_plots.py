from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from linkage_console import plots
from support.reports import comparison


def _drawings(markup: Markup) -> list[ET.Element]:
    return list(ET.fromstring(f"<both>{markup}</both>"))  # noqa: S314 - our own


def _of(drawing: ET.Element, kind: str) -> list[ET.Element]:
    return [piece for piece in drawing.iter() if piece.get("class") == kind]


def _words(drawing: ET.Element) -> list[str]:
    return [piece.text or "" for piece in drawing.iter("text")]


def test_histogram_has_a_bar_by_area_for_each_bin_that_is_told() -> None:
    found = comparison(matches=300, strangers=200, least=10)
    told = [count for count in found["histogram"]["pairs"] if count is not None]
    drawn = plots.histogram(found)
    assert drawn is not None
    for drawing in _drawings(drawn):
        bars = _of(drawing, "pairs")
        assert len(bars) == len(told)
        areas = [float(bar.attrib["width"]) * float(bar.attrib["height"]) for bar in bars]
        scale = max(areas) / max(told)
        assert areas == pytest.approx([count * scale for count in told], rel=0.02)
        assert len(_of(drawing, "chance")) == 1
        assert len(_of(drawing, "cut")) == 1
        assert "cut at 0.17" in _words(drawing)


def test_histogram_of_unequal_bins_compares_by_width() -> None:
    found = {
        "histogram": {"edges": [0.0, 0.1, 0.3], "pairs": [20, 20], "expected_non_matches": [None, None]}, "cut": None,
    }  # fmt: skip
    drawn = plots.histogram(found)
    assert drawn is not None
    one, two = _of(_drawings(drawn)[0], "pairs")
    assert float(one.attrib["height"]) == pytest.approx(2 * float(two.attrib["height"]))


@pytest.mark.parametrize("edges", [[], [0.0, 0.5]])
def test_histogram_of_which_nothing_is_told_is_not_drawn(edges: list[float]) -> None:
    nothing: list[None] = [None] * max(len(edges) - 1, 0)
    found = {"histogram": {"edges": edges, "pairs": nothing, "expected_non_matches": nothing}, "cut": None}
    assert plots.histogram(found) is None


def test_curve_leaves_out_what_is_not_told_and_tells_lines_apart_without_colour() -> None:
    found = comparison(least=10)
    found["curve"][0]["precision"] = None
    drawn = plots.curve(found)
    assert drawn is not None
    for drawing in _drawings(drawn):
        points = {name: _of(drawing, name)[0].attrib["points"].split() for name in ("precision", "recall")}
        assert len(points["precision"]) == len(found["curve"]) - 1
        assert len(points["recall"]) == len(found["curve"])
        assert {"precision", "recall", "0%", "100%"} <= set(_words(drawing))


def test_curve_names_its_lines_beside_them() -> None:
    curve = [{"score": score, "precision": 0.9, "recall": 1 - score} for score in (0.0, 0.1, 1.0)]
    drawn = plots.curve({"curve": curve, "cut": None})
    assert drawn is not None
    for drawing in _drawings(drawn):
        (words,) = [piece for piece in drawing.iter("text") if piece.text == "recall"]
        ends = [tuple(map(float, point.split(","))) for point in _of(drawing, "recall")[0].attrib["points"].split()]
        assert float(words.attrib["x"]) == pytest.approx((ends[0][0] + ends[-1][0]) / 2 + 8, abs=0.2)
        assert float(words.attrib["y"]) == pytest.approx((ends[0][1] + ends[-1][1]) / 2 - 4, abs=0.2)


def test_curve_without_estimates_is_not_drawn() -> None:
    assert plots.curve({"curve": [], "cut": None}) is None
    points: list[dict[str, Any]] = [{"score": 0.1, "precision": None, "recall": None}]
    assert plots.curve({"curve": points, "cut": None}) is None


def test_overlap_says_what_is_not_told_and_escapes_names() -> None:
    drawn = plots.overlap([("<b>&", 20), ("other", None), ("a name that goes on " * 9, 10)])
    assert "<b>" not in drawn
    for drawing in _drawings(drawn):
        bars = _of(drawing, "pairs")
        assert float(bars[0].attrib["width"]) == 2 * float(bars[1].attrib["width"])
        assert "not told" in _words(drawing)
        width = int(drawing.attrib["viewBox"].split()[2])
        assert max(len(word) for word in _words(drawing)) <= width // 7


def test_every_plot_is_drawn_for_a_wide_and_for_a_narrow_page_and_named() -> None:
    found = comparison()
    for drawn in (plots.histogram(found), plots.curve(found), plots.overlap([("one", 20)])):
        assert drawn is not None
        wide, narrow = _drawings(drawn)
        assert "app-plot-wide" in wide.attrib["class"]
        assert "app-plot-narrow" in narrow.attrib["class"]
        for drawing in (wide, narrow):
            assert drawing.attrib["role"] == "img"
            assert drawing.attrib["aria-label"].endswith("The table below has the numbers.")
            width, height = map(float, drawing.attrib["viewBox"].split()[2:])
            places = [(float(piece.attrib["x"]), float(piece.attrib["y"])) for piece in drawing.iter("text")]
            assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
