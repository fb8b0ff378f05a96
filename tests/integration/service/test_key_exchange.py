"""Key cards, and a secret that providers share through a service that does not learn it."""

from collections.abc import Callable
from typing import Any

import pytest

from support.canaries import search, spellings
from support.databases import on_each_database
from support.key_exchange import (
    CHECK_VALUE,
    SECRET,
    Exchange,
    ExchangeKeys,
    card_path,
    digest_of,
    keys_that_serve_twice,
    keyset_of,
)
from support.service_app import Json, ServiceApp, data_sets, in_threads, ok, problem

OTHER_VALUE = "cd" * 16
KEY = {"epoch": 1, "check_value": CHECK_VALUE, "derivation": "linkage/derive/v1"}
ROWS = data_sets(12, 12, shared=6)


@pytest.fixture
def exchange(service: ServiceApp) -> Exchange:
    return Exchange(service, service.project())


def _publish(exchange: Exchange, card: Json) -> Any:
    return exchange.providers[0].request("PUT", card_path(exchange.providers[0]), json=card)


# ---- cards ----


def test_card_is_published_with_one_event_and_shown_to_every_registered_organisation(
    service: ServiceApp, exchange: Exchange
) -> None:
    card = exchange.keys[0].card()
    with service.expecting_event("key_card.published") as found:
        shown = ok(_publish(exchange, card), 200)
    assert (shown["document"], shown["digest"]) == (card, digest_of(card))
    assert found[0]["resource"] == {"type": "organisation", "id": exchange.providers[0].organisation}
    assert ok(service.join().get(card_path(exchange.providers[0])), 200) == shown


def test_same_card_again_changes_nothing(service: ServiceApp, exchange: Exchange) -> None:
    card = exchange.keys[0].card()
    first = ok(_publish(exchange, card), 200)
    before = service.size()
    assert ok(_publish(exchange, card), 200) == first
    assert service.size() == before
    exchange.publish(1)
    assert exchange.part_of(0)["card_changed_at"] is None


@on_each_database
def test_another_card_supersedes_the_one_before_and_an_old_one_can_come_back(
    service: ServiceApp, exchange: Exchange
) -> None:
    first, second = exchange.keys[0].card(), ExchangeKeys(exchange.providers[0].organisation).card()
    for card in (first, second, first):
        assert ok(_publish(exchange, card), 200)["document"] == card
    shown = ok(exchange.providers[1].get(card_path(exchange.providers[0])), 200)
    assert shown["digest"] == digest_of(first)
    assert exchange.part_of(0)["card_changed_at"] == shown["published_at"]
    assert service.verified()


def test_organisation_without_a_card_has_none_to_show(exchange: Exchange) -> None:
    problem(exchange.providers[1].get(card_path(exchange.providers[0])), 404, "not_found")


def test_card_with_the_post_quantum_key_is_taken(exchange: Exchange) -> None:
    keys = exchange.keys[0]
    shown = ok(_publish(exchange, keys.card(hpke_keys=keys.both)), 200)
    assert shown["document"]["hpke_keys"] == keys.both


def test_card_of_another_organisation_is_refused_whoever_signed_it(service: ServiceApp, exchange: Exchange) -> None:
    answer = _publish(exchange, exchange.keys[1].card())
    assert problem(answer, 422)["errors"][0]["code"] == "other_organisation"
    assert service.events()[-1]["type"] == "key_card.refused"
    other = exchange.providers[1].request("PUT", card_path(exchange.providers[0]), json=exchange.keys[0].card())
    problem(other, 403, "refused")


def test_card_that_was_changed_after_it_was_signed_is_refused(exchange: Exchange) -> None:
    card = {**exchange.keys[0].card(), "hpke_keys": exchange.keys[1].body()["hpke_keys"]}
    assert problem(_publish(exchange, card), 422)["errors"][0]["code"] == "bad_signature"


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("copied", ["x25519", "mlkem768-x25519", "signing_key"])
def test_card_with_a_key_of_another_organisation_is_refused(exchange: Exchange, copied: str, *, earlier: bool) -> None:
    victim, keys = keys_that_serve_twice(exchange.providers[1].organisation), exchange.keys[0]
    theirs = victim.card(hpke_keys=victim.both)
    ok(exchange.providers[1].request("PUT", card_path(exchange.providers[1]), json=theirs), 200)
    if earlier:
        renewed = ExchangeKeys(victim.organisation).card()
        ok(exchange.providers[1].request("PUT", card_path(exchange.providers[1]), json=renewed), 200)
    if copied == "signing_key":
        # As a key to encrypt to: for signing they would need its private half.
        card = keys.card(hpke_keys={"x25519": theirs["signing_key"]})
    else:
        card = keys.card(hpke_keys={**keys.both, copied: theirs["hpke_keys"][copied]})
    (error,) = problem(_publish(exchange, card), 422)["errors"]
    assert error["code"] == "key_of_another"


