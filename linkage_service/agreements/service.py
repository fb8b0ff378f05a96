"""Use cases of agreements, and the agreement as the policy sees it."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.callers import ASSURANCE_LEVELS, Caller
from linkage_service.access.decide import AgreementReference, Governing, Resource, in_billionths
from linkage_service.access.entities import Attribute, Entity, Reference, organisation_reference
from linkage_service.access.guard import Operation
from linkage_service.agreements import schemas, tables
from linkage_service.agreements.document import AgreementDocument, Tier, digest_of
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.tables import knows_agreement
from linkage_service.errors import (
    ChangedMeanwhile,
    Conflict,
    FieldError,
    Invalid,
    NotFound,
    PreconditionRequired,
)
from linkage_service.ids import new_id
from linkage_service.organisations import tables as organisations
from linkage_service.organisations.service import verify_signature

TIERS = get_args(Tier)
_WERE_IN_FORCE = ("active", "superseded")
_SIGNATURE_CONTEXT = b"linkage/agreement/v1\0"


@dataclass(frozen=True, slots=True)
class InForce:
    """An agreement at one version, with its document parsed.

    Attributes:
        row: the agreement.
        version: the version.
        document: what that version says.
        signed: ids of the organisations that have signed it.
        review: the last review that counts for the version, if there was one.
        ends: when the agreement ends, as its present version says.
        ladder: sanctions that any version lists under which projects may still go on: an amendment that leaves one out
            takes nothing from those who have not signed it.
    """

    row: tables.Agreement
    version: tables.AgreementVersion
    document: AgreementDocument
    signed: frozenset[str]
    review: tables.AgreementReview | None
    ends: datetime
    ladder: frozenset[str]

    @property
    def reference(self) -> AgreementReference:
        """How the ledger names it."""
        return AgreementReference(self.row.reference, self.version.version, self.version.digest)

    def state(self, now: datetime) -> schemas.AgreementState:
        """The agreement's state; one that was in force is expired past its end."""
        if self.row.state in {"active", "suspended"} and now >= self.ends:
            return "expired"
        return self.row.state  # type: ignore[return-value]  # only this module writes it

    @property
    def review_by(self) -> datetime:
        """When the next review is due: what the last one said, else the document."""
        return self.review.review_by if self.review else self.document.review.review_by

    def entity(self) -> Entity:
        """The version as the policy sees it."""
        row, version, document, review = self.row, self.version, self.document, self.review
        rights, security = document.rights, document.security
        # None stands for what the version does not say.
        optional: dict[str, Attribute | None] = {
            "target_precision": _billionths(document.quality.target_precision),
            "encoding_profile": security.encoding_profile,
            "maximum_reidentification": _billionths(security.maximum_reidentification),
            "reapply_days": None if rights.opt_out_type == "none" else rights.reapply_days,
        }
        return Entity(
            Reference("Agreement", row.id),
            {
                "reference": row.reference,
                "version": version.version,
                "state": row.state,
                "version_state": version.state,
                "signed": frozenset(map(organisation_reference, self.signed)),
                "purposes": frozenset(purpose.code for purpose in document.purpose.purposes),
                "parties": frozenset(map(organisation_reference, document.organisations())),
                "providers": frozenset(map(organisation_reference, document.organisations("provider"))),
                "recipients": frozenset(map(organisation_reference, document.organisations("recipient"))),
                "linkage_schema": document.data.linkage_schema_sha256,
                "identifier_fields": frozenset(document.data.identifier_fields),
                "outputs": frozenset(document.data.outputs),
                "columns": frozenset(document.data.columns),
                "minimum_tier": TIERS.index(security.minimum_tier),
                "minimum_assurance": ASSURANCE_LEVELS.index(security.minimum_assurance),
                "key_rotation_days": security.key_rotation_days,
                "max_retrievals": document.retention.max_retrievals,
                "starts": document.review.starts,
                "ends": document.review.ends,
                "review_by": self.review_by,
                "review_passed": review is None or review.passed,
                "ladder": self.ladder,
                **{name: value for name, value in optional.items() if value is not None},
            },
            # The digest stands for the whole document.
            key=(
                row.id,
                version.version,
                version.digest,
                row.state,
                version.state,
                self.signed,
                review.id if review else None,
                self.ladder,
            ),
        )

    @property
    def governing(self) -> Governing:
        """The version as what governs a decision."""
        return Governing(agreement=self.reference, entity=self.entity(), circumstances=self.document.circumstances)

    @property
    def parties(self) -> frozenset[str]:
        """Every organisation that the version names."""
        return frozenset(self.document.organisations())

    def resource(self) -> Resource:
        """The agreement as something that is acted on."""
        under = self.governing
        return Resource(kind="agreement", entity=under.entity, visible_to=self.parties, under=under)


