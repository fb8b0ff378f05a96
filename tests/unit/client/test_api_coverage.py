"""Every operation of the API can be reached through the SDK, or is left out for a reason."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from linkage_client.client import LinkageClient
from linkage_client.errors import LinkageClientError
from linkage_client.keys import SigningKey, document_digest
from support.fake_service import CREATED, FakeService, Reply, manifest_of, release, run

OPENAPI = json.loads((Path(__file__).parents[3] / "openapi" / "openapi.json").read_text("utf-8"))
OPERATIONS: dict[str, tuple[str, str]] = {
    operation["operationId"]: (method.upper(), path)
    for path, methods in OPENAPI["paths"].items()
    for method, operation in methods.items()
}
KEY = SigningKey.generate()
JWK = KEY.public_jwk
DOCUMENT = {"title": "ISP"}

LEFT_OUT = {
    "get_health": "for load balancers, which know HTTP",
    "get_readiness": "for load balancers and for whoever starts the service",
    "get_jwks": "access tokens are opaque to clients; only a gateway in front of the service would check them",
    "get_metadata": "read by the log-in itself",
    "issue_token": "done by the log-in itself",
    **dict.fromkeys(
        (
            "get_sign_in_options",
            "check_password",
            "open_session",
            "list_sessions",
            "end_session",
            "end_sessions",
            "sign_out",
            "step_up",
            "change_password",
            "start_with_provider",
            "finish_with_provider",
            "get_enrolment",
            "begin_enrolment",
            "confirm_enrolment",
        ),
        "what a person does with a password, a code and a browser; the SDK is for machines",
    ),
}

REACHED_BY: dict[str, Callable[[LinkageClient], Any]] = {
    "get_version": lambda client: client.version(),
    "get_me": lambda client: client.me(),
    "list_organisations": lambda client: client.organisations.list().first(),
    "create_organisation": lambda client: client.organisations.create(name="Council"),
    "get_organisation": lambda client: client.organisations.get(organisation_id="org_1"),
    "list_clients": lambda client: client.organisations.clients(organisation_id="org_1").first(),
    "add_client": lambda client: client.organisations.add_client(
        organisation_id="org_1", name="laptop", public_jwk=JWK, roles=["analyst"]
    ),
    "revoke_client": lambda client: client.organisations.revoke_client(organisation_id="org_1", client_id="cli_1"),
    "list_client_keys": lambda client: client.organisations.client_keys(
        organisation_id="org_1", client_id="cli_1"
    ).first(),
    "add_client_key": lambda client: client.organisations.add_client_key(
        organisation_id="org_1", client_id="cli_1", public_jwk=JWK
    ),
    "revoke_client_key": lambda client: client.organisations.revoke_client_key(
        organisation_id="org_1", client_id="cli_1", key_thumbprint=KEY.thumbprint
    ),
    "record_assurance": lambda client: client.organisations.record_assurance(
        organisation_id="org_1", status="none", expires_at=None, evidence="None was shown."
    ),
    "warn_organisation": lambda client: client.organisations.warn(organisation_id="org_1", reason="Late."),
    "suspend_organisation": lambda client: client.organisations.suspend(organisation_id="org_1", reason="Late."),
    "reinstate_organisation": lambda client: client.organisations.reinstate(organisation_id="org_1", reason="Done."),
    "warn_client": lambda client: client.organisations.warn_client(
        organisation_id="org_1", client_id="cli_1", reason="Late."
    ),
    "suspend_client": lambda client: client.organisations.suspend_client(
        organisation_id="org_1", client_id="cli_1", reason="Late."
    ),
    "reinstate_client": lambda client: client.organisations.reinstate_client(
        organisation_id="org_1", client_id="cli_1", reason="Done."
    ),
    "invite_person": lambda client: client.organisations.invite_person(
        organisation_id="org_1", name="Alex", email="alex@body.test", roles=["analyst"]
    ),
    "list_people": lambda client: client.organisations.people(organisation_id="org_1").first(),
    "invite_person_again": lambda client: client.organisations.invite_person_again(
        organisation_id="org_1", person_id="per_1"
    ),
    "change_roles": lambda client: client.organisations.change_roles(
        organisation_id="org_1", person_id="per_1", roles=["analyst"]
    ),
    "disable_person": lambda client: client.organisations.disable_person(organisation_id="org_1", person_id="per_1"),
    "enable_person": lambda client: client.organisations.enable_person(organisation_id="org_1", person_id="per_1"),
    "end_sessions_of_person": lambda client: client.organisations.end_sessions(
        organisation_id="org_1", person_id="per_1"
    ),
    "invite_organisation": lambda client: client.organisations.invite(organisation_id="org_1"),
    "register": lambda client: client.organisations.register(
        invitation="i", signing_key=KEY, client_key=KEY, client_name="laptop", roles=["analyst"]
    ),
    "list_agreements": lambda client: client.agreements.list().first(),
    "draft_agreement": lambda client: client.agreements.create(document=DOCUMENT),
    "get_agreement": lambda client: client.agreements.get(agreement_id="agr_1"),
    "get_agreement_version": lambda client: client.agreements.version(agreement_id="agr_1", version=1),
    "get_agreement_schema": lambda client: client.agreements.schema(),
    "amend_agreement": lambda client: client.agreements.amend(agreement_id="agr_1", document=DOCUMENT),
    "replace_agreement_draft": lambda client: client.agreements.replace_draft(
        agreement_id="agr_1", version=1, document=DOCUMENT
    ),
    "withdraw_agreement_version": lambda client: client.agreements.withdraw(agreement_id="agr_1", version=1),
    "suspend_agreement": lambda client: client.agreements.suspend(agreement_id="agr_1", reason="A breach."),
    "reinstate_agreement": lambda client: client.agreements.reinstate(agreement_id="agr_1", reason="Mended."),
    "review_agreement": lambda client: client.agreements.review(
        agreement_id="agr_1", passed=True, review_by=datetime(2027, 1, 1, tzinfo=UTC), findings="Fine."
    ),
    "terminate_agreement": lambda client: client.agreements.terminate(agreement_id="agr_1", reason="Done."),
    "propose_agreement": lambda client: client.agreements.propose(agreement_id="agr_1", version=1),
    "sign_agreement": lambda client: client.agreements.sign(agreement_id="agr_1", version=1, signing_key=KEY),
    "list_projects": lambda client: client.projects.list().first(),
    "open_project": lambda client: client.projects.create(
        agreement_id="agr_1", name="round", purpose="planning", linkage_schema={}
    ),
    "get_project": lambda client: client.projects.get(project_id="prj_1"),
    "list_disclosures": lambda client: client.projects.disclosures(project_id="prj_1").first(),
    "join_project": lambda client: client.projects.join(project_id="prj_1"),
    "leave_project": lambda client: client.projects.leave(project_id="prj_1", organisation_id="org_1"),
    "get_key_card": lambda client: client.keys.card(organisation_id="org_1"),
    "publish_key_card": lambda client: client.keys.publish_card(organisation_id="org_1", document={}),
    "get_key_exchange": lambda client: client.keys.exchange(project_id="prj_1"),
    "note_key_comparison": lambda client: client.keys.note_comparison(
        project_id="prj_1", epoch=1, keyset_sha256="ab" * 32
    ),
    "post_key_envelopes": lambda client: client.keys.post_envelopes(
        project_id="prj_1", epoch=1, keyset_sha256="ab" * 32, check_value="ab" * 16, envelopes=[{}]
    ),
    "get_key_envelopes": lambda client: client.keys.envelopes(project_id="prj_1"),
    "confirm_key": lambda client: client.keys.confirm(project_id="prj_1", epoch=1, check_value="ab" * 16),
    "open_key_epoch": lambda client: client.keys.open_epoch(project_id="prj_1", reason="planned", expected_epoch=1),
    "declare_upload": lambda client: client.uploads.declare(project_id="prj_1", manifest=manifest_of(b"0" * 128)),
    "list_uploads": lambda client: client.uploads.list(project_id="prj_1").first(),
    "get_upload": lambda client: client.uploads.get(upload_id="upl_1"),
    "put_part": lambda client: client.uploads.put_part(upload_id="upl_1", number=1, content=b"0"),
    "complete_upload": lambda client: client.uploads.complete(upload_id="upl_1"),
    "delete_upload": lambda client: client.uploads.delete(upload_id="upl_1"),
    "start_run": lambda client: client.runs.start(project_id="prj_1"),
    "list_runs": lambda client: client.runs.list(project_id="prj_1").first(),
    "get_run": lambda client: client.runs.get(run_id="run_1"),
    "cancel_run": lambda client: client.runs.cancel(run_id="run_1"),
    "get_summary": lambda client: client.runs.summary(run_id="run_1"),
    "get_report": lambda client: client.runs.report(run_id="run_1"),
    "request_release": lambda client: client.releases.create(run_id="run_1", purpose="planning", mode="blind"),
    "list_releases": lambda client: client.releases.list(project_id="prj_1").first(),
    "get_release": lambda client: client.releases.get(release_id="rel_1"),
    "get_link_table": lambda client: list(client.releases.link_table(release_id="rel_1")),
    "close_project": lambda client: client.retention.close_project(project_id="prj_1"),
    "list_certificates": lambda client: client.retention.certificates(project_id="prj_1").first(),
    "get_certificate": lambda client: client.retention.certificate(certificate_id="crt_1"),
    "withdraw_rows": lambda client: client.rights.withdraw(upload_id="upl_1", rows=[1], reason="objection"),
    "list_withdrawals": lambda client: client.rights.withdrawals(upload_id="upl_1").first(),
    "get_withdrawn_links": lambda client: client.rights.withdrawn_links(release_id="rel_1"),
    "trace_row": lambda client: client.rights.trace(upload_id="upl_1", row=1),
    "list_holds": lambda client: client.rights.holds(project_id="prj_1").first(),
    "restrict_run": lambda client: client.rights.restrict_run(run_id="run_1", ground="accuracy", reason="Case 1."),
    "lift_run_restriction": lambda client: client.rights.lift_run(run_id="run_1", reason="Closed."),
    "restrict_release": lambda client: client.rights.restrict_release(
        release_id="rel_1", ground="accuracy", reason="Case 1."
    ),
    "lift_release_restriction": lambda client: client.rights.lift_release(release_id="rel_1", reason="Closed."),
    "list_events": lambda client: list(client.audit.events()),
    "get_event": lambda client: client.audit.event(seq=1),
    "replay_decision": lambda client: client.audit.replay(seq=1),
    "get_receipt": lambda client: client.audit.receipt(seq=1),
    "get_checkpoint": lambda client: client.audit.checkpoint(),
    "get_verifier_key": lambda client: client.audit.verifier_key(),
    "export_events": lambda client: client.audit.export(out=Path(mkdtemp()) / "log.csv", form="csv"),
    "list_alarms": lambda client: client.audit.alarms().first(),
    "acknowledge_alarm": lambda client: client.audit.acknowledge(alarm_id="alm_1", reason="Expected."),
    "get_inclusion": lambda client: client.audit.inclusion(seq=1, size=2),
    "get_witnesses": lambda client: client.audit.witnesses(),
    "get_consistency": lambda client: client.audit.consistency(first=1, second=2),
}


def test_operations_are_reached_or_left_out_for_a_reason() -> None:
    assert REACHED_BY.keys() | LEFT_OUT.keys() == OPERATIONS.keys()
    assert REACHED_BY.keys() & LEFT_OUT.keys() == set()


def _ask(client: LinkageClient, service: FakeService, operation: str) -> None:
    """Calls the method; the service knows what methods read before they do what they are for, and nothing else."""
    agreement = {
        "id": "agr_1",
        "reference": "r",
        "state": "proposed",
        "version": 1,
        "digest": document_digest(DOCUMENT),
    }
    version = {**agreement, "created_at": CREATED, "document": DOCUMENT}
    service.on("GET", "/v1/agreements/agr_1/versions/1", Reply(200, version, {"ETag": '"v"'}))
    service.on("GET", "/v1/agreements/agr_1", Reply(200, agreement, {"ETag": '"a"'}))
    service.on("GET", "/v1/releases/rel_1", release())
    service.on("GET", "/v1/runs/run_1", run("succeeded"))
    service.public |= {"/version", "/v1/agreement-schema"}
    with suppress(LinkageClientError):
        REACHED_BY[operation](client)


@pytest.mark.parametrize("operation", REACHED_BY)
def test_operation_is_what_its_method_asks_for(client: LinkageClient, service: FakeService, operation: str) -> None:
    _ask(client, service, operation)
    method, path = OPERATIONS[operation]
    pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(path)))
    assert any(pattern.fullmatch(asked) for asked in service.paths(method))


@pytest.mark.parametrize(
    "operation", [name for name, (method, _) in OPERATIONS.items() if method == "POST" and name in REACHED_BY]
)
def test_changing_operation_carries_an_idempotency_key(
    client: LinkageClient, service: FakeService, operation: str
) -> None:
    _ask(client, service, operation)
    posts = [asked for asked in service.asked if asked.method == "POST" and "oauth" not in asked.path]
    assert posts
    assert all("idempotency-key" in asked.headers for asked in posts)


def test_events_can_be_asked_for_by_project_and_place(client: LinkageClient, service: FakeService) -> None:
    service.on("GET", "/v1/audit/events", {"items": [], "next_after": None})
    since = datetime(2026, 1, 1, tzinfo=UTC)
    list(client.audit.events(after=3, project_id="prj_1", limit=7, since=since, element=5, outcome=None))
    asked = {"after": "3", "project": "prj_1", "limit": "7", "from": "2026-01-01T00:00:00Z", "element": "5"}
    assert service.asked[-1].query == asked
