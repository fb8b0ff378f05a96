"""A whole agreement document for the API's description: integrators copy it, and a test holds it to the model."""

from typing import Any

_CONTACTS = {"dpo": "dpo@northshire.example", "caldicott": None, "siro": "siro@northshire.example"}

DOCUMENT: dict[str, Any] = {
    "format": 1,
    "reference": "ISP-2026-001",
    "title": "Linkage of housing and health records to plan services",
    "purpose": {
        "purposes": [
            {
                "code": "service-planning",
                "text": "Plan services by area.",
                "benefits": "Services where they are needed.",
            }
        ],
        "lawful_basis": {
            "article6": "6(1)(e)",
            "article9": None,
            "legal_power": "The power that each party acts under.",
            "duty_of_confidentiality": "How each party meets it.",
        },
        "dpia_ref": "DPIA-2026-014",
        "necessity": "No less intrusive way reaches the purpose.",
    },
    "recipients": {
        "parties": [
            {"organisation": "org_01k5v3m8q2e9r7t6y4w1x0zabc", "roles": ["provider"], "contacts": _CONTACTS},
            {
                "organisation": "org_01k5v3m8q2e9r7t6y4w1x0zabd",
                "roles": ["provider"],
                "contacts": _CONTACTS,
            },
            {
                "organisation": "org_01k5v3m8q2e9r7t6y4w1x0zabe",
                "roles": ["recipient"],
                "contacts": _CONTACTS,
                "circumstances": {
                    "networks": ["192.0.2.0/24"],
                    "hours": {
                        "days": ["mon", "tue", "wed", "thu", "fri"],
                        "opens": "07:00",
                        "closes": "19:00",
                        "timezone": "Europe/London",
                    },
                    "people": "Analysts of the planning team who hold the yearly training.",
                },
            },
        ]
    },
    "data": {
        "linkage_schema_sha256": "5f" * 32,
        "identifier_fields": ["given_name", "surname", "date_of_birth"],
        "outputs": ["link_table_blind", "summary"],
        "columns": [],
        "population": "Residents of the area.",
        "special_category": False,
        "min_group_count": 10,
        "onward_sharing": "none",
    },
    "quality": {"min_completeness": {"surname": 0.9}, "target_precision": 0.98, "sampling_plan": None},
    "security": {
        "encoding_profile": "clk-1024-v1",
        "minimum_tier": "plain",
        "minimum_assurance": "standards_met",
        "second_factor": True,
        "key_rotation_days": 365,
    },
    "retention": {
        "encodings_days": 30,
        "link_tables_days": 90,
        "audit_bodies_days": 3650,
        "max_retrievals": 10,
        "disposal_certificate": True,
    },
    "rights": {
        "contact": "rights@northshire.example",
        "privacy_notice_url": "https://northshire.example/privacy",
        "opt_out_type": "local_objection",
        "opt_out": "In writing to the contact point.",
        "reapply_days": 90,
        "complaint_days": 30,
        "access_request_days": 30,
    },
    "review": {
        "starts": "2026-01-01T00:00:00Z",
        "ends": "2027-01-01T00:00:00Z",
        "review_by": "2026-10-01T00:00:00Z",
        "measures": "A report on what was planned with the results.",
        "termination": "Encodings and link tables are deleted, and each party is told.",
    },
    "sanctions": {
        "ladder": ["warn", "suspend_client", "suspend_organisation", "suspend_agreement", "terminate"],
        "imposed_by": "The governance board of the linkage unit.",
        "lifted_by": "The governance board of the linkage unit.",
        "breach_notice_hours": 24,
    },
}
