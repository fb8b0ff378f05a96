"""Makes a recorded decision again, from the facts that were judged and by the policy text that judged them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.decide import EVALUATION, Policy, Verdict, canonical_text
from linkage_service.access.policy_texts import recall
from linkage_service.audit import tables
from linkage_service.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision as it was recorded, and as it is made again.

    Attributes:
        header: the event.
        recorded: the decision in its header.
        verdict: what the same policy text says to the same facts now.
        request: the request that was judged: principal, action, resource, context.
        policy_is_current: whether that text is the one of this release.
    """

    header: events.Header
    recorded: events.Decision
    verdict: Verdict
    request: dict[str, Any]
    policy_is_current: bool

    @property
    def agrees(self) -> bool:
        """Whether the answer is the same, by the same policies.

        Older events do not say that something could not be evaluated: that is no policy, and is not compared.
        """
        recorded, verdict = self.recorded, self.verdict
        return (recorded.effect == "allow", _fired(recorded.policies)) == (verdict.allowed, _fired(verdict.policies))


def _fired(policies: Sequence[str]) -> list[str]:
    return [policy for policy in policies if policy != EVALUATION]


def replay(session: Session, *, seq: int, current: Policy) -> Replayed:
    """Makes the decision of an event again.

    Args:
        session: a transaction.
        seq: sequence number of the event.
        current: the policy of this release, so that it need not be read again.

    Raises:
        NotFound: there is no such event.
        Conflict: it holds no decision, its facts are gone or are not those that were judged, or the policy text is not
            known here.
    """
    row, body = tables.event_at(session, seq), tables.body_at(session, seq)
    if row is None:
        raise NotFound("There is no event with this sequence number.")
    header = events.parse(row.header)
    recorded = header.decision
    if recorded is None:
        raise Conflict("This event holds no decision of the policy.", code="no_decision")
    if body is None or body.body is None or body.salt is None:
        raise Conflict(
            "The facts of this decision were disposed of at the end of their retention, so it cannot be made again. "
            "Its answer, and the policies that gave it, stay in the log.",
            code="facts_disposed",
        )
    if header.body_hash != events.body_bytes_hash(body.salt, body.body).hex():
        raise Conflict(
            "The body of this event is not what its header says. Run `linkage-service audit verify`.",
            code="facts_changed",
        )
    facts = canonical_text(json.loads(body.body)["decision"]).encode()
    if hashlib.sha256(facts).hexdigest() != recorded.entities_digest:
        raise Conflict(
            "The facts of this event are not those that were judged. Treat this as a security incident.",
            code="facts_changed",
        )
    policy = current
    if recorded.policy_digest != current.digest:
        text = recall(session, recorded.policy_digest)
        if text is None:
            raise Conflict(
                "The policy text of this decision is not known here. Restore the database it was made with.",
                code="policy_unknown",
            )
        policy = Policy(text)
    return Replayed(
        header=header,
        recorded=recorded,
        verdict=policy.replay(facts),
        request=json.loads(facts)["request"],
        policy_is_current=policy is current,
    )
