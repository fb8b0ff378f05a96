"""What an officer and a signatory meet rarely, in a real Chromium: a log that was changed, a signature, a provider."""

import base64
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from linkage_client.demo.agreement import AgreedData, Signatory, draft
from linkage_client.testing.rounds import registered
from linkage_client.testing.service import RunningService
from linkage_service.people import totp
from support.chromium import chromium, require_chromium
from support.console import at_the_service, context_of, over_tls, with_console
from support.looking import barriers, picture, sign_in, too_wide
from support.oidc_provider import running_provider
from support.service_app import ISSUER, Person, ServiceApp, service_app

_SMALL = {"width": 320, "height": 640}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[tuple[ServiceApp, Browser]]:
    """A service of the test's own with a browser that reaches it."""
    require_chromium()
    with ExitStack() as stack:
        service = with_console(stack.enter_context(service_app(tmp_path)))
        port = stack.enter_context(over_tls(service.app, tmp_path))
        yield service, stack.enter_context(chromium(*at_the_service(port)))


def _officer(service: ServiceApp) -> Person:
    invitation = service.invite_person(service.officer, "officer")
    return Person(service, organisation=service.officer.organisation, invitation=invitation)


def _is_good(page: Page, name: str) -> None:
    """No barrier, and nothing wider than a small screen."""
    page.set_viewport_size({"width": 1100, "height": 800})
    assert barriers(page) == []
    picture(page, name)
    page.set_viewport_size(_SMALL)  # type: ignore[arg-type]  # a dict of these two
    assert too_wide(page) == []


def test_officer_notices_a_log_that_was_changed(office: tuple[ServiceApp, Browser], tmp_path: Path) -> None:
    service, browser = office
    with context_of(browser) as context:
        page = context.new_page()
        sign_in(page, _officer(service))
        page.goto("/console/integrity")
        with page.expect_download() as got:
            page.get_by_role("link", name="Checkpoint, to keep").click()
        kept = tmp_path / "checkpoint.txt"
        got.value.save_as(kept)
        service.join()
        with closing(sqlite3.connect(service.database_file)) as database:
            # Whoever runs the database can do this; nothing in it stops them.
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                database.execute(f"DROP TRIGGER {name}")
            database.execute("UPDATE audit_node SET hash = randomblob(32)")
            database.commit()
        page.get_by_label("An older checkpoint, or a receipt").set_input_files(kept)
        page.get_by_role("button", name="Compare").click()
        finding = page.locator("#finding")
        expect(finding).to_contain_text("Alarm: the log is not what it was")
        expect(finding).to_contain_text("it was changed")
        _is_good(page, "tampered")


def test_pages_of_the_identity_provider_have_no_barrier_and_fit_a_small_screen(tmp_path: Path) -> None:
    require_chromium()
    with ExitStack() as stack:
        provider = stack.enter_context(running_provider(redirect_uri=f"{ISSUER}/sign-in/oidc"))
        service = with_console(stack.enter_context(service_app(tmp_path, **provider.settings)))
        # The provider's clock is the machine's.
        service.clock.now = datetime.now(UTC)
        port = stack.enter_context(over_tls(service.app, tmp_path))
        browser = stack.enter_context(chromium(*at_the_service(port)))
        page = stack.enter_context(context_of(browser)).new_page()
        page.goto(service.invite_person(service.officer, "officer")["path"])
        expect(page.get_by_role("button", name="Continue with your identity provider")).to_be_visible()
        _is_good(page, "enrol-with-provider")
        page.goto("/console/sign-in")
        _is_good(page, "sign-in-with-provider")
        page.get_by_role("button", name="identity provider").click()
        expect(page.get_by_role("button", name="Continue")).to_be_visible()
        _is_good(page, "to-provider")
        page.goto("/sign-in/oidc?code=a&state=b")
        _is_good(page, "from-provider")
        page.get_by_role("button").click()
        expect(page.get_by_text("The answer belongs to another request.")).to_be_visible()
        _is_good(page, "refused-by-provider")


def test_agreement_is_signed_with_the_command_of_its_page_which_then_says_so(
    tmp_path: Path, linkage_service: RunningService
) -> None:
    require_chromium()
    with ExitStack() as stack:
        provider, *others = members = stack.enter_context(registered(linkage_service, "Northshire", "Southshire"))
        parties = [
            Signatory(organisation_id=party.organisation_id, name=party.name, roles=(party.role,)) for party in members
        ]
        data = AgreedData(
            linkage_schema_sha256="0" * 64,
            identifier_fields=("surname",),
            completeness={},
            encoding_profile=None,
            outputs=("link_table_blind",),
        )
        agreement = provider.client.agreements.create(document=draft(parties, data=data, now=datetime.now(UTC)))
        provider.client.agreements.propose(agreement_id=agreement.id, version=1)
        for party in others:
            assert party.signing_key is not None
            party.client.agreements.sign(agreement_id=agreement.id, version=1, signing_key=party.signing_key)
        invited = provider.client.organisations.invite_person(
            organisation_id=provider.organisation_id, name="Sam", email="sam@body.test", roles=["signatory"]
        )
        browser = stack.enter_context(chromium())
        page = stack.enter_context(browser.new_context(base_url=linkage_service.url)).new_page()
        _enrol_and_sign_in(page, invited.path, "sam@body.test")
        expect(page.get_by_text("Your organisation has not signed this agreement.")).to_be_visible()
        page.goto(f"/console/agreements/{agreement.id}")
        expect(page.get_by_text("Has not signed.", exact=True)).to_be_visible()
        command = page.get_by_text(f"linkage agreement sign {agreement.id}").inner_text()
        digest = "".join(page.locator(".app-mono").first.inner_text().split())
        done = subprocess.run(
            [sys.executable, "-m", "linkage_client", *command.split()[1:], "--digest", digest],
            env={"LINKAGE_CONFIG": str(provider.profile), "HOME": str(tmp_path), "PATH": ""},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        page.reload()
        expect(page.get_by_text("Has not signed.", exact=True)).to_have_count(0)
        expect(page.locator("main").get_by_text("in force").first).to_be_visible()
        expect(page.get_by_text(provider.signing_key.thumbprint if provider.signing_key else "")).to_be_visible()
        page.goto("/console/")
        expect(page.get_by_text("Your organisation has not signed this agreement.")).to_have_count(0)


def _enrol_and_sign_in(page: Page, path: str, email: str) -> None:
    """Opens the account with the code of half a minute ago, so that the present one is left to sign in with."""
    password = "a long phrase of somebody"
    page.goto(path)
    for label in ("Choose a password", "The same password again"):
        page.get_by_label(label).fill(password)
    page.get_by_role("button", name="Continue", exact=True).click()
    uri = page.get_by_role("link", name="this link opens it").get_attribute("href") or ""
    letters = parse_qs(urlsplit(uri).query)["secret"][0]
    secret = base64.b32decode(letters + "=" * (-len(letters) % 8))
    step = int(time.time()) // totp.PERIOD_S
    page.get_by_role("textbox", name="Code").fill(totp.code_at(secret, step - 1))
    page.get_by_role("button", name="Open the account").click()
    expect(page.get_by_text("Your account is open")).to_be_visible()
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("Code").fill(totp.code_at(secret, step))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("What needs you"))
