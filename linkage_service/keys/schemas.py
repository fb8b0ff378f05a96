"""Wire models of key cards, envelopes and the exchange of a project's secret."""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints

from linkage_service.keys.epochs import Reason
from linkage_service.wire import Input, OrganisationId, Output, ProjectId, Sha256, Timestamp

Suite = Literal["x25519", "mlkem768-x25519"]
Epoch = Annotated[int, Field(ge=1, le=10_000, description="The project's present key epoch.")]
CheckValue = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{32}$"),
    Field(
        description="Keyed digest of the secret with project and epoch: equal for equal secrets, telling nothing else."
    ),
]
Key32 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
# ML-KEM-768 (1,184 bytes) and X25519 (32), one after the other.
HpkeKey = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{1622})$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{86}$")]
Ciphertext = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", min_length=86, max_length=2715)]


def _known(keys: object) -> object:
    # Before anything else is said of them: a made-up name must not come back in what is said.
    if isinstance(keys, dict) and not keys.keys() <= set(get_args(Suite)):
        raise ValueError("must name suites of the list only")
    return keys


def _calendar(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a time that the calendar has") from None
    return text


# What is signed is kept letter by letter, so this stays text; whole seconds, which is what clients take.
Moment = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"),
    AfterValidator(_calendar),
]

_SHA256 = "5f" * 32
_CARD_EXAMPLE: dict[str, Any] = {
    "v": 1,
    "organisation": "org_01k5v3m8q2e9r7t6y4w1x0zabc",
    "signing_key": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "hpke_keys": {"x25519": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"},
    "signature": "A" * 86,
}
_ENVELOPE_EXAMPLE: dict[str, Any] = {
    "v": 1,
    "project": "prj_01k5v3m8q2e9r7t6y4w1x0zabc",
    "epoch": 1,
    "from": "org_01k5v3m8q2e9r7t6y4w1x0zabc",
    "to": "org_01k5v3m8q2e9r7t6y4w1x0zabd",
    "keyset": _SHA256,
    "suite": "x25519",
    "at": "2026-03-01T12:00:00Z",
    "ciphertext": "A" * 107,
    "signature": "A" * 86,
}


class KeyCardDocument(Input):
    """Public keys of an organisation, by which other providers encrypt to it and know what it signed."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CARD_EXAMPLE]})

    v: Literal[1]
    organisation: OrganisationId
    signing_key: Annotated[Key32, Field(description="Ed25519, base64url without padding.")]
    hpke_keys: Annotated[
        dict[Suite, HpkeKey],
        BeforeValidator(_known),
        Field(
            min_length=1,
            description="By suite, base64url without padding. x25519 (RFC 9180) is required. mlkem768-x25519 follows a "
            "draft (draft-ietf-hpke-pq): the ML-KEM key, then the X25519 key.",
        ),
    ]
    signature: Annotated[
        Signature,
        Field(
            description='Ed25519 by signing_key over "linkage/key-card/v1", a zero byte and the canonical JSON '
            "(RFC 8785) of the other members."
        ),
    ]


class KeyCard(Output):
    """The card of an organisation that counts now."""

    organisation: str
    digest: Annotated[str, Field(description="SHA-256 of the canonical JSON of the card without its signature.")]
    document: KeyCardDocument
    published_at: Timestamp


class KeyEnvelope(Input):
    """A project's secret, encrypted by one provider to another. The service cannot open it."""

    model_config = ConfigDict(serialize_by_alias=True)

    v: Literal[1]
    project: ProjectId
    epoch: Epoch
    sender: Annotated[OrganisationId, Field(alias="from")]
    recipient: Annotated[OrganisationId, Field(alias="to")]
    keyset: Annotated[Sha256, Field(description="Digest of the cards that it was made under.")]
    suite: Suite
    at: Annotated[Moment, Field(description="When it was made, in UTC, as RFC 3339 with Z.")]
    ciphertext: Annotated[
        Ciphertext,
        Field(
            description='HPKE (RFC 9180) to the recipient\'s key of the suite; info is "linkage/secret/v1", a zero '
            "byte and the canonical JSON of the members before this."
        ),
    ]
    signature: Annotated[
        Signature,
        Field(
            description='Ed25519 by the sender\'s card over "linkage/envelope/v1", a zero byte and the canonical JSON '
            "of the members before this."
        ),
    ]


class ComparisonDraft(Input):
    """What a provider's people compared with the others."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"epoch": 1, "keyset_sha256": _SHA256}]})

    epoch: Epoch
    keyset_sha256: Annotated[Sha256, Field(description="Digest of the cards whose safety code was compared.")]


class EnvelopesDraft(Input):
    """Envelopes to other providers, with the check value of the secret that is in them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"epoch": 1, "keyset_sha256": _SHA256, "check_value": "9a" * 16, "envelopes": [_ENVELOPE_EXAMPLE]}
            ]
        }
    )

    epoch: Epoch
    keyset_sha256: Annotated[Sha256, Field(description="Digest of the cards that they were made under.")]
    check_value: CheckValue
    envelopes: Annotated[list[KeyEnvelope], Field(max_length=100, description="At most one to each provider.")]