def in_force(session: Session, agreement_id: str, *, version: int | None = None) -> InForce:
    """An agreement at a version, by default the present one: the one in force, or the first until it is.

    Raises:
        NotFound: there is none.
    """
    found = tables.at_version(session, agreement_id, version)
    if found is None:
        raise NotFound(NotFound.HIDDEN)
    return at_version(session, found)


def to_change(session: Session, agreement_id: str, *, version: int | None = None) -> InForce:
    """The same, to be changed: no other transaction changes the agreement meanwhile."""
    tables.lock(session, agreement_id)
    return in_force(session, agreement_id, version=version)


def seen_by(session: Session, agreement_id: str, *, caller: Caller) -> InForce:
    """An agreement at the version that a caller works with: the present one, else the newest that names its party.

    Raises:
        NotFound: there is no such agreement.
    """
    present = in_force(session, agreement_id)
    if _sees_all(caller) or caller.organisation in present.parties:
        return present
    naming = tables.versions_naming(session, agreement_id, caller.organisation)
    return in_force(session, agreement_id, version=max(naming)) if naming else present


def at_version(session: Session, found: tables.Found) -> InForce:
    """An agreement at a version that was read already."""
    row, version = found.row, found.version
    document = _document_of(version.document)
    present = version if version.version == row.version else tables.version(session, row.id, row.version)
    if present is None:
        raise RuntimeError("an agreement without its present version")
    ends = document if present is version else _document_of(present.document)
    others = tables.versions(session, row.id) if row.version > 1 else ()
    return InForce(
        row=row,
        version=version,
        document=document,
        signed=found.signed,
        review=_review_of(found),
        ends=ends.review.ends,
        ladder=frozenset(document.sanctions.ladder).union(
            *(json.loads(other.document)["sanctions"]["ladder"] for other in others if other.state in _WERE_IN_FORCE)
        ),
    )


@lru_cache(maxsize=256)
def _document_of(text: str) -> AgreementDocument:
    """A document that was kept. Nobody changes one, and nearly every request is about one of few."""
    return AgreementDocument.model_validate_json(text)


def signed_by_naming(session: Session, agreement_id: str, *, caller: Caller) -> InForce:
    """An agreement, to be stopped by a caller: the present version, else the newest in force that names its party.

    A party that an amendment leaves out has not agreed to it, and projects go on under the version that it did sign.
    """
    present = to_change(session, agreement_id)
    if _sees_all(caller) or caller.organisation in present.parties:
        return present
    naming = tables.versions_naming(session, agreement_id, caller.organisation)
    signed = [
        version.version
        for version in tables.versions(session, agreement_id)
        if version.version in naming and version.state in _WERE_IN_FORCE
    ]
    return in_force(session, agreement_id, version=max(signed)) if signed else present


def _review_of(found: tables.Found) -> tables.AgreementReview | None:
    """The review that counts for a version: the last one, if it was of this version or a later, or did not pass.

    An amendment does not undo what an officer found: only another review does.
    """
    last = found.latest
    return last if last and (not last.passed or last.version >= found.version.version) else None


