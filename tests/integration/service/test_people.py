"""People of organisations: who may invite whom, enrolment, roles, disabling, and what the ledger hears."""

import json
from typing import Any

import pytest

from support.databases import on_each_database, only_on_sqlite
from support.service_app import (
    PART_BYTES,
    Caller,
    Json,
    Organisation,
    Person,
    ServiceApp,
    data_sets,
    manifest,
    ok,
    problem,
)

pytestmark = on_each_database

PASSWORD = "a long phrase of somebody"


@pytest.fixture
def partner(service: ServiceApp) -> Organisation:
    return service.join()


def _people(caller: Caller | Person, organisation: str | None = None) -> str:
    return f"/v1/organisations/{organisation or caller.organisation}/people"


def _draft(*roles: str, email: str = "alex@body.test", name: str = "Alex Morgan") -> Json:
    return {"name": name, "email": email, "roles": list(roles)}


def _errors(document: Json) -> list[str]:
    return [error["code"] for error in document["errors"]]


@only_on_sqlite
def test_invitation_gives_a_link_once_and_is_an_event(service: ServiceApp, partner: Organisation) -> None:
    ok(partner.get("/v1/me"), 200)
    with service.expecting_event("person.invited") as events:
        made = ok(partner.post(_people(partner), _draft("analyst", email="Alex@Body.Test")), 201)
    assert made["path"] == f"/enrol/{made['token']}"
    assert made["person"]["email"] == "alex@body.test"
    assert made["person"]["status"] == "invited"
    assert events[0]["resource"] == {"type": "person", "id": made["person"]["id"]}
    assert "Morgan" not in str(events)
    assert "body.test" not in str(events)
    assert made["token"].encode() not in service.database_file.read_bytes()


def test_email_of_a_person_anywhere_is_taken(service: ServiceApp, partner: Organisation) -> None:
    ok(partner.post(_people(partner), _draft("analyst")), 201)
    other = service.join()
    problem(other.post(_people(other), _draft("analyst", email="ALEX@body.test")), 409, "email_taken")


@pytest.mark.parametrize("roles", [["analyst"], ["recipient"], ["analyst", "operator"]])
def test_person_of_the_unit_cannot_have_a_data_role(service: ServiceApp, roles: list[str]) -> None:
    answer = service.administrator.post(_people(service.administrator), _draft(*roles))
    assert _errors(problem(answer, 422)) == ["duties_not_separate"]


@pytest.mark.parametrize("roles", [["administrator"], ["operator"], ["officer", "analyst"], ["officer", "recipient"]])
def test_person_of_a_partner_cannot_run_or_oversee_the_service_beside_data(
    partner: Organisation, roles: list[str]
) -> None:
    assert _errors(problem(partner.post(_people(partner), _draft(*roles)), 422)) == ["duties_not_separate"]


def test_nobody_is_administrator_and_officer(service: ServiceApp) -> None:
    answer = service.administrator.post(_people(service.administrator), _draft("administrator", "officer"))
    assert [element["policy"] for element in problem(answer, 403, "refused")["elements"]] == ["G5-duties"]
    answer = service.officer.post(_people(service.officer), _draft("administrator", "officer"))
    assert [element["policy"] for element in problem(answer, 403, "refused")["elements"]] == ["no-grant"]


def test_administrator_of_the_unit_invites_the_first_signatory_only(service: ServiceApp) -> None:
    organisation, _ = service.invite()
    people = f"/v1/organisations/{organisation}/people"
    problem(service.administrator.post(people, _draft("analyst")), 403, "refused")
    first = ok(service.administrator.post(people, _draft("signatory")), 201)
    second = _draft("signatory", email="second@body.test")
    problem(service.administrator.post(people, second), 409, "has_a_signatory")
    signatory = Person(service, organisation=organisation, invitation=first)
    signatory.sign_in()
    signatory.step_up()
    ok(signatory.post(people, second), 201)


def test_administrator_of_the_unit_invites_nobody_where_a_machine_is_signatory(
    service: ServiceApp, partner: Organisation
) -> None:
    draft = _draft("signatory")
    problem(service.administrator.post(_people(partner), draft), 409, "has_a_signatory")
    lost = ok(partner.post(_people(partner), draft), 201)["person"]["id"]
    path = f"{_people(partner)}/{lost}"
    for verb in ("/invitations", ":disable", ":end-sessions"):
        problem(service.administrator.post(f"{path}{verb}"), 409, "has_a_signatory")
    ok(partner.post(f"{path}:disable"), 200)
    problem(service.administrator.post(f"{path}:enable"), 409, "has_a_signatory")


