"""The standalone witness: its judgement, its memory, and its server, without a log that means well."""

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from linkage_ledger import merkle
from linkage_ledger import witness as module
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint
from linkage_ledger.cosignatures import answered_cosignatures
from linkage_ledger.errors import WitnessError
from linkage_ledger.handover import sign_handover
from linkage_ledger.memory import MemoryLog
from linkage_ledger.notes import SignatureLine, SigningKey, to_base64
from linkage_ledger.witness import Answer, Witness, add_log, make_witness, open_witness
from linkage_ledger.witness_server import MAX_CONNECTIONS, WitnessServer, serving
from support.ledger_logs import make_header

ORIGIN = "log.test"
KEY, NEW = SigningKey.generate(ORIGIN), SigningKey.generate(ORIGIN)
SIZES = (0, 1, 3, 4, 6)


def _log(salt: int = 0) -> MemoryLog:
    log = MemoryLog()
    for number in range(12):
        log.append(make_header(number + 1000 * salt))
    return log


LOG, FORK = _log(), _log(1)


def note_of(log: MemoryLog, size: int, key: SigningKey = KEY) -> str:
    return sign_checkpoint(Checkpoint(key.name, size, merkle.root(log.tree, size)), key)


def request(old: int, new: int, *, log: MemoryLog = LOG, key: SigningKey = KEY) -> bytes:
    proof = merkle.consistency_proof(log.tree, min(old, new), new)
    return body(old, proof, note_of(log, new, key))


def body(old: int | str, proof: Sequence[bytes], note: str) -> bytes:
    return "\n".join([f"old {old}", *map(to_base64, proof), "", note]).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_witness(tmp_path / "witness", name="witness.test/w1", log_keys=[KEY.verifier])
    return tmp_path / "witness"


@pytest.fixture
def opened(folder: Path) -> Iterator[Witness]:
    with open_witness(folder, now=count(1_000).__next__) as found:
        yield found


def times(answer: Answer, witness: Witness, note: str) -> list[int]:
    assert answer.status == 200, answer
    return [item.time for item in answered_cosignatures(note, answer.text, [witness.key.verifier])]


def test_witness_cosigns_what_continues_and_says_its_size_otherwise(opened: Witness) -> None:
    for old, new in zip((0, *SIZES), SIZES, strict=False):
        assert times(opened.add_checkpoint(request(old, new)), opened, note_of(LOG, new))
    assert times(opened.add_checkpoint(request(6, 6)), opened, note_of(LOG, 6)) == [1_005]
    for old, new in ((0, 9), (4, 9), (9, 9), (4, 4), (7, 9)):
        assert opened.add_checkpoint(request(old, new)) == Answer(409, "6\n", "text/x.tlog.size")
    assert opened.known()[ORIGIN][0].size == 6


def test_witness_never_cosigns_a_fork_or_a_step_back(opened: Witness, folder: Path) -> None:
    assert opened.add_checkpoint(request(0, 6)).status == 200
    assert opened.add_checkpoint(request(6, 6, log=FORK)) == Answer(409, "6\n", "text/x.tlog.size")
    assert opened.add_checkpoint(request(6, 9, log=FORK)).status == 422
    assert opened.add_checkpoint(request(6, 4)).status == 400
    assert opened.add_checkpoint(request(6, 9)).status == 200
    (evidence,) = (folder / "evidence").iterdir()
    assert note_of(LOG, 6) in evidence.read_text("utf-8")
    assert note_of(FORK, 6) in evidence.read_text("utf-8")


