"""Tokens and proofs in the wrong hands, or bent: each is refused, with its reason, and known callers in the ledger."""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from support.databases import on_each_database
from support.service_app import (
    ISSUER,
    TOKEN_PATH,
    Caller,
    Key,
    Organisation,
    ServiceApp,
    b64,
    in_threads,
    jws,
    ok,
    problem,
)

ME = "/v1/me"


@pytest.fixture
def caller(service: ServiceApp) -> Organisation:
    organisation = service.join()
    assert organisation.token
    return organisation


def _send(caller: Caller, *, proof: str | None, token: str | None = None, scheme: str = "DPoP") -> httpx.Response:
    headers = {"Authorization": f"{scheme} {token or caller.token}"}
    if proof is not None:
        headers["DPoP"] = proof
    answer: httpx.Response = caller.service.http.get(ME, headers=headers)
    return answer


def _refused(service: ServiceApp, answer: httpx.Response, code: str, *, word: str = "invalid_dpop_proof") -> None:
    problem(answer, 401, code)
    challenge = answer.headers["www-authenticate"]
    assert challenge == f'DPoP error="{word}", algs="Ed25519 EdDSA ES256"'
    event = service.events()[-1]
    assert (event["type"], event["outcome"]) == ("token.refused", {"status": "refused", "code": code})
    assert event["action"] == "useToken"


# ---- what a stolen token is worth ----


@on_each_database
def test_stolen_token_without_a_proof_is_refused(service: ServiceApp, caller: Organisation) -> None:
    _refused(service, _send(caller, proof=None), "proof_missing")
    assert service.events()[-1]["actor"] == {
        "kind": "client",
        "id": caller.client,
        "org": caller.organisation,
    }


def test_stolen_token_sent_as_a_bearer_token_is_refused(service: ServiceApp, caller: Organisation) -> None:
    proof = caller.proof("GET", ME, token=caller.token)
    _refused(service, _send(caller, proof=proof, scheme="Bearer"), "proof_missing")


def test_stolen_token_with_a_proof_by_another_key_is_refused(service: ServiceApp, caller: Organisation) -> None:
    proof = caller.proof("GET", ME, token=caller.token, key=Key())
    _refused(service, _send(caller, proof=proof), "proof_other_key")


def test_stolen_token_with_a_proof_by_another_clients_key_is_refused(service: ServiceApp, caller: Organisation) -> None:
    thief = service.join()
    proof = thief.proof("GET", ME, token=caller.token)
    _refused(service, _send(caller, proof=proof), "proof_other_key")


def test_stolen_token_that_is_tried_again_and_again_leaves_one_leaf_a_reason(
    service: ServiceApp, caller: Organisation
) -> None:
    before = service.size()
    for _ in range(5):
        problem(_send(caller, proof=None), 401, "proof_missing")
        problem(_send(caller, proof=caller.proof("GET", ME, token=caller.token, key=Key())), 401, "proof_other_key")
    assert service.size() == before + 2
    assert service.verified()


def test_token_of_another_service_or_kind_leaves_no_leaf(service: ServiceApp, caller: Organisation) -> None:
    before = service.size()
    claims = {"iss": ISSUER, "aud": ISSUER, "sub": caller.client, "exp": 4_000_000_000}
    for forged in (
        jws(claims, None, alg="none", typ="at+jwt"),
        jws(claims, Key(), typ="at+jwt"),
        jws(caller.claims(), caller.key),
        f"{caller.token[:-4]}AAAA",
        "x",
    ):
        problem(_send(caller, token=forged, proof=caller.proof("GET", ME, token=forged)), 401, "invalid_token")
    assert service.size() == before


