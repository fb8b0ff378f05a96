"""What is past its date is deleted, leaves no byte, and a certificate says so."""

import json
import random
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from linkage_ledger.errors import NoteError
from linkage_ledger.notes import SigningKey, open_note
from linkage_service.agreements.tables import Agreement
from linkage_service.database import Database
from linkage_service.retention import tables
from linkage_service.retention.service import due
from linkage_service.runs.tables import Run
from linkage_service.uploads.service import blob_keys
from linkage_service.uploads.tables import Upload, UploadSketch, all_sketches
from linkage_service.worker import sweeper_of, watch_of
from support.databases import on_each_database, only_on_sqlite
from support.service_app import Json, Linked, ServiceApp, data_sets, ok, problem

pytestmark = on_each_database

ROWS = data_sets(40, 50, shared=20)


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    return service.uploaded(*ROWS)


def _types(events: list[Json]) -> list[str]:
    return [event["type"] for event in events]


def _certificates(linked: Linked) -> list[Json]:
    provider = linked.providers[0]
    listed = ok(provider.get(f"/v1/projects/{linked.project}/certificates"), 200)["items"]
    return [ok(provider.get(f"/v1/certificates/{item['id']}"), 200) for item in listed]


def _blobs(service: ServiceApp) -> list[str]:
    return [key for root in ("uploads", "runs") for key in service.runtime.blobs.list(root)]


def _bytes_of(service: ServiceApp) -> bytes:
    """Every byte in the database's files and below the folder of blobs."""
    folder = service.settings.data_dir
    files = [*folder.glob("linkage.db*"), *(path for path in (folder / "blobs").rglob("*") if path.is_file())]
    return b"\0".join(path.read_bytes() for path in files)


def test_sweep_before_any_date_deletes_nothing(service: ServiceApp, linked: Linked) -> None:
    swept = service.sweep()
    assert not swept.did_something
    assert ok(linked.providers[0].get(f"/v1/uploads/{linked.uploads[0]}"), 200)["state"] == "complete"


def test_uploads_past_their_date_are_deleted_with_key_blobs_and_event(service: ServiceApp, linked: Linked) -> None:
    begun = ok(linked.providers[0].declare(linked.project, ROWS[0]), 201)["id"]
    service.clock.move(days=31)
    before = service.size()
    assert service.sweep().deleted == {"upload": 3}
    events = service.events()[before:]
    assert _types(events) == ["upload.deleted"] * 3 + ["certificate.issued"]
    assert events[0]["actor"] == {"kind": "system", "id": "worker"}
    assert ok(linked.providers[0].get(f"/v1/uploads/{begun}"), 200)["state"] == "deleted"
    assert _blobs(service) == []
    assert service.verified()


def test_run_past_its_date_answers_that_there_is_no_result(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked, threshold=0.9)
    release = service.release(linked, run)
    service.clock.move(days=91)
    assert service.sweep().deleted == {"upload": 2, "run": 1, "release": 1}
    provider, recipient = linked.providers[0], linked.recipients[0]
    assert ok(provider.get(f"/v1/runs/{run['id']}"), 200)["state"] == "deleted"
    assert ok(provider.get(f"/v1/releases/{release['id']}"), 200)["state"] == "deleted"
    problem(provider.get(f"/v1/runs/{run['id']}/summary"), 409, "no_result")
    problem(provider.get(f"/v1/runs/{run['id']}/report"), 409, "no_result")
    problem(recipient.post(f"/v1/runs/{run['id']}/releases", {"purpose": "planning"}), 409, "no_result")
    problem(provider.get(f"/v1/releases/{release['id']}/link-table"), 403)
    with service.runtime.database.reading() as session:
        row = session.get(Run, run["id"])
        assert row is not None
        assert (row.data_key, row.patterns, row.report) == (None, None, None)
    assert _blobs(service) == []


def test_everything_under_an_agreement_past_its_end_is_deleted_and_the_end_is_noted_once(service: ServiceApp) -> None:
    ends = {"ends": "2026-03-10T00:00:00Z", "review_by": "2026-03-09T00:00:00Z"}
    linked = service.uploaded(*ROWS, review=ends)
    service.run(linked, threshold=0.9)
    service.clock.move(days=10)
    assert service.sweep().deleted == {"upload": 2, "run": 1}
    service.sweep()
    assert _types(service.events()).count("agreement.expired") == 1


def test_everything_under_a_terminated_agreement_is_deleted(service: ServiceApp, linked: Linked) -> None:
    service.run(linked, threshold=0.9)
    with service.runtime.database.writing() as session:
        row = session.get(Agreement, linked.agreement["id"])
        assert row is not None
        row.state = "terminated"
        session.add(row)
    assert service.sweep().deleted == {"upload": 2, "run": 1}


