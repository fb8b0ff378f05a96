"""A secret is given up for a new one: what was made with the old is matched no more, and deleted with a certificate."""

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from linkage_service.keys.epochs import closed_because
from linkage_service.link_tables.tables import RecipientKey, Release
from linkage_service.runs import service as runs
from linkage_service.runs.tables import Run
from support.databases import on_each_database
from support.key_exchange import Exchange
from support.service_app import Json, ServiceApp, data_sets, in_threads, ok, parts_of, problem

ROWS = data_sets(12, 12, shared=6)
THREE = data_sets(12, 12, 12, shared=6)
NEW_VALUE = "ef" * 16
SUSPECTED = (
    "The project's key epoch 1 was closed on 1 March 2026 because the secret may have become known. "
    "Encode again with the present secret."
)


def _key(epoch: int, check_value: str = NEW_VALUE) -> Json:
    return {"epoch": epoch, "check_value": check_value, "derivation": "linkage/derive/v1"}


@pytest.fixture
def exchange(service: ServiceApp) -> Exchange:
    return Exchange(service, service.uploaded(*ROWS))


def _stop(exchange: Exchange, verb: str) -> None:
    """Suspends or terminates the agreement, by a party."""
    path = f"/v1/agreements/{exchange.linked.agreement['id']}"
    ok(exchange.linked.recipients[0].change(f"{path}:{verb}", {"reason": "A breach."}, of=path), 200)


def _upload(exchange: Exchange, place: int = 0) -> Json:
    provider = exchange.providers[place]
    shown: Json = ok(provider.get(f"/v1/uploads/{exchange.linked.uploads[place]}"), 200)
    return shown


# ---- opening one ----


@on_each_database
def test_new_epoch_makes_uploads_unusable_at_once_and_says_why(service: ServiceApp, exchange: Exchange) -> None:
    before = _upload(exchange)
    assert (before["key_epoch"], before["usable"], before["unusable_because"]) == (1, True, None)
    with service.expecting_event("key_epoch.opened") as found:
        opened = ok(exchange.open_epoch(), 201)
    assert found[0]["counts"] == {"epoch": 2, "uploads": 2, "runs": 0}
    assert (opened["epoch"], opened["reason"]) == (2, "suspected_leak")
    assert opened["opened_by"] == exchange.providers[0].organisation
    assert (opened["initiator"], opened["check_value_known"]) == (None, False)
    assert not any(item["uploaded"] or item["confirmed_at"] for item in opened["providers"])
    after = _upload(exchange)
    assert (after["state"], after["key_epoch"], after["usable"]) == ("complete", 1, False)
    assert after["unusable_because"] == SUSPECTED
    assert after["delete_by"] < before["delete_by"]
    listed = ok(exchange.linked.recipients[0].get(f"{exchange.path}/uploads"), 200)["items"]
    assert {(item["usable"], item["unusable_because"]) for item in listed} == {(False, SUSPECTED)}
    answer = exchange.providers[0].post(f"{exchange.path}/runs", {})
    problem(answer, 409, "uploads_awaited")
    assert service.verified()


@on_each_database
def test_sweep_deletes_and_certifies_uploads_of_a_closed_epoch_and_leaves_what_a_hold_keeps(
    service: ServiceApp, exchange: Exchange
) -> None:
    run = service.run(exchange.linked, threshold=0.9)
    release = service.release(exchange.linked, run)
    ok(service.officer.post(f"/v1/runs/{run['id']}:restrict", {"ground": "legal_claims", "reason": "A claim."}), 201)
    ok(exchange.open_epoch(), 201)
    before = service.size()
    swept = service.sweep()
    assert swept.deleted == {"upload": 2}
    deleted = service.events()[before : before + 2]
    assert {event["resource"]["id"] for event in deleted} == set(exchange.linked.uploads)
    assert _reasons(service) == ["epoch_closed", "epoch_closed"]
    (certificate,) = swept.certificates
    document = ok(exchange.providers[0].get(f"/v1/certificates/{certificate}"), 200)["document"]
    assert {item["id"] for item in document["items"]} == set(exchange.linked.uploads)
    assert service.runtime.blobs.list("uploads") == []
    assert _upload(exchange)["unusable_because"] == SUSPECTED
    service.clock.move(days=91)
    swept = service.sweep()
    assert [(item.kind, item.id, item.held) for item in swept.overdue] == [
        ("run", run["id"], "legal_claims"), ("release", release["id"], "legal_claims"),
    ]  # fmt: skip
    assert ok(exchange.providers[0].get(f"/v1/runs/{run['id']}"), 200)["state"] == "succeeded"
    assert service.verified()


