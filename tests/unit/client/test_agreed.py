"""What encoding takes from a project is what its parties have signed, not what a service says."""

import json
from typing import Any

import pytest

from linkage_client.agreed import agreed_project, agreed_terms
from linkage_client.client import LinkageClient
from linkage_client.errors import AgreementMismatchError, UnexpectedAnswerError
from linkage_client.keys import SigningKey
from support.fake_service import OWN, Asked, FakeService, Reply, agreed, organisation
from support.linkage_schemas import linkage_schema, string_feature

SCHEMA = linkage_schema(string_feature("given_name"))
VERSION = "/v1/agreements/agr_1/versions/1"


def _changed(service: FakeService, path: str, **members: Any) -> None:
    content = json.loads(service.routes["GET", path](Asked("GET", path, {}, {}, b"")).body)
    service.on("GET", path, Reply(content={**content, **members}))


def test_terms_are_those_of_the_signed_text(client: LinkageClient, service: FakeService) -> None:
    agreed(service, SCHEMA, security={"encoding_profile": "clk-1024-v1", "maximum_reidentification": 0.1})
    terms = agreed_terms(client, project_id="prj_1")
    assert (terms.encoding_profile, terms.maximum_reidentification) == ("clk-1024-v1", 0.1)
    assert terms.schema.document == SCHEMA


def test_schema_that_element_3_does_not_name_is_refused_whatever_the_service_states(
    client: LinkageClient, service: FakeService
) -> None:
    agreed(service, SCHEMA)
    other = linkage_schema(string_feature("given_name"), string_feature("diagnosis"))
    _changed(service, "/v1/projects/prj_1", linkage_schema=other)
    with pytest.raises(UnexpectedAnswerError, match="not the one of the agreement"):
        agreed_project(client, project_id="prj_1")


def test_agreement_of_another_digest_than_the_projects_is_refused(client: LinkageClient, service: FakeService) -> None:
    agreed(service, SCHEMA)
    reference = {"id": "agr_1", "reference": "ISP-1", "version": 1, "digest": "00" * 32}
    _changed(service, "/v1/projects/prj_1", agreement=reference)
    with pytest.raises(AgreementMismatchError, match="not the one that the project"):
        agreed_project(client, project_id="prj_1")


def test_text_that_was_changed_after_it_was_signed_is_refused(client: LinkageClient, service: FakeService) -> None:
    agreed(service, SCHEMA, security={"encoding_profile": "clk-1024-v1"})
    _changed(service, VERSION, document={"security": {"encoding_profile": "weak"}})
    with pytest.raises(AgreementMismatchError, match="stated digest"):
        agreed_terms(client, project_id="prj_1")


def test_agreement_that_a_party_has_not_signed_is_refused(client: LinkageClient, service: FakeService) -> None:
    agreed(service, SCHEMA, signed=False)
    with pytest.raises(AgreementMismatchError, match=f"{OWN}: not signed"):
        agreed_terms(client, project_id="prj_1")


def test_signature_by_another_key_than_the_registered_one_is_refused(
    client: LinkageClient, service: FakeService
) -> None:
    agreed(service, SCHEMA)
    key = SigningKey.generate().public_jwk
    service.on("GET", f"/v1/organisations/{OWN}", {**organisation(), "signing_key": key})
    with pytest.raises(AgreementMismatchError, match="Nothing was done"):
        agreed_terms(client, project_id="prj_1")


def test_agreement_without_parties_is_refused(client: LinkageClient, service: FakeService) -> None:
    agreed(service, SCHEMA, recipients={"parties": []})
    with pytest.raises(AgreementMismatchError, match="names no party"):
        agreed_terms(client, project_id="prj_1")


def test_project_that_was_not_asked_for_is_refused(client: LinkageClient, service: FakeService) -> None:
    agreed(service, SCHEMA)
    _changed(service, "/v1/projects/prj_1", id="prj_2")
    with pytest.raises(UnexpectedAnswerError, match="another project than"):
        agreed_terms(client, project_id="prj_1")


@pytest.mark.parametrize("changed", [{"id": "agr_2"}, {"version": 2}])
def test_agreement_that_was_not_asked_for_is_refused(
    client: LinkageClient, service: FakeService, changed: dict[str, Any]
) -> None:
    agreed(service, SCHEMA)
    _changed(service, VERSION, **changed)
    with pytest.raises(UnexpectedAnswerError, match="another version or agreement"):
        agreed_terms(client, project_id="prj_1")


def test_organisation_that_was_not_asked_for_is_refused(client: LinkageClient, service: FakeService) -> None:
    agreed(service, SCHEMA)
    _changed(service, f"/v1/organisations/{OWN}", id="org_other")
    with pytest.raises(UnexpectedAnswerError, match="another organisation"):
        agreed_terms(client, project_id="prj_1")
