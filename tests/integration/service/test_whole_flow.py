"""Every route's success, in the order in which a linkage uses them, with the ledger event each leaves."""

import json

import pytest

from linkage_service.audit.catalogue import EventType
from support.databases import on_each_database
from support.service_app import ServiceApp, data_sets, ok, parts_of, problem


def _link_table(response: object) -> dict[int, str]:
    return {row["row"]: row["link_id"] for row in map(json.loads, response.text.splitlines())}  # type: ignore[attr-defined]  # httpx


@on_each_database
def test_whole_flow_leaves_one_event_for_each_step_and_a_log_that_verifies(service: ServiceApp) -> None:
    first, second = data_sets(40, 50, shared=20)
    linked = service.project()
    giving, other, receiving = *linked.providers, *linked.recipients

    with service.expecting_event("upload.declared") as events:
        upload = ok(giving.declare(linked.project, first), 201)
    assert events[0]["counts"] == {"records": 40, "bytes": len(first)}
    assert upload["parts_expected"] == 2
    for number, part in parts_of(first):
        with service.expecting_event("upload.part_received"):
            ok(giving.put_part(upload["id"], number, part), 204)
    assert ok(giving.get(f"/v1/uploads/{upload['id']}"), 200)["parts_received"] == [1, 2]
    with service.expecting_event("upload.completed"):
        assert ok(giving.post(f"/v1/uploads/{upload['id']}:complete"), 200)["state"] == "complete"
    other.upload(linked.project, second)

    with service.expecting_event("run.requested") as events:
        queued = giving.post(f"/v1/projects/{linked.project}/runs", {"threshold": 0.9})
    run = ok(queued, 202)
    assert queued.headers["location"] == f"/v1/runs/{run['id']}"
    assert queued.headers["linkage-event"] == str(service.size() - 1)
    assert events[0]["decision"]["effect"] == "allow"
    assert events[0]["decision"]["policies"] == ["P-start-run"]
    assert events[0]["counts"] == {"uploads": 2, "blocking": 0, "threshold_millionths": 900_000}
    assert service.work()
    assert [event["type"] for event in service.events()[-2:]] == ["run.started", "run.succeeded"]
    done = ok(giving.get(f"/v1/runs/{run['id']}"), 200)
    assert (done["state"], done["metrics"]["pairs_compared"], done["attempt"]) == (
        "succeeded",
        done["progress"]["total"],
        1,
    )

    with service.expecting_event("summary.retrieved"):
        summary = ok(receiving.get(f"/v1/runs/{run['id']}/summary"), 200)
    both = {giving.organisation, other.organisation}
    assert {frozenset(p["organisations"]): p["groups"] for p in summary["patterns"]}[frozenset(both)] == 20

    with service.expecting_event("release.granted") as events:
        release = service.release(linked, run)
    assert events[0]["purpose"] == "planning"
    with service.expecting_event("link_table.retrieved") as events:
        answer = giving.get(f"/v1/releases/{release['id']}/link-table")
    assert answer.headers["linkage-rows"] == "40"
    assert answer.headers["linkage-event"] == str(service.size() - 1)
    assert events[0]["counts"] == {"rows": 40}
    table = _link_table(answer)
    assert sorted(table) == list(range(40))
    assert service.verified()


@pytest.mark.parametrize("accept", ["application/jsonl", "text/csv", "*/*"])
def test_link_table_in_every_format_has_every_row(service: ServiceApp, accept: str) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    release = service.release(linked, service.run(linked))
    answer = linked.providers[0].get(f"/v1/releases/{release['id']}/link-table", headers={"Accept": accept})
    assert answer.status_code == 200
    header_lines = 1 if accept == "text/csv" else 0
    assert len(answer.text.splitlines()) == 12 + header_lines
    assert answer.headers["content-type"].startswith("text/csv" if header_lines else "application/jsonl")


