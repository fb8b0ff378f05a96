"""What the log costs with a million leaves in the service's own tables: ``python tests/benchmarks/ledger.py --json``.

On SQLite: what an append adds to its transaction, the whole of a transaction that does nothing else from its beginning
to its commit on the disk, beside it what that disk takes for one row, the root, a receipt with its proof, and the
check of the whole log. On PostgreSQL, with every commit on the disk: appending transactions a second from eight
processes, and beside it the peer, which inserts the same bytes into one plain table of the same server, without a
tree and without turns: the ratio says what the ledger costs. The command fails if a figure misses its target.
"""

import argparse
import json
import logging
import multiprocessing
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import text

from linkage_ledger import events, merkle
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint
from linkage_service.audit import tables
from linkage_service.audit.log import Entry, Log, body_of, entry
from linkage_service.audit.verify import verify
from linkage_service.database import Database
from linkage_service.migrate import upgrade
from support.ledger_logs import KEY, make_header
from support.postgresql import Server, own_server

START = datetime(2026, 3, 1, tzinfo=UTC)
BODY_EVERY, BATCH = 10, 20_000
CONNECTIONS = 8
TARGETS: dict[str, tuple[Literal["at most", "at least"], float]] = {
    "append_ms": ("at most", 0.5),
    "proof_ms": ("at most", 1),
    "verification_s": ("at most", 30),
    "appending_transactions_per_second": ("at least", 500),
}