def _reasons(service: ServiceApp) -> list[str]:
    with service.runtime.database.reading() as session:
        query = (
            "SELECT b.body FROM audit_event e, audit_body b WHERE b.seq = e.seq AND e.type = 'upload.deleted' "
            "ORDER BY e.seq"
        )
        bodies = [bytes(row[0]) for row in session.connection().exec_driver_sql(query)]
    return [json.loads(body)["detail"]["reason"] for body in bodies]


def test_results_of_an_earlier_epoch_stay(service: ServiceApp, exchange: Exchange) -> None:
    run = service.run(exchange.linked, threshold=0.9)
    release = service.release(exchange.linked, run)
    path = f"/v1/releases/{release['id']}/link-table"
    table = exchange.providers[0].get(path)
    assert table.status_code == 200
    ok(exchange.open_epoch(), 201)
    service.sweep()
    assert exchange.providers[0].get(path).content == table.content
    ok(exchange.linked.recipients[0].get(f"/v1/runs/{run['id']}/summary"), 200)


def test_result_of_an_earlier_epoch_is_released_later_with_the_link_ids_of_its_own_epoch(
    service: ServiceApp, exchange: Exchange
) -> None:
    run = ok(exchange.providers[0].post(f"{exchange.path}/runs", {}), 202)
    with service.runtime.database.writing() as session:
        row = session.get(Run, run["id"])
        assert row is not None
        row.state, row.delete_by = "succeeded", service.clock() + timedelta(days=30)
    before = service.release(exchange.linked, run)
    ok(exchange.open_epoch(), 201)
    after = service.release(exchange.linked, run)
    assert before["id"] != after["id"]
    with service.runtime.database.reading() as session:
        epochs = {row.key_epoch for row in session.exec(select(Release))}
        keys = [row.epoch for row in session.exec(select(RecipientKey))]
    # One key for both: the same person has the same link id in either.
    assert (epochs, keys) == ({1}, [1])


def test_next_round_runs_on_uploads_of_the_new_epoch_alone(service: ServiceApp, exchange: Exchange) -> None:
    ok(exchange.open_epoch(), 201)
    new = [
        provider.upload(exchange.project, rows, key=_key(2))
        for provider, rows in zip(exchange.providers, ROWS, strict=True)
    ]
    run = service.run(exchange.linked, threshold=0.9)
    assert (run["state"], {item["id"] for item in run["uploads"]}) == ("succeeded", set(new))
    assert all(item["uploaded"] for item in exchange.look()["providers"])


def test_new_upload_takes_the_place_of_the_unusable_one_of_its_provider(exchange: Exchange) -> None:
    ok(exchange.open_epoch(), 201)
    exchange.providers[0].upload(exchange.project, ROWS[0], key=_key(2))
    assert _upload(exchange, 0)["state"] == "deleted"
    assert _upload(exchange, 1)["state"] == "complete"


def test_epoch_is_opened_once_however_often_it_is_asked_for(exchange: Exchange) -> None:
    ok(exchange.open_epoch(), 201)
    problem(exchange.open_epoch(), 409, "other_epoch")
    assert ok(exchange.open_epoch(expected=2, reason="planned"), 201)["epoch"] == 3


