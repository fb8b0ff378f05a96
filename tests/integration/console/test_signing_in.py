"""Signing in and out with the console, and what a browser must not be made to do."""

from itertools import product

from support.console import Visitor, visitor, words_of
from support.service_app import ISSUER, Person, ServiceApp

_FOREIGN: tuple[dict[str, str], ...] = (
    {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://evil.test"},
    {"Origin": ISSUER, "Sec-Fetch-Site": "same-site"},
    {"Origin": "null"},
    {},
)


def _officer(service: ServiceApp) -> Person:
    invitation = service.invite_person(service.officer, "officer")
    return Person(service, organisation=service.officer.organisation, invitation=invitation)


def test_stranger_is_sent_to_sign_in_and_comes_back_to_the_page(service: ServiceApp) -> None:
    guest = Visitor(service, _officer(service))
    asked = guest.get("/activity?outcome=refused")
    assert asked.url.path == "/console/sign-in"
    assert asked.url.params["next"] == "/console/activity?outcome=refused"
    there = guest.sign_in(next=asked.url.params["next"])
    assert str(there.url).endswith("/console/activity?outcome=refused")


def test_signing_in_goes_on_to_no_place_but_the_consoles_own(service: ServiceApp) -> None:
    guest = Visitor(service, _officer(service))
    guest.http.follow_redirects = False
    for target in (
        "https://evil.test/", "//evil.test/console/", "/\\evil.test", "/console/\\evil.test", "/console//evil.test",
        "javascript:alert(1)", "/v1/sessions", "/console", "/console/\r\nSet-Cookie: a=b", "\t//evil.test",
    ):  # fmt: skip
        answer = guest.sign_in(next=target)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/"), target


def test_wrong_factor_opens_no_session_and_says_the_same(service: ServiceApp) -> None:
    guest = Visitor(service, _officer(service))
    for changes in ({"password": "another"}, {"code": "000000"}, {"email": "nobody@body.test"}):
        answer = guest.sign_in(**changes)
        assert answer.status_code == 401
        assert "E-mail address, password or code is not right" in words_of(answer)
        assert not guest.http.cookies
        assert Person.password not in answer.text


def test_session_of_before_is_not_the_one_after_signing_in(service: ServiceApp) -> None:
    guest = Visitor(service, _officer(service))
    guest.http.cookies.set("__Host-linkage-session", "chosen-by-somebody-else", domain="linkage.test", path="/")
    guest.sign_in()
    kept = [cookie.value for cookie in guest.http.cookies.jar]
    assert "chosen-by-somebody-else" not in kept
    assert guest.get("/account").status_code == 200


def test_session_cookie_is_the_apis_own(service: ServiceApp) -> None:
    guest = Visitor(service, _officer(service))
    guest.http.follow_redirects = False
    cookie = guest.sign_in().headers["set-cookie"]
    assert cookie.startswith("__Host-linkage-session=")
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))


def test_session_of_one_browser_is_not_given_to_another(service: ServiceApp) -> None:
    visitor(service, service.officer, "officer")
    assert Visitor(service).get("/").url.path == "/console/sign-in"


def test_form_of_another_site_does_nothing(service: ServiceApp) -> None:
    guest = visitor(service, service.officer, "officer")
    before = service.size()
    paths = ["/sign-in", "/sign-out", "/step-up", "/account/sessions/end", "/organisations/org_1/suspend", "/integrity"]
    for path, headers in product(paths, _FOREIGN):
        answer = guest.http.post(f"/console{path}", data={"reason": "x"}, headers=headers)
        assert answer.status_code == 403, path
        assert "nothing was done" in words_of(answer)
    assert service.size() == before
    assert guest.get("/account").url.path == "/console/account"


def test_sessions_are_listed_and_can_be_ended_one_by_one(service: ServiceApp) -> None:
    here = visitor(service, service.officer, "officer")
    there = Visitor(service, here.person)
    there.sign_in()
    page = here.get("/account")
    assert words_of(page).count("Began") == 2
    ids = [part.partition("/")[0] for part in page.text.split("/account/sessions/")[1:]]
    other = next(one for one in ids if one != "end" and one not in _current(here))
    assert "The session has ended" in words_of(here.post(f"/account/sessions/{other}/end"))
    assert there.get("/account").url.path == "/console/sign-in"
    assert here.get("/account").url.path == "/console/account"


def _current(guest: Visitor) -> set[str]:
    items = guest.http.get("/v1/sessions").json()["items"]
    return {item["id"] for item in items if item["current"]}


def test_signing_out_ends_the_session_at_the_service(service: ServiceApp) -> None:
    guest = visitor(service, service.officer, "officer")
    token = next(cookie.value for cookie in guest.http.cookies.jar)
    assert "You have signed out" in words_of(guest.post("/sign-out"))
    again = Visitor(service)
    again.http.cookies.set("__Host-linkage-session", str(token), domain="linkage.test", path="/")
    assert again.get("/").url.path == "/console/sign-in"


def test_form_after_the_session_has_ended_changes_nothing_and_says_so(service: ServiceApp) -> None:
    guest = visitor(service, service.officer, "officer")
    partner = service.join()
    service.clock.move(hours=24)
    answer = guest.post(f"/organisations/{partner.organisation}/suspend", {"reason": "x", "code": "123456"})
    assert "nothing was changed" in words_of(answer)
    assert partner.get("/v1/me").json()["organisation"]["status"] == "active"


def test_invitation_opens_an_account_whose_owner_signs_in(service: ServiceApp) -> None:
    invitation = service.invite_person(service.officer, "officer")
    guest = Visitor(service)
    first = guest.http.get(invitation["path"])
    assert "Open your account" in words_of(first)
    token = invitation["token"]
    different = guest.post(f"/enrol/{token}/begin", {"password": "a phrase of my own", "again": "a phrase"})
    assert "not the same" in words_of(different)
    weak = guest.post(f"/enrol/{token}/begin", {"password": "short", "again": "short"})
    assert weak.status_code == 422


def test_pages_say_nothing_may_load_run_or_frame_them(service: ServiceApp) -> None:
    guest = visitor(service, service.officer, "officer")
    for path in ("/", "/sign-in", "/nowhere", "/static/console.css"):
        headers = guest.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'; ")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
    assert guest.get("/").headers["cache-control"] == "no-store"


def test_address_of_the_service_leads_to_the_console(service: ServiceApp) -> None:
    for path in ("/", "/console"):
        answer = service.http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/")


def test_step_up_counts_for_what_comes_after(service: ServiceApp) -> None:
    guest = visitor(service, service.officer, "officer")
    assert guest.person is not None
    wrong = guest.post("/step-up", {"code": "000000", "next": "/console/account"})
    assert wrong.status_code == 422
    assert "There is a problem" in words_of(wrong)
    right = guest.post("/step-up", {"code": guest.person.next_code(), "next": "/console/account"})
    assert right.url.path == "/console/account"
    assert "given again a short while ago" in words_of(right)