def header_of(number: int, members: dict[str, Any], body_hash: str | None) -> bytes:
    """A header in canonical form, made from one that the product wrote so that a million take seconds."""
    at = START + timedelta(milliseconds=number)
    changed = {
        "id": events.new_id(at),
        "time": events.format_time(at),
        "actor": {"id": f"cli_{number % 97}", "kind": "client", "org": f"org_{number % 11}"},
        "agreement": {**members["agreement"], "ref": f"ISP-{number % 53}"},
        "project": f"prj_{number % 211}",
        "resource": {"id": f"upl_{number}", "type": "upload"},
        "request_id": f"req_{number}",
    }
    if body_hash is not None:
        changed["body_hash"] = body_hash
    return json.dumps(members | changed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def body_bytes(number: int) -> bytes:
    encoded = body_of(detail={"number": number, "reason": "as the agreement says"})
    assert encoded is not None
    return encoded


def fill(file: Path, size: int) -> None:
    """Writes a good log of so many leaves, past the service but into its tables."""
    members, frontier = json.loads(events.encode(make_header())), merkle.MemoryNodes()
    columns = ("seq", "header", "leaf_hash", *tables.COPIES)
    event_insert = f"INSERT INTO audit_event ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})"  # noqa: S608 - names of our own columns
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        for start in range(0, size, BATCH):
            rows, nodes, bodies = [], [], []
            for seq in range(start, min(start + BATCH, size)):
                salt_hash = None
                if seq % BODY_EVERY == 0:
                    salt, body = events.new_salt(), body_bytes(seq)
                    salt_hash = events.body_bytes_hash(salt, body).hex()
                    bodies.append((seq, salt, body, False))
                header = header_of(seq, members, salt_hash)
                leaf = merkle.leaf_hash(header)
                copies = events.indexed(events.parse(header))
                rows.append((seq, header, leaf, *(copies[name] for name in tables.COPIES)))
                for level, index, node in merkle.append(frontier, seq, leaf):
                    frontier.put(level, index, node)
                    nodes.append((level, index, node))
            connection.executemany(event_insert, rows)
            connection.executemany('INSERT INTO audit_node (level, "index", hash) VALUES (?, ?, ?)', nodes)
            connection.executemany("INSERT INTO audit_body (seq, salt, body, disposed) VALUES (?, ?, ?, ?)", bodies)
            reached = min(start + BATCH, size)
            root = merkle.root(frontier, reached)
            note = sign_checkpoint(Checkpoint(origin=KEY.name, size=reached, root=root), KEY)
            connection.execute(
                "INSERT INTO audit_checkpoint (size, root, note) VALUES (?, ?, ?)", (reached, root, note)
            )
            connection.execute("UPDATE audit_head SET size = ?, root = ? WHERE id = 1", (reached, root))
            connection.commit()


def an_entry(number: int) -> Entry:
    """An event as a request records it, with its body."""
    return entry(
        now=START + timedelta(days=1, milliseconds=number),
        event_type="upload.completed",
        actor=events.Actor(kind="client", id=f"cli_{number % 97}", org=f"org_{number % 11}"),
        authn=events.Authn(method="private_key_jwt", key_thumbprint="thumb"),
        agreement=events.AgreementRef(ref=f"ISP-{number % 53}", version=1, digest="0" * 64),
        project=f"prj_{number % 211}",
        resource=events.Resource(type="upload", id=f"upl_{number}"),
        action="complete",
        purpose="planning",
        decision=events.Decision(
            effect="allow", policies=("provider-uploads",), policy_digest="1" * 64, entities_digest="2" * 64
        ),
        outcome=events.Outcome(status="success", code="ok"),
        counts={"rows": number},
        request_id=f"req_{number}",
        source="192.0.2.7",
        body=body_bytes(number),
    )


@dataclass
class Spread:
    """Durations of one act, milliseconds."""

    samples: list[float]

    @property
    def median(self) -> float:
        return round(statistics.median(self.samples), 4)

    @property
    def p99(self) -> float:
        return round(statistics.quantiles(self.samples, n=100)[98], 4)


def timed(act: Callable[[int], object], rounds: int) -> Spread:
    samples = []
    for number in range(rounds):
        started = time.perf_counter()
        act(number)
        samples.append((time.perf_counter() - started) * 1000)
    return Spread(samples)


def on_sqlite(folder: Path, size: int, *, rounds: int) -> dict[str, float]:
    file = folder / "linkage.db"
    database, log = Database(f"sqlite:///{file}"), Log(key=KEY)
    try:
        upgrade(database.engine)
        started = time.perf_counter()
        fill(file, size)
        built_s = time.perf_counter() - started

        appended, whole = Spread([]), Spread([])

        def append(number: int) -> None:
            made = an_entry(number)
            begun = time.perf_counter()
            with database.writing() as session:
                started = time.perf_counter()
                log.append(session, [made])
                appended.samples.append((time.perf_counter() - started) * 1000)
            whole.samples.append((time.perf_counter() - begun) * 1000)

        timed(append, rounds)
        log.checkpoint(database)

        def root(_: int) -> None:
            with database.reading() as session:
                tables.SessionNodes(session).at_once(lambda nodes: merkle.root(nodes, size))

        def proof(number: int) -> None:
            with database.reading() as session:
                log.receipt(session, seq=number * 7919 % size)

        roots, proofs = timed(root, rounds), timed(proof, rounds)
        started = time.perf_counter()
        report = verify(database, [log.verifier])
        verification_s = time.perf_counter() - started
        if not report.verified:
            raise SystemExit(f"the log that was built is not good: {report.findings[:3]}")
        return {
            "leaves": report.size,
            "built_s": round(built_s, 1),
            "append_ms": appended.median,
            "append_p99_ms": appended.p99,
            "transaction_ms": whole.median,
            "transaction_p99_ms": whole.p99,
            "root_ms": roots.median,
            "proof_ms": proofs.median,
            "proof_p99_ms": proofs.p99,
            "verification_s": round(verification_s, 1),
            "disk_write_ms": disk_write_ms(folder, rounds),
        }
    finally:
        database.close()


def disk_write_ms(folder: Path, rounds: int) -> float:
    """What the disk alone takes for a commit: one small row in SQLite's plainest table, the same settings."""
    with closing(sqlite3.connect(folder / "plain.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE plain (number INTEGER PRIMARY KEY)")
        return timed(lambda number: connection.execute("INSERT INTO plain VALUES (?)", (number,)), rounds).median


def _append_many(url: str, barrier: Any, ended: Any, count: int) -> None:
    database, log = Database(url), Log(key=KEY)
    with database.reading() as session:
        tables.size_of(session)
    barrier.wait()
    for number in range(count):
        made = an_entry(number)
        with database.writing() as session:
            log.append(session, [made])
    ended.put(time.monotonic())
    database.close()


def _insert_many(url: str, barrier: Any, ended: Any, count: int) -> None:
    database = Database(url)
    statement = text("INSERT INTO plain (header, salt, body) VALUES (:header, :salt, :body)")
    with database.reading() as session:
        tables.size_of(session)
    barrier.wait()
    for number in range(count):
        made = an_entry(number)
        row = {"header": events.encode(made.header), "salt": made.salt, "body": made.body}
        with database.engine.begin() as connection:
            connection.execute(statement, row)
    ended.put(time.monotonic())
    database.close()


def transactions_per_second(act: Callable[..., None], url: str, transactions: int) -> float:
    """From eight processes with a connection each, let go at the same moment, until the last has committed its last."""
    context = multiprocessing.get_context("spawn")
    barrier, ended = context.Barrier(CONNECTIONS + 1), context.SimpleQueue()
    each = transactions // CONNECTIONS
    processes = [context.Process(target=act, args=(url, barrier, ended, each)) for _ in range(CONNECTIONS)]
    for process in processes:
        process.start()
    barrier.wait(timeout=120)
    started = time.monotonic()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a process of the measurement failed")
    # The clock is one for all processes. How long they take to end themselves is not measured.
    last: float = max(ended.get() for _ in processes)
    return each * CONNECTIONS / (last - started)


def on_postgresql(server: Server, *, transactions: int) -> dict[str, float]:
    with server.connect() as connection:
        connection.execute("CREATE DATABASE linkage")
        version = str(connection.execute("SHOW server_version").fetchone())
    url = server.url("linkage")
    database, log = Database(url), Log(key=KEY)
    try:
        upgrade(database.engine)
        with database.engine.begin() as plain:
            plain.execute(
                text("CREATE TABLE plain (number bigserial PRIMARY KEY, header bytea, salt bytea, body bytea)")
            )
        rounds = [
            (
                transactions_per_second(_append_many, url, transactions),
                transactions_per_second(_insert_many, url, transactions),
            )
            for _ in range(2)
        ]
        appending, inserting = (max(figures) for figures in zip(*rounds, strict=True))
        log.checkpoint(database)
        report = verify(database, [log.verifier])
        if not report.verified or report.size != 2 * (transactions // CONNECTIONS) * CONNECTIONS:
            raise SystemExit(f"the log of eight writers is not good: {report.findings[:3]}")
        return {
            "version": float(version.strip("(',)").split()[0]),
            "appending_transactions_per_second": round(appending),
            "plain_inserts_per_second": round(inserting),
            "peer_ratio": round(inserting / appending, 2),
        }
    finally:
        database.close()


def missed(found: dict[str, dict[str, float]]) -> Iterator[str]:
    """Figures that are not within their target."""
    figures = {name: value for part in found.values() for name, value in part.items()}
    for name, (side, target) in TARGETS.items():
        if name in figures and (figures[name] > target if side == "at most" else figures[name] < target):
            yield f"{name} is {figures[name]}, and should be {side} {target}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1_000, help="repetitions of what takes milliseconds")
    parser.add_argument("--transactions", type=int, default=4_000, help="on PostgreSQL, by all connections together")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    given = parser.parse_args()
    logging.getLogger("alembic").setLevel(logging.ERROR)
    found: dict[str, dict[str, float]] = {}
    if given.only != "postgresql":
        with tempfile.TemporaryDirectory() as folder:
            found["sqlite"] = on_sqlite(Path(folder), given.leaves, rounds=given.rounds)
    if given.only != "sqlite":
        with own_server() as server:
            found["postgresql"] = on_postgresql(server, transactions=given.transactions)
    if given.json:
        print(json.dumps(found))
    else:
        for part, figures in found.items():
            for name, value in figures.items():
                print(f"{part:12} {name:36} {value:>14,}")
    if misses := list(missed(found)):
        raise SystemExit("; ".join(misses))


if __name__ == "__main__":
    main()
