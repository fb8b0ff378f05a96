"""Sign-in, its refusals, sessions and their ends, step-up, and requests from other sites."""

import io
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi import Response
from sqlalchemy import text

from linkage_service import logs
from linkage_service.access.guard import Guard
from linkage_service.access.sessions import COOKIE, LOOPBACK_COOKIE, set_cookie
from linkage_service.app import routes_of
from support.databases import on_each_database, only_on_sqlite
from support.service_app import ISSUER, Json, Organisation, Person, ServiceApp, in_threads, ok, problem

pytestmark = on_each_database

UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
FOREIGN: list[dict[str, str | None]] = [
    {"Origin": None},
    {"Origin": "null"},
    {"Origin": "https://evil.test"},
    {"Origin": f"{ISSUER}.evil.test"},
    {"Origin": ISSUER.replace("https", "http")},
    {"Origin": f"{ISSUER}:8443"},
    {"Origin": ISSUER, "Sec-Fetch-Site": "cross-site"},
    {"Origin": ISSUER, "Sec-Fetch-Site": "same-site"},
    {"Origin": None, "Sec-Fetch-Site": "none"},
    {"Origin": "https://evil.test", "Sec-Fetch-Site": "same-origin"},
]


@pytest.fixture
def partner(service: ServiceApp) -> Organisation:
    return service.join()


@pytest.fixture
def person(service: ServiceApp, partner: Organisation) -> Person:
    return service.person(partner, "analyst")


def _draft(person: Person, **changes: Any) -> Json:
    return {"email": person.email, "password": person.password, "code": person.next_code(), **changes}


def _sign_in(person: Person, **changes: Any) -> Any:
    return person.http.post("/v1/sessions", json=_draft(person, **changes))


def _last(service: ServiceApp) -> tuple[str, str]:
    event = service.events()[-1]
    return event["type"], event["outcome"]["code"]


# ---- sign-in ----


def test_both_factors_open_a_session_and_set_its_cookie(service: ServiceApp, partner: Organisation) -> None:
    person = Person(service, organisation=partner.organisation, invitation=service.invite_person(partner, "analyst"))
    with service.expecting_event("person.signed_in") as events:
        answer = _sign_in(person)
    assert answer.status_code == 201
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"path=/", "secure", "httponly", "samesite=strict"} <= attributes
    assert not any(part.startswith("domain") for part in attributes)
    assert answer.headers["cache-control"] == "no-store"
    assert events[0]["authn"] == {"method": "password+totp", "session": answer.json()["id"]}
    assert answer.json()["current"]
    assert not answer.json()["stepped_up"]


def test_two_steps_open_a_session_too(service: ServiceApp, person: Person) -> None:
    step = ok(person.http.post("/v1/sign-ins", json={"email": person.email, "password": person.password}), 200)
    ok(person.http.post("/v1/sessions", json={"sign_in": step["sign_in"], "code": person.next_code()}), 201)
    assert _last(service) == ("person.signed_in", "ok")


def test_first_step_does_not_say_whether_the_password_is_right(service: ServiceApp, person: Person) -> None:
    before = service.size()
    steps = [
        ok(person.http.post("/v1/sign-ins", json={"email": email, "password": password}), 200)
        for email, password in (
            (person.email, person.password), (person.email, "a wrong one"), ("nobody@body.test", "a wrong one"),
        )
    ]  # fmt: skip
    assert len({len(step["sign_in"]) for step in steps}) == 1
    assert service.size() == before
    for step in steps[1:]:
        body = {"sign_in": step["sign_in"], "code": person.next_code()}
        problem(person.http.post("/v1/sessions", json=body), 401, "sign_in_refused")


def test_first_step_is_good_for_a_short_while_and_for_nothing_else(service: ServiceApp, person: Person) -> None:
    step = ok(person.http.post("/v1/sign-ins", json={"email": person.email, "password": person.password}), 200)
    service.clock.move(minutes=5)
    body = {"sign_in": step["sign_in"], "code": person.code()}
    problem(person.http.post("/v1/sessions", json=body), 401, "begin_again")
    problem(person.http.post("/v1/sessions", json={**body, "sign_in": "A" * 1073}), 401, "begin_again")


