"""A program that answers each request of a test in a fork of itself, which dies by SIGKILL at a chosen statement.

It reads JSON lines: first the settings of the service, then requests. It never touches the database or the blobs
itself, so that nothing but what was imported and built is on both sides of the fork.
"""

import base64
import itertools
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psycopg
from sqlalchemy import event

from linkage_service.app import create_app
from linkage_service.database import Database
from linkage_service.runtime import build
from linkage_service.settings import Settings
from support.service_app import HandClock, client_of


def main() -> None:
    clock = HandClock()
    runtime = build(Settings(**json.loads(sys.stdin.readline())), clock=clock)
    client = client_of(create_app(runtime))
    for line in sys.stdin:
        asked = json.loads(line)
        clock.now = datetime.fromisoformat(asked["now"])
        said, heard = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(said)
            die_at(runtime.database, asked["die_at"])
            content = base64.b64decode(asked["content"])
            answer = client.request(asked["method"], asked["path"], headers=asked["headers"], content=content)
            os.write(heard, str(answer.status_code).encode())
            os._exit(0)
        os.close(heard)
        with os.fdopen(said) as answered:
            status = answered.read()
        os.waitpid(child, 0)
        print(json.dumps(int(status) if status else None), flush=True)  # noqa: T201 - read by the test


def die_at(database: Database, point: int) -> None:
    """Counts statements, commits and the moments after commits of every connection; dies at the chosen one.

    Counting begins where the first transaction that writes does: a death before it can leave nothing.
    """
    counter = itertools.count()
    begun = False

    def tick(*seen: object) -> None:
        nonlocal begun
        begun = begun or any(
            "pg_advisory_xact_lock" in part or part == "BEGIN IMMEDIATE" for part in seen if isinstance(part, str)
        )
        if begun and next(counter) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    for engine in {database.engine, database._hasty}:
        watch = trace if engine.dialect.name == "sqlite" else count_executions
        event.listen(engine, "connect", lambda connection, _, watch=watch: watch(connection, tick))
        engine.dialect.do_commit = committing(engine.dialect.do_commit, tick)  # type: ignore[method-assign,assignment]


def committing(commit: Callable[[Any], None], tick: Callable[[], None]) -> Callable[[Any], None]:
    def commit_between_ticks(connection: Any) -> None:
        tick()
        commit(connection)
        tick()

    return commit_between_ticks


def trace(connection: sqlite3.Connection, tick: Callable[[str], None]) -> None:
    def traced(statement: str) -> None:
        # What a trigger does is told as a comment.
        if not statement.startswith(("--", "PRAGMA", "COMMIT")):
            tick(statement)

    connection.set_trace_callback(traced)


def count_executions(connection: psycopg.Connection[Any], tick: Callable[[str], None]) -> None:
    class Counted(connection.cursor_factory):  # type: ignore[misc,name-defined]  # of whichever class it is
        def execute(self, query: Any, *parameters: Any, **options: Any) -> Any:
            tick(str(query))
            return super().execute(query, *parameters, **options)

    connection.cursor_factory = Counted


if __name__ == "__main__":
    main()
