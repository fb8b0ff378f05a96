"""Wire models of alarms."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from linkage_service.audit.alarms import AlarmKind
from linkage_service.ids import id_pattern
from linkage_service.wire import Input, Output, Text, Timestamp

AlarmId = Annotated[str, StringConstraints(pattern=id_pattern("alm"))]


class AlarmQuery(BaseModel):
    """Which alarms, and which page of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Annotated[AlarmKind | None, Field(description="Only of this kind.")] = None
    state: Annotated[
        Literal["open", "acknowledged", "all"], Field(description="Whether an officer has acknowledged it.")
    ] = "all"
    limit: Annotated[int, Field(ge=1, le=500, description="At most so many.")] = 100
    cursor: Annotated[AlarmId | None, Field(description="`next_cursor` of the page before.")] = None


class Alarm(Output):
    """Something that an officer should look at. `seq` is its event `alarm.raised`."""

    id: str
    kind: AlarmKind
    meaning: str
    raised_at: Timestamp
    seq: int
    organisation: str | None
    actor: str | None
    agreement: str | None
    project: str | None
    subject: str | None
    detail: dict[str, Any]
    acknowledged_at: Timestamp | None
    acknowledged_by: str | None


class AlarmPage(Output):
    """Alarms, newest first; ask again with `cursor` set to `next_cursor` while it is not null."""

    items: list[Alarm]
    next_cursor: str | None


class Acknowledgement(Input):
    """Why an alarm needs no more attention."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Case 14: the laptop was replaced."}]})

    reason: Annotated[
        Text, Field(max_length=1000, description="What was found and done. Stands in the ledger. Name no data subject.")
    ]
