"""Rows that are withdrawn leave everything that is made from them; holds; who received anything made from a row."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from linkage_service.retention import tables as claims
from linkage_service.rights import tables
from linkage_service.rights.applying import Applier
from linkage_service.runs import results
from linkage_service.runs.tables import Run
from linkage_service.uploads.service import blob_key, blob_keys
from linkage_service.uploads.tables import UploadSketch, parts, upload
from support.databases import on_each_database
from support.service_app import Json, Linked, Organisation, ServiceApp, data_sets, in_threads, ok, problem

ROWS = data_sets(60, 70, shared=30)
ROW_BYTES = len(ROWS[0]) // 60


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    return service.uploaded(*ROWS)


def _withdraw(linked: Linked, rows: Sequence[int], *, provider: int = 0, reason: str = "objection") -> Json:
    body = {"rows": list(rows), "reason": reason}
    made: Json = ok(linked.providers[provider].post(f"/v1/uploads/{linked.uploads[provider]}/withdrawals", body), 201)
    return made


def _table(provider: Organisation, release: Json) -> dict[int, str]:
    answer = provider.get(f"/v1/releases/{release['id']}/link-table")
    assert answer.status_code == 200, answer.text
    table = {row["row"]: row["link_id"] for row in map(json.loads, answer.text.splitlines())}
    assert answer.headers["linkage-rows"] == str(len(table))
    return table


def _links(linked: Linked, release: Json) -> list[Json]:
    found: list[Json] = ok(linked.recipients[0].get(f"/v1/releases/{release['id']}/withdrawals"), 200)["items"]
    return found


def _both(linked: Linked, run: Json) -> int:
    summary = ok(linked.recipients[0].get(f"/v1/runs/{run['id']}/summary"), 200)
    found: int = next(p["groups"] for p in summary["patterns"] if len(p["organisations"]) == len(linked.providers))
    return found


def test_withdrawal_is_recorded_without_its_rows(service: ServiceApp, linked: Linked) -> None:
    assert linked.providers[0].token
    with service.expecting_event("withdrawal.made") as events:
        made = _withdraw(linked, [3, 41])
    assert (made["rows"], made["state"]) == (2, "pending")
    assert "counts" not in events[0]
    with service.runtime.database.reading() as session:
        body = session.connection().exec_driver_sql("SELECT body FROM audit_body ORDER BY seq DESC LIMIT 1").scalar()
    assert body is not None
    assert json.loads(body)["detail"] == {"reason": "objection", "withdrawal": made["id"]}


def test_withdrawal_of_a_group_that_may_be_told_says_how_many(service: ServiceApp, linked: Linked) -> None:
    assert linked.providers[0].token
    with service.expecting_event("withdrawal.made") as events:
        _withdraw(linked, range(10))
    assert events[0]["counts"] == {"rows": 10}


@on_each_database
def test_withdrawn_encodings_are_gone_from_what_is_stored(service: ServiceApp, linked: Linked) -> None:
    _withdraw(linked, [0, 31, 59])
    service.keep_house()
    _withdraw(linked, [1, 30])
    service.keep_house()
    store = service.runtime.blobs
    with service.runtime.database.reading() as session:
        row = upload(session, linked.uploads[0])
        assert row is not None
        assert row.data_key is not None
        kept = parts(session, row.id)
        key = store.unwrap(row.data_key)
        stored = b"".join(store.get(blob_key(row.id, part.number, part.sha256), data_key=key) for part in kept)
        assert len(store.list(f"uploads/{row.id}")) == len(kept)
    gone = {0, 1, 30, 31, 59}
    rows = [ROWS[0][number * ROW_BYTES : (number + 1) * ROW_BYTES] for number in range(60)]
    assert stored == b"".join(row for number, row in enumerate(rows) if number not in gone)
    listed = ok(linked.providers[0].get(f"/v1/uploads/{linked.uploads[0]}/withdrawals"), 200)["items"]
    assert [(item["rows"], item["state"]) for item in listed] == [(3, "applied"), (2, "applied")]


@on_each_database
def test_results_with_withdrawn_rows_wait_until_they_are_made_again(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked, threshold=0.9)
    release = service.release(linked, run)
    _withdraw(linked, [3])
    problem(linked.providers[1].get(f"/v1/releases/{release['id']}/link-table"), 409, "recomputing")
    problem(linked.recipients[0].get(f"/v1/runs/{run['id']}/summary"), 409, "recomputing")
    problem(linked.recipients[0].get(f"/v1/runs/{run['id']}/report"), 409, "recomputing")
    # Keeping house looks for alarms as well; those of before are not the subject here.
    service.watch()
    with service.expecting_event("run.recomputed") as events:
        service.keep_house()
    assert events[0]["counts"] == {"attempt": 2}
    assert 3 not in _table(linked.providers[0], release)


def test_blind_tables_after_a_withdrawal_leave_out_its_rows_and_change_no_other_id(
    service: ServiceApp, linked: Linked
) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9))
    before = [_table(provider, release) for provider in linked.providers]
    _withdraw(linked, [3, 40])
    service.keep_house()
    after = [_table(provider, release) for provider in linked.providers]
    assert after[0] == {row: link for row, link in before[0].items() if row not in {3, 40}}
    assert after[1] == before[1]


def test_matched_tables_after_a_withdrawal_leave_out_who_has_no_match_any_more(
    service: ServiceApp, linked: Linked
) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9), mode="matched")
    assert sorted(_table(linked.providers[1], release)) == list(range(30))
    _withdraw(linked, [3, 40])
    service.keep_house()
    assert sorted(_table(linked.providers[0], release)) == [row for row in range(30) if row != 3]
    assert sorted(_table(linked.providers[1], release)) == [row for row in range(30) if row != 3]


def test_group_of_three_stays_matched_for_the_two_that_remain(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(40, 40, 40, shared=20))
    release = service.release(linked, service.run(linked, threshold=0.9), mode="matched")
    before = _table(linked.providers[1], release)
    _withdraw(linked, [3])
    service.keep_house()
    assert _table(linked.providers[1], release) == before


def test_summary_stays_as_it_was_counted_so_that_its_difference_tells_of_no_row(
    service: ServiceApp, linked: Linked
) -> None:
    run = service.run(linked, threshold=0.9)
    assert _both(linked, run) == 30
    _withdraw(linked, range(10))
    service.keep_house()
    assert _both(linked, run) == 30


def test_later_runs_skip_withdrawn_rows(service: ServiceApp, linked: Linked) -> None:
    _withdraw(linked, range(10))
    _withdraw(linked, range(5, 15), provider=1)
    service.keep_house()
    run = service.run(linked, threshold=0.9)
    assert _both(linked, run) == 15
    release = service.release(linked, run)
    tables_now = [_table(provider, release) for provider in linked.providers]
    assert sorted(tables_now[0]) == list(range(10, 60))
    assert sorted(tables_now[1]) == [row for row in range(70) if not 5 <= row < 15]
    assert all(tables_now[0][row] == tables_now[1][row] for row in range(15, 30))


@pytest.mark.parametrize("profile", [None, "saul-1024-v1"])
def test_rows_that_both_providers_withdrew_match_in_no_similarity(service: ServiceApp, profile: str | None) -> None:
    linked = service.project()
    linked.uploads = [
        provider.upload(linked.project, rows, encoding_profile=profile)
        for provider, rows in zip(linked.providers, ROWS, strict=True)
    ]
    for provider in (0, 1):
        _withdraw(linked, range(20, 30), provider=provider)
    assert _both(linked, service.run(linked, threshold=0.9)) == 20


@on_each_database
def test_run_that_finds_a_withdrawal_waiting_applies_it_first(service: ServiceApp, linked: Linked) -> None:
    _withdraw(linked, range(10))
    run = service.run(linked, threshold=0.9)
    assert run["state"] == "succeeded"
    assert _both(linked, run) == 20


def _exchanged(service: ServiceApp, linked: Linked) -> None:
    """Other bytes than were accepted lie under the upload's parts, whose digests are theirs."""
    store = service.runtime.blobs
    with service.runtime.database.writing() as session:
        row = upload(session, linked.uploads[0])
        assert row is not None
        assert row.data_key is not None
        first = parts(session, row.id)[0]
        other = bytes(first.size_bytes)
        first.sha256 = hashlib.sha256(other).hexdigest()
        store.put(blob_key(row.id, first.number, first.sha256), other, data_key=store.unwrap(row.data_key))


