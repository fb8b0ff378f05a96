"""Signing in to the console with a real OpenID provider, and confirming with it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from support.console import Visitor, with_console, words_of
from support.oidc_provider import Provider, running_provider
from support.service_app import ISSUER, Json, ServiceApp, ok, service_app

MFA = {"amr": ["pwd", "otp"], "email_verified": True}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider(redirect_uri=f"{ISSUER}/sign-in/oidc") as made:
        yield made


@pytest.fixture
def service(tmp_path: Path, provider: Provider) -> Iterator[ServiceApp]:
    with service_app(tmp_path, **provider.settings) as made:
        # The provider's clock is the machine's.
        made.clock.now = datetime.now(UTC)
        yield with_console(made)


def _through(guest: Visitor, provider: Provider, subject: str, **fields: str) -> str:
    """Goes to the provider, signs in there, and comes back; gives what the page then says."""
    page = guest.post("/sign-in/provider", fields)
    assert "form-action 'self'" in page.headers["content-security-policy"]
    link = re.search(r'data-module="govuk-button" href="([^"]*)"', page.text)
    assert link is not None
    brought: Json = provider.sign_in(unescape(link[1]), subject)
    back = guest.http.get("/sign-in/oidc", params=brought)
    sent = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', back.text))
    return words_of(guest.post("/sign-in/provider/finish", {name: unescape(value) for name, value in sent.items()}))


def test_person_enrols_signs_in_and_confirms_with_the_identity_provider(
    service: ServiceApp, provider: Provider
) -> None:
    invitation = service.invite_person(service.officer, "officer")
    provider.know("officer-1", email=invitation["person"]["email"], **MFA)
    guest, partner = Visitor(service), service.join()
    assert "identity provider" in words_of(guest.http.get(invitation["path"]))
    said = _through(guest, provider, "officer-1", purpose="enrol", invitation=invitation["token"])
    assert "What needs you" in said
    guest.post("/sign-out")
    assert "What needs you" in _through(guest, provider, "officer-1", purpose="sign_in")
    path = f"/organisations/{partner.organisation}/suspend"
    assert "confirm with your identity provider" in words_of(guest.get(path))
    assert guest.post(path, {"reason": "Probing."}).status_code == 403
    assert "What needs you" in _through(guest, provider, "officer-1", purpose="step_up")
    assert "The organisation is suspended" in words_of(guest.post(path, {"reason": "Probing."}))
    assert ok(service.officer.get(f"/v1/organisations/{partner.organisation}"), 200)["status"] == "suspended"


def test_provider_that_signed_nobody_in_is_said(service: ServiceApp) -> None:
    said = words_of(Visitor(service).http.get("/sign-in/oidc?error=access_denied&state=x"))
    assert "It did not sign you in" in said


def test_answer_that_was_begun_in_another_browser_opens_no_session(service: ServiceApp) -> None:
    guest = Visitor(service)
    answer = guest.post("/sign-in/provider/finish", {"code": "stolen", "state": "stolen"})
    assert answer.status_code == 401
    assert "not begun in this browser" in words_of(answer)
