"""Whether enough witnesses vouch for the log, and since when not."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from linkage_ledger.cosignatures import PolicyAnswer, WitnessPolicy, check_policy
from linkage_service.audit import tables, trust_tables


@dataclass(frozen=True, slots=True)
class Lack:
    """Too few witnesses vouch for the present.

    Attributes:
        size: of the latest checkpoint.
        witnessed_size: of the longest log that enough witnesses vouch for; 0 for none.
        since: time of the first event that they do not vouch for.
        missing: names of the witnesses that did not cosign the latest checkpoint.
    """

    size: int
    witnessed_size: int
    since: datetime
    missing: tuple[str, ...]

    @property
    def words(self) -> str:
        """The lack in one sentence."""
        absent = ", ".join(self.missing)
        return (
            f"The checkpoint at {self.size} events lacks its quorum of witnesses since {self.since:%d %B %Y %H:%M} "
            f"UTC: without {absent}. What they vouch for ends at {self.witnessed_size} events."
        )


def answer_of(session: Session, policy: WitnessPolicy, checkpoint: tables.AuditCheckpoint) -> PolicyAnswer:
    """Who cosigned a checkpoint, and whether they are enough."""
    return check_policy(trust_tables.with_cosignatures(session, checkpoint).whole, policy)


def lack_of_quorum(session: Session, policy: WitnessPolicy, *, now: datetime, longer_than_s: float = 0) -> Lack | None:
    """Says since when the latest checkpoint lacks its quorum; None if it does not, or not for long enough.

    What the witnesses do not vouch for begins with the event after the last checkpoint that enough of them cosigned.
    How old that event is, is how long the quorum has been missing: a checkpoint holds no time.

    Args:
        session: a transaction.
        policy: the service's witnesses and quorum.
        now: the time.
        longer_than_s: a lack that is shorter is none, seconds.
    """
    latest = tables.latest_checkpoint(session)
    if latest is None or policy.quorum == 0:
        return None
    answer = answer_of(session, policy, latest)
    if answer.satisfied:
        return None
    witnessed = trust_tables.latest_with_quorum(session, policy.witnesses, policy.quorum)
    covered = 0 if witnessed is None else witnessed.size
    first = trust_tables.time_of(session, covered)
    since = now if first is None else datetime.fromisoformat(first)
    if now - since <= timedelta(seconds=longer_than_s):
        return None
    return Lack(
        size=latest.size, witnessed_size=covered, since=since, missing=tuple(key.name for key in answer.missing)
    )
