"""The agreement document: the nine elements, as the parties sign them.

Every field says in plain words what it holds: the published JSON Schema, the guide, the questions of
`linkage agreement new` and the checks of the client are made of these words or held to them by a test.
"""

import hashlib
import json
import re
from collections.abc import Hashable
from datetime import datetime, time
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import rfc8785
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    PlainSerializer,
    Strict,
    StringConstraints,
    model_validator,
)

from linkage_service.wire import Code, Input, Name, OrganisationId, Sha256, Text, Timestamp

PartyRole = Literal["provider", "recipient", "processor"]
Output = Literal["link_table_blind", "link_table_matched", "summary"]
Column = Literal["match_probability", "group_size"]
# Each level includes those before it.
Tier = Literal["plain", "folded", "hardened"]
SecretExchange = Literal["x25519", "mlkem768-x25519"]
Assurance = Literal["none", "approaching_standards", "standards_met", "standards_exceeded"]
OptOutType = Literal["none", "local_objection", "national_data_opt_out"]
Sanction = Literal["warn", "suspend_client", "suspend_organisation", "suspend_agreement", "terminate"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Item = TypeVar("Item", bound=Hashable)
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
SCHEMA_ID = "urn:linkage:agreement:1"


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError("must be a network such as 192.0.2.0/24 or 2001:db8::/32") from error
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("must be a time zone of the IANA database, such as Europe/London") from error
    return name


def _date_time(value: object) -> object:
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        raise ValueError("must be a date and time with its zone, such as 2026-01-31T00:00:00Z")
    return value


def _distinct(items: list[Item]) -> list[Item]:
    if len(set(items)) != len(items):
        raise ValueError("names something twice")
    return items


def _one_of_each(items: tuple[Item, ...]) -> tuple[Item, ...]:
    _distinct(list(items))
    return items


_UNIQUE = Field(json_schema_extra={"uniqueItems": True})
# What the types of `wire` say in code, said in the published schema too: not blank, and a name on one line.
Line = Annotated[Name, Field(json_schema_extra={"pattern": r"^[^\t\n\r]*\S[^\t\n\r]*$"})]
Words = Annotated[Text, Field(json_schema_extra={"pattern": r"\S"})]
IdentifierField = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Network = Annotated[str, StringConstraints(max_length=64), AfterValidator(_network)]
Zone = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+/-]{1,64}$"), AfterValidator(_zone)]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
# What is signed has to fit the published schema, so nothing is taken for a number or a date that is not written as one.
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Rate = Annotated[float, Strict(), Field(ge=0, le=1)]
Days = Annotated[Whole, Field(ge=1, le=36_500)]
When = Annotated[Timestamp, BeforeValidator(_date_time)]


class Purpose(Input):
    """One purpose of the sharing."""

    code: Annotated[
        Code,
        Field(
            title="Code of the purpose",
            description="A short name for it in small letters, digits, dots and hyphens. Whoever opens a project or "
            "asks for results states one of these codes.",
        ),
    ]
    text: Annotated[Words, Field(title="Purpose", description="What the sharing is for.")]
    benefits: Annotated[Words, Field(title="Benefits", description="What good comes of it, and for whom.")]


class LawfulBasis(Input):
    """Why the law allows it."""

    article6: Annotated[
        Line,
        Field(title="Lawful basis", description="The condition of Article 6 of the GDPR that is met, such as 6(1)(e)."),
    ]
    article9: Annotated[
        Line | None,
        Field(
            title="Condition for special category data",
            description="The condition of Article 9 of the GDPR that is met. Needed if special category data are "
            "shared.",
        ),
    ] = None
    legal_power: Annotated[
        Words, Field(title="Legal power", description="The power or duty in law under which the parties share.")
    ]
    duty_of_confidentiality: Annotated[
        Words,
        Field(
            title="Duty of confidentiality",
            description="How the common law duty of confidentiality is met, or why it is not engaged.",
        ),
    ]


class PurposeElement(Input):
    """Element 1: purpose."""

    purposes: Annotated[
        list[Purpose],
        Field(min_length=1, max_length=20, title="Purposes", description="Each purpose of the sharing, one by one."),
    ]
    lawful_basis: Annotated[
        LawfulBasis, Field(title="Lawful basis", description="Why data protection law and other law allow the sharing.")
    ]
    dpia_ref: Annotated[
        Line,
        Field(
            title="Impact assessment",
            description="Where the data protection impact assessment is kept: its reference or address.",
        ),
    ]
    necessity: Annotated[
        Words,
        Field(
            title="Necessity and proportionality",
            description="Why the purpose cannot be reached in a way that intrudes less.",
        ),
    ]

    @model_validator(mode="after")
    def _codes_differ(self) -> Self:
        if len({purpose.code for purpose in self.purposes}) != len(self.purposes):
            raise ValueError("two purposes have the same code")
        return self


