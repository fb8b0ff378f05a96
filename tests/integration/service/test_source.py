"""Where a request comes from: who may say so, and what gets into decisions and the ledger."""

import json

import httpx
import pytest
from fastapi import FastAPI, Request

from linkage_service.access.source import source_of
from linkage_service.server import configuration
from linkage_service.settings import Settings
from support.app_transport import AppTransport


def _seen(*trusted: str, connected: str, said: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the service takes for the source of a request that came through the layers of its server."""
    monkeypatch.setenv("LINKAGE_TRUSTED_PROXIES", json.dumps(trusted))
    app = FastAPI()

    @app.get("/")
    def source(request: Request) -> str:
        return source_of(request)

    config = configuration(app, Settings())
    config.load()
    transport = AppTransport(config.loaded_app, client=(connected, 50_000))
    http = httpx.Client(transport=transport, base_url="http://service.test")
    return str(http.get("/", headers={"X-Forwarded-For": said}).json())


@pytest.mark.parametrize("connected", ["127.0.0.1", "::1", "198.51.100.7"])
def test_source_is_whoever_connects_where_no_proxy_is_named(connected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _seen(connected=connected, said="10.1.2.3", monkeypatch=monkeypatch) == connected


@pytest.mark.parametrize("trusted", ["192.0.2.5", "192.0.2.0/24"])
def test_source_is_what_a_named_proxy_says_last(trusted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "10.1.2.3, 198.51.100.7"
    assert _seen(trusted, connected="192.0.2.5", said=said, monkeypatch=monkeypatch) == "198.51.100.7"
    assert _seen(trusted, connected="203.0.113.9", said=said, monkeypatch=monkeypatch) == "203.0.113.9"


def test_source_that_is_no_address_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _seen("192.0.2.5", connected="192.0.2.5", said="Ada Lovelace", monkeypatch=monkeypatch) == "unknown"


def test_source_over_a_socket_of_both_families_is_the_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _seen(connected="::ffff:198.51.100.7", said="10.1.2.3", monkeypatch=monkeypatch) == "198.51.100.7"