def test_administrator_of_the_unit_helps_where_an_officer_suspended_the_only_signing_machine(
    service: ServiceApp, partner: Organisation
) -> None:
    machine = f"/v1/organisations/{partner.organisation}/clients/{partner.client}"
    ok(service.officer.post(f"{machine}:suspend", {"reason": "Its key is lost."}), 200)
    invitation = ok(service.administrator.post(_people(partner), _draft("signatory")), 201)
    signatory = Person(service, organisation=partner.organisation, invitation=invitation)
    signatory.sign_in()
    signatory.step_up()
    ok(signatory.delete(machine), 204)


def test_administrators_neither_make_nor_touch_officers(service: ServiceApp) -> None:
    people = _people(service.administrator)
    refused = problem(service.administrator.post(people, _draft("officer")), 403, "refused")
    assert [element["policy"] for element in refused["elements"]] == ["G5-duties"]
    officer = ok(service.officer.post(people, _draft("officer")), 201)["person"]["id"]
    operator = service.invite_person(service.administrator, "operator")["person"]["id"]
    for answer in (
        service.administrator.post(f"{people}/{officer}/invitations"),
        service.administrator.post(f"{people}/{officer}:disable"),
        service.administrator.post(f"{people}/{officer}:end-sessions"),
        service.administrator.request("PUT", f"{people}/{officer}/roles", json={"roles": ["operator"]}),
        service.administrator.request("PUT", f"{people}/{operator}/roles", json={"roles": ["officer"]}),
    ):
        assert [element["policy"] for element in problem(answer, 403, "refused")["elements"]] == ["G5-duties"]


def test_officers_look_after_officers_and_nobody_else(service: ServiceApp) -> None:
    people = _people(service.officer)
    officer = ok(service.officer.post(people, _draft("officer")), 201)["person"]["id"]
    administrator = service.invite_person(service.administrator, "administrator")["person"]["id"]
    ok(service.officer.get(people), 200)
    ok(service.officer.post(f"{people}/{officer}/invitations"), 201)
    ok(service.officer.post(f"{people}/{officer}:disable"), 200)
    for answer in (
        service.officer.post(people, _draft("operator", email="o@unit.test")),
        service.officer.post(f"{people}/{administrator}:disable"),
        service.officer.request("PUT", f"{people}/{officer}/roles", json={"roles": ["administrator"]}),
        service.officer.post(_people(service.join()), _draft("officer", email="p@body.test")),
    ):
        problem(answer, 403, "refused")


def test_roles_are_in_the_bodies_of_events_about_people(service: ServiceApp, partner: Organisation) -> None:
    person = ok(partner.post(_people(partner), _draft("analyst")), 201)["person"]["id"]
    assert _detail(service) == {"name": "Alex Morgan", "roles": ["analyst"]}
    ok(partner.post(f"{_people(partner)}/{person}/invitations"), 201)
    assert _detail(service) == {"name": "Alex Morgan", "roles": ["analyst"]}
    ok(partner.request("PUT", f"{_people(partner)}/{person}/roles", json={"roles": ["signatory"]}), 200)
    assert _detail(service) == {"before": ["analyst"], "after": ["signatory"]}


def _detail(service: ServiceApp) -> Json:
    with service.runtime.database.reading() as session:
        query = "SELECT body FROM audit_body ORDER BY seq DESC LIMIT 1"
        (body,) = session.connection().exec_driver_sql(query).one()
    detail: Json = json.loads(body)["detail"]
    return detail


@pytest.mark.parametrize("roles", [("analyst",), ("recipient",), ("analyst", "recipient")])
def test_person_without_a_managing_role_invites_and_lists_nobody(
    service: ServiceApp, partner: Organisation, roles: tuple[str, ...]
) -> None:
    person = service.person(partner, *roles, stepped_up=True)
    problem(person.post(_people(person), _draft("analyst")), 403, "refused")
    assert service.events()[-1]["type"] == "person.refused"
    problem(person.get(_people(person)), 403, "refused")


