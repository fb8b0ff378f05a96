"""The console in a real Chromium, over TLS, as an officer uses it: with the keyboard, on a small screen, with axe.

With `TEST_SCREENSHOTS=FOLDER` every page that is looked at is also kept there as a picture.
"""

import base64
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from support.chromium import chromium, require_chromium
from support.console import at_the_service, context_of, over_tls, with_console
from support.service_app import (
    Json,
    Linked,
    Person,
    ServiceApp,
    data_sets,
    noisy_data_sets,
    ok,
    problem,
    service_app,
)

_SMALL = {"width": 320, "height": 640}
_AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


_PUT_INTO_A_FRAME = """() => new Promise(done => {
  const frame = document.createElement('iframe');
  frame.onload = done;
  frame.src = '/console/sign-in';
  document.body.append(frame);
})"""


@dataclass(frozen=True)
class Office:
    """A service that has been worked with, its officer, an analyst of a provider, and a browser that reaches it."""

    service: ServiceApp
    linked: Linked
    run: Json
    release: Json
    officer: Person
    analyst: Person
    browser: Browser


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    require_chromium()
    folder = tmp_path_factory.mktemp("office")
    with ExitStack() as stack:
        service = with_console(stack.enter_context(service_app(folder)))
        _leave_something_overdue(service)
        linked = service.uploaded(*noisy_data_sets(600, 800, shared=400))
        run = service.run(linked)
        release = service.release(linked, run)
        _withdraw_what_was_retrieved(linked, release)
        service.keep_house()
        hold = {"ground": "accuracy", "reason": "Case 12."}
        ok(service.officer.post(f"/v1/releases/{release['id']}:restrict", hold), 201)
        problem(service.open_project(linked.providers[0], linked.agreement, purpose="marketing"), 403)
        officer = Person(
            service,
            organisation=service.officer.organisation,
            invitation=service.invite_person(service.officer, "officer"),
        )
        invitation = service.invite_person(linked.providers[0], "analyst")
        analyst = Person(service, organisation=linked.providers[0].organisation, invitation=invitation)
        port = stack.enter_context(over_tls(service.app, folder))
        browser = stack.enter_context(chromium(*at_the_service(port)))
        yield Office(service, linked, run, release, officer, analyst, browser)


def _leave_something_overdue(service: ServiceApp) -> None:
    """Months ago: uploads that were deleted and certified, and a result that a hold has kept past its date."""
    linked = service.uploaded(*data_sets(30, 40, shared=10))
    run = service.run(linked)
    service.release(linked, run)
    hold = {"ground": "legal_claims", "reason": "Case 7."}
    ok(service.officer.post(f"/v1/runs/{run['id']}:restrict", hold), 201)
    service.clock.move(days=100)
    service.sweep()


def _withdraw_what_was_retrieved(linked: Linked, release: Json) -> None:
    provider, upload = linked.providers[0], linked.uploads[0]
    assert provider.get(f"/v1/releases/{release['id']}/link-table").status_code == 200
    ok(provider.post(f"/v1/uploads/{upload}:trace", {"row": 3}), 200)
    ok(provider.post(f"/v1/uploads/{upload}/withdrawals", {"rows": [3], "reason": "objection"}), 201)


@pytest.fixture
def context(office: Office) -> Iterator[BrowserContext]:
    """A browser in which the officer is signed in, and in which nothing goes wrong unnoticed."""
    made = context_of(office.browser)
    made.set_default_timeout(15_000)
    problems: list[str] = []
    made.on("weberror", lambda error: problems.append(str(error.error)))
    made.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page = made.new_page()
    _sign_in(page, office.officer)
    page.close()
    yield made
    made.close()
    # A status of 4xx that a test asks for is said there too; what the policy of contents stops is a defect.
    assert [text for text in problems if "Failed to load resource" not in text] == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def _sign_in(page: Page, person: Person) -> None:
    page.goto("/console/sign-in")
    page.get_by_label("E-mail address").fill(person.email)
    page.get_by_label("Password", exact=True).fill(person.password)
    page.get_by_label("Code").fill(person.next_code())
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What needs you")


