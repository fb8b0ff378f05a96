"""Every client is a witness: it remembers the last signed state of a service's ledger, and holds the service to it.

Once a session, before anything else is asked, the client fetches the ledger's checkpoint and goes on only if

- the log is the one that this address had before, signed by the key it knows, or by one handed over to properly;
- it continues the log that was last seen: no fork, and never shorter;
- it holds what was acknowledged: each answer to a change names its event and the event's leaf hash, and the next
  checkpoint has to cover and prove it. The log-in is such a change, so a checkpoint that lags behind is noticed too.

What was seen is one private file of the user's on this machine:

    {"version": 1, "services": {URL: ORIGIN}, "logs": {ORIGIN: {"key": …, "handovers": [], "checkpoint": …, …}}}

The first time, what is shown is believed, unless the key is pinned. Where the address is this machine's own, it names
no service: any program may listen there tomorrow. Then only the log's own name counts.
"""

import contextlib
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias

from linkage_client._protocol import Answer, event_number, path_of
from linkage_client.errors import ConfigurationError, LedgerAlarmError, NotFoundError, UnexpectedAnswerError
from linkage_client.files import write_whole
from linkage_ledger.checkpoints import Checkpoint, LogKey, verify_checkpoint
from linkage_ledger.errors import HandoverError, LedgerError, NoteError, ProofError
from linkage_ledger.handover import continues, current_key, open_chain, require_current, resolve_keys
from linkage_ledger.merkle import verify_consistency, verify_inclusion
from linkage_ledger.notes import VerifierKey, from_base64, split_note

VERSION: Final = 1
STATE_FILE: Final = "state.json"
LEAF_HEADER: Final = "linkage-event-leaf"
# Of many acknowledged changes the latest say the most; each costs a request in the next session.
_PROMISES_KEPT: Final = 4
# How often to look again when another process of this user noted something newer meanwhile.
_ATTEMPTS: Final = 20
_FOLDER_MODE: Final = 0o700
_LEAF_HEX: Final = 64

Ask: TypeAlias = Callable[[str, Mapping[str, Any]], Answer]
"""GET a path of the service with these parameters, logged in."""
AlarmKind = Literal["other_log", "key_changed", "rolled_back", "forked", "stale", "broken_promise"]


@dataclass(frozen=True, slots=True)
class Promise:
    """An acknowledged change: this leaf hash (hex) has to be in the log at this number."""

    seq: int
    leaf: str


@dataclass(frozen=True, slots=True)
class SeenLog:
    """What is remembered of one log."""

    key: str
    """The verifier key that was trusted first."""
    handovers: tuple[str, ...]
    checkpoint: str
    seen_at: float
    """Seconds since 1970, by this machine's clock."""
    promises: tuple[Promise, ...] = ()

    @property
    def state(self) -> Checkpoint:
        """The checkpoint that was seen."""
        return Checkpoint.parse(split_note(self.checkpoint)[0])


@dataclass(frozen=True, slots=True)
class Memory:
    """All that is remembered: logs by their origin, and which service has which log."""

    logs: Mapping[str, SeenLog] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a service shows: its log's name, key, hand-overs and checkpoint."""

    origin: str
    key: str
    handovers: tuple[str, ...]
    note: str


class _MismatchError(Exception):
    """What a service shows does not fit together, or not to what was known."""

    def __init__(self, kind: AlarmKind, what: str) -> None:
        super().__init__(what)
        self.kind: AlarmKind = kind
        self.what = what


def default_folder() -> Path:
    """Where what was seen is kept: a folder of the user's on this machine."""
    import platformdirs  # noqa: PLC0415 - keeps `--help` quick

    return platformdirs.user_state_path("linkage", appauthor=False) / "ledgers"