def test_signatory_who_stepped_up_invites_and_one_who_did_not_is_told(
    service: ServiceApp, partner: Organisation
) -> None:
    signatory = service.person(partner, "signatory")
    refused = problem(signatory.post(_people(signatory), _draft("analyst")), 403, "refused")
    assert [element["policy"] for element in refused["elements"]] == ["G5-step-up"]
    signatory.step_up()
    ok(signatory.post(_people(signatory), _draft("analyst")), 201)
    service.clock.move(seconds=301)
    problem(signatory.post(_people(signatory), _draft("analyst", email="b@body.test")), 403, "refused")


def test_outsider_is_refused_alike_for_people_who_are_there_and_who_are_not(
    service: ServiceApp, partner: Organisation
) -> None:
    known = service.invite_person(partner, "analyst")["person"]["id"]
    outsider = service.join()
    for person in (known, f"per_{'0' * 26}"):
        document = problem(outsider.post(f"{_people(partner)}/{person}:disable"), 403, "refused")
        assert [element["policy"] for element in document["elements"]] == ["no-grant"]
    problem(partner.post(f"{_people(partner)}/per_{'0' * 26}:disable"), 404, "not_found")


def test_list_has_the_people_of_the_own_organisation_in_pages(service: ServiceApp, partner: Organisation) -> None:
    invited = [service.invite_person(partner, "analyst")["person"]["id"] for _ in range(3)]
    service.invite_person(service.join(), "analyst")
    first = ok(partner.get(_people(partner), params={"limit": 2}), 200)
    second = ok(partner.get(_people(partner), params={"limit": 2, "cursor": first["next_cursor"]}), 200)
    assert [person["id"] for person in first["items"] + second["items"]] == invited
    problem(service.administrator.get(_people(partner)), 403, "refused")


def test_enrolment_says_what_it_is_for_and_opens_the_account(service: ServiceApp, partner: Organisation) -> None:
    invitation = service.invite_person(partner, "analyst")
    shown = ok(service.http.get(f"/v1/enrolments/{invitation['token']}"), 200)
    assert shown["email"] == invitation["person"]["email"]
    assert shown["roles"] == ["analyst"]
    assert shown["organisation"] == partner.organisation
    with service.expecting_event("person.enrolled") as events:
        person = Person(service, organisation=partner.organisation, invitation=invitation)
    assert events[0]["actor"] == {"kind": "person", "id": person.person, "org": partner.organisation}
    person.sign_in()
    me = ok(person.get("/v1/me"), 200)
    assert me["client"] is None
    assert me["person"]["status"] == "active"
    assert me["person"]["signs_in_with"] == "password"
    assert me["organisation"]["id"] == partner.organisation
    assert service.verified()


def test_invitation_works_once(service: ServiceApp, partner: Organisation) -> None:
    invitation = service.invite_person(partner, "analyst")
    path = f"/v1/enrolments/{invitation['token']}"
    begun = ok(service.http.post(f"{path}:begin", json={"password": PASSWORD}), 200)
    Person(service, organisation=partner.organisation, invitation=invitation)
    problem(service.http.get(path), 404, "not_found")
    problem(service.http.post(f"{path}:begin", json={"password": PASSWORD}), 404, "not_found")
    again = {"enrolment": begun["enrolment"], "code": "123456"}
    problem(service.http.post(f"{path}:confirm", json=again), 404, "not_found")


def test_invitation_expires(service: ServiceApp, partner: Organisation) -> None:
    token = service.invite_person(partner, "analyst")["token"]
    service.clock.move(hours=service.settings.person_invitation_hours)
    problem(service.http.get(f"/v1/enrolments/{token}"), 404, "not_found")
    problem(service.http.get(f"/v1/enrolments/{'A' * 43}"), 404, "not_found")


def test_enrolment_with_a_wrong_code_changes_nothing_and_is_no_event(
    service: ServiceApp, partner: Organisation
) -> None:
    token = service.invite_person(partner, "analyst")["token"]
    before = service.size()
    path = f"/v1/enrolments/{token}"
    begun = ok(service.http.post(f"{path}:begin", json={"password": PASSWORD}), 200)
    answer = service.http.post(f"{path}:confirm", json={"enrolment": begun["enrolment"], "code": "000000"})
    problem(answer, 422, "wrong_code")
    assert service.size() == before
    ok(service.http.get(path), 200)


