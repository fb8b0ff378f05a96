"""The agreement document: the nine elements, as the parties sign them."""

import hashlib
from datetime import datetime, time
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import rfc8785
from pydantic import AfterValidator, Field, HttpUrl, PlainSerializer, StringConstraints, model_validator

from linkage_service.wire import Code, Input, Name, OrganisationId, Sha256, Text, Timestamp

PartyRole = Literal["provider", "recipient", "processor"]
Output = Literal["link_table_blind", "link_table_matched", "summary"]
Column = Literal["match_probability", "group_size"]
# Each level includes those before it.
Tier = Literal["plain", "folded", "hardened"]
Assurance = Literal["none", "approaching_standards", "standards_met", "standards_exceeded"]
OptOutType = Literal["none", "local_objection", "national_data_opt_out"]
Sanction = Literal["warn", "suspend_client", "suspend_organisation", "suspend_agreement", "terminate"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Field_ = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Rate = Annotated[float, Field(ge=0, le=1)]
Days = Annotated[int, Field(ge=1, le=36_500)]


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


Network = Annotated[str, StringConstraints(max_length=64), AfterValidator(_network)]
Zone = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+/-]{1,64}$"), AfterValidator(_zone)]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Purpose(Input):
    """One purpose of the sharing."""

    code: Code
    text: Text
    benefits: Text


class LawfulBasis(Input):
    """Why the law allows it."""

    article6: Name
    article9: Name | None = None
    legal_power: Text
    duty_of_confidentiality: Text


class PurposeElement(Input):
    """Element 1: purpose."""

    purposes: Annotated[list[Purpose], Field(min_length=1, max_length=20)]
    lawful_basis: LawfulBasis
    dpia_ref: Name
    necessity: Text


class Contacts(Input):
    """Who answers for a party."""

    dpo: Name
    caldicott: Name | None = None
    siro: Name


class Hours(Input):
    """When a party's machines and people may act: from the first time, to before the second, of the same day."""

    days: Annotated[list[Weekday], Field(min_length=1, max_length=7)]
    opens: TimeOfDay
    closes: TimeOfDay
    timezone: Zone

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

    networks: Annotated[list[Network] | None, Field(min_length=1, max_length=64)] = None
    hours: Hours | None = None
    people: Annotated[Text | None, Field(description="Who may act, in words: training, vetting, posts.")] = None

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


class Party(Input):
    """One organisation and what it does under the agreement."""

    organisation: OrganisationId
    roles: Annotated[list[PartyRole], Field(min_length=1, max_length=3)]
    contacts: Contacts
    circumstances: Circumstances | None = None
    may_hold_duplicates: Annotated[
        bool, Field(description="Whether a provider's upload may hold several records of one person.")
    ] = False

    @model_validator(mode="after")
    def _only_providers_hold_records(self) -> Self:
        if self.may_hold_duplicates and "provider" not in self.roles:
            raise ValueError("may_hold_duplicates says something of a provider's records; this party is no provider")
        return self


class RecipientsElement(Input):
    """Element 2: recipients and circumstances of access."""

    parties: Annotated[list[Party], Field(min_length=2, max_length=50)]


class DataElement(Input):
    """Element 3: the exact data."""

    linkage_schema_sha256: Sha256
    identifier_fields: Annotated[list[Field_], Field(min_length=1, max_length=64)]
    outputs: Annotated[list[Output], Field(min_length=1, max_length=3)]
    columns: Annotated[
        tuple[Column, ...],
        Field(max_length=2, description="What a matched link table may tell beside row and link id."),
    ] = ()
    population: Text
    special_category: bool
    min_group_count: Annotated[int, Field(ge=1, le=1000)]
    onward_sharing: Text


