"""The ledger, as far as the caller may see it."""

from collections.abc import Iterator
from typing import Any

from linkage_client._transport import path_of
from linkage_client.models import LedgerEvent
from linkage_client.resources._base import PAGE_ROWS, Resource, validated


class Audit(Resource):
    """Events, receipts and checkpoints of the tamper-evident log."""

    __slots__ = ()

    def events(self, *, after: int | None = None) -> Iterator[LedgerEvent]:
        """Events with a sequence number above `after`, in order. An officer sees all, others what concerns them."""
        while True:
            params: dict[str, Any] = {"limit": PAGE_ROWS} | ({} if after is None else {"after": after})
            answer = self._transport.send("GET", path_of("audit", "events"), params=params)
            page = answer.json()
            items = page.get("items", []) if isinstance(page, dict) else []
            events = [validated(item, LedgerEvent, answer) for item in items]
            yield from events
            # The ledger pages by sequence number: the number of the last event is the cursor.
            if not events or not page.get("next_cursor") or (after is not None and events[-1].seq <= after):
                return
            after = events[-1].seq

    def event(self, *, seq: int) -> LedgerEvent:
        """One event."""
        return self._get(path_of("audit", "events", seq), LedgerEvent)

    def receipt(self, *, seq: int) -> str:
        """Proof that an event is in the log (C2SP tlog-proof), for `linkage_ledger.receipts`."""
        return self._text("audit", "events", seq, "receipt")

    def checkpoint(self) -> str:
        """The log's latest signed state (C2SP signed note)."""
        return self._text("audit", "checkpoint")

    def verifier_key(self) -> str:
        """The public key that checkpoints are signed with, as a note verifier key."""
        return self._text("audit", "verifier-key").strip()

    def consistency(self, *, first: int, second: int) -> dict[str, Any]:
        """Proof that the log of size `second` continues the log of size `first`."""
        params = {"first": first, "second": second}
        answer = self._transport.send("GET", path_of("audit", "consistency"), params=params)
        proof = answer.json()
        return proof if isinstance(proof, dict) else {"proof": proof}

    def _text(self, *segments: str | int) -> str:
        answer = self._transport.send("GET", path_of(*segments), headers={"Accept": "text/plain"})
        return answer.body.decode()
