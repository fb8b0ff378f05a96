"""Pages of the console with a service behind them: what they show, what they do, and what they never show."""

import io
import json
import re
import sqlite3
import zipfile
from contextlib import closing

import pytest

from linkage_ledger.bundle import verify_bundle
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint
from linkage_service.access.decide import Verdict
from support.console import Visitor, visitor, words_of
from support.service_app import (
    Linked,
    ServiceApp,
    agreement_document,
    data_sets,
    ok,
    problem,
)

EVIL = "<script>alert(1)</script>"
LADDER = {"ladder": ["warn", "suspend_agreement", "terminate"]}


@pytest.fixture
def officer(service: ServiceApp) -> Visitor:
    return visitor(service, service.officer, "officer")


def _code(guest: Visitor) -> str:
    assert guest.person is not None
    return guest.person.next_code()


def _etag(page: str) -> str:
    found = re.search(r'name="etag" value="([^"]*)"', page)
    assert found is not None
    return found[1].replace("&#34;", '"').replace("&quot;", '"')


def _refused_project(service: ServiceApp) -> Linked:
    linked = service.project()
    problem(service.open_project(linked.providers[0], linked.agreement, purpose="marketing"), 403)
    return linked


def test_overview_says_what_needs_the_officer(service: ServiceApp, officer: Visitor) -> None:
    one, two = service.join(), service.join()
    drafted = service.draft({one: ["provider", "recipient"], two: ["provider"]})
    ok(one.change(f"/v1/agreements/{drafted['id']}/versions/1:propose"), 200)
    ok(one.sign_agreement(drafted), 201)
    assert "Waits for the signature of Organisation" in words_of(officer.get("/"))
    ok(two.sign_agreement(drafted), 201)
    assert "Nothing needs you now" in words_of(officer.get("/"))
    service.clock.move(days=300)
    officer.sign_in()
    service.watch()
    said = words_of(officer.get("/"))
    assert "The review was due on 1 December 2026" in said
    assert "Review overdue" in said


def test_signatory_sees_that_the_own_signature_is_missing_and_how_it_is_given(service: ServiceApp) -> None:
    one, two = service.join(), service.join()
    drafted = service.draft({one: ["provider", "recipient"], two: ["provider"]})
    ok(one.change(f"/v1/agreements/{drafted['id']}/versions/1:propose"), 200)
    signatory = visitor(service, one, "signatory")
    assert "Your organisation has not signed" in words_of(signatory.get("/"))
    said = words_of(signatory.get(f"/agreements/{drafted['id']}"))
    assert f"linkage agreement sign {drafted['id']}" in said
    assert "Computed here from the text below: it is the same." in said


def test_register_finds_agreements_by_state_party_and_words(service: ServiceApp, officer: Visitor) -> None:
    linked, other = service.project(), service.project(title="Other purposes")
    reference = linked.agreement["reference"]
    for query in (f"party={linked.providers[0].organisation}", f"words={reference[4:]}", "state=active&words=planning"):
        said = words_of(officer.get(f"/agreements?{query}"))
        assert reference in said
        assert other.agreement["reference"] not in said
    assert "No agreement fits" in words_of(officer.get("/agreements?state=terminated"))


def test_agreement_page_says_every_element_with_what_it_refused(service: ServiceApp, officer: Visitor) -> None:
    linked = _refused_project(service)
    said = words_of(officer.get(f"/agreements/{linked.agreement['id']}"))
    for words in ("1 Purpose of the sharing Refused 1 request", "9 Sanctions for failure to comply Refused no request"):
        assert words in said
    assert "Projects opened 1" in said


