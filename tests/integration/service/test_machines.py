"""Keys of clients, separation of duties, assurance and sanctions: what they change, and what is written down."""

import json
from typing import Any

import pytest

from support.databases import on_each_database
from support.service_app import (
    Caller,
    Json,
    Key,
    Linked,
    Organisation,
    ServiceApp,
    data_sets,
    in_threads,
    jws,
    ok,
    problem,
)

pytestmark = on_each_database

ROWS = data_sets(12, 12, shared=6)
REASON = {"reason": "Uploads were probed."}


@pytest.fixture
def organisation(service: ServiceApp) -> Organisation:
    made = service.join()
    # Tokens are got beforehand, so that tests see only the events of what they do.
    assert made.token
    assert service.officer.token
    assert service.administrator.token
    return made


def _client(of: Caller) -> str:
    return f"/v1/organisations/{of.organisation}/clients/{of.client}"


def _keys(of: Caller) -> str:
    return f"{_client(of)}/keys"


def _policies(answer: Any) -> set[str]:
    return {element["policy"] for element in problem(answer, 403, "refused")["elements"]}


def _body(service: ServiceApp, seq: int = -1) -> Json:
    with service.runtime.database.reading() as session:
        order = "SELECT body FROM audit_body ORDER BY seq"
        body: Json = json.loads(session.connection().exec_driver_sql(order).all()[seq][0])
        return body


# ---- keys ----


def test_client_adds_a_key_that_works_beside_the_old_one(service: ServiceApp) -> None:
    # A recipient's client: no signatory, and it still rotates its own key.
    client = service.join().add_client("recipient")
    assert client.token
    new = Key()
    with service.expecting_event("client.key_added"):
        made = ok(client.post(_keys(client), {"jwk": new.jwk}), 201)
    assert (made["thumbprint"], made["status"], made["revoked_at"]) == (new.thumbprint, "active", None)
    for key in (client.key, new):
        ok(service.ask_for_token(jws(client.claims(), key, kid=key.thumbprint)), 200)
    listed = ok(client.get(_keys(client)), 200)
    assert [key["thumbprint"] for key in listed["items"]] == [client.key.thumbprint, new.thumbprint]
    assert _body(service)["detail"] == {"key_thumbprint": new.thumbprint}
    assert service.verified()


def test_assertion_without_kid_is_taken_only_while_there_is_one_key(
    service: ServiceApp, organisation: Organisation
) -> None:
    ok(service.ask_for_token(jws(organisation.claims(), organisation.key)), 200)
    new = Key()
    ok(organisation.post(_keys(organisation), {"jwk": new.jwk}), 201)
    problem(service.ask_for_token(jws(organisation.claims(), organisation.key)), 401, "unknown_key")
    with service.expecting_event("client.key_revoked"):
        ok(organisation.delete(f"{_keys(organisation)}/{organisation.key.thumbprint}"), 204)
    ok(service.ask_for_token(jws(organisation.claims(), new)), 200)


def test_last_key_is_not_revoked(service: ServiceApp, organisation: Organisation) -> None:
    with service.expecting_event("client.refused"):
        problem(organisation.delete(f"{_keys(organisation)}/{organisation.key.thumbprint}"), 409, "conflict")


def test_revoked_key_is_neither_revoked_nor_registered_again(organisation: Organisation) -> None:
    old, new = organisation.key, Key()
    ok(organisation.post(_keys(organisation), {"jwk": new.jwk}), 201)
    ok(organisation.delete(f"{_keys(organisation)}/{old.thumbprint}"), 204)
    organisation.key = new
    organisation.forget_token()
    problem(organisation.delete(f"{_keys(organisation)}/{old.thumbprint}"), 409, "conflict")
    problem(organisation.post(_keys(organisation), {"jwk": old.jwk}), 409, "conflict")
    problem(organisation.delete(f"{_keys(organisation)}/{Key().thumbprint}"), 404, "not_found")
    shown = ok(organisation.get("/v1/me"), 200)["client"]["keys"]
    assert [key["status"] for key in shown] == ["revoked", "active"]


def test_key_that_signs_for_an_organisation_or_is_private_is_not_registered(organisation: Organisation) -> None:
    signing = problem(organisation.post(_keys(organisation), {"jwk": organisation.signing_key.jwk}), 422)
    assert signing["errors"][0]["code"] == "same_key"
    private = problem(organisation.post(_keys(organisation), {"jwk": {**Key().jwk, "d": "canary"}}), 422)
    assert private["errors"][0]["code"] == "private_key"