@on_each_database
def test_cards_published_at_once_leave_one_that_counts(service: ServiceApp, exchange: Exchange) -> None:
    provider = exchange.providers[0]
    cards = [ExchangeKeys(provider.organisation).card() for _ in range(2)]
    assert provider.token
    answers = in_threads(2, lambda place: provider.request("PUT", card_path(provider), json=cards[place]))
    assert [answer.status_code for answer in answers] == [200, 200]
    with service.runtime.database.reading() as session:
        query = "SELECT count(*) FROM key_card WHERE superseded_at IS NULL"
        assert session.connection().exec_driver_sql(query).scalar_one() == 1


def test_person_publishes_no_card(service: ServiceApp, exchange: Exchange) -> None:
    analyst = service.person(exchange.providers[0], "analyst", stepped_up=True)
    document = problem(analyst.put(card_path(exchange.providers[0]), exchange.keys[0].card()), 403, "refused")
    assert [element["policy"] for element in document["elements"]] == ["G5-machines"]


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"organisation": "somebody"},
        {"signing_key": "AAAA"},
        {"hpke_keys": {}},
        {"hpke_keys": {"x25519": "AAAA"}},
        {"hpke_keys": {"p256": "A" * 43}},
        {"surprise": "Qxsurname"},
    ],
)
def test_card_of_another_form_is_refused_without_an_echo(exchange: Exchange, changes: Json) -> None:
    answer = _publish(exchange, exchange.keys[0].card(**changes))
    problem(answer, 422)
    assert "Qxsurname" not in answer.text
    assert "p256" not in answer.text


# ---- the exchange ----


@on_each_database
def test_secret_is_shared_and_everybody_sees_how_far_the_others_are(service: ServiceApp, exchange: Exchange) -> None:
    begun = exchange.look()
    assert (begun["epoch"], begun["reason"], begun["suite"]) == (1, "opened", "x25519")
    assert begun["opened_by"] == exchange.providers[0].organisation
    assert (begun["initiator"], begun["keyset_sha256"], begun["check_value_known"]) == (None, None, False)
    exchange.publish()
    cards = [keys.card() for keys in exchange.keys]
    assert exchange.look()["keyset_sha256"] == keyset_of(cards, project=exchange.project)
    ok(exchange.compare(0), 200)
    assert exchange.part_of(0)["code_compared_at"] is not None
    assert exchange.part_of(1)["code_compared_at"] is None
    posted = ok(exchange.post(0), 201)
    assert (posted["initiator"], posted["check_value_known"]) == (exchange.providers[0].organisation, True)
    assert exchange.part_of(1)["envelope_waiting"] is True
    assert exchange.part_of(0)["confirmed_at"] is not None
    (item,) = exchange.received(1)
    assert exchange.keys[1].opened(item["envelope"]) == SECRET
    waiting = exchange.part_of(1)
    assert waiting["envelope_waiting"] is False
    assert waiting["envelope_retrieved_at"] is not None
    assert waiting["confirmed_at"] is None
    ok(exchange.confirm(1), 200)
    done = exchange.part_of(1)
    assert done["confirmed_at"] is not None
    assert done["uploaded"] is False
    exchange.providers[1].upload(exchange.project, ROWS[1])
    assert exchange.part_of(1)["uploaded"] is True
    assert service.verified()


