"""The one kind of zip file a bundle may be: members stored as they are, in order, no byte free to choose.

Nothing is compressed, so no member is larger than it looks (a "zip bomb"), and a browser can read one by cutting the
file. Times, comments, extra fields and attributes are fixed: the same members give the same file, whoever writes it,
and a byte that was changed between them is found. Names are compared with those expected, and never used as paths.
The format is APPNOTE.TXT 6.3.3 of PKWARE, sections 4.3.7 (local header), 4.3.12 (directory) and 4.3.16 (end).
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from linkage_ledger.errors import BundleError

_LOCAL = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 10
"""The first version of the format: files, stored."""
_NO_TIME, _FIRST_DAY = 0, 0x0021
"""1 January 1980, midnight: the earliest time the format knows."""
MAX_MEMBERS = 65_534
MAX_BYTES = 2**32 - 2
"""Above these the format needs its 64-bit extension, and more than four million events."""
_MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the zip."""

    name: str
    offset: int
    """Where its local header begins."""
    size: int
    crc: int

    @property
    def local_header(self) -> bytes:
        """What stands before its bytes."""
        name = self.name.encode("ascii")
        times = (_NO_TIME, _FIRST_DAY)
        fixed = _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, 0, *times, self.crc, self.size, self.size, len(name), 0)
        return fixed + name

    @property
    def entry(self) -> bytes:
        """What stands for it in the directory."""
        name = self.name.encode("ascii")
        times = (_NO_TIME, _FIRST_DAY)
        sizes = (self.crc, self.size, self.size, len(name))
        return _ENTRY.pack(b"PK\x01\x02", _VERSION, _VERSION, 0, 0, *times, *sizes, 0, 0, 0, 0, 0, self.offset) + name

    @property
    def start(self) -> int:
        """Where its bytes begin."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        """Where the next member begins."""
        return self.start + self.size


class ZipWriter:
    """Writes members one after another, without ever going back: a socket will do."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._members: list[Member] = []
        self._at = 0

    def add(self, name: str, content: bytes) -> None:
        """Write one member. Raises BundleError where the file would become larger than the format can say."""
        member = Member(name=name, offset=self._at, size=len(content), crc=zlib.crc32(content))
        if member.end > MAX_BYTES - MAX_MEMBERS * (_ENTRY.size + _MAX_NAME) or len(self._members) == MAX_MEMBERS:
            raise BundleError("The bundle would be too large for a zip file. Ask for a shorter range of events.")
        self._out.write(member.local_header)
        self._out.write(content)
        self._members.append(member)
        self._at = member.end

    def close(self) -> None:
        """Write the directory. Leaves the file open."""
        self._out.write(_directory(self._members, self._at))


def read_members(file: BinaryIO) -> list[Member]:
    """Read the directory, and make sure that members, directory and end are the whole file; BundleError otherwise."""
    total = file.seek(0, 2)
    if total < _END.size:
        raise BundleError("The file is too short to be a bundle. It was cut, or is something else.")
    file.seek(total - _END.size)
    signature, *_, count, size, offset, _ = _END.unpack(file.read(_END.size))
    if signature != b"PK\x05\x06" or offset + size + _END.size != total or count > MAX_MEMBERS:
        raise BundleError("The file does not end as a bundle does. It was cut, packed again, or is something else.")
    if size > count * (_ENTRY.size + _MAX_NAME):
        raise BundleError("The bundle's directory is larger than its members account for. It was altered.")
    file.seek(offset)
    members = _parse_directory(file.read(size), count)
    file.seek(offset)
    if file.read() != _directory(members, offset) or offset != (members[-1].end if members else 0):
        raise BundleError("The bundle's directory is not as this product writes it. It was altered or packed again.")
    return members


def read_member(file: BinaryIO, member: Member) -> tuple[bytes, bool]:
    """Give a member's bytes, and whether they still are those that were written, as far as a checksum can tell.

    Anybody can correct a checksum: this finds accidents, and only signatures find forgeries.
    """
    file.seek(member.offset)
    if file.read(member.start - member.offset) != member.local_header:
        raise BundleError("A member of the bundle does not begin as the directory says. It was damaged.")
    content = file.read(member.size)
    return content, zlib.crc32(content) == member.crc


def _directory(members: Sequence[Member], offset: int) -> bytes:
    entries = b"".join(member.entry for member in members)
    return entries + _END.pack(b"PK\x05\x06", 0, 0, len(members), len(members), len(entries), offset, 0)


def _parse_directory(directory: bytes, count: int) -> list[Member]:
    """Read the entries. What this skips, the caller compares."""
    members: list[Member] = []
    place = end = 0
    for _ in range(count):
        fields = directory[place : place + _ENTRY.size]
        if len(fields) < _ENTRY.size:
            raise BundleError("The bundle's directory is cut. Get the bundle again.")
        _, _, _, _, _, _, _, crc, size, _, name_size, *_, offset = _ENTRY.unpack(fields)
        place += _ENTRY.size
        name = directory[place : place + name_size]
        place += name_size
        if name_size > _MAX_NAME or not name.isascii() or offset != end:
            raise BundleError("The bundle's directory names something no bundle holds. It was altered.")
        members.append(Member(name=name.decode("ascii"), offset=offset, size=size, crc=crc))
        end = members[-1].end
    return members