class QualityElement(Input):
    """Element 4: data quality."""

    min_completeness: Annotated[dict[Field_, Rate], Field(max_length=64)]
    target_precision: (
        Annotated[
            float, Field(ge=0.5, lt=1, description="Least expected precision of every run; no run may aim lower.")
        ]
        | None
    ) = None
    sampling_plan: Annotated[Text | None, Field(description="How links are checked by hand, and how many.")] = None


class SecurityElement(Input):
    """Element 5: data security."""

    encoding_profile: Name | None = None
    minimum_tier: Annotated[
        Tier,
        Field(
            description="Least protection of encodings: plain CLKs, folded ones, or a hardened profile such as SAUL."
        ),
    ] = "plain"
    minimum_assurance: Annotated[
        Assurance,
        Field(description="Least status in the security assurance scheme (DSPT) that each party must hold, unexpired."),
    ] = "none"
    second_factor: Annotated[
        Literal[True], Field(description="People sign in with a second factor. This service offers nothing less.")
    ] = True
    key_rotation_days: Annotated[Days, Field(description="A client's key that is older is refused.")]
    maximum_reidentification: (
        Annotated[
            float,
            Field(
                ge=0,
                le=1,
                description="Largest share of records that a provider may have measured as re-identifiable by somebody "
                "who holds its encodings and knows 300 of its people. Uploads then have to declare what was measured.",
            ),
        ]
        | None
    ) = None


class RetentionElement(Input):
    """Element 6: retention."""

    encodings_days: Days
    link_tables_days: Days
    audit_bodies_days: Days
    max_retrievals: Annotated[int, Field(ge=1, le=10_000)]
    disposal_certificate: Annotated[
        bool, Field(description="Whether a signed certificate is issued for what is deleted.")
    ] = True


class RightsElement(Input):
    """Element 7: individuals' rights."""

    contact: Name
    privacy_notice_url: Annotated[HttpUrl, PlainSerializer(str, return_type=str)]
    opt_out_type: Annotated[
        OptOutType,
        Field(description="Which objections providers apply before they encode. With none, nothing need be declared."),
    ]
    opt_out: Text
    reapply_days: Annotated[Days, Field(description="Opt-outs applied longer ago must be applied again.")]
    complaint_days: Annotated[Days, Field(description="A complaint is answered within so many days.")] = 30
    access_request_days: Annotated[Days, Field(description="An access request is answered within so many days.")] = 30


class ReviewElement(Input):
    """Element 8: review and termination."""

    starts: Timestamp
    ends: Timestamp
    review_by: Timestamp
    measures: Text
    termination: Text

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.starts < self.ends:
            raise ValueError("starts must be before ends")
        if not self.starts < self.review_by <= self.ends:
            raise ValueError("review_by must be after starts and not after ends")
        return self


class SanctionsElement(Input):
    """Element 9: sanctions."""

    ladder: Annotated[list[Sanction], Field(min_length=1, max_length=5)]
    imposed_by: Name
    lifted_by: Name
    breach_notice_hours: Annotated[int, Field(ge=1, le=720)]


class AgreementDocument(Input):
    """An information sharing protocol: the nine elements that guidance asks for."""

    format: Literal[1]
    reference: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$")]
    title: Name
    purpose: PurposeElement
    recipients: RecipientsElement
    data: DataElement
    quality: QualityElement
    security: SecurityElement
    retention: RetentionElement
    rights: RightsElement
    review: ReviewElement
    sanctions: SanctionsElement

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
        if self.data.columns and "link_table_matched" not in self.data.outputs:
            raise ValueError(
                "columns belong to matched link tables, and the agreement does not list these as an output"
            )
        return self

    @property
    def is_feasibility(self) -> bool:
        """Whether the agreement allows nothing more than the suppressed summary."""
        return self.data.outputs == ["summary"]

    def circumstances(self, organisation: str) -> Circumstances:
        """From where and when an organisation may act; anyone but a party is not restricted by an agreement."""
        found = [party.circumstances for party in self.recipients.parties if party.organisation == organisation]
        return (found[0] if found else None) or Circumstances()

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
