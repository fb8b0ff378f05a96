"""Bad input: what comes back names the fault, and never repeats what was sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.service_app import (
    PART_BYTES,
    Linked,
    Organisation,
    ServiceApp,
    agreement_document,
    content_digest,
    data_sets,
    ok,
    parts_of,
    problem,
    service_app,
)

CANARY = "zq-canary-zq"
ROWS, OTHER_ROWS = data_sets(50, 50, shared=10)
KEY = {"epoch": 1, "check_value": "ab" * 16, "derivation": "linkage/derive/v1"}
LEAKAGE = {
    "sample": 2500,
    "reidentified_50": 0.01,
    "reidentified_300": 0.02,
    "edge_overlap": 0.1,
    "rank_correlation": 0.2,
    "probe_auc": 0.6,
    "fill": 0.5,
}


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    return service.project()


@pytest.fixture
def provider(linked: Linked) -> Organisation:
    return linked.providers[0]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"bits": 512, "count": 25}, "/manifest/bits"),
        ({"bits": 250}, "/manifest/bits"),
        ({"count": 51}, "/manifest"),
        ({"linkage_schema_sha256": "0" * 64}, "/manifest/linkage_schema_sha256"),
        ({"key": {**KEY, "epoch": 2}}, "/manifest/key/epoch"),
        ({"key": {**KEY, "derivation": "linkage/derive/v2"}}, "/manifest/key/derivation"),
        ({"completeness": {"given_name": 1.0}}, "/manifest/completeness"),
        ({"completeness": {"given_name": 1.0, "surname": 1.5}}, "/manifest/completeness/surname"),
        ({"validity": {"given_name": 1.0, CANARY: 1.0}}, "/manifest/validity"),
        ({"leakage": {**LEAKAGE, "reidentified_300": -0.1}}, "/manifest/leakage/reidentified_300"),
        ({"version": 2}, "/manifest/version"),
        ({CANARY: 1}, "/manifest"),
    ],
)
def test_manifest_that_does_not_fit_is_refused(
    provider: Organisation, linked: Linked, changes: dict[str, Any], pointer: str
) -> None:
    answer = provider.declare(linked.project, ROWS, **changes)
    document = problem(answer, 422)
    assert pointer in {error["pointer"] for error in document["errors"]}
    assert CANARY not in answer.text


def test_manifest_with_another_field_than_agreed_is_refused(service: ServiceApp) -> None:
    linked = service.project(data={"identifier_fields": ["given_name"]})
    document = problem(linked.providers[0].declare(linked.project, ROWS), 403, "refused")
    assert [element["policy"] for element in document["elements"]] == ["G3-data-in"]


def test_manifest_made_with_another_secret_is_refused_to_the_second_provider(linked: Linked) -> None:
    first, second = linked.providers
    first.upload(linked.project, ROWS)
    key = {**KEY, "check_value": "cd" * 16}
    problem(second.declare(linked.project, OTHER_ROWS, key=key), 409, "other_secret")


@pytest.mark.parametrize("derivation", [{}, {"derivation": None}])
def test_manifest_of_an_older_client_is_refused_with_what_to_do(
    provider: Organisation, linked: Linked, derivation: dict[str, None]
) -> None:
    key = {"epoch": 1, "check_value": "ab" * 16, **derivation}
    document = problem(provider.declare(linked.project, ROWS, key=key), 422)
    (error,) = document["errors"]
    assert error["pointer"] == "/manifest/key"
    assert "Encode again with a current linkage command" in error["detail"]


def test_manifest_under_another_profile_is_refused_to_the_second_provider(linked: Linked) -> None:
    first, second = linked.providers
    first.upload(linked.project, ROWS)
    problem(second.declare(linked.project, OTHER_ROWS, encoding_profile="ours"), 409, "other_profile")
    ok(first.declare(linked.project, ROWS, encoding_profile="ours"), 201)


def test_manifest_normalised_otherwise_is_refused_to_the_second_provider(linked: Linked) -> None:
    first, second = linked.providers
    first.upload(linked.project, ROWS, normalisation_sha256="1a" * 32)
    answer = second.declare(linked.project, OTHER_ROWS, normalisation_sha256="2b" * 32)
    problem(answer, 409, "other_normalisation")


def test_manifest_without_a_normalisation_is_left_to_its_provider(linked: Linked) -> None:
    first, second = linked.providers
    first.upload(linked.project, ROWS, normalisation_sha256="1a" * 32)
    ok(second.declare(linked.project, OTHER_ROWS), 201)


@pytest.mark.parametrize(
    ("declared", "policies"),
    [
        (None, ["G5-leakage-declared"]),
        ({**LEAKAGE, "reidentified_300": 0.051}, ["G5-leakage"]),
        ({**LEAKAGE, "reidentified_300": 0.05}, []),
    ],
    ids=["undeclared", "above", "at the limit"],
)
def test_manifest_is_held_to_the_agreed_limit_of_reidentification(
    service: ServiceApp, declared: dict[str, object] | None, policies: list[str]
) -> None:
    linked = service.project(security={"maximum_reidentification": 0.05})
    answer = linked.providers[0].declare(linked.project, ROWS, leakage=declared)
    if not policies:
        ok(answer, 201)
        return
    assert [element["policy"] for element in problem(answer, 403, "refused")["elements"]] == policies


def test_upload_above_the_limit_is_refused(tmp_path: Path) -> None:
    with service_app(tmp_path, upload_bytes_max=len(ROWS) - 1) as small:
        linked = small.project()
        problem(linked.providers[0].declare(linked.project, ROWS), 413, "too_large")


def test_part_that_is_cut_or_changed_or_unnamed_is_refused(
    service: ServiceApp, provider: Organisation, linked: Linked
) -> None:
    upload = ok(provider.declare(linked.project, ROWS), 201)["id"]
    part = ROWS[:PART_BYTES]
    cut = problem(provider.put_part(upload, 1, part[:-1]), 422)
    assert cut["errors"][0]["code"] == "wrong_size"
    assert service.events()[-1]["type"] == "upload.refused"
    changed = problem(provider.put_part(upload, 1, part, content_digest=content_digest(b"other")), 422)
    assert changed["errors"][0]["code"] == "digest_differs"
    missing = problem(provider.put_part(upload, 1, part, content_digest=None), 422)
    assert missing["errors"][0]["pointer"] == "/header/content-digest"
    problem(provider.put_part(upload, 1, part, content_digest="md5=:AAAA:"), 422)
    problem(provider.put_part(upload, 1, part, content_type="application/json"), 415, "wrong_media_type")
    problem(provider.put_part(upload, 1, part + b"x"), 413, "too_large")
    problem(provider.put_part(upload, 3, part), 404, "not_found")
    problem(provider.put_part(upload, 0, part), 422)
    assert ok(provider.get(f"/v1/uploads/{upload}"), 200)["parts_received"] == []
    assert service.runtime.blobs.list(f"uploads/{upload}") == []


def test_part_sent_again_replaces_the_one_before(provider: Organisation, linked: Linked) -> None:
    upload = ok(provider.declare(linked.project, ROWS), 201)["id"]
    (one, first), (two, second) = parts_of(ROWS)
    ok(provider.put_part(upload, one, bytes(PART_BYTES)), 204)
    ok(provider.put_part(upload, two, second), 204)
    document = problem(provider.post(f"/v1/uploads/{upload}:complete"), 422)
    assert document["errors"][0]["pointer"] == "/manifest/sha256"
    ok(provider.put_part(upload, one, first), 204)
    ok(provider.post(f"/v1/uploads/{upload}:complete"), 200)
    problem(provider.put_part(upload, one, first), 409, "conflict")
    problem(provider.post(f"/v1/uploads/{upload}:complete"), 409, "conflict")


def test_upload_with_a_part_missing_is_not_completed(provider: Organisation, linked: Linked) -> None:
    upload = ok(provider.declare(linked.project, ROWS), 201)["id"]
    ok(provider.put_part(upload, 2, ROWS[PART_BYTES:]), 204)
    assert "1 of 2 parts" in problem(provider.post(f"/v1/uploads/{upload}:complete"), 409, "conflict")["detail"]


def test_second_upload_replaces_the_first_once_it_is_complete(
    service: ServiceApp, provider: Organisation, linked: Linked
) -> None:
    first = provider.upload(linked.project, ROWS)
    second = ok(provider.declare(linked.project, OTHER_ROWS), 201)["id"]
    assert ok(provider.get(f"/v1/uploads/{first}"), 200)["state"] == "complete"
    for number, part in parts_of(OTHER_ROWS):
        ok(provider.put_part(second, number, part), 204)
    ok(provider.post(f"/v1/uploads/{second}:complete"), 200)
    assert ok(provider.get(f"/v1/uploads/{first}"), 200)["state"] == "deleted"
    assert service.runtime.blobs.list(f"uploads/{first}") == []
    assert [event["type"] for event in service.events()[-2:]] == ["upload.deleted", "upload.completed"]


def test_unfinished_upload_gives_way_to_a_new_one(provider: Organisation, linked: Linked) -> None:
    first = ok(provider.declare(linked.project, ROWS), 201)["id"]
    ok(provider.declare(linked.project, ROWS), 201)
    assert ok(provider.get(f"/v1/uploads/{first}"), 200)["state"] == "deleted"
    problem(provider.delete(f"/v1/uploads/{first}"), 409, "conflict")


def test_run_before_every_provider_has_uploaded_is_refused(linked: Linked, provider: Organisation) -> None:
    provider.upload(linked.project, ROWS)
    problem(provider.post(f"/v1/projects/{linked.project}/runs", {}), 409, "uploads_awaited")


@pytest.mark.parametrize("threshold", [0, 1.01, -1, "high", True])
def test_threshold_out_of_range_is_refused(linked: Linked, provider: Organisation, threshold: object) -> None:
    document = problem(provider.post(f"/v1/projects/{linked.project}/runs", {"threshold": threshold}), 422)
    assert document["errors"][0]["pointer"] == "/threshold"


def test_unknown_ids_are_not_found_and_malformed_ones_invalid(service: ServiceApp) -> None:
    partner, nobody = service.join(), "0" * 26
    for path in (
        f"organisations/org_{nobody}", f"agreements/agr_{nobody}", f"projects/prj_{nobody}", f"uploads/upl_{nobody}",
        f"runs/run_{nobody}", f"releases/rel_{nobody}", "audit/events/999999", "audit/consistency?first=9&second=1",
    ):  # fmt: skip
        problem(partner.get(f"/v1/{path}"), 404, "not_found")
    for path in ("projects/prj_1", f"runs/prj_{nobody}", "organisations/x", "audit/events/-1", "audit/events/x"):
        assert problem(partner.get(f"/v1/{path}"), 422)["errors"][0]["pointer"].startswith("/path/")


@pytest.mark.parametrize(
    "body",
    [
        f'{{"name": "{CANARY}"'.encode(), b"\xff\xfe", b"[" * 100_000, b"", b"null", b'"text"',
        f'["{CANARY}"]'.encode(),
        f'{{"name": "ok", "{CANARY}": "{CANARY}"}}'.encode(), f'{{"name": ["{CANARY}"]}}'.encode(),
        f'{{"name": "{CANARY}\\u0000"}}'.encode(), b'{"name": "\\ud800"}', b'{"name": NaN}',
        json.dumps({"name": CANARY * 100}).encode(),
    ],
)  # fmt: skip
def test_body_that_is_no_valid_document_is_refused_without_echo(service: ServiceApp, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = service.administrator.request("POST", "/v1/organisations", content=body, headers=headers)
    problem(answer, 422)
    assert CANARY not in answer.text


def test_body_of_another_media_type_is_refused_as_such(service: ServiceApp) -> None:
    headers = {"Content-Type": "text/plain"}
    answer = service.administrator.request("POST", "/v1/organisations", content=b'{"name":"x"}', headers=headers)
    problem(answer, 415, "wrong_media_type")


@pytest.mark.parametrize("path", ["/v1/organisations", "/v1/registrations", "/v1/oauth/token"])
def test_body_above_the_limit_is_refused(service: ServiceApp, path: str) -> None:
    kind = "application/x-www-form-urlencoded" if path.endswith("token") else "application/json"
    body = b'{"name": "' + b"x" * service.settings.body_bytes_max + b'"}'
    answer = service.administrator.request("POST", path, content=body, headers={"Content-Type": kind})
    problem(answer, 413, "too_large")
    pieces = (b"x" * 65536 for _ in range(service.settings.body_bytes_max // 65536 + 1))
    answer = service.administrator.request("POST", path, content=pieces, headers={"Content-Type": kind})
    problem(answer, 413, "too_large")


def test_lists_page_by_cursor_without_gap_or_repetition(service: ServiceApp) -> None:
    made = {service.join().organisation for _ in range(5)} | {service.administrator.organisation}
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = ok(service.officer.get("/v1/organisations", params=params), 200)
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert len(seen) == 6
    assert set(seen) == made


@pytest.mark.parametrize(
    "query", ["cursor=zzz", "cursor=AAAA", "cursor=%00", "limit=0", "limit=501", "limit=x", "offset=3"]
)
def test_list_with_a_cursor_or_limit_of_ones_own_is_refused(service: ServiceApp, query: str) -> None:
    problem(service.officer.get(f"/v1/organisations?{query}"), 422)


def test_agreement_with_a_wrong_element_is_refused_by_pointer_without_echo(service: ServiceApp) -> None:
    organisation, other = service.join(), service.join()
    parties = {organisation.organisation: ["provider", "recipient"], other.organisation: ["provider"]}
    for changes, pointer in (
        ({"title": CANARY * 50}, "/document/title"),
        ({"review": {"ends": "2025-01-01T00:00:00Z"}}, "/document/review"),
        ({"review": {"ends": "2027-01-01T00:00:00"}}, "/document/review/ends"),
        ({"review": {"starts": "0001-01-01T00:00:00+14:00"}}, "/document/review/starts"),
        ({"review": {"ends": "9999-12-31T23:59:59-14:00"}}, "/document/review/ends"),
        ({"data": {"population": f"{CANARY}\x00"}}, "/document/data/population"),
        ({"quality": {"min_completeness": {CANARY: 0.5}}}, "/document"),
        ({CANARY: {}}, "/document"),
        ({"rights": {"privacy_notice_url": f"javascript:{CANARY}"}}, "/document/rights/privacy_notice_url"),
    ):
        answer = organisation.post("/v1/agreements", {"document": agreement_document(parties, **changes)})
        assert problem(answer, 422)["errors"][0]["pointer"] == pointer
        assert CANARY not in answer.text
    unknown = agreement_document({**parties, "org_" + "0" * 26: ["processor"]})
    errors = problem(organisation.post("/v1/agreements", {"document": unknown}), 422)["errors"]
    assert errors[0]["pointer"] == "/document/recipients/parties/2/organisation"


def test_signature_over_another_document_or_by_another_key_is_refused(service: ServiceApp) -> None:
    organisation, other = service.join(), service.join()
    agreement = service.draft({organisation: ["provider", "recipient"], other: ["provider"]})
    problem(organisation.sign_agreement(agreement), 409, "conflict")
    ok(organisation.change(f"/v1/agreements/{agreement['id']}/versions/1:propose"), 200)
    problem(organisation.sign_agreement({**agreement, "digest": "0" * 64}), 422)
    organisation.signing_key, kept = other.signing_key, organisation.signing_key
    problem(organisation.sign_agreement(agreement), 422)
    organisation.signing_key = kept
    ok(organisation.sign_agreement(agreement), 201)
    problem(organisation.sign_agreement(agreement), 409, "conflict")
    problem(organisation.change(f"/v1/agreements/{agreement['id']}/versions/1:propose"), 409, "conflict")


def test_project_with_another_schema_than_signed_is_refused(service: ServiceApp, linked: Linked) -> None:
    provider = linked.providers[0]
    other = service.open_project(provider, linked.agreement, linkage_schema={"version": 3, "secret": CANARY})
    assert [element["policy"] for element in problem(other, 403)["elements"]] == ["G3-schema"]
    assert CANARY not in other.text
    unclean = b'{"agreement":"%s","name":"n","purpose":"planning","linkage_schema":{"x":NaN,"y":"\\ud800"}}'
    body = unclean % linked.agreement["id"].encode()
    answer = provider.request("POST", "/v1/projects", content=body, headers={"Content-Type": "application/json"})
    problem(answer, 422)


def test_link_table_in_a_format_that_is_not_made_is_refused(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    release = service.release(linked, service.run(linked))
    headers = {"Accept": "application/pdf"}
    answer = linked.providers[0].get(f"/v1/releases/{release['id']}/link-table", headers=headers)
    problem(answer, 406, "not_acceptable")


def test_idempotency_key_that_cannot_be_printed_is_refused(service: ServiceApp) -> None:
    headers = {"Idempotency-Key": "a\tb"}
    problem(service.administrator.post("/v1/organisations", {"name": "n"}, headers=headers), 422)


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("levels", [65, 400, 900])
def test_document_nested_too_deep_is_refused(service: ServiceApp, linked: Linked, levels: int, *, keyed: bool) -> None:
    nested: Any = []
    for _ in range(levels):
        nested = [nested]
    headers = {"Idempotency-Key": "once"} if keyed else {}
    draft = {"agreement": linked.agreement["id"], "name": "n", "purpose": "planning", "linkage_schema": {"x": nested}}
    answer = linked.providers[0].post("/v1/projects", draft, headers=headers)
    assert problem(answer, 422)["errors"][0]["pointer"].startswith("/linkage_schema")
    client = {"name": "n", "jwk": {"kty": nested}, "roles": ["officer"]}
    own = f"/v1/organisations/{service.administrator.organisation}/clients"
    problem(service.administrator.post(own, client, headers=headers), 422)


def test_body_with_half_a_character_is_refused_with_a_key_too(service: ServiceApp) -> None:
    own = f"/v1/organisations/{service.administrator.organisation}/clients"
    body = b'{"name": "n", "jwk": {"kty": "OKP", "x": "\\ud800"}, "roles": ["signatory"]}'
    headers = {"Content-Type": "application/json", "Idempotency-Key": "once"}
    problem(service.administrator.request("POST", own, content=body, headers=headers), 422)


def test_resource_of_others_and_one_that_is_none_are_the_same_answer(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    run = service.run(linked)
    release = service.release(linked, run)
    outsider, nobody = service.join(), "0" * 26
    for path in (
        f"/v1/agreements/{linked.agreement['id']}", f"/v1/projects/{linked.project}",
        f"/v1/uploads/{linked.uploads[0]}", f"/v1/runs/{run['id']}", f"/v1/releases/{release['id']}",
    ):  # fmt: skip
        others, missing = outsider.get(path), outsider.get(f"{path[:-26]}{nobody}")
        told = [{**problem(answer, 404), "request_id": ""} for answer in (others, missing)]
        assert told[0] == told[1]
