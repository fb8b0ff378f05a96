"""Link ids: the same group across providers, never the same across recipients."""

import json

import pytest

from support.service_app import Linked, Organisation, ServiceApp, data_sets, ok

SIZES, SHARED = (14, 11), 6


def _table(provider: Organisation, release: str) -> dict[int, str]:
    answer = provider.get(f"/v1/releases/{release}/link-table")
    assert answer.status_code == 200, answer.text
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["row"] for line in lines] == sorted(line["row"] for line in lines)
    return {line["row"]: line["link_id"] for line in lines}


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    made = service.project(recipients=2)
    made.uploads = [
        provider.upload(made.project, rows)
        for provider, rows in zip(made.providers, data_sets(*SIZES, shared=SHARED), strict=True)
    ]
    return made


def test_blind_table_has_every_row_and_ids_that_look_alike(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked))["id"]
    for provider, size in zip(linked.providers, SIZES, strict=True):
        table = _table(provider, release)
        assert sorted(table) == list(range(size))
        assert len(set(table.values())) == size
        assert {len(link_id) for link_id in table.values()} == {26}


def test_matched_table_has_matched_rows_only(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked), mode="matched")["id"]
    assert [sorted(_table(provider, release)) for provider in linked.providers] == [list(range(SHARED))] * 2
    retrieved = [event for event in service.events() if event["type"] == "link_table.retrieved"]
    assert len(retrieved) == 2
    assert all("counts" not in event or event["counts"] is None for event in retrieved)


def test_same_group_has_the_same_id_at_every_provider_and_no_other_row_has_it(
    service: ServiceApp, linked: Linked
) -> None:
    release = service.release(linked, service.run(linked))["id"]
    first, second = (_table(provider, release) for provider in linked.providers)
    assert all(first[row] == second[row] for row in range(SHARED))
    assert set(first.values()) & set(second.values()) == {first[row] for row in range(SHARED)}


def test_tables_of_two_recipients_share_no_id(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked)
    releases = [service.release(linked, run, to=recipient)["id"] for recipient in linked.recipients]
    provider = linked.providers[0]
    one, other = (set(_table(provider, release).values()) for release in releases)
    assert one.isdisjoint(other)


def test_table_retrieved_again_has_the_same_ids(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked)
    first, again = (service.release(linked, run)["id"] for _ in range(2))
    provider = linked.providers[0]
    assert _table(provider, first) == _table(provider, first) == _table(provider, again)


def test_another_run_gives_other_ids(service: ServiceApp, linked: Linked) -> None:
    releases = [service.release(linked, service.run(linked))["id"] for _ in range(2)]
    provider = linked.providers[0]
    one, other = (set(_table(provider, release).values()) for release in releases)
    assert one.isdisjoint(other)


def test_summary_suppresses_small_counts_and_rounds_the_rest(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(51, 44, shared=22), data={"min_group_count": 13})
    summary = ok(linked.recipients[0].get(f"/v1/runs/{service.run(linked)['id']}/summary"), 200)
    counts = sorted(str(pattern["groups"]) for pattern in summary["patterns"])
    assert counts == ["20", "20", "30"]
    assert (summary["rounded_to"], summary["suppressed_below"]) == (5, 13)
