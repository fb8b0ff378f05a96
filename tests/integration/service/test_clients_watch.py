"""The SDK before services that were restored, forked, put under another key, or handed over: what it notices."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from linkage_client._authentication import Clock, Credentials
from linkage_client._protocol import Limits
from linkage_client._transport import Transport
from linkage_client.client import LinkageClient
from linkage_client.errors import LedgerAlarmError, TryAgainLaterError
from linkage_client.keys import SigningKey
from linkage_client.watching import SeenLog, read_memory
from linkage_ledger.notes import SigningKey as LogKey
from linkage_service import service_keys
from linkage_service.app import create_app
from linkage_service.audit.log import Log
from linkage_service.audit.rotation import rotate
from linkage_service.runtime import Runtime, build
from support.service_app import ISSUER, ServiceApp, client_of, service_app


class Restored:
    """A service of its own on a copy of another one's folder."""

    def __init__(self, origin: ServiceApp, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(origin.settings.data_dir, folder)
        self.origin = origin
        self.start()

    def start(self) -> None:
        settings = self.origin.settings.model_copy(update={"data_dir": self.folder})
        self.runtime: Runtime = build(settings, clock=self.origin.clock)
        self.http = client_of(create_app(self.runtime))

    def stop(self) -> None:
        self.http.close()
        self.runtime.close()


def _seconds(service: ServiceApp) -> float:
    return service.clock.now.timestamp()


class Officer:
    """The officer's SDK with its memory, before whichever service is asked."""

    def __init__(self, service: ServiceApp, ledgers: Path) -> None:
        self.ledgers = ledgers
        private = service.officer.key.private
        assert isinstance(private, Ed25519PrivateKey)
        self._credentials = Credentials(client_id=service.officer.client, client_key=SigningKey(private))
        self._clock = Clock(now=partial(_seconds, service), monotonic=lambda: 0.0, sleep=lambda _: None)

    def session(
        self,
        service: "ServiceApp | Restored",
        *,
        changes: int = 1,
        meanwhile: dict[str, Callable[[], None]] | None = None,
    ) -> SeenLog:
        """A session; what is remembered after it. `meanwhile` happens once, before a path is answered."""
        happening = dict(meanwhile or {})

        def handle(request: httpx.Request) -> httpx.Response:
            happening.pop(request.url.path, lambda: None)()
            answer = service.http.request(
                request.method, str(request.url), content=request.read(), headers=dict(request.headers)
            )
            return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)

        transport = Transport(
            ISSUER,
            credentials=self._credentials,
            limits=Limits(attempts=1),
            clock=self._clock,
            http_transport=httpx.MockTransport(handle),
            ledgers_folder=self.ledgers,
        )
        with LinkageClient(service_url=ISSUER, transport=transport) as client:
            client.me()
            for _ in range(changes):
                client.audit.event(seq=0)
        (seen,) = read_memory(self.ledgers).logs.values()
        return seen

    def alarm(self, service: "ServiceApp | Restored") -> str:
        with pytest.raises(LedgerAlarmError) as raised:
            self.session(service)
        assert {path.name for path in raised.value.folder.iterdir()} >= {"known-checkpoint.txt", "shown-checkpoint.txt"}
        return raised.value.code


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceApp]:
    with service_app(tmp_path_factory.mktemp("service")) as found:
        found.runtime.log.checkpoint(found.runtime.database)
        yield found


@pytest.fixture
def officer(service: ServiceApp, tmp_path: Path) -> Officer:
    return Officer(service, tmp_path / "ledgers")


@pytest.fixture
def twin(service: ServiceApp, officer: Officer, tmp_path: Path) -> Iterator[Restored]:
    """A service restored from a backup that the officer's client has seen."""
    officer.session(service)
    found = Restored(service, tmp_path / "twin")
    yield found
    found.stop()


def test_two_services_from_one_backup_are_caught_as_a_fork(
    service: ServiceApp, twin: Restored, officer: Officer, tmp_path: Path
) -> None:
    officer.session(service, changes=5)
    stranger = Officer(service, tmp_path / "another's")
    while (
        stranger.session(twin, changes=4).state.size <= read_memory(officer.ledgers).logs["log.linkage.test"].state.size
    ):
        pass
    assert officer.alarm(twin) == "ledger_forked"
    # The other way round as well: who saw the twin does not believe the first any more.
    assert stranger.alarm(service) in {"ledger_forked", "ledger_rolled_back"}
    assert officer.session(service).promises


def test_restored_older_backup_is_caught_as_a_roll_back(service: ServiceApp, twin: Restored, officer: Officer) -> None:
    officer.session(service, changes=9)
    officer.session(service)
    assert officer.alarm(twin) == "ledger_rolled_back"


def test_key_that_was_swapped_is_caught_and_a_service_of_ours_signs_nothing_with_it(
    twin: Restored, officer: Officer
) -> None:
    key = twin.folder / "keys" / "log.key"
    twin.stop()
    key.write_text(LogKey.generate(LogKey.parse(key.read_text("utf-8").strip()).name).format(), "utf-8")
    twin.start()
    with pytest.raises(TryAgainLaterError, match=r"log\.key"):
        officer.session(twin)
    # An operator who takes away what the old key signed can sign, and is caught.
    with closing(sqlite3.connect(twin.folder / "linkage.db")) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for table in ("audit_checkpoint", "audit_handover"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - from above
        connection.commit()
    assert officer.alarm(twin) == "ledger_key_changed"


def _rotate(service: ServiceApp) -> None:
    keys = service.settings.resolved_keys_dir
    other = Log(key=service_keys.load(keys).log, keys=partial(service_keys.log_keys, keys))
    rotate(database=service.runtime.database, log=other, folder=keys, clock=service.clock)


def test_hand_over_while_a_client_looks_is_followed(service: ServiceApp, officer: Officer) -> None:
    before = officer.session(service)
    after = officer.session(service, meanwhile={"/v1/audit/checkpoint": partial(_rotate, service)})
    assert len(after.handovers) == len(before.handovers) + 1


def test_hand_over_is_followed_and_the_old_key_is_out_of_office(
    service: ServiceApp, twin: Restored, officer: Officer
) -> None:
    before = officer.session(service)
    _rotate(service)
    after = officer.session(service)
    assert len(after.handovers) == len(before.handovers) + 1
    assert after.state.size > before.state.size
    assert officer.alarm(twin) == "ledger_key_changed"


def test_every_answer_to_a_change_names_a_leaf_that_is_in_the_log(service: ServiceApp) -> None:
    for answer in (
        service.officer.get("/v1/audit/events"),
        service.administrator.post("/v1/organisations", {"name": "Leaf"}, headers={"Idempotency-Key": "leaf"}),
    ):
        seq, leaf = int(answer.headers["Linkage-Event"]), answer.headers["Linkage-Event-Leaf"]
        with service.runtime.database.reading() as session:
            stored: Any = (
                session.connection()
                .exec_driver_sql("SELECT leaf_hash FROM audit_event WHERE seq = ?", (seq,))
                .scalar_one()
            )
        assert stored.hex() == leaf
    assert service.officer.get("/v1/audit/inclusion?seq=5&size=5").status_code == 404
    assert service.officer.get("/v1/audit/inclusion?seq=0&size=100000").status_code == 404