# ---- proofs that are bent ----


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"htm": "POST"}, "proof_other_request"),
        ({"htm": "get"}, "proof_other_request"),
        ({"htm": None}, "proof_other_request"),
        ({"htu": f"{ISSUER}/v1/organisations"}, "proof_other_request"),
        ({"htu": "https://elsewhere.test/v1/me"}, "proof_other_request"),
        ({"htu": "http://linkage.test/v1/me"}, "proof_other_request"),
        ({"htu": f"{ISSUER}:8443/v1/me"}, "proof_other_request"),
        ({"htu": f"{ISSUER}:port/v1/me"}, "proof_other_request"),
        ({"htu": "https://somebody@linkage.test/v1/me"}, "proof_other_request"),
        ({"htu": [f"{ISSUER}/v1/me"]}, "proof_other_request"),
        ({"htu": None}, "proof_other_request"),
        ({"ath": "0" * 43}, "proof_other_token"),
        ({"ath": None}, "proof_other_token"),
        ({"ath": ["x"]}, "proof_other_token"),
        ({"ath": "\ud800"}, "proof_other_token"),
        ({"iat": 0}, "proof_untimely"),
        ({"iat": 4_000_000_000}, "proof_untimely"),
        ({"iat": 1e300}, "proof_malformed"),
        ({"iat": 10**400}, "proof_malformed"),
        ({"iat": float("nan")}, "proof_malformed"),
        ({"iat": "now"}, "proof_malformed"),
        ({"iat": True}, "proof_malformed"),
        ({"iat": None}, "proof_malformed"),
        ({"jti": None}, "proof_malformed"),
        ({"jti": "short"}, "proof_malformed"),
        ({"jti": 12345678}, "proof_malformed"),
        ({"jti": "\ud800 is half a character"}, "proof_malformed"),
    ],
)
def test_proof_with_a_wrong_claim_is_refused(
    service: ServiceApp, caller: Organisation, changes: dict[str, Any], code: str
) -> None:
    _refused(service, _send(caller, proof=caller.proof("GET", ME, **{"token": caller.token, **changes})), code)


def _resigned(caller: Caller, key: Key, **header: Any) -> str:
    claims = caller.proof_claims("GET", ME, token=caller.token)
    return jws(claims, key, **{"typ": "dpop+jwt", "jwk": key.jwk, **header})


def _with_the_public_key_as_secret(caller: Caller) -> str:
    key = caller.proof_key
    signed = _resigned(caller, key, alg="HS256").rpartition(".")[0]
    secret = json.dumps(key.jwk).encode()
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


MALFORMED: dict[str, Callable[[Caller], str]] = {
    "no JWT": lambda _: "x",
    "not JSON": lambda _: "e30x.e30x.e30x",
    "another type": lambda caller: _resigned(caller, caller.proof_key, typ="JWT"),
    "no type": lambda caller: _resigned(caller, caller.proof_key, typ=None),
    "no algorithm": lambda caller: _resigned(caller, caller.proof_key, alg="none"),
    "a symmetric algorithm": _with_the_public_key_as_secret,
    "no key": lambda caller: _resigned(caller, caller.proof_key, jwk=None),
    "a key of another kind": lambda caller: _resigned(caller, caller.proof_key, jwk={"kty": "oct", "k": "AAAA"}),
    "a private key": lambda caller: _resigned(caller, caller.proof_key, jwk={**caller.proof_key.jwk, "d": "canary"}),
    "a key that did not sign": lambda caller: _resigned(caller, Key(), jwk=caller.proof_key.jwk),
    "an unknown critical member": lambda caller: _resigned(caller, caller.proof_key, crit=["exp"], exp=1),
    "critical members that are no list": lambda caller: _resigned(caller, caller.proof_key, crit=7),
    "critical members that are no texts": lambda caller: _resigned(caller, caller.proof_key, crit=[[]]),
    "an algorithm that is no text": lambda caller: _resigned(caller, caller.proof_key, alg=["EdDSA"]),
    "too many bytes": lambda caller: caller.proof("GET", ME, token=caller.token, padding="x" * 9000),
}


@pytest.mark.parametrize("how", sorted(MALFORMED))
def test_proof_of_another_form_is_refused(service: ServiceApp, caller: Organisation, how: str) -> None:
    answer = _send(caller, proof=MALFORMED[how](caller))
    assert "canary" not in answer.text
    _refused(service, answer, "proof_malformed")


def test_several_proofs_in_one_request_are_refused(service: ServiceApp, caller: Organisation) -> None:
    proofs = [("DPoP", caller.proof("GET", ME, token=caller.token)) for _ in range(2)]
    answer = service.http.get(ME, headers=[("Authorization", f"DPoP {caller.token}"), *proofs])
    _refused(service, answer, "proof_malformed")


@on_each_database
def test_proof_sent_twice_works_once(service: ServiceApp, caller: Organisation) -> None:
    proof = caller.proof("GET", ME, token=caller.token)
    ok(_send(caller, proof=proof), 200)
    _refused(service, _send(caller, proof=proof), "proof_replayed")


@on_each_database
def test_proof_sent_by_many_at_once_works_once(caller: Organisation) -> None:
    proof = caller.proof("GET", ME, token=caller.token)
    answers = in_threads(6, lambda _: _send(caller, proof=proof).status_code)
    assert sorted(answers) == [200, 401, 401, 401, 401, 401]


