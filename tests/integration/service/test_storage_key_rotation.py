"""The key-encryption key is rotated while the service runs: everything opens before, meanwhile and afterwards."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from linkage_service import rewrapping, service_keys
from linkage_service.cli import main
from linkage_service.errors import Conflict
from linkage_service.rewrapping import retire, rotate
from linkage_service.runtime import build
from linkage_service.storage import BlobTampered
from support.databases import on_each_database, only_on_sqlite
from support.service_app import ServiceApp, data_sets, ok, service_app


def _former(service: ServiceApp) -> Path:
    return service.settings.resolved_keys_dir / "storage.key.former"


@on_each_database
def test_rotated_key_opens_everything_and_the_former_one_nothing(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(20, 20, shared=12))
    run = service.run(linked)
    release = service.release(linked, run)
    table = f"/v1/releases/{release['id']}/link-table"
    before = linked.providers[0].get(table).content
    person = service.person(linked.providers[0], "signatory")
    former = service.runtime.keys.storage
    wrapped = rotate(service.runtime)
    assert wrapped == {"uploads": 2, "runs": 1, "probe_keys": 1, "recipient_keys": 1, "second_factors": 1}
    assert former.hex() in _former(service).read_text()
    retire(service.runtime)
    assert not _former(service).exists()
    assert service_keys.storage_keys(service.settings.resolved_keys_dir) != [former]
    assert linked.providers[0].get(table).content == before
    assert service.run(linked)["state"] == "succeeded"
    person.sign_in()
    fresh = build(service.settings, clock=service.clock)
    with fresh.database.reading() as session:
        keys = session.connection().exec_driver_sql("SELECT data_key FROM upload").scalars().all()
    assert all(fresh.blobs.unwrap(key) for key in keys)
    fresh.close()
    assert service.verified()


def test_process_that_began_before_a_rotation_reads_and_writes_under_the_new_key(service: ServiceApp) -> None:
    linked = service.project()
    rows, more = data_sets(12, 12, shared=6)
    linked.providers[0].upload(linked.project, rows)
    other = build(service.settings, clock=service.clock)
    rotate(other)
    other.close()
    linked.providers[1].upload(linked.project, more)
    assert service.run(linked)["state"] == "succeeded"
    retire(service.runtime)


def test_key_that_still_wraps_something_is_not_retired(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    service_keys.renew_storage_key(service.settings.resolved_keys_dir)
    with pytest.raises(Conflict, match="former key-encryption key still"):
        retire(service.runtime)
    assert _former(service).exists()
    rotate(service.runtime)
    retire(service.runtime)
    assert service.run(linked)["state"] == "succeeded"


def test_rotation_that_was_killed_loses_nothing_and_can_be_run_again(
    service: ServiceApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    rewrap, calls = type(service.runtime.blobs).rewrap, iter(range(100))

    def killed(blobs: Any, wrapped: bytes) -> bytes:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return rewrap(blobs, wrapped)

    monkeypatch.setattr(rewrapping, "_ROWS_AT_ONCE", 1)
    monkeypatch.setattr(type(service.runtime.blobs), "rewrap", killed)
    with pytest.raises(KeyboardInterrupt):
        rotate(service.runtime)
    monkeypatch.undo()
    assert service.run(linked)["state"] == "succeeded"
    rotate(service.runtime)
    retire(service.runtime)
    assert service.run(linked)["state"] == "succeeded"


def test_two_rotations_at_once_are_refused(service: ServiceApp) -> None:
    with (
        service_keys.rotating(service.settings.resolved_keys_dir),
        pytest.raises(Conflict, match="Another process"),
    ):
        rotate(service.runtime)


@pytest.fixture
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceApp]:
    with service_app(tmp_path_factory.mktemp("keyed"), key_encryption_key=_key(b"a")) as service:
        yield service


def _key(byte: bytes) -> str:
    return base64.b64encode(byte * 32).decode()


def test_key_of_the_settings_is_rotated_by_the_settings(keyed: ServiceApp) -> None:
    linked = keyed.uploaded(*data_sets(12, 12, shared=6))
    settings = type(keyed.settings)(
        **{**keyed.settings.model_dump(), "key_encryption_key": _key(b"b"), "former_key_encryption_keys": [_key(b"a")]}
    )
    both = build(settings, clock=keyed.clock)
    assert rotate(both)["uploads"] == 2
    retire(both)
    both.close()
    assert not _former(keyed).exists()
    only = build(settings.model_copy(update={"former_key_encryption_keys": ()}), clock=keyed.clock)
    with only.database.reading() as session:
        keys = session.connection().exec_driver_sql("SELECT data_key FROM upload").scalars().all()
    assert [len(only.blobs.unwrap(key).plain) for key in keys] == [32, 32]
    only.close()
    with pytest.raises(BlobTampered):
        keyed.runtime.blobs.unwrap(keys[0])
    assert ok(linked.providers[0].get(f"/v1/uploads/{linked.uploads[0]}"), 200)["state"] == "complete"


def test_run_on_a_machine_that_the_new_key_has_not_reached_is_put_off_and_succeeds_later(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    run = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)["id"]
    keys = service.settings.resolved_keys_dir
    before = keys.joinpath("storage.key").read_bytes()
    rotate(service.runtime)
    new, former = keys.joinpath("storage.key").read_bytes(), _former(service).read_bytes()
    keys.joinpath("storage.key").write_bytes(before)
    _former(service).unlink()
    assert service.work()
    assert ok(linked.providers[0].get(f"/v1/runs/{run}"), 200)["state"] == "running"
    keys.joinpath("storage.key").write_bytes(new)
    _former(service).write_bytes(former)
    service.clock.move(seconds=service.settings.lease_s + 1)
    assert service.work()
    assert ok(linked.providers[0].get(f"/v1/runs/{run}"), 200)["state"] == "succeeded"


@only_on_sqlite
def test_commands_rotate_and_retire(service: ServiceApp) -> None:
    service.uploaded(*data_sets(12, 12, shared=6))
    where = ["--data-dir", str(service.settings.data_dir)]
    rotated = CliRunner().invoke(main, ["keys", "rotate", *where, "--json"])
    assert rotated.exit_code == 0, rotated.output
    assert json.loads(rotated.stdout)["uploads"] == 2
    retired = CliRunner().invoke(main, ["keys", "retire", *where])
    assert (retired.exit_code, retired.stdout[:19]) == (0, "The former keys are")


def test_former_key_is_not_destroyed_by_a_release_that_does_not_know_every_table(service: ServiceApp) -> None:
    rotate(service.runtime)
    with service.runtime.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = sorted(service.settings.resolved_keys_dir.iterdir())
    with pytest.raises(Conflict, match="with that release"):
        retire(service.runtime)
    assert sorted(service.settings.resolved_keys_dir.iterdir()) == before


@only_on_sqlite
def test_check_of_the_database_says_what_an_upgrade_would_do(service: ServiceApp, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["db", "check", "--data-dir", str(service.settings.data_dir)])
    assert (done.exit_code, done.output) == (0, "")
    (tmp_path / "empty").mkdir()
    found = CliRunner().invoke(main, ["db", "check", "--data-dir", str(tmp_path / "empty")])
    assert found.exit_code == 1
    assert found.stdout.splitlines()[0].startswith("0001\t")
    assert "db upgrade" in found.stderr


@only_on_sqlite
def test_commands_for_the_database_of_a_newer_release_say_whether_this_one_can_serve(service: ServiceApp) -> None:
    def run(name: str, *options: str) -> Result:
        return CliRunner().invoke(main, ["db", name, "--data-dir", str(service.settings.data_dir), *options])

    def change(statement: str) -> None:
        with service.runtime.database.writing() as session:
            session.connection().exec_driver_sql(statement)

    change("UPDATE alembic_version SET version_num = '9999'")
    for name, printed in (("check", ""), ("current", "9999\n"), ("upgrade", "9999\n")):
        done = run(name)
        assert (done.exit_code, done.stdout) == (0, printed)
        assert "newer release" in done.stderr
    assert json.loads(run("check", "--json").stdout) == {"current": "9999", "pending": []}
    change("DELETE FROM serving_revision")
    for name, printed in (("check", ""), ("current", "9999\n"), ("upgrade", "")):
        refused = run(name)
        assert (refused.exit_code, refused.stdout) == (1, printed)
        assert "Install that release" in refused.stderr
    assert ok(service.http.get("/readyz"), 503)["parts"]["migrations"] == "unwell"
