"""Wire models of the access log."""

from datetime import datetime
from typing import Any, Literal

from linkage_service.wire import Output

BodyState = Literal["none", "held", "disposed", "not_shown"]


class Event(Output):
    """One leaf of the ledger."""

    seq: int
    leaf_hash: str
    header: dict[str, Any]


class EventDetail(Event):
    """One leaf of the ledger with its body, where it has one that is still held and is for the caller.

    `body_state` is `none` for an event without a body, `held`, `disposed` at the end of its retention, or `not_shown`:
    bodies are for officers, of the linkage unit or of the organisation that acted.
    """

    body: dict[str, Any] | None
    body_state: BodyState


class Answered(Output):
    """An answer of the policy: by which of its policies, of which there is none where nothing grants what was asked."""

    allowed: bool
    policies: list[str]


class Replay(Output):
    """A recorded decision beside the same one made again: from the facts that were judged, by the text that judged.

    `agrees` says whether answer and policies are the same. Where not, the log or the engine is not what it was.
    `policy_is_current` says whether that policy text is the one of this release.
    """

    seq: int
    recorded: Answered
    replayed: Answered
    agrees: bool
    policy_digest: str
    policy_is_current: bool


class EventPage(Output):
    """Events in order.

    While `next_after` is not null, ask again with `after` set to it; with the newest first, with `before` set to
    `next_before`. What is appended meanwhile moves nothing.
    """

    items: list[Event]
    next_after: int | None
    next_before: int | None


class Consistency(Output):
    """Proof (RFC 6962 section 2.1.2) that the log of `first` leaves is the beginning of the log of `second`."""

    first: int
    second: int
    proof: list[str]


class Inclusion(Output):
    """The path (RFC 6962 section 2.1.1) from the event `seq` to the root of the log of `size` leaves."""

    seq: int
    size: int
    proof: list[str]


class VerifierKey(Output):
    """The key with which checkpoints are checked, in C2SP form.

    `handovers` are the signed notes of all hand-overs of the key, oldest first: from any key of theirs, whoever trusts
    it can follow to the present one.
    """

    origin: str
    key: str
    handovers: list[str]


class Witness(Output):
    """A witness of the log: its verifier key, and the greatest size that it cosigned, with the time that it named."""

    name: str
    key: str
    size: int | None
    cosigned_at: datetime | None


class Witnesses(Output):
    """Who vouches for the log: `quorum` of these witnesses have to cosign a checkpoint.

    `size` is that of the latest checkpoint, `witnessed_size` of the latest that has its quorum. Where the latest lacks
    it, `lacking_since` is the time of the first event that the quorum does not vouch for. `policy` says the same rule
    in the form of C2SP tlog-policy.
    """

    quorum: int
    satisfied: bool
    size: int
    witnessed_size: int | None
    lacking_since: datetime | None
    witnesses: list[Witness]
    policy: str