def test_client_has_a_handful_of_keys_at_most(organisation: Organisation) -> None:
    for _ in range(4):
        ok(organisation.post(_keys(organisation), {"jwk": Key().jwk}), 201)
    problem(organisation.post(_keys(organisation), {"jwk": Key().jwk}), 409, "conflict")


def test_signatory_rotates_the_keys_of_its_organisation_and_of_no_other(
    service: ServiceApp, organisation: Organisation
) -> None:
    client = organisation.add_client("recipient")
    ok(organisation.post(_keys(client), {"jwk": Key().jwk}), 201)
    assert _policies(client.post(_keys(organisation), {"jwk": Key().jwk})) == {"no-grant"}
    problem(service.join().post(_keys(client), {"jwk": Key().jwk}), 404, "not_found")
    assert _policies(service.officer.get(_keys(client))) == {"no-grant"}


def test_key_older_than_agreed_stops_processing_until_it_is_rotated(service: ServiceApp) -> None:
    linked = service.uploaded(*ROWS, security={"key_rotation_days": 20})
    provider = linked.providers[0]
    service.clock.move(days=21)
    runs = f"/v1/projects/{linked.project}/runs"
    assert _policies(provider.post(runs, {})) == {"G5-key-rotation"}
    new = Key()
    ok(provider.post(_keys(provider), {"jwk": new.jwk}), 201)
    # The token counts for the key that it was issued for.
    assert _policies(provider.post(runs, {})) == {"G5-key-rotation"}
    ok(provider.delete(f"{_keys(provider)}/{provider.key.thumbprint}"), 204)
    provider.key = new
    provider.forget_token()
    ok(provider.post(runs, {}), 202)


def test_person_who_did_not_step_up_registers_neither_a_client_nor_a_key(
    service: ServiceApp, organisation: Organisation
) -> None:
    signatory = service.person(organisation, "signatory")
    clients = f"/v1/organisations/{organisation.organisation}/clients"
    body = {"name": "spy", "jwk": Key().jwk, "roles": ["analyst"]}
    for answer in (
        signatory.post(clients, body),
        signatory.post(_keys(organisation), {"jwk": Key().jwk}),
        signatory.delete(f"{_keys(organisation)}/{organisation.key.thumbprint}"),
        signatory.delete(_client(organisation)),
    ):
        assert _policies(answer) == {"G5-step-up"}
    ok(signatory.get(clients), 200)
    ok(signatory.get(_keys(organisation)), 200)
    signatory.step_up()
    ok(signatory.post(clients, body), 201)


def test_client_reads_its_own_keys_and_no_clients(organisation: Organisation) -> None:
    client = organisation.add_client("recipient")
    ok(client.get(_keys(client)), 200)
    assert _policies(client.get(_keys(organisation))) == {"no-grant"}
    assert _policies(client.get(f"/v1/organisations/{organisation.organisation}/clients")) == {"no-grant"}


def test_outsider_is_refused_alike_for_clients_that_are_there_and_that_are_not(
    service: ServiceApp, organisation: Organisation
) -> None:
    clients = f"/v1/organisations/{organisation.organisation}/clients"
    for client in (organisation.client, f"cli_{'0' * 26}"):
        assert _policies(service.join().delete(f"{clients}/{client}")) == {"no-grant"}
    problem(organisation.delete(f"{clients}/cli_{'0' * 26}"), 404, "not_found")


def test_roles_and_key_of_a_new_client_are_in_the_body_of_its_event(
    service: ServiceApp, organisation: Organisation
) -> None:
    registered = {"roles": ["analyst", "recipient", "signatory"], "key_thumbprint": organisation.key.thumbprint}
    with service.runtime.database.reading() as session:
        query = "SELECT header, body FROM audit_body JOIN audit_event USING (seq)"
        rows = session.connection().exec_driver_sql(query).all()
    (body,) = (body for header, body in rows if b"organisation.registered" in header)
    assert json.loads(body)["detail"] == registered
    client = organisation.add_client("recipient")
    assert _body(service)["detail"] == {"roles": ["recipient"], "key_thumbprint": client.key.thumbprint}


# ---- duties ----