PROOF = merkle.consistency_proof(LOG.tree, 3, 6)
STRANGER = SigningKey.generate(ORIGIN)
WRONG = {
    "nothing": (b"", 400),
    "not UTF-8": (b"old 0\n\n\xff", 400),
    "no old size": (body(3, PROOF, note_of(LOG, 6)).removeprefix(b"old 3\n"), 400),
    "old size with a zero before": (body("03", PROOF, note_of(LOG, 6)), 400),
    "old size below zero": (body("-3", PROOF, note_of(LOG, 6)), 400),
    "a proof line that is no base64": (body(3, PROOF, note_of(LOG, 6)).replace(b"=\n", b"\n", 1), 400),
    "64 proof lines": (body(3, [bytes(32)] * 64, note_of(LOG, 6)), 400),
    "no checkpoint": (body(3, PROOF, "hello\n"), 400),
    "an unsigned checkpoint": (body(3, PROOF, note_of(LOG, 6).partition("\n\n")[0] + "\n"), 400),
    "a line more in the checkpoint": (request(3, 6).replace(b"=\n\n\xe2", b"=\nmore\n\n\xe2"), 400),
    "another log": (request(0, 6, key=SigningKey.generate("other.test")), 404),
    "another key": (request(3, 6, key=STRANGER), 403),
    "a changed root": (request(3, 6).replace(merkle_line := to_base64(merkle.root(LOG.tree, 6)).encode(),
                                             to_base64(bytes(32)).encode()), 403),
    "no proof": (body(3, [], note_of(LOG, 6)), 422),
    "a cut proof": (body(3, PROOF[:-1], note_of(LOG, 6)), 422),
    "a padded proof": (body(3, [*PROOF, bytes(32)], note_of(LOG, 6)), 422),
    "short hashes": (body(3, [bytes(31)], note_of(LOG, 6)), 422),
    "another proof": (body(3, merkle.consistency_proof(LOG.tree, 3, 7), note_of(LOG, 6)), 422),
    "too long": (request(3, 6) + b" " * 65_536, 400),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_request_that_proves_nothing_changes_nothing(opened: Witness, wrong: str) -> None:
    assert opened.add_checkpoint(request(0, 3)).status == 200
    content, status = WRONG[wrong]
    assert opened.add_checkpoint(content).status == status
    assert opened.known()[ORIGIN][0].size == 3
    assert opened.add_checkpoint(request(3, 6)).status == 200


def test_witness_follows_a_hand_over_and_then_refuses_the_old_key(opened: Witness, folder: Path) -> None:
    root = merkle.root(LOG.tree, 4)
    handover = sign_handover(size=4, root=root, old=KEY, new=NEW).encode()
    assert opened.add_checkpoint(request(0, 3)).status == 200
    assert opened.add_checkpoint(request(3, 6, key=NEW)).status == 403
    for wrong in (
        sign_handover(size=4, root=root, old=NEW, new=STRANGER),
        sign_handover(size=2, root=merkle.root(LOG.tree, 2), old=KEY, new=NEW),
        sign_handover(size=3, root=merkle.root(FORK.tree, 3), old=KEY, new=NEW),
    ):
        assert opened.add_handover(wrong.encode()).status in {403, 409}
    assert opened.add_handover(b"hello").status == 400
    assert [opened.add_handover(handover).status for _ in range(2)] == [200, 200]
    assert opened.add_checkpoint(request(3, 6, key=KEY)).status == 403
    assert opened.add_checkpoint(request(3, 6, key=NEW)).status == 200
    again = Witness(folder, now=lambda: 1.0)
    assert again.known()[ORIGIN] == opened.known()[ORIGIN]
    assert again.add_checkpoint(request(6, 9, key=NEW)).status == 200


def test_hand_over_that_comes_back_to_an_old_key_is_not_taken(opened: Witness, folder: Path) -> None:
    root = merkle.root(LOG.tree, 4)
    assert opened.add_handover(sign_handover(size=4, root=root, old=KEY, new=NEW).encode()).status == 200
    for size in (4, 6):
        back = sign_handover(size=size, root=merkle.root(LOG.tree, size), old=NEW, new=KEY)
        assert opened.add_handover(back.encode()).status == 403
    assert Witness(folder, now=lambda: 1.0).known() == opened.known()


def test_hand_over_with_lines_of_others_is_kept_without_them(opened: Witness, folder: Path) -> None:
    handover = sign_handover(size=4, root=merkle.root(LOG.tree, 4), old=KEY, new=NEW)
    junk = SignatureLine("nobody.test", b"abcd", b"x" * 8).format()
    for note in (handover + junk, handover):
        assert opened.add_handover(note.encode()).status == 200
    assert json.loads((folder / "state.json").read_text("utf-8"))["logs"][ORIGIN]["handovers"] == [handover]


def test_retired_key_cannot_lead_a_witness_away_from_the_log(opened: Witness, folder: Path) -> None:
    assert opened.add_checkpoint(request(0, 3)).status == 200
    handover = sign_handover(size=6, root=merkle.root(LOG.tree, 6), old=KEY, new=NEW)
    assert opened.add_handover(handover.encode()).status == 200
    assert opened.add_checkpoint(request(3, 4)).status == 403
    other = sign_checkpoint(Checkpoint(ORIGIN, 6, bytes(32)), KEY)
    assert opened.add_checkpoint(body(3, PROOF, other)).status == 403
    (evidence,) = (folder / "evidence").iterdir()
    assert handover in evidence.read_text("utf-8")
    assert opened.add_checkpoint(request(3, 6)).status == 200
    assert opened.add_checkpoint(request(6, 9, key=NEW)).status == 200


def test_evidence_of_one_log_leaves_room_for_that_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_MAX_EVIDENCE", 1)
    other = SigningKey.generate("other.test")
    make_witness(tmp_path / "w", name="witness.test/w1", log_keys=[KEY.verifier, other.verifier])
    with open_witness(tmp_path / "w", now=lambda: 1.0) as found:
        for key in (KEY, other):
            assert found.add_checkpoint(request(0, 6, key=key)).status == 200
            for fork in (FORK, FORK, _log(2)):
                assert found.add_checkpoint(request(6, 6, log=fork, key=key)).status == 409
    kept = [path.read_text("utf-8") for path in (tmp_path / "w" / "evidence").iterdir()]
    assert sorted(text.partition("\n")[0] for text in kept) == [ORIGIN, other.name]
    assert capsys.readouterr().err.count("ALARM") == 6


def test_memory_that_is_damaged_names_the_log(folder: Path) -> None:
    with open_witness(folder, now=lambda: 1.0) as found:
        assert found.add_checkpoint(request(0, 6)).status == 200
    state = folder / "state.json"
    state.write_text(state.read_text("utf-8").replace("\\n6\\n", "\\n5\\n"), "utf-8")
    with pytest.raises(WitnessError, match=ORIGIN):
        Witness(folder, now=lambda: 1.0)


def test_two_processes_never_share_a_memory(folder: Path, opened: Witness) -> None:
    assert opened.known()
    for meddling in (lambda: open_witness(folder, now=lambda: 1.0).__enter__(), lambda: add_log(folder, KEY.verifier)):
        with pytest.raises(WitnessError, match="Another process"):
            meddling()


def test_witness_without_its_whole_memory_does_not_start(folder: Path) -> None:
    with open_witness(folder, now=lambda: 1.0) as found:
        assert found.add_checkpoint(request(0, 6)).status == 200
    state = folder / "state.json"
    good = state.read_text("utf-8")
    other = SigningKey.generate(ORIGIN).verifier.format()
    for damaged in (
        "",
        "{",
        "[]",
        good[:-20],
        good.replace(KEY.verifier.format(), other),
        good.replace("\\n6\\n", "\\n5\\n"),
    ):
        state.write_text(damaged, "utf-8")
        with pytest.raises(WitnessError):
            Witness(folder, now=lambda: 1.0)
    state.unlink()
    with pytest.raises(WitnessError, match="memory"):
        Witness(folder, now=lambda: 1.0)
    with pytest.raises(WitnessError, match="already"):
        make_witness(folder, name="witness.test/w1", log_keys=[])
    state.write_text(good, "utf-8")
    (folder / "logs").write_text("", "utf-8")
    with pytest.raises(WitnessError, match="Put its key back"):
        Witness(folder, now=lambda: 1.0)
    with pytest.raises(WitnessError):
        add_log(folder.parent / "nowhere", KEY.verifier)


def test_second_log_is_added_once_and_never_with_another_key(folder: Path) -> None:
    other = SigningKey.generate("other.test").verifier
    for _ in range(2):
        add_log(folder, other)
    with pytest.raises(WitnessError, match="another key"):
        add_log(folder, SigningKey.generate("other.test").verifier)
    assert set(Witness(folder, now=lambda: 1.0).known()) == {ORIGIN, "other.test"}


class _Killed(BaseException):
    """The power is gone."""


STEPS = ("open", "fsync", "replace", "cosign")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_witness_killed_at_any_step_cosigns_one_history_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
) -> None:
    """What it had answered, and what it answers after a new start, never contradict each other."""
    with open_witness(folder, now=lambda: 1.0) as found:
        assert found.add_checkpoint(request(0, 3)).status == 200
        with monkeypatch.context() as patch:
            place: Any = {"open": os, "fsync": os, "replace": Path, "cosign": module}[step]
            genuine = getattr(place, step)

            def dying(*args: Any, **options: Any) -> Any:
                if moment == "after":
                    genuine(*args, **options)
                raise _Killed

            patch.setattr(place, step, dying)
            with pytest.raises(_Killed):
                found.add_checkpoint(request(3, 6))
    with open_witness(folder, now=lambda: 2.0) as found:
        size = found.known()[ORIGIN][0].size
        assert size == (6 if step == "cosign" or (step == "replace" and moment == "after") else 3)
        fork = found.add_checkpoint(request(size, 6, log=FORK))
        assert (fork.status in {409, 422}) is True
        assert found.add_checkpoint(request(size, 6)).status == 200