def test_rows_of_an_upload_that_is_not_the_accepted_one_stay_withheld_until_it_is_deleted(
    service: ServiceApp, linked: Linked
) -> None:
    run = service.run(linked)
    _exchanged(service, linked)
    _withdraw(linked, [3])
    provider = linked.providers[0]
    for _ in range(2):
        service.keep_house()
        listed = ok(provider.get(f"/v1/uploads/{linked.uploads[0]}/withdrawals"), 200)["items"]
        assert [item["state"] for item in listed] == ["pending"]
        problem(linked.recipients[0].get(f"/v1/runs/{run['id']}/summary"), 409)
    later = service.run(linked)
    assert (later["state"], later["error"]["code"]) == ("failed", "upload_changed")
    ok(provider.delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    service.keep_house()
    listed = ok(provider.get(f"/v1/uploads/{linked.uploads[0]}/withdrawals"), 200)["items"]
    assert [item["state"] for item in listed] == ["applied"]


def test_withdrawals_of_other_uploads_are_applied_beside_one_that_cannot_be(
    service: ServiceApp, linked: Linked
) -> None:
    _exchanged(service, linked)
    _withdraw(linked, [3])
    _withdraw(linked, [4], provider=1)
    service.keep_house()
    listed = ok(linked.providers[1].get(f"/v1/uploads/{linked.uploads[1]}/withdrawals"), 200)["items"]
    assert [item["state"] for item in listed] == ["applied"]


def test_unfinished_run_of_which_rows_are_withdrawn_fails_with_a_clear_code(
    service: ServiceApp, linked: Linked
) -> None:
    run = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)
    _withdraw(linked, [1])
    failed = ok(linked.providers[0].get(f"/v1/runs/{run['id']}"), 200)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "rows_withdrawn")
    assert not service.work()