def test_amendment_is_shown_by_what_it_changes(service: ServiceApp, officer: Visitor) -> None:
    linked = service.project()
    parties = {party.organisation: ["provider"] for party in linked.providers}
    parties |= {party.organisation: ["recipient"] for party in linked.recipients}
    before = ok(linked.providers[0].get(f"/v1/agreements/{linked.agreement['id']}/versions/1"), 200)["document"]
    changed = agreement_document(
        parties, reference=before["reference"], retention={**before["retention"], "encodings_days": 7}
    )
    path = f"/v1/agreements/{linked.agreement['id']}"
    ok(linked.providers[0].change(f"{path}/versions", {"document": changed}, of=path), 201)
    said = words_of(officer.get(f"/agreements/{linked.agreement['id']}/versions/2/changes"))
    assert "No longer said: How long what is kept: Encodings are deleted 30 days" in said
    assert "7 days" in said
    assert "1 Purpose" not in said


def test_officer_changes_an_agreement_with_a_reason_and_the_second_factor(
    service: ServiceApp, officer: Visitor
) -> None:
    linked = service.project(sanctions=LADDER)
    for act, state in (("suspend", "suspended"), ("reinstate", "active"), ("terminate", "terminated")):
        path = f"/agreements/{linked.agreement['id']}/{act}"
        page = officer.get(path).text
        fields = {"reason": "A breach was reported.", "etag": _etag(page)}
        if 'name="code"' in page:
            missing = officer.post(path, fields)
            assert missing.status_code == 403
            assert "second factor is asked for again" in words_of(missing)
            assert "A breach was reported." in missing.text
            fields["code"] = _code(officer)
        done = officer.post(path, fields)
        assert done.url.path == f"/console/agreements/{linked.agreement['id']}"
        assert ok(service.officer.get(f"/v1/agreements/{linked.agreement['id']}"), 200)["state"] == state


def test_review_is_recorded_with_its_findings(service: ServiceApp, officer: Visitor) -> None:
    linked = service.project()
    path = f"/agreements/{linked.agreement['id']}/review"
    fields = {"passed": "yes", "review_by": "2026-11-01", "findings": "All met.", "etag": _etag(officer.get(path).text)}
    refused = officer.post(path, {**fields, "review_by": "soon", "code": _code(officer)})
    assert refused.status_code == 422
    assert "The review is recorded" in words_of(officer.post(path, fields))
    assert ok(service.officer.get(f"/v1/agreements/{linked.agreement['id']}"), 200)["review"]["findings"] == "All met."


def test_agreement_that_changed_since_it_was_read_is_not_suspended(service: ServiceApp, officer: Visitor) -> None:
    linked = service.project(sanctions=LADDER)
    path = f"/agreements/{linked.agreement['id']}"
    etag = _etag(officer.get(f"{path}/suspend").text)
    review = {"passed": True, "review_by": "2026-11-01T00:00:00Z", "findings": "Fine."}
    ok(service.officer.change(f"/v1{path}:review", review), 200)
    answer = officer.post(f"{path}/suspend", {"reason": "x", "etag": etag, "code": _code(officer)})
    assert answer.status_code == 412
    assert ok(service.officer.get(f"/v1{path}"), 200)["state"] == "active"


def test_suspended_organisation_is_refused_with_its_next_request(service: ServiceApp, officer: Visitor) -> None:
    partner = service.join()
    ok(partner.get("/v1/me"), 200)
    path = f"/organisations/{partner.organisation}"
    done = officer.post(f"{path}/suspend", {"reason": "Probing.", "code": _code(officer)})
    assert "The organisation is suspended." in words_of(done)
    assert partner.get("/v1/agreements").status_code in {401, 403}
    officer.post(f"{path}/reinstate", {"reason": "An error.", "code": _code(officer)})
    partner.forget_token()
    ok(partner.get("/v1/agreements"), 200)