def test_enrolment_of_another_invitation_or_too_late_does_not_count(service: ServiceApp, partner: Organisation) -> None:
    first, second = (service.invite_person(partner, "analyst")["token"] for _ in range(2))
    begun = ok(service.http.post(f"/v1/enrolments/{first}:begin", json={"password": PASSWORD}), 200)
    body = {"enrolment": begun["enrolment"], "code": "123456"}
    problem(service.http.post(f"/v1/enrolments/{second}:confirm", json=body), 404, "not_found")
    service.clock.move(minutes=31)
    problem(service.http.post(f"/v1/enrolments/{first}:confirm", json=body), 401, "begin_again")
    forged = {**body, "enrolment": "A" * 1000}
    problem(service.http.post(f"/v1/enrolments/{first}:confirm", json=forged), 401, "begin_again")


def test_enrolment_refuses_a_password_about_the_person(service: ServiceApp, partner: Organisation) -> None:
    invitation = ok(partner.post(_people(partner), _draft("analyst", name="Alexandra Morgan")), 201)
    answer = service.http.post(f"/v1/enrolments/{invitation['token']}:begin", json={"password": "alexandra morgan"})
    document = problem(answer, 422)
    assert _errors(document) == ["about_yourself"]


def test_new_link_ends_what_the_person_signed_in_with(service: ServiceApp, partner: Organisation) -> None:
    person = service.person(partner, "analyst")
    with service.expecting_event("person.second_factor_reset"):
        made = ok(partner.post(f"{_people(partner)}/{person.person}/invitations"), 201)
    problem(person.get("/v1/me"), 401, "session_ended")
    draft = {"email": person.email, "password": person.password, "code": person.next_code()}
    problem(person.http.post("/v1/sessions", json=draft), 401, "sign_in_refused")
    person.enrol(made["token"])
    person.sign_in()
    ok(person.get("/v1/me"), 200)


def test_new_link_withdraws_the_one_before(service: ServiceApp, partner: Organisation) -> None:
    first = service.invite_person(partner, "analyst")
    with service.expecting_event("person.invited"):
        second = ok(partner.post(f"{_people(partner)}/{first['person']['id']}/invitations"), 201)
    problem(service.http.get(f"/v1/enrolments/{first['token']}"), 404, "not_found")
    ok(service.http.get(f"/v1/enrolments/{second['token']}"), 200)


def test_roles_change_at_once_and_end_the_sessions(service: ServiceApp, partner: Organisation) -> None:
    person = service.person(partner, "signatory")
    with service.expecting_event("person.roles_changed"):
        path = f"{_people(partner)}/{person.person}/roles"
        changed = ok(partner.request("PUT", path, json={"roles": ["recipient", "analyst"]}), 200)
    assert changed["roles"] == ["analyst", "recipient"]
    problem(person.get("/v1/me"), 401, "session_ended")
    person.sign_in()
    problem(person.get(_people(person)), 403, "refused")


def test_disabled_person_is_shut_out_until_enabled(service: ServiceApp, partner: Organisation) -> None:
    person = service.person(partner, "analyst")
    path = f"{_people(partner)}/{person.person}"
    with service.expecting_event("person.disabled"):
        ok(partner.post(f"{path}:disable"), 200)
    problem(person.get("/v1/me"), 401, "session_ended")
    draft = {"email": person.email, "password": person.password, "code": person.next_code()}
    problem(person.http.post("/v1/sessions", json=draft), 401, "sign_in_refused")
    assert service.events()[-1]["outcome"] == {"status": "refused", "code": "disabled"}
    problem(partner.post(f"{path}:disable"), 409)
    problem(partner.post(f"{path}/invitations"), 409)
    with service.expecting_event("person.enabled"):
        ok(partner.post(f"{path}:enable"), 200)
    problem(partner.post(f"{path}:enable"), 409)
    person.sign_in()


def test_disabling_withdraws_an_invitation(service: ServiceApp, partner: Organisation) -> None:
    invitation = service.invite_person(partner, "analyst")
    path = f"{_people(partner)}/{invitation['person']['id']}"
    ok(partner.post(f"{path}:disable"), 200)
    problem(service.http.get(f"/v1/enrolments/{invitation['token']}"), 404, "not_found")
    assert ok(partner.post(f"{path}:enable"), 200)["status"] == "invited"