def _picture(page: Page, name: str) -> None:
    if folder := os.environ.get("TEST_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def _barriers(page: Page) -> list[str]:
    """What axe finds, with the places."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found: dict[str, Any] = page.evaluate("tags => axe.run({runOnly: tags})", _AXE_TAGS)
    return [f"{rule['id']}: {[node['target'] for node in rule['nodes']]}" for rule in found["violations"]]


def _too_wide(page: Page) -> list[str]:
    """What makes the page wider than the window."""
    found: list[str] = page.evaluate(
        """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
          [...document.querySelectorAll('main *')].filter(
            element => element.getBoundingClientRect().right > document.documentElement.clientWidth
          ).map(element => element.outerHTML.slice(0, 100))"""
    )
    return found


def _paths(office: Office) -> dict[str, str]:
    agreement, provider = office.linked.agreement["id"], office.linked.providers[0].organisation
    project = f"/console/projects/{office.linked.project}"
    run = f"{project}/runs/{office.run['id']}"
    refused = next(seq for seq, event in enumerate(office.service.events()) if event["type"] == "project.refused")
    return {
        "overview": "/console/",
        "agreements": "/console/agreements",
        "agreement": f"/console/agreements/{agreement}",
        "suspend-agreement": f"/console/agreements/{agreement}/suspend",
        "review-agreement": f"/console/agreements/{agreement}/review",
        "projects": "/console/projects",
        "project": project,
        "disclosures": f"{project}/disclosures",
        "runs": "/console/runs",
        "run": run,
        "hold": f"{run}/restrict",
        "release": f"{project}/releases/{office.release['id']}",
        "lift": f"{project}/releases/{office.release['id']}/lift-restriction",
        "rights": "/console/rights",
        "retention": "/console/retention",
        "certificate": f"/console/certificates/{_certificate(office)}",
        "findings-refused": f"{run}/findings",
        "organisations": "/console/organisations",
        "organisation": f"/console/organisations/{provider}",
        "activity": "/console/activity",
        "charts": "/console/activity/charts",
        "event": f"/console/activity/{refused}",
        "export": "/console/activity/export?outcome=refused",
        "integrity": "/console/integrity",
        "account": "/console/account",
        "alarms": "/console/alarms",
        "step-up": "/console/step-up",
        "missing": "/console/nowhere",
        "refused": "/console/agreements/agr_nothing",
    }


def _certificate(office: Office) -> str:
    issued = next(event for event in office.service.events() if event["type"] == "certificate.issued")
    return str(issued["resource"]["id"])


def test_every_page_has_no_barrier_and_fits_a_small_screen(office: Office, page: Page) -> None:
    found: dict[str, object] = {}
    for name, path in _paths(office).items():
        page.set_viewport_size({"width": 1100, "height": 800})
        page.goto(path)
        found[f"{name}: barriers"] = _barriers(page)
        _picture(page, name)
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]  # a dict of these two
        found[f"{name}: too wide"] = _too_wide(page)
        _picture(page, f"{name}-small")
    assert [f"{name}: {what}" for name, what in found.items() if what] == []


def test_findings_have_no_barrier_and_their_plots_fit_a_small_screen(office: Office) -> None:
    with context_of(office.browser) as fresh:
        page = fresh.new_page()
        _sign_in(page, office.analyst)
        page.goto(f"/console/projects/{office.linked.project}/runs/{office.run['id']}")
        page.get_by_role("button", name="Read what it found").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("What the run found")
        for summary in page.locator("summary").all():
            summary.click()
        page.set_viewport_size({"width": 1100, "height": 800})
        assert _barriers(page) == []
        assert page.locator("svg[role=img]:visible").count() == 3
        _picture(page, "findings")
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]  # a dict of these two
        assert _barriers(page) == []
        assert _too_wide(page) == []
        assert page.locator("svg[role=img]:visible").count() == 3
        _picture(page, "findings-small")


def test_pages_before_signing_in_have_no_barrier_and_fit_a_small_screen(office: Office) -> None:
    invitation = office.service.invite_person(office.service.officer, "officer")
    with context_of(office.browser) as fresh:
        page = fresh.new_page()
        found: list[object] = []
        for name, path in (("sign-in", "/console/sign-in"), ("enrol", invitation["path"])):
            page.set_viewport_size({"width": 1100, "height": 800})
            page.goto(path)
            found.append(_barriers(page))
            _picture(page, name)
            page.set_viewport_size(_SMALL)  # type: ignore[arg-type]  # a dict of these two
            found.append(_too_wide(page))
        assert not any(found), found


def test_invited_person_enrols_and_signs_in_with_the_second_factor(office: Office) -> None:
    invitation = office.service.invite_person(office.service.officer, "officer")
    with context_of(office.browser) as fresh:
        page = fresh.new_page()
        page.goto(invitation["path"])
        for label in ("Choose a password", "The same password again"):
            page.get_by_label(label).fill(Person.password)
        page.get_by_role("button", name="Continue").click()
        person = Person.__new__(Person)
        person.service, person.email = office.service, invitation["person"]["email"]
        person.secret = _secret_of(page.locator("#secret").inner_text())
        _picture(page, "enrol-factor")
        assert _barriers(page) == []
        page.get_by_role("textbox", name="Code").fill(person.code())
        page.get_by_role("button", name="Open the account").click()
        expect(page.get_by_text("Your account is open")).to_be_visible()
        _sign_in(page, person)


def test_officer_suspends_an_organisation_and_its_next_request_is_refused(office: Office, page: Page) -> None:
    service = office.service
    partner = service.join()
    ok(partner.get("/v1/me"), 200)
    page.goto(f"/console/organisations/{partner.organisation}")
    page.get_by_role("button", name="Suspend").click()
    page.get_by_label("Why").fill("Uploads were probed.")
    page.get_by_label("Code").fill(office.officer.next_code())
    page.get_by_role("button", name="Suspend the organisation").click()
    expect(page.get_by_text("The organisation is suspended.")).to_be_visible()
    _picture(page, "suspended")
    assert partner.get("/v1/agreements").status_code in {401, 403}
    page.get_by_role("link", name="Event").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Organisation suspended")
    expect(page.get_by_text("Uploads were probed.")).to_be_visible()


def test_officer_reads_an_agreement_and_suspends_it_with_the_keyboard_alone(office: Office, page: Page) -> None:
    linked = office.service.project(sanctions={"ladder": ["warn", "suspend_agreement"]})
    page.goto(f"/console/agreements/{linked.agreement['id']}")
    expect(page.get_by_role("heading", name="9 Sanctions for failure to comply")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
    _tab_to(page, "Suspend")
    page.keyboard.press("Space")
    expect(page.get_by_role("heading", level=1)).to_have_text("Suspend this agreement")
    _tab_to(page, "reason")
    page.keyboard.type("A breach was reported.")
    _confirm_by_keyboard(office, page)
    expect(page.get_by_text("The agreement is suspended.")).to_be_visible()
    problem(office.service.open_project(linked.providers[0], linked.agreement), 403)


def test_officer_puts_a_hold_on_a_run_and_lifts_it_with_the_keyboard_alone(office: Office, page: Page) -> None:
    service = office.service
    linked = service.uploaded(*data_sets(30, 40, shared=10))
    run = service.run(linked)
    release = service.release(linked, run)
    page.goto(f"/console/projects/{linked.project}/runs/{run['id']}")
    _tab_to(page, "Put a hold on it")
    page.keyboard.press("Space")
    expect(page.get_by_role("heading", level=1)).to_have_text("Put a hold on it")
    _tab_to(page, "ground")
    page.keyboard.press("Space")
    _tab_to(page, "reason")
    page.keyboard.type("Case 12.")
    _confirm_by_keyboard(office, page)
    expect(page.get_by_text("The hold is in force.")).to_be_visible()
    problem(linked.providers[0].get(f"/v1/releases/{release['id']}/link-table"), 403)
    page.goto("/console/rights")
    _tab_to_link(page, f"{run['id']}/lift-restriction")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Lift the hold")
    _tab_to(page, "reason")
    page.keyboard.type("Case 12 is closed.")
    _confirm_by_keyboard(office, page)
    expect(page.get_by_text("The hold is lifted.")).to_be_visible()


def test_officer_finds_who_was_refused_and_why(page: Page) -> None:
    page.goto("/console/activity")
    page.get_by_label("Outcome").select_option("refused")
    page.get_by_label("Element that refused").select_option(label="1 Purpose of the sharing")
    page.get_by_role("button", name="Search").click()
    assert "outcome=refused" in page.url
    assert "element=1" in page.url
    page.get_by_role("link", name="Open project").first.click()
    expect(page.get_by_text("is not one of the purposes").first).to_be_visible()
    expect(page.get_by_role("heading", name="1 Purpose of the sharing")).to_be_visible()
    with page.expect_download() as got:
        page.get_by_role("link", name="Receipt of event").click()
    assert got.value.path().read_text().startswith("c2sp.org/tlog-proof@v1\n")


def test_officer_keeps_a_checkpoint_and_compares_it_later(office: Office, page: Page, tmp_path: Path) -> None:
    page.goto("/console/integrity")
    with page.expect_download() as got:
        page.get_by_role("link", name="Checkpoint, to keep").click()
    kept = tmp_path / "checkpoint.txt"
    got.value.save_as(kept)
    office.service.join()
    page.get_by_label("An older checkpoint, or a receipt").set_input_files(kept)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#finding")).to_contain_text("The log only grew")
    _picture(page, "compared")


def test_pages_work_without_scripts(office: Office) -> None:
    with context_of(office.browser, java_script_enabled=False, viewport=_SMALL) as plain:
        page = plain.new_page()
        _sign_in(page, office.officer)
        page.get_by_role("link", name="Agreements", exact=True).click()
        page.get_by_role("link", name=office.linked.agreement["reference"]).first.click()
        expect(page.get_by_role("heading", name="1 Purpose of the sharing")).to_be_visible()
        page.get_by_role("link", name="Your account").click()
        page.get_by_role("button", name="Sign out", exact=True).click()
        expect(page.get_by_text("You have signed out.")).to_be_visible()
        page.goto("/console/")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_console_cannot_be_put_into_a_frame(office: Office) -> None:
    # Not the fixture's browser: it says aloud that it blocked the frame.
    with context_of(office.browser) as fresh:
        page = fresh.new_page()
        page.goto("/console/sign-in")
        page.evaluate(_PUT_INTO_A_FRAME)
        assert "Sign in" not in page.frames[-1].content()


def _secret_of(text: str) -> bytes:
    letters = "".join(text.split())
    return base64.b32decode(letters + "=" * (-len(letters) % 8))


def _confirm_by_keyboard(office: Office, page: Page) -> None:
    """From the last field of a form: the code, where it is asked for, and the button."""
    if page.get_by_label("Code").count():
        page.keyboard.press("Tab")
        page.keyboard.type(office.officer.next_code())
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")


def _tab_to_link(page: Page, end: str) -> None:
    """Presses Tab until a link that leads there has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("end => (document.activeElement.href || '').endsWith(end)", end):
            return
    pytest.fail(f"Tab does not reach {end}")


def _tab_to(page: Page, wanted: str) -> None:
    """Presses Tab until what has the focus has this text or id."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused: str = page.evaluate("document.activeElement.id || document.activeElement.innerText")
        if focused.strip() == wanted:
            return
    pytest.fail(f"Tab does not reach {wanted}")