def test_administrators_neither_make_nor_touch_officers_clients(service: ServiceApp) -> None:
    clients = f"/v1/organisations/{service.administrator.organisation}/clients"
    body = {"name": "mine", "jwk": Key().jwk, "roles": ["officer"]}
    assert _policies(service.administrator.post(clients, body)) == {"G5-duties"}
    assert _policies(service.administrator.delete(_client(service.officer))) == {"G5-duties"}
    assert _policies(service.administrator.post(_keys(service.officer), {"jwk": Key().jwk})) == {"G5-duties-key"}


def test_officers_look_after_officers_clients_and_no_others(service: ServiceApp) -> None:
    other = service.add_client(service.officer, "officer")
    ok(service.officer.get(f"/v1/organisations/{service.officer.organisation}/clients"), 200)
    ok(service.officer.post(_keys(service.officer), {"jwk": Key().jwk}), 201)
    ok(service.officer.post(_keys(other), {"jwk": Key().jwk}), 201)
    ok(service.officer.delete(_client(other)), 204)
    clients = f"/v1/organisations/{service.officer.organisation}/clients"
    body = {"name": "more", "jwk": Key().jwk, "roles": ["operator"]}
    assert _policies(service.officer.post(clients, body)) == {"no-grant"}
    assert _policies(service.officer.delete(_client(service.administrator))) == {"no-grant"}
    assert _policies(service.officer.post(_keys(service.administrator), {"jwk": Key().jwk})) == {"no-grant"}


@pytest.mark.parametrize(
    "roles", [["officer", "analyst"], ["officer", "recipient"], ["operator", "signatory"], ["operator"]]
)
def test_partners_client_with_roles_that_are_kept_apart_is_refused(
    organisation: Organisation, roles: list[str]
) -> None:
    body = {"name": "machine", "jwk": Key().jwk, "roles": roles}
    document = problem(organisation.post(f"/v1/organisations/{organisation.organisation}/clients", body), 422)
    assert document["errors"][0]["pointer"] == "/roles"


@pytest.mark.parametrize(
    ("roles", "status"),
    [(["operator"], 201), (["operator", "analyst"], 422), (["operator", "recipient"], 422), (["analyst"], 422)],
)
def test_linkage_units_operator_has_no_data_role(service: ServiceApp, roles: list[str], status: int) -> None:
    unit = service.administrator
    body = {"name": "machine", "jwk": Key().jwk, "roles": roles}
    assert unit.post(f"/v1/organisations/{unit.organisation}/clients", body).status_code == status


# ---- assurance ----


def _assure(service: ServiceApp, organisation: str, status: str, expires_at: str | None) -> Json:
    body = {"status": status, "expires_at": expires_at, "evidence": "Seen on the public register."}
    recorded: Json = ok(service.officer.request("PUT", f"/v1/organisations/{organisation}/assurance", json=body), 200)
    return recorded


def _assured_project(service: ServiceApp, minimum: str) -> Linked:
    """An open project under an agreement that asks for assurance, which every party has."""
    *providers, recipient = (service.join() for _ in range(3))
    for party in (*providers, recipient):
        _assure(service, party.organisation, minimum, "2026-12-31T00:00:00Z")
    parties = {providers[0]: ("provider",), providers[1]: ("provider",), recipient: ("recipient",)}
    agreement = service.activate(parties, security={"minimum_assurance": minimum})
    project = ok(service.open_project(providers[0], agreement), 201)["id"]
    return Linked(agreement=agreement, project=project, providers=providers, recipients=[recipient], uploads=[])


def test_assurance_that_is_missing_too_low_or_expired_stops_processing(service: ServiceApp) -> None:
    linked = _assured_project(service, "standards_met")
    provider = linked.providers[0]
    _assure(service, provider.organisation, "none", None)
    assert _policies(provider.declare(linked.project, ROWS[0])) == {"G5-assurance"}
    _assure(service, provider.organisation, "approaching_standards", "2026-12-31T00:00:00Z")
    answer = provider.declare(linked.project, ROWS[0])
    assert _policies(answer) == {"G5-assurance"}
    assert {element["element"] for element in answer.json()["elements"]} == {"5 Data security"}
    shown = _assure(service, provider.organisation, "standards_met", "2026-03-02T00:00:00Z")
    assert (shown["assurance"], shown["assurance_expires"]) == ("standards_met", "2026-03-02T00:00:00.000000Z")
    ok(provider.declare(linked.project, ROWS[0]), 201)
    service.clock.move(days=1)
    assert _policies(provider.declare(linked.project, ROWS[0])) == {"G5-assurance"}


