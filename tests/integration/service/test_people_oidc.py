"""Sign-in with a real OpenID provider, and everything that a provider, a browser or an attacker can bring instead."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from linkage_service.people import signing_in
from support.oidc_provider import Provider, running_provider
from support.service_app import ISSUER, Json, Organisation, Person, ServiceApp, ok, problem, service_app

MFA = {"amr": ["pwd", "otp"], "email_verified": True}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider(redirect_uri=f"{ISSUER}/sign-in/oidc") as made:
        yield made


@pytest.fixture
def service(tmp_path: Path, provider: Provider) -> Iterator[ServiceApp]:
    provider.misbehave()
    with service_app(tmp_path, **provider.settings, oidc_acr=["https://refeds.org/profile/mfa"]) as made:
        # The provider's clock is the machine's.
        made.clock.now = datetime.now(UTC)
        yield made


@pytest.fixture
def partner(service: ServiceApp) -> Organisation:
    return service.join()


@pytest.fixture
def invited(service: ServiceApp, partner: Organisation) -> Json:
    return service.invite_person(partner, "analyst")


@pytest.fixture
def browser(service: ServiceApp) -> httpx.Client:
    return service.browser(headers={"Origin": ISSUER})


def _begin(browser: httpx.Client, **draft: str) -> str:
    url: str = ok(browser.post("/v1/oidc/sign-ins", json={"purpose": "sign_in", **draft}), 201)["authorization_url"]
    return url


def _finish(browser: httpx.Client, brought: Json) -> Any:
    return browser.post("/v1/oidc/sessions", json=brought)


def _through(browser: httpx.Client, provider: Provider, subject: str, **draft: str) -> Any:
    return _finish(browser, provider.sign_in(_begin(browser, **draft), subject))


def _linked(browser: httpx.Client, provider: Provider, invited: Json, subject: str) -> Json:
    """A person who has signed in this way once."""
    provider.know(subject, email=invited["person"]["email"], **MFA)
    session: Json = ok(_through(browser, provider, subject), 201)
    return session


def _last(service: ServiceApp) -> tuple[str, str]:
    event = service.events()[-1]
    return event["type"], event["outcome"]["code"]


def test_options_say_that_a_provider_is_there(service: ServiceApp) -> None:
    assert ok(service.http.get("/v1/sign-ins"), 200) == {"password": True, "oidc": True}


def test_request_to_the_provider_has_what_the_flow_asks(browser: httpx.Client, provider: Provider) -> None:
    url = _begin(browser)
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert url.startswith(f"{provider.issuer}/oauth2/authorize?")
    assert query["redirect_uri"] == f"{ISSUER}/sign-in/oidc"
    assert query["code_challenge_method"] == "S256"
    assert len({query["state"], query["nonce"], query["code_challenge"]}) == 3
    assert provider.client_secret not in url


def test_invited_person_with_a_verified_address_is_enrolled_and_signed_in(
    service: ServiceApp, browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    session = _linked(browser, provider, invited, "first-time")
    assert session["method"] == "oidc"
    assert [event["type"] for event in service.events()[-2:]] == ["person.enrolled", "person.signed_in"]
    me = ok(browser.get("/v1/me"), 200)["person"]
    assert me["id"] == invited["person"]["id"]
    assert me["signs_in_with"] == "oidc"
    problem(browser.get(f"/v1/enrolments/{invited['token']}"), 404)
    assert service.verified()


def test_linked_person_is_known_by_subject_whatever_the_address_says_now(
    service: ServiceApp, browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    _linked(browser, provider, invited, "moved")
    provider.know("moved", email="new@elsewhere.test", amr=["mfa"])
    ok(_through(browser, provider, "moved"), 201)
    assert _last(service) == ("person.signed_in", "ok")


def test_invitation_links_an_account_of_another_address(
    service: ServiceApp, browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    provider.know("another-address", email="x@elsewhere.test", amr=["hwk"])
    ok(_through(browser, provider, "another-address", purpose="enrol", invitation=invited["token"]), 201)
    assert ok(browser.get("/v1/me"), 200)["person"]["id"] == invited["person"]["id"]
    assert service.verified()


def test_account_that_is_linked_cannot_be_linked_to_a_second_person(
    service: ServiceApp, partner: Organisation, browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    _linked(browser, provider, invited, "taken")
    second = service.invite_person(partner, "analyst")
    answer = _through(browser, provider, "taken", purpose="enrol", invitation=second["token"])
    problem(answer, 401, "already_linked")
    assert service.events()[-1]["resource"]["id"] == second["person"]["id"]


def test_acr_of_the_settings_means_a_second_factor(browser: httpx.Client, provider: Provider, invited: Json) -> None:
    provider.know("by-acr", email=invited["person"]["email"], email_verified=True, acr="https://refeds.org/profile/mfa")
    ok(_through(browser, provider, "by-acr"), 201)


@pytest.mark.parametrize(
    "claims", [{}, {"amr": ["pwd"]}, {"amr": "mfa"}, {"acr": "urn:something"}, {"amr": []}], ids=str
)
def test_sign_in_without_a_second_factor_is_refused_and_an_event(
    service: ServiceApp, browser: httpx.Client, provider: Provider, invited: Json, claims: Json
) -> None:
    provider.know("one-factor", email=invited["person"]["email"], email_verified=True, **claims)
    problem(_through(browser, provider, "one-factor"), 401, "no_second_factor")
    assert _last(service) == ("person.refused", "no_second_factor")
    assert service.events()[-1]["resource"]["id"] == invited["person"]["id"]
    assert service.events()[-1]["actor"]["kind"] == "unknown"


@pytest.mark.parametrize("verified", [False, None, "true", 1], ids=str)
def test_address_that_is_not_verified_is_refused_and_an_event(
    service: ServiceApp, browser: httpx.Client, provider: Provider, invited: Json, verified: object
) -> None:
    provider.know("unverified", email=invited["person"]["email"], amr=["mfa"], email_verified=verified)
    problem(_through(browser, provider, "unverified"), 401, "email_not_verified")
    assert _last(service) == ("person.refused", "email_not_verified")


def test_nobody_is_made_of_an_account_that_no_person_has(
    service: ServiceApp, browser: httpx.Client, provider: Provider
) -> None:
    provider.know("stranger", email="stranger@elsewhere.test", **MFA)
    before = service.size()
    problem(_through(browser, provider, "stranger"), 401, "not_linked")
    assert service.size() == before


def test_person_with_a_password_is_not_taken_over_by_address(
    service: ServiceApp, partner: Organisation, browser: httpx.Client, provider: Provider
) -> None:
    person = service.person(partner, "signatory")
    provider.know("same-address", email=person.email, **MFA)
    problem(_through(browser, provider, "same-address"), 401, "not_linked")


def test_disabled_person_is_refused_and_an_event(
    service: ServiceApp, partner: Organisation, browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    _linked(browser, provider, invited, "gone")
    path = f"/v1/organisations/{partner.organisation}/people/{invited['person']['id']}:disable"
    ok(partner.post(path), 200)
    problem(_through(browser, provider, "gone"), 401, "disabled")
    assert _last(service) == ("person.refused", "disabled")


def test_invitation_that_is_withdrawn_while_the_provider_is_asked_enrols_nobody(  # noqa: PLR0917 - fixtures
    service: ServiceApp,
    partner: Organisation,
    browser: httpx.Client,
    provider: Provider,
    invited: Json,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider.know("late", email="x@elsewhere.test", **MFA)
    brought = provider.sign_in(_begin(browser, purpose="enrol", invitation=invited["token"]), "late")
    again = f"/v1/organisations/{partner.organisation}/people/{invited['person']['id']}/invitations"
    _meanwhile(monkeypatch, lambda: ok(partner.post(again), 201))
    problem(_finish(browser, brought), 404, "not_found")
    assert service.events()[-1]["type"] == "person.invited"


@pytest.mark.parametrize(("verb", "code"), [(":disable", "disabled"), ("/invitations", "changed_meanwhile")])
def test_person_who_is_shut_out_while_the_provider_is_asked_gets_no_session(  # noqa: PLR0917 - fixtures
    service: ServiceApp,
    partner: Organisation,
    browser: httpx.Client,
    provider: Provider,
    invited: Json,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    code: str,
) -> None:
    _linked(browser, provider, invited, f"shut-out-{code}")
    brought = provider.sign_in(_begin(browser), f"shut-out-{code}")
    path = f"/v1/organisations/{partner.organisation}/people/{invited['person']['id']}{verb}"
    _meanwhile(monkeypatch, lambda: partner.post(path))
    problem(_finish(browser, brought), 401, code)
    assert _last(service) == ("person.refused", code)


def _meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Does something between the reading and the writing of the next answer from the provider."""
    check = signing_in._check_identity

    def checked(*known: Any) -> None:
        check(*known)
        act()

    monkeypatch.setattr(signing_in, "_check_identity", checked)