def test_organisation_becomes_party_with_one_event_for_each_step(service: ServiceApp) -> None:
    organisation, other = service.join(), service.join()
    types = [event["type"] for event in service.events()]
    for expected in ("service.initialised", "organisation.created", "organisation.invited", "organisation.registered"):
        assert expected in types
    with service.expecting_event("token.issued") as events:
        assert organisation.token
    assert events[0]["actor"] == {"kind": "client", "id": organisation.client, "org": organisation.organisation}
    with service.expecting_event("agreement.drafted"):
        agreement = service.draft({organisation: ["provider"], other: ["provider", "recipient"]})
    with service.expecting_event("agreement.proposed"):
        ok(organisation.change(f"/v1/agreements/{agreement['id']}/versions/1:propose"), 200)
    other.token  # noqa: B018 - a token is issued before the events are counted
    with service.expecting_event("agreement.signed"):
        ok(organisation.sign_agreement(agreement), 201)
    before = service.size()
    assert ok(other.sign_agreement(agreement), 201)["state"] == "active"
    assert [event["type"] for event in service.events()[before:]] == ["agreement.signed", "agreement.activated"]
    with service.expecting_event("project.opened") as events:
        project = ok(service.open_project(other, agreement), 201)
    assert events[0]["agreement"] == {"ref": agreement["reference"], "version": 1, "digest": agreement["digest"]}
    assert events[0]["project"] == project["id"]
    assert service.verified()


def test_client_added_then_revoked_leaves_an_event_each(service: ServiceApp) -> None:
    organisation = service.join()
    assert organisation.token
    with service.expecting_event("client.added"):
        added = organisation.add_client("analyst")
    listed = ok(organisation.get(f"/v1/organisations/{organisation.organisation}/clients"), 200)
    assert [client["id"] for client in listed["items"]] == [organisation.client, added.client]
    with service.expecting_event("client.revoked"):
        revoked = organisation.delete(f"/v1/organisations/{organisation.organisation}/clients/{added.client}")
        ok(revoked, 204)


@on_each_database
def test_upload_deleted_loses_its_blobs_and_its_key(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(40, 40, shared=0))
    upload = linked.uploads[0]
    assert service.runtime.blobs.list(f"uploads/{upload}")
    with service.expecting_event("upload.deleted"):
        ok(linked.providers[0].delete(f"/v1/uploads/{upload}"), 204)
    assert service.runtime.blobs.list(f"uploads/{upload}") == []
    assert ok(linked.providers[0].get(f"/v1/uploads/{upload}"), 200)["state"] == "deleted"


@on_each_database
def test_run_cancelled_before_a_worker_came_is_left_alone(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    run = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)
    with service.expecting_event("run.cancelled"):
        assert ok(linked.recipients[0].post(f"/v1/runs/{run['id']}:cancel"), 200)["state"] == "cancelled"
    assert not service.work()


