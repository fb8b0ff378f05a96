"""Pictures of pages made small: a browser writes PNG quickly and large, with three bytes for each point."""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = 256


def size_of_png(content: bytes) -> tuple[int, int]:
    """Width and height of a PNG picture, in pixels."""
    assert content.startswith(_SIGNATURE)
    width, height = struct.unpack(">II", content[16:24])
    return int(width), int(height)


def smaller_png(content: bytes) -> bytes:
    """The same picture with its 256 most frequent colours, a byte for each point; others become the nearest of them."""
    width, height = size_of_png(content)
    points = list(_points(content, width, height))
    counted = Counter(points)
    kept = [colour for colour, _ in counted.most_common(_COLOURS)]
    place = {colour: number for number, colour in enumerate(kept)}
    for colour in counted.keys() - place.keys():
        place[colour] = min(
            range(len(kept)), key=lambda number: sum((a - b) ** 2 for a, b in zip(kept[number], colour, strict=True))
        )
    rows = b"".join(
        b"\0" + bytes(place[point] for point in points[row * width : (row + 1) * width]) for row in range(height)
    )
    return b"".join([
        _SIGNATURE,
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        _chunk(b"PLTE", b"".join(kept)),
        _chunk(b"IDAT", zlib.compress(rows, 9)),
        _chunk(b"IEND", b""),
    ])  # fmt: skip


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _points(content: bytes, width: int, height: int) -> Iterator[bytes]:
    """Colours of all points, row by row, of a picture in true colour of eight bits (PNG specification, section 9)."""
    parts, place, wide = b"", len(_SIGNATURE), {2: 3, 6: 4}[content[25]]
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        if content[place + 4 : place + 8] == b"IDAT":
            parts += content[place + 8 : place + 8 + length]
        place += 12 + length
    raw, line = zlib.decompress(parts), width * wide
    above = bytearray(line)
    for row in range(height):
        start = row * (line + 1)
        present = bytearray(raw[start + 1 : start + 1 + line])
        _unfilter(raw[start], present, above, wide)
        yield from (bytes(present[at : at + 3]) for at in range(0, line, wide))
        above = present


def _unfilter(kind: int, present: bytearray, above: bytearray, wide: int) -> None:
    for at in range(len(present)):
        left, corner = (present[at - wide], above[at - wide]) if at >= wide else (0, 0)
        up = above[at]
        added = (0, left, up, (left + up) // 2, _nearest(left, up, corner))[kind]
        present[at] = (present[at] + added) & 255


def _nearest(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))
