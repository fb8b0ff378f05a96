"""What is checked when an upload completes, who is told, and what probing leads to."""

import hashlib
import json
from typing import Any

import httpx
import numpy as np
import pytest
import rfc8785

from linkage_service.uploads import probing, tables
from linkage_service.uploads import service as uploads
from support.databases import on_each_database
from support.linkage_schemas import linkage_schema
from support.service_app import (
    BITS,
    PART_BYTES,
    Json,
    Linked,
    Organisation,
    ServiceApp,
    data_sets,
    ok,
    parts_of,
    problem,
)

pytestmark = on_each_database

LONG = linkage_schema(l=2048)
LONG_DIGEST = hashlib.sha256(rfc8785.dumps(LONG)).hexdigest()

ROW_BYTES = BITS // 8


def send(provider: Organisation, project: str, rows: bytes, **changes: Any) -> tuple[str, httpx.Response]:
    upload = ok(provider.declare(project, rows, **changes), 201)["id"]
    for number, part in parts_of(rows):
        ok(provider.put_part(upload, number, part), 204)
    return upload, provider.post(f"/v1/uploads/{upload}:complete")


def long_project(service: ServiceApp) -> Linked:
    providers, recipient = [service.join(), service.join()], service.join()
    parties: dict[Organisation, tuple[str, ...]] = {
        **dict.fromkeys(providers, ("provider",)),
        recipient: ("recipient",),
    }
    agreement = service.activate(
        parties,
        data={"linkage_schema_sha256": LONG_DIGEST},
        security={"encoding_profile": "saul-k3-2048-v1", "minimum_tier": "hardened"},
    )
    project = ok(service.open_project(providers[0], agreement, linkage_schema=LONG), 201)["id"]
    return Linked(agreement=agreement, project=project, providers=providers, recipients=[recipient], uploads=[])


