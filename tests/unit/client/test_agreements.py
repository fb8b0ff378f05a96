from typing import Any

import pytest

from linkage_client import keys
from linkage_client.client import LinkageClient
from linkage_client.errors import AgreementMismatchError
from linkage_client.keys import SigningKey
from support.fake_service import CREATED, FakeService, Reply

DOCUMENT = {"format": 1, "title": "Sharing"}


def _agreement(**members: Any) -> dict[str, Any]:
    party = {"organisation": "org_own", "roles": ["provider"], "signed": False}
    content = {"id": "agr_1", "reference": "ISP-1", "state": "proposed", "version": 1, "parties": [party]}
    return {**content, "digest": keys.document_digest(DOCUMENT), "created_at": CREATED, **members}


@pytest.fixture(autouse=True)
def _proposed(service: FakeService) -> None:
    service.on("GET", "/v1/agreements/agr_1/versions/1", _agreement(document=DOCUMENT, signatures=[]))
    service.on("POST", "/v1/agreements/agr_1/versions/1/signatures", Reply(201, _agreement(state="active")))


def test_sign_sends_digest_and_signature_of_the_text(client: LinkageClient, service: FakeService) -> None:
    key = SigningKey.generate()
    assert client.agreements.sign(agreement_id="agr_1", version=1, signing_key=key).state == "active"
    digest = keys.document_digest(DOCUMENT)
    sent = service.asked[-1].json()
    assert sent == {"digest": digest, "signature": keys.sign_agreement(digest=digest, signing_key=key)}


def test_sign_of_another_text_than_stated_signs_nothing(client: LinkageClient, service: FakeService) -> None:
    other = _agreement(document={**DOCUMENT, "title": "Other"}, signatures=[])
    service.on("GET", "/v1/agreements/agr_1/versions/1", other)
    with pytest.raises(AgreementMismatchError):
        client.agreements.sign(agreement_id="agr_1", version=1, signing_key=SigningKey.generate())
    assert not any(path.endswith("/signatures") for path in service.paths("POST"))


def test_sign_of_another_text_than_read_signs_nothing(client: LinkageClient, service: FakeService) -> None:
    with pytest.raises(AgreementMismatchError, match="Read this version"):
        client.agreements.sign(
            agreement_id="agr_1", version=1, signing_key=SigningKey.generate(), expected_digest="00" * 32
        )
    assert not any(path.endswith("/signatures") for path in service.paths("POST"))
