"""The log's key is handed over while the service runs, and nothing is lost whatever step it is killed at."""

import io
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from linkage_ledger.bundle import verify_bundle
from linkage_ledger.checkpoints import verify_checkpoint
from linkage_ledger.errors import NoteError
from linkage_ledger.handover import open_handover, resolve_keys
from linkage_ledger.notes import SigningKey, VerifierKey, open_note
from linkage_ledger.receipts import Receipt, verify_receipt
from linkage_service import service_keys
from linkage_service.audit import rotation, trust_tables
from linkage_service.audit.exporting import Wish, bundle, plan
from linkage_service.audit.log import KeyRetired, Log
from linkage_service.audit.rotation import rotate
from linkage_service.audit.search import Filters, Scope
from linkage_service.audit.verify import verify
from linkage_service.errors import Conflict
from support.service_app import ServiceApp, ok, problem, service_app


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceApp]:
    with service_app(tmp_path / "service") as found:
        found.runtime.log.checkpoint(found.runtime.database)
        yield found


def started(service: ServiceApp, folder: Path | None = None) -> Log:
    """The log as a process has it that is started now."""
    keys = folder or service.settings.resolved_keys_dir
    return Log(key=service_keys.load(keys).log, keys=partial(service_keys.log_keys, keys))


def handed(service: ServiceApp, folder: Path | None = None) -> str:
    """Hands the key over in another process than the one that serves."""
    keys, database = folder or service.settings.resolved_keys_dir, service.runtime.database
    return rotate(database=database, log=started(service, folder), folder=keys, clock=service.clock).handover


def whole(service: ServiceApp, key: VerifierKey) -> bool:
    report = verify(service.runtime.database, [key])
    assert report.findings == ()
    return report.signed_size == report.size


def test_running_service_goes_on_with_the_new_key_and_both_verify(service: ServiceApp) -> None:
    old = service.runtime.log.verifier
    receipt = service.officer.get("/v1/audit/events/0/receipt")
    first = handed(service)
    assert service.events()[-1]["type"] == "audit.key_rotated"
    handover = open_handover(first)
    shown = ok(service.officer.get("/v1/audit/verifier-key"), 200)
    assert shown == {"origin": old.name, "key": handover.new.format(), "handovers": [first]}
    note = service.officer.get("/v1/audit/checkpoint").text
    keys = resolve_keys([old], shown["handovers"])
    assert verify_checkpoint(note, keys).size == service.size()
    assert open_note(note, [handover.new])
    second = handed(service)
    service.officer.get("/v1/audit/checkpoint")
    for key in (old, handover.new, open_handover(second).new):
        assert whole(service, key)
    with service.runtime.database.reading() as session:
        header = session.connection().exec_driver_sql("SELECT header FROM audit_event WHERE seq = 0").scalar_one()
    keys = resolve_keys([old], [first, second])
    for text in (receipt.text, service.officer.get("/v1/audit/events/0/receipt").text):
        assert verify_receipt(Receipt.parse(text), header, verifier_keys=keys).size >= 1
    folder = service.settings.resolved_keys_dir
    assert sorted(path.name for path in folder.iterdir()) == ["log.key", "rotation.lock", "storage.key", "token.jwk"]
    assert folder.joinpath("log.key").stat().st_mode & 0o077 == 0


def test_process_that_holds_only_the_old_key_signs_nothing(service: ServiceApp, tmp_path: Path) -> None:
    copied = tmp_path / "keys of another machine"
    shutil.copytree(service.settings.resolved_keys_dir, copied)
    handed(service)
    service.officer.get("/v1/audit/events")
    elsewhere, database = started(service, copied), service.runtime.database
    with pytest.raises(KeyRetired, match=r"Copy log\.key"):
        elsewhere.checkpoint(database)
    with database.writing() as session, pytest.raises(KeyRetired):
        elsewhere.sign_text(session, "a certificate\n")
    with pytest.raises(KeyRetired):
        handed(service, copied)
    shutil.copy(service.settings.resolved_keys_dir / "log.key", copied)
    assert elsewhere.checkpoint(database)


def test_service_whose_key_was_swapped_records_but_signs_nothing(service: ServiceApp) -> None:
    folder = service.settings.resolved_keys_dir
    (folder / "log.key").unlink()
    service_keys.create(folder, log_origin=service.runtime.log.verifier.name)
    # The running process, as if it were started anew.
    service.runtime.log._key = service_keys.load(folder).log
    before = service.size()
    assert service.officer.get("/v1/audit/events").status_code == 200
    document = problem(service.officer.get("/v1/audit/checkpoint"), 503, "log_key_retired")
    assert "restore the newest keys folder" in document["detail"]
    assert service.size() > before