class Contacts(Input):
    """Who answers for a party."""

    dpo: Annotated[
        Line, Field(title="Data protection officer", description="How the party's data protection officer is reached.")
    ]
    caldicott: Annotated[
        Line | None,
        Field(
            title="Caldicott guardian",
            description="How the party's Caldicott guardian is reached, where it has one (health and care in the UK).",
        ),
    ] = None
    siro: Annotated[
        Line,
        Field(
            title="Senior information risk owner",
            description="Who answers for information risk at the party's board.",
        ),
    ]


class Hours(Input):
    """When a party's machines and people may act: from the first time, to before the second, of the same day."""

    days: Annotated[
        list[Weekday],
        Field(min_length=1, max_length=7, title="Days", description="Days of the week on which the party may act."),
        _UNIQUE,
        AfterValidator(_distinct),
    ]
    opens: Annotated[TimeOfDay, Field(title="From", description="From this time of the day, as 07:00.")]
    closes: Annotated[TimeOfDay, Field(title="To", description="To before this time of the same day, as 19:00.")]
    timezone: Annotated[
        Zone, Field(title="Time zone", description="Of these times: a name of the IANA database, as Europe/London.")
    ]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.opens < self.closes:
            raise ValueError("opens must be before closes")
        return self

    def include(self, moment: datetime) -> bool:
        """Whether a moment lies within them."""
        local = moment.astimezone(ZoneInfo(self.timezone))
        opens, closes = time.fromisoformat(self.opens), time.fromisoformat(self.closes)
        return WEEKDAYS[local.weekday()] in self.days and opens <= local.time() < closes


class Circumstances(Input):
    """From where, when and by whom a party may act under the agreement. What is left out is not restricted."""

    networks: Annotated[
        list[Network] | None,
        Field(
            min_length=1,
            max_length=64,
            title="Networks",
            description="Networks from which the party's machines and people may act, as 192.0.2.0/24.",
        ),
    ] = None
    hours: Annotated[Hours | None, Field(title="Hours", description="Days and times at which the party may act.")] = (
        None
    )
    people: Annotated[
        Words | None, Field(title="People", description="Who may act, in words: training, vetting, posts.")
    ] = None

    def allow_network(self, source: str) -> bool:
        """Whether an address lies within the networks; one that cannot be read lies in none."""
        if self.networks is None:
            return True
        try:
            address = ip_address(source)
        except ValueError:
            return False
        return any(address in ip_network(network) for network in self.networks)

    def allow_moment(self, moment: datetime) -> bool:
        """Whether a moment lies within the hours."""
        return self.hours is None or self.hours.include(moment)


_UNRESTRICTED = Circumstances()


class Party(Input):
    """One organisation and what it does under the agreement."""

    organisation: Annotated[
        OrganisationId, Field(title="Organisation", description="Id of the organisation at the linkage service.")
    ]
    roles: Annotated[
        list[PartyRole],
        Field(
            min_length=1,
            max_length=3,
            title="Roles",
            description="provider: encodes its records and sends the encodings. recipient: gets results. processor: "
            "works for another party.",
        ),
        _UNIQUE,
        AfterValidator(_distinct),
    ]
    contacts: Annotated[Contacts, Field(title="Contact persons", description="Who answers for the party.")]
    circumstances: Annotated[
        Circumstances | None,
        Field(
            title="Circumstances",
            description="From where, when and by whom the party may act. What is left out is not restricted.",
        ),
    ] = None
    may_hold_duplicates: Annotated[
        Flag,
        Field(
            title="Several records of one person",
            description="Whether a provider's upload may hold several records of one person.",
        ),
    ] = False

    @model_validator(mode="after")
    def _only_providers_hold_records(self) -> Self:
        if self.may_hold_duplicates and "provider" not in self.roles:
            raise ValueError("may_hold_duplicates says something of a provider's records; this party is no provider")
        return self