def test_each_step_is_one_event_without_the_check_value_and_without_ciphertext(
    service: ServiceApp, exchange: Exchange
) -> None:
    exchange.publish()
    draft = exchange.draft(0)
    steps: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("key_exchange.code_compared", lambda: exchange.compare(0)),
        ("key_exchange.envelopes_posted", lambda: exchange.providers[0].post(f"{exchange.path}/key-envelopes", draft)),
        ("key_exchange.envelopes_retrieved", lambda: exchange.received(1)),
        ("key_exchange.secret_confirmed", lambda: exchange.confirm(1)),
        ("key_exchange.refused", lambda: exchange.confirm(1, check_value=OTHER_VALUE)),
    )
    for event_type, step in steps:
        with service.expecting_event(event_type) as found:
            step()
        assert (found[0]["project"], found[0]["resource"]["type"]) == (exchange.project, "project")
        assert found[0]["agreement"]["ref"] == exchange.linked.agreement["reference"]
    with service.runtime.database.reading() as session:
        query = "SELECT e.header, b.body FROM audit_event e LEFT JOIN audit_body b ON b.seq = e.seq"
        written = b"".join(bytes(part) for row in session.connection().exec_driver_sql(query) for part in row if part)
    assert draft["keyset_sha256"].encode() in written
    for hidden in (CHECK_VALUE, OTHER_VALUE, draft["envelopes"][0]["ciphertext"]):
        assert not any(spelling in written for spelling in spellings(hidden.encode()))