# ---- what is brought instead ----


def test_answer_with_another_state_is_refused(browser: httpx.Client, provider: Provider, invited: Json) -> None:
    provider.know("state", email=invited["person"]["email"], **MFA)
    brought = provider.sign_in(_begin(browser), "state")
    problem(_finish(browser, {**brought, "state": "x" * 43}), 401, "wrong_state")


def test_answer_in_another_browser_is_refused(
    service: ServiceApp, browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    provider.know("browser", email=invited["person"]["email"], **MFA)
    brought = provider.sign_in(_begin(browser), "browser")
    victim = service.browser(headers={"Origin": ISSUER})
    problem(_finish(victim, brought), 401, "begin_again")
    _begin(victim)
    problem(_finish(victim, brought), 401, "wrong_state")


def test_answer_that_takes_too_long_is_refused(
    service: ServiceApp, browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    provider.know("slow", email=invited["person"]["email"], **MFA)
    brought = provider.sign_in(_begin(browser), "slow")
    service.clock.move(minutes=15)
    problem(_finish(browser, brought), 401, "begin_again")


def test_code_works_once(browser: httpx.Client, provider: Provider, invited: Json) -> None:
    provider.know("replay", email=invited["person"]["email"], **MFA)
    brought = provider.sign_in(_begin(browser), "replay")
    note = browser.cookies["__Host-linkage-provider"]
    ok(_finish(browser, brought), 201)
    browser.cookies.set("__Host-linkage-provider", note, domain="linkage.test")
    problem(_finish(browser, brought), 401, "bad_code")


def test_code_of_another_request_is_refused_for_want_of_its_verifier(
    browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    provider.know("injected", email=invited["person"]["email"], **MFA)
    stolen = provider.sign_in(_begin(browser), "injected")["code"]
    own = provider.sign_in(_begin(browser), "injected")
    problem(_finish(browser, {**own, "code": stolen}), 401, "bad_code")


def test_answer_that_names_another_issuer_is_refused(browser: httpx.Client, provider: Provider, invited: Json) -> None:
    provider.know("mix-up", email=invited["person"]["email"], **MFA)
    brought = provider.sign_in(_begin(browser), "mix-up")
    problem(_finish(browser, {**brought, "iss": "https://evil.test"}), 401, "wrong_issuer")
    ok(_through(browser, provider, "mix-up"), 201)


NOW = int(datetime.now(UTC).timestamp())


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"claims": {"nonce": "another"}}, "wrong_nonce"),
        ({"claims": {"nonce": None}}, "wrong_nonce"),
        ({"claims": {"iss": "https://evil.test"}}, "wrong_issuer"),
        ({"claims": {"aud": "another-client"}}, "wrong_audience"),
        ({"claims": {"aud": []}}, "wrong_audience"),
        ({"claims": {"azp": "another-client"}}, "wrong_audience"),
        pytest.param({"claims": {"exp": NOW - 3600}}, "expired", id="exp early"),
        ({"claims": {"exp": None}}, "expired"),
        ({"claims": {"exp": "never"}}, "expired"),
        pytest.param({"claims": {"iat": NOW - 3600}}, "expired", id="iat early"),
        pytest.param({"claims": {"iat": NOW + 3600}}, "expired", id="iat late"),
        ({"claims": {"sub": None}}, "no_subject"),
        ({"claims": {"sub": 7}}, "no_subject"),
        ({"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}, "wrong_access_token"),
        ({"alg": "none"}, "bad_signature"),
        ({"alg": "HS256"}, "bad_signature"),
        ({"stolen_name": True}, "bad_signature"),
        ({"metadata": {"issuer": "https://evil.test"}}, "wrong_issuer"),
        ({"metadata": {"token_endpoint": "ftp://evil.test/token"}}, "wrong_issuer"),
    ],
    ids=str,
)
def test_token_that_fails_a_check_opens_nothing(  # noqa: PLR0917 - fixtures and parameters
    service: ServiceApp, browser: httpx.Client, provider: Provider, invited: Json, how: Json, code: str
) -> None:
    provider.know("token", email=invited["person"]["email"], **MFA)
    brought = provider.sign_in(_begin(browser), "token")
    before = service.size()
    provider.misbehave(**how)
    problem(_finish(browser, brought), 401, code)
    # Nobody is known by a token that does not hold.
    assert service.size() == before


def test_token_that_fails_a_check_at_enrolment_is_an_event_of_the_invited_person(
    service: ServiceApp, browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    provider.know("enrolling", email="x@elsewhere.test", **MFA)
    brought = provider.sign_in(_begin(browser, purpose="enrol", invitation=invited["token"]), "enrolling")
    provider.misbehave(claims={"nonce": "another"})
    problem(_finish(browser, brought), 401, "wrong_nonce")
    assert _last(service) == ("person.refused", "wrong_nonce")
    assert service.events()[-1]["resource"]["id"] == invited["person"]["id"]


def test_audience_of_several_needs_the_authorised_party(
    browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    provider.know("several", email=invited["person"]["email"], **MFA)
    provider.misbehave(claims={"aud": [provider.client_id, "another"], "azp": None})
    problem(_through(browser, provider, "several"), 401, "wrong_audience")
    provider.misbehave(claims={"aud": [provider.client_id, "another"], "azp": provider.client_id})
    ok(_through(browser, provider, "several"), 201)


def test_wrong_client_secret_or_a_provider_that_is_away_is_said(tmp_path: Path, provider: Provider) -> None:
    with service_app(tmp_path, **{**provider.settings, "oidc_issuer": "http://localhost:9"}) as service:
        browser = service.browser()
        problem(browser.post("/v1/oidc/sign-ins", json={"purpose": "sign_in"}), 503, "provider_unavailable")


def test_service_without_a_provider_says_so(tmp_path: Path) -> None:
    with service_app(tmp_path) as service:
        problem(service.http.post("/v1/oidc/sign-ins", json={"purpose": "sign_in"}), 404, "not_found")
        assert not ok(service.http.get("/v1/sign-ins"), 200)["oidc"]


# ---- step-up ----


def _begin_step_up(browser: httpx.Client) -> str:
    url = _begin(browser, purpose="step_up")
    query = parse_qs(urlsplit(url).query)
    assert (query["prompt"], query["max_age"]) == (["login"], ["0"])
    return url


def test_step_up_with_the_provider_needs_a_sign_in_of_now(
    service: ServiceApp, browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    _linked(browser, provider, invited, "step-up")
    problem(browser.post("/v1/sessions/current:step-up", json={"code": "123456"}), 409, "use_oidc")
    for earlier in (None, NOW - 7200, "now"):
        provider.misbehave(claims={"auth_time": earlier})
        problem(_finish(browser, provider.sign_in(_begin_step_up(browser), "step-up")), 401, "not_again")
        assert _last(service) == ("person.refused", "not_again")
    provider.misbehave(claims={"auth_time": int(service.clock.now.timestamp())})
    answer = ok(_finish(browser, provider.sign_in(_begin_step_up(browser), "step-up")), 201)
    assert answer["stepped_up"]
    assert _last(service) == ("person.stepped_up", "ok")
    assert len(ok(browser.get("/v1/sessions"), 200)["items"]) == 1


def test_step_up_with_another_persons_account_is_refused(
    service: ServiceApp, partner: Organisation, browser: httpx.Client, provider: Provider, invited: Json
) -> None:
    _linked(browser, provider, service.invite_person(partner, "analyst"), "colleague")
    _linked(browser, provider, invited, "own")
    provider.know("colleague", **MFA, auth_time=NOW + 3600)
    problem(_finish(browser, provider.sign_in(_begin_step_up(browser), "colleague")), 401, "another_person")
    assert service.events()[-1]["resource"]["id"] == invited["person"]["id"]


def test_step_up_without_a_session_is_refused(browser: httpx.Client) -> None:
    problem(browser.post("/v1/oidc/sign-ins", json={"purpose": "step_up"}), 401, "session_ended")


def test_session_of_a_person_with_a_password_is_not_stepped_up_by_an_account(
    service: ServiceApp, partner: Organisation, provider: Provider
) -> None:
    person: Person = service.person(partner, "signatory")
    provider.know("unlinked", email=person.email, **MFA, auth_time=NOW + 3600)
    brought = provider.sign_in(_begin_step_up(person.http), "unlinked")
    problem(_finish(person.http, brought), 401, "another_person")
