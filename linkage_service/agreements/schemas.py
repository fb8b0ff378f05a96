"""Wire models of agreements."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from linkage_service.agreements.document import AgreementDocument, PartyRole
from linkage_service.agreements.example import DOCUMENT
from linkage_service.wire import Base64Url, Input, Output, Sha256, Text, Timestamp

AgreementState = Literal["draft", "proposed", "active", "suspended", "expired", "terminated"]
AgreementVersionState = Literal["draft", "proposed", "active", "superseded", "withdrawn"]


class AgreementDraft(Input):
    """A document to keep as a draft."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"document": DOCUMENT}]})

    document: AgreementDocument
    _sent: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_as_sent(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        draft = handler(value)
        if isinstance(value, dict):
            draft._sent = value["document"]  # noqa: SLF001 - its own
        return draft

    @property
    def sent(self) -> dict[str, Any]:
        """The document as it was sent: what its digest is taken of, so that every party computes the same one."""
        return self._sent


class SignatureDraft(Input):
    """A party's signature."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"digest": "5f" * 32, "signature": "base64url-without-padding"}]}
    )

    digest: Annotated[Sha256, Field(description="SHA-256 of the document's canonical JSON (RFC 8785), hex.")]
    signature: Annotated[
        Base64Url,
        Field(
            description=(
                'Ed25519 by the organisation\'s signing key over "linkage/agreement/v1", a zero byte and the 32 bytes '
                "of the digest."
            )
        ),
    ]


class ReasonDraft(Input):
    """Why something is done; it goes into the access log."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "A breach was reported on 3 May."}]})

    reason: Annotated[Text, Field(description="Why, in words, without anything about a person whose data are shared.")]


class ReviewDraft(Input):
    """What a review found."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"passed": True, "review_by": "2026-12-01T00:00:00Z", "findings": "The measures of element 8 are met."}
            ]
        }
    )

    passed: Annotated[bool, Field(description="Whether the sharing goes on.")]
    review_by: Annotated[Timestamp, Field(description="When the next review is due; not after the agreement's end.")]
    findings: Annotated[Text, Field(description="What was found, in words, without anything about a person.")]


class PartyState(Output):
    """A party and whether it has signed."""

    organisation: str
    roles: list[PartyRole]
    signed: bool


class VersionState(Output):
    """One version of an agreement, and where it stands."""

    version: int
    state: AgreementVersionState
    digest: str
    created_at: Timestamp


class Review(Output):
    """What an officer of the linkage unit recorded of a review."""

    version: int
    passed: bool
    review_by: Timestamp
    findings: str
    created_at: Timestamp


class Agreement(Output):
    """An agreement as it stands, at one of its versions. `versions` holds those that name the caller."""

    id: str
    reference: str
    title: str
    state: AgreementState
    version: int
    version_state: AgreementVersionState
    digest: str
    parties: list[PartyState]
    versions: list[VersionState]
    review_by: Timestamp
    review: Review | None
    created_at: Timestamp


class Signature(Output):
    """A signature that was checked."""

    organisation: str
    key_thumbprint: str
    signature: str
    signed_at: Timestamp


class AgreementVersion(Agreement):
    """One version with its document and signatures."""

    document: dict[str, Any]
    signatures: list[Signature]
