"""Wire models of agreements."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from linkage_service.agreements.document import AgreementDocument, PartyRole
from linkage_service.agreements.example import DOCUMENT
from linkage_service.wire import Base64Url, Input, Output, Sha256, Timestamp

AgreementState = Literal["draft", "proposed", "active", "suspended", "expired", "terminated"]


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


class PartyState(Output):
    """A party and whether it has signed."""

    organisation: str
    roles: list[PartyRole]
    signed: bool


class Agreement(Output):
    """An agreement as it stands."""

    id: str
    reference: str
    title: str
    state: AgreementState
    version: int
    digest: str
    parties: list[PartyState]
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
