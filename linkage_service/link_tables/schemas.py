"""Wire models of releases, link tables and disclosures."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from linkage_service.agreements.document import Column
from linkage_service.wire import Code, Input, Output, Timestamp

Mode = Literal["blind", "matched"]


class ReleaseDraft(Input):
    """What a recipient asks for, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"purpose": "service-planning", "mode": "blind"}]})

    purpose: Annotated[Code, Field(description="Code of the agreement's purpose that this serves.")]
    mode: Annotated[
        Mode,
        Field(
            description=(
                "blind: every row gets a link id, so a provider does not learn which match; matched: only matched rows."
            )
        ),
    ] = "blind"
    columns: Annotated[
        tuple[Column, ...],
        Field(max_length=2, description="What a matched table tells beside row and link id."),
    ] = ()


class Release(Output):
    """A decision to let link tables go to one recipient."""

    id: str
    run: str
    project: str
    recipient: str
    purpose: str
    mode: Mode
    columns: list[str]
    state: Literal["released", "expired", "deleted"]
    delete_by: Timestamp
    created_at: Timestamp


class Disclosure(Output):
    """One retrieval."""

    id: str
    release: str
    recipient: str
    provider: str
    rows: Annotated[int | None, Field(description="Rows given; null for matched tables, whose size tells the overlap.")]
    at: Timestamp
