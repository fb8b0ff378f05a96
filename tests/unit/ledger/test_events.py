import hashlib
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest

from linkage_ledger import events
from linkage_ledger.errors import EventError
from support.ledger_logs import make_header


class Colour(StrEnum):
    RED = "red"


def members(**changes: object) -> bytes:
    given: dict[str, Any] = json.loads(events.encode(make_header(3)))
    given.update(changes)
    return json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_canonical_orders_names_by_utf16_and_escapes_little() -> None:
    value = {"\u20ac": 1, "\r": True, "\U0001f600": None, "1": ["ö\n"], "\ufb33": Colour.RED}
    expected = '{"\\r":true,"1":["ö\\n"],"\u20ac":1,"\U0001f600":null,"\ufb33":"red"}'
    assert events.canonical(value).decode() == expected


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        {"a": [0.5]},
        float("nan"),
        2**53,
        -(2**53),
        {1: "a"},
        b"bytes",
        {"a"},
        datetime(2026, 1, 1, tzinfo=UTC),
        uuid.UUID(int=1),
        "\ud800",
        {"\ud800": 1},
        {"a": "\ud800"},
    ],
)
def test_canonical_of_what_has_no_single_spelling_is_refused(value: object) -> None:
    with pytest.raises(EventError):
        events.canonical(value)


def test_canonical_of_bottomless_nesting_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(EventError, match="nested"):
        events.canonical(value)


def test_encode_of_a_full_header_is_the_documented_shape() -> None:
    header = replace(make_header(3), id="019cb98a-0000-7000-8000-000000000000", body_hash="a" * 64)
    assert json.loads(events.encode(header)) == {
        "v": 1,
        "id": "019cb98a-0000-7000-8000-000000000000",
        "time": "2026-03-01T12:00:03.000000Z",
        "type": "upload.completed",
        "actor": {"kind": "client", "id": "cli_3", "org": "org_a"},
        "authn": {"method": "private_key_jwt", "key_thumbprint": "thumb"},
        "agreement": {"ref": "agr_1", "version": 1, "digest": "0" * 64},
        "project": "prj_1",
        "resource": {"type": "upload", "id": "upl_3"},
        "action": "complete",
        "purpose": "service-planning",
        "decision": {
            "effect": "allow",
            "policies": ["provider-uploads"],
            "policy_digest": "1" * 64,
            "entities_digest": "2" * 64,
        },
        "outcome": {"status": "success", "code": "ok"},
        "counts": {"rows": 5003},
        "request_id": "req_3",
        "source": "192.0.2.7",
        "body_hash": "a" * 64,
    }


def test_encode_of_a_bare_header_leaves_absent_members_out() -> None:
    assert set(json.loads(events.encode(make_header(3, full=False)))) == {
        *("v", "id", "time", "type", "actor", "resource", "action", "outcome", "request_id", "source")
    }


@pytest.mark.parametrize("full", [True, False])
def test_parse_of_an_encoded_header_gives_the_header(*, full: bool) -> None:
    header = make_header(3, full=full)
    assert events.parse(events.encode(header)) == header


def test_parse_of_a_header_with_empty_collections_gives_the_header() -> None:
    header = make_header(3)
    assert header.decision is not None
    header = replace(header, counts={}, decision=replace(header.decision, policies=()))
    assert events.parse(events.encode(header)) == header


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 50_000,
        b"1" * 5_000,
        b" " * 70_000,
        members(v=2),
        members(v=True),
        members(id="019CB98A-0000-7000-8000-000000000000"),
        members(id="019cb98a-0000-4000-8000-000000000000"),
        members(time="2026-03-01T12:00:03Z"),
        members(time="2026-03-01T12:00:03.000000+00:00"),
        members(time="2026-02-30T12:00:03.000000Z"),
        members(type="Upload completed"),
        members(type=7),
        members(actor=None),
        members(actor={"kind": "robot"}),
        members(actor={"kind": ["client"]}),
        members(actor={"kind": "client", "name": "P. Example"}),
        members(authn={"method": "key", "key_thumbprint": "a", "session": "b"}),
        members(authn=None),
        members(agreement={"ref": "a", "version": "1", "digest": "b"}),
        members(agreement={"ref": "a", "version": True, "digest": "b"}),
        members(agreement={"ref": "a", "version": -1, "digest": "b"}),
        members(project=None),
        members(project=""),
        members(project="a" * 1025),
        members(resource="upl_3"),
        members(resource={}),
        members(action="line\nbreak"),
        members(action="nul\x00"),
        members(decision={"effect": "maybe", "policies": [], "policy_digest": "a", "entities_digest": "b"}),
        members(decision={"effect": "allow", "policies": "abc", "policy_digest": "a", "entities_digest": "b"}),
        members(decision={"effect": "allow", "policies": [1], "policy_digest": "a", "entities_digest": "b"}),
        members(decision={"effect": "allow", "policy_digest": "a", "entities_digest": "b"}),
        members(decision={"effect": "allow", "policies": ["a"] * 257, "policy_digest": "a", "entities_digest": "b"}),
        members(outcome={"status": "fine", "code": "ok"}),
        members(counts={"rows": 1.5}),
        members(counts={"rows": 5e3}),
        members(counts={"rows": -1}),
        members(counts={"rows": True}),
        members(counts={"rows": 2**53}),
        members(counts={"P. Example": 1}),
        members(counts=[1]),
        members(counts={f"c{number}": 1 for number in range(257)}),
        members(counts={"rows": float("nan")}),
        members(body_hash="A" * 64),
        members(surprise=1),
        members(action="surrogate").replace(b"surrogate", b"\\ud800"),
        members(purpose=None),
        members(actor={"kind": "client", "id": None}),
        members(self=1),
        members() + b"\n",
        members().replace(b'"v":1', b'"v": 1'),
        members().replace(b'"v":1', b'"v":1,"v":1'),
        members().replace(b"ok", b"\\u006fk"),
    ],
)
def test_parse_of_anything_but_a_canonical_header_is_refused(encoded: bytes) -> None:
    with pytest.raises(EventError):
        events.parse(encoded)