class _Killed(BaseException):
    """The power is gone."""


def _dying(genuine: Any, moment: str) -> Any:
    def step(*arguments: Any, **options: Any) -> Any:
        if moment == "after":
            genuine(*arguments, **options)
        raise _Killed

    return step


STEPS = [
    (service_keys, "keep_next_log_key"),
    (rotation, "sign_handover"),
    (rotation, "entry"),
    (rotation, "_hand_over"),
    (service_keys, "promote_next_log_key"),
]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceApp]:
    """One service for all the times that it is killed: each leaves it as good as new, or the next would fail."""
    with service_app(tmp_path_factory.mktemp("lasting")) as found:
        found.runtime.log.checkpoint(found.runtime.database)
        yield found


@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_rotation_killed_at_any_step_loses_neither_key_nor_log(
    lasting: ServiceApp, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, moment: str
) -> None:
    service, before = lasting, _handed_over(lasting)
    with service.runtime.database.reading() as session:
        old = service.runtime.log.verifier_in(session)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, _dying(getattr(module, name), moment))
        with pytest.raises(_Killed):
            handed(service)
    committed = (name, moment) == ("_hand_over", "after") or name == "promote_next_log_key"
    assert _handed_over(service) == before + int(committed)
    # The service that was running, and one that is started now, both sign, and for one history.
    service.officer.get("/v1/audit/events")
    service.officer.get("/v1/audit/checkpoint")
    service.officer.get("/v1/audit/events")
    started(service).checkpoint(service.runtime.database)
    assert whole(service, old)
    # Run again: it finishes what was begun, or does it anew.
    handed(service)
    service.officer.get("/v1/audit/checkpoint")
    assert _handed_over(service) == before + 1 + int((name, moment) == ("promote_next_log_key", "after"))
    assert whole(service, old)
    assert not (service.settings.resolved_keys_dir / "log.key.next").exists()


def test_bundle_that_was_decided_on_before_a_hand_over_is_whole(service: ServiceApp) -> None:
    log, database = service.runtime.log, service.runtime.database
    old, checkpoint = log.verifier, log.checkpoint(database)
    with database.reading() as session:
        made = plan(session, log, Wish(format="bundle", filters=Filters()), Scope(), checkpoint=checkpoint)
    service.officer.get("/v1/audit/events")
    handed(service)
    with bundle(database, log, made, sees_body=lambda _: True, now=service.clock()) as file:
        for keys in ([old], []):
            file.seek(0)
            assert verify_bundle(io.BytesIO(file.read()), verifier_keys=keys).findings == ()


def _handed_over(service: ServiceApp) -> int:
    with service.runtime.database.reading() as session:
        return len(trust_tables.handovers(session))


def test_keys_that_are_renamed_while_they_are_read_are_both_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service_keys.create(tmp_path, log_origin="log.test")
    new = SigningKey.generate("log.test")
    service_keys.keep_next_log_key(tmp_path, new)
    read = service_keys._log_key

    def then_renamed(path: Path) -> SigningKey | None:
        found = read(path)
        if (tmp_path / "log.key.next").exists():
            service_keys.promote_next_log_key(tmp_path)
        return found

    monkeypatch.setattr(service_keys, "_log_key", then_renamed)
    assert new.verifier in [key.verifier for key in service_keys.log_keys(tmp_path)]


def test_two_rotations_at_once_are_kept_apart(service: ServiceApp) -> None:
    with service_keys.rotating(service.settings.resolved_keys_dir), pytest.raises(Conflict, match="Another process"):
        handed(service)


@pytest.mark.parametrize("column", ["size", "note"])
def test_changed_or_missing_hand_over_is_found(service: ServiceApp, column: str) -> None:
    handed(service)
    key = service.runtime.log.verifier
    with closing(sqlite3.connect(service.database_file)) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="cannot be changed"):
            connection.execute("UPDATE audit_handover SET note = note")
        with pytest.raises(sqlite3.IntegrityError, match="cannot be changed"):
            connection.execute("DELETE FROM audit_handover")
        for name in ("update", "delete"):
            connection.execute(f"DROP TRIGGER audit_handover_no_{name}")
        change = "size = size + 1" if column == "size" else "note = replace(note, '=', '+')"
        connection.execute(f"UPDATE audit_handover SET {change}")  # noqa: S608 - from above
        connection.commit()
        assert not verify(service.runtime.database, [key]).verified
        connection.execute("DELETE FROM audit_handover")
        connection.commit()
        assert not verify(service.runtime.database, [key]).verified
    with pytest.raises(NoteError):
        resolve_keys([key], ["nothing"])
