"""What the whole service bears on this machine: ``python tests/benchmarks/service.py --json``.

All of it is real: PostgreSQL with every commit on the disk, `linkage-service serve` with its worker as processes,
requests over loopback with bound tokens, policy and ledger on. Three parts, one at a time with ``--only``:

- `control`: requests come at a fixed rate, whether those before them are answered or not, and each is timed from the
  moment at which it was due. Beside it, the peer: the same rate of `/healthz`, which needs no policy, ledger or
  database.
- `upload`: parts of one large upload over two connections. The peer takes the same parts, and only counts them.
- `job`: two files of encodings to link tables: upload, run, release, retrieval, and the most memory of each process.

The command fails if a figure misses its target.
"""

import argparse
import base64
import hashlib
import http.client
import json
import multiprocessing
import os
import queue
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from linkage_client.demo import flow
from linkage_client.demo.agreement import PURPOSE
from linkage_client.testing import Round, RunningService, open_round
from support.postgresql import own_server

TARGETS: Mapping[str, tuple[Literal["at most", "at least"], float]] = {
    "control_p99_ms": ("at most", 50),
    "upload_mb_per_s": ("at least", 150),
    "job_minutes": ("at most", 10),
    "job_resident_gib": ("at most", 2),
}
PART_BYTES = 8 << 20
CONNECTIONS, THREADS, WARMING_S = 2, 24, 5
# What one address and one caller may ask for is far above any target here, and is not what is measured.
UNLIMITED = {f"LINKAGE_RATE_PER_{whom}": "0" for whom in ("CALLER", "ADDRESS")} | {"LINKAGE_RATE_PUBLIC": "0"}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, ready to be sent once."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None


@contextmanager
def serving(*, processes: int) -> Iterator[RunningService]:
    """A service with its worker on a PostgreSQL of its own."""
    with tempfile.TemporaryDirectory() as folder, own_server() as server:
        with server.connect() as connection:
            connection.execute("CREATE DATABASE linkage")
        settings = {"LINKAGE_DATABASE_URL": server.url("linkage"), **UNLIMITED}
        with RunningService(Path(folder) / "service", settings=settings, processes=processes) as service:
            yield service


def headers_of(member: flow.Member, method: str, path: str) -> dict[str, str]:
    return member.client._transport._token().headers(method, path.partition("?")[0])


# --- requests at a rate ----------------------------------------------------------------------------------------------


def asks_of(round_: Round, run_id: str, *, count: int) -> list[Ask]:
    """What a busy day is made of: mostly looking, a quarter of it recorded, and one in twenty changes something."""
    recipient, (provider, *_), officer = round_.recipient, round_.providers, round_.service.unit.officer
    project = round_.project.id
    opening = json.dumps(
        {
            "agreement": round_.agreement.id,
            "name": "Measured",
            "purpose": PURPOSE,
            "linkage_schema": round_.inputs.schema.document,
        }
    ).encode()
    mix: list[tuple[int, flow.Member, str, str, bytes | None]] = [
        (6, recipient, "GET", f"/v1/projects/{project}", None),
        (6, recipient, "GET", f"/v1/runs/{run_id}", None),
        (2, provider, "GET", f"/v1/projects/{project}/uploads", None),
        (1, provider, "GET", f"/v1/agreements/{round_.agreement.id}", None),
        (3, recipient, "GET", f"/v1/runs/{run_id}/summary", None),
        (1, officer, "GET", "/v1/audit/events?limit=20", None),
        (1, recipient, "POST", "/v1/projects", opening),
    ]
    turns = [(member, method, path, body) for weight, member, method, path, body in mix for _ in range(weight)]
    order = np.random.default_rng(1).permutation(count) % len(turns)
    made = []
    for turn in order:
        member, method, path, body = turns[turn]
        content = {} if body is None else {"Content-Type": "application/json", "Idempotency-Key": os.urandom(12).hex()}
        made.append(Ask(method, path, {**headers_of(member, method, path), **content}, body))
    return made