def draft(operation: Operation, *, document: AgreementDocument, sent: dict[str, Any]) -> InForce:
    """Keeps a document as version 1 of a new agreement.

    Args:
        operation: the use case in progress.
        document: the document, validated.
        sent: the document as it was sent: what the digest is taken of.

    Raises:
        Conflict: the reference is taken.
        Invalid: a party is not registered here.
    """
    session = operation.session
    # A reference that the ledger knows stays taken: whoever may see its events are its parties.
    if tables.agreement_with_reference(session, document.reference) or knows_agreement(session, document.reference):
        raise Conflict("An agreement with this reference exists already. Choose another reference.")
    _check_parties_exist(session, document)
    row = tables.Agreement(
        id=new_id("agr", operation.now),
        reference=document.reference,
        state="draft",
        version=1,
        created_at=operation.now,
    )
    session.add(row)
    session.flush()
    made = _add_version(operation, row=row, number=1, document=document, sent=sent)
    operation.record(
        EventType.AGREEMENT_DRAFTED,
        resource=events.Resource("agreement", row.id),
        under=made.resource(),
    )
    return made


def amend(operation: Operation, *, agreement: InForce, document: AgreementDocument, sent: dict[str, Any]) -> InForce:
    """Keeps a document as the draft of the next version; the present one stays in force until all have signed.

    Raises:
        Conflict: the agreement is not in force, or another amendment is open.
        Invalid: the reference is another one, or a party is not registered here.
    """
    row, session = agreement.row, operation.session
    if row.state in {"draft", "proposed"}:
        raise Conflict(
            "This agreement is not in force yet, so there is nothing to amend. Replace or withdraw the draft."
        )
    _must_go_on(agreement, operation.now)
    versions = tables.versions(session, row.id)
    if any(version.state in {"draft", "proposed"} for version in versions):
        raise Conflict("Another amendment is open. It is signed by all or withdrawn before the next one is drafted.")
    _check_reference(row, document)
    _check_parties_exist(session, document)
    made = _add_version(operation, row=row, number=versions[-1].version + 1, document=document, sent=sent)
    operation.record(EventType.AGREEMENT_AMENDED, resource=events.Resource("agreement", row.id), under=made.resource())
    return made


def replace_draft(
    operation: Operation, *, agreement: InForce, document: AgreementDocument, sent: dict[str, Any]
) -> InForce:
    """Puts another document in the place of a draft.

    Raises:
        Conflict: the version is no draft any more.
        Invalid: the reference is another one, or a party is not registered here.
    """
    row, version, session = agreement.row, agreement.version, operation.session
    if version.state != "draft":
        raise Conflict("Only a draft can be replaced: a version that was proposed does not change.")
    _must_go_on(agreement, operation.now)
    _check_reference(row, document)
    _check_parties_exist(session, document)
    version.document, version.digest = digest_of(sent)
    session.add(version)
    tables.forget_parties(session, row.id, version.version)
    _add_parties(session, row=row, number=version.version, document=document)
    session.flush()
    made = in_force(session, row.id, version=version.version)
    event = EventType.AGREEMENT_DRAFTED if version.version == 1 else EventType.AGREEMENT_AMENDED
    operation.record(event, resource=events.Resource("agreement", row.id), under=made.resource())
    return made


def withdraw(operation: Operation, *, agreement: InForce) -> None:
    """Takes back a version that is not in force: a draft is deleted, a proposed amendment is kept as withdrawn.

    Raises:
        Conflict: the version is in force or was, or it is a first version that was proposed.
    """
    row, version, session = agreement.row, agreement.version, operation.session
    if version.state not in {"draft", "proposed"}:
        raise Conflict("Only a version that not all parties have signed can be withdrawn.")
    if version.state == "proposed" and version.version == row.version:
        raise Conflict("This agreement was proposed. Terminate it instead.")
    operation.record(EventType.AGREEMENT_WITHDRAWN, resource=events.Resource("agreement", row.id))
    if version.state == "proposed":
        version.state = "withdrawn"
        session.add(version)
        return
    tables.forget_draft(session, row.id, version.version)
    if version.version == row.version:
        tables.forget_agreement(session, row.id)


