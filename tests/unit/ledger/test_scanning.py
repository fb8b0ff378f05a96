import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage_ledger import events, scanning
from linkage_ledger.errors import EventError
from linkage_ledger.scanning import Scanned, scan
from support.bundles import fine_headers, odd_headers
from support.ledger_logs import make_header

PLAIN = [events.encode(make_header(number, full=number % 2 == 0)) for number in range(4)]
# What two bytes of a header are turned into, so that most results still are JSON.
PIECES = [
    b'"',
    b"\\",
    b",",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"0",
    b"1",
    b"-",
    b".",
    b"e",
    b" ",
    b"\xff",
    b"\xc3\xa9",
    b"",
]


def slowly(encoded: bytes) -> Scanned | None:
    try:
        header = events.parse(encoded)
    except EventError:
        return None
    return Scanned(
        events.indexed(header),
        header.body_hash,
        header.agreement.digest if header.agreement else None,
        header.decision.policy_digest if header.decision else None,
    )


def quickly(encoded: bytes) -> Scanned | None:
    try:
        return scan(encoded)
    except EventError:
        return None


@pytest.mark.parametrize("encoded", PLAIN)
def test_scan_of_what_the_product_writes_is_quick(encoded: bytes) -> None:
    assert scanning._scan_plain(encoded) == slowly(encoded)


@pytest.mark.parametrize("name", fine_headers())
def test_scan_reads_unusual_headers(name: str) -> None:
    encoded = fine_headers()[name]
    assert scan(encoded) == slowly(encoded)


@pytest.mark.parametrize("name", odd_headers())
def test_scan_refuses_what_is_no_header(name: str) -> None:
    with pytest.raises(EventError):
        scan(odd_headers()[name])


def test_scan_of_every_flipped_bit_agrees_with_parse() -> None:
    for encoded in PLAIN[:2]:
        for at in range(len(encoded)):
            changed = bytearray(encoded)
            changed[at] ^= 1 << random.Random(at).randrange(8)
            assert quickly(bytes(changed)) == slowly(bytes(changed)), at


@settings(max_examples=200)
@given(
    st.sampled_from(PLAIN),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3), st.sampled_from(PIECES)), max_size=3),
)
def test_scan_of_edited_headers_agrees_with_parse(encoded: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    for place, length, piece in edits:
        at = place % len(encoded)
        encoded = encoded[:at] + piece + encoded[at + length :]
    assert quickly(encoded) == slowly(encoded)