def test_person_of_a_partner_is_refused_by_the_api_what_the_pages_do_not_offer(service: ServiceApp) -> None:
    one, other = service.join(), service.join()
    signatory = visitor(service, one, "signatory")
    assert "Suspend" not in words_of(signatory.get(f"/organisations/{other.organisation}"))
    refused = signatory.post(f"/organisations/{other.organisation}/suspend", {"reason": "x", "code": _code(signatory)})
    assert refused.status_code == 403
    assert "Nothing grants this" in words_of(refused)
    ok(other.get("/v1/me"), 200)


def test_agreement_of_others_is_not_there(service: ServiceApp) -> None:
    linked, stranger = service.project(), service.join()
    signatory = visitor(service, stranger, "signatory")
    assert signatory.get(f"/agreements/{linked.agreement['id']}").status_code == 404
    assert linked.agreement["reference"] not in words_of(signatory.get("/agreements"))


def test_activity_is_filtered_as_its_address_says_and_turned_over_both_ways(
    service: ServiceApp, officer: Visitor
) -> None:
    for _ in range(3):
        service.project()
    first = officer.get("/activity?organisation=" + service.officer.organisation)
    numbers = [int(found) for found in re.findall(r'id="event-(\d+)"', first.text)]
    assert numbers == sorted(numbers, reverse=True)
    older = re.search(r'href="(/console/activity\?[^"]*before=[^"]*)"', officer.get("/activity?outcome=success").text)
    assert older is not None
    second = officer.http.get(older[1].replace("&amp;", "&"))
    shown = [int(found) for found in re.findall(r'id="event-(\d+)"', second.text)]
    newer = re.search(r'href="(/console/activity\?[^"]*after=[^"]*)"', second.text)
    assert newer is not None
    back = officer.http.get(newer[1].replace("&amp;", "&"))
    there = [int(found) for found in re.findall(r'id="event-(\d+)"', back.text)]
    assert min(there) > max(shown)
    assert there == sorted(there, reverse=True)


def test_search_explains_a_refusal_in_words(service: ServiceApp, officer: Visitor) -> None:
    linked = _refused_project(service)
    page = officer.get(f"/activity?element=1&agreement={linked.agreement['reference']}")
    assert "Element 1: The stated purpose is not one of the purposes of this agreement." in words_of(page)
    number = re.search(r'id="event-(\d+)"', page.text)
    assert number is not None
    said = words_of(officer.get(f"/activity/{number[1]}"))
    assert "What would change that: State a purpose that the agreement lists" in said
    assert "A machine of Organisation" in said


def test_decision_is_made_again_and_its_answer_is_said(service: ServiceApp, officer: Visitor) -> None:
    linked = _refused_project(service)
    page = officer.get(f"/activity?element=1&agreement={linked.agreement['reference']}").text
    seq = re.findall(r'id="event-(\d+)"', page)[0]
    assert "Decide again" in words_of(officer.get(f"/activity/{seq}"))
    said = words_of(officer.get(f"/activity/{seq}/replay"))
    assert "The answer is the one recorded" in said
    assert "1 Purpose of the sharing: The stated purpose is not one of the purposes" in said
    assert "The one of this release" in said


def test_decision_whose_facts_are_gone_or_changed_is_not_made_again(service: ServiceApp, officer: Visitor) -> None:
    _refused_project(service)
    seq = next(seq for seq, event in enumerate(service.events()) if event["type"] == "project.refused")
    with closing(sqlite3.connect(service.database_file)) as database:
        database.execute("UPDATE audit_body SET disposed = 1, salt = NULL, body = NULL WHERE seq = ?", (seq,))
        database.commit()
    assert "Decide again" not in words_of(officer.get(f"/activity/{seq}"))
    answer = officer.get(f"/activity/{seq}/replay")
    assert answer.status_code == 409
    assert "disposed of at the end of their retention" in words_of(answer)