def test_first_step_does_not_outlive_the_password(person: Person) -> None:
    step = ok(person.http.post("/v1/sign-ins", json={"email": person.email, "password": person.password}), 200)
    new = {"password": person.password, "new_password": "another phrase of somebody"}
    person.step_up()
    ok(person.post("/v1/me:change-password", new), 204)
    body = {"sign_in": step["sign_in"], "code": person.next_code()}
    problem(person.http.post("/v1/sessions", json=body), 401, "sign_in_refused")


@pytest.mark.parametrize(
    "body",
    [
        {"code": "123456"},
        {"email": "a@body.test", "code": "123456"},
        {"email": "a@body.test", "password": "x", "sign_in": "A" * 99, "code": "123456"},
        {"email": "a@body.test", "password": "x"},
    ],
)
def test_sign_in_needs_one_way_and_the_code(service: ServiceApp, body: Json) -> None:
    problem(service.http.post("/v1/sessions", json=body), 422)


def test_whatever_is_wrong_the_answer_is_the_same_and_known_accounts_are_events(
    service: ServiceApp, partner: Organisation, person: Person
) -> None:
    waiting = service.invite_person(partner, "analyst")["person"]["email"]
    answers = []
    for changes, event in (
        ({"password": "a wrong one"}, "wrong_password"),
        ({"code": "000000"}, "wrong_code"),
        ({"email": waiting}, "wrong_password"),
        ({"email": "nobody@body.test"}, None),
    ):
        before = service.size()
        answers.append(problem(_sign_in(person, **changes), 401, "sign_in_refused"))
        assert service.size() - before == (event is not None)
        if event:
            assert _last(service) == ("person.refused", event)
            assert service.events()[-1]["actor"] == {"kind": "unknown", "org": partner.organisation}
    assert len({answer["detail"] for answer in answers}) == 1


def test_code_works_once(service: ServiceApp, person: Person) -> None:
    draft = _draft(person)
    ok(person.http.post("/v1/sessions", json=draft), 201)
    problem(person.http.post("/v1/sessions", json=draft), 401, "sign_in_refused")
    problem(person.post("/v1/sessions/current:step-up", {"code": draft["code"]}), 422, "wrong_code")
    assert _last(service) == ("person.refused", "wrong_code")


def test_code_used_by_many_at_once_opens_one_session(service: ServiceApp, person: Person) -> None:
    draft = _draft(person)
    headers = {"Origin": ISSUER}
    answers = in_threads(4, lambda _: service.http.post("/v1/sessions", json=draft, headers=headers).status_code)
    assert sorted(answers) == [201, 401, 401, 401]


# ---- too many attempts ----


def _fail(person: Person, times: int) -> None:
    for _ in range(times):
        problem(_sign_in(person, password="a wrong one"), 401, "sign_in_refused")


def test_account_has_to_wait_after_too_many_attempts(service: ServiceApp, person: Person) -> None:
    _fail(person, 5)
    assert _last(service) == ("person.refused", "locked_out")
    before = service.size()
    person.service.clock.move(seconds=-25)  # the next code moves it by 30
    problem(_sign_in(person), 401, "sign_in_refused")
    assert service.size() == before
    service.clock.move(seconds=30)
    ok(_sign_in(person), 201)


def test_wait_doubles_up_to_an_hour(service: ServiceApp, person: Person) -> None:
    _fail(person, 5)
    waits = []
    for _ in range(10):
        waits.append(_waits_until(service, person) - service.clock.now)
        service.clock.now = _waits_until(service, person)
        problem(person.http.post("/v1/sessions", json=_wrong(person)), 401, "sign_in_refused")
    seconds = [round(wait / timedelta(seconds=1)) for wait in waits]
    assert seconds == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def _wrong(person: Person) -> Json:
    return {"email": person.email, "password": "a wrong one", "code": "000000"}


def _waits_until(service: ServiceApp, person: Person) -> Any:
    from linkage_service.people import tables

    with service.runtime.database.reading() as session:
        row = tables.person(session, person.person)
        assert row is not None
        assert row.locked_until is not None
        return row.locked_until


def test_success_sets_the_count_back(person: Person) -> None:
    _fail(person, 4)
    ok(_sign_in(person), 201)
    _fail(person, 4)
    ok(_sign_in(person), 201)


