"""Wire models of the access log."""

from typing import Any

from linkage_service.wire import Output


class Event(Output):
    """One leaf of the ledger."""

    seq: int
    leaf_hash: str
    header: dict[str, Any]


class EventPage(Output):
    """Events in order; ask again with `after` set to `next_after` while it is not null."""

    items: list[Event]
    next_after: int | None


class Consistency(Output):
    """Proof (RFC 6962 section 2.1.2) that the log of `first` leaves is the beginning of the log of `second`."""

    first: int
    second: int
    proof: list[str]


class VerifierKey(Output):
    """The key with which checkpoints are checked, in C2SP form."""

    origin: str
    key: str