class Watch:
    """The watch over one service's ledger in one session; safe to use from several threads."""

    def __init__(
        self, folder: Path, *, service_url: str, is_here: bool, log_key: str | None, now: Callable[[], float]
    ) -> None:
        """Begin a session.

        Args:
            folder: of what was seen.
            service_url: the service.
            is_here: whether that is an address of this machine.
            log_key: the verifier key that the log must have or have had, None to believe what is shown first.
            now: the clock, seconds since 1970.

        Raises:
            ConfigurationError: the pinned key is none.
        """
        self._folder = folder
        self._service_url = service_url.rstrip("/")
        self._is_here = is_here
        self._pinned = None if log_key is None else _pinned(log_key)
        self._now = now
        self._turn = threading.Lock()
        self._origin: str | None = None
        self._waiting: list[Promise] = []

    @property
    def origin(self) -> str | None:
        """Name of the log that was looked at; None before `check`."""
        return self._origin

    def note(self, headers: Mapping[str, str]) -> None:
        """Remember what an answer acknowledges.

        The service has acted, so the answer reaches the caller whatever happens here: `settle` raises instead.
        """
        number, leaf = event_number(headers), headers.get(LEAF_HEADER, "")
        if number is None or len(leaf) != _LEAF_HEX:
            return
        with self._turn:
            self._waiting.append(Promise(number, leaf))
        with contextlib.suppress(ConfigurationError):
            self.settle()

    def settle(self) -> None:
        """Write what was acknowledged and could not be written at the time; before every request.

        Raises:
            ConfigurationError: it still cannot be written.
        """
        with self._turn:
            if self._waiting and self._origin is not None:
                self._write_promises(self._origin)

    def check(self, ask: Ask) -> None:
        """Look at the ledger, once a session before anything else.

        Raises:
            LedgerAlarmError: it is not the log that it was.
            ConfigurationError: what was seen cannot be read or written.
        """
        for _ in range(_ATTEMPTS):
            memory = read_memory(self._folder)
            shown, checkpoint = self._look(memory, ask)
            known = memory.logs.get(shown.origin)
            with self._turn:
                # The log-in was acknowledged before the state was asked for, so that has to hold it.
                waiting = tuple(self._waiting)
            promises = (*(known.promises if known else ()), *waiting)
            seen = self._judge(known, shown, checkpoint, promises, ask)
            if self._keep(known, seen, promises, shown, ask):
                with self._turn:
                    self._origin = shown.origin
                    self._waiting = [promise for promise in self._waiting if promise not in waiting]
                    if self._waiting:
                        self._write_promises(shown.origin)
                return
        raise ConfigurationError(
            "Other processes of this account keep noting newer states of the ledger. Run this command again."
        )

    def _look(self, memory: Memory, ask: Ask) -> tuple[_Shown, Checkpoint]:
        """What the service shows, and its checkpoint, signed by the key that speaks."""
        shown = _shown(ask)
        try:
            return shown, self._opened(memory, shown)
        except _MismatchError:
            # The key may have been handed over between the two answers. What does not fit twice is an alarm.
            shown = _shown(ask)
        try:
            return shown, self._opened(memory, shown)
        except _MismatchError as mismatch:
            self._alarm(mismatch.kind, mismatch.what, memory.logs.get(self._expected(memory) or shown.origin), shown)

    def _expected(self, memory: Memory) -> str | None:
        """The log that this address had before."""
        return None if self._is_here else memory.services.get(self._service_url)

    def _opened(self, memory: Memory, shown: _Shown) -> Checkpoint:
        """The checkpoint, if what is shown fits together and to what was known.

        Raises:
            _MismatchError: it does not.
        """
        expected = self._expected(memory)
        if expected is not None and expected != shown.origin:
            raise _MismatchError(
                "other_log", f"This address had the ledger {expected}, and now shows another, {shown.origin}."
            )
        keys = self._keys(memory, shown)
        try:
            checkpoint = verify_checkpoint(shown.note, keys)
        except NoteError:
            raise _MismatchError(
                "key_changed", "The ledger's state is not signed with the key that speaks for it."
            ) from None
        if checkpoint.origin != shown.origin:
            raise _MismatchError("other_log", "The ledger's state is that of another log than the service names.")
        try:
            require_current(shown.handovers, checkpoint)
        except HandoverError as error:
            # Whoever holds a key that was taken out of office can sign as many events as it spoke for.
            raise _MismatchError("stale", str(error)) from None
        return checkpoint

    def _judge(
        self, known: SeenLog | None, shown: _Shown, checkpoint: Checkpoint, promises: tuple[Promise, ...], ask: Ask
    ) -> SeenLog:
        self._check_growth(known, checkpoint, shown, ask)
        for promise in promises:
            self._check_promise(promise, checkpoint, known, shown, ask)
        trusted = known.key if known else (self._pinned or VerifierKey.parse(shown.key)).format()
        return SeenLog(key=trusted, handovers=shown.handovers, checkpoint=shown.note, seen_at=self._now())

    def _keys(self, memory: Memory, shown: _Shown) -> tuple[LogKey, ...]:
        """The keys that may have signed, each for its sizes.

        Raises:
            _MismatchError: the key that is shown is not the one that speaks.
        """
        known = memory.logs.get(shown.origin)
        if self._pinned is not None:
            try:
                keys = _resolved(self._pinned.format(), (), shown)
            except LedgerError:
                raise _MismatchError(
                    "key_changed",
                    "Its key is not the log_key of your profile, and no hand-over leads from the one to the other. "
                    "Compare the log_key with the key that was published.",
                ) from None
            if known is None:
                return keys
        if known is None:
            try:
                return _resolved(shown.key, (), shown)
            except LedgerError:
                raise _MismatchError("key_changed", "Its key is not the one that its hand-overs end with.") from None
        try:
            return _resolved(known.key, known.handovers, shown)
        except LedgerError:
            what = "The ledger's key is another than before, and the old one did not hand over to it."
            raise _MismatchError("key_changed", what + self._first_seen_elsewhere(memory, shown.origin)) from None

    def _first_seen_elsewhere(self, memory: Memory, origin: str) -> str:
        """Logs are remembered by their names, and any service can show any name first."""
        services = sorted(url for url, name in memory.services.items() if name == origin)
        if self._is_here or not services or self._service_url in services:
            return ""
        return (
            f" You never saw this service's ledger before: the log of this name that you know was shown by "
            f"{', '.join(services)}. One of them shows a name that is not its own."
        )

    def _check_growth(self, known: SeenLog | None, checkpoint: Checkpoint, shown: _Shown, ask: Ask) -> None:
        before = known.state if known else None
        if before is not None and checkpoint.size < before.size:
            self._alarm(
                "rolled_back",
                f"You have seen {before.size} events, and now it shows {checkpoint.size}: events are gone.",
                known,
                shown,
            )
        earlier = [] if before is None else [(before.size, before.root)]
        new = open_chain(shown.handovers)[len(known.handovers) if known else 0 :]
        earlier += [(handover.size, handover.root) for handover in new]
        for size, root in earlier:
            if not _continues(ask, size, root, checkpoint):
                self._alarm(
                    "forked",
                    f"It does not continue the {size} events that its own key signed before: there are two histories.",
                    known,
                    shown,
                )

    def _check_promise(
        self, promise: Promise, checkpoint: Checkpoint, known: SeenLog | None, shown: _Shown, ask: Ask
    ) -> None:
        if checkpoint.size <= promise.seq:
            self._alarm(
                "stale",
                f"It acknowledged event {promise.seq} to you, and its newest state has {checkpoint.size} events, "
                "without it: you are shown an old state, or the event is gone.",
                known,
                shown,
            )
        try:
            verify_inclusion(
                bytes.fromhex(promise.leaf),
                index=promise.seq,
                size=checkpoint.size,
                proof=_proof(ask, "inclusion", {"seq": promise.seq, "size": checkpoint.size}),
                root=checkpoint.root,
            )
        except (ProofError, NotFoundError, ValueError):
            self._alarm(
                "broken_promise",
                f"It acknowledged event {promise.seq} to you, and now has something else in its place.",
                known,
                shown,
            )

    def _alarm(self, kind: AlarmKind, what: str, known: SeenLog | None, shown: _Shown) -> NoReturn:
        folder = _save_evidence(self._folder, kind, what, known, shown, service_url=self._service_url)
        is_not = "is not what it should be" if known is None else "is not what it was"
        anew = (
            " If they found an innocent cause, such as a restored backup, "
            f"`linkage audit witness --forget {known.state.origin}` begins anew."
            if known is not None
            else ""
        )
        raise LedgerAlarmError(
            f"ALARM: the ledger of {self._service_url} {is_not}. {what} Nothing was asked of the service. "
            f"What you knew and what it shows now are in {folder}. Give that folder to your information governance "
            "officer, and use the service again only when they say so: docs/officer.md says what it can mean."
            f"{anew}",
            code=f"ledger_{kind}",
            folder=folder,
        )

    def _keep(self, known: SeenLog | None, seen: SeenLog, kept: tuple[Promise, ...], shown: _Shown, ask: Ask) -> bool:
        """Note what was seen beside what other processes noted meanwhile; False where one has to look again.

        Of two states of one log the later one stays, if it continues the other.
        """
        for _ in range(_ATTEMPTS):
            with changing(self._folder) as (memory, write):
                noted = memory.logs.get(shown.origin)
                if _same_state(noted, known):
                    write(self._with(memory, shown.origin, seen, without=kept))
                    return True
            if noted is None or (noted.key, noted.handovers) != (seen.key, seen.handovers):
                return False
            earlier, later = sorted((noted.state, seen.state), key=lambda state: state.size)
            if not _continues(ask, earlier.size, earlier.root, later):
                self._alarm(
                    "forked",
                    f"Another process of your account was shown {noted.state.size} events, and this one "
                    f"{seen.state.size} that are not of the same history.",
                    noted,
                    shown,
                )
            known, seen = noted, seen if later == seen.state else noted
        return False

    def _with(self, memory: Memory, origin: str, seen: SeenLog, *, without: tuple[Promise, ...]) -> Memory:
        """The memory with this state of a log, and the promises that came since or are not kept yet."""
        noted = memory.logs.get(origin)
        promises = tuple(promise for promise in (noted.promises if noted else ()) if promise not in without)
        services = memory.services if self._is_here else {**memory.services, self._service_url: origin}
        return Memory(logs={**memory.logs, origin: replace(seen, promises=promises)}, services=services)

    def _write_promises(self, origin: str) -> None:
        with changing(self._folder) as (memory, write):
            known = memory.logs.get(origin)
            if known is not None:
                promises = sorted({*known.promises, *self._waiting}, key=lambda promise: promise.seq)
                write(replace_log(memory, origin, replace(known, promises=tuple(promises[-_PROMISES_KEPT:]))))
        self._waiting = []