def test_attempts_at_once_are_all_counted(service: ServiceApp, person: Person) -> None:
    before = service.size()
    body = _wrong(person)
    in_threads(12, lambda _: service.http.post("/v1/sessions", json=body))
    codes = [event["outcome"]["code"] for event in service.events()[before:]]
    assert sorted(codes) == ["locked_out", *["wrong_password"] * 4]


def test_wrong_codes_of_a_step_up_make_the_account_wait(person: Person) -> None:
    for _ in range(5):
        problem(person.post("/v1/sessions/current:step-up", {"code": "000000"}), 422, "wrong_code")
    problem(person.post("/v1/sessions/current:step-up", {"code": person.code()}), 429, "too_many_attempts")


# ---- sessions ----


def test_session_ends_when_it_is_not_used(service: ServiceApp, person: Person) -> None:
    for _ in range(3):
        service.clock.move(minutes=28)
        ok(person.get("/v1/me"), 200)
    service.clock.move(minutes=31)
    problem(person.get("/v1/me"), 401, "session_ended")


def test_session_ends_after_its_longest_life_however_it_is_used(service: ServiceApp, person: Person) -> None:
    for _ in range(26):
        service.clock.move(minutes=27)
        ok(person.get("/v1/me"), 200)
    service.clock.move(minutes=20)
    problem(person.get("/v1/me"), 401, "session_ended")


def test_list_has_the_own_sessions_with_browser_and_address(person: Person) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    answer = person.http.post("/v1/sessions", json=_draft(person), headers={"User-Agent": agent})
    found = ok(person.get("/v1/sessions"), 200)["items"]
    assert [item["browser"] for item in found] == ["Firefox", "other"]
    assert [item["current"] for item in found] == [True, False]
    assert found[0]["id"] == answer.json()["id"]
    assert all(item["source"] for item in found)


def test_person_ends_one_of_their_sessions(service: ServiceApp, person: Person) -> None:
    first = ok(person.get("/v1/sessions"), 200)["items"][0]["id"]
    old = person.token
    person.sign_in()
    with service.expecting_event("person.sessions_revoked"):
        ok(person.delete(f"/v1/sessions/{first}"), 204)
    problem(service.http.get("/v1/me", headers={"Cookie": f"{COOKIE}={old}"}), 401, "session_ended")
    ok(person.get("/v1/me"), 200)
    problem(person.delete(f"/v1/sessions/{first}"), 404, "not_found")


def test_session_of_another_person_cannot_be_ended(service: ServiceApp, partner: Organisation, person: Person) -> None:
    other = service.person(partner, "analyst")
    theirs = ok(other.get("/v1/sessions"), 200)["items"][0]["id"]
    problem(person.delete(f"/v1/sessions/{theirs}"), 404, "not_found")
    ok(other.get("/v1/me"), 200)


def test_sign_out_ends_the_session_and_takes_the_cookie_away(service: ServiceApp, person: Person) -> None:
    token = person.token
    with service.expecting_event("person.signed_out"):
        answer = person.post("/v1/sessions/current:sign-out")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert COOKIE not in person.http.cookies
    problem(service.http.get("/v1/me", headers={"Cookie": f"{COOKIE}={token}"}), 401, "session_ended")


def test_sign_out_everywhere_ends_every_session(service: ServiceApp, person: Person) -> None:
    first = person.token
    person.sign_in()
    with service.expecting_event("person.sessions_revoked") as events:
        ok(person.delete("/v1/sessions"), 204)
    assert events[0]["counts"] == {"sessions": 2}
    problem(service.http.get("/v1/me", headers={"Cookie": f"{COOKIE}={first}"}), 401, "session_ended")


def test_new_password_ends_the_other_sessions(service: ServiceApp, person: Person) -> None:
    first = person.token
    person.sign_in()
    change = {"password": person.password, "new_password": "another phrase of somebody"}
    person.step_up()
    with service.expecting_event("person.password_changed"):
        ok(person.post("/v1/me:change-password", change), 204)
    problem(service.http.get("/v1/me", headers={"Cookie": f"{COOKIE}={first}"}), 401, "session_ended")
    ok(person.get("/v1/me"), 200)
    problem(_sign_in(person), 401, "sign_in_refused")
    ok(_sign_in(person, password="another phrase of somebody"), 201)