def test_run_without_a_row_left_says_so(service: ServiceApp, linked: Linked) -> None:
    _withdraw(linked, range(60))
    run = service.run(linked, threshold=0.9)
    assert run["error"]["code"] == "nothing_left"


@on_each_database
def test_withdrawal_cut_short_anywhere_is_finished_by_the_next(
    service: ServiceApp, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9))
    before = _table(linked.providers[1], release)
    _withdraw(linked, [3, 40])

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for place in (
        "linkage_service.rights.applying.Applier._cut",
        "linkage_service.rights.applying._turn_to",
        "linkage_service.storage.BlobStore.delete",
        "linkage_service.runs.results.write_changes",
        "linkage_service.runs.service.recomputed",
        "linkage_service.runs.results.remove_earlier_attempts",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, die)
            with pytest.raises(KeyboardInterrupt):
                service.keep_house()
        problem(linked.providers[1].get(f"/v1/releases/{release['id']}/link-table"), 409, "recomputing")
    service.keep_house()
    assert _table(linked.providers[1], release) == before
    assert 3 not in _table(linked.providers[0], release)
    assert [event["type"] for event in service.events()].count("run.recomputed") == 1
    with service.runtime.database.reading() as session:
        assert tables.pending(session) == []


@on_each_database
def test_recipient_is_told_the_withdrawn_ids_that_it_can_hold(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9))
    _withdraw(linked, [5])  # before anybody has fetched a table
    service.keep_house()
    held = _table(linked.providers[0], release)
    _withdraw(linked, [3, 40])
    service.keep_house()
    assert linked.recipients[0].token
    with service.expecting_event("withdrawal.retrieved"):
        found = _links(linked, release)
    assert {item["link_id"] for item in found} == {held[3], held[40]}
    assert {item["provider"] for item in found} == {linked.providers[0].organisation}


def test_recipient_of_matched_tables_is_told_of_matched_rows_only(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9), mode="matched")
    held = _table(linked.providers[0], release)
    _withdraw(linked, [3, 40])
    service.keep_house()
    assert [item["link_id"] for item in _links(linked, release)] == [held[3]]


def test_row_left_alone_and_withdrawn_later_is_told_under_the_id_it_had(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9), mode="matched")
    held = _table(linked.providers[1], release)
    _withdraw(linked, [3])
    service.keep_house()
    _withdraw(linked, [3], provider=1)
    service.keep_house()
    assert {item["link_id"] for item in _links(linked, release)} == {held[3]}


@on_each_database
def test_withdrawn_ids_of_a_deleted_run_are_gone(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9))
    service.clock.move(days=91)
    service.sweep()
    problem(linked.recipients[0].get(f"/v1/releases/{release['id']}/withdrawals"), 409, "no_result")


def test_withdrawals_are_the_recipients_to_read(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9))
    helper = linked.providers[0].add_client("analyst")
    problem(helper.get(f"/v1/releases/{release['id']}/withdrawals"), 403)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"rows": [60], "reason": "objection"}, 422, "invalid"),
        ({"rows": [-1], "reason": "objection"}, 422, "invalid"),
        ({"rows": [], "reason": "objection"}, 422, "invalid"),
        ({"rows": [1], "reason": "whim"}, 422, "invalid"),
        ({"rows": [True], "reason": "objection"}, 422, "invalid"),
    ],
)
def test_withdrawal_of_what_is_no_row_is_invalid(linked: Linked, body: Json, status: int, code: str) -> None:
    problem(linked.providers[0].post(f"/v1/uploads/{linked.uploads[0]}/withdrawals", body), status, code)