def sent_at_rate(url: str, asks: Sequence[Ask], rate: float) -> list[float]:
    """Milliseconds from the moment each was due to its whole answer; the first seconds are not counted."""
    due: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()
    host = urlsplit(url).netloc
    prepared = [as_sent(ask, host) for ask in asks]
    begins = time.perf_counter() + 1
    for number, request in enumerate(prepared):
        due.put((begins + number / rate, request))
    for _ in range(THREADS):
        due.put(None)
    taken: list[tuple[float, float]] = []
    refused: list[int] = []

    def send() -> None:
        with connected(host) as connection, connection.makefile("rb") as answers:
            while (turn := due.get()) is not None:
                at, request = turn
                time.sleep(max(0.0, at - time.perf_counter()))
                connection.sendall(request)
                status = answered(answers)
                taken.append((at, (time.perf_counter() - at) * 1000))
                if status >= 300:
                    refused.append(status)

    threads = [threading.Thread(target=send) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused or len(taken) != len(asks):
        raise SystemExit(f"{len(refused)} requests were refused, with {sorted(set(refused))}")
    return [ms for at, ms in taken if at >= begins + WARMING_S]


def as_sent(ask: Ask, host: str) -> bytes:
    """A request in the bytes in which it is sent: what sends them shares the processors with the service."""
    body = ask.body or b""
    headers = {"Host": host, "Content-Length": str(len(body)), **ask.headers}
    lines = [f"{ask.method} {ask.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def connected(host: str) -> socket.socket:
    name, port = host.rsplit(":", 1)
    connection = socket.create_connection((name, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def answered(answers: BufferedReader) -> int:
    """Reads one whole answer; gives its status."""
    status, length = int(answers.readline().split()[1]), 0
    while (line := answers.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    answers.read(length)
    return status


def _load(url: str, asks: Sequence[Ask], rate: float, answers: Any) -> None:
    answers.put(sent_at_rate(url, asks, rate))


def under_load(url: str, asks: Sequence[Ask], rate: float) -> list[float]:
    """The same from a process of its own, so that making what comes next costs the senders nothing."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_load, args=(url, asks, rate, answers))
    process.start()
    found: list[float] = answers.get()
    process.join()
    return found


def control(*, rate: float, seconds: float, processes: int) -> dict[str, float]:
    with serving(processes=processes) as service, open_round(service) as round_:
        round_.upload_all()
        run = round_.match()
        count = int(rate * (seconds + WARMING_S))
        waited = under_load(service.url, asks_of(round_, run.id, count=count), rate)
        bare = under_load(service.url, [Ask("GET", "/healthz", {}, None)] * count, rate)
    return {
        "control_rate": rate,
        "control_processes": processes,
        "control_requests": len(waited),
        "control_median_ms": round(statistics.median(waited), 2),
        "control_p99_ms": round(statistics.quantiles(waited, n=100)[98], 2),
        "control_bare_median_ms": round(statistics.median(bare), 2),
        "control_bare_p99_ms": round(statistics.quantiles(bare, n=100)[98], 2),
    }


# --- parts of an upload ----------------------------------------------------------------------------------------------


class _Counting(BaseHTTPRequestHandler):
    """The peer: reads a part, checks its digest and answers."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        part = self.rfile.read(int(self.headers["Content-Length"]))
        hashlib.sha256(part).digest()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _count(ready: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Counting)
    ready.put(server.server_port)
    server.serve_forever()


@contextmanager
def counting() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    ready = context.Queue()
    process = context.Process(target=_count, args=(ready,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ready.get()}"
    finally:
        process.terminate()
        process.join()


def parts_sent(url: str, puts: Sequence[Ask]) -> float:
    """Seconds in which all parts were sent and acknowledged."""
    waiting: queue.SimpleQueue[Ask | None] = queue.SimpleQueue()
    for put in [*puts, *[None] * CONNECTIONS]:
        waiting.put(put)
    refused: list[int] = []

    def send() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        while (put := waiting.get()) is not None:
            connection.request(put.method, put.path, body=put.body, headers=dict(put.headers))
            answer = connection.getresponse()
            answer.read()
            if answer.status != 204:
                refused.append(answer.status)

    threads = [threading.Thread(target=send) for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise SystemExit(f"{len(refused)} parts were refused, with {sorted(set(refused))}")
    return time.perf_counter() - started


def upload(*, megabytes: int, processes: int) -> dict[str, float]:
    with serving(processes=processes) as service, open_round(service) as round_, counting() as peer:
        provider = round_.providers[0]
        manifest = flow.encode(provider, project_id=round_.project.id, extract=round_.extract(0))
        rows = (megabytes * 1_000_000) // (manifest["bits"] // 8)
        content = np.random.default_rng(1).bytes(rows * manifest["bits"] // 8)
        changed = {"count": rows, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        made = provider.client.uploads.declare(
            project_id=round_.project.id, manifest={**manifest, **changed}, part_size_bytes=PART_BYTES
        )
        parts = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
        puts = []
        for number, part in enumerate(parts, start=1):
            path = f"/v1/uploads/{made.id}/parts/{number}"
            digest = hashlib.sha256(part).digest()
            stated = {
                "Content-Type": "application/octet-stream",
                "Content-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
            }
            puts.append(Ask("PUT", path, {**headers_of(provider, "PUT", path), **stated}, part))
        taken, bare = parts_sent(service.url, puts), parts_sent(peer, puts)
    size = len(content) / 1e6
    return {
        "upload_mb": round(size),
        "upload_mb_per_s": round(size / taken),
        "upload_bare_mb_per_s": round(size / bare),
        "upload_ratio": round(taken / bare, 2),
    }


# --- the main job ----------------------------------------------------------------------------------------------------


def family(pid: int) -> list[int]:
    """A process and all below it."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [pid, *(one for child in below for one in family(int(child)))]


def most_resident_gib(pids: Sequence[int]) -> float:
    """The most memory that any of these processes ever had resident."""
    peaks = []
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
        peaks += [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
    return round(max(peaks) / (1 << 20), 2)


def job(*, rows: int) -> dict[str, float]:
    with serving(processes=1) as service, open_round(service, rows=rows) as round_:
        project = round_.project.id
        manifests = [
            flow.encode(provider, project_id=project, extract=round_.extract(place), workers=2)
            for place, provider in enumerate(round_.providers)
        ]
        started = time.perf_counter()
        steps: dict[str, float] = {}

        def step(name: str) -> None:
            steps[f"job_{name}_s"] = round(time.perf_counter() - started - sum(steps.values()), 1)

        for provider, manifest in zip(round_.providers, manifests, strict=True):
            flow.upload(provider, project_id=project, manifest=manifest)
        step("upload")
        run = round_.match()
        step("run")
        release = round_.release(run)
        step("release")
        links = [flow.retrieve(provider, release_id=release.id) for provider in round_.providers]
        step("retrieval")
        resident = most_resident_gib(family(service.pid))
    # Rows that cannot be encoded, some in ten thousand, stay with the provider.
    if links != [manifest["count"] for manifest in manifests]:
        raise SystemExit(f"the tables hold {links} rows")
    return {"job_rows": rows, "job_minutes": round(sum(steps.values()) / 60, 2), "job_resident_gib": resident, **steps}


def missed(found: Mapping[str, float]) -> Iterator[str]:
    """Figures that are not within their target."""
    for name, (side, target) in TARGETS.items():
        if name in found and (found[name] > target if side == "at most" else found[name] < target):
            yield f"{name} is {found[name]}, and should be {side} {target}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--only", choices=("control", "upload", "job"))
    parser.add_argument("--processes", type=int, default=2, help="that answer requests, but for the job")
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30, help="how long they come")
    parser.add_argument("--megabytes", type=int, default=500, help="of the upload")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each file of the job")
    given = parser.parse_args()
    found: dict[str, float] = {}
    if given.only in {None, "control"}:
        found |= control(rate=given.rate, seconds=given.seconds, processes=given.processes)
    if given.only in {None, "upload"}:
        found |= upload(megabytes=given.megabytes, processes=given.processes)
    if given.only in {None, "job"}:
        found |= job(rows=given.rows)
    print(json.dumps(found) if given.json else "\n".join(f"{name:24} {value:>12,}" for name, value in found.items()))
    if misses := list(missed(found)):
        raise SystemExit("; ".join(misses))


if __name__ == "__main__":
    main()
