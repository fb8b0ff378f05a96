"""Whatever is done to a stored log, the officer hears of it."""

import json
from dataclasses import replace
from typing import Any

import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage_ledger import events, merkle
from linkage_ledger.memory import MemoryLog
from linkage_ledger.verify import verify_log
from support.ledger_logs import KEY, make_header, make_log

SIZE = 7
GOOD = make_log(SIZE, checkpoint_every=3, body_every=4)


def copy_of(log: MemoryLog) -> MemoryLog:
    copy = MemoryLog()
    copy.event_rows = list(log.event_rows)
    copy.node_rows = dict(log.node_rows)
    copy.head_row = log.head_row
    copy.checkpoint_rows = dict(log.checkpoint_rows)
    copy.body_rows = dict(log.body_rows)
    return copy


def cells_of(log: MemoryLog) -> list[tuple[Any, ...]]:
    """The address of every stored cell: table, row, column, and the name of a copy."""
    cells: list[tuple[Any, ...]] = []
    for seq in range(SIZE):
        cells += [("event_rows", seq, column, None) for column in ("seq", "header", "leaf_hash")]
        copies = log.event_rows[seq].copies
        cells += [("event_rows", seq, "copies", name) for name, value in copies.items() if value is not None]
    for place in log.node_rows:
        cells += [("node_rows", place, column, None) for column in ("level", "index", "hash")]
    for size in log.checkpoint_rows:
        cells += [("checkpoint_rows", size, column, None) for column in ("size", "root", "note")]
    for seq in log.body_rows:
        cells += [("body_rows", seq, column, None) for column in ("seq", "salt", "body", "disposed")]
    return [*cells, ("head_row", None, "size", None), ("head_row", None, "root", None)]


CELLS = cells_of(GOOD)


def flipped(value: Any, *, byte: int, bit: int) -> Any:
    """The value with one bit changed, as the store would then give it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        raw = bytearray(value.to_bytes(8, "big", signed=True))
    elif isinstance(value, str):
        raw = bytearray(value.encode())
    else:
        raw = bytearray(value)
    raw[byte % len(raw)] ^= 1 << bit
    if isinstance(value, int):
        return int.from_bytes(raw, "big", signed=True)
    return raw.decode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(raw)


def damage(log: MemoryLog, cell: tuple[Any, ...], *, byte: int, bit: int) -> None:
    table, key, column, copy = cell
    rows = getattr(log, table)
    row = rows if key is None else rows[key]
    old = getattr(row, column)
    new = flipped(old if copy is None else old[copy], byte=byte, bit=bit)
    changed = replace(row, **{column: new if copy is None else {**old, copy: new}})
    if key is None:
        log.head_row = changed
        return
    rows[key] = changed
    if table == "event_rows":
        rows.sort(key=lambda row: row.seq)
    else:
        setattr(log, table, reordered(table, rows))


def reordered(table: str, rows: dict[Any, Any]) -> dict[Any, Any]:
    """The rows as a source gives them, by their numbers; equal numbers stay two rows."""
    keys = {
        "node_rows": lambda row: (row.level, row.index),
        "checkpoint_rows": lambda row: (row.size, 0),
        "body_rows": lambda row: (row.seq, 0),
    }
    ordered = sorted(rows.values(), key=keys[table])
    return dict(enumerate(ordered))


@settings(max_examples=1500, deadline=None)
@given(cell=st.sampled_from(CELLS), byte=st.integers(0, 4095), bit=st.integers(0, 7))
def test_verify_log_with_any_bit_of_any_cell_flipped_has_a_finding(cell: tuple[Any, ...], byte: int, bit: int) -> None:
    log = copy_of(GOOD)
    damage(log, cell, byte=byte, bit=bit)
    assert not verify_log(log, [KEY.verifier]).verified


def test_verify_log_with_every_byte_of_every_cell_flipped_in_turn_has_a_finding() -> None:
    # One bit of every byte, exhaustively; the property above draws the bits.
    for number, cell in enumerate(CELLS):
        table, key, column, copy = cell
        row = getattr(GOOD, table) if key is None else getattr(GOOD, table)[key]
        value = getattr(row, column) if copy is None else getattr(row, column)[copy]
        width = 1 if isinstance(value, bool) else 8 if isinstance(value, int) else len(value)
        for byte in range(width):
            log = copy_of(GOOD)
            damage(log, cell, byte=byte, bit=(number + byte) % 8)
            assert not verify_log(log, [KEY.verifier]).verified, (cell, byte)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_verify_log_with_any_row_removed_has_a_finding(data: st.DataObject) -> None:
    log = copy_of(GOOD)
    table = data.draw(st.sampled_from(["event_rows", "node_rows", "body_rows"]))
    rows = getattr(log, table)
    keys = range(SIZE) if table == "event_rows" else sorted(rows)
    del rows[data.draw(st.sampled_from(keys))]
    assert not verify_log(log, [KEY.verifier]).verified


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["bare", "full", "body", "checkpoint", "dispose"]), max_size=60),
    kept_at=st.integers(0, 59),
)
def test_verify_log_after_any_history_has_no_finding(steps: list[str], kept_at: int) -> None:
    log, kept = MemoryLog(), None
    for number, step in enumerate(steps):
        if step == "checkpoint":
            log.checkpoint(KEY)
        elif step == "dispose":
            for seq in log.body_rows:
                log.dispose_of_body(seq)
        else:
            log.append(make_header(number, full=step != "bare"), {"number": number} if step == "body" else None)
        if number == kept_at:
            kept = log.checkpoint(KEY)
    assert verify_log(log, [KEY.verifier], expected_checkpoint=kept).findings == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(body=st.dictionaries(st.text(), json_values, max_size=4))
def test_canonical_of_any_body_is_stable(body: dict[str, Any]) -> None:
    encoded = events.canonical(body)
    assert json.loads(encoded) == body
    assert events.canonical(dict(reversed(list(body.items())))) == encoded


@given(
    action=st.text(min_size=1, max_size=40).filter(lambda text: all(ch >= " " and ch != "\x7f" for ch in text)),
    counts=st.none()
    | st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), st.integers(0, 2**53 - 1)),
)
def test_parse_of_any_encoded_header_gives_the_header(action: str, counts: dict[str, int] | None) -> None:
    header = replace(make_header(), action=action, counts=counts)
    encoded = events.encode(header)
    assert events.parse(encoded) == header
    assert encoded == rfc8785.dumps(json.loads(encoded))


@given(sizes=st.tuples(st.integers(0, 300), st.integers(0, 300)).map(sorted), index=st.integers(0, 299))
def test_proofs_of_any_sizes_are_verified(sizes: list[int], index: int) -> None:
    old, new = sizes
    tree = merkle.MemoryNodes()
    leaves = [merkle.leaf_hash(number.to_bytes(2, "big")) for number in range(new)]
    for size, leaf in enumerate(leaves):
        for level, place, node in merkle.append(tree, size, leaf):
            tree.put(level, place, node)
    old_root, new_root = merkle.root(tree, old), merkle.root(tree, new)
    proof = merkle.consistency_proof(tree, old, new)
    merkle.verify_consistency(old_size=old, old_root=old_root, new_size=new, new_root=new_root, proof=proof)
    if index < new:
        path = merkle.inclusion_proof(tree, index, new)
        merkle.verify_inclusion(leaves[index], index=index, size=new, proof=path, root=new_root)
