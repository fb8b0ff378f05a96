"""The agreement of the demo: an information sharing protocol with its nine elements, as real parties would word it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

PURPOSE: Final = "service-planning"
_SLACK: Final = 0.5
"""The parties ask for half of what they see today, so that an ordinary later extract does not break the agreement."""
_WORTH_ASKING_FOR: Final = 0.5
_TERM_DAYS: Final = 365
_REVIEW_DAYS: Final = 330


@dataclass(frozen=True, slots=True)
class Signatory:
    """One party of the agreement."""

    organisation_id: str
    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AgreedData:
    """What the agreement says about the data (elements 3 to 5)."""

    linkage_schema_sha256: str
    identifier_fields: tuple[str, ...]
    completeness: Mapping[str, float]
    """Share of records with a value, for the fields that it was measured for: the lowest of any provider."""
    encoding_profile: str | None = None
    """Name of the encoder parameters; None leaves them to the linkage schema."""
    outputs: tuple[str, ...] = ("link_table_blind", "summary")
    """What may leave. The summary alone makes an agreement for a feasibility project."""


def draft(parties: Sequence[Signatory], *, data: AgreedData, now: datetime) -> dict[str, Any]:
    """The document that the parties sign. Its term begins the day before `now`, so that it is in force when signed."""
    starts = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    providers = " and ".join(party.name for party in parties if "provider" in party.roles)
    recipients = " and ".join(party.name for party in parties if "recipient" in party.roles)
    return {
        "format": 1,
        "reference": f"ISP-{now.year}-001",
        "title": f"Planning of joined-up services: {providers}"[:200],
        "purpose": _purpose(recipients),
        "recipients": {"parties": [_party(party) for party in parties]},
        "data": {
            "linkage_schema_sha256": data.linkage_schema_sha256,
            "identifier_fields": list(data.identifier_fields),
            "outputs": list(data.outputs),
            "population": "Everybody in the extracts that the providers made for this demonstration.",
            "special_category": False,
            "min_group_count": 10,
            "onward_sharing": "None. Link ids and what they are joined to stay with the recipient.",
        },
        "quality": {"min_completeness": least_completeness(data.completeness), "target_precision": None},
        "security": {"encoding_profile": data.encoding_profile, "key_rotation_days": 365},
        "retention": {
            "encodings_days": 30,
            "link_tables_days": 90,
            "audit_bodies_days": 3650,
            "max_retrievals": 10,
        },
        "rights": {
            "contact": "The data protection officer of the organisation that holds the record.",
            "privacy_notice_url": "https://www.example.org/privacy/joined-up-services",
            "opt_out_type": "local_objection",
            "opt_out": "Each provider leaves people who have objected out of its extract before encoding.",
            "reapply_days": 90,
        },
        "review": {
            "starts": _written(starts),
            "ends": _written(starts + timedelta(days=_TERM_DAYS)),
            "review_by": _written(starts + timedelta(days=_REVIEW_DAYS)),
            "measures": "Share of households known to more than one service; complaints and objections received.",
            "termination": "Any party may leave with 30 days' notice; its encodings are then deleted at once.",
        },
        "sanctions": {
            "ladder": ["warn", "suspend_client", "suspend_organisation", "terminate"],
            "imposed_by": "The information governance board of the linkage unit.",
            "lifted_by": "The information governance board of the linkage unit.",
            "breach_notice_hours": 24,
        },
    }


def least_completeness(measured: Mapping[str, float]) -> dict[str, float]:
    """What each field has to reach: half of what was measured, and nothing where little is filled today."""
    return {
        name: math.floor(share * _SLACK * 100) / 100 for name, share in measured.items() if share >= _WORTH_ASKING_FOR
    }


def _purpose(recipients: str) -> dict[str, Any]:
    return {
        "purposes": [
            {
                "code": PURPOSE,
                "text": "To learn how many people use services of more than one party, and which services go together.",
                "benefits": "Services are planned for people and households as a whole, and nobody is asked twice.",
            }
        ],
        "lawful_basis": {
            "article6": "6(1)(e)",
            "article9": None,
            "legal_power": "Digital Economy Act 2017, section 35 (public service delivery).",
            "duty_of_confidentiality": "Met: the recipient gets pseudonymous link ids and no confidential record.",
        },
        "dpia_ref": "DPIA-001",
        "necessity": (
            f"{recipients} needs to know which records belong together and not whose they are: "
            "encodings are matched, identifiers stay where they are."
        ),
    }


def _party(party: Signatory) -> dict[str, Any]:
    contacts = {"dpo": f"Data Protection Officer, {party.name}"[:200], "caldicott": None, "siro": "The chief officer"}
    return {"organisation": party.organisation_id, "roles": list(party.roles), "contacts": contacts}


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