def replace_log(memory: Memory, origin: str, seen: SeenLog) -> Memory:
    """The memory with another entry for one log."""
    return Memory(logs={**memory.logs, origin: seen}, services=memory.services)


def forget(folder: Path, origin: str) -> bool:
    """Begin anew with a log; whether there was anything to forget."""
    with changing(folder) as (memory, write):
        if origin not in memory.logs:
            return False
        write(
            Memory(
                logs={name: seen for name, seen in memory.logs.items() if name != origin},
                services={url: name for url, name in memory.services.items() if name != origin},
            )
        )
    return True


def _pinned(text: str) -> VerifierKey:
    try:
        return VerifierKey.parse(text)
    except NoteError as error:
        raise ConfigurationError(f"The key of the ledger that you named is none. {error}") from None


def _shown(ask: Ask) -> _Shown:
    told = ask(path_of("audit", "verifier-key"), {})
    document = told.json()
    note = ask(path_of("audit", "checkpoint"), {})
    try:
        origin, key, handovers = document["origin"], document["key"], tuple(document["handovers"])
        shown = _Shown(origin=origin, key=key, handovers=handovers, note=note.body.decode())
    except (KeyError, TypeError, ValueError):
        raise _unexpected(told) from None
    if not all(isinstance(text, str) for text in (origin, key, *handovers)):
        raise _unexpected(told)
    return shown