def test_parse_refusing_quotes_nothing_of_the_leaf() -> None:
    with pytest.raises(EventError) as caught:
        events.parse(members(action="secret\nname"))
    assert "secret" not in str(caught.value)


def test_encode_of_a_header_too_large_is_refused() -> None:
    decision = events.Decision(effect="allow", policies=("p" * 1024,) * 100, policy_digest="a", entities_digest="b")
    with pytest.raises(EventError, match="body"):
        events.encode(replace(make_header(), decision=decision))


def test_indexed_of_a_full_header_names_every_copy() -> None:
    header = make_header(3)
    assert events.indexed(header) == {
        "id": header.id,
        "time": "2026-03-01T12:00:03.000000Z",
        "type": "upload.completed",
        "actor_kind": "client",
        "actor_id": "cli_3",
        "actor_org": "org_a",
        "agreement": "agr_1",
        "agreement_version": "1",
        "project": "prj_1",
        "resource_type": "upload",
        "resource_id": "upl_3",
        "action": "complete",
        "purpose": "service-planning",
        "effect": "allow",
        "elements": None,
        "outcome": "success",
        "request_id": "req_3",
    }


def test_indexed_of_a_bare_header_has_the_same_names() -> None:
    bare = events.indexed(make_header(3, full=False))
    assert list(bare) == list(events.indexed(make_header(3)))
    assert {name for name, value in bare.items() if value is None} == {
        *("actor_id", "actor_org", "agreement", "agreement_version", "project", "resource_id", "purpose", "effect"),
        "elements",
    }


@pytest.mark.parametrize(
    ("effect", "policies", "elements"),
    [
        ("deny", ("G8-review", "G2-hours", "G2-network"), "28"),
        ("deny", ("G5-key-rotation",), "5"),
        ("deny", (), "2"),
        ("deny", ("policy-error",), None),
        ("allow", ("P-browse",), None),
    ],
)
def test_deciding_elements_are_those_of_the_policies_that_refused(
    effect: events.Effect, policies: tuple[str, ...], elements: str | None
) -> None:
    decision = events.Decision(effect=effect, policies=policies, policy_digest="a", entities_digest="b")
    assert events.deciding_elements(decision) == elements
    assert events.indexed(replace(make_header(3), decision=decision))["elements"] == elements


def test_body_hash_is_sha256_over_salt_and_canonical_body() -> None:
    salt = bytes(range(32))
    expected = hashlib.sha256(b"\x00" + salt + b'{"a":1,"b":"c"}').digest()
    assert events.body_hash(salt, {"b": "c", "a": 1}) == expected


def test_body_hash_with_a_short_salt_is_refused() -> None:
    with pytest.raises(EventError, match="new_salt"):
        events.body_hash(b"short", {})


def test_new_salt_twice_differs() -> None:
    assert len(events.new_salt()) == 32
    assert events.new_salt() != events.new_salt()


def test_format_time_of_another_zone_is_utc() -> None:
    at = datetime(2026, 7, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert events.format_time(at) == "2026-06-30T23:30:00.000000Z"


def test_format_time_of_a_naive_moment_is_refused() -> None:
    with pytest.raises(EventError, match="time zone"):
        events.format_time(datetime(2026, 7, 1, tzinfo=UTC).replace(tzinfo=None))


def test_new_id_is_a_uuid7_of_the_moment() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    made = uuid.UUID(events.new_id(at))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == int(at.timestamp() * 1000)
    assert events.new_id(at) != str(made)
