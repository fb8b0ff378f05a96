"""The service has its checkpoints cosigned by real witnesses, some of them dead, slow, or lying."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from linkage_ledger.checkpoints import verify_checkpoint
from linkage_ledger.cosignatures import CosigningKey, WitnessPolicy, check_policy, cosign
from linkage_ledger.notes import split_note
from linkage_ledger.witness import Witness, add_log, make_witness, open_witness
from linkage_ledger.witness_server import WitnessServer, serving
from linkage_service.audit.collecting import Collector
from linkage_service.audit.collecting import Witness as Asked
from linkage_service.audit.quorum import lack_of_quorum
from linkage_service.audit.rotation import rotate
from linkage_service.audit.verify import verify
from linkage_service.settings import Settings
from support.app_transport import running
from support.databases import on_each_database
from support.service_app import ServiceApp, ok, service_app

pytestmark = on_each_database


@dataclass
class _Body:
    """A body that runs a witness."""

    name: str
    folder: Path
    key: CosigningKey
    server: WitnessServer | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def setting(self) -> dict[str, str]:
        assert self.server is not None
        return {"key": self.key.verifier.format(), "url": self.server.url}

    def start(self, port: int = 0) -> Witness:
        witness = self.stack.enter_context(open_witness(self.folder, now=time.time))
        self.server = self.stack.enter_context(serving(WitnessServer(("127.0.0.1", port), witness)))
        return witness

    def stop(self) -> int:
        assert self.server is not None
        port = int(self.server.server_address[1])
        self.stack.close()
        return port


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[_Body]]:
    found = []
    for name in ("a", "b", "c"):
        folder = tmp_path_factory.mktemp("witnesses") / name
        key = make_witness(folder, name=f"witness.test/{name}", log_keys=[])
        found.append(_Body(name, folder, key))
        found[-1].start()
    yield found
    for body in found:
        body.stack.close()


@pytest.fixture(scope="module")
def service(bodies: list[_Body], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceApp]:
    settings = {"witnesses": [body.setting for body in bodies], "witness_quorum": 2, "witness_answer_s": 5}
    with service_app(tmp_path_factory.mktemp("service"), **settings) as found:
        for body in bodies:
            port = body.stop()
            add_log(body.folder, found.runtime.log.verifier)
            body.start(port)
        # Something to cosign, whichever test comes first.
        ok(found.officer.get("/v1/audit/events"), 200)
        assert found.officer.get("/v1/audit/checkpoint").status_code == 200
        yield found


def collector(service: ServiceApp, *witnesses: Asked, answer_s: float = 5) -> Collector:
    return Collector(database=service.runtime.database, witnesses=list(witnesses), answer_s=answer_s)


def collect(service: ServiceApp, *witnesses: Asked) -> None:
    chosen = witnesses or [Asked(item.verifier, f"{item.url}/") for item in service.settings.witnesses]
    collector(service, *chosen).collect(until=time.monotonic() + 20)


def answer(service: ServiceApp) -> Any:
    return ok(service.officer.get("/v1/audit/witnesses"), 200)


def test_checkpoint_is_cosigned_and_the_quorum_is_said(service: ServiceApp) -> None:
    service.officer.get("/v1/audit/events")
    fresh = service.officer.get("/v1/audit/checkpoint")
    assert fresh.headers["Linkage-Quorum"] == "lacking"
    assert service.officer.get("/v1/audit/checkpoint?witnessed=true").status_code in {200, 404}
    collect(service)
    witnessed = service.officer.get("/v1/audit/checkpoint?witnessed=true")
    assert witnessed.headers["Linkage-Quorum"] == "satisfied"
    checkpoint = verify_checkpoint(witnessed.text, [service.runtime.log.verifier])
    found = check_policy(witnessed.text, service.settings.witness_policy)
    assert (len(found.signed), found.satisfied, found.checkpoint) == (3, True, checkpoint)
    shown = answer(service)
    assert (shown["satisfied"], shown["lacking_since"], shown["quorum"]) == (True, None, 2)
    assert [item["size"] for item in shown["witnesses"]] == [checkpoint.size] * 3
    assert shown["policy"].endswith("group witnesses 2 w1 w2 w3\nquorum witnesses\n")
    # Again: from each witness's last size, with a proof.
    service.officer.get("/v1/audit/events")
    service.officer.get("/v1/audit/checkpoint")
    collect(service)
    assert answer(service)["witnessed_size"] > checkpoint.size
    assert verify(service.runtime.database, [service.runtime.log.verifier]).verified


def test_witness_whose_answer_was_lost_cosigns_again(service: ServiceApp, monkeypatch: pytest.MonkeyPatch) -> None:
    collect(service)
    service.officer.get("/v1/audit/events")
    service.officer.get("/v1/audit/checkpoint")
    with monkeypatch.context() as patch:
        patch.setattr(Collector, "_keep", lambda *_: None)
        collect(service)
    assert answer(service)["satisfied"] is False
    collect(service)
    assert [item["size"] for item in answer(service)["witnesses"]] == [service.size()] * 3


def test_two_of_three_are_enough_and_one_is_a_lack_with_its_beginning(service: ServiceApp) -> None:
    asked = [Asked(item.verifier, f"{item.url}/") for item in service.settings.witnesses]
    service.officer.get("/v1/audit/events")
    before = service.size()
    service.officer.get("/v1/audit/checkpoint")
    collect(service, *asked[:2])
    assert answer(service)["satisfied"] is True
    service.officer.get("/v1/audit/events")
    service.officer.get("/v1/audit/checkpoint")
    collect(service, asked[2])
    with service.runtime.database.reading() as session:
        policy, now = service.settings.witness_policy, service.clock()
        lack = lack_of_quorum(session, policy, now=now)
        assert lack is not None
        assert (lack.witnessed_size, lack.missing) == (before, ("witness.test/a", "witness.test/b"))
        assert lack.since == datetime.fromisoformat(service.events()[before]["time"])
        assert "lacks its quorum" in lack.words
        assert lack_of_quorum(session, policy, now=now, longer_than_s=3600) is None
        assert lack_of_quorum(session, WitnessPolicy(policy.witnesses, 0), now=now) is None
    assert answer(service)["lacking_since"] is not None
    collect(service)
    assert answer(service)["satisfied"] is True


def test_witnesses_follow_the_hand_over_of_the_key(service: ServiceApp) -> None:
    runtime = service.runtime
    rotate(database=runtime.database, log=runtime.log, folder=service.settings.resolved_keys_dir, clock=service.clock)
    collect(service)
    assert answer(service)["satisfied"] is True
    assert verify(runtime.database, [runtime.log.verifier]).verified


@pytest.mark.parametrize("column", ["size", "witness", "line"])
def test_changed_cosignature_is_found(service: ServiceApp, column: str) -> None:
    collect(service)
    changes = {
        "size": "size = size + 1000",
        "witness": "witness = witness || 'A'",
        "line": "line = replace(line, 'w', 'v')",
    }
    with closing(sqlite3.connect(service.database_file)) as connection:
        refused = pytest.raises(sqlite3.IntegrityError, match="cannot be changed")
        with refused:
            connection.execute("UPDATE audit_cosignature SET line = line")
    with closing(sqlite3.connect(":memory:")) as copy, closing(sqlite3.connect(service.database_file)) as connection:
        connection.backup(copy)
        copy.execute("DROP TRIGGER audit_cosignature_no_update")
        copy.execute(
            f"UPDATE audit_cosignature SET {changes[column]} WHERE rowid = (SELECT max(rowid) FROM audit_cosignature)"  # noqa: S608 - from above
        )
        copy.commit()
        path = service.settings.data_dir / f"changed-{column}.db"
        with closing(sqlite3.connect(path)) as kept:
            copy.backup(kept)
    from linkage_service.database import Database

    database = Database(f"sqlite:///{path}")
    try:
        report = verify(database, [service.runtime.log.verifier])
        assert [finding.where for finding in report.findings] == ["cosignatures"]
    finally:
        database.close()


Script = Callable[[BaseHTTPRequestHandler, bytes], None]


@contextmanager
def _liar(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            script(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _says(status: int, body: str, content_type: str = "text/plain") -> Script:
    def script(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.end_headers()
        handler.wfile.write(body.encode())

    return script


KEY = CosigningKey.generate("witness.test/liar")
OTHER = "log.linkage.test\n3\n" + "A" * 43 + "=\n"
LIES: dict[str, Script] = {
    "a cosignature of another checkpoint": _says(200, cosign(OTHER, KEY, time=1)),
    "a cosignature by another": _says(200, cosign(OTHER, CosigningKey.generate("witness.test/x"), time=1)),
    "an empty answer": _says(200, ""),
    "a page": _says(200, "<html>\n"),
    "more than any answer": _says(200, "x" * 200_000),
    "its size over and over": _says(409, "1\n", "text/x.tlog.size"),
    "a size that is none": _says(409, "-1\n", "text/x.tlog.size"),
    "a size above the log's": _says(409, "999999\n", "text/x.tlog.size"),
    "a conflict without a size": _says(409, "no\n"),
    "that it does not trust the key": _says(403, "no\n"),
    "that it is broken": _says(500, "no\n"),
    "a redirection": _says(302, "no\n"),
}


@pytest.mark.parametrize("lie", LIES)
def test_witness_that_says_something_else_is_not_believed(service: ServiceApp, lie: str) -> None:
    service.officer.get("/v1/audit/checkpoint")
    with _liar(LIES[lie]) as url:
        collect(service, Asked(KEY.verifier, url))
    with service.runtime.database.reading() as session:
        kept = session.connection().exec_driver_sql(
            "SELECT count(*) FROM audit_cosignature WHERE witness LIKE '%liar%'"
        )
        assert kept.scalar_one() == 0


def test_dead_and_silent_witnesses_hold_up_neither_others_nor_requests(service: ServiceApp) -> None:
    asked_silent, let_go = threading.Event(), threading.Event()

    def silent(_: BaseHTTPRequestHandler, __: bytes) -> None:
        asked_silent.set()
        let_go.wait(20)

    service.officer.get("/v1/audit/events")
    service.officer.get("/v1/audit/checkpoint")
    good = service.settings.witnesses[0]
    with _liar(silent) as url:
        waiting = collector(
            service, Asked(KEY.verifier, url), Asked(CosigningKey.generate("dead").verifier, "http://127.0.0.1:9/"),
            Asked(good.verifier, f"{good.url}/"), answer_s=20,
        )  # fmt: skip
        stop = threading.Event()
        thread = threading.Thread(target=waiting.collect, kwargs={"until": time.monotonic() + 20, "stop": stop})
        thread.start()
        assert asked_silent.wait(20)
        # The witness has our request and says nothing. Others write, and a second round does not pile up.
        assert service.officer.get("/v1/audit/events").status_code == 200
        waiting.collect(until=time.monotonic())
        stop.set()
        thread.join(timeout=20)
        assert not thread.is_alive()
        let_go.set()


def test_running_service_collects_by_itself_on_demand_and_at_the_end(service: ServiceApp) -> None:
    with running(service.app):
        pass
    with running(service.app):
        service.officer.get("/v1/audit/events")
        note = service.officer.get("/v1/audit/checkpoint").text
        size = int(split_note(note)[0].split("\n")[1])
        until = time.monotonic() + 20
        while (answer(service)["witnessed_size"] or 0) < size:
            assert time.monotonic() < until
        service.officer.get("/v1/audit/events")
        grown = service.size()
    assert answer(service)["witnessed_size"] == grown


GOOD = {"key": KEY.verifier.format(), "url": "https://witness.example.org/x"}


@pytest.mark.parametrize(
    ("witnesses", "quorum"),
    [
        ([GOOD], 2),
        ([GOOD, GOOD], 1),
        ([{**GOOD, "url": "http://witness.example.org"}], 1),
        ([{**GOOD, "url": "ftp://witness.example.org"}], 1),
        ([{**GOOD, "url": "https://user:word@witness.example.org"}], 1),
        ([{**GOOD, "key": "nonsense"}], 1),
        ([{**GOOD, "more": 1}], 1),
    ],
)
def test_settings_that_are_no_policy_are_refused(
    witnesses: list[dict[str, Any]], quorum: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINKAGE_WITNESSES", json.dumps(witnesses))
    monkeypatch.setenv("LINKAGE_WITNESS_QUORUM", str(quorum))
    with pytest.raises(ValidationError):
        Settings()
    monkeypatch.setenv("LINKAGE_WITNESSES", json.dumps([GOOD]))
    monkeypatch.setenv("LINKAGE_WITNESS_QUORUM", "1")
    assert Settings().witness_policy.quorum == 1


@pytest.mark.parametrize(
    ("count", "said", "quorum"), [(1, None, 1), (2, None, 2), (3, None, 2), (3, "0", 0), (0, None, 0)]
)
def test_quorum_that_is_not_said_is_more_than_half(
    count: int, said: str | None, quorum: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [CosigningKey.generate(f"witness.test/{number}").verifier.format() for number in range(count)]
    monkeypatch.setenv("LINKAGE_WITNESSES", json.dumps([{**GOOD, "key": key} for key in named]))
    if said is not None:
        monkeypatch.setenv("LINKAGE_WITNESS_QUORUM", said)
    assert Settings().witness_policy.quorum == quorum
