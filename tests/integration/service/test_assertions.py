"""Client assertions: what gets no token, and what is written down about it."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support.service_app import ISSUER, Key, Organisation, ServiceApp, b64, jws, ok, problem, registration


@pytest.fixture
def organisation(service: ServiceApp) -> Organisation:
    return service.join()


def test_assertion_sent_twice_works_once(service: ServiceApp, organisation: Organisation) -> None:
    assertion = jws(organisation.claims(), organisation.key)
    assert service.ask_for_token(assertion).json()["token_type"] == "DPoP"
    with service.expecting_event("token.refused") as events:
        document = problem(service.ask_for_token(assertion), 401, "assertion_replayed")
    assert document["error"] == "invalid_client"
    assert events[0]["outcome"] == {"status": "refused", "code": "assertion_replayed"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "https://elsewhere.test"}, "bad_audience"),
        ({"aud": [ISSUER, "https://elsewhere.test"]}, "bad_audience"),
        ({"aud": [ISSUER]}, "bad_audience"),
        ({"aud": None}, "bad_audience"),
        ({"iat": None}, "bad_assertion"),
        ({"iat": "now"}, "bad_assertion"),
        ({"iat": True}, "bad_assertion"),
        ({"iat": 10**400}, "bad_assertion"),
        ({"iat": float("nan")}, "bad_assertion"),
        ({"iat": 4_000_000_000}, "assertion_early"),
        ({"aud": f"{ISSUER}/v1/oauth/token"}, "bad_audience"),
        ({"exp": 0}, "assertion_expired"),
        ({"exp": 4_000_000_000}, "assertion_too_long"),
        ({"exp": 1e300}, "bad_assertion"),
        ({"exp": 253_402_300_799}, "assertion_too_long"),
        ({"exp": "soon"}, "bad_assertion"),
        ({"exp": True}, "bad_assertion"),
        ({"nbf": 4_000_000_000}, "assertion_early"),
        ({"sub": "someone else"}, "bad_assertion"),
        ({"jti": ""}, "bad_assertion"),
        ({"jti": "\ud800 is half a character"}, "bad_assertion"),
        ({"jti": 12345678}, "bad_assertion"),
    ],
)
def test_assertion_with_a_wrong_claim_is_refused(
    service: ServiceApp, organisation: Organisation, changes: dict[str, Any], code: str
) -> None:
    with service.expecting_event("token.refused"):
        problem(service.ask_for_token(jws(organisation.claims(**changes), organisation.key)), 401, code)


def test_assertion_longer_than_five_minutes_is_refused(service: ServiceApp, organisation: Organisation) -> None:
    later = int(service.clock.now.timestamp()) + 400
    problem(service.ask_for_token(jws(organisation.claims(exp=later), organisation.key)), 401, "assertion_too_long")


def test_assertion_by_another_key_is_refused(service: ServiceApp, organisation: Organisation) -> None:
    # Anyone can send what no registered key has signed: it must not grow the log in the client's name.
    before = service.size()
    problem(service.ask_for_token(jws(organisation.claims(), Key())), 401, "bad_signature")
    assert service.size() == before


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "ES256"])
def test_assertion_with_another_algorithm_is_refused(service: ServiceApp, organisation: Organisation, alg: str) -> None:
    unsigned = jws(organisation.claims(), None, alg=alg)
    problem(service.ask_for_token(unsigned), 401, "bad_signature")
    problem(service.ask_for_token(jws(organisation.claims(), organisation.key, alg=alg)), 401, "bad_signature")


def test_assertion_from_nobody_is_refused_without_a_leaf(service: ServiceApp) -> None:
    before = service.size()
    for issuer in ("cli_" + "0" * 26, "x", "\ud800", 7):
        assertion = jws({"iss": issuer, "sub": issuer}, Key())
        problem(service.ask_for_token(assertion), 401, "unknown_client")
    for garbage in ("a.b.c" * 5, "x" * 40, f"{b64(b'{}')}.{b64(b'[' * 5000)}.{b64(b'x')}"):
        problem(service.ask_for_token(garbage), 401, "unknown_client")
    assert service.size() == before


def test_assertion_of_deeply_nested_claims_is_refused(service: ServiceApp, organisation: Organisation) -> None:
    nested = "[" * 3000 + "]" * 3000
    claims = f'{{"iss":"{organisation.client}","x":{nested}}}'.encode()
    header = b64(b'{"alg":"EdDSA"}')
    signed = f"{header}.{b64(claims)}"[:8000]
    problem(service.ask_for_token(f"{signed}.{b64(organisation.key.sign(signed.encode()))}"), 401)


def test_client_with_an_es256_key_gets_a_token(service: ServiceApp, organisation: Organisation) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    draft = {"name": "hsm", "jwk": Key(private).jwk, "roles": ["analyst"]}
    client = ok(organisation.post(f"/v1/organisations/{organisation.organisation}/clients", draft), 201)["id"]
    assertion = jws(organisation.claims(iss=client, sub=client), Key(private), alg="ES256")
    assert service.ask_for_token(assertion).status_code == 200


@pytest.mark.parametrize("changes", [{"grant_type": "password"}, {"client_assertion_type": "x"}, {"scope": "all"}])
def test_token_request_of_another_form_is_refused(
    service: ServiceApp, organisation: Organisation, changes: dict[str, str]
) -> None:
    document = problem(service.ask_for_token(jws(organisation.claims(), organisation.key), **changes), 422)
    assert document["error"] == "invalid_request"


def test_access_token_past_its_life_or_of_another_kind_is_refused(
    service: ServiceApp, organisation: Organisation
) -> None:
    token = organisation.token

    def ask(token: str) -> Any:
        proof = organisation.proof("GET", "/v1/me", token=token)
        return service.http.get("/v1/me", headers={"Authorization": f"DPoP {token}", "DPoP": proof})

    assert ask(token).status_code == 200
    problem(ask(jws(organisation.claims(), organisation.key)), 401, "invalid_token")
    problem(
        ask(jws({"iss": ISSUER, "aud": ISSUER, "sub": organisation.client}, None, alg="none")), 401, "invalid_token"
    )
    problem(ask(f"{token[:-4]}AAAA"), 401, "invalid_token")
    service.clock.move(seconds=301)
    problem(ask(token), 401, "token_expired")


def test_access_token_of_a_clock_that_was_ahead_is_not_taken_when_that_is_right(
    service: ServiceApp, organisation: Organisation
) -> None:
    service.clock.move(days=1)
    token = organisation.token
    service.clock.move(days=-1)
    proof = organisation.proof("GET", "/v1/me", token=token)
    answer = service.http.get("/v1/me", headers={"Authorization": f"DPoP {token}", "DPoP": proof})
    assert "while the service's clock was ahead" in problem(answer, 401, "token_expired")["detail"]


def test_invitation_works_once_and_not_after_its_time(service: ServiceApp) -> None:
    _, invitation = service.invite()
    _, late = service.invite()
    client = {"name": "machine", "jwk": Key().jwk, "roles": ["analyst"]}
    first = registration(invitation, Key(), client)
    ok(service.http.post("/v1/registrations", json=first), 201)
    problem(service.http.post("/v1/registrations", json=first), 404, "not_found")
    service.clock.move(days=15)
    again = registration(late, Key(), {**client, "jwk": Key().jwk})
    problem(service.http.post("/v1/registrations", json=again), 404, "not_found")


def test_registration_signed_by_another_key_is_refused_and_keeps_the_invitation(service: ServiceApp) -> None:
    _, invitation = service.invite()
    client = {"name": "machine", "jwk": Key().jwk, "roles": ["analyst"]}
    signing_key = Key()
    wrong = registration(invitation, signing_key, client, signed_by=Key())
    document = problem(service.http.post("/v1/registrations", json=wrong), 422)
    assert document["errors"][0]["pointer"] == "/signature"
    ok(service.http.post("/v1/registrations", json=registration(invitation, signing_key, client)), 201)


def test_registration_with_a_private_or_shared_key_is_refused(service: ServiceApp) -> None:
    _, invitation = service.invite()
    signing_key = Key()
    same = registration(invitation, signing_key, {"name": "m", "jwk": signing_key.jwk, "roles": ["analyst"]})
    document = problem(service.http.post("/v1/registrations", json=same), 422)
    assert document["errors"][0]["code"] == "same_key"
    private = {**Key().jwk, "d": "canary-secret-part"}
    leaked = registration(invitation, signing_key, {"name": "m", "jwk": private, "roles": ["analyst"]})
    answer = service.http.post("/v1/registrations", json=leaked)
    assert problem(answer, 422)["errors"][0]["code"] == "private_key"
    assert "canary" not in answer.text
