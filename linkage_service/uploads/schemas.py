"""Wire models of uploads."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from linkage_service.wire import Input, Name, Output, Sha256, Timestamp

UploadState = Literal["receiving", "complete", "deleted"]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=200)]

_EXAMPLE: dict[str, Any] = {
    "manifest": {
        "version": 1,
        "linkage_schema_sha256": "5f" * 32,
        "encoding_profile": "clk-1024-v1",
        "normalisation": "british-v1",
        "normalisation_sha256": "71" * 32,
        "encoder": {"name": "linkage-client", "version": "0.1.0"},
        "count": 5000,
        "bits": 1024,
        "size_bytes": 640_000,
        "sha256": "c3" * 32,
        "key": {"epoch": 1, "check_value": "9a" * 16, "derivation": "linkage/derive/v1"},
        "completeness": {"given_name": 0.98, "surname": 1.0},
        "validity": {"given_name": 1.0, "surname": 0.998},
        "leakage": {
            "sample": 2500,
            "reidentified_50": 0.91,
            "reidentified_300": 0.99,
            "edge_overlap": 0.7,
            "rank_correlation": 0.83,
            "probe_auc": 0.93,
            "fill": 0.31,
        },
        "opt_outs_applied_at": "2026-03-01T00:00:00Z",
    },
    "part_size_bytes": 4_194_304,
}


class Encoder(Input):
    """What made the encodings."""

    name: Name
    version: Name


Derivation = Literal["linkage/derive/v1"]


class _Key(Input):
    """What every version of a manifest says of its secret."""

    epoch: Annotated[int, Field(ge=1, le=10_000)]
    check_value: Annotated[
        str,
        StringConstraints(pattern=r"^[0-9a-f]{32}$"),
        Field(
            description="Equal for all providers that hold the same secret; keyed, so it does not reveal the secret."
        ),
    ]


class ManifestKey(_Key):
    """Which secret the encodings were made with, without saying anything about it, and how their key followed."""

    derivation: Annotated[
        Derivation,
        Field(
            description="How the key of the encodings was made from the secret, so that it is the project's alone: "
            "encodings that were made with the secret itself are not taken."
        ),
    ]

    @model_validator(mode="before")
    @classmethod
    def _derived(cls, sent: Any) -> Any:
        # Clients of before derivation leave it out, and those of today where no project was named.
        if isinstance(sent, dict) and sent.get("derivation") is None:
            raise ValueError(
                "derivation is missing: these encodings were made by an older client, or without naming the project, "
                "and match none that are made today. Encode again with a current linkage command, and --project"
            )
        return sent


class KeptKey(_Key):
    """The same as it was declared, maybe to an older version of the service."""

    derivation: Annotated[
        Derivation | None, Field(description="Null: the encodings were made with the secret itself.")
    ] = None


Share = Annotated[float, Field(ge=0, le=1)]


class Leakage(Input):
    """What a provider measured, on its own machine and on a sample, of what its encodings give away to their holder."""

    sample: Annotated[int, Field(ge=100, le=1_000_000, description="Records that were measured.")]
    reidentified_50: Annotated[Share, Field(description="Records identified by somebody who knows 50 of the people.")]
    reidentified_300: Annotated[Share, Field(description="Records identified by somebody who knows 300 of them.")]
    edge_overlap: Annotated[Share, Field(description="Most similar pairs in plaintext that are so among encodings.")]
    rank_correlation: Annotated[
        float, Field(ge=-1, le=1, description="Of similarities of dissimilar pairs, in plaintext and encoded.")
    ]
    probe_auc: Annotated[Share, Field(description="How well frequent q-grams are told from bits; 0.5 is guessing.")]
    fill: Annotated[Share, Field(description="Mean share of bits that are set.")]


class _Manifest(Input):
    version: Literal[1]
    linkage_schema_sha256: Sha256
    encoding_profile: Name | None = None
    normalisation: Name | None = None
    normalisation_sha256: Annotated[
        Sha256 | None, Field(description="Digest of the normalisation with the choices made in it; equal for all.")
    ] = None
    encoder: Encoder
    count: Annotated[int, Field(ge=1, le=100_000_000, description="Number of records.")]
    bits: Annotated[int, Field(ge=256, le=4096, multiple_of=64, description="Length of each encoding in bits.")]
    size_bytes: Annotated[int, Field(ge=32)]
    sha256: Annotated[Sha256, Field(description="SHA-256 of all encodings, row-major, bits/8 bytes a row.")]
    completeness: Annotated[
        dict[FieldName, Share],
        Field(max_length=64, description="Share of records that have a value, for each hashed field of the schema."),
    ]
    validity: Annotated[
        dict[FieldName, Share] | None,
        Field(max_length=64, description="Share of the values there are that are valid, for each of these fields."),
    ] = None
    leakage: Leakage | None = None
    opt_outs_applied_at: Annotated[
        Timestamp | None,
        Field(description="When objections and opt-outs were last taken out of the extract that was encoded."),
    ] = None

    @model_validator(mode="after")
    def _size_follows(self) -> Self:
        if self.size_bytes != self.count * self.bits // 8:
            raise ValueError("size_bytes must be count times bits / 8")
        return self


class Manifest(_Manifest):
    """What a client says of its encodings. It holds no value of any record."""

    key: ManifestKey


class KeptManifest(_Manifest):
    """What a client said of its encodings when it declared them."""

    key: KeptKey


class UploadDraft(Input):
    """An upload to declare before its parts are sent."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    manifest: Manifest
    part_size_bytes: Annotated[int, Field(ge=1024, description="Size of every part but the last.")] = 4 * 2**20


class UploadFinding(Output):
    """Something about an upload that should be looked at. The upload is taken all the same."""

    code: Annotated[
        str,
        Field(
            description="outside_profile, near_duplicates, many_equal, empty_rows, small_difference or "
            "frequent_uploads; see the guide on what the service checks."
        ),
    ]
    message: Annotated[str, Field(description="What it means and what to do.")]


_Usable = Annotated[
    bool, Field(description="Whether it may go on, or be matched: it is not deleted, and of the present key epoch.")
]
_Because = Annotated[str | None, Field(description="Why it is not usable and what to do; null while it is.")]


class Upload(Output):
    """An upload as its provider sees it."""

    id: str
    project: str
    organisation: str
    state: UploadState
    manifest: KeptManifest
    size_bytes: int
    part_size_bytes: int
    parts_expected: int
    parts_received: list[int]
    created_at: Timestamp
    completed_at: Timestamp | None
    delete_by: Timestamp
    key_epoch: int
    usable: _Usable
    unusable_because: _Because
    findings: list[UploadFinding]


class UploadSummary(Output):
    """An upload as every party of the project sees it."""

    id: str
    project: str
    organisation: str
    state: UploadState
    count: int
    sha256: str | None
    created_at: Timestamp
    completed_at: Timestamp | None
    delete_by: Timestamp
    key_epoch: int
    usable: _Usable
    unusable_because: _Because
    findings: Annotated[
        list[UploadFinding] | None,
        Field(description="For its provider and the linkage unit's officers; null for others."),
    ]
