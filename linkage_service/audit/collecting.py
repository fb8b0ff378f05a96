"""Asks witnesses to cosign checkpoints (C2SP tlog-witness), and keeps what they answer.

No transaction is open while a witness is waited for, and none waits for another: a witness that is dead or slow holds
up nobody. What a witness says is believed only if its signature fits.
"""

import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx
import structlog
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from linkage_ledger import merkle
from linkage_ledger.checkpoints import parse_decimal
from linkage_ledger.cosignatures import WitnessKey, answered_cosignatures
from linkage_ledger.errors import LedgerError
from linkage_ledger.notes import to_base64
from linkage_service.audit import tables, trust_tables
from linkage_service.database import Database

_log = structlog.get_logger(__name__)
_ANSWER_BYTES_MAX: Final = 64 * 1024
# Its size, a hand-over it had not seen, and once more because another process of ours was quicker.
_ATTEMPTS: Final = 4
_LOOK_UP_S: Final = 0.1
_SIZE_TYPE: Final = "text/x.tlog.size"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness, and the address before `add-checkpoint`, which ends in a slash."""

    key: WitnessKey
    url: str


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content_type: str
    text: str


class Collector:
    """Collects cosignatures of the latest checkpoint from every witness that has not given its own."""

    def __init__(self, *, database: Database, witnesses: list[Witness], answer_s: float) -> None:
        self._database = database
        self._witnesses = witnesses
        self._answer_s = answer_s
        self._asked: dict[WitnessKey, threading.Thread] = {}

    def collect(self, *, until: float, stop: threading.Event | None = None) -> None:
        """Asks all at once, and waits for them.

        Args:
            until: whoever has not answered then (`time.monotonic`) is not waited for. What they answer later is kept.
            stop: ends the waiting.
        """
        for witness in self._witnesses:
            earlier = self._asked.get(witness.key)
            if earlier is not None and earlier.is_alive():
                continue
            # A daemon: a witness that keeps a connection open must not keep this process from ending.
            self._asked[witness.key] = threading.Thread(
                target=self._ask_safely, args=(witness,), name=f"witness-{witness.key.name}", daemon=True
            )
            self._asked[witness.key].start()
        for thread in self._asked.values():
            while thread.is_alive() and time.monotonic() < until and not (stop and stop.is_set()):
                thread.join(timeout=_LOOK_UP_S)

    def _ask_safely(self, witness: Witness) -> None:
        try:
            self._ask(witness)
        except (httpx.HTTPError, httpx.InvalidURL, LedgerError, SQLAlchemyError, ValueError) as error:
            _log.warning("witness_did_not_cosign", host=_host(witness), error_type=type(error).__name__)

    def _ask(self, witness: Witness) -> None:
        old_size: int | None = None
        shown_handovers = False
        for _ in range(_ATTEMPTS):
            asked = self._request(witness, old_size)
            if asked is None:
                return
            sent, size, note, request = asked
            answer = self._post(witness, "add-checkpoint", request)
            if answer.status == HTTPStatus.OK:
                self._keep(witness, size, note, answer.text)
                return
            if answer.status == HTTPStatus.CONFLICT and answer.content_type == _SIZE_TYPE:
                known = parse_decimal(answer.text.removesuffix("\n"))
                if known == sent == size:
                    # It knows that size, and we said so: it is the root that differs.
                    _log.error("witness_saw_another_history", host=_host(witness), size=known)
                    return
                # Also where it is our size: its answer was lost, and it cosigns again without a proof.
                old_size = known
                continue
            if answer.status == HTTPStatus.FORBIDDEN and not shown_handovers:
                shown_handovers = True
                with self._database.reading() as session:
                    handovers = trust_tables.handovers(session)
                for handover in handovers:
                    self._post(witness, "add-handover", handover.encode())
                continue
            _log.warning("witness_did_not_cosign", host=_host(witness), status=answer.status)
            return

    def _request(self, witness: Witness, old_size: int | None) -> tuple[int, int, str, bytes] | None:
        """Old size, size, note and what to send of the latest checkpoint; None if none is needed or it is ahead."""
        with self._database.reading() as session:
            latest = tables.latest_checkpoint(session)
            if latest is None or trust_tables.has_cosignature(session, size=latest.size, key=witness.key):
                return None
            if old_size is None:
                cosigned = trust_tables.latest_cosigned(session, witness.key)
                old_size = 0 if cosigned is None else cosigned.size
            if old_size > latest.size:
                # Another process of ours is ahead, or this log was restored from a backup.
                _log.warning("witness_is_ahead", host=_host(witness), size=old_size)
                return None
            old, size = old_size, latest.size
            proof = tables.SessionNodes(session).at_once(lambda nodes: merkle.consistency_proof(nodes, old, size))
        lines = [f"old {old}", *map(to_base64, proof), "", latest.note]
        return old, size, latest.note, "\n".join(lines).encode()

    def _keep(self, witness: Witness, size: int, note: str, answer: str) -> None:
        found = answered_cosignatures(note, answer, [witness.key])
        if not found:
            _log.warning("witness_answered_with_another_key", host=_host(witness))
            return
        try:
            with self._database.writing() as session:
                if not trust_tables.has_cosignature(session, size=size, key=witness.key):
                    session.add(
                        trust_tables.AuditCosignature(size=size, witness=witness.key.format(), line=found[0].line)
                    )
        except IntegrityError:
            return  # another process kept one in the same moment
        _log.info("witness_cosigned", host=_host(witness), size=size)

    def _post(self, witness: Witness, path: str, content: bytes) -> _Answer:
        """One request; all of its answer, within the time that a witness has.

        Raises:
            httpx.HTTPError: no answer, or none in time.
            ValueError: the answer is longer than any that is needed.
        """
        until = time.monotonic() + self._answer_s
        here = urlsplit(witness.url).hostname in _LOOPBACK
        with (
            httpx.Client(timeout=self._answer_s, trust_env=not here) as client,
            client.stream("POST", f"{witness.url}{path}", content=content) as response,
        ):
            body = b""
            for block in response.iter_raw():
                body += block
                if len(body) > _ANSWER_BYTES_MAX:
                    raise ValueError("the answer of a witness is longer than any that is needed")
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("the witness did not answer in time")
            content_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            return _Answer(response.status_code, content_type, body.decode())


def _host(witness: Witness) -> str:
    return urlsplit(witness.url).hostname or ""
