"""Keys of link ids are random, and gone when they are deleted; and what matched tables tell besides."""

import hashlib
import hmac
import io
import json
from typing import Any

import pyarrow.parquet as pq
import pytest

from linkage_service.errors import Conflict
from linkage_service.link_tables import recipient_keys, tables
from support.databases import on_each_database, only_on_sqlite
from support.service_app import Json, Linked, Organisation, ServiceApp, data_sets, ok, problem

pytestmark = on_each_database

COLUMNS = ["match_probability", "group_size"]
AGREED = {"outputs": ["link_table_blind", "link_table_matched", "summary"], "columns": COLUMNS, "min_group_count": 3}


def ids(provider: Organisation, release: Json) -> dict[int, str]:
    answer = provider.get(f"/v1/releases/{release['id']}/link-table")
    assert answer.status_code == 200, answer.text
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return {line["row"]: line["link_id"] for line in lines}


def key_of(linked: Linked, release: Json) -> Json:
    return {"agreement": linked.agreement["id"], "recipient": release["recipient"], "epoch": 1}


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    return service.uploaded(*data_sets(14, 11, shared=6))


@only_on_sqlite
def test_key_that_was_deleted_gives_no_table_any_more(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked))
    old = set(ids(linked.providers[0], release).values())
    with service.runtime.database.writing() as session:
        assert recipient_keys.delete(session, **key_of(linked, release))
        assert not recipient_keys.delete(session, **key_of(linked, release))
    problem(linked.providers[0].get(f"/v1/releases/{release['id']}/link-table"), 409, "link_id_key_deleted")
    refused = linked.recipients[0].post(f"/v1/runs/{release['run']}/releases", {"purpose": "planning"})
    problem(refused, 409, "link_id_key_deleted")
    # Whoever holds database, blobs and key files has no key left that gives an old id.
    with service.runtime.database.writing() as session:
        row = tables.recipient_key(session, **key_of(linked, release))
        assert row is not None
        assert row.data_key is None
        with pytest.raises(Conflict):
            recipient_keys.get_or_make(session, service.runtime.blobs, now=service.clock(), **key_of(linked, release))
    files = [path.read_bytes() for path in service.settings.resolved_keys_dir.iterdir()]
    stored = service.database_file.read_bytes() + b"".join(files)
    assert not any(link_id.encode() in stored for link_id in old)


def test_key_is_drawn_once_and_stored_wrapped_only(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked))
    with service.runtime.database.writing() as session:
        ask: Any = {"now": service.clock(), **key_of(linked, release)}
        first, second = (recipient_keys.get_or_make(session, service.runtime.blobs, **ask) for _ in range(2))
        row = tables.recipient_key(session, **key_of(linked, release))
        other = recipient_keys.get_or_make(session, service.runtime.blobs, **{**ask, "epoch": 2})
    assert first == second != other
    assert len(first) == 32
    assert row is not None
    assert first not in (row.data_key or b"")
    assert not any(
        hmac.digest(bytes.fromhex(path.read_text().strip()), b"x", hashlib.sha256) == first
        for path in service.settings.resolved_keys_dir.glob("storage.key")
    )


def test_tables_of_two_agreements_share_no_link_id(service: ServiceApp) -> None:
    sets = data_sets(14, 11, shared=6)
    found = []
    for _ in range(2):
        linked = service.uploaded(*sets)
        found.append(set(ids(linked.providers[0], service.release(linked, service.run(linked))).values()))
    assert found[0].isdisjoint(found[1])


def test_matched_table_tells_the_columns_that_the_agreement_lists(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(14, 11, 12, shared=6), data=AGREED)
    release = service.release(linked, service.run(linked, threshold=0.9), mode="matched", columns=COLUMNS)
    assert release["columns"] == ["row", "link_id", *COLUMNS]
    answer = linked.providers[0].get(f"/v1/releases/{release['id']}/link-table", headers={"Accept": "text/csv"})
    head, *lines = answer.text.split("\r\n")[:-1]
    assert head == "row,link_id,match_probability,group_size"
    assert [line.split(",")[3] for line in lines] == ["3"] * 6
    parquet = linked.providers[0].get(
        f"/v1/releases/{release['id']}/link-table", headers={"Accept": "application/vnd.apache.parquet"}
    )
    table = pq.read_table(io.BytesIO(parquet.content))
    assert table.column("row").to_pylist() == list(range(6))
    assert (table.schema.metadata or {})[b"linkage.release"].decode() == release["id"]


def test_matched_table_tells_a_probability_where_the_run_has_them(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(700, 700, shared=300), data=AGREED)
    release = service.release(linked, service.run(linked), mode="matched", columns=["match_probability"])
    answer = linked.providers[0].get(f"/v1/releases/{release['id']}/link-table")
    told = [json.loads(line)["match_probability"] for line in answer.text.splitlines()]
    assert len(told) == 300
    assert None not in told
    assert all(0.5 <= value <= 1 for value in told)


def test_columns_of_a_blind_table_are_refused(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(14, 11, shared=6), data=AGREED)
    run = service.run(linked)
    body = {"purpose": "planning", "mode": "blind", "columns": ["group_size"]}
    problem(linked.recipients[0].post(f"/v1/runs/{run['id']}/releases", body), 422)


def test_columns_that_the_agreement_does_not_list_are_refused(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked)
    body = {"purpose": "planning", "mode": "matched", "columns": ["group_size"]}
    refused = problem(linked.recipients[0].post(f"/v1/runs/{run['id']}/releases", body), 403)
    assert [element["policy"] for element in refused["elements"]] == ["G3-columns"]


def test_summary_tells_precision_and_recall_only_where_counts_are_told(service: ServiceApp) -> None:
    many = service.uploaded(*data_sets(700, 700, shared=300))
    few = service.uploaded(*data_sets(700, 700, shared=4))
    found = [
        ok(linked.recipients[0].get(f"/v1/runs/{service.run(linked)['id']}/summary"), 200) for linked in (many, few)
    ]
    assert found[0]["precision"] > 0.9
    assert found[0]["recall"] > 0.9
    assert (found[1]["precision"], found[1]["recall"]) == (None, None)


def test_feasibility_project_keeps_no_group_and_no_key(service: ServiceApp) -> None:
    parties = [service.join(), service.join(), service.join()]
    agreement = service.activate(
        {parties[0]: ("provider",), parties[1]: ("provider",), parties[2]: ("recipient",)},
        data={"outputs": ["summary"]},
    )
    project = ok(service.open_project(parties[0], agreement, kind="feasibility"), 201)["id"]
    linked = Linked(agreement=agreement, project=project, providers=parties[:2], recipients=parties[2:], uploads=[])
    for provider, rows in zip(linked.providers, data_sets(60, 50, shared=30), strict=True):
        linked.uploads.append(provider.upload(project, rows))
    before = service.size()
    run = service.run(linked)
    assert run["state"] == "succeeded"
    types = [event["type"] for event in service.events()[before:]]
    assert types == ["run.requested", "run.started", "run.succeeded", "upload.deleted", "upload.deleted"]
    assert service.runtime.blobs.list("uploads") == []
    assert service.runtime.blobs.list("runs") == []
    ok(linked.recipients[0].get(f"/v1/runs/{run['id']}/summary"), 200)
    problem(linked.recipients[0].get(f"/v1/runs/{run['id']}/report"), 403)
    problem(linked.recipients[0].post(f"/v1/runs/{run['id']}/releases", {"purpose": "planning"}), 403)
    assert linked.providers[0].post(f"/v1/projects/{project}/runs", {}).status_code in {403, 409}
    assert service.verified()