def test_due_lists_without_deleting(service: ServiceApp, linked: Linked) -> None:
    service.clock.move(days=31)
    with service.runtime.database.reading() as session:
        found = due(session, now=service.clock())
    assert sorted((item.kind, item.id, item.reason) for item in found) == sorted(
        ("upload", upload, "date") for upload in linked.uploads
    )
    assert ok(linked.providers[0].get(f"/v1/uploads/{linked.uploads[0]}"), 200)["state"] == "complete"


def test_certificate_says_what_was_deleted_and_its_signature_holds(service: ServiceApp, linked: Linked) -> None:
    service.clock.move(days=31)
    service.sweep()
    (certificate,) = _certificates(linked)
    document = json.loads(open_note(certificate["note"], [service.runtime.log.verifier]))
    assert document == certificate["document"]
    assert document["agreement"]["digest"] == linked.agreement["digest"]
    assert {item["id"] for item in document["items"]} == set(linked.uploads)
    headers = service.events()
    for item in document["items"]:
        assert headers[item["ledger_seq"]]["resource"] == {"type": "upload", "id": item["id"]}
        assert headers[item["ledger_seq"]]["time"] == item["deleted_at"]
        assert item["due_at"] < item["deleted_at"]
        assert (item["deleted_by"], item["records"]) in {("retention", 40), ("retention", 50)}
    with pytest.raises(NoteError):
        open_note(certificate["note"].replace('"records":40', '"records":41'), [service.runtime.log.verifier])
    with pytest.raises(NoteError):
        open_note(certificate["note"], [SigningKey.generate("log.linkage.test").verifier])


def test_certificate_names_what_a_provider_deleted_itself(service: ServiceApp, linked: Linked) -> None:
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    service.sweep()
    (certificate,) = _certificates(linked)
    (item,) = certificate["document"]["items"]
    assert (item["id"], item["deleted_by"]) == (linked.uploads[0], "request")


def test_certificate_read_is_recorded(service: ServiceApp, linked: Linked) -> None:
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    (issued,) = service.sweep().certificates
    assert service.officer.token
    with service.expecting_event("certificate.retrieved") as events:
        ok(service.officer.get(f"/v1/certificates/{issued}"), 200)
    assert events[0]["project"] == linked.project


def test_certificate_is_nothing_to_an_outsider(service: ServiceApp, linked: Linked) -> None:
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    (issued,) = service.sweep().certificates
    outsider = service.join()
    problem(outsider.get(f"/v1/certificates/{issued}"), 404, "not_found")
    problem(outsider.get(f"/v1/projects/{linked.project}/certificates"), 404, "not_found")


def test_agreement_that_asks_for_no_certificate_gets_none(service: ServiceApp) -> None:
    linked = service.uploaded(*ROWS, retention={"disposal_certificate": False})
    service.clock.move(days=31)
    assert service.sweep().certificates == []
    assert _certificates(linked) == []
    assert not service.sweep().did_something


