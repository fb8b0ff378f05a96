"""A witness: remembers the last checkpoint of each log, cosigns one that continues it, and refuses every other.

The judgement is that of ``add-checkpoint`` of https://c2sp.org/tlog-witness, without its HTTP. What is new is on the
disk before the cosignature exists, so that a witness that was killed at any moment never cosigns two histories. One
process at a time holds the folder. Where a log's key was handed over, the log shows it with ``add-handover``, which is
of this product.

    FOLDER/key          the witness's private key
    FOLDER/logs         the verifier keys of the logs, one a line
    FOLDER/state.json   the last checkpoint of each log, and its hand-overs
    FOLDER/evidence/    pairs of checkpoints that a log should never have signed
"""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from linkage_ledger.checkpoints import Checkpoint, parse_decimal, verify_checkpoint
from linkage_ledger.cosignatures import CosigningKey, cosign
from linkage_ledger.errors import HandoverError, LedgerError, NoteError, ProofError, WitnessError
from linkage_ledger.handover import (
    Handover,
    current_key,
    open_chain,
    open_handover,
    require_current,
    resolve_keys,
    with_both_signatures_only,
)
from linkage_ledger.merkle import EMPTY_ROOT, verify_consistency
from linkage_ledger.notes import VerifierKey, from_base64, split_note