def test_decision_that_comes_out_otherwise_is_an_alarm(
    service: ServiceApp, officer: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refused_project(service)
    seq = next(seq for seq, event in enumerate(service.events()) if event["type"] == "project.refused")
    policy = service.runtime.door.policy
    monkeypatch.setattr(policy, "replay", lambda _: Verdict(allowed=True, policies=("P-open-project",)))
    said = words_of(officer.get(f"/activity/{seq}/replay"))
    assert "Alarm: the answer is not the one recorded" in said
    assert "Made again Allowed by P-open-project" in said


def test_looking_is_an_event_of_the_person_who_looked(service: ServiceApp, officer: Visitor) -> None:
    assert officer.person is not None
    with service.expecting_event("audit.viewed") as found:
        officer.get("/activity?outcome=refused")
    assert found[0]["actor"]["id"] == officer.person.person
    assert found[0]["source"] != ""


def test_filter_that_makes_no_sense_is_said(officer: Visitor) -> None:
    for query in (
        "outcome=perhaps", "element=ten", "from=yesterday", "type=nothing", "version=1",
        "from=2026-03-02&to=2026-02-01",
    ):  # fmt: skip
        answer = officer.get(f"/activity?{query}")
        assert answer.status_code == 422, query
        assert "There is a problem" in words_of(answer)


def test_days_of_the_filter_are_whole_days(service: ServiceApp, officer: Visitor) -> None:
    day = f"{service.clock.now:%Y-%m-%d}"
    assert "Nothing fits" not in words_of(officer.get(f"/activity?from={day}&to={day}"))
    assert "Nothing fits" in words_of(officer.get("/activity?to=2026-02-27"))


def test_charts_say_the_same_numbers_as_their_table(service: ServiceApp, officer: Visitor) -> None:
    linked = _refused_project(service)
    page = officer.get(f"/activity/charts?agreement={linked.agreement['reference']}&outcome=refused")
    assert "All 1 events that fit" in words_of(page)
    assert page.text.count('<rect class="refused"') == 10
    assert "style=" not in page.text


def test_receipt_and_older_checkpoint_hold_and_another_log_does_not(service: ServiceApp, officer: Visitor) -> None:
    checkpoint, receipt = officer.get("/integrity/checkpoint").text, officer.get("/activity/2/receipt").text
    service.join()
    grown = officer.post("/integrity", {"text": checkpoint})
    assert "The log only grew" in words_of(grown)
    proven = officer.post("/integrity", {}, files={"kept": ("event.tlog-proof", receipt.encode())})
    assert "The receipt holds" in words_of(proven)
    lines = checkpoint.split("\n")
    changed = officer.post("/integrity", {"text": "\n".join([lines[0], "3", *lines[2:]])})
    assert "no checkpoint of this ledger" in words_of(changed)
    assert "Nothing could be compared" in words_of(officer.post("/integrity", {"text": ""}))


def test_log_that_lost_events_is_an_alarm(service: ServiceApp, officer: Visitor) -> None:
    future = Checkpoint(origin="log.linkage.test", size=10_000, root=bytes(32))
    answer = officer.post("/integrity", {"text": sign_checkpoint(future, service.runtime.keys.log)})
    assert "Alarm: the log is not what it was" in words_of(answer)
    assert "events are gone" in words_of(answer)
    other = Checkpoint(origin="log.linkage.test", size=3, root=bytes(32))
    forked = officer.post("/integrity", {"text": sign_checkpoint(other, service.runtime.keys.log)})
    assert "does not continue the 3 events" in words_of(forked)


def test_log_that_was_rewritten_past_the_triggers_is_an_alarm(service: ServiceApp, officer: Visitor) -> None:
    checkpoint = officer.get("/integrity/checkpoint").text
    service.join()
    with closing(sqlite3.connect(service.database_file)) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE audit_node SET hash = randomblob(32)")
        database.commit()
    said = words_of(officer.post("/integrity", {"text": checkpoint}))
    assert "Alarm: the log is not what it was" in said
    assert "does not continue" in said


def test_export_asks_for_the_second_factor_and_gives_what_was_filtered(service: ServiceApp, officer: Visitor) -> None:
    linked = _refused_project(service)
    fields = {"format": "jsonl", "agreement": linked.agreement["reference"], "outcome": "refused"}
    assert officer.post("/activity/export", fields).status_code == 403
    answer = officer.post("/activity/export", {**fields, "code": _code(officer)})
    assert "attachment" in answer.headers["content-disposition"]
    assert [json.loads(line)["header"]["type"] for line in answer.text.splitlines()] == ["project.refused"]


def test_exported_bundle_is_verified_offline(service: ServiceApp, officer: Visitor) -> None:
    checkpoint = officer.get("/integrity/checkpoint").content
    answer = officer.post(
        "/activity/export",
        {"format": "bundle", "code": _code(officer)},
        files={"against": ("checkpoint.txt", checkpoint)},
    )
    assert answer.headers["content-type"] == "application/zip"
    assert "verify.html" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    report = verify_bundle(io.BytesIO(answer.content), verifier_keys=[service.runtime.log.verifier])
    assert report.status == "whole"


def test_alarm_is_looked_into_with_a_reason(service: ServiceApp, officer: Visitor) -> None:
    service.project()
    service.clock.move(days=300)
    alarm = service.alarms(kind="review_overdue")[0]
    officer.sign_in()
    assert "Review overdue" in words_of(officer.get("/alarms"))
    done = officer.post(f"/alarms/{alarm['id']}", {"reason": "Reviewed today.", "code": _code(officer)})
    assert "marked as looked into" in words_of(done)
    assert (
        ok(service.officer.get("/v1/audit/alarms", params={"kind": "review_overdue", "state": "open"}), 200)["items"]
        == []
    )


def test_text_of_others_is_never_markup(service: ServiceApp, officer: Visitor) -> None:
    made = ok(service.administrator.post("/v1/organisations", {"name": EVIL}), 201)
    one, two = service.join(), service.join()
    drafted = service.draft(
        {one: ["provider", "recipient"], two: ["provider"]},
        title=EVIL,
        sanctions={"ladder": ["warn"], "imposed_by": EVIL, "lifted_by": "A", "breach_notice_hours": 1},
    )
    for path in (
        "/", "/organisations", f"/organisations/{made['id']}", "/agreements", f"/agreements/{drafted['id']}",
        f"/agreements/{drafted['id']}/terminate", f"/activity?purpose={EVIL}", f"/agreements?words={EVIL}",
        f"/sign-in?next={EVIL}",
    ):  # fmt: skip
        answer = officer.get(path)
        assert EVIL not in answer.text, path
        assert re.findall(r"<script[^>]*>", answer.text) == ['<script type="module" src="/console/static/console.js">']
        assert " onerror=" not in answer.text.replace("&", "")


@pytest.mark.parametrize("path", ["/agreements/agr_1%3Fx", "/agreements/agr_1:terminate"])
def test_part_of_an_address_leads_to_no_other_address_of_the_api(officer: Visitor, path: str) -> None:
    assert officer.get(path).status_code == 404


def test_no_page_shows_encodings_link_ids_or_what_the_api_keeps_back(service: ServiceApp, officer: Visitor) -> None:
    linked = service.uploaded(*data_sets(30, 40, shared=4))
    release = service.release(linked, service.run(linked))
    table = linked.providers[0].get(f"/v1/releases/{release['id']}/link-table").text
    link_ids = {json.loads(line)["link_id"] for line in table.splitlines()}
    assert link_ids
    pages = ["/", "/activity", "/activity/charts", f"/agreements/{linked.agreement['id']}"]
    of_each_type = {event["type"]: seq for seq, event in enumerate(service.events())}
    pages += [f"/activity/{seq}" for seq in of_each_type.values()]
    everything = "\n".join(officer.get(path).text for path in pages)
    assert "Link table retrieved" in everything
    assert [link_id for link_id in link_ids if link_id in everything] == []