def test_sweep_that_was_cut_between_key_and_blobs_is_finished_by_the_next(
    service: ServiceApp, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.clock.move(days=31)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("linkage_service.retention.sweep.remove_blobs", die)
        with pytest.raises(KeyboardInterrupt):
            service.sweep()
    assert len([key for key in _blobs(service) if linked.uploads[0] in key]) > 0
    service.sweep()
    assert _blobs(service) == []
    certified = {item["id"] for certificate in _certificates(linked) for item in certificate["document"]["items"]}
    assert certified == set(linked.uploads)


def test_orphans_are_removed_and_blobs_of_unknown_owners_are_left(service: ServiceApp, linked: Linked) -> None:
    key = service.runtime.blobs.new_data_key()
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    service.sweep()
    service.runtime.blobs.put(f"uploads/{linked.uploads[0]}/part-000001-late", b"late", data_key=key)
    service.runtime.blobs.put("uploads/upl_unknown/part-000001", b"whose", data_key=key)
    swept = service.sweep()
    assert (swept.blobs, swept.unknown) == (1, ["upl_unknown"])
    assert [name for name in _blobs(service) if "unknown" in name]


def test_only_one_worker_sweeps_at_a_time(service: ServiceApp) -> None:
    one, other = sweeper_of(service.runtime), sweeper_of(service.runtime)
    assert one.sweep_if_due() is not None
    assert other.sweep_if_due() is None  # not due
    service.clock.move(minutes=2)
    with service.runtime.database.writing() as session:
        assert tables.take(session, tables.SWEEP, holder="somebody", now=service.clock(), lease=timedelta(minutes=10))
    assert other.sweep() is None
    service.clock.move(hours=1)
    assert other.sweep() is not None


def test_housekeeping_of_a_time_to_come_is_no_reason_to_wait(service: ServiceApp) -> None:
    sweeper, watch = sweeper_of(service.runtime), watch_of(service.runtime)
    service.clock.move(days=1)
    assert sweeper.sweep_if_due() is not None
    assert watch.watch_if_due() is not None
    with service.runtime.database.writing() as session:
        assert tables.take(session, tables.SWEEP, holder="gone", now=service.clock(), lease=timedelta(minutes=10))
    service.clock.move(days=-1)
    assert sweeper.sweep_if_due() is not None
    assert watch.watch_if_due() is not None


def test_bodies_past_their_date_are_disposed_of_and_the_log_verifies(service: ServiceApp) -> None:
    linked = service.uploaded(*ROWS, retention={"audit_bodies_days": 5})
    with service.runtime.database.reading() as session:
        held = session.connection().execute(text("SELECT count(*) FROM audit_body WHERE NOT disposed")).scalar()
    assert held
    service.clock.move(days=6)
    before = service.size()
    swept = service.sweep()
    assert swept.bodies > 0
    events = service.events()[before:]
    assert [event["counts"] for event in events if event["type"] == "audit.bodies_disposed"] == [
        {"bodies": swept.bodies}
    ]
    with service.runtime.database.reading() as session:
        left = session.connection().execute(
            text(
                "SELECT count(*) FROM audit_body JOIN audit_event USING (seq) "
                "WHERE agreement = :reference AND NOT disposed AND seq < :before"
            ),
            {"reference": linked.agreement["reference"], "before": before},
        )
        assert left.scalar() == 0
    assert service.verified()
    assert service.sweep().bodies == 0


@only_on_sqlite
def test_after_the_sweep_no_byte_of_encodings_or_keys_is_left_on_disk(service: ServiceApp) -> None:
    # Enough uploads that their rows fill, split and merge pages of the database.
    many = [service.uploaded(*ROWS) for _ in range(6)]
    runs = [service.run(linked, threshold=0.9) for linked in many[:2]]
    secret: dict[str, bytes] = {}
    store = service.runtime.blobs
    with service.runtime.database.reading() as session:
        for linked in many:
            for upload_id in linked.uploads:
                row = session.get(Upload, upload_id)
                assert row is not None
                assert row.data_key is not None
                key = store.unwrap(row.data_key)
                secret[f"wrapped key of {upload_id}"] = key.wrapped
                for name in blob_keys(session, upload_id):
                    sealed = (service.settings.data_dir / "blobs" / name).read_bytes()
                    secret[f"sealed {name}"] = sealed[:64]
                    secret[f"end of {name}"] = sealed[-64:]
                secret[f"never: plain key of {upload_id}"] = key.plain
        for run in runs:
            kept = session.get(Run, run["id"])
            assert kept is not None
            assert kept.data_key is not None
            secret[f"wrapped key of {run['id']}"] = kept.data_key
    secret["never: an encoding"] = ROWS[0][:32]
    service.runtime.database.leave_no_trace()
    before = _bytes_of(service)
    found = {name for name, mark in secret.items() if mark in before}
    assert found == {name for name in secret if not name.startswith("never")}

    service.clock.move(days=91)
    swept = service.sweep()
    assert swept.traceless
    after = _bytes_of(service)
    assert [name for name, mark in secret.items() if mark in after] == []
    assert len(swept.certificates) == len(many)
    assert all(_certificates(linked) for linked in many)
    assert service.verified()


def test_rewritten_database_holds_no_copy_that_moving_rows_left_behind(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'moved.db'}")
    draw = random.Random(9)
    keys = [draw.randbytes(69) for _ in range(400)]
    with database.writing() as session:
        connection = session.connection()
        connection.exec_driver_sql("CREATE TABLE kept (id INTEGER PRIMARY KEY, manifest TEXT, secret BLOB)")
        for number, key in enumerate(keys):
            values = ("m" * draw.randint(300, 1200), key)
            connection.exec_driver_sql("INSERT INTO kept (manifest, secret) VALUES (?, ?)", values)
            if number % 3 == 0:
                moved = ("m" * draw.randint(300, 1500), draw.randint(1, number + 1))
                connection.exec_driver_sql("UPDATE kept SET manifest = ? WHERE id = ?", moved)
    with database.writing() as session:
        session.connection().exec_driver_sql("UPDATE kept SET secret = NULL")
    pieces = [key[start : start + 16] for key in keys for start in (0, 24, 53)]
    assert database.leave_no_trace()
    after = b"".join(path.read_bytes() for path in tmp_path.glob("moved.db*"))
    database.close()
    assert not any(piece in after for piece in pieces)


def test_rewriting_does_not_wait_for_readers_and_leaves_the_connection_as_it_was(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'read.db'}")
    with database.writing() as session:
        session.connection().exec_driver_sql("CREATE TABLE kept (id INTEGER PRIMARY KEY)")
    with database.reading() as session:
        session.connection().exec_driver_sql("SELECT * FROM kept").all()
        assert not database.leave_no_trace()
    assert database.leave_no_trace()
    with database.writing() as session:
        assert session.connection().exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    database.close()


def test_database_is_rewritten_when_something_was_deleted_or_the_last_time_failed(
    service: ServiceApp, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = [False, True], []

    def rewrite(_: Database) -> bool:
        asked.append(1)
        return answers.pop(0)

    monkeypatch.setattr(Database, "leave_no_trace", rewrite)
    sweeper = sweeper_of(service.runtime)
    sweeper.sweep()
    assert asked == []
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    for traceless in (False, True, True):
        swept = sweeper.sweep()
        assert swept is not None
        assert swept.traceless is traceless
    assert asked == [1, 1]


def test_sketches_past_their_date_are_forgotten(service: ServiceApp, linked: Linked) -> None:
    with service.runtime.database.writing() as session:
        for upload_id, days in zip(linked.uploads, (1, 5), strict=True):
            sketch = UploadSketch(
                upload=upload_id,
                project=linked.project,
                organisation=linked.providers[0].organisation,
                rows=40,
                sketch=b"sketch",
                delete_by=service.clock() + timedelta(days=days),
            )
            session.merge(sketch)
    service.clock.move(days=2)
    assert service.sweep().sketches == 1
    with service.runtime.database.reading() as session:
        assert [sketch.upload for sketch in all_sketches(session, linked.project)] == [linked.uploads[1]]
    assert service.sweep().sketches == 0


def test_certificate_says_that_a_run_deleted_encodings(service: ServiceApp) -> None:
    parties = [service.join() for _ in range(3)]
    roles = dict(zip(parties, (("provider",), ("provider",), ("recipient",)), strict=True))
    agreement = service.activate(roles, data={"outputs": ["summary"]})
    project = ok(service.open_project(parties[0], agreement, kind="feasibility"), 201)["id"]
    sent = [provider.upload(project, rows) for provider, rows in zip(parties[:2], ROWS, strict=True)]
    linked = Linked(agreement=agreement, project=project, providers=parties[:2], recipients=parties[2:], uploads=sent)
    assert service.run(linked)["state"] == "succeeded"
    service.sweep()
    (certificate,) = _certificates(linked)
    assert {item["deleted_by"] for item in certificate["document"]["items"]} == {"run"}


def test_database_without_secure_deletion_leaves_bytes(tmp_path: Path) -> None:
    # The control: what these tests look for is there to be found where nobody takes care.
    left = {}
    for secure in ("OFF", "ON"):
        path = tmp_path / f"{secure}.db"
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA secure_delete={secure}")
        connection.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, secret BLOB)")
        connection.execute("INSERT INTO kept (secret) VALUES (?)", (b"qx-secret-bytes" * 4,))
        connection.commit()
        connection.execute("UPDATE kept SET secret = NULL")
        connection.commit()
        connection.close()
        left[secure] = b"qx-secret-bytes" in path.read_bytes()
    assert left == {"OFF": True, "ON": False}


def test_closed_project_has_no_encodings_and_keeps_its_results(service: ServiceApp, linked: Linked) -> None:
    run = service.run(linked, threshold=0.9)
    waiting = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)
    before = service.size()
    closed = ok(linked.providers[0].post(f"/v1/projects/{linked.project}:close"), 200)
    assert closed["state"] == "closed"
    assert _types(service.events()[before:]) == ["run.cancelled", "upload.deleted", "upload.deleted", "project.closed"]
    assert ok(linked.providers[0].get(f"/v1/runs/{waiting['id']}"), 200)["state"] == "cancelled"
    assert not [key for key in _blobs(service) if key.startswith("uploads")]
    ok(linked.recipients[0].get(f"/v1/runs/{run['id']}/summary"), 200)
    problem(linked.providers[0].declare(linked.project, ROWS[0]), 403)
    problem(linked.providers[0].post(f"/v1/projects/{linked.project}:close"), 409)


def test_officer_may_close_a_project_and_a_recipient_without_the_role_may_not(
    service: ServiceApp, linked: Linked
) -> None:
    helper = linked.recipients[0].add_client("recipient")
    problem(helper.post(f"/v1/projects/{linked.project}:close"), 403)
    ok(service.officer.post(f"/v1/projects/{linked.project}:close"), 200)
