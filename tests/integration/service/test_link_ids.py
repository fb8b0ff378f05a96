"""Link ids: the same group across providers, never the same across recipients."""

import json

import numpy as np
import pytest

from linkage_service import engine
from linkage_service.runs import service as runs
from support.databases import on_each_database
from support.service_app import BITS, Linked, Organisation, ServiceApp, data_sets, ok

pytestmark = on_each_database

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


def test_told_apart_marks_groups_that_lie_in_one_data_set() -> None:
    membership = [np.array([0, 1, 1, -1, 0]), np.array([-1, 0]), np.array([2, 2, -1])]
    told = runs.told_apart(membership, groups=3)
    assert [rows.tolist() for rows in told] == [[0, -3, -3, -1, 0], [-1, 0], [-4, -4, -1]]


def test_told_apart_without_a_group_leaves_every_row_by_itself() -> None:
    assert [rows.tolist() for rows in runs.told_apart([np.array([-1, -1]), np.array([-1])], groups=0)] == [
        [-1, -1],
        [-1],
    ]


def _with_duplicates(service: ServiceApp, monkeypatch: pytest.MonkeyPatch) -> tuple[Linked, dict[str, object]]:
    """A run in which rows 0 and 1 are one person whom both know, and rows 2 and 3 one whom only the first knows."""
    linked = service.project(may_hold_duplicates=True, data={"outputs": ["link_table_matched", "summary"]})
    linked.uploads = [
        provider.upload(linked.project, rows)
        for provider, rows in zip(linked.providers, data_sets(5, 3, shared=1), strict=True)
    ]
    real = engine.match

    def match(work: engine.Work, **options: object) -> engine.Matched:
        made = real(work, **options)  # type: ignore[arg-type]  # handed on as they come
        membership = [np.array([0, 0, 1, 1, -1]), np.array([0, -1, -1])]
        return engine.Matched(membership=membership, groups=2, report=made.report)

    monkeypatch.setattr(engine, "match", match)
    return linked, service.run(linked)


def test_rows_of_one_person_share_an_id_in_a_matched_table(
    service: ServiceApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked, run = _with_duplicates(service, monkeypatch)
    release = service.release(linked, run, mode="matched")["id"]
    first, second = (_table(provider, release) for provider in linked.providers)
    assert first[0] == first[1] == second[0]
    assert set(first.values()) == set(second.values())


def test_rows_whose_only_match_is_their_own_duplicate_are_not_in_a_matched_table(
    service: ServiceApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked, run = _with_duplicates(service, monkeypatch)
    release = service.release(linked, run, mode="matched")["id"]
    assert [sorted(_table(provider, release)) for provider in linked.providers] == [[0, 1], [0]]


def test_run_under_an_agreement_with_duplicates_groups_the_same_person_s_rows(service: ServiceApp) -> None:
    """A whole run: every person of the first provider has two rows that differ in a few bits, and half are shared."""
    rng = np.random.default_rng(3)
    people = (rng.random((400, BITS)) < 0.45).astype(np.uint8)
    again = people ^ (rng.random(people.shape) < 0.01)
    first, second = (np.packbits(rows, axis=1).tobytes() for rows in (np.concatenate([people, again]), people[:200]))
    linked = service.project(may_hold_duplicates=True, data={"outputs": ["link_table_matched", "summary"]})
    linked.uploads = [
        provider.upload(linked.project, rows) for provider, rows in zip(linked.providers, (first, second), strict=True)
    ]
    run = service.run(linked)
    assert run["state"] == "succeeded", run["error"]
    release = service.release(linked, run, mode="matched")["id"]
    table, other = (_table(provider, release) for provider in linked.providers)
    # Of the 200 whom both know; the others have a match among their own rows only, and are not in a matched table.
    assert sum(table.get(row) == table.get(row + 400) == other.get(row) is not None for row in range(200)) > 190
    summary = ok(linked.recipients[0].get(f"/v1/runs/{run['id']}/summary"), 200)
    assert [pattern["groups"] for pattern in summary["patterns"]] == [None, None, None]