def test_witness_whose_disk_is_full_answers_nothing_until_it_can_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_witness(folder, now=lambda: 1.0) as found, serving(WitnessServer(("127.0.0.1", 0), found)) as server:
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_durably", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
            assert [post(server, request(0, 3))[0] for _ in range(2)] == [503, 409]
            assert post(server, request(3, 3))[0] == 503
        assert post(server, request(3, 3))[0] == 200
    assert json.loads((folder / "state.json").read_text("utf-8"))["logs"][ORIGIN]["checkpoint"] == note_of(LOG, 3)


def post(server: WitnessServer, content: bytes, path: str = "/add-checkpoint", **headers: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    try:
        connection.request("POST", path, body=content, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def test_server_answers_as_the_specification_says(opened: Witness) -> None:
    with serving(WitnessServer(("127.0.0.1", 0), opened)) as server:
        status, _, text = post(server, request(0, 3))
        assert status == 200
        assert text.startswith("— witness.test/w1 ")
        assert post(server, request(0, 6)) == (409, "text/x.tlog.size", "3\n")
        assert post(server, b"hello")[0] == 400
        assert post(server, b"", "/elsewhere")[0] == 404
        assert post(server, b"hello", "/add-handover")[0] == 400
        assert post(server, b"x" * 70_000)[0] == 413
        assert post(server, b"x", **{"Transfer-Encoding": "chunked"})[0] == 411
        # Keep-alive: two requests on one connection.
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
        for old, new in ((3, 4), (4, 6)):
            connection.request("POST", "/add-checkpoint", body=request(old, new))
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
        # The server ends with this connection open.
    connection.close()


def test_slow_and_many_connections_do_not_keep_others_out(opened: Witness) -> None:
    with serving(WitnessServer(("127.0.0.1", 0), opened, request_s=0.3)) as server:
        slow = [socket.create_connection(server.server_address[:2], timeout=20) for _ in range(MAX_CONNECTIONS)]  # type: ignore[arg-type]  # host and port
        for connection in slow:
            connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 9\r\n\r\nold")
        for connection in slow:
            with connection:
                assert connection.recv(1) == b""
        assert post(server, request(0, 3))[0] == 200


def test_requests_at_the_same_moment_are_judged_one_after_the_other(opened: Witness) -> None:
    answers: list[int] = []
    with serving(WitnessServer(("127.0.0.1", 0), opened)) as server:

        def ask(log: MemoryLog) -> None:
            answers.append(post(server, request(0, 6, log=log))[0])

        threads = [threading.Thread(target=ask, args=(log,)) for log in (LOG, FORK) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == [200] + [409] * 7