def test_epoch_takes_its_envelopes_with_it(service: ServiceApp) -> None:
    exchange = Exchange(service, service.project())
    exchange.share()
    ok(exchange.open_epoch(), 201)
    assert exchange.received(1) == []
    with service.runtime.database.reading() as session:
        assert (
            session.connection().exec_driver_sql("SELECT count(*) FROM key_envelope WHERE document <> ''").scalar_one()
            == 0
        )
    assert exchange.look()["keyset_sha256"] is not None
    ok(exchange.post(1, check_value=NEW_VALUE), 201)
    assert exchange.look()["initiator"] == exchange.providers[1].organisation


@pytest.mark.parametrize("verb", ["suspend", "terminate"])
def test_epoch_is_opened_whatever_the_state_of_the_agreement(
    service: ServiceApp, exchange: Exchange, verb: str
) -> None:
    _stop(exchange, verb)
    assert ok(exchange.open_epoch(), 201)["epoch"] == 2
    assert ok(exchange.open_epoch(service.officer, expected=2), 201)["opened_by"] == service.officer.organisation
    problem(exchange.confirm(0, epoch=3), 403, "refused")


def test_nobody_but_providers_and_officers_opens_an_epoch(service: ServiceApp, exchange: Exchange) -> None:
    problem(exchange.open_epoch(exchange.linked.recipients[0]), 403, "refused")
    problem(exchange.open_epoch(service.administrator), 403, "refused")
    problem(exchange.open_epoch(service.join()), 404)
    assert service.events()[-1]["type"] == "key_epoch.refused"
    analyst = service.person(exchange.providers[0], "analyst")
    assert [element["policy"] for element in problem(exchange.open_epoch(analyst), 403, "refused")["elements"]] == [
        "G5-step-up"
    ]
    analyst.step_up()
    ok(exchange.open_epoch(analyst), 201)


def test_reason_is_one_of_two(exchange: Exchange) -> None:
    problem(exchange.open_epoch(reason="provider_left"), 422)


# ---- uploads in the old epoch ----


def test_declaration_in_another_epoch_is_told_why_it_changed(exchange: Exchange) -> None:
    ok(exchange.open_epoch(), 201)
    (error,) = problem(exchange.providers[0].declare(exchange.project, ROWS[0]), 422)["errors"]
    assert (error["pointer"], error["code"]) == ("/manifest/key/epoch", "other_epoch")
    assert error["detail"] == f"The project's secret is in epoch 2. {SUSPECTED}"
    later = exchange.providers[0].declare(exchange.project, ROWS[0], key=_key(3))
    assert problem(later, 422)["errors"][0]["detail"].startswith("The project's secret is in epoch 2.")


@on_each_database
def test_upload_of_a_closed_epoch_takes_no_part_and_is_not_completed(service: ServiceApp, exchange: Exchange) -> None:
    provider = exchange.providers[0]
    begun = ok(provider.declare(exchange.project, ROWS[0]), 201)["id"]
    (number, part), *_ = parts_of(ROWS[0])
    ok(exchange.open_epoch(), 201)
    for swept in (False, True):
        if swept:
            service.sweep()
        for answer in (provider.put_part(begun, number, part), provider.post(f"/v1/uploads/{begun}:complete")):
            assert problem(answer, 409, "closed_epoch")["detail"] == SUSPECTED
    assert service.verified()


def test_provider_deletes_its_own_unusable_upload(exchange: Exchange) -> None:
    ok(exchange.open_epoch(), 201)
    ok(exchange.providers[0].delete(f"/v1/uploads/{exchange.linked.uploads[0]}"), 204)


def test_deleted_upload_of_the_present_epoch_is_unusable_for_that(exchange: Exchange) -> None:
    ok(exchange.providers[0].delete(f"/v1/uploads/{exchange.linked.uploads[0]}"), 204)
    assert _upload(exchange)["unusable_because"].startswith("Its encodings were deleted.")


