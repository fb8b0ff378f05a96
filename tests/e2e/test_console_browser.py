"""The console in a real Chromium, over TLS, as an officer uses it: with the keyboard, on a small screen, with axe.

With `TEST_SCREENSHOTS=FOLDER` every page that is looked at is also kept there as a picture, and those of the guide for
officers in its folder `guide`.
"""

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from linkage_ledger.bundle import verify_bundle
from linkage_service.access.sessions import COOKIE
from support.chromium import chromium, require_chromium
from support.console import at_the_service, context_of, over_tls, with_console
from support.looking import GUIDE_PICTURES, GUIDE_SIZE, guide_picture
from support.looking import barriers as _barriers
from support.looking import picture as _picture
from support.looking import sign_in as _sign_in
from support.looking import too_wide as _too_wide
from support.pictures import size_of_png
from support.service_app import (
    ISSUER,
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
_REFUSALS_OF_A_SPIKE = 12
# Where a picture of the guide begins, if not at the top of the page.
_SCROLLED_TO = {"agreement": "main", "organisation": "h2", "activity": "form h2", "charts": "h2"}
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
        _amend(linked)
        for _ in range(_REFUSALS_OF_A_SPIKE):
            problem(service.officer.post("/v1/organisations", {"name": "Not for officers"}), 403)
        service.watch()
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


def _amend(linked: Linked) -> None:
    """Drafts a second version, which keeps encodings for a shorter time."""
    path = f"/v1/agreements/{linked.agreement['id']}"
    before = ok(linked.providers[0].get(f"{path}/versions/1"), 200)["document"]
    changed = {**before, "retention": {**before["retention"], "encodings_days": 7}}
    ok(linked.providers[0].change(f"{path}/versions", {"document": changed}, of=path), 201)


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


def _paths(office: Office) -> dict[str, str]:
    agreement, provider = office.linked.agreement["id"], office.linked.providers[0].organisation
    project = f"/console/projects/{office.linked.project}"
    run = f"{project}/runs/{office.run['id']}"
    unit, machine = f"/organisations/{office.officer.organisation}", office.service.officer.client
    other = office.service.invite_person(office.service.officer, "officer")["person"]["id"]
    alarm = office.service.alarms(kind="denial_spike")[0]["id"]
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
        "agreement-version": f"/console/agreements/{agreement}/versions/2",
        "agreement-changes": f"/console/agreements/{agreement}/versions/2/changes",
        "organisations": "/console/organisations",
        "unit": f"/console{unit}",
        "suspend-organisation": f"/console/organisations/{provider}/suspend",
        "invite-person": f"/console{unit}/people/new",
        "person": f"/console{unit}/people/{office.officer.person}",
        "other-person": f"/console{unit}/people/{other}",
        "person-roles": f"/console{unit}/people/{other}/roles",
        "disable-person": f"/console{unit}/people/{other}/disable",
        "register-machine": f"/console{unit}/clients/new",
        "machine": f"/console{unit}/clients/{machine}",
        "add-key": f"/console{unit}/clients/{machine}/add-key",
        "remove-key": f"/console{unit}/clients/{machine}/keys/{office.service.officer.key.thumbprint}/remove",
        "machine-of-a-partner": f"/console/organisations/{provider}/clients/{office.linked.providers[0].client}",
        "suspend-machine": f"/console/organisations/{provider}/clients/{office.linked.providers[0].client}/suspend",
        "organisation": f"/console/organisations/{provider}",
        "activity": "/console/activity",
        "charts": "/console/activity/charts",
        "event": f"/console/activity/{refused}",
        "replay": f"/console/activity/{refused}/replay",
        "no-replay": "/console/activity/0/replay",
        "export": "/console/activity/export?outcome=refused",
        "integrity": "/console/integrity",
        "account": "/console/account",
        "alarms": "/console/alarms",
        "alarm": f"/console/alarms/{alarm}",
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


def test_pictures_of_the_guide_show_what_it_speaks_of_and_nobody(office: Office, page: Page, tmp_path: Path) -> None:
    paths = _paths(office)
    made: dict[str, bytes] = {}
    page.set_viewport_size(GUIDE_SIZE)  # type: ignore[arg-type]  # a dict of these two
    for name in GUIDE_PICTURES:
        if name == "compared":
            continue
        page.goto(paths["unit" if name == "organisation" else name])
        if name in _SCROLLED_TO:
            page.locator(_SCROLLED_TO[name]).first.scroll_into_view_if_needed()
            page.locator(_SCROLLED_TO[name]).first.evaluate("element => element.scrollIntoView()")
        made[name] = guide_picture(page, name)
    page.goto("/console/integrity")
    with page.expect_download() as got:
        page.get_by_role("link", name="Checkpoint, to keep").click()
    kept = tmp_path / "checkpoint.txt"
    got.value.save_as(kept)
    page.get_by_label("An older checkpoint, or a receipt").set_input_files(kept)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#finding")).to_contain_text("The log only grew")
    made["compared"] = guide_picture(page, "compared")
    assert set(made) == set(GUIDE_PICTURES)
    assert {name: size_of_png(content) for name, content in made.items()} == dict.fromkeys(
        made, (GUIDE_SIZE["width"], GUIDE_SIZE["height"])
    )


def test_script_in_the_texts_of_others_does_not_run(office: Office, page: Page) -> None:
    evil = "<img src=x onerror='window.taken=1'><script>window.taken=1</script>"
    service = office.service
    made = ok(service.administrator.post("/v1/organisations", {"name": evil}), 201)
    drafted = service.draft({service.join(): ["provider", "recipient"], service.join(): ["provider"]}, title=evil)
    for path in ("/organisations", f"/organisations/{made['id']}", "/agreements", f"/agreements/{drafted['id']}"):
        page.goto(f"/console{path}")
        expect(page.locator("main :is(h1, h2)").filter(has_text="onerror=").first).to_be_visible()
        assert page.evaluate("window.taken === undefined")
        assert page.locator("main img").count() == 0


def test_form_on_a_page_of_another_site_changes_nothing(office: Office, context: BrowserContext) -> None:
    partner = office.service.join()
    page = context.new_page()
    action = f"{ISSUER}/console/organisations/{partner.organisation}/suspend"
    page.set_content(
        f'<form method="post" action="{action}"><input name="reason" value="x">'
        f'<input name="code" value="{office.officer.next_code()}"><button>Win a prize</button></form>'
    )
    page.get_by_role("button", name="Win a prize").click()
    page.wait_for_url(action)
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Suspended")
    assert ok(office.service.officer.get(f"/v1/organisations/{partner.organisation}"), 200)["status"] == "active"


def test_session_that_was_planted_before_signing_in_is_not_the_one_after(office: Office) -> None:
    planted = "A" * 43
    with context_of(office.browser) as fresh:
        cookie = {"name": COOKIE, "value": planted, "url": ISSUER, "secure": True}
        fresh.add_cookies([cookie])  # type: ignore[list-item]  # a dict of these
        page = fresh.new_page()
        _sign_in(page, office.officer)
        after = [found.get("value") for found in fresh.cookies(ISSUER) if found.get("name") == COOKIE]
        assert len(after) == 1
        assert planted not in after


def test_address_that_leads_elsewhere_after_signing_in_leads_to_the_first_page(office: Office) -> None:
    for elsewhere in ("https://evil.test/", "//evil.test/", "/\\evil.test", "/console//evil.test"):
        with context_of(office.browser) as fresh:
            page = fresh.new_page()
            page.goto(f"/console/sign-in?{urlencode({'next': elsewhere})}")
            page.get_by_label("E-mail address").fill(office.officer.email)
            page.get_by_label("Password", exact=True).fill(office.officer.password)
            page.get_by_label("Code").fill(office.officer.next_code())
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("What needs you")
            assert page.url == f"{ISSUER}/console/"


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


def test_officer_finds_who_retrieved_a_link_table_in_a_week_and_for_what(office: Office, page: Page) -> None:
    today = office.service.clock.now.date()
    page.goto("/console/activity")
    page.get_by_label("What happened").select_option(value="link_table.retrieved")
    page.get_by_label("From day (UTC)").fill((today - timedelta(days=6)).isoformat())
    page.get_by_label("To day (UTC)").fill(today.isoformat())
    page.get_by_label("Purpose, by its code").fill("planning")
    page.get_by_role("button", name="Search").click()
    assert "purpose=planning" in page.url
    (found,) = page.locator(".app-event").all()
    provider = office.linked.providers[0]
    expect(found).to_contain_text("for planning")
    found.get_by_role("link").click()
    expect(page.get_by_text(provider.client).first).to_be_visible()


def test_officer_exports_a_bundle_that_is_verified_without_the_service(office: Office, page: Page) -> None:
    page.goto("/console/activity/export")
    page.get_by_label("A bundle (zip) with proofs").check()
    if page.get_by_label("Code").count():
        page.get_by_label("Code").fill(office.officer.next_code())
    with page.expect_download() as got:
        page.get_by_role("button", name="Export").click()
    with got.value.path().open("rb") as bundle:
        assert verify_bundle(bundle, verifier_keys=[office.service.runtime.log.verifier]).status == "whole"


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