def _same_state(one: SeenLog | None, other: SeenLog | None) -> bool:
    """Whether nobody noted another key, hand-over or checkpoint; promises come and go."""
    if one is None or other is None:
        return one is other
    return (one.key, one.handovers, one.checkpoint) == (other.key, other.handovers, other.checkpoint)


def _continues(ask: Ask, size: int, root: bytes, later: Checkpoint) -> bool:
    """Whether a later state holds all of an earlier one, by the service's proof."""
    if (size, root) == (later.size, later.root):
        return True
    try:
        verify_consistency(
            old_size=size,
            old_root=root,
            new_size=later.size,
            new_root=later.root,
            proof=_proof(ask, "consistency", {"first": size, "second": later.size}),
        )
    except (ProofError, NotFoundError):
        return False
    return True


def _resolved(trusted: str, handovers: tuple[str, ...], shown: _Shown) -> tuple[LogKey, ...]:
    """The keys of the log that is shown, starting from one that is trusted and the hand-overs that are known.

    Raises:
        LedgerError: these do not lead to the key that is shown.
    """
    key = VerifierKey.parse(trusted)
    if not continues(handovers, shown.handovers):
        raise NoteError("Hand-overs that were known are not shown any more.")
    keys = resolve_keys([key], shown.handovers)
    current = current_key(shown.handovers) or key
    if current != VerifierKey.parse(shown.key) or current.name != shown.origin:
        raise NoteError("The key that is shown is not the one that was handed over to.")
    return keys