def test_nothing_of_envelopes_and_check_values_is_logged_or_answered(
    service: ServiceApp, exchange: Exchange, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    exchange.publish()
    draft = exchange.draft(0)
    sealed = draft["envelopes"][0]["ciphertext"]
    answers = [
        exchange.providers[0].post(f"{exchange.path}/key-envelopes", draft),
        exchange.providers[0].post(f"{exchange.path}/key-envelopes", {**draft, "check_value": OTHER_VALUE}),
        exchange.providers[1].post(f"{exchange.path}/key-envelopes", {**draft, "surprise": CHECK_VALUE}),
        exchange.confirm(1),
        exchange.confirm(1, check_value=OTHER_VALUE),
        exchange.providers[0].get(f"{exchange.path}/key-exchange"),
        exchange.providers[0].get(f"{exchange.path}/key-envelopes"),
    ]
    shown = tmp_path / "shown"
    shown.write_bytes(b"\n".join(answer.content for answer in answers) + "".join(capsys.readouterr()).encode())
    hidden = {
        name: value.encode() for name, value in (("sealed", sealed), ("own", CHECK_VALUE), ("other", OTHER_VALUE))
    }
    assert search([shown], hidden) == []
    assert service.verified()


def test_asking_for_envelopes_where_there_are_none_leaves_no_event(service: ServiceApp, exchange: Exchange) -> None:
    exchange.publish()
    before = service.size()
    assert exchange.received(1) == []
    assert service.size() == before


def test_retrieval_that_cannot_be_recorded_gives_nothing(
    service: ServiceApp, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.publish()
    draft = exchange.draft(0)
    ok(exchange.providers[0].post(f"{exchange.path}/key-envelopes", draft), 201)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the log cannot be written")

    with monkeypatch.context() as broken:
        broken.setattr(service.runtime.log, "append", fail)
        answer = exchange.providers[1].get(f"{exchange.path}/key-envelopes")
    problem(answer, 500)
    assert draft["envelopes"][0]["ciphertext"] not in answer.text
    assert exchange.part_of(1)["envelope_waiting"] is True


def test_provider_gets_only_what_was_sent_to_it(service: ServiceApp) -> None:
    exchange = Exchange(service, service.project(providers=3))
    exchange.publish()
    ok(exchange.post(0, 1), 201)
    assert [item["envelope"]["to"] for item in exchange.received(1)] == [exchange.providers[1].organisation]
    assert exchange.received(2) == exchange.received(0) == []
    assert exchange.part_of(2)["envelope_waiting"] is False


def test_parties_that_are_no_provider_look_and_take_no_part(service: ServiceApp, exchange: Exchange) -> None:
    exchange.publish()
    recipient, outsider = exchange.linked.recipients[0], service.join()
    assert ok(recipient.get(f"{exchange.path}/key-exchange"), 200) == exchange.look()
    ok(service.officer.get(f"{exchange.path}/key-exchange"), 200)
    problem(outsider.get(f"{exchange.path}/key-exchange"), 404)
    draft = {"epoch": 1, "check_value": CHECK_VALUE}
    document = problem(recipient.post(f"{exchange.path}/key-confirmations", draft), 403, "refused")
    assert [element["policy"] for element in document["elements"]] == ["G2-provider"]
    problem(recipient.get(f"{exchange.path}/key-envelopes"), 403, "refused")
    problem(outsider.post(f"{exchange.path}/key-confirmations", draft), 404)
    problem(service.officer.get(f"{exchange.path}/key-envelopes"), 403, "refused")


def test_events_of_the_exchange_are_shown_to_its_parties_and_of_a_card_to_its_organisation(
    service: ServiceApp, exchange: Exchange
) -> None:
    exchange.share()
    outsider, partner = service.join(), exchange.linked.recipients[0]

    def seen(by: Any, event_type: str) -> int:
        found = ok(by.get("/v1/audit/events", params={"type": event_type}), 200)["items"]
        return len(found)

    for caller, exchanged, cards in (
        (exchange.providers[0], 2, 1), (partner, 2, 0), (outsider, 0, 0), (service.officer, 2, 2),
    ):  # fmt: skip
        assert seen(caller, "key_exchange.code_compared") == exchanged
        assert seen(caller, "key_card.published") == cards


# ---- what is refused ----


def test_request_about_another_epoch_is_told_the_present_one(exchange: Exchange) -> None:
    exchange.publish()
    for answer in (
        exchange.compare(0, epoch=2),
        exchange.confirm(0, epoch=2),
        exchange.post(0, epoch=2),
        exchange.open_epoch(expected=2),
    ):
        assert "epoch 1" in problem(answer, 409, "other_epoch")["detail"]


def test_keyset_that_is_not_the_present_one_is_refused(exchange: Exchange) -> None:
    stated = {"epoch": 1, "keyset_sha256": "5f" * 32}
    missing = exchange.providers[0].post(f"{exchange.path}/key-comparisons", stated)
    assert "Not every provider" in problem(missing, 409, "other_keyset")["detail"]
    exchange.publish()
    assert (
        "compare the new safety code"
        in problem(exchange.compare(0, keyset_sha256="5f" * 32), 409, "other_keyset")["detail"]
    )
    problem(exchange.post(0, keyset_sha256="5f" * 32), 409, "other_keyset")


def test_second_initiator_is_told_to_accept(exchange: Exchange) -> None:
    exchange.publish()
    ok(exchange.post(0), 201)
    problem(exchange.post(1, check_value=OTHER_VALUE), 409, "already_shared")
    assert exchange.look()["initiator"] == exchange.providers[0].organisation


def test_provider_that_has_not_confirmed_sends_nothing_on(service: ServiceApp) -> None:
    exchange = Exchange(service, service.project(providers=3))
    exchange.publish()
    ok(exchange.post(0, 1), 201)
    problem(exchange.post(1, 2), 409, "not_confirmed")
    ok(exchange.confirm(1), 200)
    ok(exchange.post(1, 2), 201)
    (item,) = exchange.received(2)
    assert item["envelope"]["from"] == exchange.providers[1].organisation
    assert exchange.look()["initiator"] == exchange.providers[0].organisation


def test_other_secret_is_refused_wherever_it_is_named(exchange: Exchange) -> None:
    exchange.publish()
    ok(exchange.post(0), 201)
    problem(exchange.confirm(1, check_value=OTHER_VALUE), 409, "other_secret")
    ok(exchange.confirm(1), 200)
    problem(exchange.post(1, check_value=OTHER_VALUE), 409, "other_secret")
    problem(exchange.post(0, check_value=OTHER_VALUE), 409, "other_secret")
    key = {**KEY, "check_value": OTHER_VALUE}
    declared = exchange.providers[1].declare(exchange.project, ROWS[0], key=key)
    problem(declared, 409, "other_secret")


def test_secret_handed_over_without_the_service_is_known_by_the_first_confirmation(exchange: Exchange) -> None:
    confirmed = ok(exchange.confirm(1), 200)
    assert (confirmed["initiator"], confirmed["check_value_known"]) == (None, True)
    problem(exchange.confirm(0, check_value=OTHER_VALUE), 409, "other_secret")
    ok(exchange.confirm(0), 200)
    exchange.publish()
    ok(exchange.post(0), 201)
    assert exchange.look()["initiator"] == exchange.providers[0].organisation


def test_secret_that_differs_from_the_one_of_uploads_cannot_become_the_epochs(exchange: Exchange) -> None:
    exchange.providers[0].upload(exchange.project, ROWS[0])
    exchange.publish()
    problem(exchange.confirm(1, check_value=OTHER_VALUE), 409, "other_secret")
    problem(exchange.post(1, check_value=OTHER_VALUE), 409, "other_secret")
    look = exchange.look()
    assert look["check_value_set_by"] == exchange.providers[0].organisation
    assert [one["confirmed_at"] is not None for one in look["providers"]][:2] == [True, False]
    ok(exchange.confirm(1), 200)


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"project": "prj_" + "0" * 26}, "/envelopes/0/project", "other"),
        ({"epoch": 2}, "/envelopes/0/epoch", "other"),
        ({"from": "org_" + "0" * 26}, "/envelopes/0/from", "other"),
        ({"keyset": "5f" * 32}, "/envelopes/0/keyset", "other"),
        ({"suite": "mlkem768-x25519"}, "/envelopes/0/suite", "other"),
        ({"to": "org_" + "0" * 26}, "/envelopes/0/to", "not_a_provider"),
        ({"ciphertext": "A" * 1600}, "/envelopes/0/ciphertext", "wrong_length"),
        ({"ciphertext": "B" * 113}, "/envelopes/0/ciphertext", "malformed"),
        ({"at": "2026-02-30T00:00:00Z"}, "/envelopes/0/at", "value_error"),
        ({"at": "yesterday"}, "/envelopes/0/at", "string_pattern_mismatch"),
        ({"surprise": 1}, "/envelopes/0", "extra_forbidden"),
    ],
)
def test_envelope_that_its_recipient_would_refuse_is_refused(
    exchange: Exchange, changes: Json, pointer: str, code: str
) -> None:
    exchange.publish()
    keyset = exchange.look()["keyset_sha256"]
    envelope = exchange.keys[0].envelope(exchange.keys[1], changes, project=exchange.project, epoch=1, keyset=keyset)
    (error,) = problem(exchange.post(0, envelopes=[envelope]), 422)["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)
    assert exchange.look()["initiator"] is None


def test_envelope_that_somebody_else_signed_or_changed_is_refused(exchange: Exchange) -> None:
    exchange.publish()
    draft = exchange.draft(0)
    (envelope,) = draft["envelopes"]
    forged = exchange.keys[1].envelope(
        exchange.keys[1], {"from": exchange.providers[0].organisation}, project=exchange.project, epoch=1,
        keyset=draft["keyset_sha256"],
    )  # fmt: skip
    for wrong in (forged, {**envelope, "at": "2026-03-01T12:00:01Z"}):
        answer = exchange.post(0, envelopes=[wrong])
        assert problem(answer, 422)["errors"][0]["code"] == "bad_signature"


def test_envelope_to_oneself_and_two_to_one_provider_are_refused(exchange: Exchange) -> None:
    exchange.publish()
    (envelope,) = exchange.draft(0)["envelopes"]
    assert problem(exchange.post(0, 0), 422)["errors"][0]["code"] == "not_a_provider"
    assert problem(exchange.post(0, envelopes=[envelope, envelope]), 422)["errors"][0]["code"] == "repeated"


def test_newer_envelope_takes_the_place_of_the_older_and_waits_again(exchange: Exchange) -> None:
    exchange.publish()
    ok(exchange.post(0), 201)
    (first,) = exchange.received(1)
    ok(exchange.post(0), 201)
    assert exchange.part_of(1)["envelope_waiting"] is True
    (second,) = exchange.received(1)
    assert first["envelope"]["ciphertext"] != second["envelope"]["ciphertext"]


def test_closed_project_exchanges_nothing_and_keeps_no_envelope(service: ServiceApp, exchange: Exchange) -> None:
    exchange.publish()
    ok(exchange.post(0), 201)
    ok(exchange.providers[0].post(f"{exchange.path}:close"), 200)
    assert _envelopes(service) == 0
    document = problem(exchange.confirm(1), 403, "refused")
    assert [element["policy"] for element in document["elements"]] == ["G8-project-open"]
    problem(exchange.open_epoch(), 409, "conflict")


def test_envelopes_go_with_the_agreement(service: ServiceApp, exchange: Exchange) -> None:
    exchange.publish()
    ok(exchange.post(0), 201)
    assert service.sweep().envelopes == 0
    path = f"/v1/agreements/{exchange.linked.agreement['id']}"
    ok(service.officer.change(f"{path}:terminate", {"reason": "It is over."}, of=path), 200)
    problem(exchange.providers[1].get(f"{exchange.path}/key-envelopes"), 403, "refused")
    assert service.sweep().envelopes == 1
    assert _envelopes(service) == 0


def _envelopes(service: ServiceApp) -> int:
    with service.runtime.database.reading() as session:
        return int(
            session.connection().exec_driver_sql("SELECT count(*) FROM key_envelope WHERE document <> ''").scalar_one()
        )


# ---- a card changes ----


@on_each_database
def test_changed_card_voids_comparisons_and_envelopes_until_the_secret_is_sent_again(
    service: ServiceApp, exchange: Exchange
) -> None:
    exchange.share()
    before = exchange.look()
    exchange.keys[1] = ExchangeKeys(exchange.providers[1].organisation)
    exchange.publish(1)
    after = exchange.look()
    assert after["epoch"] == 1
    assert after["keyset_sha256"] not in (None, before["keyset_sha256"])
    assert {item["code_compared_at"] for item in after["providers"]} == {None}
    assert exchange.part_of(1)["card_changed_at"] is not None
    assert exchange.part_of(1)["envelope_retrieved_at"] is None
    assert exchange.received(1) == []
    problem(exchange.post(0, keyset_sha256=before["keyset_sha256"]), 409, "other_keyset")
    ok(exchange.compare(0), 200)
    ok(exchange.post(0), 201)
    (item,) = exchange.received(1)
    assert exchange.keys[1].opened(item["envelope"]) == SECRET
    assert service.verified()


def test_uploads_stay_usable_when_a_card_changes(exchange: Exchange) -> None:
    exchange.share()
    upload = exchange.providers[0].upload(exchange.project, ROWS[0])
    exchange.keys[1] = ExchangeKeys(exchange.providers[1].organisation)
    exchange.publish(1)
    assert ok(exchange.providers[0].get(f"/v1/uploads/{upload}"), 200)["usable"] is True


# ---- at the same time ----


@on_each_database
def test_two_initiators_at_once_become_one(service: ServiceApp, exchange: Exchange) -> None:
    exchange.publish()
    drafts = [exchange.draft(0), exchange.draft(1, check_value=OTHER_VALUE)]
    for provider in exchange.providers:
        assert provider.token

    def post(place: int) -> Any:
        return exchange.providers[place].post(f"{exchange.path}/key-envelopes", drafts[place])

    answers = in_threads(2, post)
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    winner = next(place for place in (0, 1) if answers[place].status_code == 201)
    problem(answers[1 - winner], 409, "already_shared")
    assert exchange.look()["initiator"] == exchange.providers[winner].organisation
    assert len(exchange.received(1 - winner)) == 1
    assert exchange.received(winner) == []
    assert service.verified()


@on_each_database
def test_two_first_confirmations_at_once_agree_on_one_secret(service: ServiceApp, exchange: Exchange) -> None:
    for provider in exchange.providers:
        assert provider.token
    answers = in_threads(
        2, lambda place: exchange.confirm(place, check_value=(CHECK_VALUE, OTHER_VALUE)[place], epoch=1)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert service.verified()


def test_agreement_that_asks_for_post_quantum_keys_needs_them_on_every_card(
    service: ServiceApp, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkage_service.keys.service.suite_of", lambda _: "mlkem768-x25519")
    exchange.publish()
    assert (exchange.look()["suite"], exchange.look()["keyset_sha256"]) == ("mlkem768-x25519", None)
    cards = []
    for provider, keys in zip(exchange.providers, exchange.keys, strict=True):
        cards.append(keys.card(hpke_keys=keys.both))
        ok(provider.request("PUT", card_path(provider), json=cards[-1]), 200)
    wanted = keyset_of(cards, project=exchange.project, suite="mlkem768-x25519")
    assert exchange.look()["keyset_sha256"] == wanted
    assert service.verified()