@on_each_database
def test_rows_withdrawn_before_are_a_conflict(linked: Linked) -> None:
    _withdraw(linked, [3])
    again = {"rows": [3], "reason": "erasure"}
    answer = linked.providers[0].post(f"/v1/uploads/{linked.uploads[0]}/withdrawals", again)
    problem(answer, 409, "withdrawn_already")


def test_withdrawal_works_when_the_agreement_has_ended(service: ServiceApp) -> None:
    ends = {"ends": "2026-03-10T00:00:00Z", "review_by": "2026-03-09T00:00:00Z"}
    linked = service.uploaded(*ROWS, review=ends)
    service.clock.move(days=10)
    _withdraw(linked, [3])


def test_withdrawal_after_the_encodings_were_deleted_takes_rows_out_of_results(
    service: ServiceApp, linked: Linked
) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9))
    service.clock.move(days=31)
    service.sweep()
    _withdraw(linked, range(10))
    service.keep_house()
    assert sorted(_table(linked.providers[0], release)) == list(range(10, 60))


def test_withdrawal_from_a_feasibility_project_without_encodings_is_a_conflict(service: ServiceApp) -> None:
    linked = service.uploaded(*ROWS)
    run = service.run(linked, threshold=0.9)
    with service.runtime.database.writing() as session:
        # As the end of a feasibility project leaves them.
        row, made = upload(session, linked.uploads[0]), session.get(Run, run["id"])
        assert row is not None
        assert made is not None
        row.state, row.data_key, made.data_key = "deleted", None, None
        session.add_all((row, made))
    answer = linked.providers[0].post(
        f"/v1/uploads/{linked.uploads[0]}/withdrawals", {"rows": [1], "reason": "objection"}
    )
    problem(answer, 409)


def test_upload_that_cannot_be_read_holds_up_no_other_withdrawal_and_no_sweep(
    service: ServiceApp, linked: Linked
) -> None:
    with service.runtime.database.reading() as session:
        lost = blob_keys(session, linked.uploads[0])[0]
    service.runtime.blobs.delete(lost)
    _withdraw(linked, [1])
    _withdraw(linked, [2], provider=1)
    service.clock.move(days=31)
    service.keep_house()
    with service.runtime.database.reading() as session:
        assert [row.upload for row in tables.pending(session)] == [linked.uploads[0]]
        kept = upload(session, linked.uploads[1])
        assert kept is not None
        assert kept.state == "deleted"


def test_run_whose_withdrawal_cannot_be_applied_fails_and_does_not_wait_for_ever(
    service: ServiceApp, linked: Linked
) -> None:
    with service.runtime.database.reading() as session:
        lost = blob_keys(session, linked.uploads[0])[0]
    service.runtime.blobs.delete(lost)
    _withdraw(linked, [1])
    assert service.run(linked, threshold=0.9)["error"]["code"] == "blob_missing"


def _applier(service: ServiceApp) -> Applier:
    runtime = service.runtime
    return Applier(database=runtime.database, log=runtime.log, blobs=runtime.blobs, clock=runtime.clock)