def propose(operation: Operation, *, agreement: InForce) -> InForce:
    """Puts a draft before its parties; from now on it does not change.

    Raises:
        Conflict: it is not a draft.
        Invalid: it has ended already, or a party cannot sign yet.
    """
    row, version = agreement.row, agreement.version
    if version.state != "draft":
        raise Conflict("Only a draft can be proposed, and this version is past that.")
    _must_go_on(agreement, operation.now)
    if agreement.document.review.ends <= operation.now:
        raise _wrong(
            "/document/review/ends", "past", "The agreement would end before it begins: ends lies in the past."
        )
    found = organisations.organisations(operation.session, agreement.document.organisations())
    if any(organisation.signing_key is None for organisation in found.values()):
        raise Conflict(
            "A party has not registered its signing key yet, so it could not sign. "
            "It needs to use its invitation first."
        )
    version.state = "proposed"
    if row.state == "draft":
        row.state = "proposed"
    operation.session.add_all([row, version])
    operation.record(EventType.AGREEMENT_PROPOSED, resource=events.Resource("agreement", row.id))
    return agreement


def sign(operation: Operation, *, agreement: InForce, signature: schemas.SignatureDraft) -> InForce:
    """Adds the signature of the caller's organisation; with the last one the version is in force.

    The version that was in force before is then superseded: projects that were opened under it go on under it.

    Raises:
        Conflict: it is not proposed, it has ended, or the organisation has signed.
        Invalid: the signature is over another document, or does not verify.
    """
    session, organisation_id = operation.session, operation.caller.organisation
    if agreement.version.state != "proposed":
        raise Conflict("This version is not waiting for signatures: it must be proposed, and not yet in force.")
    _must_go_on(agreement, operation.now)
    if agreement.document.review.ends <= operation.now:
        raise Conflict("This version's end date has passed, so it cannot come into force.")
    signed = {item.organisation for item in tables.signatures(session, agreement.row.id, agreement.version.version)}
    if organisation_id in signed:
        raise Conflict("Your organisation has signed this version already.")
    if signature.digest != agreement.version.digest:
        raise _wrong(
            "/digest", "other_document",
            "The signature is over another document than the one proposed. Read the proposed version, and sign that.",
        )  # fmt: skip
    organisation = organisations.organisation(session, organisation_id)
    if organisation is None or organisation.signing_key is None or organisation.signing_key_thumbprint is None:
        raise Conflict("Your organisation has no signing key here.")
    message = _SIGNATURE_CONTEXT + bytes.fromhex(signature.digest)
    verify_signature(organisation.signing_key, signature=signature.signature, message=message, pointer="/signature")
    session.add(
        tables.AgreementSignature(
            agreement=agreement.row.id,
            version=agreement.version.version,
            organisation=organisation_id,
            key_thumbprint=organisation.signing_key_thumbprint,
            signature=signature.signature,
            signed_at=operation.now,
        )
    )
    operation.record(EventType.AGREEMENT_SIGNED, resource=events.Resource("agreement", agreement.row.id))
    if signed | {organisation_id} == agreement.parties:
        _put_in_force(operation, agreement)
    return agreement


def suspend(operation: Operation, *, agreement: InForce, reason: str) -> InForce:
    """Stops everything under an agreement until it is reinstated.

    Raises:
        Conflict: it is not active.
    """
    if agreement.state(operation.now) != "active":
        raise Conflict("Only an active agreement can be suspended.")
    return _moved(operation, agreement, state="suspended", event=EventType.AGREEMENT_SUSPENDED, reason=reason)