def test_password_is_not_changed_without_the_one_so_far_nor_to_a_weak_one(service: ServiceApp, person: Person) -> None:
    change = {"password": "a wrong one", "new_password": "another phrase of somebody"}
    person.step_up()
    problem(person.post("/v1/me:change-password", change), 422, "wrong_password")
    assert _last(service) == ("person.refused", "wrong_password")
    document = problem(
        person.post("/v1/me:change-password", {"password": person.password, "new_password": "short"}), 422
    )
    assert document["errors"][0]["pointer"] == "/new_password"


def test_new_password_needs_the_second_factor_again_and_sets_no_count_back(person: Person) -> None:
    change = {"password": person.password, "new_password": person.password}
    refused = problem(person.post("/v1/me:change-password", change), 403, "refused")
    assert [element["policy"] for element in refused["elements"]] == ["G5-step-up"]
    person.step_up()
    for _ in range(4):
        problem(person.post("/v1/sessions/current:step-up", {"code": "000000"}), 422, "wrong_code")
    ok(person.post("/v1/me:change-password", change), 204)
    problem(person.post("/v1/sessions/current:step-up", {"code": "000000"}), 429, "too_many_attempts")


def test_step_up_holds_for_its_while(service: ServiceApp, person: Person) -> None:
    with service.expecting_event("person.stepped_up"):
        assert person.step_up()["stepped_up"]
    service.clock.move(seconds=299)
    assert ok(person.get("/v1/sessions"), 200)["items"][0]["stepped_up"]
    service.clock.move(seconds=1)
    assert not ok(person.get("/v1/sessions"), 200)["items"][0]["stepped_up"]


def test_password_hash_of_weaker_parameters_is_made_anew_at_sign_in(service: ServiceApp, person: Person) -> None:
    from linkage_service.people import tables
    from linkage_service.people.passwords import Passwords

    object.__setattr__(service.runtime.reception, "passwords", Passwords(memory_kib=16, passes=1, lanes=1))
    ok(_sign_in(person), 201)
    with service.runtime.database.reading() as session:
        row = tables.person(session, person.person)
        assert row is not None
        assert "m=16," in (row.password_hash or "")


def test_second_factor_of_another_account_does_not_open(
    service: ServiceApp, partner: Organisation, person: Person
) -> None:
    # Whoever can write to the database cannot move their own second factor to somebody else's account.
    other = service.person(partner, "analyst")
    with service.runtime.database.writing() as session:
        session.connection().execute(
            text("UPDATE person SET totp_sealed = (SELECT totp_sealed FROM person WHERE id = :other) WHERE id = :own"),
            {"other": other.person, "own": person.person},
        )
    problem(_sign_in(person, code=other.next_code()), 500, "blob_tampered")


# ---- requests from other sites ----