def test_proof_is_good_for_a_slow_way_and_not_for_longer(service: ServiceApp, caller: Organisation) -> None:
    early, late = (caller.proof("GET", ME, token=caller.token) for _ in range(2))
    service.clock.move(seconds=200)
    ok(_send(caller, proof=early), 200)
    service.clock.move(seconds=39)
    made_before = int(service.clock.now.timestamp()) - 301
    _refused(
        service,
        _send(caller, proof=caller.proof("GET", ME, token=caller.token, iat=made_before)),
        "proof_untimely",
    )
    ok(_send(caller, proof=late), 200)


@pytest.mark.parametrize("skew_s", [-60, 59])
def test_proof_by_a_clock_that_is_a_little_off_is_taken(service: ServiceApp, caller: Organisation, skew_s: int) -> None:
    made = int(service.clock.now.timestamp()) + skew_s
    ok(_send(caller, proof=caller.proof("GET", ME, token=caller.token, iat=made)), 200)


@pytest.mark.parametrize("written", [f"{ISSUER}:443{ME}", f"{ISSUER.upper()}{ME}", f"{ISSUER}{ME}?a=b#c"])
def test_proof_that_writes_the_address_in_another_way_is_taken(caller: Organisation, written: str) -> None:
    ok(_send(caller, proof=caller.proof("GET", ME, token=caller.token, htu=written)), 200)


def test_proof_by_a_p256_key_is_taken(service: ServiceApp) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    caller = service.join()
    caller.proof_key = Key(ec.generate_private_key(ec.SECP256R1()))
    ok(caller.get(ME), 200)


# ---- at the token endpoint ----


def test_token_without_a_proof_is_refused(service: ServiceApp, caller: Organisation) -> None:
    with service.expecting_event("token.refused") as events:
        answer = service.ask_for_token(jws(caller.claims(), caller.key), proof="")
    assert problem(answer, 401, "proof_missing")["error"] == "invalid_dpop_proof"
    assert events[0]["action"] == "issueToken"


def test_token_asked_for_with_the_proof_of_another_request_is_refused(
    service: ServiceApp, caller: Organisation
) -> None:
    with service.expecting_event("token.refused"):
        answer = service.ask_for_token(jws(caller.claims(), caller.key), proof=caller.proof("GET", TOKEN_PATH))
    problem(answer, 401, "proof_other_request")


def test_token_asked_for_with_a_used_proof_is_refused(service: ServiceApp, caller: Organisation) -> None:
    proof = caller.proof("POST", TOKEN_PATH)
    ok(service.ask_for_token(jws(caller.claims(), caller.key), proof=proof), 200)
    with service.expecting_event("token.refused"):
        problem(service.ask_for_token(jws(caller.claims(), caller.key), proof=proof), 401, "proof_replayed")


def test_assertion_signed_with_the_public_key_as_a_secret_is_refused(service: ServiceApp, caller: Organisation) -> None:
    signed = jws(caller.claims(), None, alg="HS256").removesuffix(".")
    for secret in (json.dumps(caller.key.jwk).encode(), caller.key.jwk["x"].encode()):
        tag = b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())
        problem(service.ask_for_token(f"{signed}.{tag}"), 401, "bad_signature")


@pytest.mark.parametrize("header", [{"crit": ["urgent"], "urgent": True}, {"crit": 7}, {"crit": [[]]}, {"alg": [1]}])
def test_assertion_with_an_unknown_critical_member_or_of_another_form_is_refused(
    service: ServiceApp, caller: Organisation, header: dict[str, Any]
) -> None:
    assertion = jws(caller.claims(), caller.key, **header)
    problem(service.ask_for_token(assertion), 401, "bad_signature")


@pytest.mark.parametrize("kid", ["0" * 43, "", 7, ["x"]])
def test_assertion_that_names_an_unknown_key_is_refused_without_a_leaf(
    service: ServiceApp, caller: Organisation, kid: Any
) -> None:
    before = service.size()
    problem(service.ask_for_token(jws(caller.claims(), caller.key, kid=kid)), 401, "unknown_key")
    assert service.size() == before


def test_assertion_that_names_another_clients_key_is_refused(service: ServiceApp, caller: Organisation) -> None:
    other = service.join()
    assertion = jws(caller.claims(), other.key, kid=other.key.thumbprint)
    problem(service.ask_for_token(assertion), 401, "unknown_key")


@pytest.mark.parametrize(("ahead_s", "status"), [(59, 200), (62, 401)])
def test_assertion_made_in_the_future_is_taken_within_the_skew(
    service: ServiceApp, caller: Organisation, ahead_s: int, status: int
) -> None:
    made = int(service.clock.now.timestamp()) + ahead_s
    assert service.ask_for_token(jws(caller.claims(iat=made), caller.key)).status_code == status