def reinstate(operation: Operation, *, agreement: InForce, reason: str) -> InForce:
    """Ends a suspension.

    Raises:
        Conflict: it is not suspended.
    """
    if agreement.state(operation.now) != "suspended":
        raise Conflict("Only a suspended agreement can be reinstated, and only before its end date.")
    return _moved(operation, agreement, state="active", event=EventType.AGREEMENT_REINSTATED, reason=reason)


def terminate(operation: Operation, *, agreement: InForce, reason: str) -> InForce:
    """Ends an agreement with all its versions, for good.

    Raises:
        Conflict: it is a draft, or has ended already.
    """
    if agreement.state(operation.now) not in {"proposed", "active", "suspended"}:
        raise Conflict("Only an agreement that was proposed and has not ended can be terminated. A draft is withdrawn.")
    return _moved(operation, agreement, state="terminated", event=EventType.AGREEMENT_TERMINATED, reason=reason)


def review(operation: Operation, *, agreement: InForce, found: schemas.ReviewDraft) -> InForce:
    """Records a review: whether the sharing goes on, and when it is looked at again.

    Raises:
        Conflict: the agreement is not in force.
        Invalid: the next review would be in the past, or after the end.
    """
    if agreement.state(operation.now) not in {"active", "suspended"}:
        raise Conflict("Only an agreement that is in force can be reviewed.")
    if not operation.now < found.review_by <= agreement.ends:
        raise _wrong(
            "/review_by", "out_of_term", "The next review must lie in the future and not after the agreement's end."
        )
    made = tables.AgreementReview(
        id=new_id("rev", operation.now),
        agreement=agreement.row.id,
        version=agreement.version.version,
        passed=found.passed,
        review_by=found.review_by,
        findings=found.findings,
        created_at=operation.now,
    )
    operation.session.add(made)
    operation.record(
        EventType.AGREEMENT_REVIEWED,
        resource=events.Resource("agreement", agreement.row.id),
        detail=found.model_dump(mode="json"),
    )
    return replace(agreement, review=made)


def entity_tag(rendered: BaseModel) -> str:
    """The strong ETag of an answer: it names exactly this content."""
    return f'"{hashlib.sha256(rendered.model_dump_json().encode()).hexdigest()[:32]}"'


def check_unchanged(rendered: BaseModel, *, if_match: str | None) -> None:
    """Compares the state that a caller has read with the present one.

    Raises:
        PreconditionRequired: the caller does not say what it has read.
        ChangedMeanwhile: it was changed since.
    """
    if if_match is None:
        raise PreconditionRequired(
            "Read the agreement or the version first, and send its ETag as If-Match with the change."
        )
    listed = {tag.strip() for tag in if_match.split(",")}
    # Not "*": it would say that any state will do, and that is what the header is there to prevent.
    if entity_tag(rendered) not in listed:
        raise ChangedMeanwhile("This was changed after you read it. Nothing was done. Read it again, then decide.")


def render(session: Session, agreement: InForce, *, caller: Caller, now: datetime) -> schemas.Agreement:
    """An agreement for the wire, with the versions that name the caller's organisation."""
    return schemas.Agreement(**_common(session, agreement, caller, now))


def render_version(session: Session, agreement: InForce, *, caller: Caller, now: datetime) -> schemas.AgreementVersion:
    """One version for the wire, with the document exactly as it was signed."""
    return schemas.AgreementVersion(
        **_common(session, agreement, caller, now),
        document=json.loads(agreement.version.document),
        signatures=[
            schemas.Signature.model_validate(item.model_dump(include=set(schemas.Signature.model_fields)))
            for item in tables.signatures(session, agreement.row.id, agreement.version.version)
        ],
    )