def hardened(rows: bytes, **changes: Any) -> Json:
    shape = {"count": len(rows) // 256, "bits": 2048, "linkage_schema_sha256": LONG_DIGEST}
    return {**shape, "encoding_profile": "saul-k3-2048-v1", **changes}


def sparse(rows: int, *, share: float = 0.3) -> bytes:
    return np.packbits(np.random.default_rng(3).random((rows, 2048)) < share, axis=1).tobytes()


def listed(caller: Any, linked: Linked, upload: str) -> Json:
    items = ok(caller.get(f"/v1/projects/{linked.project}/uploads"), 200)["items"]
    found: Json = next(item for item in items if item["id"] == upload)
    return found


def replaced(rows: bytes, *, row: int, seed: int) -> bytes:
    size = BITS // 8
    fresh = np.random.default_rng(seed).bytes(size)
    return rows[: row * size] + fresh + rows[(row + 1) * size :]


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    return service.project()


def test_plain_upload_that_claims_a_hardened_profile_is_refused_and_not_kept(service: ServiceApp) -> None:
    linked = long_project(service)
    rows = sparse(20)
    before = service.size()
    upload, answer = send(linked.providers[0], linked.project, rows, **hardened(rows))
    refused = problem(answer, 422, "not_the_profile")
    assert "element 5" in refused["detail"]
    assert refused["errors"][0]["pointer"] == "/manifest/encoding_profile"
    assert [event["type"] for event in service.events()[before:]][-2:] == ["upload.refused", "upload.deleted"]
    with service.runtime.database.reading() as session:
        row = tables.upload(session, upload)
    assert row is not None
    assert (row.state, row.data_key) == ("deleted", None)
    assert service.runtime.blobs.list(f"uploads/{upload}") == []


def test_refused_upload_leaves_the_one_before(service: ServiceApp) -> None:
    linked = long_project(service)
    good = np.random.default_rng(4).bytes(20 * 256)
    kept, answer = send(linked.providers[0], linked.project, good, **hardened(good))
    assert ok(answer, 200)["findings"] == []
    rows = sparse(20)
    problem(send(linked.providers[0], linked.project, rows, **hardened(rows))[1], 422, "not_the_profile")
    assert listed(linked.providers[0], linked, kept)["state"] == "complete"


@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_upload_of_nothing_is_refused(linked: Linked, byte: bytes) -> None:
    problem(send(linked.providers[0], linked.project, byte * (30 * BITS // 8))[1], 422, "not_encodings")


def test_variants_of_one_row_are_questioned_for_their_provider_and_officers_alone(
    service: ServiceApp, linked: Linked
) -> None:
    rng = np.random.default_rng(5)
    register = rng.integers(0, 2, (150, BITS), dtype=np.uint8)
    probes = np.repeat(register[:1], 40, axis=0)
    for number, place in enumerate(rng.integers(0, BITS, 40)):
        probes[number, place] ^= 1
    rows = np.packbits(np.concatenate([register, probes]), axis=1).tobytes()
    upload, answer = send(linked.providers[0], linked.project, rows)
    assert [finding["code"] for finding in ok(answer, 200)["findings"]] == ["near_duplicates"]
    assert [finding["code"] for finding in listed(service.officer, linked, upload)["findings"]] == ["near_duplicates"]
    assert [item["code"] for item in listed(linked.providers[0], linked, upload)["findings"]] == ["near_duplicates"]
    assert listed(linked.providers[1], linked, upload)["findings"] is None
    questioned = [event for event in service.events() if event["type"] == "upload.questioned"]
    assert [event["counts"] for event in questioned] == [{"near_duplicates": 1}]


def test_small_differences_are_questioned_three_times_and_then_refused(service: ServiceApp, linked: Linked) -> None:
    provider = linked.providers[0]
    (rows,) = data_sets(120, shared=0)
    assert ok(send(provider, linked.project, rows)[1], 200)["findings"] == []
    for number in range(3):
        service.clock.move(days=2)
        rows = replaced(rows, row=number, seed=number)
        upload, answer = send(provider, linked.project, rows)
        assert [finding["code"] for finding in ok(answer, 200)["findings"]] == ["small_difference"]
    service.clock.move(days=2)
    refused, answer = send(provider, linked.project, replaced(rows, row=9, seed=9))
    problem(answer, 409, "probing_suspected")
    assert listed(provider, linked, upload)["state"] == "complete"
    assert listed(provider, linked, refused)["state"] == "deleted"


def test_small_difference_is_noticed_though_the_earlier_upload_was_deleted(linked: Linked) -> None:
    provider = linked.providers[0]
    (rows,) = data_sets(120, shared=0)
    ok(provider.delete(f"/v1/uploads/{send(provider, linked.project, rows)[0]}"), 204)
    found = ok(send(provider, linked.project, replaced(rows, row=3, seed=3))[1], 200)["findings"]
    assert [finding["code"] for finding in found] == ["small_difference"]


def test_upload_of_the_same_or_of_other_people_is_not_questioned(linked: Linked) -> None:
    first, second = data_sets(120, shared=0), data_sets(120, shared=0, seed=2)
    for rows in (*first, *first, *second):
        assert ok(send(linked.providers[0], linked.project, rows)[1], 200)["findings"] == []


def test_small_difference_to_another_providers_upload_says_nothing(linked: Linked) -> None:
    (rows,) = data_sets(120, shared=0)
    ok(send(linked.providers[0], linked.project, rows)[1], 200)
    assert ok(send(linked.providers[1], linked.project, replaced(rows, row=1, seed=1))[1], 200)["findings"] == []


def test_fifth_upload_of_a_day_is_questioned(service: ServiceApp, linked: Linked) -> None:
    found = []
    for seed in range(5):
        (rows,) = data_sets(20, shared=0, seed=seed)
        found = ok(send(linked.providers[0], linked.project, rows)[1], 200)["findings"]
        service.clock.move(hours=1)
    assert [finding["code"] for finding in found] == ["frequent_uploads"]


def test_forgotten_project_has_no_sketch_and_no_key_of_one(service: ServiceApp, linked: Linked) -> None:
    (rows,) = data_sets(120, shared=0)
    ok(send(linked.providers[0], linked.project, rows)[1], 200)
    with service.runtime.database.writing() as session:
        assert tables.probe_key(session, linked.project) is not None
        probing.forget(session, project=linked.project)
    with service.runtime.database.reading() as session:
        assert tables.probe_key(session, linked.project) is None
        assert tables.all_sketches(session, linked.project) == []
    # The next upload is taken, and compared with nothing.
    assert ok(send(linked.providers[0], linked.project, replaced(rows, row=1, seed=1))[1], 200)["findings"] == []


def test_sketch_is_dropped_when_its_encodings_would_have_been(service: ServiceApp, linked: Linked) -> None:
    (rows,) = data_sets(120, shared=0)
    ok(send(linked.providers[0], linked.project, rows)[1], 200)
    service.clock.move(days=31)
    assert ok(send(linked.providers[0], linked.project, replaced(rows, row=1, seed=1))[1], 200)["findings"] == []


def test_questioned_upload_can_be_matched(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(120, 120, shared=60))
    (rows, _) = data_sets(120, 120, shared=60)
    linked.uploads[0] = linked.providers[0].upload(linked.project, replaced(rows, row=119, seed=8))
    assert service.run(linked)["state"] == "succeeded"
    assert service.verified()
    bodies = json.dumps(service.events())
    assert "small_difference" in bodies


def test_part_sent_again_while_the_upload_is_checked_completes_nothing(
    service: ServiceApp, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = linked.providers[0]
    rows, other = data_sets(PART_BYTES // ROW_BYTES, PART_BYTES // ROW_BYTES, shared=0, seed=9)
    upload = ok(provider.declare(linked.project, rows), 201)["id"]
    ok(provider.put_part(upload, 1, rows), 204)
    inspect = uploads.inspect

    def slow(*asked: Any) -> uploads.Inspected | None:
        inspected = inspect(*asked)
        ok(provider.put_part(upload, 1, other), 204)
        return inspected

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(uploads, "inspect", slow)
        problem(provider.post(f"/v1/uploads/{upload}:complete"), 409, "parts_changed")
    assert ok(provider.get(f"/v1/uploads/{upload}"), 200)["state"] == "receiving"
    problem(provider.post(f"/v1/uploads/{upload}:complete"), 422)
    ok(provider.put_part(upload, 1, rows), 204)
    assert ok(provider.post(f"/v1/uploads/{upload}:complete"), 200)["state"] == "complete"
    assert service.verified()