@on_each_database
def test_epoch_opened_while_an_upload_completes_leaves_no_usable_upload_of_the_old_one(
    service: ServiceApp, exchange: Exchange
) -> None:
    provider = exchange.providers[0]
    begun = ok(provider.declare(exchange.project, ROWS[0]), 201)["id"]
    for number, part in parts_of(ROWS[0]):
        ok(provider.put_part(begun, number, part), 204)
    assert exchange.providers[1].token

    def act(place: int) -> Any:
        if place:
            return exchange.open_epoch(exchange.providers[1])
        return provider.post(f"/v1/uploads/{begun}:complete")

    completed, opened = in_threads(2, act)
    ok(opened, 201)
    if completed.status_code != 200:
        problem(completed, 409, "closed_epoch")
    shown = ok(provider.get(f"/v1/uploads/{begun}"), 200)
    assert (shown["usable"], shown["key_epoch"]) == (False, 1)
    problem(provider.post(f"{exchange.path}/runs", {}), 409, "uploads_awaited")
    assert service.verified()


@on_each_database
def test_two_epochs_asked_for_at_once_are_one(service: ServiceApp, exchange: Exchange) -> None:
    for provider in exchange.providers:
        assert provider.token
    answers = in_threads(2, lambda place: exchange.open_epoch(exchange.providers[place]))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert exchange.look()["epoch"] == 2
    assert service.verified()


# ---- runs ----


def test_queued_run_ends_with_the_reason(service: ServiceApp, exchange: Exchange) -> None:
    run = ok(exchange.providers[0].post(f"{exchange.path}/runs", {}), 202)["id"]
    before = service.size()
    ok(exchange.open_epoch(), 201)
    assert [event["type"] for event in service.events()[before:]] == ["run.failed", "key_epoch.opened"]
    assert service.events()[-1]["counts"]["runs"] == 1
    assert not service.work()
    shown = ok(exchange.providers[0].get(f"/v1/runs/{run}"), 200)
    assert (shown["state"], shown["error"]["code"]) == ("failed", "closed_epoch")
    assert shown["error"]["detail"].startswith(SUSPECTED)


