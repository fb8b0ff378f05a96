"""A restore drill: what was backed up is put elsewhere, verifies, and goes on; what was deleted does not come back."""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlmodel import Session

from linkage_service import rewrapping
from linkage_service.app import create_app
from linkage_service.audit import rotation
from linkage_service.audit.verify import verify as verify_ledger
from linkage_service.backup import archive, sealing
from linkage_service.backup.archive import BackupRefused, create, verify
from linkage_service.backup.restoring import Restored, restore
from linkage_service.cli import main
from linkage_service.clock import utc_now
from linkage_service.database import Database
from linkage_service.errors import Conflict
from linkage_service.migrate import can_serve, upgrade
from linkage_service.retention.tables import SWEEP, take
from linkage_service.runtime import build
from linkage_service.service_keys import KeysMissing
from linkage_service.settings import Settings
from linkage_service.storage import BlobStore
from support.databases import KINDS, Kind, empty_database, on_each_database, only_on_sqlite
from support.service_app import Linked, ServiceApp, client_of, data_sets, ok, problem

PASSPHRASE = "correct horse battery staple"
Targets = Callable[[str, Kind], Settings]


@pytest.fixture(autouse=True)
def quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_N", 2**4)


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path, service: ServiceApp) -> Iterator[Targets]:
    """Settings of a service that is not there yet, by a name and a kind of database."""
    with ExitStack() as stack:

        def settings(name: str, kind: Kind) -> Settings:
            url = None
            if kind == "postgresql":
                url = stack.enter_context(empty_database(request.getfixturevalue("postgresql")))
            given = service.settings.model_dump() | {"data_dir": tmp_path / name, "database_url": url}
            (tmp_path / name).mkdir()
            return Settings(**given)

        yield settings


def _backed_up(service: ServiceApp, folder: Path, *, passphrase: str | None = PASSPHRASE) -> Path:
    create(service.runtime, folder, passphrase=passphrase)
    return folder


def _restored(service: ServiceApp, settings: Settings, folder: Path, **options: Any) -> Restored:
    return restore(settings, folder, clock=service.clock, **{"passphrase": PASSPHRASE, **options})


def _moved(service: ServiceApp, settings: Settings) -> None:
    """From here on, everybody who called the service calls the restored one."""
    service.close()
    service.settings = settings
    service.runtime = build(settings, clock=service.clock)
    service.app = create_app(service.runtime)
    service.http = client_of(service.app)


@on_each_database
@pytest.mark.parametrize("kind", KINDS)
def test_restored_service_verifies_and_carries_a_run_on_to_its_link_table(
    service: ServiceApp, target: Targets, tmp_path: Path, kind: Kind
) -> None:
    linked = service.uploaded(*data_sets(20, 20, shared=12))
    first = service.run(linked)
    release = service.release(linked, first)
    path = f"/v1/releases/{release['id']}/link-table"
    before = linked.recipients[0].get(f"/v1/runs/{first['id']}/summary").json()
    person = service.person(linked.providers[0], "signatory")
    folder = _backed_up(service, tmp_path / "backup")
    assert verify(folder).ledger.size == service.size()
    settings = target("restored", kind)
    done = _restored(service, settings, folder)
    assert (done.deleted_again, done.swept is not None and done.swept.deleted) == (0, {})
    _moved(service, settings)
    assert service.verified()
    assert linked.recipients[0].get(f"/v1/runs/{first['id']}/summary").json() == before
    assert linked.providers[0].get(path).status_code == 200
    again = service.run(linked)
    assert again["state"] == "succeeded"
    table = linked.providers[0].get(f"/v1/releases/{service.release(linked, again)['id']}/link-table")
    assert table.status_code == 200
    person.http = service.browser(headers={"Origin": service.settings.issuer or ""})
    person.sign_in()
    assert service.verified()


def _linked(service: ServiceApp) -> Linked:
    return service.uploaded(*data_sets(12, 12, shared=6))


def test_backup_holds_nothing_of_what_was_deleted(service: ServiceApp, tmp_path: Path) -> None:
    linked = _linked(service)
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    folder = _backed_up(service, tmp_path / "backup")
    paths = [item.path for item in archive.listed_blobs(folder)]
    assert paths
    assert not any(linked.uploads[0] in path for path in paths)
    assert not (folder / "blobs" / "uploads" / linked.uploads[0]).exists()


