"""How long a search of the access log takes with a million events: ``python tests/benchmarks/search.py --json``.

The log is made to be hard: a few values share most of it, and many pairs of them never occur together, so that a page
cannot be filled early. Every condition is asked for alone and with every other one, by an officer of the linkage unit
and by a party, the newest and the oldest first, on SQLite and on PostgreSQL. Beside the slowest stands the peer: the
same conditions in one SELECT as the database plans it by itself, whose answers are compared. Then the slowest are asked
for as an officer asks: through the API, and on the console as a page of the list and as charts, each with its sign-in,
its policy and the event that says who looked. The command fails if a search, an answer or a page takes longer than its
target.
"""

import argparse
import itertools
import json
import logging
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
from sqlalchemy import insert, select, update
from sqlmodel import Session, col

from linkage_ledger import events, merkle
from linkage_service import logs
from linkage_service.audit import search, tables
from linkage_service.audit.tables import AuditEvent, AuditHead, AuditNode
from linkage_service.database import Database
from support.console import visitor, with_console
from support.ledger_logs import make_header
from support.postgresql import Server, own_server
from support.service_app import ServiceApp

START = datetime(2026, 3, 1, tzinfo=UTC)
BATCH, LIMIT, TARGET_S = 20_000, 26, 1.0
COLUMNS = ("seq", "header", "leaf_hash", *tables.COPIES)


def an_id(prefix: str, number: int) -> str:
    """As the service makes them, but for its number."""
    return f"{prefix}_{number:026d}"


BIG, OTHER = an_id("org", 0), an_id("org", 1)
STRANGER = an_id("cli", 9)


def row_of(seq: int, size: int, header: bytes) -> tuple[Any, ...]:
    """One event. Even and odd numbers have nothing in common but what everything has."""
    even, quarter = seq % 2 == 0, seq % 4
    organisation = BIG if even else an_id("org", 1 + seq // 2 % 4)
    at = START + timedelta(seconds=seq if seq % 1000 else max(seq - 5, 0))
    refused, failed = seq % 10 == 3, seq % 50 == 9
    kept = {
        "seq": seq,
        "header": header,
        "leaf_hash": seq.to_bytes(32, "big"),
        "id": an_id("evt", seq),
        "time": events.format_time(at),
        "type": "upload.completed" if even else "link_table.retrieved",
        "actor_kind": "client",
        "actor_id": organisation.replace("org", "cli") if quarter else STRANGER,
        "actor_org": organisation,
        "agreement": None if quarter == 3 else "ISP-1" if quarter == 2 else "ISP-0",
        "agreement_version": None if quarter == 3 else "2" if seq > size * 0.9 and quarter else "1",
        "project": None if quarter == 3 else an_id("prj", quarter),
        "resource_type": "upload" if even else "release",
        "resource_id": an_id("upl", seq) if even else an_id("rel", seq % 3),
        "action": "uploadEncodings" if even else "retrieveLinkTable",
        "purpose": ("planning" if even else "research") if quarter != 3 else None,
        "effect": "deny" if refused else "allow",
        "elements": ("25" if seq % 20 == 3 else "6") if refused else None,
        "outcome": "refused" if refused else "failed" if failed else "success",
        "request_id": f"req_{seq // 3:024x}",
    }
    return tuple(kept[name] for name in COLUMNS)


def rows(size: int, *, first: int) -> Iterator[tuple[Any, ...]]:
    """So many events behind those that are there."""
    header = events.encode(make_header())
    for number in range(size):
        _, *kept = row_of(number, size, header)
        yield (first + number, *kept)


def fill_sqlite(file: Path, size: int, *, first: int) -> None:
    statement = f"INSERT INTO audit_event ({','.join(COLUMNS)}) VALUES ({','.join('?' * len(COLUMNS))})"  # noqa: S608 - names of our own columns
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        every = rows(size, first=first)
        while batch := list(itertools.islice(every, BATCH)):
            connection.executemany(statement, batch)
            connection.commit()


def fill_postgresql(server: Server, size: int, *, first: int) -> None:
    with server.connect("linkage") as connection:
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy(f"COPY audit_event ({','.join(COLUMNS)}) FROM STDIN") as copy,
        ):
            for row in rows(size, first=first):
                copy.write_row(row)
        # As the server does by itself a minute after so many rows came.
        connection.execute("VACUUM ANALYZE audit_event")


