"""A process that is killed at any statement of a request leaves the change with its event, or neither."""

from support.crashes import by, crashing, for_a_token
from support.databases import on_each_database
from support.service_app import ServiceApp, b64, data_sets, ok, parts_of


@on_each_database
def test_request_killed_at_each_statement_leaves_change_and_event_or_neither(service: ServiceApp) -> None:
    providers, recipient = [service.join(), service.join()], service.join()
    drafted = service.draft({**dict.fromkeys(providers, ("provider",)), recipient: ("recipient",)})
    ok(providers[0].change(f"/v1/agreements/{drafted['id']}/versions/1:propose"), 200)
    for party in providers:
        ok(party.sign_agreement(drafted), 201)
    signature = recipient.signing_key.sign(b"linkage/agreement/v1\0" + bytes.fromhex(drafted["digest"]))
    signed = {"digest": drafted["digest"], "signature": b64(signature)}
    first, second = data_sets(12, 12, shared=6)
    with crashing(service) as process:
        process.kill("sign", by(recipient, "POST", f"/v1/agreements/{drafted['id']}/versions/1/signatures", signed))
        process.kill("token", for_a_token(providers[0]))
        project = ok(service.open_project(providers[0], drafted), 201)["id"]
        providers[1].upload(project, second)
        upload = ok(providers[0].declare(project, first), 201)["id"]
        for number, part in parts_of(first):
            ok(providers[0].put_part(upload, number, part), 204)
        process.kill("complete", by(providers[0], "POST", f"/v1/uploads/{upload}:complete"))
        run = ok(providers[0].post(f"/v1/projects/{project}/runs", {}), 202)["id"]
        assert service.work()
        path, draft, key = f"/v1/runs/{run}/releases", {"purpose": "planning"}, "one"
        process.kill("release", by(recipient, "POST", path, draft, idempotency_key=key))
        # The answer that its process did not live to give is kept.
        release = ok(recipient.post(path, draft, headers={"Idempotency-Key": key}), 201)["id"]
        process.kill("retrieve", by(providers[0], "GET", f"/v1/releases/{release}/link-table"))
    assert process.events == {
        "sign": ["agreement.signed", "agreement.activated"],
        "token": ["token.issued"],
        "complete": ["upload.completed"],
        "release": ["release.granted"],
        "retrieve": ["link_table.retrieved"],
    }
    # Before, between and after the statements of a transaction, of which an append alone has several.
    assert all(deaths >= 4 for deaths in process.deaths.values()), process.deaths
    assert service.verified()
