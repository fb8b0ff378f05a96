"""Wire models of releases, link tables and disclosures."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from linkage_service.agreements.document import Column
from linkage_service.wire import Code, Input, Output, Timestamp

Mode = Literal["blind", "matched"]


class ReleaseDraft(Input):
    """What a recipient asks for, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"purpose": "service-planning", "mode": "blind"},
                {"purpose": "service-planning", "mode": "matched", "columns": ["match_probability"]},
            ]
        }
    )

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
        Field(
            max_length=2,
            description=(
                "What a matched table tells beside row and link id, if the agreement lists it: match_probability is "
                "that of the weakest pair of the row's group; group_size how many rows the group has at least."
            ),
        ),
    ] = ()

    @model_validator(mode="after")
    def _columns_of_matched_rows(self) -> Self:
        if self.columns and self.mode == "blind":
            raise ValueError("columns tell matched rows from others, so that a blind table has none: ask for matched")
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("a column is named twice")
        return self


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