def _proof(ask: Ask, kind: str, params: Mapping[str, int]) -> list[bytes]:
    answer = ask(path_of("audit", kind), params)
    try:
        return [from_base64(node) for node in answer.json()["proof"]]
    except NoteError:
        raise ProofError("The proof is not in base64.") from None
    except (KeyError, TypeError, AttributeError):
        raise _unexpected(answer) from None


def _unexpected(answer: Answer) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        "The service's answer about its ledger does not have the shape that this version of the client knows. Check "
        "the service's address and whether client and service are of matching versions.",
        status=answer.status,
        request_id=answer.request_id,
    )


def _save_evidence(
    folder: Path, kind: str, what: str, known: SeenLog | None, shown: _Shown, *, service_url: str
) -> Path:
    """Both notes as files, once for each pair."""
    content = json.dumps([kind, asdict(known) if known else None, asdict(shown)], sort_keys=True)
    place = folder / "alarms" / f"{kind}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    keys = {
        "service_url": service_url,
        "known": {"key": known.key, "handovers": known.handovers, "seen_at": known.seen_at} if known else None,
        "shown": {"origin": shown.origin, "key": shown.key, "handovers": shown.handovers},
    }
    try:
        place.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        write_whole(place / "what.txt", f"{what}\n")
        write_whole(place / "keys.json", json.dumps(keys, indent=1) + "\n")
        write_whole(place / "shown-checkpoint.txt", shown.note)
        if known is not None:
            write_whole(place / "known-checkpoint.txt", known.checkpoint)
    except OSError:
        # The alarm matters more than its files.
        return folder
    return place


# --- the file --------------------------------------------------------------------------------------------------------


def read_memory(folder: Path) -> Memory:
    """What was seen; nothing where there is no file.

    Raises:
        ConfigurationError: the file is damaged or cannot be read.
    """
    try:
        return _memory(json.loads((folder / STATE_FILE).read_text("utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return Memory()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Beginning anew would believe whatever is shown next.
        raise ConfigurationError(
            f"What this client remembers of ledgers, {folder / STATE_FILE}, is damaged or cannot be read. Restore it "
            "from a backup. If there is none, move it away after asking your information governance officer: the "
            "client then believes what it is shown first."
        ) from None


def _memory(document: Any) -> Memory:
    """The content of the file.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is none.
    """
    if document["version"] != VERSION:
        raise ValueError
    memory = Memory(
        logs={origin: _seen(kept) for origin, kept in document["logs"].items()},
        services={str(url): str(origin) for url, origin in document["services"].items()},
    )
    if any(seen.state.origin != origin for origin, seen in memory.logs.items()):
        raise ValueError
    return memory


def _seen(kept: Mapping[str, Any]) -> SeenLog:
    return SeenLog(
        key=VerifierKey.parse(kept["key"]).format(),
        handovers=tuple(map(str, kept["handovers"])),
        checkpoint=str(kept["checkpoint"]),
        seen_at=float(kept["seen_at"]),
        promises=tuple(Promise(int(one["seq"]), str(one["leaf"])) for one in kept["promises"]),
    )


@contextmanager
def changing(folder: Path) -> Iterator[tuple[Memory, Callable[[Memory], None]]]:
    """What was seen, and how to write it anew, while no other process does.

    Raises:
        ConfigurationError: the file cannot be read or written.
    """

    def write(memory: Memory) -> None:
        document = {
            "version": VERSION,
            "services": dict(memory.services),
            "logs": {origin: asdict(seen) for origin, seen in memory.logs.items()},
        }
        write_whole(folder / STATE_FILE, json.dumps(document, indent=1) + "\n")

    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor)
            yield read_memory(folder), write
        finally:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    except OSError as error:
        raise ConfigurationError(
            f"What this client remembers of ledgers cannot be written to {folder} ({error.strerror}), so it cannot "
            "notice that a ledger was changed. Make the folder writable, or set XDG_STATE_HOME to one that lasts."
        ) from None


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