def test_assertion_that_was_refused_once_leaves_no_second_leaf(service: ServiceApp, caller: Organisation) -> None:
    found_in_a_log = jws(caller.claims(), caller.key)
    service.clock.move(seconds=300)
    before = service.size()
    for _ in range(4):
        problem(service.ask_for_token(found_in_a_log), 401, "assertion_expired")
    assert service.size() == before + 1


# ---- in the middle of a session ----


@on_each_database
def test_token_of_a_revoked_key_is_refused_at_once(service: ServiceApp, caller: Organisation) -> None:
    keys = f"/v1/organisations/{caller.organisation}/clients/{caller.client}/keys"
    new = Key()
    ok(caller.post(keys, {"jwk": new.jwk}), 201)
    renewed = Caller(service, client=caller.client, organisation=caller.organisation, key=new)
    assertion = jws(renewed.claims(), new, kid=new.thumbprint)
    token = ok(service.ask_for_token(assertion, proof=renewed.proof("POST", TOKEN_PATH)), 200)["access_token"]
    path = f"{keys}/{caller.key.thumbprint}"
    headers = {"Authorization": f"DPoP {token}", "DPoP": renewed.proof("DELETE", path, token=token)}
    ok(service.http.delete(path, headers=headers), 204)
    document = problem(caller.get(ME), 403, "refused")
    assert [element["policy"] for element in document["elements"]] == ["G5-credential"]
    assert service.events()[-1]["type"] == "service.refused"
    with service.expecting_event("token.refused"):
        problem(service.ask_for_token(jws(caller.claims(), caller.key, kid=caller.key.thumbprint)), 401, "revoked")


def _sanction(service: ServiceApp, path: str) -> None:
    ok(service.officer.post(path, {"reason": "An exercise."}), 200)


@on_each_database
@pytest.mark.parametrize(
    ("place", "policy"),
    [
        ("/v1/organisations/{organisation}", "G9-sanction"),
        ("/v1/organisations/{organisation}/clients/{client}", "G9-sanction-client"),
    ],
)
def test_suspension_ends_tokens_for_good(service: ServiceApp, caller: Organisation, place: str, policy: str) -> None:
    path = place.format(organisation=caller.organisation, client=caller.client)
    _sanction(service, f"{path}:suspend")
    document = problem(caller.get(ME), 403, "refused")
    assert [element["policy"] for element in document["elements"]] == [policy]
    with service.expecting_event("token.refused"):
        problem(service.ask_for_token(jws(caller.claims(), caller.key)), 401, "suspended")

    _sanction(service, f"{path}:reinstate")
    _refused(service, caller.get(ME), "token_withdrawn", word="invalid_token")
    caller.forget_token()
    ok(caller.get(ME), 200)


def test_unbound_tokens_are_taken_only_where_the_operator_says_so(tmp_path: Any) -> None:
    from support.service_app import service_app

    with service_app(tmp_path / "open", require_dpop=False) as service:
        caller = service.join()
        answer = ok(service.ask_for_token(jws(caller.claims(), caller.key), proof=""), 200)
        assert answer["token_type"] == "Bearer"
        ok(_send(caller, token=answer["access_token"], proof=None, scheme="Bearer"), 200)
        # A bound one stays bound.
        problem(_send(caller, proof=None, scheme="Bearer"), 401, "proof_missing")


def test_unbound_token_is_refused_once_bound_ones_are_required(service: ServiceApp, caller: Organisation) -> None:
    tokens = service.runtime.door.tokens
    unbound = tokens.issue(
        issuer=ISSUER,
        client=caller.client,
        key=caller.key.thumbprint,
        holder=None,
        token_id="tok_1",
        now=service.clock(),
    )
    _refused(
        service, _send(caller, token=unbound, proof=None, scheme="Bearer"), "token_not_bound", word="invalid_token"
    )


@on_each_database
def test_used_proofs_are_forgotten_once_they_are_too_old(service: ServiceApp, caller: Organisation) -> None:
    def kept() -> int:
        with service.runtime.database.reading() as session:
            count: int = session.connection().exec_driver_sql("SELECT count(*) FROM seen_once").scalar_one()
            return count

    for _ in range(5):
        ok(caller.get(ME), 200)
    assert kept() > 5
    service.clock.move(seconds=302)
    caller.forget_token()
    assert caller.token
    # The proof of this token itself.
    assert kept() == 1
