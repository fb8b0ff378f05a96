"""Every client holds a service to the ledger that it saw: what it notices, and what it does not mind."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from linkage_client._authentication import Credentials
from linkage_client._protocol import Limits
from linkage_client._transport import Transport
from linkage_client.client import LinkageClient
from linkage_client.errors import ConfigurationError, LedgerAlarmError, PolicyRefusalError, UnexpectedAnswerError
from linkage_client.keys import SigningKey
from linkage_client.watching import STATE_FILE, forget, read_memory
from linkage_ledger import merkle
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint
from linkage_ledger.handover import sign_handover
from linkage_ledger.memory import MemoryLog
from linkage_ledger.notes import SigningKey as LogKey
from linkage_ledger.notes import to_base64
from support.command import Linkage
from support.fake_service import Asked, FakeService, Reply, me, problem
from support.ledger_logs import make_header

ORIGIN = "log.test"
CLIENT_KEY = SigningKey.generate()


def shown_key(key: LogKey, handovers: list[str]) -> dict[str, Any]:
    return {"origin": key.name, "key": key.verifier.format(), "handovers": handovers}


@dataclass
class Ledger:
    """A service with a real log behind it; what it shows of it is up to the test."""

    key: LogKey = field(default_factory=lambda: LogKey.generate(ORIGIN))
    log: MemoryLog = field(default_factory=MemoryLog)
    handovers: list[str] = field(default_factory=list)
    shown: int | None = None
    salt: int = 0

    def __post_init__(self) -> None:
        self.service = FakeService()
        for name, answer in (
            ("verifier-key", self._key), ("checkpoint", self._checkpoint), ("consistency", self._consistency),
            ("inclusion", self._inclusion),
        ):  # fmt: skip
            self.service.on("GET", f"/v1/audit/{name}", answer)
        self.service.on("GET", "/v1/me", me())
        self.service.on("POST", "/v1/organisations", lambda _: self.acknowledged(Reply(content=None, status=201)))
        self.grow(3)

    def grow(self, count: int) -> None:
        for _ in range(count):
            self.log.append(make_header(self.log.head().size + 1000 * self.salt))

    def acknowledged(self, reply: Reply, *, kept: bool = True) -> Reply:
        """An answer to a change, whose event is in the log, or is not."""
        seq = self.log.head().size
        leaf = bytes(32)
        if kept:
            self.grow(1)
            leaf = self.log.event_rows[seq].leaf_hash
        return Reply(reply.status, reply.content, {"Linkage-Event": str(seq), "Linkage-Event-Leaf": leaf.hex()})

    def copy(self, size: int) -> "Ledger":
        """The same log restored from a backup."""
        other = Ledger(key=self.key, handovers=list(self.handovers))
        other.log = MemoryLog()
        other.grow(size)
        return other

    def hand_over(self) -> None:
        head, new = self.log.head(), LogKey.generate(ORIGIN)
        self.handovers.append(sign_handover(size=head.size, root=head.root, old=self.key, new=new))
        self.key = new
        self.grow(1)

    def _key(self, _: Asked) -> Reply:
        return Reply(content=shown_key(self.key, self.handovers))

    def _checkpoint(self, _: Asked) -> Reply:
        size = self.log.head().size if self.shown is None else self.shown
        note = sign_checkpoint(Checkpoint(self.key.name, size, merkle.root(self.log.tree, size)), self.key)
        return Reply(text=note.encode())

    def _consistency(self, asked: Asked) -> Reply:
        first, second = int(asked.query["first"]), int(asked.query["second"])
        if second > self.log.head().size:
            return problem(404, "not_found")
        return Reply(content={"proof": list(map(to_base64, merkle.consistency_proof(self.log.tree, first, second)))})

    def _inclusion(self, asked: Asked) -> Reply:
        seq, size = int(asked.query["seq"]), int(asked.query["size"])
        return Reply(content={"proof": list(map(to_base64, merkle.inclusion_proof(self.log.tree, seq, size)))})


@contextmanager
def session(
    ledger: Ledger, folder: Path, *, url: str = "https://service.example", log_key: str | None = None
) -> Iterator[LinkageClient]:
    transport = Transport(
        url,
        credentials=Credentials(client_id="cli_1", client_key=CLIENT_KEY),
        limits=Limits(attempts=2),
        http_transport=ledger.service.transport(),
        ledgers_folder=folder,
        log_key=log_key,
    )
    with LinkageClient(service_url=url, transport=transport) as client:
        yield client


def looked(ledger: Ledger, folder: Path, **options: Any) -> None:
    with session(ledger, folder, **options) as client:
        client.me()


def alarm(ledger: Ledger, folder: Path, kind: str, **options: Any) -> LedgerAlarmError:
    """The alarm that a session raises; nothing else was asked of the service."""
    before = len(ledger.service.asked)
    with pytest.raises(LedgerAlarmError) as raised:
        looked(ledger, folder, **options)
    assert raised.value.code == f"ledger_{kind}"
    assert "/v1/me" not in [asked.path for asked in ledger.service.asked[before:]]
    assert "Nothing was asked of the service" in str(raised.value)
    return raised.value


def seen(folder: Path) -> int:
    return read_memory(folder).logs[ORIGIN].state.size


def test_growing_log_is_looked_at_once_a_session_and_remembered(tmp_path: Path) -> None:
    ledger = Ledger()
    with session(ledger, tmp_path) as client:
        for _ in range(3):
            client.me()
    assert ledger.service.paths("GET").count("/v1/audit/checkpoint") == 1
    assert ledger.service.paths("GET").index("/v1/audit/checkpoint") < ledger.service.paths("GET").index("/v1/me")
    for grown in (0, 1, 5):
        ledger.grow(grown)
        looked(ledger, tmp_path)
        assert seen(tmp_path) == ledger.log.head().size
    assert (tmp_path / STATE_FILE).stat().st_mode & 0o077 == 0
    assert tmp_path.joinpath("lock").stat().st_mode & 0o077 == 0


def test_threads_wait_for_one_look(tmp_path: Path) -> None:
    ledger = Ledger()
    with session(ledger, tmp_path) as client:
        threads = [threading.Thread(target=client.me) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ledger.service.paths("GET").count("/v1/audit/checkpoint") == 1


def test_two_services_from_one_backup_are_a_fork(tmp_path: Path) -> None:
    ledger = Ledger()
    looked(ledger, tmp_path)
    other = ledger.copy(3)
    other.salt = 1
    for service in (ledger, other):
        service.grow(2)
    looked(ledger, tmp_path)
    found = alarm(other, tmp_path, "forked", url="https://other.example")
    other.grow(4)
    alarm(other, tmp_path, "forked")
    files = {path.name: path.read_text("utf-8") for path in found.folder.iterdir()}
    assert set(files) == {"what.txt", "keys.json", "known-checkpoint.txt", "shown-checkpoint.txt"}
    assert files["known-checkpoint.txt"] == read_memory(tmp_path).logs[ORIGIN].checkpoint
    assert files["shown-checkpoint.txt"] != files["known-checkpoint.txt"]
    # It does not go away by itself, and the right service still is the right one.
    looked(ledger, tmp_path)


def test_log_that_shrank_is_a_roll_back(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.grow(5)
    looked(ledger, tmp_path)
    found = alarm(ledger.copy(6), tmp_path, "rolled_back")
    assert "You have seen 8 events, and now it shows 6" in str(found)
    restored = ledger.copy(6)
    restored.salt = 1
    restored.grow(4)
    alarm(restored, tmp_path, "forked")


def test_swapped_key_is_an_alarm_and_a_hand_over_is_not(tmp_path: Path) -> None:
    ledger = Ledger()
    looked(ledger, tmp_path)
    ledger.hand_over()
    looked(ledger, tmp_path)
    ledger.hand_over()
    ledger.grow(2)
    ledger.hand_over()
    looked(ledger, tmp_path)
    assert len(read_memory(tmp_path).logs[ORIGIN].handovers) == 3
    genuine, key = ledger.handovers, ledger.key
    ledger.handovers = genuine[:2]
    alarm(ledger, tmp_path, "key_changed")
    ledger.handovers, ledger.key = genuine, LogKey.generate(ORIGIN)
    alarm(ledger, tmp_path, "key_changed")
    ledger.key = key
    looked(ledger, tmp_path)


def test_hand_over_of_another_history_is_a_fork(tmp_path: Path) -> None:
    ledger = Ledger()
    looked(ledger, tmp_path)
    new = LogKey.generate(ORIGIN)
    ledger.grow(2)
    ledger.handovers.append(sign_handover(size=4, root=bytes(32), old=ledger.key, new=new))
    ledger.key = new
    alarm(ledger, tmp_path, "forked")


def test_old_key_that_signs_after_the_hand_over_is_an_alarm(tmp_path: Path) -> None:
    ledger = Ledger()
    looked(ledger, tmp_path)
    old = ledger.key
    ledger.hand_over()
    new, ledger.key = ledger.key, old
    ledger.service.on("GET", "/v1/audit/verifier-key", shown_key(new, ledger.handovers))
    alarm(ledger, tmp_path, "key_changed")


@pytest.mark.parametrize("pinned", [True, False])
def test_old_key_that_signs_a_log_shorter_than_its_hand_over_is_an_alarm(tmp_path: Path, *, pinned: bool) -> None:
    genuine = Ledger()
    old = genuine.key
    genuine.hand_over()
    forged = Ledger(key=old, handovers=genuine.handovers, salt=1)
    forged.service.on("GET", "/v1/audit/verifier-key", shown_key(genuine.key, genuine.handovers))
    options = {"log_key": genuine.key.verifier.format()} if pinned else {}
    for size in (2, 3):
        forged.shown = size
        alarm(forged, tmp_path, "stale", **options)
    forged.shown = None
    looked(genuine, tmp_path, **options)


def test_log_that_contradicts_the_hand_over_of_its_key_is_a_fork_the_first_time_too(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.hand_over()
    other = Ledger(key=ledger.key, handovers=ledger.handovers)
    other.log, other.salt = MemoryLog(), 1
    other.grow(6)
    alarm(other, tmp_path, "forked", log_key=ledger.key.verifier.format())


def test_hand_over_between_two_answers_is_no_alarm(tmp_path: Path) -> None:
    ledger = Ledger()
    genuine: Callable[[Asked], Reply] = ledger.service.routes["GET", "/v1/audit/verifier-key"]
    for times in (1, 2):
        coming = [ledger.hand_over]

        def late(asked: Asked, coming: list[Callable[[], None]] = coming) -> Reply:
            reply = genuine(asked)
            if coming:
                coming.pop()()
            return reply

        ledger.service.on("GET", "/v1/audit/verifier-key", late)
        looked(ledger, tmp_path)
        assert len(read_memory(tmp_path).logs[ORIGIN].handovers) == times
    assert not tmp_path.joinpath("alarms").exists()


def test_pinned_key_is_believed_and_no_other(tmp_path: Path) -> None:
    ledger = Ledger()
    pinned = ledger.key.verifier.format()
    found = str(alarm(Ledger(), tmp_path, "key_changed", log_key=pinned))
    assert "not the log_key of your profile" in found
    assert "before" not in found
    assert "--forget" not in found
    looked(ledger, tmp_path, log_key=pinned)
    ledger.hand_over()
    looked(ledger, tmp_path, log_key=pinned)
    with pytest.raises(ConfigurationError, match="is none"):
        looked(ledger, tmp_path, log_key="nonsense")


def test_pinned_key_of_another_log_than_the_one_that_was_seen_is_an_alarm(tmp_path: Path) -> None:
    looked(Ledger(), tmp_path)
    ledger = Ledger()
    found = alarm(ledger, tmp_path, "key_changed", log_key=ledger.key.verifier.format())
    assert "is another than before" in str(found)
    assert "You never saw" not in str(found)


def test_service_that_shows_the_name_of_another_ones_log_first_is_named(tmp_path: Path) -> None:
    looked(Ledger(), tmp_path, url="https://mallory.example")
    assert "was shown by https://mallory.example." in str(alarm(Ledger(), tmp_path, "key_changed"))


def test_address_that_shows_another_log_is_an_alarm_but_not_on_this_machine(tmp_path: Path) -> None:
    other = Ledger(key=LogKey.generate("other.test"))
    for here in (Ledger(), other):
        looked(here, tmp_path, url="http://127.0.0.1:1")
    looked(Ledger(key=LogKey.generate("first.test")), tmp_path)
    found = alarm(other, tmp_path, "other_log")
    assert "had the ledger first.test, and now shows another, other.test" in str(found)
    assert "`linkage audit witness --forget first.test`" in str(found)


def test_acknowledged_change_has_to_be_in_the_next_state(tmp_path: Path) -> None:
    ledger = Ledger()
    with session(ledger, tmp_path) as client, pytest.raises(UnexpectedAnswerError):
        client.organisations.create(name="Council")
    assert [promise.seq for promise in read_memory(tmp_path).logs[ORIGIN].promises] == [3]
    # The state that was seen before is shown again: no roll-back, but not the present either.
    ledger.shown = 3
    alarm(ledger, tmp_path, "stale")
    ledger.shown = None
    looked(ledger, tmp_path)
    assert ledger.service.paths("GET").count("/v1/audit/inclusion") == 1
    assert read_memory(tmp_path).logs[ORIGIN].promises == ()


def test_acknowledged_change_that_was_replaced_is_a_broken_promise(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.service.on("GET", "/v1/me", lambda _: ledger.acknowledged(Reply(content=me()), kept=False))
    looked(ledger, tmp_path)
    ledger.grow(2)
    alarm(ledger, tmp_path, "broken_promise")


def test_log_in_is_a_promise_of_the_same_session(tmp_path: Path) -> None:
    ledger = Ledger()
    issue = ledger.service.routes["POST", "/v1/oauth/token"]
    ledger.service.on("POST", "/v1/oauth/token", lambda asked: ledger.acknowledged(issue(asked)))
    looked(ledger, tmp_path)
    looked(ledger, tmp_path)
    assert ledger.service.paths("GET").count("/v1/audit/inclusion") == 2
    ledger.shown = ledger.log.head().size
    alarm(ledger, tmp_path, "stale")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "services": {}, "logs": {"a": {}}}']
)
def test_damaged_memory_is_no_beginning(tmp_path: Path, content: str) -> None:
    (tmp_path / STATE_FILE).write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match="damaged"):
        looked(Ledger(), tmp_path)


def test_memory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(ConfigurationError, match="XDG_STATE_HOME"):
        looked(Ledger(), tmp_path / "file" / "folder")


def test_acknowledged_change_reaches_the_caller_and_the_next_request_waits_for_the_memory(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.service.on("GET", "/v1/me", lambda _: ledger.acknowledged(Reply(content=me())))
    lock = tmp_path / "lock"
    with session(ledger, tmp_path) as client:
        client.me()
        lock.unlink()
        lock.mkdir()
        client.me()
        asked = len(ledger.service.asked)
        with pytest.raises(ConfigurationError, match="cannot be written"):
            client.me()
        assert len(ledger.service.asked) == asked
        lock.rmdir()
        client.me()
    assert [promise.seq for promise in read_memory(tmp_path).logs[ORIGIN].promises] == [3, 4, 5]


def test_number_of_an_event_that_no_log_reaches_is_none(tmp_path: Path) -> None:
    ledger = Ledger()
    headers = {"Linkage-Event": "9" * 5000, "Linkage-Event-Leaf": "ab" * 32}
    ledger.service.on("GET", "/v1/me", Reply(content=me(), headers=headers))
    looked(ledger, tmp_path)
    assert read_memory(tmp_path).logs[ORIGIN].promises == ()


REFUSALS: list[tuple[Reply, type[Exception]]] = [
    (problem(403), PolicyRefusalError),
    (Reply(content=[]), UnexpectedAnswerError),
    (Reply(content={"origin": 1, "key": 2, "handovers": []}), UnexpectedAnswerError),
]


@pytest.mark.parametrize(("reply", "error"), REFUSALS)
def test_service_that_does_not_show_its_ledger_is_asked_nothing_else(
    tmp_path: Path, reply: Reply, error: type[Exception]
) -> None:
    ledger = Ledger()
    ledger.service.on("GET", "/v1/audit/verifier-key", reply)
    with pytest.raises(error):
        looked(ledger, tmp_path)
    assert "/v1/me" not in ledger.service.paths("GET")


def test_two_sessions_at_once_never_lose_the_newer_state(tmp_path: Path) -> None:
    """While one session looks, another one notes a newer state: the first looks again."""
    ledger = Ledger()
    looked(ledger, tmp_path)
    genuine: Callable[[Asked], Reply] = ledger.service.routes["GET", "/v1/audit/checkpoint"]
    meanwhile = [lambda: looked(ledger, tmp_path)]

    def late(asked: Asked) -> Reply:
        reply = genuine(asked)
        if meanwhile:
            ledger.grow(2)
            meanwhile.pop()()
        return reply

    ledger.service.on("GET", "/v1/audit/checkpoint", late)
    looked(ledger, tmp_path)
    assert seen(tmp_path) == 5


def test_session_that_is_overtaken_again_and_again_looks_once_and_loses_no_promise(tmp_path: Path) -> None:
    """Each time that it is to note what it saw, another session noted more, or was promised more."""
    ledger = Ledger()
    looked(ledger, tmp_path)
    genuine: Callable[[Asked], Reply] = ledger.service.routes["GET", "/v1/audit/checkpoint"]
    prove: Callable[[Asked], Reply] = ledger.service.routes["GET", "/v1/audit/consistency"]
    within: list[bool] = []

    def overtaken(answer: Callable[[Asked], Reply], asked: Asked) -> Reply:
        reply = answer(asked)
        if not within and seen(tmp_path) < 40:
            within.append(True)
            with session(ledger, tmp_path) as other, pytest.raises(UnexpectedAnswerError):
                other.organisations.create(name="Council")
            within.clear()
        return reply

    ledger.service.on("GET", "/v1/audit/checkpoint", lambda asked: overtaken(genuine, asked))
    ledger.service.on("GET", "/v1/audit/consistency", lambda asked: overtaken(prove, asked))
    ledger.grow(30)
    looked(ledger, tmp_path)
    remembered = read_memory(tmp_path).logs[ORIGIN]
    others = ledger.service.paths("POST").count("/v1/organisations")
    assert ledger.service.paths("GET").count("/v1/audit/checkpoint") == others + 2
    assert remembered.state.size == 40
    assert [promise.seq for promise in remembered.promises] == [40]


def test_promise_to_another_session_meanwhile_is_not_lost(tmp_path: Path) -> None:
    ledger = Ledger()
    looked(ledger, tmp_path)
    genuine: Callable[[Asked], Reply] = ledger.service.routes["GET", "/v1/audit/checkpoint"]
    with session(ledger, tmp_path) as other:
        other.me()

        def late(asked: Asked) -> Reply:
            reply = genuine(asked)
            with pytest.raises(UnexpectedAnswerError):
                other.organisations.create(name="Council")
            return reply

        ledger.service.on("GET", "/v1/audit/checkpoint", late)
        before = ledger.service.paths("GET").count("/v1/audit/checkpoint")
        looked(ledger, tmp_path)
    assert ledger.service.paths("GET").count("/v1/audit/checkpoint") == before + 1
    assert [promise.seq for promise in read_memory(tmp_path).logs[ORIGIN].promises] == [3]


def test_two_histories_shown_to_two_sessions_at_once_are_a_fork(tmp_path: Path) -> None:
    ledger = Ledger()
    looked(ledger, tmp_path)
    other = ledger.copy(3)
    other.salt = 1
    for service in (ledger, other):
        service.grow(2)
    genuine: Callable[[Asked], Reply] = ledger.service.routes["GET", "/v1/audit/checkpoint"]

    def late(asked: Asked) -> Reply:
        looked(other, tmp_path)
        return genuine(asked)

    ledger.service.on("GET", "/v1/audit/checkpoint", late)
    alarm(ledger, tmp_path, "forked")


def test_forgetting_begins_anew(tmp_path: Path) -> None:
    looked(Ledger(), tmp_path)
    other = Ledger()
    alarm(other, tmp_path, "key_changed")
    assert forget(tmp_path, ORIGIN)
    assert not forget(tmp_path, ORIGIN)
    looked(other, tmp_path)


def test_command_shows_what_was_seen_and_forgets_only_when_sure(
    service: FakeService, registered: Path, linkage: Linkage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registered.exists()
    service.on("GET", "/v1/me", me())
    assert linkage("audit", "witness").out.strip() == "No ledger was seen yet."
    assert linkage("whoami").code == 0
    shown = json.loads(linkage("audit", "witness", "--json").out)
    origin = service.ledger.key.name
    assert [(log["log"], log["size"]) for log in shown["logs"]] == [(origin, 1)]
    service.ledger.key = LogKey.generate(origin)
    # What does not fit is asked for once more.
    service.on("GET", "/v1/audit/verifier-key", shown_key(service.ledger.key, []))
    service.on("GET", "/v1/audit/checkpoint", Reply(text=service.ledger.log.checkpoint(service.ledger.key).encode()))
    alarmed = linkage("whoami", "--json")
    assert (alarmed.code, json.loads(alarmed.out)["code"]) == (15, "ledger_key_changed")
    assert json.loads(linkage("audit", "witness", "--json").out)["alarms"]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert linkage("audit", "witness", "--forget", origin).code == 130
    assert linkage("audit", "witness", "--forget", "other.test", "--yes").code == 3
    assert linkage("audit", "witness", "--forget", origin, "--yes").code == 0
    assert linkage("whoami").code == 0