@on_each_database
def test_reads_of_every_noun_answer_and_leave_no_event(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    run = service.run(linked)
    release = service.release(linked, run)
    provider, agreement = linked.providers[0], linked.agreement["id"]
    assert provider.token
    before = service.size()
    project = f"/v1/projects/{linked.project}"
    for path in (
        "/v1/me", "/v1/organisations", f"/v1/organisations/{provider.organisation}", "/v1/agreements",
        f"/v1/organisations/{provider.organisation}/clients", f"/v1/agreements/{agreement}",
        f"/v1/agreements/{agreement}/versions/1", "/v1/projects", project, f"{project}/uploads", f"{project}/runs",
        f"{project}/releases", f"/v1/uploads/{linked.uploads[0]}", f"/v1/runs/{run['id']}",
        f"/v1/releases/{release['id']}", "/v1/audit/consistency?first=3&second=9", "/v1/audit/verifier-key",
        "/v1/audit/checkpoint", "/healthz", "/readyz", "/version", "/openapi.json",
        "/.well-known/oauth-authorization-server", "/v1/oauth/jwks",
    ):  # fmt: skip
        answer = provider.get(path)
        assert answer.status_code == 200, (path, answer.text)
    issued = [event["type"] for event in service.events()[before:]]
    assert set(issued) <= {"token.issued"}


def test_reading_who_was_given_what_is_an_event(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    release = service.release(linked, service.run(linked))
    assert linked.providers[0].get(f"/v1/releases/{release['id']}/link-table").status_code == 200
    with service.expecting_event("project.disclosures_viewed"):
        page = ok(linked.recipients[0].get(f"/v1/projects/{linked.project}/disclosures"), 200)
    assert [(item["provider"], item["rows"]) for item in page["items"]] == [(linked.providers[0].organisation, 12)]


def test_size_of_a_matched_table_is_told_to_nobody_else(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6), data={"outputs": ["link_table_matched"]})
    release = service.release(linked, service.run(linked), mode="matched")
    assert linked.providers[0].get(f"/v1/releases/{release['id']}/link-table").status_code == 200
    page = ok(linked.providers[1].get(f"/v1/projects/{linked.project}/disclosures"), 200)
    assert [item["rows"] for item in page["items"]] == [None]
    assert all("rows" not in event.get("counts", {}) for event in service.events())


def test_reading_the_log_is_itself_an_event(service: ServiceApp) -> None:
    service.join()
    assert service.officer.token
    with service.expecting_event("audit.viewed"):
        page = ok(service.officer.get("/v1/audit/events", params={"limit": 2}), 200)
    assert [item["seq"] for item in page["items"]] == [0, 1]
    assert page["next_after"] == 1
    with service.expecting_event("audit.viewed"):
        assert ok(service.officer.get("/v1/audit/events/0"), 200)["header"]["type"] == "service.initialised"
    assert service.officer.get("/v1/audit/checkpoint").status_code == 200
    with service.expecting_event("audit.viewed"):
        assert service.officer.get("/v1/audit/events/0/receipt").status_code == 200


def test_log_does_not_tell_an_outsider_of_the_agreement_it_was_refused_under(service: ServiceApp) -> None:
    linked, outsider = service.project(), service.join()
    problem(outsider.get(f"/v1/projects/{linked.project}"), 404, "not_found")
    assert service.events()[-1]["agreement"]
    page = ok(outsider.get("/v1/audit/events"), 200)
    assert page["items"]
    assert all("agreement" not in item["header"] and "project" not in item["header"] for item in page["items"])
    problem(outsider.get(f"/v1/audit/events/{service.size() - 2}"), 404, "not_found")


def test_log_shows_an_organisation_its_own_events_and_its_agreements_only(service: ServiceApp) -> None:
    mine, theirs = service.project(), service.project()
    reader = mine.providers[0]
    seen: list[dict[str, object]] = []
    after: int | None = -1
    while after is not None:
        page = ok(reader.get("/v1/audit/events", params={"after": after}), 200)
        seen += [item["header"] for item in page["items"]]
        after = page["next_after"]
    for header in seen:
        agreement, actor = header.get("agreement"), header["actor"]
        assert isinstance(actor, dict)
        own = actor.get("org") == reader.organisation
        assert own or (isinstance(agreement, dict) and agreement["ref"] == mine.agreement["reference"])
    stranger = theirs.providers[0].organisation
    hidden = next(seq for seq, event in enumerate(service.events()) if event["actor"].get("org") == stranger)
    assert reader.get(f"/v1/audit/events/{hidden}").status_code == 404
    assert reader.get(f"/v1/audit/events/{hidden}/receipt").status_code == 404


def test_every_type_of_the_catalogue_is_a_noun_and_a_verb() -> None:
    assert all(kind.value.count(".") == 1 for kind in EventType)
    nouns = {kind.value.split(".")[0] for kind in EventType}
    assert {f"{noun}.refused" for noun in nouns} <= {kind.value for kind in EventType}