def _common(session: Session, agreement: InForce, caller: Caller, now: datetime) -> dict[str, Any]:
    session.flush()
    row, version, review_ = agreement.row, agreement.version, agreement.review
    signed = {item.organisation for item in tables.signatures(session, row.id, version.version)}
    seen = None if _sees_all(caller) else tables.versions_naming(session, row.id, caller.organisation)
    return {
        "id": row.id,
        "reference": row.reference,
        "title": agreement.document.title,
        "state": agreement.state(now),
        "version": version.version,
        "version_state": version.state,
        "digest": version.digest,
        "parties": [
            schemas.PartyState(organisation=party.organisation, roles=party.roles, signed=party.organisation in signed)
            for party in agreement.document.recipients.parties
        ],
        "versions": [
            schemas.VersionState.model_validate(item.model_dump(include=set(schemas.VersionState.model_fields)))
            for item in tables.versions(session, row.id)
            if seen is None or item.version in seen
        ],
        "review_by": agreement.review_by,
        "review": review_
        and schemas.Review.model_validate(review_.model_dump(include=set(schemas.Review.model_fields))),
        "created_at": version.created_at,
    }


def _sees_all(caller: Caller) -> bool:
    return caller.organisation_kind == "linkage_unit"


def _add_version(
    operation: Operation, *, row: tables.Agreement, number: int, document: AgreementDocument, sent: dict[str, Any]
) -> InForce:
    text, digest = digest_of(sent)
    version = tables.AgreementVersion(
        agreement=row.id, version=number, digest=digest, document=text, state="draft", created_at=operation.now
    )
    operation.session.add(version)
    _add_parties(operation.session, row=row, number=number, document=document)
    operation.session.flush()
    return in_force(operation.session, row.id, version=number)


def _add_parties(session: Session, *, row: tables.Agreement, number: int, document: AgreementDocument) -> None:
    session.add_all(
        tables.AgreementParty(agreement=row.id, version=number, organisation=organisation)
        for organisation in document.organisations()
    )


def _put_in_force(operation: Operation, agreement: InForce) -> None:
    row, version, session = agreement.row, agreement.version, operation.session
    if version.version == row.version:
        row.state = "active"
    else:
        before = tables.version(session, row.id, row.version)
        if before is None:
            raise RuntimeError("an agreement without its present version")
        before.state = "superseded"
        session.add(before)
        # A suspended agreement stays so: an amendment does not lift a sanction.
        row.version = version.version
    version.state = "active"
    session.add_all([row, version])
    operation.record(EventType.AGREEMENT_ACTIVATED, resource=events.Resource("agreement", row.id))


def _moved(operation: Operation, agreement: InForce, *, state: str, event: EventType, reason: str) -> InForce:
    agreement.row.state = state
    operation.session.add(agreement.row)
    operation.record(event, resource=events.Resource("agreement", agreement.row.id), detail={"reason": reason})
    return agreement


def _must_go_on(agreement: InForce, now: datetime) -> None:
    if agreement.state(now) in {"expired", "terminated"}:
        raise Conflict("This agreement has ended. That is final: draft a new one with another reference.")


def _check_reference(row: tables.Agreement, document: AgreementDocument) -> None:
    if document.reference != row.reference:
        raise _wrong(
            "/document/reference", "other_reference", "An agreement keeps its reference in all of its versions."
        )


def _check_parties_exist(session: Session, document: AgreementDocument) -> None:
    named = document.organisations()
    found = organisations.organisations(session, named)
    missing = [place for place, organisation in enumerate(named) if organisation not in found]
    if missing:
        errors = [
            FieldError(
                f"/document/recipients/parties/{place}/organisation",
                "unknown",
                "No organisation with this id is registered here.",
            )
            for place in missing
        ]
        raise Invalid(
            "A party of the agreement is not registered here. Every party needs an organisation id first.",
            errors=errors,
        )


def _billionths(share: float | None) -> int | None:
    return None if share is None else in_billionths(share)


def _wrong(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(pointer, code, detail)])
