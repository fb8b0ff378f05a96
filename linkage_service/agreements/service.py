"""Use cases of agreements, and the agreement as the policy sees it."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.callers import ASSURANCE_LEVELS
from linkage_service.access.decide import AgreementReference, Governing, Resource, in_billionths
from linkage_service.access.entities import Attribute, Entity, Reference, organisation_reference
from linkage_service.access.guard import Operation
from linkage_service.agreements import schemas, tables
from linkage_service.agreements.document import AgreementDocument, digest_of
from linkage_service.audit.catalogue import EventType
from linkage_service.errors import Conflict, FieldError, Invalid, NotFound
from linkage_service.ids import new_id
from linkage_service.organisations import tables as organisations
from linkage_service.organisations.service import verify_signature

TIERS = ("plain", "folded", "hardened")
_SIGNATURE_CONTEXT = b"linkage/agreement/v1\0"


@dataclass(frozen=True, slots=True)
class InForce:
    """An agreement at one version, with its document parsed.

    Attributes:
        row: the agreement.
        version: the version.
        document: what that version says.
        signed: ids of the organisations that have signed it.
        review: the last review of the agreement, if there was one.
    """

    row: tables.Agreement
    version: tables.AgreementVersion
    document: AgreementDocument
    signed: frozenset[str]
    review: tables.AgreementReview | None

    @property
    def reference(self) -> AgreementReference:
        """How the ledger names it."""
        return AgreementReference(self.row.reference, self.version.version, self.version.digest)

    def state(self, now: datetime) -> schemas.AgreementState:
        """The state, with an active agreement past its end shown as expired."""
        if self.row.state == "active" and now >= self.document.review.ends:
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
                "ladder": frozenset(document.sanctions.ladder),
                **{name: value for name, value in optional.items() if value is not None},
            },
            # The digest stands for the whole document.
            key=(row.id, version.digest, row.state, version.state, self.signed, review.id if review else None),
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
    """An agreement at a version, by default its newest.

    Raises:
        NotFound: there is none.
    """
    row = tables.agreement(session, agreement_id)
    found = tables.version(session, agreement_id, version or row.version) if row else None
    if row is None or found is None:
        raise NotFound("There is no such agreement, or it is not yours to see.")
    return at_version(session, row, found)


def at_version(session: Session, row: tables.Agreement, version: tables.AgreementVersion) -> InForce:
    """An agreement at a version that was read already."""
    return InForce(
        row=row,
        version=version,
        document=AgreementDocument.model_validate_json(version.document),
        signed=frozenset(item.organisation for item in tables.signatures(session, row.id, version.version)),
        review=tables.latest_review(session, row.id),
    )


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
    if tables.agreement_with_reference(session, document.reference) is not None:
        raise Conflict("An agreement with this reference exists already. Choose another reference.")
    _check_parties_exist(session, document)
    text, digest = digest_of(sent)
    row = tables.Agreement(
        id=new_id("agr", operation.now),
        reference=document.reference,
        state="draft",
        version=1,
        created_at=operation.now,
    )
    session.add(row)
    session.flush()
    version = tables.AgreementVersion(
        agreement=row.id, version=1, digest=digest, document=text, state="draft", created_at=operation.now
    )
    session.add(version)
    session.add_all(
        tables.AgreementParty(agreement=row.id, version=1, organisation=organisation)
        for organisation in document.organisations()
    )
    made = InForce(row=row, version=version, document=document, signed=frozenset(), review=None)
    operation.record(
        EventType.AGREEMENT_DRAFTED,
        resource=events.Resource("agreement", row.id),
        under=made.resource(),
    )
    return made


def propose(operation: Operation, *, agreement: InForce) -> InForce:
    """Puts a draft before its parties; from now on it does not change.

    Raises:
        Conflict: it is not a draft.
        Invalid: it has ended already, or a party cannot sign yet.
    """
    if agreement.row.state != "draft":
        raise Conflict("Only a draft can be proposed, and this agreement is past that.")
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
    agreement.row.state = agreement.version.state = "proposed"
    operation.session.add(agreement.row)
    operation.record(EventType.AGREEMENT_PROPOSED, resource=events.Resource("agreement", agreement.row.id))
    return agreement


def sign(operation: Operation, *, agreement: InForce, signature: schemas.SignatureDraft) -> InForce:
    """Adds the signature of the caller's organisation; the last one makes the agreement active.

    Raises:
        Conflict: it is not proposed, or the organisation has signed.
        Invalid: the signature is over another document, or does not verify.
    """
    session, organisation_id = operation.session, operation.caller.organisation
    if agreement.row.state != "proposed":
        raise Conflict("This agreement is not waiting for signatures: it must be proposed, and not yet active.")
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
        agreement.row.state = agreement.version.state = "active"
        session.add(agreement.row)
        operation.record(EventType.AGREEMENT_ACTIVATED, resource=events.Resource("agreement", agreement.row.id))
    return agreement


def render(session: Session, agreement: InForce, *, now: datetime) -> schemas.Agreement:
    """An agreement for the wire."""
    return schemas.Agreement(**_common(session, agreement, now))


def render_version(session: Session, agreement: InForce, *, now: datetime) -> schemas.AgreementVersion:
    """One version for the wire, with the document exactly as it was signed."""
    return schemas.AgreementVersion(
        **_common(session, agreement, now),
        document=json.loads(agreement.version.document),
        signatures=[
            schemas.Signature.model_validate(item.model_dump(include=set(schemas.Signature.model_fields)))
            for item in tables.signatures(session, agreement.row.id, agreement.version.version)
        ],
    )


def _common(session: Session, agreement: InForce, now: datetime) -> dict[str, Any]:
    session.flush()
    signed = {item.organisation for item in tables.signatures(session, agreement.row.id, agreement.version.version)}
    return {
        "id": agreement.row.id,
        "reference": agreement.row.reference,
        "title": agreement.document.title,
        "state": agreement.state(now),
        "version": agreement.version.version,
        "digest": agreement.version.digest,
        "parties": [
            schemas.PartyState(organisation=party.organisation, roles=party.roles, signed=party.organisation in signed)
            for party in agreement.document.recipients.parties
        ],
        "created_at": agreement.version.created_at,
    }


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