def test_one_thread_of_a_worker_applies_withdrawals_at_a_time(
    service: ServiceApp, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    applier, beside = _applier(service), []
    cut = Applier._cut

    def cut_while_another_tries(self: Applier, *given: Any, **named: Any) -> Any:
        beside.append(in_threads(1, lambda _: applier.apply_pending())[0])
        return cut(self, *given, **named)

    monkeypatch.setattr(Applier, "_cut", cut_while_another_tries)
    _withdraw(linked, [1])
    assert applier.apply_pending() == 1
    assert beside == [0]


def test_worker_that_lost_its_claim_changes_nothing_more(
    service: ServiceApp, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = Applier._cut

    def cut_and_lose(self: Applier, *given: Any, **named: Any) -> Any:
        made = cut(self, *given, **named)
        service.clock.move(minutes=11)
        with service.runtime.database.writing() as session:
            taken = claims.take(
                session, claims.WITHDRAWALS, holder="other", now=service.clock(), lease=timedelta(minutes=10)
            )
        assert taken
        return made

    _withdraw(linked, [1])
    with monkeypatch.context() as patch:
        patch.setattr(Applier, "_cut", cut_and_lose)
        assert _applier(service).apply_pending() == 0
    with service.runtime.database.reading() as session:
        assert tables.erased_rows(session, linked.uploads[0]) == []
    service.clock.move(minutes=11)
    assert _applier(service).apply_pending() == 1


def test_parts_that_changed_while_rows_were_cut_are_cut_again(
    service: ServiceApp, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, times = Applier._cut, []

    def cut_of_others(self: Applier, *given: Any, **named: Any) -> Any:
        made, digest = cut(self, *given, **named)
        times.append(1)
        return ([replace(made[0], sha256="00" * 32), *made[1:]] if len(times) == 1 else made), digest

    monkeypatch.setattr(Applier, "_cut", cut_of_others)
    _withdraw(linked, [1])
    assert _applier(service).apply_pending() == 1
    assert len(times) == 2


def test_result_made_again_is_not_mixed_with_what_another_writer_left(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked, threshold=0.9)
    release = service.release(linked, run)
    left = f"runs/{run['id']}/attempt-2/left"
    service.runtime.blobs.put(left, b"left", data_key=service.runtime.blobs.new_data_key())
    _withdraw(linked, [1])
    service.keep_house()
    assert ok(linked.providers[0].get(f"/v1/runs/{run['id']}"), 200)["attempt"] == 3
    assert 1 not in _table(linked.providers[0], release)
    assert not service.runtime.blobs.exists(left)


def test_sketch_of_an_upload_goes_with_the_first_withdrawal(service: ServiceApp, linked: Linked) -> None:
    with service.runtime.database.writing() as session:
        sketch = UploadSketch(
            upload=linked.uploads[0],
            project=linked.project,
            organisation=linked.providers[0].organisation,
            rows=60,
            sketch=b"sketch",
            delete_by=service.clock() + timedelta(days=30),
        )
        session.merge(sketch)
    _withdraw(linked, [1])
    with service.runtime.database.reading() as session:
        assert session.get(UploadSketch, linked.uploads[0]) is None


@on_each_database
@pytest.mark.parametrize("kind", ["runs", "releases"])
def test_hold_on_legal_claims_keeps_what_a_result_was_made_from_until_it_is_lifted(
    service: ServiceApp, linked: Linked, kind: str
) -> None:
    run = service.run(linked, threshold=0.9)
    held = {"runs": run, "releases": service.release(linked, run)}[kind]["id"]
    ok(service.officer.post(f"/v1/{kind}/{held}:restrict", {**HOLD, "ground": "legal_claims"}), 201)
    _withdraw(linked, [1])
    service.keep_house()
    service.sweep()
    assert results.attempts(service.runtime.blobs, run_id=run["id"]) == [1, 2]
    ok(service.officer.post(f"/v1/{kind}/{held}:lift-restriction", {"reason": "Closed."}), 204)
    service.sweep()
    assert results.attempts(service.runtime.blobs, run_id=run["id"]) == [2]


def test_other_providers_rows_cannot_be_withdrawn(linked: Linked) -> None:
    body = {"rows": [1], "reason": "objection"}
    problem(linked.providers[1].post(f"/v1/uploads/{linked.uploads[0]}/withdrawals", body), 403)


@on_each_database
def test_which_rows_were_withdrawn_is_forgotten_with_the_last_result(service: ServiceApp, linked: Linked) -> None:
    service.run(linked, threshold=0.9)
    _withdraw(linked, [3])
    service.keep_house()
    service.clock.move(days=31)
    service.sweep()
    with service.runtime.database.reading() as session:
        assert tables.withdrawn_rows(session, linked.uploads[0]) == [3]
    service.clock.move(days=61)
    service.sweep()
    with service.runtime.database.reading() as session:
        assert tables.withdrawn_rows(session, linked.uploads[0]) == []


def _trace(linked: Linked, row: int, *, provider: int = 0) -> Json:
    found: Json = ok(
        linked.providers[provider].post(f"/v1/uploads/{linked.uploads[provider]}:trace", {"row": row}), 200
    )
    return found


@on_each_database
def test_trace_says_which_recipients_received_something_and_when(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked, threshold=0.9)
    fetched, unfetched = service.release(linked, run), service.release(linked, run)
    _table(linked.providers[0], fetched)
    assert linked.providers[0].token
    with service.expecting_event("upload.row_traced") as events:
        found = _trace(linked, 41)
    # The row stands nowhere in the header: an id of its own may happen to hold the same two figures.
    assert events[0]["resource"] == {"type": "upload", "id": linked.uploads[0]}
    assert "counts" not in events[0]
    (release,) = found["releases"]
    assert release["release"] == fetched["id"] != unfetched["id"]
    assert (release["recipient"], release["mode"]) == (linked.recipients[0].organisation, "blind")
    assert (len(release["retrieved"]), release["certain"]) == (1, True)


def test_trace_of_a_matched_table_names_only_rows_that_were_in_it(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9), mode="matched")
    _table(linked.providers[0], release)
    assert [item["release"] for item in _trace(linked, 3)["releases"]] == [release["id"]]
    assert _trace(linked, 41)["releases"] == []


def test_trace_after_a_withdrawal_tells_what_was_fetched_before_it(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9))
    _table(linked.providers[0], release)
    _withdraw(linked, [3])
    service.keep_house()
    _table(linked.providers[0], release)
    found = _trace(linked, 3)
    assert found["withdrawn"]
    assert len(found["releases"][0]["retrieved"]) == 1
    assert len(_trace(linked, 4)["releases"][0]["retrieved"]) == 2


def test_trace_does_not_tell_that_a_row_lost_its_match_before_it_was_fetched(
    service: ServiceApp, linked: Linked
) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9), mode="matched")
    _withdraw(linked, [3], provider=1)
    service.keep_house()
    _table(linked.providers[0], release)
    assert _trace(linked, 3)["releases"] == []