class RecipientsElement(Input):
    """Element 2: recipients and circumstances of access."""

    parties: Annotated[
        list[Party],
        Field(
            min_length=2,
            max_length=50,
            title="Parties",
            description="Every organisation that takes part. All of them sign.",
        ),
    ]
    joint_controllers: Annotated[
        tuple[OrganisationId, ...],
        Field(
            max_length=50,
            title="Joint controllers",
            description="Ids of the parties that decide together on purposes and means (Article 26 of the GDPR). "
            "Empty: each party is a controller of its own, or a processor.",
        ),
        _UNIQUE,
        AfterValidator(_one_of_each),
    ] = ()
    joint_arrangement: Annotated[
        Words | None,
        Field(
            title="Arrangement of joint controllers",
            description="Which of the joint controllers does what for the people concerned. Needed if there are any.",
        ),
    ] = None

    @model_validator(mode="after")
    def _joint_controllers_make_sense(self) -> Self:
        if not set(self.joint_controllers) <= {party.organisation for party in self.parties}:
            raise ValueError("joint_controllers names an organisation that is not a party")
        if len(self.joint_controllers) == 1:
            raise ValueError("joint_controllers needs at least two parties, or none")
        if bool(self.joint_controllers) != (self.joint_arrangement is not None):
            raise ValueError("joint_controllers and joint_arrangement belong together: say both or neither")
        return self


class DataElement(Input):
    """Element 3: the exact data."""

    linkage_schema_sha256: Annotated[
        Sha256,
        Field(
            title="Digest of the linkage schema",
            description="SHA-256, in hex, of the linkage schema's canonical JSON (RFC 8785). The linkage schema says "
            "which fields are encoded and how; no other can be used.",
        ),
    ]
    identifier_fields: Annotated[
        list[IdentifierField],
        Field(
            min_length=1,
            max_length=64,
            title="Identifier fields",
            description="The fields of each person that are encoded, by the linkage schema's names.",
        ),
        _UNIQUE,
        AfterValidator(_distinct),
    ]
    outputs: Annotated[
        list[Output],
        Field(
            min_length=1,
            max_length=3,
            title="Results",
            description="link_table_blind: a link id for every record, which does not tell who was matched. "
            "link_table_matched: link ids of matched records only. summary: rounded counts. A summary alone makes a "
            "feasibility study.",
        ),
        _UNIQUE,
        AfterValidator(_distinct),
    ]
    columns: Annotated[
        tuple[Column, ...],
        Field(
            max_length=2,
            title="Further columns",
            description="What a matched link table may tell beside row and link id: match_probability, group_size.",
        ),
        _UNIQUE,
        AfterValidator(_one_of_each),
    ] = ()
    population: Annotated[
        Words, Field(title="People concerned", description="Whose records are shared: which people, which period.")
    ]
    special_category: Annotated[
        Flag,
        Field(
            title="Special category data",
            description="Whether special category data (Article 9 of the GDPR) are shared or revealed.",
        ),
    ]
    min_group_count: Annotated[
        Whole,
        Field(
            ge=1,
            le=1000,
            title="Smallest count",
            description="Counts of people below this number are not shown in summaries.",
        ),
    ]
    onward_sharing: Annotated[
        Words,
        Field(title="Onward sharing", description="What recipients may pass on, to whom, and under which conditions."),
    ]
    international_transfers: Annotated[
        Words | None,
        Field(
            title="International transfers",
            description="Which data go to which other country, and by which safeguard. Left out: none do.",
        ),
    ] = None


class QualityElement(Input):
    """Element 4: data quality."""

    min_completeness: Annotated[
        dict[IdentifierField, Rate],
        Field(
            max_length=64,
            title="Least completeness",
            description="For a field, the share of records, 0 to 1, that must have a value. Uploads below it are "
            "refused.",
        ),
    ]
    target_precision: Annotated[float, Strict(), Field(ge=0.5, lt=1)] | None = Field(
        None, title="Precision aimed at", description="Least expected precision of every run; no run may aim lower."
    )
    sampling_plan: Annotated[
        Words | None,
        Field(title="Checks by hand", description="How links are checked by hand, and how many."),
    ] = None