@on_each_database
def test_run_that_is_carried_out_ends_with_the_reason_and_leaves_nothing(
    service: ServiceApp, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ok(exchange.providers[0].post(f"{exchange.path}/runs", {"threshold": 0.9}), 202)["id"]
    finish, matched = runs.overlap, threading.Event()

    def held_up(*given: Any, **named: Any) -> Any:
        # The result is there, and was not handed in yet.
        ok(exchange.open_epoch(), 201)
        matched.set()
        return finish(*given, **named)

    monkeypatch.setattr(runs, "overlap", held_up)
    assert service.work()
    assert matched.is_set()
    shown = ok(exchange.providers[0].get(f"/v1/runs/{run}"), 200)
    assert (shown["state"], shown["error"]["code"]) == ("failed", "closed_epoch")
    assert [key for key in service.runtime.blobs.list("runs") if run in key] == []
    assert "run.succeeded" not in [event["type"] for event in service.events()]
    assert service.verified()


# ---- who takes part ----


def _partly(service: ServiceApp, **changes: Any) -> Exchange:
    """Three providers in the agreement, of whom the first two take part."""
    exchange = Exchange(service, service.project(providers=3))
    chosen = [provider.organisation for provider in exchange.providers[:2]]
    opened = service.open_project(exchange.providers[0], exchange.linked.agreement, **{"providers": chosen, **changes})
    exchange.linked.project = ok(opened, 201)["id"]
    return exchange


@on_each_database
def test_project_of_some_providers_waits_for_them_alone(service: ServiceApp) -> None:
    exchange = _partly(service)
    first, second, third = exchange.providers
    shown = ok(third.get(exchange.path), 200)
    assert shown["providers"] == [first.organisation, second.organisation]
    assert [item["organisation"] for item in exchange.look()["providers"]] == shown["providers"]
    problem(third.declare(exchange.project, THREE[2]), 403, "refused")
    problem(third.get(f"{exchange.path}/key-envelopes"), 403, "refused")
    for provider, rows in zip((first, second), THREE, strict=False):
        provider.upload(exchange.project, rows)
    assert service.run(exchange.linked, threshold=0.9)["state"] == "succeeded"


def test_keyset_holds_the_cards_of_those_who_take_part(service: ServiceApp) -> None:
    exchange = _partly(service)
    exchange.publish(0, 1)
    two = exchange.look()["keyset_sha256"]
    exchange.publish(2)
    assert exchange.look()["keyset_sha256"] == two
    envelope = exchange.keys[0].envelope(exchange.keys[2], project=exchange.project, epoch=1, keyset=two)
    answer = exchange.post(0, 1, envelopes=[envelope])
    assert problem(answer, 422)["errors"][0]["code"] == "not_a_provider"


@pytest.mark.parametrize(
    ("places", "code"), [([0], "too_few"), ([0, 0], "too_few"), ([], "too_few"), ([0, 3], "not_a_provider")]
)
def test_project_with_providers_that_cannot_be_is_refused(service: ServiceApp, places: list[int], code: str) -> None:
    linked = service.project(providers=3)
    ids = [caller.organisation for caller in (*linked.providers, *linked.recipients)]
    answer = service.open_project(linked.providers[0], linked.agreement, providers=[ids[place] for place in places])
    assert problem(answer, 422)["errors"][0]["code"] == code


@on_each_database
def test_provider_that_joins_begins_a_new_epoch(service: ServiceApp) -> None:
    exchange = _partly(service)
    for provider, rows in zip(exchange.providers[:2], THREE, strict=False):
        exchange.linked.uploads.append(provider.upload(exchange.project, rows))
    before = service.size()
    joined = ok(exchange.providers[2].post(f"{exchange.path}/providers", {}), 200)
    assert [event["type"] for event in service.events()[before:]] == ["key_epoch.opened", "project.provider_joined"]
    assert joined["providers"] == [provider.organisation for provider in exchange.providers]
    assert joined["key_epoch"] == 2
    assert exchange.look()["reason"] == "provider_joined"
    assert "because a provider joined" in _upload(exchange)["unusable_because"]
    problem(exchange.providers[2].post(f"{exchange.path}/providers", {}), 409, "takes_part")
    for provider, rows in zip(exchange.providers, THREE, strict=True):
        provider.upload(exchange.project, rows, key=_key(2))
    assert service.run(exchange.linked, threshold=0.9)["state"] == "succeeded"
    assert service.verified()


def test_party_that_is_no_provider_cannot_join(service: ServiceApp) -> None:
    exchange = _partly(service)
    recipient = exchange.linked.recipients[0]
    document = problem(recipient.post(f"{exchange.path}/providers", {}), 403, "refused")
    assert [element["policy"] for element in document["elements"]] == ["G2-provider"]
    problem(service.officer.post(f"{exchange.path}/providers", {}), 403, "refused")
    problem(service.join().post(f"{exchange.path}/providers", {}), 404)


def test_joining_waits_for_an_agreement_in_force(service: ServiceApp) -> None:
    exchange = _partly(service)
    _stop(exchange, "suspend")
    problem(exchange.providers[2].post(f"{exchange.path}/providers", {}), 403, "refused")


@on_each_database
def test_provider_that_leaves_begins_a_new_epoch_and_stays_a_party(service: ServiceApp) -> None:
    exchange = Exchange(service, service.uploaded(*THREE))
    leaving = exchange.providers[2]
    before = service.size()
    left = ok(leaving.delete(f"{exchange.path}/providers/{leaving.organisation}"), 200)
    assert [event["type"] for event in service.events()[before:]] == ["key_epoch.opened", "project.provider_left"]
    assert (left["key_epoch"], leaving.organisation in left["providers"]) == (2, False)
    assert exchange.look()["reason"] == "provider_left"
    assert "because a provider left" in _upload(exchange, 2)["unusable_because"]
    problem(leaving.declare(exchange.project, THREE[2], key=_key(2)), 403, "refused")
    problem(leaving.get(f"{exchange.path}/key-envelopes"), 403, "refused")
    ok(leaving.get(exchange.path), 200)
    assert service.sweep().deleted == {"upload": 3}
    assert service.verified()


def test_officer_takes_a_provider_out_whatever_the_state_of_the_agreement(service: ServiceApp) -> None:
    exchange = Exchange(service, service.project(providers=3))
    _stop(exchange, "suspend")
    out = exchange.providers[1].organisation
    assert out not in ok(service.officer.delete(f"{exchange.path}/providers/{out}"), 200)["providers"]
    problem(service.officer.delete(f"{exchange.path}/providers/{out}"), 404, "not_found")


def test_provider_takes_out_nobody_but_itself(service: ServiceApp) -> None:
    exchange = Exchange(service, service.project(providers=3))
    mine, other = exchange.providers[0], exchange.providers[1].organisation
    problem(mine.delete(f"{exchange.path}/providers/{other}"), 403, "refused")
    recipient = exchange.linked.recipients[0]
    problem(recipient.delete(f"{exchange.path}/providers/{recipient.organisation}"), 403, "refused")
    outsider = service.join()
    problem(outsider.delete(f"{exchange.path}/providers/{outsider.organisation}"), 404)
    assert service.events()[-1]["type"] == "project.refused"


def test_signatory_leaves_for_its_organisation_and_the_last_provider_stays(service: ServiceApp) -> None:
    exchange = Exchange(service, service.project())
    first, second = exchange.providers
    signatory = service.person(first, "signatory", stepped_up=True)
    ok(signatory.delete(f"{exchange.path}/providers/{first.organisation}"), 200)
    problem(second.delete(f"{exchange.path}/providers/{second.organisation}"), 409, "last_provider")
    second.upload(exchange.project, ROWS[1], key=_key(2))
    problem(second.post(f"{exchange.path}/runs", {}), 409, "too_few_providers")


def test_provider_that_left_joins_again(service: ServiceApp) -> None:
    exchange = Exchange(service, service.project(providers=3))
    one = exchange.providers[2]
    ok(one.delete(f"{exchange.path}/providers/{one.organisation}"), 200)
    assert ok(one.post(f"{exchange.path}/providers", {}), 200)["key_epoch"] == 3


def test_closed_project_is_neither_joined_nor_left(service: ServiceApp) -> None:
    exchange = _partly(service)
    ok(exchange.providers[0].post(f"{exchange.path}:close"), 200)
    problem(exchange.providers[2].post(f"{exchange.path}/providers", {}), 403, "refused")
    one = exchange.providers[0].organisation
    problem(exchange.providers[0].delete(f"{exchange.path}/providers/{one}"), 409, "conflict")


@on_each_database
def test_provider_that_joins_twice_at_once_joins_once(service: ServiceApp) -> None:
    exchange = _partly(service)
    joining = exchange.providers[2]
    assert joining.token
    answers = in_threads(2, lambda _: joining.post(f"{exchange.path}/providers", {}))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert exchange.look()["epoch"] == 2
    assert service.verified()


def test_reason_of_every_kind_of_end_is_said(service: ServiceApp) -> None:
    exchange = Exchange(service, service.project(providers=3))
    leaving = exchange.providers[2]
    ok(exchange.open_epoch(reason="planned"), 201)
    ok(leaving.delete(f"{exchange.path}/providers/{leaving.organisation}"), 200)
    with service.runtime.database.reading() as session:
        words = [closed_because(session, project=exchange.project, epoch=number) for number in (1, 2, 3)]
    assert ["a new secret was planned" in words[0], "a provider left" in words[1]] == [True, True]
    assert words[2] == "The project's key epoch 3 is closed. Encode again with the present secret."
