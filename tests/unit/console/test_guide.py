"""The pictures in the guide for officers are those that the browser tests make, small, and all of one size."""

import re
import struct
import zlib
from pathlib import Path

from support.looking import GUIDE_PICTURES, GUIDE_SIZE, personal
from support.pictures import size_of_png, smaller_png

_DOCS = Path(__file__).parents[3] / "docs"
_LARGEST, _ALL = 60_000, 1_000_000


def test_pictures_of_the_guide_are_those_that_the_test_run_makes() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(console/([a-z-]+)\.png\)", (_DOCS / "console.md").read_text("utf-8"))
    assert sorted(shown) == sorted(GUIDE_PICTURES)
    assert sorted(path.stem for path in (_DOCS / "console").iterdir()) == sorted(GUIDE_PICTURES)


def test_pictures_of_the_guide_are_small_and_of_one_size() -> None:
    files = {path.name: path.read_bytes() for path in (_DOCS / "console").iterdir()}
    assert {size_of_png(content) for content in files.values()} == {(GUIDE_SIZE["width"], GUIDE_SIZE["height"])}
    assert [name for name, content in files.items() if len(content) > _LARGEST] == []
    assert sum(map(len, files.values())) < _ALL


def test_address_of_a_person_is_noticed_on_a_page() -> None:
    assert personal("Alex (alex@body.test), from 127.0.0.1") == []
    assert personal("alex@northshire.org 10.1.2.3") == ["alex@northshire.org", "10.1.2.3"]


def test_smaller_picture_shows_the_same_points() -> None:
    content = (_DOCS / "console" / f"{GUIDE_PICTURES[0]}.png").read_bytes()
    assert size_of_png(content) == (GUIDE_SIZE["width"], GUIDE_SIZE["height"])
    true_colour = _png(2, 2, [b"\xff\0\0", b"\0\xff\0", b"\0\0\xff", b"\xff\xff\xff"])
    small = smaller_png(true_colour)
    assert size_of_png(small) == (2, 2)
    palette = small[small.index(b"PLTE") + 4 :][:12]
    rows = zlib.decompress(small[small.index(b"IDAT") + 4 : small.index(b"IEND") - 8])
    assert [palette[3 * place : 3 * place + 3] for place in rows[1:3] + rows[4:6]] == [
        b"\xff\0\0", b"\0\xff\0", b"\0\0\xff", b"\xff\xff\xff",
    ]  # fmt: skip


def _png(width: int, height: int, points: list[bytes]) -> bytes:
    """A picture in true colour, its rows filtered by what is to the left and above."""
    rows = [b"".join(points[row * width : (row + 1) * width]) for row in range(height)]
    left = bytes(value - (rows[0][at - 3] if at >= 3 else 0) & 255 for at, value in enumerate(rows[0]))
    up = bytes(value - rows[0][at] & 255 for at, value in enumerate(rows[1]))
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\1" + left + b"\2" + up)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + bytes(4) for part in (header, b"IDAT" + data, b"IEND")
    )