class SecurityElement(Input):
    """Element 5: data security."""

    encoding_profile: Annotated[
        Line | None,
        Field(
            title="Encoding profile",
            description="Name of the encoder parameters that every provider uses. Left out: the linkage schema's own.",
        ),
    ] = None
    minimum_tier: Annotated[
        Tier,
        Field(
            title="Least protection of encodings",
            description="Least protection of encodings: plain CLKs, folded ones, or a hardened profile such as SAUL.",
        ),
    ] = "plain"
    minimum_assurance: Annotated[
        Assurance,
        Field(
            title="Least security assurance",
            description="Least status in the security assurance scheme (DSPT) that each party must hold, unexpired.",
        ),
    ] = "none"
    second_factor: Annotated[
        Literal[True],
        Field(
            title="Second factor",
            description="People sign in with a second factor. This service offers nothing less.",
        ),
    ] = True
    key_rotation_days: Annotated[
        Days, Field(title="Days until keys are changed", description="A client's key that is older is refused.")
    ]
    maximum_reidentification: Rate | None = Field(
        None,
        title="Largest measured re-identification",
        description="Largest share of records that a provider may have measured as re-identifiable by somebody "
        "who holds its encodings and knows 300 of its people. Uploads then have to declare what was measured.",
    )
    secret_exchange: Annotated[
        SecretExchange,
        Field(
            title="Encryption of the linkage secret",
            description="How the linkage secret is encrypted where providers share it through the service: x25519 "
            "(RFC 9180), or mlkem768-x25519, which a quantum computer of later years does not open either. The latter "
            "follows a draft, not a standard yet; it is for agreements whose encodings are kept for years.",
        ),
    ] = "x25519"  # noqa: S105 - a way of encrypting, no secret


class RetentionElement(Input):
    """Element 6: retention."""

    encodings_days: Annotated[
        Days, Field(title="Days that encodings are kept", description="Encodings are deleted after so many days.")
    ]
    link_tables_days: Annotated[
        Days, Field(title="Days that link tables are kept", description="Link tables are deleted after so many days.")
    ]
    audit_bodies_days: Annotated[
        Days,
        Field(
            title="Days that details of the access log are kept",
            description="Details of events in the access log are deleted after so many days; their headers stay.",
        ),
    ]
    max_retrievals: Annotated[
        Whole,
        Field(
            ge=1,
            le=10_000,
            title="Retrievals of each table",
            description="So many times may each link table be retrieved.",
        ),
    ]
    disposal_certificate: Annotated[
        Flag,
        Field(
            title="Certificate of deletion", description="Whether a signed certificate is issued for what is deleted."
        ),
    ] = True


class RightsElement(Input):
    """Element 7: individuals' rights."""

    contact: Annotated[
        Line, Field(title="Contact point", description="Where people turn with questions, objections and complaints.")
    ]
    privacy_notice_url: Annotated[
        HttpUrl,
        PlainSerializer(str, return_type=str),
        Field(title="Privacy notice", description="Web address of the notice that tells people of this sharing."),
    ]
    opt_out_type: Annotated[
        OptOutType,
        Field(
            title="Kind of opt-out",
            description="Which objections providers apply before they encode. With none, nothing need be declared.",
        ),
    ]
    opt_out: Annotated[Words, Field(title="How to object", description="How people object, and what happens then.")]
    reapply_days: Annotated[
        Days,
        Field(
            title="Days until opt-outs are applied again",
            description="Opt-outs applied longer ago must be applied again.",
        ),
    ]
    complaint_days: Annotated[
        Days,
        Field(title="Days to answer a complaint", description="A complaint is answered within so many days."),
    ] = 30
    access_request_days: Annotated[
        Days,
        Field(
            title="Days to answer an access request", description="An access request is answered within so many days."
        ),
    ] = 30
    freedom_of_information: Annotated[
        Words | None,
        Field(
            title="Freedom of information",
            description="How requests under freedom of information law are answered, and what is published.",
        ),
    ] = None


class ReviewElement(Input):
    """Element 8: review and termination."""

    starts: Annotated[When, Field(title="Start", description="Nothing is processed before it: a date and time in UTC.")]
    ends: Annotated[
        When,
        Field(title="End", description="From then on nothing is processed, and what was shared is deleted."),
    ]
    review_by: Annotated[
        When,
        Field(title="Review", description="The agreement is reviewed by then; without a review no new processing."),
    ]
    measures: Annotated[
        Words, Field(title="Measures of effectiveness", description="How it is judged whether the sharing is worth it.")
    ]
    termination: Annotated[
        Words, Field(title="Termination", description="How a party leaves or ends it early, and what happens to data.")
    ]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.starts < self.ends:
            raise ValueError("starts must be before ends")
        if not self.starts < self.review_by <= self.ends:
            raise ValueError("review_by must be after starts and not after ends")
        return self


class SanctionsElement(Input):
    """Element 9: sanctions."""

    ladder: Annotated[
        list[Sanction],
        Field(
            min_length=1,
            max_length=5,
            title="Sanctions",
            description="What may be done when a party does not comply, from mild to hard.",
        ),
        _UNIQUE,
        AfterValidator(_distinct),
    ]
    imposed_by: Annotated[Line, Field(title="Imposed by", description="Who decides on a sanction.")]
    lifted_by: Annotated[Line, Field(title="Lifted by", description="Who decides that a sanction ends.")]
    breach_notice_hours: Annotated[
        Whole,
        Field(
            ge=1,
            le=720,
            title="Hours to tell of a breach",
            description="A party that finds a breach tells the others within so many hours.",
        ),
    ]