class ConfirmationDraft(Input):
    """That a provider holds the secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"epoch": 1, "check_value": "9a" * 16}]})

    epoch: Epoch
    check_value: CheckValue


class KeyEpochDraft(Input):
    """Why the secret is to be given up for a new one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "suspected_leak", "expected_epoch": 1}]})

    reason: Literal["suspected_leak", "planned"]
    expected_epoch: Annotated[Epoch, Field(description="The epoch to close, so that a repeated request closes one.")]


class JoinDraft(Input):
    """That the caller's organisation takes part in a project from now on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class ReceivedEnvelope(Output):
    """An envelope as it was posted."""

    envelope: KeyEnvelope
    posted_at: Timestamp


class ReceivedEnvelopes(Output):
    """Envelopes to the caller's organisation."""

    items: list[ReceivedEnvelope]


class KeyExchangeProvider(Output):
    """How far a provider is."""

    organisation: str
    name: str
    card: KeyCardDocument | None
    published_at: Timestamp | None
    card_changed_at: Annotated[
        Timestamp | None, Field(description="When its present card took the place of another; null if none did.")
    ]
    code_compared_at: Annotated[
        Timestamp | None, Field(description="When its people compared the code of the cards as they are now.")
    ]
    envelope_waiting: Annotated[
        bool, Field(description="Whether an envelope to it, under the cards as they are now, was not fetched yet.")
    ]
    envelope_retrieved_at: Annotated[
        Timestamp | None,
        Field(description="When it last fetched an envelope that is still kept; those are deleted when it confirms."),
    ]
    confirmed_at: Annotated[
        Timestamp | None,
        Field(description="When it, or an upload of it, showed that it holds the secret."),
    ]
    uploaded: Annotated[bool, Field(description="Whether it has a complete upload of this epoch.")]


class KeyExchange(Output):
    """How far the providers of a project are with the secret of the present epoch."""

    project: str
    epoch: int
    reason: Annotated[Reason, Field(description="Why the epoch was opened.")]
    opened_by: Annotated[
        str | None, Field(description="Organisation; null where a release before epochs did not note it.")
    ]
    opened_at: Timestamp
    suite: Annotated[Suite, Field(description="How envelopes are encrypted, as the agreement says.")]
    initiator: Annotated[str | None, Field(description="The provider that drew the secret and sent it first.")]
    keyset_sha256: Annotated[
        str | None,
        Field(description="Digest of the cards of all providers; null while one has none, or none for the suite."),
    ]
    check_value_known: bool
    check_value_set_by: Annotated[
        str | None,
        Field(
            description="The provider that said by what the secret is known: by sending it, confirming it or "
            "completing an upload. Null while nobody has, and where a release before epochs did not note it."
        ),
    ]
    providers: list[KeyExchangeProvider]
