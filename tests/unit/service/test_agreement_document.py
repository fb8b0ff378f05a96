"""What an agreement may say of quality and of duplicates."""

from typing import Any

import pytest
from pydantic import ValidationError

from linkage_service.agreements.document import AgreementDocument
from support.service_app import agreement_document

ONE, TWO, THREE = (f"org_{'0' * 25}{digit}" for digit in "123")
PARTIES = {ONE: ["provider"], TWO: ["provider"], THREE: ["recipient"]}


def _document(**changes: Any) -> dict[str, Any]:
    return agreement_document(PARTIES, **changes)


def test_document_that_does_not_speak_of_duplicates_allows_none() -> None:
    document = AgreementDocument.model_validate(_document())
    assert not any(document.may_hold_duplicates(party) for party in PARTIES)


def test_provider_that_may_hold_duplicates_is_the_only_one() -> None:
    said = _document(data={"outputs": ["link_table_matched", "summary"]})
    said["recipients"]["parties"][1]["may_hold_duplicates"] = True
    document = AgreementDocument.model_validate(said)
    assert [document.may_hold_duplicates(party) for party in PARTIES] == [False, True, False]


def test_duplicates_and_blind_tables_exclude_each_other() -> None:
    said = _document(data={"outputs": ["link_table_blind"]})
    said["recipients"]["parties"][1]["may_hold_duplicates"] = True
    with pytest.raises(ValidationError, match="blind tables cannot be given"):
        AgreementDocument.model_validate(said)


def test_party_that_is_no_provider_and_may_hold_duplicates_is_refused() -> None:
    said = _document()
    said["recipients"]["parties"][2]["may_hold_duplicates"] = True
    with pytest.raises(ValidationError, match="no provider"):
        AgreementDocument.model_validate(said)


@pytest.mark.parametrize("target", [0.49, 1.0, 98])
def test_target_precision_out_of_range_is_refused(target: float) -> None:
    with pytest.raises(ValidationError):
        AgreementDocument.model_validate(_document(quality={"target_precision": target}))