class AgreementDocument(Input):
    """An information sharing protocol: the nine elements that guidance asks for."""

    model_config = ConfigDict(title="Information sharing agreement")

    format: Annotated[Literal[1], Field(title="Format", description="Version of this form of document: 1.")]
    reference: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$"),
        Field(
            title="Reference",
            description="The parties' own name for the agreement, as ISP-2026-001. It stays the same in all versions.",
        ),
    ]
    title: Annotated[Line, Field(title="Title", description="What the agreement is called, in a few words.")]
    purpose: Annotated[
        PurposeElement, Field(title="1 Purpose of the sharing", description="What it is for, and why it is lawful.")
    ]
    recipients: Annotated[
        RecipientsElement,
        Field(
            title="2 Recipients and circumstances of access",
            description="Who takes part, in which role, and from where and when each may act.",
        ),
    ]
    data: Annotated[
        DataElement,
        Field(title="3 Exact data to be shared", description="Which data go in, and which results come out."),
    ]
    quality: Annotated[
        QualityElement, Field(title="4 Data quality", description="How good the data and the links must be.")
    ]
    security: Annotated[
        SecurityElement, Field(title="5 Data security", description="How data and access are protected.")
    ]
    retention: Annotated[
        RetentionElement,
        Field(title="6 Retention of shared data", description="How long what is kept, and how it is deleted."),
    ]
    rights: Annotated[
        RightsElement, Field(title="7 Individuals' rights", description="How people learn of it and use their rights.")
    ]
    review: Annotated[
        ReviewElement, Field(title="8 Review and termination", description="From when to when, and how it is reviewed.")
    ]
    sanctions: Annotated[
        SanctionsElement,
        Field(title="9 Sanctions for failure to comply", description="What happens when a party does not keep to it."),
    ]

    @model_validator(mode="after")
    def _parties_make_sense(self) -> Self:
        names = [party.organisation for party in self.recipients.parties]
        if len(set(names)) != len(names):
            raise ValueError("an organisation is named twice among the parties")
        if len(self.organisations("provider")) < 2:  # noqa: PLR2004 - linking needs two
            raise ValueError("at least two parties must be providers")
        if not self.organisations("recipient"):
            raise ValueError("at least one party must be a recipient")
        unknown = set(self.quality.min_completeness) - set(self.data.identifier_fields)
        if unknown:
            raise ValueError("min_completeness names a field that is not among the identifier fields")
        duplicates = any(party.may_hold_duplicates for party in self.recipients.parties)
        if duplicates and "link_table_blind" in self.data.outputs:
            raise ValueError(
                "blind tables cannot be given where a provider may hold several records of one person: which of them "
                "share a link id would tell it whom others know"
            )
        if self.data.columns and "link_table_matched" not in self.data.outputs:
            raise ValueError(
                "columns belong to matched link tables, and the agreement does not list these as an output"
            )
        if self.data.special_category and self.purpose.lawful_basis.article9 is None:
            raise ValueError("special category data need a condition of Article 9: say it in article9")
        return self

    def circumstances(self, organisation: str) -> Circumstances:
        """From where and when an organisation may act; anyone but a party is not restricted by an agreement."""
        found = (party.circumstances for party in self.recipients.parties if party.organisation == organisation)
        return next(found, None) or _UNRESTRICTED

    def may_hold_duplicates(self, organisation: str) -> bool:
        """Whether an organisation's records may name one person more than once."""
        return any(party.may_hold_duplicates for party in self.recipients.parties if party.organisation == organisation)

    def organisations(self, role: PartyRole | None = None) -> list[str]:
        """Ids of the parties, or of those with a role, in the document's order."""
        return [party.organisation for party in self.recipients.parties if role is None or role in party.roles]


def digest_of(document: dict[str, object]) -> tuple[str, str]:
    """The canonical JSON (RFC 8785) of a document and its SHA-256: what the parties sign.

    The document is taken as it was sent, so that every party computes the same digest from its own copy.
    """
    canonical = rfc8785.dumps(document)  # type: ignore[arg-type]  # JSON as parsed
    return canonical.decode(), hashlib.sha256(canonical).hexdigest()


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document, as it is published.

    It cannot say everything: the validators above relate fields to each other, and the client checks the same.
    """
    made = AgreementDocument.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **made}


def json_schema_text() -> str:
    """The published JSON Schema as text, the same for every build of a release."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