def _changing_routes(service: ServiceApp) -> Iterator[tuple[str, str]]:
    for route in routes_of(service.app):
        if any(isinstance(inner.call, Guard) for inner in route.dependant.dependencies):
            path = re.sub(r"\{\w+\}", "1", route.path)
            yield from ((method, path) for method in sorted((route.methods or set()) & UNSAFE))


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_change_in_a_session_from_another_site_is_refused(
    service: ServiceApp, person: Person, headers: dict[str, str | None]
) -> None:
    sent = {name: value for name, value in headers.items() if value is not None}
    sent["Cookie"] = f"{COOKIE}={person.token}"
    before, tried = service.size(), 0
    for method, path in _changing_routes(service):
        problem(service.http.request(method, path, headers=sent), 403, "foreign_origin")
        tried += 1
    assert tried > 15
    assert service.size() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": ISSUER},
        {"Origin": ISSUER, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin"},
        # What browsers send for a form on a page with Referrer-Policy: no-referrer.
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
def test_change_in_a_session_from_a_page_of_ours_is_carried_out(
    service: ServiceApp, person: Person, headers: dict[str, str]
) -> None:
    sent = {**headers, "Cookie": f"{COOKIE}={person.token}"}
    ok(service.http.post("/v1/sessions/current:sign-out", headers=sent), 204)


def test_reading_in_a_session_needs_no_origin(service: ServiceApp, person: Person) -> None:
    ok(service.http.get("/v1/me", headers={"Cookie": f"{COOKIE}={person.token}"}), 200)


@pytest.mark.parametrize(
    "path",
    ["/v1/sessions", "/v1/sign-ins", "/v1/oidc/sign-ins", "/v1/oidc/sessions", f"/v1/enrolments/{'A' * 43}:begin"],
)
def test_other_site_cannot_sign_a_browser_in(service: ServiceApp, path: str) -> None:
    bodies: dict[str, Json] = {
        "/v1/sessions": {"email": "a@body.test", "password": "x", "code": "123456"},
        "/v1/sign-ins": {"email": "a@body.test", "password": "x"},
        "/v1/oidc/sign-ins": {"purpose": "sign_in"},
        "/v1/oidc/sessions": {"code": "x", "state": "x"},
    }
    body = bodies.get(path, {"password": "a long phrase of somebody"})
    answer = service.http.post(path, json=body, headers={"Origin": "https://evil.test"})
    problem(answer, 403, "foreign_origin")


def test_machines_token_is_what_counts_where_both_are_sent(partner: Organisation, person: Person) -> None:
    me = ok(partner.get("/v1/me", headers={"Cookie": f"{COOKIE}={person.token}"}), 200)
    assert me["client"]["id"] == partner.client
    assert me["person"] is None


def test_forged_session_is_no_session(service: ServiceApp, person: Person) -> None:
    assert person.person
    for token in ("", "x", "A" * 43, "\u00e9"):
        cookie = f"{COOKIE}={token}".encode("latin-1")
        answer = service.http.get("/v1/me", headers={b"Cookie": cookie})
        problem(answer, 401)


@pytest.mark.parametrize(
    ("issuer", "name"),
    [
        ("https://linkage.test", COOKIE), ("https://localhost", COOKIE), ("http://10.0.0.1", COOKIE),
        ("http://localhost:8080", LOOPBACK_COOKIE), ("http://127.0.0.1:8080", LOOPBACK_COOKIE),
        ("http://[::1]:8080", LOOPBACK_COOKIE),
    ],
)  # fmt: skip
def test_cookie_has_no_prefix_on_plain_http_of_this_machine_only(issuer: str, name: str) -> None:
    response = Response()
    set_cookie(response, "token", issuer=issuer, life_s=60)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"{name}=token;")
    assert ("Secure" in cookie) is (name == COOKIE)
    assert "HttpOnly" in cookie


# ---- secrets ----


@only_on_sqlite
def test_no_secret_of_a_person_is_kept_plain_or_said(
    service: ServiceApp, partner: Organisation, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    logs.configure(level="DEBUG", stream=stream)
    said: list[str] = []
    invitation = service.invite_person(partner, "signatory")
    person = Person(service, organisation=partner.organisation, invitation=invitation)
    codes = [person.next_code()]
    said.append(person.http.post("/v1/sessions", json=_draft(person, code=codes[0])).text)
    wrong: list[Json] = [
        {"code": "777777"}, {"password": "qx a wrong password"}, {"code": "7"}, {"email": "qx-no-address"},
    ]  # fmt: skip
    said.extend(_sign_in(person, **changes).text for changes in wrong)
    codes.append(person.next_code())
    said.append(person.post("/v1/sessions/current:step-up", {"code": codes[1]}).text)
    said.append(person.post("/v1/sessions/current:step-up", {"code": codes[1]}).text)
    said.append(person.post("/v1/me:change-password", {"password": person.password, "new_password": "qx short"}).text)
    token = person.token
    assert service.verified()
    with service.runtime.database.reading() as session:
        kept = "\n".join(session.connection().connection.driver_connection.iterdump())  # type: ignore[union-attr]
    from linkage_service.people import totp

    secrets = {
        "password": person.password, "second factor": totp.base32(person.secret),
        "raw second factor": person.secret.hex(), "session": token, "invitation": invitation["token"],
        "wrong password": "qx a wrong password",
        "weak password": "qx short", "no address": "qx-no-address",
    }  # fmt: skip
    printed = capfd.readouterr()
    places = {"database": kept.lower(), "log": stream.getvalue().lower(), "answers": "\n".join(said).lower()}
    places["output"] = (printed.out + printed.err).lower()
    found = [
        (name, place) for name, secret in secrets.items() for place, text in places.items() if secret.lower() in text
    ]
    assert found == []
    words = re.findall(r"[0-9]+", places["log"] + places["answers"])
    assert not {*codes, "777777"} & set(words)
