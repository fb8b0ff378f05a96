"""What a caller is told when the database fails under a request."""

import json
import sqlite3

import psycopg
import pytest
from sqlalchemy.exc import InvalidRequestError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request

from linkage_service.app import _unexpected


def _of_database(error: Exception) -> OperationalError:
    return OperationalError("SELECT 1", {}, error)


@pytest.mark.parametrize(
    ("error", "method", "status", "words"),
    [
        (_of_database(sqlite3.OperationalError("database is locked")), "POST", 503, "Nothing was changed"),
        (_of_database(sqlite3.OperationalError("database or disk is full")), "POST", 503, "disk is full"),
        (_of_database(psycopg.errors.DiskFull("no space")), "POST", 503, "disk is full"),
        (_of_database(psycopg.errors.AdminShutdown("terminating")), "POST", 503, "not known whether"),
        (_of_database(psycopg.OperationalError("connection refused")), "PUT", 503, "not known whether"),
        (_of_database(psycopg.OperationalError("connection refused")), "GET", 503, "cannot be reached. Try again."),
        (InvalidRequestError("Reconnection attempts exhausted on checkout"), "GET", 503, "cannot be reached"),
        (PoolTimeoutError("QueuePool limit reached"), "POST", 503, "All connections"),
        (_of_database(sqlite3.OperationalError("no such table: run")), "POST", 500, "unexpectedly"),
        (InvalidRequestError("a mistake of ours"), "POST", 500, "unexpectedly"),
        (KeyError("secret"), "GET", 500, "unexpectedly"),
    ],
)
def test_failure_of_the_database_is_told_with_what_to_do(
    error: Exception, method: str, status: int, words: str
) -> None:
    state = {"request_id": "req_1"}
    request = Request({"type": "http", "method": method, "path": "/", "headers": [], "state": state})
    answer = _unexpected(error, request)
    body = json.loads(bytes(answer.body))
    assert answer.status_code == status
    assert words in body["detail"]
    assert "secret" not in body["detail"]
    assert (body["code"] == "storage_full") == ("disk is full" in words)