def test_trace_of_a_matched_table_of_a_deleted_run_is_uncertain(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked, threshold=0.9), mode="matched")
    _table(linked.providers[0], release)
    service.clock.move(days=91)
    service.sweep()
    (found,) = _trace(linked, 41)["releases"]
    assert not found["certain"]


HOLD = {"ground": "accuracy", "reason": "Case 12."}


@on_each_database
@pytest.mark.parametrize("kind", ["runs", "releases"])
def test_hold_stops_disclosure_until_it_is_lifted(service: ServiceApp, linked: Linked, kind: str) -> None:
    run = service.run(linked, threshold=0.9)
    release = service.release(linked, run)
    held = {"runs": run, "releases": release}[kind]["id"]
    assert service.officer.token
    with service.expecting_event(f"{kind[:-1]}.restricted"):
        ok(service.officer.post(f"/v1/{kind}/{held}:restrict", HOLD), 201)
    table = f"/v1/releases/{release['id']}/link-table"
    refusal = problem(linked.providers[0].get(table), 403)
    assert [element["policy"] for element in refusal["elements"]] == ["G7-restriction"]
    problem(service.officer.post(f"/v1/{kind}/{held}:restrict", HOLD), 409)
    with service.expecting_event(f"{kind[:-1]}.restriction_lifted"):
        ok(service.officer.post(f"/v1/{kind}/{held}:lift-restriction", {"reason": "Closed."}), 204)
    problem(service.officer.post(f"/v1/{kind}/{held}:lift-restriction", {"reason": "Closed."}), 409)
    assert linked.providers[0].get(table).status_code == 200


def test_party_cannot_put_a_hold(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked, threshold=0.9)
    problem(linked.providers[0].post(f"/v1/runs/{run['id']}:restrict", HOLD), 403)


@on_each_database
@pytest.mark.parametrize(
    ("ground", "kept"), [("accuracy", False), ("objection", False), ("unlawful", True), ("legal_claims", True)]
)
def test_hold_keeps_a_result_past_its_date_on_two_grounds_only(
    service: ServiceApp, linked: Linked, *, ground: str, kept: bool
) -> None:
    run = service.run(linked, threshold=0.9)
    release = service.release(linked, run)
    ok(service.officer.post(f"/v1/releases/{release['id']}:restrict", {**HOLD, "ground": ground}), 201)
    service.clock.move(days=91)
    swept = service.sweep()
    assert ("run" not in swept.deleted) is kept
    assert sorted(item.kind for item in swept.overdue) == (["release", "run"] if kept else [])
    if not kept:
        return
    (hold,) = ok(service.officer.get(f"/v1/projects/{linked.project}/holds"), 200)["items"]
    assert (hold["object"], hold["ground"], hold["overdue"]) == (release["id"], ground, True)
    ok(service.officer.post(f"/v1/releases/{release['id']}:lift-restriction", {"reason": "Closed."}), 204)
    assert service.sweep().deleted == {"run": 1, "release": 1}
