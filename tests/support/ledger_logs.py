"""Logs to verify and to damage."""

from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from linkage_ledger import events
from linkage_ledger.memory import MemoryLog
from linkage_ledger.notes import SigningKey

ORIGIN = "ledger.example/test"
KEY = SigningKey(name=ORIGIN, private_key=Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def make_header(number: int = 0, *, full: bool = True) -> events.Header:
    """A header with every optional member, or with none."""
    at = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=number)
    if not full:
        return events.Header(
            id=events.new_id(at),
            time=events.format_time(at),
            type="audit.viewed",
            actor=events.Actor(kind="unknown"),
            resource=events.Resource(type="audit"),
            action="view",
            outcome=events.Outcome(status="refused", code="not_authenticated"),
            request_id=f"req_{number}",
            source="192.0.2.7",
        )
    return events.Header(
        id=events.new_id(at),
        time=events.format_time(at),
        type="upload.completed",
        actor=events.Actor(kind="client", id=f"cli_{number % 7}", org="org_a"),
        authn=events.Authn(method="private_key_jwt", key_thumbprint="thumb"),
        agreement=events.AgreementRef(ref="agr_1", version=1, digest="0" * 64),
        project="prj_1",
        resource=events.Resource(type="upload", id=f"upl_{number}"),
        action="complete",
        purpose="service-planning",
        decision=events.Decision(
            effect="allow", policies=("provider-uploads",), policy_digest="1" * 64, entities_digest="2" * 64
        ),
        outcome=events.Outcome(status="success", code="ok"),
        counts={"rows": 5000 + number},
        request_id=f"req_{number}",
        source="192.0.2.7",
    )


def make_log(size: int, *, checkpoint_every: int = 0, body_every: int = 0) -> MemoryLog:
    """A good log whose last checkpoint, if it has any, covers everything."""
    log = MemoryLog()
    for number in range(size):
        has_body = body_every and number % body_every == 0
        log.append(
            make_header(number, full=number % 2 == 0), {"person": "P. Example", "number": number} if has_body else None
        )
        if checkpoint_every and (number + 1) % checkpoint_every == 0:
            log.checkpoint(KEY)
    if checkpoint_every:
        log.checkpoint(KEY)
    return log