def test_manager_ends_the_sessions_of_a_person(service: ServiceApp, partner: Organisation) -> None:
    person = service.person(partner, "analyst")
    person.sign_in()
    with service.expecting_event("person.sessions_revoked") as events:
        ok(partner.post(f"{_people(partner)}/{person.person}:end-sessions"), 204)
    assert events[0]["counts"] == {"sessions": 2}
    problem(person.get("/v1/me"), 401, "session_ended")


def test_nobody_manages_their_own_account(service: ServiceApp, partner: Organisation) -> None:
    signatory = service.person(partner, "signatory", stepped_up=True)
    path = f"{_people(partner)}/{signatory.person}"
    for answer in (
        signatory.post(f"{path}:disable"),
        signatory.post(f"{path}/invitations"),
        signatory.put(f"{path}/roles", {"roles": ["analyst"]}),
    ):
        problem(answer, 409, "own_account")


def test_unit_helps_a_partner_whose_only_signatory_is_lost_and_no_other(service: ServiceApp) -> None:
    organisation, _ = service.invite()
    people = f"/v1/organisations/{organisation}/people"
    invitation = ok(service.administrator.post(people, _draft("signatory")), 201)
    lost = Person(service, organisation=organisation, invitation=invitation)
    path = f"{people}/{lost.person}"
    lost.enrol(ok(service.administrator.post(f"{path}/invitations"), 201)["token"])
    lost.sign_in()
    lost.step_up()
    analyst = service.invite_person(lost, "analyst")["person"]["id"]
    other = service.person(lost, "signatory")
    problem(service.administrator.post(f"{path}/invitations"), 409, "has_a_signatory")
    problem(service.administrator.post(f"{people}/{analyst}/invitations"), 403, "refused")
    assert other.person


def test_unit_cannot_make_a_partners_signatory_anything_else(service: ServiceApp, partner: Organisation) -> None:
    signatory = service.invite_person(partner, "signatory")["person"]["id"]
    path = f"{_people(partner)}/{signatory}/roles"
    problem(service.administrator.request("PUT", path, json={"roles": ["recipient"]}), 403, "refused")


def test_person_may_not_move_encodings_or_link_tables(service: ServiceApp) -> None:
    linked = service.project()
    analyst = service.person(linked.providers[0], "analyst", stepped_up=True)
    body = {"manifest": manifest(data_sets(12, shared=6)[0]), "part_size_bytes": PART_BYTES}
    refused = problem(analyst.post(f"/v1/projects/{linked.project}/uploads", body), 403, "refused")
    assert "G5-machines" in [element["policy"] for element in refused["elements"]]


def test_person_does_what_needs_no_machine(service: ServiceApp) -> None:
    linked = service.project()
    analyst = service.person(linked.providers[0], "analyst")
    assert ok(analyst.get(f"/v1/projects/{linked.project}"), 200)["id"] == linked.project
    outsider = service.person(service.join(), "analyst")
    problem(outsider.get(f"/v1/projects/{linked.project}"), 404, "not_found")


def test_client_has_no_sessions_and_is_told(service: ServiceApp) -> None:
    answers: list[Any] = [
        service.administrator.get("/v1/sessions"),
        service.administrator.delete("/v1/sessions"),
        service.administrator.post("/v1/sessions/current:step-up", {"code": "123456"}),
        service.administrator.post(
            "/v1/me:change-password", {"password": PASSWORD, "new_password": "another phrase of somebody"}
        ),
    ]
    for answer in answers:
        problem(answer, 409, "not_a_person")


def test_name_of_the_person_who_acted_is_in_the_body_of_the_event_only(
    service: ServiceApp, partner: Organisation
) -> None:
    person = service.person(partner, "signatory", stepped_up=True)
    name = ok(person.get("/v1/me"), 200)["person"]["name"]
    ok(person.post(_people(person), _draft("analyst")), 201)
    with service.runtime.database.reading() as session:
        query = "SELECT body FROM audit_body ORDER BY seq DESC LIMIT 1"
        (body,) = session.connection().exec_driver_sql(query).one()
    assert json.loads(body)["person"] == {"name": name}
    event = service.events()[-1]
    assert event["actor"] == {"kind": "person", "id": person.person, "org": partner.organisation}
    assert event["authn"]["method"] == "password+totp"
    assert name not in str(service.events())
