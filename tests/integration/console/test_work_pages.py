"""Pages of projects, runs, releases, rights cases and retention: what they say, do and keep back."""

import base64
import json
import re
from typing import Any

import pytest

from linkage_console import work
from linkage_console.calling import Answer, Call
from linkage_console.pages import runs
from linkage_service.settings import Settings
from linkage_service.throttle import Buckets, _Rate
from support.console import Visitor, visitor, words_of
from support.service_app import (
    Json,
    Linked,
    ServiceApp,
    agreement_document,
    data_sets,
    noisy_data_sets,
    ok,
    problem,
)

EVIL = "<script>alert(1)</script>"
LEAST = 10


@pytest.fixture
def officer(service: ServiceApp) -> Visitor:
    return visitor(service, service.officer, "officer")


def _code(guest: Visitor) -> str:
    assert guest.person is not None
    return guest.person.next_code()


def _released(service: ServiceApp, *, shared: int = 200, **changes: Any) -> tuple[Linked, Json, Json]:
    """A project with a run, and a release that the first provider has retrieved."""
    linked = service.uploaded(*noisy_data_sets(300, 400, shared=shared), **changes)
    run = service.run(linked)
    release = service.release(linked, run)
    _retrieve(linked, release)
    return linked, run, release


def _retrieve(linked: Linked, release: Json) -> str:
    answer = linked.providers[0].get(f"/v1/releases/{release['id']}/link-table")
    assert answer.status_code == 200
    return str(answer.text)


def _page(linked: Linked, kind: str, thing: Json) -> str:
    return f"/projects/{linked.project}/{kind}s/{thing['id']}"


def _hold(service: ServiceApp, kind: str, thing: Json, ground: str) -> None:
    draft = {"ground": ground, "reason": "Case 12."}
    ok(service.officer.post(f"/v1/{kind}s/{thing['id']}:restrict", draft), 201)


def _links(page: str, words: str) -> list[str]:
    """Where the links lead that begin with these words."""
    return [
        found.replace("&amp;", "&") for found in re.findall(rf'href="/console([^"]*)"[^>]*>{re.escape(words)}', page)
    ]


def _numbers(page: str) -> list[int]:
    """Whole numbers of table cells and of drawings."""
    cells = re.findall(r"<td[^>]*>([\d,]+)</td>", page) + re.findall(r"<text[^>]*>([\d,]+)</text>", page)
    return [int(cell.replace(",", "")) for cell in cells]


def test_projects_lead_to_runs_and_releases_and_say_what_is_awaited(service: ServiceApp, officer: Visitor) -> None:
    linked, run, release = _released(service)
    empty = service.project()
    listed = officer.get("/projects")
    assert words_of(listed).count("Spring round") >= 2
    only = words_of(officer.get(f"/projects?agreement={empty.agreement['reference']}"))
    assert linked.agreement["reference"] not in only.partition("Show 1")[2]
    assert "1 project" in only
    assert "No project fits" in words_of(officer.get("/projects?words=autumn"))
    page = officer.get(f"/projects/{linked.project}")
    assert _links(page.text, "Run of") == [_page(linked, "run", run)]
    assert _links(page.text, "Release to") == [_page(linked, "release", release)]
    assert "Records: 300." in words_of(page)
    assert "No upload that can be matched: Organisation" in words_of(officer.get(f"/projects/{empty.project}"))


def test_runs_of_all_projects_are_listed_by_state_agreement_and_project(service: ServiceApp, officer: Visitor) -> None:
    linked, run, _ = _released(service)
    other = service.uploaded(*data_sets(30, 40, shared=10))
    waiting = ok(other.providers[0].post(f"/v1/projects/{other.project}/runs", {}), 202)
    for query, shown in (
        ("", [_page(other, "run", waiting), _page(linked, "run", run)]),
        ("?state=queued", [_page(other, "run", waiting)]),
        (f"?project={linked.project}", [_page(linked, "run", run)]),
        (f"?agreement={other.agreement['reference']}", [_page(other, "run", waiting)]),
        ("?state=failed", []),
    ):
        assert _links(officer.get(f"/runs{query}").text, "Run of") == shown, query
    _hold(service, "run", run, "accuracy")
    assert "on hold" in words_of(officer.get(f"/runs?project={linked.project}"))
    said = words_of(officer.get(_page(other, "run", waiting)))
    assert "It waits for a worker." in said
    assert "0 of 1,200 pairs of records are compared, 0.0%" in said
    assert "It has no result." in said


