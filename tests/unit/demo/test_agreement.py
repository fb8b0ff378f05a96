from datetime import UTC, datetime

from linkage_client.demo.agreement import AgreedData, Signatory, draft, least_completeness

NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
ELEMENTS = (
    "purpose",
    "recipients",
    "data",
    "quality",
    "security",
    "retention",
    "rights",
    "review",
    "sanctions",
)


def test_draft_two_providers_has_nine_elements_and_is_in_force_now() -> None:
    parties = [
        Signatory("org_1", "Northgate Council", ("provider",)),
        Signatory("org_2", "St Aidan's Hospital", ("provider",)),
        Signatory("org_3", "Office of Data Analytics", ("recipient",)),
    ]
    data = AgreedData("0" * 64, ("surname", "date_of_birth.year"), {"surname": 0.9})

    document = draft(parties, data=data, now=NOW)

    assert set(ELEMENTS) <= set(document)
    assert document["reference"] == "ISP-2026-001"
    assert document["review"]["starts"] == "2026-03-03T00:00:00Z"
    assert document["review"]["starts"] < document["review"]["review_by"] < document["review"]["ends"]
    assert set(document["quality"]["min_completeness"]) <= set(document["data"]["identifier_fields"])
    assert [party["roles"] for party in document["recipients"]["parties"]] == [
        ["provider"],
        ["provider"],
        ["recipient"],
    ]
    assert "link_table_matched" not in document["data"]["outputs"]


def test_least_completeness_sparse_field_is_not_asked_for() -> None:
    assert least_completeness({"surname": 0.99, "locality": 0.3}) == {"surname": 0.49}