def test_recipient_whose_assurance_expired_gets_no_table(service: ServiceApp) -> None:
    linked = _assured_project(service, "approaching_standards")
    recipient = linked.recipients[0]
    _assure(service, recipient.organisation, "approaching_standards", "2026-03-05T00:00:00Z")
    for provider, rows in zip(linked.providers, ROWS, strict=True):
        linked.uploads.append(provider.upload(linked.project, rows))
    release = service.release(linked, service.run(linked))
    table = f"/v1/releases/{release['id']}/link-table"
    assert linked.providers[0].get(table).status_code == 200
    service.clock.move(days=5)
    assert _policies(linked.providers[0].get(table)) == {"G5-assurance-recipient"}
    assert _policies(recipient.get(f"/v1/runs/{release['run']}/summary")) == {"G5-assurance"}


def test_assurance_is_recorded_with_its_evidence_by_the_linkage_unit_only(
    service: ServiceApp, organisation: Organisation
) -> None:
    path = f"/v1/organisations/{organisation.organisation}/assurance"
    body = {"status": "standards_met", "expires_at": "2026-12-31T00:00:00Z", "evidence": "DSPT return."}
    with service.expecting_event("organisation.assurance_recorded"):
        ok(service.administrator.request("PUT", path, json=body), 200)
    assert _body(service)["detail"]["evidence"] == "DSPT return."
    assert _policies(organisation.request("PUT", path, json=body)) == {"no-grant"}


@pytest.mark.parametrize(("status", "expires_at"), [("none", "2026-12-31T00:00:00Z"), ("standards_met", None)])
def test_assurance_without_its_expiry_is_refused(
    service: ServiceApp, organisation: Organisation, status: str, expires_at: str | None
) -> None:
    body = {"status": status, "expires_at": expires_at, "evidence": "DSPT return."}
    answer = service.officer.request("PUT", f"/v1/organisations/{organisation.organisation}/assurance", json=body)
    assert problem(answer, 422)["errors"][0]["pointer"] == "/expires_at"


# ---- sanctions ----


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    assert service.officer.token
    return service.uploaded(*ROWS, sanctions={"ladder": ["warn", "suspend_organisation"]})


def test_sanction_is_recorded_with_who_and_why(service: ServiceApp, linked: Linked) -> None:
    path = f"/v1/organisations/{linked.providers[0].organisation}"
    for step, event_type, status in (
        ("warn", "organisation.warned", "active"),
        ("suspend", "organisation.suspended", "suspended"),
        ("reinstate", "organisation.reinstated", "active"),
    ):
        with service.expecting_event(event_type) as events:
            body = {**REASON, "agreement": linked.agreement["id"]}
            assert ok(service.officer.post(f"{path}:{step}", body), 200)["status"] == status
        assert events[0]["actor"]["id"] == service.officer.client
        assert events[0]["agreement"]["ref"] == linked.agreement["reference"]
        assert REASON["reason"] not in json.dumps(events[0])
        assert _body(service)["detail"]["reason"] == REASON["reason"]
    assert service.verified()


def test_client_of_any_organisation_is_suspended_alone(service: ServiceApp, linked: Linked) -> None:
    provider = linked.providers[0]
    client = provider.add_client("analyst")
    ok(client.get("/v1/me"), 200)
    for step, event_type, status in (
        ("warn", "client.warned", "active"),
        ("suspend", "client.suspended", "suspended"),
    ):
        with service.expecting_event(event_type):
            assert ok(service.officer.post(f"{_client(client)}:{step}", REASON), 200)["status"] == status
    assert _policies(client.get("/v1/me")) == {"G9-sanction-client"}
    ok(provider.get("/v1/me"), 200)
    with service.expecting_event("client.reinstated"):
        ok(service.officer.post(f"{_client(client)}:reinstate", REASON), 200)


def test_suspended_provider_stops_the_worker(service: ServiceApp, linked: Linked) -> None:
    provider, other = linked.providers
    run = ok(other.post(f"/v1/projects/{linked.project}/runs", {}), 202)
    ok(service.officer.post(f"/v1/organisations/{provider.organisation}:suspend", REASON), 200)
    assert _policies(other.post(f"/v1/projects/{linked.project}/runs", {})) == {"G9-sanction-run"}
    service.work()
    done = ok(other.get(f"/v1/runs/{run['id']}"), 200)
    assert (done["state"], done["error"]["code"]) == ("failed", "refused")
    event = service.events()[-2]
    assert (event["type"], event["decision"]["policies"]) == ("run.refused", ["G9-sanction-run"])


