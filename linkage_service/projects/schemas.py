"""Wire models of projects."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from linkage_service.wire import AgreementId, Code, Document, Input, Name, OrganisationId, Output, Timestamp

ProjectKind = Literal["linkage", "feasibility"]
_EXAMPLE: dict[str, Any] = {
    "agreement": "agr_01k5v3m8q2e9r7t6y4w1x0zabc",
    "name": "Spring 2026",
    "purpose": "service-planning",
    "linkage_schema": {
        "version": 3,
        "clkConfig": {"l": 1024, "kdf": {"type": "HKDF"}},
        "features": [
            {
                "identifier": "given_name",
                "format": {"type": "string"},
                "hashing": {
                    "comparison": {"type": "ngram", "n": 2},
                    "strategy": {"bitsPerFeature": 100},
                    "hash": {"type": "blakeHash"},
                },
            }
        ],
    },
}


class ProjectDraft(Input):
    """A project to open."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    agreement: AgreementId
    name: Name
    kind: Annotated[
        ProjectKind,
        Field(
            description="linkage gives what the agreement lists. feasibility gives the suppressed summary and nothing "
            "else, under an agreement that allows nothing more."
        ),
    ] = "linkage"
    purpose: Annotated[Code, Field(description="Code of one of the agreement's purposes.")]
    linkage_schema: Annotated[
        Document,
        Field(
            description="clkhash linkage schema, version 3; its canonical digest must be the one the agreement names."
        ),
    ]
    providers: Annotated[
        list[OrganisationId] | None,
        Field(
            max_length=100,
            description="Which of the agreement's providers take part; left out: all of them. Others can join later.",
        ),
    ] = None


class AgreementVersionRef(Output):
    """The agreement version that governs a project."""

    id: str
    reference: str
    version: int
    digest: str


class Project(Output):
    """One linkage round."""

    id: str
    name: str
    agreement: AgreementVersionRef
    kind: ProjectKind
    purpose: str
    state: Literal["open", "closed"]
    linkage_schema_sha256: str
    bits: int
    providers: Annotated[list[str], Field(description="Those that take part in this project now.")]
    recipients: list[str]
    key_epoch: Annotated[int, Field(description="Generation of the linkage secret; only uploads of it are matched.")]
    created_at: Timestamp


class ProjectDetail(Project):
    """A project with its linkage schema: what every provider encodes by."""

    linkage_schema: dict[str, Any]
