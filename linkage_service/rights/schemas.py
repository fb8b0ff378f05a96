"""Wire models of withdrawals, holds and access requests."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from linkage_service.wire import Input, Output, Text, Timestamp

WithdrawalReason = Literal["objection", "opt_out", "erasure", "error"]
Ground = Literal["accuracy", "unlawful", "legal_claims", "objection"]
RowNumber = Annotated[int, Field(ge=0, lt=100_000_000, strict=True)]


class WithdrawalDraft(Input):
    """Rows to take back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rows": [17, 4203], "reason": "objection"}]})

    rows: Annotated[
        list[RowNumber],
        Field(min_length=1, max_length=10_000, description="Row numbers of the upload, from 0. No record ids."),
    ]
    reason: WithdrawalReason


class Withdrawal(Output):
    """Rows that were taken back. They never come back into results, whatever the state."""

    id: str
    upload: str
    rows: Annotated[int, Field(description="How many rows it took that were not withdrawn before.")]
    reason: WithdrawalReason
    state: Annotated[
        Literal["pending", "applied"],
        Field(
            description="pending: results that hold these rows are not given out. applied: the encodings are gone, and "
            "kept results were made again without them."
        ),
    ]
    created_at: Timestamp
    applied_at: Timestamp | None


class WithdrawnLink(Output):
    """A link id under which a recipient may hold something of a row that was withdrawn."""

    link_id: str
    provider: Annotated[str, Field(description="Whose row it was: delete what came from this provider.")]
    withdrawn_at: Timestamp


class WithdrawnLinks(Output):
    """Every withdrawn link id of a release."""

    release: str
    items: list[WithdrawnLink]


class HoldDraft(Input):
    """Why processing is restricted."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ground": "accuracy", "reason": "Case 12: the provider checks its extract."}]}
    )

    ground: Annotated[
        Ground,
        Field(
            description="Article 18(1) (a) accuracy, (b) unlawful, (c) legal_claims, (d) objection. What is held under "
            "(b) or (c) is not deleted at its date: the person asked that it be kept."
        ),
    ]
    reason: Annotated[Text, Field(description="For the ledger; no name and no identifier of a person.")]


class LiftDraft(Input):
    """Why a hold ends."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Case 12 is closed."}]})

    reason: Annotated[Text, Field(description="For the ledger; no name and no identifier of a person.")]


class Hold(Output):
    """A restriction of processing in force."""

    id: str
    project: str
    kind: Literal["run", "release"]
    object: str
    ground: Ground
    placed_at: Timestamp
    delete_by: Timestamp
    overdue: Annotated[bool, Field(description="Past its date, and kept because of the hold.")]


class TraceDraft(Input):
    """Which row an access request is about."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"row": 17}]})

    row: RowNumber


class TracedRelease(Output):
    """A release whose link table held the row."""

    release: str
    recipient: str
    purpose: str
    mode: Literal["blind", "matched"]
    retrieved: Annotated[list[Timestamp], Field(description="When your organisation retrieved a table that held it.")]
    certain: Annotated[
        bool,
        Field(description="false: the result was deleted since, so it cannot be told whether a matched table held it."),
    ]


class Trace(Output):
    """Who received anything made from a row."""

    upload: str
    withdrawn: bool
    releases: list[TracedRelease]
