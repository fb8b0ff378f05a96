"""The log-in that the integrator's guide writes out works as it stands there."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.service_app import ASSERTION_TYPE, ISSUER, Organisation, ServiceApp, ok, problem

GUIDE = Path(__file__).parents[3] / "docs" / "integrator.md"


def _example() -> dict[str, Any]:
    section = GUIDE.read_text("utf-8").split("## Access tokens")[1]
    found = re.search(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)  # noqa: S102 - our own guide
    return names


def _log_in(service: ServiceApp, organisation: Organisation, example: dict[str, Any]) -> tuple[str, Any]:
    private = organisation.key.private
    assert isinstance(private, Ed25519PrivateKey)
    # The example goes by the machine's own clock.
    service.clock.now = datetime.now(UTC)
    key = Ed25519PrivateKey.generate()
    metadata = ok(service.http.get("/.well-known/oauth-authorization-server"), 200)
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": example["assertion"](private, organisation.client, metadata["issuer"]),
    }
    headers = {"DPoP": example["proof"](key, "POST", metadata["token_endpoint"])}
    token = ok(service.http.post("/v1/oauth/token", data=form, headers=headers), 200)
    assert token["token_type"] == "DPoP"
    return token["access_token"], key


def test_log_in_of_the_guide_gets_a_token_and_an_answer(service: ServiceApp) -> None:
    organisation, example = service.join(), _example()
    token, key = _log_in(service, organisation, example)
    proof = example["proof"](key, "GET", f"{ISSUER}/v1/me", token)
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
    assert ok(service.http.get("/v1/me", headers=headers), 200)["client"]["id"] == organisation.client


def test_codes_of_the_guide_are_those_of_the_service(service: ServiceApp) -> None:
    organisation, example = service.join(), _example()
    token, _ = _log_in(service, organisation, example)
    other = example["proof"](Ed25519PrivateKey.generate(), "GET", f"{ISSUER}/v1/me", token)
    guide = GUIDE.read_text("utf-8")
    for headers, code in (
        ({}, "proof_missing"),
        ({"DPoP": other}, "proof_other_key"),
        ({"DPoP": "x"}, "proof_malformed"),
    ):
        answer = service.http.get("/v1/me", headers={"Authorization": f"DPoP {token}", **headers})
        problem(answer, 401, code)
        assert f"`{code}`" in guide