def test_suspended_recipient_gets_no_table(service: ServiceApp, linked: Linked) -> None:
    release = service.release(linked, service.run(linked))
    ok(service.officer.post(f"/v1/organisations/{linked.recipients[0].organisation}:suspend", REASON), 200)
    answer = linked.providers[0].get(f"/v1/releases/{release['id']}/link-table")
    assert _policies(answer) == {"G9-sanction-recipient"}


def test_sanction_that_is_not_on_the_ladder_is_refused_under_that_agreement(
    service: ServiceApp, linked: Linked
) -> None:
    provider = linked.providers[0]
    body = {**REASON, "agreement": linked.agreement["id"]}
    assert _policies(service.officer.post(f"{_client(provider)}:suspend", body)) == {"G9-ladder"}
    ok(service.officer.post(f"{_client(provider)}:suspend", REASON), 200)
    ok(service.officer.post(f"{_client(provider)}:reinstate", body), 200)


def test_agreement_of_others_or_unsigned_has_no_ladder_for_it(service: ServiceApp, linked: Linked) -> None:
    stranger = service.join()
    body = {**REASON, "agreement": linked.agreement["id"]}
    answer = service.officer.post(f"/v1/organisations/{stranger.organisation}:warn", body)
    assert problem(answer, 422)["errors"][0]["pointer"] == "/agreement"
    draft = service.draft({stranger: ["provider", "recipient"], service.join(): ["provider"]})
    answer = service.officer.post(
        f"/v1/organisations/{stranger.organisation}:warn", {**REASON, "agreement": draft["id"]}
    )
    problem(answer, 409, "conflict")


@pytest.mark.parametrize("step", ["warn", "suspend", "reinstate"])
def test_sanctions_are_the_officers_alone(service: ServiceApp, organisation: Organisation, step: str) -> None:
    for path in (f"/v1/organisations/{organisation.organisation}", _client(organisation)):
        assert _policies(service.administrator.post(f"{path}:{step}", REASON)) == {"no-grant"}
    assert _policies(organisation.post(f"/v1/organisations/{organisation.organisation}:{step}", REASON)) == {"no-grant"}
    problem(service.join().post(f"{_client(organisation)}:{step}", REASON), 404, "not_found")


def test_linkage_unit_and_the_officer_itself_are_not_suspended(service: ServiceApp) -> None:
    officer = service.officer
    problem(officer.post(f"/v1/organisations/{officer.organisation}:suspend", REASON), 409, "conflict")
    problem(officer.post(f"{_client(officer)}:suspend", REASON), 409, "conflict")
    assert service.administrator.token
    # Its other clients are: who oversees has no exception for its own house.
    ok(officer.post(f"{_client(service.administrator)}:suspend", REASON), 200)
    assert _policies(service.administrator.get("/v1/me")) == {"G9-sanction-client"}


def test_sanction_that_the_state_does_not_allow_is_a_conflict(service: ServiceApp, organisation: Organisation) -> None:
    path = f"/v1/organisations/{organisation.organisation}"
    problem(service.officer.post(f"{path}:reinstate", REASON), 409, "conflict")
    ok(service.officer.post(f"{path}:suspend", REASON), 200)
    problem(service.officer.post(f"{path}:suspend", REASON), 409, "conflict")
    invited, _ = service.invite()
    problem(service.officer.post(f"/v1/organisations/{invited}:suspend", REASON), 409, "conflict")


def test_reason_is_asked_for(service: ServiceApp, organisation: Organisation) -> None:
    for body in ({}, {"reason": ""}, {"reason": " "}):
        problem(service.officer.post(f"/v1/organisations/{organisation.organisation}:warn", body), 422)


def test_keys_revoked_at_the_same_moment_leave_one(organisation: Organisation) -> None:
    new = Key()
    ok(organisation.post(_keys(organisation), {"jwk": new.jwk}), 201)
    assert organisation.token
    thumbprints = [organisation.key.thumbprint, new.thumbprint]
    answers = in_threads(2, lambda number: organisation.delete(f"{_keys(organisation)}/{thumbprints[number]}"))
    # Whoever comes second finds the last key, or that its own token has ended with its key.
    assert sorted(answer.status_code for answer in answers) in ([204, 403], [204, 409])