def test_projects_beyond_the_newest_are_on_a_page_of_their_own(
    service: ServiceApp, officer: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (work, runs):
        monkeypatch.setattr(module, "MOST_PROJECTS", 1)
    older, newer = (service.uploaded(*data_sets(30, 40, shared=10)) for _ in range(2))
    for linked in (older, newer):
        _hold(service, "run", service.run(linked), "accuracy")
    for path, words in (("/runs", "Run of"), ("/rights", "Hold on a run"), ("/retention", "Result of a run")):
        first = officer.get(path).text
        (further,) = re.findall(r'href="/console([^"]*)" rel="next"', first)
        for page, linked in ((first, newer), (officer.get(further.replace("&amp;", "&")).text, older)):
            (shown,) = _links(page, words)
            assert linked.project in shown, path
        assert "of older projects" not in words_of(officer.get(further.replace("&amp;", "&")))
    assert "those of the newest 1 projects" in words_of(officer.get("/"))


@pytest.mark.parametrize("path", ["/", "/runs", "/rights", "/retention"])
def test_page_of_many_projects_asks_less_than_a_person_may_at_once(
    service: ServiceApp, officer: Visitor, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked: list[str] = []
    send = Call._send

    async def counted(self: Call, method: str, path: str, **content: Any) -> Answer:
        asked.append(path)
        return await send(self, method, path, **content)

    monkeypatch.setattr(Call, "_send", counted)
    counts = []
    for _ in range(2):
        service.project()
        asked.clear()
        assert officer.get(path).status_code == 200
        counts.append(len(asked))
    one, two = counts
    burst = Settings.model_fields["rate_per_caller"].default * 4
    assert one + (work.MOST_PROJECTS - 1) * (two - one) < burst * 0.75


@pytest.mark.parametrize("limit", ["_caller", "_address"])
def test_page_is_one_request_however_much_it_reads(service: ServiceApp, officer: Visitor, limit: str) -> None:
    service.project()
    rate = _Rate("caller" if limit == "_caller" else "address", Buckets(0.5, now=lambda: 0.0))
    setattr(service.runtime.door.throttle, limit, rate)
    assert [officer.get("/").status_code for _ in range(3)] == [200, 200, 429]


def test_overview_of_an_officer_is_two_looks_at_the_log(service: ServiceApp, officer: Visitor) -> None:
    service.project()
    before = service.size()
    officer.get("/")
    # The alarms, and whether rows were withdrawn.
    assert [event["type"] for event in service.events()[before:]] == ["audit.viewed"] * 2


def test_run_says_who_asked_under_what_and_what_left(service: ServiceApp, officer: Visitor) -> None:
    linked, run, release = _released(service)
    page = officer.get(_page(linked, "run", run))
    said = words_of(page)
    for words in (
        f"Under {linked.agreement['reference']}, version 1 Purpose planning",
        "Asked for by a machine of Organisation",
        "300 records",
        "for planning, blind".capitalize(),
        "Retrieved by Organisation",
        "Run succeeded, by the service itself",
        "Nobody has read it.",
    ):
        assert words in said
    numbers = {event["type"]: seq for seq, event in enumerate(service.events())}
    assert f'href="/console/activity/{numbers["run.requested"]}"' in page.text
    assert f'href="/console/activity/{numbers["link_table.retrieved"]}"' in page.text
    assert _links(page.text, "Release to") == [_page(linked, "release", release)]


def test_run_that_failed_says_why(service: ServiceApp, officer: Visitor) -> None:
    linked = service.uploaded(*data_sets(30, 40, shared=10))
    run = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)
    ok(linked.providers[0].post(f"/v1/uploads/{linked.uploads[0]}/withdrawals", {"rows": [1], "reason": "error"}), 201)
    said = words_of(officer.get(_page(linked, "run", run)))
    assert "Rows of an upload were withdrawn while this run was waiting or matched." in said


def test_findings_are_for_those_whom_the_policy_names_and_are_read_only_when_asked_for(
    service: ServiceApp, officer: Visitor
) -> None:
    linked, run, _ = _released(service)
    path = _page(linked, "run", run)
    people = {
        "analyst": visitor(service, linked.providers[0], "analyst"),
        "recipient": visitor(service, linked.recipients[0], "recipient"),
        "signatory": visitor(service, linked.providers[0], "signatory"),
        "officer": officer,
    }
    for role, guest in people.items():
        before = [event["type"] for event in service.events()]
        offered = _links(guest.get(path).text, "Read what it found")
        read = {"report.retrieved", "report.refused", "summary.retrieved"}
        assert not read & {event["type"] for event in service.events()[len(before) :]}
        may = role in {"analyst", "recipient"}
        assert offered == ([f"{path}/findings"] if may else []), role
        with_findings = guest.get(f"{path}/findings")
        assert with_findings.status_code == (200 if may else 403), role
        if not may:
            assert "Nothing grants this to the caller" in words_of(with_findings)
    said = words_of(officer.get(path))
    assert said.count("a person of Organisation") == 2
    assert "the report" in said


def test_findings_say_in_tables_what_the_api_reports(service: ServiceApp) -> None:
    linked, run, _ = _released(service)
    analyst = visitor(service, linked.providers[0], "analyst")
    page = analyst.get(f"{_page(linked, 'run', run)}/findings")
    report = ok(linked.providers[0].get(f"/v1/runs/{run['id']}/report"), 200)
    said = words_of(page)
    (comparison,) = report["comparisons"]
    assert comparison["cut"] is not None
    assert f"Links {report['result']['links']:,}" in said
    assert f"{report['result']['precision']:.1%} of the links are right" in said
    for low, pairs in zip(comparison["histogram"]["edges"], comparison["histogram"]["pairs"], strict=False):
        assert re.search(rf"{low:.3f} to -?[\d.]+ {'not told' if pairs is None else pairs}", said), low
    for point in comparison["curve"]:
        assert f"{point['score']:.3f} {point['precision']:.1%} {point['recall']:.1%} {point['links']}" in said
    for pattern in report["patterns"]:
        assert pattern["groups"] is None or f"{pattern['groups']:,}" in said
    assert f"cut at {comparison['cut']['score']:.2f}" in said
    # Histogram, lines and overlap, each for a wide and for a narrow page.
    assert page.text.count('role="img"') == 6
    assert "style=" not in page.text


@pytest.mark.parametrize("shared", [0, 4, 12])
def test_findings_show_no_count_below_the_least(service: ServiceApp, shared: int) -> None:
    linked = service.uploaded(*noisy_data_sets(60, 80, shared=shared))
    run = service.run(linked)
    page = visitor(service, linked.providers[0], "analyst").get(f"{_page(linked, 'run', run)}/findings")
    assert [count for count in _numbers(page.text) if count < LEAST] == []
    assert "not told" in words_of(page)


def test_small_uploads_and_retrievals_are_not_counted_exactly(service: ServiceApp, officer: Visitor) -> None:
    linked = service.uploaded(*data_sets(7, 40, shared=3))
    run = service.run(linked)
    _retrieve(linked, service.release(linked, run))
    for path in (f"/projects/{linked.project}", _page(linked, "run", run), f"/projects/{linked.project}/disclosures"):
        said = words_of(officer.get(path))
        assert "fewer than 10" in said, path
        # The other count is told, and 280 divided by it would give this one.
        assert "280" not in re.findall(r"\d+", said), path
    assert " pairs in " not in words_of(officer.get(_page(linked, "run", run)))


@pytest.mark.parametrize(("rows", "told"), [(7, False), (30, True)])
def test_run_under_way_tells_no_number_that_a_small_count_divides(
    service: ServiceApp, officer: Visitor, monkeypatch: pytest.MonkeyPatch, rows: int, *, told: bool
) -> None:
    linked = service.uploaded(*data_sets(rows, 40, shared=3))
    run = service.run(linked)
    items = Call.items

    async def under_way(call: Call, path: str, **asked: Any) -> list[Json]:
        progress = {"phase": "match", "done": rows * 20, "total": rows * 40}
        found = await items(call, path, **asked)
        return [{**one, "state": "running", "progress": progress} if "progress" in one else one for one in found]

    monkeypatch.setattr(Call, "items", under_way)
    said = words_of(officer.get(_page(linked, "run", run)))
    assert "50.0%" in said
    assert (f"{rows * 20:,} of {rows * 40:,} pairs" in said) is told


def test_feasibility_run_shows_its_summary_and_no_report(service: ServiceApp) -> None:
    giving = [service.join(), service.join()]
    parties = {giving[0]: ["provider", "recipient"], giving[1]: ["provider"]}
    agreement = service.activate(parties, data={"outputs": ["summary"]})
    project = ok(service.open_project(giving[0], agreement, kind="feasibility"), 201)["id"]
    for provider, rows in zip(giving, data_sets(60, 80, shared=40), strict=True):
        provider.upload(project, rows)
    linked = Linked(agreement=agreement, project=project, providers=giving, recipients=[giving[0]], uploads=[])
    run = service.run(linked)
    analyst = visitor(service, giving[0], "analyst")
    with service.expecting_event("summary.retrieved"):
        page = analyst.get(f"{_page(linked, 'run', run)}/findings")
    assert page.status_code == 200
    assert "Overlap of the providers" in words_of(page)
    assert "Pairs by score" not in words_of(page)


def test_release_says_who_retrieved_what_for_whom(service: ServiceApp, officer: Visitor) -> None:
    linked, _, release = _released(service)
    said = words_of(officer.get(_page(linked, "release", release)))
    for words in ("Purpose planning", "Every row gets a link id", "a machine of Organisation", "It has not asked"):
        assert words in said
    disclosed = officer.get(f"/projects/{linked.project}/disclosures")
    assert "Rows: 300." in words_of(disclosed)
    assert _links(disclosed.text, "the release to") == [_page(linked, "release", release)]


def test_looking_at_disclosures_is_an_event(service: ServiceApp, officer: Visitor) -> None:
    linked = service.project()
    with service.expecting_event("project.disclosures_viewed"):
        officer.get(f"/projects/{linked.project}/disclosures")


@pytest.mark.parametrize("kind", ["run", "release"])
def test_officer_puts_and_lifts_a_hold_with_ground_reason_and_code(
    service: ServiceApp, officer: Visitor, kind: str
) -> None:
    linked, run, release = _released(service)
    path = _page(linked, kind, {"run": run, "release": release}[kind])
    assert _links(officer.get(path).text, "Put a hold on it") == [f"{path}/restrict"]
    fields = {"ground": "objection", "reason": "Case 12."}
    missing = officer.post(f"{path}/restrict", fields)
    assert missing.status_code == 403
    assert "second factor is asked for again" in words_of(missing)
    assert 'value="objection" checked' in missing.text
    without = officer.post(f"{path}/restrict", {"reason": "Case 12.", "code": _code(officer)})
    assert without.status_code == 422
    done = officer.post(f"{path}/restrict", fields)
    assert "The hold is in force." in words_of(done)
    assert "An objection is being examined" in words_of(done)
    problem(linked.providers[0].get(f"/v1/releases/{release['id']}/link-table"), 403)
    assert _links(done.text, "Lift the hold") == [f"{path}/lift-restriction"]
    lifted = officer.post(f"{path}/lift-restriction", {"reason": "Case 12 is closed."})
    assert "The hold is lifted." in words_of(lifted)
    _retrieve(linked, release)
    event = next(event for event in reversed(service.events()) if event["type"] == f"{kind}.restriction_lifted")
    assert officer.person is not None
    assert event["actor"]["id"] == officer.person.person


def test_person_of_a_party_is_offered_no_hold_and_refused_one(service: ServiceApp) -> None:
    linked, run, _ = _released(service)
    signatory = visitor(service, linked.providers[0], "signatory")
    path = _page(linked, "run", run)
    assert "Put a hold" not in words_of(signatory.get(path))
    fields = {"ground": "accuracy", "reason": "x", "code": _code(signatory)}
    refused = signatory.post(f"{path}/restrict", fields)
    assert refused.status_code == 403
    assert "Nothing grants this" in words_of(refused)
    assert ok(linked.providers[0].get(f"/v1/projects/{linked.project}/holds"), 200)["items"] == []


def test_what_the_api_does_not_give_is_no_page(service: ServiceApp, officer: Visitor) -> None:
    linked, run, release = _released(service)
    service.clock.move(days=31)
    service.sweep()
    officer.sign_in()
    certificate = ok(service.officer.get(f"/v1/projects/{linked.project}/certificates"), 200)["items"][0]["id"]
    stranger = visitor(service, service.join(), "signatory")
    administrator = visitor(service, service.administrator, "administrator")
    paths = [
        f"/projects/{linked.project}", f"/projects/{linked.project}/disclosures", _page(linked, "run", run),
        f"{_page(linked, 'run', run)}/findings", f"{_page(linked, 'run', run)}/restrict",
        _page(linked, "release", release), f"/certificates/{certificate}", f"/certificates/{certificate}/file",
    ]  # fmt: skip
    for path in paths:
        assert stranger.get(path).status_code == 404, path
        assert administrator.get(path).status_code in {403, 404}, path
        assert officer.http.get(f"/console{path}", headers={"Cookie": ""}).url.path in {
            f"/console{path}", "/console/sign-in",
        }  # fmt: skip
    for path in ("/projects", "/runs", "/rights", "/retention"):
        assert linked.agreement["reference"] not in words_of(stranger.get(path)), path
    other = service.project()
    assert officer.get(f"/projects/{other.project}/runs/{run['id']}").status_code == 404
    assert officer.get(f"{_page(linked, 'run', run)}/delete").status_code == 404
    assert officer.post(f"{_page(linked, 'run', run)}/cancel", {"reason": "x"}).status_code == 404


def test_administrator_of_the_unit_sees_projects_and_nothing_that_is_in_them(service: ServiceApp) -> None:
    linked, run, _ = _released(service)
    administrator = visitor(service, service.administrator, "administrator")
    before = service.size()
    for path in ("/projects", "/runs", "/rights", "/retention"):
        page = administrator.get(path)
        assert "nothing of it is shown to you" in words_of(page), path
        assert linked.project not in re.findall(r'href="[^"]*/projects/([^"/]*)"', page.text), path
        assert run["id"] not in page.text, path
    assert not [event["type"] for event in service.events()[before:] if event["outcome"]["status"] == "refused"]


def test_rights_cases_have_clocks_that_say_what_they_are_counted_from(service: ServiceApp, officer: Visitor) -> None:
    linked, _, release = _released(service, rights={"access_request_days": 20})
    provider, upload = linked.providers[0], linked.uploads[0]
    ok(provider.post(f"/v1/uploads/{upload}:trace", {"row": 3}), 200)
    ok(provider.post(f"/v1/uploads/{upload}/withdrawals", {"rows": [3], "reason": "objection"}), 201)
    service.keep_house()
    _hold(service, "release", release, "accuracy")
    said = words_of(officer.get("/rights"))
    assert "31 days left, to 1 April 2026. It began today. Waits for Organisation" in said
    assert "Accuracy is contested: Article 18(1)(a). 31 days left, to 1 April 2026." in said
    assert "20 days left, to 21 March 2026. It began today." in said
    assert f"Element 7 of {linked.agreement['reference']}: an answer within 20 days." in said
    assert "Nothing" not in words_of(officer.get("/")).partition("Alarms")[0].replace("Nothing needs you", "")
    service.clock.move(days=26)
    officer.sign_in()
    overview = words_of(officer.get("/"))
    assert "Hold on a release, project Spring round 5 days left, to 1 April 2026." in overview
    assert "has yet to read what to delete 5 days left, to 1 April 2026." in overview
    service.clock.move(days=6)
    officer.sign_in()
    page = officer.get("/rights")
    assert words_of(page).count("Overdue by 1 day : the last day was 1 April 2026. 32 days have run.") == 2
    assert "The answer was due by 21 March 2026, 12 days ago." in words_of(page)
    assert '<span class="app-overdue">Overdue by 1 day</span>' in page.text
    assert "Overdue: the last day was 1 April 2026, 1 day ago." in words_of(officer.get("/"))


def test_withdrawal_is_settled_when_the_recipient_has_read_what_to_delete(
    service: ServiceApp, officer: Visitor
) -> None:
    linked, _, release = _released(service)
    withdraw = {"rows": [3], "reason": "objection"}
    ok(linked.providers[0].post(f"/v1/uploads/{linked.uploads[0]}/withdrawals", withdraw), 201)
    # The second provider has retrieved nothing: there is nothing to tell.
    ok(linked.providers[1].post(f"/v1/uploads/{linked.uploads[1]}/withdrawals", withdraw), 201)
    service.keep_house()
    waiting, _, settled = words_of(officer.get("/rights")).partition("Withdrawals with nothing left to tell")
    assert waiting.count("Rows withdrawn by") == 1
    assert "No link table that held them had been retrieved" in settled
    service.clock.move(seconds=1)
    ok(linked.recipients[0].get(f"/v1/releases/{release['id']}/withdrawals"), 200)
    waiting, _, settled = words_of(officer.get("/rights")).partition("Withdrawals with nothing left to tell")
    assert "Rows withdrawn by" not in waiting
    assert "read what to delete." in settled


def test_hold_for_legal_claims_has_no_clock(service: ServiceApp, officer: Visitor) -> None:
    linked, run, _ = _released(service)
    _hold(service, "run", run, "legal_claims")
    said = words_of(officer.get("/rights"))
    assert "No limit: the person asked that it be kept" in said
    assert "left, to" not in said.partition("Access requests")[0]
    assert linked.agreement["reference"] in said


def test_retention_says_what_is_deleted_when_and_the_overview_what_is_overdue(
    service: ServiceApp, officer: Visitor
) -> None:
    linked, run, _ = _released(service)
    said = words_of(officer.get("/retention"))
    assert "Nothing is overdue." in said
    assert said.count("31 March 2026: Upload of Organisation") == 2
    assert "30 May 2026: Result of a run" in said
    assert "30 May 2026: Link tables of a release to Organisation" in said
    _hold(service, "run", run, "legal_claims")
    service.clock.move(days=95)
    officer.sign_in()
    late = words_of(officer.get("/retention"))
    assert late.count("Nothing keeps it") == 2
    assert late.count("Overdue since 30 May 2026, 5 days. A hold keeps it.") == 2
    assert "overdue 2 1 1" in late
    service.sweep()
    page = officer.get("/retention")
    assert "Nothing keeps it" not in words_of(page)
    overview = words_of(officer.get("/"))
    assert "Result of a run Overdue for deletion since 30 May 2026, project Spring round. A hold keeps it." in overview
    assert linked.agreement["reference"] in words_of(
        officer.get(f"/retention?agreement={linked.agreement['reference']}")
    )
    assert "Nothing is kept." in words_of(officer.get("/retention?agreement=OTHER"))


def test_everything_is_due_at_the_end_of_the_agreement(service: ServiceApp, officer: Visitor) -> None:
    linked = service.uploaded(
        *data_sets(30, 40, shared=10), retention={"encodings_days": 365, "link_tables_days": 3650}
    )
    service.run(linked)
    said = words_of(officer.get("/retention"))
    assert "1 January 2027 (the agreement ends): Upload of" in said
    assert "1 January 2027 (the agreement ends): Result of a run" in said


def test_certificate_is_shown_and_downloaded_as_it_was_signed(service: ServiceApp, officer: Visitor) -> None:
    linked, _, _ = _released(service)
    service.clock.move(days=31)
    service.sweep()
    officer.sign_in()
    page = officer.get("/retention")
    (path,) = _links(page.text, "Certificate of")
    assert words_of(officer.get(path)).count("Was due on 31 March 2026") == 2
    (download,) = _links(page.text, "Download")
    answer = officer.get(download)
    assert answer.headers["content-disposition"].startswith('attachment; filename="crt_')
    kept = ok(service.officer.get(f"/v1{path}"), 200)
    assert answer.text == kept["note"]
    assert kept["project"] == linked.project


def test_evidence_of_an_agreement_leads_to_what_it_counts(service: ServiceApp, officer: Visitor) -> None:
    linked, run, _ = _released(service)
    page = officer.get(f"/agreements/{linked.agreement['id']}").text
    under = f"agreement={linked.agreement['reference']}"
    for name, leads in (
        ("projects opened", f"/projects?{under}"),
        ("uploads taken", f"/projects?{under}"),
        ("runs that ended with a result", f"/runs?{under}"),
        ("releases granted", f"/runs?state=succeeded&{under}"),
        ("link tables and summaries retrieved", f"/activity?type=link_table.retrieved&{under}"),
        ("deletions", f"/retention?{under}"),
    ):
        found = re.search(rf'href="/console([^"]*)">[\d,]+<span class="govuk-visually-hidden"> {name}<', page)
        assert found is not None, name
        assert found[1].replace("&amp;", "&") == leads
        assert officer.get(leads).status_code == 200
    assert _links(officer.get(f"/runs?{under}").text, "Run of") == [_page(linked, "run", run)]


def test_text_of_others_is_never_markup_on_these_pages(service: ServiceApp) -> None:
    giving = [service.join(name=f"{EVIL}{number}") for number in (1, 2)]
    document = agreement_document(
        {giving[0].organisation: ["provider", "recipient"], giving[1].organisation: ["provider"]}, title=EVIL
    )
    drafted = ok(giving[0].post("/v1/agreements", {"document": document}), 201)
    ok(giving[0].change(f"/v1/agreements/{drafted['id']}/versions/1:propose"), 200)
    for party in giving:
        agreement = ok(party.sign_agreement(drafted), 201)
    project = ok(service.open_project(giving[0], agreement, name=EVIL), 201)["id"]
    uploads = [
        party.upload(project, rows) for party, rows in zip(giving, noisy_data_sets(300, 400, shared=200), strict=True)
    ]
    linked = Linked(agreement=agreement, project=project, providers=giving, recipients=[giving[0]], uploads=uploads)
    run = service.run(linked)
    release = service.release(linked, run)
    _retrieve(linked, release)
    ok(giving[0].post(f"/v1/uploads/{uploads[0]}:trace", {"row": 3}), 200)
    ok(giving[0].post(f"/v1/uploads/{uploads[0]}/withdrawals", {"rows": [3], "reason": "objection"}), 201)
    service.keep_house()
    hold = {"ground": "legal_claims", "reason": EVIL}
    ok(service.officer.post(f"/v1/releases/{release['id']}:restrict", hold), 201)
    people = [visitor(service, service.officer, "officer"), visitor(service, giving[0], "analyst")]
    held = _page(linked, "release", release)
    paths = [
        "/", "/projects", f"/projects?words={EVIL}", f"/projects/{project}", f"/projects/{project}/disclosures",
        "/runs", f"/runs?state={EVIL}&project={EVIL}&agreement={EVIL}", _page(linked, "run", run),
        f"{_page(linked, 'run', run)}/findings", f"{_page(linked, 'run', run)}/restrict", held,
        f"{held}/lift-restriction", "/rights", "/retention", f"/retention?agreement={EVIL}&project={EVIL}",
    ]  # fmt: skip
    texts = [(path, guest.get(path).text) for guest in people for path in paths]
    service.clock.move(days=95)
    service.sweep()
    officer = people[0]
    officer.sign_in()
    overdue = [(path, officer.get(path).text) for path in ("/", "/retention", "/rights")]
    certificates = _links(overdue[1][1], "Certificate of")
    assert certificates
    texts += [*overdue, *((path, officer.get(path).text) for path in certificates)]
    texts.append(("hold", officer.post(f"{_page(linked, 'run', run)}/restrict", {"ground": EVIL, "reason": EVIL}).text))
    for path, text in texts:
        assert EVIL not in text, path
        assert re.findall(r"<script[^>]*>", text) == ['<script type="module" src="/console/static/console.js">'], path
    assert sum("&lt;script&gt;" in text for _, text in texts) > len(texts) // 2


def test_no_page_shows_encodings_link_ids_or_record_ids(service: ServiceApp, officer: Visitor) -> None:
    rows = noisy_data_sets(300, 400, shared=200)
    linked = service.uploaded(*rows)
    run = service.run(linked)
    release = service.release(linked, run)
    link_ids = [json.loads(line)["link_id"] for line in _retrieve(linked, release).splitlines()]
    provider, upload = linked.providers[0], linked.uploads[0]
    ok(provider.post(f"/v1/uploads/{upload}:trace", {"row": 271}), 200)
    ok(provider.post(f"/v1/uploads/{upload}/withdrawals", {"rows": [271], "reason": "objection"}), 201)
    service.keep_house()
    people = [officer, visitor(service, provider, "analyst"), visitor(service, linked.recipients[0], "recipient")]
    paths = [
        "/", "/projects", f"/projects/{linked.project}", f"/projects/{linked.project}/disclosures", "/runs",
        _page(linked, "run", run), f"{_page(linked, 'run', run)}/findings", _page(linked, "release", release),
        "/rights", "/retention",
    ]  # fmt: skip
    everything = "\n".join(guest.get(path).text for guest in people for path in paths)
    encoded = rows[0][:16]
    kept_back = [*link_ids, encoded.hex(), base64.b64encode(encoded[:12]).decode()]
    assert "Release to" in everything
    assert [word for word in kept_back if word in everything] == []