def test_upload_that_is_deleted_while_the_backup_is_made_is_not_in_it(
    service: ServiceApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = _linked(service)
    read = BlobStore.sealed_bytes
    gone: list[None] = []

    def deleting(blobs: BlobStore, key: str) -> memoryview:
        if not gone:
            gone.append(ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204))
        return read(blobs, key)

    monkeypatch.setattr(BlobStore, "sealed_bytes", deleting)
    folder = _backed_up(service, tmp_path / "backup")
    owners = {item.path.split("/")[1] for item in archive.listed_blobs(folder)}
    assert owners == {linked.uploads[1]}
    verify(folder)


def test_part_that_a_withdrawal_cut_while_the_backup_is_made_is_not_in_it(service: ServiceApp, tmp_path: Path) -> None:
    linked = _linked(service)
    cut = f"uploads/{linked.uploads[0]}/cut"
    # What the database counts on no more lies in the store until it is removed, and may be copied by then.
    service.runtime.blobs.put_sealed_bytes(cut, b"what it was before")
    folder = _backed_up(service, tmp_path / "backup")
    assert cut not in {item.path for item in archive.listed_blobs(folder)}
    assert not (folder / "blobs" / cut).exists()
    verify(folder)


@pytest.mark.parametrize(
    "line",
    [
        {"path": "../../x", "size": 1, "sha256": None},
        {"path": "uploads/../../x", "size": 1, "sha256": "0" * 64},
        {"path": "uploads/upl_1/gone", "size": 1, "sha256": None},
        {"path": "keys/upl_1", "size": 1, "sha256": "0" * 64},
    ],
)
def test_list_of_blobs_with_a_line_that_leads_out_or_says_no_digest_is_refused(
    tmp_path: Path, line: dict[str, object]
) -> None:
    (tmp_path / "blobs.jsonl").write_text(json.dumps(line), "utf-8")
    with pytest.raises(BackupRefused, match="names no blob"):
        list(archive.listed_blobs(tmp_path))