MAX_REQUEST_BYTES: Final = 64 * 1024
_MAX_PROOF: Final = 63
_MAX_EVIDENCE: Final = 1_000
_PRIVATE: Final = 0o600
_KEY, _LOGS, _STATE, _LOCK, _EVIDENCE = "key", "logs", "state.json", "lock", "evidence"
_TEXT: Final = "text/plain; charset=utf-8"
_SIZE: Final = "text/x.tlog.size"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers: an HTTP status, the type of the body, and the body."""

    status: int
    text: str
    content_type: str = _TEXT


@dataclass(slots=True)
class _Log:
    key: VerifierKey
    checkpoint: str | None = None
    handovers: list[str] = field(default_factory=list)

    @property
    def last(self) -> Checkpoint:
        if self.checkpoint is None:
            return Checkpoint(origin=self.key.name, size=0, root=EMPTY_ROOT)
        return Checkpoint.parse(split_note(self.checkpoint)[0])


class Witness:
    """One witness with its folder open; safe to call from several threads."""

    def __init__(self, folder: Path, *, now: Callable[[], float]) -> None:
        """Read key, logs and state; see `open_witness`, which also takes the lock.

        Raises:
            WitnessError: a file is absent or damaged.
        """
        self._folder = folder
        self._now = now
        self._turn = threading.Lock()
        self._ahead_of_disk = False
        self._key = _read_key(folder)
        self._logs = _read_state(folder, _read_logs(folder))

    @property
    def key(self) -> CosigningKey:
        """The key that it cosigns with."""
        return self._key

    def known(self) -> dict[str, tuple[Checkpoint, int]]:
        """The last checkpoint of each log by origin, and how often its key was handed over."""
        with self._turn:
            return {origin: (log.last, len(log.handovers)) for origin, log in self._logs.items()}

    def add_checkpoint(self, request: bytes) -> Answer:
        """Judge one request: the old size, a consistency proof, and a checkpoint."""
        try:
            old_size, proof, note = _parse_request(request)
            checkpoint = Checkpoint.parse(split_note(note)[0])
        except (LedgerError, ValueError):
            return Answer(400, "This is not an add-checkpoint request: old size, proof, empty line, checkpoint.\n")
        with self._turn:
            log = self._logs.get(checkpoint.origin)
            if log is None:
                return Answer(404, "This witness does not know the log. Ask its operator to add the log's key.\n")
            return self._judge(log, checkpoint, note, old_size=old_size, proof=proof)

    def add_handover(self, request: bytes) -> Answer:
        """Follow a log from its old key to its new one."""
        try:
            note = with_both_signatures_only(request.decode())
            handover = open_handover(note)
        except (LedgerError, ValueError):
            return Answer(400, "This is not a key hand-over signed by both keys.\n")
        with self._turn:
            log = self._logs.get(handover.origin)
            if log is None:
                return Answer(404, "This witness does not know the log. Ask its operator to add the log's key.\n")
            if handover in [open_handover(other) for other in log.handovers]:
                if self._ahead_of_disk:
                    self._persist()
                return Answer(200, "The hand-over is known.\n")
            if problem := _problem_of_handover(log, handover, note):
                return Answer(403, f"{problem}\n")
            last = log.last
            if last.size > handover.size or (last.size == handover.size and last.root != handover.root):
                self._keep_evidence(log, note)
                return Answer(409, "The hand-over contradicts a checkpoint that this witness cosigned.\n")
            log.handovers.append(note)
            self._persist()
            return Answer(200, "The new key is trusted from here on.\n")

    def _judge(self, log: _Log, checkpoint: Checkpoint, note: str, *, old_size: int, proof: list[bytes]) -> Answer:
        if problem := self._problem_of_signer(log, checkpoint, note):
            return Answer(403, f"{problem}\n")
        if old_size > checkpoint.size:
            return Answer(400, "The old size is above the checkpoint's.\n")
        last = log.last
        if old_size != last.size:
            return Answer(409, f"{last.size}\n", _SIZE)
        if checkpoint.size == last.size and checkpoint.root != last.root:
            self._keep_evidence(log, note)
            return Answer(409, f"{last.size}\n", _SIZE)
        try:
            verify_consistency(
                old_size=last.size,
                old_root=last.root,
                new_size=checkpoint.size,
                new_root=checkpoint.root,
                proof=proof,
            )
        except ProofError:
            return Answer(422, "The proof does not show that the checkpoint continues the last one.\n")
        if checkpoint != last or log.checkpoint is None or self._ahead_of_disk:
            log.checkpoint = note
            self._persist()
        return Answer(200, cosign(split_note(note)[0], self._key, time=int(self._now())))

    def _problem_of_signer(self, log: _Log, checkpoint: Checkpoint, note: str) -> str | None:
        try:
            verify_checkpoint(note, resolve_keys([log.key], log.handovers))
        except NoteError:
            return "The checkpoint is not signed by the key that this witness trusts for the log."
        try:
            require_current(log.handovers, checkpoint)
        except HandoverError as error:
            if checkpoint.size == open_handover(log.handovers[-1]).size:
                self._keep_evidence(log, f"{log.handovers[-1]}\n{note}")
            return str(error)
        return None

    def _persist(self) -> None:
        """Write the state to the disk.

        Raises:
            OSError: it cannot be written. What is in memory is ahead of the disk then: later calls try again.
        """
        self._ahead_of_disk = True
        logs = {
            origin: {"key": log.key.format(), "checkpoint": log.checkpoint, "handovers": log.handovers}
            for origin, log in self._logs.items()
        }
        write_durably(self._folder / _STATE, json.dumps({"version": 1, "logs": logs}, indent=1) + "\n")
        self._ahead_of_disk = False

    def _keep_evidence(self, log: _Log, note: str) -> None:
        folder = self._folder / _EVIDENCE
        folder.mkdir(mode=0o700, exist_ok=True)
        kept = f"{log.checkpoint}\n{note}"
        # Named by what it holds and counted by log: no other log, and no repetition, can fill the room of this one.
        of_log = _digest(log.key.name)
        path = folder / f"{of_log}-{_digest(kept)}.txt"
        sys.stderr.write(f"ALARM: {log.key.name} showed two histories; both notes are in {path}\n")
        if not path.exists() and sum(1 for _ in folder.glob(f"{of_log}-*.txt")) < _MAX_EVIDENCE:
            write_durably(path, kept)


@contextmanager
def open_witness(folder: Path, *, now: Callable[[], float]) -> Iterator[Witness]:
    """A witness whose folder no other process has.

    Raises:
        WitnessError: another process has it, or a file is absent or damaged.
    """
    with _locked(folder):
        yield Witness(folder, now=now)


def make_witness(folder: Path, *, name: str, log_keys: list[VerifierKey]) -> CosigningKey:
    """Make the folder of a new witness, readable by its owner only.

    Raises:
        WitnessError: there is a witness already: a key that cosigned without its memory could cosign a fork.
    """
    key = CosigningKey.generate(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder):
        if (folder / _KEY).exists() or (folder / _STATE).exists():
            raise WitnessError("There is a witness in this folder already. Choose another folder.")
        _write_logs(folder, log_keys)
        write_durably(folder / _STATE, '{"version": 1, "logs": {}}\n')
        # Last: with the key the witness is whole.
        write_durably(folder / _KEY, f"{key.format()}\n")
    return key


def add_log(folder: Path, key: VerifierKey) -> None:
    """Have a witness that is not running watch one more log.

    Raises:
        WitnessError: it runs, or knows another key for a log of this name.
    """
    with _locked(folder):
        known = _read_logs(folder)
        if any(other.name == key.name and other != key for other in known):
            raise WitnessError(
                "This witness knows another key for a log of this name. If the key was handed over, the log shows "
                "it by itself; a key without a hand-over is not to be trusted."
            )
        _write_logs(folder, [*known, *({key} - set(known))])


def write_durably(path: Path, text: str) -> None:
    """Write a private file whole, and have it on the disk before this returns.

    Raises:
        OSError: it cannot be written; what was there before is as it was.
    """
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    if os.name == "posix":
        # The new name is in the folder, which has to reach the disk as well.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _problem_of_handover(log: _Log, handover: Handover, note: str) -> str | None:
    if handover.old != (current_key(log.handovers) or log.key):
        return "The hand-over does not begin with the key that this witness trusts for the log."
    try:
        # Both keys of this one may be one person's: what could not be read again is not taken.
        open_chain([*log.handovers, note])
    except HandoverError as error:
        return str(error)
    return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_logs(folder: Path, keys: list[VerifierKey]) -> None:
    write_durably(folder / _LOGS, "".join(f"{key.format()}\n" for key in keys))


def _parse_request(request: bytes) -> tuple[int, list[bytes], str]:
    if len(request) > MAX_REQUEST_BYTES:
        raise ValueError("The request is too long.")
    head, blank, note = request.decode().partition("\n\n")
    first, *lines = head.split("\n")
    if not blank or not first.startswith("old ") or len(lines) > _MAX_PROOF:
        raise ValueError("Not an add-checkpoint request.")
    return parse_decimal(first.removeprefix("old ")), [from_base64(line) for line in lines], note


def _read_key(folder: Path) -> CosigningKey:
    try:
        return CosigningKey.parse((folder / _KEY).read_text("utf-8").strip())
    except (OSError, ValueError):
        raise WitnessError(
            "There is no witness in this folder, or its key cannot be read. Make one with `linkage-ledger witness "
            "init`, or restore the folder."
        ) from None


def _read_logs(folder: Path) -> list[VerifierKey]:
    try:
        lines = (folder / _LOGS).read_text("utf-8").splitlines()
        return [VerifierKey.parse(line) for line in lines if line and not line.startswith("#")]
    except (OSError, ValueError):
        raise WitnessError("The list of logs of this witness cannot be read. Mend the file `logs`.") from None


def _read_state(folder: Path, keys: list[VerifierKey]) -> dict[str, _Log]:
    logs = {key.name: _Log(key) for key in keys}
    if len(logs) != len(keys):
        raise WitnessError("Two keys of this witness bear one log's name. Leave one in the file `logs`.")
    try:
        document: Any = json.loads((folder / _STATE).read_text("utf-8"))
        for origin, kept in document["logs"].items():
            first = VerifierKey.parse(kept["key"])
            if origin in logs and logs[origin].key != first:
                raise WitnessError("The file `logs` names another key for a log than the one that was cosigned.")
            log = _Log(first, kept["checkpoint"], list(kept["handovers"]))
            _require_genuine(log)
            if origin in logs:
                logs[origin] = log
            else:
                raise WitnessError("The file `logs` lacks a log that was cosigned. Put its key back.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Never begin anew: without its memory a witness could cosign a second history.
        raise WitnessError(
            "The memory of this witness is absent or damaged, and without it a fork could be cosigned. Restore the "
            "newest copy of the folder. If there is none, make a new witness with another key."
        ) from None
    return logs


def _require_genuine(log: _Log) -> None:
    try:
        keys = resolve_keys([log.key], log.handovers)
        if log.checkpoint is not None:
            verify_checkpoint(log.checkpoint, keys)
    except NoteError:
        raise WitnessError(
            f"What this witness remembers of the log {log.key.name} is damaged, and without it a fork could be "
            "cosigned. Restore the newest copy of the folder. If there is none, make a new witness with another key."
        ) from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, _PRIVATE)
    except OSError:
        raise WitnessError("The folder of the witness is not there or cannot be written. Name another.") from None
    try:
        try:
            _lock(descriptor)
        except OSError:
            raise WitnessError(
                "Another process has this witness's folder open. End it first: two could cosign two histories."
            ) from None
        yield
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
