"""Wire models of what is looked for in the access log, and of exports."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from linkage_ledger.events import OutcomeStatus
from linkage_service.access.actions import Action
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.search import Filters
from linkage_service.ids import id_pattern
from linkage_service.wire import Code, Input, OrganisationId, ProjectId, Timestamp

# Ids and terms only: what is looked for goes into the log, and must not carry a name into it.
_ID = id_pattern("[a-z]{3}").strip("^$")
# What the service does by itself, or before anybody is signed in.
OTHER_ACTIONS = (
    "enrol", "initialise", "inviteAdministrator", "inviteOfficer", "issueToken", "register", "retention",
    "rotateLogKey", "signIn", "stepUp", "useToken", "watch", "export",
)  # fmt: skip
_ACTIONS = "|".join(sorted({action.value for action in Action} | set(OTHER_ACTIONS)))
ActorId = Annotated[str, StringConstraints(pattern=rf"^({_ID}|worker|linkage-service)$")]
ActionName = Annotated[str, StringConstraints(pattern=rf"^({_ACTIONS})$")]
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$")]
ResourceType = Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}(_[a-z]{1,20}){0,2}$")]
ResourceId = Annotated[
    str, StringConstraints(pattern=rf"^({_ID}(/{_ID}/[0-9]{{1,9}})?|[0-9]{{1,16}}|linkage|ledger|[A-Za-z0-9_-]{{43}})$")
]
RequestId = Annotated[
    str, StringConstraints(pattern=rf"^([a-z]{{3}}_[0-9a-f]{{24}}|{_ID}([.][0-9]{{1,6}})?|rotate-log-key)$")
]
Seq = Annotated[int, Field(ge=0, le=2**53)]
ExportFormat = Literal["csv", "jsonl", "ocsf", "fhir", "bundle"]


class _Filters(BaseModel):
    """What is looked for; what is left out is anything."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    organisation: Annotated[OrganisationId | None, Field(description="Whose client or person acted.")] = None
    actor: Annotated[ActorId | None, Field(description="Id of the client or person that acted.")] = None
    action: Annotated[ActionName | None, Field(description="What was asked for, as the policy names it.")] = None
    type: Annotated[EventType | None, Field(description="Type of the event, see the list of events.")] = None
    agreement: Annotated[Reference | None, Field(description="Reference of the agreement it happened under.")] = None
    version: Annotated[int | None, Field(ge=1, le=2**31, description="Version of that agreement.")] = None
    project: Annotated[ProjectId | None, Field(description="The project it belongs to.")] = None
    resource_type: Annotated[ResourceType | None, Field(description="Kind of thing that was acted on.")] = None
    resource: Annotated[ResourceId | None, Field(description="Id of what was acted on.")] = None
    purpose: Annotated[Code | None, Field(description="The purpose that was stated.")] = None
    outcome: Annotated[OutcomeStatus | None, Field(description="How it ended.")] = None
    element: Annotated[
        int | None, Field(ge=1, le=9, description="The element of the agreement, 1 to 9, that refused.")
    ] = None
    request: Annotated[RequestId | None, Field(description="Id of the request that caused it.")] = None
    since: Annotated[Timestamp | None, Field(alias="from", description="Not before this time.")] = None
    until: Annotated[Timestamp | None, Field(alias="to", description="Before this time.")] = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "_Filters":
        if self.version is not None and self.agreement is None:
            raise ValueError("a version is of an agreement: name its reference too")
        if self.since is not None and self.until is not None and not self.since < self.until:
            raise ValueError("from must be before to")
        return self

    def filters(self) -> Filters:
        """As the search takes them."""
        return Filters(**{name: getattr(self, name) for name in _Filters.model_fields})


class EventQuery(_Filters):
    """Which events, and which page of them."""

    after: Annotated[int, Field(ge=-1, le=2**53, description="Sequence numbers above this one.")] = -1
    before: Annotated[int | None, Field(ge=0, le=2**53, description="Sequence numbers below this one.")] = None
    order: Annotated[Literal["oldest", "newest"], Field(description="Which come first: the oldest or the newest.")] = (
        "oldest"
    )
    limit: Annotated[int, Field(ge=1, le=1000, description="At most so many.")] = 100


class ExportDraft(_Filters, Input):
    """What to export, and how.

    A bundle is the log without a gap from `first` to `last`; the filters say which of its events are shown in full.
    """

    model_config = ConfigDict(
        # A note is signed with the line break that it ends with.
        str_strip_whitespace=False,
        json_schema_extra={"examples": [{"format": "csv", "agreement": "ISP-2026-001"}]},
    )

    format: Annotated[
        ExportFormat,
        Field(
            description=(
                "csv: a table; jsonl: the exact headers; ocsf: OCSF 1.3.0 events, one a line; fhir: FHIR R4 AuditEvent "
                "resources, one a line; bundle: a zip with proofs, that anybody can check offline."
            )
        ),
    ]
    first: Annotated[Seq | None, Field(description="First sequence number.")] = None
    last: Annotated[Seq | None, Field(description="Last sequence number.")] = None
    against: Annotated[
        str | None,
        Field(
            max_length=65_536, description="For a bundle: a checkpoint that you kept, to prove that the log only grew."
        ),
    ] = None

    @model_validator(mode="after")
    def _fits(self) -> "ExportDraft":
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError("first must not be above last")
        if self.against is not None and self.format != "bundle":
            raise ValueError("only a bundle proves anything against an older checkpoint")
        return self
