"""Connections that send nothing, half a head or half a body are given up, and others are served meanwhile."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from linkage_client.testing import RunningService

_QUICK = {"LINKAGE_SLOW_HEADER_S": "2", "LINKAGE_SLOW_BODY_S": "2"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder: Path = tmp_path_factory.mktemp("slow")
    with RunningService(folder, settings=_QUICK) as running:
        yield running


def _connected(service: RunningService) -> socket.socket:
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)


def _until_closed(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize("sent", [b"", b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "])
def test_connection_without_a_whole_head_is_closed(service: RunningService, sent: bytes) -> None:
    with _connected(service) as connection:
        connection.sendall(sent)
        assert httpx.get(f"{service.url}/version", timeout=60).status_code == 200
        assert _until_closed(connection) == b""


def test_connection_that_was_answered_and_then_sends_half_a_head_is_closed(service: RunningService) -> None:
    with _connected(service) as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /version HTT")
        assert _until_closed(connection).startswith(b"HTTP/1.1 200")


def test_body_that_stops_coming_is_answered_with_a_problem(service: RunningService) -> None:
    with _connected(service) as connection:
        connection.sendall(
            b"POST /v1/registrations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b'Content-Length: 1000\r\n\r\n{"invitation"'
        )
        answer = _until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"too_slow"' in answer


def test_head_above_its_limit_is_refused(service: RunningService) -> None:
    with _connected(service) as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: " + b"a" * 64 * 1024)
        assert _until_closed(connection).startswith(b"HTTP/1.1 400")