def test_keys_that_are_rotated_while_the_backup_is_made_open_what_is_in_it(
    service: ServiceApp, target: Targets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _linked(service)
    counted_on = archive._counted_on
    rotated: list[dict[str, int]] = []

    def rotating(session: Session) -> tuple[list[str], frozenset[str]]:
        if not rotated:
            # Another thread: this one reads.
            with ThreadPoolExecutor(1) as other:
                rotated.append(other.submit(rewrapping.rotate, service.runtime).result())
                other.submit(rewrapping.retire, service.runtime).result()
        return counted_on(session)

    monkeypatch.setattr(archive, "_counted_on", rotating)
    folder = _backed_up(service, tmp_path / "backup")
    _restored(service, target("restored", "sqlite"), folder)
    written = sealing.unseal((folder / "keys.sealed").read_bytes(), PASSPHRASE)
    assert written["storage.key"] == (service.settings.resolved_keys_dir / "storage.key").read_bytes()


def test_upload_that_comes_while_the_backup_is_made_is_whole_or_not_there(
    service: ServiceApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = service.project()
    rows, more = data_sets(12, 12, shared=6)
    linked.providers[0].upload(linked.project, rows)
    listed = BlobStore.list
    came: list[str] = []

    def uploading(blobs: BlobStore, prefix: str) -> list[str]:
        found = listed(blobs, prefix)
        if prefix == "runs" and not came:
            came.append(linked.providers[1].upload(linked.project, more))
        return found

    monkeypatch.setattr(BlobStore, "list", uploading)
    folder = _backed_up(service, tmp_path / "backup")
    monkeypatch.undo()
    verify(folder)
    assert came[0] in {item.path.split("/")[1] for item in archive.listed_blobs(folder)}


def test_backup_of_a_service_that_lost_blobs_is_refused(service: ServiceApp, tmp_path: Path) -> None:
    linked = _linked(service)
    service.runtime.blobs.delete_prefix(f"uploads/{linked.uploads[0]}")
    with pytest.raises(BackupRefused, match="not in the store"):
        _backed_up(service, tmp_path / "backup")
    with pytest.raises(BackupRefused, match="interrupted"):
        verify(tmp_path / "backup")


def _upgraded_by_a_newer_release(service: ServiceApp) -> None:
    with service.runtime.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")


def test_backup_of_a_newer_releases_database_is_refused_though_this_one_serves_on_it(
    service: ServiceApp, tmp_path: Path
) -> None:
    _upgraded_by_a_newer_release(service)
    assert can_serve(service.runtime.database.engine)
    with pytest.raises(BackupRefused, match="Make the backup with that release"):
        _backed_up(service, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


@on_each_database
def test_backup_during_which_a_newer_release_comes_is_refused(
    service: ServiceApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_files = sealing.key_files

    def upgraded_before_the_snapshot(folder: Path) -> dict[str, bytes]:
        _upgraded_by_a_newer_release(service)
        return dict(key_files(folder))

    monkeypatch.setattr(sealing, "key_files", upgraded_before_the_snapshot)
    with pytest.raises(BackupRefused, match="Make the backup with that release"):
        _backed_up(service, tmp_path / "backup")
    with pytest.raises(BackupRefused, match="interrupted"):
        verify(tmp_path / "backup")


def test_what_is_past_its_date_when_a_backup_is_restored_is_deleted_at_once(
    service: ServiceApp, target: Targets, tmp_path: Path
) -> None:
    linked = _linked(service)
    folder = _backed_up(service, tmp_path / "backup")
    service.clock.move(days=31)
    settings = target("restored", "sqlite")
    done = _restored(service, settings, folder)
    assert done.swept is not None
    assert done.swept.deleted == {"upload": 2}
    _moved(service, settings)
    assert service.runtime.blobs.list("uploads") == []
    assert ok(linked.providers[0].get(f"/v1/uploads/{linked.uploads[0]}"), 200)["state"] == "deleted"
    assert service.verified()


def test_what_was_deleted_after_the_backup_is_deleted_again_by_an_export_of_the_ledger(
    service: ServiceApp, target: Targets, tmp_path: Path
) -> None:
    linked = _linked(service)
    folder = _backed_up(service, tmp_path / "backup")
    ok(linked.providers[0].delete(f"/v1/uploads/{linked.uploads[0]}"), 204)
    export = tmp_path / "since.jsonl"
    export.write_text("".join(json.dumps(event) + "\n" for event in service.events()), "utf-8")
    settings = target("restored", "sqlite")
    assert _restored(service, settings, folder, deletions=export).deleted_again == 1
    _moved(service, settings)
    states = [
        ok(p.get(f"/v1/uploads/{u}"), 200)["state"] for p, u in zip(linked.providers, linked.uploads, strict=True)
    ]
    assert states == ["deleted", "complete"]
    assert not service.runtime.blobs.list(f"uploads/{linked.uploads[0]}")
    assert service.events()[-1]["type"] in {"upload.deleted", "certificate.issued"}
    assert service.verified()


def test_what_cannot_be_deleted_again_is_named_with_its_reason_and_ends_with_1(
    service: ServiceApp, tmp_path: Path
) -> None:
    linked = _linked(service)
    held = service.run(linked)["id"]
    hold = {"ground": "legal_claims", "reason": "A court asked."}
    ok(service.officer.post(f"/v1/runs/{held}:restrict", hold), 201)
    waiting = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)["id"]
    with service.runtime.database.writing() as session:
        assert take(session, SWEEP, holder="somebody", now=utc_now(), lease=timedelta(minutes=10))
    folder = _backed_up(service, tmp_path / "backup", passphrase=None)
    export = tmp_path / "since.jsonl"
    lines = [{"type": "run.deleted", "resource": {"id": name}} for name in (held, waiting)]
    export.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    new = tmp_path / "new"
    shutil.copytree(service.settings.resolved_keys_dir, new / "keys")
    command = ["backup", "restore", "--data-dir", str(new), str(folder), "--deletions", str(export)]
    done = CliRunner().invoke(main, [*command, "--json"])
    assert done.exit_code == 1, done.output
    document = json.loads(done.stdout)
    assert (document["kept_by_holds"], document["unfinished"]) == ([held], [waiting])
    assert (document["deleted_again"], document["deleted_past_their_date"]) == (0, None)
    assert "NOTHING PAST ITS DATE WAS DELETED" in done.stderr
    assert done.stderr.count("NOT DELETED AGAIN") == 2


def test_restored_ledger_is_an_older_one_to_whoever_kept_a_later_checkpoint(
    service: ServiceApp, target: Targets, tmp_path: Path
) -> None:
    _linked(service)
    folder = _backed_up(service, tmp_path / "backup")
    service.join()
    later = service.runtime.log.checkpoint(service.runtime.database)
    settings = target("restored", "sqlite")
    _restored(service, settings, folder)
    _moved(service, settings)
    report = verify_ledger(service.runtime.database, [service.runtime.log.verifier], expected_checkpoint=later)
    assert not report.verified


def _ends(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@on_each_database
@pytest.mark.parametrize("kind", KINDS)
def test_restoration_that_fails_leaves_its_target_empty_and_can_be_made_again(
    service: ServiceApp, target: Targets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    _linked(service)
    folder = _backed_up(service, tmp_path / "backup")
    settings = target("restored", kind)
    with monkeypatch.context() as patched:
        patched.setattr(archive, "must_verify", _ends)
        with pytest.raises(KeyboardInterrupt):
            _restored(service, settings, folder)
    _restored(service, settings, folder)


def test_restoration_that_is_killed_leaves_a_database_that_nobody_serves_on(
    service: ServiceApp, target: Targets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _linked(service)
    folder = _backed_up(service, tmp_path / "backup")
    settings = target("restored", "sqlite")
    serves: list[bool] = []
    worker = ["worker", "--data-dir", str(settings.data_dir), "--development"]

    def killed(database: Database, *_: Any) -> None:
        serves.append(can_serve(database.engine))
        with pytest.raises(Conflict, match="did not finish"):
            upgrade(database.engine)
        refused = CliRunner().invoke(main, worker)
        assert (refused.exit_code, "db upgrade" in refused.stderr) == (1, True)
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "load", killed)
    with pytest.raises(KeyboardInterrupt):
        _restored(service, settings, folder)
    assert serves == [False]


@only_on_sqlite
@pytest.mark.parametrize("what", ["database", "blobs", "keys"])
def test_restore_over_something_is_refused_and_changes_nothing(
    service: ServiceApp, target: Targets, tmp_path: Path, what: str
) -> None:
    _linked(service)
    folder = _backed_up(service, tmp_path / "backup")
    settings = target("restored", "sqlite")
    match what:
        case "database":
            shutil.copyfile(service.database_file, settings.data_dir / "linkage.db")
        case "blobs":
            shutil.copytree(service.settings.data_dir / "blobs", settings.data_dir / "blobs")
        case _:
            shutil.copytree(service.settings.resolved_keys_dir, settings.resolved_keys_dir)
    before = sorted(path for path in settings.data_dir.rglob("*") if path.is_file())
    with pytest.raises(BackupRefused, match="not empty"):
        _restored(service, settings, folder)
    assert {path for path in settings.data_dir.rglob("*") if path.is_file()} - set(before) == set()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("manifest.json", "manifest"),
        ("tables/upload.jsonl", "tables/upload.jsonl"),
        ("blobs.jsonl", "blobs.jsonl"),
        ("keys.sealed", "keys.sealed"),
        ("blobs", "blob"),
    ],
)
@pytest.mark.parametrize("missing", [True, False])
def test_backup_with_a_byte_changed_or_a_file_missing_is_refused(
    service: ServiceApp, tmp_path: Path, file: str, words: str, *, missing: bool
) -> None:
    _linked(service)
    made = create(service.runtime, tmp_path / "backup", passphrase=PASSPHRASE)
    path = tmp_path / "backup" / file
    if path.is_dir():
        path = next(found for found in sorted(path.rglob("*")) if found.is_file())
    if missing:
        path.unlink()
    else:
        raw = bytearray(path.read_bytes())
        raw[-3] ^= 1
        path.write_bytes(raw)
    with pytest.raises(BackupRefused, match=words):
        verify(tmp_path / "backup", digest=made.digest)


def test_backup_whose_event_was_changed_with_its_digest_does_not_verify(service: ServiceApp, tmp_path: Path) -> None:
    _linked(service)
    folder = _backed_up(service, tmp_path / "backup")
    table, manifest = folder / "tables" / "audit_event.jsonl", folder / "manifest.json"
    lines = table.read_bytes().splitlines(keepends=True)
    changed = lines[3].replace(b'"success"', b'"refused"')
    assert changed != lines[3]
    table.write_bytes(b"".join([*lines[:3], changed, *lines[4:]]))
    document = json.loads(manifest.read_text("utf-8"))
    document["files"]["tables/audit_event.jsonl"] = archive._sha256(folder, "tables/audit_event.jsonl")
    manifest.write_text(json.dumps(document), "utf-8")
    with pytest.raises(BackupRefused, match="does not verify"):
        verify(folder)


def test_keys_open_with_their_passphrase_only(service: ServiceApp, target: Targets, tmp_path: Path) -> None:
    _linked(service)
    folder = _backed_up(service, tmp_path / "backup")
    settings = target("restored", "sqlite")
    with pytest.raises(sealing.PassphraseWrong):
        _restored(service, settings, folder, passphrase="correct horse battery stable")
    with pytest.raises(BackupRefused, match="--passphrase-file"):
        _restored(service, settings, folder, passphrase=None)
    with pytest.raises(sealing.PassphraseWrong, match="16 characters"):
        create(service.runtime, tmp_path / "another", passphrase="short")
    assert service.runtime.keys.storage.hex().encode() not in (folder / "keys.sealed").read_bytes()


def test_backup_without_keys_is_restored_with_those_that_were_kept_apart(
    service: ServiceApp, target: Targets, tmp_path: Path
) -> None:
    linked = _linked(service)
    folder = _backed_up(service, tmp_path / "backup", passphrase=None)
    assert not (folder / "keys.sealed").exists()
    settings = target("restored", "sqlite")
    with pytest.raises(BackupRefused, match="left out"):
        _restored(service, settings, folder, passphrase=None)
    settings.resolved_keys_dir.mkdir()
    (settings.resolved_keys_dir / "log.key").write_text("nonsense")
    with pytest.raises(KeysMissing):
        _restored(service, settings, folder, passphrase=None)
    shutil.copytree(service.settings.resolved_keys_dir, settings.resolved_keys_dir, dirs_exist_ok=True)
    _restored(service, settings, folder, passphrase=None)
    _moved(service, settings)
    assert service.run(linked)["state"] == "succeeded"


@pytest.mark.parametrize("which", ["storage", "log"])
def test_restoration_with_keys_that_were_rotated_since_is_refused_before_anything_is_put_back(
    service: ServiceApp, target: Targets, tmp_path: Path, which: str
) -> None:
    _linked(service)
    folder = _backed_up(service, tmp_path / "backup", passphrase=None)
    keys = service.settings.resolved_keys_dir
    if which == "storage":
        rewrapping.rotate(service.runtime)
    else:
        rotation.rotate(database=service.runtime.database, log=service.runtime.log, folder=keys, clock=service.clock)
    settings = target("restored", "sqlite")
    if which == "storage":
        shutil.copytree(keys, tmp_path / "with former keys")
        given = settings.model_copy(update={"keys_dir": tmp_path / "with former keys"})
        rewrapping.retire(service.runtime)
    shutil.copytree(keys, settings.resolved_keys_dir)
    with pytest.raises(BackupRefused, match=r"copy of the keys folder that was in use then"):
        _restored(service, settings, folder, passphrase=None)
    assert not BlobStore.from_url(settings.resolved_blob_url, key_encryption_keys=[bytes(32)]).list("uploads")
    assert (settings.resolved_keys_dir / "log.key").exists()
    if which == "storage":
        _restored(service, given, folder, passphrase=None)


def test_backup_of_another_schema_names_the_version_to_install(
    service: ServiceApp, target: Targets, tmp_path: Path
) -> None:
    folder = _backed_up(service, tmp_path / "backup")
    manifest = folder / "manifest.json"
    document = json.loads(manifest.read_text("utf-8")) | {"revision": "0001", "version": "0.0.9"}
    manifest.write_text(json.dumps(document), "utf-8")
    assert verify(folder).revision == "0001"
    with pytest.raises(BackupRefused, match=r"version 0\.0\.9"):
        _restored(service, target("restored", "sqlite"), folder)


@only_on_sqlite
def test_commands_make_verify_and_restore_a_backup(service: ServiceApp, tmp_path: Path) -> None:
    linked = _linked(service)
    words = tmp_path / "passphrase"
    words.write_text(f"{PASSPHRASE}\n")
    source, folder = ["--data-dir", str(service.settings.data_dir)], str(tmp_path / "backup")
    both = [*source, "--out", folder, "--passphrase-file", str(words), "--without-keys"]
    assert CliRunner().invoke(main, ["backup", "create", *both]).exit_code == 2
    assert CliRunner().invoke(main, ["backup", "create", *source, "--out", folder]).exit_code == 2
    made = CliRunner().invoke(
        main, ["backup", "create", *source, "--out", folder, "--passphrase-file", str(words), "--json"]
    )
    assert made.exit_code == 0, made.output
    digest = json.loads(made.stdout)["digest"]
    verified = CliRunner().invoke(main, ["backup", "verify", folder, "--digest", digest])
    assert (verified.exit_code, verified.stdout[:6]) == (0, "Whole:")
    assert CliRunner().invoke(main, ["backup", "verify", folder, "--digest", "0" * 64]).exit_code == 1
    restored = CliRunner().invoke(
        main, ["backup", "restore", "--data-dir", str(tmp_path / "new"), folder, "--passphrase-file", str(words)]
    )
    assert restored.exit_code == 0, restored.output
    assert "fork" in restored.stderr
    assert "The ledger verifies." in restored.stdout
    problem(linked.providers[0].get("/v1/uploads/upl_00000000000000000000000000"), 404)
