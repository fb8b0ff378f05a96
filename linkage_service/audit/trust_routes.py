"""HTTP of what makes the log trustworthy: checkpoints, proofs, the key, and who vouches.

None of it says what is in the log, so whoever may call at all may ask, nothing is recorded, and every client can watch.
"""

import base64
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse
from sqlmodel import Session

from linkage_ledger.cosignatures import WitnessPolicy, cosignatures_of
from linkage_service.access.actions import Action
from linkage_service.access.decide import LEDGER
from linkage_service.access.guard import Gate, Operation, guard
from linkage_service.audit import quorum, schemas, tables, trust_tables
from linkage_service.audit.log import Log
from linkage_service.errors import NotFound
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.wire import Route

router = APIRouter(route_class=Route, prefix="/v1/audit", tags=["ledger"], responses=OF_EVERY_ROUTE)
TrustGate = Annotated[Gate, guard(Action.READ_LEDGER)]
Size = Annotated[int, Query(ge=0, le=2**53)]
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text."}
}


@router.get(
    "/checkpoint", operation_id="get_checkpoint", summary="Signed checkpoint of the log",
    response_class=PlainTextResponse, responses={**_TEXT, **responses(401, 403, 404, 422, 503)},
)  # fmt: skip
def get_checkpoint(
    request: Request,
    gate: TrustGate,
    *,
    witnessed: Annotated[
        bool, Query(description="Instead of the newest, the newest that the quorum of witnesses cosigned.")
    ] = False,
) -> PlainTextResponse:
    """The log's size and root as a C2SP signed note, up to the present, with the cosignatures of witnesses so far.

    Keep it: it binds the operator to what was logged. `Linkage-Quorum` says whether enough witnesses cosigned:
    `satisfied`, `lacking`, or `none` where none are asked for. Cosignatures follow within a minute.
    """
    gate.read(lambda operation: operation.require(LEDGER))
    state = request.app.state.service
    policy: WitnessPolicy = state.settings.witness_policy
    log: Log = gate.door.log
    if not witnessed:
        log.checkpoint(gate.door.database)
    with gate.door.database.reading() as session:
        row = _witnessed(session, policy) if witnessed else tables.latest_checkpoint(session)
        if row is None:
            raise NotFound("No checkpoint has its quorum of witnesses yet. Ask for the newest, without `witnessed`.")
        note = trust_tables.with_cosignatures(session, row).whole
        satisfied = quorum.answer_of(session, policy, row).satisfied
    if not satisfied:
        state.checkpointer.collect_soon()
    said = ("satisfied" if satisfied else "lacking") if policy.quorum else "none"
    return PlainTextResponse(note, headers={"Linkage-Quorum": said})


@router.get(
    "/consistency",
    operation_id="get_consistency",
    summary="Proof that the log only grew",
    responses=responses(401, 403, 404, 422),
)
def get_consistency(gate: TrustGate, first: Size, second: Size) -> schemas.Consistency:
    """Hashes that show the log of `first` leaves to be the beginning of the log of `second`."""

    def query(operation: Operation) -> schemas.Consistency:
        operation.require(LEDGER)
        proof = gate.door.log.consistency(operation.session, first=first, second=second)
        return schemas.Consistency(first=first, second=second, proof=_in_base64(proof))

    return gate.read(query)


@router.get(
    "/inclusion",
    operation_id="get_inclusion",
    summary="Proof that an event is in the log",
    responses=responses(401, 403, 404, 422),
)
def get_inclusion(gate: TrustGate, seq: Size, size: Size) -> schemas.Inclusion:
    """Hashes that lead from the event `seq` to the root of the log of `size` leaves.

    An answer to a change names its event in `Linkage-Event` and the event's leaf hash in `Linkage-Event-Leaf`: with
    both and a checkpoint, this shows that the event was recorded and stays so. It tells nothing of other events.
    """

    def query(operation: Operation) -> schemas.Inclusion:
        operation.require(LEDGER)
        proof = gate.door.log.inclusion(operation.session, seq=seq, size=size)
        return schemas.Inclusion(seq=seq, size=size, proof=_in_base64(proof))

    return gate.read(query)


@router.get(
    "/verifier-key",
    operation_id="get_verifier_key",
    summary="Key that checks the log",
    responses=responses(401, 403, 422),
)
def get_verifier_key(gate: TrustGate) -> schemas.VerifierKey:
    """The log's public key, and how it was handed over. Compare it once with what the operator published elsewhere."""

    def query(operation: Operation) -> schemas.VerifierKey:
        operation.require(LEDGER)
        verifier = gate.door.log.verifier_in(operation.session)
        return schemas.VerifierKey(
            origin=verifier.name, key=verifier.format(), handovers=trust_tables.handovers(operation.session)
        )

    return gate.read(query)


@router.get(
    "/witnesses",
    operation_id="get_witnesses",
    summary="Who vouches for the log",
    responses=responses(401, 403, 422),
)
def get_witnesses(request: Request, gate: TrustGate) -> schemas.Witnesses:
    """The witnesses that this service asks, what each cosigned last, and whether they are enough."""
    policy: WitnessPolicy = request.app.state.service.settings.witness_policy

    def query(operation: Operation) -> schemas.Witnesses:
        operation.require(LEDGER)
        session = operation.session
        latest = tables.latest_checkpoint(session)
        lack = quorum.lack_of_quorum(session, policy, now=operation.now, longer_than_s=-1)
        witnessed = _witnessed(session, policy)
        return schemas.Witnesses(
            quorum=policy.quorum,
            satisfied=lack is None,
            size=latest.size if latest else 0,
            witnessed_size=witnessed.size if witnessed and policy.quorum else None,
            lacking_since=lack.since if lack else None,
            witnesses=_witnesses(session, policy),
            policy=policy.text(log_keys=[gate.door.log.verifier_in(session).format()]),
        )

    return gate.read(query)


def _witnessed(session: Session, policy: WitnessPolicy) -> tables.AuditCheckpoint | None:
    if policy.quorum == 0:
        return tables.latest_checkpoint(session)
    return trust_tables.latest_with_quorum(session, policy.witnesses, policy.quorum)


def _witnesses(session: Session, policy: WitnessPolicy) -> list[schemas.Witness]:
    shown = []
    for key in policy.witnesses:
        row = trust_tables.latest_cosigned(session, key)
        checkpoint = None if row is None else session.get(tables.AuditCheckpoint, row.size)
        time = None
        if row is not None and checkpoint is not None:
            time = cosignatures_of(checkpoint.note + row.line, [key])[0].time
        shown.append(
            schemas.Witness(
                name=key.name,
                key=key.format(),
                size=None if row is None else row.size,
                cosigned_at=None if time is None else datetime.fromtimestamp(time, UTC),
            )
        )
    return shown


def _in_base64(proof: list[bytes]) -> list[str]:
    return [base64.b64encode(node).decode() for node in proof]
