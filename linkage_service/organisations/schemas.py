"""Wire models of organisations, clients, registration and tokens."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from linkage_service.agreements.document import Assurance
from linkage_service.organisations import tables
from linkage_service.people.schemas import Person
from linkage_service.wire import AgreementId, Base64Url, Document, Input, Name, Output, Text, Timestamp

Role = Literal["administrator", "officer", "operator", "analyst", "signatory", "recipient"]
PartnerRole = Literal["officer", "operator", "analyst", "signatory", "recipient"]
Jwk = Annotated[Document, Field(description="Public JWK (RFC 7517): Ed25519, or P-256 where said so.", max_length=20)]

# Public keys of RFC 8037 (appendix A.2) and of a key pair that was thrown away.
_CLIENT_EXAMPLE: dict[str, Any] = {
    "name": "linkage server",
    "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    "roles": ["analyst", "signatory"],
}
_REGISTRATION_EXAMPLE: dict[str, Any] = {
    "invitation": "the-token-of-your-invitation",
    "signing_key": {"kty": "OKP", "crv": "Ed25519", "x": "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"},
    "client": _CLIENT_EXAMPLE,
    "signature": "base64url-without-padding",
}


class OrganisationDraft(Input):
    """An organisation to create."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Northshire Council"}]})

    name: Name


class Organisation(Output):
    """A legal body: provider, recipient, processor or the linkage unit."""

    id: str
    name: str
    kind: Literal["linkage_unit", "partner"]
    status: Literal["invited", "active", "suspended"]
    signing_key: dict[str, str] | None
    assurance: Assurance
    assurance_expires: Timestamp | None
    created_at: Timestamp

    @classmethod
    def of(cls, row: tables.Organisation) -> "Organisation":
        """Renders a row."""
        return cls.model_validate(row.model_dump(include=set(cls.model_fields)))


class AssuranceRecord(Input):
    """What a party has shown of its information security, such as a Data Security and Protection Toolkit return."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "standards_met",
                    "expires_at": "2027-06-30T23:59:59Z",
                    "evidence": "DSPT 2025-26, seen on the public register.",
                }
            ]
        }
    )

    status: Assurance
    expires_at: Annotated[
        Timestamp | None, Field(description="Until when it holds; null, and only then, with the status none.")
    ]
    evidence: Annotated[
        Text, Field(description="What was seen and where, in a sentence. It stands in the ledger.", max_length=1000)
    ]


class Sanction(Input):
    """Why a sanction is imposed or lifted, and under which agreement, if under one."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "Uploads were probed on 3 March.", "agreement": None}]}
    )

    reason: Annotated[Text, Field(description="Stands in the ledger. Name no data subject.", max_length=1000)]
    agreement: Annotated[
        AgreementId | None, Field(description="If given, the sanction must be on this agreement's ladder.")
    ] = None


class Invitation(Output):
    """A single-use token with which an organisation registers its keys. It is shown once."""

    token: str
    organisation: str
    expires_at: Timestamp


class ClientDraft(Input):
    """A machine client to register."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CLIENT_EXAMPLE]})

    name: Name
    jwk: Jwk
    roles: Annotated[list[PartnerRole], Field(min_length=1, max_length=5)]


class KeyDraft(Input):
    """A further key of a client."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"jwk": _CLIENT_EXAMPLE["jwk"]}]})

    jwk: Jwk


class ClientKey(Output):
    """A public key of a client."""

    thumbprint: Annotated[str, Field(description="RFC 7638, base64url: the `kid` of assertions signed with it.")]
    status: Literal["active", "revoked"]
    registered_at: Timestamp
    revoked_at: Timestamp | None

    @classmethod
    def of(cls, row: tables.ClientKey) -> "ClientKey":
        """Renders a row."""
        return cls.model_validate(row.model_dump(include=set(cls.model_fields)))


class Client(Output):
    """A machine client."""

    id: str
    organisation: str
    name: str
    roles: list[Role]
    keys: Annotated[list[ClientKey], Field(description="Oldest first, revoked ones included.")]
    status: Literal["active", "suspended", "revoked"]
    created_at: Timestamp

    @classmethod
    def of(cls, row: tables.Client, keys: Sequence[tables.ClientKey]) -> "Client":
        """Renders a row with the rows of its keys."""
        shown = row.model_dump(include=set(cls.model_fields) - {"keys"})
        return cls(**shown, keys=[ClientKey.of(key) for key in keys])


class RegistrationDraft(Input):
    """What an invited organisation sends to register its signing key and its first client."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REGISTRATION_EXAMPLE]})

    invitation: Annotated[str, Field(min_length=16, max_length=200)]
    signing_key: Jwk
    client: ClientDraft
    signature: Annotated[
        Base64Url,
        Field(
            description=(
                'Ed25519 by the signing key over "linkage/registration/v1", a zero byte and the canonical JSON '
                "(RFC 8785) of {invitation, signing_key, client}."
            )
        ),
    ]


class Registration(Output):
    """What was registered."""

    organisation: Organisation
    client: Client


class Me(Output):
    """Who the caller is: a client, or a person in a session."""

    client: Client | None
    person: Person | None
    organisation: Organisation


class Token(Output):
    """RFC 6749 token answer."""

    access_token: str
    token_type: Annotated[
        Literal["DPoP", "Bearer"], Field(description="DPoP: bound to the key of the proof. Bearer: where not required.")
    ]
    expires_in: int


class Metadata(Output):
    """RFC 8414 authorization server metadata."""

    issuer: str
    token_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    response_types_supported: list[str]
    dpop_signing_alg_values_supported: list[str]


class JwkSet(Output):
    """The keys that sign access tokens."""

    keys: list[dict[str, Any]]
