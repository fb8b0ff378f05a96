"""An OpenID provider in a process of its own, on loopback, that a test can make misbehave.

The endpoints, codes and tokens are those of `oidc-provider-mock`, which builds on authlib. Added here: it insists on
PKCE, and the test can have ID tokens changed before they are signed.
"""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import RSAKey

Json = dict[str, Any]


@dataclass
class Provider:
    """A provider that runs.

    Attributes:
        issuer: its address.
        client_id: of the service, registered there.
        client_secret: of the service.
    """

    issuer: str
    client_id: str
    client_secret: str

    @property
    def settings(self) -> Json:
        """What the service is to be told."""
        return {
            "oidc_issuer": self.issuer,
            "oidc_client_id": self.client_id,
            "oidc_client_secret": self.client_secret,
        }

    def know(self, subject: str, **claims: Any) -> None:
        """Makes an account, or changes what is said of it."""
        httpx.put(f"{self.issuer}/users/{subject}", json=claims).raise_for_status()

    def misbehave(self, **how: Any) -> None:
        """From now on: `claims` replaces members of ID tokens (None leaves one out), `alg` is what signs them."""
        httpx.post(f"{self.issuer}/misbehave", json=how).raise_for_status()

    def sign_in(self, authorization_url: str, subject: str) -> Json:
        """What a browser brings back from the provider after somebody has signed in there: code and state."""
        answer = httpx.post(authorization_url, data={"sub": subject})
        assert answer.status_code == 302, answer.text
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        return {"code": query["code"][0], "state": query["state"][0]}


@contextmanager
def running_provider(*, redirect_uri: str) -> Iterator[Provider]:
    """A provider that knows the service as a client with this redirect address."""
    environment = {**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env=environment, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            issuer = process.stdout.readline().strip()
            assert issuer, "the provider did not start"
            client = httpx.post(f"{issuer}/oauth2/clients", json={"redirect_uris": [redirect_uri]}).json()
            yield Provider(issuer, client["client_id"], client["client_secret"])
        finally:
            process.stdin.close()
            process.wait(timeout=20)


def _signed(claims: Json, how: Json, jwk: Json) -> str:
    own = RSAKey.import_key(jwk)
    match how.get("alg"):
        case "none":
            return f"{_compact({'alg': 'none'})}.{_compact(claims)}."
        case "HS256":
            # The classic confusion: an HMAC whose key is the public key that everybody knows.
            signed = f"{_compact({'alg': 'HS256'})}.{_compact(claims)}"
            mac = hmac.digest(own.as_pem(private=False), signed.encode(), "sha256")
            return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        case _:
            key = RSAKey.generate_key(2048) if how.get("stolen_name") else own
            header = {"alg": "RS256", **({"kid": jwk["kid"]} if "kid" in jwk else {})}
            return jwt.encode(header, claims, key, algorithms=["RS256"])


def _compact(part: Json) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _serve() -> None:
    import threading

    import flask
    from oidc_provider_mock._app import app as provider_app
    from oidc_provider_mock._storage import storage
    from werkzeug.serving import make_server

    app: flask.Flask = provider_app(require_client_registration=True, require_nonce=True)
    how: Json = {}
    challenges: dict[str, str] = {}

    @app.post("/misbehave")
    def misbehave() -> tuple[str, int]:
        how.clear()
        how.update(flask.request.get_json())
        return "", 204

    @app.before_request
    def insist_on_pkce() -> Any:
        if flask.request.path != "/oauth2/token":
            return None
        form = flask.request.form
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if challenges.get(form.get("code", "")) != base64.urlsafe_b64encode(digest).decode().rstrip("="):
            return flask.jsonify({"error": "invalid_grant"}), 400
        return None

    @app.after_request
    def change(response: flask.Response) -> flask.Response:
        if flask.request.path == "/oauth2/authorize" and response.status_code == 302:
            code = parse_qs(urlsplit(response.headers["Location"]).query).get("code", [""])[0]
            challenges[code] = flask.request.args.get("code_challenge", "none")
        if flask.request.path == "/.well-known/openid-configuration" and how.get("metadata"):
            response.set_data(json.dumps({**response.get_json(), **how["metadata"]}))
        if flask.request.path == "/oauth2/token" and response.status_code == 200 and how:
            tokens = response.get_json()
            part = tokens["id_token"].split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            claims |= how.get("claims", {})
            claims = {name: value for name, value in claims.items() if value is not None}
            tokens["id_token"] = _signed(claims, how, storage.jwk.as_dict(is_private=True))
            response.set_data(json.dumps(tokens))
        return response

    server = make_server("localhost", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://localhost:{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    _serve()