def move_head(database: Database, end: int) -> None:
    """Lets the log end behind the events, and go on there. Their tree is made up: a search reads none of it."""
    with database.engine.begin() as connection:
        connection.execute(
            insert(AuditNode),
            [{"level": level, "index": index, "hash": bytes(32)} for level, index in merkle.peaks(end)],
        )
        connection.execute(update(AuditHead).values(size=end))


def begun(service: ServiceApp) -> int:
    """How many events the service has had."""
    with service.runtime.database.reading() as session:
        return tables.size_of(session)


def conditions(size: int) -> dict[str, list[Any]]:
    """Values of each filter, frequent ones and rare ones, and one that nothing has."""
    return {
        "organisation": [BIG, OTHER],
        "actor": [BIG.replace("org", "cli"), STRANGER],
        "action": ["uploadEncodings", "retrieveLinkTable"],
        "type": ["upload.completed", "link_table.retrieved"],
        "agreement": ["ISP-0", "ISP-1"],
        "project": [an_id("prj", 0), an_id("prj", 2)],
        "resource_type": ["upload", "release"],
        "resource": [an_id("rel", 1), an_id("upl", size // 4 * 2)],
        "purpose": ["planning", "research"],
        "outcome": ["success", "refused", "failed"],
        "element": [5, 6, 9],
        "request": [f"req_{size // 7:024x}"],
        "since": [START + timedelta(seconds=size // 3)],
        "until": [START + timedelta(seconds=size // 3 * 2)],
    }


def questions(size: int) -> Iterator[dict[str, Any]]:
    """Every condition alone, every two of them, some that occur together and some that do not, and more at once."""
    known = conditions(size)
    for name, values in known.items():
        yield from ({name: value} for value in values)
    for one, other in itertools.combinations(known, 2):
        for value in {known[other][0], known[other][-1]}:
            yield {one: known[one][0], other: value}
    for version in (1, 2, 3):
        yield {"agreement": "ISP-0", "version": version}
        yield {"agreement": "ISP-0", "version": version, "organisation": BIG, "outcome": "refused"}
    yield {"organisation": BIG, "type": "upload.completed", "purpose": "planning", "outcome": "refused"}
    yield {"organisation": BIG, "agreement": "ISP-0", "resource_type": "upload", "resource": an_id("rel", 1)}


def plainly(session: Session, asked: search.Filters, scope: search.Scope, *, newest_first: bool) -> list[int]:
    """The same by the database alone: every condition in one SELECT."""
    query = select(col(AuditEvent.seq))
    for item in fields(asked):
        value = getattr(asked, item.name)
        if value is None:
            continue
        if item.name == "element":
            query = query.where(col(AuditEvent.elements).contains(str(value)))
        elif item.name == "since":
            query = query.where(col(AuditEvent.time) >= events.format_time(value))
        elif item.name == "until":
            query = query.where(col(AuditEvent.time) < events.format_time(value))
        elif item.name == "version":
            query = query.where(col(AuditEvent.agreement_version) == str(value))
        else:
            query = query.where(getattr(AuditEvent, search.COLUMN_OF[item.name]) == value)
    if scope.organisation is not None:
        own = (col(AuditEvent.agreement).is_(None)) & (col(AuditEvent.actor_org) == scope.organisation)
        query = query.where(col(AuditEvent.agreement).in_(scope.references) | own)
    order = col(AuditEvent.seq).desc() if newest_first else col(AuditEvent.seq)
    return list(session.execute(query.order_by(order).limit(LIMIT)).scalars())


# As the API and the console call them.
_PAGES = {"list": "/activity", "charts": "/activity/charts"}
_NAMES = {"since": "from", "until": "to"}
SCOPES = {"officer": search.Scope(), "party": search.Scope(OTHER, ("ISP-0", "ISP-2"))}


def measure(service: ServiceApp, size: int, *, first: int, compared: int) -> dict[str, Any]:
    """Times of all searches; the slowest of them beside the peer, whose answers have to be the same, and as pages."""
    database, end = service.runtime.database, first + size
    move_head(database, end)
    took: list[tuple[float, str, search.Filters, search.Scope, bool]] = []
    for asked, (who, scope), newest in itertools.product(questions(size), SCOPES.items(), (True, False)):
        filters = search.Filters(**asked)
        said = ", ".join(f"{key}={value}" for key, value in asked.items())
        with database.reading() as session:
            started = time.perf_counter()
            page(session, filters, scope, end, newest_first=newest)
            seconds = time.perf_counter() - started
        took.append((seconds, f"{who}, {'newest' if newest else 'oldest'} first: {said}", filters, scope, newest))
    took.sort(key=lambda one: one[0], reverse=True)
    again, beside = [], []
    for _, name, filters, scope, newest in took[:compared]:
        with database.reading() as session:
            started = time.perf_counter()
            found = page(session, filters, scope, end, newest_first=newest)
            again.append(time.perf_counter() - started)
            started = time.perf_counter()
            plain = plainly(session, filters, scope, newest_first=newest)
            beside.append(time.perf_counter() - started)
        if found != plain:
            raise SystemExit(f"the answer is wrong: {name}")
    return {
        "searches": len(took),
        "median_ms": round(statistics.median(one[0] for one in took) * 1000, 2),
        "slowest_s": round(took[0][0], 3),
        "slowest": [f"{seconds:.3f} s {name}" for seconds, name, *_ in took[:8]],
        "peer_slowest_s": round(max(beside), 3),
        "peer_ratio": round(sum(beside) / sum(again), 2),
        **measure_pages(service, [one[2] for one in took if one[3] == SCOPES["officer"]][:compared]),
    }


def measure_pages(service: ServiceApp, slowest: list[search.Filters]) -> dict[str, Any]:
    """What an officer waits for: the answer of the API, the list of the console, and its charts."""
    officer = visitor(with_console(service), service.officer, "officer")
    took: dict[str, list[tuple[float, str]]] = {"api": [], "list": [], "charts": []}
    for filters in slowest:
        asked = {
            _NAMES.get(item.name, item.name): events.format_time(value) if isinstance(value, datetime) else str(value)
            for item in fields(filters)
            if (value := getattr(filters, item.name)) is not None
        }
        said = ", ".join(f"{key}={value}" for key, value in asked.items())
        for part, times in took.items():
            started = time.perf_counter()
            answer: httpx.Response
            if part == "api":
                answer = service.officer.get("/v1/audit/events", params={**asked, "order": "newest"})
            else:
                answer = officer.get(_PAGES[part], params=asked)
            times.append((time.perf_counter() - started, said))
            if answer.status_code != HTTPStatus.OK:
                raise SystemExit(f"{part} answered {answer.status_code} to {said}")
    found: dict[str, Any] = {}
    for part, times in took.items():
        seconds, said = max(times)
        found |= {f"{part}_slowest_s": round(seconds, 3), f"{part}_slowest": said}
    return found


def page(session: Session, filters: search.Filters, scope: search.Scope, size: int, *, newest_first: bool) -> list[int]:
    question = search.Question(filters=filters, end=size)
    return [row.seq for row in search.page(session, question, scope, limit=LIMIT, newest_first=newest_first)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--compared", type=int, default=25, help="so many of the slowest are held against the peer")
    given = parser.parse_args()
    logging.getLogger("alembic").setLevel(logging.ERROR)
    logs.configure(level="ERROR")
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        if given.only != "postgresql":
            service = ServiceApp(folder / "sqlite")
            open_.callback(service.runtime.close)
            first = begun(service)
            fill_sqlite(service.database_file, given.events, first=first)
            found["sqlite"] = measure(service, given.events, first=first, compared=given.compared)
        if given.only != "sqlite":
            server = open_.enter_context(own_server())
            with server.connect() as connection:
                connection.execute("CREATE DATABASE linkage")
            service = ServiceApp(folder / "postgresql", database_url=server.url("linkage"))
            open_.callback(service.runtime.close)
            first = begun(service)
            fill_postgresql(server, given.events, first=first)
            found["postgresql"] = measure(service, given.events, first=first, compared=given.compared)
    if given.json:
        print(json.dumps(found))
    else:
        for part, figures in found.items():
            for name, value in figures.items():
                print(f"{part:12} {name:16} {value}")
    missed = [
        f"{name} on {part}"
        for part, figures in found.items()
        for name in ("slowest_s", "api_slowest_s", "list_slowest_s", "charts_slowest_s")
        if figures[name] > TARGET_S
    ]
    if missed:
        raise SystemExit(f"longer than {TARGET_S} s: {', '.join(missed)}")


if __name__ == "__main__":
    main()
